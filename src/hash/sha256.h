#ifndef HCP_HASH_SHA256_H
#define HCP_HASH_SHA256_H

#include <stddef.h>
#include <stdint.h>

/*
 * SHA-256 (FIPS 180-4) and Bitcoin's double SHA-256. For digests of files, merkle roots, share checks and ids; the
 * mining engines of engine.h have code of their own. Portable C; SHA-NI for messages of 256 bytes and more. Pure,
 * allocates nothing, any thread (one thread per struct).
 */
enum {
	SHA256_SIZE = 32,
	SHA256_BLOCK_SIZE = 64,
};

struct sha256 {
	uint32_t h[8];
	uint64_t total_bytes;
	uint8_t block[SHA256_BLOCK_SIZE]; /* bytes not yet compressed: total_bytes % 64 of them */
};

void sha256_init(struct sha256 *s);
void sha256_update(struct sha256 *s, const void *p, size_t n);
/* Writes the digest and leaves *s used up; sha256_init before the next message. */
void sha256_final(struct sha256 *s, uint8_t ret_digest[SHA256_SIZE]);

void sha256_of(const void *p, size_t n, uint8_t ret_digest[SHA256_SIZE]);
/* SHA-256 of SHA-256, in digest order (not reversed as block explorers print it). ret_digest may overlap p. */
void sha256d_of(const void *p, size_t n, uint8_t ret_digest[SHA256_SIZE]);

/* State after one 64-byte block from the initial value: the "midstate" of a block header's first 64 bytes. */
void sha256_midstate(const uint8_t block[SHA256_BLOCK_SIZE], uint32_t ret_h[8]);
/* One application of the compression function: h is read and replaced. */
void sha256_compress(uint32_t h[8], const uint8_t block[SHA256_BLOCK_SIZE]);
/* Double SHA-256 of an 80-byte header of which the midstate is known; tail = bytes 64..79. */
void sha256d_header_tail(const uint32_t midstate[8], const uint8_t tail[16], uint8_t ret_digest[SHA256_SIZE]);

#endif
