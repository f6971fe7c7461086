/*
 * HEALTH: what a sample of a device costs, learned models included, over as many devices as a cell has. Their samples
 * are drawn around what is normal. Prints one JSON line.
 *
 *     bench_health [minutes]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"
#include "health/health.h"

enum { DEVICES = 350000, WARM_DEVICES = 500, WARM_MINUTES = 1500 };

static int64_t cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct fleet {
	struct health *h;
	const struct device_class *cls;
	struct health_device *d;
	struct health_window *w;
	struct rng rng;
	int64_t now_ns, spent_ns;
	uint64_t samples, sick;
};

static void step(struct fleet *f, size_t n)
{
	enum { BLOCK = 500 };
	static struct health_sample s[BLOCK];
	f->now_ns += INT64_C(10000000000);
	for (size_t at = 0; at < n; at += BLOCK) {
		for (size_t i = 0; i < BLOCK; i++) {
			float a = (float)rng_double(&f->rng) - 0.5F, b = (float)rng_double(&f->rng) - 0.5F;
			s[i] = (struct health_sample){ .at_ns = f->now_ns, .mode = DEVICE_FILL, .power_w = 3500 * (1 + 0.02F * a),
				.hash_ths = 200 * (1 + 0.02F * b), .temperature_c = roundf(64 + 3 * a), .inlet_c = 25 + b,
				.utilisation = 1, .fan = 0.7F + 0.03F * b, .memory_gib = NAN, .errors = -1 };
		}
		int64_t began_ns = cpu_ns();
		for (size_t i = 0; i < BLOCK; i++) {
			struct health_finding found;
			bool sick = false;
			if (health_take(f->h, f->cls, &f->d[at + i], &f->w[at + i], &s[i], &sick, &found))
				f->sick += sick;
		}
		f->spent_ns += cpu_ns() - began_ns;
		f->samples += BLOCK;
	}
}

int main(int argc, char **argv)
{
	uint64_t minutes = 10;
	struct health_conf conf;
	if (argc > 1 && num_parse_u64(str_of(argv[1]), &minutes) < 0)
		return 2;
	health_conf_default(&conf);
	struct fleet f = { .h = health_new(&conf), .cls = device_class_find(STR("S21")),
		.d = mem_calloc(DEVICES, sizeof(*f.d)), .w = mem_calloc(DEVICES, sizeof(*f.w)),
		.now_ns = INT64_C(1750000020000000000) };
	if (!f.h || !f.d || !f.w || minutes == 0)
		return 1;
	rng_init(&f.rng, 1);
	for (size_t i = 0; i < DEVICES; i++)
		health_device_init(&f.d[i]);
	for (int i = 0; i < WARM_MINUTES * 6; i++) {
		step(&f, WARM_DEVICES);
		if (health_learn(f.h, f.now_ns, 4) < 0)
			return 1;
	}
	/* All others are as far as those: past their learning, so that charts and rule do all they ever do. */
	for (size_t i = WARM_DEVICES; i < DEVICES; i++) {
		f.d[i] = f.d[i % WARM_DEVICES];
		f.w[i] = f.w[i % WARM_DEVICES];
	}
	f.spent_ns = 0;
	f.samples = f.sick = 0;
	for (uint64_t i = 0; i < minutes * 6; i++)
		step(&f, DEVICES);
	double ns = (double)f.spent_ns / (double)f.samples;
	struct health_stats stats = health_stats(f.h);
	printf("{\"id\":\"HEALTH\",\"sample_ns\":%.1f,\"times_real_time\":%.0f,\"device_bytes\":%zu,\"window_bytes\":%zu,"
	       "\"forests\":%llu,\"autoencoders\":%llu,\"sick\":%llu}\n", ns, 1e10 / (ns * DEVICES), sizeof(*f.d),
		sizeof(*f.w), (unsigned long long)stats.forests, (unsigned long long)stats.shapes, (unsigned long long)f.sick);
	health_free(f.h);
	mem_free(f.d);
	mem_free(f.w);
	return 0;
}
