/*
 * A live source: a WebSocket that is connected, subscribed to and listened to. Whatever ends it (silence, a broken
 * message, the server's wish) leads to a new connection after the back-off, and the subscription is made anew.
 */
#include <stdio.h>

#include "base/mem.h"
#include "feed/feeds_priv.h"
#include "http/url.h"
#include "loop/tls.h"
#include "os/clock.h"

enum { PING_MS = 20000, HOST_MAX = 256 };

/* on_close follows and tells the failure. */
static void give_up(struct source *s, int code, const char *why)
{
	if (s->closing)
		return;
	s->closing = true;
	snprintf(s->problem, sizeof(s->problem), "%.150s", why);
	loop_timer_stop(&s->stall);
	ws_close(s->ws, code, "");
}

static void offer(struct source *s)
{
	s->has_latest = false;
	if (!s->spoke)
		feed_retry_ok(&s->retry, loop_now_ns(s->feeds->loop));
	s->spoke = true;
	source_took(s, &s->latest, 1);
	loop_timer_start(&s->timer, (uint64_t)s->conf->every_ms);
}

static void on_message(struct ws *ws, void *arg, enum ws_opcode opcode, struct str text)
{
	struct source *s = arg;
	struct err err = { 0 };
	if (s->closing)
		return;
	loop_timer_start(&s->stall, (uint64_t)s->conf->stall_ms);
	s->answer.n = 0;
	s->turn.now_ns = clock_wall_ns();
	int rc = opcode == WS_TEXT ? s->conf->kind->message(&s->turn, text, &s->answer, &err)
							   : err_set(&err, HCP_EPROTO, "message", "is not text");
	if (rc < 0) {
		char why[160];
		snprintf(why, sizeof(why), "%.40s: %.110s", err.field, err.text);
		give_up(s, rc == HCP_ECLOSED ? WS_NORMAL : WS_BAD_DATA, why);
		return;
	}
	if (!s->answer.n)
		return;
	s->latest = s->answer.reading[s->answer.n - 1];
	s->has_latest = true;
	if (!s->timer.armed)
		offer(s);
}

static void on_open(struct ws *ws, void *arg)
{
	struct source *s = arg;
	struct err err = { 0 };
	struct buf text;
	buf_init(&text, 4096);
	int rc = s->conf->kind->subscribe(&s->turn, &text, &err);
	if (rc == 0 && text.n)
		rc = ws_send(ws, WS_TEXT, buf_str(&text));
	buf_release(&text);
	if (rc < 0)
		give_up(s, WS_INTERNAL, "the subscription could not be sent");
	else
		loop_timer_start(&s->stall, (uint64_t)s->conf->stall_ms);
}

static void on_close(struct ws *ws, void *arg, int code, struct str reason)
{
	struct source *s = arg;
	char why[160];
	s->ws = NULL;
	loop_timer_stop(&s->stall);
	loop_timer_stop(&s->timer);
	s->has_latest = false;
	if (s->closing)
		snprintf(why, sizeof(why), "%.159s", s->problem);
	else
		snprintf(why, sizeof(why), "connection closed (%d) %.*s", code, (int)(reason.n < 110 ? reason.n : 110),
			reason.p ? reason.p : "");
	s->closing = false;
	source_failed(s, HCP_ECLOSED, -1, false, why);
}

void source_stalled(struct loop *loop, void *arg)
{
	struct source *s = arg;
	char why[64];
	snprintf(why, sizeof(why), "silent for %lld s", (long long)(s->conf->stall_ms / 1000));
	give_up(s, WS_GOING_AWAY, why);
}

static int dial(struct source *s, struct err *err)
{
	static const struct ws_callbacks cb = { .on_open = on_open, .on_message = on_message, .on_close = on_close };
	struct feed_request *r = mem_calloc(1, sizeof(*r));
	struct url u;
	char host[HOST_MAX];
	const struct http_header agent = { STR("user-agent"), str_of(s->feeds->version) };
	if (!r)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int rc = s->conf->kind->request(&s->turn, r, err);
	if (rc == 0)
		rc = url_parse(str_of(r->url), &u, err);
	if (rc < 0)
		goto out;
	snprintf(host, sizeof(host), "%.*s", (int)u.host.n, u.host.p);
	struct ws_client_conf c = { .host = host,
		.port = u.port,
		.path = u.target.n ? u.target.p : "/",
		.tls = u.tls ? s->feeds->tls : NULL,
		.headers = &agent,
		.n_headers = 1,
		.ws = { .max_message_bytes = s->conf->max_bytes, .ping_ms = PING_MS },
		.timeout_ms = (uint32_t)s->conf->deadline_ms };
	rc = ws_connect(s->feeds->loop, &c, &cb, s, &s->ws, err);
out:
	mem_free(r);
	return rc;
}

void source_live(struct source *s)
{
	struct err err = { 0 };
	if (s->ws) {
		/* The least time between two values is over. */
		if (s->has_latest && !s->closing)
			offer(s);
		return;
	}
	int64_t wait_ms = feed_retry_may(&s->retry, loop_now_ns(s->feeds->loop));
	if (wait_ms > 0) {
		loop_timer_start(&s->timer, (uint64_t)wait_ms);
		return;
	}
	s->turn = (struct feed_turn){ .conf = s->conf, .now_ns = clock_wall_ns(), .page = 1, .next = "" };
	s->spoke = s->closing = s->has_latest = false;
	int rc = dial(s, &err);
	if (rc < 0)
		source_failed(s, rc, -1, false, err.text);
}
