#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/timefmt.h"
#include "econ/history.h"
#include "os/file.h"
#include "sim/replay_files.h"
#include "sim/synth.h"

#define S_NS INT64_C(1000000000)

static int64_t at(const char *iso)
{
	int64_t ns;
	assert_int_equal(timefmt_parse(str_of(iso), &ns), 0);
	return ns;
}

static const char *data_dir(void)
{
	const char *dir = getenv("HCP_DATA");
	if (!dir)
		dir = HCP_DATA_DEFAULT;
	if (file_exists(dir))
		return dir;
	print_message("the recorded data is not there; set HCP_DATA\n");
	skip();
	return NULL;
}

static void load(struct replay *r, const char *from, const char *to, const char *locations)
{
	struct err err = { 0 };
	const char *dir = data_dir();
	replay_init(r, at(from), at(to));
	if (replay_load_dir(r, dir, locations, &err) < 0)
		fail_msg("%s: %s", err.field, err.text);
}

static void check_order(struct replay *r)
{
	struct sim_tick t;
	int64_t before = INT64_MIN;
	replay_rewind(r);
	while (replay_next(r, &t)) {
		assert_true(t.observed_at_ns >= before);
		assert_true(t.observed_at_ns <= r->to_ns);
		before = t.observed_at_ns;
		int64_t end_ns = t.interval_start_ns + t.interval_s * S_NS;
		/* Nothing is known before its interval has ended, except what is published a day ahead. */
		if (!sim_tick_is_ahead(t.symbol))
			assert_int_equal(t.observed_at_ns, end_ns);
		else
			assert_true(
				t.observed_at_ns < t.interval_start_ns && t.interval_start_ns - t.observed_at_ns <= 35 * 3600 * S_NS);
	}
	replay_rewind(r);
}

/* Quarter-hours that start within [from, to). */
static int count_quarters(const char *from, const char *to)
{
	struct replay r;
	struct sim_tick t;
	int n = 0;
	load(&r, from, "2025-01-02T00:00:00Z", "HB_WEST");
	check_order(&r);
	while (replay_next(&r, &t))
		n += !strcmp(t.symbol, "electricity_rt") && t.interval_start_ns >= at(from) && t.interval_start_ns < at(to);
	replay_release(&r);
	return n;
}

static void days_of_clock_changes_have_92_and_100_quarters(void **state)
{
	/* Central midnights: UTC-6 in winter, UTC-5 in summer. */
	assert_int_equal(count_quarters("2021-03-14T06:00:00Z", "2021-03-15T05:00:00Z"), 92);
	assert_int_equal(count_quarters("2021-11-07T05:00:00Z", "2021-11-08T06:00:00Z"), 100);
	assert_int_equal(count_quarters("2024-03-10T06:00:00Z", "2024-03-11T05:00:00Z"), 92);
	assert_int_equal(count_quarters("2024-11-03T05:00:00Z", "2024-11-04T06:00:00Z"), 100);
	assert_int_equal(count_quarters("2023-06-01T05:00:00Z", "2023-06-02T05:00:00Z"), 96);
}

static void storm_of_2021_replays_in_order(void **state)
{
	struct replay r;
	struct sim_tick t;
	int64_t last_cap_ns = 0, last_start_ns = 0;
	int quarters = 0, candles = 0, at_cap = 0;
	load(&r, "2021-02-01T00:00:00Z", "2021-03-01T00:00:00Z", "HB_HOUSTON,LZ_WEST_MID");
	check_order(&r);
	while (replay_next(&r, &t)) {
		if (!strcmp(t.symbol, "btc_usd"))
			candles += t.observed_at_ns > r.from_ns;
		if (strcmp(t.symbol, "electricity_rt") || strcmp(t.location, "LZ_WEST_MID"))
			continue;
		if (last_start_ns)
			assert_int_equal(t.interval_start_ns - last_start_ns, 900 * S_NS);
		last_start_ns = t.interval_start_ns;
		quarters += t.observed_at_ns > r.from_ns;
		if (t.value >= 8999) {
			at_cap++;
			last_cap_ns = t.interval_start_ns;
		}
	}
	/* Quarter-hours that end in (1 February, 1 March], and the one known at the start besides. */
	assert_int_equal(quarters, 28 * 96);
	assert_true(candles >= 28 * 24 - 5 && candles <= 28 * 24);
	assert_true(at_cap > 200);
	assert_int_equal(last_cap_ns, at("2021-02-19T14:45:00Z"));
	replay_release(&r);
}

/* When each of the further series is known; Central time is UTC-6, from 10 March 08:00Z on UTC-5. */
static void further_series_are_known_when_they_were(void **state)
{
	static const char ancillary[] = "interval_start_utc,REGUP,RRS\n2024-03-10T06:00:00Z,1.5,2\n";
	static const char forecast[] = "interval_start_utc,da_load_forecast_mw\n2024-03-11T04:00:00Z,45112\n"
								   "2024-03-11T05:00:00Z,45113\n";
	static const char generation[] = "interval_start_utc,total_generation_mw\n2024-03-10T06:00:00Z,43594\n";
	static const char fuel[] = "interval_start_utc,wind_mw,gas_cc_mw\n2024-03-10T06:00:00Z,1,\n";
	static const struct {
		const char *symbol, *location, *known;
	} want[] = {
		{ "ancillary", "REGUP", "2024-03-09T19:30:00Z" },        /* 13:30 of the 9th */
		{ "ancillary", "RRS", "2024-03-09T19:30:00Z" },
		{ "load_forecast_mw", "", "2024-03-10T00:00:00Z" },      /* 18:00 of the 9th for the last hour of the 10th */
		{ "generation_mw", "", "2024-03-10T08:00:00Z" },
		{ "fuel_mw", "wind", "2024-03-10T08:00:00Z" },
		{ "load_forecast_mw", "", "2024-03-10T23:00:00Z" },      /* 18:00 of the 10th, summer time by then */
	};
	struct replay r;
	struct sim_tick t;
	replay_init(&r, 0, at("2025-01-01T00:00:00Z"));
	assert_int_equal(replay_add_fuel_mix(&r, "f", str_of(fuel), NULL), 0);
	assert_int_equal(replay_add_generation(&r, "f", str_of(generation), NULL), 0);
	assert_int_equal(replay_add_load_forecast(&r, "f", str_of(forecast), NULL), 0);
	assert_int_equal(replay_add_ancillary(&r, "f", str_of(ancillary), NULL), 0);
	replay_seal(&r);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		assert_true(replay_at(&r, i, &t));
		assert_int_equal(t.observed_at_ns, at(want[i].known));
		bool found = false;
		for (size_t k = 0; k < sizeof(want) / sizeof(want[0]); k++)
			found |= !strcmp(t.symbol, want[k].symbol) && !strcmp(t.location, want[k].location);
		assert_true(found);
	}
	assert_false(replay_at(&r, sizeof(want) / sizeof(want[0]), &t));
	assert_int_equal(r.skipped, 1);
	replay_release(&r);
}

static void requests_become_demand(void **state)
{
	/* Two hours of the fifth day, the second twice as busy; a row before it does not count, nor one without seconds. */
	static const char text[] = "elapsed_s,exec_time_s\n10,9999\n432000,30\n435700,40\n435800,20\n435900,\n";
	struct replay r;
	struct sim_tick t;
	int64_t hour_ns = 3600 * S_NS, from_ns = at("2024-01-01T00:00:00Z");
	replay_init(&r, 0, at("2025-01-01T00:00:00Z"));
	assert_int_equal(replay_add_requests(&r, "f", str_of(text), from_ns, from_ns + (14 * 24 + 2) * hour_ns, NULL), 0);
	replay_seal(&r);
	assert_int_equal(r.n, 14 * 24 + 2);
	for (size_t i = 0; i < r.n; i++) {
		assert_true(replay_at(&r, i, &t));
		assert_string_equal(t.symbol, "demand");
		assert_int_equal(t.observed_at_ns, from_ns + ((int64_t)i + 1) * hour_ns);
		assert_true(t.value == (i % (14 * 24) == 0 ? 0.5 : i % (14 * 24) == 1 ? 1 : 0));
	}
	replay_release(&r);
}

static void whole_record_has_every_row(void **state)
{
	struct replay r;
	struct sim_tick t;
	long rt = 0, btc = 0, difficulty = 0, gpu = 0, da = 0, subsidies = 0;
	load(&r, "2020-12-31T00:00:00Z", "2025-02-02T00:00:00Z", "HB_NORTH");
	check_order(&r);
	while (replay_next(&r, &t)) {
		rt += !strcmp(t.symbol, "electricity_rt");
		da += !strcmp(t.symbol, "electricity_da");
		btc += !strcmp(t.symbol, "btc_usd");
		difficulty += !strcmp(t.symbol, "difficulty");
		gpu += !strcmp(t.symbol, "gpu_rate");
		if (!strcmp(t.symbol, "block_subsidy_btc")) {
			subsidies++;
			assert_true(t.value >= 3.12 && t.value <= 6.26);
		}
	}
	/* The rows that the data's own README counts. */
	assert_int_equal(rt, 140256);
	assert_int_equal(btc, 35056);
	assert_int_equal(difficulty, 1462);
	assert_int_equal(subsidies, 1462);
	assert_int_equal(gpu, 30);
	/* 8,784 rows, of which two have no price of this hub. */
	assert_int_equal(da, 8782);
	assert_int_equal(r.skipped, 2);
	replay_release(&r);
}

static void first_comes_what_is_known_at_the_start(void **state)
{
	struct replay r;
	struct sim_tick t;
	int rt = 0, btc = 0, da = 0, gpu = 0;
	load(&r, "2024-06-15T12:07:00Z", "2024-06-15T12:07:00Z", "HB_WEST");
	while (replay_next(&r, &t)) {
		assert_true(t.observed_at_ns <= r.from_ns);
		if (!strcmp(t.symbol, "electricity_rt")) {
			rt++;
			assert_int_equal(t.interval_start_ns, at("2024-06-15T11:45:00Z"));
		} else if (!strcmp(t.symbol, "btc_usd")) {
			btc++;
			assert_int_equal(t.interval_start_ns, at("2024-06-15T11:00:00Z"));
		} else if (!strcmp(t.symbol, "gpu_rate")) {
			gpu++;
			/* May's list prices, known since its end. */
			assert_int_equal(t.observed_at_ns, at("2024-06-01"));
			assert_int_equal(t.interval_s, 0);
		} else if (!strcmp(t.symbol, "electricity_da")) {
			/* 07:07 Central: the rest of this Central day, tomorrow is not published yet. */
			da++;
			assert_true(t.interval_start_ns >= at("2024-06-15T12:00:00Z"));
			assert_true(t.interval_start_ns < at("2024-06-16T05:00:00Z"));
		}
	}
	assert_int_equal(rt, 1);
	assert_int_equal(btc, 1);
	assert_int_equal(gpu, 2);
	assert_int_equal(da, 17);
	replay_release(&r);
}

static int64_t day_ahead_known_ns(int64_t t)
{
	return history_known_ns(HISTORY_POWER_DA, t, INT64_C(3600000000000));
}

static void day_ahead_is_published_the_day_before(void **state)
{
	/* 13:30 Central = 18:30 UTC in summer, 19:30 in winter; also on the days when the clocks change. */
	assert_int_equal(day_ahead_known_ns(at("2024-06-15T05:00:00Z")), at("2024-06-14T18:30:00Z"));
	assert_int_equal(day_ahead_known_ns(at("2024-06-16T04:00:00Z")), at("2024-06-14T18:30:00Z"));
	assert_int_equal(day_ahead_known_ns(at("2024-01-15T06:00:00Z")), at("2024-01-14T19:30:00Z"));
	assert_int_equal(day_ahead_known_ns(at("2024-03-11T04:00:00Z")), at("2024-03-09T19:30:00Z"));
	assert_int_equal(day_ahead_known_ns(at("2024-03-11T05:00:00Z")), at("2024-03-10T18:30:00Z"));
	assert_int_equal(day_ahead_known_ns(at("2024-11-04T06:00:00Z")), at("2024-11-03T19:30:00Z"));
}

static void empty_fields_give_no_tick_and_bad_rows_are_named(void **state)
{
	static const char good[] = "interval_start_utc,A,B\n2021-01-01T00:15:00Z,,2\n2021-01-01T00:00:00Z,-3.5,1\n";
	static const char bad_time[] = "interval_start_utc,A\nyesterday,1\n";
	static const char bad_value[] = "interval_start_utc,A\n2021-01-01T00:00:00Z,nan\n";
	struct replay r;
	struct sim_tick t;
	struct err err = { 0 };
	replay_init(&r, 0, INT64_MAX / 4);
	assert_int_equal(replay_add_real_time(&r, "x.csv", STR(good), "A", &err), 0);
	/* The same file again: no value twice. */
	assert_int_equal(replay_add_real_time(&r, "x.csv", STR(good), "A", &err), 0);
	assert_int_equal(r.skipped, 2);
	assert_true(replay_add_real_time(&r, "x.csv", STR(bad_time), "A", &err) < 0);
	assert_string_equal(err.field, "x.csv.time");
	assert_true(replay_add_real_time(&r, "x.csv", STR(bad_value), "A", &err) < 0);
	assert_string_equal(err.field, "x.csv.A");
	assert_int_equal(replay_add_real_time(&r, "x.csv", STR(good), "C", &err), HCP_ENOTFOUND);
	assert_true(
		replay_add_gpu(&r, "g.csv", STR("month,gpu,restated_median_usd_per_gpu_h\n2023-13,H100,1\n"), &err) < 0);
	replay_seal(&r);
	assert_true(replay_next(&r, &t));
	assert_true(t.value == -3.5);
	assert_int_equal(t.observed_at_ns, at("2021-01-01T00:15:00Z"));
	assert_false(replay_next(&r, &t));
	replay_release(&r);
}

static void failing_memory_is_reported(void **state)
{
	static const char text[] = "hour_start_utc,close\n2021-01-01T00:00:00Z,1\n";
	int64_t live = mem_live();
	for (uint64_t n = 1; n < 4; n++) {
		struct replay r;
		replay_init(&r, 0, INT64_MAX / 4);
		mem_fail_after(n, 1);
		int rc = replay_add_btc(&r, "b.csv", STR(text), NULL);
		uint64_t hits = mem_fail_hits();
		mem_fail_after(0, 0);
		assert_true(rc == 0 || (rc == HCP_ENOMEM && hits));
		replay_release(&r);
	}
	assert_int_equal(mem_live(), live);
}

static void simulated_market_is_repeatable_and_knows_no_future(void **state)
{
	struct synth a, b;
	struct sim_tick ta, tb;
	int power = 0, coin = 0, height = 0;
	int64_t before = 0, day_ns = 86400 * S_NS, start = at("2024-05-01T00:02:30Z");
	assert_int_equal(synth_init(&a, 7, start, 60, "HB_WEST", NULL), 0);
	assert_int_equal(synth_init(&b, 7, start, 60, "HB_WEST", NULL), 0);
	while (synth_next(&a, &ta) && ta.observed_at_ns < start + day_ns) {
		assert_true(synth_next(&b, &tb));
		assert_string_equal(ta.symbol, tb.symbol);
		assert_true(ta.value == tb.value && ta.observed_at_ns == tb.observed_at_ns);
		assert_true(ta.observed_at_ns >= before);
		before = ta.observed_at_ns;
		if (!strcmp(ta.symbol, "electricity_rt")) {
			power++;
			assert_int_equal(ta.interval_start_ns % (300 * S_NS), 0);
			assert_int_equal(ta.observed_at_ns, ta.interval_start_ns + 300 * S_NS);
		}
		coin += !strcmp(ta.symbol, "btc_usd");
		height += !strcmp(ta.symbol, "block_height");
	}
	assert_int_equal(power, 289);
	assert_int_equal(coin, 1443);
	assert_in_range(height, 80, 220);
	assert_int_equal(synth_init(&a, 7, start, 301, "HB_WEST", NULL), HCP_ERANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(days_of_clock_changes_have_92_and_100_quarters),
		cmocka_unit_test(storm_of_2021_replays_in_order),
		cmocka_unit_test(further_series_are_known_when_they_were),
		cmocka_unit_test(requests_become_demand),
		cmocka_unit_test(whole_record_has_every_row),
		cmocka_unit_test(first_comes_what_is_known_at_the_start),
		cmocka_unit_test(day_ahead_is_published_the_day_before),
		cmocka_unit_test(empty_fields_give_no_tick_and_bad_rows_are_named),
		cmocka_unit_test(failing_memory_is_reported),
		cmocka_unit_test(simulated_market_is_repeatable_and_knows_no_future),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
