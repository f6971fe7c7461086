#include "econ/bid.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/money.h"
#include "econ/nets.h"

#define HOUR_NS (3600 * NS_PER_S)

/* A site with an S21 group behind a feeder, H100s, and a kind of miner that nothing is told of. */
static struct site site;

static struct policy_input input(void)
{
	struct policy_input in = { .now_ns = 1, .horizon_ns = HOUR_NS, .electricity_usd_mwh = 40, .btc_usd = 60000,
		.difficulty = 9e13, .hashprice_usd_ths_h = 0.002, .site = &site, .n = 3 };
	site = (struct site){ .name = "s", .point = "HB_WEST", .limit_w = 1e6, .pue = 1.1, .n_feeders = 1, .n_groups = 1 };
	site.feeder[0] = (struct site_feeder){ .name = "f", .limit_w = 4e5 };
	site.group[0] = (struct site_group){ .name = "a", .cls = device_class_find(STR("S21")), .count = 120, .feeder = 0,
		.mines = true, .idle_mode = DEVICE_SAFE, .boot_ns = 60 * NS_PER_S, .ramp_ns = 120 * NS_PER_S, .boot_w = 1000,
		.start_wear_usd = 0.025, .min_up_ns = 900 * NS_PER_S, .min_down_ns = 7200 * NS_PER_S };
	struct nets_terms t = { .pm = { .electricity_usd_mwh = 40, .pue = 1.1 }, .hashprice_usd_ths_h = 0.002,
		.utilisation = 1, .serve_usd_h = 2.5 };
	const struct {
		const char *cls;
		const struct site_group *group;
		uint32_t now[3], must;
	} row[] = { { "S21", &site.group[0], { 80, 0, 40 }, 0 }, { "H100", NULL, { 2, 8, 0 }, 5 },
		{ "M50S", NULL, { 10, 0, 0 }, 0 } };
	for (size_t i = 0; i < 3; i++) {
		struct policy_class *c = &in.c[i];
		c->cls = device_class_find(str_of(row[i].cls));
		c->group = t.group = row[i].group;
		memcpy(c->now, row[i].now, sizeof(c->now));
		c->count = row[i].now[0] + row[i].now[1] + row[i].now[2];
		c->must_serve = row[i].must;
		nets_fill(&t, true, c->cls->kind == DEVICE_GPU, c);
	}
	return in;
}

static const struct bid_step *find(
	const struct bid_step *s, size_t n, const char *cls, enum policy_use from, bool off, uint32_t devices)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(s[i].cls->name, cls) && s[i].from == from && s[i].off == off && s[i].devices == devices)
			return &s[i];
	fail_msg("no step of %u %s", devices, cls);
	return NULL;
}

static void prices_and_watts_by_hand(void **state)
{
	static struct bid_curve b;
	struct policy_input in = input();
	in.c[0].held[POLICY_MINE] = 30;
	assert_int_equal(bid_curve(&in, HOUR_NS, &b, NULL), 0);
	/*
	 * S21: 200 TH/s * 0.002 = 0.40 USD/h less 0.025 of wear. 3,500 W less 40 W asleep, times 1.1: 3.806 kW. A start
	 * loses (60 + 60) s of hashes = 0.013333, draws 2,500 W * 60 s * 1.1 = 165 kJ less = 0.00183 USD, and wears 0.025.
	 * An hour is asked for, but it must stand for two: the second at what it earns more than asleep at 40 USD/MWh.
	 */
	double start = 0.4 * 120 / 3600 - 165e3 / 3.6e9 * 40 + 0.025, second = 0.375 - 0.003806 * 40;
	const struct bid_step *s = find(b.shed, b.n_shed, "S21", POLICY_MINE, false, 50);
	assert_float_equal(s->kw, 50 * 3.806, 1e-9);
	assert_float_equal(s->usd_mwh, (0.375 + start + second) / 0.003806, 1e-6);
	assert_int_equal(s->response_ns, 2 * NS_PER_S);
	assert_float_equal(b.held_kw, 30 * 3.806, 1e-9);
	/* For three hours there is no forced one, and the start weighs less. */
	assert_int_equal(bid_curve(&in, 3 * HOUR_NS, &b, NULL), 0);
	s = find(b.shed, b.n_shed, "S21", POLICY_MINE, false, 50);
	assert_float_equal(s->usd_mwh, (3 * 0.375 + start) / (3 * 0.003806), 1e-6);
	/* Off after asleep: 40 W more, never before the price of sleep; those asleep already go for their way back. */
	const struct bid_step *off = find(b.shed, b.n_shed, "S21", POLICY_IDLE, true, 50);
	assert_true(off->usd_mwh == s->usd_mwh && off->response_ns == 7 * NS_PER_S);
	assert_float_equal(off->kw, 50 * 0.044, 1e-9);
	off = find(b.shed, b.n_shed, "S21", POLICY_IDLE, true, 40);
	assert_float_equal(off->usd_mwh, in.c[0].net_usd_h[POLICY_MINE] * 5 / 3600 / (0.000044 * 3), 1e-6);
	assert_int_equal(off->response_ns, 5 * NS_PER_S);
	/* Fill work of a GPU yields in milliseconds; it loses money, so it goes at any price. Promised devices stay. */
	s = find(b.shed, b.n_shed, "H100", POLICY_MINE, false, 2);
	assert_int_equal(s->response_ns, 5 * NS_PER_MS);
	assert_true(s->usd_mwh < 0);
	s = find(b.shed, b.n_shed, "H100", POLICY_SERVE, false, 3);
	assert_true(s->usd_mwh > 2000);
}

static void steps_rise_and_levels_hold_more_the_longer(void **state)
{
	static struct bid_curve b;
	struct policy_input in = input();
	int64_t level[BID_LEVELS_MAX];
	assert_int_equal(bid_curve(&in, HOUR_NS, &b, NULL), 0);
	for (size_t i = 1; i < b.n_shed; i++)
		assert_true(b.shed[i].usd_mwh >= b.shed[i - 1].usd_mwh);
	for (size_t i = 1; i < b.n_add; i++)
		assert_true(b.add[i].usd_mwh <= b.add[i - 1].usd_mwh);
	size_t n = bid_levels(&b, level);
	assert_true(n >= 4 && level[0] == 5 * NS_PER_MS);
	for (double p = -100; p < 5000; p += 7)
		for (size_t i = 0; i < n; i++) {
			assert_true(bid_shed_kw(&b, p, level[i]) <= bid_shed_kw(&b, p + 7, level[i]));
			assert_true(i == 0 || bid_shed_kw(&b, p, level[i - 1]) <= bid_shed_kw(&b, p, level[i]));
		}
	/* Everything together is all that is drawn but for what is promised: five H100 that serve. */
	assert_float_equal(bid_shed_kw(&b, 1e6, level[n - 1]), b.drawn_kw - 5 * in.c[1].mwh_h[POLICY_SERVE] * 1e3, 1e-6);
}

static void what_is_taken_on_keeps_limits(void **state)
{
	static struct bid_curve b;
	struct policy_input in = input();
	assert_int_equal(bid_curve(&in, HOUR_NS, &b, NULL), 0);
	/* The feeder has 400 kW, 80 * 3.85 + 40 * 0.044 are drawn: 90.24 kW are room for 23 of 40 at 3.806 kW each. */
	assert_int_equal(b.n_add, 1);
	assert_int_equal(b.add[0].devices, 23);
	assert_float_equal(b.add[0].kw, 23 * 3.806, 1e-9);
	double start = 0.4 * 120 / 3600 - 165e3 / 3.6e9 * 40 + 0.025;
	assert_float_equal(b.add[0].usd_mwh, (0.375 - start) / 0.003806, 1e-6);
	assert_int_equal(b.add[0].response_ns, 60 * NS_PER_S);
	/* A device that must stand is not taken on; without limits all others are. */
	in.site = NULL;
	in.c[0].held[POLICY_IDLE] = 10;
	assert_int_equal(bid_curve(&in, HOUR_NS, &b, NULL), 0);
	assert_int_equal(b.add[0].devices, 30);
}

static void senseless_questions_are_refused(void **state)
{
	static struct bid_curve b;
	struct policy_input in = input();
	struct err err = { 0 };
	assert_int_equal(bid_curve(&in, 59 * NS_PER_S, &b, &err), HCP_ERANGE);
	assert_string_equal(err.field, "duration_s");
	assert_int_equal(bid_curve(&in, 8 * 24 * HOUR_NS, &b, &err), HCP_ERANGE);
	in.c[0].count++;
	assert_int_equal(bid_curve(&in, HOUR_NS, &b, &err), HCP_EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prices_and_watts_by_hand),
		cmocka_unit_test(steps_rise_and_levels_hold_more_the_longer),
		cmocka_unit_test(what_is_taken_on_keeps_limits),
		cmocka_unit_test(senseless_questions_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
