#include "econ/market_sim.h"

#include <math.h>

#include "base/money.h"
#include "econ/btc.h"
#include "econ/market.h"

#define HOUR_S 3600.0
#define YEAR_S (365.25 * 86400.0)
#define DAY_NS (86400 * NS_PER_S)
#define SETTLE_NS (300 * NS_PER_S)
#define CENTRAL_OFFSET_H 6.0 /* the season only; billing time zones are handled elsewhere */
#define TWO_PI 6.283185307179586
#define GPU_REVERSION_DAYS 20.0
#define NETWORK_LAG_DAYS 60.0 /* hash rate follows the coin's price this slowly */

void market_sim_conf_default(struct market_sim_conf *c)
{
	*c = (struct market_sim_conf){
		.seed = 1,
		.start_ns = INT64_C(1735689600) * NS_PER_S,
		.power_base_usd_mwh = 32,
		.power_reversion_h = 3,
		.power_vol = 0.45,
		.spike_per_day = 0.35,
		.spike_min_usd_mwh = 250,
		.spike_tail = 1.3,
		.spike_half_life_h = 0.5,
		.negative_share = 0.06,
		.btc_usd = 60000,
		.btc_vol_year = 0.55,
		.btc_jump_per_year = 25,
		.btc_jump_vol = 0.04,
		.gpu_usd_h = 2.5,
		.gpu_vol_year = 0.35,
		.gpu_btc_correlation = 0.2,
		.difficulty = 9.0e13,
		.height = 870000,
		.fees_btc = 0.08,
	};
}

static int check_conf(const struct market_sim_conf *c, struct err *err)
{
	const struct {
		double v, min, max;
		const char *field;
	} row[] = {
		{ c->power_base_usd_mwh, 0.01, 1000, "power_base_usd_mwh" },
		{ c->power_reversion_h, 0.01, 1000, "power_reversion_h" },
		{ c->power_vol, 0, 3, "power_vol" },
		{ c->spike_per_day, 0, 100, "spike_per_day" },
		{ c->spike_min_usd_mwh, 0, 9000, "spike_min_usd_mwh" },
		{ c->spike_tail, 0.2, 20, "spike_tail" },
		{ c->spike_half_life_h, 0.01, 100, "spike_half_life_h" },
		{ c->negative_share, 0, 1, "negative_share" },
		{ c->btc_usd, 1, 1e8, "btc_usd" },
		{ c->btc_vol_year, 0, 5, "btc_vol_year" },
		{ c->btc_jump_per_year, 0, 10000, "btc_jump_per_year" },
		{ c->btc_jump_vol, 0, 1, "btc_jump_vol" },
		{ c->gpu_usd_h, 0.001, 1000, "gpu_usd_h" },
		{ c->gpu_vol_year, 0, 5, "gpu_vol_year" },
		{ c->gpu_btc_correlation, -1, 1, "gpu_btc_correlation" },
		{ c->difficulty, 1, 1e20, "difficulty" },
		{ c->fees_btc, 0, 100, "fees_btc" },
	};
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		if (!isfinite(row[i].v))
			return err_set(err, HCP_EINVAL, row[i].field, "must be a finite number");
		if (row[i].v < row[i].min || row[i].v > row[i].max)
			return err_set(err, HCP_ERANGE, row[i].field, "must be from %g to %g", row[i].min, row[i].max);
	}
	if (c->height < 0 || c->height > 100000000)
		return err_set(err, HCP_ERANGE, "height", "must be from 0 to 100000000");
	if (c->start_ns < 0 || c->start_ns > INT64_MAX / 2)
		return err_set(err, HCP_ERANGE, "start", "must be after 1970");
	return 0;
}

static double hour_of_day(int64_t ns)
{
	double h = (double)(ns % DAY_NS) / (HOUR_S * 1e9) - CENTRAL_OFFSET_H;
	return h < 0 ? h + 24 : h;
}

/* Mean 1 over a day: low at night, a shoulder at seven, the peak at about 19 o'clock. */
static double season(double hour)
{
	return 1 + 0.32 * cos(TWO_PI * (hour - 18.5) / 24) + 0.14 * cos(TWO_PI * (hour - 7.5) / 12);
}

static void settle_power(struct market_sim *s, double dt_s)
{
	const struct market_sim_conf *c = &s->conf;
	double hour = hour_of_day(s->settled_ns);
	double keep = exp(-dt_s / (c->power_reversion_h * HOUR_S));
	s->x_power = s->x_power * keep + c->power_vol * sqrt(1 - keep * keep) * rng_normal(&s->rng);
	s->spike_usd_mwh *= exp2(-dt_s / (c->spike_half_life_h * HOUR_S));
	/* Evening hours, when the sun has gone and the load has not, get three times their share. */
	double evening = hour >= 17 && hour < 21 ? 3 : 0.6;
	if (rng_double(&s->rng) < 1 - exp(-c->spike_per_day * evening * dt_s / 86400.0)) {
		double u = 1 - rng_double(&s->rng);
		s->spike_usd_mwh += c->spike_min_usd_mwh * pow(u, -1 / c->spike_tail);
	}
	/* Wind at night: pushes of an hour on average, deep enough to go below zero. */
	bool night = hour < 6 || hour >= 22;
	double p_start = c->negative_share * dt_s / HOUR_S;
	if (s->push_usd_mwh > 0 && rng_double(&s->rng) < 1 - exp(-dt_s / HOUR_S))
		s->push_usd_mwh = 0;
	if (night && s->push_usd_mwh == 0 && rng_double(&s->rng) < p_start)
		s->push_usd_mwh = c->power_base_usd_mwh * (1.2 + 0.8 * rng_exp(&s->rng));
	double v = c->power_base_usd_mwh * season(hour) * exp(s->x_power - c->power_vol * c->power_vol / 2) +
		s->spike_usd_mwh - s->push_usd_mwh;
	s->now.power_usd_mwh = fmin(MARKET_POWER_MAX_USD_MWH, fmax(MARKET_POWER_MIN_USD_MWH, v));
}

static void step_coin_and_gpu(struct market_sim *s, double dt_s)
{
	const struct market_sim_conf *c = &s->conf;
	double dt_y = dt_s / YEAR_S;
	double shock = rng_normal(&s->rng), own = rng_normal(&s->rng);
	double log_step = -c->btc_vol_year * c->btc_vol_year / 2 * dt_y + c->btc_vol_year * sqrt(dt_y) * shock;
	/* At most one jump a step: steps are short against the time between jumps. */
	if (rng_double(&s->rng) < 1 - exp(-c->btc_jump_per_year * dt_y))
		log_step += c->btc_jump_vol * rng_normal(&s->rng) - c->btc_jump_vol * c->btc_jump_vol / 2;
	s->now.btc_usd = fmin(1e8, fmax(1, s->now.btc_usd * exp(log_step)));

	double rho = c->gpu_btc_correlation;
	double keep = exp(-dt_s / (GPU_REVERSION_DAYS * 86400));
	s->x_gpu = s->x_gpu * keep +
		c->gpu_vol_year * sqrt(dt_y) * (rho * shock + sqrt(1 - rho * rho) * own);
	s->now.gpu_usd_h = fmin(1000, c->gpu_usd_h * exp(s->x_gpu));
}

static void find_blocks(struct market_sim *s, double dt_s)
{
	const struct market_sim_conf *c = &s->conf;
	/* The network grows until its revenue per hash is back where it started. */
	double wanted_ths = btc_network_ths(c->difficulty) * s->now.btc_usd / c->btc_usd;
	double follow = 1 - exp(-dt_s / (NETWORK_LAG_DAYS * 86400));
	s->network_ths += (wanted_ths - s->network_ths) * follow;
	double left_s = dt_s;
	for (;;) {
		/* block_due counts down in units of the mean block time, so a new difficulty takes effect at once. */
		double mean_s = s->now.difficulty * 4294967296.0 / (s->network_ths * 1e12);
		double need_s = s->block_due * mean_s;
		if (need_s > left_s) {
			s->block_due -= left_s / mean_s;
			s->epoch_s += left_s;
			return;
		}
		left_s -= need_s;
		s->epoch_s += need_s;
		s->block_due = rng_exp(&s->rng);
		s->now.height++;
		s->now.fees_btc = s->now.fees_btc * 0.97 + 0.03 * c->fees_btc * rng_exp(&s->rng);
		if (++s->epoch_blocks < BTC_RETARGET_BLOCKS)
			continue;
		double ratio = (double)BTC_RETARGET_BLOCKS * BTC_BLOCK_S / s->epoch_s;
		s->now.difficulty = fmax(1, s->now.difficulty * fmin(4, fmax(0.25, ratio)));
		s->epoch_blocks = 0;
		s->epoch_s = 0;
	}
}

int market_sim_init(struct market_sim *s, const struct market_sim_conf *c, struct err *err)
{
	int r = check_conf(c, err);
	if (r < 0)
		return r;
	*s = (struct market_sim){ .conf = *c, .settled_ns = c->start_ns / SETTLE_NS * SETTLE_NS };
	rng_init(&s->rng, c->seed);
	s->now = (struct market_sim_state){ .now_ns = c->start_ns, .btc_usd = c->btc_usd, .gpu_usd_h = c->gpu_usd_h,
		.difficulty = c->difficulty, .fees_btc = c->fees_btc, .height = c->height };
	s->network_ths = btc_network_ths(c->difficulty);
	s->epoch_blocks = c->height % BTC_RETARGET_BLOCKS;
	s->epoch_s = (double)s->epoch_blocks * BTC_BLOCK_S;
	s->block_due = rng_exp(&s->rng);
	s->x_power = c->power_vol * rng_normal(&s->rng);
	settle_power(s, (double)SETTLE_NS / 1e9);
	return 0;
}

int market_sim_step(struct market_sim *s, int64_t dt_ns, struct err *err)
{
	if (dt_ns < 1 || dt_ns > DAY_NS)
		return err_set(err, HCP_ERANGE, "dt", "must be from 1 ns to a day");
	int64_t end_ns;
	if (__builtin_add_overflow(s->now.now_ns, dt_ns, &end_ns) || end_ns > INT64_MAX - SETTLE_NS)
		return err_set(err, HCP_ERANGE, "dt", "the end of time");
	while (s->settled_ns + SETTLE_NS <= end_ns) {
		s->settled_ns += SETTLE_NS;
		settle_power(s, (double)SETTLE_NS / 1e9);
	}
	double dt_s = (double)dt_ns / 1e9;
	step_coin_and_gpu(s, dt_s);
	find_blocks(s, dt_s);
	s->now.now_ns = end_ns;
	return 0;
}
