#include "econ/portfolio.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static bool near(double a, double b)
{
	return fabs(a - b) <= 1e-6 * fmax(1, fabs(b));
}

/* Two worlds, equally likely: the spot market pays 10 or 0, a contract 4 in both. 100 devices. */
static void aversion_moves_devices_from_spot_to_contract(void **state)
{
	(void)state;
	static struct portfolio_problem p;
	static struct portfolio r;
	const double spot[] = { 10, 0 }, contract[] = { 4, 4 };
	p = (struct portfolio_problem){ .n_assets = 2, .n_facilities = 1, .cases = 2, .units = { 100 }, .level = 0.5 };
	p.asset[0] = (struct portfolio_asset){ "spot", 0, INFINITY, spot };
	p.asset[1] = (struct portfolio_asset){ "contract", 0, INFINITY, contract };
	assert_int_equal(portfolio_solve(&p, &r, NULL), 0);
	assert_true(near(r.units[0], 100) && near(r.units[1], 0) && near(r.worth_usd, 500) && near(r.unit_usd[0], 5));
	/* worth of a spot device: 5(1-a) + 0a, of a contract: 4; equal at a = 0.2. */
	p.aversion = 0.19;
	assert_int_equal(portfolio_solve(&p, &r, NULL), 0);
	assert_true(near(r.units[0], 100) && near(r.unit_usd[0], 5 * 0.81));
	p.aversion = 0.21;
	assert_int_equal(portfolio_solve(&p, &r, NULL), 0);
	assert_true(near(r.units[0], 0) && near(r.units[1], 100) && near(r.worth_usd, 400) && near(r.profit.cvar, -400));
	p.asset[1].most = 60;
	assert_int_equal(portfolio_solve(&p, &r, NULL), 0);
	assert_true(near(r.units[0], 40) && near(r.units[1], 60) && near(r.profit.mean, 440));
}

/* Facilities whose bad cases do not meet cover each other: with full aversion both are held, not the better one alone.
 */
static void worlds_that_differ_are_mixed(void **state)
{
	(void)state;
	static struct portfolio_problem p;
	static struct portfolio r;
	const double north[] = { 10, -6 }, south[] = { -5, 8 };
	p = (struct portfolio_problem){ .n_assets = 2, .n_facilities = 2, .cases = 2, .units = { 10, 10 }, .level = 0.5,
		.aversion = 1 };
	p.asset[0] = (struct portfolio_asset){ "north", 0, INFINITY, north };
	p.asset[1] = (struct portfolio_asset){ "south", 1, INFINITY, south };
	assert_int_equal(portfolio_solve(&p, &r, NULL), 0);
	/* The worse world is best at 10x - 5y = -6x + 8y with y = 10: x = 130/16. */
	assert_true(near(r.units[1], 10) && near(r.units[0], 130.0 / 16) && near(r.worth_usd, 10 * 130.0 / 16 - 50));
}

/* The program's own figure is the measured one, and no other mix that is allowed is worth more. */
static void no_other_mix_is_worth_more(void **state)
{
	(void)state;
	enum { ASSETS = 5, CASES = 60, ROUNDS = 30, TRIES = 300 };
	static struct portfolio_problem p;
	static struct portfolio r;
	static double profit[ASSETS][CASES];
	struct rng rng;
	rng_init(&rng, 11);
	for (int round = 0; round < ROUNDS; round++) {
		p = (struct portfolio_problem){ .n_assets = ASSETS, .n_facilities = 2, .cases = CASES, .units = { 50, 80 },
			.aversion = rng_double(&rng), .level = 0.5 + 0.45 * rng_double(&rng) };
		for (size_t a = 0; a < ASSETS; a++) {
			double mean = rng_normal(&rng), width = 3 * rng_double(&rng);
			for (size_t i = 0; i < CASES; i++)
				profit[a][i] = mean + width * rng_normal(&rng);
			p.asset[a] = (struct portfolio_asset){ "a", a % 2, rng_below(&rng, 2) ? INFINITY : 20, profit[a] };
		}
		assert_int_equal(portfolio_solve(&p, &r, NULL), 0);
		for (int t = 0; t < TRIES; t++) {
			double units[ASSETS], sum[2] = { 0, 0 }, cases[CASES] = { 0 };
			struct risk_measure m;
			for (size_t a = 0; a < ASSETS; a++) {
				double near_r = fmax(r.units[a] + rng_normal(&rng), 0);
				units[a] = fmin(t % 2 ? near_r : 80 * rng_double(&rng), p.asset[a].most);
				sum[a % 2] += units[a];
			}
			for (size_t a = 0; a < ASSETS; a++) {
				units[a] *= fmin(1, p.units[a % 2] / fmax(sum[a % 2], 1e-9));
				for (size_t i = 0; i < CASES; i++)
					cases[i] += units[a] * profit[a][i];
			}
			assert_int_equal(risk_measure(cases, CASES, p.level, &m, NULL), 0);
			assert_true(risk_adjusted(&m, p.aversion) <= r.worth_usd + 1e-6 * fmax(1, fabs(r.worth_usd)));
		}
	}
}

static void senseless_problems_are_named(void **state)
{
	(void)state;
	static struct portfolio_problem p;
	static struct portfolio r = { .worth_usd = 77 };
	struct err err;
	double profit[] = { 1, 2 };
	const struct portfolio_problem good = { .n_assets = 1, .n_facilities = 1, .cases = 2, .units = { 1 }, .level = 0.95,
		.asset = { { "north", 0, 1, profit } } };
	p = good;
	p.cases = 0;
	assert_int_equal(portfolio_solve(&p, &r, &err), HCP_EINVAL);
	assert_string_equal(err.field, "cases");
	p = good;
	p.asset[0].facility = 1;
	assert_int_equal(portfolio_solve(&p, &r, &err), HCP_EINVAL);
	p = good;
	p.units[0] = NAN;
	assert_int_equal(portfolio_solve(&p, &r, &err), HCP_ERANGE);
	assert_string_equal(err.field, "units");
	p = good;
	p.aversion = 1.5;
	assert_int_equal(portfolio_solve(&p, &r, &err), HCP_ERANGE);
	assert_string_equal(err.field, "aversion");
	p = good;
	profit[1] = INFINITY;
	assert_int_equal(portfolio_solve(&p, &r, &err), HCP_ERANGE);
	assert_non_null(strstr(err.text, "north"));
	profit[1] = 2;
	p = good;
	int64_t live = mem_live();
	for (uint64_t n = 1;; n++) {
		mem_fail_after(n, 1);
		int rc = portfolio_solve(&p, &r, &err);
		mem_fail_after(0, 0);
		if (rc == 0)
			break;
		assert_int_equal(rc, HCP_ENOMEM);
		assert_true(n < 1000 && mem_live() == live);
	}
	assert_true(near(r.profit.mean, 1.5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aversion_moves_devices_from_spot_to_contract),
		cmocka_unit_test(worlds_that_differ_are_mixed),
		cmocka_unit_test(no_other_mix_is_worth_more),
		cmocka_unit_test(senseless_problems_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
