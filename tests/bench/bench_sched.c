/*
 * PERF-4: placements over 350,000 devices, gangs of eight, and the queue in front; victims among 300,000 running jobs;
 * P1 while a million others wait. Prints one JSON line.
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
#include "sched/preempt.h"
#include "sched/queue.h"

enum {
	GPUS = 100000,
	ASICS = 250000,
	FACILITIES = 4,
	LIVE = 20000,
	SAMPLES_MAX = 4000000,
	JOBS = 200000,
	RUNNING = 300000,
	CHOICES = 20000,
	MILLION = 1000000
};

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

/* Who yields among RUNNING jobs of 350,000 devices; what was chosen stops, and as many start anew. */
static int bench_preempt(uint32_t count, double *ret_mean_ns, double *ret_p99_ns)
{
	const int64_t hour_ns = INT64_C(3600000000000);
	static uint32_t took[CHOICES];
	static struct preempt_choice c;
	struct rng rng;
	rng_init(&rng, 3);
	struct preempt *p = preempt_new(NULL);
	struct placement_room room[FACILITIES];
	int rc = p ? 0 : HCP_ENOMEM;
	uint64_t n = 0;
	int64_t sum = 0, at_ns = 0;
	for (uint16_t f = 0; f < FACILITIES; f++)
		room[f] = (struct placement_room){ .facility = f };
	for (uint64_t i = 0; rc == 0 && i < RUNNING + CHOICES; i++) {
		struct preempt_request r = {
			.id = { { 9 } }, .cls = WORKLOAD_P1, .count = count, .room = room, .n_room = FACILITIES
		};
		if (i >= RUNNING) {
			int64_t t0 = now_ns();
			rc = preempt_choose(p, &r, at_ns, &c);
			took[i - RUNNING] = (uint32_t)(now_ns() - t0);
			sum += took[i - RUNNING];
			for (size_t k = 0; rc == 0 && k < c.n; k++)
				rc = preempt_remove(p, &c.victim[k].id);
		}
		for (size_t k = 0; rc == 0 && k < (i < RUNNING ? 1 : c.n); k++, at_ns += hour_ns / 1000) {
			struct preempt_job j = { .id = owner(++n),
				.customer = rng_below(&rng, 1000),
				.priority = 5,
				.cls = (enum workload_class)(WORKLOAD_P2 + rng_below(&rng, 2)),
				.count = 1 + (uint32_t)rng_below(&rng, 2) * 7,
				.facility = (uint16_t)rng_below(&rng, FACILITIES),
				.started_ns = at_ns,
				.since_ns = at_ns,
				.restart_s = 30,
				.checkpointable = rng_below(&rng, 2) };
			rc = preempt_add(p, &j, NULL);
		}
	}
	qsort(took, CHOICES, sizeof(*took), compare);
	*ret_mean_ns = (double)sum / CHOICES;
	*ret_p99_ns = took[CHOICES - CHOICES / 100 - 1];
	preempt_free(p);
	return rc;
}

static bool only_p1(void *arg, const struct queue_job *job, const struct queue_job *hold)
{
	return job->cls == WORKLOAD_P1;
}

/*
 * A P1 job comes and is taken while MILLION jobs of P3 and P4 wait that do not fit, the P3 of them overdue; the clock
 * is read around both.
 */
static int bench_p1(double *ret_mean_ns, double *ret_p99_ns)
{
	static uint32_t took[CHOICES];
	struct queue_conf conf = { .capacity = { 1e5, 1e6, 1e6, 1e9 } };
	struct queue *q = queue_new(&conf, NULL);
	struct queue_job got;
	struct rng rng;
	int64_t sum = 0;
	int rc = q ? 0 : HCP_ENOMEM;
	rng_init(&rng, 4);
	for (uint64_t i = 0; rc == 0 && i < MILLION + CHOICES; i++) {
		struct queue_job j = { .id = owner(i + 1),
			.customer = rng_below(&rng, 1000),
			.priority = 5,
			.cls = i % 2 ? WORKLOAD_P3 : WORKLOAD_P4,
			.enqueued_ns = (int64_t)i,
			.need = { 1, 8, 80, 700 } };
		if (i < MILLION) {
			rc = queue_enqueue(q, &j, NULL);
			continue;
		}
		j.cls = WORKLOAD_P1;
		int64_t t0 = now_ns();
		rc = queue_enqueue(q, &j, NULL);
		if (rc == 0)
			rc = queue_pop(q, INT64_C(86400000000000), only_p1, NULL, &got);
		took[i - MILLION] = (uint32_t)(now_ns() - t0);
		sum += took[i - MILLION];
		if (rc == 0 && got.cls != WORKLOAD_P1)
			rc = HCP_EINTERNAL;
		if (rc == 0)
			queue_uncharge(q, &got);
	}
	qsort(took, CHOICES, sizeof(*took), compare);
	*ret_mean_ns = (double)sum / CHOICES;
	*ret_p99_ns = took[CHOICES - CHOICES / 100 - 1];
	queue_free(q);
	return rc;
}

int main(int argc, char **argv)
{
	uint64_t n = 1000000;
	if (argc > 1 && (num_parse_u64(str_of(argv[1]), &n) < 0 || n < 1000 || n > SAMPLES_MAX)) {
		fprintf(stderr, "placements: 1000 to %d\n", SAMPLES_MAX);
		return 2;
	}
	double mean, p99, gang_mean, gang_p99, per_s, one_mean, one_p99, many_mean, many_p99, p1_mean, p1_p99;
	if (bench_place(n, 1, &mean, &p99) < 0 || bench_place(n / 10, 8, &gang_mean, &gang_p99) < 0 ||
		bench_queue(&per_s) < 0 || bench_preempt(1, &one_mean, &one_p99) < 0 ||
		bench_preempt(64, &many_mean, &many_p99) < 0 || bench_p1(&p1_mean, &p1_p99) < 0)
		return 1;
	printf("{\"id\":\"PERF-4\",\"devices\":%d,\"placements\":%llu,\"mean_ns\":%.0f,\"p99_ns\":%.0f,\"per_second\":%.0f,"
		   "\"gang8_mean_ns\":%.0f,\"gang8_p99_ns\":%.0f,\"queue_jobs_per_second\":%.0f,\"preempt_mean_ns\":%.0f,"
		   "\"preempt_p99_ns\":%.0f,"
		   "\"preempt64_mean_ns\":%.0f,\"preempt64_p99_ns\":%.0f,\"p1_of_a_million_mean_ns\":%.0f,"
		   "\"p1_of_a_million_p99_ns\":%.0f}\n",
		GPUS + ASICS, (unsigned long long)n, mean, p99, 1e9 / mean, gang_mean, gang_p99, per_s, one_mean, one_p99,
		many_mean, many_p99, p1_mean, p1_p99);
	return 0;
}
