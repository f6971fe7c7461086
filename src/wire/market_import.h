#ifndef HCP_WIRE_MARKET_IMPORT_H
#define HCP_WIRE_MARKET_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Files as ERCOT, exchanges and chain statistics publish them, turned into the tables that the platform replays and
 * backtests on: UTC, interval starts, one row a time. Pure: texts in, texts out.
 *
 *	kind                 takes (CSV)                                             gives
 *	ercot-rt             NP6-785 yearly, NP6-905 single files                    ercot_rt_spp_15min_YYYY.csv
 *	ercot-dam            NP4-180 yearly, NP4-190 single files                    ercot_dam_spp_hourly_YYYY.csv
 *	ercot-as             NP4-181 yearly (a column a service), NP4-188 (rows)     ercot_as_mcpc_hourly_YYYY.csv
 *	ercot-load-forecast  NP3-560, NP3-561, NP3-565 seven-day forecasts           ercot_da_load_forecast_hourly_YYYY.csv
 *	btc-ohlcv            Binance klines of an hour or less, ms and us stamps     btc_usdt_hourly.csv
 *	btc-network          Coin Metrics community CSV; blockchain.com difficulty   btc_network_daily.csv
 *
 * A year is one of Central time, as ERCOT's files are. Nothing is made up: what is absent stays absent. A value given
 * twice is counted; of two that differ the later one stays (ERCOT republishes corrected prices).
 *
 *	market_import_init, market_import_add … (any order), market_import_seal, market_import_next …, market_import_write
 */
enum {
	MARKET_IMPORT_COLUMNS_MAX = 32,
	MARKET_IMPORT_NAME_MAX = 40,
	MARKET_IMPORT_GAPS_MAX = 16, /* told one by one */
};
#define MARKET_IMPORT_CELLS_MAX (1U << 26)

struct market_import;

struct market_cell {
	int64_t start_ns;
	double value;
	uint32_t seq;    /* order of arrival */
	uint16_t column; /* two for each column of the table: its value, and the other half of a mean */
};

struct market_import_kind {
	const char *name, *file;           /* file: with %04d where there is one a year */
	const char *time_column, *columns; /* of the table, comma-separated */
	int64_t step_s;
	bool by_date; /* the first column is a date */
	bool points;  /* columns are settlement points and may be chosen */
	int (*add)(struct market_import *m, const char *name, struct str text, struct err *err);
	void (*seal)(struct market_import *m); /* before sorting; may be NULL */
};

struct market_import {
	const struct market_import_kind *kind;
	char column[MARKET_IMPORT_COLUMNS_MAX][MARKET_IMPORT_NAME_MAX];
	size_t n_columns;
	struct market_cell *cell; /* owned */
	size_t n, cap;
	uint64_t rows, skipped;     /* read; of no interest (other points, other models) */
	uint64_t repeated, changed; /* values given again: the same, another */
	uint64_t incomplete;        /* hours left out because parts of them are missing */
	bool sealed;
};

struct market_import_file {
	int64_t year; /* 0: the one file there is */
	int64_t first_ns, last_ns;
	uint64_t rows, missing, empty; /* rows written; steps between first and last without a row; empty fields */
	struct {
		int64_t from_ns, to_ns; /* first and last missing step */
	} gap[MARKET_IMPORT_GAPS_MAX];
	size_t n_gaps;   /* all of them; the first few are in gap */
	size_t from, to; /* cells */
};

const struct market_import_kind *market_import_kind_at(size_t i); /* NULL after the last */
const struct market_import_kind *market_import_kind_find(const char *name);
/* points: comma-separated settlement points instead of the usual ones; NULL: those. */
int market_import_init(
	struct market_import *m, const struct market_import_kind *kind, const char *points, struct err *err) MUST_CHECK;
void market_import_release(struct market_import *m);
/* One whole file. HCP_EPARSE, HCP_ERANGE, HCP_ENOTFOUND (a column) with the line; what came before it stays. */
int market_import_add(struct market_import *m, const char *name, struct str text, struct err *err) MUST_CHECK;
void market_import_seal(struct market_import *m);
/* The next file to write, from an f that is zero; false after the last. */
bool market_import_next(const struct market_import *m, struct market_import_file *f);
/* Its name and text. */
int market_import_write(const struct market_import *m, const struct market_import_file *f, struct buf *out) MUST_CHECK;
void market_import_name(const struct market_import *m, const struct market_import_file *f, char *dst, size_t cap);

/* For the readers of the kinds. */
int market_import_cell(
	struct market_import *m, int64_t start_ns, size_t column, double value, struct err *err) MUST_CHECK;
/* Column of that name (of one of the names, '|' between), blanks around the file's names passed over; -1. */
struct csv;
int market_import_find(const struct csv *c, const char *names);

#endif
