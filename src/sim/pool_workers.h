#ifndef HCP_SIM_POOL_WORKERS_H
#define HCP_SIM_POOL_WORKERS_H

#include <stdint.h>

#include "base/map.h"
#include "base/str.h"
#include "stratum/pool.h"

/*
 * What each worker of the pool did, over all its connections: counters by reason, and its hash rate estimated from the
 * difficulty of accepted shares in a sliding window. Pure; times in seconds of any one clock.
 *
 *	bucket: | t-290..t-280 | ... | t-10..t |   POOL_WINDOW_BUCKETS of POOL_BUCKET_S
 */
enum {
	POOL_WORKERS_MAX = 1024,   /* the rest share one row, "(others)" */
	POOL_WINDOW_BUCKETS = 30,
	POOL_BUCKET_S = 10,
};

struct pool_worker {
	char name[STRATUM_TEXT_MAX + 1];
	struct stratum_session_stats stats; /* of connections that have ended */
	uint64_t blocks;
	double bucket[POOL_WINDOW_BUCKETS]; /* difficulty */
	int64_t bucket_no;                  /* newest, counted from time 0 */
	int64_t first_s;                    /* first accepted share; INT64_MAX: none */
	struct stratum_session_stats live;  /* scratch of pool_workers_json */
	uint32_t connections;               /* scratch */
};

struct pool_workers {
	struct map by_name;
	struct pool_worker *rows[POOL_WORKERS_MAX]; /* owned */
	size_t n;
};

void pool_workers_init(struct pool_workers *w);
void pool_workers_release(struct pool_workers *w);
/* NULL without memory. */
struct pool_worker *pool_workers_get(struct pool_workers *w, const char *name);
void pool_worker_share(struct pool_worker *w, double difficulty, bool is_block, int64_t now_s);
/* Hashes a second over the window, or since the first share if that is shorter. */
double pool_worker_rate(struct pool_worker *w, int64_t now_s);
void pool_stats_add(struct stratum_session_stats *into, const struct stratum_session_stats *s);

/* Before pool_workers_json: forget the live counters, then add each open session. */
void pool_workers_begin(struct pool_workers *w);
void pool_workers_live(struct pool_workers *w, const struct stratum_session *s);
/* {"accepted":…,"rejected":{"stale":…},"hash_rate_hs":…,"workers":[…]} plus the fields in `head` ("\"height\":7,"). */
void pool_workers_json(struct pool_workers *w, const char *head, int64_t now_s, struct buf *out);

#endif
