#include "http/ws.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <wslay/wslay.h>

#include "base/mem.h"
#include "base/panic.h"
#include "http/http_priv.h"

enum {
	WS_MESSAGE_BYTES = 1 << 20,
	WS_QUEUE_BYTES = 1 << 20,
	WS_PING_MS = 30000,
	WS_CLOSE_MS = 5000,
	WS_HEAD_BYTES = 16 << 10, /* answer to a client's handshake */
	WS_HEADER_MAX = 14,       /* 2, 8 of length, 4 of mask */
};

/* wslay parses what comes in and answers pings and closes; messages out are framed here, once for many. */
struct ws {
	struct stream *stream;
	wslay_event_context_ptr ctx;
	const struct ws_callbacks *cb;
	void *arg;
	struct ws_conf conf;
	struct loop_timer timer;   /* handshake, heartbeat, close */
	const uint8_t *in;         /* borrowed, while on_data runs */
	size_t in_n;
	int64_t heard_ms;
	int code;                  /* for on_close */
	struct buf reason;
	bool client, open, closing;
	/* client handshake */
	struct buf hello, answer;
	char accept[32];
	void (*entropy)(void *arg, void *p, size_t n);
	void *entropy_arg;
};

struct ws_frame {
	int refs;
	size_t n;
	uint8_t data[];
};

/* Base64 of SHA-1 over the key and the GUID of RFC 6455 1.3. */
static int accept_of(struct str key, char dst[32])
{
	char in[64 + 36];
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned int n;
	if (key.n > 64)
		return HCP_EPROTO;
	memcpy(in, key.p, key.n);
	memcpy(in + key.n, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
	if (EVP_Digest(in, key.n + 36, sum, &n, EVP_sha1(), NULL) != 1)
		return HCP_EINTERNAL;
	EVP_EncodeBlock((unsigned char *)dst, sum, 20);
	return 0;
}

/* ---- wslay callbacks ---- */

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *dst, size_t cap, int flags, void *arg)
{
	struct ws *ws = arg;
	if (ws->in_n == 0) {
		wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	size_t n = ws->in_n < cap ? ws->in_n : cap;
	memcpy(dst, ws->in, n);
	ws->in += n;
	ws->in_n -= n;
	return (ssize_t)n;
}

/* Control frames only. */
static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *p, size_t n, int flags, void *arg)
{
	struct ws *ws = arg;
	if (stream_write(ws->stream, p, n) == 0)
		return (ssize_t)n;
	wslay_event_set_error(ctx, WSLAY_ERR_CALLBACK_FAILURE);
	return -1;
}

static int on_mask(wslay_event_context_ptr ctx, uint8_t *p, size_t n, void *arg)
{
	struct ws *ws = arg;
	if (ws->entropy)
		ws->entropy(ws->entropy_arg, p, n);
	else if (RAND_bytes(p, (int)n) != 1)
		return -1;
	return 0;
}

static void on_msg(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m, void *arg)
{
	struct ws *ws = arg;
	if (m->opcode == WSLAY_CONNECTION_CLOSE) {
		if (!ws->code)
			ws->code = m->status_code ? m->status_code : 1005;
		if (m->msg_length > 2)
			buf_add(&ws->reason, m->msg + 2, m->msg_length - 2);
		return;
	}
	if (ws->closing || wslay_is_ctrl_frame(m->opcode))
		return;
	ws->cb->on_message(ws, ws->arg, m->opcode == WSLAY_TEXT_FRAME ? WS_TEXT : WS_BINARY,
		(struct str){ m->msg_length ? (const char *)m->msg : "", m->msg_length });
}

/* ---- life ---- */

static void ws_abort(struct ws *ws, int code)
{
	if (!ws->code)
		ws->code = code;
	ws->closing = true;
	stream_abort(ws->stream, HCP_ECLOSED, "the WebSocket broke");
}

/* Sends control frames that wslay has queued; the connection ends when both close frames have passed. */
static void pump(struct ws *ws)
{
	if (stream_is_closing(ws->stream))
		return;
	if (wslay_event_want_write(ws->ctx) && wslay_event_send(ws->ctx) != 0) {
		ws_abort(ws, WS_ABNORMAL);
		return;
	}
	if (wslay_event_get_close_sent(ws->ctx))
		ws->closing = true;
	bool over = wslay_event_get_close_sent(ws->ctx) && wslay_event_get_close_received(ws->ctx);
	/* After an error wslay reads no more and has said why in its close frame. */
	if (!over && !(wslay_event_get_close_sent(ws->ctx) && !wslay_event_get_read_enabled(ws->ctx)))
		return;
	if (!ws->code)
		ws->code = wslay_event_get_status_code_sent(ws->ctx);
	stream_close(ws->stream);
}

static void feed(struct ws *ws, const uint8_t *p, size_t n)
{
	ws->heard_ms = loop_turn_ms(stream_loop(ws->stream));
	ws->in = p;
	ws->in_n = n;
	while (ws->in_n > 0 && wslay_event_want_read(ws->ctx) && !stream_is_closing(ws->stream)) {
		int rc = wslay_event_recv(ws->ctx);
		if (rc == WSLAY_ERR_NOMEM || rc == WSLAY_ERR_CALLBACK_FAILURE) {
			ws_abort(ws, WS_INTERNAL);
			break;
		}
		if (rc != 0)
			break;
	}
	ws->in_n = 0;
	pump(ws);
}

static void on_timer(struct loop *loop, void *arg)
{
	struct ws *ws = arg;
	int64_t silent = loop_turn_ms(loop) - ws->heard_ms;
	if (!ws->open || ws->closing || silent >= 2 * (int64_t)ws->conf.ping_ms) {
		ws_abort(ws, WS_ABNORMAL);
		return;
	}
	struct wslay_event_msg ping = { .opcode = WSLAY_PING, .msg = (const uint8_t *)"", .msg_length = 0 };
	if (wslay_event_queue_msg(ws->ctx, &ping) != 0) {
		ws_abort(ws, WS_ABNORMAL);
		return;
	}
	loop_timer_start(&ws->timer, ws->conf.ping_ms);
	pump(ws);
}

static void on_data(struct stream *s, void *arg, const uint8_t *p, size_t n);

static void on_drain(struct stream *s, void *arg)
{
	struct ws *ws = arg;
	if (ws->open && !ws->closing && ws->cb->on_drain)
		ws->cb->on_drain(ws, ws->arg);
}

static void ws_free(struct ws *ws)
{
	loop_timer_stop(&ws->timer);
	if (ws->ctx)
		wslay_event_context_free(ws->ctx);
	buf_release(&ws->reason);
	buf_release(&ws->hello);
	buf_release(&ws->answer);
	mem_free(ws);
}

static void on_close(struct stream *s, void *arg, int code, const char *why)
{
	struct ws *ws = arg;
	if (ws->code <= 0 && why && code)
		buf_addz(&ws->reason, why);
	ws->closing = true;
	ws->cb->on_close(ws, ws->arg, ws->code > 0 ? ws->code : WS_ABNORMAL, buf_str(&ws->reason));
	ws_free(ws);
}

static void on_open(struct stream *s, void *arg);

static const struct stream_ops ws_ops = {
	.on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_close = on_close,
};

static int ws_new(struct loop *loop, const struct ws_conf *conf, bool client, const struct ws_callbacks *cb, void *arg,
	struct ws **ret_ws, struct err *err)
{
	static const struct wslay_event_callbacks callbacks = { .recv_callback = on_recv, .send_callback = on_send,
		.genmask_callback = on_mask, .on_msg_recv_callback = on_msg };
	struct ws *ws = mem_calloc(1, sizeof(*ws));
	if (!ws)
		return err_set(err, HCP_ENOMEM, "ws", "no memory for a WebSocket");
	if (conf)
		ws->conf = *conf;
	struct ws_conf *f = &ws->conf;
	f->max_message_bytes = f->max_message_bytes ? f->max_message_bytes : WS_MESSAGE_BYTES;
	f->max_queue_bytes = f->max_queue_bytes ? f->max_queue_bytes : WS_QUEUE_BYTES;
	f->ping_ms = f->ping_ms ? f->ping_ms : WS_PING_MS;
	ws->cb = cb;
	ws->arg = arg;
	ws->client = client;
	buf_init(&ws->reason, 128);
	buf_init(&ws->hello, 0);
	buf_init(&ws->answer, WS_HEAD_BYTES);
	loop_timer_init(&ws->timer, loop, on_timer, ws);
	int rc = client ? wslay_event_context_client_init(&ws->ctx, &callbacks, ws)
		: wslay_event_context_server_init(&ws->ctx, &callbacks, ws);
	if (rc != 0) {
		ws->ctx = NULL;
		ws_free(ws);
		return err_set(err, HCP_ENOMEM, "ws", "no memory for a WebSocket");
	}
	wslay_event_config_set_max_recv_msg_length(ws->ctx, f->max_message_bytes);
	*ret_ws = ws;
	return 0;
}

static void become_open(struct ws *ws)
{
	ws->open = true;
	ws->heard_ms = loop_turn_ms(stream_loop(ws->stream));
	stream_set_max_queue(ws->stream, ws->conf.max_queue_bytes);
	loop_timer_start(&ws->timer, ws->conf.ping_ms);
}

/* ---- server ---- */

int ws_accept(struct http_req *req, const struct ws_conf *conf, const struct ws_callbacks *cb, void *arg,
	struct ws **ret_ws, struct err *err)
{
	struct req *r = req_of(req);
	struct str key = http_req_header(req, "sec-websocket-key");
	if (req->method != HTTP_M_GET || !r->upgrade || !http_list_has(http_req_header(req, "connection"), "upgrade"))
		return err_set(err, HCP_EPROTO, "upgrade", "GET with upgrade: websocket is wanted");
	if (!str_eqz(http_req_header(req, "sec-websocket-version"), "13"))
		return err_set(err, HCP_EPROTO, "sec-websocket-version", "must be 13");
	if (key.n != 24)
		return err_set(err, HCP_EPROTO, "sec-websocket-key", "must be 16 bytes in base64");
	if (req->gone || !r->conn->stream || stream_is_closing(r->conn->stream))
		return err_set(err, HCP_ECLOSED, "ws", "the client is gone");
	if (r->conn->n_reqs != 1 || r->conn->proto != CONN_H1)
		return err_set(err, HCP_EPROTO, "upgrade", "must not be pipelined behind other requests");
	struct ws *ws;
	int rc = ws_new(req->loop, conf, false, cb, arg, &ws, err);
	if (rc < 0)
		return rc;
	char head[320];
	rc = accept_of(key, ws->accept);
	if (rc == 0) {
		bool proto = ws->conf.protocol != NULL;
		int n = snprintf(head, sizeof(head), "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n"
			"connection: Upgrade\r\nsec-websocket-accept: %s\r\n%s%.64s%s\r\n", ws->accept,
			proto ? "sec-websocket-protocol: " : "", proto ? ws->conf.protocol : "", proto ? "\r\n" : "");
		rc = stream_write(r->conn->stream, head, (size_t)n);
	}
	if (rc < 0) {
		ws_free(ws);
		return err_set(err, rc, "ws", "cannot answer the upgrade");
	}
	ws->conf.protocol = NULL;
	ws->stream = http_take(req, &ws_ops, ws);
	become_open(ws);
	*ret_ws = ws;
	return 0;
}

/* ---- client ---- */

int ws_connect(struct loop *loop, const struct ws_client_conf *conf, const struct ws_callbacks *cb, void *arg,
	struct ws **ret_ws, struct err *err)
{
	struct ws *ws;
	int rc = ws_new(loop, &conf->ws, true, cb, arg, &ws, err);
	if (rc < 0)
		return rc;
	ws->entropy = conf->entropy;
	ws->entropy_arg = conf->entropy_arg;
	uint8_t nonce[16];
	char key[32];
	if (on_mask(NULL, nonce, sizeof(nonce), ws) < 0) {
		ws_free(ws);
		return err_set(err, HCP_EIO, "entropy", "no random numbers");
	}
	EVP_EncodeBlock((unsigned char *)key, nonce, sizeof(nonce));
	rc = accept_of(str_of(key), ws->accept);
	struct buf *b = &ws->hello;
	buf_printf(b, "GET %s HTTP/1.1\r\nhost: %s", conf->path, conf->host);
	if (conf->port != (conf->tls ? 443 : 80))
		buf_printf(b, ":%u", conf->port);
	buf_printf(b, "\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-key: %s\r\n"
		"sec-websocket-version: 13\r\n", key);
	if (conf->ws.protocol)
		buf_printf(b, "sec-websocket-protocol: %s\r\n", conf->ws.protocol);
	for (size_t i = 0; i < conf->n_headers && rc == 0; i++) {
		if (!http_header_clean(&conf->headers[i]))
			rc = err_set(err, HCP_EINVAL, "headers", "a header name or value holds characters that are not allowed");
		buf_adds(b, conf->headers[i].name);
		buf_addz(b, ": ");
		buf_adds(b, conf->headers[i].value);
		buf_addz(b, "\r\n");
	}
	buf_addz(b, "\r\n");
	if (rc == 0 && buf_failed(b))
		rc = err_set(err, HCP_ENOMEM, "ws", "no memory for the handshake");
	uint32_t timeout_ms = conf->timeout_ms ? conf->timeout_ms : 10000;
	struct stream_conf sc = { .ops = &ws_ops, .arg = ws, .tls = conf->tls, .connect_timeout_ms = timeout_ms };
	if (rc == 0)
		rc = stream_connect(loop, conf->host, conf->port, &sc, &ws->stream, err);
	if (rc < 0) {
		ws_free(ws);
		return rc;
	}
	ws->conf.protocol = NULL;
	loop_timer_start(&ws->timer, timeout_ms);
	*ret_ws = ws;
	return 0;
}

static void on_open(struct stream *s, void *arg)
{
	struct ws *ws = arg;
	if (stream_write(s, ws->hello.data, ws->hello.n) < 0)
		ws_abort(ws, WS_ABNORMAL);
}

static void refused(struct ws *ws, const char *why)
{
	ws->code = -1;
	stream_abort(ws->stream, HCP_EPROTO, why);
}

/* The answer's head lies in ws->answer. */
static bool answer_ok(struct ws *ws, size_t head_n)
{
	struct str rest = { ws->answer.data, head_n }, line = str_split(&rest, '\n');
	char why[64];
	if (line.n < 12 || memcmp(line.p, "HTTP/1.1 101", 12) != 0) {
		int n = (int)(line.n < 40 ? line.n : 40);
		snprintf(why, sizeof(why), "no upgrade: %.*s", n, line.p);
		refused(ws, why);
		return false;
	}
	bool accepted = false, upgrade = false;
	while (rest.p) {
		struct str value = str_split(&rest, '\n'), name = str_split(&value, ':');
		if (!value.p)
			continue;
		value = str_trim(value);
		if (str_ieqz(name, "sec-websocket-accept"))
			accepted = str_eqz(value, ws->accept);
		else if (str_ieqz(name, "upgrade"))
			upgrade = str_ieqz(value, "websocket");
		else if (str_ieqz(name, "sec-websocket-extensions")) {
			refused(ws, "the server chose an extension that was not offered");
			return false;
		}
	}
	if (accepted && upgrade)
		return true;
	refused(ws, "the server's handshake is wrong");
	return false;
}

static void on_data(struct stream *s, void *arg, const uint8_t *p, size_t n)
{
	struct ws *ws = arg;
	if (ws->open) {
		feed(ws, p, n);
		return;
	}
	if (!ws->client)
		return;
	buf_add(&ws->answer, p, n);
	if (buf_failed(&ws->answer)) {
		refused(ws, "the server's handshake is too long");
		return;
	}
	const char *end = memmem(ws->answer.data, ws->answer.n, "\r\n\r\n", 4);
	if (!end)
		return;
	size_t head_n = (size_t)(end - ws->answer.data) + 4;
	if (!answer_ok(ws, head_n))
		return;
	become_open(ws);
	if (ws->cb->on_open)
		ws->cb->on_open(ws, ws->arg);
	if (ws->answer.n > head_n && !stream_is_closing(s))
		feed(ws, (const uint8_t *)ws->answer.data + head_n, ws->answer.n - head_n);
	buf_release(&ws->answer);
	buf_release(&ws->hello);
}

/* ---- sending ---- */

static size_t put_header(uint8_t *p, enum ws_opcode opcode, size_t n, bool mask)
{
	uint8_t m = mask ? 0x80 : 0;
	p[0] = (uint8_t)(0x80 | opcode);
	if (n < 126) {
		p[1] = (uint8_t)(m | n);
		return 2;
	}
	if (n < 65536) {
		p[1] = m | 126;
		p[2] = (uint8_t)(n >> 8);
		p[3] = (uint8_t)n;
		return 4;
	}
	p[1] = m | 127;
	for (int i = 0; i < 8; i++)
		p[2 + i] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
	return 10;
}

/* The peer reads more slowly than we write: it is told to come back, and its queue is not let grow. */
static int too_slow(struct ws *ws)
{
	if (stream_is_closing(ws->stream))
		return HCP_ECLOSED;
	stream_set_max_queue(ws->stream, SIZE_MAX);
	ws->code = WS_TRY_LATER;
	ws_close(ws, WS_TRY_LATER, "too slow");
	if (!stream_is_closing(ws->stream))
		stream_close(ws->stream);
	return HCP_ELIMIT;
}

int ws_send(struct ws *ws, enum ws_opcode opcode, struct str msg)
{
	if (!ws->open || ws->closing)
		return HCP_ECLOSED;
	uint8_t *p = (uint8_t *)stream_reserve(ws->stream, msg.n + WS_HEADER_MAX);
	if (!p)
		return too_slow(ws);
	size_t k = put_header(p, opcode, msg.n, ws->client);
	if (ws->client) {
		uint8_t *mask = p + k;
		if (on_mask(ws->ctx, mask, 4, ws) < 0)
			return HCP_EIO;
		k += 4;
		for (size_t i = 0; i < msg.n; i++)
			p[k + i] = (uint8_t)msg.p[i] ^ mask[i & 3];
	} else if (msg.n > 0) {
		memcpy(p + k, msg.p, msg.n);
	}
	stream_commit(ws->stream, k + msg.n);
	return 0;
}

struct ws_frame *ws_frame_new(enum ws_opcode opcode, struct str msg)
{
	struct ws_frame *f = mem_alloc(sizeof(*f) + WS_HEADER_MAX + msg.n);
	if (!f)
		return NULL;
	f->refs = 1;
	size_t k = put_header(f->data, opcode, msg.n, false);
	if (msg.n > 0)
		memcpy(f->data + k, msg.p, msg.n);
	f->n = k + msg.n;
	return f;
}

struct ws_frame *ws_frame_ref(struct ws_frame *f)
{
	f->refs++;
	return f;
}

void ws_frame_unref(struct ws_frame *f)
{
	if (f && --f->refs == 0)
		mem_free(f);
}

int ws_send_frame(struct ws *ws, struct ws_frame *f)
{
	must(!ws->client);
	if (!ws->open || ws->closing)
		return HCP_ECLOSED;
	int rc = stream_write(ws->stream, f->data, f->n);
	return rc < 0 ? too_slow(ws) : 0;
}

size_t ws_queued(const struct ws *ws)
{
	return stream_queued(ws->stream);
}

void ws_close(struct ws *ws, int code, const char *reason)
{
	if (ws->closing)
		return;
	if (!ws->open) {
		ws_abort(ws, WS_ABNORMAL);
		return;
	}
	ws->closing = true;
	size_t n = reason ? strlen(reason) : 0;
	if (wslay_event_queue_close(ws->ctx, (uint16_t)code, (const uint8_t *)reason, n > 123 ? 123 : n) != 0) {
		ws_abort(ws, WS_ABNORMAL);
		return;
	}
	loop_timer_start(&ws->timer, WS_CLOSE_MS);
	pump(ws);
}

void ws_set_arg(struct ws *ws, void *arg)
{
	ws->arg = arg;
}
