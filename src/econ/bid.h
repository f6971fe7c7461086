#ifndef HCP_ECON_BID_H
#define HCP_ECON_BID_H

#include "econ/policy.h"

/*
 * The bid curve of a site (ECON-9): how many kW less it would draw at each price of electricity and within each
 * response time, and how many more, for a duration that is asked for. Pure. From the rows that a policy decides by.
 *
 *	kW |              ______   within 5 s: and off              a step: devices of a class from a use into a mode,
 *	   |         ____|  _____  within 2 s: and miners asleep    worth it from its price on
 *	   |    ____|______|
 *	   |   |  ________________ within 5 ms: fill work of GPUs yields
 *	   +---+------------------ USD/MWh
 *
 * Shedding a device out of a use for D hours, with everything per device:
 *	cost = (gross of the use - gross of idle) * D + start + max(0, net of the use - net of idle) * max(0, min_down - D)
 *	price = cost / ((mwh of the use - mwh of idle) * D)           break-even: above it, standing still earns more
 * Standing devices switched off altogether save what they draw idle and lose what they could earn while they come back
 * (the class's time to OFF); for those shed first, not below the price of that.
 * Taking on a standing device: price = ((gross - gross of idle) * D - start + min(0, …) likewise with min_up) / (…);
 * below it, running earns more. Limits of site and feeders cut what may be taken on, dearest steps first kept.
 *
 * Not offered: devices that a minimum time holds, those promised to customers, and those of a class that draws no less.
 */
enum { BID_STEPS_MAX = 4 * POLICY_CLASSES_MAX, BID_LEVELS_MAX = 16 };

struct bid_step {
	const struct device_class *cls; /* borrowed */
	enum policy_use from, to;       /* to: idle, or of what is taken on: its use */
	bool off;                       /* from standing idle to off */
	uint32_t devices;
	double kw;                      /* at the meter, > 0 */
	double usd_mwh;
	int64_t response_ns;            /* from the order to the watts */
};

struct bid_curve {
	size_t n_shed, n_add;
	struct bid_step shed[BID_STEPS_MAX]; /* price ascending */
	struct bid_step add[BID_STEPS_MAX];  /* price descending */
	double drawn_kw;                     /* now, at the meter */
	double held_kw;                      /* that minimum times keep from being shed */
};

/* HCP_ERANGE with the field: duration not from one minute to a week; or what policy_input_validate says. */
int bid_curve(const struct policy_input *in, int64_t duration_ns, struct bid_curve *ret, struct err *err) MUST_CHECK;
/* kW that can be shed at this price within this time. */
double bid_shed_kw(const struct bid_curve *b, double usd_mwh, int64_t response_ns);
/* The response times of what can be shed, ascending; returns how many. The longer of too many are left out. */
size_t bid_levels(const struct bid_curve *b, int64_t ret[BID_LEVELS_MAX]);

#endif
