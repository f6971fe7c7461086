/*
 * What will be free: devices wanted by the hour, kept as they come, and a forecast of the next 24 hours over them
 * (econ/demand), beside what jobs that run now are expected to hold still.
 */
#include <math.h>

#include "base/money.h"
#include "econ/demand.h"
#include "services/optimizer/optimizer_priv.h"

#define HOUR_NS (3600 * NS_PER_S)
#define DAY_NS (24 * HOUR_NS)
#define SEEN_MIN_NS (900 * NS_PER_S)  /* less says nothing of the hour */
#define LOOK_MAX_NS (60 * NS_PER_S)   /* longer, and we were not there */

/* ---- the past ---- */

static int store_hour(struct optimizer *o, struct svc_ctx *ctx, struct err *err)
{
	struct wanted *w = &o->wanted;
	int rc = 0;
	for (size_t i = 0; i < o->n_demand && rc == 0 && w->seen_ns >= SEEN_MIN_NS; i++) {
		const struct device_class *cls = o->demand[i].cls;
		rc = db_run(svc_db(ctx), err,
			"INSERT INTO wanted_hour(class,hour_ns,devices) VALUES($1,$2,$3)"
			" ON CONFLICT(class,hour_ns) DO UPDATE SET devices=excluded.devices",
			"zid", cls->name, w->hour_ns, w->sum[device_class_index(cls)] * (double)NS_PER_S / (double)w->seen_ns);
	}
	return rc < 0 ? rc
				  : db_run(svc_db(ctx), err, "DELETE FROM wanted_hour WHERE hour_ns<$1", "i",
						w->hour_ns - OPTIMIZER_WANTED_DAYS * DAY_NS);
}

int optimizer_capacity_look(struct optimizer *o, struct svc_ctx *ctx, struct err *err)
{
	struct wanted *w = &o->wanted;
	int64_t now_ns = svc_now_ns(ctx), hour_ns = now_ns / HOUR_NS * HOUR_NS, gone_ns = now_ns - w->looked_ns;
	int rc = w->seen_ns && hour_ns != w->hour_ns ? store_hour(o, ctx, err) : 0;
	if (hour_ns != w->hour_ns)
		*w = (struct wanted){ .hour_ns = hour_ns, .looked_ns = w->looked_ns };
	w->looked_ns = now_ns;
	if (gone_ns <= 0 || gone_ns > LOOK_MAX_NS)
		return rc;
	w->seen_ns += gone_ns;
	for (size_t i = 0; i < o->n_demand; i++)
		w->sum[device_class_index(o->demand[i].cls)] +=
			(double)(o->demand[i].allocated + o->demand[i].waiting) * (double)gone_ns / (double)NS_PER_S;
	return rc;
}

static int read_hours(struct svc_ctx *ctx, const char *cls, struct history *h, int32_t *ret_n, struct err *err)
{
	static const char sql[] = "SELECT hour_ns,devices FROM wanted_hour WHERE class=$1 ORDER BY hour_ns";
	struct db_row *row;
	int rc;
	*ret_n = 0;
	for (rc = db_query(svc_db(ctx), &row, err, sql, "z", cls); rc == 1; rc = db_next(row, err)) {
		int bad = history_add(h, HISTORY_DEMAND, cls, db_i64(row, 0), HOUR_NS, db_double(row, 1), err);
		if (bad < 0) {
			db_done(row);
			return bad;
		}
		++*ret_n;
	}
	return rc;
}

/* ---- the next hours ---- */

static uint32_t healthy(const struct optimizer *o, const struct device_class *cls)
{
	uint32_t n = 0;
	for (size_t i = 0; i < o->n_cap; i++)
		n += o->cap[i].cls == cls ? o->cap[i].healthy : 0;
	return n;
}

/* Of what is held now, by what was last told of running jobs' ends: what is left after `hours` more. */
static double still_held(const struct demand *d, int64_t at_ns)
{
	int64_t gone = d->ends_at_ns ? (at_ns - d->ends_at_ns) / HOUR_NS : 0;
	double left = d->allocated;
	for (int64_t i = 0; i < gone && i < OPTIMIZER_ENDS_HOURS; i++)
		left -= d->ends[i];
	return left > 0 ? left : 0;
}

static double most(double a, double b)
{
	return a > b ? a : b;
}

static int add_point(
	const struct demand *d, double total, const struct forecast_point *p, int64_t at_ns, struct arena *a,
	Hcp__CapacityClass *out)
{
	enum { P10 = 1, P50 = FORECAST_MEDIAN, P90 = 5 };
	Hcp__CapacityPoint *x = arena_alloc(a, sizeof(*x));
	double held = still_held(d, at_ns);
	if (!x)
		return HCP_ENOMEM;
	hcp__capacity_point__init(x);
	x->at_ns = at_ns;
	x->still_held = (int32_t)held;
	/* Fewer than those will not be wanted, whatever was usual. */
	x->wanted_p10 = most(p->q[P10], held);
	x->wanted_p50 = most(p->q[P50], held);
	x->wanted_p90 = most(p->q[P90], held);
	x->free_p10 = most(total - x->wanted_p90, 0);
	x->free_p50 = most(total - x->wanted_p50, 0);
	x->free_p90 = most(total - x->wanted_p10, 0);
	x->shortfall_p50 = most(x->wanted_p50 - total, 0);
	x->shortfall_p90 = most(x->wanted_p90 - total, 0);
	return pb_push(a, &out->n_points, &out->points, x);
}

/* What was wanted in the hours before, to see the forecast by. */
static int add_past(const struct history *h, const char *cls, int64_t now_ns, struct arena *a, Hcp__CapacityClass *out)
{
	const struct history_series *s = history_find(h, HISTORY_DEMAND, cls);
	int64_t hour_ns = now_ns / HOUR_NS * HOUR_NS;
	for (int64_t k = DEMAND_HOURS; k > 0; k--) {
		double wanted = history_at(s, hour_ns - k * HOUR_NS);
		if (isnan(wanted))
			continue;
		Hcp__CapacityHour *x = arena_alloc(a, sizeof(*x));
		if (!x)
			return HCP_ENOMEM;
		hcp__capacity_hour__init(x);
		x->at_ns = hour_ns - k * HOUR_NS;
		x->wanted = wanted;
		x->free = most(out->total - wanted, 0);
		if (pb_push(a, &out->n_past, &out->past, x) < 0)
			return HCP_ENOMEM;
	}
	return 0;
}

/* Too little is known for a model: what is wanted now goes on. */
static void as_now(const struct demand *d, int64_t now_ns, struct demand_forecast *f)
{
	*f = (struct demand_forecast){ .start_ns = now_ns / HOUR_NS * HOUR_NS };
	f->model[0].name = "now";
	for (size_t k = 0; k < DEMAND_HOURS; k++)
		for (int i = 0; i < FORECAST_LEVELS; i++)
			f->at[k].q[i] = d->allocated + d->waiting;
}

static int fill_class(const struct optimizer *o, struct svc_ctx *ctx, const struct demand *d, struct arena *a,
	Hcp__CapacityClass *out, struct err *err)
{
	struct demand_forecast *f = arena_alloc(a, sizeof(*f));
	struct err why = { 0 };
	struct history h;
	history_init(&h);
	int rc = f ? read_hours(ctx, d->cls->name, &h, &out->hours_known, err) : HCP_ENOMEM;
	if (rc == 0) {
		rc = demand_forecast(&h, d->cls->name, svc_now_ns(ctx), f, &why);
		if (rc == HCP_EAGAIN)
			as_now(d, svc_now_ns(ctx), f);
		rc = rc == HCP_EAGAIN ? 0 : rc < 0 ? err_set(err, rc, why.field, "%s", why.text) : 0;
	}
	out->total = (int32_t)healthy(o, d->cls);
	rc = rc ? rc : add_past(&h, d->cls->name, svc_now_ns(ctx), a, out);
	history_release(&h);
	if (rc < 0)
		return rc;
	out->device_class = d->cls->name;
	out->held = (int32_t)d->allocated;
	out->waiting = (int32_t)d->waiting;
	out->model = f->model[f->best].name;
	out->pinball = f->model[f->best].pinball;
	out->pinball_persistence = f->model[0].pinball;
	for (size_t k = 0; k < DEMAND_HOURS && rc == 0; k++)
		rc = add_point(d, out->total, &f->at[k], f->start_ns + (int64_t)k * HOUR_NS, a, out);
	return rc;
}

int optimizer_on_capacity_forecast(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const struct optimizer *o = state;
	const Hcp__CapacityForecastGet *g = (const Hcp__CapacityForecastGet *)m->body;
	const struct device_class *only = g->device_class[0] ? device_class_find(str_of(g->device_class)) : NULL;
	if (g->device_class[0] && !only)
		return err_set(err, HCP_ENOTFOUND, "device_class", "there is no device class %.32s", g->device_class);
	Hcp__CapacityForecast *out = svc_reply(ctx, MSG_CAPACITY_FORECAST);
	struct arena *a = svc_reply_arena(ctx);
	int rc = out ? 0 : HCP_ENOMEM;
	for (size_t i = 0; i < o->n_demand && rc == 0; i++) {
		const struct demand *d = &o->demand[i];
		bool used = healthy(o, d->cls) || d->allocated || d->waiting;
		if (only ? d->cls != only : !used || d->cls->kind == DEVICE_ASIC)
			continue;
		Hcp__CapacityClass *c = arena_alloc(a, sizeof(*c));
		if (!c)
			return HCP_ENOMEM;
		hcp__capacity_class__init(c);
		rc = fill_class(o, ctx, d, a, c, err);
		if (rc == 0)
			rc = pb_push(a, &out->n_classes, &out->classes, c);
	}
	return rc;
}
