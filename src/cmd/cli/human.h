#ifndef HCP_CMD_CLI_HUMAN_H
#define HCP_CMD_CLI_HUMAN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/*
 * Numbers as people read them. Which way a field is shown follows from its name, since units stand last in names
 * ("power_w", "amount_micros", "created_at_ns"); a column may name another format. Pure: the clock is handed in.
 */
enum human_format {
	HUMAN_TEXT,
	HUMAN_COUNT,     /* integer with thin grouping: 12 345; of an array its length */
	HUMAN_REAL,      /* up to six significant digits */
	HUMAN_TIME,      /* 2026-11-20 21:53:19Z */
	HUMAN_AGE,       /* nanoseconds UTC as distance from now: 3m 20s */
	HUMAN_NS,        /* duration */
	HUMAN_MS,
	HUMAN_S,
	HUMAN_MICROS,    /* money */
	HUMAN_USD,
	HUMAN_USD_H,
	HUMAN_USD_MWH,
	HUMAN_WATTS,
	HUMAN_JOULES,
	HUMAN_THS,
	HUMAN_HASHES,
	HUMAN_RATIO,     /* 0..1 as per cent */
	HUMAN_GIB,
	HUMAN_CELSIUS,
	HUMAN_PART,      /* of one device; 0: nothing is shown */
};

/* By the end of a field's name; HUMAN_TEXT if nothing is known about it. */
enum human_format human_of(const char *field);
/* A format by its short name in a column list ("age"); HUMAN_TEXT if unknown. */
enum human_format human_named(struct str name);
bool human_is_number(enum human_format f);

/* Nothing is added for null, "" and an unset (0) time. Integers sent as text are understood. */
void human_add(struct buf *out, const json_t *v, enum human_format f, int64_t now_ns);
void human_add_ns(struct buf *out, int64_t ns);
void human_add_usd(struct buf *out, double usd);

/* "90", "90s", "15m", "2h", "7d" to seconds. HCP_EPARSE or HCP_ERANGE. */
int human_parse_duration(struct str s, int64_t *ret_s) MUST_CHECK;

/* Block characters for n values resampled to at most `width` cells; equal values give a flat middle line. */
void human_add_sparkline(struct buf *out, const double *v, size_t n, size_t width);

#endif
