#ifndef HCP_STRATUM_CLIENT_H
#define HCP_STRATUM_CLIENT_H

#include "base/rng.h"
#include "wire/stratum_v1.h"

/*
 * The miner's side of Stratum V1 as a state machine without sockets or clock. The caller owns the connection and tells
 * what happened; after each call it sends what stands in `out` and does what stratum_client_actions returns.
 *
 *	WAIT ──deadline──▶ CONNECT ──connected──▶ CONFIGURE ──▶ SUBSCRIBE ──▶ AUTHORIZE ──▶ RUN
 *	  ▲                   │                       │              │             │          │
 *	  └───────────────────┴───── closed, refused, deadline passed, garbage: next pool ────┘
 *
 * One thread. Difficulty and extranonce take effect with the next job, the version mask at once.
 */
#define STRATUM_POOLS_MAX 8
#define STRATUM_PENDING_MAX 64   /* requests without a response */
#define STRATUM_GARBLED_MAX 5    /* unreadable lines in a row until the connection is given up */
#define STRATUM_OUT_MAX 65536    /* bytes the caller has not sent yet */
#define STRATUM_RECONNECT_MAX_S 300 /* longest wait that client.reconnect may order */

struct stratum_pool_address {
	const char *host;             /* borrowed, as the rest */
	uint16_t port;
	const char *worker, *password;
};

struct stratum_client_conf {
	struct stratum_pool_address pools[STRATUM_POOLS_MAX]; /* in order of preference */
	size_t n_pools;               /* at least 1 */
	const char *agent;
	uint32_t version_mask;        /* wanted; 0: no version rolling */
	bool extranonce_subscribe;
	double suggest_difficulty;    /* 0: none */
	int64_t response_timeout_ns;  /* also of connecting */
	int64_t idle_timeout_ns;      /* without any line from the pool */
	int64_t backoff_min_ns, backoff_max_ns;
};

enum stratum_client_state {
	STRATUM_CLIENT_WAIT,
	STRATUM_CLIENT_CONNECT,
	STRATUM_CLIENT_CONFIGURE,
	STRATUM_CLIENT_SUBSCRIBE,
	STRATUM_CLIENT_AUTHORIZE,
	STRATUM_CLIENT_RUN,
};

enum stratum_client_action {
	STRATUM_DO_CONNECT = 1,   /* to conf.pools[pool]; then stratum_client_connected or _closed */
	STRATUM_DO_CLOSE = 2,     /* before any connect; do not report this close */
	STRATUM_DO_WORK = 4,      /* `work` changed: job, or mask */
	STRATUM_DO_STOP_WORK = 8, /* no connection: hashing is wasted */
	STRATUM_DO_SHOW = 16,     /* `message` is new */
};

/* What to hash now. serial grows with every job of this client. */
struct stratum_work {
	uint64_t serial;              /* 0: none yet */
	struct stratum_job job;
	struct stratum_bytes extranonce1;
	uint32_t extranonce2_size;
	uint32_t version_mask;
	double difficulty;
};

struct stratum_client_stats {
	uint64_t submitted, accepted, rejected, stale, lost; /* lost: the connection ended before the answer */
	uint64_t jobs, garbled, connects, failures;
	double difficulty_accepted;   /* sum */
	int last_error;               /* code of the last rejected share */
};

struct stratum_pending {
	uint64_t id;                  /* 0: free */
	enum stratum_method method;
	int64_t deadline_ns;
	double difficulty;            /* of a share */
};

struct stratum_client {
	struct stratum_client_conf conf;
	struct rng *rng;              /* borrowed; jitter of the backoff */
	enum stratum_client_state state;
	size_t pool;                  /* index of the present or next one */
	unsigned failures;            /* in a row */
	unsigned actions;
	unsigned garbled;             /* in a row */
	int64_t deadline_ns;          /* of the state */
	int64_t heard_ns;             /* last line */
	uint64_t next_id;
	struct buf in, out;           /* owned */
	struct stratum_pending pending[STRATUM_PENDING_MAX];
	struct stratum_extranonce extranonce; /* of the next job */
	double next_difficulty;
	struct stratum_work work;
	uint64_t clean_serial;        /* shares of earlier jobs are stale */
	char message[STRATUM_TEXT_MAX + 1];
	char last_failure[128];       /* why the last connection ended */
	struct stratum_client_stats stats;
};

/* A share found. The job is the present one or an earlier one of this connection. */
struct stratum_share {
	uint64_t serial;              /* of its work, as the next two */
	double difficulty;
	char job_id[STRATUM_JOB_ID_MAX + 1];
	struct stratum_bytes extranonce2;
	uint32_t ntime, nonce, version; /* the version hashed */
};

void stratum_client_init(struct stratum_client *c, const struct stratum_client_conf *conf, struct rng *rng);
void stratum_client_release(struct stratum_client *c);
/* Asks for the first connection. */
void stratum_client_start(struct stratum_client *c, int64_t now_ns);
void stratum_client_connected(struct stratum_client *c, int64_t now_ns);
/* The connection ended or could not be made. */
void stratum_client_closed(struct stratum_client *c, int64_t now_ns);
void stratum_client_input(struct stratum_client *c, struct str bytes, int64_t now_ns);
/* To be called at stratum_client_wake_ns or later. */
void stratum_client_tick(struct stratum_client *c, int64_t now_ns);
int64_t stratum_client_wake_ns(const struct stratum_client *c);
/* Returns the actions since the last call and forgets them. */
unsigned stratum_client_actions(struct stratum_client *c);
/* HCP_ESTATE no connection, or the job is void (counted stale); HCP_ELIMIT too many unanswered. */
int stratum_client_submit(struct stratum_client *c, const struct stratum_share *s, int64_t now_ns, struct err *err)
	MUST_CHECK;

#endif
