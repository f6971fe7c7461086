#ifndef HCP_SIM_FLEET_H
#define HCP_SIM_FLEET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "model/device.h"

/*
 * One device: what it was told, what it does, and what it shows. Stepped by time; pure; randomness comes from the
 * caller's generator, so a fleet replays from its seed. Heat, fans and wear are in sim/physics.
 *
 *	order(FILL)  boot           ramp                steady
 *	   |─────────────────|────────────────────|──────────────▶
 *	   ASIC: a tenth of the watts, no hashes   watts, then hash rate rise linearly; both within switch_ms
 *	   GPU, CPU: straight from the old watts to the new within switch_ms
 *	   another power target while it mines: straight from the old watts and hashes to the new within FLEET_RETUNE_S
 *
 * Two modes are kept apart: `gate` is what the device says it does, `mode` is what it does. They differ when it is
 * stuck, dead or lies. Watts are whole milliwatts and constant over a step, so energy is exact: power_mw * dt.
 */
enum fleet_fault {
	FLEET_GOOD = 0,
	FLEET_BOARD_LOST = 1,  /* ASIC: one of three hash boards is gone; no error is shown */
	FLEET_STUCK = 2,       /* takes orders and stays in its mode; no error is shown */
	FLEET_DEAD = 3,        /* draws and answers nothing */
	FLEET_FAN_LOST = 4,    /* a tenth to half of the air is gone */
	FLEET_RUNAWAY = 5,     /* the contact of chips and sink gives way, until it trips, cools down and trips again */
	FLEET_FROZEN = 6,      /* the temperature sensor stays at its last value, which the fans follow, too */
	FLEET_MEMORY_LEAK = 7, /* the runtime loses memory until it is killed and starts anew; devices with memory */
	FLEET_FAULT_END = 8,
};

enum {
	FLEET_BOARDS = 3,
	FLEET_RETUNE_S = 30, /* steps of 25 MHz and 0.1 V, a few seconds each */
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
	int32_t target_w;    /* told to draw; 0: as the class says */
	float target_ths;    /* that a miner makes of it */
	uint32_t errors;     /* since it was made */
	float hash_ths, start_ths, load;
	float noise, swing;  /* watts by the second, load by the quarter-hour; shares */
	float temperature_c; /* of the chips, in truth */
	float sensor_c;      /* as the device reports it */
	float duty;          /* of its fans, 0..1 */
	float pace;          /* share of the work that its clocks allow, 0..1 */
	float contact;       /* of chips and sink, 1: as new */
	float leaked_gib;
	float draw;          /* this unit's watts for the same work over the class's */
	float offset_c;      /* this unit's sensor */
	float fault_size;    /* 0..1 */
	uint8_t gate, mode;  /* enum device_mode */
	uint8_t fault;       /* enum fleet_fault */
	bool lying;          /* the last order was acknowledged only */
	bool tripped;        /* it has protected itself from its heat */
	bool retunes;        /* what lasts until ready_ns is another power target, not another mode */
};

/* What is the same for all devices of one step. */
struct fleet_step {
	const struct fleet_rules *rules; /* borrowed */
	int64_t now_ns, dt_ns; /* the step lasts dt and ends at now */
	float dt_s, inlet_c;
	float noise_keep, noise_add, swing_keep, swing_add;
	double fail;           /* chance that a device breaks in it */
};

/* What flowed during one step. */
struct fleet_flow {
	int64_t energy_mw_ns; /* 1e-12 J */
	double hashes;
	int64_t requests;
};

/* Steady in `mode` from now on, as the catalogue says. */
void fleet_device_init(struct fleet_device *d, const struct device_class *cls, enum device_mode mode, int64_t now_ns);
/* Units of a class differ: watts by 1 % (deviation), sensors by 1 K. */
void fleet_device_vary(struct fleet_device *d, struct rng *rng);
/* HCP_EUNSUPPORTED: the class cannot do it. Otherwise the gate says `mode` from now on, whatever the device does. */
int fleet_device_order(struct fleet_device *d, const struct fleet_rules *rules, struct rng *rng, enum device_mode mode,
	int32_t target_w, int64_t now_ns) MUST_CHECK;
/* dt_ns > 0. rules are kept by reference. */
void fleet_step_init(struct fleet_step *s, const struct fleet_rules *rules, float inlet_c, int64_t now_ns,
	int64_t dt_ns);
/* busy: serving customers, not only ready to. */
struct fleet_flow fleet_device_step(struct fleet_device *d, const struct fleet_step *s, struct rng *rng, bool busy);
/* A request that proves that it serves; false if it does not. */
bool fleet_device_probe(struct fleet_device *d, int64_t now_ns);
/* As a meter beside it reads it. requests_base: served before the order that is to be proved. */
struct device_actual fleet_device_read(const struct fleet_device *d, int64_t requests_base, int64_t now_ns);
/* What its memory holds, GiB; 0 for classes without. */
double fleet_device_memory_gib(const struct fleet_device *d);
/* For tests and faults by hand; size 0..1. */
void fleet_device_break(struct fleet_device *d, enum fleet_fault fault, double size, int64_t until_ns);
const char *fleet_fault_name(enum fleet_fault f);

#endif
