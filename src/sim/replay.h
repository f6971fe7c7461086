#ifndef HCP_SIM_REPLAY_H
#define HCP_SIM_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "sim/tick.h"

/*
 * Recorded market data in the order in which it became known. Pure: CSV texts go in, ticks come out; nothing is read
 * from the system and no value is made up: an absent row or empty field gives no tick.
 *
 *	row of            is known at (observed_at)              value
 *	real-time price   end of its quarter-hour                USD/MWh
 *	day-ahead price   13:30 Central of the day before        USD/MWh, 24 hours at once (publication of the results)
 *	BTC candle        end of its hour                        close
 *	network day       end of the day                         difficulty; subsidy and fees per block of that day
 *	GPU month         end of the month                       median list price; no interval, it starts then
 *	ancillary price   as the day-ahead price                 USD/MW and hour, of each product
 *	load forecast     18:00 Central of the day before        MW
 *	requests          end of their hour                      share of the busiest hour's device seconds, 0..1; see below
 *	generation, fuel  an hour after the end of its hour      MW; the grid's own pages show them within minutes, the
 *	                                                         hourly sums of these files follow within the hour
 *
 * From `from_ns` on: replay_next first gives what was known then (the newest value of each symbol and location, and
 * the hours of day-ahead and ancillary prices that have not ended), then everything up to and including to_ns. One
 * thread owns it.
 *
 *	replay_init, replay_add_… (any order), replay_seal, replay_next …, replay_rewind, replay_next …, replay_release
 */
enum {
	REPLAY_LOCATIONS_MAX = 8,
	REPLAY_SERIES_MAX = 128,
	REPLAY_LOCATION_MAX = 24, /* bytes of a location's name with NUL */
};
#define REPLAY_ENTRIES_MAX (1U << 22)

struct replay_series {
	const char *symbol;                 /* static */
	char location[REPLAY_LOCATION_MAX];
};

struct replay_entry {
	int64_t observed_at_ns, interval_start_ns;
	double value;
	int32_t interval_s;
	uint16_t series;
};

struct replay {
	int64_t from_ns, to_ns;
	struct replay_series series[REPLAY_SERIES_MAX];
	size_t n_series;
	struct replay_entry *entries; /* owned; after replay_seal in order of observed_at, series, interval */
	size_t n, cap, next;
	size_t skipped;               /* empty fields */
	bool sealed;
};

void replay_init(struct replay *r, int64_t from_ns, int64_t to_ns);
void replay_release(struct replay *r);

/*
 * Each reads one whole file; `name` stands in errors. HCP_EPARSE, HCP_ERANGE: a malformed row, with its line; what the
 * same text gave before that row stays. HCP_ENOTFOUND: no such column. HCP_ELIMIT, HCP_ENOMEM.
 */
int replay_add_real_time(struct replay *r, const char *name, struct str text, const char *location, struct err *err)
	MUST_CHECK;
int replay_add_day_ahead(struct replay *r, const char *name, struct str text, const char *location, struct err *err)
	MUST_CHECK;
/* The same from a column of another name. */
int replay_add_day_ahead_column(struct replay *r, const char *name, struct str text, const char *column,
	const char *location, struct err *err) MUST_CHECK;
int replay_add_btc(struct replay *r, const char *name, struct str text, struct err *err) MUST_CHECK;
int replay_add_network(struct replay *r, const char *name, struct str text, struct err *err) MUST_CHECK;
int replay_add_gpu(struct replay *r, const char *name, struct str text, struct err *err) MUST_CHECK;
/* Every column but the time is a series: symbols ancillary, load_forecast_mw, generation_mw, fuel_mw. */
int replay_add_ancillary(struct replay *r, const char *name, struct str text, struct err *err) MUST_CHECK;
int replay_add_load_forecast(struct replay *r, const char *name, struct str text, struct err *err) MUST_CHECK;
int replay_add_generation(struct replay *r, const char *name, struct str text, struct err *err) MUST_CHECK;
/*
 * Demand from a trace of requests (elapsed_s, exec_time_s): device seconds asked for in each hour as a share of the
 * busiest hour's, symbol demand. Two whole weeks from the trace's fifth day on, repeated from from_ns until to_ns; its
 * clock is shifted by an unknown offset, so the hours of the day are true to each other and not to the sun.
 */
int replay_add_requests(struct replay *r, const char *name, struct str text, int64_t from_ns, int64_t to_ns,
	struct err *err) MUST_CHECK;
int replay_add_fuel_mix(struct replay *r, const char *name, struct str text, struct err *err) MUST_CHECK;

/* Sorts, drops rows given twice and everything before from_ns that is not the state at from_ns. Call once. */
void replay_seal(struct replay *r);
/* False at the end. */
bool replay_next(struct replay *r, struct sim_tick *ret);
/* The i-th, whatever was taken before: for several readers at once. */
bool replay_at(const struct replay *r, size_t i, struct sim_tick *ret);
/* Without taking it. */
bool replay_peek(const struct replay *r, struct sim_tick *ret);
void replay_rewind(struct replay *r);

#endif
