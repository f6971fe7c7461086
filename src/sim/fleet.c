#include "sim/fleet.h"

#include <math.h>

#include "base/panic.h"

#define S_NS INT64_C(1000000000)

enum { REPAIR_MIN_S = 60 };

/* Per kind: kelvin above ambient at full power, heat capacity in J/K per watt of full power, least fan duty. */
static const struct { double rise_k, j_per_k_w, least_duty; } thermal[DEVICE_KIND_END] = {
	[DEVICE_GPU] = { 43, 1.7, 0.25 },
	[DEVICE_ASIC] = { 45, 1.8, 0.15 },
	[DEVICE_CPU] = { 40, 1.2, 0.3 },
};

/* Shares of switch_ms at which an ASIC's boards start to draw and to hash, and are done with each. */
#define BOOT_SHARE 0.4
#define BOOT_WATTS 0.1
#define RAMP_END 0.9
#define HASH_BEGIN 0.5
#define HASH_END 0.95

#define NOISE_DEVIATION 0.004
#define NOISE_MAX 0.02
#define NOISE_KEEP 0.9
#define READY_LOAD 0.03  /* of a device that serves nobody at present */
#define BUSY_LOAD 0.8
#define REQUESTS_S_FULL 40.0

void fleet_device_init(struct fleet_device *d, const struct device_class *cls, enum device_mode mode, int64_t now_ns)
{
	*d = (struct fleet_device){ .cls = cls, .order_ns = now_ns, .changed_ns = now_ns, .ready_ns = now_ns,
		.gate = (uint8_t)mode, .mode = (uint8_t)mode, .temperature_c = FLEET_AMBIENT_C + 3 };
	d->power_mw = d->start_mw = (int32_t)(cls->power_w[mode] * 1000);
}

static void enter(struct fleet_device *d, enum device_mode mode, int64_t now_ns)
{
	if (d->mode != mode) {
		d->start_mw = d->power_mw;
		d->start_ths = d->hash_ths;
		d->changed_ns = now_ns;
		d->ready_ns = now_ns + d->cls->switch_ms[mode] * 1000000;
	}
	d->mode = (uint8_t)mode;
}

int fleet_device_order(struct fleet_device *d, const struct fleet_rules *rules, struct rng *rng, enum device_mode mode,
	int32_t cap_w, int64_t now_ns)
{
	if (mode == DEVICE_SERVE && d->cls->kind == DEVICE_ASIC)
		return HCP_EUNSUPPORTED;
	d->gate = (uint8_t)mode;
	d->order_ns = now_ns;
	/* Without a lie every order is followed; falling to safe watts is the device's own doing and no lie. */
	d->lying = rules->lie_rate > 0 && mode != DEVICE_SAFE && mode != d->mode && rng_double(rng) < rules->lie_rate;
	if (d->lying || d->fault == FLEET_STUCK || d->fault == FLEET_DEAD)
		return 0;
	d->cap_w = cap_w;
	enter(d, mode, now_ns);
	return 0;
}

void fleet_device_break(struct fleet_device *d, enum fleet_fault fault, int64_t until_ns)
{
	d->fault = (uint8_t)fault;
	d->repaired_ns = until_ns;
}

/* ---- one step ---- */

static void faults(struct fleet_device *d, const struct fleet_rules *rules, struct rng *rng, int64_t now_ns,
	int64_t dt_ns)
{
	if (d->fault != FLEET_GOOD && now_ns >= d->repaired_ns) {
		bool dead = d->fault == FLEET_DEAD;
		d->fault = FLEET_GOOD;
		/* After its power came back a miner mines, whatever it was told before. */
		if (dead) {
			d->mode = DEVICE_OFF;
			enter(d, d->cls->kind == DEVICE_ASIC ? DEVICE_FILL : DEVICE_IDLE, now_ns);
			d->gate = d->mode;
		}
	}
	if (rules->fail_rate_h <= 0 || d->fault != FLEET_GOOD)
		return;
	if (rng_double(rng) >= -expm1(-rules->fail_rate_h * (double)dt_ns / 3600e9))
		return;
	double which = rng_double(rng);
	int64_t repair_ns = (int64_t)(rng_exp(rng) * (double)rules->repair_ns) + REPAIR_MIN_S * S_NS;
	fleet_device_break(d, which < 0.5 && d->cls->kind == DEVICE_ASIC ? FLEET_BOARD_LOST :
		which < 0.75 ? FLEET_STUCK : FLEET_DEAD, rules->repair_ns ? now_ns + repair_ns : INT64_MAX);
}

static double clamp(double v, double low, double high)
{
	return v < low ? low : v > high ? high : v;
}

static double share_of(double progress, double begin, double end)
{
	return clamp((progress - begin) / (end - begin), 0, 1);
}

/* Watts and TH/s that the mode comes to. */
static void steady(const struct fleet_device *d, double *ret_w, double *ret_ths)
{
	const struct device_class *c = d->cls;
	double w = c->power_w[d->mode], ths = 0;
	if (d->mode == DEVICE_SERVE)
		w = c->power_w[DEVICE_IDLE] + (c->power_w[DEVICE_SERVE] - c->power_w[DEVICE_IDLE]) * (double)d->load;
	if (d->mode == DEVICE_FILL) {
		double good = d->fault == FLEET_BOARD_LOST ? (FLEET_BOARDS - 1.0) / FLEET_BOARDS : 1;
		w *= good;
		ths = c->fill_ths * good;
	}
	if (d->cap_w > 0 && w > d->cap_w) {
		ths *= d->cap_w / w;
		w = d->cap_w;
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
		if (d->cls->kind == DEVICE_ASIC && d->mode == DEVICE_FILL) {
			rise = share_of(progress, BOOT_SHARE, RAMP_END);
			hashing = share_of(progress, HASH_BEGIN, HASH_END);
			start_w = fmax(start_w < w ? start_w : w, w * BOOT_WATTS);
		}
		w = start_w + (w - start_w) * rise;
		ths = (double)d->start_ths + (ths - (double)d->start_ths) * hashing;
	}
	if (d->fault == FLEET_DEAD)
		w = ths = 0;
	d->power_mw = (int32_t)lround(w * 1000 * (1 + (double)d->noise));
	d->hash_ths = (float)(ths * (1 + (double)d->noise / 2));
}

static void heat(struct fleet_device *d, double dt_s)
{
	const struct device_class *c = d->cls;
	double full_w = c->power_w[c->fill_ths > 0 && c->kind == DEVICE_ASIC ? DEVICE_FILL : DEVICE_SERVE];
	double rise_k = thermal[c->kind].rise_k;
	double over_k = (double)d->temperature_c - FLEET_AMBIENT_C;
	double duty = clamp((over_k - rise_k / 4) / (rise_k * 3 / 4), thermal[c->kind].least_duty, 1);
	double k = full_w / rise_k * duty;
	double final_k = d->power_mw / 1000.0 / k;
	d->temperature_c = (float)(FLEET_AMBIENT_C + final_k +
		(over_k - final_k) * exp(-k * dt_s / (full_w * thermal[c->kind].j_per_k_w)));
}

struct fleet_flow fleet_device_step(struct fleet_device *d, const struct fleet_rules *rules, struct rng *rng, bool busy,
	int64_t now_ns, int64_t dt_ns)
{
	struct fleet_flow flow = { 0 };
	double dt_s = (double)dt_ns / 1e9;
	must(dt_ns > 0);
	faults(d, rules, rng, now_ns, dt_ns);
	d->noise = (float)clamp((double)d->noise * NOISE_KEEP +
		(rng_double(rng) - 0.5) * NOISE_DEVIATION, -NOISE_MAX, NOISE_MAX);
	bool serving = d->mode == DEVICE_SERVE && d->fault != FLEET_DEAD;
	d->load = serving ? (float)clamp((busy ? BUSY_LOAD : READY_LOAD) * (1 + 5 * (double)d->noise), 0, 1) : 0;
	power_and_hashes(d, now_ns);
	heat(d, dt_s);
	flow.energy_mw_ns = (int64_t)d->power_mw * dt_ns;
	flow.hashes = (double)d->hash_ths * 1e12 * dt_s;
	if (serving && busy && now_ns >= d->ready_ns) {
		d->requests_due += (double)d->load * REQUESTS_S_FULL * dt_s;
		flow.requests = (int64_t)d->requests_due;
		d->requests_due -= (double)flow.requests;
		d->requests += flow.requests;
	}
	return flow;
}

bool fleet_device_probe(struct fleet_device *d, int64_t now_ns)
{
	if (d->mode != DEVICE_SERVE || d->fault == FLEET_DEAD || now_ns < d->ready_ns)
		return false;
	d->requests++;
	return true;
}

struct device_actual fleet_device_read(const struct fleet_device *d, int64_t requests_base, int64_t now_ns)
{
	return (struct device_actual){ .measured_at_ns = now_ns, .power_w = d->power_mw / 1000.0,
		.hash_ths = (double)d->hash_ths, .temperature_c = (double)d->temperature_c,
		.served = (uint64_t)(d->requests - requests_base), .power_measured = true };
}
