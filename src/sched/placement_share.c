/* Parts of devices, and CPU and memory of the nodes beside them. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "sched/placement_priv.h"

enum { TRIES = 8 };         /* places that PLACEMENT_FRAG compares in a pool */
#define OPENS_DEVICE 1000.0 /* waste of starting on a whole device, for instances: above any mig_room */

static bool is_part(const struct placement_request *r)
{
	return r->mig || (r->milli && r->milli < 1000);
}

bool share_wanted(const struct pool *pl, const struct placement_request *r)
{
	return is_part(r) || r->only_node || r->count == 0 ||
		   ((r->cpu_milli || r->memory_mib) && pl->share && pl->share->limited);
}

struct placement_part share_part_of(const struct placement *p, uint32_t dev, const struct placement_request *r)
{
	bool shared = p->dev[dev].state == PLACEMENT_SHARED;
	return (struct placement_part){ .milli = (uint16_t)share_milli(p->pool[p->dev[dev].pool]->cls, r),
		.mig = r->mig,
		.mig_start = (uint8_t)(r->mig ? p->mig[r->mig][shared ? p->part[dev].mig_taken : 0].start : 0),
		.cpu_milli = r->cpu_milli,
		.memory_mib = r->memory_mib };
}

uint32_t share_milli(size_t cls, const struct placement_request *r)
{
	double gib = device_class_at(cls)->memory_gib;
	if (r->mig)
		return mig_profile_at(r->mig)->milli;
	if (!r->milli)
		return 1000;
	double by_memory = gib > 0 ? ceil(1000 * r->memory_gib / gib) : 0;
	return by_memory > r->milli ? (uint32_t)by_memory : r->milli; /* class_allowed: at most 1000 */
}

static uint32_t cpu_free(const struct placement *p, uint32_t node)
{
	const struct host *h = p->host ? &p->host[node] : NULL;
	if (!h || h->cpu_milli == NO_LIMIT)
		return NO_LIMIT;
	return h->cpu_milli > h->cpu_used ? h->cpu_milli - h->cpu_used : 0;
}

static uint32_t memory_free(const struct placement *p, uint32_t node)
{
	const struct host *h = p->host ? &p->host[node] : NULL;
	if (!h || h->memory_mib == NO_LIMIT)
		return NO_LIMIT;
	return h->memory_mib > h->memory_used ? h->memory_mib - h->memory_used : 0;
}

/* ---- sets ---- */

static void set_add(struct placement *p, struct share *s, uint32_t i, uint32_t slot)
{
	uint32_t node = p->dev[i].node;
	fit_add(p->fit_dev, &s->root[slot], i, cpu_free(p, node), memory_free(p, node));
	s->bits[slot / 64] |= UINT64_C(1) << (slot % 64);
	p->part[i].slot = (uint16_t)slot;
}

static void set_remove(struct placement *p, struct share *s, uint32_t i)
{
	uint32_t slot = p->part[i].slot;
	fit_remove(p->fit_dev, &s->root[slot], i);
	if (s->root[slot] == FIT_NONE)
		s->bits[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
	p->part[i].slot = SLOT_NONE;
}

/* The set that a device belongs to now. */
static uint32_t slot_of(const struct share *s, const struct device *d, const struct part *part)
{
	if (d->state == PLACEMENT_IDLE || d->state == PLACEMENT_FILL)
		return !s->limited ? SLOT_NONE : d->state == PLACEMENT_IDLE ? SLOT_IDLE : SLOT_FILL;
	if (d->state != PLACEMENT_SHARED || dev_rest_state(d) == PLACEMENT_OUT)
		return SLOT_NONE;
	if (part->mig)
		return mig_room(part->mig_taken) ? (uint32_t)SLOT_MIG + part->mig_taken : SLOT_NONE;
	return part->milli_free ? part->milli_free : SLOT_NONE;
}

void share_settle(struct placement *p, uint32_t i)
{
	struct device *d = &p->dev[i];
	struct share *s = p->pool[d->pool]->share;
	uint32_t want = slot_of(s, d, &p->part[i]), is = p->part[i].slot;
	p->host[d->node].frag = NAN;
	if (want == is)
		return;
	if (is != SLOT_NONE)
		set_remove(p, s, i);
	if (want != SLOT_NONE)
		set_add(p, s, i, want);
}

void share_node_out(struct placement *p, uint32_t node)
{
	struct share *s = p->pool[p->node[node].pool]->share;
	if (s->limited)
		fit_remove(p->fit_node, &s->node_root[p->node[node].free], node);
}

void share_node_in(struct placement *p, uint32_t node)
{
	const struct node *n = &p->node[node];
	struct share *s = p->pool[n->pool]->share;
	if (s->limited)
		fit_add(p->fit_node, &s->node_root[n->free], node, cpu_free(p, node), memory_free(p, node));
}

/* All entries of a node follow its CPU and memory: what is used or there changes by calling this with the new values.
 */
static void node_rekey(struct placement *p, uint32_t node, const struct host *with)
{
	struct share *s = p->pool[p->node[node].pool]->share;
	share_node_out(p, node);
	p->host[node] = *with;
	p->host[node].frag = NAN;
	share_node_in(p, node);
	for (uint32_t i = p->node[node].first; i != NONE; i = p->dev[i].node_next) {
		uint32_t slot = p->part[i].slot;
		if (slot == SLOT_NONE)
			continue;
		set_remove(p, s, i);
		set_add(p, s, i, slot);
	}
}

/* ---- opening ---- */

static int grow(void *v, uint32_t n, size_t size)
{
	void *old, *bigger;
	memcpy(&old, v, sizeof(old));
	bigger = mem_realloc(old, n * size);
	if (!bigger)
		return HCP_ENOMEM;
	memcpy(v, &bigger, sizeof(bigger));
	return 0;
}

/* All four arrays follow dev and node; a failure leaves those that grew, which does no harm. */
static int make_room(struct placement *p)
{
	if (p->cap_part < p->cap_dev) {
		if (grow(&p->fit_dev, p->cap_dev, sizeof(*p->fit_dev)) < 0 || grow(&p->part, p->cap_dev, sizeof(*p->part)) < 0)
			return HCP_ENOMEM;
		for (; p->cap_part < p->cap_dev; p->cap_part++)
			p->part[p->cap_part] = (struct part){ .slot = SLOT_NONE };
	}
	if (p->cap_host < p->cap_node) {
		if (grow(&p->fit_node, p->cap_node, sizeof(*p->fit_node)) < 0 ||
			grow(&p->host, p->cap_node, sizeof(*p->host)) < 0)
			return HCP_ENOMEM;
		for (; p->cap_host < p->cap_node; p->cap_host++)
			p->host[p->cap_host] = (struct host){ .cpu_milli = NO_LIMIT, .memory_mib = NO_LIMIT, .frag = NAN };
	}
	return 0;
}

int share_room(struct placement *p)
{
	return p->cap_part ? make_room(p) : 0;
}

static void fill_mig(struct placement *p)
{
	for (unsigned g = 1; g < MIG_END; g++)
		for (unsigned taken = 0; taken < MIG_MASKS; taken++) {
			int start = mig_place((uint8_t)taken, (enum mig_geometry)g);
			struct mig_choice *c = &p->mig[g][taken];
			c->start = (int8_t)start;
			c->loss = 0;
			if (start >= 0)
				c->loss = (uint8_t)(mig_room((uint8_t)taken) -
									mig_room((uint8_t)(taken | mig_cover((enum mig_geometry)g, (unsigned)start))));
		}
}

int share_open(struct placement *p, uint32_t pool)
{
	struct pool *pl = p->pool[pool];
	if (pl->share)
		return 0;
	if (make_room(p) < 0)
		return HCP_ENOMEM;
	if (!p->mig[MIG_1G][0].loss)
		fill_mig(p);
	struct share *s = mem_calloc(1, sizeof(*s));
	if (!s)
		return HCP_ENOMEM;
	memset(s->root, 0xff, sizeof(s->root));
	memset(s->node_root, 0xff, sizeof(s->node_root));
	pl->share = s;
	return 0;
}

int placement_set_node(struct placement *p, uint32_t number, uint32_t cpu_milli, uint32_t memory_mib, struct err *err)
{
	uint64_t key = number;
	uintptr_t have = (uintptr_t)map_get(&p->nodes, map_key_u64(&key));
	if (!have)
		return err_set(err, HCP_ENOTFOUND, "node", "no node %u", number);
	uint32_t node = (uint32_t)have - 1;
	struct pool *pl = p->pool[p->node[node].pool];
	if (share_open(p, p->node[node].pool) < 0)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	if (!pl->share->limited) {
		pl->share->limited = true;
		for (uint32_t i = 0; i < pl->n_nodes; i++) {
			uint32_t k = pl->nodes[i];
			share_node_in(p, k);
			for (uint32_t d = p->node[k].first; d != NONE; d = p->dev[d].node_next)
				share_settle(p, d);
		}
	}
	struct host with = p->host[node];
	with.cpu_milli = cpu_milli;
	with.memory_mib = memory_mib;
	node_rekey(p, node, &with);
	return 0;
}

/* ---- finding ---- */

static struct frag_shape shape_of_request(size_t cls, const struct placement_request *r)
{
	return (struct frag_shape){ .cpu_milli = r->cpu_milli,
		.memory_mib = r->memory_mib,
		.gpus = (uint16_t)r->count,
		.milli = (uint16_t)share_milli(cls, r) };
}

void placement_observe(struct placement *p, const struct placement_request *r)
{
	size_t cls = r->device_class >= 0 ? (size_t)r->device_class : 0;
	if (cls >= device_class_count() || r->count > UINT16_MAX || r->milli > 1000 || (unsigned)r->mig >= MIG_END)
		return;
	struct frag_shape s = shape_of_request(cls, r);
	if (s.milli <= 1000)
		frag_observe(&p->demand, &s);
}

void placement_set_demand(struct placement *p, const struct frag_demand *d)
{
	uint32_t epoch = p->demand.epoch + 1; /* figures kept with nodes are of another demand */
	p->demand = *d;
	p->demand.epoch = epoch;
}

/* What is free on the node, and at which place of it `dev` stands. False: too many devices to look at. */
static bool view(const struct placement *p, uint32_t node, uint32_t dev, struct frag_node *ret, unsigned *ret_at)
{
	const struct node *n = &p->node[node];
	ret->n = 0;
	ret->cpu_free_milli = cpu_free(p, node);
	ret->memory_free_mib = memory_free(p, node);
	if (n->count > FRAG_GPUS_MAX)
		return false;
	for (uint32_t i = n->first; i != NONE; i = p->dev[i].node_next) {
		const struct device *d = &p->dev[i];
		if (i == dev)
			*ret_at = ret->n;
		bool part = d->state == PLACEMENT_SHARED && !p->part[i].mig && dev_rest_state(d) != PLACEMENT_OUT;
		ret->milli[ret->n++] = dev_is_free(d) ? 1000 : part ? p->part[i].milli_free : 0;
	}
	return true;
}

/* How much fragmentation grows when `s` goes to the node (and there to `dev`, for a part). */
static double frag_growth(const struct placement *p, uint32_t node, uint32_t dev, const struct frag_shape *s)
{
	struct frag_node v;
	unsigned at = 0;
	if (!p->host || !view(p, node, dev, &v, &at))
		return 0;
	struct host *h = &p->host[node]; /* its figure is kept until something there changes */
	if (isnan(h->frag) || h->frag_epoch != p->demand.epoch) {
		h->frag = (float)frag_of(&p->demand, &v);
		h->frag_epoch = p->demand.epoch;
	}
	frag_take(&v, s, at);
	return frag_of(&p->demand, &v) - (double)h->frag;
}

/* The first of a set that has the host's share and does not lie on the node to avoid. */
static uint32_t first_device(const struct placement *p, uint32_t root, const struct placement_request *r)
{
	uint32_t at = fit_first(p->fit_dev, root, r->cpu_milli, 0, r->memory_mib);
	while (r->avoid_node && at != FIT_NONE && p->node[p->dev[at].node].number == r->avoid_node - 1)
		at = fit_first(p->fit_dev, root, p->fit_dev[at].cpu, at + 1, r->memory_mib);
	return at;
}

static uint32_t first_node(const struct placement *p, uint32_t root, const struct placement_request *r)
{
	uint32_t at = fit_first(p->fit_node, root, r->cpu_milli, 0, r->memory_mib);
	if (r->avoid_node && at != FIT_NONE && p->node[at].number == r->avoid_node - 1)
		at = fit_first(p->fit_node, root, p->fit_node[at].cpu, at + 1, r->memory_mib);
	return at;
}

struct search {
	const struct placement *p;
	const struct placement_request *r;
	struct frag_shape shape;
	struct find *best;
	double left; /* ties of waste go to the tighter */
	bool found;
};

static void offer(struct search *s, enum find_shape shape, uint32_t at, double left, bool free_device)
{
	const struct placement *p = s->p;
	uint32_t node = shape == FIND_PART ? p->dev[at].node : at, dev = shape == FIND_PART ? at : NONE;
	double waste = left;
	if (s->r->fit == PLACEMENT_FRAG && !s->r->mig)
		waste = frag_growth(p, node, dev, &s->shape);
	else if (s->r->mig && free_device)
		waste += OPENS_DEVICE;
	if (s->found && (waste > s->best->waste || (waste == s->best->waste && left >= s->left)))
		return;
	s->found = true;
	s->best->shape = shape;
	s->best->at = at;
	s->best->waste = waste;
	s->left = left;
}

/* Free devices, idle before mining, one of each. */
static void offer_free(struct search *s, const struct pool *pl, double left)
{
	const struct placement_request *r = s->r;
	double unused;
	uint32_t dev;
	if (!pl->share->limited) {
		if (pl->idle.n || (r->cls != WORKLOAD_P4 && pl->fill.n))
			offer(s, FIND_PART, find_best_device(pl, r, &unused), left, true);
		return;
	}
	dev = first_device(s->p, pl->share->root[SLOT_IDLE], r);
	if (dev == FIT_NONE && r->cls != WORKLOAD_P4)
		dev = first_device(s->p, pl->share->root[SLOT_FILL], r);
	if (dev != FIT_NONE)
		offer(s, FIND_PART, dev, left, true);
}

static void find_instance(struct search *s, const struct pool *pl)
{
	const struct share *sh = pl->share;
	const struct mig_choice *choice = s->p->mig[s->r->mig];
	if (!mig_class_ok(device_class_at(pl->cls)))
		return;
	for (unsigned w = SLOT_MIG / 64; w < SLOT_WORDS; w++) {
		for (uint64_t bits = sh->bits[w]; bits; bits &= bits - 1) {
			unsigned slot = w * 64 + (unsigned)__builtin_ctzll(bits);
			if (slot < SLOT_MIG || choice[slot - SLOT_MIG].start < 0)
				continue;
			uint32_t dev = first_device(s->p, sh->root[slot], s->r);
			if (dev != FIT_NONE)
				offer(s, FIND_PART, dev, choice[slot - SLOT_MIG].loss, false);
		}
	}
	if (!s->found)
		offer_free(s, pl, choice[0].loss);
}

static void find_part(struct search *s, const struct pool *pl)
{
	const struct share *sh = pl->share;
	const uint32_t milli = s->shape.milli;
	int tries = s->r->fit == PLACEMENT_FRAG ? TRIES : 1;
	if (milli > 1000)
		return;
	for (unsigned w = milli / 64; w <= SLOT_IDLE / 64 && tries > 0; w++) {
		uint64_t bits = sh->bits[w];
		if (w == milli / 64)
			bits &= ~UINT64_C(0) << (milli % 64);
		for (; bits && tries > 0; bits &= bits - 1) {
			unsigned slot = w * 64 + (unsigned)__builtin_ctzll(bits);
			if (slot >= SLOT_IDLE)
				break;
			uint32_t dev = first_device(s->p, sh->root[slot], s->r);
			if (dev == FIT_NONE)
				continue;
			offer(s, FIND_PART, dev, slot - milli, false);
			tries--;
		}
	}
	if (!s->found || s->r->fit == PLACEMENT_FRAG)
		offer_free(s, pl, SLOT_IDLE - milli);
}

/* Whole devices of one node, or none of it, beside CPU and memory. Filler takes idle devices, one at a time. */
static void find_node(struct search *s, const struct pool *pl)
{
	const struct share *sh = pl->share;
	int tries = s->r->fit == PLACEMENT_FRAG ? TRIES : 1;
	if (s->r->cls == WORKLOAD_P4 && s->r->count == 1) {
		uint32_t dev = first_device(s->p, sh->root[SLOT_IDLE], s->r);
		if (dev != FIT_NONE) {
			s->found = true;
			s->best->shape = FIND_SINGLE;
			s->best->at = dev;
			s->best->waste = 0;
		}
		return;
	}
	for (uint32_t c = s->r->count; c <= PLACEMENT_NODE_DEVICES_MAX && tries > 0; c++) {
		uint64_t bits = pl->count_bits[c / 64] & (~UINT64_C(0) << (c % 64));
		if (!bits) {
			c |= 63;
			continue;
		}
		c = c / 64 * 64 + (uint32_t)__builtin_ctzll(bits);
		uint32_t node = first_node(s->p, sh->node_root[c], s->r);
		if (node == FIT_NONE)
			continue;
		offer(s, s->r->count ? FIND_NODE : FIND_HOST, node, c - s->r->count, false);
		tries--;
	}
}

static bool may_use(const struct placement_request *r, const struct device *d)
{
	return d->state == PLACEMENT_IDLE || (d->state == PLACEMENT_FILL && r->cls != WORKLOAD_P4);
}

static void find_on_node(struct search *s, uint32_t pool, uint32_t node)
{
	static const struct part whole = { .milli_free = 1000 };
	const struct placement_request *r = s->r;
	const struct node *n = &s->p->node[node];
	uint32_t able = 0;
	if (n->pool != pool || cpu_free(s->p, node) < r->cpu_milli || memory_free(s->p, node) < r->memory_mib)
		return;
	if (r->count == 0) {
		offer(s, FIND_HOST, node, 0, false);
		return;
	}
	for (uint32_t i = n->first; i != NONE; i = s->p->dev[i].node_next) {
		const struct device *d = &s->p->dev[i];
		const struct part *part = s->p->part ? &s->p->part[i] : &whole;
		bool free = may_use(r, d), ours = d->state == PLACEMENT_SHARED && dev_rest_state(d) != PLACEMENT_OUT;
		if (!is_part(r)) {
			able += free;
		} else if (r->mig) {
			const struct mig_choice *c = &s->p->mig[r->mig][free ? 0 : part->mig_taken];
			if ((free || (ours && part->mig)) && c->start >= 0 && mig_class_ok(device_class_at(s->p->pool[pool]->cls)))
				offer(s, FIND_PART, i, c->loss, free);
		} else if (free || (ours && !part->mig && part->milli_free >= s->shape.milli)) {
			offer(s, FIND_PART, i, (free ? 1000 : part->milli_free) - (double)s->shape.milli, free);
		}
	}
	if (!is_part(r) && able >= r->count)
		offer(s, FIND_NODE, node, 0, false);
}

bool share_find(const struct placement *p, uint32_t pool, const struct placement_request *r, struct find *ret)
{
	const struct pool *pl = p->pool[pool];
	struct search s = { .p = p, .r = r, .shape = shape_of_request(pl->cls, r), .best = ret };
	ret->pool = pool;
	if (s.shape.milli > 1000)
		return false;
	if (r->only_node) {
		uint64_t key = (uint64_t)r->only_node - 1;
		find_on_node(&s, pool, (uint32_t)(uintptr_t)map_get(&p->nodes, map_key_u64(&key)) - 1);
	} else if (r->mig) {
		find_instance(&s, pl);
	} else if (is_part(r)) {
		find_part(&s, pl);
	} else if (pl->share && pl->share->limited) {
		find_node(&s, pl);
	} else if (pl->n_nodes) { /* no GPUs, no limits: any node does */
		offer(&s, FIND_HOST, pl->nodes[0], 0, false);
	}
	return s.found;
}

/* ---- taking ---- */

void share_take_host(struct placement *p, struct hold *h, uint32_t node, uint32_t cpu_milli, uint32_t memory_mib)
{
	h->host = node;
	h->cpu_milli = h->memory_mib = 0;
	if (!p->host)
		return;
	struct host with = p->host[node];
	h->cpu_milli = with.cpu_milli == NO_LIMIT ? 0 : cpu_milli;
	h->memory_mib = with.memory_mib == NO_LIMIT ? 0 : memory_mib;
	with.cpu_used += h->cpu_milli;
	with.memory_used += h->memory_mib;
	if (h->cpu_milli || h->memory_mib)
		node_rekey(p, node, &with);
}

static void give_host_back(struct placement *p, struct hold *h)
{
	if (h->host != NONE && (h->cpu_milli || h->memory_mib)) {
		struct host with = p->host[h->host];
		with.cpu_used -= h->cpu_milli;
		with.memory_used -= h->memory_mib;
		node_rekey(p, h->host, &with);
	}
	h->host = NONE;
}

/* Out of its set, so that the node's other entries can be moved before it goes where it then belongs. */
static void lift(struct placement *p, uint32_t i)
{
	if (p->part[i].slot != SLOT_NONE)
		set_remove(p, p->pool[p->dev[i].pool]->share, i);
}

void share_take_part(struct placement *p, struct hold *h, uint32_t i, const struct placement_part *what)
{
	struct device *d = &p->dev[i];
	struct part *part = &p->part[i];
	must(d->state == PLACEMENT_SHARED || (dev_is_free(d) && d->hold == NONE));
	lift(p, i);
	h->cpu_milli = h->memory_mib = 0;
	if (what->cpu_milli || what->memory_mib)
		share_take_host(p, h, d->node, what->cpu_milli, what->memory_mib);
	if (d->state != PLACEMENT_SHARED)
		*part = (struct part){ .milli_free = 1000, .slot = SLOT_NONE, .mig = what->mig != MIG_NONE };
	must(part->mig == (what->mig != MIG_NONE));
	h->part = i;
	h->mig = (uint8_t)what->mig;
	h->mig_start = what->mig_start;
	h->milli = what->milli;
	if (what->mig) {
		uint8_t cover = mig_cover(what->mig, what->mig_start);
		must(!(part->mig_taken & cover));
		part->mig_taken |= cover;
	} else {
		must(part->milli_free >= what->milli);
		part->milli_free = (uint16_t)(part->milli_free - what->milli);
	}
	h->part_prev = NONE;
	h->part_next = d->hold;
	if (d->hold != NONE)
		p->hold[d->hold]->part_prev = h->slot;
	d->hold = h->slot;
	if (d->state == PLACEMENT_SHARED)
		share_settle(p, i);
	else
		dev_set_state(p, i, PLACEMENT_SHARED);
}

void share_give_back(struct placement *p, struct hold *h)
{
	if (h->part == NONE) {
		give_host_back(p, h);
		return;
	}
	struct device *d = &p->dev[h->part];
	struct part *part = &p->part[h->part];
	lift(p, h->part);
	give_host_back(p, h);
	if (h->part_prev != NONE)
		p->hold[h->part_prev]->part_next = h->part_next;
	else
		d->hold = h->part_next;
	if (h->part_next != NONE)
		p->hold[h->part_next]->part_prev = h->part_prev;
	if (h->mig)
		part->mig_taken &= (uint8_t)~mig_cover((enum mig_geometry)h->mig, h->mig_start);
	else
		part->milli_free = (uint16_t)(part->milli_free + h->milli);
	if (d->hold == NONE)
		dev_set_state(p, h->part, dev_rest_state(d));
	else
		share_settle(p, h->part);
	h->part = NONE;
}

int share_may_take(const struct placement *p, uint32_t i, const struct placement_part *what, struct err *err)
{
	const struct mig_profile *f = mig_profile_at(what->mig);
	if (what->mig != MIG_NONE && (!f || !mig_class_ok(device_class_at(p->pool[p->dev[i].pool]->cls)) ||
									 what->mig_start >= MIG_MEMORY_SLICES || !(f->starts >> what->mig_start & 1)))
		return err_set(err, HCP_EINVAL, "mig", "no such instance may lie there");
	if (f ? what->milli != f->milli : what->milli < 1 || what->milli > 999)
		return err_set(err, HCP_ERANGE, "milli", "must be from 1 to 999, or what the instance is billed as");
	const struct device *d = &p->dev[i];
	if (dev_is_free(d))
		return 0;
	const struct part *part = p->part ? &p->part[i] : NULL;
	bool room = d->state == PLACEMENT_SHARED && part && part->mig == (f != NULL) &&
				(f ? !(part->mig_taken & mig_cover(what->mig, what->mig_start)) : part->milli_free >= what->milli);
	return room ? 0 : err_set(err, HCP_EAGAIN, "device", "device %u has no room for it", i);
}

/* ---- for callers ---- */

uint32_t placement_parts(const struct placement *p, placement_dev i, struct placement_part *ret, uint32_t max)
{
	uint32_t n = 0;
	if (i >= p->n_dev || p->dev[i].state != PLACEMENT_SHARED)
		return 0;
	for (uint32_t k = p->dev[i].hold; k != NONE; k = p->hold[k]->part_next, n++) {
		const struct hold *h = p->hold[k];
		if (n < max)
			ret[n] = (struct placement_part){ .owner = h->owner,
				.handle = (uint64_t)h->generation << 32 | h->slot,
				.milli = h->milli,
				.mig = (enum mig_geometry)h->mig,
				.mig_start = h->mig_start,
				.cpu_milli = h->cpu_milli,
				.memory_mib = h->memory_mib };
	}
	return n;
}

bool placement_node_at(const struct placement *p, uint32_t i, struct placement_node *ret)
{
	unsigned unused;
	if (i >= p->n_node)
		return false;
	const struct node *n = &p->node[i];
	struct host h = { .cpu_milli = NO_LIMIT, .memory_mib = NO_LIMIT };
	if (p->host)
		h = p->host[i];
	*ret = (struct placement_node){ .number = n->number,
		.devices = n->count,
		.free = n->free,
		.cpu_milli = h.cpu_milli,
		.cpu_used_milli = h.cpu_used,
		.memory_mib = h.memory_mib,
		.memory_used_mib = h.memory_used };
	(void)view(p, i, NONE, &ret->free_parts, &unused);
	return true;
}

/* ---- defragmentation ---- */

/*
 * Finds room for all owners of a device on other shared ones, by holding it for a moment while they stay where they
 * are: make before break. Returns how many moves that takes, 0 if one of them finds none.
 */
static uint32_t try_moves(
	struct placement *p, const struct placement_defrag *ask, uint32_t from, struct placement_move *ret, uint32_t max)
{
	struct placement_part part[PLACEMENT_PARTS_MAX], other[2];
	placement_handle held[PLACEMENT_PARTS_MAX];
	uint32_t n = placement_parts(p, from, part, PLACEMENT_PARTS_MAX), done = 0, n_held = 0;
	struct device *d = &p->dev[from];
	uint16_t cls = p->pool[d->pool]->cls;
	bool in_service = d->in_service;
	d->in_service = false; /* not to itself */
	share_settle(p, from);
	while (n <= max && n <= PLACEMENT_PARTS_MAX && done < n) {
		struct placement_part *o = &part[done];
		struct placement_request r = { .owner = o->owner,
			.cls = WORKLOAD_P4,
			.device_class = cls,
			.count = 1,
			.milli = o->mig ? 0 : o->milli,
			.mig = o->mig,
			.cpu_milli = o->cpu_milli,
			.memory_mib = o->memory_mib };
		struct placement_result res;
		if (ask->may && !ask->may(ask->arg, from, o, &r))
			break;
		if (placement_reserve(p, &r, INT64_MAX, &res, NULL, NULL) < 0)
			break;
		held[n_held++] = res.handle;
		if (placement_parts(p, res.first, other, 2) < 2)
			break; /* a whole device was opened for it: nothing would be won */
		ret[done++] = (struct placement_move){ .handle = o->handle,
			.owner = o->owner,
			.from = from,
			.to = res.first,
			.milli = o->milli,
			.memory_gib = device_class_at(cls)->memory_gib * o->milli / 1000 };
	}
	while (n_held)
		must(placement_release(p, held[--n_held], NULL) == 0);
	d->in_service = in_service;
	share_settle(p, from);
	return n && done == n ? n : 0;
}

/* Some of the devices of a set: trying one changes the set. */
static uint32_t some_of(const struct placement *p, uint32_t root, uint32_t *ret, uint32_t max)
{
	uint32_t next[PLACEMENT_DEFRAG_ALIKE + 2], n_next = 1, n = 0;
	next[0] = root;
	while (n_next && n < max) {
		const struct fit *f = &p->fit_dev[ret[n++] = next[--n_next]];
		if (f->right != FIT_NONE)
			next[n_next++] = f->right;
		if (f->left != FIT_NONE)
			next[n_next++] = f->left;
	}
	return n;
}

static uint32_t defrag_alike(struct placement *p, const struct placement_defrag *ask, uint32_t root, uint32_t *tries,
	struct placement_move *ret, uint32_t max)
{
	uint32_t dev[PLACEMENT_DEFRAG_ALIKE], most = *tries < PLACEMENT_DEFRAG_ALIKE ? *tries : PLACEMENT_DEFRAG_ALIKE;
	uint32_t n_dev = some_of(p, root, dev, most), n = 0;
	for (uint32_t i = 0; i < n_dev && !n; i++, --*tries)
		n = try_moves(p, ask, dev[i], ret, max);
	return n;
}

/* The highest of the slots from low to high in which there is a device; 0: none. */
static int slot_in(const struct share *s, int low, int high)
{
	for (int slot = high; slot >= low && slot > 0; slot--) {
		uint64_t here = s->bits[slot / 64] << (63 - slot % 64);
		if (here >> 63)
			return slot;
		if (!here)
			slot -= slot % 64; /* the last of this word */
	}
	return 0;
}

/* Devices of which so many eighths are taken, or begun: thousandths, then instances. */
static uint32_t defrag_eighth(struct placement *p, const struct placement_defrag *ask, const struct share *s,
	int eighths, uint32_t *tries, struct placement_move *ret, uint32_t max)
{
	int low = SLOT_IDLE - eighths * SLOT_IDLE / 8, slot = SLOT_IDLE - (eighths - 1) * SLOT_IDLE / 8 - 1;
	uint32_t n = 0;
	for (; *tries && !n && (slot = slot_in(s, low, slot)); slot--)
		n = defrag_alike(p, ask, s->root[slot], tries, ret, max);
	for (int mask = 1; mask < MIG_MASKS && *tries && !n; mask++) {
		slot = SLOT_MIG + mask;
		if (__builtin_popcount((unsigned)mask) == eighths && (s->bits[slot / 64] >> (slot % 64) & 1))
			n = defrag_alike(p, ask, s->root[slot], tries, ret, max);
	}
	return n;
}

uint32_t placement_defrag(
	struct placement *p, const struct placement_defrag *ask, struct placement_move *ret, uint32_t max)
{
	uint32_t tries = PLACEMENT_DEFRAG_TRIES;
	for (uint32_t f = 0; ask->device_class < DEVICE_CLASS_MAX && f < p->n_facility; f++) {
		uint32_t pool = p->pool_of[ask->device_class][f];
		const struct share *s = pool == NONE ? NULL : p->pool[pool]->share;
		if (ask->facility >= 0 && f != (uint32_t)ask->facility)
			continue;
		for (int eighths = 1; s && eighths <= 8; eighths++) {
			uint32_t n = defrag_eighth(p, ask, s, eighths, &tries, ret, max);
			if (n)
				return n;
		}
	}
	return 0;
}

/* ---- checks ---- */

static void check_device(const struct placement *p, uint32_t i)
{
	const struct device *d = &p->dev[i];
	const struct share *s = p->pool[d->pool]->share;
	const struct part *part = &p->part[i];
	must(part->slot == (s ? slot_of(s, d, part) : SLOT_NONE));
	if (d->state != PLACEMENT_SHARED)
		return;
	uint32_t milli = 0, before = NONE;
	uint8_t taken = 0;
	for (uint32_t k = d->hold; k != NONE; before = k, k = p->hold[k]->part_next) {
		const struct hold *h = p->hold[k];
		must(h->state != HOLD_FREE && h->part == i && h->part_prev == before && (h->mig != 0) == part->mig);
		milli += h->milli;
		if (h->mig) {
			uint8_t cover = mig_cover((enum mig_geometry)h->mig, h->mig_start);
			must(mig_profile_at((enum mig_geometry)h->mig)->starts >> h->mig_start & 1);
			must(!(taken & cover));
			taken |= cover;
		}
	}
	must(milli > 0 && part->mig_taken == taken && (part->mig || milli + part->milli_free == 1000));
}

static uint32_t check_set(const struct placement *p, uint32_t t, uint32_t slot, uint32_t *ret_most)
{
	if (t == FIT_NONE)
		return 0;
	const struct fit *f = &p->fit_dev[t];
	uint32_t node = p->dev[t].node;
	uint32_t most = f->memory, low = 0, high = 0;
	must(p->part[t].slot == slot && f->cpu == cpu_free(p, node) && f->memory == memory_free(p, node));
	must(f->left == FIT_NONE || p->fit_dev[f->left].cpu <= f->cpu);
	must(f->right == FIT_NONE || p->fit_dev[f->right].cpu >= f->cpu);
	uint32_t count = 1 + check_set(p, f->left, slot, &low) + check_set(p, f->right, slot, &high);
	most = low > most ? low : most;
	most = high > most ? high : most;
	must(f->most == most);
	*ret_most = most;
	return count;
}

void share_check(const struct placement *p)
{
	uint32_t in_sets = 0, with_slot = 0, unused = 0;
	if (!p->part)
		return;
	for (uint32_t i = 0; i < p->n_dev; i++) {
		check_device(p, i);
		with_slot += p->part[i].slot != SLOT_NONE;
	}
	for (uint32_t k = 0; k < p->n_pool; k++) {
		const struct share *s = p->pool[k]->share;
		for (uint32_t slot = 0; s && slot < SLOT_END; slot++) {
			must((s->root[slot] != FIT_NONE) == (s->bits[slot / 64] >> (slot % 64) & 1));
			in_sets += check_set(p, s->root[slot], slot, &unused);
		}
	}
	must(in_sets == with_slot);
	uint64_t cpu = 0, memory = 0, cpu_held = 0, memory_held = 0;
	for (uint32_t n = 0; n < p->n_node; n++) {
		cpu += p->host[n].cpu_used;
		memory += p->host[n].memory_used;
	}
	for (uint32_t k = 0; k < p->n_hold; k++) {
		const struct hold *h = p->hold[k];
		if (h->state != HOLD_FREE && h->host != NONE) {
			cpu_held += h->cpu_milli;
			memory_held += h->memory_mib;
		}
	}
	must(cpu == cpu_held && memory == memory_held);
}
