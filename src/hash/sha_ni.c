/*
 * SHA-NI: two rounds an instruction. sha256rnds2 takes three cycles of a unit of its own and answers after four, so the
 * kernel's whole art is to keep that unit fed: LANES independent nonces go through in step, and each quad of rounds
 * stands right after the quad of the schedule that it needs (see IN_ORDER). Beside it the schedule runs for nothing;
 * hence it is made anew for every version. Four lanes measured best: what does not fit in 16 registers is reloaded at
 * no cost. A state is two registers, named by their words from high to low: abef and cdgh; a message is quads of words,
 * lowest first. Rounds 0..3 of the first hash come ready from hash_work, rounds 62 and 63 of the second are left out.
 */
#include "hash/engine_priv.h"

#include <immintrin.h>

#include "hash/round_priv.h"

#define LANES 4
#define INLINE static inline __attribute__((always_inline))
#define EACH for (int j = 0; j < LANES; j++)
/*
 * The compiler may not move what this names across another of the kind. Left alone it makes the whole schedule first,
 * one long chain of latencies during which no round runs: a fifth slower.
 */
#define IN_ORDER(q) __asm__ volatile("" : "+x"(q))

typedef __m128i quad;

INLINE quad
quad_of(uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3)
{
	return _mm_set_epi32((int)w3, (int)w2, (int)w1, (int)w0);
}

INLINE quad
load_quad(const uint32_t *w)
{
	return _mm_loadu_si128((const quad *)(const void *)w);
}

/* Two rounds with the two low words of kw. x is abef; y is cdgh and becomes abef, and x is then cdgh. */
INLINE void
rounds2(const quad x[LANES], quad y[LANES], const quad kw[LANES])
{
	EACH {
		y[j] = _mm_sha256rnds2_epu32(y[j], x[j], kw[j]);
		IN_ORDER(y[j]);
	}
}

/* Four rounds. The high words of kw go by way of memory: the shuffle that they would need has no port to spare. */
INLINE void
rounds4(quad x[LANES], quad y[LANES], quad kw[LANES])
{
	rounds2(x, y, kw);
	EACH {
		__asm__ volatile("" : "+m"(kw[j]));
		kw[j] = _mm_loadl_epi64((const quad *)(const void *)((const char *)&kw[j] + 8));
	}
	rounds2(y, x, kw);
}

/* Quad i >= 4 of a message of which only the four quads before it are kept, at their index modulo four. */
INLINE void
advance(quad m[4], int i)
{
	quad *m0 = &m[i & 3], m1 = m[(i + 1) & 3], m2 = m[(i + 2) & 3], m3 = m[(i + 3) & 3];

	*m0 = _mm_add_epi32(_mm_sha256msg1_epu32(*m0, m1), _mm_alignr_epi8(m3, m2, 4));
	*m0 = _mm_sha256msg2_epu32(*m0, m3);
	IN_ORDER(*m0);
}

/* Rounds 4..63 of the second block under one version; the digest as W[0..3] and W[4..7] of the second hash. */
INLINE void
first_hash(const struct hash_work *work, const struct hash_version *ver, const uint32_t nonce[LANES],
	quad m[LANES][4])
{
	const uint8_t *tail = work->header + SHA256_BLOCK_SIZE;
	const uint32_t *s = ver->state3, *mid = ver->midstate;
	quad x[LANES], y[LANES], kw[LANES];

	EACH {
		x[j] = _mm_add_epi32(quad_of(s[5], s[4], s[1], s[0]), quad_of(0, nonce[j], 0, nonce[j]));
		y[j] = quad_of(s[7], s[6], s[3], s[2]);
		m[j][0] = quad_of(load_be32(tail), load_be32(tail + 4), load_be32(tail + 8), nonce[j]);
		m[j][1] = quad_of(0x80000000, 0, 0, 0);
		m[j][2] = _mm_setzero_si128();
		m[j][3] = quad_of(0, 0, 0, 640);
	}
#pragma GCC unroll 16
	for (int i = 1; i < 16; i++) {
		EACH {
			if (i >= 4)
				advance(m[j], i);
			kw[j] = i < 4 ? load_quad(work->kw + 4 * i) : _mm_add_epi32(m[j][i & 3], load_quad(sha256_k + 4 * i));
		}
		rounds4(x, y, kw);
	}
	EACH {
		quad abef = _mm_add_epi32(x[j], quad_of(mid[5], mid[4], mid[1], mid[0]));
		quad cdgh = _mm_add_epi32(y[j], quad_of(mid[7], mid[6], mid[3], mid[2]));

		m[j][0] = _mm_shuffle_epi32(_mm_unpackhi_epi64(abef, cdgh), 0xb1);
		m[j][1] = _mm_shuffle_epi32(_mm_unpacklo_epi64(abef, cdgh), 0xb1);
	}
}

/* The double hash's last word without its initial value: e after round 60. m holds W[0..7]. */
INLINE void
second_hash(quad m[LANES][4], uint32_t ret_e[LANES])
{
	const uint32_t *iv = sha256_iv;
	quad x[LANES], y[LANES], kw[LANES];

	EACH {
		m[j][2] = quad_of(0x80000000, 0, 0, 0);
		m[j][3] = quad_of(0, 0, 0, 256);
		x[j] = quad_of(iv[5], iv[4], iv[1], iv[0]);
		y[j] = quad_of(iv[7], iv[6], iv[3], iv[2]);
	}
#pragma GCC unroll 16
	for (int i = 0; i < 16; i++) {
		EACH {
			if (i >= 4)
				advance(m[j], i);
			kw[j] = _mm_add_epi32(m[j][i & 3], load_quad(sha256_k + 4 * i));
		}
		if (i < 15)
			rounds4(x, y, kw);
	}
	rounds2(x, y, kw); /* rounds 60 and 61: f is what e was after 60 */
	EACH
		ret_e[j] = (uint32_t)_mm_cvtsi128_si32(y[j]);
}

uint32_t
hash_scan_sha_ni(const struct hash_work *work, uint32_t nonce_begin, uint64_t nonce_count,
	const _Atomic uint32_t *stop, struct hash_hit *hits, uint32_t max_hits, uint64_t *ret_scanned)
{
	struct hash_scan s = hash_scan_begin(work, nonce_begin, nonce_count, hits, max_hits);
	uint64_t at = s.begin;

	while (at < s.end && !hash_stopped(stop)) {
		uint32_t masks[HASH_VERSIONS_MAX], any = 0, settled = LANES, nonce[LANES];

		EACH
			nonce[j] = __builtin_bswap32((uint32_t)at + (uint32_t)j); /* as W3: the header is little-endian */
		for (uint32_t v = 0; v < work->nversions; v++) {
			quad m[LANES][4];
			uint32_t e[LANES];

			first_hash(work, &work->versions[v], nonce, m);
			second_hash(m, e);
			masks[v] = 0;
			EACH
				masks[v] |= (uint32_t)(((e[j] + sha256_iv[7]) & work->filter) == 0) << j;
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

/* One message: no lanes to step together, so the unit waits for itself; still six times the portable code. */
void
sha256_blocks_sha_ni(uint32_t h[8], const uint8_t *p, size_t n)
{
	const quad swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	quad x = quad_of(h[5], h[4], h[1], h[0]), y = quad_of(h[7], h[6], h[3], h[2]), m[4];

	for (; n > 0; n--, p += SHA256_BLOCK_SIZE) {
		quad x0 = x, y0 = y;

#pragma GCC unroll 16
		for (int i = 0; i < 16; i++) {
			if (i < 4)
				m[i] = _mm_shuffle_epi8(_mm_loadu_si128((const quad *)(const void *)(p + 16 * i)), swap);
			else
				advance(m, i);
			quad kw = _mm_add_epi32(m[i & 3], load_quad(sha256_k + 4 * i));

			y = _mm_sha256rnds2_epu32(y, x, kw);
			x = _mm_sha256rnds2_epu32(x, y, _mm_shuffle_epi32(kw, 0x0e));
		}
		x = _mm_add_epi32(x, x0);
		y = _mm_add_epi32(y, y0);
	}
	h[0] = (uint32_t)_mm_extract_epi32(x, 3);
	h[1] = (uint32_t)_mm_extract_epi32(x, 2);
	h[4] = (uint32_t)_mm_extract_epi32(x, 1);
	h[5] = (uint32_t)_mm_extract_epi32(x, 0);
	h[2] = (uint32_t)_mm_extract_epi32(y, 3);
	h[3] = (uint32_t)_mm_extract_epi32(y, 2);
	h[6] = (uint32_t)_mm_extract_epi32(y, 1);
	h[7] = (uint32_t)_mm_extract_epi32(y, 0);
}
