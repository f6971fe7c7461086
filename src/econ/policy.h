#ifndef HCP_ECON_POLICY_H
#define HCP_ECON_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "model/device_class.h"

/*
 * A policy decides how many devices of each class mine, serve or idle (curtail). It is pure: the same state and input
 * give the same output, so a decision can be replayed and explained. Learned and LP policies join behind this vtable.
 */
enum policy_use {
	POLICY_MINE = 0,
	POLICY_SERVE = 1,
	POLICY_IDLE = 2, /* curtailed */
	POLICY_USE_END = 3,
};

enum {
	POLICY_CLASSES_MAX = 32,
	POLICY_STATE_MAX = 2 << 20, /* bytes of a saved state, with a trained model in it */
	POLICY_NAME_MAX = 32,
	POLICY_MODES_MAX = 3, /* ways of mining of a class */
};

#define POLICY_HYSTERESIS 0.10
#define POLICY_MODE_MARGIN 0.01

struct forecast_point;
struct history;
struct ppo_model;
struct scenario_past;
struct site;
struct site_group;
struct spike_model;

struct policy_class {
	const struct device_class *cls;          /* borrowed */
	const struct site_group *group;          /* borrowed; what starting costs and minimum times; NULL: not known */
	uint32_t count;                          /* healthy devices under control */
	uint32_t must_serve;                     /* contracted P1 demand, <= count unless short of devices */
	uint32_t want_serve;                     /* sellable demand on top, spot */
	uint32_t now[POLICY_USE_END];            /* present regime; sums to count */
	bool can[POLICY_USE_END];                /* IDLE is always possible */
	double net_usd_h[POLICY_USE_END];        /* per device, from profit_calc / profit_idle */
	/*
	 * The same by parts, so that a policy can price other hours: net = gross - mwh_h * price, for any price.
	 * gross: revenue less wear; mwh_h: drawn at the meter, with PUE.
	 */
	double gross_usd_h[POLICY_USE_END];
	double mwh_h[POLICY_USE_END];
	/*
	 * Ways of mining (power modes of the site's group), mode 0 the nominal one; n_modes 0 and 1: only that. The rows of
	 * POLICY_MINE are those of `mode`, the best at the present price; policy_reprice finds it for another.
	 */
	size_t n_modes, mode;
	size_t now_mode; /* that those that mine are in */
	double mode_gross_usd_h[POLICY_MODES_MAX], mode_mwh_h[POLICY_MODES_MAX];
	double switch_cost_usd[POLICY_USE_END];  /* per device, to get into the use (lost work, wear, energy) */
	/*
	 * Devices that a minimum time still holds in their present use (a target below that is not carried out), and for
	 * how long the newest of each use have been in it; INT64_MAX: long, or none.
	 */
	uint32_t held[POLICY_USE_END];
	int64_t age_ns[POLICY_USE_END];
	int64_t boot_ns; /* of a start, as learned; 0: the group's */
};

/*
 * What was learned elsewhere, for a policy that may not train while it decides: whoever decides live has a tutor, and
 * hands in what fits the site and knows nothing of later than now. All borrowed.
 */
struct policy_taught {
	const struct forecast_point *price; /* from the quarter-hour that covers now on; NULL: no forecast */
	size_t n_price;
	const struct spike_model *spike; /* of the site's point; NULL: none */
	const struct ppo_model *ppo;     /* of the site; NULL: none */
	struct scenario_past *past;      /* what forecasts of the point missed by; its scratch is used; NULL: none */
};

struct policy_input {
	int64_t now_ns;
	int64_t horizon_ns;            /* how long the present rows are expected to hold; > 0 */
	double electricity_usd_mwh;
	double risk_usd_mwh;           /* what power counts more for what may go wrong; in the rows of c already */
	double btc_usd, difficulty;    /* for the record */
	double hashprice_usd_ths_h;    /* after the pool's fee; 0: not told */
	int64_t step_ns;               /* until the next decision; 0: not told */
	const struct site *site;       /* borrowed; NULL: not known */
	const struct history *history; /* borrowed; all that is known at now_ns and nothing else; NULL: not kept */
	const struct policy_taught *taught; /* borrowed; NULL: the policy learns by itself, as in backtests */
	size_t n;
	struct policy_class c[POLICY_CLASSES_MAX];
};

enum policy_reason {
	POLICY_R_KEEP = 0,            /* present use is the best */
	POLICY_R_BEST = 1,            /* another use earns more, beyond margin and cost: switched */
	POLICY_R_WITHIN_MARGIN = 2,   /* another use earns more, but less than the hysteresis: kept */
	POLICY_R_SWITCH_COST = 3,     /* another use earns more, but not its switching cost within the horizon: kept */
	POLICY_R_CONTRACT = 4,        /* must serve */
	POLICY_R_SHORT = 5,           /* fewer devices than the contract asks for */
	POLICY_R_STRIKE = 6,          /* price above the strike: curtailed */
	POLICY_R_BELOW_STRIKE = 7,    /* price at or below the strike: runs */
	POLICY_R_FIXED = 8,           /* the policy always does this */
	POLICY_R_IMPOSSIBLE = 9,      /* the class cannot do it */
	POLICY_R_WORSE = 10,          /* earns less than the chosen use */
	POLICY_R_NO_DEMAND = 11,      /* nothing (more) to serve */
	POLICY_R_PLAN = 12,           /* what a plan of the coming hours asks for, whatever the present hour says */
	POLICY_REASON_END = 13,
};

/* One class of a decision. */
struct policy_target {
	uint32_t target[POLICY_USE_END]; /* sums to count */
	enum policy_use chosen;          /* of the devices beyond the contract */
	enum policy_reason reason;
	size_t mode; /* way of mining of those that mine; 0: the nominal one */
};

/* Why: everything that went in, and every alternative with what it would have earned. */
struct policy_option {
	enum policy_use use;
	bool chosen;
	enum policy_reason reason;
	double net_usd_h;        /* per device */
	double switch_usd;       /* per device, from the present use */
	double gain_usd;         /* over the horizon against the present use, before switching cost */
	double needed_usd;       /* what the gain had to exceed: hysteresis + switching cost */
};

struct decision_class {
	uint32_t count, must_serve, want_serve;
	struct policy_option option[POLICY_USE_END];
	double net_usd_h;        /* of the whole class after the decision */
	double before_usd_h;     /* of the whole class if nothing were changed */
	double one_more_usd;     /* what one more device would add to plan.net_usd */
};

/*
 * The price of the present step that a policy reckoned with, and what gave it. Where it looks further than the rows of
 * the present hour it states what its switches gain over its horizon, before their cost; else the rows say so.
 */
struct policy_view {
	double usd_mwh;
	const char *by; /* static: "last_price", "price_model", "forecast", "day_before", "fan", "net", "worst_likely", or
					   two of them with a + */
	bool weighed;   /* it has weighed what starts cost, without a number for it: what it decides is carried out */
	bool stated;
	double gain_usd;   /* of all switches that it wanted */
	uint32_t switched; /* devices that it wanted to switch */
};

/* The plan that a policy made, if it made one. */
struct policy_plan {
	size_t steps;                 /* 0: none */
	double net_usd, site_usd_mwh; /* over the steps; shadow price of the first */
};

struct decision_explain {
	char policy[POLICY_NAME_MAX];
	int64_t now_ns;
	int64_t horizon_ns; /* over which switches are judged */
	struct policy_view view;
	struct policy_plan plan;
	double gain_usd; /* that the switches gain over horizon_ns, before their cost */
	double electricity_usd_mwh, btc_usd, difficulty;
	double net_usd_h, before_usd_h, switch_usd;
	uint32_t switched;       /* devices whose use changes */
	size_t n;
	struct decision_class c[POLICY_CLASSES_MAX];
};

struct policy_output {
	size_t n;
	struct policy_target c[POLICY_CLASSES_MAX];
	struct decision_explain explain;
};

/* Settings that the built-in policies read; policy_conf_default fills them. */
struct policy_conf {
	double strike_usd_mwh;  /* strike: curtail above, risk counted in; 0 < strike; default 60 */
	double hysteresis;      /* threshold: 0.10 */
	struct str model;       /* stochastic: a stored model (policy_spike.h), read by policy_init alone; empty: none */
	struct str ppo;         /* ppo: its weights (ppo_model.h), read by policy_init alone; empty: HCP_ENOTFOUND */
	struct str ppo_file;    /* where they come from, for people */
	bool taught;            /* models come with every input; those above are not needed */
};

struct policy_vt;

/* Embedded by the owner. State of built-in policies is in `mem`; a learned policy may own more behind `priv`. */
struct policy {
	const struct policy_vt *vt; /* static */
	struct policy_conf conf;
	uint64_t decisions;
	void *priv; /* owned by the policy; NULL for the built-in ones */
};

/* What a policy can be taught. */
enum { POLICY_NEEDS_FORECAST = 1, POLICY_NEEDS_PRICE_MODEL = 2, POLICY_NEEDS_NET = 4, POLICY_NEEDS_MISSES = 8 };

struct policy_vt {
	const char *name;
	const char *about;
	unsigned needs;       /* POLICY_NEEDS_* */
	int (*init)(struct policy *p, const struct policy_conf *conf, struct err *err);
	void (*release)(struct policy *p);
	int (*decide)(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err);
	/* Whole state as bytes, appended; load checks and swaps in, HCP_ECORRUPT leaves p as it was. */
	int (*save)(const struct policy *p, struct buf *out, struct err *err);
	int (*load)(struct policy *p, struct str bytes, struct err *err);
	void (*describe)(const struct policy *p, struct buf *out); /* may be NULL */
};

void policy_conf_default(struct policy_conf *c);
/*
 * "always_mine", "always_serve", "strike", "threshold", "last_price", "stochastic", "mpc", "smpc", "ppo", "safest";
 * NULL if unknown. A new one is a row of the table in policy.c; the backtest then has it too.
 */
const struct policy_vt *policy_find(struct str name);
const struct policy_vt *policy_at(size_t i); /* NULL at the end */

/* conf NULL takes the defaults. */
int policy_init(
	struct policy *p, const struct policy_vt *vt, const struct policy_conf *conf, struct err *err) MUST_CHECK;
void policy_release(struct policy *p);
/* Validates the input (exact field), decides, checks the output. On failure *ret is untouched. */
int policy_decide(
	struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err) MUST_CHECK;
/* The rows of a class at another price of electricity, with the way of mining that earns most there. */
void policy_reprice(struct policy_class *c, double usd_mwh);
/* Of a device that mines in that mode. */
double policy_mode_net_usd_h(const struct policy_class *c, size_t mode, double usd_mwh);
/*
 * The mode that those that mine are to be in: not another one for less than POLICY_MODE_MARGIN of what they earn, or
 * small moves of a price would have the fleet retune all the time; that of now where none mines.
 */
void policy_settle_mode(const struct policy_class *c, double usd_mwh, struct policy_target *t);
/* The totals of a decision follow from its targets; again after they were cut by minimum times. */
void policy_sum_up(const struct policy_input *in, struct policy_output *out);
int policy_save(const struct policy *p, struct buf *out, struct err *err) MUST_CHECK;
int policy_load(struct policy *p, struct str bytes, struct err *err) MUST_CHECK;
/* One line on what its decisions have stood on, appended; nothing for policies that need not say. */
void policy_describe(const struct policy *p, struct buf *out);
int policy_input_validate(const struct policy_input *in, struct err *err) MUST_CHECK;

const char *policy_use_name(enum policy_use u);
const char *policy_reason_name(enum policy_reason r);
/* One sentence for people. */
const char *policy_reason_text(enum policy_reason r);

#endif
