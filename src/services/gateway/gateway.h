#ifndef HCP_SERVICES_GATEWAY_H
#define HCP_SERVICES_GATEWAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct host;
struct gateway;

/* What the gateway needs; strings are copied, host and callbacks borrowed. */
struct gateway_conf {
	struct host *host;
	int service;               /* SVC_GATEWAY (0), or the service whose own port this is: its routes alone */
	const char *bind;          /* NULL: 127.0.0.1 */
	uint16_t port;             /* 0: any free one, see gateway_port */
	int threads;               /* loops that share the port; 0: 1, at most GATEWAY_THREADS_MAX */
	const char *cert_file, *key_file; /* PEM; NULL: plain */
	const char *web_dir;       /* the built portal, read once at start; NULL: none */
	const char *cors_origins;  /* comma-separated, "*" for any; NULL: same origin only */
	const char *machine_token; /* secret of agents, feeds and peers; NULL: machines cannot use REST */
	const char *version;
	/* State of a service that is not in this process: "ok", "down", or NULL if it is nowhere. NULL: none is. */
	const char *(*remote_state)(void *arg, int service);
	/* Unix seconds at which the certificate of the mesh ends, 0: none; of remote_arg. NULL: as 0. */
	int64_t (*cert_end_s)(void *arg);
	int cert_warn_days; /* with fewer left health is "degraded", with none "down" */
	void *remote_arg;
};

enum {
	GATEWAY_THREADS_MAX = 64,
	GATEWAY_PENDING_MAX = 16384, /* requests of one loop waiting for a service; more get 503 */
	GATEWAY_DEADLINE_MS = 30000,
	GATEWAY_BODY_MAX = 4 << 20,  /* bytes of a request */
	GATEWAY_GZIP_MIN = 1400,     /* bytes of an answer that are worth packing: more than one packet carries */
	GATEWAY_GZIP_MAX = 1 << 20,  /* more would hold up the loop (5 ms of a core a MiB of JSON) */
	GATEWAY_VERSIONS_MAX = 16,   /* tags of one If-Match */
	GATEWAY_SESSIONS_MAX = 8192, /* verified credentials remembered by one loop */
	GATEWAY_KEY_TTL_MS = 30000,  /* an API key is asked about again after so long, a wrong one too */
	GATEWAY_IP_PER_MIN = 1000,   /* requests without valid credentials from one address */
	GATEWAY_LOGIN_PER_MIN = 100, /* logins from one address */
	GATEWAY_WS_MAX = 4096,       /* WebSockets of one loop */
	GATEWAY_RESUME_MAX = 10000,  /* events a WebSocket may catch up on */
};

/* Listens and starts its threads. */
int gateway_new(const struct gateway_conf *conf, struct gateway **ret, struct err *err) MUST_CHECK;
uint16_t gateway_port(const struct gateway *gw);
/*
 * Stops accepting, closes WebSockets, refuses new requests and waits up to wait_ms for running ones. Afterwards the
 * host may be freed: what it still answers is taken, and answered requests leave in gateway_free.
 */
void gateway_drain(struct gateway *gw, uint32_t wait_ms);
/* After host_free. NULL is fine. */
void gateway_free(struct gateway *gw);

#endif
