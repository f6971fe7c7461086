#ifndef HCP_HASH_ENGINE_PRIV_H
#define HCP_HASH_ENGINE_PRIV_H

#include "hash/engine.h"

/* Where one call of scan stands. */
struct hash_scan {
	const struct hash_work *work;
	struct hash_hit *hits;
	uint32_t max_hits, nhits;
	uint64_t begin; /* first nonce of the call */
	uint64_t end;   /* one past the last */
};

/* Checks the arguments (our own bugs only). */
struct hash_scan hash_scan_begin(const struct hash_work *w, uint32_t nonce_begin, uint64_t nonce_count,
	struct hash_hit *hits, uint32_t max_hits);

/*
 * A group of lanes starting at nonce `base` passed the filter: masks[v] has a bit per lane for version v. Verifies each
 * by the full hash and records it. Returns how many nonces of the group are settled: lanes, or fewer when hits[] had no
 * room left for another nonce.
 */
uint32_t hash_scan_settle(struct hash_scan *s, uint64_t base, uint32_t lanes, const uint32_t *masks);

static inline bool
hash_stopped(const _Atomic uint32_t *stop)
{
	return stop != NULL && atomic_load_explicit(stop, memory_order_relaxed) != 0;
}

hash_scan_fn hash_scan_portable;
#if defined(__x86_64__)
hash_scan_fn hash_scan_sha_ni;
hash_scan_fn hash_scan_avx2;
hash_scan_fn hash_scan_avx512;

bool hash_has_sha_ni(void);
/* n times the compression function, for a processor that has the instructions. */
void sha256_blocks_sha_ni(uint32_t h[8], const uint8_t *p, size_t n);
#endif

#endif
