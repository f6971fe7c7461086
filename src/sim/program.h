#ifndef HCP_SIM_PROGRAM_H
#define HCP_SIM_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/err.h"

struct loop;

/*
 * What every subcommand runs in: one loop on the main thread, SIGTERM and SIGINT that end it, JSON logs on stderr.
 */
struct program {
	struct loop *loop;       /* owned */
	uv_signal_t term, intr;
	bool signals;            /* the handles are open */
	int signum;              /* that ended the loop; 0: none */
};

/* Logs to stderr from now on; level: "debug", "info", "warn", "error". */
int program_init(struct program *p, const char *level, struct err *err) MUST_CHECK;
void program_release(struct program *p);
/* Until a signal or loop_stop. */
void program_run(struct program *p);

/*
 * Wall time that runs on the monotonic clock: it starts at the system's UTC and is never set back, so that physics
 * and leases see time move forward only.
 */
struct program_clock {
	int64_t wall_ns, mono_ns; /* at the start */
};

void program_clock_init(struct program_clock *c);
int64_t program_clock_now(const struct program_clock *c);

#endif
