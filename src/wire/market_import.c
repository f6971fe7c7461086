#include "wire/market_import.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "base/timefmt.h"
#include "wire/market_import_priv.h"

#define HUBS "HB_NORTH,HB_HOUSTON,HB_SOUTH,HB_WEST,HB_HUBAVG"

static const struct market_import_kind kinds[] = {
	{ "ercot-rt", "ercot_rt_spp_15min_%04d.csv", "interval_start_utc", HUBS ",LZ_WEST_MID", 900, false, true,
		market_import_ercot_rt, NULL },
	{ "ercot-dam", "ercot_dam_spp_hourly_%04d.csv", "interval_start_utc", HUBS ",LZ_NORTH,LZ_HOUSTON,LZ_SOUTH,LZ_WEST",
		3600, false, true, market_import_ercot_dam, NULL },
	{ "ercot-as", "ercot_as_mcpc_hourly_%04d.csv", "interval_start_utc", "REGUP,REGDN,RRS,NSPIN,ECRS", 3600, false,
		false, market_import_ercot_as, NULL },
	{ "ercot-load-forecast", "ercot_da_load_forecast_hourly_%04d.csv", "interval_start_utc", "da_load_forecast_mw",
		3600, false, false, market_import_ercot_load, NULL },
	{ "btc-ohlcv", "btc_usdt_hourly.csv", "hour_start_utc", "open,high,low,close,volume_btc", 3600, false, false,
		market_import_klines, market_import_klines_seal },
	{ "btc-network", "btc_network_daily.csv", "date_utc",
		"difficulty,issuance_btc,fees_btc,blocks_implied,price_usd,hashprice_btc_per_ph_day_derived,"
		"hashprice_usd_per_ph_day_derived",
		86400, true, false, market_import_network, NULL },
};

const struct market_import_kind *market_import_kind_at(size_t i)
{
	return i < sizeof(kinds) / sizeof(kinds[0]) ? &kinds[i] : NULL;
}

const struct market_import_kind *market_import_kind_find(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	return NULL;
}

int market_import_init(
	struct market_import *m, const struct market_import_kind *kind, const char *points, struct err *err)
{
	*m = (struct market_import){ .kind = kind };
	if (points && !kind->points)
		return err_set(err, HCP_EINVAL, "points", "the columns of %s cannot be chosen", kind->name);
	struct str rest = str_of(points ? points : kind->columns);
	while (rest.p) {
		struct str one = str_trim(str_split(&rest, ','));
		if (m->n_columns == MARKET_IMPORT_COLUMNS_MAX)
			return err_set(err, HCP_ELIMIT, "points", "at most %d", MARKET_IMPORT_COLUMNS_MAX);
		if (!one.n || str_copy(m->column[m->n_columns], MARKET_IMPORT_NAME_MAX, one) < 0)
			return err_set(
				err, HCP_ERANGE, "points", "a name is empty or longer than %d bytes", MARKET_IMPORT_NAME_MAX - 1);
		for (size_t i = 0; points && m->column[m->n_columns][i]; i++)
			if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", m->column[m->n_columns][i]))
				return err_set(err, HCP_EINVAL, "points", "a settlement point is capitals, digits and '_'");
		m->n_columns++;
	}
	return 0;
}

void market_import_release(struct market_import *m)
{
	mem_free(m->cell);
	*m = (struct market_import){ 0 };
}

int market_import_cell(struct market_import *m, int64_t start_ns, size_t column, double value, struct err *err)
{
	must(!m->sealed && column < 2 * MARKET_IMPORT_COLUMNS_MAX);
	if (m->n == m->cap) {
		size_t cap = m->cap ? 2 * m->cap : 4096;
		struct market_cell *c = cap <= MARKET_IMPORT_CELLS_MAX ? mem_realloc(m->cell, cap * sizeof(*c)) : NULL;
		if (!c)
			return err_set(
				err, cap > MARKET_IMPORT_CELLS_MAX ? HCP_ELIMIT : HCP_ENOMEM, "", "no room for %zu values", cap);
		m->cell = c;
		m->cap = cap;
	}
	m->cell[m->n] = (struct market_cell){ start_ns, value, (uint32_t)m->n, (uint16_t)column };
	m->n++;
	return 0;
}

int market_import_find(const struct csv *c, const char *names)
{
	struct str rest = str_of(names);
	while (rest.p) {
		struct str name = str_split(&rest, '|');
		for (size_t i = 0; i < c->n_columns; i++)
			if (str_eq(str_trim(c->names[i]), name))
				return (int)i;
	}
	return -1;
}

int market_import_add(struct market_import *m, const char *name, struct str text, struct err *err)
{
	int rc = m->kind->add(m, name, text, err);
	if (rc < 0 && err)
		err_prefix(err, name);
	return rc;
}

/* ---- order ---- */

static int compare(const void *pa, const void *pb)
{
	const struct market_cell *a = pa, *b = pb;
	if (a->start_ns != b->start_ns)
		return a->start_ns < b->start_ns ? -1 : 1;
	if (a->column != b->column)
		return a->column < b->column ? -1 : 1;
	return (a->seq > b->seq) - (a->seq < b->seq);
}

void market_import_sort(struct market_import *m)
{
	if (m->n)
		qsort(m->cell, m->n, sizeof(*m->cell), compare);
}

void market_import_seal(struct market_import *m)
{
	size_t kept = 0;
	must(!m->sealed);
	if (m->kind->seal)
		m->kind->seal(m);
	market_import_sort(m);
	for (size_t i = 0; i < m->n; i++) {
		struct market_cell *last = kept ? &m->cell[kept - 1] : NULL;
		if (last && last->start_ns == m->cell[i].start_ns && last->column == m->cell[i].column) {
			if (last->value == m->cell[i].value)
				m->repeated++;
			else
				m->changed++;
			*last = m->cell[i];
			continue;
		}
		m->cell[kept++] = m->cell[i];
	}
	m->n = kept;
	m->sealed = true;
}

/* ---- files ---- */

static int64_t year_of(const struct market_import *m, int64_t ns)
{
	int64_t year, local_s = ns / NS_PER_S + timefmt_central_offset_s(ns);
	int month, day;
	if (!strchr(m->kind->file, '%'))
		return 0;
	timefmt_civil(local_s / 86400, &year, &month, &day);
	return year;
}

/* A mean of two halves needs both. */
static bool value_at(const struct market_import *m, size_t from, size_t to, size_t column, double *ret)
{
	double half[2];
	int seen = 0;
	size_t len = strlen(m->column[column]);
	bool is_mean = m->kind->points && len > 4 && strcmp(m->column[column] + len - 4, "_MID") == 0;
	for (size_t i = from; i < to; i++)
		if (m->cell[i].column / 2 == column)
			half[seen++ & 1] = m->cell[i].value;
	if (seen < (is_mean ? 2 : 1))
		return false;
	*ret = is_mean ? round((half[0] + half[1]) / 2 * 1e6) / 1e6 : half[0];
	return true;
}

static size_t row_end(const struct market_import *m, size_t from)
{
	size_t to = from;
	while (to < m->n && m->cell[to].start_ns == m->cell[from].start_ns)
		to++;
	return to;
}

static void count_row(const struct market_import *m, struct market_import_file *f, size_t from, size_t to)
{
	int64_t at = m->cell[from].start_ns, step = m->kind->step_s * NS_PER_S;
	double unused;
	int64_t lost = f->rows ? (at - f->last_ns) / step - 1 : 0;
	if (lost > 0) {
		f->missing += (uint64_t)lost;
		if (f->n_gaps < MARKET_IMPORT_GAPS_MAX) {
			f->gap[f->n_gaps].from_ns = f->last_ns + step;
			f->gap[f->n_gaps].to_ns = at - step;
		}
		f->n_gaps++;
	}
	for (size_t c = 0; c < m->n_columns; c++)
		f->empty += !value_at(m, from, to, c, &unused);
	f->first_ns = f->rows ? f->first_ns : at;
	f->last_ns = at;
	f->rows++;
}

bool market_import_next(const struct market_import *m, struct market_import_file *f)
{
	must(m->sealed);
	size_t from = f->to;
	if (from == m->n)
		return false;
	*f = (struct market_import_file){ .year = year_of(m, m->cell[from].start_ns), .from = from };
	while (from < m->n && year_of(m, m->cell[from].start_ns) == f->year) {
		size_t to = row_end(m, from);
		count_row(m, f, from, to);
		from = to;
	}
	f->to = from;
	return true;
}

void market_import_name(const struct market_import *m, const struct market_import_file *f, char *dst, size_t cap)
{
	const char *hole = strstr(m->kind->file, "%04d");
	if (hole)
		snprintf(dst, cap, "%.*s%04d%s", (int)(hole - m->kind->file), m->kind->file, (int)f->year, hole + 4);
	else
		snprintf(dst, cap, "%s", m->kind->file);
}

int market_import_write(const struct market_import *m, const struct market_import_file *f, struct buf *out)
{
	buf_addz(out, m->kind->time_column);
	for (size_t c = 0; c < m->n_columns; c++) {
		buf_addc(out, ',');
		buf_addz(out, m->column[c]);
	}
	buf_addc(out, '\n');
	for (size_t from = f->from; from < f->to;) {
		char stamp[TIMEFMT_MAX];
		size_t to = row_end(m, from);
		timefmt_format(stamp, m->cell[from].start_ns);
		buf_add(out, stamp, m->kind->by_date ? 10 : strlen(stamp));
		for (size_t c = 0; c < m->n_columns; c++) {
			double v;
			buf_addc(out, ',');
			if (value_at(m, from, to, c, &v))
				buf_add_double(out, v);
		}
		buf_addc(out, '\n');
		from = to;
	}
	return buf_failed(out) ? HCP_ENOMEM : 0;
}
