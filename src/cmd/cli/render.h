#ifndef HCP_CMD_CLI_RENDER_H
#define HCP_CMD_CLI_RENDER_H

#include <jansson.h>

#include "cmd/cli/cli.h"

/* Shows a reply in the chosen format. HCP_EPROTO if it is not of the promised shape. */
int render_reply(struct cli *cli, const struct command *cmd, const json_t *reply, struct buf *out, struct err *err)
	MUST_CHECK;
/*
 * One table of objects; columns as in struct view. Columns that are empty in all rows are left out. `age_from_ns`
 * is what ages are counted to.
 */
int render_rows(struct cli *cli, const json_t *rows, const char *columns, int64_t age_from_ns, struct buf *out,
		struct err *err) MUST_CHECK;
/* "name  value" lines of all scalar members except those in `skip_views`. */
int render_fields(struct cli *cli, const json_t *object, const struct view *skip_views, struct buf *out,
		  struct err *err)
	MUST_CHECK;

#endif
