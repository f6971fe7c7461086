#ifndef HCP_CMD_CLI_UP_CHILD_H
#define HCP_CMD_CLI_UP_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/err.h"

enum {
	CHILD_ARGS_MAX = 32,
	CHILD_BACKOFF_MIN_MS = 500,
	CHILD_BACKOFF_MAX_MS = 30000,
	CHILD_STEADY_MS = 60000,         /* after so long a run the next death starts from the least pause again */
	CHILD_LOGS_KEPT = 3,             /* <name>.log.1 … .3 */
	CHILD_LOG_MAX = 64 * 1024 * 1024, /* then the log is turned over while the child runs */
};

/*
 * One supervised program. It leads a process group of its own, so that Ctrl-C reaches only the supervisor and a stop
 * reaches all that the program started. Single thread; times are monotonic milliseconds handed in.
 */
struct child {
	const char *name;
	const char *argv[CHILD_ARGS_MAX + 1]; /* borrowed; [0] is the program's path */
	const char *log_path;                 /* borrowed */
	pid_t pid;                            /* 0: not running */
	int log_fd;                           /* -1: not open */
	int64_t started_ms, restart_at_ms;    /* restart_at_ms 0: none due */
	int64_t backoff_ms;
	int restarts;
};

/* Turns the logs over and opens a new one. */
int child_open_log(struct child *c, struct err *err) MUST_CHECK;
/* HCP_EIO when it cannot be started; a program that cannot be executed dies with status 127 instead. */
int child_start(struct child *c, int64_t now_ms, struct err *err) MUST_CHECK;
/*
 * Has it died? Then what it left of its group is killed, it is reaped, *ret_how tells how ("exit status 3",
 * "signal 9") and the next start is due after a pause that doubles. `how` of at least 48 bytes.
 */
bool child_reap(struct child *c, int64_t now_ms, char *how, size_t cap);
/* Signals the whole group. */
void child_signal(const struct child *c, int sig);
/* Turns the log over when it is too large: the child keeps its file, which is copied and emptied. */
void child_trim_log(struct child *c);
void child_release(struct child *c);

#endif
