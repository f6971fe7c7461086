#ifndef HCP_SCHED_PLACEMENT_PRIV_H
#define HCP_SCHED_PLACEMENT_PRIV_H

#include "base/map.h"
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
	uint32_t hold;         /* slot while reserved or busy */
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

struct node {
	uint32_t number;       /* the caller's */
	uint32_t pool, cluster;
	uint32_t first, count; /* its devices */
	uint32_t free;         /* idle or filling */
	uint32_t prev, next;   /* in the pool's list of nodes with as many free */
	uint32_t cluster_next;
};

struct cluster {
	uint32_t number, pool;
	uint32_t free;
	uint32_t first_node, pool_next;
};

struct pool {
	uint16_t cls, facility;
	uint32_t total, out;
	uint32_t first_cluster;
	uint32_t *nodes; /* owned; append-only, the order that consistent hashing counts in */
	uint32_t n_nodes, cap_nodes;
	struct bucketq idle, fill;
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
};

/* What a search found: devices are taken from `pool` by `shape`. */
enum find_shape { FIND_SINGLE, FIND_NODE, FIND_CLUSTER, FIND_FACILITY, FIND_LOOSE };

struct find {
	uint32_t pool;
	uint32_t at; /* device, node or cluster by shape */
	enum find_shape shape;
};

/* placement_score.c */
uint16_t score_bucket(const struct device *d);
void score_facility(struct facility *f);
double score_distance_km(const struct placement_facility *f, double latitude_deg, double longitude_deg);
struct placement_score score_full(const struct placement *p, uint32_t dev);
/* Best device bucket of the queue, -1 if empty. */
int bucketq_best(const struct bucketq *q);

/* placement_find.c */
bool find_devices(struct placement *p, const struct placement_request *r, struct find *ret);
void find_explain(const struct placement *p, const struct placement_request *r, struct placement_refusal *ret);
static inline bool dev_is_free(const struct device *d)
{
	return d->state == PLACEMENT_IDLE || d->state == PLACEMENT_FILL;
}

#endif
