#ifndef HCP_SCHED_PREEMPT_H
#define HCP_SCHED_PREEMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/id.h"
#include "model/device_class.h"
#include "model/workload.h"
#include "sched/placement.h"

/*
 * Who yields to a job that does not fit (SCHED-5). Knows every running job that may be made to stop:
 *
 *   young -> heap of jobs by the time until which their minimum run time protects them; then they move to their
 *   lane (class, device class, facility) -> flat:    heap by cost; it does not change while they run
 *                                        -> growing: heap by cost; work since `since` is lost, so it rises with time
 *
 * Cost of stopping a job, in USD (it orders, nobody pays it):
 *
 *   count * (value * (lost + restart) + weight)
 *     value    list price of the device class per second; 0 for P4: a hash forgets the one before, nothing is lost
 *     lost     seconds since its work was last safe; 0 if it is checkpointed when it stops
 *     restart  seconds until it is again where it was
 *     weight   by class and priority, so that a worse class yields although a better one has lost less
 *
 * All of a lane's growing jobs rise at the same rate, so their order never changes and a heap by the cost at time 0
 * does.
 *
 * Rules, each checked by tests/unit/sched/preempt.c over random loads:
 *   - a victim is of a worse class than the request; or of the same class, of another customer that is over its fair
 *     share, while the one that asks stays within its own (reclaim of borrowed capacity). P1 is never a victim.
 *   - gangs yield whole, no victim could be left out, no victim where the request fits as it is
 *   - a minimum run time protects, doubled with every preemption; after PREEMPT_BUDGET of them a job is left alone
 *     (P4 always yields: it is filler and can preempt nobody)
 *   - never the job that preempted the one that asks
 * No loops: classes are ordered; a reclaim makes nobody exceed its share, so the sum of what customers have beyond
 * theirs falls with each; and the budget bounds whatever else happens.
 *
 * Least cost: of the PREEMPT_EXACT cheapest candidates by cost per device exactly (dynamic programme over devices)
 * while no more than PREEMPT_EXACT devices are missing; beyond that within twice the least (greedy for the minimum
 * knapsack: Csirik, Frenk, Labbe, Zhang, Acta Cybernetica 10, 1991). The fleet is never scanned: a choice looks at
 * PREEMPT_VISITS jobs of a facility at most, add and remove are O(log n). Pure, deterministic, one thread.
 */
enum {
	PREEMPT_JOBS_MAX = 1 << 20,
	PREEMPT_LANES_MAX = 1 << 14,
	PREEMPT_VICTIMS_MAX = 256, /* jobs that yield to one */
	PREEMPT_VISITS = 512,      /* jobs of one facility and device class that a choice looks at */
	PREEMPT_EXACT = 64,
	PREEMPT_BUDGET = 3,
	PREEMPT_MIN_RUN_P2_S = 120,
	PREEMPT_MIN_RUN_P3_S = 600,
};

/* A job that runs. All its devices are of one class in one facility, as placement gives them. */
struct preempt_job {
	struct id id;
	uint64_t customer;
	enum workload_class cls;
	int priority;          /* 1 (first) .. 10 */
	uint16_t device_class; /* index of the catalogue */
	uint16_t facility;     /* < PLACEMENT_FACILITIES_MAX */
	uint32_t count;        /* devices, > 0 */
	int64_t started_ns;    /* this run */
	int64_t since_ns;      /* its work is safe up to here */
	bool checkpointable;   /* stopping it loses nothing */
	double restart_s;      /* >= 0 */
	uint32_t preemptions;  /* so far */
	uint64_t tag;          /* the caller's own */
};

/* Is the customer beyond its fair share, even after it gave back `less` devices of this class? */
typedef bool preempt_over_fn(void *arg, uint64_t customer, uint16_t device_class, uint32_t less);

/* Would what this victim (by its tag) gives up be of use? */
typedef bool preempt_helps_fn(void *arg, uint64_t tag);

struct preempt_request {
	struct id id, spared; /* spared: who preempted it last, or nil */
	uint64_t customer;
	enum workload_class cls;
	uint32_t count;
	const struct placement_room *room; /* borrowed */
	size_t n_room;
	preempt_over_fn *over; /* NULL: no reclaim, worse classes only */
	preempt_helps_fn *helps; /* NULL: all devices of a room are as good */
	void *arg;
};

struct preempt_victim {
	uint64_t tag;
	struct id id;
	uint32_t count;
	double cost_usd;
};

struct preempt_choice {
	size_t room; /* index into the request's */
	size_t n;
	uint32_t freed; /* devices, at least those that are missing */
	double cost_usd;
	bool exact;                                        /* the least of all candidates that were looked at */
	struct preempt_victim victim[PREEMPT_VICTIMS_MAX]; /* cheapest per device first */
};

struct preempt;

struct preempt *preempt_new(struct err *err);
void preempt_free(struct preempt *p);
/* Instead of PREEMPT_MIN_RUN_*; for jobs that are added from now on. Not negative, at most a day. */
void preempt_set_min_run(struct preempt *p, int64_t p2_ns, int64_t p3_ns);
/* For how long a run of P2 or P3 work is protected after so many preemptions; 0: it is not, or is never a victim. */
int64_t preempt_min_run_ns(const struct preempt *p, enum workload_class cls, uint32_t preemptions);
/* Copies the job. HCP_EEXIST, HCP_ELIMIT, HCP_ENOMEM; HCP_EINVAL/HCP_ERANGE name the field. */
int preempt_add(struct preempt *p, const struct preempt_job *job, struct err *err) MUST_CHECK;
/* HCP_ENOTFOUND: never added, or removed. */
int preempt_remove(struct preempt *p, const struct id *id) MUST_CHECK;
size_t preempt_len(const struct preempt *p);
/* What stopping the job at now_ns costs; HCP_ENOTFOUND. */
int preempt_cost(const struct preempt *p, const struct id *id, int64_t now_ns, double *ret_usd) MUST_CHECK;
/* Until when its minimum run time protects it; INT64_MAX: it is never a victim. HCP_ENOTFOUND. */
int preempt_protected(const struct preempt *p, const struct id *id, int64_t *ret_until_ns) MUST_CHECK;
/*
 * Chooses the victims; changes nothing but that protection which has run out is noted. HCP_EAGAIN: no set of victims
 * makes room. HCP_ESTATE: it fits somewhere without any. HCP_EINVAL: the request.
 */
int preempt_choose(
	struct preempt *p, const struct preempt_request *r, int64_t now_ns, struct preempt_choice *ret) MUST_CHECK;
/* When the next protected job may become a victim; INT64_MAX: none will by itself. */
int64_t preempt_next(const struct preempt *p);

#endif
