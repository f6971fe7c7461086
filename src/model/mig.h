#ifndef HCP_MODEL_MIG_H
#define HCP_MODEL_MIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "model/device_class.h"

/*
 * Multi-instance GPUs: a device is 7 compute slices and 8 memory slices, and an instance lies at fixed places of the
 * memory. As `nvidia-smi mig -lgipp` lists them (NVIDIA Multi-Instance GPU User Guide, "Supported MIG Profiles" for
 * A100 and H100; the same geometry for H200):
 *
 *	memory slice  0   1   2   3   4   5   6   7      compute   1 memory slice = memory of the device / 8
 *	1g            x   x   x   x   x   x   x             1      one memory slice, from 0 to 6
 *	1g, double    x-------x-------x-------x---          1      two, at 0 2 4 6
 *	2g            x-------x-------x---                  2      two, at 0 2 4
 *	3g            x---------------x-----------          3      four, at 0 4
 *	4g            x-----------                          4      four, at 0
 *	7g            x---------------------------          7      all
 *
 * Places that do not overlap never need more than the 7 compute slices (the unit test tries all). A set of taken memory
 * slices is a mask, bit i for slice i.
 */
enum mig_geometry {
	MIG_NONE = 0,
	MIG_1G = 1,
	MIG_1G_DOUBLE = 2,
	MIG_2G = 3,
	MIG_3G = 4,
	MIG_4G = 5,
	MIG_7G = 6,
	MIG_END = 7,
};

enum { MIG_COMPUTE_SLICES = 7, MIG_MEMORY_SLICES = 8, MIG_MASKS = 256 };

struct mig_profile {
	uint8_t compute, memory; /* slices */
	uint8_t starts;          /* mask of the memory slices where it may begin */
	uint16_t milli;          /* what it is billed as: the larger of its shares of compute and memory, rounded up */
};

/* NULL for MIG_NONE and beyond. */
const struct mig_profile *mig_profile_at(enum mig_geometry g);
/* Can devices of this class be split? (A100, H100, H200.) */
bool mig_class_ok(const struct device_class *c);
/*
 * "3g.40gb" of a class with 80 GiB, "3g.20gb" of one with 40. HCP_ENOTFOUND with the names there are; HCP_EINVAL: the
 * class is not one that can be split.
 */
int mig_parse(const struct device_class *c, struct str name, enum mig_geometry *ret, struct err *err) MUST_CHECK;
/* The maker's name of it on this class; NULL if there is none. */
const char *mig_name(const struct device_class *c, enum mig_geometry g);
/* Memory slices that an instance at `start` covers. */
uint8_t mig_cover(enum mig_geometry g, unsigned start);
/*
 * Where it goes on a device whose slices `taken` are in use, so that most other instances still find a place (sum over
 * profiles of the places left, weighted by their memory; ties: the highest slice). -1: no room.
 */
int mig_place(uint8_t taken, enum mig_geometry g);
/* Places left for each profile, weighted by its memory slices: 0 for a full device, 41 for an empty one. */
unsigned mig_room(uint8_t taken);

#endif
