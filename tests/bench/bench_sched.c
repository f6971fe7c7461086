/*
 * PERF-4: placements over 350,000 devices, gangs of eight, and the queue in front. Prints one JSON line.
 *
 *     bench_sched [placements]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"
#include "sched/placement.h"
#include "sched/queue.h"

enum { GPUS = 100000, ASICS = 250000, FACILITIES = 4, LIVE = 20000, SAMPLES_MAX = 4000000, JOBS = 200000 };

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct id owner(uint64_t n)
{
	struct id id = { { 1 } };
	memcpy(id.b + 8, &n, sizeof(n));
	return id;
}

static struct placement *build(struct rng *rng)
{
	struct placement *p = placement_new(NULL);
	if (!p)
		return NULL;
	for (int f = 0; f < FACILITIES; f++) {
		uint16_t at;
		struct placement_facility pf = { .region = "us", .latency_ms = 5 + f * 3, .price_usd_mwh = 30 + f,
			.weight = 1, .carbon_g_kwh = 300 };
		if (placement_add_facility(p, &pf, &at, NULL) < 0)
			return NULL;
	}
	size_t h100 = device_class_index(device_class_find(STR("H100"))),
		   s21 = device_class_index(device_class_find(STR("S21")));
	for (uint32_t i = 0; i < GPUS + ASICS; i++) {
		bool gpu = i < GPUS;
		uint32_t k = gpu ? i : i - GPUS, per_facility = (gpu ? GPUS : ASICS) / FACILITIES;
		uint32_t node = gpu ? k / 8 : 20000 + k / 250;
		struct placement_device d = { .cls = (uint16_t)(gpu ? h100 : s21), .facility = (uint16_t)(k / per_facility),
			.cluster = gpu ? node / 125 : 1000 + k / 2500, .node = node,
			.quality = { 0.6 + 0.4 * rng_double(rng), rng_double(rng), rng_double(rng) } };
		placement_dev dev;
		/* Nodes do not straddle facilities: 100,000/4 is a multiple of 8 and 250,000/4 of 250. */
		struct err err;
		if (placement_add_device(p, &d, &dev, &err) < 0) {
			fprintf(stderr, "%s: %s\n", err.field, err.text);
			return NULL;
		}
		if (rng_below(rng, 3) == 0 && placement_set_fill(p, dev, true, NULL) < 0)
			return NULL;
	}
	return p;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* Reserve, and release one at random when LIVE are held: every placement is on a used inventory. */
static int bench_place(uint64_t n, uint32_t gang, double *ret_mean_ns, double *ret_p99_ns)
{
	struct rng rng;
	rng_init(&rng, 1);
	struct placement *p = build(&rng);
	placement_handle *live = mem_calloc(LIVE, sizeof(*live));
	uint32_t *took = mem_calloc(n, sizeof(*took));
	int rc = HCP_ENOMEM;
	if (!p || !live || !took)
		goto out;
	int64_t sum = 0;
	uint32_t cap = gang > 1 ? LIVE / 4 : LIVE;
	for (uint64_t i = 0; i < n; i++) {
		struct placement_request r = { .owner = owner(i + 1), .cls = WORKLOAD_P1, .kind = DEVICE_GPU, .count = gang,
			.device_class = i % 2 ? -1 : 0, .region = "us" };
		struct placement_result res;
		uint64_t at = i < cap ? i : rng_below(&rng, cap);
		if (i >= cap && (rc = placement_release(p, live[at], NULL)) < 0)
			goto out;
		int64_t t0 = now_ns();
		rc = placement_reserve(p, &r, (int64_t)i, &res, NULL, NULL);
		int64_t t1 = now_ns();
		if (rc < 0)
			goto out;
		live[at] = res.handle;
		took[i] = (uint32_t)(t1 - t0);
		sum += t1 - t0;
	}
	qsort(took, n, sizeof(*took), compare);
	*ret_mean_ns = (double)sum / (double)n;
	*ret_p99_ns = took[n - n / 100 - 1];
	placement_check(p);
out:
	mem_free(live);
	mem_free(took);
	placement_free(p);
	return rc;
}

static int bench_queue(double *ret_per_s)
{
	struct queue_conf conf = { .capacity = { 1e5, 1e6, 1e6, 1e9 } };
	struct queue *q = queue_new(&conf, NULL);
	if (!q)
		return HCP_ENOMEM;
	struct rng rng;
	rng_init(&rng, 2);
	int64_t t0 = now_ns();
	for (uint64_t i = 0; i < JOBS; i++) {
		struct queue_job j = { .id = owner(i + 1), .customer = rng_below(&rng, 1000), .cls = WORKLOAD_P2, .priority = 5,
			.enqueued_ns = (int64_t)i, .need = { 1, 8, 80, 700 } };
		if (queue_enqueue(q, &j, NULL) < 0)
			return HCP_ENOMEM;
	}
	struct queue_job j;
	uint64_t n = 0;
	while (queue_pop(q, JOBS, NULL, NULL, &j) == 0) {
		queue_uncharge(q, &j);
		n++;
	}
	*ret_per_s = (double)n * 1e9 / (double)(now_ns() - t0);
	queue_free(q);
	return n == JOBS ? 0 : HCP_EINTERNAL;
}

int main(int argc, char **argv)
{
	uint64_t n = 1000000;
	if (argc > 1 && (num_parse_u64(str_of(argv[1]), &n) < 0 || n < 1000 || n > SAMPLES_MAX)) {
		fprintf(stderr, "placements: 1000 to %d\n", SAMPLES_MAX);
		return 2;
	}
	double mean, p99, gang_mean, gang_p99, per_s;
	if (bench_place(n, 1, &mean, &p99) < 0 || bench_place(n / 10, 8, &gang_mean, &gang_p99) < 0 ||
		bench_queue(&per_s) < 0)
		return 1;
	printf("{\"id\":\"PERF-4\",\"devices\":%d,\"placements\":%llu,\"mean_ns\":%.0f,\"p99_ns\":%.0f,\"per_second\":%.0f,"
		"\"gang8_mean_ns\":%.0f,\"gang8_p99_ns\":%.0f,\"queue_jobs_per_second\":%.0f}\n",
		GPUS + ASICS, (unsigned long long)n, mean, p99, 1e9 / mean, gang_mean, gang_p99, per_s);
	return 0;
}
