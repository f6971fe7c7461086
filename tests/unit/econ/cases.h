#ifndef HCP_TEST_ECON_CASES_H
#define HCP_TEST_ECON_CASES_H

/* Rows of cases.inc; each file that includes it uses some of the tables. */
struct mining_case {
	const char *cls;
	double btc_usd, difficulty, subsidy_btc, fees_btc, pool_fee, electricity_usd_mwh, pue;
	double btc_per_day, revenue_usd_h, energy_usd_h, net_usd_h, score, breakeven_usd_mwh;
};

struct serving_case {
	const char *cls;
	double spot_usd_h, contracted_usd_h, utilisation, electricity_usd_mwh, pue;
	double revenue_usd_h, energy_usd_h, net_usd_h;
};

struct replay_case {
	const char *year, *first, *last;
	double hysteresis;
	int intervals;
	int mined[2], switches[2];
	double revenue_usd, net_usd;
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-variable"
#include "cases.inc"
#pragma GCC diagnostic pop

#endif
