#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "wire/jsonv.h"
#include "wire/trace.h"

static struct err err;

static void getters(void **state)
{
	json_t *doc;
	struct str s = STR("default");
	int64_t i = 5;
	double d;
	bool b;
	const json_t *v;
	assert_int_equal(jsonv_parse(STR("{\"name\":\"x\",\"limits\":{\"rate\":10,\"share\":0.5,\"on\":true},"
		"\"list\":[1,2,3],\"none\":null}"), &doc, &err), 0);
	assert_int_equal(jsonv_get_string(doc, "absent", JSONV_OPTIONAL, &s, &err), 0);
	assert_true(str_eq(s, STR("default")));
	assert_int_equal(jsonv_get_string(doc, "name", JSONV_REQUIRED, &s, &err), 0);
	assert_true(str_eq(s, STR("x")));
	assert_int_equal(jsonv_get_int(doc, "none", JSONV_OPTIONAL, 0, 9, &i, &err), 0);
	assert_int_equal(i, 5);
	assert_int_equal(jsonv_get_int(doc, "limits.rate", JSONV_REQUIRED, 0, 10, &i, &err), 0);
	assert_int_equal(i, 10);
	assert_int_equal(jsonv_get_double(doc, "limits.rate", JSONV_REQUIRED, 0, 10, &d, &err), 0);
	assert_true(d == 10);
	assert_int_equal(jsonv_get_bool(doc, "limits.on", JSONV_REQUIRED, &b, &err), 0);
	assert_true(b);
	assert_int_equal(jsonv_get_array(doc, "list", JSONV_REQUIRED, 3, &v, &err), 0);
	assert_int_equal(json_array_size(v), 3);
	assert_int_equal(jsonv_get_object(doc, "limits", JSONV_REQUIRED, &v, &err), 0);

	assert_int_equal(jsonv_get_int(doc, "limits.rate", JSONV_REQUIRED, 0, 9, &i, &err), HCP_ERANGE);
	assert_string_equal(err.field, "limits.rate");
	assert_string_equal(err.text, "must be from 0 to 9");
	assert_int_equal(jsonv_get_int(doc, "limits.share", JSONV_REQUIRED, 0, 9, &i, &err), HCP_EINVAL);
	assert_string_equal(err.text, "must be a whole number, not a number");
	assert_int_equal(jsonv_get_bool(doc, "none", JSONV_REQUIRED, &b, &err), HCP_EINVAL);
	assert_string_equal(err.text, "is required");
	assert_int_equal(jsonv_get_string(doc, "name.first", JSONV_OPTIONAL, &s, &err), HCP_EINVAL);
	assert_string_equal(err.text, "must stand in an object, not in a string");
	assert_int_equal(jsonv_get_array(doc, "list", JSONV_REQUIRED, 2, &v, &err), HCP_ELIMIT);
	static const char *const names[] = { "name", "limits", "list", NULL };
	assert_int_equal(jsonv_check_names(doc, names, &err), HCP_EINVAL);
	assert_string_equal(err.field, "none");
	json_decref(doc);
}

static void parse_errors(void **state)
{
	json_t *doc;
	assert_int_equal(jsonv_parse(STR("{\"a\":1,\n\"a\":2}"), &doc, &err), HCP_EPARSE);
	assert_string_equal(err.text, "JSON: line 2, column 3: duplicate object key near '\"a\"'");
	assert_int_equal(jsonv_parse(STR("{\"a\":NaN}"), &doc, &err), HCP_EPARSE);
	assert_int_equal(jsonv_parse(STR("{\"a\":\"\\u0000\"}"), &doc, &err), HCP_EPARSE);
	assert_int_equal(jsonv_parse(STR("{} x"), &doc, &err), HCP_EPARSE);
	assert_int_equal(jsonv_parse((struct str){ "{}\0x", 4 }, &doc, &err), HCP_EPARSE);
	assert_string_equal(err.text, "JSON: a NUL byte at offset 2");
	int64_t before = mem_live();
	uint64_t n = 1, hits = 1;
	for (; hits; n++) {
		mem_fail_after(n, 0);
		int rc = jsonv_parse(STR("{\"a\":[1,{\"b\":\"text\"}]}"), &doc, &err);
		hits = mem_fail_hits();
		mem_fail_after(0, 0);
		assert_true(rc == 0 || hits);
		if (rc == 0)
			json_decref(doc);
	}
	assert_true(n > 5);
	assert_int_equal(mem_live(), before);
}

static void traces(void **state)
{
	struct trace t;
	char text[TRACE_TEXT_LEN + 1];
	const char *good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
	assert_int_equal(trace_parse(str_of(good), &t), 0);
	assert_int_equal(t.trace_id[0], 0x4b);
	assert_int_equal(t.span_id[7], 0xb7);
	assert_true(trace_is_sampled(&t));
	assert_string_equal(trace_format(&t, text), good);
	assert_int_equal(trace_parse(STR("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more"), &t), 0);
	assert_int_equal(t.flags, TRACE_SAMPLED);
	static const char *const bad[] = { "", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
		"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
		"00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(trace_parse(str_of(bad[i]), &t), HCP_EPARSE);
}

int main(void)
{
	jsonv_setup();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(getters),
		cmocka_unit_test(parse_errors),
		cmocka_unit_test(traces),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
