#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/panic.h"
#include "http/grpc.h"
#include "http/http_server.h"
#include "http/ws.h"
#include "loop/loop.h"
#include "loop/stream.h"

/*
 * Bytes to a real server over loopback: HTTP/1, HTTP/2, gRPC and, after an upgrade, WebSocket frames. The first
 * byte chooses how they are cut and what stands before them.
 */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void ws_message(struct ws *ws, void *arg, enum ws_opcode opcode, struct str msg)
{
	(void)!ws_send(ws, opcode, msg);
}

static void ws_closed(struct ws *ws, void *arg, int code, struct str reason)
{
}

static const struct ws_callbacks ws_cb = { .on_message = ws_message, .on_close = ws_closed };

static void handle(struct http_req *req, void *arg)
{
	struct ws *ws;
	if (str_starts(req->path, STR("/ws")) && ws_accept(req, NULL, &ws_cb, NULL, &ws, NULL) == 0)
		return;
	if (str_starts(req->path, STR("/s"))) {
		http_reply_begin(req, 200, NULL, 0);
		(void)!http_reply_write(req, req->path);
		http_reply_end(req, NULL, 0);
		return;
	}
	http_reply(req, 200, req->headers, req->n_headers < 4 ? req->n_headers : 4, req->body);
}

static void unary(struct grpc_call *call, struct str msg, void *arg)
{
	grpc_reply(call, GRPC_OK, NULL, msg);
}

static const struct grpc_method methods[] = { { "/t", unary, NULL, NULL } };

static void c_data(struct stream *s, void *arg, const uint8_t *p, size_t n)
{
}

static void c_close(struct stream *s, void *arg, int code, const char *why)
{
	*(bool *)arg = true;
}

static const struct stream_ops ops = { .on_data = c_data, .on_close = c_close };

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 1 || n > 20000)
		return 0;
	struct loop *loop;
	struct http_server *http;
	struct grpc_server *grpc;
	struct loop_conf lc = { .max_posts = 4 };
	struct http_server_conf conf = { .max_body_bytes = 4096, .max_head_bytes = 2048 };
	must(loop_new(&lc, &loop, NULL) == 0 && http_server_new(loop, &conf, handle, NULL, &http, NULL) == 0);
	must(grpc_server_new(http, NULL, methods, 1, &grpc, NULL) == 0);
	bool closed = false;
	struct stream_conf sc = { .ops = &ops, .arg = &closed };
	struct stream *s;
	must(stream_connect(loop, "127.0.0.1", http_server_port(http), &sc, &s, NULL) == 0);
	static const char upgrade[] = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	int before = p[0] >> 6;
	if (before == 1)
		(void)!stream_write(s, upgrade, sizeof(upgrade) - 1);
	if (before == 2)
		(void)!stream_write(s, preface, sizeof(preface) - 1);
	size_t cut = (size_t)(p[0] & 63) * 16 + 16;
	for (size_t at = 1; at < n && !closed; at += cut) {
		if (stream_write(s, p + at, cut < n - at ? cut : n - at) < 0)
			break;
		loop_turn(loop, 0);
	}
	if (!closed)
		stream_close(s);
	for (int i = 0; i < 10 && !closed; i++)
		loop_turn(loop, 1);
	http_server_free(http);
	loop_free(loop);
	grpc_server_free(grpc);
	return 0;
}
