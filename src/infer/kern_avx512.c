#include "infer/kern_priv.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512BW__)
#include <immintrin.h>

#define VW 16
#define MR 12
#define KERN_OWN_GEMM 1
#define load_half(p) ((vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)(p))))
#include "infer/kern_impl.inc"

static const struct kern avx512 = {
	.name = "avx512",
	.packed_size = impl_packed_size,
	.pack = impl_pack,
	.gemm_scratch = impl_gemm_scratch,
	.gemm = impl_gemm,
	.gelu = impl_gelu,
	.add_norm = impl_add_norm,
	.attend_scratch = impl_attend_scratch,
	.attend = impl_attend,
};

const struct kern *kern_avx512(void)
{
	bool ok = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
		  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
		  __builtin_cpu_supports("fma");
	return ok ? &avx512 : NULL;
}
#else
const struct kern *kern_avx512(void)
{
	return NULL;
}
#endif
