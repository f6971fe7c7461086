/* Rings of points: the arithmetic of an hour. */
#include <math.h>

#include "services/telemetry/telemetry_priv.h"

enum { BUCKETS_A_MINUTE = 60 / TELEMETRY_STEP_S };

static void blank(float v[TELEMETRY_METRICS])
{
	for (int k = 0; k < TELEMETRY_METRICS; k++)
		v[k] = NAN;
}

void telemetry_series_init(struct series *s)
{
	*s = (struct series){ .newest = 0 };
	for (int i = 0; i < TELEMETRY_POINTS; i++)
		blank(s->v[i]);
}

void telemetry_series_put(struct series *s, int64_t bucket, const float v[TELEMETRY_METRICS])
{
	if (bucket <= s->newest)
		return;
	int64_t first = bucket - s->newest > TELEMETRY_POINTS ? bucket - TELEMETRY_POINTS + 1 : s->newest + 1;
	for (int64_t b = first; b < bucket; b++)
		blank(s->v[b % TELEMETRY_POINTS]);
	memcpy(s->v[bucket % TELEMETRY_POINTS], v, sizeof(s->v[0]));
	s->newest = bucket;
}

float telemetry_series_at(const struct series *s, int64_t bucket, enum metric metric)
{
	if (bucket > s->newest || bucket <= s->newest - TELEMETRY_POINTS || bucket < 0)
		return NAN;
	return s->v[bucket % TELEMETRY_POINTS][metric];
}

bool telemetry_series_minute(const struct series *s, int64_t minute, float ret[TELEMETRY_METRICS])
{
	bool any = false;
	for (int k = 0; k < TELEMETRY_METRICS; k++) {
		double sum = 0;
		int n = 0;
		for (int64_t b = minute * BUCKETS_A_MINUTE; b < (minute + 1) * BUCKETS_A_MINUTE; b++) {
			float v = telemetry_series_at(s, b, (enum metric)k);
			if (!isnan(v)) {
				sum += (double)v;
				n++;
			}
		}
		ret[k] = n ? (float)(sum / n) : NAN;
		any = any || n;
	}
	return any;
}

/*
 * A metric's way into 16 bits. step > 0: (v - least) / step. Else as a small float without a sign, 0 being 0:
 *
 *	code - 1 = exponent - lowest | the upper `bits` of the mantissa, rounded
 */
static const struct packing {
	float least, step;
	int lowest, bits;
} packing[TELEMETRY_METRICS] = {
	[METRIC_POWER_W] = { .lowest = -7, .bits = 11 },   /* 8 mW to 16 MW */
	[METRIC_HASH_THS] = { .lowest = -24, .bits = 10 }, /* 60 kH/s to 2^39 TH/s */
	[METRIC_TEMPERATURE_C] = { .least = -100, .step = 0.01F },
	[METRIC_UTILISATION] = { .step = 1.0F / 50000 },
};

enum { PACKED_MAX = UINT16_MAX - 1, PACKED_NONE = UINT16_MAX, FLOAT_BITS = 23, FLOAT_BIAS = 127 };

uint16_t telemetry_pack(enum metric metric, float v)
{
	const struct packing *p = &packing[metric];
	uint32_t u;
	if (isnan(v))
		return PACKED_NONE;
	if (p->step > 0) {
		float steps = roundf((v - p->least) / p->step);
		return (uint16_t)(steps < 0 ? 0 : steps > PACKED_MAX ? PACKED_MAX : steps);
	}
	memcpy(&u, &v, sizeof(u));
	/* Rounding may carry into the exponent, which is right. */
	int64_t code = ((int64_t)u + (1 << (FLOAT_BITS - p->bits - 1))) >> (FLOAT_BITS - p->bits);
	code -= ((int64_t)(FLOAT_BIAS + p->lowest) << p->bits) - 1;
	return (uint16_t)(v <= 0 || code < 0 ? 0 : code > PACKED_MAX ? PACKED_MAX : code);
}

float telemetry_unpack(enum metric metric, uint16_t code)
{
	const struct packing *p = &packing[metric];
	float v;
	if (code == PACKED_NONE)
		return NAN;
	if (p->step > 0)
		return p->least + (float)code * p->step;
	if (code == 0)
		return 0;
	uint32_t u = (uint32_t)code - 1 + ((uint32_t)(FLOAT_BIAS + p->lowest) << p->bits);
	u <<= FLOAT_BITS - p->bits;
	memcpy(&v, &u, sizeof(v));
	return v;
}

void telemetry_ring_init(struct device_ring *r)
{
	for (int i = 0; i < TELEMETRY_MINUTES; i++)
		for (int k = 0; k < TELEMETRY_METRICS; k++)
			r->v[i][k] = PACKED_NONE;
}

static float mean_of(const struct device *d, int metric)
{
	return d->n[metric] ? d->sum[metric] / (float)d->n[metric] : NAN;
}

void telemetry_device_roll(struct device *d, int64_t minute)
{
	if (minute <= d->minute)
		return;
	for (int k = 0; d->ring && k < TELEMETRY_METRICS; k++)
		d->ring->v[d->minute % TELEMETRY_MINUTES][k] = telemetry_pack((enum metric)k, mean_of(d, k));
	int64_t first = minute - d->minute > TELEMETRY_MINUTES ? minute - TELEMETRY_MINUTES : d->minute + 1;
	for (int64_t i = first; d->ring && i < minute; i++)
		for (int k = 0; k < TELEMETRY_METRICS; k++)
			d->ring->v[i % TELEMETRY_MINUTES][k] = PACKED_NONE;
	memset(d->sum, 0, sizeof(d->sum));
	memset(d->n, 0, sizeof(d->n));
	d->minute = minute;
}

void telemetry_device_add(struct device *d, const float v[TELEMETRY_METRICS])
{
	memcpy(d->last, v, sizeof(d->last));
	for (int k = 0; k < TELEMETRY_METRICS; k++) {
		if (isnan(v[k]) || d->n[k] == UINT16_MAX)
			continue;
		d->sum[k] += v[k];
		d->n[k]++;
	}
}

float telemetry_device_at(const struct device *d, int64_t minute, enum metric metric)
{
	if (minute == d->minute)
		return mean_of(d, (int)metric);
	if (!d->ring || minute > d->minute || minute < d->minute - TELEMETRY_MINUTES || minute < 0)
		return NAN;
	return telemetry_unpack(metric, d->ring->v[minute % TELEMETRY_MINUTES][metric]);
}
