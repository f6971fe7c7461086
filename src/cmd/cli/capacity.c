#include "cmd/cli/capacity.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cli/cli.h"
#include "cmd/cli/command.h"
#include "cmd/cli/ops.h"
#include "cmd/cli/request.h"
#include "cmd/cli/trace_file.h"
#include "sim/capacity_report.h"

const struct flag capacity_judge_flags[] = {
	{ .name = "trace", .required = true, .help = "file of recorded jobs as of `sched replay`" },
	{ .name = "days", .kind = FLAG_INT, .min = 1, .max = 3650, .help = "at its end that are judged (default 60)" },
	{ .name = "load",
		.kind = FLAG_REAL,
		.min = 0.001,
		.max = 1e6,
		.help = "arrivals come so many times as fast (default 1)" },
	{ .name = NULL },
};

static json_t *reply_of(const struct capacity_report *r)
{
	json_t *rows = json_array();
	double naive = r->model[0].pinball;
	for (size_t i = 0; i < DEMAND_MODELS; i++)
		json_array_append_new(rows,
			json_pack("{s:s, s:f, s:f, s:I}", "model", r->model[i].name, "pinball", r->model[i].pinball,
				"pinball_ratio", naive > 0 ? r->model[i].pinball / naive : 0, "days_chosen", (json_int_t)r->used[i]));
	json_array_append_new(
		rows, json_pack("{s:s, s:f, s:f, s:I}", "model", "chosen", "pinball", r->chosen, "pinball_ratio",
				  naive > 0 ? r->chosen / naive : 0, "days_chosen", (json_int_t)r->days));
	return json_pack("{s:I, s:I, s:f, s:f, s:o}", "hours", (json_int_t)r->hours, "days_judged", (json_int_t)r->days,
		"mean_gpus", r->mean_gpus, "peak_gpus", r->peak_gpus, "models", rows);
}

int capacity_command_forecast(struct cli *cli, struct err *err)
{
	json_t *reply = NULL, *rows = json_array(), *c, *p;
	size_t i, k;
	int rc = request_once(cli, &reply, err);
	const char *form = args_text(&cli->args, "output");
	bool table = !form || !strcmp(form, "table");
	if (rc == 0 && table) {
		json_array_foreach(json_object_get(reply, "classes"), i, c)
		{
			json_array_foreach(json_object_get(c, "points"), k, p)
			{
				json_object_set(p, "device_class", json_object_get(c, "device_class"));
				json_array_append(rows, p);
			}
		}
		json_object_set(reply, "points", rows);
	}
	rc = rc ? rc : ops_show(cli, cli->args.cmd, reply, err);
	json_decref(rows);
	json_decref(reply);
	return rc;
}

int capacity_command_judge(struct cli *cli, struct err *err)
{
	const char *load = args_text(&cli->args, "load");
	struct job_trace t = { 0 };
	struct capacity_report r;
	int rc = trace_file_load(args_text(&cli->args, "trace"), NULL, &t, err);
	if (rc == 0)
		rc = capacity_report_run(&r, &t, load ? strtod(load, NULL) : 1, (size_t)args_int(&cli->args, "days", 60), err);
	job_trace_release(&t);
	if (rc < 0)
		return rc;
	return ops_show_made(cli, reply_of(&r), err);
}
