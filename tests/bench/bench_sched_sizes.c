/*
 * Placements by size of an all-GPU fleet and by kind of request: a JSON line each.
 *
 *     bench_sched_sizes [placements]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"
#include "sched/placement.h"

enum { SAMPLES_MAX = 4000000 };

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Of this thread: what the reading takes away on a busy machine does not count. */
static int64_t cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct id owner(uint64_t n)
{
	struct id id = { { 1 } };
	memcpy(id.b + 8, &n, sizeof(n));
	return id;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

enum kind { SINGLE, GANG_8, GANG_64, PART_TIGHT, PART_FRAG, INSTANCE, POD_TIGHT, POD_FRAG, KIND_END };

static const struct {
	const char *name;
	uint32_t count; /* devices of a request */
	bool limits;    /* nodes have CPU and memory */
} kinds[KIND_END] = {
	[SINGLE] = { "whole device", 1, false },
	[GANG_8] = { "gang of 8", 8, false },
	[GANG_64] = { "gang of 64", 64, false },
	[PART_TIGHT] = { "fraction, tightest", 1, false },
	[PART_FRAG] = { "fraction, least fragmentation", 1, false },
	[INSTANCE] = { "MIG instance", 1, false },
	[POD_TIGHT] = { "fraction with CPU and memory, tightest", 1, true },
	[POD_FRAG] = { "fraction with CPU and memory, least fragmentation", 1, true },
};

static struct placement *build_gpus(uint32_t devices, bool limits)
{
	struct placement *p = placement_new(NULL);
	uint16_t at;
	struct placement_facility pf = { .region = "us", .latency_ms = 5, .price_usd_mwh = 30, .weight = 1 };
	if (!p || placement_add_facility(p, &pf, &at, NULL) < 0)
		return NULL;
	for (uint32_t i = 0; i < devices; i++) {
		placement_dev dev;
		struct placement_device d = { .cluster = i / 1000, .node = i / 8, .quality = { 1, 0.5, 0.001 * (i % 1000) } };
		if (placement_add_device(p, &d, &dev, NULL) < 0)
			return NULL;
	}
	for (uint32_t n = 0; limits && n < devices / 8; n++)
		if (placement_set_node(p, n, 96000, 768 * 1024, NULL) < 0)
			return NULL;
	return p;
}

static struct placement_request request_of(enum kind k, struct rng *rng, uint64_t i)
{
	static const uint16_t milli[] = { 160, 230, 320, 460, 470, 550, 590, 650, 810, 810, 470, 320 };
	struct placement_request r = { .owner = owner(i + 1),
		.cls = WORKLOAD_P1,
		.device_class = 0,
		.kind = DEVICE_GPU,
		.count = kinds[k].count,
		.split_clusters = true };
	if (k == INSTANCE)
		r.mig = (enum mig_geometry)(1 + rng_below(rng, MIG_4G));
	else if (k >= PART_TIGHT)
		r.milli = milli[rng_below(rng, sizeof(milli) / sizeof(milli[0]))];
	if (kinds[k].limits) {
		r.cpu_milli = 2000 + (uint32_t)rng_below(rng, 20) * 500;
		r.memory_mib = 4096 + (uint32_t)rng_below(rng, 64) * 1024;
	}
	r.fit = k == PART_FRAG || k == POD_FRAG ? PLACEMENT_FRAG : PLACEMENT_TIGHT;
	return r;
}

/*
 * Three fifths of the fleet stay held; a random one goes before each placement. Percentiles are of single placements by
 * the wall; the mean of a pair is of this thread's CPU time, with building the request and reading the clock in it.
 */
static int bench_size(uint32_t devices, enum kind k, uint64_t n)
{
	struct rng rng;
	rng_init(&rng, 7);
	struct placement *p = build_gpus(devices, kinds[k].limits);
	uint64_t cap = (uint64_t)devices * 6 / 10 / kinds[k].count;
	placement_handle *live = mem_calloc(cap, sizeof(*live));
	uint32_t *took = mem_calloc(n, sizeof(*took));
	int rc = p && live && took ? 0 : HCP_ENOMEM;
	int64_t began = 0;
	for (uint64_t i = 0; rc == 0 && i < cap + n; i++) {
		if (i == cap)
			began = cpu_ns();
		struct placement_request r = request_of(k, &rng, i);
		struct placement_result res;
		uint64_t at = i < cap ? i : rng_below(&rng, cap);
		placement_observe(p, &r);
		if (i >= cap && (rc = placement_release(p, live[at], NULL)) < 0)
			break;
		int64_t t1 = now_ns();
		rc = placement_reserve(p, &r, INT64_MAX, &res, NULL, NULL);
		int64_t t2 = now_ns();
		live[at] = res.handle;
		if (i >= cap)
			took[i - cap] = (uint32_t)(t2 - t1);
	}
	int64_t spent = cpu_ns() - began;
	if (rc == 0) {
		qsort(took, n, sizeof(*took), compare);
		printf("{\"id\":\"PERF-4-SIZES\",\"devices\":%u,\"request\":\"%s\",\"placements\":%llu,\"p50_ns\":%u,"
			   "\"p99_ns\":%u,\"place_and_release_cpu_ns\":%.0f}\n",
			devices, kinds[k].name, (unsigned long long)n, took[n / 2], took[n - n / 100 - 1],
			(double)spent / (double)n);
	}
	mem_free(live);
	mem_free(took);
	placement_free(p);
	return rc;
}

static int bench_sizes(uint64_t n)
{
	static const uint32_t devices[] = { 1000, 10000, 100000, 350000 };
	for (size_t d = 0; d < sizeof(devices) / sizeof(devices[0]); d++)
		for (int k = 0; k < KIND_END; k++)
			if (bench_size(devices[d], (enum kind)k, kinds[k].count > 8 ? n / 10 : n) < 0)
				return HCP_EINTERNAL;
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t n = 200000;
	if (argc > 1 && (num_parse_u64(str_of(argv[1]), &n) < 0 || n < 1000 || n > SAMPLES_MAX)) {
		fprintf(stderr, "placements: 1000 to %d\n", SAMPLES_MAX);
		return 2;
	}
	return bench_sizes(n) < 0;
}
