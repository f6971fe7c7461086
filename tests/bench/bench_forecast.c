/*
 * Forecasts: training of each model on three years of quarter-hours with the default budget, and a forecast of 96 steps
 * with all quantiles. One JSON line a model. The series is made from a seed: a day's pattern, an autoregression and
 * rare spikes.
 */
#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "econ/forecast.h"

enum { YEARS = 3, ROUNDS = 200 };
#define S_NS INT64_C(1000000000)

static int64_t now_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * S_NS + t.tv_nsec;
}

static int by_time(const void *a, const void *b)
{
	const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

static int fill(struct history *h, int64_t from_ns, int64_t to_ns)
{
	struct rng rng;
	double level = 0, spike = 0;
	rng_init(&rng, 7);
	for (int64_t t = from_ns; t < to_ns; t += 900 * S_NS) {
		double hour = (double)(t / S_NS % 86400) / 3600;
		level = 0.97 * level + 0.15 * rng_normal(&rng);
		spike = rng_double(&rng) < 0.002 ? 3 * rng_exp(&rng) : 0.8 * spike;
		double z = 1 + 0.5 * sin((hour - 15) * 0.2617993877991494) + level + spike;
		int rc = history_add(h, HISTORY_POWER_RT, "HB_WEST", t, 900 * S_NS, 25 * sinh(z), NULL);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int measure(const struct forecaster_vt *vt, const struct history *h, int64_t at_ns, struct forecast *out)
{
	struct forecast_conf conf;
	struct forecaster f;
	struct err err = { 0 };
	static int64_t took[ROUNDS];
	double check = 0;
	forecast_conf_default(&conf);
	memcpy(conf.location, "HB_WEST", sizeof("HB_WEST"));
	int rc = forecaster_init(&f, vt, &conf, &err);
	int64_t wall = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	if (rc == 0)
		rc = forecaster_learn(&f, h, at_ns, &err);
	wall = now_ns(CLOCK_MONOTONIC) - wall;
	cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	for (int i = 0; rc == 0 && i < ROUNDS; i++) {
		int64_t t0 = now_ns(CLOCK_MONOTONIC);
		rc = forecaster_predict(&f, h, at_ns, 96, out, &err);
		took[i] = now_ns(CLOCK_MONOTONIC) - t0;
		check += out->at[95].mean;
	}
	if (rc < 0) {
		fprintf(stderr, "%s: %s\n", err.field, err.text);
	} else {
		qsort(took, ROUNDS, sizeof(took[0]), by_time);
		char id[FORECAST_NAME_MAX] = "";
		for (size_t i = 0; i + 1 < sizeof(id) && forecaster_name(&f)[i]; i++)
			id[i] = (char)toupper((unsigned char)forecaster_name(&f)[i]);
		printf("{\"id\":\"FORECAST-%s\",\"train_s\":%.2f,\"train_cpu_s\":%.2f,\"predict_96_p50_us\":%.0f,"
			"\"predict_96_p99_us\":%.0f,\"check\":%.6g}\n", id, (double)wall / 1e9, (double)cpu / 1e9,
			(double)took[ROUNDS / 2] / 1e3, (double)took[ROUNDS * 99 / 100] / 1e3, check / ROUNDS);
		fflush(stdout);
	}
	forecaster_release(&f);
	return rc;
}

int main(int argc, char **argv)
{
	struct history h;
	static struct forecast out;
	int64_t to_ns = INT64_C(1704067200) * S_NS, from_ns = to_ns - YEARS * 365 * 86400 * S_NS;
	history_init(&h);
	int rc = fill(&h, from_ns, to_ns);
	for (size_t i = 0; rc == 0 && forecaster_at(i); i++)
		if (argc < 2 || forecaster_find(str_of(argv[1])) == forecaster_at(i))
			rc = measure(forecaster_at(i), &h, to_ns, &out);
	history_release(&h);
	return rc < 0;
}
