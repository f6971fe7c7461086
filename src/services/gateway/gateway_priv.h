#ifndef HCP_SERVICES_GATEWAY_PRIV_H
#define HCP_SERVICES_GATEWAY_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/rng.h"
#include "http/http_client.h"
#include "http/http_server.h"
#include "loop/loop.h"
#include "services/common/jwt.h"
#include "services/gateway/cache.h"
#include "services/gateway/gateway.h"
#include "services/gateway/limit.h"
#include "services/gateway/problem.h"
#include "services/gateway/route.h"
#include "svc/host.h"
#include "wire/trace.h"

/*
 *   gateway ── shared, read-only after start: conf, router, portal files; limits under a lock
 *      └── gw_loop × N, one thread each: server, sessions, answers, waiting requests, WebSockets, inference calls
 *
 *   request ─▶ match ─▶ who (session cache, signature, API key) ─▶ role ─▶ limit ─▶ cached answer
 *                                                                             └─▶ message ─▶ service ─▶ answer
 */
enum {
	GW_HEADERS_MAX = 20,
	GW_STATUSES = 21,
	GW_BUCKETS = 14,
	GW_EXTRA_ROUTES = 7, /* rows of the metrics beyond the route table, see gw_extra */
};

enum gw_extra {
	GW_ROW_EMBEDDINGS,
	GW_ROW_MODELS,
	GW_ROW_WS,
	GW_ROW_STATIC,
	GW_ROW_HEALTH,
	GW_ROW_METRICS,
	GW_ROW_OTHER
};

struct gateway;
struct gw_loop;
struct realtime;
struct infer_proxy;

/* Written by one loop, read by any. */
struct gw_row_stats {
	_Atomic uint64_t by_status[GW_STATUSES];
	_Atomic uint64_t latency[GW_BUCKETS];
	_Atomic uint64_t latency_ns, n;
};

struct gw_stats {
	struct gw_row_stats *rows; /* owned: route table, then the extra ones */
	_Atomic uint64_t cache_hits, cache_misses, limited, auth_failures, events, ws_open, ws_slow;
};

/* Verified credentials, or ones known to be wrong. */
struct session {
	struct list lru;
	int64_t until_ns;      /* wall clock */
	bool wrong;
	Hcp__Principal who;    /* strings are the arrays below */
	char user_id[64], customer_id[64], email[256];
	size_t key_n;
	char key[];            /* the token as sent */
};

typedef void gw_reply_fn(void *arg, struct msg *reply);

/* A message on its way; lives until the service has answered, even when nobody waits any more. */
struct waiter {
	struct waiter *next;
	struct gw_loop *gl;
	gw_reply_fn *fn;       /* NULL: gave up */
	void *arg;
	struct msg *reply;     /* owned */
	struct loop_timer timer;
};

struct gw_loop {
	struct gateway *gw;
	struct loop *loop;          /* owned */
	struct http_server *server; /* owned */
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;       /* done, posted */
	struct waiter *done, **done_end;
	bool posted;
	size_t waiting;
	atomic_size_t open_calls;
	struct map sessions;        /* token → struct session, owned */
	struct list session_lru;
	struct cache answers;
	struct jwt_key *key;        /* owned; NULL until identity has told it */
	bool key_asked;
	int64_t key_asked_ms;
	struct list key_waiters;    /* calls whose token cannot be checked before */
	struct rng rng;             /* trace ids, jitter */
	struct buf out, packed;     /* scratch for one answer */
	struct gzip *gzip;          /* owned; NULL until the first answer that is packed */
	struct gw_stats stats;
	struct realtime *realtime;  /* owned */
	struct infer_proxy *infer;  /* owned */
};

struct static_file {
	char *path;      /* "/assets/app-1a2b.js" */
	struct buf body, packed; /* packed empty: there is none */
	char etag[24], packed_etag[24];
	const char *type;
	bool immutable;
};

/* What the gateway reads and writes in messages that it otherwise only hands on; 0: there is no such field. */
struct route_fields {
	unsigned wait_ms;    /* offset of the request's int32 wait_ms */
	unsigned versions;   /* of its repeated int64 if_version ... */
	unsigned n_versions; /* ... and of their number */
	unsigned version;    /* of the reply's int64 version */
};

struct gateway {
	struct gateway_conf conf;   /* strings owned */
	struct host *host;
	struct router router;
	struct route_fields *fields; /* by row */
	struct gw_loop *loops;
	int n_loops;
	atomic_bool draining;
	pthread_mutex_t limit_lock; /* limits */
	struct limits limits;
	struct static_file *files;
	size_t n_files;
	struct map file_by_path;
	size_t files_bytes;
	int64_t started_ns;
};

/* One request. Lives in the request's arena: gone after the answer. */
struct call {
	struct list node;               /* key_waiters */
	struct gw_loop *gl;
	struct http_req *req;
	const struct route_info *route; /* NULL for what is not in the table */
	int row;                        /* of the metrics */
	struct route_match match;
	uint8_t role;                   /* that is needed; 0: public */
	struct str token;               /* credentials as sent */
	void (*then)(struct call *c);   /* once admitted */
	const Hcp__Principal *who;      /* NULL: public. Valid until the loop's next turn unless kept */
	int64_t start_ns;
	struct trace trace;
	char trace_text[TRACE_TEXT_LEN + 1];
	struct limit_result limit;      /* limit 0: unlimited */
	struct str cache_key;           /* p NULL: not cached */
	char *secret;                   /* a new API key or refresh token, to be shown once */
	const char *cache_control;      /* NULL: no-store */
	bool cookie;                    /* the refresh token goes out as a cookie */
	void *user;
};

/* gateway.c */
void gw_handle(struct http_req *req, void *arg);
/*
 * Sends m (taken in any case); fn comes exactly once on this loop's thread, never from inside: with the reply, which
 * is freed afterwards, or with NULL when the deadline passed. HCP_ELIMIT when too many wait: then fn does not come.
 */
int gw_ask(struct gw_loop *gl, struct msg *m, uint32_t deadline_ms, gw_reply_fn *fn, void *arg) MUST_CHECK;
struct call *gw_call_new(struct gw_loop *gl, struct http_req *req, int row);
/* Both answer and end the call. */
void gw_answer(struct call *c, int status, const struct http_header *hdrs, size_t n, struct str body);
void gw_problem(struct call *c, int code, const char *field, const char *detail);
void gw_problem_status(struct call *c, int status, int code, const char *field, const char *detail);
void gw_count(struct call *c, int status);
/* CORS headers for this request; returns how many were added. */
size_t gw_cors(struct call *c, struct http_header *h);

/* auth.c */
/* Credentials, role and limit; then c->then, or a problem. */
void gw_admit(struct call *c);
/* Copies c->who into the request's arena so that it outlives the turn. */
int gw_keep_who(struct call *c) MUST_CHECK;
void gw_ask_key(struct gw_loop *gl);
void gw_sessions_release(struct gw_loop *gl);
void gw_sha256(struct str s, unsigned char dst[32]);
/* A fresh API key ("hcp_") or refresh token ("hcr_"): its text in the request's arena, its digest. */
char *gw_new_secret(struct arena *a, const char prefix[4], unsigned char sha256[32]);

/* api.c: the route table */
void api_admitted(struct call *c);
/* Sends m (taken in any case) for c->who; its answer is the answer to the call. */
void api_send(struct call *c, struct msg *m, uint32_t deadline_ms);
/* Hands c->who over to a message. */
int api_set_principal(struct call *c, struct msg *m) MUST_CHECK;

/* body.c: answers to GET */
/*
 * Answers with a tag, or with 304 if the client has it already, packed if that is wanted and worth it, and keeps it if
 * the call has a cache key. version: of the one object that this is; 0: the tag is made of the bytes.
 */
void body_answer(struct call *c, const struct http_header *hdrs, size_t n, struct str body, int64_t version);
bool body_from_cache(struct call *c, struct str key);
/* Packs *body if that is wanted and worth it; returns how many headers were added (2 at most). */
size_t body_pack(struct call *c, struct str *body, struct http_header *h);
/* If-Match becomes the versions that the service shall check. HCP_ECONFLICT with field "if-match": no version fits. */
int body_precondition(struct call *c, struct msg *m, struct err *err) MUST_CHECK;
/* The tag of an object's version; NULL when out of memory. */
char *body_version_tag(struct call *c, int64_t version);

/* session.c: refresh tokens, which only the gateway and the client ever see */
/* Puts digests in the place of tokens in what identity is asked. */
int session_request(struct call *c, struct msg *m, struct err *err) MUST_CHECK;
/* A login was right: opens its session. */
void session_open(struct call *c, const Hcp__Principal *who);
/* Shows the token in the answer or in the cookie; returns how many headers were added. */
size_t session_reply(struct call *c, struct msg *reply, struct http_header *h);

/* static.c */
int static_load(struct gateway *gw, const char *dir, struct err *err) MUST_CHECK;
void static_release(struct gateway *gw);
void static_handle(struct call *c);

/* observe.c */
void observe_health(struct call *c);
void observe_metrics(struct call *c);
/* Fills the services' health into a status answer: only the host knows it. */
int observe_status(struct call *c, struct arena *a, Hcp__Status *status) MUST_CHECK;
int observe_init(struct gw_stats *s) MUST_CHECK;
extern const int observe_statuses[GW_STATUSES]; /* the last stands for all others */

/* openapi.c, generated from spec/ */
extern const char openapi_json[];
extern const size_t openapi_json_n;
extern const unsigned char openapi_gz[];
extern const size_t openapi_gz_n;
extern const char openapi_etag[]; /* with its quotes */

/* realtime.c */
int realtime_new(struct gw_loop *gl, struct realtime **ret, struct err *err) MUST_CHECK;
void realtime_stop(struct realtime *rt);
void realtime_free(struct realtime *rt);
void realtime_handle(struct call *c);

/* infer_proxy.c */
int infer_proxy_new(struct gw_loop *gl, struct infer_proxy **ret, struct err *err) MUST_CHECK;
void infer_proxy_stop(struct infer_proxy *p);
void infer_proxy_free(struct infer_proxy *p);
void infer_embeddings(struct call *c);
void infer_models(struct call *c);

#endif
