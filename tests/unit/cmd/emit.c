#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cmd/cli/emit.h"

static void check(const char *json, const char *as_json, const char *as_yaml)
{
	struct err err = { 0 };
	struct buf out;
	json_t *v = json_loads(json, JSON_DECODE_ANY, NULL);
	assert_non_null(v);
	buf_init(&out, 0);
	if (as_json) {
		assert_int_equal(emit_json(&out, v, &err), 0);
		assert_string_equal(out.data, as_json);
		buf_clear(&out);
	}
	assert_int_equal(emit_yaml(&out, v, &err), 0);
	assert_string_equal(out.data, as_yaml);
	buf_release(&out);
	json_decref(v);
}

static void empty_things(void **state)
{
	check("[]", "[]\n", "[]\n");
	check("{}", "{}\n", "{}\n");
	check("{\"a\":[],\"b\":{},\"c\":\"\",\"d\":null}",
	      "{\n  \"a\": [],\n  \"b\": {},\n  \"c\": \"\",\n  \"d\": null\n}\n",
	      "a: []\nb: {}\nc: \"\"\nd: null\n");
}

static void nesting(void **state)
{
	check("{\"a\":[{\"b\":1,\"c\":[2,[3,4]]},5],\"d\":{\"e\":true}}", NULL,
	      "a:\n  - b: 1\n    c:\n      - 2\n      - - 3\n        - 4\n  - 5\nd:\n  e: true\n");
	check("[[],[{}],{\"a\":{\"b\":[]}}]", NULL, "- []\n- - {}\n- a:\n    b: []\n");
}

static void text_that_looks_like_something_else_is_quoted(void **state)
{
	check("[\"yes\",\"No\",\"null\",\"~\",\"true\",\"1\",\"1e3\",\"-\",\"- a\",\"a: b\",\"a #b\",\" a\",\"a "
		  "\",\"2026-11-20\"]",
		NULL,
		"- \"yes\"\n- \"No\"\n- \"null\"\n- \"~\"\n- \"true\"\n- \"1\"\n- \"1e3\"\n- \"-\"\n- \"- a\"\n- \"a: b\"\n"
		"- \"a #b\"\n- \" a\"\n- \"a \"\n- \"2026-11-20\"\n");
	check("[\"wl-01jd\",\"plain words\",\"http://h:1/x\",\"a@b.c\",\"a:\",\"/v1\"]", NULL,
	      "- wl-01jd\n- plain words\n- http://h:1/x\n- a@b.c\n- \"a:\"\n- /v1\n");
	check("[\"line\\nbreak\\ttab \\\"q\\\" \\\\ \\u0007 \\u007f \\u2028 é\"]", NULL,
	      "- \"line\\nbreak\\ttab \\\"q\\\" \\\\ \\u0007 \\u007F \\u2028 é\"\n");
	check("{\"on\":1,\"a b\":2,\"1\":3}", NULL, "\"on\": 1\na b: 2\n\"1\": 3\n");
}

static void numbers(void **state)
{
	check("[0.1,1.0,1e20,1.5e-9,-0.0,9007199254740993]",
	      "[\n  0.1,\n  1,\n  1e+20,\n  1.5e-09,\n  -0,\n  9007199254740993\n]\n",
	      "- 0.1\n- 1.0\n- 1.0e+20\n- 1.5e-09\n- -0.0\n- 9007199254740993\n");
}

static void depth_is_limited(void **state)
{
	struct err err = { 0 };
	struct buf out;
	json_t *v = json_array();
	for (int i = 0; i < EMIT_DEPTH_MAX + 5; i++)
		v = json_pack("[o]", v);
	buf_init(&out, 0);
	assert_int_equal(emit_json(&out, v, &err), HCP_ELIMIT);
	assert_int_equal(emit_yaml(&out, v, &err), HCP_ELIMIT);
	buf_release(&out);
	json_decref(v);
}

static void out_of_memory_is_told(void **state)
{
	struct err err = { 0 };
	json_t *v = json_pack("{s:[s,f]}", "key", "value", 1.0);
	for (uint64_t n = 1;; n++) {
		struct buf out;
		buf_init(&out, 0);
		mem_fail_after(n, 1);
		int rc = emit_yaml(&out, v, &err);
		bool struck = mem_fail_hits() > 0;
		mem_fail_after(0, 0);
		buf_release(&out);
		assert_int_equal(rc, struck ? HCP_ENOMEM : 0);
		if (!struck)
			break;
	}
	json_decref(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_things),
		cmocka_unit_test(nesting),
		cmocka_unit_test(text_that_looks_like_something_else_is_quoted),
		cmocka_unit_test(numbers),
		cmocka_unit_test(depth_is_limited),
		cmocka_unit_test(out_of_memory_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
