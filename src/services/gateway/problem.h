#ifndef HCP_SERVICES_GATEWAY_PROBLEM_H
#define HCP_SERVICES_GATEWAY_PROBLEM_H

#include "base/err.h"
#include "base/str.h"

/* HTTP status of an error code; 500 for what is our own fault. */
int problem_status(int code);
/* Code of a Problem's text ("not_found"); HCP_EINTERNAL for unknown ones. */
int problem_code(const char *name);
/*
 * Appends an RFC 9457 body: {"type":"https://hcp.dev/problems/<code>","title":…,"status":…,"detail":…,"code":…,
 * "field":…,"trace_id":…}; field only where one is named. trace_id: 32 hex digits or "".
 */
void problem_write(struct buf *b, int status, int code, const char *field, const char *detail, const char *trace_id);

#endif
