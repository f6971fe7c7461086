#ifndef HCP_AGENT_CONTROL_H
#define HCP_AGENT_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/lease.h"
#include "agent/meter.h"
#include "base/err.h"
#include "device/cpu_power.h"
#include "device/gate.h"
#include "loop/loop.h"

struct cpu_device;

/*
 * Decides what the gate is, from four things, and nothing else sets it:
 *
 *   lease does not hold ───────────────────────────────────────▶ SAFE
 *   a switch is at work (control_pause) ───────────────────────▶ SERVE if it leads there, else OFF
 *   commanded FILL, a request is running or was within linger_ms ▶ SERVE, if the lease says may_serve
 *   commanded FILL ────────────────────────────────────────────▶ FILL, if the lease says may_fill, else OFF
 *   commanded SERVE or OFF ────────────────────────────────────▶ as commanded
 *
 * The meter turns with the gate. While a node that fills serves by itself or is being switched, its processors stay
 * awake (priority_awake). One thread.
 */
enum {
	CONTROL_LINGER_MS = 50,     /* default */
	CONTROL_INFLIGHT_MAX = 256, /* requests at a time */
	CONTROL_TICK_MS = 250,      /* rates, watts */
};

struct control_conf {
	struct loop *loop;
	struct cpu_device *device;  /* borrowed */
	const struct device_class *row;
	unsigned cores;
	uint32_t linger_ms;
	/* The node switched by itself; cause "request", "idle", "lease_end". May be NULL, as the next. */
	void (*on_local)(void *arg, enum gate_state to, int64_t duration_ns, const char *cause);
	/* The gate is closed and the last filler has left. */
	void (*on_quiet)(void *arg);
	/* Requests in flight have become 0. */
	void (*on_drained)(void *arg);
	/* Processor seconds used by the runtime. */
	double (*runtime_cpu_s)(void *arg);
	void *arg;
};

struct control {
	struct control_conf conf;
	struct gate *gate;
	struct lease lease;
	struct meter meter;
	struct cpu_power power;
	enum gate_state commanded;  /* SERVE, FILL or OFF */
	char allocation_id[METER_ALLOCATION_MAX];
	char workload_id[METER_ALLOCATION_MAX];
	int32_t power_cap_w;        /* of the command; 0: none */
	bool exclusive;             /* a program has the node while it is commanded SERVE: requests are refused */
	bool pausing;
	enum gate_state pausing_to;
	bool local;                 /* serving by ourselves while commanded FILL */
	bool local_pending;         /* that switch is not reported yet: fillers are on their way out */
	int64_t local_begun_ns;
	int awake_fd;
	bool awake;
	unsigned inflight;
	uint64_t requests; /* ended */
	uint64_t failures; /* those of them that were not answered with 200, the client's own errors included */
	uint64_t refused, local_switches;
	struct loop_timer linger, lease_end, tick;
};

void control_init(struct control *c, const struct control_conf *conf);
void control_release(struct control *c);
/* Stand-alone: a lease that never ends. */
void control_lease_forever(struct control *c);
int control_lease(struct control *c, const struct lease_grant *g, struct err *err) MUST_CHECK;
/* An order to fill is newer than the lease held, which may still say otherwise; the next lease decides again. */
void control_allow_fill(struct control *c);
/* Ids are copied; "" for none. */
void control_command(struct control *c, enum gate_state to, const char *allocation_id, const char *workload_id,
	int32_t power_cap_w);
void control_exclusive(struct control *c, bool on);
/* A switch begins to lead to that state; new requests are refused unless it is SERVE. Ended by control_resume. */
void control_pause(struct control *c, enum gate_state to);
void control_resume(struct control *c);
/*
 * A request arrived: opens the gate for it at once if that is allowed. HCP_EUNAVAIL (no lease, not permitted, off, a
 * switch is at work), HCP_ELIMIT. Each 0 is followed by one control_request_end.
 */
int control_request_begin(struct control *c, struct err *err) MUST_CHECK;
/* metered: it is a customer's, not the node's own proof. */
void control_request_end(struct control *c, bool ok, int64_t tokens, bool metered);
/* The device called on_idle: call from the loop. */
void control_on_idle(struct control *c);
/* Books time, energy and hashes up to now. */
void control_book(struct control *c);
bool control_has_lease(const struct control *c);

#endif
