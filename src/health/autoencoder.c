#include "health/autoencoder.h"

#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "learn/adam.h"
#include "learn/gru.h"

enum {
	X = AE_SIGNALS,
	H = AE_HIDDEN,
	T = AE_STEPS,
	B = AE_BATCH,
	READ = 0,
	READ_N = 3 * H * X + 3 * H * H + 3 * H + H,
	DRAW = READ + READ_N, /* its weights of an input are never used: it has none */
	DRAW_N = READ_N,
	WO = DRAW + DRAW_N,   /* [X][H] */
	BO = WO + X * H,
	PARAMS = BO + X,
};

#define RATE 0.004
#define GRADIENT_MAX 1.0

struct autoencoder {
	struct gru *reader, *drawer; /* owned */
	uint64_t steps;
	double param[PARAMS], grad[PARAMS], m1[PARAMS], m2[PARAMS];
	double x[T * B * X], y[T * B * X];
};

struct autoencoder *autoencoder_new(uint64_t seed)
{
	const struct gru_shape shape = { .inputs = X, .hidden = H, .steps = T, .batch = B };
	struct autoencoder *a = mem_calloc(1, sizeof(*a));
	struct rng rng;
	if (!a)
		return NULL;
	a->reader = gru_new(&shape);
	a->drawer = gru_new(&shape);
	if (!a->reader || !a->drawer) {
		autoencoder_free(a);
		return NULL;
	}
	rng_init(&rng, seed);
	gru_start(&shape, a->param + READ, &rng);
	gru_start(&shape, a->param + DRAW, &rng);
	for (int i = WO; i < BO; i++)
		a->param[i] = 0.2 * (2 * rng_double(&rng) - 1);
	return a;
}

void autoencoder_free(struct autoencoder *a)
{
	if (!a)
		return;
	gru_free(a->reader);
	gru_free(a->drawer);
	mem_free(a);
}

/* y becomes what it draws for the windows, which are laid out by steps in x. */
static void forward(struct autoencoder *a, const float *window, size_t n)
{
	must(n > 0 && n <= B);
	for (size_t i = 0; i < n; i++)
		for (size_t t = 0; t < T; t++)
			for (size_t k = 0; k < X; k++)
				a->x[(t * n + i) * X + k] = (double)window[(i * T + t) * X + k];
	gru_forward(a->reader, a->param + READ, a->x, NULL, n);
	gru_forward(a->drawer, a->param + DRAW, NULL, gru_state(a->reader, T), n);
	for (size_t t = 0; t < T; t++) {
		double *y = a->y + t * n * X;
		for (size_t i = 0; i < n; i++)
			memcpy(y + i * X, a->param + BO, X * sizeof(double));
		gru_add_abt(gru_state(a->drawer, t + 1), a->param + WO, y, n, X, H);
	}
}

void autoencoder_error(struct autoencoder *a, const float *window, size_t n, float *ret, float *by_signal)
{
	forward(a, window, n);
	for (size_t i = 0; i < n; i++) {
		double sum = 0, of[X] = { 0 };
		for (size_t t = 0; t < T; t++) {
			for (size_t k = 0; k < X; k++) {
				double d = a->y[(t * n + i) * X + k] - a->x[(t * n + i) * X + k];
				of[k] += d * d / T;
				sum += d * d / (T * X);
			}
		}
		ret[i] = (float)sum;
		for (size_t k = 0; by_signal && k < X; k++)
			by_signal[i * X + k] = (float)of[k];
	}
}

double autoencoder_train(struct autoencoder *a, const float *window, size_t n)
{
	double loss = 0, scale = 1.0 / (double)(n * T * X);
	forward(a, window, n);
	memset(a->grad, 0, sizeof(a->grad));
	gru_clear(a->reader, n);
	gru_clear(a->drawer, n);
	for (size_t t = 0; t < T; t++) {
		double *y = a->y + t * n * X;
		for (size_t i = 0; i < n * X; i++) {
			double d = y[i] - a->x[t * n * X + i];
			loss += d * d * scale;
			y[i] = 2 * d * scale;
			a->grad[BO + i % X] += y[i];
		}
		gru_add_atb(y, gru_state(a->drawer, t + 1), a->grad + WO, X, H, n);
		gru_add_ab(y, a->param + WO, gru_d_state(a->drawer, t + 1), n, H, X);
	}
	gru_backward(a->drawer, a->param + DRAW, NULL, n, a->grad + DRAW);
	memcpy(gru_d_state(a->reader, T), gru_d_state(a->drawer, 0), n * H * sizeof(double));
	gru_backward(a->reader, a->param + READ, a->x, n, a->grad + READ);
	adam_step(a->param, a->grad, a->m1, a->m2, PARAMS, ++a->steps, RATE, GRADIENT_MAX);
	return loss;
}
