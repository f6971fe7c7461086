#ifndef HCP_CMD_CLI_EMIT_H
#define HCP_CMD_CLI_EMIT_H

#include <jansson.h>

#include "base/err.h"
#include "base/str.h"

/* Deeper documents are refused (HCP_ELIMIT): no reply of the platform nests half as deep. */
enum { EMIT_DEPTH_MAX = 64 };

/*
 * Writes `v` and a newline to `out`: JSON indented by two, doubles in their shortest form; YAML 1.2 in block style
 * that a YAML 1.1 reader understands the same way (words like "yes" and number-like text are quoted).
 * Members keep the order in which the server sent them. Pure.
 */
int emit_json(struct buf *out, const json_t *v, struct err *err) MUST_CHECK;
int emit_yaml(struct buf *out, const json_t *v, struct err *err) MUST_CHECK;

#endif
