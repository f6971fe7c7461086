#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "sim/node_priv.h"

/* As a pool would set it for an ASIC: a share every few seconds. */
#define SHARE_HASHES (131072 * 4294967296.0)
#define SHARES_REJECTED_EVERY 400
#define TOKENS_PER_REQUEST 250
#define MW_NS_PER_J INT64_C(1000000000000)

static const char *const activity_name[NODE_ACTIVITIES] = { "serve", "fill", "off" };

/* Told often enough since its last device left. Its counters stay: a late command may bring it back in this boot. */
static bool is_told(const struct node_alloc *a)
{
	return a->id[0] && a->devices == 0 && a->leases > NODE_LINGER_LEASES;
}

int node_alloc_slot(struct node *n, const char *id, uint16_t *ret)
{
	size_t slot = n->n_allocs, told = NODE_ALLOCS_MAX;
	*ret = 0;
	if (id[0] == 0)
		return 0;
	if (strlen(id) >= ID_TEXT_MAX)
		return HCP_EINVAL;
	for (size_t i = n->n_allocs; i-- > 1;) {
		if (!strcmp(n->allocs[i].id, id)) {
			n->allocs[i].leases = 0;
			*ret = (uint16_t)i;
			return 0;
		}
		if (n->allocs[i].id[0] == 0)
			slot = i;
		else if (is_told(&n->allocs[i]))
			told = i;
	}
	if (slot == NODE_ALLOCS_MAX)
		slot = told;
	if (slot == NODE_ALLOCS_MAX)
		return HCP_ELIMIT;
	if (slot == n->n_allocs) {
		struct node_alloc *more = mem_realloc(n->allocs, (slot + 1) * sizeof(*more));
		if (!more)
			return HCP_ENOMEM;
		n->allocs = more;
		n->n_allocs++;
	}
	n->allocs[slot] = (struct node_alloc){ 0 };
	memcpy(n->allocs[slot].id, id, strlen(id) + 1);
	*ret = (uint16_t)slot;
	return 0;
}

void node_alloc_move(struct node *n, struct node_device *d, uint16_t slot)
{
	if (d->alloc == slot)
		return;
	node_alloc_left(n, d->alloc);
	n->allocs[slot].devices++;
	d->alloc = slot;
}

void node_alloc_left(struct node *n, uint16_t slot)
{
	n->allocs[slot].devices--;
	n->allocs[slot].leases = 0;
}

/* What the watts are for: work that runs counts as such also while it winds down. */
static enum node_activity activity_of(const struct fleet_device *d)
{
	if (d->mode == DEVICE_SERVE)
		return NODE_SERVE;
	return d->mode == DEVICE_FILL || d->hash_ths > 0 ? NODE_FILL : NODE_OFF;
}

static struct node_meter *meter_of(struct node *n, uint16_t slot, enum node_activity activity)
{
	struct node_meter *m = &n->allocs[slot].meter[activity];
	if (!m->used) {
		m->used = true;
		n->keys++;
	}
	return m;
}

static void add_energy(struct node_meter *m, int64_t energy_mw_ns)
{
	m->energy_rest += energy_mw_ns;
	m->energy_j += m->energy_rest / MW_NS_PER_J;
	m->energy_rest %= MW_NS_PER_J;
}

/* Whole nanoseconds of so many thousandths of the time; what is left below one is kept for the next. */
static int64_t take_ns(int64_t dt_ns, uint32_t milli, uint16_t *rest)
{
	__int128 thousandths = (__int128)dt_ns * milli + *rest;
	*rest = (uint16_t)(thousandths % SLICE_WHOLE);
	return (int64_t)(thousandths / SLICE_WHOLE);
}

/* Each owner has its thousandths of time and energy, nobody the rest; requests go to them in turn. */
static void add_parts(struct node *n, struct node_device *d, const struct fleet_flow *flow, int64_t dt_ns)
{
	enum node_activity a = activity_of(&d->d);
	int64_t energy[SLICES_MAX + 1];
	struct node_meter *m = meter_of(n, d->alloc, a);
	node_parts_divide(d, flow->energy_mw_ns, energy);
	add_energy(m, energy[d->n_parts]);
	m->device_ns += take_ns(dt_ns, node_parts_free_milli(d), &d->ns_rest);
	for (size_t i = 0; i < d->n_parts; i++) {
		m = meter_of(n, d->parts[i].alloc, a);
		add_energy(m, energy[i]);
		m->device_ns += take_ns(dt_ns, d->parts[i].slice.milli, &d->parts[i].ns_rest);
		if ((size_t)d->d.requests % d->n_parts != i)
			continue;
		m->requests += flow->requests;
		m->tokens += flow->requests * TOKENS_PER_REQUEST;
	}
}

void node_meter_add(struct node *n, struct node_device *d, const struct fleet_flow *flow, int64_t dt_ns)
{
	if (d->n_parts) {
		add_parts(n, d, flow, dt_ns);
		return;
	}
	struct node_meter *m = meter_of(n, d->alloc, activity_of(&d->d));
	add_energy(m, flow->energy_mw_ns);
	m->device_ns += dt_ns;
	m->requests += flow->requests;
	m->tokens += flow->requests * TOKENS_PER_REQUEST;
	if (flow->hashes <= 0)
		return;
	m->hashes += flow->hashes;
	m->share_due += flow->hashes / SHARE_HASHES;
	double whole = floor(m->share_due);
	m->share_due -= whole;
	for (int64_t k = (int64_t)whole; k > 0; k--) {
		if (rng_below(&n->rng, SHARES_REJECTED_EVERY) == 0)
			m->shares_rejected++;
		else
			m->shares_accepted++;
	}
}

/* A lease is the answer to a report: the platform has heard the counters. */
void node_meter_lease(struct node *n)
{
	for (size_t i = 1; i < n->n_allocs; i++) {
		struct node_alloc *a = &n->allocs[i];
		if (a->id[0] && a->devices == 0 && !is_told(a))
			a->leases++;
	}
}

/* A new boot counts from zero. */
void node_meter_clear(struct node *n)
{
	for (size_t i = 0; i < n->n_allocs; i++) {
		memset(n->allocs[i].meter, 0, sizeof(n->allocs[i].meter));
		if (i && n->allocs[i].devices == 0)
			n->allocs[i].id[0] = 0;
	}
	n->keys = 0;
}

int node_meter_report(struct node *n, Hcp__NodeReport *r)
{
	size_t cap = n->n_allocs * NODE_ACTIVITIES;
	Hcp__Meter *rows = arena_alloc(node_arena(n), cap * sizeof(*rows));
	r->meters = arena_alloc(node_arena(n), cap * sizeof(*r->meters));
	if (!rows || !r->meters)
		return HCP_ENOMEM;
	for (size_t i = 0; i < cap; i++) {
		const struct node_alloc *a = &n->allocs[i / NODE_ACTIVITIES];
		const struct node_meter *m = &a->meter[i % NODE_ACTIVITIES];
		if (!m->used || (i >= NODE_ACTIVITIES && (a->id[0] == 0 || is_told(a))))
			continue;
		Hcp__Meter *row = &rows[r->n_meters];
		hcp__meter__init(row);
		row->device_class = n->cls->name;
		row->activity = activity_name[i % NODE_ACTIVITIES];
		row->allocation_id = a->id;
		row->energy_j = m->energy_j;
		row->device_ns = m->device_ns;
		row->hashes = m->hashes;
		row->requests = m->requests;
		row->tokens = m->tokens;
		row->shares_accepted = m->shares_accepted;
		row->shares_rejected = m->shares_rejected;
		r->meters[r->n_meters++] = row;
	}
	return 0;
}
