#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cmd/cli/grid.h"

static void fill(struct grid *g, struct arena *arena)
{
	arena_init(arena, 4096, 0);
	grid_init(g, arena);
	grid_column(g, STR("ID"), false);
	grid_column(g, STR("POWER"), true);
	grid_column(g, STR("REASON"), false);
	grid_cell(g, STR("dev-0000000001"));
	grid_cell(g, STR("3.50 kW"));
	grid_cell(g, STR("waits for a device of the class"));
	grid_cell(g, STR("dev-2"));
	grid_cell(g, STR("9 W"));
	grid_cell(g, STR(""));
}

static void check(size_t width, const char *expected, size_t expected_dropped)
{
	struct grid g;
	struct arena arena;
	struct buf out;
	size_t dropped = 99;
	fill(&g, &arena);
	buf_init(&out, 0);
	assert_int_equal(grid_render(&g, width, false, &out, &dropped), 0);
	assert_string_equal(out.data, expected);
	assert_int_equal(dropped, expected_dropped);
	buf_release(&out);
	arena_release(&arena);
}

static void fits_by_cutting_text_then_dropping_columns(void **state)
{
	check(0, "ID                POWER  REASON\n"
		 "dev-0000000001  3.50 kW  waits for a device of the class\n"
		 "dev-2               9 W  -\n", 0);
	check(40, "ID                POWER  REASON\n"
		  "dev-0000000001  3.50 kW  waits for a de…\n"
		  "dev-2               9 W  -\n", 0);
	check(30, "ID                POWER\ndev-0000000001  3.50 kW\ndev-2               9 W\n", 1);
	/* The first column is never cut. */
	check(5, "ID\ndev-0000000001\ndev-2\n", 2);
}

static void text_from_outside_cannot_steer_the_terminal(void **state)
{
	struct buf out;
	buf_init(&out, 0);
	grid_add_clean(&out, STR("a\x1b[2J\r\n\xff\xc2\x9b é\xe2\x80\xae"));
	assert_string_equal(out.data, "a?[2J????" " é?");
	buf_release(&out);
}

static void wide_and_combining_characters_are_measured(void **state)
{
	assert_int_equal(grid_text_width(STR("é…")), 2);
	assert_int_equal(grid_text_width(STR("日本")), 4);
	assert_int_equal(grid_text_width(STR("e\xcc\x81")), 1);
}

static void states_are_tinted_but_only_with_colour(void **state)
{
	struct grid g;
	struct arena arena;
	struct buf out;
	size_t dropped;
	arena_init(&arena, 4096, 0);
	grid_init(&g, &arena);
	grid_column(&g, STR("STATE"), false);
	grid_cell(&g, STR("failed"));
	buf_init(&out, 0);
	assert_int_equal(grid_render(&g, 0, true, &out, &dropped), 0);
	assert_string_equal(out.data, "\033[1mSTATE\033[0m\n\033[31mfailed\033[0m\n");
	buf_release(&out);
	arena_release(&arena);
}

static void too_many_columns_and_no_memory_are_errors(void **state)
{
	struct grid g;
	struct arena arena;
	struct buf out;
	size_t dropped;
	buf_init(&out, 0);
	arena_init(&arena, 256, 0);
	grid_init(&g, &arena);
	for (int i = 0; i <= GRID_COLS_MAX; i++)
		grid_column(&g, STR("X"), false);
	assert_int_equal(grid_render(&g, 0, false, &out, &dropped), HCP_ENOMEM);
	arena_release(&arena);
	for (uint64_t n = 1;; n++) {
		mem_fail_after(n, 1);
		fill(&g, &arena);
		int rc = grid_render(&g, 0, false, &out, &dropped);
		bool struck = mem_fail_hits() > 0;
		mem_fail_after(0, 0);
		arena_release(&arena);
		buf_release(&out);
		buf_init(&out, 0);
		assert_int_equal(rc, struck ? HCP_ENOMEM : 0);
		if (!struck)
			break;
	}
	buf_release(&out);
}

int main(void)
{
	setlocale(LC_CTYPE, "C.UTF-8");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fits_by_cutting_text_then_dropping_columns),
		cmocka_unit_test(text_from_outside_cannot_steer_the_terminal),
		cmocka_unit_test(wide_and_combining_characters_are_measured),
		cmocka_unit_test(states_are_tinted_but_only_with_colour),
		cmocka_unit_test(too_many_columns_and_no_memory_are_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
