#ifndef HCP_AGENT_PROGRESS_H
#define HCP_AGENT_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "model/program.h"

/*
 * A line of progress, as programs print it (docs/checkpoints.md):
 *
 *	{"step":40,"of":100,"checkpoint":"step-40.npz"}      {"step":100,"of":100,"done":true}
 *
 * Other names in the object are the program's own. Pure.
 */
enum { PROGRESS_LINE_MAX = 1024 }; /* longer ones, and those that do not begin with '{', are log */

struct progress {
	int64_t step, of;                  /* 0 .. PROGRAM_STEP_MAX; of 0: it does not say */
	char checkpoint[PROGRAM_NAME_MAX]; /* "": none */
	bool done;
};

/* HCP_EPARSE: no JSON object; HCP_EINVAL, HCP_ERANGE with the field. *ret is written on success only. */
int progress_parse(struct str line, struct progress *ret, struct err *err) MUST_CHECK;

#endif
