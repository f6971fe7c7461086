#ifndef HCP_WIRE_CSV_H
#define HCP_WIRE_CSV_H

#include "base/err.h"
#include "base/str.h"

/*
 * RFC 4180 CSV from bytes in memory (a mapped or read file). The first row names the columns. Lines end with LF or
 * CRLF; the last needs no end; empty lines are passed over. A byte-order mark before the header is dropped.
 *
 * Fields borrow from the text. A quoted field with doubled quotes is unescaped into a buffer of the reader; such a
 * field lives until the next csv_next. One reader, one thread.
 *
 *	csv_init(&c, text, ',', err);
 *	csv_column(&c, "price_usd_mwh", &price, err);
 *	while ((rc = csv_next(&c, err)) > 0)
 *		csv_double(&c, price, &v, err);
 *	csv_release(&c);
 */
#define CSV_COLUMNS_MAX 128
#define CSV_FIELD_MAX (1U << 20)

struct csv {
	const char *p, *end;              /* borrowed; the next row */
	size_t line;                      /* of the present row's first byte, from 1 */
	size_t next_line;
	size_t n_columns;
	char separator;
	struct buf plain;                 /* unescaped text of the present row */
	struct str names[CSV_COLUMNS_MAX];  /* owned by `header` where unescaped, else borrowed */
	struct buf header;
	struct str fields[CSV_COLUMNS_MAX]; /* the present row; n_columns of them */
};

/* Reads the header. HCP_EPARSE malformed, empty or with a name twice; HCP_ELIMIT too many columns or too long. */
int csv_init(struct csv *c, struct str text, char separator, struct err *err) MUST_CHECK;
/* Accepts a reader whose csv_init failed. */
void csv_release(struct csv *c);

/* Index of the column; HCP_ENOTFOUND naming those there are. */
int csv_column(const struct csv *c, const char *name, size_t *ret, struct err *err) MUST_CHECK;

/*
 * 1: the next row stands in fields; 0: no more. HCP_EPARSE with the line (and the column's name in err->field) for
 * a wrong number of fields or bad quoting. After a failure the reader is at its end.
 */
int csv_next(struct csv *c, struct err *err) MUST_CHECK;

/* Typed views of a field of the present row: err->field is the column, the text names the line. */
int csv_double(const struct csv *c, size_t column, double *ret, struct err *err) MUST_CHECK;
int csv_i64(const struct csv *c, size_t column, int64_t *ret, struct err *err) MUST_CHECK;

#endif
