/* What the service does when all is well: inventory, directives, reports, metering, allocations, queries. */

#include "resources_rig.h"

static void hello_makes_an_inventory(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 3, "east");
	snprintf(a->endpoint, sizeof(a->endpoint), "http://127.0.0.1:9");
	hello(g, a);
	assert_int_equal(g->problems, 0);
	const Hcp__DevicesChanged *dc = last(g, MSG_DEVICES_CHANGED);
	assert_int_equal(dc->n_devices, 3);
	assert_string_equal(dc->devices[0]->id, "n1/d0");
	assert_int_equal(dc->devices[0]->confirmed, HCP__MODE__MODE_UNSPECIFIED); /* announced is not proved */
	const Hcp__EndpointChanged *ec = last(g, MSG_ENDPOINT_CHANGED);
	assert_true(ec->up);
	assert_string_equal(ec->models[0], "embed");
	g->now += S;
	settle(g);
	const Hcp__CapacityChanged *cc = last(g, MSG_CAPACITY_CHANGED);
	assert_int_equal(cc->n_classes, 1);
	assert_int_equal(cc->classes[0]->healthy, 3);
	assert_int_equal(cc->classes[0]->endpoints, 3);
	assert_int_equal(cc->classes[0]->price_micros_h, 2490000);
	assert_true(a->lease_until_ns > g->now && a->may_serve);
	/* Said again, nothing is new; a reading alone is no news either. */
	report(g, a);
	DEVICE(g, "n1/d0", confirmed, HCP__MODE__OFF);
	forget(g);
	hello(g, a);
	report(g, a);
	report(g, a);
	assert_int_equal(count(g, MSG_DEVICES_CHANGED), 0);
	assert_int_equal(count(g, MSG_ENDPOINT_CHANGED), 0);
	Hcp__NodesList nl = HCP__NODES_LIST__INIT;
	struct msg *m = ask_as(g, MSG_NODES_LIST, &nl.base, NULL);
	const Hcp__Nodes *nodes = (void *)m->body;
	assert_int_equal(nodes->n_nodes, 1);
	assert_true(nodes->nodes[0]->connected);
	assert_string_equal(nodes->nodes[0]->models[0], "embed");
	msg_free(m);
	rig_free(g);
}

static void hello_refusals_name_their_field(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	Hcp__AgentDevice d = HCP__AGENT_DEVICE__INIT, *ds[] = { &d, &d };
	Hcp__NodeHello h = HCP__NODE_HELLO__INIT;
	h.devices = ds;
	h.n_devices = 1;
	say(g, MSG_NODE_HELLO, &h.base);
	refused(g, "invalid", "node_id");
	h.node_id = "a/b";
	say(g, MSG_NODE_HELLO, &h.base);
	refused(g, "invalid", "node_id");
	h.node_id = "n";
	say(g, MSG_NODE_HELLO, &h.base);
	refused(g, "invalid", "facility");
	h.facility = "east";
	say(g, MSG_NODE_HELLO, &h.base);
	refused(g, "invalid", "boot_id");
	h.boot_id = "b";
	say(g, MSG_NODE_HELLO, &h.base);
	refused(g, "invalid", "devices[0].id");
	d.id = "d0";
	d.device_class = "H9000";
	say(g, MSG_NODE_HELLO, &h.base);
	refused(g, "not_found", "devices[0].device_class");
	d.device_class = "H100";
	say(g, MSG_NODE_HELLO, &h.base);
	refused(g, "invalid", "devices[0].kind");
	d.kind = HCP__DEVICE_KIND__GPU;
	say(g, MSG_NODE_HELLO, &h.base);
	refused(g, "invalid", "devices[0].mode");
	d.mode = HCP__MODE__OFF;
	d.memory_gib = -1;
	say(g, MSG_NODE_HELLO, &h.base);
	refused(g, "out_of_range", "devices[0].memory_gib");
	d.memory_gib = 80;
	h.n_devices = 2;
	say(g, MSG_NODE_HELLO, &h.base);
	refused(g, "invalid", "devices");
	h.n_devices = 1;
	say(g, MSG_NODE_HELLO, &h.base);
	assert_string_equal(g->code, "");
	h.facility = "west";
	say(g, MSG_NODE_HELLO, &h.base);
	refused(g, "conflict", "facility");
	h.facility = "east";
	d.device_class = "A100";
	say(g, MSG_NODE_HELLO, &h.base);
	refused(g, "conflict", "devices[0].device_class");
	d.device_class = "H100";
	h.boot_id = "b2";
	say(g, MSG_NODE_HELLO, &h.base);
	assert_string_equal(g->code, "");
	h.boot_id = "b"; /* a hello that was overtaken by the next boot's */
	say(g, MSG_NODE_HELLO, &h.base);
	assert_string_equal(g->code, "");
	h.n_devices = 0; /* it was not taken: the device is still announced by boot b2 */
	say(g, MSG_NODE_HELLO, &h.base);
	assert_int_equal(count(g, MSG_DEVICES_CHANGED), 2); /* each boot tells what it may run */
	rig_free(g);
}

static void directive_is_commanded_and_proved(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 6, "east"), *b = agent_add(g, "n2", "H100", 4, "east");
	hello(g, a);
	hello(g, b);
	run_s(g, 2);
	forget(g);
	direct(g, "east", "H100", 2, 5, 3);
	/* One command a node, and nothing confirmed by sending it. */
	assert_true(g->n_inbox <= 2);
	DEVICE(g, "n1/d0", confirmed, HCP__MODE__OFF);
	deliver(g);
	run_s(g, 4);
	assert_int_equal(agents_in(g, HCP__MODE__SERVE), 2);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 5);
	const Hcp__SwitchDone *done = last(g, MSG_SWITCH_DONE);
	assert_true(done->ok);
	assert_string_equal(done->decision_id, "dec-1");
	assert_true(done->signal_at_ns > 0 && done->total_ns > 0);
	assert_string_equal(done->phases[0]->phase, "validate");
	assert_string_equal(done->phases[1]->phase, "switch");
	assert_string_equal(done->phases[2]->phase, "commit");
	int before = a->commands + b->commands;
	/* Two more to mine: exactly those two change. */
	static Hcp__Mode was[2][8];
	memcpy(was[0], a->mode, sizeof(was[0]));
	memcpy(was[1], b->mode, sizeof(was[1]));
	direct(g, "east", "H100", 2, 7, 1);
	deliver(g);
	run_s(g, 4);
	int changed = 0;
	for (int i = 0; i < 6; i++)
		changed += a->mode[i] != was[0][i];
	for (int i = 0; i < 4; i++)
		changed += b->mode[i] != was[1][i];
	assert_int_equal(changed, 2);
	assert_true(a->commands + b->commands - before <= 2);
	before = a->commands + b->commands;
	direct(g, "east", "H100", 2, 7, 1);
	run_s(g, 6);
	assert_int_equal(a->commands + b->commands, before);
	Hcp__SwitchesList sl = HCP__SWITCHES_LIST__INIT;
	struct msg *m = ask_as(g, MSG_SWITCHES_LIST, &sl.base, NULL);
	assert_true(((Hcp__Switches *)m->body)->n_switches >= 3);
	msg_free(m);
	rig_free(g);
}

static void directive_refusals(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	Hcp__Directive d = HCP__DIRECTIVE__INIT;
	Hcp__ClassTarget t = HCP__CLASS_TARGET__INIT, *ts[] = { &t };
	d.targets = ts;
	d.n_targets = 1;
	t.device_class = "H9000";
	say(g, MSG_DIRECTIVE, &d.base);
	refused(g, "not_found", "targets[0].device_class");
	t.device_class = "H100";
	t.mine = -1;
	say(g, MSG_DIRECTIVE, &d.base);
	refused(g, "out_of_range", "targets[0].serve");
	t.mine = 1;
	t.mine_w = 500;
	say(g, MSG_DIRECTIVE, &d.base);
	refused(g, "invalid", "targets[0].mine_w"); /* a GPU has no power modes */
	t.device_class = "S21";
	t.mine_w = 7001;
	say(g, MSG_DIRECTIVE, &d.base);
	refused(g, "out_of_range", "targets[0].mine_w");
	d.n_targets = 0;
	d.decision_id = "dec-0123456789012345678901234567890123456789";
	say(g, MSG_DIRECTIVE, &d.base);
	refused(g, "invalid", "decision_id");
	rig_free(g);
}

static void metering_is_exactly_once(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "CPU2", 1, "east");
	hello(g, a);
	a->energy_j = 100;
	report_seq(g, a, 1);
	report_seq(g, a, 1); /* repeated */
	a->energy_j = 250;
	report_seq(g, a, 3);
	assert_int_equal(metered_j(g), 250);
	a->energy_j = 180;
	report_seq(g, a, 2); /* overtaken */
	assert_string_equal(g->code, "");
	assert_int_equal(metered_j(g), 250);
	a->energy_j = 300;
	report_seq(g, a, 4);
	assert_string_equal(g->code, "");
	assert_int_equal(metered_j(g), 300);
	/* A new boot counts from nothing; reports of the old one are over. */
	snprintf(a->boot, sizeof(a->boot), "second");
	hello(g, a);
	a->energy_j = 40;
	report_seq(g, a, 1);
	assert_int_equal(metered_j(g), 340);
	snprintf(a->boot, sizeof(a->boot), "n1-boot1");
	a->energy_j = 500;
	report_seq(g, a, 9);
	refused(g, "wrong_state", "boot_id");
	assert_int_equal(metered_j(g), 340);
	const Hcp__Metered *m = last(g, MSG_METERED);
	assert_string_equal(m->deltas[0]->device_class, "CPU2");
	assert_string_equal(m->deltas[0]->customer_id, "");
	rig_free(g);
}

/* The report has one reading, x, which ends valid. */
static void reading_refusals(struct rig *g, Hcp__NodeReport *r, Hcp__DeviceReading *x)
{
	x->device_id = "d7";
	say(g, MSG_NODE_REPORT, &r->base);
	refused(g, "not_found", "readings[0].device_id");
	x->device_id = "d0";
	say(g, MSG_NODE_REPORT, &r->base);
	refused(g, "invalid", "readings[0].mode");
	x->mode = HCP__MODE__OFF;
	x->power_w = -1;
	say(g, MSG_NODE_REPORT, &r->base);
	refused(g, "out_of_range", "readings[0].power_w");
	x->power_w = 75;
	x->hash_ths = -1;
	say(g, MSG_NODE_REPORT, &r->base);
	refused(g, "out_of_range", "readings[0].hash_ths");
	x->hash_ths = 0;
	x->utilisation = 1.0 / 0.0;
	say(g, MSG_NODE_REPORT, &r->base);
	refused(g, "out_of_range", "readings[0].utilisation");
	x->utilisation = 0;
	x->requests = -1;
	say(g, MSG_NODE_REPORT, &r->base);
	refused(g, "out_of_range", "readings[0].requests");
	x->requests = 0;
}

/* The report has one meter, m, and room for the same again. */
static void meter_refusals(struct rig *g, Hcp__NodeReport *r, Hcp__Meter *m)
{
	say(g, MSG_NODE_REPORT, &r->base);
	refused(g, "not_found", "meters[0].device_class");
	m->device_class = "H100";
	m->activity = "dance";
	say(g, MSG_NODE_REPORT, &r->base);
	refused(g, "invalid", "meters[0].activity");
	m->activity = "off";
	m->tokens = -5;
	say(g, MSG_NODE_REPORT, &r->base);
	refused(g, "out_of_range", "meters[0].tokens");
	m->tokens = 0;
	m->hashes = -1;
	say(g, MSG_NODE_REPORT, &r->base);
	refused(g, "out_of_range", "meters[0].hashes");
	m->hashes = 0;
	m->allocation_id = "al-0123456789012345678901234567890123456789";
	say(g, MSG_NODE_REPORT, &r->base);
	refused(g, "invalid", "meters[0].allocation_id");
	m->allocation_id = "";
	r->n_meters = 2;
	say(g, MSG_NODE_REPORT, &r->base);
	refused(g, "invalid", "meters[1].allocation_id");
}

/* What a node tells besides its reports. */
static void event_refusals(struct rig *g)
{
	Hcp__SwitchReport s = HCP__SWITCH_REPORT__INIT;
	s.node_id = "n9";
	say(g, MSG_SWITCH_REPORT, &s.base);
	refused(g, "not_found", "node_id");
	Hcp__LocalSwitch l = HCP__LOCAL_SWITCH__INIT;
	l.node_id = "n9";
	say(g, MSG_LOCAL_SWITCH, &l.base);
	refused(g, "not_found", "node_id");
	l.node_id = "n1";
	l.device_id = "d9";
	say(g, MSG_LOCAL_SWITCH, &l.base);
	refused(g, "not_found", "device_id");
	l.device_id = "d0";
	say(g, MSG_LOCAL_SWITCH, &l.base);
	refused(g, "invalid", "to");
	Hcp__NodeGone gone = HCP__NODE_GONE__INIT;
	gone.node_id = "n9";
	say(g, MSG_NODE_GONE, &gone.base);
	refused(g, "not_found", "node_id");
}

static void report_refusals_name_their_field(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 1, "east");
	Hcp__NodeReport r = HCP__NODE_REPORT__INIT;
	Hcp__DeviceReading x = HCP__DEVICE_READING__INIT, *xs[] = { &x };
	Hcp__Meter m = HCP__METER__INIT, *ms[] = { &m, &m };
	hello(g, a);
	forget(g);
	r.node_id = "n9";
	r.seq = 1;
	r.at_ns = g->now;
	say(g, MSG_NODE_REPORT, &r.base);
	refused(g, "not_found", "node_id");
	r.node_id = "n1";
	say(g, MSG_NODE_REPORT, &r.base);
	refused(g, "wrong_state", "boot_id");
	r.boot_id = a->boot;
	r.readings = xs;
	r.n_readings = 1;
	reading_refusals(g, &r, &x);
	r.meters = ms;
	r.n_meters = 1;
	meter_refusals(g, &r, &m);
	assert_int_equal(count(g, MSG_METERED) + count(g, MSG_DEVICES_CHANGED), 0);
	event_refusals(g);
	rig_free(g);
}

/* Others see that n1/d0 is taken, not by whom. */
static void only_cus_1_sees_whose_it_is(struct rig *g)
{
	Hcp__Principal p = HCP__PRINCIPAL__INIT;
	Hcp__ResourceGet get = HCP__RESOURCE_GET__INIT;
	p.role = HCP__ROLE__CUSTOMER;
	p.customer_id = "cus-2";
	get.id = "n1/d0";
	struct msg *reply = ask_as(g, MSG_RESOURCE_GET, &get.base, &p);
	assert_string_equal(((Hcp__Device *)reply->body)->customer_id, "");
	msg_free(reply);
	p.customer_id = "cus-1";
	reply = ask_as(g, MSG_RESOURCE_GET, &get.base, &p);
	assert_string_equal(((Hcp__Device *)reply->body)->workload_id, "wl-1");
	msg_free(reply);
}

static void place_refusals(struct rig *g)
{
	Hcp__Place bad = HCP__PLACE__INIT;
	say(g, MSG_PLACE, &bad.base);
	refused(g, "invalid", "allocation_id");
	bad.allocation_id = "al-9";
	say(g, MSG_PLACE, &bad.base);
	refused(g, "invalid", "workload");
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	w.id = "wl-9";
	bad.workload = &w;
	say(g, MSG_PLACE, &bad.base);
	refused(g, "out_of_range", "device_ids");
}

static void allocation_lives_and_ends(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 4, "east");
	const char *two[] = {"n1/d0", "n1/d1"}, *one[] = {"n1/d1"}, *none[] = {"n1/d9"}, *twice[] = {"n1/d2", "n1/d2"};
	hello(g, a);
	direct(g, "east", "H100", 0, 4, 0);
	deliver(g);
	run_s(g, 4);
	forget(g);
	place(g, "al-1", 2, two, 3);
	assert_int_equal(count(g, MSG_ALLOCATION_CHANGED), 1); /* what starts at once is not said to wait */
	alloc_state(g, HCP__ALLOCATION_STATE__SWITCHING);
	place(g, "al-2", 1, one, 1); /* the device is taken */
	assert_true(strstr(alloc_state(g, HCP__ALLOCATION_STATE__REFUSED)->reason, "n1/d1") != NULL);
	deliver(g);
	const Hcp__AllocationChanged *held = alloc_state(g, HCP__ALLOCATION_STATE__HELD);
	assert_string_equal(held->allocation_id, "al-1");
	assert_int_equal(held->price_micros_h, 2490000);
	assert_string_equal(held->customer_id, "cus-1");
	assert_int_equal(held->n_device_ids, 2);
	assert_string_equal(held->node_id, "n1");
	assert_string_equal(a->allocation[0], "al-1");
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__ACTIVE);
	place(g, "al-3", 1, none, 1);
	alloc_state(g, HCP__ALLOCATION_STATE__REFUSED);
	place(g, "al-4", 2, twice, 1);
	alloc_state(g, HCP__ALLOCATION_STATE__REFUSED);
	DEVICE(g, "n1/d2", state, HCP__DEVICE_STATE__IDLE);
	/* Work of the allocation is its customer's. */
	snprintf(a->meter_allocation, sizeof(a->meter_allocation), "al-1");
	a->device_ns = 2 * S;
	report(g, a);
	const Hcp__Metered *m = last(g, MSG_METERED);
	assert_string_equal(m->deltas[0]->customer_id, "cus-1");
	assert_string_equal(m->deltas[0]->allocation_id, "al-1");
	only_cus_1_sees_whose_it_is(g);
	release(g, "al-1");
	alloc_state(g, HCP__ALLOCATION_STATE__RELEASED);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__DRAINING);
	deliver(g);
	run_s(g, 4);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__IDLE);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 4);
	assert_string_equal(a->allocation[0], "");
	int n = count(g, MSG_ALLOCATION_CHANGED);
	release(g, "al-1");
	release(g, "al-unknown");
	place(g, "al-1", 2, two, 1); /* an order from the past */
	assert_int_equal(count(g, MSG_ALLOCATION_CHANGED), n);
	place_refusals(g);
	rig_free(g);
}

/* A warm device looks the same with a customer on it: only the agent's report says that it took the work. */
static void warm_device_is_held_only_when_its_agent_took_it(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 1, "east");
	const char *one[] = { "n1/d0" };
	hello(g, a);
	direct(g, "east", "H100", 1, 0, 0);
	deliver(g);
	run_s(g, 4);
	DEVICE(g, "n1/d0", confirmed, HCP__MODE__SERVE);
	place(g, "al-1", 1, one, 1);
	lose_commands(g);
	g->now += S;
	report(g, a);
	lose_commands(g);
	alloc_state(g, HCP__ALLOCATION_STATE__SWITCHING);
	run_s(g, 6); /* sent again */
	alloc_state(g, HCP__ALLOCATION_STATE__HELD);
	assert_string_equal(a->allocation[0], "al-1");
	release(g, "al-1");
	lose_commands(g);
	g->now += S;
	report(g, a);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__DRAINING);
	run_s(g, 8);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__IDLE);
	assert_string_equal(a->allocation[0], "");
	rig_free(g);
}

static void asics_get_the_time_they_need_to_boot(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "S19XP", 4, "east");
	hello(g, a);
	a->deaf = true;
	direct(g, "east", "S19XP", 0, 4, 0);
	forget(g);
	int sent = g->sent;
	run_s(g, 90);
	assert_int_equal(count(g, MSG_SWITCH_DONE), 0);
	assert_true(g->sent - sent < 45 + 12); /* 45 leases, and the command again from time to time */
	DEVICE(g, "n1/d0", drifted, false);
	a->deaf = false;
	run_s(g, 20);
	assert_int_equal(count(g, MSG_SWITCH_DONE), 1);
	assert_true(((const Hcp__SwitchDone *)last(g, MSG_SWITCH_DONE))->ok);
	assert_int_equal(((const Hcp__SwitchDone *)last(g, MSG_SWITCH_DONE))->devices, 4);
	rig_free(g);
}

static void capacity_is_told_twice_a_second_at_most(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	for (int i = 0; i < 40; i++) {
		char id[16];
		snprintf(id, sizeof(id), "n%d", i);
		hello(g, agent_add(g, id, "CPU2", 1, "east"));
		g->now += 50 * MS;
	}
	g->now += S;
	settle(g);
	int n = count(g, MSG_CAPACITY_CHANGED);
	assert_in_range(n, 3, 6); /* of 40 changes in 2 s */
	const Hcp__CapacityChanged *c = last(g, MSG_CAPACITY_CHANGED);
	assert_int_equal(c->classes[0]->healthy, 40);
	rig_free(g);
}

static void many_meters(struct rig *g, struct agent *a, int first, int n)
{
	Hcp__NodeReport r = HCP__NODE_REPORT__INIT;
	static Hcp__Meter row[4100], *rows[4100];
	static char ids[4100][16];
	for (int i = 0; i < n; i++) {
		hcp__meter__init(&row[i]);
		snprintf(ids[i], sizeof(ids[i]), "al-%d", first + i);
		row[i].allocation_id = ids[i];
		row[i].device_class = "H100";
		row[i].activity = "serve";
		row[i].energy_j = 1;
		rows[i] = &row[i];
	}
	r.node_id = a->id;
	r.boot_id = a->boot;
	r.at_ns = g->now;
	r.seq = ++a->seq;
	r.meters = rows;
	r.n_meters = (size_t)n;
	say(g, MSG_NODE_REPORT, &r.base);
}

static void counters_of_ended_allocations_go(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 1, "east");
	hello(g, a);
	many_meters(g, a, 0, 4000);
	many_meters(g, a, 3990, 107); /* 97 too many */
	refused(g, "limit_reached", "meters");
	many_meters(g, a, 3990, 20); /* the agent has dropped the others */
	assert_string_equal(g->code, "");
	many_meters(g, a, 3990, 3000);
	assert_string_equal(g->code, "");
	assert_int_equal(metered_j(g), 4000 + 10 + 2980);
	/* Nobody's work is billed to nobody. */
	assert_string_equal(((const Hcp__Metered *)last(g, MSG_METERED))->deltas[0]->allocation_id, "");
	rig_free(g);
}

static int64_t changes(struct rig *g)
{
	struct db_row *row;
	struct err err = { 0 };
	assert_int_equal(db_query(svc_database(g->svc), &row, &err, "SELECT total_changes()", ""), 1);
	int64_t n = db_i64(row, 0);
	db_done(row);
	return n;
}

static void directive_over_16000_devices_costs_a_row_a_node(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	for (int i = 0; i < 40; i++) {
		char id[16];
		snprintf(id, sizeof(id), "rack%d", i);
		hello(g, agent_add(g, id, "S21", 400, "east"));
	}
	for (int i = 0; i < 40; i++)
		report(g, &g->agent[i]);
	forget(g);
	int64_t rows = changes(g);
	int sent = g->sent;
	direct(g, "east", "S21", 0, 16000, 0);
	assert_int_equal(g->sent - sent, 40);
	assert_int_equal(g->n_inbox, 40);
	assert_int_equal(count(g, MSG_DEVICES_CHANGED), 32);
	/* A command and a row a node, the directive, the journal and inbox rows of two or three batches. */
	assert_true(changes(g) - rows <= 40 * 2 + 1 + 12);
	deliver(g);
	forget(g);
	/* In the steady state a report costs its own row and the batch's. */
	rows = changes(g);
	int batches = 40;
	for (int i = 0; i < 40; i++)
		report(g, &g->agent[i]);
	assert_int_equal(count(g, MSG_DEVICES_CHANGED), 0);
	assert_true(changes(g) - rows <= 40 + 6 * batches);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 16000);
	Hcp__FleetGet fg = HCP__FLEET_GET__INIT;
	struct msg *m = ask_as(g, MSG_FLEET_GET, &fg.base, NULL);
	const Hcp__Fleet *f = (void *)m->body;
	assert_int_equal(f->nodes_connected, 40);
	assert_int_equal(f->classes[0]->filling, 16000);
	assert_int_equal(f->power_w, INT64_C(16000) * 3500);
	msg_free(m);
	rig_free(g);
}

static void eight_devices_come_in_three_pages(struct rig *g)
{
	Hcp__ResourcesList l = HCP__RESOURCES_LIST__INIT;
	char cursor[32] = "";
	int seen = 0, pages = 0;
	do {
		l.limit = 3;
		l.cursor = cursor;
		struct msg *m = ask_as(g, MSG_RESOURCES_LIST, &l.base, NULL);
		Hcp__Resources *rs = (void *)m->body;
		assert_int_equal(rs->total, 8);
		if (pages == 0)
			assert_string_equal(rs->devices[0]->id, "n2/d2"); /* newest first */
		seen += (int)rs->n_devices;
		snprintf(cursor, sizeof(cursor), "%s", rs->next_cursor);
		msg_free(m);
		pages++;
	} while (cursor[0]);
	assert_int_equal(seen, 8);
	assert_int_equal(pages, 3);
}

static void list_refusals(struct rig *g)
{
	static const struct { const char *field, *code; } bad[] = {
		{ "limit", "out_of_range" }, { "cursor", "invalid" }, { "kind", "invalid" }, { "state", "invalid" },
		{ "device_class", "not_found" }, { "node_id", "not_found" },
	};
	for (int i = 0; i < 6; i++) {
		Hcp__ResourcesList l = HCP__RESOURCES_LIST__INIT;
		l.limit = i == 0 ? 1001 : 0;
		l.cursor = i == 1 ? "x" : "";
		l.kind = i == 2 ? "tpu" : "";
		l.state = i == 3 ? "asleep" : "";
		l.device_class = i == 4 ? "H9000" : "";
		l.node_id = i == 5 ? "n9" : "";
		say(g, MSG_RESOURCES_LIST, &l.base);
		refused(g, bad[i].code, bad[i].field);
	}
}

static void five_h100_are_available(struct rig *g)
{
	Hcp__AvailabilityGet av = HCP__AVAILABILITY_GET__INIT;
	av.device_class = "H100";
	av.count = 5;
	struct msg *m = ask_as(g, MSG_AVAILABILITY_GET, &av.base, NULL);
	assert_true(((Hcp__Availability *)m->body)->available);
	msg_free(m);
	av.count = 6;
	m = ask_as(g, MSG_AVAILABILITY_GET, &av.base, NULL);
	assert_false(((Hcp__Availability *)m->body)->available);
	msg_free(m);
	av.count = -1;
	say(g, MSG_AVAILABILITY_GET, &av.base);
	refused(g, "out_of_range", "count");
	av.count = 1;
	av.device_class = "H9000";
	say(g, MSG_AVAILABILITY_GET, &av.base);
	refused(g, "not_found", "device_class");
}

static void queries_filter_page_and_refuse(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 5, "east"), *b = agent_add(g, "n2", "S21", 3, "west");
	Hcp__ResourcesList l = HCP__RESOURCES_LIST__INIT;
	struct msg *m = ask_as(g, MSG_RESOURCES_LIST, &l.base, NULL);
	assert_int_equal(((Hcp__Resources *)m->body)->n_devices, 0);
	msg_free(m);
	hello(g, a);
	hello(g, b);
	eight_devices_come_in_three_pages(g);
	l = (Hcp__ResourcesList)HCP__RESOURCES_LIST__INIT;
	l.kind = "asic";
	l.facility = "west";
	l.state = "idle";
	l.device_class = "S21";
	l.node_id = "n2";
	m = ask_as(g, MSG_RESOURCES_LIST, &l.base, NULL);
	assert_int_equal(((Hcp__Resources *)m->body)->n_devices, 3);
	msg_free(m);
	list_refusals(g);
	Hcp__ResourceGet get = HCP__RESOURCE_GET__INIT;
	get.id = "n1/d9";
	say(g, MSG_RESOURCE_GET, &get.base);
	refused(g, "not_found", "id");
	five_h100_are_available(g);
	Hcp__SwitchesList sl = HCP__SWITCHES_LIST__INIT;
	sl.limit = 1001;
	say(g, MSG_SWITCHES_LIST, &sl.base);
	refused(g, "out_of_range", "limit");
	rig_free(g);
}

/* More nodes than may report every two seconds: each reports more rarely, those from before are told, and leases last.
 */
static void many_nodes_report_more_rarely(void **state)
{
	const struct resources_conf conf = { .reports_per_s = 4 };
	struct rig *g = rig_new(NULL, &conf);
	char id[8];
	for (int i = 0; i < 16; i++) {
		snprintf(id, sizeof(id), "n%d", i);
		hello(g, agent_add(g, id, "H100", 1, "east"));
	}
	struct agent *first = agent_of(g, "n0"), *newest = agent_of(g, "n15");
	assert_int_equal(first->report_ms, 2000);
	assert_int_equal(newest->report_ms, 4000);
	report(g, first);
	assert_int_equal(first->report_ms, 4000);
	assert_int_equal(first->welcomes, 2);
	assert_in_range(first->lease_until_ns - g->now, 29 * S, 30 * S);
	run_s(g, 4);
	assert_int_equal(first->welcomes, 2); /* told once */
	/* Four of five fall silent: those that are left report as often as before. */
	for (int i = 4; i < 16; i++) {
		snprintf(id, sizeof(id), "n%d", i);
		agent_of(g, id)->quiet = true;
	}
	for (int t = 0; t < 50; t += 2) {
		g->now += 2 * S;
		settle(g);
		for (int i = 0; i < 4; i++)
			report(g, &g->agent[i]);
	}
	assert_int_equal(first->report_ms, 2000);
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_nodes_report_more_rarely),
		cmocka_unit_test(hello_makes_an_inventory),
		cmocka_unit_test(hello_refusals_name_their_field),
		cmocka_unit_test(directive_is_commanded_and_proved),
		cmocka_unit_test(directive_refusals),
		cmocka_unit_test(metering_is_exactly_once),
		cmocka_unit_test(report_refusals_name_their_field),
		cmocka_unit_test(allocation_lives_and_ends),
		cmocka_unit_test(warm_device_is_held_only_when_its_agent_took_it),
		cmocka_unit_test(asics_get_the_time_they_need_to_boot),
		cmocka_unit_test(capacity_is_told_twice_a_second_at_most),
		cmocka_unit_test(counters_of_ended_allocations_go),
		cmocka_unit_test(directive_over_16000_devices_costs_a_row_a_node),
		cmocka_unit_test(queries_filter_page_and_refuse),
	};
	return cmocka_run_group_tests_name("resources", tests, NULL, NULL);
}
