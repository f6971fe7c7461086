#include "sim/node.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "sim/node_priv.h"

#define MS_NS INT64_C(1000000)

enum { ARENA_CHUNK = 4096 };

/* ---- names ---- */

static const char *prefix(const struct node *n)
{
	return device_kind_name(n->cls->kind);
}

char *node_device_id(const struct node *n, size_t i, char *dst)
{
	snprintf(dst, 16, n->n_devices > 100 ? "%s%03u" : "%s%u", prefix(n), (unsigned)i);
	return dst;
}

int node_find_device(const struct node *n, const char *id, size_t *ret)
{
	struct str s = str_of(id), head = str_of(prefix(n));
	char same[16];
	uint64_t i;
	if (!str_starts(s, head) || num_parse_u64((struct str){ s.p + head.n, s.n - head.n }, &i) < 0 || i >= n->n_devices)
		return HCP_ENOTFOUND;
	if (strcmp(node_device_id(n, i, same), id))
		return HCP_ENOTFOUND; /* one device has one name */
	*ret = i;
	return 0;
}

Hcp__Mode node_wire_mode(enum device_mode m)
{
	switch (m) {
	case DEVICE_SERVE: return HCP__MODE__SERVE;
	case DEVICE_FILL: return HCP__MODE__FILL;
	case DEVICE_SAFE: return HCP__MODE__SAFE;
	default: return HCP__MODE__OFF;
	}
}

/* ---- life ---- */

static void say_hello(struct node *n)
{
	n->hello_ns = n->now_ns;
	n->hello_wait_ms = NODE_HELLO_MS;
}

static void new_boot(struct node *n)
{
	struct id id = id_new(n->now_ns, &n->rng);
	id_format(n->boot_id, "bt", &id);
	n->seq = 0;
	n->welcomed = false;
	say_hello(n);
	node_meter_clear(n);
}

int node_init(struct node *n, const struct node_conf *conf, struct err *err)
{
	if (!conf->cls || conf->n_devices == 0 || conf->n_devices > NODE_DEVICES_MAX)
		return err_set(err, HCP_EINVAL, "devices", "a node has 1 to %d devices of one class", NODE_DEVICES_MAX);
	*n = (struct node){ .cls = conf->cls, .rules = conf->rules, .n_devices = conf->n_devices,
		.now_ns = conf->start_ns, .report_ms = NODE_REPORT_MS, .phase_ms = conf->phase_ms, .scratch = conf->scratch };
	if (str_copy(n->id, sizeof(n->id), str_of(conf->id)) < 0 ||
		str_copy(n->name, sizeof(n->name), str_of(conf->name)) < 0 ||
		str_copy(n->facility, sizeof(n->facility), str_of(conf->facility)) < 0 ||
		str_copy(n->feed, sizeof(n->feed), str_of(conf->feed ? conf->feed : "")) < 0 ||
		str_copy(n->program, sizeof(n->program), str_of(conf->program ? conf->program : "")) < 0 ||
		str_copy(n->region, sizeof(n->region), str_of(conf->region)) < 0)
		return err_set(err, HCP_EINVAL, "node", "a name is longer than %d bytes", NODE_TEXT_MAX - 1);
	arena_init(&n->arena, ARENA_CHUNK, 0);
	rng_init(&n->rng, conf->seed);
	n->devices = mem_calloc(n->n_devices, sizeof(*n->devices));
	n->allocs = mem_calloc(1, sizeof(*n->allocs));
	if (!n->devices || !n->allocs) {
		node_release(n);
		return err_set(err, HCP_ENOMEM, "", "no memory for a node");
	}
	n->n_allocs = 1;
	n->allocs[0].devices = (uint32_t)n->n_devices;
	inlet_init(&n->inlet, n->cls->kind, n->facility, conf->seed);
	for (size_t i = 0; i < n->n_devices; i++) {
		fleet_device_init(&n->devices[i].d, n->cls, DEVICE_SAFE, conf->start_ns);
		fleet_device_vary(&n->devices[i].d, &n->rng);
	}
	new_boot(n);
	n->next_report_ns = conf->start_ns + conf->phase_ms * MS_NS;
	return 0;
}

void node_release(struct node *n)
{
	node_switch_release(n);
	arena_release(&n->arena);
	for (size_t i = 0; n->devices && i < n->n_devices; i++) {
		mem_free(n->devices[i].parts);
		mem_free(n->devices[i].program);
	}
	mem_free(n->devices);
	mem_free(n->allocs);
	*n = (struct node){ 0 };
}

void node_connected(struct node *n, int64_t now_ns)
{
	n->connected = true;
	say_hello(n);
	/* After a restart the platform counts its leases anew. */
	n->lease_number = 0;
	for (size_t i = 0; i < n->n_devices; i++)
		n->devices[i].order = 0;
	if (n->next_report_ns < now_ns)
		n->next_report_ns = now_ns + n->phase_ms % n->report_ms * MS_NS;
}

void node_lost(struct node *n)
{
	n->connected = false;
}

/* ---- messages in ---- */

static int take_lease(struct node *n, const Hcp__Lease *l, struct err *err)
{
	int64_t ttl_ms = l->ttl_ms;
	if (strcmp(l->node_id, n->id))
		return err_set(err, HCP_EPROTO, "node_id", "a lease for another node");
	if (l->number < n->lease_number)
		return 0; /* an older one, late */
	if (ttl_ms <= 0)
		ttl_ms = (l->until_ns - n->now_ns) / MS_NS;
	if (ttl_ms <= 0)
		return 0;
	if (ttl_ms > NODE_LEASE_MAX_MS)
		ttl_ms = NODE_LEASE_MAX_MS;
	n->lease_number = l->number;
	n->lease_until_ns = n->now_ns + ttl_ms * MS_NS;
	n->power_budget_w = l->power_budget_w;
	n->leased = true;
	node_meter_lease(n);
	return 0;
}

static int take_welcome(struct node *n, const Hcp__Welcome *w, struct err *err)
{
	if (strcmp(w->node_id, n->id))
		return err_set(err, HCP_EPROTO, "node_id", "a welcome for another node");
	if (w->over_boot_id[0]) {
		if (!strcmp(w->over_boot_id, n->boot_id))
			new_boot(n);
		return 0;
	}
	n->hello_ns = INT64_MAX;
	n->welcomed = true;
	if (w->report_ms >= NODE_REPORT_MIN_MS && w->report_ms <= NODE_REPORT_MAX_MS)
		n->report_ms = (uint32_t)w->report_ms;
	return 0;
}

static void pass(struct node *n, int64_t now_ns);

int node_down(struct node *n, const Hcp__AgentDown *down, int64_t now_ns, struct err *err)
{
	pass(n, now_ns);
	switch (down->kind_case) {
	case HCP__AGENT_DOWN__KIND_WELCOME:
		return take_welcome(n, down->welcome, err);
	case HCP__AGENT_DOWN__KIND_LEASE:
		return take_lease(n, down->lease, err);
	case HCP__AGENT_DOWN__KIND_SWITCH_COMMAND:
		return node_switch_command(n, down->switch_command, err);
	default:
		return err_set(err, HCP_EPROTO, "kind", "a message of no known kind");
	}
}

/* ---- time ---- */

static void safe(struct node *n)
{
	for (size_t i = 0; i < n->n_devices; i++) {
		struct node_device *d = &n->devices[i];
		node_program_kill(d);
		if (d->d.gate == DEVICE_SAFE && d->d.mode == DEVICE_SAFE)
			continue;
		/* Every class has this mode. */
		(void)!fleet_device_order(&d->d, &n->rules, &n->rng, DEVICE_SAFE, 0, n->now_ns);
		node_alloc_move(n, d, 0);
		node_parts_keep(n, d, NULL, 0);
	}
}

static void check_lease(struct node *n)
{
	if (n->leased && n->now_ns >= n->lease_until_ns) {
		n->leased = false;
		n->power_budget_w = 0;
		n->lapses++;
		node_switch_drop_all(n, "the lease ended");
	}
	/* Also a device that a repair brought back mining. */
	if (!n->leased)
		safe(n);
}

/* Physics, switches and the lease up to now, in steps that no deadline falls into. */
static void pass(struct node *n, int64_t now_ns)
{
	int64_t gap_ns = now_ns - n->now_ns, step_ns = NODE_STEP_MS * MS_NS;
	if (gap_ns > step_ns * NODE_STEPS_MAX)
		step_ns = gap_ns / NODE_STEPS_MAX;
	while (n->now_ns < now_ns) {
		int64_t next_ns = now_ns - n->now_ns < step_ns ? now_ns : n->now_ns + step_ns;
		int64_t due_ns = node_switch_due_ns(n);
		if (due_ns > n->now_ns && due_ns < next_ns)
			next_ns = due_ns;
		if (n->leased && n->lease_until_ns > n->now_ns && n->lease_until_ns < next_ns)
			next_ns = n->lease_until_ns;
		int64_t dt_ns = next_ns - n->now_ns;
		struct fleet_step step;
		fleet_step_init(&step, &n->rules, inlet_at(&n->inlet, next_ns), next_ns, dt_ns);
		for (size_t i = 0; i < n->n_devices; i++) {
			struct node_device *d = &n->devices[i];
			struct fleet_flow flow = fleet_device_step(&d->d, &step, &n->rng, d->alloc || d->n_parts);
			node_meter_add(n, d, &flow, dt_ns);
		}
		n->now_ns = next_ns;
		check_lease(n);
		node_programs_pass(n);
		node_switch_step(n);
	}
}

/* ---- messages out ---- */

Hcp__DeviceReading *node_reading(struct node *n, size_t i)
{
	const struct node_device *d = &n->devices[i];
	Hcp__DeviceReading *r = arena_alloc(node_arena(n), sizeof(*r) + 16);
	if (!r)
		return NULL;
	hcp__device_reading__init(r);
	r->device_id = node_device_id(n, i, (char *)(r + 1));
	r->mode = node_wire_mode((enum device_mode)d->d.gate);
	r->power_w = (int32_t)lround(d->d.power_mw / 1000.0);
	r->hash_ths = (double)d->d.hash_ths;
	r->temperature_c = (int32_t)lround((double)d->d.sensor_c);
	r->utilisation = d->d.mode == DEVICE_SERVE ? (double)d->d.load : d->d.hash_ths > 0 ? 1 : 0;
	r->requests = d->d.requests;
	r->fan_percent = (int32_t)lround(100 * (double)d->d.duty);
	r->memory_used_mib = (int32_t)lround(1024 * fleet_device_memory_gib(&d->d));
	r->errors = d->d.errors;
	if (node_program_alive(d))
		r->program = d->program->allocation_id;
	if (d->d.fault == FLEET_DEAD)
		r->error = "the device does not answer";
	else if (d->d.tripped)
		r->error = "stopped above its highest temperature";
	return node_parts_show(n, d, r) < 0 ? NULL : r;
}

static void emit_hello(struct node *n, node_emit_fn *emit, void *arg)
{
	Hcp__NodeHello h = HCP__NODE_HELLO__INIT;
	Hcp__AgentUp up = HCP__AGENT_UP__INIT;
	arena_clear(node_arena(n));
	Hcp__AgentDevice *rows = arena_alloc(node_arena(n), n->n_devices * sizeof(*rows));
	char *ids = arena_alloc(node_arena(n), n->n_devices * 16);
	h.devices = arena_alloc(node_arena(n), n->n_devices * sizeof(*h.devices));
	if (!rows || !ids || !h.devices)
		return; /* the next step tries again */
	for (size_t i = 0; i < n->n_devices; i++) {
		hcp__agent_device__init(&rows[i]);
		rows[i].id = node_device_id(n, i, ids + 16 * i);
		rows[i].kind = (Hcp__DeviceKind)n->cls->kind;
		rows[i].device_class = n->cls->name;
		rows[i].memory_gib = (int32_t)n->cls->memory_gib;
		rows[i].mode = node_wire_mode((enum device_mode)n->devices[i].d.gate);
		rows[i].name = n->cls->product;
		h.devices[i] = &rows[i];
	}
	h.n_devices = n->n_devices;
	const char *programs[] = { n->program };
	h.programs = programs;
	h.n_programs = n->program[0] ? 1 : 0;
	h.node_id = n->id;
	h.name = n->name;
	h.facility = n->facility;
	h.feed = n->feed;
	h.region = n->region;
	h.agent_version = "hcp-sim";
	h.boot_id = n->boot_id;
	h.reports = n->seq;
	h.at_ns = n->now_ns;
	up.kind_case = HCP__AGENT_UP__KIND_HELLO;
	up.hello = &h;
	n->hello_ns = n->now_ns + n->hello_wait_ms * MS_NS;
	n->hello_wait_ms = n->hello_wait_ms * 2 < NODE_HELLO_MAX_MS ? n->hello_wait_ms * 2 : NODE_HELLO_MAX_MS;
	emit(arg, &up);
}

/* The same readings for telemetry, which keeps an hour of them. */
static void emit_samples(struct node *n, const Hcp__NodeReport *r, node_emit_fn *emit, void *arg)
{
	Hcp__Samples s = HCP__SAMPLES__INIT;
	Hcp__AgentUp up = HCP__AGENT_UP__INIT;
	s.node_id = n->id;
	s.at_ns = r->at_ns;
	s.n_readings = r->n_readings;
	s.readings = r->readings;
	up.kind_case = HCP__AGENT_UP__KIND_SAMPLES;
	up.samples = &s;
	emit(arg, &up);
}

static void emit_report(struct node *n, node_emit_fn *emit, void *arg)
{
	Hcp__NodeReport r = HCP__NODE_REPORT__INIT;
	Hcp__AgentUp up = HCP__AGENT_UP__INIT;
	arena_clear(node_arena(n));
	r.readings = arena_alloc(node_arena(n), n->n_devices * sizeof(*r.readings));
	if (!r.readings || node_meter_report(n, &r) < 0)
		return;
	for (size_t i = 0; i < n->n_devices; i++) {
		Hcp__DeviceReading *reading = node_reading(n, i);
		if (!reading)
			return;
		r.readings[r.n_readings++] = reading;
	}
	r.node_id = n->id;
	r.boot_id = n->boot_id;
	r.at_ns = n->now_ns;
	r.inlet_k = 273.15 + (double)inlet_at(&n->inlet, n->now_ns);
	r.seq = ++n->seq;
	up.kind_case = HCP__AGENT_UP__KIND_REPORT;
	up.report = &r;
	emit(arg, &up);
	if (n->seq % NODE_SAMPLES_EVERY == 0)
		emit_samples(n, &r, emit, arg);
}

void node_step(struct node *n, int64_t now_ns, node_emit_fn *emit, void *arg)
{
	pass(n, now_ns);
	if (!n->connected)
		return;
	if (n->now_ns >= n->hello_ns)
		emit_hello(n, emit, arg);
	if (n->welcomed)
		node_programs_emit(n, n->now_ns >= n->next_report_ns, emit, arg);
	node_switch_emit(n, emit, arg);
	if (n->now_ns < n->next_report_ns)
		return;
	if (n->welcomed)
		emit_report(n, emit, arg);
	n->next_report_ns += n->report_ms * MS_NS;
	if (n->next_report_ns <= n->now_ns)
		n->next_report_ns = n->now_ns + n->report_ms * MS_NS;
	/* The platform keeps every key of a boot; a node that has used up many starts a new one. */
	if (n->keys >= NODE_REBOOT_KEYS)
		new_boot(n);
}

int64_t node_due_ns(const struct node *n)
{
	int64_t due_ns = node_switch_due_ns(n), program_ns = node_programs_due_ns(n);
	due_ns = program_ns < due_ns ? program_ns : due_ns;
	if (n->connected && n->next_report_ns < due_ns)
		due_ns = n->next_report_ns;
	if (n->connected && n->hello_ns < due_ns)
		due_ns = n->hello_ns;
	if (n->leased && n->lease_until_ns < due_ns)
		due_ns = n->lease_until_ns;
	/* Alone, physics still goes on. */
	int64_t idle_ns = n->now_ns + n->report_ms * MS_NS;
	return due_ns < idle_ns ? due_ns : idle_ns;
}

int64_t node_power_w(const struct node *n)
{
	int64_t sum_mw = 0;
	for (size_t i = 0; i < n->n_devices; i++)
		sum_mw += n->devices[i].d.power_mw;
	return sum_mw / 1000;
}
