#include "infer/kern_priv.h"

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#include <assert.h>
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VW 16
#define KERN_OWN_GEMM 0
#include "infer/kern_impl.inc"

/*
 * The product on AMX tiles. Weights are rounded to bfloat16; rows of x are split into two bfloat16 (value and
 * remainder), so that only the weights' rounding is left: cosine with single precision stays above 0.9999.
 *
 *   x, per 16 rows:  step 0: [16][32] value | [16][32] remainder | step 1: …        a step is 32 of k
 *   w, per 64 outs:  step 0: 4 tiles of [16 pairs of k][16 outs][2] | step 1: …     a tile is 1 KB
 */
#define TILE_BYTES 1024u
#define STEP 32u /* k of a tile */
#define COLS 64u /* outputs of a panel */
#define ROWS 16u

struct tile_config {
	uint8_t palette, start_row, reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

static_assert(sizeof(struct tile_config) == 64, "layout of LDTILECFG");

/* Tiles 0–3 sums, 4 and 5 x, 6 and 7 weights. */
static void configure(size_t rows)
{
	struct tile_config c = { .palette = 1 };
	for (int i = 0; i < 8; i++) {
		c.row_bytes[i] = 64;
		c.rows[i] = i < 6 ? (uint8_t)rows : 16;
	}
	_tile_loadconfig(&c);
}

static size_t amx_packed_size(size_t n, size_t k)
{
	return round_up(n, COLS) * round_up(k, STEP) * 2;
}

static uint16_t bf16(float f)
{
	uint32_t bits;
	memcpy(&bits, &f, 4);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void amx_pack(void *dst, const float *w, size_t n, size_t k)
{
	uint16_t *out = dst;
	for (size_t j = 0; j < n; j += COLS)
		for (size_t kk = 0; kk < k; kk += STEP)
			for (size_t t = j; t < j + COLS; t += 16)
				for (size_t r = kk; r < kk + STEP; r += 2)
					for (size_t c = 0; c < 32; c++) {
						size_t col = t + c / 2, row = r + c % 2;
						*out++ = col < n && row < k ? bf16(w[col * k + row]) : 0;
					}
}

static size_t amx_gemm_scratch(size_t m, size_t k)
{
	return round_up(m, ROWS) * round_up(k, STEP);
}

static void split_rows(uint8_t *dst, const float *x, size_t rows, size_t k)
{
	for (size_t kk = 0; kk < k; kk += STEP, dst += 2 * TILE_BYTES) {
		for (size_t r = 0; r < rows; r++) {
			for (size_t h = 0; h < STEP; h += 16) {
				size_t at = kk + h, left = at < k ? k - at : 0;
				__mmask16 mask = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
				__m512 v = _mm512_maskz_loadu_ps(mask, x + r * k + at);
				__m256i value = (__m256i)_mm512_cvtneps_pbh(v);
				__m512 back = (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(value), 16);
				__m256i rest = (__m256i)_mm512_cvtneps_pbh(_mm512_sub_ps(v, back));
				_mm256_storeu_si256((__m256i_u *)(dst + r * 64 + h * 2), value);
				_mm256_storeu_si256((__m256i_u *)(dst + TILE_BYTES + r * 64 + h * 2), rest);
			}
		}
	}
}

static void panel(float sums[ROWS][COLS], const uint8_t *x, const uint8_t *w, size_t steps)
{
	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	for (size_t s = 0; s < steps; s++, x += 2 * TILE_BYTES, w += 4 * TILE_BYTES) {
		_tile_loadd(4, x, 64);
		_tile_loadd(5, x + TILE_BYTES, 64);
		_tile_loadd(6, w, 64);
		_tile_dpbf16ps(0, 4, 6);
		_tile_dpbf16ps(0, 5, 6);
		_tile_loadd(7, w + TILE_BYTES, 64);
		_tile_dpbf16ps(1, 4, 7);
		_tile_dpbf16ps(1, 5, 7);
		_tile_loadd(6, w + 2 * TILE_BYTES, 64);
		_tile_dpbf16ps(2, 4, 6);
		_tile_dpbf16ps(2, 5, 6);
		_tile_loadd(7, w + 3 * TILE_BYTES, 64);
		_tile_dpbf16ps(3, 4, 7);
		_tile_dpbf16ps(3, 5, 7);
	}
	_tile_stored(0, &sums[0][0], COLS * 4);
	_tile_stored(1, &sums[0][16], COLS * 4);
	_tile_stored(2, &sums[0][32], COLS * 4);
	_tile_stored(3, &sums[0][48], COLS * 4);
}

static void store(float *y, size_t ldy, float sums[ROWS][COLS], const float *bias, size_t rows, size_t cols)
{
	for (size_t r = 0; r < rows; r++) {
		for (size_t c = 0; c < cols; c += 16) {
			size_t left = cols - c;
			__mmask16 mask = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
			__m512 v = _mm512_add_ps(_mm512_loadu_ps(&sums[r][c]), _mm512_maskz_loadu_ps(mask, bias + c));
			_mm512_mask_storeu_ps(y + r * ldy + c, mask, v);
		}
	}
}

static void amx_gemm(float *y, const float *x, size_t m, const void *packed, const float *bias, size_t n, size_t k,
		     float *scratch)
{
	float sums[ROWS][COLS] __attribute__((aligned(64)));
	size_t steps = round_up(k, STEP) / STEP, block_bytes = steps * 2 * TILE_BYTES, configured = 0;
	const uint8_t *w = packed;
	uint8_t *xs = (uint8_t *)scratch;
	for (size_t r = 0; r < m; r += ROWS)
		split_rows(xs + r / ROWS * block_bytes, x + r * k, m - r < ROWS ? m - r : ROWS, k);
	for (size_t j = 0; j < n; j += COLS, w += steps * 4 * TILE_BYTES) {
		for (size_t r = 0; r < m; r += ROWS) {
			size_t rows = m - r < ROWS ? m - r : ROWS;
			if (rows != configured)
				configure(rows);
			configured = rows;
			panel(sums, xs + r / ROWS * block_bytes, w, steps);
			store(y + r * n + j, n, sums, bias + j, rows, n - j < COLS ? n - j : COLS);
		}
	}
	_tile_release(); /* idle tiles cost every context switch */
}

static const struct kern amx = {
	.name = "amx",
	.packed_size = amx_packed_size,
	.pack = amx_pack,
	.gemm_scratch = amx_gemm_scratch,
	.gemm = amx_gemm,
	.gelu = impl_gelu,
	.add_norm = impl_add_norm,
	.attend_scratch = impl_attend_scratch,
	.attend = impl_attend,
};

/* Linux hands out the tile state on request only, to the whole process; asking again does no harm. */
static bool permitted(void)
{
	enum { REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
	return syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XTILEDATA) == 0;
}

const struct kern *kern_amx(void)
{
	unsigned a, b, c, d = 0;
	if (!kern_avx512() || !__builtin_cpu_supports("avx512bf16") || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return NULL;
	bool tiles = (d >> 22 & 1) && (d >> 24 & 1); /* AMX-BF16, AMX-TILE */
	return tiles && permitted() ? &amx : NULL;
}
#else
const struct kern *kern_amx(void)
{
	return NULL;
}
#endif
