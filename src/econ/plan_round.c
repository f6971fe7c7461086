#include <math.h>
#include <string.h>

#include "econ/plan_priv.h"

#define WHOLE_ENOUGH 1e-6 /* devices; what the simplex misses a whole number by */

struct rounding {
	const struct plan_problem *p;
	size_t step;
	uint32_t (*n)[PLAN_MODES_MAX];
	double part[PLAN_CLASSES_MAX][PLAN_MODES_MAX]; /* what rounding down took; < 0: tried */
	double site_w, feeder_w[PLAN_FEEDERS_MAX];     /* at the meter, as rounded so far */
};

static uint32_t sum(const struct rounding *r, size_t k)
{
	uint32_t n = 0;
	for (size_t m = 0; m < r->p->cls[k].n_modes; m++)
		n += r->n[k][m];
	return n;
}

/* Ramps and minimum times bind the first step alone: of later ones it is not yet known where they begin. */
static uint32_t least_of(const struct rounding *r, size_t k)
{
	const struct plan_class *c = &r->p->cls[k];
	uint32_t now = plan_running(c), by_ramp = c->ramp && c->ramp < now ? now - c->ramp : 0;
	if (r->step > 0)
		return 0;
	by_ramp = c->ramp ? by_ramp : 0;
	return by_ramp > c->keep_on[0] ? by_ramp : c->keep_on[0];
}

static uint32_t most_of(const struct rounding *r, size_t k)
{
	const struct plan_class *c = &r->p->cls[k];
	uint32_t most = c->count - (r->step == 0 ? c->keep_off[0] : 0);
	if (r->step == 0 && c->ramp && most - plan_running(c) > c->ramp && most > plan_running(c))
		most = plan_running(c) + c->ramp;
	return most;
}

static double more_w(const struct rounding *r, size_t k, size_t m)
{
	const struct plan_class *c = &r->p->cls[k];
	return (c->mode[m].watts - c->off_w) * r->p->pue;
}

static bool may_add(const struct rounding *r, size_t k, size_t m)
{
	const struct plan_class *c = &r->p->cls[k];
	double w = more_w(r, k, m);
	return r->n[k][m] + 1 <= plan_most(c, m, r->step) && sum(r, k) < most_of(r, k) &&
		(w <= 0 || (r->site_w + w <= r->p->site_limit_w &&
			(c->feeder < 0 || r->feeder_w[c->feeder] + w <= r->p->feeder_limit_w[c->feeder])));
}

static void add_one(struct rounding *r, size_t k, size_t m)
{
	const struct plan_class *c = &r->p->cls[k];
	r->n[k][m]++;
	r->part[k][m] = -1;
	r->site_w += more_w(r, k, m);
	if (c->feeder >= 0)
		r->feeder_w[c->feeder] += more_w(r, k, m);
}

static void round_down(struct rounding *r, const struct plan *plan)
{
	const struct plan_problem *p = r->p;
	r->site_w = p->base_w;
	for (size_t k = 0; k < p->n_classes; k++) {
		const struct plan_class *c = &p->cls[k];
		double w = c->count * c->off_w * p->pue;
		for (size_t m = 0; m < c->n_modes; m++) {
			double x = plan_devices(plan, k, m)[r->step], whole = floor(x + WHOLE_ENOUGH);
			r->n[k][m] = (uint32_t)whole;
			r->part[k][m] = x - whole;
			w += whole * more_w(r, k, m);
		}
		r->site_w += w;
		if (c->feeder >= 0)
			r->feeder_w[c->feeder] += w;
	}
}

/* What a mode must have for hard contracts. */
static double promised(const struct plan_problem *p, size_t k, size_t m, size_t t)
{
	double n = 0;
	for (size_t j = 0; j < p->n_contracts; j++)
		if (p->contract[j].hard && p->contract[j].cls == k && p->contract[j].mode == m)
			n += p->contract[j].devices[t];
	return n;
}

/* Up to what must run, in the modes that lost most by rounding. */
static void fill_least(struct rounding *r, size_t k)
{
	const struct plan_class *c = &r->p->cls[k];
	for (size_t m = 0; m < c->n_modes; m++)
		while (r->n[k][m] + WHOLE_ENOUGH < promised(r->p, k, m, r->step) && sum(r, k) < c->count)
			add_one(r, k, m);
	while (sum(r, k) < least_of(r, k)) {
		size_t best = 0;
		for (size_t m = 1; m < c->n_modes; m++)
			if (r->part[k][m] > r->part[k][best])
				best = m;
		add_one(r, k, best);
	}
}

/* The fraction worth most that still fits is made a whole device. */
static bool fill_best(struct rounding *r)
{
	size_t best_k = 0, best_m = 0;
	double best = 0;
	for (size_t k = 0; k < r->p->n_classes; k++) {
		for (size_t m = 0; m < r->p->cls[k].n_modes; m++) {
			double usd = r->part[k][m] * plan_mode_usd(r->p, &r->p->cls[k], m, r->step);
			if (r->part[k][m] > WHOLE_ENOUGH && usd > best && may_add(r, k, m)) {
				best = usd;
				best_k = k;
				best_m = m;
			}
		}
	}
	if (best > 0)
		add_one(r, best_k, best_m);
	return best > 0;
}

void plan_round(const struct plan_problem *p, const struct plan *plan, size_t step,
	uint32_t ret[PLAN_CLASSES_MAX][PLAN_MODES_MAX])
{
	struct rounding r = { .p = p, .step = step, .n = ret };
	memset(ret, 0, PLAN_CLASSES_MAX * sizeof(ret[0]));
	round_down(&r, plan);
	for (size_t k = 0; k < p->n_classes; k++)
		fill_least(&r, k);
	while (fill_best(&r))
		;
}

int plan_split(const uint32_t run[PLAN_CLASSES_MAX][PLAN_MODES_MAX], struct plan_part *parts, size_t n,
	struct err *err)
{
	uint64_t have[PLAN_CLASSES_MAX] = { 0 };
	for (size_t i = 0; i < n; i++) {
		if (parts[i].cls >= PLAN_CLASSES_MAX || isnan(parts[i].usd_per_mwh))
			return err_set(err, HCP_ERANGE, "parts", "part %zu: no such class, or no efficiency", i);
		have[parts[i].cls] += parts[i].count;
	}
	for (size_t k = 0; k < PLAN_CLASSES_MAX; k++) {
		uint64_t want = 0;
		for (size_t m = 0; m < PLAN_MODES_MAX; m++)
			want += run[k][m];
		if (want > have[k])
			return err_set(err, HCP_ERANGE, "parts", "class %zu is to run %llu devices, its parts hold %llu", k,
				(unsigned long long)want, (unsigned long long)have[k]);
	}
	for (size_t i = 0; i < n; i++)
		memset(parts[i].run, 0, sizeof(parts[i].run));
	for (size_t k = 0; k < PLAN_CLASSES_MAX; k++) {
		for (size_t m = 0; m < PLAN_MODES_MAX; m++) {
			for (uint32_t left = run[k][m]; left > 0;) {
				/* The best part that has a device left. */
				struct plan_part *best = NULL;
				uint32_t best_free = 0;
				for (size_t i = 0; i < n; i++) {
					struct plan_part *q = &parts[i];
					uint32_t used = 0;
					for (size_t j = 0; j < PLAN_MODES_MAX; j++)
						used += q->run[j];
					if (q->cls == k && used < q->count && (!best || q->usd_per_mwh > best->usd_per_mwh)) {
						best = q;
						best_free = q->count - used;
					}
				}
				uint32_t take = left < best_free ? left : best_free;
				best->run[m] += take;
				left -= take;
			}
		}
	}
	return 0;
}
