#include "http/http_client.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "http/http_priv.h"
#include "http/url.h"
#include "loop/tls.h"

/*
 *   client ─▶ origin (host, port, tls) ─▶ idle connections, newest first
 *                 │                     ─▶ busy connections ◀─▶ one call each
 *                 └─▶ waiting calls, oldest first
 */
struct http_client {
	struct loop *loop;
	struct http_client_conf conf;
	struct tls_ctx *tls;      /* made with the first https call's client; owned */
	struct list origins;
	size_t n_waiting, n_origins;
};

enum { HTTP_ORIGINS = 4096 };

struct origin {
	struct list node;
	char host[256];
	uint16_t port;
	bool tls;
	size_t n_conns;
	struct list idle, busy;   /* struct client_conn.node */
	struct list waiting;      /* struct http_call.node */
};

struct client_conn {
	struct list node;
	struct http_client *client; /* NULL: the client has gone */
	struct origin *origin;
	struct stream *stream;
	struct http_call *call;     /* NULL: idle or going */
	http_parser parser;
	struct loop_timer idle;
	bool used, complete, in_value, got_bytes, keep;
};

struct http_call {
	struct list node;           /* origin->waiting */
	struct http_client *client;
	struct origin *origin;
	struct client_conn *conn;   /* NULL: waiting */
	struct http_call_conf conf; /* pointers into it are not kept, but the callbacks */
	struct loop_timer deadline;
	struct buf request, head, body;
	struct http_response resp;
	struct http_header headers[HTTP_MAX_HEADERS];
	bool is_head, may_retry;
	int fail_code;              /* set by a parser callback that stops */
	const char *fail_text;
};

struct str http_response_header(const struct http_response *r, const char *name)
{
	return http_find(r->headers, r->n_headers, name);
}

/* ---- calls ---- */

static void call_free(struct http_call *a)
{
	loop_timer_stop(&a->deadline);
	buf_release(&a->request);
	buf_release(&a->head);
	buf_release(&a->body);
	mem_free(a);
}

static void call_unlink(struct http_call *a)
{
	if (a->conn) {
		a->conn->call = NULL;
		a->conn = NULL;
	} else if (!list_empty(&a->node)) {
		list_del(&a->node);
		a->client->n_waiting--;
	}
}

static void call_fail(struct http_call *a, int code, const char *text)
{
	struct err err;
	call_unlink(a);
	err_set(&err, code, "http", "%s", text);
	a->conf.on_done(a->conf.arg, code, NULL, &err);
	call_free(a);
}

static void next_waiting(struct http_client *client, struct origin *o);

static void on_deadline(struct loop *loop, void *arg)
{
	struct http_call *a = arg;
	struct client_conn *k = a->conn;
	if (k)
		stream_abort(k->stream, HCP_ETIMEOUT, "the call took too long");
	call_fail(a, HCP_ETIMEOUT, k ? "no complete answer before the deadline" : "no connection before the deadline");
}

static void reset_response(struct http_call *a)
{
	buf_clear(&a->head);
	buf_clear(&a->body);
	a->resp = (struct http_response){ .headers = a->headers };
}

/* ---- parsing the answer ---- */

static int stop(struct http_call *a, int code, const char *text)
{
	a->fail_code = code;
	a->fail_text = text;
	return -1;
}

static int on_begin(http_parser *p)
{
	struct client_conn *k = p->data;
	k->in_value = false;
	if (k->call)
		reset_response(k->call);
	return k->call ? 0 : -1;
}

static int add_head(struct client_conn *k, const char *at, size_t n)
{
	struct http_call *a = k->call;
	if (n + a->head.n > k->client->conf.max_head_bytes)
		return stop(a, HCP_ELIMIT, "the answer's head is too large");
	buf_add(&a->head, at, n);
	return buf_failed(&a->head) ? stop(a, HCP_ENOMEM, "no memory for the answer") : 0;
}

static int on_field(http_parser *p, const char *at, size_t n)
{
	struct client_conn *k = p->data;
	struct http_call *a = k->call;
	if (!a)
		return -1;
	if (a->resp.status)
		return 0; /* trailers */
	if (k->in_value || a->resp.n_headers == 0) {
		if (a->resp.n_headers == HTTP_MAX_HEADERS)
			return stop(a, HCP_ELIMIT, "the answer has too many header fields");
		a->headers[a->resp.n_headers++] = (struct http_header){ { (const char *)a->head.n, 0 }, { NULL, 0 } };
		k->in_value = false;
	}
	a->headers[a->resp.n_headers - 1].name.n += n;
	return add_head(k, at, n);
}

static int on_value(http_parser *p, const char *at, size_t n)
{
	struct client_conn *k = p->data;
	struct http_call *a = k->call;
	if (!a)
		return -1;
	if (a->resp.status)
		return 0;
	struct http_header *h = &a->headers[a->resp.n_headers - 1];
	if (!k->in_value)
		h->value.p = (const char *)a->head.n;
	k->in_value = true;
	h->value.n += n;
	return add_head(k, at, n);
}

static int on_head(http_parser *p)
{
	struct client_conn *k = p->data;
	struct http_call *a = k->call;
	if (!a)
		return -1;
	for (size_t i = 0; i < a->resp.n_headers; i++) {
		a->headers[i].name.p = a->head.data + (size_t)a->headers[i].name.p;
		a->headers[i].value.p = a->head.data + (size_t)a->headers[i].value.p;
	}
	a->resp.status = (int)p->status_code;
	p->upgrade = 0;
	if (a->resp.status < 200)
		return 0;
	size_t max = a->conf.max_body_bytes;
	if (!a->is_head && max && p->content_length != ULLONG_MAX && p->content_length > max)
		return stop(a, HCP_ELIMIT, "the answer's body is too large");
	if (a->conf.on_head)
		a->conf.on_head(a->conf.arg, &a->resp);
	return k->call && a->is_head ? 1 : 0;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
	struct client_conn *k = p->data;
	struct http_call *a = k->call;
	if (!a)
		return -1;
	if (a->conf.on_body) {
		a->conf.on_body(a->conf.arg, (struct str){ at, n });
		return k->call ? 0 : -1;
	}
	if (n > a->conf.max_body_bytes - a->body.n)
		return stop(a, HCP_ELIMIT, "the answer's body is too large");
	buf_add(&a->body, at, n);
	return buf_failed(&a->body) ? stop(a, HCP_ENOMEM, "no memory for the answer") : 0;
}

static int on_complete(http_parser *p)
{
	struct client_conn *k = p->data;
	if (!k->call)
		return -1;
	if (k->call->resp.status < 200)
		return 0; /* 100 Continue and the like: the answer is still to come */
	k->complete = true;
	k->keep = http_should_keep_alive(p) != 0;
	http_parser_pause(p, 1);
	return 0;
}

static const http_parser_settings settings = {
	.on_message_begin = on_begin,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_head,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

/* ---- connections ---- */

static void conn_idle(struct client_conn *k)
{
	list_del(&k->node);
	list_add_head(&k->origin->idle, &k->node);
	loop_timer_start(&k->idle, k->client->conf.idle_timeout_ms);
	stream_resume(k->stream);
}

/* The answer is whole. left: bytes after it, which nobody asked for. */
static void finish(struct client_conn *k, size_t left)
{
	struct http_call *a = k->call;
	struct http_client *client = k->client;
	struct origin *o = k->origin;
	call_unlink(a);
	k->complete = false;
	http_parser_pause(&k->parser, 0);
	if (k->keep && left == 0 && !stream_is_closing(k->stream))
		conn_idle(k);
	else
		stream_close(k->stream);
	next_waiting(client, o);
	a->resp.body = buf_str(&a->body);
	a->conf.on_done(a->conf.arg, 0, &a->resp, NULL);
	call_free(a);
}

static void on_data(struct stream *s, void *arg, const uint8_t *p, size_t n)
{
	struct client_conn *k = arg;
	if (!k->call) {
		stream_abort(s, HCP_EPROTO, "bytes that nobody asked for");
		return;
	}
	k->got_bytes = true;
	size_t took = http_parser_execute(&k->parser, &settings, (const char *)p, n);
	if (k->complete && k->call) {
		finish(k, n - took);
		return;
	}
	enum http_errno e = HTTP_PARSER_ERRNO(&k->parser);
	if (e == HPE_OK && took == n)
		return;
	struct http_call *a = k->call;
	stream_abort(s, HCP_EPROTO, "malformed answer");
	if (!a)
		return; /* cancelled */
	if (a->fail_code)
		call_fail(a, a->fail_code, a->fail_text);
	else
		call_fail(a, HCP_EPROTO, http_errno_description(e));
}

static void on_eof(struct stream *s, void *arg)
{
	struct client_conn *k = arg;
	if (k->call && k->got_bytes) {
		/* A body without a length ends with the connection. */
		http_parser_execute(&k->parser, &settings, NULL, 0);
		if (k->complete && k->call) {
			k->keep = false;
			finish(k, 0);
			return;
		}
	}
	stream_close(s);
}

static void send_request(struct client_conn *k, struct http_call *a)
{
	list_del(&k->node);
	list_add_tail(&k->origin->busy, &k->node);
	loop_timer_stop(&k->idle);
	k->call = a;
	a->conn = k;
	k->got_bytes = false;
	http_parser_init(&k->parser, HTTP_RESPONSE);
	k->parser.data = k;
	if (stream_write(k->stream, a->request.data, a->request.n) < 0)
		stream_abort(k->stream, HCP_ENOMEM, "no memory to send the request");
}

static void on_close(struct stream *s, void *arg, int code, const char *why)
{
	struct client_conn *k = arg;
	struct http_call *a = k->call;
	struct http_client *client = k->client;
	struct origin *o = k->origin;
	bool stale = k->used && !k->got_bytes;
	list_del(&k->node);
	loop_timer_stop(&k->idle);
	mem_free(k);
	if (!client)
		return;
	o->n_conns--;
	if (a) {
		a->conn = NULL;
		list_init(&a->node);
		if (stale && a->may_retry) {
			a->may_retry = false;
			list_add_head(&o->waiting, &a->node);
			client->n_waiting++;
		} else {
			/* Calls that wait get their turn first: the callback below may end the client. */
			next_waiting(client, o);
			call_fail(
				a, code ? code : HCP_ECLOSED, code ? why : "the server closed the connection before it had answered");
			return;
		}
	}
	next_waiting(client, o);
}

static const struct stream_ops conn_ops = { .on_data = on_data, .on_eof = on_eof, .on_close = on_close };

static void on_idle(struct loop *loop, void *arg)
{
	struct client_conn *k = arg;
	stream_close(k->stream);
}

static int conn_open(struct http_client *client, struct origin *o, struct http_call *a, struct err *err)
{
	struct client_conn *k = mem_calloc(1, sizeof(*k));
	if (!k)
		return err_set(err, HCP_ENOMEM, "http", "no memory for a connection");
	k->client = client;
	k->origin = o;
	list_init(&k->node);
	loop_timer_init(&k->idle, client->loop, on_idle, k);
	struct stream_conf sc = { .ops = &conn_ops,
		.arg = k,
		.tls = o->tls ? client->tls : NULL,
		.connect_timeout_ms = client->conf.connect_timeout_ms,
		.max_queue = SIZE_MAX,
		.public_only = client->conf.public_only };
	char path[128];
	const char *host = o->host;
	if (client->conf.unix_path) {
		if ((size_t)snprintf(path, sizeof(path), "unix:%s", client->conf.unix_path) >= sizeof(path)) {
			mem_free(k);
			return err_set(err, HCP_ERANGE, "unix_path", "must be shorter than %zu bytes", sizeof(path) - 5);
		}
		host = path;
	}
	int rc = stream_connect(client->loop, host, o->port, &sc, &k->stream, err);
	if (rc < 0) {
		mem_free(k);
		return rc;
	}
	o->n_conns++;
	/* Queued in the stream until it is connected. */
	send_request(k, a);
	return 0;
}

/* Gives the oldest waiting calls what connections there are. */
static void next_waiting(struct http_client *client, struct origin *o)
{
	while (!list_empty(&o->waiting)) {
		struct client_conn *k = NULL;
		list_each(it, &o->idle) {
			struct client_conn *c = list_entry(it, struct client_conn, node);
			if (!stream_is_closing(c->stream)) {
				k = c;
				break;
			}
		}
		if (!k && o->n_conns >= client->conf.max_conns_per_origin)
			return;
		struct http_call *a = list_entry(list_pop(&o->waiting), struct http_call, node);
		client->n_waiting--;
		if (k) {
			k->used = true;
			send_request(k, a);
			continue;
		}
		if (conn_open(client, o, a, NULL) < 0) {
			/* Memory may come back; the deadline ends it otherwise. */
			list_add_head(&o->waiting, &a->node);
			client->n_waiting++;
			return;
		}
	}
}

/* ---- the client ---- */

int http_client_new(struct loop *loop, const struct http_client_conf *conf, struct http_client **ret_client,
	struct err *err)
{
	struct http_client *c = mem_calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, HCP_ENOMEM, "http", "no memory for a client");
	c->loop = loop;
	if (conf)
		c->conf = *conf;
	list_init(&c->origins);
	struct http_client_conf *f = &c->conf;
	f->max_conns_per_origin = f->max_conns_per_origin ? f->max_conns_per_origin : 64;
	f->max_waiting = f->max_waiting ? f->max_waiting : 4096;
	f->max_head_bytes = f->max_head_bytes ? f->max_head_bytes : 64 << 10;
	f->connect_timeout_ms = f->connect_timeout_ms ? f->connect_timeout_ms : 5000;
	f->idle_timeout_ms = f->idle_timeout_ms ? f->idle_timeout_ms : 30000;
	struct tls_conf tc = { .cert_file = f->cert_file, .key_file = f->key_file, .ca_file = f->ca_file,
		.no_verify = f->no_verify, .allow_tls12 = true, .alpn = "http/1.1" };
	int rc = tls_client_new(&tc, &c->tls, err);
	if (rc < 0) {
		mem_free(c);
		return rc;
	}
	f->ca_file = f->cert_file = f->key_file = NULL;
	*ret_client = c;
	return 0;
}

static void drop_conns(struct list *conns)
{
	struct list *node;
	while ((node = list_pop(conns))) {
		struct client_conn *k = list_entry(node, struct client_conn, node);
		struct http_call *a = k->call;
		k->client = NULL;
		k->call = NULL;
		loop_timer_stop(&k->idle);
		stream_abort(k->stream, HCP_ECANCELED, "the client ends");
		if (a)
			call_free(a);
	}
}

void http_client_free(struct http_client *client)
{
	if (!client)
		return;
	struct list *node;
	while ((node = list_pop(&client->origins))) {
		struct origin *o = list_entry(node, struct origin, node);
		struct list *w;
		while ((w = list_pop(&o->waiting)))
			call_free(list_entry(w, struct http_call, node));
		drop_conns(&o->idle);
		drop_conns(&o->busy);
		mem_free(o);
	}
	tls_unref(client->tls);
	mem_free(client);
}

/* Forgets the servers that nothing is open to and nothing waits for. */
static void drop_unused_origins(struct http_client *c)
{
	list_each_safe(it, tmp, &c->origins)
	{
		struct origin *o = list_entry(it, struct origin, node);
		if (o->n_conns || !list_empty(&o->waiting))
			continue;
		list_del(&o->node);
		mem_free(o);
		c->n_origins--;
	}
}

static int find_origin(struct http_client *c, const struct url *u, struct origin **ret_o, struct err *err)
{
	list_each(it, &c->origins) {
		struct origin *o = list_entry(it, struct origin, node);
		if (o->port == u->port && o->tls == u->tls && str_eqz(u->host, o->host)) {
			*ret_o = o;
			return 0;
		}
	}
	if (c->n_origins >= HTTP_ORIGINS)
		drop_unused_origins(c);
	if (c->n_origins >= HTTP_ORIGINS)
		return err_set(err, HCP_ELIMIT, "url", "this client talks to too many different servers");
	struct origin *o = mem_calloc(1, sizeof(*o));
	if (!o)
		return err_set(err, HCP_ENOMEM, "url", "no memory");
	c->n_origins++;
	memcpy(o->host, u->host.p, u->host.n);
	o->port = u->port;
	o->tls = u->tls;
	list_init(&o->idle);
	list_init(&o->busy);
	list_init(&o->waiting);
	list_add_tail(&c->origins, &o->node);
	*ret_o = o;
	return 0;
}

static int build_request(struct http_call *a, const struct http_call_conf *f, const struct url *u, struct err *err)
{
	struct buf *b = &a->request;
	bool v6 = memchr(u->host.p, ':', u->host.n) != NULL;
	buf_addz(b, f->method);
	buf_addc(b, ' ');
	if (u->target.n == 0 || u->target.p[0] != '/')
		buf_addc(b, '/');
	buf_adds(b, u->target);
	buf_printf(b, " HTTP/1.1\r\nhost: %s%.*s%s", v6 ? "[" : "", (int)u->host.n, u->host.p, v6 ? "]" : "");
	/* The scheme's own port is left out (RFC 9110 4.2.3): signatures over the host expect it so. */
	if (u->port != (u->tls ? 443 : 80))
		buf_printf(b, ":%u", u->port);
	buf_addz(b, "\r\n");
	for (size_t i = 0; i < f->n_headers; i++) {
		const struct http_header *h = &f->headers[i];
		if (!http_header_clean(h))
			return err_set(err, HCP_EINVAL, "headers", "a header name or value holds characters that are not allowed");
		if (str_ieqz(h->name, "host") || str_ieqz(h->name, "content-length") || str_ieqz(h->name, "connection") ||
			str_ieqz(h->name, "transfer-encoding"))
			continue;
		buf_adds(b, h->name);
		buf_addz(b, ": ");
		buf_adds(b, h->value);
		buf_addz(b, "\r\n");
	}
	if (f->body.n > 0 || strcmp(f->method, "POST") == 0 || strcmp(f->method, "PUT") == 0)
		buf_printf(b, "content-length: %zu\r\n", f->body.n);
	buf_addz(b, "\r\n");
	buf_adds(b, f->body);
	return buf_failed(b) ? err_set(err, HCP_ENOMEM, "http", "no memory for the request") : 0;
}

static bool is_idempotent(const char *m)
{
	static const char *const names[] = { "GET", "HEAD", "PUT", "DELETE", "OPTIONS" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(m, names[i]) == 0)
			return true;
	return false;
}

int http_call_start(struct http_client *client, const struct http_call_conf *conf, struct http_call **ret_call,
	struct err *err)
{
	struct url u;
	int rc = url_parse(str_of(conf->url), &u, err);
	if (rc < 0)
		return rc;
	if (!conf->method || !*conf->method || strspn(conf->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != strlen(conf->method))
		return err_set(err, HCP_EINVAL, "method", "must be a method name in capitals");
	if (client->n_waiting >= client->conf.max_waiting)
		return err_set(err, HCP_ELIMIT, "max_waiting", "too many calls wait for a connection");
	struct origin *o = NULL;
	rc = find_origin(client, &u, &o, err);
	if (rc < 0)
		return rc;
	struct http_call *a = mem_alloc(sizeof(*a));
	if (!a)
		return err_set(err, HCP_ENOMEM, "http", "no memory for a call");
	memset(a, 0, offsetof(struct http_call, headers));
	a->is_head = a->may_retry = false;
	a->fail_code = 0;
	a->client = client;
	a->origin = o;
	a->conf = *conf;
	list_init(&a->node);
	buf_init(&a->request, 0);
	buf_init(&a->head, 0);
	buf_init(&a->body, 0);
	reset_response(a);
	loop_timer_init(&a->deadline, client->loop, on_deadline, a);
	a->is_head = strcmp(conf->method, "HEAD") == 0;
	a->may_retry = !conf->no_retry && is_idempotent(conf->method);
	if (!a->conf.max_body_bytes && !conf->on_body)
		a->conf.max_body_bytes = 16 << 20;
	rc = build_request(a, conf, &u, err);
	if (rc < 0) {
		call_free(a);
		return rc;
	}
	list_add_tail(&o->waiting, &a->node);
	client->n_waiting++;
	loop_timer_start(&a->deadline, conf->deadline_ms ? conf->deadline_ms : 30000);
	next_waiting(client, o);
	if (ret_call)
		*ret_call = a;
	return 0;
}

void http_call_cancel(struct http_call *call)
{
	struct client_conn *k = call->conn;
	if (k)
		stream_abort(k->stream, HCP_ECANCELED, "the call was cancelled");
	call_unlink(call);
	call_free(call);
}

void http_call_pause(struct http_call *call)
{
	if (call->conn)
		stream_pause(call->conn->stream);
}

void http_call_resume(struct http_call *call)
{
	if (call->conn)
		stream_resume(call->conn->stream);
}
