#include "services/gateway/limit.h"

#include "base/mem.h"

static const int64_t minute_ns = INT64_C(60000000000);
static const int64_t second_ns = INT64_C(1000000000);

struct bucket {
	struct list lru;
	int64_t full_ns; /* when all tokens will be back */
	size_t key_n;
	char key[];
};

void limits_init(struct limits *l, size_t max)
{
	map_init(&l->by_key);
	list_init(&l->lru);
	l->max = max;
}

static void drop(struct limits *l, struct bucket *b)
{
	map_del(&l->by_key, (struct str){ b->key, b->key_n });
	list_del(&b->lru);
	mem_free(b);
}

void limits_release(struct limits *l)
{
	while (!list_empty(&l->lru))
		drop(l, list_entry(l->lru.next, struct bucket, lru));
	map_release(&l->by_key);
}

static struct bucket *bucket_of(struct limits *l, struct str key)
{
	struct bucket *b = map_get(&l->by_key, key);
	if (b) {
		list_del(&b->lru);
		list_add_head(&l->lru, &b->lru);
		return b;
	}
	if (l->by_key.n >= l->max)
		drop(l, list_entry(l->lru.prev, struct bucket, lru));
	b = mem_calloc(1, sizeof(*b) + key.n);
	if (!b)
		return NULL;
	b->key_n = key.n;
	memcpy(b->key, key.p, key.n);
	if (map_put(&l->by_key, key, b, NULL) < 0) {
		mem_free(b);
		return NULL;
	}
	list_add_head(&l->lru, &b->lru);
	return b;
}

bool limits_take(struct limits *l, struct str key, uint32_t per_min, int64_t now_ns, struct limit_result *ret)
{
	struct bucket *b = bucket_of(l, key);
	int64_t step_ns = minute_ns / per_min; /* a token comes back in this time */
	*ret = (struct limit_result){ .limit = per_min, .remaining = per_min };
	if (!b)
		return true;
	int64_t full_ns = b->full_ns > now_ns ? b->full_ns : now_ns;
	int64_t over_ns = full_ns + step_ns - now_ns - step_ns * per_min;
	bool ok = over_ns <= 0;
	if (ok)
		b->full_ns = full_ns += step_ns;
	else
		ret->retry_after_s = (uint32_t)((over_ns + second_ns - 1) / second_ns);
	int64_t used = (full_ns - now_ns + step_ns - 1) / step_ns;
	ret->remaining = used >= per_min ? 0 : per_min - (uint32_t)used;
	ret->reset_s = (uint32_t)((full_ns - now_ns + second_ns - 1) / second_ns);
	return ok;
}
