#ifndef HCP_ECON_RISK_H
#define HCP_ECON_RISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"

/*
 * What may happen beside the forecast, what it would cost, and how much of it to bear (ECON-5).
 *
 *	errors of past forecasts -> scenarios around today's -> profit of each -> VaR, CVaR -> risk-adjusted choice
 *	                                                          cumulative profit -> drawdown guard
 *
 * Pure; entropy comes as a seeded generator. One thread owns an object.
 */
enum {
	RISK_STEPS_MAX = 672,
	RISK_SERIES_MAX = 48,
	RISK_ORIGINS_MAX = 100000,
	RISK_PATHS_MAX = 100000,
};

/*
 * Errors of past forecasts: actual - forecast, of the same units as the series (USD/MWh, USD/h). One origin is one
 * moment at which all series were forecast, so what moves two facilities together stays together.
 *
 *	z[(origin * series + s) * steps + k]: error of the forecast made at `origin` for its step k
 */
struct risk_errors {
	size_t series, steps;
	size_t origins; /* filled; the oldest goes when cap is reached */
	size_t cap, next;
	double *z; /* owned */
};

/* 1 <= series <= RISK_SERIES_MAX, 1 <= steps <= RISK_STEPS_MAX, 1 <= cap <= RISK_ORIGINS_MAX. HCP_EINVAL, HCP_ENOMEM.
 */
int risk_errors_init(struct risk_errors *e, size_t series, size_t steps, size_t cap, struct err *err) MUST_CHECK;
void risk_errors_release(struct risk_errors *e);
/* error: [series * steps]. HCP_EINVAL: one is not finite; nothing has changed then. */
int risk_errors_add(struct risk_errors *e, const double *error, struct err *err) MUST_CHECK;

/*
 * Moving-block bootstrap (Künsch 1989) of whole forecast errors: a scenario walks along the forecast in blocks; each
 * block takes the errors that one past origin, drawn at random and the same for all series, had at these very steps.
 * So an error grows with its step as it did, spikes keep their height and shape, and neighbours stay alike within a
 * block. With block >= steps a scenario is one past error path as it was.
 */
struct risk_bootstrap {
	size_t paths;
	size_t block;   /* steps, >= 1 */
	double lo, hi;  /* scenarios are cut to this: the market's caps; lo < hi, infinite for none */
};

/*
 * mean: [series * steps], the forecast. ret: [paths * series * steps], path by path. HCP_EAGAIN: no errors are known
 * yet. HCP_EINVAL, HCP_ERANGE with the field.
 */
int risk_paths(const struct risk_errors *e, const struct risk_bootstrap *b, const double *mean, struct rng *rng,
	double *ret, struct err *err) MUST_CHECK;

/*
 * Terms of days made of blocks of past days, drawn at random (moving blocks, as above): so bad weeks stay weeks.
 * day: [series * days]; the same blocks for all series, so what is one world stays one. ret: [cases * series * term].
 * HCP_EAGAIN: fewer past days than the term. HCP_EINVAL with the field; HCP_ENOMEM.
 */
struct risk_terms {
	size_t series, days;
	size_t term, block; /* days; 1 <= block, term <= RISK_STEPS_MAX */
	size_t cases;
};
int risk_terms(const struct risk_terms *t, const double *day, struct rng *rng, double *ret, struct err *err) MUST_CHECK;

/*
 * A distribution of profits, USD. VaR and CVaR are losses, so a positive figure is money lost and a negative one is a
 * gain that even the bad cases make: VaR is the loss that is exceeded in a share 1 - level of the cases, CVaR the mean
 * loss of that worst share, the case at its edge counted in part (Rockafellar, Uryasev 2000 and 2002).
 */
struct risk_measure {
	size_t n;
	double mean, deviation, worst, best;
	double var, cvar;
};

#define RISK_LEVEL 0.95

/* Sorts profit in place. 0 < level < 1. HCP_EINVAL: none, or one is not finite. */
int risk_measure(double *profit, size_t n, double level, struct risk_measure *ret, struct err *err) MUST_CHECK;

/* What a choice is worth to somebody who bears risk with aversion 0 (only the mean counts) to 1 (only the CVaR). */
static inline double risk_adjusted(const struct risk_measure *m, double aversion)
{
	return (1 - aversion) * m->mean - aversion * m->cvar;
}

/*
 * Drawdown guard: equity is the capital at its start plus all profit since. Drawdown is the fall from the highest
 * equity as a share of it. From the limit on the guard is up, and stays so until the drawdown is back at half the
 * limit, so that it does not flap. Aversion rises in a straight line from 0 at half the limit to 1 at the limit.
 */
struct risk_guard {
	double capital_usd; /* > 0 */
	double limit;       /* 0 < limit < 1; 0.20 */
	double equity_usd, peak_usd;
	double deepest;     /* drawdown ever */
	bool up;
};

#define RISK_DRAWDOWN_LIMIT 0.20

int risk_guard_init(struct risk_guard *g, double capital_usd, double limit, struct err *err) MUST_CHECK;
/* True if `up` changed. HCP_EINVAL would be a profit that is not finite: it is not counted, and false. */
bool risk_guard_add(struct risk_guard *g, double profit_usd);
double risk_guard_drawdown(const struct risk_guard *g); /* 0..; above 1 when more than all is lost */
double risk_guard_aversion(const struct risk_guard *g); /* 0..1 */

#endif
