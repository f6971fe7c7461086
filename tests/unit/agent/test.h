#ifndef HCP_TEST_AGENT_H
#define HCP_TEST_AGENT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "loop/loop.h"
#include "sim/pool_server.h"

enum { WAIT_MS = 30000 }; /* bounds every wait; the machine may be busy */

/* Turns the loop until cond is true; fails the test when it does not become so. */
#define turn_until(loop, cond) do { \
	int64_t until_ns = loop_now_ns(loop) + (int64_t)WAIT_MS * 1000000; \
	while (!(cond)) { \
		if (loop_now_ns(loop) > until_ns) \
			fail_msg("%s:%d: not within %d ms: %s", __FILE__, __LINE__, WAIT_MS, #cond); \
		loop_turn(loop, 5); \
	} \
} while (0)

static inline void turn_for(struct loop *loop, int ms)
{
	int64_t until_ns = loop_now_ns(loop) + ms * 1000000LL;
	while (loop_now_ns(loop) < until_ns)
		loop_turn(loop, 2);
}

/* A pool that checks every share; easy enough for some shares a second. */
static inline struct pool_server *make_pool(struct loop *loop, uint16_t port)
{
	struct pool_server_conf c = { .port = port, .difficulty = 2e-5, .job_s = 2, .block_s = 0, .nbits = 0x1703a30c,
		.height = 870000, .seed = 1 };
	struct pool_server *p = NULL;
	struct err err = { 0 };
	if (pool_server_new(loop, &c, &p, &err) < 0)
		fail_msg("pool: %s %s", err.field, err.text);
	return p;
}

static inline uint64_t pool_accepted(struct pool_server *p)
{
	uint64_t good, bad;
	pool_server_totals(p, &good, &bad);
	return good;
}

static inline uint64_t pool_rejected(struct pool_server *p)
{
	uint64_t good, bad;
	pool_server_totals(p, &good, &bad);
	return bad;
}

#endif
