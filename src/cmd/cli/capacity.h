#ifndef HCP_CMD_CLI_CAPACITY_H
#define HCP_CMD_CLI_CAPACITY_H

#include "base/err.h"

/* `hcp capacity judge`: how good the forecast of wanted devices would have been on a recorded trace. */
struct cli;
int capacity_command_judge(struct cli *cli, struct err *err);

#endif
