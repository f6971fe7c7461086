#include "econ/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "econ/plan_priv.h"

static bool near(double a, double b)
{
	return fabs(a - b) <= 1e-5 * fmax(1, fabs(b));
}

static struct plan_solver *solver(bool whole)
{
	struct plan_solver *s = NULL;
	assert_int_equal(plan_solver_new(&(struct plan_conf){ .whole = whole }, &s, NULL), 0);
	return s;
}

static double solve_usd(const struct plan_problem *p, bool whole)
{
	struct plan_solver *s = solver(whole);
	struct plan r;
	struct err err;
	int rc = plan_solve(s, p, &r, &err);
	if (rc)
		fail_msg("%s: %s", err.field, err.text);
	double usd = r.money.total;
	plan_release(&r);
	plan_solver_free(s);
	return usd;
}

/* 1 MW of miners of 1 kW each: 50 USD/MWh of revenue. */
static struct plan_problem one_class(const double *price, size_t steps)
{
	struct plan_problem p = {
		.steps = steps, .step_s = 3600, .price_usd_mwh = price, .pue = 1, .site_limit_w = INFINITY, .n_classes = 1
	};
	p.cls[0] = (struct plan_class){ .name = "miner", .count = 1000, .n_modes = 1, .feeder = -1, .now = { 1000 } };
	p.cls[0].mode[0] = (struct plan_mode){ .name = "full", .watts = 1000, .revenue_usd_h = 0.05 };
	return p;
}

/* ---- against every plan there is ---- */

enum { STEPS = 7 };

/* Money of one device that is in mode[t] (-1: off), by the definitions; -INFINITY if it breaks a minimum time. */
static double judge(const struct plan_problem *p, const int mode[STEPS])
{
	const struct plan_class *c = &p->cls[0];
	int before = c->now[0] ? 0 : c->n_modes > 1 && c->now[1] ? 1 : -1;
	size_t age = 1000;
	double usd = 0, h = p->step_s / 3600;
	for (size_t t = 0; t < STEPS; t++) {
		bool is = mode[t] >= 0, was = before >= 0;
		if ((t < 2 && c->keep_on[t] && !is) || (t < 2 && c->keep_off[t] && is))
			return -INFINITY;
		if (is != was) {
			if (age < (was ? c->min_up : c->min_down))
				return -INFINITY;
			age = 0;
		}
		age++;
		if (is && !was) {
			double rate = c->mode[0].revenue_usd_h / 3600 -
				(c->mode[0].watts - c->restart_w) * p->pue * p->price_usd_mwh[t] / 3600e6;
			usd -= c->restart_usd + fmax(rate * c->restart_s, 0);
		}
		if (is && mode[t] != before)
			usd -= c->mode[mode[t]].enter_usd;
		usd -= (is ? c->mode[mode[t]].watts : c->off_w) * p->pue * p->price_usd_mwh[t] * h / 1e6;
		usd += is ? (c->mode[mode[t]].revenue_usd_h - c->mode[mode[t]].wear_usd_h) * h : 0;
		before = mode[t];
	}
	return usd;
}

static double best_of_all(const struct plan_problem *p)
{
	int kinds = (int)p->cls[0].n_modes + 1, all = 1;
	double best = -INFINITY;
	for (size_t t = 0; t < STEPS; t++)
		all *= kinds;
	for (int i = 0; i < all; i++) {
		int mode[STEPS], rest = i;
		for (size_t t = 0; t < STEPS; t++, rest /= kinds)
			mode[t] = rest % kinds - 1;
		best = fmax(best, judge(p, mode));
	}
	return best;
}

static void random_class(struct plan_class *c, struct rng *rng, uint32_t count, size_t modes)
{
	*c = (struct plan_class){ .name = "c", .count = count, .n_modes = modes, .feeder = -1 };
	c->off_w = 40.0 * (double)rng_below(rng, 2);
	for (size_t m = 0; m < modes; m++)
		c->mode[m] = (struct plan_mode){ .watts = 1000 + 2000 * rng_double(rng), .revenue_usd_h = 0.3 * rng_double(rng),
			.wear_usd_h = 0.01 * rng_double(rng), .enter_usd = rng_below(rng, 2) ? 0.05 * rng_double(rng) : 0 };
	c->restart_usd = rng_below(rng, 2) ? 0.1 * rng_double(rng) : 0;
	c->restart_s = rng_below(rng, 2) ? 300 * rng_double(rng) : 0;
	c->restart_w = c->mode[0].watts * rng_double(rng);
	c->min_up = (uint32_t)rng_below(rng, 4);
	c->min_down = (uint32_t)rng_below(rng, 4);
}

static void random_prices(double *price, size_t n, struct rng *rng)
{
	for (size_t t = 0; t < n; t++)
		price[t] = 60 * rng_normal(rng) + 60 + (rng_below(rng, 8) == 0 ? 1500 : 0);
}

/* With several modes and minimum times the LP may exchange devices as nobody can: it is then an upper bound. */
static void both_ways_find_the_best_of_all_plans(void **state)
{
	(void)state;
	struct rng rng;
	rng_init(&rng, 1);
	for (int round = 0; round < 400; round++) {
		double price[STEPS];
		struct plan_problem p = { .steps = STEPS, .step_s = 900, .price_usd_mwh = price, .pue = 1.1,
			.site_limit_w = INFINITY, .n_classes = 1 };
		random_prices(price, STEPS, &rng);
		random_class(&p.cls[0], &rng, 1, 1 + rng_below(&rng, 2));
		struct plan_class *c = &p.cls[0];
		uint64_t at = rng_below(&rng, c->n_modes + 1);
		if (at < c->n_modes)
			c->now[at] = 1;
		if (rng_below(&rng, 2))
			for (size_t t = 0; t <= rng_below(&rng, 2); t++)
				(at < c->n_modes ? c->keep_on : c->keep_off)[t] = 1;
		double best = best_of_all(&p);
		double alone = solve_usd(&p, false), together = solve_usd(&p, true);
		bool exact = c->n_modes == 1 || (c->min_up <= 1 && c->min_down <= 1 && !c->keep_on[0] && !c->keep_off[0]);
		assert_true(plan_dp_fits(&p, 0) ? near(alone, best) : alone >= best - 1e-6);
		assert_true(exact ? near(together, best) : together >= best - 1e-6);
	}
}

/* Many devices in several states, several classes: the dynamic program and the whole site's LP agree. */
static void classes_by_themselves_are_the_whole(void **state)
{
	(void)state;
	enum { N = 24 };
	struct rng rng;
	rng_init(&rng, 2);
	for (int round = 0; round < 40; round++) {
		double price[N], most[N], promised[N];
		struct plan_problem p = { .steps = N, .step_s = 900, .price_usd_mwh = price, .pue = 1.05,
			.site_limit_w = 1e12, .n_classes = 3 };
		random_prices(price, N, &rng);
		for (size_t k = 0; k < 3; k++) {
			struct plan_class *c = &p.cls[k];
			random_class(c, &rng, 50, k == 2 ? 2 : 1);
			c->now[0] = (uint32_t)rng_below(&rng, 51);
			for (size_t t = 0; t < 3 && k < 2; t++) {
				uint32_t on = t ? c->keep_on[t - 1] : c->now[0], off = t ? c->keep_off[t - 1] : 50 - c->now[0];
				c->keep_on[t] = (uint32_t)rng_below(&rng, on + 1);
				c->keep_off[t] = (uint32_t)rng_below(&rng, off + 1);
			}
		}
		for (size_t t = 0; t < N; t++) {
			most[t] = (double)rng_below(&rng, 60);
			promised[t] = (double)rng_below(&rng, 10);
		}
		p.cls[2].mode[1].most = most;
		p.n_contracts = p.n_batches = 1;
		p.contract[0] =
			(struct plan_contract){ "chat", 2, 0, promised, 0.5, 1, rng_below(&rng, 2) && p.cls[2].min_down < 2 };
		p.batch[0] = (struct plan_batch){ "train", 2, 0, 40, 3, 20, 0.2, 0.1, false };
		double alone = solve_usd(&p, false), together = solve_usd(&p, true);
		assert_true(near(alone, together));
	}
}

/* ---- by hand ---- */

static void a_limit_has_a_price(void **state)
{
	(void)state;
	const double price[] = { 10, 100, 10 };
	struct plan_problem p = one_class(price, 3);
	struct plan_solver *s = solver(false);
	struct plan r;
	assert_int_equal(plan_solve(s, &p, &r, NULL), 0);
	assert_int_equal(r.method, PLAN_BY_CLASS);
	/* 50 - 10 twice, off at 100. */
	assert_true(near(r.money.total, 80) && near(plan_devices(&r, 0, 0)[1], 0) && near(r.class_usd[0], 0.08));
	plan_release(&r);
	p.site_limit_w = 400e3;
	assert_int_equal(plan_solve(s, &p, &r, NULL), 0);
	assert_int_equal(r.method, PLAN_WHOLE);
	assert_true(near(r.money.total, 32) && near(plan_devices(&r, 0, 0)[0], 400) && near(r.load_w[0], 400e3));
	/* One MW more would earn 40 USD in that hour; a device more, nothing. */
	assert_true(near(r.site_usd_mwh[0], 40) && near(r.site_usd_mwh[1], 0) && near(r.class_usd[0], 0));
	plan_release(&r);
	p.site_limit_w = INFINITY;
	p.n_feeders = 1;
	p.feeder_limit_w[0] = 300e3;
	p.cls[0].feeder = 0;
	assert_int_equal(plan_solve(s, &p, &r, NULL), 0);
	assert_true(near(r.money.total, 24) && near(r.feeder_usd_mwh[2], 40));
	plan_release(&r);
	plan_solver_free(s);
}

static void promises_are_kept_if_they_pay(void **state)
{
	(void)state;
	const double price[] = { 100, 100 }, promised[] = { 100, 100 };
	struct plan_problem p = one_class(price, 2);
	struct plan_solver *s = solver(false);
	struct plan r;
	p.n_contracts = 1;
	/* A served device hour costs 0.10 of energy and saves 0.12 of penalty. */
	p.contract[0] = (struct plan_contract){ "chat", 0, 0, promised, 0, 0.12, false };
	assert_int_equal(plan_solve(s, &p, &r, NULL), 0);
	assert_true(near(r.contract[0], 100) && near(r.money.total, -20) && near(r.contract_usd_h[0], -0.10));
	plan_release(&r);
	p.contract[0].miss_usd_h = 0.08;
	assert_int_equal(plan_solve(s, &p, &r, NULL), 0);
	assert_true(near(r.contract[0], 0) && near(r.money.penalty, 16) && near(r.contract_usd_h[0], -0.08));
	plan_release(&r);
	p.contract[0].hard = true;
	assert_int_equal(plan_solve(s, &p, &r, NULL), 0);
	assert_true(near(r.contract[0], 100) && near(r.money.energy, 20));
	plan_release(&r);
	plan_solver_free(s);
}

static void work_waits_for_the_cheap_hours_before_its_deadline(void **state)
{
	(void)state;
	const double price[] = { 100, 60, 200, 10 };
	struct plan_problem p = one_class(price, 4);
	struct plan_solver *s = solver(false);
	struct plan r;
	p.n_batches = 1;
	p.batch[0] = (struct plan_batch){ "train", 0, 0, 1500, 0, 3, 0.15, 0, false };
	assert_int_equal(plan_solve(s, &p, &r, NULL), 0);
	/* A thousand at 60, five hundred at 100, none at 200; the last hour mines. */
	assert_true(near(r.batch[1], 1000) && near(r.batch[0], 500) && near(r.batch[2], 0));
	assert_true(near(r.money.total, 1000 * 0.09 + 500 * 0.05 + 40) && near(r.batch_usd_h[0], 0.05));
	plan_release(&r);
	plan_solver_free(s);
}

static void the_grid_is_paid_and_served(void **state)
{
	(void)state;
	const double price[] = { 10, 10 }, pay[] = { 30, 30 };
	struct plan_problem p = one_class(price, 2);
	struct plan_solver *s = solver(false);
	struct plan r;
	p.n_grids = 1;
	/* 600 of 1,000 kW in the second hour, for 0.03 USD/kWh: less than the 0.04 that mining brings; with penalty more.
	 */
	p.grid[0] = (struct plan_grid){ "shed", 1, 2, 1000, 600, 0.03, 0, false };
	assert_int_equal(plan_solve(s, &p, &r, NULL), 0);
	assert_true(near(r.grid[1], 600) && near(r.money.grid, 0) && near(r.money.total, 80));
	plan_release(&r);
	p.grid[0].miss_usd_kwh = 0.02;
	assert_int_equal(plan_solve(s, &p, &r, NULL), 0);
	assert_true(near(r.grid[1], 0) && near(r.load_w[1], 400e3) && near(r.money.total, 40 + 16 + 18));
	plan_release(&r);
	/* Running load is offered as what can be dropped, 0.5 MW of it at most. */
	p.n_grids = 0;
	p.n_offers = 1;
	p.offer[0] = (struct plan_offer){ "rrs", pay, 0.5 };
	p.cls[0].mode[0].sheds = true;
	assert_int_equal(plan_solve(s, &p, &r, NULL), 0);
	assert_true(near(r.offer[0], 0.5) && near(r.money.grid, 30) && near(r.money.total, 110));
	plan_release(&r);
	p.cls[0].mode[0].sheds = false;
	assert_int_equal(plan_solve(s, &p, &r, NULL), 0);
	assert_true(near(r.offer[0], 0) && near(r.money.total, 80));
	plan_release(&r);
	plan_solver_free(s);
}

/* ---- shadow prices are what one more brings ---- */

static void shadow_prices_are_differences(void **state)
{
	(void)state;
	enum { N = 16 };
	struct rng rng;
	rng_init(&rng, 5);
	for (int round = 0; round < 15; round++) {
		double price[N], promised[N];
		struct plan_problem p = { .steps = N, .step_s = 900, .price_usd_mwh = price, .pue = 1.05, .n_classes = 2 };
		random_prices(price, N, &rng);
		for (size_t k = 0; k < 2; k++) {
			random_class(&p.cls[k], &rng, 1000, 1);
			p.cls[k].now[0] = 500;
			p.cls[k].mode[0].revenue_usd_h += 0.3;
		}
		p.site_limit_w = 1.3e6 + 1e6 * rng_double(&rng);
		for (size_t t = 0; t < N; t++)
			promised[t] = 100;
		p.n_contracts = 1;
		p.contract[0] = (struct plan_contract){ "chat", 0, 0, promised, 0.4, 0.3, false };
		struct plan_solver *s = solver(true);
		struct plan r;
		assert_int_equal(plan_solve(s, &p, &r, NULL), 0);
		double expected = 0, promise = 0, h = 0.25;
		for (size_t t = 0; t < N; t++) {
			expected += r.site_usd_mwh[t] * h;
			promise += r.contract_usd_h[t] * h;
		}
		/* Derivatives lie between the differences to both sides, since the value is concave in each bound. */
		double base = r.money.total, w = p.site_limit_w;
		p.site_limit_w = w + 100;
		double up = (solve_usd(&p, true) - base) / 1e-4;
		p.site_limit_w = w - 100;
		double down = (base - solve_usd(&p, true)) / 1e-4;
		p.site_limit_w = w;
		assert_true(expected >= up - 1e-3 * fmax(1, up) && expected <= down + 1e-3 * fmax(1, down));
		for (size_t t = 0; t < N; t++)
			promised[t] = 101;
		up = solve_usd(&p, true) - base;
		for (size_t t = 0; t < N; t++)
			promised[t] = 99;
		down = base - solve_usd(&p, true);
		assert_true(promise >= up - 1e-4 && promise <= down + 1e-4);
		for (size_t t = 0; t < N; t++)
			promised[t] = 100;
		p.cls[1].count++;
		up = solve_usd(&p, true) - base;
		assert_true(r.class_usd[1] >= up - 1e-4);
		plan_release(&r);
		plan_solver_free(s);
	}
}

/* ---- what cannot be kept is named ---- */

static void conflicts_are_named(void **state)
{
	(void)state;
	const double price[] = { 10, 10, 10 }, promised[] = { 100, 700, 900 };
	struct plan_problem p = one_class(price, 3);
	struct plan_solver *s = solver(false);
	struct plan r = { .steps = 99 };
	struct err err;
	const struct plan_conflict *c;
	p.n_contracts = 1;
	p.contract[0] = (struct plan_contract){ "chat", 0, 0, promised, 1, 1, true };
	p.site_limit_w = 600e3;
	assert_int_equal(plan_solve(s, &p, &r, &err), HCP_ENOTFOUND);
	assert_int_equal(plan_conflicts(s, &c), 1);
	assert_int_equal(c[0].kind, PLAN_C_CONTRACT);
	assert_true(c[0].first == 1 && c[0].last == 2 && near(c[0].amount, 300));
	assert_non_null(strstr(err.text, "contract chat is short of up to 300.0 devices in steps 1-2"));
	assert_int_equal(r.steps, 99);
	/* Off now, and not more than a hundred may start in a step: the ramp takes part. */
	p.site_limit_w = INFINITY;
	p.cls[0].now[0] = 0;
	p.cls[0].ramp = 100;
	assert_int_equal(plan_solve(s, &p, &r, &err), HCP_ENOTFOUND);
	assert_non_null(strstr(err.text, "the ramp of class miner takes part"));
	p.cls[0].ramp = 0;
	p.cls[0].keep_off[0] = p.cls[0].keep_off[1] = 800;
	assert_int_equal(plan_solve(s, &p, &r, &err), HCP_ENOTFOUND);
	assert_non_null(strstr(err.text, "minimum times of class miner take part"));
	/* Even with everything off the site draws too much. */
	p = one_class(price, 3);
	p.base_w = 2e6;
	p.site_limit_w = 1.5e6;
	assert_int_equal(plan_solve(s, &p, &r, &err), HCP_ENOTFOUND);
	assert_int_equal(plan_conflicts(s, &c), 1);
	assert_true(c[0].kind == PLAN_C_SITE && near(c[0].amount, 500));
	/* What can be planned again is. */
	p.base_w = 0;
	assert_int_equal(plan_solve(s, &p, &r, &err), 0);
	assert_int_equal(plan_conflicts(s, &c), 0);
	plan_release(&r);
	plan_solver_free(s);
}

static void senseless_problems_are_named_by_their_field(void **state)
{
	(void)state;
	double price[] = { 10, NAN }, promised[] = { 1, -1 };
	struct plan_problem p = one_class(price, 2), good;
	struct plan_solver *s = solver(false);
	struct plan r;
	struct err err;
	assert_int_equal(plan_solve(s, &p, &r, &err), HCP_ERANGE);
	assert_string_equal(err.field, "price_usd_mwh[1]");
	price[1] = 10;
	good = p;
	p.cls[0].mode[0].watts = INFINITY;
	assert_int_equal(plan_solve(s, &p, &r, &err), HCP_ERANGE);
	assert_string_equal(err.field, "cls[0].mode[0].watts");
	p = good;
	p.cls[0].now[0] = 1001;
	assert_int_equal(plan_solve(s, &p, &r, &err), HCP_ERANGE);
	assert_string_equal(err.field, "cls[0].now");
	p = good;
	p.cls[0].keep_off[0] = 1;
	assert_int_equal(plan_solve(s, &p, &r, &err), HCP_ERANGE);
	assert_string_equal(err.field, "cls[0].keep_off");
	p = good;
	p.n_contracts = 1;
	p.contract[0] = (struct plan_contract){ "x", 0, 0, promised, 1, 1, false };
	assert_int_equal(plan_solve(s, &p, &r, &err), HCP_ERANGE);
	assert_string_equal(err.field, "contract[0].devices[1]");
	p = good;
	p.n_offers = PLAN_OFFERS_MAX + 1;
	assert_int_equal(plan_solve(s, &p, &r, &err), HCP_ELIMIT);
	assert_string_equal(err.field, "n_offers");
	plan_solver_free(s);
}

/* ---- limits, memory, repeats ---- */

static void limits_and_memory_end_it_cleanly(void **state)
{
	(void)state;
	double price[] = { 10, 100, 10, 300, 10, 10 };
	struct plan_problem p = one_class(price, 6);
	struct plan_solver *s;
	struct plan r;
	struct err err;
	p.site_limit_w = 400e3;
	assert_int_equal(plan_solver_new(&(struct plan_conf){ .iterations_max = 1 }, &s, NULL), 0);
	assert_int_equal(plan_solve(s, &p, &r, &err), HCP_ETIMEOUT);
	plan_solver_free(s);
	int64_t live = mem_live();
	for (uint64_t n = 1;; n++) {
		mem_fail_after(n, 1);
		int rc = plan_solver_new(NULL, &s, &err);
		if (rc == 0) {
			rc = plan_solve(s, &p, &r, &err);
			if (rc == 0)
				plan_release(&r);
			plan_solver_free(s);
		}
		bool hit = mem_fail_hits() > 0;
		mem_fail_after(0, 0);
		assert_int_equal(mem_live(), live);
		assert_true(n < 1000);
		if (!hit)
			break;
		assert_true(rc == 0 || rc == HCP_ENOMEM); /* without memory for it, the next merely begins cold */
	}
}

/* From where the last one ended: the same optimum in fewer steps. */
static void a_warm_start_changes_nothing_but_the_work(void **state)
{
	(void)state;
	enum { N = 48 };
	double price[N];
	struct rng rng;
	rng_init(&rng, 9);
	random_prices(price, N, &rng);
	struct plan_problem p = { .steps = N, .step_s = 900, .price_usd_mwh = price, .pue = 1.05, .site_limit_w = 1.5e6,
		.n_classes = 2 };
	for (size_t k = 0; k < 2; k++) {
		random_class(&p.cls[k], &rng, 800, 1);
		p.cls[k].now[0] = 400;
		p.cls[k].mode[0].revenue_usd_h += 0.1;
	}
	struct plan_solver *s = solver(false);
	struct plan a, b, c;
	assert_int_equal(plan_solve(s, &p, &a, NULL), 0);
	price[3] += 5;
	assert_int_equal(plan_solve(s, &p, &b, NULL), 0);
	plan_solver_clear(s);
	assert_int_equal(plan_solve(s, &p, &c, NULL), 0);
	assert_true(near(b.money.total, c.money.total) && b.iterations * 4 < c.iterations);
	plan_release(&a);
	plan_release(&b);
	plan_release(&c);
	plan_solver_free(s);
}

/* ---- whole devices ---- */

static void whole_devices_keep_every_limit(void **state)
{
	(void)state;
	enum { N = 8 };
	struct rng rng;
	rng_init(&rng, 21);
	for (int round = 0; round < 60; round++) {
		double price[N], promised[N];
		struct plan_problem p = { .steps = N, .step_s = 900, .price_usd_mwh = price, .pue = 1.05, .n_classes = 3,
			.n_feeders = 1 };
		random_prices(price, N, &rng);
		double full = 0;
		for (size_t k = 0; k < 3; k++) {
			struct plan_class *c = &p.cls[k];
			random_class(c, &rng, 40, 1 + k % 2);
			c->feeder = k == 0 ? 0 : -1;
			c->now[0] = (uint32_t)rng_below(&rng, 8);
			c->ramp = rng_below(&rng, 2) ? 5 : 0;
			c->keep_on[0] = (uint32_t)rng_below(&rng, c->now[0] + 1);
			full += 40 * 3000;
		}
		p.site_limit_w = full * (0.4 + 0.5 * rng_double(&rng));
		p.feeder_limit_w[0] = 40e3 + 40e3 * rng_double(&rng);
		for (size_t t = 0; t < N; t++)
			promised[t] = (double)rng_below(&rng, 3);
		p.n_contracts = 1;
		p.contract[0] = (struct plan_contract){ "chat", 1, 0, promised, 0.5, 1, false };
		struct plan_solver *s = solver(false);
		struct plan r;
		assert_int_equal(plan_solve(s, &p, &r, NULL), 0);
		for (size_t t = 0; t < N; t++) {
			uint32_t n[PLAN_CLASSES_MAX][PLAN_MODES_MAX];
			double site = 0, feeder = 0;
			plan_round(&p, &r, t, n);
			for (size_t k = 0; k < 3; k++) {
				const struct plan_class *c = &p.cls[k];
				double w = c->count * c->off_w;
				uint32_t sum = 0;
				for (size_t m = 0; m < c->n_modes; m++) {
					assert_true(fabs(n[k][m] - plan_devices(&r, k, m)[t]) < 1 + 1e-5);
					w += n[k][m] * (c->mode[m].watts - c->off_w);
					sum += n[k][m];
				}
				assert_true(sum <= c->count);
				if (t == 0) {
					assert_true(sum >= c->keep_on[0]);
					assert_true(!c->ramp || (sum <= plan_running(c) + c->ramp && sum + c->ramp >= plan_running(c)));
				}
				site += w * p.pue;
				feeder += k == 0 ? w * p.pue : 0;
			}
			assert_true(site <= p.site_limit_w * (1 + 1e-9) && feeder <= p.feeder_limit_w[0] * (1 + 1e-9));
		}
		plan_release(&r);
		plan_solver_free(s);
	}
}

static void the_best_parts_run(void **state)
{
	(void)state;
	uint32_t run[PLAN_CLASSES_MAX][PLAN_MODES_MAX] = { { 70, 20 } };
	struct plan_part parts[] = { { .cls = 0, .count = 50, .usd_per_mwh = 40 },
		{ .cls = 0, .count = 50, .usd_per_mwh = 60 }, { .cls = 0, .count = 50, .usd_per_mwh = 50 } };
	struct err err;
	assert_int_equal(plan_split(run, parts, 3, NULL), 0);
	assert_true(parts[1].run[0] == 50 && parts[2].run[0] == 20 && parts[2].run[1] == 20 && parts[0].run[0] == 0);
	run[0][0] = 140;
	assert_int_equal(plan_split(run, parts, 3, &err), HCP_ERANGE);
	assert_non_null(strstr(err.text, "160"));
	assert_int_equal(parts[1].run[0], 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ways_find_the_best_of_all_plans),
		cmocka_unit_test(classes_by_themselves_are_the_whole),
		cmocka_unit_test(a_limit_has_a_price),
		cmocka_unit_test(promises_are_kept_if_they_pay),
		cmocka_unit_test(work_waits_for_the_cheap_hours_before_its_deadline),
		cmocka_unit_test(the_grid_is_paid_and_served),
		cmocka_unit_test(shadow_prices_are_differences),
		cmocka_unit_test(conflicts_are_named),
		cmocka_unit_test(senseless_problems_are_named_by_their_field),
		cmocka_unit_test(limits_and_memory_end_it_cleanly),
		cmocka_unit_test(a_warm_start_changes_nothing_but_the_work),
		cmocka_unit_test(whole_devices_keep_every_limit),
		cmocka_unit_test(the_best_parts_run),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
