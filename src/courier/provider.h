#ifndef HCP_COURIER_PROVIDER_H
#define HCP_COURIER_PROVIDER_H

#include "base/err.h"
#include "base/str.h"
#include "sched/scale.h"

struct loop;

/*
 * Who rents nodes out. Every call returns at once and is answered exactly once through `done`, on the loop's thread and
 * never from inside the call, within its deadline: by then an implementation has given up and says so. Calls of
 * one token may be repeated, also after `done` told a failure: start and stop are idempotent by token at the provider.
 */
enum { PROVIDER_CALLS_MAX = 32, PROVIDER_ANSWER_MAX = 16 << 10, PROVIDER_ERROR_MAX = 120 };

struct provider_node {
	const char *token; /* borrowed during the call, as all of these */
	const char *type, *node, *device_class, *facility, *region;
	int32_t devices;
};

struct provider_answer {
	int code; /* 0, or why there is no answer */
	char error[PROVIDER_ERROR_MAX];
	enum scale_word says;
	int64_t price_micros_h; /* quote and start; 0: not told */
};
typedef void provider_done_fn(void *arg, const struct provider_answer *a);

struct provider;
struct provider_vt {
	const char *name;
	/* HCP_ELIMIT: PROVIDER_CALLS_MAX are under way; anything else but 0: the call was not made. No done then. */
	int (*quote)(struct provider *p, const struct provider_node *n, provider_done_fn *done, void *arg, struct err *err);
	int (*start)(struct provider *p, const struct provider_node *n, provider_done_fn *done, void *arg, struct err *err);
	int (*state)(struct provider *p, const struct provider_node *n, provider_done_fn *done, void *arg, struct err *err);
	int (*stop)(struct provider *p, const struct provider_node *n, provider_done_fn *done, void *arg, struct err *err);
	/* No done comes any more. */
	void (*free)(struct provider *p);
};

/* First member of every implementation. */
struct provider {
	const struct provider_vt *vt;
};

/*
 * A provider (or an adapter to one) that speaks JSON over HTTP:
 *
 *	POST   URL/v1/quote          { type, device_class, devices, region }                 → 200 { usd_h }
 *	PUT    URL/v1/nodes/TOKEN    { type, node, device_class, devices, facility, region } → 200 or 201 { state, usd_h }
 *	GET    URL/v1/nodes/TOKEN                                                            → 200 { state, usd_h }, 404
 *	DELETE URL/v1/nodes/TOKEN                                                            → 200 { state }, 404
 *
 * state: starting, running, stopped, failed; 404 on a node is "unknown". bearer: sent as authorization; "": none.
 * deadline_ms: of a call. Texts are copied.
 */
int provider_http_new(struct loop *loop, const char *url, const char *bearer, uint32_t deadline_ms,
	struct provider **ret, struct err *err) MUST_CHECK;
/* The body of an answer of status 200 or 201. HCP_EPARSE, HCP_EINVAL, HCP_ERANGE with the field. Pure. */
int provider_http_read(enum scale_call c, struct str body, struct provider_answer *ret, struct err *err) MUST_CHECK;

#endif
