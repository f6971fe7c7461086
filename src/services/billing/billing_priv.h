#ifndef HCP_SERVICES_BILLING_PRIV_H
#define HCP_SERVICES_BILLING_PRIV_H

#include "services/billing/billing.h"

enum { BILLING_HOURS_A_BATCH = 8 }; /* more in one batch are stored in between */

struct power_price {
	char location[BILLING_NAME_MAX];
	double usd_mwh;
};

/* The market as last told; what is unknown has the default of econ/market. */
struct billing_market {
	struct power_price power[BILLING_LOCATIONS_MAX]; /* in the order first seen */
	size_t n_power;
	double btc_usd, difficulty, fees_btc, height;    /* height < 0: unknown */
	int64_t market_ns;
};

/*
 * What is left below a micro-dollar, kept so that the ledger's sum is the formula on the sum:
 *   micros += (amount × price + rest) / unit,  rest = the remainder, 0 <= rest < unit
 */
struct rests {
	int64_t energy; /* unit J_PER_MWH */
	int64_t mining; /* unit 1,000,000: millionths of a micro-dollar */
};

/* What a batch adds to an hour of revenue; its deltas nearly always share one. */
struct hour_sum {
	int64_t hour;
	int64_t ai_micros, mining_micros, energy_cost_micros, energy_j, shares_accepted, shares_rejected;
	double hashes, expected_btc;
};

struct billing {
	struct billing_conf conf;
	struct billing_market market;
	struct rests rests, rests_saved;
	struct hour_sum hours[BILLING_HOURS_A_BATCH]; /* not in the table yet; empty between batches */
	size_t n_hours;
};

/* Whole units of amount × price + *rest, leaving the remainder in *rest. Floor; 0 <= *rest < unit before and after. */
int64_t billing_take_whole(int64_t amount, int64_t price, int64_t unit, int64_t *rest);

/* market.c */
int billing_on_market_moved(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int billing_market_load(struct billing *b, struct db *db, struct err *err) MUST_CHECK;
/* Micro-USD per MWh at the facility now. */
int64_t billing_market_power_micros_mwh(const struct billing *b, const char *facility);
/* Expected BTC of one hash at the facility's pool, and USD of one BTC. */
double billing_market_btc_per_hash(const struct billing *b, const char *facility, int64_t now_ns);

/* meter.c */
int billing_on_metered(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int billing_on_allocation(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
/* Once a batch: writes what its events came to. */
int billing_settle(void *state, struct svc_ctx *ctx, struct err *err);
int billing_on_workload(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

/* grid.c */
int billing_on_call_over(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int billing_on_calls(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
/* What the grid paid or took back, in an hour of UTC. */
int billing_book_grid(struct svc_ctx *ctx, int64_t hour, int64_t micros, struct err *err) MUST_CHECK;

/* capacity.c */
int billing_on_held(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int billing_on_ancillary_hours(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
#define BILLING_CAPACITY_SYMBOL "ancillary"
/* Of a tick of that symbol: all that arithmetic here relies on. */
int billing_capacity_check(const Hcp__Tick *t, struct err *err) MUST_CHECK;
/* Keeps the price of its hour, and pays what was held in it and waits for it. */
int billing_capacity_price(struct svc_ctx *ctx, const Hcp__Tick *t, int64_t market_ns, struct err *err) MUST_CHECK;

/* query.c */
int billing_on_usage(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int billing_on_revenue(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
/* Months since the year 0 of an instant, UTC. */
int64_t billing_month_of(int64_t ns);

#endif
