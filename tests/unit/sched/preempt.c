#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/rng.h"
#include "sched/preempt.h"

#define T0 (INT64_C(1700000000) * NS_PER_S)
#define HOUR (3600 * NS_PER_S)

static struct id id_of(uint64_t n)
{
	struct id id = { { 0 } };
	memcpy(id.b, &n, sizeof(n));
	return id;
}

static uint16_t h100(void)
{
	return (uint16_t)device_class_index(device_class_find(STR("H100")));
}

static struct preempt_job job(uint64_t n, enum workload_class cls, uint32_t count, int64_t started_ns)
{
	return (struct preempt_job){ .id = id_of(n),
		.customer = n,
		.cls = cls,
		.priority = 5,
		.device_class = h100(),
		.count = count,
		.started_ns = started_ns,
		.since_ns = started_ns,
		.restart_s = 30,
		.tag = n };
}

static struct preempt *with(const struct preempt_job *jobs, size_t n)
{
	struct preempt *p = preempt_new(NULL);
	assert_non_null(p);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(preempt_add(p, &jobs[i], NULL), 0);
	return p;
}

static int choose(
	struct preempt *p, enum workload_class cls, uint32_t count, uint32_t free, int64_t now_ns, struct preempt_choice *c)
{
	struct placement_room room = { .device_class = h100(), .free = free };
	struct preempt_request r = {
		.id = id_of(999), .customer = 999, .cls = cls, .count = count, .room = &room, .n_room = 1
	};
	return preempt_choose(p, &r, now_ns, c);
}

static void the_cheapest_yields(void **state)
{
	struct preempt_job j[5] = { job(1, WORKLOAD_P2, 1, T0), job(2, WORKLOAD_P3, 1, T0),
		job(3, WORKLOAD_P3, 1, T0 + HOUR), job(4, WORKLOAD_P3, 1, T0), job(5, WORKLOAD_P4, 1, T0) };
	struct preempt_choice c;
	j[3].checkpointable = true;
	struct preempt *p = with(j, 5);
	/* Mining first, then what loses nothing, then what has run least, the better class last. */
	static const uint64_t order[] = { 5, 4, 3, 2, 1 };
	double before = -1;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(choose(p, WORKLOAD_P1, 1, 0, T0 + 3 * HOUR, &c), 0);
		assert_int_equal(c.n, 1);
		assert_int_equal(c.victim[0].tag, order[i]);
		assert_true(c.exact && c.cost_usd > before);
		before = c.cost_usd;
		struct id id = id_of(order[i]);
		assert_int_equal(preempt_remove(p, &id), 0);
		assert_int_equal(preempt_remove(p, &id), HCP_ENOTFOUND);
	}
	assert_int_equal(choose(p, WORKLOAD_P1, 1, 0, T0 + 3 * HOUR, &c), HCP_EAGAIN);
	preempt_free(p);
}

/* An H100 at 2.49 USD an hour: two hours of two devices and 30 s to come back, and the weight of P3 at priority 5. */
static void the_cost_is_what_is_lost(void **state)
{
	struct preempt_job j = job(1, WORKLOAD_P3, 2, T0);
	struct preempt *p = with(&j, 1);
	double usd;
	assert_int_equal(preempt_cost(p, &j.id, T0 + 2 * HOUR, &usd), 0);
	assert_true(fabs(usd - 2 * (2.49 / 3600 * (7200 + 30) + 0.6)) < 1e-6);
	preempt_free(p);
	j.checkpointable = true;
	p = with(&j, 1);
	assert_int_equal(preempt_cost(p, &j.id, T0 + 2 * HOUR, &usd), 0);
	assert_true(fabs(usd - 2 * (2.49 / 3600 * 30 + 0.6)) < 1e-6);
	preempt_free(p);
}

static void classes_time_and_budget_protect(void **state)
{
	struct preempt_job j[3] = { job(1, WORKLOAD_P1, 1, T0), job(2, WORKLOAD_P3, 1, T0), job(3, WORKLOAD_P2, 1, T0) };
	struct preempt_choice c;
	int64_t until_ns;
	j[1].preemptions = 1;
	j[2].preemptions = PREEMPT_BUDGET;
	struct preempt *p = with(j, 3);
	assert_int_equal(preempt_protected(p, &j[1].id, &until_ns), 0);
	assert_true(until_ns == T0 + 2 * PREEMPT_MIN_RUN_P3_S * NS_PER_S); /* doubled by its one preemption */
	assert_true(preempt_next(p) == until_ns);
	assert_int_equal(preempt_protected(p, &j[2].id, &until_ns), 0);
	assert_true(until_ns == INT64_MAX);
	assert_int_equal(choose(p, WORKLOAD_P1, 1, 0, T0 + 2 * PREEMPT_MIN_RUN_P3_S * NS_PER_S - 1, &c), HCP_EAGAIN);
	assert_int_equal(choose(p, WORKLOAD_P3, 1, 0, T0 + HOUR, &c), HCP_EAGAIN); /* its own class */
	assert_int_equal(choose(p, WORKLOAD_P4, 1, 0, T0 + HOUR, &c), HCP_EAGAIN); /* filler takes from nobody */
	assert_int_equal(choose(p, WORKLOAD_P1, 1, 1, T0 + HOUR, &c), HCP_ESTATE); /* fits as it is */
	assert_int_equal(choose(p, WORKLOAD_P1, 0, 1, T0 + HOUR, &c), HCP_EINVAL);
	assert_int_equal(choose(p, WORKLOAD_P2, 1, 0, T0 + HOUR, &c), 0);
	assert_int_equal(c.victim[0].tag, 2);
	/* A clock that was set back protects again. */
	assert_int_equal(choose(p, WORKLOAD_P2, 1, 0, T0, &c), HCP_EAGAIN);
	preempt_free(p);
}

static void who_preempted_it_is_spared(void **state)
{
	struct preempt_job j = job(1, WORKLOAD_P3, 1, T0);
	struct preempt *p = with(&j, 1);
	struct placement_room room = { .device_class = h100() };
	struct preempt_request r = {
		.id = id_of(9), .spared = id_of(1), .cls = WORKLOAD_P2, .count = 1, .room = &room, .n_room = 1
	};
	struct preempt_choice c;
	assert_int_equal(preempt_choose(p, &r, T0 + HOUR, &c), HCP_EAGAIN);
	r.spared = id_of(2);
	assert_int_equal(preempt_choose(p, &r, T0 + HOUR, &c), 0);
	r.id = id_of(1); /* nor does a job yield to itself */
	assert_int_equal(preempt_choose(p, &r, T0 + HOUR, &c), HCP_EAGAIN);
	preempt_free(p);
}

static void gangs_yield_whole_and_in_one_place(void **state)
{
	struct preempt_job j[4] = { job(1, WORKLOAD_P3, 3, T0), job(2, WORKLOAD_P3, 3, T0), job(3, WORKLOAD_P3, 8, T0),
		job(4, WORKLOAD_P3, 4, T0) };
	struct preempt_choice c;
	j[3].facility = 1;
	struct preempt *p = with(j, 4);
	/* Six of eight: two gangs of three, not the gang of eight. */
	assert_int_equal(choose(p, WORKLOAD_P1, 8, 2, T0 + HOUR, &c), 0);
	assert_int_equal(c.n, 2);
	assert_int_equal(c.freed, 6);
	/* The other facility is cheaper: one gang of four for two devices beats three in the first. */
	struct placement_room room[2] = { { h100(), 0, 2 }, { h100(), 1, 4 } };
	struct preempt_request r = { .id = id_of(9), .cls = WORKLOAD_P1, .count = 8, .room = room, .n_room = 2 };
	assert_int_equal(preempt_choose(p, &r, T0 + HOUR, &c), 0);
	assert_int_equal(c.room, 1);
	assert_int_equal(c.victim[0].tag, 4);
	preempt_free(p);
}

/* Customer 1 is over its share until it has given back three devices, customer 2 is not. */
static bool over(void *arg, uint64_t customer, uint16_t device_class, uint32_t less)
{
	return customer == 1 && less < 3;
}

static void borrowed_capacity_is_reclaimed(void **state)
{
	struct preempt_job j[4] = { job(1, WORKLOAD_P3, 2, T0), job(2, WORKLOAD_P3, 2, T0), job(3, WORKLOAD_P3, 2, T0),
		job(4, WORKLOAD_P3, 2, T0 + HOUR) };
	struct preempt_choice c;
	j[0].customer = j[1].customer = j[2].customer = 1;
	j[3].customer = 2;
	struct preempt *p = with(j, 4);
	struct placement_room room = { .device_class = h100() };
	struct preempt_request r = {
		.id = id_of(9), .customer = 3, .cls = WORKLOAD_P3, .count = 4, .room = &room, .n_room = 1, .over = over
	};
	assert_int_equal(preempt_choose(p, &r, T0 + 3 * HOUR, &c), 0);
	assert_int_equal(c.n, 2);
	assert_true(c.victim[0].tag != 4 && c.victim[1].tag != 4);
	r.count = 6; /* after two of its gangs customer 1 is within its share again */
	assert_int_equal(preempt_choose(p, &r, T0 + 3 * HOUR, &c), HCP_EAGAIN);
	r.count = 2;
	r.customer = 1; /* nobody reclaims from himself */
	assert_int_equal(preempt_choose(p, &r, T0 + 3 * HOUR, &c), HCP_EAGAIN);
	preempt_free(p);
}

static void the_time_that_protects_can_be_set(void **state)
{
	struct preempt *p = preempt_new(NULL);
	struct preempt_job a = job(1, WORKLOAD_P2, 1, T0), b = job(2, WORKLOAD_P3, 1, T0);
	struct preempt_choice c;
	preempt_set_min_run(p, 7 * NS_PER_S, 5 * NS_PER_S);
	b.preemptions = 1;
	assert_int_equal(preempt_add(p, &a, NULL), 0);
	assert_int_equal(preempt_add(p, &b, NULL), 0);
	assert_int_equal(choose(p, WORKLOAD_P1, 1, 0, T0 + 7 * NS_PER_S, &c), 0);
	assert_int_equal(c.victim[0].tag, 1);
	assert_int_equal(choose(p, WORKLOAD_P1, 2, 0, T0 + 10 * NS_PER_S - 1, &c), HCP_EAGAIN);
	assert_int_equal(choose(p, WORKLOAD_P1, 2, 0, T0 + 10 * NS_PER_S, &c), 0);
	preempt_free(p);
}

static bool even(void *arg, uint64_t tag)
{
	return tag % 2 == 0;
}

static void only_victims_that_help_yield(void **state)
{
	struct preempt_job j[3] = { job(1, WORKLOAD_P4, 1, T0), job(2, WORKLOAD_P3, 1, T0), job(3, WORKLOAD_P4, 1, T0) };
	struct preempt_choice c;
	struct preempt *p = with(j, 3);
	struct placement_room room = { .device_class = h100() };
	struct preempt_request r = {
		.id = id_of(9), .customer = 3, .cls = WORKLOAD_P1, .count = 1, .room = &room, .n_room = 1, .helps = even
	};
	assert_int_equal(preempt_choose(p, &r, T0 + HOUR, &c), 0);
	assert_true(c.n == 1 && c.victim[0].tag == 2);
	r.count = 2;
	assert_int_equal(preempt_choose(p, &r, T0 + HOUR, &c), HCP_EAGAIN);
	preempt_free(p);
}

static void bad_jobs_name_the_field(void **state)
{
	struct preempt *p = preempt_new(NULL);
	struct preempt_job j;
	struct err err;
#define BREAK(change, name)                                                                                            \
	do {                                                                                                               \
		j = job(1, WORKLOAD_P3, 1, T0);                                                                                \
		change;                                                                                                        \
		assert_true(preempt_add(p, &j, &err) < 0);                                                                     \
		assert_string_equal(err.field, name);                                                                          \
	} while (0)
	BREAK(j.id = id_of(0), "id");
	BREAK(j.cls = WORKLOAD_CLASS_END, "class");
	BREAK(j.priority = 11, "priority");
	BREAK(j.device_class = 1000, "device_class");
	BREAK(j.count = 0, "count");
	BREAK(j.started_ns = -1, "started");
	BREAK(j.restart_s = NAN, "restart");
#undef BREAK
	j = job(1, WORKLOAD_P3, 1, T0);
	assert_int_equal(preempt_add(p, &j, NULL), 0);
	assert_int_equal(preempt_add(p, &j, &err), HCP_EEXIST);
	assert_int_equal(preempt_len(p), 1);
	preempt_free(p);
}

/* ---- random sets of candidates against every subset ---- */

static double least_of_all(const struct preempt_job *j, const double *cost, int n, uint32_t missing)
{
	double least = INFINITY;
	for (unsigned m = 0; m < 1U << n; m++) {
		uint32_t freed = 0;
		double sum = 0;
		for (int i = 0; i < n; i++)
			if (m >> i & 1) {
				freed += j[i].count;
				sum += cost[i];
			}
		if (freed >= missing && sum < least)
			least = sum;
	}
	return least;
}

static void the_least_cost_of_every_subset(void **state)
{
	struct rng rng;
	rng_init(&rng, 11);
	for (int round = 0; round < 4000; round++) {
		struct preempt_job j[10];
		double cost[10];
		struct preempt_choice c;
		int n = 1 + (int)rng_below(&rng, 10);
		/* Every third round so large that the greedy choice decides. */
		uint32_t most = round % 3 ? 8 : 64, total = 0;
		for (int i = 0; i < n; i++) {
			j[i] = job((uint64_t)i + 1, (enum workload_class)(WORKLOAD_P2 + rng_below(&rng, 3)),
				1 + (uint32_t)rng_below(&rng, most), T0 + (int64_t)rng_below(&rng, 8) * HOUR);
			j[i].priority = 1 + (int)rng_below(&rng, 10);
			j[i].checkpointable = rng_below(&rng, 2);
			total += j[i].count;
		}
		struct preempt *p = with(j, (size_t)n);
		uint32_t missing = 1 + (uint32_t)rng_below(&rng, total);
		for (int i = 0; i < n; i++)
			assert_int_equal(preempt_cost(p, &j[i].id, T0 + 9 * HOUR, &cost[i]), 0);
		double least = least_of_all(j, cost, n, missing);
		assert_int_equal(choose(p, WORKLOAD_P1, missing + 3, 3, T0 + 9 * HOUR, &c), 0);
		assert_true(c.freed >= missing);
		assert_true(c.cost_usd <= 2 * least + 1e-9);
		if (c.exact)
			assert_true(c.cost_usd <= least + 1e-9);
		assert_true(c.exact == (missing <= PREEMPT_EXACT));
		for (size_t i = 0; i < c.n; i++) {
			assert_true(c.freed - c.victim[i].count < missing); /* nobody could be left out */
			assert_int_equal(j[c.victim[i].tag - 1].count, c.victim[i].count);
		}
		preempt_free(p);
	}
}

/* ---- a little cell under random loads: thousands of preemptions, and it always comes to rest ---- */

enum { JOBS = 48, CUSTOMERS = 4, DEVICES = 24 };

struct cell {
	struct rng rng;
	struct preempt *p;
	int64_t now_ns;
	struct mine {
		struct preempt_job j;
		bool here, runs;
		uint64_t by; /* who preempted it last */
	} job[JOBS];
	uint32_t used, of[CUSTOMERS];
	uint64_t preemptions, reclaims;
};

static bool is_over(void *arg, uint64_t customer, uint16_t device_class, uint32_t less)
{
	const struct cell *c = arg;
	return c->of[customer] > less && c->of[customer] - less > DEVICES / CUSTOMERS;
}

static void stop(struct cell *c, struct mine *m)
{
	assert_true(m->runs);
	assert_int_equal(preempt_remove(c->p, &m->j.id), 0);
	m->runs = false;
	c->used -= m->j.count;
	c->of[m->j.customer] -= m->j.count;
}

static void start(struct cell *c, struct mine *m)
{
	assert_true(c->used + m->j.count <= DEVICES);
	m->j.started_ns = m->j.since_ns = c->now_ns;
	m->runs = true;
	c->used += m->j.count;
	c->of[m->j.customer] += m->j.count;
	assert_int_equal(preempt_add(c->p, &m->j, NULL), 0);
}

/* Every rule, seen from outside. */
static void check_choice(struct cell *c, const struct mine *m, const struct preempt_choice *ch)
{
	uint32_t missing = m->j.count - (DEVICES - c->used), given[CUSTOMERS] = { 0 };
	for (size_t i = 0; i < ch->n; i++) {
		const struct mine *v = &c->job[ch->victim[i].tag];
		int64_t min_run_s = v->j.cls == WORKLOAD_P2 ? PREEMPT_MIN_RUN_P2_S : PREEMPT_MIN_RUN_P3_S;
		assert_true(v->runs && v != m);
		assert_true(v->j.tag + 1 != m->by); /* never one's own preemptor */
		assert_true(v->j.cls != WORKLOAD_P1 && v->j.cls >= m->j.cls);
		assert_true(ch->freed - v->j.count < missing);
		if (v->j.cls != WORKLOAD_P4) {
			assert_true(v->j.preemptions < PREEMPT_BUDGET);
			assert_true(c->now_ns - v->j.started_ns >= (min_run_s * NS_PER_S) << v->j.preemptions);
		}
		if (v->j.cls == m->j.cls) {
			assert_true(is_over(c, v->j.customer, 0, given[v->j.customer]) && v->j.customer != m->j.customer);
			assert_true(c->of[m->j.customer] + m->j.count <= DEVICES / CUSTOMERS);
			c->reclaims++;
		}
		given[v->j.customer] += v->j.count;
	}
}

/* Everyone who waits tries once, best class first. True if anything changed. */
static bool look(struct cell *c)
{
	bool changed = false;
	for (int cls = WORKLOAD_P1; cls < WORKLOAD_CLASS_END; cls++)
		for (int i = 0; i < JOBS; i++) {
			struct mine *m = &c->job[i];
			struct preempt_choice ch;
			struct placement_room room = { .device_class = h100(), .free = DEVICES - c->used };
			struct preempt_request r = { .id = m->j.id,
				.spared = id_of(m->by),
				.customer = m->j.customer,
				.cls = m->j.cls,
				.count = m->j.count,
				.room = &room,
				.n_room = 1,
				.arg = c };
			if (!m->here || m->runs || (int)m->j.cls != cls)
				continue;
			if (c->of[m->j.customer] + m->j.count <= DEVICES / CUSTOMERS)
				r.over = is_over;
			int rc = room.free >= m->j.count ? HCP_ESTATE : preempt_choose(c->p, &r, c->now_ns, &ch);
			if (rc == HCP_EAGAIN)
				continue;
			if (rc == 0)
				check_choice(c, m, &ch);
			for (size_t k = 0; rc == 0 && k < ch.n; k++) {
				struct mine *v = &c->job[ch.victim[k].tag];
				stop(c, v);
				v->j.preemptions++;
				v->by = (uint64_t)i + 1;
				c->preemptions++;
			}
			start(c, m);
			changed = true;
		}
	return changed;
}

static void come_or_go(struct cell *c)
{
	struct mine *m = &c->job[rng_below(&c->rng, JOBS)];
	if (m->runs && rng_below(&c->rng, 3) == 0)
		stop(c, m);
	else if (m->here)
		return;
	m->here = !m->here;
	if (!m->here)
		return;
	uint64_t n = (uint64_t)(m - c->job);
	m->j = job(n + 1, (enum workload_class)(1 + rng_below(&c->rng, 4)), 1 + (uint32_t)rng_below(&c->rng, 6), c->now_ns);
	m->j.customer = rng_below(&c->rng, CUSTOMERS);
	m->j.priority = 1 + (int)rng_below(&c->rng, 10);
	m->j.checkpointable = rng_below(&c->rng, 2);
	m->j.tag = n;
	m->by = 0;
}

static void random_loads_come_to_rest(void **state)
{
	uint64_t preemptions = 0, reclaims = 0;
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct cell c = { .now_ns = T0 };
		rng_init(&c.rng, seed);
		c.p = preempt_new(NULL);
		for (int step = 0; step < 120; step++) {
			c.now_ns += (int64_t)(rng_exp(&c.rng) * 300e9);
			come_or_go(&c);
			(void)look(&c);
		}
		/*
		 * Nothing comes and nothing ends any more, and hours pass at each look: it comes to rest after no more looks
		 * than the budget of all jobs allows, and a P4 is only ever stopped by one of them.
		 */
		int looks = 0;
		uint64_t before = c.preemptions;
		for (int quiet = 0; quiet < 3; looks++) {
			c.now_ns += 3 * HOUR;
			quiet = look(&c) ? 0 : quiet + 1;
			assert_true(looks < JOBS * (PREEMPT_BUDGET + 1));
		}
		assert_true(c.preemptions - before <= JOBS * PREEMPT_BUDGET * DEVICES);
		preemptions += c.preemptions;
		reclaims += c.reclaims;
		preempt_free(c.p);
	}
	assert_true(preemptions > 3000 && reclaims > 200);
}

static void memory_may_run_out(void **state)
{
	for (uint64_t nth = 1; nth < 40; nth++) {
		struct preempt_choice c;
		struct preempt_job j = job(1, WORKLOAD_P3, 1, T0);
		mem_fail_after(nth, 0);
		struct preempt *p = preempt_new(NULL);
		int rc = p ? preempt_add(p, &j, NULL) : HCP_ENOMEM;
		int got = rc == 0 ? choose(p, WORKLOAD_P1, 1, 0, T0 + HOUR, &c) : HCP_ENOMEM;
		mem_fail_after(0, 0);
		assert_true(got == 0 || got == HCP_ENOMEM);
		if (rc == 0) {
			assert_int_equal(choose(p, WORKLOAD_P1, 1, 0, T0 + HOUR, &c), 0);
		} else if (p) {
			assert_int_equal(preempt_len(p), 0);
		}
		preempt_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_cheapest_yields),
		cmocka_unit_test(the_cost_is_what_is_lost),
		cmocka_unit_test(the_time_that_protects_can_be_set),
		cmocka_unit_test(only_victims_that_help_yield),
		cmocka_unit_test(classes_time_and_budget_protect),
		cmocka_unit_test(who_preempted_it_is_spared),
		cmocka_unit_test(gangs_yield_whole_and_in_one_place),
		cmocka_unit_test(borrowed_capacity_is_reclaimed),
		cmocka_unit_test(bad_jobs_name_the_field),
		cmocka_unit_test(the_least_cost_of_every_subset),
		cmocka_unit_test(random_loads_come_to_rest),
		cmocka_unit_test(memory_may_run_out),
	};
	return cmocka_run_group_tests_name("preempt", tests, NULL, NULL);
}
