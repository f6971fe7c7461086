#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "loop/address.h"
#include "loop/stream_priv.h"

void stream_name_peer(struct stream *s)
{
	if (s->is_pipe) {
		snprintf(s->peer, sizeof(s->peer), "unix");
		return;
	}
	struct sockaddr_storage a;
	int n = (int)sizeof(a);
	char text[INET6_ADDRSTRLEN] = "?";
	if (uv_tcp_getpeername(&s->u.tcp, (struct sockaddr *)&a, &n) < 0) {
		snprintf(s->peer, sizeof(s->peer), "?");
	} else if (a.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)&a;
		uv_ip6_name(in, text, sizeof(text));
		snprintf(s->peer, sizeof(s->peer), "[%s]:%u", text, ntohs(in->sin6_port));
	} else {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&a;
		uv_ip4_name(in, text, sizeof(text));
		snprintf(s->peer, sizeof(s->peer), "%s:%u", text, ntohs(in->sin_port));
	}
}

/* ---- outgoing ---- */

static void dial_free(struct stream_dial *d)
{
	if (d->list)
		uv_freeaddrinfo(d->list);
	mem_free(d);
}

/* The stream is going: requests in flight free d when they come back. */
void stream_dial_lost(struct stream_dial *d)
{
	d->s = NULL;
	if (d->resolving)
		uv_cancel((uv_req_t *)&d->dns);
	if (!d->resolving && !d->connecting)
		dial_free(d);
}

static void try_next(struct stream_dial *d);

static void on_reopened(uv_handle_t *h)
{
	struct stream *s = h->data;
	struct stream_dial *d = s->dial;
	d->reopening = false;
	uv_tcp_init(&s->loop->uv, &s->u.tcp);
	s->u.handle.data = s;
	if (s->state == STREAM_GONE) {
		/* Aborted meanwhile: close it through the ordinary way. */
		s->state = STREAM_CONNECTING;
		stream_abort(s, s->code, s->why);
		return;
	}
	try_next(d);
}

static void attempt_failed(struct stream_dial *d, int code, const char *why)
{
	struct stream *s = d->s;
	bool more = !d->single && d->next;
	if (!more || s->is_pipe) {
		stream_abort(s, code, why);
		return;
	}
	d->reopening = true;
	uv_close(&s->u.handle, on_reopened);
}

static void system_refused(struct stream_dial *d, int rc)
{
	struct err e;
	int code = loop_uv_err(&e, "connect", rc);
	attempt_failed(d, code, e.text);
}

static void on_connected(uv_connect_t *req, int status)
{
	struct stream_dial *d = req->data;
	struct stream *s = d->s;
	d->connecting = false;
	if (!s) {
		dial_free(d);
		return;
	}
	if (status < 0) {
		system_refused(d, status);
		return;
	}
	s->dial = NULL;
	dial_free(d);
	stream_start(s, 0);
}

static void try_next(struct stream_dial *d)
{
	struct stream *s = d->s;
	const struct sockaddr *a;
	if (d->single) {
		a = (const struct sockaddr *)&d->one;
	} else {
		a = d->next->ai_addr;
		d->next = d->next->ai_next;
	}
	/* The very address that is connected to, so that no name can change its meaning in between. */
	if (d->public_only && !address_is_public(a)) {
		attempt_failed(d, HCP_EPERM, "its address is not a public one");
		return;
	}
	d->req.data = d;
	d->connecting = true;
	int rc = uv_tcp_connect(&d->req, &s->u.tcp, a, on_connected);
	if (rc < 0) {
		d->connecting = false;
		system_refused(d, rc);
	}
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
	struct stream_dial *d = req->data;
	d->resolving = false;
	d->list = d->next = list;
	if (!d->s) {
		dial_free(d);
		return;
	}
	if (status < 0 || !list) {
		char why[192];
		snprintf(why, sizeof(why), "%.100s: %s", d->host, status < 0 ? uv_strerror(status) : "no address");
		stream_abort(d->s, HCP_ENOTFOUND, why);
		return;
	}
	try_next(d);
}

static int resolve(struct stream_dial *d, uint16_t port, struct err *err)
{
	d->single = uv_ip4_addr(d->host, port, (struct sockaddr_in *)&d->one) == 0 ||
		uv_ip6_addr(d->host, port, (struct sockaddr_in6 *)&d->one) == 0;
	if (d->single) {
		try_next(d);
		return 0;
	}
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	char service[8];
	snprintf(service, sizeof(service), "%u", port);
	d->dns.data = d;
	d->resolving = true;
	int rc = uv_getaddrinfo(&d->s->loop->uv, &d->dns, on_resolved, d->host, service, &hints);
	if (rc < 0) {
		d->resolving = false;
		return loop_uv_err(err, "host", rc);
	}
	return 0;
}

int stream_connect(struct loop *loop, const char *host, uint16_t port, const struct stream_conf *conf,
	struct stream **ret_s, struct err *err)
{
	bool is_pipe = strncmp(host, "unix:", 5) == 0;
	const char *name = is_pipe ? host + 5 : host;
	if (strlen(name) >= sizeof(((struct stream_dial *)0)->host) || !*name)
		return err_set(err, HCP_EINVAL, "host", "is empty or too long");
	if (is_pipe && conf->public_only)
		return err_set(err, HCP_EPERM, "host", "a socket of this machine is not a public address");
	struct stream *s = stream_new(loop, is_pipe, conf);
	struct stream_dial *d = mem_calloc(1, sizeof(*d));
	int rc = HCP_ENOMEM;
	if (!s || !d) {
		err_set(err, rc, "connect", "no memory for a connection");
		goto out;
	}
	struct err own;
	if (conf->tls && (rc = stream_tls_start(s, conf->tls_name ? conf->tls_name : is_pipe ? NULL : host,
		err ? err : &own)) < 0)
		goto out;
	rc = is_pipe ? uv_pipe_init(&loop->uv, &s->u.pipe, 0) : uv_tcp_init(&loop->uv, &s->u.tcp);
	if (rc < 0) {
		rc = loop_uv_err(err, "connect", rc);
		goto out;
	}
	s->u.handle.data = s;
	s->dial = d;
	d->s = s;
	d->public_only = conf->public_only;
	memcpy(d->host, name, strlen(name) + 1);
	loop_timer_start(&s->timer, conf->connect_timeout_ms ? conf->connect_timeout_ms : 10000);
	*ret_s = s;
	if (is_pipe) {
		d->req.data = d;
		d->connecting = true;
		uv_pipe_connect(&d->req, &s->u.pipe, name, on_connected);
		return 0;
	}
	/* From here the stream exists: what fails is told by on_close. */
	struct err late;
	rc = resolve(d, port, &late);
	if (rc < 0)
		stream_abort(s, rc, late.text);
	return 0;
out:
	if (s)
		stream_discard(s);
	mem_free(d);
	return rc;
}

/* ---- incoming ---- */

static void listener_unref(struct listener *l)
{
	if (--l->refs > 0)
		return;
	tls_unref(l->conf.tls);
	mem_free(l);
}

void listener_stream_closed(struct listener *l)
{
	l->n_streams--;
	listener_unref(l);
}

static void unowned_data(struct stream *s, void *arg, const uint8_t *p, size_t n)
{
	stream_abort(s, HCP_ESTATE, "nobody owns this stream");
}

static void unowned_close(struct stream *s, void *arg, int code, const char *why)
{
}

static const struct stream_ops unowned = { .on_data = unowned_data, .on_close = unowned_close };

void listener_deliver(struct listener *l, struct stream *s)
{
	if (l->closed)
		stream_abort(s, HCP_ECLOSED, "the listener was closed");
	else
		l->conf.on_stream(l, l->conf.arg, s);
}

static int init_handle(struct listener *l, uv_handle_t *h)
{
	h->data = l;
	return l->is_pipe ? uv_pipe_init(&l->loop->uv, (uv_pipe_t *)h, 0) : uv_tcp_init(&l->loop->uv, (uv_tcp_t *)h);
}

static void refuse(struct listener *l);

static void on_refused(uv_handle_t *h)
{
	struct listener *l = h->data;
	l->spare_busy = false;
	if (l->more_waiting && !l->closed) {
		l->more_waiting = false;
		refuse(l);
	}
	listener_unref(l);
}

/* libuv stops listening while a connection is not accepted, so even a refused one must be taken and closed. */
static void refuse(struct listener *l)
{
	if (l->spare_busy) {
		l->more_waiting = true;
		return;
	}
	l->refused++;
	if (init_handle(l, &l->spare.handle) < 0)
		return;
	l->spare.handle.data = l;
	l->spare_busy = true;
	l->refs++;
	(void)uv_accept(&l->u.stream, &l->spare.stream);
	uv_close(&l->spare.handle, on_refused);
}

static void on_connection(uv_stream_t *h, int status)
{
	struct listener *l = h->data;
	if (status < 0 || l->closed)
		return;
	struct stream_conf sc = { .ops = &unowned, .max_queue = l->conf.max_queue, .tls = l->conf.tls };
	struct stream *s = l->n_streams < l->conf.max_streams ? stream_new(l->loop, l->is_pipe, &sc) : NULL;
	if (!s) {
		refuse(l);
		return;
	}
	if ((l->conf.tls && stream_tls_start(s, NULL, NULL) < 0) ||
		(l->is_pipe ? uv_pipe_init(&l->loop->uv, &s->u.pipe, 0) : uv_tcp_init(&l->loop->uv, &s->u.tcp)) < 0) {
		stream_discard(s);
		refuse(l);
		return;
	}
	s->u.handle.data = s;
	s->listener = l;
	l->n_streams++;
	l->refs++;
	int rc = uv_accept(h, &s->u.stream);
	if (rc < 0)
		stream_abort(s, HCP_EIO, uv_strerror(rc));
	else
		stream_start(s, l->conf.handshake_timeout_ms);
}

static int port_error(const struct listener *l, struct err *err, int uv_code)
{
	struct err why;
	int rc = loop_uv_err(&why, "port", uv_code);
	return err_set(err, rc, "port", "%u: %s", l->conf.port, why.text);
}

static int bind_tcp(struct listener *l, struct err *err)
{
	struct sockaddr_storage a;
	const char *host = l->conf.host ? l->conf.host : "127.0.0.1";
	if (uv_ip4_addr(host, l->conf.port, (struct sockaddr_in *)&a) != 0 &&
		uv_ip6_addr(host, l->conf.port, (struct sockaddr_in6 *)&a) != 0)
		return err_set(err, HCP_EINVAL, "host", "must be an IPv4 or IPv6 address to listen on");
	uv_os_fd_t fd;
	int on = 1;
	if (l->conf.reuse_port && (uv_fileno(&l->u.handle, &fd) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0))
		return err_set(err, HCP_EIO, "reuse_port", "the system refuses SO_REUSEPORT");
	int rc = uv_tcp_bind(&l->u.tcp, (const struct sockaddr *)&a, 0);
	return rc < 0 ? port_error(l, err, rc) : 0;
}

static void find_port(struct listener *l)
{
	struct sockaddr_storage a;
	int n = (int)sizeof(a);
	if (l->is_pipe || uv_tcp_getsockname(&l->u.tcp, (struct sockaddr *)&a, &n) < 0)
		return;
	l->port = ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
		: ((struct sockaddr_in *)&a)->sin_port);
}

int listener_new(struct loop *loop, const struct listener_conf *conf, struct listener **ret_l, struct err *err)
{
	must(conf->on_stream);
	struct listener *l = mem_calloc(1, sizeof(*l));
	if (!l)
		return err_set(err, HCP_ENOMEM, "listen", "no memory for a listener");
	l->loop = loop;
	l->conf = *conf;
	l->conf.tls = tls_ref(conf->tls);
	l->conf.max_streams = conf->max_streams ? conf->max_streams : 10000;
	l->conf.handshake_timeout_ms = conf->handshake_timeout_ms ? conf->handshake_timeout_ms : 10000;
	l->refs = 1;
	l->is_pipe = conf->host && strncmp(conf->host, "unix:", 5) == 0;
	list_add_tail(&loop->listeners, &l->all);
	bool v6 = conf->host && strchr(conf->host, ':');
	int rc = l->is_pipe ? uv_pipe_init(&loop->uv, &l->u.pipe, 0)
		: uv_tcp_init_ex(&loop->uv, &l->u.tcp, v6 ? AF_INET6 : AF_INET);
	l->u.handle.data = l;
	if (rc < 0) {
		list_del(&l->all);
		listener_unref(l);
		return loop_uv_err(err, "host", rc);
	}
	if (l->is_pipe) {
		rc = uv_pipe_bind(&l->u.pipe, conf->host + 5);
		rc = rc < 0 ? loop_uv_err(err, "host", rc) : 0;
	} else {
		rc = bind_tcp(l, err);
	}
	if (rc == 0 && (rc = uv_listen(&l->u.stream, conf->backlog ? conf->backlog : 1024, on_connection)) < 0)
		rc = l->is_pipe ? loop_uv_err(err, "host", rc) : port_error(l, err, rc);
	if (rc < 0) {
		listener_free(l);
		return rc;
	}
	find_port(l);
	l->conf.host = NULL; /* borrowed only until here */
	*ret_l = l;
	return 0;
}

static void on_listener_closed(uv_handle_t *h)
{
	listener_unref(h->data);
}

void listener_free(struct listener *l)
{
	if (!l || l->closed)
		return;
	l->closed = true;
	list_del(&l->all);
	uv_close(&l->u.handle, on_listener_closed);
}

uint16_t listener_port(const struct listener *l)
{
	return l->port;
}

size_t listener_streams(const struct listener *l)
{
	return l->n_streams;
}

uint64_t listener_refused(const struct listener *l)
{
	return l->refused;
}
