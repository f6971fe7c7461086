#ifndef HCP_SERVICES_RESOURCES_PRIV_H
#define HCP_SERVICES_RESOURCES_PRIV_H

#include "base/breaker.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "health/health.h"
#include "model/allocation.h"
#include "model/device.h"
#include "model/power_path.h"
#include "model/program.h"
#include "model/slice.h"
#include "model/switch.h"
#include "services/resources/resources.h"

/*
 *   facility ─▶ group (facility, class) ─▶ devices      what plans and capacity are made over
 *                                            ▲
 *   node ─────────────────────────▶ devices ─┘          what agents report and take commands for
 *   command ─▶ node, items ─▶ devices                   one SwitchCommand under way; a device is in at most one
 *   alloc ──▶ devices                                   a workload's hold; a device has at most one, …
 *   device ─▶ alloc ─▶ beside ─▶ beside                 … or several that each hold a part of it, oldest first
 *
 * Devices lie in blocks that never move, so pointers to them stay good.
 */
enum { DEVICE_BLOCK = 4096, REASON_MAX = 160, NAME_MAX_LEN = 64 };

/* Why a device is as it is; its text is what people read. Stored: append only. */
enum why {
	WHY_NONE = 0,
	WHY_NODE_LOST = 1,
	WHY_NOT_ANNOUNCED = 2,
	WHY_DEVICE_ERROR = 3,
	WHY_EMERGENCY = 4,
	WHY_POWER = 5,
	WHY_MODE_DIFFERS = 6,
	WHY_DEADLINE = 7,
	WHY_AGENT_REFUSED = 8,
	WHY_STALE = 9,
	WHY_DEGRADED = 10,
	WHY_PARTS_DIFFER = 11,
	WHY_TRIPPED = 12,
	WHY_PROGRAM_DIFFERS = 13,
	WHY_DRIFT = 16, /* + enum device_drift */
	WHY_END = WHY_DRIFT + DEVICE_DRIFT_END,
};

/* What a plan reads of every device comes first: it costs a line of the cache, or two. */
struct device {
	struct node *node;       /* borrowed, all of these */
	struct group *group;
	struct alloc *alloc;     /* who has it, or the first of those who have parts of it; NULL: nobody */
	struct ticket *ticket;   /* open, or proving that it is well; NULL: none */
	enum device_state state;
	int32_t reserve_w;
	enum device_mode held;   /* what alloc has it for */
	int32_t transit_w;       /* most watts of all modes since the last proof; in the node's row, as are … */
	struct device_control ctl; /* … this, the state and those up to requests_base */
	enum why why;
	uint32_t index;          /* in order of arrival */
	struct command *command; /* under way, or NULL */
	size_t item;             /* its place in the command */
	char *id;                /* owned, "<node>/<agent's id>"; the other two point into it */
	const char *agent_id, *name;
	int32_t memory_gib;
	uint32_t place;          /* in its node */
	bool resync;             /* must be commanded even if it seems right: the agent may run what we do not know */
	bool again;              /* its parts changed under the command under way: one more is needed after it */
	bool local;              /* switched FILL to SERVE by its node under lease */
	uint8_t fails;           /* failed switches in a row */
	uint8_t flaps;           /* errors within an hour of each other; in memory only */
	int64_t flap_ns;         /* the last such error */
	int64_t changed_at_ns;
	int64_t retry_at_ns;     /* not commanded before */
	int64_t requests_base;   /* served since boot when the command went out */
	int32_t desired_w;       /* what it shall be told to draw in its desired mode; 0: as its class says */
	/* readings, in memory only */
	enum device_mode gate;   /* what the agent's gate says */
	int32_t power_w, temperature_c;
	double hash_ths, utilisation;
	int64_t requests, read_at_ns;
	int64_t told_at_ns;      /* when its agent took the newest of them, by its own clock; 0: it did not say */
	/* what the last event said */
	bool marked;
	uint32_t said;
	const struct alloc *said_alloc;
	uint32_t parts_no, said_parts; /* grows whenever a part comes, starts or goes */
};

struct meter {
	const struct device_class *cls;
	char activity[8];
	char allocation_id[ID_TEXT_MAX];
	int64_t v[6]; /* energy_j device_ns requests tokens shares_accepted shares_rejected */
	double hashes;
};

/* What is known of a device's health: charts are stored every quarter-hour, the window is not. */
struct care {
	struct health_device health;
	struct health_window window;
};

enum ticket_state { TICKET_OPEN = 0, TICKET_PROVING = 1, TICKET_DONE = 2 }; /* stored: append only */

struct ticket {
	struct list link; /* r->tickets, oldest first */
	char id[ID_TEXT_MAX];
	struct device *device; /* borrowed */
	enum ticket_state state;
	int64_t opened_at_ns, since_ns, closed_at_ns, done_at_ns;
	int32_t times;      /* the device's tickets of the last days, with this one; each doubles its proof */
	int32_t proved_min;
	char signal[16], reason[REASON_MAX], note[REASON_MAX];
};

struct node {
	struct power *power;     /* where its devices hang; NULL: by their group's */
	bool connected;
	char id[RESOURCES_ID_MAX];
	char name[RESOURCES_ID_MAX], facility[NAME_MAX_LEN], region[NAME_MAX_LEN], version[NAME_MAX_LEN], endpoint[256];
	char boot_id[NAME_MAX_LEN], old_boot_id[NAME_MAX_LEN];
	char feed[POWER_PATH_MAX]; /* as announced */
	const char **models; /* owned, one allocation with its texts and with programs, which stand behind them */
	const char **programs;
	size_t n_models, n_programs;
	struct device **devices; /* owned array */
	size_t n_devices, cap_devices;
	struct care *cares; /* owned, by place; n_cares of them */
	size_t n_cares;
	int64_t charts_at_ns;
	uint32_t number;
	uint64_t seq, lease_number;
	int32_t told_report_ms; /* 0: not told since we started */
	uint64_t stream; /* of its last NodeHello; 0: unknown */
	int64_t seen_lived_ns, lease_lived_ns; /* when it was heard, when its lease ends, in time lived */
	int64_t seen_at_ns, lease_until_ns, metered_at_ns, energy_j;
	struct meter *meters; /* owned, n_meters of them */
	size_t n_meters, cap_meters;
	struct breaker breaker;
	struct list silent;   /* r->nodes_seen, least recently heard first, or r->nodes_lost */
	struct list work;     /* r->nodes_work: may need commands */
	struct list unsaved;  /* r->nodes_unsaved */
	struct list tells;    /* r->nodes_tell: what programs it has is told when the batch settles */
	struct list commands; /* under way */
	bool said_up;
	int said_mode;
};

struct group {
	struct facility *facility;
	struct power *power; /* where devices hang whose node does not say */
	const struct device_class *cls;
	struct device **devices; /* owned array of borrowed devices */
	size_t n, cap;
	int32_t serving, mining; /* devices that allocations have for that */
	bool has_target;
	int32_t serve, mine, idle; /* of the directive */
	int32_t mine_w;            /* what miners are told to draw; 0: as the class says */
	int32_t plan_serve, plan_mine; /* of free devices, after the budget had its say */
};

/*
 * A level of a facility's power tree: itself, a feeder, a PDU, a rack. Watts of a device are summed in every level
 * above it.
 *
 *	facility ""  ◀─up─  "north"  ◀─up─  "north/p3"  ◀──  node ──▶ devices
 */
struct power {
	struct power *up; /* borrowed; NULL: this is the facility's */
	struct facility *facility;
	char path[POWER_PATH_MAX];
	int64_t budget_w;  /* 0: none */
	int64_t inrush_w;  /* 0: no limit */
	int64_t planned_w; /* what the last plan lets it draw at most */
	int64_t reserved_w;
	int64_t promised_w;               /* scratch of one decision */
	int64_t measured_w;               /* scratch of one answer */
	int32_t devices;                  /* scratch of one answer */
	int64_t risen_w, window_lived_ns; /* ordered more since then; window 0: not since we started */
	struct trip *trip;                /* owned; it has no power, or comes back step by step; NULL: all is well */
};

struct trip {
	bool restored;
	int64_t at_ns, restored_lived_ns; /* restored_lived_ns: the steps began */
	char by[NAME_MAX_LEN], reason[REASON_MAX];
};

struct facility {
	char name[NAME_MAX_LEN], region[NAME_MAX_LEN];
	struct power power;              /* its own level */
	bool has_levels;                 /* below it */
	struct curtailment *curtailment; /* owned; in force, or restored step by step; NULL: none */
	struct hold *hold;               /* owned; what it holds for the grid (hold.c); NULL: it offers nothing */
	bool dirty; /* plan again … */
	int64_t rest_until_ns; /* … but a large facility not in every batch */
};

/* An order to draw less for a while (curtail.c). */
struct curtailment {
	char id[ID_TEXT_MAX], by[NAME_MAX_LEN], reason[REASON_MAX];
	int64_t asked_w, limit_w;    /* limit_w: the facility's reserved watts at the order, less asked_w */
	int64_t measured_w;          /* drawn when it was ordered */
	int64_t ordered_ns, until_ns, confirmed_ns; /* confirmed_ns 0: not yet */
	int64_t within_ms;
	int64_t raised_w;            /* given back so far */
	int64_t step_ns;             /* when the limit rises next; 0: it is in force */
	int32_t devices, commands;
	bool is_short;               /* customers' work and what may not be cut hold more than is left */
	/* A call of the grid (call.c); service "": none. Energy in watt-milliseconds at the plugs. */
	char service[SITE_NAME_MAX];
	int64_t looked_ns, dropped_wms, due_wms, missed_wms;
};

struct item {
	struct device *device; /* NULL: taken over by a later command */
	enum device_mode to, from;
	int32_t target_w, from_w; /* watts; 0: as the class says. from_w is not stored: a restart takes it for 0 */
	bool proved;
};

struct command {
	struct list link;    /* r->commands, oldest first */
	struct list of_node; /* node->commands */
	struct list unsaved; /* r->commands_unsaved */
	char id[ID_TEXT_MAX], decision_id[ID_TEXT_MAX];
	struct node *node;
	struct alloc *alloc; /* the allocation that waits for it, or NULL */
	int64_t decided_at_ns, issued_at_ns, sent_at_ns, deadline_ns, signal_at_ns, reported_at_ns, proved_at_ns;
	struct buf report;   /* packed SwitchReport without readings; empty before it */
	struct item *items;  /* owned */
	size_t n, unproved;
	int sends; /* up to RESOURCES_RESEND_DOUBLINGS */
	bool needs_report;   /* readings alone cannot tell that the agent took it: it changes whose work it is */
};

/* What an allocation's device runs. */
struct alloc_program {
	char name[PROGRAM_NAME_MAX];
	bool done;           /* it has said so: that it is gone is no drift */
	int64_t deadline_ns; /* of the workload; 0: none */
};

/*
 * The program of an allocation that is over may live still: until readings that answer a later order show that it is
 * gone, or its node's lease has run out, the workload starts nowhere else, and what it saves last is taken.
 */
struct ghost {
	struct list link;      /* r->ghosts */
	struct device *device; /* borrowed */
	char allocation_id[ID_TEXT_MAX], workload_id[ID_TEXT_MAX];
};

struct alloc {
	struct list link; /* r->allocs */
	struct list waits; /* r->waiting: reserved, but there was no power to start it */
	char id[ID_TEXT_MAX], workload_id[ID_TEXT_MAX], customer_id[NAME_MAX_LEN], model[NAME_MAX_LEN];
	enum allocation_state state;
	bool stored;          /* has its row */
	Hcp__WorkloadType type;
	struct device **devices; /* owned array */
	size_t n;
	struct alloc_program *program; /* owned; NULL: it runs none */
	bool begun;                    /* its nodes were told */
	struct slice part;    /* of the one device; milli 0: whole devices */
	struct alloc *beside; /* the next that has a part of this device */
	int64_t price_micros_h, at_ns, expires_ns;
	size_t commands; /* not finished */
	char switch_id[ID_TEXT_MAX];
	char preempted_by[ID_TEXT_MAX]; /* the workload that it is being released for, or "" */
	const struct power *short_of;   /* the level whose watts it waits for; NULL: none */
};

struct resources {
	struct svc *svc;
	struct resources_conf conf;
	struct map nodes, devices, groups, facilities, levels, alloc_by_id, command_by_id;
	struct node **node; /* owned, in order of arrival; grown by doubling */
	size_t n_nodes, cap_nodes, nodes_connected;
	struct device **block; /* owned blocks of DEVICE_BLOCK */
	size_t n_devices, n_blocks, cap_blocks;
	struct group **group;
	size_t n_groups, cap_groups;
	struct facility **facility;
	size_t n_facilities, cap_facilities;
	struct power **level; /* owned; those below facilities, in order of arrival */
	size_t n_levels, cap_levels, n_trips;
	struct list nodes_seen, nodes_lost, nodes_work, nodes_unsaved, nodes_tell;
	struct list commands, commands_unsaved, allocs, waiting, tickets;
	struct list ghosts;    /* owned */
	struct health *health; /* owned */
	int64_t norms_at_ns;
	bool learning;        /* a model is being trained */
	struct device **changed; /* marked since the last flush */
	size_t n_changed, cap_changed;
	/* directive */
	struct buf directive; /* packed, in force */
	char decision_id[ID_TEXT_MAX];
	int64_t decided_at_ns, signal_at_ns;
	bool directed;        /* it came in this batch: what is commanded now is its doing, later things are not */
	bool emergency;
	bool capacity_dirty;
	bool poke;            /* something may be commanded: this batch does it when it settles */
	int64_t commands_due_ns; /* not before then has time anything to say about commands under way */
	int64_t hold_due_ns;     /* when what is held for the grid is looked at next */
	int64_t started_at_ns; /* first timer since the state was loaded */
	int64_t lived_ns, lived_at_ns; /* time that we were there to see, see live() */
	int64_t capacity_at_ns, pruned_at_ns, next_switch_no;
	struct device_tolerance tolerance;
};

/* ---- inventory.c: structures, what may change in a device, and how that is told and stored ---- */
int vec_room(void **items, size_t n, size_t *cap, size_t size) MUST_CHECK;
Hcp__Mode wire_mode(enum device_mode m);
/* HCP_EINVAL for a number that is no mode. */
int mode_of_wire(Hcp__Mode m, enum device_mode *ret) MUST_CHECK;
const char *why_text(enum why w);
struct device *resources_device_at(const struct resources *r, size_t i);
struct node *node_find(const struct resources *r, const char *id);
struct device *device_find(const struct resources *r, const char *node_id, const char *agent_id);
int facility_get(struct resources *r, const char *name, const char *region, struct facility **ret) MUST_CHECK;
int group_get(struct resources *r, struct facility *f, const struct device_class *cls, struct group **ret) MUST_CHECK;
struct node *node_new(const char *id);
void node_free(struct node *n);
int node_add(struct resources *r, struct node *n) MUST_CHECK;
int resources_device_add(struct resources *r, struct node *n, const Hcp__AgentDevice *a,
			 struct device **ret) MUST_CHECK;
/* Has changed: tell and store it at the next flush. Never fails (the array has room for every device). */
void device_mark(struct resources *r, struct device *d);
/* Recomputes what the facility must keep free for it. */
void device_reserve(struct device *d);
/* Proved to be in its commanded mode, and nothing else is on the way to it. */
void device_settled(struct resources *r, struct device *d);
/* A node may leave FILL for SERVE by itself under its lease; the budget must have room for that. */
static inline int32_t class_mode_w(const struct device_class *c, enum device_mode m)
{
	const double *w = c->power_w;
	return (int32_t)(m == DEVICE_FILL && w[DEVICE_SERVE] > w[DEVICE_FILL] ? w[DEVICE_SERVE] : w[m]);
}
static inline int32_t device_mode_w(const struct device *d, enum device_mode m)
{
	return class_mode_w(d->group->cls, m);
}
/* The same of a miner that is told its watts; 0: it is not. */
int32_t device_order_w(const struct device *d, enum device_mode m, int32_t target_w);
bool device_free(const struct device *d);
int device_event(struct resources *r, struct device *d, enum device_event e, enum why why, int64_t now_ns,
		 struct err *err) MUST_CHECK;
/* target_w: watts that it shall be told in this mode; 0: as its class says. */
void device_set_desired(struct resources *r, struct device *d, enum device_mode m, int32_t target_w);
/* It was told what we want of it. */
bool device_is_told(const struct device *d);
void node_want_work(struct resources *r, struct node *n);
/* Parts are allocated in the arena. */
int device_fill(struct arena *arena, const struct device *d, Hcp__Device *out) MUST_CHECK;
/* Ends a batch: rows of changed nodes, DevicesChanged, EndpointChanged, and a wake-up for what remains. */
int inventory_flush(struct resources *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int node_say_endpoint(struct resources *r, struct svc_ctx *ctx, struct node *n, struct err *err) MUST_CHECK;

/* What was said before a restart is known to the world: nothing is said again. */
void inventory_all_said(struct resources *r);

/* ---- load.c ---- */
int load_all(struct resources *r, struct db *db, struct err *err) MUST_CHECK;
int node_set_info(struct node *n, const Hcp__NodeHello *h) MUST_CHECK;
int node_save_hello(struct resources *r, struct svc_ctx *ctx, struct node *n, struct err *err) MUST_CHECK;
int node_save(struct resources *r, struct svc_ctx *ctx, struct node *n, struct err *err) MUST_CHECK;

/* ---- agent.c ---- */
int on_hello(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_report(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_switch_report(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_local_switch(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_model_command(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_gone(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int agents_timer(struct resources *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
/* When it next has something to do: a node falls silent, or a lost one's devices have fallen to SAFE. */
int64_t agents_due(const struct resources *r);

/* ---- meter.c ---- */
/* *ret_back: the report is well formed, but some counter is behind what this boot has told before. */
int meters_check(
	struct svc_ctx *ctx, const struct node *n, const Hcp__NodeReport *rep, bool *ret_back, struct err *err) MUST_CHECK;
/* Publishes the differences and keeps the new counters (memory; report_save stores them). */
int meters_take(struct resources *r, struct svc_ctx *ctx, struct node *n, const Hcp__NodeReport *rep, struct err *err)
	MUST_CHECK;
/* One row a node: sequence, lease and counters. */
int report_save(struct resources *r, struct svc_ctx *ctx, struct node *n, struct err *err) MUST_CHECK;
int meters_load(struct node *n, struct str packed) MUST_CHECK;

/* ---- plan.c ---- */
int on_directive(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int plan_load_directive(struct resources *r) MUST_CHECK;
void plan_find_target(struct resources *r, struct group *g);
/* A plan costs all devices of the facility: wanted, it is made when the batch settles, or a while after the last one.
 */
void plan_want(struct resources *r, struct facility *f);
/* The same, however soon after the last one. */
void plan_want_now(struct resources *r, struct facility *f);
int plan_dirty(struct resources *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
/* Commands for every node that may need some, as far as breakers and budgets allow. */
int reconcile(struct resources *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;

/* ---- power.c: the power tree; every call is O(depth) unless it says otherwise ---- */
/* The level of that path, made if the settings know it. HCP_ENOTFOUND with what there is, HCP_ELIMIT, HCP_ENOMEM. */
int power_get(
	struct resources *r, struct facility *f, const char *path, struct power **ret, struct err *err) MUST_CHECK;
/* A facility's own level, and those below it that have one name each. */
int power_open(struct resources *r, struct facility *f) MUST_CHECK;
/* Where devices of that class hang by the settings; the facility's own level if they do not say. */
int power_of_class(
	struct resources *r, struct facility *f, const struct device_class *cls, struct power **ret) MUST_CHECK;
/*
 * Where the node hangs: what it announces, or the settings' rule for its id; "": by the class of each device. Changes
 * nothing. HCP_ENOTFOUND, HCP_ECONFLICT (another place by the rule), HCP_EINVAL; field "feed".
 */
int power_place(const struct resources *r, const char *facility, const char *node_id, const char *feed,
	char ret_path[POWER_PATH_MAX], struct err *err) MUST_CHECK;
/* As power_place, and makes the level. *ret NULL: by the class of each device. */
int power_of_node(struct resources *r, struct facility *f, const char *node_id, const char *feed, struct power **ret,
	struct err *err) MUST_CHECK;
/* It must say itself where it hangs, for its class hangs in several places. */
bool power_must_say(const struct resources *r, const char *facility, const struct device_class *cls);
static inline struct power *device_power(const struct device *d)
{
	return d->node->power ? d->node->power : d->group->power;
}
/* Takes the node's devices, and their watts, to another level. O(devices of the node). */
void power_move(struct node *n, struct power *to);
/* So many watts more, or fewer, are reserved at the level and above. */
void power_reserve(struct power *p, int64_t more_w);
/* Watts that may be drawn there now: its budget, less while it is curtailed or has tripped; INT64_MAX: no limit. */
int64_t power_cap_w(const struct power *p);
/* Some level from here up has no power. */
bool power_is_off(const struct power *p);
void power_promise_none(struct power *p);
/* The lowest level, from here up, where so much more would be above what may be drawn or ordered now; NULL: none.
 * Promises count. Then the watts are promised. */
struct power *power_promise(struct resources *r, struct power *p, int64_t more_w);
/* A level below the facility that can never give so many devices at once their watts in that mode; NULL: none. O(n). */
const struct power *power_too_small(struct device *const *d, size_t n, enum device_mode m);
/* So much more has been ordered: it counts against the limits of inrush. */
void power_rises(struct resources *r, struct power *p, int64_t more_w);
/* Has a limit: those that wait may care when watts come free. */
bool power_is_limited(const struct power *p);

/* ---- trip.c: levels without power ---- */
int trips_load(struct resources *r, struct db *db, struct err *err) MUST_CHECK;
int trips_timer(struct resources *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
/* Back in the pool; where it hangs has no power: out of it for that reason instead. */
int device_return(struct resources *r, struct device *d, int64_t now_ns, struct err *err) MUST_CHECK;
/* Its node has announced itself, perhaps elsewhere than before: out of the pool, or back, as its feeder is. */
int device_feed(struct resources *r, struct svc_ctx *ctx, struct device *d, struct err *err) MUST_CHECK;
int on_power(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_power_trip(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_power_restore(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

/* ---- curtail.c ---- */
/* Watts that an order to curtail leaves the facility; INT64_MAX: none is in force. */
int64_t curtail_cap_w(const struct facility *f);
int curtail_load(struct resources *r, struct db *db, struct err *err) MUST_CHECK;
struct curtail_order {
	int64_t asked_w, within_ms, duration_s;
	const char *reason;  /* borrowed, checked */
	const char *service; /* borrowed; "": no call of the grid */
};
/* What a facility that is told, or the only one, may be told; HCP_ENOTFOUND, HCP_EEXIST. */
int curtail_facility(const struct resources *r, const char *name, struct facility **ret, struct err *err) MUST_CHECK;
/* Orders it and answers. */
int curtail_order(struct resources *r, struct svc_ctx *ctx, struct facility *f, const struct curtail_order *q,
	const struct msg *m, struct err *err) MUST_CHECK;
int64_t curtail_measured_w(const struct resources *r, const struct facility *f);
/* Steps, ends and confirms orders; cheap. */
int curtail_tend(struct resources *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int64_t curtail_due(const struct resources *r);
int on_curtail(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_curtail_restore(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
/* ---- call.c ---- */
int on_ancillary_call(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
/* What has been dropped and what was missing since the last look at a call that is in force. */
void call_look(const struct resources *r, const struct facility *f, int64_t now_ns);
/* Watts at the plugs that a call of the grid has made go; 0: none is in force. */
int64_t call_dropped_w(const struct resources *r, const struct facility *f);
/* MWh at the meter of a watt-millisecond at the plugs. */
double call_mwh(const struct resources *r, const char *facility);
/* It is over: looked at once more, and told. */
int call_over(const struct resources *r, struct svc_ctx *ctx, const struct facility *f, struct err *err) MUST_CHECK;
int on_curtailments(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

/* ---- hold.c ---- */
int hold_load(struct resources *r, struct db *db, struct err *err) MUST_CHECK;
/* Counts what is held for the grid, and tells it by the hour; does nothing before hold_due_ns. */
int hold_tend(struct resources *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
/* Of one facility, now. */
int hold_look(struct resources *r, struct svc_ctx *ctx, struct facility *f, struct err *err) MUST_CHECK;

/* ---- command.c ---- */
/* items are copied. from is filled in. */
int command_issue(struct resources *r, struct svc_ctx *ctx, struct node *n, struct alloc *a, const struct item *items,
		  size_t n_items, struct err *err) MUST_CHECK;
int command_load(struct resources *r, struct db_row *row) MUST_CHECK;
void command_free(struct command *c);
/* A later wish takes the device out of the command under way; stored at the next flush, once for all its devices. */
int command_drop_device(struct resources *r, struct svc_ctx *ctx, struct device *d, struct err *err) MUST_CHECK;
/* Its stream has begun anew: what it was told may have gone with the one before. */
void commands_send_again(struct resources *r, struct svc_ctx *ctx, struct node *n);
int commands_cancel_alloc(
	struct resources *r, struct svc_ctx *ctx, struct alloc *a, const char *why, struct err *err) MUST_CHECK;
int commands_cancel_node(
	struct resources *r, struct svc_ctx *ctx, struct node *n, const char *why, struct err *err) MUST_CHECK;
int command_take_report(struct resources *r, struct svc_ctx *ctx, struct command *c, const Hcp__SwitchReport *rep,
			struct err *err) MUST_CHECK;
/* The device was proved to be in its commanded mode. */
void command_proved(struct device *d);
int commands_flush(struct resources *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
/* Ends those commands of a node that were proved. */
int commands_of_node(struct resources *r, struct svc_ctx *ctx, struct node *n, struct err *err) MUST_CHECK;
int commands_timer(struct resources *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;

/* ---- allocation.c ---- */
int on_place(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_release(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int alloc_load(struct resources *r, struct str id, struct str model, int64_t expires_ns, struct str packed,
	enum allocation_state state, struct str program) MUST_CHECK;
void alloc_free(struct alloc *a);
enum device_mode alloc_mode(const struct alloc *a);
bool device_is_shared(const struct device *d);
/* Is it in the command of its device: was it started? Those that wait for their turn are not. */
bool alloc_is_told(const struct alloc *a);
/* A part as others read it; texts are borrowed. */
void alloc_share(const struct alloc *a, Hcp__DeviceShare *out);
/* Ends all that hold the device or parts of it. */
int device_end_allocs(
	struct resources *r, struct svc_ctx *ctx, struct device *d, const char *reason, struct err *err) MUST_CHECK;
/* One of its commands ended well; HELD after the last. */
int alloc_switched(struct resources *r, struct svc_ctx *ctx, struct alloc *a, const char *switch_id, struct err *err)
	MUST_CHECK;
/* Ends it: REFUSED if it never was held, else RELEASED. Frees it. */
int alloc_end(struct resources *r, struct svc_ctx *ctx, struct alloc *a, enum allocation_event e, const char *reason,
	      struct err *err) MUST_CHECK;
int allocs_end_all(struct resources *r, struct svc_ctx *ctx, struct node *n, const char *reason, struct err *err)
	MUST_CHECK;
/* Those that wait for power: begun, or refused when their time is over. */
int allocs_start(struct resources *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
/* Customer of an allocation that has a device on this node; "" if there is none such. */
int alloc_customer(struct resources *r, struct svc_ctx *ctx, const struct node *n, const char *allocation_id,
		   const char **ret, struct err *err) MUST_CHECK;

/* ---- program.c: batch and training programs ---- */
int on_program_report(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
bool node_has_program(const struct node *n, const char *name);
/* Those that it announces are those that it had. */
bool node_has_programs_of(const struct node *n, const Hcp__NodeHello *h);
/* If its programs are yet to be told, once a node and not once a device, this event does. */
int node_tell_programs(struct arena *a, struct node *n, Hcp__DevicesChanged *ev) MUST_CHECK;
/* Tells of the others that have announced themselves anew, or other programs. */
int programs_flush(struct resources *r, struct svc_ctx *ctx) MUST_CHECK;
/* What the device shall run, with the newest checkpoint of its workload; *ret NULL: no program. */
int program_order(struct svc_ctx *ctx, const struct device *d, Hcp__ProgramOrder **ret) MUST_CHECK;
/* The device itself shows another program than it shall have. Not asked while it is yet to be told. */
bool program_differs(const struct device *d, const Hcp__DeviceReading *x);
/* What a placement knows of the workload's newest checkpoint. */
int program_take_place(struct svc_ctx *ctx, const Hcp__Workload *w, struct err *err) MUST_CHECK;
/* Its allocation is over. */
int ghost_add(struct resources *r, struct svc_ctx *ctx, const struct alloc *a, struct err *err) MUST_CHECK;
/* Its workload's program may still live somewhere else; where it shall run the agent ends the one before the other. */
bool ghost_haunts(const struct resources *r, const struct alloc *a);
/* The device may still have to save something for one that is over. */
bool device_has_ghost(const struct resources *r, const struct device *d);
/* The device was proved to do what it was told last, or can do nothing any more. */
int ghosts_lay(struct resources *r, struct svc_ctx *ctx, const struct device *d, struct err *err) MUST_CHECK;
int ghost_load(struct resources *r, struct str allocation_id, struct str workload_id, struct str device_id) MUST_CHECK;
void ghost_free(struct ghost *g);

/* ---- care.c: sick devices ---- */
/* One device of a report: may open a ticket, and moves a device that has one. */
int care_reading(struct resources *r, struct svc_ctx *ctx, struct device *d, const Hcp__DeviceReading *x,
		 double inlet_k, int64_t at_ns, struct err *err) MUST_CHECK;
/* After the readings of a report: stores charts that are due. */
int care_node(struct resources *r, struct svc_ctx *ctx, struct node *n, struct err *err) MUST_CHECK;
int care_timer(struct resources *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int care_load_charts(struct resources *r, int64_t number, struct str v) MUST_CHECK;
int care_load_norms(struct resources *r, struct str class_name, struct str v) MUST_CHECK;
int care_load_ticket(struct resources *r, struct str id, int64_t state, struct str body) MUST_CHECK;
/* Before a plan: devices that prove themselves rest while the facility may not draw. */
void care_rest(struct resources *r, const struct facility *f);
void ticket_free(struct ticket *t);
void ticket_fill(const struct ticket *t, Hcp__Ticket *out);
/* The device said an error; how long it then stays out although the error has gone. */
void care_failed(struct device *d, int64_t now_ns);
bool care_may_return(const struct device *d, int64_t now_ns);
int on_tickets(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_ticket_close(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

/* ---- query.c ---- */
/* The answer is read by other threads while our state goes on changing, so it shares nothing with it. */
int reply_copy(struct svc_ctx *ctx, unsigned type, const ProtobufCMessage *built) MUST_CHECK;
int on_resources_list(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_resource_get(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_availability(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_fleet(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_nodes(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int on_switches(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int capacity_of(const struct resources *r, const struct group *g, struct arena *a, Hcp__ClassCapacity **ret) MUST_CHECK;
int64_t capacity_due_ns(const struct resources *r);
int capacity_publish(struct resources *r, struct svc_ctx *ctx, struct err *err) MUST_CHECK;

#endif
