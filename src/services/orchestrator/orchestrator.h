#ifndef HCP_SERVICES_ORCHESTRATOR_H
#define HCP_SERVICES_ORCHESTRATOR_H

#include "svc/svc.h"

/* Settings; all zero takes the defaults. Borrowed by the service. */
struct orchestrator_conf {
	int32_t max_active;   /* workloads of one customer that are not final; 0: ORCHESTRATOR_MAX_ACTIVE */
	int64_t horizon_ns;   /* over which a gain must pay for its switches; 0: 15 minutes */
	/* How a service of this process is, for the status page only; false: it is not here. NULL: not known. */
	bool (*stats)(void *arg, int id, struct svc_stats *ret);
	void *stats_arg;
	const char *version;  /* shown in status; NULL: "dev" */
};

enum {
	ORCHESTRATOR_MAX_ACTIVE = 100000,
	ORCHESTRATOR_MAX_TRIES = 5,      /* placements that failed before a workload fails */
	ORCHESTRATOR_MAX_HELD = 4096,    /* long polls at once */
	ORCHESTRATOR_MAX_WAIT_MS = 60000,
	ORCHESTRATOR_BATCH_MAX = 1000,   /* workloads in one batch submission */
	ORCHESTRATOR_REASON_MAX = 200,
};

extern const struct svc_def orchestrator_def;

#endif
