#include "econ/ppo.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "econ/ppo_priv.h"

void ppo_conf_default(struct ppo_conf *c)
{
	*c = (struct ppo_conf){ .seed = 1,
		.iterations = 40,
		.epochs = 2,
		.steps = 8192,
		.episode_steps = 32,
		.gamma = 0.95,
		.lambda = 0.9,
		.clip = 0.2,
		.entropy = 0.003,
		.actor_rate = 5e-4,
		.critic_rate = 2e-3,
		.gradient_max = 1 };
}

static int in_range(double v, double lo, double hi, const char *field, struct err *err)
{
	return v >= lo && v <= hi ? 0 : err_set(err, HCP_ERANGE, field, "must be from %g to %g", lo, hi);
}

static int check(const struct ppo_conf *c, struct err *err)
{
	const struct {
		double v, lo, hi;
		const char *field;
	} all[] = { { c->iterations, 1, 1e5, "iterations" }, { c->epochs, 1, 100, "epochs" },
		{ c->steps, 1, PPO_STEPS_MAX, "steps" }, { c->episode_steps, 1, PPO_STEPS_MAX, "episode_steps" },
		{ c->gamma, 0, 1, "gamma" }, { c->lambda, 0, 1, "lambda" }, { c->clip, 1e-3, 1, "clip" },
		{ c->entropy, 0, 1, "entropy" }, { c->actor_rate, 0, 1, "actor_rate" }, { c->critic_rate, 0, 1, "critic_rate" },
		{ c->gradient_max, 1e-6, 1e6, "gradient_max" } };
	int rc = 0;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && rc == 0; i++)
		rc = in_range(all[i].v, all[i].lo, all[i].hi, all[i].field, err);
	return rc;
}

int ppo_agent_new(struct ppo_agent *ret, size_t n_in, uint64_t seed, struct err *err)
{
	struct ppo_agent a = { 0 };
	struct rng rng;
	int rc = ppo_net_new(&a.actor, n_in, err);
	rc = rc ? rc : ppo_net_new(&a.critic, n_in, err);
	if (rc < 0) {
		ppo_agent_release(&a);
		return rc;
	}
	rng_init(&rng, seed);
	ppo_net_start(&a.actor, &rng);
	ppo_net_start(&a.critic, &rng);
	*ret = a;
	return 0;
}

void ppo_agent_release(struct ppo_agent *a)
{
	ppo_net_release(&a->actor);
	ppo_net_release(&a->critic);
}

/* ---- losses ---- */

static double odds(double logit)
{
	return 1 / (1 + exp(-logit));
}

double ppo_log_odds(double logit, bool yes)
{
	double z = yes ? logit : -logit;
	return z > 0 ? -log1p(exp(-z)) : z - log1p(exp(z));
}

double ppo_actor_loss(const struct ppo_rollout *r, const size_t *index, size_t rows, double clip, double entropy,
	struct ppo_work *w, size_t *clipped)
{
	double loss = 0;
	for (size_t k = 0; k < rows; k++) {
		size_t i = index[k];
		double z = w->out[k], p = odds(z), a = r->advantage[i];
		double q = exp(ppo_log_odds(z, r->yes[i]) - r->log_odds[i]);
		double cut = fmin(1 + clip, fmax(1 - clip, q)),
			   h = -p * ppo_log_odds(z, true) - (1 - p) * ppo_log_odds(z, false);
		bool free = q * a <= cut * a;
		loss += -fmin(q * a, cut * a) - entropy * h;
		w->d_out[k] = ((free ? -q * a * ((double)r->yes[i] - p) : 0) + entropy * z * p * (1 - p)) / (double)rows;
		*clipped += !free;
	}
	return loss / (double)rows;
}

double ppo_critic_loss(const struct ppo_rollout *r, const size_t *index, size_t rows, struct ppo_work *w)
{
	double loss = 0;
	for (size_t k = 0; k < rows; k++) {
		double off = w->out[k] - r->target[index[k]];
		loss += off * off / 2;
		w->d_out[k] = off / (double)rows;
	}
	return loss / (double)rows;
}

/* ---- rollouts ---- */

void ppo_advantages(struct ppo_rollout *r, double gamma, double lambda)
{
	double next = 0;
	for (size_t t = r->n; t-- > 0;) {
		double delta = r->reward[t] + gamma * r->next_value[t] - r->value[t];
		next = delta + (r->last[t] ? 0 : gamma * lambda * next);
		r->advantage[t] = next;
		r->target[t] = next + r->value[t];
	}
}

struct trainer {
	const struct ppo_conf *c;
	const struct ppo_env *env;
	struct ppo_net actor, critic;     /* being trained; owned */
	double *mean_actor, *mean_critic; /* owned; sums of parameters */
	struct ppo_adam adam_actor, adam_critic;
	struct ppo_rollout r;  /* owned */
	struct ppo_work *work; /* owned */
	size_t *index;         /* owned; [steps] */
	struct rng rng;
};

static int trainer_new(struct trainer *t, const struct ppo_agent *a, struct err *err)
{
	size_t steps = t->c->steps, n_in = t->env->n_in, params = ppo_net_params(n_in);
	struct ppo_rollout *r = &t->r;
	int rc = ppo_net_new(&t->actor, n_in, err);
	rc = rc ? rc : ppo_net_new(&t->critic, n_in, err);
	rc = rc ? rc : ppo_adam_new(&t->adam_actor, params, err);
	rc = rc ? rc : ppo_adam_new(&t->adam_critic, params, err);
	if (rc < 0)
		return rc;
	memcpy(t->actor.param, a->actor.param, params * sizeof(double));
	memcpy(t->critic.param, a->critic.param, params * sizeof(double));
	t->mean_actor = mem_calloc(2 * params, sizeof(double));
	t->work = mem_calloc(1, sizeof(*t->work));
	t->index = mem_calloc(steps, sizeof(*t->index));
	r->x = mem_calloc(steps * n_in, sizeof(float));
	r->yes = mem_calloc(2, steps);
	r->reward = mem_calloc(6 * steps, sizeof(double));
	if (!t->mean_actor || !t->work || !t->index || !r->x || !r->yes || !r->reward)
		return err_set(err, HCP_ENOMEM, "steps", "no memory for %zu decisions", steps);
	t->mean_critic = t->mean_actor + params;
	r->last = r->yes + steps;
	r->value = r->reward + steps;
	r->next_value = r->value + steps;
	r->log_odds = r->next_value + steps;
	r->advantage = r->log_odds + steps;
	r->target = r->advantage + steps;
	r->n = steps;
	rng_init(&t->rng, t->c->seed);
	return 0;
}

static void trainer_release(struct trainer *t)
{
	ppo_net_release(&t->actor);
	ppo_net_release(&t->critic);
	ppo_adam_release(&t->adam_actor);
	ppo_adam_release(&t->adam_critic);
	mem_free(t->mean_actor);
	mem_free(t->work);
	mem_free(t->index);
	mem_free(t->r.x);
	mem_free(t->r.yes);
	mem_free(t->r.reward);
}

static void roll_out(struct trainer *t, struct ppo_progress *p)
{
	struct ppo_rollout *r = &t->r;
	float obs[PPO_IN_MAX];
	size_t length = 0, n_in = t->env->n_in;
	for (size_t i = 0; i < r->n; i++) {
		bool end = false;
		if (length == 0)
			t->env->reset(t->env->ctx, &t->rng, obs);
		memcpy(r->x + i * n_in, obs, n_in * sizeof(*obs));
		double logit = ppo_net_say(&t->actor, obs), value = ppo_net_say(&t->critic, obs), yes = odds(logit);
		if (length > 0)
			r->next_value[i - 1] = value;
		r->value[i] = value;
		r->yes[i] = rng_double(&t->rng) < yes;
		r->log_odds[i] = ppo_log_odds(logit, r->yes[i]);
		r->reward[i] = t->env->step(t->env->ctx, r->yes[i], obs, &end);
		length++;
		r->last[i] = end || length == t->c->episode_steps || i + 1 == r->n;
		if (r->last[i]) {
			r->next_value[i] = end ? 0 : ppo_net_say(&t->critic, obs);
			length = 0;
		}
		p->reward += r->reward[i];
		p->entropy -= yes * ppo_log_odds(logit, true) + (1 - yes) * ppo_log_odds(logit, false);
	}
}

/* Advantages as so many standard deviations, so that one rate fits any unit of the reward. */
static void normalise(double *a, size_t n)
{
	double sum = 0, squares = 0;
	for (size_t i = 0; i < n; i++)
		sum += a[i];
	for (size_t i = 0; i < n; i++)
		squares += (a[i] - sum / (double)n) * (a[i] - sum / (double)n);
	double by = 1 / (sqrt(squares / (double)n) + 1e-9);
	for (size_t i = 0; i < n; i++)
		a[i] = (a[i] - sum / (double)n) * by;
}

static void shuffle(size_t *index, size_t n, struct rng *rng)
{
	for (size_t i = n; i > 1; i--) {
		size_t k = (size_t)rng_below(rng, i), was = index[i - 1];
		index[i - 1] = index[k];
		index[k] = was;
	}
}

static void gather(struct ppo_work *w, const float *x, const size_t *index, size_t rows, size_t n_in)
{
	for (size_t k = 0; k < rows; k++)
		for (size_t i = 0; i < n_in; i++)
			w->x[k * n_in + i] = (double)x[index[k] * n_in + i];
}

static void improve(struct trainer *t, double part_left, struct ppo_progress *p)
{
	struct ppo_rollout *r = &t->r;
	struct ppo_work *w = t->work;
	size_t clipped = 0;
	for (uint32_t epoch = 0; epoch < t->c->epochs; epoch++) {
		shuffle(t->index, r->n, &t->rng);
		for (size_t at = 0; at < r->n; at += PPO_BATCH) {
			size_t rows = r->n - at < PPO_BATCH ? r->n - at : PPO_BATCH, n_in = t->env->n_in;
			gather(w, r->x, t->index + at, rows, n_in);
			ppo_net_forward(&t->actor, w, rows);
			ppo_actor_loss(r, t->index + at, rows, t->c->clip, t->c->entropy, w, &clipped);
			ppo_net_backward(&t->actor, w, rows, t->adam_actor.grad);
			ppo_adam_step(&t->adam_actor, t->actor.param, t->c->actor_rate * part_left, t->c->gradient_max);
			ppo_net_forward(&t->critic, w, rows);
			double mse = 2 * ppo_critic_loss(r, t->index + at, rows, w);
			p->critic_mse += epoch == 0 ? mse * (double)rows / (double)r->n : 0;
			ppo_net_backward(&t->critic, w, rows, t->adam_critic.grad);
			ppo_adam_step(&t->adam_critic, t->critic.param, t->c->critic_rate * part_left, t->c->gradient_max);
		}
	}
	p->clipped = (double)clipped / ((double)r->n * t->c->epochs);
}

static void train(struct trainer *t, ppo_progress_fn progress, void *arg)
{
	uint32_t n = t->c->iterations;
	size_t params = ppo_net_params(t->env->n_in);
	for (size_t i = 0; i < t->r.n; i++)
		t->index[i] = i;
	for (uint32_t k = 0; k < n; k++) {
		struct ppo_progress p = { .iteration = k + 1, .iterations = n };
		roll_out(t, &p);
		p.reward /= (double)t->r.n;
		p.entropy /= (double)t->r.n;
		ppo_advantages(&t->r, t->c->gamma, t->c->lambda);
		normalise(t->r.advantage, t->r.n);
		improve(t, 1 - (double)k / n, &p);
		for (size_t i = 0; k >= n / 2 && i < params; i++) {
			t->mean_actor[i] += t->actor.param[i];
			t->mean_critic[i] += t->critic.param[i];
		}
		if (progress)
			progress(arg, &p);
	}
}

int ppo_train(struct ppo_agent *a, const struct ppo_env *env, const struct ppo_conf *conf, ppo_progress_fn progress,
	void *arg, struct err *err)
{
	struct trainer t = { .c = conf, .env = env };
	must(env->n_in == a->actor.n_in && env->n_in == a->critic.n_in);
	int rc = check(conf, err);
	rc = rc ? rc : trainer_new(&t, a, err);
	if (rc == 0) {
		train(&t, progress, arg);
		double averaged = conf->iterations - conf->iterations / 2;
		for (size_t i = 0; i < ppo_net_params(env->n_in); i++) {
			a->actor.param[i] = (double)(float)(t.mean_actor[i] / averaged);
			a->critic.param[i] = (double)(float)(t.mean_critic[i] / averaged);
		}
	}
	trainer_release(&t);
	return rc;
}

/* ---- behaviour cloning ---- */

static void study(struct ppo_agent *a, const struct ppo_teacher *t, struct ppo_work *w, struct ppo_adam *adam,
	double rate, struct rng *rng)
{
	double weight[PPO_BATCH];
	bool yes[PPO_BATCH];
	float obs[PPO_IN_MAX];
	for (size_t k = 0; k < PPO_BATCH; k++) {
		t->lesson(t->ctx, rng, obs, &yes[k], &weight[k]);
		for (size_t i = 0; i < t->n_in; i++)
			w->x[k * t->n_in + i] = (double)obs[i];
	}
	ppo_net_forward(&a->actor, w, PPO_BATCH);
	for (size_t k = 0; k < PPO_BATCH; k++)
		w->d_out[k] = weight[k] * (odds(w->out[k]) - (double)yes[k]) / PPO_BATCH;
	ppo_net_backward(&a->actor, w, PPO_BATCH, adam->grad);
	ppo_adam_step(adam, a->actor.param, rate, 1);
}

int ppo_clone(struct ppo_agent *a, const struct ppo_teacher *t, uint32_t batches, double rate, uint64_t seed,
	struct err *err)
{
	struct ppo_adam adam = { 0 };
	struct rng rng;
	struct ppo_work *w = mem_calloc(1, sizeof(*w));
	must(t->n_in == a->actor.n_in);
	int rc = w ? ppo_adam_new(&adam, ppo_net_params(t->n_in), err) : err_set(err, HCP_ENOMEM, "", "no memory to learn");
	rng_init(&rng, seed);
	for (uint32_t k = 0; rc == 0 && k < batches; k++)
		study(a, t, w, &adam, rate * (1 - (double)k / batches), &rng);
	ppo_adam_release(&adam);
	mem_free(w);
	return rc;
}
