#ifndef HCP_SERVICES_RESOURCES_H
#define HCP_SERVICES_RESOURCES_H

#include "model/site.h"
#include "svc/svc.h"

/*
 * Most watts that the devices below a level of the power tree may draw together, at the plug: of a facility, of one of
 * its feeders ("north"), PDUs ("north/p3") or racks ("north/p3/r1"). The facility needs no row of its own.
 */
struct resources_budget {
	const char *facility;
	int64_t budget_w;
	const char *path; /* pattern as in model/power_path.h; NULL or "": the facility itself */
	int32_t count;    /* of levels alike: what the last '#' of the path goes up to; without one, 0 */
	int64_t inrush_w; /* most watts more that are ordered below it within RESOURCES_INRUSH_MS; 0: no limit */
};

/* Where nodes hang that do not say so themselves; the first row that fits. Who fits none hangs at the facility itself.
 */
struct resources_hang {
	const char *facility;
	const char *nodes;        /* pattern of node ids; NULL: of any, by the class of each device */
	const char *device_class; /* with nodes NULL */
	const char *path;         /* '#': the numbers that nodes matched; "": there are several, the node must say */
};

/* Settings; all zero: no budgets. Borrowed by the service. */
struct resources_conf {
	const struct resources_budget *budgets;
	size_t n_budgets;
	const struct resources_hang *hangs;
	size_t n_hangs;
	const struct site *site; /* borrowed: what facilities offer to the grid, and their PUE */
	size_t n_sites;
	/* How often agents report, 0: RESOURCES_REPORT_MS. A lease lives as many reports as by default. */
	int32_t report_ms;
	/* Most reports a second of all nodes together, 0: RESOURCES_REPORTS_PER_S; beyond, each reports more rarely. */
	int32_t reports_per_s;
};

enum {
	RESOURCES_REPORTS_PER_S = 2000,
	RESOURCES_REPORT_MAX_MS = 10000, /* however many nodes there are */
	RESOURCES_REPORT_MS = 2000,      /* how often an agent reports */
	RESOURCES_LEASE_MS = 15000,      /* life of a lease; also the silence after which a node is lost */
	RESOURCES_RESEND_MS = 2000,      /* an unanswered command goes out again, the next time after twice as long, … */
	RESOURCES_RESEND_DOUBLINGS = 4,  /* … 16 s at most */
	RESOURCES_SLACK_MS = 5000,       /* on top of the phases' deadlines: transport and scheduling */
	RESOURCES_VERIFY_MS = 10000,     /* after an agent's "done": readings must prove it within this time */
	RESOURCES_GATHER_MS = 3000,      /* proved by readings: how long to wait for the agent's phase times */
	RESOURCES_PLAN_REST_NS = 4000,   /* a device: between two plans of a facility that allocations come and go in … */
	RESOURCES_PLAN_REST_MAX_NS = 1 << 30, /* … at most */
	RESOURCES_CAPACITY_MS = 500,          /* least time between two CapacityChanged … */
	RESOURCES_CAPACITY_REST_NS = 4000,    /* … and for each device */
	RESOURCES_RETRY_MAX_MS = 64000,       /* most time between two tries to bring a drifted device back */
	RESOURCES_NODE_DEVICES = 4096,        /* devices of one node */
	RESOURCES_NODE_METERS = 4096,         /* counters of one node since its agent started */
	RESOURCES_MAX_NODES = 100000,
	RESOURCES_MAX_DEVICES = 1 << 20,
	RESOURCES_EVENT_DEVICES = 500, /* devices, or nodes, in one DevicesChanged */
	RESOURCES_KEEP_SWITCHES = 1000,
	RESOURCES_PRUNE_SWITCHES = 64, /* so many more may be there */
	RESOURCES_DRAIN_MS = 900000,   /* who works on a device that was found sick may end by himself for so long */
	RESOURCES_PROOF_MIN = 15,      /* minutes of good work after a repair; doubles with each ticket of … */
	RESOURCES_PROOF_MAX_MIN = 1440,
	RESOURCES_FLAP_DAYS = 7,  /* … these days */
	RESOURCES_FLAPS_FREE = 3, /* errors within an hour after which a device is back at once */
	RESOURCES_LIST_TICKETS = 1000,
	RESOURCES_KEEP_TICKETS_DAYS = 90,
	RESOURCES_INRUSH_MS = 5000,   /* a limit of inrush holds for any so long a time; a restored level rises in … */
	RESOURCES_RESTORE_STEPS = 10, /* … so many of them, unless it has a limit of its own */
	RESOURCES_LEVELS_MAX = 20000, /* of all facilities' power trees */
	RESOURCES_ID_MAX = 96,        /* node ids and agents' device ids, with the NUL */
};

extern const struct svc_def resources_def;

/* For simulators and tests, in the service's thread: watts that the facility, or a level below it, may draw at this
 * moment by what was commanded and proved; -1 if there is no such facility or level. */
int64_t resources_reserved_w(const void *state, const char *facility);
int64_t resources_level_w(const void *state, const char *facility, const char *path);

#endif
