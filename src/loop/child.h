#ifndef HCP_LOOP_CHILD_H
#define HCP_LOOP_CHILD_H

#include <stdint.h>

#include "base/err.h"

struct loop;
struct child;

struct child_conf {
	const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH */
	const char *const *env;  /* NULL-terminated; NULL: inherit */
	const char *cwd;         /* NULL: ours */
	int log_fd;              /* stdout and stderr go here; < 0: dropped */
	int stdin_fd;            /* < 0: nothing to read */
	/* Last call; the memory is gone afterwards. exit_code < 0 when ended by term_signal. May be NULL. */
	void (*on_exit)(void *arg, int64_t exit_code, int term_signal);
	void *arg;
};

/* HCP_ENOTFOUND: no such program. */
int child_new(struct loop *loop, const struct child_conf *conf, struct child **ret_child, struct err *err) MUST_CHECK;
int child_pid(const struct child *c);
/* SIGTERM now, SIGKILL after grace_ms; on_exit follows. May be repeated. */
void child_stop(struct child *c, uint32_t grace_ms);
/* Stops with SIGKILL and forgets: no on_exit. NULL is fine. */
void child_free(struct child *c);

#endif
