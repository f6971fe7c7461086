#include <cblas.h>

#define VW 4
#define KERN_OWN_GEMM 0
#include "infer/kern_impl.inc"

static size_t blas_packed_size(size_t n, size_t k)
{
	return n * k * sizeof(float);
}

static void blas_pack(void *dst, const float *w, size_t n, size_t k)
{
	memcpy(dst, w, n * k * sizeof(float));
}

static size_t blas_gemm_scratch(size_t m, size_t k)
{
	return 0;
}

static void blas_gemm(float *y, const float *x, size_t m, const void *packed, const float *bias, size_t n, size_t k,
		      float *scratch)
{
	must(m <= KERN_GEMM_ROWS_MAX);
	for (size_t i = 0; i < m; i++)
		memcpy(y + i * n, bias, n * sizeof(float));
	if (m)
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)n, (int)k, 1, x, (int)k, packed, (int)k,
			    1, y, (int)n);
}

static const struct kern blas = {
	.name = "blas",
	.packed_size = blas_packed_size,
	.pack = blas_pack,
	.gemm_scratch = blas_gemm_scratch,
	.gemm = blas_gemm,
	.gelu = impl_gelu,
	.add_norm = impl_add_norm,
	.attend_scratch = impl_attend_scratch,
	.attend = impl_attend,
};

const struct kern *kern_blas(void)
{
	return &blas;
}

const struct kern *kern_find(const char *name)
{
	const struct kern *all[] = { kern_amx(), kern_avx512(), kern_avx2(), kern_blas() };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] && (!name || strcmp(name, "auto") == 0 || strcmp(name, all[i]->name) == 0))
			return all[i];
	return NULL;
}
