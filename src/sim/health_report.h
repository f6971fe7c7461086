#ifndef HCP_SIM_HEALTH_REPORT_H
#define HCP_SIM_HEALTH_REPORT_H

#include "health/health.h"
#include "sim/fleet.h"

/*
 * How good src/health is at finding faults that were injected into simulated devices, and how often it is wrong. All of
 * them report every ten seconds in the whole degrees, watts and percents of the agent protocol. Miners stop for an hour
 * or two on most days; GPUs serve, fill and idle in turn. After the days of learning each device breaks now and then; a
 * fault that is found, or not found within HEALTH_REPORT_MISSED_H, is repaired. A device called sick that is well is a
 * false alarm; a technician looks at it, and it begins anew as after a repair.
 *
 * Instead of the rule a part of it can be judged: the charts and the sensor without witnesses, or one model by itself,
 * which calls a device sick when it was strange to it for HEALTH_REPORT_ALONE_MIN.
 */
enum {
	HEALTH_REPORT_STEP_S = 10,
	HEALTH_REPORT_MISSED_H = 36,
	HEALTH_REPORT_ALONE_MIN = 15,
	HEALTH_REPORT_DEVICES_MAX = 20000,
	HEALTH_REPORT_FAULTS_MAX = 100000,
	HEALTH_REPORT_KINDS = 5, /* of faults, in the order of health_report_fault */
};

enum health_report_judge {
	HEALTH_REPORT_RULE = 0,
	HEALTH_REPORT_CHARTS = 1,
	HEALTH_REPORT_FOREST = 2,
	HEALTH_REPORT_AUTOENCODER = 3,
	HEALTH_REPORT_JUDGE_END = 4,
};

extern const enum fleet_fault health_report_fault[HEALTH_REPORT_KINDS];

struct health_report_conf {
	uint64_t seed;
	size_t asics, gpus;
	int64_t from_ns;
	int learn_days, days; /* before faults begin; with them */
	double faults_day;    /* of a device */
	enum health_report_judge judge;
	struct health_conf health;
};

struct health_report_score {
	size_t injected, found, named; /* named: the finding said a signal that this fault moves */
	size_t false_alarms;           /* that suggested this fault */
	size_t by[3];                  /* found with a chart or the sensor; with the forest, the autoencoder as witness */
	double delay_p50_s, delay_p90_s;
};

struct health_report {
	struct health_report_conf conf;
	struct health_report_score score[2][HEALTH_REPORT_KINDS]; /* ASICs; GPUs */
	size_t alarms[2], false_alarms[2];
	double device_years[2];
	struct health_stats stats;
};

typedef void health_report_progress(void *arg, double part);

void health_report_default(struct health_report_conf *c);
/* conf is set, the rest is filled. HCP_ERANGE: devices or days; HCP_ENOMEM. progress may be NULL. */
int health_report_run(struct health_report *r, health_report_progress *progress, void *arg, struct err *err) MUST_CHECK;
const char *health_report_judge_name(enum health_report_judge j);
/* Whether the device's fault moves this signal. */
bool health_report_moves(enum fleet_fault f, enum health_signal s);

#endif
