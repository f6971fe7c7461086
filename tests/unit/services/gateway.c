/* The gateway's pure parts; the whole is tested from outside by tests/it/test_gateway.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/money.h"
#include "services/gateway/cache.h"
#include "services/gateway/header.h"
#include "services/gateway/infer_proxy.h"
#include "services/gateway/limit.h"
#include "services/gateway/problem.h"
#include "services/gateway/route.h"

static const struct route_info rows[] = {
	{ "GET", "/a", 1, 1, 1, 200, 0, "", 0, SVC_GATEWAY },
	{ "POST", "/a", 1, 1, 1, 200, 0, "", 0, SVC_GATEWAY },
	{ "GET", "/a/{id}", 1, 1, 1, 200, 0, "", 0, SVC_GATEWAY },
	{ "POST", "/a/batch", 1, 1, 1, 200, 0, "", 0, SVC_GATEWAY },
	{ "DELETE", "/a/{id}", 1, 1, 1, 200, 0, "", 0, SVC_GATEWAY },
	{ "GET", "/a/{id}/b/{n}", 1, 1, 1, 200, 0, "", 0, SVC_GATEWAY },
};

static int match(const struct router *r, enum http_verb verb, const char *path, struct route_match *m)
{
	router_match(r, verb, str_of(path), m);
	return m->row;
}

static void routes(void **state)
{
	struct router r;
	struct route_match m;
	assert_int_equal(router_init(&r, rows, 6, SVC_GATEWAY, NULL), 0);
	assert_int_equal(match(&r, HTTP_M_GET, "/a", &m), 0);
	assert_int_equal(match(&r, HTTP_M_HEAD, "/a", &m), 0);
	assert_int_equal(match(&r, HTTP_M_POST, "/a", &m), 1);
	assert_int_equal(match(&r, HTTP_M_GET, "/a/x%20y", &m), 2);
	assert_int_equal(m.n_params, 1);
	assert_true(str_eqz(m.params[0].name, "id") && str_eqz(m.params[0].value, "x%20y"));
	assert_int_equal(match(&r, HTTP_M_POST, "/a/batch", &m), 3);
	assert_int_equal(match(&r, HTTP_M_GET, "/a/batch", &m), 2); /* the literal path has no GET */
	assert_int_equal(match(&r, HTTP_M_DELETE, "/a/batch", &m), 4);
	assert_int_equal(match(&r, HTTP_M_GET, "/a/1/b/2", &m), 5);
	assert_true(str_eqz(m.params[0].value, "1") && str_eqz(m.params[1].value, "2"));
	assert_int_equal(match(&r, HTTP_M_PUT, "/a", &m), -1);
	assert_int_equal(m.verbs, 1U << HTTP_M_GET | 1U << HTTP_M_POST);
	static const char *const none[] = { "/", "", "/b", "/a/", "/a//b/2", "/a/1/b", "/a/1/b/2/3", "/a/1/b/", "a",
					    "//a" };
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		assert_int_equal(match(&r, HTTP_M_GET, none[i], &m), -1);
		assert_int_equal(m.verbs, 0);
	}
	router_release(&r);
}

static void every_declared_route_is_found(void **state)
{
	struct router r;
	struct route_match m;
	assert_int_equal(router_init(&r, route_table, route_count, SVC_GATEWAY, NULL), 0);
	for (size_t i = 0; i < route_count; i++)
		assert_int_equal(match(&r, route_verb(route_table[i].method), route_table[i].path, &m),
			route_table[i].own == SVC_GATEWAY ? (int)i : -1);
	router_release(&r);
	for (int id = SVC_GATEWAY + 1; id < SVC_COUNT; id++) { /* on its own port: what is its own, and nothing else */
		assert_int_equal(router_init(&r, route_table, route_count, id, NULL), 0);
		for (size_t i = 0; i < route_count; i++) {
			bool shared = route_table[i].own == SVC_GATEWAY && msg_info(route_table[i].request)->target == id;
			assert_int_equal(match(&r, route_verb(route_table[i].method), route_table[i].path, &m),
				shared || route_table[i].own == id ? (int)i : -1);
		}
		router_release(&r);
	}
	static const struct route_info twice[] = { { "GET", "/a", 1, 1, 1, 200, 0, "", 0, SVC_GATEWAY },
		{ "GET", "/a", 1, 1, 1, 200, 0, "", 0, SVC_GATEWAY } };
	assert_int_equal(router_init(&r, twice, 2, SVC_GATEWAY, NULL), HCP_EEXIST);
}

static void buckets(void **state)
{
	struct limits l;
	struct limit_result res;
	int64_t now = 1000 * NS_PER_S;
	limits_init(&l, 4);
	for (uint32_t i = 0; i < 60; i++) {
		assert_true(limits_take(&l, STR("a"), 60, now, &res));
		assert_int_equal(res.remaining, 59 - i);
	}
	assert_false(limits_take(&l, STR("a"), 60, now, &res));
	assert_int_equal(res.retry_after_s, 1);
	assert_int_equal(res.remaining, 0);
	assert_true(limits_take(&l, STR("b"), 60, now, &res)); /* another's bucket */
	assert_true(limits_take(&l, STR("a"), 60, now + NS_PER_S, &res)); /* one is back after a second */
	assert_false(limits_take(&l, STR("a"), 60, now + NS_PER_S, &res));
	assert_true(limits_take(&l, STR("a"), 60, now + 3600 * NS_PER_S, &res)); /* full, and not more */
	assert_int_equal(res.remaining, 59);
	/* Over any length of time no more than a bucket and what came back. */
	int passed = 0;
	for (int64_t t = 0; t < 60 * NS_PER_S; t += 50 * NS_PER_MS)
		passed += limits_take(&l, STR("c"), 60, now + t, &res);
	assert_in_range(passed, 118, 120);
	limits_release(&l);
}

static void buckets_are_bounded(void **state)
{
	struct limits l;
	struct limit_result res;
	limits_init(&l, 4);
	for (int i = 0; i < 100; i++) {
		char key[8];
		snprintf(key, sizeof(key), "k%d", i);
		assert_true(limits_take(&l, str_of(key), 1, NS_PER_S, &res));
	}
	assert_int_equal(l.by_key.n, 4);
	assert_false(limits_take(&l, STR("k99"), 1, NS_PER_S, &res));
	assert_true(limits_take(&l, STR("k1"), 1, NS_PER_S, &res)); /* forgotten */
	limits_release(&l);
}

static void keep(struct cache *c, struct str key, struct str body, int64_t until_ms)
{
	cache_put(c, key, &(struct cached){ body, "\"17\"", until_ms });
}

static void answers_are_kept_for_their_time(void **state)
{
	struct cache c;
	struct cached body;
	cache_init(&c, 3, 100);
	keep(&c, STR("a"), STR("1"), 1000);
	assert_true(cache_get(&c, STR("a"), 999, &body));
	assert_true(str_eqz(body.body, "1"));
	assert_string_equal(body.etag, "\"17\"");
	assert_int_equal(body.until_ms, 1000);
	assert_false(cache_get(&c, STR("a"), 1000, &body));
	assert_int_equal(c.by_key.n, 0);
	keep(&c, STR("a"), STR("1"), 1000);
	keep(&c, STR("a"), STR("two"), 2000);
	assert_true(cache_get(&c, STR("a"), 1500, &body));
	assert_true(str_eqz(body.body, "two"));
	keep(&c, STR("b"), STR(""), 2000);
	keep(&c, STR("c"), STR("3"), 2000);
	assert_true(cache_get(&c, STR("a"), 1500, &body)); /* now b is the oldest */
	keep(&c, STR("d"), STR("4"), 2000);
	assert_false(cache_get(&c, STR("b"), 1500, &body));
	assert_true(cache_get(&c, STR("a"), 1500, &body));
	char big[200] = { 0 };
	keep(&c, STR("big"), (struct str){ big, sizeof(big) }, 2000);
	assert_false(cache_get(&c, STR("big"), 1500, &body));
	keep(&c, STR("half"), (struct str){ big, 90 }, 2000);
	assert_true(cache_get(&c, STR("half"), 1500, &body));
	assert_false(cache_get(&c, STR("c"), 1500, &body)); /* made room */
	assert_int_equal(c.bytes, 100);
	cache_release(&c);
}

static void problems(void **state)
{
	static const int map[][2] = {
		{ HCP_EINVAL, 400 }, { HCP_EPARSE, 400 }, { HCP_ERANGE, 400 }, { HCP_EAUTH, 401 }, { HCP_EPERM, 403 },
		{ HCP_ENOTFOUND, 404 }, { HCP_ECONFLICT, 409 }, { HCP_ESTATE, 409 }, { HCP_EEXIST, 409 }, { HCP_ELIMIT, 429 },
		{ HCP_EUNSUPPORTED, 501 }, { HCP_EUNAVAIL, 503 }, { HCP_ECLOSED, 503 }, { HCP_ENOMEM, 503 },
		{ HCP_ENOSPC, 503 }, { HCP_ETIMEOUT, 504 }, { HCP_EINTERNAL, 500 }, { HCP_EIO, 500 }, { HCP_ECORRUPT, 500 },
	};
	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		assert_int_equal(problem_status(map[i][0]), map[i][1]);
		assert_int_equal(problem_code(err_name(map[i][0])), map[i][0]);
	}
	assert_int_equal(problem_code("nonsense"), HCP_EINTERNAL);
	struct buf b;
	buf_init(&b, 0);
	problem_write(&b, 400, HCP_EINVAL, "a\"b", "no \"way\"", "00");
	assert_string_equal(b.data, "{\"type\":\"https://hcp.dev/problems/invalid\",\"title\":\"Bad Request\","
				    "\"status\":400,"
				    "\"detail\":\"no \\\"way\\\"\",\"code\":\"invalid\",\"field\":\"a\\\"b\",\"trace_id\":\"00\"}");
	buf_release(&b);
}

/* ---- endpoints ---- */

static void up(struct endpoints *e, const char *node, const char *device, const char *model, Hcp__Mode mode)
{
	Hcp__EndpointChanged ev = HCP__ENDPOINT_CHANGED__INIT;
	const char *models[] = { model };
	ev.node_id = node;
	ev.endpoint = "http://127.0.0.1:1";
	ev.n_models = 1;
	ev.models = models;
	ev.up = true;
	ev.device_id = device;
	ev.mode = mode;
	endpoints_changed(e, &ev);
}

static void down(struct endpoints *e, const char *node, const char *device)
{
	Hcp__EndpointChanged ev = HCP__ENDPOINT_CHANGED__INIT;
	ev.node_id = node;
	ev.device_id = device;
	endpoints_changed(e, &ev);
}

static const char *pick(struct endpoints *e, const char *model, const struct endpoint *not, int64_t now_ns)
{
	bool known;
	struct endpoint *n = endpoints_pick(e, str_of(model), not, now_ns, &known);
	return n ? n->node_id : known ? "busy" : "unknown";
}

static void the_best_node_is_picked(void **state)
{
	struct endpoints e;
	endpoints_init(&e);
	assert_string_equal(pick(&e, "m", NULL, 1), "unknown");
	up(&e, "n1", "d1", "m", HCP__MODE__FILL);
	up(&e, "n2", "d1", "m", HCP__MODE__FILL);
	assert_string_equal(pick(&e, "m", NULL, 1), "n1");
	struct endpoint *n1 = map_get(&e.by_node, STR("n1")), *n2 = map_get(&e.by_node, STR("n2"));
	n1->in_flight = 1;
	assert_string_equal(pick(&e, "m", NULL, 1), "n2");
	up(&e, "n1", "d2", "m", HCP__MODE__SERVE); /* serving beats fewer in flight */
	assert_string_equal(pick(&e, "m", NULL, 1), "n1");
	assert_string_equal(pick(&e, "m", n1, 1), "n2");
	assert_string_equal(pick(&e, "other", NULL, 1), "unknown");
	for (int i = 0; i < 5; i++) {
		breaker_failure(&n1->breaker, 1);
		breaker_failure(&n2->breaker, 1);
	}
	assert_string_equal(pick(&e, "m", NULL, 2), "busy");
	assert_string_equal(pick(&e, "m", NULL, 31 * NS_PER_S), "n1"); /* one trial each */
	assert_string_equal(pick(&e, "m", NULL, 31 * NS_PER_S), "n2");
	assert_string_equal(pick(&e, "m", NULL, 31 * NS_PER_S), "busy");
	breaker_success(&n1->breaker);
	assert_string_equal(pick(&e, "m", NULL, 31 * NS_PER_S), "n1");
	for (int i = 0; i < 5; i++)
		breaker_failure(&n1->breaker, 32 * NS_PER_S);
	up(&e, "n1", "d1", "m", HCP__MODE__FILL);
	assert_string_equal(pick(&e, "m", NULL, 33 * NS_PER_S), "busy");
	up(&e, "n1", "d1", "m", HCP__MODE__SERVE); /* it is proved to serve now: tried at once */
	assert_string_equal(pick(&e, "m", NULL, 33 * NS_PER_S), "n1");
	down(&e, "n1", "d2");
	assert_non_null(map_get(&e.by_node, STR("n1"))); /* d1 is still there */
	endpoint_ref(n1);
	down(&e, "n1", "d1");
	assert_null(map_get(&e.by_node, STR("n1")));
	assert_false(n1->listed); /* in use by a call */
	endpoint_unref(n1);
	down(&e, "n9", "d1");
	endpoints_release(&e);
}

static void the_list_of_nodes_is_taken(void **state)
{
	struct endpoints e;
	Hcp__Node n = HCP__NODE__INIT;
	const char *models[] = { "m", "k" };
	endpoints_init(&e);
	n.id = "n1";
	n.connected = true;
	n.endpoint = "http://127.0.0.1:1";
	n.n_models = 2;
	n.models = models;
	endpoints_node(&e, &n);
	assert_string_equal(pick(&e, "k", NULL, 1), "n1");
	n.connected = false;
	endpoints_node(&e, &n);
	assert_string_equal(pick(&e, "k", NULL, 1), "unknown");
	endpoints_release(&e);
}

static void cookies(void **state)
{
	static const struct {
		const char *value, *want;
	} table[] = {
		{ "x=1", "1" },
		{ "a=2; x=1; b=3", "1" },
		{ "a=x=9;x=1", "1" },
		{ " x = 1 ", "1" },
		{ "x=\"1\"", "1" },
		{ "x=1; x=2", "1" },
		{ "x=", "" },
		{ "x=a=b", "a=b" },
		{ "x=\"", "\"" },
		{ "", NULL },
		{ "x", NULL },
		{ "xx=1", NULL },
		{ "X=1", NULL },
		{ ";;=;", NULL },
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct str got = header_cookie(str_of(table[i].value), STR("x"));
		assert_int_equal(got.p != NULL, table[i].want != NULL);
		if (table[i].want)
			assert_true(str_eqz(got, table[i].want));
	}
}

static void encodings(void **state)
{
	static const char *const yes[] = { "gzip", "GZIP", "x-gzip", "*", "br, gzip", "gzip;q=1", "gzip;q=0.001",
		"gzip ; q=0.5", "gzip;q=1.000", "identity;q=0, gzip", "*;q=0, gzip", "br;q=1.0, gzip;q=0.8, *;q=0.1",
		"gzip;q=0, gzip", "gzip;a=b", "*;q=0.2", "gzip;q=0.1;x" };
	static const char *const no[] = { "", "identity", "br", "gzip;q=0", "gzip;q=0.000", "*;q=0", "gzip;q=0, *",
		"gzip;q=", "gzip;q", "gzip;q=2", "gzip;q=1.001", "gzip;q=-1", "gzip;q=0.0001", "gzip;q=x", "gzipp", "g zip",
		",,;", "gzip;q=.5", "q=1" };
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		if (!header_takes_gzip(str_of(yes[i])))
			fail_msg("%s", yes[i]);
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		if (header_takes_gzip(str_of(no[i])))
			fail_msg("%s", no[i]);
	assert_false(header_takes_gzip((struct str){ 0 }));
}

static void tags(void **state)
{
	struct str tag = STR("\"7\"");
	static const char *const strong[] = { "\"7\"", "*", " * ", "\"a\", \"7\"", "\"a\",\"7\",\"b\"", "W/\"7\", \"7\"" };
	static const char *const weak[] = { "W/\"7\"", "\"a\", W/\"7\"" };
	static const char *const none[] = { "", "7", "\"7", "\"77\"", "\"a\"7\"", "W/7", "\"*\"", "\",7,\"" };
	for (size_t i = 0; i < sizeof(strong) / sizeof(strong[0]); i++) {
		assert_true(header_names_etag(str_of(strong[i]), tag, false));
		assert_true(header_names_etag(str_of(strong[i]), tag, true));
	}
	for (size_t i = 0; i < sizeof(weak) / sizeof(weak[0]); i++) {
		assert_false(header_names_etag(str_of(weak[i]), tag, false));
		assert_true(header_names_etag(str_of(weak[i]), tag, true));
	}
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_false(header_names_etag(str_of(none[i]), tag, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cookies),
		cmocka_unit_test(encodings),
		cmocka_unit_test(tags),
		cmocka_unit_test(routes),
		cmocka_unit_test(every_declared_route_is_found),
		cmocka_unit_test(buckets),
		cmocka_unit_test(buckets_are_bounded),
		cmocka_unit_test(answers_are_kept_for_their_time),
		cmocka_unit_test(problems),
		cmocka_unit_test(the_best_node_is_picked),
		cmocka_unit_test(the_list_of_nodes_is_taken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
