#include "sim/class_report.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

#define MIB_PER_GIB 1024.0
enum { MILLI = 1000, MS = 1000, ROWS_MIN = 1024 };

const char *class_judge_name(enum class_judge j)
{
	static const char *const name[CLASS_JUDGES] = { "rules", "bare tree", "full tree", "submitted", "described" };
	return (unsigned)j < CLASS_JUDGES ? name[j] : NULL;
}

void class_conf_default(struct tree_conf *conf)
{
	*conf = (struct tree_conf){ .depth = 6, .leaf_min = 20, .gain_min = 0.0005 };
}

static void features(const struct trace_job *j, enum job_trace_kind kind, float x[CLASSIFY_FEATURES])
{
	bool pod = kind == JOB_TRACE_PODS;
	bool ran = !pod || j->waited_ms >= 0;
	x[CLASSIFY_DURATION_S] = ran ? (float)((double)j->run_ms / MS) : NAN;
	x[CLASSIFY_GPUS] = (float)j->gpus;
	x[CLASSIFY_GPU_FRACTION] = pod && j->gpus ? (float)((double)j->milli / MILLI) : NAN;
	x[CLASSIFY_CPU_CORES] = pod ? (float)((double)j->cpu_milli / MILLI) : NAN;
	x[CLASSIFY_MEMORY_GIB] = pod ? (float)((double)j->memory_mib / MIB_PER_GIB) : NAN;
}

static int resize(void **v, size_t n, size_t size)
{
	void *fresh = mem_realloc(*v, n * size);
	*v = fresh ? fresh : *v;
	return fresh ? 0 : HCP_ENOMEM;
}

static int grow(struct class_rows *r, size_t n)
{
	if (n <= r->cap)
		return 0;
	size_t cap = n < ROWS_MIN ? ROWS_MIN : n;
	if (resize((void **)&r->x, cap * CLASSIFY_FEATURES, sizeof(*r->x)) < 0 ||
		resize((void **)&r->label, cap, sizeof(*r->label)) < 0 ||
		resize((void **)&r->file, cap, sizeof(*r->file)) < 0 ||
		resize((void **)&r->weight, cap, sizeof(*r->weight)) < 0 ||
		resize((void **)&r->rank, cap, sizeof(*r->rank)) < 0)
		return HCP_ENOMEM;
	r->cap = cap;
	return 0;
}

int class_rows_add(struct class_rows *r, const struct job_trace *t, struct err *err)
{
	size_t least = t->n;
	if (r->files == CLASS_FILES_MAX)
		return err_set(err, HCP_ELIMIT, "trace", "at most %d traces", CLASS_FILES_MAX);
	if (r->n + t->n > TREE_ROWS_MAX)
		return err_set(err, HCP_ELIMIT, "trace", "more than %d jobs", TREE_ROWS_MAX);
	if (grow(r, r->n + t->n) < 0)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	for (size_t i = 0; i < t->n; i++, r->n++) {
		features(&t->job[i], t->kind, r->x + r->n * CLASSIFY_FEATURES);
		r->label[r->n] = (uint8_t)(t->job[i].cls - 1);
		r->file[r->n] = (uint8_t)r->files;
		r->rank[r->n] = (uint32_t)i;
	}
	r->in_file[r->files] = t->n;
	r->kind[r->files++] = t->kind;
	for (size_t f = 0; f < r->files; f++)
		least = r->in_file[f] < least ? r->in_file[f] : least;
	for (size_t i = 0; i < r->n; i++)
		r->weight[i] = (float)((double)least / (double)r->in_file[r->file[i]]);
	return 0;
}

void class_rows_release(struct class_rows *r)
{
	mem_free(r->x);
	mem_free(r->label);
	mem_free(r->file);
	mem_free(r->weight);
	mem_free(r->rank);
	*r = (struct class_rows){ 0 };
}

/* The first CLASSIFY_BARE columns. */
static float *narrow(const struct class_rows *r)
{
	float *x = mem_alloc(r->n * CLASSIFY_BARE * sizeof(*x));
	for (size_t i = 0; x && i < r->n; i++)
		memcpy(x + i * CLASSIFY_BARE, r->x + i * CLASSIFY_FEATURES, CLASSIFY_BARE * sizeof(*x));
	return x;
}

int class_train(struct classify_model *ret, const struct class_rows *r, const struct tree_conf *conf, struct err *err)
{
	struct classify_model *m = mem_calloc(1, sizeof(*m));
	float *x = r->n ? narrow(r) : NULL;
	const struct tree_rows full = { r->n, CLASSIFY_FEATURES, CLASSIFY_CLASSES, r->x, r->label, r->weight };
	const struct tree_rows bare = { r->n, CLASSIFY_BARE, CLASSIFY_CLASSES, x, r->label, r->weight };
	int rc = m && (x || !r->n) ? 0 : err_set(err, HCP_ENOMEM, "", "no memory");
	rc = rc ? rc : tree_grow(&m->full, &full, conf, err);
	rc = rc ? rc : tree_grow(&m->bare, &bare, conf, err);
	if (rc == 0)
		*ret = *m;
	mem_free(x);
	mem_free(m);
	return rc;
}

/* ---- cross-validation ---- */

static size_t fold_of(const struct class_rows *r, size_t i, size_t folds)
{
	return (size_t)r->rank[i] * folds / r->in_file[r->file[i]];
}

/* The rows of every other fold, in order, into `to`, which has room for all. */
static void pick_others(const struct class_rows *r, size_t folds, size_t fold, struct class_rows *to)
{
	to->n = 0;
	for (size_t i = 0; i < r->n; i++) {
		if (fold_of(r, i, folds) == fold)
			continue;
		memcpy(to->x + to->n * CLASSIFY_FEATURES, r->x + i * CLASSIFY_FEATURES, CLASSIFY_FEATURES * sizeof(*r->x));
		to->label[to->n] = r->label[i];
		to->weight[to->n++] = r->weight[i];
	}
}

static void count(struct class_report *ret, const struct class_rows *r, size_t i, enum class_judge j, unsigned answer)
{
	ret->count[j][r->label[i]][answer]++;
	ret->right[j][r->file[i]] += answer == r->label[i];
}

/* By its likeliest class, however sure. */
static unsigned likeliest(const struct tree *t, const float *x)
{
	double p[TREE_CLASSES_MAX];
	unsigned best = 0;
	(void)tree_say(t, x, p);
	for (unsigned c = 1; c < CLASSIFY_CLASSES; c++)
		best = p[c] > p[best] ? c : best;
	return best;
}

static int ask(struct class_report *ret, const struct class_rows *r, size_t i, const struct classify_model *m,
	const struct classify_work *w, enum class_judge j, struct err *err)
{
	struct classify_answer a;
	int rc = classify(m, w, &a, err);
	if (rc < 0)
		return rc;
	count(ret, r, i, j, a.type - 1);
	ret->sure[j][r->file[i]] += a.by_model;
	ret->sure_right[j][r->file[i]] += a.by_model && a.type - 1U == r->label[i];
	return 0;
}

static int judge(
	struct class_report *ret, const struct class_rows *r, size_t i, const struct classify_model *m, struct err *err)
{
	struct classify_work w;
	const float *x = r->x + i * CLASSIFY_FEATURES;
	classify_work_init(&w);
	for (int k = 0; k < CLASSIFY_FEATURES; k++)
		w.x[k] = (double)x[k];
	count(ret, r, i, CLASS_BARE, likeliest(&m->bare, x));
	count(ret, r, i, CLASS_FULL, likeliest(&m->full, x));
	int rc = ask(ret, r, i, NULL, &w, CLASS_RULES, err);
	rc = rc ? rc : ask(ret, r, i, m, &w, CLASS_DESCRIBED, err);
	for (int k = CLASSIFY_BARE; k < CLASSIFY_FEATURES; k++)
		w.x[k] = NAN;
	return rc ? rc : ask(ret, r, i, m, &w, CLASS_SUBMITTED, err);
}

int class_report_run(
	struct class_report *ret, const struct class_rows *r, const struct tree_conf *conf, size_t folds, struct err *err)
{
	struct class_report made = { .folds = folds };
	struct class_rows others = { 0 };
	struct classify_model *m = mem_calloc(1, sizeof(*m));
	int rc = folds < 2 || folds > CLASS_FOLDS_MAX
				 ? err_set(err, HCP_ERANGE, "folds", "must be 2 to %d, are %zu", CLASS_FOLDS_MAX, folds)
				 : 0;
	if (rc == 0 && (!m || grow(&others, r->n) < 0))
		rc = err_set(err, HCP_ENOMEM, "", "no memory");
	for (size_t fold = 0; rc == 0 && fold < folds; fold++) {
		pick_others(r, folds, fold, &others);
		rc = class_train(m, &others, conf, err);
		for (size_t i = 0; rc == 0 && i < r->n; i++)
			if (fold_of(r, i, folds) == fold)
				rc = judge(&made, r, i, m, err);
	}
	if (rc == 0)
		*ret = made;
	class_rows_release(&others);
	mem_free(m);
	return rc;
}
