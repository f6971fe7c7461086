/* Programs of workloads: one at a time, and nothing that was acknowledged as saved is forgotten. */
#include "resources_rig.h"

static const char digest[] = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static void place_program(struct rig *g, const char *allocation, const char *device, const Hcp__Checkpoint *saved)
{
	Hcp__Place p = HCP__PLACE__INIT;
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	w.id = "wl-1";
	w.customer_id = "cus-1";
	w.type = HCP__WORKLOAD_TYPE__MODEL_TRAINING;
	w.program = "train";
	w.checkpoint = (Hcp__Checkpoint *)(uintptr_t)saved;
	p.allocation_id = allocation;
	p.workload = &w;
	p.device_ids = &device;
	p.n_device_ids = 1;
	publish(g, SVC_ROUTER, MSG_PLACE, &p.base, 1);
}

static void tell(
	struct rig *g, const char *node, const char *allocation, Hcp__ProgramState state, int64_t saved, const char *error)
{
	Hcp__ProgramReport r = HCP__PROGRAM_REPORT__INIT;
	Hcp__Checkpoint c = HCP__CHECKPOINT__INIT;
	r.node_id = node;
	r.device_id = "d0";
	r.allocation_id = allocation;
	r.workload_id = "wl-1";
	r.state = state;
	r.step = saved;
	r.error = error;
	c.name = "ck";
	c.digest = digest;
	c.step = saved;
	r.checkpoint = saved ? &c : NULL;
	say(g, MSG_PROGRAM_REPORT, &r.base);
}

static const Hcp__AllocationChanged *newest(struct rig *g, const char *id)
{
	for (int i = g->n_news - 1; i >= 0; i--)
		if (g->news[i]->type == MSG_ALLOCATION_CHANGED &&
			!strcmp(((const Hcp__AllocationChanged *)g->news[i]->body)->allocation_id, id))
			return (const void *)g->news[i]->body;
	fail_msg("%s was never heard of", id);
	return NULL;
}

static int64_t saved_last(struct rig *g)
{
	const Hcp__ProgramChanged *ev = last(g, MSG_PROGRAM_CHANGED);
	return ev && ev->checkpoint ? ev->checkpoint->step : 0;
}

static struct rig *two_nodes(const char *path, struct agent **a, struct agent **b)
{
	struct rig *g = rig_new(path, NULL);
	*a = agent_add(g, "n1", "H100", 1, "east");
	*b = agent_add(g, "n2", "H100", 1, "east");
	(*a)->program = (*b)->program = "train";
	hello(g, *a);
	hello(g, *b);
	run_s(g, 4);
	return g;
}

/* What nodes have is told with their devices, once a node; anew when it is another, or the agent has started anew. */
static void nodes_tell_what_they_have(void **state)
{
	struct agent *a, *b;
	struct rig *g = two_nodes(NULL, &a, &b);
	size_t n_rows = 0;
	for (int i = 0; i < g->n_news; i++) {
		const Hcp__DevicesChanged *ev = (const void *)g->news[i]->body;
		for (size_t k = 0; g->news[i]->type == MSG_DEVICES_CHANGED && k < ev->n_programs; k++, n_rows++) {
			assert_true(ev->n_devices >= 1); /* not later than the devices */
			assert_int_equal(ev->programs[k]->n_programs, 1);
			assert_string_equal(ev->programs[k]->programs[0], "train");
		}
	}
	assert_int_equal(n_rows, 2);
	int before = count(g, MSG_DEVICES_CHANGED);
	hello(g, a);
	run_s(g, 2);
	assert_int_equal(count(g, MSG_DEVICES_CHANGED), before); /* as it was */
	a->program = "other";
	hello(g, a);
	run_s(g, 2);
	const Hcp__DevicesChanged *ev = last(g, MSG_DEVICES_CHANGED);
	assert_int_equal(count(g, MSG_DEVICES_CHANGED), before + 1);
	assert_true(ev->n_devices == 0 && ev->n_programs == 1);
	assert_string_equal(ev->programs[0]->node_id, "n1");
	assert_string_equal(ev->programs[0]->programs[0], "other");
	rig_free(g);
}

static void starts_elsewhere_only_when_it_has_let_go(void **state)
{
	char path[] = "/tmp/hcp-program-XXXXXX", side[64];
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	struct agent *a, *b;
	struct rig *g = two_nodes(path, &a, &b);
	place_program(g, "al-1", "n1/d0", NULL);
	run_s(g, 6);
	assert_int_equal(newest(g, "al-1")->state, HCP__ALLOCATION_STATE__HELD);
	assert_string_equal(a->runs[0], "al-1");
	tell(g, "n1", "al-1", HCP__PROGRAM_STATE__PROGRAM_RUNNING, 10, "");
	assert_int_equal(saved_last(g), 10);
	int events = count(g, MSG_PROGRAM_CHANGED);
	tell(g, "n1", "al-1", HCP__PROGRAM_STATE__PROGRAM_RUNNING, 10, ""); /* told again */
	tell(g, "n1", "al-1", HCP__PROGRAM_STATE__PROGRAM_RUNNING, 7, "");  /* overtaken */
	assert_int_equal(count(g, MSG_PROGRAM_CHANGED), events);
	/* It yields; its devices are free for others at once, but it still saves itself. */
	a->saves = true;
	release(g, "al-1");
	assert_int_equal(newest(g, "al-1")->state, HCP__ALLOCATION_STATE__RELEASED);
	place_program(g, "al-2", "n2/d0", NULL);
	run_s(g, 8);
	assert_int_equal(newest(g, "al-2")->state, HCP__ALLOCATION_STATE__RESERVED);
	assert_string_equal(a->runs[0], "al-1");
	assert_string_equal(b->runs[0], "");
	/* A restart forgets neither. */
	svc_close(g->svc);
	open_svc(g);
	run_s(g, 4);
	assert_string_equal(b->runs[0], "");
	tell(g, "n1", "al-1", HCP__PROGRAM_STATE__PROGRAM_STOPPED, 14, "");
	assert_int_equal(saved_last(g), 14);
	a->saves = false;
	run_s(g, 20);
	assert_string_equal(a->runs[0], "");
	assert_int_equal(newest(g, "al-2")->state, HCP__ALLOCATION_STATE__HELD);
	assert_string_equal(b->runs[0], "al-2");
	assert_int_equal(b->restored[0], 14);
	/* What comes now of the first is of nobody. */
	tell(g, "n1", "al-1", HCP__PROGRAM_STATE__PROGRAM_STOPPED, 15, "");
	assert_int_equal(saved_last(g), 14);
	rig_free(g);
	unlink(path);
	snprintf(side, sizeof(side), "%s-wal", path);
	unlink(side);
	snprintf(side, sizeof(side), "%s-shm", path);
	unlink(side);
}

static void waits_for_the_lease_of_a_lost_node(void **state)
{
	struct agent *a, *b;
	struct rig *g = two_nodes(NULL, &a, &b);
	place_program(g, "al-1", "n1/d0", NULL);
	run_s(g, 6);
	tell(g, "n1", "al-1", HCP__PROGRAM_STATE__PROGRAM_RUNNING, 10, "");
	Hcp__NodeGone gone = HCP__NODE_GONE__INIT;
	gone.node_id = "n1";
	gone.reason = "stream ended";
	a->quiet = true;
	int64_t lease_ns = a->lease_until_ns;
	say(g, MSG_NODE_GONE, &gone.base);
	assert_int_equal(newest(g, "al-1")->state, HCP__ALLOCATION_STATE__RELEASED);
	place_program(g, "al-2", "n2/d0", NULL);
	while (g->now + 2 * S < lease_ns) {
		g->now += 2 * S;
		report(g, b);
		deliver(g);
		assert_string_equal(b->runs[0], "");
	}
	for (int i = 0; i < 10; i++) {
		g->now += 2 * S;
		report(g, b);
		deliver(g);
	}
	assert_string_equal(b->runs[0], "al-2");
	assert_int_equal(b->restored[0], 10);
	rig_free(g);
}

static void what_it_runs_is_read_not_believed(void **state)
{
	struct agent *a, *b;
	struct rig *g = two_nodes(NULL, &a, &b);
	snprintf(a->endpoint, sizeof(a->endpoint), "http://n1:9000");
	hello(g, a);
	place_program(g, "al-1", "n1/d0", NULL);
	run_s(g, 6);
	tell(g, "n1", "al-1", HCP__PROGRAM_STATE__PROGRAM_RUNNING, 10, "");
	assert_int_equal(((const Hcp__EndpointChanged *)last(g, MSG_ENDPOINT_CHANGED))->mode, HCP__MODE__OFF);
	a->runs[0][0] = '\0'; /* it died, and nobody says so */
	run_s(g, 2);
	struct msg *m = device_get(g, "n1/d0");
	assert_true(((const Hcp__Device *)m->body)->drifted);
	assert_string_equal(((const Hcp__Device *)m->body)->reason, "its program is not the one that it was told");
	msg_free(m);
	run_s(g, 8);
	assert_string_equal(a->runs[0], "al-1");
	assert_int_equal(a->restored[0], 10);
	rig_free(g);
}

static void a_failure_ends_its_allocation(void **state)
{
	struct agent *a, *b;
	struct rig *g = two_nodes(NULL, &a, &b);
	place_program(g, "al-1", "n1/d0", NULL);
	run_s(g, 6);
	a->runs[0][0] = '\0';
	tell(g, "n1", "al-1", HCP__PROGRAM_STATE__PROGRAM_FAILED, 0, "exit 3: no such data");
	assert_int_equal(newest(g, "al-1")->state, HCP__ALLOCATION_STATE__RELEASED);
	assert_string_equal(newest(g, "al-1")->reason, "its program failed: exit 3: no such data");
	/* Done is no failure: its owner hears it, and who gave the devices takes them back. */
	run_s(g, 10);
	place_program(g, "al-2", "n1/d0", NULL);
	run_s(g, 6);
	a->runs[0][0] = '\0';
	tell(g, "n1", "al-2", HCP__PROGRAM_STATE__PROGRAM_DONE, 30, "");
	const Hcp__ProgramChanged *ev = last(g, MSG_PROGRAM_CHANGED);
	assert_int_equal(ev->state, HCP__PROGRAM_STATE__PROGRAM_DONE);
	assert_int_equal(ev->checkpoint->step, 30);
	int orders = a->commands;
	run_s(g, 6);
	assert_int_equal(a->commands, orders);
	assert_int_equal(newest(g, "al-2")->state, HCP__ALLOCATION_STATE__HELD);
	rig_free(g);
}

static void a_node_without_the_program_is_no_place_for_it(void **state)
{
	struct agent *a, *b;
	struct rig *g = two_nodes(NULL, &a, &b);
	Hcp__Checkpoint c = HCP__CHECKPOINT__INIT;
	a->program = "other";
	hello(g, a);
	place_program(g, "al-1", "n1/d0", NULL);
	assert_int_equal(newest(g, "al-1")->state, HCP__ALLOCATION_STATE__REFUSED);
	assert_string_equal(newest(g, "al-1")->unfit_device_id, "n1/d0");
	assert_false(newest(g, "al-1")->tried);
	/* One that cannot read the checkpoint is none either, and that was a try. */
	c.name = "ck";
	c.digest = digest;
	c.step = 50;
	b->refuses = true;
	place_program(g, "al-2", "n2/d0", &c);
	run_s(g, 6);
	assert_int_equal(newest(g, "al-2")->state, HCP__ALLOCATION_STATE__REFUSED);
	assert_string_equal(newest(g, "al-2")->unfit_device_id, "n2/d0");
	assert_true(newest(g, "al-2")->tried);
	b->refuses = false;
	run_s(g, 10);
	place_program(g, "al-3", "n2/d0", &c);
	run_s(g, 8);
	assert_int_equal(b->restored[0], 50);
	rig_free(g);
}

static void rubbish_is_refused_with_its_field(void **state)
{
	struct agent *a, *b;
	struct rig *g = two_nodes(NULL, &a, &b);
	place_program(g, "al-1", "n1/d0", NULL);
	run_s(g, 6);
	tell(g, "n9", "al-1", HCP__PROGRAM_STATE__PROGRAM_RUNNING, 1, "");
	refused(g, "not_found", "node_id");
	tell(g, "n1", "al-1", (Hcp__ProgramState)9, 1, "");
	refused(g, "invalid", "state");
	tell(g, "n1", "al-1", HCP__PROGRAM_STATE__PROGRAM_RUNNING, -1, "");
	refused(g, "out_of_range", "checkpoint.step");
	tell(g, "n2", "al-1", HCP__PROGRAM_STATE__PROGRAM_RUNNING, 99, ""); /* another node's allocation */
	assert_int_equal(saved_last(g), 0);
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_tell_what_they_have),
		cmocka_unit_test(starts_elsewhere_only_when_it_has_let_go),
		cmocka_unit_test(waits_for_the_lease_of_a_lost_node),
		cmocka_unit_test(what_it_runs_is_read_not_believed),
		cmocka_unit_test(a_failure_ends_its_allocation),
		cmocka_unit_test(a_node_without_the_program_is_no_place_for_it),
		cmocka_unit_test(rubbish_is_refused_with_its_field),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
