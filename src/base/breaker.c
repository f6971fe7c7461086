#include "base/breaker.h"

#include <string.h>

#include "base/panic.h"

void breaker_init(struct breaker *b, struct breaker_conf conf)
{
	must(conf.failures >= 1 && conf.failures <= BREAKER_MAX_FAILURES);
	*b = (struct breaker){ .conf = conf };
	for (int i = 0; i < BREAKER_MAX_FAILURES; i++)
		b->failed_at_ns[i] = INT64_MIN / 2;
}

bool breaker_allow(struct breaker *b, int64_t now_ns)
{
	if (b->state == BREAKER_CLOSED)
		return true;
	if (b->state == BREAKER_HALF_OPEN || now_ns < b->open_until_ns)
		return false;
	b->state = BREAKER_HALF_OPEN;
	return true;
}

void breaker_success(struct breaker *b)
{
	breaker_init(b, b->conf);
}

void breaker_failure(struct breaker *b, int64_t now_ns)
{
	unsigned n = (unsigned)b->conf.failures;
	b->failed_at_ns[b->next % n] = now_ns;
	b->next++;
	/* The slot to be overwritten next holds the oldest of the last n failures. */
	bool often = now_ns - b->failed_at_ns[b->next % n] <= b->conf.window_ns;
	if (b->state == BREAKER_HALF_OPEN || often) {
		b->state = BREAKER_OPEN;
		b->open_until_ns = now_ns + b->conf.open_ns;
	}
}
