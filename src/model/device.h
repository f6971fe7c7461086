#ifndef HCP_MODEL_DEVICE_H
#define HCP_MODEL_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "model/device_class.h"

enum device_state {
	DEVICE_ST_IDLE = 0,        /* free (it may be filling) */
	DEVICE_ST_ALLOCATING = 1,  /* reserved, being switched */
	DEVICE_ST_ACTIVE = 2,      /* a workload runs, verified */
	DEVICE_ST_DRAINING = 3,    /* finishing, takes nothing new */
	DEVICE_ST_MAINTENANCE = 4, /* people work on it */
	DEVICE_ST_FAILED = 5,      /* out of the pool */
	DEVICE_STATE_END = 6,
};

enum device_event {
	DEVICE_EV_ASSIGN = 0,   /* workload assigned: idle -> allocating */
	DEVICE_EV_START = 1,    /* workload verified to run: allocating -> active */
	DEVICE_EV_ABORT = 2,    /* switch rolled back: allocating -> idle */
	DEVICE_EV_DRAIN = 3,    /* active -> draining */
	DEVICE_EV_RELEASE = 4,  /* resources freed: draining or active -> idle */
	DEVICE_EV_MAINTAIN = 5, /* idle, draining, failed -> maintenance */
	DEVICE_EV_REPAIR = 6,   /* checked and good: maintenance, failed -> idle */
	DEVICE_EV_FAIL = 7,     /* any but failed -> failed */
	DEVICE_EVENT_END = 8,
};

/* HCP_ESTATE with text where the table does not allow it. */
int device_next(enum device_state state, enum device_event event, enum device_state *ret, struct err *err) MUST_CHECK;
const char *device_state_name(enum device_state s);
const char *device_event_name(enum device_event e);
int device_state_parse(struct str s, enum device_state *ret) MUST_CHECK;

/*
 * desired (the plan's wish) -> commanded (sent, perhaps acknowledged) -> confirmed (measured).
 *
 * An acknowledgement is never proof: `acked` only says that the order arrived. Four fields, never merged.
 */
struct device_control {
	enum device_mode desired;
	enum device_mode commanded;
	enum device_mode confirmed; /* the last mode that measurement proved */
	bool drifted;               /* commanded mode not reached in time, or left again */
	bool acked;
	double power_target_w;      /* of `commanded`; 0: its nominal watts */
	int64_t commanded_at_ns;    /* 0: never commanded */
	int64_t confirmed_at_ns;    /* 0: never confirmed */
};

/* What the device and the meters report, one sample. */
struct device_actual {
	int64_t measured_at_ns;
	double power_w;
	double hash_ths;        /* 5 s average as the device counts accepted nonces; 0 if it does not mine */
	double temperature_c;
	uint64_t served;        /* requests answered since commanded_at_ns */
	bool power_measured;    /* false: the device's own estimate, which proves nothing */
	bool health_ok;         /* the runtime answered its health request */
};

enum device_verdict {
	DEVICE_PENDING = 0,   /* not proved yet, still inside its time */
	DEVICE_CONFIRMED = 1,
	DEVICE_DRIFTED = 2,
};

enum device_drift {
	DEVICE_DRIFT_NONE = 0,
	DEVICE_DRIFT_NO_SAMPLE = 1,      /* no sample from after the command */
	DEVICE_DRIFT_STALE = 2,          /* the newest sample is too old */
	DEVICE_DRIFT_POWER_UNMEASURED = 3, /* only an estimate where watts must prove */
	DEVICE_DRIFT_POWER_HIGH = 4,     /* draws more than the mode allows */
	DEVICE_DRIFT_POWER_LOW = 5,      /* draws less than work of this mode needs */
	DEVICE_DRIFT_HASH_LOW = 6,       /* commanded to mine, hashes too little */
	DEVICE_DRIFT_STILL_HASHING = 7,  /* commanded not to mine, hashes */
	DEVICE_DRIFT_NOT_SERVING = 8,    /* neither a served request nor a passed health request */
	DEVICE_DRIFT_INVALID = 9,        /* a reading is negative or not finite */
	DEVICE_DRIFT_END = 10,
};

/* Tolerances of device_confirm; device_tolerance_default fills the documented ones. */
struct device_tolerance {
	double power_ratio;   /* of the mode's watts, either side; 0.15 */
	double power_slack_w; /* added on top, for small devices; 10 W */
	double hash_ratio;    /* least share of nominal hash rate that counts as mining; 0.85 */
	double residual_hash_ratio; /* most share that counts as not mining; 0.01 */
	int64_t settle_ns;    /* time beyond switch_ms before pending becomes drifted; 30 s */
	int64_t stale_ns;     /* oldest sample that proves anything; 15 s */
};

struct device_finding {
	enum device_verdict verdict;
	enum device_drift reason; /* NONE when confirmed; otherwise what is not proved */
	double expected, measured; /* of the quantity that the reason is about (W, TH/s, ns of age) */
};

void device_tolerance_default(struct device_tolerance *t);

/*
 * Is the commanded mode really reached? Watts and hash rate or served requests decide; ctl->acked is not read.
 * ASIC: both watts and hash rate must fit. GPU/CPU serving: a served or health request after the command, and watts
 * not above the mode's. Pure; changes nothing.
 */
struct device_finding device_confirm(const struct device_class *cls, const struct device_control *ctl,
	const struct device_actual *now_actual, const struct device_tolerance *tol, int64_t now_ns);
/* Writes the finding into ctl: confirmed, confirmed_at_ns, drifted. */
void device_apply_finding(struct device_control *ctl, const struct device_finding *f, int64_t now_ns);
/* New order: commanded, commanded_at_ns, acked=false, drifted=false; confirmed stays until disproved. */
void device_command(struct device_control *ctl, enum device_mode mode, double power_target_w, int64_t now_ns);
const char *device_drift_name(enum device_drift d);
const char *device_verdict_name(enum device_verdict v);

#endif
