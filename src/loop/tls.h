#ifndef HCP_LOOP_TLS_H
#define HCP_LOOP_TLS_H

#include <stdbool.h>

#include "base/err.h"
#include "pki/identity.h"

/* Certificates and settings of one side; reference-counted, usable from any thread. */
struct tls_ctx;

struct tls_conf {
	const char *cert_file; /* PEM chain; NULL: none (clients only) */
	const char *key_file;  /* PEM; NULL with cert_file NULL */
	const char *ca_file;   /* whom we trust. Server: asks for and verifies client certificates (mTLS) when set.
	                          Client: NULL means the system's store, read when the first session is made:
	                          if it cannot be, that session fails with HCP_EIO */
	bool no_verify;        /* client only, for tests: accept any certificate */
	bool allow_tls12;      /* default is TLS 1.3 only */
	const char *alpn;      /* comma-separated, in order of preference, e.g. "h2,http/1.1"; NULL: none */
	/*
	 * Set: the files are looked at before every session, and changed ones are taken for it and those after; sessions
	 * that stand go on as they are. err NULL: taken. Else what is wrong with them: what was there before stays until
	 * they change again (a key that is written before its certificate is told so and taken a moment later). Called
	 * from the thread that makes the session.
	 */
	void (*on_reload)(void *arg, const struct err *err);
	void *arg;
};

/* HCP_EINVAL names the file or field that is wrong. */
int tls_server_new(const struct tls_conf *conf, struct tls_ctx **ret_ctx, struct err *err) MUST_CHECK;
int tls_client_new(const struct tls_conf *conf, struct tls_ctx **ret_ctx, struct err *err) MUST_CHECK;
/* Whom our own certificate is for and until when; false where there is none. */
bool tls_identity(struct tls_ctx *ctx, struct identity *ret);
struct tls_ctx *tls_ref(struct tls_ctx *ctx);
void tls_unref(struct tls_ctx *ctx);

#endif
