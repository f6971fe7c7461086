#ifndef HCP_SERVICES_ORCHESTRATOR_CALLBACK_H
#define HCP_SERVICES_ORCHESTRATOR_CALLBACK_H

#include "services/orchestrator/orchestrator.h"
#include "svc/svc.h"

/*
 * Callbacks of workloads: src/services/orchestrator/callback.c keeps the queue, callback_sign.c the secrets, the sender
 * (src/courier) does the I/O. On the wire:
 *
 *   POST <callback_url>
 *   content-type: application/json
 *   hcp-delivery: cb-…            the same in every try: receivers drop what they have
 *   hcp-attempt: 1                counts from 1
 *   hcp-signature: t=<unix seconds>,v1=<hex>[,v1=<hex>]
 *
 * v1 is HMAC-SHA256(secret, "<t>." + body), once for each secret in force. Any 2xx is delivered; redirects are
 * failures.
 */
struct orchestrator;

/* HCP_EINVAL, field callback_url: not a URL, or plainly not of the public internet while that is asked for. */
int orch_callback_check(const struct orchestrator *o, const char *url, struct err *err) MUST_CHECK;
/* w has just come from that state: queues the callback if it has an address. */
int orch_callback_add(struct orchestrator *o, struct svc_ctx *ctx, const Hcp__Workload *w, Hcp__WorkloadState from,
	struct err *err) MUST_CHECK;
int orch_callback_timer(struct orchestrator *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
/* When that next has something to do; INT64_MAX: only a message can change it. */
int64_t orch_callback_due(const struct orchestrator *o);
/* The sender that waits is told to ask again. */
void orch_callback_release(struct orchestrator *o);
int orch_on_callback_take(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_callback_result(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_callbacks_get(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

/* callback_sign.c */
/* The header's value, in a; "" where there is no key (a replay, whose answers go nowhere). */
int orch_callback_sign(const struct orchestrator *o, struct svc_ctx *ctx, const char *customer_id, struct str body,
	struct arena *a, const char **ret, struct err *err) MUST_CHECK;
int orch_on_callback_secret(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_callback_rotate(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

#endif
