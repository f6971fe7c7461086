#include "econ/ppo_miner.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "base/timefmt.h"
#include "econ/clairvoyant.h"
#include "econ/nets.h"

#define STEP_NS (PPO_STEP_S * NS_PER_S)
#define DAY_S 86400
#define STEP_H ((double)PPO_STEP_S / 3600)

/* ---- what is seen ---- */

/* What the last seven days were at this time of day: the quarter-hour itself, and the hours from it on and before. */
static void look_week(const double *back, double ret[4])
{
	double slots = 0, hours = 0, mean = 0, max = -INFINITY, ahead = 0, before = 0;
	for (size_t d = PPO_DAY; d <= 7 * PPO_DAY; d += PPO_DAY) {
		double p = back[d - 1], from = history_window(back + d - 4, 1, 4).mean,
			   until = history_window(back + d, 1, 4).mean;
		if (!isnan(p)) {
			mean += p;
			max = p > max ? p : max;
			slots++;
		}
		if (!isnan(from) && !isnan(until)) {
			ahead += from < 1000 ? from : 1000;
			before += until < 1000 ? until : 1000;
			hours++;
		}
	}
	ret[0] = slots > 0 ? mean / slots : NAN;
	ret[1] = slots > 0 ? max : NAN;
	ret[2] = hours > 0 ? ahead / hours : NAN;
	ret[3] = hours > 0 ? before / hours : NAN;
}

/* Which of ppo_raw.price are asked by name. */
enum { LAST = 0, MAX_4H = 9, YESTERDAY_MAX = 22 };

static void prices(const double *back, float ret[PPO_PRICES])
{
	static const size_t days[] = { PPO_DAY, 2 * PPO_DAY, 7 * PPO_DAY };
	struct history_window w1 = history_window(back, 1, 4), w2 = history_window(back, 1, 8),
						  w4 = history_window(back, 1, 16), w24 = history_window(back, 1, PPO_DAY);
	double week[4], last = back[0],
					v[PPO_PRICES] = { last, back[1], back[2], back[3], back[4], back[5], back[7], w1.max, w2.max,
						w4.max, w24.max, w1.mean, w2.mean, w4.mean, w24.mean, history_window(back, 1, 7 * PPO_DAY).mean,
						w1.std, w4.std, w24.std, w1.min, w4.min };
	size_t n = 21;
	for (size_t k = 0; k < 3; k++) {
		v[n++] = back[days[k] - 1];
		v[n++] = history_window(back + days[k] - 5, 1, 9).max;
		v[n++] = back[days[k]];
	}
	look_week(back, week);
	for (size_t k = 0; k < 4; k++)
		v[n++] = week[k];
	v[n++] = last - back[1];
	v[n++] = back[1] - back[2];
	v[n++] = last - 2 * back[1] + back[2];
	v[n++] = week[2] - week[3];
	must(n == PPO_PRICES);
	/* What is not known: a price as the last one, a difference or spread as none. */
	for (size_t k = 0; k < PPO_PRICES; k++)
		ret[k] = (float)(isnan(v[k]) ? k >= 34 || (k >= 16 && k < 19) ? 0 : last : v[k]);
}

/* A sine of whole turns within 0.002 (Bhaskara I), by arithmetic alone. */
static double wave(double turns)
{
	double part = turns - floor(turns), t = 2 * (part < 0.5 ? part : part - 0.5), y = t * (1 - t);
	return (part < 0.5 ? 16 : -16) * y / (5 - 4 * y);
}

static double within(double v, double limit)
{
	return v > limit ? limit : v < -limit ? -limit : v;
}

/* Central time of day, quarter of the hour, hours since sunset and sunrise in West Texas. */
static void calendar(int64_t now_ns, float ret[PPO_CALENDAR])
{
	int64_t utc_s = now_ns / NS_PER_S, local_s = utc_s + timefmt_central_offset_s(now_ns), day = local_s / DAY_S, year;
	int month, mday;
	timefmt_civil(day, &year, &month, &mday);
	double season = ((double)(day - timefmt_days(year, 1, 1)) + 11) / 365.25; /* 0: winter solstice */
	double tod = (double)(local_s % DAY_S) / DAY_S, hour = (double)(utc_s % DAY_S) / 3600;
	/* At 32 N the day's half is 6 hours, 1.05 more or less at the solstices; the sun stands in the south at 18:45 UTC
	 * at 101 W. */
	double half_h = 6 - 1.05 * wave(season + 0.25), set = hour - (18.75 + half_h) + 36,
		   rise = hour - (18.75 - half_h) + 36;
	set = set - 24 * floor(set / 24) - 12;
	rise = rise - 24 * floor(rise / 24) - 12;
	size_t quarter = (size_t)(local_s % 3600 / PPO_STEP_S);
	const double v[PPO_CALENDAR] = { quarter == 0, quarter == 1, quarter == 2, quarter == 3, wave(tod),
		wave(tod + 0.25), wave(2 * tod), wave(2 * tod + 0.25), set / 12, within(set / 2, 1), rise / 12,
		within(rise / 2, 1) };
	for (size_t k = 0; k < PPO_CALENDAR; k++)
		ret[k] = (float)v[k];
}

bool ppo_raw_fill(struct ppo_raw *ret, const double back[PPO_BACK], int64_t now_ns)
{
	if (isnan(back[0]))
		return false;
	prices(back, ret->price);
	calendar(now_ns, ret->calendar);
	return true;
}

/* One spike must not drive everything to its end. */
static float squash(double r)
{
	return (float)(r / (1 + (r < 0 ? -r : r) / 4));
}

void ppo_observe(const struct ppo_raw *raw, const struct ppo_state *s, float ret[PPO_OBS])
{
	size_t n = 0;
	double c = s->threshold_usd_mwh;
	must(c > 0);
	for (size_t k = 0; k < PPO_PRICES; k++)
		ret[n++] = squash((double)raw->price[k] / c);
	for (size_t k = 0; k < 3; k++) /* near the threshold, where it is decided */
		ret[n++] = (float)within(4 * ((double)raw->price[k] / c - 1), 2);
	memcpy(ret + n, raw->calendar, sizeof(raw->calendar));
	n += PPO_CALENDAR;
	ret[n++] = s->running;
	ret[n++] = squash(2 * s->start);
	ret[n++] = (float)(c / (c + 100));
	must(n == PPO_OBS);
}

bool ppo_in_question(const struct ppo_raw *raw, double c)
{
	return (double)raw->price[LAST] > 0.3 * c || (double)raw->price[MAX_4H] > 0.7 * c ||
		   (double)raw->price[YESTERDAY_MAX] > 0.7 * c;
}

/* ---- recorded prices ---- */

static int take_series(
	struct ppo_series *s, const struct history *h, const char *point, int64_t from_ns, int64_t to_ns, struct err *err)
{
	const struct history_series *own = history_find(h, HISTORY_POWER_RT, point);
	size_t known = 0;
	double back[PPO_BACK];
	if (!own || own->step_ns != STEP_NS)
		return err_set(err, HCP_EAGAIN, "point", "no quarter-hourly price of %s is known", point);
	int64_t first_ns =
		own->first_ns > from_ns ? own->first_ns : own->first_ns + (from_ns - own->first_ns) / STEP_NS * STEP_NS;
	int64_t end_ns = own->first_ns + (int64_t)own->n * STEP_NS;
	end_ns = end_ns < to_ns ? end_ns : to_ns;
	s->first_ns = first_ns;
	s->n = end_ns > first_ns ? (size_t)((end_ns - first_ns) / STEP_NS) : 0;
	if (s->n < PPO_TRAIN_MIN)
		return err_set(err, HCP_EAGAIN, "point", "%zu quarter-hours of %s are known of %d that a training needs", s->n,
			point, PPO_TRAIN_MIN);
	int rc = str_copy(s->point, sizeof(s->point), str_of(point));
	must(rc == 0);
	s->price = mem_calloc(s->n, sizeof(*s->price));
	s->raw = mem_calloc(s->n, sizeof(*s->raw));
	s->known = mem_calloc(s->n, sizeof(*s->known));
	if (!s->price || !s->raw || !s->known)
		return err_set(err, HCP_ENOMEM, "point", "no memory for %zu quarter-hours of %s", s->n, point);
	for (size_t k = 0; k < PPO_BACK; k++)
		back[k] = NAN;
	for (size_t i = 0; i < s->n; i++) {
		int64_t t = first_ns + (int64_t)i * STEP_NS;
		s->known[i] = ppo_raw_fill(&s->raw[i], back, t);
		s->price[i] = history_at(own, t);
		known += !isnan(s->price[i]);
		memmove(back + 1, back, (PPO_BACK - 1) * sizeof(back[0]));
		back[0] = s->price[i];
	}
	return known >= PPO_TRAIN_MIN ? 0 : err_set(err, HCP_EAGAIN, "point", "%s has too many holes", point);
}

int ppo_world_init(struct ppo_world *w, const struct site *site, const struct history *h, const char *const *points,
	size_t n_points, int64_t from_ns, int64_t to_ns, struct err *err)
{
	*w = (struct ppo_world){ .site = *site };
	for (size_t k = 0; k < site->n_groups; k++)
		if (site->group[k].mines && !site->group[k].serves)
			w->group[w->n_groups++] = &w->site.group[k];
	if (w->n_groups == 0)
		return err_set(err, HCP_EINVAL, "site", "none of its groups mines alone");
	if (n_points == 0 || n_points > PPO_POINTS_MAX)
		return err_set(err, HCP_ERANGE, "points", "must be from 1 to %d", PPO_POINTS_MAX);
	int rc = 0;
	for (size_t k = 0; rc == 0 && k < n_points; k++)
		rc = take_series(&w->series[w->n_series++], h, points[k], from_ns, to_ns, err);
	if (rc < 0)
		ppo_world_release(w);
	return rc;
}

void ppo_world_release(struct ppo_world *w)
{
	for (size_t k = 0; k < w->n_series; k++) {
		mem_free(w->series[k].price);
		mem_free(w->series[k].raw);
		mem_free(w->series[k].known);
	}
	*w = (struct ppo_world){ 0 };
}

/* ---- episodes ---- */

#define CUT_USD_MWH 1000.0
#define CUT_TIMES 8.0

/* A price as it counts in training: beyond some times the threshold one says little about the next. */
static double counted(double price, double c)
{
	double most = c + (CUT_TIMES * c < CUT_USD_MWH ? CUT_TIMES * c : CUT_USD_MWH);
	return price < most ? price : most;
}

static double drawn_mwh_h(const struct ppo_world *w, const struct site_group *g)
{
	return (g->cls->power_w[DEVICE_FILL] - g->cls->power_w[g->idle_mode]) / 1e6 * w->site.pue;
}

static void set_terms(struct ppo_world *w, const struct ppo_series *s, const struct site_group *g, double c)
{
	w->now.s = s;
	w->now.g = g;
	w->now.threshold_usd_mwh = c;
	w->now.hashprice_usd_ths_h = (c * drawn_mwh_h(w, g) + g->cls->wear_usd_h) / g->cls->fill_ths;
	w->now.unit_usd = c * drawn_mwh_h(w, g) * STEP_H;
}

static void observe(const struct ppo_world *w, float *obs)
{
	const struct ppo_raw *raw = &w->now.s->raw[w->now.i];
	double start_usd = nets_start_usd(
		w->now.g, w->now.g->cls->fill_ths * w->now.hashprice_usd_ths_h, w->site.pue, (double)raw->price[LAST]);
	const struct ppo_state s = {
		.running = w->now.running, .threshold_usd_mwh = w->now.threshold_usd_mwh, .start = start_usd / w->now.unit_usd
	};
	ppo_observe(raw, &s, obs);
}

static bool is_open(const struct ppo_world *w, size_t i)
{
	const struct ppo_series *s = w->now.s;
	return i < s->n && s->known[i] && !isnan(s->price[i]) && ppo_in_question(&s->raw[i], w->now.threshold_usd_mwh);
}

static double draw_threshold(struct rng *rng)
{
	return PPO_LEAST * exp(rng_double(rng) * log(PPO_MOST / PPO_LEAST));
}

/* Any quarter-hour that is in question, at a threshold drawn for it, running or not. */
static void world_reset(void *ctx, struct rng *rng, float *obs)
{
	enum { TRIES = 10000 };
	struct ppo_world *w = ctx;
	for (int k = 0; k < TRIES; k++) {
		const struct ppo_series *s = &w->series[rng_below(rng, w->n_series)];
		set_terms(w, s, w->group[rng_below(rng, w->n_groups)], draw_threshold(rng));
		w->now.i = (size_t)rng_below(rng, s->n);
		if (is_open(w, w->now.i))
			break;
		while (k + 1 == TRIES && !w->now.s->known[w->now.i])
			w->now.i = w->now.i ? w->now.i - 1 : s->n - 1; /* never near a threshold: any that is known */
	}
	w->now.running = rng_below(rng, 2);
	w->now.since_ns = INT64_MAX;
	observe(w, obs);
}

/* Profit of this quarter-hour above running through it, in units of what running earns. */
static double do_step(struct ppo_world *w, bool run)
{
	double price = counted(w->now.s->price[w->now.i], w->now.threshold_usd_mwh);
	const struct clairvoyant c = { .group = w->now.g,
		.pue = w->site.pue,
		.step_ns = STEP_NS,
		.n = 1,
		.price_usd_mwh = &price,
		.hashprice_usd_ths_h = &w->now.hashprice_usd_ths_h };
	if (run != w->now.running)
		w->now.since_ns = 0;
	w->now.running = run;
	double usd = run ? clairvoyant_mine_usd(&c, 0, w->now.since_ns) : clairvoyant_idle_usd(&c, 0);
	double above = usd - clairvoyant_mine_usd(&c, 0, INT64_MAX);
	w->now.since_ns = w->now.since_ns < INT64_MAX - STEP_NS ? w->now.since_ns + STEP_NS : INT64_MAX;
	w->now.i++;
	return above / w->now.unit_usd;
}

static bool is_held(const struct ppo_world *w)
{
	return w->now.since_ns < (w->now.running ? w->now.g->min_up_ns : w->now.g->min_down_ns);
}

/* Minimum times pass within the step. Where it is no question any more the miner runs: the episode's end. */
static double world_step(void *ctx, bool yes, float *obs, bool *ret_end)
{
	struct ppo_world *w = ctx;
	double reward = do_step(w, yes);
	while (is_open(w, w->now.i) && is_held(w))
		reward += do_step(w, w->now.running);
	*ret_end = !is_open(w, w->now.i);
	if (!*ret_end)
		observe(w, obs);
	else if (!w->now.running && w->now.i < w->now.s->n && !isnan(w->now.s->price[w->now.i]))
		reward += do_step(w, true);
	return reward;
}

struct ppo_env ppo_world_env(struct ppo_world *w)
{
	return (struct ppo_env){ .ctx = w, .n_in = PPO_OBS, .reset = world_reset, .step = world_step };
}

static void world_lesson(void *ctx, struct rng *rng, float *obs, bool *ret_yes, double *ret_weight)
{
	struct ppo_world *w = ctx;
	world_reset(w, rng, obs);
	double price = w->now.s->price[w->now.i], c = w->now.threshold_usd_mwh;
	*ret_yes = !(price > c);
	*ret_weight = isnan(price) ? 0 : fabs(counted(price, c) - c) / c;
}

struct ppo_teacher ppo_world_teacher(struct ppo_world *w)
{
	return (struct ppo_teacher){ .ctx = w, .n_in = PPO_OBS, .lesson = world_lesson };
}
