/* What happens to a workload after it was accepted: placed, running, ended, tried again. */
#include <stdio.h>

#include "base/money.h"
#include "services/common/version.h"
#include "services/orchestrator/orchestrator_priv.h"

enum { END_BATCH = 256 };

static int send_cancel(struct svc_ctx *ctx, const char *id, const char *reason)
{
	Hcp__JobCancel ev = HCP__JOB_CANCEL__INIT;
	ev.workload_id = id;
	ev.reason = reason;
	return svc_publish(ctx, id, &ev.base);
}

/* Queued anew at once, but not for the devices that it has. */
static int send_away(struct svc_ctx *ctx, const char *id, const char *reason)
{
	Hcp__JobCancel ev = HCP__JOB_CANCEL__INIT;
	ev.workload_id = id;
	ev.reason = reason;
	ev.elsewhere = true;
	return svc_publish(ctx, id, &ev.base);
}

static int set_devices(struct svc_ctx *ctx, Hcp__Workload *w, const char *allocation_id, size_t n, const char **ids)
{
	struct arena *a = svc_arena(ctx);
	w->allocation_id = arena_strdup(a, allocation_id);
	w->device_ids = arena_alloc(a, (n + 1) * sizeof(*w->device_ids));
	w->n_device_ids = 0;
	if (!w->allocation_id || !w->device_ids)
		return HCP_ENOMEM;
	for (size_t i = 0; i < n; i++) {
		w->device_ids[i] = arena_strdup(a, ids[i]);
		if (!w->device_ids[i])
			return HCP_ENOMEM;
	}
	w->n_device_ids = n;
	return 0;
}

/* The workload that an order of its owner names. */
static int load_own(struct orchestrator *o, struct svc_ctx *ctx, const struct msg *m, const char *id, struct row *ret,
	struct err *err)
{
	int rc = orch_workload_load(o, ctx, id, ret, err);
	if (rc == 0 && !orch_workload_visible(m, ret->w))
		rc = err_set(err, HCP_ENOTFOUND, "id", "there is no workload %.40s", id);
	return rc;
}

static int answer(struct svc_ctx *ctx, const struct row *r)
{
	Hcp__Workload *reply = svc_reply(ctx, MSG_WORKLOAD);
	return reply ? orch_workload_copy(svc_reply_arena(ctx), r, reply) : HCP_ENOMEM;
}

int orch_on_cancel(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__WorkloadCancel *c = (const Hcp__WorkloadCancel *)m->body;
	struct row r;
	int rc = load_own(o, ctx, m, c->id, &r, err);
	if (rc == 0)
		rc = version_check(c->n_if_version, c->if_version, r.w->version, err);
	/* Cancelling twice is no error: the caller wanted it gone, and it is. */
	if (rc == 0 && r.w->state != HCP__WORKLOAD_STATE__CANCELLED) {
		rc = orch_workload_move(o, ctx, &r, WORKLOAD_EV_CANCEL, "cancelled by its owner", err);
		if (rc == 0)
			rc = send_cancel(ctx, c->id, "cancelled");
	}
	return rc < 0 ? rc : answer(ctx, &r);
}

/* Its devices go back by the way a cancelled one's do; what is left of its time stays in the workload. */
int orch_on_pause(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__WorkloadPause *p = (const Hcp__WorkloadPause *)m->body;
	struct row r;
	int rc = load_own(o, ctx, m, p->id, &r, err);
	if (rc < 0 || r.w->state == HCP__WORKLOAD_STATE__PAUSED)
		return rc < 0 ? rc : answer(ctx, &r);
	if (r.ends_ns)
		r.w->remaining_ns = r.ends_ns > svc_now_ns(ctx) ? r.ends_ns - svc_now_ns(ctx) : 1;
	if (!orch_workload_is_final(r.w)) {
		r.ends_ns = r.tries = 0;
		rc = set_devices(ctx, r.w, "", 0, NULL);
	}
	if (rc == 0)
		rc = orch_workload_move(o, ctx, &r, WORKLOAD_EV_PAUSE, "paused by its owner", err);
	if (rc == 0)
		rc = send_cancel(ctx, p->id, "paused");
	return rc < 0 ? rc : answer(ctx, &r);
}

int orch_on_resume(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__WorkloadResume *p = (const Hcp__WorkloadResume *)m->body;
	struct row r;
	int rc = load_own(o, ctx, m, p->id, &r, err);
	if (rc == 0)
		r.w->queued_at_ns = svc_now_ns(ctx);
	if (rc == 0)
		rc = orch_workload_move(o, ctx, &r, WORKLOAD_EV_RESUME,
			o->stopped ? "the platform is in emergency stop" : "resumed by its owner, waiting for placement", err);
	if (rc == 0 && !o->stopped)
		rc = orch_workload_enqueue(ctx, &r);
	return rc < 0 ? rc : answer(ctx, &r);
}

/* By the way of a pause and a resumption, with its place in the queue; released says why to whom it leaves. */
static int move_away(struct orchestrator *o, struct svc_ctx *ctx, struct row *r, const char *reason,
	const char *released, struct err *err)
{
	if (r->ends_ns)
		r->w->remaining_ns = r->ends_ns > svc_now_ns(ctx) ? r->ends_ns - svc_now_ns(ctx) : 1;
	r->ends_ns = 0;
	int rc = set_devices(ctx, r->w, "", 0, NULL);
	if (rc == 0)
		rc = orch_workload_move(o, ctx, r, WORKLOAD_EV_REQUEUE, reason, err);
	if (rc == 0)
		rc = send_away(ctx, r->w->id, released);
	return rc < 0 || o->stopped ? rc : orch_workload_enqueue(ctx, r);
}

int orch_on_migrate(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__WorkloadMigrate *p = (const Hcp__WorkloadMigrate *)m->body;
	char reason[ORCHESTRATOR_REASON_MAX];
	struct row r;
	int rc = load_own(o, ctx, m, p->id, &r, err);
	if (rc < 0)
		return rc;
	if (r.w->state != HCP__WORKLOAD_STATE__RUNNING)
		return err_set(err, HCP_ESTATE, "state", "only what runs can be moved");
	if (!r.w->checkpointable)
		return err_set(err, HCP_ESTATE, "checkpointable", "it saves nothing: moving it would lose its work");
	snprintf(reason, sizeof(reason), "moves elsewhere: asked for by %.100s",
		m->principal ? m->principal->email : "its owner");
	rc = move_away(o, ctx, &r, reason, "moves elsewhere", err);
	return rc < 0 ? rc : answer(ctx, &r);
}

/* Router: another needs the whole of its device, and there is room elsewhere. It may have ended meanwhile. */
static int make_room(
	struct orchestrator *o, struct svc_ctx *ctx, struct row *r, const Hcp__JobState *j, struct err *err)
{
	bool still = r->w->state == HCP__WORKLOAD_STATE__RUNNING && !strcmp(r->w->allocation_id, j->allocation_id);
	return still && r->w->checkpointable && !o->stopped ? move_away(o, ctx, r, j->reason, j->reason, err) : 0;
}

/* Resources: its program has saved something new, or is done. News of a former allocation may still be of its work. */
int orch_on_program(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__ProgramChanged *p = (const Hcp__ProgramChanged *)m->body;
	struct row r;
	int rc = orch_workload_load(o, ctx, p->workload_id, &r, err);
	if (rc < 0 || orch_workload_is_final(r.w))
		return rc;
	bool news = p->checkpoint && (!r.w->checkpoint || p->checkpoint->step > r.w->checkpoint->step);
	bool done = p->state == HCP__PROGRAM_STATE__PROGRAM_DONE && !strcmp(p->allocation_id, r.w->allocation_id);
	if (news) {
		r.w->checkpoint = p->checkpoint;
		r.tries = 0;
	}
	if (done && r.w->state == HCP__WORKLOAD_STATE__SCHEDULED)
		rc = orch_workload_move(o, ctx, &r, WORKLOAD_EV_START, "its program ran", err);
	if (done && rc == 0)
		rc = orch_workload_move(o, ctx, &r, WORKLOAD_EV_COMPLETE, "its program is done", err);
	if (done)
		return rc < 0 ? rc : send_cancel(ctx, r.w->id, "completed");
	if (!news)
		return 0;
	r.w->version++;
	rc = orch_workload_store(o, ctx, &r, err);
	return rc < 0 ? rc : orch_workload_announce(o, ctx, &r, r.w->state, err);
}

/* Router: it has reserved devices, tells why it waits, or is to move. */
int orch_on_job_state(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__JobState *j = (const Hcp__JobState *)m->body;
	struct row r;
	int rc = orch_workload_load(o, ctx, j->workload_id, &r, err);
	if (rc < 0)
		return rc;
	if (orch_workload_is_final(r.w))
		return 0;
	if (!strcmp(j->state, "placing") && r.w->state == HCP__WORKLOAD_STATE__QUEUED) {
		rc = set_devices(ctx, r.w, j->allocation_id, j->n_device_ids, j->device_ids);
		return rc < 0 ? rc : orch_workload_move(o, ctx, &r, WORKLOAD_EV_SCHEDULE, "devices reserved", err);
	}
	/* Why its program failed says more than that devices are taken meanwhile. */
	bool says_more = r.w->program[0] && r.tries;
	if (!strcmp(j->state, "waiting") && r.w->state == HCP__WORKLOAD_STATE__QUEUED && strcmp(r.w->reason, j->reason) &&
		!says_more) {
		r.w->reason = j->reason;
		r.w->version++;
		rc = orch_workload_store(o, ctx, &r, err);
		return rc < 0 ? rc : orch_workload_announce(o, ctx, &r, r.w->state, err);
	}
	if (!strcmp(j->state, "moves"))
		return make_room(o, ctx, &r, j, err);
	if (!strcmp(j->state, "gone"))
		return orch_workload_move(o, ctx, &r, WORKLOAD_EV_FAIL, j->reason[0] ? j->reason : "it cannot be placed", err);
	return 0;
}

static int started(
	struct orchestrator *o, struct svc_ctx *ctx, struct row *r, const Hcp__AllocationChanged *a, struct err *err)
{
	if (r->w->state != HCP__WORKLOAD_STATE__SCHEDULED)
		return 0;
	r->w->share_milli = a->share ? a->share->milli : 0;
	if (r->w->duration_s) {
		r->ends_ns = svc_now_ns(ctx) + (r->w->remaining_ns ? r->w->remaining_ns : r->w->duration_s * NS_PER_S);
		if (r->ends_ns < o->next_end_ns)
			o->next_end_ns = r->ends_ns;
		svc_wake_at(ctx, o->next_end_ns);
	}
	if (!r->w->program[0]) /* a program proves itself by a new checkpoint */
		r->tries = 0;
	return orch_workload_move(o, ctx, r, WORKLOAD_EV_START, "verified on its devices", err);
}

/*
 * It gave its devices up to another: no try is counted, its place in the queue stays, and what a checkpoint saved is
 * not done again.
 */
static int preempted(
	struct orchestrator *o, struct svc_ctx *ctx, struct row *r, const Hcp__AllocationChanged *a, struct err *err)
{
	char reason[ORCHESTRATOR_REASON_MAX];
	if (r->w->state == HCP__WORKLOAD_STATE__QUEUED)
		return 0;
	if (r->w->checkpointable && r->ends_ns)
		r->w->remaining_ns = r->ends_ns > a->at_ns ? r->ends_ns - a->at_ns : 1;
	r->ends_ns = 0;
	r->w->preemptions++;
	r->w->preempted_by = a->preempted_by;
	int rc = set_devices(ctx, r->w, "", 0, NULL);
	snprintf(reason, sizeof(reason), "waiting again: %.180s", a->reason);
	if (rc == 0)
		rc = orch_workload_move(o, ctx, r, WORKLOAD_EV_REQUEUE, reason, err);
	return rc < 0 || o->stopped ? rc : orch_workload_enqueue(ctx, r);
}

/* Devices were refused or lost under it: once more from the queue, or enough. tried: somebody began to switch them. */
static int lost(
	struct orchestrator *o, struct svc_ctx *ctx, struct row *r, const char *why, bool tried, struct err *err)
{
	char reason[ORCHESTRATOR_REASON_MAX];
	if (r->w->state == HCP__WORKLOAD_STATE__QUEUED)
		return 0;
	r->tries += tried;
	if (r->w->program[0] && r->ends_ns)
		r->w->remaining_ns = r->ends_ns > svc_now_ns(ctx) ? r->ends_ns - svc_now_ns(ctx) : 1;
	r->ends_ns = 0;
	int rc = set_devices(ctx, r->w, "", 0, NULL);
	if (rc < 0)
		return rc;
	if (r->tries >= ORCHESTRATOR_MAX_TRIES) {
		snprintf(reason, sizeof(reason), "gave up after %d placements: %.120s", ORCHESTRATOR_MAX_TRIES, why);
		rc = orch_workload_move(o, ctx, r, WORKLOAD_EV_FAIL, reason, err);
		/* The router may have been asked for it once more before it heard of this loss. */
		return rc < 0 ? rc : send_cancel(ctx, r->w->id, "failed");
	}
	snprintf(reason, sizeof(reason), "waiting again: %.150s", why);
	rc = orch_workload_move(o, ctx, r, WORKLOAD_EV_REQUEUE, reason, err);
	return rc < 0 || o->stopped ? rc : orch_workload_enqueue(ctx, r);
}

int orch_on_allocation(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__AllocationChanged *a = (const Hcp__AllocationChanged *)m->body;
	struct row r;
	int rc = orch_workload_load(o, ctx, a->workload_id, &r, err);
	if (rc < 0)
		return rc;
	/* News of an allocation that is no longer this workload's, or of one that is over. */
	if (orch_workload_is_final(r.w) || strcmp(r.w->allocation_id, a->allocation_id))
		return 0;
	switch (a->state) {
	case HCP__ALLOCATION_STATE__HELD:
		return started(o, ctx, &r, a, err);
	case HCP__ALLOCATION_STATE__REFUSED:
	case HCP__ALLOCATION_STATE__RELEASED:
		if (a->preempted_by[0])
			return preempted(o, ctx, &r, a, err);
		return lost(o, ctx, &r, a->reason, a->tried || !a->unfit_device_id[0], err);
	default:
		return 0;
	}
}

/* Ids of workloads by a query, so that their rows may be changed afterwards. */
static int collect(struct svc_ctx *ctx, struct db_row *row, int rc, const char **ids, size_t max, size_t *ret_n,
		   struct err *err)
{
	size_t n = 0;
	for (; rc == 1; rc = db_next(row, err)) {
		ids[n] = arena_strndup(svc_arena(ctx), db_text(row, 0).p, db_text(row, 0).n);
		if (!ids[n++] || n == max) {
			db_done(row);
			rc = ids[n - 1] ? 0 : HCP_ENOMEM;
			break;
		}
	}
	*ret_n = n;
	return rc;
}

static int end_due(struct orchestrator *o, struct svc_ctx *ctx, struct err *err)
{
	const char *ids[END_BATCH];
	struct db_row *row = NULL;
	size_t n = 0;
	int rc = db_query(svc_db(ctx), &row, err,
			  "SELECT id FROM workload WHERE ends_ns > 0 AND ends_ns <= $1 ORDER BY ends_ns LIMIT $2", "ii",
			  svc_now_ns(ctx), (int64_t)END_BATCH);
	rc = collect(ctx, row, rc, ids, END_BATCH, &n, err);
	for (size_t i = 0; i < n && rc == 0; i++) {
		struct row r;
		rc = orch_workload_load(o, ctx, ids[i], &r, err);
		/* Only a program knows when its work is done. */
		bool early = rc == 0 && r.w->program[0];
		if (early)
			rc = orch_workload_move(o, ctx, &r, WORKLOAD_EV_FAIL,
				"its duration has passed before its program was done; its last checkpoint is kept", err);
		else if (rc == 0)
			rc = orch_workload_move(o, ctx, &r, WORKLOAD_EV_COMPLETE, "its duration has passed", err);
		if (rc == 0)
			rc = send_cancel(ctx, ids[i], early ? "failed" : "completed");
	}
	return rc;
}

int orch_lifecycle_timer(struct orchestrator *o, struct svc_ctx *ctx, struct err *err)
{
	struct db_row *row;
	if (svc_now_ns(ctx) < o->next_end_ns) {
		if (o->next_end_ns != INT64_MAX)
			svc_wake_at(ctx, o->next_end_ns);
		return 0;
	}
	int rc = end_due(o, ctx, err);
	if (rc < 0)
		return rc;
	rc = db_query(svc_db(ctx), &row, err, "SELECT min(ends_ns) FROM workload WHERE ends_ns > $1", "i", (int64_t)0);
	if (rc < 0)
		return rc;
	o->next_end_ns = rc == 1 && !db_is_null(row, 0) ? db_i64(row, 0) : INT64_MAX;
	if (rc == 1)
		db_done(row);
	if (o->next_end_ns != INT64_MAX)
		svc_wake_at(ctx, o->next_end_ns);
	return 0;
}

typedef int each_fn(struct orchestrator *o, struct svc_ctx *ctx, struct row *r, const char *reason, struct err *err);

/* fn on every workload that sql names ($1: after this id, $2: so many), a page at a time. */
static int for_each(struct orchestrator *o, struct svc_ctx *ctx, const char *sql, each_fn *fn, const char *reason,
	struct err *err)
{
	const char *ids[END_BATCH], *after = "";
	size_t n = END_BATCH;
	int rc = 0;
	while (n == END_BATCH && rc == 0) {
		struct db_row *row = NULL;
		rc = db_query(svc_db(ctx), &row, err, sql, "zi", after, (int64_t)END_BATCH);
		rc = collect(ctx, row, rc, ids, END_BATCH, &n, err);
		for (size_t i = 0; i < n && rc == 0; i++) {
			struct row r;
			rc = orch_workload_load(o, ctx, ids[i], &r, err);
			if (rc == 0)
				rc = fn(o, ctx, &r, reason, err);
		}
		after = n ? ids[n - 1] : after;
	}
	return rc;
}

static int stop_one(struct orchestrator *o, struct svc_ctx *ctx, struct row *r, const char *reason, struct err *err)
{
	int rc = set_devices(ctx, r->w, "", 0, NULL);
	r->ends_ns = 0;
	if (rc == 0 && r->w->state != HCP__WORKLOAD_STATE__QUEUED)
		rc = orch_workload_move(o, ctx, r, WORKLOAD_EV_REQUEUE, reason, err);
	return rc < 0 ? rc : send_cancel(ctx, r->w->id, reason);
}

static int resume_one(struct orchestrator *o, struct svc_ctx *ctx, struct row *r, const char *reason, struct err *err)
{
	return orch_workload_enqueue(ctx, r);
}

int orch_lifecycle_stop_all(struct orchestrator *o, struct svc_ctx *ctx, const char *reason, struct err *err)
{
	return for_each(o, ctx, "SELECT id FROM workload WHERE open=1 AND state <> 4 AND id > $1 ORDER BY id LIMIT $2",
		stop_one, reason, err);
}

int orch_lifecycle_resume_all(struct orchestrator *o, struct svc_ctx *ctx, struct err *err)
{
	return for_each(o, ctx, "SELECT id FROM workload WHERE open=1 AND state=1 AND id > $1 ORDER BY id LIMIT $2",
		resume_one, "", err);
}
