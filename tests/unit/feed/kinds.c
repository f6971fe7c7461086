#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/timefmt.h"
#include "feed/b2c.h"
#include "feed/field.h"
#include "feed/jpath.h"
#include "feed/kind.h"
#include "wire/jsonv.h"

static struct err err;
static struct feed_answer answer;

static int64_t at(const char *iso)
{
	int64_t ns;
	assert_int_equal(timefmt_parse(str_of(iso), &ns), 0);
	return ns;
}

static struct feed_source_conf conf_of(const struct feed_kind *kind)
{
	struct feed_source_conf c = { .kind = kind, .gpus = 8, .location = "HB_WEST", .region = "eastus" };
	snprintf(c.url, sizeof(c.url), "%s", kind->url ? kind->url : "https://h/p");
	snprintf(c.instance, sizeof(c.instance), "%s", kind == &feed_aws_spot ? "p5.48xlarge" : "Standard_ND96isr_H100_v5");
	if (kind->check)
		assert_int_equal(kind->check(&c, &err), 0);
	return c;
}

static int read_as(const struct feed_kind *kind, struct feed_source_conf *c, int64_t now_ns, struct str body)
{
	const struct feed_turn t = { .conf = c, .now_ns = now_ns, .page = 1, .next = "" };
	answer.n = 0;
	return kind->traits & FEED_LIVE ? kind->message(&t, body, &answer, &err) : kind->answer(&t, body, &answer, &err);
}

/* ---- ERCOT: the API's rows on the days when clocks change ---- */

static size_t ercot_day(const char *date, bool spring, bool autumn, bool as_text, struct buf *b)
{
	size_t n = 0;
	buf_addz(b,
		"{\"_meta\":{\"totalPages\":1},\"fields\":[{\"name\":\"settlementPointPrice\"},{\"name\":\"deliveryDate\"},"
		"{\"name\":\"deliveryHour\"},{\"name\":\"deliveryInterval\"},{\"name\":\"settlementPoint\"},{\"name\":"
		"\"DSTFlag\"}],"
		"\"data\":[");
	for (int hour = 1; hour <= 24; hour++) {
		for (int again = 0; again <= (autumn && hour == 2); again++)
			for (int q = 1; q <= 4 && !(spring && hour == 3); q++)
				buf_printf(b,
					as_text ? "%s[\"%zu.5\",\"%s\",\"%d\",\"%d\",\"HB_WEST\",\"%s\"]"
							: "%s[%zu.5,\"%s\",%d,%d,\"HB_WEST\",%s]",
					n ? "," : "", n, date, hour, q,
					as_text ? again ? "Y" : "N"
					: again ? "true"
							: "false"),
					n++;
	}
	buf_addz(b, "]}");
	return n;
}

static void ercot_days_of_a_change(void **state)
{
	static const struct {
		const char *date, *first;
		bool spring, autumn;
		size_t n;
	} days[] = { { "2024-03-10", "2024-03-10T06:00Z", true, false, 92 },
		{ "2024-11-03", "2024-11-03T05:00Z", false, true, 100 },
		{ "2024-07-01", "2024-07-01T05:00Z", false, false, 96 } };
	struct feed_source_conf c = conf_of(&feed_ercot_rt);
	for (size_t d = 0; d < 6; d++) {
		struct buf b;
		buf_init(&b, 0);
		assert_int_equal(ercot_day(days[d / 2].date, days[d / 2].spring, days[d / 2].autumn, d % 2, &b), days[d / 2].n);
		assert_int_equal(read_as(&feed_ercot_rt, &c, at("2024-12-01"), buf_str(&b)), 0);
		assert_int_equal(answer.n, days[d / 2].n);
		for (size_t i = 0; i < answer.n; i++) {
			assert_int_equal(answer.reading[i].start_ns, at(days[d / 2].first) + (int64_t)i * 900 * NS_PER_S);
			assert_int_equal(answer.reading[i].observed_at_ns, answer.reading[i].start_ns + 900 * NS_PER_S);
			assert_true(answer.reading[i].value == (double)i + 0.5);
		}
		buf_release(&b);
	}
}

#define RT(rows)                                                                                                       \
	STR("{\"fields\":[{\"name\":\"deliveryDate\"},{\"name\":\"deliveryHour\"},{\"name\":\"deliveryInterval\"},"        \
		"{\"name\":\"settlementPoint\"},{\"name\":\"settlementPointType\"},{\"name\":\"settlementPointPrice\"},"       \
		"{\"name\":\"DSTFlag\"}],\"data\":[" rows "]}")

static void ercot_refuses(void **state)
{
	struct feed_source_conf c = conf_of(&feed_ercot_rt);
	int64_t now = at("2024-07-01T12:00Z");
	assert_int_equal(read_as(&feed_ercot_rt, &c, now, RT("[\"2024-07-01\",1,1,\"HB_WEST\",\"HU\",5,false]")), 0);
	assert_int_equal(answer.n, 1);
	static const struct str bad[] = {
		RT("[\"2024-07-01\",1,1,\"HB_WEST\",\"HU\",\"nan\",false]"),
		RT("[\"2024-07-01\",25,1,\"HB_WEST\",\"HU\",5,false]"),
		RT("[\"2024-07-01\",1,0,\"HB_WEST\",\"HU\",5,false]"),
		RT("[\"2024-07-01\",2,1,\"HB_WEST\",\"HU\",5,true]"),
		RT("[\"2024-03-10\",3,1,\"HB_WEST\",\"HU\",5,false]"),
		RT("[\"2024-07-02\",1,1,\"HB_WEST\",\"HU\",5,false]"),
		RT("[\"2024-07-01\",1,1,\"HB_WEST\",\"HU\"]"),
		RT("{}"),
		STR("{}"),
		STR("[]"),
		STR("{\"fields\":[],\"data\":[]}"),
		STR("{\"fields\":5,\"data\":[]}"),
		STR(""),
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(read_as(&feed_ercot_rt, &c, now, bad[i]) < 0);
	/* Other points and energy-weighted zones are not errors. */
	assert_int_equal(read_as(&feed_ercot_rt, &c, now,
						 RT("[\"2024-07-01\",1,1,\"HB_NORTH\",\"HU\",5,false],"
							"[\"2024-07-01\",1,1,\"HB_WEST\",\"LZEW\",5,false]")),
		0);
	assert_int_equal(answer.n, 0);
}

/* Prices of capacity: the product stands where a price of energy has its point; tomorrow's are known now. */
static void ercot_capacity(void **state)
{
	struct feed_source_conf c = { .kind = &feed_ercot_as, .location = "RRS" };
	int64_t now = at("2024-07-01T19:00Z");
	assert_int_equal(feed_ercot_as.check(&c, &err), 0);
#define AS(rows)                                                                                                       \
	STR("{\"fields\":[{\"name\":\"deliveryDate\"},{\"name\":\"hourEnding\"},{\"name\":\"ancillaryType\"},"             \
		"{\"name\":\"MCPC\"},{\"name\":\"DSTFlag\"}],\"data\":[" rows "]}")
	assert_int_equal(
		read_as(&feed_ercot_as, &c, now,
			AS("[\"2024-07-02\",\"01:00\",\"RRS\",4.25,false],[\"2024-07-02\",\"01:00\",\"NSPIN\",1,false],"
			   "[\"2024-07-02\",\"24:00\",\"RRS\",0.5,false]")),
		0);
	assert_int_equal(answer.n, 2);
	assert_true(answer.reading[0].value == 4.25 && answer.reading[1].value == 0.5);
	assert_int_equal(answer.reading[0].start_ns, at("2024-07-02T05:00Z"));
	assert_int_equal(answer.reading[1].start_ns, at("2024-07-03T04:00Z"));
	assert_true(answer.reading[0].interval_s == 3600 && answer.reading[0].observed_at_ns == now);
	assert_true(read_as(&feed_ercot_as, &c, now, AS("[\"2024-07-02\",\"25:00\",\"RRS\",4.25,false]")) < 0);
}

static void b2c(void **state)
{
	struct feed_bearer b;
	assert_int_equal(feed_b2c_answer(STR("{\"id_token\":\"a.b-c_d\",\"expires_in\":\"3600\"}"), 0, &b, &err), 0);
	assert_string_equal(b.value, "a.b-c_d");
	assert_int_equal(b.expires_ns, 3300 * NS_PER_S);
	assert_int_equal(feed_b2c_answer(STR("{\"id_token\":\"x\",\"expires_in\":10}"), 0, &b, &err), 0);
	assert_int_equal(b.expires_ns, 9 * NS_PER_S);
	static const char *const bad[] = { "{}", "[]", "", "{\"id_token\":5}", "{\"id_token\":\"a\\r\\nb\"}",
		"{\"id_token\":\"\"}", "{\"id_token\":\"a\",\"expires_in\":0}", "{\"id_token\":\"a\",\"expires_in\":\"soon\"}",
		"{\"access_token\":\"a\"}" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(feed_b2c_answer(str_of(bad[i]), 0, &b, &err) < 0);
	assert_string_equal(b.value, "x"); /* as it was */
}

/* ---- the others ---- */

static void times_of_four_units(void **state)
{
	static const double stamps[] = { 1700000000, 1700000000000, 1700000000000000, 1.7e18 };
	for (size_t i = 0; i < 4; i++) {
		int64_t ns;
		assert_int_equal(feed_unix_ns(stamps[i], &ns), 0);
		assert_int_equal(ns, INT64_C(1700000000) * NS_PER_S);
	}
	int64_t ns;
	assert_int_equal(feed_unix_ns(-1, &ns), HCP_ERANGE);
	assert_int_equal(feed_unix_ns(1e19, &ns), HCP_ERANGE);
}

static void messages_without_a_value(void **state)
{
	struct feed_source_conf cb = conf_of(&feed_coinbase_ws), bn = conf_of(&feed_binance_ws);
	static const char *const quiet[] = { "{\"type\":\"heartbeat\"}", "{\"type\":\"new in 2030\",\"price\":\"1\"}",
		"{\"type\":\"ticker\",\"product_id\":\"ETH-USD\"}" };
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(read_as(&feed_coinbase_ws, &cb, NS_PER_S, str_of(quiet[i])), 0);
		assert_int_equal(answer.n, 0);
	}
	assert_int_equal(read_as(&feed_binance_ws, &bn, NS_PER_S, STR("{\"result\":null,\"id\":1}")), 0);
	assert_int_equal(read_as(&feed_binance_ws, &bn, NS_PER_S, STR("{\"e\":\"serverShutdown\"}")), HCP_ECLOSED);
	assert_int_equal(read_as(&feed_binance_ws, &bn, NS_PER_S, STR("{\"code\":2,\"msg\":\"bad\"}")), HCP_EPROTO);
	assert_int_equal(
		read_as(&feed_coinbase_ws, &cb, NS_PER_S, STR("{\"type\":\"error\",\"message\":\"m\"}")), HCP_EPROTO);
	assert_true(read_as(&feed_coinbase_ws, &cb, NS_PER_S, STR("{\"type\":\"ticker\",\"product_id\":\"BTC-USD\"}")) < 0);
}

static void spot_prices(void **state)
{
	struct feed_source_conf c = conf_of(&feed_aws_spot);
#define ITEM(price)                                                                                                    \
	"<item><instanceType>p5.48xlarge</instanceType><productDescription>Linux&#47;UNIX</productDescription>"            \
	"<spotPrice>" price "</spotPrice><availabilityZone>z</availabilityZone></item>"
#define SET(items, next)                                                                                               \
	STR("<?xml version=\"1.0\"?><DescribeSpotPriceHistoryResponse xmlns=\"x\"><spotPriceHistorySet>" items             \
		"</spotPriceHistorySet><nextToken>" next "</nextToken></DescribeSpotPriceHistoryResponse>")
	assert_int_equal(read_as(&feed_aws_spot, &c, 1, SET(ITEM("8") ITEM("<![CDATA[16]]>"), "a&amp;b")), 0);
	assert_int_equal(answer.n, 2);
	assert_true(answer.reading[0].value == 1 && answer.reading[1].value == 2 && answer.more);
	assert_string_equal(answer.next, "a&b");
	assert_int_equal(read_as(&feed_aws_spot, &c, 1, SET("", "")), 0);
	assert_false(answer.more);
	static const struct str bad[] = { SET(ITEM("free"), ""), SET(ITEM("&bomb;"), ""),
		STR("<Response><Errors/></Response>"), STR("<!DOCTYPE x [<!ENTITY a \"b\">]><x/>"), STR("<a><b></a></b>"),
		STR("<a>"), STR(""), STR("text"), STR("<a/><b/>"),
		SET("<item><instanceType>0123456789012345678901234567890123456789012345678901234567890123456789</"
			"instanceType></item>",
			"") };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(read_as(&feed_aws_spot, &c, 1, bad[i]) < 0);
}

static void a_page_elsewhere_is_not_asked_for(void **state)
{
	static struct feed_request r;
	struct feed_source_conf c = conf_of(&feed_azure_retail);
	static const struct {
		const char *next;
		int rc;
	} rows[] = { { "https://prices.azure.com:443/api/retail/prices?$skip=100", 0 },
		{ "https://evil.example/", HCP_EINVAL }, { "http://prices.azure.com/api", HCP_EINVAL },
		{ "https://prices.azure.com:444/api", HCP_EINVAL }, { "https://prices.azure.com@evil.example/", HCP_EPARSE },
		{ "file:///etc/passwd", HCP_EPARSE } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct feed_turn t = { .conf = &c, .now_ns = 1, .page = 2, .next = rows[i].next };
		assert_int_equal(feed_azure_retail.request(&t, &r, &err), rows[i].rc);
	}
}

struct seen {
	double v[8];
	int n;
};

static int see(void *arg, const json_t *v)
{
	struct seen *s = arg;
	if (s->n < 8)
		s->v[s->n++] = json_number_value(v);
	return 0;
}

static void json_paths(void **state)
{
	json_t *doc;
	assert_int_equal(
		jsonv_parse(
			STR("{\"a\":[1,2,{\"b\":3}],\"x/y\":{\"~\":4},\"m\":{\"p\":5,\"q\":6},\"\":7,\"-1\":8}"), &doc, &err),
		0);
	static const struct {
		const char *path;
		int n;
		double first, last;
	} rows[] = { { "/a/0", 1, 1, 1 }, { "/a/-1/b", 1, 3, 3 }, { "/a/-3", 1, 1, 1 }, { "/a/-4", 0, 0, 0 },
		{ "/a/7", 0, 0, 0 }, { "/x~1y/~0", 1, 4, 4 }, { "/m/*", 2, 5, 6 }, { "/", 1, 7, 7 }, { "/-1", 1, 8, 8 },
		{ "/a/*/b", 1, 3, 3 }, { "/nothing/at/all", 0, 0, 0 }, { "/a/0/deeper", 0, 0, 0 }, { "/*/q", 1, 6, 6 },
		{ "", 1, 0, 0 } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct seen s = { .n = 0 };
		assert_int_equal(jpath_check(rows[i].path, &err), 0);
		assert_int_equal(jpath_each(doc, rows[i].path, see, &s, &err), rows[i].n);
		assert_true(!s.n || (s.v[0] == rows[i].first && s.v[s.n - 1] == rows[i].last));
	}
	static const char *const bad[] = { "a", "/a/~", "/~2", "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(jpath_check(bad[i], &err), HCP_EINVAL);
	json_decref(doc);
}

static void json_times_go_with_values(void **state)
{
	struct feed_source_conf c = conf_of(&feed_json_any);
	int64_t now = at("2024-01-01T12:00Z");
	memcpy(c.path, "/*/v", 5);
	memcpy(c.time_path, "/*/t", 5);
	c.interval_s = 3600;
	assert_int_equal(
		read_as(&feed_json_any, &c, now, STR("[{\"v\":1,\"t\":\"2024-01-01T10:00Z\"},{\"v\":\"2\",\"t\":1704106800}]")),
		0);
	assert_int_equal(answer.n, 2);
	assert_int_equal(answer.reading[1].start_ns, at("2024-01-01T11:00Z"));
	assert_int_equal(answer.reading[1].observed_at_ns, now);
	assert_true(read_as(&feed_json_any, &c, now, STR("[{\"v\":1,\"t\":1704106800},{\"v\":2}]")) < 0);
	assert_true(read_as(&feed_json_any, &c, now, STR("[{\"v\":1},{\"v\":2}]")) < 0);
	assert_true(read_as(&feed_json_any, &c, now, STR("[{\"t\":1704106800}]")) < 0);
	assert_true(read_as(&feed_json_any, &c, now, STR("[{\"v\":true,\"t\":1704106800}]")) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ercot_days_of_a_change),
		cmocka_unit_test(ercot_refuses),
		cmocka_unit_test(ercot_capacity),
		cmocka_unit_test(b2c),
		cmocka_unit_test(times_of_four_units),
		cmocka_unit_test(messages_without_a_value),
		cmocka_unit_test(spot_prices),
		cmocka_unit_test(a_page_elsewhere_is_not_asked_for),
		cmocka_unit_test(json_paths),
		cmocka_unit_test(json_times_go_with_values),
	};
	jsonv_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
