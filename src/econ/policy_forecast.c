#include "econ/policy_forecast.h"

#include <string.h>

#include "base/money.h"
#include "base/panic.h"
#include "econ/policy.h"
#include "model/site.h"

#define STEP_NS (900 * NS_PER_S)
#define RETRAIN_NS (91 * INT64_C(86400) * NS_PER_S)
#define MODEL "trees"
enum { ROWS = 30000, ROUNDS = 80 };

int policy_forecaster_make(struct forecaster *ret, const char *point, struct err *err)
{
	struct forecast_conf conf;
	forecast_conf_default(&conf);
	conf.retrain_ns = RETRAIN_NS;
	conf.rows = ROWS;
	conf.rounds = ROUNDS;
	int rc = str_copy(conf.location, sizeof(conf.location), str_of(point));
	return rc ? rc : forecaster_init(ret, forecaster_find(STR(MODEL)), &conf, err);
}

int policy_forecaster_say(
	struct forecaster *f, const struct history *h, int64_t at_ns, size_t n, double *ret, struct err *err)
{
	uint16_t step[POLICY_FORECAST_STEPS] = { 0 };
	struct forecast_point at[POLICY_FORECAST_STEPS];
	must(n <= POLICY_FORECAST_STEPS);
	for (size_t t = 0; t < n; t++)
		step[t] = (uint16_t)t;
	int rc = forecaster_predict_at(f, h, at_ns, step, n, at, err);
	for (size_t t = 0; t < n && rc == 0; t++)
		ret[t] = at[t].mean;
	return rc;
}

void policy_forecast_release(struct policy_forecast *f)
{
	if (f->made)
		forecaster_release(&f->fc);
	f->made = false;
}

const char *policy_forecast_point(const struct policy_forecast *f)
{
	return f->made ? f->fc.conf.location : "nothing";
}

static int take_point(struct policy_forecast *f, const char *point, struct err *err)
{
	if (f->made && strcmp(f->fc.conf.location, point) == 0)
		return 0;
	policy_forecast_release(f);
	int rc = policy_forecaster_make(&f->fc, point, err);
	f->made = rc == 0;
	return rc;
}

int policy_forecast_say(
	struct policy_forecast *f, const struct policy_input *in, size_t n, double *ret, bool *ret_first, struct err *err)
{
	int64_t at_ns = in->now_ns - in->now_ns % STEP_NS;
	*ret_first = false;
	if (!in->history || !in->site || in->site->fixed)
		return HCP_EAGAIN;
	if (in->taught) {
		for (size_t t = 0; t < n && in->taught->n_price >= n; t++)
			ret[t] = in->taught->price[t].mean;
		return in->taught->n_price >= n ? 0 : HCP_EAGAIN;
	}
	int rc = take_point(f, in->site->point, err);
	if (rc < 0)
		return rc;
	bool fresh = f->fc.learned_ns == 0;
	rc = forecaster_learn(&f->fc, in->history, at_ns, err);
	*ret_first = fresh && f->fc.learned_ns != 0;
	if (rc == HCP_EAGAIN && f->fc.learned_ns)
		rc = 0;
	rc = rc ? rc : policy_forecaster_say(&f->fc, in->history, at_ns, n, ret, err);
	return rc == HCP_ESTATE ? HCP_EAGAIN : rc;
}
