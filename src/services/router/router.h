#ifndef HCP_SERVICES_ROUTER_H
#define HCP_SERVICES_ROUTER_H

#include "svc/svc.h"

enum {
	ROUTER_JOBS_MAX = 1000000, /* waiting and placed */
	ROUTER_PLACE_BATCH = 256,  /* placements a batch makes before it lets others in */
	ROUTER_HOLD_S = 600,       /* a reservation that resources never confirms ends then */
	ROUTER_REST_S = 10,        /* a device that resources could not give is not offered for so long */
	ROUTER_DEMAND_MS = 200,    /* demand is published at most so often, … */
	ROUTER_DEMAND_JOB_NS = 2000, /* … with many jobs less */
	ROUTER_QUEUE_SHOWN = 200,
	ROUTER_YIELD_S = 120,   /* what victims give up is kept so long for whom they gave it up */
	ROUTER_KEPT_MAX = 64,   /* jobs that others yield to at a time */
	ROUTER_ASK_MAX = 4,     /* jobs of one look that may ask others to yield */
	ROUTER_ROOMS_MAX = 256, /* kinds of devices and facilities that one of them considers */
};

extern const struct svc_def router_def;

#endif
