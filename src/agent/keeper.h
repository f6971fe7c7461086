#ifndef HCP_AGENT_KEEPER_H
#define HCP_AGENT_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct loop;
struct keeper;
struct keeper_call;
struct http_response;

/*
 * Keeps the inference runtime's process alive and forwards requests to it over a unix socket.
 *
 *            spawned               /health says it serves
 *   DOWN ─────────────▶ STARTING ─────────────────────▶ READY ⇄ ASLEEP
 *     ▲  backoff 100 ms … 10 s  │                          │
 *     └──────────── the process ended, or did not serve within KEEPER_START_MS (then it is killed)
 *
 * A runtime that leaves a request unanswered until its deadline hangs and is ended, too.
 *
 * One thread. A runtime that stays up for KEEPER_GOOD_MS ends the backoff.
 */
enum keeper_state { KEEPER_DOWN, KEEPER_STARTING, KEEPER_READY, KEEPER_ASLEEP };

enum {
	KEEPER_PROBE_MS = 20,
	KEEPER_START_MS = 60000,
	KEEPER_GOOD_MS = 10000,
	KEEPER_BACKOFF_MIN_MS = 100,
	KEEPER_BACKOFF_MAX_MS = 10000,
	KEEPER_CALL_MS = 60000,
	KEEPER_GRACE_MS = 1000, /* between SIGTERM and SIGKILL */
};

struct keeper_conf {
	struct loop *loop;
	const char *program;   /* of the agent: run with "runtime"; borrowed, as the next three */
	const char *model_dir;
	const char *name;      /* of the model, as requests give it; NULL: the folder's */
	const char *socket;    /* path, at most 100 bytes; made by the runtime, removed here */
	uint32_t call_ms;      /* deadline of a forwarded request; 0: KEEPER_CALL_MS */
	/* READY, DOWN, ASLEEP was reached. May be NULL. */
	void (*on_state)(void *arg, enum keeper_state s);
	void *arg;
};

struct keeper_stats {
	enum keeper_state state;
	int pid;               /* 0: none */
	uint64_t starts, exits;
	size_t calls;          /* under way */
	bool want_sleep;
	char last_exit[160];   /* "" if it never ended; with what it said at its end, if it did */
	char digest[80];       /* of its model's files (infer/digest.h), once it was READY */
};

/* code 0: r is the runtime's answer of any status, else r is NULL and err tells. Borrowed until return. */
typedef void keeper_done_fn(void *arg, int code, const struct http_response *r, const struct err *err);

/* Spawns at once. */
int keeper_new(const struct keeper_conf *conf, struct keeper **ret, struct err *err) MUST_CHECK;
/* Ends the process; calls get no answer any more. NULL is fine. */
void keeper_free(struct keeper *k);
void keeper_stats(const struct keeper *k, struct keeper_stats *ret);
enum keeper_state keeper_state(const struct keeper *k);
/* POST /v1/embeddings. done comes once, not from inside, unless cancelled. HCP_EUNAVAIL: not READY. */
int keeper_embed(struct keeper *k, struct str body, keeper_done_fn *done, void *arg, struct keeper_call **ret,
	struct err *err) MUST_CHECK;
void keeper_cancel(struct keeper_call *call);
/* The runtime goes to light sleep, or comes back; told by on_state. No-ops where they make no sense. */
void keeper_sleep(struct keeper *k);
void keeper_wake(struct keeper *k);
/* Processor seconds of the present process; 0 when there is none. */
double keeper_cpu_s(const struct keeper *k);
const char *keeper_state_name(enum keeper_state s);

#endif
