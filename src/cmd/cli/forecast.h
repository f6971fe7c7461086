#ifndef HCP_CMD_CLI_FORECAST_H
#define HCP_CMD_CLI_FORECAST_H

#include "base/err.h"

struct cli;

/* `hcp forecast report`: what the forecasts would have been worth on recorded data. Progress goes to stderr. */
int forecast_command_report(struct cli *cli, struct err *err);
/* `hcp forecast train`: a model for policy stochastic, into a file. */
int forecast_command_train(struct cli *cli, struct err *err);

#endif
