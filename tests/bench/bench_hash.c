/*
 * PERF-13: SHA-256d on the CPU, one JSON line per engine.
 *
 *   bench_hash [--seconds N] [--engine NAME] [--versions N]
 *
 * mhs_1, mhs_2: million double hashes a second of wall time on one and on two threads; mhs_cpu_1, mhs_cpu_2: per
 * second of processor time of one thread, which other load on the machine hardly moves. --versions > 1 measures
 * version rolling. Default: every engine this processor supports, one second each, one version.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hash/engine.h"

enum { THREADS_MAX = 2, CHUNK = 1 << 16 };

struct runner {
	const struct hash_engine *engine;
	const struct hash_work *work;
	const _Atomic uint32_t *stop;
	uint32_t first_nonce;
	double cpu_s;
	uint64_t hashes;
	uint32_t hits;
};

static double
clock_s(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void *
run(void *arg)
{
	struct runner *r = arg;
	struct hash_hit hits[16];
	uint32_t at = r->first_nonce;
	double begin_s = clock_s(CLOCK_THREAD_CPUTIME_ID);

	while (atomic_load(r->stop) == 0) {
		uint64_t scanned, count = CHUNK < UINT64_C(0x100000000) - at ? CHUNK : UINT64_C(0x100000000) - at;

		r->hits += r->engine->scan(r->work, at, count, r->stop, hits, 16, &scanned);
		at += (uint32_t)scanned;
		r->hashes += scanned * r->work->nversions;
	}
	r->cpu_s = clock_s(CLOCK_THREAD_CPUTIME_ID) - begin_s;
	return NULL;
}

/* Returns 0, or -1 when a thread cannot be started. */
static int
measure(const struct hash_engine *e, const struct hash_work *w, int threads, double seconds, double *ret_mhs,
	double *ret_mhs_cpu)
{
	static _Atomic uint32_t stop;
	struct runner r[THREADS_MAX];
	pthread_t id[THREADS_MAX];
	struct timespec pause = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };
	double begin_s, wall_s, cpu_s = 0, hashes = 0;

	atomic_store(&stop, 0);
	begin_s = clock_s(CLOCK_MONOTONIC);
	for (int i = 0; i < threads; i++) {
		r[i] = (struct runner){ .engine = e, .work = w, .stop = &stop, .first_nonce = (uint32_t)i << 31 };
		if (pthread_create(&id[i], NULL, run, &r[i]) != 0)
			return -1;
	}
	nanosleep(&pause, NULL);
	atomic_store(&stop, 1);
	for (int i = 0; i < threads; i++) {
		pthread_join(id[i], NULL);
		hashes += (double)r[i].hashes;
		cpu_s += r[i].cpu_s;
	}
	wall_s = clock_s(CLOCK_MONOTONIC) - begin_s;
	*ret_mhs = hashes / wall_s * 1e-6;
	*ret_mhs_cpu = hashes / cpu_s * 1e-6;
	return 0;
}

static int
report(const struct hash_engine *e, const struct hash_work *w, double seconds)
{
	double mhs[THREADS_MAX], cpu[THREADS_MAX];

	for (int i = 0; i < THREADS_MAX; i++)
		if (measure(e, w, i + 1, seconds, &mhs[i], &cpu[i]) < 0) {
			fprintf(stderr, "bench_hash: cannot start a thread\n");
			return 1;
		}
	printf("{\"id\":\"PERF-13\",\"engine\":\"%s\",\"lanes\":%" PRIu32 ",\"versions\":%" PRIu32
		",\"mhs_1\":%.3f,\"mhs_2\":%.3f,\"mhs_cpu_1\":%.3f,\"mhs_cpu_2\":%.3f}\n",
		e->name, e->lanes, w->nversions, mhs[0], mhs[1], cpu[0], cpu[1]);
	fflush(stdout);
	return 0;
}

int
main(int argc, char **argv)
{
	uint8_t header[HASH_HEADER_SIZE], target[SHA256_SIZE];
	uint32_t versions[HASH_VERSIONS_MAX];
	struct hash_work w;
	struct err err;
	const char *name = NULL;
	double seconds = 1;
	long nversions = 1;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
			seconds = strtod(argv[++i], NULL);
		else if (strcmp(argv[i], "--engine") == 0 && i + 1 < argc)
			name = argv[++i];
		else if (strcmp(argv[i], "--versions") == 0 && i + 1 < argc)
			nversions = strtol(argv[++i], NULL, 10);
		else {
			fprintf(stderr, "usage: bench_hash [--seconds N] [--engine NAME] [--versions N]\n");
			return 2;
		}
	}
	if (!(seconds > 0 && seconds <= 3600) || nversions < 1 || nversions > HASH_VERSIONS_MAX) {
		fprintf(stderr, "bench_hash: --seconds in (0, 3600], --versions 1 to %d\n", HASH_VERSIONS_MAX);
		return 2;
	}
	for (size_t i = 0; i < sizeof(header); i++)
		header[i] = (uint8_t)(i * 37 + 11);
	for (uint32_t i = 0; i < HASH_VERSIONS_MAX; i++)
		versions[i] = 0x20000000 + (i << 13);
	if (hash_target_from_difficulty(1e6, target) < 0 ||
	    hash_work_init_rolled(&w, header, target, versions, (size_t)nversions, &err) < 0)
		return 1;
	for (size_t i = 0; i < hash_engine_count; i++) {
		const struct hash_engine *e = &hash_engines[i];

		if ((name == NULL && !e->is_supported()) || (name != NULL && strcmp(name, e->name) != 0))
			continue;
		if (!e->is_supported()) {
			fprintf(stderr, "bench_hash: this processor does not support %s\n", name);
			return 1;
		}
		if (report(e, &w, seconds) != 0)
			return 1;
		if (name != NULL)
			return 0;
	}
	if (name != NULL) {
		fprintf(stderr, "bench_hash: no engine named %s\n", name);
		return 2;
	}
	return 0;
}
