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

void telemetry_device_roll(struct device *d, int64_t minute)
{
	if (minute <= d->minute)
		return;
	for (int k = 0; d->ring && k < TELEMETRY_METRICS; k++)
		d->ring->v[d->minute % TELEMETRY_MINUTES][k] = d->n[k] ? d->sum[k] / (float)d->n[k] : NAN;
	int64_t first = minute - d->minute > TELEMETRY_MINUTES ? minute - TELEMETRY_MINUTES : d->minute + 1;
	for (int64_t i = first; d->ring && i < minute; i++)
		blank(d->ring->v[i % TELEMETRY_MINUTES]);
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
		return d->n[metric] ? d->sum[metric] / (float)d->n[metric] : NAN;
	if (!d->ring || minute > d->minute || minute < d->minute - TELEMETRY_MINUTES || minute < 0)
		return NAN;
	return d->ring->v[minute % TELEMETRY_MINUTES][metric];
}
