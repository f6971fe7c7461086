#include "services/gateway/gateway.h"

#include <stdio.h>

#include "base/hex.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "os/clock.h"
#include "os/entropy.h"
#include "services/gateway/gateway_priv.h"
#include "services/gateway/header.h"
#include "wire/gzip.h"

/* ---- asking services ---- */

static void deliver(struct loop *loop, void *arg)
{
	struct gw_loop *gl = arg;
	pthread_mutex_lock(&gl->lock);
	struct waiter *w = gl->done;
	gl->done = NULL;
	gl->done_end = &gl->done;
	gl->posted = false;
	pthread_mutex_unlock(&gl->lock);
	while (w) {
		struct waiter *next = w->next;
		loop_timer_stop(&w->timer);
		gl->waiting--;
		if (w->fn)
			w->fn(w->arg, w->reply);
		msg_free(w->reply);
		mem_free(w);
		w = next;
	}
}

/* From the answering service's thread. */
static void on_reply(void *arg, struct msg *reply)
{
	struct waiter *w = arg;
	struct gw_loop *gl = w->gl;
	w->reply = reply;
	w->next = NULL;
	pthread_mutex_lock(&gl->lock);
	bool post = !gl->posted;
	gl->posted = true;
	*gl->done_end = w;
	gl->done_end = &w->next;
	pthread_mutex_unlock(&gl->lock);
	if (post)
		must(loop_post(gl->loop, deliver, gl) == 0); /* one at a time is posted: far below the loop's limit */
}

static void on_deadline(struct loop *loop, void *arg)
{
	struct waiter *w = arg;
	gw_reply_fn *fn = w->fn;
	w->fn = NULL;
	if (fn)
		fn(w->arg, NULL);
}

int gw_ask(struct gw_loop *gl, struct msg *m, uint32_t deadline_ms, gw_reply_fn *fn, void *arg)
{
	struct waiter *w = gl->waiting < GATEWAY_PENDING_MAX ? mem_calloc(1, sizeof(*w)) : NULL;
	if (!w) {
		msg_free(m);
		return HCP_ELIMIT;
	}
	w->gl = gl;
	w->fn = fn;
	w->arg = arg;
	loop_timer_init(&w->timer, gl->loop, on_deadline, w);
	loop_timer_start(&w->timer, deadline_ms);
	gl->waiting++;
	m->reply_fn = on_reply;
	m->reply_arg = w;
	host_send(gl->gw->host, m);
	return 0;
}

/* ---- answers ---- */

static const int64_t bucket_us[GW_BUCKETS] = { 50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000,
					       1000000, INT64_MAX };

/* One writer: a load and a store are enough, and cheaper than a locked add. */
static void bump(_Atomic uint64_t *v, uint64_t by)
{
	atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + by, memory_order_relaxed);
}

void gw_count(struct call *c, int status)
{
	struct gw_row_stats *s = &c->gl->stats.rows[c->row];
	int64_t ns = loop_now_ns(c->gl->loop) - c->start_ns;
	int i = 0, b = 0;
	while (i < GW_STATUSES - 1 && observe_statuses[i] != status)
		i++;
	while (b < GW_BUCKETS - 1 && ns > bucket_us[b] * 1000)
		b++;
	bump(&s->by_status[i], 1);
	bump(&s->latency[b], 1);
	bump(&s->latency_ns, (uint64_t)ns);
	bump(&s->n, 1);
}

static bool origin_allowed(const struct gateway *gw, struct str origin)
{
	struct str rest = str_of(gw->conf.cors_origins);
	while (rest.p) {
		struct str one = str_trim(str_split(&rest, ','));
		if (one.n && (str_eqz(one, "*") || str_eq(one, origin)))
			return true;
	}
	return false;
}

size_t gw_cors(struct call *c, struct http_header *h)
{
	struct str origin;
	if (!c->gl->gw->conf.cors_origins)
		return 0;
	h[0] = (struct http_header){ STR("vary"), STR("Origin") };
	origin = http_req_header(c->req, "origin");
	if (!origin.n || !origin_allowed(c->gl->gw, origin))
		return 1;
	h[1] = (struct http_header){ STR("access-control-allow-origin"), origin };
	h[2] = (struct http_header){ STR("access-control-expose-headers"),
				     STR("etag, location, retry-after, traceparent, x-cache, x-hcp-node") };
	return 3;
}

static size_t limit_headers(struct call *c, struct http_header *h)
{
	char *text = arena_alloc(c->req->arena, 4 * 12);
	if (!c->limit.limit || !text)
		return 0;
	uint32_t v[] = { c->limit.limit, c->limit.remaining, c->limit.reset_s, c->limit.retry_after_s };
	static const struct str names[] = { { "ratelimit-limit", 15 }, { "ratelimit-remaining", 19 },
					    { "ratelimit-reset", 15 }, { "retry-after", 11 } };
	size_t n = c->limit.retry_after_s ? 4 : 3;
	for (size_t i = 0; i < n; i++) {
		char *p = text + 12 * (i + 1), *end = p;
		do
			*--p = (char)('0' + v[i] % 10);
		while (v[i] /= 10);
		h[i] = (struct http_header){ names[i], { p, (size_t)(end - p) } };
	}
	return n;
}

void gw_answer(struct call *c, int status, const struct http_header *hdrs, size_t n, struct str body)
{
	struct http_header h[GW_HEADERS_MAX];
	struct gw_loop *gl = c->gl;
	size_t k = 0;
	for (; k < n; k++)
		h[k] = hdrs[k];
	h[k++] = (struct http_header){ STR("traceparent"), { c->trace_text, TRACE_TEXT_LEN } };
	h[k++] = (struct http_header){ STR("x-content-type-options"), STR("nosniff") };
	h[k++] =
		(struct http_header){ STR("cache-control"), c->cache_control ? str_of(c->cache_control) : STR("no-store") };
	k += limit_headers(c, h + k);
	k += gw_cors(c, h + k);
	must(k <= GW_HEADERS_MAX);
	gw_count(c, status);
	atomic_fetch_sub_explicit(&gl->open_calls, 1, memory_order_relaxed);
	http_reply(c->req, status, h, k, body);
}

static void problem_answer(struct call *c, int status, int code, const char *field, const char *detail,
	const struct http_header *more, size_t n_more)
{
	struct http_header h[5];
	char trace_id[33];
	struct buf b;
	size_t n = 0;
	must(n_more <= 1);
	for (; n < n_more; n++)
		h[n] = more[n];
	h[n++] = (struct http_header){ STR("content-type"), STR("application/problem+json") };
	if (status == 401)
		h[n++] = (struct http_header){ STR("www-authenticate"), STR("Bearer realm=\"hcp\"") };
	if (status == 503 || (status == 429 && !c->limit.retry_after_s))
		h[n++] = (struct http_header){ STR("retry-after"), STR("1") };
	buf_init(&b, 64 << 10);
	hex_encode(trace_id, c->trace.trace_id, sizeof(c->trace.trace_id));
	problem_write(&b, status, code, field, detail, trace_id);
	if (status >= 500 && status != 503)
		log_warn("gateway", "%.*s %.*s: %d %s", (int)c->req->method_name.n, c->req->method_name.p,
			 (int)(c->req->path.n < 200 ? c->req->path.n : 200), c->req->path.p, status, detail);
	gw_answer(c, status, h, n, buf_str(&b));
	buf_release(&b);
}

void gw_problem_status(struct call *c, int status, int code, const char *field, const char *detail)
{
	problem_answer(c, status, code, field, detail, NULL, 0);
}

void gw_problem(struct call *c, int code, const char *field, const char *detail)
{
	gw_problem_status(c, problem_status(code), code, field, detail);
}

/* ---- requests ---- */

static void trace_begin(struct call *c)
{
	uint64_t r[3] = { rng_u64(&c->gl->rng), rng_u64(&c->gl->rng), rng_u64(&c->gl->rng) | 1 };
	struct str parent = http_req_header(c->req, "traceparent");
	if (!parent.p || trace_parse(parent, &c->trace) < 0) {
		r[0] |= 1;
		memcpy(c->trace.trace_id, r, 16);
		c->trace.flags = 0;
	}
	memcpy(c->trace.span_id, r + 2, 8);
	trace_format(&c->trace, c->trace_text);
}

struct call *gw_call_new(struct gw_loop *gl, struct http_req *req, int row)
{
	struct call *c = arena_calloc(req->arena, sizeof(*c));
	if (!c) {
		http_reply_problem(req, 503, "out_of_memory", STR("out of memory"));
		return NULL;
	}
	c->gl = gl;
	c->req = req;
	c->row = row;
	c->start_ns = loop_now_ns(gl->loop);
	trace_begin(c);
	atomic_fetch_add_explicit(&gl->open_calls, 1, memory_order_relaxed);
	return c;
}

static void answer_preflight(struct call *c)
{
	struct http_header h[] = {
		{ STR("access-control-allow-methods"), STR("GET, HEAD, POST, PUT, DELETE") },
		{ STR("access-control-allow-headers"),
			STR("authorization, content-type, idempotency-key, if-match, if-none-match, traceparent, x-api-key") },
		{ STR("access-control-max-age"), STR("600") },
	};
	struct http_header cors[3];
	c->row = (int)route_count + GW_ROW_OTHER;
	if (gw_cors(c, cors) < 3)
		gw_problem(c, HCP_EPERM, "origin", "this origin may not call");
	else
		gw_answer(c, 204, h, 3, (struct str){ "", 0 });
}

static void answer_unmatched(struct call *c)
{
	static const char *const names[ROUTE_VERBS] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" };
	struct buf allow;
	if (!c->match.verbs) {
		gw_problem(c, HCP_ENOTFOUND, "", "there is nothing at this path");
		return;
	}
	buf_init(&allow, 128);
	for (int v = 0; v < ROUTE_VERBS; v++)
		if (c->match.verbs >> v & 1)
			buf_printf(&allow, "%s%s", allow.n ? ", " : "", names[v]);
	char *text = arena_strdup(c->req->arena, allow.data ? allow.data : "");
	buf_release(&allow);
	const struct http_header h = { STR("allow"), str_of(text ? text : "") };
	problem_answer(c, 405, HCP_EUNSUPPORTED, "method", "the path does not take this method", &h, 1);
}

static void answer_openapi(struct call *c)
{
	bool gzip = header_takes_gzip(http_req_header(c->req, "accept-encoding"));
	const struct http_header h[] = { { STR("content-type"), STR("application/json") },
		{ STR("etag"), str_of(openapi_etag) }, { STR("vary"), STR("Accept-Encoding") },
		{ STR("content-encoding"), STR("gzip") } };
	c->cache_control = "no-cache";
	if (header_names_etag(http_req_header(c->req, "if-none-match"), str_of(openapi_etag + 2), true))
		gw_answer(c, 304, h + 1, 2, (struct str){ "", 0 });
	else if (gzip)
		gw_answer(c, 200, h, 4, (struct str){ (const char *)openapi_gz, openapi_gz_n });
	else
		gw_answer(c, 200, h, 3, (struct str){ openapi_json, openapi_json_n });
}

/* What stands beside the route table. */
static const struct special {
	struct str path;
	enum http_verb verb;
	int row;
	uint8_t role;
	void (*fn)(struct call *c);
	uint32_t services; /* on whose ports, by bit */
} specials[] = {
	{ { "/health", 7 }, HTTP_M_GET, GW_ROW_HEALTH, 0, observe_health, ~0U },
	{ { "/metrics", 8 }, HTTP_M_GET, GW_ROW_METRICS, 0, observe_metrics, ~0U },
	{ { "/api/v1/openapi.json", 20 }, HTTP_M_GET, GW_ROW_OTHER, 0, answer_openapi, 1U << SVC_GATEWAY },
	{ { "/api/v1/ws", 10 }, HTTP_M_GET, GW_ROW_WS, HCP__ROLE__CUSTOMER, realtime_handle,
		1U << SVC_GATEWAY | 1U << SVC_REALTIME },
	{ { "/v1/embeddings", 14 }, HTTP_M_POST, GW_ROW_EMBEDDINGS, HCP__ROLE__CUSTOMER, infer_embeddings,
		1U << SVC_GATEWAY },
	{ { "/v1/models", 10 }, HTTP_M_GET, GW_ROW_MODELS, HCP__ROLE__CUSTOMER, infer_models, 1U << SVC_GATEWAY },
};

static bool handle_special(struct call *c)
{
	for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++) {
		const struct special *s = &specials[i];
		if (!str_eq(s->path, c->req->path) || !(s->services >> c->gl->gw->conf.service & 1))
			continue;
		c->row = (int)route_count + s->row;
		c->role = s->role;
		if (c->req->method != s->verb && !(s->verb == HTTP_M_GET && c->req->method == HTTP_M_HEAD)) {
			c->match.verbs = 1U << s->verb;
			answer_unmatched(c);
		} else if (!s->role) {
			s->fn(c);
		} else {
			c->then = s->fn;
			if (s->row == GW_ROW_WS)
				realtime_handle(c); /* takes its credentials from the query */
			else
				gw_admit(c);
		}
		return true;
	}
	return false;
}

static bool is_api(struct str path)
{
	return str_starts(path, STR("/api/")) || str_starts(path, STR("/v1/"));
}

void gw_handle(struct http_req *req, void *arg)
{
	struct gw_loop *gl = arg;
	struct gateway *gw = gl->gw;
	struct call *c = gw_call_new(gl, req, (int)route_count + GW_ROW_OTHER);
	if (!c)
		return;
	if (atomic_load_explicit(&gw->draining, memory_order_relaxed)) {
		gw_problem(c, HCP_EUNAVAIL, "", "the gateway is stopping");
		return;
	}
	if (req->method == HTTP_M_OPTIONS) {
		answer_preflight(c);
		return;
	}
	router_match(&gw->router, req->method, req->path, &c->match);
	if (c->match.row >= 0) {
		c->row = c->match.row;
		c->route = &route_table[c->match.row];
		c->role = c->route->role;
		c->then = api_admitted;
		gw_admit(c);
		return;
	}
	if (handle_special(c))
		return;
	if (is_api(req->path)) {
		answer_unmatched(c);
		return;
	}
	c->row = (int)route_count + GW_ROW_STATIC;
	static_handle(c);
}

/* ---- life ---- */

static void ask_key_now(struct loop *loop, void *arg)
{
	gw_ask_key(arg);
}

static int loop_open(struct gateway *gw, struct gw_loop *gl, uint16_t port, struct err *err)
{
	const struct http_server_conf conf = {
		.host = gw->conf.bind, .port = port, .reuse_port = gw->n_loops > 1, .cert_file = gw->conf.cert_file,
		.key_file = gw->conf.key_file, .max_body_bytes = GATEWAY_BODY_MAX,
	};
	gl->gw = gw;
	pthread_mutex_init(&gl->lock, NULL);
	gl->done_end = &gl->done;
	map_init(&gl->sessions);
	list_init(&gl->session_lru);
	list_init(&gl->key_waiters);
	cache_init(&gl->answers, CACHE_ENTRIES_MAX, CACHE_BYTES_MAX);
	buf_init(&gl->out, 0);
	buf_init(&gl->packed, 0);
	rng_init(&gl->rng, entropy_u64());
	if (observe_init(&gl->stats) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int rc = loop_new(NULL, &gl->loop, err);
	if (rc == 0 && (gw->conf.service == SVC_GATEWAY || gw->conf.service == SVC_REALTIME))
		rc = realtime_new(gl, &gl->realtime, err);
	if (rc == 0 && gw->conf.service == SVC_GATEWAY)
		rc = infer_proxy_new(gl, &gl->infer, err);
	if (rc == 0)
		rc = http_server_new(gl->loop, &conf, gw_handle, gl, &gl->server, err);
	return rc;
}

static void *loop_main(void *arg)
{
	struct gw_loop *gl = arg;
	loop_run(gl->loop);
	return NULL;
}

static int loop_start(struct gw_loop *gl, int i, struct err *err)
{
	char name[24];
	int rc = loop_post(gl->loop, ask_key_now, gl);
	if (rc < 0)
		return err_set(err, rc, "threads", "cannot start");
	if (pthread_create(&gl->thread, NULL, loop_main, gl) != 0)
		return err_set(err, HCP_EIO, "threads", "cannot start a thread");
	gl->running = true;
	snprintf(name, sizeof(name), "%.8s-%d", svc_table[gl->gw->conf.service].name, i); /* at most 15 characters */
	pthread_setname_np(gl->thread, name);
	return 0;
}

static const ProtobufCFieldDescriptor *field_of(
	uint16_t type, const char *name, ProtobufCType want, ProtobufCLabel label)
{
	const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(msg_info(type)->desc, name);
	return f && f->type == want && (f->label == PROTOBUF_C_LABEL_REPEATED) == (label == PROTOBUF_C_LABEL_REPEATED)
			   ? f
			   : NULL;
}

static int find_fields(struct gateway *gw)
{
	gw->fields = mem_calloc(route_count, sizeof(*gw->fields));
	if (!gw->fields)
		return HCP_ENOMEM;
	for (size_t i = 0; i < route_count; i++) {
		struct route_fields *to = &gw->fields[i];
		uint16_t request = route_table[i].request, reply = route_table[i].reply;
		const ProtobufCFieldDescriptor *f = field_of(request, "wait_ms", PROTOBUF_C_TYPE_INT32, PROTOBUF_C_LABEL_NONE);
		to->wait_ms = f ? f->offset : 0;
		f = field_of(request, "if_version", PROTOBUF_C_TYPE_INT64, PROTOBUF_C_LABEL_REPEATED);
		to->versions = f ? f->offset : 0;
		to->n_versions = f ? f->quantifier_offset : 0;
		f = field_of(reply, "version", PROTOBUF_C_TYPE_INT64, PROTOBUF_C_LABEL_NONE);
		to->version = f ? f->offset : 0;
	}
	return 0;
}

static int copy(const char **dst, const char *src)
{
	if (src)
		*dst = mem_strdup(src);
	return src && !*dst ? HCP_ENOMEM : 0;
}

static int copy_conf(struct gateway *gw, const struct gateway_conf *conf, struct err *err)
{
	struct gateway_conf *d = &gw->conf;
	*d = *conf;
	d->bind = d->cert_file = d->key_file = d->web_dir = d->cors_origins = d->machine_token = d->version = NULL;
	if (copy(&d->bind, conf->bind) < 0 || copy(&d->cert_file, conf->cert_file) < 0 ||
		copy(&d->key_file, conf->key_file) < 0 || copy(&d->cors_origins, conf->cors_origins) < 0 ||
		copy(&d->machine_token, conf->machine_token) < 0 ||
		copy(&d->version, conf->version ? conf->version : "dev") < 0 || find_fields(gw) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (conf->threads < 0 || conf->threads > GATEWAY_THREADS_MAX)
		return err_set(err, HCP_ERANGE, "threads", "must be 1 to %d, was %d", GATEWAY_THREADS_MAX, conf->threads);
	gw->n_loops = conf->threads ? conf->threads : 1;
	return 0;
}

static int open_all(struct gateway *gw, struct err *err)
{
	int rc = 0;
	uint16_t port = gw->conf.port;
	gw->loops = mem_calloc((size_t)gw->n_loops, sizeof(*gw->loops));
	if (!gw->loops)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	for (int i = 0; i < gw->n_loops && rc == 0; i++) {
		rc = loop_open(gw, &gw->loops[i], port, err);
		if (rc == 0)
			port = http_server_port(gw->loops[i].server);
	}
	for (int i = 0; i < gw->n_loops && rc == 0; i++)
		rc = loop_start(&gw->loops[i], i, err);
	return rc;
}

int gateway_new(const struct gateway_conf *conf, struct gateway **ret, struct err *err)
{
	struct gateway *gw = mem_calloc(1, sizeof(*gw));
	if (!gw)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	gw->host = conf->host;
	gw->started_ns = clock_wall_ns();
	pthread_mutex_init(&gw->limit_lock, NULL);
	limits_init(&gw->limits, LIMIT_BUCKETS_MAX);
	map_init(&gw->file_by_path);
	int rc = copy_conf(gw, conf, err);
	if (rc == 0)
		rc = router_init(&gw->router, route_table, route_count, conf->service, err);
	if (rc == 0 && conf->web_dir)
		rc = static_load(gw, conf->web_dir, err);
	if (rc == 0)
		rc = open_all(gw, err);
	if (rc < 0) {
		gateway_free(gw);
		return rc;
	}
	*ret = gw;
	return 0;
}

uint16_t gateway_port(const struct gateway *gw)
{
	return http_server_port(gw->loops[0].server);
}

static void drain_now(struct loop *loop, void *arg)
{
	struct gw_loop *gl = arg;
	http_server_drain(gl->server);
	if (gl->realtime)
		realtime_stop(gl->realtime);
	if (gl->infer)
		infer_proxy_stop(gl->infer);
}

void gateway_drain(struct gateway *gw, uint32_t wait_ms)
{
	atomic_store(&gw->draining, true);
	for (int i = 0; i < gw->n_loops; i++)
		must(loop_post(gw->loops[i].loop, drain_now, &gw->loops[i]) == 0);
	int64_t until_ns = clock_mono_ns() + wait_ms * NS_PER_MS;
	for (int i = 0; i < gw->n_loops; i++)
		while (atomic_load(&gw->loops[i].open_calls) && clock_mono_ns() < until_ns)
			clock_sleep_ns(5 * NS_PER_MS);
}

/* What needs the loop; WebSockets are told by loop_free, so realtime goes after it. */
static void loop_release(struct gw_loop *gl)
{
	infer_proxy_free(gl->infer);
	http_server_free(gl->server);
	gl->infer = NULL;
	gl->server = NULL;
}

static void finish_now(struct loop *loop, void *arg)
{
	struct gw_loop *gl = arg;
	loop_release(gl);
	loop_stop(loop);
}

static void loop_close_one(struct gw_loop *gl)
{
	if (gl->running) {
		must(loop_post(gl->loop, finish_now, gl) == 0);
		pthread_join(gl->thread, NULL);
	} else {
		loop_release(gl);
	}
	if (gl->loop)
		loop_free(gl->loop);
	realtime_free(gl->realtime);
	jwt_key_free(gl->key);
	gw_sessions_release(gl);
	cache_release(&gl->answers);
	buf_release(&gl->out);
	buf_release(&gl->packed);
	gzip_free(gl->gzip);
	mem_free(gl->stats.rows);
	pthread_mutex_destroy(&gl->lock);
}

void gateway_free(struct gateway *gw)
{
	if (!gw)
		return;
	for (int i = 0; gw->loops && i < gw->n_loops; i++)
		if (gw->loops[i].gw)
			loop_close_one(&gw->loops[i]);
	mem_free(gw->loops);
	static_release(gw);
	router_release(&gw->router);
	limits_release(&gw->limits);
	pthread_mutex_destroy(&gw->limit_lock);
	mem_free(gw->fields);
	const char *const strings[] = { gw->conf.bind, gw->conf.cert_file, gw->conf.key_file, gw->conf.cors_origins,
					gw->conf.machine_token, gw->conf.version };
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		mem_free((void *)strings[i]);
	mem_free(gw);
}
