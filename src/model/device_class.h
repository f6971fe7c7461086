#ifndef HCP_MODEL_DEVICE_CLASS_H
#define HCP_MODEL_DEVICE_CLASS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum device_kind {
	DEVICE_GPU = 1,
	DEVICE_ASIC = 2,
	DEVICE_CPU = 3,
	DEVICE_KIND_END = 4,
};

/* What a device is told to be. One gate per device; SAFE is where it falls without a lease. */
enum device_mode {
	DEVICE_SERVE = 0, /* customers' work */
	DEVICE_FILL = 1,  /* mining or other filler, yields at once */
	DEVICE_IDLE = 2,  /* ready, nothing runs */
	DEVICE_SAFE = 3,  /* lowest watts that keep the device reachable */
	DEVICE_OFF = 4,
	DEVICE_MODE_END = 5,
};

enum { DEVICE_CLASS_MAX = 64, DEVICE_CLASS_NAME_MAX = 32 };

/*
 * One row of the catalogue: nominal figures of a product, per device. Measured figures of a device always win;
 * these are the starting point of plans and the yardstick of verification.
 */
struct device_class {
	const char *name;    /* "H100", "S21"; static */
	const char *product; /* the maker's name; static */
	enum device_kind kind;
	double power_w[DEVICE_MODE_END]; /* serve: at full load; fill: mining; W at the plug, without PUE */
	double memory_gib;   /* GPU: device memory; CPU: main memory; ASIC: 0 */
	double fill_ths;     /* SHA-256d in FILL mode, TH/s (a GPU: thousandths of one) */
	double fp16_tflops;  /* dense, serving speed yardstick; 0 for ASIC */
	double wear_usd_h;   /* when working: (price - resale) / hours of life, see README */
	double list_usd_h;   /* customer list price per hour when serving; 0: cannot be sold */
	int cpu_cores;       /* CPU rows; 0 otherwise */
	int64_t switch_ms[DEVICE_MODE_END]; /* typical time to reach the mode from any other */
};

size_t device_class_count(void);
/* NULL when i >= device_class_count(). Rows keep their index for the life of the program, not across versions. */
const struct device_class *device_class_at(size_t i);
/* ASCII case-insensitive by name; NULL if unknown. */
const struct device_class *device_class_find(struct str name);
/* Index of a row of the catalogue. */
size_t device_class_index(const struct device_class *c);
/* How hard a miner's firmware drives it. */
enum device_power {
	DEVICE_POWER_NORMAL = 0, /* the nominal figures */
	DEVICE_POWER_LOW = 1,
	DEVICE_POWER_HIGH = 2,
	DEVICE_POWER_END = 3,
};
const char *device_power_name(enum device_power p);
int device_power_parse(struct str s, enum device_power *ret) MUST_CHECK;
/*
 * Watts at the plug and TH/s of an ASIC driven so; HCP_ENOTFOUND: the class has no such mode (GPU, CPU). Derived from
 * what public firmware documents: LuxOS builds profiles in steps of 25 MHz and 0.1 V from the nominal point (S19j Pro:
 * 545 MHz, 13.4 V, 104 TH/s; docs.luxor.tech, "Preset Profiles"). Hashes go with the frequency, watts with frequency
 * times voltage squared. Low is six steps down, high two steps up; a site's measured figures go into its file.
 */
int device_class_power(const struct device_class *c, enum device_power p, double *ret_w, double *ret_ths) MUST_CHECK;
/*
 * TH/s of a miner whose firmware is told to draw so many watts at the plug: between and a little beyond the points of
 * device_class_power, on the same curve. 0: the class does not mine, or has one way of it.
 */
double device_class_ths_at(const struct device_class *c, double watts);
/* "low", "normal" or "high" of a power target in watts; 0 is nominal. */
const char *device_class_power_of(const struct device_class *c, double target_w);
/* GH/s, MH/s views of fill_ths. */
double device_class_fill_mhs(const struct device_class *c);
/* J/TH when filling; 0 if the class does not mine. */
double device_class_j_per_th(const struct device_class *c);

const char *device_kind_name(enum device_kind k);
const char *device_mode_name(enum device_mode m);
int device_kind_parse(struct str s, enum device_kind *ret) MUST_CHECK;
int device_mode_parse(struct str s, enum device_mode *ret) MUST_CHECK;

#endif
