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
#include "os/file.h"
#include "sim/forecast_report.h"
#include "sim/history_feed.h"
#include "sim/replay_files.h"

#define S_NS INT64_C(1000000000)
#define DAY_NS (86400 * S_NS)

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

static const char prices[] = "interval_start_utc,HB_X\n"
							 "2024-01-01T06:00:00Z,10\n"
							 "2024-01-01T06:15:00Z,20\n"
							 "2024-01-01T06:45:00Z,40\n";
static const char ahead[] = "interval_start_utc,HB_X\n"
							"2024-01-01T07:00:00Z,11\n"
							"2024-01-02T07:00:00Z,12\n";

static void a_history_knows_what_was_known(void **state)
{
	(void)state;
	struct replay r;
	struct history h;
	history_init(&h);
	replay_init(&r, at("2023-12-31"), at("2024-01-03"));
	assert_int_equal(replay_add_real_time(&r, "rt", STR(prices), "HB_X", NULL), 0);
	assert_int_equal(replay_add_day_ahead(&r, "da", STR(ahead), "HB_X", NULL), 0);
	replay_seal(&r);
	assert_int_equal(history_feed_until(&h, &r, at("2024-01-01T06:30:00Z") - 1, NULL), 0);
	const struct history_series *da = history_find(&h, HISTORY_POWER_DA, "HB_X");
	const struct history_series *rt = history_find(&h, HISTORY_POWER_RT, "HB_X");
	assert_true(rt && rt->n == 1 && rt->slot[0] == 10);
	/* 7:00Z on the first is one o'clock at night in Texas: published on the last day of the year. */
	assert_true(da && da->n == 1 && da->slot[0] == 11);
	assert_int_equal(history_feed_until(&h, &r, at("2024-01-01T06:30:00Z"), NULL), 0);
	assert_true(rt->n == 2 && rt->slot[1] == 20);
	assert_int_equal(history_feed_until(&h, &r, at("2024-01-01T19:30:00Z") - 1, NULL), 0);
	assert_int_equal(da->n, 1);
	assert_int_equal(history_feed_until(&h, &r, at("2024-01-01T19:30:00Z"), NULL), 0);
	assert_true(da->n == 25 && da->slot[24] == 12);
	assert_true(rt->n == 4 && rt->slot[2] != rt->slot[2] && rt->slot[3] == 40);
	history_release(&h);
	replay_release(&r);
}

static const struct forecast_score *score(const struct forecast_report *r, const char *model, int k)
{
	for (size_t m = 0; m < r->n_models; m++)
		if (strcmp(r->model[m], model) == 0)
			return &r->score[m][k];
	fail_msg("there is no model %s", model);
	return NULL;
}

/* Trained on the year before and twice again; the numbers of the full budget stand in docs/forecasts.md. */
static void the_combination_beats_persistence_on_real_prices(void **state)
{
	(void)state;
	const char *dir = data_dir();
	struct err err = { 0 };
	struct replay ticks;
	struct forecast_report r = { .from_ns = at("2024-01-01"), .to_ns = at("2025-01-01"), .every_ns = 13 * 3600 * S_NS };
	forecast_conf_default(&r.conf);
	memcpy(r.conf.location, "HB_WEST", sizeof("HB_WEST"));
	r.conf.window_ns = 365 * DAY_NS;
	r.conf.retrain_ns = 120 * DAY_NS;
	r.conf.rows = 12000;
	r.conf.rounds = 30;
	r.conf.epochs = 2;
	replay_init(&ticks, r.from_ns - r.conf.window_ns, r.to_ns);
	if (replay_load_dir(&ticks, dir, "HB_WEST", &err) < 0 || forecast_report_run(&r, &ticks, NULL, NULL, &err) < 0)
		fail_msg("%s: %s", err.field, err.text);
	assert_int_equal(r.trainings, 4);
	for (int k = 0; k < 3; k++)
		print_message("%3d steps: persistence %.3f, combination %.3f, rMAE %.3f\n", forecast_report_step[k] + 1,
			score(&r, "persistence", k)->pinball, score(&r, "combination", k)->pinball,
			score(&r, "combination", k)->mae / score(&r, "combination", k)->naive_mae);
	assert_true(score(&r, "combination", 1)->n > 600);
	assert_true(score(&r, "combination", 1)->pinball < 0.95 * score(&r, "persistence", 1)->pinball);
	assert_true(score(&r, "combination", 2)->pinball < 0.95 * score(&r, "persistence", 2)->pinball);
	for (int k = 0; k < 3; k++) {
		const struct forecast_score *c = score(&r, "combination", k);
		for (int l = 0; l < FORECAST_LEVELS; l++)
			assert_true(c->below[l] > forecast_level[l] - 0.1 && c->below[l] < forecast_level[l] + 0.1);
	}
	replay_release(&ticks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_history_knows_what_was_known),
		cmocka_unit_test(the_combination_beats_persistence_on_real_prices),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
