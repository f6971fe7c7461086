#ifndef HCP_LOOP_LOOP_H
#define HCP_LOOP_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"

/*
 * An event loop (libuv underneath). One thread owns a loop and everything made on it; only loop_post, loop_stop
 * and loop_now_ns may be called from another thread.
 *
 *   timers ─▶ closings ─▶ flush written streams ─▶ poll (reads, accepts, posted functions) ─▶ flush ─▶ again
 */
struct loop;

typedef void loop_fn(struct loop *loop, void *arg);

struct loop_conf {
	size_t max_posts; /* functions waiting in loop_post; 0: 65536 */
};

/* conf may be NULL. */
int loop_new(const struct loop_conf *conf, struct loop **ret_loop, struct err *err) MUST_CHECK;
/* Closes streams, listeners and children that are still open (their on_close is called), runs posted functions. */
void loop_free(struct loop *loop);
/* Runs until loop_stop. May be called again afterwards. */
void loop_run(struct loop *loop);
/* One turn; waits for at most wait_ms for something to happen (0: does not wait). For tests and simulations. */
void loop_turn(struct loop *loop, uint32_t wait_ms);
/* Thread-safe. */
void loop_stop(struct loop *loop);
/*
 * Thread-safe. Runs fn(loop, arg) on the loop's thread, in order of posting. HCP_ELIMIT when max_posts wait; HCP_ENOMEM
 * only when 256 or more do.
 */
int loop_post(struct loop *loop, loop_fn *fn, void *arg) MUST_CHECK;
/* Monotonic clock, read now. */
int64_t loop_now_ns(const struct loop *loop);
/* Monotonic milliseconds as of this turn: costs nothing. */
int64_t loop_turn_ms(const struct loop *loop);

/*
 * A timer inside the caller's own struct. timer_stop takes effect at once: the callback is never called after it,
 * so the owner may free the memory. Starting a running timer moves it.
 */
struct loop_timer {
	struct loop *loop;             /* borrowed */
	struct loop_timer *child, *next, *prev; /* pairing heap: prev is the parent for a first child */
	int64_t due_ms;
	loop_fn *fn;
	void *arg;
	bool armed;
};

void loop_timer_init(struct loop_timer *t, struct loop *loop, loop_fn *fn, void *arg);
void loop_timer_start(struct loop_timer *t, uint64_t after_ms);
void loop_timer_stop(struct loop_timer *t);

/* fn runs once at the end of this turn's callbacks, before the loop sleeps. A node sits in its owner's struct. */
struct loop_defer {
	struct list node;
	loop_fn *fn;
	void *arg;
};

void loop_defer_init(struct loop_defer *d, loop_fn *fn, void *arg);
void loop_defer(struct loop *loop, struct loop_defer *d);
void loop_defer_cancel(struct loop_defer *d);

/* The uv_loop_t underneath, for peers of this folder and drivers that need their own handles (libcurl multi). */
void *loop_uv(struct loop *loop);

#endif
