/* One nonce at a time in plain C, for processors with none of the extensions. The reference in the engines' tests. */
#include "hash/engine_priv.h"

#define LANES 1
#define SCAN hash_scan_portable

typedef uint32_t vec;

#define v_set1(x) (x)
#define v_lane_index() 0
#define v_add(a, b) ((a) + (b))
#define v_s0(x) sigma0(x)
#define v_s1(x) sigma1(x)
#define v_S0(x) (ror32(x, 2) ^ ror32(x, 13) ^ ror32(x, 22))
#define v_S1(x) (ror32(x, 6) ^ ror32(x, 11) ^ ror32(x, 25))
#define v_ch(e, f, g) ((g) ^ ((e) & ((f) ^ (g))))
#define v_maj(a, b, c) ((b) ^ (((a) ^ (b)) & ((b) ^ (c))))
#define v_bswap(x) __builtin_bswap32(x)
#define v_launder(p) (void)(p)
#define v_zero_mask(x, mask) ((uint32_t)(((x) & (mask)) == 0))

#include "hash/lanes.inc"
