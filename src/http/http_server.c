#include "http/http_server.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/panic.h"
#include "base/money.h"
#include "os/clock.h"
#include "http/http_priv.h"
#include "loop/tls.h"

/* ---- requests ---- */

struct req *req_get(struct http_conn *c)
{
	struct http_server *s = c->server;
	struct list *node = list_pop(&s->free_reqs);
	struct req *r;
	if (node) {
		s->n_free_reqs--;
		r = list_entry(node, struct req, node);
	} else {
		r = mem_alloc(sizeof(*r));
		if (!r)
			return NULL;
		arena_init(&r->arena, 2048, 0);
		buf_init(&r->head, 0);
		buf_init(&r->body, 0);
		buf_init(&r->out, 0);
		list_init(&r->node);
	}
	/* Field by field: the headers array is large and needs no clearing. */
	r->pub = (struct http_req){ .loop = s->loop, .arena = &r->arena, .headers = r->headers, .body = STR(""),
		.peer = stream_peer(c->stream), .identity = stream_peer_identity(c->stream), .tls = stream_is_tls(c->stream),
		.query = STR(""), .path = STR("") };
	r->conn = c;
	r->state = REQ_READING;
	c->n_reading++;
	r->out_off = r->unconsumed = r->n_trailers = 0;
	r->body_ops = NULL;
	r->handed = r->expect_continue = r->upgrade = r->want_drain = r->gone_told = r->body_done = false;
	r->chunked = r->no_body = r->out_end = r->paused = false;
	r->keep_alive = true;
	r->stream_id = 0;
	r->since_ms = loop_turn_ms(s->loop);
	list_add_tail(&c->reqs, &r->node);
	c->n_reqs++;
	return r;
}

static void shrink(struct buf *b)
{
	b->failed = false;
	if (b->cap > HTTP_KEEP_BYTES)
		buf_release(b);
	else
		buf_clear(b);
}

static void req_free(struct req *r)
{
	arena_release(&r->arena);
	buf_release(&r->head);
	buf_release(&r->body);
	buf_release(&r->out);
	mem_free(r);
}

void req_put(struct req *r)
{
	struct http_conn *c = r->conn;
	struct http_server *s = c->server;
	list_del(&r->node);
	must(c->n_reqs > 0);
	c->n_reqs--;
	c->n_reading -= r->state == REQ_READING;
	if (c->cur == r)
		c->cur = NULL;
	if (s->n_free_reqs >= HTTP_KEEP_REQS || s->freed) {
		req_free(r);
		return;
	}
	arena_clear(&r->arena);
	if (r->arena.total > HTTP_KEEP_BYTES)
		arena_release(&r->arena);
	shrink(&r->head);
	shrink(&r->body);
	shrink(&r->out);
	list_add_head(&s->free_reqs, &r->node);
	s->n_free_reqs++;
}

/* The client is away. What the handler has not got yet is dropped, the rest waits for its answer. */
void req_gone(struct req *r)
{
	r->pub.gone = true;
	if (!r->handed || r->state == REQ_DONE) {
		req_put(r);
		return;
	}
	if (!r->gone_told && r->pub.on_gone) {
		r->gone_told = true;
		r->pub.on_gone(&r->pub);
	}
}

void req_split_target(struct req *r, struct str target)
{
	/* absolute-form, as proxies send it (RFC 9112 3.2.2) */
	const char *sep = target.p && target.n > 0 && target.p[0] != '/' ? memmem(target.p, target.n, "://", 3) : NULL;
	if (sep) {
		const char *host = sep + 3, *end = target.p + target.n;
		const char *slash = memchr(host, '/', (size_t)(end - host));
		target = slash ? (struct str){ slash, (size_t)(end - slash) } : STR("/");
	}
	if (!target.p)
		target = STR("");
	const char *q = memchr(target.p, '?', target.n);
	r->pub.path = (struct str){ target.p, q ? (size_t)(q - target.p) : target.n };
	r->pub.query = q ? (struct str){ q + 1, target.n - r->pub.path.n - 1 } : STR("");
}

bool req_offer_head(struct req *r)
{
	struct http_server *s = r->conn->server;
	if (!s->head_fn)
		return false;
	r->handed = true;
	bool took = s->head_fn(&r->pub, s->head_arg);
	if (!took)
		r->handed = false;
	return took;
}

void req_dispatch(struct req *r)
{
	struct http_server *s = r->conn->server;
	req_set_state(r, REQ_RUNNING);
	r->handed = true;
	r->pub.body = buf_str(&r->body);
	if (s->freed) {
		http_reply_abort(&r->pub);
		return;
	}
	s->handler(&r->pub, s->arg);
}

struct str http_req_header(const struct http_req *req, const char *name)
{
	return http_find(req->headers, req->n_headers, name);
}

/* ---- answers ---- */

static const struct http_proto *proto(const struct http_conn *c)
{
	return c->proto == CONN_H2 ? &http_h2 : &http_h1;
}

/* A gone client's request ends here. Returns true if so. */
static bool ended_by_gone(struct req *r)
{
	if (!r->pub.gone)
		return false;
	struct http_conn *c = r->conn;
	req_put(r);
	conn_unref_maybe(c);
	return true;
}

void http_reply(struct http_req *req, int status, const struct http_header *hdrs, size_t n, struct str body)
{
	struct req *r = req_of(req);
	must(r->state == REQ_RUNNING || r->state == REQ_READING);
	if (!ended_by_gone(r))
		proto(r->conn)->reply(r, status, hdrs, n, body);
}

void problem_body(struct buf *b, int status, const char *code, struct str detail)
{
	buf_addz(b, "{\"type\":\"about:blank\",\"title\":");
	buf_add_json(b, str_of(http_status_text(status)));
	buf_printf(b, ",\"status\":%d,\"code\":", status);
	buf_add_json(b, str_of(code));
	buf_addz(b, ",\"detail\":");
	buf_add_json(b, detail);
	buf_addc(b, '}');
}

void http_reply_problem(struct http_req *req, int status, const char *code, struct str detail)
{
	struct buf b;
	buf_init(&b, 0);
	problem_body(&b, status, code, detail);
	struct http_header type = { STR("content-type"), STR("application/problem+json") };
	if (buf_failed(&b))
		http_reply(req, status, NULL, 0, STR(""));
	else
		http_reply(req, status, &type, 1, buf_str(&b));
	buf_release(&b);
}

void http_reply_begin(struct http_req *req, int status, const struct http_header *hdrs, size_t n)
{
	struct req *r = req_of(req);
	must(r->state == REQ_RUNNING || r->state == REQ_READING);
	req_set_state(r, REQ_STREAMING);
	if (!r->pub.gone)
		proto(r->conn)->begin(r, status, hdrs, n);
}

int http_reply_write(struct http_req *req, struct str piece)
{
	struct req *r = req_of(req);
	must(r->state == REQ_STREAMING);
	if (r->pub.gone)
		return HCP_ECLOSED;
	return piece.n > 0 ? proto(r->conn)->write(r, piece) : 0;
}

size_t http_reply_queued(const struct http_req *req)
{
	const struct req *r = (const struct req *)(const void *)req;
	size_t own = r->out.n - r->out_off;
	return own + (r->conn->stream ? stream_queued(r->conn->stream) : 0);
}

void http_reply_end(struct http_req *req, const struct http_header *trailers, size_t n)
{
	struct req *r = req_of(req);
	must(r->state == REQ_STREAMING);
	if (!ended_by_gone(r))
		proto(r->conn)->end(r, trailers, n);
}

void http_reply_abort(struct http_req *req)
{
	struct req *r = req_of(req);
	must(r->state != REQ_DONE);
	if (!ended_by_gone(r))
		proto(r->conn)->abort(r);
}

void http_req_stream_body(struct http_req *req, const struct http_body_ops *ops)
{
	req_of(req)->body_ops = ops;
}

void http_req_consume(struct http_req *req, size_t n)
{
	struct req *r = req_of(req);
	if (!r->pub.gone && r->conn->stream)
		proto(r->conn)->consume(r, n);
}

struct stream *http_take(struct http_req *req, const struct stream_ops *ops, void *arg)
{
	struct req *r = req_of(req);
	struct http_conn *c = r->conn;
	must(c->proto == CONN_H1 && c->n_reqs == 1 && !r->pub.gone);
	struct stream *st = c->stream;
	stream_set_ops(st, ops, arg);
	/* Until what was read beyond the request has been handed on. */
	stream_pause(st);
	c->taken = st;
	c->taken_ops = ops;
	c->taken_arg = arg;
	c->stream = NULL;
	c->proto = CONN_TAKEN;
	req_set_state(r, REQ_DONE);
	req_put(r);
	loop_defer(c->server->loop, &c->work);
	return st;
}

/* ---- connections ---- */

void conn_phase_set(struct http_conn *c, enum conn_phase phase)
{
	if (c->phase == phase)
		return;
	c->phase = phase;
	c->since_ms = c->moved_ms = loop_turn_ms(c->server->loop);
}

static void server_unref_maybe(struct http_server *s)
{
	if (!s->freed || s->n_conns > 0)
		return;
	struct list *node;
	while ((node = list_pop(&s->free_reqs)))
		req_free(list_entry(node, struct req, node));
	mem_free(s);
}

void conn_unref_maybe(struct http_conn *c)
{
	if (c->stream || c->taken || c->n_reqs > 0 || c->busy)
		return;
	struct http_server *s = c->server;
	loop_defer_cancel(&c->work);
	buf_release(&c->rest);
	if (c->h2)
		nghttp2_session_del(c->h2);
	list_del(&c->node);
	s->n_conns--;
	mem_free(c);
	server_unref_maybe(s);
}

static void on_close(struct stream *st, void *arg, int code, const char *why)
{
	struct http_conn *c = arg;
	c->stream = NULL;
	c->busy = true;
	/* Callbacks may answer, and so remove, any request: walk by popping onto a list of our own. */
	struct list todo;
	list_init(&todo);
	struct list *node;
	while ((node = list_pop(&c->reqs))) {
		list_entry(node, struct req, node)->pub.gone = true;
		list_add_tail(&todo, node);
	}
	while ((node = list_pop(&todo))) {
		list_add_tail(&c->reqs, node);
		req_gone(list_entry(node, struct req, node));
	}
	c->busy = false;
	conn_unref_maybe(c);
}

static const char preface[24] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static void start(struct http_conn *c, enum conn_proto p)
{
	c->proto = p;
	int rc = p == CONN_H2 ? h2_start(c) : h1_start(c);
	if (rc < 0)
		stream_abort(c->stream, rc, "no memory for a session");
}

/* HTTP/2 with prior knowledge begins with a fixed preface; anything else is HTTP/1. */
static void sniff(struct http_conn *c, const uint8_t *p, size_t n)
{
	size_t take = sizeof(preface) - c->sniff_n;
	if (take > n)
		take = n;
	bool same = memcmp(preface + c->sniff_n, p, take) == 0;
	if (same && c->sniff_n + take < sizeof(preface)) {
		memcpy(c->sniff + c->sniff_n, p, take);
		c->sniff_n += take;
		return;
	}
	start(c, same ? CONN_H2 : CONN_H1);
	const struct http_proto *pr = proto(c);
	if (c->sniff_n > 0 && !stream_is_closing(c->stream))
		pr->feed(c, (const uint8_t *)c->sniff, c->sniff_n);
	if (c->stream && !stream_is_closing(c->stream))
		pr->feed(c, p, n);
}

static void on_data(struct stream *st, void *arg, const uint8_t *p, size_t n)
{
	struct http_conn *c = arg;
	c->busy = true;
	if (c->proto == CONN_SNIFF) {
		conn_phase_set(c, PHASE_HEAD);
		sniff(c, p, n);
	} else {
		proto(c)->feed(c, p, n);
	}
	c->busy = false;
	conn_unref_maybe(c);
}

static void on_eof(struct stream *st, void *arg)
{
	struct http_conn *c = arg;
	c->eof = true;
	if (c->proto != CONN_H1 || c->n_reqs == 0 || c->cur) {
		stream_close(st);
		return;
	}
	/* Half-closed with requests under way: they are answered, then the connection ends. */
	c->busy = true;
	list_each_safe(it, tmp, &c->reqs) {
		struct req *r = list_entry(it, struct req, node);
		if (r->handed && r->pub.on_half_close)
			r->pub.on_half_close(&r->pub);
	}
	c->busy = false;
	conn_unref_maybe(c);
}

static void on_drain(struct stream *st, void *arg)
{
	struct http_conn *c = arg;
	loop_defer(c->server->loop, &c->work);
}

static const struct stream_ops conn_ops = {
	.on_data = on_data, .on_eof = on_eof, .on_drain = on_drain, .on_close = on_close,
};

static void on_work(struct loop *loop, void *arg)
{
	struct http_conn *c = arg;
	c->busy = true;
	if (c->taken) {
		/* The new owner gets what was read beyond the upgrade. */
		struct stream *st = c->taken;
		if (c->rest.n > 0 && !stream_is_closing(st))
			c->taken_ops->on_data(st, c->taken_arg, (const uint8_t *)c->rest.data, c->rest.n);
		stream_resume(st);
		c->taken = NULL;
	} else if (c->stream && c->proto != CONN_SNIFF) {
		proto(c)->work(c);
	}
	c->busy = false;
	conn_unref_maybe(c);
}

static void on_stream(struct listener *l, void *arg, struct stream *st)
{
	struct http_server *s = arg;
	struct http_conn *c = mem_calloc(1, sizeof(*c));
	if (!c) {
		stream_abort(st, HCP_ENOMEM, "no memory for a connection");
		return;
	}
	c->server = s;
	c->stream = st;
	list_init(&c->reqs);
	buf_init(&c->rest, 0);
	loop_defer_init(&c->work, on_work, c);
	c->since_ms = c->moved_ms = loop_turn_ms(s->loop);
	list_add_tail(&s->conns, &c->node);
	s->n_conns++;
	stream_set_ops(st, &conn_ops, c);
	if (strcmp(stream_alpn(st), "h2") == 0)
		start(c, CONN_H2);
}

/* ---- timeouts ---- */

static void refresh_date(struct http_server *s)
{
	time_t now = (time_t)(clock_wall_ns() / NS_PER_S);
	struct tm tm;
	if (now == s->date_s)
		return;
	s->date_s = now;
	gmtime_r(&now, &tm);
	s->date_n = strftime(s->date, sizeof(s->date), "date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
}

static void check(struct http_conn *c, int64_t now)
{
	const struct http_server_conf *f = &c->server->conf;
	size_t queued = stream_queued(c->stream) + c->out_bytes;
	uint64_t mark = c->written - stream_queued(c->stream);
	if (queued == 0 || mark != c->moved_mark) {
		c->moved_mark = mark;
		c->moved_ms = now;
	}
	if (now - c->moved_ms > f->write_timeout_ms) {
		stream_abort(c->stream, HCP_ETIMEOUT, "the client does not take its answer");
		return;
	}
	uint32_t limit = c->phase == PHASE_IDLE ? f->idle_timeout_ms : c->phase == PHASE_HEAD ? f->header_timeout_ms
		: f->body_timeout_ms;
	if (c->phase == PHASE_RUN || now - c->since_ms <= limit)
		return;
	if (c->phase == PHASE_IDLE || c->proto == CONN_SNIFF)
		stream_close(c->stream);
	else
		proto(c)->timeout(c);
}

static void on_sweep(struct loop *loop, void *arg)
{
	struct http_server *s = arg;
	refresh_date(s);
	int64_t now = loop_turn_ms(loop);
	list_each_safe(it, tmp, &s->conns) {
		struct http_conn *c = list_entry(it, struct http_conn, node);
		if (!c->stream || stream_is_closing(c->stream))
			continue;
		c->busy = true;
		check(c, now);
		c->busy = false;
		/* Only c itself can have gone, so tmp stays valid. */
		conn_unref_maybe(c);
	}
	loop_timer_start(&s->sweep, HTTP_SWEEP_MS);
}

/* ---- the server ---- */

static void on_failed(void *arg, const char *peer, int code, const char *why)
{
	struct http_server *s = arg;
	if (s->conf.on_failed)
		s->conf.on_failed(s->arg, peer, code, why);
}

static void fill_defaults(struct http_server_conf *f)
{
#define DEFAULT(field, value) do { if (!f->field) f->field = (value); } while (0)
	DEFAULT(max_connections, 10000);
	DEFAULT(max_head_bytes, HTTP_HEAD_BYTES);
	DEFAULT(max_body_bytes, HTTP_BODY_BYTES);
	DEFAULT(max_queue_bytes, HTTP_QUEUE_BYTES);
	DEFAULT(idle_timeout_ms, 60000);
	DEFAULT(header_timeout_ms, 10000);
	DEFAULT(body_timeout_ms, 30000);
	DEFAULT(write_timeout_ms, 30000);
#undef DEFAULT
	/* The HTTP/1 parser itself stops at 80 KiB. */
	if (f->max_head_bytes > 64 << 10)
		f->max_head_bytes = 64 << 10;
}

int http_server_new(struct loop *loop, const struct http_server_conf *conf, http_handler_fn *handler, void *arg,
	struct http_server **ret_server, struct err *err)
{
	struct http_server *s = mem_calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, HCP_ENOMEM, "http", "no memory for a server");
	s->loop = loop;
	s->conf = *conf;
	fill_defaults(&s->conf);
	s->handler = handler;
	s->arg = arg;
	list_init(&s->conns);
	list_init(&s->free_reqs);
	loop_timer_init(&s->sweep, loop, on_sweep, s);
	struct tls_ctx *tls = tls_ref(conf->tls);
	struct listener_conf lc = { .host = conf->host, .port = conf->port, .reuse_port = conf->reuse_port,
		.max_streams = s->conf.max_connections, .handshake_timeout_ms = s->conf.header_timeout_ms,
		.max_queue = s->conf.max_queue_bytes, .on_stream = on_stream, .on_failed = on_failed, .arg = s };
	int rc = 0;
	if (!tls && conf->cert_file) {
		struct tls_conf tc = { .cert_file = conf->cert_file, .key_file = conf->key_file, .alpn = "h2,http/1.1" };
		rc = tls_server_new(&tc, &tls, err);
	}
	lc.tls = tls;
	if (rc == 0)
		rc = listener_new(loop, &lc, &s->listener, err);
	tls_unref(tls);
	if (rc < 0) {
		mem_free(s);
		return rc;
	}
	/* The strings were borrowed only until here. */
	s->conf.host = s->conf.cert_file = s->conf.key_file = NULL;
	refresh_date(s);
	loop_timer_start(&s->sweep, HTTP_SWEEP_MS);
	*ret_server = s;
	return 0;
}

void http_server_set_head_handler(struct http_server *server, http_head_fn *fn, void *arg)
{
	server->head_fn = fn;
	server->head_arg = arg;
}

uint16_t http_server_port(const struct http_server *server)
{
	return server->listener ? listener_port(server->listener) : 0;
}

size_t http_server_connections(const struct http_server *server)
{
	return server->n_conns;
}

void http_server_drain(struct http_server *server)
{
	if (server->draining)
		return;
	server->draining = true;
	listener_free(server->listener);
	server->listener = NULL;
	list_each_safe(it, tmp, &server->conns) {
		struct http_conn *c = list_entry(it, struct http_conn, node);
		if (!c->stream)
			continue;
		if (c->proto == CONN_H2)
			http_h2.drain(c);
		else if (c->n_reqs == 0)
			stream_close(c->stream);
	}
}

void http_server_free(struct http_server *server)
{
	if (!server || server->freed)
		return;
	server->freed = true;
	server->head_fn = NULL;
	loop_timer_stop(&server->sweep);
	listener_free(server->listener);
	server->listener = NULL;
	list_each_safe(it, tmp, &server->conns) {
		struct http_conn *c = list_entry(it, struct http_conn, node);
		if (c->stream)
			stream_abort(c->stream, HCP_ECANCELED, "the server ends");
	}
	server_unref_maybe(server);
}
