#ifndef HCP_MODEL_PROGRAM_H
#define HCP_MODEL_PROGRAM_H

/*
 * What programs, agents and the control plane have agreed on about batch and training programs; docs/checkpoints.md
 * tells it to those who write them.
 */
enum {
	PROGRAM_NAME_MAX = 65,    /* of programs and checkpoints (base/id.h), with the NUL */
	PROGRAM_DIGEST_MAX = 80,  /* "sha256:" and hex digits, with the NUL */
	PROGRAM_ERROR_MAX = 240,  /* why it failed, with the end of its log */
	PROGRAM_NODE_MAX = 16,    /* programs that a node allows */
	PROGRAM_GRACE_MS = 20000, /* most time from SIGTERM to SIGKILL, in which it saves itself */
	PROGRAM_START_MS = 10000, /* until its first line of progress */
	PROGRAM_REPORT_MS = 250,  /* between two reports of mere progress */
};
#define PROGRAM_STEP_MAX (INT64_C(1) << 53) /* JSON numbers are exact up to here */

#endif
