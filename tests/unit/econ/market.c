#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/money.h"
#include "econ/market.h"
#include "econ/market_sim.h"

#define H (3600 * NS_PER_S)
#define T0 (INT64_C(472222) * H)

static int tick(struct market *m, enum market_quantity q, double v, int64_t at_ns, int64_t now_ns, struct err *err)
{
	struct market_tick t = { .quantity = q, .value = v, .observed_at_ns = at_ns, .valid_from_ns = at_ns,
		.source = "test" };
	return market_apply(m, &t, now_ns, err);
}

static void a_refused_tick_changes_nothing(void **state)
{
	struct market m;
	struct err err;
	market_init(&m);
	assert_int_equal(tick(&m, MARKET_BTC_USD, 60000, T0, T0, NULL), 0);
	struct market before = m;
	assert_int_equal(tick(&m, MARKET_BTC_USD, NAN, T0 + 1, T0 + 1, &err), HCP_EINVAL);
	assert_string_equal(err.field, "value");
	assert_int_equal(tick(&m, MARKET_BTC_USD, INFINITY, T0 + 1, T0 + 1, NULL), HCP_EINVAL);
	assert_int_equal(tick(&m, MARKET_BTC_USD, -5, T0 + 1, T0 + 1, NULL), HCP_ERANGE);
	assert_int_equal(tick(&m, MARKET_POWER_RT, 9501, T0, T0, NULL), HCP_ERANGE);
	assert_int_equal(tick(&m, MARKET_POWER_RT, -251.5, T0, T0, NULL), HCP_ERANGE);
	assert_int_equal(tick(&m, MARKET_BTC_USD, 60001, T0 + H, T0, &err), HCP_ERANGE);
	assert_string_equal(err.field, "observed_at");
	assert_int_equal(tick(&m, MARKET_BTC_USD, 60001, T0 - 1, T0, NULL), HCP_ECONFLICT);
	assert_int_equal(tick(&m, MARKET_QUANTITY_END, 1, T0, T0, NULL), HCP_EINVAL);
	struct market_tick t = { .quantity = MARKET_GPU_RATE, .value = 2, .observed_at_ns = T0, .valid_from_ns = T0,
		.device_class = DEVICE_CLASS_MAX };
	assert_int_equal(market_apply(&m, &t, T0, NULL), HCP_EINVAL);
	t.device_class = 0;
	memset(t.source, 'x', sizeof(t.source));
	assert_int_equal(market_apply(&m, &t, T0, NULL), HCP_EINVAL);
	assert_memory_equal(&m, &before, sizeof(m));
}

static void outliers_wait_for_confirmation(void **state)
{
	struct market m;
	market_init(&m);
	assert_int_equal(tick(&m, MARKET_BTC_USD, 60000, T0, T0, NULL), 0);
	assert_int_equal(tick(&m, MARKET_BTC_USD, 6000, T0 + 1, T0 + 1, NULL), HCP_EAGAIN);
	assert_int_equal(tick(&m, MARKET_BTC_USD, 61000, T0 + 2, T0 + 2, NULL), 0);
	for (int i = 3; i < 5; i++)
		assert_int_equal(tick(&m, MARKET_BTC_USD, 30000, T0 + i, T0 + i, NULL), HCP_EAGAIN);
	assert_true(market_read(&m, MARKET_BTC_USD, 0, T0 + 5).value == 61000);
	assert_int_equal(tick(&m, MARKET_BTC_USD, 30100, T0 + 5, T0 + 5, NULL), 0);
	assert_true(market_read(&m, MARKET_BTC_USD, 0, T0 + 5).value == 30100);
	assert_int_equal(m.v[MARKET_BTC_USD].rejected, 3);
	/* Electricity really goes from 20 to 9,000 and below zero. */
	assert_int_equal(tick(&m, MARKET_POWER_RT, 20, T0, T0, NULL), 0);
	assert_int_equal(tick(&m, MARKET_POWER_RT, 9000, T0 + 1, T0 + 1, NULL), 0);
	assert_int_equal(tick(&m, MARKET_POWER_RT, -30, T0 + 2, T0 + 2, NULL), 0);
}

static void fallbacks_come_in_order(void **state)
{
	struct market m;
	market_init(&m);
	struct market_reading r = market_read(&m, MARKET_POWER_RT, 0, T0);
	assert_int_equal(r.origin, MARKET_DEFAULT);
	assert_int_equal(market_health(&m, T0), MARKET_BLIND);
	assert_int_equal(tick(&m, MARKET_POWER_RT, 25, T0, T0, NULL), 0);
	for (int h = 0; h < 24; h++) {
		struct market_tick t = { .quantity = MARKET_POWER_DA, .value = 100 + h, .observed_at_ns = T0 + h,
			.valid_from_ns = T0 + h * H, .source = "da" };
		assert_int_equal(market_apply(&m, &t, T0 + h, NULL), 0);
	}
	assert_int_equal(market_read(&m, MARKET_POWER_RT, 0, T0 + H / 4).origin, MARKET_FRESH);
	r = market_read(&m, MARKET_POWER_RT, 0, T0 + H);
	assert_int_equal(r.origin, MARKET_LAST_KNOWN);
	assert_true(r.value == 25 && r.age_ns == H);
	r = market_read(&m, MARKET_POWER_RT, 0, T0 + 3 * H + 1);
	assert_int_equal(r.origin, MARKET_DAY_AHEAD);
	assert_true(r.value == 103);
	r = market_read(&m, MARKET_POWER_RT, 0, T0 + 24 * H);
	assert_int_equal(r.origin, MARKET_DEFAULT);
	/* Not the same hour of another day. */
	assert_int_equal(market_read(&m, MARKET_POWER_RT, 0, T0 + MARKET_DA_HOURS * H).origin, MARKET_DEFAULT);

	assert_int_equal(tick(&m, MARKET_BTC_USD, 60000, T0 + 30, T0 + 30, NULL), 0);
	assert_int_equal(market_health(&m, T0 + 30), MARKET_DEGRADED);
	assert_int_equal(tick(&m, MARKET_DIFFICULTY, 9e13, T0 + 30, T0 + 30, NULL), 0);
	assert_int_equal(tick(&m, MARKET_FEES_BTC, 0.1, T0 + 30, T0 + 30, NULL), 0);
	assert_int_equal(market_health(&m, T0 + 30), MARKET_OK);
	assert_int_equal(tick(&m, MARKET_HEIGHT, 839999, T0 + 30, T0 + 30, NULL), 0);
	struct profit_market pm = market_profit_inputs(&m, 0.01, 1.2, T0 + 30);
	assert_true(pm.subsidy_btc == 6.25 && pm.btc_usd == 60000 && pm.electricity_usd_mwh == 25 && pm.pue == 1.2);
	assert_int_equal(profit_market_validate(&pm, NULL), 0);
}

static struct market_sim_state run(uint64_t seed, int steps, struct market_sim *s)
{
	struct market_sim_conf c;
	market_sim_conf_default(&c);
	c.seed = seed;
	assert_int_equal(market_sim_init(s, &c, NULL), 0);
	for (int i = 0; i < steps; i++)
		assert_int_equal(market_sim_step(s, 60 * NS_PER_S, NULL), 0);
	return s->now;
}

static void a_seed_is_a_path(void **state)
{
	struct market_sim a, b;
	run(7, 3000, &a);
	run(7, 3000, &b);
	assert_memory_equal(&a.now, &b.now, sizeof(a.now));
	run(8, 3000, &b);
	assert_true(memcmp(&a.now, &b.now, sizeof(a.now)) != 0);
	struct market_sim_conf c;
	struct err err;
	market_sim_conf_default(&c);
	c.spike_tail = 0;
	assert_int_equal(market_sim_init(&b, &c, &err), HCP_ERANGE);
	assert_string_equal(err.field, "spike_tail");
	assert_int_equal(market_sim_step(&a, 0, NULL), HCP_ERANGE);
}

/* A simulated year looks like a power market: spikes, hours below zero, dear evenings; and like a block chain. */
static void the_simulated_year_is_plausible(void **state)
{
	struct market_sim_conf c;
	struct market_sim s;
	market_sim_conf_default(&c);
	assert_int_equal(market_sim_init(&s, &c, NULL), 0);
	double sum = 0, evening = 0, night = 0;
	int n = 0, negative = 0, spikes = 0, n_evening = 0, n_night = 0, retargets = 0;
	double difficulty = s.now.difficulty;
	for (int i = 0; i < 365 * 96; i++) {
		assert_int_equal(market_sim_step(&s, 900 * NS_PER_S, NULL), 0);
		double p = s.now.power_usd_mwh;
		assert_true(isfinite(p) && p >= MARKET_POWER_MIN_USD_MWH && p <= MARKET_POWER_MAX_USD_MWH);
		assert_true(s.now.btc_usd > 0 && s.now.gpu_usd_h > 0 && s.now.difficulty > 0 && s.now.fees_btc >= 0);
		int hour = (i / 4 + 18) % 24; /* starts at midnight UTC, six hours ahead */
		sum += p;
		n++;
		negative += p < 0;
		spikes += p > 250;
		if (hour >= 17 && hour < 21) {
			evening += p;
			n_evening++;
		} else if (hour < 5) {
			night += p;
			n_night++;
		}
		if (s.now.difficulty != difficulty) {
			assert_true(s.now.difficulty / difficulty <= 4 && s.now.difficulty / difficulty >= 0.25);
			difficulty = s.now.difficulty;
			retargets++;
		}
	}
	assert_true(sum / n > 15 && sum / n < 200);
	assert_true(negative > n / 500 && negative < n / 5);
	assert_true(spikes > n / 1000 && spikes < n / 10);
	assert_true(evening / n_evening > 1.5 * night / n_night);
	assert_in_range(retargets, 20, 35);
	assert_in_range(s.now.height - c.height, 45000, 65000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refused_tick_changes_nothing),
		cmocka_unit_test(outliers_wait_for_confirmation),
		cmocka_unit_test(fallbacks_come_in_order),
		cmocka_unit_test(a_seed_is_a_path),
		cmocka_unit_test(the_simulated_year_is_plausible),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
