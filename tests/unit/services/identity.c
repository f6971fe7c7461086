#include "rig.h"

#include "services/common/jwt.h"
#include "services/identity/identity.h"

/* One key for all tests: making it is what costs. */
static char key_path[64];
static struct identity_conf conf;

static const Hcp__Principal *login(struct rig *r, const char *email, const char *password)
{
	struct msg *m = msg_new(MSG_LOGIN);
	Hcp__Login *l = (Hcp__Login *)m->body;
	l->email = email;
	l->password = password;
	rig_post(r, m);
	return r->reply->type == MSG_PRINCIPAL ? (const Hcp__Principal *)r->reply->body : NULL;
}

/* The principal of a user, in memory that lives as long as the test. */
static const Hcp__Principal *who(struct rig *r, const char *email, const char *password, struct arena *a)
{
	const Hcp__Principal *p = login(r, email, password);
	assert_non_null(p);
	Hcp__Principal *copy = arena_dup(a, p, sizeof(*p));
	copy->user_id = arena_strdup(a, p->user_id);
	copy->customer_id = arena_strdup(a, p->customer_id);
	copy->email = arena_strdup(a, p->email);
	return copy;
}

static ProtobufCBinaryData digest(struct msg *m, int number)
{
	unsigned char *bytes = arena_calloc(&m->arena, 32);
	memcpy(bytes, &number, sizeof(number));
	return (ProtobufCBinaryData){ 32, bytes };
}

/* Opens a session whose first refresh token has that number. */
static const Hcp__Session *open_session(struct rig *r, const Hcp__Principal *p, int number)
{
	struct msg *m = msg_new(MSG_SESSION_OPEN);
	((Hcp__SessionOpen *)m->body)->sha256 = digest(m, number);
	m->principal = p;
	rig_post(r, m);
	return r->reply->type == MSG_SESSION ? (const Hcp__Session *)r->reply->body : NULL;
}

static const Hcp__Session *refresh(struct rig *r, int number, int next)
{
	struct msg *m = msg_new(MSG_SESSION_REFRESH);
	((Hcp__SessionRefresh *)m->body)->sha256 = digest(m, number);
	((Hcp__SessionRefresh *)m->body)->next_sha256 = digest(m, next);
	rig_post(r, m);
	return r->reply->type == MSG_SESSION ? (const Hcp__Session *)r->reply->body : NULL;
}

static int64_t count(struct rig *r, const char *sql)
{
	struct db_row *row = NULL;
	assert_int_equal(db_query(svc_database(r->svc), &row, NULL, sql, ""), 1);
	int64_t n = db_i64(row, 0);
	db_done(row);
	return n;
}

static void refused(struct rig *r, int number, int next)
{
	assert_null(refresh(r, number, next));
	rig_expect_problem(r, "unauthenticated", "refresh_token");
}

static void refresh_tokens_turn_over(void **state)
{
	struct rig r;
	struct arena a;
	char token[JWT_MAX_BYTES];
	arena_init(&a, 4096, 0);
	rig_init(&r, &identity_def, &conf);
	const Hcp__Principal *john = who(&r, "john@acme.com", "customer123", &a);
	const Hcp__Session *s = open_session(&r, john, 1);
	assert_non_null(s);
	assert_string_equal(s->principal->user_id, john->user_id);
	assert_int_equal(s->refresh_expires_in, IDENTITY_REFRESH_S);
	assert_string_equal(s->refresh_token, ""); /* the gateway's to show */
	snprintf(token, sizeof(token), "%s", s->access_token);
	rig_pass(&r, 20 * NS_PER_S);
	s = refresh(&r, 1, 2);
	assert_non_null(s);
	assert_string_equal(s->principal->email, "john@acme.com");
	assert_string_not_equal(s->access_token, token);
	rig_restart(&r);
	assert_non_null(refresh(&r, 2, 3));
	refused(&r, 99, 100); /* one that never was ends nobody's session */
	assert_null(refresh(&r, 3, 2));
	rig_expect_problem(&r, "already_exists", "next_sha256");
	assert_null(open_session(&r, john, 3));
	rig_expect_problem(&r, "already_exists", "sha256");
	assert_null(open_session(&r, NULL, 4));
	rig_expect_problem(&r, "forbidden", "authorization");
	assert_non_null(refresh(&r, 3, 4));
	rig_expect_replay(&r);
	rig_release(&r);
	arena_release(&a);
}

static void a_spent_token_ends_its_session(void **state)
{
	struct rig r;
	struct arena a;
	arena_init(&a, 4096, 0);
	rig_init(&r, &identity_def, &conf);
	const Hcp__Principal *john = who(&r, "john@acme.com", "customer123", &a);
	assert_non_null(open_session(&r, john, 1));
	assert_non_null(open_session(&r, john, 50));
	assert_non_null(refresh(&r, 1, 2));
	assert_non_null(refresh(&r, 2, 3));
	refused(&r, 1, 4);
	rig_restart(&r); /* the end was committed, though it was answered with a problem */
	refused(&r, 3, 5);
	refused(&r, 2, 6);
	assert_non_null(refresh(&r, 50, 51)); /* his other session goes on */
	assert_int_equal(count(&r, "SELECT count(*) FROM session"), 1);
	assert_int_equal(count(&r, "SELECT count(*) FROM refresh"), 2);
	rig_expect_replay(&r);
	rig_release(&r);
	arena_release(&a);
}

static void sessions_end(void **state)
{
	struct rig r;
	struct arena a;
	arena_init(&a, 4096, 0);
	rig_init(&r, &identity_def, &conf);
	const Hcp__Principal *john = who(&r, "john@acme.com", "customer123", &a);
	assert_non_null(open_session(&r, john, 1));
	for (int i = 0; i < 2; i++) { /* the second time there is nothing to end, which is as well */
		struct msg *m = msg_new(MSG_SESSION_END);
		((Hcp__SessionEnd *)m->body)->sha256 = digest(m, 1);
		assert_int_equal(rig_post(&r, m)->type, MSG_EMPTY);
	}
	refused(&r, 1, 2);
	assert_non_null(open_session(&r, john, 10));
	rig_pass(&r, (IDENTITY_REFRESH_S - 60) * NS_PER_S);
	assert_non_null(refresh(&r, 10, 11)); /* used: thirty more days */
	rig_pass(&r, (IDENTITY_REFRESH_S - 60) * NS_PER_S);
	assert_non_null(refresh(&r, 11, 12));
	rig_pass(&r, IDENTITY_REFRESH_S * NS_PER_S);
	refused(&r, 12, 13);
	assert_int_equal(count(&r, "SELECT count(*) FROM session"), 1);
	assert_non_null(open_session(&r, john, 20)); /* sweeps what is over */
	assert_int_equal(count(&r, "SELECT count(*) FROM session"), 1);
	assert_int_equal(count(&r, "SELECT count(*) FROM refresh"), 1);
	rig_release(&r);
	arena_release(&a);
}

static void sessions_have_limits(void **state)
{
	struct rig r;
	struct arena a;
	arena_init(&a, 4096, 0);
	rig_init(&r, &identity_def, &conf);
	const Hcp__Principal *john = who(&r, "john@acme.com", "customer123", &a);
	for (int i = 0; i < IDENTITY_SESSIONS_MAX; i++)
		assert_non_null(open_session(&r, john, 1000000 + i));
	assert_non_null(refresh(&r, 1000000, 2000000)); /* used: no longer the one idle longest */
	assert_non_null(open_session(&r, john, 1));
	refused(&r, 1000001, 2000001);
	assert_non_null(refresh(&r, 2000000, 2000002));
	assert_int_equal(count(&r, "SELECT count(*) FROM session"), IDENTITY_SESSIONS_MAX);
	/* As if the newest session had turned over very often: what is too old goes with the next turn. */
	struct db *db = svc_database(r.svc);
	assert_int_equal(
		db_run(db, NULL, "UPDATE session SET turn=$1 WHERE id=(SELECT session_id FROM refresh WHERE sha256=$2)", "ib",
			(int64_t)IDENTITY_TURNS_KEPT + 5, (struct str){ (const char *)(int[8]){ 1 }, 32 }),
		0);
	assert_int_equal(db_run(db, NULL,
						 "INSERT INTO refresh SELECT x.s, r.session_id, x.t FROM refresh r JOIN (SELECT"
						 " x'AA' AS s, 4 AS t UNION SELECT x'BB', 5 UNION SELECT x'CC', 6 UNION SELECT x'DD', $1) x"
						 " WHERE r.sha256=$2",
						 "ib", (int64_t)IDENTITY_TURNS_KEPT + 5, (struct str){ (const char *)(int[8]){ 1 }, 32 }),
		0);
	assert_int_equal(db_run(db, NULL, "UPDATE refresh SET turn=$1 WHERE sha256=$2", "ib",
						 (int64_t)IDENTITY_TURNS_KEPT + 5, (struct str){ (const char *)(int[8]){ 1 }, 32 }),
		0);
	assert_non_null(refresh(&r, 1, 2));
	assert_int_equal(count(&r, "SELECT count(*) FROM refresh WHERE sha256 IN (x'AA', x'BB')"), 0);
	assert_int_equal(count(&r, "SELECT count(*) FROM refresh WHERE sha256 IN (x'CC', x'DD')"), 2);
	rig_release(&r);
	arena_release(&a);
}

static void sessions_carry_who_it_is(void **state)
{
	struct rig r;
	struct arena a;
	struct jwt_key *key;
	struct jwt_claims c;
	struct err err = { 0 };
	rig_init(&r, &identity_def, &conf);
	struct msg *ask = msg_new(MSG_SIGNING_KEY_GET);
	rig_post(&r, ask);
	assert_int_equal(r.reply->type, MSG_SIGNING_KEY);
	const Hcp__SigningKey *k = (Hcp__SigningKey *)r.reply->body;
	assert_null(strstr(k->public_pem, "PRIVATE"));
	assert_int_equal(jwt_key_from_pem(str_of(k->public_pem), &key, &err), 0);
	assert_string_equal(jwt_key_id(key), k->kid);
	arena_init(&a, 4096, 0);
	const Hcp__Session *s = open_session(&r, who(&r, " John@ACME.com", "customer123", &a), 1);
	assert_non_null(s);
	const char *token = s->access_token;
	assert_int_equal(jwt_verify(key, str_of(token), r.now_ns / NS_PER_S, &c, &err), 0);
	assert_string_equal(c.email, "john@acme.com");
	assert_int_equal(c.role, HCP__ROLE__CUSTOMER);
	assert_int_equal(c.rate_per_min, 5000);
	assert_int_equal(c.exp_s - c.iat_s, 900);
	assert_string_equal(c.cus, s->principal->customer_id);
	assert_string_equal(c.sub, s->principal->user_id);
	assert_int_equal(jwt_verify(key, str_of(token), c.exp_s, &c, &err), HCP_EAUTH);
	jwt_key_free(key);
	rig_release(&r);
	arena_release(&a);
}

static void refusals_of_a_login(void **state)
{
	struct rig r;
	char first[256];
	char long_password[400];
	memset(long_password, 'x', sizeof(long_password));
	long_password[399] = '\0';
	rig_init(&r, &identity_def, &conf);
	assert_null(login(&r, "", "x"));
	rig_expect_problem(&r, "invalid", "email");
	assert_null(login(&r, "john@acme.com", ""));
	rig_expect_problem(&r, "invalid", "password");
	assert_null(login(&r, "john@acme.com", long_password));
	rig_expect_problem(&r, "invalid", "password");
	assert_null(login(&r, "john@acme.com", "wrong"));
	rig_expect_problem(&r, "unauthenticated", "password");
	snprintf(first, sizeof(first), "%s", ((Hcp__Problem *)r.reply->body)->detail);
	assert_null(login(&r, "nobody@acme.com", "wrong"));
	rig_expect_problem(&r, "unauthenticated", "password");
	assert_string_equal(first, ((Hcp__Problem *)r.reply->body)->detail);
	rig_release(&r);
}

static void five_failures_lock_and_time_unlocks(void **state)
{
	struct rig r;
	rig_init(&r, &identity_def, &conf);
	for (int i = 0; i < 5; i++)
		assert_null(login(&r, "john@acme.com", "wrong"));
	assert_null(login(&r, "john@acme.com", "customer123"));
	rig_expect_problem(&r, "limit_reached", "email");
	assert_non_null(login(&r, "jane@globex.com", "customer123"));
	rig_pass(&r, 31 * NS_PER_S);
	assert_non_null(login(&r, "john@acme.com", "customer123"));
	for (int i = 0; i < 4; i++)
		assert_null(login(&r, "john@acme.com", "wrong"));
	assert_non_null(login(&r, "john@acme.com", "customer123")); /* forgives the four */
	rig_release(&r);
}

static int ask_key(struct rig *r, const Hcp__Principal *p, const char *name, unsigned char first)
{
	static unsigned char bytes[32];
	struct msg *m = msg_new(MSG_API_KEY_CREATE);
	Hcp__ApiKeyCreate *c = (Hcp__ApiKeyCreate *)m->body;
	memset(bytes, first, sizeof(bytes));
	c->name = name;
	c->prefix = "hcp_abc";
	c->secret_sha256 = (ProtobufCBinaryData){ first ? sizeof(bytes) : 5, bytes };
	m->principal = p;
	rig_post(r, m);
	return r->reply->type;
}

static int resolve(struct rig *r, unsigned char first)
{
	static unsigned char bytes[32];
	struct msg *m = msg_new(MSG_API_KEY_RESOLVE);
	memset(bytes, first, sizeof(bytes));
	((Hcp__ApiKeyResolve *)m->body)->sha256 = (ProtobufCBinaryData){ sizeof(bytes), bytes };
	rig_post(r, m);
	return r->reply->type;
}

static void api_keys(void **state)
{
	struct rig r;
	struct arena a;
	char id[ID_TEXT_MAX];
	arena_init(&a, 4096, 0);
	rig_init(&r, &identity_def, &conf);
	const Hcp__Principal *john = who(&r, "john@acme.com", "customer123", &a);
	const Hcp__Principal *jane = who(&r, "jane@globex.com", "customer123", &a);
	ask_key(&r, john, "", 1);
	rig_expect_problem(&r, "invalid", "name");
	ask_key(&r, john, "k", 0);
	rig_expect_problem(&r, "invalid", "secret_sha256");
	ask_key(&r, NULL, "k", 1);
	rig_expect_problem(&r, "forbidden", "authorization");
	assert_int_equal(ask_key(&r, john, "build", 1), MSG_API_KEY);
	const Hcp__ApiKey *k = (Hcp__ApiKey *)r.reply->body;
	snprintf(id, sizeof(id), "%s", k->id);
	assert_string_equal(k->prefix, "hcp_abc");
	assert_string_equal(k->secret, "");
	rig_restart(&r);
	assert_int_equal(resolve(&r, 1), MSG_PRINCIPAL);
	assert_string_equal(((Hcp__Principal *)r.reply->body)->email, "john@acme.com");
	assert_int_equal(((Hcp__Principal *)r.reply->body)->rate_per_min, 5000);
	resolve(&r, 9);
	rig_expect_problem(&r, "not_found", "sha256");
	struct msg *m = msg_new(MSG_API_KEY_REVOKE);
	((Hcp__ApiKeyRevoke *)m->body)->id = id;
	m->principal = jane;
	rig_post(&r, m);
	rig_expect_problem(&r, "not_found", "id");
	m = msg_new(MSG_API_KEY_REVOKE);
	((Hcp__ApiKeyRevoke *)m->body)->id = id;
	m->principal = john;
	assert_int_equal(rig_post(&r, m)->type, MSG_API_KEY);
	assert_true(((Hcp__ApiKey *)r.reply->body)->revoked);
	resolve(&r, 1);
	rig_expect_problem(&r, "not_found", "sha256");
	m = msg_new(MSG_API_KEY_LIST);
	m->principal = john;
	rig_post(&r, m);
	assert_int_equal(((Hcp__ApiKeys *)r.reply->body)->n_keys, 1);
	rig_expect_replay(&r);
	rig_release(&r);
	arena_release(&a);
}

static void keys_have_a_limit(void **state)
{
	struct rig r;
	struct arena a;
	arena_init(&a, 4096, 0);
	rig_init(&r, &identity_def, &conf);
	const Hcp__Principal *john = who(&r, "john@acme.com", "customer123", &a);
	for (int i = 0; i < IDENTITY_KEYS_MAX; i++)
		assert_int_equal(ask_key(&r, john, "k", (unsigned char)(i + 1)), MSG_API_KEY);
	ask_key(&r, john, "k", 200);
	rig_expect_problem(&r, "limit_reached", "name");
	rig_release(&r);
	arena_release(&a);
}

static void passwords_never_reach_the_disk(void **state)
{
	struct rig r;
	struct db_row *row = NULL;
	rig_init(&r, &identity_def, &conf);
	assert_non_null(login(&r, "john@acme.com", "customer123"));
	assert_int_equal(db_query(svc_database(r.svc), &row, NULL,
				  "SELECT count(*) FROM hcp_batch WHERE instr(inputs, CAST('customer123' AS BLOB)) > 0", ""), 1);
	assert_int_equal(db_i64(row, 0), 0);
	db_done(row);
	assert_int_equal(db_query(svc_database(r.svc), &row, NULL,
				  "SELECT count(*) FROM user WHERE hash LIKE '$argon2id$v=19$m=19456,t=2,p=1$%'", ""), 1);
	assert_int_equal(db_i64(row, 0), 4);
	db_done(row);
	rig_release(&r);
}

static void customers_and_who_am_i(void **state)
{
	struct rig r;
	struct arena a;
	arena_init(&a, 4096, 0);
	rig_init(&r, &identity_def, &conf);
	rig_post(&r, msg_new(MSG_CUSTOMERS_LIST));
	const Hcp__Customers *list = (Hcp__Customers *)r.reply->body;
	assert_int_equal(list->n_customers, 2);
	assert_string_equal(list->customers[0]->name, "Acme");
	assert_string_equal(list->customers[1]->tier, "standard");
	struct msg *m = msg_new(MSG_WHO_AM_I);
	m->principal = who(&r, "operator@mara.com", "operator123", &a);
	rig_post(&r, m);
	assert_string_equal(((Hcp__Session *)r.reply->body)->name, "Operator");
	rig_post(&r, msg_new(MSG_WHO_AM_I));
	rig_expect_problem(&r, "unauthenticated", "authorization");
	rig_release(&r);
	arena_release(&a);
}

/* ---- tokens ---- */

static struct jwt_key *a_key(void)
{
	struct jwt_key *key = NULL;
	assert_int_equal(jwt_key_new(&key, NULL), 0);
	return key;
}

static int verify(const struct jwt_key *key, const char *token, int64_t now_s)
{
	struct jwt_claims c = { .role = 99 };
	int rc = jwt_verify(key, str_of(token), now_s, &c, NULL);
	if (rc < 0)
		assert_int_equal(c.role, 99); /* written only on success */
	return rc;
}

static void tokens_hold_and_break(void **state)
{
	struct jwt_key *key = a_key(), *other = a_key();
	struct jwt_claims c = { .sub = "usr-1", .email = "a@b", .name = "A \"B\"", .cus = "cus-1", .role = 2, .iat_s = 1000,
				.exp_s = 2000 }, got;
	struct buf t, u, pem;
	buf_init(&t, 0);
	buf_init(&u, 0);
	buf_init(&pem, 0);
	assert_int_equal(jwt_sign(key, &c, &t, NULL), 0);
	assert_int_equal(jwt_sign(key, &c, &u, NULL), 0);
	assert_string_equal(t.data, u.data); /* deterministic: a replay gives the same */
	assert_int_equal(jwt_verify(key, buf_str(&t), 1500, &got, NULL), 0);
	assert_string_equal(got.name, c.name);
	assert_int_equal(got.role, 2);
	assert_int_equal(verify(key, t.data, 1999), 0);
	assert_int_equal(verify(key, t.data, 2000), HCP_EAUTH);
	assert_int_equal(verify(key, t.data, 990), HCP_EAUTH);
	assert_int_equal(verify(other, t.data, 1500), HCP_EAUTH);
	/* Any changed byte breaks it: the last digit of each part has spare bits, so the one before it is changed. */
	for (size_t i = 0; i + 1 < t.n; i++) {
		if (t.data[i] == '.' || t.data[i + 1] == '.' || i + 2 >= t.n)
			continue;
		char was = t.data[i];
		t.data[i] = was == 'A' ? 'B' : 'A';
		assert_int_equal(verify(key, t.data, 1500), HCP_EAUTH);
		t.data[i] = was;
	}
	for (size_t n = 0; n < t.n; n += 7)
		assert_int_equal(jwt_verify(key, (struct str){ t.data, n }, 1500, &got, NULL), HCP_EAUTH);
	assert_int_equal(jwt_key_public_pem(key, &pem, NULL), 0);
	struct jwt_key *pub;
	assert_int_equal(jwt_key_from_pem(buf_str(&pem), &pub, NULL), 0);
	assert_int_equal(verify(pub, t.data, 1500), 0);
	assert_int_equal(jwt_sign(pub, &c, &u, NULL), HCP_EINVAL);
	assert_int_equal(jwt_key_private_pem(pub, &u, NULL), HCP_EINVAL);
	assert_int_equal(jwt_key_from_pem(STR("no key"), &other, NULL), HCP_EINVAL);
	jwt_key_free(pub);
	jwt_key_free(key);
	jwt_key_free(other);
	buf_release(&t);
	buf_release(&u);
	buf_release(&pem);
}

#define CLAIMS "eyJpc3MiOiJoY3AiLCJzdWIiOiJhIiwicm9sZSI6MywiaWF0IjoxLCJleHAiOjk5OTk5OTk5OTl9"

static void other_algorithms_are_refused(void **state)
{
	struct jwt_key *key = a_key();
	/* {"alg":"none"} and {"alg":"HS256"} over {"iss":"hcp","sub":"a","role":3,"iat":1,"exp":9999999999} */
	assert_int_equal(verify(key, "eyJhbGciOiJub25lIn0." CLAIMS ".", 5), HCP_EAUTH);
	assert_int_equal(verify(key, "eyJhbGciOiJIUzI1NiJ9." CLAIMS ".AAAA", 5), HCP_EAUTH);
	assert_int_equal(verify(key, "...", 5), HCP_EAUTH);
	assert_int_equal(verify(key, "a.b.c.d", 5), HCP_EAUTH);
	assert_int_equal(verify(key, "", 5), HCP_EAUTH);
	jwt_key_free(key);
}

static int make_key_path(void **state)
{
	snprintf(key_path, sizeof(key_path), "/tmp/hcp-key-XXXXXX");
	int fd = mkstemp(key_path);
	close(fd);
	unlink(key_path);
	conf.key_path = key_path;
	return 0;
}

static int drop_key_path(void **state)
{
	unlink(key_path);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sessions_carry_who_it_is),
		cmocka_unit_test(refusals_of_a_login),
		cmocka_unit_test(five_failures_lock_and_time_unlocks),
		cmocka_unit_test(api_keys),
		cmocka_unit_test(keys_have_a_limit),
		cmocka_unit_test(passwords_never_reach_the_disk),
		cmocka_unit_test(customers_and_who_am_i),
		cmocka_unit_test(tokens_hold_and_break),
		cmocka_unit_test(other_algorithms_are_refused),
		cmocka_unit_test(refresh_tokens_turn_over),
		cmocka_unit_test(a_spent_token_ends_its_session),
		cmocka_unit_test(sessions_end),
		cmocka_unit_test(sessions_have_limits),
	};
	return cmocka_run_group_tests(tests, make_key_path, drop_key_path);
}
