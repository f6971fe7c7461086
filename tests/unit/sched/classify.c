#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sched/classify.h"

static struct classify_model model;

static int load(void **state)
{
	const struct str bytes = { (const char *)classify_builtin, classify_builtin_n };
	return classify_model_load(&model, bytes, NULL);
}

static struct classify_answer ask(const struct classify_model *m, const struct classify_work *w)
{
	struct classify_answer a;
	assert_int_equal(classify(m, w, &a, NULL), 0);
	assert_true(a.reason[0] && a.confidence > 0 && a.confidence <= 1);
	return a;
}

static void what_it_cannot_be_is_struck_out(void **state)
{
	struct classify_work w;
	classify_work_init(&w);
	w.max_latency_ms = 50;
	struct classify_answer a = ask(&model, &w);
	assert_int_equal(a.type, WORKLOAD_AI_INFERENCE_REALTIME);
	assert_true(a.confidence == 1 && !a.by_model && strstr(a.reason, "latency"));
	w.max_latency_ms = 0;
	w.may = CLASSIFY_BIT(WORKLOAD_BITCOIN_MINING);
	w.why = "it is an ASIC";
	a = ask(&model, &w);
	assert_int_equal(a.type, WORKLOAD_BITCOIN_MINING);
	assert_string_equal(a.reason, "it is an ASIC");
	w.max_latency_ms = 50;
	struct err err;
	assert_int_equal(classify(&model, &w, &a, &err), HCP_EINVAL);
	assert_string_equal(err.field, "type");
}

static void rules_decide_where_the_model_was_not_told_enough(void **state)
{
	struct classify_work w;
	classify_work_init(&w);
	struct classify_answer a = ask(&model, &w);
	assert_int_equal(a.type, WORKLOAD_BITCOIN_MINING);
	assert_true(!a.by_model && !a.path[0]);
	w.x[CLASSIFY_GPUS] = 8;
	a = ask(&model, &w);
	assert_int_equal(a.type, WORKLOAD_MODEL_TRAINING);
	assert_true(!a.by_model);
	w.x[CLASSIFY_GPUS] = 1;
	assert_int_equal(ask(&model, &w).type, WORKLOAD_AI_INFERENCE_BATCH);
	w.tier = STR("enterprise");
	assert_int_equal(ask(&model, &w).type, WORKLOAD_AI_INFERENCE_REALTIME);
	w.tier = STR("standard");
	w.endless = true;
	assert_int_equal(ask(&model, &w).type, WORKLOAD_AI_INFERENCE_REALTIME);
	w.may = CLASSIFY_BIT(WORKLOAD_AI_INFERENCE_BATCH) | CLASSIFY_BIT(WORKLOAD_BITCOIN_MINING);
	assert_int_equal(ask(&model, &w).type, WORKLOAD_AI_INFERENCE_BATCH);
	w.endless = false;
	w.may = 0;
	w.size_mb = 50000;
	assert_int_equal(ask(&model, &w).type, WORKLOAD_MODEL_TRAINING);
	w.x[CLASSIFY_DURATION_S] = 7200;
	w.size_mb = NAN;
	assert_int_equal(ask(NULL, &w).type, WORKLOAD_MODEL_TRAINING);
}

/* As the traces have them: a request of some seconds; a best-effort pod of two cores on three tenths of a GPU. */
static void the_model_decides_what_it_has_seen(void **state)
{
	struct classify_work w;
	classify_work_init(&w);
	w.x[CLASSIFY_DURATION_S] = 12;
	w.x[CLASSIFY_GPUS] = 1;
	struct classify_answer a = ask(&model, &w);
	assert_int_equal(a.type, WORKLOAD_AI_INFERENCE_REALTIME);
	assert_true(a.by_model && a.confidence >= CLASSIFY_SURE && strstr(a.path, "duration_s"));
	w.x[CLASSIFY_DURATION_S] = 200;
	w.x[CLASSIFY_GPU_FRACTION] = 0.81;
	w.x[CLASSIFY_CPU_CORES] = 3.152;
	w.x[CLASSIFY_MEMORY_GIB] = 5.47;
	a = ask(&model, &w);
	assert_int_equal(a.type, WORKLOAD_MODEL_TRAINING);
	assert_true(a.by_model && a.path[0]);
	/* What is left when its answer is struck out was not learned: a rule decides, and the path stays to be seen. */
	w.may = CLASSIFY_BIT(WORKLOAD_AI_INFERENCE_BATCH) | CLASSIFY_BIT(WORKLOAD_AI_INFERENCE_REALTIME);
	a = ask(&model, &w);
	assert_int_equal(a.type, WORKLOAD_AI_INFERENCE_BATCH);
	assert_true(!a.by_model && a.path[0]);
}

static void what_is_no_number_is_refused_by_name(void **state)
{
	static const double bad[] = { -1, INFINITY, -INFINITY, 1e13 };
	struct classify_work w;
	struct classify_answer a, none = { 0 };
	struct err err;
	memset(&a, 0, sizeof(a));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (int f = 0; f <= CLASSIFY_FEATURES + 1; f++) {
			classify_work_init(&w);
			*(f < CLASSIFY_FEATURES ? &w.x[f] : f == CLASSIFY_FEATURES ? &w.size_mb : &w.max_latency_ms) = bad[i];
			assert_int_equal(classify(&model, &w, &a, &err), HCP_ERANGE);
			assert_string_equal(err.field, f < CLASSIFY_FEATURES    ? classify_feature_name((enum classify_feature)f)
										   : f == CLASSIFY_FEATURES ? "size_mb"
																	: "max_latency_ms");
		}
	classify_work_init(&w);
	w.max_latency_ms = NAN;
	assert_int_equal(classify(&model, &w, &a, &err), HCP_ERANGE);
	classify_work_init(&w);
	w.tier = STR("gold");
	assert_int_equal(classify(&model, &w, &a, &err), HCP_EINVAL);
	assert_string_equal(err.field, "customer_tier");
	assert_memory_equal(&a, &none, sizeof(a));
}

static void stored_models_are_checked(void **state)
{
	struct classify_model m;
	struct buf b;
	buf_init(&b, 0);
	assert_int_equal(classify_model_save(&model, &b, NULL), 0);
	assert_int_equal(b.n, classify_builtin_n);
	assert_memory_equal(b.data, classify_builtin, b.n);
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(classify_model_load(&m, (struct str){ b.data, n }, NULL), HCP_ECORRUPT);
	buf_clear(&b);
	struct classify_model swapped = { .bare = model.full, .full = model.bare };
	assert_int_equal(classify_model_save(&swapped, &b, NULL), 0);
	assert_int_equal(classify_model_load(&m, buf_str(&b), NULL), HCP_ECORRUPT);
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_cannot_be_is_struck_out),
		cmocka_unit_test(rules_decide_where_the_model_was_not_told_enough),
		cmocka_unit_test(the_model_decides_what_it_has_seen),
		cmocka_unit_test(what_is_no_number_is_refused_by_name),
		cmocka_unit_test(stored_models_are_checked),
	};
	return cmocka_run_group_tests(tests, load, NULL);
}
