#include "econ/scenario.h"

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
#include "econ/nets.h"

static bool near(double a, double b)
{
	return fabs(a - b) <= 1e-9 * fmax(1, fabs(b));
}

/* ---- the fan ---- */

/* Quiet moments were missed by nothing, dear ones doubled: each fan is of its own kind. */
static void a_fan_is_of_moments_like_this_one(void **state)
{
	(void)state;
	struct scenario_past p;
	static struct scenario_fan f;
	double forecast[SCENARIO_STEPS], same[SCENARIO_STEPS], twice[SCENARIO_STEPS];
	for (size_t k = 0; k < SCENARIO_STEPS; k++) {
		forecast[k] = same[k] = 200 + (double)k;
		twice[k] = 25 * sinh(asinh(forecast[k] / 25) + 1);
	}
	assert_int_equal(scenario_past_init(&p, 100, NULL), 0);
	struct scenario_key quiet = scenario_key_of(20, 21, 25, 22, 0.25), dear = scenario_key_of(300, 280, 300, 280, 0.8);
	assert_int_equal(scenario_fan_make(&p, &quiet, forecast, 16, -250, 5000, &f, NULL), 0);
	assert_int_equal(f.paths, 1); /* nothing is known yet: the forecast alone */
	assert_memory_equal(f.price[0], forecast, sizeof(forecast));
	for (size_t i = 0; i < 120; i++) /* more than it keeps */
		assert_int_equal(scenario_past_add(&p, i % 2 ? &dear : &quiet, forecast, i % 2 ? twice : same, NULL), 0);
	assert_int_equal(p.n, 100);
	struct scenario_key now = scenario_key_of(22, 21, 26, 23, 0.26);
	assert_int_equal(scenario_fan_make(&p, &now, forecast, 50, -250, 5000, &f, NULL), 0);
	assert_int_equal(f.paths, 50);
	for (size_t i = 0; i < f.paths; i++)
		assert_true(fabs(f.price[i][3] - 203) < 1e-3);
	now = scenario_key_of(310, 290, 310, 300, 0.81);
	assert_int_equal(scenario_fan_make(&p, &now, forecast, 50, -250, 300, &f, NULL), 0);
	for (size_t i = 0; i < f.paths; i++)
		assert_true(f.price[i][0] == 300); /* the cap */
	scenario_fan_move(&f, 100, 0.5);
	assert_true(near(scenario_fan_mean(&f, 0), 100) && near(scenario_fan_mean(&f, 1), 200));
	struct err err;
	twice[2] = NAN;
	assert_int_equal(scenario_past_add(&p, &now, forecast, twice, &err), HCP_EINVAL);
	assert_int_equal(scenario_fan_make(&p, &now, forecast, SCENARIO_PATHS_MAX + 1, 0, 1, &f, &err), HCP_EINVAL);
	assert_string_equal(err.field, "paths");
	scenario_past_release(&p);
	assert_int_equal(scenario_past_init(&p, 0, &err), HCP_EINVAL);
}

/* ---- decisions, against all that could be decided ---- */

static const struct scenario_miner miner = {
	.gross_usd = 10, .mwh = 0.1, .idle_mwh = 0.002, .start_usd = 3, .start_mwh = 0.01, .min_up = 1, .min_down = 1
};

/* What a sequence of bits earns; -INFINITY where a minimum time forbids it. */
static double by_bits(const struct scenario_miner *m, const double *price, unsigned bits, bool on)
{
	double sum = 0;
	size_t age = SCENARIO_STEPS; /* long in its state */
	for (size_t k = 0; k < SCENARIO_STEPS; k++) {
		bool runs = bits >> k & 1;
		if (runs != on && age < (on ? m->min_up : m->min_down))
			return -INFINITY;
		age = runs != on ? 1 : age + 1;
		sum += runs ? m->gross_usd[0] - m->mwh[0] * price[k] - (on ? 0 : m->start_usd - m->start_mwh * price[k])
					: -m->idle_mwh * price[k];
		on = runs;
	}
	return sum;
}

static void one_path_is_decided_as_the_best_of_all_sequences(void **state)
{
	(void)state;
	static struct scenario_fan f = { .paths = 1 };
	static struct scenario_groups g;
	struct rng rng;
	rng_init(&rng, 5);
	for (int world = 0; world < 40; world++) {
		struct scenario_miner m = miner;
		m.min_up = 1 + rng_below(&rng, 4);
		m.min_down = 1 + rng_below(&rng, 4);
		for (size_t k = 0; k < SCENARIO_STEPS; k++)
			f.price[0][k] = 40 + 120 * rng_double(&rng);
		double best[2][2] = { { -INFINITY, -INFINITY }, { -INFINITY, -INFINITY } }; /* on before, first step */
		for (unsigned bits = 0; bits < 1U << SCENARIO_STEPS; bits++)
			for (int on = 0; on < 2; on++)
				best[on][bits & 1] = fmax(best[on][bits & 1], by_bits(&m, f.price[0], bits, on));
		struct scenario_worth w;
		scenario_groups_make(&f, &g);
		scenario_decide(&f, &g, &m, &w);
		assert_true(near(w.run_usd, best[1][1]) && near(w.stop_usd, best[1][0]));
		assert_true(near(w.start_usd, best[0][1]) && near(w.stay_usd, best[0][0]));
	}
}

/*
 * Two futures that look alike until they are there: whoever knew would stop in the one and run in the other; who does
 * not earns the mean. When the step before tells them apart, both are met.
 */
static void no_path_knows_its_own_coming_price(void **state)
{
	(void)state;
	static struct scenario_fan f = { .paths = 64 };
	static struct scenario_groups g;
	struct scenario_miner m = { .modes = 1, .gross_usd = { 10 }, .mwh = { 0.1 }, .min_up = 1, .min_down = 1 };
	struct scenario_worth w;
	for (size_t i = 0; i < f.paths; i++)
		for (size_t k = 0; k < SCENARIO_STEPS; k++)
			f.price[i][k] = k == 5 ? (i % 2 ? 180 : 0) : 100;
	scenario_groups_make(&f, &g);
	scenario_decide(&f, &g, &m, &w);
	assert_true(near(w.run_usd, 1)); /* (10 - 8) / 2: runs through both */
	for (size_t i = 0; i < f.paths; i++)
		f.price[i][4] = i % 2 ? 101 : 99; /* worth nothing by itself but tells */
	scenario_groups_make(&f, &g);
	scenario_decide(&f, &g, &m, &w);
	assert_true(near(w.run_usd, 5) && near(w.stop_usd, 5)); /* 10 / 2: runs in the cheap one only */
}

/* A start to come counts: with a quarter of a chance of a lasting spike it runs on, idle it does not start. */
static void between_running_and_standing_lies_the_start(void **state)
{
	(void)state;
	static struct scenario_fan f = { .paths = 64 };
	static struct scenario_groups g;
	struct scenario_worth w;
	for (size_t i = 0; i < f.paths; i++)
		for (size_t k = 0; k < SCENARIO_STEPS; k++)
			f.price[i][k] = k == 0 ? 110 : i % 4 ? 60 : 110;
	scenario_groups_make(&f, &g);
	scenario_decide(&f, &g, &miner, &w);
	assert_true(w.run_usd > w.stop_usd && w.start_usd < w.stay_usd);
}

/* ---- the policy ---- */

enum { DAYS = 70, STEPS = DAYS * 96 };
#define T0 (INT64_C(1672531200) * NS_PER_S)

static struct site site;

/* Quiet but for an hour each evening, in which the price rises to 400 in three of four days. */
static void make_history(struct history *h)
{
	struct rng rng;
	rng_init(&rng, 9);
	history_init(h);
	for (size_t i = 0; i < STEPS; i++) {
		size_t slot = i % 96;
		double price = 25 + 5 * rng_double(&rng) + (slot >= 72 && slot < 76 && i / 96 % 4 ? 370 : 0);
		assert_int_equal(
			history_add(h, HISTORY_POWER_RT, "HB_WEST", T0 + (int64_t)i * 900 * NS_PER_S, 900 * NS_PER_S, price, NULL),
			0);
	}
}

static struct policy_input told(const struct history *h, size_t step, uint32_t mining)
{
	site = (struct site){ .name = "test", .point = "HB_WEST", .pue = 1.05, .limit_w = 1e9, .n_groups = 1 };
	site.group[0] = (struct site_group){ .name = "s21",
		.cls = device_class_find(STR("S21")),
		.count = 100,
		.feeder = -1,
		.mines = true,
		.idle_mode = DEVICE_SAFE,
		.boot_ns = 60 * NS_PER_S,
		.ramp_ns = 120 * NS_PER_S,
		.boot_w = 1000,
		.start_wear_usd = 0.025,
		.min_up_ns = 900 * NS_PER_S,
		.min_down_ns = 900 * NS_PER_S };
	int64_t now_ns = T0 + (int64_t)step * 900 * NS_PER_S;
	double price = history_at(history_find(h, HISTORY_POWER_RT, "HB_WEST"), now_ns - 900 * NS_PER_S);
	struct nets_terms t = { .pm = { 60000, 9e13, 3.125, 0.1, 0.01, price, site.pue }, .group = &site.group[0] };
	struct policy_input in = { .now_ns = now_ns,
		.horizon_ns = 3600 * NS_PER_S,
		.step_ns = 900 * NS_PER_S,
		.electricity_usd_mwh = price,
		.site = &site,
		.history = h,
		.n = 1 };
	in.hashprice_usd_ths_h = t.hashprice_usd_ths_h = profit_hashprice_usd_ths_h(&t.pm);
	in.c[0] = (struct policy_class){ .cls = site.group[0].cls,
		.group = &site.group[0],
		.count = 100,
		.now = { mining, 0, 100 - mining },
		.age_ns = { INT64_MAX, INT64_MAX, INT64_MAX } };
	nets_fill(&t, true, false, &in.c[0]);
	return in;
}

/* The history handed in knows more than the moment: what is decided stays the same, and so it does when asked again. */
static void it_decides_over_a_fan_and_reads_nothing_that_comes(void **state)
{
	(void)state;
	struct history all, cut;
	struct policy p, again;
	static struct policy_output a, b;
	char text[2][400];
	make_history(&all);
	make_history(&cut);
	const size_t from = (DAYS - 3) * 96 + 60; /* of a day with its hour */
	struct history_series *s = history_series_of(&cut, HISTORY_POWER_RT, "HB_WEST");
	assert_int_equal(policy_init(&p, policy_find(STR("smpc")), NULL, NULL), 0);
	assert_int_equal(policy_init(&again, policy_find(STR("smpc")), NULL, NULL), 0);
	uint32_t mining = 100, stops = 0;
	for (size_t i = from; i < from + 24; i++) {
		s->n = i; /* nothing from now on */
		struct policy_input in = told(&all, i, mining), less = told(&cut, i, mining);
		assert_int_equal(policy_decide(&p, &in, &a, NULL), 0);
		assert_int_equal(policy_decide(&again, &less, &b, NULL), 0);
		assert_memory_equal(a.c[0].target, b.c[0].target, sizeof(a.c[0].target));
		mining = a.c[0].target[POLICY_MINE];
		stops += mining == 0;
	}
	assert_true(mining == 100 && stops >= 3 && stops <= 6);
	struct policy *both[] = { &p, &again };
	for (size_t i = 0; i < 2; i++) {
		struct buf out;
		buf_init(&out, sizeof(text[i]));
		policy_describe(both[i], &out);
		buf_addc(&out, '\0');
		memcpy(text[i], out.data, out.n);
		buf_release(&out);
		policy_release(both[i]);
	}
	assert_string_equal(text[0], text[1]);
	assert_null(strstr(text[0], "0 decisions over a fan of HB_WEST"));
	history_release(&all);
	history_release(&cut);
}

/* Without a history, and with what a minimum time holds. */
static void without_a_past_the_present_price_decides(void **state)
{
	(void)state;
	struct history h;
	struct policy p;
	static struct policy_output out;
	make_history(&h);
	struct policy_input in = told(&h, 96, 100);
	in.history = NULL;
	in.c[0].held[POLICY_MINE] = 30;
	assert_int_equal(policy_init(&p, policy_find(STR("smpc")), NULL, NULL), 0);
	assert_int_equal(policy_decide(&p, &in, &out, NULL), 0);
	assert_int_equal(out.c[0].target[POLICY_MINE], 100);
	in.electricity_usd_mwh = 900;
	assert_int_equal(policy_decide(&p, &in, &out, NULL), 0);
	assert_int_equal(out.c[0].target[POLICY_MINE], 30);
	policy_release(&p);
	history_release(&h);
}

static void without_memory_it_fails_cleanly(void **state)
{
	(void)state;
	for (uint64_t n = 1; n < 4; n++) {
		struct policy p;
		struct err err;
		int64_t live = mem_live();
		mem_fail_after(n, 1);
		int rc = policy_init(&p, policy_find(STR("smpc")), NULL, &err);
		bool hit = mem_fail_hits() > 0;
		mem_fail_after(0, 0);
		assert_int_equal(rc, hit ? HCP_ENOMEM : 0);
		if (rc == 0)
			policy_release(&p);
		assert_int_equal(mem_live(), live);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fan_is_of_moments_like_this_one),
		cmocka_unit_test(one_path_is_decided_as_the_best_of_all_sequences),
		cmocka_unit_test(no_path_knows_its_own_coming_price),
		cmocka_unit_test(between_running_and_standing_lies_the_start),
		cmocka_unit_test(it_decides_over_a_fan_and_reads_nothing_that_comes),
		cmocka_unit_test(without_a_past_the_present_price_decides),
		cmocka_unit_test(without_memory_it_fails_cleanly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
