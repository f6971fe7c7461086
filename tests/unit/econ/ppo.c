/* Proximal Policy Optimization: gradients, advantages, and whether it learns what is known to be best. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "econ/ppo_priv.h"

enum { IN = 7, ROWS = 50 };

/* ---- gradients ---- */

struct data {
	float x[ROWS * IN];
	uint8_t yes[ROWS], last[ROWS];
	double v[6][ROWS];
	size_t index[ROWS];
	struct ppo_rollout r;
};

static void make_data(struct data *d, uint64_t seed)
{
	struct rng rng;
	rng_init(&rng, seed);
	d->r = (struct ppo_rollout){ .n = ROWS,
		.x = d->x,
		.yes = d->yes,
		.last = d->last,
		.reward = d->v[0],
		.value = d->v[1],
		.next_value = d->v[2],
		.log_odds = d->v[3],
		.advantage = d->v[4],
		.target = d->v[5] };
	for (size_t i = 0; i < ROWS; i++) {
		d->index[i] = ROWS - 1 - i;
		d->yes[i] = rng_below(&rng, 2);
		d->last[i] = rng_below(&rng, 7) == 0;
		for (size_t k = 0; k < 6; k++)
			d->v[k][i] = rng_normal(&rng);
		/* Odds of a policy not far from the net's own, on both sides of the clip. */
		d->v[3][i] = ppo_log_odds(rng_normal(&rng), d->yes[i]);
	}
	for (size_t i = 0; i < ROWS * IN; i++)
		d->x[i] = (float)rng_normal(&rng);
}

static void load_rows(const struct data *d, struct ppo_work *w)
{
	for (size_t k = 0; k < ROWS; k++)
		for (size_t i = 0; i < IN; i++)
			w->x[k * IN + i] = (double)d->x[d->index[k] * IN + i];
}

static double loss_of(const struct ppo_net *n, const struct data *d, bool actor, struct ppo_work *w, size_t *clipped)
{
	load_rows(d, w);
	ppo_net_forward(n, w, ROWS);
	return actor ? ppo_actor_loss(&d->r, d->index, ROWS, 0.2, 0.05, w, clipped)
				 : ppo_critic_loss(&d->r, d->index, ROWS, w);
}

static void gradients_are_those_of_finite_differences(void **state)
{
	(void)state;
	static struct data d;
	static struct ppo_work w;
	static double grad[PPO_IN_MAX * PPO_HIDDEN * 4];
	const double eps = 1e-6;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		for (int actor = 0; actor < 2; actor++) {
			struct ppo_net n;
			struct rng rng;
			size_t params = ppo_net_params(IN), clipped = 0, checked = 0, ignored = 0;
			rng_init(&rng, seed);
			assert_int_equal(ppo_net_new(&n, IN, NULL), 0);
			ppo_net_start(&n, &rng);
			for (size_t i = params - PPO_HIDDEN - 1; i < params; i++)
				n.param[i] = rng_normal(&rng); /* the last layer begins near 0, where little would be tested */
			make_data(&d, seed);
			memset(grad, 0, sizeof(grad));
			loss_of(&n, &d, actor, &w, &clipped);
			ppo_net_backward(&n, &w, ROWS, grad);
			assert_true(!actor || (clipped > 3 && clipped < ROWS - 3));
			for (size_t i = 0; i < params; i++) {
				double was = n.param[i];
				n.param[i] = was + eps;
				double above = loss_of(&n, &d, actor, &w, &ignored);
				n.param[i] = was - eps;
				double below = loss_of(&n, &d, actor, &w, &ignored), slope = (above - below) / (2 * eps);
				n.param[i] = was;
				if (fabs(slope - grad[i]) > 1e-6 * (1 + fabs(slope)))
					fail_msg("seed %d, actor %d, parameter %zu: %g, not %g", (int)seed, actor, i, grad[i], slope);
				checked += fabs(slope) > 1e-4;
			}
			assert_true(checked > params / 2);
			ppo_net_release(&n);
		}
	}
}

static void one_row_is_as_in_a_batch(void **state)
{
	(void)state;
	static struct data d;
	static struct ppo_work w;
	struct ppo_agent a;
	make_data(&d, 5);
	assert_int_equal(ppo_agent_new(&a, IN, 5, NULL), 0);
	load_rows(&d, &w);
	ppo_net_forward(&a.critic, &w, ROWS);
	for (size_t k = 0; k < ROWS; k++)
		assert_true(fabs(w.out[k] - ppo_net_say(&a.critic, d.x + d.index[k] * IN)) < 1e-12);
	ppo_agent_release(&a);
}

/* By the sum that the header gives, not by the recursion. */
static void advantages_are_sums_of_what_was_better_than_thought(void **state)
{
	(void)state;
	static struct data d;
	const double gamma = 0.9, lambda = 0.7;
	make_data(&d, 9);
	d.last[ROWS - 1] = 1;
	ppo_advantages(&d.r, gamma, lambda);
	for (size_t t = 0; t < ROWS; t++) {
		double want = 0, by = 1;
		for (size_t k = t; k < ROWS; k++, by *= gamma * lambda) {
			want += by * (d.r.reward[k] + gamma * d.r.next_value[k] - d.r.value[k]);
			if (d.last[k])
				break;
		}
		assert_true(fabs(want - d.r.advantage[t]) < 1e-12);
		assert_true(fabs(want + d.r.value[t] - d.r.target[t]) < 1e-12);
	}
}

/* ---- learning ---- */

/*
 * A heater in a cold house. Yes costs 1.3 now and warms the next two steps, each worth 1 when it is cold outside and
 * nothing when it is warm; warmth does not add up. So it pays to heat when both coming steps are cold and it is not
 * warm inside already; greedily it never pays. The weather of the next two steps is seen, among noise.
 */
struct house {
	int warm;     /* steps that the house stays warm */
	bool cold[3]; /* now, and the two after */
	size_t t;
	struct rng rng; /* of the weather */
	uint64_t seed;
};

static void house_see(struct house *h, float *obs)
{
	for (size_t k = 0; k < IN; k++)
		obs[k] = (float)rng_normal(&h->rng);
	obs[1] = (float)h->warm;
	obs[3] = h->cold[1];
	obs[4] = h->cold[2];
}

static void house_reset(void *ctx, struct rng *rng, float *obs)
{
	struct house *h = ctx;
	rng_init(&h->rng, h->seed ? h->seed : rng_u64(rng));
	*h = (struct house){ .rng = h->rng, .seed = h->seed };
	for (size_t k = 0; k < 3; k++)
		h->cold[k] = rng_below(&h->rng, 2);
	house_see(h, obs);
}

static double house_step(void *ctx, bool yes, float *obs, bool *ret_end)
{
	struct house *h = ctx;
	double reward = yes ? -1.3 : 0;
	h->warm = yes ? 2 : h->warm > 0 ? h->warm - 1 : 0;
	h->cold[0] = h->cold[1];
	h->cold[1] = h->cold[2];
	h->cold[2] = rng_below(&h->rng, 2);
	/* What the next step is worth shows up at once; that after it only a step later. */
	reward += h->warm && h->cold[0];
	*ret_end = ++h->t == 20;
	house_see(h, obs);
	return reward;
}

/* Mean reward of an episode: of the net, or with NULL of the rule that is best. */
static double live(const struct ppo_net *n)
{
	double sum = 0;
	struct house h = { 0 };
	struct rng rng;
	enum { EPISODES = 400 };
	rng_init(&rng, 1);
	for (uint64_t k = 1; k <= EPISODES; k++) {
		float obs[IN];
		bool end = false;
		h.seed = k;
		house_reset(&h, &rng, obs);
		while (!end) {
			bool best = h.warm <= 1 && h.cold[1] && h.cold[2];
			sum += house_step(&h, n ? ppo_net_say(n, obs) > 0 : best, obs, &end);
		}
	}
	return sum / EPISODES;
}

static struct ppo_conf quick(uint64_t seed)
{
	struct ppo_conf c;
	ppo_conf_default(&c);
	c.seed = seed;
	c.iterations = 60;
	c.steps = 1024;
	c.gamma = 0.9;
	c.epochs = 4;
	c.actor_rate = 1e-3;
	return c;
}

static void it_learns_what_pays_later(void **state)
{
	(void)state;
	struct house h = { 0 };
	struct ppo_env env = { .ctx = &h, .n_in = IN, .reset = house_reset, .step = house_step };
	double best = live(NULL);
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct ppo_conf c = quick(seed);
		struct ppo_agent a;
		assert_int_equal(ppo_agent_new(&a, IN, seed, NULL), 0);
		double before = live(&a.actor);
		h = (struct house){ 0 };
		assert_int_equal(ppo_train(&a, &env, &c, NULL, NULL, NULL), 0);
		double after = live(&a.actor);
		print_message("seed %d: %.3f before, %.3f after, %.3f is the best rule\n", (int)seed, before, after, best);
		assert_true(best > 0.5 && after > 0.9 * best && before < 0.5 * best);
		ppo_agent_release(&a);
	}
}

static void train_once(uint64_t seed, struct ppo_agent *a)
{
	struct house h = { 0 };
	struct ppo_env env = { .ctx = &h, .n_in = IN, .reset = house_reset, .step = house_step };
	struct ppo_conf c = quick(seed);
	c.iterations = 4;
	assert_int_equal(ppo_agent_new(a, IN, seed, NULL), 0);
	assert_int_equal(ppo_train(a, &env, &c, NULL, NULL, NULL), 0);
}

static void a_seed_gives_the_same_bits(void **state)
{
	(void)state;
	struct ppo_agent a, b, c;
	size_t bytes = ppo_net_params(IN) * sizeof(double);
	train_once(3, &a);
	train_once(3, &b);
	train_once(4, &c);
	assert_memory_equal(a.actor.param, b.actor.param, bytes);
	assert_memory_equal(a.critic.param, b.critic.param, bytes);
	assert_memory_not_equal(a.actor.param, c.actor.param, bytes);
	for (size_t i = 0; i < ppo_net_params(IN); i++)
		assert_true(a.actor.param[i] == (double)(float)a.actor.param[i]); /* as it is stored */
	ppo_agent_release(&a);
	ppo_agent_release(&b);
	ppo_agent_release(&c);
}

static void count_calls(void *arg, const struct ppo_progress *p)
{
	uint32_t *n = arg;
	assert_int_equal(p->iteration, ++*n);
	assert_true(p->entropy > 0 && p->entropy <= log(2) + 1e-12 && p->critic_mse >= 0 && p->clipped <= 1);
}

static void settings_out_of_range_and_lack_of_memory_change_nothing(void **state)
{
	(void)state;
	struct house h = { 0 };
	struct ppo_env env = { .ctx = &h, .n_in = IN, .reset = house_reset, .step = house_step };
	struct ppo_agent a, was;
	struct err err = { 0 };
	size_t bytes = ppo_net_params(IN) * sizeof(double);
	train_once(1, &a);
	train_once(1, &was);
	struct ppo_conf c = quick(1);
	c.gamma = 1.5;
	assert_int_equal(ppo_train(&a, &env, &c, NULL, NULL, &err), HCP_ERANGE);
	assert_string_equal(err.field, "gamma");
	c = quick(1);
	c.steps = 0;
	assert_int_equal(ppo_train(&a, &env, &c, NULL, NULL, &err), HCP_ERANGE);
	assert_string_equal(err.field, "steps");
	c = quick(1);
	c.clip = NAN;
	assert_int_equal(ppo_train(&a, &env, &c, NULL, NULL, &err), HCP_ERANGE);
	c = quick(1);
	c.iterations = 2;
	int64_t live_before = mem_live();
	int rc = HCP_ENOMEM;
	for (uint64_t nth = 1; rc == HCP_ENOMEM; nth++) {
		assert_true(nth < 100);
		assert_memory_equal(a.actor.param, was.actor.param, bytes);
		assert_memory_equal(a.critic.param, was.critic.param, bytes);
		mem_fail_after(nth, 0);
		rc = ppo_train(&a, &env, &c, NULL, NULL, &err);
		mem_fail_after(0, 0);
		assert_int_equal(mem_live(), live_before);
	}
	assert_int_equal(rc, 0);
	uint32_t calls = 0;
	assert_int_equal(ppo_train(&a, &env, &c, count_calls, &calls, &err), 0);
	assert_int_equal(calls, 2);
	ppo_agent_release(&a);
	ppo_agent_release(&was);
}

/* Yes where x[2] is above 0.5, where mistakes cost; elsewhere the teacher says no at no cost. */
static void teach(void *ctx, struct rng *rng, float *obs, bool *ret_yes, double *ret_weight)
{
	(void)ctx;
	for (size_t i = 0; i < IN; i++)
		obs[i] = (float)rng_normal(rng);
	bool counts = obs[5] > 0;
	*ret_yes = counts && obs[2] > 0.5F;
	*ret_weight = counts;
}

static void a_teacher_is_followed_where_it_matters(void **state)
{
	(void)state;
	const struct ppo_teacher t = { .n_in = IN, .lesson = teach };
	struct ppo_agent a;
	struct rng rng;
	struct err err = { 0 };
	size_t right = 0, n = 0, yes_beyond = 0;
	assert_int_equal(ppo_agent_new(&a, IN, 1, NULL), 0);
	mem_fail_after(1, 0);
	assert_int_equal(ppo_clone(&a, &t, 1, 1e-3, 1, &err), HCP_ENOMEM);
	mem_fail_after(2, 0);
	assert_int_equal(ppo_clone(&a, &t, 1, 1e-3, 1, &err), HCP_ENOMEM);
	mem_fail_after(0, 0);
	assert_int_equal(ppo_clone(&a, &t, 1000, 3e-3, 1, NULL), 0);
	rng_init(&rng, 99);
	for (int i = 0; i < 2000; i++) {
		float obs[IN];
		bool yes;
		double weight;
		teach(NULL, &rng, obs, &yes, &weight);
		bool said = ppo_net_say(&a.actor, obs) > 0;
		n += weight > 0;
		right += weight > 0 && said == yes;
		yes_beyond += obs[5] < -0.5F && obs[2] > 0.8F && said;
	}
	assert_true(n > 800 && right > n * 95 / 100);
	assert_true(yes_beyond > 20); /* unweighted lessons have not been learned */
	ppo_agent_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_are_those_of_finite_differences),
		cmocka_unit_test(one_row_is_as_in_a_batch),
		cmocka_unit_test(advantages_are_sums_of_what_was_better_than_thought),
		cmocka_unit_test(it_learns_what_pays_later),
		cmocka_unit_test(a_teacher_is_followed_where_it_matters),
		cmocka_unit_test(a_seed_gives_the_same_bits),
		cmocka_unit_test(settings_out_of_range_and_lack_of_memory_change_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
