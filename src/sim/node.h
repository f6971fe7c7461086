#ifndef HCP_SIM_NODE_H
#define HCP_SIM_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/id.h"
#include "hcp.pb-c.h"
#include "model/program.h"
#include "model/slice.h"
#include "sim/fleet.h"
#include "sim/inlet.h"

/*
 * A simulated node: the agent's side of the agent protocol over devices of one class. Time and AgentDown messages go
 * in, AgentUp messages come out. Pure: no sockets, no clock; all from the seed and what is handed in.
 *
 *	node_connected ──▶ Hello until Welcome       node_step: physics, then what is due:
 *	Lease ──▶ may leave SAFE until its ttl         report every report_ms (readings, cumulative meters)
 *	SwitchCommand ──▶ orders to devices            a switch whose devices are all proved (watts, hash rate, a served
 *	no lease ──▶ every device SAFE                 request) or whose deadline passed: SwitchReport
 *
 * A command is known by its switch_id: one under way is not started again, of one that is done the report is sent
 * again; what a newer command has overtaken is passed over. A later command takes over devices of an earlier one, which
 * then fails. Whoever fails goes back to the mode it had; if it was for an allocation, all devices of the command do. A
 * GPU may have parts (model/slice): a command names all that it shall have, and what does not fit is refused; a failed
 * one leaves those that were there before and are still wanted. Under a lease with a power budget a command that would
 * pass it (sum of the catalogue's watts) is refused as a whole. A node does not switch by itself besides SAFE.
 * Programs (node_program.c) save themselves before a device goes to other work, and end with the lease.
 */
enum {
	NODE_DEVICES_MAX = 4096,
	NODE_TEXT_MAX = 64,
	NODE_ACTIVE_MAX = 64,    /* commands under way */
	NODE_DONE_MAX = 16,      /* finished ones remembered */
	NODE_ALLOCS_MAX = 256,   /* allocations metered at once, with those that just ended */
	NODE_SAMPLES_EVERY = 5,  /* reports; then the readings go to telemetry too */
	NODE_LINGER_LEASES = 30, /* an ended allocation's meters are reported until so many leases came after */
	NODE_REBOOT_KEYS = 2048, /* meters since boot_id; then a new boot_id */
	NODE_REPORT_MS = 2000,   /* until the platform says otherwise */
	NODE_REPORT_MIN_MS = 100,
	NODE_REPORT_MAX_MS = 60000,
	NODE_LEASE_MAX_MS = 3600000,
	NODE_HELLO_MS = 1000, /* until Hello is repeated when no Welcome came; doubling up to … */
	NODE_HELLO_MAX_MS = 30000,
	NODE_STEP_MS = 1000,  /* longest step of the physics */
	NODE_STEPS_MAX = 900, /* of one node_step; beyond, steps get longer */
	NODE_PROGRAM_STEP_MS = 1000,
	NODE_PROGRAM_SAVE = 10, /* steps between two checkpoints */
	NODE_VERIFY_MS = 100,   /* between two looks at devices that should be ready */
};

enum node_activity { NODE_SERVE, NODE_FILL, NODE_OFF, NODE_ACTIVITIES };

struct node_meter {
	int64_t energy_j, energy_rest; /* rest: mW ns, below 1e12 */
	int64_t device_ns, requests, tokens, shares_accepted, shares_rejected;
	double hashes, share_due;
	bool used;
};

/* Slot 0 is work for nobody. */
struct node_alloc {
	char id[ID_TEXT_MAX];   /* "": slot 0 or free */
	uint32_t devices;
	uint32_t leases;        /* since its last device left */
	struct node_meter meter[NODE_ACTIVITIES];
};

/* Of a device that several share. Time is metered as thousandths of the device's. */
struct node_part {
	struct slice slice;
	uint16_t alloc;
	uint16_t ns_rest; /* thousandths of a nanosecond */
};

/* What a device runs for an allocation, or ran last (docs/checkpoints.md). */
struct node_program {
	char allocation_id[ID_TEXT_MAX], workload_id[ID_TEXT_MAX];
	Hcp__ProgramState state;
	int64_t step, of, saved, restored; /* saved: by this run, 0: nothing yet; restored: it began there */
	int64_t next_ns, stop_ns;          /* stop_ns: told to, it has saved itself by then; 0: not told */
	uint64_t started;                  /* counts the node's */
	bool say;                          /* a report is due */
};

struct node_device {
	struct fleet_device d;
	int64_t requests_base;  /* when the last order went out */
	struct node_switch *under; /* borrowed: command under way, or NULL */
	uint64_t order;            /* number of the newest command for it on this stream; 0: none */
	struct node_program *program; /* owned; NULL: none yet */
	struct node_part *parts;   /* owned, in the order in which they came; NULL: none */
	uint16_t n_parts;
	uint16_t alloc;   /* of the whole device; 0 while it has parts */
	uint16_t ns_rest; /* of what nobody holds beside the parts */
};

struct node_conf {
	const char *id, *name, *facility, *region; /* copied */
	const char *feed;                          /* copied: where it hangs in the power tree; NULL: does not say */
	const char *program;                       /* that it allows, copied; NULL: none */
	const struct device_class *cls;
	size_t n_devices;
	uint64_t seed;
	int64_t start_ns;
	uint32_t phase_ms;      /* reports are moved by so much, so that nodes take turns */
	struct fleet_rules rules;
	struct arena *scratch;  /* borrowed: for messages while they are made, for all nodes of a thread; NULL: its own */
};

struct node {
	char id[NODE_TEXT_MAX], name[NODE_TEXT_MAX], facility[NODE_TEXT_MAX], region[NODE_TEXT_MAX];
	char feed[NODE_TEXT_MAX], boot_id[ID_TEXT_MAX];
	char program[PROGRAM_NAME_MAX]; /* "": none is allowed */
	uint64_t programs_started;
	const struct device_class *cls;
	struct fleet_rules rules;
	struct inlet inlet;
	struct rng rng;
	struct node_device *devices; /* owned */
	size_t n_devices;
	struct node_alloc *allocs;   /* owned; grows up to NODE_ALLOCS_MAX */
	size_t n_allocs;
	size_t keys;                 /* meters used since boot */
	struct node_switch *active[NODE_ACTIVE_MAX]; /* owned, oldest first */
	size_t n_active;
	struct node_switch *done[NODE_DONE_MAX];     /* owned, oldest first */
	size_t n_done;
	struct arena *scratch;       /* borrowed, or NULL: arena */
	struct arena arena;          /* of the message being made */
	int64_t now_ns, lease_until_ns, next_report_ns, power_budget_w;
	int64_t hello_ns; /* when Hello is due; INT64_MAX once it was welcomed */
	uint32_t report_ms, phase_ms, hello_wait_ms;
	uint64_t seq, lease_number;
	bool connected, leased, welcomed;              /* welcomed: in this boot; without it nothing is reported */
	uint64_t switches_ok, switches_failed, lapses; /* for people */
};

typedef void node_emit_fn(void *arg, const Hcp__AgentUp *up);

/* HCP_EINVAL, HCP_ENOMEM. */
int node_init(struct node *n, const struct node_conf *conf, struct err *err) MUST_CHECK;
void node_release(struct node *n);
/* The stream is open: the next step starts with Hello, which is repeated until Welcome comes. */
void node_connected(struct node *n, int64_t now_ns);
void node_lost(struct node *n);
/* Takes one message; what it causes comes out of the next node_step. HCP_EPROTO: it makes no sense. HCP_ENOMEM. */
int node_down(struct node *n, const Hcp__AgentDown *down, int64_t now_ns, struct err *err) MUST_CHECK;
/* Lets time pass up to now and emits what is due. up is borrowed until return of emit. */
void node_step(struct node *n, int64_t now_ns, node_emit_fn *emit, void *arg);
/* When node_step should be called next at the latest. */
int64_t node_due_ns(const struct node *n);
/* "gpu3", "asic017": stable. dst: at least 16 bytes. */
char *node_device_id(const struct node *n, size_t i, char *dst);
int64_t node_power_w(const struct node *n);

#endif
