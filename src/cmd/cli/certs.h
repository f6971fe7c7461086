#ifndef HCP_CMD_CLI_CERTS_H
#define HCP_CMD_CLI_CERTS_H

#include "base/err.h"
#include "cmd/cli/command.h"

/*
 * `hcp certs`: the site's own authority and what it issues (pki/authority.h), in a folder (default var/certs). No
 * server is asked. Single thread.
 */
enum { CERTS_WARN_DAYS = 14 }; /* a certificate with fewer left is "expiring" */

extern const struct flag certs_init_flags[];
extern const struct flag certs_issue_flags[];
extern const struct flag certs_list_flags[];
extern const struct flag certs_renew_flags[];

int certs_command_init(struct cli *cli, struct err *err);
int certs_command_issue(struct cli *cli, struct err *err);
int certs_command_list(struct cli *cli, struct err *err);
int certs_command_renew(struct cli *cli, struct err *err);

/*
 * What `hcp up` runs with: an authority and hcpd, market, fleet and agent, made where they are missing or for another
 * node than node_id, renewed with less than a third of their life left. Without ca.key everything must be there and is
 * taken as it is.
 */
int certs_of_up(const char *dir, const char *node_id, int64_t now_s, struct err *err) MUST_CHECK;

#endif
