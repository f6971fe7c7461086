#ifndef HCP_AGENT_METER_H
#define HCP_AGENT_METER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/id.h"

/*
 * What the node has done since it started, by activity and allocation, for billing. Every nanosecond and every joule
 * goes to exactly one row: the one that was current until the next meter_turn. Pure; one thread.
 *
 *   ── off ──┬── fill ──┬── serve, allocation A ──┬── fill ──▶ time
 *        meter_turn  meter_turn               meter_turn
 */
enum {
	METER_ROWS_MAX = 512,       /* beyond, rows of ended allocations that are older than METER_KEEP_NS make room */
	METER_ALLOCATION_MAX = 64,
};
#define METER_KEEP_NS (600LL * 1000000000)

enum meter_activity { METER_OFF, METER_SERVE, METER_FILL };

struct meter_row {
	enum meter_activity activity;
	char allocation_id[METER_ALLOCATION_MAX]; /* "" for no customer's */
	int64_t device_ns, requests, tokens, shares_accepted, shares_rejected;
	double energy_j, hashes;
	int64_t changed_ns;
};

struct meter {
	struct meter_row rows[METER_ROWS_MAX];
	size_t n_rows;
	size_t current, fill;     /* rows; fill: of the newest filling, where late hashes and shares go */
	int64_t last_ns;
	double last_energy_j, last_hashes;
	uint64_t unplaced;        /* turns that found no room and went on under the former row */
};

/* Totals that only grow, read at now_ns. */
struct meter_totals {
	int64_t now_ns;           /* monotonic */
	double energy_j, hashes;
};

void meter_init(struct meter *m, const struct meter_totals *t);
/* Books what has come since the last call to the current row. */
void meter_advance(struct meter *m, const struct meter_totals *t);
/* meter_advance, then another row is current. An id that does not fit is cut. */
void meter_turn(struct meter *m, const struct meter_totals *t, enum meter_activity activity, const char *allocation_id);
/* All counters begin at zero again; rows, and what is current, stay. meter_advance first. */
void meter_restart(struct meter *m);
void meter_request(struct meter *m, int64_t tokens);
void meter_shares(struct meter *m, int64_t accepted, int64_t rejected);
const char *meter_activity_name(enum meter_activity a);

#endif
