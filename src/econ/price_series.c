#include "econ/price_series.h"

#include "base/mem.h"
#include "base/panic.h"

enum { FIRST_CAP = 128 };

void price_series_init(struct price_series *s, int64_t step_ns)
{
	must(step_ns > 0);
	*s = (struct price_series){ .step_ns = step_ns };
}

void price_series_release(struct price_series *s)
{
	mem_free(s->slot);
	price_series_init(s, s->step_ns);
}

static int reserve(struct price_series *s, size_t need)
{
	if (need <= s->cap)
		return 0;
	size_t cap = s->cap ? s->cap : FIRST_CAP;
	while (cap < need)
		cap *= 2;
	int64_t *p = mem_realloc(s->slot, cap * sizeof(*p));
	if (!p)
		return HCP_ENOMEM;
	s->slot = p;
	s->cap = cap;
	return 0;
}

int price_series_append(struct price_series *s, int64_t start_ns, int64_t price_micros_mwh, struct err *err)
{
	int64_t since_ns = 0;
	if (price_micros_mwh == PRICE_SERIES_GAP)
		return err_set(err, HCP_ERANGE, "price", "this value marks a gap");
	if (start_ns < 0 || start_ns > INT64_MAX - s->step_ns)
		return err_set(err, HCP_ERANGE, "start", "lies before 1970 or its end is beyond the range of time");
	if (s->n > 0) {
		if (start_ns < price_series_end_ns(s))
			return err_set(err, HCP_EEXIST, "start", "the series already reaches beyond this interval");
		if (__builtin_sub_overflow(start_ns, s->first_ns, &since_ns) ||
			since_ns / s->step_ns >= PRICE_SERIES_SLOTS_MAX)
			return err_set(err, HCP_ELIMIT, "start", "a series holds at most %d intervals",
				PRICE_SERIES_SLOTS_MAX);
		if (since_ns % s->step_ns != 0)
			return err_set(err, HCP_EINVAL, "start", "not a whole number of steps after the first interval");
	}
	size_t at = (size_t)(since_ns / s->step_ns);
	if (reserve(s, at + 1) < 0)
		return err_set(err, HCP_ENOMEM, "", "no memory for %zu intervals", at + 1);
	if (s->n == 0)
		s->first_ns = start_ns;
	for (; s->n < at; s->n++) {
		s->slot[s->n] = PRICE_SERIES_GAP;
		s->gaps++;
	}
	s->slot[s->n++] = price_micros_mwh;
	return 0;
}

int64_t price_series_end_ns(const struct price_series *s)
{
	return s->n ? s->first_ns + (int64_t)s->n * s->step_ns : 0;
}

static struct price_point point(const struct price_series *s, size_t i)
{
	int64_t start_ns = s->first_ns + (int64_t)i * s->step_ns;
	return (struct price_point){ .start_ns = start_ns, .end_ns = start_ns + s->step_ns,
		.price_micros_mwh = s->slot[i] };
}

int price_series_at(const struct price_series *s, int64_t t_ns, struct price_point *ret)
{
	if (s->n == 0 || t_ns < s->first_ns || t_ns >= price_series_end_ns(s))
		return HCP_ENOTFOUND;
	size_t i = (size_t)((t_ns - s->first_ns) / s->step_ns);
	if (s->slot[i] == PRICE_SERIES_GAP)
		return HCP_ENOTFOUND;
	*ret = point(s, i);
	return 0;
}

void price_cursor_init(struct price_cursor *c, const struct price_series *s, int64_t publish_delay_ns)
{
	must(publish_delay_ns >= 0);
	*c = (struct price_cursor){ .s = s, .publish_delay_ns = publish_delay_ns, .now_ns = INT64_MIN };
}

int price_cursor_known_at(struct price_cursor *c, int64_t now_ns, struct price_point *ret)
{
	const struct price_series *s = c->s;
	if (now_ns < c->now_ns)
		return HCP_ERANGE;
	c->now_ns = now_ns;
	int64_t ended_ns;
	if (s->n == 0 || __builtin_sub_overflow(now_ns, c->publish_delay_ns, &ended_ns) ||
		ended_ns < s->first_ns + s->step_ns)
		return HCP_ENOTFOUND;
	size_t ended = (size_t)((ended_ns - s->first_ns) / s->step_ns); /* intervals whose end is known */
	if (ended > s->n)
		ended = s->n;
	while (ended > 0) {
		ended--;
		if (s->slot[ended] != PRICE_SERIES_GAP) {
			*ret = point(s, ended);
			return 0;
		}
	}
	return HCP_ENOTFOUND;
}
