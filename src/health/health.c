#include "health/health.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "health/health_priv.h"

#define S_NS INT64_C(1000000000)

/* Seconds after a change of mode before a signal means something. */
enum { SETTLE_HEAT_S = 300, SETTLE_POWER_S = 60, SETTLE_MEMORY_S = 120, GAP_S = 600 };

#define LOAD_S 60.0F     /* of the smoothing, about that of a heat sink */
#define LOAD_MOVED 0.15F /* watts that differ so much from the smoothed ones say little about heat */
#define LOAD_LEAST 0.35F /* a device that hardly works shows nothing of its cooling */

const struct chart_rule health_rule[HEALTH_SIGNALS] = {
	[HEALTH_HEAT] = { 0.8F, true, true },
	[HEALTH_FAN] = { 0.02F, true, true },
	[HEALTH_POWER] = { 0.015F, true, true },
	[HEALTH_HASH] = { 0.01F, false, true },
	[HEALTH_MEMORY] = { 0.003F, true, false },
	[HEALTH_ERRORS] = { 1, true, false },
};

void health_conf_default(struct health_conf *c)
{
	*c = (struct health_conf){ .seed = 1, .forest_minutes = 720, .shapes_minutes = 1440, .shapes_steps = 600 };
}

struct health *health_new(const struct health_conf *c)
{
	struct health *h = mem_calloc(1, sizeof(*h));
	if (h)
		h->conf = *c;
	return h;
}

void health_free(struct health *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < DEVICE_CLASS_MAX; i++) {
		if (h->cls[i])
			models_release(h->cls[i]);
		mem_free(h->cls[i]);
	}
	mem_free(h);
}

void health_device_init(struct health_device *d)
{
	*d = (struct health_device){ .mode = DEVICE_MODE_END };
}

void health_device_mend(struct health_device *d)
{
	for (int k = 0; k < HEALTH_SIGNALS; k++)
		chart_mend(&d->chart[k]);
	d->sick = false;
	d->strange = 0;
	d->still_c = INT16_MIN;
}

static struct health_class *class_of(struct health *h, const struct device_class *cls)
{
	size_t i = device_class_index(cls);
	if (!h->cls[i]) {
		h->cls[i] = mem_calloc(1, sizeof(*h->cls[i]));
		if (h->cls[i])
			rng_init(&h->cls[i]->rng, h->conf.seed + i);
	}
	return h->cls[i];
}

int health_know(struct health *h, const struct device_class *cls)
{
	return class_of(h, cls) ? 0 : HCP_ENOMEM;
}

struct str health_norms(const struct health *h, const struct device_class *cls)
{
	const struct health_class *c = h->cls[device_class_index(cls)];
	return c ? (struct str){ (const char *)c->norm, sizeof(c->norm) } : (struct str){ "", 0 };
}

int health_set_norms(struct health *h, const struct device_class *cls, struct str bytes)
{
	struct norm norm[HEALTH_WORKS][HEALTH_SIGNALS];
	if (bytes.n != sizeof(norm))
		return HCP_ECORRUPT;
	memcpy(norm, bytes.p, sizeof(norm));
	for (int i = 0; i < HEALTH_WORKS * HEALTH_SIGNALS; i++)
		if (!norm_check(&norm[i / HEALTH_SIGNALS][i % HEALTH_SIGNALS]))
			return HCP_ECORRUPT;
	struct health_class *c = class_of(h, cls);
	if (!c)
		return HCP_ENOMEM;
	memcpy(c->norm, norm, sizeof(norm));
	return 0;
}

int health_device_check(const struct health_device *d)
{
	bool ok = d->mode <= DEVICE_MODE_END && isfinite(d->load);
	for (int k = 0; k < HEALTH_SIGNALS; k++) {
		const struct chart *c = &d->chart[k];
		ok &= isfinite(c->mean) && isfinite(c->sigma) && isfinite(c->ewma) && isfinite(c->high) && isfinite(c->low);
		ok &= isfinite(d->sum[k]) && c->n <= CHART_MEMORY && (c->n == 0 || c->sigma > 0);
	}
	return ok ? 0 : HCP_ECORRUPT;
}

static int work_of(enum device_mode m)
{
	return m == DEVICE_SERVE ? 0 : m == DEVICE_FILL ? 1 : -1;
}

static float within(float v, float low, float high)
{
	return v >= low && v <= high ? v : NAN;
}

/* ---- one sample ---- */

static float full_w(const struct device_class *c)
{
	return (float)c->power_w[c->kind == DEVICE_ASIC ? DEVICE_FILL : DEVICE_SERVE];
}

float health_nominal_w(const struct device_class *c, const struct health_sample *s)
{
	float w = (float)c->power_w[s->mode], idle_w = (float)c->power_w[DEVICE_IDLE];
	if (s->mode == DEVICE_SERVE)
		w = idle_w + (w - idle_w) * within(s->utilisation, LOAD_LEAST, 1.2F);
	bool tuned = c->kind == DEVICE_ASIC && s->mode == DEVICE_FILL;
	return s->target_w > 0 && (tuned || s->target_w < w) ? s->target_w : w;
}

float health_nominal_ths(const struct device_class *c, const struct health_sample *s)
{
	if (c->kind == DEVICE_ASIC && s->target_w > 0)
		return (float)device_class_ths_at(c, s->target_w);
	return (float)c->fill_ths * health_nominal_w(c, s) / (float)c->power_w[DEVICE_FILL];
}

static void look_at(const struct device_class *cls, const struct health_device *d, const struct health_sample *s,
	struct health_look *ret)
{
	uint32_t in_mode_s = d->seen_s - d->changed_s, boot_s = (uint32_t)(cls->switch_ms[s->mode] / 1000) + SETTLE_POWER_S;
	float power = within(s->power_w, 0, 4 * full_w(cls)), load = power / full_w(cls);
	for (int k = 0; k < HEALTH_SIGNALS; k++)
		ret->value[k] = NAN;
	if (in_mode_s >= SETTLE_HEAT_S && d->load >= LOAD_LEAST && fabsf(load - d->load) < LOAD_MOVED) {
		ret->value[HEALTH_HEAT] = within(s->temperature_c, -40, 200) - s->inlet_c;
		ret->value[HEALTH_FAN] = within(s->fan, 0.001F, 1.5F);
	}
	if (in_mode_s >= boot_s) {
		ret->value[HEALTH_POWER] = power / health_nominal_w(cls, s);
		ret->value[HEALTH_ERRORS] = 0; /* counted by the minute */
		if (s->mode == DEVICE_FILL && cls->fill_ths > 0)
			ret->value[HEALTH_HASH] = within(s->hash_ths / health_nominal_ths(cls, s), 0, 4);
	}
	if (in_mode_s >= SETTLE_MEMORY_S && cls->memory_gib > 0)
		ret->value[HEALTH_MEMORY] = within(s->memory_gib / (float)cls->memory_gib, 0.0001F, 2);
}

static struct norm_point point_of(const struct health_device *d, const struct health_sample *s, int signal)
{
	float load = signal <= HEALTH_FAN ? d->load : isfinite(s->utilisation) ? s->utilisation : 0;
	return norm_point(load, isfinite(s->inlet_c) ? s->inlet_c : 22);
}

static void add(struct health_class *c, struct health_device *d, const struct health_sample *s, int work, bool learns,
	struct health_look *look)
{
	for (int k = 0; k < HEALTH_ERRORS; k++) {
		struct norm *m = &c->norm[work][k];
		struct norm_point p = point_of(d, s, k);
		look->expected[k] = norm_expect(m, p);
		if (!isfinite(look->value[k]))
			continue;
		if (learns && d->n[k] == 0)
			norm_learn(m, p, look->value[k], health_rule[k].sigma_least);
		if (!isfinite(look->expected[k]) || d->n[k] == UINT8_MAX)
			continue;
		d->sum[k] += look->value[k] - look->expected[k];
		d->n[k]++;
	}
	look->expected[HEALTH_ERRORS] = 0;
	d->n[HEALTH_ERRORS] = (uint8_t)(d->n[HEALTH_ERRORS] + (isfinite(look->value[HEALTH_ERRORS]) &&
		d->n[HEALTH_ERRORS] < UINT8_MAX));
}

/* Whole degrees, as most sensors say: does the reading stand still where the expectation moves? */
static void watch_sensor(struct health_device *d, const struct health_sample *s, const struct health_look *look)
{
	float expected = look->expected[HEALTH_HEAT];
	if (!isfinite(look->value[HEALTH_HEAT]) || !isfinite(expected))
		return;
	int16_t now_c = (int16_t)lroundf(s->temperature_c);
	expected += s->inlet_c;
	if (now_c != d->still_c) {
		d->still_c = now_c;
		d->still_n = 0;
		d->still_low = d->still_high = expected;
	}
	d->still_low = fminf(d->still_low, expected);
	d->still_high = fmaxf(d->still_high, expected);
}

/* ---- one minute ---- */

static void close_minute(struct health *h, struct health_device *d, const struct health_sample *s)
{
	d->still_n = (uint16_t)(d->still_n + (d->n[HEALTH_HEAT] && d->still_n < UINT16_MAX));
	for (int k = 0; k < HEALTH_SIGNALS; k++) {
		float value = d->n[k] ? d->sum[k] / (float)d->n[k] : NAN;
		if (k == HEALTH_ERRORS && d->n[k]) {
			/* By 32 bits, as it is kept; a counter that went back tells nothing. */
			uint32_t n = (uint32_t)s->errors - d->errors;
			value = s->errors >= 0 && n <= INT32_MAX ? 2 * sqrtf((float)n + 0.375F) : NAN;
		}
		/* A minute half of which was something else tells little. */
		if (d->n[k] >= 2)
			chart_take(&d->chart[k], &health_rule[k], value, d->minute);
		d->sum[k] = 0;
		d->n[k] = 0;
	}
	d->errors = (uint32_t)s->errors;
	h->stats.minutes++;
}

static void begin(struct health_device *d, const struct health_sample *s, uint32_t now_s)
{
	bool gap = now_s - d->seen_s > GAP_S;
	if (gap || d->mode != s->mode || (s->mode == DEVICE_FILL && d->work != s->work)) {
		d->changed_s = now_s;
		d->still_c = INT16_MIN;
	}
	if (gap) {
		for (int k = 0; k < HEALTH_SIGNALS; k++)
			d->n[k] = 0, d->sum[k] = 0;
		d->minute = now_s / 60;
		d->errors = (uint32_t)s->errors;
	}
	if (d->work != s->work)
		chart_init(&d->chart[HEALTH_MEMORY]);
	d->work = s->work;
	d->mode = (uint8_t)s->mode;
}

bool health_take(struct health *h, const struct device_class *cls, struct health_device *d, struct health_window *w,
	const struct health_sample *s, bool *ret_sick, struct health_finding *ret)
{
	struct health_class *c = class_of(h, cls);
	struct health_look look;
	uint32_t now_s = (uint32_t)(s->at_ns / S_NS);
	enum health_signal worst;
	int work = work_of(s->mode);
	if (!c || s->at_ns <= 0 || now_s <= d->seen_s)
		return false;
	begin(d, s, now_s);
	float power = within(s->power_w / full_w(cls), 0, 4);
	if (isfinite(power))
		d->load += (power - d->load) * (1 - expf(-(float)(now_s - d->seen_s) / LOAD_S));
	d->seen_s = now_s;
	h->stats.samples++;
	if (work < 0)
		return false;
	bool closed = now_s / 60 != d->minute;
	if (closed)
		close_minute(h, d, s);
	d->minute = now_s / 60;
	look_at(cls, d, s, &look);
	add(c, d, s, work, !d->sick && rule_excess(d, &worst) < 0.25F, &look);
	watch_sensor(d, s, &look);
	if (!closed)
		return false;
	models_take(h, c, d, w);
	*ret_sick = rule_judge(cls, d, s, &look, ret);
	return true;
}

struct health_stats health_stats(const struct health *h)
{
	return h->stats;
}
