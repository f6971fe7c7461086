#ifndef HCP_SIM_POOL_SERVER_H
#define HCP_SIM_POOL_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;
struct pool_server;

/*
 * A Stratum V1 pool on loopback that checks every share. Sockets around src/stratum/pool; jobs from sim/pool_jobs.
 * One thread: the loop's.
 */
enum {
	POOL_SERVER_SESSIONS_MAX = 512,
	POOL_SERVER_GREET_MS = 30000,     /* from connecting to mining.authorize */
	POOL_SERVER_IDLE_MS = 15 * 60000, /* without a byte from the miner */
};

struct pool_server_conf {
	const char *host;        /* NULL: 127.0.0.1 */
	uint16_t port;           /* 0: any free one */
	bool http;               /* GET /stats as well */
	uint16_t http_port;      /* 0: any free one */
	/*
	 * Of new sessions, > 0. The protocol's rule is whole powers of two >= 1; a share of difficulty 1 is 2^32 hashes,
	 * two to three minutes of a processor core, so a pool for trying things out takes a fraction.
	 */
	double difficulty;
	uint32_t job_s;          /* a new job so often; 30 */
	uint32_t block_s;        /* somebody else's block so often (mean; clean job); 600. 0: never */
	uint32_t nbits;          /* of the chain */
	uint64_t height;
	uint64_t seed;
	const char *share_log;   /* file that gets a JSON line per accepted share; NULL: none. Borrowed until return */
};

int pool_server_new(struct loop *loop, const struct pool_server_conf *conf, struct pool_server **ret, struct err *err)
	MUST_CHECK;
/* Closes all sessions; memory goes when the loop has closed them. NULL is fine. */
void pool_server_free(struct pool_server *s);
uint16_t pool_server_port(const struct pool_server *s);
uint16_t pool_server_http_port(const struct pool_server *s);
/* Counters over all workers, for the log at the end. */
void pool_server_totals(struct pool_server *s, uint64_t *ret_accepted, uint64_t *ret_rejected);

#endif
