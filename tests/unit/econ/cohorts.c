#include "econ/cohorts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/money.h"
#include "econ/nets.h"

static const struct site_group *group(void)
{
	static struct site_group g;
	g = (struct site_group){ .name = "a", .cls = device_class_find(STR("S21")), .count = 100, .feeder = -1,
		.mines = true, .idle_mode = DEVICE_SAFE, .boot_ns = 60 * NS_PER_S, .ramp_ns = 120 * NS_PER_S, .boot_w = 1000,
		.start_wear_usd = 0.025, .min_up_ns = 900 * NS_PER_S, .min_down_ns = 1800 * NS_PER_S };
	return &g;
}

static void minimum_times_hold_the_young(void **state)
{
	struct cohorts s = { 0 };
	uint32_t held[POLICY_USE_END], count[POLICY_USE_END];
	int64_t age[POLICY_USE_END];
	const struct site_group *g = group();
	const uint32_t all[] = { 100, 0, 0 }, stop40[] = { 60, 0, 40 }, stop60[] = { 40, 0, 60 }, back[] = { 80, 0, 20 };
	cohorts_move(&s, g, 0, all); /* new here: long in their use */
	cohorts_held(&s, g, 0, held, age);
	assert_true(held[POLICY_MINE] == 0 && age[POLICY_MINE] == INT64_MAX && s.n == 1);
	cohorts_move(&s, g, 1000 * NS_PER_S, stop40);
	cohorts_move(&s, g, 2000 * NS_PER_S, stop60);
	cohorts_held(&s, g, 2100 * NS_PER_S, held, age);
	assert_int_equal(held[POLICY_IDLE], 60);
	assert_true(age[POLICY_IDLE] == 100 * NS_PER_S && age[POLICY_MINE] == INT64_MAX);
	cohorts_held(&s, g, 2800 * NS_PER_S, held, age);
	assert_int_equal(held[POLICY_IDLE], 20); /* 40 may start again after 1,800 s */
	/* Those longest idle start first; targets give way to what is held. */
	uint32_t target[] = { 100, 0, 0 };
	assert_int_equal(cohorts_hold(held, target), 20);
	assert_true(target[POLICY_MINE] == 80 && target[POLICY_IDLE] == 20);
	cohorts_move(&s, g, 2800 * NS_PER_S, back);
	cohorts_held(&s, g, 2800 * NS_PER_S, held, age);
	assert_true(held[POLICY_MINE] == 40 && held[POLICY_IDLE] == 20);
	cohorts_move(&s, g, 9000 * NS_PER_S, back);
	assert_int_equal(s.n, 2);
	/* Devices come and go. */
	const uint32_t more[] = { 90, 5, 25 }, none[] = { 0, 0, 0 };
	cohorts_move(&s, g, 9100 * NS_PER_S, more);
	cohorts_count(&s, count);
	assert_memory_equal(count, more, sizeof(more));
	cohorts_held(&s, g, 9100 * NS_PER_S, held, age);
	assert_true(held[0] + held[1] + held[2] == 0);
	cohorts_move(&s, g, 9200 * NS_PER_S, none);
	assert_int_equal(s.n, 0);
}

/* However often counts change, there is room, and nobody is lost. */
static void many_small_steps_find_room(void **state)
{
	struct cohorts s = { 0 };
	uint32_t to[] = { 1000, 0, 0 }, count[POLICY_USE_END], held[POLICY_USE_END];
	int64_t age[POLICY_USE_END];
	for (int i = 0; i < 900; i++) {
		cohorts_move(&s, group(), (int64_t)i * NS_PER_S / 2, to);
		to[POLICY_MINE]--;
		to[POLICY_IDLE]++;
		assert_true(s.n <= COHORTS_MAX);
	}
	cohorts_count(&s, count);
	assert_true(count[POLICY_MINE] == 101 && count[POLICY_IDLE] == 899);
	cohorts_held(&s, group(), 450 * NS_PER_S, held, age);
	assert_true(held[POLICY_IDLE] == 899 && held[POLICY_MINE] == 0);
}

/* By hand: an S21 (200 TH/s, 3,500 W, wear 0.025 USD/h) at 60 USD/MWh, PUE 1.1, 0.0016 USD per TH/s and h. */
static void nets_by_hand(void **state)
{
	struct policy_class c = { .cls = device_class_find(STR("S21")) };
	struct nets_terms t = { .pm = { .electricity_usd_mwh = 60, .pue = 1.1 }, .hashprice_usd_ths_h = 0.0016,
		.credit_usd_h = 0.01, .utilisation = 0.5, .group = group() };
	double watts = c.cls->power_w[DEVICE_FILL], wear = c.cls->wear_usd_h, ths = c.cls->fill_ths;
	nets_fill(&t, true, false, &c);
	assert_true(c.can[POLICY_MINE] && c.can[POLICY_IDLE] && !c.can[POLICY_SERVE]);
	assert_float_equal(c.gross_usd_h[POLICY_MINE], ths * 0.0016 - wear + 0.01, 1e-12);
	assert_float_equal(c.mwh_h[POLICY_MINE], watts * 1.1e-6, 1e-15);
	assert_float_equal(c.net_usd_h[POLICY_MINE], ths * 0.0016 - wear + 0.01 - watts * 1.1e-6 * 60, 1e-12);
	assert_float_equal(c.net_usd_h[POLICY_IDLE], -c.cls->power_w[DEVICE_SAFE] * 1.1e-6 * 60, 1e-12);
	/* A start: 60 s at 1,000 W without hashes, 120 s with half of them on average. */
	double lost = ths * 0.0016 * (60 + 60) / 3600, saved = (watts - 1000) * 60 * 1.1 / 3.6e9 * 60;
	assert_float_equal(c.switch_cost_usd[POLICY_MINE], lost - saved + 0.025, 1e-9);
	assert_true(c.switch_cost_usd[POLICY_IDLE] == 0);
	/* A learned time of 90 s takes the place of the 60 s of booting. */
	t.switch_ms[POLICY_MINE] = 90000;
	nets_fill(&t, true, false, &c);
	assert_float_equal(c.switch_cost_usd[POLICY_MINE],
		ths * 0.0016 * (90 + 60) / 3600 - (watts - 1000) * 90 * 1.1 / 3.6e9 * 60 + 0.025, 1e-9);
	/* Half sold: half the wear, and watts half way between idle and serving. */
	c = (struct policy_class){ .cls = device_class_find(STR("H100")) };
	t = (struct nets_terms){ .pm = t.pm, .serve_usd_h = 2, .utilisation = 0.5 };
	nets_fill(&t, false, true, &c);
	assert_float_equal(c.gross_usd_h[POLICY_SERVE], 1 - c.cls->wear_usd_h / 2, 1e-12);
	assert_float_equal(
		c.mwh_h[POLICY_SERVE], (c.cls->power_w[DEVICE_IDLE] + c.cls->power_w[DEVICE_SERVE]) / 2 * 1.1e-6, 1e-15);
	assert_true(!c.can[POLICY_MINE] && c.switch_cost_usd[POLICY_SERVE] > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(minimum_times_hold_the_young),
		cmocka_unit_test(many_small_steps_find_room),
		cmocka_unit_test(nets_by_hand),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
