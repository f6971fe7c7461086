#include "loop/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "loop/tls_priv.h"

enum { TLS_ALPN_BYTES = 64 };

struct tls_ctx {
	SSL_CTX *ssl;
	atomic_int refs;
	bool server, verify;
	bool system_cas; /* peers are verified by the system's certificates … */
	bool cas_loaded; /* … which are read for the first connection: most processes never make one; under lock */
	pthread_mutex_t lock;
	unsigned char alpn[TLS_ALPN_BYTES]; /* wire form: length-prefixed names */
	unsigned int alpn_n;
};

const char *tls_reason(char *buf, size_t cap)
{
	unsigned long e = ERR_get_error();
	const char *r = e ? ERR_reason_error_string(e) : NULL;
	snprintf(buf, cap, "%s", r ? r : "unknown TLS error");
	ERR_clear_error();
	return buf;
}

static int set_alpn(struct tls_ctx *c, const char *names, struct err *err)
{
	while (names && *names) {
		size_t n = strcspn(names, ",");
		if (n == 0 || c->alpn_n + n + 1 > sizeof(c->alpn))
			return err_set(err, HCP_EINVAL, "alpn", "protocol names must be short and not empty");
		c->alpn[c->alpn_n] = (unsigned char)n;
		memcpy(c->alpn + c->alpn_n + 1, names, n);
		c->alpn_n += (unsigned int)n + 1;
		names += n;
		names += *names == ',';
	}
	return 0;
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
	unsigned int inlen, void *arg)
{
	struct tls_ctx *c = arg;
	unsigned char *chosen;
	if (SSL_select_next_proto(&chosen, outlen, c->alpn, c->alpn_n, in, inlen) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int load_files(struct tls_ctx *c, const struct tls_conf *conf, struct err *err)
{
	char why[160];
	if (conf->cert_file && SSL_CTX_use_certificate_chain_file(c->ssl, conf->cert_file) != 1)
		return err_set(err, HCP_EINVAL, "cert_file", "%s: %s", conf->cert_file, tls_reason(why, sizeof(why)));
	if (conf->key_file && SSL_CTX_use_PrivateKey_file(c->ssl, conf->key_file, SSL_FILETYPE_PEM) != 1)
		return err_set(err, HCP_EINVAL, "key_file", "%s: %s", conf->key_file, tls_reason(why, sizeof(why)));
	if (conf->cert_file && SSL_CTX_check_private_key(c->ssl) != 1)
		return err_set(err, HCP_EINVAL, "key_file", "does not belong to the certificate: %s",
			tls_reason(why, sizeof(why)));
	if (conf->ca_file && SSL_CTX_load_verify_locations(c->ssl, conf->ca_file, NULL) != 1)
		return err_set(err, HCP_EINVAL, "ca_file", "%s: %s", conf->ca_file, tls_reason(why, sizeof(why)));
	if (c->server && conf->ca_file)
		SSL_CTX_set_client_CA_list(c->ssl, SSL_load_client_CA_file(conf->ca_file));
	return 0;
}

static int ctx_new(const struct tls_conf *conf, bool server, struct tls_ctx **ret_ctx, struct err *err)
{
	if (server && (!conf->cert_file || !conf->key_file))
		return err_set(err, HCP_EINVAL, "cert_file", "a TLS server needs cert_file and key_file");
	if (!conf->cert_file != !conf->key_file)
		return err_set(err, HCP_EINVAL, "key_file", "cert_file and key_file go together");
	struct tls_ctx *c = mem_calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, HCP_ENOMEM, "tls", "no memory");
	atomic_init(&c->refs, 1);
	pthread_mutex_init(&c->lock, NULL);
	c->server = server;
	c->verify = server ? conf->ca_file != NULL : !conf->no_verify;
	c->system_cas = !server && c->verify && !conf->ca_file;
	int rc = HCP_ENOMEM;
	c->ssl = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	if (!c->ssl) {
		err_set(err, rc, "tls", "no memory for a TLS context");
		goto out;
	}
	SSL_CTX_set_min_proto_version(c->ssl, conf->allow_tls12 ? TLS1_2_VERSION : TLS1_3_VERSION);
	SSL_CTX_set_options(c->ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
		SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(c->ssl, !c->verify ? SSL_VERIFY_NONE :
		server ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_PEER, NULL);
	static const unsigned char session_name[] = "hcp";
	SSL_CTX_set_session_id_context(c->ssl, session_name, sizeof(session_name) - 1);
	rc = load_files(c, conf, err);
	if (rc == 0)
		rc = set_alpn(c, conf->alpn, err);
	if (rc < 0)
		goto out;
	if (c->alpn_n && server)
		SSL_CTX_set_alpn_select_cb(c->ssl, choose_alpn, c);
	else if (c->alpn_n)
		SSL_CTX_set_alpn_protos(c->ssl, c->alpn, c->alpn_n);
	*ret_ctx = c;
	return 0;
out:
	tls_unref(c);
	return rc;
}

int tls_server_new(const struct tls_conf *conf, struct tls_ctx **ret_ctx, struct err *err)
{
	return ctx_new(conf, true, ret_ctx, err);
}

int tls_client_new(const struct tls_conf *conf, struct tls_ctx **ret_ctx, struct err *err)
{
	return ctx_new(conf, false, ret_ctx, err);
}

struct tls_ctx *tls_ref(struct tls_ctx *ctx)
{
	if (ctx)
		atomic_fetch_add(&ctx->refs, 1);
	return ctx;
}

void tls_unref(struct tls_ctx *ctx)
{
	if (!ctx || atomic_fetch_sub(&ctx->refs, 1) != 1)
		return;
	SSL_CTX_free(ctx->ssl);
	pthread_mutex_destroy(&ctx->lock);
	mem_free(ctx);
}

bool tls_is_server(const struct tls_ctx *ctx)
{
	return ctx->server;
}

static bool is_address(const char *name)
{
	unsigned char a[16];
	return inet_pton(AF_INET, name, a) == 1 || inet_pton(AF_INET6, name, a) == 1;
}

/* 140 certificates: 1 MiB and 10 ms. */
static bool load_cas(struct tls_ctx *ctx)
{
	if (!ctx->system_cas)
		return true;
	pthread_mutex_lock(&ctx->lock);
	if (!ctx->cas_loaded)
		ctx->cas_loaded = SSL_CTX_set_default_verify_paths(ctx->ssl) == 1;
	bool ok = ctx->cas_loaded;
	pthread_mutex_unlock(&ctx->lock);
	return ok;
}

SSL *tls_session(struct tls_ctx *ctx, const char *name, struct err *err)
{
	if (!load_cas(ctx)) {
		err_set(err, HCP_EIO, "ca_file", "the system's certificate store cannot be read");
		return NULL;
	}
	SSL *ssl = SSL_new(ctx->ssl);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	if (!ssl || !in || !out) {
		SSL_free(ssl);
		BIO_free(in);
		BIO_free(out);
		err_set(err, HCP_ENOMEM, "tls", "no memory for a TLS session");
		return NULL;
	}
	BIO_set_mem_eof_return(in, -1);
	BIO_set_mem_eof_return(out, -1);
	SSL_set_bio(ssl, in, out);
	if (ctx->server) {
		SSL_set_accept_state(ssl);
		return ssl;
	}
	SSL_set_connect_state(ssl);
	bool ok = true;
	if (name && is_address(name))
		ok = !ctx->verify || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
	else if (name)
		ok = SSL_set_tlsext_host_name(ssl, name) == 1 && (!ctx->verify || SSL_set1_host(ssl, name) == 1);
	if (!ok) {
		SSL_free(ssl);
		err_set(err, HCP_EINVAL, "tls_name", "%s cannot be a certificate name", name);
		return NULL;
	}
	return ssl;
}
