#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "wire/pbjson.h"

#include "pbjson_test.pb-c.h"
#include "pbjson_test2.pb-c.h"

typedef Hcp__Test__Everything Everything;
typedef Hcp__Test2__Optional Optional;

static struct arena arena;
static struct err err;

static int set_up(void **state)
{
	arena_init(&arena, 4096, 0);
	memset(&err, 0, sizeof(err));
	return 0;
}

static int tear_down(void **state)
{
	arena_release(&arena);
	return 0;
}

static Everything *read_ok(const char *json)
{
	ProtobufCMessage *m = NULL;
	int rc = pbjson_read(&hcp__test__everything__descriptor, str_of(json), &arena, &m, &err);
	if (rc)
		fail_msg("%s: %s: %s", json, err.field, err.text);
	return (Everything *)m;
}

static Optional *read2_ok(const char *json)
{
	ProtobufCMessage *m = NULL;
	int rc = pbjson_read(&hcp__test2__optional__descriptor, str_of(json), &arena, &m, &err);
	if (rc)
		fail_msg("%s: %s: %s", json, err.field, err.text);
	return (Optional *)m;
}

static void refused_by(const ProtobufCMessageDescriptor *d, const char *json, int code, const char *field,
	const char *text)
{
	ProtobufCMessage *m = NULL;
	assert_int_equal(pbjson_read(d, str_of(json), &arena, &m, &err), code);
	assert_null(m);
	assert_int_equal(err.code, code);
	assert_string_equal(err.field, field);
	assert_string_equal(err.text, text);
}

static void refused(const char *json, int code, const char *field, const char *text)
{
	refused_by(&hcp__test__everything__descriptor, json, code, field, text);
}

static void assert_json(const ProtobufCMessage *m, const char *want)
{
	struct buf out;
	buf_init(&out, 0);
	assert_int_equal(pbjson_write(m, &out), 0);
	assert_string_equal(out.data, want);
	buf_release(&out);
}

static void every_scalar(void **state)
{
	const Everything *e = read_ok(" { \"i32\":-2147483648, \"s32\":2147483647, \"sf32\":-1, \"u32\":4294967295,"
		"\"f32\":7, \"i64\":-9223372036854775808, \"s64\":\"9223372036854775807\", \"sf64\":-3,"
		"\"u64\":18446744073709551615, \"f64\":\"18446744073709551615\", \"ratio\":0.25,"
		"\"price_usd_mwh\":-31.5e0, \"active\":true, \"type\":\"ai_inference_batch\","
		"\"name\":\"caf\\u00e9 \\ud83d\\ude00 \\\"q\\\"\", \"blob\":\"-_8\" } ");
	assert_int_equal(e->i32, INT32_MIN);
	assert_int_equal(e->s32, INT32_MAX);
	assert_int_equal(e->sf32, -1);
	assert_true(e->u32 == UINT32_MAX);
	assert_true(e->f32 == 7);
	assert_true(e->i64 == INT64_MIN);
	assert_true(e->s64 == INT64_MAX);
	assert_true(e->sf64 == -3);
	assert_true(e->u64 == UINT64_MAX);
	assert_true(e->f64 == UINT64_MAX);
	assert_true(e->ratio == 0.25f);
	assert_true(e->price_usd_mwh == -31.5);
	assert_true(e->active);
	assert_int_equal(e->type, HCP__TEST__WORKLOAD_TYPE__AI_INFERENCE_BATCH);
	assert_string_equal(e->name, "caf\xc3\xa9 \xf0\x9f\x98\x80 \"q\"");
	assert_int_equal(e->blob.len, 2);
	assert_memory_equal(e->blob.data, "\xfb\xff", 2);
	assert_null(e->requirements);
	assert_int_equal(e->target_case, 0);
}

static void arrays_and_nesting(void **state)
{
	const Everything *e = read_ok("{\"many_i32\":[1,-2,3,4,5],\"many_u64\":[\"1\",2],\"many_double\":[1e3,0.5],"
		"\"many_bool\":[true,false],\"many_name\":[\"a\",\"\"],\"many_blob\":[\"AA==\",\"+/8=\",\"\"],"
		"\"many_type\":[\"unspecified\",\"bitcoin_mining\"],\"many_float\":[],"
		"\"many_requirements\":[{},{\"gpu_count\":8,\"memory_gb\":80,\"regions\":[\"us\"]}],"
		"\"requirements\":{\"gpu_count\":1},\"child\":{\"child\":{\"i32\":5}}}");
	assert_int_equal(e->n_many_i32, 5);
	assert_int_equal(e->many_i32[4], 5);
	assert_true(e->many_u64[0] == 1 && e->many_u64[1] == 2);
	assert_true(e->many_double[0] == 1000 && e->many_double[1] == 0.5);
	assert_true(e->many_bool[0] && !e->many_bool[1]);
	assert_string_equal(e->many_name[1], "");
	assert_int_equal(e->n_many_blob, 3);
	assert_int_equal(e->many_blob[0].len, 1);
	assert_memory_equal(e->many_blob[1].data, "\xfb\xff", 2);
	assert_int_equal(e->many_blob[2].len, 0);
	assert_int_equal(e->many_type[1], HCP__TEST__WORKLOAD_TYPE__BITCOIN_MINING);
	assert_int_equal(e->n_many_float, 0);
	assert_int_equal(e->many_requirements[1]->gpu_count, 8);
	assert_int_equal(e->many_requirements[1]->has_memory_gb_case, 2);
	assert_true(e->many_requirements[1]->memory_gb == 80);
	assert_int_equal(e->child->child->i32, 5);
}

static void presence_by_oneof(void **state)
{
	const Everything *e = read_ok("{\"opt_i32\":0,\"opt_name\":\"\",\"opt_bool\":false,\"device_id\":\"dev-1\","
		"\"opt_double\":null,\"requirements\":null}");
	assert_int_equal(e->has_opt_i32_case, 20);
	assert_int_equal(e->has_opt_name_case, 24);
	assert_int_equal(e->has_opt_bool_case, 23);
	assert_int_equal(e->has_opt_double_case, 0);
	assert_int_equal(e->target_case, HCP__TEST__EVERYTHING__TARGET_DEVICE_ID);
	assert_string_equal(e->device_id, "dev-1");

	/* An empty optional string must survive packing: protobuf-c drops a pointer to its own empty string. */
	ProtobufCMessage *copy;
	assert_int_equal(pb_clone(&e->base, &arena, &copy, &err), 0);
	assert_int_equal(((Everything *)copy)->has_opt_name_case, 24);
	assert_int_equal(((Everything *)copy)->has_opt_i32_case, 20);

	refused("{\"device_id\":\"a\",\"rank\":1}", HCP_EINVAL, "rank", "excludes device_id, which is given too");
	refused("{\"i32\":null}", HCP_EINVAL, "i32", "must be a number, not null");
	refused("{\"many_i32\":null}", HCP_EINVAL, "many_i32", "must be an array, not null");
}

static void presence_by_has(void **state)
{
	const Optional *o = read2_ok("{\"rank\":0,\"i32\":0,\"blob\":\"\",\"active\":false,\"mode\":\"off\"}");
	assert_true(o->has_i32 && o->has_blob && o->has_active && o->has_mode);
	assert_false(o->has_u64 || o->has_ratio);
	assert_null(o->name);
	assert_json(&o->base, "{\"i32\":0,\"active\":false,\"blob\":\"\",\"mode\":\"off\",\"rank\":0,\"many\":[]}");
	o = read2_ok("{\"rank\":1,\"name\":\"n\",\"region\":\"x\",\"u64\":3,\"ratio\":2,\"inner\":{\"name\":\"y\"}}");
	assert_json(&o->base, "{\"u64\":3,\"ratio\":2,\"name\":\"n\",\"region\":\"x\",\"rank\":1,"
		"\"inner\":{\"name\":\"y\"},\"many\":[]}");
	const ProtobufCMessageDescriptor *d = &hcp__test2__optional__descriptor;
	refused_by(d, "{}", HCP_EINVAL, "rank", "is required");
	refused_by(d, "{\"rank\":1,\"many\":[{\"name\":\"a\"},{}]}", HCP_EINVAL, "many[1].name", "is required");
	refused_by(d, "{\"rank\":null}", HCP_EINVAL, "rank", "must be a number, not null");
}

static void errors_name_the_field(void **state)
{
	refused("{\"requirements\":{\"gpu_count\":\"eight\"}}", HCP_EINVAL, "requirements.gpu_count",
		"must be a number, not a string");
	refused("{\"requirements\":{\"gpus\":1}}", HCP_EINVAL, "requirements.gpus",
		"unknown field; Requirements has gpu_count, memory_gb, regions");
	refused("{\"many_requirements\":[{},{\"regions\":[\"a\",7]}]}", HCP_EINVAL, "many_requirements[1].regions[1]",
		"must be a string, not a number");
	refused("{\"i32\":2147483648}", HCP_ERANGE, "i32", "must be from -2147483648 to 2147483647");
	refused("{\"u32\":-1}", HCP_ERANGE, "u32", "must be from 0 to 4294967295");
	refused("{\"u64\":18446744073709551616}", HCP_ERANGE, "u64", "must be from 0 to 18446744073709551615");
	refused("{\"i64\":\"9223372036854775808\"}", HCP_ERANGE, "i64",
		"must be from -9223372036854775808 to 9223372036854775807");
	refused("{\"i32\":1.5}", HCP_EINVAL, "i32", "must be a whole number, without fraction or exponent");
	refused("{\"u64\":\"\"}", HCP_EINVAL, "u64", "must be a whole number, without fraction or exponent");
	refused("{\"price_usd_mwh\":1e999}", HCP_ERANGE, "price_usd_mwh", "is too large for a double");
	refused("{\"ratio\":1e39}", HCP_ERANGE, "ratio", "is too large for a float");
	refused("{\"type\":\"gaming\"}", HCP_EINVAL, "type",
		"must be one of ai_inference_realtime, ai_inference_batch, bitcoin_mining");
	refused("{\"type\":1}", HCP_EINVAL, "type", "must be a string, not a number");
	refused("{\"condition\":\"dev_hot\"}", HCP_EINVAL, "condition", "must be one of gone, ok, hot");
	refused("{\"blob\":\"a\"}", HCP_EINVAL, "blob", "must be base64url or base64");
	refused("{\"blob\":\"AB==x\"}", HCP_EINVAL, "blob", "must be base64url or base64");
	refused("{\"active\":\"true\"}", HCP_EINVAL, "active", "must be true or false, not a string");
	refused("{\"requirements\":[]}", HCP_EINVAL, "requirements", "must be an object, not an array");
	refused("{\"name\":\"a\",\"name\":\"b\"}", HCP_EINVAL, "name", "is given twice");
	refused("[]", HCP_EINVAL, "", "must be an object, not an array");
}

static void malformed_json(void **state)
{
	refused("", HCP_EPARSE, "", "JSON: line 1, column 1: the text ends too early");
	refused("{\"i32\":\n 01}", HCP_EPARSE, "i32", "JSON: line 2, column 4: malformed number");
	refused("{\"name\":\"\xff\"}", HCP_EPARSE, "name", "JSON: line 1, column 10: the string is not valid UTF-8");
	refused("{\"name\":\"\\u0000\"}", HCP_EPARSE, "name",
		"JSON: line 1, column 11: U+0000 is not allowed in a string");
	refused("{\"name\":\"\\ud800\"}", HCP_EPARSE, "name",
		"JSON: line 1, column 11: a high surrogate stands alone");
	refused("{\"name\":\"\\udc00\"}", HCP_EPARSE, "name",
		"JSON: line 1, column 11: a low surrogate stands alone");
	refused("{\"name\":\"a\nb\"}", HCP_EPARSE, "name",
		"JSON: line 1, column 11: control characters in a string must be escaped");
	refused("{\"name\":\"abc", HCP_EPARSE, "name", "JSON: line 1, column 13: the string does not end");
	refused("{\"i32\":NaN}", HCP_EPARSE, "i32", "JSON: line 1, column 8: a value expected");
	refused("{\"i32\":1,}", HCP_EPARSE, "", "JSON: line 1, column 10: a string expected");
	refused("{\"i32\":1} x", HCP_EPARSE, "", "JSON: line 1, column 11: nothing more is allowed here");
	refused("{\"i32\" 1}", HCP_EPARSE, "", "JSON: line 1, column 8: expected ':' after a name");
	refused("{\"active\":tru}", HCP_EPARSE, "active", "JSON: line 1, column 11: true or false expected");
	refused("{\"many_i32\":[1 2]}", HCP_EPARSE, "many_i32", "JSON: line 1, column 16: expected ',' or ']'");
}

static void limits(void **state)
{
	struct buf b;
	ProtobufCMessage *m;
	buf_init(&b, 0);
	for (int depth = 32; depth <= 33; depth++) {
		buf_clear(&b);
		for (int i = 1; i < depth; i++)
			buf_addz(&b, "{\"child\":");
		buf_addz(&b, "{\"i32\":1}");
		for (int i = 1; i < depth; i++)
			buf_addz(&b, "}");
		int rc = pbjson_read(&hcp__test__everything__descriptor, buf_str(&b), &arena, &m, &err);
		assert_int_equal(rc, depth == 32 ? 0 : HCP_ELIMIT);
	}
	assert_string_equal(err.text, "JSON: nested deeper than 32 levels");
	buf_clear(&b);
	buf_addz(&b, "{\"many_i32\":[0");
	for (int i = 0; i < PBJSON_ARRAY_MAX; i++)
		buf_addz(&b, ",0");
	buf_addz(&b, "]}");
	assert_int_equal(pbjson_read(&hcp__test__everything__descriptor, buf_str(&b), &arena, &m, &err), HCP_ELIMIT);
	assert_string_equal(err.field, "many_i32");
	assert_string_equal(err.text, "has more than 100000 elements");

	struct arena small;
	arena_init(&small, 256, 1024);
	assert_int_equal(pbjson_read(&hcp__test__everything__descriptor,
		str_of("{\"many_requirements\":[{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}]}"), &small, &m,
		&err), HCP_ENOMEM);
	arena_release(&small);

	/* The writer has a bound of its own: it meets messages that code built. */
	Everything chain[PBJSON_DEPTH_MAX + 1];
	for (int i = 0; i <= PBJSON_DEPTH_MAX; i++) {
		hcp__test__everything__init(&chain[i]);
		chain[i].child = i ? &chain[i - 1] : NULL;
	}
	buf_clear(&b);
	assert_int_equal(pbjson_write(&chain[PBJSON_DEPTH_MAX - 1].base, &b), 0);
	assert_int_equal(pbjson_write(&chain[PBJSON_DEPTH_MAX].base, &b), HCP_ELIMIT);
	buf_release(&b);
}

static void writes_everything(void **state)
{
	Everything e = HCP__TEST__EVERYTHING__INIT;
	char name[] = "x\"y";
	uint8_t blob[] = { 0xfb, 0xff };
	e.name = name;
	e.u64 = UINT64_MAX;
	e.i64 = INT64_MIN;
	e.ratio = 0.1f;
	e.price_usd_mwh = 0.1;
	e.blob = (ProtobufCBinaryData){ 2, blob };
	e.target_case = HCP__TEST__EVERYTHING__TARGET_KIND;
	e.kind = HCP__TEST__WORKLOAD_TYPE__AI_INFERENCE_REALTIME;
	e.condition = HCP__TEST__CONDITION__DEV_GONE;
	e.type = 99;
	assert_json(&e.base, "{\"i32\":0,\"s32\":0,\"sf32\":0,\"u32\":0,\"f32\":0,\"i64\":-9223372036854775808,\"s64\":0,"
		"\"sf64\":0,\"u64\":18446744073709551615,\"f64\":0,\"ratio\":0.1,\"price_usd_mwh\":0.1,\"active\":false,"
		"\"type\":99,\"name\":\"x\\\"y\",\"blob\":\"-_8\",\"many_i32\":[],\"many_u64\":[],\"many_double\":[],"
		"\"many_bool\":[],\"many_name\":[],\"many_blob\":[],\"many_type\":[],\"many_requirements\":[],"
		"\"many_float\":[],\"kind\":\"ai_inference_realtime\",\"condition\":\"gone\"}");
	/* A NULL string is an empty one; a number that is none is null. */
	Hcp__Test__Requirements r = HCP__TEST__REQUIREMENTS__INIT;
	char *regions[] = { NULL };
	r.regions = regions;
	r.n_regions = 1;
	r.has_memory_gb_case = HCP__TEST__REQUIREMENTS__HAS_MEMORY_GB_MEMORY_GB;
	r.memory_gb = 0.0 / 0.0;
	assert_json(&r.base, "{\"gpu_count\":0,\"memory_gb\":null,\"regions\":[\"\"]}");
}

static const char full[] = "{\"i32\":-5,\"u64\":18446744073709551615,\"ratio\":3.14,\"price_usd_mwh\":-0.1,"
	"\"active\":true,\"type\":\"bitcoin_mining\",\"name\":\"n\\u00f8\\\\\",\"blob\":\"AAEC\",\"requirements\":"
	"{\"gpu_count\":2,\"memory_gb\":40.5,\"regions\":[\"a\",\"b\"]},\"opt_name\":\"\",\"opt_blob\":\"\",\"many_i32\":"
	"[1,2,3],\"many_name\":[\"\"],\"many_blob\":[\"\",\"_w\"],\"many_type\":[\"unspecified\"],"
	"\"many_requirements\":[{},{\"gpu_count\":1}],\"shape\":{\"gpu_count\":4},\"child\":{\"kind\":\"unspecified\"}}";

static void round_trips(void **state)
{
	const Everything *e = read_ok(full);
	struct buf first, second, packed;
	ProtobufCMessage *again, *unpacked;
	buf_init(&first, 0);
	buf_init(&second, 0);
	buf_init(&packed, 0);
	assert_int_equal(pbjson_write(&e->base, &first), 0);
	assert_int_equal(pbjson_read(e->base.descriptor, buf_str(&first), &arena, &again, &err), 0);
	assert_int_equal(pbjson_write(again, &second), 0);
	assert_string_equal(first.data, second.data);
	assert_int_equal(pb_pack(again, &packed), 0);
	assert_int_equal(pb_unpack(e->base.descriptor, buf_str(&packed), &arena, &unpacked, &err), 0);
	buf_clear(&second);
	assert_int_equal(pbjson_write(unpacked, &second), 0);
	assert_string_equal(first.data, second.data);
	buf_release(&first);
	buf_release(&second);
	buf_release(&packed);
}

static void parameters(void **state)
{
	Everything *e = (Everything *)pb_new(&hcp__test__everything__descriptor, &arena);
	static const char *const sets[][2] = { { "i32", "-7" }, { "u64", "18446744073709551615" }, { "active", "true" },
		{ "price_usd_mwh", "-3.5" }, { "type", "bitcoin_mining" }, { "name", "a b" }, { "opt_i32", "0" },
		{ "requirements.gpu_count", "8" }, { "requirements.regions", "us" }, { "requirements.regions", "eu" },
		{ "blob", "AAE" }, { "many_i32", "1" }, { "many_i32", "2" }, { "rank", "1" }, { "shape.gpu_count", "3" } };
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		if (pbjson_set(&e->base, sets[i][0], str_of(sets[i][1]), &arena, &err))
			fail_msg("%s: %s", sets[i][0], err.text);
	assert_int_equal(e->i32, -7);
	assert_true(e->u64 == UINT64_MAX && e->active && e->price_usd_mwh == -3.5);
	assert_int_equal(e->type, 4);
	assert_string_equal(e->name, "a b");
	assert_int_equal(e->has_opt_i32_case, 20);
	assert_int_equal(e->requirements->gpu_count, 8);
	assert_int_equal(e->requirements->n_regions, 2);
	assert_string_equal(e->requirements->regions[1], "eu");
	assert_int_equal(e->many_i32[0] + e->many_i32[1], 3);
	assert_int_equal(e->target_case, HCP__TEST__EVERYTHING__TARGET_SHAPE);
	assert_int_equal(e->shape->gpu_count, 3);

	static const char *const bad[][3] = {
		{ "i32", "x", "must be a whole number, without fraction or exponent" },
		{ "requirements.gpu_count", "-1", "must be from 0 to 4294967295" },
		{ "requirements", "x", "is an object and cannot be given as text" },
		{ "name.x", "x", "has no fields of its own" },
		{ "active", "yes", "must be true or false" },
		{ "name", "\xff", "must be valid UTF-8" },
		{ "requirements.nope", "1", "unknown field; Requirements has gpu_count, memory_gb, regions" },
		{ "many_i32", "z", "must be a whole number, without fraction or exponent" },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_true(pbjson_set(&e->base, bad[i][0], str_of(bad[i][1]), &arena, &err) < 0);
		assert_string_equal(err.field, bad[i][0]);
		assert_string_equal(err.text, bad[i][2]);
	}
	assert_int_equal(pbjson_set(&e->base, "name", (struct str){ "a\0b", 3 }, &arena, &err), HCP_EINVAL);
	assert_int_equal(e->i32, -7);
	assert_int_equal(e->n_many_i32, 2);

	Optional *o = (Optional *)pb_new(&hcp__test2__optional__descriptor, &arena);
	assert_int_equal(pbjson_set(&o->base, "i32", STR("0"), &arena, &err), 0);
	assert_int_equal(pbjson_set(&o->base, "region", STR("x"), &arena, &err), 0);
	assert_true(o->has_i32);
	assert_string_equal(o->region, "x");
}

static void unpack_refuses(void **state)
{
	ProtobufCMessage *m;
	assert_int_equal(pb_unpack(&hcp__test__everything__descriptor, STR("\x0a\xff"), &arena, &m, &err), HCP_EPARSE);
	assert_string_equal(err.text, "2 bytes are no valid Everything");
	/* child is field 51: tag 0x9a 0x03. Each level wraps the one before. */
	struct buf b, outer;
	buf_init(&b, 0);
	buf_init(&outer, 0);
	for (int depth = 0; depth <= PB_DEPTH_MAX; depth++) {
		assert_int_equal(pb_unpack(&hcp__test__everything__descriptor, buf_str(&b), &arena, &m, &err), 0);
		buf_clear(&outer);
		buf_addz(&outer, "\x9a\x03");
		assert_true(b.n < 16384);
		if (b.n >= 128)
			buf_addc(&outer, (char)((b.n & 127) | 128));
		buf_addc(&outer, (char)(b.n >= 128 ? b.n >> 7 : b.n));
		buf_adds(&outer, buf_str(&b));
		buf_clear(&b);
		buf_adds(&b, buf_str(&outer));
	}
	assert_int_equal(pb_unpack(&hcp__test__everything__descriptor, buf_str(&b), &arena, &m, &err), HCP_ELIMIT);
	buf_release(&b);
	buf_release(&outer);
}

/* Read, write, pack, clone and set with the nth allocation failing, for every n until all of it succeeds. */
static void survives_lack_of_memory(void **state)
{
	int64_t before = mem_live();
	uint64_t n = 1;
	for (;; n++) {
		struct arena a;
		struct buf out;
		ProtobufCMessage *m = NULL, *copy = NULL;
		arena_init(&a, 64, 0);
		buf_init(&out, 0);
		mem_fail_after(n, 0);
		int rc = pbjson_read(&hcp__test__everything__descriptor, STR(full), &a, &m, &err);
		if (!rc)
			rc = pbjson_write(m, &out);
		if (!rc)
			rc = pb_clone(m, &a, &copy, &err);
		if (!rc)
			rc = pbjson_set(copy, "requirements.regions", STR("c"), &a, &err);
		uint64_t hits = mem_fail_hits();
		mem_fail_after(0, 0);
		buf_release(&out);
		arena_release(&a);
		if (!hits) {
			assert_int_equal(rc, 0);
			break;
		}
		assert_int_equal(rc, HCP_ENOMEM);
	}
	assert_true(n > 10);
	assert_int_equal(mem_live(), before);
}

static void enum_names(void **state)
{
	char name[PBJSON_ENUM_NAME_MAX];
	const ProtobufCEnumDescriptor *d = &hcp__test__workload_type__descriptor;
	assert_string_equal(pbjson_enum_name(d, 0, name), "unspecified");
	assert_string_equal(pbjson_enum_name(d, 1, name), "ai_inference_realtime");
	assert_null(pbjson_enum_name(d, 3, name));
	int v;
	assert_int_equal(pbjson_enum_parse(&hcp__test__condition__descriptor, STR("gone"), &v, &err), 0);
	assert_int_equal(v, -1);
	assert_string_equal(pbjson_enum_name(&hcp__test2__mode__descriptor, 1, name), "on");
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_scalar), T(arrays_and_nesting), T(presence_by_oneof), T(presence_by_has), T(errors_name_the_field),
		T(malformed_json), T(limits), T(writes_everything), T(round_trips), T(parameters), T(unpack_refuses),
		T(survives_lack_of_memory), T(enum_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
