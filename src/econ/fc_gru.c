#include "econ/fc_priv.h"

#include <string.h>

/* The recurrent layer of src/learn over the sequence, then out = Wo h_last + bo. */
enum { H = FC_GRU_H, X = FC_SEQ_N, T = FC_SEQ_LEN, OUT = FC_GRU_OUT };

static const struct gru_shape shape = { .inputs = X, .hidden = H, .steps = T, .batch = FC_GRU_BATCH };

struct gru *fc_gru_new(void)
{
	return gru_new(&shape);
}

/* The output layer begins at 0, which is the regression's own spread. */
void fc_gru_start(double *param, uint64_t seed)
{
	struct rng rng;
	rng_init(&rng, seed);
	memset(param, 0, FC_GRU_PARAMS * sizeof(*param));
	gru_start(&shape, param, &rng);
}

void fc_gru_forward(struct gru *g, const double *param, const double *x, size_t batch, double *out)
{
	gru_forward(g, param, x, NULL, batch);
	for (size_t i = 0; i < batch; i++)
		memcpy(out + i * OUT, param + FC_GRU_BO, OUT * sizeof(double));
	gru_add_abt(gru_state(g, T), param + FC_GRU_WO, out, batch, OUT, H);
}

void fc_gru_backward(
	struct gru *g, const double *param, const double *x, size_t batch, const double *d_out, double *grad)
{
	for (size_t i = 0; i < batch; i++)
		for (size_t k = 0; k < OUT; k++)
			grad[FC_GRU_BO + k] += d_out[i * OUT + k];
	gru_add_atb(d_out, gru_state(g, T), grad + FC_GRU_WO, OUT, H, batch);
	gru_clear(g, batch);
	gru_add_ab(d_out, param + FC_GRU_WO, gru_d_state(g, T), batch, H, OUT);
	gru_backward(g, param, x, batch, grad);
}
