#include "econ/fc_priv.h"

#include <stdio.h>
#include <string.h>

#include <xgboost/c_api.h>

#include "base/mem.h"
#include "base/panic.h"
#include "wire/jsonv.h"

/*
 * Boosted trees, grown by libxgboost (histograms) along whatever gradient is handed in, read out of its saved model
 * into a flat array. So a prediction needs no library and no allocation, and stored trees are checked by us before they
 * are used.
 */
enum { TREE_NODES_MAX = 1 << (FC_DEPTH_MAX + 1), COMPARED = 64 /* rows */ };

static int refused(struct err *err, const char *what)
{
	return err_set(err, HCP_EINTERNAL, "", "libxgboost, %s: %.180s", what, XGBGetLastError());
}

/* "(0,-1,…)" */
static int set_directions(BoosterHandle b, const struct fc_growth *g, struct err *err)
{
	struct buf text;
	int rc = 0;
	if (!g->direction)
		return 0;
	buf_init(&text, 0);
	for (size_t i = 0; i < g->n_features; i++)
		buf_printf(&text, "%c%d", i ? ',' : '(', g->direction[i]);
	buf_addz(&text, ")");
	buf_addc(&text, 0);
	if (buf_failed(&text))
		rc = err_set(err, HCP_ENOMEM, "", "no memory for %zu features", g->n_features);
	else if (XGBoosterSetParam(b, "monotone_constraints", text.data) != 0)
		rc = refused(err, "monotone_constraints");
	buf_release(&text);
	return rc;
}

static int set_params(BoosterHandle b, const struct fc_growth *g, struct err *err)
{
	char threads[16], seed[24], outputs[24], depth[16], step[24], lambda[24], child[24], rows[24], features[24];
	const char *const param[][2] = {
		{ "verbosity", "0" },
		{ "booster", "gbtree" },
		{ "tree_method", "hist" },
		{ "max_bin", "64" },
		{ "objective", "reg:squarederror" },
		{ "disable_default_eval_metric", "1" },
		{ "base_score", "0" },
		{ "max_depth", depth },
		{ "eta", step },
		{ "lambda", lambda },
		{ "min_child_weight", child },
		{ "subsample", rows },
		{ "colsample_bytree", features },
		{ "nthread", threads },
		{ "seed", seed },
		{ "num_class", outputs },
	};
	/* The library takes one output for none. */
	size_t n = sizeof(param) / sizeof(param[0]) - (g->n_outputs == 1);
	snprintf(threads, sizeof(threads), "%u", g->threads);
	snprintf(seed, sizeof(seed), "%u", (unsigned)(g->seed & 0x7fffffff));
	snprintf(outputs, sizeof(outputs), "%zu", g->n_outputs);
	snprintf(depth, sizeof(depth), "%d", g->depth);
	snprintf(step, sizeof(step), "%g", g->step);
	snprintf(lambda, sizeof(lambda), "%g", g->lambda);
	snprintf(child, sizeof(child), "%g", g->min_child);
	snprintf(rows, sizeof(rows), "%g", g->row_share);
	snprintf(features, sizeof(features), "%g", g->feature_share);
	for (size_t i = 0; i < n; i++)
		if (XGBoosterSetParam(b, param[i][0], param[i][1]) != 0)
			return refused(err, param[i][0]);
	return set_directions(b, g, err);
}

static int matrix_of(DMatrixHandle *ret, const struct fc_matrix *m, const struct fc_growth *g, struct err *err)
{
	if (XGDMatrixCreateFromMat(m->x, m->n, g->n_features, NAN, ret) != 0)
		return refused(err, "matrix");
	if (XGDMatrixSetFloatInfo(*ret, "label", m->y, m->n) != 0)
		return refused(err, "labels");
	if (m->base && XGDMatrixSetFloatInfo(*ret, "base_margin", m->base, m->n * g->n_outputs) != 0)
		return refused(err, "start");
	return 0;
}

static int boost(
	BoosterHandle b, DMatrixHandle d, const struct fc_matrix *m, const struct fc_growth *g, struct err *err)
{
	size_t cells = m->n * g->n_outputs;
	float *grad = mem_alloc(2 * cells * sizeof(*grad));
	int rc = grad ? 0 : err_set(err, HCP_ENOMEM, "", "no memory for gradients");
	for (uint32_t i = 0; rc == 0 && i < g->rounds; i++) {
		bst_ulong n = 0;
		const float *now = NULL;
		/* 1: the sum of the leaves, with nothing put over it */
		if (g->stop && g->stop->asked(g->stop->arg))
			rc = err_set(err, HCP_ECANCELED, "", "stopped in round %u", (unsigned)i);
		else if (XGBoosterPredict(b, d, 1, 0, 1, &n, &now) != 0)
			rc = refused(err, "predict");
		else if (n != cells)
			rc = err_set(err, HCP_EINTERNAL, "", "libxgboost gives %zu values for %zu", (size_t)n, cells);
		else {
			g->gradient(m, now, grad, grad + cells);
			if (XGBoosterBoostOneIter(b, d, grad, grad + cells, cells) != 0)
				rc = refused(err, "boost");
		}
	}
	mem_free(grad);
	return rc;
}

/* ---- out of the saved model ---- */

static int parsed(json_t *array, size_t i, const char *name, json_t **ret, struct err *err)
{
	*ret = json_object_get(array, name);
	if (!json_is_array(*ret) || json_array_size(*ret) != i)
		return err_set(err, HCP_EINTERNAL, name, "libxgboost's model has no such list of %zu", i);
	return 0;
}

struct tree_json {
	json_t *left, *right, *feature, *condition, *missing_left;
	size_t n;
};

static int open_tree(json_t *tree, struct tree_json *t, struct err *err)
{
	t->n = json_array_size(json_object_get(tree, "left_children"));
	int rc = parsed(tree, t->n, "left_children", &t->left, err);
	if (rc == 0)
		rc = parsed(tree, t->n, "right_children", &t->right, err);
	if (rc == 0)
		rc = parsed(tree, t->n, "split_indices", &t->feature, err);
	if (rc == 0)
		rc = parsed(tree, t->n, "split_conditions", &t->condition, err);
	if (rc == 0)
		rc = parsed(tree, t->n, "default_left", &t->missing_left, err);
	if (rc == 0 && (t->n == 0 || t->n > TREE_NODES_MAX))
		rc = err_set(err, HCP_EINTERNAL, "tree", "libxgboost made a tree of %zu nodes", t->n);
	return rc;
}

/* Breadth first, so that siblings stand side by side. */
static int flatten(const struct tree_json *t, size_t n_features, struct fc_node *node, size_t *ret_n, struct err *err)
{
	size_t from[TREE_NODES_MAX] = { 0 }, n = 1;
	for (size_t i = 0; i < n; i++) {
		size_t at = from[i];
		json_int_t left = json_integer_value(json_array_get(t->left, at));
		json_int_t right = json_integer_value(json_array_get(t->right, at));
		json_int_t feature = json_integer_value(json_array_get(t->feature, at));
		json_t *missing = json_array_get(t->missing_left, at);
		node[i] = (struct fc_node){ .threshold = (float)json_number_value(json_array_get(t->condition, at)) };
		if (left < 0)
			continue;
		if ((size_t)left >= t->n || right < 0 || (size_t)right >= t->n || feature < 0 ||
			(size_t)feature >= n_features || n + 2 > t->n)
			return err_set(err, HCP_EINTERNAL, "tree", "libxgboost's tree is not one");
		node[i].left = (uint32_t)n;
		node[i].feature = (uint16_t)feature;
		node[i].missing_left = json_is_integer(missing) ? json_integer_value(missing) != 0 : json_is_true(missing);
		from[n++] = (size_t)left;
		from[n++] = (size_t)right;
	}
	*ret_n = n;
	return 0;
}

static int take_trees(struct fc_forest *f, json_t *doc, struct err *err)
{
	json_t *model = json_object_get(json_object_get(json_object_get(doc, "learner"), "gradient_booster"), "model");
	json_t *trees = json_object_get(model, "trees"), *level = json_object_get(model, "tree_info");
	size_t n = json_array_size(trees), nodes = n * TREE_NODES_MAX;
	if (n == 0 || n % f->n_outputs || n > FC_TREES_MAX || json_array_size(level) != n)
		return err_set(err, HCP_EINTERNAL, "trees", "libxgboost's model has %zu trees", n);
	f->root = mem_alloc(n * sizeof(*f->root));
	f->node = mem_alloc(nodes * sizeof(*f->node));
	if (!f->root || !f->node)
		return err_set(err, HCP_ENOMEM, "", "no memory for %zu trees", n);
	f->n_trees = n;
	for (size_t i = 0; i < n; i++) {
		struct tree_json t = { 0 };
		size_t made = 0;
		if (json_integer_value(json_array_get(level, i)) != (json_int_t)(i % f->n_outputs))
			return err_set(err, HCP_EINTERNAL, "tree_info", "libxgboost's trees come in another order");
		f->root[i] = (uint32_t)f->n_nodes;
		int rc = open_tree(json_array_get(trees, i), &t, err);
		if (rc == 0)
			rc = flatten(&t, f->n_features, f->node + f->n_nodes, &made, err);
		if (rc < 0)
			return rc;
		f->n_nodes += made;
	}
	return 0;
}

static int read_out(struct fc_forest *f, BoosterHandle b, struct err *err)
{
	bst_ulong n = 0;
	const char *text = NULL;
	json_t *doc = NULL;
	if (XGBoosterSaveModelToBuffer(b, "{\"format\":\"json\"}", &n, &text) != 0)
		return refused(err, "save");
	int rc = jsonv_parse((struct str){ text, n }, &doc, err);
	if (rc == 0)
		rc = take_trees(f, doc, err);
	json_decref(doc);
	return rc;
}

/* Do the trees as we read them say what the library says? Another version may write its models in another way. */
static int compare(
	const struct fc_forest *f, BoosterHandle b, DMatrixHandle d, const struct fc_matrix *m, struct err *err)
{
	bst_ulong n = 0;
	const float *theirs = NULL;
	size_t n_out = f->n_outputs;
	if (XGBoosterPredict(b, d, 1, 0, 0, &n, &theirs) != 0)
		return refused(err, "predict");
	for (size_t i = 0; i < m->n; i += 1 + m->n / COMPARED) {
		double ours[FORECAST_LEVELS] = { 0 };
		fc_forest_add(f, m->x + i * f->n_features, 1, ours);
		for (size_t l = 0; l < n_out; l++) {
			double said = (double)theirs[i * n_out + l], want = said - (m->base ? (double)m->base[i * n_out + l] : 0);
			if (!(fabs(ours[l] - want) <= 1e-3 * (1 + fabs(said))))
				return err_set(err, HCP_EINTERNAL, "trees", "read %.6g where libxgboost says %.6g", ours[l], want);
		}
	}
	return 0;
}

int fc_forest_train(struct fc_forest *ret, const struct fc_matrix *m, const struct fc_growth *g, struct err *err)
{
	DMatrixHandle d = NULL;
	BoosterHandle b = NULL;
	struct fc_forest made = { .n_features = g->n_features, .n_outputs = g->n_outputs };
	must(g->n_outputs >= 1 && g->n_outputs <= FORECAST_LEVELS && g->depth >= 1 && g->depth <= FC_DEPTH_MAX);
	int rc = matrix_of(&d, m, g, err);
	if (rc == 0 && XGBoosterCreate(&d, 1, &b) != 0)
		rc = refused(err, "create");
	if (rc == 0)
		rc = set_params(b, g, err);
	if (rc == 0)
		rc = boost(b, d, m, g, err);
	if (rc == 0)
		rc = read_out(&made, b, err);
	if (rc == 0)
		rc = compare(&made, b, d, m, err);
	if (b)
		XGBoosterFree(b);
	if (d)
		XGDMatrixFree(d);
	if (rc == 0)
		*ret = made;
	else
		fc_forest_release(&made);
	return rc;
}

void fc_forest_release(struct fc_forest *f)
{
	mem_free(f->root);
	mem_free(f->node);
	*f = (struct fc_forest){ 0 };
}

/* ---- prediction ---- */

void fc_forest_add(const struct fc_forest *f, const float *x, size_t n, double *ret)
{
	for (size_t t = 0; t < f->n_trees; t++) {
		const struct fc_node *root = f->node + f->root[t];
		double *out = ret + t % f->n_outputs;
		for (size_t i = 0; i < n; i++) {
			const float *row = x + i * f->n_features;
			const struct fc_node *at = root;
			while (at->left) {
				float v = row[at->feature];
				bool right = isnan(v) ? !at->missing_left : v >= at->threshold;
				at = root + at->left + right;
			}
			out[i * f->n_outputs] += (double)at->threshold;
		}
	}
}

/* ---- bytes ---- */

void fc_forest_put(const struct fc_forest *f, struct buf *out)
{
	uint64_t n[2] = { f->n_trees, f->n_nodes };
	fc_put(out, n, sizeof(n));
	fc_put(out, f->root, f->n_trees * sizeof(*f->root));
	fc_put(out, f->node, f->n_nodes * sizeof(*f->node));
}

/* Each tree lies within its part, and its branches only lead on. */
static bool is_forest(const struct fc_forest *f)
{
	for (size_t t = 0; t < f->n_trees; t++) {
		size_t root = f->root[t], end = t + 1 < f->n_trees ? f->root[t + 1] : f->n_nodes;
		if (root >= end || end > f->n_nodes || (t == 0 && root != 0))
			return false;
		for (size_t i = root; i < end; i++) {
			const struct fc_node *n = &f->node[i];
			if (!isfinite(n->threshold) || n->feature >= f->n_features || n->missing_left > 1 ||
				(n->left && (n->left <= i - root || n->left >= end - root - 1)))
				return false;
		}
	}
	return true;
}

int fc_forest_get(struct fc_forest *ret, struct fc_reader *r, size_t n_features, size_t n_outputs, struct err *err)
{
	uint64_t n[2];
	*ret = (struct fc_forest){ .n_features = n_features, .n_outputs = n_outputs };
	if (!fc_get(r, n, sizeof(n)) || n[0] == 0 || n[0] > FC_TREES_MAX || n[0] % n_outputs || n[1] > FC_NODES_MAX ||
		r->rest.n < n[0] * sizeof(*ret->root) + n[1] * sizeof(*ret->node))
		return HCP_ECORRUPT;
	ret->root = mem_alloc(n[0] * sizeof(*ret->root));
	ret->node = mem_alloc(n[1] * sizeof(*ret->node) + 1);
	if (!ret->root || !ret->node)
		return err_set(err, HCP_ENOMEM, "", "no memory for %zu trees", (size_t)n[0]);
	ret->n_trees = n[0];
	ret->n_nodes = n[1];
	return fc_get(r, ret->root, n[0] * sizeof(*ret->root)) && fc_get(r, ret->node, n[1] * sizeof(*ret->node)) &&
				   is_forest(ret)
			   ? 0
			   : HCP_ECORRUPT;
}
