#ifndef HCP_SIM_OPTS_H
#define HCP_SIM_OPTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Options of a subcommand as a table: "--name value", "--name=value" or a bare "--name" for switches. Values are
 * checked while they are read; what is not given keeps what its place holds.
 */
enum opt_kind {
	OPT_SWITCH, /* bool */
	OPT_TEXT,   /* const char *, borrowed from argv */
	OPT_I64,    /* int64_t within [min, max] */
	OPT_U64,    /* uint64_t, any */
	OPT_DOUBLE, /* double within [min, max] */
	OPT_TIME,   /* int64_t nanoseconds UTC from ISO 8601 */
};

struct opt {
	const char *name; /* without dashes; NULL ends the table */
	enum opt_kind kind;
	void *place;      /* of the kind's type */
	double min, max;
	const char *arg;  /* name of the value in the help */
	const char *help;
};

/* 0, or HCP_EINVAL/HCP_ERANGE with the option in err->field. 1: --help was asked for. */
int opts_parse(const struct opt *table, int argc, char *const argv[], struct err *err) MUST_CHECK;
/* The table as text, one option a line. */
void opts_help(const struct opt *table, struct buf *out);
/* "host:port" or "[v6]:port"; host gets at most cap bytes with NUL. HCP_EINVAL. */
int opts_host_port(const char *text, char *host, size_t cap, uint16_t *ret_port, struct err *err) MUST_CHECK;

#endif
