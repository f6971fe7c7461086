#ifndef HCP_ECON_PPO_MINER_H
#define HCP_ECON_PPO_MINER_H

#include <assert.h>

#include "econ/history.h"
#include "econ/ppo.h"
#include "model/site.h"

/*
 * What the learned policy (policy_ppo.c) sees of a quarter-hour's beginning, and where it is trained: the site's miners
 * on recorded prices, by the arithmetic of a backtest (clairvoyant.h).
 *
 *	prices of the last week ─▶ ppo_raw ─┐
 *	what running earns a MWh, what a   ├─▶ observation ─▶ run or curtail
 *	start costs, running or not ───────┘
 *
 * Nobody can look ahead: ppo_raw is made from an array that holds the past alone, in training too.
 *
 * Prices are seen in units of the threshold (what running earns a MWh), so that what was learned at one hash price
 * holds at another. Where none of the last hours' prices, nor yesterday's at this time of day, came near the threshold,
 * the miner runs and the net is not asked (ppo_in_question): such hours are nearly all, and spikes in them come
 * unannounced.
 */
enum {
	PPO_STEP_S = 900,
	PPO_DAY = 96,
	PPO_BACK = 7 * PPO_DAY + 8, /* quarter-hours that an observation reaches back */
	PPO_PRICES = 38,
	PPO_CALENDAR = 12,
	PPO_OBS = PPO_PRICES + 3 + PPO_CALENDAR + 3,
	PPO_POINTS_MAX = 8,
};
static_assert((int)PPO_OBS <= (int)PPO_IN_MAX, "an observation fits the net");
/* Thresholds that episodes are drawn with, USD/MWh. */
#define PPO_LEAST 40.0
#define PPO_MOST 500.0

struct ppo_raw {
	float price[PPO_PRICES]; /* USD/MWh */
	float calendar[PPO_CALENDAR];
};

/*
 * back[k]: price of the quarter-hour that began k + 1 of them before now, NAN where not known. False: the last one is
 * not known. No function of libm but sqrt, so that it gives the same bits everywhere.
 */
bool ppo_raw_fill(struct ppo_raw *ret, const double back[PPO_BACK], int64_t now_ns);

struct ppo_state {
	bool running;
	double threshold_usd_mwh; /* > 0: what running earns a MWh, before electricity */
	double start;             /* what a start costs, in units of what a full quarter-hour's running earns */
};
void ppo_observe(const struct ppo_raw *raw, const struct ppo_state *s, float ret[PPO_OBS]);
bool ppo_in_question(const struct ppo_raw *raw, double threshold_usd_mwh);

/* Prices of one settlement point, with what was known at each beginning. */
struct ppo_series {
	char point[HISTORY_LOCATION_MAX];
	int64_t first_ns;
	size_t n;
	double *price;       /* owned; NAN where not known */
	struct ppo_raw *raw; /* owned */
	bool *known;         /* owned; raw is filled */
};

/* Miners of a site on such series, an environment of ppo.h. */
struct ppo_world {
	struct site site;
	size_t n_groups;
	const struct site_group *group[SITE_GROUPS_MAX]; /* that mine; into site */
	size_t n_series;
	struct ppo_series series[PPO_POINTS_MAX];
	struct { /* the episode */
		const struct ppo_series *s;
		const struct site_group *g;
		double threshold_usd_mwh, hashprice_usd_ths_h, unit_usd;
		size_t i;
		bool running;
		int64_t since_ns; /* how long so; INT64_MAX: long */
	} now;
};

/*
 * Of the points' prices in [from, to). HCP_EAGAIN: fewer than PPO_TRAIN_MIN quarter-hours of one are known;
 * HCP_EINVAL: no group of the site mines; HCP_ENOMEM. The world does not move after.
 */
enum { PPO_TRAIN_MIN = 90 * PPO_DAY };
int ppo_world_init(struct ppo_world *w, const struct site *site, const struct history *h, const char *const *points,
	size_t n_points, int64_t from_ns, int64_t to_ns, struct err *err) MUST_CHECK;
void ppo_world_release(struct ppo_world *w);
struct ppo_env ppo_world_env(struct ppo_world *w);
/*
 * One who knows the coming quarter-hour's price and runs while it is below the threshold, weighted by the difference.
 * Starts, and the hours after, it knows nothing of: those are for PPO to learn.
 */
struct ppo_teacher ppo_world_teacher(struct ppo_world *w);

#endif
