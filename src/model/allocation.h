#ifndef HCP_MODEL_ALLOCATION_H
#define HCP_MODEL_ALLOCATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/id.h"
#include "base/str.h"

/* A workload's hold on devices. Billing starts at the event START and ends at RELEASE or LOSE. */
enum allocation_state {
	ALLOCATION_RESERVED = 0,  /* devices held, not switched; ends by itself at expires_ns */
	ALLOCATION_COMMITTED = 1, /* switch under way */
	ALLOCATION_RUNNING = 2,   /* verified */
	ALLOCATION_PAUSED = 3,    /* devices given to others for a while, state saved */
	ALLOCATION_RELEASED = 4,  /* final */
	ALLOCATION_EXPIRED = 5,   /* final: never committed in time */
	ALLOCATION_LOST = 6,      /* final: a device failed under it */
	ALLOCATION_STATE_END = 7,
};

enum allocation_event {
	ALLOCATION_EV_COMMIT = 0,
	ALLOCATION_EV_START = 1,
	ALLOCATION_EV_PAUSE = 2,
	ALLOCATION_EV_RESUME = 3,
	ALLOCATION_EV_RELEASE = 4,
	ALLOCATION_EV_EXPIRE = 5,
	ALLOCATION_EV_LOSE = 6,
	ALLOCATION_EVENT_END = 7,
};

enum { ALLOCATION_DEVICES_MAX = 4096 };
#define ALLOCATION_RESERVE_NS INT64_C(30000000000) /* default life of a reservation: 30 s */

struct allocation {
	struct id id, workload_id;
	enum allocation_state state;
	uint32_t device_count;
	const struct id *devices; /* borrowed, device_count of them */
	int64_t fraction_milli;   /* of each device, 1..1000 */
	int64_t reserved_at_ns, expires_ns, started_at_ns, ended_at_ns; /* 0: not yet */
};

int allocation_next(enum allocation_state state, enum allocation_event event, enum allocation_state *ret,
	struct err *err) MUST_CHECK;
bool allocation_state_is_final(enum allocation_state s);
const char *allocation_state_name(enum allocation_state s);
const char *allocation_event_name(enum allocation_event e);
int allocation_state_parse(struct str s, enum allocation_state *ret) MUST_CHECK;

#endif
