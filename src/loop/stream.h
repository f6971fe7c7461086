#ifndef HCP_LOOP_STREAM_H
#define HCP_LOOP_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct loop;
struct identity;
struct tls_ctx;
struct stream;
struct listener;

/*
 * A byte stream: TCP or a unix socket, with TLS or without. Writes are gathered and leave in one system call at the
 * end of the loop's turn. The loop owns the stream: on_close is the last callback, afterwards the memory is gone.
 * No callback comes from inside a stream_* call.
 *
 *   connecting ─▶ open ──(peer's FIN: on_eof)──▶ open for writing ─▶ closing (flushes) ─▶ on_close
 *        └───────────┴──────────── error, stream_abort ────────────────────┘
 */
struct stream_ops {
	/* Connected, TLS handshake done. May be NULL. */
	void (*on_open)(struct stream *s, void *arg);
	/* p is borrowed until return. */
	void (*on_data)(struct stream *s, void *arg, const uint8_t *p, size_t n);
	/* The peer will send no more. NULL: stream_close is done. */
	void (*on_eof)(struct stream *s, void *arg);
	/* The write queue has become empty after it could not be written at once. May be NULL. */
	void (*on_drain)(struct stream *s, void *arg);
	/* Last call. code: 0 after stream_close or the peer's clean end, else HCP_E… with a sentence in why. */
	void (*on_close)(struct stream *s, void *arg, int code, const char *why);
};

enum {
	STREAM_QUEUE_BYTES = 4 << 20, /* default of max_queue */
	STREAM_CLOSE_MS = 5000,       /* default time for a closing stream to flush */
};

struct stream_conf {
	const struct stream_ops *ops; /* borrowed */
	void *arg;                    /* borrowed */
	size_t max_queue;             /* bytes not yet taken by the socket; 0: STREAM_QUEUE_BYTES */
	struct tls_ctx *tls;          /* referenced; NULL: plain */
	const char *tls_name;         /* client: name in the certificate and SNI; NULL: host */
	uint32_t connect_timeout_ms;  /* connect and handshake together; 0: 10000 */
	bool public_only; /* outgoing: addresses that are not public (address.h) are not connected to, HCP_EPERM */
};

/*
 * Starts connecting; host is a name or an address, or "unix:/path" (port ignored). Errors that come later arrive
 * in on_close.
 */
int stream_connect(struct loop *loop, const char *host, uint16_t port, const struct stream_conf *conf,
	struct stream **ret_s, struct err *err) MUST_CHECK;

/*
 * Copies. HCP_ECLOSED after close; HCP_ELIMIT when something is queued and n more would pass max_queue (nothing of it
 * is taken then; one write into an empty queue is always taken); HCP_ENOMEM.
 */
int stream_write(struct stream *s, const void *p, size_t n) MUST_CHECK;
/* Room for n bytes at the end of the queue, to be filled in place and then committed; NULL as stream_write fails. */
char *stream_reserve(struct stream *s, size_t n);
void stream_commit(struct stream *s, size_t n);
/* Bytes written but not yet taken by the socket. */
size_t stream_queued(const struct stream *s);
/* Backpressure: no on_data until resumed. A paused stream does not notice that its peer has gone. */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);
/* Flushes what is queued, sends FIN, closes: on_close comes later. Further writes fail, further data is dropped. */
void stream_close(struct stream *s);
/* Closes now, the queue is lost. code and why go to on_close. */
void stream_abort(struct stream *s, int code, const char *why);
/* Hands the stream to another owner. */
void stream_set_ops(struct stream *s, const struct stream_ops *ops, void *arg);
void stream_set_max_queue(struct stream *s, size_t max_queue);
struct loop *stream_loop(const struct stream *s);
/* "127.0.0.1:4242", "[::1]:4242" or "unix". */
const char *stream_peer(const struct stream *s);
/* Protocol chosen by ALPN; "" where none. */
const char *stream_alpn(const struct stream *s);
bool stream_is_tls(const struct stream *s);
/* Whom the peer's verified certificate is for; NULL where none. Borrowed, as long as the stream. */
const struct identity *stream_peer_identity(const struct stream *s);
bool stream_is_closing(const struct stream *s);

struct listener_conf {
	const char *host;      /* address or "unix:/path"; NULL: 127.0.0.1 */
	uint16_t port;         /* 0: any free one */
	int backlog;           /* 0: 1024 */
	bool reuse_port;       /* several listeners, one a thread, share the port */
	size_t max_streams;    /* open at once; beyond, new ones are closed at once. 0: 10000 */
	struct tls_ctx *tls;   /* referenced; NULL: plain */
	uint32_t handshake_timeout_ms; /* TLS; 0: 10000 */
	size_t max_queue;      /* of each stream; 0: STREAM_QUEUE_BYTES */
	/* A new stream (after the TLS handshake). Sets the stream's owner with stream_set_ops. */
	void (*on_stream)(struct listener *l, void *arg, struct stream *s);
	/* A connection ended before it was one, its TLS handshake failed: HCP_E… and a sentence. May be NULL. */
	void (*on_failed)(void *arg, const char *peer, int code, const char *why);
	void *arg;
};

int listener_new(struct loop *loop, const struct listener_conf *conf, struct listener **ret_l, struct err *err)
	MUST_CHECK;
/* Stops accepting; accepted streams live on. Memory goes in the loop's close phase. NULL is fine. */
void listener_free(struct listener *l);
uint16_t listener_port(const struct listener *l);
size_t listener_streams(const struct listener *l);
/* Connections closed because max_streams was reached. */
uint64_t listener_refused(const struct listener *l);

#endif
