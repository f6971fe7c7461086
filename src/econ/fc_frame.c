#include "econ/fc_priv.h"

#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "base/timefmt.h"

#define S_NS INT64_C(1000000000)
#define DAY_S 86400
#define HOUR_NS (3600 * S_NS)

const uint16_t fc_knot[FC_KNOTS] = { 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 144, 192, 288, 480, 672 };

/* Where asinh turns from a line into a logarithm; in units of the kind. */
static double scale_of(enum history_kind kind)
{
	switch (kind) {
	case HISTORY_POWER_RT:
	case HISTORY_POWER_DA: return 25;
	case HISTORY_ANCILLARY: return 5;
	case HISTORY_GPU_RATE:
	case HISTORY_FEES_BTC: return 0.01;
	default: return 1;
	}
}

/* ---- memory: one block of all columns ---- */

static int reserve(struct fc_frame *f, size_t n, struct err *err)
{
	const size_t doubles = 8, row = doubles * sizeof(double) + sizeof(uint32_t) + sizeof(float) + 2 + 1 + 1;
	if (n + 1 > f->cap) {
		size_t cap = n + 1;
		double *p = mem_alloc(cap * row);
		if (!p)
			return err_set(err, HCP_ENOMEM, "", "no memory for a window of %zu steps", n);
		mem_free(f->z);
		f->z = p;
		f->cap = cap;
	}
	size_t cap = f->cap;
	f->sum = f->z + cap;
	f->move = f->sum + cap;
	f->da = f->move + cap;
	f->load = f->da + cap;
	f->wind = f->load + cap;
	f->solar = f->wind + cap;
	f->gen = f->solar + cap;
	f->da_from = (uint32_t *)(f->gen + cap);
	f->year = (float *)(f->da_from + cap);
	f->tod = (uint16_t *)(f->year + cap);
	f->gap = (uint8_t *)(f->tod + cap);
	f->dow = f->gap + cap;
	return 0;
}

void fc_frame_release(struct fc_frame *f)
{
	mem_free(f->z);
	*f = (struct fc_frame){ 0 };
}

/* ---- filling ---- */

/* Value of the grid's interval: of the slot itself, the mean of finer slots, or the coarser slot that covers it. */
static double on_grid(const struct history_series *s, int64_t t_ns, int64_t step_ns)
{
	if (s->step_ns >= step_ns)
		return history_at(s, t_ns);
	double sum = 0;
	int n = 0;
	for (int64_t t = t_ns; t < t_ns + step_ns; t += s->step_ns) {
		double v = history_at(s, t);
		if (!isnan(v)) {
			sum += v;
			n++;
		}
	}
	return n ? sum / n : NAN;
}

static void fill_target(struct fc_frame *f, const struct history_series *s)
{
	double last = 0;
	f->sum[0] = f->move[0] = 0;
	for (size_t i = 0; i < f->known; i++) {
		int64_t t_ns = f->t0_ns + (int64_t)i * f->step_ns;
		/* A slot coarser than the grid is known when all of it is over. */
		bool over = s->step_ns <= f->step_ns || t_ns - (t_ns - s->first_ns) % s->step_ns + s->step_ns <=
			f->t0_ns + (int64_t)f->known * f->step_ns;
		double x = over ? on_grid(s, t_ns, f->step_ns) : NAN;
		f->gap[i] = isnan(x);
		f->z[i] = isnan(x) ? last : fc_z(f, x);
		f->sum[i + 1] = f->sum[i] + f->z[i];
		f->move[i + 1] = f->move[i] + (i ? fabs(f->z[i] - last) : 0);
		last = f->z[i];
	}
}

static void fill_calendar(struct fc_frame *f)
{
	int64_t offset_s = 0, hour = -1, day = INT64_MIN, step_s = f->step_ns / S_NS;
	double year = 0;
	for (size_t i = 0; i < f->n; i++) {
		int64_t t_ns = f->t0_ns + (int64_t)i * f->step_ns;
		if (t_ns / HOUR_NS != hour) {
			hour = t_ns / HOUR_NS;
			offset_s = timefmt_central_offset_s(t_ns);
		}
		int64_t local_s = t_ns / S_NS + offset_s;
		if (local_s / DAY_S != day) {
			int64_t y;
			int month, mday;
			day = local_s / DAY_S;
			timefmt_civil(day, &y, &month, &mday);
			year = (double)(day - timefmt_days(y, 1, 1)) / 366;
		}
		f->tod[i] = (uint16_t)(local_s % DAY_S / step_s % (int64_t)f->spd);
		f->dow[i] = (uint8_t)((day + 3) % 7); /* 1970-01-01 was a Thursday */
		f->year[i] = (float)year;
	}
}

/* Published ahead: the day-ahead price and the load forecast, with the first origin that may read them. */
static void fill_ahead(struct fc_frame *f, const struct history *h, const struct forecast_conf *conf)
{
	const struct history_series *da = NULL, *load = history_find(h, HISTORY_LOAD_FORECAST_MW, "");
	if (conf->kind == HISTORY_POWER_RT)
		da = history_find(h, HISTORY_POWER_DA, conf->location);
	uint32_t from = 0;
	uint8_t dow = UINT8_MAX;
	for (size_t i = 0; i < f->n; i++) {
		int64_t t_ns = f->t0_ns + (int64_t)i * f->step_ns;
		if (f->dow[i] != dow && (da || load)) {
			int64_t ahead_ns = history_known_ns(HISTORY_POWER_DA, t_ns, f->step_ns) - f->t0_ns;
			dow = f->dow[i];
			from = ahead_ns <= 0 ? 0 : (uint32_t)((ahead_ns + f->step_ns - 1) / f->step_ns);
		}
		f->da_from[i] = from;
		double x = da && from <= f->known ? on_grid(da, t_ns, f->step_ns) : NAN;
		f->da[i] = isnan(x) ? NAN : fc_z(f, x);
		f->load[i] = load && from <= f->known ? on_grid(load, t_ns, f->step_ns) / 1000 : NAN;
	}
}

/* The newest hour that was over before each slot; NAN when it is older than a day. */
static void fill_newest(struct fc_frame *f, const struct history_series *s, double *ret)
{
	for (size_t i = 0; i < f->known; i++) {
		int64_t end_ns = f->t0_ns + (int64_t)(i + 1) * f->step_ns;
		ret[i] = s ? history_last(s, end_ns - s->step_ns, DAY_S * S_NS, NULL) / 1000 : NAN;
	}
}

static int size_frame(struct fc_frame *f, const struct history_series *s, const struct forecast_conf *conf,
	int64_t now_ns, int64_t back_ns, size_t min_known, struct err *err)
{
	f->kind = conf->kind;
	f->scale = scale_of(conf->kind);
	f->step_ns = conf->step_ns;
	f->spd = (size_t)(DAY_S * S_NS / conf->step_ns);
	int64_t origin_ns = now_ns / f->step_ns * f->step_ns;
	int64_t first_ns = (s->first_ns + f->step_ns - 1) / f->step_ns * f->step_ns;
	f->t0_ns = origin_ns - back_ns / f->step_ns * f->step_ns;
	if (f->t0_ns < first_ns)
		f->t0_ns = first_ns;
	/* It begins with a value. */
	while (f->t0_ns < origin_ns && isnan(on_grid(s, f->t0_ns, f->step_ns)))
		f->t0_ns += f->step_ns;
	f->known = f->t0_ns < origin_ns ? (size_t)((origin_ns - f->t0_ns) / f->step_ns) : 0;
	if (f->known < min_known)
		return err_set(err, HCP_EAGAIN, "history", "%s of %s is known for %zu steps of %zu that are needed",
			history_kind_name(conf->kind), conf->location[0] ? conf->location : "the market", f->known, min_known);
	return 0;
}

int fc_frame_build(struct fc_frame *f, const struct history *h, const struct forecast_conf *conf, int64_t now_ns,
	int64_t back_ns, size_t min_known, size_t n_ahead, struct err *err)
{
	const struct history_series *s = history_find(h, conf->kind, conf->location);
	if (!s)
		return err_set(err, HCP_EAGAIN, "history", "nothing is known of %s of %s", history_kind_name(conf->kind),
			conf->location[0] ? conf->location : "the market");
	if (s->step_ns < conf->step_ns ? conf->step_ns % s->step_ns != 0 : s->step_ns % conf->step_ns != 0)
		return err_set(err, HCP_EINVAL, "step_ns", "neither divides nor is divided by the step of the series");
	int rc = size_frame(f, s, conf, now_ns, back_ns, min_known, err);
	if (rc < 0)
		return rc;
	f->n = f->known + n_ahead;
	rc = reserve(f, f->n, err);
	if (rc < 0)
		return rc;
	fill_target(f, s);
	fill_calendar(f);
	fill_ahead(f, h, conf);
	bool power = conf->kind == HISTORY_POWER_RT;
	fill_newest(f, power ? history_find(h, HISTORY_FUEL_MW, "wind") : NULL, f->wind);
	fill_newest(f, power ? history_find(h, HISTORY_FUEL_MW, "solar") : NULL, f->solar);
	fill_newest(f, power ? history_find(h, HISTORY_GENERATION_MW, "") : NULL, f->gen);
	return 0;
}

/* ---- reading ---- */

double fc_mean_lag(const struct fc_frame *f, size_t origin, size_t a, size_t b)
{
	size_t hi = origin > a ? origin - a : 0, lo = origin > b ? origin - b : 0;
	return hi > lo ? (f->sum[hi] - f->sum[lo]) / (double)(hi - lo) : f->z[0];
}

size_t fc_same(const struct fc_frame *f, size_t origin, size_t s, size_t period)
{
	size_t back = (s - origin) / period * period + period;
	must(s >= origin);
	return s >= back ? s - back : 0;
}

double fc_similar(const struct fc_frame *f, size_t origin, size_t s)
{
	size_t at = fc_same(f, origin, s, f->spd), n = 0;
	double sum = 0;
	for (; n < 7; n++) {
		sum += f->z[at];
		if (at < f->spd)
			return sum / (double)(n + 1);
		at -= f->spd;
	}
	return sum / (double)n;
}

double fc_knot_at(size_t h, size_t *ret)
{
	size_t i = 0;
	while (i + 2 < FC_KNOTS && fc_knot[i + 1] <= h)
		i++;
	*ret = i;
	double w = log((double)h / fc_knot[i]) / log((double)fc_knot[i + 1] / fc_knot[i]);
	return w < 0 ? 0 : w > 1 ? 1 : w;
}

struct fc_sample fc_sample_of(const struct fc_frame *f, size_t upto, size_t h, size_t rows)
{
	/* The first origin has a week behind it. */
	size_t first = 7 * f->spd + h - 1, stride = 1;
	if (first < upto) {
		stride = (upto - first + rows - 1) / rows;
		/* Every time of day has its share. */
		while (stride > 1 && f->spd > 1) {
			size_t a = stride, b = f->spd;
			while (b) {
				size_t r = a % b;
				a = b;
				b = r;
			}
			if (a == 1)
				break;
			stride++;
		}
	}
	return (struct fc_sample){ .first = first, .last = upto, .stride = stride };
}

/* A year ago counts half. */
double fc_recency(const struct fc_frame *f, size_t upto, size_t s)
{
	return exp2(-(double)(upto - s) / (365.0 * (double)f->spd));
}
