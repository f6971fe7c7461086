/*
 * Secrets of callbacks and signatures by them. A secret is never stored: it is derived from the platform's key, the
 * organisation and a generation, and only the generation is kept. So neither tables nor journal can give one away.
 */
#include <openssl/hmac.h>
#include <stdio.h>

#include "base/hex.h"
#include "base/mem.h"
#include "base/money.h"
#include "services/orchestrator/callback.h"
#include "services/orchestrator/orchestrator_priv.h"

enum { DIGEST = 32, SECRET_MAX = 6 + 2 * DIGEST + 1 };

static int hmac(struct str key, struct str head, struct str body, char hex[2 * DIGEST + 1], struct err *err)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	struct buf b;
	buf_init(&b, 0);
	buf_adds(&b, head);
	buf_adds(&b, body);
	bool ok = !buf_failed(&b) &&
			  HMAC(EVP_sha256(), key.p, (int)key.n, (const unsigned char *)b.data, b.n, digest, &n) && n == DIGEST;
	buf_release(&b);
	if (!ok)
		return err_set(err, HCP_ENOMEM, "", "out of memory for a signature");
	hex_encode(hex, digest, DIGEST);
	return 0;
}

static int secret_of(
	const struct orchestrator *o, const char *customer, int64_t generation, char ret[SECRET_MAX], struct err *err)
{
	char head[64];
	snprintf(head, sizeof(head), "callback secret %lld of ", (long long)generation);
	snprintf(ret, SECRET_MAX, "whsec_");
	return hmac((struct str){ (const char *)o->conf.callback_key, ORCHESTRATOR_KEY_BYTES }, str_of(head),
		str_of(customer), ret + 6, err);
}

/* Generation 1 holds until it is changed for the first time. */
static int load_generation(
	struct svc_ctx *ctx, const char *customer, int64_t *ret_generation, int64_t *ret_until_ns, struct err *err)
{
	struct db_row *row;
	*ret_generation = 1;
	*ret_until_ns = 0;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT generation,rotated_ns FROM callback_secret WHERE customer_id=$1",
		"z", customer);
	if (rc <= 0)
		return rc;
	*ret_generation = db_i64(row, 0);
	*ret_until_ns = db_i64(row, 1) + CALLBACK_OLD_SECRET_S * NS_PER_S;
	if (*ret_until_ns <= svc_now_ns(ctx))
		*ret_until_ns = 0;
	db_done(row);
	return 0;
}

static int sign_one(const struct orchestrator *o, const char *customer, int64_t generation, struct str head,
	struct str body, char hex[2 * DIGEST + 1], struct err *err)
{
	char secret[SECRET_MAX];
	int rc = secret_of(o, customer, generation, secret, err);
	if (rc == 0)
		rc = hmac((struct str){ secret, sizeof(secret) - 1 }, head, body, hex, err);
	explicit_bzero(secret, sizeof(secret));
	return rc;
}

int orch_callback_sign(const struct orchestrator *o, struct svc_ctx *ctx, const char *customer_id, struct str body,
	struct arena *a, const char **ret, struct err *err)
{
	char head[32], now[2 * DIGEST + 1], before[2 * DIGEST + 1];
	int64_t generation, until_ns, at_s = svc_now_ns(ctx) / NS_PER_S;
	*ret = "";
	if (!o->conf.callback_key)
		return 0;
	snprintf(head, sizeof(head), "%lld.", (long long)at_s);
	int rc = load_generation(ctx, customer_id, &generation, &until_ns, err);
	if (rc == 0)
		rc = sign_one(o, customer_id, generation, str_of(head), body, now, err);
	if (rc == 0 && until_ns)
		rc = sign_one(o, customer_id, generation - 1, str_of(head), body, before, err);
	if (rc < 0)
		return rc;
	*ret = until_ns ? arena_printf(a, "t=%lld,v1=%s,v1=%s", (long long)at_s, now, before)
					: arena_printf(a, "t=%lld,v1=%s", (long long)at_s, now);
	return *ret ? 0 : err_set(err, HCP_ENOMEM, "", "out of memory");
}

static int answer_secret(const struct orchestrator *o, struct svc_ctx *ctx, const char *customer, struct err *err)
{
	int64_t generation, until_ns;
	int rc = load_generation(ctx, customer, &generation, &until_ns, err);
	if (rc < 0)
		return rc;
	Hcp__CallbackSecret *out = svc_reply(ctx, MSG_CALLBACK_SECRET);
	char *secret = out ? arena_calloc(svc_reply_arena(ctx), SECRET_MAX) : NULL;
	if (!secret)
		return HCP_ENOMEM;
	rc = o->conf.callback_key ? secret_of(o, customer, generation, secret, err) : 0;
	out->secret = secret;
	out->generation = (int32_t)generation;
	out->previous_until_ns = until_ns;
	return rc;
}

static int own_customer(const struct msg *m, const char **ret, struct err *err)
{
	if (!m->principal)
		return err_set(err, HCP_EPERM, "", "a secret belongs to an organisation; log in");
	*ret = m->principal->customer_id;
	return 0;
}

int orch_on_callback_secret(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const char *customer = "";
	int rc = own_customer(m, &customer, err);
	return rc < 0 ? rc : answer_secret(state, ctx, customer, err);
}

int orch_on_callback_rotate(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const char *customer = "";
	int rc = own_customer(m, &customer, err);
	if (rc == 0)
		rc = db_run(svc_db(ctx), err,
			"INSERT INTO callback_secret(customer_id,generation,rotated_ns) VALUES($1,2,$2) ON CONFLICT(customer_id)"
			" DO UPDATE SET generation=generation+1, rotated_ns=excluded.rotated_ns",
			"zi", customer, svc_now_ns(ctx));
	return rc < 0 ? rc : answer_secret(state, ctx, customer, err);
}
