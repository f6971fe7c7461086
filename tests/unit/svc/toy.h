#ifndef HCP_TESTS_SVC_TOY_H
#define HCP_TESTS_SVC_TOY_H

#include "base/mem.h"
#include "svc/svc.h"

/* A submitting and a counting service, enough to see every promise of the loop. */

static const char *const submit_schema[] = { "CREATE TABLE job(id TEXT PRIMARY KEY, n INTEGER)", NULL };
static const char *const count_schema[] = { "CREATE TABLE seen(id TEXT PRIMARY KEY, times INTEGER)", NULL };

static int plain_open(struct svc *svc, struct db *db, const void *conf, void **ret_state, struct err *err)
{
	*ret_state = mem_calloc(1, 8);
	return *ret_state ? 0 : HCP_ENOMEM;
}

static int on_submit(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__WorkloadSubmit *s = (const Hcp__WorkloadSubmit *)m->body;
	char id[ID_TEXT_MAX];
	if (s->priority > 10)
		return err_set(err, HCP_EINVAL, "priority", "must be 1 to 10, was %d", s->priority);
	svc_new_id(ctx, id, ID_WORKLOAD);
	int rc = db_run(svc_db(ctx), err, "INSERT INTO job(id,n) VALUES($1,$2)", "zi", id, (int64_t)s->priority);
	if (rc < 0)
		return rc;
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	Hcp__WorkloadChanged ev = HCP__WORKLOAD_CHANGED__INIT;
	w.id = id;
	ev.workload = &w;
	rc = svc_publish(ctx, id, &ev.base);
	Hcp__Workload *reply = rc == 0 ? svc_reply(ctx, MSG_WORKLOAD) : NULL;
	if (!reply)
		return HCP_ENOMEM;
	reply->id = arena_strdup(svc_reply_arena(ctx), id);
	return reply->id ? 0 : HCP_ENOMEM;
}

/* How many jobs there are, as the index of the answer. */
static int on_list(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT count(*) FROM job", "");
	if (rc != 1)
		return rc < 0 ? rc : HCP_EINTERNAL;
	int64_t n = db_i64(row, 0);
	db_done(row);
	Hcp__Workloads *reply = svc_reply(ctx, MSG_WORKLOADS);
	if (!reply)
		return HCP_ENOMEM;
	reply->index = n;
	return 0;
}

static int on_changed(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__WorkloadChanged *ev = (const Hcp__WorkloadChanged *)m->body;
	return db_run(svc_db(ctx), err,
		"INSERT INTO seen(id,times) VALUES($1,1) ON CONFLICT(id) DO UPDATE SET times=times+1", "z", ev->workload->id);
}

static const struct svc_handler submit_handlers[] = { { MSG_WORKLOAD_SUBMIT, on_submit, false },
	{ MSG_WORKLOAD_LIST, on_list, true }, { 0 } };
static const struct svc_handler count_handlers[] = { { MSG_WORKLOAD_CHANGED, on_changed, false }, { 0 } };
static const struct svc_def submit_def = {
	.id = SVC_ORCHESTRATOR, .schema = submit_schema, .handlers = submit_handlers, .open = plain_open, .close = mem_free
};
static const struct svc_def count_def = {
	.id = SVC_BILLING, .schema = count_schema, .handlers = count_handlers, .open = plain_open, .close = mem_free
};

#endif
