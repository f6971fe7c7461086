#include <math.h>
#include <stdio.h>

#include "base/timefmt.h"
#include "health/health_priv.h"

#define S_NS INT64_C(1000000000)
#define WITNESS 0.5F     /* excess that is enough if another model finds the device strange */
#define WELL 0.25F       /* below, a sick device is well again */
#define STILL_K 4.0F     /* a reading that stood still while so much was expected */
#define STILL_SLOW_K 2.5F
#define STILL_MINUTES 120
#define STILL_LEAST 3

static const struct {
	const char *name, *text, *unit;
	int digits;
} signal[HEALTH_SIGNAL_END] = {
	[HEALTH_HEAT] = { "heat", "temperature", " °C", 1 },
	[HEALTH_FAN] = { "fan", "fan duty", " %", 0 },
	[HEALTH_POWER] = { "power", "power", " W", 0 },
	[HEALTH_HASH] = { "hash", "hash rate", " TH/s", 1 },
	[HEALTH_MEMORY] = { "memory", "memory", " GiB", 1 },
	[HEALTH_ERRORS] = { "errors", "errors a minute", "", 1 },
	[HEALTH_SENSOR] = { "sensor", "temperature sensor", " °C", 0 },
};

const char *health_signal_name(enum health_signal s)
{
	return (unsigned)s < HEALTH_SIGNAL_END ? signal[s].name : NULL;
}

float rule_excess(const struct health_device *d, enum health_signal *ret)
{
	float most = 0;
	*ret = HEALTH_HEAT;
	for (int k = 0; k < HEALTH_SIGNALS; k++) {
		float e = fabsf(chart_excess(&d->chart[k], &health_rule[k]));
		if (e > most) {
			most = e;
			*ret = (enum health_signal)k;
		}
	}
	return most;
}

static bool stands_still(const struct health_device *d)
{
	float range = d->still_high - d->still_low;
	if (d->still_c == INT16_MIN || d->still_n < STILL_LEAST)
		return false;
	return range >= STILL_K || (range >= STILL_SLOW_K && d->still_n >= STILL_MINUTES);
}

/* From the charts' unit into that of people. */
static float in_unit(const struct device_class *cls, const struct health_sample *s, enum health_signal k, float v)
{
	float nominal = health_nominal_w(cls, s);
	switch (k) {
	case HEALTH_HEAT: return v + s->inlet_c;
	case HEALTH_FAN: return 100 * v;
	case HEALTH_POWER: return v * nominal;
	case HEALTH_HASH:
		return v * health_nominal_ths(cls, s);
	case HEALTH_MEMORY: return v * (float)cls->memory_gib;
	case HEALTH_ERRORS: return v * v / 4 - 0.375F;
	default: return v;
	}
}

bool rule_judge(const struct device_class *cls, struct health_device *d, const struct health_sample *s,
	const struct health_look *look, struct health_finding *ret)
{
	enum health_signal k;
	float excess = rule_excess(d, &k);
	bool still = stands_still(d);
	if (still) {
		*ret = (struct health_finding){ .signal = HEALTH_SENSOR, .by = HEALTH_BY_SENSOR, .value = (float)d->still_c,
			.expected = d->still_high - d->still_low, .since_ns = ((int64_t)d->minute - d->still_n) * 60 * S_NS };
		return d->sick = true;
	}
	d->sick = excess >= (d->sick ? WELL : d->strange ? WITNESS : 1);
	if (!d->sick)
		return false;
	const struct chart *c = &d->chart[k];
	float base = isfinite(look->expected[k]) ? look->expected[k] : 0, value = look->value[k];
	/* Errors are counted by the minute; of what the last sample does not say, the mean of the minutes does. */
	if (k == HEALTH_ERRORS || !isfinite(value))
		value = base + c->mean + c->ewma * c->sigma;
	*ret = (struct health_finding){ .signal = k, .by = HEALTH_BY_CHART | d->strange,
		.value = in_unit(cls, s, k, value), .expected = in_unit(cls, s, k, base + c->mean),
		.sigmas = (value - base - c->mean) / c->sigma, .since_ns = (int64_t)c->since * 60 * S_NS };
	return true;
}

const char *health_text(const struct health_finding *f, char *dst, size_t n)
{
	char when[TIMEFMT_MAX];
	int digits = signal[f->signal].digits;
	timefmt_format(when, f->since_ns);
	if (f->signal == HEALTH_SENSOR)
		snprintf(dst, n, "temperature sensor stands at %.0f °C where %.1f K of change were expected, since %.16sZ",
			(double)f->value, (double)f->expected, when);
	else
		snprintf(dst, n, "%s %.*f%s, normal %.*f, %+.1f sigma, since %.16sZ", signal[f->signal].text, digits,
			(double)f->value, signal[f->signal].unit, digits, (double)f->expected, (double)f->sigmas, when);
	return dst;
}
