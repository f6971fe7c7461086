/*
 * PERF-8: a plan of 96 quarter-hours for a site, one after the other as time goes on: every plan begins a step later,
 * where the one before left the devices. One JSON line. p50_ms and p99_ms: one linear program of the whole site, begun
 * where the last one ended. by_class_*: as a plan is made while no limit binds. bound_*: with the site's limit at 60 %
 * of what it could draw, so that classes compete for it. cold_*: the same, each begun from nothing.
 * smpc_*: a decision of that policy over a fan, of a year of past forecasts.
 *
 *	bench_plan [spec/sites/texas-north.yaml]
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/money.h"
#include "econ/forecast.h"
#include "econ/history.h"
#include "econ/market_sim.h"
#include "econ/misses.h"
#include "econ/nets.h"
#include "econ/plan_site.h"
#include "os/file.h"

enum { STEPS = 96, PLANS = 200, COLD_PLANS = 40, POLICY_STEPS = 24 };

static double price[STEPS + PLANS];

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void make_prices(void)
{
	struct market_sim_conf conf;
	struct market_sim sim;
	market_sim_conf_default(&conf);
	conf.seed = 5;
	if (market_sim_init(&sim, &conf, NULL) < 0)
		exit(1);
	for (size_t t = 0; t < STEPS + PLANS; t++) {
		if (market_sim_step(&sim, 900 * NS_PER_S, NULL) < 0)
			exit(1);
		price[t] = sim.now.power_usd_mwh;
	}
}

static void fill_input(const struct site *site, struct policy_input *in)
{
	struct nets_terms t = { .pm = { 60000, 9e13, 3.125, 0.1, site->pool_fee, 30, site->pue }, .serve_usd_h = 2,
		.utilisation = 1 };
	t.hashprice_usd_ths_h = profit_hashprice_usd_ths_h(&t.pm);
	*in = (struct policy_input){ .now_ns = 1, .horizon_ns = 3600 * NS_PER_S, .step_ns = 900 * NS_PER_S,
		.electricity_usd_mwh = 30, .site = site, .n = site->n_groups };
	for (size_t k = 0; k < in->n; k++) {
		const struct site_group *g = &site->group[k];
		struct policy_class *c = &in->c[k];
		*c = (struct policy_class){ .cls = g->cls, .group = g, .count = g->count,
			.must_serve = (uint32_t)(g->count * g->contract_share), .want_serve = (uint32_t)(g->count * g->spot_share),
			.age_ns = { INT64_MAX, INT64_MAX, INT64_MAX } };
		c->now[g->serves ? POLICY_SERVE : POLICY_MINE] = c->must_serve;
		c->now[g->mines ? POLICY_MINE : POLICY_IDLE] += c->count - c->must_serve;
		t.group = g;
		nets_fill(&t, g->mines, g->serves, c);
	}
}

static void run(const char *name, const struct policy_input *first, bool whole, bool cold, const char *before)
{
	struct plan_solver *s;
	struct plan_site ps = { 0 };
	struct policy_input in = *first;
	static double ms[PLANS];
	size_t plans = cold ? COLD_PLANS : PLANS;
	int64_t iterations = 0;
	double usd = 0;
	int rc = plan_solver_new(&(struct plan_conf){ .whole = whole }, &s, NULL);
	for (size_t i = 0; i < plans && rc == 0; i++) {
		struct plan plan;
		struct err err;
		uint32_t target[POLICY_CLASSES_MAX][POLICY_USE_END];
		double t0 = now_ms();
		rc = plan_site_fill(&ps, &in, price + i, STEPS, 900, &err);
		rc = rc ? rc : plan_solve(s, &ps.problem, &plan, &err);
		ms[i] = now_ms() - t0;
		if (rc) {
			fprintf(stderr, "bench_plan: %s: %s\n", name, err.text);
			exit(1);
		}
		plan_site_targets(&ps, &in, &plan, 0, target);
		for (size_t k = 0; k < in.n; k++)
			memcpy(in.c[k].now, target[k], sizeof(target[k]));
		iterations += plan.iterations;
		usd += plan.money.total;
		plan_release(&plan);
		if (cold)
			plan_solver_clear(s);
	}
	qsort(ms, plans, sizeof(ms[0]), by_value);
	printf("%s\"%sp50_ms\": %.3f, \"%sp99_ms\": %.3f, \"%siterations\": %.1f, \"%scheck_usd\": %.0f", before, name,
		ms[plans / 2], name, ms[plans * 99 / 100], name, (double)iterations / (double)plans, name, usd / (double)plans);
	plan_site_release(&ps);
	plan_solver_free(s);
}

/* Keys and misses as they come, of prices around what the miners earn, so that no decision is a calm one. */
static void fill_past(struct scenario_past *p, struct history *h, const char *point)
{
	for (size_t i = 0; i < 365 * 96; i++) {
		const double *at = price + i % (PLANS - SCENARIO_STEPS);
		struct scenario_key key = scenario_key_of(at[0], at[1], at[1], at[2], (double)(i % 96) / 96);
		if (scenario_past_add(p, &key, at, at + 1, NULL) < 0)
			exit(1);
	}
	for (size_t i = 0; i < PLANS; i++)
		if (history_add(h, HISTORY_POWER_RT, point, (int64_t)i * 900 * NS_PER_S, 900 * NS_PER_S, 90, NULL) < 0)
			exit(1);
}

static void run_smpc(const struct site *site, const struct policy_input *first)
{
	static struct forecast_point at[POLICY_STEPS];
	static double ms[PLANS];
	struct scenario_past past;
	struct history h;
	struct policy p;
	struct policy_conf conf;
	struct err err;
	struct policy_taught taught = { .price = at, .n_price = POLICY_STEPS, .past = &past };
	struct policy_input in = *first;
	size_t n = 0;
	policy_conf_default(&conf);
	conf.taught = true;
	history_init(&h);
	if (scenario_past_init(&past, MISSES_CAP, &err) < 0 || policy_init(&p, policy_find(STR("smpc")), &conf, &err) < 0)
		exit(1);
	fill_past(&past, &h, site->point);
	for (size_t t = 0; t < POLICY_STEPS; t++)
		at[t].mean = 90;
	in.electricity_usd_mwh = 90;
	in.taught = &taught;
	in.history = &h;
	for (size_t i = 8; i < PLANS; i++) {
		struct policy_output out;
		double t0 = now_ms();
		in.now_ns = (int64_t)i * 900 * NS_PER_S;
		if (policy_decide(&p, &in, &out, &err) < 0 || strcmp(out.explain.view.by, "fan") != 0) {
			fprintf(stderr, "bench_plan: smpc: %s\n", err.text);
			exit(1);
		}
		ms[n++] = now_ms() - t0;
	}
	qsort(ms, n, sizeof(ms[0]), by_value);
	printf(", \"smpc_p50_ms\": %.3f, \"smpc_p99_ms\": %.3f", ms[n / 2], ms[n * 99 / 100]);
	policy_release(&p);
	scenario_past_release(&past);
	history_release(&h);
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "spec/sites/texas-north.yaml";
	static struct site site;
	static struct policy_input in;
	struct buf text = { 0 };
	struct err err;
	if (file_read(path, SITE_TEXT_MAX, &text, &err) < 0 || site_parse(&site, path, buf_str(&text), &err) < 0) {
		fprintf(stderr, "bench_plan: %s\n", err.text);
		return 1;
	}
	make_prices();
	fill_input(&site, &in);
	printf("{\"id\": \"PERF-8\", \"metrics\": {\"steps\": %d", STEPS);
	run("", &in, true, false, ", ");
	run("cold_", &in, true, true, ", ");
	run("by_class_", &in, false, false, ", ");
	site.limit_w = 0.6 * site_full_w(&site);
	run("bound_", &in, false, false, ", ");
	run("bound_cold_", &in, false, true, ", ");
	run_smpc(&site, &in);
	printf("}}\n");
	buf_release(&text);
	return 0;
}
