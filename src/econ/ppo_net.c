/* The nets of PPO: forward, backward, Adam. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include <cblas.h>

#include "base/mem.h"
#include "base/panic.h"
#include "econ/ppo_priv.h"

enum { H = PPO_HIDDEN };
/* OpenBLAS computes a product on one thread up to this size (interface/gemm.c), so that its sums are repeatable. */
static_assert(PPO_BATCH * PPO_IN_MAX * PPO_HIDDEN <= 65536 * 4, "on one thread");

struct layers {
	double *w1, *b1, *w2, *b2, *w3, *b3;
};

static struct layers layers_of(double *param, size_t n_in)
{
	struct layers l = { .w1 = param };
	l.b1 = l.w1 + n_in * H;
	l.w2 = l.b1 + H;
	l.b2 = l.w2 + H * H;
	l.w3 = l.b2 + H;
	l.b3 = l.w3 + H;
	return l;
}

int ppo_net_new(struct ppo_net *ret, size_t n_in, struct err *err)
{
	must(n_in >= 1 && n_in <= PPO_IN_MAX);
	double *param = mem_calloc(ppo_net_params(n_in), sizeof(*param));
	if (!param)
		return err_set(err, HCP_ENOMEM, "", "no memory for a net");
	*ret = (struct ppo_net){ .n_in = n_in, .param = param };
	return 0;
}

void ppo_net_release(struct ppo_net *n)
{
	mem_free(n->param);
	*n = (struct ppo_net){ 0 };
}

void ppo_net_start(struct ppo_net *n, struct rng *rng)
{
	struct layers l = layers_of(n->param, n->n_in);
	memset(n->param, 0, ppo_net_params(n->n_in) * sizeof(*n->param));
	for (size_t i = 0; i < n->n_in * H; i++)
		l.w1[i] = rng_normal(rng) * sqrt(2.0 / (double)n->n_in);
	for (size_t i = 0; i < H * H; i++)
		l.w2[i] = rng_normal(rng) * sqrt(2.0 / H);
	for (size_t i = 0; i < H; i++)
		l.w3[i] = rng_normal(rng) * 0.01;
}

double ppo_net_say(const struct ppo_net *n, const float *x)
{
	const struct layers l = layers_of(n->param, n->n_in);
	double h1[H], h2[H], out = *l.b3;
	memcpy(h1, l.b1, sizeof(h1));
	for (size_t i = 0; i < n->n_in; i++)
		for (size_t k = 0; k < H; k++)
			h1[k] += (double)x[i] * l.w1[i * H + k];
	memcpy(h2, l.b2, sizeof(h2));
	for (size_t i = 0; i < H; i++) {
		double v = h1[i] > 0 ? h1[i] : 0;
		for (size_t k = 0; k < H; k++)
			h2[k] += v * l.w2[i * H + k];
	}
	for (size_t k = 0; k < H; k++)
		out += (h2[k] > 0 ? h2[k] : 0) * l.w3[k];
	return out;
}

/* out[rows][H] = relu(in[rows][k] w[k][H] + b) */
static void layer(const double *in, const double *w, const double *b, double *out, size_t rows, size_t k)
{
	for (size_t i = 0; i < rows; i++)
		memcpy(out + i * H, b, H * sizeof(*out));
	cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, H, (int)k, 1, in, (int)k, w, H, 1, out, H);
	for (size_t i = 0; i < rows * H; i++)
		out[i] = out[i] > 0 ? out[i] : 0;
}

void ppo_net_forward(const struct ppo_net *n, struct ppo_work *w, size_t rows)
{
	const struct layers l = layers_of(n->param, n->n_in);
	must(rows <= PPO_BATCH);
	layer(w->x, l.w1, l.b1, w->h1, rows, n->n_in);
	layer(w->h1, l.w2, l.b2, w->h2, rows, H);
	for (size_t i = 0; i < rows; i++) {
		w->out[i] = *l.b3;
		for (size_t k = 0; k < H; k++)
			w->out[i] += w->h2[i * H + k] * l.w3[k];
	}
}

/* grad_w[k][H] += in' d, grad_b += sums of d */
static void layer_back(const double *in, const double *d, double *grad_w, double *grad_b, size_t rows, size_t k)
{
	cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)k, H, (int)rows, 1, in, (int)k, d, H, 1, grad_w, H);
	for (size_t i = 0; i < rows; i++)
		for (size_t j = 0; j < H; j++)
			grad_b[j] += d[i * H + j];
}

void ppo_net_backward(const struct ppo_net *n, struct ppo_work *w, size_t rows, double *grad)
{
	const struct layers l = layers_of(n->param, n->n_in);
	struct layers g = layers_of(grad, n->n_in);
	for (size_t i = 0; i < rows; i++) {
		const double *h2 = w->h2 + i * H;
		*g.b3 += w->d_out[i];
		for (size_t k = 0; k < H; k++) {
			g.w3[k] += w->d_out[i] * h2[k];
			w->d2[i * H + k] = h2[k] > 0 ? w->d_out[i] * l.w3[k] : 0;
		}
	}
	layer_back(w->h1, w->d2, g.w2, g.b2, rows, H);
	cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, H, H, 1, w->d2, H, l.w2, H, 0, w->d1, H);
	for (size_t i = 0; i < rows * H; i++)
		w->d1[i] = w->h1[i] > 0 ? w->d1[i] : 0;
	layer_back(w->x, w->d1, g.w1, g.b1, rows, n->n_in);
}

/* ---- Adam ---- */

int ppo_adam_new(struct ppo_adam *ret, size_t n, struct err *err)
{
	double *all = mem_calloc(3 * n, sizeof(*all));
	if (!all)
		return err_set(err, HCP_ENOMEM, "", "no memory to train a net");
	*ret = (struct ppo_adam){ .grad = all, .m1 = all + n, .m2 = all + 2 * n, .n = n };
	return 0;
}

void ppo_adam_release(struct ppo_adam *a)
{
	mem_free(a->grad);
	*a = (struct ppo_adam){ 0 };
}

void ppo_adam_step(struct ppo_adam *a, double *param, double rate, double gradient_max)
{
	double norm = 0, c1 = 1 - pow(0.9, (double)++a->steps), c2 = 1 - pow(0.999, (double)a->steps);
	for (size_t i = 0; i < a->n; i++)
		norm += a->grad[i] * a->grad[i];
	norm = sqrt(norm);
	double by = norm > gradient_max ? gradient_max / norm : 1;
	for (size_t i = 0; i < a->n; i++) {
		double g = a->grad[i] * by;
		a->m1[i] = 0.9 * a->m1[i] + 0.1 * g;
		a->m2[i] = 0.999 * a->m2[i] + 0.001 * g * g;
		param[i] -= rate * (a->m1[i] / c1) / (sqrt(a->m2[i] / c2) + 1e-8);
		a->grad[i] = 0;
	}
}
