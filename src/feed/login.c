/* Bearer tokens, one a login: sources that share it wait for one request. */
#include <stdio.h>

#include "base/mem.h"
#include "feed/feeds_priv.h"
#include "os/clock.h"

enum { LOGIN_BYTES_MAX = 64 << 10 };

/* Everyone who waits goes on, or fails for the same reason. */
static void answer_all(struct login *l, int code, int64_t after_ms, bool limited, const char *why)
{
	struct list *node;
	while ((node = list_pop(&l->waiting))) {
		struct source *s = list_entry(node, struct source, waiting);
		list_init(&s->waiting);
		if (code < 0)
			source_failed(s, code, after_ms, limited, why);
		else
			source_page(s);
	}
}

static void on_done(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct login *l = arg;
	struct err why = { 0 };
	char text[160];
	l->call = NULL;
	if (code < 0) {
		snprintf(text, sizeof(text), "login: %.140s", err->text);
		answer_all(l, code, -1, false, text);
	} else if (r->status != 200) {
		int64_t after_ms = feed_retry_after_ms(http_response_header(r, "retry-after"), clock_wall_ns());
		snprintf(text, sizeof(text), "login: HTTP status %d", r->status);
		answer_all(l, HCP_EAUTH, after_ms, r->status == 429, text);
	} else {
		code = feed_b2c_answer(r->body, clock_wall_ns(), &l->bearer, &why);
		snprintf(text, sizeof(text), "login: %.40s %.90s", why.field, why.text);
		l->generation += code == 0;
		answer_all(l, code, -1, false, text);
	}
}

static int ask(struct login *l, const struct feed_creds *creds, int64_t deadline_ms, struct err *err)
{
	struct http_header headers[FEED_HEADERS_MAX];
	struct feed_request *r = mem_calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	buf_init(&r->body, 64 << 10);
	int rc = feed_b2c_request(l->token_url, creds, r, err);
	if (rc == 0) {
		struct http_call_conf c = { .method = r->method,
			.url = r->url,
			.headers = headers,
			.n_headers = source_headers(l->feeds, r, headers, FEED_HEADERS_MAX),
			.body = buf_str(&r->body),
			.deadline_ms = (uint32_t)deadline_ms,
			.max_body_bytes = LOGIN_BYTES_MAX,
			.on_done = on_done,
			.arg = l };
		rc = http_call_start(l->feeds->http, &c, &l->call, err);
	}
	if (r->body.data)
		explicit_bzero(r->body.data, r->body.n);
	buf_release(&r->body);
	mem_free_secret(r, sizeof(*r));
	return rc;
}

void login_need(struct source *s)
{
	struct login *l = s->login;
	struct err err = { 0 };
	if (l->bearer.value[0] && clock_wall_ns() < l->bearer.expires_ns) {
		source_page(s);
		return;
	}
	explicit_bzero(l->bearer.value, sizeof(l->bearer.value));
	list_add_tail(&l->waiting, &s->waiting);
	if (l->call)
		return;
	int rc = ask(l, s->creds, s->conf->deadline_ms, &err);
	if (rc < 0)
		answer_all(l, rc, -1, false, err.text);
}

void login_forget(struct source *s)
{
	/* Another source may have logged in again since this one's request went out. */
	if (s->generation == s->login->generation)
		explicit_bzero(s->login->bearer.value, sizeof(s->login->bearer.value));
}
