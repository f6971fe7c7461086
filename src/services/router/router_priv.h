#ifndef HCP_SERVICES_ROUTER_PRIV_H
#define HCP_SERVICES_ROUTER_PRIV_H

#include "base/list.h"
#include "base/map.h"
#include "sched/placement.h"
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
	struct queue_job q;
	placement_handle hold;     /* while placed or releasing; 0 if it never got devices */
	Hcp__Workload *w;          /* owned, unpacked with the default allocator */
	char wait_reason[256];     /* as it was told */
	int64_t told_ns;           /* when the reason was last published */
};

struct rdev {
	placement_dev dev;
	uint16_t cls;
	bool fill, usable;      /* as resources last told */
	struct list rests;      /* router.resting: not offered until … */
	int64_t rests_until_ns; /* … since resources refused it, for a reason that we cannot see */
	char id[96];
	char owner[ID_TEXT_MAX];   /* workload that holds it, "" if free */
};

struct router {
	struct svc *svc;           /* borrowed */
	struct placement *place;   /* owned */
	struct queue *queue;       /* owned */
	struct map devices;        /* id -> struct rdev, owned */
	struct rdev **by_dev;      /* by placement_dev; borrowed */
	size_t cap_dev;
	struct map jobs;           /* workload id -> struct job, owned */
	struct map by_allocation;  /* allocation id -> struct job */
	struct list order;
	struct list resting;       /* devices, in the order in which they are offered again */
	struct map facilities;     /* name -> index + 1 */
	struct map nodes;          /* node id / class -> number + 1 */
	struct map clusters;       /* node id -> number + 1 */
	size_t kinds[DEVICE_KIND_END];
	bool stuck;               /* at the last look nothing in the queue fitted */
	bool settled;             /* and neither devices nor queue changed since … */
	int64_t settled_until_ns; /* … so that another look is of use from then on */
	bool demand_dirty;
	int64_t demand_at_ns;
};

/* inventory.c */
int router_inventory_apply(struct router *r, const Hcp__Device *d, struct err *err) MUST_CHECK;
int router_on_devices(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int router_inventory_load(struct router *r, struct db *db, struct err *err) MUST_CHECK;
void router_inventory_release(struct router *r);
/* Resources could not give this device: it is not offered for ROUTER_REST_S. */
void router_inventory_rest(struct router *r, const char *id, int64_t now_ns);
/* Offers those again that have rested. */
void router_inventory_wake(struct router *r, int64_t now_ns);
struct rdev *router_inventory_find(const struct router *r, const char *id);

/* jobs.c */
struct job *router_job_find(const struct router *r, const char *id);
int router_job_new(
	struct router *r, const Hcp__Workload *w, int64_t now_ns, struct job **ret, struct err *err) MUST_CHECK;
void router_job_free(struct router *r, struct job *j);
int router_job_save(struct svc_ctx *ctx, const struct job *j, const Hcp__Place *place, struct err *err) MUST_CHECK;
int router_job_drop(struct router *r, struct svc_ctx *ctx, struct job *j, struct err *err) MUST_CHECK;
int router_jobs_load(struct router *r, struct db *db, struct err *err) MUST_CHECK;

/* place.c: from the queue to devices */
/* What the job wants; its texts are borrowed from it. */
struct placement_request router_request_of(const struct router *r, const struct job *j);
/* A job came or went, or devices became what they were not: waiting jobs may fit now. */
void router_look_again(struct router *r);
/* A job has just been queued: cheap while the queue is stuck and its kind of device is taken. */
int router_place_new(struct router *r, struct svc_ctx *ctx, struct job *j, struct err *err) MUST_CHECK;
int router_place_waiting(struct router *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int router_place_expire(struct router *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int router_demand_tick(struct router *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
void router_demand_changed(struct router *r, struct svc_ctx *ctx);

/* handle.c */
int router_on_enqueue(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int router_on_cancel_job(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int router_on_allocation_news(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
/* query.c */
int router_on_queue(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int router_on_classify(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

#endif
