#include "services/optimizer/optimizer.h"

#include <math.h>

#include "drive_priv.h"

#define MARKET_NS (INT64_C(1613347200) * NS_PER_S) /* 2021-02-15: history, played back */

static Hcp__Tick tick(const char *symbol, const char *location, double value, int64_t at_ns)
{
	Hcp__Tick t = HCP__TICK__INIT;
	t.symbol = symbol;
	t.location = location;
	t.value = value;
	t.observed_at_ns = at_ns;
	t.source = "test";
	return t;
}

static Hcp__TicksResult *send_ticks(struct drive *d, Hcp__Tick *t, size_t n)
{
	Hcp__Ticks m = HCP__TICKS__INIT;
	Hcp__Tick *p[64];
	for (size_t i = 0; i < n; i++)
		p[i] = &t[i];
	m.n_ticks = n;
	m.ticks = p;
	return drive_call(d, &m.base);
}

static Hcp__TicksResult *send_power(struct drive *d, double usd_mwh, int64_t at_ns)
{
	Hcp__Tick t = tick("electricity_rt", "HB_HOUSTON", usd_mwh, at_ns);
	t.sent_at_ns = d->now_ns - 1000000;
	return send_ticks(d, &t, 1);
}

static void send_market(struct drive *d, double power, int64_t at_ns)
{
	Hcp__Tick t[] = {
		tick("electricity_rt", "HB_HOUSTON", power, at_ns), tick("btc_usd", "", 48000, at_ns),
		tick("difficulty", "", 21.7e12, at_ns),		    tick("block_fees_btc", "", 0.9, at_ns),
		tick("block_height", "", 670000, at_ns),	    tick("block_subsidy_btc", "", 6.25, at_ns),
	};
	Hcp__TicksResult *r = send_ticks(d, t, 6);
	assert_int_equal(r->accepted, 6);
	assert_int_equal(r->rejected, 0);
}

struct caps {
	Hcp__ClassCapacity c[4];
	Hcp__ClassCapacity *p[4];
	Hcp__CapacityChanged ev;
};

static void add_class(struct caps *k, const char *facility, const char *cls, int healthy, int serving, int filling,
		      int endpoints)
{
	size_t i = k->ev.n_classes++;
	hcp__class_capacity__init(&k->c[i]);
	k->c[i].facility = facility;
	k->c[i].device_class = cls;
	k->c[i].total = k->c[i].healthy = healthy;
	k->c[i].serving = serving;
	k->c[i].filling = filling;
	k->c[i].endpoints = endpoints;
	k->p[i] = &k->c[i];
	k->ev.classes = k->p;
}

static void send_fleet(struct drive *d, int gpu_serving, int asic_filling)
{
	struct caps k = { 0 };
	hcp__capacity_changed__init(&k.ev);
	add_class(&k, "hou-1", "H100", 8, gpu_serving, 0, 8);
	add_class(&k, "hou-1", "S21", 100, 0, asic_filling, 0);
	drive_event(d, SVC_RESOURCES, &k.ev.base);
}

static Hcp__Decision *latest(struct drive *d)
{
	Hcp__DecisionGet g = HCP__DECISION_GET__INIT;
	g.id = "latest";
	return drive_call(d, &g.base);
}

static const Hcp__ClassTarget *target(const Hcp__Decision *d, const char *facility, const char *cls)
{
	for (size_t i = 0; i < d->n_targets; i++)
		if (!strcmp(d->targets[i]->device_class, cls) && !strcmp(d->targets[i]->facility, facility))
			return d->targets[i];
	fail_msg("no target for %s at %s", cls, facility);
	return NULL;
}

static void decides_when_fleet_and_prices_are_known(void **state)
{
	struct drive d;
	struct msg *ev = NULL;
	drive_init(&d, &optimizer_def, NULL);
	Hcp__RecommendationGet get = HCP__RECOMMENDATION_GET__INIT;
	drive_refused(&d, &get.base, "not_found", "");
	send_market(&d, 25, MARKET_NS);
	drive_refused(&d, &get.base, "not_found", "");
	assert_int_equal(drive_published(&d, MSG_DECISION_MADE, NULL), 0);
	assert_int_equal(drive_published(&d, MSG_MARKET_MOVED, NULL), 1);
	send_fleet(&d, 0, 0);
	assert_int_equal(drive_published(&d, MSG_DECISION_MADE, &ev), 1);
	const Hcp__Decision *dec = ((Hcp__DecisionMade *)ev->body)->decision;
	assert_true(dec->changed);
	assert_string_equal(dec->trigger, "capacity");
	assert_string_equal(dec->policy, "threshold");
	assert_int_equal(target(dec, "hou-1", "H100")->serve, 8);
	assert_int_equal(target(dec, "hou-1", "S21")->mine, 100);
	assert_float_equal(dec->electricity_usd_mwh, 25, 1e-9);
	assert_true(dec->net_usd_h > 0 && dec->gain_usd_h > 0);
	assert_int_equal(dec->n_options, 8);
	assert_true(dec->n_inputs >= 6);
	assert_true(strlen(dec->summary) > 40);
	assert_int_equal(dec->market_time_ns, MARKET_NS);
	msg_free(ev);
	/* Winter storm: mining stops, and the tick's own stamp travels along. */
	send_fleet(&d, 8, 100);
	d.now_ns += 300 * NS_PER_S;
	assert_int_equal(send_power(&d, 8999, MARKET_NS + 900 * NS_PER_S)->accepted, 1);
	Hcp__Decision *now = latest(&d);
	assert_string_equal(now->trigger, "price");
	assert_true(now->changed);
	assert_int_equal(target(now, "hou-1", "S21")->idle, 100);
	assert_int_equal(now->signal_at_ns, d.now_ns - 1000000);
	drive_replay(&d);
	drive_release(&d);
}

static void unchanged_outcome_is_put_down_once_a_minute(void **state)
{
	struct drive d;
	drive_init(&d, &optimizer_def, NULL);
	send_market(&d, 25, MARKET_NS);
	send_fleet(&d, 0, 0);
	send_fleet(&d, 8, 100);
	assert_int_equal(drive_published(&d, MSG_DECISION_MADE, NULL), 1);
	for (int i = 1; i <= 50; i++) {
		d.now_ns += NS_PER_S;
		send_power(&d, 25 + i * 0.01, MARKET_NS + i * NS_PER_S);
	}
	assert_int_equal(drive_published(&d, MSG_DECISION_MADE, NULL), 1);
	d.now_ns += 11 * NS_PER_S;
	send_power(&d, 26, MARKET_NS + 61 * NS_PER_S);
	assert_int_equal(drive_published(&d, MSG_DECISION_MADE, NULL), 2);
	assert_false(latest(&d)->changed);
	/* The same values again move nothing. */
	int moved = drive_published(&d, MSG_MARKET_MOVED, NULL);
	send_power(&d, 26, MARKET_NS + 62 * NS_PER_S);
	assert_int_equal(drive_published(&d, MSG_MARKET_MOVED, NULL), moved);
	drive_release(&d);
}

static void bad_ticks_are_named_and_good_ones_taken(void **state)
{
	struct drive d;
	drive_init(&d, &optimizer_def, NULL);
	int64_t at = MARKET_NS;
	Hcp__Tick t[] = {
		tick("electricity_rt", "HB_HOUSTON", 30, at),
		tick("gold", "", 1, at),
		tick("btc_usd", "", NAN, at),
		tick("electricity_rt", "HB_WEST", 1e6, at),
		tick("electricity_rt", "", 30, at),
		tick("gpu_rate", "Z9000", 2, at),
		tick("btc_usd", "", 48000, d.now_ns + 60 * NS_PER_S),
		tick("btc_usd", "", 48000, at),
		tick("electricity_rt", "HB_HOUSTON", 29, at - 900 * NS_PER_S),
		tick("electricity_da", "HB_HOUSTON", 29, at),
		tick("block_subsidy_btc", "", 51, at),
		tick("btc_usd", "", INFINITY, at),
		tick("btc_usd", "", 48000, at),
	};
	t[9].interval_start_ns = at + 1;
	t[12].interval_s = -1;
	Hcp__TicksResult *r = send_ticks(&d, t, 13);
	static const char *const field[] = { "ticks[1].symbol", "ticks[2].value", "ticks[3].value", "ticks[4].location",
		"ticks[5].location", "ticks[6].observed_at_ns", "ticks[8].observed_at_ns", "ticks[9].interval_start_ns",
		"ticks[10].value", "ticks[11].value", "ticks[12].interval_s" };
	assert_int_equal(r->accepted, 2);
	assert_int_equal(r->rejected, 11);
	assert_int_equal(r->n_problems, 11);
	for (size_t i = 0; i < 11; i++)
		assert_string_equal(r->problems[i]->field, field[i]);
	/* A refused tick leaves no series behind. */
	assert_int_equal(drive_scalar(&d, "SELECT count(*) FROM series"), 2);
	/* An outlier is held back until three agree. */
	Hcp__Tick jump = tick("btc_usd", "", 90000, at + NS_PER_S);
	assert_int_equal(send_ticks(&d, &jump, 1)->rejected, 1);
	drive_restart(&d);
	assert_int_equal(send_ticks(&d, &jump, 1)->rejected, 1);
	assert_int_equal(send_ticks(&d, &jump, 1)->accepted, 1);
	Hcp__Ticks none = HCP__TICKS__INIT;
	drive_refused(&d, &none.base, "out_of_range", "ticks");
	drive_release(&d);
}

static const Hcp__Price *find_price(const Hcp__Prices *p, const char *symbol, const char *location)
{
	for (size_t i = 0; i < p->n_prices; i++)
		if (!strcmp(p->prices[i]->symbol, symbol) && !strcmp(p->prices[i]->location, location))
			return p->prices[i];
	return NULL;
}

/* Age is judged in market time: a replay of 2021 is fresh while it runs and stale when it stops. */
static void prices_age_in_market_time_and_fall_back(void **state)
{
	struct drive d;
	Hcp__PricesGet get = HCP__PRICES_GET__INIT;
	drive_init(&d, &optimizer_def, NULL);
	Hcp__Prices *p = drive_call(&d, &get.base);
	assert_false(p->healthy);
	assert_true(strstr(find_price(p, "electricity_rt", "")->fallback, "default") != NULL);
	send_market(&d, 25, MARKET_NS);
	p = drive_call(&d, &get.base);
	assert_true(p->healthy);
	assert_int_equal(p->market_time_ns, MARKET_NS);
	assert_string_equal(find_price(p, "electricity_rt", "HB_HOUSTON")->fallback, "");
	assert_string_equal(find_price(p, "btc_usd", "")->source, "test");
	assert_true(p->hashprice_usd_ph_day > 200 && p->hashprice_usd_ph_day < 400);
	d.now_ns += 1800 * NS_PER_S;
	p = drive_call(&d, &get.base);
	assert_int_equal(p->market_time_ns, MARKET_NS + 1800 * NS_PER_S);
	assert_false(p->healthy);
	assert_true(find_price(p, "electricity_rt", "HB_HOUSTON")->stale);
	assert_true(strstr(find_price(p, "electricity_rt", "HB_HOUSTON")->fallback, "last known") != NULL);
	/* Expired: the day-ahead price of the hour takes over, and says so. */
	Hcp__Tick da = tick("electricity_da", "HB_HOUSTON", 41, MARKET_NS + 3600 * NS_PER_S);
	da.interval_start_ns = MARKET_NS + 3 * 3600 * NS_PER_S;
	assert_int_equal(send_ticks(&d, &da, 1)->accepted, 1);
	d.now_ns += 2 * 3600 * NS_PER_S;
	p = drive_call(&d, &get.base);
	assert_float_equal(find_price(p, "electricity_rt", "HB_HOUSTON")->value, 41, 1e-9);
	assert_true(strstr(find_price(p, "electricity_rt", "HB_HOUSTON")->fallback, "day-ahead") != NULL);
	/* The same after a restart; a feed that starts over is taken up. */
	drive_restart(&d);
	p = drive_call(&d, &get.base);
	assert_float_equal(find_price(p, "electricity_rt", "HB_HOUSTON")->value, 41, 1e-9);
	send_market(&d, 33, MARKET_NS - 30 * 86400 * NS_PER_S);
	p = drive_call(&d, &get.base);
	assert_int_equal(p->market_time_ns, MARKET_NS - 30 * 86400 * NS_PER_S);
	assert_true(find_price(p, "electricity_rt", "HB_HOUSTON")->value == 33);
	drive_replay(&d);
	drive_release(&d);
}

/* What capacity earns: by the hour, told a day ahead; billing hears of it, nothing is decided by it. */
static void prices_of_capacity_are_kept_by_the_hour(void **state)
{
	struct drive d;
	Hcp__PricesGet get = HCP__PRICES_GET__INIT;
	const int64_t hour_ns = 3600 * NS_PER_S, first = MARKET_NS - MARKET_NS % hour_ns;
	Hcp__Tick t[3], bad[5];
	drive_init(&d, &optimizer_def, NULL);
	send_market(&d, 25, MARKET_NS);
	for (int i = 0; i < 3; i++) {
		t[i] = tick("ancillary", "RRS", 10 + i, MARKET_NS);
		t[i].interval_start_ns = first + i * hour_ns;
		t[i].interval_s = 3600;
	}
	assert_int_equal(send_ticks(&d, t, 3)->accepted, 3);
	struct msg *moved = NULL;
	drive_published(&d, MSG_MARKET_MOVED, &moved);
	const Hcp__MarketMoved *ev = (const Hcp__MarketMoved *)moved->body;
	assert_true(ev->n_ticks == 3 && ev->ticks[2]->value == 12);
	msg_free(moved);
	for (int i = 0; i < 2; i++) {
		const Hcp__Price *p = find_price(drive_call(&d, &get.base), "ancillary", "RRS");
		assert_true(p->value == 10 && !p->stale);
		drive_restart(&d);
	}
	d.now_ns += hour_ns;
	assert_true(find_price(drive_call(&d, &get.base), "ancillary", "RRS")->value == 11);
	for (int i = 0; i < 5; i++)
		bad[i] = t[2];
	bad[0].location = "";
	bad[1].value = -1;
	bad[2].interval_start_ns += 900 * NS_PER_S;
	bad[3].interval_start_ns += 72 * hour_ns;
	bad[4].interval_s = 900;
	static const char *const field[] = { "location", "value", "interval_start_ns", "interval_start_ns",
		"interval_start_ns" };
	Hcp__TicksResult *refused = send_ticks(&d, bad, 5);
	assert_int_equal(refused->accepted, 0);
	for (int i = 0; i < 5; i++)
		assert_non_null(strstr(refused->problems[i]->field, field[i]));
	drive_replay(&d);
	drive_release(&d);
}

/* An hourly price is the newest there is for an hour; a quote of an instant is old after a minute. */
static Hcp__MarketSource source(const char *name, int priority, const char *state, bool speaking)
{
	Hcp__MarketSource s = HCP__MARKET_SOURCE__INIT;
	s.name = name;
	s.symbol = "btc_usd";
	s.priority = priority;
	s.state = state;
	s.speaking = speaking;
	return s;
}

static void sources_are_shown_and_explain_a_fallback(void **state)
{
	struct drive d;
	Hcp__PricesGet get = HCP__PRICES_GET__INIT;
	Hcp__Ticks m = HCP__TICKS__INIT;
	Hcp__MarketSource s[] = { source("first", 1, "failing", false), source("second", 2, "ok", true) };
	Hcp__MarketSource *p[OPTIMIZER_SOURCES_MAX + 1] = { &s[0], &s[1] };
	drive_init(&d, &optimizer_def, NULL);
	send_market(&d, 25, MARKET_NS);
	s[0].problem = "HTTP status 500";
	m.sources = p;
	m.n_sources = 2;
	Hcp__TicksResult *r = drive_call(&d, &m.base);
	assert_int_equal(r->accepted + r->rejected, 0);
	Hcp__Prices *prices = drive_call(&d, &get.base);
	assert_int_equal(prices->n_sources, 2);
	assert_string_equal(prices->sources[1]->name, "second");
	assert_string_equal(find_price(prices, "btc_usd", "")->fallback, "first is failing: HTTP status 500");
	assert_true(prices->healthy); /* the value is fresh */
	assert_string_equal(find_price(prices, "difficulty", "")->fallback, "");
	s[0].state = "ok";
	s[0].speaking = true;
	s[1].speaking = false;
	drive_call(&d, &m.base);
	prices = drive_call(&d, &get.base);
	assert_string_equal(find_price(prices, "btc_usd", "")->fallback, "");
	/* What is not right changes nothing. */
	s[1].name = "";
	drive_refused(&d, &m.base, "invalid", "sources[1]");
	for (size_t i = 0; i <= OPTIMIZER_SOURCES_MAX; i++)
		p[i] = &s[0];
	m.n_sources = OPTIMIZER_SOURCES_MAX + 1;
	drive_refused(&d, &m.base, "out_of_range", "sources");
	m.n_sources = 0;
	drive_refused(&d, &m.base, "out_of_range", "ticks"); /* neither values nor sources */
	prices = drive_call(&d, &get.base);
	assert_int_equal(prices->n_sources, 2);
	drive_release(&d);
}

static void interval_prices_stay_fresh_until_the_next_is_due(void **state)
{
	struct drive d;
	Hcp__PricesGet get = HCP__PRICES_GET__INIT;
	drive_init(&d, &optimizer_def, NULL);
	send_market(&d, 25, MARKET_NS);
	Hcp__Tick btc = tick("btc_usd", "", 48100, MARKET_NS + 1);
	btc.interval_s = 3600;
	send_ticks(&d, &btc, 1);
	d.now_ns += 3000 * NS_PER_S;
	for (int i = 0; i < 2; i++) {
		Hcp__Prices *p = drive_call(&d, &get.base);
		assert_false(find_price(p, "btc_usd", "")->stale);
		assert_true(find_price(p, "electricity_rt", "HB_HOUSTON")->stale);
		drive_restart(&d);
	}
	btc.observed_at_ns = MARKET_NS + 3000 * NS_PER_S;
	btc.interval_s = 0;
	send_ticks(&d, &btc, 1);
	d.now_ns += 90 * NS_PER_S;
	assert_true(find_price(drive_call(&d, &get.base), "btc_usd", "")->stale);
	drive_replay(&d);
	drive_release(&d);
}

static void history_keeps_the_newest_points(void **state)
{
	struct drive d;
	Hcp__PriceHistoryGet g = HCP__PRICE_HISTORY_GET__INIT;
	drive_init(&d, &optimizer_def, NULL);
	for (int i = 0; i < OPTIMIZER_POINTS_MAX + 64; i += 64) {
		Hcp__Tick t[64];
		for (int j = 0; j < 64; j++)
			t[j] = tick("electricity_rt", "HB_HOUSTON", (i + j) % 100, MARKET_NS + (i + j) * NS_PER_S);
		assert_int_equal(send_ticks(&d, t, 64)->accepted, 64);
	}
	assert_int_equal(drive_scalar(&d, "SELECT count(*) FROM point"), OPTIMIZER_POINTS_MAX);
	int64_t n = drive_scalar(&d, "SELECT n FROM series");
	for (int round = 0; round < 2; round++) {
		g.symbol = "electricity_rt";
		g.limit = OPTIMIZER_POINTS_MAX;
		Hcp__PriceHistory *h = drive_call(&d, &g.base);
		assert_int_equal(h->n_points, OPTIMIZER_POINTS_MAX);
		assert_string_equal(h->location, "HB_HOUSTON");
		for (int64_t i = 0; i < OPTIMIZER_POINTS_MAX; i++) {
			int64_t k = n - OPTIMIZER_POINTS_MAX + i;
			assert_int_equal(h->points[i]->at_ns, MARKET_NS + k * NS_PER_S);
			assert_true(h->points[i]->value == (double)(k % 100));
		}
		drive_restart(&d);
	}
	g.limit = 0;
	assert_int_equal(((Hcp__PriceHistory *)drive_call(&d, &g.base))->n_points, 500);
	g.limit = 5001;
	drive_refused(&d, &g.base, "out_of_range", "limit");
	g.limit = 1;
	g.symbol = "silver";
	drive_refused(&d, &g.base, "invalid", "symbol");
	g.symbol = "electricity_rt";
	g.location = "HB_NOWHERE";
	drive_refused(&d, &g.base, "not_found", "location");
	g.symbol = "btc_usd";
	g.location = "";
	assert_int_equal(((Hcp__PriceHistory *)drive_call(&d, &g.base))->n_points, 0);
	drive_release(&d);
}

static const Hcp__ProfitabilityRow *find_row(const Hcp__Profitability *p, const char *type)
{
	for (size_t i = 0; i < p->n_rows; i++)
		if (!strcmp(p->rows[i]->workload_type, type))
			return p->rows[i];
	return NULL;
}

static void profitability_takes_inputs_and_refuses_nonsense(void **state)
{
	struct drive d;
	Hcp__ProfitabilityCalculate q = HCP__PROFITABILITY_CALCULATE__INIT;
	drive_init(&d, &optimizer_def, NULL);
	send_market(&d, 25, MARKET_NS);
	q.device_class = "S21";
	Hcp__Profitability *p = drive_call(&d, &q.base);
	assert_int_equal(p->n_rows, 2);
	/* 200 TH/s x 86400 / (21.7e12 x 2^32) x (6.25+0.9) x 0.99 / 24 x 48000; watts x PUE x price; wear of the class. */
	double revenue = 200e12 * 86400 / (21.7e12 * 4294967296.0) * 7.15 * 0.99 / 24 * 48000;
	const Hcp__ProfitabilityRow *mine = find_row(p, "bitcoin_mining");
	assert_float_equal(mine->revenue_usd_h, revenue, 1e-9 * revenue);
	assert_float_equal(mine->energy_cost_usd_h, 3500e-6 * 1.05 * 25, 1e-9);
	assert_float_equal(mine->net_usd_h, revenue - 3500e-6 * 1.05 * 25 - 0.025, 1e-9);
	assert_string_equal(p->recommendation, "bitcoin_mining");
	assert_string_equal(mine->recommendation, "best");
	/* Driven easier: fewer hashes, and fewer watts each. */
	q.power_mode = "low";
	p = drive_call(&d, &q.base);
	const Hcp__ProfitabilityRow *low = find_row(p, "bitcoin_mining");
	double f = 395.0 / 545, v = 12.8 / 13.4;
	assert_float_equal(low->revenue_usd_h, revenue * f, 1e-9 * revenue);
	assert_float_equal(low->energy_cost_usd_h, 3500e-6 * f * v * v * 1.05 * 25, 1e-9);
	q.power_mode = "turbo";
	drive_refused(&d, &q.base, "invalid", "power_mode");
	q.power_mode = "";
	q.has_electricity_usd_mwh_case = HCP__PROFITABILITY_CALCULATE__HAS_ELECTRICITY_USD_MWH_ELECTRICITY_USD_MWH;
	q.electricity_usd_mwh = 9000;
	p = drive_call(&d, &q.base);
	assert_string_equal(p->recommendation, "idle");
	assert_string_equal(find_row(p, "bitcoin_mining")->recommendation, "loss");
	q.device_class = "H100";
	q.electricity_usd_mwh = 25;
	q.has_utilisation_case = HCP__PROFITABILITY_CALCULATE__HAS_UTILISATION_UTILISATION;
	q.utilisation = 0.5;
	q.has_gpu_rate_usd_h_case = HCP__PROFITABILITY_CALCULATE__HAS_GPU_RATE_USD_H_GPU_RATE_USD_H;
	q.gpu_rate_usd_h = 3;
	p = drive_call(&d, &q.base);
	assert_int_equal(p->n_rows, 5);
	assert_float_equal(find_row(p, "ai_inference_realtime")->revenue_usd_h, 1.5, 1e-12);
	q.utilisation = 1.5;
	drive_refused(&d, &q.base, "out_of_range", "utilisation");
	q.utilisation = NAN;
	drive_refused(&d, &q.base, "invalid", "utilisation");
	q.utilisation = 1;
	q.gpu_rate_usd_h = -INFINITY;
	drive_refused(&d, &q.base, "invalid", "gpu_rate_usd_h");
	q.gpu_rate_usd_h = 1;
	q.electricity_usd_mwh = NAN;
	drive_refused(&d, &q.base, "invalid", "electricity_usd_mwh");
	q.electricity_usd_mwh = 1;
	q.has_btc_usd_case = HCP__PROFITABILITY_CALCULATE__HAS_BTC_USD_BTC_USD;
	q.btc_usd = INFINITY;
	drive_refused(&d, &q.base, "invalid", "btc_usd");
	q.btc_usd = 1;
	q.has_difficulty_case = HCP__PROFITABILITY_CALCULATE__HAS_DIFFICULTY_DIFFICULTY;
	q.difficulty = 0;
	drive_refused(&d, &q.base, "out_of_range", "difficulty");
	q.difficulty = 1;
	q.device_class = "Z80";
	drive_refused(&d, &q.base, "invalid", "device_class");
	drive_release(&d);
}

static void policy_is_set_kept_and_decides_at_once(void **state)
{
	struct drive d;
	Hcp__PolicySet s = HCP__POLICY_SET__INIT;
	Hcp__PolicyGet g = HCP__POLICY_GET__INIT;
	drive_init(&d, &optimizer_def, NULL);
	send_market(&d, 55, MARKET_NS);
	send_fleet(&d, 8, 100);
	s.policy = "strike";
	s.has_strike_usd_mwh_case = HCP__POLICY_SET__HAS_STRIKE_USD_MWH_STRIKE_USD_MWH;
	s.strike_usd_mwh = 50;
	Hcp__Policy *p = drive_call(&d, &s.base);
	assert_string_equal(p->policy, "strike");
	Hcp__Decision *dec = latest(&d);
	assert_string_equal(dec->trigger, "operator");
	assert_string_equal(dec->policy, "strike");
	assert_int_equal(target(dec, "hou-1", "S21")->idle, 100);
	s.policy = "gut_feeling";
	drive_refused(&d, &s.base, "invalid", "policy");
	s.policy = "strike";
	s.strike_usd_mwh = -1;
	drive_refused(&d, &s.base, "out_of_range", "strike_usd_mwh");
	s.strike_usd_mwh = 70;
	s.has_hysteresis_case = HCP__POLICY_SET__HAS_HYSTERESIS_HYSTERESIS;
	s.hysteresis = NAN;
	drive_refused(&d, &s.base, "out_of_range", "hysteresis");
	drive_restart(&d);
	p = drive_call(&d, &g.base);
	assert_string_equal(p->policy, "strike");
	assert_float_equal(p->strike_usd_mwh, 50, 0);
	assert_float_equal(p->hysteresis, 0.10, 0);
	int64_t version = p->version, wrong[] = { version + 1 }, right[] = { 1, version };
	s.hysteresis = 0.2;
	s.if_version = wrong;
	s.n_if_version = 1;
	drive_refused(&d, &s.base, "conflict", "if-match");
	s.if_version = right;
	s.n_if_version = 2;
	p = drive_call(&d, &s.base);
	assert_true(p->version > 0 && p->version != version);
	drive_refused(&d, &s.base, "conflict", "if-match");
	s.n_if_version = 0;
	assert_int_equal(target(latest(&d), "hou-1", "S21")->mine, 100);
	drive_replay(&d);
	drive_release(&d);
}

static void contracts_are_served_first(void **state)
{
	struct drive d;
	Hcp__DemandChanged ev = HCP__DEMAND_CHANGED__INIT;
	Hcp__Demand dm = HCP__DEMAND__INIT, *p[] = { &dm };
	struct caps k = { 0 };
	drive_init(&d, &optimizer_def, NULL);
	hcp__capacity_changed__init(&k.ev);
	add_class(&k, "a", "A100", 4, 0, 0, 0);
	add_class(&k, "b", "A100", 4, 0, 0, 0);
	send_market(&d, 2000, MARKET_NS); /* so dear that nothing pays */
	drive_event(&d, SVC_RESOURCES, &k.ev.base);
	assert_int_equal(target(latest(&d), "a", "A100")->idle, 4);
	dm.device_class = "A100";
	dm.realtime = 3;
	dm.batch = 2;
	ev.n_demands = 1;
	ev.demands = p;
	drive_event(&d, SVC_ROUTER, &ev.base);
	Hcp__Decision *dec = latest(&d);
	assert_string_equal(dec->trigger, "demand");
	assert_true(dec->changed);
	assert_int_equal(target(dec, "a", "A100")->serve, 4);
	assert_int_equal(target(dec, "b", "A100")->serve, 1);
	drive_restart(&d);
	dm.realtime = 0;
	dm.batch = 0;
	drive_event(&d, SVC_ROUTER, &ev.base);
	assert_int_equal(target(latest(&d), "b", "A100")->serve, 0);
	drive_release(&d);
}

static void facilities_decide_by_their_own_prices(void **state)
{
	static const struct site sites[] = { { .name = "west", .point = "HB_WEST", .pue = 1.2, .pool_fee = 0.02 },
		{ .name = SITE_OTHER, .point = "HB_HOUSTON", .pue = 1.05, .pool_fee = 0.01 } };
	static const struct optimizer_conf conf = { .site = sites, .n_sites = 2 };
	struct drive d;
	struct caps k = { 0 };
	drive_init(&d, &optimizer_def, &conf);
	send_market(&d, 3000, MARKET_NS);
	Hcp__Tick t = tick("electricity_rt", "HB_WEST", -20, MARKET_NS + 1);
	send_ticks(&d, &t, 1);
	hcp__capacity_changed__init(&k.ev);
	add_class(&k, "east", "S21", 10, 0, 0, 0);
	add_class(&k, "west", "S21", 10, 0, 0, 0);
	drive_event(&d, SVC_RESOURCES, &k.ev.base);
	Hcp__Decision *dec = latest(&d);
	assert_int_equal(target(dec, "east", "S21")->mine, 0);
	assert_int_equal(target(dec, "west", "S21")->mine, 10);
	assert_true(target(dec, "west", "S21")->mine_usd_h > target(dec, "east", "S21")->mine_usd_h);
	drive_release(&d);
}

/* What a decision came to: by the price of the interval, which is known when the interval is over. */
static void a_decision_is_told_what_it_came_to(void **state)
{
	static const struct site site = { .name = "hou-1", .point = "HB_HOUSTON", .pue = 1.1, .pool_fee = 0 };
	static const struct optimizer_conf conf = { .site = &site, .n_sites = 1 };
	struct drive d;
	Hcp__DecisionGet g = HCP__DECISION_GET__INIT;
	char id[ID_TEXT_MAX];
	drive_init(&d, &optimizer_def, &conf);
	send_market(&d, 25, MARKET_NS);
	send_fleet(&d, 0, 100);
	send_fleet(&d, 8, 100);
	snprintf(id, sizeof(id), "%s", latest(&d)->id);
	double before = target(latest(&d), "hou-1", "S21")->mine_usd_h;
	assert_true(latest(&d)->in_force_s == 0 && target(latest(&d), "hou-1", "S21")->was_mine == 100);
	d.now_ns += 900 * NS_PER_S;
	send_power(&d, 75, MARKET_NS + 900 * NS_PER_S);
	g.id = id;
	drive_restart(&d);
	Hcp__Decision *dec = drive_call(&d, &g.base);
	assert_float_equal(dec->in_force_s, 900, 1e-9);
	assert_float_equal(dec->expected_net_usd, dec->net_usd_h / 4, 1e-9);
	/* 50 USD/MWh more than expected for a quarter of an hour; a GPU draws 60 % between idle and serving. */
	const struct device_class *s21 = device_class_find(STR("S21")), *h100 = device_class_find(STR("H100"));
	double gpu_w = h100->power_w[DEVICE_IDLE] + 0.6 * (h100->power_w[DEVICE_SERVE] - h100->power_w[DEVICE_IDLE]);
	double mwh = (100 * s21->power_w[DEVICE_FILL] + 8 * gpu_w) / 1e6 * 1.1;
	assert_float_equal(dec->realised_net_usd, dec->expected_net_usd - 50 * mwh / 4, 1e-6);
	for (size_t i = 0; i < dec->n_options; i++) {
		const Hcp__DecisionOption *o = dec->options[i];
		if (strcmp(o->device_class, "S21") != 0 || strcmp(o->name, "serve") == 0)
			continue;
		double w = s21->power_w[strcmp(o->name, "curtail") ? DEVICE_FILL : DEVICE_IDLE];
		double net = strcmp(o->name, "curtail") ? before : -25 * w * 1.1 / 1e6;
		assert_float_equal(o->realised_usd, 100 * (net - 50 * w * 1.1 / 1e6) / 4, 1e-6);
	}
	drive_replay(&d);
	drive_release(&d);
}

static const Hcp__ClassTarget *driven(struct drive *d, double usd_mwh, int64_t *at_ns)
{
	*at_ns += 900 * NS_PER_S;
	send_power(d, usd_mwh, *at_ns);
	return target(latest(d), "hou-1", "S21");
}

/*
 * Cheap power drives miners high, dear power low, and small moves of the price leave them as they are. Another mode is
 * a changed decision that pays; a restart remembers which one they are in.
 */
static void power_modes_follow_the_price(void **state)
{
	static struct site site = {
		.name = "hou-1", .point = "HB_HOUSTON", .pue = 1, .pool_fee = 0, .limit_w = 1e9, .n_groups = 1
	};
	static const struct optimizer_conf conf = { .site = &site, .n_sites = 1, .policy = "last_price" };
	struct site_group *g = &site.group[0];
	struct drive d;
	*g = (struct site_group){ .name = "a",
		.cls = device_class_find(STR("S21")),
		.count = 100,
		.feeder = -1,
		.mines = true,
		.idle_mode = DEVICE_IDLE,
		.n_modes = 2 };
	for (int p = DEVICE_POWER_LOW; p < DEVICE_POWER_END; p++) {
		struct site_mode *m = &g->mode[p - 1];
		m->power = (enum device_power)p;
		assert_int_equal(device_class_power(g->cls, m->power, &m->watts, &m->ths), 0);
	}
	assert_int_equal(site_validate(&site, NULL), 0);
	const struct site_mode *low = &g->mode[0], *high = &g->mode[1];
	int64_t at_ns = MARKET_NS;
	drive_init(&d, &optimizer_def, &conf);
	send_market(&d, 10, at_ns);
	send_fleet(&d, 0, 100);
	const Hcp__ClassTarget *t = target(latest(&d), "hou-1", "S21");
	assert_string_equal(t->power_mode, "high");
	assert_string_equal(t->was_power_mode, "normal");
	assert_int_equal(t->mine_w, (int32_t)(high->watts + 0.5));
	double mine_usd_h = t->mine_usd_h; /* a reply lives until the next one */
	assert_true(latest(&d)->changed && latest(&d)->pays);
	/* Where one more TH/s costs what it earns: between normal and low, and high and normal. */
	double usd_ths_h = (mine_usd_h + g->cls->wear_usd_h + 10 * high->watts / 1e6) / high->ths;
	double to_low = usd_ths_h * (g->cls->fill_ths - low->ths) / (g->cls->power_w[DEVICE_FILL] - low->watts) * 1e6;
	double to_high = usd_ths_h * (high->ths - g->cls->fill_ths) / (high->watts - g->cls->power_w[DEVICE_FILL]) * 1e6;
	assert_true(to_high < to_low);
	assert_string_equal(driven(&d, 1.01 * to_high, &at_ns)->power_mode, "high"); /* hardly better: it stays */
	assert_string_equal(driven(&d, 1.2 * to_low, &at_ns)->power_mode, "low");
	assert_true(latest(&d)->changed && latest(&d)->pays);
	assert_int_equal(target(latest(&d), "hou-1", "S21")->mine, 100);
	drive_restart(&d);
	t = driven(&d, 1.21 * to_low, &at_ns);
	assert_string_equal(t->power_mode, "low");
	assert_string_equal(t->was_power_mode, "low");
	mine_usd_h = t->mine_usd_h;
	assert_false(latest(&d)->changed);
	assert_float_equal(
		mine_usd_h, usd_ths_h * low->ths - g->cls->wear_usd_h - 1.21 * to_low * low->watts / 1e6, 1e-6);
	/* Dearer than that it stands still, and starts again in the mode of the price of then. */
	assert_int_equal(driven(&d, 3 * to_low, &at_ns)->mine, 0);
	send_fleet(&d, 0, 0);
	t = driven(&d, 10, &at_ns);
	assert_true(t->mine == 100 && strcmp(t->power_mode, "high") == 0);
	drive_replay(&d);
	drive_release(&d);
}

static void bids_follow_the_fleet(void **state)
{
	struct drive d;
	Hcp__BidsGet q = HCP__BIDS_GET__INIT;
	drive_init(&d, &optimizer_def, NULL);
	drive_refused(&d, &q.base, "not_found", "facility");
	send_market(&d, 25, MARKET_NS);
	send_fleet(&d, 8, 100);
	Hcp__Bids *b = drive_call(&d, &q.base);
	assert_string_equal(b->facility, "hou-1");
	assert_int_equal(b->duration_s, 3600);
	const struct device_class *s21 = device_class_find(STR("S21"));
	assert_int_equal(b->n_add, 0);
	const Hcp__BidStep *asleep = NULL;
	for (size_t i = 0; i < b->n_shed; i++)
		if (!strcmp(b->shed[i]->device_class, "S21") && !strcmp(b->shed[i]->from, "mine"))
			asleep = b->shed[i];
	assert_non_null(asleep);
	assert_float_equal(asleep->kw, 100 * (s21->power_w[DEVICE_FILL] - s21->power_w[DEVICE_IDLE]) * 1.05e-3, 1e-6);
	assert_float_equal(asleep->response_ms, (double)s21->switch_ms[DEVICE_IDLE], 1e-9);
	/* The levels hold what the steps hold, and the longest all of it. */
	assert_true(b->n_levels >= 2);
	const Hcp__BidLevel *longest = b->levels[b->n_levels - 1];
	assert_float_equal(
		longest->points[longest->n_points - 1]->kw, b->shed[b->n_shed - 1]->total_kw, 1e-6);
	send_fleet(&d, 8, 0);
	d.now_ns += 300 * NS_PER_S;
	b = drive_call(&d, &q.base);
	assert_int_equal(b->n_add, 1);
	assert_string_equal(b->add[0]->to, "fill");
	q.duration_s = 59;
	drive_refused(&d, &q.base, "out_of_range", "duration_s");
	q.duration_s = 900;
	q.facility = "nowhere";
	drive_refused(&d, &q.base, "not_found", "facility");
	drive_release(&d);
}

/* Whatever the policy, a plan of the day is made with every timer, and later decisions name it. */
static void plans_tell_the_coming_day(void **state)
{
	struct drive d;
	Hcp__PlanGet q = HCP__PLAN_GET__INIT;
	drive_init(&d, &optimizer_def, NULL);
	q.id = "latest";
	drive_refused(&d, &q.base, "not_found", "");
	send_market(&d, 25, MARKET_NS);
	send_fleet(&d, 8, 100);
	drive_pass(&d, 11 * NS_PER_S);
	Hcp__Plan *p = drive_call(&d, &q.base);
	assert_string_equal(p->facility, "hou-1");
	assert_string_equal(p->method, "by_class");
	assert_string_equal(p->problem, "");
	assert_int_equal(p->n_steps, OPTIMIZER_PLAN_STEPS);
	assert_int_equal(p->n_classes, 2);
	assert_true(p->steps[0]->at_ns <= p->market_time_ns && p->steps[1]->at_ns > p->market_time_ns);
	assert_string_equal(p->steps[95]->price_from, "last");
	/* Nothing has changed: it stays in hand, also after a restart. */
	drive_pass(&d, 30 * NS_PER_S);
	drive_restart(&d);
	drive_pass(&d, 30 * NS_PER_S);
	assert_int_equal(drive_scalar(&d, "SELECT count(*) FROM plan"), 1);
	p = drive_call(&d, &q.base);
	/* At 25 USD/MWh everything runs, all day; a device more would earn, a MWh more not: there is no limit. */
	for (size_t t = 0; t < p->n_steps; t++) {
		assert_float_equal(p->steps[t]->usd_mwh, 25, 1e-9);
		assert_float_equal(p->steps[t]->shadow_usd_mwh, 0, 1e-9);
		assert_float_equal(p->steps[t]->load_kw, p->steps[0]->load_kw, 1e-6);
		assert_int_equal(p->classes[1]->mine[t], 100);
		assert_int_equal(p->classes[0]->serve[t], 8);
	}
	assert_true(p->classes[1]->one_more_usd > 0 && p->net_usd > 0);
	assert_float_equal(p->net_usd, p->revenue_usd - p->energy_usd - p->switching_usd, 1e-6);
	drive_release(&d);
}

/* Day-ahead prices are believed beyond the next hour: a dear evening is curtailed, with its start to come. */
static void plans_are_kept_and_listed(void **state)
{
	struct drive d;
	Hcp__PlanGet q = HCP__PLAN_GET__INIT;
	Hcp__PlansList l = HCP__PLANS_LIST__INIT;
	char id[ID_TEXT_MAX];
	drive_init(&d, &optimizer_def, NULL);
	send_market(&d, 25, MARKET_NS);
	send_fleet(&d, 8, 100);
	drive_pass(&d, 11 * NS_PER_S);
	q.id = "latest";
	Hcp__Plan *p = drive_call(&d, &q.base);
	assert_int_equal(str_copy(id, sizeof(id), str_of(p->id)), 0);
	Hcp__Tick da[24];
	int64_t hour_ns = 3600 * NS_PER_S;
	for (int i = 0; i < 24; i++) {
		da[i] = tick("electricity_da", "HB_HOUSTON", i >= 10 && i < 14 ? 900 : 30, MARKET_NS);
		da[i].interval_start_ns = MARKET_NS - MARKET_NS % hour_ns + i * hour_ns;
		da[i].interval_s = 3600;
	}
	send_ticks(&d, da, 24);
	drive_pass(&d, 10 * NS_PER_S);
	p = drive_call(&d, &q.base);
	assert_string_not_equal(p->id, id);
	int mining = 0, idle = 0;
	for (size_t t = 0; t < p->n_steps; t++) {
		mining += p->classes[1]->mine[t] == 100;
		idle += p->classes[1]->mine[t] == 0 && p->steps[t]->usd_mwh == 900;
	}
	assert_string_equal(p->steps[50]->price_from, "day_ahead");
	assert_int_equal(idle, 16);
	assert_int_equal(mining, 80);
	char newest[ID_TEXT_MAX];
	assert_int_equal(str_copy(newest, sizeof(newest), str_of(p->id)), 0);
	/* The list has heads, newest first; the older one can still be had. */
	l.facility = "hou-1";
	l.limit = 1;
	Hcp__Plans *all = drive_call(&d, &l.base);
	assert_int_equal(all->n_plans, 1);
	assert_string_equal(all->plans[0]->id, newest);
	assert_int_equal(all->plans[0]->n_steps, 0);
	char cursor[32];
	assert_int_equal(str_copy(cursor, sizeof(cursor), str_of(all->next_cursor)), 0);
	l.cursor = cursor;
	all = drive_call(&d, &l.base);
	assert_string_equal(all->plans[0]->id, id);
	q.id = id;
	p = drive_call(&d, &q.base);
	assert_int_equal(p->n_steps, OPTIMIZER_PLAN_STEPS);
	q.id = "pl-nothing";
	drive_refused(&d, &q.base, "not_found", "id");
	l.limit = -1;
	drive_refused(&d, &l.base, "out_of_range", "limit");
	/* A decision names the plan in hand, also after a restart. */
	drive_restart(&d);
	d.now_ns += 61 * NS_PER_S;
	send_power(&d, 26, MARKET_NS + 82 * NS_PER_S);
	Hcp__Decision *dec = latest(&d);
	assert_int_equal(dec->n_plan_ids, 1);
	drive_release(&d);
}

static void switches_are_learned_from(void **state)
{
	struct drive d;
	Hcp__SwitchDone s = HCP__SWITCH_DONE__INIT;
	char id[ID_TEXT_MAX];
	drive_init(&d, &optimizer_def, NULL);
	send_market(&d, 25, MARKET_NS);
	send_fleet(&d, 0, 0);
	/* This decision moved two classes: which of them a switch was cannot be told. */
	snprintf(id, sizeof(id), "%s", latest(&d)->id);
	s.decision_id = id;
	s.to = HCP__MODE__FILL;
	s.ok = true;
	s.total_ns = 5 * NS_PER_S;
	drive_event(&d, SVC_RESOURCES, &s.base);
	assert_float_equal(latest(&d)->realised_switching_ms, 5000, 1e-9);
	/* Two classes moved: a second of starting 100 miners costs what they could earn and draw, GPUs serve at once. */
	assert_true(latest(&d)->realised_switching_usd > 0);
	assert_float_equal(latest(&d)->predicted_switching_ms, 60000, 1e-9);
	assert_int_equal(drive_scalar(&d, "SELECT count(*) FROM learned"), 0);
	send_fleet(&d, 8, 0);
	d.now_ns += 300 * NS_PER_S;
	send_power(&d, 24, MARKET_NS + 900 * NS_PER_S);
	assert_true(latest(&d)->changed);
	snprintf(id, sizeof(id), "%s", latest(&d)->id);
	s.total_ns = 40000 * NS_PER_MS;
	drive_event(&d, SVC_RESOURCES, &s.base);
	s.total_ns = 30000 * NS_PER_MS;
	drive_event(&d, SVC_RESOURCES, &s.base);
	/* The same event again, as a bus may send it: counted once. */
	drive_event_seq(&d, SVC_RESOURCES, d.seq[SVC_RESOURCES], &s.base);
	drive_run(&d);
	assert_int_equal(drive_scalar(&d, "SELECT n FROM learned WHERE class='S21'"), 2);
	assert_int_equal(drive_scalar(&d, "SELECT ms FROM learned WHERE class='S21'"), 38000);
	assert_int_equal(drive_scalar(&d, "SELECT count(*) FROM learned"), 1);
	for (int i = 0; i < 2; i++) {
		assert_float_equal(latest(&d)->realised_switching_ms, 40000, 1e-9);
		drive_restart(&d);
	}
	s.decision_id = "dec-unknown";
	drive_event(&d, SVC_RESOURCES, &s.base);
	assert_int_equal(drive_scalar(&d, "SELECT sum(n) FROM learned"), 2);
	drive_replay(&d);
	drive_release(&d);
}

static void the_ledger_is_listed_in_pages(void **state)
{
	struct drive d;
	Hcp__DecisionsList l = HCP__DECISIONS_LIST__INIT;
	Hcp__DecisionGet g = HCP__DECISION_GET__INIT;
	char seen[64], cursor[32] = "";
	drive_init(&d, &optimizer_def, NULL);
	Hcp__Decisions *r = drive_call(&d, &l.base);
	assert_int_equal(r->n_decisions, 0);
	send_market(&d, 25, MARKET_NS);
	send_fleet(&d, 0, 0);
	send_fleet(&d, 8, 100);
	for (int i = 1; i <= 24; i++) {
		d.now_ns += 200 * NS_PER_S;
		send_power(&d, i % 2 ? 8000 : 20, MARKET_NS + i * 900 * NS_PER_S);
		send_fleet(&d, 8, i % 2 ? 0 : 100);
	}
	int total = 0, pages = 0;
	int64_t last_at = INT64_MAX;
	do {
		l.limit = 10;
		l.cursor = cursor;
		r = drive_call(&d, &l.base);
		for (size_t i = 0; i < r->n_decisions; i++) {
			assert_true(r->decisions[i]->decided_at_ns < last_at);
			last_at = r->decisions[i]->decided_at_ns;
		}
		total += (int)r->n_decisions;
		snprintf(seen, sizeof(seen), "%s", r->decisions[r->n_decisions - 1]->id);
		snprintf(cursor, sizeof(cursor), "%s", r->next_cursor);
	} while (cursor[0] && ++pages < 20);
	assert_int_equal(total, 25);
	g.id = seen;
	assert_string_equal(((Hcp__Decision *)drive_call(&d, &g.base))->id, seen);
	l.cursor = "";
	l.limit = 0;
	l.changed_only = true;
	assert_int_equal(((Hcp__Decisions *)drive_call(&d, &l.base))->n_decisions, 25);
	l.limit = 501;
	drive_refused(&d, &l.base, "out_of_range", "limit");
	l.limit = 1;
	l.cursor = "x";
	drive_refused(&d, &l.base, "invalid", "cursor");
	g.id = "dec-none";
	drive_refused(&d, &g.base, "not_found", "id");
	drive_replay(&d);
	drive_release(&d);
}

/* A decision that did not pay its switches is not carried out; when it pays later, it is told again. */
static void what_did_not_pay_is_told_again_when_it_does(void **state)
{
	struct drive d;
	Hcp__PolicySet s = HCP__POLICY_SET__INIT;
	drive_init(&d, &optimizer_def, NULL);
	send_market(&d, 25, MARKET_NS);
	send_fleet(&d, 0, 0);
	send_fleet(&d, 8, 100);
	s.policy = "strike";
	drive_call(&d, &s.base);
	d.now_ns += 300 * NS_PER_S;
	send_power(&d, 61, MARKET_NS + 900 * NS_PER_S);
	Hcp__Decision *dec = latest(&d);
	assert_true(dec->changed && dec->gain_usd_h < 0);
	send_fleet(&d, 8, 100); /* nothing happened */
	d.now_ns += 5 * NS_PER_S;
	send_power(&d, 8000, MARKET_NS + 1800 * NS_PER_S);
	dec = latest(&d);
	assert_true(dec->changed && dec->gain_usd_h > 0);
	assert_int_equal(target(dec, "hou-1", "S21")->idle, 100);
	drive_release(&d);
}

/* Any one allocation may fail: the message is refused as a whole, what was decided before stands, and work goes on. */
static void memory_may_run_out_anywhere(void **state)
{
	struct drive d;
	drive_init(&d, &optimizer_def, NULL);
	send_market(&d, 25, MARKET_NS);
	send_fleet(&d, 0, 0);
	send_fleet(&d, 8, 100);
	int64_t decisions = drive_scalar(&d, "SELECT count(*) FROM decision");
	uint64_t n = 1;
	for (bool failed = true; failed && n < 1000; n++) {
		struct msg *m = msg_new(MSG_TICKS);
		Hcp__Ticks *t = (Hcp__Ticks *)m->body;
		Hcp__Tick *one = arena_alloc(&m->arena, sizeof(*one)), **p = arena_alloc(&m->arena, sizeof(Hcp__Tick *));
		*one = tick("electricity_rt", "HB_HOUSTON", n % 2 ? 8000 : 25, MARKET_NS + (int64_t)n * 900 * NS_PER_S);
		*p = one;
		t->n_ticks = 1;
		t->ticks = p;
		m->reply_fn = drive_keep_reply;
		m->reply_arg = &d;
		svc_post(d.svc, m);
		failed = drive_run_short_of_memory(&d, n);
		assert_true(drive_scalar(&d, "SELECT count(*) FROM decision") >= decisions);
		assert_int_equal(drive_scalar(&d, "SELECT max(n)-count(*) FROM decision"), 0);
	}
	assert_true(n > 5 && n < 1000);
	assert_int_equal(drive_scalar(&d, "SELECT count(*) FROM decision"), drive_published(&d, MSG_DECISION_MADE, NULL));
	send_power(&d, 30, MARKET_NS + 2000 * 900 * NS_PER_S);
	assert_float_equal(latest(&d)->electricity_usd_mwh, 30, 1e-9);
	drive_release(&d);
}

/* With commits that fail, ledger and events stay one and the same. */
static int flaky(void *arg)
{
	int *n = arg;
	return ++*n % 4 == 0 ? HCP_EIO : 0;
}

static void failed_commits_leave_ledger_and_events_alike(void **state)
{
	struct drive d;
	int commits = 0;
	drive_init(&d, &optimizer_def, NULL);
	send_market(&d, 25, MARKET_NS);
	send_fleet(&d, 8, 100);
	svc_close(d.svc);
	d.before_commit = flaky;
	d.commit_arg = &commits;
	drive_open(&d);
	int ok = 0, unavailable = 0;
	for (int i = 1; i <= 40; i++) {
		Hcp__Ticks m = HCP__TICKS__INIT;
		Hcp__Tick t = tick("electricity_rt", "HB_HOUSTON", i % 2 ? 8000 : 25, MARKET_NS + i * 900 * NS_PER_S), *p = &t;
		m.n_ticks = 1;
		m.ticks = &p;
		d.now_ns += 300 * NS_PER_S;
		drive_call_as(&d, NULL, &m.base);
		ok += d.reply->type == MSG_TICKS_RESULT;
		unavailable += d.reply->type == MSG_PROBLEM;
	}
	assert_int_equal(ok + unavailable, 40);
	assert_true(ok > 10 && unavailable > 5);
	int64_t decisions = drive_scalar(&d, "SELECT count(*) FROM decision");
	assert_int_equal(drive_published(&d, MSG_DECISION_MADE, NULL), decisions);
	assert_true(decisions > 10);
	drive_replay(&d);
	drive_release(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decides_when_fleet_and_prices_are_known),
		cmocka_unit_test(unchanged_outcome_is_put_down_once_a_minute),
		cmocka_unit_test(bad_ticks_are_named_and_good_ones_taken),
		cmocka_unit_test(prices_age_in_market_time_and_fall_back),
		cmocka_unit_test(prices_of_capacity_are_kept_by_the_hour),
		cmocka_unit_test(sources_are_shown_and_explain_a_fallback),
		cmocka_unit_test(interval_prices_stay_fresh_until_the_next_is_due),
		cmocka_unit_test(history_keeps_the_newest_points),
		cmocka_unit_test(profitability_takes_inputs_and_refuses_nonsense),
		cmocka_unit_test(policy_is_set_kept_and_decides_at_once),
		cmocka_unit_test(contracts_are_served_first),
		cmocka_unit_test(facilities_decide_by_their_own_prices),
		cmocka_unit_test(a_decision_is_told_what_it_came_to),
		cmocka_unit_test(power_modes_follow_the_price),
		cmocka_unit_test(bids_follow_the_fleet),
		cmocka_unit_test(plans_tell_the_coming_day),
		cmocka_unit_test(plans_are_kept_and_listed),
		cmocka_unit_test(switches_are_learned_from),
		cmocka_unit_test(the_ledger_is_listed_in_pages),
		cmocka_unit_test(what_did_not_pay_is_told_again_when_it_does),
		cmocka_unit_test(memory_may_run_out_anywhere),
		cmocka_unit_test(failed_commits_leave_ledger_and_events_alike),
	};
	return cmocka_run_group_tests_name("optimizer", tests, NULL, NULL);
}
