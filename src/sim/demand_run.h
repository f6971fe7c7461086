#ifndef HCP_SIM_DEMAND_RUN_H
#define HCP_SIM_DEMAND_RUN_H

#include "sim/demand.h"

struct loop;
struct demand_run;

/*
 * Submits the jobs of a struct demand through the public REST API, as customers do, and nothing else. Every
 * DEMAND_POLL_MS it counts what waits and runs and makes up for a shortfall. One thread.
 */
enum {
	DEMAND_IN_FLIGHT_MAX = 16,   /* requests; an arrival beyond is skipped */
	DEMAND_POLL_MS = 10000,
	DEMAND_BURST = 10,           /* most jobs made up for after one count */
	DEMAND_PAUSE_MS = 5000,      /* after the platform said that it is too much, or is away */
	DEMAND_CALL_MS = 10000,
	DEMAND_SECRET_MAX = 2048,
};

struct demand_run_conf {
	struct demand *demand;       /* borrowed */
	const char *url;             /* "http://127.0.0.1:8000"; borrowed */
	const char *api_key;         /* borrowed; NULL: log in */
	const char *email, *password; /* borrowed */
	const char *model;           /* of the jobs; borrowed, "" for none */
};

struct demand_run_stats {
	uint64_t submitted, refused, failed, skipped;
	int64_t active;              /* as last counted; -1: never */
};

int demand_run_new(struct loop *loop, const struct demand_run_conf *conf, struct demand_run **ret, struct err *err)
	MUST_CHECK;
void demand_run_free(struct demand_run *r);
const struct demand_run_stats *demand_run_stats(const struct demand_run *r);

#endif
