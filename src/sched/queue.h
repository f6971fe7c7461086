#ifndef HCP_SCHED_QUEUE_H
#define HCP_SCHED_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/id.h"
#include "base/str.h"
#include "model/workload.h"

/*
 * The waiting room of one cell (SCHED-2).
 *
 *   class P1..P4 -> heap of customers by weighted dominant share -> heap of that customer's projects likewise
 *                -> heap of that project's jobs by due time
 *
 * Order: P1 before P2 before P3 before P4; inside a class the customer with the smallest dominant share / weight
 * (ties: who was served longest ago); inside a customer the project, likewise; inside a project the earliest due time,
 *   due = min(deadline - duration, enqueued + wait target of the class * priority)
 * so that waiting is ageing and nothing needs re-sorting.
 *
 * Shares bind nobody while there is room: what others leave may be borrowed. What is borrowed is what a customer has
 * beyond its fair share (queue_fair_share); others may reclaim it (sched/preempt). Limits bind always: a customer at
 * one is out of the order until it has given something back, and hides nobody behind it.
 *
 * No starvation: every QUEUE_AGE_TURN-th pick goes to the oldest overdue job of P1, P2 and P3 in turn (P4 has no
 * target). If it does not fit it becomes the `hold`: later candidates are offered together with it and the
 * caller's `fits` lets only those pass that do not delay it, so that space gathers for it. P1 candidates are never held
 * back, and P4 is filler: it gets what the others leave, without a promise.
 *
 * Nobody is hidden: a pick looks at the first few of each customer only, but then at some of those that were left out,
 * all in turn, so that a job that fits is found after (jobs / QUEUE_TURN_MAX) picks however many before it do not.
 *
 * All operations are O(log n) beside the bounded scan of queue_pop. Deterministic. One thread.
 */
enum queue_resource {
	QUEUE_GPU = 0, /* devices; each kind its own part of the cell where the caller counts them apart */
	QUEUE_CPU = 1,
	QUEUE_MEMORY = 2, /* GiB */
	QUEUE_POWER = 3,  /* W */
	QUEUE_RESOURCE_END = 4,
};

enum {
	QUEUE_JOBS_MAX = 4 * 1024 * 1024,
	QUEUE_CUSTOMERS_MAX = 1024 * 1024,
	QUEUE_PROJECTS_MAX = 1024, /* of a customer, beside the one without a name */
	QUEUE_SCAN_MAX = 64,       /* candidates of one class that one queue_pop offers */
	QUEUE_DEPTH_MAX = 8,       /* of which from one customer and class */
	QUEUE_TURN_MAX = 16,       /* beside them of those that they leave out, all in turn */
	QUEUE_AGE_TURN = 4,
	QUEUE_EXPLAIN_MAX = 4096, /* jobs, and customers, that queue_explain looks at */
};

struct queue_job {
	struct id id;
	uint64_t customer;
	uint64_t project; /* of the customer's; 0: none named */
	enum workload_class cls;
	int priority;                        /* 1..10 */
	int64_t enqueued_ns;
	int64_t deadline_ns;                 /* 0: none */
	int64_t duration_ns;                 /* expected; 0: unknown */
	double need[QUEUE_RESOURCE_END];     /* what it will hold while it runs */
	uint64_t tag;                        /* the caller's own, e.g. an index; not read */
};

struct queue;

struct queue_conf {
	double capacity[QUEUE_RESOURCE_END]; /* of the cell, > 0; divides usage into shares */
	size_t jobs_max;                     /* 0: QUEUE_JOBS_MAX */
};

struct queue_explain {
	size_t position;        /* estimated jobs served before it, 0: next */
	size_t ahead_own;       /* of the same project and class; exact up to QUEUE_EXPLAIN_MAX, there "at least" */
	size_t ahead_classes;   /* in better classes, exact */
	int64_t waited_ns, target_ns, due_ns;
	int64_t eta_ns;         /* from now; -1 unknown (nothing was served yet) */
	double dominant_share;  /* of the customer, by weight */
	enum queue_resource dominant;
	bool overdue;
	bool limited; /* its customer's limit keeps it back */
};

/* Frees nothing of the caller's. NULL on HCP_ENOMEM or HCP_EINVAL (capacity). */
struct queue *queue_new(const struct queue_conf *conf, struct err *err);
void queue_free(struct queue *q);

/* weight 0.000001 to 1000000, default 1 for who was never named. Takes effect at once. */
int queue_set_weight(struct queue *q, uint64_t customer, double weight, struct err *err) MUST_CHECK;
/* Between projects of one customer. HCP_ELIMIT: too many. */
int queue_set_project_weight(
	struct queue *q, uint64_t customer, uint64_t project, double weight, struct err *err) MUST_CHECK;
/* What the customer's jobs may hold together; INFINITY: no limit. Jobs that run already run on. */
int queue_set_limit(
	struct queue *q, uint64_t customer, const double limit[QUEUE_RESOURCE_END], struct err *err) MUST_CHECK;
int queue_set_capacity(struct queue *q, const double capacity[QUEUE_RESOURCE_END], struct err *err) MUST_CHECK;

/* Copies the job. HCP_EEXIST: the id waits already. HCP_ELIMIT: full. HCP_EINVAL/HCP_ERANGE: a field. */
int queue_enqueue(struct queue *q, const struct queue_job *job, struct err *err) MUST_CHECK;
/* HCP_ENOTFOUND. */
int queue_cancel(struct queue *q, const struct id *id) MUST_CHECK;

/*
 * Does `job` fit now? hold (may be NULL) is an overdue job that waits for space: answer true only if running `job`
 * does not delay it. Must not call back into the queue.
 */
typedef bool queue_fits_fn(void *arg, const struct queue_job *job, const struct queue_job *hold);

/*
 * Takes the next job that fits, charging its need to its customer. fits NULL: everything does. HCP_EAGAIN: nothing
 * (that fits) within the scan limit; nothing left the queue.
 */
int queue_pop(struct queue *q, int64_t now_ns, queue_fits_fn *fits, void *arg, struct queue_job *ret) MUST_CHECK;
/* Takes this very job, out of its turn, as queue_pop does. HCP_ENOTFOUND; HCP_ELIMIT: its customer is at its limit. */
int queue_take(struct queue *q, const struct id *id, int64_t now_ns, struct queue_job *ret) MUST_CHECK;
/* What fits has changed by the caller's doing: all jobs are offered again. */
void queue_changed(struct queue *q);
/*
 * After a queue_pop that found nothing: until when, without any change of the queue and of what fits, another would
 * find nothing, either. INT64_MAX: for ever; earlier, when a job becomes overdue that an ageing turn then offers.
 * INT64_MIN: not all were offered yet, the next queue_pop goes on with others.
 */
int64_t queue_same_until(const struct queue *q);
/* Charges a job that was popped before a restart, as queue_pop did. */
int queue_charge(struct queue *q, const struct queue_job *job, struct err *err) MUST_CHECK;
/* The job ended (or its placement failed): takes its need off the customer's usage. Exactly once per popped job. */
void queue_uncharge(struct queue *q, const struct queue_job *job);

size_t queue_len(const struct queue *q);
size_t queue_len_class(const struct queue *q, enum workload_class c);
/* When the oldest of the class was queued, but for those of customers at a limit. HCP_ENOTFOUND: none waits. */
int queue_oldest(const struct queue *q, enum workload_class c, int64_t *ret_ns) MUST_CHECK;
const struct queue_job *queue_find(const struct queue *q, const struct id *id); /* NULL; valid until the next change */
/* max over resources of usage/capacity, by weight; 0 for an unknown customer. */
double queue_share(const struct queue *q, uint64_t customer, enum queue_resource *ret_dominant);
/*
 * The share that each unit of weight may have when everyone who waits or runs gets what is his: 1 / sum of their
 * weights. A customer whose queue_share is above it has borrowed.
 */
double queue_fair_share(const struct queue *q);
/* queue_share if the customer had `more` (which may be negative) as well. */
double queue_share_with(const struct queue *q, uint64_t customer, const double more[QUEUE_RESOURCE_END]);
/* Looks at QUEUE_EXPLAIN_MAX jobs and as many customers at most; beyond them others are taken to be alike.
 * HCP_ENOTFOUND. */
int queue_explain(const struct queue *q, const struct id *id, int64_t now_ns, struct queue_explain *ret) MUST_CHECK;

#endif
