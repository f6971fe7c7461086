#ifndef HCP_SIM_TICK_H
#define HCP_SIM_TICK_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* One market value, as proto Tick carries it. Strings are static or live as long as the source that gave it. */
struct sim_tick {
	const char *symbol;   /* electricity_rt, electricity_da, btc_usd, difficulty, block_subsidy_btc, … */
	const char *location; /* settlement point or device class; "" where none */
	const char *source;
	double value;
	int64_t observed_at_ns;    /* market time from which the value is known */
	int64_t interval_start_ns; /* 0 and 0: not an interval's value */
	int32_t interval_s;
};

/* Told for a day at once: values of different hours stand beside each other; of everything else the newest counts. */
static inline bool sim_tick_is_ahead(const char *symbol)
{
	return !strcmp(symbol, "electricity_da") || !strcmp(symbol, "ancillary");
}

#endif
