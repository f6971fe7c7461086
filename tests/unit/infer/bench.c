/*
 * Milliseconds to embed one text of 8, 16, 64 and 256 tokens, per kernel set.
 * and what it takes the built-in runtime to wake.
 * usage: bench_infer [MODEL_DIR [KERNEL]]      (HCP_MODEL, or var/models/all-MiniLM-L6-v2 of the source tree)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "infer/builtin.h"

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static int bench(const char *dir, const char *kernel)
{
	enum { RUNS = 101 };
	static const size_t sizes[] = { 8, 16, 32, 64, 128, 256 };
	struct encoder_opts opts = { .kernel = kernel };
	struct encoder_model *m = NULL;
	struct encoder *e = NULL;
	struct err err = { 0 };
	double from = now_ms();
	int rc = encoder_model_open(dir, &opts, &m, &err);
	if (rc == 0)
		rc = encoder_new(m, &e, &err);
	if (rc < 0) {
		printf("{\"kernel\":\"%s\",\"skipped\":\"%s: %s\"}\n", kernel, err.field, err.text);
		encoder_model_free(m);
		return rc == HCP_EINVAL ? 0 : rc;
	}
	float *out = mem_alloc(encoder_model_info(m)->hidden * sizeof(float));
	uint32_t ids[ENCODER_TOKENS_MAX];
	for (size_t i = 0; i < ENCODER_TOKENS_MAX; i++)
		ids[i] = 5 + (uint32_t)(i * 97 % (encoder_model_info(m)->vocab - 5));
	printf("{\"kernel\":\"%s\",\"open_ms\":%.1f,\"weights_mb\":%.1f", kernel, now_ms() - from,
	       (double)encoder_model_info(m)->resident_bytes / 1e6);
	for (size_t s = 0; out && s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		double ms[RUNS];
		struct encoder_ids in = { ids, sizes[s] - 2 };
		size_t runs = sizes[s] > 64 ? 15 : RUNS;
		for (size_t i = 0; i < runs && rc == 0; i++) {
			double t = now_ms();
			rc = encoder_embed_ids(e, &in, 1, out, NULL, &err);
			ms[i] = now_ms() - t;
		}
		qsort(ms, runs, sizeof(ms[0]), by_value);
		printf(",\"tokens_%zu_ms\":{\"min\":%.3f,\"p50\":%.3f,\"max\":%.3f}", sizes[s], ms[0], ms[runs / 2],
		       ms[runs - 1]);
	}
	puts("}");
	mem_free(out);
	encoder_free(e);
	encoder_model_free(m);
	return rc;
}

static void failed(void *arg, int rc, const struct err *err)
{
	int *worst = arg;
	*worst = rc < 0 ? rc : *worst;
}

/* Wake is proved by one embedding of 18 tokens, so that is in the time. */
static int bench_wake(const char *dir, const char *kernel)
{
	enum { RUNS = 9 };
	struct builtin_opts opts = { .dir = dir, .encoder.kernel = kernel };
	struct runtime *r = NULL;
	int worst = 0, rc = builtin_new(&opts, &r, NULL);
	if (rc == 0)
		rc = runtime_start(r, failed, &worst, NULL);
	if (rc == 0 && worst == 0)
		rc = runtime_warm(r, failed, &worst, NULL);
	for (int how = RUNTIME_SLEEP_LIGHT; how <= RUNTIME_SLEEP_DEEP && rc == 0 && worst == 0; how++) {
		double ms[RUNS];
		for (int i = 0; i < RUNS && rc == 0; i++) {
			rc = runtime_sleep(r, (enum runtime_sleep)how, failed, &worst, NULL);
			double t = now_ms();
			if (rc == 0)
				rc = runtime_wake(r, failed, &worst, NULL);
			ms[i] = now_ms() - t;
		}
		qsort(ms, RUNS, sizeof(ms[0]), by_value);
		printf("{\"wake\":\"%s\",\"min_ms\":%.3f,\"p50_ms\":%.3f,\"max_ms\":%.3f}\n",
		       how == RUNTIME_SLEEP_LIGHT ? "light" : "deep", ms[0], ms[RUNS / 2], ms[RUNS - 1]);
	}
	runtime_free(r);
	return rc < 0 ? rc : worst;
}

int main(int argc, char **argv)
{
	static const char *const kernels[] = { "amx", "avx512", "avx2", "blas" };
	const char *env = getenv("HCP_MODEL");
	const char *dir = argc > 1 ? argv[1] : env ? env : HCP_MODEL_DEFAULT;
	int rc = 0;
	for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]) && rc == 0; i++)
		if (argc < 3 || strcmp(argv[2], kernels[i]) == 0)
			rc = bench(dir, kernels[i]);
	if (rc == 0)
		rc = bench_wake(dir, argc > 2 ? argv[2] : "auto");
	return rc < 0;
}
