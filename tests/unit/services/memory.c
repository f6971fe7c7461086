/*
 * What a device costs the services that know each, in counted allocations and not in resident pages: the slope between
 * two fleets, so that what a service holds anyway does not count. Who makes one of them larger changes the budget here,
 * and says why in the commit.
 */
#include "drive_priv.h"
#include "resources_rig.h"
#include "services/router/router.h"
#include "services/telemetry/telemetry.h"

/* The larger fleet is just past a doubling of the maps: their worst case. */
enum { A_NODE = 250, NODES = 16, MORE_NODES = 32 };

/* Bytes a device, at 250 a node, the nodes' own included. */
enum {
	BUDGET_RESOURCES = 830, /* 240 device, 412 charts and window, 64 texts, 49 map, 24 lists, 20 meters, node */
	BUDGET_ROUTER = 220,    /* 104 device with its id, 49 map, 45 placement, lists */
	BUDGET_TELEMETRY = 760, /* 488 an hour of minutes, 128 device with its id, 49 map, 46 series of the node */
};

static void node_id(char *dst, size_t n, int node)
{
	snprintf(dst, n, "texas-north-s21-%03d", node);
}

static int64_t svc_bytes(struct svc *svc)
{
	mem_watch(1);
	svc_close(svc);
	int64_t bytes = -mem_watched().bytes;
	mem_watch(0);
	return bytes;
}

static void announce(struct drive *d, int node)
{
	static Hcp__Device rows[A_NODE];
	static char ids[A_NODE][64];
	Hcp__DevicesChanged ev = HCP__DEVICES_CHANGED__INIT;
	Hcp__Device *p[A_NODE];
	char name[32];
	node_id(name, sizeof(name), node);
	for (int i = 0; i < A_NODE; i++) {
		hcp__device__init(p[i] = &rows[i]);
		snprintf(ids[i], sizeof(ids[i]), "%s/asic%03d", name, i);
		rows[i].id = ids[i];
		rows[i].node_id = name;
		rows[i].device_class = "S21";
		rows[i].facility = "texas-north";
		rows[i].region = "texas";
	}
	ev.node_id = name;
	ev.devices = p;
	ev.n_devices = A_NODE;
	drive_event(d, SVC_RESOURCES, &ev.base);
}

static void samples(struct drive *d, int node)
{
	static Hcp__DeviceReading rows[A_NODE];
	static char ids[A_NODE][16];
	Hcp__Samples s = HCP__SAMPLES__INIT;
	Hcp__DeviceReading *p[A_NODE];
	char name[32];
	node_id(name, sizeof(name), node);
	for (int i = 0; i < A_NODE; i++) {
		hcp__device_reading__init(p[i] = &rows[i]);
		snprintf(ids[i], sizeof(ids[i]), "asic%03d", i);
		rows[i].device_id = ids[i];
		rows[i].power_w = 3500;
		rows[i].hash_ths = 200;
	}
	s.node_id = name;
	s.readings = p;
	s.n_readings = A_NODE;
	drive_call(d, &s.base);
}

static int64_t telemetry_bytes(int nodes)
{
	struct drive d;
	drive_init(&d, &telemetry_def, NULL);
	for (int i = 0; i < nodes; i++) {
		announce(&d, i);
		samples(&d, i);
	}
	drive_pass(&d, 5 * NS_PER_S);
	int64_t bytes = svc_bytes(d.svc);
	d.svc = NULL;
	drive_release(&d);
	return bytes;
}

static int64_t router_bytes(int nodes)
{
	struct drive d;
	drive_init(&d, &router_def, NULL);
	for (int i = 0; i < nodes; i++)
		announce(&d, i);
	int64_t bytes = svc_bytes(d.svc);
	d.svc = NULL;
	drive_release(&d);
	return bytes;
}

static int64_t resources_bytes(int nodes)
{
	struct rig *g = rig_new(NULL, NULL);
	for (int i = 0; i < nodes; i++) {
		char id[32];
		node_id(id, sizeof(id), i);
		hello(g, agent_add(g, id, "S21", A_NODE, "texas-north"));
	}
	run_s(g, 2);
	forget(g);
	int64_t bytes = svc_bytes(g->svc);
	g->svc = NULL;
	rig_free(g);
	return bytes;
}

static int a_device(int64_t (*bytes)(int nodes), const char *name)
{
	int64_t few = bytes(NODES), many = bytes(MORE_NODES);
	int each = (int)((many - few) / ((MORE_NODES - NODES) * A_NODE));
	print_message("%s: %d bytes a device\n", name, each);
	return each;
}

static void a_device_costs_resources_what_it_may(void **state)
{
	assert_in_range(a_device(resources_bytes, "resources"), 1, BUDGET_RESOURCES);
}

static void a_device_costs_router_what_it_may(void **state)
{
	assert_in_range(a_device(router_bytes, "router"), 1, BUDGET_ROUTER);
}

static void a_device_costs_telemetry_what_it_may(void **state)
{
	assert_in_range(a_device(telemetry_bytes, "telemetry"), 1, BUDGET_TELEMETRY);
}

/* Each device that left a command under way wrote the whole command again: 23 MB for one directive to 512. */
static void wishes_that_change_need_memory_by_the_device(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	struct agent *a = agent_add(g, "n1", "S21", MAX_AGENT_DEVICES, "east");
	hello(g, a);
	run_s(g, 2);
	direct(g, "east", "S21", 0, MAX_AGENT_DEVICES, 0);
	lose_commands(g);
	forget(g);
	mem_watch(1);
	direct(g, "east", "S21", 0, 1, MAX_AGENT_DEVICES - 1);
	int64_t peak = mem_watched().peak;
	mem_watch(0);
	assert_in_range(peak, 1, 1 << 20);
	run_s(g, 20);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 1);
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_costs_resources_what_it_may),
		cmocka_unit_test(a_device_costs_router_what_it_may),
		cmocka_unit_test(a_device_costs_telemetry_what_it_may),
		cmocka_unit_test(wishes_that_change_need_memory_by_the_device),
	};
	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
