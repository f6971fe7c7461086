#ifndef HCP_WIRE_ERCOT_TIME_H
#define HCP_WIRE_ERCOT_TIME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * ERCOT stamps: Central Prevailing Time, named by the hour's end ("Hour Ending 01:00" is the hour from midnight). The
 * platform has UTC and interval starts, so stamps are converted here, at the edge, and nowhere else.
 *
 *	second Sunday of March    hour ending 3 does not exist      92 quarter-hours
 *	first Sunday of November  hour ending 2 comes twice         100 quarter-hours
 *
 * The second one carries DSTFlag / "Repeated Hour Flag" Y (it is the one in standard time). The rule is that of the
 * Energy Policy Act of 2005, in force since 2007; earlier dates are refused.
 */
enum { ERCOT_FIRST_YEAR = 2007, ERCOT_LAST_YEAR = 2200 };

struct ercot_stamp {
	int year, month, day;
	int hour_ending; /* 1..24 */
	int interval;    /* 1..per_hour */
	int per_hour;    /* 1: hours, 4: quarter-hours */
	bool repeated;
};

/* HCP_ERANGE: no such moment; HCP_EINVAL: flagged as repeated though that hour comes once. err->field names the part.
 */
int ercot_interval_start(const struct ercot_stamp *s, int64_t *ret_start_ns, struct err *err) MUST_CHECK;

/* "12/31/2024", "2024-12-31" or either with a time behind a blank or T. Blanks at the ends are dropped. */
int ercot_parse_date(struct str text, struct ercot_stamp *ret, struct err *err) MUST_CHECK;
/* "01:00", "24:00", "1": 1..24. */
int ercot_parse_hour(struct str text, struct ercot_stamp *ret, struct err *err) MUST_CHECK;
/* "Y", "N", "true", "false", "" (no). */
int ercot_parse_flag(struct str text, struct ercot_stamp *ret, struct err *err) MUST_CHECK;

enum { ERCOT_DATE_MAX = 16 };
/* The Central calendar date of an instant, as the API's parameters want it: "2024-12-31". */
char *ercot_date_of(char dst[ERCOT_DATE_MAX], int64_t ns);

#endif
