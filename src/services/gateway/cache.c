#include "services/gateway/cache.h"

#include "base/mem.h"

struct cache_entry {
	struct list lru;
	struct cached answer; /* its body lies in bytes */
	size_t key_n;
	char bytes[]; /* key, then body */
};

void cache_init(struct cache *c, size_t max_entries, size_t max_bytes)
{
	*c = (struct cache){ .max_entries = max_entries, .max_bytes = max_bytes };
	map_init(&c->by_key);
	list_init(&c->lru);
}

static void drop(struct cache *c, struct cache_entry *e)
{
	map_del(&c->by_key, (struct str){ e->bytes, e->key_n });
	list_del(&e->lru);
	c->bytes -= e->key_n + e->answer.body.n;
	mem_free(e);
}

void cache_release(struct cache *c)
{
	while (!list_empty(&c->lru))
		drop(c, list_entry(c->lru.next, struct cache_entry, lru));
	map_release(&c->by_key);
}

bool cache_get(struct cache *c, struct str key, int64_t now_ms, struct cached *ret)
{
	struct cache_entry *e = map_get(&c->by_key, key);
	if (!e)
		return false;
	if (now_ms >= e->answer.until_ms) {
		drop(c, e);
		return false;
	}
	if (c->lru.next != &e->lru) {
		list_del(&e->lru);
		list_add_head(&c->lru, &e->lru);
	}
	*ret = e->answer;
	return true;
}

void cache_put(struct cache *c, struct str key, const struct cached *answer)
{
	struct str body = answer->body;
	struct cache_entry *e = map_get(&c->by_key, key);
	size_t size = key.n + body.n;
	if (e)
		drop(c, e);
	if (size > c->max_bytes || body.n > CACHE_BODY_MAX)
		return;
	while (c->by_key.n >= c->max_entries || c->bytes + size > c->max_bytes)
		drop(c, list_entry(c->lru.prev, struct cache_entry, lru));
	e = mem_alloc(sizeof(*e) + size);
	if (!e)
		return;
	*e = (struct cache_entry){ .answer = *answer, .key_n = key.n };
	e->answer.body.p = e->bytes + key.n;
	memcpy(e->bytes, key.p, key.n);
	if (body.n)
		memcpy(e->bytes + key.n, body.p, body.n);
	if (map_put(&c->by_key, key, e, NULL) < 0) {
		mem_free(e);
		return;
	}
	list_add_head(&c->lru, &e->lru);
	c->bytes += size;
}
