#ifndef HCP_INFER_KERN_PRIV_H
#define HCP_INFER_KERN_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The arithmetic of the encoder, once per instruction set. kern_impl.inc is compiled with 16, 8 and 4 floats a
 * vector; a row of this table is what a compilation gives. All matrices are row-major floats, all functions pure,
 * re-entrant and without allocation. Scratch comes from the caller, 64-byte aligned.
 */
struct kern {
	const char *name;
	/* Bytes of a packed n×k matrix, and packing it. w is n rows (outputs) of k (inputs), as checkpoints have it. */
	size_t (*packed_size)(size_t n, size_t k);
	void (*pack)(void *dst, const float *w, size_t n, size_t k);
	/* Floats of scratch that gemm needs for m rows of k. */
	size_t (*gemm_scratch)(size_t m, size_t k);
	/* y[m][n] = x[m][k] · wᵀ + bias[n] */
	void (*gemm)(float *y, const float *x, size_t m, const void *packed, const float *bias, size_t n, size_t k,
		     float *scratch);
	/* x = x·Φ(x) with the error function, not its tanh approximation */
	void (*gelu)(float *x, size_t n);
	/* Row by row x = (x + y - mean) / sqrt(variance + eps) · gain + bias; y may be NULL */
	void (*add_norm)(float *x, const float *y, size_t m, size_t h, const float *gain, const float *bias, float eps);
	size_t (*attend_scratch)(size_t t, size_t head_dim);
	/* Self-attention inside one sequence of t rows. qkv rows are [q | k | v], each heads·head_dim; so is ctx's. */
	void (*attend)(float *ctx, const float *qkv, size_t t, size_t heads, size_t head_dim, float *scratch);
};

/* NULL where the compiler or the processor does not have it. */
const struct kern *kern_amx(void);
const struct kern *kern_avx512(void);
const struct kern *kern_avx2(void);
/* Always there: 4-wide vectors around cblas_sgemm. */
const struct kern *kern_blas(void);

/* name NULL or "auto": the fastest here. NULL if the name is unknown or its instructions are missing. */
const struct kern *kern_find(const char *name);

#define KERN_GEMM_ROWS_MAX 256u /* m of one gemm call */

#endif
