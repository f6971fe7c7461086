#include "econ/fc_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { CELL_MIN = 100 /* rows, for a block to have quantiles of its own */ };
#define TAIL_MAX 10.0
#define TAIL_WEIGHT 0.35 /* of fc_recency: the last year and a half; what a storm did before that is no guide */
#define SHAPE_MAX 0.7
#define BEYOND 1.0 /* in z, how far outside of what was seen a forecast may go: far out nearly threefold */

static int by_value(const void *pa, const void *pb)
{
	const struct fc_row *a = pa, *b = pb;
	return a->value < b->value ? -1 : a->value > b->value;
}

static int by_block(const void *pa, const void *pb)
{
	const struct fc_row *a = pa, *b = pb;
	return a->block != b->block ? (a->block < b->block ? -1 : 1) : by_value(pa, pb);
}

static int by_double(const void *pa, const void *pb)
{
	const double a = *(const double *)pa, b = *(const double *)pb;
	return a < b ? -1 : a > b;
}

void fc_sort_rows(struct fc_row *rows, size_t n)
{
	qsort(rows, n, sizeof(*rows), by_value);
}

void fc_spread_range(struct fc_spread *s, const struct fc_frame *f, size_t upto)
{
	s->z_min = s->z_max = upto ? f->z[0] : 0;
	for (size_t i = 1; i < upto; i++) {
		s->z_min = f->z[i] < s->z_min ? f->z[i] : s->z_min;
		s->z_max = f->z[i] > s->z_max ? f->z[i] : s->z_max;
	}
}

void fc_quantiles(const struct fc_row *rows, size_t n, double ret[FORECAST_LEVELS])
{
	double total = 0, below = 0;
	size_t i = 0;
	for (size_t k = 0; k < n; k++)
		total += rows[k].weight;
	for (int l = 0; l < FORECAST_LEVELS; l++) {
		/* The middle of a row's weight is where its value stands; between two, in proportion. */
		double at = forecast_level[l] * total;
		while (i + 1 < n && below + rows[i].weight + rows[i + 1].weight / 2 < at)
			below += rows[i++].weight;
		double here = below + rows[i].weight / 2;
		double next = i + 1 < n ? below + rows[i].weight + rows[i + 1].weight / 2 : here;
		double w = next > here && at > here ? (at - here) / (next - here) : 0;
		ret[l] = i + 1 < n ? rows[i].value + w * (rows[i + 1].value - rows[i].value) : rows[i].value;
	}
}

double fc_tail_mean(double *excess, size_t n)
{
	double a0 = 0, a1 = 0;
	if (n == 0)
		return 0;
	qsort(excess, n, sizeof(*excess), by_double);
	for (size_t i = 0; i < n; i++) {
		a0 += excess[i];
		a1 += excess[i] * ((double)n - (double)i - 0.65) / (double)n;
	}
	a0 /= (double)n;
	a1 /= (double)n;
	if (n < 10 || a0 - 2 * a1 <= 0)
		return a0;
	/* Hosking and Wallis, with shape = -k. */
	double shape = 2 - a0 / (a0 - 2 * a1), size = 2 * a0 * a1 / (a0 - 2 * a1);
	shape = shape < 0 ? 0 : shape > SHAPE_MAX ? SHAPE_MAX : shape;
	return size / (1 - shape) < 3 * a0 ? size / (1 - shape) : 3 * a0;
}

/* Mean excess of what lay beyond the quantiles in proportion to their width. */
static int fit_tail(struct fc_spread *s, const struct fc_frame *f, size_t knot, const struct fc_row *rows, size_t n)
{
	double *excess = mem_alloc((n + 1) * sizeof(*excess));
	size_t m = 0;
	if (!excess)
		return HCP_ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const double *q = s->q[knot][rows[i].block];
		double top = fc_x(f, rows[i].point + q[FORECAST_LEVELS - 1]), mid = fc_x(f, rows[i].point + q[FORECAST_MEDIAN]);
		double x = fc_x(f, rows[i].point + rows[i].value);
		if (x > top && top > mid && rows[i].weight > TAIL_WEIGHT)
			excess[m++] = (x - top) / (top - mid);
	}
	double mean = fc_tail_mean(excess, m);
	s->tail[knot] = mean < TAIL_MAX ? mean : TAIL_MAX;
	mem_free(excess);
	return 0;
}

int fc_spread_fit(struct fc_spread *s, const struct fc_frame *f, size_t knot, struct fc_row *rows, size_t n)
{
	if (n == 0) {
		/* Not that much is known yet: as for the knot before it. */
		size_t from = knot ? knot - 1 : 0;
		memmove(s->q[knot], s->q[from], sizeof(s->q[knot]));
		memmove(s->all[knot], s->all[from], sizeof(s->all[knot]));
		s->sigma[knot] = knot ? s->sigma[from] : 1;
		s->tail[knot] = s->tail[from];
		return 0;
	}
	fc_sort_rows(rows, n);
	fc_quantiles(rows, n, s->all[knot]);
	/* Half of a normal distribution lies within 0.6745 of its standard deviation. */
	double sigma = (s->all[knot][FORECAST_MEDIAN + 1] - s->all[knot][FORECAST_MEDIAN - 1]) / (2 * 0.6745);
	s->sigma[knot] = sigma > 1e-9 ? sigma : 1e-9;
	for (size_t b = 0; b < FC_BLOCKS; b++)
		memcpy(s->q[knot][b], s->all[knot], sizeof(s->all[knot]));
	qsort(rows, n, sizeof(*rows), by_block);
	for (size_t i = 0, end; i < n; i = end) {
		for (end = i + 1; end < n && rows[end].block == rows[i].block; end++)
			continue;
		if (end - i >= CELL_MIN)
			fc_quantiles(rows + i, end - i, s->q[knot][rows[i].block]);
	}
	return fit_tail(s, f, knot, rows, n);
}

void fc_spread_quantiles(const struct fc_spread *s, size_t h, size_t block, double ret[FORECAST_LEVELS])
{
	size_t k;
	double w = fc_knot_at(h, &k);
	for (int l = 0; l < FORECAST_LEVELS; l++)
		ret[l] = s->q[k][block][l] * (1 - w) + s->q[k + 1][block][l] * w;
}

/*
 * The mean of a quantile function between two levels, from the lower value (0) to the upper (1), if it is that of an
 * exponential on either side of the median: straight in log(1 - level) above it, in log(level) below. A straight line
 * would make much of the few values between 0.95 and 0.99.
 */
static const double between[FORECAST_LEVELS - 1] = { 0.5573, 0.5753, 0.5573, 0.4427, 0.4247, 0.4427, 0.3712 };

/* The lowest 5 % go on as that exponential does, the highest 1 % as fitted. */
static double mean_of(const double q[FORECAST_LEVELS], double tail, double most)
{
	const int top = FORECAST_LEVELS - 1;
	double sum = forecast_level[0] * (q[0] - (q[1] - q[0]) / 0.6931);
	for (int l = 0; l < top; l++)
		sum += (forecast_level[l + 1] - forecast_level[l]) * (q[l] + between[l] * (q[l + 1] - q[l]));
	double beyond = q[top] + tail * (q[top] - q[FORECAST_MEDIAN]);
	most = most > q[top] ? most : q[top];
	return sum + (1 - forecast_level[top]) * (beyond < most ? beyond : most);
}

void fc_point(const struct fc_spread *s, const struct fc_frame *f, size_t h, const double q[FORECAST_LEVELS],
	struct forecast_point *ret)
{
	size_t k;
	double w = fc_knot_at(h, &k), lo = s->z_min - BEYOND, hi = s->z_max + BEYOND;
	double v[FORECAST_LEVELS];
	for (int l = 0; l < FORECAST_LEVELS; l++) {
		double x = !(q[l] > lo) ? lo : q[l] > hi ? hi : q[l]; /* what is no number counts as low */
		int at = l;
		for (; at > 0 && v[at - 1] > x; at--)
			v[at] = v[at - 1];
		v[at] = x;
	}
	for (int l = 0; l < FORECAST_LEVELS; l++)
		ret->q[l] = fc_x(f, v[l]);
	ret->mean = mean_of(ret->q, s->tail[k] * (1 - w) + s->tail[k + 1] * w, fc_x(f, s->z_max));
}
