#ifndef HCP_MODEL_SWITCH_H
#define HCP_MODEL_SWITCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 *   validate -> pause -> save -> switch -> activate -> verify -> commit
 *       |         |       |        |          |          |
 *       v         v       v        v          v          v
 *    failed    rolled_back (by way of the undo of every phase entered, newest first)
 *
 * A phase that has not ended by its deadline has failed. The phases from pause on change a device, so their
 * failure is undone; if the undo fails too, the saga is `failed` and its devices leave the pool.
 */
enum switch_phase {
	SWITCH_VALIDATE = 0,
	SWITCH_PAUSE = 1,
	SWITCH_SAVE = 2,
	SWITCH_SWITCH = 3,
	SWITCH_ACTIVATE = 4,
	SWITCH_VERIFY = 5,
	SWITCH_COMMIT = 6,      /* final: done */
	SWITCH_ROLLING_BACK = 7,
	SWITCH_ROLLED_BACK = 8, /* final: as before */
	SWITCH_FAILED = 9,      /* final: state unknown, needs repair */
	SWITCH_PHASE_END = 10,
};

enum switch_event {
	SWITCH_EV_DONE = 0,    /* the phase's effect is proved */
	SWITCH_EV_FAIL = 1,
	SWITCH_EV_TIMEOUT = 2, /* its deadline passed; handled as a failure */
	SWITCH_EV_CANCEL = 3,  /* wanted no more; allowed until verify */
	SWITCH_EVENT_END = 4,
};

/* What brings the world back when a phase after pause fails. */
enum switch_undo {
	SWITCH_UNDO_NONE = 0,    /* nothing was changed */
	SWITCH_UNDO_RESUME = 1,  /* let the old work run on */
	SWITCH_UNDO_RESTORE = 2, /* former mode and power target, then the saved state, then resume */
	SWITCH_UNDO_END = 3,
};

struct switch_phase_row {
	const char *name;
	int64_t deadline_ns;  /* default for one device; 0: final phase, no deadline */
	enum switch_phase on_done;
	enum switch_phase on_fail;
	enum switch_undo undo; /* owed when this phase fails */
};

/* NULL outside the enum. */
const struct switch_phase_row *switch_phase_row(enum switch_phase p);
int switch_next(enum switch_phase phase, enum switch_event event, enum switch_phase *ret, struct err *err) MUST_CHECK;
bool switch_phase_is_final(enum switch_phase p);
/* Default deadline of a phase on a device that takes typical_ms for the mode change (device_class.switch_ms). */
int64_t switch_deadline_ns(enum switch_phase p, int64_t typical_ms);
const char *switch_phase_name(enum switch_phase p);
const char *switch_event_name(enum switch_event e);
const char *switch_undo_name(enum switch_undo u);
int switch_phase_parse(struct str s, enum switch_phase *ret) MUST_CHECK;

#endif
