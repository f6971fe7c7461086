#include "agent/meter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

static struct meter m;

static const struct meter_row *row(enum meter_activity a, const char *allocation)
{
	for (size_t i = 0; i < m.n_rows; i++) {
		if (m.rows[i].activity == a && strcmp(m.rows[i].allocation_id, allocation) == 0)
			return &m.rows[i];
	}
	return NULL;
}

static void each_row_gets_its_own(void **state)
{
	struct meter_totals t = { .now_ns = 100, .energy_j = 5, .hashes = 0 };
	meter_init(&m, &t);
	t = (struct meter_totals){ .now_ns = 110, .energy_j = 6 };
	meter_turn(&m, &t, METER_FILL, "");
	t = (struct meter_totals){ .now_ns = 150, .energy_j = 16, .hashes = 1000 };
	meter_turn(&m, &t, METER_SERVE, "al-1");
	meter_request(&m, 12);
	meter_request(&m, 3);
	/* The last quantum is counted after the gate was closed: it is still filling. So are answers to its shares. */
	t = (struct meter_totals){ .now_ns = 155, .energy_j = 17, .hashes = 1100 };
	meter_advance(&m, &t);
	meter_shares(&m, 2, 1);
	t = (struct meter_totals){ .now_ns = 160, .energy_j = 18, .hashes = 1100 };
	meter_turn(&m, &t, METER_OFF, "");
	assert_int_equal(row(METER_OFF, "")->device_ns, 10);
	assert_true(row(METER_OFF, "")->energy_j == 1);
	assert_int_equal(row(METER_FILL, "")->device_ns, 40);
	assert_true(row(METER_FILL, "")->energy_j == 10);
	assert_true(row(METER_FILL, "")->hashes == 1100);
	assert_int_equal(row(METER_FILL, "")->shares_accepted, 2);
	assert_int_equal(row(METER_FILL, "")->shares_rejected, 1);
	assert_int_equal(row(METER_SERVE, "al-1")->device_ns, 10);
	assert_int_equal(row(METER_SERVE, "al-1")->requests, 2);
	assert_int_equal(row(METER_SERVE, "al-1")->tokens, 15);
	assert_int_equal(row(METER_SERVE, "")->device_ns, 0);
}

/* Whatever the turns, nothing is lost and nothing counted twice; a full table goes on under the former row. */
static void nothing_is_lost(void **state)
{
	struct rng r;
	rng_init(&r, 7);
	struct meter_totals t = { 0 };
	meter_init(&m, &t);
	for (int i = 0; i < 20000; i++) {
		char id[32];
		snprintf(id, sizeof(id), "al-%d", (int)rng_below(&r, 2000));
		t.now_ns += (int64_t)rng_below(&r, 1000);
		t.energy_j += (double)rng_below(&r, 4);
		t.hashes += (double)rng_below(&r, 50);
		meter_turn(&m, &t, (enum meter_activity)rng_below(&r, 3), rng_below(&r, 2) ? id : "");
	}
	assert_int_equal(m.n_rows, METER_ROWS_MAX);
	assert_true(m.unplaced > 0);
	int64_t ns = 0;
	double j = 0, hashes = 0;
	for (size_t i = 0; i < m.n_rows; i++) {
		ns += m.rows[i].device_ns;
		j += m.rows[i].energy_j;
		hashes += m.rows[i].hashes;
	}
	assert_int_equal(ns, t.now_ns);
	assert_true(j == t.energy_j && hashes == t.hashes);
}

/* Rows of long ended allocations make room. */
static void old_rows_make_room(void **state)
{
	struct meter_totals t = { 0 };
	meter_init(&m, &t);
	for (int i = 0; i < 3 * METER_ROWS_MAX; i++) {
		char id[32];
		snprintf(id, sizeof(id), "al-%d", i);
		t.now_ns += METER_KEEP_NS / METER_ROWS_MAX * 2;
		meter_turn(&m, &t, METER_SERVE, id);
	}
	assert_int_equal(m.unplaced, 0);
	assert_non_null(row(METER_OFF, ""));
	assert_null(row(METER_SERVE, "al-1"));
}

/* The same rows from zero: what was told under the old name is not told again under the new one. */
static void a_new_boot_counts_from_zero(void **state)
{
	struct meter_totals t = { 0 };
	meter_init(&m, &t);
	t = (struct meter_totals){ 1000, 50, 7 };
	meter_turn(&m, &t, METER_SERVE, "al-1");
	t = (struct meter_totals){ 3000, 90, 9 };
	meter_advance(&m, &t);
	meter_request(&m, 11);
	meter_restart(&m);
	t = (struct meter_totals){ 3500, 95, 9 };
	meter_advance(&m, &t);
	assert_int_equal(row(METER_SERVE, "al-1")->device_ns, 500);
	assert_true(row(METER_SERVE, "al-1")->energy_j > 4.9 && row(METER_SERVE, "al-1")->energy_j < 5.1);
	assert_int_equal(row(METER_SERVE, "al-1")->requests, 0);
	assert_int_equal(row(METER_OFF, "")->device_ns, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_row_gets_its_own),
		cmocka_unit_test(nothing_is_lost),
		cmocka_unit_test(old_rows_make_room),
		cmocka_unit_test(a_new_boot_counts_from_zero),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
