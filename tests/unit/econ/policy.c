#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/money.h"
#include "base/num.h"
#include "base/rng.h"
#include "cases.h"
#include "econ/policy.h"
#include "econ/profit.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct policy_input one_class(uint32_t mine, uint32_t serve, uint32_t idle)
{
	struct policy_input in = { .now_ns = 1, .horizon_ns = 3600 * NS_PER_S, .electricity_usd_mwh = 40, .n = 1 };
	in.c[0] = (struct policy_class){ .cls = device_class_find(STR("H100")), .count = mine + serve + idle,
		.now = { mine, serve, idle }, .can = { true, true, true }, .want_serve = mine + serve + idle };
	return in;
}

static struct policy_output decide(const char *name, const struct policy_input *in)
{
	struct policy p;
	struct policy_output out;
	assert_int_equal(policy_init(&p, policy_find(str_of(name)), NULL, NULL), 0);
	assert_int_equal(policy_decide(&p, in, &out, NULL), 0);
	policy_release(&p);
	return out;
}

static void nets(struct policy_input *in, double mine, double serve, double idle)
{
	in->c[0].net_usd_h[POLICY_MINE] = mine;
	in->c[0].net_usd_h[POLICY_SERVE] = serve;
	in->c[0].net_usd_h[POLICY_IDLE] = idle;
}

static void threshold_needs_margin_and_cost(void **state)
{
	struct policy_input in = one_class(10, 0, 0);
	nets(&in, 1.00, 1.09, -0.1);
	struct policy_output o = decide("threshold", &in);
	assert_int_equal(o.c[0].target[POLICY_MINE], 10);
	assert_int_equal(o.c[0].reason, POLICY_R_WITHIN_MARGIN);
	assert_int_equal(o.explain.c[0].option[POLICY_SERVE].reason, POLICY_R_WITHIN_MARGIN);
	assert_int_equal(o.explain.c[0].option[POLICY_IDLE].reason, POLICY_R_WORSE);
	nets(&in, 1.00, 1.11, -0.1);
	o = decide("threshold", &in);
	assert_int_equal(o.c[0].target[POLICY_SERVE], 10);
	assert_int_equal(o.c[0].reason, POLICY_R_BEST);
	assert_int_equal(o.explain.switched, 10);
	in.c[0].switch_cost_usd[POLICY_SERVE] = 0.02;
	o = decide("threshold", &in);
	assert_int_equal(o.c[0].target[POLICY_MINE], 10);
	assert_int_equal(o.c[0].reason, POLICY_R_SWITCH_COST);
	/* Over a longer horizon the same cost pays. */
	in.horizon_ns *= 4;
	o = decide("threshold", &in);
	assert_int_equal(o.c[0].target[POLICY_SERVE], 10);
	assert_true(fabs(o.explain.switch_usd - 0.2) < 1e-12);
	/* Losing a lot against losing a little: 1.1 times a negative number would point the wrong way. */
	in.horizon_ns = 3600 * NS_PER_S;
	nets(&in, -10, -20, -9.5);
	assert_int_equal(decide("threshold", &in).c[0].target[POLICY_MINE], 10);
	nets(&in, -10, -20, -8.9);
	assert_int_equal(decide("threshold", &in).c[0].target[POLICY_IDLE], 10);
}

static void contracts_and_demand_bound_it(void **state)
{
	struct policy_input in = one_class(6, 2, 2);
	nets(&in, 5, 0.5, 0);
	in.c[0].must_serve = 4;
	in.c[0].want_serve = 3;
	struct policy_output o = decide("threshold", &in);
	/* The two that serve stay, the two that idle earn least and join, the others mine. */
	assert_int_equal(o.c[0].target[POLICY_SERVE], 4);
	assert_int_equal(o.c[0].target[POLICY_MINE], 6);
	nets(&in, 0.5, 5, 0);
	o = decide("threshold", &in);
	assert_int_equal(o.c[0].target[POLICY_SERVE], 7);
	assert_int_equal(o.c[0].target[POLICY_MINE], 3);
	in.c[0].must_serve = 40;
	o = decide("threshold", &in);
	assert_int_equal(o.c[0].target[POLICY_SERVE], 10);
	assert_int_equal(o.c[0].reason, POLICY_R_SHORT);
	in.c[0].must_serve = 10;
	assert_int_equal(decide("threshold", &in).c[0].reason, POLICY_R_CONTRACT);
	/* Serving without demand ends, whatever the margin says. */
	in = one_class(0, 10, 0);
	in.c[0].want_serve = 0;
	nets(&in, 0.1, 0.1, 0);
	o = decide("threshold", &in);
	assert_int_equal(o.c[0].target[POLICY_MINE], 10);
	assert_int_equal(o.c[0].reason, POLICY_R_NO_DEMAND);
	/* What the class cannot do is never chosen. */
	in.c[0].can[POLICY_MINE] = false;
	assert_int_equal(decide("threshold", &in).c[0].target[POLICY_IDLE], 10);
	assert_int_equal(decide("always_mine", &in).c[0].target[POLICY_IDLE], 10);
}

static void fixed_policies_do_what_they_say(void **state)
{
	struct policy_input in = one_class(0, 4, 6);
	in.c[0].must_serve = 2;
	in.c[0].want_serve = 3;
	nets(&in, -1, -1, 0);
	struct policy_output o = decide("always_mine", &in);
	assert_int_equal(o.c[0].target[POLICY_MINE], 8);
	assert_int_equal(o.c[0].target[POLICY_SERVE], 2);
	o = decide("always_serve", &in);
	assert_int_equal(o.c[0].target[POLICY_SERVE], 5);
	assert_int_equal(o.c[0].target[POLICY_IDLE], 5);
	in.electricity_usd_mwh = 60;
	o = decide("strike", &in);
	assert_int_equal(o.c[0].target[POLICY_MINE], 5);
	assert_int_equal(o.c[0].reason, POLICY_R_BELOW_STRIKE);
	in.electricity_usd_mwh = 60.01;
	o = decide("strike", &in);
	assert_int_equal(o.c[0].target[POLICY_IDLE], 5);
	assert_int_equal(o.c[0].target[POLICY_SERVE], 5);
	assert_int_equal(o.c[0].reason, POLICY_R_STRIKE);
	assert_string_equal(o.explain.policy, "strike");
	in.electricity_usd_mwh = 50;
	in.risk_usd_mwh = 10.01;
	assert_int_equal(decide("strike", &in).c[0].reason, POLICY_R_STRIKE);
	assert_null(policy_find(STR("oracle")));
}

static void bad_input_is_refused(void **state)
{
	struct policy p;
	struct policy_output o = { .n = 77 };
	struct err err;
	assert_int_equal(policy_init(&p, policy_find(STR("threshold")),
						 &(struct policy_conf){ .strike_usd_mwh = 60, .hysteresis = NAN }, &err),
		HCP_ERANGE);
	assert_int_equal(policy_init(&p, policy_find(STR("threshold")), NULL, NULL), 0);
	struct policy_input in = one_class(1, 0, 0);
	nets(&in, INFINITY, 0, 0);
	assert_int_equal(policy_decide(&p, &in, &o, &err), HCP_EINVAL);
	assert_string_equal(err.field, "H100.net_usd_h");
	in = one_class(1, 0, 0);
	in.c[0].count = 2;
	assert_int_equal(policy_decide(&p, &in, &o, &err), HCP_EINVAL);
	in = one_class(1, 0, 0);
	in.horizon_ns = 0;
	assert_int_equal(policy_decide(&p, &in, &o, &err), HCP_ERANGE);
	in.n = 0;
	assert_int_equal(o.n, 77);
	assert_int_equal(p.decisions, 0);
}

static void state_survives_save_and_nothing_else_does(void **state)
{
	struct policy p, back;
	struct policy_output o;
	struct buf b;
	struct policy_input in = one_class(1, 0, 0);
	assert_int_equal(policy_init(&p, policy_find(STR("strike")),
						 &(struct policy_conf){ .strike_usd_mwh = 75, .hysteresis = 0.2 }, NULL),
		0);
	assert_int_equal(policy_decide(&p, &in, &o, NULL), 0);
	buf_init(&b, 0);
	assert_int_equal(policy_save(&p, &b, NULL), 0);
	assert_int_equal(policy_init(&back, policy_find(STR("strike")), NULL, NULL), 0);
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(policy_load(&back, (struct str){ b.data, n }, NULL), HCP_ECORRUPT);
	for (size_t i = 0; i < b.n; i++) {
		b.data[i] ^= 1;
		assert_true(policy_load(&back, buf_str(&b), NULL) < 0);
		b.data[i] ^= 1;
	}
	assert_true(back.conf.strike_usd_mwh == 60);
	assert_int_equal(policy_load(&back, buf_str(&b), NULL), 0);
	assert_true(back.conf.strike_usd_mwh == 75 && back.conf.hysteresis == 0.2);
	assert_int_equal(back.decisions, 1);
	struct policy other;
	assert_int_equal(policy_init(&other, policy_find(STR("threshold")), NULL, NULL), 0);
	assert_int_equal(policy_load(&other, buf_str(&b), NULL), HCP_EINVAL);
	buf_release(&b);
}

/* Whatever the input: devices add up, contracts hold, and without costs no single device could be used better. */
static void threshold_is_never_beaten_when_switching_is_free(void **state)
{
	struct rng rng;
	rng_init(&rng, 9);
	struct policy p;
	assert_int_equal(
		policy_init(&p, policy_find(STR("threshold")), &(struct policy_conf){ .strike_usd_mwh = 60 }, NULL), 0);
	for (int k = 0; k < 5000; k++) {
		struct policy_input in = one_class((uint32_t)rng_below(&rng, 9), (uint32_t)rng_below(&rng, 9),
			(uint32_t)rng_below(&rng, 9));
		struct policy_class *c = &in.c[0];
		c->must_serve = (uint32_t)rng_below(&rng, 12);
		c->want_serve = (uint32_t)rng_below(&rng, 12);
		nets(&in, rng_normal(&rng), rng_normal(&rng), rng_normal(&rng));
		struct policy_output o;
		assert_int_equal(policy_decide(&p, &in, &o, NULL), 0);
		uint32_t must = c->must_serve < c->count ? c->must_serve : c->count;
		double best = -1e9;
		for (uint32_t s = must; s <= c->count && s <= must + c->want_serve; s++) {
			double rest = fmax(c->net_usd_h[POLICY_MINE], c->net_usd_h[POLICY_IDLE]);
			best = fmax(best, s * c->net_usd_h[POLICY_SERVE] + (c->count - s) * rest);
		}
		assert_true(o.c[0].target[POLICY_SERVE] >= must);
		assert_true(fabs(o.explain.net_usd_h - best) < 1e-9);
	}
}

/* Replays. */

struct day {
	char date[11];
	double difficulty, fees_btc, price_usd;
};

static FILE *open_data(const char *name)
{
	char path[1024];
	const char *dir = getenv("HCP_DATA");
	snprintf(path, sizeof(path), "%s/%s", dir ? dir : HCP_DATA_DEFAULT, name);
	FILE *f = fopen(path, "r");
	if (!f)
		print_message("skipped: no %s\n", path);
	return f;
}

static double number(struct str s)
{
	double v;
	assert_int_equal(num_parse_double(str_trim(s), &v), 0);
	return v;
}

static size_t read_days(struct day *day, size_t max)
{
	FILE *f = open_data("btc_network_daily.csv");
	char line[512];
	size_t n = 0;
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f) && n < max) {
		struct str rest = str_of(line), c[6];
		for (int i = 0; i < 6; i++)
			c[i] = str_split(&rest, ',');
		if (c[0].n != 10 || c[0].p[4] != '-')
			continue;
		assert_int_equal(str_copy(day[n].date, sizeof(day[n].date), c[0]), 0);
		day[n].difficulty = number(c[1]);
		day[n].fees_btc = number(c[3]) / number(c[4]);
		day[n++].price_usd = number(c[5]);
	}
	fclose(f);
	return n;
}

struct fleet {
	struct policy policy;
	struct policy_input in;
	int mined[2], switches[2], intervals;
	double revenue_usd, net_usd;
};

static void step(struct fleet *f, const struct day *d, double price_usd_mwh)
{
	double revenue[2];
	struct profit_market m = { d->price_usd, d->difficulty, 6.25, d->fees_btc, 0.01, price_usd_mwh, 1.05 };
	for (int i = 0; i < 2; i++) {
		struct policy_class *c = &f->in.c[i];
		struct profit_row mine, idle;
		assert_int_equal(profit_calc(c->cls, WORKLOAD_BITCOIN_MINING, &m, NULL, &mine, NULL), 0);
		assert_int_equal(profit_idle(c->cls, &m, &idle, NULL), 0);
		c->net_usd_h[POLICY_MINE] = mine.net_usd_h;
		c->net_usd_h[POLICY_IDLE] = idle.net_usd_h;
		revenue[i] = mine.revenue_usd_h;
	}
	f->in.electricity_usd_mwh = price_usd_mwh;
	struct policy_output out;
	assert_int_equal(policy_decide(&f->policy, &f->in, &out, NULL), 0);
	for (int i = 0; i < 2; i++) {
		struct policy_class *c = &f->in.c[i];
		assert_true(out.c[i].target[POLICY_MINE] == 0 || out.c[i].target[POLICY_MINE] == c->count);
		f->switches[i] += out.c[i].target[POLICY_MINE] != c->now[POLICY_MINE];
		memcpy(c->now, out.c[i].target, sizeof(c->now));
		f->mined[i] += c->now[POLICY_MINE] > 0;
		f->revenue_usd += revenue[i] * c->now[POLICY_MINE] / 4;
	}
	f->net_usd += out.explain.net_usd_h / 4;
	f->intervals++;
}

static void replay(const struct replay_case *rc, const struct day *day, size_t n_days)
{
	char name[64], line[512];
	struct fleet f = { .in = { .now_ns = 1, .horizon_ns = 900 * NS_PER_S, .n = 2 } };
	static const char *const cls[] = { "S21", "S19XP" };
	static const uint32_t count[] = { 10000, 5000 };
	for (int i = 0; i < 2; i++)
		f.in.c[i] = (struct policy_class){ .cls = device_class_find(str_of(cls[i])), .count = count[i],
			.now = { count[i], 0, 0 }, .can = { true, false, true } };
	assert_int_equal(policy_init(&f.policy, policy_find(STR("threshold")),
						 &(struct policy_conf){ .strike_usd_mwh = 60, .hysteresis = rc->hysteresis }, NULL),
		0);
	snprintf(name, sizeof(name), "ercot_rt_spp_15min_%s.csv", rc->year);
	FILE *in = open_data(name);
	if (!in)
		skip();
	size_t at = 0;
	while (fgets(line, sizeof(line), in)) {
		struct str rest = str_of(line), c[5];
		for (int i = 0; i < 5; i++)
			c[i] = str_split(&rest, ',');
		if (c[0].n < 10 || strncmp(line, rc->first, 10) < 0 || strncmp(line, rc->last, 10) >= 0 || c[4].n == 0)
			continue;
		while (at < n_days && strncmp(day[at].date, line, 10) != 0)
			at++;
		assert_true(at < n_days);
		step(&f, &day[at], number(c[4]));
	}
	fclose(in);
	assert_int_equal(f.intervals, rc->intervals);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(f.mined[i], rc->mined[i]);
		assert_int_equal(f.switches[i], rc->switches[i]);
		/* Both months had hours above break-even, and far more below. */
		assert_true(f.mined[i] < f.intervals && f.mined[i] > f.intervals / 2);
	}
	assert_true(fabs(f.revenue_usd - rc->revenue_usd) < 0.005);
	assert_true(fabs(f.net_usd - rc->net_usd) < 0.005);
}

static void storm_and_heat_are_replayed_to_the_cent(void **state)
{
	static struct day day[2000];
	size_t n = read_days(day, COUNT(day));
	if (n == 0)
		skip();
	for (size_t i = 0; i < COUNT(replay_cases); i++)
		replay(&replay_cases[i], day, n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threshold_needs_margin_and_cost),
		cmocka_unit_test(contracts_and_demand_bound_it),
		cmocka_unit_test(fixed_policies_do_what_they_say),
		cmocka_unit_test(bad_input_is_refused),
		cmocka_unit_test(state_survives_save_and_nothing_else_does),
		cmocka_unit_test(threshold_is_never_beaten_when_switching_is_free),
		cmocka_unit_test(storm_and_heat_are_replayed_to_the_cent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
