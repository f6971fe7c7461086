#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/rng.h"
#include "model/device_class.h"
#include "services/resources/resources.h"

/*
 * The service with a bus, a hand-moved clock, and agents that are a few lines each: they keep the mode of every
 * device, answer commands, and can be told to lie, to lose messages or to refuse.
 */

enum { MAX_AGENTS = 64, MAX_AGENT_DEVICES = 512, MAX_NEWS = 60000 };
#define S NS_PER_S
#define MS NS_PER_MS

struct agent {
	char id[32], boot[32], facility[32], endpoint[64];
	const char *cls;
	int n;
	Hcp__Mode mode[MAX_AGENT_DEVICES], shown[MAX_AGENT_DEVICES];
	char allocation[MAX_AGENT_DEVICES][ID_TEXT_MAX];
	int64_t requests;
	uint64_t seq;
	int64_t energy_j, device_ns;
	char meter_allocation[ID_TEXT_MAX];
	bool deaf;      /* commands do not reach it */
	bool mute;      /* its switch reports are lost */
	bool lies;      /* says done and shows the new gate, but goes on as before */
	bool refuses;   /* rolls back */
	bool quiet;     /* cut off: hears and says nothing */
	int commands;   /* that reached it */
	int64_t lease_until_ns;
	bool may_serve, may_fill;
	char last_switch[ID_TEXT_MAX];
};

struct rig {
	struct svc *svc;
	struct bus *bus;
	struct svc_conf conf;
	int64_t now;
	uint64_t read_from, seq[SVC_COUNT];
	struct msg *news[MAX_NEWS]; /* events since the last forget() */
	int n_news;
	struct agent agent[MAX_AGENTS];
	int n_agents;
	struct buf inbox[4096]; /* packed SwitchCommands: node id, NUL, bytes */
	int n_inbox, sent;
	int64_t budget_w; /* of all agents together; 0: not watched */
	int starve; /* allocation that fails in the next step, counted from 1; 0: none */
	bool struck;
	int problems;
	char code[32], field[64];
};

static struct agent *agent_of(struct rig *g, const char *node)
{
	for (int i = 0; i < g->n_agents; i++)
		if (!strcmp(g->agent[i].id, node))
			return &g->agent[i];
	return NULL;
}

static void on_down(void *arg, const char *node, struct str bytes)
{
	struct rig *g = arg;
	struct agent *a = agent_of(g, node);
	/* The step is committed; from here on it would be the test that starves. */
	g->struck |= mem_fail_hits() > 0;
	mem_fail_after(0, 0);
	Hcp__AgentDown *d = hcp__agent_down__unpack(NULL, bytes.n, (const uint8_t *)bytes.p);
	assert_non_null(d);
	g->sent++;
	if (d->kind_case == HCP__AGENT_DOWN__KIND_LEASE && a && !a->quiet) {
		a->lease_until_ns = d->lease->until_ns;
		a->may_serve = d->lease->may_serve;
		a->may_fill = d->lease->may_fill;
		assert_int_equal(d->lease->ttl_ms, 15000);
	}
	if (d->kind_case == HCP__AGENT_DOWN__KIND_SWITCH_COMMAND && a && !a->deaf && !a->quiet) {
		assert_true(g->n_inbox < 4096);
		struct buf *b = &g->inbox[g->n_inbox++];
		buf_init(b, 0);
		buf_add(b, node, strlen(node) + 1);
		buf_adds(b, bytes);
	}
	hcp__agent_down__free_unpacked(d, NULL);
}

static void read_news(struct rig *g)
{
	struct bus_rec *rec[64];
	struct err err = { 0 };
	int n;
	do {
		n = bus_read(g->bus, g->read_from, ~UINT64_C(0), 64, rec, &g->read_from, &err);
		for (int i = 0; i < n; i++) {
			/* After a restart events are published again; every consumer drops what it has. */
			if (rec[i]->sender == SVC_RESOURCES && rec[i]->seq > g->seq[SVC_RESOURCES]) {
				assert_int_equal(rec[i]->seq, g->seq[SVC_RESOURCES] + 1);
				g->seq[SVC_RESOURCES] = rec[i]->seq;
				assert_true(g->n_news < MAX_NEWS);
				assert_int_equal(msg_unpack(rec[i]->payload, &g->news[g->n_news++], &err), 0);
			}
			bus_rec_unref(rec[i]);
		}
	} while (n > 0);
}

static void forget(struct rig *g)
{
	for (int i = 0; i < g->n_news; i++)
		msg_free(g->news[i]);
	g->n_news = 0;
}

static int count(struct rig *g, unsigned type)
{
	int n = 0;
	for (int i = 0; i < g->n_news; i++)
		n += g->news[i]->type == type;
	return n;
}

static const void *last(struct rig *g, unsigned type)
{
	for (int i = g->n_news - 1; i >= 0; i--)
		if (g->news[i]->type == type)
			return g->news[i]->body;
	return NULL;
}

static void open_svc(struct rig *g)
{
	struct err err = { 0 };
	g->conf.now_ns = g->now;
	int rc = svc_open(&resources_def, &g->conf, &g->svc, &err);
	if (rc < 0)
		print_error("%s %s\n", err.field, err.text);
	assert_int_equal(rc, 0);
}

static struct rig *rig_new(const char *path, const struct resources_conf *conf)
{
	struct rig *g = mem_calloc(1, sizeof(*g));
	struct err err = { 0 };
	assert_non_null(g);
	assert_int_equal(bus_open(&(struct bus_conf){ 0 }, &g->bus, &err), 0);
	g->now = 1000 * S;
	g->read_from = 1;
	g->conf = (struct svc_conf){
		.db_path = path, .bus = g->bus, .seed = 7, .conf = conf, .send_agent = on_down, .send_arg = g};
	open_svc(g);
	return g;
}

static void rig_free(struct rig *g)
{
	forget(g);
	for (int i = 0; i < g->n_inbox; i++)
		buf_release(&g->inbox[i]);
	svc_close(g->svc);
	bus_close(g->bus);
	mem_free(g);
}

/* A step in which one allocation fails. */
static void starved_step(struct rig *g)
{
	mem_fail_after((uint64_t)g->starve, 0);
	(void)svc_step(g->svc, g->now);
	g->struck |= mem_fail_hits() > 0;
	mem_fail_after(0, 0);
	g->starve = 0;
	g->now += (SVC_RETRY_MS + 1) * MS;
}

static void settle(struct rig *g)
{
	g->struck = false;
	if (g->starve)
		starved_step(g);
	for (int i = 0; i < 64; i++) {
		g->now += 1000;
		int rc = svc_step(g->svc, g->now);
		assert_true(rc >= 0);
		if (!svc_has_input(g->svc) && svc_next_wake(g->svc) > g->now)
			break;
	}
	read_news(g);
}

static void on_reply(void *arg, struct msg *reply)
{
	struct rig *g = arg;
	if (reply->type == MSG_PROBLEM) {
		g->problems++;
		snprintf(g->code, sizeof(g->code), "%s", ((Hcp__Problem *)reply->body)->code);
		snprintf(g->field, sizeof(g->field), "%s", ((Hcp__Problem *)reply->body)->field);
	}
	msg_free(reply);
}

static struct msg *kept;

static void keep_reply(void *arg, struct msg *reply)
{
	kept = reply;
}

static struct msg *new_msg(unsigned type, const ProtobufCMessage *body)
{
	struct buf b;
	struct msg *m;
	struct err err = { 0 };
	buf_init(&b, 0);
	assert_int_equal(pb_append(body, &b), 0);
	assert_int_equal(msg_from_bytes(type, buf_str(&b), &m, &err), 0);
	buf_release(&b);
	return m;
}

/* Links and requests; whether it was refused shows in problems, code and field. */
static void say(struct rig *g, unsigned type, const ProtobufCMessage *body)
{
	struct msg *m = new_msg(type, body);
	m->reply_fn = on_reply;
	m->reply_arg = g;
	g->code[0] = g->field[0] = '\0';
	svc_post(g->svc, m);
	settle(g);
}

static struct msg *ask_as(struct rig *g, unsigned type, const ProtobufCMessage *body, const Hcp__Principal *p)
{
	struct msg *m = new_msg(type, body);
	m->reply_fn = keep_reply;
	m->principal = p;
	svc_post(g->svc, m);
	settle(g);
	struct msg *reply = kept;
	kept = NULL;
	assert_non_null(reply);
	return reply;
}

static void refused(struct rig *g, const char *code, const char *field)
{
	assert_string_equal(g->code, code);
	assert_string_equal(g->field, field);
}

static void publish(struct rig *g, int sender, unsigned type, const ProtobufCMessage *body, int repeats)
{
	struct err err = { 0 };
	struct msg *m = new_msg(type, body);
	struct buf b;
	m->sender = sender;
	m->seq = ++g->seq[sender];
	buf_init(&b, 0);
	assert_int_equal(msg_pack(m, &b), 0);
	struct bus_entry e = { m->seq, (uint16_t)msg_info(type)->topic, (uint16_t)sender, buf_str(&b) };
	for (int i = 0; i < repeats; i++)
		assert_int_equal(bus_append(g->bus, &e, 1, &err), 0);
	buf_release(&b);
	msg_free(m);
	settle(g);
}

/* ---- agents ---- */

static struct agent *agent_add(struct rig *g, const char *id, const char *cls, int n, const char *facility)
{
	struct agent *a = &g->agent[g->n_agents++];
	assert_true(g->n_agents <= MAX_AGENTS && n <= MAX_AGENT_DEVICES);
	*a = (struct agent){ .cls = cls, .n = n };
	snprintf(a->id, sizeof(a->id), "%s", id);
	snprintf(a->boot, sizeof(a->boot), "%s-boot1", id);
	snprintf(a->facility, sizeof(a->facility), "%s", facility);
	for (int i = 0; i < n; i++)
		a->mode[i] = a->shown[i] = HCP__MODE__OFF;
	return a;
}

static void hello(struct rig *g, struct agent *a)
{
	Hcp__NodeHello h = HCP__NODE_HELLO__INIT;
	static Hcp__AgentDevice dev[MAX_AGENT_DEVICES];
	static Hcp__AgentDevice *devs[MAX_AGENT_DEVICES];
	static char ids[MAX_AGENT_DEVICES][16];
	const char *models[] = { "embed" };
	h.node_id = a->id;
	h.name = a->id;
	h.facility = a->facility;
	h.region = "texas";
	h.endpoint = a->endpoint;
	h.models = models;
	h.n_models = a->endpoint[0] ? 1 : 0;
	h.boot_id = a->boot;
	h.agent_version = "1";
	h.devices = devs;
	h.n_devices = (size_t)a->n;
	for (int i = 0; i < a->n; i++) {
		hcp__agent_device__init(&dev[i]);
		snprintf(ids[i], sizeof(ids[i]), "d%d", i);
		dev[i].id = ids[i];
		dev[i].device_class = a->cls;
		dev[i].kind = (Hcp__DeviceKind)device_class_find(str_of(a->cls))->kind;
		dev[i].mode = a->shown[i];
		devs[i] = &dev[i];
	}
	say(g, MSG_NODE_HELLO, &h.base);
}

static Hcp__DeviceReading reading[MAX_AGENT_DEVICES];
static Hcp__DeviceReading *readings[MAX_AGENT_DEVICES];
static char reading_id[MAX_AGENT_DEVICES][16];

static void read_devices(struct agent *a)
{
	const struct device_class *c = device_class_find(str_of(a->cls));
	for (int i = 0; i < a->n; i++) {
		Hcp__DeviceReading *x = readings[i] = &reading[i];
		hcp__device_reading__init(x);
		snprintf(reading_id[i], sizeof(reading_id[i]), "d%d", i);
		x->device_id = reading_id[i];
		x->mode = a->shown[i];
		bool fill = a->mode[i] == HCP__MODE__FILL;
		x->power_w = (int32_t)c->power_w[fill ? DEVICE_FILL : a->mode[i] == HCP__MODE__SERVE ? DEVICE_SERVE :
						 a->mode[i] == HCP__MODE__SAFE ? DEVICE_SAFE : DEVICE_IDLE];
		x->hash_ths = fill ? c->fill_ths : 0;
		x->requests = a->requests;
	}
}

/* Its counters grow as told before; a report with a seq of choice. */
static void report_seq(struct rig *g, struct agent *a, uint64_t seq)
{
	Hcp__NodeReport r = HCP__NODE_REPORT__INIT;
	Hcp__Meter m = HCP__METER__INIT, *ms[] = { &m };
	read_devices(a);
	r.node_id = a->id;
	r.boot_id = a->boot;
	r.at_ns = g->now + 1000;
	r.seq = seq;
	r.readings = readings;
	r.n_readings = (size_t)a->n;
	m.device_class = a->cls;
	m.activity = a->meter_allocation[0] ? "serve" : "fill";
	m.allocation_id = a->meter_allocation;
	m.energy_j = a->energy_j;
	m.device_ns = a->device_ns;
	r.meters = ms;
	r.n_meters = 1;
	say(g, MSG_NODE_REPORT, &r.base);
}

static void report(struct rig *g, struct agent *a)
{
	report_seq(g, a, ++a->seq);
}

static void switch_report(struct rig *g, struct agent *a, const char *id, bool ok)
{
	Hcp__SwitchReport r = HCP__SWITCH_REPORT__INIT;
	Hcp__PhaseTime p = HCP__PHASE_TIME__INIT, *ps[] = { &p };
	read_devices(a);
	r.switch_id = id;
	r.node_id = a->id;
	r.ok = ok;
	r.rolled_back = !ok;
	r.error = ok ? "" : "activate: out of memory";
	r.readings = readings;
	r.n_readings = (size_t)a->n;
	p.phase = "switch";
	p.duration_ns = 4 * MS;
	r.phases = ps;
	r.n_phases = 1;
	say(g, MSG_SWITCH_REPORT, &r.base);
}

static void obey(struct rig *g, struct agent *a, const Hcp__SwitchCommand *c)
{
	a->commands++;
	snprintf(a->last_switch, sizeof(a->last_switch), "%s", c->switch_id);
	for (size_t i = 0; i < c->n_items && !a->refuses; i++) {
		int at = atoi(c->items[i]->device_id + 1);
		a->shown[at] = c->items[i]->to;
		if (a->lies)
			continue;
		a->mode[at] = c->items[i]->to;
		snprintf(a->allocation[at], sizeof(a->allocation[at]), "%s", c->items[i]->allocation_id);
	}
	char id[ID_TEXT_MAX];
	snprintf(id, sizeof(id), "%s", c->switch_id);
	if (!a->mute)
		switch_report(g, a, id, !a->refuses);
}

static int64_t physical_w(const struct rig *g);

/* Agents take what was sent to them, in order, and answer. */
static void deliver(struct rig *g)
{
	for (int i = 0; i < g->n_inbox; i++) {
		struct buf *b = &g->inbox[i];
		size_t len = strlen(b->data) + 1;
		struct agent *a = agent_of(g, b->data);
		Hcp__AgentDown *d = hcp__agent_down__unpack(NULL, b->n - len, (const uint8_t *)b->data + len);
		if (!a->deaf && !a->quiet)
			obey(g, a, d->switch_command);
		assert_true(!g->budget_w || physical_w(g) <= g->budget_w);
		hcp__agent_down__free_unpacked(d, NULL);
		buf_release(b);
		buf_init(b, 0);
	}
	g->n_inbox = 0;
}

static void lose_commands(struct rig *g)
{
	for (int i = 0; i < g->n_inbox; i++)
		buf_release(&g->inbox[i]);
	g->n_inbox = 0;
}

/* Time in steps of a report period; everyone reports (unless silent), commands are delivered. */
static void run_s(struct rig *g, int seconds)
{
	for (int t = 0; t < seconds; t += 2) {
		g->now += 2 * S;
		settle(g);
		for (int i = 0; i < g->n_agents; i++)
			report(g, &g->agent[i]);
		deliver(g);
	}
}

static int agents_in(const struct rig *g, Hcp__Mode m)
{
	int n = 0;
	for (int i = 0; i < g->n_agents; i++)
		for (int k = 0; k < g->agent[i].n; k++)
			n += g->agent[i].mode[k] == m;
	return n;
}

static void direct(struct rig *g, const char *facility, const char *cls, int serve, int mine, int idle)
{
	Hcp__Directive d = HCP__DIRECTIVE__INIT;
	Hcp__ClassTarget t = HCP__CLASS_TARGET__INIT, *ts[] = { &t };
	d.id = "pl-1";
	d.decision_id = "dec-1";
	d.decided_at_ns = g->now;
	d.signal_at_ns = g->now - 5 * MS;
	t.facility = facility;
	t.device_class = cls;
	t.serve = serve;
	t.mine = mine;
	t.idle = idle;
	d.targets = ts;
	d.n_targets = 1;
	publish(g, SVC_ORCHESTRATOR, MSG_DIRECTIVE, &d.base, 1);
}

static void stop_all(struct rig *g)
{
	Hcp__Directive d = HCP__DIRECTIVE__INIT;
	d.id = "pl-stop";
	d.emergency_stop = true;
	publish(g, SVC_ORCHESTRATOR, MSG_DIRECTIVE, &d.base, 1);
}

static void place(struct rig *g, const char *id, int n, const char **devices, int repeats)
{
	Hcp__Place p = HCP__PLACE__INIT;
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	w.id = "wl-1";
	w.customer_id = "cus-1";
	w.type = HCP__WORKLOAD_TYPE__AI_INFERENCE_REALTIME;
	w.model = "embed";
	p.allocation_id = id;
	p.workload = &w;
	p.device_ids = devices;
	p.n_device_ids = (size_t)n;
	publish(g, SVC_ROUTER, MSG_PLACE, &p.base, repeats);
}

static void release(struct rig *g, const char *id)
{
	Hcp__Release r = HCP__RELEASE__INIT;
	r.allocation_id = id;
	r.reason = "done";
	publish(g, SVC_ROUTER, MSG_RELEASE, &r.base, 1);
}

static const Hcp__AllocationChanged *alloc_state(struct rig *g, Hcp__AllocationState s)
{
	const Hcp__AllocationChanged *a = last(g, MSG_ALLOCATION_CHANGED);
	assert_non_null(a);
	assert_int_equal(a->state, s);
	return a;
}

static struct msg *device_get(struct rig *g, const char *id)
{
	Hcp__ResourceGet get = HCP__RESOURCE_GET__INIT;
	get.id = id;
	return ask_as(g, MSG_RESOURCE_GET, &get.base, NULL);
}

#define DEVICE(g, id, field, expect) \
	do { \
		struct msg *dm = device_get(g, id); \
		assert_int_equal(dm->type, MSG_DEVICE); \
		assert_int_equal(((Hcp__Device *)dm->body)->field, expect); \
		msg_free(dm); \
	} while (0)

/* ---- tests ---- */

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
	refused(g, "wrong_state", "boot_id");
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
	d.n_targets = 0;
	d.decision_id = "dec-0123456789012345678901234567890123456789";
	say(g, MSG_DIRECTIVE, &d.base);
	refused(g, "invalid", "decision_id");
	rig_free(g);
}

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
	rig_free(g);
}

static int64_t metered_j(struct rig *g)
{
	int64_t j = 0;
	for (int i = 0; i < g->n_news; i++) {
		const Hcp__Metered *e = (void *)g->news[i]->body;
		for (size_t k = 0; g->news[i]->type == MSG_METERED && k < e->n_deltas; k++)
			j += e->deltas[k]->energy_j;
	}
	return j;
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
	int news = g->n_news;
	report_seq(g, a, 4); /* newer, but less: refused, and nothing changes */
	refused(g, "wrong_state", "meters[0].energy_j");
	assert_int_equal(g->n_news, news);
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
	x.device_id = "d7";
	say(g, MSG_NODE_REPORT, &r.base);
	refused(g, "not_found", "readings[0].device_id");
	x.device_id = "d0";
	say(g, MSG_NODE_REPORT, &r.base);
	refused(g, "invalid", "readings[0].mode");
	x.mode = HCP__MODE__OFF;
	x.power_w = -1;
	say(g, MSG_NODE_REPORT, &r.base);
	refused(g, "out_of_range", "readings[0].power_w");
	x.power_w = 75;
	x.hash_ths = -1;
	say(g, MSG_NODE_REPORT, &r.base);
	refused(g, "out_of_range", "readings[0].hash_ths");
	x.hash_ths = 0;
	x.utilisation = 1.0 / 0.0;
	say(g, MSG_NODE_REPORT, &r.base);
	refused(g, "out_of_range", "readings[0].utilisation");
	x.utilisation = 0;
	x.requests = -1;
	say(g, MSG_NODE_REPORT, &r.base);
	refused(g, "out_of_range", "readings[0].requests");
	x.requests = 0;
	r.meters = ms;
	r.n_meters = 1;
	say(g, MSG_NODE_REPORT, &r.base);
	refused(g, "not_found", "meters[0].device_class");
	m.device_class = "H100";
	m.activity = "dance";
	say(g, MSG_NODE_REPORT, &r.base);
	refused(g, "invalid", "meters[0].activity");
	m.activity = "off";
	m.tokens = -5;
	say(g, MSG_NODE_REPORT, &r.base);
	refused(g, "out_of_range", "meters[0].tokens");
	m.tokens = 0;
	m.hashes = -1;
	say(g, MSG_NODE_REPORT, &r.base);
	refused(g, "out_of_range", "meters[0].hashes");
	m.hashes = 0;
	m.allocation_id = "al-0123456789012345678901234567890123456789";
	say(g, MSG_NODE_REPORT, &r.base);
	refused(g, "invalid", "meters[0].allocation_id");
	m.allocation_id = "";
	r.n_meters = 2;
	say(g, MSG_NODE_REPORT, &r.base);
	refused(g, "invalid", "meters[1].allocation_id");
	assert_int_equal(count(g, MSG_METERED) + count(g, MSG_DEVICES_CHANGED), 0);
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
	rig_free(g);
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
	assert_int_equal(count(g, MSG_ALLOCATION_CHANGED), 2); /* RESERVED, SWITCHING, once each */
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
	/* Others see that it is taken, not by whom. */
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

/* ---- power ---- */

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

static int64_t physical_w(const struct rig *g)
{
	int64_t sum = 0;
	for (int i = 0; i < g->n_agents; i++) {
		const struct device_class *c = device_class_find(str_of(g->agent[i].cls));
		for (int k = 0; k < g->agent[i].n; k++) {
			Hcp__Mode m = g->agent[i].mode[k];
			sum += (int64_t)c->power_w[m == HCP__MODE__SERVE  ? DEVICE_SERVE
						   : m == HCP__MODE__FILL ? DEVICE_FILL
						   : m == HCP__MODE__SAFE ? DEVICE_SAFE
									  : DEVICE_IDLE];
		}
	}
	return sum;
}

/* What a node does by itself when its lease has run out. */
static void fall(struct rig *g, struct agent *a)
{
	for (int k = 0; k < a->n && g->now >= a->lease_until_ns; k++)
		a->mode[k] = a->shown[k] = HCP__MODE__SAFE;
	if (a->quiet)
		drop_for(g, a);
}

/* Agents take commands late or not at all, refuse, vanish, start again and switch by themselves. Watts stay below the
 * budget at every moment. */
static void power_budget_is_never_exceeded(void **state)
{
	static const struct resources_budget budget[] = { { "east", 6000 } };
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
			struct agent *a = &g->agent[rng_below(&r, 4)];
			const char *dev[2];
			char text[2][16], id[16];
			for (int i = 0; i < 4; i++)
				fall(g, &g->agent[i]);
			switch (rng_below(&r, 15)) {
			case 12: /* a request comes to a mining node that may serve by itself */
				for (int k = 0; k < a->n && a->may_serve && g->now < a->lease_until_ns; k++)
					if (a->mode[k] == HCP__MODE__FILL)
						a->mode[k] = a->shown[k] = HCP__MODE__SERVE;
				break;
			case 13:
				a->quiet = !a->quiet && rng_below(&r, 2);
				break;
			case 14: /* its agent starts again */
				snprintf(a->boot, sizeof(a->boot), "boot-%d", t);
				a->seq = 0;
				for (int k = 0; k < a->n; k++)
					a->mode[k] = a->shown[k] = HCP__MODE__SAFE;
				drop_for(g, a);
				if (!a->quiet)
					hello(g, a);
				break;
			case 0:
				direct(g, "east", "H100", (int)rng_below(&r, 6), (int)rng_below(&r, 8), 0);
				break;
			case 1:
				direct(g, "east", "S21", 0, (int)rng_below(&r, 3), 0);
				break;
			case 2:
				for (int k = 0; k < 2; k++) {
					snprintf(text[k], sizeof(text[k]), "n%d/d%d", (int)rng_below(&r, 3),
						 (int)rng_below(&r, 4));
					dev[k] = text[k];
				}
				snprintf(id, sizeof(id), "al-%d", t);
				place(g, id, 1 + (int)rng_below(&r, 2), dev, 1);
				break;
			case 3:
				snprintf(id, sizeof(id), "al-%d", (int)rng_below(&r, (uint64_t)t + 1));
				release(g, id);
				break;
			case 4:
				a->deaf = rng_below(&r, 3) == 0;
				a->refuses = rng_below(&r, 4) == 0;
				a->mute = rng_below(&r, 3) == 0;
				a->lies = rng_below(&r, 4) == 0;
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
				g->now += (int64_t)rng_below(&r, 4) * S;
				for (int i = 0; i < 4; i++)
					fall(g, &g->agent[i]);
				settle(g);
				for (int i = 0; i < 4; i++)
					if (!g->agent[i].quiet)
						report(g, &g->agent[i]);
			}
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
	static const struct resources_budget budget[] = { { "east", 1600 } };
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

static void allocation_waits_for_power_that_mining_gives_up(void **state)
{
	static const struct resources_budget budget[] = { { "east", 4000 } };
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
	static const struct resources_budget small[] = { { "east", 300 } };
	const struct resources_conf tight = { small, 1 };
	rig_free(g);
	g = rig_new(NULL, &tight);
	hello(g, agent_add(g, "n1", "H100", 2, "east"));
	place(g, "al-1", 2, two, 1);
	run_s(g, 34);
	assert_true(strstr(alloc_state(g, HCP__ALLOCATION_STATE__REFUSED)->reason, "power") != NULL);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__IDLE);
	rig_free(g);
}

/* ---- restart, replay, size ---- */

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
	assert_int_equal(pb_append(&rs->base, b), 0);
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
	static const struct resources_budget budget[] = { { "east", 5000 } };
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
	int rc = svc_replay(&resources_def, &conf, svc_database(g->svc), 0, 100000, &report_, &arena, &err);
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
	char cursor[32] = "";
	int seen = 0, pages = 0;
	do {
		l.limit = 3;
		l.cursor = cursor;
		m = ask_as(g, MSG_RESOURCES_LIST, &l.base, NULL);
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
	l = (Hcp__ResourcesList)HCP__RESOURCES_LIST__INIT;
	l.kind = "asic";
	l.facility = "west";
	l.state = "idle";
	l.device_class = "S21";
	l.node_id = "n2";
	m = ask_as(g, MSG_RESOURCES_LIST, &l.base, NULL);
	assert_int_equal(((Hcp__Resources *)m->body)->n_devices, 3);
	msg_free(m);
	static const struct { const char *field, *code; } bad[] = {
		{ "limit", "out_of_range" }, { "cursor", "invalid" }, { "kind", "invalid" }, { "state", "invalid" },
		{ "device_class", "not_found" }, { "node_id", "not_found" },
	};
	for (int i = 0; i < 6; i++) {
		l = (Hcp__ResourcesList)HCP__RESOURCES_LIST__INIT;
		l.limit = i == 0 ? 1001 : 0;
		l.cursor = i == 1 ? "x" : "";
		l.kind = i == 2 ? "tpu" : "";
		l.state = i == 3 ? "asleep" : "";
		l.device_class = i == 4 ? "H9000" : "";
		l.node_id = i == 5 ? "n9" : "";
		say(g, MSG_RESOURCES_LIST, &l.base);
		refused(g, bad[i].code, bad[i].field);
	}
	Hcp__ResourceGet get = HCP__RESOURCE_GET__INIT;
	get.id = "n1/d9";
	say(g, MSG_RESOURCE_GET, &get.base);
	refused(g, "not_found", "id");
	Hcp__AvailabilityGet av = HCP__AVAILABILITY_GET__INIT;
	av.device_class = "H100";
	av.count = 5;
	m = ask_as(g, MSG_AVAILABILITY_GET, &av.base, NULL);
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
	Hcp__SwitchesList sl = HCP__SWITCHES_LIST__INIT;
	sl.limit = 1001;
	say(g, MSG_SWITCHES_LIST, &sl.base);
	refused(g, "out_of_range", "limit");
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hello_makes_an_inventory),
		cmocka_unit_test(hello_refusals_name_their_field),
		cmocka_unit_test(directive_is_commanded_and_proved),
		cmocka_unit_test(directive_refusals),
		cmocka_unit_test(lying_agent_is_drifted_and_told_again),
		cmocka_unit_test(metering_is_exactly_once),
		cmocka_unit_test(report_refusals_name_their_field),
		cmocka_unit_test(allocation_lives_and_ends),
		cmocka_unit_test(gang_that_fails_half_way_is_rolled_back),
		cmocka_unit_test(warm_device_is_held_only_when_its_agent_took_it),
		cmocka_unit_test(asics_get_the_time_they_need_to_boot),
		cmocka_unit_test(capacity_is_told_twice_a_second_at_most),
		cmocka_unit_test(counters_of_ended_allocations_go),
		cmocka_unit_test(lost_node_gives_its_allocations_up),
		cmocka_unit_test(new_boot_keeps_the_allocation_and_is_told_again),
		cmocka_unit_test(device_errors_leave_and_rejoin_the_pool),
		cmocka_unit_test(local_switches_are_the_nodes_right),
		cmocka_unit_test(emergency_stop_turns_everything_off),
		cmocka_unit_test(power_budget_is_never_exceeded),
		cmocka_unit_test(watts_of_an_order_on_the_way_stay_reserved),
		cmocka_unit_test(allocation_waits_for_power_that_mining_gives_up),
		cmocka_unit_test(restart_in_the_middle_of_a_switch_goes_on),
		cmocka_unit_test(replay_is_identical),
		cmocka_unit_test(failed_commits_leave_no_trace),
		cmocka_unit_test(memory_that_fails_anywhere_leaves_no_trace),
		cmocka_unit_test(directive_over_16000_devices_costs_a_row_a_node),
		cmocka_unit_test(queries_filter_page_and_refuse),
	};
	return cmocka_run_group_tests_name("resources", tests, NULL, NULL);
}
