/* Rows of the workload table and the one function that moves a workload between states. */
#include "services/orchestrator/callback.h"
#include "services/orchestrator/orchestrator_priv.h"

/* The wire's enum has "unspecified" first; the model's starts at 0. */
static enum workload_state model_state(Hcp__WorkloadState s)
{
	return (enum workload_state)((int)s - 1);
}

static Hcp__WorkloadState wire_state(enum workload_state s)
{
	return (Hcp__WorkloadState)((int)s + 1);
}

static int pack(struct svc_ctx *ctx, struct row *r, struct err *err)
{
	return pb_pack_arena(&r->w->base, svc_arena(ctx), &r->packed) < 0 ? err_set(err, HCP_ENOMEM, "", "out of memory")
																	  : 0;
}

static int unpack(struct svc_ctx *ctx, const char *id, struct row *r, struct err *err)
{
	r->w = (Hcp__Workload *)(void *)pb_unpack_arena(&hcp__workload__descriptor, r->packed, svc_arena(ctx));
	return r->w ? 0 : err_set(err, HCP_ECORRUPT, "id", "workload %.40s cannot be read", id);
}

int orch_workload_load(struct orchestrator *o, struct svc_ctx *ctx, const char *id, struct row *ret, struct err *err)
{
	struct db_row *row;
	struct arena *a = svc_arena(ctx);
	if (!recent_get(o->recent, id, ret)) {
		int rc = db_query(
			svc_db(ctx), &row, err, "SELECT body,n,ends_ns,tries,open FROM workload WHERE id=$1", "z", id);
		if (rc <= 0)
			return rc < 0 ? rc : err_set(err, HCP_ENOTFOUND, "id", "there is no workload %.40s", id);
		struct str body = db_blob(row, 0);
		*ret = (struct row){ .n = db_i64(row, 1),
			.ends_ns = db_i64(row, 2),
			.tries = db_i64(row, 3),
			.ends_stored_ns = db_i64(row, 2),
			.open_stored = db_i64(row, 4) != 0,
			.packed = { arena_dup(a, body.p, body.n), body.n } };
		db_done(row);
	} else {
		ret->packed.p = arena_dup(a, ret->packed.p, ret->packed.n);
	}
	return ret->packed.p ? unpack(ctx, id, ret, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
}

/* A final one is not asked for again soon. */
static void keep(struct orchestrator *o, const struct row *r)
{
	if (orch_workload_is_final(r->w))
		recent_drop(o->recent, r->w->id);
	else
		recent_put(o->recent, r);
}

static void count(struct orchestrator *o, Hcp__WorkloadState s, int by)
{
	if ((int)s >= WORKLOAD_STATES_OPEN)
		return;
	o->states[s] += by;
	o->states_unsaved = true;
}

int orch_workload_insert(struct orchestrator *o, struct svc_ctx *ctx, struct row *r, struct err *err)
{
	const Hcp__Workload *w = r->w;
	r->n = o->next_n;
	r->open_stored = true;
	int rc = pack(ctx, r, err);
	if (rc == 0)
		rc = db_run(svc_db(ctx), err,
			"INSERT INTO workload(n,id,customer_id,state,type,ends_ns,tries,open,body) VALUES($1,$2,$3,$4,$5,0,0,1,$6)",
			"izziib", r->n, w->id, w->customer_id, (int64_t)w->state, (int64_t)w->type, r->packed);
	if (rc < 0)
		return rc;
	o->next_n++;
	count(o, w->state, 1);
	keep(o, r);
	return 0;
}

/* Most moves leave what has an index as it is. */
int orch_workload_store(struct orchestrator *o, struct svc_ctx *ctx, struct row *r, struct err *err)
{
	bool open = !orch_workload_is_final(r->w);
	int rc = pack(ctx, r, err);
	if (rc < 0)
		return rc;
	if (open == r->open_stored && r->ends_ns == r->ends_stored_ns)
		rc = db_run(svc_db(ctx), err, "UPDATE workload SET state=$2, tries=$3, body=$4 WHERE n=$1", "iiib", r->n,
			(int64_t)r->w->state, r->tries, r->packed);
	else
		rc = db_run(svc_db(ctx), err, "UPDATE workload SET state=$2, tries=$3, body=$4, ends_ns=$5, open=$6 WHERE n=$1",
			"iiibii", r->n, (int64_t)r->w->state, r->tries, r->packed, r->ends_ns, (int64_t)open);
	if (rc < 0)
		return rc;
	r->open_stored = open;
	r->ends_stored_ns = r->ends_ns;
	keep(o, r);
	return 0;
}

int orch_workload_enqueue(struct svc_ctx *ctx, const struct row *r)
{
	struct str body;
	int rc = pb_join_arena(STR(""), 1, r->packed, STR(""), svc_arena(ctx), &body);
	return rc < 0 ? rc : svc_publish_packed(ctx, r->w->id, MSG_JOB_ENQUEUE, body);
}

int orch_workload_announce(struct orchestrator *o, struct svc_ctx *ctx, const struct row *r, Hcp__WorkloadState from,
		      struct err *err)
{
	Hcp__WorkloadChanged ev = HCP__WORKLOAD_CHANGED__INIT;
	struct str rest, body;
	ev.from = from;
	int rc = pb_pack_arena(&ev.base, svc_arena(ctx), &rest);
	if (rc == 0)
		rc = pb_join_arena(STR(""), 1, r->packed, rest, svc_arena(ctx), &body);
	if (rc == 0)
		rc = svc_publish_packed(ctx, r->w->id, MSG_WORKLOAD_CHANGED, body);
	if (rc == 0)
		rc = orch_held_wake(o, ctx, r);
	return rc < 0 ? err_set(err, rc, "", "out of memory") : 0;
}

int orch_workload_move(struct orchestrator *o, struct svc_ctx *ctx, struct row *r, enum workload_event event,
		  const char *reason, struct err *err)
{
	enum workload_state next;
	Hcp__WorkloadState from = r->w->state;
	int64_t now = svc_now_ns(ctx);
	int rc = workload_next(model_state(from), event, &next, err);
	if (rc < 0)
		return rc;
	r->w->state = wire_state(next);
	r->w->version++;
	r->w->reason = arena_strdup(svc_arena(ctx), reason);
	if (!r->w->reason)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (next == WORKLOAD_RUNNING && !r->w->started_at_ns)
		r->w->started_at_ns = now;
	if (workload_state_is_final(next)) {
		r->w->finished_at_ns = now;
		r->ends_ns = 0;
	}
	rc = orch_workload_store(o, ctx, r, err);
	if (rc == 0)
		rc = db_run(svc_db(ctx), err,
			    "INSERT INTO transition(workload_id,n,at_ns,from_state,to_state,reason) VALUES($1,$2,$3,$4,$5,$6)",
			    "ziiiiz", r->w->id, r->w->version, now, (int64_t)from, (int64_t)r->w->state, reason);
	count(o, from, -1);
	count(o, r->w->state, 1);
	if (rc == 0 && from == HCP__WORKLOAD_STATE__RUNNING)
		rc = orch_quota_used(o, ctx, r->w, err);
	if (rc == 0 && workload_state_is_final(next))
		rc = orch_quota_count(o, ctx, r->w->customer_id, -1, err);
	if (rc == 0)
		rc = orch_callback_add(o, ctx, r->w, from, err);
	return rc < 0 ? rc : orch_workload_announce(o, ctx, r, from, err);
}

int orch_workload_copy(struct arena *to, const struct row *r, Hcp__Workload *into)
{
	ProtobufCMessage *copy = pb_unpack_arena(&hcp__workload__descriptor, r->packed, to);
	if (!copy)
		return HCP_ENOMEM;
	*into = *(Hcp__Workload *)(void *)copy;
	return 0;
}

/* ---- how many are in which state ---- */

static int count_states(struct orchestrator *o, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(db, &row, err, "SELECT state,count(*) FROM workload WHERE open=1 GROUP BY state", ""); rc == 1;
		 rc = db_next(row, err))
		if (db_i64(row, 0) >= 0 && db_i64(row, 0) < WORKLOAD_STATES_OPEN)
			o->states[db_i64(row, 0)] = db_i64(row, 1);
	o->states_unsaved = true;
	return rc;
}

int orch_workload_open(struct orchestrator *o, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc = db_query(db, &row, err, "SELECT max(n) FROM workload", "");
	if (rc < 0)
		return rc;
	o->next_n = db_i64(row, 0) + 1;
	db_done(row);
	rc = db_query(db, &row, err, "SELECT v FROM economy WHERE k='states'", "");
	if (rc < 0)
		return rc;
	if (rc == 0 || db_blob(row, 0).n != sizeof(o->states)) {
		if (rc == 1)
			db_done(row);
		return count_states(o, db, err);
	}
	memcpy(o->states, db_blob(row, 0).p, sizeof(o->states));
	db_done(row);
	return 0;
}

int orch_workload_settle(struct orchestrator *o, struct svc_ctx *ctx, struct err *err)
{
	if (!o->states_unsaved)
		return 0;
	o->states_unsaved = false;
	return orch_economy_put(ctx, "states", (struct str){ (const char *)o->states, sizeof(o->states) }, err);
}

bool orch_workload_visible(const struct msg *m, const Hcp__Workload *w)
{
	return !m->principal || m->principal->role != HCP__ROLE__CUSTOMER ||
		   !strcmp(m->principal->customer_id, w->customer_id);
}

bool orch_workload_is_final(const Hcp__Workload *w)
{
	return workload_state_is_final(model_state(w->state));
}
