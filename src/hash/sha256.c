#include "hash/sha256.h"

#include <stdatomic.h>
#include <string.h>

#include "hash/engine_priv.h"
#include "hash/round_priv.h"

/* From here on the processor's own instructions pay. What mining finds is shorter: the portable code checks it. */
enum { BULK_BLOCKS = 4 };

void
sha256_compress(uint32_t h[8], const uint8_t block[SHA256_BLOCK_SIZE])
{
	uint32_t w[16], s[8];

	for (int i = 0; i < 16; i++)
		w[i] = load_be32(block + 4 * i);
	memcpy(s, h, sizeof(s));
	for (int t = 0; t < 64; t++) {
		if (t >= 16)
			w[t & 15] += sigma1(w[(t - 2) & 15]) + w[(t - 7) & 15] + sigma0(w[(t - 15) & 15]);
		sha256_round(s, sha256_k[t] + w[t & 15]);
	}
	for (int i = 0; i < 8; i++)
		h[i] += s[i];
}

static bool
bulk(uint32_t h[8], const uint8_t *p, size_t blocks)
{
#if defined(__x86_64__)
	static _Atomic int can; /* 0: not asked yet; asking traps to the hypervisor where there is one */
	int known = atomic_load_explicit(&can, memory_order_relaxed);

	if (blocks < BULK_BLOCKS)
		return false;
	if (known == 0) {
		known = hash_has_sha_ni() ? 1 : -1;
		atomic_store_explicit(&can, known, memory_order_relaxed);
	}
	if (known > 0)
		sha256_blocks_sha_ni(h, p, blocks);
	return known > 0;
#else
	return false;
#endif
}

void
sha256_init(struct sha256 *s)
{
	memcpy(s->h, sha256_iv, sizeof(s->h));
	s->total_bytes = 0;
}

void
sha256_update(struct sha256 *s, const void *p, size_t n)
{
	const uint8_t *in = p;
	size_t held = s->total_bytes % SHA256_BLOCK_SIZE;

	s->total_bytes += n;
	if (held > 0) {
		size_t take = SHA256_BLOCK_SIZE - held < n ? SHA256_BLOCK_SIZE - held : n;

		memcpy(s->block + held, in, take);
		in += take;
		n -= take;
		if (held + take < SHA256_BLOCK_SIZE)
			return;
		sha256_compress(s->h, s->block);
	}
	size_t blocks = n / SHA256_BLOCK_SIZE;

	if (bulk(s->h, in, blocks)) {
		in += blocks * SHA256_BLOCK_SIZE;
		n -= blocks * SHA256_BLOCK_SIZE;
	}
	for (; n >= SHA256_BLOCK_SIZE; in += SHA256_BLOCK_SIZE, n -= SHA256_BLOCK_SIZE)
		sha256_compress(s->h, in);
	if (n > 0)
		memcpy(s->block, in, n);
}

void
sha256_final(struct sha256 *s, uint8_t ret_digest[SHA256_SIZE])
{
	size_t held = s->total_bytes % SHA256_BLOCK_SIZE;
	uint64_t bits = s->total_bytes * 8;

	s->block[held++] = 0x80;
	if (held > SHA256_BLOCK_SIZE - 8) {
		memset(s->block + held, 0, SHA256_BLOCK_SIZE - held);
		sha256_compress(s->h, s->block);
		held = 0;
	}
	memset(s->block + held, 0, SHA256_BLOCK_SIZE - 8 - held);
	store_be32(s->block + 56, (uint32_t)(bits >> 32));
	store_be32(s->block + 60, (uint32_t)bits);
	sha256_compress(s->h, s->block);
	for (int i = 0; i < 8; i++)
		store_be32(ret_digest + 4 * i, s->h[i]);
}

void
sha256_of(const void *p, size_t n, uint8_t ret_digest[SHA256_SIZE])
{
	struct sha256 s;

	sha256_init(&s);
	sha256_update(&s, p, n);
	sha256_final(&s, ret_digest);
}

void
sha256d_of(const void *p, size_t n, uint8_t ret_digest[SHA256_SIZE])
{
	uint8_t first[SHA256_SIZE];

	sha256_of(p, n, first);
	sha256_of(first, sizeof(first), ret_digest);
}

void
sha256_midstate(const uint8_t block[SHA256_BLOCK_SIZE], uint32_t ret_h[8])
{
	memcpy(ret_h, sha256_iv, sizeof(sha256_iv));
	sha256_compress(ret_h, block);
}

void
sha256d_header_tail(const uint32_t midstate[8], const uint8_t tail[16], uint8_t ret_digest[SHA256_SIZE])
{
	struct sha256 s;
	uint8_t first[SHA256_SIZE];

	memcpy(s.h, midstate, sizeof(s.h));
	s.total_bytes = SHA256_BLOCK_SIZE;
	sha256_update(&s, tail, 16);
	sha256_final(&s, first);
	sha256_of(first, sizeof(first), ret_digest);
}
