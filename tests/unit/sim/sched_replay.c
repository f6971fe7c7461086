/* Traces are read to the letter, and replays on clusters small enough to be worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "os/file.h"
#include "sim/sched_replay.h"

#define HEAD                                                                                                           \
	"name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"

static int parse(const char *text, struct job_trace *t, struct err *err)
{
	struct job_trace_conf conf;
	job_trace_conf_default(&conf);
	return job_trace_parse(str_of(text), &conf, t, err);
}

static void refuse(const char *text, int code, const char *field, const char *says)
{
	struct job_trace t = { .n = 7 };
	struct err err = { 0 };
	int64_t before = mem_live();
	assert_int_equal(parse(text, &t, &err), code);
	assert_string_equal(err.field, field);
	if (!strstr(err.text, says))
		fail_msg("\"%s\" does not tell \"%s\"", err.text, says);
	assert_int_equal(t.n, 7); /* not touched */
	assert_int_equal(mem_live(), before);
}

static void a_row_becomes_a_job(void **state)
{
	struct job_trace t;
	struct err err = { 0 };
	assert_int_equal(parse(HEAD "b,6000,12288,1,460,,BE,Running,100,190.5,112\n"
								"a,12000,16384,8,1000,,LS,Failed,50,900,50.0\n"
								"c,4000,0,0,,,Burstable,Pending,100,160,\n"
								"d,4000,1,1,1000,V100,Guaranteed,Running,900,,901\n",
						 &t, &err),
		0);
	assert_int_equal(t.kind, JOB_TRACE_PODS);
	assert_int_equal(t.n, 4);
	const struct trace_job *j = t.job; /* by arrival, from the first; equal ones by line */
	assert_int_equal(j[0].arrive_ms, 0);
	assert_int_equal(j[0].gpus, 8);
	assert_int_equal(j[0].run_ms, 850000);
	assert_int_equal(j[0].waited_ms, 0);
	assert_int_equal(j[0].cls, WORKLOAD_P1);
	assert_int_equal(j[1].arrive_ms, 50000);
	assert_int_equal(j[1].run_ms, 78500);
	assert_int_equal(j[1].waited_ms, 12000);
	assert_int_equal(j[1].milli, 460);
	assert_int_equal(j[1].cls, WORKLOAD_P3);
	assert_string_equal(t.customer[j[1].customer], "BE");
	assert_int_equal(j[2].gpus, 0); /* never scheduled: as long as it was wanted */
	assert_int_equal(j[2].run_ms, 60000);
	assert_int_equal(j[2].waited_ms, -1);
	assert_int_equal(j[2].cls, WORKLOAD_P2);
	assert_int_equal(j[3].run_ms, 1); /* still there when the trace ends, at 901 */
	assert_int_equal(t.n_customers, 4);
	job_trace_release(&t);

	assert_int_equal(
		parse("x,elapsed_s,predict_type,base_model,exec_time_s\n0,10,T,M1,2.5\n0,9,T,M0,0\n0,9,T,M0,3\n", &t, &err), 0);
	assert_int_equal(t.kind, JOB_TRACE_IMAGES);
	assert_int_equal(t.n, 2);
	assert_int_equal(t.skipped, 1);
	assert_int_equal(t.job[1].run_ms, 2500);
	assert_int_equal(t.job[1].milli, 1000);
	job_trace_release(&t);

	assert_int_equal(parse("elapsed_s,workload,context_tokens,generated_tokens\n0.25,conv,7000,50\n", &t, &err), 0);
	assert_int_equal(t.kind, JOB_TRACE_TOKENS);
	assert_int_equal(t.job[0].run_ms, 3000); /* 1 s of prompt, 2 s of answer */
	assert_int_equal(t.job[0].milli, 125);
	job_trace_release(&t);
}

static void errors_name_line_and_column(void **state)
{
	refuse("a,b\n1,2\n", HCP_ENOTFOUND, "header", "gpu_milli");
	refuse(HEAD, HCP_ENOTFOUND, "", "no job");
	refuse(HEAD "a,1,1,1,500,,LS,R,0,9,0\nb,x,1,1,500,,LS,R,0,9,0\n", HCP_EPARSE, "cpu_milli", "line 3");
	refuse(HEAD "a,1,1,1,1500,,LS,R,0,9,0\n", HCP_ERANGE, "gpu_milli", "line 2");
	refuse(HEAD "a,1,1,1,0,,LS,R,0,9,0\n", HCP_ERANGE, "gpu_milli", "1 to 1000");
	refuse(HEAD "a,1,1,1,,,LS,R,0,9,0\n", HCP_EPARSE, "gpu_milli", "line 2");
	refuse(HEAD "a,1,1,2,500,,LS,R,0,9,0\n", HCP_ERANGE, "gpu_milli", "several");
	refuse(HEAD "a,1,1,0.5,500,,LS,R,0,9,0\n", HCP_ERANGE, "num_gpu", "whole");
	refuse(HEAD "a,-1,1,1,500,,LS,R,0,9,0\n", HCP_ERANGE, "cpu_milli", "line 2");
	refuse(HEAD "a,1,1,1,500,,LS,R,5,9,4\n", HCP_ERANGE, "scheduled_time", "before its creation_time");
	refuse(HEAD "a,1,1,1,500,,LS,R,5,4,5\n", HCP_ERANGE, "deletion_time", "before its start");
	refuse(HEAD "a,1,1,1,500,,LS,R,-5,4,5\n", HCP_ERANGE, "creation_time", "line 2");
	refuse(HEAD "a,1,1,1,500,,LS,R,0,9\n", HCP_EPARSE, "", "line 2");
	refuse(HEAD "a,1,1,1,500,,aaaaaaaaaabbbbbbbbbbccccccccccddddddddddee,R,0,9,0\n", HCP_ERANGE, "qos", "line 2");
	refuse("elapsed_s,base_model,exec_time_s\n0,M,-1\n", HCP_ERANGE, "exec_time_s", "line 2");
	refuse("elapsed_s,workload,context_tokens,generated_tokens\n1,c,1,nan\n", HCP_EPARSE, "generated_tokens", "line 2");
}

static void fleets_are_read(void **state)
{
	struct sched_fleet f;
	struct err err = { 0 };
	assert_int_equal(sched_fleet_parse(STR("40x8:64:512,2x1"), &f, &err), 0);
	assert_int_equal(f.n, 2);
	assert_int_equal(f.group[0].nodes, 40);
	assert_int_equal(f.group[0].cpu_milli, 64000);
	assert_int_equal(f.group[0].memory_mib, 512 * 1024);
	assert_int_equal(f.group[1].cpu_milli, 12000); /* 12 cores and 96 GiB a GPU */
	static const char *const bad[] = { "", "x", "1x", "0x8", "1x17", "1x8:", "1x8:0", "1x8x2", "1x8:1:1:1", "1x8,",
		"70000x8", "40000x8,40000x8" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_true(sched_fleet_parse(str_of(bad[i]), &f, &err) < 0);
		assert_string_equal(err.field, "fleet");
	}
	/* Two at once at the most, 1.5 GPUs: four fifths are 1.2, so 2 GPUs. */
	struct job_trace t;
	assert_int_equal(
		parse(HEAD "a,1,1,1,1000,,LS,R,0,10,0\nb,1,1,1,500,,LS,R,5,15,5\nc,1,1,1,500,,LS,R,10,15,10\n", &t, &err), 0);
	sched_fleet_for(&t, 1, &f);
	assert_int_equal(f.n, 1);
	assert_int_equal(f.group[0].nodes * f.group[0].gpus, 2);
	job_trace_release(&t);
}

static struct sched_result replay(const struct job_trace *t, enum sched_policy p, const char *fleet)
{
	struct sched_replay_conf conf;
	struct sched_result res;
	struct err err = { 0 };
	sched_replay_conf_default(&conf);
	conf.policy = p;
	conf.min_run_ms = 0;
	assert_int_equal(sched_fleet_parse(str_of(fleet), &conf.fleet, &err), 0);
	if (sched_replay_run(t, &conf, &res, &err) < 0)
		fail_msg("%s: %s", err.field, err.text);
	assert_int_equal(res.done + res.refused, t->n);
	return res;
}

static struct sched_result replay_text(const char *text, enum sched_policy p, const char *fleet)
{
	struct job_trace t;
	struct err err = { 0 };
	if (parse(text, &t, &err) < 0)
		fail_msg("%s: %s", err.field, err.text);
	struct sched_result res = replay(&t, p, fleet);
	job_trace_release(&t);
	return res;
}

static void fifo_waits_where_others_pass(void **state)
{
	/* Two GPUs. a holds one for 100 s; b wants both; c wants one for 10 s. */
	static const char text[] = HEAD "a,1,1,1,1000,,LS,R,0,100,0\n"
									"b,1,1,2,1000,,LS,R,1,51,1\n"
									"c,1,1,1,1000,,LS,R,2,12,2\n";
	struct sched_result f = replay_text(text, SCHED_FIFO, "1x2"), b = replay_text(text, SCHED_BEST_FIT, "1x2");
	/* fifo: b at 100 (99 s), c at 150 (148 s). Passing over: c at 2 (0 s), b at 100. */
	assert_true(fabs(f.all.mean_s - (0 + 99 + 148) / 3.0) < 1e-6);
	assert_true(fabs(b.all.mean_s - 99 / 3.0) < 1e-6);
	assert_int_equal(f.end_ms, 160000);
	assert_int_equal(b.end_ms, 150000);
	assert_int_equal(f.all.in_target, 1);
	assert_true(b.all.max_s == 99 && b.all.p50_s == 0);
	/* Until the last arrival, at 2 s, one GPU of two was in use; b alone waited from 1 s on. */
	assert_true(fabs(f.utilisation - 0.5) < 1e-9 && fabs(f.contended_share - 0.5) < 1e-9);
	sched_result_release(&f);
	sched_result_release(&b);
}

static void cpu_and_memory_bound_a_node(void **state)
{
	/* A node of 12 cores: GPUs are left, cores are not; a job without GPUs takes cores too. */
	struct sched_result r = replay_text(HEAD "a,8000,1024,1,250,,LS,R,0,10,0\n"
											 "b,8000,1024,1,250,,LS,R,0,10,0\n"
											 "c,4000,98304,0,0,,LS,R,0,10,0\n"
											 "d,12001,1,1,250,,LS,R,0,10,0\n",
		SCHED_BEST_FIT, "1x1");
	assert_int_equal(r.refused, 1); /* d never fits */
	/* a at 0; b waits for its cores; c has cores, but not memory beside a's: 96 GiB are 98,304 MiB. */
	assert_int_equal(r.end_ms, 30000);
	assert_true(fabs(r.all.mean_s - (0 + 10 + 20) / 3.0) < 1e-6);
	assert_int_equal(r.all.started, 3);
	sched_result_release(&r);
}

static void real_time_work_preempts_the_cheapest(void **state)
{
	/* Two GPUs with batch work; e arrives at 2000 s. b's last checkpoint is 100 s old, a's 200. */
	static const char text[] = HEAD "a,1,1,1,1000,,BE,R,0,10000,0\n"
									"b,1,1,1,1000,,BE,R,100,10000,100\n"
									"e,1,1,1,1000,,LS,R,2000,2500,2000\n";
	struct sched_result h = replay_text(text, SCHED_HCP, "1x2"), g = replay_text(text, SCHED_FGD, "1x2");
	assert_int_equal(h.preemptions, 1);
	assert_true(h.cls[WORKLOAD_P1].mean_s == 0);
	assert_true(g.cls[WORKLOAD_P1].mean_s == 8000);
	/* b ran 1900 s, 100 of them after its checkpoint: 100 s and 60 s to start are done again, from 2500 on. */
	assert_true(fabs(h.lost_gpu_h - 160.0 / 3600) < 1e-9);
	assert_int_equal(h.end_ms, 2500000 + 8000000 + 160000);
	assert_int_equal(h.cls[WORKLOAD_P3].preempted, 1);
	sched_result_release(&h);
	sched_result_release(&g);
}

static void shares_and_jain(void **state)
{
	/* One GPU: LS runs 100 s at once, BE 100 s after waiting 100. Shares 1 and 1/2; (3/2)^2 / (2 * 5/4) = 0.9. */
	struct sched_result r =
		replay_text(HEAD "a,1,1,1,1000,,LS,R,0,100,0\nb,1,1,1,1000,,BE,R,0,100,0\n", SCHED_FIFO, "1x1");
	assert_true(fabs(r.customer[0].share - 1) < 1e-9 && fabs(r.customer[1].share - 0.5) < 1e-9);
	assert_true(fabs(r.jain - 0.9) < 1e-9);
	assert_true(fabs(r.gpu_h - 200.0 / 3600) < 1e-9);
	sched_result_release(&r);
	/*
	 * Until 300 s: a asks for 300 and gets 200, b for 100 and gets 100. Max-min gives b its 100 and a 200: as it was.
	 */
	r = replay_text(HEAD "a,1,1,1,1000,,LS,R,0,200,0\na,1,1,1,1000,,LS,R,100,201,100\n"
						 "b,1,1,1,1000,,BE,R,200,301,200\nc,0,1,0,0,,BE,R,300,301,300\n",
		SCHED_FIFO, "1x1");
	assert_true(fabs(r.customer[0].served - 300.0 / 3600) < 1e-9 && r.customer[1].served == 0);
	assert_true(fabs(r.customer[0].fair - 200.0 / 3600) < 1e-6 && fabs(r.customer[1].fair - 100.0 / 3600) < 1e-6);
	assert_true(fabs(r.jain_service - 0.5) < 1e-9); /* one has all, the other nothing */
	sched_result_release(&r);
}

static void too_long_a_trace_is_refused(void **state)
{
	struct buf text;
	struct job_trace t;
	struct sched_replay_conf conf;
	struct sched_result res;
	struct err err = { 0 };
	buf_init(&text, 0);
	buf_addz(&text, HEAD);
	for (int i = 0; i < 3; i++)
		buf_addz(&text, "a,1,1,1,1000,,LS,R,0,9999999999,0\n");
	assert_int_equal(parse(text.data, &t, &err), 0);
	sched_replay_conf_default(&conf);
	assert_int_equal(sched_fleet_parse(STR("1x1"), &conf.fleet, &err), 0);
	assert_int_equal(sched_replay_run(&t, &conf, &res, &err), HCP_ERANGE);
	assert_string_equal(err.field, "trace");
	conf.load = 0;
	assert_int_equal(sched_replay_run(&t, &conf, &res, &err), HCP_EINVAL);
	job_trace_release(&t);
	buf_release(&text);
}

/* Crowded and random: nobody is lost, the replay's books and the core's agree (they panic otherwise), runs repeat. */
static void crowds_end_and_repeat(void **state)
{
	static const int milli[] = { 160, 230, 320, 470, 590, 650, 810, 1000, 1000 };
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct rng g;
		struct buf text;
		struct job_trace t;
		struct err err = { 0 };
		int at = 0;
		rng_init(&g, seed);
		buf_init(&text, 0);
		buf_addz(&text, HEAD);
		for (int i = 0; i < 600; i++) {
			int m = milli[rng_below(&g, 9)], gpus = m == 1000 ? 1 << rng_below(&g, 4) : 1;
			static const char *const qos[] = { "LS", "BE", "BE", "Burstable", "Guaranteed" };
			at += (int)rng_below(&g, 40);
			buf_printf(&text, "p,%d,%d,%d,%d,,%s,R,%d,%d,%d\n", (int)(1 + rng_below(&g, 12)) * gpus * 1000,
				40000 * gpus, gpus, m, qos[rng_below(&g, 5)], at, at + 10 + (int)rng_below(&g, 3000), at);
		}
		assert_int_equal(parse(text.data, &t, &err), 0);
		for (int p = 0; p < SCHED_POLICY_END; p++) {
			struct sched_result a = replay(&t, (enum sched_policy)p, "3x8,1x4"),
								b = replay(&t, (enum sched_policy)p, "3x8,1x4");
			assert_true(a.all.mean_s == b.all.mean_s && a.end_ms == b.end_ms && a.preemptions == b.preemptions);
			assert_memory_equal(a.point, b.point, sizeof(a.point));
			assert_true(a.utilisation > 0.5 && a.utilisation <= 1 && a.frag_of_free >= 0 && a.frag_of_free <= 1);
			assert_true(a.jain > 0 && a.jain <= 1);
			sched_result_release(&a);
			sched_result_release(&b);
		}
		job_trace_release(&t);
		buf_release(&text);
	}
}

static void every_allocation_may_fail(void **state)
{
	static const char text[] =
		HEAD "a,1,1,1,470,,LS,R,0,100,0\nb,1,1,1,1000,,BE,R,0,100,0\nc,1,1,1,1000,,LS,R,1,100,1\n";
	struct sched_replay_conf conf;
	sched_replay_conf_default(&conf);
	assert_int_equal(sched_fleet_parse(STR("1x1"), &conf.fleet, NULL), 0);
	int rc = HCP_ENOMEM;
	int64_t before = mem_live();
	for (uint64_t nth = 1; rc == HCP_ENOMEM && nth < 300; nth++) {
		struct job_trace t;
		struct sched_result res;
		struct err err = { 0 };
		mem_fail_after(nth, 0);
		rc = parse(text, &t, &err);
		if (rc == 0) {
			rc = sched_replay_run(&t, &conf, &res, &err);
			job_trace_release(&t);
			if (rc == 0)
				sched_result_release(&res);
		}
		mem_fail_after(0, 0);
		assert_true(rc == 0 || rc == HCP_ENOMEM);
		assert_int_equal(mem_live(), before);
	}
	assert_int_equal(rc, 0);
}

/* The recorded pods: what was found, so that a change of policy is seen. */
static void the_recorded_trace(void **state)
{
	const char *dir = getenv("HCP_DATA");
	char path[512];
	struct buf text;
	struct job_trace t;
	struct err err = { 0 };
	snprintf(path, sizeof(path), "%s/gpu_cluster_pods_alibaba_2023.csv", dir ? dir : HCP_DATA_DEFAULT);
	buf_init(&text, 0);
	if (file_read(path, 1 << 24, &text, &err) < 0) {
		print_message("no recorded trace: %s\n", err.text);
		skip();
	}
	assert_int_equal(parse(text.data, &t, &err), 0);
	assert_int_equal(t.n, 8152);
	struct sched_result fifo = replay(&t, SCHED_FIFO, "7x8"), hcp = replay(&t, SCHED_HCP, "7x8");
	assert_int_equal(fifo.refused, 5); /* more than 96 cores */
	assert_true(hcp.all.mean_s < fifo.all.mean_s / 10);
	assert_true(hcp.cls[WORKLOAD_P1].in_target > fifo.cls[WORKLOAD_P1].in_target);
	sched_result_release(&fifo);
	sched_result_release(&hcp);
	job_trace_release(&t);
	buf_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_row_becomes_a_job),
		cmocka_unit_test(errors_name_line_and_column),
		cmocka_unit_test(fleets_are_read),
		cmocka_unit_test(fifo_waits_where_others_pass),
		cmocka_unit_test(cpu_and_memory_bound_a_node),
		cmocka_unit_test(real_time_work_preempts_the_cheapest),
		cmocka_unit_test(shares_and_jain),
		cmocka_unit_test(too_long_a_trace_is_refused),
		cmocka_unit_test(crowds_end_and_repeat),
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(the_recorded_trace),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
