#ifndef HCP_MODEL_SLICE_H
#define HCP_MODEL_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "model/device_class.h"
#include "model/mig.h"

/*
 * A part of one GPU (SCHED-6): thousandths of it, or an instance at its place of the memory (model/mig.h). Compute and
 * memory of a fraction are one number, the larger of both shares: that is what is held and billed.
 *
 *	fractions:  | 470 A | 320 B | 210 nobody's |      instances:  | 3g A | . | 1g B | . |
 *
 * A device has fractions or instances, never both. Instances are billed as the larger of their shares of compute and
 * memory, so together they may be billed as more than the device (4g and 3g: 1,072 thousandths).
 */
enum {
	SLICE_WHOLE = 1000, /* thousandths */
	SLICES_MAX = 64,    /* of one device */
};

struct slice {
	uint16_t milli; /* 1..1000; 0: the whole device, nothing else is set then */
	uint8_t mig;    /* enum mig_geometry; MIG_NONE: a fraction */
	uint8_t start;  /* first memory slice of an instance */
};

/* What a request asks for. */
struct slice_wish {
	double gpu_fraction;            /* 0 or 1: whole devices */
	struct str mig_profile;         /* "1g.10gb"; empty: none */
	const struct device_class *cls; /* NULL: any */
	int64_t device_count;           /* 0: one */
	int64_t memory_gib;             /* 0: any */
};

/* Can devices of this class be shared? */
bool slice_class_ok(const struct device_class *c);
/*
 * Checks a wish; ret->start stays 0. err->field is gpu_fraction, mig_profile, device_class, device_count or memory_gib,
 * and the text says what would be legal. HCP_EINVAL, HCP_ERANGE, HCP_ENOTFOUND (no such profile).
 */
int slice_wanted(const struct slice_wish *w, struct slice *ret, struct err *err) MUST_CHECK;
/*
 * What that holds of a device of the class, thousandths: more than was asked for where its memory is the larger share.
 * Above 1000: it does not fit on one.
 */
uint32_t slice_held_milli(const struct device_class *c, const struct slice *s, double memory_gib);
/*
 * From a message: milli 1..999 without a profile; with one, where it may lie on the class, its milli is the profile's.
 * Fields: milli, mig_profile, mig_start, device_class. Codes as above.
 */
int slice_make(const struct device_class *c, int64_t milli, struct str mig_profile, int64_t start, struct slice *ret,
	struct err *err) MUST_CHECK;
/* Is there room for `more` beside these, which fit together? HCP_ECONFLICT with the reason. */
int slice_fits(const struct slice *have, size_t n, const struct slice *more, struct err *err) MUST_CHECK;
/*
 * Divides what one device used (joules, or a finer unit) among its parts by their thousandths, exactly: ret[i] for part
 * i, ret[n] for what nobody holds; they add up to the amount. What is left by rounding down, less than n units, is
 * nobody's where there is such a part, else the first part's. amount >= 0, n <= SLICES_MAX.
 */
void slice_divide(int64_t amount, const struct slice *s, size_t n, int64_t *ret);
/* Thousandths that nobody holds. */
uint32_t slice_free_milli(const struct slice *s, size_t n);

#endif
