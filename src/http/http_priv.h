#ifndef HCP_HTTP_HTTP_PRIV_H
#define HCP_HTTP_HTTP_PRIV_H

#include <http_parser.h>
#include <nghttp2/nghttp2.h>

#include "base/arena.h"
#include "base/list.h"
#include "base/str.h"
#include "http/http_server.h"
#include "loop/loop.h"
#include "loop/stream.h"

enum {
	HTTP_HEAD_BYTES = 16 << 10,
	HTTP_BODY_BYTES = 1 << 20,
	HTTP_QUEUE_BYTES = 4 << 20,
	HTTP_KEEP_REQS = 1024,        /* request objects kept for reuse */
	HTTP_KEEP_BYTES = 16 << 10,   /* buffers larger than this are given back after a request */
	HTTP_IDLE_BYTES = 1 << 10,    /* a stream that stays open keeps so much between messages; there are thousands */
	HTTP_STREAM_WINDOW = 1 << 20, /* HTTP/2 receive windows */
	HTTP_CONN_WINDOW = 8 << 20,
	HTTP_BODIES = 8,              /* buffered bodies of one HTTP/2 connection, in multiples of max_body_bytes */
	HTTP_RESETS_PER_S = 200,      /* stream resets a client may send (rapid reset, CVE-2023-44487) */
	HTTP_UNCONSUMED = 256 << 10,  /* HTTP/1.1 body bytes handed out before reading pauses */
	HTTP_SWEEP_MS = 250,          /* resolution of the timeouts */
};

enum req_state {
	REQ_READING,   /* head or body not complete */
	REQ_RUNNING,   /* with the handler */
	REQ_STREAMING, /* http_reply_begin was called */
	REQ_DONE,      /* answered; its bytes may wait for their turn */
};

struct http_conn;

/* pub comes first: a struct http_req * of the handler is cast back. */
struct req {
	struct http_req pub;
	struct list node;          /* conn->reqs, in order of arrival */
	struct http_conn *conn;    /* borrowed; lives as long as its requests */
	enum req_state state;
	struct arena arena;
	struct buf head;           /* bytes of all strings of the head */
	struct buf body;
	struct buf out;            /* HTTP/1.1: answer waiting for its turn; HTTP/2: DATA not yet sent */
	size_t out_off;
	const struct http_body_ops *body_ops;
	bool handed;               /* the handler has or had it: on_gone may be called */
	bool keep_alive, expect_continue, upgrade, want_drain, gone_told, body_done;
	bool chunked, no_body;     /* of the answer */
	bool out_end, paused;      /* HTTP/2: nothing more comes; the data provider waits */
	int32_t stream_id;         /* HTTP/2 */
	int64_t since_ms;          /* when it began to come */
	size_t unconsumed, n_trailers;
	struct http_header trailers[8];
	struct http_header headers[HTTP_MAX_HEADERS];
};

enum conn_proto { CONN_SNIFF, CONN_H1, CONN_H2, CONN_TAKEN };
enum conn_phase { PHASE_IDLE, PHASE_HEAD, PHASE_BODY, PHASE_RUN };

struct http_conn {
	struct list node;          /* server->conns */
	struct http_server *server; /* counted */
	struct stream *stream;     /* NULL once closed or taken */
	enum conn_proto proto;
	enum conn_phase phase;
	int64_t since_ms;          /* when the phase began */
	int64_t moved_ms;          /* when the send queue last got shorter */
	uint64_t moved_mark;
	uint64_t written;          /* bytes handed to the stream */
	struct list reqs;
	size_t n_reqs, n_reading; /* n_reading of them in REQ_READING: see req_set_state */
	struct loop_defer work;
	char sniff[24];
	size_t sniff_n;
	/* HTTP/1.1 */
	http_parser parser;
	struct req *cur;           /* being read; not on reqs before its head is complete */
	struct buf rest;           /* input that waits while parsing is paused */
	size_t trailer_bytes;
	int error_status;          /* set by a parser callback that stops */
	const char *error_code, *error_text;
	bool in_value, busy, stopped, closing, eof;
	const struct stream_ops *taken_ops;
	void *taken_arg;
	struct stream *taken;
	/* HTTP/2 */
	nghttp2_session *h2;
	size_t body_bytes, out_bytes;
	int64_t reset_second;
	unsigned resets;
	bool going_away;
	bool want_drain;           /* some request may */
};

/* Any change of a request's state: its connection counts those that are being read. */
static inline void req_set_state(struct req *r, enum req_state s)
{
	r->conn->n_reading -= r->state == REQ_READING;
	r->conn->n_reading += s == REQ_READING;
	r->state = s;
}

struct http_server {
	struct loop *loop;
	struct listener *listener;
	struct http_server_conf conf;
	http_handler_fn *handler;
	void *arg;
	http_head_fn *head_fn;
	void *head_arg;
	struct list conns;
	size_t n_conns;
	struct list free_reqs;
	size_t n_free_reqs;
	struct loop_timer sweep;
	char date[48];             /* "date: …\r\n" of this second */
	size_t date_n;
	int64_t date_s;
	bool draining, freed;
};

static inline struct req *req_of(struct http_req *r)
{
	return (struct req *)(void *)r;
}

/* http_server.c */
struct req *req_get(struct http_conn *c);
void req_put(struct req *r);          /* takes it off its connection too */
void req_gone(struct req *r);
void conn_unref_maybe(struct http_conn *c);
void conn_phase_set(struct http_conn *c, enum conn_phase phase);
void req_dispatch(struct req *r);
bool req_offer_head(struct req *r);
void req_split_target(struct req *r, struct str target);
void problem_body(struct buf *b, int status, const char *code, struct str detail);

/* The two protocols behind one answer interface. */
struct http_proto {
	void (*reply)(struct req *r, int status, const struct http_header *hdrs, size_t n, struct str body);
	void (*begin)(struct req *r, int status, const struct http_header *hdrs, size_t n);
	int (*write)(struct req *r, struct str piece);
	void (*end)(struct req *r, const struct http_header *trailers, size_t n);
	void (*abort)(struct req *r);
	void (*consume)(struct req *r, size_t n);
	void (*feed)(struct http_conn *c, const uint8_t *p, size_t n);
	void (*work)(struct http_conn *c);  /* deferred, and when the send queue is empty */
	void (*drain)(struct http_conn *c); /* the server stops */
	void (*timeout)(struct http_conn *c); /* phase took too long */
};

extern const struct http_proto http_h1, http_h2;
int h1_start(struct http_conn *c);
int h2_start(struct http_conn *c);

/* Takes the connection's stream away for another protocol (WebSocket); releases the request. */
struct stream *http_take(struct http_req *req, const struct stream_ops *ops, void *arg);

/* http_text.c */
enum http_verb http_method_of(struct str name);
bool http_header_clean(const struct http_header *h);
struct str http_find(const struct http_header *headers, size_t n, const char *name);
/* True if the comma-separated list holds the token (ASCII case-insensitive). */
bool http_list_has(struct str list, const char *token);
/* nghttp2 allocates through base/mem too. */
nghttp2_mem *http_nghttp2_mem(void);

#endif
