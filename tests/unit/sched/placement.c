#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "sched/placement.h"

enum { NODE = 8, NODES_A = 6, CLUSTER_NODES = 3 };

static struct id owner(uint64_t n)
{
	struct id id = { { 1 } };
	memcpy(id.b + 8, &n, sizeof(n));
	return id;
}

static int cls(const char *name)
{
	return (int)device_class_index(device_class_find(str_of(name)));
}

/* Facility 0 in Texas: 6 nodes of 8 H100 in 2 clusters; facility 1 in Norway: 2 nodes of 8 H100, 1 node of A100. */
static struct placement *make(void)
{
	struct placement *p = placement_new(NULL);
	assert_non_null(p);
	struct placement_facility f[2] = {
		{ .region = "us-tx", .latitude_deg = 31.8, .longitude_deg = -102.4, .latency_ms = 10, .price_usd_mwh = 40,
			.carbon_g_kwh = 400, .weight = 3 },
		{ .region = "no", .latitude_deg = 59.9, .longitude_deg = 10.7, .latency_ms = 60, .price_usd_mwh = 60,
			.carbon_g_kwh = 20, .weight = 1 },
	};
	uint16_t at;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(placement_add_facility(p, &f[i], &at, NULL), 0);
		assert_int_equal(at, i);
	}
	for (uint32_t n = 0; n < NODES_A + 3; n++) {
		for (int k = 0; k < NODE; k++) {
			struct placement_device d = { .cls = (uint16_t)cls(n == NODES_A + 2 ? "A100" : "H100"),
				.facility = n >= NODES_A, .cluster = n / CLUSTER_NODES, .node = n, .quality = { 1, 0.8, 0.9 } };
			placement_dev dev;
			assert_int_equal(placement_add_device(p, &d, &dev, NULL), 0);
		}
	}
	placement_check(p);
	return p;
}

static struct placement_request want(uint64_t n, uint32_t count)
{
	return (struct placement_request){ .owner = owner(n), .cls = WORKLOAD_P2, .device_class = cls("H100"),
		.kind = DEVICE_GPU, .count = count };
}

static placement_handle reserve(struct placement *p, struct placement_request r, struct placement_result *ret)
{
	struct placement_refusal why = { 0 };
	int rc = placement_reserve(p, &r, 100, ret, &why, NULL);
	if (rc < 0)
		print_message("refused: %s: %s\n", placement_refusal_name(why.code), why.text);
	assert_int_equal(rc, 0);
	assert_int_equal(ret->count, r.count);
	return ret->handle;
}

static void refuse(struct placement *p, struct placement_request r, enum placement_refusal_code code)
{
	struct placement_refusal why = { 0 };
	struct placement_result res;
	assert_int_equal(placement_reserve(p, &r, 100, &res, &why, NULL), HCP_EAGAIN);
	assert_int_equal(why.code, code);
	assert_true(strlen(why.text) > 10);
	placement_check(p);
}

static void the_best_device_wins_and_says_why(void **state)
{
	struct placement *p = make();
	struct placement_result res;
	assert_int_equal(placement_set_quality(p, 19, &(struct placement_quality){ 1, 0.95, 0.9 }, NULL), 0);
	struct placement_score s = placement_score_of(p, NULL, 19);
	reserve(p, want(1, 1), &res);
	assert_int_equal(res.first, 19);
	assert_int_equal(res.facility, 0);
	assert_true(res.score.total == s.total);
	assert_true(res.score.idle == 10 && res.score.health == 20);
	double sum = s.health + s.thermal + s.efficiency + s.latency + s.price + s.carbon + s.idle;
	assert_true(sum == s.total && s.total > 0 && s.total <= 100);
	assert_int_equal(placement_state(p, 19), PLACEMENT_RESERVED);
	struct id o = placement_owner(p, 19), w = owner(1);
	assert_memory_equal(&o, &w, sizeof(o));
	/* Mining yields, but idle ones go first, and mining work never displaces anything. */
	for (placement_dev d = 0; d < 48; d++) {
		if (d != 19 && d != 20)
			assert_int_equal(placement_set_fill(p, d, true, NULL), 0);
	}
	assert_int_equal(placement_set_fill(p, 19, true, NULL), HCP_ESTATE);
	reserve(p, want(2, 1), &res);
	assert_int_equal(res.first, 20);
	assert_int_equal(res.yields, 0);
	struct placement_request r = want(3, 1);
	r.region = "us-tx";
	reserve(p, r, &res);
	assert_int_equal(res.yields, 1);
	r.owner = owner(4);
	r.cls = WORKLOAD_P4;
	refuse(p, r, PLACEMENT_R_BUSY);
	placement_free(p);
}

static void handles_go_stale(void **state)
{
	struct placement *p = make();
	struct placement_result a, b;
	placement_handle h[4];
	reserve(p, want(1, 8), &a);
	assert_int_equal(placement_expire(p, 99, h, 4), 0);
	assert_int_equal(placement_expire(p, 100, h, 4), 1);
	assert_true(h[0] == a.handle);
	assert_int_equal(placement_commit(p, a.handle, NULL), HCP_ENOTFOUND);
	reserve(p, want(2, 8), &b);
	assert_true(a.handle != b.handle);
	assert_int_equal(placement_release(p, a.handle, NULL), HCP_ENOTFOUND);
	assert_int_equal(placement_commit(p, b.handle, NULL), 0);
	assert_int_equal(placement_commit(p, b.handle, NULL), HCP_ESTATE);
	assert_int_equal(placement_expire(p, INT64_MAX, h, 4), 0);
	assert_int_equal(placement_state(p, b.first), PLACEMENT_BUSY);
	/* A device that fails under its owner stays with it and leaves the pool on release. */
	assert_int_equal(placement_set_in_service(p, b.first, false, NULL), 0);
	assert_int_equal(placement_state(p, b.first), PLACEMENT_BUSY);
	assert_int_equal(placement_release(p, b.handle, NULL), 0);
	assert_int_equal(placement_state(p, b.first), PLACEMENT_OUT);
	assert_int_equal(placement_free_count(p, (size_t)cls("H100")), 63);
	placement_check(p);
	placement_free(p);
}

static uint32_t nodes_of(struct placement *p, const struct placement_result *res, uint32_t *ret_clusters)
{
	placement_dev d[64];
	bool node[16] = { false }, cluster[16] = { false };
	uint32_t n = 0, c = 0, count = placement_devices(p, res->handle, d, 64);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = d[i] / NODE;
		n += !node[at];
		c += !cluster[at / CLUSTER_NODES];
		node[at] = cluster[at / CLUSTER_NODES] = true;
	}
	*ret_clusters = c;
	return n;
}

static void gangs_stay_together(void **state)
{
	struct placement *p = make();
	struct placement_result res, part;
	uint32_t clusters;
	reserve(p, want(1, 3), &part);
	/* The tightest node that still fits: the one that is broken into already. */
	reserve(p, want(2, 4), &res);
	assert_int_equal(res.first / NODE, part.first / NODE);
	assert_int_equal(nodes_of(p, &res, &clusters), 1);
	reserve(p, want(3, 8), &res);
	assert_int_equal(nodes_of(p, &res, &clusters), 1);
	reserve(p, want(4, 20), &res);
	assert_int_equal(nodes_of(p, &res, &clusters), 3);
	assert_int_equal(clusters, 1);
	/* 13 left in Texas over two clusters (1 or 9 + 4), 16 in Norway: 16 fit there, 17 nowhere, although 29 are free. */
	refuse(p, want(5, 17), PLACEMENT_R_FRAGMENTED);
	struct placement_request r = want(6, 12);
	r.region = "us-tx";
	refuse(p, r, PLACEMENT_R_FRAGMENTED);
	r.split_clusters = true;
	reserve(p, r, &res);
	nodes_of(p, &res, &clusters);
	assert_int_equal(clusters, 2);
	reserve(p, want(7, 16), &res);
	assert_int_equal(res.facility, 1);
	placement_check(p);
	placement_free(p);
}

static void refusals_say_what_would_fit(void **state)
{
	struct placement *p = make();
	struct placement_request r = want(1, 1);
	r.device_class = cls("L40S");
	refuse(p, r, PLACEMENT_R_NO_CLASS);
	r = want(1, 1);
	r.memory_gib = 81;
	refuse(p, r, PLACEMENT_R_MEMORY);
	r = want(1, 1);
	r.region = "de";
	refuse(p, r, PLACEMENT_R_REGION);
	r = want(1, 1);
	r.latency_max_ms = 5;
	refuse(p, r, PLACEMENT_R_LATENCY);
	refuse(p, want(1, 65), PLACEMENT_R_BUSY);
	r = want(1, 8);
	r.device_class = cls("A100");
	for (placement_dev d = 64; d < 66; d++)
		assert_int_equal(placement_set_quality(p, d, &(struct placement_quality){ 0.2, 1, 1 }, NULL), 0);
	refuse(p, r, PLACEMENT_R_OUT);
	struct err err;
	struct placement_result res;
	r.count = 0;
	assert_int_equal(placement_reserve(p, &r, 1, &res, NULL, &err), HCP_ERANGE);
	assert_string_equal(err.field, "count");
	/* Any GPU with 40 GiB, but only in Norway. */
	r = want(2, 1);
	r.device_class = -1;
	r.memory_gib = 40;
	r.region = "no";
	reserve(p, r, &res);
	assert_int_equal(res.facility, 1);
	placement_free(p);
}

static void strategies_choose_the_facility(void **state)
{
	struct placement *p = make();
	struct placement_result res;
	int at[2] = { 0 };
	for (uint64_t i = 0; i < 16; i++) {
		struct placement_request r = want(i + 1, 1);
		r.strategy = PLACEMENT_WEIGHTED_RR;
		reserve(p, r, &res);
		at[res.facility]++;
	}
	assert_int_equal(at[0], 12);
	assert_int_equal(at[1], 4);
	struct placement_request r = want(50, 1);
	r.strategy = PLACEMENT_GEOGRAPHIC;
	r.latitude_deg = 52.5; /* Berlin */
	r.longitude_deg = 13.4;
	reserve(p, r, &res);
	assert_int_equal(res.facility, 1);
	r.strategy = PLACEMENT_LEAST_LATENCY;
	r.owner = owner(51);
	reserve(p, r, &res);
	assert_int_equal(res.facility, 0);
	/* The same key finds the same node again; keys spread over both facilities. */
	bool seen[2] = { false };
	for (uint64_t key = 0; key < 40; key++) {
		r = want(100 + key, 1);
		r.strategy = PLACEMENT_CONSISTENT_HASH;
		r.hash_key = key;
		struct placement_handle_pair { struct placement_result a, b; } two;
		reserve(p, r, &two.a);
		assert_int_equal(placement_release(p, two.a.handle, NULL), 0);
		reserve(p, r, &two.b);
		assert_int_equal(placement_release(p, two.b.handle, NULL), 0);
		assert_int_equal(two.a.first, two.b.first);
		seen[two.a.facility] = true;
	}
	assert_true(seen[0] && seen[1]);
	placement_free(p);
}

static void a_tag_is_of_nodes_that_have_it(void **state)
{
	struct placement *p = make();
	struct placement_result res;
	struct placement_refusal why;
	struct placement_request r = want(1, 1);
	const uint16_t both[] = { 2, 3, 2 }, bad[] = { 1, 0 };
	r.tag = 2;
	reserve(p, r, &res); /* nobody was told: any may have it */
	assert_int_equal(placement_release(p, res.handle, NULL), 0);
	for (uint32_t n = 0; n < NODES_A + 3; n++)
		assert_int_equal(placement_set_tags(p, n, both, n == 4 ? 3 : 0, NULL), 0);
	refuse(p,
		(struct placement_request){
			.owner = owner(1), .cls = WORKLOAD_P2, .device_class = cls("H100"), .count = 1, .tag = 1 },
		PLACEMENT_R_TAG);
	placement_dev seen[NODE];
	for (int i = 0; i < NODE; i++) {
		reserve(p, r, &res);
		assert_int_equal(res.node, 4);
		assert_true(placement_may_have(p, res.first, 2) && placement_may_have(p, res.first, 3));
		assert_false(placement_may_have(p, res.first, 1));
		seen[i] = res.first;
	}
	refuse(p, r, PLACEMENT_R_BUSY);
	placement_explain(p, &r, &why);
	assert_int_equal(why.total, NODE);
	struct placement_room room[4];
	assert_int_equal(placement_rooms(p, &r, room, 4), 2);
	assert_int_equal(room[0].free + room[1].free, 0);
	/* It may be told otherwise, busy or not. */
	assert_int_equal(placement_set_tags(p, 4, both, 0, NULL), 0);
	refuse(p, r, PLACEMENT_R_TAG);
	assert_int_equal(placement_set_tags(p, 6, both, 1, NULL), 0);
	reserve(p, r, &res);
	assert_int_equal(res.node, 6);
	assert_true(placement_state(p, seen[0]) == PLACEMENT_RESERVED);
	r.strategy = PLACEMENT_CONSISTENT_HASH;
	for (r.hash_key = 0; r.hash_key < NODE - 1; r.hash_key++) {
		reserve(p, r, &res);
		assert_int_equal(res.node, 6);
	}
	placement_check(p);
	struct err err = { 0 };
	assert_int_equal(placement_set_tags(p, 99, both, 1, NULL), HCP_ENOTFOUND);
	assert_int_equal(placement_set_tags(p, 0, both, PLACEMENT_NODE_TAGS_MAX + 1, NULL), HCP_ELIMIT);
	assert_int_equal(placement_set_tags(p, 0, bad, 2, &err), HCP_ERANGE);
	r.count = 2;
	assert_int_equal(placement_reserve(p, &r, 100, &res, NULL, &err), HCP_EINVAL);
	assert_string_equal(err.field, "tag");
	placement_check(p);
	placement_free(p);
}

/* Random work against a model that knows only who owns what. */
/* tidy: allow function-length: one random step after another reads better in one place */
static void random_load_keeps_every_promise(void **state)
{
	enum { DEVICES = 72, HOLDS = 64, STEPS = 20000 };
	for (uint64_t seed = 1; seed <= 3; seed++) {
		int64_t live = mem_live();
		struct placement *p = make();
		struct rng rng;
		rng_init(&rng, seed);
		uint64_t owned_by[DEVICES] = { 0 };
		struct { placement_handle h; uint64_t who; uint32_t n; bool committed; } hold[HOLDS];
		size_t n_hold = 0, placed = 0;
		for (uint64_t step = 1; step <= STEPS; step++) {
			uint64_t what = rng_below(&rng, 10);
			placement_dev any = (placement_dev)rng_below(&rng, DEVICES);
			if (what < 4 && n_hold < HOLDS) {
				struct placement_request r = want(step, 1 + (uint32_t)(rng_below(&rng, 3) ? 0 : rng_below(&rng, 20)));
				r.cls = (enum workload_class)(1 + rng_below(&rng, 4));
				r.strategy = (enum placement_strategy)rng_below(&rng, PLACEMENT_STRATEGY_END);
				r.hash_key = rng_u64(&rng);
				r.device_class = rng_below(&rng, 4) ? r.device_class : -1;
				r.split_clusters = rng_below(&rng, 2);
				r.tag = r.count == 1 ? (uint16_t)rng_below(&rng, 3) : 0;
				struct placement_result res = { 0 };
				int rc = placement_reserve(p, &r, (int64_t)step + 200, &res, NULL, NULL);
				if (rc == HCP_EAGAIN) {
					/* All or nothing: a refusal takes nothing. */
					continue;
				}
				assert_int_equal(rc, 0);
				placement_dev d[32];
				assert_int_equal(placement_devices(p, res.handle, d, 32), r.count);
				assert_true(placement_may_have(p, res.first, r.tag));
				for (uint32_t i = 0; i < r.count; i++) {
					assert_int_equal(owned_by[d[i]], 0);
					owned_by[d[i]] = step;
				}
				hold[n_hold].h = res.handle;
				hold[n_hold].who = step;
				hold[n_hold].committed = false;
				hold[n_hold++].n = r.count;
				placed++;
			} else if (what < 5 && n_hold) {
				size_t k = rng_below(&rng, n_hold);
				assert_int_equal(placement_commit(p, hold[k].h, NULL), hold[k].committed ? HCP_ESTATE : 0);
				hold[k].committed = true;
			} else if (what < 7 && n_hold) {
				size_t k = rng_below(&rng, n_hold);
				assert_int_equal(placement_release(p, hold[k].h, NULL), 0);
				for (int d = 0; d < DEVICES; d++)
					owned_by[d] = owned_by[d] == hold[k].who ? 0 : owned_by[d];
				hold[k] = hold[--n_hold];
			} else if (what == 7) {
				int rc = placement_set_fill(p, any, rng_below(&rng, 2), NULL);
				assert_int_equal(rc, owned_by[any] || placement_state(p, any) == PLACEMENT_OUT ? HCP_ESTATE : 0);
			} else if (what == 8) {
				struct placement_quality q = { rng_below(&rng, 8) ? 0.5 + rng_double(&rng) / 2 : 0.3,
					rng_double(&rng), rng_double(&rng) };
				assert_int_equal(placement_set_quality(p, any, &q, NULL), 0);
			} else if (step % 3 == 0) {
				const uint16_t tag[] = { 1, 2 };
				uint64_t from = rng_below(&rng, 2), n = rng_below(&rng, 3 - from);
				assert_int_equal(
					placement_set_tags(p, (uint32_t)rng_below(&rng, DEVICES / NODE), tag + from, (uint32_t)n, NULL), 0);
			} else {
				placement_handle gone[HOLDS];
				size_t n = placement_expire(p, (int64_t)step, gone, HOLDS);
				for (size_t i = 0; i < n; i++) {
					size_t k = 0;
					while (k < n_hold && hold[k].h != gone[i])
						k++;
					assert_true(k < n_hold && !hold[k].committed);
					for (int d = 0; d < DEVICES; d++)
						owned_by[d] = owned_by[d] == hold[k].who ? 0 : owned_by[d];
					hold[k] = hold[--n_hold];
				}
			}
			for (placement_dev d = 0; d < DEVICES; d++) {
				enum placement_dev_state s = placement_state(p, d);
				assert_int_equal(owned_by[d] != 0, s == PLACEMENT_RESERVED || s == PLACEMENT_BUSY);
			}
			if (step % 100 == 0)
				placement_check(p);
		}
		assert_true(placed > 1000);
		placement_free(p);
		assert_int_equal(mem_live(), live);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_best_device_wins_and_says_why),
		cmocka_unit_test(handles_go_stale),
		cmocka_unit_test(gangs_stay_together),
		cmocka_unit_test(refusals_say_what_would_fit),
		cmocka_unit_test(strategies_choose_the_facility),
		cmocka_unit_test(a_tag_is_of_nodes_that_have_it),
		cmocka_unit_test(random_load_keeps_every_promise),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
