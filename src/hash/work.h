#ifndef HCP_HASH_WORK_H
#define HCP_HASH_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "hash/sha256.h"

/*
 * Bitcoin's proof of work as numbers: targets, difficulty, and the job that an engine scans.
 *
 * Byte order. A block header is 80 bytes, all integers little-endian:
 *
 *     0        4                     36                    68      72      76      80
 *     | version | previous block hash | merkle root         | time  | nbits | nonce |
 *     |<---------------- midstate: bytes 0..63 ---------->|<---- tail: 64..79 ---->|
 *
 * A hash and a target are 32 bytes that stand for one 256-bit little-endian number: byte 31 is the most significant.
 * That is the order in which sha256d_of writes them. Block explorers and RPC print the bytes reversed; hash_reverse
 * converts. A header meets a target when hash <= target.
 */
enum {
	HASH_HEADER_SIZE = 80,
	HASH_NONCE_OFFSET = 76,
	HASH_VERSIONS_MAX = 4,  /* more would lengthen the time between two looks at the gate */
	HASH_BRANCHES_MAX = 32, /* a block of 2^32 transactions */
};

/* What depends on one header version (BIP 320 rolling changes only the first 64 bytes). Engines read it. */
struct hash_version {
	uint32_t version;
	uint32_t midstate[8];
	uint32_t state3[8]; /* a..h after rounds 0..3 of the second block with nonce 0; W3 adds to a and e */
	uint32_t hkw[3];    /* h + K[t] + W[t] of rounds 4..6, where h is still constant */
};

/*
 * A job, ready for any engine. Filled by hash_work_init, then read-only: threads may share one and scan different
 * nonce ranges. Owns nothing.
 */
struct hash_work {
	uint8_t header[HASH_HEADER_SIZE]; /* nonce field as given; not used */
	uint8_t target[SHA256_SIZE];
	uint32_t filter;    /* bits of the digest's last word that must be 0 in any hash that meets the target */
	uint32_t kw[18];    /* K[t] + W[t] of rounds 0..17 of the second block, which no nonce changes (3: K only) */
	uint32_t w16, w17;  /* W[16], W[17] */
	uint32_t c18, c19;  /* the constant parts of W[18] and W[19] */
	uint32_t c31, c32;  /* and of W[31] and W[32] */
	uint32_t nversions; /* 1..HASH_VERSIONS_MAX */
	struct hash_version versions[HASH_VERSIONS_MAX];
};

void hash_work_init(struct hash_work *w, const uint8_t header[HASH_HEADER_SIZE], const uint8_t target[SHA256_SIZE]);
/*
 * The same header under several versions at once (version rolling, BIP 310/320): the second block's message schedule
 * is the same for all, so that each further version costs about 16 % fewer operations. versions[0..n), 1 <= n <=
 * HASH_VERSIONS_MAX; the header's own version field is replaced. HCP_EINVAL when n is outside.
 */
int hash_work_init_rolled(struct hash_work *w, const uint8_t header[HASH_HEADER_SIZE],
	const uint8_t target[SHA256_SIZE], const uint32_t *versions, size_t n, struct err *err) MUST_CHECK;

/* A different share target for the same job; everything else stays. */
void hash_work_set_target(struct hash_work *w, const uint8_t target[SHA256_SIZE]);

/* Full hash of the job under versions[version_index] and nonce. */
void hash_work_digest(const struct hash_work *w, uint32_t version_index, uint32_t nonce,
	uint8_t ret_hash[SHA256_SIZE]);

/*
 * Compact form (nBits) to target. HCP_ERANGE for what Bitcoin refuses: negative, zero or more than 256 bits.
 */
int hash_target_from_nbits(uint32_t nbits, uint8_t ret_target[SHA256_SIZE]) MUST_CHECK;
/*
 * Share difficulty to target: floor(0xffff * 2^208 / difficulty) to the precision of a double, at most 2^256 - 1.
 * HCP_ERANGE unless difficulty is finite, > 0 and the target comes out >= 1.
 */
int hash_target_from_difficulty(double difficulty, uint8_t ret_target[SHA256_SIZE]) MUST_CHECK;
/* 0xffff * 2^208 / hash: the difficulty that this hash (or target) just reaches; infinity for an all-zero hash. */
double hash_difficulty_of(const uint8_t hash[SHA256_SIZE]);
bool hash_meets(const uint8_t hash[SHA256_SIZE], const uint8_t target[SHA256_SIZE]);

/* Reverses 32 bytes: between digest order and the order in which explorers print. dst may be src. */
void hash_reverse(uint8_t dst[SHA256_SIZE], const uint8_t src[SHA256_SIZE]);

/*
 * Merkle root of a block template: the coinbase transaction's id folded with the branch hashes from the bottom up, as
 * in Stratum's mining.notify. coinbase is the serialised transaction without witness; branches are in digest order.
 * HCP_EINVAL above HASH_BRANCHES_MAX.
 */
int hash_merkle_root(const uint8_t *coinbase, size_t coinbase_n, const uint8_t (*branches)[SHA256_SIZE], size_t n,
	uint8_t ret_root[SHA256_SIZE]) MUST_CHECK;

#endif
