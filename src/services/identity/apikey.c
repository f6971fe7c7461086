/* API keys: only the SHA-256 of a secret ever reaches this service. */
#include "services/identity/identity_priv.h"

enum { KEY_SHA256 = 32, KEY_PREFIX_MAX = 16 };

static int key_owner(const struct msg *m, const char **ret_user, struct err *err)
{
	if (!m->principal || !m->principal->user_id[0])
		return err_set(err, HCP_EPERM, "authorization", "API keys belong to people; log in as a user");
	*ret_user = m->principal->user_id;
	return 0;
}

static struct str bytes_of(ProtobufCBinaryData b)
{
	return (struct str){ (const char *)b.data, b.len };
}

static int count_keys(struct db *db, const char *user, int64_t *ret, struct err *err)
{
	struct db_row *row = NULL;
	int rc = db_query(db, &row, err, "SELECT count(*) FROM api_key WHERE user_id=$1 AND revoked=0", "z", user);
	if (rc < 0)
		return rc;
	*ret = rc == 1 ? db_i64(row, 0) : 0;
	if (rc == 1)
		db_done(row);
	return 0;
}

static int check_create(struct svc_ctx *ctx, const Hcp__ApiKeyCreate *c, const char *user, struct err *err)
{
	size_t n = strlen(c->name);
	int64_t have = 0;
	if (n == 0 || n > IDENTITY_NAME_MAX)
		return err_set(err, HCP_EINVAL, "name", "must be 1 to %d characters", IDENTITY_NAME_MAX);
	if (c->secret_sha256.len != KEY_SHA256 || !c->prefix[0] || strlen(c->prefix) > KEY_PREFIX_MAX)
		return err_set(err, HCP_EINVAL, "secret_sha256", "is set by the gateway, 32 bytes");
	int rc = count_keys(svc_db(ctx), user, &have, err);
	if (rc == 0 && have >= IDENTITY_KEYS_MAX)
		return err_set(err, HCP_ELIMIT, "name", "%d API keys are live; revoke one first", IDENTITY_KEYS_MAX);
	return rc;
}

int on_key_create(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__ApiKeyCreate *c = (const Hcp__ApiKeyCreate *)m->body;
	char id[ID_TEXT_MAX];
	const char *user = NULL;
	int rc = key_owner(m, &user, err);
	if (rc == 0)
		rc = check_create(ctx, c, user, err);
	if (rc < 0)
		return rc;
	svc_new_id(ctx, id, ID_APIKEY);
	rc = db_run(svc_db(ctx), err,
		    "INSERT INTO api_key(id,user_id,customer_id,name,prefix,sha256,created_ns,revoked)"
		    " VALUES($1,$2,$3,$4,$5,$6,$7,0)", "zzzzzbi", id, user, m->principal->customer_id, c->name, c->prefix,
		    bytes_of(c->secret_sha256), svc_now_ns(ctx));
	Hcp__ApiKey *k = rc == 0 ? svc_reply(ctx, MSG_API_KEY) : NULL;
	if (!k)
		return rc < 0 ? rc : HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	k->id = arena_strdup(a, id);
	k->name = arena_strdup(a, c->name);
	k->prefix = arena_strdup(a, c->prefix);
	k->customer_id = arena_strdup(a, m->principal->customer_id);
	k->created_at_ns = svc_now_ns(ctx);
	return k->id && k->name && k->prefix && k->customer_id ? 0 : HCP_ENOMEM;
}

static int key_row(struct db_row *row, struct arena *a, Hcp__ApiKey *k)
{
	struct str id = db_text(row, 0), name = db_text(row, 1), prefix = db_text(row, 2), customer = db_text(row, 4);
	k->id = arena_strndup(a, id.p, id.n);
	k->name = arena_strndup(a, name.p, name.n);
	k->prefix = arena_strndup(a, prefix.p, prefix.n);
	k->created_at_ns = db_i64(row, 3);
	k->customer_id = arena_strndup(a, customer.p, customer.n);
	k->revoked = db_i64(row, 5) != 0;
	return k->id && k->name && k->prefix && k->customer_id ? 0 : HCP_ENOMEM;
}

int on_key_list(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const char *user = NULL;
	struct db_row *row = NULL;
	int rc = key_owner(m, &user, err);
	Hcp__ApiKeys *list = rc == 0 ? svc_reply(ctx, MSG_API_KEYS) : NULL;
	if (!list)
		return rc < 0 ? rc : HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	rc = db_query(svc_db(ctx), &row, err,
		      "SELECT id,name,prefix,created_ns,customer_id,revoked FROM api_key WHERE user_id=$1"
		      " ORDER BY id DESC LIMIT 1000", "z", user);
	while (rc == 1) {
		Hcp__ApiKey *k = arena_alloc(a, sizeof(*k));
		if (k)
			hcp__api_key__init(k);
		int made = k ? key_row(row, a, k) : HCP_ENOMEM;
		if (made == 0)
			made = pb_push(a, &list->n_keys, &list->keys, k);
		if (made < 0) {
			db_done(row);
			return made;
		}
		rc = db_next(row, err);
	}
	return rc;
}

int on_key_revoke(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__ApiKeyRevoke *r = (const Hcp__ApiKeyRevoke *)m->body;
	const char *user = NULL;
	struct db_row *row = NULL;
	int rc = key_owner(m, &user, err);
	if (rc < 0)
		return rc;
	rc = db_query(svc_db(ctx), &row, err,
		      "SELECT id,name,prefix,created_ns,customer_id,revoked FROM api_key WHERE id=$1 AND user_id=$2", "zz",
		      r->id, user);
	if (rc == 0)
		return err_set(err, HCP_ENOTFOUND, "id", "you have no API key %.40s", r->id);
	if (rc < 0)
		return rc;
	Hcp__ApiKey *k = svc_reply(ctx, MSG_API_KEY);
	rc = k ? key_row(row, svc_reply_arena(ctx), k) : HCP_ENOMEM;
	db_done(row);
	if (rc < 0)
		return rc;
	k->revoked = true;
	return db_run(svc_db(ctx), err, "UPDATE api_key SET revoked=1 WHERE id=$1", "z", r->id);
}

int on_key_resolve(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__ApiKeyResolve *r = (const Hcp__ApiKeyResolve *)m->body;
	struct db_row *row = NULL;
	struct identity_user u;
	char user[ID_TEXT_MAX];
	if (m->principal)
		return err_set(err, HCP_EPERM, "sha256", "only the platform resolves keys");
	if (r->sha256.len != KEY_SHA256)
		return err_set(err, HCP_EINVAL, "sha256", "must be 32 bytes, was %zu", r->sha256.len);
	int rc = db_query(svc_db(ctx), &row, err, "SELECT user_id FROM api_key WHERE sha256=$1 AND revoked=0", "b",
			  bytes_of(r->sha256));
	if (rc == 0)
		return err_set(err, HCP_ENOTFOUND, "sha256", "there is no such key");
	if (rc < 0)
		return rc;
	rc = str_copy(user, sizeof(user), db_text(row, 0));
	db_done(row);
	if (rc == 0)
		rc = user_by_id(svc_db(ctx), user, &u, err);
	if (rc < 0)
		return rc;
	Hcp__Principal *p = svc_reply(ctx, MSG_PRINCIPAL);
	return p ? user_principal(&u, svc_reply_arena(ctx), p) : HCP_ENOMEM;
}
