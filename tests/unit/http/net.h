#ifndef HCP_TESTS_NET_H
#define HCP_TESTS_NET_H

/* What the network tests share: bounded waiting, a raw-bytes client, a self-signed certificate, child programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/mem.h"
#include "base/str.h"
#include "loop/child.h"
#include "loop/loop.h"
#include "loop/stream.h"

enum { WAIT_MS = 10000 };

/* Runs the loop until the condition holds; false after WAIT_MS. */
#define wait_for(loop, cond) ({ \
	int64_t end_ns_ = loop_now_ns(loop) + (int64_t)WAIT_MS * 1000000; \
	while (!(cond) && loop_now_ns(loop) < end_ns_) \
		loop_turn(loop, 20); \
	(cond); })

struct raw {
	struct stream *s; /* NULL once closed */
	struct buf in;
	bool open, eof, closed;
	int code;
};

static inline void raw_open(struct stream *s, void *arg)
{
	((struct raw *)arg)->open = true;
}

static inline void raw_data(struct stream *s, void *arg, const uint8_t *p, size_t n)
{
	buf_add(&((struct raw *)arg)->in, p, n);
}

static inline void raw_eof(struct stream *s, void *arg)
{
	((struct raw *)arg)->eof = true;
}

static inline void raw_close(struct stream *s, void *arg, int code, const char *why)
{
	struct raw *r = arg;
	r->closed = true;
	r->code = code;
	r->s = NULL;
}

static const struct stream_ops raw_ops = { raw_open, raw_data, raw_eof, NULL, raw_close };

static inline void raw_connect(struct loop *loop, struct raw *r, uint16_t port)
{
	*r = (struct raw){ 0 };
	buf_init(&r->in, 0);
	struct stream_conf sc = { .ops = &raw_ops, .arg = r };
	assert_int_equal(stream_connect(loop, "127.0.0.1", port, &sc, &r->s, NULL), 0);
	assert_true(wait_for(loop, r->open));
}

static inline void raw_send(struct raw *r, const char *text)
{
	if (r->s)
		assert_int_equal(stream_write(r->s, text, strlen(text)), 0);
}

static inline bool raw_has(const struct raw *r, const char *text)
{
	return r->in.n > 0 && memmem(r->in.data, r->in.n, text, strlen(text)) != NULL;
}

static inline void raw_end(struct loop *loop, struct raw *r)
{
	if (r->s)
		stream_abort(r->s, 0, "");
	assert_true(wait_for(loop, r->closed));
	buf_release(&r->in);
}

/* A self-signed certificate for 127.0.0.1 and localhost; paths of 64 bytes. */
static inline void make_cert(char *cert, char *key)
{
	snprintf(cert, 64, "/tmp/hcp-cert-XXXXXX");
	snprintf(key, 64, "/tmp/hcp-key-XXXXXX");
	FILE *fc = fdopen(mkstemp(cert), "w"), *fk = fdopen(mkstemp(key), "w");
	EVP_PKEY *pk = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_set_pubkey(x, pk);
	X509_NAME *name = X509_get_subject_name(x);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"hcp-test", -1, -1, 0);
	X509_set_issuer_name(x, name);
	X509V3_CTX ctx;
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, "IP:127.0.0.1,DNS:localhost");
	X509_add_ext(x, ext, -1);
	X509_EXTENSION_free(ext);
	assert_true(X509_sign(x, pk, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_X509(fc, x), 1);
	assert_int_equal(PEM_write_PrivateKey(fk, pk, NULL, NULL, 0, NULL, NULL), 1);
	X509_free(x);
	EVP_PKEY_free(pk);
	fclose(fc);
	fclose(fk);
}

struct ran {
	bool over;
	int64_t exit_code;
	int term_signal;
};

static inline void on_ran(void *arg, int64_t exit_code, int term_signal)
{
	*(struct ran *)arg = (struct ran){ true, exit_code, term_signal };
}

/* Runs a program to its end; its output into out. HCP_ENOTFOUND comes back if there is none. */
static inline int run_program(struct loop *loop, const char *const *argv, struct buf *out, struct ran *ran)
{
	FILE *f = tmpfile();
	assert_non_null(f);
	*ran = (struct ran){ 0 };
	struct child_conf cc = { .argv = argv, .log_fd = fileno(f), .stdin_fd = -1, .on_exit = on_ran, .arg = ran };
	struct child *c;
	int rc = child_new(loop, &cc, &c, NULL);
	if (rc == 0) {
		if (!wait_for(loop, ran->over)) {
			child_stop(c, 100);
			assert_true(wait_for(loop, ran->over));
		}
		rewind(f);
		char chunk[4096];
		size_t n;
		while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
			buf_add(out, chunk, n);
	}
	fclose(f);
	return rc;
}

#endif
