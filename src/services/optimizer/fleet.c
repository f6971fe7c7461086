/* What there is to decide over: capacity by facility and class, demand by class. */
#include <stdio.h>

#include "base/mem.h"
#include "base/money.h"
#include "services/optimizer/optimizer_priv.h"

static uint32_t count(int32_t v)
{
	return v > 0 ? (uint32_t)v : 0;
}

static uint32_t at_most(uint32_t v, uint32_t max)
{
	return v < max ? v : max;
}

static int compare(const struct capacity *c, const char *facility, const struct device_class *cls)
{
	int d = strcmp(c->facility, facility);
	return d ? d : strcmp(c->cls->name, cls->name);
}

static int row_room(struct optimizer *o)
{
	size_t room = o->cap_room ? 2 * o->cap_room : 8;
	if (o->n_cap < o->cap_room)
		return 0;
	if (o->n_cap == OPTIMIZER_ROWS_MAX)
		return HCP_ELIMIT;
	room = room < OPTIMIZER_ROWS_MAX ? room : OPTIMIZER_ROWS_MAX;
	struct capacity *more = mem_realloc(o->cap, room * sizeof(*more));
	if (!more)
		return HCP_ENOMEM;
	o->cap = more;
	o->cap_room = room;
	return 0;
}

/* Rows are kept in order, so that decisions list facilities together and always alike. */
static struct capacity *row_for(struct optimizer *o, const char *facility, const struct device_class *cls, bool make)
{
	size_t i = 0;
	while (i < o->n_cap && compare(&o->cap[i], facility, cls) < 0)
		i++;
	if (i < o->n_cap && compare(&o->cap[i], facility, cls) == 0)
		return &o->cap[i];
	if (!make)
		return NULL;
	memmove(&o->cap[i + 1], &o->cap[i], (o->n_cap - i) * sizeof(*o->cap));
	o->n_cap++;
	o->cap[i] = (struct capacity){ .cls = cls };
	snprintf(o->cap[i].facility, sizeof(o->cap[i].facility), "%s", facility);
	return &o->cap[i];
}

static void drop_row(struct optimizer *o, struct capacity *c)
{
	size_t i = (size_t)(c - o->cap);
	memmove(c, c + 1, (o->n_cap - i - 1) * sizeof(*c));
	o->n_cap--;
}

struct capacity *optimizer_fleet_row(struct optimizer *o, const char *facility, const struct device_class *cls)
{
	return row_for(o, facility, cls, false);
}

int optimizer_fleet_put(struct optimizer *o, const Hcp__ClassCapacity *c)
{
	const struct device_class *cls = device_class_find(str_of(c->device_class));
	if (!cls)
		return HCP_ENOTFOUND;
	int rc = c->total > 0 ? row_room(o) : 0;
	struct capacity *row = row_for(o, c->facility, cls, rc == 0 && c->total > 0);
	if (c->total <= 0) {
		if (row)
			drop_row(o, row);
		return 0;
	}
	if (!row)
		return rc;
	row->total = count(c->total);
	row->healthy = at_most(count(c->healthy), row->total);
	row->allocated = at_most(count(c->allocated), row->healthy);
	row->serving = at_most(count(c->serving), row->healthy);
	row->filling = at_most(count(c->filling), row->healthy - row->serving);
	row->endpoints = at_most(count(c->endpoints), row->healthy);
	row->price_micros_h = c->price_micros_h;
	return 0;
}

static int store(struct svc_ctx *ctx, const Hcp__ClassCapacity *c, struct err *err)
{
	if (c->total <= 0) {
		const char *name = device_class_find(str_of(c->device_class))->name;
		int rc =
			db_run(svc_db(ctx), err, "DELETE FROM cohorts WHERE facility=$1 AND class=$2", "zz", c->facility, name);
		return rc < 0 ? rc : db_run(svc_db(ctx), err, "DELETE FROM capacity WHERE facility=$1 AND class=$2", "zz",
				      c->facility, name);
	}
	struct str packed;
	if (pb_pack_arena(&c->base, svc_arena(ctx), &packed) < 0)
		return HCP_ENOMEM;
	return db_run(svc_db(ctx), err, "INSERT INTO capacity(facility,class,body) VALUES($1,$2,$3)"
		      " ON CONFLICT(facility,class) DO UPDATE SET body=excluded.body", "zzb", c->facility,
		      device_class_find(str_of(c->device_class))->name, packed);
}

int optimizer_on_capacity(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct optimizer *o = state;
	const Hcp__CapacityChanged *ev = (const Hcp__CapacityChanged *)m->body;
	for (size_t i = 0; i < ev->n_classes; i++)
		if (strlen(ev->classes[i]->facility) >= OPTIMIZER_NAME_MAX)
			return err_set(err, HCP_ERANGE, "classes.facility", "longer than %d characters", OPTIMIZER_NAME_MAX - 1);
	for (size_t i = 0; i < ev->n_classes; i++) {
		int rc = optimizer_fleet_put(o, ev->classes[i]);
		if (rc == HCP_ENOMEM)
			return err_set(err, rc, "", "out of memory");
		/* A class without a row in the catalogue has no figures to decide by: it is left to its agents. */
		if (rc < 0)
			continue;
		rc = store(ctx, ev->classes[i], err);
		if (rc < 0)
			return rc;
	}
	return optimizer_decide(o, ctx, "capacity", 0, err);
}

void optimizer_fleet_put_demand(struct optimizer *o, const Hcp__Demand *d)
{
	const struct device_class *cls = device_class_find(str_of(d->device_class));
	if (!cls)
		return;
	struct demand *to = NULL;
	for (size_t i = 0; i < o->n_demand && !to; i++)
		if (o->demand[i].cls == cls)
			to = &o->demand[i];
	if (!to)
		to = &o->demand[o->n_demand++]; /* one a class of the catalogue: there is room */
	to->cls = cls;
	to->allocated = count(d->realtime) + count(d->batch);
	to->waiting = count(d->waiting);
	if (!d->ends_at_ns)
		return;
	to->ends_at_ns = d->ends_at_ns;
	for (size_t i = 0; i < OPTIMIZER_ENDS_HOURS; i++)
		to->ends[i] = i < d->n_ends ? count(d->ends[i]) : 0;
}

int optimizer_on_demand(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct optimizer *o = state;
	const Hcp__DemandChanged *ev = (const Hcp__DemandChanged *)m->body;
	for (size_t i = 0; i < ev->n_demands; i++) {
		const Hcp__Demand *d = ev->demands[i];
		const struct device_class *cls = device_class_find(str_of(d->device_class));
		if (!cls)
			continue;
		struct str packed;
		if (pb_pack_arena(&d->base, svc_arena(ctx), &packed) < 0)
			return HCP_ENOMEM;
		int rc = db_run(svc_db(ctx), err, "INSERT INTO demand(class,body) VALUES($1,$2)"
				" ON CONFLICT(class) DO UPDATE SET body=excluded.body", "zb", cls->name,
				packed);
		if (rc < 0)
			return rc;
		optimizer_fleet_put_demand(o, d);
	}
	return optimizer_decide(o, ctx, "demand", 0, err);
}

void optimizer_fleet_targets_from(struct optimizer *o, const Hcp__Decision *d)
{
	o->last_rows = d->n_targets;
	for (size_t i = 0; i < d->n_targets; i++) {
		const Hcp__ClassTarget *t = d->targets[i];
		const struct device_class *cls = device_class_find(str_of(t->device_class));
		struct capacity *row = cls ? row_for(o, t->facility, cls, false) : NULL;
		if (!row)
			continue;
		row->target[POLICY_MINE] = count(t->mine);
		row->target[POLICY_SERVE] = count(t->serve);
		row->target[POLICY_IDLE] = count(t->idle);
		const char *power = d->changed && o->announced_paid ? t->power_mode : t->was_power_mode;
		if (device_power_parse(str_of(power), &row->power) < 0) /* of a time before there were modes */
			row->power = DEVICE_POWER_NORMAL;
		row->decided_count = row->target[0] + row->target[1] + row->target[2];
		row->decided = true;
	}
}
