#include <string.h>
#include <unistd.h>

#include "agent/agent_priv.h"
#include "agent/endpoint.h"
#include "agent/link.h"
#include "agent/slot.h"
#include "base/arena.h"
#include "base/log.h"
#include "device/cpu_device.h"
#include "os/clock.h"

_Static_assert((int)GATE_SERVE == (int)HCP__MODE__SERVE && (int)GATE_FILL == (int)HCP__MODE__FILL &&
	(int)GATE_OFF == (int)HCP__MODE__OFF && (int)GATE_SAFE == (int)HCP__MODE__SAFE, "the gate's states are the modes");

static int64_t wall(const struct agent *a)
{
	return clock_wall_ns() + a->clock_offset_ns;
}

static void send_up(struct agent *a, const Hcp__AgentUp *m)
{
	int rc = a->link ? link_send(a->link, m) : 0;
	if (rc < 0 && rc != HCP_EUNAVAIL)
		log_warn("link", "a message was not sent: %s", err_name(rc));
}

static Hcp__DeviceReading reading(struct agent *a)
{
	struct cpu_device_stats s;
	cpu_device_stats(a->device, &s);
	Hcp__DeviceReading r = HCP__DEVICE_READING__INIT;
	r.device_id = AGENT_DEVICE_ID;
	r.mode = (Hcp__Mode)gate_get(a->control.gate);
	r.power_w = (int32_t)(a->control.power.power_w + 0.5);
	/* With the gate shut and the last filler out nothing is hashed, whatever an average may still say. */
	bool hashes = gate_get(a->control.gate) == GATE_FILL || atomic_load(&a->control.gate->active);
	r.hash_ths = hashes ? s.hash_ps / 1e12 : 0;
	r.temperature_c = cpu_power_temperature_c(&a->control.power);
	r.utilisation = a->control.power.busy;
	r.error = agent_trouble(a);
	r.requests = (int64_t)(a->control.requests - a->control.failures);
	if (program_alive(a->program)) {
		program_status(a->program, &a->program_is);
		r.program = a->program_is.allocation_id;
	}
	return r;
}

void report_hello(struct agent *a)
{
	Hcp__AgentDevice d = HCP__AGENT_DEVICE__INIT;
	d.id = AGENT_DEVICE_ID;
	d.kind = HCP__DEVICE_KIND__CPU;
	d.device_class = a->class_name;
	d.memory_gib = (int32_t)((double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (1 << 30) + 0.5);
	d.mode = (Hcp__Mode)gate_get(a->control.gate);
	d.name = a->device_name;
	Hcp__AgentDevice *devices[] = { &d };
	const char *programs[PROGRAM_NODE_MAX];
	size_t n_programs = a->program ? a->conf.programs->n : 0;
	for (size_t i = 0; i < n_programs; i++)
		programs[i] = a->conf.programs->row[i].name;
	const char *models[] = { a->model };
	Hcp__NodeHello h = HCP__NODE_HELLO__INIT;
	h.node_id = a->node_id;
	h.name = a->name;
	h.facility = a->conf.facility;
	h.feed = a->conf.feed ? a->conf.feed : "";
	h.region = a->conf.region;
	h.endpoint = a->slot ? a->endpoint_url : "";
	h.models = models;
	h.n_models = a->slot ? 1 : 0;
	h.devices = devices;
	h.n_devices = 1;
	h.programs = programs;
	h.n_programs = n_programs;
	h.agent_version = a->conf.version;
	h.boot_id = a->boot_id;
	h.reports = a->seq;
	h.at_ns = wall(a);
	Hcp__AgentUp up = HCP__AGENT_UP__INIT;
	up.kind_case = HCP__AGENT_UP__KIND_HELLO;
	up.hello = &h;
	send_up(a, &up);
}

/* Rows in which nothing has happened are left out. */
static size_t fill_meters(struct agent *a, Hcp__Meter *meters, Hcp__Meter **at)
{
	size_t n = 0;
	for (size_t i = 0; i < a->control.meter.n_rows; i++) {
		const struct meter_row *r = &a->control.meter.rows[i];
		if (!r->device_ns && !r->requests && r->hashes <= 0 && !r->shares_accepted && !r->shares_rejected)
			continue;
		hcp__meter__init(&meters[n]);
		meters[n].device_class = a->class_name;
		meters[n].activity = meter_activity_name(r->activity);
		meters[n].allocation_id = r->allocation_id;
		meters[n].energy_j = (int64_t)r->energy_j;
		meters[n].device_ns = r->device_ns;
		meters[n].hashes = r->hashes;
		meters[n].requests = r->requests;
		meters[n].tokens = r->tokens;
		meters[n].shares_accepted = r->shares_accepted;
		meters[n].shares_rejected = r->shares_rejected;
		at[n] = &meters[n];
		n++;
	}
	return n;
}

void report_node(struct agent *a)
{
	control_book(&a->control);
	if (!link_is_up(a->link) || !a->welcomed)
		return;
	struct arena arena;
	arena_init(&arena, 16384, 0);
	size_t rows = a->control.meter.n_rows;
	Hcp__Meter *meters = arena_alloc(&arena, rows * sizeof(*meters));
	Hcp__Meter **at = arena_alloc(&arena, rows * sizeof(*at));
	if (meters && at) {
		Hcp__DeviceReading r = reading(a), *readings[] = { &r };
		Hcp__NodeReport m = HCP__NODE_REPORT__INIT;
		m.node_id = a->node_id;
		m.boot_id = a->boot_id;
		m.at_ns = wall(a);
		m.readings = readings;
		m.n_readings = 1;
		m.n_meters = fill_meters(a, meters, at);
		m.meters = at;
		m.seq = ++a->seq;
		Hcp__AgentUp up = HCP__AGENT_UP__INIT;
		up.kind_case = HCP__AGENT_UP__KIND_REPORT;
		up.report = &m;
		send_up(a, &up);
	}
	arena_release(&arena);
}

void report_samples(struct agent *a)
{
	Hcp__DeviceReading r = reading(a), *readings[] = { &r };
	Hcp__Samples m = HCP__SAMPLES__INIT;
	m.node_id = a->node_id;
	m.at_ns = wall(a);
	m.readings = readings;
	m.n_readings = 1;
	Hcp__AgentUp up = HCP__AGENT_UP__INIT;
	up.kind_case = HCP__AGENT_UP__KIND_SAMPLES;
	up.samples = &m;
	send_up(a, &up);
}

void report_switch(struct agent *a, const struct switcher_result *s)
{
	control_book(&a->control);
	Hcp__PhaseTime times[PHASE_END], *phases[PHASE_END];
	size_t n = 0;
	for (int i = 0; i < PHASE_END; i++) {
		if (!s->phase_ns[i])
			continue;
		hcp__phase_time__init(&times[n]);
		times[n].phase = switcher_phase_name((enum switcher_phase)i);
		times[n].duration_ns = s->phase_ns[i];
		phases[n] = &times[n];
		n++;
	}
	Hcp__DeviceReading r = reading(a), *readings[] = { &r };
	const char *failed[] = { AGENT_DEVICE_ID };
	Hcp__SwitchReport m = HCP__SWITCH_REPORT__INIT;
	m.switch_id = s->id;
	m.node_id = a->node_id;
	m.ok = s->ok;
	m.error = s->error;
	m.rolled_back = s->rolled_back;
	m.phases = phases;
	m.n_phases = n;
	m.readings = readings;
	m.n_readings = 1;
	m.failed_device_ids = failed;
	m.n_failed_device_ids = s->ok ? 0 : 1;
	m.evidence = s->evidence;
	m.served_at_ns = s->served_at_ns;
	m.at_ns = wall(a);
	Hcp__AgentUp up = HCP__AGENT_UP__INIT;
	up.kind_case = HCP__AGENT_UP__KIND_SWITCH_REPORT;
	up.switch_report = &m;
	send_up(a, &up);
	/* The proof follows at once: the control plane believes readings, not this report. */
	report_node(a);
}

void report_model(struct agent *a)
{
	char names[SLOT_HELD_MAX][SLOT_VERSION_MAX];
	const char *held[SLOT_HELD_MAX];
	struct keeper_stats k;
	if (!a->slot || !link_is_up(a->link) || !a->welcomed)
		return;
	Hcp__ModelReport m = HCP__MODEL_REPORT__INIT;
	keeper_stats(slot_keeper(a->slot), &k);
	m.n_held = slot_held(a->slot, names);
	for (size_t i = 0; i < m.n_held; i++)
		held[i] = names[i];
	m.held = held;
	m.node_id = a->node_id;
	m.model = a->model;
	m.version = slot_version(a->slot);
	m.digest = k.digest;
	m.order = a->model_order;
	m.state = slot_changing(a->slot) ? "changing" : a->model_error[0] ? "failed" : "serving";
	m.error = a->model_error;
	m.at_ns = wall(a);
	Hcp__AgentUp up = HCP__AGENT_UP__INIT;
	up.kind_case = HCP__AGENT_UP__KIND_MODEL_REPORT;
	up.model_report = &m;
	send_up(a, &up);
}

static Hcp__ProgramState wire_state(const struct program_status *is)
{
	switch (is->state) {
	case PROGRAM_DONE:
		return HCP__PROGRAM_STATE__PROGRAM_DONE;
	case PROGRAM_STOPPED:
		return HCP__PROGRAM_STATE__PROGRAM_STOPPED;
	case PROGRAM_FAILED:
		return HCP__PROGRAM_STATE__PROGRAM_FAILED;
	default:
		return HCP__PROGRAM_STATE__PROGRAM_RUNNING;
	}
}

void report_program(struct agent *a)
{
	struct program_status is;
	if (!a->program || !link_is_up(a->link) || !a->welcomed)
		return;
	program_status(a->program, &is);
	/* A failed start is the switch report's to tell. */
	if (is.state == PROGRAM_NONE || is.state == PROGRAM_STARTING)
		return;
	Hcp__ProgramReport m = HCP__PROGRAM_REPORT__INIT;
	Hcp__Checkpoint saved = HCP__CHECKPOINT__INIT;
	saved.name = is.checkpoint.name;
	saved.digest = is.checkpoint.digest;
	saved.step = is.checkpoint.step;
	saved.of = is.checkpoint.of;
	saved.bytes = is.checkpoint.bytes;
	m.node_id = a->node_id;
	m.device_id = AGENT_DEVICE_ID;
	m.allocation_id = is.allocation_id;
	m.workload_id = is.workload_id;
	m.state = wire_state(&is);
	m.step = is.step;
	m.of = is.of;
	m.checkpoint = is.checkpoint.name[0] ? &saved : NULL;
	m.error = is.error;
	Hcp__AgentUp up = HCP__AGENT_UP__INIT;
	up.kind_case = HCP__AGENT_UP__KIND_PROGRAM_REPORT;
	up.program_report = &m;
	send_up(a, &up);
}

void report_local(struct agent *a, enum gate_state to, int64_t duration_ns, const char *cause)
{
	Hcp__LocalSwitch m = HCP__LOCAL_SWITCH__INIT;
	m.node_id = a->node_id;
	m.device_id = AGENT_DEVICE_ID;
	m.to = (Hcp__Mode)to;
	m.at_ns = wall(a);
	m.duration_ns = duration_ns;
	m.cause = cause;
	Hcp__AgentUp up = HCP__AGENT_UP__INIT;
	up.kind_case = HCP__AGENT_UP__KIND_LOCAL_SWITCH;
	up.local_switch = &m;
	send_up(a, &up);
}
