/* Power: budgets that hold at every moment, work that waits for watts, and the emergency stop. */

#include "resources_rig.h"

static void stop_all(struct rig *g)
{
	Hcp__Directive d = HCP__DIRECTIVE__INIT;
	d.id = "pl-stop";
	d.emergency_stop = true;
	publish(g, SVC_ORCHESTRATOR, MSG_DIRECTIVE, &d.base, 1);
}

static void emergency_stop_turns_everything_off(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 4, "east"), *b = agent_add(g, "n2", "S21", 4, "west");
	const char *one[] = { "n1/d0" }, *other[] = { "n1/d1" };
	hello(g, a);
	hello(g, b);
	direct(g, "east", "H100", 1, 3, 0);
	deliver(g);
	run_s(g, 4);
	place(g, "al-1", 1, one, 1);
	deliver(g);
	alloc_state(g, HCP__ALLOCATION_STATE__HELD);
	place(g, "al-2", 1, other, 1); /* still switching when it stops */
	stop_all(g);
	assert_string_equal(alloc_state(g, HCP__ALLOCATION_STATE__REFUSED)->reason, "emergency stop");
	deliver(g);
	run_s(g, 6);
	assert_int_equal(agents_in(g, HCP__MODE__OFF), 8);
	assert_false(a->may_serve || a->may_fill || b->may_fill);
	place(g, "al-3", 1, one, 1);
	alloc_state(g, HCP__ALLOCATION_STATE__REFUSED);
	direct(g, "east", "H100", 1, 3, 0);
	run_s(g, 8);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 3);
	rig_free(g);
}

/* What was on the way to it when its stream broke. */
static void drop_for(struct rig *g, const struct agent *a)
{
	int kept_n = 0;
	for (int i = 0; i < g->n_inbox; i++) {
		if (strcmp(g->inbox[i].data, a->id))
			g->inbox[kept_n++] = g->inbox[i];
		else
			buf_release(&g->inbox[i]);
	}
	g->n_inbox = kept_n;
}

/* What a node does by itself when its lease has run out. */
static void fall(struct rig *g, struct agent *a)
{
	for (int k = 0; k < a->n && g->now >= a->lease_until_ns; k++)
		a->mode[k] = a->shown[k] = HCP__MODE__SAFE;
	if (a->quiet)
		drop_for(g, a);
}

/* A request comes to a mining node that may serve by itself. */
static void serve_by_itself(const struct rig *g, struct agent *a)
{
	for (int k = 0; k < a->n && a->may_serve && g->now < a->lease_until_ns; k++)
		if (a->mode[k] == HCP__MODE__FILL)
			a->mode[k] = a->shown[k] = HCP__MODE__SERVE;
}

/* Its agent starts again. */
static void start_again(struct rig *g, struct agent *a, int t)
{
	snprintf(a->boot, sizeof(a->boot), "boot-%d", t);
	a->seq = 0;
	for (int k = 0; k < a->n; k++)
		a->mode[k] = a->shown[k] = HCP__MODE__SAFE;
	drop_for(g, a);
	if (!a->quiet)
		hello(g, a);
}

static void random_place(struct rig *g, struct rng *r, int t)
{
	const char *dev[2];
	char text[2][16], id[16];
	for (int k = 0; k < 2; k++) {
		snprintf(text[k], sizeof(text[k]), "n%d/d%d", (int)rng_below(r, 3), (int)rng_below(r, 4));
		dev[k] = text[k];
	}
	snprintf(id, sizeof(id), "al-%d", t);
	place(g, id, 1 + (int)rng_below(r, 2), dev, 1);
}

static void random_faults(struct agent *a, struct rng *r)
{
	a->deaf = rng_below(r, 3) == 0;
	a->refuses = rng_below(r, 4) == 0;
	a->mute = rng_below(r, 3) == 0;
	a->lies = rng_below(r, 4) == 0;
}

/* Everyone who is not cut off reports. */
static void time_passes(struct rig *g, int seconds)
{
	g->now += seconds * S;
	for (int i = 0; i < g->n_agents; i++)
		fall(g, &g->agent[i]);
	settle(g);
	for (int i = 0; i < g->n_agents; i++)
		if (!g->agent[i].quiet)
			report(g, &g->agent[i]);
}

static void random_event(struct rig *g, struct rng *r, int t)
{
	struct agent *a = &g->agent[rng_below(r, 4)];
	char id[16];
	for (int i = 0; i < g->n_agents; i++)
		fall(g, &g->agent[i]);
	switch (rng_below(r, 15)) {
	case 12:
		serve_by_itself(g, a);
		break;
	case 13:
		a->quiet = !a->quiet && rng_below(r, 2);
		break;
	case 14:
		start_again(g, a, t);
		break;
	case 0:
		direct(g, "east", "H100", (int)rng_below(r, 6), (int)rng_below(r, 8), 0);
		break;
	case 1:
		direct_at(g, "east", "S21", 0, (int)rng_below(r, 3), (int32_t[]){ 0, 2313, 3936 }[rng_below(r, 3)], 0);
		break;
	case 2:
		random_place(g, r, t);
		break;
	case 3:
		snprintf(id, sizeof(id), "al-%d", (int)rng_below(r, (uint64_t)t + 1));
		release(g, id);
		break;
	case 4:
		random_faults(a, r);
		break;
	case 5:
		stop_all(g);
		break;
	case 6:
	case 7:
		deliver(g);
		break;
	case 8:
		lose_commands(g);
		break;
	default:
		time_passes(g, (int)rng_below(r, 4));
	}
}

/* Agents take commands late or not at all, refuse, vanish, start again and switch by themselves. Watts stay below the
 * budget at every moment. */
static void power_budget_is_never_exceeded(void **state)
{
	static const struct resources_budget budget[] = { { .facility = "east", .budget_w = 6000 } };
	const struct resources_conf conf = { .budgets = budget, .n_budgets = 1 };
	struct rng r;
	rng_init(&r, 11);
	int64_t most_w = 0;
	for (int round = 0; round < 20; round++) {
		struct rig *g = rig_new(NULL, &conf);
		g->budget_w = 6000;
		for (int i = 0; i < 4; i++) {
			char id[8];
			snprintf(id, sizeof(id), "n%d", i);
			hello(g, agent_add(g, id, i < 3 ? "H100" : "S21", i < 3 ? 4 : 2, "east"));
		}
		for (int t = 0; t < 250; t++) {
			random_event(g, &r, t);
			int64_t now_w = physical_w(g), reserved_w = resources_reserved_w(svc_state(g->svc), "east");
			most_w = now_w > most_w ? now_w : most_w;
			assert_true(now_w <= 6000);
			assert_true(now_w <= reserved_w && reserved_w <= 6000);
		}
		rig_free(g);
	}
	assert_true(most_w > 4000); /* the budget was made use of */
}

/* Two orders are on the way, up and down again; readings from before both must not free the watts of the first. */
static void watts_of_an_order_on_the_way_stay_reserved(void **state)
{
	static const struct resources_budget budget[] = { { .facility = "east", .budget_w = 1600 } };
	const struct resources_conf conf = { .budgets = budget, .n_budgets = 1 };
	struct rig *g = rig_new(NULL, &conf);
	struct agent *a = agent_add(g, "n1", "H100", 2, "east"), *b = agent_add(g, "n2", "A100", 2, "east");
	g->budget_w = 1600;
	hello(g, a);
	hello(g, b);
	run_s(g, 2);
	direct(g, "east", "H100", 2, 0, 0);
	direct(g, "east", "H100", 0, 0, 2);
	direct(g, "east", "A100", 2, 0, 0);
	struct buf mail[8];
	int n = g->n_inbox;
	assert_int_equal(n, 2);
	memcpy(mail, g->inbox, sizeof(mail[0]) * 2);
	g->n_inbox = 0;
	g->now += S;
	report(g, a); /* still OFF, and so is what was last ordered */
	report(g, b);
	settle(g);
	deliver(g); /* what n2 was told, if anything */
	memcpy(g->inbox, mail, sizeof(mail[0]) * 2);
	g->n_inbox = 2;
	deliver(g);
	run_s(g, 10);
	assert_int_equal(b->mode[0], HCP__MODE__SERVE);
	assert_int_equal(a->mode[0], HCP__MODE__OFF);
	rig_free(g);
}

/* A report that a switch report has overtaken says what is over: nothing is reserved for it. */
static void readings_that_were_overtaken_say_nothing(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "S21", 1, "west");
	const struct device_class *c = device_class_find(STR("S21"));
	hello(g, a);
	direct(g, "west", "S21", 0, 1, 0);
	deliver(g);
	run_s(g, 4);
	DEVICE(g, "n1/d0", power_w, (int)c->power_w[DEVICE_FILL]);
	direct(g, "west", "S21", 0, 0, 1);
	deliver(g);
	DEVICE(g, "n1/d0", power_w, (int)c->power_w[DEVICE_IDLE]);
	a->mode[0] = a->shown[0] = HCP__MODE__FILL;
	a->behind_ns = S;
	report(g, a);
	hello(g, a);
	DEVICE(g, "n1/d0", power_w, (int)c->power_w[DEVICE_IDLE]);
	assert_int_equal(resources_reserved_w(svc_state(g->svc), "west"), (int)c->power_w[DEVICE_IDLE]);
	a->behind_ns = 0; /* and what is newer counts, whatever it says */
	report(g, a);
	DEVICE(g, "n1/d0", power_w, (int)c->power_w[DEVICE_FILL]);
	a->mode[0] = a->shown[0] = HCP__MODE__OFF;
	a->behind_ns = 120 * S; /* its clock was set back */
	report(g, a);
	DEVICE(g, "n1/d0", power_w, (int)c->power_w[DEVICE_IDLE]);
	rig_free(g);
}

static void allocation_waits_for_power_that_mining_gives_up(void **state)
{
	static const struct resources_budget budget[] = { { .facility = "east", .budget_w = 4000 } };
	const struct resources_conf conf = { .budgets = budget, .n_budgets = 1 };
	struct rig *g = rig_new(NULL, &conf);
	struct agent *a = agent_add(g, "n1", "H100", 2, "east"), *b = agent_add(g, "n2", "S21", 1, "east");
	const char *two[] = { "n1/d0", "n1/d1" };
	hello(g, a);
	hello(g, b);
	direct(g, "east", "S21", 0, 1, 0);
	deliver(g);
	run_s(g, 4);
	assert_int_equal(b->mode[0], HCP__MODE__FILL);
	place(g, "al-1", 2, two, 1);
	alloc_state(g, HCP__ALLOCATION_STATE__RESERVED);
	run_s(g, 8);
	alloc_state(g, HCP__ALLOCATION_STATE__HELD);
	assert_int_equal(b->mode[0], HCP__MODE__OFF);
	release(g, "al-1");
	deliver(g);
	run_s(g, 8);
	assert_int_equal(b->mode[0], HCP__MODE__FILL);
	/* More than the budget can ever give. */
	static const struct resources_budget small[] = { { .facility = "east", .budget_w = 300 } };
	const struct resources_conf tight = { .budgets = small, .n_budgets = 1 };
	rig_free(g);
	g = rig_new(NULL, &tight);
	hello(g, agent_add(g, "n1", "H100", 2, "east"));
	place(g, "al-1", 2, two, 1);
	run_s(g, 34);
	assert_true(strstr(alloc_state(g, HCP__ALLOCATION_STATE__REFUSED)->reason, "power") != NULL);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__IDLE);
	rig_free(g);
}

/* A clock that jumps by minutes makes nobody silent and ends no lease that a node still holds. */
static void a_jump_of_the_clock_ends_no_lease(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *cut = agent_add(g, "n1", "S21", 4, "east"), *fine = agent_add(g, "n2", "S21", 4, "east");
	hello(g, cut);
	hello(g, fine);
	direct(g, "east", "S21", 0, 8, 0);
	deliver(g);
	run_s(g, 4);
	assert_int_equal(resources_reserved_w(svc_state(g->svc), "east"), 8 * 3500);
	cut->quiet = true;
	g->now += 300 * S;
	settle(g);
	report(g, fine);
	assert_int_equal(resources_reserved_w(svc_state(g->svc), "east"), 8 * 3500);
	assert_int_equal(count(g, MSG_ENDPOINT_CHANGED), 0);
	struct msg *m = device_get(g, "n2/d0");
	assert_int_equal(((Hcp__Device *)m->body)->state, HCP__DEVICE_STATE__IDLE);
	msg_free(m);
	m = device_get(g, "n1/d0");
	assert_int_equal(((Hcp__Device *)m->body)->state, HCP__DEVICE_STATE__IDLE); /* not lost yet, either */
	msg_free(m);
	for (int t = 0; t < 30; t += 2) {
		g->now += 2 * S;
		settle(g);
		report(g, fine);
	}
	assert_int_equal(resources_reserved_w(svc_state(g->svc), "east"), 4 * 3500 + 4 * 40);
	m = device_get(g, "n1/d0");
	assert_int_equal(((Hcp__Device *)m->body)->state, HCP__DEVICE_STATE__DEVICE_FAILED);
	msg_free(m);
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_jump_of_the_clock_ends_no_lease),
		cmocka_unit_test(emergency_stop_turns_everything_off),
		cmocka_unit_test(power_budget_is_never_exceeded),
		cmocka_unit_test(watts_of_an_order_on_the_way_stay_reserved),
		cmocka_unit_test(readings_that_were_overtaken_say_nothing),
		cmocka_unit_test(allocation_waits_for_power_that_mining_gives_up),
	};
	return cmocka_run_group_tests_name("resources_power", tests, NULL, NULL);
}
