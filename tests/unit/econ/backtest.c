#include "econ/backtest.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/rng.h"
#include "econ/history.h"
#include "econ/ppo_miner.h"
#include "econ/ppo_model.h"

enum { DAYS = 6, STEPS = DAYS * 96, TICKS_MAX = STEPS + DAYS * 24 + DAYS * 3 };

#define HOUR_NS (3600 * NS_PER_S)
#define DAY_NS (24 * HOUR_NS)
static const int64_t t0 = 19000 * DAY_NS;

/* A made-up market: prices that swing, spikes, BTC and network that move. */
struct world {
	struct backtest_tick tick[TICKS_MAX];
	size_t n;
	double price[STEPS];
	struct site site;
};

static void add(struct world *w, enum history_kind kind, int64_t start_ns, int64_t step_ns, double value)
{
	assert_true(w->n < TICKS_MAX);
	w->tick[w->n++] = (struct backtest_tick){ .kind = kind,
		.location = kind == HISTORY_POWER_RT ? "HB_WEST" : "",
		.value = value,
		.known_ns = start_ns + step_ns,
		.start_ns = start_ns,
		.step_ns = step_ns };
}

static int by_known(const void *pa, const void *pb)
{
	const struct backtest_tick *a = pa, *b = pb;
	if (a->known_ns != b->known_ns)
		return a->known_ns < b->known_ns ? -1 : 1;
	return (int)a->kind - (int)b->kind;
}

static bool tick_at(const void *ctx, size_t i, struct backtest_tick *ret)
{
	const struct world *w = ctx;
	if (i >= w->n)
		return false;
	*ret = w->tick[i];
	return true;
}

static struct backtest_feed feed_of(const struct world *w)
{
	return (struct backtest_feed){ w, tick_at };
}

static void make_site(struct site *s)
{
	*s = (struct site){ .name = "s", .point = "HB_WEST", .limit_w = 1e9, .pue = 1.05, .pool_fee = 0.01, .n_groups = 3 };
	s->group[0] = (struct site_group){ .name = "a",
		.cls = device_class_find(STR("S21")),
		.count = 1000,
		.feeder = -1,
		.mines = true,
		.idle_mode = DEVICE_SAFE,
		.boot_ns = 60 * NS_PER_S,
		.ramp_ns = 1200 * NS_PER_S,
		.boot_w = 1000,
		.start_wear_usd = 0.02,
		.min_up_ns = 1800 * NS_PER_S,
		.min_down_ns = 900 * NS_PER_S };
	s->group[1] = s->group[0];
	s->group[1].cls = device_class_find(STR("S19JPRO"));
	memcpy(s->group[1].name, "b", 2);
	s->group[2] = (struct site_group){ .name = "g",
		.cls = device_class_find(STR("H100")),
		.count = 10,
		.feeder = -1,
		.serves = true,
		.idle_mode = DEVICE_IDLE,
		.contract_share = 0.5,
		.contract_usd_h = 2,
		.spot_share = 0.3,
		.miss_usd_h = 4 };
	assert_int_equal(site_validate(s, NULL), 0);
}

static void make_world(struct world *w, uint64_t seed)
{
	struct rng rng;
	double level = 30;
	w->n = 0;
	make_site(&w->site);
	rng_init(&rng, seed);
	for (size_t i = 0; i < STEPS; i++) {
		level += 0.2 * (35 - level) + (double)rng_below(&rng, 60) - 30;
		/* Thousandths that no other number of the test has, so that a search for one finds it alone. */
		w->price[i] = level + (rng_below(&rng, 20) == 0 ? 300 : 0) + 0.001 * (double)(rng_below(&rng, 998) + 1);
		add(w, HISTORY_POWER_RT, t0 + (int64_t)i * BACKTEST_STEP_NS, BACKTEST_STEP_NS, w->price[i]);
	}
	for (int64_t h = 0; h < DAYS * 24; h++)
		add(w, HISTORY_BTC_USD, t0 + h * HOUR_NS, HOUR_NS, 60000 + (double)rng_below(&rng, 500));
	for (int64_t d = 0; d < DAYS; d++) {
		add(w, HISTORY_DIFFICULTY, t0 + d * DAY_NS, DAY_NS, 9e13 + 1e11 * (double)d);
		add(w, HISTORY_SUBSIDY_BTC, t0 + d * DAY_NS, DAY_NS, 3.125);
		add(w, HISTORY_FEES_BTC, t0 + d * DAY_NS, DAY_NS, 0.1);
	}
	qsort(w->tick, w->n, sizeof(w->tick[0]), by_known);
}

static struct backtest *prepare(const struct world *w)
{
	struct backtest *b = NULL;
	struct err err = { 0 };
	struct backtest_feed feed = feed_of(w);
	struct backtest_conf conf = { .site = &w->site, .from_ns = t0, .to_ns = t0 + DAYS * DAY_NS, .horizon_ns = HOUR_NS };
	if (backtest_new(&conf, &feed, &b, &err) < 0)
		fail_msg("%s: %s", err.field, err.text);
	return b;
}

/* Weights that have learned nothing, so that policy ppo runs as well. */
static struct policy_conf conf_with_weights(struct buf *weights)
{
	struct ppo_model m = { .site = "s", .point = "HB_WEST", .to_ns = t0, .n = 1 };
	struct policy_conf conf;
	struct rng rng;
	rng_init(&rng, 1);
	buf_init(weights, PPO_MODEL_MAX);
	assert_int_equal(ppo_net_new(&m.net[0], PPO_OBS, NULL), 0);
	ppo_net_start(&m.net[0], &rng);
	assert_int_equal(ppo_model_save(&m, weights, NULL), 0);
	ppo_model_release(&m);
	policy_conf_default(&conf);
	conf.ppo = buf_str(weights);
	return conf;
}

static void run_guarded(const struct world *w, const struct backtest *b, const struct policy_vt *vt,
	const struct risk_guard *guard, struct backtest_books *ret)
{
	struct policy p;
	struct err err = { 0 };
	struct backtest_feed feed = feed_of(w);
	struct buf weights;
	struct policy_conf conf = conf_with_weights(&weights);
	assert_int_equal(policy_init(&p, vt, &conf, &err), 0);
	buf_release(&weights);
	if (backtest_run(b, &feed, &p, guard, NULL, NULL, ret, &err) < 0)
		fail_msg("%s: %s", err.field, err.text);
	policy_release(&p);
}

static void run_vt(
	const struct world *w, const struct backtest *b, const struct policy_vt *vt, struct backtest_books *ret)
{
	run_guarded(w, b, vt, NULL, ret);
}

/* Half of the time power costs ten times what mining earns: whoever mines on is stopped at his limit. */
static void the_guard_limits_the_drawdown(void **state)
{
	static struct world w;
	struct backtest_books free, kept, rich;
	struct risk_guard guard;
	(void)state;
	make_world(&w, 2);
	for (size_t i = 0; i < w.n; i++)
		if (w.tick[i].kind == HISTORY_POWER_RT && (w.tick[i].start_ns - t0) / BACKTEST_STEP_NS % 192 >= 96)
			w.tick[i].value += 900;
	struct backtest *b = prepare(&w);
	const struct policy_vt *mine = policy_find(STR("always_mine"));
	run_vt(&w, b, mine, &free);
	assert_true(free.guarded == 0 && free.deepest == 0);
	double capital = (double)free.drawdown_micros / 1e6;
	assert_int_equal(risk_guard_init(&guard, capital, RISK_DRAWDOWN_LIMIT, NULL), 0);
	run_guarded(&w, b, mine, &guard, &kept);
	/* It overshoots by what a quarter-hour costs and what stands still draws, and saves most of the loss. */
	assert_true(kept.guarded > 96 && kept.deepest >= RISK_DRAWDOWN_LIMIT && kept.deepest < 0.35);
	assert_true(kept.drawdown_micros < free.drawdown_micros / 2);
	assert_true(kept.mine.profit_micros > free.mine.profit_micros && kept.mine.curtailed_mwh > 0);
	/* Who can bear it all decides as ever. */
	assert_int_equal(risk_guard_init(&guard, 100 * capital, RISK_DRAWDOWN_LIMIT, NULL), 0);
	run_guarded(&w, b, mine, &guard, &rich);
	assert_true(rich.guarded == 0 && rich.mine.profit_micros == free.mine.profit_micros && rich.deepest > 0);
	backtest_books_release(&free);
	backtest_books_release(&kept);
	backtest_books_release(&rich);
	backtest_free(b);
}

static void give_modes(struct site_group *g)
{
	for (int p = 1; p < DEVICE_POWER_END; p++) {
		struct site_mode *m = &g->mode[g->n_modes++];
		m->power = (enum device_power)p;
		assert_int_equal(device_class_power(g->cls, m->power, &m->watts, &m->ths), 0);
	}
}

/* The more ways of mining the more is earned, by those who choose; the books follow the mode. */
static void power_modes_are_used_and_booked(void **state)
{
	(void)state;
	static struct world w, more;
	static const char *const chooses[] = { "last_price", "stochastic", "mpc", "smpc" };
	make_world(&w, 3);
	for (size_t i = 0; i < STEPS && i < w.n; i++)
		w.tick[i].value += w.tick[i].kind == HISTORY_POWER_RT ? 30 : 0; /* near what mining earns a MWh */
	more = w;
	give_modes(&more.site.group[0]);
	struct backtest *b = prepare(&w), *bm = prepare(&more);
	struct backtest_books plain, modes;
	for (size_t i = 0; i < sizeof(chooses) / sizeof(chooses[0]); i++) {
		run_vt(&w, b, policy_find(str_of(chooses[i])), &plain);
		run_vt(&more, bm, policy_find(str_of(chooses[i])), &modes);
		assert_true(modes.mine.profit_micros > plain.mine.profit_micros);
		backtest_books_release(&plain);
		backtest_books_release(&modes);
	}
	/* Mining always is mining as the class is sold. */
	run_vt(&w, b, policy_find(STR("always_mine")), &plain);
	run_vt(&more, bm, policy_find(STR("always_mine")), &modes);
	assert_int_equal(modes.mine.profit_micros, plain.mine.profit_micros);
	backtest_books_release(&plain);
	backtest_books_release(&modes);
	backtest_free(b);
	backtest_free(bm);
}

/* Offers are paid for what could have been dropped, one after the other, and touch nothing else. */
static void offers_are_booked_apart(void **state)
{
	(void)state;
	static struct world w, with;
	make_world(&w, 3);
	with = w;
	with.site.n_offers = 3;
	with.site.offer[0] =
		(struct site_offer){ .service = "RRS", .mw = 1.5, .fixed = true, .price_usd_mw_h = 4, .until_hour = 24 };
	with.site.offer[1] = (struct site_offer){
		.service = "NSPIN", .mw = 100, .fixed = true, .price_usd_mw_h = 2, .from_hour = 8, .until_hour = 20
	};
	with.site.offer[2] = (struct site_offer){ .service = "ECRS", .mw = 1, .until_hour = 24 }; /* no price is recorded */
	assert_int_equal(site_validate(&with.site, NULL), 0);
	struct backtest *b = prepare(&w), *bw = prepare(&with);
	struct backtest_books plain, k;
	run_vt(&w, b, policy_find(STR("last_price")), &plain);
	run_vt(&with, bw, policy_find(STR("last_price")), &k);
	assert_int_equal(k.mine.profit_micros, plain.mine.profit_micros);
	assert_memory_equal(k.profit_micros, plain.profit_micros, STEPS * sizeof(*k.profit_micros));
	assert_true(
		plain.ancillary_micros == 0 && k.ancillary_micros > 0 && k.offer[1].held_mw_h < k.offer[1].offered_mw_h);
	backtest_books_release(&plain);
	backtest_books_release(&k);
	run_vt(&with, bw, policy_find(STR("always_mine")), &k);
	double drop_mw = 1000 * (3500 - 40 + 3068 - 40) * 1.05 / 1e6, hours = DAYS * 24;
	assert_true(fabs(k.offer[0].held_mw_h - 1.5 * hours) < 1e-6 && fabs(k.offer[0].offered_mw_h - 1.5 * hours) < 1e-6);
	assert_true(fabs(k.offer[1].held_mw_h - (drop_mw - 1.5) * hours / 2) < 1e-6);
	assert_true(k.offer[2].revenue_micros == 0 && fabs(k.offer[2].unpriced_h - hours) < 1e-6);
	assert_true(llabs(k.ancillary_micros - llround((1.5 * 4 + (drop_mw - 1.5)) * hours * 1e6)) <= 2 * STEPS);
	int64_t by_month = 0;
	for (size_t i = 0; i < k.n_months; i++)
		by_month += k.month[i].ancillary_micros;
	assert_int_equal(by_month, k.ancillary_micros);
	backtest_books_release(&k);
	backtest_free(b);
	backtest_free(bw);
}

/* A call stops the least efficient of what is held, at the offer's ramp; what is missing after the response costs. */
static void calls_are_booked_apart(void **state)
{
	(void)state;
	static struct world w;
	static const struct backtest_call calls[] = {
		{ "RRS", t0 + 2 * DAY_NS + 300 * NS_PER_S, t0 + 2 * DAY_NS + 300 * NS_PER_S + HOUR_NS },
		{ "NSPIN", t0 + 3 * DAY_NS + 5 * HOUR_NS, t0 + 3 * DAY_NS + 7 * HOUR_NS }, /* not in its hours */
		{ "RRS", t0 - HOUR_NS, t0 + HOUR_NS },                                    /* before the range */
	};
	make_world(&w, 3);
	w.site.n_offers = 2;
	w.site.offer[0] = (struct site_offer){ .service = "RRS", .mw = 2, .fixed = true, .price_usd_mw_h = 4,
		.until_hour = 24, .miss_usd_mwh = 100 };
	w.site.offer[1] = (struct site_offer){ .service = "NSPIN", .mw = 1, .fixed = true, .price_usd_mw_h = 2,
		.from_hour = 8, .until_hour = 9, .miss_usd_mwh = 100 };
	struct backtest_conf conf = { .site = &w.site, .from_ns = t0, .to_ns = t0 + DAYS * DAY_NS, .horizon_ns = HOUR_NS };
	struct backtest_feed feed = feed_of(&w);
	struct backtest *b, *none = prepare(&w);
	struct backtest_books k, plain;
	conf.calls = calls;
	conf.n_calls = sizeof(calls) / sizeof(calls[0]);
	run_vt(&w, none, policy_find(STR("always_mine")), &plain);
	assert_int_equal(plain.calls_micros, 0);
	/* All there at once: nothing is missing, and what is lost is what 2 MW of the S19JPRO would have mined. */
	assert_int_equal(backtest_new(&conf, &feed, &b, NULL), 0);
	run_vt(&w, b, policy_find(STR("always_mine")), &k);
	const struct backtest_offer *o = &k.offer[0];
	assert_memory_equal(k.profit_micros, plain.profit_micros, STEPS * sizeof(*k.profit_micros));
	assert_int_equal(k.ancillary_micros, plain.ancillary_micros);
	assert_true(o->calls == 1 && k.offer[1].calls == 0 && o->missed_mwh < 1e-9 && o->penalty_micros == 0);
	assert_true(fabs(o->dropped_mwh - 2) < 1e-9 && fabs(o->due_mwh - 2 * 50.0 / 60) < 1e-9);
	double saved = 0, n = 2e6 / ((3068 - 40) * 1.05), wear = n * w.site.group[1].cls->wear_usd_h;
	for (size_t i = 0; i < 5; i++)
		saved += w.price[2 * 96 + i] * 2 * (i == 0 ? 600 : i == 4 ? 300 : 900) / 3600.0;
	assert_true(fabs((double)o->saved_micros / 1e6 - saved - wear) < 1e-4 && o->lost_micros > 0);
	assert_true(o->start_micros >= llround(n * 0.02 * 1e6));
	assert_int_equal(k.calls_micros, o->saved_micros - o->lost_micros - o->start_micros - o->penalty_micros);
	backtest_books_release(&k);
	backtest_free(b);
	/* 0.05 MW a minute: 1.5 MW missing at the response, none after 40 minutes. */
	w.site.offer[0].ramp_mw_min = 0.05;
	assert_int_equal(backtest_new(&conf, &feed, &b, NULL), 0);
	run_vt(&w, b, policy_find(STR("always_mine")), &k);
	assert_true(fabs(o->missed_mwh - 1.5 * 0.5 / 2) < 1e-9 && fabs(o->dropped_mwh - 4.0 / 3) < 1e-9);
	assert_int_equal(o->penalty_micros, llround(37.5 * 1e6));
	backtest_books_release(&k);
	backtest_free(b);
	/* Whose miners stand still has nothing to drop. */
	struct policy_conf dear;
	struct policy p;
	policy_conf_default(&dear);
	dear.strike_usd_mwh = 0.01;
	assert_int_equal(backtest_new(&conf, &feed, &b, NULL), 0);
	assert_int_equal(policy_init(&p, policy_find(STR("strike")), &dear, NULL), 0);
	assert_int_equal(backtest_run(b, &feed, &p, NULL, NULL, NULL, &k, NULL), 0);
	assert_true(o->dropped_mwh == 0 && fabs(o->missed_mwh - o->due_mwh) < 1e-9 && k.calls_micros == -o->penalty_micros);
	policy_release(&p);
	backtest_books_release(&k);
	backtest_free(b);
	backtest_books_release(&plain);
	backtest_free(none);
}

/* Without a record: as often as is assumed, at dear hours, the same for the same seed. */
static void assumed_calls_come_when_power_is_dear(void **state)
{
	(void)state;
	static struct world w;
	struct backtest_books k[3];
	make_world(&w, 4);
	w.site.n_offers = 1;
	w.site.offer[0] =
		(struct site_offer){ .service = "NSPIN", .mw = 1, .fixed = true, .until_hour = 24, .miss_usd_mwh = 100 };
	struct backtest_feed feed = feed_of(&w);
	uint32_t calls = 0;
	for (uint64_t seed = 0; seed < 60; seed++) {
		struct backtest_conf conf = { .site = &w.site,
			.from_ns = t0,
			.to_ns = t0 + DAYS * DAY_NS,
			.horizon_ns = HOUR_NS,
			.assume_calls = true,
			.calls_seed = seed };
		for (int i = 0; i < (seed ? 1 : 2); i++) {
			struct backtest *b;
			assert_int_equal(backtest_new(&conf, &feed, &b, NULL), 0);
			run_vt(&w, b, policy_find(STR("always_mine")), &k[i]);
			backtest_free(b);
		}
		if (!seed)
			assert_memory_equal(&k[0].offer[0], &k[1].offer[0], sizeof(k[0].offer[0]));
		calls += k[0].offer[0].calls;
		/* A dear quarter-hour is beyond 100 USD/MWh here; so the first of the eight saves at least that much. */
		if (k[0].offer[0].calls)
			assert_true(k[0].offer[0].saved_micros > INT64_C(25000000) * k[0].offer[0].calls);
		backtest_books_release(&k[0]);
		if (!seed)
			backtest_books_release(&k[1]);
	}
	assert_true(calls >= 10 && calls <= 40); /* 24 a year over 60 times six days: 23.7 */
}

static void nobody_beats_the_clairvoyant(void **state)
{
	(void)state;
	static struct world w;
	for (uint64_t seed = 1; seed < 6; seed++) {
		struct backtest_books best, books;
		make_world(&w, seed);
		if (seed % 2) /* driven harder and easier, too */
			give_modes(&w.site.group[0]);
		struct backtest *b = prepare(&w);
		assert_int_equal(backtest_clairvoyant(b, &best, NULL), 0);
		assert_true(best.refused == 0 && best.mine.starts > 0);
		for (size_t i = 0; policy_at(i); i++) {
			run_vt(&w, b, policy_at(i), &books);
			/* Each interval and group rounds to the micro-dollar. */
			assert_true(books.mine.profit_micros <= best.mine.profit_micros + STEPS);
			assert_true(books.ai.profit_micros <= best.ai.profit_micros + STEPS);
			backtest_books_release(&books);
		}
		backtest_books_release(&best);
		backtest_free(b);
	}
}

static void books_add_up(void **state)
{
	(void)state;
	static struct world w;
	struct backtest_books k;
	make_world(&w, 3);
	struct backtest *b = prepare(&w);
	run_vt(&w, b, policy_find(STR("threshold")), &k);
	int64_t by_interval = 0, by_month = 0;
	for (size_t i = 0; i < k.n; i++)
		by_interval += k.profit_micros[i];
	for (size_t i = 0; i < k.n_months; i++)
		by_month += k.month[i].mine.profit_micros;
	assert_int_equal(by_interval, k.mine.profit_micros);
	assert_int_equal(by_month, k.mine.profit_micros);
	assert_int_equal(k.mine.profit_micros, k.mine.revenue_micros - k.mine.energy_micros - k.mine.wear_micros -
											   k.mine.start_wear_micros - k.mine.penalty_micros);
	assert_true(k.mine.starts > 0 && k.mine.start_wear_micros == llround((double)k.mine.starts * 0.02 * 1e6));
	assert_true(k.mine.start_lost_usd > 0 && k.mine.curtailed_mwh > 0 && k.ai.missed_h == 0);
	/* The network is known after a day; until then nobody decides, and the fleet mines on. */
	assert_int_equal(k.undecided, 96);
	assert_true(k.running[0] == 1 && k.running[95] == 1);
	/* All there is was drawn or was curtailed. */
	double w_all = 1000 * 3500.0 + 1000 * 3068.0, hours = DAYS * 24;
	assert_true(k.mine.energy_mwh + k.mine.curtailed_mwh <= w_all * hours * 1.05 / 1e6 + 1e-6);
	backtest_books_release(&k);
	/* Mining always, by the definition. */
	run_vt(&w, b, policy_find(STR("always_mine")), &k);
	assert_true(fabs(k.mine.energy_mwh - w_all * hours * 1.05 / 1e6) < 1e-6);
	assert_true(k.mine.starts == 0 && k.mine.curtailed_mwh == 0 && k.refused == 0);
	backtest_books_release(&k);
	backtest_free(b);
}

/* ---- looking ahead ---- */

static const struct world *cheat_world;
static size_t cheat_seen_past, cheat_seen_future;

/* Looks through all memory that its input reaches for prices of the future, and for those of the past. */
static bool reaches(const struct policy_input *in, double value)
{
	const struct history *h = in->history;
	for (size_t i = 0; i < h->n; i++)
		for (size_t k = 0; k < h->s[i]->n; k++)
			if (h->s[i]->slot[k] == value)
				return true;
	const void *flat[] = { in, in->site };
	const size_t size[] = { sizeof(*in), sizeof(*in->site) };
	for (size_t i = 0; i < 2; i++)
		for (size_t at = 0; at + sizeof(value) <= size[i]; at += 8)
			if (!memcmp((const char *)flat[i] + at, &value, sizeof(value)))
				return true;
	return false;
}

static int cheat_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	(void)p, (void)err;
	size_t now = (size_t)((in->now_ns - t0) / BACKTEST_STEP_NS);
	if (now % 16 == 0)
		for (size_t i = 0; i < STEPS; i++) {
			bool seen = reaches(in, cheat_world->price[i]);
			cheat_seen_future += i >= now && seen;
			cheat_seen_past += i < now && seen;
		}
	for (size_t k = 0; k < in->n; k++) {
		ret->c[k].target[POLICY_IDLE] = in->c[k].count;
		ret->c[k].chosen = POLICY_IDLE;
	}
	return 0;
}

static void a_cheat_finds_no_future_price(void **state)
{
	(void)state;
	static struct world w;
	static const struct policy_vt cheat = { .name = "cheat", .about = "", .decide = cheat_decide };
	struct backtest_books k;
	make_world(&w, 11);
	struct backtest *b = prepare(&w);
	cheat_world = &w;
	cheat_seen_past = cheat_seen_future = 0;
	run_vt(&w, b, &cheat, &k);
	assert_int_equal(cheat_seen_future, 0);
	assert_true(cheat_seen_past > 1000); /* the search does find what is there */
	backtest_books_release(&k);
	backtest_free(b);
}

static void the_future_changes_no_earlier_decision(void **state)
{
	(void)state;
	static struct world w, other;
	const size_t from = 300;
	for (size_t i = 0; policy_at(i); i++) {
		struct backtest_books a, c;
		make_world(&w, 21);
		other = w;
		for (size_t k = 0; k < other.n; k++) {
			struct backtest_tick *t = &other.tick[k];
			if (t->start_ns >= t0 + (int64_t)from * BACKTEST_STEP_NS)
				t->value = t->kind == HISTORY_POWER_RT ? 250 - t->value : t->value * 1.01;
		}
		struct backtest *bw = prepare(&w), *bo = prepare(&other);
		run_vt(&w, bw, policy_at(i), &a);
		run_vt(&other, bo, policy_at(i), &c);
		/* The interval whose price changed is decided before that is known, so it is the same too. */
		assert_memory_equal(a.running, c.running, (from + 1) * sizeof(a.running[0]));
		assert_memory_equal(a.profit_micros, c.profit_micros, (from / 96 * 96) * sizeof(a.profit_micros[0]));
		if (!strcmp(policy_at(i)->name, "threshold"))
			assert_memory_not_equal(a.running, c.running, STEPS * sizeof(a.running[0]));
		backtest_books_release(&a);
		backtest_books_release(&c);
		backtest_free(bw);
		backtest_free(bo);
	}
}

/* ---- rules of the site ---- */

static uint64_t flips;

/* Wants the opposite each time, of a third of the devices. */
static int flip_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	(void)p, (void)err;
	for (size_t k = 0; k < in->n; k++) {
		const struct policy_class *c = &in->c[k];
		uint32_t third = c->count / 3;
		bool up = flips % 2;
		ret->c[k].target[POLICY_IDLE] = up && c->can[POLICY_MINE] ? third : c->count;
		ret->c[k].target[POLICY_MINE] = c->count - ret->c[k].target[POLICY_IDLE];
		ret->c[k].chosen = POLICY_IDLE;
		/* A minimum time holds no more than there are, and what it holds is young. */
		for (int u = 0; u < POLICY_USE_END; u++) {
			assert_true(c->held[u] <= c->now[u]);
			assert_true(!c->held[u] || c->age_ns[u] < INT64_C(7200) * NS_PER_S);
		}
	}
	flips++;
	return 0;
}

static void minimum_times_hold(void **state)
{
	(void)state;
	static struct world w;
	static const struct policy_vt flip = { .name = "flip", .about = "", .decide = flip_decide };
	struct backtest_books k;
	make_world(&w, 5);
	for (size_t g = 0; g < 2; g++) {
		w.site.group[g].min_up_ns = 2 * HOUR_NS;
		w.site.group[g].min_down_ns = HOUR_NS;
	}
	struct backtest *b = prepare(&w);
	flips = 0;
	run_vt(&w, b, &flip, &k);
	/* A cycle takes at least its three hours. */
	assert_true(k.refused > 0 && k.mine.starts > 0);
	assert_true(k.mine.starts <= 2 * 1000 * ((DAYS - 1) * 24 / 3 + 1));
	assert_true(k.ai.missed_h > 0 && k.ai.penalty_micros > 0);
	backtest_books_release(&k);
	backtest_free(b);
}

static void a_binding_limit_is_kept(void **state)
{
	(void)state;
	static struct world w;
	struct backtest_books k;
	struct backtest_coverage cover;
	make_world(&w, 6);
	w.site.limit_w = 4e6;
	struct backtest *b = prepare(&w);
	backtest_coverage(b, &cover);
	assert_true(cover.limited && !cover.exact);
	run_vt(&w, b, policy_find(STR("always_mine")), &k);
	assert_true(k.mine.energy_mwh / (DAYS * 24) <= 4.0);
	assert_true(k.mine.energy_mwh / (DAYS * 24) > 3.9);
	backtest_books_release(&k);
	backtest_free(b);
}

static void holes_in_the_data_are_told(void **state)
{
	(void)state;
	static struct world w;
	struct backtest_coverage cover;
	struct backtest *b = NULL;
	struct err err = { 0 };
	make_world(&w, 8);
	size_t kept = 0;
	for (size_t i = 0; i < w.n; i++) /* a day without prices */
		if (w.tick[i].kind != HISTORY_POWER_RT || (w.tick[i].start_ns - t0) / DAY_NS != 2)
			w.tick[kept++] = w.tick[i];
	w.n = kept;
	b = prepare(&w);
	backtest_coverage(b, &cover);
	assert_int_equal(cover.priced, STEPS - 96);
	assert_true(isnan(backtest_prices(b)[2 * 96]) && !isnan(backtest_prices(b)[3 * 96]));
	struct backtest_books k;
	run_vt(&w, b, policy_find(STR("always_mine")), &k);
	assert_int_equal(k.profit_micros[2 * 96 + 5], 0);
	backtest_books_release(&k);
	backtest_free(b);
	w.n = 0;
	struct backtest_feed feed = feed_of(&w);
	struct backtest_conf conf = { .site = &w.site, .from_ns = t0, .to_ns = t0 + DAY_NS, .horizon_ns = HOUR_NS };
	assert_int_equal(backtest_new(&conf, &feed, &b, &err), HCP_ENOTFOUND);
	conf.to_ns = t0 + 1;
	assert_int_equal(backtest_new(&conf, &feed, &b, &err), HCP_EINVAL);
	assert_string_equal(err.field, "to");
}

static void lack_of_memory_leaks_nothing(void **state)
{
	(void)state;
	static struct world w;
	make_world(&w, 9);
	struct backtest_feed feed = feed_of(&w);
	struct backtest_conf conf = { .site = &w.site, .from_ns = t0, .to_ns = t0 + DAY_NS, .horizon_ns = HOUR_NS };
	int64_t live = mem_live();
	uint64_t hits = 1;
	for (uint64_t n = 1; hits; n++) {
		struct backtest *b = NULL;
		struct backtest_books books = { 0 };
		struct policy p;
		assert_int_equal(policy_init(&p, policy_find(STR("threshold")), NULL, NULL), 0);
		mem_fail_after(n, 0);
		int rc = backtest_new(&conf, &feed, &b, NULL);
		if (rc == 0)
			rc = backtest_run(b, &feed, &p, NULL, NULL, NULL, &books, NULL);
		if (rc == 0) {
			backtest_books_release(&books);
			rc = backtest_clairvoyant(b, &books, NULL);
		}
		hits = mem_fail_hits();
		mem_fail_after(0, 0);
		assert_int_equal(rc, hits ? HCP_ENOMEM : 0);
		backtest_books_release(&books);
		backtest_free(b);
		assert_int_equal(mem_live(), live);
		assert_true(n < 1000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offers_are_booked_apart),
		cmocka_unit_test(calls_are_booked_apart),
		cmocka_unit_test(assumed_calls_come_when_power_is_dear),
		cmocka_unit_test(power_modes_are_used_and_booked),
		cmocka_unit_test(nobody_beats_the_clairvoyant),
		cmocka_unit_test(books_add_up),
		cmocka_unit_test(a_cheat_finds_no_future_price),
		cmocka_unit_test(the_future_changes_no_earlier_decision),
		cmocka_unit_test(the_guard_limits_the_drawdown),
		cmocka_unit_test(minimum_times_hold),
		cmocka_unit_test(a_binding_limit_is_kept),
		cmocka_unit_test(holes_in_the_data_are_told),
		cmocka_unit_test(lack_of_memory_leaks_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
