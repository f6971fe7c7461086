#ifndef HCP_AGENT_ENDPOINT_H
#define HCP_AGENT_ENDPOINT_H

#include <stdint.h>

#include "base/err.h"
#include "base/hist.h"
#include "base/str.h"

struct control;
struct slot;
struct loop;
struct endpoint;

/*
 * The node's inference endpoint.
 *
 *   request ─▶ control_request_begin (closes the gate to fillers) ─▶ runtime ─▶ answer ─▶ control_request_end
 *              │ refused: 503 problem with Retry-After
 *
 * Bodies are not looked at here: the runtime, which has no rights, parses them. `added_ns` is what the node adds to
 * the runtime's own computing: from the request's arrival to its answer, less RUNTIME_COMPUTE_HEADER. One thread.
 */
#define ENDPOINT_PROOF_HEADER "x-hcp-proof"

struct endpoint_conf {
	struct loop *loop;
	const char *host;       /* address; borrowed until return */
	uint16_t port;          /* 0: any free one */
	struct control *control;/* borrowed */
	struct slot *slot;      /* borrowed; NULL: no model, every request is refused */
	const char *model;      /* borrowed; "" without a slot */
	const char *proof;      /* borrowed; a request with this ENDPOINT_PROOF_HEADER is the node's own and not metered */
	/* Appends the answer of GET /health. */
	void (*health)(void *arg, struct buf *b);
	void *arg;
};

int endpoint_new(const struct endpoint_conf *conf, struct endpoint **ret, struct err *err) MUST_CHECK;
/* Requests that run are cut. NULL is fine. */
void endpoint_free(struct endpoint *e);
uint16_t endpoint_port(const struct endpoint *e);
const struct hist *endpoint_added_ns(const struct endpoint *e);

#endif
