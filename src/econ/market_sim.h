#ifndef HCP_ECON_MARKET_SIM_H
#define HCP_ECON_MARKET_SIM_H

#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"

/*
 * Seeded market for tests, demonstrations and Monte Carlo. Same seed, configuration and sequence of steps: same path.
 *
 *   electricity  = base * season(time of day) * exp(x) + spike, x mean-reverting (Ornstein-Uhlenbeck); spikes arrive
 *                  as a Poisson process, more often in the evening, with a Pareto tail, and decay; on windy nights the
 *                  price falls below zero. Clipped to the ERCOT bounds, settled on 5 minutes.
 *   BTC          = geometric Brownian motion with jumps (Merton)
 *   GPU rate     = mean-reverting log rate, shocks correlated with BTC
 *   difficulty   retargets every 2016 blocks towards a network hash rate that follows BTC with a lag; limits 1/4..4
 */
struct market_sim_conf {
	uint64_t seed;
	int64_t start_ns;
	double power_base_usd_mwh;   /* 32 */
	double power_reversion_h;    /* time to fall back by 1/e: 3 h */
	double power_vol;            /* stationary deviation of x: 0.45 */
	double spike_per_day;        /* 0.35 */
	double spike_min_usd_mwh;    /* 250; Pareto scale */
	double spike_tail;           /* 1.3; Pareto index, heavier when smaller */
	double spike_half_life_h;    /* 0.5 */
	double negative_share;       /* share of night hours pushed below zero: 0.06 */
	double btc_usd;              /* 60,000 */
	double btc_vol_year;         /* 0.55 */
	double btc_jump_per_year;    /* 25 */
	double btc_jump_vol;         /* 0.04 */
	double gpu_usd_h;            /* 2.50 */
	double gpu_vol_year;         /* 0.35 */
	double gpu_btc_correlation;  /* 0.2; -1..1 */
	double difficulty;           /* 9.0e13 */
	int64_t height;              /* 870,000 */
	double fees_btc;             /* per block, mean: 0.08 */
};

struct market_sim_state {
	int64_t now_ns;
	double power_usd_mwh; /* price of the interval that started at or before now */
	double btc_usd, gpu_usd_h, difficulty, fees_btc;
	int64_t height;
};

struct market_sim {
	struct market_sim_conf conf;
	struct rng rng;
	struct market_sim_state now;
	double x_power, spike_usd_mwh, push_usd_mwh, x_gpu, network_ths, block_due, epoch_s;
	int64_t settled_ns;
	int64_t epoch_blocks;
};

void market_sim_conf_default(struct market_sim_conf *c);
/* HCP_EINVAL/HCP_ERANGE with the field. */
int market_sim_init(struct market_sim *s, const struct market_sim_conf *c, struct err *err) MUST_CHECK;
/* Advances by dt (1 ns .. 1 day). The new state is s->now. HCP_ERANGE otherwise. */
int market_sim_step(struct market_sim *s, int64_t dt_ns, struct err *err) MUST_CHECK;

#endif
