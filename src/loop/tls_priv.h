#ifndef HCP_LOOP_TLS_PRIV_H
#define HCP_LOOP_TLS_PRIV_H

#include <openssl/ssl.h>

#include "loop/tls.h"

/* A new session of ctx; name (NULL: none) is verified against the peer's certificate and sent as SNI. */
SSL *tls_session(struct tls_ctx *ctx, const char *name, struct err *err);
/* Of tls_session. NULL is fine. */
void tls_session_free(SSL *ssl);
bool tls_is_server(const struct tls_ctx *ctx);
/* OpenSSL's oldest queued error as a sentence. */
const char *tls_reason(char *buf, size_t cap);
/* Whose certificate was refused, as far as it said; "" where none was shown. At most cap bytes. */
void tls_refused_name(SSL *ssl, char *buf, size_t cap);

#endif
