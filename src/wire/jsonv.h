#ifndef HCP_WIRE_JSONV_H
#define HCP_WIRE_JSONV_H

#include <jansson.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Reading whole JSON documents (configuration, replies of foreign servers) through jansson, with errors that name the
 * field. A field is given by its path of names, "limits.rate_per_s"; err->field is that path.
 *
 * Getters write *ret only when the field is there and right. A missing or null field is 0 and leaves *ret as it was
 * (set the default first), unless JSONV_REQUIRED. Strings and objects borrow from the document.
 * Errors: HCP_EINVAL missing or of the wrong type, HCP_ERANGE outside [min, max].
 */
enum jsonv_need {
	JSONV_OPTIONAL,
	JSONV_REQUIRED,
};

/* Points jansson at base/mem, process-wide: once at the start of main, before any other jansson call. */
void jsonv_setup(void);

/*
 * *ret is the caller's (json_decref). HCP_EPARSE "line 3, column 9: ..." for anything not JSON, including NaN,
 * duplicate names, U+0000 and invalid UTF-8; HCP_ENOMEM.
 */
int jsonv_parse(struct str text, json_t **ret, struct err *err) MUST_CHECK;

int jsonv_get_string(const json_t *doc, const char *path, enum jsonv_need need, struct str *ret, struct err *err)
	MUST_CHECK;
int jsonv_get_int(const json_t *doc, const char *path, enum jsonv_need need, int64_t min, int64_t max, int64_t *ret,
	struct err *err) MUST_CHECK;
/* Whole numbers count as doubles. */
int jsonv_get_double(const json_t *doc, const char *path, enum jsonv_need need, double min, double max, double *ret,
	struct err *err) MUST_CHECK;
int jsonv_get_bool(const json_t *doc, const char *path, enum jsonv_need need, bool *ret, struct err *err) MUST_CHECK;
/* At most max_n elements, else HCP_ELIMIT. */
int jsonv_get_array(const json_t *doc, const char *path, enum jsonv_need need, size_t max_n, const json_t **ret,
	struct err *err) MUST_CHECK;
int jsonv_get_object(const json_t *doc, const char *path, enum jsonv_need need, const json_t **ret, struct err *err)
	MUST_CHECK;

/* HCP_EINVAL when the object has a name that is not in the NULL-terminated list. */
int jsonv_check_names(const json_t *object, const char *const *allowed, struct err *err) MUST_CHECK;

#endif
