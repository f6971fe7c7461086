#include "econ/clairvoyant.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/rng.h"

enum { STEPS = 14 };

static const int64_t step = 900 * NS_PER_S;

/* Profit of an on/off plan by its definition; -INFINITY if it breaks a minimum time. */
static double judge(const struct clairvoyant *c, uint32_t plan)
{
	double usd = 0;
	bool on = true;
	int64_t since_ns = INT64_MAX; /* for how long it has been so */
	for (size_t i = 0; i < c->n; i++) {
		bool want = plan >> i & 1;
		if (want != on) {
			if (since_ns < (on ? c->group->min_up_ns : c->group->min_down_ns))
				return -INFINITY;
			on = want;
			since_ns = 0;
		}
		usd += on ? clairvoyant_mine_usd(c, i, since_ns) : clairvoyant_idle_usd(c, i);
		since_ns = since_ns == INT64_MAX ? since_ns : since_ns + step;
	}
	return usd;
}

static uint32_t bits(const uint8_t *on)
{
	uint32_t plan = 0;
	for (size_t i = 0; i < STEPS; i++)
		plan |= (uint32_t)on[i] << i;
	return plan;
}

static void the_plan_is_the_best_of_all(void **state)
{
	(void)state;
	struct rng rng;
	size_t switched = 0;
	rng_init(&rng, 7);
	for (int round = 0; round < 120; round++) {
		double price[STEPS], hash[STEPS], usd = 0;
		uint8_t on[STEPS];
		struct site_group g = { .cls = device_class_find(STR("S21")), .count = 1, .idle_mode = DEVICE_SAFE };
		g.boot_ns = (int64_t)rng_below(&rng, 3) * 600 * NS_PER_S;
		g.ramp_ns = (int64_t)rng_below(&rng, 3) * 500 * NS_PER_S;
		g.boot_w = 1000;
		g.start_wear_usd = (double)rng_below(&rng, 3) * 0.05;
		g.min_up_ns = (int64_t)rng_below(&rng, 5) * 700 * NS_PER_S;
		g.min_down_ns = (int64_t)rng_below(&rng, 5) * 700 * NS_PER_S;
		for (size_t i = 0; i < STEPS; i++) {
			price[i] = (double)rng_below(&rng, 400) - 50;
			hash[i] = 0.002 + (double)rng_below(&rng, 100) / 1e5;
		}
		if (round % 4 == 0)
			price[3] = hash[3] = NAN;
		struct clairvoyant c = {
			.group = &g, .pue = 1.05, .step_ns = step, .n = STEPS, .price_usd_mwh = price, .hashprice_usd_ths_h = hash
		};
		assert_int_equal(clairvoyant_plan(&c, on, &usd, NULL), 0);
		double best = -INFINITY;
		for (uint32_t plan = 0; plan < 1U << STEPS; plan++)
			best = fmax(best, judge(&c, plan));
		uint32_t found = bits(on);
		assert_true(fabs(judge(&c, found) - usd) < 1e-9);
		assert_true(fabs(usd - best) < 1e-9);
		switched += found != (1U << STEPS) - 1;
	}
	assert_true(switched > 60); /* it was not all running through */
}

static void equal_plans_run(void **state)
{
	(void)state;
	struct site_group g = { .cls = device_class_find(STR("S21")), .count = 1, .idle_mode = DEVICE_OFF };
	double price[STEPS], hash[STEPS], usd = 0;
	uint8_t on[STEPS];
	for (size_t i = 0; i < STEPS; i++)
		price[i] = hash[i] = NAN;
	struct clairvoyant c = {
		.group = &g, .pue = 1, .step_ns = step, .n = STEPS, .price_usd_mwh = price, .hashprice_usd_ths_h = hash
	};
	assert_int_equal(clairvoyant_plan(&c, on, &usd, NULL), 0);
	assert_true(usd == 0 && bits(on) == (1U << STEPS) - 1);
}

static void limits_and_memory(void **state)
{
	(void)state;
	struct site_group g = { .cls = device_class_find(STR("S21")), .count = 1, .min_up_ns = 300 * step };
	double price[STEPS] = { 0 }, hash[STEPS] = { 0 }, usd = 0;
	uint8_t on[STEPS];
	struct err err = { 0 };
	struct clairvoyant c = {
		.group = &g, .pue = 1, .step_ns = step, .n = STEPS, .price_usd_mwh = price, .hashprice_usd_ths_h = hash
	};
	assert_int_equal(clairvoyant_plan(&c, on, &usd, &err), HCP_ERANGE);
	assert_string_equal(err.field, "min_up_s");
	g.min_up_ns = 0;
	mem_fail_after(1, 0);
	assert_int_equal(clairvoyant_plan(&c, on, &usd, &err), HCP_ENOMEM);
	mem_fail_after(0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_plan_is_the_best_of_all),
		cmocka_unit_test(equal_plans_run),
		cmocka_unit_test(limits_and_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
