#ifndef HCP_SIM_MARKET_FEED_H
#define HCP_SIM_MARKET_FEED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "sim/replay.h"
#include "sim/synth.h"

struct loop;
struct tls_ctx;
struct market_feed;

/*
 * Sends a market to the optimizer at `speed` market seconds per wall second, never ahead of the wall clock. Values of
 * one instant travel in one request. While hcpd is away the market goes on; when it is back it gets the newest values
 * first. With the first connection hcpd is asked where its market stands: a market never goes back, so a feed that is
 * started anew goes on from there. One thread.
 */
enum {
	FEED_BATCH_MAX = 512,   /* ticks of one request */
	FEED_IN_FLIGHT_MAX = 4, /* requests; the market's clock waits for nobody, its values do */
	FEED_LATEST_MAX = 512,  /* values sent anew after a break */
	FEED_RETRY_MS = 1000,
	FEED_ONCE_MS = 60000, /* `once` gives up after this */
};

struct market_feed_conf {
	struct replay *replay;   /* borrowed; NULL: synth */
	struct synth *synth;     /* borrowed */
	const char *host;        /* of hcpd's mesh port, borrowed until return */
	uint16_t port;
	const char *token;       /* borrowed until return; "" for none */
	struct tls_ctx *tls;     /* of mesh_link_tls, referenced; NULL: plain */
	int64_t from_ns;         /* market time at the start */
	double speed;            /* > 0 */
	bool once;               /* the state at from_ns, then the end */
	bool loop;               /* at the end of the replay start over; the market's time goes back then */
	/* The replay or the one request is done, or (code < 0, once) could not be. May be NULL. */
	void (*on_end)(void *arg, int code);
	void *arg;
};

struct market_feed_stats {
	uint64_t sent, accepted, rejected; /* ticks; sent counts repeats too */
	uint64_t requests, failed;
};

int market_feed_new(struct loop *loop, const struct market_feed_conf *conf, struct market_feed **ret, struct err *err)
	MUST_CHECK;
void market_feed_free(struct market_feed *f);
const struct market_feed_stats *market_feed_stats(const struct market_feed *f);
/* Market time now. */
int64_t market_feed_now_ns(const struct market_feed *f);

#endif
