#include "wire/csv.h"

#include <stdio.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/num.h"

/* Copies a borrowed name into a terminated one for err_set. */
static const char *column_name(const struct csv *c, size_t i, char dst[64])
{
	if (i >= c->n_columns)
		return "";
	snprintf(dst, 64, "%.*s", (int)(c->names[i].n < 63 ? c->names[i].n : 63), c->names[i].p);
	return dst;
}

static int bad_row(struct csv *c, size_t column, struct err *err, const char *what)
{
	char name[64];
	c->p = c->end;
	return err_set(err, HCP_EPARSE, column_name(c, column, name), "CSV line %zu: %s", c->line, what);
}

/*
 * First separator, quote, CR or LF at or after p. Sixteen bytes at a time where the machine can: fields of market
 * data are short, so one load usually finds it.
 */
static const char *find_special(const char *p, const char *end, char separator)
{
#if defined(__SSE2__)
	const __m128i sep = _mm_set1_epi8(separator), quote = _mm_set1_epi8('"');
	const __m128i cr = _mm_set1_epi8('\r'), lf = _mm_set1_epi8('\n');
	for (; end - p >= 16; p += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, sep), _mm_cmpeq_epi8(v, quote)),
			_mm_or_si128(_mm_cmpeq_epi8(v, cr), _mm_cmpeq_epi8(v, lf)));
		unsigned mask = (unsigned)_mm_movemask_epi8(hit);
		if (mask)
			return p + __builtin_ctz(mask);
	}
#endif
	while (p < end && *p != separator && *p != '"' && *p != '\r' && *p != '\n')
		p++;
	return p;
}

/* c->p stands behind the opening quote; leaves it behind the closing one. */
static int quoted_field(struct csv *c, size_t column, struct str *ret, struct err *err)
{
	const char *from = c->p;
	size_t start = c->plain.n;
	bool doubled = false;
	for (;;) {
		const char *quote = memchr(c->p, '"', (size_t)(c->end - c->p));
		if (!quote)
			return bad_row(c, column, err, "a quoted field does not end");
		if (quote + 1 == c->end || quote[1] != '"') {
			*ret = (struct str){ from, (size_t)(quote - from) };
			if (doubled)
				buf_add(&c->plain, from, ret->n);
			c->p = quote + 1;
			break;
		}
		doubled = true;
		buf_add(&c->plain, from, (size_t)(quote + 1 - from));
		from = c->p = quote + 2;
	}
	if (doubled)
		*ret = (struct str){ NULL, c->plain.n - start };
	return 0;
}

static void count_lines(struct csv *c, struct str field)
{
	const char *p = field.p, *end = field.p + field.n;
	while (p && (p = memchr(p, '\n', (size_t)(end - p))) != NULL)
		c->next_line++, p++;
}

/*
 * One field; *ret_last tells that the row ends with it. Unescaped fields get p = NULL until the row is complete, as
 * the buffer may move; fix_fields then points them into it.
 */
static int one_field(struct csv *c, size_t column, struct str *ret, bool *ret_last, struct err *err)
{
	const char *from = c->p;
	if (c->p < c->end && *c->p == '"') {
		c->p++;
		int rc = quoted_field(c, column, ret, err);
		if (rc < 0)
			return rc;
		count_lines(c, (struct str){ from, (size_t)(c->p - from) });
		if (c->p < c->end && *c->p != c->separator && *c->p != '\r' && *c->p != '\n')
			return bad_row(c, column, err, "text follows a closing quote");
	} else {
		c->p = find_special(c->p, c->end, c->separator);
		*ret = (struct str){ from, (size_t)(c->p - from) };
		if (c->p < c->end && *c->p == '"')
			return bad_row(c, column, err, "a quote stands inside an unquoted field");
	}
	if ((size_t)(c->p - from) > CSV_FIELD_MAX) {
		c->p = c->end;
		return err_set(err, HCP_ELIMIT, "", "CSV line %zu: a field is longer than %u bytes", c->line, CSV_FIELD_MAX);
	}
	*ret_last = c->p == c->end || *c->p != c->separator;
	if (c->p == c->end)
		return 0;
	if (*c->p == '\r' && (c->p + 1 == c->end || c->p[1] != '\n'))
		return bad_row(c, column, err, "CR without LF");
	c->p += *c->p == '\r' ? 2 : 1;
	if (*ret_last)
		c->next_line++;
	return 0;
}

static void fix_fields(const struct buf *plain, struct str *fields, size_t n)
{
	size_t at = 0;
	for (size_t i = 0; i < n; i++)
		if (!fields[i].p) {
			fields[i].p = plain->data + at;
			at += fields[i].n;
		}
}

static void skip_empty_lines(struct csv *c)
{
	while (c->p < c->end && (*c->p == '\n' || (*c->p == '\r' && c->end - c->p > 1 && c->p[1] == '\n'))) {
		c->p += *c->p == '\r' ? 2 : 1;
		c->next_line++;
	}
}

/* Reads one row of at most `max` fields: their number, 0 at the end, or an error. */
static int read_row(struct csv *c, size_t max, struct str *fields, struct err *err)
{
	size_t n = 0;
	bool last = false;
	skip_empty_lines(c);
	c->line = c->next_line;
	if (c->p == c->end)
		return 0;
	buf_clear(&c->plain);
	while (!last) {
		if (n == max) {
			c->p = c->end;
			return err_set(err, max == CSV_COLUMNS_MAX ? HCP_ELIMIT : HCP_EPARSE, "",
				"CSV line %zu: more than %zu fields", c->line, max);
		}
		int rc = one_field(c, n, &fields[n], &last, err);
		if (rc < 0)
			return rc;
		n++;
	}
	if (buf_failed(&c->plain)) {
		c->p = c->end;
		return err_set(err, HCP_ENOMEM, "", "CSV line %zu: no memory", c->line);
	}
	fix_fields(&c->plain, fields, n);
	return (int)n;
}

int csv_init(struct csv *c, struct str text, char separator, struct err *err)
{
	const char *p = text.p ? text.p : "";
	*c = (struct csv){ .p = p, .end = p + text.n, .line = 1, .next_line = 1, .separator = separator };
	buf_init(&c->plain, 0);
	buf_init(&c->header, 0);
	if (str_starts(text, STR("\xef\xbb\xbf")))
		c->p += 3;
	int n = read_row(c, CSV_COLUMNS_MAX, c->names, err);
	if (n < 0)
		return n;
	if (n == 0)
		return err_set(err, HCP_EPARSE, "", "CSV line 1: no header");
	/* The names keep the buffer they were unescaped into; rows get one of their own. */
	struct buf names = c->header;
	c->header = c->plain;
	c->plain = names;
	for (int i = 0; i < n; i++)
		for (int k = 0; k < i; k++)
			if (str_eq(c->names[i], c->names[k])) {
				c->n_columns = (size_t)n;
				return bad_row(c, (size_t)i, err, "a column is named twice");
			}
	c->n_columns = (size_t)n;
	return 0;
}

void csv_release(struct csv *c)
{
	buf_release(&c->plain);
	buf_release(&c->header);
	c->p = c->end = "";
	c->n_columns = 0;
}

int csv_column(const struct csv *c, const char *name, size_t *ret, struct err *err)
{
	char known[180] = "";
	size_t n = 0;
	for (size_t i = 0; i < c->n_columns; i++)
		if (str_eqz(c->names[i], name)) {
			*ret = i;
			return 0;
		}
	for (size_t i = 0; i < c->n_columns && n < sizeof(known); i++) {
		char one[64];
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i ? ", " : "", column_name(c, i, one));
	}
	return err_set(err, HCP_ENOTFOUND, name, "CSV has no such column; it has %s%s", known,
		n >= sizeof(known) ? "..." : "");
}

int csv_next(struct csv *c, struct err *err)
{
	int n = read_row(c, c->n_columns, c->fields, err);
	if (n <= 0)
		return n;
	if ((size_t)n < c->n_columns) {
		c->p = c->end;
		return err_set(err, HCP_EPARSE, "", "CSV line %zu: %d fields, but %zu columns", c->line, n, c->n_columns);
	}
	return 1;
}

static int bad_number(const struct csv *c, size_t column, int rc, struct err *err)
{
	char name[64];
	struct str s = c->fields[column];
	return err_set(err, rc, column_name(c, column, name), "CSV line %zu: \"%.*s\" is %s", c->line,
		(int)(s.n < 40 ? s.n : 40), s.n ? s.p : "", rc == HCP_ERANGE ? "out of range" : "no number");
}

int csv_double(const struct csv *c, size_t column, double *ret, struct err *err)
{
	int rc = num_parse_double(c->fields[column], ret);
	return rc < 0 ? bad_number(c, column, rc, err) : 0;
}

int csv_i64(const struct csv *c, size_t column, int64_t *ret, struct err *err)
{
	int rc = num_parse_i64(c->fields[column], ret);
	return rc < 0 ? bad_number(c, column, rc, err) : 0;
}
