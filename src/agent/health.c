#include <inttypes.h>

#include "agent/agent_priv.h"
#include "agent/endpoint.h"
#include "agent/link.h"
#include "agent/miner.h"
#include "agent/slot.h"
#include "device/cpu_device.h"

const char *agent_trouble(const struct agent *a)
{
	enum gate_state gate = gate_get(a->control.gate);
	if (gate == GATE_FILL && !cpu_device_has_job(a->device))
		return "pool down";
	/* A runtime that a switch waits for may still load: the switch has a deadline, and says itself how it ended. */
	if (gate == GATE_SERVE && a->switcher && switcher_is_busy(a->switcher))
		return "";
	if (gate == GATE_SERVE && a->control.exclusive)
		return ""; /* its own reports tell of a program */
	if (gate == GATE_SERVE && (!a->slot || keeper_state(slot_keeper(a->slot)) != KEEPER_READY))
		return "runtime down";
	return "";
}

static void put_hist(struct buf *b, const char *name, const struct hist *h)
{
	buf_printf(b, ",\"%s\":{\"count\":%" PRIu64 ",\"p50\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"max\":%" PRIu64 "}", name,
		h->n, hist_quantile(h, 0.5), hist_quantile(h, 0.99), h->max);
}

static void put_text(struct buf *b, const char *name, const char *text)
{
	buf_printf(b, ",\"%s\":", name);
	buf_add_json(b, str_of(text));
}

static void put_device(struct agent *a, struct buf *b)
{
	struct cpu_device_stats s;
	struct control *c = &a->control;
	cpu_device_stats(a->device, &s);
	buf_printf(b, ",\"device\":{\"id\":\"%s\",\"class\":\"%s\",\"threads\":%u,\"engine\":\"%s\"", AGENT_DEVICE_ID,
		a->class_name, cpu_device_threads(a->device), cpu_device_engine(a->device));
	buf_printf(b, ",\"hash_ps\":%.0f,\"hashes\":%.0f,\"power_w\":%.1f,\"power_estimated\":%s,\"energy_j\":%.0f",
		s.hash_ps, s.hashes, c->power.power_w, cpu_power_is_estimated(&c->power) ? "true" : "false", c->power.energy_j);
	buf_printf(b, ",\"temperature_c\":%d,\"busy\":%.3f,\"shares_dropped\":%" PRIu64 "}",
		cpu_power_temperature_c(&c->power), c->power.busy, s.dropped);
	buf_printf(b, ",\"gate\":{\"state\":\"%s\",\"commanded\":\"%s\",\"switches\":%" PRIu64,
		gate_state_name(gate_get(c->gate)), gate_state_name(c->commanded), c->gate->switches);
	put_hist(b, "yield_ns", &c->gate->yield_ns);
	put_text(b, "allocation_id", c->allocation_id);
	buf_addc(b, '}');
}

static void put_pool(struct agent *a, struct buf *b)
{
	if (!a->miner) {
		buf_addz(b, ",\"pool\":null");
		return;
	}
	struct miner_stats m;
	miner_stats(a->miner, &m);
	buf_printf(b, ",\"pool\":{\"up\":%s,\"state\":\"%s\",\"port\":%u,\"difficulty\":", m.up ? "true" : "false", m.state,
		m.port);
	buf_add_double(b, m.difficulty);
	put_text(b, "host", m.host);
	buf_printf(b, ",\"submitted\":%" PRIu64 ",\"accepted\":%" PRIu64 ",\"rejected\":%" PRIu64 ",\"stale\":%" PRIu64
		",\"lost\":%" PRIu64 ",\"connects\":%" PRIu64, m.stratum.submitted, m.stratum.accepted, m.stratum.rejected,
		m.stratum.stale, m.stratum.lost, m.stratum.connects);
	put_text(b, "last_failure", m.last_failure);
	buf_addc(b, '}');
}

static void put_rest(struct agent *a, struct buf *b)
{
	struct control *c = &a->control;
	int64_t left_ms = lease_left_ms(&c->lease, loop_now_ns(a->loop));
	buf_printf(b, ",\"lease\":{\"held\":%s,\"left_ms\":", left_ms ? "true" : "false");
	if (left_ms == INT64_MAX)
		buf_addz(b, "null");
	else
		buf_printf(b, "%" PRId64, left_ms);
	buf_printf(b, ",\"number\":%" PRIu64 ",\"may_serve\":%s,\"may_fill\":%s}", c->lease.number,
		c->lease.may_serve ? "true" : "false", c->lease.may_fill ? "true" : "false");
	if (a->slot) {
		struct keeper_stats k;
		keeper_stats(slot_keeper(a->slot), &k);
		buf_printf(b, ",\"runtime\":{\"state\":\"%s\",\"pid\":%d,\"starts\":%" PRIu64 ",\"exits\":%" PRIu64,
			keeper_state_name(k.state), k.pid, k.starts, k.exits);
		put_text(b, "model", a->model);
		put_text(b, "version", slot_version(a->slot));
		put_text(b, "digest", k.digest);
		put_text(b, "last_exit", k.last_exit);
		buf_addc(b, '}');
	} else {
		buf_addz(b, ",\"runtime\":null");
	}
	buf_printf(b, ",\"mesh\":%s", !a->link ? "null" : link_is_up(a->link) ? "\"up\"" : "\"down\"");
	buf_printf(b, ",\"requests\":%" PRIu64 ",\"failures\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"inflight\":%u"
		",\"local_switches\":%" PRIu64, c->requests, c->failures, c->refused, c->inflight, c->local_switches);
	put_hist(b, "added_ns", endpoint_added_ns(a->endpoint));
}

void agent_health(struct agent *a, struct buf *b)
{
	const char *trouble = agent_trouble(a);
	bool safe = gate_get(a->control.gate) == GATE_SAFE;
	buf_printf(b, "{\"status\":\"%s\"", safe ? "safe" : trouble[0] ? "degraded" : "ok");
	put_text(b, "detail", safe ? "no lease" : trouble);
	put_text(b, "node_id", a->node_id);
	put_text(b, "boot_id", a->boot_id);
	put_device(a, b);
	put_pool(a, b);
	put_rest(a, b);
	buf_addc(b, '}');
}
