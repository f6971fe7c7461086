#ifndef HCP_HEALTH_AUTOENCODER_H
#define HCP_HEALTH_AUTOENCODER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"

/*
 * Recurrent autoencoder (after Malhotra et al. 2016): one recurrent layer reads a window of a device's signals into its
 * state, another unrolls that state without input, an affine layer turns its states into signals again:
 *
 *	x[0] … x[T-1] ─▶ GRU ─▶ state ─▶ GRU ─▶ h[0] … h[T-1] ─▶ Wo h + bo = y,   loss = mean (y - x)²
 *
 * It learns the shapes that healthy devices have; what it cannot draw again is strange.
 */
enum {
	AE_SIGNALS = 6,
	AE_STEPS = 24,  /* of five minutes each: two hours */
	AE_HIDDEN = 12,
	AE_BATCH = 64,
	AE_WINDOW = AE_STEPS * AE_SIGNALS,
};

struct autoencoder;

/* NULL: no memory. */
struct autoencoder *autoencoder_new(uint64_t seed);
void autoencoder_free(struct autoencoder *a);
/* A step of training on up to AE_BATCH windows [n][AE_STEPS][AE_SIGNALS]; returns the mean squared error before it. */
double autoencoder_train(struct autoencoder *a, const float *window, size_t n);
/* Mean squared error of each of n <= AE_BATCH windows; by_signal [n][AE_SIGNALS] may be NULL. */
void autoencoder_error(struct autoencoder *a, const float *window, size_t n, float *ret, float *by_signal);

#endif
