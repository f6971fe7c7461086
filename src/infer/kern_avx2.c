#include "infer/kern_priv.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>

#define VW 8
#define MR 6
#define KERN_OWN_GEMM 1
#define load_half(p) ((vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(p))))
#include "infer/kern_impl.inc"

static const struct kern avx2 = {
	.name = "avx2",
	.packed_size = impl_packed_size,
	.pack = impl_pack,
	.gemm_scratch = impl_gemm_scratch,
	.gemm = impl_gemm,
	.gelu = impl_gelu,
	.add_norm = impl_add_norm,
	.attend_scratch = impl_attend_scratch,
	.attend = impl_attend,
};

/* Every processor with AVX2 and FMA converts halves. */
const struct kern *kern_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &avx2 : NULL;
}
#else
const struct kern *kern_avx2(void)
{
	return NULL;
}
#endif
