/*
 * Binance klines (github.com/binance/binance-public-data): open time, open, high, low, close, volume, close time, …; no
 * header before 2025, stamps in ms and since 2025-01-01 in us. Klines shorter than an hour are put together; an hour of
 * which a part is missing is left out.
 *
 * Coin Metrics community data: time, DiffMean, IssTotNtv, FeeTotNtv, BlkCnt, PriceUSD. blockchain.com: Timestamp and
 * difficulty.
 */
#include <math.h>

#include "base/money.h"
#include "base/num.h"
#include "base/timefmt.h"
#include "wire/market_import_priv.h"

#define HOUR_NS (3600 * NS_PER_S)
#define DAY_NS (24 * HOUR_NS)

/* Columns while klines are read; seal makes hours of them. */
enum { K_OPEN, K_HIGH, K_LOW, K_CLOSE, K_VOLUME, K_END, FIELDS_LEAST = 7 };

static int bad_line(struct err *err, size_t line, const char *what)
{
	return err_set(err, HCP_EPARSE, "", "line %zu: %s", line, what);
}

/* A stamp of the years 1973 to 2255, in ms (12 to 13 digits) or in us (15 to 16). */
static int kline_time(struct str s, int64_t *ret_ns)
{
	const int64_t least_ms = INT64_C(100000000000), most_ms = INT64_C(9000000000000);
	int64_t v;
	if (num_parse_i64(str_trim(s), &v) < 0)
		return HCP_EPARSE;
	if (v >= least_ms && v <= most_ms)
		*ret_ns = v * NS_PER_MS;
	else if (v >= least_ms * 1000 && v <= most_ms * 1000)
		*ret_ns = v * 1000;
	else
		return HCP_EPARSE;
	return 0;
}

static int add_kline(struct market_import *m, struct str row, size_t line, struct err *err)
{
	struct str field[FIELDS_LEAST];
	int64_t open_ns, close_ns;
	double v[K_END];
	for (size_t i = 0; i < FIELDS_LEAST; i++) {
		if (!row.p)
			return bad_line(err, line, "fewer than 7 fields");
		field[i] = str_split(&row, ',');
	}
	if (kline_time(field[0], &open_ns) < 0 || kline_time(field[6], &close_ns) < 0)
		return bad_line(err, line, "the open or close time is not a stamp in ms or us");
	/* The close time is the last unit before the next kline. */
	int64_t length_ns = (close_ns - open_ns + NS_PER_MS) / NS_PER_S * NS_PER_S;
	if (open_ns % (60 * NS_PER_S) || length_ns <= 0 || HOUR_NS % length_ns || open_ns % length_ns)
		return bad_line(err, line, "is not a kline of an hour or an even part of one");
	for (size_t i = 0; i < K_END; i++)
		if (num_parse_double(str_trim(field[1 + i]), &v[i]) < 0 || v[i] < 0)
			return bad_line(err, line, "a price or volume is not a number");
	if (!(v[K_LOW] <= v[K_OPEN] && v[K_LOW] <= v[K_CLOSE] && v[K_HIGH] >= v[K_OPEN] && v[K_HIGH] >= v[K_CLOSE]))
		return bad_line(err, line, "open or close lies outside low and high");
	for (size_t i = 0; i < K_END; i++) {
		int rc = market_import_cell(m, open_ns, 2 * i, v[i], err);
		if (rc < 0)
			return rc;
	}
	/* The length goes along, to see whether an hour is whole. */
	return market_import_cell(m, open_ns, 2 * K_END, (double)length_ns, err);
}

int market_import_klines(struct market_import *m, const char *name, struct str text, struct err *err)
{
	size_t line = 0;
	if (text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0)
		text = (struct str){ text.p + 3, text.n - 3 };
	while (text.p) {
		struct str row = str_trim(str_split(&text, '\n'));
		line++;
		if (!row.n || (line == 1 && !(row.p[0] >= '0' && row.p[0] <= '9')))
			continue;
		m->rows++;
		int rc = add_kline(m, row, line, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

struct hour {
	int64_t start_ns, length_ns;
	double v[K_END];
	bool any;
};

static void hour_end(struct market_import *m, struct hour *h, size_t *kept)
{
	if (!h->any)
		return;
	if (h->length_ns != HOUR_NS) {
		m->incomplete++;
		return;
	}
	for (uint16_t i = 0; i < K_END; i++) {
		double v = i == K_VOLUME ? round(h->v[i] * 1e8) / 1e8 : h->v[i];
		m->cell[*kept] = (struct market_cell){ h->start_ns, v, (uint32_t)*kept, (uint16_t)(2 * i) };
		++*kept;
	}
}

static void hour_add(struct hour *h, const double part[K_END], int64_t length_ns)
{
	if (!h->any) {
		memcpy(h->v, part, sizeof(h->v));
	} else {
		h->v[K_HIGH] = fmax(h->v[K_HIGH], part[K_HIGH]);
		h->v[K_LOW] = fmin(h->v[K_LOW], part[K_LOW]);
		h->v[K_CLOSE] = part[K_CLOSE];
		h->v[K_VOLUME] += part[K_VOLUME];
	}
	h->any = true;
	h->length_ns += length_ns;
}

/* Sorted, a kline is six cells in a row (each perhaps repeated); hours take its place, never more cells than there
 * were. */
void market_import_klines_seal(struct market_import *m)
{
	struct hour h = { 0 };
	size_t kept = 0;
	market_import_sort(m);
	for (size_t i = 0; i < m->n;) {
		int64_t at = m->cell[i].start_ns;
		double part[K_END + 1] = { 0 };
		for (; i < m->n && m->cell[i].start_ns == at; i++) {
			double *p = &part[m->cell[i].column / 2];
			if (i > 0 && m->cell[i - 1].start_ns == at && m->cell[i - 1].column == m->cell[i].column &&
				m->cell[i].column == 0) {
				m->repeated += *p == m->cell[i].value;
				m->changed += *p != m->cell[i].value;
			}
			*p = m->cell[i].value;
		}
		int64_t start_ns = at / HOUR_NS * HOUR_NS;
		if (h.any && start_ns != h.start_ns) {
			hour_end(m, &h, &kept);
			h = (struct hour){ 0 };
		}
		h.start_ns = start_ns;
		hour_add(&h, part, (int64_t)part[K_END]);
	}
	hour_end(m, &h, &kept);
	m->n = kept;
}

/* ---- chain statistics ---- */

enum { N_DIFFICULTY, N_ISSUANCE, N_FEES, N_BLOCKS, N_PRICE, N_BTC_PH, N_USD_PH, N_END };

/* Subsidy by date (blocks 210,000, 420,000, 630,000, 840,000), for the number of blocks where it is not given. */
static double subsidy_btc(int64_t day_ns)
{
	static const char *const halvings[] = { "2012-11-28", "2016-07-09", "2020-05-11", "2024-04-20" };
	double btc = 50;
	for (size_t i = 0; i < sizeof(halvings) / sizeof(halvings[0]); i++) {
		int64_t at;
		if (timefmt_parse(str_of(halvings[i]), &at) == 0 && day_ns >= at)
			btc /= 2;
	}
	return btc;
}

static double rounded(double v, double unit)
{
	return round(v * unit) / unit;
}

/* BTC a day for one PH/s: what was paid, by the hashes that the day's blocks took (difficulty x 2^32 each). */
static void derive(double v[N_END], bool has[N_END], int64_t day_ns)
{
	if (!has[N_BLOCKS] && has[N_ISSUANCE]) {
		v[N_BLOCKS] = rounded(v[N_ISSUANCE] / subsidy_btc(day_ns), 1e3);
		has[N_BLOCKS] = true;
	}
	has[N_BTC_PH] =
		has[N_DIFFICULTY] && has[N_ISSUANCE] && has[N_FEES] && has[N_BLOCKS] && v[N_BLOCKS] > 0 && v[N_DIFFICULTY] > 0;
	has[N_USD_PH] = has[N_BTC_PH] && has[N_PRICE];
	if (!has[N_BTC_PH])
		return;
	double ph = v[N_DIFFICULTY] * 4294967296.0 * v[N_BLOCKS] / 86400 / 1e15;
	double btc = (v[N_ISSUANCE] + v[N_FEES]) / ph;
	v[N_BTC_PH] = rounded(btc, 1e8);
	v[N_USD_PH] = has[N_USD_PH] ? rounded(btc * v[N_PRICE], 1e2) : 0;
}

static int add_day(struct market_import *m, const struct csv *c, int time, const int at[N_END], struct err *err)
{
	double v[N_END] = { 0 };
	bool has[N_END] = { false };
	int64_t day_ns;
	if (timefmt_parse(str_trim(c->fields[time]), &day_ns) < 0 || day_ns < 0 || day_ns > INT64_MAX / 2)
		return bad_line(err, c->line, "the time is not a date");
	day_ns = day_ns / DAY_NS * DAY_NS;
	for (size_t i = 0; i < N_BTC_PH; i++) {
		struct str s = at[i] >= 0 ? str_trim(c->fields[at[i]]) : STR("");
		if (s.n && (num_parse_double(s, &v[i]) < 0 || v[i] < 0))
			return bad_line(err, c->line, "a value is not a number");
		has[i] = s.n > 0;
	}
	derive(v, has, day_ns);
	for (size_t i = 0; i < N_END; i++) {
		int rc = has[i] ? market_import_cell(m, day_ns, 2 * i, v[i], err) : 0;
		if (rc < 0)
			return rc;
	}
	return 0;
}

int market_import_network(struct market_import *m, const char *name, struct str text, struct err *err)
{
	static const char *const names[N_END] = { "DiffMean|difficulty", "IssTotNtv|issuance_btc", "FeeTotNtv|fees_btc",
		"BlkCnt|blocks_implied", "PriceUSD|ReferenceRateUSD|price_usd", "-", "-" };
	struct csv c;
	int at[N_END], rc = csv_init(&c, text, ',', err);
	int time = rc == 0 ? market_import_find(&c, "time|Timestamp|date|date_utc") : -1;
	for (size_t i = 0; rc == 0 && i < N_END; i++)
		at[i] = market_import_find(&c, names[i]);
	if (rc == 0 && (time < 0 || at[N_DIFFICULTY] < 0))
		rc = err_set(err, HCP_ENOTFOUND, "", "there are no columns time and DiffMean, nor Timestamp and difficulty");
	while (rc == 0 && (rc = csv_next(&c, err)) > 0) {
		m->rows++;
		rc = add_day(m, &c, time, at, err);
	}
	csv_release(&c);
	return rc;
}
