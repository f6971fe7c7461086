/* Devices that fall sick: out of the pool with a ticket, back when they have proved that they are well. */
#include <math.h>

#include "resources_rig.h"

enum { N = 12, STEP_S = 10, HOUR = 3600 / STEP_S };

static int stuck;       /* device whose hash rate is 8 % low while its watts are right: no drift, but sick; -1: none */
static bool fails;      /* device 2 says an error */

static void report_health(struct rig *g, struct agent *a, struct rng *rng)
{
	Hcp__NodeReport r = HCP__NODE_REPORT__INIT;
	read_devices(a);
	for (int i = 0; i < a->n; i++) {
		bool fill = a->mode[i] == HCP__MODE__FILL;
		reading[i].power_w += fill ? (int32_t)(20 * rng_normal(rng)) : 0;
		reading[i].hash_ths *= (i == stuck ? 0.92 : 1) * (1 + 0.004 * rng_normal(rng));
		reading[i].temperature_c = fill ? 62 + (int32_t)lround(rng_normal(rng)) : 30;
		reading[i].fan_percent = fill ? 66 + (int32_t)lround(rng_normal(rng)) : 20;
		reading[i].utilisation = fill;
	}
	if (fails)
		reading[2].error = "no answer";
	r.node_id = a->id;
	r.boot_id = a->boot;
	r.at_ns = g->now;
	r.seq = ++a->seq;
	r.readings = readings;
	r.n_readings = (size_t)a->n;
	r.inlet_k = 298.15;
	say(g, MSG_NODE_REPORT, &r.base);
}

static void run_health(struct rig *g, struct rng *rng, int steps)
{
	for (int i = 0; i < steps; i++) {
		g->now += STEP_S * S;
		report_health(g, &g->agent[0], rng);
		deliver(g);
		if (g->n_news > MAX_NEWS - 2000)
			forget(g);
	}
}

static struct rig *mining(struct rng *rng, const char *path)
{
	struct rig *g = rig_new(path, NULL);
	stuck = -1;
	fails = false;
	rng_init(rng, 5);
	hello(g, agent_add(g, "n1", "S21", N, "east"));
	direct(g, "east", "S21", 0, N, 0);
	run_health(g, rng, 9 * HOUR);
	assert_int_equal(count(g, MSG_TICKET_CHANGED), 0);
	return g;
}

static const Hcp__Ticket *ticket(struct rig *g)
{
	const Hcp__TicketChanged *ev = last(g, MSG_TICKET_CHANGED);
	assert_non_null(ev);
	return ev->ticket;
}

static void close_ticket(struct rig *g, const char *id)
{
	Hcp__TicketClose c = HCP__TICKET_CLOSE__INIT;
	char copy[ID_TEXT_MAX];
	snprintf(copy, sizeof(copy), "%s", id);
	c.id = copy;
	c.note = "board 2 replaced";
	say(g, MSG_TICKET_CLOSE, &c.base);
	assert_string_equal(g->code, "");
}

static Hcp__DeviceState state_of(struct rig *g, const char *id)
{
	struct msg *m = device_get(g, id);
	Hcp__DeviceState s = ((const Hcp__Device *)m->body)->state;
	msg_free(m);
	return s;
}

static void sick_device_leaves_and_returns_after_proof(void **state)
{
	struct rng rng;
	struct rig *g = mining(&rng, NULL);
	stuck = 3;
	run_health(g, &rng, HOUR / 2);
	const Hcp__Ticket *t = ticket(g);
	assert_string_equal(t->device_id, "n1/d3");
	assert_string_equal(t->signal, "hash");
	assert_int_equal(t->state, HCP__TICKET_STATE__TICKET_OPEN);
	assert_int_equal(t->times, 1);
	assert_non_null(strstr(t->reason, "hash rate 18"));
	assert_true(t->since_ns > g->now - 3600 * S && t->since_ns < g->now);
	DEVICE(g, "n1/d3", state, HCP__DEVICE_STATE__MAINTENANCE);
	DEVICE(g, "n1/d3", confirmed, HCP__MODE__OFF);
	DEVICE(g, "n1/d4", state, HCP__DEVICE_STATE__IDLE);
	/* It stays out while the ticket is open, and nobody else got one. */
	run_health(g, &rng, HOUR);
	DEVICE(g, "n1/d3", state, HCP__DEVICE_STATE__MAINTENANCE);
	assert_int_equal(count(g, MSG_TICKET_CHANGED), 1);
	/* Repaired: it works for nobody until it has proved itself. */
	stuck = -1;
	close_ticket(g, ticket(g)->id);
	run_health(g, &rng, HOUR / 6);
	DEVICE(g, "n1/d3", state, HCP__DEVICE_STATE__MAINTENANCE);
	DEVICE(g, "n1/d3", confirmed, HCP__MODE__FILL);
	run_health(g, &rng, HOUR / 4);
	assert_int_equal(ticket(g)->state, HCP__TICKET_STATE__TICKET_DONE);
	assert_int_equal(ticket(g)->proved_min, RESOURCES_PROOF_MIN);
	assert_string_equal(ticket(g)->note, "board 2 replaced");
	DEVICE(g, "n1/d3", state, HCP__DEVICE_STATE__IDLE);
	rig_free(g);
}

static void false_repair_opens_again_and_proof_gets_longer(void **state)
{
	struct rng rng;
	struct rig *g = mining(&rng, NULL);
	stuck = 3;
	run_health(g, &rng, HOUR / 2);
	close_ticket(g, ticket(g)->id); /* nothing was repaired */
	for (int i = 0; i < 4 * HOUR && ticket(g)->state != HCP__TICKET_STATE__TICKET_OPEN; i++)
		run_health(g, &rng, 1);
	/* Either it was caught while it proved itself, or it is back and has another ticket: twice the proof. */
	for (int i = 0; i < 4 * HOUR && ticket(g)->times < 2; i++)
		run_health(g, &rng, 1);
	assert_int_equal(ticket(g)->times, 2);
	assert_int_equal(ticket(g)->proof_min, 2 * RESOURCES_PROOF_MIN);
	DEVICE(g, "n1/d3", state, HCP__DEVICE_STATE__MAINTENANCE);
	stuck = -1;
	close_ticket(g, ticket(g)->id);
	run_health(g, &rng, HOUR / 3);
	DEVICE(g, "n1/d3", state, HCP__DEVICE_STATE__MAINTENANCE);
	run_health(g, &rng, HOUR / 3);
	DEVICE(g, "n1/d3", state, HCP__DEVICE_STATE__IDLE);
	rig_free(g);
}

static void work_has_time_to_end_before_it_is_moved(void **state)
{
	struct rng rng;
	struct rig *g = mining(&rng, NULL);
	const char *devs[] = { "n1/d3" };
	Hcp__Place p = HCP__PLACE__INIT;
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	w.id = "wl-1";
	w.customer_id = "cus-1";
	w.type = HCP__WORKLOAD_TYPE__BITCOIN_MINING;
	p.allocation_id = "al-1";
	p.workload = &w;
	p.device_ids = devs;
	p.n_device_ids = 1;
	publish(g, SVC_ROUTER, MSG_PLACE, &p.base, 1);
	run_health(g, &rng, HOUR / 6);
	DEVICE(g, "n1/d3", state, HCP__DEVICE_STATE__ACTIVE);
	stuck = 3;
	while (!last(g, MSG_TICKET_CHANGED))
		run_health(g, &rng, 1);
	int64_t opened_ns = g->now;
	DEVICE(g, "n1/d3", state, HCP__DEVICE_STATE__ACTIVE);
	while (g->now < opened_ns + RESOURCES_DRAIN_MS * MS - 30 * S)
		run_health(g, &rng, 1);
	DEVICE(g, "n1/d3", state, HCP__DEVICE_STATE__ACTIVE);
	run_health(g, &rng, HOUR / 12);
	DEVICE(g, "n1/d3", state, HCP__DEVICE_STATE__MAINTENANCE);
	const Hcp__AllocationChanged *a = last(g, MSG_ALLOCATION_CHANGED);
	assert_int_equal(a->state, HCP__ALLOCATION_STATE__RELEASED);
	rig_free(g);
}

static void flapping_device_waits_longer_each_time(void **state)
{
	struct rng rng;
	struct rig *g = mining(&rng, NULL);
	int out = 0;
	for (int i = 0; i < 5; i++) {
		fails = true;
		run_health(g, &rng, 2);
		DEVICE(g, "n1/d2", state, HCP__DEVICE_STATE__DEVICE_FAILED);
		fails = false;
		int steps = 0;
		for (; steps < HOUR; steps++) {
			run_health(g, &rng, 1);
			if (state_of(g, "n1/d2") != HCP__DEVICE_STATE__DEVICE_FAILED)
				break;
		}
		assert_true(steps < HOUR);
		assert_true(i < 2 ? steps == 0 : steps >= out);
		out = steps;
	}
	assert_true(out * STEP_S >= 200);
	rig_free(g);
}

static void tickets_survive_a_restart_and_a_replay_is_identical(void **state)
{
	char path[] = "/tmp/hcp-care-XXXXXX";
	struct rng rng;
	struct err err = { 0 };
	struct arena arena;
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	unlink(path);
	struct rig *g = mining(&rng, path);
	stuck = 3;
	run_health(g, &rng, HOUR / 2);
	char id[ID_TEXT_MAX];
	snprintf(id, sizeof(id), "%s", ticket(g)->id);
	svc_close(g->svc);
	open_svc(g);
	stuck = -1;
	DEVICE(g, "n1/d3", state, HCP__DEVICE_STATE__MAINTENANCE);
	/* Charts came back as well: another sick device is found without hours of learning. */
	run_health(g, &rng, HOUR / 2);
	forget(g);
	stuck = 5;
	run_health(g, &rng, HOUR / 2);
	assert_string_equal(ticket(g)->device_id, "n1/d5");
	close_ticket(g, id);
	run_health(g, &rng, HOUR / 2);
	DEVICE(g, "n1/d3", state, HCP__DEVICE_STATE__IDLE);
	Hcp__TicketsList l = HCP__TICKETS_LIST__INIT;
	struct msg *reply = ask_as(g, MSG_TICKETS_LIST, &l.base, NULL);
	assert_int_equal(reply->type, MSG_TICKETS);
	assert_int_equal(((const Hcp__Tickets *)reply->body)->n_tickets, 1);
	msg_free(reply);
	l.all = true;
	reply = ask_as(g, MSG_TICKETS_LIST, &l.base, NULL);
	assert_int_equal(((const Hcp__Tickets *)reply->body)->n_tickets, 2);
	msg_free(reply);
	l.limit = RESOURCES_LIST_TICKETS + 1;
	say(g, MSG_TICKETS_LIST, &l.base);
	refused(g, "out_of_range", "limit");
	Hcp__TicketClose c = HCP__TICKET_CLOSE__INIT;
	c.id = "tk-none";
	say(g, MSG_TICKET_CLOSE, &c.base);
	refused(g, "not_found", "id");
	Hcp__ReplayReport told = HCP__REPLAY_REPORT__INIT;
	arena_init(&arena, 4096, 0);
	int rc = svc_replay(&(struct svc_replay){ .def = &resources_def, .journal = svc_database(g->svc) }, &told, &arena,
		&err);
	if (rc < 0 || !told.identical)
		print_error("%s %s: %s\n", err.field, err.text, told.detail);
	assert_true(rc == 0 && told.identical);
	arena_release(&arena);
	rig_free(g);
	static const char *const tail[] = { "", "-wal", "-shm" };
	for (int i = 0; i < 3; i++) {
		char name[64];
		snprintf(name, sizeof(name), "%s%s", path, tail[i]);
		unlink(name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sick_device_leaves_and_returns_after_proof),
		cmocka_unit_test(false_repair_opens_again_and_proof_gets_longer),
		cmocka_unit_test(work_has_time_to_end_before_it_is_moved),
		cmocka_unit_test(flapping_device_waits_longer_each_time),
		cmocka_unit_test(tickets_survive_a_restart_and_a_replay_is_identical),
	};
	int64_t live = mem_live();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed ? failed : mem_live() != live;
}
