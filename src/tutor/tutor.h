#ifndef HCP_TUTOR_TUTOR_H
#define HCP_TUTOR_TUTOR_H

#include "base/err.h"

struct host;

/*
 * Trains the models that the optimizer wants, in a thread of its own, and reads those that come in files. It keeps
 * nothing: a model that was under way when it dies is wanted again.
 */
struct tutor;

enum {
	TUTOR_POLL_MS = 5000, /* between two questions, while nothing is wanted */
	TUTOR_RETRY_S = 3600, /* before a lesson that could not be had is asked for again */
	TUTOR_SKIP_MAX = 128, /* such lessons */
};

struct tutor_conf {
	struct host *host;      /* where the optimizer is; borrowed */
	const char *models_dir; /* of stochastic-POINT.bin and ppo-SITE.bin; borrowed; NULL: there are none */
	int poll_ms;            /* 0: TUTOR_POLL_MS */
};

int tutor_new(const struct tutor_conf *conf, struct tutor **ret, struct err *err) MUST_CHECK;
/* A training that is under way ends soon; sends nothing any more; the host may go. NULL is fine. */
void tutor_stop(struct tutor *t);
/* After the host: it has answered all that was asked. NULL is fine. */
void tutor_free(struct tutor *t);

#endif
