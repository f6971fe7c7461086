#ifndef HCP_BASE_TIMEFMT_H
#define HCP_BASE_TIMEFMT_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum { TIMEFMT_MAX = 40 };

/* Days since 1970-01-01 of a proleptic Gregorian date, month 1-12. */
int64_t timefmt_days(int64_t year, int month, int day);
void timefmt_civil(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day);
/*
 * ISO 8601 / RFC 3339 to nanoseconds UTC: YYYY-MM-DD, optionally 'T' or blank and hh:mm[:ss[.fraction]], optionally
 * Z or ±hh:mm. Without a zone it is UTC. HCP_EPARSE or HCP_ERANGE.
 */
int timefmt_parse(struct str s, int64_t *ret_ns) MUST_CHECK;
/* "2021-02-15T06:00:00Z", with .mmm when there are milliseconds and .nnnnnnnnn when there are finer parts. */
char *timefmt_format(char dst[TIMEFMT_MAX], int64_t ns);
/* Seconds to add to UTC to get US Central Prevailing Time at this instant (-21600 or -18000); rule since 2007. */
int timefmt_central_offset_s(int64_t ns);

#endif
