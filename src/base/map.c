#include "base/map.h"

#include <string.h>

#include "base/mem.h"
#include "base/panic.h"

/* Held by the hundred thousand. */
struct map_slot {
	char *key; /* NULL: free */
	uint32_t key_n : 31;
	uint32_t owned : 1; /* the key is */
	uint32_t hash;      /* its lower half: enough for 2^32 slots */
	void *value;        /* borrowed */
};
_Static_assert(sizeof(struct map_slot) == 24, "three words");

enum { MAP_MIN_CAP = 16 };

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed)
{
	/* A multiply-xorshift over 8-byte words; good spread, not for adversaries. */
	const unsigned char *b = p;
	uint64_t h = seed ^ (n * 0x9e3779b97f4a7c15ULL);
	while (n >= 8) {
		uint64_t w;
		memcpy(&w, b, 8);
		h = (h ^ w) * 0xff51afd7ed558ccdULL;
		h ^= h >> 32;
		b += 8;
		n -= 8;
	}
	uint64_t w = 0;
	if (n)
		memcpy(&w, b, n);
	h = (h ^ w) * 0xc4ceb9fe1a85ec53ULL;
	return h ^ h >> 29;
}

void map_init(struct map *m)
{
	*m = (struct map){ 0 };
}

static void free_key(struct map_slot *s)
{
	if (s->owned)
		mem_free(s->key);
}

void map_release(struct map *m)
{
	for (size_t i = 0; i < m->cap; i++)
		free_key(&m->slots[i]);
	mem_free(m->slots);
	map_init(m);
}

static uint32_t hash_of(struct str key)
{
	return (uint32_t)hash_bytes(key.p, key.n, 0);
}

static size_t find(const struct map *m, struct str key, uint32_t h)
{
	size_t i = h & (m->cap - 1);
	while (m->slots[i].key) {
		const struct map_slot *s = &m->slots[i];
		if (s->hash == h && s->key_n == key.n && memcmp(s->key, key.p, key.n) == 0)
			break;
		i = (i + 1) & (m->cap - 1);
	}
	return i;
}

void *map_get(const struct map *m, struct str key)
{
	if (m->n == 0)
		return NULL;
	const struct map_slot *s = &m->slots[find(m, key, hash_of(key))];
	return s->key ? s->value : NULL;
}

static int grow(struct map *m)
{
	struct map bigger = { .cap = m->cap ? m->cap * 2 : MAP_MIN_CAP, .n = m->n };
	bigger.slots = mem_calloc(bigger.cap, sizeof(*bigger.slots));
	if (!bigger.slots)
		return HCP_ENOMEM;
	for (size_t i = 0; i < m->cap; i++) {
		if (!m->slots[i].key)
			continue;
		size_t at = m->slots[i].hash & (bigger.cap - 1);
		while (bigger.slots[at].key)
			at = (at + 1) & (bigger.cap - 1);
		bigger.slots[at] = m->slots[i];
	}
	mem_free(m->slots);
	*m = bigger;
	return 0;
}

static int put(struct map *m, struct str key, bool owned, void *value, void **ret_old)
{
	must(key.n < UINT32_C(1) << 31);
	if ((m->n + 1) * 10 > m->cap * 7 && grow(m) < 0)
		return HCP_ENOMEM;
	uint32_t h = hash_of(key);
	struct map_slot *s = &m->slots[find(m, key, h)];
	void *old = s->key ? s->value : NULL;
	/* A borrowed key is exchanged with its value: the bytes may end with the old one. */
	if (!s->key || !s->owned || !owned) {
		char *bytes = owned ? mem_dup(key.p, key.n) : (char *)(uintptr_t)key.p;
		if (!bytes)
			return HCP_ENOMEM;
		m->n += !s->key;
		free_key(s);
		*s = (struct map_slot){ .key = bytes, .key_n = (uint32_t)key.n & INT32_MAX, .owned = owned, .hash = h };
	}
	s->value = value;
	if (ret_old)
		*ret_old = old;
	return 0;
}

int map_put(struct map *m, struct str key, void *value, void **ret_old)
{
	return put(m, key, true, value, ret_old);
}

int map_put_ref(struct map *m, struct str key, void *value, void **ret_old)
{
	return put(m, key, false, value, ret_old);
}

void *map_del(struct map *m, struct str key)
{
	if (m->n == 0)
		return NULL;
	size_t hole = find(m, key, hash_of(key));
	if (!m->slots[hole].key)
		return NULL;
	void *value = m->slots[hole].value;
	free_key(&m->slots[hole]);
	m->n--;
	size_t mask = m->cap - 1;
	for (size_t i = (hole + 1) & mask; m->slots[i].key; i = (i + 1) & mask) {
		size_t home = m->slots[i].hash & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			m->slots[hole] = m->slots[i];
			hole = i;
		}
	}
	m->slots[hole] = (struct map_slot){ 0 };
	return value;
}

bool map_next(const struct map *m, size_t *pos, struct str *ret_key, void **ret_value)
{
	for (; *pos < m->cap; (*pos)++) {
		const struct map_slot *s = &m->slots[*pos];
		if (!s->key)
			continue;
		if (ret_key)
			*ret_key = (struct str){ s->key, s->key_n };
		if (ret_value)
			*ret_value = s->value;
		(*pos)++;
		return true;
	}
	return false;
}
