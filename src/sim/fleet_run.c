#include "sim/fleet_run.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "loop/loop.h"
#include "sim/mesh_link.h"
#include "sim/node.h"
#include "wire/pb.h"

static const char component[] = "fleet";

#define MS_NS INT64_C(1000000)

struct runner {
	struct node node;
	struct fleet_run *run;      /* borrowed */
	struct connection *connection;
	struct grpc_rpc *rpc;       /* NULL: no stream */
	struct loop_timer timer;    /* the node's next step */
	int64_t open_at_ns;         /* a new stream not before */
};

struct connection {
	struct mesh_link link;
	struct fleet_run *run;      /* borrowed */
	size_t first, n;            /* its nodes */
	bool told;                  /* that it is away */
};

struct fleet_run {
	struct loop *loop;          /* borrowed */
	struct fleet_run_conf conf;
	struct runner *runners;     /* owned */
	struct connection *connections; /* owned */
	size_t n_runners, n_connections;
	struct buf out;             /* the message being sent */
	struct arena in;            /* the message being read */
	struct arena scratch;       /* of the node that makes a message */
	struct rng rng;             /* of the retries */
	uint64_t up, down, dropped, bad;
};

static size_t per_node(const struct device_class *cls)
{
	return cls->kind == DEVICE_ASIC ? FLEET_RUN_ASICS : cls->kind == DEVICE_GPU ? FLEET_RUN_GPUS : 1;
}

int fleet_run_spec(const char *spec, struct fleet_run_conf *conf, struct err *err)
{
	struct str rest = str_of(spec);
	size_t nodes = 0;
	conf->n_groups = 0;
	while (rest.p) {
		struct str count = str_trim(str_split(&rest, ','));
		struct str name = str_split(&count, ':');
		uint64_t devices;
		const struct device_class *cls = device_class_find(name);
		if (!cls)
			return err_set(err, HCP_EINVAL, "spec", "'%.*s' is no device class", (int)(name.n < 40 ? name.n : 40),
				name.p);
		if (!count.p || num_parse_u64(count, &devices) < 0 || devices == 0 || devices > 1000000)
			return err_set(err, HCP_EINVAL, "spec", "%s needs a number of devices: %s:250", cls->name, cls->name);
		nodes += devices / per_node(cls) + 1;
		if (conf->n_groups == FLEET_RUN_CLASSES_MAX || nodes > FLEET_RUN_NODES_MAX)
			return err_set(err, HCP_ELIMIT, "spec", "at most %d classes and %d nodes", FLEET_RUN_CLASSES_MAX,
				FLEET_RUN_NODES_MAX);
		conf->groups[conf->n_groups++] = (struct fleet_run_group){ cls, devices };
	}
	return 0;
}

/* ---- messages ---- */

static void emit(void *arg, const Hcp__AgentUp *up)
{
	struct runner *x = arg;
	struct fleet_run *r = x->run;
	if (!x->rpc)
		return;
	if (r->conf.on_order && up->kind_case == HCP__AGENT_UP__KIND_SWITCH_REPORT)
		r->conf.on_order(r->conf.arg, x->node.id, NULL, up->switch_report, r->conf.clock(r->conf.arg));
	buf_clear(&r->out);
	int rc = pb_pack(&up->base, &r->out);
	if (rc == 0)
		rc = grpc_rpc_send(x->rpc, buf_str(&r->out));
	if (rc == 0 || rc == HCP_EAGAIN)
		r->up++;
	else
		r->dropped++;
}

static void wake(struct runner *x)
{
	int64_t wait_ns = node_due_ns(&x->node) - x->run->conf.clock(x->run->conf.arg);
	/* Rounded up: a millisecond early would find nothing to do. */
	loop_timer_start(&x->timer, wait_ns <= 0 ? 1 : (uint64_t)((wait_ns + MS_NS - 1) / MS_NS));
}

static void on_message(struct grpc_rpc *rpc, void *arg, struct str msg)
{
	struct runner *x = arg;
	struct fleet_run *r = x->run;
	struct err err = { 0 };
	ProtobufCMessage *m = NULL;
	int64_t now_ns = r->conf.clock(r->conf.arg);
	arena_clear(&r->in);
	r->down++;
	int rc = pb_unpack(&hcp__agent_down__descriptor, msg, &r->in, &m, &err);
	const Hcp__AgentDown *down = (const Hcp__AgentDown *)m;
	if (rc == 0 && r->conf.on_order && down->kind_case == HCP__AGENT_DOWN__KIND_SWITCH_COMMAND)
		r->conf.on_order(r->conf.arg, x->node.id, down->switch_command, NULL, now_ns);
	if (rc == 0)
		rc = node_down(&x->node, down, now_ns, &err);
	if (rc < 0 && r->bad++ % 1000 == 0)
		log_warn(component, "%s: a message was not taken: %s", x->node.id, err.text);
	node_step(&x->node, now_ns, emit, x);
	wake(x);
}

static void lost(struct runner *x)
{
	struct fleet_run *r = x->run;
	x->rpc = NULL;
	node_lost(&x->node);
	x->open_at_ns = r->conf.clock(r->conf.arg) +
		(FLEET_RUN_RETRY_MS + (int64_t)rng_below(&r->rng, FLEET_RUN_RETRY_MS)) * MS_NS;
	loop_timer_start(&x->timer, 1);
}

static void on_close(struct grpc_rpc *rpc, void *arg, enum grpc_status status, struct str text)
{
	struct runner *x = arg;
	if (!x->connection->told) {
		x->connection->told = true;
		log_warn(component, "%s: the stream ended: %.*s", x->node.id, (int)(text.n < 120 ? text.n : 120),
			text.n ? text.p : "");
	}
	lost(x);
}

static const struct grpc_rpc_ops stream_ops = { .on_message = on_message, .on_close = on_close };

static void open_stream(struct runner *x, int64_t now_ns)
{
	struct err err = { 0 };
	if (x->rpc || now_ns < x->open_at_ns || !mesh_link_up(&x->connection->link))
		return;
	if (mesh_link_agent(&x->connection->link, &stream_ops, x, &x->rpc, &err) < 0) {
		x->rpc = NULL;
		x->open_at_ns = now_ns + FLEET_RUN_RETRY_MS * MS_NS;
		return;
	}
	node_connected(&x->node, now_ns);
}

static void on_timer(struct loop *loop, void *arg)
{
	struct runner *x = arg;
	int64_t now_ns = x->run->conf.clock(x->run->conf.arg);
	open_stream(x, now_ns);
	node_step(&x->node, now_ns, emit, x);
	wake(x);
}

static void on_state(void *arg, bool up, const struct err *err)
{
	struct connection *c = arg;
	struct fleet_run *r = c->run;
	if (up) {
		log_info(component, "connected, nodes %zu to %zu", c->first, c->first + c->n - 1);
		c->told = false;
		for (size_t i = c->first; i < c->first + c->n; i++)
			loop_timer_start(&r->runners[i].timer, 1 + i % FLEET_RUN_STREAMS);
	} else if (!c->told) {
		c->told = true;
		log_warn(component, "hcpd is away: %s", err ? err->text : "");
	}
}

/* ---- life ---- */

static int init_runner(struct fleet_run *r, struct runner *x, const struct fleet_run_group *g, size_t devices,
	size_t number, struct err *err)
{
	char id[NODE_TEXT_MAX], name[NODE_TEXT_MAX];
	size_t index = (size_t)(x - r->runners);
	if (r->conf.node)
		snprintf(id, sizeof(id), "%s", r->conf.node);
	else
		snprintf(id, sizeof(id), "%s-%s-%03zu", r->conf.facility, g->cls->name, number);
	snprintf(name, sizeof(name), "%s %s %zu", g->cls->name,
		g->cls->kind == DEVICE_ASIC ? "container" : "server", number);
	for (char *p = id; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	struct node_conf conf = { .id = id, .name = name, .facility = r->conf.facility, .region = r->conf.region,
		.cls = g->cls, .n_devices = devices, .seed = r->conf.seed * 1000003 + index,
		.start_ns = r->conf.clock(r->conf.arg), .rules = r->conf.rules,
		.phase_ms = (uint32_t)(index * NODE_REPORT_MS / r->n_runners), .scratch = &r->scratch };
	x->run = r;
	x->connection = &r->connections[index / FLEET_RUN_STREAMS];
	loop_timer_init(&x->timer, r->loop, on_timer, x);
	return node_init(&x->node, &conf, err);
}

static int make_nodes(struct fleet_run *r, struct err *err)
{
	size_t made = 0;
	for (size_t g = 0; g < r->conf.n_groups; g++) {
		const struct fleet_run_group *group = &r->conf.groups[g];
		size_t left = group->devices, each = per_node(group->cls);
		for (size_t number = 1; left; number++) {
			size_t devices = left < each ? left : each;
			int rc = init_runner(r, &r->runners[made], group, devices, number, err);
			if (rc < 0)
				return rc;
			made++;
			left -= devices;
		}
	}
	return 0;
}

static int make_connections(struct fleet_run *r, struct err *err)
{
	for (size_t i = 0; i < r->n_connections; i++) {
		struct connection *c = &r->connections[i];
		size_t left = r->n_runners - i * FLEET_RUN_STREAMS;
		c->run = r;
		c->first = i * FLEET_RUN_STREAMS;
		c->n = left < FLEET_RUN_STREAMS ? left : FLEET_RUN_STREAMS;
		int rc = mesh_link_init(&c->link, r->loop, r->conf.host, r->conf.port, r->conf.token, r->conf.tls,
			on_state, c, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int fleet_run_new(struct loop *loop, const struct fleet_run_conf *conf, struct fleet_run **ret, struct err *err)
{
	struct fleet_run *r = mem_calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, HCP_ENOMEM, "", "no memory for the fleet");
	r->loop = loop;
	r->conf = *conf;
	buf_init(&r->out, MESH_LINK_MESSAGE_MAX);
	arena_init(&r->in, 4096, 64 << 20);
	arena_init(&r->scratch, 4096, 0);
	rng_init(&r->rng, conf->seed);
	for (size_t g = 0; g < conf->n_groups; g++)
		r->n_runners += (conf->groups[g].devices + per_node(conf->groups[g].cls) - 1) / per_node(conf->groups[g].cls);
	r->n_connections = (r->n_runners + FLEET_RUN_STREAMS - 1) / FLEET_RUN_STREAMS;
	r->runners = mem_calloc(r->n_runners + 1, sizeof(*r->runners));
	r->connections = mem_calloc(r->n_connections + 1, sizeof(*r->connections));
	int rc = r->runners && r->connections ? 0 : err_set(err, HCP_ENOMEM, "", "no memory for the fleet");
	if (rc == 0)
		rc = make_nodes(r, err);
	if (rc == 0)
		rc = make_connections(r, err);
	if (rc < 0) {
		fleet_run_free(r);
		return rc;
	}
	for (size_t i = 0; i < r->n_runners; i++)
		wake(&r->runners[i]);
	*ret = r;
	return 0;
}

void fleet_run_free(struct fleet_run *r)
{
	if (!r)
		return;
	for (size_t i = 0; r->connections && i < r->n_connections; i++)
		mesh_link_release(&r->connections[i].link);
	for (size_t i = 0; r->runners && i < r->n_runners; i++) {
		if (r->runners[i].run)
			loop_timer_stop(&r->runners[i].timer);
		node_release(&r->runners[i].node);
	}
	mem_free(r->runners);
	mem_free(r->connections);
	buf_release(&r->out);
	arena_release(&r->in);
	arena_release(&r->scratch);
	mem_free(r);
}

void fleet_run_totals(const struct fleet_run *r, struct fleet_run_totals *ret)
{
	*ret = (struct fleet_run_totals){ .nodes = r->n_runners, .messages_up = r->up, .messages_down = r->down,
		.dropped = r->dropped };
	for (size_t i = 0; i < r->n_runners; i++) {
		const struct node *n = &r->runners[i].node;
		ret->connected += n->connected;
		ret->leased += n->leased;
		ret->devices += n->n_devices;
		ret->power_w += node_power_w(n);
		ret->switches_ok += n->switches_ok;
		ret->switches_failed += n->switches_failed;
		ret->lapses += n->lapses;
		for (size_t k = 0; k < n->n_devices; k++)
			ret->hash_ths += (double)n->devices[k].d.hash_ths;
	}
}
