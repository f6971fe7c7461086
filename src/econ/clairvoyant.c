#include "econ/clairvoyant.h"

#include <math.h>

#include "base/mem.h"
#include "base/money.h"

#define J_MWH 3.6e9
#define HOUR_S 3600.0

static double mode_usd(const struct clairvoyant *c, size_t i, int64_t since_ns, size_t mode)
{
	const struct site_group *g = c->group;
	struct site_slice s = site_mode_slice(g, mode, since_ns, c->step_ns);
	double hours = (double)c->step_ns / (double)NS_PER_S / HOUR_S;
	return site_mode_at(g, mode).ths * c->hashprice_usd_ths_h[i] * s.hash_s / HOUR_S -
		   s.plug_j * c->pue / J_MWH * c->price_usd_mwh[i] - g->cls->wear_usd_h * hours -
		   (since_ns == 0 ? g->start_wear_usd : 0);
}

size_t clairvoyant_mode(const struct clairvoyant *c, size_t i, int64_t since_ns, double *ret_usd)
{
	size_t best = 0;
	double usd = isnan(c->price_usd_mwh[i]) ? 0 : mode_usd(c, i, since_ns, 0);
	for (size_t m = 1; m <= c->group->n_modes && !isnan(c->price_usd_mwh[i]); m++) {
		double other = mode_usd(c, i, since_ns, m);
		if (other > usd) {
			best = m;
			usd = other;
		}
	}
	if (ret_usd)
		*ret_usd = usd;
	return best;
}

double clairvoyant_mine_usd(const struct clairvoyant *c, size_t i, int64_t since_ns)
{
	double usd;
	(void)clairvoyant_mode(c, i, since_ns, &usd);
	return usd;
}

double clairvoyant_idle_usd(const struct clairvoyant *c, size_t i)
{
	if (isnan(c->price_usd_mwh[i]))
		return 0;
	double j = c->group->cls->power_w[c->group->idle_mode] * (double)c->step_ns / (double)NS_PER_S;
	return -j * c->pue / J_MWH * c->price_usd_mwh[i];
}

/* States are OFF_0 … OFF_(n_off-1), ON_0 … ON_(n_on-1); the last of each kind stays. */
struct program {
	const struct clairvoyant *c;
	size_t n_off, n_on;
	size_t down, up; /* steps that must have been spent off or on before a switch */
};

static size_t steps(int64_t ns, int64_t step_ns)
{
	return (size_t)((ns + step_ns - 1) / step_ns);
}

static size_t at_least_one(size_t n)
{
	return n ? n : 1;
}

static struct program program_of(const struct clairvoyant *c)
{
	struct program p = { .c = c,
		.down = at_least_one(steps(c->group->min_down_ns, c->step_ns)),
		.up = at_least_one(steps(c->group->min_up_ns, c->step_ns)) };
	size_t start = steps(site_start_ns(c->group), c->step_ns);
	p.n_off = p.down;
	p.n_on = p.up > start + 1 ? p.up : start + 1;
	if (c->group->start_wear_usd > 0 && p.n_on < 2)
		p.n_on = 2; /* the first step of a run is charged, later ones are not */
	return p;
}

/*
 * Best value of reaching state s in this interval, from the values before it; *from is where it came from. Ties go to
 * the plan that stays, so a plan has no switch that earns nothing.
 */
static double reach(const struct program *p, const double *value, size_t s, uint8_t *from)
{
	double best = -INFINITY;
	size_t n_off = p->n_off, last_on = n_off + p->n_on - 1;
	*from = (uint8_t)s;
	if (s == 0) {
		for (size_t on = n_off + p->up - 1; on <= last_on; on++)
			if (value[on] > best)
				best = value[on], *from = (uint8_t)on;
	} else if (s == n_off) {
		best = value[n_off - 1];
		*from = (uint8_t)(n_off - 1);
	} else {
		best = value[s - 1];
		*from = (uint8_t)(s - 1);
	}
	/* A saturated state also comes from itself. */
	if ((s == n_off - 1 || s == last_on) && value[s] >= best) {
		best = value[s];
		*from = (uint8_t)s;
	}
	return best;
}

static double reward(const struct program *p, size_t i, size_t s, double idle_usd, double full_usd)
{
	if (s < p->n_off)
		return idle_usd;
	if (s == p->n_off + p->n_on - 1 && p->n_on > 1)
		return full_usd;
	int64_t since_ns = (int64_t)(s - p->n_off) * p->c->step_ns;
	return clairvoyant_mine_usd(p->c, i, since_ns);
}

int clairvoyant_plan(const struct clairvoyant *c, uint8_t *ret_on, double *ret_usd, struct err *err)
{
	struct program p = program_of(c);
	size_t states = p.n_off + p.n_on;
	double now[CLAIRVOYANT_STATES_MAX], next[CLAIRVOYANT_STATES_MAX];
	if (states > CLAIRVOYANT_STATES_MAX)
		return err_set(err, HCP_ERANGE, "min_up_s", "minimum times and start are more than %d steps together",
			CLAIRVOYANT_STATES_MAX);
	uint8_t *from = mem_alloc(c->n * states + 1);
	if (!from)
		return err_set(err, HCP_ENOMEM, "", "no memory for a plan of %zu steps", c->n);
	for (size_t s = 0; s < states; s++)
		now[s] = s == states - 1 ? 0 : -INFINITY;
	for (size_t i = 0; i < c->n; i++) {
		double idle_usd = clairvoyant_idle_usd(c, i), full_usd = clairvoyant_mine_usd(c, i, INT64_MAX);
		for (size_t s = 0; s < states; s++)
			next[s] = reach(&p, now, s, &from[i * states + s]) + reward(&p, i, s, idle_usd, full_usd);
		memcpy(now, next, states * sizeof(now[0]));
	}
	size_t at = states - 1;
	for (size_t s = states - 1; s-- > 0;)
		if (now[s] > now[at])
			at = s;
	*ret_usd = now[at];
	for (size_t i = c->n; i-- > 0;) {
		ret_on[i] = at >= p.n_off;
		at = from[i * states + at];
	}
	mem_free(from);
	return 0;
}
