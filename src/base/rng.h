#ifndef HCP_BASE_RNG_H
#define HCP_BASE_RNG_H

#include <stdint.h>

/* xoshiro256** (Blackman, Vigna 2018), seeded through splitmix64. Fast, repeatable; not for secrets. */
struct rng {
	uint64_t s[4];
};

void rng_init(struct rng *r, uint64_t seed);
uint64_t rng_u64(struct rng *r);
/* Uniform in [0, n); n > 0. */
uint64_t rng_below(struct rng *r, uint64_t n);
/* Uniform in [0, 1). */
double rng_double(struct rng *r);
/* Standard normal (polar method). */
double rng_normal(struct rng *r);
/* Exponential with mean 1. */
double rng_exp(struct rng *r);

#endif
