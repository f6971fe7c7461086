#include "sched/classify.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define HOUR_S 3600.0
#define MINUTE_S 60.0
#define LARGE_INPUT_MB 10000.0
#define ALL 0xffffffffU
#define BIT CLASSIFY_BIT

enum {
	RT = WORKLOAD_AI_INFERENCE_REALTIME,
	BATCH = WORKLOAD_AI_INFERENCE_BATCH,
	TRAIN = WORKLOAD_MODEL_TRAINING,
	MINE = WORKLOAD_BITCOIN_MINING
};

/* Tiers whose customers pay for answers at once. */
static const struct {
	const char *name;
	bool at_once;
} tiers[] = { { "free", false }, { "standard", false }, { "premium", true }, { "enterprise", true } };

const char *classify_feature_name(enum classify_feature f)
{
	static const char *const name[CLASSIFY_FEATURES] = { "duration_s", "device_count", "gpu_fraction", "cpu_cores",
		"host_memory_gib" };
	return (unsigned)f < CLASSIFY_FEATURES ? name[f] : NULL;
}

void classify_work_init(struct classify_work *w)
{
	*w = (struct classify_work){ .size_mb = NAN };
	for (int i = 0; i < CLASSIFY_FEATURES; i++)
		w->x[i] = NAN;
}

/* ---- rules ---- */

static bool at_once(const struct classify_work *w)
{
	for (size_t i = 0; i < sizeof(tiers) / sizeof(tiers[0]); i++)
		if (str_eqz(w->tier, tiers[i].name))
			return tiers[i].at_once;
	return false;
}

/* Comparisons with what was not told are false. */
static bool has_gpus(const struct classify_work *w)
{
	return w->x[CLASSIFY_GPUS] > 0;
}

static bool is_long(const struct classify_work *w)
{
	return has_gpus(w) && w->x[CLASSIFY_DURATION_S] >= HOUR_S;
}

static bool is_gang(const struct classify_work *w)
{
	return w->x[CLASSIFY_GPUS] > 1 && !(w->x[CLASSIFY_DURATION_S] < MINUTE_S);
}

static bool is_large(const struct classify_work *w)
{
	return has_gpus(w) && w->size_mb >= LARGE_INPUT_MB;
}

static bool is_power_only(const struct classify_work *w)
{
	return !has_gpus(w) && !(w->x[CLASSIFY_DURATION_S] > 0) && !(w->size_mb > 0) && !(w->x[CLASSIFY_CPU_CORES] > 0) &&
		   !(w->x[CLASSIFY_MEMORY_GIB] > 0);
}

static bool is_brief_and_paid(const struct classify_work *w)
{
	return at_once(w) && has_gpus(w) && !(w->x[CLASSIFY_DURATION_S] > MINUTE_S);
}

static bool is_service(const struct classify_work *w)
{
	return w->endless && has_gpus(w);
}

static bool always(const struct classify_work *w)
{
	(void)w;
	return true;
}

/* The first that applies, among what the work can be. */
static const struct rule {
	bool (*applies)(const struct classify_work *w);
	int type;
	double confidence;
	const char *text;
} rules[] = {
	{ is_service, RT, 0.7, "inference on GPUs until it is cancelled is a service in real time" },
	{ is_long, TRAIN, 0.8, "an hour or more on GPUs is training" },
	{ is_large, TRAIN, 0.7, "ten gigabytes of input or more on GPUs is training" },
	{ is_gang, TRAIN, 0.6, "several GPUs at once for a minute or more are training" },
	{ is_power_only, MINE, 0.5, "nothing but power is asked for: mining" },
	{ is_brief_and_paid, RT, 0.6, "a minute at most on GPUs, for a customer of a tier that pays for answers at once" },
	{ always, BATCH, 0.6, "short work without a latency bound is batch inference" },
	{ always, TRAIN, 0.5, "work that is no inference is training" },
	{ always, MINE, 0.5, "what is nothing else mines" },
};

static void by_rule(const struct classify_work *w, unsigned may, struct classify_answer *a)
{
	const struct rule *r = rules;
	while (!(may & BIT(r->type)) || !r->applies(w))
		r++; /* may holds one of the last three, or real-time inference alone, which was answered before */
	a->type = (enum workload_type)r->type;
	a->confidence = r->confidence;
	snprintf(a->reason, sizeof(a->reason), "%s", r->text);
}

/* ---- the tree ---- */

static void write_path(const struct tree *t, const float *x, struct classify_answer *a)
{
	static const char *const sign[] = { "<", "unknown, beside", ">=" };
	struct tree_step step[TREE_DEPTH_MAX];
	size_t n = tree_path(t, x, step), used = 0;
	for (size_t i = 0; i < n && used < sizeof(a->path); i++)
		used += (size_t)snprintf(a->path + used, sizeof(a->path) - used, "%s%s %s %.6g", i ? ", " : "",
			classify_feature_name((enum classify_feature)step[i].feature), sign[step[i].side + 1], (double)step[i].cut);
}

/* True: it decided. Among what the work can be, as if there were no more. */
static bool by_tree(
	const struct classify_model *m, const struct classify_work *w, unsigned may, struct classify_answer *a)
{
	bool host = !isnan(w->x[CLASSIFY_CPU_CORES]) && !isnan(w->x[CLASSIFY_MEMORY_GIB]);
	const struct tree *t = host ? &m->full : &m->bare;
	float x[CLASSIFY_FEATURES];
	double sum = 0;
	int best = -1;
	if (isnan(w->x[CLASSIFY_DURATION_S]) || isnan(w->x[CLASSIFY_GPUS]))
		return false;
	for (int i = 0; i < CLASSIFY_FEATURES; i++)
		x[i] = (float)w->x[i];
	double rows = tree_say(t, x, a->share);
	write_path(t, x, a);
	for (int c = 0; c < CLASSIFY_CLASSES; c++)
		if (may & BIT(c + 1)) {
			sum += a->share[c];
			best = best < 0 || a->share[c] > a->share[best] ? c : best;
		}
	/* What has to be struck out to make it sure was not learned from: half of the weight must be left. */
	if (best < 0 || sum < 0.5 || a->share[best] / sum < CLASSIFY_SURE)
		return false;
	a->type = (enum workload_type)(best + 1);
	a->confidence = a->share[best] / sum;
	a->by_model = true;
	snprintf(a->reason, sizeof(a->reason), "recorded work like it was %s in %.1f %% (weight of %.0f jobs)",
		workload_type_name(a->type), 100 * a->confidence, rows);
	return true;
}

/* ---- the whole ---- */

static int check_value(double v, const char *field, struct err *err)
{
	if (isnan(v) || (v >= 0 && v <= CLASSIFY_VALUE_MAX))
		return 0;
	return err_set(err, HCP_ERANGE, field, "must be from 0 to %g, is %g", CLASSIFY_VALUE_MAX, v);
}

static int check(const struct classify_work *w, struct err *err)
{
	bool known = !w->tier.n;
	int rc = check_value(w->max_latency_ms, "max_latency_ms", err);
	if (rc == 0 && isnan(w->max_latency_ms))
		rc = err_set(err, HCP_ERANGE, "max_latency_ms", "is no number");
	if (rc == 0)
		rc = check_value(w->size_mb, "size_mb", err);
	for (int i = 0; rc == 0 && i < CLASSIFY_FEATURES; i++)
		rc = check_value(w->x[i], classify_feature_name((enum classify_feature)i), err);
	for (size_t i = 0; i < sizeof(tiers) / sizeof(tiers[0]); i++)
		known |= str_eqz(w->tier, tiers[i].name);
	if (rc == 0 && !known)
		rc = err_set(err, HCP_EINVAL, "customer_tier", "must be free, standard, premium or enterprise");
	return rc;
}

/* NULL: several are left. */
static const char *only_one(unsigned may, const struct classify_work *w, struct classify_answer *a)
{
	for (int t = RT; t < WORKLOAD_TYPE_END; t++)
		if (may == BIT(t))
			a->type = (enum workload_type)t;
	if (!a->type)
		return NULL;
	if (w->max_latency_ms > 0)
		return "only real-time inference has a latency bound";
	return w->why ? w->why : "what is asked for leaves nothing else";
}

int classify(
	const struct classify_model *model, const struct classify_work *w, struct classify_answer *ret, struct err *err)
{
	struct classify_answer a = { 0 };
	unsigned may = (w->may ? w->may : ALL) & (BIT(RT) | BIT(BATCH) | BIT(TRAIN) | BIT(MINE));
	int rc = check(w, err);
	if (rc < 0)
		return rc;
	if (w->max_latency_ms > 0)
		may &= BIT(RT);
	if (!may)
		return err_set(err, HCP_EINVAL, "type", "no kind of work can be what is asked for");
	const char *sole = only_one(may, w, &a);
	if (sole) {
		a.confidence = 1;
		snprintf(a.reason, sizeof(a.reason), "%s", sole);
	} else if (!model || !by_tree(model, w, may, &a)) {
		by_rule(w, may, &a);
	}
	*ret = a;
	return 0;
}

/* ---- bytes ---- */

int classify_model_save(const struct classify_model *m, struct buf *out, struct err *err)
{
	size_t start = out->n;
	uint32_t bytes = 0;
	buf_add(out, &bytes, sizeof(bytes));
	int rc = tree_save(&m->bare, out, err);
	bytes = (uint32_t)(out->n - start - sizeof(bytes));
	rc = rc ? rc : tree_save(&m->full, out, err);
	if (rc == 0)
		memcpy(out->data + start, &bytes, sizeof(bytes));
	return rc;
}

static int load_tree(struct tree *t, struct str bytes, size_t features, struct err *err)
{
	int rc = tree_load(t, bytes, err);
	if (rc == 0 && (t->features != features || t->classes != CLASSIFY_CLASSES))
		rc = err_set(err, HCP_ECORRUPT, "model", "a tree has %zu features and %zu classes, not %zu and %d", t->features,
			t->classes, features, CLASSIFY_CLASSES);
	return rc;
}

int classify_model_load(struct classify_model *m, struct str bytes, struct err *err)
{
	uint32_t n;
	if (bytes.n < sizeof(n) || bytes.n > CLASSIFY_BYTES_MAX)
		return err_set(err, HCP_ECORRUPT, "model", "not the trees of a classification, or damaged ones");
	memcpy(&n, bytes.p, sizeof(n));
	if (n > bytes.n - sizeof(n))
		return err_set(err, HCP_ECORRUPT, "model", "is cut off");
	struct classify_model *made = mem_calloc(1, sizeof(*made));
	if (!made)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	const char *first = bytes.p + sizeof(n);
	int rc = load_tree(&made->bare, (struct str){ first, n }, CLASSIFY_BARE, err);
	if (rc == 0)
		rc = load_tree(&made->full, (struct str){ first + n, bytes.n - sizeof(n) - n }, CLASSIFY_FEATURES, err);
	if (rc == 0)
		*m = *made;
	mem_free(made);
	return rc;
}
