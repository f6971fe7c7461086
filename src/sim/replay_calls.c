#include "sim/replay_calls.h"

#include <string.h>

#include "base/money.h"
#include "base/timefmt.h"
#include "model/ancillary.h"
#include "wire/csv.h"

enum { START, SERVICE, MINUTES, COLUMNS };
static const char *const columns[COLUMNS] = { "start_utc", "service", "minutes" };
enum { MINUTES_MAX = 1440 };

static int take_row(const struct csv *c, const size_t at[COLUMNS], struct backtest_call *ret, struct err *err)
{
	struct str start = c->fields[at[START]], service = c->fields[at[SERVICE]];
	int64_t minutes = 0;
	int rc = csv_i64(c, at[MINUTES], &minutes, err);
	if (rc < 0)
		return rc;
	if (timefmt_parse(start, &ret->start_ns) < 0 || ret->start_ns < 0 || ret->start_ns > INT64_MAX / 2)
		return err_set(err, HCP_EPARSE, columns[START], "line %zu: '%.*s' is not a time", c->line,
			(int)(start.n < 40 ? start.n : 40), start.p);
	if (service.n == 0 || memchr(service.p, 0, service.n) || str_copy(ret->service, sizeof(ret->service), service) < 0)
		return err_set(err, HCP_EINVAL, columns[SERVICE], "line %zu: needs 1 to %d bytes, none of them 0", c->line,
			SITE_NAME_MAX - 1);
	if (minutes < 1 || minutes > MINUTES_MAX)
		return err_set(err, HCP_ERANGE, columns[MINUTES], "line %zu: must be 1 to %d", c->line, MINUTES_MAX);
	int64_t longest_s = ancillary_of(ret->service)->longest_s;
	ret->end_ns = ret->start_ns + (minutes * 60 < longest_s ? minutes * 60 : longest_s) * NS_PER_S;
	return 0;
}

static int check_overlap(
	const struct csv *c, const struct backtest_call *calls, size_t n, const struct backtest_call *one, struct err *err)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(calls[i].service, one->service) && one->start_ns < calls[i].end_ns &&
			calls[i].start_ns < one->end_ns)
			return err_set(
				err, HCP_EINVAL, columns[START], "line %zu: overlaps another call of %s", c->line, one->service);
	return 0;
}

int replay_calls(
	const char *name, struct str text, struct backtest_call *ret, size_t cap, size_t *ret_n, struct err *err)
{
	struct csv c;
	size_t at[COLUMNS] = { 0 }, n = 0;
	int rc = csv_init(&c, text, ',', err);
	for (int i = 0; rc == 0 && i < COLUMNS; i++)
		rc = csv_column(&c, columns[i], &at[i], err);
	while (rc >= 0 && (rc = csv_next(&c, err)) > 0) {
		struct backtest_call one = { 0 };
		rc = n < cap ? take_row(&c, at, &one, err) : err_set(err, HCP_ELIMIT, "", "more than %zu calls", cap);
		if (rc == 0)
			rc = check_overlap(&c, ret, n, &one, err);
		if (rc == 0)
			ret[n++] = one;
	}
	csv_release(&c);
	if (rc < 0) {
		if (err)
			err_prefix(err, name);
		return rc;
	}
	*ret_n = n;
	return 0;
}
