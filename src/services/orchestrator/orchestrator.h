#ifndef HCP_SERVICES_ORCHESTRATOR_H
#define HCP_SERVICES_ORCHESTRATOR_H

#include "svc/svc.h"

/* Settings; all zero takes the defaults. Borrowed by the service. */
struct orchestrator_conf {
	int32_t max_active;   /* workloads of one customer that are not final; 0: ORCHESTRATOR_MAX_ACTIVE */
	/* How a service of this process is, for the status page only; false: it is not here. NULL: not known. */
	bool (*stats)(void *arg, int id, struct svc_stats *ret);
	void *stats_arg;
	const char *version;  /* shown in status; NULL: "dev" */
	/* ORCHESTRATOR_KEY_BYTES that the secrets of callbacks are derived from; borrowed. NULL: nothing is signed
	 * (replay). */
	const unsigned char *callback_key;
};

enum {
	ORCHESTRATOR_MAX_ACTIVE = 100000,
	ORCHESTRATOR_MAX_TRIES = 5,   /* placements that failed before a workload fails */
	ORCHESTRATOR_MAX_HELD = 4096, /* long polls at once */
	ORCHESTRATOR_MAX_WAIT_MS = 60000,
	ORCHESTRATOR_BATCH_MAX = 1000, /* workloads in one batch submission */
	ORCHESTRATOR_RECENT = 16384,   /* workloads kept packed, about 450 bytes each; their next move reads no row */
	ORCHESTRATOR_ACCOUNTS = 4096,  /* customers whose counts are kept; beyond that all are read again */
	ORCHESTRATOR_REASON_MAX = 200,
	ORCHESTRATOR_KEY_BYTES = 32,
	QUOTA_PROJECTS_MAX = 256,
	QUOTA_CUSTOMER_MAX = 64, /* bytes of a customer's id, with its end */
};

/* Callbacks. Times of a try are the sender's (courier.h); a lease outlasts the longest. */
enum {
	CALLBACK_TAKE_MAX = 64,    /* in the sender's hands at once */
	CALLBACK_CUSTOMER_MAX = 8, /* of those, of one customer */
	CALLBACK_LOOK_MAX = 512,   /* due ones looked at for one answer */
	CALLBACK_LEASE_MS = 60000,
	CALLBACK_TRIES_MAX = 16,    /* about five hours of them */
	CALLBACK_AGE_MAX_S = 86400, /* no further try after that */
	CALLBACK_BACKOFF_MS = 1000, /* before the second try, doubling */
	CALLBACK_BACKOFF_MAX_MS = 3600000,
	CALLBACK_WAITING_MAX = 64, /* of one workload; then the oldest untried goes */
	CALLBACK_ERROR_MAX = 160,
	CALLBACK_OLD_SECRET_S = 86400, /* signs beside its successor for so long */
};

extern const struct svc_def orchestrator_def;

#endif
