#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/rng.h"
#include "sched/scale.h"

#define T0 (INT64_C(1700000000) * NS_PER_S)
#define USD MICROS_PER_USD

/* A provider and what runs there, a second at a time. */
struct rig {
	struct scale *s;
	struct scale_view v;
	int64_t now_ns;
	int tokens;
	struct {
		char token[ID_TEXT_MAX];
		bool running;
		int starts;
	} there[256]; /* by token */
	int n_there;
	int64_t price, start_price;
	bool failing; /* every call */
	bool silent;  /* what is started never joins */
	int calls[SCALE_CALL_STOP + 1];
};

static struct scale_conf conf_of(void)
{
	struct scale_conf c;
	scale_conf_default(&c);
	c.n_types = 1;
	c.type[0] = (struct scale_type){ .name = "h100", .devices = 8, .nodes_max = 3, .price_max_micros_h = 30 * USD };
	c.budget_micros_h = 50 * USD;
	return c;
}

static void rig_init(struct rig *r, const struct scale_conf *c)
{
	*r = (struct rig){ .s = mem_calloc(1, sizeof(*r->s)), .now_ns = T0, .price = 20 * USD, .start_price = 20 * USD };
	assert_int_equal(scale_init(r->s, c, NULL), 0);
}

static void token(void *arg, char dst[ID_TEXT_MAX])
{
	struct rig *r = arg;
	snprintf(dst, ID_TEXT_MAX, "rn-%d", ++r->tokens);
}

static int at_provider(struct rig *r, const char *tok)
{
	int i = 0;
	while (i < r->n_there && strcmp(r->there[i].token, tok))
		i++;
	if (i == r->n_there)
		snprintf(r->there[r->n_there++].token, ID_TEXT_MAX, "%s", tok);
	return i;
}

static void answer(struct rig *r, const struct scale_node *n, enum scale_call c)
{
	char tok[ID_TEXT_MAX];
	snprintf(tok, sizeof(tok), "%s", n->token);
	struct scale_answer a = { .token = tok, .call = c, .attempt = n->attempt, .says = SCALE_SAYS_UNKNOWN };
	int i = at_provider(r, tok);
	if (r->failing) {
		a.error = "connection refused";
	} else if (c == SCALE_CALL_QUOTE) {
		a.price_micros_h = r->price;
	} else if (c == SCALE_CALL_START) {
		r->there[i].starts += !r->there[i].running;
		r->there[i].running = true;
		a.says = SCALE_SAYS_RUNNING;
		a.price_micros_h = r->start_price;
	} else if (c == SCALE_CALL_STATE) {
		a.says = r->there[i].running ? SCALE_SAYS_RUNNING : SCALE_SAYS_STOPPED;
	} else {
		r->there[i].running = false;
		a.says = SCALE_SAYS_STOPPED;
	}
	assert_true(scale_answered(r->s, &a, r->now_ns));
	assert_false(scale_answered(r->s, &a, r->now_ns)); /* a repeat changes nothing */
}

static void tick(struct rig *r, int seconds)
{
	for (int k = 0; k < seconds; k++) {
		struct scale_node *n;
		enum scale_call c;
		for (int i = 0; i < SCALE_SLOTS_MAX; i++) {
			const struct scale_node *x = &r->s->node[0][i];
			bool on = x->state != SCALE_FREE && r->there[at_provider(r, x->token)].running;
			r->v.node[0][i].joined = on && !r->silent;
		}
		scale_step(r->s, &r->v, r->now_ns, token, r);
		while ((c = scale_take(r->s, r->now_ns, &n)) != SCALE_CALL_NONE) {
			r->calls[c]++;
			answer(r, n, c);
		}
		r->now_ns += NS_PER_S;
	}
}

static int running(const struct rig *r)
{
	int n = 0;
	for (int i = 0; i < r->n_there; i++)
		n += r->there[i].running;
	return n;
}

static int in_state(const struct rig *r, enum scale_state s)
{
	int n = 0;
	for (int i = 0; i < SCALE_SLOTS_MAX; i++)
		n += r->s->node[0][i].state == s;
	return n;
}

static void rig_release(struct rig *r)
{
	mem_free(r->s);
}

static void ten_that_wait_bring_a_node_and_idleness_ends_it(void **state)
{
	struct rig r;
	struct scale_conf c = conf_of();
	char name[SCALE_NAME_MAX + 8];
	rig_init(&r, &c);
	assert_true(scale_due(r.s) == INT64_MAX && scale_call_due(r.s) == INT64_MAX);
	r.v.jobs[0] = r.v.devices[0] = 9;
	tick(&r, 60);
	assert_int_equal(r.tokens, 0);
	r.v.jobs[0] = r.v.devices[0] = 10;
	tick(&r, 10);
	assert_int_equal(r.tokens, 0); /* not yet for ten seconds */
	tick(&r, 2);
	assert_int_equal(running(&r), 2); /* ten devices on nodes of eight; 40 of 50 USD/h */
	assert_string_equal(scale_node_name(r.s, &r.s->node[0][1], name), "h100-2");
	r.v.jobs[0] = r.v.devices[0] = 0;
	r.v.node[0][0].busy = true;
	tick(&r, 299);
	assert_int_equal(in_state(&r, SCALE_UP), 2);
	tick(&r, 4);
	assert_int_equal(running(&r), 1);
	assert_true(strstr(r.s->node[0][1].reason, "idle for 300 s"));
	int64_t cost = scale_cost_micros(&r.s->node[0][1], r.now_ns + 3600 * NS_PER_S);
	assert_in_range(cost, 300 * 20 * USD / 3600, 310 * 20 * USD / 3600);
	r.v.node[0][0].busy = false;
	tick(&r, 100);
	r.v.jobs[0] = r.v.devices[0] = 1; /* one waits: what is idle stays */
	tick(&r, 400);
	assert_int_equal(running(&r), 1);
	r.v.jobs[0] = r.v.devices[0] = 0;
	tick(&r, 3);
	assert_int_equal(running(&r), 0);
	assert_int_equal(in_state(&r, SCALE_FREE), SCALE_SLOTS_MAX);
	assert_int_equal(scale_rate_micros_h(r.s), 0);
	rig_release(&r);
}

static void what_is_coming_counts_and_limits_hold(void **state)
{
	struct rig r;
	struct scale_conf c = conf_of();
	c.budget_micros_h = 1000 * USD;
	rig_init(&r, &c);
	r.silent = true;
	r.v.jobs[0] = r.v.devices[0] = 12;
	tick(&r, 100);
	assert_int_equal(running(&r), 2); /* 16 devices are coming: nothing more is ordered */
	r.v.devices[0] = 400;
	r.v.jobs[0] = 400;
	tick(&r, 40);
	assert_int_equal(running(&r), 3);
	assert_true(strstr(r.s->held, "all 3 nodes"));
	rig_release(&r);
	/* The budget counts what is asked for, too. */
	c = conf_of();
	rig_init(&r, &c);
	r.v.jobs[0] = r.v.devices[0] = 400;
	tick(&r, 200);
	assert_int_equal(running(&r), 2);
	assert_true(strstr(r.s->held, "beyond the budget"));
	rig_release(&r);
	rig_init(&r, &c);
	r.price = 31 * USD;
	r.v.jobs[0] = r.v.devices[0] = 400;
	tick(&r, 200);
	assert_int_equal(running(&r), 0);
	assert_int_equal(r.calls[SCALE_CALL_START], 0);
	assert_true(strstr(r.s->held, "dearer"));
	rig_release(&r);
}

static void providers_that_fail_or_lie_open_the_circuit(void **state)
{
	struct rig r;
	struct scale_conf c = conf_of();
	rig_init(&r, &c);
	r.failing = true;
	r.v.jobs[0] = r.v.devices[0] = 10;
	tick(&r, 250);
	assert_in_range(r.calls[SCALE_CALL_QUOTE], 3, 4); /* then the circuit is open, for five minutes */
	assert_true(strstr(r.s->held, "failed too often"));
	r.failing = false;
	tick(&r, 300);
	assert_int_equal(r.s->breaker.state, BREAKER_CLOSED);
	assert_in_range(running(&r), 1, 2);
	rig_release(&r);
	/* Said to run, and never joins: it is stopped, and counts as a failure. */
	rig_init(&r, &c);
	r.silent = true;
	r.v.jobs[0] = r.v.devices[0] = 10;
	tick(&r, 100);
	assert_int_equal(running(&r), 2);
	tick(&r, 350); /* again, once the first two are given back and the budget has room */
	assert_int_equal(r.s->breaker.state, BREAKER_OPEN);
	assert_int_equal(running(&r), 0);
	rig_release(&r);
	/* Dearer than quoted: stopped at once, and counted at the price that was told. */
	rig_init(&r, &c);
	r.start_price = 25 * USD;
	r.v.jobs[0] = r.v.devices[0] = 10;
	tick(&r, 11);
	r.v.jobs[0] = 0;
	tick(&r, 2);
	assert_int_equal(running(&r), 0);
	assert_true(r.s->node[0][0].price_micros_h == 25 * USD && strstr(r.s->node[0][0].reason, "quoted at 20.00"));
	rig_release(&r);
}

static void a_start_that_failed_is_stopped_all_the_same(void **state)
{
	struct rig r;
	struct scale_conf c = conf_of();
	rig_init(&r, &c);
	struct scale_node *n;
	r.v.jobs[0] = r.v.devices[0] = 8 + 2;
	tick(&r, 10);
	scale_step(r.s, &r.v, r.now_ns, token, &r);
	assert_int_equal(scale_take(r.s, r.now_ns, &n), SCALE_CALL_QUOTE);
	answer(&r, n, SCALE_CALL_QUOTE);
	assert_int_equal(n->state, SCALE_STARTING);
	/* The provider starts it; its answer is lost, three times. */
	r.there[at_provider(&r, n->token)].running = true;
	r.failing = true;
	for (int i = 0; i < SCALE_STARTS_MAX; i++) {
		struct scale_node *other;
		enum scale_call call;
		r.now_ns += 300 * NS_PER_S;
		while ((call = scale_take(r.s, r.now_ns, &other)) != SCALE_CALL_NONE)
			answer(&r, other, call);
	}
	assert_int_equal(n->state, SCALE_STOPPING);
	assert_true(scale_cordoned(n));
	assert_true(scale_rate_micros_h(r.s) >= 20 * USD); /* paid for until it is known to be gone */
	r.v.jobs[0] = r.v.devices[0] = 0;
	tick(&r, 1000);
	assert_int_equal(n->state, SCALE_STOPPING);
	r.failing = false;
	tick(&r, 400);
	assert_int_equal(running(&r), 0);
	assert_int_equal(in_state(&r, SCALE_FREE), SCALE_SLOTS_MAX);
	rig_release(&r);
}

/* Crashes at any moment, with calls whose answers are lost: nothing is started twice, nothing paid for is forgotten. */
static void crashes_lose_and_repeat_nothing(void **state)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct rig r;
		struct scale_conf c = conf_of();
		struct rng rng;
		rng_init(&rng, seed);
		rig_init(&r, &c);
		for (int k = 0; k < 3000; k++) {
			struct scale_node *n;
			enum scale_call call;
			if (rng_below(&rng, 200) == 0)
				r.v.jobs[0] = r.v.devices[0] = rng_below(&rng, 2) ? (int32_t)rng_below(&rng, 40) : 0;
			for (int i = 0; i < SCALE_SLOTS_MAX; i++) {
				const struct scale_node *x = &r.s->node[0][i];
				r.v.node[0][i].joined = x->state != SCALE_FREE && r.there[at_provider(&r, x->token)].running;
				r.v.node[0][i].busy = r.v.jobs[0] > 0;
			}
			scale_step(r.s, &r.v, r.now_ns, token, &r);
			while ((call = scale_take(r.s, r.now_ns, &n)) != SCALE_CALL_NONE) {
				if (rng_below(&rng, 4)) {
					answer(&r, n, call);
				} else if (call == SCALE_CALL_START) { /* done, and its answer lost */
					int i = at_provider(&r, n->token);
					r.there[i].starts += !r.there[i].running;
					r.there[i].running = true;
				}
			}
			if (rng_below(&rng, 50) == 0) { /* what was stored is what there is */
				struct scale *next = mem_calloc(1, sizeof(*next));
				assert_int_equal(scale_init(next, &c, NULL), 0);
				for (int i = 0; i < SCALE_SLOTS_MAX; i++)
					assert_int_equal(scale_restore(next, &r.s->node[0][i], NULL), 0);
				mem_free(r.s);
				r.s = next;
			}
			r.now_ns += NS_PER_S;
			int known = 0;
			for (int i = 0; i < SCALE_SLOTS_MAX; i++)
				known += r.s->node[0][i].state != SCALE_FREE && r.there[at_provider(&r, r.s->node[0][i].token)].running;
			assert_int_equal(known, running(&r));
			assert_true(running(&r) <= 3);
		}
		r.v.jobs[0] = r.v.devices[0] = 0;
		memset(&r.v.node, 0, sizeof(r.v.node));
		tick(&r, 1500);
		assert_int_equal(running(&r), 0);
		assert_true(r.tokens > 0);
		for (int i = 0; i < r.n_there; i++)
			assert_true(r.there[i].starts <= 1);
		rig_release(&r);
	}
}

static void bad_settings_name_their_field(void **state)
{
	struct scale *s = mem_calloc(1, sizeof(*s));
	struct err err;
#define REFUSED(set, code, what)                                                                                       \
	do {                                                                                                               \
		struct scale_conf c = conf_of();                                                                               \
		set;                                                                                                           \
		assert_int_equal(scale_init(s, &c, &err), code);                                                               \
		assert_string_equal(err.field, what);                                                                          \
	} while (0)
	REFUSED(c.n_types = 0, HCP_ERANGE, "types");
	REFUSED(c.type[0].devices = 0, HCP_ERANGE, "types[0].devices");
	REFUSED(c.type[0].nodes_max = 65, HCP_ERANGE, "types[0].nodes_max");
	REFUSED(c.type[0].name[0] = 'H', HCP_EINVAL, "types[0].name");
	REFUSED(c.type[0].price_max_micros_h = 0, HCP_ERANGE, "types[0].price_max_usd_h");
	REFUSED((c.type[1] = c.type[0], c.n_types = 2), HCP_EEXIST, "types[1].name");
	REFUSED(c.budget_micros_h = 0, HCP_ERANGE, "budget_usd_h");
	REFUSED(c.idle_ns = 0, HCP_ERANGE, "idle_s");
	REFUSED(c.up_jobs = 0, HCP_ERANGE, "up_jobs");
	struct scale_conf c = conf_of();
	assert_int_equal(scale_init(s, &c, NULL), 0);
	assert_int_equal(scale_restore(s, &(struct scale_node){ .type = 1 }, &err), HCP_ERANGE);
	mem_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_that_wait_bring_a_node_and_idleness_ends_it),
		cmocka_unit_test(what_is_coming_counts_and_limits_hold),
		cmocka_unit_test(providers_that_fail_or_lie_open_the_circuit),
		cmocka_unit_test(a_start_that_failed_is_stopped_all_the_same),
		cmocka_unit_test(crashes_lose_and_repeat_nothing),
		cmocka_unit_test(bad_settings_name_their_field),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
