#include "sim/demand.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "wire/csv.h"

enum { POD_GPUS_MAX = 8 };

void demand_init(struct demand *d, uint64_t seed, double target, double median_s)
{
	*d = (struct demand){ .target = target, .median_s = median_s, .mean_s = median_s / M_LN2 };
	rng_init(&d->rng, seed);
}

void demand_release(struct demand *d)
{
	mem_free(d->samples);
	d->samples = NULL;
	d->n_samples = 0;
}

static int by_duration(const void *pa, const void *pb)
{
	double a = ((const struct demand_sample *)pa)->duration_s, b = ((const struct demand_sample *)pb)->duration_s;
	return a < b ? -1 : a > b;
}

/* Median to the wished one, tails cut, and the mean that follows. */
static void scale(struct demand_sample *s, size_t n, double median_s, double *ret_mean_s)
{
	double sum = 0;
	qsort(s, n, sizeof(*s), by_duration);
	double factor = median_s / fmax(1, s[n / 2].duration_s);
	for (size_t i = 0; i < n; i++) {
		s[i].duration_s = fmin(fmax(s[i].duration_s * factor, DEMAND_DURATION_MIN_S), median_s * DEMAND_STRETCH_MAX);
		sum += s[i].duration_s;
	}
	*ret_mean_s = sum / (double)n;
}

static int read_pods(struct csv *c, struct demand_sample *s, size_t *ret_n, struct err *err)
{
	static const char *const names[] = { "num_gpu", "creation_time", "deletion_time" };
	size_t column[3], n = 0;
	int rc = 0;
	for (int i = 0; rc == 0 && i < 3; i++)
		rc = csv_column(c, names[i], &column[i], err);
	while (rc == 0 && n < DEMAND_SAMPLES_MAX && (rc = csv_next(c, err)) > 0) {
		double v[3];
		rc = 0;
		/* A pod that was never deleted has no duration. */
		if (c->fields[column[0]].n == 0 || c->fields[column[1]].n == 0 || c->fields[column[2]].n == 0)
			continue;
		for (int i = 0; rc == 0 && i < 3; i++)
			rc = csv_double(c, column[i], &v[i], err);
		if (rc == 0 && v[0] >= 1 && v[0] <= POD_GPUS_MAX && v[2] > v[1])
			s[n++] = (struct demand_sample){ (int32_t)v[0], v[2] - v[1] };
	}
	*ret_n = n;
	return rc;
}

int demand_load_pods(struct demand *d, struct str text, struct err *err)
{
	struct csv c;
	size_t n = 0;
	struct demand_sample *s = mem_alloc(DEMAND_SAMPLES_MAX * sizeof(*s));
	if (!s)
		return err_set(err, HCP_ENOMEM, "", "no memory for the trace");
	int rc = csv_init(&c, text, ',', err);
	if (rc == 0)
		rc = read_pods(&c, s, &n, err);
	csv_release(&c);
	if (rc == 0 && n == 0)
		rc = err_set(err, HCP_ENOTFOUND, "num_gpu", "the trace has no finished pod with GPUs");
	if (rc < 0) {
		mem_free(s);
		return rc;
	}
	scale(s, n, d->median_s, &d->mean_s);
	mem_free(d->samples);
	d->samples = s;
	d->n_samples = n;
	return 0;
}

void demand_next(struct demand *d, struct demand_job *ret)
{
	static const struct { const char *type; int priority; double share; } kinds[] = {
		{ "ai_inference_realtime", 2, 0.4 }, { "ai_inference_batch", 5, 0.4 }, { "model_training", 7, 1 } };
	size_t kind = 0;
	double u = rng_double(&d->rng);
	while (kind < 2 && u >= kinds[kind].share)
		u -= kinds[kind++].share;
	struct demand_sample s = { 1 + (int32_t)(rng_double(&d->rng) < 0.2), d->mean_s * rng_exp(&d->rng) };
	if (d->n_samples)
		s = d->samples[rng_below(&d->rng, d->n_samples)];
	d->made++;
	*ret = (struct demand_job){ .type = kinds[kind].type, .priority = kinds[kind].priority, .gpus = s.gpus,
		.duration_s = (int64_t)fmax(s.duration_s, DEMAND_DURATION_MIN_S) };
}

int64_t demand_wait_ns(struct demand *d)
{
	return (int64_t)(rng_exp(&d->rng) * d->mean_s / d->target * 1e9);
}
