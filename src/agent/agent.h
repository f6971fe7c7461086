#ifndef HCP_AGENT_AGENT_H
#define HCP_AGENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "stratum/client.h"

struct agent;
struct loop;
struct control;
struct program_table;

/* One node: its device, pool, runtime, endpoint and link, on one loop. All strings are borrowed for its life. */
struct agent_conf {
	const struct program_table *programs; /* that may run here; NULL or empty: none */
	const char *checkpoints;              /* the folder that nodes share; needed with programs */
	uint32_t grace_ms;                    /* for a program to save itself; 0: PROGRAM_GRACE_MS */
	const char *mesh_host;   /* NULL: stand-alone, with a lease that never ends, filling when nobody asks */
	uint16_t mesh_port;
	const char *token;       /* NULL: none */
	struct stratum_pool_address pools[STRATUM_POOLS_MAX];
	size_t n_pools;          /* 0: cannot mine */
	const char *model_dir;   /* NULL: cannot serve */
	const char *state_dir;   /* node id, the runtime's socket; made if missing */
	const char *listen_host;
	uint16_t listen_port;    /* 0: any free one */
	const char *advertise;   /* endpoint URL for the platform; NULL: http://listen_host:port */
	const char *facility, *region;
	const char *feed;        /* where it hangs in the facility's power tree: "north/p3"; NULL: the site's file says */
	/* PEM, of the control plane's connection; all or none. The node's id must be one that the certificate is for. */
	const char *ca_file, *cert_file, *key_file;
	const char *node_id;     /* NULL: the stored one, else the certificate's if it is for one only, else a new one */
	unsigned threads;        /* 0: one a CPU */
	const char *engine;      /* NULL: the best */
	uint32_t linger_ms;      /* 0: CONTROL_LINGER_MS */
	const char *program;     /* this executable, for the runtime process */
	const char *version;
};

/*
 * The calling thread runs at raised priority afterwards (priority.h). HCP_EINVAL with the option's name in err->field;
 * HCP_EIO, HCP_EPERM from state folder, socket or threads.
 */
int agent_new(struct loop *loop, const struct agent_conf *conf, struct agent **ret, struct err *err) MUST_CHECK;
/* Closes the gate, sends the last report (turning the loop for at most 200 ms) and ends everything. NULL is fine. */
void agent_free(struct agent *a);
/* Appends the JSON object of GET /health. */
void agent_health(struct agent *a, struct buf *b);
uint16_t agent_port(const struct agent *a);
const char *agent_node_id(const struct agent *a);

#endif
