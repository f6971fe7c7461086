#include "cmd/cli/explain.h"

#include "base/money.h"
#include "cmd/cli/grid.h"
#include "cmd/cli/human.h"
#include "cmd/cli/render.h"

static const char *text(const json_t *o, const char *name, const char *other)
{
	const char *s = json_string_value(json_object_get(o, name));
	return s && *s ? s : other;
}

static void heading(struct cli *cli, struct buf *out, const char *title)
{
	buf_printf(out, "\n%s%s%s\n", cli->color ? "\033[1m" : "", title, cli->color ? "\033[0m" : "");
}

static void add_field(struct buf *out, const json_t *o, const char *name)
{
	/* A zero may be left out of the JSON. */
	json_t *zero = json_integer(0);
	const json_t *v = json_object_get(o, name);
	human_add(out, v ? v : zero, human_of(name), 0);
	json_decref(zero);
}

static void add_intro(struct buf *out, const json_t *d)
{
	const json_t *at = json_object_get(d, "decided_at_ns");
	buf_addz(out, "Decision ");
	grid_add_clean(out, str_of(text(d, "id", "without id")));
	buf_addz(out, ", ");
	add_field(out, d, "decided_at_ns");
	if (json_integer_value(at)) {
		buf_addz(out, " (");
		human_add(out, at, HUMAN_AGE, cli_now_ns());
		buf_addz(out, " ago)");
	}
	if (json_integer_value(json_object_get(d, "market_time_ns"))) {
		buf_addz(out, ", market time ");
		add_field(out, d, "market_time_ns");
	}
	buf_addz(out, "\nPolicy ");
	grid_add_clean(out, str_of(text(d, "policy", "unknown")));
	buf_addz(out, ", triggered by ");
	grid_add_clean(out, str_of(text(d, "trigger", "unknown")));
	bool changed = json_is_true(json_object_get(d, "changed"));
	buf_addz(out, changed ? ": the plan was changed.\n" : ": the plan was held.\n");
	if (*text(d, "summary", "")) {
		grid_add_clean(out, str_of(text(d, "summary", "")));
		buf_addc(out, '\n');
	}
}

/* Copies of the options with a word instead of a flag, chosen ones first. */
static json_t *judged(const json_t *options)
{
	json_t *rows = json_array();
	for (int chosen = 1; chosen >= 0; chosen--) {
		size_t i;
		json_t *o;
		json_array_foreach(options, i, o) {
			if (!json_is_object(o) || json_is_true(json_object_get(o, "chosen")) != chosen)
				continue;
			json_t *row = json_copy(o);
			json_object_set_new(row, "verdict", json_string(chosen ? "chosen" : "rejected"));
			json_array_append_new(rows, row);
		}
	}
	return rows;
}

static int add_options(struct cli *cli, const json_t *d, struct buf *out, struct err *err)
{
	json_t *rows = judged(json_object_get(d, "options"));
	int rc = 0;
	heading(cli, out, "What could be done");
	if (json_array_size(rows) == 0)
		buf_addz(out, "No options were recorded.\n");
	else
		rc = render_rows(cli, rows,
				 "verdict device_class=CLASS facility name=OPTION net_usd_h=NET switching_cost_usd=SWITCHING "
				 "realised_usd=CAME_TO reason=BECAUSE", 0, out, err);
	json_decref(rows);
	return rc;
}

/* The forecast at some of its steps, if it has quantiles. */
static int add_quantiles(struct cli *cli, const json_t *f, struct buf *out, struct err *err)
{
	static const char *const name[] = { "mean", "q05", "q25", "q50", "q75", "q95" };
	static const size_t steps[] = { 0, 1, 2, 3, 7, 11, 15, 23 };
	int64_t at_ns = json_integer_value(json_object_get(f, "issued_at_ns"));
	int64_t step_ns = json_integer_value(json_object_get(f, "step_seconds")) * NS_PER_S;
	if (json_array_size(json_object_get(f, "q50")) < 2)
		return 0;
	json_t *rows = json_array();
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		json_t *row = json_object();
		for (size_t k = 0; k < sizeof(name) / sizeof(name[0]); k++) {
			json_t *v = json_array_get(json_object_get(f, name[k]), steps[i]);
			if (v)
				json_object_set(row, name[k], v);
		}
		if (json_object_size(row))
			json_object_set_new(row, "from_ns", json_integer(at_ns + (int64_t)steps[i] * step_ns));
		json_array_append_new(rows, row);
	}
	int rc = render_rows(cli, rows,
		"from_ns=FROM mean:usd_mwh=MEAN q05:usd_mwh=5% q25:usd_mwh=25% q50:usd_mwh=50% q75:usd_mwh=75% "
		"q95:usd_mwh=95%",
		0, out, err);
	json_decref(rows);
	return rc;
}

static int add_forecasts(struct cli *cli, const json_t *d, struct buf *out, struct err *err)
{
	const json_t *forecasts = json_object_get(d, "forecasts"), *f;
	size_t i;
	int rc = 0;
	if (json_array_size(forecasts) == 0)
		return 0;
	heading(cli, out, "What was expected");
	rc = render_rows(cli, forecasts,
		"facility location model expected_usd_mwh=NOW expected_by=BY risk_usd_mwh=RISK plan_net_usd=PLAN "
		"shadow_usd_mwh=SHADOW reason",
		0, out, err);
	json_array_foreach(forecasts, i, f) rc = rc ? rc : add_quantiles(cli, f, out, err);
	return rc;
}

static void add_guard(struct buf *out, const json_t *d)
{
	const json_t *g = json_object_get(d, "guard");
	if (!json_is_object(g))
		return;
	buf_addz(out, json_is_true(json_object_get(g, "up")) ? "Drawdown guard: up, the safest plan is used; "
														 : "Drawdown guard: down; ");
	human_add(out, json_object_get(g, "drawdown"), HUMAN_RATIO, 0);
	buf_addz(out, " below the peak of ");
	add_field(out, g, "peak_usd");
	buf_addz(out, ", limit ");
	human_add(out, json_object_get(g, "limit"), HUMAN_RATIO, 0);
	buf_addz(out, ".\n");
}

static void add_worth(struct buf *out, const json_t *d)
{
	if (!json_is_true(json_object_get(d, "changed")) || json_number_value(json_object_get(d, "horizon_s")) <= 0)
		return;
	buf_addz(out, "Expected to gain ");
	add_field(out, d, "gain_usd");
	buf_addz(out, " over the next ");
	human_add(out, json_object_get(d, "horizon_s"), HUMAN_S, 0);
	buf_addz(out, json_is_true(json_object_get(d, "pays")) ? ": worth its switching cost.\n"
														   : ": not worth its switching cost.\n");
}

static void add_outcome(struct buf *out, const json_t *d)
{
	double realised_ms = json_number_value(json_object_get(d, "realised_switching_ms"));
	buf_addz(out, "Expected net: ");
	add_field(out, d, "net_usd_h");
	buf_addz(out, ", ");
	add_field(out, d, "gain_usd_h");
	buf_addz(out, " better than holding at the present prices.\n");
	add_worth(out, d);
	buf_addz(out, "Predicted switching cost: ");
	add_field(out, d, "switching_cost_usd");
	if (json_number_value(json_object_get(d, "predicted_switching_ms")) > 0) {
		buf_addz(out, " in ");
		add_field(out, d, "predicted_switching_ms");
	}
	buf_addz(out, ".\nRealised switching: ");
	if (realised_ms > 0) {
		add_field(out, d, "realised_switching_usd");
		buf_addz(out, " in ");
		add_field(out, d, "realised_switching_ms");
	} else {
		buf_addz(out, json_is_true(json_object_get(d, "changed")) ? "not finished" : "nothing to switch");
	}
	buf_addz(out, ".\n");
	if (json_number_value(json_object_get(d, "in_force_s")) <= 0) {
		buf_addz(out, "It is still in force.\n");
		return;
	}
	buf_addz(out, "In force for ");
	human_add(out, json_object_get(d, "in_force_s"), HUMAN_S, 0);
	buf_addz(out, ": ");
	add_field(out, d, "realised_net_usd");
	buf_addz(out, " netted, ");
	add_field(out, d, "expected_net_usd");
	buf_addz(out, " expected.\n");
}

int explain_decision(struct cli *cli, const json_t *d, struct buf *out, struct err *err)
{
	const json_t *inputs = json_object_get(d, "inputs"), *targets = json_object_get(d, "targets");
	int64_t market_ns = json_integer_value(json_object_get(d, "market_time_ns"));
	int rc = 0;
	add_intro(out, d);
	heading(cli, out, "What was known");
	if (json_array_size(inputs) == 0)
		buf_addz(out, "No inputs were recorded.\n");
	else
		rc = render_rows(cli, inputs,
				 "symbol location value unit source observed_at_ns:age=AGE stale fallback", market_ns,
				 out, err);
	if (rc == 0)
		rc = add_forecasts(cli, d, out, err);
	if (rc == 0)
		rc = add_options(cli, d, out, err);
	if (rc < 0)
		return rc;
	heading(cli, out, "What was ordered");
	if (json_array_size(targets) == 0)
		buf_addz(out, "No targets: everything stays as it was.\n");
	else
		rc = render_rows(cli, targets,
			"device_class=CLASS facility total:n serve:n mine:n power_mode=DRIVEN was_power_mode=WAS idle:n "
			"serve_usd_h:usd=SERVE$/H "
			"mine_usd_h:usd=MINE$/H idle_usd_h:usd=IDLE$/H one_more_usd=ONE_MORE reason",
			0, out, err);
	if (rc < 0)
		return rc;
	heading(cli, out, "What came of it");
	add_guard(out, d);
	add_outcome(out, d);
	return 0;
}

static void add_named(struct buf *out, const char *before, const json_t *o, const char *name)
{
	buf_addz(out, before);
	grid_add_clean(out, str_of(text(o, name, "?")));
}

static void add_waits(struct buf *out, const json_t *entry)
{
	buf_printf(out, "Position %lld in %s, waiting since ",
		(long long)json_integer_value(json_object_get(entry, "position")), text(entry, "priority_class", "?"));
	add_field(out, entry, "waiting_since_ns");
	if (json_integer_value(json_object_get(entry, "eta_ms")) > 0) {
		buf_addz(out, "; at the present pace it begins in ");
		add_field(out, entry, "eta_ms");
	}
	buf_addz(out, json_is_true(json_object_get(entry, "overdue")) ? ". Longer than its class promises.\n" : ".\n");
	grid_add_clean(out, str_of(text(entry, "reason", "")));
	buf_addc(out, '\n');
}

/* How its type was told; nothing where it was given. */
static void add_classified(struct buf *out, const json_t *c)
{
	if (!json_is_object(c))
		return;
	add_named(out, "No type was given. It was classified by ", c, "by");
	buf_printf(out, ", %.0f %% sure: ", 100 * json_number_value(json_object_get(c, "confidence")));
	grid_add_clean(out, str_of(text(c, "rule", "?")));
	if (*text(c, "path", ""))
		add_named(out, "; the model's way: ", c, "path");
	buf_addz(out, ".\n");
}

int explain_workload(struct cli *cli, const json_t *all, struct buf *out, struct err *err)
{
	const json_t *w = json_object_get(all, "workload"), *entry = json_object_get(all, "queue");
	long long times = (long long)json_integer_value(json_object_get(w, "preemptions"));
	add_named(out, "Workload ", w, "id");
	add_named(out, ", ", w, "type");
	add_named(out, " (", w, "priority_class");
	add_named(out, "), is ", w, "state");
	add_named(out, ": ", w, "reason");
	buf_addc(out, '\n');
	add_classified(out, json_object_get(w, "classified"));
	if (times > 0) {
		buf_printf(out, "It gave its devices up to others %lld time%s, the last time ", times, times == 1 ? "" : "s");
		add_named(out, "to ", w, "preempted_by");
		buf_addz(out, json_is_true(json_object_get(w, "checkpointable")) ? "; what it had done was saved.\n"
																		 : "; what it had done was lost.\n");
	}
	if (json_is_object(entry)) {
		heading(cli, out, "Why it waits");
		add_waits(out, entry);
	}
	heading(cli, out, "What happened to it");
	return render_rows(cli, json_object_get(all, "transitions"), "at_ns from to reason", 0, out, err);
}
