/*
 * "smpc": stochastic model predictive control. Each step: forecast the price of the next hours, make a fan of what it
 * may turn out to be of what the same forecaster missed by in moments like this one (scenario.h), decide each kind of
 * miners over the fan with the decisions to come left open (recourse), do the first step.
 *
 *	history -> forecaster -> fan of past misses, moved to the price model of "stochastic" -> program
 *
 * In a backtest the misses are of the year before the first forecast (misses.h), then every decision adds its own when
 * the last price of its path is known. Where it is taught they come with the input, and are those of the last lesson.
 * Where nothing can be forecast the price model alone decides, as "stochastic" does.
 *
 * What the switches gain is the difference of the two programs' worth: doing it now, or not now.
 *
 * Miners are decided each kind by itself: the caller hands in no more devices than its limits let run. Devices that
 * serve are decided by the mean of the fan.
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/money.h"
#include "econ/misses.h"
#include "econ/policy_forecast.h"
#include "econ/policy_priv.h"
#include "model/site.h"

#define STEP_NS (900 * NS_PER_S)
#define STEP_H 0.25
/* ERCOT's cap of 5,000 USD/MWh since 2022 and some congestion; its floor. */
#define PRICE_LEAST (-250.0)
#define PRICE_MOST 6000.0

/* What the price model sees coming and the forecaster does not: so much of it is left a step later (of 2022 and 2023).
 */
#define FADE 0.95
/* Of what a miner earns a MWh: below it no fan is made, which changes no decision of 2022 and 2023. */
#define CALM 0.3

enum { PATHS = 256 };

/* A forecast that waits for what comes. */
struct pending {
	int64_t at_ns;
	struct scenario_key key;
	double mean[SCENARIO_STEPS];
};

struct smpc {
	struct policy_forecast ahead;
	struct spike spike;
	struct scenario_past past;                /* of the point of `ahead`; empty where it is taught */
	struct pending pending[SCENARIO_STEPS]; /* by the number of the step, modulo */
	struct scenario_fan fan;
	struct scenario_groups groups;
	uint64_t fans, lone; /* decisions over a fan; without one */
};

static int smpc_init(struct policy *p, const struct policy_conf *conf, struct err *err)
{
	struct smpc *m = mem_calloc(1, sizeof(*m));
	if (!m)
		return err_set(err, HCP_ENOMEM, "", "no memory for a policy");
	int rc = conf->model.n ? spike_load(&m->spike.given, conf->model, err) : 0;
	if (rc == 0 && !conf->taught)
		rc = scenario_past_init(&m->past, MISSES_CAP, err);
	if (rc < 0) {
		policy_spike_release(&m->spike);
		mem_free(m);
		return rc;
	}
	p->conf.model = (struct str){ 0 }; /* was borrowed */
	p->priv = m;
	return 0;
}

static void smpc_release(struct policy *p)
{
	struct smpc *m = p->priv;
	if (!m)
		return;
	policy_forecast_release(&m->ahead);
	policy_spike_release(&m->spike);
	scenario_past_release(&m->past);
	mem_free(m);
	p->priv = NULL;
}

/* ---- what is foreseen ---- */

/* The miss of the forecast whose last price has come. */
static int learn_misses(
	struct smpc *m, const struct pending *now, const struct history_series *h, struct err *err)
{
	struct pending *slot = &m->pending[now->at_ns / STEP_NS % SCENARIO_STEPS];
	int rc = slot->at_ns ? misses_add(&m->past, h, slot->at_ns, &slot->key, slot->mean, err) : 0;
	*slot = *now;
	return rc;
}

/* The forecast of now, and what such forecasts missed by. HCP_EAGAIN: nothing to forecast by. */
static int foresee(struct smpc *m, const struct policy_input *in, struct pending *ret, struct scenario_past **ret_past,
	struct err *err)
{
	bool first;
	*ret = (struct pending){ .at_ns = in->now_ns - in->now_ns % STEP_NS };
	int rc = policy_forecast_say(&m->ahead, in, SCENARIO_STEPS, ret->mean, &first, err);
	if (first) {
		m->past.n = m->past.next = 0;
		memset(m->pending, 0, sizeof(m->pending));
		int back = misses_look_back(&m->past, in->history, in->site->point, in->now_ns, NULL, err);
		rc = back < 0 && back != HCP_EAGAIN ? back : rc;
	}
	if (rc < 0)
		return rc;
	const struct history_series *h = history_find(in->history, HISTORY_POWER_RT, in->site->point);
	if (in->taught && in->taught->past)
		*ret_past = in->taught->past;
	if (!misses_key(h, ret->at_ns, ret->mean[0], &ret->key))
		return HCP_EAGAIN;
	return in->taught ? 0 : learn_misses(m, ret, h, err);
}

/* ---- decisions ---- */

/* Nothing that is foreseen comes near what the least of the running miners earns. */
static bool is_calm(const struct policy_input *in, double first, const double price[SCENARIO_STEPS])
{
	double highest = first;
	for (size_t k = 0; k < SCENARIO_STEPS; k++)
		highest = fmax(highest, price[k]);
	for (size_t i = 0; i < in->n; i++) {
		const struct policy_class *c = &in->c[i];
		double usd_h = c->gross_usd_h[POLICY_MINE] - c->gross_usd_h[POLICY_IDLE];
		double mwh_h = c->mwh_h[POLICY_MINE] - c->mwh_h[POLICY_IDLE];
		if (c->n_modes > 1)
			return false; /* which of them is best is in question at lower prices */
		if (c->can[POLICY_MINE] && highest * mwh_h > CALM * usd_h)
			return false;
	}
	return true;
}

/* Where nothing is in question, or nothing else known, there is one path. */
static int make_fan(struct smpc *m, const struct policy_input *in, struct policy_view *ret, struct err *err)
{
	struct pending now;
	struct scenario_past *past = &m->past;
	double first;
	int rc = foresee(m, in, &now, &past, err);
	bool known = rc == 0, by_model;
	rc = rc == HCP_EAGAIN ? 0 : rc;
	rc = rc ? rc : policy_spike_expect(&m->spike, in, &first, &by_model, err);
	if (rc < 0)
		return rc;
	for (size_t k = 0; k < SCENARIO_STEPS && !known; k++)
		now.mean[k] = first;
	bool fan = known && !is_calm(in, first, now.mean);
	rc = scenario_fan_make(past, &now.key, now.mean, fan ? PATHS : 1, PRICE_LEAST, PRICE_MOST, &m->fan, err);
	if (rc < 0)
		return rc;
	fan = m->fan.paths > 1;
	ret->by = !known ? (by_model ? "price_model" : "last_price")
			  : fan  ? (by_model ? "fan+price_model" : "fan")
					 : (by_model ? "forecast+price_model" : "forecast");
	*(fan ? &m->fans : &m->lone) += 1;
	scenario_fan_move(&m->fan, first, FADE);
	scenario_groups_make(&m->fan, &m->groups);
	ret->usd_mwh = scenario_fan_mean(&m->fan, 0);
	return 0;
}

static struct scenario_miner miner_of(const struct policy_input *in, const struct policy_class *c)
{
	struct scenario_miner r = { .modes = c->n_modes ? c->n_modes : 1,
		.idle_mwh = c->mwh_h[POLICY_IDLE] * STEP_H,
		.start_usd = c->switch_cost_usd[POLICY_MINE] };
	for (size_t m = 0; m < r.modes; m++) {
		double gross = c->n_modes ? c->mode_gross_usd_h[m] : c->gross_usd_h[POLICY_MINE];
		r.gross_usd[m] = (gross - c->gross_usd_h[POLICY_IDLE]) * STEP_H;
		r.mwh[m] = (c->n_modes ? c->mode_mwh_h[m] : c->mwh_h[POLICY_MINE]) * STEP_H;
	}
	const struct site_group *g = c->group;
	if (!g)
		return r;
	int64_t start_ns = site_start_ns(g);
	struct site_slice s = site_mine_slice(g, 0, start_ns);
	double full_s = (double)start_ns / (double)NS_PER_S;
	r.start_mwh = (full_s * g->cls->power_w[DEVICE_FILL] - s.plug_j) * in->site->pue / 3.6e9;
	r.start_usd = c->cls->fill_ths * in->hashprice_usd_ths_h * (full_s - s.hash_s) / 3600 + g->start_wear_usd;
	r.min_up = (size_t)((g->min_up_ns + STEP_NS - 1) / STEP_NS);
	r.min_down = (size_t)((g->min_down_ns + STEP_NS - 1) / STEP_NS);
	return r;
}

/* The cost of a start is in its worth, and is told apart. */
static void decide_miners(struct smpc *m, const struct policy_input *in, size_t k, struct policy_output *ret)
{
	const struct policy_class *c = &in->c[k];
	struct scenario_miner miner = miner_of(in, c);
	struct scenario_worth w;
	uint32_t target[POLICY_USE_END] = { 0 };
	scenario_decide(&m->fan, &m->groups, &miner, &w);
	uint32_t held_on = c->held[POLICY_MINE], held_off = c->held[POLICY_IDLE];
	target[POLICY_MINE] = w.run_usd >= w.stop_usd ? c->now[POLICY_MINE] : held_on;
	target[POLICY_MINE] += w.start_usd > w.stay_usd ? c->now[POLICY_IDLE] - held_off : 0;
	target[POLICY_IDLE] = c->count - target[POLICY_MINE];
	policy_take_target(c, target, STEP_H, &ret->c[k], &ret->explain.c[k]);
	ret->c[k].mode = w.mode;
	double moved = (double)target[POLICY_MINE] - c->now[POLICY_MINE];
	ret->explain.view.gain_usd += moved > 0 ? moved * (w.start_usd - w.stay_usd + c->switch_cost_usd[POLICY_MINE])
											: -moved * (w.stop_usd - w.run_usd);
}

static double gain_usd(const struct policy_class *c, const struct policy_target *t)
{
	double usd = 0;
	for (int u = 0; u < POLICY_USE_END; u++)
		usd += ((double)t->target[u] - c->now[u]) * c->net_usd_h[u] * STEP_H;
	return usd;
}

static int smpc_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	struct smpc *m = p->priv;
	struct decision_explain *e = &ret->explain;
	int rc = make_fan(m, in, &e->view, err);
	if (rc < 0)
		return rc;
	e->horizon_ns = SCENARIO_STEPS * STEP_NS;
	e->view.stated = true;
	for (size_t k = 0; k < in->n; k++) {
		struct policy_class c = in->c[k];
		if (c.can[POLICY_MINE] && !c.can[POLICY_SERVE] && c.now[POLICY_SERVE] == 0) {
			decide_miners(m, in, k, ret);
		} else {
			policy_reprice(&c, e->view.usd_mwh);
			policy_decide_class(&c, &ret->c[k], STEP_H, 0, &e->c[k]);
			ret->c[k].mode = c.mode;
			e->view.gain_usd += gain_usd(&c, &ret->c[k]);
		}
		e->view.switched += policy_switched(&in->c[k], &ret->c[k]);
	}
	return 0;
}

static void smpc_describe(const struct policy *p, struct buf *out)
{
	const struct smpc *m = p->priv;
	buf_printf(out, "%llu decisions over a fan of %s of %zu past forecasts, %llu over one path; the first step: ",
		(unsigned long long)m->fans, policy_forecast_point(&m->ahead), m->past.n, (unsigned long long)m->lone);
	policy_spike_describe(&m->spike, out);
}

const struct policy_vt policy_smpc = {
	.name = "smpc",
	.about = "Weighs the next three hours over paths of prices that past forecasts left open, decides with recourse.",
	.needs = POLICY_NEEDS_FORECAST | POLICY_NEEDS_PRICE_MODEL | POLICY_NEEDS_MISSES,
	.init = smpc_init,
	.release = smpc_release,
	.decide = smpc_decide,
	.save = policy_builtin_save,
	.load = policy_builtin_load,
	.describe = smpc_describe,
};
