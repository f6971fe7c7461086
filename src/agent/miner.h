#ifndef HCP_AGENT_MINER_H
#define HCP_AGENT_MINER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "stratum/client.h"

struct loop;
struct cpu_device;
struct miner;

/*
 * Connects the device to a Stratum pool: drives the client of src/stratum over a stream of the loop.
 *
 *   pool ◀─ lines ─▶ stream ◀─▶ stratum_client ── work ──▶ cpu_device_set_job
 *                                     ▲                          │ on_share (wakes the loop)
 *                                     └────── miner_collect ◀────┘
 *
 * A pool that dies takes the job with it: nothing is hashed until it, or the next of the list, is back. One thread.
 */
struct miner_conf {
	struct loop *loop;
	struct cpu_device *device; /* borrowed */
	struct stratum_pool_address pools[STRATUM_POOLS_MAX]; /* borrowed strings */
	size_t n_pools;            /* >= 1 */
	uint64_t seed;             /* of the backoff's jitter */
	uint32_t backoff_min_ms, backoff_max_ms; /* 0: 500 and 30000 */
	/* Answers to shares have come. May be NULL. */
	void (*on_shares)(void *arg, int64_t accepted, int64_t rejected);
	void *arg;
};

struct miner_stats {
	bool up;                 /* there is work */
	const char *state;       /* "wait", "connect", "configure", "subscribe", "authorize", "run" */
	const char *host;        /* of the present or next pool */
	uint16_t port;
	double difficulty;       /* of the present work */
	struct stratum_client_stats stratum;
	const char *last_failure; /* "" */
};

int miner_new(const struct miner_conf *conf, struct miner **ret, struct err *err) MUST_CHECK;
/* NULL is fine. The device is left without a job. */
void miner_free(struct miner *m);
/* Submits what the device has found. */
void miner_collect(struct miner *m);
/* Borrowed until the next call that changes the miner. */
void miner_stats(const struct miner *m, struct miner_stats *ret);

#endif
