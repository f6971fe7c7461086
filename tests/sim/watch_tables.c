/* The services' own tables against what they said, and against each other once all is quiet. */
#include "watch.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "net.h"

/* A query whose failure is our own bug or a broken database. */
#define EACH(s, row, slot_id, sql)                                                                                     \
	struct err row##_err = { 0 };                                                                                      \
	struct db_row *row;                                                                                                \
	int row##_rc;                                                                                                      \
	for (row##_rc = db_query(svc_database((s)->slot[slot_id].svc), &row, &row##_err, sql, "");                         \
		 row##_rc == 1 || (row##_rc < 0 && table_failed(s, slot_id, &row##_err)); row##_rc = db_next(row, &row##_err))

static bool table_failed(const struct sim *s, int id, const struct err *err)
{
	sim_fail(s, "the tables of %s cannot be read: %s", svc_table[id].name, err->text);
}

static void text(char *dst, size_t cap, struct str v)
{
	snprintf(dst, cap, "%.*s", (int)v.n, v.p);
}

/* Every workload that is not final is in the state that its last event said, and none is missing. */
static void check_workloads(struct sim *s)
{
	size_t active = 0, known = s->watch->active;
	char id[ID_TEXT_MAX];
	if (!s->slot[SVC_ORCHESTRATOR].svc)
		return;
	{
		EACH(s, row, SVC_ORCHESTRATOR, "SELECT id,state FROM workload WHERE state<5") {
			text(id, sizeof(id), db_text(row, 0));
			const struct seen_workload *w = map_get(&s->watch->workloads, str_of(id));
			if (!w || w->state != db_i64(row, 1))
				sim_fail(s, "workload %s is in state %d in the table, its events said %d", id, (int)db_i64(row, 1),
					 w ? w->state : 0);
			active++;
		}
	}
	if (known != active)
		sim_fail(s, "%zu workloads are active by their events, %zu by the table", known, active);
}

/* The counter that limits a customer is the number of its active workloads. */
static void check_quota(struct sim *s)
{
	if (!s->slot[SVC_ORCHESTRATOR].svc)
		return;
	EACH(s, row, SVC_ORCHESTRATOR,
		"SELECT q.customer_id,q.active,(SELECT count(*) FROM workload w WHERE w.customer_id=q.customer_id AND "
		"w.state<5)"
		" FROM quota q")
	{
		char id[64];
		text(id, sizeof(id), db_text(row, 0));
		if (db_i64(row, 1) != db_i64(row, 2))
			sim_fail(s, "customer %s: counted %lld active workloads, there are %lld", id, (long long)db_i64(row, 1),
				 (long long)db_i64(row, 2));
	}
}

void watch_tables(struct sim *s)
{
	check_workloads(s);
	check_quota(s);
}

/* ---- after all is quiet ---- */

struct router_job {
	int state; /* 0 waiting, 1 placed, 2 releasing */
	char allocation[ID_TEXT_MAX];
};

static void load_jobs(struct sim *s, struct map *jobs)
{
	EACH(s, row, SVC_ROUTER, "SELECT id,state,place FROM job") {
		char id[ID_TEXT_MAX];
		struct router_job *j = mem_calloc(1, sizeof(*j));
		struct arena a;
		arena_init(&a, 1024, 0);
		text(id, sizeof(id), db_text(row, 0));
		j->state = (int)db_i64(row, 1);
		const Hcp__Place *p = (void *)pb_unpack_arena(&hcp__place__descriptor, db_blob(row, 2), &a);
		if (p)
			snprintf(j->allocation, sizeof(j->allocation), "%s", p->allocation_id);
		arena_release(&a);
		if (map_put(jobs, str_of(id), j, NULL) < 0)
			sim_fail(s, "out of memory");
	}
}

/* What does not fit yet; while things move it may be true for a moment. */
static bool odd(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool odd(struct sim *s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(s->watch->odd, sizeof(s->watch->odd), fmt, ap);
	va_end(ap);
	return false;
}

static const struct seen_allocation *held_by(const struct watch *w, const char *workload)
{
	const struct seen_allocation *found = NULL;
	size_t pos = 0;
	void *v;
	while (map_next(&w->allocations, &pos, NULL, &v)) {
		const struct seen_allocation *a = v;
		bool live = a->state != HCP__ALLOCATION_STATE__RELEASED && a->state != HCP__ALLOCATION_STATE__REFUSED;
		if (!live || strcmp(a->workload, workload))
			continue;
		if (found)
			sim_fail(w->sim, "workload %s has two live allocations, %s and %s", workload, found->id, a->id);
		found = a;
	}
	return found;
}

static bool settled_workload(struct sim *s, const struct seen_workload *w, const struct router_job *j)
{
	const struct seen_allocation *a = held_by(s->watch, w->id);
	switch (w->state) {
	case HCP__WORKLOAD_STATE__QUEUED:
		if (!j || j->state != 0)
			return odd(s, "workload %s is queued, but the router %s", w->id, j ? "has it placed" : "has forgotten it");
		return !a || odd(s, "workload %s is queued, but holds %s", w->id, a->id);
	case HCP__WORKLOAD_STATE__RUNNING:
		if (!a || a->state != HCP__ALLOCATION_STATE__HELD)
			return odd(s, "workload %s runs without devices (allocation in state %d)", w->id, a ? a->state : 0);
		if (!j || j->state != 1 || strcmp(j->allocation, a->id))
			return odd(s, "workload %s runs, but the router %s", w->id, j ? "thinks otherwise" : "has forgotten it");
		return true;
	case HCP__WORKLOAD_STATE__PAUSED:
	case HCP__WORKLOAD_STATE__COMPLETED:
	case HCP__WORKLOAD_STATE__FAILED:
	case HCP__WORKLOAD_STATE__CANCELLED:
		if (a)
			return odd(s, "workload %s is paused or over (state %d), but holds %s (state %d)", w->id, w->state, a->id,
				a->state);
		return !j || odd(s, "workload %s is paused or over (state %d), but the router has it in state %d", w->id,
						 w->state, j->state);
	default:
		return odd(s, "workload %s is stuck in state %d", w->id, w->state);
	}
}

static bool settled_workloads(struct sim *s)
{
	struct map jobs;
	size_t pos = 0;
	void *v;
	bool good = true;
	struct str id;
	map_init(&jobs);
	load_jobs(s, &jobs);
	while (good && map_next(&s->watch->workloads, &pos, NULL, &v)) {
		const struct seen_workload *w = v;
		good = settled_workload(s, w, map_get(&jobs, str_of(w->id)));
	}
	for (pos = 0; map_next(&jobs, &pos, &id, &v);) {
		if (!map_get(&s->watch->workloads, id))
			sim_fail(s, "the router has a job %.*s that nobody submitted", (int)id.n, id.p);
		mem_free(v);
	}
	map_release(&jobs);
	return good;
}

/* ---- devices: what resources believes, what the machines do ---- */

struct look {
	struct sim *sim;
	bool good;
	size_t n;
};

static const struct net_node *node_of(const struct sim *s, const char *id)
{
	for (size_t i = 0; i < s->net->n; i++)
		if (!strcmp(s->net->node[i].id, id))
			return &s->net->node[i];
	sim_fail(s, "resources knows a node %s, which there is not", id);
}

static const struct node_device *machine(const struct sim *s, const Hcp__Device *d)
{
	const struct net_node *x = node_of(s, d->node_id);
	char name[16];
	for (size_t i = 0; i < x->node.n_devices; i++)
		if (!strcmp(node_device_id(&x->node, i, name), d->id + strlen(d->node_id) + 1))
			return &x->node.devices[i];
	sim_fail(s, "resources knows a device %s, which there is not", d->id);
}

static Hcp__Mode node_wire(int mode)
{
	switch (mode) {
	case DEVICE_SERVE: return HCP__MODE__SERVE;
	case DEVICE_FILL: return HCP__MODE__FILL;
	case DEVICE_SAFE: return HCP__MODE__SAFE;
	default: return HCP__MODE__OFF;
	}
}

/* Those that resources lists are those of the events; the machine's are looked at apart. */
static void check_parts(struct sim *s, const Hcp__Device *d, const struct seen_allocation *first)
{
	size_t n = 0;
	for (const struct seen_allocation *a = first; a; a = a->beside, n++) {
		size_t i = 0;
		while (i < d->n_shares && strcmp(d->shares[i]->allocation_id, a->id) != 0)
			i++;
		if (i == d->n_shares || d->shares[i]->milli != a->part.milli || d->shares[i]->mig_start != a->part.start)
			sim_fail(s, "device %s: the part of %s is not as it was placed", d->id, a->id);
	}
	if (n != d->n_shares || d->allocation_id[0])
		sim_fail(s, "device %s has %zu parts in resources, %zu by the events", d->id, d->n_shares, n);
}

static bool machine_has_parts(const struct sim *s, const Hcp__Device *d)
{
	const struct node_device *m = machine(s, d);
	const struct net_node *x = node_of(s, d->node_id);
	for (size_t i = 0; i < d->n_shares; i++) {
		size_t k = 0;
		while (k < m->n_parts && strcmp(x->node.allocs[m->parts[k].alloc].id, d->shares[i]->allocation_id) != 0)
			k++;
		if (k == m->n_parts || m->parts[k].slice.milli != d->shares[i]->milli ||
			m->parts[k].slice.start != d->shares[i]->mig_start)
			return false;
	}
	return m->n_parts == d->n_shares;
}

static bool device_settled(struct sim *s, const Hcp__Device *d)
{
	const struct fleet_device *m = &machine(s, d)->d;
	const struct seen_allocation *owner = map_get(&s->watch->owners, str_of(d->id));
	if (d->n_shares || (owner && owner->part.milli))
		check_parts(s, d, owner);
	else if (strcmp(owner ? owner->id : "", d->allocation_id))
		sim_fail(s, "device %s belongs to '%s' in resources, to '%s' by the events", d->id, d->allocation_id,
			 owner ? owner->id : "");
	if (m->fault != FLEET_GOOD || m->lying)
		return true; /* it cannot do what it is told; resources sees it drift */
	if (d->state == HCP__DEVICE_STATE__DEVICE_FAILED)
		return odd(s, "device %s is well, but out of the pool: %s (stream open %d, cut %d)", d->id, d->reason,
			   node_of(s, d->node_id)->open, node_of(s, d->node_id)->cut);
	if ((d->allocation_id[0] || d->n_shares) && m->mode != DEVICE_SERVE)
		return odd(s,
			"device %s is held by %s and is in mode %s (state %d, commanded %d, confirmed %d, drifted %d, %s)", d->id,
			owner->id, device_mode_name((enum device_mode)m->mode), (int)d->state, (int)d->commanded, (int)d->confirmed,
			d->drifted, d->reason);
	if (!machine_has_parts(s, d))
		return odd(s, "device %s has %zu parts in resources, and others in truth", d->id, d->n_shares);
	if (d->commanded != d->confirmed || d->drifted || node_wire(m->mode) != d->commanded)
		return odd(s, "device %s: commanded %d, confirmed %d, drifted %d, in truth %s", d->id, (int)d->commanded,
			   (int)d->confirmed, d->drifted, device_mode_name((enum device_mode)m->mode));
	return d->desired == d->commanded || odd(s, "device %s: desired %d, commanded %d (%s)", d->id, (int)d->desired,
						 (int)d->commanded, d->reason);
}

static void on_list(void *arg, struct msg *m)
{
	struct look *l = arg;
	const Hcp__Resources *r = (const Hcp__Resources *)m->body;
	if (m->type != MSG_RESOURCES)
		sim_fail(l->sim, "resources does not list its devices");
	for (size_t i = 0; i < r->n_devices && l->good; i++)
		l->good = device_settled(l->sim, r->devices[i]);
	l->n = r->n_devices;
	msg_free(m);
}

static bool settled_devices(struct sim *s)
{
	struct look l = { .sim = s, .good = true };
	if (!s->net)
		return true;
	struct msg *m = msg_new(MSG_RESOURCES_LIST);
	((Hcp__ResourcesList *)m->body)->limit = 1000;
	m->reply_fn = on_list;
	m->reply_arg = &l;
	sim_post(s, m);
	sim_run_until(s, s->now_ns);
	if (l.n == 0)
		sim_fail(s, "resources lists no device");
	return l.good;
}

void watch_settled(struct sim *s)
{
	for (int i = 0; i < SVC_COUNT; i++)
		if (s->slot[i].def && !s->slot[i].svc)
			sim_fail(s, "%s is down though nothing fails any more", svc_table[i].name);
	for (int tries = 0;; tries++) {
		watch_full(s);
		if (settled_workloads(s) && settled_devices(s))
			break;
		if (tries == WATCH_SETTLE_TRIES)
			sim_fail(s, "%s", s->watch->odd);
		sim_run_until(s, s->now_ns + 10 * NS_PER_S);
	}
	ledger_check(s);
	if (s->net)
		net_check_joules(s);
}
