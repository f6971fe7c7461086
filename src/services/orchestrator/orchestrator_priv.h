#ifndef HCP_SERVICES_ORCHESTRATOR_PRIV_H
#define HCP_SERVICES_ORCHESTRATOR_PRIV_H

#include "base/list.h"
#include "base/map.h"
#include "model/workload.h"
#include "services/common/classified.h"
#include "services/orchestrator/orchestrator.h"

enum { WORKLOAD_STATES_OPEN = HCP__WORKLOAD_STATE__PAUSED + 1 };

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
	struct recent *recent;           /* owned */
	struct map accounts;             /* customer -> struct account of quota.c, owned */
	struct list unsaved_accounts;
	int64_t states[WORKLOAD_STATES_OPEN]; /* workloads, by the wire's state */
	int64_t next_n;                       /* of the next row */
	bool states_unsaved;
};

/*
 * A workload in hand: its row, decoded into the batch's arena. Whoever changes w stores it before it is announced,
 * copied or sent: those use the packed form.
 */
struct row {
	Hcp__Workload *w;
	int64_t n, ends_ns, tries;
	int64_t ends_stored_ns;
	bool open_stored;  /* not final */
	struct str packed; /* w as it is stored; in the batch's arena */
};

/* workload.c */
int orch_workload_load(
	struct orchestrator *o, struct svc_ctx *ctx, const char *id, struct row *ret, struct err *err) MUST_CHECK;
/* A new one, whose w is filled in; fills the rest of *r. */
int orch_workload_insert(struct orchestrator *o, struct svc_ctx *ctx, struct row *r, struct err *err) MUST_CHECK;
int orch_workload_store(struct orchestrator *o, struct svc_ctx *ctx, struct row *r, struct err *err) MUST_CHECK;
/*
 * The one place where a workload changes state: checks the table, writes row and history, tells the world and the
 * long polls. reason is kept in the workload.
 */
int orch_workload_move(struct orchestrator *o, struct svc_ctx *ctx, struct row *r, enum workload_event event,
		  const char *reason, struct err *err) MUST_CHECK;
int orch_workload_announce(struct orchestrator *o, struct svc_ctx *ctx, const struct row *r, Hcp__WorkloadState from,
		      struct err *err) MUST_CHECK;
/* Asks the router for devices. */
int orch_workload_enqueue(struct svc_ctx *ctx, const struct row *r) MUST_CHECK;
int orch_workload_copy(struct arena *to, const struct row *r, Hcp__Workload *into) MUST_CHECK;
/* How many are in each state that is not final: kept with the rows, counted once for tables that do not have it. */
int orch_workload_open(struct orchestrator *o, struct db *db, struct err *err) MUST_CHECK;
int orch_workload_settle(struct orchestrator *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;

/* recent.c: workloads that moved lately, so that their next move need not read them */
struct recent;
int recent_new(struct recent **ret, struct err *err) MUST_CHECK;
void recent_free(struct recent *x);
/* True: *ret has all but w, and its packed form is borrowed until the next recent_put or recent_drop. */
bool recent_get(struct recent *x, const char *id, struct row *ret);
/* Keeps a copy of what is stored; where memory is short it forgets. */
void recent_put(struct recent *x, const struct row *r);
void recent_drop(struct recent *x, const char *id);
bool orch_workload_visible(const struct msg *m, const Hcp__Workload *w);
bool orch_workload_is_final(const Hcp__Workload *w);

/* held.c: long polls */
int orch_held_add(struct orchestrator *o, struct svc_ctx *ctx, const char *id, int64_t until_ns) MUST_CHECK;
int orch_held_wake(struct orchestrator *o, struct svc_ctx *ctx, const struct row *r) MUST_CHECK;
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
/* One active workload more (1) or less (-1); its row is written when the batch settles. */
int orch_quota_count(
	struct orchestrator *o, struct svc_ctx *ctx, const char *customer, int64_t by, struct err *err) MUST_CHECK;
int orch_quota_settle(struct orchestrator *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
void orch_quota_release(struct orchestrator *o);
/* It has just stopped running: counts its run, which its last transition to running began. */
int orch_quota_used(struct orchestrator *o, struct svc_ctx *ctx, const Hcp__Workload *w, struct err *err) MUST_CHECK;
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
/* A single value of the service. */
int orch_economy_put(struct svc_ctx *ctx, const char *k, struct str v, struct err *err) MUST_CHECK;
int orch_on_decision(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_emergency_stop(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_emergency_clear(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_economy_load(struct orchestrator *o, struct db *db, struct err *err) MUST_CHECK;

#endif
