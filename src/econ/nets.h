#ifndef HCP_ECON_NETS_H
#define HCP_ECON_NETS_H

#include "econ/policy.h"
#include "econ/profit.h"
#include "model/site.h"

/*
 * What a device of a class nets in each use, and what getting it there costs: the rows that a policy decides by. One
 * arithmetic for the backtest and the live optimizer. Per device and hour:
 *
 *	mine    gross = TH/s * hashprice - wear + credit;          watts = those of mining
 *	serve   gross = (rate - wear) * utilisation;               watts = idle + (serving - idle) * utilisation
 *	idle    gross = 0;                                         watts = those of how the group is left idle
 *	net = gross - mwh * price,  mwh = watts / 1e6 * PUE
 *
 * Getting into mining with a group costs what its start loses against hashing from the first second on (hashes not
 * made, less energy not drawn, never below 0) and its wear; a switching time that was learned takes the place of the
 * group's boot time. Without a group, and for a learned time into another use: the time, at the best net and the energy
 * of the use.
 */
struct nets_terms {
	struct profit_market pm;
	double hashprice_usd_ths_h;     /* of pm */
	double serve_usd_h;             /* what a served device hour is sold for */
	double utilisation;             /* share of the hour that is sold, 0..1 */
	double credit_usd_h;            /* what mining is worth beyond its coins */
	const struct site_group *group; /* borrowed; NULL: not known */
	double switch_ms[POLICY_USE_END]; /* learned; 0: not */
	bool modes; /* the group's power modes may be used: mining is then in the best of them at the price */
};

/* Fills can, net, gross, mwh, switch_cost and boot of c, whose cls is set. */
void nets_fill(const struct nets_terms *t, bool mines, bool serves, struct policy_class *c);
/* What one start of a mining device of the group costs at these terms. */
double nets_start_usd(const struct site_group *g, double hash_usd_h, double pue, double usd_mwh);

#endif
