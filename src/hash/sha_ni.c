/*
 * SHA-NI: two rounds an instruction. sha256rnds2 answers later than the next could start, so LANES independent nonces
 * are interleaved: three, the most for which 16 registers still do. A state is two registers, named by their words from
 * high to low: abef and cdgh; a message is quads of words, lowest first. Leaves out the same work as lanes.inc does,
 * as far as whole quads allow.
 */
#include "hash/engine_priv.h"

#include <immintrin.h>

#include "hash/round_priv.h"

#define LANES 3
#define INLINE static inline __attribute__((always_inline))
#define EACH for (int j = 0; j < LANES; j++)

typedef __m128i quad;

INLINE quad
quad_of(uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3)
{
	return _mm_set_epi32((int)w3, (int)w2, (int)w1, (int)w0);
}

INLINE quad
k_quad(int i)
{
	return _mm_loadu_si128((const quad *)(const void *)(sha256_k + 4 * i));
}

/* Four rounds. x, y is abef, cdgh before and after. */
INLINE void
rounds4(quad *x, quad *y, quad kw)
{
	*y = _mm_sha256rnds2_epu32(*y, *x, kw);
	*x = _mm_sha256rnds2_epu32(*x, *y, _mm_shuffle_epi32(kw, 0x0e));
}

/* The quad after m3: part is sha256msg1 of m0 and m1. */
INLINE quad
next_quad(quad part, quad m2, quad m3)
{
	return _mm_sha256msg2_epu32(_mm_add_epi32(part, _mm_alignr_epi8(m3, m2, 4)), m3);
}

/* q[i] = W[4i..4i+3] of the second block for i = 4..15; kw[i] the same with K added. */
INLINE void
expand_first(const struct hash_work *work, const uint32_t nonce[LANES], quad kw[16][LANES])
{
	const uint8_t *tail = work->header + SHA256_BLOCK_SIZE;
	quad q[16][LANES];

	EACH {
		quad pad = quad_of(0, 0, 0, 640), start = quad_of(0x80000000, 0, 0, 0);
		quad m0 = quad_of(load_be32(tail), load_be32(tail + 4), load_be32(tail + 8), nonce[j]);

		q[4][j] = _mm_sha256msg2_epu32(_mm_sha256msg1_epu32(m0, start), pad);
		q[5][j] = next_quad(start, pad, q[4][j]);
		q[6][j] = next_quad(_mm_setzero_si128(), q[4][j], q[5][j]);
		q[7][j] = next_quad(quad_of(0, 0, 0x00a00055, work->c31), q[5][j], q[6][j]);
	}
#pragma GCC unroll 16
	for (int i = 4; i < 16; i++)
		EACH {
			if (i >= 8)
				q[i][j] = next_quad(_mm_sha256msg1_epu32(q[i - 4][j], q[i - 3][j]), q[i - 2][j], q[i - 1][j]);
			kw[i][j] = _mm_add_epi32(q[i][j], k_quad(i));
		}
}

/* Rounds 4..63 of the second block under one version; the digest as W[0..3] and W[4..7] of the second hash. */
INLINE void
first_hash(const struct hash_work *work, const struct hash_version *ver, const uint32_t nonce[LANES],
	quad kw[16][LANES], quad m0[LANES], quad m1[LANES])
{
	const uint32_t *s = ver->state3, *mid = ver->midstate;
	quad x[LANES], y[LANES];

	EACH {
		x[j] = _mm_add_epi32(quad_of(s[5], s[4], s[1], s[0]), quad_of(0, nonce[j], 0, nonce[j]));
		y[j] = quad_of(s[7], s[6], s[3], s[2]);
	}
#pragma GCC unroll 16
	for (int i = 1; i < 16; i++)
		EACH
			rounds4(&x[j], &y[j], i < 4 ? _mm_loadu_si128((const quad *)(const void *)(work->kw + 4 * i)) : kw[i][j]);
	EACH {
		quad abef = _mm_add_epi32(x[j], quad_of(mid[5], mid[4], mid[1], mid[0]));
		quad cdgh = _mm_add_epi32(y[j], quad_of(mid[7], mid[6], mid[3], mid[2]));

		m0[j] = _mm_shuffle_epi32(_mm_unpackhi_epi64(abef, cdgh), 0xb1);
		m1[j] = _mm_shuffle_epi32(_mm_unpacklo_epi64(abef, cdgh), 0xb1);
	}
}

/* The last word of the double hash, without its initial value: f after round 61 in the lowest word of ret. */
INLINE void
second_hash(const quad m0[LANES], const quad m1[LANES], quad ret[LANES])
{
	const uint32_t *iv = sha256_iv;
	const quad start = quad_of(0x80000000, 0, 0, 0), pad = quad_of(0, 0, 0, 256);
	quad x[LANES], y[LANES], q[16][LANES];

	EACH {
		x[j] = quad_of(iv[5], iv[4], iv[1], iv[0]);
		y[j] = quad_of(iv[7], iv[6], iv[3], iv[2]);
		q[0][j] = m0[j];
		q[1][j] = m1[j];
		q[2][j] = start;
		q[3][j] = pad;
	}
#pragma GCC unroll 16
	for (int i = 0; i < 15; i++)
		EACH {
			if (i == 4)
				q[4][j] = _mm_sha256msg2_epu32(_mm_sha256msg1_epu32(q[0][j], q[1][j]), pad);
			else if (i == 6)
				q[6][j] = next_quad(start, q[4][j], q[5][j]);
			else if (i > 4)
				q[i][j] = next_quad(_mm_sha256msg1_epu32(q[i - 4][j], q[i - 3][j]), q[i - 2][j], q[i - 1][j]);
			rounds4(&x[j], &y[j], _mm_add_epi32(q[i][j], k_quad(i)));
		}
	EACH {
		quad last = next_quad(_mm_sha256msg1_epu32(q[11][j], q[12][j]), q[13][j], q[14][j]);

		ret[j] = _mm_sha256rnds2_epu32(y[j], x[j], _mm_add_epi32(last, k_quad(15)));
	}
}

uint32_t
hash_scan_sha_ni(const struct hash_work *work, uint32_t nonce_begin, uint64_t nonce_count,
	const _Atomic uint32_t *stop, struct hash_hit *hits, uint32_t max_hits, uint64_t *ret_scanned)
{
	struct hash_scan s = hash_scan_begin(work, nonce_begin, nonce_count, hits, max_hits);
	uint64_t at = s.begin;

	while (at < s.end && !hash_stopped(stop)) {
		uint32_t masks[HASH_VERSIONS_MAX], any = 0, settled = LANES, nonce[LANES];
		quad kw[16][LANES];

		EACH
			nonce[j] = __builtin_bswap32((uint32_t)at + (uint32_t)j); /* as W3: the header is little-endian */
		expand_first(work, nonce, kw);
		for (uint32_t v = 0; v < work->nversions; v++) {
			quad m0[LANES], m1[LANES], f[LANES];

			first_hash(work, &work->versions[v], nonce, kw, m0, m1);
			second_hash(m0, m1, f);
			masks[v] = 0;
			EACH {
				uint32_t last = (uint32_t)_mm_cvtsi128_si32(f[j]) + sha256_iv[7];

				masks[v] |= (uint32_t)((last & work->filter) == 0) << j;
			}
			any |= masks[v];
		}
		if (any != 0)
			settled = hash_scan_settle(&s, at, LANES, masks);
		at += settled;
		if (settled < LANES)
			break;
	}
	*ret_scanned = (at < s.end ? at : s.end) - s.begin;
	return s.nhits;
}
