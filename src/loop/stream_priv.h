#ifndef HCP_LOOP_STREAM_PRIV_H
#define HCP_LOOP_STREAM_PRIV_H

#include <uv.h>

#include "loop/loop_priv.h"
#include "loop/stream.h"
#include "loop/tls_priv.h"

enum stream_state {
	STREAM_CONNECTING, /* resolving or connecting */
	STREAM_HANDSHAKE,  /* TLS */
	STREAM_OPEN,
	STREAM_FLUSHING,   /* stream_close was called: the queue leaves, then FIN */
	STREAM_LINGERING,  /* FIN sent, waiting for the peer's so that what we sent is not cut by a reset */
	STREAM_GONE,       /* uv_close was called */
};

/* One attempt after the other over the addresses of a name. */
struct stream_dial {
	struct stream *s;       /* NULL once the stream is gone: whoever comes back last frees this */
	uv_getaddrinfo_t dns;
	uv_connect_t req;
	bool resolving, connecting, reopening;
	struct addrinfo *list, *next; /* list owned */
	struct sockaddr_storage one;  /* when host is an address */
	bool single, public_only;
	char host[256];
};

/*
 *   stream_write ─▶ plain ─(TLS: SSL_write)─▶ cipher ─▶ uv_try_write ─▶ what is left: flight, one uv_write
 *   (without TLS plain goes straight to the socket)
 */
struct stream {
	struct list all;            /* loop->streams */
	struct loop *loop;          /* borrowed */
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} u;
	const struct stream_ops *ops; /* borrowed */
	void *arg;
	struct listener *listener;  /* counted; NULL for outgoing ones */
	enum stream_state state;
	struct loop_defer work;     /* flush, delayed resume */
	struct loop_timer timer;    /* connect, handshake, close */
	struct buf plain, cipher, flight;
	uv_write_t write_req;
	uv_shutdown_t shutdown_req;
	struct stream_dial *dial;   /* owned while connecting */
	struct tls_ctx *tls;        /* referenced */
	SSL *ssl;                   /* owned */
	size_t max_queue;
	int code;                   /* for on_close */
	char why[240];
	char peer[64];
	struct identity *peer_identity; /* owned; NULL: none was shown, or it was not verified */
	char alpn[16];
	bool writing, blocked, paused, reading, eof, open_told, is_pipe, tls_dirty, fin_sent, opened;
};

struct listener {
	struct list all;            /* loop->listeners */
	struct loop *loop;
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} u, spare;                 /* spare takes connections we refuse */
	struct listener_conf conf;
	uint16_t port;
	size_t n_streams, refs;     /* refs: handle, spare in use, streams */
	uint64_t refused;
	bool is_pipe, spare_busy, more_waiting, closed;
};

struct stream *stream_new(struct loop *loop, bool is_pipe, const struct stream_conf *conf);
/* Before any uv handle of it exists. */
void stream_discard(struct stream *s);
void stream_start(struct stream *s, uint32_t timeout_ms);
void stream_name_peer(struct stream *s);
void stream_alloc_cb(uv_handle_t *h, size_t hint, uv_buf_t *buf);
void stream_dial_lost(struct stream_dial *d);
void listener_stream_closed(struct listener *l);
/* A stream of this listener is ready. */
void listener_deliver(struct listener *l, struct stream *s);

/* stream_tls.c; all return 0 or a code with s->why filled. */
int stream_tls_start(struct stream *s, const char *name, struct err *err);
int stream_tls_handshake(struct stream *s, bool *ret_done);
int stream_tls_feed(struct stream *s, const char *p, size_t n);
/* Decrypts what has come and calls on_data. */
int stream_tls_deliver(struct stream *s);
int stream_tls_encrypt(struct stream *s);
int stream_tls_fin(struct stream *s);

#endif
