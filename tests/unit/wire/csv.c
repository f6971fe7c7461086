#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "wire/csv.h"

static struct err err;

static void rows_and_quotes(void **state)
{
	struct csv c;
	double v;
	int64_t i;
	size_t price;
	assert_int_equal(csv_init(&c, STR("\xef\xbb\xbf" "name,\"price \"\"usd\"\"\",note\r\n\r\n"
		"a,1.5,\"x, \"\"y\"\"\r\nz\"\r\n\"\",-7,\nlast,\"8\",\"\"\"\""), ',', &err), 0);
	assert_int_equal(csv_column(&c, "price \"usd\"", &price, &err), 0);
	assert_int_equal(price, 1);
	assert_int_equal(csv_next(&c, &err), 1);
	assert_true(str_eq(c.fields[0], STR("a")));
	assert_int_equal(csv_double(&c, 1, &v, &err), 0);
	assert_true(v == 1.5);
	assert_true(str_eq(c.fields[2], STR("x, \"y\"\r\nz")));
	assert_int_equal(c.line, 3);
	assert_int_equal(csv_next(&c, &err), 1);
	assert_int_equal(c.line, 5);
	assert_int_equal(c.fields[0].n, 0);
	assert_int_equal(csv_i64(&c, 1, &i, &err), 0);
	assert_int_equal(i, -7);
	assert_int_equal(csv_i64(&c, 2, &i, &err), HCP_EPARSE);
	assert_string_equal(err.field, "note");
	assert_string_equal(err.text, "CSV line 5: \"\" is no number");
	assert_int_equal(csv_next(&c, &err), 1);
	assert_true(str_eq(c.fields[2], STR("\"")));
	assert_int_equal(csv_next(&c, &err), 0);
	assert_int_equal(csv_next(&c, &err), 0);
	csv_release(&c);
}

static void refuses(void **state)
{
	static const struct {
		const char *text, *field, *message;
		int code;
	} bad[] = {
		{ "", "", "CSV line 1: no header", HCP_EPARSE },
		{ "a,b,a\n", "a", "CSV line 1: a column is named twice", HCP_EPARSE },
		{ "a,b\n1,2\n3\n", "", "CSV line 3: 1 fields, but 2 columns", HCP_EPARSE },
		{ "a,b\n1,2,3\n", "", "CSV line 2: more than 2 fields", HCP_EPARSE },
		{ "a,b\n1,\"2\n", "b", "CSV line 2: a quoted field does not end", HCP_EPARSE },
		{ "a,b\n1,\"2\"x\n", "b", "CSV line 2: text follows a closing quote", HCP_EPARSE },
		{ "a,b\n1,x\"2\n", "b", "CSV line 2: a quote stands inside an unquoted field", HCP_EPARSE },
		{ "a,b\n1\r2,3\n", "a", "CSV line 2: CR without LF", HCP_EPARSE },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct csv c;
		int rc = csv_init(&c, str_of(bad[i].text), ',', &err);
		while (rc == 0 && (rc = csv_next(&c, &err)) > 0)
			rc = 0;
		assert_int_equal(rc, bad[i].code);
		assert_string_equal(err.field, bad[i].field);
		assert_string_equal(err.text, bad[i].message);
		csv_release(&c);
	}
	struct csv c;
	size_t at;
	assert_int_equal(csv_init(&c, STR("a;b\n"), ';', &err), 0);
	assert_int_equal(csv_column(&c, "price", &at, &err), HCP_ENOTFOUND);
	assert_string_equal(err.field, "price");
	assert_string_equal(err.text, "CSV has no such column; it has a, b");
	csv_release(&c);
	struct buf wide;
	buf_init(&wide, 0);
	for (int i = 0; i <= CSV_COLUMNS_MAX; i++)
		buf_printf(&wide, "c%d,", i);
	assert_int_equal(csv_init(&c, buf_str(&wide), ',', &err), HCP_ELIMIT);
	csv_release(&c);
	buf_release(&wide);
	mem_fail_after(1, 0);
	assert_int_equal(csv_init(&c, STR("\"a\"\"b\"\n"), ',', &err), HCP_ENOMEM);
	mem_fail_after(0, 0);
	csv_release(&c);
}

static void data_files_have_their_rows(void **state)
{
	static const struct {
		const char *name;
		size_t rows;
	} files[] = {
		{ "ercot_dam_spp_hourly_2024.csv", 8784 }, { "ercot_dam_houston_2021_02.csv", 528 },
		{ "ercot_as_mcpc_hourly_2024.csv", 8615 }, { "ercot_generation_hourly_2021_2024.csv", 35060 },
		{ "ercot_fuelmix_hourly_2024.csv", 8614 }, { "ercot_da_load_forecast_hourly_2024.csv", 8790 },
		{ "btc_usdt_hourly.csv", 35056 }, { "btc_network_daily.csv", 1462 }, { "gpu_list_price_monthly.csv", 30 },
		{ "gpu_rental_offers_2025_10_11.csv", 6494 }, { "llm_requests_azure_2023.csv", 28185 },
		{ "genai_requests_alibaba_2024.csv", 26823 }, { "gpu_cluster_pods_alibaba_2023.csv", 8152 },
		{ "asic_reference.csv", 33 },
	};
	const char *folder = getenv("HCP_DATA");
	if (!folder)
		folder = HCP_DATA_DEFAULT;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[512];
		snprintf(path, sizeof(path), "%s/%s", folder, files[i].name);
		FILE *f = fopen(path, "rb");
		if (!f) {
			print_message("%s is absent: skipped\n", path);
			skip();
		}
		struct buf text;
		buf_init(&text, 0);
		assert_int_equal(buf_reserve(&text, 4 << 20), 0);
		text.n = fread(text.data, 1, 4 << 20, f);
		fclose(f);
		struct csv c;
		size_t rows = 0;
		int rc;
		assert_int_equal(csv_init(&c, buf_str(&text), ',', &err), 0);
		while ((rc = csv_next(&c, &err)) > 0)
			rows++;
		if (rc < 0)
			fail_msg("%s: %s", files[i].name, err.text);
		assert_int_equal(rows, files[i].rows);
		csv_release(&c);
		buf_release(&text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_and_quotes),
		cmocka_unit_test(refuses),
		cmocka_unit_test(data_files_have_their_rows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
