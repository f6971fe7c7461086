/*
 * People at the door: logins, wrong passwords, sessions that end, API keys made, used and revoked, tokens that are
 * none. What identity acknowledged must hold through every crash; who was refused must stay outside. They stand before
 * the gateway's own limits and token check, which take time as it is handed to them.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/mem.h"
#include "base/panic.h"
#include "services/common/jwt.h"
#include "services/gateway/limit.h"
#include "services/identity/identity.h"
#include "sim.h"

enum { PEOPLE = 4, PEOPLE_EVERY_S = 240, PEOPLE_KEYS = 40, PEOPLE_RATE = 30 /* a minute, of one of them */ };

/* The first users of an empty database. */
static const struct who {
	const char *email, *password;
} users[PEOPLE] = {
	{ "admin@mara.com", "admin123" },
	{ "operator@mara.com", "operator123" },
	{ "john@acme.com", "customer123" },
	{ "jane@globex.com", "customer123" },
};

/* An API key as its owner knows it. */
struct api_key {
	int owner;
	uint8_t sha256[32];
	char id[ID_TEXT_MAX];   /* "" until it was acknowledged */
	bool revoking, revoked; /* asked for; acknowledged */
};

struct person {
	char token[JWT_MAX_BYTES + 1]; /* "" before the first login */
	uint8_t refresh[32];           /* digest of the newest refresh token */
	bool can_refresh;              /* it was acknowledged, and no answer about it was lost since */
	bool refreshed;                /* the last refresh was acknowledged: what it took is spent */
	char user_id[ID_TEXT_MAX];
	int64_t token_until_ns;  /* of virtual time, as the services' clock shows it */
	int wrong;               /* wrong passwords in a row */
	int64_t locked_until_ns; /* by those at the latest */
	int64_t minute;          /* the limit's promise: no more than twice the rate in any one */
	uint32_t passed;
};

struct people {
	struct sim *sim;
	struct rng rng;
	struct person person[PEOPLE];
	struct api_key key[PEOPLE_KEYS];
	size_t n_keys;
	struct jwt_key *signing; /* owned: the public half, as the gateway has it */
	struct limits limits;
	uint64_t logins, refused, limited, resolved;
};

enum want {
	WANT_LOGIN,
	WANT_SESSION,
	WANT_SPENT,
	WANT_REFUSAL,
	WANT_KEY,
	WANT_REVOKED,
	WANT_PRINCIPAL,
	WANT_STRANGER,
	WANT_WHO,
	WANT_SIGNING,
};

struct door {
	struct people *all;
	enum want want;
	int person;
	size_t key;
	int64_t asked_ns;
	bool revoked; /* before it was asked */
	uint8_t refresh[32]; /* the token that the answer makes good */
};

static struct door *ask(struct people *all, struct msg *m, enum want want, int person, size_t key);

static bool is(const Hcp__Problem *p, const char *code)
{
	return !strcmp(p->code, code);
}

static void on_problem(struct people *all, struct door *d, const Hcp__Problem *p)
{
	if (is(p, "unavailable") || is(p, "closed"))
		return;
	all->refused++;
	if (d->want == WANT_SPENT)
		all->person[d->person].can_refresh = false; /* its session ended with that */
	bool expected = d->want == WANT_SPENT && is(p, "unauthenticated");
	expected |= d->want == WANT_REFUSAL && (is(p, "unauthenticated") || is(p, "limit_reached"));
	expected |=
		d->want == WANT_LOGIN && is(p, "limit_reached") && d->asked_ns < all->person[d->person].locked_until_ns;
	expected |= d->want == WANT_STRANGER && is(p, "not_found");
	expected |= d->want == WANT_PRINCIPAL && is(p, "not_found") && all->key[d->key].revoking;
	expected |= d->want == WANT_KEY && is(p, "limit_reached");
	if (!expected)
		sim_fail(all->sim, "identity refuses a request of kind %d of %s: %s %s %s", (int)d->want,
			users[d->person].email, p->code, p->field, p->detail);
}

static void check_who(struct people *all, const struct door *d, const Hcp__Principal *p)
{
	struct person *x = &all->person[d->person];
	if (strcmp(p->email, users[d->person].email) != 0)
		sim_fail(all->sim, "%s logged in and became %s", users[d->person].email, p->email);
	if (x->user_id[0] && strcmp(x->user_id, p->user_id) != 0)
		sim_fail(all->sim, "%s is another user after a restart", users[d->person].email);
	snprintf(x->user_id, sizeof(x->user_id), "%s", p->user_id);
}

static void draw(struct people *all, struct msg *m, struct door *d, ProtobufCBinaryData *dst)
{
	for (size_t b = 0; b < sizeof(d->refresh); b++)
		d->refresh[b] = (uint8_t)rng_below(&all->rng, 256);
	dst->data = arena_dup(&m->arena, d->refresh, sizeof(d->refresh));
	dst->len = sizeof(d->refresh);
	must(dst->data);
}

static Hcp__Principal *principal_in(struct msg *m, const Hcp__Principal *p)
{
	Hcp__Principal *copy = arena_dup(&m->arena, p, sizeof(*p));
	must(copy);
	copy->user_id = arena_strdup(&m->arena, p->user_id);
	copy->customer_id = arena_strdup(&m->arena, p->customer_id);
	copy->email = arena_strdup(&m->arena, p->email);
	return copy;
}

/* The password was right: as the gateway does it, a session is opened for who it is. */
static void open_session(struct people *all, const struct door *login, const Hcp__Principal *p)
{
	struct msg *m = msg_new(MSG_SESSION_OPEN);
	struct door *d = ask(all, m, WANT_SESSION, login->person, 0);
	check_who(all, login, p);
	draw(all, m, d, &((Hcp__SessionOpen *)m->body)->sha256);
	m->principal = principal_in(m, p);
	all->person[login->person].wrong = 0;
	sim_post(all->sim, m);
}

static void take_session(struct people *all, struct door *d, const Hcp__Session *s)
{
	struct person *x = &all->person[d->person];
	check_who(all, d, s->principal);
	if (d->want != WANT_SESSION)
		return;
	memcpy(x->refresh, d->refresh, sizeof(x->refresh));
	x->can_refresh = x->refreshed = true;
	snprintf(x->token, sizeof(x->token), "%s", s->access_token);
	x->token_until_ns = d->asked_ns + s->expires_in * NS_PER_S;
	all->logins++;
}

static void on_answer(void *arg, struct msg *m)
{
	struct door *d = arg;
	struct people *all = d->all;
	must(m);
	if (m->type == MSG_PROBLEM) {
		on_problem(all, d, (const Hcp__Problem *)m->body);
	} else if (d->want == WANT_SPENT && !all->person[d->person].refreshed) {
		all->logins++; /* the first of the two was never carried out */
	} else if (d->want == WANT_REFUSAL || d->want == WANT_STRANGER || d->want == WANT_SPENT) {
		sim_fail(all->sim, "identity let a stranger in as %s", users[d->person].email);
	} else if (d->want == WANT_LOGIN) {
		open_session(all, d, (const Hcp__Principal *)m->body);
	} else if (d->want == WANT_SESSION || d->want == WANT_WHO) {
		take_session(all, d, (const Hcp__Session *)m->body);
	} else if (d->want == WANT_KEY) {
		snprintf(all->key[d->key].id, ID_TEXT_MAX, "%s", ((const Hcp__ApiKey *)m->body)->id);
	} else if (d->want == WANT_REVOKED) {
		all->key[d->key].revoked = true;
	} else if (d->want == WANT_PRINCIPAL) {
		const Hcp__Principal *p = (const Hcp__Principal *)m->body;
		if (d->revoked)
			sim_fail(all->sim, "API key %s was revoked and lets somebody in", all->key[d->key].id);
		if (strcmp(p->email, users[all->key[d->key].owner].email) != 0)
			sim_fail(all->sim, "API key %s of %s lets %s in", all->key[d->key].id, users[all->key[d->key].owner].email,
				p->email);
		all->resolved++;
	} else if (d->want == WANT_SIGNING && !all->signing) {
		struct err err = { 0 };
		if (jwt_key_from_pem(str_of(((const Hcp__SigningKey *)m->body)->public_pem), &all->signing, &err) < 0)
			sim_fail(all->sim, "the signing key cannot be read: %s", err.text);
	}
	msg_free(m);
	mem_free(d);
}

static struct door *ask(struct people *all, struct msg *m, enum want want, int person, size_t key)
{
	struct door *d = mem_calloc(1, sizeof(*d));
	must(d && m);
	*d = (struct door){ .all = all, .want = want, .person = person, .key = key, .asked_ns = sim_clock_ns(all->sim) };
	d->revoked = want == WANT_PRINCIPAL && all->key[key].revoked;
	m->reply_fn = on_answer;
	m->reply_arg = d;
	return d;
}

/* ---- what they do ---- */

static void login(struct people *all, int i, bool right)
{
	struct person *x = &all->person[i];
	struct msg *m = msg_new(MSG_LOGIN);
	struct door *d = ask(all, m, right ? WANT_LOGIN : WANT_REFUSAL, i, 0);
	((Hcp__Login *)m->body)->email = users[i].email;
	((Hcp__Login *)m->body)->password = right ? users[i].password : "letmein";
	/* Five within ten seconds lock for thirty; a clock that jumps may stretch it. */
	if (!right && ++x->wrong >= 1)
		x->locked_until_ns = d->asked_ns + 3600 * NS_PER_S;
	sim_post(all->sim, m);
}

/* As the gateway does it: the token first, then the bucket, then the message with who it is. */
static bool admitted(struct people *all, int i, Hcp__Principal *p, struct jwt_claims *c)
{
	struct sim *s = all->sim;
	struct person *x = &all->person[i];
	struct limit_result left;
	int64_t now_ns = sim_clock_ns(s), minute = s->now_ns / (60 * NS_PER_S);
	int rc = all->signing ? jwt_verify(all->signing, str_of(x->token), now_ns / NS_PER_S, c, NULL) : HCP_EAUTH;
	if (rc == 0 && now_ns >= x->token_until_ns + (JWT_LEEWAY_S + 1) * NS_PER_S)
		sim_fail(s, "a token of %s is taken after its end", users[i].email);
	if (rc < 0 || !limits_take(&all->limits, str_of(c->sub), PEOPLE_RATE, s->now_ns, &left)) {
		all->limited += rc == 0;
		return false;
	}
	x->passed = minute == x->minute ? x->passed + 1 : 1;
	x->minute = minute;
	if (x->passed > 2 * PEOPLE_RATE)
		sim_fail(s, "%s made %u requests in a minute, %d are allowed", users[i].email, x->passed, PEOPLE_RATE);
	hcp__principal__init(p);
	p->user_id = c->sub;
	p->customer_id = c->cus;
	p->email = c->email;
	p->role = (Hcp__Role)c->role;
	return true;
}

static void with_session(struct people *all, int i, struct msg *m, enum want want, size_t key)
{
	struct jwt_claims c;
	Hcp__Principal p;
	if (!admitted(all, i, &p, &c)) {
		msg_free(m);
		return;
	}
	m->principal = principal_in(m, &p);
	(void)ask(all, m, want, i, key);
	if (want == WANT_REVOKED)
		all->key[key].revoking = true;
	sim_post(all->sim, m);
}

/* The next token of the session; now and then the one before is sent again, which nobody may get in with. */
static void refresh(struct people *all, int i)
{
	struct person *x = &all->person[i];
	if (!x->can_refresh)
		return;
	bool twice = rng_below(&all->rng, 4) == 0;
	x->can_refresh = x->refreshed = false; /* until the answer says what is good now */
	for (int k = 0; k <= (int)twice; k++) {
		struct msg *m = msg_new(MSG_SESSION_REFRESH);
		Hcp__SessionRefresh *r = (Hcp__SessionRefresh *)m->body;
		struct door *d = ask(all, m, k ? WANT_SPENT : WANT_SESSION, i, 0);
		r->sha256.data = arena_dup(&m->arena, x->refresh, sizeof(x->refresh));
		r->sha256.len = sizeof(x->refresh);
		draw(all, m, d, &r->next_sha256);
		sim_post(all->sim, m);
	}
}

static void make_key(struct people *all, int i)
{
	struct msg *m = msg_new(MSG_API_KEY_CREATE);
	if (all->n_keys == PEOPLE_KEYS || !all->signing) {
		msg_free(m);
		return;
	}
	struct api_key *k = &all->key[all->n_keys];
	Hcp__ApiKeyCreate *c = (Hcp__ApiKeyCreate *)m->body;
	*k = (struct api_key){ .owner = i };
	for (size_t b = 0; b < sizeof(k->sha256); b++)
		k->sha256[b] = (uint8_t)rng_below(&all->rng, 256);
	c->name = "ci";
	c->prefix = "hcp_abc";
	c->secret_sha256.len = sizeof(k->sha256);
	c->secret_sha256.data = arena_dup(&m->arena, k->sha256, sizeof(k->sha256));
	with_session(all, i, m, WANT_KEY, all->n_keys++);
}

/* One in three with a secret that nobody ever had. */
static void use_key(struct people *all)
{
	struct msg *m = msg_new(MSG_API_KEY_RESOLVE);
	Hcp__ApiKeyResolve *r = (Hcp__ApiKeyResolve *)m->body;
	bool stranger = !all->n_keys || rng_below(&all->rng, 3) == 0;
	size_t k = stranger ? 0 : rng_below(&all->rng, all->n_keys);
	uint8_t *sha = arena_alloc(&m->arena, 32);
	must(sha);
	if (!stranger && (!all->key[k].id[0])) {
		msg_free(m); /* its owner never heard that it was made */
		return;
	}
	for (size_t b = 0; b < 32; b++)
		sha[b] = stranger ? (uint8_t)rng_below(&all->rng, 256) : all->key[k].sha256[b];
	r->sha256.len = 32;
	r->sha256.data = sha;
	(void)ask(all, m, stranger ? WANT_STRANGER : WANT_PRINCIPAL, stranger ? 0 : all->key[k].owner, k);
	sim_post(all->sim, m);
}

static void revoke_key(struct people *all, int i)
{
	for (size_t k = 0; k < all->n_keys; k++) {
		if (all->key[k].owner != i || !all->key[k].id[0] || all->key[k].revoking)
			continue;
		struct msg *m = msg_new(MSG_API_KEY_REVOKE);
		((Hcp__ApiKeyRevoke *)m->body)->id = arena_strdup(&m->arena, all->key[k].id);
		with_session(all, i, m, WANT_REVOKED, k);
		return;
	}
}

static void forged(struct people *all, int i)
{
	struct jwt_claims c;
	char token[JWT_MAX_BYTES + 1];
	size_t n = strlen(all->person[i].token);
	if (!n || !all->signing)
		return;
	memcpy(token, all->person[i].token, n + 1);
	size_t at = rng_below(&all->rng, n);
	token[at] = token[at] == 'A' ? 'B' : 'A';
	/* The last digit of a part has bits that count for nothing. */
	bool counts = token[at + 1] && token[at + 1] != '.' && token[at] != '.';
	if (counts && jwt_verify(all->signing, str_of(token), sim_clock_ns(all->sim) / NS_PER_S, &c, NULL) == 0)
		sim_fail(all->sim, "a token with a changed digit is taken");
}

static void act(struct sim *s, void *arg, uint64_t i)
{
	struct people *all = arg;
	sim_at(s, s->now_ns + (int64_t)(PEOPLE_EVERY_S * 1e9 * rng_exp(&all->rng)), act, all, i);
	if (!s->load)
		return;
	int who = (int)i;
	uint64_t dice = rng_below(&all->rng, 20);
	if (!all->signing) {
		struct msg *m = msg_new(MSG_SIGNING_KEY_GET);
		(void)ask(all, m, WANT_SIGNING, who, 0);
		sim_post(s, m);
	} else if (dice < 5) {
		login(all, who, true);
	} else if (dice < 7) {
		for (uint64_t n = 1 + rng_below(&all->rng, 7); n; n--)
			login(all, who, false);
	} else if (dice < 9) {
		make_key(all, who);
	} else if (dice < 13) {
		use_key(all);
	} else if (dice < 14) {
		revoke_key(all, who);
	} else if (dice < 15) {
		forged(all, who);
	} else if (dice < 16) {
		refresh(all, who);
	} else {
		for (uint64_t n = 1 + rng_below(&all->rng, 12); n; n--)
			with_session(all, who, msg_new(MSG_WHO_AM_I), WANT_WHO, 0);
	}
}

/* ---- the service ---- */

/* Making a signing key costs more than an hour of all the rest, so one process makes one. */
static const char *key_path(void)
{
	static char path[64];
	if (!path[0])
		snprintf(path, sizeof(path), "%s/hcp-sim-%ld.key", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
			(long)getpid());
	return path;
}

void people_forget_key(void)
{
	(void)unlink(key_path());
}

void people_start(struct sim *s)
{
	static struct identity_conf conf;
	struct people *all = s->people = mem_calloc(1, sizeof(*all));
	must(all);
	conf = (struct identity_conf){ .key_path = key_path(), .hash_kib = IDENTITY_HASH_KIB_MIN };
	all->sim = s;
	rng_init(&all->rng, s->opts.seed ^ 0x70656f70);
	limits_init(&all->limits, 100);
	sim_add(s, &identity_def, &conf);
	for (uint64_t i = 0; i < PEOPLE; i++)
		sim_at(s, s->now_ns + (int64_t)(rng_exp(&all->rng) * 20e9), act, all, i);
}

void people_free(struct people *all)
{
	if (!all)
		return;
	jwt_key_free(all->signing);
	limits_release(&all->limits);
	mem_free(all);
}

static int64_t count(struct sim *s, const char *sql)
{
	struct db_row *row;
	struct err err = { 0 };
	if (db_query(svc_database(s->slot[SVC_IDENTITY].svc), &row, &err, sql, "") != 1)
		sim_fail(s, "identity's tables cannot be read: %s", err.text);
	int64_t n = db_i64(row, 0);
	db_done(row);
	return n;
}

void people_check(struct sim *s)
{
	const struct people *all = s->people;
	int64_t made = 0, revoked = 0, revoking = 0;
	if (!all || !s->slot[SVC_IDENTITY].svc)
		return;
	for (size_t i = 0; i < all->n_keys; i++) {
		made += all->key[i].id[0] != '\0';
		revoked += all->key[i].revoked;
		revoking += all->key[i].revoking;
	}
	int64_t n = count(s, "SELECT count(*) FROM api_key"),
			gone = count(s, "SELECT count(*) FROM api_key WHERE revoked=1");
	if (n < made || n > (int64_t)all->n_keys)
		sim_fail(s, "%lld API keys exist, %lld were acknowledged", (long long)n, (long long)made);
	if (gone < revoked || gone > revoking)
		sim_fail(s, "%lld API keys are revoked, %lld were acknowledged so", (long long)gone, (long long)revoked);
	if (count(s, "SELECT count(*) FROM user") != PEOPLE)
		sim_fail(s, "users came or went");
}

void people_summary(const struct sim *s)
{
	const struct people *all = s->people;
	if (all)
		sim_say(s, "%llu logins, %llu refused, %llu beyond their rate, %zu API keys, let in by one %llu times",
			(unsigned long long)all->logins, (unsigned long long)all->refused, (unsigned long long)all->limited,
			all->n_keys, (unsigned long long)all->resolved);
}
