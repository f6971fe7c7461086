/* A replayed trace as one page: figures and charts as inline SVG. */
#include <math.h>
#include <stdio.h>

#include "cmd/cli/page.h"
#include "cmd/cli/sched_report.h"

enum { CHART_W = 960, CHART_H = 200, LEFT = 70, RIGHT = 10, TOP = 10, BOTTOM = 24, BAR_H = 18 };

static double x_of(double share)
{
	return LEFT + share * (CHART_W - LEFT - RIGHT);
}

static double y_of(double v, double max)
{
	return TOP + (1 - v / max) * (CHART_H - TOP - BOTTOM);
}

static void axes(struct buf *out, const struct sched_report *r, double max)
{
	double step = page_step(max), hours = (double)r->result[0].arrivals_ms / 3.6e6;
	buf_printf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\">", CHART_W, CHART_H);
	for (double v = 0; v <= max + step * 1e-9; v += step) {
		buf_printf(out,
			"<path d=\"M%d %.1fH%d\" stroke=\"var(--line)\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", LEFT,
			y_of(v, max), CHART_W - RIGHT, LEFT - 6, y_of(v, max) + 4);
		page_number(out, v);
		buf_addz(out, "</text>");
	}
	for (int i = 0; i <= 6; i++)
		buf_printf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"%s\">%.4g h</text>", x_of(i / 6.0), CHART_H - 6,
			i == 0   ? "start"
			: i == 6 ? "end"
					 : "middle",
			hours * i / 6);
}

enum series { USED, UNUSABLE, WAITING };

static double value(const struct sched_result *x, enum series s, int i)
{
	return s == USED ? x->point[i].used : s == UNUSABLE ? x->point[i].frag : x->point[i].waiting_gpus;
}

static void line_chart(
	struct buf *out, const struct sched_report *r, enum series s, const char *title, const char *text)
{
	double max = s == USED ? r->result[0].gpus : 0;
	for (size_t k = 0; k < r->n; k++)
		for (int i = 0; i < SCHED_REPLAY_POINTS; i++)
			max = fmax(max, value(&r->result[k], s, i));
	buf_printf(out, "<h2>%s</h2><p>%s</p>", title, text);
	if (!(max > 0)) {
		buf_addz(out, "<p>None.</p>");
		return;
	}
	axes(out, r, max);
	for (size_t k = 0; k < r->n; k++) {
		buf_printf(out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" d=\"", page_colour(k));
		for (int i = 0; i < SCHED_REPLAY_POINTS; i++)
			buf_printf(out, "%c%.1f %.1f", i ? 'L' : 'M', x_of((i + 0.5) / SCHED_REPLAY_POINTS),
				y_of(value(&r->result[k], s, i), max));
		buf_printf(out, "\"><title>%s</title></path>", sched_policy_name(r->policy[k]));
	}
	buf_addz(out, "</svg>");
}

/* A second is one step from the left, ten are two: waits differ by many powers of ten. */
static double bar_width(double s, double max_s)
{
	return max_s > 0 ? log10(1 + s) / log10(1 + max_s) * (CHART_W - LEFT - 120) : 0;
}

static void wait_bars(struct buf *out, const struct sched_report *r, unsigned c)
{
	double max_s = 0;
	for (size_t k = 0; k < r->n; k++)
		max_s = fmax(max_s, r->result[k].cls[c].p99_s);
	buf_printf(out, "<p>%s, %zu jobs</p><svg viewBox=\"0 0 %d %zu\" role=\"img\">",
		workload_class_name((enum workload_class)c), r->result[0].cls[c].n, CHART_W, r->n * BAR_H + 4);
	for (size_t k = 0; k < r->n; k++) {
		const struct sched_waits *w = &r->result[k].cls[c];
		double y = (double)k * BAR_H;
		buf_printf(out,
			"<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%s</text><rect x=\"%d\" y=\"%.0f\" width=\"%.1f\" "
			"height=\"%d\" fill=\"%s\" opacity=\".4\"/><rect x=\"%d\" y=\"%.0f\" width=\"%.1f\" height=\"%d\" "
			"fill=\"%s\"/>"
			"<text x=\"%.1f\" y=\"%.0f\">mean %.1f s, p99 %.1f s</text>",
			LEFT - 6, y + 13, sched_policy_name(r->policy[k]), LEFT, y + 2, bar_width(w->p99_s, max_s), BAR_H - 4,
			page_colour(k), LEFT, y + 2, fmin(bar_width(w->mean_s, max_s), bar_width(w->max_s, max_s)), BAR_H - 4,
			page_colour(k), LEFT + 6 + fmax(bar_width(w->p99_s, max_s), bar_width(w->mean_s, max_s)), y + 13, w->mean_s,
			w->p99_s);
	}
	buf_addz(out, "</svg>");
}

static void number(struct buf *out, double v, int digits, bool percent)
{
	if (isfinite(v))
		buf_printf(out, "<td>%.*f%s</td>", digits, percent ? 100 * v : v, percent ? "%" : "");
	else
		buf_addz(out, "<td>&ndash;</td>");
}

static void policies(struct buf *out, const struct sched_report *r)
{
	buf_addz(out,
		"<div class=\"wide\"><table><tr><th>policy<th>mean wait, s<th>p99, s<th>in target<th>GPU use"
		"<th>use contended<th>fragmented<th>unusable GPUs<th>Jain, waits<th>Jain, service<th>preempted<th>repeated GPU "
		"h<th>moves<th>refused</tr>");
	for (size_t k = 0; k < r->n; k++) {
		const struct sched_result *x = &r->result[k];
		buf_printf(out, "<tr><td>%s</td>", sched_policy_name(r->policy[k]));
		number(out, x->all.mean_s, 1, false);
		number(out, x->all.p99_s, 1, false);
		number(out, (double)x->all.in_target / (double)x->all.n, 1, true);
		number(out, x->utilisation, 1, true);
		number(out, x->contended_utilisation, 1, true);
		number(out, x->frag_of_free, 1, true);
		number(out, x->contended_frag_gpus, 1, false);
		number(out, x->jain, 4, false);
		number(out, x->jain_service, 4, false);
		number(out, (double)x->preemptions, 0, false);
		number(out, x->lost_gpu_h, 1, false);
		number(out, (double)x->moves, 0, false);
		number(out, (double)x->refused, 0, false);
		buf_addz(out, "</tr>");
	}
	buf_addz(out, "</table></div>");
}

static void customers(struct buf *out, const struct sched_report *r)
{
	enum { ROWS = 20 };
	buf_addz(out, "<h2>Customers</h2><p>Share of their time in the system, weighted by GPUs, in which jobs ran.</p>"
				  "<table><tr><th>customer<th>jobs<th>GPU hours");
	for (size_t k = 0; k < r->n; k++)
		buf_printf(out, "<th>%s", sched_policy_name(r->policy[k]));
	buf_addz(out, "</tr>");
	for (size_t i = 0; i < r->jobs.n_customers && i < ROWS; i++) {
		buf_addz(out, "<tr><td>");
		page_text(out, r->jobs.customer[i]);
		buf_printf(out, "</td><td>%zu</td>", r->result[0].customer[i].n);
		number(out, r->result[0].customer[i].gpu_h, 1, false);
		for (size_t k = 0; k < r->n; k++)
			number(out, r->result[k].customer[i].share, 1, true);
		buf_addz(out, "</tr>");
	}
	buf_addz(out, "</table>");
	if (r->jobs.n_customers > ROWS)
		buf_printf(out, "<p>and %zu more</p>", r->jobs.n_customers - ROWS);
}

void sched_report_html(const struct sched_report *r, struct buf *out)
{
	const struct sched_result *one = &r->result[0];
	buf_printf(out,
		"<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
		"content=\"width=device-width\"><title>Schedulers</title><style>%s</style><h1>Replay of ",
		page_style);
	page_text(out, r->trace);
	buf_printf(out,
		"</h1><p>%zu jobs, arrivals over %.1f hours (%g times as fast as recorded), on %u nodes with %u GPUs, "
		"%.0f cores, %.0f GiB.</p><p class=\"key\">",
		r->jobs.n, (double)one->arrivals_ms / 3.6e6, r->conf.load, one->nodes, one->gpus, (double)one->cpu_milli / 1000,
		(double)one->memory_mib / 1024);
	for (size_t k = 0; k < r->n; k++)
		buf_printf(
			out, "<span><i style=\"background:%s\"></i>%s</span>", page_colour(k), sched_policy_name(r->policy[k]));
	buf_addz(out, "</p>");
	policies(out, r);
	buf_addz(
		out, "<h2>Waits by class</h2><p>Mean (full) and 99th percentile (pale) of arrival to start; logarithmic.</p>");
	for (unsigned c = 1; c < WORKLOAD_CLASS_END; c++)
		if (one->cls[c].n)
			wait_bars(out, r, c);
	line_chart(out, r, USED, "GPUs in use", "Mean of each span.");
	line_chart(out, r, WAITING, "GPUs waited for", "By jobs that have arrived and do not run.");
	line_chart(out, r, UNUSABLE, "GPUs that are free and of no use",
		"Expected over the shapes of the whole trace (Weng et al., ATC '23).");
	customers(out, r);
	buf_addz(out, "</html>\n");
}
