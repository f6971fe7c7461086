#ifndef HCP_SERVICES_OPTIMIZER_H
#define HCP_SERVICES_OPTIMIZER_H

#include "model/site.h"
#include "svc/svc.h"

struct history;

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
	/*
	 * What facilities pay and how their groups start, by the site of their name; the site SITE_OTHER stands for all
	 * that are not named, and without it these pay the first settlement point seen (as a site with neither point nor
	 * tariff does), OPTIMIZER_PUE and OPTIMIZER_POOL_FEE.
	 */
	const struct site *site; /* borrowed */
	size_t n_sites;
	const struct optimizer_credit *credit; /* borrowed */
	size_t n_credits;
	int64_t horizon_ns;   /* for which simple policies take present prices to hold; 0: OPTIMIZER_HORIZON_S */
	double utilisation;   /* share of a served device's time that is sold, 0..1; 0: OPTIMIZER_UTILISATION */
	/* What the operator has at stake, USD; 0: no drawdown guard. And the share of it above which too much is lost. */
	double capital_usd, drawdown_limit; /* limit 0: RISK_DRAWDOWN_LIMIT; below 1 */
	/* What bad cases count beside the expected one, 0..1: power is decided by at so much of what it rises by then. */
	double risk_aversion;
	const char *policy;   /* of a new database; NULL: "threshold" */
};

#define OPTIMIZER_PUE 1.05
#define OPTIMIZER_POOL_FEE 0.01
#define OPTIMIZER_UTILISATION 0.6
#define OPTIMIZER_LEARN_RATE 0.2 /* weight of the newest switch in the learned switching time */

enum { OPTIMIZER_ENDS_HOURS = 24, OPTIMIZER_WANTED_DAYS = 60 };
enum {
	OPTIMIZER_HORIZON_S = 3600,  /* as in backtests: in a quarter-hour no start of a miner would pay */
	OPTIMIZER_TICKS_MAX = 4096,  /* in one message */
	OPTIMIZER_PROBLEMS_MAX = 16, /* described in its answer */
	OPTIMIZER_SOURCES_MAX = 64,  /* whose state is kept */
	OPTIMIZER_POINTS_MAX = 5000, /* of history a symbol */
	OPTIMIZER_SERIES_MAX = 256,
	OPTIMIZER_LOCATIONS_MAX = 64, /* settlement points */
	OPTIMIZER_ROWS_MAX = 512,     /* (facility, class) pairs */
	OPTIMIZER_DECISIONS_MAX = 100000,
	OPTIMIZER_PLANS_MAX = 2000,
	OPTIMIZER_PLAN_STEPS = 96,      /* of a plan, quarter-hours */
	OPTIMIZER_CHUNK_SLOTS = 96,     /* of history in one row */
	OPTIMIZER_CHUNKS_MAX = 1461,    /* of a series: four years of quarter-hours */
	OPTIMIZER_FORESIGHT_STEPS = 24, /* quarter-hours of a forecast in the ledger */
	OPTIMIZER_PORTFOLIO_DAYS = 365,
	OPTIMIZER_SKIP_MAX = 256,       /* lessons that a tutor does not want */
	OPTIMIZER_SOURCE_MAX = 256,
	OPTIMIZER_NAME_MAX = 64,
	OPTIMIZER_LEDGER_S = 60, /* an unchanged decision is put down so often */
	OPTIMIZER_AGAIN_S = 120, /* a changed one is told again if the fleet has not followed by then */
	OPTIMIZER_REWIND_S = 60, /* silence after which a feed may start over at an earlier market time */
};

extern const struct svc_def optimizer_def;

/* For tests, in the service's thread: what policies see of the past; borrowed from the state. */
const struct history *optimizer_history(const void *state);

#endif
