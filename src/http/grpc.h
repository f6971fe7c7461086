#ifndef HCP_HTTP_GRPC_H
#define HCP_HTTP_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "http/http_server.h"

struct loop;
struct tls_ctx;

/* gRPC over HTTP/2 (doc/PROTOCOL-HTTP2.md of grpc). Messages are opaque bytes, not compressed. */
enum grpc_status {
	GRPC_OK = 0, GRPC_CANCELLED = 1, GRPC_UNKNOWN = 2, GRPC_INVALID_ARGUMENT = 3, GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_NOT_FOUND = 5, GRPC_ALREADY_EXISTS = 6, GRPC_PERMISSION_DENIED = 7, GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_FAILED_PRECONDITION = 9, GRPC_ABORTED = 10, GRPC_OUT_OF_RANGE = 11, GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13, GRPC_UNAVAILABLE = 14, GRPC_DATA_LOSS = 15, GRPC_UNAUTHENTICATED = 16,
};

enum { GRPC_MESSAGE_BYTES = 4 << 20 /* default limit of one message */ };

/* Nearest HCP_E… of a status and back. */
int grpc_status_to_err(enum grpc_status status);
enum grpc_status grpc_status_of_err(int code);

/* ---- server ---- */

struct grpc_server;
/* A running call of either kind. The server owns it until grpc_reply or grpc_stream_finish, which must come once,
 * also after on_close / gone. */
struct grpc_call;

typedef void grpc_unary_fn(struct grpc_call *call, struct str msg, void *arg);

struct grpc_stream_ops {
	void (*on_open)(struct grpc_call *call, void *arg);
	/* msg is borrowed until return. */
	void (*on_message)(struct grpc_call *call, void *arg, struct str msg);
	void (*on_half_close)(struct grpc_call *call, void *arg); /* the client will send no more */
	void (*on_drain)(struct grpc_call *call, void *arg);      /* after HCP_EAGAIN; may be NULL */
	/* The client went away or the deadline passed before grpc_stream_finish, which is still to be called. */
	void (*on_close)(struct grpc_call *call, void *arg);
};

/* One row of the service table; exactly one of unary and stream is set. */
struct grpc_method {
	const char *path; /* "/hcp.router.v1.Router/Submit" */
	grpc_unary_fn *unary;
	const struct grpc_stream_ops *stream;
	void *arg;
};

struct grpc_server_conf {
	size_t max_message_bytes; /* 0: GRPC_MESSAGE_BYTES */
};

/* methods is borrowed and outlives the server. Becomes the head handler of http; freed with it by grpc_server_free. */
int grpc_server_new(struct http_server *http, const struct grpc_server_conf *conf, const struct grpc_method *methods,
	size_t n, struct grpc_server **ret_server, struct err *err) MUST_CHECK;
/* After the http server was freed and the loop has closed its connections. */
void grpc_server_free(struct grpc_server *server);

/* Metadata the client sent ("authorization", "traceparent"); {NULL,0} if absent. */
struct str grpc_call_metadata(const struct grpc_call *call, const char *name);
const struct http_req *grpc_call_req(const struct grpc_call *call);
/* loop_now_ns at which the caller gives up; INT64_MAX: never. */
int64_t grpc_call_deadline_ns(const struct grpc_call *call);
bool grpc_call_gone(const struct grpc_call *call);
void grpc_call_set_user(struct grpc_call *call, void *user);
void *grpc_call_user(const struct grpc_call *call);
/* Ends a unary call. text is for people, may be NULL; msg counts with GRPC_OK only. */
void grpc_reply(struct grpc_call *call, enum grpc_status status, const char *text, struct str msg);
/* As http_reply_write: 0, HCP_EAGAIN (taken; wait for on_drain), HCP_ELIMIT, HCP_ECLOSED. */
int grpc_stream_send(struct grpc_call *call, struct str msg) MUST_CHECK;
void grpc_stream_finish(struct grpc_call *call, enum grpc_status status, const char *text);

/*
 * Backpressure of a stream's receiving side: the HTTP/2 window is not opened further until resumed. Messages of the
 * piece that is being read may still come after grpc_call_pause; none comes from inside grpc_call_resume.
 */
void grpc_call_pause(struct grpc_call *call);
void grpc_call_resume(struct grpc_call *call);

/* ---- client ---- */

struct grpc_client;
struct grpc_rpc;

struct grpc_client_conf {
	const char *host;
	uint16_t port;
	struct tls_ctx *tls;          /* made with alpn "h2"; NULL: h2c */
	const char *tls_name;
	uint32_t connect_timeout_ms;  /* 0: 5000 */
	uint32_t keepalive_ms;        /* PING when nothing came for so long; 0: 20000 */
	uint32_t keepalive_timeout_ms;/* 0: 10000 */
	uint32_t backoff_min_ms;      /* 0: 100 */
	uint32_t backoff_max_ms;      /* 0: 30000 */
	size_t max_message_bytes;     /* 0: GRPC_MESSAGE_BYTES */
	size_t max_calls;             /* open and waiting; 0: 1024 */
	size_t max_queue_bytes;       /* unsent bytes of one stream; 0: 4 MiB */
	double (*jitter)(void *arg);  /* uniform in [0, 1); NULL: none */
	void *jitter_arg;
	/* up: connected, and the server has spoken. Not up: err tells why; the client tries again. May be NULL. */
	void (*on_state)(void *arg, bool up, const struct err *err);
	void *arg;
};

/* Connects at once and keeps reconnecting. */
int grpc_client_new(struct loop *loop, const struct grpc_client_conf *conf, struct grpc_client **ret_client,
	struct err *err) MUST_CHECK;
/* Cancels all calls without callbacks. NULL is fine. */
void grpc_client_free(struct grpc_client *client);
bool grpc_client_up(const struct grpc_client *client);

/* text and msg are borrowed until return. */
typedef void grpc_done_fn(void *arg, enum grpc_status status, struct str text, struct str msg);

/* cb comes exactly once, never from inside this call; calls made while disconnected wait until the deadline
 * (0: 30000). ret_rpc may be NULL. */
int grpc_call(struct grpc_client *client, const char *path, const struct http_header *metadata, size_t n,
	struct str msg, uint32_t deadline_ms, grpc_done_fn *cb, void *arg, struct grpc_rpc **ret_rpc, struct err *err)
	MUST_CHECK;

struct grpc_rpc_ops {
	void (*on_message)(struct grpc_rpc *rpc, void *arg, struct str msg);
	void (*on_drain)(struct grpc_rpc *rpc, void *arg); /* may be NULL */
	/* Last call; the memory is gone afterwards. */
	void (*on_close)(struct grpc_rpc *rpc, void *arg, enum grpc_status status, struct str text);
};

/* Fails with HCP_EUNAVAIL when not connected. deadline_ms 0: none. */
int grpc_stream_open(struct grpc_client *client, const char *path, const struct http_header *metadata, size_t n,
	uint32_t deadline_ms, const struct grpc_rpc_ops *ops, void *arg, struct grpc_rpc **ret_rpc, struct err *err)
	MUST_CHECK;
/* 0; HCP_EAGAIN: taken, wait for on_drain; HCP_ELIMIT: not taken. */
int grpc_rpc_send(struct grpc_rpc *rpc, struct str msg) MUST_CHECK;
/* Half-close: nothing more will be sent. */
void grpc_rpc_end(struct grpc_rpc *rpc);
/* RST_STREAM(CANCEL); no callback comes any more. */
void grpc_rpc_cancel(struct grpc_rpc *rpc);

#endif
