#ifndef HCP_CMD_CLI_SITE_FILE_H
#define HCP_CMD_CLI_SITE_FILE_H

#include "cmd/cli/cli.h"
#include "model/site.h"

/*
 * A site by the path of its file (has a '/' or ends in .yaml) or by name: <name>.yaml in $HCP_SITES_DIR, in
 * share/hcp/sites beside the folder of this program (installed), in spec/sites of the source (a build in build/).
 * HCP_ENOTFOUND names what was looked for.
 */
/* Where a site of that name lies; *ret in the arena. HCP_ENOTFOUND as above. */
int site_file_find(struct cli *cli, const char *name, const char **ret, struct err *err) MUST_CHECK;
int site_file_load(struct cli *cli, const char *site, struct site *ret, struct err *err) MUST_CHECK;

#endif
