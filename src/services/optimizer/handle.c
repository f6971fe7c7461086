#include "services/optimizer/optimizer.h"

#include <math.h>

#include "base/mem.h"
#include "base/money.h"
#include "services/optimizer/optimizer_priv.h"

static void optimizer_close(void *state)
{
	struct optimizer *o = state;
	if (!o)
		return;
	for (size_t i = 0; i < o->n_series; i++) {
		mem_free(o->series[i]->ring);
		mem_free(o->series[i]);
	}
	optimizer_models_close(o);
	for (size_t i = 0; i < o->n_loc; i++)
		mem_free(o->loc[i]);
	history_release(&o->history);
	mem_free(o->cap);
	buf_release(&o->last);
	buf_release(&o->sources);
	policy_release(&o->policy);
	policy_release(&o->safest);
	optimizer_plans_close(o);
	mem_free(o);
}

static int take_conf(struct optimizer *o, const struct optimizer_conf *conf, struct err *err)
{
	if (conf)
		o->conf = *conf;
	if (!o->conf.horizon_ns)
		o->conf.horizon_ns = OPTIMIZER_HORIZON_S * NS_PER_S;
	if (o->conf.utilisation == 0)
		o->conf.utilisation = OPTIMIZER_UTILISATION;
	if (!(o->conf.utilisation > 0 && o->conf.utilisation <= 1))
		return err_set(err, HCP_ERANGE, "utilisation", "must be above 0 and at most 1");
	if (!(o->conf.risk_aversion >= 0 && o->conf.risk_aversion <= 1))
		return err_set(err, HCP_ERANGE, "risk_aversion", "must be 0 to 1");
	if (o->conf.horizon_ns < 0)
		return err_set(err, HCP_ERANGE, "horizon", "must be positive");
	for (size_t i = 0; i < o->conf.n_sites; i++) {
		const struct site *s = &o->conf.site[i];
		if (!(s->pue >= 1 && s->pue <= 10))
			return err_set(err, HCP_ERANGE, "pue", "site %.40s: must be from 1 to 10", s->name);
		if (!(s->pool_fee >= 0 && s->pool_fee <= 1))
			return err_set(err, HCP_ERANGE, "pool_fee", "site %.40s: must be from 0 to 1", s->name);
	}
	for (size_t i = 0; i < o->conf.n_credits; i++)
		if (!(o->conf.credit[i].fill_usd_h >= 0 && o->conf.credit[i].fill_usd_h <= 1000))
			return err_set(err, HCP_ERANGE, "fill_usd_h", "must be 0 to 1000 USD/h for %.32s",
				o->conf.credit[i].device_class);
	const struct policy_vt *vt = policy_find(str_of(o->conf.policy ? o->conf.policy : "threshold"));
	if (!vt)
		return err_set(err, HCP_EINVAL, "policy", "there is no policy %.40s", o->conf.policy);
	o->net = mem_calloc(o->conf.n_sites + 1, sizeof(*o->net));
	int rc = o->net ? optimizer_guard_init(o, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	return rc < 0 ? rc : optimizer_policy_begin(&o->policy, vt, NULL, err);
}

static int optimizer_open(struct svc *svc, struct db *db, const void *conf, void **ret_state, struct err *err)
{
	struct optimizer *o = mem_calloc(1, sizeof(*o));
	if (!o)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	buf_init(&o->last, 4 << 20);
	buf_init(&o->sources, 1 << 20);
	market_init(&o->market);
	history_init(&o->history);
	int rc = take_conf(o, conf, err);
	if (rc == 0)
		rc = optimizer_tables_load(o, db, err);
	if (rc < 0) {
		optimizer_close(o);
		return rc;
	}
	*ret_state = o;
	return 0;
}

static int optimizer_timer(void *state, struct svc_ctx *ctx, struct err *err)
{
	int rc = optimizer_decide(state, ctx, "timer", 0, err);
	if (rc == 0)
		rc = optimizer_capacity_look(state, ctx, err);
	return rc < 0 ? rc : optimizer_plans_make(state, ctx, err);
}

static const struct svc_handler handlers[] = {
	{ MSG_TICKS, optimizer_on_ticks, false },
	{ MSG_PRICES_GET, optimizer_on_prices, true },
	{ MSG_PRICE_HISTORY_GET, optimizer_on_history, true },
	{ MSG_PROFITABILITY_CALCULATE, optimizer_on_profitability, true },
	{ MSG_RECOMMENDATION_GET, optimizer_on_recommendation, true },
	{ MSG_DECISIONS_LIST, optimizer_on_decisions, true },
	{ MSG_DECISION_GET, optimizer_on_decision, true },
	{ MSG_BIDS_GET, optimizer_on_bids, true },
	{ MSG_PLAN_GET, optimizer_on_plan, true },
	{ MSG_PLANS_LIST, optimizer_on_plans, true },
	{ MSG_CAPACITY_FORECAST_GET, optimizer_on_capacity_forecast, true },
	{ MSG_PORTFOLIO_GET, optimizer_on_portfolio, true },
	{ MSG_POLICY_GET, optimizer_on_policy_get, true },
	{ MSG_LESSON_GET, optimizer_on_lesson_get, true },
	{ MSG_MODEL_PUT, optimizer_on_model_put, false },
	{ MSG_POLICY_SET, optimizer_on_policy_set, false },
	{ MSG_CAPACITY_CHANGED, optimizer_on_capacity, false },
	{ MSG_DEMAND_CHANGED, optimizer_on_demand, false },
	{ MSG_SWITCH_DONE, optimizer_on_switch_done, false },
	{ 0 },
};

const struct svc_def optimizer_def = {
	.id = SVC_OPTIMIZER,
	.schema = optimizer_schema,
	.handlers = handlers,
	.open = optimizer_open,
	.close = optimizer_close,
	.timer = optimizer_timer,
	.timer_ms = 10000,
};
