#ifndef HCP_ECON_HISTORY_H
#define HCP_ECON_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * What is known, and nothing else: forecasts and policies read a history, and a value enters it when it becomes known
 * (live: with its tick; in a backtest: when the engine's clock passes that moment). So looking ahead is impossible by
 * construction: what is not known yet is not in memory that a policy can reach. A day-ahead price or a load forecast
 * is known for hours that have not begun; its slots simply reach beyond now.
 *
 * One series a kind and location, on a grid of its own step from its first interval on; an interval is named by its
 * start. A missing value is NAN in its slot, so that look-up is an index.
 *
 *	first_ns     first_ns + step_ns   ...                  + n*step_ns
 *	| 15.12      | NAN                | 15.20              |
 *
 * Owned by one thread.
 */
enum history_kind {
	HISTORY_POWER_RT = 0,      /* USD/MWh, settlement price of the interval; location: settlement point */
	HISTORY_POWER_DA = 1,      /* USD/MWh, day-ahead price of the hour; location: settlement point */
	HISTORY_BTC_USD = 2,       /* close of the interval */
	HISTORY_DIFFICULTY = 3,
	HISTORY_SUBSIDY_BTC = 4,   /* per block */
	HISTORY_FEES_BTC = 5,      /* per block */
	HISTORY_GPU_RATE = 6,      /* USD per device hour; location: device class */
	HISTORY_GENERATION_MW = 7, /* of the whole grid */
	HISTORY_LOAD_FORECAST_MW = 8,
	HISTORY_FUEL_MW = 9,       /* location: wind, solar, gas_simple, … */
	HISTORY_ANCILLARY = 10,    /* USD/MW and hour; location: REGUP, RRS, … */
	HISTORY_DEMAND = 11,       /* devices wanted; location: device class */
	HISTORY_KIND_END = 12,
};

enum {
	HISTORY_SERIES_MAX = 128,
	HISTORY_LOCATION_MAX = 24,      /* bytes with NUL */
	HISTORY_SLOTS_MAX = 1 << 21,    /* of one series; the older half goes when it is full */
	HISTORY_GAP_MAX = 35064,        /* slots that one append may skip: a year of quarter-hours */
};

struct history_series {
	enum history_kind kind;
	char location[HISTORY_LOCATION_MAX]; /* "" where there is only one */
	int64_t step_ns;
	int64_t first_ns; /* start of slot 0 */
	double *slot;     /* owned */
	size_t n, cap;
};

struct history {
	struct history_series *s[HISTORY_SERIES_MAX]; /* owned; in the order first seen; they do not move */
	size_t n;
	uint64_t version; /* grows with each value taken */
};

void history_init(struct history *h);
void history_release(struct history *h);

/*
 * One interval's value. A slot that is still NAN is filled also when it lies before the newest. HCP_EEXIST: the
 * interval has a value. HCP_EINVAL: value not finite, location too long, off the grid of the series. HCP_ERANGE: time
 * before 1970 or before the series began. HCP_ELIMIT: too many series, or a jump of more than HISTORY_GAP_MAX slots.
 * Nothing has changed then.
 */
int history_add(struct history *h, enum history_kind kind, const char *location, int64_t start_ns, int64_t step_ns,
	double value, struct err *err) MUST_CHECK;

/*
 * What began before a moment goes, and with it what is not known at the new beginning; INT64_MAX: everything. An empty
 * series takes the first value's start and step as its own again.
 */
void history_forget(struct history_series *s, int64_t before_ns);
/* As history_find, for the owner. */
struct history_series *history_series_of(struct history *h, enum history_kind kind, const char *location);
/* NULL if nothing of it is known. */
const struct history_series *history_find(const struct history *h, enum history_kind kind, const char *location);
/* Value of the interval that covers t; NAN where it is not known. s may be NULL. */
double history_at(const struct history_series *s, int64_t t_ns);
/*
 * Newest known value of an interval that began at or before t and not more than max_age_ns before it; NAN if there is
 * none. ret_start_ns may be NULL.
 */
double history_last(const struct history_series *s, int64_t t_ns, int64_t max_age_ns, int64_t *ret_start_ns);
/* End of the newest interval with a value; 0 if s is NULL or empty. */
int64_t history_end_ns(const struct history_series *s);

/*
 * When the value of an interval becomes known: at its end; day-ahead prices of energy and ancillary services at 13:30
 * Central of the day before, when ERCOT publishes the results of the day-ahead market; a load forecast at 18:00 Central
 * of that day; what the grid generated an hour after the end.
 */
int64_t history_known_ns(enum history_kind kind, int64_t start_ns, int64_t step_ns);

/* Of some values; all NAN if none of them is known. */
struct history_window {
	double max, min, mean, std;
};
/* n values from the newest on, `step` apart in memory; those not known (NAN) are passed over. */
struct history_window history_window(const double *newest, ptrdiff_t step, size_t n);

const char *history_kind_name(enum history_kind k);

#endif
