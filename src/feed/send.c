/* From the quantities to the optimizer: one message at a time, values coalesced while it is away. */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "feed/feeds_priv.h"
#include "os/clock.h"
#include "svc/host.h"
#include "svc/msg.h"

enum { RETRY_MS = 1000, REFUSAL_LOG_MS = 60000 };

static const char component[] = "market";

const char *source_state_name(const struct source *s, int64_t now_ns)
{
	switch (s->state) {
	case SOURCE_WAITING:
		return "waiting";
	case SOURCE_LIMITED:
		return "limited";
	case SOURCE_FAILING:
		return feed_retry_is_open(&s->retry) ? "open" : "failing";
	default:
		return feed_member_is_fresh(s->member, now_ns) ? "ok" : "stale";
	}
}

/* ---- who speaks, and what he has to say ---- */

static const struct source *source_of(const struct feeds *f, const struct feed_source_conf *conf)
{
	return &f->source[conf - f->conf.source];
}

static void announce(const struct feeds *f, const struct feed_quantity *q, int64_t now_ns)
{
	const char *space = q->location[0] ? " " : "";
	if (q->speaking < 0) {
		log_error(component, "%s%s%s: no source has a fresh value", q->symbol, space, q->location);
		return;
	}
	const struct feed_source_conf *c = q->member[q->speaking]->conf;
	if (q->speaking == 0) {
		log_info(component, "%s%s%s: %s speaks", q->symbol, space, q->location, c->name);
		return;
	}
	const struct source *first = source_of(f, q->member[0]->conf);
	log_warn(component, "%s%s%s: falls back to %s; %s is %s%s%s", q->symbol, space, q->location, c->name,
		first->conf->name, source_state_name(first, now_ns), first->problem[0] ? ": " : "", first->problem);
}

/* Of instants only the newest waits; a full queue loses its oldest. */
static void enqueue(struct feeds *f, const struct feed_quantity *q, const struct feed_reading *r)
{
	struct outgoing out = { q, q->member[q->speaking]->conf, *r };
	for (size_t i = f->n_sent; i < f->n_queue && !r->interval_s; i++) {
		if (f->queue[i].quantity == q && !f->queue[i].reading.interval_s) {
			f->queue[i] = out;
			return;
		}
	}
	if (f->n_queue == FEEDS_QUEUE_MAX) {
		if (f->n_sent == FEEDS_QUEUE_MAX)
			return;
		memmove(&f->queue[f->n_sent], &f->queue[f->n_sent + 1], (f->n_queue - f->n_sent - 1) * sizeof(f->queue[0]));
		f->n_queue--;
	}
	f->queue[f->n_queue++] = out;
}

void feeds_pump(struct feeds *f, struct feed_quantity *q)
{
	struct feed_reading news[64];
	size_t n;
	int64_t now_ns = clock_wall_ns();
	if (feed_quantity_choose(q, now_ns))
		announce(f, q, now_ns);
	while ((n = feed_quantity_take(q, now_ns, news, sizeof(news) / sizeof(news[0]))) > 0)
		for (size_t i = 0; i < n; i++)
			enqueue(f, q, &news[i]);
	loop_defer(f->loop, &f->flush);
}

/* ---- the message ---- */

static Hcp__Tick *make_tick(struct arena *a, const struct outgoing *o, int64_t now_ns)
{
	Hcp__Tick *t = arena_alloc(a, sizeof(*t));
	if (!t)
		return NULL;
	hcp__tick__init(t);
	t->symbol = arena_strdup(a, o->conf->symbol);
	t->location = arena_strdup(a, o->conf->location);
	t->source = arena_strdup(a, o->conf->name);
	t->value = o->reading.value;
	t->observed_at_ns = o->reading.observed_at_ns;
	t->interval_start_ns = o->reading.start_ns;
	t->interval_s = o->reading.interval_s;
	t->sent_at_ns = now_ns;
	return t->symbol && t->location && t->source ? t : NULL;
}

static Hcp__MarketSource *make_state(struct arena *a, const struct source *s, int64_t now_ns)
{
	Hcp__MarketSource *m = arena_alloc(a, sizeof(*m));
	if (!m)
		return NULL;
	hcp__market_source__init(m);
	m->name = arena_strdup(a, s->conf->name);
	m->kind = s->conf->kind->name;
	m->symbol = arena_strdup(a, s->conf->symbol);
	m->location = arena_strdup(a, s->conf->location);
	m->priority = s->conf->priority;
	m->state = source_state_name(s, now_ns);
	m->speaking = s->quantity->speaking >= 0 && s->quantity->member[s->quantity->speaking] == s->member;
	if (s->member->known) {
		m->value = s->member->newest.value;
		m->observed_at_ns = s->member->newest.observed_at_ns;
	}
	m->failures = (int64_t)s->failures;
	m->problem = arena_strdup(a, s->problem);
	return m->name && m->symbol && m->location && m->problem ? m : NULL;
}

/* FNV-1a over what people would call the state. */
static uint64_t state_hash(const struct feeds *f, int64_t now_ns)
{
	uint64_t h = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < f->conf.n; i++) {
		const struct source *s = &f->source[i];
		const char *const texts[] = { source_state_name(s, now_ns), s->problem };
		for (size_t k = 0; k < 2; k++)
			for (const char *p = texts[k]; *p; p++)
				h = (h ^ (unsigned char)*p) * UINT64_C(1099511628211);
		h = (h ^ (uint64_t)(s->quantity->speaking + 2)) * UINT64_C(1099511628211);
	}
	return h;
}

static int fill(struct feeds *f, struct msg *m, bool with_state, int64_t now_ns)
{
	Hcp__Ticks *t = (Hcp__Ticks *)m->body;
	t->ticks = arena_alloc(&m->arena, (f->n_queue + 1) * sizeof(*t->ticks));
	t->sources = arena_alloc(&m->arena, f->conf.n * sizeof(*t->sources));
	if (!t->ticks || !t->sources)
		return HCP_ENOMEM;
	for (; t->n_ticks < f->n_queue; t->n_ticks++)
		if (!(t->ticks[t->n_ticks] = make_tick(&m->arena, &f->queue[t->n_ticks], now_ns)))
			return HCP_ENOMEM;
	for (; with_state && t->n_sources < f->conf.n; t->n_sources++)
		if (!(t->sources[t->n_sources] = make_state(&m->arena, &f->source[t->n_sources], now_ns)))
			return HCP_ENOMEM;
	return 0;
}

/* ---- the answer ---- */

static void log_refusals(struct feeds *f, const Hcp__TicksResult *r)
{
	int64_t now_ms = loop_turn_ms(f->loop);
	if (!r->rejected || (f->refusal_logged_ms && now_ms - f->refusal_logged_ms < REFUSAL_LOG_MS))
		return;
	f->refusal_logged_ms = now_ms;
	log_warn(component, "the optimizer refused %d of %d values: %.60s %.160s", r->rejected, r->rejected + r->accepted,
		r->n_problems ? r->problems[0]->field : "", r->n_problems ? r->problems[0]->detail : "");
}

static void answered(struct loop *loop, void *arg)
{
	struct feeds *f = arg;
	struct msg *reply = f->reply;
	struct err err = { 0 };
	f->reply = NULL;
	f->in_flight = false;
	if (!atomic_load(&f->stopping)) {
		if (msg_error(reply, &err) < 0) {
			if (!f->retry_ms)
				log_warn(component, "the optimizer does not take values: %.200s", err.text);
			f->n_sent = 0;
			f->told_hash = 0;
			f->retry_ms = loop_turn_ms(f->loop) + RETRY_MS;
		} else {
			if (f->retry_ms)
				log_info(component, "the optimizer takes values again");
			f->retry_ms = 0;
			if (reply->type == MSG_TICKS_RESULT)
				log_refusals(f, (const Hcp__TicksResult *)reply->body);
			memmove(f->queue, &f->queue[f->n_sent], (f->n_queue - f->n_sent) * sizeof(f->queue[0]));
			f->n_queue -= f->n_sent;
			f->n_sent = 0;
			if (f->n_queue)
				feeds_flush(loop, f);
		}
	}
	msg_free(reply);
}

/* On the answering thread. One message is out at a time, so there is room for this. */
static void on_reply(void *arg, struct msg *reply)
{
	struct feeds *f = arg;
	f->reply = reply;
	must(loop_post(f->loop, answered, f) == 0);
}

void feeds_flush(struct loop *loop, void *arg)
{
	struct feeds *f = arg;
	int64_t now_ns = clock_wall_ns(), now_ms = loop_turn_ms(loop);
	if (f->in_flight || (f->retry_ms && now_ms < f->retry_ms))
		return;
	uint64_t hash = state_hash(f, now_ns);
	bool with_state = hash != f->told_hash || now_ms - f->status_ms >= FEEDS_STATUS_MS;
	if (!f->n_queue && !with_state)
		return;
	struct msg *m = msg_new(MSG_TICKS);
	if (!m || fill(f, m, with_state, now_ns) < 0) {
		msg_free(m);
		return; /* the next second tries again */
	}
	m->at_ns = now_ns;
	m->deadline_ns = now_ns + FEEDS_CALL_MS * NS_PER_MS;
	m->reply_fn = on_reply;
	m->reply_arg = f;
	f->in_flight = true;
	f->n_sent = f->n_queue;
	if (with_state) {
		f->told_hash = hash;
		f->status_ms = now_ms;
	}
	host_send(f->host, m);
}
