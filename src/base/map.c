#include "base/map.h"

#include <string.h>

#include "base/mem.h"

struct map_slot {
	char *key; /* owned; NULL: free */
	size_t key_n;
	uint64_t hash;
	void *value; /* borrowed */
};

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

void map_release(struct map *m)
{
	for (size_t i = 0; i < m->cap; i++)
		mem_free(m->slots[i].key);
	mem_free(m->slots);
	map_init(m);
}

static size_t find(const struct map *m, struct str key, uint64_t h)
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
	const struct map_slot *s = &m->slots[find(m, key, hash_bytes(key.p, key.n, 0))];
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

int map_put(struct map *m, struct str key, void *value, void **ret_old)
{
	if ((m->n + 1) * 10 > m->cap * 7 && grow(m) < 0)
		return HCP_ENOMEM;
	uint64_t h = hash_bytes(key.p, key.n, 0);
	struct map_slot *s = &m->slots[find(m, key, h)];
	void *old = s->key ? s->value : NULL;
	if (!s->key) {
		char *copy = mem_dup(key.p, key.n);
		if (!copy)
			return HCP_ENOMEM;
		*s = (struct map_slot){ .key = copy, .key_n = key.n, .hash = h };
		m->n++;
	}
	s->value = value;
	if (ret_old)
		*ret_old = old;
	return 0;
}

void *map_del(struct map *m, struct str key)
{
	if (m->n == 0)
		return NULL;
	size_t hole = find(m, key, hash_bytes(key.p, key.n, 0));
	if (!m->slots[hole].key)
		return NULL;
	void *value = m->slots[hole].value;
	mem_free(m->slots[hole].key);
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
