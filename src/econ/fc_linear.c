#include "econ/fc_priv.h"

#include <string.h>

#include <cblas.h>

#include "base/mem.h"

/*
 * For each knot a direct regression of z[origin + h - 1] on what is known at the origin, by least squares with Huber
 * weights (Holland, Welsch 1977) on rows that fade with age; solved by Cholesky with a little ridge.
 */
enum {
	P = FC_LINEAR_N,
	BLOCK = 256,   /* rows of one product: few enough for OpenBLAS to stay on one thread, so that sums are repeatable */
	PASSES = 4,
	ROWS_MAX = 20000,
};
#define HUBER 1.345
#define RIDGE 1e-6
#define TURN 6.283185307179586

void fc_linear_features(const struct fc_frame *f, size_t origin, size_t h, double ret[FC_LINEAR_N])
{
	size_t s = origin + h - 1, week = 7 * f->spd;
	double similar = fc_similar(f, origin, s), da = fc_da(f, origin, s), da_now = fc_da(f, origin, origin - 1);
	double day = TURN * f->tod[s] / (double)f->spd, year = TURN * (double)f->year[s];
	double wday = TURN * (f->dow[s] * (double)f->spd + f->tod[s]) / (double)week;
	bool known = !isnan(da);
	size_t i = 0;
	ret[i++] = 1;
	for (size_t k = 0; k < 4; k++)
		ret[i++] = fc_lag(f, origin, k);
	ret[i++] = fc_mean_lag(f, origin, 4, 8);
	ret[i++] = fc_mean_lag(f, origin, 8, 16);
	ret[i++] = fc_mean_lag(f, origin, 16, f->spd > 24 ? f->spd : 32);
	ret[i++] = fc_mean_lag(f, origin, f->spd > 24 ? f->spd : 32, week > 64 ? week : 64);
	ret[i++] = f->z[fc_same(f, origin, s, f->spd)];
	ret[i++] = f->z[fc_same(f, origin, s, week)];
	ret[i++] = similar;
	ret[i++] = known ? da - similar : 0;
	ret[i++] = known;
	ret[i++] = known && !isnan(da_now) ? da - da_now : 0;
	for (int k = 1; k <= 3; k++) {
		ret[i++] = cos(k * day);
		ret[i++] = sin(k * day);
	}
	ret[i++] = cos(wday);
	ret[i++] = sin(wday);
	ret[i++] = f->dow[s] >= 5;
	ret[i++] = cos(year);
	ret[i++] = sin(year);
}

double fc_linear_dot(const struct fc_linear *l, size_t h, const double x[FC_LINEAR_N])
{
	size_t k;
	double w = fc_knot_at(h, &k), a = 0, b = 0;
	for (int i = 0; i < P; i++) {
		a += l->coef[k][i] * x[i];
		b += l->coef[k + 1][i] * x[i];
	}
	return a * (1 - w) + b * w;
}

struct fit {
	double *x;           /* [n][P] */
	double *y, *weight;  /* [n]; weight: by age */
	double *residual, *size;
	struct fc_row *row;
	double *scaled;      /* [BLOCK][P] */
	size_t n;
};

static void fit_release(struct fit *t)
{
	mem_free(t->x);
	mem_free(t->row);
	*t = (struct fit){ 0 };
}

static int fit_init(struct fit *t, size_t rows)
{
	*t = (struct fit){ 0 };
	t->x = mem_alloc((rows * (P + 4) + BLOCK * P) * sizeof(double));
	t->row = mem_alloc(rows * sizeof(*t->row));
	if (!t->x || !t->row) {
		fit_release(t);
		return HCP_ENOMEM;
	}
	t->y = t->x + rows * P;
	t->weight = t->y + rows;
	t->residual = t->weight + rows;
	t->size = t->residual + rows;
	t->scaled = t->size + rows;
	return 0;
}

/* a (upper triangle) = r'r in place; false when it is not positive. */
static bool cholesky(double a[P][P])
{
	for (int j = 0; j < P; j++) {
		for (int i = 0; i <= j; i++) {
			double sum = a[i][j];
			for (int k = 0; k < i; k++)
				sum -= a[k][i] * a[k][j];
			if (i < j)
				a[i][j] = sum / a[i][i];
			else if (sum > 0)
				a[i][i] = sqrt(sum);
			else
				return false;
		}
	}
	return true;
}

static void solve(double r[P][P], const double *b, double *ret)
{
	for (int i = 0; i < P; i++) {
		double sum = b[i];
		for (int k = 0; k < i; k++)
			sum -= r[k][i] * ret[k];
		ret[i] = sum / r[i][i];
	}
	for (int i = P; i-- > 0;) {
		double sum = ret[i];
		for (int k = i + 1; k < P; k++)
			sum -= r[i][k] * ret[k];
		ret[i] = sum / r[i][i];
	}
}

/* Weighted least squares with weights weight*huber; false when it has no solution. */
static bool least_squares(struct fit *t, const double *huber, double coef[P])
{
	double a[P][P] = { 0 }, b[P] = { 0 }, y[BLOCK];
	for (size_t at = 0; at < t->n; at += BLOCK) {
		size_t m = t->n - at < BLOCK ? t->n - at : BLOCK;
		for (size_t r = 0; r < m; r++) {
			double w = sqrt(t->weight[at + r] * (huber ? huber[at + r] : 1));
			for (int i = 0; i < P; i++)
				t->scaled[r * P + (size_t)i] = w * t->x[(at + r) * P + (size_t)i];
			y[r] = w * t->y[at + r];
		}
		cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, P, (int)m, 1, t->scaled, P, 1, a[0], P);
		cblas_dgemv(CblasRowMajor, CblasTrans, (int)m, P, 1, t->scaled, P, y, 1, 1, b, 1);
	}
	double trace = 0;
	for (int i = 0; i < P; i++)
		trace += a[i][i];
	for (int i = 0; i < P; i++)
		a[i][i] += RIDGE * (trace / P) + 1e-12;
	if (!cholesky(a))
		return false;
	solve(a, b, coef);
	return true;
}

static void residuals(struct fit *t, const double coef[P])
{
	for (size_t r = 0; r < t->n; r++) {
		double sum = 0;
		for (size_t i = 0; i < P; i++)
			sum += t->x[r * P + i] * coef[i];
		t->residual[r] = t->y[r] - sum;
	}
}

/* What counts as ordinary: the median of |residual| in standard deviations of a normal one. */
static double ordinary(struct fit *t)
{
	for (size_t r = 0; r < t->n; r++)
		t->row[r] = (struct fc_row){ .value = fabs(t->residual[r]), .weight = t->weight[r] };
	double q[FORECAST_LEVELS];
	fc_sort_rows(t->row, t->n);
	fc_quantiles(t->row, t->n, q);
	return q[FORECAST_MEDIAN] / 0.6745;
}

static void gather(struct fit *t, const struct fc_frame *f, size_t upto, size_t h, size_t rows)
{
	struct fc_sample sample = fc_sample_of(f, upto, h, rows);
	t->n = 0;
	for (size_t s = sample.first; s < sample.last && t->n < rows; s += sample.stride) {
		if (f->gap[s])
			continue;
		fc_linear_features(f, s - h + 1, h, t->x + t->n * P);
		t->y[t->n] = f->z[s];
		t->weight[t->n] = fc_recency(f, upto, s);
		t->n++;
	}
}

static int fit_knot(struct fc_linear *l, struct fit *t, const struct fc_frame *f, size_t upto, size_t k, size_t rows)
{
	size_t h = fc_knot[k];
	gather(t, f, upto, h, rows);
	if (t->n < 2 * P || !least_squares(t, NULL, l->coef[k])) {
		/* Too little for it: the last value goes on. */
		memset(l->coef[k], 0, sizeof(l->coef[k]));
		l->coef[k][1] = 1;
	}
	for (int pass = 0; pass < PASSES && t->n >= 2 * P; pass++) {
		double next[P];
		residuals(t, l->coef[k]);
		double limit = HUBER * ordinary(t);
		if (!(limit > 0))
			break;
		for (size_t r = 0; r < t->n; r++) {
			double size = fabs(t->residual[r]);
			t->size[r] = size > limit ? limit / size : 1;
		}
		if (!least_squares(t, t->size, next))
			break;
		memcpy(l->coef[k], next, sizeof(next));
	}
	residuals(t, l->coef[k]);
	/* Rows were taken in this order. */
	struct fc_sample sample = fc_sample_of(f, upto, h, rows);
	size_t n = 0;
	for (size_t s = sample.first; s < sample.last && n < t->n; s += sample.stride) {
		if (f->gap[s])
			continue;
		t->row[n] = (struct fc_row){ .value = t->residual[n], .weight = t->weight[n],
			.point = t->y[n] - t->residual[n], .block = (uint8_t)fc_block(f, s) };
		n++;
	}
	return fc_spread_fit(&l->spread, f, k, t->row, n);
}

int fc_linear_fit(struct fc_linear *l, const struct fc_frame *f, size_t upto, size_t rows, struct err *err)
{
	struct fit t;
	if (rows > ROWS_MAX)
		rows = ROWS_MAX;
	int rc = fit_init(&t, rows);
	if (rc == 0)
		fc_spread_range(&l->spread, f, upto);
	for (size_t k = 0; rc == 0 && k < FC_KNOTS; k++)
		rc = fit_knot(l, &t, f, upto, k, rows);
	fit_release(&t);
	return rc < 0 ? err_set(err, rc, "", "no memory for a regression") : 0;
}

/* ---- as a model ---- */

static int linear_init(struct forecaster *f, struct err *err)
{
	f->priv = mem_calloc(1, sizeof(struct fc_linear));
	return f->priv ? 0 : err_set(err, HCP_ENOMEM, "", "no memory for a forecaster");
}

static void linear_release(struct forecaster *f)
{
	mem_free(f->priv);
}

static int linear_train(struct forecaster *f, const struct fc_frame *frame, size_t upto, struct err *err)
{
	struct fc_linear *next = mem_calloc(1, sizeof(*next));
	if (!next)
		return err_set(err, HCP_ENOMEM, "", "no memory for a regression");
	int rc = fc_linear_fit(next, frame, upto, f->conf.rows, err);
	if (rc == 0)
		memcpy(f->priv, next, sizeof(*next));
	mem_free(next);
	return rc;
}

static int linear_predict(const struct forecaster *f, const struct fc_frame *frame, size_t origin, const uint16_t *h,
	size_t n, struct forecast_point *ret, struct err *err)
{
	const struct fc_linear *l = f->priv;
	(void)err;
	for (size_t i = 0; i < n; i++) {
		double x[P], q[FORECAST_LEVELS];
		fc_linear_features(frame, origin, h[i], x);
		double point = fc_linear_dot(l, h[i], x);
		fc_spread_quantiles(&l->spread, h[i], fc_block(frame, origin + h[i] - 1), q);
		for (int k = 0; k < FORECAST_LEVELS; k++)
			q[k] += point;
		fc_point(&l->spread, frame, h[i], q, &ret[i]);
	}
	return 0;
}

static int linear_save(const struct forecaster *f, struct buf *out, struct err *err)
{
	(void)err;
	fc_put(out, f->priv, sizeof(struct fc_linear));
	return 0;
}

static int linear_load(struct forecaster *f, struct fc_reader *r, struct err *err)
{
	(void)err;
	return fc_get_linear(r, f->priv) ? 0 : HCP_ECORRUPT;
}

const struct forecaster_vt fc_regression = {
	.name = "regression",
	.about = "robust regression on past values, the season and the day-ahead price",
	.init = linear_init,
	.release = linear_release,
	.train = linear_train,
	.predict = linear_predict,
	.save = linear_save,
	.load = linear_load,
};
