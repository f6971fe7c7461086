#include "sim/forecast_report.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "sim/history_feed.h"

enum { ISSUES_MAX = 1 << 17, DAY_S = 86400 };

const uint16_t forecast_report_step[FORECAST_REPORT_HORIZONS] = { 0, 3, 95, 671 };

struct run {
	struct forecast_report *r;
	struct history history;
	struct forecaster all;
	struct forecaster *model[FORECAST_REPORT_MODELS]; /* borrowed from all */
	/* owned: [issue][model][horizon] */
	struct forecast_point (*said)[FORECAST_REPORT_MODELS][FORECAST_REPORT_HORIZONS];
};

static int issue(struct run *run, size_t at, int64_t now_ns, struct err *err)
{
	int64_t before_ns = run->all.learned_ns;
	int rc = forecaster_learn(&run->all, &run->history, now_ns, err);
	run->r->trainings += run->all.learned_ns != before_ns;
	for (size_t m = 0; rc == 0 && m < run->r->n_models; m++)
		rc = forecaster_predict_at(run->model[m], &run->history, now_ns, forecast_report_step, FORECAST_REPORT_HORIZONS,
			run->said[at][m], err);
	return rc;
}

static void judge(struct forecast_score *s, const struct forecast_point *p, double actual, double before)
{
	s->n++;
	s->pinball += forecast_pinball(p, actual);
	s->mae += fabs(p->q[FORECAST_MEDIAN] - actual);
	s->naive_mae += fabs(before - actual);
	s->mean_error += p->mean - actual;
	for (int l = 0; l < FORECAST_LEVELS; l++)
		s->below[l] += actual <= p->q[l];
}

static void settle(struct run *run)
{
	struct forecast_report *r = run->r;
	const struct history_series *s = history_find(&run->history, r->conf.kind, r->conf.location);
	int64_t step_ns = r->conf.step_ns;
	for (size_t i = 0; i < r->issued; i++) {
		int64_t now_ns = (r->from_ns + (int64_t)i * r->every_ns) / step_ns * step_ns;
		double before = history_last(s, now_ns - step_ns, DAY_S * INT64_C(1000000000), NULL);
		for (int k = 0; k < FORECAST_REPORT_HORIZONS; k++) {
			double actual = history_at(s, now_ns + forecast_report_step[k] * step_ns);
			for (size_t m = 0; m < r->n_models && !isnan(actual) && !isnan(before); m++)
				judge(&r->score[m][k], &run->said[i][m][k], actual, before);
		}
	}
	for (size_t m = 0; m < r->n_models; m++) {
		for (int k = 0; k < FORECAST_REPORT_HORIZONS; k++) {
			struct forecast_score *c = &r->score[m][k];
			double n = c->n ? (double)c->n : 1;
			c->pinball /= n;
			c->mae /= n;
			c->naive_mae /= n;
			c->mean_error /= n;
			for (int l = 0; l < FORECAST_LEVELS; l++)
				c->below[l] /= n;
		}
	}
}

static int start(struct run *run, struct err *err)
{
	struct forecast_report *r = run->r;
	if (r->to_ns <= r->from_ns || r->every_ns < r->conf.step_ns)
		return err_set(err, HCP_EINVAL, "to", "the time to judge is empty, or forecasts come faster than steps");
	size_t n = (size_t)((r->to_ns - r->from_ns) / r->every_ns) + 1;
	if (n > ISSUES_MAX)
		return err_set(err, HCP_ELIMIT, "to", "more than %d forecasts", ISSUES_MAX);
	run->said = mem_alloc(n * sizeof(*run->said));
	if (!run->said)
		return err_set(err, HCP_ENOMEM, "", "no memory for %zu forecasts", n);
	int rc = forecaster_init(&run->all, forecaster_find(STR("combination")), &r->conf, err);
	for (size_t i = 0; rc == 0; i++) {
		struct forecaster *one = forecaster_member(&run->all, i);
		run->model[r->n_models] = one ? one : &run->all;
		r->model[r->n_models] = forecaster_name(run->model[r->n_models]);
		r->n_models++;
		if (!one)
			break;
	}
	return rc;
}

int forecast_report_run(struct forecast_report *r, struct replay *ticks, forecast_report_progress *progress, void *arg,
	struct err *err)
{
	struct run run = { .r = r };
	r->issued = r->trainings = r->n_models = 0;
	memset(r->score, 0, sizeof(r->score));
	history_init(&run.history);
	int rc = start(&run, err);
	for (int64_t t = r->from_ns; rc == 0 && t < r->to_ns; t += r->every_ns) {
		rc = history_feed_until(&run.history, ticks, t, err);
		if (rc == 0)
			rc = issue(&run, r->issued, t, err);
		if (rc == 0 && progress && r->issued % 64 == 0)
			progress(arg, (double)(t - r->from_ns) / (double)(r->to_ns - r->from_ns), t);
		r->issued += rc == 0;
	}
	if (rc == 0)
		rc = history_feed_until(&run.history, ticks, r->to_ns, err);
	if (rc == 0) {
		settle(&run);
		if (r->score[0][0].n == 0)
			rc = err_set(err, HCP_ENOTFOUND, "to", "nothing became known that could be judged");
	}
	forecaster_release(&run.all);
	history_release(&run.history);
	mem_free(run.said);
	return rc;
}
