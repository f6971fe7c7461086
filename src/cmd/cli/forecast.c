#include "cmd/cli/forecast.h"

#include <jansson.h>

#include "base/timefmt.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/ops.h"
#include "econ/policy_spike.h"
#include "os/file.h"
#include "sim/forecast_report.h"
#include "sim/history_feed.h"
#include "sim/replay_files.h"

#define S_NS INT64_C(1000000000)

static int time_flag(struct cli *cli, const char *name, int64_t *ret, struct err *err)
{
	const char *text = args_text(&cli->args, name);
	if (timefmt_parse(str_of(text), ret) < 0)
		return cli_usage(cli, err, name, "--%s: '%.40s' is not a day or time like 2024-06-01", name, text);
	return 0;
}

static int kind_of(struct cli *cli, struct forecast_report *r, struct err *err)
{
	const char *kind = args_text(&cli->args, "kind"), *location = args_text(&cli->args, "location");
	for (int k = 0; kind && k < HISTORY_KIND_END; k++)
		if (str_eqz(str_of(kind), history_kind_name((enum history_kind)k)))
			r->conf.kind = (enum history_kind)k;
	bool power = r->conf.kind == HISTORY_POWER_RT;
	if (!power) {
		r->conf.step_ns = 3600 * S_NS;
		r->every_ns = 4 * 3600 * S_NS;
	}
	location = location ? location : power ? "HB_WEST" : "";
	if (str_copy(r->conf.location, sizeof(r->conf.location), str_of(location)) < 0)
		return cli_usage(cli, err, "location", "--location: longer than %zu bytes", sizeof(r->conf.location) - 1);
	return 0;
}

static int settings(struct cli *cli, struct forecast_report *r, struct err *err)
{
	const struct args *a = &cli->args;
	forecast_conf_default(&r->conf);
	r->conf.retrain_ns = args_int(a, "retrain", 28 * 86400) * S_NS;
	r->every_ns = 3600 * S_NS;
	int rc = kind_of(cli, r, err);
	r->every_ns = args_int(a, "every", r->every_ns / S_NS) * S_NS;
	if (rc == 0)
		rc = time_flag(cli, "from", &r->from_ns, err);
	if (rc == 0)
		rc = time_flag(cli, "to", &r->to_ns, err);
	return rc;
}

static json_t *score_row(const struct forecast_report *r, size_t model, size_t k)
{
	static const char *const horizon[FORECAST_REPORT_HORIZONS] = { "1", "4", "96", "672" };
	const struct forecast_score *s = &r->score[model][k], *first = &r->score[0][k];
	int64_t ahead_s = (forecast_report_step[k] + 1) * r->conf.step_ns / S_NS;
	return json_pack("{s:s, s:I, s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "model", r->model[model],
		"ahead_s", (json_int_t)ahead_s, "steps", horizon[k], "n", (json_int_t)s->n, "pinball", s->pinball,
		"pinball_ratio", first->pinball > 0 ? s->pinball / first->pinball : 0, "mae", s->mae,
		"rmae", s->naive_mae > 0 ? s->mae / s->naive_mae : 0, "mean_error", s->mean_error, "below_05", s->below[0],
		"below_50", s->below[FORECAST_MEDIAN], "below_95", s->below[FORECAST_LEVELS - 2]);
}

static json_t *reply_of(const struct forecast_report *r)
{
	char from[TIMEFMT_MAX], to[TIMEFMT_MAX];
	json_t *rows = json_array();
	for (size_t k = 0; k < FORECAST_REPORT_HORIZONS; k++)
		for (size_t m = 0; m < r->n_models; m++)
			if (r->score[m][k].n)
				json_array_append_new(rows, score_row(r, m, k));
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:o}", "symbol", history_kind_name(r->conf.kind), "location",
		r->conf.location, "from", timefmt_format(from, r->from_ns), "to", timefmt_format(to, r->to_ns), "forecasts",
		(json_int_t)r->issued, "trainings", (json_int_t)r->trainings, "retrain_s",
		(json_int_t)(r->conf.retrain_ns / S_NS), "scores", rows);
}

struct progress {
	bool shown;
	int last;
};

static void tell(void *arg, double part, int64_t now_ns)
{
	struct progress *p = arg;
	char when[TIMEFMT_MAX];
	int percent = (int)(100 * part);
	if (p->shown && percent != p->last)
		cli_say("%3d %%  %.10s", percent, timefmt_format(when, now_ns));
	p->last = percent;
}

int forecast_command_report(struct cli *cli, struct err *err)
{
	struct forecast_report r = { 0 };
	struct replay ticks;
	struct progress p = { .shown = !args_has(&cli->args, "quiet"), .last = -1 };
	int rc = settings(cli, &r, err);
	if (rc < 0)
		return rc;
	replay_init(&ticks, r.from_ns - r.conf.window_ns, r.to_ns);
	/* Prices are what the folder is known by, so a settlement point is needed for other series as well. */
	rc = replay_load_dir(&ticks, args_text(&cli->args, "data"),
		r.conf.kind == HISTORY_POWER_RT ? r.conf.location : "HB_WEST", err);
	if (rc == 0)
		rc = forecast_report_run(&r, &ticks, tell, &p, err);
	replay_release(&ticks);
	if (rc < 0)
		return rc;
	return ops_show_made(cli, reply_of(&r), err);
}

static int show_trained(struct cli *cli, const struct spike_model *m, size_t bytes, struct err *err)
{
	char from[TIMEFMT_MAX], to[TIMEFMT_MAX];
	return ops_show_made(cli,
		json_pack("{s:s, s:s, s:s, s:I}", "location", m->point, "from", timefmt_format(from, m->from_ns), "to",
			timefmt_format(to, m->to_ns), "bytes", (json_int_t)bytes),
		err);
}

int forecast_command_train(struct cli *cli, struct err *err)
{
	const char *location = args_text(&cli->args, "location");
	struct spike_model m = { 0 };
	struct replay ticks;
	struct history h;
	struct buf out;
	int64_t to_ns = 0;
	int rc = time_flag(cli, "to", &to_ns, err);
	if (rc < 0)
		return rc;
	location = location ? location : "HB_WEST";
	replay_init(&ticks, 0, to_ns);
	history_init(&h);
	buf_init(&out, SPIKE_BYTES_MAX);
	rc = replay_load_dir(&ticks, args_text(&cli->args, "data"), location, err);
	if (rc == 0)
		rc = history_feed_until(&h, &ticks, to_ns, err);
	if (rc == 0)
		rc = spike_train(&m, &h, location, to_ns, NULL, err);
	if (rc == 0)
		rc = spike_save(&m, &out, err);
	if (rc == 0)
		rc = file_write_atomic(args_text(&cli->args, "out"), buf_str(&out), 0644, err);
	if (rc == 0)
		rc = show_trained(cli, &m, out.n, err);
	spike_release(&m);
	buf_release(&out);
	history_release(&h);
	replay_release(&ticks);
	return rc;
}
