/* Agents that lie, refuse, vanish or start again; a service whose memory or commits fail, or that starts again. */

#include "resources_rig.h"

static void lying_agent_is_drifted_and_told_again(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "S21", 3, "east");
	hello(g, a);
	direct(g, "east", "S21", 0, 3, 0);
	deliver(g);
	run_s(g, 4);
	DEVICE(g, "n1/d0", confirmed, HCP__MODE__FILL);
	a->lies = true;
	direct(g, "east", "S21", 0, 0, 3);
	deliver(g); /* "done", with the gate at OFF and 200 TH/s */
	assert_int_equal(a->shown[0], HCP__MODE__OFF);
	DEVICE(g, "n1/d0", confirmed, HCP__MODE__FILL);
	int before = a->commands;
	forget(g);
	run_s(g, 30);
	DEVICE(g, "n1/d0", confirmed, HCP__MODE__FILL);
	DEVICE(g, "n1/d0", drifted, true);
	assert_true(a->commands > before);
	const Hcp__SwitchDone *done = last(g, MSG_SWITCH_DONE);
	assert_false(done->ok);
	assert_true(strstr(done->error, "readings") != NULL);
	a->lies = false;
	run_s(g, 120);
	DEVICE(g, "n1/d0", confirmed, HCP__MODE__OFF);
	DEVICE(g, "n1/d0", drifted, false);
	assert_int_equal(agents_in(g, HCP__MODE__OFF), 3);
	/* What is told long after the decision does not count from it. */
	done = last(g, MSG_SWITCH_DONE);
	assert_true(done->ok && done->signal_at_ns == 0);
	assert_string_equal(done->phases[0]->phase, "validate");
	assert_int_equal(done->phases[0]->duration_ns, 0);
	rig_free(g);
}

/* What was under way when its stream broke is told again with the new one, not when its time is nearly over. */
static void a_stream_that_begins_anew_is_told_at_once(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "S21", 3, "east");
	hello(g, a);
	direct(g, "east", "S21", 0, 3, 0);
	int before = g->sent;
	forget(g);
	hello(g, a);
	run_s(g, 0);
	svc_step(g->svc, g->now);
	assert_int_equal(g->sent, before + 3); /* welcome, lease, and the order */
	svc_step(g->svc, g->now);
	assert_int_equal(g->sent, before + 3);
	rig_free(g);
}

static void gang_that_fails_half_way_is_rolled_back(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 2, "east"), *b = agent_add(g, "n2", "H100", 2, "east");
	const char *gang[] = { "n1/d0", "n1/d1", "n2/d0", "n2/d1" };
	hello(g, a);
	hello(g, b);
	direct(g, "east", "H100", 0, 4, 0);
	deliver(g);
	run_s(g, 4);
	forget(g);
	b->refuses = true;
	place(g, "al-1", 4, gang, 1);
	deliver(g);
	const Hcp__AllocationChanged *end = alloc_state(g, HCP__ALLOCATION_STATE__REFUSED);
	assert_true(strstr(end->reason, "out of memory") != NULL);
	assert_int_equal(a->commands, 3); /* to mine, for the customer, and back */
	b->refuses = false;
	run_s(g, 20);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 4);
	assert_string_equal(a->allocation[0], "");
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__IDLE);
	DEVICE(g, "n2/d1", state, HCP__DEVICE_STATE__IDLE);
	DEVICE(g, "n2/d1", drifted, false);
	/* A node that never answers: the deadline refuses the gang. */
	b->deaf = true;
	place(g, "al-2", 4, gang, 1);
	run_s(g, 20);
	end = alloc_state(g, HCP__ALLOCATION_STATE__REFUSED);
	assert_string_equal(end->allocation_id, "al-2");
	assert_true(strstr(end->reason, "deadline") != NULL);
	b->deaf = false;
	run_s(g, 90);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 4);
	rig_free(g);
}

static void lost_node_gives_its_allocations_up(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 2, "east");
	const char *one[] = { "n1/d0" };
	snprintf(a->endpoint, sizeof(a->endpoint), "http://127.0.0.1:9");
	hello(g, a);
	direct(g, "east", "H100", 0, 2, 0);
	deliver(g);
	run_s(g, 4);
	place(g, "al-1", 1, one, 1);
	deliver(g);
	alloc_state(g, HCP__ALLOCATION_STATE__HELD);
	/* Silence, longer than the lease. */
	for (int i = 0; i < 17; i++) {
		g->now += S;
		settle(g);
	}
	assert_string_equal(alloc_state(g, HCP__ALLOCATION_STATE__RELEASED)->reason, "node lost");
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__DEVICE_FAILED);
	assert_false(((const Hcp__EndpointChanged *)last(g, MSG_ENDPOINT_CHANGED))->up);
	place(g, "al-2", 1, one, 1);
	alloc_state(g, HCP__ALLOCATION_STATE__REFUSED);
	/* It comes back, still at the customer's work: that is commanded away. */
	int before = a->commands;
	lose_commands(g);
	hello(g, a);
	deliver(g);
	assert_true(a->commands > before);
	assert_string_equal(a->allocation[0], "");
	run_s(g, 4);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__IDLE);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 2);
	assert_true(((const Hcp__EndpointChanged *)last(g, MSG_ENDPOINT_CHANGED))->up);
	/* The end of its stream is as good as silence. */
	Hcp__NodeGone gone = HCP__NODE_GONE__INIT;
	gone.node_id = "n1";
	forget(g);
	say(g, MSG_NODE_GONE, &gone.base);
	say(g, MSG_NODE_GONE, &gone.base);
	assert_int_equal(count(g, MSG_ENDPOINT_CHANGED), 1);
	DEVICE(g, "n1/d1", state, HCP__DEVICE_STATE__DEVICE_FAILED);
	/* A new boot, in SAFE, is brought to what the directive says. */
	snprintf(a->boot, sizeof(a->boot), "again");
	a->seq = 0;
	for (int i = 0; i < 2; i++)
		a->mode[i] = a->shown[i] = HCP__MODE__SAFE;
	hello(g, a);
	run_s(g, 6);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 2);
	rig_free(g);
}

static void new_boot_keeps_the_allocation_and_is_told_again(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 1, "east");
	const char *one[] = { "n1/d0" };
	hello(g, a);
	place(g, "al-1", 1, one, 1);
	deliver(g);
	alloc_state(g, HCP__ALLOCATION_STATE__HELD);
	snprintf(a->boot, sizeof(a->boot), "again");
	a->seq = 0;
	a->mode[0] = a->shown[0] = HCP__MODE__SAFE;
	a->allocation[0][0] = '\0';
	hello(g, a);
	DEVICE(g, "n1/d0", drifted, true);
	run_s(g, 6);
	assert_int_equal(a->mode[0], HCP__MODE__SERVE);
	assert_string_equal(a->allocation[0], "al-1");
	DEVICE(g, "n1/d0", drifted, false);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__ACTIVE);
	alloc_state(g, HCP__ALLOCATION_STATE__HELD);
	rig_free(g);
}

static void remove_db(const char *path);

/* An agent that comes back from a saved state counts joules again that were billed: its boot is closed, and it is told.
 */
static void counters_that_go_back_end_their_boot(void **state)
{
	char path[] = "/tmp/hcp-resources-back-XXXXXX";
	close(mkstemp(path));
	struct rig *g = rig_new(path, NULL);
	struct agent *a = agent_add(g, "n1", "CPU2", 1, "east");
	hello(g, a);
	assert_string_equal(a->over, "");
	a->energy_j = 1000;
	report_seq(g, a, 1);
	a->energy_j = 400;
	report_seq(g, a, 2);
	assert_string_equal(g->code, "");
	assert_string_equal(a->over, "n1-boot1");
	assert_int_equal(metered_j(g), 1000);
	/* Nothing of this boot counts any more, not even when it has passed its old self; a restart of ours forgets
	 * nothing. */
	a->energy_j = 5000;
	report_seq(g, a, 3);
	svc_close(g->svc);
	open_svc(g);
	a->over[0] = '\0';
	report_seq(g, a, 4);
	assert_string_equal(a->over, "n1-boot1");
	a->over[0] = '\0';
	hello(g, a);
	assert_string_equal(a->over, "n1-boot1");
	assert_int_equal(metered_j(g), 1000);
	snprintf(a->boot, sizeof(a->boot), "fresh");
	hello(g, a);
	assert_string_equal(a->over, "");
	a->energy_j = 30;
	report_seq(g, a, 1);
	assert_int_equal(metered_j(g), 1030);
	/* One that was never heard of here, but has told its counters to somebody. */
	snprintf(a->boot, sizeof(a->boot), "older");
	a->seq = 12;
	hello(g, a);
	assert_string_equal(a->over, "older");
	/* The boot before, once more: it is asked to begin anew rather than refused for ever. */
	snprintf(a->boot, sizeof(a->boot), "n1-boot1");
	hello(g, a);
	assert_string_equal(a->over, "n1-boot1");
	rig_free(g);
	remove_db(path);
}

/* Its counters may have grown since; what shows is that it numbers its reports anew, long after the last we took. */
static void reports_numbered_anew_end_their_boot(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "CPU2", 1, "east");
	hello(g, a);
	a->energy_j = 1000;
	report_seq(g, a, 50);
	g->now += 5 * S;
	a->energy_j = 1100;
	report_seq(g, a, 20); /* late, it seems */
	assert_string_equal(a->over, "");
	g->now += 16 * S;
	report_seq(g, a, 21);
	assert_string_equal(a->over, "n1-boot1");
	assert_int_equal(metered_j(g), 1000);
	snprintf(a->boot, sizeof(a->boot), "fresh");
	hello(g, a);
	a->energy_j = 7;
	report_seq(g, a, 1);
	assert_int_equal(metered_j(g), 1007);
	rig_free(g);
}

static void the_end_of_an_older_stream_is_no_news(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 1, "east");
	Hcp__NodeGone gone = HCP__NODE_GONE__INIT;
	a->stream = 7;
	hello(g, a);
	a->stream = 8;
	hello(g, a);
	gone.node_id = "n1";
	gone.stream = 7;
	say(g, MSG_NODE_GONE, &gone.base);
	assert_string_equal(g->code, "");
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__IDLE);
	gone.stream = 8;
	say(g, MSG_NODE_GONE, &gone.base);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__DEVICE_FAILED);
	rig_free(g);
}

/* Words that were on the way when the node was lost do not change why it is out, or it would stay out for ever. */
static void late_words_of_a_lost_node_keep_it_lost(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 1, "east");
	Hcp__NodeGone gone = HCP__NODE_GONE__INIT;
	Hcp__LocalSwitch l = HCP__LOCAL_SWITCH__INIT;
	hello(g, a);
	gone.node_id = l.node_id = "n1";
	say(g, MSG_NODE_GONE, &gone.base);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__DEVICE_FAILED);
	l.device_id = "d0";
	l.to = HCP__MODE__SERVE;
	l.at_ns = g->now;
	say(g, MSG_LOCAL_SWITCH, &l.base);
	assert_string_equal(g->code, "");
	a->mode[0] = a->shown[0] = HCP__MODE__SAFE;
	snprintf(a->boot, sizeof(a->boot), "again");
	hello(g, a);
	run_s(g, 6);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__IDLE);
	rig_free(g);
}

static void device_errors_leave_and_rejoin_the_pool(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 2, "east");
	hello(g, a);
	report(g, a);
	Hcp__NodeReport r = HCP__NODE_REPORT__INIT;
	read_devices(a);
	reading[1].error = "XID 79: fell off the bus";
	r.node_id = a->id;
	r.boot_id = a->boot;
	r.at_ns = g->now;
	r.seq = ++a->seq;
	r.readings = readings;
	r.n_readings = 2;
	say(g, MSG_NODE_REPORT, &r.base);
	DEVICE(g, "n1/d1", state, HCP__DEVICE_STATE__DEVICE_FAILED);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__IDLE);
	run_s(g, 4);
	DEVICE(g, "n1/d1", state, HCP__DEVICE_STATE__IDLE);
	/* A device that the next announcement lacks is gone until it is announced again. */
	a->n = 1;
	hello(g, a);
	DEVICE(g, "n1/d1", state, HCP__DEVICE_STATE__DEVICE_FAILED);
	a->n = 2;
	hello(g, a);
	DEVICE(g, "n1/d1", state, HCP__DEVICE_STATE__IDLE);
	rig_free(g);
}

static void local_switches_are_the_nodes_right(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "CPU2", 1, "east");
	snprintf(a->endpoint, sizeof(a->endpoint), "http://127.0.0.1:9");
	hello(g, a);
	direct(g, "east", "CPU2", 0, 1, 0);
	deliver(g);
	run_s(g, 4);
	DEVICE(g, "n1/d0", confirmed, HCP__MODE__FILL);
	int before = a->commands;
	a->mode[0] = a->shown[0] = HCP__MODE__SERVE;
	a->requests = 1;
	Hcp__LocalSwitch l = HCP__LOCAL_SWITCH__INIT;
	l.node_id = "n1";
	l.device_id = "d0";
	l.to = HCP__MODE__SERVE;
	l.at_ns = g->now;
	say(g, MSG_LOCAL_SWITCH, &l.base);
	say(g, MSG_LOCAL_SWITCH, &l.base);
	run_s(g, 6);
	DEVICE(g, "n1/d0", confirmed, HCP__MODE__SERVE);
	DEVICE(g, "n1/d0", desired, HCP__MODE__FILL);
	DEVICE(g, "n1/d0", drifted, false);
	assert_int_equal(a->commands, before);
	a->mode[0] = a->shown[0] = HCP__MODE__FILL; /* back; the message of it is lost, the reading tells */
	run_s(g, 4);
	DEVICE(g, "n1/d0", confirmed, HCP__MODE__FILL);
	assert_int_equal(a->commands, before);
	/* SAFE, because it heard nothing: brought back. */
	a->mode[0] = a->shown[0] = HCP__MODE__SAFE;
	l.to = HCP__MODE__SAFE;
	l.at_ns = g->now;
	l.cause = "lease_end";
	say(g, MSG_LOCAL_SWITCH, &l.base);
	DEVICE(g, "n1/d0", drifted, true);
	run_s(g, 10);
	DEVICE(g, "n1/d0", confirmed, HCP__MODE__FILL);
	assert_true(a->commands > before);
	rig_free(g);
}

static void remove_db(const char *path)
{
	char file[96];
	unlink(path);
	snprintf(file, sizeof(file), "%s-wal", path);
	unlink(file);
	snprintf(file, sizeof(file), "%s-shm", path);
	unlink(file);
}

static struct str all_devices(struct rig *g, struct buf *b)
{
	Hcp__ResourcesList l = HCP__RESOURCES_LIST__INIT;
	l.limit = 1000;
	struct msg *m = ask_as(g, MSG_RESOURCES_LIST, &l.base, NULL);
	Hcp__Resources *rs = (void *)m->body;
	for (size_t i = 0; i < rs->n_devices; i++) {
		/* Readings are memory only. */
		rs->devices[i]->hash_ths = rs->devices[i]->utilisation = 0;
		rs->devices[i]->temperature_c = rs->devices[i]->power_w = 0;
	}
	buf_init(b, 0);
	assert_int_equal(pb_pack(&rs->base, b), 0);
	msg_free(m);
	return buf_str(b);
}

static void restart_in_the_middle_of_a_switch_goes_on(void **state)
{
	char path[] = "/tmp/hcp-resources-XXXXXX";
	close(mkstemp(path));
	struct rig *g = rig_new(path, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 3, "east"), *b = agent_add(g, "n2", "S19XP", 2, "east");
	const char *gang[] = { "n1/d0", "n1/d1" };
	struct buf before, after;
	hello(g, a);
	hello(g, b);
	direct(g, "east", "S19XP", 0, 2, 0);
	a->energy_j = 70;
	report(g, a);
	place(g, "al-1", 2, gang, 1);
	alloc_state(g, HCP__ALLOCATION_STATE__SWITCHING);
	lose_commands(g);
	struct str was = all_devices(g, &before);
	svc_close(g->svc);
	open_svc(g);
	assert_true(str_eq(was, all_devices(g, &after)));
	buf_release(&before);
	buf_release(&after);
	/* Both switches were under way: they are sent again and end well. */
	g->now += 3 * S;
	settle(g);
	deliver(g);
	settle(g);
	const Hcp__AllocationChanged *al = alloc_state(g, HCP__ALLOCATION_STATE__HELD);
	assert_string_equal(al->customer_id, "cus-1");
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 2);
	forget(g);
	a->energy_j = 75;
	report(g, a);
	assert_int_equal(metered_j(g), 5);
	svc_close(g->svc);
	open_svc(g);
	forget(g);
	run_s(g, 4);
	assert_int_equal(count(g, MSG_ALLOCATION_CHANGED), 0);
	release(g, "al-1");
	alloc_state(g, HCP__ALLOCATION_STATE__RELEASED);
	rig_free(g);
	remove_db(path);
}

static void replay_is_identical(void **state)
{
	static const struct resources_budget budget[] = { { .facility = "east", .budget_w = 5000 } };
	const struct resources_conf conf = { .budgets = budget, .n_budgets = 1 };
	struct rig *g = rig_new(NULL, &conf);
	struct rng r;
	struct err err = { 0 };
	struct arena arena;
	rng_init(&r, 3);
	arena_init(&arena, 4096, 0);
	hello(g, agent_add(g, "n1", "H100", 4, "east"));
	hello(g, agent_add(g, "n2", "S21", 2, "east"));
	for (int t = 0; t < 400; t++) {
		char id[16], dev[16];
		const char *devs[] = { dev };
		snprintf(dev, sizeof(dev), "n1/d%d", (int)rng_below(&r, 4));
		snprintf(id, sizeof(id), "al-%d", t);
		switch (rng_below(&r, 6)) {
		case 0:
			direct(g, "east", rng_below(&r, 2) ? "H100" : "S21", (int)rng_below(&r, 3),
			       (int)rng_below(&r, 4), 0);
			break;
		case 1:
			place(g, id, 1, devs, 1);
			break;
		case 2:
			snprintf(id, sizeof(id), "al-%d", (int)rng_below(&r, (uint64_t)t + 1));
			release(g, id);
			break;
		case 3:
			g->agent[0].refuses = rng_below(&r, 3) == 0;
			deliver(g);
			break;
		default:
			g->agent[0].energy_j += 10;
			g->now += 2 * S;
			settle(g);
			report(g, &g->agent[rng_below(&r, 2)]);
		}
	}
	assert_true(count(g, MSG_ALLOCATION_CHANGED) > 10 && count(g, MSG_SWITCH_DONE) > 10);
	Hcp__ReplayReport report_ = HCP__REPLAY_REPORT__INIT;
	int rc = svc_replay(&(struct svc_replay){ .def = &resources_def, .conf = &conf, .journal = svc_database(g->svc) },
		&report_, &arena, &err);
	if (rc < 0 || !report_.identical)
		print_error("%s %s: %s\n", err.field, err.text, report_.detail);
	assert_int_equal(rc, 0);
	assert_true(report_.identical);
	assert_true(report_.events > 100);
	arena_release(&arena);
	rig_free(g);
}

static int flaky(void *arg)
{
	return rng_below(arg, 4) == 0 ? HCP_EIO : 0;
}

/* Commits fail at random: what was refused is said again by its sender, and all ends as if nothing had happened. */
static void failed_commits_leave_no_trace(void **state)
{
	char path[] = "/tmp/hcp-resources-XXXXXX";
	close(mkstemp(path));
	struct rig *g = rig_new(path, NULL);
	struct rng faults;
	rng_init(&faults, 5);
	struct agent *a = agent_add(g, "n1", "H100", 4, "east");
	hello(g, a);
	direct(g, "east", "H100", 1, 3, 0);
	deliver(g);
	svc_close(g->svc);
	g->conf.before_commit = flaky;
	g->conf.commit_arg = &faults;
	struct err err = { 0 };
	g->conf.now_ns = g->now;
	while (svc_open(&resources_def, &g->conf, &g->svc, &err) < 0)
		;
	for (int i = 0; i < 40; i++) {
		Hcp__NodeReport r = HCP__NODE_REPORT__INIT;
		Hcp__Meter m = HCP__METER__INIT, *ms[] = { &m };
		read_devices(a);
		g->now += 2 * S;
		a->energy_j += 7;
		r.node_id = a->id;
		r.boot_id = a->boot;
		r.at_ns = g->now;
		r.seq = ++a->seq;
		r.readings = readings;
		r.n_readings = 4;
		m.device_class = "H100";
		m.activity = "fill";
		m.energy_j = a->energy_j;
		r.meters = ms;
		r.n_meters = 1;
		svc_post(g->svc, new_msg(MSG_NODE_REPORT, &r.base));
		(void)svc_step(g->svc, g->now);
	}
	svc_close(g->svc);
	g->conf.before_commit = NULL;
	open_svc(g);
	report(g, a);
	read_news(g);
	assert_int_equal(metered_j(g), 40 * 7);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__IDLE);
	run_s(g, 40);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 3);
	rig_free(g);
	remove_db(path);
}

/* The same said twice, memory failing the first time: a sender that heard "unavailable" says it again. */
static int say_starved(struct rig *g, int n, unsigned type, const ProtobufCMessage *body)
{
	g->starve = n;
	say(g, type, body);
	int struck = g->struck;
	say(g, type, body);
	assert_string_equal(g->code, "");
	return struck;
}

/* Memory fails at any one allocation of a report, a directive, a placement and their answers: nothing is half done. */
static void memory_that_fails_anywhere_leaves_no_trace(void **state)
{
	int strikes = 0, before = -1;
	for (int n = 1; strikes != before && n < 5000; n += 1 + n / 25) {
		struct rig *g = rig_new(NULL, NULL);
		struct agent *a = agent_add(g, "n1", "H100", 3, "east"), *b = agent_add(g, "n2", "H100", 2, "east");
		const char *two[] = { "n1/d0", "n1/d1" };
		Hcp__ClassTarget t = HCP__CLASS_TARGET__INIT, *ts[] = { &t };
		Hcp__Directive d = HCP__DIRECTIVE__INIT;
		Hcp__Place p = HCP__PLACE__INIT;
		Hcp__Workload w = HCP__WORKLOAD__INIT;
		before = strikes;
		g->starve = n;
		hello(g, a);
		strikes += g->struck;
		hello(g, a);
		hello(g, b);
		g->starve = n;
		report(g, a);
		strikes += g->struck;
		t.facility = "east";
		t.device_class = "H100";
		t.serve = 2;
		t.mine = 3;
		d.targets = ts;
		d.n_targets = 1;
		strikes += say_starved(g, n, MSG_DIRECTIVE, &d.base);
		g->starve = n;
		deliver(g); /* the first switch report */
		strikes += g->struck;
		run_s(g, 4);
		w.id = "wl-1";
		p.allocation_id = "al-1";
		p.workload = &w;
		p.device_ids = two;
		p.n_device_ids = 2;
		strikes += say_starved(g, n, MSG_PLACE, &p.base);
		run_s(g, 20);
		alloc_state(g, HCP__ALLOCATION_STATE__HELD);
		assert_int_equal(agents_in(g, HCP__MODE__SERVE) + agents_in(g, HCP__MODE__FILL), 5);
		DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__ACTIVE);
		rig_free(g);
	}
	assert_true(strikes > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lying_agent_is_drifted_and_told_again),
		cmocka_unit_test(a_stream_that_begins_anew_is_told_at_once),
		cmocka_unit_test(gang_that_fails_half_way_is_rolled_back),
		cmocka_unit_test(lost_node_gives_its_allocations_up),
		cmocka_unit_test(new_boot_keeps_the_allocation_and_is_told_again),
		cmocka_unit_test(device_errors_leave_and_rejoin_the_pool),
		cmocka_unit_test(late_words_of_a_lost_node_keep_it_lost),
		cmocka_unit_test(counters_that_go_back_end_their_boot),
		cmocka_unit_test(reports_numbered_anew_end_their_boot),
		cmocka_unit_test(the_end_of_an_older_stream_is_no_news),
		cmocka_unit_test(local_switches_are_the_nodes_right),
		cmocka_unit_test(restart_in_the_middle_of_a_switch_goes_on),
		cmocka_unit_test(replay_is_identical),
		cmocka_unit_test(failed_commits_leave_no_trace),
		cmocka_unit_test(memory_that_fails_anywhere_leaves_no_trace),
	};
	return cmocka_run_group_tests_name("resources_faults", tests, NULL, NULL);
}
