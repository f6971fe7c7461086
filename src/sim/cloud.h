#ifndef HCP_SIM_CLOUD_H
#define HCP_SIM_CLOUD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;
struct cloud;

/*
 * A provider of nodes as src/courier/provider.h calls one, on loopback: a started node is a process `hcp-sim fleet` of
 * this program with one node, which connects to the platform like any other; a stopped one is ended. Idempotent by
 * token: a start of a token that stands or stood changes nothing. Nodes live as long as this process. One thread.
 *
 *	GET /v1/nodes    all of them, also stopped ones: { nodes: [ { token, node, state, starts } ] }
 */
enum { CLOUD_NODES_MAX = 1024, CLOUD_TEXT_MAX = 64, CLOUD_STOP_MS = 5000 };

struct cloud_conf {
	uint16_t port;          /* 0: any free one */
	const char *mesh;       /* borrowed, as token_file; where nodes connect to */
	const char *token_file; /* NULL: none */
	const char *ca_file, *cert_file, *key_file; /* borrowed; of the nodes' TLS; all or none */
	double usd_device_h;
	uint32_t boot_ms; /* a started node runs after that */
	uint32_t fail;    /* so many calls are answered 500 first */
	bool hang;        /* starts are done and never answered */
	bool lie;         /* nodes are said to run; nothing does */
};

int cloud_new(struct loop *loop, const struct cloud_conf *conf, struct cloud **ret, struct err *err) MUST_CHECK;
/* Ends all nodes at once. NULL is fine. */
void cloud_free(struct cloud *c);
uint16_t cloud_port(const struct cloud *c);

#endif
