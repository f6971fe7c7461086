#ifndef HCP_CMD_CLI_PPO_H
#define HCP_CMD_CLI_PPO_H

#include "base/err.h"

struct cli;

/* `hcp ppo train`: the weights of policy ppo for a site, into a file. Progress goes to stderr. */
int ppo_command_train(struct cli *cli, struct err *err);

#endif
