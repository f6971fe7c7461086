#ifndef HCP_ECON_PLAN_H
#define HCP_ECON_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * What every class of devices of a site does in each of the next steps (ECON-3): the best plan, as a linear program.
 *
 *	maximise    work sold + contracts + batches + grid - energy - wear - switching - penalties          [USD]
 *	subject to  devices, feeders, site limit, ramps, minimum times, demand, deadlines, commitments
 *
 * Quantities are continuous. With thousands of devices of a class the error of rounding is far below that of any
 * price; plan_round makes whole devices of a step without breaking a limit.
 *
 * A device is in one run mode or off. Its start costs restart_usd (wear, labour) and restart_s seconds of its first
 * mode's work, less the energy it then does not draw, where that is a gain at all; the power limits reckon a starting
 * device with its mode's full watts. "Start" is from off; "enter" is into a mode, from off or from another mode.
 *
 * While no limit binds that classes share, each class is planned by itself: an exact dynamic program where a device's
 * money depends on its own state alone, a small LP otherwise. If the sum breaks a shared limit, the program of the
 * whole site is solved. All give the same optimum, but for one case: of a class with several modes and minimum times
 * the LP knows only how many devices started when, not in which mode they are now, and may exchange them to save what
 * entering a mode costs; it is then an upper bound. plan.method says which it was.
 *
 * Power and money: watts at the plug; times PUE at the meter. Limits are at the meter. Steps have one length.
 * Source of the minimum-time rows: Rajan, Takriti, "Minimum up/down polytopes of the unit commitment problem with
 * start-up costs" (IBM RC23628, 2005): they are the convex hull, so a class's LP has whole-device optima.
 */
enum {
	PLAN_STEPS_MAX = 672, /* a week of quarter-hours */
	PLAN_CLASSES_MAX = 32,
	PLAN_MODES_MAX = 4,
	PLAN_FEEDERS_MAX = 16,
	PLAN_CONTRACTS_MAX = 32,
	PLAN_BATCHES_MAX = 32,
	PLAN_GRIDS_MAX = 32,
	PLAN_OFFERS_MAX = 8,
	PLAN_HOLD_MAX = 96, /* steps of a minimum time */
	PLAN_DEVICES_MAX = 10000000,
};

/* Most of any watts, dollars, hours or kW in a problem: beyond it no site is. Limits of power may be infinite. */
#define PLAN_VALUE_MAX 1e9

/* A way of running; the first is the one that devices start in. */
struct plan_mode {
	const char *name;              /* for people; NULL: its number */
	double watts;                  /* per device at the plug; >= the class's off_w and restart_w */
	double revenue_usd_h;          /* per device: hashprice*TH/s, or the spot rate times utilisation */
	const double
		*revenue_by_step; /* borrowed, [steps] USD/h, in place of revenue_usd_h; NULL: the same in every step */
	double wear_usd_h;             /* >= 0 */
	double enter_usd;              /* >= 0, per device that comes into the mode: switching cost */
	const double *most;            /* borrowed, [steps] devices that find work in it; NULL: all */
	bool sheds;                    /* may be offered to the grid as load that can be dropped */
};

struct plan_class {
	const char *name; /* borrowed */
	uint32_t count;
	size_t n_modes; /* 1..PLAN_MODES_MAX */
	struct plan_mode mode[PLAN_MODES_MAX];
	double off_w;       /* W of a device that is off (asleep, idle) */
	double restart_usd; /* >= 0, per start */
	double restart_s;   /* without work after a start */
	double restart_w;   /* drawn then */
	uint32_t ramp;      /* most starts, and most stops, of a step; 0: no limit */
	uint32_t min_up, min_down; /* steps; 0 and 1: none; <= PLAN_HOLD_MAX */
	uint32_t now[PLAN_MODES_MAX]; /* devices in each mode; the rest of count is off */
	/* Devices that minimum times hold on (off) through step t, from starts (stops) before now; never rising. */
	uint32_t keep_on[PLAN_HOLD_MAX], keep_off[PLAN_HOLD_MAX];
	int feeder; /* -1: none */
};

/* Promised devices: what customers' P1 work takes of a mode, on top of nothing: it is part of the mode's devices. */
struct plan_contract {
	const char *name;
	size_t cls, mode;
	const double *devices; /* borrowed, [steps] */
	double pay_usd_h;      /* per device hour served, in place of the mode's revenue */
	double miss_usd_h;     /* penalty per device hour not served */
	bool hard;             /* must be served whatever it costs */
};

/* Work with a deadline, done by devices of a mode in place of what that mode else earns. */
struct plan_batch {
	const char *name;
	size_t cls, mode;
	double device_hours;   /* > 0 */
	size_t from, until;    /* may run in steps [from, until) */
	double pay_usd_h;      /* per device hour done */
	double miss_usd_h;     /* penalty per device hour not done by then */
	bool hard;
};

/* A promise to the grid: the meter shows at most baseline - curtail in steps [from, until). */
struct plan_grid {
	const char *name;
	size_t from, until;
	double baseline_kw, curtail_kw; /* 0 <= curtail <= baseline */
	double pay_usd_kwh;             /* per kWh of curtail_kw that is kept to */
	double miss_usd_kwh;            /* penalty per kWh above that; each such kWh also takes its pay back */
	bool hard;
};

/* Ancillary service: running load that may be dropped, offered as capacity. Load is offered once, in one product. */
struct plan_offer {
	const char *name;
	const double *pay_usd_mw_h; /* borrowed, [steps] per MW and hour offered */
	double most_mw;
};

struct plan_problem {
	size_t steps;
	double step_s;
	const double *price_usd_mwh; /* borrowed, [steps]; may be negative */
	double pue;                  /* 1..3 */
	double site_limit_w;         /* at the meter; INFINITY: none */
	double base_w;               /* at the meter; always drawn (cooling, network) */
	size_t n_feeders, n_classes, n_contracts, n_batches, n_grids, n_offers;
	double feeder_limit_w[PLAN_FEEDERS_MAX]; /* at the meter */
	struct plan_class cls[PLAN_CLASSES_MAX];
	struct plan_contract contract[PLAN_CONTRACTS_MAX];
	struct plan_batch batch[PLAN_BATCHES_MAX];
	struct plan_grid grid[PLAN_GRIDS_MAX];
	struct plan_offer offer[PLAN_OFFERS_MAX];
};

/* What a schedule earns, USD over the horizon. */
struct plan_money {
	double revenue; /* of modes, contracts and batches */
	double grid;    /* commitments and offers */
	double energy, wear, switching, penalty;
	double total; /* revenue + grid - energy - wear - switching - penalty */
};

enum plan_method { PLAN_BY_CLASS = 0, PLAN_WHOLE = 1 };

/*
 * A plan. Arrays are [n][steps], one after the other, in one owned block. Shadow prices: what one more unit of a limit
 * would add to money.total, per step or over the horizon.
 */
struct plan {
	size_t steps, n_classes;
	double *devices;      /* [class][mode][step], see plan_devices */
	double *contract;     /* devices serving it */
	double *batch;        /* devices on it */
	double *grid;         /* kW short of it */
	double *offer;        /* MW offered */
	double *load_w;       /* [1]: at the meter */
	double *site_usd_mwh; /* [1]: of site power; >= 0 */
	double *feeder_usd_mwh;
	double *contract_usd_h; /* of one more device promised; negative: the promise costs more than it pays */
	double batch_usd_h[PLAN_BATCHES_MAX];  /* of one more device hour asked for */
	double class_usd[PLAN_CLASSES_MAX];    /* of one more device, off now, over the horizon */
	struct plan_money money;
	enum plan_method method;
	int iterations; /* of the simplex, all programs together */
};
void plan_release(struct plan *p);
static inline double *plan_devices(const struct plan *p, size_t cls, size_t mode)
{
	return p->devices + (cls * PLAN_MODES_MAX + mode) * p->steps;
}

/* Which promises and limits cannot be kept together, found by loosening all of them at a price. */
enum plan_conflict_kind {
	PLAN_C_SITE = 0,     /* amount: kW above the site's limit */
	PLAN_C_FEEDER = 1,   /* kW above it */
	PLAN_C_CONTRACT = 2, /* devices short */
	PLAN_C_BATCH = 3,    /* device hours short */
	PLAN_C_GRID = 4,     /* kW short */
	PLAN_C_DEMAND = 5,   /* devices in a mode beyond its `most` */
	PLAN_C_RAMP = 6,     /* takes part: broken by nobody, but the others could be kept without it */
	PLAN_C_HOLD = 7,     /* minimum times, the same */
};
struct plan_conflict {
	enum plan_conflict_kind kind;
	size_t index, mode;   /* feeder, contract, batch, grid, class (and mode) */
	size_t first, last;   /* steps */
	double amount;        /* largest of a step, in the unit of the kind; 0: takes part only */
};
enum { PLAN_CONFLICTS_MAX = 64 };

struct plan_conf {
	int iterations_max; /* of each program; 0: 200,000. The same on every machine */
	int time_max_ms;    /* of each program; 0: none. Reads GLPK's clock, so not for replays */
	int memory_max_mib; /* of GLPK; 0: 256 */
	bool whole;         /* always solve the whole site's program: for tests and benches */
};

struct plan_solver; /* bases of the last solution, memory to reuse; belongs to one thread (see lp.h) */
int plan_solver_new(const struct plan_conf *conf, struct plan_solver **ret, struct err *err) MUST_CHECK;
void plan_solver_free(struct plan_solver *s);
/* Forgets what earlier solutions left, so that the next begins cold. */
void plan_solver_clear(struct plan_solver *s);

/*
 * HCP_EINVAL, HCP_ERANGE: a field of the problem is senseless, err->field is its path ("cls[2].mode[0].watts").
 * HCP_ENOTFOUND: no plan keeps everything; the text names what conflicts, plan_conflicts tells it all.
 * HCP_ETIMEOUT: a limit of the conf; HCP_ENOMEM; HCP_EINTERNAL. *ret is written on success alone. Deterministic: the
 * same problems in the same order give the same plans.
 */
int plan_solve(struct plan_solver *s, const struct plan_problem *p, struct plan *ret, struct err *err) MUST_CHECK;
/* Of the last plan_solve, if it failed with HCP_ENOTFOUND; 0 otherwise. Borrowed until the next. */
size_t plan_conflicts(const struct plan_solver *s, const struct plan_conflict **ret);
/* "contract chat is short of up to 40 devices in steps 3-7". */
void plan_conflict_text(const struct plan_problem *p, const struct plan_conflict *c, char *ret, size_t n);

int plan_problem_validate(const struct plan_problem *p, struct err *err) MUST_CHECK;
/* Money of the quantities in a plan, by the definitions above and not by the program's coefficients. */
void plan_value(const struct plan_problem *p, const struct plan *plan, struct plan_money *ret);

/*
 * Whole devices of one step. Limits, counts and `most` hold; so do hard contracts, and in step 0 ramps and minimum
 * times against `now`. Rounded down, then up where the value of the fraction is greatest and limits allow.
 */
void plan_round(const struct plan_problem *p, const struct plan *plan, size_t step,
	uint32_t ret[PLAN_CLASSES_MAX][PLAN_MODES_MAX]);

/* A part of a class: a row, a container, a delivery, with its own measured efficiency. */
struct plan_part {
	size_t cls;
	uint32_t count;
	double usd_per_mwh; /* what its work earns by energy drawn: the best run first, the worst are off first */
	uint32_t run[PLAN_MODES_MAX]; /* out */
};
/* Parts of a class must add up to at least what it runs, else HCP_ERANGE and nothing is written. */
int plan_split(const uint32_t run[PLAN_CLASSES_MAX][PLAN_MODES_MAX], struct plan_part *parts, size_t n,
	struct err *err) MUST_CHECK;

#endif
