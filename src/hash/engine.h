#ifndef HCP_HASH_ENGINE_H
#define HCP_HASH_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hash/work.h"

/*
 * The mining engines: one row per instruction set, all with the same contract, so that a caller picks a row and never
 * asks what the processor is. Pure: no I/O, no clock, no allocation; the caller's thread does the work.
 */
struct hash_hit {
	uint32_t nonce;
	uint32_t version;          /* the header version it was found under */
	uint8_t hash[SHA256_SIZE]; /* digest order; <= target, computed by the plain SHA-256 and not by the engine */
};

/*
 * Tries the nonces nonce_begin, nonce_begin + 1, ... (nonce_count of them, not past 2^32 - 1) under every version of
 * the job, and writes hits in order of nonce groups.
 *
 * Returns the number of hits and sets *ret_scanned: nonces nonce_begin .. nonce_begin + *ret_scanned - 1 are done
 * under all versions, the rest was not reported on (hashes made = *ret_scanned * nversions). It stops early
 *   - when *stop becomes non-zero: looked at between lane groups, i.e. every `lanes * nversions` hashes, which is 0.2
 *     to 5 microseconds; stop may be NULL;
 *   - when hits[] is full: call again from nonce_begin + *ret_scanned.
 * max_hits >= HASH_VERSIONS_MAX, so that all versions of one nonce fit.
 */
typedef uint32_t hash_scan_fn(const struct hash_work *w, uint32_t nonce_begin, uint64_t nonce_count,
	const _Atomic uint32_t *stop, struct hash_hit *hits, uint32_t max_hits, uint64_t *ret_scanned);

struct hash_engine {
	const char *name;
	uint32_t lanes; /* nonces tried at once; *ret_scanned after a stop is a multiple of it */
	bool (*is_supported)(void); /* by this processor and operating system */
	hash_scan_fn *scan;
};

/* The table, fastest first; hash_engine_count rows. Rows exist on every x86-64 build, whatever it runs on. */
extern const struct hash_engine hash_engines[];
extern const size_t hash_engine_count;

/*
 * The first supported row. A fixed order and not a measurement, which would need a clock and be fooled by a busy
 * neighbour: where one processor had all of them, AVX-512 made 2.1 times the hashes of SHA-NI, SHA-NI 1.4 times those
 * of AVX2 and AVX2 4 times those of plain C. Another order is for the caller to ask for, by name.
 */
const struct hash_engine *hash_engine_best(void);
/* NULL when there is no such row, or when this processor cannot run it. */
const struct hash_engine *hash_engine_by_name(const char *name);

#endif
