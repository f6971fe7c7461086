#ifndef HCP_HEALTH_FOREST_H
#define HCP_HEALTH_FOREST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

/*
 * Isolation forest (Liu, Ting, Zhou: "Isolation Forest", ICDM 2008): trees that cut a sample of the rows at random
 * values of random features. What is unlike the rest is alone after few cuts:
 *
 *	score = 2^(-mean path / c(n)),  c(n) = 2 H(n - 1) - 2 (n - 1) / n,  a leaf of m rows counts as c(m) more cuts
 *
 * about 0.5 for the ordinary, towards 1 for the strange.
 */
enum {
	FOREST_TREES = 100,
	FOREST_ROWS = 256,   /* of a tree */
	FOREST_DEPTH = 8,    /* log2(FOREST_ROWS): deeper, all are ordinary */
	FOREST_NODES = 2 * FOREST_ROWS,
	FOREST_FEATURES_MAX = 16,
};

struct forest_node {
	float cut;      /* feature < cut: left; leaf: what its path is longer by */
	uint16_t left;  /* index in the tree, right is left + 1; 0: leaf */
	uint16_t feature;
};

struct forest {
	struct forest_node node[FOREST_TREES][FOREST_NODES];
	float path;     /* c(rows of a tree) */
	size_t features;
};

/* x: n rows of `features`, finite. False: fewer than 2 rows or too many features; the forest is as it was. */
bool forest_grow(struct forest *f, const float *x, size_t n, size_t features, struct rng *rng);
float forest_score(const struct forest *f, const float *x);

#endif
