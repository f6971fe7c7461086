#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "os/file.h"
#include "sim/class_report.h"

static int add_text(struct class_rows *r, struct str text, struct err *err)
{
	struct job_trace_conf conf;
	struct job_trace t = { 0 };
	job_trace_conf_default(&conf);
	int rc = job_trace_parse(text, &conf, &t, err);
	rc = rc ? rc : class_rows_add(r, &t, err);
	job_trace_release(&t);
	return rc;
}

/* LS pods hold a whole GPU and much memory, BE pods a part and little; one in ten never ran. */
static void make_pods(struct buf *b, int n)
{
	buf_addz(b, "cpu_milli,memory_mib,num_gpu,gpu_milli,qos,creation_time,deletion_time,scheduled_time\n");
	for (int i = 0; i < n; i++) {
		bool ls = i % 3 != 0, ran = i % 10 != 0;
		buf_printf(b, "%d,%d,1,%d,%s,%d,%d,", ls ? 12000 : 3000, ls ? 49152 : 4096, ls ? 1000 : 300, ls ? "LS" : "BE",
			i, i + 500);
		if (ran)
			buf_printf(b, "%d", i);
		buf_addc(b, '\n');
	}
}

static void labels_and_gaps_are_the_traces(void **state)
{
	struct class_rows r = { 0 };
	struct buf b;
	buf_init(&b, 0);
	make_pods(&b, 20);
	assert_int_equal(add_text(&r, buf_str(&b), NULL), 0);
	assert_int_equal(add_text(&r, STR("elapsed_s,base_model,exec_time_s\n0,m,30\n1,m,20\n"), NULL), 0);
	assert_int_equal(r.n, 22);
	assert_int_equal(r.label[0], WORKLOAD_MODEL_TRAINING - 1);
	assert_int_equal(r.label[1], WORKLOAD_AI_INFERENCE_REALTIME - 1);
	assert_int_equal(r.label[21], WORKLOAD_AI_INFERENCE_REALTIME - 1);
	const float *never = r.x, *ran = r.x + CLASSIFY_FEATURES, *image = r.x + 21 * CLASSIFY_FEATURES;
	assert_true(never[CLASSIFY_DURATION_S] != never[CLASSIFY_DURATION_S]); /* NAN */
	assert_true((double)ran[CLASSIFY_DURATION_S] == 500 && (double)ran[CLASSIFY_CPU_CORES] == 12 &&
				(double)ran[CLASSIFY_MEMORY_GIB] == 48);
	assert_true((double)image[CLASSIFY_DURATION_S] == 20 && (double)image[CLASSIFY_GPUS] == 1);
	assert_true(image[CLASSIFY_CPU_CORES] != image[CLASSIFY_CPU_CORES]);
	/* Both files weigh alike. */
	assert_true(r.weight[0] > 0.09F && r.weight[0] < 0.11F && r.weight[21] > 0.99F);
	class_rows_release(&r);
	buf_release(&b);
}

static void what_can_be_learned_is_found_in_unseen_parts(void **state)
{
	struct class_rows r = { 0 };
	struct class_report *rep = mem_calloc(1, sizeof(*rep));
	struct tree_conf conf;
	struct err err;
	struct buf b;
	class_conf_default(&conf);
	buf_init(&b, 0);
	make_pods(&b, 900);
	assert_int_equal(add_text(&r, buf_str(&b), NULL), 0);
	assert_int_equal(class_report_run(rep, &r, &conf, 5, NULL), 0);
	size_t all = 0;
	for (int label = 0; label < CLASSIFY_CLASSES; label++)
		for (int type = 0; type < WORKLOAD_TYPE_END - 1; type++)
			all += rep->count[CLASS_FULL][label][type];
	assert_int_equal(all, 900);
	assert_int_equal(rep->right[CLASS_FULL][0], 900);
	assert_int_equal(rep->right[CLASS_BARE][0], 900);
	/* Of a tenth the duration is not told: a rule decides those. */
	assert_int_equal(rep->sure[CLASS_SUBMITTED][0], 810);
	assert_int_equal(rep->sure_right[CLASS_SUBMITTED][0], 810);
	assert_int_equal(class_report_run(rep, &r, &conf, 1, &err), HCP_ERANGE);
	assert_string_equal(err.field, "folds");
	class_rows_release(&r);
	buf_release(&b);
	mem_free(rep);
}

/* What is built in is what the recorded traces give. */
static void the_built_in_trees_come_from_the_traces(void **state)
{
	static const char *const name[] = { "gpu_cluster_pods_alibaba_2023.csv", "genai_requests_alibaba_2024.csv",
		"llm_requests_azure_2023.csv" };
	const char *dir = getenv("HCP_DATA");
	struct class_rows r = { 0 };
	char path[1024];
	for (size_t i = 0; i < 3; i++) {
		struct buf b;
		snprintf(path, sizeof(path), "%s/%s", dir ? dir : HCP_DATA_DEFAULT, name[i]);
		if (!file_exists(path)) {
			print_message("no %s: skipped\n", path);
			class_rows_release(&r);
			skip();
		}
		assert_int_equal(file_read(path, 1 << 28, &b, NULL), 0);
		assert_int_equal(add_text(&r, buf_str(&b), NULL), 0);
		buf_release(&b);
	}
	struct classify_model *m = mem_calloc(1, sizeof(*m));
	struct tree_conf conf;
	struct buf out;
	buf_init(&out, 0);
	class_conf_default(&conf);
	assert_int_equal(class_train(m, &r, &conf, NULL), 0);
	assert_int_equal(classify_model_save(m, &out, NULL), 0);
	assert_int_equal(out.n, classify_builtin_n);
	assert_memory_equal(out.data, classify_builtin, out.n);
	buf_release(&out);
	mem_free(m);
	class_rows_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(labels_and_gaps_are_the_traces),
		cmocka_unit_test(what_can_be_learned_is_found_in_unseen_parts),
		cmocka_unit_test(the_built_in_trees_come_from_the_traces),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
