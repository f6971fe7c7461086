#include "sim/capacity_report.h"

#include <math.h>

#include "base/mem.h"
#include "base/money.h"

#define HOUR_MS INT64_C(3600000)
#define HOUR_NS (HOUR_MS * NS_PER_MS)
#define T0_NS (INT64_C(1672531200) * NS_PER_S) /* the trace's clock begins here; only its hours and days count */
enum { DAY_H = 24, HOURS_MAX = 24 * 3660 };
static const char location[] = "GPU";

/* GPU hours wanted in each hour. */
static void spread(const struct trace_job *j, double load, double *hour, size_t n)
{
	double from = (double)j->arrive_ms / load / (double)HOUR_MS, to = from + (double)j->run_ms / (double)HOUR_MS;
	double gpus = (double)j->gpus * (double)j->milli / 1000;
	for (size_t h = (size_t)from; h < n && (double)h < to && gpus > 0; h++) {
		double a = from > (double)h ? from : (double)h, b = to < (double)h + 1 ? to : (double)h + 1;
		hour[h] += gpus * (b - a);
	}
}

static int make_history(
	const struct job_trace *t, double load, struct history *h, struct capacity_report *r, struct err *err)
{
	double last_h = (double)t->job[t->n - 1].arrive_ms / load / (double)HOUR_MS;
	r->hours = last_h < HOURS_MAX ? (size_t)last_h : HOURS_MAX;
	double *hour = r->hours ? mem_calloc(r->hours, sizeof(*hour)) : NULL;
	int rc = 0;
	if (!hour)
		return r->hours ? err_set(err, HCP_ENOMEM, "", "out of memory")
						: err_set(err, HCP_EAGAIN, "trace", "lasts less than an hour");
	for (size_t i = 0; i < t->n; i++)
		spread(&t->job[i], load, hour, r->hours);
	for (size_t i = 0; rc == 0 && i < r->hours; i++) {
		rc = history_add(h, HISTORY_DEMAND, location, T0_NS + (int64_t)i * HOUR_NS, HOUR_NS, hour[i], err);
		r->mean_gpus += hour[i] / (double)r->hours;
		r->peak_gpus = hour[i] > r->peak_gpus ? hour[i] : r->peak_gpus;
	}
	mem_free(hour);
	return rc;
}

static double score(const struct history *h, const struct forecast_point *at, int64_t start_ns, size_t *n)
{
	const struct history_series *s = history_find(h, HISTORY_DEMAND, location);
	double sum = 0;
	*n = 0;
	for (size_t k = 0; k < DEMAND_HOURS; k++) {
		double actual = history_at(s, start_ns + (int64_t)k * HOUR_NS);
		sum += isnan(actual) ? 0 : forecast_pinball(&at[k], actual);
		*n += !isnan(actual);
	}
	return sum;
}

/* Each day: the chosen model's forecast, and every model's, trained on what was known then. */
static int walk(const struct history *h, struct capacity_report *r, int64_t from_ns, struct err *err)
{
	struct demand_forecast *f = mem_alloc(sizeof(*f));
	double sum = 0, each[DEMAND_MODELS] = { 0 };
	size_t judged = 0, n;
	int rc = f ? 0 : err_set(err, HCP_ENOMEM, "", "out of memory");
	for (size_t d = 0; rc == 0 && d < r->days; d++) {
		int64_t now_ns = from_ns + (int64_t)d * DAY_H * HOUR_NS;
		rc = demand_forecast(h, location, now_ns, f, err);
		if (rc < 0)
			break;
		sum += score(h, f->at, f->start_ns, &n);
		judged += n;
		r->used[f->best]++;
		for (size_t i = 0; rc == 0 && i < DEMAND_MODELS; i++) {
			int64_t start_ns;
			r->model[i].name = f->model[i].name;
			rc = demand_say(h, location, forecaster_find(str_of(r->model[i].name)), now_ns, f->at, &start_ns, err);
			each[i] += rc == 0 ? score(h, f->at, start_ns, &n) : 0;
		}
	}
	for (size_t i = 0; rc == 0 && i < DEMAND_MODELS; i++)
		r->model[i].pinball = each[i] / (double)(judged ? judged : 1);
	r->chosen = judged ? sum / (double)judged : 0;
	mem_free(f);
	return rc;
}

int capacity_report_run(
	struct capacity_report *ret, const struct job_trace *t, double load, size_t days, struct err *err)
{
	struct capacity_report r = { .days = days };
	struct history h;
	if (!(load > 0) || days == 0)
		return err_set(err, HCP_ERANGE, days ? "load" : "days", "must be above 0");
	history_init(&h);
	int rc = make_history(t, load, &h, &r, err);
	if (rc == 0 && r.hours < (days + 28 + DEMAND_JUDGE_DAYS + 1) * DAY_H)
		rc = err_set(
			err, HCP_EAGAIN, "trace", "%zu hours are too few: %zu days to judge, and 36 before them", r.hours, days);
	if (rc == 0)
		rc = walk(&h, &r, T0_NS + (int64_t)(r.hours - days * DAY_H) / DAY_H * DAY_H * HOUR_NS, err);
	history_release(&h);
	if (rc == 0)
		*ret = r;
	return rc;
}
