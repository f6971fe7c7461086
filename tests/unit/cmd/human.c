#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cmd/cli/human.h"

static void check(const char *field, json_t *v, const char *expected)
{
	struct buf out;
	buf_init(&out, 0);
	buf_addz(&out, "");
	human_add(&out, v, human_of(field), INT64_C(1700000060000000000));
	assert_string_equal(out.data ? out.data : "", expected);
	buf_release(&out);
	json_decref(v);
}

static void units_follow_names(void **state)
{
	check("power_w", json_integer(999), "999 W");
	check("power_w", json_integer(1234), "1.23 kW");
	check("power_w", json_integer(-45600), "-45.6 kW");
	check("energy_j", json_integer(INT64_C(3600000000)), "1 MWh");
	check("hash_ths", json_real(0.5), "0.50 TH/s");
	check("hash_ths", json_integer(200000), "200 PH/s");
	check("amount_micros", json_integer(INT64_C(1234567890000)), "$1,234,567.89");
	check("amount_micros", json_integer(4200), "$0.0042");
	check("amount_micros", json_integer(-5000000), "-$5.00");
	check("price_micros_h", json_integer(1500000), "$1.50");
	check("net_usd_h", json_real(-0.00000001), "$0.0000/h");
	check("electricity_usd_mwh", json_real(31.5), "$31.50/MWh");
	check("utilisation", json_real(0.5), "50 %");
	check("memory_gib", json_integer(80), "80 GiB");
	check("created_at_ns", json_integer(INT64_C(1700000000123456789)), "2023-11-14 22:13:20Z");
	check("created_at_ns", json_integer(0), "");
	check("created_at_ns", json_string("1700000000000000000"), "2023-11-14 22:13:20Z");
	check("duration_ns", json_integer(1500000), "1.5 ms");
	check("wait_target_ms", json_integer(90000), "1m 30s");
	check("duration_s", json_integer(7200), "2h 0m");
	check("name", json_string("12"), "12");
	check("revoked", json_false(), "no");
	check("models", json_pack("[s,s]", "a", "b"), "a,b");
	check("name", json_null(), "");
	check("difficulty", json_real(1e30), "1e+30");
}

static void extreme_values_stay_text(void **state)
{
	static const char *const fields[] = { "x_w", "x_j", "x_ths", "x_micros", "x_usd", "x_ms", "duration_s", "x_ns",
					      "duration_ns", "utilisation", "hashes", "x_gib", "value" };
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		json_t *values[] = { json_integer(INT64_MAX), json_integer(INT64_MIN), json_real(1.7e308),
				     json_real(-1.7e308),
				     json_string("9223372036854775807") };
		for (size_t k = 0; k < 5; k++) {
			struct buf out;
			buf_init(&out, 0);
			human_add(&out, values[k], human_of(fields[i]), 0);
			assert_true(out.n > 0 || human_of(fields[i]) == HUMAN_TIME);
			human_add(&out, values[k], HUMAN_AGE, 1);
			buf_release(&out);
			json_decref(values[k]);
		}
	}
}

static void ages(void **state)
{
	struct buf out;
	json_t *v = json_integer(INT64_C(1700000000000000000));
	buf_init(&out, 0);
	human_add(&out, v, HUMAN_AGE, INT64_C(1700000000000000000) + INT64_C(93784) * 1000000000);
	assert_string_equal(out.data, "1d 2h");
	buf_release(&out);
	json_decref(v);
}

static void durations_are_read(void **state)
{
	int64_t s = 0;
	assert_int_equal(human_parse_duration(STR("90"), &s), 0);
	assert_int_equal(s, 90);
	assert_int_equal(human_parse_duration(STR("15m"), &s), 0);
	assert_int_equal(s, 900);
	assert_int_equal(human_parse_duration(STR("2h"), &s), 0);
	assert_int_equal(s, 7200);
	assert_int_equal(human_parse_duration(STR("7d"), &s), 0);
	assert_int_equal(s, 604800);
	static const char *const bad[] = { "", "m", "-1", "1.5h", "2 h", "9223372036854775807d", "h2" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(human_parse_duration(str_of(bad[i]), &s) < 0);
}

static void check_spark(const double *v, size_t n, size_t width, const char *expected)
{
	struct buf out;
	buf_init(&out, 0);
	human_add_sparkline(&out, v, n, width);
	assert_string_equal(out.data ? out.data : "", expected);
	buf_release(&out);
}

static void sparklines(void **state)
{
	const double ramp[] = { 0, 1, 2, 3, 4, 5, 6, 7 }, flat[] = { 5, 5, 5 };
	check_spark(ramp, 8, 80, "▁▂▃▄▅▆▇█");
	check_spark(ramp, 8, 2, "▂▇");
	check_spark(flat, 3, 80, "▄▄▄");
	check_spark(flat, 0, 80, "");
	check_spark(flat, 3, 0, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_follow_names), cmocka_unit_test(extreme_values_stay_text),
			cmocka_unit_test(ages),
		cmocka_unit_test(durations_are_read), cmocka_unit_test(sparklines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
