/*
 * How the answer to a GET goes out:
 *
 *   body ─▶ tag ─▶ the client has it: 304
 *              └─▶ kept for its time ─▶ packed, if asked for and worth it (kept too)
 *
 * An object with a version has that as its strong tag, which If-Match names; it is never packed, because a strong tag
 * names bytes. All else has a weak tag made of its bytes, the same plain and packed.
 *
 * Only answers to GET are packed. The length of a packed text tells an eavesdropper whether something that he has a
 * browser send also stands in the answer, beside a secret (BREACH). Secrets stand only in answers to POST (tokens, new
 * API keys), and no GET is made with credentials that a browser adds by itself.
 */
#include "base/hex.h"
#include "base/map.h"
#include "base/num.h"
#include "base/panic.h"
#include "services/gateway/gateway_priv.h"
#include "services/gateway/header.h"
#include "wire/gzip.h"

enum { GZIP_LEVEL = 1, TAG_N = 20, VARIANT = 0x40 /* of the first byte of a key, a digit */ };

static bool wants_gzip(const struct call *c)
{
	return header_takes_gzip(http_req_header(c->req, "accept-encoding"));
}

/* The packed text, in the loop's scratch; {NULL,0} if it is no smaller or there is no memory for it. */
static struct str pack(struct gw_loop *gl, struct str plain)
{
	struct buf *b = &gl->packed;
	if (!gl->gzip && gzip_new(GZIP_LEVEL, &gl->gzip) < 0)
		return (struct str){ 0 };
	buf_clear(b);
	if (gzip_pack(gl->gzip, plain, b) < 0) {
		buf_release(b); /* a failed buffer stays failed */
		buf_init(b, 0);
		return (struct str){ 0 };
	}
	return b->n < plain.n ? buf_str(b) : (struct str){ 0 };
}

static bool worth_packing(size_t n)
{
	return n >= GATEWAY_GZIP_MIN && n <= GATEWAY_GZIP_MAX;
}

size_t body_pack(struct call *c, struct str *body, struct http_header *h)
{
	size_t n = 0;
	if (!worth_packing(body->n))
		return n;
	h[n++] = (struct http_header){ STR("vary"), STR("Accept-Encoding") };
	if (!wants_gzip(c))
		return n;
	struct str packed = pack(c->gl, *body);
	if (packed.p) {
		*body = packed;
		h[n++] = (struct http_header){ STR("content-encoding"), STR("gzip") };
	}
	return n;
}

char *body_version_tag(struct call *c, int64_t version)
{
	return arena_printf(c->req->arena, "\"%lld\"", (long long)version);
}

/* etag: without W/. True if it was answered with 304. */
static bool answered_unchanged(struct call *c, const struct http_header *h, size_t n, struct str etag)
{
	if (!header_names_etag(http_req_header(c->req, "if-none-match"), etag, true))
		return false;
	gw_answer(c, 304, h, n, (struct str){ "", 0 });
	return true;
}

/* W/"0123456789abcdef" */
static void make_tag(char dst[24], struct str body)
{
	uint64_t hash = hash_bytes(body.p, body.n, 0);
	memcpy(dst, "W/\"", 3);
	hex_encode(dst + 3, &hash, sizeof(hash));
	memcpy(dst + 19, "\"", 2);
}

void body_answer(struct call *c, const struct http_header *hdrs, size_t n, struct str body, int64_t version)
{
	struct http_header h[8];
	struct cached kept = { .body = body, .until_ms = loop_turn_ms(c->gl->loop) + c->route->cache_ms };
	must(n <= 4);
	for (size_t i = 0; i < n; i++)
		h[i] = hdrs[i];
	c->cache_control = "private, no-cache";
	if (version) {
		char *tag = body_version_tag(c, version);
		h[n++] = (struct http_header){ STR("etag"), str_of(tag ? tag : "") };
		if (!answered_unchanged(c, h, n, h[n - 1].value))
			gw_answer(c, c->route->status, h, n, body);
		return;
	}
	make_tag(kept.etag, body);
	h[n++] = (struct http_header){ STR("etag"), { kept.etag, TAG_N } };
	if (c->cache_key.p) {
		cache_put(&c->gl->answers, c->cache_key, &kept);
		h[n++] = (struct http_header){ STR("x-cache"), STR("miss") };
	}
	if (answered_unchanged(c, h, n, (struct str){ kept.etag + 2, TAG_N - 2 }))
		return;
	n += body_pack(c, &body, h + n);
	if (c->cache_key.p && body.p != kept.body.p) {
		kept.body = body;
		((char *)c->cache_key.p)[0] |= VARIANT;
		cache_put(&c->gl->answers, c->cache_key, &kept);
	}
	gw_answer(c, c->route->status, h, n, body);
}

/* The packed form of what is kept: kept too, or made now. */
static size_t pack_kept(
	struct call *c, struct str key, const struct cached *plain, struct str *body, struct http_header *h)
{
	struct cached packed;
	if (!worth_packing(plain->body.n))
		return 0;
	((char *)key.p)[0] |= VARIANT;
	if (wants_gzip(c) && cache_get(&c->gl->answers, key, loop_turn_ms(c->gl->loop), &packed) &&
		strcmp(packed.etag, plain->etag) == 0) {
		*body = packed.body;
		h[0] = (struct http_header){ STR("vary"), STR("Accept-Encoding") };
		h[1] = (struct http_header){ STR("content-encoding"), STR("gzip") };
		return 2;
	}
	size_t n = body_pack(c, body, h);
	if (body->p != plain->body.p) {
		packed = *plain;
		packed.body = *body;
		cache_put(&c->gl->answers, key, &packed);
	}
	return n;
}

bool body_from_cache(struct call *c, struct str key)
{
	struct http_header h[4];
	struct cached kept;
	size_t n = 0;
	if (!cache_get(&c->gl->answers, key, loop_turn_ms(c->gl->loop), &kept))
		return false;
	c->cache_control = "private, no-cache";
	h[n++] = (struct http_header){ STR("x-cache"), STR("hit") };
	h[n++] = (struct http_header){ STR("etag"), { kept.etag, TAG_N } };
	if (answered_unchanged(c, h, n, (struct str){ kept.etag + 2, TAG_N - 2 }))
		return true;
	struct str body = kept.body;
	n += pack_kept(c, key, &kept, &body, h + n);
	gw_answer(c, c->route->status, h, n, body);
	return true;
}

int body_precondition(struct call *c, struct msg *m, struct err *err)
{
	const struct route_fields *f = &c->gl->gw->fields[c->route - route_table];
	struct str rest = str_trim(http_req_header(c->req, "if-match"));
	if (!rest.p || str_eqz(rest, "*"))
		return 0;
	int64_t *v = arena_alloc(&m->arena, GATEWAY_VERSIONS_MAX * sizeof(*v));
	size_t n = 0;
	if (!v)
		return HCP_ENOMEM;
	while (rest.p) {
		struct str tag = str_trim(str_split(&rest, ','));
		bool quoted = tag.n > 2 && tag.p[0] == '"' && tag.p[tag.n - 1] == '"';
		if (!quoted || num_parse_i64((struct str){ tag.p + 1, tag.n - 2 }, &v[n]) < 0)
			continue; /* of something else, or weak: it names no version */
		if (++n == GATEWAY_VERSIONS_MAX && rest.p)
			return err_set(err, HCP_ELIMIT, "if-match", "at most %d tags", GATEWAY_VERSIONS_MAX);
	}
	if (!f->versions || !n)
		return err_set(err, HCP_ECONFLICT, "if-match", f->versions ? "names no version" : "nothing here has a version");
	*(int64_t **)(void *)((char *)m->body + f->versions) = v;
	*(size_t *)(void *)((char *)m->body + f->n_versions) = n;
	return 0;
}
