#ifndef HCP_ECON_MISSES_H
#define HCP_ECON_MISSES_H

#include "econ/forecast.h"
#include "econ/scenario.h"

/*
 * What forecasts of a settlement point missed by: the past that fans of policy "smpc" are made of.
 *
 *	a year before now        origins, each quarter-hour                        now
 *	  | <- prices known ->  f f f f f f f f f f f f f f f f f f f f f f f f f f |
 *	    trains a forecaster     what each of them missed by -> scenario_past
 *
 * The misses are of forecasts that did not know what came. Of a shorter history the later half is looked back on. Pure.
 * Of a year: about 20 s and 2.5 MB.
 */
enum {
	MISSES_CAP = 2 * 35064,      /* two years of quarter-hours */
	MISSES_BYTES_MAX = 8 << 20,  /* stored */
	MISSES_DAYS_MIN = 2 * 28 + 1, /* of history; a forecaster needs 28 days */
};

/* False: a price of the hour before t is not known. Reads nothing that began at t or later. */
bool misses_key(const struct history_series *h, int64_t t_ns, double mean, struct scenario_key *ret);
/* The miss of a forecast made at t for SCENARIO_STEPS quarter-hours, if all its prices are known by now. */
int misses_add(struct scenario_past *p, const struct history_series *h, int64_t t_ns, const struct scenario_key *key,
	const double *mean, struct err *err) MUST_CHECK;
/*
 * Adds those of a year. HCP_EAGAIN: less than 28 days were known before; HCP_ECANCELED. stop: borrowed; NULL: never.
 * What was added until a failure stays.
 */
int misses_look_back(struct scenario_past *p, const struct history *h, const char *point, int64_t now_ns,
	const struct forecast_stop *stop, struct err *err) MUST_CHECK;

/* The misses of a settlement point, to be stored. */
struct misses {
	char point[HISTORY_LOCATION_MAX];
	int64_t to_ns; /* what it knows prices of; 0: none */
	struct scenario_past past; /* owned */
};
/* The misses of the last year; as misses_look_back. */
int misses_learn(struct misses *ret, const struct history *h, const char *point, int64_t now_ns,
	const struct forecast_stop *stop, struct err *err) MUST_CHECK;
void misses_release(struct misses *m);

/*
 * Appended to out, oldest first:
 *	| "HCPM" | crc32c u32 | version u32 | n u32 | to_ns i64 | point 24 | n times SCENARIO_KEYS + SCENARIO_STEPS f32 |
 * crc32c covers everything after it; numbers are little-endian. load checks all of it and then swaps it in:
 * HCP_ECORRUPT leaves m as it was.
 */
int misses_save(const struct misses *m, struct buf *out, struct err *err) MUST_CHECK;
int misses_load(struct misses *m, struct str bytes, struct err *err) MUST_CHECK;

#endif
