/* The live fleet as a portfolio, and decisions that count what prices may do. */
#include <math.h>

#include "base/rng.h"
#include "drive_priv.h"
#include "services/optimizer/optimizer.h"

enum { DAYS = 40, STEPS = 96 };
#define STEP_NS (900 * NS_PER_S)
#define DAY_NS (96 * STEP_NS)
static const int64_t t0 = 19000 * DAY_NS;

static const struct site sites[] = {
	{ .name = "calm", .point = "HB_CALM", .limit_w = 1e9, .pue = 1.05, .pool_fee = 0.01 },
	{ .name = "wild", .point = "HB_WILD", .limit_w = 1e9, .pue = 1.05, .pool_fee = 0.01 },
};

static void open_fleet(struct drive *d, double aversion)
{
	static struct optimizer_conf conf;
	static const char *const facility[] = { "calm", "calm", "wild" }, *const cls[] = { "S21", "H100", "S21" };
	Hcp__ClassCapacity c[3], *p[3];
	Hcp__CapacityChanged ev = HCP__CAPACITY_CHANGED__INIT;
	conf = (struct optimizer_conf){ .site = sites, .n_sites = 2, .risk_aversion = aversion };
	drive_init(d, &optimizer_def, &conf);
	for (int i = 0; i < 3; i++) {
		hcp__class_capacity__init(&c[i]);
		c[i].facility = facility[i];
		c[i].device_class = cls[i];
		c[i].total = c[i].healthy = i == 1 ? 8 : 1000;
		c[i].filling = i == 1 ? 0 : 1000;
		p[i] = &c[i];
	}
	ev.n_classes = 3;
	ev.classes = p;
	drive_event(d, SVC_RESOURCES, &ev.base);
}

static void tick(Hcp__Ticks *m, Hcp__Tick *t, const char *symbol, const char *point, double value, int64_t start_ns,
	int64_t step_ns)
{
	hcp__tick__init(t);
	t->symbol = symbol;
	t->location = point;
	t->value = value;
	t->observed_at_ns = start_ns + step_ns;
	t->interval_start_ns = step_ns ? start_ns : 0;
	t->interval_s = (int32_t)(step_ns / NS_PER_S);
	t->source = "test";
	m->ticks[m->n_ticks++] = t;
}

/* Prices of so many days: 30 USD/MWh at one point; at the other 20, and for two hours of every third day 300. */
static void tell(struct drive *d, int from, int days)
{
	for (int i = from * STEPS; i < (from + days) * STEPS; i++) {
		Hcp__Tick t[4], *p[4];
		Hcp__Ticks m = HCP__TICKS__INIT;
		int64_t at_ns = t0 + i * STEP_NS;
		m.ticks = p;
		tick(&m, &t[0], "electricity_rt", "HB_CALM", 30, at_ns, STEP_NS);
		tick(&m, &t[1], "electricity_rt", "HB_WILD", i / STEPS % 3 == 0 && i % STEPS < 8 ? 300 : 20, at_ns, STEP_NS);
		if (i % 4 == 3)
			tick(&m, &t[2], "btc_usd", "", 60000, at_ns - 3 * STEP_NS, 4 * STEP_NS);
		if (i % STEPS == STEPS - 1)
			tick(&m, &t[3], "difficulty", "", 9e13, at_ns - (STEPS - 1) * STEP_NS, DAY_NS);
		d->now_ns += NS_PER_S / 10;
		Hcp__TicksResult *r = drive_call(d, &m.base);
		assert_int_equal(r->accepted, m.n_ticks);
	}
}

static Hcp__Portfolio *portfolio(struct drive *d, double aversion)
{
	Hcp__PortfolioGet g = HCP__PORTFOLIO_GET__INIT;
	g.aversion = aversion;
	return drive_call(d, &g.base);
}

static Hcp__Decision *latest(struct drive *d)
{
	Hcp__DecisionGet g = HCP__DECISION_GET__INIT;
	g.id = "latest";
	return drive_call(d, &g.base);
}

static void a_month_of_the_fleet(void **state)
{
	struct drive d;
	open_fleet(&d, 0);
	tell(&d, 0, 20);
	Hcp__Portfolio *p = portfolio(&d, 0);
	assert_true(p->n_facilities == 0 && p->days_known >= 18 && p->days_known <= 20 && strstr(p->reason, "it takes 30"));
	tell(&d, 20, DAYS - 20);
	for (int again = 0; again < 2; again++) {
		p = portfolio(&d, 0.5);
		assert_int_equal(p->n_facilities, 3);
		const Hcp__PortfolioFacility *calm = p->facilities[0], *wild = p->facilities[1], *all = p->facilities[2];
		assert_string_equal(calm->facility, "calm");
		assert_string_equal(all->facility, "");
		/* 30 days at one price: 200 TH/s and 3,500 W a miner, GPUs that idle at 75 W or mine for nothing. */
		double btc = 200e12 * 86400 / (9e13 * 4294967296.0) * (6.25 + 0) * 0.99;
		assert_true(
			calm->mean_usd > 0 && fabs(calm->mean_usd / (30 * 1000 * (btc * 60000 - 24 * (0.0036750 * 30))) - 1) < 0.1);
		assert_true(calm->deviation_usd < 1e-6 * calm->mean_usd &&
					fabs(calm->cvar_usd + calm->mean_usd) < 1e-6 * calm->mean_usd);
		/* Spikes differ from month to month; no month of the sum is worse than the worst of each. */
		assert_true(wild->deviation_usd > 0 && wild->cvar_usd > -wild->mean_usd && wild->worst_usd <= -wild->var_usd);
		assert_true(fabs(all->mean_usd - calm->mean_usd - wild->mean_usd) < 1e-6 * all->mean_usd);
		assert_true(all->cvar_usd <= calm->cvar_usd + wild->cvar_usd + 1e-6 * all->mean_usd);
		/* What serves and nobody wants on the spot is bound; a month is what is known, at its discount. */
		assert_int_equal(p->n_choices, 2);
		assert_true(p->choices[0]->days == 0 && p->choices[0]->devices == 0);
		assert_true(p->choices[1]->days == 30 && fabs(p->choices[1]->devices - 8) < 1e-6 && p->choices[1]->share == 1);
		assert_true(p->aversion == 0.5 && p->term_days == 30 && p->mean_usd > 0);
		if (!again)
			drive_restart(&d);
	}
	Hcp__PortfolioGet g = HCP__PORTFOLIO_GET__INIT;
	g.aversion = 2;
	drive_refused(&d, &g.base, "out_of_range", "aversion");
	drive_release(&d);
}

/* At a price that mining earns, but not what it may rise to by the time it is paid. */
static void aversion_stops_what_may_lose(void **state)
{
	static const double aversion[] = { 0, 1 };
	double net[2];
	for (int i = 0; i < 2; i++) {
		struct drive d;
		open_fleet(&d, aversion[i]);
		tell(&d, 0, 9);
		Hcp__Decision *x = latest(&d);
		assert_true(x->risk_aversion == aversion[i]);
		assert_int_equal(x->n_forecasts, 2);
		/* The calm point never moves. The wild one rose by 280 USD twice in all its moves until then. */
		double tail = 0.05 * (double)((x->market_time_ns - t0) / STEP_NS - 1);
		assert_true(x->forecasts[0]->risk_usd_mwh == 0);
		assert_true(
			i ? fabs(x->forecasts[1]->risk_usd_mwh - 2 * 280 / tail) < 0.01 : x->forecasts[1]->risk_usd_mwh == 0);
		net[i] = x->net_usd_h;
		drive_release(&d);
	}
	assert_true(net[0] == net[1]); /* the same is done, and what comes in is told without what may be */
	/* At a BTC price at which power may cost 27 USD/MWh: 20 pay, 33 do not. */
	const struct device_class *s21 = device_class_find(STR("S21"));
	double btc_day = s21->fill_ths * 1e12 * 86400 / (9e13 * 4294967296.0) * 6.25 * 0.99;
	double btc_usd = 24 * (27 * s21->power_w[DEVICE_FILL] * 1.05 / 1e6 + s21->wear_usd_h) / btc_day;
	for (int i = 0; i < 2; i++) {
		struct drive d;
		open_fleet(&d, aversion[i]);
		tell(&d, 0, 9);
		Hcp__Tick t[2], *p[2];
		Hcp__Ticks m = HCP__TICKS__INIT;
		m.ticks = p;
		tick(&m, &t[0], "btc_usd", "", btc_usd, t0 + 9 * DAY_NS, 0);
		tick(&m, &t[1], "electricity_rt", "HB_WILD", 20, t0 + 9 * DAY_NS, STEP_NS);
		for (int k = 0; k < 4; k++) {
			t[0].observed_at_ns = t0 + 9 * DAY_NS + k * NS_PER_S;
			drive_call(&d, &m.base);
		}
		Hcp__Decision *x = latest(&d);
		const Hcp__ClassTarget *wild = x->targets[x->n_targets - 1];
		assert_string_equal(wild->facility, "wild");
		assert_true(wild->mine_usd_h > wild->idle_usd_h);
		assert_int_equal(wild->mine, i ? 0 : 1000);
		drive_release(&d);
	}
}

/* 20 USD is below the strike of 30; with the 13 that it may rise by it is not. The calm point's 30 is, either way. */
static void a_strike_heeds_it_too(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct drive d;
		open_fleet(&d, i);
		Hcp__PolicySet s = HCP__POLICY_SET__INIT;
		s.policy = "strike";
		s.has_strike_usd_mwh_case = HCP__POLICY_SET__HAS_STRIKE_USD_MWH_STRIKE_USD_MWH;
		s.strike_usd_mwh = 30;
		drive_call(&d, &s.base);
		tell(&d, 0, 9);
		Hcp__Decision *x = latest(&d);
		assert_string_equal(x->policy, "strike");
		assert_true(i ? x->forecasts[1]->risk_usd_mwh > 10.01 : x->forecasts[1]->risk_usd_mwh == 0);
		int seen = 0;
		for (size_t k = 0; k < x->n_targets; k++) {
			const Hcp__ClassTarget *t = x->targets[k];
			bool wild = !strcmp(t->facility, "wild");
			seen += t->mine + t->idle >= 1000;
			if (t->mine + t->idle >= 1000)
				assert_int_equal(t->mine, wild && i ? 0 : 1000);
		}
		assert_int_equal(seen, 2);
		drive_release(&d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_month_of_the_fleet),
		cmocka_unit_test(aversion_stops_what_may_lose),
		cmocka_unit_test(a_strike_heeds_it_too),
	};
	return cmocka_run_group_tests_name("optimizer_portfolio", tests, NULL, NULL);
}
