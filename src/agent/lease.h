#ifndef HCP_AGENT_LEASE_H
#define HCP_AGENT_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * What the control plane lets this node do, until when. Only the time to live counts, on the monotonic clock from
 * receipt: clocks of two machines are never compared. Pure.
 */
enum { LEASE_TTL_MAX_MS = 3600 * 1000 };

struct lease {
	bool permanent;      /* stand-alone: never ends */
	int64_t until_ns;    /* monotonic; 0: never held */
	bool may_serve, may_fill;
	int64_t power_budget_w; /* 0: none */
	uint64_t number;
};

/* Of a message: times and flags as in hcp.Lease. */
struct lease_grant {
	int64_t ttl_ms;
	bool may_serve, may_fill;
	int64_t power_budget_w;
	uint64_t number;
};

/* HCP_EINVAL "ttl_ms" or "power_budget_w"; HCP_ECONFLICT "number": older than the one held. *l unchanged then. */
int lease_take(struct lease *l, const struct lease_grant *g, int64_t now_ns, struct err *err) MUST_CHECK;
/* A new control plane counts its leases anew. */
void lease_new_peer(struct lease *l);
bool lease_holds(const struct lease *l, int64_t now_ns);
/* Milliseconds left, rounded up; 0 when it does not hold; INT64_MAX when permanent. */
int64_t lease_left_ms(const struct lease *l, int64_t now_ns);

#endif
