/*
 * "smpc": stochastic model predictive control. Each step: forecast the price of the next hours, make a fan of what it
 * may turn out to be of what the same forecaster missed by in moments like this one (scenario.h), decide each kind of
 * miners over the fan with the decisions to come left open (recourse), do the first step.
 *
 *	history -> forecaster -> fan of past misses, moved to the price model of "stochastic" -> program
 *
 * The misses are of forecasts that did not know what came: when the forecaster is first trained, one that knows the
 * prices until a year before is asked for each quarter-hour of that year; then every decision adds its own when the
 * last price of its path is known. Where nothing can be forecast the price model alone decides, as "stochastic" does.
 *
 * Miners are decided each kind by itself: the caller hands in no more devices than its limits let run. Devices that
 * serve are decided by the mean of the fan.
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/timefmt.h"
#include "econ/forecast.h"
#include "econ/policy_priv.h"
#include "econ/scenario.h"
#include "model/site.h"

#define DAY_NS (INT64_C(86400) * NS_PER_S)
#define STEP_NS (900 * NS_PER_S)
#define STEP_H 0.25
#define PAST_NS (365 * DAY_NS)
/* ERCOT's cap of 5,000 USD/MWh since 2022 and some congestion; its floor. */
#define PRICE_LEAST (-250.0)
#define PRICE_MOST 6000.0

/* What the price model sees coming and the forecaster does not: so much of it is left a step later (of 2022 and 2023).
 */
#define FADE 0.95
/* Of what a miner earns a MWh: below it no fan is made, which changes no decision of 2022 and 2023. */
#define CALM 0.3

enum { PATHS = 256, PAST_CAP = 2 * 35064 };

static const uint16_t steps[SCENARIO_STEPS] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 };

/* A forecast that waits for what comes. */
struct pending {
	int64_t at_ns;
	struct scenario_key key;
	double mean[SCENARIO_STEPS];
};

struct smpc {
	struct forecaster fc;
	bool made; /* fc is of `point` */
	char point[HISTORY_LOCATION_MAX];
	struct spike spike;
	struct scenario_past past;
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
	rc = rc ? rc : scenario_past_init(&m->past, PAST_CAP, err);
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
	if (m->made)
		forecaster_release(&m->fc);
	policy_spike_release(&m->spike);
	scenario_past_release(&m->past);
	mem_free(m);
	p->priv = NULL;
}

/* ---- what was missed ---- */

/* False: a price of the hour before is not known. Reads nothing that began at t or later. */
static bool key_at(const struct history_series *h, int64_t t_ns, double mean, struct scenario_key *ret)
{
	double p[4], high = -INFINITY;
	for (int i = 0; i < 4; i++) {
		p[i] = history_at(h, t_ns - (i + 1) * STEP_NS);
		high = fmax(high, p[i]);
		if (isnan(p[i]))
			return false;
	}
	int64_t local_s = t_ns / NS_PER_S + timefmt_central_offset_s(t_ns);
	*ret = scenario_key_of(p[0], p[1], high, mean, (double)(local_s % 86400) / 86400);
	return true;
}

/* The miss of a forecast made at t, if all its prices are known by now. */
static int add_miss(struct smpc *m, const struct history_series *h, const struct pending *f, struct err *err)
{
	double came[SCENARIO_STEPS];
	for (int64_t k = 0; k < SCENARIO_STEPS; k++) {
		came[k] = history_at(h, f->at_ns + k * STEP_NS);
		if (isnan(came[k]))
			return 0;
	}
	return scenario_past_add(&m->past, &f->key, f->mean, came, err);
}

static int predict(
	struct forecaster *fc, const struct history *h, int64_t at_ns, double mean[SCENARIO_STEPS], struct err *err)
{
	struct forecast_point at[SCENARIO_STEPS];
	int rc = forecaster_predict_at(fc, h, at_ns, steps, SCENARIO_STEPS, at, err);
	for (size_t k = 0; k < SCENARIO_STEPS && rc == 0; k++)
		mean[k] = at[k].mean;
	return rc;
}

/* A year of misses, by a forecaster that knows what was known before that year (of a shorter history half of it). */
static int look_back(struct smpc *m, const struct policy_input *in, const struct history_series *h, struct err *err)
{
	struct forecaster old;
	int64_t half_ns = (in->now_ns - h->first_ns) / 2 / STEP_NS * STEP_NS;
	int64_t from_ns = in->now_ns - (half_ns < PAST_NS ? half_ns : PAST_NS);
	int rc = policy_forecaster_make(&old, m->point, err);
	if (rc < 0)
		return rc;
	rc = forecaster_learn(&old, in->history, from_ns, err);
	for (int64_t t = from_ns; t + SCENARIO_STEPS * STEP_NS <= in->now_ns && rc == 0; t += STEP_NS) {
		struct pending f = { .at_ns = t };
		rc = predict(&old, in->history, t, f.mean, err);
		if (rc == 0 && key_at(h, t, f.mean[0], &f.key))
			rc = add_miss(m, h, &f, err);
		rc = rc == HCP_EAGAIN ? 0 : rc;
	}
	forecaster_release(&old);
	return rc == HCP_EAGAIN ? 0 : rc;
}

/* ---- what is foreseen ---- */

static int take_point(struct smpc *m, const char *point, struct err *err)
{
	if (m->made && strcmp(m->point, point) == 0)
		return 0;
	if (m->made)
		forecaster_release(&m->fc);
	m->past.n = m->past.next = 0;
	memset(m->pending, 0, sizeof(m->pending));
	int rc = policy_forecaster_make(&m->fc, point, err);
	m->made = rc == 0;
	if (rc == 0)
		memcpy(m->point, m->fc.conf.location, sizeof(m->point));
	return rc;
}

/* The forecast of now, and the miss of the one whose last price has come. HCP_EAGAIN: nothing to forecast by. */
static int foresee(struct smpc *m, const struct policy_input *in, struct pending *ret, struct err *err)
{
	if (!in->history || !in->site || in->site->fixed || in->now_ns % STEP_NS != 0)
		return HCP_EAGAIN;
	int rc = take_point(m, in->site->point, err);
	if (rc < 0)
		return rc;
	const struct history_series *h = history_find(in->history, HISTORY_POWER_RT, m->point);
	bool fresh = m->fc.learned_ns == 0;
	rc = forecaster_learn(&m->fc, in->history, in->now_ns, err);
	if (rc == 0 && fresh)
		rc = look_back(m, in, h, err);
	if (rc == HCP_EAGAIN && m->fc.learned_ns)
		rc = 0;
	*ret = (struct pending){ .at_ns = in->now_ns };
	rc = rc ? rc : predict(&m->fc, in->history, in->now_ns, ret->mean, err);
	if (rc)
		return rc == HCP_ESTATE ? HCP_EAGAIN : rc;
	if (!key_at(h, in->now_ns, ret->mean[0], &ret->key))
		return HCP_EAGAIN;
	struct pending *slot = &m->pending[in->now_ns / STEP_NS % SCENARIO_STEPS];
	rc = slot->at_ns ? add_miss(m, h, slot, err) : 0;
	*slot = *ret;
	return rc;
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
static int make_fan(struct smpc *m, const struct policy_input *in, struct err *err)
{
	struct pending now;
	double first;
	int rc = foresee(m, in, &now, err);
	bool known = rc == 0, by_model;
	rc = rc == HCP_EAGAIN ? 0 : rc;
	rc = rc ? rc : policy_spike_expect(&m->spike, in, &first, &by_model, err);
	if (rc < 0)
		return rc;
	for (size_t k = 0; k < SCENARIO_STEPS && !known; k++)
		now.mean[k] = first;
	bool fan = known && !is_calm(in, first, now.mean);
	*(fan ? &m->fans : &m->lone) += 1;
	rc = scenario_fan_make(&m->past, &now.key, now.mean, fan ? PATHS : 1, PRICE_LEAST, PRICE_MOST, &m->fan, err);
	if (rc < 0)
		return rc;
	scenario_fan_move(&m->fan, first, FADE);
	scenario_groups_make(&m->fan, &m->groups);
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
}

static int smpc_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	struct smpc *m = p->priv;
	int rc = make_fan(m, in, err);
	if (rc < 0)
		return rc;
	double price = scenario_fan_mean(&m->fan, 0);
	for (size_t k = 0; k < in->n; k++) {
		struct policy_class c = in->c[k];
		if (c.can[POLICY_MINE] && !c.can[POLICY_SERVE] && c.now[POLICY_SERVE] == 0) {
			decide_miners(m, in, k, ret);
			continue;
		}
		policy_reprice(&c, price);
		policy_decide_class(&c, &ret->c[k], STEP_H, 0, &ret->explain.c[k]);
	}
	return 0;
}

static void smpc_describe(const struct policy *p, struct buf *out)
{
	const struct smpc *m = p->priv;
	buf_printf(out, "%llu decisions over a fan of %s of %zu past forecasts, %llu over one path; the first step: ",
		(unsigned long long)m->fans, m->made ? m->point : "nothing", m->past.n, (unsigned long long)m->lone);
	policy_spike_describe(&m->spike, out);
}

const struct policy_vt policy_smpc = {
	.name = "smpc",
	.about = "Weighs the next three hours over paths of prices that past forecasts left open, decides with recourse.",
	/* A replay begins anywhere, and must then decide as the first run did. */
	.not_live = "its trained forecaster and what that missed are not part of its saved state",
	.init = smpc_init,
	.release = smpc_release,
	.decide = smpc_decide,
	.save = policy_builtin_save,
	.load = policy_builtin_load,
	.describe = smpc_describe,
};
