#ifndef HCP_CMD_CLI_MODEL_FILE_H
#define HCP_CMD_CLI_MODEL_FILE_H

#include "cmd/cli/cli.h"

/* Trained files for policies. Release both buffers. */
struct model_files {
	struct buf prices;    /* policies stochastic, mpc: of a settlement point's prices (policy_spike.h) */
	struct buf ppo;       /* policy ppo: of a site (ppo_model.h) */
	const char *ppo_file; /* its path, in the arena; NULL: none */
};

/*
 * `given` is a file, whose first bytes say whose it is, "none" for neither, or NULL. Those that were not given are the
 * ones that come with the program: stochastic-POINT.bin and ppo-SITE.bin in $HCP_MODELS_DIR, share/hcp/models, or
 * spec/models of the source tree; empty where there is none.
 */
int model_files_load(struct cli *cli, const char *given, const char *point, const char *site, struct model_files *ret,
	struct err *err) MUST_CHECK;
/* The first of those folders that is there; NULL: none. */
int model_dir_find(struct cli *cli, const char **ret, struct err *err) MUST_CHECK;
void model_files_release(struct model_files *f);

#endif
