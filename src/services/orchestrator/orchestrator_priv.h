#ifndef HCP_SERVICES_ORCHESTRATOR_PRIV_H
#define HCP_SERVICES_ORCHESTRATOR_PRIV_H

#include "model/workload.h"
#include "services/common/classified.h"
#include "services/orchestrator/orchestrator.h"

struct held {
	struct msg *msg; /* owned */
	char id[ID_TEXT_MAX];
	int64_t until_ns;
};

struct orchestrator {
	struct svc *svc; /* borrowed */
	struct orchestrator_conf conf;
	int64_t started_at_ns;
	bool stopped;         /* emergency stop */
	char stop_reason[ORCHESTRATOR_REASON_MAX];
	char guard[96];                  /* "": the optimizer's drawdown guard is down */
	char decision_id[ID_TEXT_MAX];   /* last one applied or looked at */
	struct buf directive;            /* packed Directive in force; empty before the first */
	int64_t applied, skipped;
	int64_t next_end_ns;             /* earliest ends_ns of a running workload; INT64_MAX: none */
	struct held *held;               /* owned, n_held used */
	size_t n_held;
	struct msg *taker; /* the sender of callbacks, waiting for work; owned */
	int64_t taker_until_ns;
	int64_t callback_next_ns; /* when to look for due ones while a sender waits; INT64_MAX: none */
	uint64_t model_order;     /* the newest given to a model */
	int64_t models_next_ns;   /* when rollouts have something to do; INT64_MAX: nothing */
	bool callback_private;    /* the sender connects to any address */
	struct classify_model *classify; /* owned */
};

/* A workload in hand: its row, decoded into the batch's arena. */
struct row {
	Hcp__Workload *w;
	int64_t ends_ns, tries;
};

/* workload.c */
int orch_workload_load(struct svc_ctx *ctx, const char *id, struct row *ret, struct err *err) MUST_CHECK;
int orch_workload_insert(struct svc_ctx *ctx, const Hcp__Workload *w, struct err *err) MUST_CHECK;
int orch_workload_store(struct svc_ctx *ctx, const struct row *r, struct err *err) MUST_CHECK;
/*
 * The one place where a workload changes state: checks the table, writes row and history, tells the world and the
 * long polls. reason is kept in the workload.
 */
int orch_workload_move(struct orchestrator *o, struct svc_ctx *ctx, struct row *r, enum workload_event event,
		  const char *reason, struct err *err) MUST_CHECK;
int orch_workload_announce(struct orchestrator *o, struct svc_ctx *ctx, const Hcp__Workload *w, Hcp__WorkloadState from,
		      struct err *err) MUST_CHECK;
int orch_workload_copy(struct svc_ctx *ctx, struct arena *to, const Hcp__Workload *w, Hcp__Workload *into) MUST_CHECK;
bool orch_workload_visible(const struct msg *m, const Hcp__Workload *w);
bool orch_workload_is_final(const Hcp__Workload *w);

/* held.c: long polls */
int orch_held_add(struct orchestrator *o, struct svc_ctx *ctx, const char *id, int64_t until_ns) MUST_CHECK;
int orch_held_wake(struct orchestrator *o, struct svc_ctx *ctx, const Hcp__Workload *w) MUST_CHECK;
int orch_held_expire(struct orchestrator *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
void orch_held_release(struct orchestrator *o);
/* When the first of them must be answered; INT64_MAX if there is none. */
int64_t orch_held_until(const struct orchestrator *o);

/* classify.c */
/*
 * Gives *s a type, told from the rest of it, and fills *ret (texts in a); no type is needed if it has one, *ret is then
 * left alone and 0 returned; 1: it was told. HCP_EINVAL: too little is known.
 */
int orch_classify(const struct orchestrator *o, Hcp__WorkloadSubmit *s, struct arena *a, Hcp__Classification *ret,
	struct err *err) MUST_CHECK;
/* submit.c */
int orch_on_submit(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_submit_batch(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
/* quota.c */
/* HCP_ELIMIT: `more` active workloads, or device-hours beyond those of the month, are more than the customer may have.
 */
int orch_quota_check(struct orchestrator *o, struct svc_ctx *ctx, const char *customer, int64_t more,
	double device_hours, struct err *err) MUST_CHECK;
/* It has just stopped running: counts its run, which its last transition to running began. */
int orch_quota_used(struct svc_ctx *ctx, const Hcp__Workload *w, struct err *err) MUST_CHECK;
int orch_on_quota_get(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_quota_set(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
/* query.c */
int orch_on_get(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_list(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_history(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_status(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_status_fill(struct orchestrator *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
/* lifecycle.c */
int orch_on_cancel(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_pause(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_resume(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_migrate(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_program(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_job_state(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_allocation(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_lifecycle_timer(struct orchestrator *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
/* Every workload that holds or waits for devices goes back into the queue; paused ones stay paused. */
int orch_lifecycle_stop_all(
	struct orchestrator *o, struct svc_ctx *ctx, const char *reason, struct err *err) MUST_CHECK;
int orch_lifecycle_resume_all(struct orchestrator *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
/* economy.c */
int orch_on_decision(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_emergency_stop(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_emergency_clear(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_economy_load(struct orchestrator *o, struct db *db, struct err *err) MUST_CHECK;

#endif
