#include "learn/gru.h"

#include <math.h>
#include <string.h>

#include <cblas.h>

#include "base/mem.h"
#include "base/panic.h"

struct gru {
	struct gru_shape s;
	size_t state;        /* doubles of a step's states: batch * H */
	double *h;           /* [T + 1][B][H] */
	double *gate;        /* [T][B][3H]: r, u, c after their functions */
	double *inner;       /* [T][B][H]: Uc h + bn */
	double *side;        /* [B][3H]: U h */
	double *d_h;         /* [T + 1][B][H] */
	double *d_gate, *d_side; /* [B][3H] */
	double memory[];
};

size_t gru_params(size_t inputs, size_t hidden)
{
	return 3 * hidden * inputs + 3 * hidden * hidden + 3 * hidden + hidden;
}

struct gru *gru_new(const struct gru_shape *s)
{
	size_t bh = s->batch * s->hidden, t = s->steps;
	size_t n = (t + 1) * bh * 2 + t * bh * 4 + 3 * bh * 3;
	struct gru *g = mem_calloc(1, sizeof(*g) + n * sizeof(double));
	if (!g)
		return NULL;
	g->s = *s;
	g->state = bh;
	g->h = g->memory;
	g->d_h = g->h + (t + 1) * bh;
	g->gate = g->d_h + (t + 1) * bh;
	g->inner = g->gate + t * bh * 3;
	g->side = g->inner + t * bh;
	g->d_gate = g->side + 3 * bh;
	g->d_side = g->d_gate + 3 * bh;
	return g;
}

void gru_free(struct gru *g)
{
	mem_free(g);
}

void gru_start(const struct gru_shape *s, double *param, struct rng *rng)
{
	size_t wx = 3 * s->hidden * s->inputs, wh = 3 * s->hidden * s->hidden;
	memset(param, 0, gru_params(s->inputs, s->hidden) * sizeof(*param));
	for (size_t i = 0; i < wx; i++)
		param[i] = (2 * rng_double(rng) - 1) / sqrt((double)s->inputs);
	for (size_t i = wx; i < wx + wh; i++)
		param[i] = (2 * rng_double(rng) - 1) / sqrt((double)s->hidden);
}

static double sigmoid(double v)
{
	return 1 / (1 + exp(-v));
}

void gru_add_abt(const double *a, const double *b, double *c, size_t m, size_t n, size_t k)
{
	cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)n, (int)k, 1, a, (int)k, b, (int)k, 1, c, (int)n);
}

void gru_add_ab(const double *a, const double *b, double *c, size_t m, size_t n, size_t k)
{
	cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)n, (int)k, 1, a, (int)k, b, (int)n, 1, c,
		(int)n);
}

void gru_add_atb(const double *a, const double *b, double *c, size_t m, size_t n, size_t k)
{
	cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)n, (int)k, 1, a, (int)m, b, (int)n, 1, c, (int)n);
}

/* Where each array of parameters begins. */
struct weights {
	const double *wx, *wh, *b, *bn;
};

static struct weights weights_of(const struct gru *g, const double *param)
{
	size_t h = g->s.hidden;
	struct weights w = { .wx = param };
	w.wh = w.wx + 3 * h * g->s.inputs;
	w.b = w.wh + 3 * h * h;
	w.bn = w.b + 3 * h;
	return w;
}

static void step_forward(struct gru *g, const struct weights *w, const double *x, size_t t, size_t batch)
{
	size_t h = g->s.hidden, n = 3 * h;
	double *gate = g->gate + t * g->state * 3, *inner = g->inner + t * g->state;
	const double *before = g->h + t * g->state;
	double *after = g->h + (t + 1) * g->state;
	for (size_t i = 0; i < batch; i++) {
		memcpy(gate + i * n, w->b, n * sizeof(double));
		for (size_t k = 0; k < n; k++)
			g->side[i * n + k] = k < 2 * h ? 0 : w->bn[k - 2 * h];
	}
	if (x)
		gru_add_abt(x, w->wx, gate, batch, n, g->s.inputs);
	gru_add_abt(before, w->wh, g->side, batch, n, h);
	for (size_t i = 0; i < batch; i++) {
		double *v = gate + i * n, *side = g->side + i * n;
		for (size_t k = 0; k < h; k++) {
			double r = sigmoid(v[k] + side[k]), u = sigmoid(v[h + k] + side[h + k]);
			double c = tanh(v[2 * h + k] + r * side[2 * h + k]);
			v[k] = r;
			v[h + k] = u;
			v[2 * h + k] = c;
			inner[i * h + k] = side[2 * h + k];
			after[i * h + k] = (1 - u) * c + u * before[i * h + k];
		}
	}
}

void gru_forward(struct gru *g, const double *param, const double *x, const double *h0, size_t batch)
{
	struct weights w = weights_of(g, param);
	must(batch <= g->s.batch);
	if (h0)
		memcpy(g->h, h0, batch * g->s.hidden * sizeof(double));
	else
		memset(g->h, 0, batch * g->s.hidden * sizeof(double));
	for (size_t t = 0; t < g->s.steps; t++)
		step_forward(g, &w, x ? x + t * batch * g->s.inputs : NULL, t, batch);
}

const double *gru_state(const struct gru *g, size_t t)
{
	return g->h + t * g->state;
}

double *gru_d_state(struct gru *g, size_t t)
{
	return g->d_h + t * g->state;
}

void gru_clear(struct gru *g, size_t batch)
{
	for (size_t t = 0; t <= g->s.steps; t++)
		memset(gru_d_state(g, t), 0, batch * g->s.hidden * sizeof(double));
}

static void step_backward(
	struct gru *g, const struct weights *w, const double *x, size_t t, size_t batch, double *grad)
{
	size_t h = g->s.hidden, n = 3 * h;
	const double *gate = g->gate + t * g->state * 3, *inner = g->inner + t * g->state, *before = g->h + t * g->state;
	const double *d_after = g->d_h + (t + 1) * g->state;
	double *d_before = g->d_h + t * g->state;
	double *g_wh = grad + (w->wh - w->wx), *g_b = grad + (w->b - w->wx), *g_bn = grad + (w->bn - w->wx);
	for (size_t i = 0; i < batch; i++) {
		const double *v = gate + i * n;
		double *dg = g->d_gate + i * n, *ds = g->d_side + i * n;
		for (size_t k = 0; k < h; k++) {
			double r = v[k], u = v[h + k], c = v[2 * h + k], d = d_after[i * h + k];
			double d_c = d * (1 - u) * (1 - c * c), d_u = d * (before[i * h + k] - c) * u * (1 - u);
			double d_r = d_c * inner[i * h + k] * r * (1 - r);
			dg[k] = ds[k] = d_r;
			dg[h + k] = ds[h + k] = d_u;
			dg[2 * h + k] = d_c;
			ds[2 * h + k] = d_c * r;
			d_before[i * h + k] += d * u;
			g_bn[k] += d_c * r;
		}
		for (size_t k = 0; k < n; k++)
			g_b[k] += dg[k];
	}
	if (x)
		gru_add_atb(g->d_gate, x, grad, n, g->s.inputs, batch);
	gru_add_atb(g->d_side, before, g_wh, n, h, batch);
	gru_add_ab(g->d_side, w->wh, d_before, batch, h, n);
}

void gru_backward(struct gru *g, const double *param, const double *x, size_t batch, double *grad)
{
	struct weights w = weights_of(g, param);
	for (size_t t = g->s.steps; t-- > 0;)
		step_backward(g, &w, x ? x + t * batch * g->s.inputs : NULL, t, batch, grad);
}
