#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/panic.h"
#include "http/grpc.h"
#include "http/grpc_frame.h"
#include "loop/loop.h"

struct grpc_server {
	struct map paths; /* path → struct grpc_method, borrowed */
	size_t max_message;
	struct buf scratch; /* prefix and message together, one answer piece */
};

/* Lives in the request's arena. */
struct grpc_call {
	struct http_req *req;
	struct grpc_server *server;
	const struct grpc_method *method;
	struct grpc_reader reader;
	struct loop_timer deadline;
	struct loop_defer resumed;
	struct buf pending;   /* came while paused; at most the stream's window */
	int64_t deadline_ns;
	struct str msg;       /* unary: the message, in the arena */
	void *user;
	bool has_msg, begun, gone, expired, told, ended, reading_over, paused, end_seen;
	enum grpc_status failed; /* the call broke before the handler saw it whole */
	const char *failed_text;
};

static const struct { enum grpc_status status; int code; } codes[] = {
	{ GRPC_OK, HCP_OK }, { GRPC_CANCELLED, HCP_ECANCELED }, { GRPC_UNKNOWN, HCP_EINTERNAL },
	{ GRPC_INVALID_ARGUMENT, HCP_EINVAL }, { GRPC_DEADLINE_EXCEEDED, HCP_ETIMEOUT }, { GRPC_NOT_FOUND, HCP_ENOTFOUND },
	{ GRPC_ALREADY_EXISTS, HCP_EEXIST }, { GRPC_PERMISSION_DENIED, HCP_EPERM }, { GRPC_RESOURCE_EXHAUSTED, HCP_ELIMIT },
	{ GRPC_FAILED_PRECONDITION, HCP_ESTATE }, { GRPC_ABORTED, HCP_ECONFLICT }, { GRPC_OUT_OF_RANGE, HCP_ERANGE },
	{ GRPC_UNIMPLEMENTED, HCP_EUNSUPPORTED }, { GRPC_INTERNAL, HCP_EINTERNAL }, { GRPC_UNAVAILABLE, HCP_EUNAVAIL },
	{ GRPC_DATA_LOSS, HCP_ECORRUPT }, { GRPC_UNAUTHENTICATED, HCP_EAUTH },
	/* one way only */
	{ GRPC_INVALID_ARGUMENT, HCP_EPARSE }, { GRPC_RESOURCE_EXHAUSTED, HCP_ENOMEM }, { GRPC_UNAVAILABLE, HCP_EAGAIN },
	{ GRPC_CANCELLED, HCP_ECLOSED }, { GRPC_UNAVAILABLE, HCP_EIO }, { GRPC_RESOURCE_EXHAUSTED, HCP_ENOSPC },
};

int grpc_status_to_err(enum grpc_status status)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].status == status)
			return codes[i].code;
	return HCP_EINTERNAL;
}

enum grpc_status grpc_status_of_err(int code)
{
	if (code == HCP_EINTERNAL)
		return GRPC_INTERNAL;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].code == code)
			return codes[i].status;
	return GRPC_UNKNOWN;
}

/* ---- answering ---- */

static void begin(struct grpc_call *call)
{
	if (call->begun)
		return;
	call->begun = true;
	struct http_header type = { STR("content-type"), STR("application/grpc") };
	http_reply_begin(call->req, 200, &type, 1);
}

/* Ends the call; its memory goes with the request. */
static void finish(struct grpc_call *call, enum grpc_status status, const char *text)
{
	if (call->expired) {
		status = GRPC_DEADLINE_EXCEEDED;
		text = "the deadline passed";
	} else if (call->failed) {
		status = call->failed;
		text = call->failed_text;
	}
	loop_timer_stop(&call->deadline);
	loop_defer_cancel(&call->resumed);
	buf_release(&call->pending);
	grpc_reader_release(&call->reader);
	call->ended = true;
	begin(call);
	char num[12];
	struct http_header t[2];
	t[0] = (struct http_header){ STR("grpc-status"), { num, (size_t)snprintf(num, sizeof(num), "%d", (int)status) } };
	struct buf msg;
	buf_init(&msg, 1024);
	if (text)
		grpc_message_encode(&msg, str_of(text));
	t[1] = (struct http_header){ STR("grpc-message"), buf_str(&msg) };
	http_reply_end(call->req, t, text && !buf_failed(&msg) ? 2 : 1);
	buf_release(&msg);
}

static int send_msg(struct grpc_call *call, struct str msg)
{
	struct grpc_server *g = call->server;
	if (msg.n > g->max_message)
		return HCP_ELIMIT;
	uint8_t prefix[GRPC_PREFIX_BYTES];
	grpc_prefix(prefix, (uint32_t)msg.n);
	buf_clear(&g->scratch);
	buf_add(&g->scratch, prefix, sizeof(prefix));
	buf_adds(&g->scratch, msg);
	int rc = buf_failed(&g->scratch) ? HCP_ENOMEM : http_reply_write(call->req, buf_str(&g->scratch));
	if (buf_failed(&g->scratch) || g->scratch.cap > 64 << 10)
		buf_release(&g->scratch);
	g->scratch.failed = false;
	return rc;
}

void grpc_reply(struct grpc_call *call, enum grpc_status status, const char *text, struct str msg)
{
	must(call->method->unary && !call->ended);
	if (status == GRPC_OK && !call->gone && !call->expired && !call->failed) {
		begin(call);
		int rc = send_msg(call, msg);
		if (rc < 0 && rc != HCP_EAGAIN && rc != HCP_ECLOSED) {
			status = GRPC_RESOURCE_EXHAUSTED;
			text = "the answer is larger than the limit";
		}
	}
	finish(call, status, text);
}

int grpc_stream_send(struct grpc_call *call, struct str msg)
{
	must(call->method->stream && !call->ended);
	if (call->gone || call->expired)
		return HCP_ECLOSED;
	begin(call);
	return send_msg(call, msg);
}

void grpc_stream_finish(struct grpc_call *call, enum grpc_status status, const char *text)
{
	must(call->method->stream && !call->ended);
	finish(call, status, text);
}

/* ---- reading ---- */

static void tell_gone(struct grpc_call *call)
{
	if (call->told || call->ended)
		return;
	call->told = true;
	if (call->method->stream)
		call->method->stream->on_close(call, call->method->arg);
	/* A unary call whose handler has not run yet ends here: nobody else would. */
	else if (!call->reading_over)
		finish(call, GRPC_CANCELLED, NULL);
}

static void on_gone(struct http_req *req)
{
	struct grpc_call *call = req->user;
	call->gone = true;
	tell_gone(call);
}

static void on_drain(struct http_req *req)
{
	struct grpc_call *call = req->user;
	if (call->method->stream && call->method->stream->on_drain)
		call->method->stream->on_drain(call, call->method->arg);
}

static void on_deadline(struct loop *loop, void *arg)
{
	struct grpc_call *call = arg;
	call->expired = true;
	tell_gone(call);
}

static bool take_message(void *arg, struct str msg)
{
	struct grpc_call *call = arg;
	if (call->method->stream) {
		call->method->stream->on_message(call, call->method->arg, msg);
		return !call->ended && !call->told;
	}
	if (call->has_msg) {
		call->failed = GRPC_UNIMPLEMENTED;
		call->failed_text = "a unary call has one message";
		return true;
	}
	char *own = arena_dup(call->req->arena, msg.p, msg.n);
	call->has_msg = true;
	if (!own) {
		call->failed = GRPC_RESOURCE_EXHAUSTED;
		call->failed_text = "no memory for the message";
		return true;
	}
	call->msg = (struct str){ own, msg.n };
	return true;
}

/* A broken stream: the handler is told once, and its finish carries our status. */
static void fail(struct grpc_call *call, enum grpc_status status, const char *text)
{
	call->failed = status;
	call->failed_text = text;
	tell_gone(call);
}

static void read_piece(struct grpc_call *call, struct str piece)
{
	if (call->told || call->ended || call->failed)
		return;
	int rc = grpc_reader_feed(&call->reader, piece.p, piece.n, take_message, call);
	if (rc == 0 || rc == HCP_ECANCELED)
		return;
	if (rc == HCP_ELIMIT || rc == HCP_ENOMEM)
		fail(call, GRPC_RESOURCE_EXHAUSTED, "the message is larger than the limit");
	else if (rc == HCP_EUNSUPPORTED)
		fail(call, GRPC_UNIMPLEMENTED, "compressed messages are not offered");
	else
		fail(call, GRPC_INTERNAL, "malformed message prefix");
}

static void on_data(struct http_req *req, struct str piece)
{
	struct grpc_call *call = req->user;
	if (!call->paused && call->pending.n == 0) {
		http_req_consume(req, piece.n);
		read_piece(call, piece);
		return;
	}
	if (call->told || call->ended || call->failed) {
		http_req_consume(req, piece.n);
		return;
	}
	buf_adds(&call->pending, piece);
	if (buf_failed(&call->pending))
		fail(call, GRPC_RESOURCE_EXHAUSTED, "no memory for the message");
}

static void on_end(struct http_req *req)
{
	struct grpc_call *call = req->user;
	if (call->told || call->ended)
		return;
	if (call->paused || call->pending.n > 0) {
		call->end_seen = true;
		return;
	}
	if (!grpc_reader_at_end(&call->reader)) {
		fail(call, GRPC_INTERNAL, "the last message is cut short");
		return;
	}
	if (call->method->stream) {
		if (call->method->stream->on_half_close)
			call->method->stream->on_half_close(call, call->method->arg);
		return;
	}
	if (!call->has_msg || call->failed) {
		if (!call->failed)
			fail(call, GRPC_UNIMPLEMENTED, "a unary call has one message");
		else
			tell_gone(call);
		return;
	}
	call->reading_over = true;
	call->method->unary(call, call->msg, call->method->arg);
}

static void on_resumed(struct loop *loop, void *arg)
{
	struct grpc_call *call = arg;
	if (call->paused)
		return;
	struct buf own = call->pending;
	buf_init(&call->pending, 0);
	if (own.n > 0) {
		http_req_consume(call->req, own.n);
		read_piece(call, buf_str(&own));
	}
	buf_release(&own);
	if (call->end_seen && !call->ended && !call->paused) {
		call->end_seen = false;
		on_end(call->req);
	}
}

void grpc_call_pause(struct grpc_call *call)
{
	must(call->method->stream && !call->ended);
	call->paused = true;
}

void grpc_call_resume(struct grpc_call *call)
{
	must(call->method->stream && !call->ended);
	call->paused = false;
	if (call->pending.n > 0 || call->end_seen)
		loop_defer(call->req->loop, &call->resumed);
}

static const struct http_body_ops body_ops = { .on_data = on_data, .on_end = on_end };

static void refuse(struct http_req *req, enum grpc_status status, const char *text)
{
	char num[12];
	struct http_header type = { STR("content-type"), STR("application/grpc") };
	struct http_header t[2] = {
		{ STR("grpc-status"), { num, (size_t)snprintf(num, sizeof(num), "%d", (int)status) } },
		{ STR("grpc-message"), str_of(text) },
	};
	http_reply_begin(req, 200, &type, 1);
	http_reply_end(req, t, 2);
}

static bool is_grpc(const struct http_req *req)
{
	struct str type = http_req_header(req, "content-type");
	struct str want = STR("application/grpc");
	return str_starts(type, want) && (type.n == want.n || type.p[want.n] == '+' || type.p[want.n] == ';');
}

static bool on_head(struct http_req *req, void *arg)
{
	struct grpc_server *g = arg;
	if (req->version_major != 2 || !is_grpc(req))
		return false;
	const struct grpc_method *m = map_get(&g->paths, req->path);
	if (!m || req->method != HTTP_M_POST) {
		refuse(req, GRPC_UNIMPLEMENTED, "no such method");
		return true;
	}
	struct str timeout = http_req_header(req, "grpc-timeout");
	int64_t left_ns = 0;
	if (timeout.p && grpc_timeout_parse(timeout, &left_ns) < 0) {
		refuse(req, GRPC_INVALID_ARGUMENT, "malformed grpc-timeout");
		return true;
	}
	struct grpc_call *call = arena_calloc(req->arena, sizeof(*call));
	if (!call) {
		refuse(req, GRPC_RESOURCE_EXHAUSTED, "no memory for the call");
		return true;
	}
	call->req = req;
	call->server = g;
	call->method = m;
	call->deadline_ns = timeout.p ? loop_now_ns(req->loop) + left_ns : INT64_MAX;
	grpc_reader_init(&call->reader, g->max_message);
	buf_init(&call->pending, 0);
	loop_defer_init(&call->resumed, on_resumed, call);
	loop_timer_init(&call->deadline, req->loop, on_deadline, call);
	if (timeout.p)
		loop_timer_start(&call->deadline, (uint64_t)left_ns / 1000000);
	req->user = call;
	req->on_gone = on_gone;
	req->on_drain = on_drain;
	http_req_stream_body(req, &body_ops);
	if (m->stream && m->stream->on_open)
		m->stream->on_open(call, m->arg);
	return true;
}

/* ---- life and small things ---- */

int grpc_server_new(struct http_server *http, const struct grpc_server_conf *conf, const struct grpc_method *methods,
	size_t n, struct grpc_server **ret_server, struct err *err)
{
	struct grpc_server *g = mem_calloc(1, sizeof(*g));
	if (!g)
		return err_set(err, HCP_ENOMEM, "grpc", "no memory for a server");
	map_init(&g->paths);
	buf_init(&g->scratch, 0);
	g->max_message = conf && conf->max_message_bytes ? conf->max_message_bytes : GRPC_MESSAGE_BYTES;
	for (size_t i = 0; i < n; i++) {
		must(!methods[i].unary != !methods[i].stream);
		/* The table is only read; the map holds plain pointers. */
		if (map_put(&g->paths, str_of(methods[i].path), (void *)(uintptr_t)&methods[i], NULL) < 0) {
			grpc_server_free(g);
			return err_set(err, HCP_ENOMEM, "grpc", "no memory for the service table");
		}
	}
	http_server_set_head_handler(http, on_head, g);
	*ret_server = g;
	return 0;
}

void grpc_server_free(struct grpc_server *server)
{
	if (!server)
		return;
	map_release(&server->paths);
	buf_release(&server->scratch);
	mem_free(server);
}

struct str grpc_call_metadata(const struct grpc_call *call, const char *name)
{
	return http_req_header(call->req, name);
}

const struct http_req *grpc_call_req(const struct grpc_call *call)
{
	return call->req;
}

int64_t grpc_call_deadline_ns(const struct grpc_call *call)
{
	return call->deadline_ns;
}

bool grpc_call_gone(const struct grpc_call *call)
{
	return call->gone || call->expired || call->failed;
}

void grpc_call_set_user(struct grpc_call *call, void *user)
{
	call->user = user;
}

void *grpc_call_user(const struct grpc_call *call)
{
	return call->user;
}
