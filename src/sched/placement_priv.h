#ifndef HCP_SCHED_PLACEMENT_PRIV_H
#define HCP_SCHED_PLACEMENT_PRIV_H

#include "base/map.h"
#include "sched/fit_priv.h"
#include "sched/frag.h"
#include "sched/heap_priv.h"
#include "sched/placement.h"

#define NONE PLACEMENT_NONE
#define HEALTH_LEAST 0.5

enum { BUCKET_WORDS = PLACEMENT_BUCKETS / 64, COUNT_WORDS = PLACEMENT_NODE_DEVICES_MAX / 64 + 1 };

/* Weights of struct placement_score. */
#define W_HEALTH 20.0
#define W_THERMAL 10.0
#define W_EFFICIENCY 10.0
#define W_DEVICE (W_HEALTH + W_THERMAL + W_EFFICIENCY)
#define W_LATENCY 25.0
#define W_PRICE 20.0
#define W_CARBON 5.0
#define W_IDLE 10.0

struct device {
	uint32_t pool, node;
	uint32_t prev, next;   /* in its bucket while free */
	uint32_t hold;         /* slot while reserved or busy; shared: of the first owner, then by part_next */
	uint32_t hold_next;    /* next device of the same hold */
	uint32_t node_next;    /* next device of the same node */
	uint16_t bucket;
	uint8_t state;         /* enum placement_dev_state */
	bool in_service;
	float health, thermal, efficiency;
};

struct bucketq {
	uint32_t n;
	uint64_t bits[BUCKET_WORDS];
	uint32_t head[PLACEMENT_BUCKETS];
};

/* A node in the list of those of its pool that have something and a free device. */
struct tag_link {
	uint32_t prev, next; /* nodes */
	uint16_t tag;
};

struct node_tags {
	uint32_t n;
	struct tag_link link[];
};

struct tag_list {
	uint32_t first;   /* node */
	uint32_t devices; /* of all nodes that have it, free or not */
};

struct node {
	uint32_t number;       /* the caller's */
	uint32_t pool, cluster;
	uint32_t first, count; /* its devices */
	uint32_t free;         /* idle or filling */
	uint32_t prev, next;   /* in the pool's list of nodes with as many free */
	uint32_t cluster_next;
	struct tag_link untold; /* while tags is NULL: it may have anything */
	struct node_tags *tags; /* owned */
};

/*
 * What a pool needs beyond whole devices; NULL until the first fraction or host limit. Sets of devices by what is free
 * on them (and of nodes by free devices), each a treap by free host CPU and memory:
 *
 *	1..999   shared, as many milli left         1000  idle, 1001 mining (both only in a pool with host limits)
 *	1002..   shared by instances, 1002 + mask of the memory slices taken
 */
enum {
	SLOT_IDLE = 1000,
	SLOT_FILL = 1001,
	SLOT_MIG = 1002,
	SLOT_END = SLOT_MIG + MIG_MASKS,
	SLOT_WORDS = SLOT_END / 64 + 1,
	SLOT_NONE = UINT16_MAX,
};
#define NO_LIMIT UINT32_MAX

/* Beside each device and each node, apart from them: placing whole devices does not touch it. */
struct part {
	uint16_t milli_free; /* while shared */
	uint16_t slot;       /* set of the pool's share that it is in, SLOT_NONE */
	uint8_t mig_taken;   /* memory slices in use */
	bool mig;            /* shared by instances, not by milli */
};

struct host {
	uint32_t cpu_milli, memory_mib; /* NO_LIMIT */
	uint32_t cpu_used, memory_used; /* 0 while there is no limit */
	float frag;                     /* F_n as of frag_epoch; NAN: something changed */
	uint32_t frag_epoch;
};

struct share {
	bool limited; /* some node has a host limit */
	uint64_t bits[SLOT_WORDS];
	uint32_t root[SLOT_END];
	uint32_t node_root[PLACEMENT_NODE_DEVICES_MAX + 1];
};

struct mig_choice {
	int8_t start; /* -1: no room */
	uint8_t loss; /* of mig_room */
};

struct cluster {
	uint32_t number, pool;
	uint32_t free;
	uint32_t first_node, pool_next;
};

struct pool {
	uint16_t cls, facility;
	uint32_t total, out;
	struct share *share; /* owned */
	uint32_t first_cluster;
	uint32_t *nodes; /* owned; append-only, the order that consistent hashing counts in */
	uint32_t n_nodes, cap_nodes;
	struct bucketq idle, fill;
	struct tag_list *tag; /* owned; 0: of nodes that were not told */
	uint32_t n_tag;
	uint64_t count_bits[COUNT_WORDS];
	uint32_t by_count[PLACEMENT_NODE_DEVICES_MAX + 1];
};

struct facility {
	struct placement_facility f;
	double latency, price, carbon; /* parts of a score, 0..1 */
	double score;                  /* weighted sum of them */
	double turn;                   /* smooth weighted round robin */
};

enum hold_state { HOLD_FREE = 0, HOLD_RESERVED = 1, HOLD_COMMITTED = 2 };

struct hold {
	struct id owner;
	uint32_t slot, generation;
	uint32_t first, count;
	int64_t expires_ns;
	size_t at; /* in the heap by expiry */
	enum hold_state state;
	uint32_t free_next;
	uint32_t part;                 /* device that it has a part of, NONE */
	uint32_t host;                 /* node whose CPU and memory it has, NONE */
	uint32_t part_prev, part_next; /* other owners of that device */
	uint16_t milli;                /* of it */
	uint8_t mig, mig_start;        /* enum mig_geometry */
	uint32_t cpu_milli, memory_mib;
};

struct placement {
	struct device *dev; /* owned, grown while building up */
	uint32_t n_dev, cap_dev;
	struct node *node;
	uint32_t n_node, cap_node;
	struct cluster *cluster;
	uint32_t n_cluster, cap_cluster;
	struct pool **pool; /* owned, each */
	uint32_t n_pool, cap_pool;
	struct hold **hold; /* owned, each */
	uint32_t n_hold, cap_hold, free_hold;
	struct facility facility[PLACEMENT_FACILITIES_MAX];
	uint32_t n_facility;
	uint32_t pool_of[DEVICE_CLASS_MAX][PLACEMENT_FACILITIES_MAX];
	struct heap expiry; /* reserved holds */
	struct map nodes, clusters; /* caller's number (and pool) -> index + 1 */
	struct fit *fit_dev, *fit_node; /* owned, parallel to dev and node, as the next; NULL until a pool has a share */
	struct part *part;
	struct host *host;
	uint32_t cap_part, cap_host;
	struct mig_choice mig[MIG_END][MIG_MASKS];
	struct frag_demand demand;
};

/* What a search found: devices are taken from `pool` by `shape`. */
enum find_shape { FIND_SINGLE, FIND_NODE, FIND_CLUSTER, FIND_FACILITY, FIND_LOOSE, FIND_PART, FIND_HOST };

struct find {
	uint32_t pool;
	uint32_t at; /* device, node or cluster by shape */
	enum find_shape shape;
	double waste; /* shared: what the choice leaves unusable, smaller is better; 0 otherwise */
};

/* placement.c: the one place that changes a device's state. */
void dev_set_state(struct placement *p, uint32_t dev, enum placement_dev_state to);
/* Where a device goes that nobody holds. */
enum placement_dev_state dev_rest_state(const struct device *d);

/* placement_score.c */
uint16_t score_bucket(const struct device *d);
void score_facility(struct facility *f);
double score_distance_km(const struct placement_facility *f, double latitude_deg, double longitude_deg);
struct placement_score score_full(const struct placement *p, uint32_t dev);
/* Best device bucket of the queue, -1 if empty. */
int bucketq_best(const struct bucketq *q);

/* placement_share.c */
/* Does the request ask for anything but whole devices out of this pool? */
bool share_wanted(const struct pool *pl, const struct placement_request *r);
bool share_find(const struct placement *p, uint32_t pool, const struct placement_request *r, struct find *ret);
/* HCP_ENOMEM. The pool can hold parts from now on. */
int share_open(struct placement *p, uint32_t pool) MUST_CHECK;
/* HCP_ENOMEM. After dev or node grew. */
int share_room(struct placement *p) MUST_CHECK;
void share_release(struct placement *p);
/* The device's state, service or parts changed. */
void share_settle(struct placement *p, uint32_t dev);
/* Before and after the number of free devices of a node changes. */
void share_node_out(struct placement *p, uint32_t node);
void share_node_in(struct placement *p, uint32_t node);
/* Gives h a part of a device, or the CPU and memory of a node; and takes back all such. */
void share_take_part(struct placement *p, struct hold *h, uint32_t dev, const struct placement_part *what);
void share_take_host(struct placement *p, struct hold *h, uint32_t node, uint32_t cpu_milli, uint32_t memory_mib);
void share_give_back(struct placement *p, struct hold *h);
/* What a request that was found to fit on this device takes of it. */
struct placement_part share_part_of(const struct placement *p, uint32_t dev, const struct placement_request *r);
/* HCP_EINVAL, HCP_ERANGE: no such part; HCP_EAGAIN: no room. CPU and memory are not looked at. */
int share_may_take(const struct placement *p, uint32_t dev, const struct placement_part *what, struct err *err)
	MUST_CHECK;
/* Milli of a device of this class that r takes: by compute or by memory, whichever is more. */
uint32_t share_milli(size_t cls, const struct placement_request *r);
void share_check(const struct placement *p);

/* placement_tags.c */
/* A node has free devices from now on, or none any more. */
void tags_node_in(struct placement *p, uint32_t node);
void tags_node_out(struct placement *p, uint32_t node);
/* It has more devices, or fewer. */
void tags_count(struct placement *p, uint32_t node, int32_t devices);
/* HCP_ENOMEM. The pool can have nodes with this tag. */
int tags_open(struct pool *pl, uint16_t tag) MUST_CHECK;
bool tags_find(const struct placement *p, const struct pool *pl, const struct placement_request *r, uint32_t *ret,
	double *ret_score);
/* Of nodes that have it, or may. */
uint32_t tags_devices(const struct pool *pl, uint16_t tag);
void tags_release(struct placement *p);
void tags_check(const struct placement *p);

/* placement_find.c */
/* The head of the best bucket, idle before mining unless the mining device is better by more than W_IDLE. */
uint32_t find_best_device(const struct pool *pl, const struct placement_request *r, double *ret_score);
bool find_devices(struct placement *p, const struct placement_request *r, struct find *ret);
void find_explain(const struct placement *p, const struct placement_request *r, struct placement_refusal *ret);

static inline bool dev_is_free(const struct device *d)
{
	return d->state == PLACEMENT_IDLE || d->state == PLACEMENT_FILL;
}

#endif
