#include "econ/policy_spike.h"

#include <assert.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "base/panic.h"
#include "base/timefmt.h"
#include "econ/fc_priv.h"

#define S_NS INT64_C(1000000000)
#define STEP_NS (SPIKE_STEP_S * S_NS)
#define DAY_S 86400

/* Prices of a stretch of quarter-hours, borrowed or owned; NAN where none is known. */
struct view {
	const double *price;
	int64_t t0_ns; /* start of slot 0 */
	size_t n;
};

/* ---- features ---- */

static double at(const struct view *v, size_t i, size_t back)
{
	return i >= back ? v->price[i - back] : NAN;
}

/* Over n slots, the newest of them `back` before i. */
static struct history_window look(const struct view *v, size_t i, size_t back, size_t n)
{
	size_t there = i >= back ? i - back + 1 : 0;
	return history_window(there ? &v->price[i - back] : v->price, -1, n < there ? n : there);
}

/* Central time of day in quarter-hours, weekday, day of the year, and hours since sunset and sunrise in West Texas. */
static void calendar(int64_t t_ns, float ret[6])
{
	int64_t utc_s = t_ns / S_NS, local_s = utc_s + timefmt_central_offset_s(t_ns), day = local_s / DAY_S, year;
	int month, mday;
	timefmt_civil(day, &year, &month, &mday);
	double doy = (double)(day - timefmt_days(year, 1, 1)) + 1, rad = acos(-1) / 180;
	/* Declination (Cooper 1969) and half the day's length at 32 N; the sun stands in the south at 18:45 UTC at 101 W.
	 */
	double tilt = -23.44 * rad * cos(2 * acos(-1) * (doy + 10) / 365.25);
	double half_h = acos(-tan(32 * rad) * tan(tilt)) / rad / 15, hour = (double)(utc_s % DAY_S) / 3600;
	double since_set = hour - (18.75 + half_h) + 36, since_rise = hour - (18.75 - half_h) + 36;
	ret[0] = (float)(local_s % DAY_S / SPIKE_STEP_S);
	ret[1] = (float)(local_s % 3600 / SPIKE_STEP_S);
	ret[2] = (float)((day + 3) % 7);
	ret[3] = (float)doy;
	ret[4] = (float)(since_set - 24 * floor(since_set / 24) - 12);
	ret[5] = (float)(since_rise - 24 * floor(since_rise / 24) - 12);
}

/* What the last seven days were at this time of day: the slot itself, and the hours before and from it on. */
struct week {
	double mean, max, ahead, before;
};

static struct week look_week(const struct view *v, size_t i)
{
	struct week w = { 0, -INFINITY, 0, 0 };
	double slots = 0, hours = 0;
	for (size_t d = SPIKE_DAY; d <= 7 * SPIKE_DAY; d += SPIKE_DAY) {
		double p = at(v, i, d), ahead = look(v, i, d - 3, 4).mean, before = look(v, i, d + 1, 4).mean;
		if (!isnan(p)) {
			w.mean += p;
			w.max = p > w.max ? p : w.max;
			slots++;
		}
		if (!isnan(ahead) && !isnan(before)) {
			w.ahead += fmin(ahead, 1000);
			w.before += fmin(before, 1000);
			hours++;
		}
	}
	if (slots == 0 || hours == 0)
		return (struct week){ NAN, NAN, NAN, NAN };
	return (struct week){ w.mean / slots, w.max, w.ahead / hours, w.before / hours };
}

/* What rows are chosen by and what stands against the threshold. */
struct key {
	double last, max4, max16, mean4, day_max, ahead;
};

static void features(const struct view *v, size_t i, float ret[SPIKE_PLAIN_N], struct key *key)
{
	double p1 = at(v, i, 1), p2 = at(v, i, 2), p3 = at(v, i, 3);
	struct history_window hour = look(v, i, 1, 4), two = look(v, i, 1, 8), four = look(v, i, 1, 16),
						  day = look(v, i, 1, 96);
	struct week week = look_week(v, i);
	size_t n = 0;
	double y_max[3];
	static const size_t days[] = { SPIKE_DAY, 2 * SPIKE_DAY, 7 * SPIKE_DAY };
	const double plain[] = { p1, p2, p3, at(v, i, 4), at(v, i, 5), at(v, i, 6), at(v, i, 8), p1 - p2, p2 - p3,
		p1 - 2 * p2 + p3, p1 / fmax(p2, 5), hour.max, two.max, four.max, day.max, hour.mean, two.mean, four.mean,
		day.mean, look(v, i, 1, 7 * SPIKE_DAY).mean, hour.std, four.std, day.std, hour.min, four.min };
	for (; n < sizeof(plain) / sizeof(plain[0]); n++)
		ret[n] = (float)plain[n];
	for (size_t k = 0; k < 3; k++) {
		y_max[k] = look(v, i, days[k] - 4, 9).max;
		ret[n++] = (float)at(v, i, days[k]);
		ret[n++] = (float)y_max[k];
		ret[n++] = (float)at(v, i, days[k] - 1);
	}
	const double of_week[] = { week.mean, week.max, week.ahead, week.before, week.ahead - week.before };
	for (size_t k = 0; k < sizeof(of_week) / sizeof(of_week[0]); k++)
		ret[n++] = (float)of_week[k];
	calendar(v->t0_ns + (int64_t)i * STEP_NS, ret + n);
	must(n + 6 == SPIKE_PLAIN_N);
	*key = (struct key){ p1, hour.max, four.max, hour.mean, y_max[0], week.ahead };
}

/* The last five features; trees may only fall with the first and rise with the others. */
static void against(const struct key *k, double threshold, float ret[SPIKE_N - SPIKE_PLAIN_N])
{
	ret[0] = (float)threshold;
	ret[1] = (float)(k->last / threshold);
	ret[2] = (float)(k->max4 / threshold);
	ret[3] = (float)(k->ahead / threshold);
	ret[4] = (float)(k->mean4 / threshold);
}

/* Far below the threshold for hours, and yesterday too, spikes come as good as unannounced. */
static bool at_risk(const struct key *k, double threshold)
{
	return k->last > 0.3 * threshold || k->max16 > 0.7 * threshold || k->day_max > 0.7 * threshold;
}

/* ---- training ---- */

enum { DRAWS = 4 /* thresholds a row */, SEED = 1, THREADS = 2 };
#define CUT_USD_MWH 1000.0
#define CUT_TIMES 8.0

/* Logistic loss: of odds that are even where both mistakes cost the same. */
static void odds_gradient(const struct fc_matrix *m, const float *now, float *grad, float *hess)
{
	for (size_t i = 0; i < m->n; i++) {
		double p = 1 / (1 + exp(-(double)now[i])), w = (double)m->weight[i];
		grad[i] = (float)(w * (p - (double)m->y[i]));
		hess[i] = (float)fmax(1e-12, w * p * (1 - p));
	}
}

struct rows {
	struct fc_matrix m;
	size_t cap;
	double weight;
};

static int reserve(struct rows *r, size_t cap)
{
	r->m.x = mem_alloc(cap * (SPIKE_N + 2) * sizeof(float));
	if (!r->m.x)
		return HCP_ENOMEM;
	r->m.y = r->m.x + cap * SPIKE_N;
	r->m.weight = r->m.y + cap;
	r->cap = cap;
	return 0;
}

static void add_row(struct rows *r, const float plain[SPIKE_PLAIN_N], const struct key *k, double c, double price)
{
	float *x = r->m.x + r->m.n * SPIKE_N;
	double wrong = fmin(fabs(price - c), fmin(CUT_USD_MWH, CUT_TIMES * c)) / c;
	must(r->m.n < r->cap);
	memcpy(x, plain, SPIKE_PLAIN_N * sizeof(*x));
	against(k, c, x + SPIKE_PLAIN_N);
	r->m.y[r->m.n] = price > c;
	r->m.weight[r->m.n] = (float)wrong;
	r->weight += wrong;
	r->m.n++;
}

static void draw_rows(struct rows *r, const struct view *v, uint64_t seed)
{
	struct rng rng;
	rng_init(&rng, seed);
	r->m.n = 0;
	r->weight = 0;
	for (size_t i = 7 * SPIKE_DAY + 4; i < v->n; i++) {
		float plain[SPIKE_PLAIN_N];
		struct key k;
		if (isnan(v->price[i]) || isnan(v->price[i - 1]))
			continue;
		features(v, i, plain, &k);
		for (int d = 0; d < DRAWS; d++) {
			double c = SPIKE_LEAST * exp(rng_double(&rng) * log(SPIKE_MOST / SPIKE_LEAST));
			if (at_risk(&k, c))
				add_row(r, plain, &k, c, v->price[i]);
		}
	}
	for (size_t i = 0; i < r->m.n && r->weight > 0; i++)
		r->m.weight[i] *= (float)((double)r->m.n / r->weight);
}

static int grow(struct spike_model *m, const struct view *v, const struct forecast_stop *stop, struct err *err)
{
	static const int8_t direction[SPIKE_N] = { [SPIKE_PLAIN_N] = -1, 1, 1, 1, 1 };
	struct rows r = { 0 };
	struct fc_growth g = { .n_features = SPIKE_N,
		.n_outputs = 1,
		.depth = 6,
		.step = 0.08,
		.lambda = 5,
		.min_child = 20,
		.row_share = 0.7,
		.feature_share = 0.5,
		.rounds = 80,
		.threads = THREADS,
		.direction = direction,
		.gradient = odds_gradient,
		.stop = stop };
	int rc = reserve(&r, v->n * DRAWS) < 0 ? err_set(err, HCP_ENOMEM, "", "no memory for %zu rows", v->n) : 0;
	for (size_t k = 0; rc == 0 && k < SPIKE_FORESTS; k++) {
		g.seed = SEED + k;
		draw_rows(&r, v, g.seed);
		rc = r.m.n ? fc_forest_train(&m->forest[k], &r.m, &g, err)
				   : err_set(err, HCP_EAGAIN, "history", "no price of %s was high enough to learn from", m->point);
	}
	mem_free(r.m.x);
	return rc;
}

static int reserve_forests(struct spike_model *m, struct err *err)
{
	m->forest = mem_calloc(SPIKE_FORESTS, sizeof(*m->forest));
	return m->forest ? 0 : err_set(err, HCP_ENOMEM, "", "no memory for a model");
}

/* Slots of the series that began before now and are over, none before `back` of them. */
static struct view view_of(const struct history_series *s, int64_t now_ns, size_t back)
{
	if (!s || s->step_ns != STEP_NS || now_ns <= s->first_ns)
		return (struct view){ 0 };
	size_t n = (size_t)((now_ns - s->first_ns) / STEP_NS);
	n = n < s->n ? n : s->n;
	size_t first = n > back ? n - back : 0;
	return (struct view){ s->slot + first, s->first_ns + (int64_t)first * STEP_NS, n - first };
}

int spike_train(struct spike_model *ret, const struct history *h, const char *point, int64_t now_ns,
	const struct forecast_stop *stop, struct err *err)
{
	struct view v = view_of(history_find(h, HISTORY_POWER_RT, point), now_ns, SIZE_MAX);
	struct spike_model m = { 0 };
	if (v.n < SPIKE_YEAR)
		return err_set(err, HCP_EAGAIN, "history", "%zu quarter-hours of %s are known of %d that a training needs", v.n,
			point, SPIKE_YEAR);
	int rc = str_copy(m.point, sizeof(m.point), str_of(point));
	must(rc == 0);
	m.from_ns = v.t0_ns;
	m.to_ns = v.t0_ns + (int64_t)v.n * STEP_NS;
	rc = reserve_forests(&m, err);
	if (rc == 0)
		rc = grow(&m, &v, stop, err);
	if (rc < 0) {
		spike_release(&m);
		return rc;
	}
	spike_release(ret);
	*ret = m;
	return 0;
}

void spike_release(struct spike_model *m)
{
	for (size_t k = 0; m->forest && k < SPIKE_FORESTS; k++)
		fc_forest_release(&m->forest[k]);
	mem_free(m->forest);
	*m = (struct spike_model){ 0 };
}

/* ---- prediction ---- */

/* Above 0: running through costs more than standing still. */
static double odds(const struct spike_model *m, float x[SPIKE_N], const struct key *k, double threshold)
{
	double sum = 0;
	against(k, threshold, x + SPIKE_PLAIN_N);
	for (size_t f = 0; f < SPIKE_FORESTS; f++)
		fc_forest_add(&m->forest[f], x, 1, &sum);
	return sum;
}

int spike_expect(
	const struct spike_model *m, const struct history *h, int64_t now_ns, double least, double *ret, struct err *err)
{
	enum { HALVINGS = 12 }; /* a range of 1:12.5 to 0.06 % */
	struct view v = view_of(history_find(h, HISTORY_POWER_RT, m->point), now_ns, SPIKE_BACK);
	double lo = SPIKE_LEAST, hi = SPIKE_MOST, slots[SPIKE_BACK + 1];
	float x[SPIKE_N];
	struct key k;
	if (v.n == 0 || v.t0_ns + (int64_t)v.n * STEP_NS != now_ns || isnan(v.price[v.n - 1]))
		return err_set(err, HCP_EAGAIN, "history", "the last price of %s is not known", m->point);
	/* The slot that begins now stands behind the known ones and is read by nothing. */
	memcpy(slots, v.price, v.n * sizeof(*slots));
	slots[v.n] = NAN;
	v.price = slots;
	features(&v, v.n, x, &k);
	*ret = k.last;
	if (!at_risk(&k, fmax(least, lo)))
		return 0;
	if (odds(m, x, &k, hi) > 0) {
		*ret = fmax(k.last, hi);
		return 0;
	}
	if (odds(m, x, &k, lo) <= 0) {
		*ret = fmin(k.last, lo);
		return 0;
	}
	for (int i = 0; i < HALVINGS; i++) {
		double middle = sqrt(lo * hi);
		if (odds(m, x, &k, middle) > 0)
			lo = middle;
		else
			hi = middle;
	}
	*ret = sqrt(lo * hi);
	return 0;
}

/* ---- bytes ---- */

struct head {
	char magic[4];
	uint32_t crc, version, zero;
	int64_t from_ns, to_ns;
	char point[HISTORY_LOCATION_MAX];
};
static_assert(sizeof(struct head) == 56, "no padding");
enum { VERSION = 1, CRC_FROM = 8 };

int spike_save(const struct spike_model *m, struct buf *out, struct err *err)
{
	struct head h = { .magic = "HCPS", .version = VERSION, .from_ns = m->from_ns, .to_ns = m->to_ns };
	size_t start = out->n;
	if (m->to_ns == 0)
		return err_set(err, HCP_ESTATE, "model", "has not been trained");
	memcpy(h.point, m->point, sizeof(h.point));
	fc_put(out, &h, sizeof(h));
	for (size_t k = 0; k < SPIKE_FORESTS; k++)
		fc_forest_put(&m->forest[k], out);
	if (buf_failed(out))
		return err_set(err, HCP_ENOMEM, "model", "no memory, or too large");
	uint32_t crc = crc32c(0, out->data + start + CRC_FROM, out->n - start - CRC_FROM);
	memcpy(out->data + start + offsetof(struct head, crc), &crc, sizeof(crc));
	return 0;
}

int spike_load(struct spike_model *m, struct str bytes, struct err *err)
{
	struct head h;
	struct spike_model made = { 0 };
	struct fc_reader r = { .rest = bytes };
	if (bytes.n > SPIKE_BYTES_MAX || !fc_get(&r, &h, sizeof(h)) || memcmp(h.magic, "HCPS", 4) != 0 ||
		crc32c(0, bytes.p + CRC_FROM, bytes.n - CRC_FROM) != h.crc)
		return err_set(err, HCP_ECORRUPT, "model", "not a model of prices, or a damaged one");
	if (h.version != VERSION)
		return err_set(err, HCP_ECORRUPT, "model", "is of version %u, not %d", (unsigned)h.version, VERSION);
	int rc = h.zero || h.from_ns < 0 || h.to_ns <= h.from_ns || !memchr(h.point, 0, sizeof(h.point)) || !h.point[0]
				 ? HCP_ECORRUPT
				 : reserve_forests(&made, err);
	for (size_t k = 0; rc == 0 && k < SPIKE_FORESTS; k++)
		rc = fc_forest_get(&made.forest[k], &r, SPIKE_N, 1, err);
	if (rc == 0 && r.rest.n)
		rc = HCP_ECORRUPT;
	if (rc < 0) {
		spike_release(&made);
		return rc == HCP_ECORRUPT ? err_set(err, rc, "model", "does not hold together") : rc;
	}
	made.from_ns = h.from_ns;
	made.to_ns = h.to_ns;
	memcpy(made.point, h.point, sizeof(h.point));
	spike_release(m);
	*m = made;
	return 0;
}
