#include "base/mem.h"
#include "os/file.h"
#include "services/identity/identity_priv.h"

static const char *const schema[] = {
	"CREATE TABLE customer(id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, tier TEXT NOT NULL,"
	"  weight INTEGER NOT NULL, rate_per_min INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE user(id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, name TEXT NOT NULL, role INTEGER NOT NULL,"
	"  customer_id TEXT NOT NULL, hash TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE api_key(id TEXT PRIMARY KEY, user_id TEXT NOT NULL, customer_id TEXT NOT NULL, name TEXT NOT NULL,"
	"  prefix TEXT NOT NULL, sha256 BLOB NOT NULL UNIQUE, created_ns INTEGER NOT NULL, revoked INTEGER NOT NULL)"
	"  WITHOUT ROWID;"
	"CREATE INDEX api_key_user ON api_key(user_id, id);",
	"CREATE TABLE session(id TEXT PRIMARY KEY, user_id TEXT NOT NULL, opened_ns INTEGER NOT NULL,"
	"  until_ns INTEGER NOT NULL, turn INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX session_user ON session(user_id, until_ns, id);"
	"CREATE TABLE refresh(sha256 BLOB PRIMARY KEY, session_id TEXT NOT NULL, turn INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX refresh_session ON refresh(session_id, turn);",
	NULL,
};

static int customer_row(struct db_row *row, struct arena *a, Hcp__Customer *c)
{
	struct str id = db_text(row, 0), name = db_text(row, 1), tier = db_text(row, 2);
	c->id = arena_strndup(a, id.p, id.n);
	c->name = arena_strndup(a, name.p, name.n);
	c->tier = arena_strndup(a, tier.p, tier.n);
	c->weight = (int32_t)db_i64(row, 3);
	c->rate_per_min = (uint32_t)db_i64(row, 4);
	return c->id && c->name && c->tier ? 0 : HCP_ENOMEM;
}

static int on_customers(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct db_row *row = NULL;
	Hcp__Customers *list = svc_reply(ctx, MSG_CUSTOMERS);
	if (!list)
		return HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	int rc = db_query(svc_db(ctx), &row, err,
			  "SELECT id,name,tier,weight,rate_per_min FROM customer ORDER BY name LIMIT 10000", "");
	while (rc == 1) {
		Hcp__Customer *c = arena_alloc(a, sizeof(*c));
		if (c)
			hcp__customer__init(c);
		int made = c ? customer_row(row, a, c) : HCP_ENOMEM;
		if (made == 0)
			made = pb_push(a, &list->n_customers, &list->customers, c);
		if (made < 0) {
			db_done(row);
			return made;
		}
		rc = db_next(row, err);
	}
	return rc;
}

static int key_make(const char *path, struct jwt_key **ret, struct err *err)
{
	struct jwt_key *key = NULL;
	struct buf pem;
	int rc = jwt_key_new(&key, err);
	if (rc < 0)
		return rc;
	buf_init(&pem, 16 << 10);
	if (path) {
		rc = jwt_key_private_pem(key, &pem, err);
		if (rc == 0)
			rc = file_write_atomic(path, buf_str(&pem), 0600, err);
	}
	mem_free_secret(pem.data, pem.n);
	if (rc < 0)
		jwt_key_free(key);
	else
		*ret = key;
	return rc;
}

static int key_load(const char *path, struct jwt_key **ret, struct err *err)
{
	struct buf pem;
	if (!path || !file_exists(path))
		return key_make(path, ret, err);
	int rc = file_read(path, 16 << 10, &pem, err);
	if (rc == 0)
		rc = jwt_key_from_pem(buf_str(&pem), ret, err);
	mem_free_secret(pem.data, pem.n);
	return rc;
}

static void identity_close(void *state)
{
	struct identity *id = state;
	struct str key;
	void *v;
	size_t pos = 0;
	if (!id)
		return;
	while (map_next(&id->locks, &pos, &key, &v))
		mem_free(v);
	map_release(&id->locks);
	jwt_key_free(id->key);
	mem_free(id);
}

static int identity_open(struct svc *svc, struct db *db, const void *conf, void **ret_state, struct err *err)
{
	static const unsigned char no_salt[16];
	struct identity *id = mem_calloc(1, sizeof(*id));
	if (!id)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	map_init(&id->locks);
	if (conf)
		id->conf = *(const struct identity_conf *)conf;
	int rc = key_load(id->conf.key_path, &id->key, err);
	if (rc == 0)
		rc = password_hash(STR("nobody"), no_salt, id->conf.hash_kib, id->dummy, err);
	if (rc == 0)
		rc = identity_seed(id, db, err);
	if (rc < 0) {
		identity_close(id);
		return rc;
	}
	*ret_state = id;
	return 0;
}

static const struct svc_handler handlers[] = {
	{ MSG_LOGIN, on_login, true },
	{ MSG_SESSION_OPEN, on_session_open, false },
	{ MSG_SESSION_REFRESH, on_session_refresh, false },
	{ MSG_SESSION_END, on_session_end, false },
	{ MSG_WHO_AM_I, on_who_am_i, true },
	{ MSG_API_KEY_CREATE, on_key_create, false },
	{ MSG_API_KEY_LIST, on_key_list, true },
	{ MSG_API_KEY_REVOKE, on_key_revoke, false },
	{ MSG_API_KEY_RESOLVE, on_key_resolve, true },
	{ MSG_CUSTOMERS_LIST, on_customers, true },
	{ MSG_SIGNING_KEY_GET, on_signing_key, true },
	{ 0 },
};

const struct svc_def identity_def = {
	.id = SVC_IDENTITY,
	.schema = schema,
	.handlers = handlers,
	.open = identity_open,
	.close = identity_close,
};
