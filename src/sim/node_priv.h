#ifndef HCP_SIM_NODE_PRIV_H
#define HCP_SIM_NODE_PRIV_H

#include "sim/node.h"

/* node.c: life, time, messages out. node_switch.c: commands. node_meter.c: what flowed, for whom. */

struct node_item {
	uint16_t device;
	uint16_t alloc;
	uint8_t to, from;      /* enum device_mode */
	bool proved, failed;
	bool unknown;          /* there is no such device; `device` says nothing */
	uint16_t n_parts;
	struct node_part *parts; /* owned: all that it shall have */
	struct node_program *program; /* owned: what it shall run; NULL: none, or it runs already */
	bool runs;                    /* that was started */
	uint64_t kept;           /* bit i: parts[i] was there before */
	int32_t target_w, target_before_w; /* watts; 0: as the class says */
};

struct node_switch {
	char id[ID_TEXT_MAX * 2];
	int64_t begun_ns, reached_ns, ended_ns, deadline_ns, look_ns, served_at_ns;
	const char *error;     /* static; "" */
	const char *evidence;  /* static */
	bool ok, rolled_back, say; /* say: its report is due */
	size_t n;
	struct node_item *items; /* owned */
};

/* Of the message being made, which clears it first. */
static inline struct arena *node_arena(struct node *n)
{
	return n->scratch ? n->scratch : &n->arena;
}

Hcp__Mode node_wire_mode(enum device_mode m);
int node_find_device(const struct node *n, const char *id, size_t *ret) MUST_CHECK;
Hcp__DeviceReading *node_reading(struct node *n, size_t i) __attribute__((warn_unused_result));

/* ---- node_switch.c ---- */
int node_switch_command(struct node *n, const Hcp__SwitchCommand *c, struct err *err) MUST_CHECK;
/* Looks at the commands under way; ends those that are proved or late. */
void node_switch_step(struct node *n);
/* The earliest moment at which one of them wants to be looked at. */
int64_t node_switch_due_ns(const struct node *n);
/* All of them fail without roll-back; finished ones are forgotten. */
void node_switch_drop_all(struct node *n, const char *error);
void node_switch_emit(struct node *n, node_emit_fn *emit, void *arg);
void node_switch_release(struct node *n);

/* ---- node_parts.c ---- */
/* The parts of a command's item, but for their slots; row->n_shares of them. HCP_EINVAL, …: they cannot be. */
int node_parts_read(
	const struct node *n, const Hcp__SwitchItem *row, struct node_part *ret, struct err *err) MUST_CHECK;
/* These and none else. HCP_ENOMEM: some are missing. */
int node_parts_set(
	struct node *n, struct node_device *d, const struct node_part *parts, size_t n_parts, struct err *err) MUST_CHECK;
/* Takes away all others. */
void node_parts_keep(struct node *n, struct node_device *d, const struct node_part *parts, size_t n_parts);
bool node_parts_has(const struct node_device *d, const struct node_part *part);
int node_parts_show(struct node *n, const struct node_device *d, Hcp__DeviceReading *r) MUST_CHECK;
/* ret: a number for each part and one for what nobody holds; they add up. */
void node_parts_divide(const struct node_device *d, int64_t energy, int64_t *ret);
uint32_t node_parts_free_milli(const struct node_device *d);

/* ---- node_program.c ---- */
/* *ret is left alone where no program is ordered. HCP_EINVAL, HCP_ECORRUPT: the checkpoint; HCP_ENOMEM. */
int node_program_read(const Hcp__SwitchItem *row, struct node_program **ret) MUST_CHECK;
/* The item begins: what must leave saves itself. */
void node_program_order(struct node *n, struct node_device *d, const struct node_item *it);
bool node_program_proved(struct node *n, struct node_device *d, struct node_item *it);
bool node_program_alive(const struct node_device *d);
/* At once, without saving. */
void node_program_kill(struct node_device *d);
void node_programs_pass(struct node *n);
/* all: also those of which nothing is new. */
void node_programs_emit(struct node *n, bool all, node_emit_fn *emit, void *arg);
int64_t node_programs_due_ns(const struct node *n);

/* ---- node_meter.c ---- */
/* Slot of this allocation, made if needed; 0 for "". HCP_ELIMIT, HCP_ENOMEM. */
int node_alloc_slot(struct node *n, const char *id, uint16_t *ret) MUST_CHECK;
void node_alloc_move(struct node *n, struct node_device *d, uint16_t slot);
/* One device less, or a part of one, that works for it. */
void node_alloc_left(struct node *n, uint16_t slot);
void node_meter_add(struct node *n, struct node_device *d, const struct fleet_flow *flow, int64_t dt_ns);
void node_meter_lease(struct node *n);
void node_meter_clear(struct node *n);
int node_meter_report(struct node *n, Hcp__NodeReport *r) MUST_CHECK;

#endif
