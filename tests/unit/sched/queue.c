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
#include "sched/queue.h"

#define T0 (INT64_C(1700000000) * NS_PER_S)

static struct queue *make(void)
{
	struct queue_conf conf = { .capacity = { 100, 1000, 1000, 100000 } };
	struct queue *q = queue_new(&conf, NULL);
	assert_non_null(q);
	return q;
}

static struct queue_job job(uint64_t n, uint64_t customer, enum workload_class cls, int64_t at_ns)
{
	struct queue_job j = { .customer = customer, .cls = cls, .priority = 5, .enqueued_ns = at_ns,
		.need = { 1, 8, 10, 700 }, .tag = n };
	n++;
	memcpy(j.id.b, &n, sizeof(n));
	return j;
}

static void classes_then_due_time(void **state)
{
	struct queue *q = make();
	struct queue_job j[4] = { job(0, 1, WORKLOAD_P3, T0), job(1, 1, WORKLOAD_P2, T0), job(2, 1, WORKLOAD_P2, T0),
		job(3, 1, WORKLOAD_P1, T0) }, got;
	j[2].deadline_ns = T0 + 60 * NS_PER_S;
	j[2].duration_ns = 50 * NS_PER_S;
	for (int i = 0; i < 4; i++)
		assert_int_equal(queue_enqueue(q, &j[i], NULL), 0);
	assert_int_equal(queue_enqueue(q, &j[0], NULL), HCP_EEXIST);
	struct queue_explain e;
	assert_int_equal(queue_explain(q, &j[1].id, T0 + 5, &e), 0);
	assert_int_equal(e.ahead_own, 1);
	assert_int_equal(e.ahead_classes, 1);
	assert_int_equal(e.position, 2);
	assert_int_equal(e.waited_ns, 5);
	assert_int_equal(e.eta_ns, -1);
	static const uint64_t order[] = { 3, 2, 1, 0 };
	for (int i = 0; i < 4; i++) {
		assert_int_equal(queue_pop(q, T0 + i * 1000, NULL, NULL, &got), 0);
		assert_int_equal(got.tag, order[i]);
	}
	assert_int_equal(queue_pop(q, T0, NULL, NULL, &got), HCP_EAGAIN);
	assert_int_equal(queue_cancel(q, &j[0].id), HCP_ENOTFOUND);
	enum queue_resource r;
	assert_true(queue_share(q, 1, &r) == 0.04); /* 4 of 100 devices; memory 40/1000 ties later, power 2.8 % */
	assert_int_equal(r, QUEUE_GPU);
	for (int i = 0; i < 4; i++)
		queue_uncharge(q, &j[i]);
	assert_true(queue_share(q, 1, NULL) == 0);
	queue_free(q);
}

static void bad_jobs_name_the_field(void **state)
{
	struct queue *q = make();
	struct err err;
	struct queue_job j = job(1, 1, WORKLOAD_P2, T0);
#define BREAK(change, field_name) \
	do { \
		j = job(1, 1, WORKLOAD_P2, T0); \
		change; \
		assert_true(queue_enqueue(q, &j, &err) < 0); \
		assert_string_equal(err.field, field_name); \
	} while (0)
	BREAK(j.priority = 0, "priority");
	BREAK(j.cls = 0, "class");
	BREAK(memset(&j.id, 0, sizeof(j.id)), "id");
	BREAK(j.need[2] = -1, "need");
	BREAK(j.need[2] = 0.0 / 0.0, "need");
	BREAK(j.enqueued_ns = INT64_MAX, "enqueued");
	BREAK(j.deadline_ns = -1, "deadline");
#undef BREAK
	assert_int_equal(queue_len(q), 0);
	queue_free(q);
}

/* Two equal customers, one floods: both get the same number of devices; with weight 3, three times as many. */
static void shares_follow_weights(void **state)
{
	for (int weight = 1; weight <= 3; weight += 2) {
		struct queue *q = make();
		assert_int_equal(queue_set_weight(q, 2, weight, NULL), 0);
		for (uint64_t i = 0; i < 2000; i++) {
			struct queue_job j = job(i, i < 1800 ? 1 : 2, WORKLOAD_P2, T0);
			assert_int_equal(queue_enqueue(q, &j, NULL), 0);
		}
		int got[3] = { 0 };
		struct queue_job j;
		for (int i = 0; i < 100; i++) {
			assert_int_equal(queue_pop(q, T0 + i, NULL, NULL, &j), 0);
			got[j.customer]++;
		}
		assert_in_range(got[2], 100 * weight / (weight + 1) - 1, 100 * weight / (weight + 1) + 1);
		queue_free(q);
	}
}

/* Dominant resources (Ghodsi et al. 2011, figure 3): 9 CPU, 18 GB; A needs <1,4>, B <3,1>: A runs 3, B runs 2. */
struct room {
	double left[QUEUE_RESOURCE_END];
};

static bool fits_room(void *arg, const struct queue_job *j, const struct queue_job *hold)
{
	const struct room *room = arg;
	for (int i = 0; i < QUEUE_RESOURCE_END; i++) {
		if (j->need[i] > room->left[i])
			return false;
	}
	return hold == NULL || j->need[QUEUE_GPU] == 0;
}

static void dominant_resource_fairness_as_published(void **state)
{
	struct queue_conf conf = { .capacity = { 1, 9, 18, 1 } };
	struct queue *q = queue_new(&conf, NULL);
	for (uint64_t i = 0; i < 20; i++) {
		struct queue_job j = job(i, i % 2, WORKLOAD_P2, T0);
		j.need[QUEUE_GPU] = j.need[QUEUE_POWER] = 0;
		j.need[QUEUE_CPU] = i % 2 ? 3 : 1;
		j.need[QUEUE_MEMORY] = i % 2 ? 1 : 4;
		assert_int_equal(queue_enqueue(q, &j, NULL), 0);
	}
	struct room room = { .left = { 1, 9, 18, 1 } };
	int got[2] = { 0 };
	struct queue_job j;
	while (queue_pop(q, T0, fits_room, &room, &j) == 0) {
		got[j.customer]++;
		for (int i = 0; i < QUEUE_RESOURCE_END; i++)
			room.left[i] -= j.need[i];
	}
	assert_int_equal(got[0], 3);
	assert_int_equal(got[1], 2);
	queue_free(q);
}

/*
 * Random load on 8 devices for simulated hours: nothing is lost or run twice, and while work of the better class floods
 * in, training and the 8-device gangs still get their turn.
 */
static void random_load_loses_and_starves_nothing(void **state)
{
	enum { N = 6000, DEVICES = 8 };
	static uint8_t seen[N];
	static struct { int64_t end_ns; struct queue_job j; } run[DEVICES];
	for (uint64_t seed = 1; seed <= 3; seed++) {
		int64_t live = mem_live();
		struct queue *q = make();
		struct rng rng;
		rng_init(&rng, seed);
		memset(seen, 0, sizeof(seen));
		size_t n_run = 0, next = 0, done = 0, cancelled = 0;
		int64_t now = T0, worst_wait[WORKLOAD_CLASS_END] = { 0 };
		struct room room = { .left = { DEVICES, 1e9, 1e9, 1e9 } };
		while (done + cancelled < N) {
			now += (int64_t)(1 + rng_below(&rng, 2)) * NS_PER_S;
			for (int k = 0; k < 2 && next < N; k++, next++) {
				/* Two P2 devices a second arrive for eight that take four to nine seconds each: always too much. */
				bool gang = next % 50 == 49;
				struct queue_job j = job(next, rng_below(&rng, 5), gang ? WORKLOAD_P3 : WORKLOAD_P2, now);
				j.priority = 1 + (int)rng_below(&rng, 10);
				j.project = rng_below(&rng, 3);
				j.need[QUEUE_GPU] = gang ? DEVICES : 1;
				assert_int_equal(queue_enqueue(q, &j, NULL), 0);
				if (rng_below(&rng, 20) == 0) {
					assert_int_equal(queue_cancel(q, &j.id), 0);
					assert_int_equal(seen[next]++, 0);
					cancelled++;
				}
			}
			for (size_t i = 0; i < n_run;) {
				if (run[i].end_ns > now) {
					i++;
					continue;
				}
				queue_uncharge(q, &run[i].j);
				room.left[QUEUE_GPU] += run[i].j.need[QUEUE_GPU];
				run[i] = run[--n_run];
				done++;
			}
			struct queue_job j;
			while (queue_pop(q, now, fits_room, &room, &j) == 0) {
				assert_int_equal(seen[j.tag]++, 0);
				room.left[QUEUE_GPU] -= j.need[QUEUE_GPU];
				assert_true(room.left[QUEUE_GPU] >= 0);
				if (next < N && now - j.enqueued_ns > worst_wait[j.cls])
					worst_wait[j.cls] = now - j.enqueued_ns;
				run[n_run].j = j;
				run[n_run++].end_ns = now + (int64_t)(4 + rng_below(&rng, 6)) * NS_PER_S;
			}
		}
		for (size_t i = 0; i < N; i++)
			assert_int_equal(seen[i], 1);
		assert_int_equal(queue_len(q), 0);
		/* Gangs ran while the flood of P2 went on, although P2 alone would have filled every device. */
		assert_true(worst_wait[WORKLOAD_P3] > 0);
		assert_true(worst_wait[WORKLOAD_P3] < 6 * 3600 * NS_PER_S);
		queue_free(q);
		assert_int_equal(mem_live(), live);
	}
}

/* Between customers by their weights, and of each by the weights of its projects. */
static void projects_share_what_their_customer_gets(void **state)
{
	struct queue *q = make();
	int got[3][3] = { { 0 } };
	struct queue_job j;
	assert_int_equal(queue_set_project_weight(q, 1, 2, 3, NULL), 0);
	assert_int_equal(queue_set_project_weight(q, 1, 2, 0, NULL), HCP_ERANGE);
	for (uint64_t i = 0; i < 600; i++) {
		j = job(i, 1 + i % 2, WORKLOAD_P2, T0);
		j.project = j.customer == 1 ? 1 + i / 2 % 2 : 0;
		assert_int_equal(queue_enqueue(q, &j, NULL), 0);
	}
	for (int i = 0; i < 160; i++) {
		assert_int_equal(queue_pop(q, T0 + i, NULL, NULL, &j), 0);
		got[j.customer][j.project]++;
	}
	assert_in_range(got[1][1] + got[1][2], 79, 81);
	assert_in_range(got[1][2], 59, 61);
	struct queue_explain e;
	j = job(598, 1, WORKLOAD_P2, T0);
	assert_int_equal(queue_explain(q, &j.id, T0, &e), 0);
	assert_in_range(
		e.position, 230, 245); /* 89 of its own, a third as many of the other project, as many of the other customer */
	queue_free(q);
}

/* A customer at its limit hides nobody, neither by its turn nor by being overdue, and goes on when it gives back. */
static void limits_bind_and_hide_nobody(void **state)
{
	struct queue *q = make();
	const double limit[QUEUE_RESOURCE_END] = { 2, HUGE_VAL, HUGE_VAL, HUGE_VAL }, bad[QUEUE_RESOURCE_END] = { -1 };
	struct queue_job j, first[2];
	assert_int_equal(queue_set_limit(q, 1, limit, NULL), 0);
	assert_int_equal(queue_set_limit(q, 1, bad, NULL), HCP_ERANGE);
	for (uint64_t i = 0; i < 300; i++) {
		j = job(i, i < 200 ? 1 : 2, WORKLOAD_P2, i < 200 ? T0 : T0 + NS_PER_S);
		if (i == 2)
			j.need[QUEUE_GPU] = 3; /* more than it ever may */
		assert_int_equal(queue_enqueue(q, &j, NULL), 0);
	}
	int64_t now = T0 + 3600 * NS_PER_S; /* all are overdue, the limited ones longest */
	int got[3] = { 0 };
	for (int i = 0; i < 40; i++) {
		assert_int_equal(queue_pop(q, now + i, NULL, NULL, &j), 0);
		if (j.customer == 1)
			first[got[1]] = j;
		assert_in_range(++got[j.customer], 1, j.customer == 1 ? 2 : 40);
	}
	assert_int_equal(got[1], 2);
	struct queue_explain e;
	struct id id = job(3, 1, WORKLOAD_P2, T0).id;
	assert_int_equal(queue_explain(q, &id, now, &e), 0);
	assert_true(e.limited && e.eta_ns == -1);
	queue_uncharge(q, &first[0]);
	assert_int_equal(queue_explain(q, &id, now, &e), 0);
	assert_false(e.limited);
	for (got[1] = 0; got[1] == 0;) {
		assert_int_equal(queue_pop(q, now, NULL, NULL, &j), 0);
		got[j.customer]++;
	}
	assert_true(j.need[QUEUE_GPU] == 1);
	queue_free(q);
}

/* Two of weights 1 and 3 on 100 devices: beyond 25 and 75 they borrow. Who neither waits nor runs counts for nothing.
 */
static void fair_shares_are_those_of_the_active(void **state)
{
	struct queue *q = make();
	struct queue_job a[30], j;
	const double give[QUEUE_RESOURCE_END] = { -5, -40, -50, -3500 }, none[QUEUE_RESOURCE_END] = { 0 },
				 more[QUEUE_RESOURCE_END] = { 75 };
	assert_true(isinf(queue_fair_share(q)));
	assert_int_equal(queue_set_weight(q, 2, 3, NULL), 0);
	assert_true(isinf(queue_fair_share(q)));
	for (uint64_t i = 0; i < 30; i++) {
		a[i] = job(i, 1, WORKLOAD_P2, T0);
		assert_int_equal(queue_enqueue(q, &a[i], NULL), 0);
		assert_int_equal(queue_pop(q, T0, NULL, NULL, &j), 0);
	}
	assert_true(queue_fair_share(q) == 1); /* alone */
	j = job(100, 2, WORKLOAD_P2, T0);
	assert_int_equal(queue_enqueue(q, &j, NULL), 0);
	assert_true(queue_fair_share(q) == 0.25);
	assert_true(queue_share_with(q, 1, none) > 0.25 && queue_share_with(q, 1, give) == 0.25);
	assert_true(queue_share_with(q, 2, more) == 0.25);
	assert_int_equal(queue_set_weight(q, 2, 1, NULL), 0);
	assert_true(queue_fair_share(q) == 0.5);
	assert_int_equal(queue_cancel(q, &j.id), 0);
	assert_true(queue_fair_share(q) == 1);
	for (int i = 0; i < 30; i++)
		queue_uncharge(q, &a[i]);
	assert_true(isinf(queue_fair_share(q)));
	queue_free(q);
}

struct picky {
	uint64_t fits; /* the only tag that does */
	size_t offered;
};

static bool only_one_fits(void *arg, const struct queue_job *j, const struct queue_job *hold)
{
	struct picky *p = arg;
	p->offered++;
	return j->tag == p->fits;
}

/* Jobs that do not fit, all before one that does: of one customer, or of so many that a pick does not get to it. */
static void nobody_is_hidden_behind_what_does_not_fit(void **state)
{
	enum { JOBS = 1000, LOOKS = JOBS / QUEUE_TURN_MAX + 1, OFFERS = QUEUE_SCAN_MAX + QUEUE_TURN_MAX };
	for (uint64_t customers = 1; customers <= 100; customers *= 100) {
		struct queue *q = make();
		struct picky p = { .fits = JOBS };
		struct queue_job j, got;
		for (uint64_t i = 0; i < JOBS; i++) {
			j = job(i, i % customers, WORKLOAD_P2, T0 + (int64_t)i);
			assert_int_equal(queue_enqueue(q, &j, NULL), 0);
		}
		int looks = 0;
		for (; queue_same_until(q) == INT64_MIN; looks++) {
			p.offered = 0;
			assert_int_equal(queue_pop(q, T0 + JOBS, only_one_fits, &p, &got), HCP_EAGAIN);
			assert_true(p.offered <= OFFERS);
		}
		assert_true(looks <= LOOKS); /* all were offered: another look is of no use */
		p.offered = 0;
		j = job(JOBS, 0, WORKLOAD_P2, T0 + JOBS);
		assert_int_equal(queue_enqueue(q, &j, NULL), 0);
		int rc = HCP_EAGAIN;
		for (looks = 0; rc == HCP_EAGAIN; looks++)
			rc = queue_pop(q, T0 + JOBS, only_one_fits, &p, &got);
		assert_true(rc == 0 && got.tag == JOBS && looks <= LOOKS);
		/* One that waits in the middle comes to fit by the caller's doing; others go meanwhile. */
		queue_changed(q);
		p.fits = 500;
		for (looks = 0, rc = HCP_EAGAIN; rc == HCP_EAGAIN; looks++) {
			struct queue_job gone = job(501 + (uint64_t)looks * 3, 0, WORKLOAD_P2, T0);
			(void)!queue_cancel(q, &gone.id);
			rc = queue_pop(q, T0 + JOBS, only_one_fits, &p, &got);
		}
		assert_true(rc == 0 && got.tag == 500 && looks <= LOOKS);
		queue_free(q);
	}
}

static void survives_every_failed_allocation(void **state)
{
	for (uint64_t n = 1; n < 120; n++) {
		int64_t live = mem_live();
		struct queue *q = make();
		mem_fail_after(n, 0);
		size_t in = 0;
		for (uint64_t i = 0; i < 20; i++) {
			struct queue_job j = job(i, i % 3, WORKLOAD_P2, T0);
			j.project = i % 4;
			int r = queue_enqueue(q, &j, NULL);
			assert_true(r == 0 || r == HCP_ENOMEM);
			in += r == 0;
		}
		mem_fail_after(0, 0);
		assert_int_equal(queue_len(q), in);
		struct queue_job j;
		for (size_t i = 0; i < in; i++)
			assert_int_equal(queue_pop(q, T0, NULL, NULL, &j), 0);
		queue_free(q);
		assert_int_equal(mem_live(), live);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classes_then_due_time),
		cmocka_unit_test(bad_jobs_name_the_field),
		cmocka_unit_test(shares_follow_weights),
		cmocka_unit_test(dominant_resource_fairness_as_published),
		cmocka_unit_test(random_load_loses_and_starves_nothing),
		cmocka_unit_test(projects_share_what_their_customer_gets),
		cmocka_unit_test(limits_bind_and_hide_nobody),
		cmocka_unit_test(fair_shares_are_those_of_the_active),
		cmocka_unit_test(nobody_is_hidden_behind_what_does_not_fit),
		cmocka_unit_test(survives_every_failed_allocation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
