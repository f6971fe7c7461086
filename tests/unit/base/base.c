#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/breaker.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/hist.h"
#include "base/id.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/money.h"
#include "base/num.h"
#include "base/rng.h"
#include "base/str.h"
#include "base/timefmt.h"

static void arena_fails_and_respects_limit(void **state)
{
	struct arena a;
	arena_init(&a, 256, 4096);
	assert_non_null(arena_alloc(&a, 1000));
	assert_null(arena_alloc(&a, 5000));
	mem_fail_after(1, 0);
	assert_null(arena_alloc(&a, 2000));
	assert_int_equal(mem_fail_hits(), 1);
	mem_fail_after(0, 0);
	assert_string_equal(arena_printf(&a, "%s-%d", "x", 7), "x-7");
	arena_release(&a);
	assert_int_equal(a.total, 0);
}

static void buf_errors_stick(void **state)
{
	struct buf b;
	buf_init(&b, 10);
	buf_addz(&b, "12345");
	buf_addz(&b, "6789012");
	assert_true(buf_failed(&b));
	assert_string_equal(b.data, "12345");
	buf_release(&b);
}

static void json_strings_escape(void **state)
{
	struct buf b;
	buf_init(&b, 0);
	buf_add_json(&b, str_of("a\"\\\n\x01\xff\xc3\xa9"));
	assert_string_equal(b.data, "\"a\\\"\\\\\\n\\u0001\\ufffd\xc3\xa9\"");
	buf_clear(&b);
	buf_add_double(&b, 0.1);
	assert_string_equal(b.data, "0.1");
	buf_release(&b);
}

/* Written by hand because printf was a tenth of an answer: the text must be printf's. */
static void numbers_are_written_as_printf_does(void **state)
{
	const int64_t edges[] = { 0, 1, -1, 9, 10, -10, 99, 100, INT32_MIN, INT32_MAX, INT64_MIN, INT64_MAX };
	const double doubles[] = { 0, -0.0, 1, -7, 999999999999999, 1e15, -1e15, 1e300, 0.5, 123456.25, -1e-7 };
	char text[64];
	struct buf b;
	struct rng r;
	buf_init(&b, 0);
	rng_init(&r, 11);
	for (size_t i = 0; i < 2000; i++) {
		int64_t v = i < sizeof(edges) / sizeof(edges[0]) ? edges[i] : (int64_t)rng_u64(&r) >> rng_below(&r, 64);
		snprintf(text, sizeof(text), "%" PRId64 " %" PRIu64, v, (uint64_t)v);
		buf_clear(&b);
		buf_add_i64(&b, v);
		buf_addc(&b, ' ');
		buf_add_u64(&b, (uint64_t)v);
		assert_string_equal(b.data, text);
	}
	for (size_t i = 0; i < sizeof(doubles) / sizeof(doubles[0]); i++) {
		snprintf(text, sizeof(text), "%.15g", doubles[i]);
		buf_clear(&b);
		buf_add_double(&b, doubles[i]);
		assert_string_equal(b.data, text);
	}
	buf_release(&b);
}

static void map_matches_a_plain_array(void **state)
{
	struct map m;
	struct rng r;
	static uintptr_t ref[512];
	memset(ref, 0, sizeof(ref));
	map_init(&m);
	rng_init(&r, 3);
	for (int i = 0; i < 20000; i++) {
		uint64_t k = rng_below(&r, 512);
		if (rng_below(&r, 3)) {
			ref[k] = (uintptr_t)i + 1;
			assert_int_equal(map_put(&m, map_key_u64(&k), (void *)ref[k], NULL), 0);
		} else {
			assert_ptr_equal(map_del(&m, map_key_u64(&k)), (void *)ref[k]);
			ref[k] = 0;
		}
	}
	size_t present = 0;
	for (uint64_t k = 0; k < 512; k++) {
		assert_ptr_equal(map_get(&m, map_key_u64(&k)), (void *)ref[k]);
		present += ref[k] != 0;
	}
	assert_int_equal(m.n, present);
	map_release(&m);
}

static void a_map_borrows_keys(void **state)
{
	struct map m;
	char one[] = "one", again[] = "one", two[] = "two";
	void *old;
	map_init(&m);
	assert_int_equal(map_put(&m, STR("zero"), one, NULL), 0); /* the slots */
	int64_t live = mem_live();
	assert_int_equal(map_put_ref(&m, str_of(one), one, NULL), 0);
	assert_int_equal(map_put_ref(&m, str_of(two), two, NULL), 0);
	assert_int_equal(mem_live(), live);
	/* The new value brings its own key, so the old one's bytes may go. */
	assert_int_equal(map_put_ref(&m, str_of(again), again, &old), 0);
	assert_ptr_equal(old, one);
	memset(one, 'x', 3);
	assert_ptr_equal(map_get(&m, STR("one")), again);
	/* Copied in place of borrowed, and the other way round. */
	assert_int_equal(map_put(&m, STR("two"), two, NULL), 0);
	memset(two, 'x', 3);
	assert_ptr_equal(map_get(&m, STR("two")), two);
	assert_int_equal(map_put_ref(&m, STR("zero"), again, NULL), 0);
	assert_int_equal(mem_live(), live);
	assert_ptr_equal(map_del(&m, STR("one")), again);
	assert_null(map_get(&m, STR("one")));
	assert_int_equal(m.n, 2);
	map_release(&m);
	assert_int_equal(mem_live(), live - 2); /* slots, and the one key that is ours */
}

static void watched_memory_is_what_this_thread_holds(void **state)
{
	char *before = mem_alloc(1000);
	mem_watch(1);
	char *p = mem_alloc(100), *q = mem_calloc(10, 10);
	assert_non_null(p);
	assert_non_null(q);
	p = mem_realloc(p, 5000);
	assert_in_range(mem_watched().bytes, 5100, 5200);
	mem_free(p);
	assert_in_range(mem_watched().bytes, 100, 150);
	assert_in_range(mem_watched().peak, 5100, 5200);
	mem_free(q);
	assert_int_equal(mem_watched().bytes, 0);
	mem_free(before);
	assert_true(mem_watched().bytes <= -1000);
	mem_watch(0);
	mem_free(mem_alloc(10));
	assert_int_equal(mem_watched().bytes, 0);
}

static void numbers_are_checked(void **state)
{
	int64_t i;
	double d;
	assert_int_equal(num_parse_i64(STR("-9223372036854775808"), &i), 0);
	assert_true(i == INT64_MIN);
	assert_int_equal(num_parse_i64(STR("9223372036854775808"), &i), HCP_ERANGE);
	assert_int_equal(num_parse_i64(STR("12x"), &i), HCP_EPARSE);
	assert_int_equal(num_parse_i64(STR(""), &i), HCP_EPARSE);
	assert_int_equal(num_parse_double(STR("nan"), &d), HCP_EPARSE);
	assert_int_equal(num_parse_double(STR("1e999"), &d), HCP_ERANGE);
	assert_int_equal(num_parse_double(STR("-1.5e3"), &d), 0);
	assert_true(d == -1500);
	assert_int_equal(num_muldiv_i64(INT64_MAX, 2, 1, &i), HCP_ERANGE);
}

static void money_rounds_to_the_micro(void **state)
{
	int64_t m;
	assert_int_equal(money_energy_cost(3600000000, 25000000, &m), 0); /* 1 MWh at $25 */
	assert_int_equal(m, 25000000);
	assert_int_equal(money_energy_cost(1800, -1000000, &m), 0); /* half a Wh at -$1/MWh = -0.5 micro */
	assert_int_equal(m, -1);
	struct buf b;
	buf_init(&b, 0);
	money_format(&b, -1500000);
	assert_string_equal(b.data, "-1.500000");
	buf_release(&b);
}

static void times_parse_and_format(void **state)
{
	char t[TIMEFMT_MAX];
	int64_t ns;
	assert_int_equal(timefmt_parse(STR("2021-02-15T06:00:00Z"), &ns), 0);
	assert_string_equal(timefmt_format(t, ns), "2021-02-15T06:00:00Z");
	assert_int_equal(timefmt_parse(STR("2021-02-15T00:00:00.25-06:00"), &ns), 0);
	assert_string_equal(timefmt_format(t, ns), "2021-02-15T06:00:00.250Z");
	assert_int_equal(timefmt_parse(STR("2021-02-30"), &ns), HCP_ERANGE);
	assert_int_equal(timefmt_parse(STR("2021-02-15T06:00:00Zx"), &ns), HCP_EPARSE);
	assert_int_equal(timefmt_parse(STR("1969-12-31T23:59:59.5"), &ns), 0);
	assert_string_equal(timefmt_format(t, ns), "1969-12-31T23:59:59.500Z");
}

static void central_time_changes_on_the_right_hours(void **state)
{
	int64_t ns;
	assert_int_equal(timefmt_parse(STR("2024-03-10T07:59:59Z"), &ns), 0);
	assert_int_equal(timefmt_central_offset_s(ns), -21600);
	assert_int_equal(timefmt_central_offset_s(ns + NS_PER_S), -18000);
	assert_int_equal(timefmt_parse(STR("2024-11-03T06:59:59Z"), &ns), 0);
	assert_int_equal(timefmt_central_offset_s(ns), -18000);
	assert_int_equal(timefmt_central_offset_s(ns + NS_PER_S), -21600);
}

static void ids_round_trip_and_sort(void **state)
{
	struct rng r;
	char a[ID_TEXT_MAX], b[ID_TEXT_MAX];
	rng_init(&r, 1);
	struct id x = id_new(1000 * NS_PER_MS, &r), y = id_new(1001 * NS_PER_MS, &r), z;
	id_format(a, ID_WORKLOAD, &x);
	id_format(b, ID_WORKLOAD, &y);
	assert_true(strcmp(a, b) < 0);
	assert_int_equal(id_parse(str_of(a), ID_WORKLOAD, &z), 0);
	assert_memory_equal(&x, &z, sizeof(x));
	assert_int_equal(id_parse(str_of(a), ID_DEVICE, &z), HCP_EPARSE);
	a[strlen(a) - 1] = 'u';
	assert_int_equal(id_parse(str_of(a), NULL, &z), HCP_EPARSE);
}

static void codes_and_checksums(void **state)
{
	struct buf b;
	char hex[9];
	uint8_t raw[4];
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_string_equal(hex_encode(hex, "\xde\xad\xbe\xef", 4), "deadbeef");
	assert_int_equal(hex_decode(raw, 4, STR("DEADBEEF")), 0);
	assert_int_equal(hex_decode(raw, 4, STR("DEADBEEG")), HCP_EPARSE);
	buf_init(&b, 0);
	b64url_encode(&b, "\xfb\xff\x00x", 4);
	assert_string_equal(b.data, "-_8AeA");
	struct buf back;
	buf_init(&back, 0);
	assert_int_equal(b64url_decode(&back, buf_str(&b)), 0);
	assert_memory_equal(back.data, "\xfb\xff\x00x", 4);
	assert_int_equal(b64url_decode(&back, STR("A")), HCP_EPARSE);
	buf_release(&b);
	buf_release(&back);
}

static void quantiles_stay_within_a_sixteenth(void **state)
{
	struct hist *h = calloc(1, sizeof(*h));
	for (uint64_t v = 1; v <= 100000; v++)
		hist_add(h, v);
	uint64_t p99 = hist_quantile(h, 0.99);
	assert_in_range(p99, 98900, 99000 * 17 / 16);
	assert_int_equal(hist_quantile(h, 1), 100000);
	free(h);
}

static void errors_name_field_and_origin(void **state)
{
	struct err e = { 0 };
	assert_int_equal(err_set(&e, HCP_EINVAL, "priority", "must be 1 to 10, was %d", 11), HCP_EINVAL);
	err_prefix(&e, "workloads[2]");
	assert_string_equal(e.field, "workloads[2].priority");
	assert_string_equal(e.text, "must be 1 to 10, was 11");
	assert_true(strncmp(e.origin, "base.c:", 7) == 0);
	assert_string_equal(err_name(HCP_ENOTFOUND), "not_found");
	assert_string_equal(err_name(HCP_EINTERNAL), "internal");
}

static void lists_move(void **state)
{
	struct list head, a, b;
	list_init(&head);
	list_add_tail(&head, &a);
	list_add_head(&head, &b);
	assert_ptr_equal(list_pop(&head), &b);
	list_del(&a);
	assert_true(list_empty(&head));
}

static void breaker_opens_and_tries_once(void **state)
{
	struct breaker b;
	breaker_init(&b, BREAKER_DEFAULT);
	for (int i = 0; i < 4; i++)
		breaker_failure(&b, i * NS_PER_S);
	assert_true(breaker_allow(&b, 4 * NS_PER_S));
	breaker_failure(&b, 11 * NS_PER_S); /* the first is out of the window by now */
	assert_true(breaker_allow(&b, 11 * NS_PER_S));
	breaker_failure(&b, 11 * NS_PER_S);
	assert_false(breaker_allow(&b, 12 * NS_PER_S));
	assert_true(breaker_allow(&b, 41 * NS_PER_S));
	assert_false(breaker_allow(&b, 41 * NS_PER_S));
	breaker_failure(&b, 42 * NS_PER_S);
	assert_false(breaker_allow(&b, 71 * NS_PER_S));
	assert_true(breaker_allow(&b, 72 * NS_PER_S));
	breaker_success(&b);
	assert_true(breaker_allow(&b, 72 * NS_PER_S));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arena_fails_and_respects_limit), cmocka_unit_test(buf_errors_stick),
		cmocka_unit_test(json_strings_escape), cmocka_unit_test(numbers_are_written_as_printf_does),
		cmocka_unit_test(map_matches_a_plain_array),
		cmocka_unit_test(a_map_borrows_keys),
		cmocka_unit_test(watched_memory_is_what_this_thread_holds),
		cmocka_unit_test(numbers_are_checked), cmocka_unit_test(money_rounds_to_the_micro),
		cmocka_unit_test(times_parse_and_format), cmocka_unit_test(central_time_changes_on_the_right_hours),
		cmocka_unit_test(ids_round_trip_and_sort), cmocka_unit_test(codes_and_checksums),
		cmocka_unit_test(quantiles_stay_within_a_sixteenth), cmocka_unit_test(errors_name_field_and_origin),
		cmocka_unit_test(lists_move), cmocka_unit_test(breaker_opens_and_tries_once),
	};
	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
