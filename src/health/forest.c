#include "health/forest.h"

#include <math.h>

#define EULER 0.5772156649F

static float average_path(size_t n)
{
	if (n <= 1)
		return 0;
	if (n == 2)
		return 1;
	return 2 * (logf((float)(n - 1)) + EULER) - 2 * (float)(n - 1) / (float)n;
}

struct grower {
	const float *x;
	size_t features;
	struct rng *rng;
	struct forest_node *node;
	uint16_t n_nodes;
	uint32_t row[FOREST_ROWS];
};

/* A feature in which the rows differ, and a value that cuts them; false: they are all alike. */
static bool choose(struct grower *g, size_t from, size_t to, uint16_t *ret_feature, float *ret_cut)
{
	size_t first = (size_t)rng_below(g->rng, g->features);
	for (size_t k = 0; k < g->features; k++) {
		size_t f = (first + k) % g->features;
		float low = g->x[g->row[from] * g->features + f], high = low;
		for (size_t i = from + 1; i < to; i++) {
			float v = g->x[g->row[i] * g->features + f];
			low = v < low ? v : low;
			high = v > high ? v : high;
		}
		if (!(low < high))
			continue;
		float cut = low + (high - low) * (float)rng_double(g->rng);
		*ret_feature = (uint16_t)f;
		*ret_cut = cut > low ? cut : high; /* both sides have a row */
		return true;
	}
	return false;
}

static size_t split(struct grower *g, size_t from, size_t to, uint16_t feature, float cut)
{
	size_t at = from;
	for (size_t i = from; i < to; i++) {
		if (g->x[g->row[i] * g->features + feature] < cut) {
			uint32_t r = g->row[i];
			g->row[i] = g->row[at];
			g->row[at++] = r;
		}
	}
	return at;
}

/* At most FOREST_DEPTH deep. */
static void grow(struct grower *g, uint16_t at, size_t from, size_t to, int depth)
{
	uint16_t feature;
	float cut;
	if (to - from <= 1 || depth == FOREST_DEPTH || !choose(g, from, to, &feature, &cut)) {
		g->node[at] = (struct forest_node){ .cut = (float)depth + average_path(to - from) };
		return;
	}
	size_t middle = split(g, from, to, feature, cut);
	uint16_t left = g->n_nodes;
	g->n_nodes = (uint16_t)(g->n_nodes + 2);
	g->node[at] = (struct forest_node){ .cut = cut, .left = left, .feature = feature };
	grow(g, left, from, middle, depth + 1);
	grow(g, (uint16_t)(left + 1), middle, to, depth + 1);
}

bool forest_grow(struct forest *f, const float *x, size_t n, size_t features, struct rng *rng)
{
	struct grower g = { .x = x, .features = features, .rng = rng };
	size_t rows = n < FOREST_ROWS ? n : FOREST_ROWS;
	if (n < 2 || n > UINT32_MAX || features == 0 || features > FOREST_FEATURES_MAX)
		return false;
	for (size_t t = 0; t < FOREST_TREES; t++) {
		/* Floyd's way to choose without a copy would need a set; a few rows twice do no harm. */
		for (size_t i = 0; i < rows; i++)
			g.row[i] = n <= FOREST_ROWS ? (uint32_t)i : (uint32_t)rng_below(rng, n);
		g.node = f->node[t];
		g.n_nodes = 1;
		grow(&g, 0, 0, rows, 0);
	}
	f->path = average_path(rows);
	f->features = features;
	return true;
}

float forest_score(const struct forest *f, const float *x)
{
	float sum = 0;
	for (size_t t = 0; t < FOREST_TREES; t++) {
		const struct forest_node *tree = f->node[t], *at = tree;
		while (at->left)
			at = &tree[at->left + (x[at->feature] >= at->cut)];
		sum += at->cut;
	}
	return exp2f(-sum / FOREST_TREES / f->path);
}
