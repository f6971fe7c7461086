#include "base/num.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int num_parse_u64(struct str s, uint64_t *ret)
{
	uint64_t v = 0;
	if (s.n == 0)
		return HCP_EPARSE;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return HCP_EPARSE;
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
			return HCP_ERANGE;
	}
	*ret = v;
	return 0;
}

int num_parse_i64(struct str s, int64_t *ret)
{
	bool neg = s.n && s.p[0] == '-';
	uint64_t v;
	int rc = num_parse_u64(neg ? (struct str){ s.p + 1, s.n - 1 } : s, &v);
	if (rc < 0)
		return rc;
	if (v > (uint64_t)INT64_MAX + (neg ? 1 : 0))
		return HCP_ERANGE;
	*ret = neg ? (int64_t)(0 - v) : (int64_t)v;
	return 0;
}

static bool is_decimal(struct str s)
{
	size_t digits = 0;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (c >= '0' && c <= '9')
			digits++;
		else if (!strchr("+-.eE", c))
			return false;
	}
	return digits > 0;
}

int num_parse_double(struct str s, double *ret)
{
	char text[64];
	if (!is_decimal(s) || str_copy(text, sizeof(text), s) < 0)
		return HCP_EPARSE;
	char *end;
	double v = strtod(text, &end);
	if (end != text + s.n)
		return HCP_EPARSE;
	if (!isfinite(v))
		return HCP_ERANGE;
	*ret = v;
	return 0;
}

int num_muldiv_i64(int64_t a, int64_t b, int64_t c, int64_t *ret)
{
	__int128 p = (__int128)a * b;
	__int128 q = (p < 0 ? p - c / 2 : p + c / 2) / c;
	if (q > INT64_MAX || q < INT64_MIN)
		return HCP_ERANGE;
	*ret = (int64_t)q;
	return 0;
}
