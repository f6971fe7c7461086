/*
 * ERCOT's CSV files. Names of columns differ between the yearly files ("Delivery Date") and the single ones
 * ("DeliveryDate"), some end in blanks; hours are "01:00" or 1. All stamps are interval-ending Central Prevailing Time.
 */
#include <stdio.h>

#include "base/num.h"
#include "base/timefmt.h"
#include "wire/ercot_time.h"
#include "wire/market_import_priv.h"

#define DATE "Delivery Date|DeliveryDate"
#define HOUR "Delivery Hour|DeliveryHour|Hour Ending|HourEnding"
#define INTERVAL "Delivery Interval|DeliveryInterval"
#define FLAG "Repeated Hour Flag|DSTFlag"
#define POINT "Settlement Point Name|SettlementPointName|Settlement Point|SettlementPoint"
#define TYPE "Settlement Point Type|SettlementPointType"
#define PRICE "Settlement Point Price|SettlementPointPrice"

struct reader {
	struct market_import *m;
	struct csv csv;
	int date, hour, interval, flag;
	int per_hour;
	struct err *err;
};

static int required(const struct csv *c, const char *names, int *ret, struct err *err)
{
	*ret = market_import_find(c, names);
	struct str first = str_of(names);
	first = str_split(&first, '|');
	return *ret >= 0 ? 0 : err_set(err, HCP_ENOTFOUND, "", "there is no column \"%.*s\"", (int)first.n, first.p);
}

static int open_file(struct reader *r, struct market_import *m, struct str text, int per_hour, struct err *err)
{
	*r = (struct reader){ .m = m, .per_hour = per_hour, .err = err };
	int rc = csv_init(&r->csv, text, ',', err);
	if (rc == 0)
		rc = required(&r->csv, DATE, &r->date, err);
	if (rc == 0)
		rc = required(&r->csv, HOUR, &r->hour, err);
	if (rc == 0 && per_hour > 1)
		rc = required(&r->csv, INTERVAL, &r->interval, err);
	r->flag = rc == 0 ? market_import_find(&r->csv, FLAG) : -1;
	return rc;
}

static int on_line(struct reader *r, int rc)
{
	char text[200];
	if (rc < 0 && r->err) {
		snprintf(text, sizeof(text), "%.199s", r->err->text);
		snprintf(r->err->text, sizeof(r->err->text), "line %zu: %.199s", r->csv.line, text);
	}
	return rc;
}

static int row_start(struct reader *r, int64_t *ret_ns)
{
	struct ercot_stamp s = { .interval = 1, .per_hour = r->per_hour };
	int64_t interval = 1;
	int rc = ercot_parse_date(r->csv.fields[r->date], &s, r->err);
	if (rc == 0)
		rc = ercot_parse_hour(r->csv.fields[r->hour], &s, r->err);
	if (rc == 0 && r->flag >= 0)
		rc = ercot_parse_flag(r->csv.fields[r->flag], &s, r->err);
	if (rc == 0 && r->per_hour > 1 && num_parse_i64(str_trim(r->csv.fields[r->interval]), &interval) < 0)
		rc = err_set(r->err, HCP_EPARSE, "interval", "is not a number");
	if (rc == 0 && (interval < 1 || interval > r->per_hour))
		rc = err_set(r->err, HCP_ERANGE, "interval", "must be 1 to %d", r->per_hour);
	s.interval = (int)interval;
	return rc < 0 ? rc : ercot_interval_start(&s, ret_ns, r->err);
}

/* 1: *ret is the number; 0: the field is empty. */
static int number(struct reader *r, int column, double *ret)
{
	struct str s = str_trim(r->csv.fields[column]);
	if (s.n == 0)
		return 0;
	return num_parse_double(s, ret) == 0
			   ? 1
			   : err_set(r->err, HCP_EPARSE, "value", "'%.*s' is not a number", (int)(s.n < 40 ? s.n : 40), s.p);
}

/* ---- settlement point prices ---- */

static bool ends(struct str s, const char *tail)
{
	size_t n = strlen(tail);
	return s.n >= n && memcmp(s.p + s.n - n, tail, n) == 0;
}

/*
 * The column that a row of this point and type belongs to, doubled; -1: none. X_EW is the energy-weighted price of a
 * load zone (types LZEW, LZ_DCEW), which stands under the same name as the zone's; X_MID the mean of both.
 */
static int column_of(const struct market_import *m, struct str point, struct str type)
{
	bool weighted = ends(type, "EW"), named_so = ends(point, "_EW");
	for (size_t i = 0; i < m->n_columns; i++) {
		struct str name = str_of(m->column[i]);
		struct str base = ends(name, "_MID") ? (struct str){ name.p, name.n - 4 } : name;
		if (base.n != name.n && str_eq(base, point))
			return (int)(2 * i + (weighted ? 1 : 0));
		if (named_so || !weighted ? str_eq(name, point)
								  : ends(name, "_EW") && str_eq((struct str){ name.p, name.n - 3 }, point))
			return (int)(2 * i);
	}
	return -1;
}

static int add_prices(struct market_import *m, struct str text, int per_hour, struct err *err)
{
	struct reader r;
	int point = -1, price = -1, rc = open_file(&r, m, text, per_hour, err);
	if (rc == 0)
		rc = required(&r.csv, POINT, &point, err);
	if (rc == 0)
		rc = required(&r.csv, PRICE, &price, err);
	int type = rc == 0 ? market_import_find(&r.csv, TYPE) : -1;
	while (rc == 0 && (rc = csv_next(&r.csv, err)) > 0) {
		int64_t start_ns;
		double v;
		m->rows++;
		int column = column_of(m, str_trim(r.csv.fields[point]), type >= 0 ? str_trim(r.csv.fields[type]) : STR(""));
		rc = 0;
		if (column < 0) {
			m->skipped++;
			continue;
		}
		rc = row_start(&r, &start_ns);
		if (rc == 0)
			rc = number(&r, price, &v);
		if (rc > 0)
			rc = market_import_cell(m, start_ns, (size_t)column, v, err);
		rc = on_line(&r, rc);
	}
	csv_release(&r.csv);
	return rc;
}

int market_import_ercot_rt(struct market_import *m, const char *name, struct str text, struct err *err)
{
	return add_prices(m, text, 4, err);
}

int market_import_ercot_dam(struct market_import *m, const char *name, struct str text, struct err *err)
{
	return add_prices(m, text, 1, err);
}

/* ---- ancillary services ---- */

/* A column a service (yearly files); *ret_n of them are there. */
static int service_columns(const struct market_import *m, const struct csv *c, int at[MARKET_IMPORT_COLUMNS_MAX])
{
	int n = 0;
	for (size_t i = 0; i < m->n_columns; i++) {
		at[i] = market_import_find(c, m->column[i]);
		n += at[i] >= 0;
	}
	return n;
}

static int add_services(struct reader *r, const int at[MARKET_IMPORT_COLUMNS_MAX], int64_t start_ns)
{
	for (size_t i = 0; i < r->m->n_columns; i++) {
		double v;
		int rc = at[i] >= 0 ? number(r, at[i], &v) : 0;
		if (rc > 0)
			rc = market_import_cell(r->m, start_ns, 2 * i, v, r->err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int add_service(struct reader *r, int service, int price, int64_t start_ns)
{
	double v;
	for (size_t i = 0; i < r->m->n_columns; i++) {
		if (!str_eqz(str_trim(r->csv.fields[service]), r->m->column[i]))
			continue;
		int rc = number(r, price, &v);
		return rc > 0 ? market_import_cell(r->m, start_ns, 2 * i, v, r->err) : rc;
	}
	r->m->skipped++;
	return 0;
}

int market_import_ercot_as(struct market_import *m, const char *name, struct str text, struct err *err)
{
	struct reader r;
	int at[MARKET_IMPORT_COLUMNS_MAX], rc = open_file(&r, m, text, 1, err);
	int service = rc == 0 ? market_import_find(&r.csv, "AncillaryType|Ancillary Type") : -1;
	int price = rc == 0 ? market_import_find(&r.csv, "MCPC") : -1;
	bool by_row = service >= 0 && price >= 0;
	if (rc == 0 && !by_row && !service_columns(m, &r.csv, at))
		rc = err_set(err, HCP_ENOTFOUND, "", "there are neither AncillaryType and MCPC nor columns like REGUP");
	while (rc == 0 && (rc = csv_next(&r.csv, err)) > 0) {
		int64_t start_ns;
		m->rows++;
		rc = row_start(&r, &start_ns);
		if (rc == 0)
			rc = by_row ? add_service(&r, service, price, start_ns) : add_services(&r, at, start_ns);
		rc = on_line(&r, rc);
	}
	csv_release(&r.csv);
	return rc;
}

/* ---- load forecast ---- */

/*
 * A forecast covers a week and is published every hour; the day-ahead one of a day is what was published on the day
 * before. The names of ERCOT's files tell when: "cdr.00012312.0000000000000000.20240101.093000123.LFC….csv". A file
 * without such a name counts whole.
 */
static bool published_on(const char *name, struct ercot_stamp *ret)
{
	for (const char *p = name; (p = strchr(p, '.')) != NULL; p++) {
		char date[11];
		if (strspn(p + 1, "0123456789") != 8 || p[9] != '.' || memcmp(p + 1, "20", 2) != 0)
			continue;
		snprintf(date, sizeof(date), "%.4s-%.2s-%.2s", p + 1, p + 5, p + 7);
		return ercot_parse_date(str_of(date), ret, NULL) == 0;
	}
	return false;
}

static bool is_day_ahead(const struct reader *r, const struct ercot_stamp *published)
{
	struct ercot_stamp day;
	if (ercot_parse_date(r->csv.fields[r->date], &day, NULL) < 0)
		return true; /* told as an error when the row is read */
	return timefmt_days(day.year, day.month, day.day) ==
		   timefmt_days(published->year, published->month, published->day) + 1;
}

int market_import_ercot_load(struct market_import *m, const char *name, struct str text, struct err *err)
{
	struct reader r;
	struct ercot_stamp published;
	bool dated = published_on(name, &published);
	int total = -1, rc = open_file(&r, m, text, 1, err);
	if (rc == 0)
		rc = required(&r.csv, "SystemTotal|System Total|Total", &total, err);
	int in_use = rc == 0 ? market_import_find(&r.csv, "InUseFlag|In Use Flag") : -1;
	while (rc == 0 && (rc = csv_next(&r.csv, err)) > 0) {
		int64_t start_ns;
		double v;
		m->rows++;
		rc = 0;
		if ((in_use >= 0 && str_ieqz(str_trim(r.csv.fields[in_use]), "N")) ||
			(dated && !is_day_ahead(&r, &published))) {
			m->skipped++;
			continue;
		}
		rc = row_start(&r, &start_ns);
		if (rc == 0)
			rc = number(&r, total, &v);
		if (rc > 0)
			rc = market_import_cell(m, start_ns, 0, v, err);
		rc = on_line(&r, rc);
	}
	csv_release(&r.csv);
	return rc;
}
