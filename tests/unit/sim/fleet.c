#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "os/clock.h"
#include "sim/fleet_run.h"
#include "sim/node.h"
#include "wire/pb.h"

#define S_NS INT64_C(1000000000)
#define MS_NS INT64_C(1000000)
#define START_NS (INT64_C(1700000000) * S_NS)

static const struct fleet_rules good;

/* A step of the physics in air of 25 °C. */
static struct fleet_flow pass(struct fleet_device *d, const struct fleet_rules *rules, struct rng *rng, bool busy,
	int64_t now_ns, int64_t dt_ns)
{
	struct fleet_step s;
	fleet_step_init(&s, rules, 25, now_ns, dt_ns);
	return fleet_device_step(d, &s, rng, busy);
}

static const struct device_class *cls(const char *name)
{
	const struct device_class *c = device_class_find(str_of(name));
	assert_non_null(c);
	return c;
}

/* ---- physics ---- */

static void asic_boots_ramps_and_stops(void **state)
{
	struct fleet_device d;
	struct rng rng;
	const struct device_class *c = cls("S21");
	int64_t t = START_NS;
	double before_w = 0;
	rng_init(&rng, 1);
	fleet_device_init(&d, c, DEVICE_IDLE, t);
	assert_int_equal(fleet_device_order(&d, &good, &rng, DEVICE_FILL, 0, t), 0);
	for (int s = 1; s <= 60; s++) {
		t += S_NS;
		(void)pass(&d, &good, &rng, false, t, S_NS);
		double w = d.power_mw / 1000.0;
		if (s < 20)
			assert_true(w < 0.12 * 3500 && d.hash_ths == 0);
		/* Watts rise all the way, within the noise. */
		assert_true(w > before_w * 0.95);
		before_w = w;
	}
	/* Cold chips leak less and their fans are slow. */
	assert_true(fabs(d.power_mw / 1000.0 - 3500) < 3500 * 0.06);
	assert_true(fabs((double)d.hash_ths - 200) < 200 * 0.03);
	/* Warm after a while, and not above what the fans allow. */
	for (int s = 0; s < 600; s++) {
		t += S_NS;
		(void)pass(&d, &good, &rng, false, t, S_NS);
	}
	assert_true(d.temperature_c > 60 && d.temperature_c < 80);
	assert_int_equal(fleet_device_order(&d, &good, &rng, DEVICE_IDLE, 0, t), 0);
	for (int s = 0; s < 3; s++) {
		t += S_NS;
		(void)pass(&d, &good, &rng, false, t, S_NS);
	}
	assert_true(d.hash_ths == 0);
	assert_true(d.power_mw < 90000);
	float hot = d.temperature_c;
	for (int s = 0; s < 600; s++) {
		t += S_NS;
		(void)pass(&d, &good, &rng, false, t, S_NS);
	}
	assert_true(d.temperature_c < hot - 15);
	assert_int_equal(fleet_device_order(&d, &good, &rng, DEVICE_SERVE, 0, t), HCP_EUNSUPPORTED);
}

/* Half the watts leave more than half the hashes, as profiles of real firmware do; a tenth more watts less than that.
 */
static void a_miner_draws_and_hashes_by_its_power_target(void **state)
{
	struct fleet_device d;
	struct rng rng;
	int64_t t = START_NS;
	double w, ths;
	rng_init(&rng, 1);
	fleet_device_init(&d, cls("S21"), DEVICE_IDLE, t);
	assert_int_equal(fleet_device_order(&d, &good, &rng, DEVICE_FILL, 1750, t), 0);
	t += 100 * S_NS;
	(void)pass(&d, &good, &rng, false, t, 100 * S_NS);
	assert_true(fabs(d.power_mw / 1000.0 - 1750) < 0.07 * 1750); /* cold: its fans draw less */
	/* Cold chips make a little more of the same watts. */
	assert_true(d.hash_ths > 110 && d.hash_ths < 124);
	for (int p = DEVICE_POWER_LOW; p < DEVICE_POWER_END; p++) {
		assert_int_equal(device_class_power(d.cls, (enum device_power)p, &w, &ths), 0);
		assert_true(fabs(device_class_ths_at(d.cls, w) - ths) < 1e-6);
		double from_w = d.power_mw / 1000.0, from_ths = (double)d.hash_ths;
		assert_int_equal(fleet_device_order(&d, &good, &rng, DEVICE_FILL, (int32_t)w, t), 0);
		/* It goes on hashing while it retunes, and never draws more than the greater of the two. */
		for (int s = 0; s < FLEET_RETUNE_S; s++) {
			t += S_NS;
			(void)pass(&d, &good, &rng, false, t, S_NS);
			assert_true(d.power_mw / 1000.0 < fmax(from_w, w) * 1.03);
			assert_true((double)d.hash_ths > fmin(from_ths, ths) * 0.95);
		}
		t += 300 * S_NS;
		(void)pass(&d, &good, &rng, false, t, 300 * S_NS);
		assert_true(fabs(d.power_mw / 1000.0 - w) < 0.07 * w);
		assert_true(fabs((double)d.hash_ths - ths) < 0.05 * ths);
	}
	/* Standing still knows no target; the next start without one is nominal. */
	assert_int_equal(fleet_device_order(&d, &good, &rng, DEVICE_IDLE, 0, t), 0);
	t += 100 * S_NS;
	(void)pass(&d, &good, &rng, false, t, 100 * S_NS);
	assert_int_equal(fleet_device_order(&d, &good, &rng, DEVICE_FILL, 0, t), 0);
	t += 300 * S_NS;
	(void)pass(&d, &good, &rng, false, t, 300 * S_NS);
	assert_true(fabs(d.power_mw / 1000.0 - 3500) < 0.07 * 3500);
	assert_true(device_class_ths_at(cls("H100"), 500) == 0);
}

static void faults_show_in_the_readings(void **state)
{
	struct fleet_device d;
	struct rng rng;
	int64_t t = START_NS;
	rng_init(&rng, 1);
	fleet_device_init(&d, cls("S21"), DEVICE_FILL, t);
	fleet_device_break(&d, FLEET_BOARD_LOST, 0.5, INT64_MAX);
	(void)pass(&d, &good, &rng, false, t += S_NS, S_NS);
	assert_true(fabs((double)d.hash_ths - 200 * 2 / 3.0) < 4);
	assert_true(fabs(d.power_mw / 1000.0 - 3500 * 2 / 3.0) < 140);

	fleet_device_init(&d, cls("S21"), DEVICE_FILL, t);
	fleet_device_break(&d, FLEET_STUCK, 0.5, t + 10 * S_NS);
	assert_int_equal(fleet_device_order(&d, &good, &rng, DEVICE_IDLE, 0, t), 0);
	(void)pass(&d, &good, &rng, false, t += 5 * S_NS, 5 * S_NS);
	/* Its gate says idle; its watts do not. */
	assert_int_equal(d.gate, DEVICE_IDLE);
	assert_true(d.power_mw > 3250000);

	fleet_device_init(&d, cls("S21"), DEVICE_IDLE, t);
	fleet_device_break(&d, FLEET_DEAD, 0.5, t + 10 * S_NS);
	(void)pass(&d, &good, &rng, false, t += S_NS, S_NS);
	assert_int_equal(d.power_mw, 0);
	/* A miner whose power comes back mines, in the middle of a curtailment too. */
	(void)pass(&d, &good, &rng, false, t += 20 * S_NS, S_NS);
	(void)pass(&d, &good, &rng, false, t += 90 * S_NS, S_NS);
	assert_int_equal(d.gate, DEVICE_FILL);
	assert_true(d.hash_ths > 190);

	struct fleet_rules lies = { .lie_rate = 1 };
	fleet_device_init(&d, cls("S21"), DEVICE_FILL, t);
	assert_int_equal(fleet_device_order(&d, &lies, &rng, DEVICE_IDLE, 0, t), 0);
	(void)pass(&d, &lies, &rng, false, t += 5 * S_NS, S_NS);
	assert_true(d.lying && d.gate == DEVICE_IDLE && d.power_mw > 3250000);
	/* Safe watts are the device's own: there it cannot lie. */
	assert_int_equal(fleet_device_order(&d, &lies, &rng, DEVICE_SAFE, 0, t), 0);
	(void)pass(&d, &lies, &rng, false, t += 5 * S_NS, S_NS);
	assert_true(d.power_mw < 60000);
}

/* ---- a node, and the platform's side of the stream ---- */

struct world {
	struct node node;
	struct rng rng;
	int64_t now_ns;
	int hellos, reports, switch_reports;
	Hcp__Mode gate[NODE_DEVICES_MAX];
	int32_t power_w[NODE_DEVICES_MAX];
	double hash_ths[NODE_DEVICES_MAX];
	int64_t energy_j, requests, device_ns;
	uint64_t seq, number; /* number: of the next command */
	char boot_id[ID_TEXT_MAX];
	/* of the last SwitchReport */
	char switch_id[80], error[80], evidence[32];
	bool ok, rolled_back;
	size_t failed;
	int64_t switch_ns, verify_ns;
	double lose_up;            /* chance that a message is lost */
	struct { char alloc[40]; int64_t energy_j, requests; } alloc[8];
	int n_allocs;
};

static size_t index_of(const char *id)
{
	size_t i = 0;
	while (*id && (*id < '0' || *id > '9'))
		id++;
	assert_int_equal(sscanf(id, "%zu", &i), 1);
	return i;
}

static void take_report(struct world *w, const Hcp__NodeReport *r)
{
	w->reports++;
	assert_true(r->seq > w->seq);
	w->seq = r->seq;
	assert_string_equal(r->boot_id, w->boot_id);
	assert_int_equal(r->n_readings, w->node.n_devices);
	for (size_t i = 0; i < r->n_readings; i++) {
		size_t at = index_of(r->readings[i]->device_id);
		w->gate[at] = r->readings[i]->mode;
		w->power_w[at] = r->readings[i]->power_w;
		w->hash_ths[at] = r->readings[i]->hash_ths;
	}
	int64_t energy_j = 0, requests = 0, device_ns = 0;
	w->n_allocs = 0;
	for (size_t i = 0; i < r->n_meters; i++) {
		const Hcp__Meter *m = r->meters[i];
		energy_j += m->energy_j;
		requests += m->requests;
		device_ns += m->device_ns;
		assert_true(m->energy_j >= 0 && m->hashes >= 0);
		if (m->allocation_id[0] && w->n_allocs < 8) {
			snprintf(w->alloc[w->n_allocs].alloc, 40, "%s", m->allocation_id);
			w->alloc[w->n_allocs].energy_j = m->energy_j;
			w->alloc[w->n_allocs++].requests = m->requests;
		}
	}
	w->energy_j = energy_j;
	w->requests = requests;
	w->device_ns = device_ns;
}

static void take_switch_report(struct world *w, const Hcp__SwitchReport *r)
{
	w->switch_reports++;
	snprintf(w->switch_id, sizeof(w->switch_id), "%s", r->switch_id);
	snprintf(w->error, sizeof(w->error), "%s", r->error);
	snprintf(w->evidence, sizeof(w->evidence), "%s", r->evidence);
	w->ok = r->ok;
	w->rolled_back = r->rolled_back;
	w->failed = r->n_failed_device_ids;
	w->switch_ns = w->verify_ns = 0;
	for (size_t i = 0; i < r->n_phases; i++) {
		if (!strcmp(r->phases[i]->phase, "switch"))
			w->switch_ns = r->phases[i]->duration_ns;
		else
			w->verify_ns = r->phases[i]->duration_ns;
	}
}

static void on_up(void *arg, const Hcp__AgentUp *up)
{
	struct world *w = arg;
	struct buf packed;
	struct arena a;
	ProtobufCMessage *m;
	if (w->lose_up > 0 && rng_double(&w->rng) < w->lose_up)
		return;
	/* What is sent must survive the wire. */
	buf_init(&packed, 0);
	arena_init(&a, 65536, 0);
	assert_int_equal(pb_pack(&up->base, &packed), 0);
	assert_int_equal(pb_unpack(&hcp__agent_up__descriptor, buf_str(&packed), &a, &m, NULL), 0);
	const Hcp__AgentUp *u = (const Hcp__AgentUp *)m;
	if (u->kind_case == HCP__AGENT_UP__KIND_HELLO) {
		w->hellos++;
		w->seq = 0;
		snprintf(w->boot_id, sizeof(w->boot_id), "%s", u->hello->boot_id);
		assert_int_equal(u->hello->n_devices, w->node.n_devices);
	} else if (u->kind_case == HCP__AGENT_UP__KIND_REPORT) {
		take_report(w, u->report);
	} else if (u->kind_case == HCP__AGENT_UP__KIND_SWITCH_REPORT) {
		take_switch_report(w, u->switch_report);
	}
	arena_release(&a);
	buf_release(&packed);
}

static void lease(struct world *w, int64_t ttl_ms, int64_t budget_w)
{
	static uint64_t number;
	Hcp__AgentDown down = HCP__AGENT_DOWN__INIT;
	Hcp__Lease l = HCP__LEASE__INIT;
	l.node_id = w->node.id;
	l.ttl_ms = ttl_ms;
	l.number = ++number;
	l.power_budget_w = budget_w;
	down.kind_case = HCP__AGENT_DOWN__KIND_LEASE;
	down.lease = &l;
	assert_int_equal(node_down(&w->node, &down, w->now_ns, NULL), 0);
}

static void welcome(struct world *w, const char *over)
{
	Hcp__AgentDown down = HCP__AGENT_DOWN__INIT;
	Hcp__Welcome m = HCP__WELCOME__INIT;
	m.node_id = w->node.id;
	m.over_boot_id = over;
	down.kind_case = HCP__AGENT_DOWN__KIND_WELCOME;
	down.welcome = &m;
	assert_int_equal(node_down(&w->node, &down, w->now_ns, NULL), 0);
}

static void make(struct world *w, const char *class_name, size_t devices, struct fleet_rules rules)
{
	struct node_conf conf = { .id = "n1", .name = "n", .facility = "f", .region = "r", .cls = cls(class_name),
		.n_devices = devices, .seed = 42, .start_ns = START_NS, .rules = rules };
	memset(w, 0, sizeof(*w));
	rng_init(&w->rng, 9);
	w->now_ns = START_NS;
	assert_int_equal(node_init(&w->node, &conf, NULL), 0);
	node_connected(&w->node, w->now_ns);
	node_step(&w->node, w->now_ns, on_up, w);
	assert_int_equal(w->hellos, 1);
	welcome(w, "");
	lease(w, 15000, 0);
}

/* Time passes; a lease comes every two seconds if renew. */
static void run_for(struct world *w, int64_t ms, bool renew)
{
	int64_t end_ns = w->now_ns + ms * MS_NS, lease_ns = w->now_ns + 2 * S_NS;
	while (w->now_ns < end_ns) {
		int64_t next_ns = node_due_ns(&w->node);
		next_ns = next_ns <= w->now_ns ? w->now_ns + MS_NS : next_ns > end_ns ? end_ns : next_ns;
		w->now_ns = next_ns;
		node_step(&w->node, w->now_ns, on_up, w);
		if (renew && w->now_ns >= lease_ns) {
			lease_ns = w->now_ns + 2 * S_NS;
			lease(w, 15000, w->node.power_budget_w);
		}
	}
}

/* One mode for the first n devices. */
static void command(struct world *w, const char *id, size_t n, Hcp__Mode to, const char *alloc, int64_t deadline_ms)
{
	Hcp__AgentDown down = HCP__AGENT_DOWN__INIT;
	Hcp__SwitchCommand c = HCP__SWITCH_COMMAND__INIT;
	static Hcp__SwitchItem rows[NODE_DEVICES_MAX];
	static Hcp__SwitchItem *items[NODE_DEVICES_MAX];
	static char ids[NODE_DEVICES_MAX][16];
	for (size_t i = 0; i < n; i++) {
		hcp__switch_item__init(&rows[i]);
		rows[i].device_id = node_device_id(&w->node, i, ids[i]);
		rows[i].to = to;
		rows[i].allocation_id = alloc;
		items[i] = &rows[i];
	}
	c.switch_id = id;
	c.number = w->number;
	c.node_id = "n1";
	c.n_items = n;
	c.items = items;
	c.deadline_ns = deadline_ms ? w->now_ns + deadline_ms * MS_NS : 0;
	down.kind_case = HCP__AGENT_DOWN__KIND_SWITCH_COMMAND;
	down.switch_command = &c;
	assert_int_equal(node_down(&w->node, &down, w->now_ns, NULL), 0);
}

static void asic_switch_is_reported_when_measured(void **state)
{
	static struct world w;
	make(&w, "S21", 20, good);
	command(&w, "sw-1", 20, HCP__MODE__FILL, "", 120000);
	run_for(&w, 30000, true);
	assert_int_equal(w.switch_reports, 0);
	run_for(&w, 40000, true);
	assert_int_equal(w.switch_reports, 1);
	assert_true(w.ok && !w.rolled_back && w.failed == 0);
	assert_string_equal(w.switch_id, "sw-1");
	assert_string_equal(w.evidence, "hash_rate");
	assert_in_range(w.switch_ns, 50 * S_NS, 60 * S_NS);
	run_for(&w, 4000, true);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(w.gate[i], HCP__MODE__FILL);
		assert_true(w.hash_ths[i] > 190 && w.power_w[i] > 3300);
	}
	/* The same command again: its report again, nothing else. */
	int64_t order_ns = w.node.devices[0].d.order_ns;
	command(&w, "sw-1", 20, HCP__MODE__FILL, "", 120000);
	run_for(&w, 100, true);
	assert_int_equal(w.switch_reports, 2);
	assert_true(w.ok);
	assert_true(w.node.devices[0].d.order_ns == order_ns);
	node_release(&w.node);
}

static void gpu_serves_within_milliseconds_and_is_metered_for_its_customer(void **state)
{
	static struct world w;
	make(&w, "H100", 8, good);
	run_for(&w, 5000, true);
	command(&w, "sw-1", 8, HCP__MODE__FILL, "", 10000);
	run_for(&w, 1000, true);
	assert_true(w.ok);
	command(&w, "sw-2", 4, HCP__MODE__SERVE, "al-customer", 10000);
	run_for(&w, 60, true);
	assert_int_equal(w.switch_reports, 2);
	assert_true(w.ok);
	assert_string_equal(w.evidence, "served_request");
	assert_int_equal(w.switch_ns, 50 * MS_NS);
	run_for(&w, 60000, true);
	assert_int_equal(w.n_allocs, 1);
	assert_string_equal(w.alloc[0].alloc, "al-customer");
	/* Four devices for a minute at about 80 % of full load. */
	assert_true(w.alloc[0].energy_j > 4 * 60 * 500 && w.alloc[0].energy_j < 4 * 60 * 700);
	assert_true(w.alloc[0].requests > 4 * 60 * 25);
	int64_t energy_j = w.alloc[0].energy_j;
	command(&w, "sw-3", 4, HCP__MODE__OFF, "", 10000);
	run_for(&w, 10000, true);
	assert_true(w.ok && w.alloc[0].energy_j >= energy_j);
	energy_j = w.alloc[0].energy_j;
	run_for(&w, 20000, true);
	assert_int_equal(w.n_allocs, 1);
	assert_true(w.alloc[0].energy_j == energy_j);
	run_for(&w, 60000, true);
	assert_int_equal(w.n_allocs, 0);
	node_release(&w.node);
}

/* The meters hold exactly the sum of watts times time, whatever the steps were. */
static void energy_is_the_sum_of_power_and_time(void **state)
{
	static struct world w;
	__extension__ typedef unsigned __int128 u128;
	u128 sum_mw_ns = 0;
	struct rng rng;
	make(&w, "S19XP", 30, (struct fleet_rules){ .fail_rate_h = 2, .repair_ns = 300 * S_NS });
	rng_init(&rng, 3);
	for (int step = 0; step < 3000; step++) {
		int64_t dt_ns = 1 + (int64_t)rng_below(&rng, 900 * MS_NS);
		if (step % 100 == 0) {
			char id[16];
			snprintf(id, sizeof(id), "sw-%d", step);
			command(&w, id, 1 + rng_below(&rng, 30), rng_below(&rng, 2) ? HCP__MODE__FILL : HCP__MODE__OFF, "", 200000);
		}
		/* Below the longest step and without due moments inside: power is constant over it. */
		int64_t before_ns = w.now_ns, end_ns = w.now_ns + dt_ns;
		while (w.now_ns < end_ns) {
			int64_t due_ns = node_due_ns(&w.node);
			w.now_ns = due_ns > before_ns && due_ns < end_ns ? due_ns : end_ns;
			node_step(&w.node, w.now_ns, on_up, &w);
			for (size_t i = 0; i < 30; i++)
				sum_mw_ns += (u128)w.node.devices[i].d.power_mw * (u128)(w.now_ns - before_ns);
			before_ns = w.now_ns;
		}
		lease(&w, 15000, 0);
	}
	int64_t energy_j = 0, rest = 0, device_ns = 0;
	for (size_t i = 0; i < w.node.n_allocs; i++) {
		for (int a = 0; a < NODE_ACTIVITIES; a++) {
			energy_j += w.node.allocs[i].meter[a].energy_j;
			rest += w.node.allocs[i].meter[a].energy_rest;
			device_ns += w.node.allocs[i].meter[a].device_ns;
		}
	}
	assert_true((u128)energy_j * 1000000000000U + (u128)rest == sum_mw_ns);
	assert_int_equal(device_ns, 30 * (w.now_ns - START_NS));
	assert_true(energy_j > 1000000);
	node_release(&w.node);
}

static void without_lease_a_node_falls_to_safe_watts(void **state)
{
	static struct world w;
	make(&w, "S21", 10, good);
	command(&w, "sw-1", 10, HCP__MODE__FILL, "", 120000);
	run_for(&w, 90000, true);
	assert_true(node_power_w(&w.node) > 10 * 3300);
	int64_t until_ns = w.node.lease_until_ns;
	run_for(&w, (until_ns - w.now_ns) / MS_NS - 1, false);
	assert_true(w.node.leased && node_power_w(&w.node) > 10 * 3300);
	run_for(&w, 5000, false);
	assert_false(w.node.leased);
	assert_int_equal(w.node.lapses, 1);
	assert_true(node_power_w(&w.node) < 10 * 50);
	assert_int_equal(w.gate[3], HCP__MODE__SAFE);
	/* A command without a lease is refused; with one it is followed again, even under its old name. */
	command(&w, "sw-2", 10, HCP__MODE__FILL, "", 120000);
	run_for(&w, 100, false);
	assert_false(w.ok);
	assert_int_equal(w.failed, 10);
	lease(&w, 15000, 0);
	command(&w, "sw-1", 10, HCP__MODE__FILL, "", 120000);
	run_for(&w, 90000, true);
	assert_true(w.ok);
	assert_string_equal(w.switch_id, "sw-1");
	assert_true(node_power_w(&w.node) > 10 * 3300);
	node_release(&w.node);
}

static void lease_ends_a_switch_under_way(void **state)
{
	static struct world w;
	make(&w, "S21", 10, good);
	command(&w, "sw-1", 10, HCP__MODE__FILL, "", 120000);
	run_for(&w, 40000, false);
	assert_int_equal(w.switch_reports, 1);
	assert_false(w.ok);
	assert_string_equal(w.error, "the lease ended");
	assert_true(node_power_w(&w.node) < 10 * 50);
	node_release(&w.node);
}

static void refusals_change_nothing(void **state)
{
	static struct world w;
	static const char *const texts[] = { "the device does not have this mode", "above the node's power budget",
		"the deadline passed", "no such device" };
	make(&w, "S21", 10, good);
	for (int i = 0; i < 3; i++) {
		char id[8];
		snprintf(id, sizeof(id), "sw-%d", i);
		if (i == 1)
			lease(&w, 15000, 10000);
		command(&w, id, 10, i ? HCP__MODE__FILL : HCP__MODE__SERVE, "", i == 2 ? -5 : 0);
		run_for(&w, 10, false);
		assert_false(w.ok);
		assert_string_equal(w.error, texts[i]);
		for (size_t k = 0; k < 10; k++)
			assert_int_equal(w.node.devices[k].d.gate, DEVICE_SAFE);
	}
	/* Two of ten fit into 10 kW. */
	command(&w, "sw-fits", 2, HCP__MODE__FILL, "", 120000);
	run_for(&w, 70000, true);
	assert_true(w.ok);
	/* A device that is not there. */
	Hcp__SwitchItem row = HCP__SWITCH_ITEM__INIT, *items[] = { &row };
	Hcp__SwitchCommand c = HCP__SWITCH_COMMAND__INIT;
	Hcp__AgentDown down = HCP__AGENT_DOWN__INIT;
	row.device_id = "asic010";
	row.to = HCP__MODE__OFF;
	c.switch_id = "sw-x";
	c.node_id = "n1";
	c.items = items;
	c.n_items = 1;
	down.kind_case = HCP__AGENT_DOWN__KIND_SWITCH_COMMAND;
	down.switch_command = &c;
	assert_int_equal(node_down(&w.node, &down, w.now_ns, NULL), 0);
	run_for(&w, 10, true);
	assert_string_equal(w.error, texts[3]);
	/* Nonsense is told to the caller. */
	c.switch_id = "";
	assert_int_equal(node_down(&w.node, &down, w.now_ns, NULL), HCP_EPROTO);
	Hcp__AgentDown empty = HCP__AGENT_DOWN__INIT;
	assert_int_equal(node_down(&w.node, &empty, w.now_ns, NULL), HCP_EPROTO);
	node_release(&w.node);
}

static void late_devices_go_back_and_are_named(void **state)
{
	static struct world w;
	make(&w, "S21", 10, good);
	fleet_device_break(&w.node.devices[2].d, FLEET_BOARD_LOST, 0.5, INT64_MAX);
	fleet_device_break(&w.node.devices[7].d, FLEET_DEAD, 0.5, INT64_MAX);
	command(&w, "sw-1", 10, HCP__MODE__FILL, "", 100000);
	run_for(&w, 101000, true);
	assert_false(w.ok);
	assert_true(w.rolled_back);
	assert_int_equal(w.failed, 2);
	assert_string_equal(w.error, "the deadline passed");
	run_for(&w, 10000, true);
	/* The others mine; the one with the missing board is safe again. */
	assert_int_equal(w.gate[0], HCP__MODE__FILL);
	assert_int_equal(w.gate[2], HCP__MODE__SAFE);
	assert_true(w.power_w[2] < 60 && w.power_w[0] > 3300);
	node_release(&w.node);

	/* A gang goes back as a whole. */
	make(&w, "H100", 8, good);
	fleet_device_break(&w.node.devices[5].d, FLEET_DEAD, 0.5, INT64_MAX);
	command(&w, "sw-1", 8, HCP__MODE__SERVE, "al-1", 3000);
	run_for(&w, 4000, true);
	assert_false(w.ok);
	assert_true(w.rolled_back);
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(w.node.devices[i].d.gate, DEVICE_SAFE);
		assert_int_equal(w.node.devices[i].alloc, 0);
	}
	node_release(&w.node);
}

static void lying_node_says_done_and_its_watts_do_not(void **state)
{
	static struct world w;
	make(&w, "S21", 4, (struct fleet_rules){ .lie_rate = 1 });
	command(&w, "sw-1", 4, HCP__MODE__FILL, "", 120000);
	run_for(&w, 3000, true);
	assert_true(w.ok);
	assert_int_equal(w.gate[0], HCP__MODE__FILL);
	assert_true(w.power_w[0] < 60 && w.hash_ths[0] == 0);
	node_release(&w.node);
}

/* Lost, repeated and contradicting commands, broken streams, faults: with retries it ends where it was told to be. */
static void any_history_ends_in_the_commanded_mode(void **state)
{
	static const Hcp__Mode modes[] = { HCP__MODE__SERVE, HCP__MODE__FILL, HCP__MODE__OFF, HCP__MODE__SAFE };
	static struct world w;
	for (uint64_t seed = 1; seed <= 30; seed++) {
		bool gpu = seed % 2;
		struct fleet_rules rules = { .fail_rate_h = 3, .lie_rate = 0.2, .repair_ns = 60 * S_NS };
		struct rng rng;
		char id[32], last[32] = "";
		Hcp__Mode want = HCP__MODE__SAFE;
		make(&w, gpu ? "H100" : "S19XP", gpu ? 8 : 25, rules);
		rng_init(&rng, seed);
		w.lose_up = 0.3;
		for (int i = 0; i < 60; i++) {
			uint64_t what = rng_below(&rng, 10);
			snprintf(id, sizeof(id), "sw-%d", i);
			if (what < 5) {
				want = modes[gpu ? rng_below(&rng, 4) : 1 + rng_below(&rng, 3)];
				command(&w, id, 1 + rng_below(&rng, w.node.n_devices), want,
					gpu && want == HCP__MODE__SERVE ? id : "", 120000);
				memcpy(last, id, sizeof(last));
			} else if (what < 7 && last[0]) {
				command(&w, last, 1, want, "", 120000);
			} else if (what == 7) {
				node_lost(&w.node);
				run_for(&w, (int64_t)rng_below(&rng, 30000), false);
				node_connected(&w.node, w.now_ns);
				lease(&w, 15000, 0);
			}
			run_for(&w, (int64_t)rng_below(&rng, 20000), true);
		}
		/* The platform insists; devices are repaired and lie less. */
		w.lose_up = 0;
		w.node.rules.fail_rate_h = 0;
		bool there = false;
		for (int try = 0; try < 40 && !there; try++) {
			snprintf(id, sizeof(id), "end-%d", try);
			command(&w, id, w.node.n_devices, HCP__MODE__FILL, "", 120000);
			run_for(&w, 125000, true);
			there = true;
			for (size_t i = 0; i < w.node.n_devices; i++)
				there &= w.gate[i] == HCP__MODE__FILL && w.hash_ths[i] > 0.9 * w.node.cls->fill_ths;
		}
		assert_true(there);
		/* Counters of time are complete: every device at every moment, since the last boot. */
		assert_true(w.node.allocs[0].devices == w.node.n_devices);
		node_release(&w.node);
	}
}

static void new_stream_says_hello_and_counters_go_on(void **state)
{
	static struct world w;
	make(&w, "H100", 8, good);
	run_for(&w, 20000, true);
	char boot[ID_TEXT_MAX];
	memcpy(boot, w.boot_id, sizeof(boot));
	int64_t energy_j = w.energy_j;
	uint64_t seq = w.seq;
	node_lost(&w.node);
	int reports = w.reports;
	run_for(&w, 6000, false);
	assert_int_equal(w.reports, reports);
	node_connected(&w.node, w.now_ns);
	w.seq = 0;
	run_for(&w, 900, false);
	welcome(&w, "");
	run_for(&w, 3100, false);
	assert_int_equal(w.hellos, 2);
	assert_string_equal(w.boot_id, boot);
	assert_true(w.energy_j > energy_j && w.seq > seq);
	/* Watt-seconds of the outage are counted too: eight devices at safe watts. */
	assert_true(llabs((long long)(w.energy_j - 8 * 70 * (w.device_ns / 8 / S_NS))) < 8 * 70);
	node_release(&w.node);
}

/* Messages may overtake one another; an order that a newer one has overtaken must not be carried out. */
static void overtaken_commands_are_passed_over(void **state)
{
	struct fleet_rules rules = { 0 };
	struct world w;
	make(&w, "H100", 3, rules);
	w.number = 9;
	command(&w, "new", 2, HCP__MODE__OFF, "", 60000);
	run_for(&w, 1000, true);
	w.number = 5;
	command(&w, "old", 3, HCP__MODE__FILL, "", 60000);
	run_for(&w, 10000, true);
	assert_int_equal(w.gate[0], HCP__MODE__OFF);
	assert_int_equal(w.gate[1], HCP__MODE__OFF);
	assert_int_equal(w.gate[2], HCP__MODE__FILL);
	command(&w, "older", 2, HCP__MODE__SERVE, "", 60000);
	run_for(&w, 5000, true);
	assert_int_equal(w.gate[0], HCP__MODE__OFF);
	/* Another stream numbers as it likes. */
	node_connected(&w.node, w.now_ns);
	command(&w, "next", 2, HCP__MODE__FILL, "", 60000);
	lease(&w, 15000, 0);
	run_for(&w, 10000, true);
	assert_int_equal(w.gate[0], HCP__MODE__FILL);
	node_release(&w.node);
}

/* After 1, 2, 4 … seconds, until somebody answers; asked to, it begins a new boot whose counters start at zero. */
static void hello_is_repeated_until_it_is_welcomed(void **state)
{
	struct fleet_rules rules = { 0 };
	struct world w;
	char boot[ID_TEXT_MAX];
	make(&w, "H100", 2, rules);
	node_connected(&w.node, w.now_ns);
	w.hellos = 0;
	run_for(&w, 7500, true);
	assert_int_equal(w.hellos, 4);
	welcome(&w, "");
	run_for(&w, 120000, true);
	assert_int_equal(w.hellos, 4);
	snprintf(boot, sizeof(boot), "%s", w.boot_id);
	welcome(&w, "another boot");
	run_for(&w, 4000, true);
	assert_int_equal(w.hellos, 4);
	assert_true(w.energy_j > 100);
	welcome(&w, boot);
	w.seq = 0;
	w.energy_j = w.device_ns = 0;
	node_step(&w.node, w.now_ns, on_up, &w);
	assert_int_equal(w.hellos, 5);
	assert_string_not_equal(w.boot_id, boot);
	assert_true(w.node.allocs[0].meter[NODE_OFF].energy_j < 100);
	node_release(&w.node);
}

static void spec_names_classes(void **state)
{
	struct fleet_run_conf conf = { 0 };
	struct err err;
	assert_int_equal(fleet_run_spec("H100:512, S21:10000", &conf, &err), 0);
	assert_int_equal(conf.n_groups, 2);
	assert_string_equal(conf.groups[1].cls->name, "S21");
	assert_int_equal(conf.groups[1].devices, 10000);
	assert_int_equal(fleet_run_spec("H900:1", &conf, &err), HCP_EINVAL);
	assert_int_equal(fleet_run_spec("H100", &conf, &err), HCP_EINVAL);
	assert_int_equal(fleet_run_spec("H100:0", &conf, &err), HCP_EINVAL);
	assert_int_equal(fleet_run_spec("H100:900000", &conf, &err), HCP_ELIMIT);
}

struct counted {
	struct buf out;
	uint64_t bytes, messages;
};

static void count(void *arg, const Hcp__AgentUp *up)
{
	struct counted *c = arg;
	buf_clear(&c->out);
	assert_int_equal(pb_pack(&up->base, &c->out), 0);
	c->bytes += c->out.n;
	c->messages++;
}

/* The default fleet for ten minutes: says what it costs. */
static void default_fleet_is_cheap(void **state)
{
	static const struct { const char *name; size_t nodes, devices; } groups[] = {
		{ "H100", 64, 8 }, { "A100", 32, 8 }, { "L40S", 16, 8 }, { "S21", 40, 250 }, { "S19XP", 20, 250 } };
	static struct node nodes[172];
	static struct world w;
	struct counted c = { 0 };
	size_t n = 0, devices = 0;
	buf_init(&c.out, 0);
	for (size_t g = 0; g < 5; g++) {
		for (size_t k = 0; k < groups[g].nodes; k++) {
			struct node_conf conf = { .id = "n1", .name = "n", .facility = "f", .region = "r",
				.cls = cls(groups[g].name), .n_devices = groups[g].devices, .seed = n, .start_ns = START_NS };
			assert_int_equal(node_init(&nodes[n], &conf, NULL), 0);
			node_connected(&nodes[n], START_NS);
			n++;
			devices += groups[g].devices;
		}
	}
	assert_int_equal(devices, 15896);
	int64_t began_ns = clock_mono_ns();
	enum { SECONDS = 120 };
	for (int s = 1; s <= SECONDS; s++) {
		for (size_t i = 0; i < n; i++) {
			node_step(&nodes[i], START_NS + s * S_NS, count, &c);
			if (s % 2)
				continue;
			/* Through the same helpers as the other tests: the node lives in a world while it is spoken to. */
			w.node = nodes[i];
			w.now_ns = START_NS + s * S_NS;
			lease(&w, 15000, 0);
			if (s == 2)
				welcome(&w, "");
			if (s == 2)
				command(&w, "sw-1", w.node.n_devices, HCP__MODE__FILL, "", 110000);
			nodes[i] = w.node;
		}
	}
	double ms = (double)(clock_mono_ns() - began_ns) / 1e6 / SECONDS;
	int64_t power_w = 0;
	for (size_t i = 0; i < n; i++) {
		power_w += node_power_w(&nodes[i]);
		assert_int_equal(nodes[i].switches_ok, 1);
		node_release(&nodes[i]);
	}
	print_message("%zu devices: %.2f ms of processor time a simulated second, %.0f kB/s of reports, %.2f MW\n", devices,
		ms, (double)c.bytes / SECONDS / 1e3, (double)power_w / 1e6);
	assert_true(power_w > 49000000 && power_w < 52000000);
	buf_release(&c.out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asic_boots_ramps_and_stops),
		cmocka_unit_test(a_miner_draws_and_hashes_by_its_power_target),
		cmocka_unit_test(faults_show_in_the_readings),
		cmocka_unit_test(asic_switch_is_reported_when_measured),
		cmocka_unit_test(gpu_serves_within_milliseconds_and_is_metered_for_its_customer),
		cmocka_unit_test(energy_is_the_sum_of_power_and_time),
		cmocka_unit_test(without_lease_a_node_falls_to_safe_watts),
		cmocka_unit_test(lease_ends_a_switch_under_way),
		cmocka_unit_test(refusals_change_nothing),
		cmocka_unit_test(late_devices_go_back_and_are_named),
		cmocka_unit_test(lying_node_says_done_and_its_watts_do_not),
		cmocka_unit_test(any_history_ends_in_the_commanded_mode),
		cmocka_unit_test(new_stream_says_hello_and_counters_go_on),
		cmocka_unit_test(overtaken_commands_are_passed_over),
		cmocka_unit_test(hello_is_repeated_until_it_is_welcomed),
		cmocka_unit_test(spec_names_classes),
		cmocka_unit_test(default_fleet_is_cheap),
	};
	int64_t live = mem_live();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed ? failed : mem_live() != live;
}
