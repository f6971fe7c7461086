#ifndef HCP_ECON_PORTFOLIO_H
#define HCP_ECON_PORTFOLIO_H

#include <stddef.h>

#include "base/err.h"
#include "econ/risk.h"

/*
 * How many devices of which facility to bind for how long (ECON-5): the mix of facilities and contract lengths whose
 * profit is best when bad cases count too.
 *
 *	maximise    (1 - aversion) * mean - aversion * CVaR            [USD over the term]
 *	subject to  units of a facility's choices <= its devices,  0 <= units of a choice <= its most
 *
 * CVaR of a sum of choices is convex, and a linear program gives it exactly for the cases handed in (Rockafellar,
 * Uryasev, "Optimization of conditional value-at-risk", 2000): a free variable for the VaR and one shortfall a case.
 */
enum {
	PORTFOLIO_ASSETS_MAX = 256,
	PORTFOLIO_FACILITIES_MAX = 64,
	PORTFOLIO_CASES_MAX = 5000,
};

/* One choice: devices of a facility under a contract of some length, on the spot market, mining, … */
struct portfolio_asset {
	const char *name; /* borrowed; for errors */
	size_t facility;
	double most;             /* units that can be sold so; >= 0, INFINITY: all */
	const double *profit_usd; /* borrowed; [cases] of one unit over the term; a case is the same world for all assets */
};

struct portfolio_problem {
	size_t n_assets, n_facilities, cases;
	struct portfolio_asset asset[PORTFOLIO_ASSETS_MAX];
	double units[PORTFOLIO_FACILITIES_MAX]; /* devices that each facility has */
	double aversion; /* 0..1 */
	double level;    /* of the CVaR, 0 < level < 1; RISK_LEVEL */
};

struct portfolio {
	double units[PORTFOLIO_ASSETS_MAX];
	double unit_usd[PORTFOLIO_FACILITIES_MAX]; /* what one more device there would add to `worth_usd`; >= 0 */
	struct risk_measure profit;                /* of the mix over the cases */
	double worth_usd;                          /* risk_adjusted(profit, aversion) */
};

/*
 * HCP_EINVAL, HCP_ERANGE with the field; HCP_ENOMEM; HCP_ETIMEOUT after a million steps of the simplex. *ret is written
 * on success alone. Not for a service's loop: 2,000 cases of 20 assets take tens of milliseconds.
 */
int portfolio_solve(const struct portfolio_problem *p, struct portfolio *ret, struct err *err) MUST_CHECK;

#endif
