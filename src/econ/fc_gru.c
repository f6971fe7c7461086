#include "econ/fc_priv.h"

#include <string.h>

#include <cblas.h>

#include "base/mem.h"

/*
 *	r = sigmoid(Wr x + Ur h + br)           reset
 *	u = sigmoid(Wu x + Uu h + bu)           update
 *	c = tanh(Wc x + bc + r * (Uc h + bn))   candidate
 *	h' = (1 - u) * c + u * h
 *	out = Wo h_last + bo
 *
 * Products go through OpenBLAS in sizes that it computes on one thread, so that sums are repeatable.
 */
enum { H = FC_GRU_H, X = FC_SEQ_N, T = FC_SEQ_LEN, B = FC_GRU_BATCH, G = 3 * FC_GRU_H, OUT = FC_GRU_OUT };

struct fc_gru_work {
	double h[T + 1][B][H];
	double gate[T][B][G];  /* r, u, c after their functions */
	double inner[T][B][H]; /* Uc h + bn */
	double side[B][G];     /* U h */
	double d_gate[B][G], d_side[B][G], d_h[B][H], d_prev[B][H];
};

struct fc_gru_work *fc_gru_work_new(void)
{
	return mem_calloc(1, sizeof(struct fc_gru_work));
}

void fc_gru_work_free(struct fc_gru_work *w)
{
	mem_free(w);
}

/* Uniform within 1/sqrt(inputs), biases 0; the output layer begins at 0, which is the regression's own spread. */
void fc_gru_start(double *param, uint64_t seed)
{
	struct rng rng;
	rng_init(&rng, seed);
	memset(param, 0, FC_GRU_PARAMS * sizeof(*param));
	for (int i = FC_GRU_WX; i < FC_GRU_WH; i++)
		param[i] = (2 * rng_double(&rng) - 1) / sqrt(X);
	for (int i = FC_GRU_WH; i < FC_GRU_B; i++)
		param[i] = (2 * rng_double(&rng) - 1) / sqrt(H);
}

static double sigmoid(double v)
{
	return 1 / (1 + exp(-v));
}

/* c[m][n] += a[m][k] b[n][k]' */
static void add_abt(const double *a, const double *b, double *c, size_t m, size_t n, size_t k)
{
	cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)n, (int)k, 1, a, (int)k, b, (int)k, 1, c, (int)n);
}

/* c[m][n] += a[m][k] b[k][n] */
static void add_ab(const double *a, const double *b, double *c, size_t m, size_t n, size_t k)
{
	cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)n, (int)k, 1, a, (int)k, b, (int)n, 1, c,
		(int)n);
}

/* c[m][n] += a[k][m]' b[k][n] */
static void add_atb(const double *a, const double *b, double *c, size_t m, size_t n, size_t k)
{
	cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)n, (int)k, 1, a, (int)m, b, (int)n, 1, c, (int)n);
}

static void step_forward(struct fc_gru_work *w, const double *param, const double *x, size_t t, size_t batch)
{
	for (size_t i = 0; i < batch; i++) {
		memcpy(w->gate[t][i], param + FC_GRU_B, sizeof(w->gate[t][i]));
		for (size_t k = 0; k < G; k++)
			w->side[i][k] = k < 2 * H ? 0 : param[FC_GRU_BN + k - 2 * H];
	}
	add_abt(x, param + FC_GRU_WX, w->gate[t][0], batch, G, X);
	add_abt(w->h[t][0], param + FC_GRU_WH, w->side[0], batch, G, H);
	for (size_t i = 0; i < batch; i++) {
		double *g = w->gate[t][i];
		for (size_t k = 0; k < H; k++) {
			double r = sigmoid(g[k] + w->side[i][k]), u = sigmoid(g[H + k] + w->side[i][H + k]);
			double c = tanh(g[2 * H + k] + r * w->side[i][2 * H + k]);
			g[k] = r;
			g[H + k] = u;
			g[2 * H + k] = c;
			w->inner[t][i][k] = w->side[i][2 * H + k];
			w->h[t + 1][i][k] = (1 - u) * c + u * w->h[t][i][k];
		}
	}
}

void fc_gru_forward(struct fc_gru_work *w, const double *param, const double *x, size_t batch, double *out)
{
	memset(w->h[0], 0, sizeof(w->h[0]));
	for (size_t t = 0; t < T; t++)
		step_forward(w, param, x + t * batch * X, t, batch);
	for (size_t i = 0; i < batch; i++)
		memcpy(out + i * OUT, param + FC_GRU_BO, OUT * sizeof(double));
	add_abt(w->h[T][0], param + FC_GRU_WO, out, batch, OUT, H);
}

static void step_backward(
	struct fc_gru_work *w, const double *param, const double *x, size_t t, size_t batch, double *grad)
{
	for (size_t i = 0; i < batch; i++) {
		const double *g = w->gate[t][i];
		for (size_t k = 0; k < H; k++) {
			double r = g[k], u = g[H + k], c = g[2 * H + k], d = w->d_h[i][k];
			double d_c = d * (1 - u) * (1 - c * c), d_u = d * (w->h[t][i][k] - c) * u * (1 - u);
			double d_r = d_c * w->inner[t][i][k] * r * (1 - r);
			w->d_gate[i][k] = w->d_side[i][k] = d_r;
			w->d_gate[i][H + k] = w->d_side[i][H + k] = d_u;
			w->d_gate[i][2 * H + k] = d_c;
			w->d_side[i][2 * H + k] = d_c * r;
			w->d_prev[i][k] = d * u;
			grad[FC_GRU_BN + k] += d_c * r;
		}
		for (size_t k = 0; k < G; k++)
			grad[FC_GRU_B + k] += w->d_gate[i][k];
	}
	add_atb(w->d_gate[0], x, grad + FC_GRU_WX, G, X, batch);
	add_atb(w->d_side[0], w->h[t][0], grad + FC_GRU_WH, G, H, batch);
	add_ab(w->d_side[0], param + FC_GRU_WH, w->d_prev[0], batch, H, G);
	memcpy(w->d_h, w->d_prev, sizeof(w->d_h));
}

void fc_gru_backward(
	struct fc_gru_work *w, const double *param, const double *x, size_t batch, const double *d_out, double *grad)
{
	for (size_t i = 0; i < batch; i++)
		for (size_t k = 0; k < OUT; k++)
			grad[FC_GRU_BO + k] += d_out[i * OUT + k];
	add_atb(d_out, w->h[T][0], grad + FC_GRU_WO, OUT, H, batch);
	memset(w->d_h, 0, sizeof(w->d_h));
	add_ab(d_out, param + FC_GRU_WO, w->d_h[0], batch, H, OUT);
	for (size_t t = T; t-- > 0;)
		step_backward(w, param, x + t * batch * X, t, batch, grad);
}
