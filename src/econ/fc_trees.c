#include "econ/fc_priv.h"

#include <string.h>

#include "base/mem.h"
#include "base/panic.h"

/*
 * Gradient-boosted quantile trees on what the regression left over, in units of its spread at that horizon; the horizon
 * is a feature. They begin at the quantiles of that remainder and learn where it is wider, skewed or foreseeable.
 *
 * Trees promise too narrow a range, having seen the rows they grew on. So one day in ten is kept from them, and each
 * quantile is moved to where it would have held there (conformalised quantile regression; Romano, Patterson, Candès
 * 2019), for near, middle and far horizons.
 */
enum {
	RANGES = 3,      /* up to 4 steps; up to 96; beyond */
	HELD_DAY = 10,   /* one day in so many is kept from the trees */
	HELD_MIN = 100,  /* rows, to move a quantile by */
	SPIKE_SHARE = 4, /* at most one row in so many is kept as a spike */
};
#define SPIKE_SIGMAS 3.0
#define LOGISTIC_SCALE 0.6

struct trees {
	struct fc_linear linear;
	struct fc_forest forest;
	double shift[RANGES][FORECAST_LEVELS]; /* of each quantile, in sigmas */
};

static size_t range_of(size_t h)
{
	return h <= 4 ? 0 : h <= 96 ? 1 : 2;
}

static int trees_init(struct forecaster *f, struct err *err)
{
	f->priv = mem_calloc(1, sizeof(struct trees));
	return f->priv ? 0 : err_set(err, HCP_ENOMEM, "", "no memory for a forecaster");
}

static void trees_release(struct forecaster *f)
{
	struct trees *m = f->priv;
	if (m)
		fc_forest_release(&m->forest);
	mem_free(m);
}

/* ---- features ---- */

/* What is the same for all horizons of an origin. */
struct here {
	double z0, day_mean, day_move, hour_move, day_max, day_min, da_gap, load_mean;
};

static struct here look_around(const struct fc_frame *f, size_t origin)
{
	size_t day = origin > f->spd ? origin - f->spd : 0, hour = f->spd >= 24 ? f->spd / 24 : 1;
	struct here r = { .z0 = fc_lag(f, origin, 0), .day_mean = fc_mean_lag(f, origin, 0, f->spd) };
	double da = fc_da(f, origin, origin - 1);
	r.day_max = r.day_min = r.z0;
	for (size_t i = day; i < origin; i++) {
		r.day_max = f->z[i] > r.day_max ? f->z[i] : r.day_max;
		r.day_min = f->z[i] < r.day_min ? f->z[i] : r.day_min;
	}
	r.day_move = (f->move[origin] - f->move[day]) / (double)f->spd;
	r.hour_move = (f->move[origin] - f->move[origin > hour ? origin - hour : 0]) / (double)hour;
	r.da_gap = isnan(da) ? NAN : r.z0 - da;
	r.load_mean = f->load[origin - 1];
	return r;
}

/* The highest of the last seven days at this time of day, give or take two steps. */
static double similar_max(const struct fc_frame *f, size_t origin, size_t s)
{
	size_t at = fc_same(f, origin, s, f->spd);
	double most = f->z[at];
	for (int day = 0; day < 7; day++) {
		size_t a = at > 2 ? at - 2 : 0, b = at + 3 < origin ? at + 3 : origin;
		for (size_t i = a; i < b; i++)
			most = f->z[i] > most ? f->z[i] : most;
		if (at < f->spd)
			break;
		at -= f->spd;
	}
	return most;
}

/* base: the regression's forecast of slot s. x: its regressors. */
static void features(const struct fc_frame *f, const struct here *r, size_t origin, size_t h, double base,
	const double x[FC_LINEAR_N], float ret[FC_TREE_N])
{
	size_t s = origin + h - 1, i = 0;
	double da = fc_da(f, origin, s), load = f->da_from[s] <= origin ? f->load[s] : NAN;
	double da_before = s > 0 ? fc_da(f, origin, s - 1) : NAN;
	double v[FC_TREE_N] = {
		log((double)h), (double)f->tod[s], f->dow[s], (double)f->year[s],
		base, r->z0, base - r->z0, x[1] - x[2], x[1] - x[4], x[5] - r->z0, x[6] - r->z0, x[7] - r->z0,
		r->day_mean, x[8] - r->day_mean, r->day_move, r->hour_move, r->day_max, r->day_min,
		x[9] - base, x[10] - base, x[11] - base, x[11], similar_max(f, origin, s),
		da, da - base, da - da_before, r->da_gap, load, load - r->load_mean,
		f->wind[origin - 1], f->solar[origin - 1], f->gen[origin - 1],
	};
	for (; i < FC_TREE_N; i++)
		ret[i] = (float)v[i];
}

static double sigma_at(const struct fc_linear *l, size_t h)
{
	size_t k;
	double w = fc_knot_at(h, &k);
	return l->spread.sigma[k] * (1 - w) + l->spread.sigma[k + 1] * w;
}

/* ---- training ---- */

struct builder {
	const struct fc_frame *f;
	const struct fc_linear *l;
	struct fc_matrix grow, held;
	uint8_t *range;  /* owned; of held rows */
	size_t cap;      /* of each matrix */
};

static int matrix_init(struct fc_matrix *m, size_t rows)
{
	m->x = mem_alloc(rows * (FC_TREE_N + FORECAST_LEVELS + 2) * sizeof(float));
	if (!m->x)
		return HCP_ENOMEM;
	m->base = m->x + rows * FC_TREE_N;
	m->y = m->base + rows * FORECAST_LEVELS;
	m->weight = m->y + rows;
	return 0;
}

static void builder_release(struct builder *b)
{
	mem_free(b->grow.x);
	mem_free(b->held.x);
	mem_free(b->range);
}

static int builder_init(struct builder *b, size_t rows)
{
	b->cap = rows;
	b->range = mem_alloc(rows);
	return b->range && matrix_init(&b->grow, rows) == 0 && matrix_init(&b->held, rows) == 0 ? 0 : HCP_ENOMEM;
}

static void base_of(const struct fc_linear *l, size_t h, size_t block, double ret[FORECAST_LEVELS])
{
	double sigma = sigma_at(l, h);
	fc_spread_quantiles(&l->spread, h, block, ret);
	for (int k = 0; k < FORECAST_LEVELS; k++)
		ret[k] /= sigma;
}

static void add_row(struct builder *b, size_t s, size_t h, double weight)
{
	bool held = s / b->f->spd % HELD_DAY == HELD_DAY - 1;
	struct fc_matrix *m = held ? &b->held : &b->grow;
	size_t origin = s - h + 1, n = m->n;
	double x[FC_LINEAR_N], start[FORECAST_LEVELS];
	struct here r = look_around(b->f, origin);
	must(n < b->cap);
	fc_linear_features(b->f, origin, h, x);
	double base = fc_linear_dot(b->l, h, x);
	features(b->f, &r, origin, h, base, x, m->x + n * FC_TREE_N);
	base_of(b->l, h, fc_block(b->f, s), start);
	for (int k = 0; k < FORECAST_LEVELS; k++)
		m->base[n * FORECAST_LEVELS + (size_t)k] = (float)start[k];
	if (held)
		b->range[n] = (uint8_t)range_of(h);
	m->y[n] = (float)((b->f->z[s] - base) / sigma_at(b->l, h));
	m->weight[n] = (float)weight;
	m->n++;
}

/* A slot that lies far from its similar days is a spike, and they are all taken, unless most are. */
static bool is_spike(const struct fc_frame *f, size_t s, double limit)
{
	return fabs(f->z[s] - fc_similar(f, s, s)) > limit;
}

static void draw_rows(struct builder *b, size_t upto, const struct forecast_conf *conf)
{
	size_t first = 14 * b->f->spd, spikes = 0;
	double limit = SPIKE_SIGMAS * b->l->spread.sigma[FC_KNOTS - 1];
	struct rng rng;
	rng_init(&rng, conf->seed);
	for (size_t s = first; s < upto; s++)
		spikes += is_spike(b->f, s, limit);
	double all = (double)(upto - first), take = (double)b->cap * 0.98;
	double of_spikes = (double)spikes * SPIKE_SHARE > take ? take / ((double)spikes * SPIKE_SHARE) : 1;
	double rest = all - (double)spikes, left = take - of_spikes * (double)spikes;
	double of_rest = left < rest ? left / rest : 1;
	for (size_t s = first; s < upto && b->grow.n < b->cap && b->held.n < b->cap; s++) {
		double p = is_spike(b->f, s, limit) ? of_spikes : of_rest;
		/* Near horizons more often: even in the logarithm. */
		double u = rng_double(&rng), v = rng_double(&rng);
		size_t h = (size_t)exp(v * log(FORECAST_STEPS_MAX + 0.999));
		if (u >= p || b->f->gap[s] || h + 7 * b->f->spd > s)
			continue;
		add_row(b, s, h, fc_recency(b->f, upto, s) / p);
	}
}

/*
 * Of the pinball loss. It has no second derivative; in its place stands the density that a logistic distribution has at
 * its level-quantile, level (1 - level) / scale: Newton's step is right for that shape and short for heavier tails.
 */
static void pinball_gradient(const struct fc_matrix *m, const float *now, float *grad, float *hess)
{
	for (size_t i = 0; i < m->n; i++) {
		for (size_t l = 0; l < FORECAST_LEVELS; l++) {
			size_t at = i * FORECAST_LEVELS + l;
			double level = forecast_level[l], w = (double)m->weight[i];
			grad[at] = (float)(w * ((m->y[i] < now[at]) - level));
			hess[at] = (float)(w * level * (1 - level) / LOGISTIC_SCALE);
		}
	}
}

static struct fc_growth growth_of(const struct forecast_conf *c)
{
	return (struct fc_growth){ .n_features = FC_TREE_N,
		.n_outputs = FORECAST_LEVELS,
		.depth = 5,
		.step = 0.15,
		.lambda = 1,
		.min_child = 10,
		.row_share = 1,
		.feature_share = 1,
		.rounds = c->rounds,
		.threads = c->threads,
		.seed = c->seed,
		.gradient = pinball_gradient,
		.stop = c->stop };
}

static int fit_shift(struct trees *m, const struct builder *b)
{
	const struct fc_matrix *held = &b->held;
	double *q = mem_calloc(held->n * FORECAST_LEVELS + 1, sizeof(*q));
	struct fc_row *rows = mem_alloc((held->n + 1) * sizeof(*rows));
	int rc = q && rows ? 0 : HCP_ENOMEM;
	for (size_t i = 0; rc == 0 && i < held->n * FORECAST_LEVELS; i++)
		q[i] = (double)held->base[i];
	if (rc == 0)
		fc_forest_add(&m->forest, held->x, held->n, q);
	for (size_t range = 0; rc == 0 && range < RANGES; range++) {
		for (size_t l = 0; l < FORECAST_LEVELS; l++) {
			double at[FORECAST_LEVELS];
			size_t n = 0;
			for (size_t i = 0; i < held->n; i++)
				if (b->range[i] == range)
					rows[n++] = (struct fc_row){ .value = (double)held->y[i] - q[i * FORECAST_LEVELS + l],
						.weight = (double)held->weight[i] };
			fc_sort_rows(rows, n);
			if (n >= HELD_MIN)
				fc_quantiles(rows, n, at);
			m->shift[range][l] = n >= HELD_MIN ? at[l] : 0;
		}
	}
	mem_free(rows);
	mem_free(q);
	return rc;
}

static int trees_train(struct forecaster *f, const struct fc_frame *frame, size_t upto, struct err *err)
{
	struct trees *m = f->priv, *next = mem_calloc(1, sizeof(*next)), old;
	struct builder b = { .f = frame, .l = next ? &next->linear : NULL };
	struct fc_growth growth = growth_of(&f->conf);
	int rc = next && builder_init(&b, f->conf.rows) == 0 ? 0 : err_set(err, HCP_ENOMEM, "", "no memory for trees");
	if (rc == 0)
		rc = fc_linear_fit(&next->linear, frame, upto, f->conf.rows, err);
	if (rc == 0) {
		draw_rows(&b, upto, &f->conf);
		rc = b.grow.n ? fc_forest_train(&next->forest, &b.grow, &growth, err)
					  : err_set(err, HCP_EAGAIN, "history", "too little is known for trees");
	}
	if (rc == 0 && fit_shift(next, &b) < 0)
		rc = err_set(err, HCP_ENOMEM, "", "no memory for trees");
	if (rc == 0) {
		old = *m;
		*m = *next;
		*next = old;
	}
	if (next)
		fc_forest_release(&next->forest);
	mem_free(next);
	builder_release(&b);
	return rc;
}

/* ---- prediction ---- */

enum { CHUNK = 32 };

static int trees_predict(const struct forecaster *f, const struct fc_frame *frame, size_t origin, const uint16_t *h,
	size_t n, struct forecast_point *ret, struct err *err)
{
	const struct trees *m = f->priv;
	struct here r = look_around(frame, origin);
	(void)err;
	for (size_t at = 0; at < n; at += CHUNK) {
		size_t k = n - at < CHUNK ? n - at : CHUNK;
		float x[CHUNK][FC_TREE_N];
		double q[CHUNK][FORECAST_LEVELS], base[CHUNK];
		for (size_t i = 0; i < k; i++) {
			double v[FC_LINEAR_N];
			fc_linear_features(frame, origin, h[at + i], v);
			base[i] = fc_linear_dot(&m->linear, h[at + i], v);
			features(frame, &r, origin, h[at + i], base[i], v, x[i]);
			base_of(&m->linear, h[at + i], fc_block(frame, origin + h[at + i] - 1), q[i]);
		}
		fc_forest_add(&m->forest, x[0], k, q[0]);
		for (size_t i = 0; i < k; i++) {
			double sigma = sigma_at(&m->linear, h[at + i]);
			for (int l = 0; l < FORECAST_LEVELS; l++)
				q[i][l] = base[i] + sigma * (q[i][l] + m->shift[range_of(h[at + i])][l]);
			fc_point(&m->linear.spread, frame, h[at + i], q[i], &ret[at + i]);
		}
	}
	return 0;
}

/* ---- bytes ---- */

static int trees_save(const struct forecaster *f, struct buf *out, struct err *err)
{
	const struct trees *m = f->priv;
	(void)err;
	fc_put(out, &m->linear, sizeof(m->linear));
	fc_put(out, m->shift, sizeof(m->shift));
	fc_forest_put(&m->forest, out);
	return 0;
}

static int trees_load(struct forecaster *f, struct fc_reader *r, struct err *err)
{
	struct trees *m = f->priv;
	if (!fc_get_linear(r, &m->linear) || !fc_get_finite(r, m->shift[0], RANGES * FORECAST_LEVELS))
		return HCP_ECORRUPT;
	return fc_forest_get(&m->forest, r, FC_TREE_N, FORECAST_LEVELS, err);
}

const struct forecaster_vt fc_trees = {
	.name = "trees",
	.about = "gradient-boosted quantile trees on what the regression leaves over",
	.init = trees_init,
	.release = trees_release,
	.train = trees_train,
	.predict = trees_predict,
	.save = trees_save,
	.load = trees_load,
};
