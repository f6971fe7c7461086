#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "infer/safetensors.h"

/* Length, header, data. */
static size_t build(uint8_t *dst, const char *json, const void *data, size_t n)
{
	uint64_t len = strlen(json);
	for (int i = 0; i < 8; i++)
		dst[i] = (uint8_t)(len >> 8 * i);
	memcpy(dst + 8, json, len);
	memcpy(dst + 8 + len, data, n);
	return 8 + len + n;
}

static void reads_three_float_types(void **state)
{
	uint8_t file[1024], data[16] = { 0 };
	float f[2] = { 1.5f, -0x1p-20f }, got[2];
	memcpy(data, f, 8);
	memcpy(data + 8, (uint16_t[]){ 0x3e00, 0x8010 }, 4);
	memcpy(data + 12, (uint16_t[]){ 0x3fc0, 0xc000 }, 4);
	size_t n = build(file,
			 "{\"__metadata__\":{\"x\":\"y\"},\"a\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
			 "\"c\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[12,16]},"
			 "\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[8,12]},"
			 "\"none\":{\"dtype\":\"I64\",\"shape\":[0],\"data_offsets\":[16,16]}}",
			 data, 16);
	struct safetensors s;
	assert_int_equal(safetensors_init(&s, file, n, NULL), 0);
	assert_int_equal(s.n, 4);
	const struct safetensor *a = safetensors_find(&s, "a");
	assert_int_equal(a->n_dims, 2);
	assert_int_equal(safetensor_read_f32(a, got, NULL), 0);
	assert_memory_equal(got, f, 8);
	assert_int_equal(safetensor_read_f32(safetensors_find(&s, "b"), got, NULL), 0);
	assert_true(got[0] == 1.5f && got[1] == -0x1p-20f);
	assert_int_equal(safetensor_read_f32(safetensors_find(&s, "c"), got, NULL), 0);
	assert_true(got[0] == 1.5f && got[1] == -2.0f);
	struct err err = { 0 };
	assert_int_equal(safetensor_read_f32(safetensors_find(&s, "none"), got, &err), HCP_EUNSUPPORTED);
	assert_string_equal(err.field, "none");
	assert_null(safetensors_find(&s, "d"));
	safetensors_release(&s);
}

static void refuses_what_is_wrong(void **state)
{
	static const struct {
		const char *json;
		int rc;
	} cases[] = {
		{ "[]", HCP_EPARSE },
		{ "{", HCP_EPARSE },
		{ "{\"a\":1}", HCP_EPARSE },
		{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,12]}}", HCP_EPARSE },
		{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,20]}}", HCP_EPARSE },
		{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", HCP_EPARSE },
		{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", HCP_EPARSE },
		{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", HCP_EPARSE },
		{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", HCP_EPARSE },
		{ "{\"a\":{\"dtype\":\"F32\",\"shape\":\"2\",\"data_offsets\":[0,8]}}", HCP_EPARSE },
		{ "{\"a\":{\"dtype\":\"F8\",\"shape\":[2],\"data_offsets\":[0,8]}}", HCP_EUNSUPPORTED },
		{ "{\"a\":{\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]}}", HCP_EPARSE },
		{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", HCP_EPARSE },
		{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", HCP_EPARSE },
		{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", HCP_ELIMIT },
		{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
		  "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
		  HCP_EPARSE },
		{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
		  "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}",
		  HCP_EPARSE },
	};
	int64_t live = mem_live();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t file[1024];
		struct safetensors s = { 0 };
		size_t n = build(file, cases[i].json, "0123456789abcdef", 16);
		assert_int_equal(safetensors_init(&s, file, n, NULL), cases[i].rc);
		assert_null(s.tensors);
	}
	struct safetensors s;
	assert_int_equal(safetensors_init(&s, "1234567", 7, NULL), HCP_EPARSE);
	assert_int_equal(safetensors_init(&s, "\x02\0\0\0\0\0\0\0{", 9, NULL), HCP_EPARSE);
	assert_int_equal(safetensors_init(&s, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, NULL), HCP_EPARSE);
	assert_int_equal(mem_live(), live);
}

static void halves_round_trip(void **state)
{
	for (uint32_t h = 0; h < 0x10000; h++) {
		float f = safetensors_half_to_float((uint16_t)h);
		if (f != f)
			assert_true((h & 0x7c00) == 0x7c00 && (h & 0x3ff));
		else
			assert_int_equal(safetensors_float_to_half(f), h);
	}
	/* Half-way cases go to the even neighbour, also below the normal range. */
	assert_int_equal(safetensors_float_to_half(1 + 0x1p-11f), 0x3c00);
	assert_int_equal(safetensors_float_to_half(1 + 0x3p-11f), 0x3c02);
	assert_int_equal(safetensors_float_to_half(0x1p-25f), 0);
	assert_int_equal(safetensors_float_to_half(0x3p-25f), 2);
	assert_int_equal(safetensors_float_to_half(65519.0f), 0x7bff);
	assert_int_equal(safetensors_float_to_half(65520.0f), 0x7c00);
	assert_int_equal(safetensors_float_to_half(-INFINITY), 0xfc00);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_three_float_types),
		cmocka_unit_test(refuses_what_is_wrong),
		cmocka_unit_test(halves_round_trip),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
