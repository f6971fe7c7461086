#ifndef HCP_DEVICE_GATE_H
#define HCP_DEVICE_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/hist.h"

/*
 * The gate of one device: who may use it now. Fill work (mining) polls `closed` between lane groups, so that closing
 * costs the closer one store and the fillers a few microseconds.
 *
 *   owner:   gate_set(SERVE) ── closed = 1 ──────────────────────▶ on_idle ──▶ gate_collect: yield time
 *   filler:  gate_enter ─ scan … scan sees closed ─ gate_leave (the last one out says when)
 *            gate_enter refused ─ gate_wait (futex) … gate_set(FILL) ─ gate_enter
 *
 * gate_set and gate_collect belong to one owner thread; enter, leave, wait to the fillers; the rest to anyone.
 */
enum gate_state {
	GATE_SERVE = 1, /* customers' work; no filler runs */
	GATE_FILL = 2,  /* fillers run */
	GATE_OFF = 3,   /* nobody runs */
	GATE_SAFE = 4,  /* no lease: nobody runs, nobody is let in */
};

/* Called by the filler that leaves a closed gate last, on its thread: must only wake somebody up. */
typedef void gate_idle_fn(void *arg);
typedef int64_t gate_clock_fn(void); /* monotonic nanoseconds, any thread */

struct gate {
	_Atomic uint32_t closed; /* 0 in FILL; what scans poll */
	_Atomic uint32_t active; /* fillers inside */
	_Atomic uint32_t kick;   /* futex word: grows when a filler may have something to do */
	_Atomic uint32_t state;  /* enum gate_state */
	_Atomic int64_t idle_ns; /* when the last filler left; 0: not yet, or collected */
	int64_t closed_ns;       /* owner: when it was closed; 0: open, or yield time collected */
	gate_clock_fn *now_ns;
	gate_idle_fn *on_idle;   /* may be NULL */
	void *arg;               /* borrowed */
	struct hist yield_ns;    /* owner: closing to the last filler out */
	uint64_t switches;       /* owner: changes of state */
};

/* Starts SAFE. */
void gate_init(struct gate *g, gate_clock_fn *now_ns, gate_idle_fn *on_idle, void *arg);
/* Closing with nobody inside counts as a yield of 0 ns. */
void gate_set(struct gate *g, enum gate_state to);
enum gate_state gate_get(const struct gate *g);
/* True when closed and no filler is inside; books the yield time once. *ret_yield_ns (may be NULL) gets it, or -1 if
 * it was booked before. */
bool gate_collect(struct gate *g, int64_t *ret_yield_ns);

/* False: the gate is closed, do not run. True must be followed by gate_leave. */
bool gate_enter(struct gate *g);
void gate_leave(struct gate *g);
/* Value to hand to gate_wait, taken before looking whether there is something to do. */
uint32_t gate_ticket(const struct gate *g);
/* Sleeps until the gate was opened or kicked after the ticket was taken. Spurious returns happen. */
void gate_wait(struct gate *g, uint32_t ticket);
/* There is new work, or the end of it: fillers look again. */
void gate_kick(struct gate *g);

/* "serve", "fill", "off", "safe". */
const char *gate_state_name(enum gate_state s);

#endif
