#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "http/http_priv.h"

/*
 * HTTP/1.1, server side.
 *
 *   bytes ─▶ http_parser ─▶ cur (head, body) ─▶ reqs: [first][second]…  ─▶ handler, several at a time
 *                                                 │       └ answered early: bytes wait in out
 *                                                 └ answers go straight into the stream's queue
 */

static void stop_parsing(struct http_conn *c, int status, const char *code, const char *text)
{
	c->error_status = status;
	c->error_code = code;
	c->error_text = text;
}

/* ---- parser callbacks; a return of -1 stops the parser ---- */

static int on_begin(http_parser *p)
{
	struct http_conn *c = p->data;
	c->cur = req_get(c);
	if (!c->cur) {
		stop_parsing(c, 503, "no_memory", "no memory for the request");
		return -1;
	}
	c->in_value = false;
	c->trailer_bytes = 0;
	p->http_major = 0; /* of the request before; tells a long target from a long head */
	return 0;
}

/* Until the head is complete, strings are kept as offsets into head, which may move. */
static int add_head(struct http_conn *c, const char *p, size_t n)
{
	struct req *r = c->cur;
	size_t used = r->head.n + 4 * r->pub.n_headers;
	if (n > c->server->conf.max_head_bytes || used > c->server->conf.max_head_bytes - n) {
		bool in_url = r->pub.n_headers == 0 && c->parser.http_major == 0;
		stop_parsing(c, in_url ? 414 : 431, in_url ? "target_too_long" : "head_too_large",
			"the request head is larger than this server allows");
		return -1;
	}
	buf_add(&r->head, p, n);
	if (!buf_failed(&r->head))
		return 0;
	stop_parsing(c, 503, "no_memory", "no memory for the request");
	return -1;
}

static int on_url(http_parser *p, const char *at, size_t n)
{
	struct http_conn *c = p->data;
	int rc = add_head(c, at, n);
	c->cur->pub.path.n = c->cur->head.n;
	return rc;
}

/* Fields after a chunked body are read and dropped, within a limit. */
static int trailer(struct http_conn *c, size_t n)
{
	c->trailer_bytes += n;
	if (c->trailer_bytes <= c->server->conf.max_head_bytes)
		return 0;
	stop_parsing(c, 431, "head_too_large", "the trailer fields are larger than this server allows");
	return -1;
}

static int on_field(http_parser *p, const char *at, size_t n)
{
	struct http_conn *c = p->data;
	struct req *r = c->cur;
	if (!r || r->pub.version_major)
		return trailer(c, n);
	if (c->in_value || r->pub.n_headers == 0) {
		if (r->pub.n_headers == HTTP_MAX_HEADERS) {
			stop_parsing(c, 431, "too_many_headers", "the request has more header fields than this server allows");
			return -1;
		}
		r->headers[r->pub.n_headers++] = (struct http_header){ { (const char *)r->head.n, 0 }, { NULL, 0 } };
		c->in_value = false;
	}
	r->headers[r->pub.n_headers - 1].name.n += n;
	return add_head(c, at, n);
}

static int on_value(http_parser *p, const char *at, size_t n)
{
	struct http_conn *c = p->data;
	struct req *r = c->cur;
	if (!r || r->pub.version_major)
		return trailer(c, n);
	struct http_header *h = &r->headers[r->pub.n_headers - 1];
	if (!c->in_value)
		h->value.p = (const char *)r->head.n;
	c->in_value = true;
	h->value.n += n;
	return add_head(c, at, n);
}

static void fix_strings(struct req *r)
{
	const char *base = r->head.data;
	for (size_t i = 0; i < r->pub.n_headers; i++) {
		r->headers[i].name.p = base + (size_t)r->headers[i].name.p;
		r->headers[i].value.p = base + (size_t)r->headers[i].value.p;
	}
	req_split_target(r, (struct str){ base, r->pub.path.n });
}

/* One pass over the headers for what the server itself needs. */
static int read_headers(struct http_conn *c, struct req *r)
{
	size_t hosts = 0;
	for (size_t i = 0; i < r->pub.n_headers; i++) {
		struct str name = r->headers[i].name, value = r->headers[i].value;
		/* The parser lets blanks pass; a proxy before us may read such a name otherwise (RFC 9112 5.1). */
		if (memchr(name.p, ' ', name.n) || memchr(name.p, '\t', name.n)) {
			stop_parsing(c, 400, "malformed_request", "a header name holds a blank");
			return -1;
		}
		switch (name.n) {
		case 4:
			if (str_ieqz(name, "host")) {
				r->pub.authority = value;
				hosts++;
			}
			break;
		case 6:
			if (str_ieqz(name, "expect") && str_ieqz(value, "100-continue"))
				r->expect_continue = true;
			break;
		case 7:
			if (str_ieqz(name, "upgrade") && str_ieqz(value, "websocket"))
				r->upgrade = c->parser.upgrade;
			break;
		default:
			break;
		}
	}
	if (hosts == 1 || (hosts == 0 && r->pub.version_minor == 0))
		return 0;
	stop_parsing(c, 400, "bad_host", "exactly one Host header is required");
	return -1;
}

/* Over HTTP/1.1 the client may wait for this before it sends the body. */
static void send_continue(struct http_conn *c, struct req *r)
{
	if (r->expect_continue && r->pub.version_minor > 0 && c->reqs.next == &r->node &&
		stream_write(c->stream, "HTTP/1.1 100 Continue\r\n\r\n", 25) < 0)
		stream_abort(c->stream, HCP_ENOMEM, "no memory for an answer");
}

static int on_head(http_parser *p)
{
	struct http_conn *c = p->data;
	struct req *r = c->cur;
	r->pub.version_major = (uint8_t)p->http_major;
	r->pub.version_minor = (uint8_t)p->http_minor;
	r->pub.method_name = str_of(http_method_str((enum http_method)p->method));
	r->pub.method = p->method == HTTP_GET ? HTTP_M_GET : http_method_of(r->pub.method_name);
	fix_strings(r);
	if (p->http_major != 1) {
		stop_parsing(c, 505, "http_version", "this server speaks HTTP/1.0, HTTP/1.1 and HTTP/2");
		return -1;
	}
	if (read_headers(c, r) < 0)
		return -1;
	r->keep_alive = http_should_keep_alive(p) != 0;
	/* An upgrade to anything but WebSocket is not offered: the request is an ordinary one (RFC 9110 7.8). */
	p->upgrade = 0;
	bool sized = p->content_length != ULLONG_MAX && !(p->flags & F_CHUNKED);
	if (req_offer_head(r)) {
		/* It may have been answered, and so be gone, already. */
		if (c->cur != r || r->state == REQ_DONE)
			return 0;
		if (r->state == REQ_READING)
			req_set_state(r, REQ_RUNNING);
		send_continue(c, r);
		return 0;
	}
	if (sized && p->content_length > c->server->conf.max_body_bytes) {
		stop_parsing(c, 413, "body_too_large", "the request body is larger than this server allows");
		return -1;
	}
	if (sized && p->content_length > 0 && buf_reserve(&r->body, (size_t)p->content_length) < 0) {
		stop_parsing(c, 503, "no_memory", "no memory for the request body");
		return -1;
	}
	send_continue(c, r);
	return 0;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
	struct http_conn *c = p->data;
	struct req *r = c->cur;
	if (!r || r->state == REQ_DONE)
		return 0; /* answered before its body came: the rest is read and dropped */
	if (r->handed) {
		r->unconsumed += n;
		if (r->unconsumed > HTTP_UNCONSUMED)
			stream_pause(c->stream);
		if (r->body_ops)
			r->body_ops->on_data(&r->pub, (struct str){ at, n });
		return 0;
	}
	if (r->body.n + n > c->server->conf.max_body_bytes) {
		stop_parsing(c, 413, "body_too_large", "the request body is larger than this server allows");
		return -1;
	}
	buf_add(&r->body, at, n);
	if (!buf_failed(&r->body))
		return 0;
	stop_parsing(c, 503, "no_memory", "no memory for the request body");
	return -1;
}

static bool must_wait(const struct http_conn *c)
{
	return c->n_reqs >= HTTP_PIPELINE || c->closing ||
		(c->stream && stream_queued(c->stream) > c->server->conf.max_queue_bytes / 2);
}

static int on_complete(http_parser *p)
{
	struct http_conn *c = p->data;
	struct req *r = c->cur;
	c->cur = NULL;
	if (r) {
		bool upgrade = r->upgrade;
		r->body_done = true;
		if (!r->keep_alive)
			c->closing = true; /* nothing after this request is read */
		if (!r->handed)
			req_dispatch(r);
		else if (r->state != REQ_DONE && r->body_ops && r->body_ops->on_end)
			r->body_ops->on_end(&r->pub);
		/* What follows an upgrade belongs to the other protocol, if it is accepted. */
		if (upgrade)
			http_parser_pause(p, 1);
	}
	if (c->proto != CONN_H1 || must_wait(c))
		http_parser_pause(p, 1);
	return 0;
}

static const http_parser_settings settings = {
	.on_message_begin = on_begin, .on_url = on_url, .on_header_field = on_field, .on_header_value = on_value,
	.on_headers_complete = on_head, .on_body = on_body, .on_message_complete = on_complete,
};

int h1_start(struct http_conn *c)
{
	http_parser_init(&c->parser, HTTP_REQUEST);
	c->parser.data = c;
	return 0;
}

/* ---- reading ---- */

/* Answers what cannot be understood, after the answers before it, and ends the connection. */
static void refuse(struct http_conn *c, int status, const char *code, const char *text)
{
	struct req *r = c->cur;
	c->closing = true;
	if (r && r->handed) {
		/* Its handler still works on a body that will never be whole. */
		stream_abort(c->stream, HCP_EPROTO, text);
		return;
	}
	if (!r)
		r = req_get(c);
	c->cur = NULL;
	if (!r) {
		stream_abort(c->stream, HCP_ENOMEM, "no memory for an answer");
		return;
	}
	r->keep_alive = false;
	r->handed = true;
	req_set_state(r, REQ_RUNNING);
	r->pub.version_major = 1;
	r->pub.version_minor = 1;
	r->body_done = true;
	http_reply_problem(&r->pub, status, code, str_of(text));
}

static void set_phase(struct http_conn *c)
{
	enum conn_phase want = c->cur ? (c->cur->pub.version_major ? PHASE_BODY : PHASE_HEAD)
		: c->n_reqs > 0 ? PHASE_RUN : PHASE_IDLE;
	/* While a head-of-line request runs, its handler has all the time; a trickling next head is still bounded. */
	if (want == PHASE_IDLE && c->phase == PHASE_IDLE)
		c->since_ms = loop_turn_ms(c->server->loop);
	conn_phase_set(c, want);
}

/* Runs the parser; returns how many bytes it took. */
static size_t parse(struct http_conn *c, const char *p, size_t n)
{
	size_t took = http_parser_execute(&c->parser, &settings, p, n);
	enum http_errno e = HTTP_PARSER_ERRNO(&c->parser);
	if (e == HPE_PAUSED) {
		http_parser_pause(&c->parser, 0);
		return took;
	}
	if (e == HPE_OK)
		return took;
	c->stopped = true;
	if (!c->stream || stream_is_closing(c->stream))
		return n;
	if (!c->error_status) {
		bool version = e == HPE_INVALID_VERSION;
		stop_parsing(c, e == HPE_HEADER_OVERFLOW ? 431 : version ? 505 : 400,
			version ? "http_version" : "malformed_request", http_errno_description(e));
	}
	refuse(c, c->error_status, c->error_code, c->error_text);
	return n;
}

static void keep_rest(struct http_conn *c, const char *p, size_t n)
{
	if (n == 0)
		return;
	buf_add(&c->rest, p, n);
	if (buf_failed(&c->rest) && c->stream)
		stream_abort(c->stream, HCP_ENOMEM, "no memory for pipelined requests");
	/* What is held is at most one read: no more is taken from the socket until it is gone. */
	if (c->stream)
		stream_pause(c->stream);
}

static bool can_parse(const struct http_conn *c)
{
	bool upgrading = c->n_reqs > 0 && list_entry(c->reqs.prev, struct req, node)->upgrade;
	return c->proto == CONN_H1 && c->stream && !stream_is_closing(c->stream) && !c->closing && !c->stopped &&
		!upgrading && (c->cur || !must_wait(c));
}

static void feed(struct http_conn *c, const uint8_t *bytes, size_t n)
{
	const char *p = (const char *)bytes;
	if (c->rest.n > 0) {
		keep_rest(c, p, n);
		return;
	}
	while (n > 0 && can_parse(c)) {
		size_t took = parse(c, p, n);
		p += took;
		n -= took;
	}
	if (n > 0 && !c->closing && !c->stopped)
		keep_rest(c, p, n);
	if (c->stream)
		set_phase(c);
}

/* ---- answering ---- */

static bool first_in_line(const struct req *r)
{
	return r->conn->reqs.next == &r->node;
}

static void fail_conn(struct http_conn *c, const char *why)
{
	if (c->stream)
		stream_abort(c->stream, HCP_ELIMIT, why);
}

/* Room for n answer bytes: in the stream when it is this request's turn, else in its own buffer. */
static char *room(struct req *r, size_t n)
{
	if (first_in_line(r))
		return stream_reserve(r->conn->stream, n);
	if (r->out.n + n > r->conn->server->conf.max_queue_bytes || buf_reserve(&r->out, n) < 0)
		return NULL;
	return r->out.data + r->out.n;
}

static void filled(struct req *r, size_t n)
{
	if (first_in_line(r)) {
		r->conn->written += n;
		stream_commit(r->conn->stream, n);
	} else {
		r->out.n += n;
	}
}

/* The requests whose answers are complete leave in order; the next one's waiting bytes follow. */
static void advance(struct http_conn *c)
{
	while (c->n_reqs > 0 && c->stream) {
		struct req *r = list_entry(c->reqs.next, struct req, node);
		if (r->out.n > 0) {
			if (stream_write(c->stream, r->out.data, r->out.n) < 0) {
				fail_conn(c, "the client reads its answers too slowly");
				return;
			}
			c->written += r->out.n;
			buf_clear(&r->out);
		}
		if (r->state != REQ_DONE) {
			if (r->want_drain)
				loop_defer(c->server->loop, &c->work);
			return;
		}
		if (c->cur == r && !r->body_done)
			c->closing = true; /* answered before its body was read: the rest is not worth reading */
		bool last = !r->keep_alive || c->server->draining || c->closing;
		bool none_behind = c->reqs.prev == &r->node;
		req_put(r);
		if ((last && none_behind) || (c->eof && c->n_reqs == 0)) {
			stream_close(c->stream);
			return;
		}
	}
	if (c->rest.n > 0)
		loop_defer(c->server->loop, &c->work);
}

/* The answer of r is complete. */
static void complete(struct req *r)
{
	struct http_conn *c = r->conn;
	req_set_state(r, REQ_DONE);
	if (!first_in_line(r))
		return;
	advance(c);
	if (c->stream && !c->busy)
		set_phase(c);
}

static char *put(char *p, const char *s, size_t n)
{
	memcpy(p, s, n);
	return p + n;
}

#define PUT(p, lit) put(p, lit, sizeof(lit) - 1)

enum { BODY_NONE = 0, BODY_SIZED, BODY_CHUNKED };

static bool has_type(const struct http_header *hdrs, size_t n)
{
	return http_find(hdrs, n, "content-type").p != NULL;
}

static size_t head_bound(const struct http_header *hdrs, size_t n)
{
	size_t sum = 256;
	for (size_t i = 0; i < n; i++)
		sum += hdrs[i].name.n + hdrs[i].value.n + 4;
	return sum;
}

/* Our own fields (framing) are never taken from the handler. */
static bool is_framing(struct str name)
{
	return str_ieqz(name, "content-length") || str_ieqz(name, "transfer-encoding") || str_ieqz(name, "connection");
}

static char *put_head(char *p, struct req *r, int status, const struct http_header *hdrs, size_t n, int mode,
	size_t body_n)
{
	struct http_server *s = r->conn->server;
	if (status == 200) {
		p = PUT(p, "HTTP/1.1 200 OK\r\n");
	} else {
		const char *text = http_status_text(status);
		p = PUT(p, "HTTP/1.1 ");
		p += u64_digits(p, (uint64_t)status);
		*p++ = ' ';
		p = put(p, text, strlen(text));
		p = PUT(p, "\r\n");
	}
	p = put(p, s->date, s->date_n);
	if (mode == BODY_SIZED) {
		p = PUT(p, "content-length: ");
		p += u64_digits(p, body_n);
		p = PUT(p, "\r\n");
	} else if (mode == BODY_CHUNKED) {
		p = PUT(p, "transfer-encoding: chunked\r\n");
	}
	if (mode == BODY_SIZED && body_n > 0 && !has_type(hdrs, n))
		p = PUT(p, "content-type: application/json\r\n");
	if (!r->keep_alive || s->draining)
		p = PUT(p, "connection: close\r\n");
	else if (r->pub.version_minor == 0)
		p = PUT(p, "connection: keep-alive\r\n");
	for (size_t i = 0; i < n; i++) {
		if (is_framing(hdrs[i].name) || !http_header_clean(&hdrs[i]))
			continue;
		p = put(p, hdrs[i].name.p, hdrs[i].name.n);
		p = PUT(p, ": ");
		p = put(p, hdrs[i].value.p, hdrs[i].value.n);
		p = PUT(p, "\r\n");
	}
	return PUT(p, "\r\n");
}

static bool bodiless(int status)
{
	return status < 200 || status == 204 || status == 304;
}

static void h1_reply(struct req *r, int status, const struct http_header *hdrs, size_t n, struct str body)
{
	struct http_conn *c = r->conn;
	if (!r->body_done)
		r->keep_alive = false; /* what is left of the body is not read */
	int mode = bodiless(status) ? BODY_NONE : BODY_SIZED;
	size_t body_n = mode == BODY_NONE || r->pub.method == HTTP_M_HEAD ? 0 : body.n;
	char *p = room(r, head_bound(hdrs, n) + body_n);
	if (!p) {
		req_set_state(r, REQ_DONE);
		fail_conn(c, "the client reads its answers too slowly");
		return;
	}
	char *end = put_head(p, r, status, hdrs, n, mode, body.n);
	if (body_n > 0)
		end = put(end, body.p, body_n);
	filled(r, (size_t)(end - p));
	complete(r);
}

static void h1_begin(struct req *r, int status, const struct http_header *hdrs, size_t n)
{
	if (!r->body_done)
		r->keep_alive = r->keep_alive && r->body_ops;
	r->no_body = bodiless(status) || r->pub.method == HTTP_M_HEAD;
	r->chunked = !bodiless(status) && r->pub.version_minor > 0;
	/* HTTP/1.0 knows no chunks: the end of the connection is the end of the body. */
	if (!r->chunked && !bodiless(status))
		r->keep_alive = false;
	char *p = room(r, head_bound(hdrs, n));
	if (!p) {
		fail_conn(r->conn, "the client reads its answers too slowly");
		return;
	}
	char *end = put_head(p, r, status, hdrs, n, r->chunked ? BODY_CHUNKED : BODY_NONE, 0);
	filled(r, (size_t)(end - p));
}

static size_t queue_of(const struct req *r)
{
	return first_in_line(r) ? stream_queued(r->conn->stream) : r->out.n;
}

static int h1_write(struct req *r, struct str piece)
{
	if (r->no_body)
		return 0;
	if (stream_is_closing(r->conn->stream))
		return HCP_ECLOSED;
	char *p = room(r, piece.n + 24);
	if (!p)
		return HCP_ELIMIT;
	char *end = p;
	if (r->chunked)
		end += snprintf(end, 20, "%zx\r\n", piece.n);
	end = put(end, piece.p, piece.n);
	if (r->chunked)
		end = PUT(end, "\r\n");
	filled(r, (size_t)(end - p));
	if (queue_of(r) <= r->conn->server->conf.max_queue_bytes / 2)
		return 0;
	r->want_drain = true;
	return HCP_EAGAIN;
}

static void h1_end(struct req *r, const struct http_header *trailers, size_t n)
{
	static const char last[] = "0\r\n\r\n";
	struct http_conn *c = r->conn;
	if (r->chunked && !r->no_body && !first_in_line(r)) {
		buf_add(&r->out, last, sizeof(last) - 1);
		if (buf_failed(&r->out))
			fail_conn(c, "no memory for an answer");
	} else if (r->chunked && !r->no_body && !stream_is_closing(c->stream)) {
		/* The end must go even when the queue is full: five bytes beyond the limit do no harm. */
		stream_set_max_queue(c->stream, SIZE_MAX);
		int rc = stream_write(c->stream, last, sizeof(last) - 1);
		stream_set_max_queue(c->stream, c->server->conf.max_queue_bytes);
		if (rc < 0)
			fail_conn(c, "no memory for an answer");
	}
	complete(r);
}

static void h1_abort(struct req *r)
{
	struct http_conn *c = r->conn;
	req_set_state(r, REQ_DONE);
	if (c->stream)
		stream_abort(c->stream, HCP_ECANCELED, "the answer was cut short");
}

static void h1_consume(struct req *r, size_t n)
{
	must(n <= r->unconsumed);
	bool was_full = r->unconsumed > HTTP_UNCONSUMED;
	r->unconsumed -= n;
	if (was_full && r->unconsumed <= HTTP_UNCONSUMED)
		stream_resume(r->conn->stream);
}

/* ---- the rest ---- */

static void h1_work(struct http_conn *c)
{
	struct req *first = c->n_reqs > 0 ? list_entry(c->reqs.next, struct req, node) : NULL;
	if (first && first->want_drain && stream_queued(c->stream) <= c->server->conf.max_queue_bytes / 2) {
		first->want_drain = false;
		if (first->pub.on_drain && first->state == REQ_STREAMING)
			first->pub.on_drain(&first->pub);
	}
	if (c->rest.n == 0 || !can_parse(c)) {
		if (c->stream)
			set_phase(c);
		return;
	}
	struct buf input = c->rest;
	buf_init(&c->rest, 0);
	feed(c, (const uint8_t *)input.data, input.n);
	buf_release(&input);
	if (c->rest.n == 0 && c->stream && !(c->cur && c->cur->unconsumed > HTTP_UNCONSUMED))
		stream_resume(c->stream);
}

static void h1_timeout(struct http_conn *c)
{
	refuse(c, 408, "request_timeout", "the request did not come in time");
	c->stopped = true;
}

static void none(struct http_conn *c)
{
}

const struct http_proto http_h1 = {
	.reply = h1_reply, .begin = h1_begin, .write = h1_write, .end = h1_end, .abort = h1_abort, .consume = h1_consume,
	.feed = feed, .work = h1_work, .drain = none, .timeout = h1_timeout,
};
