#ifndef HCP_SIM_DEMAND_H
#define HCP_SIM_DEMAND_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"
#include "base/str.h"

/*
 * Customers' jobs: when the next comes, how large it is and how long it runs. Pure and repeatable from the seed.
 * Arrivals are Poisson at target / mean duration, which keeps about `target` running (Little's law). Sizes and
 * durations are drawn from a recorded trace of GPU pods where there is one, with durations scaled to the wished
 * median; else from an exponential distribution and small sizes.
 */
enum {
	DEMAND_SAMPLES_MAX = 20000,
	DEMAND_DURATION_MIN_S = 5,
	DEMAND_STRETCH_MAX = 20, /* longest duration, in medians */
};

struct demand_sample {
	int32_t gpus;
	double duration_s;
};

struct demand {
	struct rng rng;
	double target, median_s, mean_s;
	struct demand_sample *samples; /* owned; NULL: none */
	size_t n_samples;
	uint64_t made;
};

struct demand_job {
	const char *type;  /* "ai_inference_batch", …; static */
	int priority;
	int gpus;
	int64_t duration_s;
};

/* target: workloads at once; median_s: of their durations. Both > 0. */
void demand_init(struct demand *d, uint64_t seed, double target, double median_s);
void demand_release(struct demand *d);
/* The text of gpu_cluster_pods_alibaba_2023.csv. HCP_EPARSE, HCP_ENOTFOUND (no pod with GPUs), HCP_ENOMEM. */
int demand_load_pods(struct demand *d, struct str text, struct err *err) MUST_CHECK;
void demand_next(struct demand *d, struct demand_job *ret);
/* Time to the arrival after this one. */
int64_t demand_wait_ns(struct demand *d);

#endif
