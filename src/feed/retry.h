#ifndef HCP_FEED_RETRY_H
#define HCP_FEED_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/breaker.h"
#include "base/rng.h"
#include "base/str.h"

/*
 * When a source may be asked again. Pure: time and the jitter's generator are handed in.
 *
 *	success      -> after its schedule
 *	failure      -> 1 s, 2 s, 4 s, … at most its schedule, with half of it jitter; 5 within the window open the breaker
 *	429, 503     -> not before Retry-After (at most an hour); a source that limits us is not a broken one
 *	breaker open -> one trial when its time is over
 *
 * The breaker's window and time grow with the schedule: the platform's 5 in 10 s, open 30 s are for a source that is
 * asked every second.
 */
enum { FEED_RETRY_FAILURES = 5 };
#define FEED_RETRY_FIRST_MS INT64_C(1000)
#define FEED_RETRY_AFTER_MAX_MS INT64_C(3600000)

struct feed_retry {
	struct breaker breaker;
	int64_t every_ms;
	unsigned failed;       /* in a row */
	int64_t not_before_ns; /* as the server asked; 0: it did not */
};

void feed_retry_init(struct feed_retry *r, int64_t every_ms);
/* Milliseconds from now to the next try; the call that is due then asks feed_retry_may first. */
int64_t feed_retry_ok(struct feed_retry *r, int64_t now_ns);
/* retry_after_ms < 0: the server said nothing. limited: it answered 429 or 503 with Retry-After. */
int64_t feed_retry_failed(struct feed_retry *r, int64_t now_ns, int64_t retry_after_ms, bool limited, struct rng *rng);
/* 0: go; else milliseconds to wait. */
int64_t feed_retry_may(struct feed_retry *r, int64_t now_ns);
bool feed_retry_is_open(const struct feed_retry *r);

/* Retry-After (RFC 9110 10.2.3): seconds or an HTTP date; -1: absent or neither. */
int64_t feed_retry_after_ms(struct str value, int64_t now_ns);

#endif
