#include "agent/control.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/panic.h"
#include "device/cpu_device.h"
#include "model/device_class.h"
#include "os/clock.h"
#include "os/priority.h"

static struct meter_totals totals(struct control *c)
{
	struct cpu_device_stats s;
	cpu_device_stats(c->conf.device, &s);
	int64_t now_ns = loop_now_ns(c->conf.loop);
	double runtime_s = c->conf.runtime_cpu_s ? c->conf.runtime_cpu_s(c->conf.arg) : 0;
	cpu_power_update(&c->power, now_ns, (double)clock_cpu_ns(0) / 1e9 + runtime_s);
	return (struct meter_totals){ .now_ns = now_ns, .energy_j = c->power.energy_j, .hashes = s.hashes };
}

bool control_has_lease(const struct control *c)
{
	return lease_holds(&c->lease, loop_now_ns(c->conf.loop));
}

static enum gate_state wanted(const struct control *c)
{
	if (!control_has_lease(c))
		return GATE_SAFE;
	if (c->pausing) {
		/* What is being answered is answered; nothing new comes in (control_request_begin). */
		bool draining = c->inflight > 0 && (c->local || c->commanded == GATE_SERVE);
		return c->pausing_to == GATE_SERVE || draining ? GATE_SERVE : GATE_OFF;
	}
	if (c->commanded == GATE_FILL && c->local)
		return GATE_SERVE;
	if (c->commanded == GATE_FILL && !c->lease.may_fill)
		return GATE_OFF;
	return c->commanded;
}

/* Threads that a budget leaves room for: watts beyond idle, divided by what one busy core adds. */
static void apply_budget(struct control *c)
{
	int64_t budget_w = c->lease.power_budget_w;
	if (c->power_cap_w > 0 && (budget_w == 0 || c->power_cap_w < budget_w))
		budget_w = c->power_cap_w;
	unsigned threads = cpu_device_threads(c->conf.device);
	if (budget_w > 0) {
		const struct device_class *row = c->conf.row;
		double scale = (double)c->conf.cores / row->cpu_cores;
		double idle_w = row->power_w[DEVICE_IDLE] * scale;
		double core_w = (row->power_w[DEVICE_FILL] * scale - idle_w) / c->conf.cores;
		double room = ((double)budget_w - idle_w) / core_w;
		threads = room <= 0 ? 0 : room < threads ? (unsigned)room : threads;
	}
	cpu_device_limit(c->conf.device, threads);
}

static void keep_awake(struct control *c)
{
	bool hold = c->pausing || c->local;
	if (hold != c->awake)
		priority_awake(c->awake_fd, hold);
	c->awake = hold;
}

/* The one place where the gate is set. */
static void apply(struct control *c)
{
	enum gate_state from = gate_get(c->gate), to = wanted(c);
	keep_awake(c);
	if (from == to)
		return;
	gate_set(c->gate, to);
	cpu_device_turn(c->conf.device);
	enum meter_activity a = to == GATE_SERVE ? METER_SERVE : to == GATE_FILL ? METER_FILL : METER_OFF;
	struct meter_totals t = totals(c);
	meter_turn(&c->meter, &t, a, a == METER_OFF ? "" : c->allocation_id);
	if (from == GATE_FILL)
		control_on_idle(c);
}

void control_on_idle(struct control *c)
{
	int64_t yield_ns = -1;
	if (!gate_collect(c->gate, &yield_ns))
		return;
	if (c->local_pending) {
		c->local_pending = false;
		if (c->conf.on_local)
			c->conf.on_local(c->conf.arg, GATE_SERVE, yield_ns < 0 ? 0 : yield_ns, "request");
	}
	if (c->conf.on_quiet)
		c->conf.on_quiet(c->conf.arg);
}

/* Nobody has asked for linger_ms: back to filling. */
static void on_linger(struct loop *loop, void *arg)
{
	struct control *c = arg;
	if (!c->local || c->inflight)
		return;
	int64_t begun_ns = loop_now_ns(loop);
	if (c->local_pending && c->conf.on_local) /* a filler got no processor all the while, so it never said goodbye */
		c->conf.on_local(c->conf.arg, GATE_SERVE, begun_ns - c->local_begun_ns, "request");
	c->local = c->local_pending = false;
	apply(c);
	if (gate_get(c->gate) == GATE_FILL && c->conf.on_local)
		c->conf.on_local(c->conf.arg, GATE_FILL, loop_now_ns(loop) - begun_ns, "idle");
}

static void arm_lease_end(struct control *c)
{
	int64_t left_ms = lease_left_ms(&c->lease, loop_now_ns(c->conf.loop));
	if (left_ms > 0 && left_ms != INT64_MAX)
		loop_timer_start(&c->lease_end, (uint64_t)left_ms);
}

static void on_lease_end(struct loop *loop, void *arg)
{
	struct control *c = arg;
	if (control_has_lease(c)) {
		arm_lease_end(c);
		return;
	}
	c->local = c->local_pending = false;
	apply(c);
	if (c->conf.on_local)
		c->conf.on_local(c->conf.arg, GATE_SAFE, 0, "lease_end");
}

static void on_tick(struct loop *loop, void *arg)
{
	struct control *c = arg;
	cpu_device_tick(c->conf.device);
	control_book(c);
	loop_timer_start(&c->tick, CONTROL_TICK_MS);
}

void control_init(struct control *c, const struct control_conf *conf)
{
	memset(c, 0, sizeof(*c));
	c->conf = *conf;
	c->gate = cpu_device_gate(conf->device);
	c->commanded = GATE_OFF;
	c->awake_fd = priority_awake_open();
	cpu_power_init(&c->power, "/sys", conf->row, conf->cores);
	struct meter_totals t = totals(c);
	meter_init(&c->meter, &t);
	loop_timer_init(&c->linger, conf->loop, on_linger, c);
	loop_timer_init(&c->lease_end, conf->loop, on_lease_end, c);
	loop_timer_init(&c->tick, conf->loop, on_tick, c);
	loop_timer_start(&c->tick, CONTROL_TICK_MS);
}

void control_release(struct control *c)
{
	loop_timer_stop(&c->linger);
	loop_timer_stop(&c->lease_end);
	loop_timer_stop(&c->tick);
	if (c->awake_fd >= 0)
		close(c->awake_fd);
}

void control_lease_forever(struct control *c)
{
	c->lease = (struct lease){ .permanent = true, .may_serve = true, .may_fill = true };
	apply(c);
}

int control_lease(struct control *c, const struct lease_grant *g, struct err *err)
{
	int rc = lease_take(&c->lease, g, loop_now_ns(c->conf.loop), err);
	if (rc < 0)
		return rc;
	if (!g->may_serve && !c->inflight)
		c->local = false;
	arm_lease_end(c);
	apply_budget(c);
	apply(c);
	return 0;
}

void control_allow_fill(struct control *c)
{
	c->lease.may_fill = true;
}

void control_command(struct control *c, enum gate_state to, const char *allocation_id, const char *workload_id,
	int32_t power_cap_w)
{
	must(to == GATE_SERVE || to == GATE_FILL || to == GATE_OFF);
	bool turned = strcmp(c->allocation_id, allocation_id) != 0;
	c->commanded = to;
	c->power_cap_w = power_cap_w;
	snprintf(c->allocation_id, sizeof(c->allocation_id), "%s", allocation_id);
	snprintf(c->workload_id, sizeof(c->workload_id), "%s", workload_id);
	c->local = to == GATE_FILL && c->inflight > 0 && c->lease.may_serve;
	c->local_pending = false;
	loop_timer_stop(&c->linger);
	apply_budget(c);
	enum gate_state before = gate_get(c->gate);
	apply(c);
	if (turned && gate_get(c->gate) == before && (before == GATE_SERVE || before == GATE_FILL)) {
		struct meter_totals t = totals(c);
		meter_turn(&c->meter, &t, before == GATE_SERVE ? METER_SERVE : METER_FILL, c->allocation_id);
	}
}

void control_exclusive(struct control *c, bool on)
{
	c->exclusive = on;
}

void control_pause(struct control *c, enum gate_state to)
{
	c->pausing = true;
	c->pausing_to = to;
	apply(c);
}

void control_resume(struct control *c)
{
	c->pausing = false;
	if (c->local && !c->inflight)
		loop_timer_start(&c->linger, c->conf.linger_ms);
	apply(c);
}

static int refuse(struct control *c, struct err *err, int code, const char *text)
{
	c->refused++;
	return err_set(err, code, "", "%s", text);
}

int control_request_begin(struct control *c, struct err *err)
{
	if (c->inflight >= CONTROL_INFLIGHT_MAX)
		return refuse(c, err, HCP_ELIMIT, "too many requests are running on this node");
	if (!control_has_lease(c))
		return refuse(c, err, HCP_EUNAVAIL, "the node holds no lease");
	if (c->exclusive)
		return refuse(c, err, HCP_EUNAVAIL, "the node works for a program");
	bool serving = gate_get(c->gate) == GATE_SERVE && !(c->pausing && c->pausing_to != GATE_SERVE);
	if (!serving) {
		if (c->pausing)
			return refuse(c, err, HCP_EUNAVAIL, "the node is being switched");
		if (c->commanded != GATE_FILL)
			return refuse(c, err, HCP_EUNAVAIL, "the node does not serve now");
		if (!c->lease.may_serve)
			return refuse(c, err, HCP_EUNAVAIL, "the lease does not let the node serve by itself");
		c->local = c->local_pending = true;
		c->local_begun_ns = loop_now_ns(c->conf.loop);
		c->local_switches++;
		loop_timer_stop(&c->linger);
		c->inflight++;
		apply(c);
		return 0;
	}
	c->inflight++;
	return 0;
}

void control_request_end(struct control *c, bool ok, int64_t tokens, bool metered)
{
	must(c->inflight > 0);
	c->inflight--;
	c->requests++;
	if (!ok)
		c->failures++;
	else if (metered)
		meter_request(&c->meter, tokens);
	if (c->inflight)
		return;
	if (c->pausing)
		apply(c);
	else if (c->local)
		loop_timer_start(&c->linger, c->conf.linger_ms);
	if (c->conf.on_drained)
		c->conf.on_drained(c->conf.arg);
}

void control_book(struct control *c)
{
	struct meter_totals t = totals(c);
	meter_advance(&c->meter, &t);
}
