#ifndef HCP_MODEL_WORKLOAD_H
#define HCP_MODEL_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* The kinds of work of SCHED-1. Numbers are stored and sent: never renumber. */
enum workload_type {
	WORKLOAD_AI_INFERENCE_REALTIME = 1,
	WORKLOAD_AI_INFERENCE_BATCH = 2,
	WORKLOAD_MODEL_TRAINING = 3,
	WORKLOAD_BITCOIN_MINING = 4,
	WORKLOAD_TYPE_END = 5, /* one past the last */
};

/* P1 first. Follows from the type; inside a class a priority of 1 (first) to 10. */
enum workload_class {
	WORKLOAD_P1 = 1, /* real-time inference */
	WORKLOAD_P2 = 2, /* batch inference */
	WORKLOAD_P3 = 3, /* training */
	WORKLOAD_P4 = 4, /* mining: filler, yields first */
	WORKLOAD_CLASS_END = 5,
};

enum workload_state {
	WORKLOAD_QUEUED = 0,
	WORKLOAD_SCHEDULED = 1,
	WORKLOAD_RUNNING = 2,
	WORKLOAD_PAUSED = 3,
	WORKLOAD_COMPLETED = 4,
	WORKLOAD_FAILED = 5,
	WORKLOAD_CANCELLED = 6,
	WORKLOAD_STATE_END = 7,
};

enum workload_event {
	WORKLOAD_EV_SCHEDULE = 0, /* devices reserved */
	WORKLOAD_EV_START = 1,    /* verified to run */
	WORKLOAD_EV_PAUSE = 2,    /* its owner holds it back; devices given up */
	WORKLOAD_EV_RESUME = 3,   /* its owner lets it go on: through the queue */
	WORKLOAD_EV_COMPLETE = 4,
	WORKLOAD_EV_FAIL = 5,
	WORKLOAD_EV_CANCEL = 6,
	WORKLOAD_EV_REQUEUE = 7, /* devices given up; waits again */
	WORKLOAD_EVENT_END = 8,
};

/* Limits of one submission. */
enum {
	WORKLOAD_PRIORITY_MIN = 1,
	WORKLOAD_PRIORITY_MAX = 10,
	WORKLOAD_GPU_COUNT_MAX = 4096,
	WORKLOAD_CPU_CORES_MAX = 65536,
	WORKLOAD_MEMORY_GIB_MAX = 1048576, /* 1 PiB over the whole gang */
	WORKLOAD_LATENCY_MS_MAX = 600000,
	WORKLOAD_DURATION_S_MAX = 31536000, /* a year */
	WORKLOAD_NAME_MAX = 128,
	WORKLOAD_MODEL_MAX = 256,
	WORKLOAD_CALLBACK_MAX = 2048,
	WORKLOAD_REGION_MAX = 64,
	WORKLOAD_PROJECT_MAX = 63,
	WORKLOAD_FRACTION_WHOLE = 1000, /* thousandths of one GPU */
};

/*
 * What a customer submits. Strings are borrowed from the request; {NULL, 0} where absent. Zero means "not given"
 * for every number. A mining workload names a hash target, not GPUs.
 */
struct workload_spec {
	struct str name;
	struct str model_id;      /* needed for both inference types */
	struct str gpu_type;      /* a device class name ("H100") or absent for any */
	struct str region;        /* data residency: run only there; absent: anywhere */
	struct str callback_url;  /* https:// or http:// */
	struct str project;       /* of the customer: letters, digits, '-' and '_' */
	enum workload_type type;
	int priority;             /* 1..10; 0 takes 5 */
	int64_t gpu_count;        /* of the gang; 0 for CPU or mining work */
	int64_t gpu_fraction_milli; /* of each GPU, 1..1000; 0: whole */
	int64_t cpu_cores;
	int64_t memory_gib;       /* GPU memory over the whole gang */
	int64_t max_latency_ms;   /* real-time only */
	int64_t duration_s;       /* expected */
	int64_t deadline_ns;      /* UTC; 0: none */
	int64_t max_price_micros_h; /* the customer's limit per hour for the whole gang; 0: none */
	bool checkpointable;        /* stopping it loses nothing: it saves itself and goes on from there */
	bool spot;                /* cheap, may be preempted at any time */
};

/*
 * The transition table's answer: HCP_ESTATE where `event` is not allowed in `state`, with a sentence that names the
 * state and what its owner may ask instead.
 */
int workload_next(enum workload_state state, enum workload_event event, enum workload_state *ret,
	struct err *err) MUST_CHECK;
/* completed, failed and cancelled never change again. */
bool workload_state_is_final(enum workload_state state);
/* scheduled and running hold devices; paused gave them back. */
bool workload_state_holds_devices(enum workload_state state);

enum workload_class workload_class_of(enum workload_type type);
/* Wait target of SCHED-2: 100 ms, 5 min, 30 min; 0 for P4, which has none. */
int64_t workload_wait_target_ns(enum workload_class c);

/* Names as the API writes them; NULL for a number outside the enum. */
const char *workload_type_name(enum workload_type type);
const char *workload_class_name(enum workload_class c);
const char *workload_state_name(enum workload_state state);
const char *workload_event_name(enum workload_event event);
/* HCP_EINVAL for an unknown name. */
int workload_type_parse(struct str s, enum workload_type *ret) MUST_CHECK;
int workload_state_parse(struct str s, enum workload_state *ret) MUST_CHECK;

/*
 * Checks every field and their combination against the limits above; err->field is the offending field's name.
 * now_ns is the time of acceptance (a deadline must lie after it). Codes: HCP_EINVAL, HCP_ERANGE, HCP_ENOTFOUND
 * (unknown gpu_type). Changes nothing.
 */
int workload_validate(const struct workload_spec *w, int64_t now_ns, struct err *err) MUST_CHECK;

#endif
