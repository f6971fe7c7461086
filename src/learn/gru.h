#ifndef HCP_LEARN_GRU_H
#define HCP_LEARN_GRU_H

#include <stddef.h>

#include "base/rng.h"

/*
 * A gated recurrent layer (Cho et al. 2014) over sequences of a batch:
 *
 *	r = sigmoid(Wr x + Ur h + br)           reset
 *	u = sigmoid(Wu x + Uu h + bu)           update
 *	c = tanh(Wc x + bc + r * (Uc h + bn))   candidate
 *	h' = (1 - u) * c + u * h
 *
 * Parameters, one after the other: W [3H][X], U [3H][H], b [3H] (each: reset, update, candidate), bn [H]. Arrays of
 * sequences are [step][sequence][value].
 */
struct gru_shape {
	size_t inputs, hidden, steps, batch; /* X, H; the longest sequence, the largest batch */
};

struct gru; /* activations of a batch and their gradients */

size_t gru_params(size_t inputs, size_t hidden);
/* NULL: no memory. */
struct gru *gru_new(const struct gru_shape *s);
void gru_free(struct gru *g);
/* Uniform within 1/sqrt(inputs of the product), biases 0. */
void gru_start(const struct gru_shape *s, double *param, struct rng *rng);
/* x NULL: no input, as 0. h0 [batch][H]: the state to begin with; NULL: 0. */
void gru_forward(struct gru *g, const double *param, const double *x, const double *h0, size_t batch);
/* [batch][H] after t steps of the last forward pass; t = 0: what it began with. */
const double *gru_state(const struct gru *g, size_t t);
/* Gradients [batch][H] of the loss by the state after t steps, to be filled in before gru_backward. */
double *gru_d_state(struct gru *g, size_t t);
/* All of them 0. */
void gru_clear(struct gru *g, size_t batch);
/* After forward with the same x: adds to grad; then gru_d_state(g, 0) is what h0 gets. */
void gru_backward(struct gru *g, const double *param, const double *x, size_t batch, double *grad);

/* c[m][n] += a[m][k] b[n][k]', as the layer computes it; for affine layers behind it. */
void gru_add_abt(const double *a, const double *b, double *c, size_t m, size_t n, size_t k);
/* c[m][n] += a[m][k] b[k][n] */
void gru_add_ab(const double *a, const double *b, double *c, size_t m, size_t n, size_t k);
/* c[m][n] += a[k][m]' b[k][n] */
void gru_add_atb(const double *a, const double *b, double *c, size_t m, size_t n, size_t k);

#endif
