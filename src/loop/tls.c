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
#include "os/file.h"

enum { TLS_ALPN_BYTES = 64 };

enum { TLS_FILES = 3 };

struct tls_ctx {
	SSL_CTX *ssl;            /* under lock */
	atomic_int refs;
	bool server, verify, tls12;
	bool system_cas;         /* peers are verified by the system's certificates … */
	bool cas_loaded;         /* … which are read for the first connection: most processes never make one; under lock */
	pthread_mutex_t lock;
	unsigned char alpn[TLS_ALPN_BYTES]; /* wire form: length-prefixed names */
	unsigned int alpn_n;
	char *file[TLS_FILES];   /* certificate, key, authority; owned, NULL: none */
	struct file_stamp stamp[TLS_FILES]; /* as they were last looked at; under lock */
	void (*on_reload)(void *arg, const struct err *err);
	void *arg;
};

/* What people should read instead of OpenSSL's words, which tell what it saw and not what that means. */
static const char *plain_reason(unsigned long e)
{
	int reason = ERR_GET_REASON(e);
	if (ERR_GET_LIB(e) != ERR_LIB_SSL)
		return NULL;
	switch (reason) {
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
	case SSL_R_HTTPS_PROXY_REQUEST:
		return "the peer does not speak TLS";
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
		return "the two have no TLS version in common; TLS 1.3 is needed";
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return "the peer shows no certificate";
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
		return "the peer wants a certificate of us, and we have none";
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
		return "the peer refuses our certificate: it has expired";
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
		return "the peer refuses our certificate: an authority that it does not trust has signed it";
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
		return "the peer refuses our certificate";
	default:
		return NULL;
	}
}

const char *tls_reason(char *buf, size_t cap)
{
	unsigned long e = ERR_get_error();
	const char *r = e ? plain_reason(e) : NULL;
	if (!r)
		r = e ? ERR_reason_error_string(e) : NULL;
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

static int load_files(const struct tls_ctx *c, SSL_CTX *ssl, struct err *err)
{
	char why[160];
	const char *cert = c->file[0], *key = c->file[1], *ca = c->file[2];
	ERR_clear_error();
	if (cert && SSL_CTX_use_certificate_chain_file(ssl, cert) != 1)
		return err_set(err, HCP_EINVAL, "cert_file", "%.120s: %s", cert, tls_reason(why, sizeof(why)));
	if (key && SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1)
		return err_set(err, HCP_EINVAL, "key_file", "%.120s: %s", key, tls_reason(why, sizeof(why)));
	if (cert && SSL_CTX_check_private_key(ssl) != 1)
		return err_set(err, HCP_EINVAL, "key_file", "%.120s does not belong to the certificate: %s", key,
			tls_reason(why, sizeof(why)));
	if (ca && SSL_CTX_load_verify_locations(ssl, ca, NULL) != 1)
		return err_set(err, HCP_EINVAL, "ca_file", "%.120s: %s", ca, tls_reason(why, sizeof(why)));
	if (c->server && ca)
		SSL_CTX_set_client_CA_list(ssl, SSL_load_client_CA_file(ca));
	return 0;
}

/* Keeps the name for the log; the verdict stays OpenSSL's. */
static int on_verified(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	X509 *x = X509_STORE_CTX_get0_cert(store);
	if (!ok && ssl && x && !SSL_get_app_data(ssl)) {
		X509_up_ref(x);
		SSL_set_app_data(ssl, x);
	}
	return ok;
}

void tls_session_free(SSL *ssl)
{
	if (ssl)
		X509_free(SSL_get_app_data(ssl));
	SSL_free(ssl);
}

void tls_refused_name(SSL *ssl, char *buf, size_t cap)
{
	X509 *x = SSL_get_app_data(ssl);
	struct identity id = { 0 };
	if (x)
		identity_of_x509(x, &id);
	snprintf(buf, cap, "%s", id.name);
}

/* A context of OpenSSL's with what the files hold now. */
static int make_ssl(struct tls_ctx *c, SSL_CTX **ret, struct err *err)
{
	static const unsigned char session_name[] = "hcp";
	SSL_CTX *ssl = SSL_CTX_new(c->server ? TLS_server_method() : TLS_client_method());
	if (!ssl)
		return err_set(err, HCP_ENOMEM, "tls", "no memory for a TLS context");
	SSL_CTX_set_min_proto_version(ssl, c->tls12 ? TLS1_2_VERSION : TLS1_3_VERSION);
	SSL_CTX_set_options(ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
		SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(ssl, !c->verify ? SSL_VERIFY_NONE :
		c->server ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_PEER, on_verified);
	SSL_CTX_set_session_id_context(ssl, session_name, sizeof(session_name) - 1);
	if (c->server && c->verify) {
		/* A resumed session would not show its certificate again, which may have expired meanwhile. */
		SSL_CTX_set_num_tickets(ssl, 0);
		SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
		SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
	}
	int rc = load_files(c, ssl, err);
	if (rc < 0) {
		SSL_CTX_free(ssl);
		return rc;
	}
	if (c->alpn_n && c->server)
		SSL_CTX_set_alpn_select_cb(ssl, choose_alpn, c);
	else if (c->alpn_n)
		SSL_CTX_set_alpn_protos(ssl, c->alpn, c->alpn_n);
	*ret = ssl;
	return 0;
}

static int copy_files(struct tls_ctx *c, const struct tls_conf *conf, struct err *err)
{
	const char *const names[TLS_FILES] = { conf->cert_file, conf->key_file, conf->ca_file };
	for (size_t i = 0; i < TLS_FILES; i++) {
		c->file[i] = names[i] ? mem_dup(names[i], strlen(names[i]) + 1) : NULL;
		if (names[i] && !c->file[i])
			return err_set(err, HCP_ENOMEM, "tls", "no memory");
		if (names[i])
			c->stamp[i] = file_stamp(names[i]);
	}
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
	c->tls12 = conf->allow_tls12;
	c->verify = server ? conf->ca_file != NULL : !conf->no_verify;
	c->system_cas = !server && c->verify && !conf->ca_file;
	c->on_reload = conf->on_reload;
	c->arg = conf->arg;
	int rc = set_alpn(c, conf->alpn, err);
	if (rc == 0)
		rc = copy_files(c, conf, err);
	if (rc == 0)
		rc = make_ssl(c, &c->ssl, err);
	if (rc < 0) {
		tls_unref(c);
		return rc;
	}
	*ret_ctx = c;
	return 0;
}

/* Takes files that have changed since they were last looked at. */
static void reload(struct tls_ctx *c)
{
	struct err err = { 0 };
	bool changed = false;
	SSL_CTX *now = NULL, *old = NULL;
	if (!c->on_reload)
		return;
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < TLS_FILES; i++) {
		struct file_stamp s = c->file[i] ? file_stamp(c->file[i]) : c->stamp[i];
		changed |= s.inode != c->stamp[i].inode || s.size != c->stamp[i].size || s.changed_ns != c->stamp[i].changed_ns;
		c->stamp[i] = s;
	}
	if (changed && make_ssl(c, &now, &err) == 0) {
		old = c->ssl;
		c->ssl = now;
		c->cas_loaded = false;
	}
	pthread_mutex_unlock(&c->lock);
	SSL_CTX_free(old); /* sessions hold theirs */
	if (changed)
		c->on_reload(c->arg, now ? NULL : &err);
}

bool tls_identity(struct tls_ctx *ctx, struct identity *ret)
{
	pthread_mutex_lock(&ctx->lock);
	X509 *x = SSL_CTX_get0_certificate(ctx->ssl);
	if (x)
		identity_of_x509(x, ret);
	pthread_mutex_unlock(&ctx->lock);
	return x != NULL;
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
	for (size_t i = 0; i < TLS_FILES; i++)
		mem_free(ctx->file[i]);
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

/* The system's are 140 certificates: 1 MiB and 10 ms. NULL, and *ret_cas_bad if it is those. */
static SSL *new_ssl(struct tls_ctx *ctx, bool *ret_cas_bad)
{
	SSL *ssl = NULL;
	pthread_mutex_lock(&ctx->lock);
	if (ctx->system_cas && !ctx->cas_loaded)
		ctx->cas_loaded = SSL_CTX_set_default_verify_paths(ctx->ssl) == 1;
	*ret_cas_bad = ctx->system_cas && !ctx->cas_loaded;
	if (!*ret_cas_bad)
		ssl = SSL_new(ctx->ssl);
	pthread_mutex_unlock(&ctx->lock);
	return ssl;
}

SSL *tls_session(struct tls_ctx *ctx, const char *name, struct err *err)
{
	bool cas_bad;
	reload(ctx);
	SSL *ssl = new_ssl(ctx, &cas_bad);
	if (cas_bad) {
		err_set(err, HCP_EIO, "ca_file", "the system's certificate store cannot be read");
		return NULL;
	}
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
