#include "sim/inlet.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "base/map.h"

#define TURN 6.283185307179586
#define DAY_S 86400.0
#define YEAR_S (365.2425 * DAY_S)
#define COLDEST_DAY_S (15 * DAY_S)
/* Solar time at 100 degrees west: the warmest hour, 16:00, is 22:40 UTC. */
#define WARMEST_S (22.67 * 3600)
#define PLACE_K 1.5

static const double wave_s[INLET_WAVES] = { 2.3 * DAY_S, 4.1 * DAY_S, 7.7 * DAY_S };

void inlet_init(struct inlet *in, enum device_kind kind, const char *site, uint64_t place)
{
	struct rng rng;
	uint64_t seed = hash_bytes(site, strlen(site), 0);
	rng_init(&rng, seed);
	if (kind == DEVICE_ASIC)
		*in = (struct inlet){ .mean_c = 18.1F, .season_k = 10.5F, .day_k = 7, .weather_k = 4, .low_c = 8,
			.high_c = 36 };
	else
		*in = (struct inlet){ .mean_c = 22, .season_k = 0.5F, .day_k = 0.5F, .weather_k = 0.3F, .low_c = 18,
			.high_c = 27 };
	for (int i = 0; i < INLET_WAVES; i++)
		in->phase[i] = (float)(TURN * rng_double(&rng));
	rng_init(&rng, seed + 1 + place);
	in->place_k = (float)(PLACE_K * (2 * rng_double(&rng) - 1));
}

float inlet_at(const struct inlet *in, int64_t now_ns)
{
	double t = (double)now_ns / 1e9, weather = 0;
	for (int i = 0; i < INLET_WAVES; i++)
		weather += sin(TURN * fmod(t, wave_s[i]) / wave_s[i] + (double)in->phase[i]) / INLET_WAVES;
	/* 1970 began a year, and leap days move the coldest one by less than a day. */
	double c = (double)in->mean_c - (double)in->season_k * cos(TURN * fmod(t - COLDEST_DAY_S, YEAR_S) / YEAR_S) +
		(double)in->day_k * cos(TURN * fmod(t - WARMEST_S, DAY_S) / DAY_S) + (double)in->weather_k * weather;
	c = fmin(fmax(c, (double)in->low_c), (double)in->high_c);
	return (float)(c + (double)in->place_k);
}
