#ifndef HCP_COURIER_ASKER_H
#define HCP_COURIER_ASKER_H

#include <pthread.h>
#include <stdbool.h>

#include "base/err.h"
#include "loop/loop.h"
#include "svc/msg.h"

struct host;

/*
 * Does the I/O of a service that must do none: a thread with a loop that asks the service for work, and is answered
 * when there is some. At most one question is out; one that is refused is asked again after ASKER_RETRY_MS.
 *
 *	question ──▶ service ──(answers from its thread)──▶ work(), on the loop's thread ──▶ results, as messages
 *	   ▲                                                        │
 *	   └───────────── has_room(), asker_ask() ──────────────────┘
 */
enum { ASKER_RETRY_MS = 1000, ASKER_WAIT_MS = 30000 };

struct asker_conf {
	struct host *host; /* borrowed */
	const char *name;  /* of the thread; static */
	unsigned answer;   /* type of the answer that is work */
	/* fresh: none was answered yet. NULL: out of memory. On the loop's thread, the first time on asker_start's. */
	struct msg *(*question)(void *arg, bool fresh);
	bool (*has_room)(void *arg);
	void (*work)(void *arg, const struct msg *answer);
	void *arg;
};

struct asker {
	struct asker_conf conf;
	struct loop *loop; /* owned */
	pthread_t thread;
	bool running, stopped;
	bool asked;    /* a question is on its way or waits there */
	bool reported; /* one was answered: the next is not the first */
	struct loop_timer retry;
	pthread_mutex_t lock; /* answer */
	struct msg *answer;   /* owned; NULL: there was no memory for an answer */
};

int asker_init(struct asker *a, const struct asker_conf *conf, struct err *err) MUST_CHECK;
/* The thread and the first question. */
int asker_start(struct asker *a, struct err *err) MUST_CHECK;
/* There may be room again. On the loop's thread. */
void asker_ask(struct asker *a);
void asker_send(struct asker *a, struct msg *m);
/* No work is begun any more; the host may go. */
void asker_stop(struct asker *a);
/* After the host, and after all that is on the loop: it has answered all that was asked. */
void asker_release(struct asker *a);

#endif
