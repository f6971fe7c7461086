/* One decision: rows from fleet and demand, nets from the market, targets from the policy. */
#include <math.h>

#include "base/log.h"
#include "base/money.h"
#include "econ/nets.h"
#include "services/optimizer/optimizer_priv.h"

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* ---- what a facility pays ---- */

static struct location *location_of(const struct optimizer *o, const char *name)
{
	if (name[0]) {
		for (size_t i = 0; i < o->n_loc; i++)
			if (strcmp(o->loc[i]->name, name) == 0)
				return o->loc[i];
		return NULL;
	}
	for (size_t i = 0; i < o->n_loc; i++)
		if (o->loc[i]->market.v[MARKET_POWER_RT].known)
			return o->loc[i];
	return o->n_loc ? o->loc[0] : NULL;
}

struct facility_terms optimizer_terms_of(const struct optimizer *o, const char *facility)
{
	const struct site *s = site_of_facility(o->conf.site, o->conf.n_sites, facility);
	return (struct facility_terms){
		.site = s,
		.loc = s && s->fixed ? NULL : location_of(o, s ? s->point : ""),
		.pue = s ? s->pue : OPTIMIZER_PUE,
		.pool_fee = s ? s->pool_fee : OPTIMIZER_POOL_FEE,
	};
}

struct profit_market optimizer_terms_market(
	const struct optimizer *o, const struct facility_terms *t, int64_t market_ns, struct market_reading *ret_power)
{
	struct profit_market pm = market_profit_inputs(&o->market, t->pool_fee, t->pue, market_ns);
	if (t->site && t->site->fixed)
		*ret_power = (struct market_reading){ .value = t->site->tariff_usd_mwh, .origin = MARKET_FRESH };
	else
		*ret_power = market_read(t->loc ? &t->loc->market : &o->market, MARKET_POWER_RT, 0, market_ns);
	pm.electricity_usd_mwh = ret_power->value;
	return pm;
}

bool optimizer_class_serves(const struct device_class *cls)
{
	return cls->kind != DEVICE_ASIC && cls->list_usd_h > 0;
}

double optimizer_serve_rate_usd_h(const struct optimizer *o, const struct device_class *cls, int64_t price_micros_h,
			int64_t market_ns)
{
	struct market_reading r = market_read(&o->market, MARKET_GPU_RATE, device_class_index(cls), market_ns);
	if (r.origin != MARKET_DEFAULT)
		return r.value;
	return price_micros_h > 0 ? (double)price_micros_h / (double)MICROS_PER_USD : cls->list_usd_h;
}

/* ---- rows ---- */

/*
 * Demand comes by class, capacity by facility and class: devices that are allocated count where they are, what is
 * left goes where there is room, and what no facility has room for is held against the first.
 */
static void spread_demand(struct draft *p, const struct demand *d)
{
	uint32_t must_left = d->allocated, want_left = d->waiting;
	struct policy_class *first = NULL;
	for (size_t i = 0; i < p->n_rows; i++) {
		struct policy_class *c = &p->row[i].in;
		if (c->cls != d->cls)
			continue;
		first = first ? first : c;
		must_left -= least(must_left, c->must_serve);
	}
	for (size_t i = 0; i < p->n_rows; i++) {
		struct policy_class *c = &p->row[i].in;
		if (c->cls != d->cls)
			continue;
		uint32_t take = least(must_left, c->count - c->must_serve);
		c->must_serve += take;
		must_left -= take;
	}
	for (size_t i = 0; i < p->n_rows; i++) {
		struct policy_class *c = &p->row[i].in;
		if (c->cls != d->cls)
			continue;
		uint32_t room = c->count - least(c->count, c->must_serve);
		uint32_t have = least(c->want_serve, room), take = least(want_left, room - have);
		c->want_serve = have + take;
		want_left -= take;
	}
	if (first)
		first->must_serve += must_left;
}

double optimizer_fill_credit_usd_h(const struct optimizer *o, const struct device_class *cls)
{
	for (size_t i = 0; i < o->conf.n_credits; i++)
		if (strcmp(o->conf.credit[i].device_class, cls->name) == 0)
			return o->conf.credit[i].fill_usd_h;
	return 0;
}

/* The group's word counts for mining; what is served is the customers' choice. */
void optimizer_fill_nets(const struct optimizer *o, const struct profit_market *pm, double serve_usd_h,
	const double switch_ms[POLICY_USE_END], struct policy_class *c)
{
	struct nets_terms t = { .pm = *pm,
		.hashprice_usd_ths_h = profit_hashprice_usd_ths_h(pm),
		.serve_usd_h = serve_usd_h,
		.utilisation = o->conf.utilisation,
		.modes = true,
		.credit_usd_h = optimizer_fill_credit_usd_h(o, c->cls),
		.group = c->group };
	memcpy(t.switch_ms, switch_ms, sizeof(t.switch_ms));
	nets_fill(&t, c->group ? c->group->mines : c->cls->fill_ths > 0, optimizer_class_serves(c->cls), c);
}

/* A minimum time never keeps a device from a customer who was promised one. */
static void free_for_contract(struct policy_class *c)
{
	uint32_t must = least(c->must_serve, c->count);
	for (int u = 0; u < POLICY_USE_END; u++) {
		uint32_t others = c->held[POLICY_MINE] + c->held[POLICY_IDLE], room = c->count - least(c->count, others);
		if (u != POLICY_SERVE && room < must)
			c->held[u] -= least(c->held[u], must - room);
	}
}

/* A site file that no longer has the mode: as if it were nominal, until the next decision. */
static size_t mode_of(const struct site_group *g, enum device_power p)
{
	for (size_t i = 1; g && i <= g->n_modes; i++)
		if (site_mode_at(g, i).power == p)
			return i;
	return 0;
}

struct site_mode optimizer_row_mode(const struct draft_row *r)
{
	if (r->in.group)
		return site_mode_at(r->in.group, r->target.mode);
	return (struct site_mode){ DEVICE_POWER_NORMAL, r->in.cls->power_w[DEVICE_FILL], r->in.cls->fill_ths };
}

int optimizer_draft_rows(struct optimizer *o, struct svc_ctx *ctx, struct draft *p, bool look, struct err *err)
{
	struct arena *a = svc_arena(ctx);
	p->row = arena_calloc(a, o->n_cap * sizeof(*p->row));
	p->group = arena_calloc(a, o->n_cap * sizeof(*p->group));
	if (!p->row || !p->group)
		return HCP_ENOMEM;
	p->n_rows = o->n_cap;
	for (size_t i = 0; i < o->n_cap; i++) {
		struct capacity *cap = &o->cap[i];
		struct draft_row *r = &p->row[i];
		struct draft_group *g = p->n_groups ? &p->group[p->n_groups - 1] : NULL;
		if (!g || strcmp(g->facility, cap->facility) != 0) {
			g = &p->group[p->n_groups++];
			*g = (struct draft_group){
				.facility = cap->facility, .terms = optimizer_terms_of(o, cap->facility), .first = i
			};
			g->pm = optimizer_terms_market(o, &g->terms, p->market_ns, &g->power);
		}
		g->n++;
		r->cap = cap;
		r->in.cls = cap->cls;
		r->in.count = cap->healthy;
		r->in.must_serve = cap->allocated;
		r->in.want_serve = least(cap->endpoints, cap->healthy - cap->allocated);
		int rc = profit_market_validate(&g->pm, err);
		if (rc < 0)
			return rc;
		r->in.group = site_group_of(g->terms.site, cap->cls);
		r->revenue_rate_usd_h = optimizer_serve_rate_usd_h(o, cap->cls, cap->price_micros_h, p->market_ns);
		optimizer_fill_nets(o, &g->pm, r->revenue_rate_usd_h, o->switch_ms[device_class_index(cap->cls)], &r->in);
		r->in.now_mode = r->in.n_modes > 1 ? mode_of(r->in.group, cap->power) : 0;
		r->mine_usd_h = policy_mode_net_usd_h(&r->in, r->in.now_mode, g->pm.electricity_usd_mwh);
		rc = optimizer_present(o, ctx, cap, p->market_ns, look, &r->in, err);
		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < o->n_demand; i++)
		spread_demand(p, &o->demand[i]);
	for (size_t i = 0; i < p->n_rows; i++)
		free_for_contract(&p->row[i].in);
	return 0;
}

/* ---- policy ---- */

/* The next price that can change anything is that of the next interval. */
static int64_t step_ns(const struct optimizer *o, const struct draft_group *g)
{
	const struct series *s = g->terms.loc ? optimizer_series_find(o, SYMBOL_POWER_RT, g->terms.loc->name) : NULL;
	return (s && s->interval_s ? s->interval_s : 900) * NS_PER_S;
}

void optimizer_draft_input(const struct optimizer *o, const struct draft *p, const struct draft_group *g, size_t first,
	struct policy_input *in)
{
	*in = (struct policy_input){ .now_ns = p->market_ns,
		.horizon_ns = o->conf.horizon_ns,
		.electricity_usd_mwh = g->power.value,
		.btc_usd = g->pm.btc_usd,
		.difficulty = g->pm.difficulty,
		.hashprice_usd_ths_h = profit_hashprice_usd_ths_h(&g->pm),
		.step_ns = step_ns(o, g),
		.site = g->terms.site,
		.history = &o->history };
	for (; in->n < POLICY_CLASSES_MAX && first + in->n < g->n; in->n++)
		in->c[in->n] = p->row[g->first + first + in->n].in;
}

/* One facility has one electricity price, so it is decided by itself; more classes than a decision takes go in parts.
 */
static int decide_group(struct optimizer *o, struct draft *p, struct draft_group *g, struct err *err)
{
	struct policy_taught taught;
	optimizer_teach(o, g, p->market_ns, &taught);
	g->risk_usd_mwh = optimizer_caution_usd_mwh(o, g, p->market_ns);
	for (size_t done = 0; done < g->n;) {
		struct policy_input in, plain;
		struct policy_output out = { 0 };
		struct draft_row *row = &p->row[g->first + done];
		optimizer_draft_input(o, p, g, done, &plain);
		plain.taught = &taught;
		in = plain;
		optimizer_caution_apply(g->risk_usd_mwh, &in);
		int rc = policy_decide(o->guard.up ? &o->safest : &o->policy, &in, &out, err);
		if (rc < 0)
			return rc;
		for (size_t i = 0; i < in.n; i++) {
			cohorts_hold(in.c[i].held, out.c[i].target);
			policy_settle_mode(&in.c[i], out.explain.view.usd_mwh, &out.c[i]);
		}
		policy_sum_up(&in, &out);
		/* Switches must pay with what may go wrong counted; what is expected to come in is told without. */
		double gain_usd = out.explain.gain_usd;
		policy_sum_up(&plain, &out);
		out.explain.gain_usd = gain_usd;
		for (size_t i = 0; i < in.n; i++) {
			row[i].target = out.c[i];
			row[i].explain = out.explain.c[i];
			row[i].target_mine_usd_h = policy_mode_net_usd_h(&plain.c[i], out.c[i].mode, plain.electricity_usd_mwh);
		}
		p->net_usd_h += out.explain.net_usd_h;
		p->before_usd_h += out.explain.before_usd_h;
		p->switch_usd += out.explain.switch_usd;
		p->gain_usd += out.explain.gain_usd;
		p->weighed |= out.explain.view.weighed && out.explain.switched;
		p->horizon_ns = out.explain.horizon_ns > p->horizon_ns ? out.explain.horizon_ns : p->horizon_ns;
		if (!done) {
			g->view = out.explain.view;
			g->plan = out.explain.plan;
		}
		done += in.n;
	}
	return 0;
}

/*
 * Changed: the targets are others than those last decided; or the fleet is not where they say and a switch pays that
 * did not when it was last told, or that has not happened in OPTIMIZER_AGAIN_S. Another mode costs nothing, so where it
 * is all that changes it pays.
 */
static void judge(const struct optimizer *o, struct draft *p, int64_t now_ns)
{
	bool differs = p->n_rows != o->last_rows, away = false;
	for (size_t i = 0; i < p->n_rows; i++) {
		const struct draft_row *r = &p->row[i];
		if (!r->cap->decided || memcmp(r->cap->target, r->target.target, sizeof(r->cap->target)) != 0)
			differs = true;
		if (memcmp(r->in.now, r->target.target, sizeof(r->in.now)) != 0)
			away = true;
		p->retunes |= r->target.target[POLICY_MINE] && optimizer_row_mode(r).power != r->cap->power;
	}
	p->pays = p->weighed || p->gain_usd > p->switch_usd || (p->retunes && !away);
	bool again = away && p->pays &&
		     (!o->announced_paid || now_ns - o->announced_ns >= OPTIMIZER_AGAIN_S * NS_PER_S);
	p->changed = differs || again || (p->retunes && p->pays);
}

bool optimizer_is_ready(const struct optimizer *o)
{
	bool power = false;
	for (size_t i = 0; i < o->n_loc; i++)
		power = power || o->loc[i]->market.v[MARKET_POWER_RT].known || o->loc[i]->market.v[MARKET_POWER_DA].known;
	for (size_t i = 0; i < o->n_cap && !power; i++) {
		struct facility_terms t = optimizer_terms_of(o, o->cap[i].facility);
		power = t.site && t.site->fixed;
	}
	return power && o->n_cap && o->market.v[MARKET_BTC_USD].known;
}

/* What customers and operators asked for, or what became of devices, is done at any price. */
static bool is_forced(const char *trigger)
{
	return strcmp(trigger, "demand") == 0 || strcmp(trigger, "capacity") == 0 || strcmp(trigger, "operator") == 0;
}

static int keep_targets(struct optimizer *o, struct svc_ctx *ctx, const struct draft *p, struct err *err)
{
	for (size_t i = 0; i < p->n_rows; i++) {
		struct capacity *cap = p->row[i].cap;
		memcpy(cap->target, p->row[i].target.target, sizeof(cap->target));
		cap->decided_count = cap->healthy;
		cap->decided = true;
	}
	/* As the orchestrator sees it: what pays and what is forced is carried out. */
	bool first = !o->last_n, forced = is_forced(p->trigger);
	o->last_rows = p->n_rows;
	o->announced_ns = svc_now_ns(ctx);
	o->announced_paid = p->pays || forced || first;
	int64_t two[2] = { o->announced_ns, o->announced_paid };
	for (size_t i = 0; o->announced_paid && i < p->n_rows; i++) {
		const struct draft_row *r = &p->row[i];
		r->cap->power = optimizer_row_mode(r).power;
		int rc = optimizer_present_move(ctx, r->cap, r->in.group, p->market_ns, err);
		if (rc < 0)
			return rc;
	}
	return optimizer_tables_put(ctx, "announced", (struct str){ (const char *)two, sizeof(two) }, err);
}

static bool is_due(const struct optimizer *o, int64_t now_ns, int64_t market_ns)
{
	return now_ns - o->stored_wall_ns >= OPTIMIZER_LEDGER_S * NS_PER_S ||
	       market_ns - o->stored_market_ns >= OPTIMIZER_LEDGER_S * NS_PER_S;
}

int optimizer_decide(
	struct optimizer *o, struct svc_ctx *ctx, const char *trigger, int64_t signal_at_ns, struct err *err)
{
	int64_t now = svc_now_ns(ctx);
	struct draft p = { .trigger = trigger, .market_ns = optimizer_market_now_ns(o, now), .signal_at_ns = signal_at_ns };
	struct err why = { 0 };
	int rc = optimizer_history_advance(o, ctx, p.market_ns, err);
	if (rc < 0 || !optimizer_is_ready(o))
		return rc;
	p.policy = (o->guard.up ? &o->safest : &o->policy)->vt->name;
	rc = optimizer_draft_rows(o, ctx, &p, false, &why);
	for (size_t i = 0; rc == 0 && i < p.n_groups; i++)
		rc = optimizer_foresee(o, ctx, &p.group[i], p.market_ns, &why);
	for (size_t i = 0; rc == 0 && i < p.n_groups; i++)
		rc = decide_group(o, &p, &p.group[i], &why);
	if (rc == HCP_ENOMEM || rc == HCP_EIO || rc == HCP_ENOSPC)
		return err_set(err, rc, why.field, "%s", why.text);
	if (rc < 0) {
		/* Inputs that cannot be decided by leave everything as it is; ticks go on. */
		log_error("optimizer", "no decision: %s %s", why.field, why.text);
		return 0;
	}
	judge(o, &p, now);
	bool asked = strcmp(trigger, "operator") == 0 || strcmp(trigger, "model") == 0;
	if (!p.changed && !is_due(o, now, p.market_ns) && !asked)
		return 0;
	if (p.changed)
		rc = keep_targets(o, ctx, &p, err);
	return rc < 0 ? rc : optimizer_ledger_write(o, ctx, &p, err);
}
