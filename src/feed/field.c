#include "feed/field.h"

#include <math.h>

#include "base/money.h"
#include "base/num.h"
#include "base/timefmt.h"
#include "wire/jsonv.h"

int feed_json(struct str body, json_t **ret, struct err *err)
{
	int rc = jsonv_parse(body, ret, err);
	if (rc < 0 && err && !err->field[0])
		memcpy(err->field, "answer", sizeof("answer"));
	return rc;
}

int feed_number(const json_t *v, const char *name, double *ret, struct err *err)
{
	double d;
	if (!v || json_is_null(v))
		return err_set(err, HCP_EINVAL, name, "is missing");
	if (json_is_number(v))
		d = json_number_value(v);
	else if (!json_is_string(v) ||
			 num_parse_double((struct str){ json_string_value(v), json_string_length(v) }, &d) < 0)
		return err_set(err, HCP_EINVAL, name, "is not a number");
	if (!isfinite(d))
		return err_set(err, HCP_EINVAL, name, "is not a finite number");
	*ret = d;
	return 0;
}

int feed_unix_ns(double v, int64_t *ret_ns)
{
	double unit = v < 1e11 ? 1e9 : v < 1e14 ? 1e6 : v < 1e17 ? 1e3 : 1;
	if (!(v > 0) || v * unit > 9.2e18)
		return HCP_ERANGE;
	/* A double holds microseconds of this century exactly; the multiplication is done on integers. */
	double whole = floor(v);
	*ret_ns = (int64_t)whole * (int64_t)unit + (int64_t)((v - whole) * unit);
	return 0;
}

int feed_time(const json_t *v, const char *name, int64_t *ret_ns, struct err *err)
{
	double d;
	if (json_is_string(v) && timefmt_parse((struct str){ json_string_value(v), json_string_length(v) }, ret_ns) == 0)
		return *ret_ns > 0 ? 0 : err_set(err, HCP_ERANGE, name, "lies before 1970");
	int rc = feed_number(v, name, &d, NULL);
	if (rc < 0 || feed_unix_ns(d, ret_ns) < 0)
		return err_set(err, HCP_EINVAL, name, "is not a time");
	return 0;
}

int feed_text(const json_t *object, const char *name, const char **ret, struct err *err)
{
	const json_t *v = json_object_get(object, name);
	if (!json_is_string(v))
		return err_set(err, HCP_EINVAL, name, v ? "is not a string" : "is missing");
	*ret = json_string_value(v);
	return 0;
}
