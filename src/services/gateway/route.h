#ifndef HCP_SERVICES_GATEWAY_ROUTE_H
#define HCP_SERVICES_GATEWAY_ROUTE_H

#include "base/map.h"
#include "http/http_server.h"
#include "spec_table.h"

/*
 * Method and path to a row of the route table. Paths without parameters are found by hash, and win over those with
 * "{name}" segments, which are tried in order. Immutable after init; any thread.
 */
enum { ROUTE_PARAMS_MAX = 4, ROUTE_VERBS = HTTP_M_OTHER };

struct route_path {
	struct str path;            /* borrowed from the table */
	int by_verb[ROUTE_VERBS];   /* row, -1: none */
};

struct router {
	const struct route_info *rows; /* borrowed */
	struct route_path *paths;      /* owned; those with parameters first */
	size_t n_paths, n_param;
	struct map literal;            /* path → struct route_path */
};

struct route_match {
	int row;                    /* of the table; -1 with verbs = 0: no such path */
	unsigned verbs;             /* bit per http_verb that the path offers */
	size_t n_params;
	struct route_param {
		struct str name, value; /* value as sent, percent-encoded */
	} params[ROUTE_PARAMS_MAX];
};

/*
 * service: SVC_GATEWAY for what the gateway offers, else what that service does on its own port: the paths of its own
 * messages and the short ones.
 */
int router_init(struct router *r, const struct route_info *rows, size_t n, int service, struct err *err) MUST_CHECK;
void router_release(struct router *r);
void router_match(const struct router *r, enum http_verb verb, struct str path, struct route_match *ret);
enum http_verb route_verb(const char *method);

#endif
