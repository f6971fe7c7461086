#ifndef HCP_ECON_CONTRACTS_H
#define HCP_ECON_CONTRACTS_H

#include "econ/portfolio.h"

/*
 * For how long to sell devices that serve (ECON-5): past days are drawn in blocks into worlds of one term, the same for
 * all pools; in each world a contract pays the rate of the day that it is signed, less its discount, and is signed anew
 * when it ends; the spot market pays for what is wanted. `portfolio` then weighs the choices of all pools together.
 *
 * Choice c of pool p is asset p * (1 + n_lengths) + c: 0 is the spot market, then the lengths.
 */
enum { CONTRACTS_LENGTHS_MAX = 8, CONTRACTS_SERIES = 3, CONTRACTS_POOLS_MAX = RISK_SERIES_MAX / CONTRACTS_SERIES };

/* Of a pool's past days, [CONTRACTS_SERIES][days], USD of one device. */
enum {
	CONTRACTS_SPOT = 0, /* profit of a day on the spot market */
	CONTRACTS_COST = 1, /* energy and wear of a day at work */
	CONTRACTS_RATE = 2, /* an hour is sold for, before any discount */
};

struct contracts_pool {
	const char *name; /* borrowed; for errors */
	double units;     /* devices */
	double spot_most; /* so many the spot market takes */
};

struct contracts_length {
	size_t days;     /* 1..RISK_STEPS_MAX */
	double discount; /* of the rate, 0 <= discount < 1 */
};

struct contracts_market {
	struct contracts_pool pool[CONTRACTS_POOLS_MAX];
	struct contracts_length length[CONTRACTS_LENGTHS_MAX];
	size_t n, n_lengths;
	size_t days, term, block, cases; /* as struct risk_terms */
	const double *day;               /* borrowed; [n][CONTRACTS_SERIES][days] */
	double aversion;                 /* 0: the mean alone counts, 1: the CVaR alone */
	uint64_t seed;
};

struct contracts {
	struct portfolio best;
	double mean_usd[PORTFOLIO_ASSETS_MAX]; /* of one device over the term, by asset */
};

/* HCP_EAGAIN: fewer past days than the term; HCP_EINVAL, HCP_ERANGE with the field; HCP_ENOMEM. Not for a hot path. */
int contracts_solve(const struct contracts_market *m, struct contracts *ret, struct err *err) MUST_CHECK;

#endif
