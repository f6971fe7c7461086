#ifndef HCP_CMD_CLI_OPS_H
#define HCP_CMD_CLI_OPS_H

#include <jansson.h>

#include "base/err.h"

/*
 * Commands that do more than one request, or none. All have the signature of command.run: 0 or a negative code, with
 * the words for people in *err.
 */
struct cli;
struct command;

/* Shows one reply as cmd says. */
int ops_show(struct cli *cli, const struct command *cmd, const json_t *reply, struct err *err) MUST_CHECK;
/* The reply of a command that made it itself, as that command says; takes it. NULL: there was no memory for it. */
int ops_show_made(struct cli *cli, json_t *reply, struct err *err) MUST_CHECK;

int ops_login(struct cli *cli, struct err *err);
int ops_logout(struct cli *cli, struct err *err);
int ops_whoami(struct cli *cli, struct err *err);
int ops_explain(struct cli *cli, struct err *err);
int ops_key_create(struct cli *cli, struct err *err);
int ops_emergency_stop(struct cli *cli, struct err *err);
int ops_embed(struct cli *cli, struct err *err);
int ops_model_digest(struct cli *cli, struct err *err);
int ops_replay(struct cli *cli, struct err *err);

/* watch.c */
int ops_submit(struct cli *cli, struct err *err);
int ops_workload_watch(struct cli *cli, struct err *err);

/* help.c */
int ops_completion(struct cli *cli, struct err *err);
int ops_complete(struct cli *cli, struct err *err);
int ops_version(struct cli *cli, struct err *err);
int ops_help(struct cli *cli, struct err *err);
/* path NULL: the overview. HCP_EINVAL for an unknown command. */
int ops_help_about(struct cli *cli, const char *path, struct err *err);

/* data.c */
int ops_data_import(struct cli *cli, struct err *err);

/* backtest.c */
int ops_what_if(struct cli *cli, struct err *err);
int ops_backtest(struct cli *cli, struct err *err);

/* portfolio.c */
int ops_portfolio(struct cli *cli, struct err *err);

/* sched.c */
int ops_sched_replay(struct cli *cli, struct err *err);

/* up.c */
int ops_up(struct cli *cli, struct err *err);

#endif
