/*
 * The drawdown guard (ECON-5): what decisions came to is added up as equity over the capital of the settings. Once it
 * has fallen by the limit below its highest, the safest plan is used until half of that is won back.
 */
#include <math.h>

#include "base/log.h"
#include "base/money.h"
#include "services/optimizer/optimizer_priv.h"

/* As stored; the settings that it was made by come first. */
struct kept {
	double capital_usd, limit, equity_usd, peak_usd, deepest;
	int64_t up;
};

static int store(const struct optimizer *o, struct svc_ctx *ctx, struct err *err)
{
	const struct risk_guard *g = &o->guard;
	const struct kept k = { g->capital_usd, g->limit, g->equity_usd, g->peak_usd, g->deepest, g->up };
	return optimizer_tables_put(ctx, "guard", (struct str){ (const char *)&k, sizeof(k) }, err);
}

int optimizer_guard_init(struct optimizer *o, struct err *err)
{
	struct err why = { 0 };
	if (o->conf.drawdown_limit == 0)
		o->conf.drawdown_limit = RISK_DRAWDOWN_LIMIT;
	if (o->conf.capital_usd == 0)
		return 0;
	int rc = risk_guard_init(&o->guard, o->conf.capital_usd, o->conf.drawdown_limit, &why);
	if (rc < 0)
		return err_set(err, rc, strcmp(why.field, "limit") == 0 ? "drawdown_limit" : why.field, "%s", why.text);
	return optimizer_policy_begin(&o->safest, policy_find(STR("safest")), NULL, err);
}

/* With other settings than those it was made by the guard begins anew. */
int optimizer_guard_restore(struct optimizer *o, struct str bytes)
{
	struct kept k;
	if (bytes.n != sizeof(k))
		return HCP_ECORRUPT;
	memcpy(&k, bytes.p, sizeof(k));
	if (!isfinite(k.equity_usd) || !isfinite(k.peak_usd) || !(k.peak_usd > 0) || !isfinite(k.deepest))
		return HCP_ECORRUPT;
	if (k.capital_usd != o->guard.capital_usd || k.limit != o->guard.limit)
		return 0;
	o->guard.equity_usd = k.equity_usd;
	o->guard.peak_usd = k.peak_usd;
	o->guard.deepest = k.deepest;
	o->guard.up = k.up != 0;
	return 0;
}

int optimizer_guard_take(struct optimizer *o, struct svc_ctx *ctx, const Hcp__Decision *d, struct err *err)
{
	if (!(o->guard.capital_usd > 0))
		return 0;
	double usd = d->realised_net_usd - (d->changed && d->pays ? d->switching_cost_usd : 0);
	if (risk_guard_add(&o->guard, usd))
		log_warn("optimizer", "drawdown guard %s: %.1f %% below the peak, limit %.1f %%", o->guard.up ? "up" : "down",
			100 * risk_guard_drawdown(&o->guard), 100 * o->guard.limit);
	return store(o, ctx, err);
}

int optimizer_guard_reset(struct optimizer *o, struct svc_ctx *ctx, struct err *err)
{
	if (!(o->guard.capital_usd > 0))
		return 0;
	int rc = risk_guard_init(&o->guard, o->guard.capital_usd, o->guard.limit, err);
	return rc < 0 ? rc : store(o, ctx, err);
}

Hcp__DrawdownGuard *optimizer_guard_show(const struct optimizer *o, struct arena *a)
{
	const struct risk_guard *g = &o->guard;
	Hcp__DrawdownGuard *m = arena_alloc(a, sizeof(*m));
	if (!m)
		return NULL;
	hcp__drawdown_guard__init(m);
	m->up = g->up;
	m->drawdown = risk_guard_drawdown(g);
	m->limit = g->limit;
	m->equity_usd = g->equity_usd;
	m->peak_usd = g->peak_usd;
	m->capital_usd = g->capital_usd;
	m->deepest = g->deepest;
	return m;
}
