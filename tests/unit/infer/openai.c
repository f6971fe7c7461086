#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#include "base/mem.h"
#include "infer/openai.h"

#define MAX 4096

static int parse(const char *body, struct openai_embeddings *r, struct arena *a, struct err *err)
{
	arena_clear(a);
	memset(r, 0, sizeof(*r));
	return openai_parse_embeddings(r, str_of(body), MAX, a, err);
}

static void takes_all_four_inputs(void **state)
{
	struct arena a;
	struct openai_embeddings r;
	arena_init(&a, 1024, 0);
	assert_int_equal(parse("{\"model\":\"m\",\"input\":\"hi\",\"user\":\"u\"}", &r, &a, NULL), 0);
	assert_int_equal(r.n_inputs, 1);
	assert_true(str_eqz(r.inputs[0].text, "hi") && str_eqz(r.model, "m") && str_eqz(r.user, "u"));
	assert_int_equal(r.encoding, OPENAI_FLOAT);
	assert_int_equal(r.dimensions, 0);
	assert_int_equal(parse("{\"input\":[\"a\",\"b\\u0000c\"],\"model\":\"m\",\"encoding_format\":\"base64\","
			       "\"dimensions\":384}",
			       &r, &a, NULL),
			 0);
	assert_int_equal(r.n_inputs, 2);
	assert_int_equal(r.inputs[1].text.n, 3);
	assert_int_equal(r.encoding, OPENAI_BASE64);
	assert_int_equal(r.dimensions, 384);
	assert_int_equal(parse("{\"model\":\"m\",\"input\":[5,4294967295]}", &r, &a, NULL), 0);
	assert_int_equal(r.n_inputs, 1);
	assert_int_equal(r.inputs[0].n_ids, 2);
	assert_int_equal(r.inputs[0].ids[1], UINT32_MAX);
	assert_int_equal(parse("{\"model\":\"m\",\"input\":[[1],[2,3]]}", &r, &a, NULL), 0);
	assert_int_equal(r.n_inputs, 2);
	assert_int_equal(r.inputs[1].ids[1], 3);
	arena_release(&a);
}

static void names_the_field(void **state)
{
	static const struct {
		const char *body, *field;
		int rc;
	} cases[] = {
		{ "", "", HCP_EPARSE },
		{ "{\"model\":\"m\",\"input\":\"x\"} x", "", HCP_EPARSE },
		{ "7", "", HCP_EINVAL },
		{ "{\"input\":\"x\"}", "model", HCP_EINVAL },
		{ "{\"model\":\"\",\"input\":\"x\"}", "model", HCP_EINVAL },
		{ "{\"model\":1,\"input\":\"x\"}", "model", HCP_EINVAL },
		{ "{\"model\":\"m\"}", "input", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":null}", "input", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":\"\"}", "input", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":[]}", "input", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":[\"a\",\"\"]}", "input[1]", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":[\"a\",1]}", "input[1]", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":[\"a\",[1]]}", "input[1]", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":[1,\"a\"]}", "input[1]", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":[1,-1]}", "input[1]", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":[1,4294967296]}", "input[1]", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":[[1],[2,true]]}", "input[1][1]", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":[[1],[]]}", "input[1]", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":[{}]}", "input[0]", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":[null]}", "input[0]", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":\"x\",\"encoding_format\":\"f64\"}", "encoding_format", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":\"x\",\"dimensions\":0}", "dimensions", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":\"x\",\"dimensions\":1.5}", "dimensions", HCP_EINVAL },
		{ "{\"model\":\"m\",\"input\":\"x\",\"inputs\":1}", "inputs", HCP_EINVAL },
		{ "{\"model\":\"m\",\"model\":\"m\",\"input\":\"x\"}", "", HCP_EPARSE },
	};
	struct arena a;
	arena_init(&a, 1024, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct openai_embeddings r;
		struct err err = { 0 };
		int rc = parse(cases[i].body, &r, &a, &err);
		if (rc != cases[i].rc || strcmp(err.field, cases[i].field) != 0)
			print_message("%s: %d %s %s\n", cases[i].body, rc, err.field, err.text);
		assert_int_equal(rc, cases[i].rc);
		assert_string_equal(err.field, cases[i].field);
		assert_int_equal(r.n_inputs, 0);
	}
	arena_release(&a);
}

static void keeps_limits(void **state)
{
	struct arena a;
	struct openai_embeddings r;
	struct err err = { 0 };
	struct buf b;
	arena_init(&a, 1024, 0);
	buf_init(&b, 0);
	buf_addz(&b, "{\"model\":\"m\",\"input\":[\"x\"");
	for (size_t i = 1; i < OPENAI_INPUTS_MAX; i++)
		buf_addz(&b, ",\"x\"");
	buf_addz(&b, "]}");
	assert_int_equal(openai_parse_embeddings(&r, buf_str(&b), b.n, &a, &err), 0);
	assert_int_equal(r.n_inputs, OPENAI_INPUTS_MAX);
	assert_int_equal(openai_parse_embeddings(&r, buf_str(&b), b.n - 1, &a, &err), HCP_ELIMIT);
	b.n -= 2;
	buf_addz(&b, ",\"x\"]}");
	assert_int_equal(openai_parse_embeddings(&r, buf_str(&b), b.n, &a, &err), HCP_ELIMIT);
	assert_string_equal(err.field, "input");
	arena_release(&a);
	arena_init(&a, 64, 128);
	assert_int_equal(parse("{\"model\":\"m\",\"input\":[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"b\",\"c\",\"d\"]}", &r,
			       &a, &err),
			 HCP_ENOMEM);
	arena_release(&a);
	buf_release(&b);
}

static void writes_responses(void **state)
{
	const float rows[4] = { 1.0f, -0.1f, 3.1415927f, 1e-20f };
	struct buf b;
	buf_init(&b, 0);
	openai_write_embeddings(&b, STR("m\"x"), rows, 2, 2, OPENAI_FLOAT, 9);
	json_t *o = json_loadb(b.data, b.n, 0, NULL);
	assert_non_null(o);
	assert_string_equal(json_string_value(json_object_get(o, "model")), "m\"x");
	const json_t *d = json_object_get(o, "data"), *v = json_object_get(json_array_get(d, 1), "embedding");
	assert_int_equal(json_array_size(d), 2);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(d, 1), "index")), 1);
	assert_true((float)json_number_value(json_array_get(v, 0)) == rows[2]);
	assert_true((float)json_number_value(json_array_get(v, 1)) == rows[3]);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "usage"), "total_tokens")), 9);
	json_decref(o);
	buf_clear(&b);
	openai_write_embeddings(&b, STR("m"), rows, 1, 2, OPENAI_BASE64, 3); /* 0000803f cdccccbd */
	assert_string_equal(b.data, "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":"
				    "\"AACAP83MzL0=\"}],\"model\":\"m\",\"usage\":{\"prompt_tokens\":3,\"total_tokens\":3}}");
	buf_release(&b);
}

static void writes_errors(void **state)
{
	struct err err = { 0 };
	struct buf b;
	buf_init(&b, 0);
	err_set(&err, HCP_EINVAL, "input[1]", "must be a \"string\"");
	openai_write_error(&b, &err);
	assert_string_equal(b.data, "{\"error\":{\"message\":\"input[1] must be a \\\"string\\\"\","
				    "\"type\":\"invalid_request_error\",\"param\":\"input[1]\",\"code\":\"invalid\"}}");
	buf_clear(&b);
	err_set(&err, HCP_EINTERNAL, "", "boom");
	openai_write_error(&b, &err);
	assert_string_equal(b.data, "{\"error\":{\"message\":\"boom\",\"type\":\"server_error\",\"param\":null,"
				    "\"code\":\"internal\"}}");
	assert_int_equal(openai_status(HCP_ELIMIT), 413);
	assert_int_equal(openai_status(HCP_ESTATE), 503);
	assert_int_equal(openai_status(HCP_EINTERNAL), 500);
	buf_clear(&b);
	openai_write_models(&b, STR("m"), 12);
	assert_string_equal(b.data, "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\",\"created\":12,"
				    "\"owned_by\":\"hcp\"}]}");
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_all_four_inputs), cmocka_unit_test(names_the_field),
		cmocka_unit_test(keeps_limits),		 cmocka_unit_test(writes_responses),
		cmocka_unit_test(writes_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
