#ifndef HCP_CMD_DAEMON_SERVICES_H
#define HCP_CMD_DAEMON_SERVICES_H

#include "svc/svc.h"

enum { SERVICES_PATH_MAX = 4096 };

/* Settings of every service, built from the state folder and the settings. */
struct host;
struct services_conf;
struct settings;

/* token_s: life of a bearer token; 0: the default. settings is borrowed. */
int services_conf_new(const char *state_dir, int token_s, const struct settings *settings,
	struct services_conf **ret, struct err *err) MUST_CHECK;
/* Where status finds the services' counters; before host_start. */
void services_conf_host(struct services_conf *c, struct host *host);
/* What callbacks' secrets are derived from, ORCHESTRATOR_KEY_BYTES; copied. Before host_add. */
void services_conf_callback_key(struct services_conf *c, const unsigned char *key);
void services_conf_free(struct services_conf *c);
/* NULL if this program has no such service (the gateway and realtime are no services of the host). */
const struct svc_def *services_def(int id);
const void *services_conf_of(const struct services_conf *c, int id);

#endif
