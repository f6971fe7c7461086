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
#include "sim/demand.h"

/* Lets arrivals come and jobs end for a long while; returns how many run on average. */
static double mean_running(struct demand *d)
{
	enum { JOBS = 20000 };
	double now_s = 0, busy_s = 0;
	for (int i = 0; i < JOBS; i++) {
		struct demand_job job;
		demand_next(d, &job);
		assert_true(job.gpus >= 1 && job.gpus <= 8);
		assert_true(job.duration_s >= DEMAND_DURATION_MIN_S);
		assert_true(job.priority >= 1 && job.priority <= 10);
		busy_s += (double)job.duration_s;
		now_s += (double)demand_wait_ns(d) / 1e9;
	}
	return busy_s / now_s;
}

static void about_the_target_runs(void **state)
{
	struct demand d;
	demand_init(&d, 5, 20, 300);
	double running = mean_running(&d);
	assert_true(running > 18 && running < 22);
	demand_release(&d);
}

static void same_seed_same_jobs(void **state)
{
	struct demand a, b;
	struct demand_job x, y;
	demand_init(&a, 7, 5, 100);
	demand_init(&b, 7, 5, 100);
	for (int i = 0; i < 100; i++) {
		demand_next(&a, &x);
		demand_next(&b, &y);
		assert_string_equal(x.type, y.type);
		assert_true(x.duration_s == y.duration_s && x.gpus == y.gpus);
		assert_true(demand_wait_ns(&a) == demand_wait_ns(&b));
	}
}

static void recorded_pods_keep_their_shape(void **state)
{
	const char *dir = getenv("HCP_DATA");
	char path[1024];
	struct buf text;
	struct demand d;
	dir = dir ? dir : HCP_DATA_DEFAULT;
	assert_int_equal(file_join(path, sizeof(path), dir, "gpu_cluster_pods_alibaba_2023.csv"), 0);
	if (!file_exists(path)) {
		print_message("the recorded data is not there; set HCP_DATA\n");
		skip();
	}
	assert_int_equal(file_read(path, 16 << 20, &text, NULL), 0);
	demand_init(&d, 5, 50, 60);
	assert_int_equal(demand_load_pods(&d, buf_str(&text), NULL), 0);
	assert_true(d.n_samples > 5000);
	/* The median is the wished one; the tail makes the mean larger. */
	assert_true(d.samples[d.n_samples / 2].duration_s == 60);
	assert_true(d.mean_s > 60);
	double running = mean_running(&d);
	assert_true(running > 44 && running < 56);
	demand_release(&d);
	buf_release(&text);
}

static void useless_traces_are_refused(void **state)
{
	struct demand d;
	struct err err;
	demand_init(&d, 1, 1, 60);
	assert_int_equal(demand_load_pods(&d, STR("num_gpu,creation_time\n1,2\n"), &err), HCP_ENOTFOUND);
	static const char none[] = "num_gpu,creation_time,deletion_time\n0,1,2\n1,,5\n";
	assert_int_equal(demand_load_pods(&d, STR(none), &err), HCP_ENOTFOUND);
	assert_true(demand_load_pods(&d, STR("num_gpu,creation_time,deletion_time\nx,1,2\n"), &err) < 0);
	assert_string_equal(err.field, "num_gpu");
	assert_null(d.samples);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(about_the_target_runs),
		cmocka_unit_test(same_seed_same_jobs),
		cmocka_unit_test(recorded_pods_keep_their_shape),
		cmocka_unit_test(useless_traces_are_refused),
	};
	int64_t live = mem_live();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed ? failed : mem_live() != live;
}
