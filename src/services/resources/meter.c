/* Cumulative counters of agents become differences, each told once. */
#include <math.h>
#include <stdio.h>

#include "services/resources/resources_priv.h"

enum { COUNTERS = 6 };

static const char *const counter_name[COUNTERS] = { "energy_j", "device_ns", "requests", "tokens", "shares_accepted",
						   "shares_rejected" };
#define COUNTER_MAX (INT64_MAX / 4)
#define HASHES_MAX 1e30

static void counters_of(const Hcp__Meter *m, int64_t v[COUNTERS])
{
	const int64_t all[COUNTERS] = { m->energy_j, m->device_ns, m->requests, m->tokens, m->shares_accepted,
					m->shares_rejected };
	memcpy(v, all, sizeof(all));
}

/* Agents keep the order of their counters, so the hint nearly always hits. */
static struct meter *meter_find(const struct node *n, const Hcp__Meter *m, size_t hint)
{
	for (size_t k = 0; k < n->n_meters; k++) {
		struct meter *e = &n->meters[(hint + k) % n->n_meters];
		if (!strcmp(e->activity, m->activity) && !strcmp(e->allocation_id, m->allocation_id) &&
		    str_ieqz(str_of(m->device_class), e->cls->name))
			return e;
	}
	return NULL;
}

static int check_names(const Hcp__Meter *m, struct err *err)
{
	if (!device_class_find(str_of(m->device_class)))
		return err_set(err, HCP_ENOTFOUND, "device_class", "there is no device class %.32s", m->device_class);
	if (strcmp(m->activity, "serve") && strcmp(m->activity, "fill") && strcmp(m->activity, "off"))
		return err_set(err, HCP_EINVAL, "activity", "%.16s is none of serve, fill, off", m->activity);
	if (strlen(m->allocation_id) >= ID_TEXT_MAX)
		return err_set(err, HCP_EINVAL, "allocation_id", "longer than an id");
	return 0;
}

static bool went_back(const Hcp__Meter *m, const struct meter *last)
{
	int64_t v[COUNTERS];
	bool back = m->hashes < last->hashes;
	counters_of(m, v);
	for (int i = 0; i < COUNTERS; i++)
		back |= v[i] < last->v[i];
	return back;
}

static int check_values(const Hcp__Meter *m, struct err *err)
{
	int64_t v[COUNTERS];
	counters_of(m, v);
	for (int i = 0; i < COUNTERS; i++) {
		if (v[i] < 0 || v[i] > COUNTER_MAX)
			return err_set(err, HCP_ERANGE, counter_name[i], "%lld is no counter", (long long)v[i]);
	}
	if (!isfinite(m->hashes) || m->hashes < 0 || m->hashes > HASHES_MAX)
		return err_set(err, HCP_ERANGE, "hashes", "%g is no counter", m->hashes);
	return 0;
}

static bool same_key(const Hcp__Meter *a, const Hcp__Meter *b)
{
	return !strcmp(a->activity, b->activity) && !strcmp(a->allocation_id, b->allocation_id) &&
	       str_ieqz(str_of(a->device_class), b->device_class);
}

/* A key that is there twice: known ones show by their place, new ones are compared among themselves. */
static bool repeated(const struct node *n, const Hcp__NodeReport *rep, size_t i, const struct meter *known, bool *seen,
		     const Hcp__Meter **fresh, size_t *n_fresh)
{
	if (known) {
		bool again = seen[known - n->meters];
		seen[known - n->meters] = true;
		return again;
	}
	for (size_t k = 0; k < *n_fresh; k++)
		if (same_key(fresh[k], rep->meters[i]))
			return true;
	fresh[(*n_fresh)++] = rep->meters[i];
	return false;
}

int meters_check(struct svc_ctx *ctx, const struct node *n, const Hcp__NodeReport *rep, bool *ret_back, struct err *err)
{
	bool *seen = arena_calloc(svc_arena(ctx), n->n_meters + 1);
	const Hcp__Meter **fresh = arena_alloc(svc_arena(ctx), (rep->n_meters + 1) * sizeof(*fresh));
	size_t n_fresh = 0;
	bool back = false;
	char at[32];
	if (!seen || !fresh)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	for (size_t i = 0; i < rep->n_meters; i++) {
		const struct meter *last = meter_find(n, rep->meters[i], i);
		int rc = check_names(rep->meters[i], err);
		if (rc == 0)
			rc = check_values(rep->meters[i], err);
		if (rc == 0 && repeated(n, rep, i, last, seen, fresh, &n_fresh))
			rc = err_set(err, HCP_EINVAL, "allocation_id", "this counter is in the report twice");
		if (rc < 0) {
			snprintf(at, sizeof(at), "meters[%zu]", i);
			err_prefix(err, at);
			return rc;
		}
		back |= last && went_back(rep->meters[i], last);
	}
	if (n->n_meters + n_fresh > RESOURCES_NODE_METERS)
		return err_set(err, HCP_ELIMIT, "meters", "a node has at most %d counters since its agent started",
			       RESOURCES_NODE_METERS);
	*ret_back = back;
	return 0;
}

/*
 * Agents drop the counters of allocations that are over. Ours of those go too, when they become many: half of the
 * limit is kept for a report that comes late.
 */
static void drop_ended(const struct resources *r, struct node *n, const bool *in_report)
{
	size_t kept = 0;
	if (n->n_meters <= RESOURCES_NODE_METERS / 2)
		return;
	for (size_t i = 0; i < n->n_meters; i++) {
		const struct meter *e = &n->meters[i];
		bool over = e->allocation_id[0] && !map_get(&r->alloc_by_id, str_of(e->allocation_id));
		if (!over || in_report[i])
			n->meters[kept++] = *e;
	}
	n->n_meters = kept;
}

static int meter_add(struct node *n, const Hcp__Meter *m, struct meter **ret)
{
	if (vec_room((void **)&n->meters, n->n_meters, &n->cap_meters, sizeof(*n->meters)) < 0)
		return HCP_ENOMEM;
	struct meter *e = &n->meters[n->n_meters++];
	*e = (struct meter){ .cls = device_class_find(str_of(m->device_class)) };
	snprintf(e->activity, sizeof(e->activity), "%s", m->activity);
	snprintf(e->allocation_id, sizeof(e->allocation_id), "%s", m->allocation_id);
	*ret = e;
	return 0;
}

/* 1: *d has something to tell. */
static int difference(struct resources *r, struct svc_ctx *ctx, struct node *n, const Hcp__Meter *m, struct meter *e,
		      Hcp__MeterDelta *d, struct err *err)
{
	int64_t v[COUNTERS], diff[COUNTERS];
	bool any = m->hashes > e->hashes;
	counters_of(m, v);
	for (int i = 0; i < COUNTERS; i++) {
		diff[i] = v[i] - e->v[i];
		any |= diff[i] != 0;
	}
	hcp__meter_delta__init(d);
	d->hashes = m->hashes - e->hashes;
	memcpy(e->v, v, sizeof(v));
	e->hashes = m->hashes;
	if (!any)
		return 0;
	d->device_class = e->cls->name;
	d->activity = m->activity;
	d->energy_j = diff[0];
	d->device_ns = diff[1];
	d->requests = diff[2];
	d->tokens = diff[3];
	d->shares_accepted = diff[4];
	d->shares_rejected = diff[5];
	d->from_ns = n->metered_at_ns ? n->metered_at_ns : svc_now_ns(ctx);
	d->to_ns = svc_now_ns(ctx);
	n->energy_j += diff[0];
	int rc = alloc_customer(r, ctx, n, m->allocation_id, &d->customer_id, err);
	/* An allocation that this node never had is not billed to anybody; the energy still counts. */
	if (rc == 0 && d->customer_id[0])
		d->allocation_id = m->allocation_id;
	return rc < 0 ? rc : 1;
}

int meters_take(struct resources *r, struct svc_ctx *ctx, struct node *n, const Hcp__NodeReport *rep, struct err *err)
{
	struct arena *a = svc_arena(ctx);
	Hcp__Metered ev = HCP__METERED__INIT;
	Hcp__MeterDelta *rows = arena_alloc(a, (rep->n_meters + 1) * sizeof(*rows));
	bool *in_report = arena_calloc(a, n->n_meters + rep->n_meters + 1);
	ev.deltas = arena_alloc(a, (rep->n_meters + 1) * sizeof(*ev.deltas));
	if (!rows || !ev.deltas || !in_report)
		return HCP_ENOMEM;
	for (size_t i = 0; i < rep->n_meters; i++) {
		struct meter *e = meter_find(n, rep->meters[i], i);
		if (!e && meter_add(n, rep->meters[i], &e) < 0)
			return HCP_ENOMEM;
		in_report[e - n->meters] = true;
		int rc = difference(r, ctx, n, rep->meters[i], e, &rows[ev.n_deltas], err);
		if (rc < 0)
			return rc;
		if (rc == 1) {
			ev.deltas[ev.n_deltas] = &rows[ev.n_deltas];
			ev.n_deltas++;
		}
	}
	drop_ended(r, n, in_report);
	n->metered_at_ns = svc_now_ns(ctx);
	ev.node_id = n->id;
	ev.facility = n->facility;
	return ev.n_deltas ? svc_publish(ctx, n->id, &ev.base) : 0;
}

static int pack_meters(struct svc_ctx *ctx, const struct node *n, struct str *ret)
{
	struct arena *a = svc_arena(ctx);
	Hcp__NodeReport rep = HCP__NODE_REPORT__INIT;
	Hcp__Meter *rows = arena_alloc(a, (n->n_meters + 1) * sizeof(*rows));
	rep.meters = arena_alloc(a, (n->n_meters + 1) * sizeof(*rep.meters));
	if (!rows || !rep.meters)
		return HCP_ENOMEM;
	rep.n_meters = n->n_meters;
	for (size_t i = 0; i < n->n_meters; i++) {
		const struct meter *e = &n->meters[i];
		hcp__meter__init(&rows[i]);
		rows[i].device_class = e->cls->name;
		rows[i].activity = e->activity;
		rows[i].allocation_id = e->allocation_id;
		rows[i].energy_j = e->v[0];
		rows[i].device_ns = e->v[1];
		rows[i].requests = e->v[2];
		rows[i].tokens = e->v[3];
		rows[i].shares_accepted = e->v[4];
		rows[i].shares_rejected = e->v[5];
		rows[i].hashes = e->hashes;
		rep.meters[i] = &rows[i];
	}
	struct str packed;
	if (pb_pack_arena(&rep.base, a, &packed) < 0)
		return HCP_ENOMEM;
	*ret = packed;
	return 0;
}

int report_save(struct resources *r, struct svc_ctx *ctx, struct node *n, struct err *err)
{
	struct str meters;
	if (pack_meters(ctx, n, &meters) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	return db_run(svc_db(ctx), err,
		      "INSERT INTO report(number,seq,seen_ns,lease_ns,lease_number,energy_j,metered_ns,meters)"
		      " VALUES($1,$2,$3,$4,$5,$6,$7,$8) ON CONFLICT(number) DO UPDATE SET seq=excluded.seq,"
		      " seen_ns=excluded.seen_ns, lease_ns=excluded.lease_ns, lease_number=excluded.lease_number,"
		      " energy_j=excluded.energy_j, metered_ns=excluded.metered_ns, meters=excluded.meters",
		      "iiiiiiib", (int64_t)n->number, (int64_t)n->seq, n->seen_at_ns, n->lease_until_ns,
		      (int64_t)n->lease_number, n->energy_j, n->metered_at_ns, meters);
}

int meters_load(struct node *n, struct str packed)
{
	struct arena a;
	int rc = 0;
	arena_init(&a, 4096, 0);
	const Hcp__NodeReport *rep = (void *)pb_unpack_arena(&hcp__node_report__descriptor, packed, &a);
	if (!rep)
		rc = HCP_ECORRUPT;
	for (size_t i = 0; rc == 0 && i < rep->n_meters; i++) {
		struct meter *e;
		if (!device_class_find(str_of(rep->meters[i]->device_class)))
			rc = HCP_ECORRUPT;
		if (rc == 0)
			rc = meter_add(n, rep->meters[i], &e);
		if (rc == 0) {
			counters_of(rep->meters[i], e->v);
			e->hashes = rep->meters[i]->hashes;
		}
	}
	arena_release(&a);
	return rc;
}
