#include "econ/forecast.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "econ/fc_priv.h"

#define S_NS INT64_C(1000000000)
#define STEP_NS (900 * S_NS)
#define DAY_NS (86400 * S_NS)
/* 2024-06-01, a Saturday */
static const int64_t t0 = INT64_C(1717200000) * S_NS;

static struct forecast_conf conf_of(uint32_t rows)
{
	struct forecast_conf c;
	forecast_conf_default(&c);
	memcpy(c.location, "HB_WEST", sizeof("HB_WEST"));
	c.rows = rows;
	c.rounds = 20;
	c.epochs = 2;
	return c;
}

static void add_z(struct history *h, int64_t i, double z)
{
	assert_int_equal(
		history_add(h, HISTORY_POWER_RT, "HB_WEST", t0 + i * STEP_NS, STEP_NS, 25 * sinh(z), NULL), 0);
}

static double hour_of(int64_t i)
{
	return (double)(i % 96) / 4;
}

/* A day's pattern, noise that is wider in the evening, and an autoregression. */
static void add_market(struct history *h, struct rng *rng, int64_t from, int64_t to)
{
	static double level;
	if (from == 0)
		level = 0;
	for (int64_t i = from; i < to; i++) {
		double hour = hour_of(i), wide = hour < 4 ? 0.3 : 0.1;
		level = 0.9 * level + wide * rng_normal(rng);
		add_z(h, i, 1 + 0.6 * sin(hour * 0.2617993877991494) + level);
	}
}

static void learn(struct forecaster *f, const struct history *h, int64_t now_ns)
{
	struct err err = { 0 };
	if (forecaster_learn(f, h, now_ns, &err) < 0)
		fail_msg("%s: %s %s", forecaster_name(f), err.field, err.text);
}

static void start(struct forecaster *f, const char *name, const struct forecast_conf *conf)
{
	struct err err = { 0 };
	assert_non_null(forecaster_find(str_of(name)));
	if (forecaster_init(f, forecaster_find(str_of(name)), conf, &err) < 0)
		fail_msg("%s: %s %s", name, err.field, err.text);
}

static void the_coefficients_of_an_autoregression_are_found(void **state)
{
	(void)state;
	struct forecast_conf conf = conf_of(20000);
	struct fc_frame frame = { 0 };
	struct fc_linear *l = mem_calloc(1, sizeof(*l));
	struct history h;
	struct rng rng;
	double a = 0, b = 0;
	history_init(&h);
	rng_init(&rng, 1);
	for (int64_t i = 0; i < 250 * 96; i++) {
		/* A spike now and then: least squares alone would be thrown off. */
		double z = 0.5 + 0.6 * (a - 0.5) + 0.3 * (b - 0.5) + 0.1 * rng_normal(&rng);
		b = a;
		a = z;
		add_z(&h, i, i % 1000 == 7 ? z + 5 : z);
	}
	assert_int_equal(
		fc_frame_build(&frame, &h, &conf, t0 + 250 * DAY_NS, 250 * DAY_NS, 96, 0, NULL), 0);
	assert_int_equal(frame.known, 250 * 96);
	assert_int_equal(fc_linear_fit(l, &frame, frame.known, conf.rows, NULL), 0);
	assert_true(fabs(l->coef[0][1] - 0.6) < 0.03);
	assert_true(fabs(l->coef[0][2] - 0.3) < 0.03);
	assert_true(fabs(l->coef[0][3]) < 0.03 && fabs(l->coef[0][4]) < 0.03);
	assert_true(fabs(l->spread.sigma[0] - 0.1) < 0.005);
	/* Two steps ahead the first weight is 0.6^2 + 0.3. */
	assert_true(fabs(l->coef[1][1] - 0.66) < 0.04);
	fc_frame_release(&frame);
	mem_free(l);
	history_release(&h);
}

static void a_daily_pattern_is_learned(void **state)
{
	(void)state;
	static struct forecast out;
	struct forecast_conf conf = conf_of(5000);
	struct history h;
	struct rng rng;
	int64_t n = 100 * 96, now_ns = t0 + n * STEP_NS;
	history_init(&h);
	rng_init(&rng, 2);
	for (int64_t i = 0; i < n; i++)
		add_z(&h, i, 1.5 + sin(hour_of(i) * 0.2617993877991494) + 0.1 * rng_normal(&rng));
	for (size_t m = 0; forecaster_at(m); m++) {
		struct forecaster f;
		double worst = 0;
		assert_int_equal(forecaster_init(&f, forecaster_at(m), &conf, NULL), 0);
		learn(&f, &h, now_ns);
		assert_int_equal(forecaster_predict(&f, &h, now_ns, FORECAST_STEPS_MAX, &out, NULL), 0);
		assert_int_equal(out.start_ns, now_ns);
		assert_int_equal(out.n, FORECAST_STEPS_MAX);
		for (size_t k = 0; k < out.n; k++) {
			double want = 1.5 + sin(hour_of(n + (int64_t)k) * 0.2617993877991494);
			double off = fabs(asinh(out.at[k].q[FORECAST_MEDIAN] / 25) - want);
			worst = off > worst ? off : worst;
		}
		/* Persistence cannot know. */
		bool blind = strcmp(forecaster_name(&f), "persistence") == 0;
		if (blind ? worst < 1 : worst > 0.3)
			fail_msg("%s is wrong by up to %.3f", forecaster_name(&f), worst);
		forecaster_release(&f);
	}
	history_release(&h);
}

static void quantiles_hold_what_they_promise(void **state)
{
	(void)state;
	static const uint16_t step[] = { 0, 3, 11, 47, 95 };
	enum { STEPS = 5, TRAIN = 200, JUDGE = 60 };
	struct forecast_conf conf = conf_of(8000);
	struct forecaster f;
	struct history h;
	struct rng rng;
	double below[6][FORECAST_LEVELS] = { 0 }, mean_off[6] = { 0 }, size = 0, loss[6] = { 0 };
	int n = 0;
	conf.retrain_ns = 365 * DAY_NS;
	history_init(&h);
	rng_init(&rng, 3);
	add_market(&h, &rng, 0, TRAIN * 96);
	start(&f, "combination", &conf);
	struct history all;
	history_init(&all);
	rng_init(&rng, 3);
	add_market(&all, &rng, 0, (TRAIN + JUDGE + 2) * 96);
	const struct history_series *s = all.s[0];
	for (int64_t i = TRAIN * 96; i < (TRAIN + JUDGE) * 96; i += 7, n++) {
		int64_t now_ns = t0 + i * STEP_NS;
		/* The same history, but knowing more: only what was known counts (the next test). */
		learn(&f, n == 0 ? &h : &all, now_ns);
		for (size_t m = 0; m < 6; m++) {
			struct forecaster *one = forecaster_member(&f, m);
			struct forecast_point p[STEPS];
			assert_int_equal(forecaster_predict_at(one ? one : &f, &all, now_ns, step, STEPS, p, NULL), 0);
			for (int k = 0; k < STEPS; k++) {
				double actual = history_at(s, now_ns + step[k] * STEP_NS);
				loss[m] += forecast_pinball(&p[k], actual);
				mean_off[m] += p[k].mean - actual;
				for (int l = 0; l < FORECAST_LEVELS; l++) {
					assert_true(isfinite(p[k].q[l]) && (l == 0 || p[k].q[l] >= p[k].q[l - 1]));
					below[m][l] += actual <= p[k].q[l];
				}
				if (m == 0)
					size += actual;
			}
		}
	}
	for (size_t m = 0; m < 6; m++) {
		for (int l = 0; l < FORECAST_LEVELS; l++) {
			double share = below[m][l] / (n * STEPS);
			if (fabs(share - forecast_level[l]) > 0.05)
				fail_msg("model %zu: %.3f of the values lie below its quantile %.2f", m, share, forecast_level[l]);
		}
		if (m >= 2 && fabs(mean_off[m]) > 0.1 * size)
			fail_msg("model %zu: its means are off by %.3f", m, mean_off[m] / size);
	}
	/* Day's pattern and spread are worth knowing, and the combination finds who knows them. */
	for (size_t m = 2; m < 6; m++)
		assert_true(loss[m] < 0.9 * loss[0]);
	assert_true(loss[5] < 1.02 * loss[2]);
	forecaster_release(&f);
	history_release(&h);
	history_release(&all);
}

static void what_is_not_known_yet_changes_nothing(void **state)
{
	(void)state;
	struct forecast_conf conf = conf_of(4000);
	struct history now, later;
	struct rng rng;
	/* Noon in Texas: the day-ahead prices of tomorrow come out at 13:30. */
	int64_t n = 100 * 96 + 68, now_ns = t0 + n * STEP_NS;
	static struct forecast a, b;
	history_init(&now);
	history_init(&later);
	rng_init(&rng, 4);
	add_market(&now, &rng, 0, n);
	rng_init(&rng, 4);
	add_market(&later, &rng, 0, n);
	for (int64_t i = n; i < n + 800; i++)
		add_z(&later, i, 6 + 0.01 * (double)(i % 7));
	for (int64_t hour = 0; hour < 105 * 24; hour++) {
		int64_t start_ns = t0 + hour * 4 * STEP_NS;
		double price = 25 + (double)(hour % 24);
		if (history_known_ns(HISTORY_POWER_DA, start_ns, 4 * STEP_NS) <= now_ns)
			assert_int_equal(history_add(&now, HISTORY_POWER_DA, "HB_WEST", start_ns, 4 * STEP_NS, price, NULL), 0);
		else
			price = 4000;
		assert_int_equal(history_add(&later, HISTORY_POWER_DA, "HB_WEST", start_ns, 4 * STEP_NS, price, NULL), 0);
	}
	assert_true(history_end_ns(now.s[1]) > now_ns && history_end_ns(now.s[1]) < now_ns + DAY_NS);
	for (size_t m = 0; forecaster_at(m); m++) {
		struct forecaster f, g;
		assert_int_equal(forecaster_init(&f, forecaster_at(m), &conf, NULL), 0);
		assert_int_equal(forecaster_init(&g, forecaster_at(m), &conf, NULL), 0);
		learn(&f, &now, now_ns);
		learn(&g, &later, now_ns);
		assert_int_equal(forecaster_predict(&f, &now, now_ns, FORECAST_STEPS_MAX, &a, NULL), 0);
		assert_int_equal(forecaster_predict(&g, &later, now_ns, FORECAST_STEPS_MAX, &b, NULL), 0);
		assert_memory_equal(&a, &b, sizeof(a));
		forecaster_release(&f);
		forecaster_release(&g);
	}
	history_release(&now);
	history_release(&later);
}

/* The day-ahead price says what comes; nothing else does. */
static void a_known_day_ahead_price_is_used(void **state)
{
	(void)state;
	struct forecast_conf conf = conf_of(6000);
	struct history h;
	struct rng rng;
	int64_t n = 120 * 96 + 80, now_ns = t0 + n * STEP_NS;
	history_init(&h);
	rng_init(&rng, 5);
	for (int64_t hour = 0; hour < (n + 120) / 4; hour++) {
		double z = 1 + rng_normal(&rng) * 0.5;
		int64_t start_ns = t0 + hour * 4 * STEP_NS;
		assert_int_equal(
			history_add(&h, HISTORY_POWER_DA, "HB_WEST", start_ns, 4 * STEP_NS, 25 * sinh(z), NULL), 0);
		for (int64_t i = hour * 4; i < hour * 4 + 4 && i < n; i++)
			add_z(&h, i, z + 0.05 * rng_normal(&rng));
	}
	static const char *const users[] = { "regression", "trees", "recurrent", "combination" };
	for (size_t m = 0; m < 4; m++) {
		struct forecaster f;
		static struct forecast out;
		start(&f, users[m], &conf);
		learn(&f, &h, now_ns);
		assert_int_equal(forecaster_predict(&f, &h, now_ns, 24, &out, NULL), 0);
		for (size_t k = 0; k < 24; k++) {
			double da = history_at(h.s[0], now_ns + (int64_t)k * STEP_NS);
			assert_true(fabs(asinh(out.at[k].q[FORECAST_MEDIAN] / 25) - asinh(da / 25)) < 0.25);
		}
		forecaster_release(&f);
	}
	history_release(&h);
}

static void bytes_come_back_as_the_same_model(void **state)
{
	(void)state;
	struct forecast_conf conf = conf_of(2000), other = conf;
	static struct forecast a, b;
	struct history h;
	struct rng rng;
	int64_t n = 100 * 96, now_ns = t0 + n * STEP_NS;
	memcpy(other.location, "HB_EAST", sizeof("HB_EAST"));
	conf.rounds = 3;
	history_init(&h);
	rng_init(&rng, 6);
	add_market(&h, &rng, 0, n);
	for (size_t m = 0; forecaster_at(m); m++) {
		struct forecaster f, g;
		struct buf out;
		buf_init(&out, 0);
		assert_int_equal(forecaster_init(&f, forecaster_at(m), &conf, NULL), 0);
		assert_int_equal(forecaster_init(&g, forecaster_at(m), &conf, NULL), 0);
		assert_int_equal(forecaster_save(&f, &out, NULL), HCP_ESTATE);
		assert_int_equal(forecaster_predict(&f, &h, now_ns, 96, &a, NULL), HCP_ESTATE);
		learn(&f, &h, now_ns);
		assert_int_equal(forecaster_save(&f, &out, NULL), 0);
		assert_int_equal(forecaster_load(&g, buf_str(&out), NULL), 0);
		assert_int_equal(g.learned_ns, now_ns);
		assert_int_equal(forecaster_predict(&f, &h, now_ns, 96, &a, NULL), 0);
		assert_int_equal(forecaster_predict(&g, &h, now_ns, 96, &b, NULL), 0);
		assert_memory_equal(&a, &b, sizeof(a));
		/* A flipped bit or a lost end is noticed, and the model stays. */
		for (size_t i = 0; i < out.n; i += 1 + out.n / 97) {
			out.data[i] = (char)(out.data[i] ^ 4);
			assert_int_equal(forecaster_load(&g, buf_str(&out), NULL), HCP_ECORRUPT);
			out.data[i] = (char)(out.data[i] ^ 4);
			assert_int_equal(forecaster_load(&g, (struct str){ out.data, i }, NULL), HCP_ECORRUPT);
		}
		assert_int_equal(forecaster_predict(&g, &h, now_ns, 96, &b, NULL), 0);
		assert_memory_equal(&a, &b, sizeof(a));
		forecaster_release(&g);
		assert_int_equal(forecaster_init(&g, forecaster_at(m ? 0 : 1), &conf, NULL), 0);
		assert_int_equal(forecaster_load(&g, buf_str(&out), NULL), HCP_EINVAL);
		forecaster_release(&g);
		assert_int_equal(forecaster_init(&g, forecaster_at(m), &other, NULL), 0);
		assert_int_equal(forecaster_load(&g, buf_str(&out), NULL), HCP_EINVAL);
		forecaster_release(&g);
		forecaster_release(&f);
		buf_release(&out);
	}
	history_release(&h);
}

static int whole_life(const struct forecaster_vt *vt, const struct forecast_conf *conf, const struct history *h,
	int64_t now_ns)
{
	static struct forecast out;
	struct forecaster f = { 0 }, g = { 0 };
	struct buf bytes;
	buf_init(&bytes, 0);
	int rc = forecaster_init(&f, vt, conf, NULL);
	if (rc == 0)
		rc = forecaster_init(&g, vt, conf, NULL);
	if (rc == 0)
		rc = forecaster_learn(&f, h, now_ns, NULL);
	if (rc == 0)
		rc = forecaster_predict(&f, h, now_ns, 24, &out, NULL);
	if (rc == 0)
		rc = forecaster_save(&f, &bytes, NULL);
	if (rc == 0)
		rc = forecaster_load(&g, buf_str(&bytes), NULL);
	buf_release(&bytes);
	forecaster_release(&f);
	forecaster_release(&g);
	return rc;
}

static void memory_may_end_anywhere(void **state)
{
	(void)state;
	struct forecast_conf conf = conf_of(1000);
	struct history h;
	struct rng rng;
	int64_t n = 30 * 96, now_ns = t0 + n * STEP_NS;
	conf.rounds = 1;
	conf.epochs = 1;
	history_init(&h);
	rng_init(&rng, 7);
	add_market(&h, &rng, 0, n);
	for (size_t m = 0; forecaster_at(m); m++) {
		int rc = HCP_ENOMEM;
		for (uint64_t k = 1; rc != 0; k++) {
			int64_t live = mem_live();
			assert_true(k < 1000);
			mem_fail_after(k, 0);
			rc = whole_life(forecaster_at(m), &conf, &h, now_ns);
			mem_fail_after(0, 0);
			assert_true(rc == 0 || rc == HCP_ENOMEM);
			assert_int_equal(mem_live(), live);
		}
	}
	history_release(&h);
}

static void what_cannot_be_is_refused(void **state)
{
	(void)state;
	static const uint16_t falling[] = { 3, 2 };
	static struct forecast out;
	struct forecast_point p[2];
	struct err err = { 0 };
	struct forecaster f;
	struct history h;
	struct rng rng;
	struct forecast_conf conf = conf_of(1000), bad = conf;
	bad.step_ns = 7 * 60 * S_NS;
	assert_int_equal(forecaster_init(&f, forecaster_find(STR("trees")), &bad, &err), HCP_EINVAL);
	assert_string_equal(err.field, "step_ns");
	bad = conf;
	bad.threads = 0;
	assert_int_equal(forecaster_init(&f, forecaster_find(STR("trees")), &bad, &err), HCP_EINVAL);
	assert_string_equal(err.field, "threads");
	assert_null(forecaster_find(STR("oracle")));
	history_init(&h);
	rng_init(&rng, 8);
	start(&f, "regression", &conf);
	assert_int_equal(forecaster_learn(&f, &h, t0, &err), HCP_EAGAIN);
	add_market(&h, &rng, 0, 27 * 96);
	assert_int_equal(forecaster_learn(&f, &h, t0 + 27 * DAY_NS, &err), HCP_EAGAIN);
	add_market(&h, &rng, 27 * 96, 29 * 96);
	learn(&f, &h, t0 + 29 * DAY_NS);
	assert_int_equal(forecaster_predict(&f, &h, t0 + 29 * DAY_NS, 0, &out, &err), HCP_EINVAL);
	assert_int_equal(forecaster_predict(&f, &h, t0 + 29 * DAY_NS, FORECAST_STEPS_MAX + 1, &out, &err), HCP_EINVAL);
	assert_int_equal(forecaster_predict_at(&f, &h, t0 + 29 * DAY_NS, falling, 2, p, &err), HCP_EINVAL);
	/* Nothing for more than two weeks. */
	assert_int_equal(forecaster_predict(&f, &h, t0 + 60 * DAY_NS, 4, &out, &err), HCP_EAGAIN);
	forecaster_release(&f);
	history_release(&h);
}

static void the_net_s_gradient_is_that_of_its_loss(void **state)
{
	(void)state;
	enum { BATCH = 3 };
	struct gru *w = fc_gru_new();
	double *param = mem_calloc(FC_GRU_PARAMS, sizeof(double)), *grad = mem_calloc(FC_GRU_PARAMS, sizeof(double));
	double *x = mem_calloc(FC_SEQ_LEN * BATCH * FC_SEQ_N, sizeof(double));
	static double out[BATCH * FC_GRU_OUT], by[BATCH * FC_GRU_OUT];
	struct rng rng;
	assert_true(w && param && grad && x);
	rng_init(&rng, 9);
	fc_gru_start(param, 9);
	for (int i = FC_GRU_B; i < FC_GRU_PARAMS; i++)
		param[i] = 0.3 * rng_normal(&rng);
	for (int i = 0; i < FC_SEQ_LEN * BATCH * FC_SEQ_N; i++)
		x[i] = rng_normal(&rng);
	for (int i = 0; i < BATCH * FC_GRU_OUT; i++)
		by[i] = rng_normal(&rng);
	fc_gru_forward(w, param, x, BATCH, out);
	fc_gru_backward(w, param, x, BATCH, by, grad);
	for (int i = 0; i < FC_GRU_PARAMS; i += 13) {
		double loss[2] = { 0, 0 }, keep = param[i], step = 1e-5;
		for (int side = 0; side < 2; side++) {
			param[i] = keep + (side ? step : -step);
			fc_gru_forward(w, param, x, BATCH, out);
			for (int k = 0; k < BATCH * FC_GRU_OUT; k++)
				loss[side] += out[k] * by[k];
		}
		param[i] = keep;
		double slope = (loss[1] - loss[0]) / (2 * step);
		if (fabs(slope - grad[i]) > 1e-5 * (1 + fabs(slope)))
			fail_msg("parameter %d: the loss rises by %.9g, the gradient says %.9g", i, slope, grad[i]);
	}
	gru_free(w);
	mem_free(param);
	mem_free(grad);
	mem_free(x);
}

static void a_tail_s_mean_is_found(void **state)
{
	(void)state;
	enum { N = 4000 };
	static double e[N];
	struct rng rng;
	rng_init(&rng, 10);
	/* Generalised Pareto of shape 0.3 and size 2 has mean 2/0.7; an exponential one its size. */
	for (int i = 0; i < N; i++)
		e[i] = 2 / 0.3 * (pow(1 - rng_double(&rng), -0.3) - 1);
	assert_true(fabs(fc_tail_mean(e, N) - 2 / 0.7) < 0.25);
	for (int i = 0; i < N; i++)
		e[i] = 5 * rng_exp(&rng);
	assert_true(fabs(fc_tail_mean(e, N) - 5) < 0.3);
	assert_true(fc_tail_mean(e, 0) == 0);
}

/* A random walk cannot be foreseen: the combination must not be led astray. */
static void persistence_stays_where_nothing_is_better(void **state)
{
	(void)state;
	static const uint16_t step[] = { 0, 3, 23 };
	struct forecast_conf conf = conf_of(3000);
	struct forecaster f;
	struct history h;
	struct rng rng;
	double walk = 10, loss[2] = { 0 };
	conf.kind = HISTORY_BTC_USD;
	conf.location[0] = 0;
	conf.step_ns = 3600 * S_NS;
	conf.retrain_ns = 365 * DAY_NS;
	history_init(&h);
	rng_init(&rng, 11);
	for (int64_t i = 0; i < 400 * 24; i++) {
		walk += 0.005 * rng_normal(&rng);
		assert_int_equal(
			history_add(&h, HISTORY_BTC_USD, "", t0 + i * 3600 * S_NS, 3600 * S_NS, exp(walk), NULL), 0);
	}
	start(&f, "combination", &conf);
	for (int64_t i = 300 * 24; i < 398 * 24; i += 5) {
		int64_t now_ns = t0 + i * 3600 * S_NS;
		struct forecast_point p[3];
		learn(&f, &h, now_ns);
		for (int m = 0; m < 2; m++) {
			struct forecaster *one = m ? &f : forecaster_member(&f, 0);
			assert_int_equal(forecaster_predict_at(one, &h, now_ns, step, 3, p, NULL), 0);
			for (int k = 0; k < 3; k++)
				loss[m] += forecast_pinball(&p[k], history_at(h.s[0], now_ns + step[k] * conf.step_ns));
		}
	}
	assert_true(loss[1] < 1.03 * loss[0]);
	forecaster_release(&f);
	history_release(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_coefficients_of_an_autoregression_are_found),
		cmocka_unit_test(a_daily_pattern_is_learned),
		cmocka_unit_test(quantiles_hold_what_they_promise),
		cmocka_unit_test(what_is_not_known_yet_changes_nothing),
		cmocka_unit_test(a_known_day_ahead_price_is_used),
		cmocka_unit_test(bytes_come_back_as_the_same_model),
		cmocka_unit_test(memory_may_end_anywhere),
		cmocka_unit_test(what_cannot_be_is_refused),
		cmocka_unit_test(the_net_s_gradient_is_that_of_its_loss),
		cmocka_unit_test(a_tail_s_mean_is_found),
		cmocka_unit_test(persistence_stays_where_nothing_is_better),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
