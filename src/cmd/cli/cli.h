#ifndef HCP_CMD_CLI_CLI_H
#define HCP_CMD_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "cmd/cli/api.h"
#include "cmd/cli/args.h"

enum cli_exit {
	CLI_OK = 0,
	CLI_REFUSED = 1,   /* the server said no, or its answer makes no sense */
	CLI_USAGE = 2,
	CLI_NO_ANSWER = 3, /* no connection, or no answer in time */
	CLI_NO_LOGIN = 4,
};

enum cli_output { CLI_TABLE, CLI_JSON, CLI_YAML };

/* Everything that one run of `hcp` knows. Data goes to stdout, words for people to stderr. */
struct cli {
	struct args args;
	struct arena arena;     /* all texts of the run */
	struct api api;
	enum cli_output output;
	const char *url;        /* without a slash at the end */
	const char *self;       /* argv[0] */
	bool usage;             /* the error is the caller's: exit status 2 */
	bool stdout_tty, color;
	size_t width;           /* columns of the terminal, 0: unlimited */
};

/* The whole program; returns its exit status. */
int cli_main(int argc, char **argv);

int64_t cli_now_ns(void);
/* Marks an error as one of usage. */
int cli_usage(struct cli *cli, struct err *err, const char *field, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* A line on stderr. */
void cli_say(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Writes to stdout and flushes; HCP_EIO when that fails (a full disk, a closed pipe). */
int cli_print(const struct buf *out, struct err *err) MUST_CHECK;
/* Ends the report of a local command, if rc is 0: into the file of --out, else to standard output. Releases out. */
int cli_finish_report(struct cli *cli, struct buf *out, int rc, struct err *err) MUST_CHECK;
/* The folder of this program and its siblings ($HCP_BIN_DIR, else where this binary lies). */
int cli_bin_dir(struct cli *cli, const char **ret_dir, struct err *err) MUST_CHECK;
/* Server, token and output format from flags, environment and credentials file. */
int cli_connect(struct cli *cli, struct err *err) MUST_CHECK;

#endif
