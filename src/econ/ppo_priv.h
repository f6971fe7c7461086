#ifndef HCP_ECON_PPO_PRIV_H
#define HCP_ECON_PPO_PRIV_H

#include "econ/ppo.h"

/* Activations of a batch of at most PPO_BATCH rows. */
struct ppo_work {
	double x[PPO_BATCH * PPO_IN_MAX], h1[PPO_BATCH * PPO_HIDDEN], h2[PPO_BATCH * PPO_HIDDEN];
	double d1[PPO_BATCH * PPO_HIDDEN], d2[PPO_BATCH * PPO_HIDDEN];
	double out[PPO_BATCH], d_out[PPO_BATCH];
};

/* w->x holds `rows` rows; fills w->out. */
void ppo_net_forward(const struct ppo_net *n, struct ppo_work *w, size_t rows);
/* After forward: adds to grad what w->d_out makes of the parameters. */
void ppo_net_backward(const struct ppo_net *n, struct ppo_work *w, size_t rows, double *grad);

struct ppo_adam {
	double *grad, *m1, *m2; /* owned together */
	size_t n;
	uint64_t steps;
};
int ppo_adam_new(struct ppo_adam *ret, size_t n, struct err *err) MUST_CHECK;
void ppo_adam_release(struct ppo_adam *a);
/* One step downhill; grad is cleared. */
void ppo_adam_step(struct ppo_adam *a, double *param, double rate, double gradient_max);

/* Of the decisions of one rollout. */
struct ppo_rollout {
	size_t n;
	float *x;                                                            /* [n][n_in] */
	uint8_t *yes, *last;                                                 /* last of its episode */
	double *reward, *value, *next_value, *log_odds, *advantage, *target; /* log_odds: of what was done */
};

/* Rows of a rollout in w->x and by index. Both return the mean loss and set w->d_out to its gradient. */
double ppo_actor_loss(const struct ppo_rollout *r, const size_t *index, size_t rows, double clip, double entropy,
	struct ppo_work *w, size_t *clipped);
double ppo_critic_loss(const struct ppo_rollout *r, const size_t *index, size_t rows, struct ppo_work *w);

/* Advantages and the critic's targets, from reward, value, next_value (0 after an end) and last. */
void ppo_advantages(struct ppo_rollout *r, double gamma, double lambda);
/* log of the odds of yes (no) at this logit. */
double ppo_log_odds(double logit, bool yes);

#endif
