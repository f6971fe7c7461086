#ifndef HCP_SIM_INLET_H
#define HCP_SIM_INLET_H

#include <stdint.h>

#include "model/device_class.h"

/*
 * The air that devices take in: a pure function of time. Free air (miners in containers): season, day and a weather of
 * three slow waves, kept within what recirculation and evaporation hold. Chilled halls (GPUs, servers): the supply
 * temperature, nearly constant.
 *
 *	mean + season cos(year) + day cos(hour) + weather (waves of 2.3, 4.1 and 7.7 days) + place in the hall
 *
 * Figures of free air are those of West Texas: 18 °C over the year, 21 K between the means of January and July, 14 K
 * between the extremes of a day. Halls: within the 18 to 27 °C that ASHRAE TC 9.9 recommends.
 */
enum { INLET_WAVES = 3 };

struct inlet {
	float mean_c, season_k, day_k, weather_k, low_c, high_c;
	float phase[INLET_WAVES]; /* radians */
	float place_k;
};

/* site: name of the facility, which its nodes share the weather of. place: number in it; up to 1.5 K either way. */
void inlet_init(struct inlet *in, enum device_kind kind, const char *site, uint64_t place);
float inlet_at(const struct inlet *in, int64_t now_ns);

#endif
