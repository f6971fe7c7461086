#include "econ/scenario.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"

#define SCALE_USD_MWH 25.0 /* as the forecaster's frame */

static double z_of(double usd_mwh)
{
	return asinh(usd_mwh / SCALE_USD_MWH);
}

/* ---- past misses ---- */

struct scenario_key scenario_key_of(double last, double before, double high, double mean, double day_share)
{
	/* In asinh, where 0.3 is a third of a price: differences of like weight, and three hours of the day. */
	const double turn = 2 * acos(-1) * day_share, hours = 24 / (2 * acos(-1)) / 3;
	return (struct scenario_key){ { (float)(z_of(last) / 0.3), (float)(z_of(mean) / 0.3), (float)z_of(high),
		(float)((z_of(last) - z_of(before)) / 0.5), (float)(cos(turn) * hours), (float)(sin(turn) * hours) } };
}

int scenario_past_init(struct scenario_past *p, size_t cap, struct err *err)
{
	*p = (struct scenario_past){ .cap = cap };
	if (cap < 1 || cap > SCENARIO_CAP_MAX)
		return err_set(err, HCP_EINVAL, "cap", "must be 1 to %d, is %zu", SCENARIO_CAP_MAX, cap);
	p->key = mem_calloc(cap * (SCENARIO_KEYS + SCENARIO_STEPS + 1), sizeof(*p->key));
	if (!p->key)
		return err_set(err, HCP_ENOMEM, "", "no memory for %zu past forecasts", cap);
	p->miss = p->key + cap * SCENARIO_KEYS;
	p->far = p->miss + cap * SCENARIO_STEPS;
	return 0;
}

void scenario_past_release(struct scenario_past *p)
{
	mem_free(p->key);
	*p = (struct scenario_past){ 0 };
}

int scenario_past_add(struct scenario_past *p, const struct scenario_key *key, const double *forecast,
	const double *came, struct err *err)
{
	for (size_t k = 0; k < SCENARIO_STEPS; k++) {
		if (!isfinite(forecast[k]) || !isfinite(came[k]))
			return err_set(err, HCP_EINVAL, "price", "of step %zu is not finite", k);
	}
	for (size_t i = 0; i < SCENARIO_KEYS; i++)
		p->key[i * p->cap + p->next] = key->v[i];
	for (size_t k = 0; k < SCENARIO_STEPS; k++)
		p->miss[p->next * SCENARIO_STEPS + k] = (float)(z_of(came[k]) - z_of(forecast[k]));
	p->next = (p->next + 1) % p->cap;
	p->n += p->n < p->cap;
	return 0;
}

/* ---- the fan ---- */

static void measure(struct scenario_past *p, const struct scenario_key *key)
{
	memset(p->far, 0, p->n * sizeof(*p->far));
	for (size_t i = 0; i < SCENARIO_KEYS; i++) {
		const float *k = p->key + i * p->cap, at = key->v[i];
		float *far = p->far;
		for (size_t o = 0; o < p->n; o++)
			far[o] += (k[o] - at) * (k[o] - at);
	}
}

/*
 * The distance within which at least `paths` moments lie, to a sixty-fourth of an octave: counts by exponent and upper
 * bits of the fraction (a non-negative float's bits rise with its value).
 */
static uint32_t within(const struct scenario_past *p, size_t paths)
{
	enum { SHIFT = 17, BINS = 1 << (31 - SHIFT) };
	static_assert(sizeof(float) == sizeof(uint32_t), "bits of a float");
	uint32_t count[BINS] = { 0 }, bits;
	size_t sum = 0, b = 0;
	for (size_t o = 0; o < p->n; o++) {
		memcpy(&bits, &p->far[o], sizeof(bits));
		count[bits >> SHIFT]++;
	}
	for (; b < BINS; b++) {
		sum += count[b];
		if (sum >= paths)
			break;
	}
	return ((uint32_t)b + 1) << SHIFT;
}

int scenario_fan_make(struct scenario_past *p, const struct scenario_key *key, const double *forecast, size_t paths,
	double lo, double hi, struct scenario_fan *ret, struct err *err)
{
	if (paths < 1 || paths > SCENARIO_PATHS_MAX)
		return err_set(err, HCP_EINVAL, "paths", "must be 1 to %d, is %zu", SCENARIO_PATHS_MAX, paths);
	ret->paths = 1;
	memcpy(ret->price[0], forecast, sizeof(ret->price[0]));
	if (p->n < paths || paths == 1)
		return 0;
	double z[SCENARIO_STEPS];
	for (size_t k = 0; k < SCENARIO_STEPS; k++)
		z[k] = z_of(forecast[k]);
	measure(p, key);
	uint32_t most = within(p, paths), bits;
	ret->paths = 0;
	/* The newest first, so that of equally far ones the older are left out. */
	for (size_t i = 0; i < p->n && ret->paths < paths; i++) {
		size_t o = (p->next + p->cap - 1 - i) % p->cap;
		memcpy(&bits, &p->far[o], sizeof(bits));
		if (bits >= most)
			continue;
		double *price = ret->price[ret->paths++];
		for (size_t k = 0; k < SCENARIO_STEPS; k++)
			price[k] = fmin(fmax(SCALE_USD_MWH * sinh(z[k] + (double)p->miss[o * SCENARIO_STEPS + k]), lo), hi);
	}
	return 0;
}

double scenario_fan_mean(const struct scenario_fan *f, size_t step)
{
	double sum = 0;
	for (size_t i = 0; i < f->paths; i++)
		sum += f->price[i][step];
	return sum / (double)f->paths;
}

void scenario_fan_move(struct scenario_fan *f, double first_usd_mwh, double fade)
{
	double by = first_usd_mwh - scenario_fan_mean(f, 0);
	for (size_t k = 0; k < SCENARIO_STEPS; k++, by *= fade)
		for (size_t i = 0; i < f->paths; i++)
			f->price[i][k] += by;
}

/* ---- decisions over it ---- */

struct by_price {
	double price;
	uint16_t path;
};

static int compare(const void *a, const void *b)
{
	const struct by_price *x = a, *y = b;
	if (x->price != y->price)
		return x->price < y->price ? -1 : 1;
	return (x->path > y->path) - (x->path < y->path);
}

void scenario_groups_make(const struct scenario_fan *f, struct scenario_groups *ret)
{
	struct by_price order[SCENARIO_PATHS_MAX];
	memset(ret->of[0], 0, sizeof(ret->of[0]));
	for (size_t k = 1; k < SCENARIO_STEPS; k++) {
		for (size_t i = 0; i < f->paths; i++)
			order[i] = (struct by_price){ f->price[i][k - 1], (uint16_t)i };
		qsort(order, f->paths, sizeof(*order), compare);
		for (size_t i = 0; i < f->paths; i++)
			ret->of[k][order[i].path] = (uint16_t)(i * SCENARIO_GROUPS / f->paths);
	}
}

/* Running devices by the steps that a minimum time holds them for still, then standing ones. */
struct program {
	const struct scenario_fan *f;
	const struct scenario_groups *g;
	const struct scenario_miner *m;
	size_t n_on, n_off;
	uint8_t mode[SCENARIO_STEPS][SCENARIO_GROUPS]; /* best in the mean of a group's prices */
};

static size_t best_mode(const struct scenario_miner *m, double usd_mwh)
{
	size_t best = 0;
	for (size_t k = 1; k < m->modes; k++)
		if (m->gross_usd[k] - m->mwh[k] * usd_mwh > m->gross_usd[best] - m->mwh[best] * usd_mwh)
			best = k;
	return best;
}

static void choose_modes(struct program *p)
{
	for (size_t k = 0; k < SCENARIO_STEPS && p->m->modes > 1; k++) {
		double sum[SCENARIO_GROUPS] = { 0 }, n[SCENARIO_GROUPS] = { 0 };
		for (size_t i = 0; i < p->f->paths; i++) {
			sum[p->g->of[k][i]] += p->f->price[i][k];
			n[p->g->of[k][i]]++;
		}
		for (size_t g = 0; g < SCENARIO_GROUPS; g++)
			p->mode[k][g] = (uint8_t)(n[g] > 0 ? best_mode(p->m, sum[g] / n[g]) : 0);
	}
}

static double run_usd(const struct scenario_miner *m, size_t mode, double price, bool starts)
{
	return m->gross_usd[mode] - m->mwh[mode] * price - (starts ? m->start_usd - m->start_mwh * price : 0);
}

static size_t left(size_t held)
{
	return held ? held - 1 : 0;
}

typedef double by_path[SCENARIO_PATHS_MAX];

static size_t on_at(const struct program *p, size_t held)
{
	return held < p->n_on ? held : p->n_on - 1;
}

static size_t off_at(const struct program *p, size_t held)
{
	return p->n_on + (held < p->n_off ? held : p->n_off - 1);
}

/* Value of a path that is in a state before step k and runs, or stands, through it. */
static double value(const struct program *p, size_t k, size_t state, bool runs, const by_path *next, size_t path)
{
	const struct scenario_miner *m = p->m;
	bool ran = state < p->n_on;
	size_t held = ran ? state : state - p->n_on;
	double price = p->f->price[path][k];
	if (runs)
		return run_usd(m, p->mode[k][p->g->of[k][path]], price, !ran) +
			   next[on_at(p, left(ran ? held : m->min_up))][path];
	return -m->idle_mwh * price + next[off_at(p, left(ran ? m->min_down : held))][path];
}

static void step_back(const struct program *p, size_t k, const by_path *next, by_path *now)
{
	for (size_t s = 0; s < p->n_on + p->n_off; s++) {
		bool ran = s < p->n_on, held = ran ? s > 0 : s > p->n_on;
		double gain[SCENARIO_GROUPS] = { 0 };
		by_path other;
		for (size_t i = 0; i < p->f->paths; i++) {
			now[s][i] = value(p, k, s, ran, next, i);
			if (held)
				continue;
			other[i] = value(p, k, s, !ran, next, i);
			gain[p->g->of[k][i]] += other[i] - now[s][i];
		}
		for (size_t i = 0; i < p->f->paths && !held; i++)
			if (gain[p->g->of[k][i]] > 0)
				now[s][i] = other[i];
	}
}

static double expect(const struct program *p, size_t state, bool runs, const by_path *next)
{
	double sum = 0;
	for (size_t i = 0; i < p->f->paths; i++)
		sum += value(p, 0, state, runs, next, i);
	return sum / (double)p->f->paths;
}

static size_t holds(size_t steps)
{
	return steps < 1 ? 1 : steps > SCENARIO_STEPS ? SCENARIO_STEPS : steps;
}

void scenario_decide(const struct scenario_fan *f, const struct scenario_groups *g, const struct scenario_miner *m,
	struct scenario_worth *ret)
{
	by_path a[2 * SCENARIO_STEPS], b[2 * SCENARIO_STEPS], *next = a, *now = b;
	struct program p = { .f = f, .g = g, .m = m, .n_on = holds(m->min_up), .n_off = holds(m->min_down) };
	choose_modes(&p);
	for (size_t s = 0; s < p.n_on + p.n_off; s++)
		memset(next[s], 0, f->paths * sizeof(double));
	for (size_t k = SCENARIO_STEPS; k-- > 1;) {
		step_back(&p, k, (const by_path *)next, now);
		by_path *swap = next;
		next = now;
		now = swap;
	}
	const by_path *v = (const by_path *)next;
	*ret = (struct scenario_worth){ expect(&p, 0, true, v), expect(&p, 0, false, v), expect(&p, p.n_on, true, v),
		expect(&p, p.n_on, false, v), p.mode[0][0] };
}
