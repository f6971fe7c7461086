#include "learn/tree.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"

/* ---- growing ---- */

/* A row at a node, with as much of its weight as came there. */
struct item {
	uint32_t row;
	float weight;
};

struct split {
	double gain; /* fall of impurity times weight */
	float cut;
	uint16_t feature;
};

struct grower {
	struct tree *t;
	const struct tree_rows *rows;
	const struct tree_conf *conf;
	struct known *known; /* [n of the node], borrowed by the node in work */
	double total;
};

struct known {
	float value, weight;
	uint32_t row;
	uint8_t label;
};

static int by_value(const void *a, const void *b)
{
	const struct known *x = a, *y = b;
	if (x->value < y->value || x->value > y->value)
		return x->value < y->value ? -1 : 1;
	return x->row < y->row ? -1 : x->row > y->row; /* sums are taken in one order */
}

static float value_of(const struct grower *g, const struct item *i, size_t feature)
{
	return g->rows->x[(size_t)i->row * g->rows->features + feature];
}

/* Weight times Gini impurity: w − Σ w_c² / w. */
static double impurity(const double *count, size_t classes, double w)
{
	double sum = 0;
	for (size_t c = 0; c < classes; c++)
		sum += count[c] * count[c];
	return w > 0 ? w - sum / w : 0;
}

static void scan(const struct grower *g, size_t feature, size_t n, const double *all, double w, struct split *best)
{
	double left[TREE_CLASSES_MAX] = { 0 }, right[TREE_CLASSES_MAX], wl = 0, whole = impurity(all, g->rows->classes, w);
	memcpy(right, all, sizeof(right));
	for (size_t i = 0; i + 1 < n; i++) {
		const struct known *k = &g->known[i];
		left[k->label] += (double)k->weight;
		right[k->label] -= (double)k->weight;
		wl += (double)k->weight;
		if (!(k->value < k[1].value) || wl < g->conf->leaf_min || w - wl < g->conf->leaf_min)
			continue;
		double gain = whole - impurity(left, g->rows->classes, wl) - impurity(right, g->rows->classes, w - wl);
		if (gain <= best->gain)
			continue;
		float cut = k->value + (k[1].value - k->value) / 2;
		*best = (struct split){ gain, cut > k->value ? cut : k[1].value, (uint16_t)feature };
	}
}

static struct split choose(struct grower *g, const struct item *item, size_t n)
{
	struct split best = { .gain = g->conf->gain_min * g->total };
	best.feature = (uint16_t)g->rows->features;
	for (size_t f = 0; f < g->rows->features; f++) {
		double all[TREE_CLASSES_MAX] = { 0 }, w = 0;
		size_t known = 0;
		for (size_t i = 0; i < n; i++) {
			float v = value_of(g, &item[i], f);
			uint8_t label = g->rows->label[item[i].row];
			if (isnan(v))
				continue;
			g->known[known++] = (struct known){ v, item[i].weight, item[i].row, label };
			all[label] += (double)item[i].weight;
			w += (double)item[i].weight;
		}
		qsort(g->known, known, sizeof(g->known[0]), by_value);
		scan(g, f, known, all, w, &best);
	}
	return best;
}

/* Into left[] and right[], rows without the value into both. */
static void divide(const struct grower *g, const struct item *item, size_t n, const struct split *s, struct item *left,
	struct item *right, size_t *n_left, size_t *n_right)
{
	double wl = 0, w = 0;
	*n_left = *n_right = 0;
	for (size_t i = 0; i < n; i++) {
		float v = value_of(g, &item[i], s->feature);
		w += isnan(v) ? 0 : (double)item[i].weight;
		wl += v < s->cut ? (double)item[i].weight : 0;
	}
	float share = (float)(wl / w);
	for (size_t i = 0; i < n; i++) {
		float v = value_of(g, &item[i], s->feature);
		if (isnan(v)) {
			left[(*n_left)++] = (struct item){ item[i].row, item[i].weight * share };
			right[(*n_right)++] = (struct item){ item[i].row, item[i].weight * (1 - share) };
		} else if (v < s->cut) {
			left[(*n_left)++] = item[i];
		} else {
			right[(*n_right)++] = item[i];
		}
	}
}

static int grow(struct grower *g, size_t at, size_t depth, const struct item *item, size_t n)
{
	struct tree_node *node = &g->t->node[at];
	double count[TREE_CLASSES_MAX] = { 0 };
	for (size_t i = 0; i < n; i++)
		count[g->rows->label[item[i].row]] += (double)item[i].weight;
	for (size_t c = 0; c < g->rows->classes; c++)
		node->count[c] = (float)count[c];
	if (depth == g->conf->depth)
		return 0;
	struct split s = choose(g, item, n);
	if (s.feature == g->rows->features)
		return 0;
	size_t nl, nr;
	struct item *left = mem_alloc(n * sizeof(*left)), *right = mem_alloc(n * sizeof(*right));
	int rc = left && right ? 0 : HCP_ENOMEM;
	if (rc == 0) {
		divide(g, item, n, &s, left, right, &nl, &nr);
		node->cut = s.cut;
		node->feature = s.feature;
		node->left = (uint16_t)g->t->n;
		g->t->n += 2;
		rc = grow(g, node->left, depth + 1, left, nl);
	}
	if (rc == 0)
		rc = grow(g, node->left + 1u, depth + 1, right, nr);
	mem_free(left);
	mem_free(right);
	return rc;
}

static int check(const struct tree_rows *r, const struct tree_conf *conf, struct err *err)
{
	if (r->n == 0 || r->n > TREE_ROWS_MAX)
		return err_set(err, HCP_ERANGE, "rows", "must be 1 to %d, are %zu", TREE_ROWS_MAX, r->n);
	if (r->features == 0 || r->features > TREE_FEATURES_MAX || r->classes < 2 || r->classes > TREE_CLASSES_MAX)
		return err_set(err, HCP_ERANGE, "rows", "%zu features and %zu classes; at most %d and %d", r->features,
			r->classes, TREE_FEATURES_MAX, TREE_CLASSES_MAX);
	if (conf->depth == 0 || conf->depth > TREE_DEPTH_MAX)
		return err_set(err, HCP_ERANGE, "depth", "must be 1 to %d, is %zu", TREE_DEPTH_MAX, conf->depth);
	for (size_t i = 0; i < r->n; i++) {
		if (r->label[i] >= r->classes)
			return err_set(err, HCP_EINVAL, "label", "row %zu: there is no class %u", i, r->label[i]);
		if (!(r->weight[i] > 0 && r->weight[i] <= 1e6F))
			return err_set(err, HCP_ERANGE, "weight", "row %zu: must be above 0 and at most a million", i);
		for (size_t f = 0; f < r->features; f++)
			if (isinf(r->x[i * r->features + f]))
				return err_set(err, HCP_ERANGE, "x", "row %zu: feature %zu is infinite", i, f);
	}
	return 0;
}

int tree_grow(struct tree *ret, const struct tree_rows *rows, const struct tree_conf *conf, struct err *err)
{
	int rc = check(rows, conf, err);
	if (rc < 0)
		return rc;
	struct tree *t = mem_calloc(1, sizeof(*t));
	struct item *item = mem_alloc(rows->n * sizeof(*item));
	struct grower g = { t, rows, conf, mem_alloc(rows->n * sizeof(struct known)), 0 };
	rc = t && item && g.known ? 0 : HCP_ENOMEM;
	for (size_t i = 0; rc == 0 && i < rows->n; i++) {
		item[i] = (struct item){ (uint32_t)i, rows->weight[i] };
		g.total += (double)rows->weight[i];
	}
	if (rc == 0) {
		t->features = rows->features;
		t->classes = rows->classes;
		t->n = 1;
		rc = grow(&g, 0, 0, item, rows->n);
	}
	if (rc == 0)
		*ret = *t;
	mem_free(g.known);
	mem_free(item);
	mem_free(t);
	return rc < 0 ? err_set(err, rc, "", "no memory") : 0;
}

/* ---- asking ---- */

static double weight_of(const struct tree *t, size_t at)
{
	double w = 0;
	for (size_t c = 0; c < t->classes; c++)
		w += (double)t->node[at].count[c];
	return w;
}

/* Part of the known rows that went left. */
static double share_left(const struct tree *t, const struct tree_node *n)
{
	double l = weight_of(t, n->left), r = weight_of(t, n->left + 1u);
	return l / (l + r);
}

static double add(const struct tree *t, size_t at, const float *x, double share, double *p)
{
	const struct tree_node *n = &t->node[at];
	if (!n->left) {
		double w = weight_of(t, at);
		for (size_t c = 0; c < t->classes; c++)
			p[c] += share * ((double)n->count[c] + 1) / (w + (double)t->classes);
		return share * w;
	}
	float v = x[n->feature];
	if (!isnan(v))
		return add(t, v < n->cut ? n->left : n->left + 1u, x, share, p);
	double l = share_left(t, n);
	return add(t, n->left, x, share * l, p) + add(t, n->left + 1u, x, share * (1 - l), p);
}

double tree_say(const struct tree *t, const float *x, double *p)
{
	memset(p, 0, t->classes * sizeof(*p));
	return add(t, 0, x, 1, p);
}

size_t tree_path(const struct tree *t, const float *x, struct tree_step step[TREE_DEPTH_MAX])
{
	size_t n = 0, at = 0;
	while (n < TREE_DEPTH_MAX && t->node[at].left) {
		const struct tree_node *node = &t->node[at];
		float v = x[node->feature];
		bool left = isnan(v) ? share_left(t, node) >= 0.5 : v < node->cut;
		step[n++] = (struct tree_step){ node->feature, (int8_t)(isnan(v) ? 0 : left ? -1 : 1), node->cut };
		at = left ? node->left : node->left + 1u;
	}
	return n;
}

/* ---- bytes ---- */

struct head {
	char magic[4];
	uint32_t crc, version, features, classes, nodes;
};
static_assert(sizeof(struct head) == 24, "no padding");
struct stored_node {
	float cut;
	uint16_t left, feature;
};
static_assert(sizeof(struct stored_node) == 8, "no padding");
enum { VERSION = 1, CRC_FROM = 8 };
#define COUNT_MAX 1e12

int tree_save(const struct tree *t, struct buf *out, struct err *err)
{
	struct head h = { "HCPT", 0, VERSION, (uint32_t)t->features, (uint32_t)t->classes, (uint32_t)t->n };
	size_t start = out->n;
	if (t->n == 0)
		return err_set(err, HCP_ESTATE, "tree", "has not been grown");
	buf_add(out, &h, sizeof(h));
	for (size_t i = 0; i < t->n; i++) {
		struct stored_node s = { t->node[i].cut, t->node[i].left, t->node[i].feature };
		buf_add(out, &s, sizeof(s));
		buf_add(out, t->node[i].count, t->classes * sizeof(float));
	}
	if (buf_failed(out))
		return err_set(err, HCP_ENOMEM, "tree", "no memory, or too large");
	uint32_t crc = crc32c(0, out->data + start + CRC_FROM, out->n - start - CRC_FROM);
	memcpy(out->data + start + offsetof(struct head, crc), &crc, sizeof(crc));
	return 0;
}

/* Children come behind their parent, each has one, and no path is too long. depth[i]: splits above node i, + 1. */
static bool is_tree(const struct tree *t)
{
	uint8_t depth[TREE_NODES_MAX] = { 1 };
	for (size_t i = 0; i < t->n; i++) {
		const struct tree_node *n = &t->node[i];
		double w = weight_of(t, i);
		for (size_t c = 0; c < t->classes; c++)
			if (!(n->count[c] >= 0))
				return false;
		if (!depth[i] || !isfinite(n->cut) || !(w > 0 && w <= COUNT_MAX) || n->feature >= t->features)
			return false;
		if (!n->left)
			continue;
		if (n->left <= i || n->left + 1u >= t->n || depth[n->left] || depth[n->left + 1u] || depth[i] > TREE_DEPTH_MAX)
			return false;
		depth[n->left] = depth[n->left + 1u] = (uint8_t)(depth[i] + 1);
	}
	return true;
}

static int decode(struct tree *t, const struct head *h, struct str rest)
{
	size_t each = sizeof(struct stored_node) + h->classes * sizeof(float);
	if (h->features == 0 || h->features > TREE_FEATURES_MAX || h->classes < 2 || h->classes > TREE_CLASSES_MAX ||
		h->nodes == 0 || h->nodes > TREE_NODES_MAX || rest.n != h->nodes * each)
		return HCP_ECORRUPT;
	t->features = h->features;
	t->classes = h->classes;
	t->n = h->nodes;
	for (size_t i = 0; i < t->n; i++) {
		struct stored_node s;
		memcpy(&s, rest.p + i * each, sizeof(s));
		t->node[i] = (struct tree_node){ .cut = s.cut, .left = s.left, .feature = s.feature };
		memcpy(t->node[i].count, rest.p + i * each + sizeof(s), t->classes * sizeof(float));
	}
	return is_tree(t) ? 0 : HCP_ECORRUPT;
}

int tree_load(struct tree *t, struct str bytes, struct err *err)
{
	struct head h;
	if (bytes.n > TREE_BYTES_MAX || bytes.n < sizeof(h))
		return err_set(err, HCP_ECORRUPT, "tree", "not a stored tree, or a damaged one");
	memcpy(&h, bytes.p, sizeof(h));
	if (memcmp(h.magic, "HCPT", 4) != 0 || crc32c(0, bytes.p + CRC_FROM, bytes.n - CRC_FROM) != h.crc)
		return err_set(err, HCP_ECORRUPT, "tree", "not a stored tree, or a damaged one");
	if (h.version != VERSION)
		return err_set(err, HCP_ECORRUPT, "tree", "is of version %u, not %d", (unsigned)h.version, VERSION);
	struct tree *made = mem_calloc(1, sizeof(*made));
	if (!made)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	int rc = decode(made, &h, (struct str){ bytes.p + sizeof(h), bytes.n - sizeof(h) });
	if (rc == 0)
		*t = *made;
	mem_free(made);
	return rc < 0 ? err_set(err, rc, "tree", "does not hold together") : 0;
}
