#include "wire/ercot_time.h"

#include <stdio.h>

#include "base/money.h"
#include "base/num.h"
#include "base/timefmt.h"

#define HOUR_S INT64_C(3600)

static int check(const struct ercot_stamp *s, struct err *err)
{
	if (s->year < ERCOT_FIRST_YEAR || s->year > ERCOT_LAST_YEAR)
		return err_set(
			err, HCP_ERANGE, "date", "the year must be %d to %d, was %d", ERCOT_FIRST_YEAR, ERCOT_LAST_YEAR, s->year);
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (s->year % 4 == 0 && s->year % 100 != 0) || s->year % 400 == 0;
	if (s->month < 1 || s->month > 12 || s->day < 1 || s->day > days[s->month - 1] + (s->month == 2 && leap))
		return err_set(err, HCP_ERANGE, "date", "there is no %04d-%02d-%02d", s->year, s->month, s->day);
	if (s->hour_ending < 1 || s->hour_ending > 24)
		return err_set(err, HCP_ERANGE, "hour", "must be 1 to 24, was %d", s->hour_ending);
	if (s->per_hour < 1 || s->per_hour > 60 || s->interval < 1 || s->interval > s->per_hour)
		return err_set(err, HCP_ERANGE, "interval", "must be 1 to %d, was %d", s->per_hour, s->interval);
	return 0;
}

int ercot_interval_start(const struct ercot_stamp *s, int64_t *ret_start_ns, struct err *err)
{
	int rc = check(s, err);
	if (rc < 0)
		return rc;
	int64_t local_s = timefmt_days(s->year, s->month, s->day) * 86400 + (s->hour_ending - 1) * HOUR_S +
					  (s->interval - 1) * (HOUR_S / s->per_hour);
	/* Which UTC instants show this wall clock? The one in daylight time comes first. */
	int64_t daylight_ns = (local_s + 5 * HOUR_S) * NS_PER_S, standard_ns = (local_s + 6 * HOUR_S) * NS_PER_S;
	bool in_daylight = timefmt_central_offset_s(daylight_ns) == -5 * HOUR_S;
	bool in_standard = timefmt_central_offset_s(standard_ns) == -6 * HOUR_S;
	if (!in_daylight && !in_standard)
		return err_set(err, HCP_ERANGE, "hour", "hour ending %d does not exist on %04d-%02d-%02d: clocks go forward",
			s->hour_ending, s->year, s->month, s->day);
	if (s->repeated && !(in_daylight && in_standard))
		return err_set(err, HCP_EINVAL, "repeated", "hour ending %d of %04d-%02d-%02d comes only once", s->hour_ending,
			s->year, s->month, s->day);
	*ret_start_ns = in_daylight && !s->repeated ? daylight_ns : standard_ns;
	return 0;
}

/* Up to `most` digits at the front. */
static int take(struct str *s, size_t least, size_t most, int *ret)
{
	size_t n = 0;
	int v = 0;
	while (n < s->n && n < most && s->p[n] >= '0' && s->p[n] <= '9')
		v = v * 10 + (s->p[n++] - '0');
	if (n < least)
		return HCP_EPARSE;
	s->p += n;
	s->n -= n;
	*ret = v;
	return 0;
}

static bool skip(struct str *s, char c)
{
	if (!s->n || s->p[0] != c)
		return false;
	s->p++;
	s->n--;
	return true;
}

static int bad(struct err *err, const char *field, struct str text, const char *like)
{
	return err_set(err, HCP_EPARSE, field, "'%.*s' is not like %s", (int)(text.n < 40 ? text.n : 40), text.p, like);
}

int ercot_parse_date(struct str text, struct ercot_stamp *ret, struct err *err)
{
	struct str s = str_trim(text);
	int a, b, c, rc;
	bool slashes = s.n > 2 && (s.p[1] == '/' || s.p[2] == '/');
	if (slashes)
		rc = take(&s, 1, 2, &b) < 0 || !skip(&s, '/') || take(&s, 1, 2, &c) < 0 || !skip(&s, '/') ||
			 take(&s, 4, 4, &a) < 0;
	else
		rc = take(&s, 4, 4, &a) < 0 || !skip(&s, '-') || take(&s, 2, 2, &b) < 0 || !skip(&s, '-') ||
			 take(&s, 2, 2, &c) < 0;
	if (rc || (s.n && s.p[0] != ' ' && s.p[0] != 'T'))
		return bad(err, "date", text, "12/31/2024 or 2024-12-31");
	ret->year = a;
	ret->month = b;
	ret->day = c;
	return 0;
}

int ercot_parse_hour(struct str text, struct ercot_stamp *ret, struct err *err)
{
	struct str s = str_trim(text);
	int hour, minutes = 0;
	if (take(&s, 1, 2, &hour) < 0 || (skip(&s, ':') && (take(&s, 2, 2, &minutes) < 0 || minutes)) || s.n)
		return bad(err, "hour", text, "01:00 or 1");
	if (hour < 1 || hour > 24)
		return err_set(err, HCP_ERANGE, "hour", "an ending hour must be 1 to 24, was %d", hour);
	ret->hour_ending = hour;
	return 0;
}

int ercot_parse_flag(struct str text, struct ercot_stamp *ret, struct err *err)
{
	struct str s = str_trim(text);
	bool yes = str_ieqz(s, "Y") || str_ieqz(s, "true");
	if (!yes && s.n && !str_ieqz(s, "N") && !str_ieqz(s, "false"))
		return bad(err, "repeated", text, "Y or N");
	ret->repeated = yes;
	return 0;
}

char *ercot_date_of(char dst[ERCOT_DATE_MAX], int64_t ns)
{
	int64_t local_s = ns / NS_PER_S + timefmt_central_offset_s(ns), year;
	int month, day;
	timefmt_civil(local_s >= 0 ? local_s / 86400 : (local_s - 86399) / 86400, &year, &month, &day);
	snprintf(dst, ERCOT_DATE_MAX, "%04d-%02d-%02d", (int)(year % 10000), month, day);
	return dst;
}
