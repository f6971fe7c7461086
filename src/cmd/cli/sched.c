/* `hcp sched replay`: a recorded trace in, a report of what each policy would have made of it out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/money.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/ops.h"
#include "cmd/cli/sched_report.h"
#include "cmd/cli/trace_file.h"
#include "os/clock.h"

/* The policies named, each once and in the table's order; none named: all. */
static int choose_policies(struct cli *cli, struct sched_report *r, struct err *err)
{
	const char *text = args_text(&cli->args, "policy");
	struct str rest = str_of(text && *text ? text : "all");
	bool asked[SCHED_POLICY_END] = { false };
	while (rest.p) {
		struct str name = str_trim(str_split(&rest, ','));
		enum sched_policy p = SCHED_FIFO;
		bool all = str_eqz(name, "all");
		if (!all && sched_policy_parse(name, &p, err) < 0)
			return cli_usage(cli, err, "policy", "there is no policy '%.*s'; there are: fifo best_fit fgd hcp all",
				(int)(name.n < 40 ? name.n : 40), name.n ? name.p : "");
		for (int i = 0; i < SCHED_POLICY_END; i++)
			asked[i] |= all || i == (int)p;
	}
	for (int i = 0; i < SCHED_POLICY_END; i++)
		if (asked[i])
			r->policy[r->n++] = (enum sched_policy)i;
	return 0;
}

static double real_flag(const struct args *a, const char *name, double other)
{
	const char *text = args_text(a, name);
	return text ? strtod(text, NULL) : other; /* checked by args_parse */
}

static int choose_fleet(struct cli *cli, struct sched_report *r, struct err *err)
{
	const struct args *a = &cli->args;
	const char *spec = args_text(a, "fleet"), *nodes = args_text(a, "nodes");
	char text[32];
	if (spec && nodes)
		return cli_usage(cli, err, "fleet", "give --nodes or --fleet, not both");
	if (!spec && !nodes) {
		sched_fleet_for(&r->jobs, r->conf.load, &r->conf.fleet);
		return 0;
	}
	snprintf(text, sizeof(text), "%lldx8", (long long)args_int(a, "nodes", 1));
	int rc = sched_fleet_parse(str_of(spec ? spec : text), &r->conf.fleet, err);
	cli->usage |= rc < 0;
	return rc;
}

static int load(struct cli *cli, struct sched_report *r, struct err *err)
{
	const struct args *a = &cli->args;
	struct job_trace_conf conf;
	job_trace_conf_default(&conf);
	conf.prefill_tokens_s = real_flag(a, "prefill", conf.prefill_tokens_s);
	conf.decode_tokens_s = real_flag(a, "decode", conf.decode_tokens_s);
	conf.slot_milli = (uint16_t)args_int(a, "slot", conf.slot_milli);
	r->trace = args_text(a, "trace");
	int rc = trace_file_load(r->trace, &conf, &r->jobs, err);
	if (rc == 0)
		rc = choose_fleet(cli, r, err);
	return rc;
}

static void show_progress(void *ctx, size_t done, size_t n)
{
	const char *policy = ctx;
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%-8s %zu of %zu jobs: %3d %%", policy, done, n, (int)(100 * done / n));
}

static int run_all(struct sched_report *r, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < r->n; i++) {
		struct sched_replay_conf conf = r->conf;
		int64_t began_ns = clock_mono_ns();
		conf.policy = r->policy[i];
		conf.progress = show_progress;
		conf.ctx = (void *)(uintptr_t)sched_policy_name(conf.policy);
		rc = sched_replay_run(&r->jobs, &conf, &r->result[i], err);
		r->seconds[i] = (double)(clock_mono_ns() - began_ns) / (double)NS_PER_S;
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%60s\r", "");
	return rc;
}

static int write_report(struct cli *cli, const struct sched_report *r, struct err *err)
{
	const char *form = args_text(&cli->args, "output");
	struct buf out;
	int rc = 0;
	buf_init(&out, 0);
	if (form && !strcmp(form, "json"))
		rc = sched_report_json(r, &out, err);
	else if (form && !strcmp(form, "html"))
		sched_report_html(r, &out);
	else
		rc = sched_report_table(cli, r, &out, err);
	return cli_finish_report(cli, &out, rc, err);
}

int ops_sched_replay(struct cli *cli, struct err *err)
{
	const struct args *a = &cli->args;
	struct sched_report *r = mem_calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	sched_replay_conf_default(&r->conf);
	r->conf.load = real_flag(a, "load", r->conf.load);
	r->conf.checkpoint_ms = args_int(a, "checkpoint", r->conf.checkpoint_ms / 1000) * 1000;
	r->conf.restart_ms = args_int(a, "restart", r->conf.restart_ms / 1000) * 1000;
	r->conf.defrag = args_has(a, "defrag");
	if (args_has(a, "no-preemption"))
		r->conf.preempts_max = 0;
	int rc = choose_policies(cli, r, err);
	if (rc == 0)
		rc = load(cli, r, err);
	if (rc == 0)
		rc = run_all(r, err);
	if (rc == 0)
		rc = write_report(cli, r, err);
	for (size_t i = 0; i < r->n; i++)
		sched_result_release(&r->result[i]);
	job_trace_release(&r->jobs);
	mem_free(r);
	return rc;
}
