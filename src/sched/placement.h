#ifndef HCP_SCHED_PLACEMENT_H
#define HCP_SCHED_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/id.h"
#include "model/device_class.h"
#include "model/mig.h"
#include "model/workload.h"
#include "sched/frag.h"

/*
 * Which devices run a job (SCHED-3, SCHED-4). Devices are indexed so that the best is found without a scan:
 *
 *   pool (class, facility) -> idle: buckets of device score 0..1023, bitmap of the non-empty ones
 *                          -> fill: the same for devices that mine; they count as free for P1-P3
 *                          -> nodes by number of free devices (gangs take the tightest node that fits)
 *   cluster                -> its nodes, number of free devices
 *
 * A device may be shared: it then belongs to as many owners as its thousandths, or the places of its instances, allow.
 * The pool knows its shared devices by what is left on each, so that the tightest is found at once; where nodes have
 * limits of CPU and memory, each such set answers "with at least that much of both" (fit_priv.h). Thousandths of
 * compute and of memory are one number, the larger: it is what is held, and billed.
 *
 *	device: | 470 A | 320 B | 210 left |      instances:  | 3g A | . | 1g B | . |  places of model/mig.h
 *
 * A placement has three steps: reserve (devices get this owner, nobody else can), commit, release. A reservation that
 * is not committed by its time is released by placement_expire. One thread. Deterministic.
 */
enum {
	PLACEMENT_DEVICES_MAX = 1 << 20,
	PLACEMENT_FACILITIES_MAX = 64,
	PLACEMENT_GANG_MAX = WORKLOAD_GPU_COUNT_MAX,
	PLACEMENT_BUCKETS = 1024,
	PLACEMENT_NODE_DEVICES_MAX = 512, /* an ASIC node is a container */
	PLACEMENT_REGION_MAX = 32,
	PLACEMENT_POOLS_MAX = 4096,
	PLACEMENT_NODES_MAX = 1 << 20,
	PLACEMENT_CLUSTERS_MAX = 1 << 16,
	PLACEMENT_TAGS_MAX = 4096,
	PLACEMENT_NODE_TAGS_MAX = 16,
};

typedef uint32_t placement_dev; /* dense device number, given by placement_add_device */
#define PLACEMENT_NONE UINT32_MAX

enum placement_strategy {
	PLACEMENT_BEST = 0,            /* highest total score */
	PLACEMENT_LEAST_LATENCY = 1,   /* nearest by measured latency, score breaks ties */
	PLACEMENT_WEIGHTED_RR = 2,     /* facilities in turn by weight (smooth), best device there */
	PLACEMENT_CONSISTENT_HASH = 3, /* same key, same facility and node while they are free */
	PLACEMENT_GEOGRAPHIC = 4,      /* nearest by great-circle distance */
	PLACEMENT_STRATEGY_END = 5,
};

struct placement_facility {
	char region[PLACEMENT_REGION_MAX]; /* data residency name, "us-tx"; NUL-terminated */
	double latitude_deg, longitude_deg;
	double latency_ms;      /* from the front that asks */
	double price_usd_mwh;   /* electricity now */
	double carbon_g_kwh;
	double weight;          /* of weighted round robin, > 0 */
};

/* Figures of one device that move its score; 0..1 unless named otherwise. */
struct placement_quality {
	double health;           /* 0 worst, 1 best; below 0.5 the device is not offered */
	double thermal_headroom; /* share of the range between normal and throttling that is left */
	double efficiency;       /* work per watt against the best device of its class */
};

struct placement_device {
	uint16_t cls;       /* index of the device catalogue */
	uint16_t facility;  /* from placement_add_facility */
	uint32_t cluster;   /* the caller's numbers, unique over all facilities, < PLACEMENT_CLUSTERS_MAX */
	uint32_t node; /* the caller's numbers, unique, < PLACEMENT_NODES_MAX; all devices of a node are of one class */
	struct placement_quality quality;
};

enum placement_dev_state {
	PLACEMENT_OUT = 0,  /* unhealthy, in maintenance, failed */
	PLACEMENT_IDLE = 1, /* free */
	PLACEMENT_FILL = 2, /* mining: free for P1-P3, yields */
	PLACEMENT_RESERVED = 3,
	PLACEMENT_BUSY = 4,
	PLACEMENT_SHARED = 5, /* parts of it are held, reserved or committed */
};

/* Among the places where a part of a device, or a job with host needs, fits. */
enum placement_fit {
	PLACEMENT_TIGHT = 0, /* the device with least left over; the node with fewest free devices */
	PLACEMENT_FRAG = 1,  /* where fragmentation against recent demand grows least (frag.h) */
};

struct placement_request {
	struct id owner;         /* the workload; not nil */
	enum workload_class cls; /* P4 gets idle devices only */
	int device_class;        /* catalogue index, or -1: any class of `kind` with enough memory */
	enum device_kind kind;
	uint32_t count;          /* 1: single; more: gang, all or nothing */
	double memory_gib;       /* needed per device; 0: any */
	const char *region;      /* residency; NULL or "": anywhere */
	double latency_max_ms;   /* 0: any */
	double latitude_deg, longitude_deg; /* of the client; geographic only */
	uint64_t hash_key;       /* consistent hash only (model, session) */
	enum placement_strategy strategy;
	bool split_clusters;     /* a gang may span clusters of one facility */

	/* A part of one device; count 1. */
	uint32_t milli;        /* 1..999 thousandths, more if memory_gib is a larger share; 0 or 1000: whole devices */
	enum mig_geometry mig; /* an instance instead; MIG_NONE */
	/* Of the host, for the whole request, which then lies on one node; P4 with a count of 1 at most. */
	uint32_t cpu_milli, memory_mib; /* nodes without placement_set_node have no limit */
	/* count 0: nothing but these of a node of the class or kind. */
	uint32_t only_node;  /* the caller's number + 1; 0: any. HCP_ENOTFOUND */
	uint32_t avoid_node; /* the caller's number + 1: not there, where nodes have limits; 0: none */
	enum placement_fit fit;

	uint16_t tag; /* only nodes that have this, or were never told what they have; one whole device. 0: any node */
};

/* Parts of a score, each 0..1 times its weight; total 0..100. */
struct placement_score {
	double health, thermal, efficiency;  /* of the device: 20 + 10 + 10 */
	double latency, price, carbon;       /* of the facility: 25 + 20 + 5 */
	double idle;                         /* nothing has to yield: 10 */
	double total;
};

enum placement_refusal_code {
	PLACEMENT_R_NONE = 0,
	PLACEMENT_R_NO_CLASS = 1,   /* no such device in the inventory */
	PLACEMENT_R_MEMORY = 2,     /* devices exist, none with that much memory */
	PLACEMENT_R_REGION = 3,     /* residency excludes every facility that has them */
	PLACEMENT_R_LATENCY = 4,    /* every facility is too far */
	PLACEMENT_R_BUSY = 5,       /* fewer free than wanted */
	PLACEMENT_R_FRAGMENTED = 6, /* enough free, but not in one cluster (or facility) */
	PLACEMENT_R_OUT = 7,        /* all that would fit are unhealthy or in maintenance */
	PLACEMENT_R_HOST = 8,       /* devices would be free, but not with that much CPU and memory beside them */
	PLACEMENT_R_TAG = 9,        /* such devices exist, but none on a node that has what is asked for */
	PLACEMENT_R_END = 10,
};

struct placement_refusal {
	enum placement_refusal_code code;
	uint32_t wanted, total, free, busy, out; /* devices that pass every constraint but availability */
	uint32_t largest_node, largest_cluster, largest_facility; /* free devices together */
	uint32_t largest_milli;                                   /* most that is left on one shared device */
	double memory_largest_gib;               /* for PLACEMENT_R_MEMORY */
	double latency_least_ms;                 /* for PLACEMENT_R_LATENCY */
	char text[200];                          /* what is wrong and what would make it fit */
};

/* Devices of one class in one facility. */
struct placement_room {
	uint16_t device_class, facility;
	uint32_t free; /* for the request that asked */
};

/* Names a reservation or allocation; 0 is never given. Stale handles are refused, not reused. */
typedef uint64_t placement_handle;

struct placement_result {
	placement_handle handle;
	uint32_t count;
	uint32_t yields;               /* of them mine now and have to yield first */
	placement_dev first;           /* the single device, or the gang's first; walk with placement_devices */
	uint16_t facility;
	uint16_t milli;                /* of the first device: 1000, or the part */
	uint8_t mig_start;             /* first memory slice of an instance */
	uint32_t node;                 /* the caller's number; of the first device */
	struct placement_score score;  /* of the first device */
};

/* One owner's part of a device. */
struct placement_part {
	struct id owner;
	placement_handle handle;
	uint16_t milli; /* what it is billed as */
	enum mig_geometry mig;
	uint8_t mig_start;
	uint32_t cpu_milli, memory_mib;
};

struct placement_node {
	uint32_t number;                    /* the caller's */
	uint32_t devices, free;             /* whole ones */
	uint32_t cpu_milli, cpu_used_milli; /* UINT32_MAX: without limit */
	uint32_t memory_mib, memory_used_mib;
	struct frag_node free_parts;
};

/* One owner moved, so that a device is whole again. */
struct placement_move {
	placement_handle handle;
	struct id owner;
	placement_dev from, to;
	uint16_t milli;
	double memory_gib; /* of device memory to copy, at most */
};

struct placement;

struct placement *placement_new(struct err *err);
void placement_free(struct placement *p);

/* Build-up. HCP_ELIMIT, HCP_EINVAL. */
int placement_add_facility(struct placement *p, const struct placement_facility *f, uint16_t *ret, struct err *err)
	MUST_CHECK;
int placement_set_facility(struct placement *p, uint16_t facility, const struct placement_facility *f,
	struct err *err) MUST_CHECK; /* new latency, price, carbon, weight; region too */
/* The device starts idle (or out, by its health). */
int placement_add_device(struct placement *p, const struct placement_device *d, placement_dev *ret, struct err *err)
	MUST_CHECK;

/* CPU and memory of a node that has devices; UINT32_MAX: without limit, as before the call. HCP_ENOTFOUND, HCP_ENOMEM.
 */
int placement_set_node(
	struct placement *p, uint32_t node, uint32_t cpu_milli, uint32_t memory_mib, struct err *err) MUST_CHECK;
/*
 * What a node has beside its devices, by the caller's numbers from 1; what it had before is forgotten. Until the first
 * call it may have anything. HCP_ENOTFOUND, HCP_ELIMIT, HCP_ERANGE, HCP_ENOMEM.
 */
int placement_set_tags(struct placement *p, uint32_t node, const uint16_t *tag, uint32_t n, struct err *err) MUST_CHECK;
/* Does its node have that, or may it, since it was never told? */
bool placement_may_have(const struct placement *p, placement_dev d, uint16_t tag);
/* A job arrived (once per job, not per try): what PLACEMENT_FRAG takes for recent demand. */
void placement_observe(struct placement *p, const struct placement_request *r);
/* Takes this for the demand instead, until more is observed. */
void placement_set_demand(struct placement *p, const struct frag_demand *d);

/* O(1). Health below 0.5 takes a free device out; a busy one stays with its owner and goes out on release. */
int placement_set_quality(struct placement *p, placement_dev d, const struct placement_quality *q, struct err *err)
	MUST_CHECK;
/* In or out of service by people or failure; a busy device goes out when released. */
int placement_set_in_service(struct placement *p, placement_dev d, bool in, struct err *err) MUST_CHECK;
/* An idle device mines now, or a mining one stopped. HCP_ESTATE unless free. */
int placement_set_fill(struct placement *p, placement_dev d, bool fill, struct err *err) MUST_CHECK;

/*
 * Finds and holds devices until expires_ns. HCP_EAGAIN with *why filled (may be NULL) when it does not fit now or ever
 * (why->code tells); HCP_EINVAL for a bad request.
 */
int placement_reserve(struct placement *p, const struct placement_request *r, int64_t expires_ns,
	struct placement_result *ret, struct placement_refusal *why, struct err *err) MUST_CHECK;
/* Why the request cannot be had now, as placement_reserve would say; code PLACEMENT_R_NONE: it can. */
void placement_explain(struct placement *p, const struct placement_request *r, struct placement_refusal *ret);
/*
 * Holds these very devices for owner, committed, as after a restart; those that are not free are left out.
 * HCP_ENOTFOUND if none is free.
 */
int placement_claim(struct placement *p, const struct id *owner, const placement_dev *devs, uint32_t n,
	placement_handle *ret, struct err *err) MUST_CHECK;
/*
 * The same for a part, at its very place (handle is not read); its CPU and memory are booked even beyond the node's
 * limit. HCP_ENOTFOUND, HCP_EINVAL or HCP_ERANGE for what cannot be, HCP_EAGAIN where others are.
 */
int placement_claim_part(struct placement *p, placement_dev dev, const struct placement_part *what,
	placement_handle *ret, struct err *err) MUST_CHECK;
/* HCP_ENOTFOUND: unknown, released or expired. HCP_ESTATE: committed already. */
int placement_commit(struct placement *p, placement_handle h, struct err *err) MUST_CHECK;
/* Gives all its devices back (idle). Reserved or committed. HCP_ENOTFOUND. */
int placement_release(struct placement *p, placement_handle h, struct err *err) MUST_CHECK;
/* Releases up to max reservations whose time has passed; writes their handles; returns how many. */
size_t placement_expire(struct placement *p, int64_t now_ns, placement_handle *ret, size_t max);
/* When the first of them will; INT64_MAX if none waits to be committed. */
int64_t placement_next_expiry(const struct placement *p);

/* Copies up to max device numbers of a handle; returns the whole count, 0 if unknown. */
uint32_t placement_devices(const struct placement *p, placement_handle h, placement_dev *ret, uint32_t max);
enum placement_dev_state placement_state(const struct placement *p, placement_dev d);
/* Owner of a reserved or busy device, the newest of a shared one; nil otherwise. */
struct id placement_owner(const struct placement *p, placement_dev d);
/* Where the request could be if enough were free: its class, memory, region and latency are met. Returns how many. */
size_t placement_rooms(
	const struct placement *p, const struct placement_request *r, struct placement_room *ret, size_t max);
/* The score that a request would give this device now. */
struct placement_score placement_score_of(const struct placement *p, const struct placement_request *r,
	placement_dev d);
/* Owners of a shared device in the order of newest first, up to max; returns how many there are. */
uint32_t placement_parts(const struct placement *p, placement_dev d, struct placement_part *ret, uint32_t max);
/*
 * May this part move from there? If so *r, which is filled with what it holds (P4, tight), may be narrowed to where its
 * owner may be (region, latency, …).
 */
typedef bool placement_may_move_fn(
	void *arg, placement_dev from, const struct placement_part *part, struct placement_request *r);

struct placement_defrag {
	size_t device_class;
	int facility;               /* -1: any */
	placement_may_move_fn *may; /* NULL: all may, anywhere */
	void *arg;
};

/*
 * Which parts to move so that one more device of this class is whole: the emptiest shared device whose owners all may
 * move and find room on others, by least milli to move; nothing changes. Returns the number of moves, 0 if there is no
 * such device among the DEFRAG_TRIES emptiest (of those with as much left, DEFRAG_ALIKE) or it has more than max
 * owners.
 */
enum { PLACEMENT_DEFRAG_TRIES = 32, PLACEMENT_DEFRAG_ALIKE = 8, PLACEMENT_PARTS_MAX = 64 };
uint32_t placement_defrag(
	struct placement *p, const struct placement_defrag *ask, struct placement_move *ret, uint32_t max);
/* Nodes by the order in which they were added; false at the end. free_parts.n is 0 above FRAG_GPUS_MAX devices. */
bool placement_node_at(const struct placement *p, uint32_t i, struct placement_node *ret);
uint32_t placement_count(const struct placement *p);
/* Free devices (idle + fill) of a class in one facility. */
uint32_t placement_free_in(const struct placement *p, uint16_t device_class, uint16_t facility);
/* Free devices (idle + fill) of a class over all facilities. */
uint32_t placement_free_count(const struct placement *p, size_t device_class);
const char *placement_refusal_name(enum placement_refusal_code c);
const char *placement_strategy_name(enum placement_strategy s);

/* Walks every index and panics on disagreement; for tests and the admin socket. */
void placement_check(const struct placement *p);

#endif
