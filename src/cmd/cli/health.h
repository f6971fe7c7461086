#ifndef HCP_CMD_CLI_HEALTH_H
#define HCP_CMD_CLI_HEALTH_H

#include "base/err.h"

struct cli;

/* `hcp health report`: how well injected faults are found, on simulated devices. Progress goes to stderr. */
int health_command_report(struct cli *cli, struct err *err);

#endif
