#ifndef HCP_ECON_SCENARIO_H
#define HCP_ECON_SCENARIO_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * What a forecast price may turn out to be: a fan of paths, made of what past forecasts missed by in moments
 * like this one.
 *
 *	past origins:  key | what was missed at step 0, 1, …   ─ nearest keys ─▶  paths = forecast + misses
 *
 * A path takes the whole of one past miss (a block as long as the horizon), so spikes keep their height, their length
 * and what follows them. Misses are kept in asinh(price / 25 USD), as the forecaster sees prices: near nothing they
 * are dollars, far out they are ratios. The nearest keys are past moments of like price, like expectation and like
 * time of day.
 *
 * Pure and without chance: the same origins in the same order give the same fan. One thread owns an object.
 */
enum {
	SCENARIO_KEYS = 6,
	SCENARIO_STEPS = 12,      /* three hours of quarter-hours */
	SCENARIO_PATHS_MAX = 512, /* of a fan */
	SCENARIO_CAP_MAX = 1 << 18,
	SCENARIO_GROUPS = 8,
	SCENARIO_MODES_MAX = 3,
};

/* What makes two moments alike: each in units in which 1 is a difference that matters. */
struct scenario_key {
	float v[SCENARIO_KEYS];
};
/*
 * last, before: prices of the two intervals before, USD/MWh; high: the highest of the last four; mean: what is forecast
 * for the interval that begins now; day_share: how much of the local day is gone, 0..1.
 */
struct scenario_key scenario_key_of(double last, double before, double high, double mean, double day_share);

/* Misses of past forecasts by the key of their moment; the oldest goes when `cap` is reached. */
struct scenario_past {
	size_t cap, n, next;
	float *key;  /* owned; [key][cap] */
	float *miss; /* owned; [cap][SCENARIO_STEPS] */
	float *far;  /* owned; [cap]; scratch: distances */
};
int scenario_past_init(struct scenario_past *p, size_t cap, struct err *err) MUST_CHECK;
void scenario_past_release(struct scenario_past *p);
/* forecast, came: [SCENARIO_STEPS] USD/MWh. HCP_EINVAL: one is not finite; nothing has changed then. */
int scenario_past_add(struct scenario_past *p, const struct scenario_key *key, const double *forecast,
	const double *came, struct err *err) MUST_CHECK;

struct scenario_fan {
	size_t paths;
	double price[SCENARIO_PATHS_MAX][SCENARIO_STEPS]; /* USD/MWh; all paths are as likely */
};
/*
 * `paths` paths around `forecast`, of the past moments nearest to `key`; one path, the forecast, where
 * fewer moments than that are known. Prices are cut to [lo, hi]. HCP_EINVAL: paths.
 */
int scenario_fan_make(struct scenario_past *p, const struct scenario_key *key, const double *forecast, size_t paths,
	double lo, double hi, struct scenario_fan *ret, struct err *err) MUST_CHECK;
/* Mean of a step over the paths. */
double scenario_fan_mean(const struct scenario_fan *f, size_t step);
/* Moves all paths alike until the first step's mean is first_usd_mwh; of that move the share `fade` is left a step on.
 */
void scenario_fan_move(struct scenario_fan *f, double first_usd_mwh, double fade);

/*
 * When one miner should run, over a fan: an exact program over running, standing and held by a minimum time. The coming
 * step is decided once for all paths; a later step k by what is known then, taken to be the price of step k-1: paths
 * are put into groups of like price there, and decide alike within a group. So no path decides by its own coming price.
 *
 *	step 0 (all paths alike)   step 1 (groups by price 0)   step 2 (groups by price 1) …
 */
struct scenario_miner {
	size_t modes; /* ways of running, 1..SCENARIO_MODES_MAX; changed at no cost; the first is started in */
	double gross_usd[SCENARIO_MODES_MAX], mwh[SCENARIO_MODES_MAX]; /* of a running step, at the meter */
	double idle_mwh;                                               /* of a standing one */
	double start_usd, start_mwh; /* a start costs start_usd - start_mwh * price: work lost and wear, less energy */
	size_t min_up, min_down;     /* steps; 0 and 1: none */
};
struct scenario_worth {
	double run_usd, stop_usd;   /* of a running device, over the horizon: on, or off now */
	double start_usd, stay_usd; /* of a standing one */
	size_t mode;                /* that a running one is best in now */
};
/* The groups of a fan, for all miners that are decided by it. */
struct scenario_groups {
	uint16_t of[SCENARIO_STEPS][SCENARIO_PATHS_MAX]; /* step, path -> group */
};
void scenario_groups_make(const struct scenario_fan *f, struct scenario_groups *ret);
void scenario_decide(const struct scenario_fan *f, const struct scenario_groups *g, const struct scenario_miner *m,
	struct scenario_worth *ret);

#endif
