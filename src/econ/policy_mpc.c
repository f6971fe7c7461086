/*
 * "mpc": model predictive control. Each step: forecast the price of the next hours, solve the plan of the whole site
 * for it (plan.h), do the plan's first step; the rest is planned anew the next time.
 *
 *	history -> forecaster -> mean price of MPC_STEPS quarter-hours -> plan -> targets of the first
 *	        -> price model of "stochastic" -> the first of them
 *
 * The price model knows the coming quarter-hour better than the forecaster, since it weighs errors by what they cost.
 * What it sees coming and the forecaster does not is taken to fade: MPC_FADE of it is left a step later (chosen on
 * 2023).
 *
 * Where there is no forecast yet (policy_forecast.h) the day before stands for the day; with a fixed tariff, or nothing
 * known at all, the present price. Every plan is solved from nothing, so that a replay, which begins anywhere, decides
 * as the first run did.
 *
 * What the switches gain is what the plan is worth above doing nothing now and planning on a step later.
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/money.h"
#include "econ/plan_site.h"
#include "econ/policy_forecast.h"
#include "econ/policy_priv.h"
#include "model/site.h"

enum { MPC_STEPS = 24 }; /* six hours: starts cost minutes, so what comes later decides nothing now */
#define DAY_NS (INT64_C(86400) * NS_PER_S)
#define MPC_STEP_NS (900 * NS_PER_S)
#define MPC_FADE 0.8

struct mpc {
	struct policy_forecast ahead;
	struct spike spike;
	struct plan_solver *solver;
	struct plan_site site;
	double price[MPC_STEPS];
	uint64_t forecast, last; /* decisions by a forecast; without one */
};

static int mpc_init(struct policy *p, const struct policy_conf *conf, struct err *err)
{
	struct mpc *m = mem_calloc(1, sizeof(*m));
	if (!m)
		return err_set(err, HCP_ENOMEM, "", "no memory for a policy");
	int rc = conf->model.n ? spike_load(&m->spike.given, conf->model, err) : 0;
	rc = rc ? rc : plan_solver_new(NULL, &m->solver, err);
	if (rc < 0) {
		policy_spike_release(&m->spike);
		mem_free(m);
		return rc;
	}
	p->conf.model = (struct str){ 0 }; /* was borrowed */
	p->priv = m;
	return 0;
}

static void mpc_release(struct policy *p)
{
	struct mpc *m = p->priv;
	if (!m)
		return;
	policy_forecast_release(&m->ahead);
	policy_spike_release(&m->spike);
	plan_site_release(&m->site);
	plan_solver_free(m->solver);
	mem_free(m);
	p->priv = NULL;
}

/* Nothing to train on yet: the price of the same time a day before, where it is known, else the present one. */
static void day_before(struct mpc *m, const struct policy_input *in)
{
	bool known = in->history && in->site && !in->site->fixed;
	const struct history_series *h = known ? history_find(in->history, HISTORY_POWER_RT, in->site->point) : NULL;
	for (size_t t = 0; t < MPC_STEPS; t++) {
		double before = history_at(h, in->now_ns + (int64_t)t * MPC_STEP_NS - DAY_NS);
		m->price[t] = isnan(before) ? in->electricity_usd_mwh : before;
	}
}

static int expect(struct mpc *m, const struct policy_input *in, struct policy_view *ret, struct err *err)
{
	double first, more;
	bool known;
	int rc = policy_forecast_say(&m->ahead, in, MPC_STEPS, m->price, &known, err);
	if (rc != 0 && rc != HCP_EAGAIN)
		return rc;
	*(rc ? &m->last : &m->forecast) += 1;
	if (rc)
		day_before(m, in);
	ret->by = rc ? "day_before" : "forecast";
	rc = policy_spike_expect(&m->spike, in, &first, &known, err);
	if (known)
		ret->by = strcmp(ret->by, "forecast") == 0 ? "forecast+price_model" : "day_before+price_model";
	more = rc ? 0 : first - m->price[0];
	for (size_t t = 0; t < MPC_STEPS && rc == 0; t++, more *= MPC_FADE)
		m->price[t] += more;
	ret->usd_mwh = m->price[0];
	return rc;
}

static int solve(struct mpc *m, const struct policy_input *in, size_t from, struct plan *ret, struct err *err)
{
	int rc =
		plan_site_fill(&m->site, in, m->price + from, MPC_STEPS - from, (double)MPC_STEP_NS / (double)NS_PER_S, err);
	plan_solver_clear(m->solver);
	return rc ? rc : plan_solve(m->solver, &m->site.problem, ret, err);
}

/* What doing nothing in the first step and planning on from the second is worth, as plan.money.total is reckoned. */
static int value_of_waiting(struct mpc *m, const struct policy_input *in, double *ret, struct err *err)
{
	const double hours = (double)MPC_STEP_NS / (3600.0 * (double)NS_PER_S);
	struct policy_input later = *in;
	struct plan plan;
	double usd = 0;
	for (size_t k = 0; k < later.n; k++) {
		struct policy_class *c = &later.c[k];
		for (int u = 0; u < POLICY_USE_END; u++) {
			double gross = c->gross_usd_h[u] - c->gross_usd_h[POLICY_IDLE];
			usd += c->now[u] * (gross - c->mwh_h[u] * m->price[0]) * hours;
			c->age_ns[u] += c->age_ns[u] < INT64_MAX - MPC_STEP_NS ? MPC_STEP_NS : 0;
		}
	}
	int rc = solve(m, &later, 1, &plan, err);
	if (rc)
		return rc;
	*ret = usd + plan.money.total;
	plan_release(&plan);
	return 0;
}

/* Tells what the plan is worth, and its shadow prices. */
static int tell(
	struct mpc *m, const struct policy_input *in, const struct plan *plan, struct policy_output *out, struct err *err)
{
	struct decision_explain *e = &out->explain;
	double waiting = 0, switching = 0;
	e->horizon_ns = MPC_STEPS * MPC_STEP_NS;
	e->plan = (struct policy_plan){ MPC_STEPS, plan->money.total, plan->site_usd_mwh[0] };
	e->view.stated = true;
	for (size_t k = 0; k < in->n; k++) {
		const struct policy_class *c = &in->c[k];
		e->c[k].one_more_usd = plan->class_usd[k];
		e->view.switched += policy_switched(c, &out->c[k]);
		for (int u = 0; u < POLICY_USE_END; u++)
			if (out->c[k].target[u] > c->now[u])
				switching += (out->c[k].target[u] - c->now[u]) * c->switch_cost_usd[u];
	}
	int rc = e->view.switched ? value_of_waiting(m, in, &waiting, err) : 0;
	if (rc == HCP_ENOTFOUND) { /* doing nothing breaks what binds: there is no such choice */
		e->view.weighed = true;
		rc = 0;
	} else if (e->view.switched) {
		e->view.gain_usd = plan->money.total - waiting + switching;
	}
	return rc;
}

static int mpc_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	struct mpc *m = p->priv;
	struct plan plan;
	uint32_t target[POLICY_CLASSES_MAX][POLICY_USE_END];
	int rc = expect(m, in, &ret->explain.view, err);
	rc = rc ? rc : solve(m, in, 0, &plan, err);
	if (rc)
		return rc;
	plan_site_targets(&m->site, in, &plan, 0, target);
	for (size_t k = 0; k < in->n; k++) {
		policy_take_target(&in->c[k], target[k], (double)MPC_STEP_NS / (3600.0 * (double)NS_PER_S), &ret->c[k],
			&ret->explain.c[k]);
		ret->c[k].mode = plan_site_power(&m->site, &plan, k, 0);
	}
	rc = tell(m, in, &plan, ret, err);
	plan_release(&plan);
	return rc;
}

static void mpc_describe(const struct policy *p, struct buf *out)
{
	const struct mpc *m = p->priv;
	buf_printf(out, "%llu plans by forecasts of %s, %llu by the day before", (unsigned long long)m->forecast,
		policy_forecast_point(&m->ahead), (unsigned long long)m->last);
	buf_addz(out, "; the first step: ");
	policy_spike_describe(&m->spike, out);
}

const struct policy_vt policy_mpc = {
	.name = "mpc",
	.about = "Plans the next six hours by forecast prices, does the first step, and plans again.",
	.needs = POLICY_NEEDS_FORECAST | POLICY_NEEDS_PRICE_MODEL,
	.init = mpc_init,
	.release = mpc_release,
	.decide = mpc_decide,
	.save = policy_builtin_save,
	.load = policy_builtin_load,
	.describe = mpc_describe,
};
