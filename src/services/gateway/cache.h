#ifndef HCP_SERVICES_GATEWAY_CACHE_H
#define HCP_SERVICES_GATEWAY_CACHE_H

#include <stdint.h>

#include "base/list.h"
#include "base/map.h"

/*
 * Answers kept for a short while, by a key that says who may see them. Bounded by number and bytes; the least recently
 * used goes first. Time is handed in. One owner at a time.
 */
enum { CACHE_ENTRIES_MAX = 4096, CACHE_BYTES_MAX = 64 << 20, CACHE_BODY_MAX = 4 << 20 };

struct cache {
	struct map by_key;  /* → struct cache_entry, owned */
	struct list lru;    /* most recent first */
	size_t max_entries, max_bytes, bytes;
};

void cache_init(struct cache *c, size_t max_entries, size_t max_bytes);
void cache_release(struct cache *c);
struct cached {
	struct str body;
	char etag[24]; /* of the plain body, also beside a packed one */
	int64_t until_ms;
};

/* True with the answer, its body borrowed until the next call, if there is one that has not expired. */
bool cache_get(struct cache *c, struct str key, int64_t now_ms, struct cached *ret);
/* Copies key and body. What does not fit, or finds no memory, is not kept. */
void cache_put(struct cache *c, struct str key, const struct cached *answer);

#endif
