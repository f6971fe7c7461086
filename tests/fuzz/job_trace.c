/*
 * A trace is refused with a reason or has jobs in order and within limits; small ones then run to their end on a small
 * cluster under every policy, where the replay's own books and the core's check each other.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "sim/sched_replay.h"

enum { JOBS = 48 };

static void replay(const struct job_trace *t)
{
	struct sched_replay_conf conf;
	struct sched_result res;
	struct err err = { 0 };
	sched_replay_conf_default(&conf);
	sched_fleet_for(t, 1, &conf.fleet);
	if (conf.fleet.n == 0 || conf.fleet.n > SCHED_REPLAY_GROUPS_MAX)
		abort();
	if (sched_fleet_parse(STR("2x8:96:768,1x2"), &conf.fleet, NULL) < 0)
		abort();
	for (int p = 0; p < SCHED_POLICY_END; p++) {
		conf.policy = (enum sched_policy)p;
		conf.defrag = t->n & 1;
		int rc = sched_replay_run(t, &conf, &res, &err);
		if (rc < 0 && (rc != HCP_ERANGE || !err.text[0]))
			abort();
		if (rc < 0)
			continue;
		if (res.done + res.refused != t->n || !(res.utilisation <= 1 + 1e-9 || res.arrivals_ms == 0))
			abort();
		sched_result_release(&res);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct job_trace_conf conf;
	struct job_trace t;
	struct err err = { 0 };
	struct sched_fleet fleet;
	struct str text = { (const char *)p, n };
	job_trace_conf_default(&conf);
	if (sched_fleet_parse(text, &fleet, &err) == 0 && fleet.n == 0)
		abort();
	int rc = job_trace_parse(text, &conf, &t, &err);
	if (rc < 0) {
		if (err.code != rc || !err.text[0])
			abort();
		return 0;
	}
	for (size_t i = 0; i < t.n; i++) {
		const struct trace_job *j = &t.job[i];
		if (j->run_ms < 1 || j->arrive_ms < (i ? t.job[i - 1].arrive_ms : 0) || j->customer >= t.n_customers ||
			j->milli > 1000 || (j->gpus && !j->milli) || (j->gpus > 1 && j->milli != 1000))
			abort();
	}
	if (t.n <= JOBS)
		replay(&t);
	job_trace_release(&t);
	return 0;
}
