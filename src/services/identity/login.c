/* Passwords in, who it is out. A login is a query: its input is not journaled, so no password is ever stored. */
#include "base/mem.h"
#include "base/money.h"
#include "services/identity/identity_priv.h"

static const struct breaker_conf lock_conf = { 5, 10 * NS_PER_S, 30 * NS_PER_S };

/* Lower case, no blanks around. */
static int normal_email(const char *text, char dst[IDENTITY_EMAIL_MAX + 1], struct err *err)
{
	struct str s = str_trim(str_of(text));
	if (!s.n || str_copy(dst, IDENTITY_EMAIL_MAX + 1, s) < 0)
		return err_set(err, HCP_EINVAL, "email", "must be 1 to %d characters", IDENTITY_EMAIL_MAX);
	for (char *p = dst; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p += 'a' - 'A';
	return 0;
}

/* Forgets e-mails whose failures are too old to count. */
static void forget_old(struct identity *id, int64_t now_ns)
{
	struct map kept;
	struct str key;
	void *v;
	size_t pos = 0;
	map_init(&kept);
	while (map_next(&id->locks, &pos, &key, &v)) {
		struct breaker *b = v;
		int64_t last = b->failed_at_ns[(b->next + BREAKER_MAX_FAILURES - 1) % BREAKER_MAX_FAILURES];
		bool old = b->state == BREAKER_CLOSED ? last < now_ns - lock_conf.window_ns : b->open_until_ns < now_ns;
		if (old || map_put(&kept, key, b, NULL) < 0)
			mem_free(b);
	}
	map_release(&id->locks);
	id->locks = kept;
}

static struct breaker *lock_of(struct identity *id, const char *email, int64_t now_ns)
{
	struct breaker *b = map_get(&id->locks, str_of(email));
	if (b)
		return b;
	if (id->locks.n >= IDENTITY_LOCKS_MAX)
		forget_old(id, now_ns);
	if (id->locks.n >= IDENTITY_LOCKS_MAX)
		return NULL;
	b = mem_alloc(sizeof(*b));
	if (!b)
		return NULL;
	breaker_init(b, lock_conf);
	if (map_put(&id->locks, str_of(email), b, NULL) < 0) {
		mem_free(b);
		return NULL;
	}
	return b;
}

static int session_token(struct identity *id, struct svc_ctx *ctx, const struct identity_user *u, Hcp__Session *s,
			 struct err *err)
{
	struct jwt_claims c = { .role = u->role, .rate_per_min = u->rate_per_min };
	struct buf token;
	int64_t life_s = id->conf.token_s ? id->conf.token_s : IDENTITY_TOKEN_S;
	c.iat_s = svc_now_ns(ctx) / NS_PER_S;
	c.exp_s = c.iat_s + life_s;
	if (str_copy(c.sub, sizeof(c.sub), str_of(u->id)) < 0 || str_copy(c.email, sizeof(c.email), str_of(u->email)) < 0 ||
	    str_copy(c.name, sizeof(c.name), str_of(u->name)) < 0 ||
	    str_copy(c.cus, sizeof(c.cus), str_of(u->customer_id)) < 0)
		return err_set(err, HCP_ECORRUPT, "user", "a stored user does not fit");
	buf_init(&token, JWT_MAX_BYTES);
	int rc = jwt_sign(id->key, &c, &token, err);
	if (rc == 0)
		s->access_token = arena_strndup(svc_reply_arena(ctx), token.data, token.n);
	buf_release(&token);
	s->token_type = "Bearer";
	s->expires_in = (int32_t)life_s;
	return rc < 0 ? rc : s->access_token ? 0 : HCP_ENOMEM;
}

static int session_who(struct svc_ctx *ctx, const struct identity_user *u, Hcp__Session *s)
{
	struct arena *a = svc_reply_arena(ctx);
	s->principal = arena_alloc(a, sizeof(*s->principal));
	s->name = arena_strdup(a, u->name);
	if (!s->principal || !s->name)
		return HCP_ENOMEM;
	hcp__principal__init(s->principal);
	return user_principal(u, a, s->principal);
}

int session_fill(
	struct identity *id, struct svc_ctx *ctx, const struct identity_user *u, Hcp__Session *s, struct err *err)
{
	int rc = session_token(id, ctx, u, s, err);
	return rc < 0 ? rc : session_who(ctx, u, s);
}

/* The same words and the same work for an unknown e-mail and a wrong password. */
static int check_password(struct identity *id, struct svc_ctx *ctx, const char *email, struct str password,
			  struct identity_user *u, struct err *err)
{
	struct breaker *lock = lock_of(id, email, svc_now_ns(ctx));
	if (!lock || !breaker_allow(lock, svc_now_ns(ctx)))
		return err_set(err, HCP_ELIMIT, "email", "too many failed logins; try again in 30 seconds");
	int found = user_by_email(svc_db(ctx), email, u, NULL);
	if (found < 0 && found != HCP_ENOTFOUND)
		return found;
	int rc = password_verify(password, found == 0 ? u->hash : id->dummy);
	if (rc == HCP_ENOMEM)
		return err_set(err, rc, "", "out of memory");
	if (rc < 0 || found < 0) {
		breaker_failure(lock, svc_now_ns(ctx));
		return err_set(err, HCP_EAUTH, "password", "e-mail or password is wrong");
	}
	map_del(&id->locks, str_of(email));
	mem_free(lock);
	return 0;
}

int on_login(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct identity *id = state;
	const Hcp__Login *l = (const Hcp__Login *)m->body;
	char email[IDENTITY_EMAIL_MAX + 1];
	struct identity_user u;
	struct str password = str_of(l->password);
	int rc = normal_email(l->email, email, err);
	if (rc < 0)
		return rc;
	if (!password.n || password.n > IDENTITY_PASSWORD_MAX)
		return err_set(err, HCP_EINVAL, "password", "must be 1 to %d bytes", IDENTITY_PASSWORD_MAX);
	rc = check_password(id, ctx, email, password, &u, err);
	if (rc < 0)
		return rc;
	Hcp__Principal *p = svc_reply(ctx, MSG_PRINCIPAL);
	return p ? user_principal(&u, svc_reply_arena(ctx), p) : HCP_ENOMEM;
}

int on_who_am_i(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct identity_user u = { 0 };
	if (!m->principal)
		return err_set(err, HCP_EAUTH, "authorization", "nobody is logged in");
	if (m->principal->role == HCP__ROLE__MACHINE) {
		u.role = HCP__ROLE__MACHINE;
		memcpy(u.name, "machine", sizeof("machine"));
	} else {
		int rc = user_by_id(svc_db(ctx), m->principal->user_id, &u, err);
		if (rc == HCP_ENOTFOUND)
			return err_set(err, HCP_EAUTH, "authorization", "the user of this token is gone");
		if (rc < 0)
			return rc;
	}
	Hcp__Session *s = svc_reply(ctx, MSG_SESSION);
	return s ? session_who(ctx, &u, s) : HCP_ENOMEM;
}

int on_signing_key(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct identity *id = state;
	struct buf pem;
	Hcp__SigningKey *k = svc_reply(ctx, MSG_SIGNING_KEY);
	if (!k)
		return HCP_ENOMEM;
	buf_init(&pem, 16 << 10);
	int rc = jwt_key_public_pem(id->key, &pem, err);
	if (rc == 0) {
		k->public_pem = arena_strndup(svc_reply_arena(ctx), pem.data, pem.n);
		k->kid = arena_strdup(svc_reply_arena(ctx), jwt_key_id(id->key));
		rc = k->public_pem && k->kid ? 0 : HCP_ENOMEM;
	}
	buf_release(&pem);
	return rc;
}
