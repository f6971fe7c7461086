#ifndef HCP_SERVICES_ROUTER_PRIV_H
#define HCP_SERVICES_ROUTER_PRIV_H

#include "base/list.h"
#include "base/map.h"
#include "model/slice.h"
#include "sched/placement.h"
#include "sched/preempt.h"
#include "sched/queue.h"
#include "services/router/router.h"

enum job_state { JOB_WAITING = 0, JOB_PLACED = 1, JOB_RELEASING = 2 };

struct job {
	struct list node;          /* router.jobs, in order of arrival */
	char id[ID_TEXT_MAX];
	struct id uuid;
	char allocation_id[ID_TEXT_MAX];
	char customer_id[64];
	enum job_state state;
	bool again;                /* enqueued anew while its old devices are being released */
	bool committed;
	bool yields; /* its devices are being released for another */
	struct queue_job q;
	placement_handle hold;     /* while placed or releasing; 0 if it never got devices */
	int64_t row;               /* in the table; 0: not yet */
	struct list unsaved;       /* router.unsaved: the row is behind … */
	bool body_unsaved;         /* … with the workload, too */
	struct str place;          /* and this packed Place, in the batch's arena; empty: as it was */
	struct str packed;         /* w, in the batch's arena, if it was packed in this batch; else empty */
	struct arena arena;        /* of w */
	const Hcp__Workload *w;
	char wait_reason[256];     /* as it was told */
	int64_t told_ns;           /* when the reason was last published */
	int64_t since_ns;          /* it runs since then; 0: it does not */
	bool moves;                /* its devices rest once they are given back, so that it finds others */
	bool moved;                /* this run came of a move, or may have: it stays for its minimum run time */
	struct list untold;        /* router.untold: has not heard yet why it waits */
	struct list kept;          /* router.keepers: others yield to it, devices in `room` are kept for it until … */
	struct placement_room room;
	int64_t kept_until_ns;
	int64_t yield_rest_ns; /* asks nobody to yield before then */
};

/* A real-time job that wanted `count` devices of a class found no victims; so it is until one of these changes. */
struct in_vain {
	uint64_t version;
	int64_t until_ns;
	int32_t count;
	char device_class[32];
};

/* A device; held by the hundred thousand. */
struct rdev {
	const struct scale_node *rented; /* borrowed; NULL: its node is our own */
	struct rdev *of_node;            /* the next device of the same rented node */
	placement_dev dev;
	uint16_t cls, facility;
	bool usable;            /* as resources last told */
	bool clears;            /* the parts on it move away: not offered meanwhile */
	bool fill_saved, usable_saved; /* as the row has it */
	float health_saved, thermal_saved;
	struct list rests;      /* router.resting: not offered until … */
	int64_t rests_until_ns; /* … since resources refused it, for a reason that we cannot see */
	char id[];
};

/* A part on its way to where room is held for it. */
struct move {
	struct job *j; /* borrowed; NULL: it is there, or gone */
	struct placement_result to;
};

/* The device that is made whole for a job that waits; one at a time. A restart forgets it. */
struct moves {
	struct rdev *from; /* borrowed; NULL: none */
	struct job *whom;  /* borrowed; NULL: it waits no more */
	struct move move[ROUTER_MOVES_MAX];
	size_t n;
	int64_t until_ns; /* what has not moved by then stays */
	int64_t next_ns;  /* none is looked for before then */
};

struct router_scale;

struct router {
	struct router_scale *scale;      /* owned; NULL: nothing is rented and nothing was */
	struct classify_model *classify; /* owned */
	struct svc *svc;           /* borrowed */
	struct placement *place;   /* owned */
	struct queue *queue;       /* owned */
	struct map devices;        /* id -> struct rdev, owned */
	struct rdev **by_dev;      /* by placement_dev; borrowed */
	size_t cap_dev;
	struct map jobs;           /* workload id -> struct job, owned */
	struct map by_allocation;  /* allocation id -> struct job */
	struct list order;
	struct list untold;
	struct list unsaved;       /* jobs whose rows are written when the batch settles */
	int64_t next_row;
	bool look;                 /* waiting jobs are looked at when the batch settles */
	struct list resting;       /* devices, in the order in which they are offered again */
	struct map facilities;     /* name -> index + 1 */
	struct map nodes;          /* node id / class -> number + 1 */
	struct map clusters;       /* node id -> number + 1 */
	struct map programs;       /* name -> tag of sched/placement */
	struct preempt *preempt;   /* owned: jobs that run */
	struct list keepers;       /* jobs that others yield to, in the order in which they asked */
	size_t n_kept;
	uint64_t victims_changed; /* grows whenever a job that found no victims may find some */
	struct in_vain in_vain;
	struct moves moves;
	int64_t preemptions; /* since the start */
	size_t n_yielding;   /* jobs that give their devices up for another */
	size_t kinds[DEVICE_KIND_END];
	double cell[QUEUE_RESOURCE_END]; /* what all devices are together, the queue's capacity; devices in thousandths */
	size_t n_capacity;               /* devices that the queue knows of */
	bool stuck;               /* at the last look nothing in the queue fitted */
	bool settled;             /* and neither devices nor queue changed since … */
	int64_t settled_until_ns; /* … so that another look is of use from then on */
	bool demand_dirty;
	int64_t demand_at_ns;
	int64_t ends_told_ns; /* when demand last said what running jobs will give back */
	bool ends_stale;      /* it was told since without that */
};

/* inventory.c */
int router_inventory_apply(struct router *r, const Hcp__Device *d, struct err *err) MUST_CHECK;
int router_on_devices(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int router_inventory_load(struct router *r, struct db *db, struct err *err) MUST_CHECK;
void router_inventory_release(struct router *r);
/* The tag of nodes that have the program; of one that none has ever told of, a tag that nobody has. */
uint16_t router_program_tag(const struct router *r, const char *program);
/* Resources could not give this device: it is not offered for ROUTER_REST_S. */
void router_inventory_rest(struct router *r, const char *id, int64_t now_ns);
/* The queue's shares are of what there is. */
int router_inventory_capacity(struct router *r, struct err *err) MUST_CHECK;
/* It can be used, does not rest, is not being cleared, and its node is not about to go. */
bool router_inventory_offered(const struct router *r, const struct rdev *rd);
/* Offers those again that have rested. */
void router_inventory_wake(struct router *r, int64_t now_ns);
struct rdev *router_inventory_find(const struct router *r, const char *id);

/* jobs.c */
struct job *router_job_find(const struct router *r, const char *id);
/* packed: its workload, as in its row. */
int router_job_new(struct router *r, struct str packed, int64_t now_ns, struct job **ret, struct err *err) MUST_CHECK;
void router_job_free(struct router *r, struct job *j);
/* The workload as it is now; its place in the queue is made from it when it is queued again. */
int router_job_renew(struct job *j, struct str packed, struct err *err) MUST_CHECK;
/* Its workload in the batch's arena, packed once a batch. The job must be saved in that batch. */
int router_job_pack(struct svc_ctx *ctx, struct job *j, struct str *ret) MUST_CHECK;
/* Made anew for the queue; not while it waits or is charged. */
void router_job_requeue(struct router *r, struct job *j);
/* Its row is written when the batch settles. */
void router_job_save(struct router *r, struct job *j);
int router_jobs_settle(struct router *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int router_job_drop(struct router *r, struct svc_ctx *ctx, struct job *j, struct err *err) MUST_CHECK;
int router_jobs_load(struct router *r, struct db *db, struct err *err) MUST_CHECK;

/* place.c: from the queue to devices */
/* The part of one device that is asked for; milli 0: whole devices. */
struct slice router_slice_of(const Hcp__Workload *w);
/* What the job wants; its texts are borrowed from it. */
struct placement_request router_request_of(const struct router *r, const struct job *j);
/* Why it does not fit, in words. */
void router_say_refusal(const struct job *j, const struct placement_refusal *why, char *dst, size_t cap);
/* A job came or went, or devices became what they were not: waiting jobs may fit now. */
void router_look_again(struct router *r);
/* A job has just been queued: cheap while the queue is stuck and its kind of device is taken. */
void router_place_new(struct router *r, struct svc_ctx *ctx, struct job *j);
/* Its deadline cannot be met even if nothing else ran; why stands in wait_reason. */
bool router_place_hopeless(struct router *r, struct svc_ctx *ctx, struct job *j);
int router_place_waiting(struct router *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int router_place_expire(struct router *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
/* Thousandths of devices that it wants, or holds. */
int64_t router_job_milli(const struct job *j);
/* When a running job ends, as far as is known; INT64_MAX. */
int64_t router_job_ends_ns(const struct job *j);
/* When there is demand to tell; INT64_MAX: nothing has changed. */
int64_t router_demand_due(const struct router *r);
int router_demand_tick(struct router *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
void router_demand_changed(struct router *r, struct svc_ctx *ctx);

/* yield.c: who gives devices up to whom */
/* Each kind of device is a resource of its own, counted in thousandths of one: QUEUE_GPU, QUEUE_CPU, QUEUE_POWER
 * (miners). */
enum queue_resource router_resource_of(enum device_kind kind);
/* A job came to the device, or went, and there are others: they yield together, once all of them run. */
int router_yield_shared(struct router *r, placement_dev d, struct err *err) MUST_CHECK;
/* The job runs since then: from now on it may have to yield. */
int router_yield_runs(struct router *r, struct job *j, int64_t since_ns, struct err *err) MUST_CHECK;
/* It runs no more, or is gone. */
void router_yield_forget(struct router *r, struct job *j);
/* What comes free in that room is kept for it for ROUTER_YIELD_S. */
void router_yield_keep(struct router *r, struct job *j, const struct placement_room *room, int64_t now_ns);
/* Nothing is kept for it any more. */
void router_yield_unkeep(struct router *r, struct job *j);
/* The job for which these devices are kept, so that j may not have them; NULL: it may. */
const struct job *router_yield_keeper(const struct router *r, const struct job *j, const struct placement_result *got);
/* Devices of that room which are kept for jobs. */
uint32_t router_yield_kept_in(const struct router *r, const struct placement_room *room);
/* Who has that part; NULL: nobody that is known. */
struct job *router_yield_owner(const struct router *r, const struct placement_part *p);
/* Seconds until a device of the class that is taken from one works for another. */
double router_yield_restart_s(uint16_t cls);
/* From when on it may ask others to yield, as things are; INT64_MAX: it may not. */
int64_t router_yield_asks_at(const struct router *r, const struct job *j);
/* It does not fit: makes others yield, if that helps; then it is kept for. *ret_again_ns: when to ask again. */
int router_yield_ask(
	struct router *r, struct svc_ctx *ctx, struct job *j, int64_t *ret_again_ns, struct err *err) MUST_CHECK;
void router_yield_expire(struct router *r, int64_t now_ns);
/* When that next has something to do; INT64_MAX: nothing is kept. */
int64_t router_yield_due(const struct router *r);

/* moves.c: parts of devices that move together, so that a device is whole again */
/* From when on a device may be made whole for a job that does not fit, as things are; INT64_MAX: not by itself. */
int64_t router_moves_at(const struct router *r, const struct job *j);
/* For the first of them for which that helps parts move; it is kept for then. *ret_again_ns: when to look again. */
int router_moves_look(struct router *r, struct svc_ctx *ctx, struct job *const *jobs, size_t n, int64_t *ret_again_ns,
	struct err *err) MUST_CHECK;
/* Room is held for it elsewhere. */
bool router_moves_holds(const struct router *r, const struct job *j);
/* The next part that waits to be placed where room is held for it; false: none. */
bool router_moves_next(struct router *r, struct job **ret, struct placement_result *ret_to);
/* Nobody moves there after all. */
void router_moves_let_go(struct router *r, const struct placement_result *to);
/* Real-time work needs the room: no more is held for moves, if it was (true). */
bool router_moves_give_way(struct router *r, int64_t now_ns);
/* The job waits no more for a device that is being made whole. */
void router_moves_unkeep(struct router *r, const struct job *j);
/* The job is gone. */
void router_moves_forget(struct router *r, const struct job *j);
/* It is over when all is done, or the time has passed. */
void router_moves_expire(struct router *r, int64_t now_ns);
/* When that has something to do; INT64_MAX: nothing moves. */
int64_t router_moves_due(const struct router *r);

/* scale.c: nodes that are rented */
int router_scale_open(struct router *r, const struct router_conf *conf, struct db *db, struct err *err) MUST_CHECK;
void router_scale_close(struct router *r);
/* A device of this node is known from now on. */
void router_scale_device(struct router *r, struct rdev *rd, const char *node_id);
/* May it be offered, as far as its node goes? */
bool router_scale_offers(const struct router *r, const struct rdev *rd);
/* What waits, or whose devices are whose, has changed. */
void router_scale_poke(struct router *r);
int router_scale_timer(struct router *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int64_t router_scale_due(const struct router *r);
int router_on_scale_take(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int router_on_scale_result(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int router_on_autoscale(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

/* quota.c */
int router_on_quota(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int router_quota_load(struct router *r, struct db *db, struct err *err) MUST_CHECK;

/* handle.c */
int router_on_enqueue(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int router_on_cancel_job(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int router_on_program(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int router_on_allocation_news(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
/* query.c */
int router_on_queue(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int router_on_classify(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

#endif
