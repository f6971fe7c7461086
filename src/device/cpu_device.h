#ifndef HCP_DEVICE_CPU_DEVICE_H
#define HCP_DEVICE_CPU_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "device/fill_job.h"
#include "device/gate.h"

struct hash_engine;
struct cpu_device;

/*
 * The CPUs of a node as one device that mines while its gate is in FILL.
 *
 *   owner thread                         fill threads (SCHED_IDLE, nice 19), one a core
 *   cpu_device_set_job ─▶ job slots ────▶ extranonce2 = i, i + n, i + 2n, …: each a header, 2^32 nonces
 *                          (published      scan a quantum (about 1 ms, gate polled inside) ─▶ hits
 *                           by pointer)                                                          │
 *   cpu_device_take_share ◀──────────────── ring of shares, one a thread ◀───────────────────────┘
 *
 * No lock: a thread protects the slot it reads by a hazard pointer, and there are two more slots than threads.
 * Everything here but the gate's filler side belongs to one owner thread.
 */
enum {
	CPU_DEVICE_THREADS_MAX = 256,
	CPU_DEVICE_SHARES = 64,     /* ring of one thread; when full, shares are dropped and counted */
	CPU_DEVICE_QUANTUM_US = 1000,
};

struct cpu_device_conf {
	unsigned threads;                 /* 0: one for each CPU this process may run on */
	const struct hash_engine *engine; /* NULL: the best one */
	gate_clock_fn *now_ns;            /* monotonic, any thread */
	gate_idle_fn *on_idle;            /* as in gate.h; may be NULL */
	/* A share is in a ring. On a fill thread: must only wake somebody up. May be NULL. */
	void (*on_share)(void *arg);
	void *arg;                        /* of both */
};

struct cpu_device_stats {
	double hashes;           /* since the start */
	double hash_ps;          /* moving average, 10 s, begun anew at each turn; 0 as soon as nothing is hashed */
	double last_hash_ps;     /* between the last two ticks */
	uint64_t quanta, shares, dropped;
};

/* Starts the threads; the gate is SAFE. HCP_EIO: no thread can be started. */
int cpu_device_new(const struct cpu_device_conf *conf, struct cpu_device **ret, struct err *err) MUST_CHECK;
/* Ends the threads and waits for them (a gate poll's time). NULL is fine. */
void cpu_device_free(struct cpu_device *d);
/* The gate was set: the rate before it says nothing about the work after it. */
void cpu_device_turn(struct cpu_device *d);
struct gate *cpu_device_gate(struct cpu_device *d);
/* Copied. NULL: nothing to hash (the pool is down). Threads take it up at the end of their quantum. */
void cpu_device_set_job(struct cpu_device *d, const struct fill_job *job);
bool cpu_device_has_job(const struct cpu_device *d);
/* Threads beyond the limit rest: for a power budget. At least 0, at most cpu_device_threads. */
void cpu_device_limit(struct cpu_device *d, unsigned threads);
unsigned cpu_device_threads(const struct cpu_device *d);
const char *cpu_device_engine(const struct cpu_device *d);
/* False when there is none. */
bool cpu_device_take_share(struct cpu_device *d, struct fill_share *ret);
/* Updates the rates; call some times a second. */
void cpu_device_tick(struct cpu_device *d);
void cpu_device_stats(const struct cpu_device *d, struct cpu_device_stats *ret);

#endif
