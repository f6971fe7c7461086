/* Parts of devices, host limits, instances: against a model that looks at everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "sched/placement.h"

enum { NODES = 7, GPUS = 4, DEVS = NODES * GPUS, LIVE_MAX = 128, STEPS = 6000, CPU = 16000, MEM = 65536 };

static struct id owner(uint64_t n)
{
	struct id id = { { 1 } };
	memcpy(id.b + 8, &n, sizeof(n));
	return id;
}

static int cls(const char *name)
{
	return (int)device_class_index(device_class_find(str_of(name)));
}

static struct placement *make(uint32_t nodes, uint32_t gpus, const char *name)
{
	struct placement *p = placement_new(NULL);
	struct placement_facility f = { .region = "us-tx", .latency_ms = 5, .weight = 1 };
	uint16_t at;
	assert_non_null(p);
	assert_int_equal(placement_add_facility(p, &f, &at, NULL), 0);
	for (uint32_t n = 0; n < nodes; n++)
		for (uint32_t g = 0; g < gpus; g++) {
			placement_dev dev;
			struct placement_device d = {
				.cls = (uint16_t)cls(name), .cluster = n / 4, .node = 100 + n, .quality = { 1, 0.5, 0.5 }
			};
			assert_int_equal(placement_add_device(p, &d, &dev, NULL), 0);
			assert_int_equal(dev, n * gpus + g);
		}
	return p;
}

static struct placement_request want(uint64_t n, uint32_t milli)
{
	return (struct placement_request){
		.owner = owner(n), .cls = WORKLOAD_P2, .device_class = -1, .kind = DEVICE_GPU, .count = 1, .milli = milli
	};
}

static struct placement_result get(struct placement *p, struct placement_request r)
{
	struct placement_result res;
	struct placement_refusal why = { 0 };
	int rc = placement_reserve(p, &r, 100, &res, &why, NULL);
	if (rc < 0)
		print_message("refused: %s: %s\n", placement_refusal_name(why.code), why.text);
	assert_int_equal(rc, 0);
	placement_check(p);
	return res;
}

static enum placement_refusal_code refused(struct placement *p, struct placement_request r)
{
	struct placement_result res;
	struct placement_refusal why = { 0 };
	assert_int_equal(placement_reserve(p, &r, 100, &res, &why, NULL), HCP_EAGAIN);
	assert_true(strlen(why.text) > 10);
	placement_check(p);
	return why.code;
}

static void a_device_has_owners_up_to_its_capacity(void **state)
{
	struct placement *p = make(1, 2, "H100");
	struct placement_result a = get(p, want(1, 600)), b = get(p, want(2, 300)), c = get(p, want(3, 200));
	assert_int_equal(a.first, b.first); /* tightest */
	assert_int_not_equal(a.first, c.first);
	assert_int_equal(a.milli, 600);
	assert_int_equal(a.node, 100);
	struct placement_part part[4];
	assert_int_equal(placement_parts(p, a.first, part, 4), 2);
	assert_int_equal(part[0].milli + part[1].milli, 900);
	struct id second = owner(2); /* the newest first */
	assert_memory_equal(&part[0].owner, &second, sizeof(second));
	assert_int_equal(placement_state(p, a.first), PLACEMENT_SHARED);
	/* Nothing is whole any more. */
	assert_int_equal(refused(p, want(4, 0)), PLACEMENT_R_BUSY);
	assert_int_equal(refused(p, want(4, 900)), PLACEMENT_R_BUSY);
	/* 30 of 80 GiB are 375 thousandths: compute or memory, the larger counts. */
	struct placement_request r = want(5, 10);
	r.memory_gib = 30;
	struct placement_result d = get(p, r);
	assert_int_equal(d.milli, 375);
	assert_int_equal(d.first, c.first);
	/* Commit and release go by handle; the last owner frees the device. */
	assert_int_equal(placement_commit(p, a.handle, NULL), 0);
	assert_int_equal(placement_release(p, a.handle, NULL), 0);
	placement_check(p);
	assert_int_equal(placement_state(p, b.first), PLACEMENT_SHARED);
	placement_handle gone[4];
	assert_int_equal(placement_expire(p, 100, gone, 4), 3);
	placement_check(p);
	assert_int_equal(placement_free_count(p, (size_t)cls("H100")), 2);
	placement_free(p);
}

static void a_shared_device_out_of_service_takes_no_more(void **state)
{
	struct placement *p = make(1, 1, "H100");
	struct placement_result a = get(p, want(1, 400));
	assert_int_equal(placement_set_in_service(p, a.first, false, NULL), 0);
	placement_check(p);
	refused(p, want(2, 100));
	assert_int_equal(placement_set_in_service(p, a.first, true, NULL), 0);
	assert_int_equal(get(p, want(2, 100)).first, a.first);
	assert_int_equal(placement_set_in_service(p, a.first, false, NULL), 0);
	assert_int_equal(placement_release(p, a.handle, NULL), 0);
	placement_handle gone[2];
	assert_int_equal(placement_expire(p, 100, gone, 2), 1);
	assert_int_equal(placement_state(p, 0), PLACEMENT_OUT);
	placement_check(p);
	placement_free(p);
}

static void instances_lie_where_the_maker_lets_them(void **state)
{
	struct placement *p = make(1, 2, "H100");
	struct placement_request r = want(1, 0);
	r.mig = MIG_3G;
	struct placement_result a = get(p, r);
	assert_int_equal(a.milli, 500);
	r.mig = MIG_4G; /* only at 0, so the 3g must lie at 4 */
	struct placement_result b = get(p, r);
	assert_int_equal(a.first, b.first);
	assert_int_equal(a.mig_start, 4);
	assert_int_equal(b.mig_start, 0);
	/* Seven of the smallest fit on the other, and not an eighth. */
	r.mig = MIG_1G;
	for (int i = 0; i < 7; i++)
		assert_int_not_equal(get(p, r).first, a.first);
	refused(p, r);
	/* Milli and instances do not mix on a device. */
	refused(p, want(2, 10));
	assert_int_equal(placement_release(p, a.handle, NULL), 0);
	r.mig = MIG_2G;
	assert_int_equal(get(p, r).first, a.first);
	r.milli = 5;
	struct placement_result res;
	assert_int_equal(placement_reserve(p, &r, 100, &res, NULL, NULL), HCP_EINVAL);
	placement_free(p);
	p = make(1, 1, "L40S");
	r = want(1, 0);
	r.mig = MIG_1G;
	refused(p, r);
	placement_free(p);
}

static void host_needs_bound_what_fits(void **state)
{
	struct placement *p = make(2, 4, "H100");
	assert_int_equal(placement_set_node(p, 7, 1, 1, NULL), HCP_ENOTFOUND);
	assert_int_equal(placement_set_node(p, 100, 8000, 1024, NULL), 0);
	assert_int_equal(placement_set_node(p, 101, 16000, 4096, NULL), 0);
	struct placement_request r = want(1, 500);
	r.cpu_milli = 9000;
	r.memory_mib = 512;
	assert_int_equal(get(p, r).node, 101);
	r.owner = owner(2);
	assert_int_equal(refused(p, r), PLACEMENT_R_HOST);
	r.cpu_milli = 7000;
	assert_int_equal(get(p, r).node, 101); /* the tighter device */
	r.milli = 0;
	r.count = 4;
	r.memory_mib = 1024;
	assert_int_equal(get(p, r).node, 100);
	r.count = 0; /* CPU alone */
	r.memory_mib = 0;
	r.cpu_milli = 1000;
	struct placement_result c = get(p, r);
	assert_int_equal(c.node, 100);
	assert_int_equal(c.first, PLACEMENT_NONE);
	refused(p, r);
	assert_int_equal(placement_release(p, c.handle, NULL), 0);
	placement_check(p);
	r.only_node = 101 + 1;
	r.cpu_milli = 1;
	refused(p, r);
	r.only_node = 999;
	struct placement_result res;
	assert_int_equal(placement_reserve(p, &r, 100, &res, NULL, NULL), HCP_ENOTFOUND);
	placement_free(p);
}

static void fragmentation_is_the_papers_sum(void **state)
{
	struct frag_demand d;
	frag_init(&d);
	struct frag_node n = { .cpu_free_milli = 8000, .memory_free_mib = 1000, .n = 3, .milli = { 300, 1000, 0 } };
	assert_true(frag_of(&d, &n) == 0);
	frag_observe(&d, &(struct frag_shape){ 4000, 100, 1, 500 }); /* fits; 300 is of no use to it */
	assert_true(frag_of(&d, &n) == 300);
	frag_init(&d);
	frag_observe(&d, &(struct frag_shape){ 9000, 100, 1, 200 }); /* no CPU: all is of no use */
	assert_true(frag_of(&d, &n) == 1300);
	frag_init(&d);
	frag_observe(&d, &(struct frag_shape){ 1000, 100, 2, 1000 }); /* one whole GPU only */
	assert_true(frag_of(&d, &n) == 1300);
	frag_init(&d);
	for (int i = 0; i < 64 * 40; i++) { /* as 5 to 2: by their GPUs */
		frag_observe(&d, &(struct frag_shape){ 4000, 100, 1, 500 });
		frag_observe(&d, &(struct frag_shape){ 9000, 100, 1, 200 });
	}
	assert_float_equal(frag_of(&d, &n), 300 * 5.0 / 7 + 1300 * 2.0 / 7, 2);
	frag_take(&n, &(struct frag_shape){ 4000, 100, 1, 500 }, 1);
	assert_int_equal(n.milli[1], 500);
	assert_int_equal(n.cpu_free_milli, 4000);
}

static void descends_the_fragmentation_gradient(void **state)
{
	/* Two devices with 500 and 700 left, demand of 500 alone: 200 goes where 500 remains, though the other is tighter.
	 */
	struct placement *p = make(2, 1, "H100");
	struct placement_request r = want(1, 500);
	r.only_node = 100 + 1;
	get(p, r);
	r = want(2, 300);
	r.only_node = 101 + 1;
	get(p, r);
	for (int i = 0; i < 64; i++)
		placement_observe(p, &(struct placement_request){ .device_class = -1, .count = 1, .milli = 500 });
	r = want(3, 200);
	r.fit = PLACEMENT_FRAG;
	struct placement_result f = get(p, r);
	assert_int_equal(f.node, 101);
	assert_int_equal(placement_release(p, f.handle, NULL), 0);
	r.fit = PLACEMENT_TIGHT;
	assert_int_equal(get(p, r).node, 100);
	placement_free(p);
}

static void defragmentation_frees_the_cheapest_device(void **state)
{
	struct placement *p = make(1, 4, "H100");
	struct placement_result a = get(p, want(1, 700)), b = get(p, want(2, 600)), c = get(p, want(3, 500)),
							small = get(p, want(4, 200)), tiny = get(p, want(5, 200));
	const struct placement_defrag ask = { .device_class = (size_t)cls("H100"), .facility = -1 };
	struct placement_move move[8];
	assert_int_equal(small.first, a.first);
	assert_int_equal(tiny.first, b.first);
	assert_int_equal(placement_defrag(p, &ask, move, 8), 0); /* 500 goes nowhere */
	assert_int_equal(placement_release(p, b.handle, NULL), 0);
	/* b's device holds 200 now: the emptiest, and c has room. */
	assert_int_equal(placement_defrag(p, &ask, move, 0), 0);
	assert_int_equal(placement_defrag(p, &ask, move, 8), 1);
	assert_int_equal(move[0].from, tiny.first);
	assert_int_equal(move[0].to, c.first);
	assert_int_equal(move[0].milli, 200);
	assert_true(move[0].memory_gib == 16);
	placement_check(p);
	/* It was a proposal: all is where it was. */
	assert_int_equal(placement_state(p, tiny.first), PLACEMENT_SHARED);
	assert_int_equal(placement_parts(p, c.first, NULL, 0), 1);
	assert_int_equal(placement_free_count(p, (size_t)cls("H100")), 1);
	placement_free(p);
}

/* Those with 200 may not move, or not there. */
static bool but_200(void *arg, placement_dev from, const struct placement_part *part, struct placement_request *r)
{
	r->only_node = *(uint32_t *)arg;
	return part->milli != 200 && from != PLACEMENT_NONE;
}

/* Of devices with as much left others are tried where the first may not be cleared. */
static void defragmentation_asks_who_may_move(void **state)
{
	struct placement *p = make(3, 2, "H100");
	uint32_t node = 0;
	struct placement_defrag ask = { (size_t)cls("H100"), 0, but_200, &node };
	struct placement_move move[8];
	struct placement_result got[6];
	for (uint32_t i = 0; i < 6; i++)
		got[i] = get(p, want((int)i + 1, 600));
	for (uint32_t i = 1; i < 6; i++)
		assert_int_equal(placement_release(p, got[i].handle, NULL), 0);
	for (uint32_t i = 1; i < 5; i++) { /* 200 on each of four, and 200 in two parts on one */
		struct placement_request r = want((int)i + 10, i < 4 ? 200 : 120);
		const struct placement_part part = { .owner = r.owner, .milli = (uint16_t)r.milli };
		placement_handle h;
		assert_int_equal(placement_claim_part(p, got[i].first, &part, &h, NULL), 0);
	}
	const struct placement_part last = { .owner = want(20, 80).owner, .milli = 80 };
	placement_handle h;
	assert_int_equal(placement_claim_part(p, got[4].first, &last, &h, NULL), 0);
	assert_int_equal(placement_defrag(p, &ask, move, 8), 2);
	assert_int_equal(move[0].from, got[4].first);
	node = 99 + 1; /* nowhere */
	assert_int_equal(placement_defrag(p, &ask, move, 8), 0);
	node = 0;
	ask.facility = 1; /* there is none */
	assert_int_equal(placement_defrag(p, &ask, move, 8), 0);
	placement_check(p);
	placement_free(p);
}

/* ---- random loads ---- */

struct live {
	placement_handle handle;
	struct placement_request r;
	placement_dev dev[GPUS];
	uint32_t n, node, milli;
	uint8_t mig_start;
};

struct model {
	uint32_t milli[DEVS];
	uint8_t taken[DEVS];
	bool mig[DEVS], fill[DEVS];
	uint32_t cpu[NODES], mem[NODES];
	struct live live[LIVE_MAX];
	uint32_t n;
};

static bool is_part(const struct placement_request *r)
{
	return r->mig || (r->milli && r->milli < 1000);
}

/* Least left over of all places, -1: none fits. For instances: 0 if one fits. */
static int naive(const struct model *m, const struct placement_request *r, bool limited)
{
	int best = -1;
	for (uint32_t n = 0; n < NODES; n++) {
		uint32_t whole = 0;
		if (r->only_node && r->only_node - 1 != 100 + n)
			continue;
		if (limited && (m->cpu[n] < r->cpu_milli || m->mem[n] < r->memory_mib))
			continue;
		for (uint32_t d = n * GPUS; d < (n + 1) * GPUS; d++) {
			bool whole_one = m->milli[d] == 1000 && !(r->cls == WORKLOAD_P4 && m->fill[d]);
			whole += whole_one;
			if (r->mig) {
				if ((whole_one || (m->mig[d] && m->milli[d] < 1000)) && mig_place(m->taken[d], r->mig) >= 0)
					best = 0;
			} else if (is_part(r) && (whole_one || (!m->mig[d] && m->milli[d] < 1000)) && m->milli[d] >= r->milli) {
				int left = (int)(m->milli[d] - r->milli);
				best = best < 0 || left < best ? left : best;
			}
		}
		if (!is_part(r) && whole >= r->count && (best < 0 || (int)(whole - r->count) < best))
			best = (int)(whole - r->count);
	}
	return best;
}

static void book(struct model *m, const struct live *l, int sign, bool limited)
{
	uint32_t n = l->node - 100;
	if (limited) {
		m->cpu[n] -= (uint32_t)sign * l->r.cpu_milli;
		m->mem[n] -= (uint32_t)sign * l->r.memory_mib;
	}
	for (uint32_t k = 0; k < l->n; k++) {
		uint32_t d = l->dev[k];
		assert_true(d / GPUS == n);
		if (l->r.mig) {
			uint8_t cover = mig_cover(l->r.mig, l->mig_start);
			assert_true(sign > 0 ? !(m->taken[d] & cover) : (m->taken[d] & cover) == cover);
			m->taken[d] ^= cover;
			m->milli[d] = m->taken[d] ? 1 : 1000; /* any number that is not whole */
			m->mig[d] = m->taken[d] != 0;
		} else {
			uint32_t milli = is_part(&l->r) ? l->milli : 1000;
			assert_true(sign < 0 || m->milli[d] >= milli);
			m->milli[d] -= (uint32_t)sign * milli;
		}
		if (sign > 0 && m->fill[d])
			m->fill[d] = false;
	}
}

static struct placement_request any_request(struct rng *g, uint64_t n, bool limited)
{
	static const uint32_t milli[] = { 1, 100, 250, 333, 500, 750, 999 };
	struct placement_request r = want(n, 0);
	r.cls = rng_below(g, 4) ? WORKLOAD_P2 : WORKLOAD_P4;
	r.fit = rng_below(g, 2) ? PLACEMENT_TIGHT : PLACEMENT_FRAG;
	switch (rng_below(g, 5)) {
	case 0:
	case 1:
		r.milli = milli[rng_below(g, 7)];
		break;
	case 2:
		r.mig = (enum mig_geometry)(1 + rng_below(g, MIG_END - 1));
		break;
	case 3:
		r.count = r.cls == WORKLOAD_P4 ? 1 : (uint32_t)(1 + rng_below(g, GPUS));
		break;
	default:
		r.count = 0;
		break;
	}
	if (limited || r.count == 0) {
		r.cpu_milli = (uint32_t)rng_below(g, CPU / 3);
		r.memory_mib = (uint32_t)(1 + rng_below(g, MEM / 3));
	} else if (r.count > 1) {
		r.only_node = 0;
	}
	if (rng_below(g, 8) == 0)
		r.only_node = (uint32_t)(100 + rng_below(g, NODES) + 1);
	if (!limited && r.count > 1 && !r.only_node) /* gangs over nodes are the other test's */
		r.count = 1;
	return r;
}

/* What is held is told to a new placement, part by part: it then knows the same, and takes no more than the old. */
static void restart(const struct placement *old, const struct model *m, bool limited)
{
	struct placement *p = make(NODES, GPUS, "H100");
	placement_handle h;
	for (uint32_t n = 0; limited && n < NODES; n++)
		assert_int_equal(placement_set_node(p, 100 + n, CPU, MEM, NULL), 0);
	for (placement_dev d = 0; d < DEVS; d++) {
		struct placement_part part[32], again[32];
		uint32_t n = placement_parts(old, d, part, 32);
		for (uint32_t i = n; i-- > 0;)
			assert_int_equal(placement_claim_part(p, d, &part[i], &h, NULL), 0);
		assert_int_equal(placement_parts(p, d, again, 32), n);
		for (uint32_t i = 0; i < n; i++) {
			assert_memory_equal(&again[i].owner, &part[i].owner, sizeof(part[i].owner));
			assert_int_equal(again[i].mig_start, part[i].mig_start);
			assert_int_equal(again[i].cpu_milli, part[i].cpu_milli);
			if (part[i].mig) /* twice at one place */
				assert_int_equal(placement_claim_part(p, d, &part[i], &h, NULL), HCP_EAGAIN);
		}
	}
	placement_check(p);
	placement_free(p);
	assert_true(m->n <= LIVE_MAX);
}

static void a_claimed_part_must_be_one(void **state)
{
	struct placement *p = make(1, 1, "H100");
	placement_handle h;
	struct placement_part part = { .owner = owner(1), .milli = 600 };
	assert_int_equal(placement_claim_part(p, 5, &part, &h, NULL), HCP_ENOTFOUND);
	assert_int_equal(placement_claim_part(p, 0, &part, &h, NULL), 0);
	assert_int_equal(placement_claim_part(p, 0, &part, &h, NULL), HCP_EAGAIN);
	part.milli = 1000;
	assert_int_equal(placement_claim_part(p, 0, &part, &h, NULL), HCP_ERANGE);
	part.mig = MIG_3G;
	part.milli = 500;
	part.mig_start = 2;
	assert_int_equal(placement_claim_part(p, 0, &part, &h, NULL), HCP_EINVAL);
	part.mig_start = 4;
	assert_int_equal(placement_claim_part(p, 0, &part, &h, NULL), HCP_EAGAIN); /* in thousandths already */
	placement_check(p);
	placement_free(p);
}

static void random_loads_agree_with_the_model(void **state)
{
	for (uint64_t seed = 1; seed <= 8; seed++) {
		bool limited = seed % 2;
		struct rng g;
		struct model *m = mem_calloc(1, sizeof(*m));
		struct placement *p = make(NODES, GPUS, "H100");
		uint32_t got = 0, not = 0;
		rng_init(&g, seed);
		for (uint32_t d = 0; d < DEVS; d++)
			m->milli[d] = 1000;
		for (uint32_t n = 0; n < NODES; n++) {
			m->cpu[n] = CPU;
			m->mem[n] = MEM;
			if (limited)
				assert_int_equal(placement_set_node(p, 100 + n, CPU, MEM, NULL), 0);
		}
		for (int step = 0; step < STEPS; step++) {
			if (m->n == LIVE_MAX || (m->n && rng_below(&g, 100) < 45)) {
				uint32_t k = (uint32_t)rng_below(&g, m->n);
				assert_int_equal(placement_release(p, m->live[k].handle, NULL), 0);
				book(m, &m->live[k], -1, limited);
				m->live[k] = m->live[--m->n];
			} else if (rng_below(&g, 20) == 0) {
				placement_dev d = (placement_dev)rng_below(&g, DEVS);
				bool fill = rng_below(&g, 2);
				int rc = placement_set_fill(p, d, fill, NULL);
				assert_int_equal(rc, m->milli[d] == 1000 ? 0 : HCP_ESTATE);
				if (rc == 0)
					m->fill[d] = fill;
			} else {
				struct live *l = &m->live[m->n];
				struct placement_result res;
				l->r = any_request(&g, (uint64_t)step + 1, limited);
				placement_observe(p, &l->r);
				int best = naive(m, &l->r, limited), rc = placement_reserve(p, &l->r, 100, &res, NULL, NULL);
				assert_int_equal(rc, best < 0 ? HCP_EAGAIN : 0);
				not += rc < 0;
				if (rc < 0)
					continue;
				got++;
				l->handle = res.handle;
				l->node = res.node;
				l->milli = res.milli;
				l->mig_start = res.mig_start;
				l->n = placement_devices(p, res.handle, l->dev, GPUS);
				assert_int_equal(l->n, l->r.count);
				if (l->r.fit == PLACEMENT_TIGHT && is_part(&l->r) && !l->r.mig)
					assert_int_equal((int)m->milli[res.first] - (int)l->r.milli, best);
				book(m, l, 1, limited);
				m->n++;
				if (rng_below(&g, 2))
					assert_int_equal(placement_commit(p, res.handle, NULL), 0);
			}
			if (step % 16 == 0)
				placement_check(p);
		}
		assert_true(got > 1000 && not > 100);
		restart(p, m, limited);
		while (m->n)
			assert_int_equal(placement_release(p, m->live[--m->n].handle, NULL), 0);
		placement_check(p);
		assert_int_equal(placement_free_count(p, (size_t)cls("H100")), DEVS);
		placement_free(p);
		mem_free(m);
	}
}

static void memory_that_ends_changes_nothing(void **state)
{
	for (uint64_t nth = 1; nth < 12; nth++) {
		struct placement *p = make(2, 2, "H100");
		struct placement_result res;
		struct placement_request r = want(1, 300);
		int64_t before = mem_live();
		mem_fail_after(nth, 0);
		int a = placement_set_node(p, 100, 1000, 1000, NULL), b = placement_reserve(p, &r, 100, &res, NULL, NULL);
		mem_fail_after(0, 0);
		assert_true(a == 0 || a == HCP_ENOMEM);
		assert_true(b == 0 || b == HCP_ENOMEM);
		placement_check(p);
		assert_true(mem_live() >= before);
		if (b < 0)
			get(p, r);
		placement_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_has_owners_up_to_its_capacity),
		cmocka_unit_test(a_shared_device_out_of_service_takes_no_more),
		cmocka_unit_test(instances_lie_where_the_maker_lets_them),
		cmocka_unit_test(host_needs_bound_what_fits),
		cmocka_unit_test(fragmentation_is_the_papers_sum),
		cmocka_unit_test(descends_the_fragmentation_gradient),
		cmocka_unit_test(defragmentation_frees_the_cheapest_device),
		cmocka_unit_test(defragmentation_asks_who_may_move),
		cmocka_unit_test(a_claimed_part_must_be_one),
		cmocka_unit_test(random_loads_agree_with_the_model),
		cmocka_unit_test(memory_that_ends_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
