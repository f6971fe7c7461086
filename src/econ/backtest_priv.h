#ifndef HCP_ECON_BACKTEST_PRIV_H
#define HCP_ECON_BACKTEST_PRIV_H

#include "econ/backtest.h"
#include "econ/cohorts.h"

/* A call of an offer, within the range. */
struct call {
	size_t offer;
	int64_t start_ns, end_ns;
};

struct backtest {
	struct site site; /* copy, so that terms cannot change under a run */
	int64_t from_ns, step_ns, horizon_ns;
	size_t n, priced;
	double *price_usd_mwh;       /* owned; [n]; NAN with either missing */
	double *hashprice_usd_ths_h; /* owned; [n]; after the pool's fee */
	double *demand;              /* owned; [n]; share of spot demand's height, 0..1 */
	double *offer_usd_mw_h;      /* owned; [offer * n + i]; NAN: no price; -1: not in the offer's hours */
	struct call *call;           /* owned; [BACKTEST_CALLS_MAX], those of an offer one after the other; or NULL */
	size_t n_calls;
	double *spot_usd_h;          /* owned; [group * n + i]; rate of a spot hour */
	uint32_t energised[SITE_GROUPS_MAX];
	bool limited, exact;
};

static inline int64_t backtest_time(const struct backtest *b, size_t i)
{
	return b->from_ns + (int64_t)i * b->step_ns;
}
/* Promised devices of a group, and those that spot demand takes on top at this share of its height. */
void backtest_demand(const struct backtest *b, size_t group, double share, uint32_t *ret_must, uint32_t *ret_want);

struct group_state {
	const struct site_group *g; /* borrowed */
	struct cohorts k;
	size_t mode; /* way of mining of those that mine */
};

/* The running of a site and its books. */
struct run {
	const struct backtest *b;
	struct group_state group[SITE_GROUPS_MAX];
	struct backtest_books books;
	double *daily; /* owned; [n_days] USD of the days that have a price */
	size_t n_days;
	int64_t day;   /* of the last of them, since 1970 */
	int64_t sum_micros, peak_micros;
	double called_mw[SITE_OFFERS_MAX]; /* what of an offer was there when it was last called */
};

int run_init(struct run *r, const struct backtest *b, struct err *err) MUST_CHECK;
void run_release(struct run *r);

void run_count(const struct run *r, size_t group, uint32_t ret[POLICY_USE_END]);
/* Devices a minimum time holds at now, and the age of the newest of each use (INT64_MAX: none or long). */
void run_held(const struct run *r, size_t group, int64_t now_ns, uint32_t ret_held[POLICY_USE_END],
	int64_t ret_age_ns[POLICY_USE_END]);
/* Carries targets out as far as minimum times allow. They sum to the energised devices of the group. */
void run_switch(struct run *r, size_t group, int64_t now_ns, const uint32_t target[POLICY_USE_END]);
/* Devices of the group that mine do so in this mode of the site (0: nominal) from now on. */
void run_mode(struct run *r, size_t group, size_t mode);
/* Books interval i with the devices as they stand. */
void run_book(struct run *r, size_t i);
/* Of it the offers to the grid and their calls (backtest_calls.c). */
void run_book_offers(struct run *r, size_t i);
/* The calls of conf that lie in the range, when its prices are known. HCP_ENOMEM. */
int backtest_calls_init(struct backtest *b, const struct backtest_conf *conf, struct err *err) MUST_CHECK;
/* Sums up and hands the books over. HCP_ENOMEM. */
int run_finish(struct run *r, struct backtest_books *ret, struct err *err) MUST_CHECK;

#endif
