#ifndef HCP_SIM_SYNTH_H
#define HCP_SIM_SYNTH_H

#include <stdbool.h>
#include <stdint.h>

#include "econ/market_sim.h"
#include "sim/tick.h"

/*
 * The seeded market of econ/market_sim as ticks in the order in which they become known. Pure; the same
 * seed, start and step give the same ticks. The first ones are the state at the start.
 *
 *	electricity_rt   at the end of each 5 minutes, the price of those 5 minutes
 *	btc_usd          every step
 *	gpu_rate         every 10 minutes, one class at a list-price ratio to the H100
 *	difficulty, block_fees_btc, block_height   when a block changed them
 */
enum { SYNTH_PENDING_MAX = 16 };

struct synth {
	struct market_sim sim;
	int64_t step_ns;
	struct sim_tick pending[SYNTH_PENDING_MAX];
	int n_pending, next_pending;
	const char *location;      /* borrowed */
	int64_t height;            /* as last given */
	double difficulty;
	int64_t gpu_at_ns;         /* next time */
	bool started;
};

/* step_s: 1..300 s of market time between two BTC prices. HCP_ERANGE. */
int synth_init(struct synth *s, uint64_t seed, int64_t start_ns, int64_t step_s, const char *location, struct err *err)
	MUST_CHECK;
/* False at the end of time (the year 2262). */
bool synth_next(struct synth *s, struct sim_tick *ret);

#endif
