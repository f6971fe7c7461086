#ifndef HCP_SIM_FLEET_H
#define HCP_SIM_FLEET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "model/device.h"

/*
 * The physics of one device, stepped by time: what it draws, hashes and how warm it is after it was told a mode. Pure;
 * randomness comes from the caller's generator, so a fleet replays from its seed.
 *
 *	order(FILL)  boot           ramp                steady
 *	   |─────────────────|────────────────────|──────────────▶
 *	   ASIC: a tenth of the watts, no hashes   watts, then hash rate rise linearly; both within switch_ms
 *	   GPU, CPU: straight from the old watts to the new within switch_ms
 *
 * Two modes are kept apart: `gate` is what the device says it does, `mode` is what it does. They differ when it is
 * stuck, dead or lies. Watts are whole milliwatts and constant over a step, so energy is exact: power_mw * dt.
 *
 * Heat: C dT/dt = P - k(T) (T - ambient), where the fans raise k with T.
 */
enum fleet_fault {
	FLEET_GOOD = 0,
	FLEET_BOARD_LOST = 1, /* ASIC: one of three hash boards is gone; no error is shown */
	FLEET_STUCK = 2,      /* takes orders and stays in its mode; no error is shown */
	FLEET_DEAD = 3,       /* draws and answers nothing */
	FLEET_FAULT_END = 4,
};

enum {
	FLEET_BOARDS = 3,
	FLEET_AMBIENT_C = 25,
};

struct fleet_rules {
	double fail_rate_h;  /* faults per device-hour */
	double lie_rate;     /* share of orders that a device acknowledges and does not follow, 0..1 */
	int64_t repair_ns;   /* mean time to repair; 0: never repaired */
};

struct fleet_device {
	const struct device_class *cls; /* static */
	int64_t order_ns;    /* of the last order */
	int64_t changed_ns;  /* when the present mode began */
	int64_t ready_ns;    /* when it is reached */
	int64_t repaired_ns; /* end of the fault */
	int64_t requests;    /* served since it was made */
	double requests_due; /* fraction of the next one */
	int32_t power_mw, start_mw;
	int32_t cap_w;       /* 0: none */
	float hash_ths, start_ths, temperature_c, load, noise;
	uint8_t gate, mode;  /* enum device_mode */
	uint8_t fault;       /* enum fleet_fault */
	bool lying;          /* the last order was acknowledged only */
};

/* What flowed during one step. */
struct fleet_flow {
	int64_t energy_mw_ns; /* 1e-12 J */
	double hashes;
	int64_t requests;
};

/* Steady in `mode` from now on. */
void fleet_device_init(struct fleet_device *d, const struct device_class *cls, enum device_mode mode, int64_t now_ns);
/* HCP_EUNSUPPORTED: the class cannot do it. Otherwise the gate says `mode` from now on, whatever the device does. */
int fleet_device_order(struct fleet_device *d, const struct fleet_rules *rules, struct rng *rng, enum device_mode mode,
	int32_t cap_w, int64_t now_ns) MUST_CHECK;
/* Lets dt pass, which ends at now. busy: serving customers, not only ready to. dt > 0. */
struct fleet_flow fleet_device_step(struct fleet_device *d, const struct fleet_rules *rules, struct rng *rng, bool busy,
	int64_t now_ns, int64_t dt_ns);
/* A request that proves that it serves; false if it does not. */
bool fleet_device_probe(struct fleet_device *d, int64_t now_ns);
/* As a meter beside it reads it. requests_base: served before the order that is to be proved. */
struct device_actual fleet_device_read(const struct fleet_device *d, int64_t requests_base, int64_t now_ns);
/* For tests and faults by hand. */
void fleet_device_break(struct fleet_device *d, enum fleet_fault fault, int64_t until_ns);

#endif
