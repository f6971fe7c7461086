#ifndef HCP_SVC_HOST_H
#define HCP_SVC_HOST_H

#include "svc/svc.h"

/*
 * Runs a set of services in this process, one thread each, on one bus, and knows where the others are.
 */
struct host;

struct host_conf {
	const char *state_dir;   /* databases and log go below it */
	bool durable;
	const void *svc_conf[SVC_COUNT]; /* borrowed, handed to each def->open */
	void (*send_agent)(void *arg, const char *node_id, struct str bytes);
	void *send_arg;
	/* Carries a message to a service that is not in this process; takes m. NULL: answered "unavailable". */
	void (*remote)(void *arg, int target, struct msg *m);
	void *remote_arg;
	int64_t base_bytes; /* as in svc_conf, for every service; bases go to STATE/bases/SERVICE */
	int bases_kept;
};

/* Opens the bus; services are added, then started. */
int host_new(const struct host_conf *conf, struct host **ret, struct err *err) MUST_CHECK;
int host_add(struct host *h, const struct svc_def *def, struct err *err) MUST_CHECK;
int host_start(struct host *h, struct err *err) MUST_CHECK;
/* Stops the threads after the batch in hand, syncs, closes everything. */
void host_free(struct host *h);

struct bus *host_bus(struct host *h);
/* NULL if it is not in this process. */
struct svc *host_service(struct host *h, int id);
/*
 * Hands m to its target (by the message's own row in spec/messages.toml). m is taken in any case; its reply_fn is
 * called exactly once, from another thread. Stamps at_ns if it is 0.
 */
void host_send(struct host *h, struct msg *m);

#endif
