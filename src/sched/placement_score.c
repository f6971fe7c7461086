#include <math.h>

#include "sched/placement_priv.h"

#define EARTH_KM 6371.0
#define RAD 0.017453292519943295
#define LATENCY_HALF_MS 20.0   /* a facility this far away gets half the points */
#define PRICE_ZERO_USD_MWH 200.0
#define CARBON_ZERO_G_KWH 1000.0

static double unit(double v)
{
	return v < 0 ? 0 : v > 1 ? 1 : v;
}

uint16_t score_bucket(const struct device *d)
{
	double s = (W_HEALTH * (double)d->health + W_THERMAL * (double)d->thermal + W_EFFICIENCY * (double)d->efficiency) /
		W_DEVICE;
	return (uint16_t)(unit(s) * (PLACEMENT_BUCKETS - 1) + 0.5);
}

void score_facility(struct facility *f)
{
	f->latency = LATENCY_HALF_MS / (LATENCY_HALF_MS + f->f.latency_ms);
	f->price = unit(1 - f->f.price_usd_mwh / PRICE_ZERO_USD_MWH);
	f->carbon = unit(1 - f->f.carbon_g_kwh / CARBON_ZERO_G_KWH);
	f->score = W_LATENCY * f->latency + W_PRICE * f->price + W_CARBON * f->carbon;
}

/* Haversine. */
double score_distance_km(const struct placement_facility *f, double latitude_deg, double longitude_deg)
{
	double a = sin((f->latitude_deg - latitude_deg) * RAD / 2), b = sin((f->longitude_deg - longitude_deg) * RAD / 2);
	double h = a * a + cos(latitude_deg * RAD) * cos(f->latitude_deg * RAD) * b * b;
	return 2 * EARTH_KM * asin(sqrt(unit(h)));
}

struct placement_score score_full(const struct placement *p, uint32_t dev)
{
	const struct device *d = &p->dev[dev];
	const struct facility *f = &p->facility[p->pool[d->pool]->facility];
	struct placement_score s = {
		.health = W_HEALTH * (double)d->health,
		.thermal = W_THERMAL * (double)d->thermal,
		.efficiency = W_EFFICIENCY * (double)d->efficiency,
		.latency = W_LATENCY * f->latency,
		.price = W_PRICE * f->price,
		.carbon = W_CARBON * f->carbon,
		.idle = d->state == PLACEMENT_IDLE ? W_IDLE : 0,
	};
	s.total = s.health + s.thermal + s.efficiency + s.latency + s.price + s.carbon + s.idle;
	return s;
}

int bucketq_best(const struct bucketq *q)
{
	for (int w = BUCKET_WORDS - 1; w >= 0 && q->n; w--) {
		if (q->bits[w])
			return w * 64 + 63 - __builtin_clzll(q->bits[w]);
	}
	return -1;
}
