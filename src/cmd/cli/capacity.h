#ifndef HCP_CMD_CLI_CAPACITY_H
#define HCP_CMD_CLI_CAPACITY_H

#include "base/err.h"
#include "cmd/cli/command.h"

/* `hcp capacity judge`: how good the forecast of wanted devices would have been on a recorded trace. */
struct cli;
extern const struct flag capacity_judge_flags[];
/* `hcp capacity forecast`: as a table, the hours of all classes below one another. */
int capacity_command_forecast(struct cli *cli, struct err *err);
int capacity_command_judge(struct cli *cli, struct err *err);

#endif
