#ifndef HCP_WIRE_TRACE_H
#define HCP_WIRE_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * W3C Trace Context, `traceparent` header:
 *
 *	00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
 *	version  trace id (16 bytes)         parent id (8)    flags (bit 0: sampled)
 *
 * Lower-case hex; ids of zero and version ff are invalid; later versions may carry more after another '-'.
 */
#define TRACE_TEXT_LEN 55

struct trace {
	uint8_t trace_id[16];
	uint8_t span_id[8];
	uint8_t flags;
};

#define TRACE_SAMPLED 1

static inline bool trace_is_sampled(const struct trace *t)
{
	return t->flags & TRACE_SAMPLED;
}

/* HCP_EPARSE: the header is to be ignored and a new trace begun, never answered with an error. */
int trace_parse(struct str text, struct trace *ret) MUST_CHECK;
/* Version 00. Returns dst. */
char *trace_format(const struct trace *t, char dst[TRACE_TEXT_LEN + 1]);

#endif
