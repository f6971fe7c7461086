#include "wire/jsonv.h"

#include <stdio.h>

#include "base/mem.h"

void jsonv_setup(void)
{
	json_set_alloc_funcs(mem_alloc, mem_free);
}

int jsonv_parse(struct str text, json_t **ret, struct err *err)
{
	json_error_t e;
	/* jansson takes a NUL for the end and would pass over whatever follows. */
	const char *nul = text.n ? memchr(text.p, 0, text.n) : NULL;
	if (nul)
		return err_set(err, HCP_EPARSE, "", "JSON: a NUL byte at offset %zu", (size_t)(nul - text.p));
	json_t *doc = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
	if (doc) {
		*ret = doc;
		return 0;
	}
	if (json_error_code(&e) == json_error_out_of_memory)
		return err_set(err, HCP_ENOMEM, "", "no memory for a JSON document of %zu bytes", text.n);
	return err_set(err, HCP_EPARSE, "", "JSON: line %d, column %d: %s", e.line, e.column, e.text);
}

static const char *type_name(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT: return "an object";
	case JSON_ARRAY: return "an array";
	case JSON_STRING: return "a string";
	case JSON_INTEGER:
	case JSON_REAL: return "a number";
	case JSON_TRUE:
	case JSON_FALSE: return "true or false";
	default: return "null";
	}
}

/* The value at path, or NULL in *ret where it is absent and need not be there. */
static int find(const json_t *doc, const char *path, enum jsonv_need need, const json_t **ret, struct err *err)
{
	struct str rest = str_of(path);
	const json_t *at = doc;
	while (at && rest.p) {
		char name[64];
		struct str part = str_split(&rest, '.');
		if (!json_is_object(at))
			return err_set(err, HCP_EINVAL, path, "must stand in an object, not in %s", type_name(at));
		if (str_copy(name, sizeof(name), part) < 0)
			return err_set(err, HCP_EINVAL, path, "a name is longer than %zu bytes", sizeof(name) - 1);
		at = json_object_get(at, name);
		if (json_is_null(at))
			at = NULL;
	}
	if (!at && need == JSONV_REQUIRED)
		return err_set(err, HCP_EINVAL, path, "is required");
	*ret = at;
	return 0;
}

static int wrong_type(const json_t *v, const char *path, const char *wanted, struct err *err)
{
	return err_set(err, HCP_EINVAL, path, "must be %s, not %s", wanted, type_name(v));
}

int jsonv_get_string(const json_t *doc, const char *path, enum jsonv_need need, struct str *ret, struct err *err)
{
	const json_t *v;
	int rc = find(doc, path, need, &v, err);
	if (rc < 0 || !v)
		return rc;
	if (!json_is_string(v))
		return wrong_type(v, path, "a string", err);
	*ret = (struct str){ json_string_value(v), json_string_length(v) };
	return 0;
}

int jsonv_get_int(const json_t *doc, const char *path, enum jsonv_need need, int64_t min, int64_t max, int64_t *ret,
	struct err *err)
{
	const json_t *v;
	int rc = find(doc, path, need, &v, err);
	if (rc < 0 || !v)
		return rc;
	if (!json_is_integer(v))
		return wrong_type(v, path, json_is_real(v) ? "a whole number" : "a number", err);
	int64_t i = json_integer_value(v);
	if (i < min || i > max)
		return err_set(err, HCP_ERANGE, path, "must be from %lld to %lld", (long long)min, (long long)max);
	*ret = i;
	return 0;
}

int jsonv_get_double(const json_t *doc, const char *path, enum jsonv_need need, double min, double max, double *ret,
	struct err *err)
{
	const json_t *v;
	int rc = find(doc, path, need, &v, err);
	if (rc < 0 || !v)
		return rc;
	if (!json_is_number(v))
		return wrong_type(v, path, "a number", err);
	double d = json_number_value(v);
	if (!(d >= min && d <= max))
		return err_set(err, HCP_ERANGE, path, "must be from %g to %g", min, max);
	*ret = d;
	return 0;
}

int jsonv_get_bool(const json_t *doc, const char *path, enum jsonv_need need, bool *ret, struct err *err)
{
	const json_t *v;
	int rc = find(doc, path, need, &v, err);
	if (rc < 0 || !v)
		return rc;
	if (!json_is_boolean(v))
		return wrong_type(v, path, "true or false", err);
	*ret = json_is_true(v);
	return 0;
}

int jsonv_get_array(const json_t *doc, const char *path, enum jsonv_need need, size_t max_n, const json_t **ret,
	struct err *err)
{
	const json_t *v;
	int rc = find(doc, path, need, &v, err);
	if (rc < 0 || !v)
		return rc;
	if (!json_is_array(v))
		return wrong_type(v, path, "an array", err);
	if (json_array_size(v) > max_n)
		return err_set(err, HCP_ELIMIT, path, "has %zu elements, but at most %zu are allowed", json_array_size(v),
			max_n);
	*ret = v;
	return 0;
}

int jsonv_get_object(const json_t *doc, const char *path, enum jsonv_need need, const json_t **ret, struct err *err)
{
	const json_t *v;
	int rc = find(doc, path, need, &v, err);
	if (rc < 0 || !v)
		return rc;
	if (!json_is_object(v))
		return wrong_type(v, path, "an object", err);
	*ret = v;
	return 0;
}

int jsonv_check_names(const json_t *object, const char *const *allowed, struct err *err)
{
	/* jansson's iterators take a mutable object but leave it as it is. */
	json_t *o = (json_t *)(uintptr_t)object;
	for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
		const char *key = json_object_iter_key(it);
		char known[160] = "";
		size_t n = 0, i = 0;
		while (allowed[i] && strcmp(allowed[i], key))
			i++;
		if (allowed[i])
			continue;
		for (i = 0; allowed[i] && n < sizeof(known); i++)
			n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i ? ", " : "", allowed[i]);
		return err_set(err, HCP_EINVAL, key, "unknown field; known are %s%s", known,
			n >= sizeof(known) ? "..." : "");
	}
	return 0;
}
