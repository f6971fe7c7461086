/*
 * A polled source: one round is (a login), a request, its answer, further pages, and then all readings at once. Nothing
 * of a round that fails is used.
 */
#include <stdio.h>

#include "base/mem.h"
#include "base/money.h"
#include "feed/conf_priv.h"
#include "feed/feeds_priv.h"
#include "os/clock.h"

enum { HEADERS_MAX = FEED_HEADERS_MAX + 4 };

size_t source_headers(const struct feeds *f, const struct feed_request *r, struct http_header *dst, size_t cap)
{
	size_t n = 0;
	dst[n++] = (struct http_header){ STR("user-agent"), str_of(f->version) };
	dst[n++] = (struct http_header){ STR("accept"), STR("application/json, text/plain, text/xml") };
	for (size_t i = 0; i < r->n_headers && n < cap; i++)
		dst[n++] = (struct http_header){ str_of(r->header[i].name), str_of(r->header[i].value) };
	return n;
}

/* ---- the answer ---- */

static void remember(struct source *s, const struct http_response *r)
{
	struct str etag = http_response_header(r, "etag"), modified = http_response_header(r, "last-modified");
	s->etag[0] = s->modified[0] = 0;
	/* An answer of many pages is unchanged only if all of them are. */
	if (s->turn.page != 1)
		return;
	if (etag.n && str_copy(s->etag, sizeof(s->etag), etag) < 0)
		s->etag[0] = 0;
	if (modified.n && str_copy(s->modified, sizeof(s->modified), modified) < 0)
		s->modified[0] = 0;
}

static void take_page(struct source *s, const struct http_response *r)
{
	struct err err = { 0 };
	s->answer.more = false;
	int rc = s->conf->kind->answer(&s->turn, r->body, &s->answer, &err);
	if (rc == 0 && s->answer.more && s->turn.page >= FEED_PAGES_MAX)
		rc = err_set(&err, HCP_ELIMIT, "pages", "the answer has more than %d pages", FEED_PAGES_MAX);
	if (rc < 0) {
		char why[160];
		snprintf(why, sizeof(why), "%.40s: %.110s", err.field, err.text);
		source_failed(s, rc, -1, false, why);
	} else if (s->answer.more) {
		s->turn.page++;
		source_page(s);
	} else {
		remember(s, r);
		if (s->conf->pick && s->conf->kind->traits & FEED_PICKS)
			feed_answer_pick(&s->answer, s->conf->pick);
		source_took(s, s->answer.reading, s->answer.n);
	}
}

static void take_status(struct source *s, const struct http_response *r)
{
	char why[64];
	int64_t after_ms = feed_retry_after_ms(http_response_header(r, "retry-after"), clock_wall_ns());
	bool limited = r->status == 429 || (r->status == 503 && after_ms >= 0);
	snprintf(why, sizeof(why), "HTTP status %d%s", r->status, limited ? ", asked too often" : "");
	source_failed(s, r->status == 401 || r->status == 403 ? HCP_EAUTH : HCP_EUNAVAIL, after_ms, limited, why);
}

static void on_done(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct source *s = arg;
	s->call = NULL;
	if (code < 0) {
		source_failed(s, code, -1, false, err->text);
	} else if (r->status == 304 && s->conditional) {
		source_unchanged(s);
	} else if ((r->status == 401 || r->status == 403) && s->login && !s->logged_in_again) {
		/* Tokens end early when the login server is restarted: one new login, then it is a failure. */
		s->logged_in_again = true;
		login_forget(s);
		login_need(s);
	} else if (r->status != 200) {
		take_status(s, r);
	} else {
		take_page(s, r);
	}
}

/* ---- the request ---- */

static int start_call(struct source *s, const struct feed_request *r, struct err *err)
{
	struct http_header headers[HEADERS_MAX];
	size_t n = source_headers(s->feeds, r, headers, HEADERS_MAX - 2);
	s->conditional = s->turn.page == 1 && (s->etag[0] || s->modified[0]);
	if (s->conditional && s->etag[0])
		headers[n++] = (struct http_header){ STR("if-none-match"), str_of(s->etag) };
	if (s->conditional && s->modified[0])
		headers[n++] = (struct http_header){ STR("if-modified-since"), str_of(s->modified) };
	struct http_call_conf c = { .method = r->method,
		.url = r->url,
		.headers = headers,
		.n_headers = n,
		.body = buf_str(&r->body),
		.deadline_ms = (uint32_t)s->conf->deadline_ms,
		.max_body_bytes = s->conf->max_bytes,
		.on_done = on_done,
		.arg = s };
	return http_call_start(s->feeds->http, &c, &s->call, err);
}

void source_page(struct source *s)
{
	struct err err = { 0 };
	struct feed_request *r = mem_calloc(1, sizeof(*r));
	int rc = r ? 0 : err_set(&err, HCP_ENOMEM, "", "out of memory");
	if (rc == 0) {
		buf_init(&r->body, 64 << 10);
		s->turn.creds = s->creds;
		s->turn.token = s->login ? s->login->bearer.value : NULL;
		s->turn.next = s->answer.next;
		s->generation = s->login ? s->login->generation : 0;
		rc = s->conf->kind->request(&s->turn, r, &err);
		if (rc == 0)
			rc = start_call(s, r, &err);
		if (r->body.data)
			explicit_bzero(r->body.data, r->body.n);
		buf_release(&r->body);
	}
	mem_free_secret(r, sizeof(*r));
	if (rc < 0)
		source_failed(s, rc, -1, false, err.text);
}

void source_poll(struct source *s)
{
	struct err err = { 0 };
	int64_t wait_ms = feed_retry_may(&s->retry, loop_now_ns(s->feeds->loop));
	if (wait_ms > 0) {
		loop_timer_start(&s->timer, (uint64_t)wait_ms);
		return;
	}
	s->turn = (struct feed_turn){ .conf = s->conf, .now_ns = clock_wall_ns(), .page = 1, .next = "" };
	s->answer.n = 0;
	s->answer.next[0] = 0;
	s->logged_in_again = false;
	if (s->conf->credentials[0]) {
		s->creds = mem_alloc(sizeof(*s->creds));
		int rc = s->creds ? feed_creds_load(s->conf->credentials, s->creds, &err)
						  : err_set(&err, HCP_ENOMEM, "", "out of memory");
		if (rc < 0) {
			source_failed(s, rc, -1, false, err.text);
			return;
		}
	}
	if (s->login)
		login_need(s);
	else
		source_page(s);
}
