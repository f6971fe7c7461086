/*
 * What a plan would lose in bad cases, were it kept to (ECON-5): its load at prices that differ from the expected ones
 * as those of the last four weeks differed from the same time the day before. Block bootstrap of whole hours' error
 * paths (econ/risk); the seed is the plan's basis, so a replay draws the same.
 */
#include <math.h>

#include "base/mem.h"
#include "econ/risk.h"
#include "services/optimizer/optimizer_priv.h"

#define STEP_NS (900 * INT64_C(1000000000))
#define DAY_NS (96 * STEP_NS)
enum { STEPS = OPTIMIZER_PLAN_STEPS, ORIGINS = 28 * 24, ORIGINS_MIN = 7 * 24, PATHS = 400, BLOCK = 8 };

/* Of one origin: 0, or HCP_EAGAIN where a price is not known. */
static int error_path(const struct history_series *s, int64_t origin_ns, double ret[STEPS])
{
	for (int t = 0; t < STEPS; t++) {
		int64_t at_ns = origin_ns + t * STEP_NS;
		ret[t] = history_at(s, at_ns) - history_at(s, at_ns - DAY_NS);
		if (isnan(ret[t]))
			return HCP_EAGAIN;
	}
	return 0;
}

static int collect(const struct history_series *s, int64_t now_ns, struct risk_errors *e, struct err *err)
{
	double path[STEPS];
	int64_t hour_ns = 4 * STEP_NS, newest_ns = now_ns / hour_ns * hour_ns - STEPS * STEP_NS;
	for (int64_t i = ORIGINS; i-- > 0;) {
		if (error_path(s, newest_ns - i * hour_ns, path) < 0)
			continue;
		int rc = risk_errors_add(e, path, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int measure(const struct risk_errors *e, const double *price, const struct plan *plan, uint64_t seed,
	struct risk_measure *ret, struct err *err)
{
	const struct risk_bootstrap b = { .paths = PATHS, .block = BLOCK, .lo = -INFINITY, .hi = INFINITY };
	double *path = mem_alloc(PATHS * (STEPS + 1) * sizeof(*path)), *profit = path ? path + PATHS * STEPS : NULL;
	struct rng rng;
	if (!path)
		return HCP_ENOMEM;
	rng_init(&rng, seed);
	int rc = risk_paths(e, &b, price, &rng, path, err);
	for (size_t p = 0; p < PATHS && rc == 0; p++) {
		profit[p] = plan->money.total;
		for (size_t t = 0; t < STEPS; t++)
			profit[p] -= plan->load_w[t] / 1e6 / 4 * (path[p * STEPS + t] - price[t]);
	}
	rc = rc ? rc : risk_measure(profit, PATHS, RISK_LEVEL, ret, err);
	mem_free(path);
	return rc;
}

int optimizer_plan_risk(const struct optimizer *o, const struct draft_group *g, int64_t market_ns, const double *price,
	const struct plan *plan, int64_t basis, Hcp__Plan *m)
{
	const char *point = g->terms.loc ? g->terms.loc->name : "";
	const struct history_series *s = history_find(&o->history, HISTORY_POWER_RT, point);
	struct risk_errors e = { 0 };
	struct risk_measure r = { 0 };
	if ((g->terms.site && g->terms.site->fixed) || !s || market_ns - s->first_ns < ORIGINS_MIN * 4 * STEP_NS)
		return 0;
	int rc = risk_errors_init(&e, 1, STEPS, ORIGINS, NULL);
	rc = rc ? rc : collect(s, market_ns, &e, NULL);
	if (rc == 0 && e.origins >= ORIGINS_MIN / 2)
		rc = measure(&e, price, plan, (uint64_t)basis, &r, NULL);
	if (rc == 0 && r.n) {
		m->var_usd = r.var;
		m->cvar_usd = r.cvar;
		m->risk_cases = (int32_t)r.n;
	}
	risk_errors_release(&e);
	return rc == HCP_ENOMEM ? rc : 0;
}
