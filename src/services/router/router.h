#ifndef HCP_SERVICES_ROUTER_H
#define HCP_SERVICES_ROUTER_H

#include "model/device_class.h"
#include "sched/scale.h"
#include "svc/svc.h"

/* Where a type of rented nodes stands, and of what class its devices are. */
struct router_place {
	char device_class[DEVICE_CLASS_NAME_MAX], facility[64], region[64];
};

/* Settings; all zero: nothing is rented, and the rest as by default. Borrowed by the service. */
struct router_conf {
	struct scale_conf scale; /* n_types 0: nothing is rented; what stands of before is given back */
	struct router_place place[SCALE_TYPES_MAX];
	int64_t min_run_p2_ns, min_run_p3_ns; /* so long nobody has to yield (sched/preempt); 0: as that says */
};

enum {
	ROUTER_SCALE_WAIT_MAX_MS = 60000, /* a ScaleTake waits */
	ROUTER_SCALE_CALLS = 16,          /* in one answer */
	ROUTER_SCALE_WALK = 20000,        /* waiting jobs that are counted */
	ROUTER_SCALE_ENDED = 100,         /* rentals shown that are over */
	ROUTER_SCALE_KEEP_DAYS = 400,     /* of them in the ledger */

	ROUTER_JOBS_MAX = 1000000, /* waiting and placed */
	ROUTER_JOB_ARENA = 1024,   /* bytes of a job's workload at first */
	ROUTER_PLACE_BATCH = 256,  /* placements a batch makes before it lets others in */
	ROUTER_DEVICE_ID_MAX = 95, /* characters of a device id */
	ROUTER_HOLD_S = 600,       /* a reservation that resources never confirms ends then */
	ROUTER_REST_S = 10,        /* a device that resources could not give is not offered for so long */
	ROUTER_ENDS_S = 60,        /* the ends of running jobs are told with it at most so often */
	ROUTER_ENDS_HOURS = 24,
	ROUTER_DEMAND_MS = 200,      /* demand is published at most so often, … */
	ROUTER_DEMAND_JOB_NS = 2000, /* … with many jobs less */
	ROUTER_QUEUE_SHOWN = 200,
	ROUTER_YIELD_S = 120,      /* what victims give up is kept so long for whom they gave it up */
	ROUTER_KEPT_MAX = 64,      /* jobs that others yield to at a time */
	ROUTER_ASK_MAX = 4,        /* jobs of one look that may ask others to yield */
	ROUTER_ROOMS_MAX = 256,    /* kinds of devices and facilities that one of them considers */
	ROUTER_MOVES_MAX = 4,      /* parts that move so that a device is whole again */
	ROUTER_MOVES_WAIT_S = 10,  /* so long a job waits before others move for it; P1 does not wait */
	ROUTER_MOVES_PAUSE_S = 60, /* between one device that was made whole and the next */
	ROUTER_MOVES_LOOK_S = 1,   /* after a look in vain */
};

extern const struct svc_def router_def;

#endif
