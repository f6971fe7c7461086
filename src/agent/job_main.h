#ifndef HCP_AGENT_JOB_MAIN_H
#define HCP_AGENT_JOB_MAIN_H

#include <stdint.h>

#include "model/program.h"

/*
 * `hcp-agent job`: the process between the agent and a customer's program. It reads what the program prints, hashes
 * its checkpoints, keeps its log short, and sees to it that nothing of it outlives the agent.
 *
 *   agent ──spawns──▶ job ──fork, exec──▶ program        own session; nobody's rights if started by root
 *     ▲                │ ▲                   │
 *     └── job_note ────┘ └── stdout, stderr ─┘
 *   SIGTERM  the program may save itself: it gets SIGTERM
 *   SIGQUIT  at once: also what the kernel sends when the agent dies. Every process below gets SIGKILL.
 *
 * Should this process itself be killed, the program is, too (PR_SET_PDEATHSIG).
 */
#define JOB_MAGIC 0x6e6f7465u

enum job_kind {
	JOB_STARTED = 1, /* the program is there; pid */
	JOB_RUNNING = 2, /* progress */
	JOB_DONE = 3,    /* the last of these four comes last */
	JOB_STOPPED = 4,
	JOB_FAILED = 5,
};

/* Written whole to standard output; below PIPE_BUF, so it arrives whole. Both ends are one executable. */
struct job_note {
	uint32_t magic, kind;
	int64_t pid, step, of;
	int64_t ck_step, ck_of, ck_bytes;  /* of the newest checkpoint */
	char checkpoint[PROGRAM_NAME_MAX]; /* "": none in this run */
	char digest[PROGRAM_DIGEST_MAX];
	char error[PROGRAM_ERROR_MAX]; /* of JOB_FAILED */
};

_Static_assert(sizeof(struct job_note) <= 512, "a pipe takes it whole");

enum {
	JOB_LOG_MAX = 1 << 20,    /* bytes of one of its two log files, which take turns */
	JOB_OUTPUT_MAX = 1 << 20, /* bytes that are read in JOB_WINDOW_MS; a program that prints more is slowed down */
	JOB_WINDOW_MS = 100,
	JOB_NOTE_MS = 50,     /* between two notes of mere progress */
	JOB_FILES_MAX = 1024, /* descriptors of the program */
};

/* argv[0] is "job". The exit status is 0 if the last note was written. */
int job_main(int argc, char **argv);

#endif
