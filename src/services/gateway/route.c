#include "services/gateway/route.h"

#include "base/mem.h"

static const char *const verb_names[ROUTE_VERBS] = {
	[HTTP_M_GET] = "GET", [HTTP_M_HEAD] = "HEAD", [HTTP_M_POST] = "POST", [HTTP_M_PUT] = "PUT",
	[HTTP_M_PATCH] = "PATCH", [HTTP_M_DELETE] = "DELETE", [HTTP_M_OPTIONS] = "OPTIONS",
};

enum http_verb route_verb(const char *method)
{
	for (int v = 0; v < ROUTE_VERBS; v++)
		if (strcmp(verb_names[v], method) == 0)
			return (enum http_verb)v;
	return HTTP_M_OTHER;
}

static struct route_path *path_of(struct router *r, struct str path)
{
	for (size_t i = 0; i < r->n_paths; i++)
		if (str_eq(r->paths[i].path, path))
			return &r->paths[i];
	struct route_path *p = &r->paths[r->n_paths++];
	p->path = path;
	for (int v = 0; v < ROUTE_VERBS; v++)
		p->by_verb[v] = -1;
	return p;
}

static bool offers(int service, const struct route_info *row)
{
	if (row->own != SVC_GATEWAY || service == SVC_GATEWAY)
		return row->own == service;
	return msg_info(row->request)->target == service;
}

/* Rows whose path has parameters or has none, in their order. */
static int add_rows(struct router *r, size_t n, int service, bool with_params, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		enum http_verb verb = route_verb(r->rows[i].method);
		if ((strchr(r->rows[i].path, '{') != NULL) != with_params || !offers(service, &r->rows[i]))
			continue;
		if (verb == HTTP_M_OTHER)
			return err_set(err, HCP_EINVAL, r->rows[i].path, "no such method: %s", r->rows[i].method);
		struct route_path *p = path_of(r, str_of(r->rows[i].path));
		if (p->by_verb[verb] >= 0)
			return err_set(err, HCP_EEXIST, r->rows[i].path, "declared twice for %s", r->rows[i].method);
		p->by_verb[verb] = (int)i;
	}
	return 0;
}

int router_init(struct router *r, const struct route_info *rows, size_t n, int service, struct err *err)
{
	*r = (struct router){ .rows = rows };
	map_init(&r->literal);
	r->paths = mem_calloc(n + 1, sizeof(*r->paths));
	if (!r->paths)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int rc = add_rows(r, n, service, true, err);
	r->n_param = r->n_paths;
	if (rc == 0)
		rc = add_rows(r, n, service, false, err);
	for (size_t i = r->n_param; i < r->n_paths && rc == 0; i++)
		if (map_put(&r->literal, r->paths[i].path, &r->paths[i], NULL) < 0)
			rc = err_set(err, HCP_ENOMEM, "", "out of memory");
	if (rc < 0)
		router_release(r);
	return rc;
}

void router_release(struct router *r)
{
	map_release(&r->literal);
	mem_free(r->paths);
	r->paths = NULL;
}

/* Does the path have the pattern's form? Parameters are never empty. */
static bool fits(struct str pattern, struct str path, struct route_match *m)
{
	m->n_params = 0;
	while (pattern.p && path.p) {
		struct str want = str_split(&pattern, '/'), have = str_split(&path, '/');
		if (want.n > 2 && want.p[0] == '{') {
			if (!have.n || m->n_params == ROUTE_PARAMS_MAX)
				return false;
			m->params[m->n_params].name = (struct str){ want.p + 1, want.n - 2 };
			m->params[m->n_params++].value = have;
		} else if (!str_eq(want, have)) {
			return false;
		}
	}
	return !pattern.p && !path.p;
}

static bool take(const struct route_path *p, enum http_verb verb, struct route_match *m)
{
	for (unsigned v = 0; v < ROUTE_VERBS; v++)
		if (p->by_verb[v] >= 0)
			m->verbs |= 1U << v;
	if (verb == HTTP_M_HEAD && p->by_verb[HTTP_M_HEAD] < 0)
		verb = HTTP_M_GET; /* the server leaves the body out */
	if ((int)verb >= ROUTE_VERBS || p->by_verb[verb] < 0)
		return false;
	m->row = p->by_verb[verb];
	return true;
}

void router_match(const struct router *r, enum http_verb verb, struct str path, struct route_match *ret)
{
	const struct route_path *p = map_get(&r->literal, path);
	ret->row = -1;
	ret->verbs = 0;
	ret->n_params = 0;
	if (p && take(p, verb, ret))
		return;
	for (size_t i = 0; i < r->n_param; i++)
		if (fits(r->paths[i].path, path, ret) && take(&r->paths[i], verb, ret))
			return;
	ret->n_params = 0;
}
