/* The route table: requests to messages, replies to JSON. */
#include "base/id.h"
#include "base/mem.h"
#include "base/money.h"
#include "base/num.h"
#include "http/url.h"
#include "os/clock.h"
#include "services/gateway/gateway_priv.h"
#include "wire/pb.h"
#include "wire/pbjson.h"

enum { KEY_MAX = 1024, IDEMPOTENCY_MAX = 128, PARAMS_MAX = 64 };

static void fail(struct call *c, int code, const struct err *err)
{
	gw_problem(c, code, err->field, err->text);
}

/* ---- request to message ---- */

static int read_body(struct call *c, struct msg *m, struct err *err)
{
	const struct http_req *req = c->req;
	struct str type = http_req_header(req, "content-type");
	bool has_body = req->method == HTTP_M_POST || req->method == HTTP_M_PUT || req->method == HTTP_M_PATCH;
	if (!has_body || !str_trim(req->body).n)
		return 0;
	struct str media = type.p ? str_trim(str_split(&type, ';')) : STR("application/json");
	/* The second is what `curl -d` says by itself; the body must be JSON either way. */
	if (!str_ieqz(media, "application/json") && !str_ieqz(media, "application/x-www-form-urlencoded"))
		return err_set(err, HCP_EUNSUPPORTED, "content-type", "must be application/json");
	return pbjson_read(msg_info(m->type)->desc, req->body, &m->arena, &m->body, err);
}

static int set_param(struct msg *m, struct str name, struct str value, struct err *err)
{
	struct buf n, v;
	buf_init(&n, 256);
	buf_init(&v, 64 << 10);
	int rc = url_decode(&n, name, true);
	if (rc == 0)
		rc = url_decode(&v, value, true);
	if (rc < 0)
		err_set(err, HCP_EPARSE, "query", "a parameter is not validly percent-encoded");
	else
		rc = pbjson_set(m->body, n.data ? n.data : "", buf_str(&v), &m->arena, err);
	buf_release(&n);
	buf_release(&v);
	return rc < 0 && rc != HCP_ENOMEM && rc != HCP_ERANGE && rc != HCP_EINVAL ? HCP_EPARSE : rc;
}

static int read_params(struct call *c, struct msg *m, struct err *err)
{
	struct str rest = c->req->query, name, value;
	int n = 0, rc = 0;
	while (rc == 0 && query_next(&rest, &name, &value)) {
		if (++n > PARAMS_MAX)
			return err_set(err, HCP_ELIMIT, "query", "at most %d parameters", PARAMS_MAX);
		rc = set_param(m, name, value, err);
	}
	for (size_t i = 0; i < c->match.n_params && rc == 0; i++) {
		struct buf v;
		char field[64];
		buf_init(&v, 4096);
		rc = str_copy(field, sizeof(field), c->match.params[i].name);
		if (rc == 0)
			rc = url_decode(&v, c->match.params[i].value, false);
		rc = rc < 0 ? err_set(err, HCP_EPARSE, field, "the path is not validly percent-encoded")
			    : pbjson_set(m->body, field, buf_str(&v), &m->arena, err);
		buf_release(&v);
	}
	return rc;
}

static int read_idempotency(struct call *c, struct msg *m, struct err *err)
{
	struct str key = http_req_header(c->req, "idempotency-key");
	if (!key.p)
		return 0;
	bool ok = key.n >= 1 && key.n <= IDEMPOTENCY_MAX;
	for (size_t i = 0; i < key.n && ok; i++)
		ok = key.p[i] > ' ' && key.p[i] < 127;
	if (!ok)
		return err_set(err, HCP_EINVAL, "idempotency-key", "must be 1 to %d printable characters", IDEMPOTENCY_MAX);
	m->idempotency_key = arena_strndup(&m->arena, key.p, key.n);
	return m->idempotency_key ? 0 : HCP_ENOMEM;
}

int api_set_principal(struct call *c, struct msg *m)
{
	if (!c->who)
		return 0;
	Hcp__Principal *p = arena_dup(&m->arena, c->who, sizeof(*p));
	if (!p)
		return HCP_ENOMEM;
	p->user_id = arena_strdup(&m->arena, p->user_id);
	p->customer_id = arena_strdup(&m->arena, p->customer_id);
	p->email = arena_strdup(&m->arena, p->email);
	m->principal = p;
	return p->user_id && p->customer_id && p->email ? 0 : HCP_ENOMEM;
}

static int add_secret(struct call *c, struct msg *m)
{
	Hcp__ApiKeyCreate *k = (Hcp__ApiKeyCreate *)m->body;
	unsigned char *digest = arena_alloc(&m->arena, 32);
	if (!digest)
		return HCP_ENOMEM;
	c->secret = gw_new_secret(c->req->arena, "hcp_", digest);
	if (!c->secret)
		return HCP_ENOMEM;
	k->secret_sha256 = (ProtobufCBinaryData){ 32, digest };
	k->prefix = arena_strndup(&m->arena, c->secret, 10);
	return k->prefix ? 0 : HCP_ENOMEM;
}

static int build(struct call *c, struct msg *m, struct err *err)
{
	int rc = read_body(c, m, err);
	if (rc == 0)
		rc = read_params(c, m, err);
	if (rc == 0)
		rc = read_idempotency(c, m, err);
	if (rc == 0)
		rc = api_set_principal(c, m);
	if (rc == 0 && m->type == MSG_API_KEY_CREATE)
		rc = add_secret(c, m);
	if (rc == 0 && c->route->role == 0)
		rc = session_request(c, m, err);
	if (rc == 0 && c->req->method > HTTP_M_HEAD)
		rc = body_precondition(c, m, err);
	if (rc == HCP_ENOMEM)
		err_set(err, rc, "", "out of memory");
	return rc;
}

/* ---- reply to answer ---- */

static int64_t version_of(const struct call *c, const struct msg *reply)
{
	unsigned offset = c->gl->gw->fields[c->route - route_table].version;
	if (!offset || reply->type != c->route->reply)
		return 0;
	return *(const int64_t *)(const void *)((const char *)reply->body + offset);
}

/* Of an answer to a change. */
static size_t change_headers(struct call *c, const struct msg *reply, struct http_header *h)
{
	int64_t version = version_of(c, reply);
	size_t n = 0;
	char *etag = version ? body_version_tag(c, version) : NULL, *where = NULL;
	if (etag)
		h[n++] = (struct http_header){ STR("etag"), str_of(etag) };
	if (c->route->status == 201 && reply->type == MSG_WORKLOAD)
		where = arena_printf(c->req->arena, "/api/v1/workloads/%s", ((const Hcp__Workload *)reply->body)->id);
	if (where)
		h[n++] = (struct http_header){ STR("location"), str_of(where) };
	return n;
}

static void on_problem(struct call *c, const Hcp__Problem *p)
{
	int code = problem_code(p->code);
	bool precondition = code == HCP_ECONFLICT && strcmp(p->field, "if-match") == 0;
	gw_problem_status(c, precondition ? 412 : problem_status(code), code, p->field, p->detail);
}

static void on_reply(void *arg, struct msg *reply)
{
	struct call *c = arg;
	struct buf *out = &c->gl->out;
	struct http_header h[6];
	if (!reply) {
		gw_problem(c, HCP_ETIMEOUT, "", "the service did not answer in time");
		return;
	}
	if (reply->type == MSG_PROBLEM) {
		on_problem(c, (const Hcp__Problem *)reply->body);
		return;
	}
	if (reply->type == MSG_PRINCIPAL && c->route->request == MSG_LOGIN) {
		session_open(c, (const Hcp__Principal *)reply->body);
		return;
	}
	if (c->secret && reply->type == MSG_API_KEY)
		((Hcp__ApiKey *)reply->body)->secret = c->secret;
	size_t n = session_reply(c, reply, h);
	if (reply->type == MSG_STATUS && observe_status(c, &reply->arena, (Hcp__Status *)reply->body) < 0) {
		gw_problem(c, HCP_ENOMEM, "", "out of memory");
		return;
	}
	buf_clear(out);
	if (!reply->body || pbjson_write(reply->body, out) < 0) {
		gw_problem(c, HCP_ENOMEM, "", "the answer is too large");
		buf_release(out);
		buf_init(out, 0);
		return;
	}
	if (c->req->method <= HTTP_M_HEAD) {
		body_answer(c, h, n, buf_str(out), version_of(c, reply));
		return;
	}
	n += change_headers(c, reply, h + n);
	gw_answer(c, c->route->status, h, n, buf_str(out));
}

/* ---- cache ---- */

/* Who sees the same answer shares it: role and customer are part of the key. 0: longer than we care for. */
static size_t make_key(const struct call *c, char *dst)
{
	struct str part[] = { c->req->path, c->req->query, str_of(c->who->customer_id) };
	size_t n = 0;
	dst[n++] = (char)('0' + c->who->role);
	for (size_t i = 0; i < 3; i++) {
		if (n + part[i].n + 1 > KEY_MAX)
			return 0;
		if (part[i].n)
			memcpy(dst + n, part[i].p, part[i].n);
		n += part[i].n;
		dst[n++] = '\n';
	}
	return n;
}

static bool answered_from_cache(struct call *c)
{
	struct gw_stats *stats = &c->gl->stats;
	char key[KEY_MAX];
	size_t n = make_key(c, key);
	if (!n)
		return false;
	if (body_from_cache(c, (struct str){ key, n })) {
		atomic_fetch_add_explicit(&stats->cache_hits, 1, memory_order_relaxed);
		return true;
	}
	atomic_fetch_add_explicit(&stats->cache_misses, 1, memory_order_relaxed);
	c->cache_key = (struct str){ arena_dup(c->req->arena, key, n), n };
	return false;
}

void api_send(struct call *c, struct msg *m, uint32_t deadline_ms)
{
	uint64_t part[3];
	memcpy(part, c->trace.trace_id, 16);
	memcpy(part + 2, c->trace.span_id, 8);
	m->trace_hi = __builtin_bswap64(part[0]);
	m->trace_lo = __builtin_bswap64(part[1]);
	m->span = __builtin_bswap64(part[2]);
	m->at_ns = clock_wall_ns();
	m->deadline_ns = m->at_ns + deadline_ms * NS_PER_MS;
	if (gw_ask(c->gl, m, deadline_ms, on_reply, c) < 0)
		gw_problem(c, HCP_EUNAVAIL, "", "too many requests are waiting; try again");
}

void api_admitted(struct call *c)
{
	struct err err = { 0 };
	uint32_t deadline_ms = GATEWAY_DEADLINE_MS;
	if (c->route->cache_ms && c->who && c->req->method <= HTTP_M_HEAD && answered_from_cache(c))
		return;
	struct msg *m = msg_new(c->route->request);
	int rc = m ? build(c, m, &err) : err_set(&err, HCP_ENOMEM, "", "out of memory");
	if (rc < 0) {
		msg_free(m);
		if (rc == HCP_EUNSUPPORTED || rc == HCP_ECONFLICT) /* of the body's type, or of If-Match */
			gw_problem_status(c, rc == HCP_EUNSUPPORTED ? 415 : 412, rc, err.field, err.text);
		else
			fail(c, rc, &err);
		return;
	}
	unsigned offset = c->gl->gw->fields[c->route - route_table].wait_ms;
	if (offset) {
		int32_t wait_ms = *(const int32_t *)(const void *)((const char *)m->body + offset);
		deadline_ms += wait_ms > 0 && wait_ms <= 60000 ? (uint32_t)wait_ms : 0;
	}
	api_send(c, m, deadline_ms);
}
