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
 * The forecaster is trained when MPC_RETRAIN has passed since the last time. Where it has nothing to go by yet, the day
 * before stands for the day; with a fixed tariff, or nothing known at all, the present price.
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/money.h"
#include "econ/forecast.h"
#include "econ/plan_site.h"
#include "econ/policy_priv.h"
#include "model/site.h"

enum { MPC_STEPS = 24 }; /* six hours: starts cost minutes, so what comes later decides nothing now */
#define DAY_NS (INT64_C(86400) * NS_PER_S)
#define MPC_STEP_NS (900 * NS_PER_S)
#define MPC_RETRAIN_NS (91 * DAY_NS)
#define MPC_MODEL "trees"
#define MPC_FADE 0.8

struct mpc {
	struct forecaster fc;
	bool made;        /* fc is of `point` */
	char point[HISTORY_LOCATION_MAX];
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
	if (m->made)
		forecaster_release(&m->fc);
	policy_spike_release(&m->spike);
	plan_site_release(&m->site);
	plan_solver_free(m->solver);
	mem_free(m);
	p->priv = NULL;
}

static int make_forecaster(struct mpc *m, const char *point, struct err *err)
{
	struct forecast_conf conf;
	if (m->made && strcmp(m->point, point) == 0)
		return 0;
	forecast_conf_default(&conf);
	conf.retrain_ns = MPC_RETRAIN_NS;
	conf.rows = 30000;
	conf.rounds = 80;
	if (m->made)
		forecaster_release(&m->fc);
	m->made = false;
	int rc = str_copy(conf.location, sizeof(conf.location), str_of(point));
	rc = rc ? rc : forecaster_init(&m->fc, forecaster_find(STR(MPC_MODEL)), &conf, err);
	if (rc == 0) {
		m->made = true;
		memcpy(m->point, conf.location, sizeof(m->point));
	}
	return rc;
}

/* HCP_EAGAIN: nothing to forecast by. */
static int forecast(struct mpc *m, const struct policy_input *in, struct err *err)
{
	static const uint16_t step[MPC_STEPS] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
		21, 22, 23 };
	struct forecast_point at[MPC_STEPS];
	if (!in->history || !in->site || in->site->fixed || in->now_ns % MPC_STEP_NS != 0)
		return HCP_EAGAIN;
	int rc = make_forecaster(m, in->site->point, err);
	rc = rc ? rc : forecaster_learn(&m->fc, in->history, in->now_ns, err);
	if (rc == HCP_EAGAIN && m->fc.learned_ns)
		rc = 0;
	rc = rc ? rc : forecaster_predict_at(&m->fc, in->history, in->now_ns, step, MPC_STEPS, at, err);
	for (size_t t = 0; t < MPC_STEPS && rc == 0; t++)
		m->price[t] = at[t].mean;
	return rc == HCP_ESTATE ? HCP_EAGAIN : rc;
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

static int expect(struct mpc *m, const struct policy_input *in, struct err *err)
{
	double first, more;
	int rc = forecast(m, in, err);
	if (rc != 0 && rc != HCP_EAGAIN)
		return rc;
	*(rc ? &m->last : &m->forecast) += 1;
	if (rc)
		day_before(m, in);
	rc = policy_spike_expect(&m->spike, in, &first, err);
	more = rc ? 0 : first - m->price[0];
	for (size_t t = 0; t < MPC_STEPS && rc == 0; t++, more *= MPC_FADE)
		m->price[t] += more;
	return rc;
}

static int mpc_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	struct mpc *m = p->priv;
	struct plan plan;
	uint32_t target[POLICY_CLASSES_MAX][POLICY_USE_END];
	int rc = expect(m, in, err);
	rc = rc ? rc : plan_site_fill(&m->site, in, m->price, MPC_STEPS, (double)MPC_STEP_NS / (double)NS_PER_S, err);
	rc = rc ? rc : plan_solve(m->solver, &m->site.problem, &plan, err);
	if (rc)
		return rc;
	plan_site_targets(&m->site, in, &plan, 0, target);
	plan_release(&plan);
	for (size_t k = 0; k < in->n; k++)
		policy_take_target(&in->c[k], target[k], (double)MPC_STEP_NS / (3600.0 * (double)NS_PER_S), &ret->c[k],
			&ret->explain.c[k]);
	return 0;
}

static void mpc_describe(const struct policy *p, struct buf *out)
{
	const struct mpc *m = p->priv;
	buf_printf(out, "%llu plans by forecasts of %s, %llu by the day before", (unsigned long long)m->forecast,
		m->made ? m->point : "nothing", (unsigned long long)m->last);
	buf_addz(out, "; the first step: ");
	policy_spike_describe(&m->spike, out);
}

const struct policy_vt policy_mpc = {
	.name = "mpc",
	.about = "Plans the next six hours by forecast prices, does the first step, and plans again.",
	/* A replay begins anywhere, and must then decide as the first run did. */
	.not_live = "its trained forecaster is not part of its saved state",
	.init = mpc_init,
	.release = mpc_release,
	.decide = mpc_decide,
	.save = policy_builtin_save,
	.load = policy_builtin_load,
	.describe = mpc_describe,
};
