/* Sixteen nonces in AVX-512F: rotations are one instruction (vprord), and three-input logic is one (vpternlogd). */
#include "hash/engine_priv.h"

#include <immintrin.h>

#define LANES 16
#define SCAN hash_scan_avx512

typedef __m512i vec;

#define v_set1(x) _mm512_set1_epi32((int)(x))
#define v_lane_index() _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define v_add(a, b) _mm512_add_epi32(a, b)
#define v_xor3(a, b, c) _mm512_ternarylogic_epi32(a, b, c, 0x96)
#define v_s0(x) v_xor3(_mm512_ror_epi32(x, 7), _mm512_ror_epi32(x, 18), _mm512_srli_epi32(x, 3))
#define v_s1(x) v_xor3(_mm512_ror_epi32(x, 17), _mm512_ror_epi32(x, 19), _mm512_srli_epi32(x, 10))
#define v_S0(x) v_xor3(_mm512_ror_epi32(x, 2), _mm512_ror_epi32(x, 13), _mm512_ror_epi32(x, 22))
#define v_S1(x) v_xor3(_mm512_ror_epi32(x, 6), _mm512_ror_epi32(x, 11), _mm512_ror_epi32(x, 25))
#define v_ch(e, f, g) _mm512_ternarylogic_epi32(e, f, g, 0xca)
#define v_maj(a, b, c) _mm512_ternarylogic_epi32(a, b, c, 0xe8)
/* AVX-512F alone has no byte shuffle: two rotations, and a bitwise choice between them */
#define v_bswap(x) _mm512_ternarylogic_epi32(v_set1(0xff00ff00), _mm512_ror_epi32(x, 8), _mm512_rol_epi32(x, 8), 0xca)
#define v_launder(p) __asm__("" : "+r"(p))
#define v_zero_mask(x, mask) ((uint32_t)_mm512_testn_epi32_mask(x, mask))

#include "hash/lanes.inc"
