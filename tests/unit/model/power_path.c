#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/power_path.h"

static void paths_are_checked(void **state)
{
	struct err err = { 0 };
	assert_int_equal(power_path_check("north", false, "path", &err), 0);
	assert_int_equal(power_path_check("north/p3/r2", false, "path", &err), 0);
	assert_int_equal(power_path_check("north/p#/r#", true, "path", &err), 0);
	static const char *const bad[] = { "", "/", "a/", "/a", "a//b", "a b", "a/b/c/d", "p#", "a*",
		"123456789012345678901234567890123456789012345678901234567890abcd" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(power_path_check(bad[i], false, "path", &err), HCP_EINVAL);
		assert_string_equal(err.field, "path");
	}
	assert_int_equal(power_path_check("p##", true, "path", &err), HCP_EINVAL);
	assert_int_equal(power_path_check("north/#", true, "path", &err), HCP_EINVAL);
	assert_int_equal(power_path_check("p#6", true, "path", &err), HCP_EINVAL);
	assert_int_equal(power_path_check("p6#", true, "path", &err), 0);
	assert_int_equal(power_nodes_check("rack-#-*", "nodes", &err), 0);
	assert_int_equal(power_nodes_check("", "nodes", &err), HCP_EINVAL);
	assert_int_equal(power_nodes_check("a*b", "nodes", &err), HCP_EINVAL);
	assert_int_equal(power_nodes_check("#-#-#-#", "nodes", &err), HCP_EINVAL);
	assert_int_equal(power_nodes_check("n#6", "nodes", &err), HCP_EINVAL);
	assert_int_equal(power_nodes_check("n##", "nodes", &err), HCP_EINVAL);
}

static void patterns_match_and_tell_their_numbers(void **state)
{
	struct power_numbers n;
	char path[POWER_PATH_MAX];
	assert_true(power_match("north", "north", NULL));
	assert_false(power_match("north", "northern", NULL));
	assert_true(power_match("north*", "northern", NULL));
	assert_true(power_match("*", "", NULL));
	assert_true(power_match("n-#-r#-*", "n-12-r7-asic3", &n));
	assert_int_equal(n.n, 2);
	assert_int_equal(n.v[0], 12);
	assert_int_equal(n.v[1], 7);
	assert_int_equal(power_path_fill("north/p#/r#", &n, path, sizeof(path)), 0);
	assert_string_equal(path, "north/p12/r7");
	assert_int_equal(power_path_fill("north/p#", &n, path, sizeof(path)), 0);
	assert_string_equal(path, "north/p12");
	assert_int_equal(power_path_fill("a#b#c#", &n, path, sizeof(path)), HCP_ERANGE);
	assert_int_equal(power_path_fill("north/p#/r#", &n, path, 10), HCP_ERANGE);
	assert_false(power_match("p#", "p", NULL));
	assert_false(power_match("p#", "p0", NULL));
	assert_false(power_match("p#", "p01", NULL));
	assert_false(power_match("p#", "p1234567", NULL));
	assert_false(power_match("p#", "p1x", NULL));
}

static void levels_lie_within_one_another(void **state)
{
	assert_true(power_path_within("north/p1", "north"));
	assert_true(power_path_within("north", "north"));
	assert_true(power_path_within("north", ""));
	assert_false(power_path_within("north2", "north"));
	assert_false(power_path_within("north", "north/p1"));
	assert_int_equal(power_path_up("north/p1/r2"), 8);
	assert_int_equal(power_path_up("north"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_checked),
		cmocka_unit_test(patterns_match_and_tell_their_numbers),
		cmocka_unit_test(levels_lie_within_one_another),
	};
	return cmocka_run_group_tests_name("power_path", tests, NULL, NULL);
}
