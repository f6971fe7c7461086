#ifndef HCP_SIM_SCHED_REPLAY_PRIV_H
#define HCP_SIM_SCHED_REPLAY_PRIV_H

#include "sched/frag.h"
#include "sched/placement.h"
#include "sched/queue.h"
#include "sim/sched_replay.h"

#define NO_JOB UINT32_MAX

enum job_state { JOB_COMING = 0, JOB_WAITING = 1, JOB_RUNNING = 2, JOB_DONE = 3, JOB_REFUSED = 4 };

struct job {
	placement_handle handle;
	int64_t start_ms, left_ms, first_ms, redo_ms; /* redo: run again, or spent on starting again */
	uint32_t shape, node, preempts, generation;
	uint32_t prev, next; /* waiting: of its shape; running: of its node */
	uint8_t state;
};

/* Jobs that ask for the same; what does not fit for one does not for the others until something is given back. */
struct shape {
	struct frag_shape s;
	enum workload_class cls;
	uint32_t first, last; /* waiting, by arrival */
	uint64_t failed_at;   /* count of releases when it found no room; UINT64_MAX: not tried */
	bool never;
	double weight; /* jobs of it */
};

struct ending {
	int64_t at_ms;
	uint32_t job, generation; /* stale when the job's is another */
};

struct replay_node {
	struct frag_node free;
	uint32_t first_dev;
	uint32_t running; /* first job there */
	double frag;
};

struct replay {
	const struct job_trace *t;
	const struct sched_replay_conf *conf;
	struct sched_result *res;
	struct placement *p;
	struct queue *q;           /* hcp */
	struct frag_demand demand; /* of the whole trace */
	struct job *job;
	struct shape *shape;
	size_t n_shapes;
	struct replay_node *node;
	uint32_t n_nodes;
	struct ending *heap;
	size_t n_heap, cap_heap;
	int64_t now_ms;
	size_t next; /* to arrive */
	size_t head; /* fifo: the oldest that waits */
	uint64_t releases;
	size_t waiting;
	uint64_t used_milli, used_cpu, waiting_milli; /* now */
	double frag;                                  /* now, milli-GPUs */
	uint64_t gpu_milli_all;
	uint32_t pending; /* hcp: the job that fits() has placed */
	int64_t queue_same_until_ns;
	uint64_t queue_same_at; /* changes of queue and cluster then */
	uint64_t changes;
	/* sums over time until the last arrival, milli-GPU x ms and ms */
	double used_sum, cpu_sum, frag_sum, free_sum, contended_ms, contended_used, contended_frag;
};

struct replay_where {
	enum placement_fit fit;
	uint32_t only_node, avoid_node; /* index + 1; 0: any, none */
};

int64_t replay_arrival_ms(const struct replay *r, size_t i);
uint32_t replay_job_milli(const struct replay *r, uint32_t j); /* GPUs in all, thousandths */
/* Gives a job a place there; it is to be started. False: no room. */
bool replay_place(struct replay *r, uint32_t j, struct replay_where where);
/* Takes a running job to another device of its shape; it is to be started there. False: no room, it runs on. */
bool replay_move(struct replay *r, uint32_t j, placement_dev to);
/* Takes a running job off its devices; it is neither waiting nor done then. */
void replay_take_off(struct replay *r, uint32_t j);
/* A job that was taken off waits again. */
void replay_wait(struct replay *r, uint32_t j);
/* Starts to run from now for what is left. HCP_ENOMEM. */
int replay_start(struct replay *r, uint32_t j) MUST_CHECK;

/* sched_replay_policy.c */
int policy_open(struct replay *r, struct err *err) MUST_CHECK;
/* Refused jobs do not come here. */
int policy_arrived(struct replay *r, uint32_t j, struct err *err) MUST_CHECK;
void policy_ended(struct replay *r, uint32_t j);
/* Places what can be placed now. */
int policy_schedule(struct replay *r, struct err *err) MUST_CHECK;

#endif
