/* What people and programs ask; changes nothing. */
#include "base/money.h"
#include "services/orchestrator/orchestrator_priv.h"

enum { LIST_DEFAULT = 50, LIST_MAX = 1000 };

int orch_on_get(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__WorkloadGet *g = (const Hcp__WorkloadGet *)m->body;
	struct row r;
	if (g->wait_ms < 0 || g->wait_ms > ORCHESTRATOR_MAX_WAIT_MS)
		return err_set(err, HCP_ERANGE, "wait_ms", "must be 0 to %d, was %d", ORCHESTRATOR_MAX_WAIT_MS, g->wait_ms);
	int rc = orch_workload_load(state, ctx, g->id, &r, err);
	if (rc == 0 && !orch_workload_visible(m, r.w))
		rc = err_set(err, HCP_ENOTFOUND, "id", "there is no workload %.40s", g->id);
	if (rc < 0)
		return rc;
	if (g->wait_ms && r.w->version <= g->index && m->reply_fn) {
		rc = orch_held_add(o, ctx, g->id, svc_now_ns(ctx) + g->wait_ms * NS_PER_MS);
		return rc == HCP_ELIMIT ? err_set(err, rc, "wait_ms", "%d requests wait already; ask without waiting",
						  ORCHESTRATOR_MAX_HELD) : rc;
	}
	Hcp__Workload *reply = svc_reply(ctx, MSG_WORKLOAD);
	return reply ? orch_workload_copy(svc_reply_arena(ctx), &r, reply) : HCP_ENOMEM;
}

struct filter {
	int64_t state, type; /* 0: any */
	const char *customer, *cursor;
	int64_t limit;
};

static int parse_filter(const struct msg *m, const Hcp__WorkloadList *l, struct filter *f, struct err *err)
{
	enum workload_state s;
	enum workload_type t;
	struct id id;
	if (l->limit < 0 || l->limit > LIST_MAX)
		return err_set(err, HCP_ERANGE, "limit", "must be 1 to %d, was %d", LIST_MAX, l->limit);
	if (l->state[0] && workload_state_parse(str_of(l->state), &s) < 0)
		return err_set(err, HCP_EINVAL, "state", "%.32s is no state: queued, scheduled, running, paused, completed, "
							 "failed, cancelled", l->state);
	if (l->type[0] && workload_type_parse(str_of(l->type), &t) < 0)
		return err_set(err, HCP_EINVAL, "type", "%.32s is no workload type", l->type);
	if (l->cursor[0] && id_parse(str_of(l->cursor), ID_WORKLOAD, &id) < 0)
		return err_set(err, HCP_EINVAL, "cursor", "%.40s is no cursor: take next_cursor of the page before", l->cursor);
	f->state = l->state[0] ? (int64_t)s + 1 : 0;
	f->type = l->type[0] ? (int64_t)t : 0;
	f->customer =
		m->principal && m->principal->role == HCP__ROLE__CUSTOMER ? m->principal->customer_id : l->customer_id;
	f->cursor = l->cursor[0] ? l->cursor : "~";
	f->limit = l->limit ? l->limit : LIST_DEFAULT;
	return 0;
}

static int start_list(struct svc_ctx *ctx, const struct filter *f, struct db_row **row, struct err *err)
{
	if (f->customer[0])
		return db_query(svc_db(ctx), row, err,
				"SELECT id,body FROM workload WHERE customer_id=$1 AND id<$2 AND ($3=0 OR state=$3)"
				" AND ($4=0 OR type=$4) ORDER BY id DESC LIMIT $5", "zziii", f->customer, f->cursor, f->state,
				f->type, f->limit + 1);
	return db_query(svc_db(ctx), row, err,
			"SELECT id,body FROM workload WHERE id<$1 AND ($2=0 OR state=$2) AND ($3=0 OR type=$3)"
			" ORDER BY id DESC LIMIT $4", "ziii", f->cursor, f->state, f->type, f->limit + 1);
}

int orch_on_list(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct filter f = { 0 };
	struct db_row *row = NULL;
	int rc = parse_filter(m, (const Hcp__WorkloadList *)m->body, &f, err);
	if (rc < 0)
		return rc;
	Hcp__Workloads *reply = svc_reply(ctx, MSG_WORKLOADS);
	if (!reply)
		return HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	for (rc = start_list(ctx, &f, &row, err); rc == 1; rc = db_next(row, err)) {
		if ((int64_t)reply->n_workloads == f.limit) {
			reply->next_cursor = reply->workloads[f.limit - 1]->id;
			db_done(row);
			return 0;
		}
		void *w = pb_unpack_arena(&hcp__workload__descriptor, db_blob(row, 1), a);
		if (pb_push(a, &reply->n_workloads, &reply->workloads, w) < 0) {
			db_done(row);
			return HCP_ENOMEM;
		}
	}
	return rc;
}

int orch_on_history(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__WorkloadHistoryGet *g = (const Hcp__WorkloadHistoryGet *)m->body;
	struct row r;
	struct db_row *row;
	int rc = orch_workload_load(state, ctx, g->id, &r, err);
	if (rc == 0 && !orch_workload_visible(m, r.w))
		rc = err_set(err, HCP_ENOTFOUND, "id", "there is no workload %.40s", g->id);
	Hcp__WorkloadHistory *reply = rc == 0 ? svc_reply(ctx, MSG_WORKLOAD_HISTORY) : NULL;
	if (!reply)
		return rc < 0 ? rc : HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	/* The first step, into the queue, is the row's own creation. */
	Hcp__WorkloadTransition *t = arena_alloc(a, sizeof(*t));
	if (t) {
		hcp__workload_transition__init(t);
		t->at_ns = r.w->created_at_ns;
		t->to = HCP__WORKLOAD_STATE__QUEUED;
		t->reason = "submitted";
	}
	if (pb_push(a, &reply->n_transitions, &reply->transitions, t) < 0)
		return HCP_ENOMEM;
	for (rc = db_query(svc_db(ctx), &row, err, "SELECT at_ns,from_state,to_state,reason FROM transition"
			   " WHERE workload_id=$1 ORDER BY n", "z", g->id); rc == 1; rc = db_next(row, err)) {
		t = arena_alloc(a, sizeof(*t));
		if (t) {
			hcp__workload_transition__init(t);
			t->at_ns = db_i64(row, 0);
			t->from = (Hcp__WorkloadState)db_i64(row, 1);
			t->to = (Hcp__WorkloadState)db_i64(row, 2);
			t->reason = arena_strndup(a, db_text(row, 3).p, db_text(row, 3).n);
		}
		if (pb_push(a, &reply->n_transitions, &reply->transitions, t) < 0) {
			db_done(row);
			return HCP_ENOMEM;
		}
	}
	return rc;
}

static int add_services(struct orchestrator *o, struct arena *a, Hcp__Status *st)
{
	static const char *const names[] = { "ok", "degraded", "down" };
	for (int id = 0; o->conf.stats && id < SVC_COUNT; id++) {
		struct svc_stats s;
		if (!o->conf.stats(o->conf.stats_arg, id, &s))
			continue;
		Hcp__ServiceHealth *h = arena_alloc(a, sizeof(*h));
		if (!h)
			return HCP_ENOMEM;
		hcp__service_health__init(h);
		h->name = svc_table[id].name;
		h->state = names[s.state >= 0 && s.state <= 2 ? s.state : 2];
		h->detail = arena_strdup(a, s.detail);
		h->seen_at_ns = s.last_step_ns;
		h->batches = (int64_t)s.batches;
		h->messages = (int64_t)s.messages;
		if (!h->detail || pb_push(a, &st->n_services, &st->services, h) < 0)
			return HCP_ENOMEM;
	}
	return 0;
}

int orch_status_fill(struct orchestrator *o, struct svc_ctx *ctx, struct err *err)
{
	Hcp__Status *st = svc_reply(ctx, MSG_STATUS);
	if (!st)
		return HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	st->version = o->conf.version ? o->conf.version : "dev";
	st->started_at_ns = o->started_at_ns;
	st->now_ns = svc_now_ns(ctx);
	st->mode = o->stopped ? "emergency_stop" : "normal";
	st->emergency_reason = arena_strdup(a, o->stop_reason);
	st->last_decision_id = arena_strdup(a, o->decision_id);
	st->decisions_applied = o->applied;
	st->decisions_skipped = o->skipped;
	st->guard = arena_strdup(a, o->guard);
	if (!st->emergency_reason || !st->last_decision_id || !st->guard)
		return HCP_ENOMEM;
	if (o->directive.n) {
		Hcp__Directive *d = (void *)pb_unpack_arena(&hcp__directive__descriptor, buf_str(&o->directive), a);
		if (!d)
			return HCP_ENOMEM;
		st->n_targets = d->n_targets;
		st->targets = d->targets;
	}
	st->workloads_queued = (int32_t)o->states[HCP__WORKLOAD_STATE__QUEUED];
	st->workloads_paused = (int32_t)o->states[HCP__WORKLOAD_STATE__PAUSED];
	st->workloads_running =
		(int32_t)(o->states[HCP__WORKLOAD_STATE__SCHEDULED] + o->states[HCP__WORKLOAD_STATE__RUNNING]);
	return add_services(o, a, st);
}

int orch_on_status(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	return orch_status_fill(state, ctx, err);
}
