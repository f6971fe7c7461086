#include "feed/jpath.h"

#include <string.h>

#include "base/num.h"

enum { SEGMENT_MAX = 128 };

/* The next segment, decoded; *rest stands behind it. 1: there is one, 0: the path is at its end. */
static int take_segment(const char **rest, char dst[SEGMENT_MAX], struct err *err)
{
	const char *p = *rest;
	size_t n = 0;
	if (!*p)
		return 0;
	if (*p++ != '/')
		return err_set(err, HCP_EINVAL, "path", "must begin with '/' and have one before each name");
	for (; *p && *p != '/'; p++) {
		char c = *p;
		if (c == '~') {
			c = p[1] == '0' ? '~' : p[1] == '1' ? '/' : 0;
			if (!c)
				return err_set(err, HCP_EINVAL, "path", "'~' must be followed by 0 or 1");
			p++;
		}
		if (n + 1 >= SEGMENT_MAX)
			return err_set(err, HCP_EINVAL, "path", "a name of more than %d bytes", SEGMENT_MAX - 1);
		dst[n++] = c;
	}
	dst[n] = 0;
	*rest = p;
	return 1;
}

int jpath_check(const char *path, struct err *err)
{
	char segment[SEGMENT_MAX];
	int rc, depth = 0;
	while ((rc = take_segment(&path, segment, err)) > 0)
		if (++depth > JPATH_DEPTH_MAX)
			return err_set(err, HCP_EINVAL, "path", "more than %d names deep", JPATH_DEPTH_MAX);
	return rc;
}

struct walk {
	int (*fn)(void *arg, const json_t *value);
	void *arg;
	int calls, depth;
	struct err *err;
};

static int visit(struct walk *w, const json_t *at, const char *rest);

static int visit_all(struct walk *w, const json_t *at, const char *rest)
{
	size_t i;
	const char *key;
	json_t *v;
	int rc = 0;
	if (json_is_array(at)) {
		json_array_foreach(at, i, v)
		{
			if ((rc = visit(w, v, rest)) < 0)
				return rc;
		}
	} else if (json_is_object(at)) {
		json_object_foreach((json_t *)(uintptr_t)at, key, v)
		{
			if ((rc = visit(w, v, rest)) < 0)
				return rc;
		}
	}
	return rc;
}

static const json_t *element(const json_t *array, const char *segment)
{
	int64_t i;
	if (num_parse_i64(str_of(segment), &i) < 0)
		return NULL;
	i = i < 0 ? i + (int64_t)json_array_size(array) : i;
	return i < 0 ? NULL : json_array_get(array, (size_t)i);
}

static int visit(struct walk *w, const json_t *at, const char *rest)
{
	char segment[SEGMENT_MAX];
	int rc = take_segment(&rest, segment, w->err);
	if (rc < 0)
		return rc;
	if (rc == 0) {
		if (++w->calls > JPATH_MATCHES_MAX)
			return err_set(w->err, HCP_ELIMIT, "path", "names more than %d values", JPATH_MATCHES_MAX);
		return w->fn(w->arg, at);
	}
	if (++w->depth > JPATH_DEPTH_MAX)
		return err_set(w->err, HCP_EINVAL, "path", "more than %d names deep", JPATH_DEPTH_MAX);
	if (strcmp(segment, "*") == 0) {
		rc = visit_all(w, at, rest);
	} else {
		const json_t *v = json_is_array(at) ? element(at, segment) : json_object_get(at, segment);
		rc = v ? visit(w, v, rest) : 0;
	}
	w->depth--;
	return rc;
}

int jpath_each(
	const json_t *doc, const char *path, int (*fn)(void *arg, const json_t *value), void *arg, struct err *err)
{
	struct walk w = { .fn = fn, .arg = arg, .err = err };
	int rc = visit(&w, doc, path);
	return rc < 0 ? rc : w.calls;
}
