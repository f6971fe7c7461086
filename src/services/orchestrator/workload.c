/* Rows of the workload table and the one function that moves a workload between states. */
#include <inttypes.h>

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

static int pack(struct svc_ctx *ctx, const Hcp__Workload *w, struct str *ret)
{
	return pb_pack_arena(&w->base, svc_arena(ctx), ret);
}

int orch_workload_load(struct svc_ctx *ctx, const char *id, struct row *ret, struct err *err)
{
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT body,ends_ns,tries FROM workload WHERE id=$1", "z", id);
	if (rc == 0)
		return err_set(err, HCP_ENOTFOUND, "id", "there is no workload %.40s", id);
	if (rc < 0)
		return rc;
	ret->w = (Hcp__Workload *)(void *)pb_unpack_arena(&hcp__workload__descriptor, db_blob(row, 0), svc_arena(ctx));
	ret->ends_ns = db_i64(row, 1);
	ret->tries = db_i64(row, 2);
	db_done(row);
	return ret->w ? 0 : err_set(err, HCP_ECORRUPT, "id", "workload %.40s cannot be read", id);
}

int orch_workload_insert(struct svc_ctx *ctx, const Hcp__Workload *w, struct err *err)
{
	struct str body;
	if (pack(ctx, w, &body) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	return db_run(svc_db(ctx), err,
		      "INSERT INTO workload(id,customer_id,state,type,ends_ns,tries,body) VALUES($1,$2,$3,$4,0,0,$5)", "zziib",
		      w->id, w->customer_id, (int64_t)w->state, (int64_t)w->type, body);
}

int orch_workload_store(struct svc_ctx *ctx, const struct row *r, struct err *err)
{
	struct str body;
	if (pack(ctx, r->w, &body) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	return db_run(svc_db(ctx), err, "UPDATE workload SET state=$2, ends_ns=$3, tries=$4, body=$5 WHERE id=$1", "ziiib",
		      r->w->id, (int64_t)r->w->state, r->ends_ns, r->tries, body);
}

int orch_workload_announce(struct orchestrator *o, struct svc_ctx *ctx, const Hcp__Workload *w, Hcp__WorkloadState from,
		      struct err *err)
{
	Hcp__WorkloadChanged ev = HCP__WORKLOAD_CHANGED__INIT;
	ev.workload = (Hcp__Workload *)w;
	ev.from = from;
	int rc = svc_publish(ctx, w->id, &ev.base);
	if (rc == 0)
		rc = orch_held_wake(o, ctx, w);
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
	rc = orch_workload_store(ctx, r, err);
	if (rc == 0)
		rc = db_run(svc_db(ctx), err,
			    "INSERT INTO transition(workload_id,n,at_ns,from_state,to_state,reason) VALUES($1,$2,$3,$4,$5,$6)",
			    "ziiiiz", r->w->id, r->w->version, now, (int64_t)from, (int64_t)r->w->state, reason);
	if (rc == 0 && from == HCP__WORKLOAD_STATE__RUNNING)
		rc = orch_quota_used(ctx, r->w, err);
	if (rc == 0 && workload_state_is_final(next))
		rc = db_run(svc_db(ctx), err, "UPDATE quota SET active=active-1 WHERE customer_id=$1", "z", r->w->customer_id);
	if (rc == 0)
		rc = orch_callback_add(o, ctx, r->w, from, err);
	return rc < 0 ? rc : orch_workload_announce(o, ctx, r->w, from, err);
}

int orch_workload_copy(struct svc_ctx *ctx, struct arena *to, const Hcp__Workload *w, Hcp__Workload *into)
{
	struct str bytes;
	if (pack(ctx, w, &bytes) < 0)
		return HCP_ENOMEM;
	ProtobufCMessage *copy = pb_unpack_arena(&hcp__workload__descriptor, bytes, to);
	if (!copy)
		return HCP_ENOMEM;
	*into = *(Hcp__Workload *)(void *)copy;
	return 0;
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
