/*
 * The plan of each facility for the coming day (ECON-3), made anew with every timer: what its devices do best, hour by
 * hour, by the prices expected now, and what one more MWh, device or promise would be worth. Policies decide the
 * present; a plan tells what it leads to.
 *
 *	forecast of live decisions, where the policy has one ─┐
 *	else the last price for an hour, then day-ahead prices, ├─▶ plan (econ) ─▶ table plan
 *	then the day before ──────────────────────────────────┘
 *
 * A plan whose prices, devices and earnings are what they were stays in hand. Every plan is solved from nothing, so
 * that a replay, which begins somewhere, makes the same.
 */
#include <inttypes.h>
#include <math.h>

#include "base/map.h"
#include "base/money.h"
#include "base/num.h"
#include "services/optimizer/optimizer_priv.h"

enum { STEP_S = 900, NEAR_STEPS = 4, LIST_DEFAULT = 50, LIST_MAX = 500, ITERATIONS_MAX = 20000 };

#define STEP_NS (STEP_S * NS_PER_S)
#define DAY_NS (86400 * NS_PER_S)

static const char method_name[][16] = { [PLAN_BY_CLASS] = "by_class", [PLAN_WHOLE] = "whole" };

void optimizer_plans_close(struct optimizer *o)
{
	plan_site_release(&o->plan_site);
	plan_solver_free(o->planner);
}

/* ---- what prices are expected ---- */

struct ahead {
	int64_t from_ns; /* start of the first step */
	double price[OPTIMIZER_PLAN_STEPS];
	const char *source[OPTIMIZER_PLAN_STEPS];
};

/* As the policy sees it; a plan begins where the outlook does, with the quarter-hour that covers now. */
static void look_as_policy(const struct outlook *l, struct ahead *ret)
{
	enum outlook_by by = outlook_better(&l->books);
	static_assert((int)OPTIMIZER_PLAN_STEPS <= (int)OUTLOOK_STEPS, "an outlook is as long as a plan");
	for (size_t t = 0; t < OPTIMIZER_PLAN_STEPS; t++) {
		ret->price[t] = l->point[by][t].mean;
		ret->source[t] = forecaster_name(&l->by[by]);
	}
}

static void look_ahead(const struct optimizer *o, const struct draft_group *g, int64_t market_ns, struct ahead *ret)
{
	const char *point = g->terms.loc ? g->terms.loc->name : "";
	const struct history_series *rt = history_find(&o->history, HISTORY_POWER_RT, point);
	const struct history_series *da = history_find(&o->history, HISTORY_POWER_DA, point);
	bool fixed = g->terms.site && g->terms.site->fixed;
	ret->from_ns = market_ns - market_ns % STEP_NS;
	if (g->outlook) {
		look_as_policy(g->outlook, ret);
		return;
	}
	for (size_t t = 0; t < OPTIMIZER_PLAN_STEPS; t++) {
		int64_t at_ns = ret->from_ns + (int64_t)t * STEP_NS;
		double ahead = fixed ? NAN : history_at(da, at_ns), before = fixed ? NAN : history_at(rt, at_ns - DAY_NS);
		ret->price[t] = g->power.value;
		ret->source[t] = fixed ? "tariff" : "last";
		if (t >= NEAR_STEPS && !isnan(ahead)) {
			ret->price[t] = ahead;
			ret->source[t] = "day_ahead";
		} else if (t >= NEAR_STEPS && !isnan(before)) {
			ret->price[t] = before;
			ret->source[t] = "day_before";
		}
	}
}

/* ---- as a message ---- */

static int add_steps(struct arena *a, const struct ahead *out, const struct plan *plan, Hcp__Plan *m)
{
	for (size_t t = 0; t < plan->steps; t++) {
		Hcp__PlanStep *s = arena_alloc(a, sizeof(*s));
		if (!s)
			return HCP_ENOMEM;
		hcp__plan_step__init(s);
		s->at_ns = out->from_ns + (int64_t)t * STEP_NS;
		s->usd_mwh = out->price[t];
		s->price_from = out->source[t];
		s->load_kw = plan->load_w[t] / 1e3;
		s->shadow_usd_mwh = plan->site_usd_mwh[t];
		if (pb_push(a, &m->n_steps, &m->steps, s) < 0)
			return HCP_ENOMEM;
	}
	return 0;
}

/* Which contract of the problem is this class's; n_contracts: none. */
static size_t contract_of(const struct plan_problem *p, size_t cls)
{
	size_t j = 0;
	while (j < p->n_contracts && p->contract[j].cls != cls)
		j++;
	return j;
}

static int add_class(struct arena *a, const struct plan_site *ps, const struct policy_input *in,
	const struct plan *plan, size_t k, Hcp__Plan *m)
{
	size_t n = plan->steps, j = contract_of(&ps->problem, k);
	bool promised = j < ps->problem.n_contracts;
	Hcp__PlanClass *c = arena_alloc(a, sizeof(*c));
	int32_t *use = arena_calloc(a, 2 * n * sizeof(*use));
	double *promise = promised ? arena_alloc(a, n * sizeof(*promise)) : NULL;
	if (!c || !use || (promised && !promise))
		return HCP_ENOMEM;
	hcp__plan_class__init(c);
	c->device_class = in->c[k].cls->name;
	c->count = (int32_t)in->c[k].count;
	c->one_more_usd = plan->class_usd[k];
	c->n_serve = c->n_mine = n;
	c->serve = use;
	c->mine = use + n;
	for (size_t t = 0; t < n && in->c[k].n_modes > 1; t++) {
		struct site_mode of = site_mode_at(in->c[k].group, plan_site_power(ps, plan, k, t));
		if (pb_push(a, &c->n_power_mode, &c->power_mode, (char *)device_power_name(of.power)) < 0)
			return HCP_ENOMEM;
	}
	for (size_t i = 0; i < ps->problem.cls[k].n_modes; i++) {
		int32_t *to = ps->use[k][i] == POLICY_SERVE ? c->serve : ps->use[k][i] == POLICY_MINE ? c->mine : NULL;
		for (size_t t = 0; t < n && to; t++)
			to[t] += (int32_t)(plan_devices(plan, k, i)[t] + 1e-6);
	}
	c->n_promise_usd_h = promised ? n : 0;
	c->promise_usd_h = promise;
	if (promised)
		memcpy(promise, plan->contract_usd_h + j * n, n * sizeof(*promise));
	return pb_push(a, &m->n_classes, &m->classes, c);
}

static int tell(struct arena *a, const struct optimizer *o, const struct policy_input *in, const struct ahead *out,
	const struct plan *plan, Hcp__Plan *m)
{
	m->method = method_name[plan->method];
	m->revenue_usd = plan->money.revenue - plan->money.wear - plan->money.penalty;
	m->energy_usd = plan->money.energy;
	m->switching_usd = plan->money.switching;
	m->net_usd = plan->money.total;
	int rc = add_steps(a, out, plan, m);
	for (size_t k = 0; k < in->n && rc == 0; k++)
		rc = add_class(a, &o->plan_site, in, plan, k, m);
	return rc;
}

/* What decisions tell of the plan in hand: rows of the facility from the first on. */
static void keep(struct capacity *first, size_t n, const Hcp__Plan *m)
{
	first->plan_steps = (uint32_t)m->n_steps;
	first->plan_net_usd = m->net_usd;
	first->plan_shadow_usd_mwh = m->n_steps ? m->steps[0]->shadow_usd_mwh : 0;
	for (size_t i = 0; i < n; i++) {
		first[i].plan_one_more_usd = 0;
		for (size_t k = 0; k < m->n_classes; k++)
			if (strcmp(m->classes[k]->device_class, first[i].cls->name) == 0)
				first[i].plan_one_more_usd = m->classes[k]->one_more_usd;
	}
}

static int store(struct optimizer *o, struct svc_ctx *ctx, Hcp__Plan *m, int64_t basis, struct err *err)
{
	Hcp__Plan head = *m;
	struct buf whole, brief;
	head.n_steps = head.n_classes = 0;
	buf_init(&whole, 4 << 20);
	buf_init(&brief, 1 << 20);
	int rc = pb_pack(&m->base, &whole);
	rc = rc < 0 ? rc : pb_pack(&head.base, &brief);
	if (rc < 0)
		rc = err_set(err, HCP_ENOMEM, "", "out of memory");
	else
		rc = db_run(svc_db(ctx), err, "INSERT INTO plan(n,id,facility,basis,head,body) VALUES($1,$2,$3,$4,$5,$6)",
			"izzibb", ++o->plan_n, m->id, m->facility, basis, buf_str(&brief), buf_str(&whole));
	buf_release(&whole);
	buf_release(&brief);
	return rc < 0 ? rc : db_run(svc_db(ctx), err, "DELETE FROM plan WHERE n<=$1", "i", o->plan_n - OPTIMIZER_PLANS_MAX);
}

/* ---- making one ---- */

/* Everything that a plan is made of, as one number. How long a device has been held matters only while one is. */
static int64_t basis_of(const struct policy_input *in, const struct ahead *out)
{
	uint64_t h = hash_bytes(out->price, sizeof(out->price), (uint64_t)out->from_ns);
	for (size_t k = 0; k < in->n; k++) {
		const struct policy_class *c = &in->c[k];
		const uint32_t n[] = { c->count, c->must_serve, c->want_serve };
		h = hash_bytes(n, sizeof(n), hash_bytes(c->cls->name, strlen(c->cls->name), h));
		h = hash_bytes(c->now, sizeof(c->now), h);
		h = hash_bytes(c->gross_usd_h, sizeof(c->gross_usd_h), h);
		h = hash_bytes(c->mwh_h, sizeof(c->mwh_h), h);
		h = hash_bytes(c->mode_gross_usd_h, c->n_modes * sizeof(*c->mode_gross_usd_h), h);
		h = hash_bytes(c->mode_mwh_h, c->n_modes * sizeof(*c->mode_mwh_h), h);
		h = hash_bytes(c->switch_cost_usd, sizeof(c->switch_cost_usd), h);
		h = hash_bytes(c->held, sizeof(c->held), h);
	}
	return (int64_t)(h >> 1);
}

static int make(struct optimizer *o, struct svc_ctx *ctx, const struct draft *d, const struct draft_group *g,
	struct err *err)
{
	struct arena *a = svc_arena(ctx);
	struct policy_input *in = arena_alloc(a, sizeof(*in));
	struct ahead *out = arena_alloc(a, sizeof(*out));
	Hcp__Plan m = HCP__PLAN__INIT;
	struct plan plan = { 0 };
	struct capacity *cap = d->row[g->first].cap;
	struct err why = { 0 };
	if (!in || !out)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	look_ahead(o, g, d->market_ns, out);
	optimizer_draft_input(o, d, g, 0, in);
	int64_t basis = basis_of(in, out);
	if (cap->plan_id[0] && basis == cap->plan_basis)
		return 0;
	m.id = svc_new_id(ctx, cap->plan_id, ID_PLAN);
	cap->plan_basis = basis;
	m.facility = g->facility;
	m.made_at_ns = svc_now_ns(ctx);
	m.market_time_ns = d->market_ns;
	m.step_seconds = STEP_S;
	plan_solver_clear(o->planner);
	int rc = plan_site_fill(&o->plan_site, in, out->price, OPTIMIZER_PLAN_STEPS, STEP_S, &why);
	rc = rc ? rc : plan_solve(o->planner, &o->plan_site.problem, &plan, &why);
	if (rc == HCP_ENOMEM)
		return err_set(err, rc, "", "out of memory");
	if (rc < 0)
		m.problem = arena_strdup(a, why.text);
	else
		rc = tell(a, o, in, out, &plan, &m);
	if (rc == 0)
		rc = optimizer_plan_risk(o, g, d->market_ns, out->price, &plan, basis, &m);
	if (rc != HCP_ENOMEM && m.problem)
		rc = store(o, ctx, &m, basis, err);
	keep(cap, g->n, &m);
	plan_release(&plan);
	return rc;
}

int optimizer_plans_make(struct optimizer *o, struct svc_ctx *ctx, struct err *err)
{
	struct draft d = { .trigger = "timer", .market_ns = optimizer_market_now_ns(o, svc_now_ns(ctx)) };
	struct err why = { 0 };
	if (!optimizer_is_ready(o))
		return 0;
	if (!o->planner) {
		int rc = plan_solver_new(&(struct plan_conf){ .iterations_max = ITERATIONS_MAX }, &o->planner, err);
		if (rc < 0)
			return rc;
	}
	int rc = optimizer_draft_rows(o, ctx, &d, true, &why);
	if (rc == HCP_ENOMEM)
		return err_set(err, rc, "", "out of memory");
	/* What the market says cannot be decided by; the decision has said so. */
	if (rc < 0)
		return 0;
	for (size_t i = 0; rc == 0 && i < d.n_groups; i++)
		rc = optimizer_foresee(o, ctx, &d.group[i], d.market_ns, err);
	for (size_t i = 0; rc == 0 && i < d.n_groups; i++)
		rc = make(o, ctx, &d, &d.group[i], err);
	return rc;
}

static int load_one(struct optimizer *o, struct db_row *row)
{
	size_t first = 0, n = 0;
	o->plan_n = db_i64(row, 0) > o->plan_n ? db_i64(row, 0) : o->plan_n;
	while (first < o->n_cap && !str_eqz(db_text(row, 1), o->cap[first].facility))
		first++;
	while (first + n < o->n_cap && strcmp(o->cap[first].facility, o->cap[first + n].facility) == 0)
		n++;
	if (!n) /* a facility that is gone */
		return 0;
	struct arena a;
	arena_init(&a, 1 << 16, 0);
	Hcp__Plan *m = (void *)pb_unpack_arena(&hcp__plan__descriptor, db_blob(row, 4), &a);
	int rc = m ? str_copy(o->cap[first].plan_id, sizeof(o->cap[first].plan_id), db_text(row, 2)) : HCP_ECORRUPT;
	o->cap[first].plan_basis = db_i64(row, 3);
	if (rc == 0)
		keep(&o->cap[first], n, m);
	arena_release(&a);
	return rc;
}

int optimizer_plans_load(struct optimizer *o, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(db, &row, err, "SELECT max(n),facility,id,basis,body FROM plan GROUP BY facility", ""); rc == 1;
		 rc = db_next(row, err))
		if (load_one(o, row) < 0) {
			db_done(row);
			return err_set(err, HCP_ECORRUPT, "plan", "a stored row cannot be read");
		}
	return rc;
}

/* ---- reading ---- */

int optimizer_on_plan(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__PlanGet *g = (const Hcp__PlanGet *)m->body;
	struct db_row *row;
	int rc;
	if (strcmp(g->id, "latest") == 0)
		rc = db_query(svc_db(ctx), &row, err, "SELECT body FROM plan ORDER BY n DESC LIMIT 1", "");
	else
		rc = db_query(svc_db(ctx), &row, err, "SELECT body FROM plan WHERE id=$1", "z", g->id);
	if (rc == 0 && strcmp(g->id, "latest") == 0)
		return err_set(err, HCP_ENOTFOUND, "", "no plan yet: it takes a fleet, an electricity price and a BTC price");
	if (rc == 0)
		return err_set(err, HCP_ENOTFOUND, "id", "there is no plan %.40s (the newest %d are kept)", g->id,
			OPTIMIZER_PLANS_MAX);
	if (rc < 0)
		return rc;
	Hcp__Plan *reply = svc_reply(ctx, MSG_PLAN);
	Hcp__Plan *p =
		reply ? (void *)pb_unpack_arena(&hcp__plan__descriptor, db_blob(row, 0), svc_reply_arena(ctx)) : NULL;
	db_done(row);
	if (!p)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	*reply = *p;
	return 0;
}

static int start_list(struct svc_ctx *ctx, const Hcp__PlansList *l, int64_t before, int64_t limit, struct db_row **row,
	struct err *err)
{
	if (l->facility[0])
		return db_query(svc_db(ctx), row, err,
			"SELECT n,head FROM plan WHERE facility=$1 AND n<$2 ORDER BY n DESC LIMIT $3", "zii", l->facility, before,
			limit + 1);
	return db_query(svc_db(ctx), row, err, "SELECT n,head FROM plan WHERE n<$1 ORDER BY n DESC LIMIT $2", "ii", before,
		limit + 1);
}

int optimizer_on_plans(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__PlansList *l = (const Hcp__PlansList *)m->body;
	int64_t before = INT64_MAX, limit = l->limit ? l->limit : LIST_DEFAULT, last = 0;
	struct db_row *row;
	if (l->limit < 0 || l->limit > LIST_MAX)
		return err_set(err, HCP_ERANGE, "limit", "must be 1 to %d, was %d", LIST_MAX, l->limit);
	if (l->cursor[0] && (num_parse_i64(str_of(l->cursor), &before) < 0 || before < 1))
		return err_set(err, HCP_EINVAL, "cursor", "not a cursor of this list");
	Hcp__Plans *reply = svc_reply(ctx, MSG_PLANS);
	if (!reply)
		return HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	int rc;
	for (rc = start_list(ctx, l, before, limit, &row, err); rc == 1; rc = db_next(row, err)) {
		if ((int64_t)reply->n_plans == limit) {
			reply->next_cursor = arena_printf(a, "%" PRId64, last);
			db_done(row);
			return reply->next_cursor ? 0 : HCP_ENOMEM;
		}
		last = db_i64(row, 0);
		if (pb_push(a, &reply->n_plans, &reply->plans,
				(void *)pb_unpack_arena(&hcp__plan__descriptor, db_blob(row, 1), a)) < 0) {
			db_done(row);
			return HCP_ENOMEM;
		}
	}
	return rc;
}
