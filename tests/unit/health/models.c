#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "health/autoencoder.h"
#include "health/chart.h"
#include "health/forest.h"
#include "health/norm.h"

/* ---- charts ---- */

static const struct chart_rule both = { 0.1F, true, true }, only_high = { 0.1F, true, false };

static void run(struct chart *c, const struct chart_rule *rule, struct rng *rng, float mean, float sigma, int minutes,
	uint32_t *minute)
{
	for (int i = 0; i < minutes; i++)
		chart_take(c, rule, mean + sigma * (float)rng_normal(rng), (*minute)++);
}

static void chart_is_quiet_and_finds_a_shift(void **state)
{
	struct chart c;
	struct rng rng;
	uint32_t minute = 1000;
	rng_init(&rng, 1);
	chart_init(&c);
	run(&c, &both, &rng, 50, 2, CHART_LEARN - 1, &minute);
	assert_true(chart_excess(&c, &both) == 0);
	float most = 0;
	for (int i = 0; i < 30 * 1440; i++) {
		run(&c, &both, &rng, 50, 2, 1, &minute);
		most = fmaxf(most, fabsf(chart_excess(&c, &both)));
	}
	assert_true(most < 0.5F);
	assert_true(fabsf(c.mean - 50) < 0.5F && fabsf(c.sigma - 2) < 0.3F);
	/* Two sigmas that stay: found within an hour and a half, and since when is known to some minutes. */
	uint32_t began = minute;
	run(&c, &both, &rng, 46, 2, 90, &minute);
	assert_true(chart_excess(&c, &both) <= -1);
	assert_true(c.since + 10 >= began && c.since <= began + 15);
	/* The side that is no fault says nothing. */
	assert_true(chart_excess(&c, &only_high) == 0);
	/* What is large is found in some minutes. */
	chart_mend(&c);
	run(&c, &both, &rng, 50, 2, 1440, &minute);
	run(&c, &both, &rng, 70, 2, 12, &minute);
	assert_true(chart_excess(&c, &both) >= 1);
	/* And does not become normal while it lasts. */
	run(&c, &both, &rng, 70, 2, 1440, &minute);
	assert_true(chart_excess(&c, &both) >= 1 && c.mean < 53);
}

static void chart_does_not_follow_outliers(void **state)
{
	struct chart c;
	struct rng rng;
	uint32_t minute = 0;
	rng_init(&rng, 2);
	chart_init(&c);
	for (int i = 0; i < 3000; i++) {
		if (i % 50 == 25)
			chart_take(&c, &both, 1e6F, minute++);
		run(&c, &both, &rng, 10, 1, 1, &minute);
	}
	assert_true(fabsf(c.mean - 10) < 1 && c.sigma < 2 && isfinite(c.ewma));
	chart_take(&c, &both, NAN, minute);
	chart_take(&c, &both, INFINITY, minute);
	assert_true(isfinite(c.mean) && isfinite(c.high));
}

/* ---- norms ---- */

static void norm_learns_a_surface_in_spite_of_sick_devices(void **state)
{
	struct norm m = { 0 };
	struct rng rng;
	rng_init(&rng, 3);
	assert_true(isnan(norm_expect(&m, norm_point(0.5F, 20))));
	for (int i = 0; i < 60000; i++) {
		float load = (float)rng_double(&rng), air = 10 + 25 * (float)rng_double(&rng);
		float v = 10 + 40 * load - 0.3F * air + (float)rng_normal(&rng);
		norm_learn(&m, norm_point(load, air), i % 50 ? v : v + 30, 0.2F);
	}
	for (int i = 0; i < 200; i++) {
		float load = 0.1F + 0.8F * (float)rng_double(&rng), air = 13 + 18 * (float)rng_double(&rng);
		assert_true(fabsf(norm_expect(&m, norm_point(load, air)) - (10 + 40 * load - 0.3F * air)) < 0.8F);
	}
	assert_true(m.spread > 0.7F && m.spread < 1.5F);
	/* Beyond the grid its edge counts; what is no number changes nothing. */
	assert_true(isfinite(norm_expect(&m, norm_point(1, 24))));
	norm_learn(&m, norm_point(0.5F, 20), NAN, 0.2F);
	struct norm_point p = norm_point(NAN, INFINITY);
	assert_true(p.load == 0 && p.air == NORM_AIRS - 2);
}

/* ---- forest ---- */

static void forest_isolates_what_is_strange(void **state)
{
	static float x[2000][3];
	static struct forest f, same;
	struct rng rng;
	rng_init(&rng, 4);
	for (int i = 0; i < 2000; i++)
		for (int k = 0; k < 3; k++)
			x[i][k] = (float)rng_normal(&rng);
	struct rng copy = rng;
	assert_true(forest_grow(&f, x[0], 2000, 3, &rng));
	double mean = 0;
	for (int i = 0; i < 2000; i++)
		mean += (double)forest_score(&f, x[i]) / 2000;
	assert_true(mean > 0.4 && mean < 0.55);
	assert_true(forest_score(&f, (float[]){ 0, 0, 0 }) < 0.45F);
	assert_true(forest_score(&f, (float[]){ 6, 0, 0 }) > 0.55F);
	assert_true(forest_score(&f, (float[]){ 5, -5, 5 }) > 0.7F);
	/* From the same seed the same trees. */
	assert_true(forest_grow(&same, x[0], 2000, 3, &copy));
	assert_memory_equal(&f, &same, sizeof(f));
	/* Rows that are all alike are one leaf, and ordinary. */
	for (int i = 0; i < 2000; i++)
		x[i][0] = x[i][1] = x[i][2] = 7;
	assert_true(forest_grow(&f, x[0], 2000, 3, &rng));
	assert_true(fabsf(forest_score(&f, x[0]) - 0.5F) < 0.01F);
	assert_false(forest_grow(&f, x[0], 1, 3, &rng));
	assert_false(forest_grow(&f, x[0], 2000, FOREST_FEATURES_MAX + 1, &rng));
}

/* ---- autoencoder ---- */

/* Waves of one period in all signals, at random phases: two numbers describe a window. */
static void wave(struct rng *rng, float w[AE_WINDOW], float period)
{
	float phase = 6.2832F * (float)rng_double(rng), size = 0.5F + (float)rng_double(rng);
	for (int t = 0; t < AE_STEPS; t++)
		for (int k = 0; k < AE_SIGNALS; k++)
			w[t * AE_SIGNALS + k] = size * sinf(6.2832F * (float)t / period + phase + (float)k);
}

static void autoencoder_draws_what_it_knows(void **state)
{
	static float batch[AE_BATCH][AE_WINDOW];
	struct autoencoder *a = autoencoder_new(5), *b = autoencoder_new(5);
	struct rng rng;
	float known[AE_BATCH], strange[AE_BATCH], by[AE_BATCH * AE_SIGNALS];
	double first = 0, last = 0, worst = 0, mean = 0;
	assert_non_null(a);
	rng_init(&rng, 6);
	for (int step = 0; step < 1200; step++) {
		for (int i = 0; i < AE_BATCH; i++)
			wave(&rng, batch[i], 16);
		double loss = autoencoder_train(a, batch[0], AE_BATCH);
		if (step < 3)
			assert_true(loss == autoencoder_train(b, batch[0], AE_BATCH));
		first = step ? first : loss;
		last = loss;
	}
	assert_true(last < first / 8);
	for (int i = 0; i < AE_BATCH; i++)
		wave(&rng, batch[i], 16);
	autoencoder_error(a, batch[0], AE_BATCH, known, by);
	for (int i = 0; i < AE_BATCH; i++) {
		float sum = 0;
		for (int k = 0; k < AE_SIGNALS; k++)
			sum += by[i * AE_SIGNALS + k] / AE_SIGNALS;
		assert_true(fabsf(sum - known[i]) < 1e-4F);
		worst = fmax(worst, (double)known[i]);
		wave(&rng, batch[i], 5);
	}
	autoencoder_error(a, batch[0], AE_BATCH, strange, NULL);
	for (int i = 0; i < AE_BATCH; i++)
		mean += (double)strange[i] / AE_BATCH;
	assert_true(mean > 2 * worst);
	autoencoder_free(a);
	autoencoder_free(b);
}

static void no_memory_is_said(void **state)
{
	for (uint64_t i = 1; i <= 3; i++) {
		mem_fail_after(i, 0);
		assert_null(autoencoder_new(1));
		mem_fail_after(0, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chart_is_quiet_and_finds_a_shift),
		cmocka_unit_test(chart_does_not_follow_outliers),
		cmocka_unit_test(norm_learns_a_surface_in_spite_of_sick_devices),
		cmocka_unit_test(forest_isolates_what_is_strange),
		cmocka_unit_test(autoencoder_draws_what_it_knows),
		cmocka_unit_test(no_memory_is_said),
	};
	int64_t live = mem_live();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed ? failed : mem_live() != live;
}
