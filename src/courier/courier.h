#ifndef HCP_COURIER_COURIER_H
#define HCP_COURIER_COURIER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct host;

/*
 * Posts callbacks to customers' addresses: the I/O that the orchestrator must not do. It asks the orchestrator for work
 * (CallbackTake, which waits there), posts, and tells how it ended (CallbackResult). It keeps nothing: what is in its
 * hands when it dies is due again when the next one reports for work. One thread of its own.
 */
struct courier;

enum {
	COURIER_CALLS_MAX = 64,         /* posts at once; the orchestrator's CALLBACK_TAKE_MAX */
	COURIER_TIMEOUT_MS = 10000,     /* of one post, from the connection to the answer's end */
	COURIER_TIMEOUT_MAX_MS = 30000, /* well below the orchestrator's lease */
	COURIER_BODY_MAX = 4096,        /* bytes of an answer that are read, and not looked at */
};

struct courier_conf {
	struct host *host;   /* where the orchestrator is; borrowed */
	bool allow_private;  /* connect to addresses that are not public, too */
	uint32_t timeout_ms; /* 1 to COURIER_TIMEOUT_MAX_MS; 0: COURIER_TIMEOUT_MS */
	const char *version; /* of the user-agent; copied */
};

int courier_new(const struct courier_conf *conf, struct courier **ret, struct err *err) MUST_CHECK;
/* Sends nothing any more; the host may go. NULL is fine. */
void courier_stop(struct courier *c);
/* After the host: it has answered all that was asked. NULL is fine. */
void courier_free(struct courier *c);

#endif
