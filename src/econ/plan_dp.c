#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "econ/plan_priv.h"

/*
 * The states of one device before a step: on in a mode, or off, and for how many steps, this one included, a minimum
 * time still holds it there.
 *
 *	on(m, 0) .. on(m, n_on-1)   for each mode,   off(0) .. off(n_off-1)
 */
struct program {
	const struct plan_problem *p;
	const struct plan_class *c;
	size_t n_on, n_off, states;
	double *value; /* [2][states]: of the next step and of this one */
	uint16_t *go;  /* [steps][states]: the state before the next step on the best way */
};

static size_t on(const struct program *d, size_t mode, size_t held)
{
	return mode * d->n_on + held;
}

static size_t off(const struct program *d, size_t held)
{
	return d->c->n_modes * d->n_on + held;
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* Steps through which somebody is held. */
static size_t held_steps(const uint32_t keep[PLAN_HOLD_MAX])
{
	size_t n = 0;
	while (n < PLAN_HOLD_MAX && keep[n] > 0)
		n++;
	return n;
}

bool plan_dp_fits(const struct plan_problem *p, size_t cls)
{
	const struct plan_class *c = &p->cls[cls];
	if ((c->ramp > 0 && c->ramp < c->count) || (c->n_modes > 1 && c->keep_on[0] > 0))
		return false;
	for (size_t m = 0; m < c->n_modes; m++)
		if (c->mode[m].most)
			return false;
	for (size_t j = 0; j < p->n_contracts; j++)
		if (p->contract[j].cls == cls)
			return false;
	for (size_t j = 0; j < p->n_batches; j++)
		if (p->batch[j].cls == cls)
			return false;
	return true;
}

static size_t left(size_t held)
{
	return held ? held - 1 : 0;
}

/* Best way on from each state at step t. Of ways that are worth the same the one with fewer changes. */
static void step_back(const struct program *d, size_t t, const double *next, double *now, uint16_t *go)
{
	const struct plan_class *c = d->c;
	double start = plan_start_usd(d->p, c, t);
	for (size_t m = 0; m < c->n_modes; m++) {
		for (size_t held = 0; held < d->n_on; held++) {
			size_t stay = on(d, m, left(held));
			double best = plan_mode_usd(d->p, c, m, t) + next[stay];
			size_t to = stay;
			for (size_t k = 0; k < c->n_modes; k++) {
				double v = plan_mode_usd(d->p, c, k, t) - c->mode[k].enter_usd + next[on(d, k, left(held))];
				if (k != m && v > best) {
					best = v;
					to = on(d, k, left(held));
				}
			}
			size_t stop = off(d, left(c->min_down));
			if (held == 0 && next[stop] > best) {
				best = next[stop];
				to = stop;
			}
			now[on(d, m, held)] = best;
			go[on(d, m, held)] = (uint16_t)to;
		}
	}
	for (size_t held = 0; held < d->n_off; held++) {
		size_t to = off(d, left(held));
		double best = next[to];
		for (size_t m = 0; m < c->n_modes && held == 0; m++) {
			size_t begin = on(d, m, left(c->min_up));
			double v = plan_mode_usd(d->p, c, m, t) - start - c->mode[m].enter_usd + next[begin];
			if (v > best) {
				best = v;
				to = begin;
			}
		}
		now[off(d, held)] = best;
		go[off(d, held)] = (uint16_t)to;
	}
}

/* Devices that begin in a state take its best way; returns what it is worth. */
static double walk(const struct program *d, const double *value, size_t state, double n, double *devices)
{
	double usd = n * value[state];
	for (size_t t = 0; t < d->p->steps && n > 0; t++) {
		state = d->go[t * d->states + state];
		if (state < off(d, 0))
			devices[state / d->n_on * d->p->steps + t] += n;
	}
	return usd;
}

/* Those that a minimum time holds through step t and no longer begin with t + 1 steps to go. */
static double walk_held(const struct program *d, const double *value, size_t first, const uint32_t keep[PLAN_HOLD_MAX],
	double *devices)
{
	double usd = 0;
	for (size_t t = 0; t < PLAN_HOLD_MAX; t++) {
		uint32_t longer = t + 1 < PLAN_HOLD_MAX ? keep[t + 1] : 0;
		if (keep[t] > longer)
			usd += walk(d, value, first + t + 1, keep[t] - longer, devices);
	}
	return usd;
}

int plan_dp(const struct plan_problem *p, size_t cls, double *devices, double *ret_device_usd, double *ret_usd,
	struct err *err)
{
	const struct plan_class *c = &p->cls[cls];
	struct program d = { .p = p, .c = c };
	d.n_on = larger(larger(c->min_up, held_steps(c->keep_on) + 1), 1);
	d.n_off = larger(larger(c->min_down, held_steps(c->keep_off) + 1), 1);
	d.states = c->n_modes * d.n_on + d.n_off;
	d.value = mem_calloc(2 * d.states, sizeof(*d.value));
	d.go = mem_calloc(p->steps * d.states, sizeof(*d.go));
	int rc = 0;
	if (!d.value || !d.go) {
		rc = err_set(err, HCP_ENOMEM, "", "no memory for a program of %zu states", d.states);
		goto out;
	}
	double *next = d.value, *now = d.value + d.states;
	for (size_t t = p->steps; t-- > 0;) {
		step_back(&d, t, next, now, d.go + t * d.states);
		double *swap = next;
		next = now;
		now = swap;
	}
	memset(devices, 0, PLAN_MODES_MAX * p->steps * sizeof(*devices));
	double usd = 0;
	uint32_t running = plan_running(c);
	for (size_t m = 0; m < c->n_modes; m++)
		usd += walk(&d, next, on(&d, m, 0), c->now[m] - (c->n_modes == 1 ? c->keep_on[0] : 0), devices);
	usd += walk_held(&d, next, on(&d, 0, 0), c->keep_on, devices);
	usd += walk(&d, next, off(&d, 0), c->count - running - c->keep_off[0], devices);
	usd += walk_held(&d, next, off(&d, 0), c->keep_off, devices);
	*ret_device_usd = next[off(&d, 0)];
	*ret_usd = usd;
out:
	mem_free(d.value);
	mem_free(d.go);
	return rc;
}
