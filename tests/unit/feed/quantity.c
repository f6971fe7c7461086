#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/money.h"
#include "feed/kind.h"
#include "feed/quantity.h"

#define HOUR_NS (3600 * NS_PER_S)
#define NOW (INT64_C(1700000000) * NS_PER_S / HOUR_NS * HOUR_NS)

struct rig {
	struct feed_source_conf a, b;
	struct feed_quantity *q;
	struct feed_member *ma, *mb;
	struct err err;
};

static struct feed_source_conf conf(const char *name, int priority, double max_jump)
{
	struct feed_source_conf c = { .kind = &feed_binance_rest,
		.priority = priority,
		.stale_ms = 10000,
		.scale = 1,
		.min = 1,
		.max = 1e6,
		.max_jump = max_jump };
	snprintf(c.name, sizeof(c.name), "%s", name);
	return c;
}

static void rig_init(struct rig *r, const char *symbol, double max_jump)
{
	*r = (struct rig){ .a = conf("a", 1, max_jump), .b = conf("b", 2, max_jump) };
	assert_int_equal(feed_quantity_new(symbol, "", &r->q, &r->err), 0);
	assert_int_equal(feed_quantity_add(r->q, &r->b, &r->err), 0);
	assert_int_equal(feed_quantity_add(r->q, &r->a, &r->err), 0);
	r->ma = feed_quantity_member(r->q, &r->a);
	r->mb = feed_quantity_member(r->q, &r->b);
	assert_ptr_equal(r->q->member[0], r->ma);
}

static int offer(struct rig *r, struct feed_member *m, double v, int64_t at)
{
	size_t good;
	const struct feed_reading one = { .value = v, .observed_at_ns = at };
	return feed_quantity_offer(m, &one, 1, at > NOW ? at : NOW, &good, &r->err);
}

static size_t take(struct rig *r, int64_t now, struct feed_reading out[64])
{
	return feed_quantity_take(r->q, now, out, 64);
}

static void the_first_fresh_one_speaks(void **state)
{
	struct rig r;
	struct feed_reading out[64];
	rig_init(&r, "btc_usd", 0);
	assert_false(feed_quantity_choose(r.q, NOW));
	assert_int_equal(take(&r, NOW, out), 0);
	assert_int_equal(offer(&r, r.mb, 200, NOW), 0);
	assert_true(feed_quantity_choose(r.q, NOW));
	assert_int_equal(take(&r, NOW, out), 1);
	assert_true(out[0].value == 200);
	assert_int_equal(take(&r, NOW, out), 0); /* each once */
	assert_int_equal(offer(&r, r.ma, 100, NOW + 1), 0);
	assert_true(feed_quantity_choose(r.q, NOW + 1));
	assert_int_equal(take(&r, NOW + 1, out), 1);
	assert_true(out[0].value == 100);
	/* It grows old; the other one is fresh by then. */
	int64_t later = NOW + 10 * NS_PER_S;
	assert_int_equal(offer(&r, r.mb, 201, later), 0);
	assert_false(feed_quantity_choose(r.q, later));
	later += 2;
	assert_true(feed_quantity_choose(r.q, later));
	assert_int_equal(take(&r, later, out), 1);
	assert_true(out[0].value == 201);
	/* An unchanged answer makes it fresh again. */
	feed_quantity_confirm(r.ma, later);
	assert_true(feed_quantity_choose(r.q, later));
	assert_int_equal(take(&r, later, out), 1);
	assert_true(out[0].value == 100 && out[0].observed_at_ns == later);
	assert_true(feed_quantity_choose(r.q, later + HOUR_NS));
	assert_int_equal(r.q->speaking, -1);
	feed_quantity_free(r.q);
}

static void bounds_scale_and_the_outlier_gate(void **state)
{
	struct rig r;
	rig_init(&r, "btc_usd", 1.5);
	r.a.scale = 1000;
	assert_int_equal(offer(&r, r.ma, 0.1, NOW), 0);
	assert_true(r.ma->newest.value == 100);
	assert_int_equal(offer(&r, r.ma, 1001, NOW), HCP_ERANGE);
	assert_int_equal(offer(&r, r.ma, 0, NOW), HCP_ERANGE);
	const struct feed_reading early = { .value = 0.1, .observed_at_ns = NOW + 30 * NS_PER_S };
	const struct feed_reading wrong = { .value = 0.1, .observed_at_ns = NOW + FEED_FUTURE_NS + 1 };
	size_t good;
	assert_int_equal(feed_quantity_offer(r.ma, &early, 1, NOW, &good, &r.err), 0);
	assert_int_equal(r.ma->newest.observed_at_ns, NOW); /* a clock that is a little ahead of ours */
	assert_int_equal(feed_quantity_offer(r.ma, &wrong, 1, NOW, &good, &r.err), HCP_ERANGE);
	assert_int_equal(offer(&r, r.ma, 0.2, NOW), HCP_EAGAIN);
	assert_int_equal(offer(&r, r.ma, 0.1, NOW), 0); /* the level is back: the gate forgets */
	assert_int_equal(offer(&r, r.ma, 0.2, NOW), HCP_EAGAIN);
	assert_int_equal(offer(&r, r.ma, 0.21, NOW), HCP_EAGAIN);
	assert_int_equal(offer(&r, r.ma, 0.2, NOW), 0);
	assert_true(r.ma->newest.value == 200);
	assert_int_equal(r.ma->rejected, 6);
	feed_quantity_free(r.q);
}

static void intervals_come_once_and_in_order(void **state)
{
	struct rig r;
	struct feed_reading out[64], in[4];
	size_t good;
	rig_init(&r, "electricity_rt", 0);
	for (int i = 0; i < 4; i++) /* newest first, as some servers answer */
		in[i] = (struct feed_reading){ .value = 10 + i,
			.start_ns = NOW - (1 + i) * 900 * NS_PER_S,
			.interval_s = 900,
			.observed_at_ns = NOW - i * 900 * NS_PER_S };
	r.a.stale_ms = 3600000;
	assert_int_equal(feed_quantity_offer(r.ma, in, 4, NOW, &good, &r.err), 0);
	assert_int_equal(good, 4);
	assert_true(feed_quantity_choose(r.q, NOW));
	assert_int_equal(take(&r, NOW, out), 1); /* of the past only the last */
	assert_true(out[0].value == 10);
	/* Two more intervals after a break, one corrected price. */
	in[0].value = 11;
	in[1] = in[2] = in[0];
	in[1].start_ns += 900 * NS_PER_S;
	in[2].start_ns += 1800 * NS_PER_S;
	in[1].observed_at_ns += 900 * NS_PER_S;
	in[2].observed_at_ns += 1800 * NS_PER_S;
	int64_t later = in[2].observed_at_ns;
	assert_int_equal(feed_quantity_offer(r.ma, in, 3, later, &good, &r.err), 0);
	assert_int_equal(take(&r, later, out), 3);
	assert_true(out[0].start_ns < out[1].start_ns && out[1].start_ns < out[2].start_ns);
	assert_int_equal(take(&r, later, out), 0);
	feed_quantity_free(r.q);
}

static void day_ahead_hours_come_once_unless_they_change(void **state)
{
	struct rig r;
	struct feed_reading out[64], in[24];
	size_t good;
	rig_init(&r, "electricity_da", 0);
	for (int i = 0; i < 24; i++)
		in[i] = (struct feed_reading){
			.value = 10 + i, .start_ns = NOW + (i - 4) * HOUR_NS, .interval_s = 3600, .observed_at_ns = NOW
		};
	assert_int_equal(feed_quantity_offer(r.ma, in, 24, NOW, &good, &r.err), 0);
	assert_true(feed_quantity_choose(r.q, NOW));
	assert_int_equal(take(&r, NOW, out), 20); /* hours that are over are not told */
	assert_int_equal(take(&r, NOW, out), 0);
	in[10].value = 99;
	assert_int_equal(feed_quantity_offer(r.ma, in, 24, NOW, &good, &r.err), 0);
	assert_int_equal(take(&r, NOW, out), 1);
	assert_true(out[0].value == 99);
	feed_quantity_free(r.q);
}

static void limits_and_memory(void **state)
{
	struct feed_source_conf c[FEED_MEMBERS_MAX + 1];
	struct feed_quantity *q;
	int64_t live = mem_live();
	assert_int_equal(feed_quantity_new("btc_usd", "", &q, NULL), 0);
	for (int i = 0; i <= FEED_MEMBERS_MAX; i++) {
		c[i] = conf("x", 1, 0);
		assert_int_equal(feed_quantity_add(q, &c[i], NULL), i < FEED_MEMBERS_MAX ? 0 : HCP_ELIMIT);
	}
	for (int i = 0; i < FEED_MEMBERS_MAX; i++)
		assert_ptr_equal(q->member[i]->conf, &c[i]); /* equal priority: as they were given */
	feed_quantity_free(q);
	mem_fail_after(1, 0);
	assert_int_equal(feed_quantity_new("btc_usd", "", &q, NULL), HCP_ENOMEM);
	mem_fail_after(0, 0);
	assert_int_equal(mem_live(), live);
}

static void picks(void **state)
{
	static const struct {
		enum feed_pick pick;
		double want;
	} rows[] = { { FEED_PICK_FIRST, 3 }, { FEED_PICK_LAST, 8 }, { FEED_PICK_MIN, 1 }, { FEED_PICK_MAX, 8 },
		{ FEED_PICK_MEAN, 4 }, { FEED_PICK_MEDIAN, 3.5 } };
	static struct feed_answer a;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		a.n = 0;
		for (int k = 0; k < 4; k++)
			assert_int_equal(
				feed_answer_add(&a, (struct feed_reading){ .value = (double[]){ 3, 1, 4, 8 }[k] }, NULL), 0);
		feed_answer_pick(&a, rows[i].pick);
		assert_int_equal(a.n, 1);
		assert_true(a.reading[0].value == rows[i].want);
	}
	a.n = 0;
	feed_answer_pick(&a, FEED_PICK_MEDIAN);
	assert_int_equal(a.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_fresh_one_speaks),
		cmocka_unit_test(bounds_scale_and_the_outlier_gate),
		cmocka_unit_test(intervals_come_once_and_in_order),
		cmocka_unit_test(day_ahead_hours_come_once_unless_they_change),
		cmocka_unit_test(limits_and_memory),
		cmocka_unit_test(picks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
