#ifndef HCP_HTTP_HTTP_SERVER_H
#define HCP_HTTP_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct identity;
struct loop;
struct stream;
struct http_server;
struct tls_ctx;

enum http_verb {
	HTTP_M_GET, HTTP_M_HEAD, HTTP_M_POST, HTTP_M_PUT, HTTP_M_PATCH, HTTP_M_DELETE, HTTP_M_OPTIONS, HTTP_M_OTHER,
};

struct http_header {
	struct str name; /* lower case when sent over HTTP/2, as given over HTTP/1.1 */
	struct str value;
};

enum {
	HTTP_MAX_HEADERS = 64,            /* of a request; more are refused with 431 */
	HTTP_PIPELINE = 64,               /* unanswered requests of one HTTP/1.1 connection; reading waits beyond */
	HTTP_MAX_STREAMS = 256,           /* concurrent streams of one HTTP/2 connection */
};

/*
 * A request, valid until it is answered. EVERY request handed to a handler is answered exactly once, by http_reply
 * or by http_reply_begin … http_reply_end, also after on_gone: answers to a client that is gone do nothing but
 * release the request. All strings are borrowed from it.
 */
struct http_req {
	enum http_verb method;
	struct str method_name;
	struct str path;  /* as sent, percent-encoded, without the query */
	struct str query; /* after '?', or empty */
	struct str body;  /* complete */
	struct str authority; /* Host or :authority */
	const char *peer; /* "address:port" */
	const struct identity *identity; /* of the verified client certificate; NULL: none */
	uint8_t version_major, version_minor;
	bool tls;
	bool gone;        /* the client is away: stop working for it */
	struct loop *loop;
	struct arena *arena; /* dies with the request; for the handler's own use */
	void *user;       /* the handler's */
	size_t n_headers;
	const struct http_header *headers;
	/* Called at most once if the client goes before the answer is complete; the request must still be answered. */
	void (*on_gone)(struct http_req *req);
	/*
	 * HTTP/1.1: the client has ended its sending side. Most that do so are gone, a few still read; the answer will be
	 * sent. A handler whose work is dear ends it with http_reply_abort.
	 */
	void (*on_half_close)(struct http_req *req);
	/* Streaming answers: the send queue has fallen below half its limit. */
	void (*on_drain)(struct http_req *req);
};

typedef void http_handler_fn(struct http_req *req, void *arg);

/*
 * Body by pieces instead of in one. Set by the head handler. HTTP/2 flow control opens the window only by
 * http_req_consume; over HTTP/1.1 reading pauses while more than 256 KiB are not consumed.
 */
struct http_body_ops {
	void (*on_data)(struct http_req *req, struct str piece);
	void (*on_end)(struct http_req *req);
};
/* Called when the head is complete and before any body. Returns true if it took the request. */
typedef bool http_head_fn(struct http_req *req, void *arg);

struct http_server_conf {
	const char *host;      /* NULL: 127.0.0.1 */
	uint16_t port;         /* 0: any free one, see http_server_port */
	bool reuse_port;
	const char *cert_file; /* PEM; NULL: plain */
	const char *key_file;
	struct tls_ctx *tls;   /* instead of the files, made with alpn "h2,http/1.1"; referenced */
	/* A client that got no further than the TLS handshake: HCP_E… and a sentence. May be NULL. */
	void (*on_failed)(void *arg, const char *peer, int code, const char *why);
	size_t max_connections;/* 0: 10000 */
	size_t max_head_bytes; /* 0: 16 KiB */
	size_t max_body_bytes; /* 0: 1 MiB */
	size_t max_queue_bytes;/* unsent answer bytes of a connection; 0: 4 MiB */
	uint32_t idle_timeout_ms;   /* 0: 60000 */
	uint32_t header_timeout_ms; /* first byte of a head to its end; 0: 10000 */
	uint32_t body_timeout_ms;   /* end of head to end of body; 0: 30000 */
	uint32_t write_timeout_ms;  /* a client that takes nothing of its answer for so long is cut; 0: 30000 */
};

/* On the loop's thread, like everything here. conf is copied. */
int http_server_new(struct loop *loop, const struct http_server_conf *conf, http_handler_fn *handler, void *arg,
	struct http_server **ret_server, struct err *err) MUST_CHECK;
/* For gRPC and streamed uploads; called before the handler, which gets what it does not take. */
void http_server_set_head_handler(struct http_server *server, http_head_fn *fn, void *arg);
uint16_t http_server_port(const struct http_server *server);
size_t http_server_connections(const struct http_server *server);
/* Stops accepting, closes idle connections, lets running requests end (connection: close / GOAWAY). */
void http_server_drain(struct http_server *server);
/* Aborts all connections; memory goes when the loop has closed them and all requests are answered. NULL is fine. */
void http_server_free(struct http_server *server);

/* First header of that name (ASCII case-insensitive); {NULL,0} if absent. */
struct str http_req_header(const struct http_req *req, const char *name);

/*
 * Complete answer; content-length is added, and content-type application/json if hdrs has none and body is not
 * empty. body and hdrs are copied. Errors (memory, queue limit) close the connection by themselves.
 */
void http_reply(struct http_req *req, int status, const struct http_header *hdrs, size_t n, struct str body);
/* An RFC 9457 problem: {"type":"about:blank","title":…,"status":…,"code":…,"detail":…}. */
void http_reply_problem(struct http_req *req, int status, const char *code, struct str detail);
/* A streamed answer (chunked in HTTP/1.1, DATA in HTTP/2). */
void http_reply_begin(struct http_req *req, int status, const struct http_header *hdrs, size_t n);
/* 0; HCP_ECLOSED when gone; HCP_EAGAIN: taken, but the queue is over half full: wait for on_drain;
 * HCP_ELIMIT: not taken. */
int http_reply_write(struct http_req *req, struct str piece) MUST_CHECK;
size_t http_reply_queued(const struct http_req *req);
/* Ends and releases the request. Trailers go out over HTTP/2 only; n = 0: none. */
void http_reply_end(struct http_req *req, const struct http_header *trailers, size_t n);
/* Cuts the answer short so that the client notices (RST_STREAM, closed connection); releases the request. */
void http_reply_abort(struct http_req *req);

/* For the head handler: take the body by pieces. */
void http_req_stream_body(struct http_req *req, const struct http_body_ops *ops);
void http_req_consume(struct http_req *req, size_t n);

const char *http_status_text(int status);

#endif
