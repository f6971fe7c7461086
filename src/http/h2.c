#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "http/http_priv.h"

/*
 * HTTP/2, server side, on nghttp2. Answers gather in req.out; nghttp2 takes DATA from there as the windows allow, and
 * h2_work moves frames to the stream while its queue is short.
 */
enum { H2_QUEUE_LOW = 256 << 10 };

static void more(struct http_conn *c)
{
	loop_defer(c->server->loop, &c->work);
}

static void reset(struct http_conn *c, int32_t id, uint32_t code)
{
	if (nghttp2_submit_rst_stream(c->h2, NGHTTP2_FLAG_NONE, id, code) < 0 && c->stream)
		stream_abort(c->stream, HCP_ENOMEM, "no memory for a frame");
	more(c);
}

/* ---- reading ---- */

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
	struct http_conn *c = arg;
	if (f->hd.type != NGHTTP2_HEADERS || f->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	struct req *r = req_get(c);
	if (!r) {
		reset(c, f->hd.stream_id, NGHTTP2_ENHANCE_YOUR_CALM);
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	r->stream_id = f->hd.stream_id;
	nghttp2_session_set_stream_user_data(h2, f->hd.stream_id, r);
	return 0;
}

/* Pseudo headers are kept as the first "headers" until the head is complete; strings as offsets, see h1.c. */
static int on_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name, size_t name_n,
	const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
	struct http_conn *c = arg;
	struct req *r = nghttp2_session_get_stream_user_data(h2, f->hd.stream_id);
	if (!r || r->pub.version_major)
		return 0; /* trailers: read and dropped */
	size_t max = c->server->conf.max_head_bytes;
	if (r->head.n + name_n + value_n > max || r->pub.n_headers == HTTP_MAX_HEADERS) {
		r->pub.n_headers = HTTP_MAX_HEADERS;
		r->head.failed = true;
		return 0;
	}
	r->headers[r->pub.n_headers++] = (struct http_header){ { (const char *)r->head.n, name_n },
		{ (const char *)(r->head.n + name_n), value_n } };
	buf_add(&r->head, name, name_n);
	buf_add(&r->head, value, value_n);
	return 0;
}

static void take_pseudo(struct req *r)
{
	size_t kept = 0;
	const char *base = r->head.data;
	for (size_t i = 0; i < r->pub.n_headers; i++) {
		struct http_header h = r->headers[i];
		h.name.p = base + (size_t)h.name.p;
		h.value.p = base + (size_t)h.value.p;
		if (h.name.p[0] != ':')
			r->headers[kept++] = h;
		else if (str_eqz(h.name, ":method"))
			r->pub.method_name = h.value;
		else if (str_eqz(h.name, ":path"))
			req_split_target(r, h.value);
		else if (str_eqz(h.name, ":authority"))
			r->pub.authority = h.value;
	}
	r->pub.n_headers = kept;
	r->pub.method = http_method_of(r->pub.method_name);
	if (!r->pub.authority.p)
		r->pub.authority = http_find(r->headers, kept, "host");
}

static void refuse(struct req *r, int status, const char *code, const char *text)
{
	r->handed = true;
	req_set_state(r, REQ_RUNNING);
	http_reply_problem(&r->pub, status, code, str_of(text));
}

static void head_complete(struct http_conn *c, struct req *r, bool end)
{
	r->pub.version_major = 2;
	r->body_done = end;
	if (buf_failed(&r->head)) {
		r->pub.n_headers = 0;
		refuse(r, 431, "head_too_large", "the request head is larger than this server allows");
		return;
	}
	take_pseudo(r);
	int32_t id = r->stream_id;
	if (req_offer_head(r)) {
		/* It may have been answered, and so be gone, already. */
		if (nghttp2_session_get_stream_user_data(c->h2, id) != r || r->state == REQ_DONE)
			return;
		if (r->state == REQ_READING)
			req_set_state(r, REQ_RUNNING);
		if (end && r->body_ops)
			r->body_ops->on_end(&r->pub);
		return;
	}
	struct str len = http_find(r->headers, r->pub.n_headers, "content-length");
	/* nghttp2 has checked that it is a number; more than 18 digits is too large in any case. */
	uint64_t v = 0;
	for (size_t i = 0; i < len.n && i < 18; i++)
		v = v * 10 + (uint64_t)(len.p[i] - '0');
	if (len.n > 18 || v > c->server->conf.max_body_bytes) {
		refuse(r, 413, "body_too_large", "the request body is larger than this server allows");
		return;
	}
	if (end)
		req_dispatch(r);
}

/* A client that opens and resets streams makes us work for nothing. */
static int count_reset(struct http_conn *c)
{
	int64_t second = loop_turn_ms(c->server->loop) / 1000;
	if (second != c->reset_second) {
		c->reset_second = second;
		c->resets = 0;
	}
	if (++c->resets <= HTTP_RESETS_PER_S || c->going_away)
		return 0;
	c->going_away = true;
	more(c);
	return nghttp2_session_terminate_session(c->h2, NGHTTP2_ENHANCE_YOUR_CALM) < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
	struct http_conn *c = arg;
	bool end = f->hd.flags & NGHTTP2_FLAG_END_STREAM;
	if (f->hd.type == NGHTTP2_RST_STREAM)
		return count_reset(c);
	if (f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA)
		return 0;
	struct req *r = nghttp2_session_get_stream_user_data(h2, f->hd.stream_id);
	if (!r || r->state == REQ_DONE)
		return 0;
	if (f->hd.type == NGHTTP2_HEADERS && f->headers.cat == NGHTTP2_HCAT_REQUEST) {
		head_complete(c, r, end);
		return 0;
	}
	if (!end)
		return 0;
	r->body_done = true;
	if (!r->handed)
		req_dispatch(r);
	else if (r->body_ops)
		r->body_ops->on_end(&r->pub);
	return 0;
}

static int on_chunk(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct http_conn *c = arg;
	struct req *r = nghttp2_session_get_stream_user_data(h2, id);
	bool streams = r && r->handed && r->body_ops && r->state != REQ_DONE;
	more(c);
	if (nghttp2_session_consume_connection(h2, n) < 0 || (!streams && nghttp2_session_consume_stream(h2, id, n) < 0))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (!r || r->state == REQ_DONE)
		return 0;
	if (streams) {
		r->unconsumed += n;
		r->body_ops->on_data(&r->pub, (struct str){ (const char *)p, n });
		return 0;
	}
	if (r->handed)
		return 0;
	size_t max = c->server->conf.max_body_bytes;
	if (r->body.n + n > max) {
		refuse(r, 413, "body_too_large", "the request body is larger than this server allows");
		return 0;
	}
	if (c->body_bytes + n > HTTP_BODIES * max) {
		reset(c, id, NGHTTP2_ENHANCE_YOUR_CALM);
		return 0;
	}
	buf_add(&r->body, p, n);
	c->body_bytes += n;
	if (buf_failed(&r->body))
		reset(c, id, NGHTTP2_INTERNAL_ERROR);
	return 0;
}

static void forget(struct req *r)
{
	struct http_conn *c = r->conn;
	c->body_bytes -= r->body.n < c->body_bytes ? r->body.n : c->body_bytes;
	c->out_bytes -= r->out.n - r->out_off;
	r->out_off = r->out.n;
}

static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *arg)
{
	struct http_conn *c = arg;
	struct req *r = nghttp2_session_get_stream_user_data(h2, id);
	more(c);
	if (!r)
		return 0;
	nghttp2_session_set_stream_user_data(h2, id, NULL);
	forget(r);
	req_gone(r); /* puts it if it was answered */
	return 0;
}

/* ---- answering ---- */

static ssize_t on_read(nghttp2_session *h2, int32_t id, uint8_t *dst, size_t cap, uint32_t *flags,
	nghttp2_data_source *source, void *arg)
{
	struct http_conn *c = arg;
	struct req *r = source->ptr;
	size_t left = r->out.n - r->out_off, n = left < cap ? left : cap;
	if (n == 0 && !r->out_end) {
		r->paused = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (n > 0)
		memcpy(dst, r->out.data + r->out_off, n);
	r->out_off += n;
	c->out_bytes -= n;
	if (r->out_off == r->out.n) {
		buf_clear_keep(&r->out, r->out_end ? HTTP_KEEP_BYTES : HTTP_IDLE_BYTES);
		r->out_off = 0;
	} else if (r->out_off > 64 << 10) {
		buf_consume(&r->out, r->out_off);
		r->out_off = 0;
	}
	if (r->want_drain && r->out.n - r->out_off <= c->server->conf.max_queue_bytes / 2)
		more(c);
	if (r->out.n > r->out_off || !r->out_end)
		return (ssize_t)n;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (r->n_trailers > 0) {
		nghttp2_nv nv[sizeof(r->trailers) / sizeof(r->trailers[0])];
		for (size_t i = 0; i < r->n_trailers; i++)
			nv[i] = (nghttp2_nv){ (uint8_t *)(uintptr_t)r->trailers[i].name.p,
				(uint8_t *)(uintptr_t)r->trailers[i].value.p, r->trailers[i].name.n, r->trailers[i].value.n, 0 };
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (nghttp2_submit_trailer(h2, id, nv, r->n_trailers) < 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	return (ssize_t)n;
}

/* Header names are lower case in HTTP/2. */
static struct str lower(struct req *r, struct str name)
{
	char *p = arena_alloc(&r->arena, name.n + 1);
	if (!p)
		return name;
	for (size_t i = 0; i < name.n; i++)
		p[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + 32 : name.p[i]);
	return (struct str){ p, name.n };
}

static nghttp2_nv nv_of(struct str name, struct str value)
{
	return (nghttp2_nv){ (uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.n, value.n, 0 };
}

static bool is_connection_field(struct str name)
{
	return str_ieqz(name, "connection") || str_ieqz(name, "transfer-encoding") || str_ieqz(name, "keep-alive") ||
		str_ieqz(name, "upgrade") || str_ieqz(name, "proxy-connection") || str_ieqz(name, "content-length");
}

enum { MAX_ANSWER_HEADERS = 48 };

/* sized: content-length and the default content-type are added. */
static int submit(struct req *r, int status, const struct http_header *hdrs, size_t n, bool sized, size_t body_n,
	bool with_data)
{
	struct http_conn *c = r->conn;
	nghttp2_nv nv[MAX_ANSWER_HEADERS + 4];
	char code[8], len[24];
	size_t k = 0;
	snprintf(code, sizeof(code), "%03d", status);
	nv[k++] = nv_of(STR(":status"), str_of(code));
	size_t date_n = c->server->date_n > 8 ? c->server->date_n - 8 : 0; /* without "date: " and the line end */
	nv[k++] = nv_of(STR("date"), (struct str){ c->server->date + 6, date_n });
	if (sized) {
		size_t m = u64_digits(len, body_n);
		nv[k++] = nv_of(STR("content-length"), (struct str){ len, m });
		if (body_n > 0 && !http_find(hdrs, n, "content-type").p)
			nv[k++] = nv_of(STR("content-type"), STR("application/json"));
	}
	for (size_t i = 0; i < n && k < MAX_ANSWER_HEADERS + 4; i++)
		if (!is_connection_field(hdrs[i].name) && http_header_clean(&hdrs[i]))
			nv[k++] = nv_of(lower(r, hdrs[i].name), hdrs[i].value);
	nghttp2_data_provider dp = { .source.ptr = r, .read_callback = on_read };
	more(c);
	return nghttp2_submit_response(c->h2, r->stream_id, nv, k, with_data ? &dp : NULL) < 0 ? HCP_ENOMEM : 0;
}

static int add_out(struct req *r, struct str piece)
{
	struct http_conn *c = r->conn;
	size_t max = c->server->conf.max_queue_bytes;
	if (c->out_bytes > 0 && (c->out_bytes >= max || piece.n > max - c->out_bytes))
		return HCP_ELIMIT;
	if (buf_reserve(&r->out, piece.n) < 0) {
		r->out.failed = false;
		return HCP_ENOMEM;
	}
	buf_add(&r->out, piece.p, piece.n);
	c->out_bytes += piece.n;
	return 0;
}

static void resume(struct req *r)
{
	struct http_conn *c = r->conn;
	if (r->paused) {
		r->paused = false;
		/* Fails only if the stream has gone, which on_stream_close tells. */
		(void)nghttp2_session_resume_data(c->h2, r->stream_id);
	}
	more(c);
}

static void h2_abort(struct req *r)
{
	req_set_state(r, REQ_DONE);
	reset(r->conn, r->stream_id, NGHTTP2_INTERNAL_ERROR);
}

static bool bodiless(int status)
{
	return status < 200 || status == 204 || status == 304;
}

static void h2_reply(struct req *r, int status, const struct http_header *hdrs, size_t n, struct str body)
{
	bool data = body.n > 0 && !bodiless(status) && r->pub.method != HTTP_M_HEAD;
	req_set_state(r, REQ_DONE);
	r->out_end = true;
	if ((data && add_out(r, body) < 0) || submit(r, status, hdrs, n, !bodiless(status), body.n, data) < 0)
		h2_abort(r);
}

static void h2_begin(struct req *r, int status, const struct http_header *hdrs, size_t n)
{
	r->no_body = bodiless(status) || r->pub.method == HTTP_M_HEAD;
	if (submit(r, status, hdrs, n, false, 0, true) < 0)
		reset(r->conn, r->stream_id, NGHTTP2_INTERNAL_ERROR);
}

static int h2_write(struct req *r, struct str piece)
{
	if (r->no_body)
		return 0;
	int rc = add_out(r, piece);
	if (rc < 0)
		return rc;
	resume(r);
	if (r->out.n - r->out_off <= r->conn->server->conf.max_queue_bytes / 2)
		return 0;
	r->want_drain = r->conn->want_drain = true;
	return HCP_EAGAIN;
}

static void h2_end(struct req *r, const struct http_header *trailers, size_t n)
{
	size_t max = sizeof(r->trailers) / sizeof(r->trailers[0]);
	for (size_t i = 0; i < n && r->n_trailers < max; i++) {
		char *v = arena_dup(&r->arena, trailers[i].value.p ? trailers[i].value.p : "", trailers[i].value.n);
		if (v && http_header_clean(&trailers[i]))
			r->trailers[r->n_trailers++] =
				(struct http_header){ lower(r, trailers[i].name), { v, trailers[i].value.n } };
	}
	req_set_state(r, REQ_DONE);
	r->out_end = true;
	resume(r);
}

static void h2_consume(struct req *r, size_t n)
{
	must(n <= r->unconsumed);
	r->unconsumed -= n;
	/* Fails only for a stream that has gone. */
	(void)nghttp2_session_consume_stream(r->conn->h2, r->stream_id, n);
	more(r->conn);
}

/* ---- the session ---- */

static void set_phase(struct http_conn *c)
{
	enum conn_phase want = c->n_reqs == 0 ? PHASE_IDLE : c->n_reading ? PHASE_BODY : PHASE_RUN;
	if (want == PHASE_IDLE && c->phase == PHASE_IDLE)
		c->since_ms = loop_turn_ms(c->server->loop);
	conn_phase_set(c, want);
}

static void tell_drained(struct http_conn *c)
{
	size_t low = c->server->conf.max_queue_bytes / 2;
	struct list *it = c->reqs.next;
	if (!c->want_drain) /* nobody, and there may be thousands */
		return;
	c->want_drain = false;
	while (it != &c->reqs) {
		struct req *r = list_entry(it, struct req, node);
		it = it->next;
		if (!r->want_drain)
			continue;
		if (r->out.n - r->out_off > low) {
			c->want_drain = true;
			continue;
		}
		r->want_drain = false;
		if (!r->pub.on_drain || r->state != REQ_STREAMING)
			continue;
		r->pub.on_drain(&r->pub);
		it = c->reqs.next; /* the callback may have released any request */
	}
}

static void h2_work(struct http_conn *c)
{
	while (c->stream && !stream_is_closing(c->stream) && stream_queued(c->stream) < H2_QUEUE_LOW) {
		const uint8_t *p;
		ssize_t n = nghttp2_session_mem_send(c->h2, &p);
		if (n == 0)
			break;
		if (n < 0 || stream_write(c->stream, p, (size_t)n) < 0) {
			stream_abort(c->stream, HCP_ENOMEM, "cannot write frames");
			return;
		}
		c->written += (size_t)n;
	}
	if (!c->stream || stream_is_closing(c->stream))
		return;
	tell_drained(c);
	set_phase(c);
	if (!nghttp2_session_want_read(c->h2) && !nghttp2_session_want_write(c->h2))
		stream_close(c->stream);
}

static void h2_feed(struct http_conn *c, const uint8_t *p, size_t n)
{
	ssize_t took = nghttp2_session_mem_recv(c->h2, p, n);
	if (!c->stream)
		return;
	if (took < 0) {
		/* What nghttp2 has to say about it (GOAWAY) goes first. */
		if (took == NGHTTP2_ERR_BAD_CLIENT_MAGIC || took == NGHTTP2_ERR_FLOODED || took == NGHTTP2_ERR_NOMEM ||
			took == NGHTTP2_ERR_CALLBACK_FAILURE ||
			nghttp2_session_terminate_session(c->h2, NGHTTP2_PROTOCOL_ERROR) < 0)
			stream_abort(c->stream, HCP_EPROTO, nghttp2_strerror((int)took));
	}
	set_phase(c);
	more(c);
}

static void h2_drain(struct http_conn *c)
{
	c->going_away = true;
	(void)nghttp2_submit_goaway(
		c->h2, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->h2), NGHTTP2_NO_ERROR, NULL, 0);
	more(c);
	if (c->n_reqs == 0)
		(void)nghttp2_session_terminate_session(c->h2, NGHTTP2_NO_ERROR);
}

static void h2_timeout(struct http_conn *c)
{
	int64_t now = loop_turn_ms(c->server->loop);
	/* Requests whose bodies do not come are reset; the others go on, and the oldest of them is looked at next. */
	c->since_ms = now;
	list_each_safe(it, tmp, &c->reqs) {
		struct req *r = list_entry(it, struct req, node);
		if (r->state != REQ_READING)
			continue;
		if (now - r->since_ms > c->server->conf.body_timeout_ms)
			reset(c, r->stream_id, NGHTTP2_CANCEL);
		else if (r->since_ms < c->since_ms)
			c->since_ms = r->since_ms;
	}
}

static int new_session(struct http_conn *c, nghttp2_session_callbacks *cb, nghttp2_option *opt)
{
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_option_set_no_auto_window_update(opt, 1);
	nghttp2_option_set_max_send_header_block_length(opt, 64 << 10);
	if (nghttp2_session_server_new3(&c->h2, cb, c, opt, http_nghttp2_mem()) < 0)
		return HCP_ENOMEM;
	nghttp2_settings_entry iv[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, HTTP_MAX_STREAMS },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, HTTP_STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)c->server->conf.max_head_bytes },
	};
	if (nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, iv, sizeof(iv) / sizeof(iv[0])) < 0 ||
		nghttp2_session_set_local_window_size(c->h2, NGHTTP2_FLAG_NONE, 0, HTTP_CONN_WINDOW) < 0)
		return HCP_ENOMEM;
	return 0;
}

int h2_start(struct http_conn *c)
{
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *opt = NULL;
	int rc = HCP_ENOMEM;
	if (nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&opt) == 0)
		rc = new_session(c, cb, opt);
	nghttp2_session_callbacks_del(cb);
	nghttp2_option_del(opt);
	if (rc == 0)
		more(c);
	return rc;
}

const struct http_proto http_h2 = {
	.reply = h2_reply, .begin = h2_begin, .write = h2_write, .end = h2_end, .abort = h2_abort, .consume = h2_consume,
	.feed = h2_feed, .work = h2_work, .drain = h2_drain, .timeout = h2_timeout,
};
