#ifndef HCP_FEED_FIELD_H
#define HCP_FEED_FIELD_H

#include <jansson.h>

#include "base/err.h"
#include "feed/source.h"

/*
 * Numbers and times as foreign JSON has them: exchanges write decimals as strings, times come as ISO 8601 or as Unix
 * numbers of four units.
 */

/* The document of an answer, which must be JSON. *ret is the caller's (json_decref). */
int feed_json(struct str body, json_t **ret, struct err *err) MUST_CHECK;
/* A finite number, also one written as a string. name stands in errors. HCP_EINVAL. */
int feed_number(const json_t *v, const char *name, double *ret, struct err *err) MUST_CHECK;
/* ISO 8601, or a number since 1970 in s, ms, us or ns (told apart by its size). HCP_EINVAL, HCP_ERANGE. */
int feed_time(const json_t *v, const char *name, int64_t *ret_ns, struct err *err) MUST_CHECK;
/* A Unix number of unknown unit to nanoseconds: s below 1e11, ms below 1e14, us below 1e17, else ns. HCP_ERANGE. */
int feed_unix_ns(double v, int64_t *ret_ns) MUST_CHECK;
/* The text of a string member; HCP_EINVAL where it is not one. Borrowed from the document. */
int feed_text(const json_t *object, const char *name, const char **ret, struct err *err) MUST_CHECK;

#endif
