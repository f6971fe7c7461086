#include "agent/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS 1000000LL

static void holds_for_its_time(void **state)
{
	struct lease l = { 0 };
	struct lease_grant g = { .ttl_ms = 100, .may_serve = true, .number = 3, .power_budget_w = 50 };
	assert_false(lease_holds(&l, 0));
	assert_int_equal(lease_left_ms(&l, 0), 0);
	assert_int_equal(lease_take(&l, &g, 7 * MS, NULL), 0);
	assert_true(lease_holds(&l, 7 * MS));
	assert_true(l.may_serve && !l.may_fill && l.power_budget_w == 50);
	assert_int_equal(lease_left_ms(&l, 106 * MS + 1), 1);
	assert_true(lease_holds(&l, 107 * MS - 1));
	assert_false(lease_holds(&l, 107 * MS));
	/* Renewal counts from its own receipt. */
	assert_int_equal(lease_take(&l, &g, 200 * MS, NULL), 0);
	assert_true(lease_holds(&l, 299 * MS));
}

static void refuses_what_makes_no_sense(void **state)
{
	struct lease l = { 0 };
	struct err err;
	struct lease_grant good = { .ttl_ms = 100, .number = 3 }, g = good;
	assert_int_equal(lease_take(&l, &good, 0, NULL), 0);
	struct lease before = l;
	g.ttl_ms = 0;
	assert_int_equal(lease_take(&l, &g, 5, &err), HCP_EINVAL);
	assert_string_equal(err.field, "ttl_ms");
	g.ttl_ms = LEASE_TTL_MAX_MS + 1;
	assert_int_equal(lease_take(&l, &g, 5, &err), HCP_EINVAL);
	g = good;
	g.power_budget_w = -1;
	assert_int_equal(lease_take(&l, &g, 5, &err), HCP_EINVAL);
	assert_string_equal(err.field, "power_budget_w");
	g = good;
	g.number = 2; /* overtaken on the way */
	assert_int_equal(lease_take(&l, &g, 5, &err), HCP_ECONFLICT);
	assert_string_equal(err.field, "number");
	assert_memory_equal(&before, &l, sizeof(l));
	lease_new_peer(&l);
	assert_int_equal(lease_take(&l, &g, 5, &err), 0);
}

static void stand_alone_never_ends(void **state)
{
	struct lease l = { .permanent = true };
	assert_true(lease_holds(&l, INT64_MAX));
	assert_int_equal(lease_left_ms(&l, 1), INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds_for_its_time), cmocka_unit_test(refuses_what_makes_no_sense),
		cmocka_unit_test(stand_alone_never_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
