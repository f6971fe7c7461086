/*
 * PERF-7: profitability calculations a second on one core. per_second is the batch form with its validation, as a
 * caller pays for it; calc_per_second the batch loop alone; scalar_per_second the validated reference form. One JSON
 * line.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "base/rng.h"
#include "econ/profit.h"

enum { N = 4096, ROUNDS = 1000, SCALAR = 1000000 };

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double rate(int64_t n, int64_t t0)
{
	return (double)n * 1e9 / (double)(now_ns() - t0);
}

int main(void)
{
	static double in[7][N], net[N], score[N];
	struct profit_batch b = { N, in[0], in[1], in[2], in[3], in[4], in[5], in[6], net, score };
	struct rng rng;
	rng_init(&rng, 3);
	for (int c = 0; c < 7; c++) {
		for (int i = 0; i < N; i++)
			in[c][i] = 1 + rng_double(&rng);
	}
	double sum = 0;
	int64_t t0 = now_ns();
	for (int k = 0; k < ROUNDS; k++) {
		in[5][k % N] = k;
		if (profit_batch_validate(&b, NULL) < 0)
			return 1;
		profit_batch_calc(&b);
		sum += net[k % N];
	}
	double validated = rate((int64_t)N * ROUNDS, t0);
	t0 = now_ns();
	for (int k = 0; k < ROUNDS; k++) {
		in[5][k % N] = k;
		profit_batch_calc(&b);
		sum += net[k % N];
	}
	double calc = rate((int64_t)N * ROUNDS, t0);
	struct profit_market m = { 60000, 9e13, 3.125, 0.1, 0.01, 40, 1.05 };
	struct profit_row row;
	t0 = now_ns();
	for (int k = 0; k < SCALAR; k++) {
		m.electricity_usd_mwh = k % 300;
		if (profit_calc(device_class_at((size_t)k % device_class_count()), WORKLOAD_BITCOIN_MINING, &m, NULL, &row,
			NULL) < 0)
			return 1;
		sum += row.net_usd_h;
	}
	double scalar = rate(SCALAR, t0);
	printf(
		"{\"id\":\"PERF-7\",\"per_second\":%.0f,\"calc_per_second\":%.0f,\"scalar_per_second\":%.0f,\"check\":%.6g}\n",
		validated, calc, scalar, sum);
	return 0;
}
