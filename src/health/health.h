#ifndef HCP_HEALTH_HEALTH_H
#define HCP_HEALTH_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "health/autoencoder.h"
#include "health/chart.h"
#include "model/device_class.h"

/*
 * Which devices are sick, from what they report.
 *
 *	sample ─▶ what its class shows at this load and inlet air (norm) ─▶ difference, mean of the minute
 *	       ─▶ charts of the device, one a signal ─┐
 *	       ─▶ a sensor that does not move ────────┼▶ rule ─▶ finding: which signal, how far from normal, since when
 *	       ─▶ isolation forest of the class ──────┤
 *	       ─▶ recurrent autoencoder of the class ─┘
 *
 * The rule: a device is sick when a chart alone is over its limit, when a chart is over half of it and the forest or
 * the autoencoder calls the device strange, too, or when its temperature stands still while it should have moved.
 * Forest and autoencoder never speak alone: what they see has no name, and nobody can be sent to repair that.
 *
 * Pure: no clock; memory is taken for the first sample of a class and when a model is trained; without it the device is
 * not judged. One thread an object.
 */
enum health_signal {
	HEALTH_HEAT = 0,   /* K above what the load and the inlet air explain */
	HEALTH_FAN = 1,    /* duty of the fans, share */
	HEALTH_POWER = 2,  /* share of the mode's watts */
	HEALTH_HASH = 3,   /* share of the nominal hash rate at this power target */
	HEALTH_MEMORY = 4, /* share of the memory */
	HEALTH_ERRORS = 5, /* corrected errors, 2 sqrt(count of the minute + 3/8) */
	HEALTH_SIGNALS = 6,
	HEALTH_SENSOR = 6, /* of findings only: K that the temperature should have moved and did not */
	HEALTH_SIGNAL_END = 7,
};

enum health_by {
	HEALTH_BY_CHART = 1,
	HEALTH_BY_FOREST = 2,
	HEALTH_BY_AUTOENCODER = 4,
	HEALTH_BY_SENSOR = 8, /* it does not move */
};

/* What is not known is NAN. */
struct health_sample {
	int64_t at_ns;
	enum device_mode mode;
	/* Whose work it does, a miner also in which power mode; another number: memory is learned anew, mining settles. */
	uint32_t work;
	float power_w, target_w; /* target_w: that it was told to draw; 0: as its class says */
	float hash_ths, temperature_c, inlet_c;
	float utilisation;     /* 0..1 */
	float fan;             /* 0..1 */
	float memory_gib;
	int64_t errors;        /* since boot; -1: not known */
};

/* One device. The caller's, to be kept as bytes. */
struct health_device {
	struct chart chart[HEALTH_SIGNALS];
	float sum[HEALTH_SIGNALS];     /* of the minute's differences */
	uint8_t n[HEALTH_SIGNALS];
	uint8_t mode;
	uint8_t strange;               /* enum health_by of the last looks at forest and autoencoder */
	bool sick;
	uint32_t minute;               /* of the sums, since 1970 */
	uint32_t changed_s, seen_s;    /* when the mode began; newest sample */
	uint32_t errors;               /* at the beginning of the minute */
	uint32_t work;
	float load;                    /* watts over full watts, smoothed as heat is */
	int16_t still_c;               /* reading that stands still, °C */
	uint16_t still_n;              /* minutes that it does */
	float still_low, still_high;   /* what was expected meanwhile */
};

_Static_assert(sizeof(struct health_device) <= 256, "held for each device of a cell");

/* What the autoencoder reads of a device: five-minute means of z, 1/16 each. Without it there is one witness less. */
struct health_window {
	int8_t z[AE_STEPS][AE_SIGNALS];
	float sum[AE_SIGNALS];
	uint8_t at, n;     /* next step; steps that are there */
	uint8_t minutes;   /* in sum */
};

struct health_finding {
	enum health_signal signal;
	unsigned by;            /* enum health_by */
	float value, expected;  /* in the signal's unit */
	float sigmas;           /* of the charts, between the two; SENSOR: 0 */
	int64_t since_ns;
};

struct health_conf {
	uint64_t seed;
	uint32_t forest_minutes; /* between two trainings of a class's forest; 0: none */
	uint32_t shapes_minutes; /* of its autoencoder; 0: none */
	int shapes_steps;        /* of one training */
	bool ask_always;         /* also about devices whose charts are calm; to measure the models alone */
};

struct health_stats {
	uint64_t samples, minutes, forests, shapes; /* taken; closed; trained */
};

struct health;

void health_conf_default(struct health_conf *c);
/* NULL: no memory. */
struct health *health_new(const struct health_conf *c);
void health_free(struct health *h);
void health_device_init(struct health_device *d);
/*
 * One sample, in order of time (an older one is passed over). True when it closed a minute: then *ret_sick says whether
 * the device is sick, and if so *ret why. w may be NULL. What cannot be (not finite, absurd) counts as not known.
 */
bool health_take(struct health *h, const struct device_class *cls, struct health_device *d, struct health_window *w,
	const struct health_sample *s, bool *ret_sick, struct health_finding *ret);
/* After a repair: charts begin at 0 and learn anew what is normal. */
void health_device_mend(struct health_device *d);
/* Trains models that are due, at most `steps` steps of an autoencoder (5 ms each). 1: more to do. HCP_ENOMEM. */
int health_learn(struct health *h, int64_t now_ns, int steps) MUST_CHECK;
/* Makes room for a class, so that no health_take of it needs memory. HCP_ENOMEM. */
int health_know(struct health *h, const struct device_class *cls) MUST_CHECK;
/*
 * The norms of a class as bytes (borrowed; n 0: nothing is known), in host byte order, and back. Rows, windows and
 * models are not kept; they are learned anew. HCP_ECORRUPT: not such bytes, nothing is changed. HCP_ENOMEM.
 */
struct str health_norms(const struct health *h, const struct device_class *cls);
int health_set_norms(struct health *h, const struct device_class *cls, struct str bytes) MUST_CHECK;
/* A device's charts that were stored: HCP_ECORRUPT when they cannot be ours. */
int health_device_check(const struct health_device *d) MUST_CHECK;
/* "fan duty 96 %, normal 71, +8.2 sigma, since 2026-01-02T14:05Z" into dst; 128 bytes are enough. */
const char *health_text(const struct health_finding *f, char *dst, size_t n);
const char *health_signal_name(enum health_signal s);
struct health_stats health_stats(const struct health *h);

#endif
