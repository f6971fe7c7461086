#include "econ/portfolio.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "econ/lp.h"

enum { STEPS_MAX = 1000000 };

static int check_asset(const struct portfolio_problem *p, size_t a, struct err *err)
{
	const struct portfolio_asset *x = &p->asset[a];
	if (x->facility >= p->n_facilities)
		return err_set(err, HCP_EINVAL, "asset", "%s: facility %zu of %zu", x->name, x->facility, p->n_facilities);
	if (!(x->most >= 0))
		return err_set(err, HCP_ERANGE, "asset", "%s: most must be 0 or more", x->name);
	for (size_t i = 0; i < p->cases; i++) {
		if (!isfinite(x->profit_usd[i]))
			return err_set(err, HCP_ERANGE, "asset", "%s: profit of case %zu is not finite", x->name, i);
	}
	return 0;
}

static int check(const struct portfolio_problem *p, struct err *err)
{
	if (p->n_assets < 1 || p->n_assets > PORTFOLIO_ASSETS_MAX)
		return err_set(err, HCP_EINVAL, "n_assets", "must be 1 to %d", PORTFOLIO_ASSETS_MAX);
	if (p->n_facilities < 1 || p->n_facilities > PORTFOLIO_FACILITIES_MAX)
		return err_set(err, HCP_EINVAL, "n_facilities", "must be 1 to %d", PORTFOLIO_FACILITIES_MAX);
	if (p->cases < 1 || p->cases > PORTFOLIO_CASES_MAX)
		return err_set(err, HCP_EINVAL, "cases", "must be 1 to %d", PORTFOLIO_CASES_MAX);
	if (!(p->aversion >= 0 && p->aversion <= 1))
		return err_set(err, HCP_ERANGE, "aversion", "must be 0 to 1");
	if (!(p->level > 0 && p->level < 1))
		return err_set(err, HCP_ERANGE, "level", "must be between 0 and 1");
	for (size_t f = 0; f < p->n_facilities; f++) {
		if (!(p->units[f] >= 0 && isfinite(p->units[f])))
			return err_set(err, HCP_ERANGE, "units", "of facility %zu must be finite, 0 or more", f);
	}
	for (size_t a = 0; a < p->n_assets; a++) {
		int rc = check_asset(p, a, err);
		if (rc)
			return rc;
	}
	return 0;
}

/* Columns: the assets, then VaR, then a shortfall a case. Rows: the facilities, then the cases. */
static void build(const struct portfolio_problem *p, struct lp *lp)
{
	double n = (double)p->cases;
	for (size_t a = 0; a < p->n_assets; a++) {
		double mean = 0;
		for (size_t i = 0; i < p->cases; i++)
			mean += p->asset[a].profit_usd[i] / n;
		lp_col(lp, 0, p->asset[a].most, (1 - p->aversion) * mean);
	}
	for (size_t f = 0; f < p->n_facilities; f++) {
		int row = lp_row(lp, -INFINITY, p->units[f]);
		for (size_t a = 0; a < p->n_assets; a++) {
			if (p->asset[a].facility == f)
				lp_put(lp, row, (int)a, 1);
		}
	}
	if (p->aversion == 0)
		return;
	int var = lp_col(lp, -INFINITY, INFINITY, -p->aversion);
	for (size_t i = 0; i < p->cases; i++) {
		/* shortfall >= -profit - var */
		int z = lp_col(lp, 0, INFINITY, -p->aversion / ((1 - p->level) * n));
		int row = lp_row(lp, 0, INFINITY);
		lp_put(lp, row, z, 1);
		lp_put(lp, row, var, 1);
		for (size_t a = 0; a < p->n_assets; a++)
			lp_put(lp, row, (int)a, p->asset[a].profit_usd[i]);
	}
}

static int measure(const struct portfolio_problem *p, struct portfolio *r, struct err *err)
{
	double *profit = mem_calloc(p->cases, sizeof(*profit));
	if (!profit)
		return err_set(err, HCP_ENOMEM, "", "no memory for %zu cases", p->cases);
	for (size_t i = 0; i < p->cases; i++) {
		for (size_t a = 0; a < p->n_assets; a++)
			profit[i] += r->units[a] * p->asset[a].profit_usd[i];
	}
	int rc = risk_measure(profit, p->cases, p->level, &r->profit, err);
	r->worth_usd = risk_adjusted(&r->profit, p->aversion);
	mem_free(profit);
	return rc;
}

int portfolio_solve(const struct portfolio_problem *p, struct portfolio *ret, struct err *err)
{
	int rc = check(p, err);
	if (rc)
		return rc;
	struct lp lp;
	struct portfolio r;
	memset(&r, 0, sizeof(r));
	lp_init(&lp);
	build(p, &lp);
	rc = lp_solve(&lp, &(struct lp_conf){ .method = LP_PRIMAL, .iterations_max = STEPS_MAX }, err);
	if (rc == 0) {
		for (size_t a = 0; a < p->n_assets; a++)
			r.units[a] = fmax(lp.x[a], 0);
		for (size_t f = 0; f < p->n_facilities; f++)
			r.unit_usd[f] = fmax(lp.row_dual[f], 0);
		rc = measure(p, &r, err);
	}
	if (rc == 0)
		*ret = r;
	lp_release(&lp);
	return rc;
}
