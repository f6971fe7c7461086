#ifndef HCP_BASE_MAP_H
#define HCP_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Open-addressing hash map from bytes (below 2 GiB; copied, or borrowed from whoever puts them) to a borrowed pointer;
 * 24 bytes a slot, linear probing with backward-shift deletion, grown at 70 % load. Iteration order is that of
 * insertion only until the first deletion and is the same for the same sequence of operations, so simulations replay.
 */
struct map_slot;

struct map {
	struct map_slot *slots; /* owned */
	size_t cap, n;
};

void map_init(struct map *m);
/* Frees the keys that it copied, not values. */
void map_release(struct map *m);
void *map_get(const struct map *m, struct str key);
/* Sets or replaces; *ret_old (may be NULL) gets the former value or NULL. */
int map_put(struct map *m, struct str key, void *value, void **ret_old) MUST_CHECK;
/* The same without a copy: the key's bytes, most often in the value, must stay until it is deleted or put again. */
int map_put_ref(struct map *m, struct str key, void *value, void **ret_old) MUST_CHECK;
/* Removes and returns the value; NULL if absent. */
void *map_del(struct map *m, struct str key);
/* Walks: *pos starts at 0; returns false at the end. Do not change the map meanwhile. */
bool map_next(const struct map *m, size_t *pos, struct str *ret_key, void **ret_value);

/* Keys of 8 bytes. */
static inline struct str map_key_u64(const uint64_t *k)
{
	return (struct str){ (const char *)k, sizeof(*k) };
}

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);

#endif
