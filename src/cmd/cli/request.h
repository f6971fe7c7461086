#ifndef HCP_CMD_CLI_REQUEST_H
#define HCP_CMD_CLI_REQUEST_H

#include <jansson.h>

#include "cmd/cli/cli.h"

enum {
	REQUEST_FILE_MAX = 8 * 1024 * 1024,
	REQUEST_PAGES_MAX = 10000, /* --all gives up after so many */
};

/* The request message of this run: --file, then flags, then operands. A new reference. */
int request_build(struct cli *cli, json_t **ret_req, struct err *err) MUST_CHECK;
/*
 * Sends `req` as `cmd` says: members named in the route go into the path, the others into the query (GET, DELETE) or
 * the body. extra_ms: how long the server may wait by agreement. *ret_reply is a new reference.
 */
int request_send(struct cli *cli, const struct command *cmd, const json_t *req, long extra_ms, json_t **ret_reply,
		 struct err *err) MUST_CHECK;
/* request_build and request_send. */
int request_once(struct cli *cli, json_t **ret_reply, struct err *err) MUST_CHECK;
/* What a command without a function of its own does: request, pages, output, and again with --watch. */
int request_run(struct cli *cli, struct err *err) MUST_CHECK;

/* A whole file or standard input ("-") into the arena. */
int request_read_file(struct cli *cli, const char *path, struct str *ret, struct err *err) MUST_CHECK;
/* "field: text", safe for a terminal. */
void request_add_error(struct buf *out, const struct err *err);

#endif
