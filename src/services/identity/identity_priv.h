#ifndef HCP_SERVICES_IDENTITY_PRIV_H
#define HCP_SERVICES_IDENTITY_PRIV_H

#include "base/breaker.h"
#include "base/map.h"
#include "services/common/jwt.h"
#include "services/identity/identity.h"

enum { IDENTITY_HASH_MAX = 160, IDENTITY_EMAIL_MAX = 254 };

struct identity {
	struct identity_conf conf;
	struct jwt_key *key;   /* owned */
	struct map locks;      /* e-mail → struct breaker, owned; memory only: a restart forgives */
	char dummy[IDENTITY_HASH_MAX]; /* what unknown e-mails are checked against, so that both take the same time */
};

/* A user as the tables hold it. */
struct identity_user {
	char id[ID_TEXT_MAX], customer_id[ID_TEXT_MAX], email[IDENTITY_EMAIL_MAX + 1], name[128];
	char hash[IDENTITY_HASH_MAX];
	int role;
	uint32_t rate_per_min;
};

/* password.c: Argon2id, 2 passes, 1 lane, kib of memory; 0: IDENTITY_HASH_KIB. */
int password_hash(struct str password, const unsigned char salt[16], uint32_t kib, char dst[IDENTITY_HASH_MAX],
	struct err *err) MUST_CHECK;
/* 0, HCP_EAUTH, or HCP_ENOMEM. */
int password_verify(struct str password, const char *hash) MUST_CHECK;

/* user.c */
/* HCP_ENOTFOUND; column is "id" or "email". */
int user_by_id(struct db *db, const char *id, struct identity_user *ret, struct err *err) MUST_CHECK;
int user_by_email(struct db *db, const char *email, struct identity_user *ret, struct err *err) MUST_CHECK;
/* The first customers and users of an empty database: the same for the same signing key, so that replays agree. */
int identity_seed(struct identity *id, struct db *db, struct err *err) MUST_CHECK;
/* Fills a Principal in arena a. */
int user_principal(const struct identity_user *u, struct arena *a, Hcp__Principal *p) MUST_CHECK;

/* login.c */
svc_handler_fn on_login, on_who_am_i, on_signing_key;
/* A bearer token and who it is for, in the reply's arena. */
int session_fill(struct identity *id, struct svc_ctx *ctx, const struct identity_user *u, Hcp__Session *s,
	struct err *err) MUST_CHECK;
/* session.c */
svc_handler_fn on_session_open, on_session_refresh, on_session_end;
/* apikey.c */
svc_handler_fn on_key_create, on_key_list, on_key_revoke, on_key_resolve;

#endif
