/* A replayed trace for the terminal and for programs. */
#include "cmd/cli/sched_report.h"

#include <math.h>
#include <string.h>

#include "cmd/cli/cli.h"
#include "cmd/cli/emit.h"
#include "cmd/cli/grid.h"

/* ---- JSON ---- */

static void set(json_t *o, const char *name, json_t *v)
{
	json_object_set_new(o, name, v);
}

/* NAN has no JSON: null. */
static json_t *real(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

static json_t *whole(size_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *waits_json(const struct sched_waits *w)
{
	json_t *o = json_object();
	set(o, "jobs", whole(w->n));
	set(o, "started", whole(w->started));
	set(o, "in_target", whole(w->in_target));
	set(o, "preempted", whole(w->preempted));
	set(o, "wait_mean_s", real(w->mean_s));
	set(o, "wait_p50_s", real(w->p50_s));
	set(o, "wait_p95_s", real(w->p95_s));
	set(o, "wait_p99_s", real(w->p99_s));
	set(o, "wait_max_s", real(w->max_s));
	set(o, "trace_wait_mean_s", real(w->trace_mean_s));
	return o;
}

static json_t *customers_json(const struct sched_report *r, const struct sched_result *res)
{
	json_t *all = json_array();
	for (size_t i = 0; i < r->jobs.n_customers; i++) {
		json_t *o = json_object();
		set(o, "name", json_string(r->jobs.customer[i]));
		set(o, "jobs", whole(res->customer[i].n));
		set(o, "gpu_hours", real(res->customer[i].gpu_h));
		set(o, "served_gpu_hours", real(res->customer[i].served));
		set(o, "fair_gpu_hours", real(res->customer[i].fair));
		set(o, "share_running", real(res->customer[i].share));
		json_array_append_new(all, o);
	}
	return all;
}

static json_t *points_json(const struct sched_result *res)
{
	json_t *all = json_array();
	for (size_t i = 0; i < SCHED_REPLAY_POINTS; i++)
		json_array_append_new(all, json_pack("{s:f,s:f,s:f}", "used_gpus", res->point[i].used, "unusable_gpus",
									   res->point[i].frag, "waiting_gpus", res->point[i].waiting_gpus));
	return all;
}

static json_t *result_json(const struct sched_report *r, size_t i)
{
	const struct sched_result *res = &r->result[i];
	json_t *o = json_object(), *classes = json_object();
	set(o, "policy", json_string(sched_policy_name(r->policy[i])));
	set(o, "done", whole(res->done));
	set(o, "refused", whole(res->refused));
	set(o, "preemptions", whole(res->preemptions));
	set(o, "moves", whole(res->moves));
	set(o, "utilisation", real(res->utilisation));
	set(o, "cpu_utilisation", real(res->cpu_utilisation));
	set(o, "contended_share", real(res->contended_share));
	set(o, "contended_utilisation", real(res->contended_utilisation));
	set(o, "fragmentation", real(res->frag_of_free));
	set(o, "contended_unusable_gpus", real(res->contended_frag_gpus));
	set(o, "jain", real(res->jain));
	set(o, "jain_service", real(res->jain_service));
	set(o, "gpu_hours", real(res->gpu_h));
	set(o, "repeated_gpu_hours", real(res->lost_gpu_h));
	set(o, "end_s", real((double)res->end_ms / 1000));
	set(o, "placements", whole(res->placements));
	set(o, "seconds", real(r->seconds[i]));
	set(o, "all", waits_json(&res->all));
	for (unsigned c = 1; c < WORKLOAD_CLASS_END; c++)
		if (res->cls[c].n)
			set(classes, workload_class_name((enum workload_class)c), waits_json(&res->cls[c]));
	set(o, "classes", classes);
	set(o, "customers", customers_json(r, res));
	set(o, "points", points_json(res));
	return o;
}

static json_t *report_json(const struct sched_report *r)
{
	json_t *o = json_object(), *fleet = json_array(), *policies = json_array();
	set(o, "trace", json_string(r->trace));
	set(o, "format", json_string(job_trace_kind_name(r->jobs.kind)));
	set(o, "jobs", whole(r->jobs.n));
	set(o, "rows_passed_over", whole(r->jobs.skipped));
	set(o, "load", real(r->conf.load));
	set(o, "arrivals_s", real((double)r->result[0].arrivals_ms / 1000));
	for (size_t i = 0; i < r->conf.fleet.n; i++) {
		const struct sched_group *g = &r->conf.fleet.group[i];
		json_array_append_new(fleet, json_pack("{s:i,s:i,s:f,s:f}", "nodes", (int)g->nodes, "gpus", (int)g->gpus,
										 "cores", g->cpu_milli / 1000.0, "memory_gib", g->memory_mib / 1024.0));
	}
	set(o, "fleet", fleet);
	for (size_t i = 0; i < r->n; i++)
		json_array_append_new(policies, result_json(r, i));
	set(o, "policies", policies);
	return o;
}

int sched_report_json(const struct sched_report *r, struct buf *out, struct err *err)
{
	json_t *v = report_json(r);
	if (!v)
		return err_set(err, HCP_ENOMEM, "", "no memory for the report");
	int rc = emit_json(out, v, err);
	json_decref(v);
	return rc;
}

/* ---- table ---- */

static void number(struct grid *g, const char *fmt, double v)
{
	char text[32];
	if (!isfinite(v))
		snprintf(text, sizeof(text), "-");
	else if (!strcmp(fmt, "%"))
		snprintf(text, sizeof(text), "%.1f%%", 100 * v);
	else if (!strcmp(fmt, "4"))
		snprintf(text, sizeof(text), "%.4f", v);
	else
		snprintf(text, sizeof(text), "%.1f", v);
	grid_cell(g, str_of(text));
}

static int policies_table(struct cli *cli, const struct sched_report *r, struct buf *out, size_t *dropped)
{
	static const char *const title[] = { "POLICY", "MEAN WAIT S", "P99 WAIT S", "IN TARGET", "GPU USE", "USE CONTENDED",
		"FRAGMENTED", "UNUSABLE GPUS", "JAIN WAIT", "JAIN SERVICE", "PREEMPTED", "REPEATED GPU H", "MOVES", "REFUSED" };
	struct grid g;
	grid_init(&g, &cli->arena);
	for (size_t i = 0; i < sizeof(title) / sizeof(title[0]); i++)
		grid_column(&g, str_of(title[i]), i > 0);
	for (size_t i = 0; i < r->n; i++) {
		const struct sched_result *x = &r->result[i];
		grid_printf(&g, "%s", sched_policy_name(r->policy[i]));
		number(&g, "1", x->all.mean_s);
		number(&g, "1", x->all.p99_s);
		number(&g, "%", (double)x->all.in_target / (double)x->all.n);
		number(&g, "%", x->utilisation);
		number(&g, "%", x->contended_utilisation);
		number(&g, "%", x->frag_of_free);
		number(&g, "1", x->contended_frag_gpus);
		number(&g, "4", x->jain);
		number(&g, "4", x->jain_service);
		grid_printf(&g, "%zu", x->preemptions);
		number(&g, "1", x->lost_gpu_h);
		grid_printf(&g, "%zu", x->moves);
		grid_printf(&g, "%zu", x->refused);
	}
	return grid_render(&g, cli->width, cli->color, out, dropped);
}

static int classes_table(struct cli *cli, const struct sched_report *r, struct buf *out, size_t *dropped)
{
	static const char *const title[] = { "CLASS", "POLICY", "JOBS", "MEAN WAIT S", "P50", "P95", "P99", "MAX",
		"IN TARGET", "TRACE MEAN S" };
	struct grid g;
	grid_init(&g, &cli->arena);
	for (size_t i = 0; i < sizeof(title) / sizeof(title[0]); i++)
		grid_column(&g, str_of(title[i]), i > 1);
	for (unsigned c = 1; c < WORKLOAD_CLASS_END; c++) {
		for (size_t i = 0; i < r->n; i++) {
			const struct sched_waits *w = &r->result[i].cls[c];
			if (!w->n)
				continue;
			grid_printf(&g, "%s", workload_class_name((enum workload_class)c));
			grid_printf(&g, "%s", sched_policy_name(r->policy[i]));
			grid_printf(&g, "%zu", w->n);
			number(&g, "1", w->mean_s);
			number(&g, "1", w->p50_s);
			number(&g, "1", w->p95_s);
			number(&g, "1", w->p99_s);
			number(&g, "1", w->max_s);
			number(&g, "%", (double)w->in_target / (double)w->n);
			number(&g, "1", w->trace_mean_s);
		}
	}
	return grid_render(&g, cli->width, cli->color, out, dropped);
}

int sched_report_table(struct cli *cli, const struct sched_report *r, struct buf *out, struct err *err)
{
	const struct sched_result *one = &r->result[0];
	size_t dropped = 0, dropped_too = 0;
	buf_printf(out, "%zu jobs (%s), arrivals over %.1f hours", r->jobs.n, job_trace_kind_name(r->jobs.kind),
		(double)one->arrivals_ms / 3.6e6);
	if (r->conf.load != 1)
		buf_printf(out, " (%g times as fast as recorded)", r->conf.load);
	buf_printf(out, ", on %u node%s with %u GPUs, %.0f cores, %.0f GiB\n\n", one->nodes, one->nodes == 1 ? "" : "s",
		one->gpus, (double)one->cpu_milli / 1000, (double)one->memory_mib / 1024);
	int rc = policies_table(cli, r, out, &dropped);
	buf_addc(out, '\n');
	if (rc == 0)
		rc = classes_table(cli, r, out, &dropped_too);
	if (rc < 0)
		return err_set(err, rc, "", "no memory for the table");
	if (dropped + dropped_too)
		buf_printf(out, "(%zu columns do not fit; -o json has everything)\n", dropped + dropped_too);
	return 0;
}
