/* The model of prices behind policy stochastic, and the policy on it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/money.h"
#include "base/rng.h"
#include "econ/policy.h"
#include "econ/policy_spike.h"
#include "model/site.h"

#define STEP_NS (SPIKE_STEP_S * NS_PER_S)
#define DAY_NS (SPIKE_DAY * STEP_NS)

enum {
	DAYS = 356,
	SLOTS = DAYS * SPIKE_DAY,
	AFTER = 4 * SPIKE_DAY, /* slots that are known after the training's end */
	SPIKE_AT = 72,         /* slot of the day */
};
static const int64_t t0 = 19000 * DAY_NS;

/* Cheap; on every second day two quarter-hours rise as a warning, and then four cost 400. */
static double price_of(size_t i, struct rng *rng)
{
	size_t day = i / SPIKE_DAY, slot = i % SPIKE_DAY;
	double noise = rng_double(rng);
	if (day % 2 == 0 && slot >= SPIKE_AT && slot < SPIKE_AT + 4)
		return 400 + 10 * noise;
	if (day % 2 == 0 && slot + 2 >= SPIKE_AT && slot < SPIKE_AT)
		return 70 + 5 * noise;
	return 25 + 5 * noise;
}

static void fill(struct history *h, size_t from, size_t to, uint64_t seed)
{
	struct rng rng;
	rng_init(&rng, seed);
	for (size_t i = from; i < to; i++)
		assert_int_equal(
			history_add(h, HISTORY_POWER_RT, "HB_WEST", t0 + (int64_t)i * STEP_NS, STEP_NS, price_of(i, &rng), NULL),
			0);
}

static int64_t time_of(size_t i)
{
	return t0 + (int64_t)i * STEP_NS;
}

/* Trained once for all tests: it takes seconds. */
static struct history history;
static struct spike_model model;

static int set_up(void **state)
{
	(void)state;
	history_init(&history);
	fill(&history, 0, SLOTS + AFTER, 7);
	return spike_train(&model, &history, "HB_WEST", time_of(SLOTS), NULL, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	spike_release(&model);
	history_release(&history);
	return 0;
}

static double expect_at(const struct history *h, size_t i)
{
	double p = NAN;
	assert_int_equal(spike_expect(&model, h, time_of(i), 60, &p, NULL), 0);
	return p;
}

static void a_warning_is_understood(void **state)
{
	(void)state;
	size_t spike = DAYS * SPIKE_DAY + SPIKE_AT, calm = spike + SPIKE_DAY;
	assert_true(expect_at(&history, spike) > 200);     /* before the first of the four */
	assert_true(expect_at(&history, spike + 2) > 200); /* within */
	assert_true(expect_at(&history, spike + 4) < 100); /* the last price is 400, and it is over */
	assert_true(expect_at(&history, calm) < 60);
	assert_true(expect_at(&history, spike - 20) < 60);
}

static void what_comes_later_changes_nothing(void **state)
{
	(void)state;
	size_t now = SLOTS;
	struct history other;
	struct spike_model again = { 0 };
	struct buf first, second;
	buf_init(&first, 0);
	buf_init(&second, 0);
	history_init(&other);
	fill(&other, 0, now, 7);
	assert_true(expect_at(&other, now) == expect_at(&history, now));
	/* The same past and another future: what is expected and what is learned are the same, to the bit. */
	assert_int_equal(history_add(&other, HISTORY_POWER_RT, "HB_WEST", time_of(now), STEP_NS, -200, NULL), 0);
	assert_true(expect_at(&other, now) == expect_at(&history, now));
	assert_int_equal(spike_train(&again, &other, "HB_WEST", time_of(now), NULL, NULL), 0);
	assert_int_equal(spike_save(&again, &first, NULL), 0);
	assert_int_equal(spike_save(&model, &second, NULL), 0);
	assert_int_equal(first.n, second.n);
	assert_memory_equal(first.data, second.data, first.n);
	buf_release(&first);
	buf_release(&second);
	spike_release(&again);
	history_release(&other);
}

static void a_stored_model_says_the_same_or_is_refused(void **state)
{
	(void)state;
	struct spike_model back = { 0 };
	struct buf bytes;
	struct err err = { 0 };
	size_t now = DAYS * SPIKE_DAY + SPIKE_AT;
	double want = expect_at(&history, now), got = NAN;
	buf_init(&bytes, SPIKE_BYTES_MAX);
	assert_int_equal(spike_save(&model, &bytes, NULL), 0);
	assert_int_equal(spike_load(&back, buf_str(&bytes), &err), 0);
	assert_int_equal(spike_expect(&back, &history, time_of(now), 60, &got, NULL), 0);
	assert_true(want == got);
	for (size_t n = 0; n < bytes.n; n += n < 100 ? 1 : 997)
		assert_int_equal(spike_load(&back, (struct str){ bytes.data, n }, &err), HCP_ECORRUPT);
	for (size_t i = 0; i < bytes.n; i += i < 100 ? 1 : 997) {
		bytes.data[i] ^= 4;
		assert_int_equal(spike_load(&back, buf_str(&bytes), &err), HCP_ECORRUPT);
		bytes.data[i] ^= 4;
	}
	/* Refused ones have left it as it was. */
	assert_int_equal(spike_expect(&back, &history, time_of(now), 60, &got, NULL), 0);
	assert_true(want == got);
	assert_int_equal(spike_save(&(struct spike_model){ 0 }, &bytes, &err), HCP_ESTATE);
	buf_release(&bytes);
	spike_release(&back);
}

static void too_little_is_said_so(void **state)
{
	(void)state;
	struct spike_model m = { 0 };
	struct history h;
	struct err err = { 0 };
	double p = NAN;
	history_init(&h);
	assert_int_equal(spike_train(&m, &h, "HB_WEST", t0, NULL, &err), HCP_EAGAIN);
	fill(&h, 0, 100 * SPIKE_DAY, 1);
	assert_int_equal(spike_train(&m, &h, "HB_WEST", time_of(SLOTS), NULL, &err), HCP_EAGAIN);
	assert_string_equal(err.field, "history");
	assert_int_equal(spike_expect(&model, &h, time_of(100 * SPIKE_DAY + 1), 60, &p, &err), HCP_EAGAIN);
	assert_int_equal(spike_expect(&model, &h, time_of(100 * SPIKE_DAY) + 1, 60, &p, &err), HCP_EAGAIN);
	assert_true(isnan(p));
	/* A week's start is no reason to fail. */
	history_release(&h);
	history_init(&h);
	fill(&h, SPIKE_AT - 2, SPIKE_AT, 1);
	assert_int_equal(spike_expect(&model, &h, time_of(SPIKE_AT), 60, &p, &err), 0);
	assert_true(isfinite(p));
	history_release(&h);
}

/* ---- the policy ---- */

static struct site site = { .name = "s", .point = "HB_WEST", .limit_w = 1e9, .pue = 1, .n_groups = 1 };

static struct policy_input input_at(const struct history *h, size_t i, double last_price, uint32_t mining)
{
	struct policy_input in = { .now_ns = time_of(i),
		.horizon_ns = 4 * STEP_NS,
		.step_ns = STEP_NS,
		.electricity_usd_mwh = last_price,
		.history = h,
		.site = &site,
		.n = 1 };
	struct policy_class *c = &in.c[0];
	*c = (struct policy_class){ .cls = device_class_find(STR("S21")), .count = 10 };
	c->now[POLICY_MINE] = mining;
	c->now[POLICY_IDLE] = 10 - mining;
	c->can[POLICY_MINE] = c->can[POLICY_IDLE] = true;
	c->gross_usd_h[POLICY_MINE] = 0.35; /* 100 USD/MWh */
	c->mwh_h[POLICY_MINE] = 0.0035;
	c->net_usd_h[POLICY_MINE] = 0.35 - 0.0035 * last_price;
	c->switch_cost_usd[POLICY_MINE] = 0.03;
	return in;
}

static uint32_t mines(struct policy *p, const struct history *h, size_t i, double last_price, uint32_t mining)
{
	struct policy_input in = input_at(h, i, last_price, mining);
	struct policy_output out;
	assert_int_equal(policy_decide(p, &in, &out, NULL), 0);
	return out.c[0].target[POLICY_MINE];
}

static void assert_told(const struct policy *p, const char *part)
{
	struct buf b;
	buf_init(&b, 0);
	policy_describe(p, &b);
	buf_addc(&b, 0);
	assert_non_null(strstr(b.data, part));
	buf_release(&b);
}

static void it_stops_before_the_spike_and_starts_at_its_end(void **state)
{
	(void)state;
	struct policy p, back;
	struct buf bytes;
	size_t spike = DAYS * SPIKE_DAY + SPIKE_AT;
	assert_int_equal(policy_init(&p, policy_find(STR("stochastic")), NULL, NULL), 0);
	assert_int_equal(mines(&p, &history, spike - 20, 28, 10), 10);
	assert_int_equal(mines(&p, &history, spike, 72, 10), 0);
	assert_int_equal(mines(&p, &history, spike + 4, 405, 0), 10); /* the last price alone would wait */
	assert_told(&p, "3 decisions by a model trained here on HB_WEST");
	assert_told(&p, "0 by the last price");
	/* Its own model goes with its state. */
	buf_init(&bytes, POLICY_STATE_MAX);
	assert_int_equal(policy_save(&p, &bytes, NULL), 0);
	assert_int_equal(policy_init(&back, policy_find(STR("stochastic")), NULL, NULL), 0);
	assert_int_equal(policy_load(&back, buf_str(&bytes), NULL), 0);
	assert_int_equal(back.decisions, 3);
	assert_int_equal(mines(&back, &history, spike, 72, 10), 0);
	bytes.data[bytes.n / 2] ^= 1;
	assert_int_equal(policy_load(&back, buf_str(&bytes), NULL), HCP_ECORRUPT);
	assert_int_equal(mines(&back, &history, spike, 72, 10), 0);
	buf_release(&bytes);
	policy_release(&back);
	policy_release(&p);
}

static void without_a_model_the_last_price_decides(void **state)
{
	(void)state;
	struct policy p;
	struct history h;
	struct buf bytes;
	struct err err = { 0 };
	struct policy_conf conf;
	size_t spike = 10 * SPIKE_DAY + SPIKE_AT;
	history_init(&h);
	fill(&h, 0, spike, 3);
	assert_int_equal(policy_init(&p, policy_find(STR("stochastic")), NULL, NULL), 0);
	assert_int_equal(mines(&p, &h, spike, 72, 10), 10);
	assert_int_equal(mines(&p, &h, spike, 405, 10), 0);
	assert_int_equal(mines(&p, NULL, spike, 72, 10), 10);
	assert_told(&p, "3 by the last price");
	policy_release(&p);

	/* One that was handed in knows prices of later than this now: it is not asked. Later it is. */
	buf_init(&bytes, SPIKE_BYTES_MAX);
	assert_int_equal(spike_save(&model, &bytes, NULL), 0);
	policy_conf_default(&conf);
	conf.model = buf_str(&bytes);
	assert_int_equal(policy_init(&p, policy_find(STR("stochastic")), &conf, NULL), 0);
	assert_int_equal(mines(&p, &h, spike, 72, 10), 10);
	assert_told(&p, "1 by the last price");
	history_release(&h);
	history_init(&h);
	spike = SLOTS + 8 * SPIKE_DAY + SPIKE_AT;
	fill(&h, SLOTS, spike, 3);
	assert_int_equal(mines(&p, &h, spike, 72, 10), 0);
	assert_told(&p, "1 decisions by a model handed in");
	policy_release(&p);
	bytes.data[60] ^= 1;
	assert_int_equal(policy_init(&p, policy_find(STR("stochastic")), &conf, &err), HCP_ECORRUPT);
	assert_string_equal(err.field, "model");
	buf_release(&bytes);
	history_release(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_warning_is_understood),
		cmocka_unit_test(what_comes_later_changes_nothing),
		cmocka_unit_test(a_stored_model_says_the_same_or_is_refused),
		cmocka_unit_test(too_little_is_said_so),
		cmocka_unit_test(it_stops_before_the_spike_and_starts_at_its_end),
		cmocka_unit_test(without_a_model_the_last_price_decides),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
