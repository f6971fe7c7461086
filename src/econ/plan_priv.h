#ifndef HCP_ECON_PLAN_PRIV_H
#define HCP_ECON_PLAN_PRIV_H

#include "econ/lp.h"
#include "econ/plan.h"

static inline double plan_hours(const struct plan_problem *p)
{
	return p->step_s / 3600.0;
}
/* USD of a watt at the plug over a step. */
static inline double plan_watt_usd(const struct plan_problem *p, size_t t)
{
	return p->pue * p->price_usd_mwh[t] * plan_hours(p) / 1e6;
}
static inline double plan_revenue_usd_h(const struct plan_mode *m, size_t t)
{
	return m->revenue_by_step ? m->revenue_by_step[t] : m->revenue_usd_h;
}
static inline uint32_t plan_running(const struct plan_class *c)
{
	uint32_t n = 0;
	for (size_t m = 0; m < c->n_modes; m++)
		n += c->now[m];
	return n;
}
static inline double plan_keep_on(const struct plan_class *c, size_t t)
{
	return t < PLAN_HOLD_MAX ? c->keep_on[t] : 0;
}
static inline double plan_keep_off(const struct plan_class *c, size_t t)
{
	return t < PLAN_HOLD_MAX ? c->keep_off[t] : 0;
}
/* Devices in a mode at most. */
static inline double plan_most(const struct plan_class *c, size_t m, size_t t)
{
	const double *most = c->mode[m].most;
	return most && most[t] < c->count ? most[t] : c->count;
}
/* USD per device and step in a mode above being off. */
double plan_mode_usd(const struct plan_problem *p, const struct plan_class *c, size_t m, size_t t);
/* USD per device that starts at the beginning of the step, without what entering its mode costs. */
double plan_start_usd(const struct plan_problem *p, const struct plan_class *c, size_t t);

/* What a row is, for shadow prices and conflicts. */
enum plan_row_kind {
	PLAN_ROW_SITE, PLAN_ROW_FEEDER, PLAN_ROW_CAPACITY, PLAN_ROW_START, PLAN_ROW_ENTER, PLAN_ROW_UP, PLAN_ROW_DOWN,
	PLAN_ROW_SHARE, PLAN_ROW_BATCH, PLAN_ROW_GRID, PLAN_ROW_OFFER, PLAN_ROW_MOST,
};
struct plan_row {
	enum plan_row_kind kind;
	uint16_t index, mode, step;
	double by_count; /* of its upper bound, per device more in the class (and per class for rows of power) */
};

/*
 * Where the variables stand: the first column of each kind, -1 where there is none; column of step t is first + t (a
 * batch's or grid's: first + t - from). x, start, enter and y are devices, by `unit` of their class; load in MW.
 */
struct plan_map {
	int x[PLAN_CLASSES_MAX][PLAN_MODES_MAX], enter[PLAN_CLASSES_MAX][PLAN_MODES_MAX], start[PLAN_CLASSES_MAX];
	int contract[PLAN_CONTRACTS_MAX], batch[PLAN_BATCHES_MAX], grid[PLAN_GRIDS_MAX], offer[PLAN_OFFERS_MAX];
};

struct plan_model {
	struct lp lp;
	struct plan_map map;
	struct plan_row *row; /* owned, [lp.rows] */
	int row_cap;
	double constant;      /* USD that the columns do not tell */
	bool elastic;         /* limits may be broken at a price; costs are only those prices */
	int *slack;           /* owned, [lp.rows]; elastic: the column that loosens it, -1 */
	int slack_cap;
};
void plan_model_release(struct plan_model *m);
/* Classes whose bit is set; shared: with the limits, commitments and offers that classes share. */
void plan_build(struct plan_model *m, const struct plan_problem *p, uint32_t classes, bool shared, bool elastic);
static inline double plan_unit(const struct plan_class *c)
{
	return c->count ? c->count : 1;
}
/* Most MW the site (feeder >= 0: that feeder) can draw, and what it draws with everything off. */
void plan_load_range(const struct plan_problem *p, int feeder, double *ret_off_mw, double *ret_full_mw);

/* Classes whose devices depend on nothing but their own state. */
bool plan_dp_fits(const struct plan_problem *p, size_t cls);
/*
 * Exact: value of every state of a device from each step on, then the best way for the devices of each present state.
 * Writes devices[mode*steps + t], the worth of a device that is off now, and the money of all (above being off).
 */
int plan_dp(const struct plan_problem *p, size_t cls, double *devices, double *ret_device_usd, double *ret_usd,
	struct err *err) MUST_CHECK;

/* Solves the elastic program and writes what conflicts; returns HCP_ENOTFOUND with its text, or another failure. */
int plan_why(const struct plan_problem *p, const struct lp_conf *conf, struct plan_conflict ret[PLAN_CONFLICTS_MAX],
	size_t *ret_n, struct err *err) MUST_CHECK;

#endif
