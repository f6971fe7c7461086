#ifndef HCP_HTTP_WS_H
#define HCP_HTTP_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "http/http_server.h"

struct loop;
struct tls_ctx;
struct ws;
struct ws_frame;

enum ws_opcode { WS_TEXT = 1, WS_BINARY = 2 };

enum ws_code {
	WS_NORMAL = 1000,
	WS_GOING_AWAY = 1001,
	WS_PROTOCOL = 1002,
	WS_ABNORMAL = 1006,
	WS_BAD_DATA = 1007,
	WS_POLICY = 1008,
	WS_TOO_BIG = 1009,
	WS_INTERNAL = 1011,
	WS_TRY_LATER = 1013,
};

/* The loop owns a ws: on_close is the last callback, afterwards the memory is gone. */
struct ws_callbacks {
	void (*on_open)(struct ws *ws, void *arg); /* client only; may be NULL */
	void (*on_message)(struct ws *ws, void *arg, enum ws_opcode opcode, struct str msg);
	void (*on_drain)(struct ws *ws, void *arg); /* the send queue is empty again; may be NULL */
	void (*on_close)(struct ws *ws, void *arg, int code, struct str reason);
};

struct ws_conf {
	size_t max_message_bytes; /* 0: 1 MiB; beyond: close 1009 */
	size_t max_queue_bytes;   /* unsent; beyond: the slow consumer is closed with 1013. 0: 1 MiB */
	uint32_t ping_ms;         /* heartbeat; a peer silent for two of them is closed. 0: 30000 */
	const char *protocol;     /* chosen subprotocol; NULL: none */
};

/*
 * Upgrades the request (which is released by this) and makes a WebSocket of its connection. HCP_EPROTO: not a valid
 * upgrade; the request then has still to be answered (400 or 426). conf may be NULL. HTTP/1.1 only.
 */
int ws_accept(struct http_req *req, const struct ws_conf *conf, const struct ws_callbacks *cb, void *arg,
	struct ws **ret_ws, struct err *err) MUST_CHECK;

struct ws_client_conf {
	const char *host;
	uint16_t port;
	const char *path;      /* with query */
	struct tls_ctx *tls;   /* NULL: plain */
	const struct http_header *headers; /* additional */
	size_t n_headers;
	struct ws_conf ws;
	uint32_t timeout_ms;   /* connect and handshake; 0: 10000 */
	/* Masking keys and the handshake nonce; NULL: the TLS library's generator. */
	void (*entropy)(void *arg, void *p, size_t n);
	void *entropy_arg;
};

/* A failed handshake arrives in on_close with WS_ABNORMAL. */
int ws_connect(struct loop *loop, const struct ws_client_conf *conf, const struct ws_callbacks *cb, void *arg,
	struct ws **ret_ws, struct err *err) MUST_CHECK;

/* HCP_ECLOSED; HCP_ELIMIT: the queue was full, the ws is being closed with 1013. */
int ws_send(struct ws *ws, enum ws_opcode opcode, struct str msg) MUST_CHECK;

/* One message framed once for many clients (server side). Reference-counted; not thread-safe. */
struct ws_frame *ws_frame_new(enum ws_opcode opcode, struct str msg);
struct ws_frame *ws_frame_ref(struct ws_frame *f);
void ws_frame_unref(struct ws_frame *f);
int ws_send_frame(struct ws *ws, struct ws_frame *f) MUST_CHECK;

size_t ws_queued(const struct ws *ws);
/* Sends a close frame; on_close comes when the peer answers or 5 s have passed. */
void ws_close(struct ws *ws, int code, const char *reason);
void ws_set_arg(struct ws *ws, void *arg);

#endif
