#ifndef HCP_ECON_POLICY_FORECAST_H
#define HCP_ECON_POLICY_FORECAST_H

#include "econ/forecast.h"

struct policy_input;

/*
 * The forecast of its settlement point that a policy reckons with ("mpc", "smpc"): trees of its own, trained anew every
 * 91 days, or what it was taught. One thread.
 */
struct policy_forecast {
	struct forecaster fc;
	bool made; /* fc is of a point */
};
void policy_forecast_release(struct policy_forecast *f);

/*
 * Mean prices of the n quarter-hours (at most POLICY_FORECAST_STEPS) from the one on that covers now, USD/MWh.
 * *ret_first: the forecaster of this point has just been trained for the first time. HCP_EAGAIN: nothing to forecast
 * by; a fixed tariff needs no forecast.
 */
enum { POLICY_FORECAST_STEPS = 96 };
int policy_forecast_say(struct policy_forecast *f, const struct policy_input *in, size_t n, double *ret,
	bool *ret_first, struct err *err) MUST_CHECK;
/* For people: the point, or "nothing". */
const char *policy_forecast_point(const struct policy_forecast *f);

/* The forecaster alone. *ret is to be released by the caller. */
int policy_forecaster_make(struct forecaster *ret, const char *point, struct err *err) MUST_CHECK;
/* The same numbers of a forecaster as of the quarter-hour that begins at at_ns. */
int policy_forecaster_say(
	struct forecaster *f, const struct history *h, int64_t at_ns, size_t n, double *ret, struct err *err) MUST_CHECK;

#endif
