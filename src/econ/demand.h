#ifndef HCP_ECON_DEMAND_H
#define HCP_ECON_DEMAND_H

#include "econ/forecast.h"

/*
 * Devices of a class that will be wanted in each of the next hours, from the hours that were (HISTORY_DEMAND): every
 * candidate is trained on what was known a week ago and judged on that week; the best is trained anew and speaks. A
 * model that does not beat persistence is not used (pinball loss, all hours ahead alike). Pure.
 */
#define DEMAND_MARGIN 0.05 /* by so much a model must have beaten persistence */
enum { DEMAND_HOURS = 24, DEMAND_JUDGE_DAYS = 7, DEMAND_EVERY_H = 6, DEMAND_MODELS = 3 };

struct demand_model {
	const char *name;
	double pinball; /* over the judged week, in devices */
};

struct demand_forecast {
	struct demand_model model[DEMAND_MODELS]; /* persistence first */
	size_t best;
	int64_t start_ns; /* of the hour that has begun: at[0] */
	struct forecast_point at[DEMAND_HOURS];
};

/*
 * For the location (a device class) at now_ns. HCP_EAGAIN: less than 28 days and a week are known, or nothing of the
 * last days. Values are cut to 0 and more.
 */
int demand_forecast(const struct history *h, const char *location, int64_t now_ns, struct demand_forecast *ret,
	struct err *err) MUST_CHECK;
/* What one model says, trained at now_ns. */
int demand_say(const struct history *h, const char *location, const struct forecaster_vt *vt, int64_t now_ns,
	struct forecast_point at[DEMAND_HOURS], int64_t *ret_start_ns, struct err *err) MUST_CHECK;
/* One model's forecasts walked over [from_ns, to_ns), trained at from_ns; its mean pinball loss, and how many were
 * judged. */
int demand_judge(const struct history *h, const char *location, const struct forecaster_vt *vt, int64_t from_ns,
	int64_t to_ns, double *ret_pinball, size_t *ret_n, struct err *err) MUST_CHECK;

#endif
