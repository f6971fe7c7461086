#ifndef HCP_FEED_FEEDS_PRIV_H
#define HCP_FEED_FEEDS_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/rng.h"
#include "feed/b2c.h"
#include "feed/feeds.h"
#include "feed/kind.h"
#include "feed/quantity.h"
#include "feed/retry.h"
#include "http/http_client.h"
#include "http/ws.h"
#include "loop/loop.h"

struct msg;
struct source;

/* One login, shared by the sources that name the same file and server. */
struct login {
	const char *token_url, *credentials; /* borrowed from the settings */
	struct feed_bearer bearer;
	unsigned generation;    /* of the bearer */
	struct http_call *call; /* under way */
	struct list waiting;    /* struct source.waiting */
	struct feeds *feeds;
};

enum source_state {
	SOURCE_WAITING, /* has not answered yet */
	SOURCE_OK,
	SOURCE_LIMITED, /* 429: holds still until it may ask again */
	SOURCE_FAILING,
};

struct source {
	struct feeds *feeds;
	const struct feed_source_conf *conf; /* borrowed */
	struct feed_quantity *quantity;      /* borrowed from feeds */
	struct feed_member *member;
	struct feed_retry retry;
	struct loop_timer timer; /* next round; live: also the least time between two values */
	enum source_state state;
	char problem[160]; /* of the last failure; "" when all is well */
	uint64_t failures;
	/* the round in hand */
	struct feed_creds *creds; /* owned, only while a round needs them */
	struct feed_turn turn;
	struct feed_answer answer;
	bool logged_in_again;
	unsigned generation; /* of the bearer that the request in hand carries */
	/* polled */
	struct http_call *call;
	struct login *login;          /* borrowed; NULL: needs none */
	struct list waiting;          /* in login->waiting */
	char etag[128], modified[64]; /* of the last whole answer, if it had one page */
	bool conditional;             /* the request in hand carries them */
	/* live */
	struct ws *ws;
	struct loop_timer stall;
	struct feed_reading latest;      /* came within `every`, not offered yet */
	bool has_latest, spoke, closing; /* spoke: since it was connected */
};

struct outgoing {
	const struct feed_quantity *quantity; /* borrowed */
	const struct feed_source_conf *conf;
	struct feed_reading reading;
};

struct feeds {
	struct feed_conf conf; /* owned */
	const char *version;
	struct host *host;
	struct loop *loop;
	pthread_t thread;
	bool running;
	atomic_bool stopping;
	struct http_client *http;
	struct tls_ctx *tls;   /* of the WebSockets */
	struct rng rng;        /* jitter only */
	struct source *source; /* owned, conf.n of them */
	struct feed_quantity *quantity[FEED_SOURCES_MAX];
	size_t n_quantities;
	struct login login[FEEDS_CREDENTIALS_MAX];
	size_t n_logins;
	struct loop_timer second;
	/* to the optimizer: one message at a time */
	struct loop_defer flush;
	struct outgoing queue[FEEDS_QUEUE_MAX];
	size_t n_queue, n_sent; /* the first n_sent of the queue are in the message under way */
	bool in_flight;
	struct msg *reply;  /* handed from the answering thread */
	int64_t retry_ms;   /* loop time before which nothing is sent; 0: none */
	int64_t status_ms;  /* loop time at which the state was told last */
	uint64_t told_hash; /* of that state */
	int64_t refusal_logged_ms;
};

/* poll.c, live.c: begin a round or a connection now. */
void source_poll(struct source *s);
void source_live(struct source *s);
void source_stalled(struct loop *loop, void *arg); /* its timer's function */

/* source_end.c: how a round ended. */
void source_failed(struct source *s, int code, int64_t retry_after_ms, bool limited, const char *why);
void source_took(struct source *s, const struct feed_reading *r, size_t n);
void source_unchanged(struct source *s);
void source_release_creds(struct source *s);

/* login.c */
void login_need(struct source *s);   /* goes on with source_page or source_failed */
void login_forget(struct source *s); /* the token was refused */
/* poll.c */
void source_page(struct source *s);
/* The request as headers for the client; user-agent and accept are put in front. Returns how many. */
size_t source_headers(const struct feeds *f, const struct feed_request *r, struct http_header *dst, size_t cap);

/* send.c */
void feeds_pump(struct feeds *f, struct feed_quantity *q);
void feeds_flush(struct loop *loop, void *arg);
const char *source_state_name(const struct source *s, int64_t now_ns);

#endif
