#ifndef HCP_SIM_HISTORY_FEED_H
#define HCP_SIM_HISTORY_FEED_H

#include "econ/history.h"
#include "sim/replay.h"

/*
 * Recorded ticks into a history, each when it became known. A symbol that a history does not keep is passed over; a
 * value of no interval (a list price) counts from the start of its day.
 */
int history_feed_tick(struct history *h, const struct sim_tick *t, struct err *err) MUST_CHECK;
/* Everything known at now_ns, that moment included. */
int history_feed_until(struct history *h, struct replay *r, int64_t now_ns, struct err *err) MUST_CHECK;

#endif
