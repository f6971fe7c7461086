#ifndef HCP_FEED_FEEDS_H
#define HCP_FEED_FEEDS_H

#include "feed/conf.h"

struct host;
struct feeds;

/*
 * The market's sources at work, on a thread and loop of their own beside the services: asks, checks, chooses who
 * speaks, and sends what is new to the optimizer as Ticks, with the state of all sources. Other threads only call what
 * is here.
 *
 *	feeds_new, feeds_start, …, feeds_stop (before the host ends), feeds_free (after it)
 */
enum {
	FEEDS_QUEUE_MAX = 1024,     /* ticks that wait for the optimizer */
	FEEDS_CALL_MS = 5000,       /* for its answer */
	FEEDS_STATUS_MS = 60000,    /* the sources' state is told so often, and when it changes */
	FEEDS_CREDENTIALS_MAX = 16, /* different logins */
};

/* Takes *conf over (also when it fails). version stands in User-Agent; borrowed. */
int feeds_new(struct feed_conf *conf, const char *version, struct feeds **ret, struct err *err) MUST_CHECK;
int feeds_start(struct feeds *f, struct host *host, struct err *err) MUST_CHECK;
/* Ends the thread; nothing is sent after this. NULL is fine. */
void feeds_stop(struct feeds *f);
/* No answer of the host may be out any more. NULL is fine. */
void feeds_free(struct feeds *f);

#endif
