#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "loop/stream_priv.h"

static int fail(struct stream *s, int code, const char *what)
{
	char why[96];
	long verify = SSL_get_verify_result(s->ssl);
	if (verify != X509_V_OK && s->state == STREAM_HANDSHAKE) {
		char name[IDENTITY_NAME_MAX + 1];
		tls_refused_name(s->ssl, name, sizeof(name));
		snprintf(s->why, sizeof(s->why), "%s: the certificate of '%s' is not taken: %s", what, name,
			X509_verify_cert_error_string(verify));
	} else {
		snprintf(s->why, sizeof(s->why), "%s: %s", what, tls_reason(why, sizeof(why)));
	}
	ERR_clear_error();
	return code;
}

int stream_tls_start(struct stream *s, const char *name, struct err *err)
{
	s->ssl = tls_session(s->tls, name, err);
	return s->ssl ? 0 : err ? err->code : HCP_ENOMEM;
}

/* Moves what OpenSSL wants to send into s->cipher. */
static int drain_bio(struct stream *s)
{
	BIO *out = SSL_get_wbio(s->ssl);
	size_t n;
	while ((n = BIO_ctrl_pending(out)) > 0) {
		if (buf_reserve(&s->cipher, n) < 0) {
			snprintf(s->why, sizeof(s->why), "no memory for TLS records");
			return HCP_ENOMEM;
		}
		int got = BIO_read(out, s->cipher.data + s->cipher.n, (int)n);
		if (got <= 0)
			break;
		s->cipher.n += (size_t)got;
	}
	return 0;
}

int stream_tls_handshake(struct stream *s, bool *ret_done)
{
	ERR_clear_error();
	int rc = SSL_do_handshake(s->ssl);
	int why = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(s->ssl, rc);
	if (rc != 1 && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
		int code = fail(s, HCP_EPROTO, "TLS handshake");
		/* The alert that tells the peer why. */
		if (drain_bio(s) == 0 && s->cipher.n > 0 && !s->writing) {
			uv_buf_t b = uv_buf_init(s->cipher.data, (unsigned int)s->cipher.n);
			uv_try_write(&s->u.stream, &b, 1);
		}
		return code;
	}
	int drained = drain_bio(s);
	if (drained < 0 || rc != 1)
		return drained;
	const unsigned char *alpn;
	unsigned int n;
	SSL_get0_alpn_selected(s->ssl, &alpn, &n);
	if (n < sizeof(s->alpn)) {
		memcpy(s->alpn, n ? (const char *)alpn : "", n);
		s->alpn[n] = 0;
	}
	X509 *cert = SSL_get0_peer_certificate(s->ssl);
	if (cert && SSL_get_verify_mode(s->ssl) != SSL_VERIFY_NONE) {
		s->peer_identity = mem_alloc(sizeof(*s->peer_identity));
		if (!s->peer_identity) {
			snprintf(s->why, sizeof(s->why), "no memory for the peer's certificate");
			return HCP_ENOMEM;
		}
		identity_of_x509(cert, s->peer_identity);
	}
	*ret_done = true;
	return 0;
}

int stream_tls_feed(struct stream *s, const char *p, size_t n)
{
	if (BIO_write(SSL_get_rbio(s->ssl), p, (int)n) == (int)n)
		return 0;
	snprintf(s->why, sizeof(s->why), "no memory for TLS input");
	return HCP_ENOMEM;
}

int stream_tls_deliver(struct stream *s)
{
	while (!s->paused && (s->state == STREAM_OPEN || s->state == STREAM_FLUSHING || s->state == STREAM_LINGERING)) {
		ERR_clear_error();
		int n = SSL_read(s->ssl, s->loop->tls_buf, (int)sizeof(s->loop->tls_buf));
		if (n > 0) {
			if (s->state == STREAM_OPEN)
				s->ops->on_data(s, s->arg, (const uint8_t *)s->loop->tls_buf, (size_t)n);
			continue;
		}
		int why = SSL_get_error(s->ssl, n);
		if (why == SSL_ERROR_ZERO_RETURN) {
			s->eof = true;
			break;
		}
		if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
			return fail(s, HCP_EPROTO, "TLS");
		break;
	}
	if (s->state == STREAM_GONE)
		return 0;
	/* Key updates and the like may have produced output. */
	return drain_bio(s);
}

int stream_tls_encrypt(struct stream *s)
{
	size_t off = 0;
	while (off < s->plain.n) {
		ERR_clear_error();
		size_t want = s->plain.n - off;
		if (want > 1 << 20)
			want = 1 << 20;
		int n = SSL_write(s->ssl, s->plain.data + off, (int)want);
		if (n <= 0)
			return fail(s, HCP_EPROTO, "TLS write");
		off += (size_t)n;
		int rc = drain_bio(s);
		if (rc < 0)
			return rc;
	}
	buf_clear(&s->plain);
	return 0;
}

int stream_tls_fin(struct stream *s)
{
	ERR_clear_error();
	SSL_shutdown(s->ssl);
	ERR_clear_error();
	return drain_bio(s);
}
