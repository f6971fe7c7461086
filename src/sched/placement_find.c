#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sched/placement_priv.h"

/* The rank of a candidate: smaller tier first, then larger key, then less waste, then larger score. */
struct rank {
	int tier;
	double key, waste, score;
};

static bool better(const struct rank *a, const struct rank *b)
{
	if (a->tier != b->tier)
		return a->tier < b->tier;
	if (a->key != b->key)
		return a->key > b->key;
	return a->waste != b->waste ? a->waste < b->waste : a->score > b->score;
}

static uint32_t pool_free(const struct pool *pl, const struct placement_request *r)
{
	return pl->idle.n + (r->cls == WORKLOAD_P4 ? 0 : pl->fill.n);
}

static bool facility_allowed(const struct facility *f, const struct placement_request *r)
{
	if (r->region && r->region[0] && strcmp(r->region, f->f.region) != 0)
		return false;
	return r->latency_max_ms <= 0 || f->f.latency_ms <= r->latency_max_ms;
}

static bool class_allowed(size_t cls, const struct placement_request *r)
{
	const struct device_class *c = device_class_at(cls);
	if (r->device_class >= 0 ? (size_t)r->device_class != cls : c->kind != r->kind)
		return false;
	return r->memory_gib <= c->memory_gib;
}

/* The tightest node with at least n free devices, NONE if there is none. */
static uint32_t tightest_node(const struct pool *pl, uint32_t n)
{
	if (n > PLACEMENT_NODE_DEVICES_MAX)
		return NONE;
	uint32_t w = n / 64;
	uint64_t bits = pl->count_bits[w] & (~UINT64_C(0) << (n % 64));
	while (!bits) {
		if (++w == COUNT_WORDS)
			return NONE;
		bits = pl->count_bits[w];
	}
	return pl->by_count[w * 64 + (uint32_t)__builtin_ctzll(bits)];
}

static uint32_t tightest_cluster(const struct placement *p, const struct pool *pl, uint32_t n)
{
	uint32_t best = NONE;
	for (uint32_t c = pl->first_cluster; c != NONE; c = p->cluster[c].pool_next) {
		if (p->cluster[c].free >= n && (best == NONE || p->cluster[c].free < p->cluster[best].free))
			best = c;
	}
	return best;
}

uint32_t find_best_device(const struct pool *pl, const struct placement_request *r, double *ret_score)
{
	const double per_bucket = W_DEVICE / (PLACEMENT_BUCKETS - 1);
	int idle = bucketq_best(&pl->idle), fill = r->cls == WORKLOAD_P4 ? -1 : bucketq_best(&pl->fill);
	double idle_score = idle < 0 ? -1 : idle * per_bucket + W_IDLE, fill_score = fill < 0 ? -1 : fill * per_bucket;
	if (idle_score >= fill_score) {
		*ret_score = idle_score;
		return idle < 0 ? NONE : pl->idle.head[idle];
	}
	*ret_score = fill_score;
	return pl->fill.head[fill];
}

static bool shape_of(const struct placement *p, uint32_t pool, const struct placement_request *r, struct find *f,
	double *ret_score)
{
	const struct pool *pl = p->pool[pool];
	f->waste = 0;
	f->pool = pool;
	f->shape = FIND_SINGLE;
	if (r->tag)
		return tags_find(p, pl, r, &f->at, ret_score);
	if (share_wanted(pl, r)) {
		*ret_score = 0;
		return share_find(p, pool, r, f);
	}
	if (pool_free(pl, r) < r->count)
		return false;
	f->at = find_best_device(pl, r, ret_score);
	if (r->count == 1)
		return true;
	f->shape = FIND_LOOSE; /* mining has no neighbours to talk to */
	if (r->cls == WORKLOAD_P4)
		return true;
	f->shape = FIND_NODE;
	if ((f->at = tightest_node(pl, r->count)) != NONE)
		return true;
	f->shape = FIND_CLUSTER;
	if ((f->at = tightest_cluster(p, pl, r->count)) != NONE)
		return true;
	f->shape = FIND_FACILITY;
	return r->split_clusters;
}

static uint64_t mix(uint64_t x)
{
	return hash_bytes(&x, sizeof(x), 0x5bd1e995);
}

/* Weighted rendezvous: the facility with the largest -weight/ln(u) keeps its keys when others come and go. */
static double hash_key(const struct placement_request *r, const struct facility *f, uint32_t number)
{
	double u = ((double)(mix(r->hash_key ^ mix(number + 1)) >> 11) + 0.5) / 9007199254740992.0;
	return -f->f.weight / log(u);
}

/* Lamping and Veach's jump hash: which of n nodes, moving 1/n of the keys when one is added. */
static uint32_t jump(uint64_t key, uint32_t n)
{
	int64_t b = -1, j = 0;
	while (j < n) {
		b = j;
		key = key * UINT64_C(2862933555777941757) + 1;
		j = (int64_t)((double)(b + 1) * ((double)(INT64_C(1) << 31) / (double)((key >> 33) + 1)));
	}
	return (uint32_t)b;
}

/* The key's own node, or the next that has a free device. */
static void stick_to_node(const struct placement *p, const struct placement_request *r, struct find *f)
{
	const struct pool *pl = p->pool[f->pool];
	if (f->shape != FIND_SINGLE || r->tag)
		return;
	uint32_t start = jump(r->hash_key, pl->n_nodes);
	for (uint32_t i = 0; i < pl->n_nodes; i++) {
		const struct node *nd = &p->node[pl->nodes[(start + i) % pl->n_nodes]];
		if (nd->free == 0)
			continue;
		for (uint32_t d = nd->first; d != NONE; d = p->dev[d].node_next) {
			if (p->dev[d].state == PLACEMENT_IDLE || (r->cls != WORKLOAD_P4 && dev_is_free(&p->dev[d]))) {
				f->at = d;
				return;
			}
		}
	}
}

static double strategy_key(const struct placement_request *r, const struct facility *f, uint32_t number)
{
	switch (r->strategy) {
	case PLACEMENT_LEAST_LATENCY:
		return -f->f.latency_ms;
	case PLACEMENT_WEIGHTED_RR:
		return f->turn + f->f.weight;
	case PLACEMENT_CONSISTENT_HASH:
		return hash_key(r, f, number);
	case PLACEMENT_GEOGRAPHIC:
		return -score_distance_km(&f->f, r->latitude_deg, r->longitude_deg);
	default:
		return 0;
	}
}

/* Smooth weighted round robin: everyone who could gets its weight, the chosen one pays the sum. */
static void take_turn(struct placement *p, uint64_t eligible, uint32_t chosen)
{
	double sum = 0;
	for (uint32_t i = 0; i < p->n_facility; i++) {
		if (!(eligible >> i & 1))
			continue;
		p->facility[i].turn += p->facility[i].f.weight;
		sum += p->facility[i].f.weight;
	}
	p->facility[chosen].turn -= sum;
}

bool find_devices(struct placement *p, const struct placement_request *r, struct find *ret)
{
	bool found = false;
	struct rank best = { 0 };
	uint64_t eligible = 0;
	size_t first = r->device_class >= 0 ? (size_t)r->device_class : 0;
	size_t end = r->device_class >= 0 ? first + 1 : device_class_count();

	for (size_t cls = first; cls < end; cls++) {
		if (!class_allowed(cls, r))
			continue;
		for (uint32_t i = 0; i < p->n_facility; i++) {
			struct find f;
			struct rank k;
			double device_score;
			uint32_t pool = p->pool_of[cls][i];
			if (pool == NONE || !facility_allowed(&p->facility[i], r) || !shape_of(p, pool, r, &f, &device_score))
				continue;
			eligible |= UINT64_C(1) << i;
			k.waste = f.waste;
			k.score = device_score + p->facility[i].score;
			k.key = strategy_key(r, &p->facility[i], i);
			k.tier = f.shape == FIND_CLUSTER ? 1 : f.shape == FIND_FACILITY ? 2 : 0;
			if (found && !better(&k, &best))
				continue;
			best = k;
			*ret = f;
			found = true;
		}
	}
	if (!found)
		return false;
	if (r->strategy == PLACEMENT_WEIGHTED_RR)
		take_turn(p, eligible, p->pool[ret->pool]->facility);
	if (r->strategy == PLACEMENT_CONSISTENT_HASH)
		stick_to_node(p, r, ret);
	return true;
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static void count_pool(const struct placement *p, const struct pool *pl, const struct placement_request *r,
	struct placement_refusal *w)
{
	uint32_t free = pool_free(pl, r);
	if (r->tag) {
		/* Free ones would have been found. Those out of service are not told apart from busy ones. */
		w->total += tags_devices(pl, r->tag);
		w->busy += tags_devices(pl, r->tag);
		return;
	}
	w->total += pl->total;
	w->free += free;
	w->out += pl->out;
	w->busy += pl->total - pl->out - free;
	w->largest_facility = max_u32(w->largest_facility, free);
	for (int i = COUNT_WORDS - 1; i >= 0; i--) {
		if (pl->count_bits[i]) {
			w->largest_node = max_u32(w->largest_node, (uint32_t)(i * 64 + 63 - __builtin_clzll(pl->count_bits[i])));
			break;
		}
	}
	for (uint32_t c = pl->first_cluster; c != NONE; c = p->cluster[c].pool_next)
		w->largest_cluster = max_u32(w->largest_cluster, p->cluster[c].free);
	for (int i = SLOT_IDLE / 64; pl->share && i >= 0; i--) {
		uint64_t bits =
			pl->share->bits[i] & (i == SLOT_IDLE / 64 ? (UINT64_C(1) << (SLOT_IDLE % 64)) - 1 : ~UINT64_C(0));
		if (bits) {
			w->largest_milli = max_u32(w->largest_milli, (uint32_t)(i * 64 + 63 - __builtin_clzll(bits)));
			break;
		}
	}
}

/* Which constraint shuts everything out: tried in the order class, memory, region, latency. */
static enum placement_refusal_code narrow(const struct placement *p, const struct placement_request *r,
	struct placement_refusal *w)
{
	bool any_class = false, any_memory = false, any_region = false, any_near = false;
	w->latency_least_ms = INFINITY;
	for (uint32_t i = 0; i < p->n_pool; i++) {
		const struct pool *pl = p->pool[i];
		const struct device_class *c = device_class_at(pl->cls);
		const struct facility *f = &p->facility[pl->facility];
		if (r->device_class >= 0 ? r->device_class != pl->cls : c->kind != r->kind)
			continue;
		any_class = true;
		w->memory_largest_gib = fmax(w->memory_largest_gib, c->memory_gib);
		if (c->memory_gib < r->memory_gib)
			continue;
		any_memory = true;
		if (r->region && r->region[0] && strcmp(r->region, f->f.region) != 0)
			continue;
		any_region = true;
		w->latency_least_ms = fmin(w->latency_least_ms, f->f.latency_ms);
		if (!facility_allowed(f, r))
			continue;
		any_near = true;
		count_pool(p, pl, r, w);
	}
	if (!any_class)
		return PLACEMENT_R_NO_CLASS;
	if (!any_memory)
		return PLACEMENT_R_MEMORY;
	if (!any_region)
		return PLACEMENT_R_REGION;
	if (!any_near)
		return PLACEMENT_R_LATENCY;
	if (r->tag && !w->total)
		return PLACEMENT_R_TAG;
	if (w->total - w->out < r->count && w->total >= r->count)
		return PLACEMENT_R_OUT;
	if ((r->cpu_milli || r->memory_mib) && (w->largest_node >= r->count || (r->milli && w->largest_milli >= r->milli)))
		return PLACEMENT_R_HOST;
	return w->free < r->count ? PLACEMENT_R_BUSY : PLACEMENT_R_FRAGMENTED;
}

static const char *instance_name(const struct placement_request *r)
{
	const char *name = r->device_class >= 0 ? mig_name(device_class_at((size_t)r->device_class), r->mig) : NULL;
	return name ? name : "the instance";
}

/* With its memory, where the class says what that is. */
static uint32_t wanted_milli(const struct placement_request *r)
{
	return r->device_class >= 0 ? share_milli((size_t)r->device_class, r) : r->milli;
}

void find_explain(const struct placement *p, const struct placement_request *r, struct placement_refusal *ret)
{
	struct placement_refusal w = { .wanted = r->count };
	w.code = narrow(p, r, &w);
	char *t = w.text;
	const size_t cap = sizeof(w.text);
	switch (w.code) {
	case PLACEMENT_R_NO_CLASS:
		snprintf(t, cap, "No such device in the inventory; name another class or leave it open.");
		break;
	case PLACEMENT_R_MEMORY:
		snprintf(t, cap, "Needs %.0f GiB per device; the largest here has %.0f GiB. Use more devices with less each.",
			r->memory_gib, w.memory_largest_gib);
		break;
	case PLACEMENT_R_REGION:
		snprintf(t, cap, "No facility in region %.32s has such devices; allow another region.", r->region);
		break;
	case PLACEMENT_R_LATENCY:
		snprintf(t, cap, "The nearest facility is %.1f ms away; allow at least that.", w.latency_least_ms);
		break;
	case PLACEMENT_R_OUT:
		snprintf(t, cap, "%u of %u such devices are out of service; needs %u repaired.", w.out, w.total,
			r->count - (w.total - w.out));
		break;
	case PLACEMENT_R_TAG:
		snprintf(t, cap, "No node with such devices has what it asks for.");
		break;
	case PLACEMENT_R_HOST:
		snprintf(t, cap,
			"Devices are free, but none beside %.1f free cores and %.1f GiB of memory; ask for less of them.",
			r->cpu_milli / 1000.0, r->memory_mib / 1024.0);
		break;
	case PLACEMENT_R_BUSY:
		if (r->mig)
			snprintf(t, cap,
				"No device is free and no split one has a place for %s; fits when others end, or ask for a smaller "
				"one.",
				instance_name(r));
		else if (r->milli && r->milli < 1000)
			snprintf(t, cap,
				"No device is free, and at most %u thousandths are left on a shared one; wants %u. Ask for less, or it "
				"fits "
				"when others end.",
				w.largest_milli, wanted_milli(r));
		else if (w.total < r->count)
			snprintf(t, cap, "Wants %u, the inventory has %u; ask for fewer.", r->count, w.total);
		else
			snprintf(t, cap, "Wants %u, %u are free; fits when %u of %u busy ones end.", r->count, w.free,
				r->count - w.free, w.busy);
		break;
	default:
		snprintf(t, cap, "%u are free, but at most %u on a node, %u in a cluster, %u in a facility. %s", w.free,
			w.largest_node, w.largest_cluster, w.largest_facility, w.largest_facility >= r->count ?
			"Fits if the gang may span clusters." : "Ask for fewer.");
		break;
	}
	*ret = w;
}

/* With a tag it is of no use to know more than whether there is one. */
static uint32_t room_free(const struct placement *p, const struct pool *pl, const struct placement_request *r)
{
	uint32_t unused;
	double score;
	return r->tag ? tags_find(p, pl, r, &unused, &score) : pool_free(pl, r);
}

size_t placement_rooms(
	const struct placement *p, const struct placement_request *r, struct placement_room *ret, size_t max)
{
	size_t n = 0;
	for (uint32_t i = 0; i < p->n_pool && n < max; i++) {
		const struct pool *pl = p->pool[i];
		if (class_allowed(pl->cls, r) && facility_allowed(&p->facility[pl->facility], r))
			ret[n++] = (struct placement_room){ pl->cls, pl->facility, room_free(p, pl, r) };
	}
	return n;
}
