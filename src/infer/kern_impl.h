/*
 * Body of a kernel set; included by kern_<set>.c, which defines
 *   VW        floats in a vector
 *   KERN_OWN_GEMM  1: the packed half-precision product below; 0: the includer brings its own
 *   MR        rows of the register tile (with 2 vectors of columns)
 *   load_half(p)   VW halves to floats
 *
 * The product keeps MR×2 vectors of sums in registers and streams the weights once per MR rows:
 *
 *              ┌─ 2·VW columns ─┐
 *   x block    │ panel of W     │        Short texts are bound by the bytes of W, so these are halves:
 *   [k][MR] ──▶│ [k][2·VW] half │        the sums stay in single precision.
 *              └────────────────┘
 */
#include <math.h>
#include <string.h>

#include "base/panic.h"
#include "infer/kern_priv.h"
#include "infer/safetensors.h"

typedef float vf __attribute__((vector_size(4 * VW)));
typedef int32_t vi __attribute__((vector_size(4 * VW)));
typedef float vf_any __attribute__((vector_size(4 * VW), aligned(4), may_alias));

static inline vf ld(const float *p)
{
	return *(const vf_any *)p;
}

static inline void st(float *p, vf v)
{
	*(vf_any *)p = v;
}

static inline vf splat(float f)
{
	return f - (vf){ 0 };
}

static inline vf choose(vi mask, vf yes, vf no)
{
	return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

static inline float sum_of(vf v)
{
	float s = 0;
	for (int i = 0; i < VW; i++)
		s += v[i];
	return s;
}

static inline size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

/*
 * e^x for x <= 88: 2^n · e^r with |r| <= ln2/2, e^r by its Taylor series to r^7 (remainder below 6e-9 relative);
 * anything below -87 becomes 0.
 */
static inline vf vexp(vf x)
{
	vi tiny = x < splat(-87.0f);
	x = choose(tiny, splat(-87.0f), x);
	vf t = x * splat(1.44269504f) + splat(12582912.0f); /* 1.5·2^23: rounds to an integer in the low bits */
	vf n = t - splat(12582912.0f);
	vf r = x - n * splat(0.693359375f);
	r = r - n * splat(-2.12194440e-4f);
	vf p = splat(1.0f / 5040);
	p = p * r + splat(1.0f / 720);
	p = p * r + splat(1.0f / 120);
	p = p * r + splat(1.0f / 24);
	p = p * r + splat(1.0f / 6);
	p = p * r + splat(0.5f);
	p = p * r + splat(1.0f);
	p = p * r + splat(1.0f);
	vi scale = ((vi)t - (vi)splat(12582912.0f) + 127) << 23;
	return choose(tiny, splat(0.0f), p * (vf)scale);
}

/* Abramowitz and Stegun 7.1.26: |error| <= 1.5e-7. */
static inline vf verf(vf x)
{
	vi sign = (vi)x & (int32_t)0x80000000;
	vf a = (vf)((vi)x & 0x7fffffff);
	vf t = splat(1.0f) / (splat(1.0f) + splat(0.3275911f) * a);
	vf p = splat(1.061405429f);
	p = p * t + splat(-1.453152027f);
	p = p * t + splat(1.421413741f);
	p = p * t + splat(-0.284496736f);
	p = p * t + splat(0.254829592f);
	vf y = splat(1.0f) - p * t * vexp(-a * a);
	return (vf)((vi)y | sign);
}

static inline vf vgelu(vf x)
{
	return splat(0.5f) * x * (splat(1.0f) + verf(x * splat(0.70710678f)));
}

static void impl_gelu(float *x, size_t n)
{
	size_t i = 0;
	for (; i + VW <= n; i += VW)
		st(x + i, vgelu(ld(x + i)));
	if (i < n) {
		float tail[VW] = { 0 };
		memcpy(tail, x + i, (n - i) * sizeof(float));
		st(tail, vgelu(ld(tail)));
		memcpy(x + i, tail, (n - i) * sizeof(float));
	}
}

static float row_sum(float *x, const float *y, size_t h)
{
	vf s = splat(0);
	size_t i = 0;
	for (; i + VW <= h; i += VW) {
		vf v = ld(x + i);
		if (y) {
			v += ld(y + i);
			st(x + i, v);
		}
		s += v;
	}
	float sum = sum_of(s);
	for (; i < h; i++) {
		x[i] += y ? y[i] : 0;
		sum += x[i];
	}
	return sum;
}

static void impl_add_norm(float *x, const float *y, size_t m, size_t h, const float *gain, const float *bias, float eps)
{
	for (size_t r = 0; r < m; r++, x += h, y = y ? y + h : NULL) {
		float mean = row_sum(x, y, h) / (float)h;
		vf sq = splat(0);
		size_t i = 0;
		for (; i + VW <= h; i += VW) {
			vf d = ld(x + i) - mean;
			sq = sq + d * d;
		}
		float var = sum_of(sq);
		for (; i < h; i++)
			var += (x[i] - mean) * (x[i] - mean);
		float scale = 1 / sqrtf(var / (float)h + eps);
		for (i = 0; i + VW <= h; i += VW)
			st(x + i, (ld(x + i) - mean) * scale * ld(gain + i) + ld(bias + i));
		for (; i < h; i++)
			x[i] = (x[i] - mean) * scale * gain[i] + bias[i];
	}
}

#define QB 8 /* queries that share one pass over the keys */

/* kt[d][tp] | v[t][dp] | p[QB][tp], where tp and dp are t and head_dim rounded up to whole vectors. */
static size_t impl_attend_scratch(size_t t, size_t head_dim)
{
	size_t tp = round_up(t, VW), dp = round_up(head_dim, VW);
	return head_dim * tp + t * dp + QB * tp;
}

static void softmax(float *p, size_t t, size_t tp)
{
	for (size_t j = t; j < tp; j++)
		p[j] = -INFINITY;
	vf top = ld(p);
	for (size_t j = VW; j < tp; j += VW) {
		vf v = ld(p + j);
		top = choose(v > top, v, top);
	}
	float max = top[0];
	for (int i = 1; i < VW; i++)
		max = top[i] > max ? top[i] : max;
	vf s = splat(0);
	for (size_t j = 0; j < tp; j += VW) {
		vf e = vexp(ld(p + j) - max);
		s += e;
		st(p + j, e);
	}
	float inv = 1 / sum_of(s);
	for (size_t j = 0; j < tp; j += VW)
		st(p + j, ld(p + j) * inv);
}

/* p[q][j] = scale · q·k_j for QB queries; rows of `q` lie `stride` apart. */
static inline void scores(float *p, const float *const q[QB], const float *kt, size_t tp, size_t head_dim, float scale)
{
	for (size_t j = 0; j < tp; j += VW) {
		vf acc[QB];
#pragma GCC unroll 8
		for (int i = 0; i < QB; i++)
			acc[i] = splat(0);
		for (size_t d = 0; d < head_dim; d++) {
			vf k = ld(kt + d * tp + j);
	#pragma GCC unroll 8
		for (int i = 0; i < QB; i++)
				acc[i] = acc[i] + k * q[i][d];
		}
#pragma GCC unroll 8
		for (int i = 0; i < QB; i++)
			st(p + (size_t)i * tp + j, acc[i] * scale);
	}
}

/* out[q] = Σ_j p[q][j] · v_j, one vector of columns at a time. */
static inline void mix(float *const out[QB], const float *p, const float *v, size_t t, size_t tp, size_t head_dim,
		       size_t dp)
{
	for (size_t c = 0; c < dp; c += VW) {
		vf acc[QB];
#pragma GCC unroll 8
		for (int i = 0; i < QB; i++)
			acc[i] = splat(0);
		for (size_t j = 0; j < t; j++) {
			vf x = ld(v + j * dp + c);
	#pragma GCC unroll 8
		for (int i = 0; i < QB; i++)
				acc[i] = acc[i] + x * p[(size_t)i * tp + j];
		}
		size_t left = head_dim - c < VW ? head_dim - c : VW;
#pragma GCC unroll 8
		for (int i = 0; i < QB; i++)
			memcpy(out[i] + c, &acc[i], left * sizeof(float));
	}
}

static void impl_attend(float *ctx, const float *qkv, size_t t, size_t heads, size_t head_dim, float *scratch)
{
	size_t h = heads * head_dim, row = 3 * h, tp = round_up(t, VW), dp = round_up(head_dim, VW);
	float *kt = scratch, *v = kt + head_dim * tp, *p = v + t * dp;
	float scale = 1 / sqrtf((float)head_dim);
	memset(kt, 0, (head_dim * tp + t * dp) * sizeof(float));
	for (size_t a = 0; a < heads; a++) {
		for (size_t j = 0; j < t; j++) {
			const float *k = qkv + j * row + h + a * head_dim;
			for (size_t d = 0; d < head_dim; d++)
				kt[d * tp + j] = k[d];
			memcpy(v + j * dp, k + h, head_dim * sizeof(float));
		}
		for (size_t i = 0; i < t; i += QB) {
			const float *q[QB];
			float *out[QB];
			for (size_t b = 0; b < QB; b++) { /* the last group repeats its last row */
				size_t at = i + b < t ? i + b : t - 1;
				q[b] = qkv + at * row + a * head_dim;
				out[b] = ctx + at * h + a * head_dim;
			}
			scores(p, q, kt, tp, head_dim, scale);
			for (size_t b = 0; b < QB; b++)
				softmax(p + b * tp, t, tp);
			mix(out, p, v, t, tp, head_dim, dp);
		}
	}
}

#if KERN_OWN_GEMM
#define NR (2 * VW)

static size_t impl_packed_size(size_t n, size_t k)
{
	return round_up(n, NR) * k * sizeof(uint16_t);
}

static void impl_pack(void *dst, const float *w, size_t n, size_t k)
{
	uint16_t *out = dst;
	for (size_t j = 0; j < n; j += NR)
		for (size_t kk = 0; kk < k; kk++)
			for (size_t c = 0; c < NR; c++)
				*out++ = j + c < n ? safetensors_float_to_half(w[(j + c) * k + kk]) : 0;
}

static size_t impl_gemm_scratch(size_t m, size_t k)
{
	return m * k;
}

/* One register tile: mr rows of xp ([k][mr]) times one panel; mr is a constant where this is inlined. */
static inline __attribute__((always_inline)) void tile(const size_t mr, float *y, size_t ldy, const float *xp,
							const uint16_t *w, const float *bias, size_t k, size_t cols)
{
	vf acc[MR][2];
	float b[NR] = { 0 };
	memcpy(b, bias, cols * sizeof(float));
#pragma GCC unroll 16
	for (size_t i = 0; i < mr; i++) {
		acc[i][0] = ld(b);
		acc[i][1] = ld(b + VW);
	}
	for (size_t kk = 0; kk < k; kk++, w += NR, xp += mr) {
		vf w0 = load_half(w), w1 = load_half(w + VW);
		__builtin_prefetch(w + 16 * NR);
#pragma GCC unroll 16
		for (size_t i = 0; i < mr; i++) {
			acc[i][0] = acc[i][0] + w0 * xp[i];
			acc[i][1] = acc[i][1] + w1 * xp[i];
		}
	}
#pragma GCC unroll 16
	for (size_t i = 0; i < mr; i++) {
		if (cols == NR) {
			st(y + i * ldy, acc[i][0]);
			st(y + i * ldy + VW, acc[i][1]);
		} else {
			float t[NR];
			st(t, acc[i][0]);
			st(t + VW, acc[i][1]);
			memcpy(y + i * ldy, t, cols * sizeof(float));
		}
	}
}

#define TILE(mr)                                                                                                   \
	static void tile_##mr(float *y, size_t ldy, const float *xp, const uint16_t *w, const float *bias, size_t k, \
			      size_t cols)                                                                           \
	{                                                                                                          \
		tile(mr, y, ldy, xp, w, bias, k, cols);                                                            \
	}
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)
#if MR > 6
TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12)
#endif

typedef void tile_fn(float *y, size_t ldy, const float *xp, const uint16_t *w, const float *bias, size_t k,
		     size_t cols);

static tile_fn *const tiles[MR + 1] = { NULL, tile_1, tile_2, tile_3, tile_4, tile_5, tile_6,
#if MR > 6
					tile_7, tile_8, tile_9, tile_10, tile_11, tile_12
#endif
};

static void impl_gemm(float *y, const float *x, size_t m, const void *packed, const float *bias, size_t n, size_t k,
		      float *scratch)
{
	must(m <= KERN_GEMM_ROWS_MAX);
	size_t blocks = (m + MR - 1) / MR, at[KERN_GEMM_ROWS_MAX + 1];
	float *xp = scratch;
	for (size_t b = 0; b <= blocks; b++)
		at[b] = b * m / (blocks ? blocks : 1); /* as even as can be: 16 rows are 8 + 8, not 12 + 4 */
	for (size_t b = 0; b < blocks; b++)
		for (size_t kk = 0; kk < k; kk++)
			for (size_t i = at[b]; i < at[b + 1]; i++)
				*xp++ = x[i * k + kk];
	const uint16_t *w = packed;
	for (size_t j = 0; j < n; j += NR, w += NR * k) {
		size_t cols = n - j < NR ? n - j : NR;
		for (size_t b = 0; b < blocks; b++)
			tiles[at[b + 1] - at[b]](y + at[b] * n + j, n, scratch + at[b] * k, w, bias + j, k, cols);
	}
}
#endif
