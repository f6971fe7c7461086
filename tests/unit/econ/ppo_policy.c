/* What the learned policy sees, where it is trained, how it is stored, and what it decides. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/money.h"
#include "econ/policy.h"
#include "econ/ppo_miner.h"
#include "econ/ppo_model.h"

#define STEP_NS (PPO_STEP_S * NS_PER_S)
#define DAY_NS (PPO_DAY * STEP_NS)

enum {
	DAYS = 100,
	SLOTS = DAYS * PPO_DAY,
	AFTER = 4 * PPO_DAY, /* known after the training's end */
	SPIKE_AT = 72,       /* slot of the day */
};
static const int64_t t0 = 19000 * DAY_NS;

/* Cheap; on every second day two quarter-hours rise as a warning, and then four cost 400. */
static double price_of(size_t i, struct rng *rng)
{
	size_t day = i / PPO_DAY, slot = i % PPO_DAY;
	double noise = rng_double(rng);
	if (day % 2 == 0 && slot >= SPIKE_AT && slot < SPIKE_AT + 4)
		return 400 + 10 * noise;
	if (day % 2 == 0 && slot + 2 >= SPIKE_AT && slot < SPIKE_AT)
		return 70 + 5 * noise;
	return 25 + 5 * noise;
}

static int64_t time_of(size_t i)
{
	return t0 + (int64_t)i * STEP_NS;
}

static void add(struct history *h, size_t i, double price)
{
	assert_int_equal(history_add(h, HISTORY_POWER_RT, "HB_WEST", time_of(i), STEP_NS, price, NULL), 0);
}

static void fill(struct history *h, size_t from, size_t to, uint64_t seed)
{
	struct rng rng;
	rng_init(&rng, seed);
	for (size_t i = from; i < to; i++)
		add(h, i, price_of(i, &rng));
}

static struct site site_of(int64_t min_down_s)
{
	struct site s = { .name = "test", .point = "HB_WEST", .limit_w = 1e9, .pue = 1.1, .n_groups = 1 };
	s.group[0] = (struct site_group){ .name = "s21",
		.cls = device_class_find(STR("S21")),
		.count = 10,
		.feeder = -1,
		.mines = true,
		.idle_mode = DEVICE_SAFE,
		.boot_ns = 60 * NS_PER_S,
		.ramp_ns = 120 * NS_PER_S,
		.boot_w = 1000,
		.start_wear_usd = 0.02,
		.min_up_ns = 900 * NS_PER_S,
		.min_down_ns = min_down_s * NS_PER_S };
	return s;
}

static const char *const points[] = { "HB_WEST" };
static struct site site;
static struct history history;
static struct ppo_model model;
static struct buf stored;

static int train(struct ppo_model *m, const struct history *h, int64_t to_ns, struct err *err)
{
	const struct ppo_training t = {
		.site = &site, .points = points, .n_points = 1, .to_ns = to_ns, .seed = 1, .iterations = 10
	};
	return ppo_model_train(m, &t, h, NULL, NULL, err);
}

/* Trained once for all tests: it takes seconds. */
static int set_up(void **state)
{
	(void)state;
	site = site_of(900);
	history_init(&history);
	buf_init(&stored, PPO_MODEL_MAX);
	fill(&history, 0, SLOTS + AFTER, 7);
	int rc = train(&model, &history, time_of(SLOTS), NULL);
	return rc ? rc : ppo_model_save(&model, &stored, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	ppo_model_release(&model);
	buf_release(&stored);
	history_release(&history);
	return 0;
}

/* ---- where it is trained ---- */

static struct ppo_world world;

/* What a quarter-hour earns, written down once more after the formulae of backtest.h. */
static double earns_usd(double price, double hashprice, bool running, size_t steps_running)
{
	const struct site_group *g = &site.group[0];
	const struct device_class *k = g->cls;
	if (!running)
		return -k->power_w[DEVICE_SAFE] * 0.25 / 1e6 * 1.1 * price;
	double hash_s = steps_running == 0 ? 900 - 60 - 60 : 900; /* the boot, and half of the ramp */
	double j = steps_running == 0 ? 60 * 1000.0 + 840 * k->power_w[DEVICE_FILL] : 900 * k->power_w[DEVICE_FILL];
	return k->fill_ths * hashprice * hash_s / 3600 - j / 3.6e9 * 1.1 * price - k->wear_usd_h / 4 -
		   (steps_running == 0 ? g->start_wear_usd : 0);
}

static void rewards_are_what_the_books_would_say(void **state)
{
	(void)state;
	struct rng rng;
	float obs[PPO_OBS];
	size_t ends = 0, starts = 0;
	rng_init(&rng, 3);
	assert_int_equal(ppo_world_init(&world, &site, &history, points, 1, 0, time_of(SLOTS), NULL), 0);
	struct ppo_env env = ppo_world_env(&world);
	for (int episode = 0; episode < 300; episode++) {
		bool end = false;
		env.reset(env.ctx, &rng, obs);
		size_t running_for = world.now.running ? 99 : 0;
		bool was = world.now.running;
		double c = world.now.threshold_usd_mwh, hashprice = world.now.hashprice_usd_ths_h;
		assert_true(c >= PPO_LEAST && c <= PPO_MOST);
		/* What running earns a MWh, before electricity. */
		double mwh = (site.group[0].cls->power_w[DEVICE_FILL] - site.group[0].cls->power_w[DEVICE_SAFE]) / 4e6 * 1.1;
		assert_true(
			fabs((site.group[0].cls->fill_ths * hashprice - site.group[0].cls->wear_usd_h) / 4 - c * mwh) < 1e-9);
		while (!end) {
			size_t i = world.now.i;
			bool run = rng_below(&rng, 2);
			double price = fmin(world.series[0].price[i], c + fmin(8 * c, 1000)), want = 0;
			running_for = run ? (was ? running_for + 1 : 0) : 0;
			starts += run && !was;
			double got = env.step(env.ctx, run, obs, &end);
			want = earns_usd(price, hashprice, run, running_for) - earns_usd(price, hashprice, true, 99);
			was = run;
			if (end && !run && i + 1 < world.series[0].n) { /* no question any more: it starts */
				price = fmin(world.series[0].price[i + 1], c + fmin(8 * c, 1000));
				want += earns_usd(price, hashprice, true, 0) - earns_usd(price, hashprice, true, 99);
			}
			assert_true(fabs(got - want / (c * mwh)) < 1e-9);
		}
		ends++;
	}
	assert_true(ends == 300 && starts > 100);
	ppo_world_release(&world);
}

static void minimum_times_pass_within_a_step(void **state)
{
	(void)state;
	struct site slow = site_of(3600);
	struct rng rng;
	float obs[PPO_OBS];
	size_t held = 0;
	rng_init(&rng, 4);
	assert_int_equal(ppo_world_init(&world, &slow, &history, points, 1, 0, time_of(SLOTS), NULL), 0);
	struct ppo_env env = ppo_world_env(&world);
	for (int episode = 0; episode < 300; episode++) {
		bool end = false;
		env.reset(env.ctx, &rng, obs);
		if (!world.now.running)
			continue;
		size_t i = world.now.i;
		env.step(env.ctx, false, obs, &end);
		assert_true(end || world.now.i == i + 4); /* an hour */
		held += !end;
	}
	assert_true(held > 20);
	ppo_world_release(&world);
}

/* ---- looking ahead ---- */

static void what_comes_later_changes_nothing(void **state)
{
	(void)state;
	struct history other;
	struct ppo_model again = { 0 };
	struct buf bytes;
	history_init(&other);
	buf_init(&bytes, PPO_MODEL_MAX);
	fill(&other, 0, SLOTS, 7);
	for (size_t i = SLOTS; i < SLOTS + AFTER; i++)
		add(&other, i, -200);
	/* The same past and another future: the same is learned, to the bit. */
	assert_int_equal(train(&again, &other, time_of(SLOTS), NULL), 0);
	assert_int_equal(ppo_model_save(&again, &bytes, NULL), 0);
	assert_int_equal(bytes.n, stored.n);
	assert_memory_equal(bytes.data, stored.data, bytes.n);
	ppo_model_release(&again);
	buf_release(&bytes);
	history_release(&other);

	/* What is observed of a quarter-hour in training is made before its own price is looked at. */
	assert_int_equal(ppo_world_init(&world, &site, &history, points, 1, 0, time_of(SLOTS), NULL), 0);
	static struct ppo_world cut;
	assert_int_equal(ppo_world_init(&cut, &site, &history, points, 1, 0, time_of(SLOTS - 500), NULL), 0);
	assert_int_equal(cut.series[0].n, SLOTS - 500);
	assert_memory_equal(world.series[0].raw, cut.series[0].raw, cut.series[0].n * sizeof(struct ppo_raw));
	for (size_t i = 1; i < cut.series[0].n; i++)
		assert_true(world.series[0].raw[i].price[0] == (float)world.series[0].price[i - 1]);
	ppo_world_release(&world);
	ppo_world_release(&cut);
}

/* ---- bytes ---- */

static void stored_weights_say_the_same_or_are_refused(void **state)
{
	(void)state;
	struct ppo_model back = { 0 };
	struct buf bytes;
	struct err err = { 0 };
	struct rng rng;
	float obs[PPO_OBS];
	rng_init(&rng, 1);
	for (size_t i = 0; i < PPO_OBS; i++)
		obs[i] = (float)rng_normal(&rng);
	buf_init(&bytes, PPO_MODEL_MAX);
	buf_adds(&bytes, buf_str(&stored));
	assert_int_equal(ppo_model_load(&back, buf_str(&bytes), &err), 0);
	assert_true(back.n == PPO_NETS && back.to_ns == time_of(SLOTS) && back.from_ns == t0 && back.seed == 1);
	assert_string_equal(back.site, "test");
	assert_string_equal(back.point, "HB_WEST");
	double want = ppo_model_say(&model, obs);
	assert_true(want != 0 && ppo_model_say(&back, obs) == want);
	for (size_t n = 0; n < bytes.n; n += n < 130 ? 1 : 97)
		assert_int_equal(ppo_model_load(&back, (struct str){ bytes.data, n }, &err), HCP_ECORRUPT);
	for (size_t i = 0; i < bytes.n; i += i < 130 ? 1 : 97) {
		bytes.data[i] ^= 4;
		assert_int_equal(ppo_model_load(&back, buf_str(&bytes), &err), HCP_ECORRUPT);
		assert_string_equal(err.field, "model");
		bytes.data[i] ^= 4;
	}
	assert_true(ppo_model_say(&back, obs) == want); /* refused ones have left it as it was */
	assert_int_equal(ppo_model_save(&(struct ppo_model){ 0 }, &bytes, &err), HCP_ESTATE);
	mem_fail_after(2, 0);
	assert_int_equal(ppo_model_load(&back, buf_str(&stored), &err), HCP_ENOMEM);
	mem_fail_after(0, 0);
	buf_release(&bytes);
	ppo_model_release(&back);
}

static void too_little_is_said_so(void **state)
{
	(void)state;
	struct ppo_model m = { 0 };
	struct history h;
	struct err err = { 0 };
	history_init(&h);
	assert_int_equal(train(&m, &h, time_of(SLOTS), &err), HCP_EAGAIN);
	fill(&h, 0, 30 * PPO_DAY, 1);
	assert_int_equal(train(&m, &h, time_of(SLOTS), &err), HCP_EAGAIN);
	assert_string_equal(err.field, "point");
	assert_int_equal(train(&m, &history, 0, &err), HCP_ERANGE);
	struct site gpus = site;
	gpus.group[0].mines = false;
	gpus.group[0].serves = true;
	assert_int_equal(ppo_world_init(&world, &gpus, &history, points, 1, 0, time_of(SLOTS), &err), HCP_EINVAL);
	assert_string_equal(err.field, "site");
	assert_int_equal(ppo_world_init(&world, &site, &history, points, 0, 0, time_of(SLOTS), &err), HCP_ERANGE);
	mem_fail_after(3, 0);
	assert_int_equal(train(&m, &history, time_of(SLOTS), &err), HCP_ENOMEM);
	mem_fail_after(0, 0);
	assert_int_equal(m.n, 0);
	history_release(&h);
}

/* ---- the policy ---- */

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
	*c = (struct policy_class){ .cls = site.group[0].cls, .group = &site.group[0], .count = 10 };
	c->now[POLICY_MINE] = mining;
	c->now[POLICY_IDLE] = 10 - mining;
	c->can[POLICY_MINE] = c->can[POLICY_IDLE] = true;
	c->gross_usd_h[POLICY_MINE] = 0.385; /* 100 USD/MWh */
	c->mwh_h[POLICY_MINE] = 0.00385;
	c->net_usd_h[POLICY_MINE] = 0.385 - 0.00385 * last_price;
	c->switch_cost_usd[POLICY_MINE] = 0.03;
	return in;
}

static uint32_t mines(struct policy *p, const struct history *h, size_t i, double last_price, uint32_t mining)
{
	struct policy_input in = input_at(h, i, last_price, mining);
	struct policy_output out;
	struct err err = { 0 };
	if (policy_decide(p, &in, &out, &err) < 0)
		fail_msg("%s: %s", err.field, err.text);
	return out.c[0].target[POLICY_MINE];
}

static struct policy_conf conf_of(const struct buf *weights)
{
	struct policy_conf c;
	policy_conf_default(&c);
	c.ppo = buf_str(weights);
	c.ppo_file = STR("models/ppo-test.bin");
	return c;
}

static void assert_told(const struct policy *p, const char *part)
{
	struct buf b;
	buf_init(&b, 0);
	policy_describe(p, &b);
	buf_addc(&b, 0);
	if (!strstr(b.data, part))
		fail_msg("\"%s\" is not in \"%s\"", part, b.data);
	buf_release(&b);
}

static void it_stops_before_the_spike_and_starts_at_its_end(void **state)
{
	(void)state;
	struct policy p, back;
	struct buf bytes;
	struct policy_conf conf = conf_of(&stored);
	size_t spike = (DAYS + 2) * PPO_DAY + SPIKE_AT;
	assert_int_equal(policy_init(&p, policy_find(STR("ppo")), &conf, NULL), 0);
	assert_int_equal(mines(&p, &history, spike - 20, 28, 10), 10);
	assert_int_equal(mines(&p, &history, spike, 72, 10), 0); /* after the warning */
	assert_int_equal(mines(&p, &history, spike + 2, 405, 0), 0);
	assert_int_equal(mines(&p, &history, spike + 4, 405, 0), 10); /* the last price alone would wait */
	assert_told(&p, "3 decisions by 8 nets of models/ppo-test.bin, trained for test");
	assert_told(&p, "1 far from any question, run; 0 by the last price");
	/* Prices of what begins now and later are in this history, and no decision reads them. */
	struct history cut;
	history_init(&cut);
	fill(&cut, 0, SLOTS + AFTER, 7);
	history_release(&cut);
	fill(&cut, 0, SLOTS, 7);
	struct rng rng;
	rng_init(&rng, 8);
	for (size_t i = SLOTS; i < spike; i++)
		add(&cut, i, price_of(i, &rng));
	assert_int_equal(mines(&p, &cut, spike, 72, 10), 0);
	for (size_t i = spike; i < spike + 8; i++)
		add(&cut, i, 1);
	assert_int_equal(mines(&p, &cut, spike, 72, 10), 0);
	history_release(&cut);
	/* The weights go with its state. */
	buf_init(&bytes, POLICY_STATE_MAX);
	assert_int_equal(policy_save(&p, &bytes, NULL), 0);
	assert_int_equal(policy_init(&back, policy_find(STR("ppo")), &conf, NULL), 0);
	assert_int_equal(policy_load(&back, buf_str(&bytes), NULL), 0);
	assert_int_equal(back.decisions, 6);
	assert_int_equal(mines(&back, &history, spike, 72, 10), 0);
	bytes.data[bytes.n / 2] ^= 1;
	assert_int_equal(policy_load(&back, buf_str(&bytes), NULL), HCP_ECORRUPT);
	assert_int_equal(mines(&back, &history, spike, 72, 10), 0);
	buf_release(&bytes);
	policy_release(&back);
	policy_release(&p);
}

static void without_weights_of_this_site_and_time_it_says_so(void **state)
{
	(void)state;
	struct policy p;
	struct err err = { 0 };
	struct policy_output out;
	struct policy_conf conf = conf_of(&stored);
	assert_int_equal(policy_init(&p, policy_find(STR("ppo")), NULL, &err), HCP_ENOTFOUND);
	assert_string_equal(err.field, "model");
	assert_non_null(strstr(err.text, "hcp ppo train"));
	conf.ppo.n--;
	assert_int_equal(policy_init(&p, policy_find(STR("ppo")), &conf, &err), HCP_ECORRUPT);
	conf.ppo.n++;
	assert_int_equal(policy_init(&p, policy_find(STR("ppo")), &conf, NULL), 0);
	/* It has seen what this decision must not know. */
	struct policy_input in = input_at(&history, SLOTS - 1, 30, 10);
	assert_int_equal(policy_decide(&p, &in, &out, &err), HCP_ESTATE);
	assert_non_null(strstr(err.text, "later than the decision"));
	struct site south = site;
	memcpy(south.point, "HB_SOUTH", sizeof("HB_SOUTH"));
	in = input_at(&history, SLOTS + 8, 30, 10);
	in.site = &south;
	assert_int_equal(policy_decide(&p, &in, &out, &err), HCP_ESTATE);
	assert_non_null(strstr(err.text, "not for HB_SOUTH"));
	in.site = NULL;
	assert_int_equal(policy_decide(&p, &in, &out, &err), HCP_ESTATE);
	policy_release(&p);
}

static void where_it_cannot_see_the_last_price_decides(void **state)
{
	(void)state;
	struct policy p;
	struct policy_conf conf = conf_of(&stored);
	assert_int_equal(policy_init(&p, policy_find(STR("ppo")), &conf, NULL), 0);
	assert_int_equal(mines(&p, NULL, SLOTS, 72, 10), 10);
	assert_int_equal(mines(&p, NULL, SLOTS, 405, 10), 0);
	assert_int_equal(mines(&p, &history, SLOTS + AFTER + 1, 405, 10), 0); /* a hole before it */
	struct policy_input in = input_at(&history, SLOTS + 8, 30, 10);
	struct policy_output out;
	in.c[0].gross_usd_h[POLICY_MINE] = -0.01; /* mining is not worth its wear */
	in.c[0].net_usd_h[POLICY_MINE] = -0.01 - 0.00385 * 30;
	assert_int_equal(policy_decide(&p, &in, &out, NULL), 0);
	assert_int_equal(out.c[0].target[POLICY_IDLE], 10);
	assert_told(&p, "; 4 by the last price");
	/* GPUs: demand first. */
	in.c[0] =
		(struct policy_class){ .cls = device_class_find(STR("H100")), .count = 8, .must_serve = 3, .want_serve = 2 };
	in.c[0].now[POLICY_IDLE] = 8;
	in.c[0].can[POLICY_SERVE] = in.c[0].can[POLICY_IDLE] = true;
	in.c[0].gross_usd_h[POLICY_SERVE] = in.c[0].net_usd_h[POLICY_SERVE] = 2;
	assert_int_equal(policy_decide(&p, &in, &out, NULL), 0);
	assert_int_equal(out.c[0].target[POLICY_SERVE], 5);
	policy_release(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rewards_are_what_the_books_would_say),
		cmocka_unit_test(minimum_times_pass_within_a_step),
		cmocka_unit_test(what_comes_later_changes_nothing),
		cmocka_unit_test(stored_weights_say_the_same_or_are_refused),
		cmocka_unit_test(too_little_is_said_so),
		cmocka_unit_test(it_stops_before_the_spike_and_starts_at_its_end),
		cmocka_unit_test(without_weights_of_this_site_and_time_it_says_so),
		cmocka_unit_test(where_it_cannot_see_the_last_price_decides),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
