#ifndef HCP_CMD_CLI_SESSION_H
#define HCP_CMD_CLI_SESSION_H

#include "cmd/cli/cli.h"

/* The login of this user at cli->url: kept in the credentials file, renewed when its token runs out. */

/* Keeps what a login or a renewal was answered. */
int session_keep(struct cli *cli, const json_t *session, const char *email, struct err *err) MUST_CHECK;
/* Sets the kept token, renewed first if it has run out, and has it renewed when the server says 401. */
int session_use(struct cli *cli, struct err *err) MUST_CHECK;
/* Forgets it here and ends it at the server; a server that cannot be told does not keep it. HCP_ENOTFOUND. */
int session_end(struct cli *cli, struct err *err) MUST_CHECK;

#endif
