#include <openssl/evp.h>

#include "base/money.h"
#include "services/identity/identity_priv.h"

static int user_row(struct db_row *row, struct identity_user *u)
{
	int rc = str_copy(u->id, sizeof(u->id), db_text(row, 0));
	if (rc == 0)
		rc = str_copy(u->email, sizeof(u->email), db_text(row, 1));
	if (rc == 0)
		rc = str_copy(u->name, sizeof(u->name), db_text(row, 2));
	if (rc == 0)
		rc = str_copy(u->customer_id, sizeof(u->customer_id), db_text(row, 4));
	if (rc == 0)
		rc = str_copy(u->hash, sizeof(u->hash), db_text(row, 5));
	u->role = (int)db_i64(row, 3);
	u->rate_per_min = (uint32_t)db_i64(row, 6);
	db_done(row);
	return rc;
}

#define USER_SELECT \
	"SELECT u.id,u.email,u.name,u.role,u.customer_id,u.hash,ifnull(c.rate_per_min,0) FROM user u" \
	" LEFT JOIN customer c ON c.id=u.customer_id WHERE "

static int user_found(int rc, struct db_row *row, struct identity_user *ret, struct err *err)
{
	struct identity_user u = { 0 };
	if (rc < 0)
		return rc;
	if (rc == 0)
		return err_set(err, HCP_ENOTFOUND, "user", "there is no such user");
	if (user_row(row, &u) < 0)
		return err_set(err, HCP_ECORRUPT, "user", "a stored user does not fit");
	*ret = u;
	return 0;
}

int user_by_id(struct db *db, const char *id, struct identity_user *ret, struct err *err)
{
	struct db_row *row = NULL;
	int rc = db_query(db, &row, err, USER_SELECT "u.id=$1", "z", id);
	return user_found(rc, row, ret, err);
}

int user_by_email(struct db *db, const char *email, struct identity_user *ret, struct err *err)
{
	struct db_row *row = NULL;
	int rc = db_query(db, &row, err, USER_SELECT "u.email=$1", "z", email);
	return user_found(rc, row, ret, err);
}

int user_principal(const struct identity_user *u, struct arena *a, Hcp__Principal *p)
{
	p->user_id = arena_strdup(a, u->id);
	p->customer_id = arena_strdup(a, u->customer_id);
	p->email = arena_strdup(a, u->email);
	p->role = u->role;
	p->rate_per_min = u->rate_per_min;
	return p->user_id && p->customer_id && p->email ? 0 : HCP_ENOMEM;
}

/* ---- first start ---- */

static const struct seed_customer {
	const char *name, *tier;
	int weight;
	uint32_t rate_per_min;
} seed_customers[] = {
	{ "Acme", "enterprise", 2, 5000 },
	{ "Globex", "standard", 1, 1000 },
};

static const struct seed_user {
	const char *email, *name, *password;
	int role, customer; /* index of seed_customers, -1: none */
} seed_users[] = {
	{ "admin@mara.com", "Administrator", "admin123", HCP__ROLE__ADMIN, -1 },
	{ "operator@mara.com", "Operator", "operator123", HCP__ROLE__OPERATOR, -1 },
	{ "john@acme.com", "John", "customer123", HCP__ROLE__CUSTOMER, 0 },
	{ "jane@globex.com", "Jane", "customer123", HCP__ROLE__CUSTOMER, 1 },
};

enum {
	SEED_CUSTOMERS = sizeof(seed_customers) / sizeof(seed_customers[0]),
	SEED_USERS = sizeof(seed_users) / sizeof(seed_users[0]),
};

/* A salt need not be secret, only its own: this installation's key and the user make it. */
static int salt_of(const struct identity *id, const char *user_id, unsigned char salt[EVP_MAX_MD_SIZE])
{
	struct buf b;
	buf_init(&b, 256);
	buf_addz(&b, jwt_key_id(id->key));
	buf_addz(&b, user_id);
	int ok = !buf_failed(&b) && EVP_Digest(b.data, b.n, salt, NULL, EVP_sha256(), NULL);
	buf_release(&b);
	return ok ? 0 : HCP_ENOMEM;
}

static int seed_one(struct identity *id, struct db *db, const struct seed_user *s, const char *user_id,
		    const char *customer_id, struct err *err)
{
	unsigned char salt[EVP_MAX_MD_SIZE];
	char hash[IDENTITY_HASH_MAX];
	int rc = salt_of(id, user_id, salt);
	if (rc == 0)
		rc = password_hash(str_of(s->password), salt, id->conf.hash_kib, hash, err);
	if (rc < 0)
		return rc;
	return db_run(db, err, "INSERT INTO user(id,email,name,role,customer_id,hash) VALUES($1,$2,$3,$4,$5,$6)", "zzzizz",
		      user_id, s->email, s->name, (int64_t)s->role, customer_id, hash);
}

static int seed_rows(struct identity *id, struct db *db, struct err *err)
{
	char customer[SEED_CUSTOMERS][ID_TEXT_MAX], user[ID_TEXT_MAX];
	struct rng rng;
	int rc = 0;
	int64_t at_ns = INT64_C(1767225600) * NS_PER_S; /* ids of the first rows sort before all others */
	rng_init(&rng, 1);
	for (int i = 0; i < SEED_CUSTOMERS && rc == 0; i++) {
		const struct seed_customer *c = &seed_customers[i];
		struct id uuid = id_new(at_ns, &rng);
		id_format(customer[i], ID_CUSTOMER, &uuid);
		rc = db_run(db, err, "INSERT INTO customer(id,name,tier,weight,rate_per_min) VALUES($1,$2,$3,$4,$5)", "zzzii",
			    customer[i], c->name, c->tier, (int64_t)c->weight, (int64_t)c->rate_per_min);
	}
	for (int i = 0; i < SEED_USERS && rc == 0; i++) {
		const struct seed_user *s = &seed_users[i];
		struct id uuid = id_new(at_ns, &rng);
		id_format(user, ID_USER, &uuid);
		rc = seed_one(id, db, s, user, s->customer < 0 ? "" : customer[s->customer], err);
	}
	return rc;
}

int identity_seed(struct identity *id, struct db *db, struct err *err)
{
	struct db_row *row = NULL;
	int rc = db_query(db, &row, err, "SELECT 1 FROM user LIMIT 1", "");
	if (rc == 1)
		db_done(row);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = db_begin(db, err);
	if (rc < 0)
		return rc;
	rc = seed_rows(id, db, err);
	if (rc < 0) {
		db_rollback(db);
		return rc;
	}
	return db_commit(db, err);
}
