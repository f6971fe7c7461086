#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "learn/adam.h"
#include "learn/gru.h"

enum { X = 3, H = 4, T = 6, B = 5, N = 3 * H * X + 3 * H * H + 3 * H + H };

static const struct gru_shape shape = { .inputs = X, .hidden = H, .steps = T, .batch = 8 };

/* A weighted sum of the states after every step, so that gradients come in everywhere. */
static double loss(struct gru *g, const double *param, const double *x, const double *h0, const double *by)
{
	double sum = 0;
	gru_forward(g, param, x, h0, B);
	for (size_t t = 0; t < T; t++)
		for (size_t i = 0; i < B * H; i++)
			sum += by[t * B * H + i] * gru_state(g, t + 1)[i];
	return sum;
}

static void check_gradients(const double *x)
{
	double param[N], grad[N] = { 0 }, h0[B * H], by[T * B * H];
	struct rng rng;
	struct gru *g = gru_new(&shape);
	assert_non_null(g);
	assert_int_equal(gru_params(X, H), N);
	rng_init(&rng, 4);
	gru_start(&shape, param, &rng);
	for (int i = 0; i < B * H; i++)
		h0[i] = rng_double(&rng) - 0.5;
	for (int i = 0; i < T * B * H; i++)
		by[i] = rng_double(&rng) - 0.5;
	(void)loss(g, param, x, h0, by);
	gru_clear(g, B);
	for (size_t t = 0; t < T; t++)
		memcpy(gru_d_state(g, t + 1), by + t * B * H, B * H * sizeof(double));
	gru_backward(g, param, x, B, grad);
	double d_h0[B * H];
	memcpy(d_h0, gru_d_state(g, 0), sizeof(d_h0));
	for (int i = 0; i < N + B * H; i++) {
		double *v = i < N ? &param[i] : &h0[i - N], was = *v, e = 1e-6;
		*v = was + e;
		double up = loss(g, param, x, h0, by);
		*v = was - e;
		double down = loss(g, param, x, h0, by);
		*v = was;
		assert_true(fabs((up - down) / (2 * e) - (i < N ? grad[i] : d_h0[i - N])) < 1e-6);
	}
	gru_free(g);
}

static void gradients_are_those_of_the_states(void **state)
{
	double x[T * B * X];
	struct rng rng;
	rng_init(&rng, 8);
	for (int i = 0; i < T * B * X; i++)
		x[i] = rng_normal(&rng);
	check_gradients(x);
	/* Without input its weights get none. */
	check_gradients(NULL);
}

static void adam_finds_a_minimum(void **state)
{
	double p[2] = { 5, -3 }, m1[2] = { 0 }, m2[2] = { 0 };
	for (uint64_t k = 1; k <= 4000; k++) {
		double grad[2] = { 2 * (p[0] - 1), 20 * (p[1] - 2) };
		adam_step(p, grad, m1, m2, 2, k, 0.01, 1);
	}
	assert_true(fabs(p[0] - 1) < 0.01 && fabs(p[1] - 2) < 0.01);
}

static void no_memory_is_said(void **state)
{
	mem_fail_after(1, 0);
	assert_null(gru_new(&shape));
	mem_fail_after(0, 0);
	gru_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_are_those_of_the_states),
		cmocka_unit_test(adam_finds_a_minimum),
		cmocka_unit_test(no_memory_is_said),
	};
	int64_t live = mem_live();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed ? failed : mem_live() != live;
}
