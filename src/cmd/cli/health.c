#include "cmd/cli/health.h"

#include <jansson.h>

#include "base/timefmt.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/ops.h"
#include "sim/health_report.h"

static int settings(struct cli *cli, struct health_report_conf *c, struct err *err)
{
	const struct args *a = &cli->args;
	const char *judge = args_text(a, "judge"), *from = args_text(a, "from");
	health_report_default(c);
	c->asics = (size_t)args_int(a, "asics", (int64_t)c->asics);
	c->gpus = (size_t)args_int(a, "gpus", (int64_t)c->gpus);
	c->days = (int)args_int(a, "days", c->days);
	c->learn_days = (int)args_int(a, "learn-days", c->learn_days);
	c->seed = (uint64_t)args_int(a, "seed", (int64_t)c->seed);
	if (from && timefmt_parse(str_of(from), &c->from_ns) < 0)
		return cli_usage(cli, err, "from", "--from: '%.40s' is not a day or time like 2024-06-01", from);
	for (int j = 0; judge && j < HEALTH_REPORT_JUDGE_END; j++)
		if (str_eqz(str_of(judge), health_report_judge_name((enum health_report_judge)j)))
			c->judge = (enum health_report_judge)j;
	return 0;
}

static double share(size_t part, size_t of)
{
	return of ? (double)part / (double)of : 0;
}

static json_t *score_row(const struct health_report *r, int kind, int k)
{
	const struct health_report_score *s = &r->score[kind][k];
	return json_pack("{s:s, s:s, s:I, s:I, s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:f}", "device_class",
		kind ? "H100" : "S21", "fault", fleet_fault_name(health_report_fault[k]), "injected", (json_int_t)s->injected,
		"found", (json_int_t)s->found, "recall", share(s->found, s->injected), "precision",
		share(s->found, s->found + s->false_alarms), "named", share(s->named, s->found), "false_alarms",
		(json_int_t)s->false_alarms, "delay_p50_min", s->delay_p50_s / 60, "delay_p90_min", s->delay_p90_s / 60,
		"by_forest", share(s->by[1], s->found), "by_autoencoder", share(s->by[2], s->found));
}

static json_t *reply_of(const struct health_report *r)
{
	char from[TIMEFMT_MAX];
	json_t *rows = json_array();
	for (int kind = 0; kind < 2; kind++)
		for (int k = 0; k < HEALTH_REPORT_KINDS; k++)
			if (r->score[kind][k].injected || r->score[kind][k].false_alarms)
				json_array_append_new(rows, score_row(r, kind, k));
	double years = r->device_years[0] + r->device_years[1];
	size_t wrong = r->false_alarms[0] + r->false_alarms[1];
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:I, s:o}", "judge",
		health_report_judge_name(r->conf.judge), "from", timefmt_format(from, r->conf.from_ns), "asics",
		(json_int_t)r->conf.asics, "gpus", (json_int_t)r->conf.gpus, "days", (json_int_t)r->conf.days, "device_years",
		years, "false_per_asic_year", r->device_years[0] > 0 ? (double)r->false_alarms[0] / r->device_years[0] : 0,
		"false_per_gpu_year", r->device_years[1] > 0 ? (double)r->false_alarms[1] / r->device_years[1] : 0,
		"false_alarms", (json_int_t)wrong, "samples", (json_int_t)r->stats.samples, "scores", rows);
}

struct progress {
	bool shown;
};

static void tell(void *arg, double part)
{
	const struct progress *p = arg;
	if (p->shown)
		cli_say("%3d %%", (int)(100 * part));
}

int health_command_report(struct cli *cli, struct err *err)
{
	struct health_report r = { 0 };
	struct progress p = { .shown = !args_has(&cli->args, "quiet") };
	int rc = settings(cli, &r.conf, err);
	if (rc == 0)
		rc = health_report_run(&r, tell, &p, err);
	if (rc < 0)
		return rc;
	return ops_show_made(cli, reply_of(&r), err);
}
