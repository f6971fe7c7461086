/* Eight nonces in AVX2. A rotation is two shifts and a combination, which joins the xors around it. */
#include "hash/engine_priv.h"

#include <immintrin.h>

#define LANES 8
#define SCAN hash_scan_avx2

typedef __m256i vec;

#define v_set1(x) _mm256_set1_epi32((int)(x))
#define v_lane_index() _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0)
#define v_add(a, b) _mm256_add_epi32(a, b)
#define v_xor(a, b) _mm256_xor_si256(a, b)
#define v_shr(x, n) _mm256_srli_epi32(x, n)
#define v_ror(x, n) v_xor(_mm256_srli_epi32(x, n), _mm256_slli_epi32(x, 32 - (n)))
#define v_s0(x) v_xor(v_xor(v_ror(x, 7), v_ror(x, 18)), v_shr(x, 3))
#define v_s1(x) v_xor(v_xor(v_ror(x, 17), v_ror(x, 19)), v_shr(x, 10))
#define v_S0(x) v_xor(v_xor(v_ror(x, 2), v_ror(x, 13)), v_ror(x, 22))
#define v_S1(x) v_xor(v_xor(v_ror(x, 6), v_ror(x, 11)), v_ror(x, 25))
#define v_ch(e, f, g) v_xor(g, _mm256_and_si256(e, v_xor(f, g)))
/* a ^ b is b ^ c of the next round, and the compiler keeps it */
#define v_maj(a, b, c) v_xor(b, _mm256_and_si256(v_xor(a, b), v_xor(b, c)))
#define v_bswap(x) _mm256_shuffle_epi8(x, _mm256_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3, \
	12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3))
#define v_launder(p) __asm__("" : "+r"(p))
#define v_zero_mask(x, mask) ((uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps( \
	_mm256_cmpeq_epi32(_mm256_and_si256(x, mask), _mm256_setzero_si256()))))

#include "hash/lanes.inc"
