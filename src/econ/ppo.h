#ifndef HCP_ECON_PPO_H
#define HCP_ECON_PPO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"

/*
 * Proximal Policy Optimization (Schulman, Wolski, Dhariwal, Radford, Klimov 2017) of a yes-or-no decision: an actor
 * that gives the logit of "yes" and a critic that gives the value of a state, each a net of two hidden layers.
 *
 *	net:     x -> relu(x W1 + b1) -> relu(. W2 + b2) -> . w3 + b3
 *	rollout: `steps` decisions of the present actor, drawn at its own odds
 *	advantage (Schulman et al. 2016): A_t = sum_k (gamma lambda)^k (r_t+k + gamma V_t+k+1 - V_t+k)
 *	actor:   -min(q A, clip(q, 1 - c, 1 + c) A) - entropy * H,   q = odds now / odds at the rollout
 *	critic:  (V - (A + V_rollout))^2 / 2
 *
 * Adam (Kingma, Ba 2015), gradients clipped by their norm, rate falling to 0. What comes out is the mean of the
 * parameters over the second half of the iterations (Polyak, Juditsky 1992), rounded to float, as it is stored. The
 * same seed and environment give the same bits on the same kind of processor: products go through OpenBLAS in sizes
 * that it computes on one thread. Saying what a net says (ppo_net_say) is plain arithmetic in one order, alike
 * everywhere.
 */
enum {
	PPO_HIDDEN = 32,
	PPO_IN_MAX = 64,
	PPO_BATCH = 128,
	PPO_STEPS_MAX = 1 << 20, /* of a rollout */
};

struct ppo_net {
	size_t n_in;   /* 1 .. PPO_IN_MAX */
	double *param; /* owned; [ppo_net_params(n_in)]: W1 [n_in][HIDDEN], b1, W2 [HIDDEN][HIDDEN], b2, w3, b3 */
};

static inline size_t ppo_net_params(size_t n_in)
{
	return n_in * PPO_HIDDEN + PPO_HIDDEN + PPO_HIDDEN * PPO_HIDDEN + PPO_HIDDEN + PPO_HIDDEN + 1;
}

int ppo_net_new(struct ppo_net *ret, size_t n_in, struct err *err) MUST_CHECK;
void ppo_net_release(struct ppo_net *n);
/* He et al. 2015 for the hidden layers; the last layer begins small, so the first odds are near even. */
void ppo_net_start(struct ppo_net *n, struct rng *rng);
double ppo_net_say(const struct ppo_net *n, const float *x);

struct ppo_agent {
	struct ppo_net actor, critic;
};

int ppo_agent_new(struct ppo_agent *ret, size_t n_in, uint64_t seed, struct err *err) MUST_CHECK;
void ppo_agent_release(struct ppo_agent *a);

/* Where decisions are made. One environment is run by one thread; randomness comes from the caller. */
struct ppo_env {
	void *ctx; /* borrowed */
	size_t n_in;
	/* Begins an episode and writes what is observed. */
	void (*reset)(void *ctx, struct rng *rng, float *obs);
	/* Returns the reward. Writes what is observed next, unless *ret_end. */
	double (*step)(void *ctx, bool yes, float *obs, bool *ret_end);
};

struct ppo_conf {
	uint64_t seed;
	uint32_t iterations, epochs;
	uint32_t steps;         /* decisions an iteration; <= PPO_STEPS_MAX */
	uint32_t episode_steps; /* an episode is cut here, and the critic stands for the rest */
	double gamma, lambda, clip, entropy;
	double actor_rate, critic_rate, gradient_max;
};
void ppo_conf_default(struct ppo_conf *c);

struct ppo_progress {
	uint32_t iteration, iterations;
	double reward;     /* mean of a decision in this rollout */
	double entropy;    /* mean, nat */
	double clipped;    /* share of the decisions whose odds left the clip */
	double critic_mse; /* of the rollout's returns, before this iteration's steps */
};
typedef void (*ppo_progress_fn)(void *arg, const struct ppo_progress *p);

/* Goes on from the agent as it is. HCP_EINVAL, HCP_ERANGE with the setting; HCP_ENOMEM: the agent is as it was. */
int ppo_train(struct ppo_agent *a, const struct ppo_env *env, const struct ppo_conf *conf, ppo_progress_fn progress,
	void *arg, struct err *err) MUST_CHECK;

/*
 * Behaviour cloning, to begin from: the actor learns to say what a teacher says, `batches` times PPO_BATCH lessons of
 * weighted logistic loss, so that its odds are even where both mistakes cost the same. HCP_ENOMEM.
 */
struct ppo_teacher {
	void *ctx; /* borrowed */
	size_t n_in;
	/* Any situation, what to say, and what a mistake costs. */
	void (*lesson)(void *ctx, struct rng *rng, float *obs, bool *ret_yes, double *ret_weight);
};
int ppo_clone(struct ppo_agent *a, const struct ppo_teacher *t, uint32_t batches, double rate, uint64_t seed,
	struct err *err) MUST_CHECK;

#endif
