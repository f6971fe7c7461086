/* What came of a decision (ECON-8): what it netted while it was in force, and what its switches cost. */
#include <math.h>

#include "base/money.h"
#include "services/optimizer/optimizer_priv.h"

#define HOUR_NS (3600.0 * (double)NS_PER_S)
#define FORCE_MAX_NS (INT64_C(86400) * NS_PER_S) /* after a longer silence nobody knows what was in between */

static const struct draft_row *row_of(const struct draft *p, const char *facility, const char *device_class)
{
	for (size_t i = 0; i < p->n_rows; i++)
		if (strcmp(p->row[i].cap->facility, facility) == 0 && strcmp(p->row[i].in.cls->name, device_class) == 0)
			return &p->row[i];
	return NULL;
}

static const Hcp__ClassTarget *target_of(const Hcp__Decision *d, const Hcp__DecisionOption *o)
{
	for (size_t i = 0; i < d->n_targets; i++)
		if (strcmp(d->targets[i]->facility, o->facility) == 0 &&
			strcmp(d->targets[i]->device_class, o->device_class) == 0)
			return d->targets[i];
	return NULL;
}

/* At what a device nets now that the interval's own price is known; "hold" at the split that it would have kept. */
static double option_usd_h(const Hcp__DecisionOption *o, const Hcp__ClassTarget *t, const double net[POLICY_USE_END])
{
	if (strcmp(o->name, "hold") == 0)
		return t->was_mine * net[POLICY_MINE] + t->was_serve * net[POLICY_SERVE] + t->was_idle * net[POLICY_IDLE];
	int use = strcmp(o->name, "mine") == 0 ? POLICY_MINE : strcmp(o->name, "serve") == 0 ? POLICY_SERVE : POLICY_IDLE;
	return t->total * net[use];
}

static void fill_outcome(Hcp__Decision *d, const struct draft *p, int64_t in_force_ns)
{
	double hours = (double)in_force_ns / HOUR_NS;
	d->in_force_s = (double)in_force_ns / (double)NS_PER_S;
	d->expected_net_usd = d->net_usd_h * hours;
	d->realised_net_usd = 0;
	for (size_t i = 0; i < d->n_targets; i++) {
		const struct draft_row *r = row_of(p, d->targets[i]->facility, d->targets[i]->device_class);
		for (int u = 0; r && u < POLICY_USE_END; u++)
			d->realised_net_usd += r->in.now[u] * (u == POLICY_MINE ? r->mine_usd_h : r->in.net_usd_h[u]) * hours;
	}
	for (size_t i = 0; i < d->n_options; i++) {
		Hcp__DecisionOption *o = d->options[i];
		const struct draft_row *r = row_of(p, o->facility, o->device_class);
		const Hcp__ClassTarget *t = target_of(d, o);
		o->realised_usd = r && t ? option_usd_h(o, t, r->in.net_usd_h) * hours : 0;
	}
}

int optimizer_outcome_close(struct optimizer *o, struct svc_ctx *ctx, const struct draft *p, struct err *err)
{
	int64_t in_force_ns = p->market_ns - o->stored_market_ns;
	if (!o->last.n || in_force_ns <= 0 || in_force_ns > FORCE_MAX_NS)
		return 0;
	Hcp__Decision *d = (void *)pb_unpack_arena(&hcp__decision__descriptor, buf_str(&o->last), svc_arena(ctx));
	if (!d)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	fill_outcome(d, p, in_force_ns);
	int rc = optimizer_guard_take(o, ctx, d, err);
	if (rc < 0)
		return rc;
	struct buf b;
	buf_init(&b, 4 << 20);
	rc = pb_pack(&d->base, &b);
	if (rc == 0)
		rc = db_run(svc_db(ctx), err, "UPDATE decision SET body=$2 WHERE n=$1", "ib", o->last_n, buf_str(&b));
	else
		err_set(err, rc, "", "out of memory");
	buf_release(&b);
	return rc;
}

/* ---- switches ---- */

double optimizer_outcome_expected_ms(const struct optimizer *o, const struct draft *p)
{
	static const enum device_mode mode[POLICY_USE_END] = { DEVICE_FILL, DEVICE_SERVE, DEVICE_IDLE };
	double most = 0;
	for (size_t i = 0; p->changed && i < p->n_rows; i++) {
		const struct draft_row *r = &p->row[i];
		for (int u = 0; u < POLICY_USE_END; u++) {
			double ms = o->switch_ms[device_class_index(r->in.cls)][u];
			if (r->target.target[u] <= r->in.now[u])
				continue;
			if (ms <= 0)
				ms = r->in.group && u == POLICY_MINE && r->in.group->boot_ns
						 ? (double)r->in.group->boot_ns / (double)NS_PER_MS
						 : (double)r->in.cls->switch_ms[mode[u]];
			most = fmax(most, ms);
		}
	}
	return most;
}

double optimizer_outcome_switch_usd(const struct optimizer *o, const Hcp__Decision *d, double ms, int64_t market_ns)
{
	const double each[POLICY_USE_END] = { ms, ms, ms };
	double usd = 0;
	for (size_t i = 0; i < d->n_targets; i++) {
		const Hcp__ClassTarget *t = d->targets[i];
		struct policy_class c = { .cls = device_class_find(str_of(t->device_class)) };
		struct facility_terms terms = optimizer_terms_of(o, t->facility);
		struct market_reading power;
		if (!c.cls)
			continue;
		struct profit_market pm = optimizer_terms_market(o, &terms, market_ns, &power);
		c.group = site_group_of(terms.site, c.cls);
		optimizer_fill_nets(o, &pm, optimizer_serve_rate_usd_h(o, c.cls, 0, market_ns), each, &c);
		const int32_t moved[POLICY_USE_END] = { [POLICY_MINE] = t->mine - t->was_mine,
			[POLICY_SERVE] = t->serve - t->was_serve,
			[POLICY_IDLE] = t->idle - t->was_idle };
		for (int u = 0; u < POLICY_USE_END; u++)
			if (moved[u] > 0)
				usd += moved[u] * c.switch_cost_usd[u];
	}
	return usd;
}
