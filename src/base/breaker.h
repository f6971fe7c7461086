#ifndef HCP_BASE_BREAKER_H
#define HCP_BASE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Circuit breaker: `failures` within window_ns open it for open_ns; then one trial passes (half open), whose success
 * closes it and whose failure opens it again. Pure: time is handed in.
 */
enum { BREAKER_MAX_FAILURES = 16 };

struct breaker_conf {
	int failures; /* 1..BREAKER_MAX_FAILURES */
	int64_t window_ns, open_ns;
};

/* The platform's default: 5 failures in 10 s, open for 30 s. */
#define BREAKER_DEFAULT ((struct breaker_conf){ 5, INT64_C(10000000000), INT64_C(30000000000) })

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct breaker {
	struct breaker_conf conf;
	int64_t failed_at_ns[BREAKER_MAX_FAILURES]; /* ring of the latest failures */
	unsigned next;
	int64_t open_until_ns;
	enum breaker_state state;
};

void breaker_init(struct breaker *b, struct breaker_conf conf);
/* May a call go out now? In half-open state only one does until its result is told. */
bool breaker_allow(struct breaker *b, int64_t now_ns);
void breaker_success(struct breaker *b);
void breaker_failure(struct breaker *b, int64_t now_ns);

#endif
