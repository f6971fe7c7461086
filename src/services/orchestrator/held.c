/* Long polls: requests for one workload that wait until it changes. */
#include <stdio.h>

#include "base/money.h"
#include "services/orchestrator/orchestrator_priv.h"

int orch_held_add(struct orchestrator *o, struct svc_ctx *ctx, const char *id, int64_t until_ns)
{
	if (o->n_held == ORCHESTRATOR_MAX_HELD)
		return HCP_ELIMIT;
	struct held *h = &o->held[o->n_held];
	if (str_copy(h->id, sizeof(h->id), str_of(id)) < 0)
		return HCP_EINVAL;
	h->msg = svc_hold(ctx);
	h->until_ns = until_ns;
	o->n_held++;
	svc_wake_at(ctx, until_ns);
	return 0;
}

static int answer(struct orchestrator *o, struct svc_ctx *ctx, size_t i, const struct row *r)
{
	struct arena *arena;
	struct msg *m = o->held[i].msg;
	o->held[i] = o->held[--o->n_held];
	Hcp__Workload *reply = svc_answer(ctx, m, MSG_WORKLOAD, &arena);
	if (!reply) {
		msg_answer_problem(m, HCP_ENOMEM, NULL);
		msg_free(m);
		return HCP_ENOMEM;
	}
	return orch_workload_copy(arena, r, reply);
}

int orch_held_wake(struct orchestrator *o, struct svc_ctx *ctx, const struct row *r)
{
	int rc = 0;
	for (size_t i = 0; i < o->n_held && rc == 0;)
		if (strcmp(o->held[i].id, r->w->id) == 0)
			rc = answer(o, ctx, i, r);
		else
			i++;
	return rc;
}

int orch_held_expire(struct orchestrator *o, struct svc_ctx *ctx, struct err *err)
{
	for (size_t i = 0; i < o->n_held;) {
		struct row r;
		if (o->held[i].until_ns > svc_now_ns(ctx)) {
			svc_wake_at(ctx, o->held[i].until_ns);
			i++;
			continue;
		}
		int rc = orch_workload_load(o, ctx, o->held[i].id, &r, err);
		if (rc == 0)
			rc = answer(o, ctx, i, &r);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int64_t orch_held_until(const struct orchestrator *o)
{
	int64_t first_ns = INT64_MAX;
	for (size_t i = 0; i < o->n_held; i++)
		if (o->held[i].until_ns < first_ns)
			first_ns = o->held[i].until_ns;
	return first_ns;
}

void orch_held_release(struct orchestrator *o)
{
	struct err err = { 0 };
	err_set(&err, HCP_ECLOSED, "", "the service restarts; ask again");
	for (size_t i = 0; i < o->n_held; i++) {
		msg_answer_problem(o->held[i].msg, HCP_ECLOSED, &err);
		msg_free(o->held[i].msg);
	}
	o->n_held = 0;
}
