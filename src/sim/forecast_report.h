#ifndef HCP_SIM_FORECAST_REPORT_H
#define HCP_SIM_FORECAST_REPORT_H

#include "econ/forecast.h"
#include "sim/replay.h"

/*
 * How good the forecasts would have been: recorded ticks are fed to a history as they became known, every `every_ns`
 * all models of the combination and itself say what they expect, and it is compared with what came. A model is trained
 * on what was known then only, again every conf.retrain_ns. Values that came after to_ns are not judged.
 */
enum { FORECAST_REPORT_HORIZONS = 4, FORECAST_REPORT_MODELS = 8 };

/* Steps of the forecasts that are judged (0: the interval that has just begun) and their names. */
extern const uint16_t forecast_report_step[FORECAST_REPORT_HORIZONS];

struct forecast_score {
	size_t n;
	double pinball;        /* mean over forecasts and levels, units of the target */
	double mae;            /* of the median */
	double naive_mae;      /* of the value before */
	double mean_error;     /* of the mean: forecast less actual */
	double below[FORECAST_LEVELS]; /* share of actual values at or below each quantile */
};

struct forecast_report {
	struct forecast_conf conf;
	int64_t from_ns, to_ns, every_ns;
	size_t issued, trainings;
	size_t n_models; /* the combination is the last */
	const char *model[FORECAST_REPORT_MODELS];
	struct forecast_score score[FORECAST_REPORT_MODELS][FORECAST_REPORT_HORIZONS];
};

/* Told now and then; part 0 .. 1. May be NULL. */
typedef void forecast_report_progress(void *arg, double part, int64_t now_ns);

/*
 * r: conf, from_ns, to_ns, every_ns are set; the rest is filled. ticks: sealed, from before from_ns on. HCP_EAGAIN: too
 * little is known at from_ns. HCP_ENOTFOUND: nothing came that could be judged.
 */
int forecast_report_run(struct forecast_report *r, struct replay *ticks, forecast_report_progress *progress, void *arg,
	struct err *err) MUST_CHECK;

#endif
