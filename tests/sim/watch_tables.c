/* The services' own tables against what they said, and against each other once all is quiet. */
#include "watch.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

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
	size_t active = 0, known = 0, pos = 0;
	void *v;
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
	while (map_next(&s->watch->workloads, &pos, NULL, &v))
		known += ((struct seen_workload *)v)->state < HCP__WORKLOAD_STATE__COMPLETED;
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
	case HCP__WORKLOAD_STATE__COMPLETED:
	case HCP__WORKLOAD_STATE__FAILED:
	case HCP__WORKLOAD_STATE__CANCELLED:
		if (a)
			return odd(s, "workload %s is over (state %d), but holds %s (state %d)", w->id, w->state, a->id, a->state);
		return !j ||
			   odd(s, "workload %s is over (state %d), but the router has it in state %d", w->id, w->state, j->state);
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

void watch_settled(struct sim *s)
{
	for (int i = 0; i < SVC_COUNT; i++)
		if (s->slot[i].def && !s->slot[i].svc)
			sim_fail(s, "%s is down though nothing fails any more", svc_table[i].name);
	for (int tries = 0; tries < WATCH_SETTLE_TRIES; tries++) {
		watch_full(s);
		if (settled_workloads(s))
			return;
		sim_run_until(s, s->now_ns + 10 * NS_PER_S);
	}
	sim_fail(s, "%s", s->watch->odd);
}
