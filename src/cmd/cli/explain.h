#ifndef HCP_CMD_CLI_EXPLAIN_H
#define HCP_CMD_CLI_EXPLAIN_H

#include <jansson.h>

#include "cmd/cli/cli.h"

/* A decision of the ledger as text: what was known, what could be done, what was chosen and why, what came of it. */
int explain_decision(struct cli *cli, const json_t *decision, struct buf *out, struct err *err) MUST_CHECK;

#endif
