#include "feed/source.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int feed_answer_add(struct feed_answer *a, struct feed_reading r, struct err *err)
{
	if (a->n == FEED_READINGS_MAX)
		return err_set(err, HCP_ELIMIT, "answer", "more than %d values", FEED_READINGS_MAX);
	a->reading[a->n++] = r;
	return 0;
}

static int by_value(const void *pa, const void *pb)
{
	const struct feed_reading *a = pa, *b = pb;
	return (a->value > b->value) - (a->value < b->value);
}

static double mean(const struct feed_answer *a)
{
	double sum = 0;
	for (size_t i = 0; i < a->n; i++)
		sum += a->reading[i].value / (double)a->n;
	return sum;
}

void feed_answer_pick(struct feed_answer *a, enum feed_pick pick)
{
	if (a->n == 0)
		return;
	struct feed_reading out = a->reading[pick == FEED_PICK_LAST ? a->n - 1 : 0];
	if (pick == FEED_PICK_MEAN) {
		out.value = mean(a);
	} else if (pick != FEED_PICK_FIRST && pick != FEED_PICK_LAST) {
		for (size_t i = 0; i < a->n; i++)
			if (a->reading[i].observed_at_ns > out.observed_at_ns)
				out.observed_at_ns = a->reading[i].observed_at_ns;
		qsort(a->reading, a->n, sizeof(a->reading[0]), by_value);
		size_t half = a->n / 2;
		double low = a->reading[half ? half - 1 : 0].value, high = a->reading[half].value;
		out.value = pick == FEED_PICK_MIN   ? a->reading[0].value
					: pick == FEED_PICK_MAX ? a->reading[a->n - 1].value
					: a->n % 2              ? high
											: low / 2 + high / 2;
	}
	a->reading[0] = out;
	a->n = 1;
}

int feed_request_header(struct feed_request *r, const char *name, struct err *err, const char *fmt, ...)
{
	if (r->n_headers == FEED_HEADERS_MAX)
		return err_set(err, HCP_ERANGE, name, "more than %d headers", FEED_HEADERS_MAX);
	struct feed_header *h = &r->header[r->n_headers];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(h->value, sizeof(h->value), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(h->value) || str_copy(h->name, sizeof(h->name), str_of(name)) < 0)
		return err_set(err, HCP_ERANGE, name, "the header is too long");
	r->n_headers++;
	return 0;
}

const char *feed_creds_get(const struct feed_creds *c, const char *name)
{
	for (size_t i = 0; c && i < c->n; i++)
		if (strcmp(c->item[i].name, name) == 0)
			return c->item[i].value;
	return NULL;
}

static bool is_printable(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 127)
			return false;
	return true;
}

static int take_line(struct feed_creds *c, struct str line, size_t number, struct err *err)
{
	const char *eq = memchr(line.p, '=', line.n), *colon = memchr(line.p, ':', line.n);
	const char *sep = eq && (!colon || eq < colon) ? eq : colon;
	if (!sep)
		return err_set(err, HCP_EPARSE, "credentials", "line %zu is not like name = value", number);
	struct str name = str_trim((struct str){ line.p, (size_t)(sep - line.p) });
	struct str value = str_trim((struct str){ sep + 1, (size_t)(line.p + line.n - sep) - 1 });
	if (c->n == FEED_CREDS_MAX)
		return err_set(err, HCP_ELIMIT, "credentials", "more than %d names", FEED_CREDS_MAX);
	if (!name.n || str_copy(c->item[c->n].name, sizeof(c->item[0].name), name) < 0 || !is_printable(name))
		return err_set(err, HCP_EPARSE, "credentials", "line %zu: the name is missing or too long", number);
	if (!value.n || str_copy(c->item[c->n].value, FEED_CRED_MAX, value) < 0 || !is_printable(value))
		return err_set(err, HCP_EPARSE, "credentials", "line %zu: the value of %s is missing or too long", number,
			c->item[c->n].name);
	if (feed_creds_get(c, c->item[c->n].name))
		return err_set(err, HCP_EPARSE, "credentials", "line %zu: %s stands there twice", number, c->item[c->n].name);
	c->n++;
	return 0;
}

int feed_creds_parse(struct feed_creds *c, struct str text, struct err *err)
{
	*c = (struct feed_creds){ 0 };
	size_t number = 0;
	if (memchr(text.p ? text.p : "", 0, text.n))
		return err_set(err, HCP_EPARSE, "credentials", "is not a text file");
	while (text.p) {
		struct str line = str_trim(str_split(&text, '\n'));
		number++;
		if (!line.n || strchr("#;[", line.p[0]))
			continue;
		int rc = take_line(c, line, number, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}
