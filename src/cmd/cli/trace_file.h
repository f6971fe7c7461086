#ifndef HCP_CMD_CLI_TRACE_FILE_H
#define HCP_CMD_CLI_TRACE_FILE_H

#include "sim/job_trace.h"

/* A recorded trace; errors name the file. conf NULL: the defaults. */
int trace_file_load(
	const char *path, const struct job_trace_conf *conf, struct job_trace *ret, struct err *err) MUST_CHECK;

#endif
