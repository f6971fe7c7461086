#ifndef HCP_HEALTH_CHART_H
#define HCP_HEALTH_CHART_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Control charts of one signal of one device: an exponentially weighted mean (Roberts 1959) for what is large and a
 * two-sided cumulative sum (Page 1954) for what is small and stays. Both run on z = (value - mean) / sigma, once a
 * minute, O(1). Mean and sigma are the device's own, robust: each value counts as at most 3 sigmas away, and while the
 * sums say that something may be wrong they learn nothing, so a slow fault does not become normal.
 */
enum {
	CHART_LEARN = 240,    /* minutes before it says anything */
	CHART_MEMORY = 1440,  /* minutes that mean and sigma go back in the long run */
};

struct chart {
	float mean, sigma; /* of the values, in their unit */
	float ewma;        /* of z */
	float high, low;   /* cumulative sums of z beyond the slack */
	uint32_t since;    /* minute at which the larger sum last left 0 */
	uint16_t n;        /* minutes learned from, up to CHART_MEMORY */
	uint16_t spare;
};

_Static_assert(sizeof(struct chart) == 28, "charts are stored by the hundred thousand");

struct chart_rule {
	float sigma_least; /* resolution of the sensor and of the expectation: below, differences mean nothing */
	bool high, low;    /* which sides are a fault */
};

void chart_init(struct chart *c);
/* One minute's value. */
void chart_take(struct chart *c, const struct chart_rule *r, float value, uint32_t minute);
/* The larger sum of the sides that count, over the limit; negative: the low one. 0 while it learns. */
float chart_excess(const struct chart *c, const struct chart_rule *r);
/* Mean z of the last minutes, 0 on a side that does not count. */
float chart_level(const struct chart *c, const struct chart_rule *r);
/* After a repair: nothing is wrong, and what is normal is learned again soon. */
void chart_mend(struct chart *c);

#endif
