#include "health/chart.h"

#include <math.h>

#define SLACK 1.0F       /* sigmas that the sums forgive a minute */
#define LIMIT 40.0F       /* sum that is an excess of 1 */
#define FREEZE 0.25F      /* excess from which nothing is learned */
#define CLIP 3.0F
#define SUM_CLIP 6.0F     /* one minute adds at most so much to a sum */
#define SUM_MAX (4 * LIMIT)
#define KEEP 0.9F         /* of the weighted mean, a minute */
#define LEVEL_LIMIT 5.0F  /* mean z that is an excess of 1 by itself */
#define ABS_TO_SIGMA 1.2533F /* of a normal: sigma over mean absolute deviation */

void chart_init(struct chart *c)
{
	*c = (struct chart){ 0 };
}

static float clip(float v, float most)
{
	return v > most ? most : v < -most ? -most : v;
}

static void learn(struct chart *c, const struct chart_rule *r, float value)
{
	if (c->n == 0) {
		c->mean = value;
		c->sigma = 2 * r->sigma_least;
	}
	float by = 1 / (float)(c->n + 1), least = 1.0F / CHART_MEMORY, z = clip((value - c->mean) / c->sigma, CLIP);
	by = by > least ? by : least;
	c->mean += by * c->sigma * z;
	/* The first values tell little about the spread: it starts wide and comes down. */
	c->sigma += (by < 0.05F ? by : 0.05F) * c->sigma * (fabsf(z) * ABS_TO_SIGMA - 1);
	if (c->sigma < r->sigma_least)
		c->sigma = r->sigma_least;
	c->n = (uint16_t)(c->n + (c->n < CHART_MEMORY));
}

void chart_take(struct chart *c, const struct chart_rule *r, float value, uint32_t minute)
{
	if (!isfinite(value))
		return;
	if (c->n < CHART_LEARN) {
		learn(c, r, value);
		return;
	}
	float z = clip((value - c->mean) / c->sigma, SUM_CLIP), before = c->high > c->low ? c->high : c->low;
	c->ewma = KEEP * c->ewma + (1 - KEEP) * z;
	c->high = clip(fmaxf(0, c->high + z - SLACK), SUM_MAX);
	c->low = clip(fmaxf(0, c->low - z - SLACK), SUM_MAX);
	if (before <= 0)
		c->since = minute;
	if (fabsf(chart_excess(c, r)) < FREEZE)
		learn(c, r, value);
}

float chart_level(const struct chart *c, const struct chart_rule *r)
{
	return (c->ewma > 0 ? r->high : r->low) ? c->ewma : 0;
}

float chart_excess(const struct chart *c, const struct chart_rule *r)
{
	float high = r->high ? c->high / LIMIT : 0, low = r->low ? c->low / LIMIT : 0;
	float level = chart_level(c, r) / LEVEL_LIMIT;
	if (c->n < CHART_LEARN)
		return 0;
	high = fmaxf(high, level);
	low = fmaxf(low, -level);
	/* What is normal was seen for a few hours only. */
	float doubt = c->n < CHART_MEMORY / 4 ? 1 + (float)(CHART_MEMORY / 4 - c->n) / (CHART_MEMORY / 4) : 1;
	return (high >= low ? high : -low) / doubt;
}

void chart_mend(struct chart *c)
{
	c->ewma = c->high = c->low = 0;
	if (c->n > CHART_LEARN)
		c->n = CHART_LEARN;
}
