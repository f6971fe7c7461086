#ifndef HCP_SIM_CAPACITY_REPORT_H
#define HCP_SIM_CAPACITY_REPORT_H

#include "econ/demand.h"
#include "sim/job_trace.h"

/*
 * How good the forecast of wanted GPUs would have been on a recorded trace: its jobs as an hourly series of GPUs wanted
 * (from each arrival for as long as it ran, whatever it waited), then every day of the judged time a forecast of the
 * next 24 hours as the router makes it, beside each model alone. Pure.
 */
struct capacity_report {
	size_t days, hours; /* judged; of the trace */
	double mean_gpus, peak_gpus;
	struct demand_model model[DEMAND_MODELS];
	double chosen;              /* pinball of what demand_forecast says */
	size_t used[DEMAND_MODELS]; /* how often each was chosen */
};

/* load: arrivals come so many times as fast; days: at the trace's end that are judged. HCP_EAGAIN: the trace is too
 * short. */
int capacity_report_run(
	struct capacity_report *ret, const struct job_trace *t, double load, size_t days, struct err *err) MUST_CHECK;

#endif
