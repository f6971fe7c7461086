/*
 * What a job costs resources: placed, its switch reported and proved, later released and its device back; and what a
 * node's report costs. 5,000 nodes of eight GPUs, so many messages at a time, every commit durable. Processor time of
 * the service's thread alone. Prints one JSON line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/num.h"
#include "base/panic.h"
#include "model/device_class.h"
#include "services/resources/resources.h"

enum { NODES = 5000, NODE_DEVICES = 8, AT_ONCE = 100, ROUNDS = 200, LIVE_ROUNDS = 20, REPORTS = 100 };

struct order {
	char switch_id[ID_TEXT_MAX], node[32], device[16], allocation[ID_TEXT_MAX];
	Hcp__Mode to;
};

struct bench {
	struct svc *svc;
	struct bus *bus;
	int64_t now_ns;
	uint64_t seq[SVC_COUNT];
	struct order order[AT_ONCE * 2];
	size_t n_orders;
	int64_t energy_j[NODES];
	uint64_t reports[NODES];
	Hcp__Mode mode[NODES][NODE_DEVICES]; /* what they were told last */
	int64_t requests;
};

static int64_t cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void on_down(void *arg, const char *node_id, struct str bytes)
{
	struct bench *b = arg;
	struct arena a;
	arena_init(&a, 4096, 0);
	const Hcp__AgentDown *d = (void *)pb_unpack_arena(&hcp__agent_down__descriptor, bytes, &a);
	must(d);
	if (d->kind_case == HCP__AGENT_DOWN__KIND_SWITCH_COMMAND) {
		const Hcp__SwitchCommand *c = d->switch_command;
		must(c->n_items == 1 && b->n_orders < AT_ONCE * 2);
		struct order *o = &b->order[b->n_orders++];
		snprintf(o->switch_id, sizeof(o->switch_id), "%s", c->switch_id);
		snprintf(o->node, sizeof(o->node), "%s", node_id);
		snprintf(o->device, sizeof(o->device), "%s", c->items[0]->device_id);
		snprintf(o->allocation, sizeof(o->allocation), "%s", c->items[0]->allocation_id);
		o->to = c->items[0]->to;
	}
	arena_release(&a);
}

/* Processor time until it is at rest. */
static int64_t settle(struct bench *b)
{
	int64_t from_ns = cpu_ns();
	for (int i = 0; i < 64; i++) {
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
	must(msg_keep(m, buf_str(&bytes)) == 0);
	buf_release(&bytes);
	return m;
}

static void publish(struct bench *b, int sender, unsigned type, const ProtobufCMessage *body)
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
}

static void hello(struct bench *b, int node)
{
	Hcp__AgentDevice dev[NODE_DEVICES], *devs[NODE_DEVICES];
	char id[NODE_DEVICES][16], name[32];
	Hcp__NodeHello h = HCP__NODE_HELLO__INIT;
	snprintf(name, sizeof(name), "gpu-node-%05d", node);
	h.node_id = h.name = h.boot_id = name;
	h.facility = "east";
	h.devices = devs;
	h.n_devices = NODE_DEVICES;
	for (int i = 0; i < NODE_DEVICES; i++) {
		hcp__agent_device__init(&dev[i]);
		snprintf(id[i], sizeof(id[i]), "gpu%d", i);
		dev[i].id = id[i];
		dev[i].device_class = "H100";
		dev[i].kind = HCP__DEVICE_KIND__GPU;
		dev[i].mode = HCP__MODE__OFF;
		devs[i] = &dev[i];
	}
	svc_post(b->svc, message(MSG_NODE_HELLO, &h.base));
}

static void fill_reading(struct bench *b, Hcp__DeviceReading *x, const char *device, Hcp__Mode mode)
{
	const struct device_class *c = device_class_find(STR("H100"));
	hcp__device_reading__init(x);
	x->device_id = device;
	x->mode = mode;
	x->power_w = (int32_t)c->power_w[mode == HCP__MODE__SERVE ? DEVICE_SERVE : DEVICE_IDLE];
	x->temperature_c = 55;
	x->utilisation = 0.5;
	x->requests = ++b->requests;
}

/* Every order is reported as done, with the reading that proves it. */
static void report_orders(struct bench *b)
{
	static const char *const phase[] = { "pause", "save", "switch", "activate", "verify" };
	for (size_t i = 0; i < b->n_orders; i++) {
		const struct order *o = &b->order[i];
		Hcp__SwitchReport r = HCP__SWITCH_REPORT__INIT;
		Hcp__DeviceReading x, *xs[] = { &x };
		Hcp__PhaseTime ph[5], *phs[5];
		for (int k = 0; k < 5; k++) {
			hcp__phase_time__init(&ph[k]);
			ph[k].phase = phase[k];
			ph[k].duration_ns = 1234567 * (k + 1);
			phs[k] = &ph[k];
		}
		uint64_t node = 0;
		must(num_parse_u64(str_of(o->node + strlen("gpu-node-")), &node) == 0 && node < NODES);
		b->mode[node][o->device[3] - '0'] = o->to;
		fill_reading(b, &x, o->device, o->to);
		r.switch_id = o->switch_id;
		r.node_id = o->node;
		r.ok = true;
		r.phases = phs;
		r.n_phases = 5;
		r.readings = xs;
		r.n_readings = 1;
		r.evidence = o->to == HCP__MODE__SERVE ? "served_request" : "watts";
		r.at_ns = b->now_ns;
		svc_post(b->svc, message(MSG_SWITCH_REPORT, &r.base));
	}
	b->n_orders = 0;
	b->now_ns += 20 * NS_PER_MS;
}

static void place(struct bench *b, int n)
{
	Hcp__Place p = HCP__PLACE__INIT;
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	char id[ID_TEXT_MAX], wl[ID_TEXT_MAX], device[32];
	snprintf(id, sizeof(id), "al-019f00007000%014x", n);
	snprintf(wl, sizeof(wl), "wl-019f00007000%014x", n);
	snprintf(device, sizeof(device), "gpu-node-%05d/gpu%d", n % NODES, n / NODES % NODE_DEVICES);
	const char *devs[] = { device };
	w.id = wl;
	w.customer_id = "cus-019f0000700080000000000001";
	w.type = HCP__WORKLOAD_TYPE__AI_INFERENCE_REALTIME;
	w.model = "llama-3-70b";
	w.device_class = "H100";
	p.allocation_id = id;
	p.workload = &w;
	p.device_ids = devs;
	p.n_device_ids = 1;
	publish(b, SVC_ROUTER, MSG_PLACE, &p.base);
}

static void let_go(struct bench *b, int n)
{
	Hcp__Release r = HCP__RELEASE__INIT;
	char id[ID_TEXT_MAX];
	snprintf(id, sizeof(id), "al-019f00007000%014x", n);
	r.allocation_id = id;
	r.reason = "completed";
	publish(b, SVC_ROUTER, MSG_RELEASE, &r.base);
}

/* Jobs lie on nodes in turn, so a node has eight of them at most, and mostly the same counters as before. */
static void report(struct bench *b, int node)
{
	Hcp__NodeReport r = HCP__NODE_REPORT__INIT;
	Hcp__DeviceReading x[NODE_DEVICES], *xs[NODE_DEVICES];
	Hcp__Meter m[2], *ms[] = { &m[0], &m[1] };
	char name[32], id[NODE_DEVICES][16];
	snprintf(name, sizeof(name), "gpu-node-%05d", node);
	b->energy_j[node] += 1000;
	for (int i = 0; i < NODE_DEVICES; i++) {
		snprintf(id[i], sizeof(id[i]), "gpu%d", i);
		fill_reading(b, &x[i], id[i], b->mode[node][i] ? b->mode[node][i] : HCP__MODE__OFF);
		xs[i] = &x[i];
	}
	for (int i = 0; i < 2; i++) {
		hcp__meter__init(&m[i]);
		m[i].device_class = "H100";
		m[i].activity = i ? "fill" : "off";
		m[i].energy_j = b->energy_j[node];
		m[i].device_ns = b->energy_j[node] * 1000000;
	}
	r.node_id = r.boot_id = name;
	r.at_ns = b->now_ns;
	r.readings = xs;
	r.n_readings = NODE_DEVICES;
	r.meters = ms;
	r.n_meters = 2;
	r.seq = ++b->reports[node];
	svc_post(b->svc, message(MSG_NODE_REPORT, &r.base));
}

int main(void)
{
	static struct bench b = { .now_ns = 1000 * NS_PER_S };
	char dir[] = "/tmp/hcp-bench-XXXXXX", path[64], file[96];
	int64_t place_ns = 0, run_ns = 0, end_ns = 0, report_ns = 0;
	must(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/resources.db", dir);
	static const struct resources_conf conf = { .reports_per_s = 1000000 };
	struct svc_conf sc = { .db_path = path, .durable = true, .seed = 7, .conf = &conf, .send_agent = on_down,
		.send_arg = &b, .now_ns = b.now_ns };
	must(bus_open(&(struct bus_conf){ 0 }, &b.bus, NULL) == 0);
	sc.bus = b.bus;
	must(svc_open(&resources_def, &sc, &b.svc, NULL) == 0);
	for (int i = 0; i < NODES; i++) {
		hello(&b, i);
		(void)settle(&b);
	}
	for (int round = 0; round < ROUNDS; round++) {
		int first = round * AT_ONCE, gone = first - LIVE_ROUNDS * AT_ONCE;
		for (int i = 0; i < AT_ONCE; i++)
			place(&b, first + i);
		place_ns += settle(&b);
		must(b.n_orders == AT_ONCE);
		report_orders(&b);
		run_ns += settle(&b);
		if (gone < 0)
			continue;
		for (int i = 0; i < AT_ONCE; i++)
			let_go(&b, gone + i);
		end_ns += settle(&b);
		must(b.n_orders == AT_ONCE);
		report_orders(&b);
		end_ns += settle(&b);
		/* Of nodes that have no job now, of which there are most. */
		for (int i = 0; i < REPORTS; i++)
			report(&b, (first + NODES / 2 + i) % NODES);
		report_ns += settle(&b);
	}
	double jobs = (double)ROUNDS * AT_ONCE, ended = (double)(ROUNDS - LIVE_ROUNDS) * AT_ONCE;
	printf("{\"id\":\"JOB-COST\",\"devices\":%d,\"jobs\":%.0f,\"place_us\":%.1f,\"run_us\":%.1f,\"end_us\":%.1f,"
		"\"report_us\":%.1f}\n", NODES * NODE_DEVICES, jobs, (double)place_ns / jobs / 1e3, (double)run_ns / jobs / 1e3,
		(double)end_ns / ended / 1e3, (double)report_ns / ended / 1e3);
	svc_close(b.svc);
	bus_close(b.bus);
	static const char *const end[] = { "", "-wal", "-shm" };
	for (size_t i = 0; i < sizeof(end) / sizeof(end[0]); i++) {
		snprintf(file, sizeof(file), "%s%s", path, end[i]);
		(void)unlink(file);
	}
	return rmdir(dir) == 0 ? 0 : 1;
}
