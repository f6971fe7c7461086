/*
 * Sessions of people. The gateway draws refresh tokens, shows each once and sends only digests on:
 *
 *   login ─▶ Login (a query: the password is in no journal) ─▶ SessionOpen{digest} ─▶ bearer + refresh token
 *   refresh ─▶ SessionRefresh{digest, digest of the next} ─▶ the same; the old one is spent
 *
 * Programs get the token in the body. Browsers ask for a cookie that no script can read and that is sent to
 * /api/v1/auth/ only, by pages of this origin only.
 */
#include <stdio.h>

#include "services/gateway/gateway_priv.h"
#include "services/gateway/header.h"

#define COOKIE "hcp_refresh"

enum { TOKEN_TEXT_MAX = 256 };

/*
 * SameSite=Strict keeps other sites' requests from carrying the cookie; this keeps out other origins of the same site
 * (another port, a sibling host) in browsers that say where a request comes from. Nothing said: no browser.
 */
static bool same_origin(const struct http_req *req)
{
	struct str site = http_req_header(req, "sec-fetch-site"), origin = http_req_header(req, "origin");
	if (site.p)
		return str_eqz(site, "same-origin");
	if (!origin.p)
		return true;
	size_t scheme = str_starts(origin, STR("https://")) ? 8 : str_starts(origin, STR("http://")) ? 7 : origin.n;
	return str_eq((struct str){ origin.p + scheme, origin.n - scheme }, req->authority);
}

static struct str find_cookie(const struct http_req *req)
{
	struct str value = { 0 };
	for (size_t i = 0; i < req->n_headers && !value.p; i++)
		if (str_ieqz(req->headers[i].name, "cookie")) /* HTTP/2 may split it */
			value = header_cookie(req->headers[i].value, STR(COOKIE));
	return value;
}

/* The token in hand, from the body or else the cookie, as its digest; the text is taken out of the message. */
static int take_token(struct call *c, struct msg *m, const char **text, ProtobufCBinaryData *ret, struct err *err)
{
	struct str token = str_of(*text);
	unsigned char *digest = arena_alloc(&m->arena, 32);
	if (!digest)
		return HCP_ENOMEM;
	if (!token.n) {
		token = find_cookie(c->req);
		c->cookie = token.n > 0;
	}
	if (!token.n || token.n > TOKEN_TEXT_MAX)
		return err_set(err, HCP_EINVAL, "refresh_token", "must be 1 to %d characters, here or in the cookie " COOKIE,
			TOKEN_TEXT_MAX);
	if (c->cookie && !same_origin(c->req))
		return err_set(err, HCP_EPERM, "origin", "another origin may not use this session");
	gw_sha256(token, digest);
	*text = "";
	*ret = (ProtobufCBinaryData){ 32, digest };
	return 0;
}

static int draw(struct call *c, struct msg *m, ProtobufCBinaryData *ret)
{
	unsigned char *digest = arena_alloc(&m->arena, 32);
	c->secret = digest ? gw_new_secret(c->req->arena, "hcr_", digest) : NULL;
	*ret = (ProtobufCBinaryData){ 32, digest };
	return c->secret ? 0 : HCP_ENOMEM;
}

int session_request(struct call *c, struct msg *m, struct err *err)
{
	int rc = 0;
	if (m->type == MSG_LOGIN) {
		c->cookie = ((const Hcp__Login *)m->body)->cookie;
	} else if (m->type == MSG_SESSION_REFRESH) {
		Hcp__SessionRefresh *r = (Hcp__SessionRefresh *)m->body;
		rc = take_token(c, m, &r->refresh_token, &r->sha256, err);
		if (rc == 0)
			rc = draw(c, m, &r->next_sha256);
	} else if (m->type == MSG_SESSION_END) {
		Hcp__SessionEnd *e = (Hcp__SessionEnd *)m->body;
		rc = take_token(c, m, &e->refresh_token, &e->sha256, err);
	}
	return rc;
}

void session_open(struct call *c, const Hcp__Principal *who)
{
	struct msg *m = msg_new(MSG_SESSION_OPEN);
	c->who = who;
	if (!m || api_set_principal(c, m) < 0 || draw(c, m, &((Hcp__SessionOpen *)m->body)->sha256) < 0) {
		c->who = NULL;
		msg_free(m);
		gw_problem(c, HCP_ENOMEM, "", "out of memory");
		return;
	}
	c->who = NULL; /* goes with the reply it stands in */
	api_send(c, m, GATEWAY_DEADLINE_MS);
}

static size_t set_cookie(struct call *c, const char *value, int32_t life_s, struct http_header *h)
{
	char *text = arena_printf(
		c->req->arena, COOKIE "=%s; Path=/api/v1/auth/; Max-Age=%d; HttpOnly; Secure; SameSite=Strict", value, life_s);
	h[0] = (struct http_header){ STR("set-cookie"), str_of(text ? text : "") };
	return text != NULL;
}

size_t session_reply(struct call *c, struct msg *reply, struct http_header *h)
{
	if (c->route->request == MSG_SESSION_END)
		return c->cookie ? set_cookie(c, "", 0, h) : 0;
	if (!c->secret || reply->type != MSG_SESSION)
		return 0;
	Hcp__Session *s = (Hcp__Session *)reply->body;
	if (c->cookie)
		return set_cookie(c, c->secret, s->refresh_expires_in, h);
	s->refresh_token = c->secret;
	return 0;
}
