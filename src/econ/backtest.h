#ifndef HCP_ECON_BACKTEST_H
#define HCP_ECON_BACKTEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "econ/history.h"
#include "econ/policy.h"
#include "econ/risk.h"
#include "model/site.h"

/*
 * What a policy would have earned (ECON-7). Pure: recorded values come as ticks in the order in which they became
 * known.
 *
 *	ticks ──▶ truth: price and hash price of every interval, in here alone ──────────────▶ books
 *	   └────▶ those known at the interval's start ─▶ market, history ─▶ policy ─▶ targets ──┘
 *
 * Intervals have one length and begin at whole multiples of it. At an interval's start the policy sees what was known
 * then and nothing else; its own price is known at its end. Devices start in their first use: miners mine, since long.
 *
 *	mining: revenue = TH/s * hash price * seconds at full rate;  energy = joules at the plug * PUE * price;
 *	        wear per hour under power; start wear per start
 *	hash price of an interval: BTC close of its hour, difficulty, subsidy and fees of its day, less the pool's fee
 *
 * A BTC close or network day that is missing is that before it, for at most BACKTEST_CARRY_NS; an interval without a
 * price, or without a hash price, is not booked by anyone. Money is summed in integer micro-dollars.
 *
 * Groups that serve are booked apart ("ai"): contracts are paid around the clock, spot by what is served of the demand;
 * fractions are of the mining side.
 */
#define BACKTEST_STEP_NS (INT64_C(900) * 1000000000)
#define BACKTEST_CARRY_NS (INT64_C(3) * 86400 * 1000000000)

enum { BACKTEST_TERM_DAYS = 30, BACKTEST_BLOCK_DAYS = 5, BACKTEST_CASES = 2000 }; /* of a bootstrapped month */
enum { BACKTEST_INTERVALS_MAX = 1 << 20, BACKTEST_MONTHS_MAX = 400, BACKTEST_CALLS_MAX = 4096 };
#define BACKTEST_SCARCE 0.01

struct backtest_tick {
	enum history_kind kind;
	const char *location; /* "" where there is only one; borrowed until the next call */
	double value;
	int64_t known_ns, start_ns, step_ns;
};

/* The i-th tick in the order of known_ns; false after the last. Called from several threads at once. */
struct backtest_feed {
	const void *ctx;
	bool (*at)(const void *ctx, size_t i, struct backtest_tick *ret);
};

/* The grid calls the load that is held for a service. */
struct backtest_call {
	char service[SITE_NAME_MAX];
	int64_t start_ns, end_ns;
};

struct backtest_conf {
	const struct site *site; /* borrowed, valid, outlives the backtest */
	int64_t from_ns, to_ns;  /* [from, to) */
	int64_t horizon_ns;      /* what policies are told as policy_input.horizon_ns */
	const struct backtest_call
		*calls; /* borrowed for backtest_new; those out of the range or of no offer are left out */
	size_t n_calls;
	/* More calls as often as model/ancillary.h assumes, at quarter-hours drawn among the dearest BACKTEST_SCARCE. */
	bool assume_calls;
	uint64_t calls_seed;
};

struct backtest; /* the truth of a range; const after backtest_new, so runs may share it between threads */

/* HCP_EINVAL, HCP_ERANGE with the field; HCP_ENOTFOUND: no interval of the range has a price and a hash price. */
int backtest_new(const struct backtest_conf *conf, const struct backtest_feed *feed, struct backtest **ret,
	struct err *err) MUST_CHECK;
void backtest_free(struct backtest *b);

struct backtest_coverage {
	size_t intervals, priced;            /* priced: those that are booked */
	int64_t first_ns, last_ns;           /* start of the first and last of them */
	bool limited;                        /* power limits keep devices from running at once */
	uint32_t energised[SITE_GROUPS_MAX]; /* how many of each group may */
	bool exact;                          /* the clairvoyant's profit is the optimum, see clairvoyant.h */
};
void backtest_coverage(const struct backtest *b, struct backtest_coverage *ret);
/* Of every interval, NAN where it is not known; borrowed from b. For reports, never for policies. */
const double *backtest_prices(const struct backtest *b);

/* A serving device of a group on one UTC day. Days without a price count nothing. */
struct backtest_serving_day {
	double spot_usd;   /* on the spot market: its share of the demand, less energy and wear */
	double cost_usd;   /* energy and wear of serving all day */
	double rate_usd_h; /* list price, mean of the day */
};
/* Of the days of the range, ret: [backtest_days]. For reports and risk, never for policies. */
size_t backtest_days(const struct backtest *b);
void backtest_serving(const struct backtest *b, size_t group, struct backtest_serving_day *ret);

struct backtest_sum {
	int64_t revenue_micros, energy_micros, wear_micros, start_wear_micros, penalty_micros;
	int64_t profit_micros;  /* the first less the others */
	double start_lost_usd;  /* for the record: hashes not made while starting; revenue is without them already */
	double energy_mwh;      /* at the meter */
	double curtailed_mwh;   /* that miners standing still did not draw */
	double work_h;          /* device hours under power for work */
	uint64_t starts, stops; /* of devices, into and out of work */
	double missed_h;        /* device hours promised and not served */
};

/*
 * One ancillary offer of the site: apart from, and on top of, everything else. Of an interval in its hours the MW are
 * paid that could have been dropped throughout: miners past their start, less what they draw idle; load is held for
 * one offer only, in the order of the file. Policies see neither offers nor calls.
 *
 * A call takes what is held as it comes, least efficient miners first, at the offer's ramp, and gives it back at its
 * end:
 *
 *	 MW  ________________________________  offered
 *	        :        |/ / missed / / / / |
 *	        :     ___|___________________    held when the call came
 *	        :   /    |                   |
 *	       call      response            end
 *
 *	saved  = dropped MWh * price + wear of the hours not mined;   lost = what those miners would have mined
 *	start  = what starting them again costs, as nets_start_usd;   penalty = MWh missing after the response * its price
 */
struct backtest_offer {
	int64_t revenue_micros;
	double offered_mw_h, held_mw_h; /* in intervals with a price of the service */
	double unpriced_h;              /* hours of the offer without one */
	uint32_t calls;
	double due_mwh, dropped_mwh, missed_mwh; /* due: from the response on; what is dropped before it is not due */
	int64_t saved_micros, lost_micros, start_micros, penalty_micros;
};

struct backtest_month {
	int64_t start_ns;
	struct backtest_sum mine, ai;
	int64_t ancillary_micros, calls_micros;
};

struct backtest_books {
	struct backtest_sum mine, ai;
	struct backtest_month *month; /* owned */
	size_t n_months;
	struct backtest_offer offer[SITE_OFFERS_MAX]; /* as the site's */
	int64_t ancillary_micros;                     /* paid for all of them; in no other sum */
	int64_t calls_micros; /* of their calls: saved less lost, starts and penalties; in no other sum */
	/* Profit of 30 days of the mining side, made of blocks of five of the days above; n 0: fewer than 30 days. */
	struct risk_measure monthly;
	struct risk_measure daily; /* profit of the mining side by UTC day at RISK_LEVEL; n 0: no day has a price */
	int64_t drawdown_micros; /* deepest fall of the mining side's cumulative profit below its peak */
	size_t undecided;        /* intervals at whose start a price or the network was not known yet */
	size_t guarded;          /* intervals that the drawdown guard was up */
	double deepest;          /* drawdown, share of the capital at its highest; 0 without a guard */
	uint64_t refused;        /* devices whose order a minimum time refused */
	uint64_t bad_ticks;      /* that the live market would have refused too */
	size_t n;
	int64_t *profit_micros; /* owned; of the mining side, by interval */
	float *running;         /* owned; share of the energised miners under power, by interval */
};
void backtest_books_release(struct backtest_books *b);

/* NULL: none. Called from the running thread, about a hundred times. */
typedef void (*backtest_progress_fn)(void *ctx, size_t done, size_t n);

/*
 * Runs the policy over the range; it must be fresh. guard: a fresh drawdown guard over the profit of the mining side,
 * while it is up policy "safest" decides; copied, NULL: none. HCP_ENOMEM, or what the policy fails with.
 */
int backtest_run(const struct backtest *b, const struct backtest_feed *feed, struct policy *p,
	const struct risk_guard *guard, backtest_progress_fn progress, void *ctx, struct backtest_books *ret,
	struct err *err) MUST_CHECK;
/* The best that could have been done, by the same books. */
int backtest_clairvoyant(const struct backtest *b, struct backtest_books *ret, struct err *err) MUST_CHECK;

/* (profit - base)/(best - base); NAN if best is not above base. */
double backtest_fraction(int64_t profit_micros, int64_t base_micros, int64_t best_micros);

#endif
