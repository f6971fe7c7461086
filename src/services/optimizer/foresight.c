/*
 * What decisions look ahead by: the forecast of a facility's settlement point, made anew for every quarter-hour and
 * with every late price, judged beside persistence, and put into the ledger with what it was worth of late.
 */
#include <math.h>

#include "base/log.h"
#include "base/money.h"
#include "services/optimizer/optimizer_priv.h"

#define STEP_S 900
#define STEP_NS (STEP_S * NS_PER_S)
#define DAY_NS (86400 * NS_PER_S)

static bool is_priced_by_tariff(const struct draft_group *g)
{
	return g->terms.site && g->terms.site->fixed;
}

static int store_books(struct svc_ctx *ctx, const struct location *loc, struct err *err)
{
	const struct outlook_books *b = &loc->outlook->books;
	return db_run(svc_db(ctx), err,
		"INSERT INTO outlook(point,books) VALUES($1,$2)"
		" ON CONFLICT(point) DO UPDATE SET books=excluded.books",
		"zb", loc->name, (struct str){ (const char *)b, sizeof(*b) });
}

int optimizer_foresee(
	struct optimizer *o, struct svc_ctx *ctx, struct draft_group *g, int64_t market_ns, struct err *err)
{
	struct location *loc = g->terms.loc;
	struct err why = { 0 };
	bool changed = false;
	if (!(o->policy.vt->needs & POLICY_NEEDS_FORECAST) || is_priced_by_tariff(g))
		return 0;
	if (!loc || !loc->outlook) {
		g->no_outlook = "No model of this point has been trained yet: it takes 28 days of its prices.";
		return 0;
	}
	int rc = outlook_look(loc->outlook, &o->history, market_ns, &changed, &why);
	if (rc == HCP_ENOMEM)
		return err_set(err, rc, "", "out of memory");
	if (rc == 0)
		g->outlook = loc->outlook;
	else
		g->no_outlook = arena_printf(svc_arena(ctx), "The model cannot say: %s.", why.text);
	if (rc < 0 && !g->no_outlook)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	return changed ? store_books(ctx, loc, err) : 0;
}

/* ---- what a policy may be told ---- */

void optimizer_teach(
	const struct optimizer *o, const struct draft_group *g, int64_t market_ns, struct policy_taught *ret)
{
	const struct location *loc = g->terms.loc;
	*ret = (struct policy_taught){ 0 };
	if (g->outlook) {
		ret->price = g->outlook->point[outlook_better(&g->outlook->books)];
		ret->n_price = OUTLOOK_STEPS;
	}
	/* What was trained here comes first; what knows later prices than now is not asked. */
	for (int i = 1; i >= 0 && loc && !ret->spike; i--)
		if (loc->price[i].to_ns && loc->price[i].to_ns <= market_ns)
			ret->spike = &loc->price[i];
	if (loc && loc->misses.to_ns && loc->misses.to_ns <= market_ns)
		ret->past = (struct scenario_past *)&loc->misses.past; /* its scratch is used */
	if (g->terms.site && g->terms.site >= o->conf.site && g->terms.site < o->conf.site + o->conf.n_sites) {
		const struct ppo_model *net = &o->net[g->terms.site - o->conf.site];
		ret->ppo = net->to_ns && net->to_ns <= market_ns ? net : NULL;
	}
}

/* ---- for the ledger ---- */

/* Which quantiles of forecast_level are kept. */
static const int kept_level[] = { 0, 2, FORECAST_MEDIAN, 4, 6 };
enum { KEPT = sizeof(kept_level) / sizeof(kept_level[0]) };

static int add_steps(struct arena *a, const struct forecast_point *at, size_t n, Hcp__DecisionForecast *f)
{
	float *mean = arena_alloc(a, (KEPT + 1) * n * sizeof(*mean));
	if (!mean)
		return HCP_ENOMEM;
	for (size_t t = 0; t < n; t++) {
		mean[t] = (float)at[t].mean;
		for (size_t l = 0; l < KEPT; l++)
			mean[(l + 1) * n + t] = (float)at[t].q[kept_level[l]];
	}
	f->n_mean = f->n_q05 = f->n_q25 = f->n_q50 = f->n_q75 = f->n_q95 = n;
	f->mean = mean;
	f->q05 = mean + n;
	f->q25 = mean + 2 * n;
	f->q50 = mean + 3 * n;
	f->q75 = mean + 4 * n;
	f->q95 = mean + 5 * n;
	return 0;
}

/* By a model or persistence, and what both were worth. */
static int tell_outlook(struct arena *a, const struct outlook *l, Hcp__DecisionForecast *f)
{
	const struct outlook_books *b = &l->books;
	enum outlook_by by = outlook_better(b);
	f->judged_model = forecaster_name(&l->by[OUTLOOK_MODEL]);
	f->model = forecaster_name(&l->by[by]);
	f->loss_usd_mwh = outlook_loss(b, OUTLOOK_MODEL);
	f->persistence_loss_usd_mwh = outlook_loss(b, OUTLOOK_PERSISTENCE);
	f->judged = b->judged;
	if (b->judged < OUTLOOK_JUDGED_MIN)
		f->reason = arena_printf(a, "Of %s only %.0f forecasts of %d have been judged beside persistence.",
			f->judged_model, b->judged, OUTLOOK_JUDGED_MIN);
	else
		f->reason =
			arena_printf(a, "%s was %s persistence of late: pinball loss %.2f and %.2f USD/MWh.", f->judged_model,
				by == OUTLOOK_MODEL ? "better than" : "not better than", f->loss_usd_mwh, f->persistence_loss_usd_mwh);
	return f->reason ? add_steps(a, l->point[by], OPTIMIZER_FORESIGHT_STEPS, f) : HCP_ENOMEM;
}

/* Without a model: the day before (as policies that plan take it), or the present price. */
static int tell_simple(const struct optimizer *o, struct arena *a, const struct draft *p, const struct draft_group *g,
	Hcp__DecisionForecast *f)
{
	bool plans = g->no_outlook != NULL;
	size_t n = plans ? OPTIMIZER_FORESIGHT_STEPS : 1;
	const struct history_series *rt =
		g->terms.loc ? history_find(&o->history, HISTORY_POWER_RT, g->terms.loc->name) : NULL;
	f->model = is_priced_by_tariff(g) ? "tariff" : plans ? "day_before" : "last_price";
	f->reason = is_priced_by_tariff(g) ? "The site pays a fixed tariff."
				: plans                ? g->no_outlook
									   : "The policy takes the present price to hold.";
	f->mean = arena_alloc(a, n * sizeof(*f->mean));
	if (!f->mean)
		return HCP_ENOMEM;
	f->n_mean = n;
	for (size_t t = 0; t < n; t++) {
		double before = plans ? history_at(rt, p->market_ns + (int64_t)t * STEP_NS - DAY_NS) : NAN;
		f->mean[t] = (float)(isnan(before) ? g->power.value : before);
	}
	return 0;
}

Hcp__DecisionForecast *optimizer_foresight(
	const struct optimizer *o, struct arena *a, const struct draft *p, const struct draft_group *g)
{
	Hcp__DecisionForecast *f = arena_alloc(a, sizeof(*f));
	if (!f)
		return NULL;
	hcp__decision_forecast__init(f);
	f->facility = g->facility;
	f->location = g->terms.loc ? g->terms.loc->name : "";
	f->issued_at_ns = p->market_ns - p->market_ns % STEP_NS;
	f->step_seconds = STEP_S;
	f->expected_usd_mwh = g->view.usd_mwh;
	f->risk_usd_mwh = g->risk_usd_mwh;
	f->expected_by = g->view.by ? g->view.by : "last_price";
	/* A policy that plans has its own plan; beside the others there is the one in hand. */
	const struct capacity *first = p->row[g->first].cap;
	f->plan_steps = (int32_t)(g->plan.steps ? g->plan.steps : first->plan_steps);
	f->plan_net_usd = g->plan.steps ? g->plan.net_usd : first->plan_net_usd;
	f->shadow_usd_mwh = g->plan.steps ? g->plan.site_usd_mwh : first->plan_shadow_usd_mwh;
	f->plan_id = g->plan.steps ? "" : first->plan_id;
	int rc = g->outlook ? tell_outlook(a, g->outlook, f) : tell_simple(o, a, p, g, f);
	return rc < 0 ? NULL : f;
}
