#ifndef HCP_HTTP_HTTP_CLIENT_H
#define HCP_HTTP_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "http/http_server.h" /* struct http_header */

struct loop;
struct http_client;
struct http_call;

/*
 * An HTTP/1.1 client with kept-alive connections per origin, on one loop. For calls to one's own backends
 * (inference runtimes, proxies); libcurl serves where the whole of HTTP is needed.
 */
struct http_client_conf {
	const char *ca_file;          /* for https; NULL: the system's store */
	const char *cert_file, *key_file; /* client certificate; NULL: none */
	bool no_verify;               /* tests only */
	bool public_only;             /* connects to public addresses only, see loop/address.h; calls fail with HCP_EPERM */
	const char *unix_path;        /* connect to this socket whatever the URL names; borrowed; NULL: none */
	size_t max_conns_per_origin;  /* 0: 64; further calls wait */
	size_t max_waiting;           /* calls waiting for a connection, all origins; 0: 4096 */
	size_t max_head_bytes;        /* 0: 64 KiB */
	uint32_t connect_timeout_ms;  /* 0: 5000 */
	uint32_t idle_timeout_ms;     /* of a kept connection; 0: 30000 */
};

struct http_response {
	int status;
	size_t n_headers;
	const struct http_header *headers;
	struct str body; /* complete; empty when on_body took it */
};

/* First header of that name (ASCII case-insensitive); {NULL,0} if absent. */
struct str http_response_header(const struct http_response *r, const char *name);

struct http_call_conf {
	const char *method;    /* "GET" */
	const char *url;       /* http://host:port/path?query or https://… */
	const struct http_header *headers; /* host, content-length, connection are ours */
	size_t n_headers;
	struct str body;       /* copied */
	uint32_t deadline_ms;  /* from now to the end of the body; 0: 30000 */
	size_t max_body_bytes; /* 0: 16 MiB; for on_body: 0 means no limit */
	bool no_retry;         /* a kept connection that the server closed before it answered is tried once more for GET,
	                          HEAD, PUT, DELETE and OPTIONS, unless this is set */
	/* Optional: the head, then body pieces as they come. */
	void (*on_head)(void *arg, const struct http_response *r);
	void (*on_body)(void *arg, struct str piece);
	/*
	 * Exactly once, unless the call is cancelled. code 0: r holds the answer, of any status. Otherwise r is NULL and
	 * err tells. Everything in r is borrowed until return.
	 */
	void (*on_done)(void *arg, int code, const struct http_response *r, const struct err *err);
	void *arg;
};

int http_client_new(struct loop *loop, const struct http_client_conf *conf, struct http_client **ret_client,
	struct err *err) MUST_CHECK;
/* Cancels all calls (no on_done) and closes all connections. NULL is fine. */
void http_client_free(struct http_client *client);
/* on_done never comes from inside this call. ret_call may be NULL. HCP_ELIMIT: too many wait. */
int http_call_start(struct http_client *client, const struct http_call_conf *conf, struct http_call **ret_call,
	struct err *err) MUST_CHECK;
/* No callback comes any more. Only before on_done (not from within it). */
void http_call_cancel(struct http_call *call);
/* Backpressure for on_body. */
void http_call_pause(struct http_call *call);
void http_call_resume(struct http_call *call);

#endif
