#include "sim/fleet.h"

#include <math.h>

#include "base/panic.h"
#include "sim/physics.h"

#define S_NS INT64_C(1000000000)

enum { REPAIR_MIN_S = 60, START_C = 28 };

/* Shares of switch_ms at which an ASIC's boards start to draw and to hash, and are done with each. */
#define BOOT_SHARE 0.4
#define BOOT_WATTS 0.1
#define RAMP_END 0.9
#define HASH_BEGIN 0.5
#define HASH_END 0.95

#define NOISE_DEVIATION 0.005F
#define NOISE_MAX 0.02F
#define NOISE_S 8
#define SWING_DEVIATION 0.08F
#define SWING_MAX 0.25F
#define SWING_S 600
#define READY_LOAD 0.03F  /* of a device that serves nobody at present */
#define BUSY_LOAD 0.8F
#define REQUESTS_S_FULL 40.0

static double clamp(double v, double low, double high)
{
	return v < low ? low : v > high ? high : v;
}

/* How often each fault is the one that comes; ASICs have boards, the others memory. */
static const uint8_t often[FLEET_FAULT_END][2] = {
	[FLEET_BOARD_LOST] = { 0, 30 },
	[FLEET_STUCK] = { 15, 15 },
	[FLEET_DEAD] = { 20, 15 },
	[FLEET_FAN_LOST] = { 20, 20 },
	[FLEET_RUNAWAY] = { 10, 10 },
	[FLEET_FROZEN] = { 10, 10 },
	[FLEET_MEMORY_LEAK] = { 25, 0 },
};

static const char *const fault_name[FLEET_FAULT_END] = { "good", "board_lost", "stuck", "dead", "fan_lost", "runaway",
	"sensor_frozen", "memory_leak" };

const char *fleet_fault_name(enum fleet_fault f)
{
	return (unsigned)f < FLEET_FAULT_END ? fault_name[f] : NULL;
}

void fleet_device_init(struct fleet_device *d, const struct device_class *cls, enum device_mode mode, int64_t now_ns)
{
	*d = (struct fleet_device){ .cls = cls, .order_ns = now_ns, .changed_ns = now_ns, .ready_ns = now_ns,
		.gate = (uint8_t)mode, .mode = (uint8_t)mode, .temperature_c = START_C, .sensor_c = START_C, .duty = 0.3F,
		.contact = 1, .draw = 1 };
	d->power_mw = d->start_mw = (int32_t)(cls->power_w[mode] * 1000);
}

void fleet_device_vary(struct fleet_device *d, struct rng *rng)
{
	double draw = clamp(rng_normal(rng), -3, 3), offset = clamp(rng_normal(rng), -3, 3);
	d->draw = (float)(1 + 0.01 * draw);
	d->offset_c = (float)offset;
}

static void begin(struct fleet_device *d, bool retunes, int64_t now_ns, int64_t lasts_ns)
{
	d->start_mw = d->power_mw;
	d->start_ths = d->hash_ths;
	d->changed_ns = now_ns;
	d->ready_ns = now_ns + lasts_ns;
	d->retunes = retunes;
}

static void enter(struct fleet_device *d, enum device_mode mode, int64_t now_ns)
{
	if (d->mode != mode)
		begin(d, false, now_ns, d->cls->switch_ms[mode] * 1000000);
	d->mode = (uint8_t)mode;
}

/* A miner that is still booting goes on with that, towards the new target. */
static void retune(struct fleet_device *d, int32_t target_w, int64_t now_ns)
{
	bool mines = d->cls->kind == DEVICE_ASIC && d->mode == DEVICE_FILL;
	if (mines && target_w != d->target_w && now_ns >= d->ready_ns)
		begin(d, true, now_ns, FLEET_RETUNE_S * S_NS);
	d->target_w = target_w;
	d->target_ths = target_w > 0 ? (float)device_class_ths_at(d->cls, target_w) : 0;
}

int fleet_device_order(struct fleet_device *d, const struct fleet_rules *rules, struct rng *rng, enum device_mode mode,
	int32_t target_w, int64_t now_ns)
{
	if (mode == DEVICE_SERVE && d->cls->kind == DEVICE_ASIC)
		return HCP_EUNSUPPORTED;
	d->gate = (uint8_t)mode;
	d->order_ns = now_ns;
	/* Without a lie every order is followed; falling to safe watts is the device's own doing and no lie. */
	d->lying = rules->lie_rate > 0 && mode != DEVICE_SAFE && mode != d->mode && rng_double(rng) < rules->lie_rate;
	if (d->lying || d->fault == FLEET_STUCK || d->fault == FLEET_DEAD)
		return 0;
	enter(d, mode, now_ns);
	retune(d, target_w, now_ns);
	return 0;
}

void fleet_device_break(struct fleet_device *d, enum fleet_fault fault, double size, int64_t until_ns)
{
	d->fault = (uint8_t)fault;
	d->fault_size = (float)size;
	d->repaired_ns = until_ns;
}

/* ---- one step ---- */

void fleet_step_init(struct fleet_step *s, const struct fleet_rules *rules, float inlet_c, int64_t now_ns,
	int64_t dt_ns)
{
	must(dt_ns > 0);
	float dt_s = (float)((double)dt_ns / 1e9), noise = expf(-dt_s / NOISE_S), swing = expf(-dt_s / SWING_S);
	*s = (struct fleet_step){ .rules = rules, .now_ns = now_ns, .dt_ns = dt_ns, .dt_s = dt_s, .inlet_c = inlet_c,
		.noise_keep = noise, .noise_add = NOISE_DEVIATION * sqrtf(1 - noise * noise),
		.swing_keep = swing, .swing_add = SWING_DEVIATION * sqrtf(1 - swing * swing) };
	if (rules->fail_rate_h > 0)
		s->fail = -expm1(-rules->fail_rate_h * (double)dt_ns / 3600e9);
}

static void repair(struct fleet_device *d, int64_t now_ns)
{
	bool dead = d->fault == FLEET_DEAD;
	d->fault = FLEET_GOOD;
	physics_mend(d);
	/* After its power came back a miner mines, whatever it was told before. */
	if (dead) {
		d->mode = DEVICE_OFF;
		enter(d, d->cls->kind == DEVICE_ASIC ? DEVICE_FILL : DEVICE_IDLE, now_ns);
		d->gate = d->mode;
	}
}

static void faults(struct fleet_device *d, const struct fleet_step *s, struct rng *rng)
{
	if (d->fault != FLEET_GOOD && s->now_ns >= d->repaired_ns)
		repair(d, s->now_ns);
	if (s->fail <= 0 || d->fault != FLEET_GOOD || rng_double(rng) >= s->fail)
		return;
	int asic = d->cls->kind == DEVICE_ASIC, at = (int)rng_below(rng, 100), fault = 0;
	while (at >= often[fault][asic])
		at -= often[fault++][asic];
	int64_t repair_ns = (int64_t)(rng_exp(rng) * (double)s->rules->repair_ns) + REPAIR_MIN_S * S_NS;
	fleet_device_break(d, (enum fleet_fault)fault, rng_double(rng),
		s->rules->repair_ns ? s->now_ns + repair_ns : INT64_MAX);
}

static double share_of(double progress, double begin, double end)
{
	return clamp((progress - begin) / (end - begin), 0, 1);
}

/* Watts and TH/s that the mode comes to. */
static void steady(struct fleet_device *d, double *ret_w, double *ret_ths)
{
	const struct device_class *c = d->cls;
	bool tuned = d->target_w > 0 && c->kind == DEVICE_ASIC && d->mode == DEVICE_FILL;
	double w = tuned ? d->target_w : c->power_w[d->mode], ths = 0, work = 1;
	if (d->mode == DEVICE_SERVE)
		w = c->power_w[DEVICE_IDLE] + (c->power_w[DEVICE_SERVE] - c->power_w[DEVICE_IDLE]) * (double)d->load;
	if (d->mode == DEVICE_FILL) {
		double good = d->fault == FLEET_BOARD_LOST ? (FLEET_BOARDS - 1.0) / FLEET_BOARDS : 1;
		w *= good;
		ths = (tuned ? (double)d->target_ths : c->fill_ths) * good;
	}
	if (w > 0 && (d->mode == DEVICE_FILL || d->mode == DEVICE_SERVE)) {
		w = physics_watts(d, w, &work);
		ths *= work;
	}
	d->pace = (float)work;
	if (!tuned && d->target_w > 0 && w > d->target_w) {
		ths *= d->target_w / w;
		w = d->target_w;
	}
	*ret_w = w;
	*ret_ths = ths;
}

static void power_and_hashes(struct fleet_device *d, int64_t now_ns)
{
	double w, ths, start_w = d->start_mw / 1000.0;
	steady(d, &w, &ths);
	if (now_ns < d->ready_ns) {
		double progress = (double)(now_ns - d->changed_ns) / (double)(d->ready_ns - d->changed_ns);
		double rise = share_of(progress, 0, 1), hashing = rise;
		if (d->cls->kind == DEVICE_ASIC && d->mode == DEVICE_FILL && !d->retunes) {
			rise = share_of(progress, BOOT_SHARE, RAMP_END);
			hashing = share_of(progress, HASH_BEGIN, HASH_END);
			start_w = fmax(start_w < w ? start_w : w, w * BOOT_WATTS);
		}
		w = start_w + (w - start_w) * rise;
		ths = (double)d->start_ths + (ths - (double)d->start_ths) * hashing;
	}
	if (d->tripped) {
		w = d->cls->power_w[DEVICE_SAFE];
		ths = 0;
	}
	if (d->fault == FLEET_DEAD)
		w = ths = 0;
	d->power_mw = (int32_t)lround(w * 1000 * (1 + (double)d->noise));
	d->hash_ths = (float)(ths * (1 + (double)d->noise / 2));
}

/* Roughly normal with deviation 1, from 32 bits. */
static float bell(uint32_t bits)
{
	float sum = (float)(bits & 0xff) + (float)(bits >> 8 & 0xff) + (float)(bits >> 16 & 0xff) + (float)(bits >> 24);
	return (sum - 510) * (1 / 147.8F);
}

static float clampf(float v, float low, float high)
{
	return v < low ? low : v > high ? high : v;
}

struct fleet_flow fleet_device_step(struct fleet_device *d, const struct fleet_step *s, struct rng *rng, bool busy)
{
	struct fleet_flow flow = { 0 };
	faults(d, s, rng);
	uint64_t bits = rng_u64(rng);
	d->noise = clampf(d->noise * s->noise_keep + s->noise_add * bell((uint32_t)bits), -NOISE_MAX, NOISE_MAX);
	d->swing = clampf(d->swing * s->swing_keep + s->swing_add * bell((uint32_t)(bits >> 32)), -SWING_MAX, SWING_MAX);
	bool serving = d->mode == DEVICE_SERVE && d->fault != FLEET_DEAD && !d->tripped;
	d->load = serving ? clampf((busy ? BUSY_LOAD : READY_LOAD) * (1 + d->swing + 5 * d->noise), 0, 1) : 0;
	power_and_hashes(d, s->now_ns);
	physics_step(d, s, (float)(bits * 0x9e3779b97f4a7c15u >> 40) * 0x1p-24F);
	flow.energy_mw_ns = (int64_t)d->power_mw * s->dt_ns;
	flow.hashes = (double)d->hash_ths * 1e12 * (double)s->dt_s;
	if (serving && busy && s->now_ns >= d->ready_ns) {
		d->requests_due += (double)(d->load * d->pace * s->dt_s) * REQUESTS_S_FULL;
		flow.requests = (int64_t)d->requests_due;
		d->requests_due -= (double)flow.requests;
		d->requests += flow.requests;
	}
	return flow;
}

bool fleet_device_probe(struct fleet_device *d, int64_t now_ns)
{
	if (d->mode != DEVICE_SERVE || d->fault == FLEET_DEAD || d->tripped || now_ns < d->ready_ns)
		return false;
	d->requests++;
	return true;
}

struct device_actual fleet_device_read(const struct fleet_device *d, int64_t requests_base, int64_t now_ns)
{
	return (struct device_actual){ .measured_at_ns = now_ns, .power_w = d->power_mw / 1000.0,
		.hash_ths = (double)d->hash_ths, .temperature_c = (double)d->sensor_c,
		.served = (uint64_t)(d->requests - requests_base), .power_measured = true };
}
