#include "sim/replay.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/panic.h"
#include "base/timefmt.h"
#include "econ/history.h"
#include "wire/csv.h"

#define S_NS INT64_C(1000000000)
#define DAY_S 86400

static const char source_name[] = "replay";
static const char day_ahead_symbol[] = "electricity_da";

void replay_init(struct replay *r, int64_t from_ns, int64_t to_ns)
{
	*r = (struct replay){ .from_ns = from_ns, .to_ns = to_ns };
}

void replay_release(struct replay *r)
{
	mem_free(r->entries);
	*r = (struct replay){ 0 };
}

/* ---- one row ---- */

struct row {
	const char *symbol, *location;
	double value;
	int64_t known_ns, start_ns;
	int64_t interval_s;
};

static int find_series(struct replay *r, const char *symbol, const char *location, uint16_t *ret, struct err *err)
{
	for (size_t i = 0; i < r->n_series; i++) {
		if (!strcmp(r->series[i].symbol, symbol) && !strcmp(r->series[i].location, location)) {
			*ret = (uint16_t)i;
			return 0;
		}
	}
	if (r->n_series == REPLAY_SERIES_MAX)
		return err_set(err, HCP_ELIMIT, location, "more than %d series", REPLAY_SERIES_MAX);
	struct replay_series *s = &r->series[r->n_series];
	if (str_copy(s->location, sizeof(s->location), str_of(location)) < 0)
		return err_set(err, HCP_ERANGE, location, "a name of more than %d bytes", REPLAY_LOCATION_MAX - 1);
	s->symbol = symbol;
	*ret = (uint16_t)r->n_series++;
	return 0;
}

static int add(struct replay *r, const struct row *row, struct err *err)
{
	uint16_t series = 0;
	must(!r->sealed);
	if (row->known_ns > r->to_ns)
		return 0;
	int rc = find_series(r, row->symbol, row->location, &series, err);
	if (rc < 0)
		return rc;
	if (r->n == r->cap) {
		size_t cap = r->cap ? 2 * r->cap : 1024;
		if (cap > REPLAY_ENTRIES_MAX)
			return err_set(err, HCP_ELIMIT, "", "more than %u values", REPLAY_ENTRIES_MAX);
		struct replay_entry *e = mem_realloc(r->entries, cap * sizeof(*e));
		if (!e)
			return err_set(err, HCP_ENOMEM, "", "no memory for %zu values", cap);
		r->entries = e;
		r->cap = cap;
	}
	r->entries[r->n++] = (struct replay_entry){ .observed_at_ns = row->known_ns, .interval_start_ns = row->start_ns,
		.value = row->value, .interval_s = (int32_t)row->interval_s, .series = series };
	return 0;
}

/* ---- files ---- */

struct wide;
struct trace;

/* Calls fn for each row with the time of its first column; that column must have the given name. */
struct reader {
	struct replay *r;
	struct csv csv;
	size_t time_column;
	size_t column[4];
	const char *location;
	const struct wide *wide;
	struct trace *trace;
	struct err *err;
};

/* 1: *ret is the number; 0: the field is empty. */
static int number(struct reader *f, size_t column, double *ret)
{
	if (f->csv.fields[column].n == 0) {
		f->r->skipped++;
		return 0;
	}
	int rc = csv_double(&f->csv, column, ret, f->err);
	return rc < 0 ? rc : 1;
}

/* Dates far off would overflow sums later. */
static int row_time(struct reader *f, int64_t *ret_ns)
{
	struct str text = f->csv.fields[f->time_column];
	int64_t ns;
	if (timefmt_parse(text, &ns) < 0 || ns < 0 || ns > INT64_MAX / 2)
		return err_set(f->err, HCP_EPARSE, "time", "line %zu: '%.*s' is not a time", f->csv.line,
			(int)(text.n < 40 ? text.n : 40), text.p);
	*ret_ns = ns;
	return 0;
}

static int each_row(struct reader *f, const char *name, struct str text, const char *time_name,
	const char *const *columns, int (*fn)(struct reader *f))
{
	int rc = csv_init(&f->csv, text, ',', f->err);
	if (rc == 0)
		rc = csv_column(&f->csv, time_name, &f->time_column, f->err);
	for (size_t i = 0; rc == 0 && columns[i]; i++)
		rc = csv_column(&f->csv, columns[i], &f->column[i], f->err);
	if (rc == 0)
		while ((rc = csv_next(&f->csv, f->err)) > 0) {
			rc = fn(f);
			if (rc < 0)
				break;
		}
	csv_release(&f->csv);
	if (rc < 0 && f->err)
		err_prefix(f->err, name);
	return rc;
}

static int real_time_row(struct reader *f)
{
	struct row row = { .symbol = "electricity_rt", .location = f->location, .interval_s = 900 };
	int rc = row_time(f, &row.start_ns);
	if (rc == 0)
		rc = number(f, f->column[0], &row.value);
	if (rc <= 0)
		return rc;
	row.known_ns = row.start_ns + row.interval_s * S_NS;
	return add(f->r, &row, f->err);
}

int replay_add_real_time(struct replay *r, const char *name, struct str text, const char *location, struct err *err)
{
	struct reader f = { .r = r, .location = location, .err = err };
	const char *const columns[] = { location, NULL };
	return each_row(&f, name, text, "interval_start_utc", columns, real_time_row);
}

static int day_ahead_row(struct reader *f)
{
	struct row row = { .symbol = day_ahead_symbol, .location = f->location, .interval_s = 3600 };
	int rc = row_time(f, &row.start_ns);
	if (rc == 0)
		rc = number(f, f->column[0], &row.value);
	if (rc <= 0)
		return rc;
	row.known_ns = history_known_ns(HISTORY_POWER_DA, row.start_ns, row.interval_s * S_NS);
	return add(f->r, &row, f->err);
}

int replay_add_day_ahead_column(
	struct replay *r, const char *name, struct str text, const char *column, const char *location, struct err *err)
{
	struct reader f = { .r = r, .location = location, .err = err };
	const char *const columns[] = { column, NULL };
	return each_row(&f, name, text, "interval_start_utc", columns, day_ahead_row);
}

int replay_add_day_ahead(struct replay *r, const char *name, struct str text, const char *location, struct err *err)
{
	return replay_add_day_ahead_column(r, name, text, location, location, err);
}

static int btc_row(struct reader *f)
{
	struct row row = { .symbol = "btc_usd", .location = "", .interval_s = 3600 };
	int rc = row_time(f, &row.start_ns);
	if (rc == 0)
		rc = number(f, f->column[0], &row.value);
	if (rc <= 0)
		return rc;
	row.known_ns = row.start_ns + row.interval_s * S_NS;
	return add(f->r, &row, f->err);
}

int replay_add_btc(struct replay *r, const char *name, struct str text, struct err *err)
{
	struct reader f = { .r = r, .err = err };
	static const char *const columns[] = { "close", NULL };
	return each_row(&f, name, text, "hour_start_utc", columns, btc_row);
}

static int network_row(struct reader *f)
{
	double difficulty, issued, fees, blocks;
	struct row row = { .symbol = "difficulty", .location = "", .interval_s = DAY_S };
	int rc = row_time(f, &row.start_ns);
	if (rc < 0)
		return rc;
	row.known_ns = row.start_ns + row.interval_s * S_NS;
	rc = number(f, f->column[0], &difficulty);
	row.value = difficulty;
	if (rc > 0)
		rc = add(f->r, &row, f->err);
	if (rc < 0 || (rc = number(f, f->column[3], &blocks)) <= 0)
		return rc;
	if (!(blocks > 0))
		return 0; /* a day without blocks has no average of them */
	rc = number(f, f->column[1], &issued);
	row.symbol = "block_subsidy_btc";
	row.value = issued / blocks;
	if (rc > 0)
		rc = add(f->r, &row, f->err);
	if (rc < 0 || (rc = number(f, f->column[2], &fees)) <= 0)
		return rc;
	row.symbol = "block_fees_btc";
	row.value = fees / blocks;
	return add(f->r, &row, f->err);
}

int replay_add_network(struct replay *r, const char *name, struct str text, struct err *err)
{
	struct reader f = { .r = r, .err = err };
	static const char *const columns[] = { "difficulty", "issuance_btc", "fees_btc", "blocks_implied", NULL };
	return each_row(&f, name, text, "date_utc", columns, network_row);
}

static int gpu_row(struct reader *f)
{
	char text[16], location[REPLAY_LOCATION_MAX];
	int64_t year;
	int month, day;
	struct row row = { .symbol = "gpu_rate", .location = location };
	struct str when = f->csv.fields[f->time_column], gpu = f->csv.fields[f->column[0]];
	/* "2023-09" -> the first of that month */
	if (when.n != 7 || str_copy(text, sizeof(text), when) < 0)
		return err_set(f->err, HCP_EPARSE, "month", "line %zu: not a month like 2023-09", f->csv.line);
	memcpy(text + 7, "-01", 4);
	if (timefmt_parse(str_of(text), &row.start_ns) < 0 || row.start_ns < 0 || row.start_ns > INT64_MAX / 2)
		return err_set(f->err, HCP_EPARSE, "month", "line %zu: not a month like 2023-09", f->csv.line);
	if (gpu.n == 0 || str_copy(location, sizeof(location), gpu) < 0)
		return err_set(f->err, HCP_ERANGE, "gpu", "line %zu: the name is empty or too long", f->csv.line);
	int rc = number(f, f->column[1], &row.value);
	if (rc <= 0)
		return rc;
	int64_t days = row.start_ns / (DAY_S * S_NS);
	timefmt_civil(days, &year, &month, &day);
	int64_t next_days = month == 12 ? timefmt_days(year + 1, 1, 1) : timefmt_days(year, month + 1, 1);
	/* A rate that holds from now on, not the price of an interval. */
	row.start_ns = row.known_ns = next_days * DAY_S * S_NS;
	return add(f->r, &row, f->err);
}

int replay_add_gpu(struct replay *r, const char *name, struct str text, struct err *err)
{
	struct reader f = { .r = r, .err = err };
	static const char *const columns[] = { "gpu", "restated_median_usd_per_gpu_h", NULL };
	return each_row(&f, name, text, "month", columns, gpu_row);
}

/* ---- files whose every column is a series ---- */

struct wide {
	enum history_kind kind;
	bool located; /* the column's name, less "_mw", is the location; otherwise it must be the only one */
};

static int wide_row(struct reader *f)
{
	const struct wide *w = f->wide;
	struct row row = { .symbol = history_kind_name(w->kind), .interval_s = 3600 };
	int rc = row_time(f, &row.start_ns);
	row.known_ns = rc == 0 ? history_known_ns(w->kind, row.start_ns, row.interval_s * S_NS) : 0;
	for (size_t i = 0; rc >= 0 && i < f->csv.n_columns; i++) {
		char location[REPLAY_LOCATION_MAX] = "";
		struct str column = f->csv.names[i];
		if (i == f->time_column)
			continue;
		if (column.n > 3 && !memcmp(column.p + column.n - 3, "_mw", 3))
			column.n -= 3;
		if (w->located && str_copy(location, sizeof(location), column) < 0)
			return err_set(f->err, HCP_ERANGE, "column", "a name of more than %d bytes", REPLAY_LOCATION_MAX - 1);
		row.location = location;
		rc = number(f, i, &row.value);
		if (rc > 0)
			rc = add(f->r, &row, f->err);
	}
	return rc;
}

static int add_wide(struct replay *r, const char *name, struct str text, const struct wide *w, struct err *err)
{
	struct reader f = { .r = r, .err = err, .wide = w };
	static const char *const columns[] = { NULL };
	return each_row(&f, name, text, "interval_start_utc", columns, wide_row);
}

int replay_add_ancillary(struct replay *r, const char *name, struct str text, struct err *err)
{
	static const struct wide w = { HISTORY_ANCILLARY, true };
	return add_wide(r, name, text, &w, err);
}

int replay_add_load_forecast(struct replay *r, const char *name, struct str text, struct err *err)
{
	static const struct wide w = { HISTORY_LOAD_FORECAST_MW, false };
	return add_wide(r, name, text, &w, err);
}

int replay_add_generation(struct replay *r, const char *name, struct str text, struct err *err)
{
	static const struct wide w = { HISTORY_GENERATION_MW, false };
	return add_wide(r, name, text, &w, err);
}

int replay_add_fuel_mix(struct replay *r, const char *name, struct str text, struct err *err)
{
	static const struct wide w = { HISTORY_FUEL_MW, true };
	return add_wide(r, name, text, &w, err);
}

/* ---- requests ---- */

enum { TRACE_FIRST_HOUR = 5 * 24, TRACE_HOURS = 14 * 24 };

struct trace {
	double device_s[TRACE_HOURS];
};

static int request_row(struct reader *f)
{
	double at_s, seconds;
	int rc = number(f, f->column[0], &at_s);
	if (rc > 0)
		rc = number(f, f->column[1], &seconds);
	if (rc <= 0)
		return rc;
	double hour = at_s / 3600 - TRACE_FIRST_HOUR;
	if (seconds >= 0 && hour >= 0 && hour < TRACE_HOURS)
		f->trace->device_s[(size_t)hour] += seconds;
	return 0;
}

int replay_add_requests(struct replay *r, const char *name, struct str text, int64_t from_ns, int64_t to_ns,
	struct err *err)
{
	struct trace trace = { 0 };
	struct reader f = { .r = r, .err = err, .trace = &trace };
	static const char *const columns[] = { "elapsed_s", "exec_time_s", NULL };
	int rc = each_row(&f, name, text, "elapsed_s", columns, request_row);
	double most = 0;
	for (size_t i = 0; i < TRACE_HOURS; i++)
		most = trace.device_s[i] > most ? trace.device_s[i] : most;
	int64_t hour_ns = 3600 * S_NS;
	for (int64_t t = from_ns / hour_ns * hour_ns, i = 0; rc == 0 && most > 0 && t < to_ns; t += hour_ns, i++) {
		const struct row row = { .symbol = "demand", .location = "", .value = trace.device_s[i % TRACE_HOURS] / most,
			.known_ns = t + hour_ns, .start_ns = t, .interval_s = 3600 };
		rc = add(r, &row, err);
	}
	return rc;
}

/* ---- order ---- */

static int compare(const void *pa, const void *pb)
{
	const struct replay_entry *a = pa, *b = pb;
	if (a->observed_at_ns != b->observed_at_ns)
		return a->observed_at_ns < b->observed_at_ns ? -1 : 1;
	if (a->series != b->series)
		return a->series < b->series ? -1 : 1;
	if (a->interval_start_ns != b->interval_start_ns)
		return a->interval_start_ns < b->interval_start_ns ? -1 : 1;
	return 0;
}

/* Is entry i still part of what is known at from_ns? Later ones of its series tell. */
static bool is_state(const struct replay *r, size_t i, const size_t last[REPLAY_SERIES_MAX])
{
	const struct replay_entry *e = &r->entries[i];
	if (sim_tick_is_ahead(r->series[e->series].symbol))
		return e->interval_start_ns + e->interval_s * S_NS > r->from_ns;
	return last[e->series] == i;
}

void replay_seal(struct replay *r)
{
	size_t last[REPLAY_SERIES_MAX] = { 0 }, kept = 0;
	must(!r->sealed);
	r->sealed = true;
	if (r->n)
		qsort(r->entries, r->n, sizeof(*r->entries), compare);
	for (size_t i = 0; i < r->n && r->entries[i].observed_at_ns <= r->from_ns; i++)
		last[r->entries[i].series] = i;
	for (size_t i = 0; i < r->n; i++) {
		if (r->entries[i].observed_at_ns <= r->from_ns && !is_state(r, i, last))
			continue;
		/* Files that overlap give a row twice. */
		if (kept && compare(&r->entries[kept - 1], &r->entries[i]) == 0)
			continue;
		r->entries[kept++] = r->entries[i];
	}
	r->n = kept;
}

bool replay_at(const struct replay *r, size_t i, struct sim_tick *ret)
{
	must(r->sealed);
	if (i >= r->n)
		return false;
	const struct replay_entry *e = &r->entries[i];
	const struct replay_series *s = &r->series[e->series];
	*ret = (struct sim_tick){ .symbol = s->symbol, .location = s->location, .source = source_name, .value = e->value,
		.observed_at_ns = e->observed_at_ns, .interval_start_ns = e->interval_start_ns, .interval_s = e->interval_s };
	return true;
}

bool replay_peek(const struct replay *r, struct sim_tick *ret)
{
	return replay_at(r, r->next, ret);
}

bool replay_next(struct replay *r, struct sim_tick *ret)
{
	if (!replay_peek(r, ret))
		return false;
	r->next++;
	return true;
}

void replay_rewind(struct replay *r)
{
	r->next = 0;
}
