#ifndef HCP_TESTS_SIM_WATCH_H
#define HCP_TESTS_SIM_WATCH_H

#include "model/slice.h"
#include "sim.h"

enum { WATCH_LOCATIONS = 8 };
enum { WATCH_SETTLE_TRIES = 30 }; /* looks, ten seconds apart: work that comes and goes is between two states at some */

/* What the watcher knows, from events alone: it never asks a service what it believes. */
struct seen_workload {
	char id[ID_TEXT_MAX];
	int state;                /* Hcp__WorkloadState of the last event */
	int32_t count;
	char device_class[32];
	int64_t version;
	int type; /* Hcp__WorkloadType: its class, too */
	int preemptions;
	char preempted_by[ID_TEXT_MAX];
	int64_t saved;      /* step of its newest checkpoint by the events of resources … */
	int64_t said_saved; /* … and as the workload has it */
};

struct seen_allocation {
	char id[ID_TEXT_MAX];
	char workload[ID_TEXT_MAX];
	int state;                /* Hcp__AllocationState of the last event; 0: only placed */
	size_t n_devices;
	char (*device)[96];       /* owned */
	struct slice part;        /* of the one device; milli 0: whole ones */
	struct seen_allocation *beside; /* the next that has a part of it */
	int64_t price_micros_h;   /* fixed when held; -1: never was */
	int64_t sold_ns;          /* metered device time but for "off" */
};

struct numbers {              /* of one sender: a digest per event number */
	uint64_t *hash;           /* owned; [seq - 1] */
	size_t n, cap;
};

struct seen_node {
	int64_t energy_j;
};

/* The newest prices by the events, and money by the formulas over them: a second bookkeeping. */
struct ledger {
	double power_usd_mwh[WATCH_LOCATIONS], btc_usd, difficulty, fees_btc, height;
	char location[WATCH_LOCATIONS][32];
	size_t n_locations;
	int64_t market_ns;
	bool complete;            /* every price that counts was known whenever something was metered */
	__int128 energy_micros_j_mwh; /* joules x micro-dollars a MWh */
	double mining_usd, hashes;
};

struct watch {
	struct sim *sim;
	uint64_t next;            /* offset on the bus */
	uint64_t events, preemptions, reclaims;
	uint64_t by_type[MSG_TYPE_MAX + 1];
	struct numbers sent[SVC_COUNT];
	struct map workloads;     /* id -> struct seen_workload, owned */
	size_t active;            /* of them, not final */
	struct map allocations;   /* id -> struct seen_allocation, owned */
	struct map nodes;         /* id -> struct seen_node, owned */
	struct map owners;        /* device id -> struct seen_allocation that holds it, or the first of those with parts */
	uint64_t retunes;         /* decisions that miners go into another power mode */
	uint64_t parts, most_parts; /* that were held, and at most at once of one device */
	char odd[320];            /* what was not settled at the last look */
	struct ledger ledger;
	int64_t metered_energy_j, metered_device_ns;
	double metered_hashes;
};

/* ledger.c */
void ledger_market(struct watch *w, const Hcp__MarketMoved *ev);
void ledger_metered(struct watch *w, const Hcp__Metered *ev, const Hcp__MeterDelta *d);
/* Billing's books against this second one, once all is quiet. */
void ledger_check(struct sim *s);
int64_t ledger_ai_micros(struct sim *s);
void ledger_print(struct sim *s);

/* watch_tables.c: the services' own tables against what they said */
void watch_tables(struct sim *s);

#endif
