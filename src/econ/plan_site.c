#include "econ/plan_site.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/money.h"
#include "model/site.h"

#define WATTS 1e6 /* of a MWh an hour */

void plan_site_release(struct plan_site *s)
{
	mem_free(s->serve);
	s->serve = NULL;
	s->steps = 0;
}

static uint32_t steps_of(int64_t ns, double step_s)
{
	double n = ceil((double)ns / (double)NS_PER_S / step_s - 1e-9);
	return n < 0 ? 0 : n > PLAN_HOLD_MAX ? PLAN_HOLD_MAX : (uint32_t)n;
}

/* Devices that a minimum time still holds, all as long as the newest of them: never less than is true. */
static void fill_held(const struct policy_class *in, double step_s, struct plan_class *c)
{
	const struct site_group *g = in->group;
	uint32_t on = in->held[POLICY_MINE] + in->held[POLICY_SERVE], off = in->held[POLICY_IDLE];
	int64_t age_on = in->age_ns[POLICY_MINE], age_off = in->age_ns[POLICY_IDLE];
	for (size_t t = 0; t < PLAN_HOLD_MAX; t++) {
		int64_t at_ns = (int64_t)((double)t * step_s * (double)NS_PER_S);
		c->keep_on[t] = age_on < INT64_MAX && age_on + at_ns < g->min_up_ns ? on : 0;
		c->keep_off[t] = age_off < INT64_MAX && age_off + at_ns < g->min_down_ns ? off : 0;
	}
}

static void fill_start(const struct policy_class *in, double pue, double step_s, struct plan_class *c)
{
	const struct site_group *g = in->group;
	double boot_s = (double)(in->boot_ns ? in->boot_ns : g->boot_ns) / (double)NS_PER_S,
		   ramp_s = (double)g->ramp_ns / (double)NS_PER_S;
	c->restart_usd = g->start_wear_usd;
	/* Of the ramp half the work is lost, and nothing is saved. */
	c->restart_s = boot_s + ramp_s / 2;
	double saved_j = fmax(c->mode[0].watts - g->boot_w * pue, 0) * boot_s;
	c->restart_w = c->restart_s > 0 ? fmax(c->mode[0].watts - saved_j / c->restart_s, 0) : 0;
	c->min_up = steps_of(g->min_up_ns, step_s);
	c->min_down = steps_of(g->min_down_ns, step_s);
	fill_held(in, step_s, c);
}

static void add_mode(struct plan_site *s, size_t k, const struct policy_class *in, enum policy_use use)
{
	struct plan_class *c = &s->problem.cls[k];
	size_t m = c->n_modes++;
	s->use[k][m] = use;
	c->now[m] = in->now[use];
	c->mode[m] = (struct plan_mode){ .name = policy_use_name(use),
		.watts = fmax(in->mwh_h[use], in->mwh_h[POLICY_IDLE]) * WATTS,
		.revenue_usd_h = in->gross_usd_h[use] - in->gross_usd_h[POLICY_IDLE],
		.sheds = use == POLICY_MINE };
}

/* Devices that mine now are taken to be in the first mode: going from one to another costs nothing. */
static void add_mining(struct plan_site *s, size_t k, const struct policy_class *in)
{
	struct policy_class one = *in;
	for (size_t m = 0; m < in->n_modes; m++) {
		one.now[POLICY_MINE] = m ? 0 : in->now[POLICY_MINE];
		one.gross_usd_h[POLICY_MINE] = in->mode_gross_usd_h[m];
		one.mwh_h[POLICY_MINE] = in->mode_mwh_h[m];
		s->power[k][s->problem.cls[k].n_modes] = m;
		add_mode(s, k, &one, POLICY_MINE);
	}
	if (in->n_modes == 0) {
		s->power[k][s->problem.cls[k].n_modes] = 0;
		add_mode(s, k, in, POLICY_MINE);
	}
}

static void fill_class(struct plan_site *s, size_t k, const struct policy_input *in)
{
	const struct policy_class *from = &in->c[k];
	struct plan_problem *p = &s->problem;
	struct plan_class *c = &p->cls[k];
	*c = (struct plan_class){ .name = from->cls->name, .count = from->count,
		.off_w = from->mwh_h[POLICY_IDLE] * WATTS,
		.feeder = from->group && in->site ? from->group->feeder : -1 };
	uint32_t serving = 0;
	if (from->can[POLICY_SERVE]) {
		double *most = s->serve + 2 * k * p->steps, *promised = most + p->steps;
		add_mode(s, k, from, POLICY_SERVE);
		serving = from->must_serve < from->count ? from->must_serve : from->count;
		for (size_t t = 0; t < p->steps; t++) {
			most[t] = (double)from->must_serve + from->want_serve;
			promised[t] = serving;
		}
		c->mode[0].most = most;
		c->mode[0].enter_usd = from->switch_cost_usd[POLICY_SERVE];
		if (serving)
			p->contract[p->n_contracts++] = (struct plan_contract){ .name = c->name, .cls = k, .devices = promised,
				.pay_usd_h = c->mode[0].revenue_usd_h, .miss_usd_h = PLAN_SITE_MISS_USD_H };
	}
	if (from->can[POLICY_MINE])
		add_mining(s, k, from);
	if (c->n_modes == 0) { /* idles for good: a mode that nobody is in */
		add_mode(s, k, from, POLICY_IDLE);
		c->count = c->now[0] = 0;
	} else if (!from->can[POLICY_SERVE] && from->group) {
		fill_start(from, in->site ? in->site->pue : 1, p->step_s, c);
	} else if (from->can[POLICY_MINE]) {
		c->mode[c->n_modes - 1].enter_usd = from->switch_cost_usd[POLICY_MINE];
	}
}

int plan_site_fill(struct plan_site *s, const struct policy_input *in, const double *price_usd_mwh, size_t steps,
	double step_s, struct err *err)
{
	struct plan_problem *p = &s->problem;
	if (in->n > PLAN_CLASSES_MAX || steps < 1 || steps > PLAN_STEPS_MAX)
		return err_set(err, HCP_EINVAL, "steps", "of 1 to %d and %d classes at most", PLAN_STEPS_MAX, PLAN_CLASSES_MAX);
	if (s->steps < steps) {
		double *serve = mem_calloc(2 * (size_t)POLICY_CLASSES_MAX * steps, sizeof(*serve));
		if (!serve)
			return err_set(err, HCP_ENOMEM, "", "no memory for a plan of %zu steps", steps);
		mem_free(s->serve);
		s->serve = serve;
		s->steps = steps;
	}
	memset(p, 0, sizeof(*p));
	p->steps = steps;
	p->step_s = step_s;
	p->price_usd_mwh = price_usd_mwh;
	p->pue = 1;
	p->site_limit_w = in->site && in->site->limit_w > 0 ? in->site->limit_w : INFINITY;
	p->n_feeders = in->site ? in->site->n_feeders : 0;
	for (size_t f = 0; f < p->n_feeders; f++)
		p->feeder_limit_w[f] = in->site->feeder[f].limit_w;
	p->n_classes = in->n;
	for (size_t k = 0; k < in->n; k++)
		fill_class(s, k, in);
	return 0;
}

void plan_site_targets(const struct plan_site *s, const struct policy_input *in, const struct plan *plan, size_t step,
	uint32_t ret[POLICY_CLASSES_MAX][POLICY_USE_END])
{
	uint32_t n[PLAN_CLASSES_MAX][PLAN_MODES_MAX];
	plan_round(&s->problem, plan, step, n);
	for (size_t k = 0; k < in->n; k++) {
		uint32_t left = in->c[k].count;
		memset(ret[k], 0, sizeof(ret[k]));
		for (size_t m = 0; m < s->problem.cls[k].n_modes; m++) {
			if (s->use[k][m] == POLICY_IDLE)
				continue;
			ret[k][s->use[k][m]] += n[k][m];
			left -= n[k][m];
		}
		ret[k][POLICY_IDLE] = left;
	}
}

size_t plan_site_power(const struct plan_site *s, const struct plan *plan, size_t cls, size_t step)
{
	size_t power = 0;
	double most = 0;
	for (size_t m = 0; m < s->problem.cls[cls].n_modes; m++) {
		double n = plan_devices(plan, cls, m)[step];
		if (s->use[cls][m] == POLICY_MINE && n > most) {
			most = n;
			power = s->power[cls][m];
		}
	}
	return power;
}
