#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/fleet.h"
#include "sim/inlet.h"

#define S_NS INT64_C(1000000000)
#define START_NS (INT64_C(1700000000) * S_NS)

static const struct fleet_rules rules;

struct bench {
	struct fleet_device d;
	struct rng rng;
	int64_t now_ns;
	double hashes;
};

static void start(struct bench *b, const char *class_name, enum device_mode mode)
{
	memset(b, 0, sizeof(*b));
	rng_init(&b->rng, 5);
	b->now_ns = START_NS;
	fleet_device_init(&b->d, device_class_find(str_of(class_name)), mode, b->now_ns);
}

/* Time passes in steps of dt_s; returns the highest temperature. */
static double run(struct bench *b, double inlet_c, int seconds, int dt_s)
{
	double most = 0;
	b->hashes = 0;
	for (int s = 0; s < seconds; s += dt_s) {
		struct fleet_step step;
		b->now_ns += dt_s * S_NS;
		fleet_step_init(&step, &rules, (float)inlet_c, b->now_ns, dt_s * S_NS);
		b->hashes += fleet_device_step(&b->d, &step, &b->rng, true).hashes;
		most = fmax(most, (double)b->d.temperature_c);
	}
	return most;
}

static void warm_air_turns_fans_up_and_costs_hashes(void **state)
{
	struct bench cold, hot;
	start(&cold, "S21", DEVICE_FILL);
	start(&hot, "S21", DEVICE_FILL);
	run(&cold, 10, 3600, 10);
	run(&hot, 38, 3600, 10);
	assert_true(hot.d.duty > cold.d.duty + 0.2F && hot.d.temperature_c > cold.d.temperature_c + 8);
	run(&cold, 10, 3600, 10);
	run(&hot, 38, 3600, 10);
	assert_true(hot.hashes < cold.hashes * 0.99 && hot.hashes > cold.hashes * 0.9);
	/* The firmware holds the watts. */
	assert_true(hot.d.power_mw <= 3500000 * 1.02);
	assert_true(!hot.d.tripped && hot.d.temperature_c < 82);
}

static void temperatures_do_not_depend_on_the_step(void **state)
{
	struct bench a, b, c;
	start(&a, "H100", DEVICE_SERVE);
	start(&b, "H100", DEVICE_SERVE);
	start(&c, "H100", DEVICE_SERVE);
	double sum[3] = { 0 };
	for (int i = 0; i < 1000; i++) {
		run(&a, 22, 60, 1);
		run(&b, 22, 60, 10);
		run(&c, 22, 60, 60);
		sum[0] += (double)a.d.temperature_c / 1000;
		sum[1] += (double)b.d.temperature_c / 1000;
		sum[2] += (double)c.d.temperature_c / 1000;
	}
	assert_true(fabs(sum[0] - sum[1]) < 1 && fabs(sum[0] - sum[2]) < 1);
	assert_true(sum[0] > 50 && sum[0] < 70);
}

static void lost_fan_heats_and_speeds_up_the_others(void **state)
{
	struct bench b;
	start(&b, "S21", DEVICE_FILL);
	run(&b, 25, 3600, 10);
	double before_c = (double)b.d.temperature_c, duty = (double)b.d.duty;
	fleet_device_break(&b.d, FLEET_FAN_LOST, 0.5, INT64_MAX);
	run(&b, 25, 1800, 10);
	assert_true((double)b.d.temperature_c > before_c + 3 && (double)b.d.duty > duty + 0.08);
	assert_true(!b.d.tripped);
}

static void runaway_trips_cools_and_boots_again(void **state)
{
	struct bench b;
	int trips = 0;
	bool was = false;
	start(&b, "S21", DEVICE_FILL);
	run(&b, 30, 3600, 10);
	fleet_device_break(&b.d, FLEET_RUNAWAY, 1, b.now_ns + 6 * 3600 * S_NS);
	for (int i = 0; i < 6 * 360; i++) {
		assert_true(run(&b, 30, 10, 10) < 100);
		trips += b.d.tripped && !was;
		if (was && b.d.tripped)
			assert_true(b.d.hash_ths == 0 && b.d.power_mw < 60000);
		was = b.d.tripped;
	}
	assert_true(trips >= 3);
	run(&b, 30, 1800, 10);
	assert_true(!b.d.tripped && b.d.hash_ths > 180);
}

static void frozen_sensor_holds_the_fans(void **state)
{
	struct bench b;
	start(&b, "S21", DEVICE_FILL);
	run(&b, 15, 3600, 10);
	float sensor_c = b.d.sensor_c, true_c = b.d.temperature_c, duty = b.d.duty;
	fleet_device_break(&b.d, FLEET_FROZEN, 0.5, INT64_MAX);
	run(&b, 30, 3600, 10);
	assert_true(b.d.sensor_c == sensor_c && fabsf(b.d.duty - duty) < 0.05F);
	assert_true(b.d.temperature_c > true_c + 10);
}

static void leak_fills_the_memory_and_the_runtime_starts_anew(void **state)
{
	struct bench b;
	double most = 0;
	bool restarted = false;
	start(&b, "H100", DEVICE_SERVE);
	run(&b, 22, 600, 10);
	double before = fleet_device_memory_gib(&b.d);
	assert_true(before > 0.6 * 80 && before < 0.9 * 80);
	fleet_device_break(&b.d, FLEET_MEMORY_LEAK, 1, INT64_MAX);
	for (int i = 0; i < 12 * 360; i++) {
		double was = fleet_device_memory_gib(&b.d);
		run(&b, 22, 10, 10);
		most = fmax(most, fleet_device_memory_gib(&b.d));
		if (fleet_device_memory_gib(&b.d) < was - 5) {
			restarted = true;
			assert_false(fleet_device_probe(&b.d, b.now_ns));
		}
	}
	assert_true(restarted && most <= 80);
}

static void lost_board_shows_in_hashes_watts_and_errors(void **state)
{
	struct bench good, bad;
	start(&good, "S21", DEVICE_FILL);
	start(&bad, "S21", DEVICE_FILL);
	fleet_device_break(&bad.d, FLEET_BOARD_LOST, 0.5, INT64_MAX);
	run(&good, 25, 7200, 10);
	run(&bad, 25, 7200, 10);
	assert_true(fabs(bad.hashes / good.hashes - 2 / 3.0) < 0.02);
	assert_true(bad.d.errors > 2 * good.d.errors);
}

static void units_differ_within_bounds(void **state)
{
	struct rng rng;
	double sum = 0, square = 0;
	rng_init(&rng, 1);
	for (int i = 0; i < 1000; i++) {
		struct fleet_device d;
		fleet_device_init(&d, device_class_find(STR("S21")), DEVICE_FILL, START_NS);
		fleet_device_vary(&d, &rng);
		sum += (double)d.draw / 1000;
		square += (double)(d.draw - 1) * (double)(d.draw - 1) / 1000;
	}
	assert_true(fabs(sum - 1) < 0.002 && fabs(sqrt(square) - 0.01) < 0.001);
}

static void every_fault_comes_and_goes(void **state)
{
	const struct fleet_rules often = { .fail_rate_h = 20, .repair_ns = 120 * S_NS };
	const char *const name[] = { "S21", "H100", "CPU64" };
	for (int c = 0; c < 3; c++) {
		struct bench b;
		unsigned seen = 0;
		start(&b, name[c], DEVICE_FILL);
		for (int i = 0; i < 20000; i++) {
			struct fleet_step step;
			b.now_ns += 10 * S_NS;
			fleet_step_init(&step, &often, 25, b.now_ns, 10 * S_NS);
			(void)fleet_device_step(&b.d, &step, &b.rng, false);
			seen |= 1U << b.d.fault;
			assert_true(isfinite(b.d.temperature_c) && b.d.temperature_c > 20 && b.d.temperature_c < 110);
			assert_true(b.d.duty > 0 && b.d.duty <= 1 && b.d.contact > 0 && b.d.contact <= 1);
		}
		unsigned lacks = c == 0 ? 1U << FLEET_MEMORY_LEAK : 1U << FLEET_BOARD_LOST;
		assert_int_equal(seen, ((1U << FLEET_FAULT_END) - 1) & ~lacks);
	}
	for (int f = 0; f < FLEET_FAULT_END; f++)
		assert_non_null(fleet_fault_name((enum fleet_fault)f));
	assert_null(fleet_fault_name(FLEET_FAULT_END));
}

static void air_follows_season_and_day(void **state)
{
	struct inlet out, hall, other;
	double summer = 0, winter = 0, low = 100, high = -100, most = 0;
	inlet_init(&out, DEVICE_ASIC, "a", 1);
	inlet_init(&hall, DEVICE_GPU, "a", 1);
	inlet_init(&other, DEVICE_ASIC, "b", 1);
	const int64_t january_ns = INT64_C(1704067200) * S_NS, july_ns = INT64_C(1719792000) * S_NS;
	for (int h = 0; h < 31 * 24; h++) {
		int64_t t = h * 3600 * S_NS;
		winter += (double)inlet_at(&out, january_ns + t) / (31 * 24);
		summer += (double)inlet_at(&out, july_ns + t) / (31 * 24);
		low = fmin(low, (double)inlet_at(&hall, july_ns + t));
		high = fmax(high, (double)inlet_at(&hall, july_ns + t));
		most = fmax(most, fabs((double)(inlet_at(&out, july_ns + t) - inlet_at(&other, july_ns + t))));
	}
	assert_true(summer > winter + 12 && summer < 34 && winter > 6);
	assert_true(low > 18 && high < 27 && high - low < 3);
	assert_true(most > 2); /* another site has another weather */
	/* Warmer in the afternoon than before sunrise, Texas time. */
	int64_t day_ns = july_ns + 10 * 86400 * S_NS;
	assert_true(inlet_at(&out, day_ns + 22 * 3600 * S_NS) > inlet_at(&out, day_ns + 11 * 3600 * S_NS) + 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(warm_air_turns_fans_up_and_costs_hashes),
		cmocka_unit_test(temperatures_do_not_depend_on_the_step),
		cmocka_unit_test(lost_fan_heats_and_speeds_up_the_others),
		cmocka_unit_test(runaway_trips_cools_and_boots_again),
		cmocka_unit_test(frozen_sensor_holds_the_fans),
		cmocka_unit_test(leak_fills_the_memory_and_the_runtime_starts_anew),
		cmocka_unit_test(lost_board_shows_in_hashes_watts_and_errors),
		cmocka_unit_test(units_differ_within_bounds),
		cmocka_unit_test(every_fault_comes_and_goes),
		cmocka_unit_test(air_follows_season_and_day),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
