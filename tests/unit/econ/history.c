#include "econ/history.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"

static const int64_t step = 900 * INT64_C(1000000000), t0 = 1000 * 900 * INT64_C(1000000000);

static int rt(struct history *h, int64_t start_ns, double value)
{
	return history_add(h, HISTORY_POWER_RT, "HB_WEST", start_ns, step, value, NULL);
}

static void values_lie_where_their_interval_is(void **state)
{
	(void)state;
	struct history h;
	history_init(&h);
	assert_null(history_find(&h, HISTORY_POWER_RT, "HB_WEST"));
	assert_true(isnan(history_at(NULL, t0)));
	assert_int_equal(rt(&h, t0, 10), 0);
	assert_int_equal(rt(&h, t0 + step, -20), 0);
	assert_int_equal(rt(&h, t0 + 4 * step, 50), 0);
	const struct history_series *s = history_find(&h, HISTORY_POWER_RT, "HB_WEST");
	assert_non_null(s);
	assert_true(history_at(s, t0 + 2 * step - 1) == -20);
	assert_true(
		isnan(history_at(s, t0 + 2 * step)) && isnan(history_at(s, t0 - 1)) && isnan(history_at(s, t0 + 5 * step)));
	int64_t start = 0;
	assert_true(history_last(s, t0 + 3 * step, 2 * step, &start) == -20 && start == t0 + step);
	assert_true(isnan(history_last(s, t0 + 3 * step, step, NULL)) && isnan(history_last(s, t0 - 1, step, NULL)));
	assert_true(history_last(s, t0 + 99 * step, 99 * step, NULL) == 50);
	assert_int_equal(history_end_ns(s), t0 + 5 * step);
	/* A late value fills its gap; another place and kind have series of their own. */
	assert_int_equal(rt(&h, t0 + 2 * step, 30), 0);
	assert_true(history_at(s, t0 + 2 * step) == 30);
	assert_int_equal(history_add(&h, HISTORY_POWER_DA, "HB_WEST", t0, 4 * step, 1, NULL), 0);
	assert_int_equal(h.n, 2);
	assert_int_equal(h.version, 5);
	history_release(&h);
}

static void what_cannot_be_taken_changes_nothing(void **state)
{
	(void)state;
	struct history h;
	history_init(&h);
	assert_int_equal(rt(&h, t0, 10), 0);
	assert_int_equal(rt(&h, t0, 11), HCP_EEXIST);
	assert_int_equal(rt(&h, t0 + 1, 11), HCP_EINVAL);
	assert_int_equal(rt(&h, t0 - step, 11), HCP_ERANGE);
	assert_int_equal(rt(&h, -1, 11), HCP_ERANGE);
	assert_int_equal(rt(&h, INT64_MAX, 11), HCP_ERANGE);
	assert_int_equal(rt(&h, t0 + (HISTORY_GAP_MAX + 1) * step, 11), HCP_ELIMIT);
	assert_int_equal(rt(&h, t0 + step, NAN), HCP_EINVAL);
	assert_int_equal(rt(&h, t0 + step, INFINITY), HCP_EINVAL);
	assert_int_equal(history_add(&h, HISTORY_POWER_RT, "HB_WEST", t0 + step, 2 * step, 1, NULL), HCP_EINVAL);
	assert_int_equal(
		history_add(&h, HISTORY_POWER_RT, "a place with far too long a name", t0, step, 1, NULL), HCP_EINVAL);
	assert_int_equal(history_add(&h, HISTORY_KIND_END, "", t0, step, 1, NULL), HCP_EINVAL);
	mem_fail_after(1, 1);
	assert_int_equal(history_add(&h, HISTORY_BTC_USD, "", t0, step, 1, NULL), HCP_ENOMEM);
	mem_fail_after(0, 0);
	assert_int_equal(h.n, 1);
	assert_int_equal(h.s[0]->n, 1);
	assert_int_equal(h.version, 1);
	history_release(&h);
}

static void the_older_half_goes_when_a_series_is_full(void **state)
{
	(void)state;
	struct history h;
	history_init(&h);
	for (int64_t i = 0; i <= HISTORY_SLOTS_MAX; i++)
		assert_int_equal(rt(&h, t0 + i * step, (double)i), 0);
	const struct history_series *s = h.s[0];
	assert_int_equal(s->n, HISTORY_SLOTS_MAX / 2 + 1);
	assert_true(history_at(s, t0 + HISTORY_SLOTS_MAX * step) == HISTORY_SLOTS_MAX);
	assert_true(isnan(history_at(s, t0)));
	assert_true(history_at(s, s->first_ns) == HISTORY_SLOTS_MAX / 2);
	history_release(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_lie_where_their_interval_is),
		cmocka_unit_test(what_cannot_be_taken_changes_nothing),
		cmocka_unit_test(the_older_half_goes_when_a_series_is_full),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
