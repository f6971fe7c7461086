/* Power modes of miners: told, proved, within the budget, kept over a restart. */

#include <unistd.h>

#include "resources_rig.h"

enum { LOW_W = 2313, HIGH_W = 3936, NOMINAL_W = 3500, IDLE_W = 85 };

static void is_in(struct rig *g, const char *id, const char *power_mode, int32_t target_w)
{
	struct msg *m = device_get(g, id);
	assert_string_equal(((Hcp__Device *)m->body)->power_mode, power_mode);
	assert_int_equal(((Hcp__Device *)m->body)->power_target_w, target_w);
	msg_free(m);
}

static int64_t reserved_w(const struct rig *g)
{
	return resources_reserved_w(svc_state(g->svc), "west");
}

/* Another mode is told while they mine, as one command; watts come free when readings have proved it. */
static void a_mode_is_told_and_proved(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "S21", 2, "west");
	hello(g, a);
	direct(g, "west", "S21", 0, 2, 0);
	run_s(g, 8);
	is_in(g, "n1/d0", "normal", 0);
	assert_int_equal(reserved_w(g), 2 * NOMINAL_W);
	int told = a->commands;
	direct_at(g, "west", "S21", 0, 2, LOW_W, 0);
	assert_int_equal(reserved_w(g), 2 * NOMINAL_W); /* until it is proved */
	deliver(g);
	run_s(g, 8);
	assert_int_equal(a->commands, told + 1);
	assert_true(a->mode[0] == HCP__MODE__FILL && a->target_w[0] == LOW_W && a->target_w[1] == LOW_W);
	is_in(g, "n1/d1", "low", LOW_W);
	DEVICE(g, "n1/d1", confirmed, HCP__MODE__FILL);
	DEVICE(g, "n1/d1", drifted, false);
	assert_int_equal(reserved_w(g), 2 * LOW_W);
	direct_at(g, "west", "S21", 0, 2, HIGH_W, 0);
	assert_int_equal(reserved_w(g), 2 * HIGH_W); /* from the order on */
	run_s(g, 8);
	is_in(g, "n1/d0", "high", HIGH_W);
	/* Standing still has no mode, and no watts. */
	direct_at(g, "west", "S21", 0, 1, HIGH_W, 1);
	run_s(g, 8);
	assert_int_equal(reserved_w(g), HIGH_W + IDLE_W);
	rig_free(g);
}

/* Firmware that says yes and draws as before has drifted: its watts stay reserved, and it is told again. */
static void a_mode_that_is_not_taken_is_seen(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "S21", 1, "west");
	hello(g, a);
	direct(g, "west", "S21", 0, 1, 0);
	run_s(g, 8);
	a->stiff = true;
	direct_at(g, "west", "S21", 0, 1, LOW_W, 0);
	run_s(g, 200);
	DEVICE(g, "n1/d0", drifted, true);
	assert_int_equal(reserved_w(g), NOMINAL_W);
	assert_true(a->commands > 2);
	a->stiff = false;
	run_s(g, 200);
	DEVICE(g, "n1/d0", drifted, false);
	assert_int_equal(reserved_w(g), LOW_W);
	rig_free(g);
}

/* What fits in the low mode does not in the high one: some go without, and the budget holds at every moment. */
static void a_budget_is_kept_in_every_mode(void **state)
{
	static const struct resources_budget budget = { .facility = "west", .budget_w = 8000 };
	static const struct resources_conf conf = { .budgets = &budget, .n_budgets = 1 };
	struct rig *g = rig_new(NULL, &conf);
	struct agent *a = agent_add(g, "n1", "S21", 3, "west");
	g->budget_w = 8000;
	hello(g, a);
	direct_at(g, "west", "S21", 0, 3, LOW_W, 0);
	run_s(g, 10);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 3);
	direct_at(g, "west", "S21", 0, 3, HIGH_W, 0);
	run_s(g, 10);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 2);
	assert_true(reserved_w(g) <= 8000);
	direct_at(g, "west", "S21", 0, 3, LOW_W, 0);
	run_s(g, 10);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 3);
	rig_free(g);
}

/* A restart in the middle of it: the same wish, the same reserve, no second command for what was proved. */
static void a_restart_keeps_the_mode(void **state)
{
	char path[] = "/tmp/hcp-resources-modes-XXXXXX";
	close(mkstemp(path));
	struct rig *g = rig_new(path, NULL);
	struct agent *a = agent_add(g, "n1", "S21", 2, "west");
	hello(g, a);
	direct_at(g, "west", "S21", 0, 2, LOW_W, 0);
	run_s(g, 8);
	int told = a->commands;
	svc_close(g->svc);
	open_svc(g);
	assert_int_equal(reserved_w(g), 2 * LOW_W);
	hello(g, a);
	assert_int_equal(reserved_w(g), 2 * LOW_W);
	run_s(g, 8);
	assert_int_equal(a->commands, told);
	is_in(g, "n1/d0", "low", LOW_W);
	a->deaf = true;
	direct_at(g, "west", "S21", 0, 2, HIGH_W, 0);
	settle(g);
	svc_close(g->svc);
	open_svc(g);
	assert_int_equal(reserved_w(g), 2 * HIGH_W);
	a->deaf = false;
	hello(g, a);
	run_s(g, 20);
	assert_int_equal(a->target_w[0], HIGH_W);
	is_in(g, "n1/d0", "high", HIGH_W);
	rig_free(g);
	unlink(path);
}

/* A plan looks at every device: after one the next waits in proportion, unless it is a price that asks for it. */
static void demand_waits_for_the_rest_of_a_plan(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "S21", 100, "west");
	hello(g, a);
	direct(g, "west", "S21", 0, 40, 60);
	run_s(g, 10);
	int64_t before_w = reserved_w(g);
	direct(g, "west", "S21", 0, 50, 50);
	int64_t ten_w = reserved_w(g) - before_w;
	assert_true(ten_w > 0);
	direct_for(g, "west", "S21", 0, 60, 0, 40, 0);
	assert_int_equal(reserved_w(g), before_w + ten_w);
	g->now += 99 * RESOURCES_PLAN_REST_NS;
	settle(g);
	assert_int_equal(reserved_w(g), before_w + ten_w);
	g->now += RESOURCES_PLAN_REST_NS;
	settle(g);
	assert_int_equal(reserved_w(g), before_w + 2 * ten_w);
	direct(g, "west", "S21", 0, 70, 30);
	direct(g, "west", "S21", 0, 80, 20);
	assert_int_equal(reserved_w(g), before_w + 4 * ten_w);
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mode_is_told_and_proved),
		cmocka_unit_test(a_mode_that_is_not_taken_is_seen),
		cmocka_unit_test(a_budget_is_kept_in_every_mode),
		cmocka_unit_test(demand_waits_for_the_rest_of_a_plan),
		cmocka_unit_test(a_restart_keeps_the_mode),
	};
	return cmocka_run_group_tests_name("resources_modes", tests, NULL, NULL);
}
