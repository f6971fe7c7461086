/*
 * Our side for the tests against other implementations (tests/it/test_grpc_peer.py):
 *   net_peer serve          gRPC /t.T/Echo (unary), /t.T/Chat (bidi echo), /t.T/Fail; any GET upgrade: WebSocket echo
 *   net_peer call PORT TEXT one unary call of /t.T/Echo; prints "status message"
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/grpc.h"
#include "http/ws.h"
#include "loop/loop.h"

static struct loop *loop;

static void on_signal(int sig)
{
	loop_stop(loop);
}

static void echo(struct grpc_call *call, struct str msg, void *arg)
{
	struct str md = grpc_call_metadata(call, "x-say");
	grpc_reply(call, GRPC_OK, NULL, md.p ? md : msg);
}

static void refuse(struct grpc_call *call, struct str msg, void *arg)
{
	grpc_reply(call, GRPC_FAILED_PRECONDITION, "not now: 50%", STR(""));
}

static void chat_message(struct grpc_call *call, void *arg, struct str msg)
{
	if (grpc_stream_send(call, msg) == HCP_EAGAIN)
		grpc_call_pause(call);
}

static void chat_end(struct grpc_call *call, void *arg)
{
	grpc_stream_finish(call, GRPC_OK, NULL);
}

static void chat_drain(struct grpc_call *call, void *arg)
{
	grpc_call_resume(call);
}

static void chat_close(struct grpc_call *call, void *arg)
{
	grpc_stream_finish(call, GRPC_CANCELLED, NULL);
}

static const struct grpc_stream_ops chat = { NULL, chat_message, chat_end, chat_drain, chat_close };
static const struct grpc_method methods[] = {
	{ "/t.T/Echo", echo, NULL, NULL }, { "/t.T/Fail", refuse, NULL, NULL }, { "/t.T/Chat", NULL, &chat, NULL },
};

static void ws_message(struct ws *ws, void *arg, enum ws_opcode opcode, struct str msg)
{
	if (ws_send(ws, opcode, msg) < 0)
		ws_close(ws, WS_TRY_LATER, "too slow");
}

static void ws_closed(struct ws *ws, void *arg, int code, struct str reason)
{
}

static const struct ws_callbacks ws_cb = { .on_message = ws_message, .on_close = ws_closed };

static void handle(struct http_req *req, void *arg)
{
	struct ws *ws;
	struct err err;
	if (ws_accept(req, NULL, &ws_cb, NULL, &ws, &err) < 0)
		http_reply_problem(req, 400, err_name(err.code), str_of(err.text));
}

static int serve(void)
{
	struct http_server_conf conf = { 0 };
	struct http_server *http;
	struct grpc_server *grpc;
	struct err err;
	if (http_server_new(loop, &conf, handle, NULL, &http, &err) < 0 ||
		grpc_server_new(http, NULL, methods, 3, &grpc, &err) < 0) {
		fprintf(stderr, "%s: %s\n", err.field, err.text);
		return 1;
	}
	signal(SIGTERM, on_signal);
	printf("%u\n", http_server_port(http));
	fflush(stdout);
	loop_run(loop);
	http_server_free(http);
	loop_free(loop);
	grpc_server_free(grpc);
	return 0;
}

static void on_done(void *arg, enum grpc_status status, struct str text, struct str msg)
{
	printf("%d %.*s%.*s\n", (int)status, (int)msg.n, msg.p, (int)text.n, text.p);
	loop_stop(loop);
}

static int call(const char *port, const char *text)
{
	struct grpc_client_conf conf = { .host = "127.0.0.1", .port = (uint16_t)strtoul(port, NULL, 10) };
	struct grpc_client *client;
	struct err err;
	struct http_header md = { STR("x-say"), STR("metadata") };
	if (grpc_client_new(loop, &conf, &client, &err) < 0 ||
		grpc_call(client, "/t.T/Echo", &md, 1, str_of(text), 5000, on_done, NULL, NULL, &err) < 0) {
		fprintf(stderr, "%s: %s\n", err.field, err.text);
		return 1;
	}
	loop_run(loop);
	grpc_client_free(client);
	loop_free(loop);
	return 0;
}

int main(int argc, char **argv)
{
	if (loop_new(NULL, &loop, NULL) < 0)
		return 1;
	if (argc == 2 && strcmp(argv[1], "serve") == 0)
		return serve();
	if (argc == 4 && strcmp(argv[1], "call") == 0)
		return call(argv[2], argv[3]);
	fprintf(stderr, "usage: %s serve | call PORT TEXT\n", argv[0]);
	return 2;
}
