#include "econ/plan_site.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/money.h"
#include "econ/nets.h"

/* Two kinds of miners and GPUs of which a part is promised; all do what they did last. */
static struct site site;

static void make_site(void)
{
	site = (struct site){ .name = "test", .point = "HB_WEST", .pue = 1.05, .limit_w = 1e9, .n_groups = 3 };
	site.group[0] = (struct site_group){ .name = "s21",
		.cls = device_class_find(STR("S21")),
		.count = 100,
		.feeder = -1,
		.mines = true,
		.idle_mode = DEVICE_SAFE,
		.boot_ns = 60 * NS_PER_S,
		.ramp_ns = 120 * NS_PER_S,
		.boot_w = 1000,
		.start_wear_usd = 0.025,
		.min_up_ns = 900 * NS_PER_S,
		.min_down_ns = 900 * NS_PER_S };
	site.group[1] = site.group[0];
	site.group[1].cls = device_class_find(STR("S19XP"));
	site.group[2] = (struct site_group){ .name = "h100", .cls = device_class_find(STR("H100")), .count = 10,
		.feeder = -1, .serves = true, .idle_mode = DEVICE_IDLE };
}

static struct policy_input told(double price)
{
	struct nets_terms t = { .pm = { 60000, 9e13, 3.125, 0.1, 0.01, price, site.pue }, .serve_usd_h = 2,
		.utilisation = 1 };
	struct policy_input in = { .now_ns = 900 * NS_PER_S, .horizon_ns = 3600 * NS_PER_S, .step_ns = 900 * NS_PER_S,
		.electricity_usd_mwh = price, .site = &site, .n = site.n_groups };
	t.hashprice_usd_ths_h = profit_hashprice_usd_ths_h(&t.pm);
	for (size_t k = 0; k < in.n; k++) {
		const struct site_group *g = &site.group[k];
		in.c[k] = (struct policy_class){ .cls = g->cls, .group = g, .count = g->count,
			.age_ns = { INT64_MAX, INT64_MAX, INT64_MAX } };
		if (g->serves) {
			in.c[k].must_serve = 6;
			in.c[k].want_serve = 2;
		}
		in.c[k].now[g->serves ? POLICY_SERVE : POLICY_MINE] = g->count;
		t.group = g;
		nets_fill(&t, g->mines, g->serves, &in.c[k]);
	}
	return in;
}

static struct policy_output decide(const struct policy_input *in)
{
	struct policy p;
	struct policy_output out;
	struct err err;
	assert_int_equal(policy_init(&p, policy_find(STR("mpc")), NULL, NULL), 0);
	if (policy_decide(&p, in, &out, &err))
		fail_msg("%s: %s", err.field, err.text);
	policy_release(&p);
	return out;
}

/* Without a history the present price stands for the coming hours. */
static void it_mines_while_that_pays_and_serves_what_is_asked(void **state)
{
	(void)state;
	make_site();
	struct policy_input in = told(20);
	struct policy_output out = decide(&in);
	assert_int_equal(out.c[0].target[POLICY_MINE], 100);
	assert_int_equal(out.c[2].target[POLICY_SERVE], 8);
	assert_int_equal(out.c[2].target[POLICY_IDLE], 2);
	assert_int_equal(out.c[0].reason, POLICY_R_PLAN);
	in = told(900);
	out = decide(&in);
	assert_int_equal(out.c[0].target[POLICY_IDLE], 100);
	assert_int_equal(out.c[1].chosen, POLICY_IDLE);
	assert_int_equal(out.c[2].target[POLICY_SERVE], 8);
	/* Dearer than any work: promises are kept, nothing beyond them is done. */
	in = told(9000);
	out = decide(&in);
	assert_int_equal(out.c[2].target[POLICY_SERVE], 6);
}

/* The limit leaves room for a part of the miners: the better ones run, and it is never passed. */
static void power_limits_hold_and_the_best_run(void **state)
{
	(void)state;
	make_site();
	struct policy_input in = told(20);
	double s21 = in.c[0].mwh_h[POLICY_MINE] * 1e6, off = in.c[1].mwh_h[POLICY_IDLE] * 1e6,
		   gpus = 10 * in.c[2].mwh_h[POLICY_SERVE] * 1e6;
	site.limit_w = 60 * s21 + 140 * off + gpus;
	struct policy_output out = decide(&in);
	assert_in_range(out.c[0].target[POLICY_MINE], 59, 61);
	assert_int_equal(out.c[1].target[POLICY_MINE], 0);
	double w = 0;
	for (size_t k = 0; k < in.n; k++)
		for (int u = 0; u < POLICY_USE_END; u++)
			w += out.c[k].target[u] * in.c[k].mwh_h[u] * 1e6;
	assert_true(w <= site.limit_w);
	/* Less than what stands idle draws: said with its reason, not planned around. */
	struct policy p;
	struct err err;
	site.limit_w = 100 * off;
	assert_int_equal(policy_init(&p, policy_find(STR("mpc")), NULL, NULL), 0);
	assert_int_equal(policy_decide(&p, &in, &out, &err), HCP_ENOTFOUND);
	assert_non_null(strstr(err.text, "the site needs up to"));
	policy_release(&p);
}

/* Devices that a minimum time holds stay where they are. */
static void what_is_held_stays(void **state)
{
	(void)state;
	make_site();
	site.group[0].min_up_ns = 3600 * NS_PER_S;
	struct policy_input in = told(900);
	in.c[0].held[POLICY_MINE] = 30;
	in.c[0].age_ns[POLICY_MINE] = 900 * NS_PER_S;
	struct policy_output out = decide(&in);
	assert_int_equal(out.c[0].target[POLICY_MINE], 30);
	in.c[0].held[POLICY_MINE] = 0;
	in.c[0].age_ns[POLICY_MINE] = INT64_MAX;
	out = decide(&in);
	assert_int_equal(out.c[0].target[POLICY_MINE], 0);
}

/* A spike of one step that a start would cost more than: the plan runs through it, the present hour alone would not. */
static void a_short_spike_is_run_through(void **state)
{
	(void)state;
	make_site();
	struct policy_input in = told(20);
	struct plan_site ps = { 0 };
	struct plan_solver *s;
	struct plan plan;
	const double *net = in.c[0].net_usd_h;
	double even = 20 + net[POLICY_MINE] / in.c[0].mwh_h[POLICY_MINE], price[4] = { even + 1, 20, 20, 20 };
	uint32_t target[POLICY_CLASSES_MAX][POLICY_USE_END];
	assert_int_equal(plan_solver_new(NULL, &s, NULL), 0);
	assert_int_equal(plan_site_fill(&ps, &in, price, 4, 900, NULL), 0);
	assert_int_equal(plan_solve(s, &ps.problem, &plan, NULL), 0);
	plan_site_targets(&ps, &in, &plan, 0, target);
	assert_int_equal(target[0][POLICY_MINE], 100);
	plan_release(&plan);
	price[0] = even + 500;
	assert_int_equal(plan_solve(s, &ps.problem, &plan, NULL), 0);
	plan_site_targets(&ps, &in, &plan, 0, target);
	assert_int_equal(target[0][POLICY_MINE], 0);
	plan_site_targets(&ps, &in, &plan, 1, target);
	assert_int_equal(target[0][POLICY_MINE], 100);
	plan_release(&plan);
	plan_site_release(&ps);
	plan_solver_free(s);
}

static void without_memory_it_fails_cleanly(void **state)
{
	(void)state;
	make_site();
	struct policy_input in = told(20);
	int64_t live = mem_live();
	for (uint64_t n = 1;; n++) {
		struct policy p;
		static struct policy_output out;
		struct err err;
		mem_fail_after(n, 1);
		int rc = policy_init(&p, policy_find(STR("mpc")), NULL, &err);
		if (rc == 0) {
			rc = policy_decide(&p, &in, &out, &err);
			policy_release(&p);
		}
		bool hit = mem_fail_hits() > 0;
		mem_fail_after(0, 0);
		assert_int_equal(mem_live(), live);
		assert_true(n < 1000);
		if (!hit)
			break;
		assert_true(rc == 0 || rc == HCP_ENOMEM);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_mines_while_that_pays_and_serves_what_is_asked),
		cmocka_unit_test(power_limits_hold_and_the_best_run),
		cmocka_unit_test(what_is_held_stays),
		cmocka_unit_test(a_short_spike_is_run_through),
		cmocka_unit_test(without_memory_it_fails_cleanly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
