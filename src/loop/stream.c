#include "loop/stream.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "loop/stream_priv.h"

enum {
	STREAM_KEEP_BYTES = 16 << 10, /* an emptied buffer larger than this is given back */
	STREAM_FLUSH_BYTES = 256 << 10, /* written at once instead of at the end of the turn */
};

static void work(struct loop *loop, void *arg);
static void on_timer(struct loop *loop, void *arg);
static void finish_close(struct stream *s);

struct stream *stream_new(struct loop *loop, bool is_pipe, const struct stream_conf *conf)
{
	struct stream *s = mem_calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->loop = loop;
	s->ops = conf->ops;
	s->arg = conf->arg;
	s->max_queue = conf->max_queue ? conf->max_queue : STREAM_QUEUE_BYTES;
	s->tls = tls_ref(conf->tls);
	s->is_pipe = is_pipe;
	buf_init(&s->plain, 0);
	buf_init(&s->cipher, 0);
	buf_init(&s->flight, 0);
	loop_defer_init(&s->work, work, s);
	loop_timer_init(&s->timer, loop, on_timer, s);
	list_add_tail(&loop->streams, &s->all);
	return s;
}

void stream_discard(struct stream *s)
{
	loop_timer_stop(&s->timer);
	loop_defer_cancel(&s->work);
	list_del(&s->all);
	tls_session_free(s->ssl);
	mem_free(s->peer_identity);
	tls_unref(s->tls);
	buf_release(&s->plain);
	buf_release(&s->cipher);
	buf_release(&s->flight);
	mem_free(s);
}

/* ---- closing ---- */

static void on_closed(uv_handle_t *h)
{
	struct stream *s = h->data;
	struct listener *l = s->listener;
	if (s->opened || !l)
		s->ops->on_close(s, s->arg, s->code, s->why);
	else if (l->conf.on_failed && s->code && !l->closed)
		l->conf.on_failed(l->conf.arg, s->peer, s->code, s->why);
	stream_discard(s);
	if (l)
		listener_stream_closed(l);
}

void stream_abort(struct stream *s, int code, const char *why)
{
	if (s->state == STREAM_GONE)
		return;
	s->code = code;
	if (why && why != s->why)
		snprintf(s->why, sizeof(s->why), "%s", why);
	s->state = STREAM_GONE;
	loop_timer_stop(&s->timer);
	loop_defer_cancel(&s->work);
	struct stream_dial *d = s->dial;
	s->dial = NULL;
	/* While a failed attempt is being closed to make room for the next, its callback ends the stream. */
	bool reopening = d && d->reopening;
	if (d && !reopening)
		stream_dial_lost(d);
	if (reopening)
		s->dial = d;
	else
		uv_close(&s->u.handle, on_closed);
}

void stream_abort_all(struct loop *loop)
{
	list_each_safe(it, tmp, &loop->streams)
		stream_abort(list_entry(it, struct stream, all), HCP_ECANCELED, "the loop ends");
	list_each_safe(it, tmp, &loop->listeners)
		listener_free(list_entry(it, struct listener, all));
}

static void on_timer(struct loop *loop, void *arg)
{
	struct stream *s = arg;
	if (s->state == STREAM_CONNECTING)
		stream_abort(s, HCP_ETIMEOUT, "connecting took too long");
	else if (s->state == STREAM_HANDSHAKE)
		stream_abort(s, HCP_ETIMEOUT, "the TLS handshake took too long");
	else
		stream_abort(s, s->state == STREAM_LINGERING ? 0 : HCP_ETIMEOUT, "the peer did not take the last bytes");
}

void stream_close(struct stream *s)
{
	if (s->state >= STREAM_FLUSHING)
		return;
	if (s->state < STREAM_OPEN) {
		stream_abort(s, 0, "");
		return;
	}
	s->state = STREAM_FLUSHING;
	loop_timer_start(&s->timer, STREAM_CLOSE_MS);
	stream_resume(s);
	loop_defer(s->loop, &s->work);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
	struct stream *s = req->data;
	if (s->state == STREAM_GONE)
		return;
	if (status < 0 || s->eof)
		stream_abort(s, 0, "");
}

/* The queue is empty and the owner wants to close. */
static void finish_close(struct stream *s)
{
	if (s->ssl && !s->fin_sent) {
		s->fin_sent = true;
		if (stream_tls_fin(s) == 0 && s->cipher.n > 0) {
			uv_buf_t b = uv_buf_init(s->cipher.data, (unsigned int)s->cipher.n);
			uv_try_write(&s->u.stream, &b, 1);
			buf_clear(&s->cipher);
		}
	}
	s->state = STREAM_LINGERING;
	s->shutdown_req.data = s;
	int rc = uv_shutdown(&s->shutdown_req, &s->u.stream, on_shutdown);
	if (rc < 0)
		stream_abort(s, 0, "");
}

/* ---- writing ---- */

size_t stream_queued(const struct stream *s)
{
	size_t flying = s->writing ? uv_stream_get_write_queue_size(&s->u.stream) : 0;
	return s->plain.n + s->cipher.n + flying;
}

static void settle(struct buf *b)
{
	if (b->cap > STREAM_KEEP_BYTES)
		buf_release(b);
	else
		buf_clear(b);
}

static void on_written(uv_write_t *req, int status)
{
	struct stream *s = req->data;
	s->writing = false;
	settle(&s->flight);
	if (s->state == STREAM_GONE)
		return;
	if (status < 0) {
		stream_abort(s, HCP_ECLOSED, uv_strerror(status));
		return;
	}
	loop_defer(s->loop, &s->work);
}

/* Gives the socket what it takes now; the rest is written in the background. */
static void flush(struct stream *s)
{
	if (s->writing || s->state == STREAM_CONNECTING || s->state == STREAM_GONE)
		return;
	struct buf *out = &s->plain;
	if (s->ssl) {
		int rc = s->state == STREAM_HANDSHAKE ? 0 : stream_tls_encrypt(s);
		if (rc < 0) {
			stream_abort(s, rc, s->why);
			return;
		}
		out = &s->cipher;
	}
	if (out->n == 0)
		return;
	uv_buf_t b = uv_buf_init(out->data, (unsigned int)out->n);
	int n = uv_try_write(&s->u.stream, &b, 1);
	if (n < 0 && n != UV_EAGAIN) {
		stream_abort(s, HCP_ECLOSED, uv_strerror(n));
		return;
	}
	if (n > 0 && (size_t)n == out->n) {
		settle(out);
		return;
	}
	struct buf t = s->flight;
	s->flight = *out;
	*out = t;
	size_t off = n > 0 ? (size_t)n : 0;
	b = uv_buf_init(s->flight.data + off, (unsigned int)(s->flight.n - off));
	s->write_req.data = s;
	s->writing = s->blocked = true;
	int rc = uv_write(&s->write_req, &s->u.stream, &b, 1, on_written);
	if (rc < 0) {
		s->writing = false;
		stream_abort(s, HCP_ECLOSED, uv_strerror(rc));
	}
}

/* A flush at most STREAM_FLUSH_BYTES ahead keeps the queue of a fast peer short. */
static void wrote(struct stream *s)
{
	if (s->plain.n >= STREAM_FLUSH_BYTES && s->state == STREAM_OPEN)
		flush(s);
	if (s->state != STREAM_GONE)
		loop_defer(s->loop, &s->work);
}

char *stream_reserve(struct stream *s, size_t n)
{
	if (s->state >= STREAM_FLUSHING)
		return NULL;
	size_t queued = stream_queued(s);
	if (queued > 0 && (queued >= s->max_queue || n > s->max_queue - queued))
		return NULL;
	if (buf_reserve(&s->plain, n) < 0) {
		/* The failure sticks in a buf; a stream may go on when memory is back. */
		s->plain.failed = false;
		return NULL;
	}
	return s->plain.data + s->plain.n;
}

void stream_commit(struct stream *s, size_t n)
{
	must(n <= s->plain.cap - s->plain.n);
	s->plain.n += n;
	wrote(s);
}

int stream_write(struct stream *s, const void *p, size_t n)
{
	if (s->state >= STREAM_FLUSHING)
		return HCP_ECLOSED;
	if (n == 0)
		return 0;
	size_t queued = stream_queued(s);
	if (queued > 0 && (queued >= s->max_queue || n > s->max_queue - queued))
		return HCP_ELIMIT;
	if (buf_reserve(&s->plain, n) < 0) {
		s->plain.failed = false;
		return HCP_ENOMEM;
	}
	memcpy(s->plain.data + s->plain.n, p, n);
	s->plain.n += n;
	wrote(s);
	return 0;
}

/* ---- reading ---- */

void stream_alloc_cb(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
	struct stream *s = h->data;
	*buf = uv_buf_init(s->loop->read_buf, sizeof(s->loop->read_buf));
}

static void tell_eof(struct stream *s)
{
	if (s->state == STREAM_LINGERING)
		stream_abort(s, 0, "");
	else if (s->state == STREAM_OPEN && s->ops->on_eof)
		s->ops->on_eof(s, s->arg);
	else if (s->state == STREAM_OPEN)
		stream_close(s);
}

static void become_open(struct stream *s)
{
	loop_timer_stop(&s->timer);
	s->state = STREAM_OPEN;
	s->opened = true;
	if (s->listener)
		listener_deliver(s->listener, s);
	else if (s->ops->on_open)
		s->ops->on_open(s, s->arg);
	if (s->state == STREAM_OPEN && s->plain.n > 0)
		loop_defer(s->loop, &s->work);
}

/* TLS bytes have come, or reading goes on. */
static void pump_tls(struct stream *s)
{
	int rc = 0;
	if (s->state == STREAM_HANDSHAKE) {
		bool done = false;
		rc = stream_tls_handshake(s, &done);
		if (rc == 0)
			flush(s);
		if (rc == 0 && done)
			become_open(s);
	}
	bool had_eof = s->eof;
	if (rc == 0 && s->state > STREAM_HANDSHAKE && s->state != STREAM_GONE)
		rc = stream_tls_deliver(s);
	if (s->state == STREAM_GONE)
		return;
	if (rc < 0) {
		stream_abort(s, rc, s->why);
		return;
	}
	if (s->eof && !had_eof)
		tell_eof(s);
	if (s->state != STREAM_GONE)
		loop_defer(s->loop, &s->work);
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *b)
{
	struct stream *s = h->data;
	if (n == 0 || s->state == STREAM_GONE)
		return;
	if (n > 0 && s->ssl) {
		int rc = stream_tls_feed(s, b->base, (size_t)n);
		if (rc < 0)
			stream_abort(s, rc, s->why);
		else
			pump_tls(s);
		return;
	}
	if (n > 0) {
		if (s->state == STREAM_OPEN)
			s->ops->on_data(s, s->arg, (const uint8_t *)b->base, (size_t)n);
		return;
	}
	s->reading = false;
	uv_read_stop(h);
	if (n == UV_EOF && (!s->ssl || s->eof)) {
		bool told = s->eof;
		s->eof = true;
		if (!told || s->state == STREAM_LINGERING)
			tell_eof(s);
	} else if (n == UV_EOF && s->state == STREAM_LINGERING) {
		stream_abort(s, 0, "");
	} else if (n == UV_EOF) {
		stream_abort(s, s->state == STREAM_HANDSHAKE ? HCP_ECLOSED : HCP_EPROTO, "the peer cut the TLS connection");
	} else {
		stream_abort(s, HCP_ECLOSED, uv_strerror((int)n));
	}
}

static void read_on(struct stream *s)
{
	if (s->reading || s->paused || s->eof || s->state == STREAM_CONNECTING || s->state == STREAM_GONE)
		return;
	s->reading = true;
	uv_read_start(&s->u.stream, stream_alloc_cb, on_read);
}

void stream_pause(struct stream *s)
{
	if (s->state >= STREAM_FLUSHING || s->paused)
		return;
	s->paused = true;
	if (s->reading)
		uv_read_stop(&s->u.stream);
	s->reading = false;
}

void stream_resume(struct stream *s)
{
	if (!s->paused)
		return;
	s->paused = false;
	s->tls_dirty = s->ssl != NULL;
	loop_defer(s->loop, &s->work);
}

/* End of the turn: go on reading, write what was gathered, and close when asked to. */
static void work(struct loop *loop, void *arg)
{
	struct stream *s = arg;
	if (s->state == STREAM_GONE || s->state == STREAM_CONNECTING)
		return;
	read_on(s);
	if (s->tls_dirty) {
		s->tls_dirty = false;
		pump_tls(s);
	}
	flush(s);
	if (s->state == STREAM_GONE || s->writing)
		return;
	if (s->plain.n == 0 && s->cipher.n == 0) {
		if (s->state == STREAM_FLUSHING) {
			finish_close(s);
			return;
		}
		bool drained = s->blocked;
		s->blocked = false;
		if (drained && s->state == STREAM_OPEN && s->ops->on_drain)
			s->ops->on_drain(s, s->arg);
	}
}

/* The handle is connected or accepted. */
void stream_start(struct stream *s, uint32_t timeout_ms)
{
	stream_name_peer(s);
	if (!s->is_pipe)
		uv_tcp_nodelay(&s->u.tcp, 1);
	if (!s->ssl) {
		become_open(s);
		if (s->state != STREAM_GONE)
			read_on(s);
		return;
	}
	s->state = STREAM_HANDSHAKE;
	if (timeout_ms)
		loop_timer_start(&s->timer, timeout_ms);
	read_on(s);
	pump_tls(s);
}

/* ---- small things ---- */

void stream_set_ops(struct stream *s, const struct stream_ops *ops, void *arg)
{
	s->ops = ops;
	s->arg = arg;
}

void stream_set_max_queue(struct stream *s, size_t max_queue)
{
	s->max_queue = max_queue;
}

struct loop *stream_loop(const struct stream *s)
{
	return s->loop;
}

const char *stream_peer(const struct stream *s)
{
	return s->peer;
}

const char *stream_alpn(const struct stream *s)
{
	return s->alpn;
}

bool stream_is_tls(const struct stream *s)
{
	return s->ssl != NULL;
}

const struct identity *stream_peer_identity(const struct stream *s)
{
	return s->peer_identity;
}

bool stream_is_closing(const struct stream *s)
{
	return s->state >= STREAM_FLUSHING;
}
