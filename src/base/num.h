#ifndef HCP_BASE_NUM_H
#define HCP_BASE_NUM_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* Whole-string decimal parsers: no blanks, no trailing bytes. HCP_EPARSE or HCP_ERANGE. */
int num_parse_i64(struct str s, int64_t *ret) MUST_CHECK;
int num_parse_u64(struct str s, uint64_t *ret) MUST_CHECK;
/* Finite values only: "nan" and "inf" are HCP_EPARSE. Locale-independent. */
int num_parse_double(struct str s, double *ret) MUST_CHECK;

static inline int num_add_i64(int64_t a, int64_t b, int64_t *ret)
{
	return __builtin_add_overflow(a, b, ret) ? HCP_ERANGE : 0;
}

static inline int num_mul_i64(int64_t a, int64_t b, int64_t *ret)
{
	return __builtin_mul_overflow(a, b, ret) ? HCP_ERANGE : 0;
}

/* a*b/c rounded half away from zero through 128 bits; c > 0. */
int num_muldiv_i64(int64_t a, int64_t b, int64_t c, int64_t *ret) MUST_CHECK;

#endif
