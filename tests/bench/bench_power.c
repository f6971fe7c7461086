/*
 * What the power tree costs: 250,000 ASICs and 100,000 GPUs of one facility, without levels below it and with 8 feeders
 * and 1,000 PDUs. A plan of the whole facility, and the start of a gang of eight; resources itself, its database in
 * memory. Prints one JSON line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "services/resources/resources.h"

enum { NODES = 1000, NODE_DEVICES = 350, GPU_NODES = 286, FEEDERS = 8, PLANS = 7, GANG = 8, GANGS = 2000 };

struct bench {
	struct svc *svc;
	struct bus *bus;
	int64_t now_ns;
	uint64_t seq[SVC_COUNT];
};

static int64_t cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void to_nobody(void *arg, const char *node_id, struct str bytes)
{
}

/* Processor time until it is at rest: a machine that others use, too, tells the same. */
static int64_t settle(struct bench *b)
{
	int64_t from_ns = cpu_ns();
	for (int i = 0; i < 16; i++) {
		b->now_ns += 1000;
		must(svc_step(b->svc, b->now_ns) >= 0);
		if (!svc_has_input(b->svc))
			break;
	}
	return cpu_ns() - from_ns;
}

static struct msg *message(unsigned type, const ProtobufCMessage *body)
{
	struct buf bytes;
	struct msg *m;
	buf_init(&bytes, 0);
	must(pb_pack(body, &bytes) == 0 && msg_from_bytes(type, buf_str(&bytes), &m, NULL) == 0);
	buf_release(&bytes);
	return m;
}

static int64_t publish(struct bench *b, int sender, unsigned type, const ProtobufCMessage *body)
{
	struct msg *m = message(type, body);
	struct buf bytes;
	m->sender = sender;
	m->seq = ++b->seq[sender];
	buf_init(&bytes, 0);
	must(msg_pack(m, &bytes) == 0);
	struct bus_entry e = { m->seq, (uint16_t)msg_info(type)->topic, (uint16_t)sender, buf_str(&bytes) };
	must(bus_append(b->bus, &e, 1, NULL) == 0);
	buf_release(&bytes);
	msg_free(m);
	return settle(b);
}

static void hello(struct bench *b, int node, bool tree)
{
	static Hcp__AgentDevice dev[NODE_DEVICES];
	static Hcp__AgentDevice *devs[NODE_DEVICES];
	static char id[NODE_DEVICES][16];
	Hcp__NodeHello h = HCP__NODE_HELLO__INIT;
	char name[32], feed[64];
	bool gpu = node < GPU_NODES;
	snprintf(name, sizeof(name), "n%d", node);
	snprintf(feed, sizeof(feed), "f%d/p%d", node % FEEDERS + 1, node / FEEDERS + 1);
	h.node_id = h.name = h.boot_id = name;
	h.facility = "east";
	h.feed = tree ? feed : "";
	h.devices = devs;
	h.n_devices = NODE_DEVICES;
	for (int i = 0; i < NODE_DEVICES; i++) {
		hcp__agent_device__init(&dev[i]);
		snprintf(id[i], sizeof(id[i]), "d%d", i);
		dev[i].id = id[i];
		dev[i].device_class = gpu ? "H100" : "S21";
		dev[i].kind = gpu ? HCP__DEVICE_KIND__GPU : HCP__DEVICE_KIND__ASIC;
		dev[i].mode = HCP__MODE__OFF;
		devs[i] = &dev[i];
	}
	svc_post(b->svc, message(MSG_NODE_HELLO, &h.base));
	(void)settle(b);
}

static int64_t direct(struct bench *b, int mine)
{
	Hcp__Directive d = HCP__DIRECTIVE__INIT;
	Hcp__ClassTarget t = HCP__CLASS_TARGET__INIT, *ts[] = { &t };
	d.id = d.decision_id = "dec";
	t.facility = "east";
	t.device_class = "S21";
	t.mine = mine;
	d.targets = ts;
	d.n_targets = 1;
	return publish(b, SVC_ORCHESTRATOR, MSG_DIRECTIVE, &d.base);
}

static int64_t place(struct bench *b, int n)
{
	Hcp__Place p = HCP__PLACE__INIT;
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	char id[16], text[GANG][24], *devs[GANG];
	snprintf(id, sizeof(id), "al-%d", n);
	for (int i = 0; i < GANG; i++) {
		snprintf(text[i], sizeof(text[i]), "n%d/d%d", n % GPU_NODES, n / GPU_NODES * GANG + i);
		devs[i] = text[i];
	}
	w.id = "wl";
	w.customer_id = "cus";
	w.type = HCP__WORKLOAD_TYPE__AI_INFERENCE_REALTIME;
	p.allocation_id = id;
	p.workload = &w;
	p.device_ids = (const char **)devs;
	p.n_device_ids = GANG;
	return publish(b, SVC_ROUTER, MSG_PLACE, &p.base);
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

static void run(bool tree, double *ret_plan_ms, double *ret_place_us)
{
	static const struct resources_budget rows[] = {
		{ .facility = "east", .budget_w = 1000000000 },
		{ .facility = "east", .path = "f#", .count = FEEDERS, .budget_w = 110000000 },
		{ .facility = "east", .path = "f#/p#", .count = NODES / FEEDERS + 1, .budget_w = 1250000 },
	};
	const struct resources_conf conf = { .budgets = rows, .n_budgets = tree ? 3 : 1 };
	struct bench b = { .now_ns = 1000 * NS_PER_S };
	struct svc_conf sc = { .seed = 7, .conf = &conf, .send_agent = to_nobody, .now_ns = b.now_ns };
	static int64_t took[GANGS];
	must(bus_open(&(struct bus_conf){ 0 }, &b.bus, NULL) == 0);
	sc.bus = b.bus;
	must(svc_open(&resources_def, &sc, &b.svc, NULL) == 0);
	for (int i = 0; i < NODES; i++)
		hello(&b, i, tree);
	(void)direct(&b, 150000);
	/* The same again changes nothing: what it costs is the plan, and a directive's rows. */
	for (int i = 0; i < PLANS; i++)
		took[i] = direct(&b, 150000);
	qsort(took, PLANS, sizeof(took[0]), by_size);
	*ret_plan_ms = (double)took[PLANS / 2] / 1e6;
	for (int i = 0; i < GANGS; i++)
		took[i] = place(&b, i);
	qsort(took, GANGS, sizeof(took[0]), by_size);
	*ret_place_us = (double)took[GANGS / 2] / 1e3;
	svc_close(b.svc);
	bus_close(b.bus);
}

int main(void)
{
	double plan_ms[2], place_us[2];
	run(false, &plan_ms[0], &place_us[0]);
	run(true, &plan_ms[1], &place_us[1]);
	printf("{\"id\":\"POWER-TREE\",\"devices\":%d,\"levels\":%d,\"plan_ms\":%.1f,\"plan_flat_ms\":%.1f,"
		   "\"place_us\":%.1f,\"place_flat_us\":%.1f}\n",
		NODES * NODE_DEVICES, FEEDERS + NODES + 1, plan_ms[1], plan_ms[0], place_us[1], place_us[0]);
	return 0;
}
