#include "sim/physics.h"

#include <math.h>

#define S_NS INT64_C(1000000000)

/* Steps of the heat are this long at most, and so many: after them it is steady. */
enum { HEAT_STEP_S = 15, HEAT_STEPS_MAX = 16 };

#define LEAK_C 60
#define LEAK_K 40
#define THROTTLE_PER_K 0.04F
#define FAN_LAG_S 12
#define DUTY_NORMAL 0.7F
#define CONTACT_LEAST 0.2F
#define RESTART_S 30 /* of a runtime that was killed */

/*
 * Per kind. rise_k: above the inlet at full watts and full fans; heat_s: heat capacity over conductance there;
 * low_c, high_c: between them the fans go from least_duty to 1; fans: their watts at full duty over the device's.
 * least: slowest clocks above throttle_c. Air-cooled miners run at 60 to 75 °C on
 * their chips and stop above 95; SXM boards slow down at 83 to 87 °C.
 */
static const struct kind {
	float rise_k, heat_s, low_c, high_c, least_duty, fans, leak, throttle_c, least, trip_c, back_c, errors_s;
} table[DEVICE_KIND_END] = {
	[DEVICE_GPU] = { 36, 60, 35, 75, 0.25F, 0.04F, 0.08F, 84, 0.4F, 93, 60, 0.0005F },
	[DEVICE_ASIC] = { 30, 54, 45, 75, 0.15F, 0.03F, 0.06F, 82, 0.7F, 95, 50, 0.02F },
	[DEVICE_CPU] = { 40, 48, 40, 80, 0.30F, 0.05F, 0.08F, 92, 0.4F, 100, 65, 0.0002F },
};

static float clampf(float v, float low, float high)
{
	return v < low ? low : v > high ? high : v;
}

static float full_w(const struct device_class *c)
{
	return (float)c->power_w[c->kind == DEVICE_ASIC ? DEVICE_FILL : DEVICE_SERVE];
}

static float clocks(const struct fleet_device *d)
{
	const struct kind *k = &table[d->cls->kind];
	return clampf(1 - (d->temperature_c - k->throttle_c) * THROTTLE_PER_K, k->least, 1);
}

double physics_watts(const struct fleet_device *d, double nominal_w, double *ret_work)
{
	const struct kind *k = &table[d->cls->kind];
	float hot = k->leak * (expf((d->temperature_c - LEAK_C) / LEAK_K) - 1);
	float fans_w = k->fans * full_w(d->cls) *
		(d->duty * d->duty * d->duty - DUTY_NORMAL * DUTY_NORMAL * DUTY_NORMAL);
	double w = nominal_w * (double)(d->draw * (1 + hot)) + (double)fans_w, work = 1;
	float f = clocks(d);
	if (w > nominal_w) {
		work = nominal_w / w;
		w = nominal_w;
	}
	/* Voltage follows the clock for a part of the way. */
	*ret_work = work * (double)f;
	return w * (double)(f * f);
}

/* ---- one step ---- */

static void cool(struct fleet_device *d, const struct fleet_step *s, float dt_s)
{
	const struct kind *k = &table[d->cls->kind];
	float target = clampf(k->least_duty + (1 - k->least_duty) * (d->sensor_c - k->low_c) / (k->high_c - k->low_c),
		k->least_duty, 1);
	d->duty += (target - d->duty) * (dt_s / (dt_s + FAN_LAG_S));
	float flow = d->fault == FLEET_FAN_LOST ? d->duty * (0.9F - 0.4F * d->fault_size) : d->duty;
	float by = (0.08F + 0.92F * powf(flow, 0.8F)) * d->contact;
	float final_c = s->inlet_c + k->rise_k * (float)d->power_mw / (1000 * full_w(d->cls)) / by;
	d->temperature_c = final_c + (d->temperature_c - final_c) * expf(-dt_s * by / k->heat_s);
	if (d->fault != FLEET_FROZEN)
		d->sensor_c = d->temperature_c + d->offset_c + 60 * d->noise;
}

static void protect(struct fleet_device *d, int64_t now_ns)
{
	const struct kind *k = &table[d->cls->kind];
	if (!d->tripped && d->temperature_c >= k->trip_c) {
		d->tripped = true;
	} else if (d->tripped && d->temperature_c < k->back_c) {
		d->tripped = false;
		d->retunes = false;
		d->start_mw = d->power_mw;
		d->start_ths = 0;
		d->changed_ns = now_ns;
		d->ready_ns = now_ns + d->cls->switch_ms[d->mode] * 1000000;
	}
}

static void leak(struct fleet_device *d, const struct fleet_step *s)
{
	float total = (float)d->cls->memory_gib;
	if (d->mode != DEVICE_SERVE && d->mode != DEVICE_FILL)
		return;
	/* 0.2 to 3 % of its memory an hour: out of it within a few hours to days. */
	d->leaked_gib += total * (0.002F + 0.028F * d->fault_size) * s->dt_s / 3600;
	if (fleet_device_memory_gib(d) < d->cls->memory_gib)
		return;
	d->leaked_gib = 0;
	d->changed_ns = s->now_ns;
	d->ready_ns = s->now_ns + RESTART_S * S_NS;
	d->start_mw = (int32_t)(d->cls->power_w[DEVICE_IDLE] * 1000);
	d->start_ths = 0;
}

static void count_errors(struct fleet_device *d, const struct fleet_step *s, float u)
{
	const struct kind *k = &table[d->cls->kind];
	float hot = clampf((d->temperature_c - k->throttle_c + 5) / 10, 0, 1);
	if (d->mode != DEVICE_FILL && d->mode != DEVICE_SERVE)
		return;
	float due = k->errors_s * s->dt_s * (1 + 9 * hot) * (d->fault == FLEET_BOARD_LOST ? 3 : 1);
	float whole = floorf(due);
	d->errors += (uint32_t)whole + (u < due - whole);
}

void physics_step(struct fleet_device *d, const struct fleet_step *s, float u)
{
	float left_s = fminf(s->dt_s, HEAT_STEP_S * HEAT_STEPS_MAX), each_s;
	if (d->fault == FLEET_RUNAWAY && d->contact > CONTACT_LEAST)
		d->contact *= expf(-s->dt_s / (1200 + 6000 * (1 - d->fault_size)));
	for (; left_s > 0; left_s -= each_s) {
		each_s = left_s > HEAT_STEP_S ? HEAT_STEP_S : left_s;
		cool(d, s, each_s);
	}
	protect(d, s->now_ns);
	if (d->fault == FLEET_MEMORY_LEAK)
		leak(d, s);
	count_errors(d, s, u);
}

double fleet_device_memory_gib(const struct fleet_device *d)
{
	double share = d->fault == FLEET_DEAD || d->mode == DEVICE_OFF ? 0 : d->mode == DEVICE_SAFE ? 0.02 : 0.62;
	/* Weights stay while it fills; keys and values come with load. */
	if (d->mode == DEVICE_SERVE)
		share += 0.2 * (double)d->load + 0.4 * (double)d->noise;
	return share > 0 ? d->cls->memory_gib * share + (double)d->leaked_gib : 0;
}

void physics_mend(struct fleet_device *d)
{
	d->contact = 1;
	d->leaked_gib = 0;
}
