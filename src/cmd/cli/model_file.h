#ifndef HCP_CMD_CLI_MODEL_FILE_H
#define HCP_CMD_CLI_MODEL_FILE_H

#include "cmd/cli/cli.h"

/*
 * The model of a settlement point's prices for policies: `given` is a file, "none", or NULL for the one that comes with
 * the program: stochastic-POINT.bin in $HCP_MODELS_DIR, share/hcp/models, or spec/models of the source tree. *ret is to
 * be released; empty where there is none and none was named.
 */
int model_file_load(struct cli *cli, const char *given, const char *point, struct buf *ret, struct err *err) MUST_CHECK;

#endif
