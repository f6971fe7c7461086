#include "base/timefmt.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/money.h"

int64_t timefmt_days(int64_t y, int m, int d)
{
	/* H. Hinnant, chrono-compatible low-level date algorithms: years start in March. */
	y -= m <= 2;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t yoe = y - era * 400;
	int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

void timefmt_civil(int64_t z, int64_t *ret_year, int *ret_month, int *ret_day)
{
	z += 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;
	*ret_day = (int)(doy - (153 * mp + 2) / 5 + 1);
	*ret_month = (int)(mp < 10 ? mp + 3 : mp - 9);
	*ret_year = yoe + era * 400 + (*ret_month <= 2);
}

/* Reads exactly `digits` digits at s and moves on. */
static int take(struct str *s, int digits, int *ret)
{
	int v = 0;
	if (s->n < (size_t)digits)
		return HCP_EPARSE;
	for (int i = 0; i < digits; i++) {
		if (s->p[i] < '0' || s->p[i] > '9')
			return HCP_EPARSE;
		v = v * 10 + (s->p[i] - '0');
	}
	s->p += digits;
	s->n -= (size_t)digits;
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

static int parse_fraction(struct str *s, int64_t *ret_ns)
{
	int64_t unit = NS_PER_S, ns = 0;
	int digits = 0;
	while (s->n && s->p[0] >= '0' && s->p[0] <= '9') {
		unit /= 10;
		ns += (s->p[0] - '0') * unit;
		s->p++;
		s->n--;
		digits++;
	}
	*ret_ns = ns;
	return digits > 0 ? 0 : HCP_EPARSE;
}

static int parse_clock(struct str *s, int64_t *ret_ns)
{
	int h, m, sec = 0;
	int64_t frac = 0;
	if (take(s, 2, &h) < 0 || !skip(s, ':') || take(s, 2, &m) < 0)
		return HCP_EPARSE;
	if (skip(s, ':') && take(s, 2, &sec) < 0)
		return HCP_EPARSE;
	if (skip(s, '.') && parse_fraction(s, &frac) < 0)
		return HCP_EPARSE;
	if (h > 23 || m > 59 || sec > 59)
		return HCP_ERANGE;
	*ret_ns = ((h * 60 + m) * 60 + sec) * NS_PER_S + frac;
	return 0;
}

static int parse_zone(struct str *s, int64_t *ret_ns)
{
	*ret_ns = 0;
	if (s->n == 0 || skip(s, 'Z') || skip(s, 'z'))
		return s->n == 0 ? 0 : HCP_EPARSE;
	int sign = s->p[0] == '-' ? -1 : 1, h, m;
	if (!skip(s, '+') && !skip(s, '-'))
		return HCP_EPARSE;
	if (take(s, 2, &h) < 0)
		return HCP_EPARSE;
	skip(s, ':');
	if (take(s, 2, &m) < 0 || s->n)
		return HCP_EPARSE;
	if (h > 23 || m > 59)
		return HCP_ERANGE;
	*ret_ns = sign * (h * 60 + m) * 60 * NS_PER_S;
	return 0;
}

static bool date_ok(int y, int m, int d)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	if (y < 1678 || y > 2261 || m < 1 || m > 12 || d < 1)
		return false;
	bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
	return d <= days[m - 1] + (m == 2 && leap);
}

int timefmt_parse(struct str s, int64_t *ret_ns)
{
	int y, m, d, rc;
	int64_t clock = 0, zone = 0;
	if (take(&s, 4, &y) < 0 || !skip(&s, '-') || take(&s, 2, &m) < 0 || !skip(&s, '-') || take(&s, 2, &d) < 0)
		return HCP_EPARSE;
	if (!date_ok(y, m, d))
		return HCP_ERANGE;
	if (s.n && (skip(&s, 'T') || skip(&s, 't') || skip(&s, ' '))) {
		rc = parse_clock(&s, &clock);
		if (rc < 0)
			return rc;
		rc = parse_zone(&s, &zone);
		if (rc < 0)
			return rc;
	}
	if (s.n)
		return HCP_EPARSE;
	*ret_ns = timefmt_days(y, m, d) * 86400 * NS_PER_S + clock - zone;
	return 0;
}

char *timefmt_format(char dst[TIMEFMT_MAX], int64_t ns)
{
	int64_t s = ns / NS_PER_S, frac = ns % NS_PER_S;
	if (frac < 0) {
		frac += NS_PER_S;
		s--;
	}
	int64_t days = s / 86400, sec = s % 86400, year;
	int month, day;
	if (sec < 0) {
		sec += 86400;
		days--;
	}
	timefmt_civil(days, &year, &month, &day);
	int n = snprintf(dst, TIMEFMT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d", (int)year, month, day, (int)(sec / 3600),
			 (int)(sec / 60 % 60), (int)(sec % 60));
	if (frac % NS_PER_MS)
		n += snprintf(dst + n, TIMEFMT_MAX - (size_t)n, ".%09" PRId64, frac);
	else if (frac)
		n += snprintf(dst + n, TIMEFMT_MAX - (size_t)n, ".%03" PRId64, frac / NS_PER_MS);
	snprintf(dst + n, TIMEFMT_MAX - (size_t)n, "Z");
	return dst;
}

/* Day of the nth Sunday of a month, as days since 1970 (1970-01-01 was a Thursday). */
static int64_t nth_sunday(int64_t year, int month, int nth)
{
	int64_t first = timefmt_days(year, month, 1);
	int64_t weekday = ((first + 4) % 7 + 7) % 7;
	return first + (7 - weekday) % 7 + 7 * (nth - 1);
}

int timefmt_central_offset_s(int64_t ns)
{
	int64_t s = ns / NS_PER_S, days = s / 86400, year;
	int month, day;
	timefmt_civil(days, &year, &month, &day);
	/* Second Sunday of March 02:00 CST = 08:00Z to first Sunday of November 02:00 CDT = 07:00Z. */
	int64_t begin = nth_sunday(year, 3, 2) * 86400 + 8 * 3600;
	int64_t end = nth_sunday(year, 11, 1) * 86400 + 7 * 3600;
	return s >= begin && s < end ? -18000 : -21600;
}
