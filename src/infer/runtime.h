#ifndef HCP_INFER_RUNTIME_H
#define HCP_INFER_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "infer/openai.h"

/*
 * The contract of inference runtimes: a process behind an OpenAI-compatible port, a container, the built-in encoder.
 *
 *              start          warm           sleep          wake
 *   STOPPED ─────────▶ COLD ────────▶ READY ───────▶ ASLEEP ──────▶ READY
 *      ▲                                │ drain          │
 *      └────────── stop, from anywhere ─┴─▶ DRAINED ─────┘ (sleep, or warm to serve again)
 *
 *   start  the engine is up and holds the weights
 *   warm   one real answer was computed, so the first customer pays no first-use cost
 *   sleep  gives the device's memory and time to other work; `light` keeps the weights resident
 *   wake   undoes sleep, and like warm is proved by one answer
 *   drain  refuses new requests, ends when those in flight have ended
 *   stop   everything is given back
 *
 * Verbs are asynchronous: the call returns 0 when the verb began and `done` tells its end, possibly before the call
 * returns (the built-in runtime). One verb at a time; deadlines are the caller's, who answers a late verb with stop,
 * the one verb that may overtake another (whose `done` then gets HCP_ECANCELED). A verb that fails leaves FAILED,
 * from where only start and stop go on.
 *
 * A runtime belongs to one thread. state and verb are changed in runtime.c only.
 */
enum runtime_state {
	RUNTIME_STOPPED,
	RUNTIME_COLD,    /* started, no answer computed yet */
	RUNTIME_READY,   /* the only state that serves */
	RUNTIME_ASLEEP,
	RUNTIME_DRAINED,
	RUNTIME_FAILED,
};

enum runtime_verb {
	RUNTIME_NONE,
	RUNTIME_START,
	RUNTIME_WARM,
	RUNTIME_SLEEP,
	RUNTIME_WAKE,
	RUNTIME_DRAIN,
	RUNTIME_STOP,
};

enum runtime_sleep {
	RUNTIME_SLEEP_LIGHT, /* weights stay, scratch is up for the taking: waking costs one answer */
	RUNTIME_SLEEP_DEEP,  /* weights go too: waking reads them again */
};

struct runtime;

/* rc is 0 or why the verb failed; err is never NULL and valid during the call. May start the next verb. */
typedef void runtime_done_fn(void *arg, int rc, const struct err *err);

struct runtime_health {
	bool serving;            /* READY and no verb under way */
	enum runtime_state state;
	enum runtime_verb verb;
	uint32_t inflight;
	uint64_t requests, failures; /* ended, and those of them that failed */
	uint64_t tokens;             /* prompt tokens of the others */
	uint64_t resident_bytes;     /* weights and scratch that cannot be taken away now; 0 if not known */
};

/*
 * A driver. Verb functions begin the work and return 0, later (or at once) calling runtime_finish; or they return an
 * error, which ends the verb as failed. `stop` must cope with every state and with a verb half done.
 */
struct runtime_ops {
	const char *name;
	int (*start)(struct runtime *r, struct err *err);
	int (*warm)(struct runtime *r, struct err *err);
	int (*sleep)(struct runtime *r, enum runtime_sleep how, struct err *err);
	int (*wake)(struct runtime *r, struct err *err);
	int (*stop)(struct runtime *r, struct err *err);
	/* Adds what the driver knows; NULL if nothing. */
	void (*health)(const struct runtime *r, struct runtime_health *h);
	/*
	 * Answers a parsed request by appending the response body; NULL where requests are forwarded to `endpoint`.
	 * On failure nothing is appended.
	 */
	int (*embed)(struct runtime *r, const struct openai_embeddings *req, struct buf *body, uint64_t *ret_tokens,
		     struct err *err);
	/* Base URL to forward to; NULL where `embed` answers. */
	const char *(*endpoint)(const struct runtime *r);
	void (*free)(struct runtime *r); /* r is STOPPED or FAILED, or never started */
};

/* First member of a driver's struct. */
struct runtime {
	const struct runtime_ops *ops; /* borrowed, static */
	enum runtime_state state;
	enum runtime_verb verb;
	runtime_done_fn *done; /* of the verb under way */
	void *done_arg;        /* borrowed */
	uint32_t inflight;
	uint64_t requests, failures, tokens;
};

#define RUNTIME_INFLIGHT_MAX 1024u

void runtime_init(struct runtime *r, const struct runtime_ops *ops);
/* Stops it first if need be. Accepts NULL. */
void runtime_free(struct runtime *r);

/* HCP_ESTATE: not from this state, or another verb is under way. done may be NULL. */
int runtime_start(struct runtime *r, runtime_done_fn *done, void *arg, struct err *err) MUST_CHECK;
int runtime_warm(struct runtime *r, runtime_done_fn *done, void *arg, struct err *err) MUST_CHECK;
int runtime_sleep(struct runtime *r, enum runtime_sleep how, runtime_done_fn *done, void *arg, struct err *err)
	MUST_CHECK;
int runtime_wake(struct runtime *r, runtime_done_fn *done, void *arg, struct err *err) MUST_CHECK;
int runtime_drain(struct runtime *r, runtime_done_fn *done, void *arg, struct err *err) MUST_CHECK;
int runtime_stop(struct runtime *r, runtime_done_fn *done, void *arg, struct err *err) MUST_CHECK;

/* For drivers: the verb under way has ended. Late calls, after stop overtook, are ignored by verb. */
void runtime_finish(struct runtime *r, enum runtime_verb verb, int rc, const struct err *err);

void runtime_health(const struct runtime *r, struct runtime_health *ret);

/* Around each request that is forwarded: HCP_ESTATE (not serving) or HCP_ELIMIT. */
int runtime_request_begin(struct runtime *r, struct err *err) MUST_CHECK;
void runtime_request_end(struct runtime *r, bool ok, uint64_t tokens);
/* begin, ops->embed, end. */
int runtime_embed(struct runtime *r, const struct openai_embeddings *req, struct buf *body, uint64_t *ret_tokens,
		  struct err *err) MUST_CHECK;

const char *runtime_state_name(enum runtime_state s);
const char *runtime_verb_name(enum runtime_verb v);

#endif
