/*
 * The kernel of the lane engines: LANES nonces at once, one per 32-bit lane of a `vec`. Included once by each engine's
 * file after it has defined
 *
 *   LANES, vec; SCAN (the name of the scan function)
 *   v_set1(x), v_lane_index(), v_add, v_s0 v_s1 (schedule sigmas), v_S0 v_S1 (round sigmas), v_ch, v_maj
 *   v_bswap (each lane's bytes reversed), v_zero_mask(x, mask) (bit per lane: (x & mask) == 0)
 *   v_launder(p) (hides from the compiler what p points at, where constants are better loaded than built)
 *
 * so that the same text is compiled for each instruction set. Straight-line code throughout: one group is some 2,850
 * vector operations, and the only way to be fast is to leave out those that are not needed:
 *
 *   first hash   rounds 0..3 come ready from hash_work (the nonce adds to a and e only); rounds 4..17 have constant
 *                words, folded into the round constant; W18.. leave out their constant terms; K + W is made once for
 *                all versions.
 *   second hash  round 0 starts from constants; constant padding words are folded; only the digest's last word is
 *                made, which is e after round 60 plus an initial value: rounds 61..63 and the a's of 57..60 fall away.
 *
 * Lanes whose last word passes work->filter go to hash_scan_settle, which decides by the plain SHA-256.
 */
#include "base/panic.h"
#include "hash/engine_priv.h"
#include "hash/round_priv.h"

#define INLINE static inline __attribute__((always_inline))

/* The round with everything but h + K + W spelled out: x is that sum. Renames instead of moving a..h. */
#define ROUND_X(a, b, c, d, e, f, g, h, x) do { \
	h = v_add(v_add(x, v_ch(e, f, g)), v_S1(e)); \
	d = v_add(d, h); \
	h = v_add(v_add(h, v_maj(a, b, c)), v_S0(a)); \
} while (0)
#define ROUND(a, b, c, d, e, f, g, h, kw) ROUND_X(a, b, c, d, e, f, g, h, v_add(h, kw))
/* Makes the new e only, for the last rounds. */
#define ROUND_E(d, e, f, g, h, kw) (d = v_add(v_add(d, v_add(h, kw)), v_add(v_ch(e, f, g), v_S1(e))))

#define ROUNDS8(kw, t) do { \
	ROUND(a, b, c, d, e, f, g, h, kw(t)); \
	ROUND(h, a, b, c, d, e, f, g, kw((t) + 1)); \
	ROUND(g, h, a, b, c, d, e, f, kw((t) + 2)); \
	ROUND(f, g, h, a, b, c, d, e, kw((t) + 3)); \
	ROUND(e, f, g, h, a, b, c, d, kw((t) + 4)); \
	ROUND(d, e, f, g, h, a, b, c, kw((t) + 5)); \
	ROUND(c, d, e, f, g, h, a, b, kw((t) + 6)); \
	ROUND(b, c, d, e, f, g, h, a, kw((t) + 7)); \
} while (0)

#define K(t) v_set1(lc->k[t])
#define C(name) v_set1(lc->name)
#define NO_W(t) K(t)
#define W(t) w[(t) & 15]
#define EXPAND(t) (W(t) = v_add(v_add(W(t), v_s0(W((t) - 15))), v_add(W((t) - 7), v_s1(W((t) - 2)))))
#define TIMES8(m, t) do { m(t); m((t) + 1); m((t) + 2); m((t) + 3); m((t) + 4); m((t) + 5); m((t) + 6); m((t) + 7); \
} while (0)

/*
 * Every constant of the kernel, in memory on purpose: as a memory operand a broadcast costs no vector port, while one
 * made from an immediate takes a slot of the port that the additions need (3 % of the whole with AVX-512).
 */
struct lanes_const {
	uint32_t k[64];
	uint32_t iv[8];
	uint32_t start_a, start_e; /* a and e after round 0 of the second hash with W0 = 0 */
	uint32_t hk[4];            /* second hash, rounds 1..3: K + h, which is still g, f, e of the initial value */
	uint32_t k8, k15;          /* second hash: K + W of its padding words */
	uint32_t k60;              /* K + initial h, so that the last round gives the digest's word */
	uint32_t bit31, bits640, bits256;                      /* padding words */
	uint32_t s0_bit31, s0_bits640, s0_bits256, s1_bits256; /* and their sigmas */
};

static const struct lanes_const lanes_consts = {
	.k = { SHA256_K },
	.iv = { SHA256_IV },
	.start_a = 0xfc08884d,
	.start_e = 0x98c7e2a2,
	.hk = { 0, 0x71374491u + 0x1f83d9abu, 0xb5c0fbcfu + 0x9b05688cu, 0xe9b5dba5u + 0x510e527fu },
	.k8 = 0xd807aa98u + 0x80000000u,
	.k15 = 0xc19bf174u + 256,
	.k60 = 0x90befffau + 0x5be0cd19u,
	.bit31 = 0x80000000,
	.bits640 = 640,
	.bits256 = 256,
	.s0_bit31 = 0x11002000,
	.s0_bits640 = 0x00a00055,
	.s0_bits256 = 0x00400022,
	.s1_bits256 = 0x00a00000,
};

/*
 * kw[t] = K[t] + W[t] of the second block, t = 18..63. W4 = 0x80000000, W5..W14 = 0, W15 = 640: terms that are zero
 * are left out, constant ones come from the job.
 */
INLINE void
expand_first(const struct lanes_const *lc, const struct hash_work *work, vec nonce, vec kw[64])
{
	vec w[16];

#define KEEP(t) (kw[t] = v_add(W(t), K(t)))
#define EXPAND_KEEP(t) (EXPAND(t), KEEP(t))
	W(18) = v_add(v_s0(nonce), v_set1(work->c18));
	W(19) = v_add(nonce, v_set1(work->c19));
	W(20) = v_add(v_s1(W(18)), C(bit31));
	W(21) = v_s1(W(19));
	W(22) = v_add(v_s1(W(20)), C(bits640));
	W(23) = v_add(v_s1(W(21)), v_set1(work->w16));
	W(24) = v_add(v_s1(W(22)), v_set1(work->w17));
	W(25) = v_add(v_s1(W(23)), W(18));
	W(26) = v_add(v_s1(W(24)), W(19));
	W(27) = v_add(v_s1(W(25)), W(20));
	W(28) = v_add(v_s1(W(26)), W(21));
	W(29) = v_add(v_s1(W(27)), W(22));
	W(30) = v_add(v_add(W(23), C(s0_bits640)), v_s1(W(28)));
	W(31) = v_add(v_add(W(24), v_set1(work->c31)), v_s1(W(29)));
	KEEP(18);
	KEEP(19);
	KEEP(20);
	KEEP(21);
	KEEP(22);
	KEEP(23);
	TIMES8(KEEP, 24);
	W(32) = v_add(v_add(W(25), v_set1(work->c32)), v_s1(W(30)));
	KEEP(32);
	W(33) = v_add(v_add(v_set1(work->w17), v_s0(W(18))), v_add(W(26), v_s1(W(31))));
	KEEP(33);
	TIMES8(EXPAND_KEEP, 34);
	TIMES8(EXPAND_KEEP, 42);
	TIMES8(EXPAND_KEEP, 50);
	EXPAND_KEEP(58);
	EXPAND_KEEP(59);
	EXPAND_KEEP(60);
	EXPAND_KEEP(61);
	EXPAND_KEEP(62);
	EXPAND_KEEP(63);
#undef EXPAND_KEEP
#undef KEEP
}

/* Rounds 4..63 of the second block under one version: the first hash, as the first eight words of the second. */
INLINE void
first_hash(const struct lanes_const *lc, const struct hash_work *work, const struct hash_version *ver, vec nonce,
	const vec kw[64], vec w[16])
{
	const uint32_t *s = ver->state3;
	vec a = v_add(v_set1(s[0]), nonce), b = v_set1(s[1]), c = v_set1(s[2]), d = v_set1(s[3]);
	vec e = v_add(v_set1(s[4]), nonce), f = v_set1(s[5]), g = v_set1(s[6]), h;

#define JOB(t) v_set1(work->kw[t])
#define KW(t) kw[t]
	/* rounds 4, 5, 6: the incoming h is constant and summed up in the job */
	ROUND_X(a, b, c, d, e, f, g, h, v_set1(ver->hkw[0]));
	ROUND_X(h, a, b, c, d, e, f, g, v_set1(ver->hkw[1]));
	ROUND_X(g, h, a, b, c, d, e, f, v_set1(ver->hkw[2]));
	ROUND(f, g, h, a, b, c, d, e, NO_W(7));
	ROUND(e, f, g, h, a, b, c, d, NO_W(8));
	ROUND(d, e, f, g, h, a, b, c, NO_W(9));
	ROUND(c, d, e, f, g, h, a, b, NO_W(10));
	ROUND(b, c, d, e, f, g, h, a, NO_W(11));
	ROUND(a, b, c, d, e, f, g, h, NO_W(12));
	ROUND(h, a, b, c, d, e, f, g, NO_W(13));
	ROUND(g, h, a, b, c, d, e, f, NO_W(14));
	ROUND(f, g, h, a, b, c, d, e, JOB(15));
	ROUND(e, f, g, h, a, b, c, d, JOB(16));
	ROUND(d, e, f, g, h, a, b, c, JOB(17));
	ROUND(c, d, e, f, g, h, a, b, KW(18));
	ROUND(b, c, d, e, f, g, h, a, KW(19));
	ROUND(a, b, c, d, e, f, g, h, KW(20));
	ROUND(h, a, b, c, d, e, f, g, KW(21));
	ROUND(g, h, a, b, c, d, e, f, KW(22));
	ROUND(f, g, h, a, b, c, d, e, KW(23));
	ROUND(e, f, g, h, a, b, c, d, KW(24));
	ROUND(d, e, f, g, h, a, b, c, KW(25));
	ROUND(c, d, e, f, g, h, a, b, KW(26));
	ROUND(b, c, d, e, f, g, h, a, KW(27));
	ROUNDS8(KW, 28);
	ROUNDS8(KW, 36);
	ROUNDS8(KW, 44);
	ROUNDS8(KW, 52);
	ROUND(a, b, c, d, e, f, g, h, KW(60));
	ROUND(h, a, b, c, d, e, f, g, KW(61));
	ROUND(g, h, a, b, c, d, e, f, KW(62));
	ROUND(f, g, h, a, b, c, d, e, KW(63));
#undef KW
#undef JOB
	/* four rounds past a multiple of eight: the names are turned by four */
	s = ver->midstate;
	w[0] = v_add(e, v_set1(s[0]));
	w[1] = v_add(f, v_set1(s[1]));
	w[2] = v_add(g, v_set1(s[2]));
	w[3] = v_add(h, v_set1(s[3]));
	w[4] = v_add(a, v_set1(s[4]));
	w[5] = v_add(b, v_set1(s[5]));
	w[6] = v_add(c, v_set1(s[6]));
	w[7] = v_add(d, v_set1(s[7]));
}

/* W16..W31 of the second hash: W8 = 0x80000000, W9..W14 = 0, W15 = 256. */
INLINE void
expand_second(const struct lanes_const *lc, vec w[16])
{
	W(16) = v_add(w[0], v_s0(w[1]));
	W(17) = v_add(v_add(w[1], C(s1_bits256)), v_s0(w[2]));
	W(18) = v_add(v_add(w[2], v_s0(w[3])), v_s1(W(16)));
	W(19) = v_add(v_add(w[3], v_s0(w[4])), v_s1(W(17)));
	W(20) = v_add(v_add(w[4], v_s0(w[5])), v_s1(W(18)));
	W(21) = v_add(v_add(w[5], v_s0(w[6])), v_s1(W(19)));
	W(22) = v_add(v_add(v_add(w[6], C(bits256)), v_s0(w[7])), v_s1(W(20)));
	W(23) = v_add(v_add(v_add(w[7], C(s0_bit31)), W(16)), v_s1(W(21)));
	W(24) = v_add(v_add(W(17), C(bit31)), v_s1(W(22)));
	W(25) = v_add(W(18), v_s1(W(23)));
	W(26) = v_add(W(19), v_s1(W(24)));
	W(27) = v_add(W(20), v_s1(W(25)));
	W(28) = v_add(W(21), v_s1(W(26)));
	W(29) = v_add(W(22), v_s1(W(27)));
	W(30) = v_add(v_add(W(23), C(s0_bits256)), v_s1(W(28)));
	W(31) = v_add(v_add(v_add(W(24), C(bits256)), v_s0(W(16))), v_s1(W(29)));
}

/* Rounds 0..15 of the second hash, from the constant initial value; s = a..h. */
INLINE void
second_rounds_0_15(const struct lanes_const *lc, const vec w[16], vec s[8])
{
	/* round 0 on constants */
	vec h = v_add(w[0], C(start_a)), d = v_add(w[0], C(start_e));
	vec a = C(iv[0]), b = C(iv[1]), c = C(iv[2]), e = C(iv[4]), f = C(iv[5]), g;

	/* rounds 1, 2, 3: the incoming h is still g, f, e of the initial value */
	ROUND_X(h, a, b, c, d, e, f, g, v_add(w[1], C(hk[1])));
	ROUND_X(g, h, a, b, c, d, e, f, v_add(w[2], C(hk[2])));
	ROUND_X(f, g, h, a, b, c, d, e, v_add(w[3], C(hk[3])));
	ROUND(e, f, g, h, a, b, c, d, v_add(w[4], K(4)));
	ROUND(d, e, f, g, h, a, b, c, v_add(w[5], K(5)));
	ROUND(c, d, e, f, g, h, a, b, v_add(w[6], K(6)));
	ROUND(b, c, d, e, f, g, h, a, v_add(w[7], K(7)));
	ROUND(a, b, c, d, e, f, g, h, C(k8));
	ROUND(h, a, b, c, d, e, f, g, NO_W(9));
	ROUND(g, h, a, b, c, d, e, f, NO_W(10));
	ROUND(f, g, h, a, b, c, d, e, NO_W(11));
	ROUND(e, f, g, h, a, b, c, d, NO_W(12));
	ROUND(d, e, f, g, h, a, b, c, NO_W(13));
	ROUND(c, d, e, f, g, h, a, b, NO_W(14));
	ROUND(b, c, d, e, f, g, h, a, C(k15));
	s[0] = a, s[1] = b, s[2] = c, s[3] = d, s[4] = e, s[5] = f, s[6] = g, s[7] = h;
}

/* The last word of the double hash: e after round 60, plus the initial h (put into the constant of round 60). */
INLINE vec
second_hash_last_word(const struct lanes_const *lc, vec w[16])
{
	vec s[8];

	second_rounds_0_15(lc, w, s);
	expand_second(lc, w);

	vec a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
#define HAVE(t) v_add(W(t), K(t))
#define MAKE(t) v_add(EXPAND(t), K(t))
	ROUNDS8(HAVE, 16);
	ROUNDS8(HAVE, 24);
	ROUNDS8(MAKE, 32);
	ROUNDS8(MAKE, 40);
	ROUNDS8(MAKE, 48);
	ROUND(a, b, c, d, e, f, g, h, MAKE(56));
	ROUND_E(c, d, e, f, g, MAKE(57));
	ROUND_E(b, c, d, e, f, MAKE(58));
	ROUND_E(a, b, c, d, e, MAKE(59));
	ROUND_E(h, a, b, c, d, v_add(EXPAND(60), C(k60)));
#undef MAKE
#undef HAVE
	return h;
}

uint32_t
SCAN(const struct hash_work *work, uint32_t nonce_begin, uint64_t nonce_count, const _Atomic uint32_t *stop,
	struct hash_hit *hits, uint32_t max_hits, uint64_t *ret_scanned)
{
	struct hash_scan s = hash_scan_begin(work, nonce_begin, nonce_count, hits, max_hits);
	vec filter = v_set1(work->filter), lane = v_lane_index();
	const struct lanes_const *lc = &lanes_consts;
	uint64_t at = s.begin;

	v_launder(lc);

	while (at < s.end && !hash_stopped(stop)) {
		uint32_t masks[HASH_VERSIONS_MAX], any = 0, settled = LANES;
		vec nonce = v_bswap(v_add(v_set1((uint32_t)at), lane)); /* as W3: the header is little-endian */
		vec kw[64];

		expand_first(lc, work, nonce, kw);
		for (uint32_t v = 0; v < work->nversions; v++) {
			vec w[16];

			first_hash(lc, work, &work->versions[v], nonce, kw, w);
			masks[v] = v_zero_mask(second_hash_last_word(lc, w), filter);
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
