/* Who asks, whether they may, and how often. */
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/hex.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/money.h"
#include "os/clock.h"
#include "os/entropy.h"
#include "services/gateway/gateway_priv.h"

enum { KEY_RETRY_MS = 1000, KEY_STALE_MS = 30000, SECRET_BYTES = 32, TOKEN_MAX = JWT_MAX_BYTES };

/* ---- sessions ---- */

static void session_drop(struct gw_loop *gl, struct session *s)
{
	map_del(&gl->sessions, (struct str){ s->key, s->key_n });
	list_del(&s->lru);
	mem_free_secret(s, sizeof(*s) + s->key_n);
}

void gw_sessions_release(struct gw_loop *gl)
{
	while (!list_empty(&gl->session_lru))
		session_drop(gl, list_entry(gl->session_lru.next, struct session, lru));
	map_release(&gl->sessions);
}

static struct session *session_find(struct gw_loop *gl, struct str token, int64_t now_ns)
{
	struct session *s = map_get(&gl->sessions, token);
	if (s && now_ns >= s->until_ns) {
		session_drop(gl, s);
		return NULL;
	}
	if (s && gl->session_lru.next != &s->lru) {
		list_del(&s->lru);
		list_add_head(&gl->session_lru, &s->lru);
	}
	return s;
}

static struct session *session_add(struct gw_loop *gl, struct str token, int64_t until_ns)
{
	struct session *old = map_get(&gl->sessions, token);
	if (old)
		session_drop(gl, old);
	if (gl->sessions.n >= GATEWAY_SESSIONS_MAX)
		session_drop(gl, list_entry(gl->session_lru.prev, struct session, lru));
	struct session *s = mem_calloc(1, sizeof(*s) + token.n);
	if (!s)
		return NULL;
	s->key_n = token.n;
	memcpy(s->key, token.p, token.n);
	s->until_ns = until_ns;
	if (map_put(&gl->sessions, token, s, NULL) < 0) {
		mem_free(s);
		return NULL;
	}
	list_add_head(&gl->session_lru, &s->lru);
	hcp__principal__init(&s->who);
	s->who.user_id = s->user_id;
	s->who.customer_id = s->customer_id;
	s->who.email = s->email;
	return s;
}

/* ---- the signing key ---- */

static void take_key(struct gw_loop *gl, const Hcp__SigningKey *k)
{
	struct jwt_key *key = NULL;
	struct err err = { 0 };
	if (jwt_key_from_pem(str_of(k->public_pem), &key, &err) < 0) {
		log_error("gateway", "identity's signing key is unusable: %s", err.text);
		return;
	}
	jwt_key_free(gl->key);
	gl->key = key;
}

static void on_signing_key(void *arg, struct msg *reply)
{
	struct gw_loop *gl = arg;
	struct list *it;
	gl->key_asked = false;
	if (reply && reply->type == MSG_SIGNING_KEY)
		take_key(gl, (const Hcp__SigningKey *)reply->body);
	while ((it = list_pop(&gl->key_waiters))) {
		struct call *c = list_entry(it, struct call, node);
		if (gl->key)
			gw_admit(c);
		else
			gw_problem(c, HCP_EUNAVAIL, "authorization", "the identity service does not answer; try again");
	}
}

void gw_ask_key(struct gw_loop *gl)
{
	int64_t now_ms = loop_turn_ms(gl->loop);
	if (gl->key_asked || (gl->key_asked_ms && now_ms - gl->key_asked_ms < KEY_RETRY_MS))
		return;
	struct msg *m = msg_new(MSG_SIGNING_KEY_GET);
	gl->key_asked_ms = now_ms;
	gl->key_asked = m && gw_ask(gl, m, GATEWAY_DEADLINE_MS, on_signing_key, gl) == 0;
}

/* ---- credentials ---- */

static struct str find_token(const struct http_req *req)
{
	struct str v = http_req_header(req, "authorization");
	if (v.n > 7 && str_ieqz((struct str){ v.p, 7 }, "bearer "))
		return str_trim((struct str){ v.p + 7, v.n - 7 });
	if (v.p)
		return v;
	return http_req_header(req, "x-api-key");
}

static bool is_machine(const struct gateway *gw, struct str token)
{
	const char *want = gw->conf.machine_token;
	return want && strlen(want) == token.n && CRYPTO_memcmp(want, token.p, token.n) == 0;
}

static const Hcp__Principal machine = {
	.base = PROTOBUF_C_MESSAGE_INIT(&hcp__principal__descriptor), .user_id = "", .customer_id = "", .email = "machine",
	.role = HCP__ROLE__MACHINE,
};

static int session_of_jwt(struct gw_loop *gl, struct str token, int64_t now_ns, struct session **ret, struct err *err)
{
	struct jwt_claims c;
	int rc = jwt_verify(gl->key, token, now_ns / NS_PER_S, &c, err);
	if (rc < 0) {
		if (loop_turn_ms(gl->loop) - gl->key_asked_ms > KEY_STALE_MS) /* identity may have a new one */
			gw_ask_key(gl);
		return rc;
	}
	struct session *s = session_add(gl, token, c.exp_s * NS_PER_S);
	if (!s)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	memcpy(s->user_id, c.sub, sizeof(s->user_id));
	memcpy(s->customer_id, c.cus, sizeof(s->customer_id));
	memcpy(s->email, c.email, sizeof(s->email));
	s->who.role = (Hcp__Role)c.role;
	s->who.rate_per_min = c.rate_per_min;
	*ret = s;
	return 0;
}

void gw_sha256(struct str s, unsigned char dst[32])
{
	if (EVP_Digest(s.p, s.n, dst, NULL, EVP_sha256(), NULL) != 1)
		memset(dst, 0, 32);
}

/* ---- limits ---- */

static struct str address_of(const struct http_req *req)
{
	const char *colon = strrchr(req->peer, ':');
	return (struct str){ req->peer, colon ? (size_t)(colon - req->peer) : strlen(req->peer) };
}

static bool take(struct gateway *gw, char kind, struct str name, uint32_t per_min, struct limit_result *ret)
{
	char key[128];
	size_t n = name.n < sizeof(key) - 1 ? name.n : sizeof(key) - 1;
	key[0] = kind;
	memcpy(key + 1, name.p, n);
	pthread_mutex_lock(&gw->limit_lock);
	bool ok = limits_take(&gw->limits, (struct str){ key, n + 1 }, per_min, clock_mono_ns(), ret);
	pthread_mutex_unlock(&gw->limit_lock);
	return ok;
}

static void too_many(struct call *c, const char *what)
{
	char text[160];
	snprintf(text, sizeof(text), "%s: at most %u a minute; try again in %u s", what, c->limit.limit,
		 c->limit.retry_after_s);
	atomic_fetch_add_explicit(&c->gl->stats.limited, 1, memory_order_relaxed);
	gw_problem(c, HCP_ELIMIT, "", text);
}

static void refuse_stranger(struct call *c, int code, const char *field, const char *text)
{
	struct limit_result r;
	if (code == HCP_EAUTH) {
		atomic_fetch_add_explicit(&c->gl->stats.auth_failures, 1, memory_order_relaxed);
		if (!take(c->gl->gw, 'i', address_of(c->req), GATEWAY_IP_PER_MIN, &r)) {
			c->limit = r;
			too_many(c, "requests without valid credentials");
			return;
		}
	}
	gw_problem(c, code, field, text);
}

/* ---- admission ---- */

static bool may(const struct call *c)
{
	Hcp__Role role = c->who->role;
	if (c->role == HCP__ROLE__MACHINE)
		return role == HCP__ROLE__MACHINE || role == HCP__ROLE__ADMIN;
	if (role == HCP__ROLE__MACHINE) /* feeds and agents may look, not act */
		return c->req->method == HTTP_M_GET && c->role <= HCP__ROLE__OPERATOR;
	return role >= c->role && role != HCP__ROLE__ROLE_UNSPECIFIED;
}

static const char *role_name(uint8_t role)
{
	static const char *const names[] = { "public", "customer", "operator", "admin", "machine" };
	return role < sizeof(names) / sizeof(names[0]) ? names[role] : "?";
}

static void admit_known(struct call *c)
{
	char text[96];
	if (!may(c)) {
		snprintf(text, sizeof(text), "this needs the role %s; yours is %s", role_name(c->role),
			 role_name((uint8_t)c->who->role));
		gw_problem(c, HCP_EPERM, "", text);
		return;
	}
	if (c->who->rate_per_min &&
	    !take(c->gl->gw, 'u', str_of(c->who->user_id), c->who->rate_per_min, &c->limit)) {
		too_many(c, "requests");
		return;
	}
	c->then(c);
}

static void on_resolved(void *arg, struct msg *reply)
{
	struct call *c = arg;
	struct gw_loop *gl = c->gl;
	int64_t until_ns = clock_wall_ns() + GATEWAY_KEY_TTL_MS * NS_PER_MS;
	struct err err = { 0 };
	int rc = reply ? msg_error(reply, &err) : HCP_ETIMEOUT;
	if (rc < 0 && rc != HCP_ENOTFOUND) {
		gw_problem(c, HCP_EUNAVAIL, "authorization", "the identity service does not answer; try again");
		return;
	}
	struct session *s = session_add(gl, c->token, until_ns);
	if (!s) {
		gw_problem(c, HCP_ENOMEM, "", "out of memory");
		return;
	}
	s->wrong = rc < 0;
	if (s->wrong) {
		refuse_stranger(c, HCP_EAUTH, "authorization", "the API key is not known or was revoked");
		return;
	}
	const Hcp__Principal *p = (const Hcp__Principal *)reply->body;
	s->wrong = str_copy(s->user_id, sizeof(s->user_id), str_of(p->user_id)) < 0 ||
		   str_copy(s->customer_id, sizeof(s->customer_id), str_of(p->customer_id)) < 0 ||
		   str_copy(s->email, sizeof(s->email), str_of(p->email)) < 0;
	s->who.role = p->role;
	s->who.rate_per_min = p->rate_per_min;
	if (s->wrong) {
		gw_problem(c, HCP_EINTERNAL, "", "the owner of this API key does not fit");
		return;
	}
	c->who = &s->who;
	admit_known(c);
}

static void resolve_key(struct call *c)
{
	unsigned char digest[32];
	struct limit_result r;
	if (!take(c->gl->gw, 'i', address_of(c->req), GATEWAY_IP_PER_MIN, &r)) {
		c->limit = r;
		too_many(c, "API keys to check");
		return;
	}
	struct msg *m = msg_new(MSG_API_KEY_RESOLVE);
	gw_sha256(c->token, digest);
	Hcp__ApiKeyResolve *ask = m ? (Hcp__ApiKeyResolve *)m->body : NULL;
	if (ask) {
		ask->sha256.len = sizeof(digest);
		ask->sha256.data = arena_dup(&m->arena, digest, sizeof(digest));
	}
	if (!ask || !ask->sha256.data) {
		msg_free(m);
		gw_problem(c, HCP_ENOMEM, "", "out of memory");
		return;
	}
	if (gw_ask(c->gl, m, GATEWAY_DEADLINE_MS, on_resolved, c) < 0)
		gw_problem(c, HCP_EUNAVAIL, "", "too many requests are waiting; try again");
}

static void admit_public(struct call *c)
{
	bool login = c->route->request == MSG_LOGIN; /* dear, and what a guesser repeats */
	if (!take(c->gl->gw, login ? 'l' : 's', address_of(c->req), login ? GATEWAY_LOGIN_PER_MIN : GATEWAY_IP_PER_MIN,
			&c->limit)) {
		too_many(c, login ? "logins from one address" : "sessions renewed from one address");
		return;
	}
	c->then(c);
}

static void wait_for_key(struct call *c)
{
	gw_ask_key(c->gl);
	if (c->gl->key_asked)
		list_add_tail(&c->gl->key_waiters, &c->node);
	else
		gw_problem(c, HCP_EUNAVAIL, "authorization", "the identity service does not answer; try again");
}

void gw_admit(struct call *c)
{
	struct err err = { 0 };
	if (!c->role) {
		admit_public(c);
		return;
	}
	if (!c->token.p)
		c->token = find_token(c->req);
	if (!c->token.n || c->token.n > TOKEN_MAX) {
		refuse_stranger(c, HCP_EAUTH, "authorization",
				"send Authorization: Bearer <token or API key>, or X-API-Key");
		return;
	}
	int64_t now_ns = clock_wall_ns();
	struct session *s = session_find(c->gl, c->token, now_ns);
	if (s && s->wrong) {
		refuse_stranger(c, HCP_EAUTH, "authorization", "the API key is not known or was revoked");
		return;
	}
	if (!s && is_machine(c->gl->gw, c->token)) {
		c->who = &machine;
		admit_known(c);
		return;
	}
	if (!s && str_starts(c->token, STR("hcp_"))) {
		resolve_key(c);
		return;
	}
	if (!s && !c->gl->key) {
		wait_for_key(c);
		return;
	}
	int rc = s ? 0 : session_of_jwt(c->gl, c->token, now_ns, &s, &err);
	if (rc < 0) {
		refuse_stranger(c, rc, err.field, err.text);
		return;
	}
	c->who = &s->who;
	admit_known(c);
}

int gw_keep_who(struct call *c)
{
	struct arena *a = c->req->arena;
	if (!c->who || c->who == &machine)
		return 0;
	Hcp__Principal *p = arena_dup(a, c->who, sizeof(*p));
	if (!p)
		return HCP_ENOMEM;
	p->user_id = arena_strdup(a, p->user_id);
	p->customer_id = arena_strdup(a, p->customer_id);
	p->email = arena_strdup(a, p->email);
	c->who = p;
	return p->user_id && p->customer_id && p->email ? 0 : HCP_ENOMEM;
}

char *gw_new_secret(struct arena *a, const char prefix[4], unsigned char digest[32])
{
	unsigned char bytes[SECRET_BYTES];
	struct buf b;
	entropy_fill(bytes, sizeof(bytes));
	buf_init(&b, 128);
	buf_add(&b, prefix, 4);
	b64url_encode(&b, bytes, sizeof(bytes));
	char *text = buf_failed(&b) ? NULL : arena_strndup(a, b.data, b.n);
	if (text)
		gw_sha256(str_of(text), digest);
	mem_free_secret(b.data, b.n);
	OPENSSL_cleanse(bytes, sizeof(bytes));
	return text;
}
