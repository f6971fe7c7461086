#ifndef HCP_CMD_CLI_EXPLAIN_H
#define HCP_CMD_CLI_EXPLAIN_H

#include <jansson.h>

#include "cmd/cli/cli.h"

/* A decision of the ledger as text: what was known, what could be done, what was chosen and why, what came of it. */
int explain_decision(struct cli *cli, const json_t *decision, struct buf *out, struct err *err) MUST_CHECK;

/*
 * What became of a workload and why: {"workload": …, "transitions": […], "queue": its entry or null}. A preempted one
 * says by whom and how often.
 */
int explain_workload(struct cli *cli, const json_t *all, struct buf *out, struct err *err) MUST_CHECK;

#endif
