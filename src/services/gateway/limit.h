#ifndef HCP_SERVICES_GATEWAY_LIMIT_H
#define HCP_SERVICES_GATEWAY_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"

/*
 * Token buckets by name (a user, an address): `per_min` tokens, refilled evenly over a minute. Kept as the one time at
 * which the bucket will be full again (GCRA), so a bucket costs nothing while it is not used.
 * Time is handed in. One owner at a time.
 */
enum { LIMIT_BUCKETS_MAX = 65536 /* the least recently used is forgotten beyond */ };

struct limits {
	struct map by_key;  /* → struct bucket, owned */
	struct list lru;    /* most recent first */
	size_t max;
};

struct limit_result {
	uint32_t limit, remaining;
	uint32_t retry_after_s; /* 0 if allowed */
	uint32_t reset_s;       /* until the bucket is full */
};

void limits_init(struct limits *l, size_t max);
void limits_release(struct limits *l);
/* True if a token was there. per_min > 0. When memory is short the request passes. */
bool limits_take(struct limits *l, struct str key, uint32_t per_min, int64_t now_ns, struct limit_result *ret);

#endif
