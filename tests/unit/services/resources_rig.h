#ifndef HCP_TESTS_SERVICES_RESOURCES_RIG_H
#define HCP_TESTS_SERVICES_RESOURCES_RIG_H

/*
 * The service with a bus, a hand-moved clock, and agents that are a few lines each: they keep the mode of every
 * device, answer commands, and can be told to lie, to lose messages or to refuse.
 */

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

enum { MAX_AGENTS = 64, MAX_AGENT_DEVICES = 512, MAX_NEWS = 60000, MAX_SHARED = 4, MAX_PARTS = 8 };
#define S NS_PER_S
#define MS NS_PER_MS

struct agent {
	char id[32], boot[48], facility[32], endpoint[64], feed[64];
	const char *cls;
	int n;
	Hcp__Mode mode[MAX_AGENT_DEVICES], shown[MAX_AGENT_DEVICES];
	int32_t target_w[MAX_AGENT_DEVICES]; /* as last told */
	bool stiff;                          /* takes no power target: draws what its class says */
	char allocation[MAX_AGENT_DEVICES][ID_TEXT_MAX];
	struct { /* parts of its first devices */
		char allocation[ID_TEXT_MAX], mig[16];
		int milli, start;
	} part[MAX_SHARED][MAX_PARTS];
	int n_parts[MAX_SHARED];
	const char *program;                /* that it allows; NULL: none */
	char runs[MAX_SHARED][ID_TEXT_MAX]; /* allocation whose program runs on its first devices */
	int64_t restored[MAX_SHARED];       /* step that the last program began at */
	bool saves;                         /* a program that must leave is not done with saving: no answer until then */
	bool keeps; /* lies about parts: says done, and has those that it had */
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
	uint64_t stream, order; /* order: number of its last command */
	char over[48];          /* boot that it was told is over */
	int report_ms, welcomes;
	int64_t behind_ns; /* its clock, or its reports were made this long ago */
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
	int64_t conf_ttl_ms; /* a lease that is longer than this may be other than 15 s */
	int64_t budget_w; /* of all agents together; 0: not watched */
	int starve; /* allocation that fails in the next step, counted from 1; 0: none */
	bool struck;
	int problems;
	char code[32], field[64];
};

static inline struct agent *agent_of(struct rig *g, const char *node)
{
	for (int i = 0; i < g->n_agents; i++)
		if (!strcmp(g->agent[i].id, node))
			return &g->agent[i];
	return NULL;
}

static inline void on_down(void *arg, const char *node, struct str bytes)
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
		assert_true(d->lease->ttl_ms == 15000 || d->lease->ttl_ms > g->conf_ttl_ms);
	}
	if (d->kind_case == HCP__AGENT_DOWN__KIND_WELCOME && a && !a->quiet) {
		a->report_ms = d->welcome->report_ms;
		a->welcomes++;
		snprintf(a->over, sizeof(a->over), "%s", d->welcome->over_boot_id);
	}
	if (d->kind_case == HCP__AGENT_DOWN__KIND_SWITCH_COMMAND && a && !a->deaf && !a->quiet) {
		assert_true(g->n_inbox < 4096);
		assert_true(d->switch_command->number > a->order);
		a->order = d->switch_command->number;
		struct buf *b = &g->inbox[g->n_inbox++];
		buf_init(b, 0);
		buf_add(b, node, strlen(node) + 1);
		buf_adds(b, bytes);
	}
	hcp__agent_down__free_unpacked(d, NULL);
}

static inline void read_news(struct rig *g)
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

static inline void forget(struct rig *g)
{
	for (int i = 0; i < g->n_news; i++)
		msg_free(g->news[i]);
	g->n_news = 0;
}

static inline int count(struct rig *g, unsigned type)
{
	int n = 0;
	for (int i = 0; i < g->n_news; i++)
		n += g->news[i]->type == type;
	return n;
}

static inline const void *last(struct rig *g, unsigned type)
{
	for (int i = g->n_news - 1; i >= 0; i--)
		if (g->news[i]->type == type)
			return g->news[i]->body;
	return NULL;
}

static inline void open_svc(struct rig *g)
{
	struct err err = { 0 };
	g->conf.now_ns = g->now;
	int rc = svc_open(&resources_def, &g->conf, &g->svc, &err);
	if (rc < 0)
		print_error("%s %s\n", err.field, err.text);
	assert_int_equal(rc, 0);
}

static inline struct rig *rig_new(const char *path, const struct resources_conf *conf)
{
	struct rig *g = mem_calloc(1, sizeof(*g));
	g->conf_ttl_ms = conf && conf->reports_per_s ? 15000 : INT64_MAX;
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

static inline void rig_free(struct rig *g)
{
	forget(g);
	for (int i = 0; i < g->n_inbox; i++)
		buf_release(&g->inbox[i]);
	svc_close(g->svc);
	bus_close(g->bus);
	mem_free(g);
}

/* A step in which one allocation fails. */
static inline void starved_step(struct rig *g)
{
	mem_fail_after((uint64_t)g->starve, 0);
	(void)svc_step(g->svc, g->now);
	g->struck |= mem_fail_hits() > 0;
	mem_fail_after(0, 0);
	g->starve = 0;
	g->now += (SVC_RETRY_MS + 1) * MS;
}

static inline void settle(struct rig *g)
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

static inline void on_reply(void *arg, struct msg *reply)
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

static inline void keep_reply(void *arg, struct msg *reply)
{
	kept = reply;
}

static inline struct msg *new_msg(unsigned type, const ProtobufCMessage *body)
{
	struct buf b;
	struct msg *m;
	struct err err = { 0 };
	buf_init(&b, 0);
	assert_int_equal(pb_pack(body, &b), 0);
	assert_int_equal(msg_from_bytes(type, buf_str(&b), &m, &err), 0);
	buf_release(&b);
	return m;
}

/* Links and requests; whether it was refused shows in problems, code and field. */
static inline void say(struct rig *g, unsigned type, const ProtobufCMessage *body)
{
	struct msg *m = new_msg(type, body);
	m->reply_fn = on_reply;
	m->reply_arg = g;
	g->code[0] = g->field[0] = '\0';
	svc_post(g->svc, m);
	settle(g);
}

static inline struct msg *ask_as(struct rig *g, unsigned type, const ProtobufCMessage *body, const Hcp__Principal *p)
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

static inline void refused(struct rig *g, const char *code, const char *field)
{
	assert_string_equal(g->code, code);
	assert_string_equal(g->field, field);
}

static inline void publish(struct rig *g, int sender, unsigned type, const ProtobufCMessage *body, int repeats)
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

static inline struct agent *agent_add(struct rig *g, const char *id, const char *cls, int n, const char *facility)
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

static inline void hello(struct rig *g, struct agent *a)
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
	h.feed = a->feed;
	h.models = models;
	h.n_models = a->endpoint[0] ? 1 : 0;
	h.programs = &a->program;
	h.n_programs = a->program ? 1 : 0;
	h.boot_id = a->boot;
	h.stream = a->stream;
	h.reports = a->seq;
	h.at_ns = g->now + 1000 - a->behind_ns;
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

static inline void read_parts(struct agent *a, int i)
{
	static Hcp__DeviceShare row[MAX_SHARED][MAX_PARTS], *rows[MAX_SHARED][MAX_PARTS];
	for (int k = 0; k < a->n_parts[i]; k++) {
		hcp__device_share__init(rows[i][k] = &row[i][k]);
		row[i][k].allocation_id = a->part[i][k].allocation;
		row[i][k].milli = a->part[i][k].milli;
		row[i][k].mig_profile = a->part[i][k].mig;
		row[i][k].mig_start = a->part[i][k].start;
	}
	reading[i].shares = rows[i];
	reading[i].n_shares = (size_t)a->n_parts[i];
}

/* The watts of its i-th device; it mines: by its power target. */
static inline double drawn_w(const struct agent *a, int i)
{
	const struct device_class *c = device_class_find(str_of(a->cls));
	Hcp__Mode m = a->mode[i];
	if (m == HCP__MODE__FILL && a->target_w[i] && !a->stiff)
		return a->target_w[i];
	return c->power_w[m == HCP__MODE__SERVE  ? DEVICE_SERVE
					  : m == HCP__MODE__FILL ? DEVICE_FILL
					  : m == HCP__MODE__SAFE ? DEVICE_SAFE
											 : DEVICE_IDLE];
}

static inline void read_devices(struct agent *a)
{
	const struct device_class *c = device_class_find(str_of(a->cls));
	for (int i = 0; i < a->n; i++) {
		Hcp__DeviceReading *x = readings[i] = &reading[i];
		hcp__device_reading__init(x);
		snprintf(reading_id[i], sizeof(reading_id[i]), "d%d", i);
		x->device_id = reading_id[i];
		x->mode = a->shown[i];
		bool fill = a->mode[i] == HCP__MODE__FILL;
		x->power_w = (int32_t)drawn_w(a, i);
		x->hash_ths = !fill ? 0 : a->target_w[i] && !a->stiff ? device_class_ths_at(c, a->target_w[i]) : c->fill_ths;
		x->requests = a->requests;
		if (i < MAX_SHARED)
			read_parts(a, i);
		if (i < MAX_SHARED)
			x->program = a->runs[i];
	}
}

/* Its counters grow as told before; a report with a seq of choice. */
static inline void report_seq(struct rig *g, struct agent *a, uint64_t seq)
{
	Hcp__NodeReport r = HCP__NODE_REPORT__INIT;
	Hcp__Meter m = HCP__METER__INIT, *ms[] = { &m };
	read_devices(a);
	r.node_id = a->id;
	r.boot_id = a->boot;
	r.at_ns = g->now + 1000 - a->behind_ns;
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

static inline void report(struct rig *g, struct agent *a)
{
	report_seq(g, a, ++a->seq);
}

static inline void switch_report(struct rig *g, struct agent *a, const char *id, bool ok)
{
	Hcp__SwitchReport r = HCP__SWITCH_REPORT__INIT;
	Hcp__PhaseTime p = HCP__PHASE_TIME__INIT, *ps[] = { &p };
	read_devices(a);
	r.switch_id = id;
	r.node_id = a->id;
	r.at_ns = g->now + 1000;
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

static inline void take_parts(struct agent *a, long at, const Hcp__SwitchItem *item)
{
	assert_true(item->n_shares <= MAX_PARTS && (!item->n_shares || at < MAX_SHARED));
	if (at >= MAX_SHARED || a->keeps)
		return;
	a->n_parts[at] = (int)item->n_shares;
	for (size_t k = 0; k < item->n_shares; k++) {
		const Hcp__DeviceShare *s = item->shares[k];
		snprintf(a->part[at][k].allocation, ID_TEXT_MAX, "%s", s->allocation_id);
		snprintf(a->part[at][k].mig, sizeof(a->part[at][k].mig), "%s", s->mig_profile);
		a->part[at][k].milli = s->milli;
		a->part[at][k].start = s->mig_start;
	}
}

/* false: the program that runs must save itself first. */
static inline bool take_program(struct agent *a, long at, const Hcp__SwitchItem *item)
{
	if (at >= MAX_SHARED)
		return true;
	if (a->runs[at][0] && a->saves && (!item->program || strcmp(a->runs[at], item->allocation_id) != 0))
		return false;
	if (item->program && strcmp(a->runs[at], item->allocation_id) != 0)
		a->restored[at] = item->program->restore ? item->program->restore->step : 0;
	snprintf(a->runs[at], sizeof(a->runs[at]), "%s", item->program ? item->allocation_id : "");
	return true;
}

static inline void obey(struct rig *g, struct agent *a, const Hcp__SwitchCommand *c)
{
	a->commands++;
	snprintf(a->last_switch, sizeof(a->last_switch), "%s", c->switch_id);
	for (size_t i = 0; i < c->n_items && !a->refuses; i++) {
		long at = strtol(c->items[i]->device_id + 1, NULL, 10);
		if (!take_program(a, at, c->items[i]))
			return;
		a->shown[at] = c->items[i]->to;
		if (a->lies)
			continue;
		a->mode[at] = c->items[i]->to;
		a->target_w[at] = c->items[i]->power_target_w;
		snprintf(a->allocation[at], sizeof(a->allocation[at]), "%s", c->items[i]->allocation_id);
		take_parts(a, at, c->items[i]);
	}
	char id[ID_TEXT_MAX];
	snprintf(id, sizeof(id), "%s", c->switch_id);
	if (!a->mute)
		switch_report(g, a, id, !a->refuses);
}

static inline int64_t physical_w(const struct rig *g)
{
	int64_t sum = 0;
	for (int i = 0; i < g->n_agents; i++)
		for (int k = 0; k < g->agent[i].n; k++)
			sum += (int64_t)drawn_w(&g->agent[i], k);
	return sum;
}

/* Agents take what was sent to them, in order, and answer. */
static inline void deliver(struct rig *g)
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

static inline void lose_commands(struct rig *g)
{
	for (int i = 0; i < g->n_inbox; i++)
		buf_release(&g->inbox[i]);
	g->n_inbox = 0;
}

/* Time in steps of a report period; everyone reports (unless silent), commands are delivered. */
static inline void run_s(struct rig *g, int seconds)
{
	for (int t = 0; t < seconds; t += 2) {
		g->now += 2 * S;
		settle(g);
		for (int i = 0; i < g->n_agents; i++)
			report(g, &g->agent[i]);
		deliver(g);
	}
}

static inline int agents_in(const struct rig *g, Hcp__Mode m)
{
	int n = 0;
	for (int i = 0; i < g->n_agents; i++)
		for (int k = 0; k < g->agent[i].n; k++)
			n += g->agent[i].mode[k] == m;
	return n;
}

/* signal_ns 0: not because of a price. */
static inline void direct_for(struct rig *g, const char *facility, const char *cls, int serve, int mine, int32_t mine_w,
	int idle, int64_t signal_ns)
{
	Hcp__Directive d = HCP__DIRECTIVE__INIT;
	Hcp__ClassTarget t = HCP__CLASS_TARGET__INIT, *ts[] = { &t };
	d.id = "pl-1";
	d.decision_id = "dec-1";
	d.decided_at_ns = g->now;
	d.signal_at_ns = signal_ns;
	t.facility = facility;
	t.device_class = cls;
	t.serve = serve;
	t.mine = mine;
	t.mine_w = mine_w;
	t.idle = idle;
	d.targets = ts;
	d.n_targets = 1;
	publish(g, SVC_ORCHESTRATOR, MSG_DIRECTIVE, &d.base, 1);
}

static inline void direct_at(
	struct rig *g, const char *facility, const char *cls, int serve, int mine, int32_t mine_w, int idle)
{
	direct_for(g, facility, cls, serve, mine, mine_w, idle, g->now - 5 * MS);
}

static inline void direct(struct rig *g, const char *facility, const char *cls, int serve, int mine, int idle)
{
	direct_at(g, facility, cls, serve, mine, 0, idle);
}

static inline void place(struct rig *g, const char *id, int n, const char **devices, int repeats)
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

static inline void release(struct rig *g, const char *id)
{
	Hcp__Release r = HCP__RELEASE__INIT;
	r.allocation_id = id;
	r.reason = "done";
	publish(g, SVC_ROUTER, MSG_RELEASE, &r.base, 1);
}

static inline const Hcp__AllocationChanged *alloc_state(struct rig *g, Hcp__AllocationState s)
{
	const Hcp__AllocationChanged *a = last(g, MSG_ALLOCATION_CHANGED);
	assert_non_null(a);
	assert_int_equal(a->state, s);
	return a;
}

static inline struct msg *device_get(struct rig *g, const char *id)
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

static inline int64_t metered_j(struct rig *g)
{
	int64_t j = 0;
	for (int i = 0; i < g->n_news; i++) {
		const Hcp__Metered *e = (void *)g->news[i]->body;
		for (size_t k = 0; g->news[i]->type == MSG_METERED && k < e->n_deltas; k++)
			j += e->deltas[k]->energy_j;
	}
	return j;
}

#endif
