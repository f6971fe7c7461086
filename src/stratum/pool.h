#ifndef HCP_STRATUM_POOL_H
#define HCP_STRATUM_POOL_H

#include "base/map.h"
#include "wire/stratum_v1.h"

/*
 * The pool's side of Stratum V1 for a test pool or a proxy's downstream: every share is checked by rebuilding and
 * hashing its header. No sockets, no clock: bytes and the time are handed in, what is to be sent stands in `out`.
 *
 *	pool ── jobs: ring of the last STRATUM_JOBS_MAX      one thread owns the pool and its sessions
 *	  └── session, session, ...                          each with its own extranonce1
 */
#define STRATUM_JOBS_MAX 16
#define STRATUM_SESSION_SHARES_MAX 65536 /* remembered against duplicates, until the next clean job */
#define STRATUM_NTIME_AHEAD_S 7200       /* a share may be this much later than its job */

struct stratum_session;

/* A share that passed every check. */
struct stratum_accepted {
	const char *worker;      /* borrowed */
	const char *job_id;      /* borrowed */
	double difficulty;       /* that was asked */
	bool is_block;           /* meets the job's nbits */
	uint8_t header[80], hash[32];
};

struct stratum_pool_conf {
	stratum_sha256d *sha256d;
	uint32_t extranonce2_size; /* 1..8 */
	uint32_t version_mask;   /* offered; 0: no version rolling */
	double difficulty;       /* of new sessions */
	double difficulty_min;   /* least that a miner may suggest; 0: suggestions are passed over */
	const char *agent;       /* borrowed */
	/* May be NULL. 0, or a reason to refuse the worker. */
	int (*authorize)(void *arg, struct stratum_session *s, const char *worker, const char *password);
	void (*accepted)(void *arg, struct stratum_session *s, const struct stratum_accepted *share); /* may be NULL */
	void *arg;
};

struct stratum_pool_job {
	uint64_t serial;         /* 0: empty slot */
	struct stratum_job job;
};

struct stratum_pool {
	struct stratum_pool_conf conf;
	struct stratum_pool_job *jobs; /* owned; serial % STRATUM_JOBS_MAX */
	uint64_t serial;         /* of the newest job; 0: none */
	uint64_t clean_serial;   /* jobs before it are void */
	uint32_t next_extranonce1;
};

struct stratum_session_stats {
	uint64_t accepted, stale, duplicate, low, refused, garbled;
	double difficulty_accepted; /* sum */
};

struct stratum_session {
	struct stratum_pool *pool; /* borrowed */
	struct stratum_extranonce extranonce;
	bool subscribed, authorized, extranonce_subscribed;
	char worker[STRATUM_TEXT_MAX + 1];
	uint32_t version_mask;   /* 0: the miner did not ask */
	double difficulty;       /* of the next job */
	double job_difficulty[STRATUM_JOBS_MAX]; /* as it was when the job was sent */
	uint64_t job_sent[STRATUM_JOBS_MAX];     /* serial that stands in the slot */
	struct map seen;         /* shares since the last clean job */
	uint64_t seen_clean;
	unsigned garbled;        /* in a row */
	struct buf in, out;      /* owned */
	struct stratum_session_stats stats;
};

/* HCP_ENOMEM. */
int stratum_pool_init(struct stratum_pool *p, const struct stratum_pool_conf *conf) MUST_CHECK;
void stratum_pool_release(struct stratum_pool *p);
/* Takes over a copy; its id is replaced by one of the pool's own. Then send it to every session. */
void stratum_pool_set_job(struct stratum_pool *p, const struct stratum_job *job);

/* HCP_ELIMIT when all extranonces are used up. */
int stratum_session_init(struct stratum_session *s, struct stratum_pool *p, struct err *err) MUST_CHECK;
void stratum_session_release(struct stratum_session *s);
/* now_s: Unix time, bounds the ntime of shares. HCP_EPROTO or HCP_ELIMIT: close the connection. */
int stratum_session_input(struct stratum_session *s, struct str bytes, uint32_t now_s, struct err *err) MUST_CHECK;
/* Sends the newest job to a session that is subscribed; does nothing for others. */
void stratum_session_send_job(struct stratum_session *s);
/* Takes effect with the next job. */
void stratum_session_set_difficulty(struct stratum_session *s, double difficulty);

#endif
