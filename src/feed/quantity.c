#include "feed/quantity.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/money.h"

#define HOUR_NS (3600 * NS_PER_S)

int feed_quantity_new(const char *symbol, const char *location, struct feed_quantity **ret, struct err *err)
{
	struct feed_quantity *q = mem_calloc(1, sizeof(*q));
	if (!q)
		return err_set(err, HCP_ENOMEM, "", "no memory for a quantity");
	if (str_copy(q->symbol, sizeof(q->symbol), str_of(symbol)) < 0 ||
		str_copy(q->location, sizeof(q->location), str_of(location)) < 0) {
		mem_free(q);
		return err_set(err, HCP_ERANGE, "symbol", "symbol or location is too long");
	}
	q->speaking = -1;
	*ret = q;
	return 0;
}

void feed_quantity_free(struct feed_quantity *q)
{
	if (!q)
		return;
	for (size_t i = 0; i < q->n; i++)
		mem_free(q->member[i]);
	mem_free(q);
}

int feed_quantity_add(struct feed_quantity *q, const struct feed_source_conf *conf, struct err *err)
{
	if (q->n == FEED_MEMBERS_MAX)
		return err_set(
			err, HCP_ELIMIT, "sources", "more than %d sources of %s %s", FEED_MEMBERS_MAX, q->symbol, q->location);
	struct feed_member *m = mem_calloc(1, sizeof(*m));
	if (!m)
		return err_set(err, HCP_ENOMEM, "", "no memory for a source");
	m->conf = conf;
	size_t i = q->n++;
	for (; i > 0 && q->member[i - 1]->conf->priority > conf->priority; i--)
		q->member[i] = q->member[i - 1];
	q->member[i] = m;
	return 0;
}

struct feed_member *feed_quantity_member(const struct feed_quantity *q, const struct feed_source_conf *conf)
{
	for (size_t i = 0; i < q->n; i++)
		if (q->member[i]->conf == conf)
			return q->member[i];
	return NULL;
}

/* ---- taking in ---- */

static int check(struct feed_member *m, struct feed_reading *r, int64_t now_ns, struct err *err)
{
	const struct feed_source_conf *c = m->conf;
	r->value *= c->scale;
	if (!isfinite(r->value) || r->value < c->min || r->value > c->max)
		return err_set(err, HCP_ERANGE, "value", "must be from %g to %g, is %g", c->min, c->max, r->value);
	if (r->observed_at_ns <= 0 || r->observed_at_ns > now_ns + FEED_FUTURE_NS)
		return err_set(err, HCP_ERANGE, "time", "lies more than a minute in the future, or before 1970");
	if (r->observed_at_ns > now_ns)
		r->observed_at_ns = now_ns;
	/* Several readings of a round are intervals of one series: a jump between those is no sign of a fault. */
	if (m->known && now_ns - m->newest.observed_at_ns <= 10 * c->stale_ms * NS_PER_MS &&
		!market_gate(m->newest.value, r->value, c->max_jump, &m->suspect, &m->suspects))
		return err_set(err, HCP_EAGAIN, "value", "%g after %g is too far; held back until %d agree", r->value,
			m->newest.value, MARKET_OUTLIER_CONFIRM);
	return 0;
}

static bool is_later(const struct feed_reading *a, const struct feed_reading *b)
{
	return a->start_ns != b->start_ns ? a->start_ns > b->start_ns : a->observed_at_ns >= b->observed_at_ns;
}

static int by_time(const void *pa, const void *pb)
{
	const struct feed_reading *a = pa, *b = pb;
	if (a->start_ns != b->start_ns)
		return a->start_ns < b->start_ns ? -1 : 1;
	return (a->observed_at_ns > b->observed_at_ns) - (a->observed_at_ns < b->observed_at_ns);
}

int feed_quantity_offer(
	struct feed_member *m, const struct feed_reading *r, size_t n, int64_t now_ns, size_t *ret_n, struct err *err)
{
	int rc = 0;
	size_t good = 0;
	*ret_n = 0;
	for (size_t i = 0; i < n && i < FEED_READINGS_MAX; i++) {
		struct feed_reading one = r[i];
		struct err why = { 0 };
		int bad = check(m, &one, now_ns, &why);
		if (bad < 0) {
			m->rejected++;
			if (rc == 0 && err)
				*err = why;
			rc = rc ? rc : bad;
			continue;
		}
		if (good == 0)
			m->n_held = 0; /* a round in which nothing is good leaves what was there */
		m->held[good++] = one;
		m->suspects = 0;
		m->accepted++;
		if (!m->known || is_later(&one, &m->newest))
			m->newest = one;
		m->known = true;
	}
	if (good) {
		m->n_held = good;
		qsort(m->held, good, sizeof(m->held[0]), by_time);
	}
	*ret_n = good;
	return rc;
}

void feed_quantity_confirm(struct feed_member *m, int64_t now_ns)
{
	for (size_t i = 0; i < m->n_held; i++)
		if (!m->held[i].interval_s)
			m->held[i].observed_at_ns = now_ns;
	if (m->known && !m->newest.interval_s)
		m->newest.observed_at_ns = now_ns;
}

/* ---- who speaks ---- */

bool feed_member_is_fresh(const struct feed_member *m, int64_t now_ns)
{
	return m->known && now_ns - m->newest.observed_at_ns <= m->conf->stale_ms * NS_PER_MS;
}

bool feed_quantity_choose(struct feed_quantity *q, int64_t now_ns)
{
	int speaking = -1;
	for (size_t i = 0; i < q->n && speaking < 0; i++)
		if (feed_member_is_fresh(q->member[i], now_ns))
			speaking = (int)i;
	bool changed = speaking != q->speaking;
	q->speaking = speaking;
	return changed;
}

static bool is_day_ahead(const struct feed_quantity *q)
{
	return strcmp(q->symbol, "electricity_da") == 0 || strcmp(q->symbol, "ancillary") == 0;
}

static bool take_hour(struct feed_quantity *q, const struct feed_reading *r, int64_t now_ns)
{
	size_t slot = (size_t)(r->start_ns / HOUR_NS) % FEED_HOURS_MAX;
	if (r->start_ns + HOUR_NS <= now_ns || r->start_ns % HOUR_NS)
		return false;
	if (q->hour[slot].start_ns == r->start_ns && q->hour[slot].value == r->value)
		return false;
	q->hour[slot].start_ns = r->start_ns;
	q->hour[slot].value = r->value;
	return true;
}

static bool is_news(const struct feed_quantity *q, const struct feed_reading *r)
{
	if (r->interval_s == 0)
		return r->observed_at_ns > q->told_observed_ns;
	/* A corrected price of the last interval is news too. */
	return r->start_ns > q->told_start_ns ||
		   (r->start_ns == q->told_start_ns && r->value != q->told_value && r->observed_at_ns >= q->told_observed_ns);
}

size_t feed_quantity_take(struct feed_quantity *q, int64_t now_ns, struct feed_reading *ret, size_t cap)
{
	size_t n = 0;
	if (q->speaking < 0)
		return 0;
	const struct feed_member *m = q->member[q->speaking];
	/* Of what happened before we were here only the last matters, and of an instant only the newest ever does. */
	bool only_last = !is_day_ahead(q) && (!q->told_observed_ns || !m->newest.interval_s);
	size_t i = only_last && m->n_held ? m->n_held - 1 : 0;
	for (; i < m->n_held && n < cap; i++) {
		const struct feed_reading *r = &m->held[i];
		if (is_day_ahead(q) ? !take_hour(q, r, now_ns) : !is_news(q, r))
			continue;
		ret[n++] = *r;
		if (is_day_ahead(q))
			continue;
		q->told_observed_ns = r->observed_at_ns;
		q->told_start_ns = r->start_ns;
		q->told_value = r->value;
	}
	return n;
}
