#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "http/grpc.h"
#include "http/grpc_frame.h"
#include "http/http_priv.h"
#include "loop/tls.h"

enum { GRPC_QUEUE_LOW = 256 << 10, GRPC_METADATA = 32 };

struct grpc_client {
	struct loop *loop;
	struct grpc_client_conf conf;
	char host[256], tls_name[256], authority[300];
	struct stream *stream;     /* NULL: between attempts */
	nghttp2_session *h2;       /* NULL: not up */
	struct list active, waiting; /* struct grpc_rpc.node */
	size_t n_rpcs;
	struct loop_timer retry, alive;
	struct loop_defer work;
	int64_t heard_ms;
	uint32_t attempts;         /* failed ones since it was last up */
	bool up, greeted, pinged, going_away, busy, freed;
	struct err why;
};

struct grpc_rpc {
	struct list node;
	struct grpc_client *client;
	int32_t stream_id;         /* 0: waiting */
	struct arena arena;        /* path and metadata, decoded status text */
	struct str path;
	struct http_header md[GRPC_METADATA];
	size_t n_md;
	char timeout[16];
	struct buf out;
	size_t out_off;
	struct grpc_reader reader;
	struct loop_timer deadline;
	grpc_done_fn *cb;          /* unary */
	const struct grpc_rpc_ops *ops; /* stream */
	void *arg;
	struct buf msg;            /* unary: the answer */
	struct buf text;
	int status;                /* grpc-status; -1: not seen */
	int http_status;
	bool has_msg, out_end, paused, want_drain, too_many;
	int broken;                /* a reader error */
};

static void open_stream(struct grpc_client *c);
static void submit(struct grpc_client *c, struct grpc_rpc *r);

static void more(struct grpc_client *c)
{
	loop_defer(c->loop, &c->work);
}

/* ---- calls ---- */

static void rpc_free(struct grpc_rpc *r)
{
	loop_timer_stop(&r->deadline);
	list_del(&r->node);
	r->client->n_rpcs--;
	arena_release(&r->arena);
	buf_release(&r->out);
	buf_release(&r->msg);
	buf_release(&r->text);
	grpc_reader_release(&r->reader);
	mem_free(r);
}

static void rpc_finish(struct grpc_rpc *r, enum grpc_status status, struct str text)
{
	/* Off its list first: the callback may end the client. */
	list_del(&r->node);
	loop_timer_stop(&r->deadline);
	if (r->stream_id && r->client->h2)
		(void)nghttp2_session_set_stream_user_data(r->client->h2, r->stream_id, NULL);
	struct grpc_client *c = r->client;
	bool was = c->busy;
	c->busy = true;
	if (r->cb)
		r->cb(r->arg, status, text, status == GRPC_OK ? buf_str(&r->msg) : STR(""));
	else
		r->ops->on_close(r, r->arg, status, text);
	c->busy = was;
	rpc_free(r);
}

static void rpc_reset(struct grpc_rpc *r)
{
	struct grpc_client *c = r->client;
	if (!r->stream_id || !c->h2)
		return;
	(void)nghttp2_session_set_stream_user_data(c->h2, r->stream_id, NULL);
	(void)nghttp2_submit_rst_stream(c->h2, NGHTTP2_FLAG_NONE, r->stream_id, NGHTTP2_CANCEL);
	more(c);
}

static void client_unref_maybe(struct grpc_client *c);

static void on_rpc_deadline(struct loop *loop, void *arg)
{
	struct grpc_rpc *r = arg;
	struct grpc_client *c = r->client;
	rpc_reset(r);
	rpc_finish(r, GRPC_DEADLINE_EXCEEDED, STR("the deadline passed"));
	client_unref_maybe(c);
}

static bool on_message(void *arg, struct str msg)
{
	struct grpc_rpc *r = arg;
	if (r->ops) {
		struct grpc_client *c = r->client;
		int32_t id = r->stream_id;
		r->ops->on_message(r, r->arg, msg);
		/* It may have cancelled itself, or ended the client. */
		return !c->freed && c->h2 && nghttp2_session_get_stream_user_data(c->h2, id) == r;
	}
	r->too_many = r->has_msg;
	r->has_msg = true;
	buf_clear(&r->msg);
	buf_adds(&r->msg, msg);
	return true;
}

static struct grpc_rpc *rpc_of(nghttp2_session *h2, int32_t id)
{
	return nghttp2_session_get_stream_user_data(h2, id);
}

/* ---- nghttp2 callbacks ---- */

static int on_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name, size_t name_n,
	const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
	struct grpc_rpc *r = rpc_of(h2, f->hd.stream_id);
	if (!r)
		return 0;
	struct str k = { (const char *)name, name_n }, v = { (const char *)value, value_n };
	bool number = v.n > 0 && v.n <= 3;
	int n = 0;
	for (size_t i = 0; i < v.n && number; i++) {
		number = v.p[i] >= '0' && v.p[i] <= '9';
		n = n * 10 + (v.p[i] - '0');
	}
	if (str_eqz(k, ":status") && number)
		r->http_status = n;
	else if (str_eqz(k, "grpc-status"))
		r->status = number && n <= GRPC_UNAUTHENTICATED ? n : GRPC_UNKNOWN;
	else if (str_eqz(k, "grpc-message") && r->text.n == 0)
		grpc_message_decode(&r->text, v);
	return 0;
}

static int on_chunk(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct grpc_client *c = arg;
	struct grpc_rpc *r = rpc_of(h2, id);
	if (!r || r->broken)
		return 0;
	int rc = grpc_reader_feed(&r->reader, p, n, on_message, r);
	if (rc == 0 || rc == HCP_ECANCELED || c->freed)
		return 0;
	r->broken = rc;
	(void)nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
	return 0;
}

static enum grpc_status status_of_http(int status)
{
	switch (status) {
	case 400: return GRPC_INTERNAL;
	case 401: return GRPC_UNAUTHENTICATED;
	case 403: return GRPC_PERMISSION_DENIED;
	case 404: return GRPC_UNIMPLEMENTED;
	case 429: case 502: case 503: case 504: return GRPC_UNAVAILABLE;
	default: return GRPC_UNKNOWN;
	}
}

static enum grpc_status status_of_reset(uint32_t code)
{
	switch (code) {
	case NGHTTP2_REFUSED_STREAM: return GRPC_UNAVAILABLE;
	case NGHTTP2_CANCEL: return GRPC_CANCELLED;
	case NGHTTP2_ENHANCE_YOUR_CALM: return GRPC_RESOURCE_EXHAUSTED;
	case NGHTTP2_INADEQUATE_SECURITY: return GRPC_PERMISSION_DENIED;
	default: return GRPC_INTERNAL;
	}
}

static void conclude(struct grpc_rpc *r, uint32_t code)
{
	struct str text = buf_str(&r->text);
	if (r->broken == HCP_ELIMIT || r->broken == HCP_ENOMEM)
		rpc_finish(r, GRPC_RESOURCE_EXHAUSTED, STR("the answer is larger than the limit"));
	else if (r->broken || (r->status == GRPC_OK && !grpc_reader_at_end(&r->reader)))
		rpc_finish(r, GRPC_INTERNAL, STR("malformed message in the answer"));
	else if (r->status > 0)
		rpc_finish(r, (enum grpc_status)r->status, text);
	else if (r->status == 0 && r->cb && (!r->has_msg || r->too_many || buf_failed(&r->msg)))
		rpc_finish(r, GRPC_INTERNAL, STR("the answer of a unary call is one message"));
	else if (r->status == 0)
		rpc_finish(r, GRPC_OK, text);
	else if (code != NGHTTP2_NO_ERROR)
		rpc_finish(r, status_of_reset(code), STR("the stream was reset"));
	else if (r->http_status != 200)
		rpc_finish(r, status_of_http(r->http_status), STR("the answer is not gRPC"));
	else
		rpc_finish(r, GRPC_INTERNAL, STR("the answer has no status"));
}

static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *arg)
{
	struct grpc_rpc *r = rpc_of(h2, id);
	if (r)
		conclude(r, code);
	return 0;
}

/* A request that nghttp2 held back (stream limit) and now cannot send. */
static int on_not_sent(nghttp2_session *h2, const nghttp2_frame *f, int lib_error, void *arg)
{
	struct grpc_client *c = arg;
	if (f->hd.type != NGHTTP2_HEADERS)
		return 0;
	list_each_safe(it, tmp, &c->active) {
		struct grpc_rpc *r = list_entry(it, struct grpc_rpc, node);
		if (r->stream_id != f->hd.stream_id)
			continue;
		rpc_finish(r, GRPC_UNAVAILABLE, STR("the connection is going away"));
		break;
	}
	return 0;
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
	struct grpc_client *c = arg;
	if (f->hd.type == NGHTTP2_GOAWAY)
		c->going_away = true;
	if (f->hd.type == NGHTTP2_SETTINGS)
		c->greeted = true;
	/* The server has ended a stream on which we could still send: it is over, our half included. */
	bool data = f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS;
	struct grpc_rpc *r = data && f->hd.flags & NGHTTP2_FLAG_END_STREAM ? rpc_of(h2, f->hd.stream_id) : NULL;
	if (r && !r->out_end) {
		(void)nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, f->hd.stream_id, NGHTTP2_NO_ERROR);
		conclude(r, NGHTTP2_NO_ERROR);
	}
	return 0;
}

static ssize_t on_read(nghttp2_session *h2, int32_t id, uint8_t *dst, size_t cap, uint32_t *flags,
	nghttp2_data_source *source, void *arg)
{
	/* Not from source: the call may have been cancelled and be gone. */
	struct grpc_rpc *r = rpc_of(h2, id);
	if (!r)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	size_t left = r->out.n - r->out_off, n = left < cap ? left : cap;
	if (n == 0 && !r->out_end) {
		r->paused = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (n > 0)
		memcpy(dst, r->out.data + r->out_off, n);
	r->out_off += n;
	if (r->out_off == r->out.n) {
		buf_clear_keep(&r->out, HTTP_IDLE_BYTES);
		r->out_off = 0;
	} else if (r->out_off > 64 << 10) {
		buf_consume(&r->out, r->out_off);
		r->out_off = 0;
	}
	if (r->want_drain && r->out.n - r->out_off <= r->client->conf.max_queue_bytes / 2)
		more(r->client);
	if (r->out.n == 0 && r->out_end)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

/* ---- the connection ---- */

static void session_end(struct grpc_client *c)
{
	if (c->h2)
		nghttp2_session_del(c->h2);
	c->h2 = NULL;
	c->up = false;
}

static void client_unref_maybe(struct grpc_client *c)
{
	if (!c->freed || c->stream || c->busy)
		return;
	session_end(c);
	loop_defer_cancel(&c->work);
	loop_timer_stop(&c->retry);
	loop_timer_stop(&c->alive);
	tls_unref(c->conf.tls);
	mem_free(c);
}

static int new_session(struct grpc_client *c)
{
	nghttp2_session_callbacks *cb = NULL;
	if (nghttp2_session_callbacks_new(&cb) != 0)
		return HCP_ENOMEM;
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_not_sent);
	int rc = nghttp2_session_client_new3(&c->h2, cb, c, NULL, http_nghttp2_mem());
	nghttp2_session_callbacks_del(cb);
	if (rc < 0) {
		c->h2 = NULL;
		return HCP_ENOMEM;
	}
	nghttp2_settings_entry iv[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 }, { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, HTTP_STREAM_WINDOW },
	};
	if (nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, iv, sizeof(iv) / sizeof(iv[0])) < 0 ||
		nghttp2_session_set_local_window_size(c->h2, NGHTTP2_FLAG_NONE, 0, HTTP_CONN_WINDOW) < 0)
		return HCP_ENOMEM;
	return 0;
}

static void on_open(struct stream *s, void *arg)
{
	struct grpc_client *c = arg;
	if (stream_is_tls(s) && strcmp(stream_alpn(s), "h2") != 0) {
		stream_abort(s, HCP_EPROTO, "the server does not speak HTTP/2");
		return;
	}
	if (new_session(c) < 0) {
		stream_abort(s, HCP_ENOMEM, "no memory for a session");
		return;
	}
	c->going_away = c->pinged = c->greeted = false;
	c->heard_ms = loop_turn_ms(c->loop);
	loop_timer_start(&c->alive, c->conf.connect_timeout_ms);
	more(c);
}

/*
 * The server's settings have come. Only now is it one: in TLS 1.3 a client's handshake is over before the server has
 * looked at its certificate, and one that is refused would be told "up" at every attempt.
 */
static void greet(struct grpc_client *c)
{
	c->up = true;
	c->attempts = 0;
	loop_timer_start(&c->alive, c->conf.keepalive_ms);
	c->busy = true;
	if (c->conf.on_state)
		c->conf.on_state(c->conf.arg, true, NULL);
	while (!c->freed && c->h2 && !list_empty(&c->waiting)) {
		struct grpc_rpc *r = list_entry(c->waiting.next, struct grpc_rpc, node);
		submit(c, r);
	}
	c->busy = false;
}

static void on_data(struct stream *s, void *arg, const uint8_t *p, size_t n)
{
	struct grpc_client *c = arg;
	if (c->freed)
		return;
	c->heard_ms = loop_turn_ms(c->loop);
	c->pinged = false;
	c->busy = true;
	ssize_t took = nghttp2_session_mem_recv(c->h2, p, n);
	c->busy = false;
	if (took < 0 && !c->freed)
		stream_abort(s, HCP_EPROTO, nghttp2_strerror((int)took));
	else if (c->greeted && !c->up && !c->freed)
		greet(c);
	more(c);
}

static void plan_retry(struct grpc_client *c)
{
	uint64_t wait = c->conf.backoff_min_ms;
	for (uint32_t i = 1; i < c->attempts && wait < c->conf.backoff_max_ms; i++)
		wait *= 2;
	if (wait > c->conf.backoff_max_ms)
		wait = c->conf.backoff_max_ms;
	/* Half fixed, half random: many clients of one server do not come back at once. */
	if (c->conf.jitter)
		wait = wait / 2 + (uint64_t)((double)(wait / 2 + 1) * c->conf.jitter(c->conf.jitter_arg));
	loop_timer_start(&c->retry, wait);
}

static void on_close(struct stream *s, void *arg, int code, const char *why)
{
	struct grpc_client *c = arg;
	/* What a server with TLS does to one without. */
	bool mute = c->h2 && !c->up && !c->conf.tls && (code == 0 || code == HCP_ECLOSED);
	c->stream = NULL;
	loop_timer_stop(&c->alive);
	session_end(c);
	if (c->freed) {
		client_unref_maybe(c);
		return;
	}
	err_set(&c->why, code ? code : HCP_ECLOSED, "grpc", "%s",
		mute ? "the server closed the connection before it said a word: does it want TLS?"
			 : code ? why : "the server closed the connection");
	c->attempts++;
	c->busy = true;
	struct list lost;
	list_init(&lost);
	struct list *node;
	while ((node = list_pop(&c->active)))
		list_add_tail(&lost, node);
	/* Calls made by these callbacks wait for the next connection. */
	while ((node = list_pop(&lost)) && !c->freed) {
		struct grpc_rpc *r = list_entry(node, struct grpc_rpc, node);
		rpc_finish(r, GRPC_UNAVAILABLE, str_of(c->why.text));
	}
	if (node)
		rpc_free(list_entry(node, struct grpc_rpc, node));
	while ((node = list_pop(&lost)))
		rpc_free(list_entry(node, struct grpc_rpc, node));
	if (!c->freed && c->conf.on_state)
		c->conf.on_state(c->conf.arg, false, &c->why);
	c->busy = false;
	if (c->freed)
		client_unref_maybe(c);
	else
		plan_retry(c);
}

static void on_stream_drain(struct stream *s, void *arg)
{
	more(arg);
}

static const struct stream_ops stream_ops = {
	.on_open = on_open, .on_data = on_data, .on_drain = on_stream_drain, .on_close = on_close,
};

static void on_retry(struct loop *loop, void *arg)
{
	open_stream(arg);
}

static void open_stream(struct grpc_client *c)
{
	struct stream_conf sc = { .ops = &stream_ops, .arg = c, .tls = c->conf.tls,
		.tls_name = c->tls_name[0] ? c->tls_name : NULL, .connect_timeout_ms = c->conf.connect_timeout_ms };
	struct err err;
	if (stream_connect(c->loop, c->host, c->conf.port, &sc, &c->stream, &err) == 0)
		return;
	c->stream = NULL;
	c->attempts++;
	plan_retry(c);
}

static void on_alive(struct loop *loop, void *arg)
{
	struct grpc_client *c = arg;
	int64_t silent = loop_turn_ms(loop) - c->heard_ms;
	if (c->pinged || !c->up) {
		stream_abort(c->stream, HCP_ETIMEOUT,
			c->up ? "the server does not answer pings" : "the server is connected to, and says nothing");
		return;
	}
	if (silent >= c->conf.keepalive_ms) {
		c->pinged = true;
		(void)nghttp2_submit_ping(c->h2, NGHTTP2_FLAG_NONE, NULL);
		more(c);
		loop_timer_start(&c->alive, c->conf.keepalive_timeout_ms);
		return;
	}
	loop_timer_start(&c->alive, (uint64_t)(c->conf.keepalive_ms - silent));
}

static void tell_drained(struct grpc_client *c)
{
	struct list *it = c->active.next;
	while (!c->freed && it != &c->active) {
		struct grpc_rpc *r = list_entry(it, struct grpc_rpc, node);
		it = it->next;
		if (!r->want_drain || r->out.n - r->out_off > c->conf.max_queue_bytes / 2)
			continue;
		r->want_drain = false;
		if (!r->ops || !r->ops->on_drain)
			continue;
		r->ops->on_drain(r, r->arg);
		it = c->active.next;
	}
}

static void on_work(struct loop *loop, void *arg)
{
	struct grpc_client *c = arg;
	c->busy = true;
	while (!c->freed && c->h2 && !stream_is_closing(c->stream) && stream_queued(c->stream) < GRPC_QUEUE_LOW) {
		const uint8_t *p;
		ssize_t n = nghttp2_session_mem_send(c->h2, &p);
		if (n == 0)
			break;
		if (n < 0 || stream_write(c->stream, p, (size_t)n) < 0)
			stream_abort(c->stream, HCP_ENOMEM, "cannot write frames");
	}
	if (!c->freed && c->h2)
		tell_drained(c);
	if (!c->freed && c->h2 && !nghttp2_session_want_read(c->h2) && !nghttp2_session_want_write(c->h2))
		stream_close(c->stream);
	c->busy = false;
	client_unref_maybe(c);
}

/* ---- public ---- */

int grpc_client_new(struct loop *loop, const struct grpc_client_conf *conf, struct grpc_client **ret_client,
	struct err *err)
{
	if (!conf->host || strlen(conf->host) >= 256 || (conf->tls_name && strlen(conf->tls_name) >= 256))
		return err_set(err, HCP_EINVAL, "host", "is missing or too long");
	struct grpc_client *c = mem_calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, HCP_ENOMEM, "grpc", "no memory for a client");
	c->loop = loop;
	c->conf = *conf;
	c->conf.tls = tls_ref(conf->tls);
	memcpy(c->host, conf->host, strlen(conf->host) + 1);
	if (conf->tls_name)
		memcpy(c->tls_name, conf->tls_name, strlen(conf->tls_name) + 1);
	bool v6 = strchr(c->host, ':') && strncmp(c->host, "unix:", 5) != 0;
	if (strncmp(c->host, "unix:", 5) == 0)
		snprintf(c->authority, sizeof(c->authority), "localhost");
	else
		snprintf(c->authority, sizeof(c->authority), v6 ? "[%s]:%u" : "%s:%u", c->host, conf->port);
	c->conf.host = c->conf.tls_name = NULL;
#define DEFAULT(field, value) do { if (!c->conf.field) c->conf.field = (value); } while (0)
	DEFAULT(connect_timeout_ms, 5000);
	DEFAULT(keepalive_ms, 20000);
	DEFAULT(keepalive_timeout_ms, 10000);
	DEFAULT(backoff_min_ms, 100);
	DEFAULT(backoff_max_ms, 30000);
	DEFAULT(max_message_bytes, GRPC_MESSAGE_BYTES);
	DEFAULT(max_calls, 1024);
	DEFAULT(max_queue_bytes, 4 << 20);
#undef DEFAULT
	list_init(&c->active);
	list_init(&c->waiting);
	loop_timer_init(&c->retry, loop, on_retry, c);
	loop_timer_init(&c->alive, loop, on_alive, c);
	loop_defer_init(&c->work, on_work, c);
	open_stream(c);
	*ret_client = c;
	return 0;
}

void grpc_client_free(struct grpc_client *client)
{
	if (!client || client->freed)
		return;
	client->freed = true;
	struct list *lists[] = { &client->active, &client->waiting };
	for (size_t i = 0; i < 2; i++)
		while (!list_empty(lists[i])) {
			struct grpc_rpc *r = list_entry(lists[i]->next, struct grpc_rpc, node);
			if (client->h2 && r->stream_id)
				(void)nghttp2_session_set_stream_user_data(client->h2, r->stream_id, NULL);
			rpc_free(r);
		}
	loop_timer_stop(&client->retry);
	loop_timer_stop(&client->alive);
	if (client->stream)
		stream_abort(client->stream, HCP_ECANCELED, "the client ends");
	client_unref_maybe(client);
}

bool grpc_client_up(const struct grpc_client *client)
{
	return client->up && !client->going_away && client->stream && !stream_is_closing(client->stream);
}

static nghttp2_nv nv_of(struct str name, struct str value)
{
	return (nghttp2_nv){ (uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.n, value.n, 0 };
}

static void submit(struct grpc_client *c, struct grpc_rpc *r)
{
	nghttp2_nv nv[GRPC_METADATA + 8];
	size_t k = 0;
	nv[k++] = nv_of(STR(":method"), STR("POST"));
	nv[k++] = nv_of(STR(":scheme"), c->conf.tls ? STR("https") : STR("http"));
	nv[k++] = nv_of(STR(":path"), r->path);
	nv[k++] = nv_of(STR(":authority"), str_of(c->authority));
	nv[k++] = nv_of(STR("content-type"), STR("application/grpc"));
	nv[k++] = nv_of(STR("te"), STR("trailers"));
	if (r->timeout[0])
		nv[k++] = nv_of(STR("grpc-timeout"), str_of(r->timeout));
	for (size_t i = 0; i < r->n_md; i++)
		nv[k++] = nv_of(r->md[i].name, r->md[i].value);
	nghttp2_data_provider dp = { .source.ptr = NULL, .read_callback = on_read };
	int32_t id = nghttp2_submit_request(c->h2, NULL, nv, k, &dp, r);
	list_del(&r->node);
	list_add_tail(&c->active, &r->node);
	if (id >= 0) {
		r->stream_id = id;
		more(c);
		return;
	}
	/* Out of memory or of stream ids: the deadline of this call ends soon, and callbacks never come from inside. */
	loop_timer_start(&r->deadline, 0);
	if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE)
		(void)nghttp2_session_terminate_session(c->h2, NGHTTP2_NO_ERROR);
}

static int copy_metadata(struct grpc_rpc *r, const char *path, const struct http_header *md, size_t n, struct err *err)
{
	if (n > GRPC_METADATA)
		return err_set(err, HCP_ELIMIT, "metadata", "at most %d entries", GRPC_METADATA);
	char *p = arena_strdup(&r->arena, path);
	if (!p)
		return err_set(err, HCP_ENOMEM, "grpc", "no memory for a call");
	r->path = str_of(p);
	for (size_t i = 0; i < n; i++) {
		if (!http_header_clean(&md[i]))
			return err_set(err, HCP_EINVAL, "metadata", "a name or value holds characters that are not allowed");
		char *k = arena_strndup(&r->arena, md[i].name.p, md[i].name.n);
		char *v = arena_strndup(&r->arena, md[i].value.p, md[i].value.n);
		if (!k || !v)
			return err_set(err, HCP_ENOMEM, "grpc", "no memory for a call");
		for (char *t = k; *t; t++)
			*t = (char)(*t >= 'A' && *t <= 'Z' ? *t + 32 : *t);
		r->md[r->n_md++] = (struct http_header){ { k, md[i].name.n }, { v, md[i].value.n } };
	}
	return 0;
}

static int rpc_new(struct grpc_client *c, const char *path, const struct http_header *md, size_t n, uint32_t ms,
	struct grpc_rpc **ret_rpc, struct err *err)
{
	if (c->n_rpcs >= c->conf.max_calls)
		return err_set(err, HCP_ELIMIT, "max_calls", "too many calls are open");
	struct grpc_rpc *r = mem_calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, HCP_ENOMEM, "grpc", "no memory for a call");
	r->client = c;
	c->n_rpcs++;
	r->status = -1;
	list_init(&r->node);
	arena_init(&r->arena, 512, 64 << 10);
	buf_init(&r->out, 0);
	buf_init(&r->msg, 0);
	buf_init(&r->text, 4096);
	grpc_reader_init(&r->reader, c->conf.max_message_bytes);
	loop_timer_init(&r->deadline, c->loop, on_rpc_deadline, r);
	if (ms)
		grpc_timeout_format(r->timeout, ms);
	int rc = copy_metadata(r, path, md, n, err);
	if (rc < 0) {
		rpc_free(r);
		return rc;
	}
	if (ms)
		loop_timer_start(&r->deadline, ms);
	*ret_rpc = r;
	return 0;
}

static int add_message(struct grpc_rpc *r, struct str msg)
{
	size_t max = r->client->conf.max_queue_bytes, queued = r->out.n - r->out_off, need = msg.n + GRPC_PREFIX_BYTES;
	if (msg.n > r->client->conf.max_message_bytes || (queued > 0 && (queued >= max || need > max - queued)))
		return HCP_ELIMIT;
	if (buf_reserve(&r->out, need) < 0) {
		r->out.failed = false;
		return HCP_ENOMEM;
	}
	uint8_t prefix[GRPC_PREFIX_BYTES];
	grpc_prefix(prefix, (uint32_t)msg.n);
	buf_add(&r->out, prefix, sizeof(prefix));
	buf_adds(&r->out, msg);
	return 0;
}

int grpc_call(struct grpc_client *client, const char *path, const struct http_header *metadata, size_t n,
	struct str msg, uint32_t deadline_ms, grpc_done_fn *cb, void *arg, struct grpc_rpc **ret_rpc, struct err *err)
{
	struct grpc_rpc *r;
	int rc = rpc_new(client, path, metadata, n, deadline_ms ? deadline_ms : 30000, &r, err);
	if (rc < 0)
		return rc;
	r->cb = cb;
	r->arg = arg;
	r->out_end = true;
	rc = add_message(r, msg);
	if (rc < 0) {
		rpc_free(r);
		return err_set(err, rc, "msg", rc == HCP_ELIMIT ? "the message is larger than the limit" : "no memory");
	}
	list_add_tail(&client->waiting, &r->node);
	if (grpc_client_up(client))
		submit(client, r);
	if (ret_rpc)
		*ret_rpc = r;
	return 0;
}

int grpc_stream_open(struct grpc_client *client, const char *path, const struct http_header *metadata, size_t n,
	uint32_t deadline_ms, const struct grpc_rpc_ops *ops, void *arg, struct grpc_rpc **ret_rpc, struct err *err)
{
	if (!grpc_client_up(client))
		return err_set(err, HCP_EUNAVAIL, "grpc", "not connected: %s", client->why.text);
	struct grpc_rpc *r;
	int rc = rpc_new(client, path, metadata, n, deadline_ms, &r, err);
	if (rc < 0)
		return rc;
	r->ops = ops;
	r->arg = arg;
	list_add_tail(&client->waiting, &r->node);
	submit(client, r);
	*ret_rpc = r;
	return 0;
}

static void resume(struct grpc_rpc *r)
{
	struct grpc_client *c = r->client;
	if (r->paused && c->h2) {
		r->paused = false;
		(void)nghttp2_session_resume_data(c->h2, r->stream_id);
	}
	more(c);
}

int grpc_rpc_send(struct grpc_rpc *rpc, struct str msg)
{
	must(rpc->ops && !rpc->out_end);
	int rc = add_message(rpc, msg);
	if (rc < 0)
		return rc;
	resume(rpc);
	if (rpc->out.n - rpc->out_off <= rpc->client->conf.max_queue_bytes / 2)
		return 0;
	rpc->want_drain = true;
	return HCP_EAGAIN;
}

void grpc_rpc_end(struct grpc_rpc *rpc)
{
	must(rpc->ops);
	rpc->out_end = true;
	resume(rpc);
}

void grpc_rpc_cancel(struct grpc_rpc *rpc)
{
	rpc_reset(rpc);
	rpc_free(rpc);
}
