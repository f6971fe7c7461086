#ifndef HCP_SIM_REPLAY_CALLS_H
#define HCP_SIM_REPLAY_CALLS_H

#include "base/str.h"
#include "econ/backtest.h"

/*
 * Recorded calls of load that was held ready for the grid, a row each:
 *
 *	start_utc,service,minutes
 *	2023-09-06T19:25:00Z,RRS,60
 *
 * minutes: 1 to 1440, of which what the service may ask for at most is taken; two calls of one service do not overlap.
 * ret: [cap]. HCP_EPARSE, HCP_ERANGE, HCP_EINVAL with name, line and column; HCP_ELIMIT: more than cap. Pure.
 */
int replay_calls(const char *name, struct str text, struct backtest_call *ret, size_t cap, size_t *ret_n,
	struct err *err) MUST_CHECK;

#endif
