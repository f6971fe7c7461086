#ifndef HCP_ECON_CLAIRVOYANT_H
#define HCP_ECON_CLAIRVOYANT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/site.h"

/*
 * The best on/off plan of one miner when every price is known, exactly: a dynamic program over use and age.
 *
 *	OFF_0 ─▶ OFF_1 ─▶ … OFF_d ↺        age in steps, saturated where nothing changes any more
 *	              min_down │ ▲
 *	                 ON_0 ◀┘ │ min_up
 *	                  └─▶ ON_1 ─▶ … ON_u ↺
 *
 * Why one device tells all: revenue, energy and wear of a device depend on its own state alone, and they add up. So
 * while no power limit binds, the site's optimum is the sum of the devices' optima, and devices of a group are alike.
 * A limit that binds is met by how many devices are energised at all (site_energised, best first). With one kind of
 * miner behind it that stays exact: of the devices at most `energised` run at once, and they may always be the same
 * ones, since an idle device kept ready is worth nothing. With several kinds it is a plan, and a lower bound.
 */
struct clairvoyant {
	const struct site_group *group;
	double pue;
	int64_t step_ns;
	size_t n;
	const double *price_usd_mwh;       /* [n]; NAN: not booked */
	const double *hashprice_usd_ths_h; /* [n]; after the pool's fee; NAN with the price */
};

enum { CLAIRVOYANT_STATES_MAX = 250 };

/*
 * Starts mining since long. ret_on[n]: 1 where it is under power; *ret_usd: profit of the plan per device. Of equal
 * plans the one that runs. HCP_ERANGE: the minimum times or the start take too many steps; HCP_ENOMEM.
 */
int clairvoyant_plan(const struct clairvoyant *c, uint8_t *ret_on, double *ret_usd, struct err *err) MUST_CHECK;

/*
 * Profit per device of one interval, in the group's mode that is best in it (returned; ret_usd may be NULL). since_ns:
 * since waking (INT64_MAX: long ago). 0 where it is not booked.
 */
size_t clairvoyant_mode(const struct clairvoyant *c, size_t i, int64_t since_ns, double *ret_usd);
double clairvoyant_mine_usd(const struct clairvoyant *c, size_t i, int64_t since_ns);
double clairvoyant_idle_usd(const struct clairvoyant *c, size_t i);

#endif
