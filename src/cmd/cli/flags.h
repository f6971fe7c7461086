#ifndef HCP_CMD_CLI_FLAGS_H
#define HCP_CMD_CLI_FLAGS_H

#include "cmd/cli/command.h"

#define END { .name = NULL }
#define YEAR_S 31536000.0
#define DEVICE_CLASS \
	{ .name = "device-class", .alias = "class", .field = "device_class", .help = "device class, e.g. S21 or H100" }

/* Of the commands that run here, without a server (flags_local.c). */
extern const struct flag replay_flags[];
extern const struct flag import_flags[];
extern const struct flag forecast_report_flags[];
extern const struct flag up_flags[];
extern const struct flag portfolio_flags[];
extern const struct flag backtest_flags[];
extern const struct flag ppo_train_flags[];
extern const struct flag capacity_forecast_flags[];
extern const struct flag sched_replay_flags[];
extern const struct flag what_if_flags[];
extern const struct flag health_report_flags[];
extern const struct flag forecast_train_flags[];

#endif
