#ifndef HCP_CMD_CLI_SCHED_REPORT_H
#define HCP_CMD_CLI_SCHED_REPORT_H

#include "sim/sched_replay.h"

/* A trace replayed under some policies on one cluster. */
struct sched_report {
	const char *trace; /* borrowed: the file's name */
	struct job_trace jobs;
	struct sched_replay_conf conf; /* but for the policy */
	enum sched_policy policy[SCHED_POLICY_END];
	struct sched_result result[SCHED_POLICY_END];
	double seconds[SCHED_POLICY_END]; /* that it took */
	size_t n;
};

/* All append to out. HCP_ENOMEM. */
struct cli;
int sched_report_table(struct cli *cli, const struct sched_report *r, struct buf *out, struct err *err) MUST_CHECK;
int sched_report_json(const struct sched_report *r, struct buf *out, struct err *err) MUST_CHECK;
/* sched_html.c: one page without anything outside of it. Failures stick to out. */
void sched_report_html(const struct sched_report *r, struct buf *out);

#endif
