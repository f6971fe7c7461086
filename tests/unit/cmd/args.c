#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cmd/cli/args.h"
#include "cmd/cli/grid.h"
#include "cmd/cli/human.h"

enum { WORDS_MAX = 16 };

/* Splits at blanks; enough for tests. */
static int parse(struct args *a, struct arena *arena, char *line, struct err *err)
{
	char *argv[WORDS_MAX + 1] = { line };
	int argc = 1;
	for (char *p = line; *p && argc < WORDS_MAX; p++) {
		if (*p == ' ') {
			*p = '\0';
			argv[argc++] = p + 1;
		}
	}
	return args_parse(a, arena, argc, argv, err);
}

static void check(const char *line, int code, const char *path, const char *request)
{
	char text[256];
	struct arena arena;
	struct args a;
	struct err err = { 0 };
	snprintf(text, sizeof(text), "hcp %s", line);
	arena_init(&arena, 4096, 0);
	assert_int_equal(parse(&a, &arena, text, &err), code);
	if (code == 0 && path) {
		json_t *req = json_object(), *expected = json_loads(request, 0, NULL);
		assert_string_equal(a.cmd->path, path);
		assert_int_equal(args_request(&a, INT64_C(1000000000), req, &err), 0);
		assert_true(json_equal(req, expected));
		json_decref(req);
		json_decref(expected);
	} else if (code < 0) {
		assert_true(err.text[0] != '\0');
	}
	arena_release(&arena);
}

static void words_flags_and_operands(void **state)
{
	check("workloads list", 0, "workloads list", "{}");
	check("-o json workloads --no-color list --state=running", 0, "workloads list", "{\"state\":\"running\"}");
	check("prices", 0, "prices", "{}");
	check("prices history btc_usd --limit 3", 0, "prices history", "{\"symbol\":\"btc_usd\",\"limit\":3}");
	check("workloads get -- --odd", 0, "workloads get", "{\"id\":\"--odd\"}");
	check("workloads submit --count 2 --device-count 3 --needs", HCP_EINVAL, NULL, NULL);
	check("workloads submit --count 2 --device-count 3", 0, "workloads submit", "{\"device_count\":3}");
	check("workloads submit --deadline +1m --duration 1h", 0, "workloads submit",
	      "{\"deadline_ns\":61000000000,\"duration_s\":3600}");
	check("decisions list --changed-only", 0, "decisions list", "{\"changed_only\":true}");
	check("decisions list --changed-only=no", HCP_EINVAL, NULL, NULL);
	check("queue --watch", 0, "queue", "{}");
	check("queue --watch 5", 0, "queue", "{}");
	check("prices --watch history btc_usd", 0, "prices history", "{\"symbol\":\"btc_usd\"}");
	check("queue --watch=0", HCP_EINVAL, NULL, NULL);
	check("workloads submit --deadline +9223372036854775807d", HCP_EINVAL, NULL, NULL);
	check("status --output", HCP_EINVAL, NULL, NULL);
	check("status --o json", HCP_EINVAL, NULL, NULL);
	check("status -output json", HCP_EINVAL, NULL, NULL);
}

/* The rows themselves: columns that parse, operands that the route uses, unique paths and flag names. */
static void the_table_is_sound(void **state)
{
	for (size_t i = 0; i < commands_n; i++) {
		const struct command *c = &commands[i];
		const struct flag *f;
		assert_ptr_equal(command_find(str_of(c->path)), c);
		assert_true(c->run || c->route);
		assert_true((c->route != NULL) == (c->method != NULL));
		/* What needs no server runs by itself; logout tells the server all the same, if it is there. */
		assert_true(c->traits & CMD_LOCAL ? c->run != NULL : c->route != NULL);
		assert_true(c->shape != SHAPE_LIST || c->views[0].member);
		for (int k = 0; (f = command_flag_list(c, k)) != NULL; k++) {
			for (; f->name; f++) {
				assert_non_null(f->help);
				assert_true((f->kind == FLAG_CHOICE) == (f->choices != NULL));
				assert_true(f->kind != FLAG_INT || f->max > f->min);
				/* A command may have its own form of a global flag, which then counts. */
				const struct flag *found = command_flag(c, str_of(f->name));
				assert_true(found == f || command_flag_list(c, k) == global_flags);
			}
		}
		for (int v = 0; v < COMMAND_VIEWS && c->views[v].member; v++) {
			struct str rest = str_of(c->views[v].columns);
			int n = 0;
			while (rest.p) {
				struct str title = str_split(&rest, ' '), format = str_split(&title, '='),
					name = str_split(&format, ':');
				assert_true(name.n > 0);
				assert_true(!format.p || human_named(format) != HUMAN_TEXT);
				n++;
			}
			assert_true(n <= GRID_COLS_MAX);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_flags_and_operands),
		cmocka_unit_test(the_table_is_sound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
