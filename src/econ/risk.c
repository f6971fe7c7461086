#include "econ/risk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* ---- errors of past forecasts ---- */

int risk_errors_init(struct risk_errors *e, size_t series, size_t steps, size_t cap, struct err *err)
{
	*e = (struct risk_errors){ .series = series, .steps = steps, .cap = cap };
	if (series < 1 || series > RISK_SERIES_MAX)
		return err_set(err, HCP_EINVAL, "series", "must be 1 to %d, is %zu", RISK_SERIES_MAX, series);
	if (steps < 1 || steps > RISK_STEPS_MAX)
		return err_set(err, HCP_EINVAL, "steps", "must be 1 to %d, is %zu", RISK_STEPS_MAX, steps);
	if (cap < 1 || cap > RISK_ORIGINS_MAX)
		return err_set(err, HCP_EINVAL, "cap", "must be 1 to %d, is %zu", RISK_ORIGINS_MAX, cap);
	e->z = mem_calloc(cap, series * steps * sizeof(double));
	return e->z ? 0 : err_set(err, HCP_ENOMEM, "", "no memory for %zu forecast errors", cap * series * steps);
}

void risk_errors_release(struct risk_errors *e)
{
	mem_free(e->z);
	*e = (struct risk_errors){ 0 };
}

int risk_errors_add(struct risk_errors *e, const double *error, struct err *err)
{
	size_t n = e->series * e->steps;
	for (size_t i = 0; i < n; i++) {
		if (!isfinite(error[i]))
			return err_set(
				err, HCP_EINVAL, "error", "of series %zu, step %zu is not finite", i / e->steps, i % e->steps);
	}
	memcpy(e->z + e->next * n, error, n * sizeof(*error));
	e->next = (e->next + 1) % e->cap;
	e->origins += e->origins < e->cap;
	return 0;
}

/* ---- scenarios ---- */

static int check_bootstrap(const struct risk_errors *e, const struct risk_bootstrap *b, const double *mean,
	struct err *err)
{
	if (b->paths < 1 || b->paths > RISK_PATHS_MAX)
		return err_set(err, HCP_EINVAL, "paths", "must be 1 to %d, is %zu", RISK_PATHS_MAX, b->paths);
	if (b->block < 1)
		return err_set(err, HCP_EINVAL, "block", "must be at least 1 step");
	if (!(b->lo < b->hi))
		return err_set(err, HCP_ERANGE, "lo", "must be below hi");
	for (size_t i = 0; i < e->series * e->steps; i++) {
		if (!isfinite(mean[i]))
			return err_set(
				err, HCP_EINVAL, "mean", "of series %zu, step %zu is not finite", i / e->steps, i % e->steps);
	}
	return e->origins ? 0 : err_set(err, HCP_EAGAIN, "errors", "no past forecast has been compared with what came");
}

int risk_paths(const struct risk_errors *e, const struct risk_bootstrap *b, const double *mean, struct rng *rng,
	double *ret, struct err *err)
{
	size_t n = e->series * e->steps;
	int rc = check_bootstrap(e, b, mean, err);
	if (rc)
		return rc;
	for (size_t p = 0; p < b->paths; p++) {
		double *path = ret + p * n;
		for (size_t from = 0; from < e->steps; from += b->block) {
			const double *z = e->z + rng_below(rng, e->origins) * n;
			size_t to = b->block < e->steps - from ? from + b->block : e->steps;
			for (size_t s = 0; s < e->series; s++) {
				for (size_t k = s * e->steps + from; k < s * e->steps + to; k++)
					path[k] = fmin(fmax(mean[k] + z[k], b->lo), b->hi);
			}
		}
	}
	return 0;
}

/* Each past day that a whole term follows is an origin, its `errors` what the days from it on were. */
static int add_terms(const struct risk_terms *t, const double *day, struct risk_errors *e, double *row, struct err *err)
{
	int rc = 0;
	for (size_t d = 0; d + t->term <= t->days && rc == 0; d++) {
		for (size_t s = 0; s < t->series; s++)
			memcpy(row + s * t->term, day + s * t->days + d, t->term * sizeof(*row));
		rc = risk_errors_add(e, row, err);
	}
	return rc;
}

int risk_terms(const struct risk_terms *t, const double *day, struct rng *rng, double *ret, struct err *err)
{
	struct risk_errors e = { 0 };
	const struct risk_bootstrap b = { .paths = t->cases, .block = t->block, .lo = -INFINITY, .hi = INFINITY };
	if (t->days < t->term || t->days == 0)
		return err_set(err, HCP_EAGAIN, "days", "%zu are known of %zu of a term", t->days, t->term);
	int rc = risk_errors_init(&e, t->series, t->term, t->days - t->term + 1, err);
	double *row = rc ? NULL : mem_calloc(t->series * t->term, sizeof(*row));
	if (rc == 0 && !row)
		rc = err_set(err, HCP_ENOMEM, "", "no memory for terms of %zu days", t->term);
	rc = rc ? rc : add_terms(t, day, &e, row, err);
	if (rc == 0) {
		memset(row, 0, t->series * t->term * sizeof(*row));
		rc = risk_paths(&e, &b, row, rng, ret, err);
	}
	mem_free(row);
	risk_errors_release(&e);
	return rc;
}

/* ---- measures ---- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int risk_measure(double *profit, size_t n, double level, struct risk_measure *ret, struct err *err)
{
	if (n == 0)
		return err_set(err, HCP_EINVAL, "profit", "no cases");
	if (!(level > 0 && level < 1))
		return err_set(err, HCP_EINVAL, "level", "must be between 0 and 1, is %g", level);
	for (size_t i = 0; i < n; i++) {
		if (!isfinite(profit[i]))
			return err_set(err, HCP_EINVAL, "profit", "of case %zu is not finite", i);
	}
	qsort(profit, n, sizeof(*profit), by_value);
	struct risk_measure m = { .n = n, .worst = profit[0], .best = profit[n - 1] };
	for (size_t i = 0; i < n; i++)
		m.mean += profit[i] / (double)n;
	for (size_t i = 0; i < n; i++)
		m.deviation += (profit[i] - m.mean) * (profit[i] - m.mean) / (double)n;
	m.deviation = sqrt(m.deviation);
	/* The worst share of the cases: so many whole ones and a part of the next, which is the edge. */
	double tail = (1 - level) * (double)n, sum = 0;
	size_t whole = (size_t)(tail + 1e-9);
	size_t edge = whole < n ? whole : n - 1;
	if (edge && tail - (double)whole < 1e-9)
		edge--;
	for (size_t i = 0; i < whole; i++)
		sum += profit[i];
	if (tail > (double)whole)
		sum += (tail - (double)whole) * profit[edge];
	m.var = -profit[edge];
	m.cvar = -sum / tail;
	*ret = m;
	return 0;
}

/* ---- drawdown ---- */

int risk_guard_init(struct risk_guard *g, double capital_usd, double limit, struct err *err)
{
	if (!(capital_usd > 0 && isfinite(capital_usd)))
		return err_set(err, HCP_EINVAL, "capital_usd", "must be above 0 and finite");
	if (!(limit > 0 && limit < 1))
		return err_set(err, HCP_EINVAL, "limit", "must be between 0 and 1, is %g", limit);
	*g = (struct risk_guard){
		.capital_usd = capital_usd, .limit = limit, .equity_usd = capital_usd, .peak_usd = capital_usd
	};
	return 0;
}

double risk_guard_drawdown(const struct risk_guard *g)
{
	return (g->peak_usd - g->equity_usd) / g->peak_usd;
}

double risk_guard_aversion(const struct risk_guard *g)
{
	double half = g->limit / 2;
	return fmin(fmax((risk_guard_drawdown(g) - half) / half, 0), 1);
}

bool risk_guard_add(struct risk_guard *g, double profit_usd)
{
	bool was = g->up;
	if (!isfinite(profit_usd))
		return false;
	g->equity_usd += profit_usd;
	g->peak_usd = fmax(g->peak_usd, g->equity_usd);
	double d = risk_guard_drawdown(g);
	g->deepest = fmax(g->deepest, d);
	g->up = d >= g->limit || (g->up && d > g->limit / 2);
	return g->up != was;
}
