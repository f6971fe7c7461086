#include "sim/market_feed.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/timefmt.h"
#include "hcp.pb-c.h"
#include "loop/loop.h"
#include "os/clock.h"
#include "sim/mesh_link.h"
#include "spec_table.h"
#include "wire/pb.h"

static const char component[] = "market";

#define S_NS INT64_C(1000000000)

struct market_feed {
	struct loop *loop;          /* borrowed */
	struct market_feed_conf conf;
	struct mesh_link link;
	struct loop_timer timer;
	int64_t started_mono_ns;    /* wall moment of origin_ns */
	int64_t origin_ns;          /* market time */
	struct sim_tick ahead;      /* next tick, not due yet */
	bool has_ahead, resend, was_up, told;
	bool begun;                 /* hcpd has been there: the market's clock runs, whether it stays or not */
	bool asking, asked;         /* where the platform's market stands; once */
	unsigned in_flight;
	struct sim_tick latest[FEED_LATEST_MAX];
	size_t n_latest;
	struct sim_tick batch[FEED_BATCH_MAX];
	size_t n_batch;
	struct market_feed_stats stats;
};

static void pump(struct market_feed *f);

int64_t market_feed_now_ns(const struct market_feed *f)
{
	double passed_ns = (double)(clock_mono_ns() - f->started_mono_ns) * f->conf.speed;
	/* The future is known to nobody: a fast market that has caught up goes on at the pace of the wall clock. */
	int64_t wall_ns = clock_wall_ns();
	return passed_ns >= (double)(wall_ns - f->origin_ns) ? wall_ns : f->origin_ns + (int64_t)passed_ns;
}

static void tell_end(struct market_feed *f, int code)
{
	if (f->told)
		return;
	f->told = true;
	if (f->conf.on_end)
		f->conf.on_end(f->conf.arg, code);
}

/* ---- what was sent last ---- */

static bool same_value(const struct sim_tick *a, const struct sim_tick *b)
{
	return !strcmp(a->symbol, b->symbol) && !strcmp(a->location, b->location) &&
		   (!sim_tick_is_ahead(a->symbol) || a->interval_start_ns == b->interval_start_ns);
}

static void remember(struct market_feed *f, const struct sim_tick *t)
{
	size_t kept = 0;
	for (size_t i = 0; i < f->n_latest; i++) {
		const struct sim_tick *old = &f->latest[i];
		bool over =
			sim_tick_is_ahead(old->symbol) && old->interval_start_ns + old->interval_s * S_NS <= t->observed_at_ns;
		if (over || same_value(old, t))
			continue;
		f->latest[kept++] = *old;
	}
	if (kept == FEED_LATEST_MAX) {
		memmove(f->latest, f->latest + 1, (FEED_LATEST_MAX - 1) * sizeof(f->latest[0]));
		kept--;
	}
	f->latest[kept] = *t;
	f->n_latest = kept + 1;
}

/* ---- requests ---- */

static void on_answer(void *arg, int code, const char *text, unsigned type, struct str body)
{
	struct market_feed *f = arg;
	f->in_flight--;
	struct arena arena;
	ProtobufCMessage *m = NULL;
	arena_init(&arena, 1024, MESH_LINK_MESSAGE_MAX);
	if (code == 0 && type == MSG_TICKS_RESULT &&
	    pb_unpack(&hcp__ticks_result__descriptor, body, &arena, &m, NULL) == 0) {
		const Hcp__TicksResult *r = (const Hcp__TicksResult *)m;
		f->stats.accepted += (uint64_t)(r->accepted > 0 ? r->accepted : 0);
		f->stats.rejected += (uint64_t)(r->rejected > 0 ? r->rejected : 0);
		if (r->n_problems)
			log_warn(component, "%d ticks refused, the first: %s %s", r->rejected, r->problems[0]->field,
				r->problems[0]->detail);
	} else if (code == 0 && type == MSG_PROBLEM && pb_unpack(&hcp__problem__descriptor, body, &arena, &m, NULL) == 0) {
		const Hcp__Problem *p = (const Hcp__Problem *)m;
		f->stats.failed++;
		log_warn(component, "refused: %s: %s", p->code, p->detail);
		f->resend = !strcmp(p->code, "unavailable") || !strcmp(p->code, "limit") || !strcmp(p->code, "timeout");
		code = f->conf.once ? HCP_ESTATE : 0;
	} else {
		f->stats.failed++;
		f->resend = true;
		log_warn(component, "no answer: %s", code ? text : "not one to ticks");
		code = code ? code : HCP_EPROTO;
	}
	arena_release(&arena);
	if (f->conf.once && f->in_flight == 0)
		tell_end(f, code);
	else if (f->resend)
		loop_timer_start(&f->timer, FEED_RETRY_MS);
	else
		pump(f);
}

static int send_ticks(struct market_feed *f, const struct sim_tick *ticks, size_t n)
{
	struct arena arena;
	struct buf body;
	struct err err = { 0 };
	Hcp__Ticks msg = HCP__TICKS__INIT;
	int64_t now_ns = clock_wall_ns();
	arena_init(&arena, 16384, 0);
	buf_init(&body, MESH_LINK_MESSAGE_MAX);
	Hcp__Tick *rows = arena_alloc(&arena, n * sizeof(*rows));
	msg.ticks = arena_alloc(&arena, n * sizeof(*msg.ticks));
	int rc = rows && msg.ticks ? 0 : HCP_ENOMEM;
	for (size_t i = 0; rc == 0 && i < n; i++) {
		hcp__tick__init(&rows[i]);
		rows[i].symbol = ticks[i].symbol;
		rows[i].location = ticks[i].location;
		rows[i].value = ticks[i].value;
		rows[i].observed_at_ns = ticks[i].observed_at_ns;
		rows[i].interval_start_ns = ticks[i].interval_start_ns;
		rows[i].interval_s = ticks[i].interval_s;
		rows[i].source = ticks[i].source;
		rows[i].sent_at_ns = now_ns;
		msg.ticks[i] = &rows[i];
	}
	msg.n_ticks = n;
	if (rc == 0)
		rc = pb_pack(&msg.base, &body);
	if (rc == 0)
		rc = mesh_link_call(&f->link, MSG_TICKS, "optimizer", buf_str(&body), on_answer, f, &err);
	if (rc == 0) {
		f->in_flight++;
		f->stats.requests++;
		f->stats.sent += n;
	} else {
		f->stats.failed++;
		log_warn(component, "not sent: %s", err.text);
	}
	buf_release(&body);
	arena_release(&arena);
	return rc;
}

/* ---- the market's clock ---- */

static bool peek(struct market_feed *f, struct sim_tick *ret)
{
	if (f->has_ahead) {
		*ret = f->ahead;
		return true;
	}
	f->has_ahead = f->conf.replay ? replay_next(f->conf.replay, &f->ahead) : synth_next(f->conf.synth, &f->ahead);
	*ret = f->ahead;
	return f->has_ahead;
}

/* Takes what is due into latest and, while there is room, into the batch. */
static void take_due(struct market_feed *f, int64_t now_ns)
{
	struct sim_tick t;
	while (f->n_batch < FEED_BATCH_MAX && peek(f, &t) && t.observed_at_ns <= now_ns) {
		f->has_ahead = false;
		remember(f, &t);
		f->batch[f->n_batch++] = t;
	}
}

static void at_end(struct market_feed *f)
{
	if (!f->conf.loop || !f->conf.replay) {
		if (f->in_flight == 0 && f->n_batch == 0 && !f->resend)
			tell_end(f, 0);
		return;
	}
	log_info(component, "the replay starts over");
	replay_rewind(f->conf.replay);
	f->n_latest = 0;
	f->started_mono_ns = clock_mono_ns();
	loop_timer_start(&f->timer, FEED_RETRY_MS);
}

static void arm(struct market_feed *f)
{
	struct sim_tick t;
	if (!peek(f, &t)) {
		at_end(f);
		return;
	}
	double wait_ms = (double)(t.observed_at_ns - market_feed_now_ns(f)) / 1e6 / f->conf.speed;
	/* A little late rather than a millisecond early; a day at most, so that no number overflows. */
	loop_timer_start(&f->timer, wait_ms <= 0 ? 1 : wait_ms > 86400e3 ? 86400000 : (uint64_t)wait_ms + 1);
}

/* ---- where the platform's market stands ---- */

/* What was known by then is told anew: the platform may have been away for a while. */
static void go_on_at(struct market_feed *f, int64_t at_ns)
{
	char text[TIMEFMT_MAX];
	struct sim_tick t;
	f->origin_ns = at_ns;
	f->started_mono_ns = clock_mono_ns();
	while (peek(f, &t) && t.observed_at_ns <= at_ns) {
		f->has_ahead = false;
		remember(f, &t);
	}
	f->resend = f->n_latest > 0;
	log_info(
		component, "the platform's market is at %s and never goes back: on from there", timefmt_format(text, at_ns));
}

/* A platform without prices tells the wall clock's time as its market's. */
static int64_t known_ns(const Hcp__Prices *p)
{
	int64_t newest_ns = 0;
	for (size_t i = 0; i < p->n_prices; i++)
		if (p->prices[i]->observed_at_ns > newest_ns)
			newest_ns = p->prices[i]->observed_at_ns;
	return newest_ns > 0 && p->market_time_ns > newest_ns ? p->market_time_ns : newest_ns;
}

static void on_prices(void *arg, int code, const char *text, unsigned type, struct str body)
{
	struct market_feed *f = arg;
	struct arena arena;
	ProtobufCMessage *m = NULL;
	arena_init(&arena, 4096, MESH_LINK_MESSAGE_MAX);
	f->asking = false;
	f->asked = code == 0; /* else with the next connection */
	if (code == 0 && type == MSG_PRICES && pb_unpack(&hcp__prices__descriptor, body, &arena, &m, NULL) == 0) {
		int64_t at_ns = known_ns((const Hcp__Prices *)m);
		if (at_ns > market_feed_now_ns(f))
			go_on_at(f, at_ns);
	}
	arena_release(&arena);
	pump(f);
}

/* A feed that is started anew, after a crash or with the whole platform, would tell a past that is refused. */
static void ask(struct market_feed *f)
{
	if (f->asked || f->asking || f->conf.once)
		return;
	f->asking = mesh_link_call(&f->link, MSG_PRICES_GET, "optimizer", STR(""), on_prices, f, NULL) == 0;
}

static void pump(struct market_feed *f)
{
	if (f->told || f->asking)
		return;
	if (f->conf.once && clock_mono_ns() - f->started_mono_ns > FEED_ONCE_MS * INT64_C(1000000)) {
		tell_end(f, HCP_ETIMEOUT);
		return;
	}
	if (!f->begun) {
		loop_timer_start(&f->timer, FEED_RETRY_MS / 4);
		return;
	}
	if (!mesh_link_up(&f->link)) {
		/* The market goes on: the newest values are kept for when hcpd is back. */
		struct sim_tick t;
		int64_t now_ns = f->conf.once ? f->conf.from_ns : market_feed_now_ns(f);
		for (int i = 0; i < FEED_BATCH_MAX && peek(f, &t) && t.observed_at_ns <= now_ns; i++) {
			f->has_ahead = false;
			remember(f, &t);
		}
		f->n_batch = 0;
		f->resend = true;
		loop_timer_start(&f->timer, FEED_RETRY_MS / 4);
		return;
	}
	while (f->in_flight < FEED_IN_FLIGHT_MAX) {
		take_due(f, f->conf.once ? f->conf.from_ns : market_feed_now_ns(f));
		bool all = f->resend;
		if (!(all ? f->n_latest : f->n_batch))
			break;
		if (send_ticks(f, all ? f->latest : f->batch, all ? f->n_latest : f->n_batch) < 0) {
			f->resend = true;
			loop_timer_start(&f->timer, FEED_RETRY_MS);
			return;
		}
		f->resend = false;
		f->n_batch = 0;
	}
	if (f->conf.once && f->in_flight == 0) {
		log_error(component, "nothing is known of the market at that time");
		tell_end(f, HCP_ENOTFOUND);
	} else if (f->in_flight < FEED_IN_FLIGHT_MAX && !f->conf.once) {
		arm(f);
	}
}

static void on_timer(struct loop *loop, void *arg)
{
	pump(arg);
}

static void on_state(void *arg, bool up, const struct err *err)
{
	struct market_feed *f = arg;
	if (up) {
		log_info(component, "connected");
		/* A market that nobody has heard of yet begins now, however long the first connection took. */
		if (!f->begun)
			f->started_mono_ns = clock_mono_ns();
		f->begun = true;
		f->resend = f->n_latest > 0;
		f->was_up = true;
		ask(f);
		loop_timer_start(&f->timer, 0);
	} else if (f->was_up || f->stats.failed == 0) {
		log_warn(component, "hcpd is away: %s", err ? err->text : "");
		f->was_up = false;
		f->stats.failed++;
	}
}

int market_feed_new(struct loop *loop, const struct market_feed_conf *conf, struct market_feed **ret, struct err *err)
{
	if (!(conf->speed > 0) || !conf->replay == !conf->synth)
		return err_set(err, HCP_EINVAL, "speed", "speed must be above 0, and one source given");
	struct market_feed *f = mem_calloc(1, sizeof(*f));
	if (!f)
		return err_set(err, HCP_ENOMEM, "", "no memory for the feed");
	f->loop = loop;
	f->conf = *conf;
	f->origin_ns = conf->from_ns;
	f->started_mono_ns = clock_mono_ns();
	loop_timer_init(&f->timer, loop, on_timer, f);
	int rc = mesh_link_init(&f->link, loop, conf->host, conf->port, conf->token, conf->tls, on_state, f, err);
	if (rc < 0) {
		mem_free(f);
		return rc;
	}
	loop_timer_start(&f->timer, 0);
	*ret = f;
	return 0;
}

void market_feed_free(struct market_feed *f)
{
	if (!f)
		return;
	loop_timer_stop(&f->timer);
	mesh_link_release(&f->link);
	mem_free(f);
}

const struct market_feed_stats *market_feed_stats(const struct market_feed *f)
{
	return &f->stats;
}
