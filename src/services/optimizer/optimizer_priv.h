#ifndef HCP_SERVICES_OPTIMIZER_PRIV_H
#define HCP_SERVICES_OPTIMIZER_PRIV_H

#include "econ/cohorts.h"
#include "econ/history.h"
#include "econ/market.h"
#include "econ/misses.h"
#include "econ/outlook.h"
#include "econ/plan_site.h"
#include "econ/policy.h"
#include "econ/policy_spike.h"
#include "econ/ppo_model.h"
#include "econ/risk.h"
#include "services/optimizer/optimizer.h"

/* The first seven are market quantities of the same number. */
enum symbol {
	SYMBOL_POWER_RT = MARKET_POWER_RT,
	SYMBOL_POWER_DA = MARKET_POWER_DA,
	SYMBOL_BTC_USD = MARKET_BTC_USD,
	SYMBOL_DIFFICULTY = MARKET_DIFFICULTY,
	SYMBOL_FEES = MARKET_FEES_BTC,
	SYMBOL_HEIGHT = MARKET_HEIGHT,
	SYMBOL_GPU_RATE = MARKET_GPU_RATE,
	SYMBOL_SUBSIDY = MARKET_QUANTITY_END, /* for people only: the subsidy follows from the height */
	SYMBOL_ANCILLARY,                     /* what capacity earns: nothing is decided by it, billing pays by it */
	SYMBOL_END,
};

struct series_point {
	int64_t at_ns;
	double value;
};

/* A value whose interval is not over: it may still be corrected. */
struct history_pending {
	int64_t start_ns, step_ns; /* step 0: none */
	double value;
};

/* One symbol at one location: where its newest value lives, and its history. */
struct series {
	int64_t id;
	enum symbol symbol;
	char location[OPTIMIZER_NAME_MAX]; /* settlement point, device class, or "" */
	struct market_value *value;        /* borrowed: inside a market of the same optimizer, or `own` */
	struct market *market;             /* borrowed: the market that its ticks go to; NULL: subsidy, ancillary */
	struct market_value own;           /* SYMBOL_ANCILLARY: of the hour told last */
	uint16_t device_class;             /* SYMBOL_GPU_RATE */
	int64_t received_at_ns;
	int32_t interval_s;                /* of its newest tick; 0: a value of an instant */
	struct series_point *ring;         /* owned; point i is at i % OPTIMIZER_POINTS_MAX */
	size_t cap;
	int64_t n;                         /* points ever */
	struct history_pending pending;
};

/* A settlement point: only the electricity of its market is used. */
struct location {
	char name[OPTIMIZER_NAME_MAX];
	struct market market;
	struct outlook *outlook;     /* owned; NULL: none was trained */
	struct spike_model price[2]; /* from a file; trained here */
	struct misses misses;        /* of forecasts; to_ns 0: none are known */
};

/* Devices of one class at one facility, as resources last said, and what was last decided for them. */
struct capacity {
	char facility[OPTIMIZER_NAME_MAX];
	const struct device_class *cls;
	uint32_t total, healthy, allocated, serving, filling, endpoints;
	int64_t price_micros_h;
	uint32_t target[POLICY_USE_END]; /* last decided; sums to decided_count */
	enum device_power power;         /* that those that mine were told last */
	uint32_t decided_count;
	bool decided;
	struct cohorts since; /* since when devices are in their uses, in market time */
	char plan_id[ID_TEXT_MAX]; /* newest plan of the facility, in its first row; "": none */
	int64_t plan_basis;        /* what it was made of */
	double plan_one_more_usd;  /* of it, for this class */
	double plan_net_usd, plan_shadow_usd_mwh; /* in the facility's first row */
	uint32_t plan_steps;                      /* 0: it could not be made */
};

struct demand {
	const struct device_class *cls;
	uint32_t allocated, waiting;
	uint32_t ends[OPTIMIZER_ENDS_HOURS]; /* that running jobs give back in each hour from ends_at_ns on */
	int64_t ends_at_ns;
};

/* The hour in work of what is wanted, by the class's index (capacity.c). In memory: a restart loses its part of an
 * hour. */
struct wanted {
	int64_t hour_ns, looked_ns, seen_ns; /* seen_ns: of the hour */
	double sum[DEVICE_CLASS_MAX];        /* devices times seconds */
};

/*
 * Market time. Ticks may be history played back at speed, so the age of a value is not wall clock minus observed_at
 * but: newest observed_at of any tick + wall time since that tick came in − observed_at.
 */
struct market_clock {
	int64_t newest_ns;   /* observed_at */
	int64_t received_ns; /* wall clock at which it came in */
	int64_t accepted_ns; /* wall clock of the last accepted tick */
};

struct optimizer {
	struct optimizer_conf conf;
	struct market market;            /* all but electricity */
	struct market_value subsidy;
	struct location *loc[OPTIMIZER_LOCATIONS_MAX]; /* owned, in the order first seen */
	size_t n_loc;
	struct series *series[OPTIMIZER_SERIES_MAX];   /* owned */
	size_t n_series;
	struct market_clock clock;
	struct history history;          /* what policies see of the past */
	struct buf sources;              /* packed Ticks: the state of the feeds' sources as last told; not stored */
	struct capacity *cap;            /* owned, by facility and class; n_cap of cap_room, up to OPTIMIZER_ROWS_MAX */
	size_t n_cap, cap_room;
	struct demand demand[DEVICE_CLASS_MAX];
	size_t n_demand;
	struct wanted wanted;
	double switch_ms[DEVICE_CLASS_MAX][POLICY_USE_END]; /* learned; 0: the catalogue's */
	struct policy policy;
	struct ppo_model *net;           /* owned, [conf.n_sites] */
	struct risk_guard guard;         /* capital 0: there is none */
	struct policy safest;            /* decides while it is up */
	struct buf last;                 /* packed Decision stored last; empty before the first */
	int64_t last_n;                  /* its number */
	size_t last_rows;                /* its targets */
	int64_t stored_wall_ns, stored_market_ns; /* when that was */
	struct plan_solver *planner;     /* owned; NULL before the first plan; holds nothing from one plan to the next */
	struct plan_site plan_site;      /* scratch of it */
	int64_t plan_n;                  /* number of the newest plan */
	int64_t announced_ns;            /* wall clock of the last changed decision */
	bool announced_paid;             /* that one was worth its switches, so it was carried out */
};

/* What a facility pays, resolved. */
struct facility_terms {
	const struct site *site; /* borrowed; NULL: nothing is told of it */
	struct location *loc;    /* borrowed; NULL: no electricity price known, or a tariff */
	double pue, pool_fee;
};

/* ticks.c */
const char *optimizer_symbol_name(enum symbol s);
const char *optimizer_symbol_unit(enum symbol s);
int optimizer_symbol_parse(const char *name, enum symbol *ret) MUST_CHECK;
int optimizer_on_ticks(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int64_t optimizer_market_now_ns(const struct optimizer *o, int64_t now_ns);
/* Makes an empty one in memory; the tables are the caller's. HCP_ELIMIT when there are too many. */
int optimizer_series_add(struct optimizer *o, int64_t id, enum symbol symbol, const char *location, struct series **ret,
	       struct err *err) MUST_CHECK;
struct series *optimizer_series_find(const struct optimizer *o, enum symbol symbol, const char *location);
/* A price of an interval is the newest there is until the next one ends, so its market may call it stale only then. */
void optimizer_series_cadence(struct series *s);
int optimizer_series_push(struct series *s, int64_t at_ns, double value) MUST_CHECK;

/* history.c */
/* A tick that the market took. */
int optimizer_history_take(struct optimizer *o, struct svc_ctx *ctx, struct series *s, const struct market_tick *t,
	struct err *err) MUST_CHECK;
/* Values whose interval is over at market_ns enter. */
int optimizer_history_advance(struct optimizer *o, struct svc_ctx *ctx, int64_t market_ns, struct err *err) MUST_CHECK;
/* The feed starts over: nothing of its future may stay. */
int optimizer_history_clear(struct optimizer *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int optimizer_history_load(struct optimizer *o, struct db *db, struct err *err) MUST_CHECK;

/* present.c */
/* Where the devices of a row are judged to be at now, and what minimum times hold of them. look: nothing is kept. */
int optimizer_present(struct optimizer *o, struct svc_ctx *ctx, struct capacity *cap, int64_t market_ns, bool look,
	struct policy_class *c, struct err *err) MUST_CHECK;
/* The row's devices go to its target at market_ns. */
int optimizer_present_move(struct svc_ctx *ctx, struct capacity *cap, const struct site_group *g, int64_t market_ns,
	struct err *err) MUST_CHECK;
/* Market time starts over: all devices count as long in their uses. */
int optimizer_present_clear(struct optimizer *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int optimizer_present_load(struct optimizer *o, struct db *db, struct err *err) MUST_CHECK;

/* sources.c */
int optimizer_sources_put(struct optimizer *o, const Hcp__Ticks *t, struct err *err) MUST_CHECK;
/* Into the reply: the sources, and for prices that are not told by the first choice the reason. */
int optimizer_sources_show(const struct optimizer *o, struct arena *a, Hcp__Prices *reply) MUST_CHECK;

/* tables.c */
extern const char *const optimizer_schema[];
int optimizer_tables_load(struct optimizer *o, struct db *db, struct err *err) MUST_CHECK;
int optimizer_tables_put(struct svc_ctx *ctx, const char *k, struct str v, struct err *err) MUST_CHECK;

/* fleet.c */
int optimizer_on_capacity(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
/* capacity.c */
/* Looks at what is wanted now; an hour that is over goes into the tables. */
int optimizer_capacity_look(struct optimizer *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int optimizer_on_capacity_forecast(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
/* portfolio.c */
int optimizer_on_portfolio(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int optimizer_on_demand(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
struct capacity *optimizer_fleet_row(struct optimizer *o, const char *facility, const struct device_class *cls);
int optimizer_fleet_put(struct optimizer *o, const Hcp__ClassCapacity *c) MUST_CHECK;
void optimizer_fleet_put_demand(struct optimizer *o, const Hcp__Demand *d);
void optimizer_fleet_targets_from(struct optimizer *o, const Hcp__Decision *d);

/* decide.c */
struct draft_row {
	struct capacity *cap; /* borrowed */
	struct policy_class in;
	struct policy_target target;
	struct decision_class explain;
	double revenue_rate_usd_h; /* what a served hour is sold for */
	double mine_usd_h, target_mine_usd_h; /* what a mining device nets in the mode of now, and in that of the target */
};
/* Of the mode that those that mine are decided to be in. */
struct site_mode optimizer_row_mode(const struct draft_row *r);

struct draft_group {
	const char *facility; /* borrowed */
	struct facility_terms terms;
	struct profit_market pm;
	struct market_reading power;
	size_t first, n; /* rows */
	const struct outlook *outlook; /* borrowed; NULL: no forecast is known */
	const char *no_outlook;        /* in the batch's arena: why not; NULL: the policy needs none */
	double risk_usd_mwh;           /* see caution.c */
	struct policy_view view;       /* of the first part */
	struct policy_plan plan;
};

struct draft {
	const char *trigger, *policy;
	int64_t market_ns, signal_at_ns;
	struct draft_row *row; /* in the batch's arena */
	struct draft_group *group;
	size_t n_rows, n_groups;
	double net_usd_h, before_usd_h, switch_usd, gain_usd;
	int64_t horizon_ns; /* over which gain_usd is judged */
	bool weighed;       /* see struct policy_view */
	bool changed, pays;
	bool retunes; /* some that mine go into another mode */
};

/* Rows and groups of p, whose times are set, in the batch's arena; look: for a question, nothing is kept. */
int optimizer_draft_rows(
	struct optimizer *o, struct svc_ctx *ctx, struct draft *p, bool look, struct err *err) MUST_CHECK;
/* The rows of a group from the first-th on, as many as a policy takes. */
void optimizer_draft_input(const struct optimizer *o, const struct draft *p, const struct draft_group *g, size_t first,
	struct policy_input *in);
/* Nets and switching costs of a class, whose cls and group are set; switch_ms: learned, 0: not. */
void optimizer_fill_nets(const struct optimizer *o, const struct profit_market *pm, double serve_usd_h,
	const double switch_ms[POLICY_USE_END], struct policy_class *c);
struct facility_terms optimizer_terms_of(const struct optimizer *o, const char *facility);
struct profit_market optimizer_terms_market(
	const struct optimizer *o, const struct facility_terms *t, int64_t market_ns, struct market_reading *ret_power);
/* USD an hour of a served device of this class is sold for: the live rate, else the fleet's price, else the list's. */
double optimizer_serve_rate_usd_h(const struct optimizer *o, const struct device_class *cls, int64_t price_micros_h,
			int64_t market_ns);
double optimizer_fill_credit_usd_h(const struct optimizer *o, const struct device_class *cls);
bool optimizer_class_serves(const struct device_class *cls);
/* Is anything known to decide by? Made-up prices must not move a fleet that has just started. */
bool optimizer_is_ready(const struct optimizer *o);
/* Decides now, stores and publishes if there is something to say. Nothing happens before prices and fleet are known. */
int optimizer_decide(
	struct optimizer *o, struct svc_ctx *ctx, const char *trigger, int64_t signal_at_ns, struct err *err) MUST_CHECK;

/* caution.c */
/* How much dearer power is decided by at the facility; 0: nothing to fear, no week of prices known, or a tariff. */
double optimizer_caution_usd_mwh(const struct optimizer *o, const struct draft_group *g, int64_t market_ns);
void optimizer_caution_apply(double usd_mwh, struct policy_input *in);

/* foresight.c */
/* What the policy needs to know of the coming hours of a group; nothing if it needs nothing. */
int optimizer_foresee(
	struct optimizer *o, struct svc_ctx *ctx, struct draft_group *g, int64_t market_ns, struct err *err) MUST_CHECK;
/* What of that and of the models it may be told at that time. */
void optimizer_teach(
	const struct optimizer *o, const struct draft_group *g, int64_t market_ns, struct policy_taught *ret);
/* For the ledger; NULL: no memory. */
Hcp__DecisionForecast *optimizer_foresight(
	const struct optimizer *o, struct arena *a, const struct draft *p, const struct draft_group *g);

/* guard.c */
int optimizer_guard_init(struct optimizer *o, struct err *err) MUST_CHECK;
int optimizer_guard_restore(struct optimizer *o, struct str bytes) MUST_CHECK;
/* What a decision that is over came to. */
int optimizer_guard_take(struct optimizer *o, struct svc_ctx *ctx, const Hcp__Decision *d, struct err *err) MUST_CHECK;
/* The feed starts over, and so does the equity. */
int optimizer_guard_reset(struct optimizer *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
/* NULL: no memory. */
Hcp__DrawdownGuard *optimizer_guard_show(const struct optimizer *o, struct arena *a);

/* models.c */
int optimizer_models_load(struct optimizer *o, struct db *db, struct err *err) MUST_CHECK;
/* The feed starts over: what was learned of its future goes. */
int optimizer_models_forget(struct optimizer *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
void optimizer_models_close(struct optimizer *o);
int optimizer_models_list(
	struct svc_ctx *ctx, struct arena *a, size_t *ret_n, Hcp__MarketModel ***ret, struct err *err) MUST_CHECK;
int optimizer_on_lesson_get(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int optimizer_on_model_put(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

/* ledger.c */
int optimizer_ledger_write(struct optimizer *o, struct svc_ctx *ctx, const struct draft *p, struct err *err) MUST_CHECK;
int optimizer_on_switch_done(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int optimizer_on_recommendation(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int optimizer_on_decisions(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int optimizer_on_decision(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

/* query.c */
int optimizer_on_prices(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int optimizer_on_history(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int optimizer_on_profitability(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
/* The reading of a quantity as a Price with its origin; strings in a. */
Hcp__Price *optimizer_price_of(const struct optimizer *o, struct arena *a, enum symbol symbol, const char *location,
		     const struct market_reading *r);

/* bids.c */
int optimizer_on_bids(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

/* plans.c */
/* A plan for each facility, stored; nothing before prices and fleet are known. */
int optimizer_plans_make(struct optimizer *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int optimizer_plans_load(struct optimizer *o, struct db *db, struct err *err) MUST_CHECK;
void optimizer_plans_close(struct optimizer *o);
int optimizer_on_plan(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int optimizer_on_plans(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

/* plan_risk.c */
/* VaR and CVaR of a plan at the prices [OPTIMIZER_PLAN_STEPS] into m, where a week of prices is known. HCP_ENOMEM. */
int optimizer_plan_risk(const struct optimizer *o, const struct draft_group *g, int64_t market_ns, const double *price,
	const struct plan *plan, int64_t basis, Hcp__Plan *m) MUST_CHECK;

/* outcome.c */
/* What came of the decision stored last, now that the next one is: put into its row. */
int optimizer_outcome_close(
	struct optimizer *o, struct svc_ctx *ctx, const struct draft *p, struct err *err) MUST_CHECK;
/* The longest time that a moved device is expected to take. */
double optimizer_outcome_expected_ms(const struct optimizer *o, const struct draft *p);
/* What the switches of a decision cost if each took ms. */
double optimizer_outcome_switch_usd(const struct optimizer *o, const Hcp__Decision *d, double ms, int64_t market_ns);

/* policy_set.c */
/* A policy that is taught; conf NULL takes the defaults. *ret is released first. */
int optimizer_policy_begin(
	struct policy *ret, const struct policy_vt *vt, const struct policy_conf *conf, struct err *err) MUST_CHECK;
int optimizer_on_policy_get(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int optimizer_on_policy_set(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int optimizer_policy_store(struct optimizer *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int optimizer_policy_restore(struct optimizer *o, struct str bytes, struct err *err) MUST_CHECK;

#endif
