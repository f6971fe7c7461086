#include "econ/demand.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/money.h"

#define HOUR_NS (3600 * NS_PER_S)
#define WEEK_NS (DEMAND_JUDGE_DAYS * 24 * HOUR_NS)
enum { WINDOW_DAYS = 56, ROWS = 4000 };

static const char *const models[DEMAND_MODELS] = { "persistence", "similar_day", "regression" };

static void settings(struct forecast_conf *c, const char *location)
{
	forecast_conf_default(c);
	c->kind = HISTORY_DEMAND;
	c->step_ns = HOUR_NS;
	c->window_ns = WINDOW_DAYS * 24 * HOUR_NS;
	c->rows = ROWS;
	(void)!str_copy(c->location, sizeof(c->location), str_of(location));
}

static int learned(struct forecaster *f, const struct history *h, const struct forecaster_vt *vt, const char *location,
	int64_t now_ns, struct err *err)
{
	struct forecast_conf conf;
	settings(&conf, location);
	int rc = forecaster_init(f, vt, &conf, err);
	if (rc < 0)
		return rc;
	rc = forecaster_learn(f, h, now_ns, err);
	if (rc < 0)
		forecaster_release(f);
	return rc;
}

static double above_zero(double v)
{
	return v > 0 ? v : 0;
}

/* Devices are never fewer than none. */
static void cut(struct forecast_point *p)
{
	p->mean = above_zero(p->mean);
	for (int i = 0; i < FORECAST_LEVELS; i++)
		p->q[i] = above_zero(p->q[i]);
}

int demand_say(const struct history *h, const char *location, const struct forecaster_vt *vt, int64_t now_ns,
	struct forecast_point at[DEMAND_HOURS], int64_t *ret_start_ns, struct err *err)
{
	struct forecaster f;
	struct forecast *said = mem_alloc(sizeof(*said));
	int rc = said ? learned(&f, h, vt, location, now_ns, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	if (rc == 0) {
		rc = forecaster_predict(&f, h, now_ns, DEMAND_HOURS, said, err);
		forecaster_release(&f);
	}
	for (size_t k = 0; rc == 0 && k < DEMAND_HOURS; k++) {
		at[k] = said->at[k];
		cut(&at[k]);
		*ret_start_ns = said->start_ns;
	}
	mem_free(said);
	return rc;
}

int demand_judge(const struct history *h, const char *location, const struct forecaster_vt *vt, int64_t from_ns,
	int64_t to_ns, double *ret_pinball, size_t *ret_n, struct err *err)
{
	const struct history_series *s = history_find(h, HISTORY_DEMAND, location);
	struct forecaster f;
	struct forecast *said = mem_alloc(sizeof(*said));
	double sum = 0;
	size_t n = 0;
	int rc = said ? learned(&f, h, vt, location, from_ns, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	if (rc < 0) {
		mem_free(said);
		return rc;
	}
	for (int64_t at_ns = from_ns; rc == 0 && at_ns < to_ns; at_ns += DEMAND_EVERY_H * HOUR_NS) {
		rc = forecaster_predict(&f, h, at_ns, DEMAND_HOURS, said, err);
		for (size_t k = 0; rc == 0 && k < DEMAND_HOURS; k++) {
			int64_t start_ns = said->start_ns + (int64_t)k * HOUR_NS;
			double actual = start_ns < to_ns ? history_at(s, start_ns) : NAN;
			if (isnan(actual))
				continue;
			cut(&said->at[k]);
			sum += forecast_pinball(&said->at[k], actual);
			n++;
		}
	}
	forecaster_release(&f);
	mem_free(said);
	if (rc < 0)
		return rc;
	*ret_pinball = n ? sum / (double)n : NAN;
	*ret_n = n;
	return n ? 0 : err_set(err, HCP_EAGAIN, "location", "nothing came that could be judged");
}

int demand_forecast(
	const struct history *h, const char *location, int64_t now_ns, struct demand_forecast *ret, struct err *err)
{
	struct demand_forecast made = { .best = 0 };
	int rc = 0;
	now_ns -= now_ns % HOUR_NS; /* what of this hour is known says nothing yet */
	for (size_t i = 0; rc == 0 && i < DEMAND_MODELS; i++) {
		size_t n;
		made.model[i].name = models[i];
		rc = demand_judge(
			h, location, forecaster_find(str_of(models[i])), now_ns - WEEK_NS, now_ns, &made.model[i].pinball, &n, err);
		double bar = made.model[made.best].pinball * (made.best ? 1 : 1 - DEMAND_MARGIN);
		made.best = rc == 0 && made.model[i].pinball < bar ? i : made.best;
	}
	if (rc == 0)
		rc = demand_say(h, location, forecaster_find(str_of(models[made.best])), now_ns, made.at, &made.start_ns, err);
	if (rc == 0)
		*ret = made;
	return rc;
}
