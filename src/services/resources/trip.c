/*
 * Levels of the power tree that have lost their power (FLEET-6), as their breaker or a person says.
 *
 *   PowerTrip ─▶ devices below: allocations end, FAILED "its feeder has no power", commanded off where their node
 * answers PowerRestore ─▶ back in the pool; the level's watts rise in steps, so that not all starts at once
 *
 * That a feeder is dead frees no watt: a device keeps what it has reserved until readings prove that it draws less, or
 * until its node is lost and its lease has run out. Nodes that are lost one by one trip nothing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "services/resources/resources_priv.h"

enum { STATE_TRIPPED = 0, STATE_RESTORED = 1 };

/* ---- rows ---- */

static int store(struct svc_ctx *ctx, const struct power *p, struct err *err)
{
	const struct trip *t = p->trip;
	return db_run(svc_db(ctx), err,
		"INSERT INTO trip(facility,path,state,at_ns,by,reason) VALUES($1,$2,$3,$4,$5,$6)"
		" ON CONFLICT(facility,path) DO UPDATE SET state=excluded.state, at_ns=excluded.at_ns, by=excluded.by,"
		" reason=excluded.reason",
		"zziizz", p->facility->name, p->path, (int64_t)(t->restored ? STATE_RESTORED : STATE_TRIPPED), t->at_ns, t->by,
		t->reason);
}

static int load_row(struct resources *r, const struct db_row *row)
{
	char name[NAME_MAX_LEN], path[POWER_PATH_MAX];
	struct facility *f;
	struct power *p;
	struct trip *t = mem_calloc(1, sizeof(*t));
	if (!t)
		return HCP_ENOMEM;
	int rc = str_copy(name, sizeof(name), db_text(row, 0)) < 0 || str_copy(path, sizeof(path), db_text(row, 1)) < 0 ||
					 str_copy(t->by, sizeof(t->by), db_text(row, 4)) < 0 ||
					 str_copy(t->reason, sizeof(t->reason), db_text(row, 5)) < 0
				 ? HCP_ECORRUPT
				 : facility_get(r, name, "", &f);
	if (rc == 0)
		rc = power_get(r, f, path, &p, NULL);
	if (rc < 0 || !p->up || p->trip) {
		mem_free(t);
		return rc == HCP_ENOTFOUND ? 0 : rc; /* the site's file names that level no more */
	}
	t->restored = db_i64(row, 2) == STATE_RESTORED;
	t->at_ns = db_i64(row, 3);
	p->trip = t;
	r->n_trips++;
	return 0;
}

int trips_load(struct resources *r, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc =
			 db_query(db, &row, err, "SELECT facility,path,state,at_ns,by,reason FROM trip ORDER BY facility,path", "");
		 rc == 1; rc = db_next(row, err)) {
		int bad = load_row(r, row);
		if (bad < 0) {
			db_done(row);
			return err_set(err, bad, "trip", "a stored row cannot be read");
		}
	}
	return rc;
}

/* ---- devices ---- */

int device_return(struct resources *r, struct device *d, int64_t now_ns, struct err *err)
{
	d->resync = true; /* whatever it runs by now, it is told anew */
	plan_want(r, d->group->facility);
	node_want_work(r, d->node);
	if (!power_is_off(device_power(d)))
		return device_event(r, d, DEVICE_EV_REPAIR, WHY_NONE, now_ns, err);
	d->why = WHY_TRIPPED;
	device_set_desired(r, d, DEVICE_IDLE, 0);
	device_mark(r, d);
	return 0;
}

static int fall(struct resources *r, struct svc_ctx *ctx, struct device *d, const char *reason, struct err *err)
{
	int rc = device_end_allocs(r, ctx, d, reason, err);
	if (rc == 0 && d->command)
		rc = command_drop_device(r, ctx, d, err);
	if (rc == 0 && d->state != DEVICE_ST_FAILED)
		rc = device_event(r, d, DEVICE_EV_FAIL, WHY_TRIPPED, svc_now_ns(ctx), err);
	/* When power comes back it must not start by itself. */
	device_set_desired(r, d, DEVICE_IDLE, 0);
	d->resync |= d->node->connected;
	node_want_work(r, d->node);
	return rc;
}

int device_feed(struct resources *r, struct svc_ctx *ctx, struct device *d, struct err *err)
{
	bool off = power_is_off(device_power(d)), out = d->state == DEVICE_ST_FAILED;
	if (off && !out)
		return fall(r, ctx, d, "it hangs at a feeder without power", err);
	return !off && out && d->why == WHY_TRIPPED ? device_return(r, d, svc_now_ns(ctx), err) : 0;
}

static int rise(struct resources *r, struct svc_ctx *ctx, struct device *d, struct err *err)
{
	if (d->state != DEVICE_ST_FAILED || d->why != WHY_TRIPPED)
		return 0;
	if (d->node->connected)
		return device_return(r, d, svc_now_ns(ctx), err);
	d->why = WHY_NODE_LOST; /* its node brings it back */
	device_mark(r, d);
	return 0;
}

/* All devices below a level. */
static int each(struct resources *r, struct svc_ctx *ctx, const struct power *p, const char *reason, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; i < r->n_groups; i++) {
		struct group *g = r->group[i];
		for (size_t k = 0; g->facility == p->facility && k < g->n && rc == 0; k++) {
			const struct power *q = device_power(g->devices[k]);
			while (q && q != p)
				q = q->up;
			if (q)
				rc = reason ? fall(r, ctx, g->devices[k], reason, err) : rise(r, ctx, g->devices[k], err);
		}
	}
	return rc;
}

/* ---- what people see ---- */

static const char *state_of(const struct power *p)
{
	if (power_is_off(p))
		return p->trip && !p->trip->restored ? "tripped" : "dead";
	return p->trip ? "restoring" : "on";
}

static int level_fill(struct arena *a, const struct power *p, Hcp__PowerLevel *out)
{
	int64_t cap_w = power_cap_w(p);
	hcp__power_level__init(out);
	out->facility = arena_strdup(a, p->facility->name);
	out->path = arena_strdup(a, p->path);
	out->state = (char *)state_of(p);
	out->budget_w = p->budget_w;
	out->cap_w = cap_w == INT64_MAX ? 0 : cap_w;
	out->reserved_w = p->reserved_w;
	out->measured_w = p->measured_w;
	out->inrush_w = p->inrush_w;
	out->devices = p->devices;
	out->tripped_at_ns = p->trip ? p->trip->at_ns : 0;
	out->reason = arena_strdup(a, p->trip ? p->trip->reason : "");
	out->by = arena_strdup(a, p->trip ? p->trip->by : "");
	return out->facility && out->path && out->reason && out->by ? 0 : HCP_ENOMEM;
}

/* Readings are not summed as they come, since hardly anybody asks: O(devices). */
static void measure(struct resources *r)
{
	for (size_t i = 0; i < r->n_facilities; i++)
		r->facility[i]->power.measured_w = r->facility[i]->power.devices = 0;
	for (size_t i = 0; i < r->n_levels; i++)
		r->level[i]->measured_w = r->level[i]->devices = 0;
	for (size_t i = 0; i < r->n_devices; i++) {
		const struct device *d = resources_device_at(r, i);
		for (struct power *p = device_power(d); p; p = p->up) {
			p->measured_w += d->power_w;
			p->devices++;
		}
	}
}

static int by_path(const void *a, const void *b)
{
	const struct power *const *x = a, *const *y = b;
	return strcmp((*x)->path, (*y)->path);
}

static int add_levels(struct resources *r, struct svc_ctx *ctx, struct facility *f, Hcp__Power *reply)
{
	struct arena *a = svc_reply_arena(ctx);
	struct power **all = arena_alloc(svc_arena(ctx), (r->n_levels + 1) * sizeof(*all));
	size_t n = 0;
	if (!all)
		return HCP_ENOMEM;
	all[n++] = &f->power;
	for (size_t i = 0; i < r->n_levels; i++)
		if (r->level[i]->facility == f)
			all[n++] = r->level[i];
	qsort(all, n, sizeof(*all), by_path);
	for (size_t i = 0; i < n; i++) {
		Hcp__PowerLevel *out = arena_alloc(a, sizeof(*out));
		if (!out || level_fill(a, all[i], out) < 0 || pb_push(a, &reply->n_levels, &reply->levels, out) < 0)
			return HCP_ENOMEM;
	}
	return 0;
}

int on_power(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__PowerGet *q = (const Hcp__PowerGet *)m->body;
	if (q->facility[0] && !map_get(&r->facilities, str_of(q->facility)))
		return err_set(err, HCP_ENOTFOUND, "facility", "there is no facility %.60s", q->facility);
	Hcp__Power *reply = svc_reply(ctx, MSG_POWER);
	int rc = reply ? 0 : HCP_ENOMEM;
	measure(r);
	for (size_t i = 0; i < r->n_facilities && rc == 0; i++)
		if (!q->facility[0] || !strcmp(q->facility, r->facility[i]->name))
			rc = add_levels(r, ctx, r->facility[i], reply);
	return rc < 0 ? err_set(err, rc, "", "out of memory") : 0;
}

/* ---- orders ---- */

static int find(struct resources *r, const char *facility, const char *path, struct power **ret, struct err *err)
{
	struct facility *f = map_get(&r->facilities, str_of(facility));
	if (!f && !facility[0] && r->n_facilities == 1)
		f = r->facility[0];
	if (!f)
		return err_set(err, HCP_ENOTFOUND, "facility",
			facility[0] ? "there is no facility %.60s" : "say which facility%.0s", facility);
	if (!path[0])
		return err_set(err, HCP_EINVAL, "path",
			"name a feeder or what hangs below it; a whole facility has the "
			"emergency stop");
	return power_get(r, f, path, ret, err);
}

/* What follows from a level that has lost or got its power, when the batch settles; and the answer. */
static int done(struct resources *r, struct svc_ctx *ctx, struct power *p, struct err *err)
{
	Hcp__PowerLevel *reply = svc_reply(ctx, MSG_POWER_LEVEL);
	plan_want_now(r, p->facility);
	measure(r);
	return reply && level_fill(svc_reply_arena(ctx), p, reply) == 0 ? 0 : err_set(err, HCP_ENOMEM, "", "out of memory");
}

int on_power_trip(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__PowerTrip *q = (const Hcp__PowerTrip *)m->body;
	char reason[REASON_MAX];
	struct power *p;
	int rc = find(r, q->facility, q->path, &p, err);
	if (rc < 0)
		return rc;
	if (strlen(q->reason) >= REASON_MAX)
		return err_set(err, HCP_ELIMIT, "reason", "must be at most %d bytes", REASON_MAX - 1);
	if (p->trip && !p->trip->restored)
		return err_set(err, HCP_EEXIST, "path", "%s of %.40s has tripped already", p->path, p->facility->name);
	struct trip *t = mem_calloc(1, sizeof(*t));
	if (!t)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	t->at_ns = svc_now_ns(ctx);
	snprintf(t->by, sizeof(t->by), "%.60s", m->principal ? m->principal->email : "");
	snprintf(t->reason, sizeof(t->reason), "%s", q->reason);
	r->n_trips += !p->trip;
	mem_free(p->trip);
	p->trip = t;
	log_warn("resources", "%s of %s has tripped: %s", p->path, p->facility->name, q->reason);
	snprintf(reason, sizeof(reason), "%s of %.40s has no power", p->path, p->facility->name);
	rc = store(ctx, p, err);
	if (rc == 0)
		rc = each(r, ctx, p, reason, err);
	return rc < 0 ? rc : done(r, ctx, p, err);
}

int on_power_restore(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__PowerRestore *q = (const Hcp__PowerRestore *)m->body;
	struct power *p;
	int rc = find(r, q->facility, q->path, &p, err);
	if (rc < 0)
		return rc;
	if (!p->trip || p->trip->restored)
		return err_set(err, HCP_ESTATE, "path", "%s of %.40s has not tripped", p->path, p->facility->name);
	p->trip->restored = true;
	p->trip->restored_lived_ns = r->lived_ns;
	rc = store(ctx, p, err);
	if (rc == 0)
		rc = each(r, ctx, p, NULL, err);
	return rc < 0 ? rc : done(r, ctx, p, err);
}

/* ---- time ---- */

/* The steps are over: from here on the level is like any other. */
int trips_timer(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; r->n_trips && i < r->n_levels && rc == 0; i++) {
		struct power *p = r->level[i];
		int64_t over_ns = RESOURCES_RESTORE_STEPS * RESOURCES_INRUSH_MS * NS_PER_MS;
		if (!p->trip || !p->trip->restored || r->lived_ns < p->trip->restored_lived_ns + over_ns)
			continue;
		mem_free(p->trip);
		p->trip = NULL;
		r->n_trips--;
		r->poke = true;
		rc = db_run(
			svc_db(ctx), err, "DELETE FROM trip WHERE facility=$1 AND path=$2", "zz", p->facility->name, p->path);
	}
	return rc;
}
