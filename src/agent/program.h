#ifndef HCP_AGENT_PROGRAM_H
#define HCP_AGENT_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/meter.h"
#include "base/err.h"
#include "base/str.h"
#include "model/program.h"

struct loop;
struct program;

/*
 * The batch or training program that a device runs for an allocation, at most one at a time.
 *
 *            program_start          first line of progress
 *   NONE ───────────────▶ STARTING ───────────────────────▶ RUNNING ──▶ DONE, STOPPED or FAILED
 *                             └──── not within PROGRAM_START_MS, checkpoint not readable ──▶ FAILED
 *
 * Between us and it stands a process of ours (job_main.h), which hashes its checkpoints and takes it along when the
 * agent dies. One thread.
 */
enum program_state { PROGRAM_NONE, PROGRAM_STARTING, PROGRAM_RUNNING, PROGRAM_DONE, PROGRAM_STOPPED, PROGRAM_FAILED };

enum {
	PROGRAM_WORDS_MAX = 32, /* of a command line, its program among them */
	PROGRAM_POLL_MS = 25,   /* notes are looked for so often while it runs */
	PROGRAM_KILL_MS = 2000, /* from the order to kill until the process between us is killed itself */
	PROGRAM_PATH_MAX = 512,
};

/* What the operator allows: "NAME=/path/to/program argument argument". */
struct program_row {
	char name[PROGRAM_NAME_MAX];
	char *words; /* owned: the words, each with its NUL */
	const char *argv[PROGRAM_WORDS_MAX + 1];
};

struct program_table {
	struct program_row row[PROGRAM_NODE_MAX];
	size_t n;
};

struct program_checkpoint {
	char name[PROGRAM_NAME_MAX]; /* "": none */
	char digest[PROGRAM_DIGEST_MAX];
	int64_t step, of, bytes;
};

struct program_order {
	char name[PROGRAM_NAME_MAX]; /* "": the order is for no program */
	char allocation_id[METER_ALLOCATION_MAX], workload_id[METER_ALLOCATION_MAX];
	struct program_checkpoint restore;
	int64_t deadline_s; /* of the workload, UTC; 0: none */
};

struct program_status {
	enum program_state state;
	char allocation_id[METER_ALLOCATION_MAX], workload_id[METER_ALLOCATION_MAX]; /* of the last one started */
	int64_t step, of;
	struct program_checkpoint checkpoint; /* the newest of this run */
	char error[PROGRAM_ERROR_MAX];        /* FAILED: why */
};

struct program_conf {
	struct loop *loop;
	const char *self; /* this executable: run with "job"; borrowed, as all here */
	const struct program_table *table;
	const char *checkpoints, *state_dir;
	uint32_t grace_ms; /* 0: PROGRAM_GRACE_MS */
	/* Its status has changed; not from inside the calls below. */
	void (*on_change)(void *arg);
	void *arg;
};

/* HCP_EINVAL, HCP_ELIMIT, HCP_ENOMEM; field "program". */
int program_table_add(struct program_table *t, const char *text, struct err *err) MUST_CHECK;
void program_table_release(struct program_table *t);

int program_new(const struct program_conf *conf, struct program **ret, struct err *err) MUST_CHECK;
/* Kills what runs. NULL is fine. */
void program_free(struct program *p);
bool program_knows(const struct program *p, const char *name);
/* There is a process, or it is on its way out. */
bool program_alive(const struct program *p);
/* None may be alive. HCP_ENOTFOUND "program", HCP_EINVAL, HCP_ERANGE, HCP_EIO. */
int program_start(struct program *p, const struct program_order *o, struct err *err) MUST_CHECK;
/* It may save itself for so long, at most the grace that the operator gives; then it is killed. May be repeated. */
void program_stop(struct program *p, uint32_t grace_ms);
/* Nothing is told of it any more, once it is not alive. */
void program_forget(struct program *p);
void program_status(const struct program *p, struct program_status *ret);
/* Processor seconds of the present process; 0 when there is none. */
double program_cpu_s(const struct program *p);
const char *program_state_name(enum program_state s);

#endif
