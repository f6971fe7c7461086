#include "econ/fc_priv.h"

#include <stdio.h>
#include <string.h>

#include <xgboost/c_api.h>

#include "base/mem.h"
#include "wire/jsonv.h"

/*
 * Boosted trees, grown by libxgboost (histograms, one output a level), read out of its saved model into a flat array.
 * So a prediction needs no library and no allocation, and stored trees are checked by us before they are used.
 *
 * The gradient is that of the pinball loss. It has no second derivative; in its place stands the density that a
 * logistic distribution has at its level-quantile, level (1 - level) / scale: Newton's step is right for that shape and
 * short for heavier tails.
 */
enum { DEPTH = 5, COMPARED = 64 /* rows */ };
#define LOGISTIC_SCALE 0.6
#define STEP 0.15

static int refused(struct err *err, const char *what)
{
	return err_set(err, HCP_EINTERNAL, "", "libxgboost, %s: %.180s", what, XGBGetLastError());
}

static int set_params(BoosterHandle b, const struct forecast_conf *conf, struct err *err)
{
	char threads[16], seed[24], levels[8], depth[8], step[16];
	const char *const param[][2] = {
		{ "verbosity", "0" }, { "booster", "gbtree" }, { "tree_method", "hist" }, { "max_bin", "64" },
		{ "objective", "reg:squarederror" }, { "disable_default_eval_metric", "1" }, { "base_score", "0" },
		{ "num_class", levels }, { "max_depth", depth }, { "eta", step }, { "lambda", "1" },
		{ "min_child_weight", "10" }, { "nthread", threads }, { "seed", seed },
	};
	snprintf(threads, sizeof(threads), "%u", conf->threads);
	snprintf(seed, sizeof(seed), "%u", (unsigned)(conf->seed & 0x7fffffff));
	snprintf(levels, sizeof(levels), "%d", FORECAST_LEVELS);
	snprintf(depth, sizeof(depth), "%d", DEPTH);
	snprintf(step, sizeof(step), "%g", STEP);
	for (size_t i = 0; i < sizeof(param) / sizeof(param[0]); i++)
		if (XGBoosterSetParam(b, param[i][0], param[i][1]) != 0)
			return refused(err, param[i][0]);
	return 0;
}

static int matrix_of(DMatrixHandle *ret, const struct fc_matrix *m, struct err *err)
{
	if (XGDMatrixCreateFromMat(m->x, m->n, FC_TREE_N, NAN, ret) != 0)
		return refused(err, "matrix");
	if (XGDMatrixSetFloatInfo(*ret, "label", m->y, m->n) != 0)
		return refused(err, "labels");
	if (XGDMatrixSetFloatInfo(*ret, "base_margin", m->base, m->n * FORECAST_LEVELS) != 0)
		return refused(err, "start");
	return 0;
}

static void gradients(const struct fc_matrix *m, const float *now, float *grad, float *hess)
{
	for (size_t i = 0; i < m->n; i++) {
		for (size_t l = 0; l < FORECAST_LEVELS; l++) {
			size_t at = i * FORECAST_LEVELS + l;
			double level = forecast_level[l], w = (double)m->weight[i];
			grad[at] = (float)(w * ((m->y[i] < now[at]) - level));
			hess[at] = (float)(w * level * (1 - level) / LOGISTIC_SCALE);
		}
	}
}

static int boost(BoosterHandle b, DMatrixHandle d, const struct fc_matrix *m, uint32_t rounds, struct err *err)
{
	size_t cells = m->n * FORECAST_LEVELS;
	float *grad = mem_alloc(2 * cells * sizeof(*grad));
	int rc = grad ? 0 : err_set(err, HCP_ENOMEM, "", "no memory for gradients");
	for (uint32_t i = 0; rc == 0 && i < rounds; i++) {
		bst_ulong n = 0;
		const float *now = NULL;
		/* 1: the sum of the leaves, with nothing put over it */
		if (XGBoosterPredict(b, d, 1, 0, 1, &n, &now) != 0)
			rc = refused(err, "predict");
		else if (n != cells)
			rc = err_set(err, HCP_EINTERNAL, "", "libxgboost gives %zu values for %zu", (size_t)n, cells);
		else {
			gradients(m, now, grad, grad + cells);
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
	if (rc == 0 && (t->n == 0 || t->n > 1 << (DEPTH + 1)))
		rc = err_set(err, HCP_EINTERNAL, "tree", "libxgboost made a tree of %zu nodes", t->n);
	return rc;
}

/* Breadth first, so that siblings stand side by side. */
static int flatten(const struct tree_json *t, struct fc_node *node, size_t *ret_n, struct err *err)
{
	size_t from[1 << (DEPTH + 1)] = { 0 }, n = 1;
	for (size_t i = 0; i < n; i++) {
		size_t at = from[i];
		json_int_t left = json_integer_value(json_array_get(t->left, at));
		json_int_t right = json_integer_value(json_array_get(t->right, at));
		json_int_t feature = json_integer_value(json_array_get(t->feature, at));
		json_t *missing = json_array_get(t->missing_left, at);
		node[i] = (struct fc_node){ .threshold = (float)json_number_value(json_array_get(t->condition, at)) };
		if (left < 0)
			continue;
		if ((size_t)left >= t->n || right < 0 || (size_t)right >= t->n || feature < 0 || feature >= FC_TREE_N ||
			n + 2 > t->n)
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
	size_t n = json_array_size(trees), nodes = n << (DEPTH + 1);
	if (n == 0 || n % FORECAST_LEVELS || n > FC_TREES_MAX || json_array_size(level) != n)
		return err_set(err, HCP_EINTERNAL, "trees", "libxgboost's model has %zu trees", n);
	f->root = mem_alloc(n * sizeof(*f->root));
	f->node = mem_alloc(nodes * sizeof(*f->node));
	if (!f->root || !f->node)
		return err_set(err, HCP_ENOMEM, "", "no memory for %zu trees", n);
	f->n_trees = n;
	for (size_t i = 0; i < n; i++) {
		struct tree_json t = { 0 };
		size_t made = 0;
		if (json_integer_value(json_array_get(level, i)) != (json_int_t)(i % FORECAST_LEVELS))
			return err_set(err, HCP_EINTERNAL, "tree_info", "libxgboost's trees come in another order");
		f->root[i] = (uint32_t)f->n_nodes;
		int rc = open_tree(json_array_get(trees, i), &t, err);
		if (rc == 0)
			rc = flatten(&t, f->node + f->n_nodes, &made, err);
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
	if (XGBoosterPredict(b, d, 1, 0, 0, &n, &theirs) != 0)
		return refused(err, "predict");
	for (size_t i = 0; i < m->n; i += 1 + m->n / COMPARED) {
		double ours[FORECAST_LEVELS] = { 0 };
		fc_forest_add(f, m->x + i * FC_TREE_N, 1, ours);
		for (size_t l = 0; l < FORECAST_LEVELS; l++) {
			double want = (double)theirs[i * FORECAST_LEVELS + l] - (double)m->base[i * FORECAST_LEVELS + l];
			if (!(fabs(ours[l] - want) <= 1e-3 * (1 + fabs((double)theirs[i * FORECAST_LEVELS + l]))))
				return err_set(err, HCP_EINTERNAL, "trees", "read %.6g where libxgboost says %.6g", ours[l], want);
		}
	}
	return 0;
}

int fc_forest_train(struct fc_forest *ret, const struct fc_matrix *m, const struct forecast_conf *conf, struct err *err)
{
	DMatrixHandle d = NULL;
	BoosterHandle b = NULL;
	struct fc_forest made = { 0 };
	int rc = matrix_of(&d, m, err);
	if (rc == 0 && XGBoosterCreate(&d, 1, &b) != 0)
		rc = refused(err, "create");
	if (rc == 0)
		rc = set_params(b, conf, err);
	if (rc == 0)
		rc = boost(b, d, m, conf->rounds, err);
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
		double *out = ret + t % FORECAST_LEVELS;
		for (size_t i = 0; i < n; i++) {
			const float *row = x + i * FC_TREE_N;
			const struct fc_node *at = root;
			while (at->left) {
				float v = row[at->feature];
				bool right = isnan(v) ? !at->missing_left : v >= at->threshold;
				at = root + at->left + right;
			}
			out[i * FORECAST_LEVELS] += (double)at->threshold;
		}
	}
}
