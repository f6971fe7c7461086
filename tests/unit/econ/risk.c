#include "econ/risk.h"

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
	return fabs(a - b) <= 1e-9 * fmax(1, fabs(b));
}

/* ---- measures: by hand ---- */

static void the_worst_share_is_counted_exactly(void **state)
{
	(void)state;
	struct risk_measure m;
	/* Ten cases, worst 20 %: -30 and -10. */
	double ten[] = { 5, -30, 10, 20, -10, 0, 40, 15, 25, 35 };
	assert_int_equal(risk_measure(ten, 10, 0.8, &m, NULL), 0);
	assert_true(near(m.mean, 11) && m.worst == -30 && m.best == 40);
	assert_true(near(m.var, 10) && near(m.cvar, 20));
	/* Worst 5 % of ten: half of the worst case. */
	assert_int_equal(risk_measure(ten, 10, 0.95, &m, NULL), 0);
	assert_true(near(m.var, 30) && near(m.cvar, 30));
	/* Worst 25 %: two cases and half of the third (0). */
	assert_int_equal(risk_measure(ten, 10, 0.75, &m, NULL), 0);
	assert_true(near(m.var, 0) && near(m.cvar, 40 / 2.5));
	/* Even the bad cases gain: the loss is negative. */
	double gains[] = { 3, 1, 2, 4 };
	assert_int_equal(risk_measure(gains, 4, 0.75, &m, NULL), 0);
	assert_true(near(m.var, -1) && near(m.cvar, -1) && near(m.deviation, sqrt(1.25)));
	double one[] = { -7 };
	assert_int_equal(risk_measure(one, 1, 0.95, &m, NULL), 0);
	assert_true(near(m.var, 7) && near(m.cvar, 7));
	assert_true(near(risk_adjusted(&m, 0), -7) && near(risk_adjusted(&m, 1), -7));
}

/* CVaR is never below VaR, grows with the level, and is the minimum of Rockafellar and Uryasev's function. */
static void cvar_is_the_minimum_it_should_be(void **state)
{
	(void)state;
	struct rng rng;
	rng_init(&rng, 7);
	for (int round = 0; round < 200; round++) {
		double p[50], sorted[50];
		size_t n = 1 + rng_below(&rng, 50);
		for (size_t i = 0; i < n; i++)
			p[i] = sorted[i] = rng_normal(&rng) * 100 + (rng_below(&rng, 10) == 0 ? -2000 : 0);
		double level = 0.5 + 0.49 * rng_double(&rng);
		struct risk_measure m, more;
		assert_int_equal(risk_measure(sorted, n, level, &m, NULL), 0);
		assert_int_equal(risk_measure(sorted, n, level + (1 - level) / 2, &more, NULL), 0);
		assert_true(m.cvar >= m.var - 1e-9 && more.cvar >= m.cvar - 1e-9 && m.cvar >= -m.mean - 1e-9);
		double least = INFINITY;
		for (size_t k = 0; k < n; k++) {
			double eta = -p[k], f = eta;
			for (size_t i = 0; i < n; i++)
				f += fmax(-p[i] - eta, 0) / ((1 - level) * (double)n);
			least = fmin(least, f);
		}
		assert_true(fabs(least - m.cvar) <= 1e-6 * fmax(1, fabs(least)));
	}
}

static void senseless_cases_are_named(void **state)
{
	(void)state;
	struct risk_measure m = { .n = 99 };
	struct err err;
	double p[] = { 1, NAN };
	assert_int_equal(risk_measure(p, 0, 0.95, &m, &err), HCP_EINVAL);
	assert_int_equal(risk_measure(p, 2, 0.95, &m, &err), HCP_EINVAL);
	assert_string_equal(err.field, "profit");
	assert_int_equal(risk_measure(p, 1, 1, &m, &err), HCP_EINVAL);
	assert_string_equal(err.field, "level");
	assert_int_equal(m.n, 99);
}

/* ---- scenarios ---- */

enum { SERIES = 2, STEPS = 8 };

/* Origin o errs by 100 * o + k at step k of the first facility, and by ten times that at the second. */
static void fill(struct risk_errors *e, size_t origins)
{
	for (size_t o = 0; o < origins; o++) {
		double z[SERIES * STEPS];
		for (size_t k = 0; k < STEPS; k++) {
			z[k] = (double)(100 * o + k);
			z[STEPS + k] = 10 * z[k];
		}
		assert_int_equal(risk_errors_add(e, z, NULL), 0);
	}
}

static void scenarios_keep_blocks_steps_and_company(void **state)
{
	(void)state;
	enum { PATHS = 300 };
	struct risk_errors e;
	assert_int_equal(risk_errors_init(&e, SERIES, STEPS, 16, NULL), 0);
	fill(&e, 5);
	double mean[SERIES * STEPS] = { 0 };
	static double path[PATHS * SERIES * STEPS], again[PATHS * SERIES * STEPS];
	struct risk_bootstrap b = { .paths = PATHS, .block = 3, .lo = -INFINITY, .hi = INFINITY };
	struct rng rng;
	rng_init(&rng, 3);
	assert_int_equal(risk_paths(&e, &b, mean, &rng, path, NULL), 0);
	unsigned seen = 0, changed = 0;
	for (size_t p = 0; p < PATHS; p++) {
		const double *v = path + p * SERIES * STEPS;
		for (size_t k = 0; k < STEPS; k++) {
			long origin = lrint(v[k]) / 100;
			assert_true(v[k] == (double)(100 * origin + (long)k) && v[STEPS + k] == 10 * v[k]);
			seen |= 1U << origin;
			if (k % 3)
				assert_int_equal(lrint(v[k - 1]) / 100, origin);
			else if (k)
				changed += lrint(v[k - 1]) / 100 != origin;
		}
	}
	assert_int_equal(seen, 0x1f);
	assert_true(changed > PATHS); /* of 600 borders, four fifths */
	rng_init(&rng, 3);
	assert_int_equal(risk_paths(&e, &b, mean, &rng, again, NULL), 0);
	assert_memory_equal(path, again, sizeof(path));
	/* Cut to the market's caps. */
	b.lo = 50;
	b.hi = 250;
	assert_int_equal(risk_paths(&e, &b, mean, &rng, path, NULL), 0);
	for (size_t i = 0; i < PATHS * SERIES * STEPS; i++)
		assert_true(path[i] >= 50 && path[i] <= 250);
	risk_errors_release(&e);
}

static void the_oldest_errors_go_first(void **state)
{
	(void)state;
	struct risk_errors e;
	assert_int_equal(risk_errors_init(&e, SERIES, STEPS, 2, NULL), 0);
	double mean[SERIES * STEPS] = { 0 }, path[SERIES * STEPS];
	struct risk_bootstrap b = { .paths = 1, .block = STEPS, .lo = -INFINITY, .hi = INFINITY };
	struct rng rng;
	rng_init(&rng, 1);
	assert_int_equal(risk_paths(&e, &b, mean, &rng, path, NULL), HCP_EAGAIN);
	fill(&e, 3);
	assert_int_equal(e.origins, 2);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(risk_paths(&e, &b, mean, &rng, path, NULL), 0);
		assert_true(path[0] == 100 || path[0] == 200);
	}
	double bad[SERIES * STEPS] = { [SERIES * STEPS - 1] = INFINITY };
	struct err err;
	assert_int_equal(risk_errors_add(&e, bad, &err), HCP_EINVAL);
	assert_int_equal(risk_paths(&e, &b, bad, &rng, path, &err), HCP_EINVAL);
	assert_string_equal(err.field, "mean");
	b.block = 0;
	assert_int_equal(risk_paths(&e, &b, mean, &rng, path, &err), HCP_EINVAL);
	assert_string_equal(err.field, "block");
	risk_errors_release(&e);
}

static void errors_of_memory_and_size_are_named(void **state)
{
	(void)state;
	struct risk_errors e;
	struct err err;
	assert_int_equal(risk_errors_init(&e, 0, 1, 1, &err), HCP_EINVAL);
	assert_int_equal(risk_errors_init(&e, 1, RISK_STEPS_MAX + 1, 1, &err), HCP_EINVAL);
	assert_string_equal(err.field, "steps");
	assert_int_equal(risk_errors_init(&e, 1, 1, 0, &err), HCP_EINVAL);
	mem_fail_after(1, 0);
	assert_int_equal(risk_errors_init(&e, 1, 1, 1, &err), HCP_ENOMEM);
	mem_fail_after(0, 0);
	risk_errors_release(&e);
}

/* ---- drawdown ---- */

static void the_guard_rises_at_its_limit_and_falls_at_half(void **state)
{
	(void)state;
	struct risk_guard g;
	struct err err;
	assert_int_equal(risk_guard_init(&g, 0, 0.2, &err), HCP_EINVAL);
	assert_int_equal(risk_guard_init(&g, 1000, 1, &err), HCP_EINVAL);
	assert_int_equal(risk_guard_init(&g, 1000, RISK_DRAWDOWN_LIMIT, &err), 0);
	assert_false(risk_guard_add(&g, 1000)); /* equity 2,000, the peak */
	assert_false(risk_guard_add(&g, -300)); /* 15 % down: half way up */
	assert_true(near(risk_guard_drawdown(&g), 0.15) && near(risk_guard_aversion(&g), 0.5));
	assert_true(risk_guard_add(&g, -100) && g.up && near(risk_guard_aversion(&g), 1));
	assert_false(risk_guard_add(&g, 100)); /* 15 %: still up */
	assert_true(g.up);
	assert_false(risk_guard_add(&g, NAN));
	assert_true(near(g.equity_usd, 1700));
	assert_true(risk_guard_add(&g, 100) && !g.up); /* 10 %: down again */
	assert_true(near(g.deepest, 0.2));
	assert_false(risk_guard_add(&g, 5000));
	assert_true(risk_guard_drawdown(&g) == 0 && risk_guard_aversion(&g) == 0);
}

/* ---- terms of past days ---- */

enum { PAST = 100, TERM = 30, CASES = 400 };

static double sum_of(const double *path)
{
	double sum = 0;
	for (size_t d = 0; d < TERM; d++)
		sum += path[d];
	return sum;
}

static void a_term_is_made_of_blocks_of_past_days(void **state)
{
	(void)state;
	static double day[2 * PAST], path[CASES * 2 * TERM], again[CASES * 2 * TERM], sum[CASES];
	struct rng rng;
	struct err err;
	for (size_t d = 0; d < PAST; d++) {
		day[d] = d % 10 == 0 ? -100 : 10; /* each block of ten has one bad day, wherever it begins */
		day[PAST + d] = 3 * day[d];
	}
	struct risk_terms t = { .series = 2, .days = PAST, .term = TERM, .block = 10, .cases = CASES };
	rng_init(&rng, 4);
	assert_int_equal(risk_terms(&t, day, &rng, path, NULL), 0);
	for (size_t i = 0; i < CASES; i++) { /* and both series are of the same days */
		assert_true(near(sum_of(path + 2 * i * TERM), 3 * (9 * 10 - 100)));
		for (size_t d = 0; d < TERM; d++)
			assert_true(near(path[(2 * i + 1) * TERM + d], 3 * path[2 * i * TERM + d]));
	}
	/* Days alone differ more than days in blocks do. */
	struct risk_measure m;
	t.series = t.block = 1;
	rng_init(&rng, 4);
	assert_int_equal(risk_terms(&t, day, &rng, path, NULL), 0);
	rng_init(&rng, 4);
	assert_int_equal(risk_terms(&t, day, &rng, again, NULL), 0);
	assert_memory_equal(path, again, CASES * TERM * sizeof(*path));
	for (size_t i = 0; i < CASES; i++)
		sum[i] = sum_of(path + i * TERM);
	assert_int_equal(risk_measure(sum, CASES, RISK_LEVEL, &m, NULL), 0);
	assert_true(m.deviation > 100 && fabs(m.mean + 30) < 40);
	t.term = PAST + 1;
	assert_int_equal(risk_terms(&t, day, &rng, path, &err), HCP_EAGAIN);
	assert_string_equal(err.field, "days");
	t.term = TERM;
	t.block = 0;
	assert_int_equal(risk_terms(&t, day, &rng, path, &err), HCP_EINVAL);
	assert_string_equal(err.field, "block");
	t.cases = 0;
	assert_int_equal(risk_terms(&t, day, &rng, path, &err), HCP_EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_worst_share_is_counted_exactly),
		cmocka_unit_test(cvar_is_the_minimum_it_should_be),
		cmocka_unit_test(senseless_cases_are_named),
		cmocka_unit_test(scenarios_keep_blocks_steps_and_company),
		cmocka_unit_test(the_oldest_errors_go_first),
		cmocka_unit_test(errors_of_memory_and_size_are_named),
		cmocka_unit_test(the_guard_rises_at_its_limit_and_falls_at_half),
		cmocka_unit_test(a_term_is_made_of_blocks_of_past_days),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
