#ifndef HCP_SIM_SCHED_REPLAY_H
#define HCP_SIM_SCHED_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "model/workload.h"
#include "sim/job_trace.h"

/*
 * A recorded trace against a cluster, in virtual time: each job arrives when it did (or `load` times as fast), waits
 * until the policy places it on src/sched/placement, runs as long as it did, and leaves. Policies:
 *
 *	fifo      strictly by arrival: who does not fit holds up the rest; the first node that fits
 *	best_fit  by arrival, those that do not fit are passed over; the tightest place
 *	fgd       the same order; the place where fragmentation grows least, over every node and GPU, against the whole
 *	          trace's shapes (Weng et al., ATC '23): it knows the demand in advance
 *	hcp       src/sched/queue's order (class, fair share, due time, hold for the overdue) and the indexed choice by
 *	          fragmentation against recent demand; P1 that finds no room preempts P3 by least lost work
 *
 * Bit for bit the same from the same input. Pure but for memory. One thread.
 */
enum {
	SCHED_REPLAY_GROUPS_MAX = 16,
	SCHED_REPLAY_NODES_MAX = 65536,
	SCHED_REPLAY_GPUS_MAX = 16, /* of a node */
	SCHED_REPLAY_POINTS = 240,
};

enum sched_policy { SCHED_FIFO = 0, SCHED_BEST_FIT = 1, SCHED_FGD = 2, SCHED_HCP = 3, SCHED_POLICY_END = 4 };

struct sched_group {
	uint32_t nodes, gpus;           /* GPUs of each node */
	uint32_t cpu_milli, memory_mib; /* of each node */
};

struct sched_fleet {
	struct sched_group group[SCHED_REPLAY_GROUPS_MAX];
	size_t n;
};

struct sched_replay_conf {
	enum sched_policy policy;
	struct sched_fleet fleet;
	double load;           /* arrivals come this many times as fast; > 0 */
	int64_t checkpoint_ms; /* hcp: work of a preempted job since its last one is lost */
	int64_t restart_ms;    /* hcp: added to a job that starts again or moves */
	int64_t min_run_ms;    /* hcp: nobody is preempted before */
	uint32_t preempts_max; /* hcp: of one job; 0: nobody is */
	bool defrag;           /* hcp: moves parts together when a whole GPU is waited for */
	void (*progress)(void *ctx, size_t done, size_t n);
	void *ctx;
};

struct sched_waits {
	size_t n;                                  /* jobs */
	size_t started, in_target;                 /* in_target: within the wait target of the class */
	size_t preempted;                          /* times */
	double mean_s, p50_s, p95_s, p99_s, max_s; /* from arrival to first start; NAN without jobs */
	double trace_mean_s;                       /* what the trace itself tells; NAN: nothing */
};

struct sched_customer {
	size_t n;
	double gpu_h;  /* served; CPU-only jobs count as nothing */
	double share;  /* run / (run + wait), weighted by GPUs (jobs without: as a hundredth of one); 0..1 */
	double served; /* GPU hours (same weights) until the last arrival */
	double fair;   /* what max-min fairness would have given it of the same total */
};

struct sched_point {
	double used, frag,
		waiting_gpus; /* GPUs in use, free but of no use to the demand, waited for; means over the point */
};

struct sched_result {
	uint32_t nodes, gpus;
	uint64_t cpu_milli, memory_mib; /* of the cluster */
	int64_t end_ms, arrivals_ms;    /* last end; last arrival */
	size_t done, refused;           /* refused: could never fit this cluster */
	struct sched_waits all, cls[WORKLOAD_CLASS_END];
	struct sched_customer *customer; /* owned; as in the trace */
	double jain;                     /* of the customers' shares: (sum x)^2 / (n sum x^2); 1: all slowed down alike */
	double jain_service;             /* of served / fair: 1: as max-min fairness divides it */
	double utilisation, cpu_utilisation; /* until the last arrival, 0..1 */
	double contended_utilisation;        /* of GPUs, while some job with GPUs waited; NAN: never */
	double contended_share;              /* of the time until the last arrival */
	double frag_of_free;                 /* unusable share of the free GPUs, mean over that time */
	double contended_frag_gpus;          /* unusable GPUs, mean while something waited; NAN */
	double gpu_h, lost_gpu_h;            /* served; run again after preemption */
	size_t preemptions, moves;
	uint64_t placements, attempts;                 /* given; asked of the core */
	struct sched_point point[SCHED_REPLAY_POINTS]; /* from 0 to arrivals_ms */
};

const char *sched_policy_name(enum sched_policy p);
/* HCP_ENOTFOUND with the names there are. */
int sched_policy_parse(struct str name, enum sched_policy *ret, struct err *err) MUST_CHECK;
/* "7x8" or "40x8:96:768,20x2:64:256": nodes x GPUs, cores and GiB of each (12 and 96 a GPU if left out). HCP_EINVAL. */
int sched_fleet_parse(struct str text, struct sched_fleet *ret, struct err *err) MUST_CHECK;
/*
 * As many GPUs as four fifths of the most that the trace used at once (had each job started when it did there): nodes
 * of eight, and one smaller for the rest.
 */
void sched_fleet_for(const struct job_trace *t, double load, struct sched_fleet *ret);
void sched_replay_conf_default(struct sched_replay_conf *conf);

/* HCP_EINVAL, HCP_ELIMIT (cluster too large), HCP_ENOMEM. */
int sched_replay_run(const struct job_trace *t, const struct sched_replay_conf *conf, struct sched_result *ret,
	struct err *err) MUST_CHECK;
void sched_result_release(struct sched_result *r);

#endif
