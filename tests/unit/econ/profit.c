#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/rng.h"
#include "base/timefmt.h"
#include "cases.h"
#include "econ/btc.h"
#include "econ/profit.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void near_to(double got, double want)
{
	if (fabs(got - want) > 1e-12 * (1 + fabs(want)))
		fail_msg("got %.17g, want %.17g", got, want);
}

static struct profit_market market(void)
{
	return (struct profit_market){ 60000, 9e13, 3.125, 0.1, 0.01, 40, 1.05 };
}

static void mining_equals_the_reference(void **state)
{
	for (size_t i = 0; i < COUNT(mining_cases); i++) {
		const struct mining_case *c = &mining_cases[i];
		struct profit_market m = { c->btc_usd, c->difficulty, c->subsidy_btc, c->fees_btc, c->pool_fee,
			c->electricity_usd_mwh, c->pue };
		struct profit_row r;
		assert_int_equal(
			profit_calc(device_class_find(str_of(c->cls)), WORKLOAD_BITCOIN_MINING, &m, NULL, &r, NULL), 0);
		near_to(r.btc_per_day, c->btc_per_day);
		near_to(r.revenue_usd_h, c->revenue_usd_h);
		near_to(r.energy_usd_h, c->energy_usd_h);
		near_to(r.net_usd_h, c->net_usd_h);
		near_to(r.score, c->score);
		near_to(r.breakeven_usd_mwh, c->breakeven_usd_mwh);
		assert_int_equal(r.advice == PROFIT_AVOID, c->net_usd_h < 0);
		assert_int_equal(r.score < 50, c->net_usd_h < 0);
	}
}

static void serving_equals_the_reference(void **state)
{
	for (size_t i = 0; i < COUNT(serving_cases); i++) {
		const struct serving_case *c = &serving_cases[i];
		struct profit_market m = market();
		m.electricity_usd_mwh = c->electricity_usd_mwh;
		m.pue = c->pue;
		struct profit_ai ai = { c->spot_usd_h, c->contracted_usd_h, c->utilisation };
		struct profit_row r;
		assert_int_equal(
			profit_calc(device_class_find(str_of(c->cls)), WORKLOAD_AI_INFERENCE_BATCH, &m, &ai, &r, NULL), 0);
		near_to(r.revenue_usd_h, c->revenue_usd_h);
		near_to(r.energy_usd_h, c->energy_usd_h);
		near_to(r.net_usd_h, c->net_usd_h);
		assert_true(r.btc_per_day == 0);
	}
}

static void senseless_input_names_the_field(void **state)
{
	const struct device_class *s21 = device_class_find(STR("S21")), *h100 = device_class_find(STR("H100"));
	struct profit_row r = { .score = -1 };
	struct err err;
	struct profit_market m = market();
	m.difficulty = 0;
	assert_int_equal(profit_calc(s21, WORKLOAD_BITCOIN_MINING, &m, NULL, &r, &err), HCP_ERANGE);
	assert_string_equal(err.field, "difficulty");
	m = market();
	m.btc_usd = NAN;
	assert_int_equal(profit_calc(s21, WORKLOAD_BITCOIN_MINING, &m, NULL, &r, &err), HCP_EINVAL);
	assert_string_equal(err.field, "btc_usd");
	m = market();
	m.electricity_usd_mwh = INFINITY;
	assert_int_equal(profit_idle(s21, &m, &r, &err), HCP_EINVAL);
	m = market();
	struct profit_ai ai = { 1, 0, 1.5 };
	assert_int_equal(profit_calc(h100, WORKLOAD_MODEL_TRAINING, &m, &ai, &r, &err), HCP_ERANGE);
	assert_string_equal(err.field, "utilisation");
	assert_int_equal(profit_calc(s21, WORKLOAD_MODEL_TRAINING, &m, &ai, &r, &err), HCP_EUNSUPPORTED);
	assert_int_equal(profit_calc(h100, WORKLOAD_MODEL_TRAINING, &m, NULL, &r, &err), HCP_EINVAL);
	assert_int_equal(profit_calc(s21, 9, &m, NULL, &r, &err), HCP_EINVAL);
	assert_true(r.score == -1);
}

static void batch_agrees_with_the_scalar_form(void **state)
{
	enum { N = 1003 };
	static double in[7][N], net[N], score[N];
	struct profit_batch b = { N, in[0], in[1], in[2], in[3], in[4], in[5], in[6], net, score };
	struct rng rng;
	rng_init(&rng, 5);
	for (size_t k = 0; k < device_class_count(); k++) {
		const struct device_class *c = device_class_at(k);
		struct profit_market m[N];
		for (int i = 0; i < N; i++) {
			m[i] = market();
			m[i].btc_usd = 1000 + 1e5 * rng_double(&rng);
			m[i].electricity_usd_mwh = -251 + 9500 * pow(rng_double(&rng), 6);
			in[0][i] = c->fill_ths;
			in[1][i] = profit_hashprice_usd_ths_h(&m[i]);
			in[2][i] = 0;
			in[3][i] = c->power_w[DEVICE_FILL];
			in[4][i] = c->wear_usd_h;
			in[5][i] = m[i].electricity_usd_mwh;
			in[6][i] = m[i].pue;
		}
		assert_int_equal(profit_batch_validate(&b, NULL), 0);
		profit_batch_calc(&b);
		for (int i = 0; i < N; i++) {
			struct profit_row r;
			assert_int_equal(profit_calc(c, WORKLOAD_BITCOIN_MINING, &m[i], NULL, &r, NULL), 0);
			assert_true(fabs(r.net_usd_h - net[i]) <= 1e-12 * (1 + fabs(r.net_usd_h)));
			assert_true(fabs(r.score - score[i]) <= 1e-9);
		}
	}
	struct err err;
	in[3][7] = -1;
	assert_int_equal(profit_batch_validate(&b, &err), HCP_ERANGE);
	assert_string_equal(err.field, "power_w[7]");
	in[3][7] = NAN;
	assert_int_equal(profit_batch_validate(&b, &err), HCP_EINVAL);
	for (int i = 0; i < 7; i++)
		in[i][0] = i == 6;
	profit_batch_calc(&b);
	assert_true(score[0] == 50 && net[0] == 0);
}

static void subsidy_halves(void **state)
{
	assert_int_equal(btc_subsidy_sats(0), 50 * BTC_SATS);
	assert_int_equal(btc_subsidy_sats(209999), 50 * BTC_SATS);
	assert_int_equal(btc_subsidy_sats(840000), 312500000);
	assert_int_equal(btc_subsidy_sats(-1), 0);
	assert_int_equal(btc_subsidy_sats(64 * BTC_HALVING_BLOCKS), 0);
	int64_t sum = 0;
	for (int64_t h = 0; h < 64 * BTC_HALVING_BLOCKS; h += BTC_HALVING_BLOCKS)
		sum += btc_subsidy_sats(h) * BTC_HALVING_BLOCKS;
	assert_int_equal(sum, INT64_C(2099999997690000)); /* the well-known total supply */
	int64_t ns;
	assert_int_equal(timefmt_parse(STR("2024-04-19T23:59:59Z"), &ns), 0);
	assert_int_equal(btc_subsidy_sats_at(ns), 625000000);
	assert_int_equal(timefmt_parse(STR("2024-04-20T00:30:00Z"), &ns), 0);
	assert_int_equal(btc_subsidy_sats_at(ns), 312500000);
	assert_int_equal(timefmt_parse(STR("2010-01-01"), &ns), 0);
	assert_int_equal(btc_subsidy_sats_at(ns), 50 * BTC_SATS);
	assert_int_equal(timefmt_parse(STR("2029-01-01"), &ns), 0);
	assert_int_equal(btc_subsidy_sats_at(ns), 156250000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mining_equals_the_reference),
		cmocka_unit_test(serving_equals_the_reference),
		cmocka_unit_test(senseless_input_names_the_field),
		cmocka_unit_test(batch_agrees_with_the_scalar_form),
		cmocka_unit_test(subsidy_halves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
