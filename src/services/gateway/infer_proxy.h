#ifndef HCP_SERVICES_GATEWAY_INFER_PROXY_H
#define HCP_SERVICES_GATEWAY_INFER_PROXY_H

#include "base/breaker.h"
#include "services/gateway/gateway_priv.h"

/*
 * Which nodes serve which models, as told by resources: NodesList at start, resources.endpoints from then on. A node
 * is freed when it is neither known nor in use by a call.
 */
enum {
	ENDPOINT_NODES_MAX = 4096, ENDPOINT_MODELS_MAX = 32, ENDPOINT_DEVICES_MAX = 256, ENDPOINT_NAME_MAX = 96,
	ENDPOINT_URL_MAX = 256,
};

struct endpoint_device {
	char id[ENDPOINT_NAME_MAX];
	bool serving;          /* its gate is open now: no switch needed */
};

struct endpoint {
	char node_id[ENDPOINT_NAME_MAX];
	char url[ENDPOINT_URL_MAX];
	char (*models)[ENDPOINT_NAME_MAX]; /* owned */
	size_t n_models;
	struct endpoint_device *devices;   /* owned */
	size_t n_devices;
	size_t in_flight, refs;
	struct breaker breaker;
	bool listed;           /* in the table */
};

struct endpoints {
	struct map by_node;    /* → struct endpoint, owned */
};

void endpoints_init(struct endpoints *e);
void endpoints_release(struct endpoints *e);
void endpoints_node(struct endpoints *e, const Hcp__Node *n);
void endpoints_changed(struct endpoints *e, const Hcp__EndpointChanged *ev);
bool endpoint_serves(const struct endpoint *n, struct str model);
/*
 * The node for one request: serving ones first, then the fewest requests in flight, then by name; `not` is left out.
 * NULL if none may be asked now; *ret_known tells whether any serves the model at all.
 */
struct endpoint *endpoints_pick(struct endpoints *e, struct str model, const struct endpoint *not, int64_t now_ns,
				bool *ret_known);
void endpoint_ref(struct endpoint *n);
void endpoint_unref(struct endpoint *n);

void infer_proxy_event(struct infer_proxy *p, const Hcp__EndpointChanged *ev);

#endif
