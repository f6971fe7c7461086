#ifndef HCP_SERVICES_OPTIMIZER_H
#define HCP_SERVICES_OPTIMIZER_H

#include "svc/svc.h"

/*
 * What one facility pays. A facility without a row of its own takes the row named "default"; without that row it pays
 * the first electricity location seen, OPTIMIZER_PUE and OPTIMIZER_POOL_FEE.
 */
struct optimizer_facility {
	const char *facility; /* borrowed */
	const char *location; /* settlement point, borrowed; NULL or "": the first one seen */
	double pue;           /* 1..10; 0: OPTIMIZER_PUE */
	double pool_fee;      /* 0..1; negative: OPTIMIZER_POOL_FEE */
};

/*
 * What filler work of a class is worth to the operator beyond the coins it mines: heat that is used, load that must
 * run, a node kept busy to show that it works. Added to the net of mining and shown among a decision's inputs.
 */
struct optimizer_credit {
	const char *device_class; /* borrowed */
	double fill_usd_h;        /* per device, 0..1000 */
};

/* Settings; all zero takes the defaults. Borrowed by the service. */
struct optimizer_conf {
	const struct optimizer_facility *facility; /* borrowed */
	size_t n_facilities;
	const struct optimizer_credit *credit; /* borrowed */
	size_t n_credits;
	int64_t horizon_ns;   /* for which present prices are expected to hold; 0: 15 minutes, as the orchestrator's */
	double utilisation;   /* share of a served device's time that is sold, 0..1; 0: OPTIMIZER_UTILISATION */
	const char *policy;   /* of a new database; NULL: "threshold" */
};

#define OPTIMIZER_PUE 1.05
#define OPTIMIZER_POOL_FEE 0.01
#define OPTIMIZER_UTILISATION 0.6
#define OPTIMIZER_LEARN_RATE 0.2 /* weight of the newest switch in the learned switching time */

enum {
	OPTIMIZER_TICKS_MAX = 4096,     /* in one message */
	OPTIMIZER_PROBLEMS_MAX = 16,    /* described in its answer */
	OPTIMIZER_SOURCES_MAX = 64,     /* whose state is kept */
	OPTIMIZER_POINTS_MAX = 5000,    /* of history a symbol */
	OPTIMIZER_SERIES_MAX = 256,
	OPTIMIZER_LOCATIONS_MAX = 64,   /* settlement points */
	OPTIMIZER_ROWS_MAX = 512,       /* (facility, class) pairs */
	OPTIMIZER_DECISIONS_MAX = 100000,
	OPTIMIZER_NAME_MAX = 64,
	OPTIMIZER_LEDGER_S = 60,        /* an unchanged decision is put down so often */
	OPTIMIZER_AGAIN_S = 120,        /* a changed one is told again if the fleet has not followed by then */
	OPTIMIZER_REWIND_S = 60,        /* silence after which a feed may start over at an earlier market time */
};

extern const struct svc_def optimizer_def;

#endif
