#ifndef HCP_CMD_CLI_CLASSIFY_H
#define HCP_CMD_CLI_CLASSIFY_H

#include "base/err.h"
#include "cmd/cli/command.h"

/* `hcp classify train` and `hcp classify report`: what kind of work something is, learned from recorded jobs. */
struct cli;
extern const struct flag classify_train_flags[], classify_report_flags[];
int classify_command_train(struct cli *cli, struct err *err);
int classify_command_report(struct cli *cli, struct err *err);

#endif
