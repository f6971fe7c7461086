/* GPUs of a simulated node that several share: what it refuses, what it shows, and whose joules they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "sim/node.h"

#define S_NS INT64_C(1000000000)
#define MS_NS INT64_C(1000000)
#define START_NS (INT64_C(1700000000) * S_NS)

enum { DEVICES = 4 };

struct want {
	const char *alloc;
	int milli;
	const char *mig;
	int start;
};

struct world {
	struct node node;
	int64_t now_ns;
	uint64_t n_switch, n_lease;
	int reports;
	bool ok, rolled_back;
	char error[80];
	size_t shown[DEVICES];   /* parts in its last readings */
	char first[DEVICES][40]; /* allocation of the first of them */
};

static void on_up(void *arg, const Hcp__AgentUp *up)
{
	struct world *w = arg;
	if (up->kind_case == HCP__AGENT_UP__KIND_SWITCH_REPORT) {
		w->reports++;
		w->ok = up->switch_report->ok;
		w->rolled_back = up->switch_report->rolled_back;
		snprintf(w->error, sizeof(w->error), "%s", up->switch_report->error);
	}
	for (size_t i = 0; up->kind_case == HCP__AGENT_UP__KIND_REPORT && i < DEVICES; i++) {
		const Hcp__DeviceReading *r = up->report->readings[i];
		w->shown[i] = r->n_shares;
		snprintf(w->first[i], sizeof(w->first[i]), "%s", r->n_shares ? r->shares[0]->allocation_id : "");
	}
}

static void down(struct world *w, Hcp__AgentDown *d)
{
	assert_int_equal(node_down(&w->node, d, w->now_ns, NULL), 0);
}

static void lease(struct world *w)
{
	Hcp__AgentDown d = HCP__AGENT_DOWN__INIT;
	Hcp__Lease l = HCP__LEASE__INIT;
	l.node_id = "n1";
	l.ttl_ms = 15000;
	l.number = ++w->n_lease;
	d.kind_case = HCP__AGENT_DOWN__KIND_LEASE;
	d.lease = &l;
	down(w, &d);
}

static void make(struct world *w, struct fleet_rules rules)
{
	struct node_conf conf = { .id = "n1",
		.name = "n",
		.facility = "f",
		.region = "r",
		.cls = device_class_find(STR("H100")),
		.n_devices = DEVICES,
		.seed = 42,
		.start_ns = START_NS,
		.rules = rules };
	Hcp__AgentDown d = HCP__AGENT_DOWN__INIT;
	Hcp__Welcome m = HCP__WELCOME__INIT;
	*w = (struct world){ .now_ns = START_NS };
	assert_int_equal(node_init(&w->node, &conf, NULL), 0);
	node_connected(&w->node, w->now_ns);
	node_step(&w->node, w->now_ns, on_up, w);
	m.node_id = "n1";
	d.kind_case = HCP__AGENT_DOWN__KIND_WELCOME;
	d.welcome = &m;
	down(w, &d);
	lease(w);
}

/* Parts of one device, and none else. */
static void command(
	struct world *w, size_t device, Hcp__Mode to, const struct want *want, size_t n, int64_t deadline_ms)
{
	Hcp__AgentDown d = HCP__AGENT_DOWN__INIT;
	Hcp__SwitchCommand c = HCP__SWITCH_COMMAND__INIT;
	Hcp__SwitchItem row = HCP__SWITCH_ITEM__INIT, *rows[] = { &row };
	Hcp__DeviceShare share[SLICES_MAX + 1], *shares[SLICES_MAX + 1];
	char id[24], name[16];
	for (size_t i = 0; i < n; i++) {
		shares[i] = &share[i];
		hcp__device_share__init(shares[i]);
		share[i].allocation_id = want[i].alloc;
		share[i].milli = want[i].milli;
		share[i].mig_profile = want[i].mig ? want[i].mig : "";
		share[i].mig_start = want[i].start;
	}
	snprintf(id, sizeof(id), "sw-%llu", (unsigned long long)++w->n_switch);
	row.device_id = node_device_id(&w->node, device, name);
	row.to = to;
	row.n_shares = n;
	row.shares = shares;
	c.switch_id = id;
	c.number = w->n_switch;
	c.node_id = "n1";
	c.n_items = 1;
	c.items = rows;
	c.deadline_ns = w->now_ns + deadline_ms * MS_NS;
	d.kind_case = HCP__AGENT_DOWN__KIND_SWITCH_COMMAND;
	d.switch_command = &c;
	down(w, &d);
}

static void run_for(struct world *w, int64_t ms)
{
	int64_t end_ns = w->now_ns + ms * MS_NS;
	while (w->now_ns < end_ns) {
		int64_t due_ns = node_due_ns(&w->node);
		w->now_ns = due_ns <= w->now_ns ? w->now_ns + MS_NS : due_ns > end_ns ? end_ns : due_ns;
		node_step(&w->node, w->now_ns, on_up, w);
		if (w->node.lease_until_ns - w->now_ns < 8 * S_NS)
			lease(w);
	}
}

static void refused(struct world *w, Hcp__Mode to, const struct want *want, size_t n)
{
	int reports = w->reports;
	command(w, 0, to, want, n, 10000);
	run_for(w, 100);
	assert_int_equal(w->reports, reports + 1);
	assert_false(w->ok);
	assert_string_equal(w->error, "the device cannot have such parts");
	assert_int_equal(w->node.devices[0].n_parts, 2);
}

static void what_does_not_fit_is_refused_as_a_whole(void **state)
{
	static struct world w;
	const struct want good[] = { { "al-a", 600, NULL, 0 }, { "al-b", 400, NULL, 0 } };
	make(&w, (struct fleet_rules){ 0 });
	command(&w, 0, HCP__MODE__SERVE, good, 2, 10000);
	run_for(&w, 4000);
	assert_true(w.ok);
	assert_int_equal(w.shown[0], 2);
	assert_string_equal(w.first[0], "al-a");
	assert_int_equal(w.shown[1], 0);
	refused(&w, HCP__MODE__SERVE, (struct want[]){ { "al-a", 600, NULL, 0 }, { "al-b", 401, NULL, 0 } }, 2);
	refused(&w, HCP__MODE__SERVE, (struct want[]){ { "al-a", 600, NULL, 0 }, { "al-c", 143, "1g.10gb", 0 } }, 2);
	refused(&w, HCP__MODE__SERVE, (struct want[]){ { "al-a", 500, "3g.40gb", 0 }, { "al-b", 143, "1g.10gb", 3 } }, 2);
	refused(&w, HCP__MODE__SERVE, (struct want[]){ { "al-a", 286, "2g.20gb", 6 } }, 1);
	refused(&w, HCP__MODE__SERVE, (struct want[]){ { "al-a", 0, NULL, 0 } }, 1);
	refused(&w, HCP__MODE__FILL, good, 2);
	struct want many[SLICES_MAX + 1];
	for (int i = 0; i <= SLICES_MAX; i++)
		many[i] = (struct want){ "al-a", 1, NULL, 0 };
	refused(&w, HCP__MODE__SERVE, many, SLICES_MAX + 1);
	/* Instances take the place of fractions, then nobody has any. */
	command(&w, 0, HCP__MODE__SERVE, (struct want[]){ { "al-c", 572, "4g.40gb", 0 }, { "al-d", 500, "3g.40gb", 4 } }, 2,
		10000);
	run_for(&w, 4000);
	assert_true(w.ok);
	assert_int_equal(w.shown[0], 2);
	assert_string_equal(w.first[0], "al-c");
	command(&w, 0, HCP__MODE__OFF, NULL, 0, 10000);
	run_for(&w, 4000);
	assert_true(w.ok);
	assert_int_equal(w.shown[0], 0);
	assert_null(w.node.devices[0].parts);
	node_release(&w.node);
}

static void a_failed_switch_leaves_those_that_were_there_and_are_wanted(void **state)
{
	static struct world w;
	make(&w, (struct fleet_rules){ 0 });
	command(&w, 0, HCP__MODE__SERVE, (struct want[]){ { "al-a", 600, NULL, 0 }, { "al-b", 100, NULL, 0 } }, 2, 10000);
	run_for(&w, 2000);
	assert_true(w.ok);
	fleet_device_break(&w.node.devices[0].d, FLEET_DEAD, 0.5, INT64_MAX);
	command(&w, 0, HCP__MODE__SERVE, (struct want[]){ { "al-a", 600, NULL, 0 }, { "al-c", 300, NULL, 0 } }, 2, 1000);
	run_for(&w, 3000);
	assert_true(!w.ok && w.rolled_back);
	assert_int_equal(w.shown[0], 1);
	assert_string_equal(w.first[0], "al-a");
	/* Without a lease nobody has anything. */
	w.now_ns += 60 * S_NS;
	node_step(&w.node, w.now_ns, on_up, &w);
	assert_int_equal(w.node.devices[0].n_parts, 0);
	node_release(&w.node);
}

/* Whatever parts come and go: each joule and each nanosecond of a device is counted once. */
static void parts_add_up_to_their_devices(void **state)
{
	static struct world w;
	static char name[4000][16];
	__int128 sum_mw_ns = 0, of_first = 0;
	struct want want[DEVICES][8];
	size_t n[DEVICES] = { 0 };
	struct rng rng;
	int names = 0;
	make(&w, (struct fleet_rules){ .fail_rate_h = 1, .repair_ns = 60 * S_NS });
	rng_init(&rng, 3);
	n[0] = 2; /* this one keeps its two */
	want[0][0] = (struct want){ "al-first", 333, NULL, 0 };
	want[0][1] = (struct want){ "al-other", 667, NULL, 0 };
	command(&w, 0, HCP__MODE__SERVE, want[0], n[0], 20000);
	for (int step = 0; step < 4000; step++) {
		size_t d = 1 + rng_below(&rng, DEVICES - 1);
		if (step % 10 == 0) {
			uint32_t milli = 0;
			n[d] = 0;
			for (size_t i = 0; i < 6 && rng_below(&rng, 5); i++) {
				uint32_t more = 1 + (uint32_t)rng_below(&rng, 400);
				if (milli + more > 1000 || names == 4000)
					break;
				milli += more;
				snprintf(name[names], sizeof(name[0]), "al-%d", names % 150);
				want[d][n[d]++] = (struct want){ name[names++], (int)more, NULL, 0 };
			}
			command(&w, d, rng_below(&rng, 4) || n[d] ? HCP__MODE__SERVE : HCP__MODE__FILL, want[d], n[d], 20000);
		}
		int64_t before_ns = w.now_ns, end_ns = w.now_ns + 1 + (int64_t)rng_below(&rng, 900 * MS_NS);
		while (w.now_ns < end_ns) {
			int64_t due_ns = node_due_ns(&w.node);
			bool first = w.node.devices[0].n_parts == 2;
			w.now_ns = due_ns > before_ns && due_ns < end_ns ? due_ns : end_ns;
			node_step(&w.node, w.now_ns, on_up, &w);
			for (size_t i = 0; i < DEVICES; i++)
				sum_mw_ns += (__int128)w.node.devices[i].d.power_mw * (w.now_ns - before_ns);
			if (first)
				of_first += (__int128)w.node.devices[0].d.power_mw * (w.now_ns - before_ns) * 333 / 1000;
			before_ns = w.now_ns;
		}
		lease(&w);
	}
	__int128 energy = 0;
	int64_t device_ns = 0, first_j = -1, rests = 0;
	for (size_t i = 0; i < w.node.n_allocs; i++) {
		for (int a = 0; a < NODE_ACTIVITIES; a++) {
			const struct node_meter *m = &w.node.allocs[i].meter[a];
			energy += (__int128)m->energy_j * 1000000000000 + m->energy_rest;
			device_ns += m->device_ns;
			if (!strcmp(w.node.allocs[i].id, "al-first") && a == NODE_SERVE)
				first_j = m->energy_j;
		}
	}
	for (size_t i = 0; i < DEVICES; i++)
		rests += w.node.devices[i].n_parts + 1;
	assert_true(energy == sum_mw_ns);
	/* Less than a nanosecond is on its way in each part, and was lost with each that went. */
	int64_t late_ns = DEVICES * (w.now_ns - START_NS) - device_ns;
	assert_true(late_ns >= -rests && late_ns < 4000);
	assert_true(first_j > 0 && llabs((long long)(first_j - (int64_t)(of_first / 1000000000000))) <= 1);
	node_release(&w.node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_does_not_fit_is_refused_as_a_whole),
		cmocka_unit_test(a_failed_switch_leaves_those_that_were_there_and_are_wanted),
		cmocka_unit_test(parts_add_up_to_their_devices),
	};
	return cmocka_run_group_tests_name("parts", tests, NULL, NULL);
}
