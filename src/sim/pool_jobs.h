#ifndef HCP_SIM_POOL_JOBS_H
#define HCP_SIM_POOL_JOBS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "wire/stratum_v1.h"

/*
 * Makes the jobs of a pool on a chain that exists only here: real layout of header, coinbase (BIP 34 height, room for
 * extranonces, subsidy by height, witness commitment) and merkle branches; contents drawn from a seed. Pure: same seed
 * and same calls, same jobs.
 *
 *	coinb1: version | 1 input | null outpoint | script: height, tag, push of N bytes ┐
 *	                                            extranonce1 extranonce2              ┤ script
 *	coinb2: sequence | outputs: pay to witness key hash, OP_RETURN commitment | lock time
 */
enum {
	POOL_JOBS_EXTRANONCE1 = 4, /* as src/stratum/pool gives out */
	POOL_JOBS_BRANCHES = 11,   /* of a block with 1,025 to 2,048 transactions */
};

struct pool_jobs {
	struct rng rng;
	uint32_t extranonce2_size;
	uint32_t nbits;
	uint64_t height;         /* of the block being mined */
	uint8_t tip[32];         /* hash of the block before it, digest order */
	uint8_t key_hash[20];    /* payee */
	uint64_t made;
};

/* extranonce2_size: 1..8. height > 0. nbits: compact target of the chain. */
void pool_jobs_init(struct pool_jobs *j, uint64_t seed, uint64_t height, uint32_t nbits, uint32_t extranonce2_size);
/* A new template on the present tip, with new transactions. clean stands in ret->clean. */
void pool_jobs_make(struct pool_jobs *j, uint32_t ntime, bool clean, struct stratum_job *ret);
/* The network found a block: the tip becomes a hash drawn from the seed, the height grows. */
void pool_jobs_foreign_block(struct pool_jobs *j);
/* A miner of ours found it: hash of its header, digest order. */
void pool_jobs_own_block(struct pool_jobs *j, const uint8_t hash[32]);
/* Block subsidy in satoshi. */
uint64_t pool_jobs_subsidy(uint64_t height);

#endif
