#ifndef HCP_AGENT_SWITCHER_H
#define HCP_AGENT_SWITCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/meter.h"
#include "agent/program.h"
#include "base/err.h"
#include "device/gate.h"

struct control;
struct cpu_device;
struct slot;
struct loop;
struct switcher;

/*
 * Carries out switch commands, one after the other:
 *
 *   validate ─▶ pause ─▶ save ─▶ switch ─▶ activate ─▶ verify ─▶ commit
 *      │          └────────┴─── deadline, lease end, no proof ──┴─▶ back to the former mode
 *      └─ refused: nothing was changed
 *
 *   pause     fillers are out, or the requests that run are answered
 *   save      the program that ran has ended; it could save itself
 *   activate  SERVE: the runtime is awake; FILL: the gate is open; OFF: the runtime goes to sleep
 *   verify    SERVE: an embedding, really served through the node's own endpoint, or the first line of progress of
 *             the program that was ordered; FILL: hashes were made;
 *             OFF: nobody works. An acknowledgement is none.
 *
 * The same switch_id again gives the same result again, without a second switch. One thread.
 */
enum {
	SWITCHER_QUEUE = 16,       /* commands that wait */
	SWITCHER_RESULTS = 64,     /* remembered for repeated commands */
	SWITCHER_ID_MAX = 64,
	SWITCHER_DEFAULT_MS = 30000, /* where a command has no deadline */
	SWITCHER_HASH_MS = 3000,   /* for the first hashes */
	SWITCHER_QUIET_MS = 2,     /* for fillers to leave: they need microseconds if they have a processor */
	SWITCHER_POLL_MS = 1,
	SWITCHER_RETRY_MS = 20,    /* between two requests for proof */
};

struct switcher_order {
	char id[SWITCHER_ID_MAX];
	enum gate_state to;        /* SERVE, FILL or OFF */
	char allocation_id[METER_ALLOCATION_MAX], workload_id[METER_ALLOCATION_MAX];
	char model[128];           /* "" any */
	struct program_order program; /* name "": none */
	int32_t power_cap_w;
	int64_t left_ms;           /* to the deadline; 0 or less: passed */
};

enum switcher_phase { PHASE_VALIDATE, PHASE_PAUSE, PHASE_SAVE, PHASE_SWITCH, PHASE_ACTIVATE, PHASE_VERIFY, PHASE_COMMIT,
	PHASE_END };

struct switcher_result {
	char id[SWITCHER_ID_MAX];
	enum gate_state to;
	bool ok, rolled_back;
	char error[160];
	int64_t phase_ns[PHASE_END]; /* 0: not reached */
	const char *evidence;        /* "watts", "hash_rate", "served_request", "program" or "" */
	int64_t served_at_ns;      /* wall clock; 0 */
};

struct switcher_conf {
	struct loop *loop;
	struct control *control;   /* borrowed, as all here */
	struct cpu_device *device;
	struct slot *slot;         /* NULL: cannot serve */
	struct program *program;   /* NULL: no program is allowed */
	const char *model;
	bool can_fill;             /* a pool is configured */
	const char *url;           /* of the node's own POST /v1/embeddings */
	const char *proof;         /* see ENDPOINT_PROOF_HEADER */
	/* Also for repeated commands. From inside switcher_order or later. */
	void (*on_result)(void *arg, const struct switcher_result *r);
	void *arg;
};

int switcher_new(const struct switcher_conf *conf, struct switcher **ret, struct err *err) MUST_CHECK;
/* What is under way is left as it is. NULL is fine. */
void switcher_free(struct switcher *s);
/* Every order ends in on_result, refused ones too; a repeated one that is under way in one on_result. */
void switcher_order(struct switcher *s, const struct switcher_order *o);
/* Something changed: the gate is quiet, requests are drained, the runtime's state, the program's. */
void switcher_poke(struct switcher *s);
/* Whether a command is under way: its own result will tell what failed. */
bool switcher_is_busy(const struct switcher *s);
const char *switcher_phase_name(enum switcher_phase p);

#endif
