#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "feed/conf.h"
#include "feed/kind.h"
#include "wire/jsonv.h"

static struct err err;

static void defaults_are_filled_in(void **state)
{
	struct feed_conf c;
	assert_int_equal(feed_conf_parse("m",
						 STR("sources:\n- {name: a, kind: coinbase-ws}\n"
							 "- {name: b, kind: aws-spot, location: H100, region: us-west-2, instance: p5.48xlarge, "
							 "credentials: f, every: 90s}\n"
							 "- {name: c, kind: json, symbol: electricity_rt, location: X, url: 'https://h/', path: "
							 "/a, min: -5, max: 7.5,"
							 " scale: 1000, interval: 15m, time_path: /t, every: 2h}\n"),
						 &c, &err),
		0);
	assert_int_equal(c.n, 3);
	assert_string_equal(c.source[0].symbol, "btc_usd");
	assert_string_equal(c.source[0].url, "wss://ws-feed.exchange.coinbase.com");
	assert_string_equal(c.source[0].product, "BTC-USD");
	assert_true(c.source[0].min == 1 && c.source[0].max == 1e8 && c.source[0].max_jump == 1.25);
	assert_string_equal(c.source[1].url, "https://ec2.us-west-2.amazonaws.com");
	assert_int_equal(c.source[1].gpus, 8);
	assert_int_equal(c.source[1].every_ms, 90000);
	assert_int_equal(c.source[2].interval_s, 900);
	assert_true(c.source[2].min == -5 && c.source[2].max == 7.5 && c.source[2].scale == 1000);
	assert_int_equal(c.source[2].stale_ms, 6 * 3600000); /* never less than its schedule */
	feed_conf_release(&c);
}

static void nothing_leaks_whatever_fails(void **state)
{
	const struct str text = STR("ca_file: x\nsources:\n- {name: a, kind: coinbase-ws, every: 2s, priority: 3, min: 4}\n"
								"- {name: b, kind: mempool-fees}\n");
	int64_t live = mem_live();
	for (uint64_t n = 1; n < 500; n++) {
		struct feed_conf c = { 0 };
		mem_fail_after(n, 0);
		int rc = feed_conf_parse("m", text, &c, &err);
		uint64_t hits = mem_fail_hits();
		mem_fail_after(0, 0);
		if (rc == 0)
			feed_conf_release(&c);
		assert_int_equal(mem_live(), live);
		if (rc == 0 && !hits)
			return;
	}
	fail();
}

static void every_kind_is_whole(void **state)
{
	for (size_t i = 0; feed_kind_at(i); i++) {
		const struct feed_kind *k = feed_kind_at(i);
		assert_ptr_equal(feed_kind_find(k->name), k);
		assert_non_null(k->request);
		assert_true(k->about && k->takes && k->symbols && k->every_ms > 0 && k->stale_ms >= k->every_ms);
		if (k->traits & FEED_LIVE)
			assert_true(k->message && k->subscribe);
		else
			assert_non_null(k->answer);
	}
	assert_null(feed_kind_find("none"));
}

static void credentials(void **state)
{
	static struct feed_creds c;
	assert_int_equal(
		feed_creds_parse(&c, STR("# x\n[default]\naws_access_key_id = A=B:C \nvalue:  v w\r\n\n;y\n"), &err), 0);
	assert_int_equal(c.n, 2);
	assert_string_equal(feed_creds_get(&c, "aws_access_key_id"), "A=B:C");
	assert_string_equal(feed_creds_get(&c, "value"), "v w");
	assert_null(feed_creds_get(&c, "nothing"));
	assert_null(feed_creds_get(NULL, "value"));
	static const char *const bad[] = { "secret", "=secret", "a=\n", "a=secret\na=secret", "a\tb=secret",
		"a=sec\x01ret" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(feed_creds_parse(&c, str_of(bad[i]), &err), HCP_EPARSE);
		assert_null(strstr(err.text, "secret"));
	}
	assert_int_equal(feed_creds_parse(&c, (struct str){ "a=b\0c", 5 }, &err), HCP_EPARSE);
	assert_int_equal(feed_creds_parse(&c, STR("a=1\nb=1\nc=1\nd=1\ne=1\nf=1\ng=1\nh=1\ni=1\n"), &err), HCP_ELIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_filled_in),
		cmocka_unit_test(nothing_leaks_whatever_fails),
		cmocka_unit_test(every_kind_is_whole),
		cmocka_unit_test(credentials),
	};
	jsonv_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
