#include "econ/history.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/timefmt.h"

enum { FIRST_CAP = 128 };

static const char *const kind_name[HISTORY_KIND_END] = {
	"electricity_rt", "electricity_da", "btc_usd", "difficulty", "block_subsidy_btc", "block_fees_btc", "gpu_rate",
	"generation_mw", "load_forecast_mw", "fuel_mw", "ancillary", "demand",
};

void history_init(struct history *h)
{
	*h = (struct history){ 0 };
}

void history_release(struct history *h)
{
	for (size_t i = 0; i < h->n; i++) {
		mem_free(h->s[i]->slot);
		mem_free(h->s[i]);
	}
	history_init(h);
}

static struct history_series *find(const struct history *h, enum history_kind kind, const char *location)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->s[i]->kind == kind && strcmp(h->s[i]->location, location) == 0)
			return h->s[i];
	return NULL;
}

struct history_series *history_series_of(struct history *h, enum history_kind kind, const char *location)
{
	return find(h, kind, location);
}

const struct history_series *history_find(const struct history *h, enum history_kind kind, const char *location)
{
	return find(h, kind, location);
}

static int check(enum history_kind kind, const char *location, int64_t start_ns, int64_t step_ns, double value,
	struct err *err)
{
	if ((unsigned)kind >= HISTORY_KIND_END)
		return err_set(err, HCP_EINVAL, "kind", "there is no kind %d", (int)kind);
	if (strnlen(location, HISTORY_LOCATION_MAX) == HISTORY_LOCATION_MAX)
		return err_set(err, HCP_EINVAL, "location", "longer than %d bytes", HISTORY_LOCATION_MAX - 1);
	if (!isfinite(value))
		return err_set(err, HCP_EINVAL, "value", "not a finite number");
	if (step_ns <= 0)
		return err_set(err, HCP_EINVAL, "step", "an interval needs a length");
	if (start_ns < 0 || start_ns > INT64_MAX - step_ns)
		return err_set(err, HCP_ERANGE, "start", "lies before 1970 or its end is beyond the range of time");
	return 0;
}

/* Where in the series the interval lies. */
static int slot_of(const struct history_series *s, int64_t start_ns, int64_t step_ns, size_t *ret, struct err *err)
{
	if (step_ns != s->step_ns)
		return err_set(err, HCP_EINVAL, "step", "%s has another step", kind_name[s->kind]);
	if (start_ns < s->first_ns)
		return err_set(err, HCP_ERANGE, "start", "lies before the first interval of %s", kind_name[s->kind]);
	if ((start_ns - s->first_ns) % step_ns != 0)
		return err_set(err, HCP_EINVAL, "start", "not a whole number of steps after the first interval");
	int64_t at = (start_ns - s->first_ns) / step_ns;
	if (at >= (int64_t)s->n + HISTORY_GAP_MAX)
		return err_set(err, HCP_ELIMIT, "start", "more than %d intervals after the newest", HISTORY_GAP_MAX);
	*ret = (size_t)at;
	return 0;
}

static int reserve(struct history_series *s, size_t need)
{
	size_t cap = s->cap ? s->cap : FIRST_CAP;
	while (cap < need)
		cap *= 2;
	if (cap == s->cap)
		return 0;
	double *p = mem_realloc(s->slot, cap * sizeof(*p));
	if (!p)
		return HCP_ENOMEM;
	s->slot = p;
	s->cap = cap;
	return 0;
}

/* The older half goes. */
static void shorten(struct history_series *s)
{
	size_t gone = s->n / 2;
	memmove(s->slot, s->slot + gone, (s->n - gone) * sizeof(*s->slot));
	s->n -= gone;
	s->first_ns += (int64_t)gone * s->step_ns;
}

void history_forget(struct history_series *s, int64_t before_ns)
{
	size_t gone = 0;
	while (gone < s->n && (s->first_ns + (int64_t)gone * s->step_ns < before_ns || isnan(s->slot[gone])))
		gone++;
	memmove(s->slot, s->slot + gone, (s->n - gone) * sizeof(*s->slot));
	s->n -= gone;
	s->first_ns += (int64_t)gone * s->step_ns;
}

static struct history_series *series_new(
	enum history_kind kind, const char *location, int64_t start_ns, int64_t step_ns)
{
	struct history_series *s = mem_calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	*s = (struct history_series){ .kind = kind, .step_ns = step_ns, .first_ns = start_ns };
	memcpy(s->location, location, strlen(location) + 1);
	if (reserve(s, 1) < 0) {
		mem_free(s);
		return NULL;
	}
	return s;
}

int history_add(struct history *h, enum history_kind kind, const char *location, int64_t start_ns, int64_t step_ns,
	double value, struct err *err)
{
	int rc = check(kind, location, start_ns, step_ns, value, err);
	if (rc < 0)
		return rc;
	struct history_series *s = find(h, kind, location);
	if (!s) {
		if (h->n == HISTORY_SERIES_MAX)
			return err_set(err, HCP_ELIMIT, "location", "at most %d series", HISTORY_SERIES_MAX);
		s = series_new(kind, location, start_ns, step_ns);
		if (!s)
			return err_set(err, HCP_ENOMEM, "", "no memory for a series");
		h->s[h->n++] = s;
	}
	size_t at = 0;
	if (s->n == 0) {
		s->first_ns = start_ns;
		s->step_ns = step_ns;
	}
	rc = slot_of(s, start_ns, step_ns, &at, err);
	if (rc < 0)
		return rc;
	if (at < s->n && !isnan(s->slot[at]))
		return err_set(err, HCP_EEXIST, "start", "this interval of %s has a value", kind_name[kind]);
	if (at >= HISTORY_SLOTS_MAX) {
		size_t before = s->n;
		shorten(s);
		at -= before - s->n;
	}
	if (reserve(s, at + 1) < 0)
		return err_set(err, HCP_ENOMEM, "", "no memory for %zu intervals", at + 1);
	while (s->n <= at)
		s->slot[s->n++] = NAN;
	s->slot[at] = value;
	h->version++;
	return 0;
}

double history_at(const struct history_series *s, int64_t t_ns)
{
	if (!s || t_ns < s->first_ns || t_ns >= s->first_ns + (int64_t)s->n * s->step_ns)
		return NAN;
	return s->slot[(t_ns - s->first_ns) / s->step_ns];
}

double history_last(const struct history_series *s, int64_t t_ns, int64_t max_age_ns, int64_t *ret_start_ns)
{
	if (!s || s->n == 0 || t_ns < s->first_ns)
		return NAN;
	int64_t at = (t_ns - s->first_ns) / s->step_ns;
	if (at >= (int64_t)s->n)
		at = (int64_t)s->n - 1;
	for (; at >= 0; at--) {
		int64_t start_ns = s->first_ns + at * s->step_ns;
		if (t_ns - start_ns > max_age_ns)
			return NAN;
		if (!isnan(s->slot[at])) {
			if (ret_start_ns)
				*ret_start_ns = start_ns;
			return s->slot[at];
		}
	}
	return NAN;
}

int64_t history_end_ns(const struct history_series *s)
{
	return s && s->n ? s->first_ns + (int64_t)s->n * s->step_ns : 0;
}

/* This time of the Central day before the one that holds the interval. */
static int64_t day_before_ns(int64_t start_ns, int64_t time_s)
{
	const int64_t s_ns = INT64_C(1000000000), day_s = 86400;
	int64_t local_s = start_ns / s_ns + timefmt_central_offset_s(start_ns);
	int64_t publish_local_s = local_s / day_s * day_s - day_s + time_s;
	/* The offset of about that moment; the afternoon is far from any change. */
	return (publish_local_s - timefmt_central_offset_s((publish_local_s + 6 * 3600) * s_ns)) * s_ns;
}

int64_t history_known_ns(enum history_kind kind, int64_t start_ns, int64_t step_ns)
{
	switch (kind) {
	case HISTORY_POWER_DA:
	case HISTORY_ANCILLARY:
		return day_before_ns(start_ns, 13 * 3600 + 30 * 60);
	case HISTORY_LOAD_FORECAST_MW:
		return day_before_ns(start_ns, 18 * 3600);
	case HISTORY_GENERATION_MW:
	case HISTORY_FUEL_MW:
		return start_ns + step_ns + INT64_C(3600) * 1000000000;
	default:
		return start_ns + step_ns;
	}
}

const char *history_kind_name(enum history_kind k)
{
	return (unsigned)k < HISTORY_KIND_END ? kind_name[k] : "unknown";
}

struct history_window history_window(const double *newest, ptrdiff_t step, size_t n)
{
	struct history_window w = { -INFINITY, INFINITY, 0, 0 };
	double sum = 0, squares = 0, known = 0;
	for (size_t k = 0; k < n; k++) {
		double v = newest[(ptrdiff_t)k * step];
		if (isnan(v))
			continue;
		w.max = v > w.max ? v : w.max;
		w.min = v < w.min ? v : w.min;
		sum += v;
		squares += v * v;
		known++;
	}
	if (known == 0)
		return (struct history_window){ NAN, NAN, NAN, NAN };
	w.mean = sum / known;
	w.std = sqrt(fmax(0, squares / known - w.mean * w.mean));
	return w;
}
