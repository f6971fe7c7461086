#ifndef HCP_LEARN_TREE_H
#define HCP_LEARN_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * One classification tree (CART: Breiman, Friedman, Olshen, Stone 1984; splits by the least Gini impurity). A value may
 * be missing (NAN): such a row takes no part in the choice of a split on it and goes to both sides, with as much of its
 * weight as known rows went there; what is asked later does the same (Quinlan, C4.5). So what is missing lowers the
 * confidence and is never itself a sign of something. Pure; the same rows give the same tree.
 *
 *	node[0] ── x[feature] < cut ──▶ node[left]
 *	        └─ x[feature] ≥ cut ──▶ node[left + 1]      left 0: a leaf
 */
enum {
	TREE_CLASSES_MAX = 8,
	TREE_FEATURES_MAX = 16,
	TREE_DEPTH_MAX = 8, /* splits on a path; bounds every recursion */
	TREE_NODES_MAX = (2 << TREE_DEPTH_MAX) - 1,
	TREE_ROWS_MAX = 4 * 1024 * 1024,
	TREE_BYTES_MAX = 32 << 10, /* of a stored one */
};

struct tree_node {
	float cut;
	uint16_t left; /* index; the other side is left + 1; 0: leaf */
	uint16_t feature;
	float count[TREE_CLASSES_MAX]; /* weight of the rows that came here, by class */
};

struct tree {
	size_t features, classes, n; /* n: nodes; 0: none was grown */
	struct tree_node node[TREE_NODES_MAX];
};

/* All borrowed. x: n rows of `features`, NAN where missing; label < classes; weight > 0. */
struct tree_rows {
	size_t n, features, classes;
	const float *x;
	const uint8_t *label;
	const float *weight;
};

struct tree_conf {
	size_t depth;    /* 1..TREE_DEPTH_MAX */
	double leaf_min; /* weight on either side of a split */
	double gain_min; /* least fall of impurity of a split, as a share of the weight of all rows */
};

/* One condition on the way to a leaf. */
struct tree_step {
	uint16_t feature;
	int8_t side; /* -1: below cut, 1: not below, 0: missing, both sides count (the path goes on along the heavier) */
	float cut;
};

/* HCP_EINVAL, HCP_ERANGE with the field (x, label, weight, depth, rows), HCP_ENOMEM; *ret is written on success only.
 */
int tree_grow(struct tree *ret, const struct tree_rows *rows, const struct tree_conf *conf, struct err *err) MUST_CHECK;
/*
 * Share of each class in p[classes], sum 1, by the counts of the leaves with one row more of every class (Laplace). x:
 * `features` values, NAN where missing. Returns the weight of rows behind it.
 */
double tree_say(const struct tree *t, const float *x, double *p);
/* The conditions met, at most TREE_DEPTH_MAX; returns how many. */
size_t tree_path(const struct tree *t, const float *x, struct tree_step step[TREE_DEPTH_MAX]);

/*
 * Appended to out, little-endian:
 *	| "HCPT" | crc32c u32 | version u32 | features u32 | classes u32 | nodes u32 |
 *	| nodes × ( cut f32 | left u16 | feature u16 | count f32 [classes] ) |
 * The checksum covers everything after it. load checks all of it, also that the nodes are a tree of at most
 * TREE_DEPTH_MAX, and then swaps it in: HCP_ECORRUPT leaves t as it was.
 */
int tree_save(const struct tree *t, struct buf *out, struct err *err) MUST_CHECK;
int tree_load(struct tree *t, struct str bytes, struct err *err) MUST_CHECK;

#endif
