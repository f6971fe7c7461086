/* The live optimizer keeps a history and decides by it as a backtest does. */
#include <math.h>

#include "drive_priv.h"
#include "base/rng.h"
#include "econ/backtest.h"
#include "econ/cohorts.h"
#include "services/optimizer/optimizer.h"

enum { DAYS = 5, STEPS = DAYS * 96, TICKS_MAX = STEPS + DAYS * 24 * 2 + DAYS * 3 + 3, GROUPS = 3 };

#define HOUR_NS (3600 * NS_PER_S)
#define DAY_NS (24 * HOUR_NS)
static const int64_t t0 = 19000 * DAY_NS;

struct world {
	struct backtest_tick tick[TICKS_MAX];
	size_t n;
	struct site site;
};

static void add(struct world *w, enum history_kind kind, int64_t start_ns, int64_t step_ns, double value)
{
	assert_true(w->n < TICKS_MAX);
	bool power = kind == HISTORY_POWER_RT || kind == HISTORY_POWER_DA;
	w->tick[w->n++] = (struct backtest_tick){ .kind = kind,
		.location = power ? "HB_WEST" : "",
		.value = value,
		.known_ns = history_known_ns(kind, start_ns, step_ns),
		.start_ns = start_ns,
		.step_ns = step_ns };
}

static int by_known(const void *pa, const void *pb)
{
	const struct backtest_tick *a = pa, *b = pb;
	if (a->known_ns != b->known_ns)
		return a->known_ns < b->known_ns ? -1 : 1;
	return a->kind != b->kind ? (int)a->kind - (int)b->kind : a->start_ns < b->start_ns ? -1 : 1;
}

static bool tick_at(const void *ctx, size_t i, struct backtest_tick *ret)
{
	const struct world *w = ctx;
	if (i >= w->n)
		return false;
	*ret = w->tick[i];
	return true;
}

static void make_world(struct world *w, uint64_t seed)
{
	struct rng rng;
	double level = 50;
	struct site *s = &w->site;
	w->n = 0;
	*s = (struct site){ .name = "west", .point = "HB_WEST", .limit_w = 1e9, .pue = 1.07, .pool_fee = 0.02,
		.n_groups = GROUPS };
	s->group[0] = (struct site_group){ .name = "a", .cls = device_class_find(STR("S21")), .count = 1000, .feeder = -1,
		.mines = true, .idle_mode = DEVICE_SAFE, .boot_ns = 60 * NS_PER_S, .ramp_ns = 600 * NS_PER_S,
		.boot_w = 1000, .start_wear_usd = 0.02, .min_up_ns = 1800 * NS_PER_S, .min_down_ns = 2700 * NS_PER_S };
	s->group[1] = s->group[0];
	s->group[1].cls = device_class_find(STR("S19JPRO"));
	s->group[1].min_down_ns = 900 * NS_PER_S;
	memcpy(s->group[1].name, "b", 2);
	s->group[2] = (struct site_group){ .name = "g", .cls = device_class_find(STR("H100")), .count = 10, .feeder = -1,
		.serves = true, .idle_mode = DEVICE_IDLE, .contract_share = 0.5, .contract_usd_h = 2, .spot_share = 0.3,
		.miss_usd_h = 4 };
	assert_int_equal(site_validate(s, NULL), 0);
	rng_init(&rng, seed);
	for (size_t i = 0; i < STEPS; i++) {
		level += 0.2 * (55 - level) + (double)rng_below(&rng, 40) - 20;
		add(w, HISTORY_POWER_RT, t0 + (int64_t)i * BACKTEST_STEP_NS, BACKTEST_STEP_NS,
			level + (rng_below(&rng, 20) == 0 ? 300 : 0));
	}
	for (int64_t h = 0; h < DAYS * 24; h++) {
		add(w, HISTORY_BTC_USD, t0 + h * HOUR_NS, HOUR_NS, 60000 + (double)rng_below(&rng, 500));
		if (h >= 48) /* those of the first days were published before the range */
			add(w, HISTORY_POWER_DA, t0 + h * HOUR_NS, HOUR_NS, 20 + (double)rng_below(&rng, 60));
	}
	for (int64_t d = -1; d < DAYS; d++) {
		add(w, HISTORY_DIFFICULTY, t0 + d * DAY_NS, DAY_NS, 9e13 + 1e11 * (double)d);
		add(w, HISTORY_FEES_BTC, t0 + d * DAY_NS, DAY_NS, 0.1);
	}
	qsort(w->tick, w->n, sizeof(w->tick[0]), by_known);
}

/* ---- the backtest, with what the policy decided and saw put down ---- */

struct record {
	uint32_t target[STEPS][GROUPS][POLICY_USE_END];
	bool decided[STEPS];
	struct history seen;
	unsigned starts;
};

static struct record *recording; /* a vtable's functions have no other way to it */
static const struct policy_vt *recorded;

static int record_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	size_t i = (size_t)((in->now_ns - t0) / BACKTEST_STEP_NS);
	int rc = recorded->decide(p, in, ret, err);
	recording->decided[i] = true;
	for (size_t k = 0; k < in->n; k++) {
		uint32_t *to = recording->target[i][k];
		memcpy(to, ret->c[k].target, sizeof(ret->c[k].target));
		cohorts_hold(in->c[k].held, to);
		recording->starts += to[POLICY_MINE] > in->c[k].now[POLICY_MINE];
	}
	history_release(&recording->seen);
	for (size_t k = 0; k < in->history->n; k++) {
		const struct history_series *s = in->history->s[k];
		for (size_t at = 0; at < s->n; at++)
			if (!isnan(s->slot[at]))
				assert_int_equal(history_add(&recording->seen, s->kind, s->location,
									 s->first_ns + (int64_t)at * s->step_ns, s->step_ns, s->slot[at], NULL),
					0);
	}
	return rc;
}

static void run_backtest(const struct world *w, const char *policy, struct record *r)
{
	struct backtest *b = NULL;
	struct backtest_books books;
	struct policy p;
	struct backtest_feed feed = { w, tick_at };
	struct backtest_conf conf = { .site = &w->site, .from_ns = t0, .to_ns = t0 + DAYS * DAY_NS, .horizon_ns = HOUR_NS };
	memset(r, 0, sizeof(*r));
	recording = r;
	recorded = policy_find(str_of(policy));
	struct policy_vt vt = *recorded;
	vt.decide = record_decide;
	assert_int_equal(backtest_new(&conf, &feed, &b, NULL), 0);
	assert_int_equal(policy_init(&p, &vt, NULL, NULL), 0);
	assert_int_equal(backtest_run(b, &feed, &p, NULL, NULL, NULL, &books, NULL), 0);
	policy_release(&p);
	backtest_books_release(&books);
	backtest_free(b);
}

/* ---- the same live ---- */

static Hcp__Decision *latest(struct drive *d)
{
	Hcp__DecisionGet g = HCP__DECISION_GET__INIT;
	g.id = "latest";
	return drive_call(d, &g.base);
}

static void send_fleet(struct drive *d, const struct world *w, uint32_t now[GROUPS][POLICY_USE_END])
{
	Hcp__ClassCapacity c[GROUPS], *p[GROUPS];
	Hcp__CapacityChanged ev = HCP__CAPACITY_CHANGED__INIT;
	for (size_t k = 0; k < GROUPS; k++) {
		hcp__class_capacity__init(&c[k]);
		c[k].facility = w->site.name;
		c[k].device_class = w->site.group[k].cls->name;
		c[k].total = c[k].healthy = (int32_t)w->site.group[k].count;
		c[k].serving = (int32_t)now[k][POLICY_SERVE];
		c[k].filling = (int32_t)now[k][POLICY_MINE];
		p[k] = &c[k];
	}
	ev.n_classes = GROUPS;
	ev.classes = p;
	drive_event(d, SVC_RESOURCES, &ev.base);
}

static void send_demand(struct drive *d)
{
	Hcp__Demand dm = HCP__DEMAND__INIT, *p[1] = { &dm };
	Hcp__DemandChanged ev = HCP__DEMAND_CHANGED__INIT;
	dm.device_class = "H100";
	dm.realtime = 5;
	dm.waiting = 3;
	ev.n_demands = 1;
	ev.demands = p;
	drive_event(d, SVC_ROUTER, &ev.base);
}

/* Everything that became known at one moment, in one message, one wall second later: played at 900 times its speed. */
static void send_until(struct drive *d, const struct world *w, size_t *next, int64_t until_ns)
{
	Hcp__Tick t[96], *p[96];
	while (*next < w->n && w->tick[*next].known_ns <= until_ns) {
		Hcp__Ticks m = HCP__TICKS__INIT;
		int64_t known_ns = w->tick[*next].known_ns;
		for (; *next < w->n && w->tick[*next].known_ns == known_ns; ++*next) {
			const struct backtest_tick *from = &w->tick[*next];
			hcp__tick__init(&t[m.n_ticks]);
			t[m.n_ticks].symbol = history_kind_name(from->kind);
			t[m.n_ticks].location = from->location;
			t[m.n_ticks].value = from->value;
			t[m.n_ticks].observed_at_ns = known_ns;
			t[m.n_ticks].interval_start_ns = from->start_ns;
			t[m.n_ticks].interval_s = (int32_t)(from->step_ns / NS_PER_S);
			t[m.n_ticks].source = "test";
			p[m.n_ticks] = &t[m.n_ticks];
			m.n_ticks++;
		}
		m.ticks = p;
		d->now_ns += NS_PER_S;
		assert_int_equal(((Hcp__TicksResult *)drive_call(d, &m.base))->rejected, 0);
	}
}

static void expect_same_history(struct drive *d, const struct history *seen)
{
	const struct history *h = optimizer_history(svc_state(d->svc));
	assert_int_equal(h->n, seen->n);
	for (size_t k = 0; k < seen->n; k++) {
		const struct history_series *a = seen->s[k], *b = history_find(h, a->kind, a->location);
		assert_non_null(b);
		assert_int_equal(a->n, b->n);
		assert_int_equal(a->first_ns, b->first_ns);
		assert_int_equal(a->step_ns, b->step_ns);
		for (size_t i = 0; i < a->n; i++)
			assert_true(a->slot[i] == b->slot[i] || (isnan(a->slot[i]) && isnan(b->slot[i])));
	}
}

static void run_live(const struct world *w, const char *policy, const struct record *r)
{
	struct drive d;
	struct optimizer_conf conf = { .site = &w->site, .n_sites = 1, .horizon_ns = HOUR_NS, .utilisation = 1,
		.policy = policy };
	uint32_t now[GROUPS][POLICY_USE_END] = { { 1000, 0, 0 }, { 1000, 0, 0 }, { 0, 5, 5 } };
	size_t next = 0, compared = 0;
	drive_init(&d, &optimizer_def, &conf);
	send_demand(&d);
	send_fleet(&d, w, now);
	for (size_t i = 0; i < STEPS; i++) {
		send_until(&d, w, &next, t0 + (int64_t)i * BACKTEST_STEP_NS);
		if (i == STEPS / 3)
			drive_restart(&d);
		if (!r->decided[i])
			continue;
		const Hcp__Decision *dec = latest(&d);
		assert_int_equal(dec->market_time_ns, t0 + (int64_t)i * BACKTEST_STEP_NS);
		for (size_t k = 0; k < GROUPS; k++)
			for (size_t n = 0; n < dec->n_targets; n++) {
				const Hcp__ClassTarget *t = dec->targets[n];
				if (strcmp(t->device_class, w->site.group[k].cls->name) != 0)
					continue;
				assert_int_equal(t->mine, r->target[i][k][POLICY_MINE]);
				assert_int_equal(t->serve, r->target[i][k][POLICY_SERVE]);
				assert_int_equal(t->idle, r->target[i][k][POLICY_IDLE]);
				compared++;
			}
		memcpy(now, r->target[i], sizeof(now));
		send_fleet(&d, w, now);
	}
	assert_true(compared > (STEPS - 10) * GROUPS);
	expect_same_history(&d, &r->seen);
	drive_restart(&d);
	expect_same_history(&d, &r->seen);
	drive_replay(&d);
	drive_release(&d);
}

static void live_decides_as_a_backtest(void **state)
{
	static struct world w;
	static struct record r;
	static const char *const policy[] = { "threshold", "strike", "last_price", "always_mine", "stochastic", "mpc" };
	for (size_t i = 0; i < sizeof(policy) / sizeof(policy[0]); i++) {
		make_world(&w, i + 1);
		run_backtest(&w, policy[i], &r);
		assert_true(r.starts > 5 || i == 3);
		run_live(&w, policy[i], &r);
		history_release(&r.seen);
	}
}

/* ---- what enters when ---- */

static void send_one(struct drive *d, const char *symbol, double value, int64_t at_ns, int64_t start_ns, int interval_s)
{
	Hcp__Tick t = HCP__TICK__INIT, *p[1] = { &t };
	Hcp__Ticks m = HCP__TICKS__INIT;
	t.symbol = symbol;
	t.location = strncmp(symbol, "electricity", 11) == 0 ? "HB_WEST" : "";
	t.value = value;
	t.observed_at_ns = at_ns;
	t.interval_start_ns = start_ns;
	t.interval_s = interval_s;
	t.source = "test";
	m.n_ticks = 1;
	m.ticks = p;
	assert_int_equal(((Hcp__TicksResult *)drive_call(d, &m.base))->accepted, 1);
}

static double kept(struct drive *d, enum history_kind kind, const char *location, int64_t t_ns)
{
	return history_at(history_find(optimizer_history(svc_state(d->svc)), kind, location), t_ns);
}

static void a_value_enters_when_its_interval_is_over(void **state)
{
	struct drive d;
	const int64_t step = BACKTEST_STEP_NS;
	drive_init(&d, &optimizer_def, NULL);
	/* Told while the interval runs, corrected, and final at its end. */
	send_one(&d, "electricity_rt", 30, t0 + 60 * NS_PER_S, t0, 900);
	send_one(&d, "electricity_rt", 35, t0 + 120 * NS_PER_S, t0, 900);
	assert_true(isnan(kept(&d, HISTORY_POWER_RT, "HB_WEST", t0)));
	drive_restart(&d);
	drive_pass(&d, 700 * NS_PER_S);
	assert_true(isnan(kept(&d, HISTORY_POWER_RT, "HB_WEST", t0)));
	drive_pass(&d, 100 * NS_PER_S);
	assert_true(kept(&d, HISTORY_POWER_RT, "HB_WEST", t0) == 35);
	/* Told after its end: at once. An hour of the day ahead, too. What is of no interval settles nothing. */
	send_one(&d, "electricity_rt", 40, t0 + 2 * step, t0 + step, 900);
	assert_true(kept(&d, HISTORY_POWER_RT, "HB_WEST", t0 + step) == 40);
	send_one(&d, "electricity_da", 50, t0 + 2 * step, t0 + DAY_NS, 3600);
	assert_true(kept(&d, HISTORY_POWER_DA, "HB_WEST", t0 + DAY_NS) == 50);
	send_one(&d, "electricity_rt", 45, t0 + 2 * step + NS_PER_S, 0, 0);
	assert_true(isnan(kept(&d, HISTORY_POWER_RT, "HB_WEST", t0 + 2 * step)));
	/* Quotes: the last of the hour. */
	send_one(&d, "btc_usd", 60000, t0 + 3000 * NS_PER_S, 0, 0);
	send_one(&d, "btc_usd", 60100, t0 + 3500 * NS_PER_S, 0, 0);
	assert_true(isnan(kept(&d, HISTORY_BTC_USD, "", t0)));
	send_one(&d, "btc_usd", 60200, t0 + 3700 * NS_PER_S, 0, 0);
	assert_true(kept(&d, HISTORY_BTC_USD, "", t0) == 60100);
	assert_true(isnan(kept(&d, HISTORY_BTC_USD, "", t0 + HOUR_NS)));
	/* A feed that starts over: nothing of its future is left, and prices that follow begin a new history. */
	d.now_ns += (OPTIMIZER_REWIND_S + 1) * NS_PER_S;
	send_one(&d, "electricity_rt", 20, t0 - 10 * DAY_NS, t0 - 10 * DAY_NS - step, 900);
	assert_true(isnan(kept(&d, HISTORY_POWER_RT, "HB_WEST", t0)));
	assert_true(isnan(kept(&d, HISTORY_POWER_DA, "HB_WEST", t0 + DAY_NS)));
	assert_true(kept(&d, HISTORY_POWER_RT, "HB_WEST", t0 - 10 * DAY_NS - step) == 20);
	assert_int_equal(drive_scalar(&d, "SELECT count(*) FROM history_series"), 1);
	/* A gap of years begins anew as well. */
	send_one(&d, "electricity_rt", 25, t0 + 700 * DAY_NS, t0 + 700 * DAY_NS - step, 900);
	assert_true(kept(&d, HISTORY_POWER_RT, "HB_WEST", t0 + 700 * DAY_NS - step) == 25);
	assert_true(isnan(kept(&d, HISTORY_POWER_RT, "HB_WEST", t0 - 10 * DAY_NS - step)));
	assert_int_equal(drive_scalar(&d, "SELECT count(*) FROM history_chunk"), 1);
	drive_replay(&d);
	drive_release(&d);
}

/* An hour's interval in place of a quarter's begins anew; the oldest chunks go and a restart finds the same. */
static void a_history_has_a_bound(void **state)
{
	struct drive d;
	const int64_t day_s = 86400;
	drive_init(&d, &optimizer_def, NULL);
	send_one(&d, "electricity_rt", 1, t0, t0 - 900 * NS_PER_S, 900);
	/* Whole days, so that the bound is reached soon. */
	int64_t n = 3;
	for (int64_t i = 0; i < n; i++)
		send_one(&d, "electricity_rt", 10 + (double)i, t0 + (i + 2) * DAY_NS, t0 + (i + 1) * DAY_NS, (int)day_s);
	const struct history_series *s = history_find(optimizer_history(svc_state(d.svc)), HISTORY_POWER_RT, "HB_WEST");
	assert_true(s->n == 3 && s->first_ns == t0 + DAY_NS && s->step_ns == DAY_NS);
	assert_int_equal(drive_scalar(&d, "SELECT count(*) FROM history_series"), 1);
	/* As if years had gone by: a jump by nearly the gap that is allowed. */
	int64_t chunk_ns = (int64_t)OPTIMIZER_CHUNK_SLOTS * 900 * NS_PER_S, at = t0 + 10 * DAY_NS;
	for (int i = 0; i < 6; i++, at += 300 * chunk_ns)
		send_one(&d, "electricity_rt", 30 + i, at + 900 * NS_PER_S, at, 900);
	s = history_find(optimizer_history(svc_state(d.svc)), HISTORY_POWER_RT, "HB_WEST");
	/* 5 * 300 chunks back is beyond 1,461; the value after it is the first. */
	assert_true(s->slot[0] == 31 && s->n == 4 * 300 * OPTIMIZER_CHUNK_SLOTS + 1);
	assert_int_equal(drive_scalar(&d, "SELECT count(*) FROM history_chunk"), 5);
	drive_restart(&d);
	const struct history_series *again = history_find(optimizer_history(svc_state(d.svc)), HISTORY_POWER_RT, "HB_WEST");
	assert_true(again->slot[0] == 31 && again->n == 4 * 300 * OPTIMIZER_CHUNK_SLOTS + 1);
	drive_replay(&d);
	drive_release(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_value_enters_when_its_interval_is_over),
		cmocka_unit_test(a_history_has_a_bound),
		cmocka_unit_test(live_decides_as_a_backtest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
