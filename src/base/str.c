#include "base/str.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/mem.h"
#include "base/utf8.h"

bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eqz(struct str a, const char *z)
{
	return str_eq(a, str_of(z));
}

bool str_ieqz(struct str a, const char *z)
{
	return a.n == strlen(z) && strncasecmp(a.p ? a.p : "", z, a.n) == 0;
}

bool str_starts(struct str a, struct str prefix)
{
	return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}

struct str str_split(struct str *rest, char sep)
{
	struct str part = *rest;
	const char *at = rest->n ? memchr(rest->p, sep, rest->n) : NULL;
	if (!at) {
		*rest = (struct str){ NULL, 0 };
		return part;
	}
	part.n = (size_t)(at - part.p);
	*rest = (struct str){ at + 1, rest->n - part.n - 1 };
	return part;
}

struct str str_trim(struct str a)
{
	while (a.n && isspace((unsigned char)a.p[0]))
		a.p++, a.n--;
	while (a.n && isspace((unsigned char)a.p[a.n - 1]))
		a.n--;
	return a;
}

int str_copy(char *dst, size_t cap, struct str s)
{
	if (s.n >= cap)
		return HCP_ERANGE;
	if (s.n)
		memcpy(dst, s.p, s.n);
	dst[s.n] = '\0';
	return 0;
}

void buf_init(struct buf *b, size_t limit)
{
	*b = (struct buf){ .limit = limit };
}

void buf_release(struct buf *b)
{
	mem_free(b->data);
	*b = (struct buf){ .limit = b->limit };
}

void buf_clear(struct buf *b)
{
	b->n = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

void buf_clear_keep(struct buf *b, size_t keep)
{
	if (b->cap > keep)
		buf_release(b);
	else
		buf_clear(b);
}

int buf_reserve(struct buf *b, size_t extra)
{
	if (b->failed)
		return HCP_ENOMEM;
	size_t need = b->n + extra + 1;
	if (need < b->n || (b->limit && need > b->limit + 1)) {
		b->failed = true;
		return HCP_ELIMIT;
	}
	if (need <= b->cap)
		return 0;
	size_t cap = b->cap ? b->cap : 128;
	while (cap < need)
		cap *= 2;
	char *data = mem_realloc(b->data, cap);
	if (!data) {
		b->failed = true;
		return HCP_ENOMEM;
	}
	b->data = data;
	b->cap = cap;
	return 0;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	if (buf_reserve(b, n) < 0)
		return;
	if (n)
		memcpy(b->data + b->n, p, n);
	b->n += n;
	b->data[b->n] = '\0';
}

void buf_addz(struct buf *b, const char *z)
{
	buf_add(b, z, strlen(z));
}

void buf_adds(struct buf *b, struct str s)
{
	buf_add(b, s.p, s.n);
}

void buf_addc(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->failed = true;
		return;
	}
	if (buf_reserve(b, (size_t)n) < 0)
		return;
	va_start(ap, fmt);
	vsnprintf(b->data + b->n, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->n += (size_t)n;
}

void buf_consume(struct buf *b, size_t n)
{
	if (n >= b->n) {
		buf_clear(b);
		return;
	}
	memmove(b->data, b->data + n, b->n - n);
	b->n -= n;
	b->data[b->n] = '\0';
}

static size_t add_json_char(struct buf *b, struct str s, size_t i)
{
	static const char esc[] = "\b\f\n\r\t\"\\", rep[] = "bfnrt\"\\";
	unsigned char c = (unsigned char)s.p[i];
	const char *e = c ? strchr(esc, c) : NULL;
	if (e) {
		char two[2] = { '\\', rep[e - esc] };
		buf_add(b, two, 2);
		return 1;
	}
	if (c < 0x20) {
		buf_printf(b, "\\u%04x", c);
		return 1;
	}
	size_t len = utf8_len(s.p + i, s.n - i);
	if (len == 0) {
		buf_addz(b, "\\ufffd");
		return 1;
	}
	buf_add(b, s.p + i, len);
	return len;
}

void buf_add_json(struct buf *b, struct str s)
{
	buf_addc(b, '"');
	size_t i = 0, plain = 0;
	while (i < s.n) {
		unsigned char c = (unsigned char)s.p[i];
		if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
			i++;
			continue;
		}
		buf_add(b, s.p + plain, i - plain);
		i += add_json_char(b, s, i);
		plain = i;
	}
	buf_add(b, s.p + plain, i - plain);
	buf_addc(b, '"');
}

size_t u64_digits(char *dst, uint64_t v)
{
	char t[20];
	size_t n = 0;
	do
		t[n++] = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	for (size_t i = 0; i < n; i++)
		dst[i] = t[n - 1 - i];
	return n;
}

void buf_add_u64(struct buf *b, uint64_t v)
{
	char text[20];
	buf_add(b, text, u64_digits(text, v));
}

void buf_add_i64(struct buf *b, int64_t v)
{
	char text[21] = "-";
	size_t sign = v < 0;
	buf_add(b, text, sign + u64_digits(text + sign, sign ? -(uint64_t)v : (uint64_t)v));
}

void buf_add_double(struct buf *b, double v)
{
	/* Whole numbers that %.15g would print with an exponent, and -0, go the long way. */
	if (fabs(v) < 1e15 && v == (double)(int64_t)v && (v != 0 || !signbit(v))) {
		buf_add_i64(b, (int64_t)v);
		return;
	}
	if (!isfinite(v)) {
		buf_addz(b, "null");
		return;
	}
	char text[32];
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	buf_addz(b, text);
}

char *buf_take(struct buf *b, size_t *ret_n)
{
	if (b->failed || buf_reserve(b, 0) < 0)
		return NULL;
	char *data = b->data;
	if (ret_n)
		*ret_n = b->n;
	*b = (struct buf){ .limit = b->limit };
	return data;
}
