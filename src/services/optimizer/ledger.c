/* The decision ledger: what went in, what could have been done, what was decided and what came of it. */
#include <inttypes.h>

#include "base/money.h"
#include "base/num.h"
#include "services/optimizer/optimizer_priv.h"

enum { LIST_DEFAULT = 50, LIST_MAX = 500 };

/* ---- a draft as a message ---- */

static int add_target(struct arena *a, Hcp__Decision *d, const struct draft_row *r, bool planned)
{
	Hcp__ClassTarget *t = arena_alloc(a, sizeof(*t));
	if (!t)
		return HCP_ENOMEM;
	hcp__class_target__init(t);
	t->facility = r->cap->facility;
	t->device_class = r->in.cls->name;
	t->total = (int32_t)r->in.count;
	t->serve = (int32_t)r->target.target[POLICY_SERVE];
	t->mine = (int32_t)r->target.target[POLICY_MINE];
	t->idle = (int32_t)r->target.target[POLICY_IDLE];
	struct site_mode m = optimizer_row_mode(r);
	bool modes = r->in.n_modes > 1;
	t->power_mode = modes ? device_power_name(m.power) : "";
	t->was_power_mode = modes ? device_power_name(site_mode_at(r->in.group, r->in.now_mode).power) : "";
	t->mine_w = m.power == DEVICE_POWER_NORMAL ? 0 : (int32_t)(m.watts + 0.5);
	t->mine_usd_h = r->target_mine_usd_h;
	t->serve_usd_h = r->in.net_usd_h[POLICY_SERVE];
	t->idle_usd_h = r->in.net_usd_h[POLICY_IDLE];
	t->reason = policy_reason_text(r->target.reason);
	t->was_serve = (int32_t)r->in.now[POLICY_SERVE];
	t->was_mine = (int32_t)r->in.now[POLICY_MINE];
	t->was_idle = (int32_t)r->in.now[POLICY_IDLE];
	t->one_more_usd = planned ? r->explain.one_more_usd : r->cap->plan_one_more_usd;
	return pb_push(a, &d->n_targets, &d->targets, t);
}

static Hcp__DecisionOption *new_option(struct arena *a, const struct draft_row *r, const char *name)
{
	Hcp__DecisionOption *o = arena_alloc(a, sizeof(*o));
	if (!o)
		return NULL;
	hcp__decision_option__init(o);
	o->name = name;
	o->facility = r->cap->facility;
	o->device_class = r->in.cls->name;
	return o;
}

/* The three uses for the whole class, and holding what is. */
static int add_options(struct arena *a, Hcp__Decision *d, const struct draft_row *r)
{
	static const char *const name[POLICY_USE_END] = { "mine", "serve", "curtail" };
	double n = r->in.count;
	bool held = memcmp(r->in.now, r->target.target, sizeof(r->in.now)) == 0;
	for (int u = 0; u < POLICY_USE_END; u++) {
		const struct policy_option *from = &r->explain.option[u];
		Hcp__DecisionOption *o = new_option(a, r, name[u]);
		if (!o)
			return HCP_ENOMEM;
		o->net_usd_h = from->net_usd_h * n;
		o->switching_cost_usd = r->in.switch_cost_usd[u] * (n - r->in.now[u]);
		o->chosen = from->chosen;
		o->reason = policy_reason_text(from->reason);
		if (pb_push(a, &d->n_options, &d->options, o) < 0)
			return HCP_ENOMEM;
	}
	Hcp__DecisionOption *hold = new_option(a, r, "hold");
	if (!hold)
		return HCP_ENOMEM;
	hold->net_usd_h = r->explain.before_usd_h;
	hold->chosen = held;
	hold->reason = held ? policy_reason_text(POLICY_R_KEEP) : "Another split earns more, or customers need devices.";
	return pb_push(a, &d->n_options, &d->options, hold);
}

static int add_price(const struct optimizer *o, struct arena *a, Hcp__Decision *d, enum symbol symbol,
	const char *location, const struct market_reading *r)
{
	return pb_push(a, &d->n_inputs, &d->inputs, optimizer_price_of(o, a, symbol, location, r));
}

static int add_credit(const struct optimizer *o, struct arena *a, Hcp__Decision *d, const struct device_class *cls)
{
	double credit = optimizer_fill_credit_usd_h(o, cls);
	if (credit == 0)
		return 0;
	Hcp__Price *p = arena_alloc(a, sizeof(*p));
	if (!p)
		return HCP_ENOMEM;
	hcp__price__init(p);
	p->symbol = "fill_credit";
	p->location = cls->name;
	p->value = credit;
	p->unit = "USD/h";
	p->source = "settings";
	return pb_push(a, &d->n_inputs, &d->inputs, p);
}

static int add_inputs(const struct optimizer *o, struct arena *a, Hcp__Decision *d, const struct draft *p)
{
	static const enum symbol global[] = { SYMBOL_BTC_USD, SYMBOL_DIFFICULTY, SYMBOL_FEES, SYMBOL_HEIGHT };
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < p->n_groups; i++) {
		const struct draft_group *g = &p->group[i];
		rc = add_price(o, a, d, SYMBOL_POWER_RT, g->terms.loc ? g->terms.loc->name : "", &g->power);
	}
	for (size_t i = 0; rc == 0 && i < sizeof(global) / sizeof(global[0]); i++) {
		struct market_reading r = market_read(&o->market, (enum market_quantity)global[i], 0, p->market_ns);
		rc = add_price(o, a, d, global[i], "", &r);
	}
	for (size_t i = 0; rc == 0 && i < p->n_rows; i++)
		rc = add_credit(o, a, d, p->row[i].in.cls);
	for (size_t i = 0; rc == 0 && i < p->n_rows; i++) {
		const struct device_class *cls = p->row[i].in.cls;
		struct market_reading r;
		if (!p->row[i].in.can[POLICY_SERVE])
			continue;
		r = market_read(&o->market, MARKET_GPU_RATE, device_class_index(cls), p->market_ns);
		r.value = p->row[i].revenue_rate_usd_h;
		rc = add_price(o, a, d, SYMBOL_GPU_RATE, cls->name, &r);
	}
	return rc;
}

static int write_summary(struct arena *a, Hcp__Decision *d, const struct draft *p)
{
	uint64_t n[POLICY_USE_END] = { 0 }, total = 0;
	for (size_t i = 0; i < p->n_rows; i++) {
		for (int u = 0; u < POLICY_USE_END; u++)
			n[u] += p->row[i].target.target[u];
		total += p->row[i].in.count;
	}
	const struct draft_group *g = &p->group[0];
	d->summary = arena_printf(a,
		"%s: serve %" PRIu64 ", mine %" PRIu64 ", curtail %" PRIu64 " of %" PRIu64 " devices at "
		"%.2f USD/MWh%s%s%s and %.0f USD/BTC: %.2f USD/h expected, %.2f USD/h more than holding.",
		d->changed ? "Switch" : "Hold", n[POLICY_SERVE], n[POLICY_MINE], n[POLICY_IDLE], total, g->power.value,
		g->terms.loc ? " in " : "", g->terms.loc ? g->terms.loc->name : "",
		g->power.origin == MARKET_FRESH ? "" : " (not fresh)", g->pm.btc_usd, d->net_usd_h, d->gain_usd_h);
	return d->summary ? 0 : HCP_ENOMEM;
}

static int describe(const struct optimizer *o, struct svc_ctx *ctx, const struct draft *p, Hcp__Decision *d)
{
	struct arena *a = svc_arena(ctx);
	const struct draft_group *g = &p->group[0];
	d->decided_at_ns = svc_now_ns(ctx);
	d->market_time_ns = p->market_ns;
	d->policy = p->policy;
	if (o->guard.capital_usd > 0 && !(d->guard = optimizer_guard_show(o, a)))
		return HCP_ENOMEM;
	d->trigger = p->trigger;
	d->changed = p->changed;
	d->electricity_usd_mwh = g->power.value;
	d->btc_usd = g->pm.btc_usd;
	d->difficulty = g->pm.difficulty;
	d->hashprice_usd_ph_day = profit_hashprice_usd_ths_h(&g->pm) * 24 * 1000;
	d->net_usd_h = p->net_usd_h;
	d->gain_usd_h = p->net_usd_h - p->before_usd_h;
	d->switching_cost_usd = p->switch_usd;
	d->signal_at_ns = p->signal_at_ns;
	d->predicted_switching_ms = optimizer_outcome_expected_ms(o, p);
	d->horizon_s = (double)p->horizon_ns / (double)NS_PER_S;
	d->gain_usd = p->gain_usd;
	d->risk_aversion = o->conf.risk_aversion;
	d->pays = p->pays;
	int rc = add_inputs(o, a, d, p);
	for (size_t i = 0; rc == 0 && i < p->n_groups; i++)
		rc = pb_push(a, &d->n_forecasts, &d->forecasts, optimizer_foresight(o, a, p, &p->group[i]));
	for (size_t i = 0; rc == 0 && i < p->n_groups; i++)
		if (p->row[p->group[i].first].cap->plan_id[0])
			rc = pb_push(a, &d->n_plan_ids, &d->plan_ids, p->row[p->group[i].first].cap->plan_id);
	for (size_t i = 0; rc == 0 && i < p->n_groups; i++) {
		const struct draft_group *of = &p->group[i];
		for (size_t k = of->first; rc == 0 && k < of->first + of->n; k++) {
			rc = add_target(a, d, &p->row[k], of->plan.steps > 0);
			if (rc == 0)
				rc = add_options(a, d, &p->row[k]);
		}
	}
	return rc < 0 ? rc : write_summary(a, d, p);
}

/* Sets of catalogue classes that move into each use: whose switching times this decision's switches will teach. */
static void moved_sets(const struct draft *p, int64_t ret[POLICY_USE_END])
{
	uint64_t set[POLICY_USE_END] = { 0 };
	for (size_t i = 0; i < p->n_rows; i++)
		for (int u = 0; u < POLICY_USE_END; u++)
			if (p->row[i].target.target[u] > p->row[i].in.now[u])
				set[u] |= UINT64_C(1) << device_class_index(p->row[i].in.cls);
	memcpy(ret, set, sizeof(set));
}

int optimizer_ledger_write(struct optimizer *o, struct svc_ctx *ctx, const struct draft *p, struct err *err)
{
	char id[ID_TEXT_MAX];
	int64_t moved[POLICY_USE_END] = { 0 };
	Hcp__Decision d = HCP__DECISION__INIT;
	Hcp__DecisionMade ev = HCP__DECISION_MADE__INIT;
	d.id = svc_new_id(ctx, id, ID_DECISION);
	ev.decision = &d;
	if (describe(o, ctx, p, &d) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (p->changed)
		moved_sets(p, moved);
	int rc = optimizer_outcome_close(o, ctx, p, err);
	if (rc < 0)
		return rc;
	buf_clear(&o->last);
	rc = pb_pack(&d.base, &o->last);
	if (rc < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	o->last_n++;
	o->stored_wall_ns = d.decided_at_ns;
	o->stored_market_ns = d.market_time_ns;
	rc = db_run(svc_db(ctx), err,
		"INSERT INTO decision(n,id,at_ns,market_ns,changed,moved_mine,moved_serve,moved_idle,body)"
		" VALUES($1,$2,$3,$4,$5,$6,$7,$8,$9)",
		"iziiiiiib", o->last_n, id, d.decided_at_ns, d.market_time_ns, (int64_t)d.changed, moved[POLICY_MINE],
		moved[POLICY_SERVE], moved[POLICY_IDLE], buf_str(&o->last));
	if (rc == 0)
		rc = db_run(svc_db(ctx), err, "DELETE FROM decision WHERE n<=$1", "i", o->last_n - OPTIMIZER_DECISIONS_MAX);
	if (rc == 0)
		rc = optimizer_policy_store(o, ctx, err);
	return rc < 0 ? rc : svc_publish(ctx, id, &ev.base);
}

/* ---- what came of it ---- */

static int learn(struct optimizer *o, struct svc_ctx *ctx, const struct device_class *cls, int use, double ms,
		 struct err *err)
{
	double *avg = &o->switch_ms[device_class_index(cls)][use];
	*avg = *avg > 0 ? *avg + OPTIMIZER_LEARN_RATE * (ms - *avg) : ms;
	return db_run(svc_db(ctx), err, "INSERT INTO learned(class,use,ms,n) VALUES($1,$2,$3,1) ON CONFLICT(class,use)"
		      " DO UPDATE SET ms=excluded.ms, n=n+1", "zid", cls->name, (int64_t)use, *avg);
}

static int use_of_mode(Hcp__Mode mode)
{
	switch (mode) {
	case HCP__MODE__SERVE:
		return POLICY_SERVE;
	case HCP__MODE__FILL:
		return POLICY_MINE;
	case HCP__MODE__OFF:
		return POLICY_IDLE;
	default:
		return -1;
	}
}

/*
 * A switch names neither its classes nor, beyond the first, its modes. It teaches only where the decision moved a
 * single class into a single use, or a node's slowest device would be taken for its quickest.
 */
static const struct device_class *only_moved(const int64_t moved[POLICY_USE_END], int *ret_use)
{
	uint64_t all = 0;
	int uses = 0;
	for (int u = 0; u < POLICY_USE_END; u++) {
		if (!moved[u])
			continue;
		all |= (uint64_t)moved[u];
		uses++;
		*ret_use = u;
	}
	if (uses != 1 || (all & (all - 1)))
		return NULL;
	return device_class_at((size_t)__builtin_ctzll(all));
}

int optimizer_on_switch_done(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct optimizer *o = state;
	const Hcp__SwitchDone *s = (const Hcp__SwitchDone *)m->body;
	struct db_row *row;
	if (!s->decision_id[0] || !s->ok || s->total_ns <= 0)
		return 0;
	int rc = db_query(svc_db(ctx), &row, err,
		"SELECT n,moved_mine,moved_serve,moved_idle,body FROM decision WHERE id=$1", "z", s->decision_id);
	if (rc != 1)
		return rc; /* pruned, or not ours */
	int64_t n = db_i64(row, 0), moved[POLICY_USE_END] = { db_i64(row, 1), db_i64(row, 2), db_i64(row, 3) };
	Hcp__Decision *d = (void *)pb_unpack_arena(&hcp__decision__descriptor, db_blob(row, 4), svc_arena(ctx));
	db_done(row);
	if (!d)
		return err_set(err, HCP_ECORRUPT, "decision", "%.40s cannot be read", s->decision_id);
	double ms = (double)s->total_ns / (double)NS_PER_MS;
	int use = -1;
	const struct device_class *cls = only_moved(moved, &use);
	if (cls && use == use_of_mode(s->to))
		rc = learn(o, ctx, cls, use, ms, err);
	else
		rc = 0;
	if (rc < 0 || ms <= d->realised_switching_ms)
		return rc;
	/* The decision is carried out when its slowest switch is. */
	d->realised_switching_ms = ms;
	d->realised_switching_usd = optimizer_outcome_switch_usd(o, d, ms, optimizer_market_now_ns(o, svc_now_ns(ctx)));
	struct buf b;
	buf_init(&b, 4 << 20);
	rc = pb_pack(&d->base, &b);
	if (rc == 0)
		rc = db_run(svc_db(ctx), err, "UPDATE decision SET body=$2 WHERE n=$1", "ib", n, buf_str(&b));
	if (rc == 0 && n == o->last_n) {
		buf_clear(&o->last);
		buf_adds(&o->last, buf_str(&b));
		rc = buf_failed(&o->last) ? HCP_ENOMEM : 0;
	}
	buf_release(&b);
	return rc;
}

/* ---- reading ---- */

static int reply_decision(struct svc_ctx *ctx, struct str packed, struct err *err)
{
	Hcp__Decision *reply = svc_reply(ctx, MSG_DECISION);
	if (!reply)
		return HCP_ENOMEM;
	Hcp__Decision *d = (void *)pb_unpack_arena(&hcp__decision__descriptor, packed, svc_reply_arena(ctx));
	if (!d)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	*reply = *d;
	return 0;
}

int optimizer_on_recommendation(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct optimizer *o = state;
	if (!o->last.n)
		return err_set(
			err, HCP_ENOTFOUND, "", "no decision yet: it takes a fleet, an electricity price and a BTC price");
	return reply_decision(ctx, buf_str(&o->last), err);
}

int optimizer_on_decision(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__DecisionGet *g = (const Hcp__DecisionGet *)m->body;
	struct db_row *row;
	if (strcmp(g->id, "latest") == 0)
		return optimizer_on_recommendation(state, ctx, m, err);
	int rc = db_query(svc_db(ctx), &row, err, "SELECT body FROM decision WHERE id=$1", "z", g->id);
	if (rc == 0)
		return err_set(err, HCP_ENOTFOUND, "id", "there is no decision %.40s", g->id);
	if (rc < 0)
		return rc;
	rc = reply_decision(ctx, db_blob(row, 0), err);
	db_done(row);
	return rc;
}

static int start_list(struct svc_ctx *ctx, const Hcp__DecisionsList *l, int64_t before, int64_t limit,
	struct db_row **row, struct err *err)
{
	if (l->changed_only)
		return db_query(svc_db(ctx), row, err, "SELECT n,body FROM decision WHERE changed=1 AND n<$1 ORDER BY n DESC"
				" LIMIT $2", "ii", before, limit + 1);
	return db_query(svc_db(ctx), row, err, "SELECT n,body FROM decision WHERE n<$1 ORDER BY n DESC LIMIT $2", "ii",
		before, limit + 1);
}

int optimizer_on_decisions(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__DecisionsList *l = (const Hcp__DecisionsList *)m->body;
	int64_t before = INT64_MAX, limit = l->limit ? l->limit : LIST_DEFAULT, last = 0;
	struct db_row *row;
	if (l->limit < 0 || l->limit > LIST_MAX)
		return err_set(err, HCP_ERANGE, "limit", "must be 1 to %d, was %d", LIST_MAX, l->limit);
	if (l->cursor[0] && (num_parse_i64(str_of(l->cursor), &before) < 0 || before < 1))
		return err_set(err, HCP_EINVAL, "cursor", "not a cursor of this list");
	Hcp__Decisions *reply = svc_reply(ctx, MSG_DECISIONS);
	if (!reply)
		return HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	int rc;
	for (rc = start_list(ctx, l, before, limit, &row, err); rc == 1; rc = db_next(row, err)) {
		if ((int64_t)reply->n_decisions == limit) {
			reply->next_cursor = arena_printf(a, "%" PRId64, last);
			db_done(row);
			return reply->next_cursor ? 0 : HCP_ENOMEM;
		}
		last = db_i64(row, 0);
		if (pb_push(a, &reply->n_decisions, &reply->decisions,
			    (void *)pb_unpack_arena(&hcp__decision__descriptor, db_blob(row, 1), a)) < 0) {
			db_done(row);
			return HCP_ENOMEM;
		}
	}
	return rc;
}
