#include "sched/placement.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "sched/placement_priv.h"

static bool hold_less(const void *a, const void *b)
{
	const struct hold *x = a, *y = b;
	return x->expires_ns != y->expires_ns ? x->expires_ns < y->expires_ns : x->slot < y->slot;
}

static void hold_place(void *m, size_t at)
{
	((struct hold *)m)->at = at;
}

struct placement *placement_new(struct err *err)
{
	struct placement *p = mem_calloc(1, sizeof(*p));
	if (!p) {
		err_set(err, HCP_ENOMEM, "", "no memory");
		return NULL;
	}
	p->free_hold = NONE;
	memset(p->pool_of, 0xff, sizeof(p->pool_of));
	heap_init(&p->expiry, hold_less, hold_place);
	map_init(&p->nodes);
	map_init(&p->clusters);
	frag_init(&p->demand);
	return p;
}

void placement_free(struct placement *p)
{
	if (!p)
		return;
	tags_release(p);
	for (uint32_t i = 0; i < p->n_pool; i++) {
		mem_free(p->pool[i]->nodes);
		mem_free(p->pool[i]->share);
		mem_free(p->pool[i]);
	}
	for (uint32_t i = 0; i < p->n_hold; i++)
		mem_free(p->hold[i]);
	mem_free(p->pool);
	mem_free(p->hold);
	mem_free(p->dev);
	mem_free(p->node);
	mem_free(p->cluster);
	mem_free(p->fit_dev);
	mem_free(p->fit_node);
	mem_free(p->part);
	mem_free(p->host);
	heap_release(&p->expiry);
	map_release(&p->nodes);
	map_release(&p->clusters);
	mem_free(p);
}

/* Room for one more of `size` bytes in *v. */
static int grow(void *v, uint32_t n, uint32_t *cap, size_t size)
{
	if (n < *cap)
		return 0;
	uint32_t bigger = *cap ? *cap * 2 : 16;
	void *old, *fresh;
	memcpy(&old, v, sizeof(old));
	fresh = mem_realloc(old, bigger * size);
	if (!fresh)
		return HCP_ENOMEM;
	memcpy(v, &fresh, sizeof(fresh));
	*cap = bigger;
	return 0;
}

/* Buckets of free devices. */

static void bucketq_add(struct placement *p, struct bucketq *q, uint32_t i)
{
	struct device *d = &p->dev[i];
	d->prev = NONE;
	d->next = q->head[d->bucket];
	if (d->next != NONE)
		p->dev[d->next].prev = i;
	q->head[d->bucket] = i;
	q->bits[d->bucket / 64] |= UINT64_C(1) << (d->bucket % 64);
	q->n++;
}

static void bucketq_del(struct placement *p, struct bucketq *q, uint32_t i)
{
	struct device *d = &p->dev[i];
	if (d->prev != NONE)
		p->dev[d->prev].next = d->next;
	else
		q->head[d->bucket] = d->next;
	if (d->next != NONE)
		p->dev[d->next].prev = d->prev;
	if (q->head[d->bucket] == NONE)
		q->bits[d->bucket / 64] &= ~(UINT64_C(1) << (d->bucket % 64));
	q->n--;
}

/* Nodes by number of free devices. */

static void node_unlist(struct placement *p, struct pool *pl, uint32_t i)
{
	struct node *n = &p->node[i];
	if (pl->share)
		share_node_out(p, i);
	if (n->prev != NONE)
		p->node[n->prev].next = n->next;
	else
		pl->by_count[n->free] = n->next;
	if (n->next != NONE)
		p->node[n->next].prev = n->prev;
	if (pl->by_count[n->free] == NONE)
		pl->count_bits[n->free / 64] &= ~(UINT64_C(1) << (n->free % 64));
}

static void node_list(struct placement *p, struct pool *pl, uint32_t i)
{
	struct node *n = &p->node[i];
	n->prev = NONE;
	n->next = pl->by_count[n->free];
	if (n->next != NONE)
		p->node[n->next].prev = i;
	pl->by_count[n->free] = i;
	pl->count_bits[n->free / 64] |= UINT64_C(1) << (n->free % 64);
	if (pl->share)
		share_node_in(p, i);
}

/*
 * The one place that changes a device's state; every index and count follows.
 *
 *   out <-> idle <-> fill,   idle|fill -> reserved -> busy,   reserved|busy -> idle|out
 *                            idle|fill -> shared -> idle|out
 */
void dev_set_state(struct placement *p, uint32_t i, enum placement_dev_state to)
{
	struct device *d = &p->dev[i];
	struct pool *pl = p->pool[d->pool];
	enum placement_dev_state from = (enum placement_dev_state)d->state;
	bool was_free = dev_is_free(d), is_free = to == PLACEMENT_IDLE || to == PLACEMENT_FILL;

	if (was_free)
		bucketq_del(p, from == PLACEMENT_IDLE ? &pl->idle : &pl->fill, i);
	d->state = (uint8_t)to;
	if (is_free)
		bucketq_add(p, to == PLACEMENT_IDLE ? &pl->idle : &pl->fill, i);
	pl->out += (to == PLACEMENT_OUT) - (from == PLACEMENT_OUT);
	if (was_free != is_free) {
		struct node *n = &p->node[d->node];
		node_unlist(p, pl, d->node);
		if (!is_free && n->free == 1)
			tags_node_out(p, d->node);
		n->free = is_free ? n->free + 1 : n->free - 1;
		if (is_free && n->free == 1)
			tags_node_in(p, d->node);
		node_list(p, pl, d->node);
		struct cluster *c = &p->cluster[n->cluster];
		c->free = is_free ? c->free + 1 : c->free - 1;
	}
	if (pl->share)
		share_settle(p, i);
}

enum placement_dev_state dev_rest_state(const struct device *d)
{
	return d->in_service && (double)d->health >= HEALTH_LEAST ? PLACEMENT_IDLE : PLACEMENT_OUT;
}

static int check_facility(const struct placement_facility *f, struct err *err)
{
	const struct {
		double v, min, max;
		const char *field;
	} row[] = {
		{ f->latitude_deg, -90, 90, "latitude" },
		{ f->longitude_deg, -180, 180, "longitude" },
		{ f->latency_ms, 0, 1e6, "latency_ms" },
		{ f->price_usd_mwh, -1e5, 1e5, "price_usd_mwh" },
		{ f->carbon_g_kwh, 0, 1e5, "carbon_g_kwh" },
		{ f->weight, 1e-6, 1e6, "weight" },
	};
	if (!memchr(f->region, 0, sizeof(f->region)))
		return err_set(err, HCP_EINVAL, "region", "must be shorter than %d bytes", PLACEMENT_REGION_MAX);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		if (!isfinite(row[i].v) || row[i].v < row[i].min || row[i].v > row[i].max)
			return err_set(err, HCP_ERANGE, row[i].field, "must be from %g to %g", row[i].min, row[i].max);
	}
	return 0;
}

int placement_add_facility(struct placement *p, const struct placement_facility *f, uint16_t *ret, struct err *err)
{
	int r = check_facility(f, err);
	if (r < 0)
		return r;
	if (p->n_facility == PLACEMENT_FACILITIES_MAX)
		return err_set(err, HCP_ELIMIT, "facility", "at most %d facilities", PLACEMENT_FACILITIES_MAX);
	struct facility *n = &p->facility[p->n_facility];
	*n = (struct facility){ .f = *f };
	score_facility(n);
	*ret = (uint16_t)p->n_facility++;
	return 0;
}

int placement_set_facility(struct placement *p, uint16_t facility, const struct placement_facility *f, struct err *err)
{
	int r = check_facility(f, err);
	if (r < 0)
		return r;
	if (facility >= p->n_facility)
		return err_set(err, HCP_ENOTFOUND, "facility", "no facility %u", (unsigned)facility);
	p->facility[facility].f = *f;
	score_facility(&p->facility[facility]);
	return 0;
}

static int pool_get(struct placement *p, uint16_t cls, uint16_t facility, uint32_t *ret)
{
	uint32_t *at = &p->pool_of[cls][facility];
	if (*at == NONE) {
		if (p->n_pool == PLACEMENT_POOLS_MAX)
			return HCP_ELIMIT;
		if (grow(&p->pool, p->n_pool, &p->cap_pool, sizeof(*p->pool)) < 0)
			return HCP_ENOMEM;
		struct pool *pl = mem_calloc(1, sizeof(*pl));
		if (!pl)
			return HCP_ENOMEM;
		pl->cls = cls;
		pl->facility = facility;
		pl->first_cluster = NONE;
		memset(pl->idle.head, 0xff, sizeof(pl->idle.head));
		memset(pl->fill.head, 0xff, sizeof(pl->fill.head));
		memset(pl->by_count, 0xff, sizeof(pl->by_count));
		p->pool[p->n_pool] = pl;
		*at = p->n_pool++;
	}
	*ret = *at;
	return 0;
}

static int cluster_get(struct placement *p, uint32_t number, uint32_t pool, uint32_t *ret)
{
	uint64_t key = (uint64_t)pool << 32 | number;
	uintptr_t have = (uintptr_t)map_get(&p->clusters, map_key_u64(&key));
	if (!have) {
		if (grow(&p->cluster, p->n_cluster, &p->cap_cluster, sizeof(*p->cluster)) < 0 ||
			map_put(&p->clusters, map_key_u64(&key), (void *)(uintptr_t)(p->n_cluster + 1), NULL) < 0)
			return HCP_ENOMEM;
		have = p->n_cluster + 1;
		p->cluster[p->n_cluster++] = (struct cluster){ .number = number, .pool = pool, .first_node = NONE,
			.pool_next = p->pool[pool]->first_cluster };
		p->pool[pool]->first_cluster = (uint32_t)have - 1;
	}
	*ret = (uint32_t)have - 1;
	return 0;
}

static int node_get(struct placement *p, uint32_t number, uint32_t pool, uint32_t cluster, uint32_t *ret)
{
	uint64_t key = number;
	uintptr_t have = (uintptr_t)map_get(&p->nodes, map_key_u64(&key));
	if (!have) {
		struct pool *pl = p->pool[pool];
		if (grow(&p->node, p->n_node, &p->cap_node, sizeof(*p->node)) < 0 ||
			grow(&pl->nodes, pl->n_nodes, &pl->cap_nodes, sizeof(*pl->nodes)) < 0 || share_room(p) < 0 ||
			tags_open(pl, 0) < 0 || map_put(&p->nodes, map_key_u64(&key), (void *)(uintptr_t)(p->n_node + 1), NULL) < 0)
			return HCP_ENOMEM;
		have = p->n_node + 1;
		p->node[p->n_node] = (struct node){ .number = number, .pool = pool, .cluster = cluster, .first = NONE,
			.cluster_next = p->cluster[cluster].first_node };
		p->cluster[cluster].first_node = p->n_node;
		pl->nodes[pl->n_nodes++] = p->n_node;
		node_list(p, pl, p->n_node++);
	}
	*ret = (uint32_t)have - 1;
	return 0;
}

static int check_quality(const struct placement_quality *q, struct err *err)
{
	const double v[] = { q->health, q->thermal_headroom, q->efficiency };
	static const char *const field[] = { "health", "thermal_headroom", "efficiency" };
	for (int i = 0; i < 3; i++) {
		if (!(v[i] >= 0 && v[i] <= 1))
			return err_set(err, HCP_ERANGE, field[i], "must be from 0 to 1");
	}
	return 0;
}

static void store_quality(struct device *d, const struct placement_quality *q)
{
	d->health = (float)q->health;
	d->thermal = (float)q->thermal_headroom;
	d->efficiency = (float)q->efficiency;
	d->bucket = score_bucket(d);
}

static int check_device(const struct placement *p, const struct placement_device *d, struct err *err)
{
	if (d->cls >= device_class_count())
		return err_set(err, HCP_EINVAL, "class", "no device class %u", (unsigned)d->cls);
	if (d->facility >= p->n_facility)
		return err_set(err, HCP_EINVAL, "facility", "no facility %u", (unsigned)d->facility);
	if (d->cluster >= PLACEMENT_CLUSTERS_MAX)
		return err_set(err, HCP_ERANGE, "cluster", "must be below %d", PLACEMENT_CLUSTERS_MAX);
	if (d->node >= PLACEMENT_NODES_MAX)
		return err_set(err, HCP_ERANGE, "node", "must be below %d", PLACEMENT_NODES_MAX);
	if (p->n_dev == PLACEMENT_DEVICES_MAX)
		return err_set(err, HCP_ELIMIT, "", "at most %d devices in a cell", PLACEMENT_DEVICES_MAX);
	return check_quality(&d->quality, err);
}

int placement_add_device(struct placement *p, const struct placement_device *d, placement_dev *ret, struct err *err)
{
	uint32_t pool, cluster, node;
	int r = check_device(p, d, err);
	if (r < 0)
		return r;
	uint64_t key = d->node;
	uintptr_t have = (uintptr_t)map_get(&p->nodes, map_key_u64(&key));
	if (have) {
		const struct node *n = &p->node[have - 1];
		const struct pool *pl = p->pool[n->pool];
		if (pl->cls != d->cls || pl->facility != d->facility || p->cluster[n->cluster].number != d->cluster)
			return err_set(err, HCP_EINVAL, "node", "node %u is of another class or cluster", d->node);
		if (n->count == PLACEMENT_NODE_DEVICES_MAX)
			return err_set(err, HCP_ELIMIT, "node", "at most %d devices on a node", PLACEMENT_NODE_DEVICES_MAX);
	}
	if ((r = pool_get(p, d->cls, d->facility, &pool)) < 0 || (r = cluster_get(p, d->cluster, pool, &cluster)) < 0 ||
		(r = node_get(p, d->node, pool, cluster, &node)) < 0 ||
		(r = grow(&p->dev, p->n_dev, &p->cap_dev, sizeof(*p->dev))) < 0 || (r = share_room(p)) < 0)
		return err_set(err, r, "", "no memory or too many pools");
	uint32_t i = p->n_dev++;
	struct device *n = &p->dev[i];
	*n = (struct device){ .pool = pool, .node = node, .hold = NONE, .hold_next = NONE, .in_service = true,
		.node_next = p->node[node].first, .state = PLACEMENT_OUT };
	store_quality(n, &d->quality);
	p->node[node].first = i;
	p->node[node].count++;
	tags_count(p, node, 1);
	p->pool[pool]->total++;
	p->pool[pool]->out++;
	if (dev_rest_state(n) != PLACEMENT_OUT)
		dev_set_state(p, i, PLACEMENT_IDLE);
	*ret = i;
	return 0;
}

/* Health or service changed: a device that nobody holds goes in or out. */
static void settle(struct placement *p, uint32_t i)
{
	struct device *d = &p->dev[i];
	enum placement_dev_state want = dev_rest_state(d);
	if (d->state == PLACEMENT_OUT ? want == PLACEMENT_IDLE : dev_is_free(d) && want == PLACEMENT_OUT)
		dev_set_state(p, i, want);
	else if (p->pool[d->pool]->share)
		share_settle(p, i);
}

int placement_set_quality(struct placement *p, placement_dev i, const struct placement_quality *q, struct err *err)
{
	int r = check_quality(q, err);
	if (r < 0)
		return r;
	if (i >= p->n_dev)
		return err_set(err, HCP_ENOTFOUND, "device", "no device %u", i);
	struct device *d = &p->dev[i];
	struct pool *pl = p->pool[d->pool];
	struct bucketq *bq = d->state == PLACEMENT_IDLE ? &pl->idle : d->state == PLACEMENT_FILL ? &pl->fill : NULL;
	if (bq)
		bucketq_del(p, bq, i);
	store_quality(d, q);
	if (bq)
		bucketq_add(p, bq, i);
	settle(p, i);
	return 0;
}

int placement_set_in_service(struct placement *p, placement_dev i, bool in, struct err *err)
{
	if (i >= p->n_dev)
		return err_set(err, HCP_ENOTFOUND, "device", "no device %u", i);
	p->dev[i].in_service = in;
	settle(p, i);
	return 0;
}

int placement_set_fill(struct placement *p, placement_dev i, bool fill, struct err *err)
{
	if (i >= p->n_dev)
		return err_set(err, HCP_ENOTFOUND, "device", "no device %u", i);
	if (!dev_is_free(&p->dev[i]))
		return err_set(err, HCP_ESTATE, "device", "device %u is not free", i);
	dev_set_state(p, i, fill ? PLACEMENT_FILL : PLACEMENT_IDLE);
	return 0;
}

/* Holds. */

static struct hold *hold_new(struct placement *p)
{
	if (p->free_hold != NONE) {
		struct hold *h = p->hold[p->free_hold];
		p->free_hold = h->free_next;
		h->part = h->host = NONE;
		return h;
	}
	if (grow(&p->hold, p->n_hold, &p->cap_hold, sizeof(*p->hold)) < 0)
		return NULL;
	struct hold *h = mem_calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->slot = p->n_hold;
	h->generation = 1;
	h->at = HEAP_OUT;
	h->part = h->host = NONE;
	p->hold[p->n_hold++] = h;
	return h;
}

static void hold_drop(struct placement *p, struct hold *h)
{
	h->state = HOLD_FREE;
	h->generation = h->generation == UINT32_MAX ? 1 : h->generation + 1;
	h->free_next = p->free_hold;
	p->free_hold = h->slot;
}

static placement_handle hold_handle(const struct hold *h)
{
	return (uint64_t)h->generation << 32 | h->slot;
}

static struct hold *hold_find(const struct placement *p, placement_handle handle)
{
	uint32_t slot = (uint32_t)handle;
	if (slot >= p->n_hold || p->hold[slot]->generation != handle >> 32 || p->hold[slot]->state == HOLD_FREE)
		return NULL;
	return p->hold[slot];
}

static void take(struct placement *p, struct hold *h, uint32_t i, struct placement_result *res)
{
	struct device *d = &p->dev[i];
	must(dev_is_free(d));
	res->yields += d->state == PLACEMENT_FILL;
	dev_set_state(p, i, PLACEMENT_RESERVED);
	d->hold = h->slot;
	d->hold_next = h->first;
	h->first = i;
	h->count++;
}

/* Up to `want` free devices of a node, idle ones first. */
static void take_node(struct placement *p, struct hold *h, uint32_t node, uint32_t want, struct placement_result *res)
{
	for (int pass = 0; pass < 2 && want; pass++) {
		enum placement_dev_state st = pass == 0 ? PLACEMENT_IDLE : PLACEMENT_FILL;
		for (uint32_t i = p->node[node].first; i != NONE && want; i = p->dev[i].node_next) {
			if (p->dev[i].state != st)
				continue;
			take(p, h, i, res);
			want--;
		}
	}
}

/* Fullest nodes first, so that the gang spans few of them; the last part goes to the tightest that holds it. */
static void take_cluster(struct placement *p, struct hold *h, uint32_t cluster, uint32_t want,
	struct placement_result *res)
{
	while (want > 0 && p->cluster[cluster].free > 0) {
		uint32_t most = NONE, tight = NONE;
		for (uint32_t n = p->cluster[cluster].first_node; n != NONE; n = p->node[n].cluster_next) {
			uint32_t free = p->node[n].free;
			if (most == NONE || free > p->node[most].free)
				most = n;
			if (free >= want && (tight == NONE || free < p->node[tight].free))
				tight = n;
		}
		uint32_t before = h->count;
		take_node(p, h, tight != NONE ? tight : most, want, res);
		want -= h->count - before;
	}
}

static void take_facility(struct placement *p, struct hold *h, const struct pool *pl, uint32_t want,
	struct placement_result *res)
{
	while (want > 0) {
		uint32_t most = NONE;
		for (uint32_t c = pl->first_cluster; c != NONE; c = p->cluster[c].pool_next) {
			if (most == NONE || p->cluster[c].free > p->cluster[most].free)
				most = c;
		}
		uint32_t before = h->count;
		take_cluster(p, h, most, want, res);
		want -= h->count - before;
	}
}

static void take_found(struct placement *p, struct hold *h, const struct find *f, uint32_t want,
	struct placement_result *res)
{
	struct pool *pl = p->pool[f->pool];
	switch (f->shape) {
	case FIND_SINGLE:
		take(p, h, f->at, res);
		break;
	case FIND_NODE:
		take_node(p, h, f->at, want, res);
		break;
	case FIND_CLUSTER:
		take_cluster(p, h, f->at, want, res);
		break;
	case FIND_FACILITY:
		take_facility(p, h, pl, want, res);
		break;
	case FIND_LOOSE:
		while (want--)
			take(p, h, pl->idle.head[bucketq_best(&pl->idle)], res);
		break;
	case FIND_PART:
	case FIND_HOST:
		break;
	}
}

static int check_request(const struct placement_request *r, struct err *err)
{
	if (id_is_nil(&r->owner))
		return err_set(err, HCP_EINVAL, "owner", "is nil");
	if (!workload_class_name(r->cls))
		return err_set(err, HCP_EINVAL, "class", "must be P1 to P4");
	bool host = r->cpu_milli || r->memory_mib;
	if ((r->count == 0 && !host) || r->count > PLACEMENT_GANG_MAX)
		return err_set(err, HCP_ERANGE, "count", "must be from 1 to %d", PLACEMENT_GANG_MAX);
	if (r->milli > 1000)
		return err_set(err, HCP_ERANGE, "milli", "must be from 1 to 1000");
	if ((unsigned)r->mig >= MIG_END || (r->mig && r->milli))
		return err_set(err, HCP_EINVAL, "mig", "no such instance, or milli beside it");
	if (r->count != 1 && (r->mig || (r->milli && r->milli < 1000)))
		return err_set(err, HCP_EINVAL, "count", "a part is of one device");
	if (r->tag >= PLACEMENT_TAGS_MAX ||
		(r->tag && (r->count != 1 || r->mig || (r->milli && r->milli < 1000) || host || r->only_node)))
		return err_set(err, HCP_EINVAL, "tag", "no such tag, or for anything but one whole device");
	if (r->cls == WORKLOAD_P4 && r->count > 1 && (host || r->only_node))
		return err_set(err, HCP_EINVAL, "count", "filler with host needs takes one device at a time");
	if (r->device_class >= (int)device_class_count())
		return err_set(err, HCP_EINVAL, "device_class", "no such device class");
	if (r->device_class < 0 && !device_kind_name(r->kind))
		return err_set(err, HCP_EINVAL, "kind", "must be gpu, asic or cpu");
	if ((unsigned)r->strategy >= PLACEMENT_STRATEGY_END)
		return err_set(err, HCP_EINVAL, "strategy", "no such strategy");
	if (!(r->memory_gib >= 0) || !isfinite(r->memory_gib) || !isfinite(r->latency_max_ms))
		return err_set(err, HCP_EINVAL, "memory_gib", "must be finite and not negative");
	if (r->strategy == PLACEMENT_GEOGRAPHIC && !(fabs(r->latitude_deg) <= 90 && fabs(r->longitude_deg) <= 180))
		return err_set(err, HCP_ERANGE, "latitude", "latitude or longitude is out of range");
	return 0;
}

/* Everything that can fail is done: the hold gets what was found. */
static void give(struct placement *p, struct hold *h, const struct find *f, const struct placement_request *r,
	struct placement_result *res)
{
	uint32_t node = f->at;
	h->state = HOLD_RESERVED;
	if (f->shape == FIND_PART) {
		res->yields = p->dev[f->at].state == PLACEMENT_FILL;
		res->score = score_full(p, f->at);
		const struct placement_part what = share_part_of(p, f->at, r);
		share_take_part(p, h, f->at, &what);
		node = p->dev[f->at].node;
		res->first = f->at;
		res->count = 1;
		res->milli = h->milli;
		res->mig_start = h->mig_start;
	} else if (f->shape == FIND_HOST) {
		share_take_host(p, h, node, r->cpu_milli, r->memory_mib);
		res->first = PLACEMENT_NONE;
	} else {
		if (f->shape == FIND_SINGLE)
			res->score = score_full(p, f->at);
		take_found(p, h, f, r->count, res);
		must(h->count == r->count);
		node = p->dev[h->first].node;
		if (r->cpu_milli || r->memory_mib)
			share_take_host(p, h, node, r->cpu_milli, r->memory_mib);
		res->first = h->first;
		res->count = h->count;
		res->milli = 1000;
		if (f->shape != FIND_SINGLE)
			res->score = score_full(p, h->first);
	}
	res->node = p->node[node].number;
}

/* A request that names its node; or one for a part, which its pools must be able to hold. */
static int prepare(struct placement *p, const struct placement_request *r, struct err *err)
{
	uint64_t key = (uint64_t)r->only_node - 1;
	if (r->only_node && !map_get(&p->nodes, map_key_u64(&key)))
		return err_set(err, HCP_ENOTFOUND, "only_node", "no node %u", r->only_node - 1);
	for (uint32_t i = 0; (r->mig || (r->milli && r->milli < 1000)) && i < p->n_pool; i++) {
		const struct device_class *c = device_class_at(p->pool[i]->cls);
		bool may = r->device_class >= 0 ? r->device_class == p->pool[i]->cls : c->kind == r->kind;
		if (may && !p->pool[i]->share && share_open(p, i) < 0)
			return err_set(err, HCP_ENOMEM, "", "no memory");
	}
	return 0;
}

int placement_reserve(struct placement *p, const struct placement_request *r, int64_t expires_ns,
	struct placement_result *ret, struct placement_refusal *why, struct err *err)
{
	struct find f;
	int rc = check_request(r, err);
	if (rc == 0)
		rc = prepare(p, r, err);
	if (rc < 0)
		return rc;
	struct hold *h = hold_new(p);
	if (!h)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	if (!find_devices(p, r, &f)) {
		hold_drop(p, h);
		if (why)
			find_explain(p, r, why);
		return err_set(err, HCP_EAGAIN, "", "does not fit");
	}
	h->owner = r->owner;
	h->first = NONE;
	h->count = 0;
	h->expires_ns = expires_ns;
	if (heap_push(&p->expiry, h) < 0) {
		hold_drop(p, h);
		return err_set(err, HCP_ENOMEM, "", "no memory");
	}
	struct placement_result res = { .facility = p->pool[f.pool]->facility, .handle = hold_handle(h) };
	give(p, h, &f, r, &res);
	*ret = res;
	return 0;
}

void placement_explain(struct placement *p, const struct placement_request *r, struct placement_refusal *ret)
{
	struct find f;
	*ret = (struct placement_refusal){ .code = PLACEMENT_R_NONE };
	if (check_request(r, NULL) == 0 && prepare(p, r, NULL) == 0 && !find_devices(p, r, &f))
		find_explain(p, r, ret);
}

int placement_claim(struct placement *p, const struct id *owner, const placement_dev *devs, uint32_t n,
	placement_handle *ret, struct err *err)
{
	struct placement_result res = { 0 };
	struct hold *h = hold_new(p);
	if (!h)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	h->owner = *owner;
	h->first = NONE;
	h->count = 0;
	h->state = HOLD_COMMITTED;
	for (uint32_t k = 0; k < n; k++) {
		if (devs[k] >= p->n_dev || !dev_is_free(&p->dev[devs[k]]))
			continue;
		take(p, h, devs[k], &res);
		dev_set_state(p, devs[k], PLACEMENT_BUSY);
	}
	if (h->count == 0) {
		hold_drop(p, h);
		return err_set(err, HCP_ENOTFOUND, "devices", "none of the %u devices is free", n);
	}
	*ret = hold_handle(h);
	return 0;
}

int placement_claim_part(struct placement *p, placement_dev dev, const struct placement_part *what,
	placement_handle *ret, struct err *err)
{
	if (dev >= p->n_dev)
		return err_set(err, HCP_ENOTFOUND, "device", "no device %u", dev);
	int rc = share_may_take(p, dev, what, err);
	if (rc < 0)
		return rc;
	struct hold *h = share_open(p, p->dev[dev].pool) < 0 ? NULL : hold_new(p);
	if (!h)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	h->owner = what->owner;
	h->first = NONE;
	h->count = 0;
	h->state = HOLD_COMMITTED;
	share_take_part(p, h, dev, what);
	*ret = hold_handle(h);
	return 0;
}

int placement_commit(struct placement *p, placement_handle handle, struct err *err)
{
	struct hold *h = hold_find(p, handle);
	if (!h)
		return err_set(err, HCP_ENOTFOUND, "handle", "no such reservation: released or expired");
	if (h->state != HOLD_RESERVED)
		return err_set(err, HCP_ESTATE, "handle", "committed already");
	heap_remove(&p->expiry, h->at);
	h->state = HOLD_COMMITTED;
	for (uint32_t i = h->first; i != NONE; i = p->dev[i].hold_next)
		dev_set_state(p, i, PLACEMENT_BUSY);
	return 0;
}

int placement_release(struct placement *p, placement_handle handle, struct err *err)
{
	struct hold *h = hold_find(p, handle);
	if (!h)
		return err_set(err, HCP_ENOTFOUND, "handle", "no such reservation: released or expired");
	if (h->state == HOLD_RESERVED)
		heap_remove(&p->expiry, h->at);
	share_give_back(p, h);
	for (uint32_t i = h->first, next; i != NONE; i = next) {
		struct device *d = &p->dev[i];
		next = d->hold_next;
		d->hold = d->hold_next = NONE;
		dev_set_state(p, i, dev_rest_state(d));
	}
	hold_drop(p, h);
	return 0;
}

size_t placement_expire(struct placement *p, int64_t now_ns, placement_handle *ret, size_t max)
{
	size_t n = 0;
	while (n < max) {
		struct hold *h = heap_top(&p->expiry);
		if (!h || h->expires_ns > now_ns)
			break;
		ret[n] = hold_handle(h);
		must(placement_release(p, ret[n++], NULL) == 0);
	}
	return n;
}

int64_t placement_next_expiry(const struct placement *p)
{
	const struct hold *h = heap_top(&p->expiry);
	return h ? h->expires_ns : INT64_MAX;
}

uint32_t placement_devices(const struct placement *p, placement_handle handle, placement_dev *ret, uint32_t max)
{
	const struct hold *h = hold_find(p, handle);
	if (!h)
		return 0;
	uint32_t n = 0;
	if (h->part != NONE) {
		if (max)
			ret[0] = h->part;
		return 1;
	}
	for (uint32_t i = h->first; i != NONE && n < max; i = p->dev[i].hold_next)
		ret[n++] = i;
	return h->count;
}

enum placement_dev_state placement_state(const struct placement *p, placement_dev i)
{
	return i < p->n_dev ? (enum placement_dev_state)p->dev[i].state : PLACEMENT_OUT;
}

struct id placement_owner(const struct placement *p, placement_dev i)
{
	if (i >= p->n_dev || p->dev[i].hold == NONE)
		return (struct id){ 0 };
	return p->hold[p->dev[i].hold]->owner;
}

struct placement_score placement_score_of(const struct placement *p, const struct placement_request *r, placement_dev i)
{
	(void)r; /* today's scores do not depend on the request; the signature leaves room for those that will */
	return i < p->n_dev ? score_full(p, i) : (struct placement_score){ 0 };
}

uint32_t placement_count(const struct placement *p)
{
	return p->n_dev;
}

uint32_t placement_free_in(const struct placement *p, uint16_t device_class, uint16_t facility)
{
	if (device_class >= DEVICE_CLASS_MAX || facility >= p->n_facility)
		return 0;
	uint32_t pool = p->pool_of[device_class][facility];
	return pool == NONE ? 0 : p->pool[pool]->idle.n + p->pool[pool]->fill.n;
}

uint32_t placement_free_count(const struct placement *p, size_t device_class)
{
	uint32_t n = 0;
	for (uint32_t i = 0; device_class < DEVICE_CLASS_MAX && i < p->n_facility; i++)
		n += placement_free_in(p, (uint16_t)device_class, (uint16_t)i);
	return n;
}

const char *placement_refusal_name(enum placement_refusal_code c)
{
	static const char *const name[PLACEMENT_R_END] = { "none", "no_class", "memory", "region", "latency", "busy",
		"fragmented", "out_of_service", "host", "tag" };
	return (unsigned)c < PLACEMENT_R_END ? name[c] : NULL;
}

const char *placement_strategy_name(enum placement_strategy s)
{
	static const char *const name[PLACEMENT_STRATEGY_END] = { "best", "least_latency", "weighted_round_robin",
		"consistent_hash", "geographic" };
	return (unsigned)s < PLACEMENT_STRATEGY_END ? name[s] : NULL;
}

static void check_nodes(const struct placement *p)
{
	uint32_t in_clusters = 0, in_nodes = 0;
	for (uint32_t n = 0; n < p->n_node; n++) {
		uint32_t free = 0, count = 0;
		for (uint32_t i = p->node[n].first; i != NONE; i = p->dev[i].node_next) {
			must(p->dev[i].node == n);
			free += dev_is_free(&p->dev[i]);
			count++;
		}
		must(free == p->node[n].free && count == p->node[n].count);
		in_nodes += free;
	}
	for (uint32_t c = 0; c < p->n_cluster; c++)
		in_clusters += p->cluster[c].free;
	must(in_nodes == in_clusters);
}

static void check_pool(const struct placement *p, uint32_t k)
{
	const struct pool *pl = p->pool[k];
	for (int kind = 0; kind < 2; kind++) {
		const struct bucketq *q = kind ? &pl->fill : &pl->idle;
		uint32_t n = 0;
		for (int b = 0; b < PLACEMENT_BUCKETS; b++) {
			must((q->head[b] != NONE) == (q->bits[b / 64] >> (b % 64) & 1));
			for (uint32_t i = q->head[b]; i != NONE; i = p->dev[i].next) {
				must(p->dev[i].bucket == b && p->dev[i].pool == k);
				must(p->dev[i].state == (kind ? PLACEMENT_FILL : PLACEMENT_IDLE));
				n++;
			}
		}
		must(n == q->n);
	}
	for (uint32_t c = 0; c <= PLACEMENT_NODE_DEVICES_MAX; c++) {
		must((pl->by_count[c] != NONE) == (pl->count_bits[c / 64] >> (c % 64) & 1));
		for (uint32_t i = pl->by_count[c]; i != NONE; i = p->node[i].next)
			must(p->node[i].free == c && p->node[i].pool == k);
	}
}

void placement_check(const struct placement *p)
{
	uint32_t held = 0, owned = 0;
	for (uint32_t k = 0; k < p->n_pool; k++)
		check_pool(p, k);
	check_nodes(p);
	for (uint32_t s = 0; s < p->n_hold; s++) {
		const struct hold *h = p->hold[s];
		uint32_t n = 0;
		if (h->state == HOLD_FREE)
			continue;
		for (uint32_t i = h->first; i != NONE; i = p->dev[i].hold_next) {
			must(p->dev[i].hold == s);
			must(p->dev[i].state == (h->state == HOLD_RESERVED ? PLACEMENT_RESERVED : PLACEMENT_BUSY));
			n++;
		}
		must(n == h->count);
		held += n;
	}
	for (uint32_t i = 0; i < p->n_dev; i++)
		owned += p->dev[i].state == PLACEMENT_RESERVED || p->dev[i].state == PLACEMENT_BUSY;
	must(held == owned);
	tags_check(p);
	share_check(p);
}
