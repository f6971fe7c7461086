/* Node agents: a stream each; what comes up becomes a message to resources or telemetry. */
#include <stddef.h>

#include "base/log.h"
#include "base/mem.h"
#include "mesh/mesh_priv.h"

static void send_gone(struct mesh *m, const struct agent *a, const char *reason)
{
	struct msg *q = msg_new(MSG_NODE_GONE);
	Hcp__NodeGone *gone = q ? (Hcp__NodeGone *)q->body : NULL;
	if (gone) {
		gone->node_id = arena_strdup(&q->arena, a->node_id);
		gone->stream = a->number;
		gone->reason = reason;
		q->key = gone->node_id;
	}
	if (!gone || !gone->node_id) {
		msg_free(q);
		log_error("mesh", "out of memory: the end of node %s is noticed by its lease only", a->node_id);
		return;
	}
	host_send(m->host, q);
}

/* Takes the stream out of our books; tells resources if the node is without a stream now. */
static void agent_free(struct agent *a, const char *reason)
{
	struct mesh *m = a->mesh;
	if (map_get(&m->by_node, str_of(a->node_id)) == a) {
		map_del(&m->by_node, str_of(a->node_id));
		if (!a->replaced && !atomic_load(&m->stopping))
			send_gone(m, a, reason);
	}
	list_del(&a->node);
	m->n_agents--;
	grpc_call_set_user(a->call, NULL);
	mem_free(a);
}

static void agent_drop(struct agent *a, enum grpc_status status, const char *text)
{
	struct grpc_call *call = a->call;
	agent_free(a, text);
	grpc_stream_finish(call, status, text);
}

/* ---- hello ---- */

/* The answer to a hello: a refusal ends the stream, so that the agent learns why and tries again later. */
struct hello_answer {
	struct handoff handoff;
	struct mesh *mesh;
	struct msg *reply; /* owned */
	uint64_t number;
	char node_id[MESH_NODE_ID_MAX + 1];
};

static void take_hello_answer(struct mesh *m, struct handoff *h)
{
	struct hello_answer *ha = (struct hello_answer *)(void *)h;
	struct agent *a = map_get(&m->by_node, str_of(ha->node_id));
	struct err err = { 0 };
	int rc = msg_error(ha->reply, &err);
	if (rc < 0 && a && a->number == ha->number)
		agent_drop(a, grpc_status_of_err(rc), err.text);
	msg_free(ha->reply);
	mem_free(ha);
}

static void on_hello_answer(void *arg, struct msg *reply)
{
	struct hello_answer *ha = arg;
	ha->reply = reply;
	mesh_hand(ha->mesh, &ha->handoff, true);
}

static int enlist(struct agent *a, const char *node_id)
{
	struct mesh *m = a->mesh;
	void *old = NULL;
	memcpy(a->node_id, node_id, strlen(node_id) + 1);
	if (map_put(&m->by_node, str_of(a->node_id), a, &old) < 0) {
		a->node_id[0] = 0;
		return HCP_ENOMEM;
	}
	if (old) {
		struct agent *before = old;
		before->replaced = true;
		agent_drop(before, GRPC_ABORTED, "a newer stream of this node has taken over");
	}
	return 0;
}

/* 0, or a status to end the stream with. */
static enum grpc_status take_hello(struct agent *a, struct msg *q, const char **ret_text)
{
	Hcp__NodeHello *hello = (Hcp__NodeHello *)q->body;
	if (!identity_node_ok(hello->node_id, false)) {
		*ret_text = "node_id must be 1 to 64 letters, digits, dots, dashes";
		return GRPC_INVALID_ARGUMENT;
	}
	if (a->mesh->tls && !identity_is_node(mesh_identity(a->call), hello->node_id)) {
		char whose[160];
		identity_text(mesh_identity(a->call), whose, sizeof(whose));
		log_warn("mesh", "%s calls itself node %s, and its certificate is for %s: refused",
			grpc_call_req(a->call)->peer, hello->node_id, whose);
		*ret_text = "the certificate is not for the node of this hello";
		return GRPC_PERMISSION_DENIED;
	}
	if (a->node_id[0] && strcmp(a->node_id, hello->node_id) != 0) {
		*ret_text = "a stream belongs to one node";
		return GRPC_INVALID_ARGUMENT;
	}
	struct hello_answer *ha = mem_calloc(1, sizeof(*ha));
	*ret_text = "out of memory";
	if (!ha || (!a->node_id[0] && enlist(a, hello->node_id) < 0)) {
		mem_free(ha);
		return GRPC_RESOURCE_EXHAUSTED;
	}
	*ha = (struct hello_answer){ .handoff = { .fn = take_hello_answer }, .mesh = a->mesh, .number = a->number };
	memcpy(ha->node_id, a->node_id, sizeof(ha->node_id));
	mesh_tls_soon(a->mesh, a->call, a->node_id);
	hello->stream = a->number;
	q->reply_fn = on_hello_answer;
	q->reply_arg = ha;
	return GRPC_OK;
}

/* ---- messages ---- */

/* What may come up, by its number in AgentUp, and where its node id stands. */
static const struct up {
	uint16_t type;
	size_t node_at;
} ups[] = {
	[HCP__AGENT_UP__KIND_HELLO] = { MSG_NODE_HELLO, offsetof(Hcp__NodeHello, node_id) },
	[HCP__AGENT_UP__KIND_REPORT] = { MSG_NODE_REPORT, offsetof(Hcp__NodeReport, node_id) },
	[HCP__AGENT_UP__KIND_SWITCH_REPORT] = { MSG_SWITCH_REPORT, offsetof(Hcp__SwitchReport, node_id) },
	[HCP__AGENT_UP__KIND_LOCAL_SWITCH] = { MSG_LOCAL_SWITCH, offsetof(Hcp__LocalSwitch, node_id) },
	[HCP__AGENT_UP__KIND_SAMPLES] = { MSG_SAMPLES, offsetof(Hcp__Samples, node_id) },
	[HCP__AGENT_UP__KIND_MODEL_REPORT] = { MSG_MODEL_REPORT, offsetof(Hcp__ModelReport, node_id) },
	[HCP__AGENT_UP__KIND_PROGRAM_REPORT] = { MSG_PROGRAM_REPORT, offsetof(Hcp__ProgramReport, node_id) },
};

static const struct up *up_of(unsigned number)
{
	return number < sizeof(ups) / sizeof(ups[0]) && ups[number].type ? &ups[number] : NULL;
}

/*
 * AgentUp to the message inside, in one arena; *ret_node is where its node id stands. NULL: not understood. The usual
 * one is that message and nothing else: its bytes go to the journal as they came.
 */
static struct msg *unwrap(struct str bytes, const char ***ret_node)
{
	struct str rest = bytes;
	struct pb_field f;
	bool alone = pb_next(&rest, &f) == 1 && f.wire == 2 && !rest.n;
	const struct up *kind = alone ? up_of(f.id) : NULL;
	struct msg *q = NULL;
	if (kind) {
		int rc = msg_from_bytes(kind->type, f.bytes, &q, NULL);
		if (rc == 0 && kind->type != MSG_NODE_HELLO) /* it is told the number of its stream */
			rc = msg_keep(q, f.bytes);
		if (rc < 0) {
			msg_free(q);
			return NULL;
		}
	} else {
		q = msg_new(MSG_NODE_REPORT);
		Hcp__AgentUp *up = q ? (void *)pb_unpack_arena(&hcp__agent_up__descriptor, bytes, &q->arena) : NULL;
		kind = up ? up_of((unsigned)up->kind_case) : NULL;
		if (!kind) {
			msg_free(q);
			return NULL;
		}
		q->type = kind->type;
		q->body = &up->report->base; /* whichever it is: they begin alike */
	}
	*ret_node = (const char **)(void *)((char *)q->body + kind->node_at);
	return q;
}

static bool within_rate(struct agent *a)
{
	int64_t now_ms = loop_turn_ms(a->mesh->loop);
	a->credit += (double)(now_ms - a->credit_ms) * MESH_AGENT_PER_S / 1000;
	a->credit_ms = now_ms;
	if (a->credit > 2 * MESH_AGENT_PER_S)
		a->credit = 2 * MESH_AGENT_PER_S;
	if (a->credit < 1)
		return false;
	a->credit -= 1;
	return true;
}

static void on_message(struct grpc_call *call, void *arg, struct str bytes)
{
	struct agent *a = grpc_call_user(call);
	const char **node = NULL, *text = "";
	if (!a)
		return;
	if (!within_rate(a)) {
		agent_drop(a, GRPC_RESOURCE_EXHAUSTED, "too many messages a second");
		return;
	}
	struct msg *q = unwrap(bytes, &node);
	if (!q) {
		agent_drop(a, GRPC_INVALID_ARGUMENT, "not an AgentUp message");
		return;
	}
	if (q->type != MSG_NODE_HELLO && (!a->node_id[0] || strcmp(*node, a->node_id) != 0)) {
		msg_free(q);
		agent_drop(a, GRPC_INVALID_ARGUMENT,
			   a->node_id[0] ? "a stream belongs to one node" : "the first message must be NodeHello");
		return;
	}
	enum grpc_status status = q->type == MSG_NODE_HELLO ? take_hello(a, q, &text) : GRPC_OK;
	if (status != GRPC_OK) {
		msg_free(q);
		agent_drop(a, status, text);
		return;
	}
	q->key = *node;
	host_send(a->mesh->host, q);
}

static void on_open(struct grpc_call *call, void *arg)
{
	struct mesh *m = arg;
	enum grpc_status status;
	const char *unwelcome = mesh_unwelcome(m, call, 1U << IDENTITY_NODE, &status);
	if (unwelcome) {
		grpc_stream_finish(call, status, unwelcome);
		return;
	}
	if (atomic_load(&m->stopping) || !m->host || !host_service(m->host, SVC_RESOURCES)) {
		grpc_stream_finish(call, GRPC_UNAVAILABLE, "agents are not taken here: resources does not run in this process");
		return;
	}
	struct agent *a = m->n_agents < MESH_AGENTS_MAX ? mem_calloc(1, sizeof(*a)) : NULL;
	if (!a) {
		grpc_stream_finish(call, GRPC_RESOURCE_EXHAUSTED, "no room for another agent");
		return;
	}
	*a = (struct agent){ .mesh = m, .call = call, .number = ++m->agent_number, .credit = 2 * MESH_AGENT_PER_S,
			     .credit_ms = loop_turn_ms(m->loop) };
	list_add_tail(&m->agents, &a->node);
	m->n_agents++;
	grpc_call_set_user(call, a);
}

static void on_half_close(struct grpc_call *call, void *arg)
{
	struct agent *a = grpc_call_user(call);
	if (a)
		agent_drop(a, GRPC_OK, "the agent ended its stream");
}

static void on_close(struct grpc_call *call, void *arg)
{
	struct agent *a = grpc_call_user(call);
	if (a)
		agent_drop(a, GRPC_CANCELLED, "the connection to the agent was lost");
}

const struct grpc_stream_ops mesh_agent_ops = {
	.on_open = on_open, .on_message = on_message, .on_half_close = on_half_close, .on_close = on_close,
};

void mesh_agents_stop(struct mesh *m)
{
	list_each_safe(it, tmp, &m->agents)
		agent_drop(list_entry(it, struct agent, node), GRPC_UNAVAILABLE, "the control plane is stopping");
}

/* ---- down ---- */

struct down {
	struct handoff handoff;
	char node_id[MESH_NODE_ID_MAX + 1];
	size_t n;
	char bytes[];
};

static void send_down(struct mesh *m, struct handoff *h)
{
	struct down *d = (struct down *)(void *)h;
	struct agent *a = map_get(&m->by_node, str_of(d->node_id));
	if (a && grpc_stream_send(a->call, (struct str){ d->bytes, d->n }) == HCP_ELIMIT)
		agent_drop(a, GRPC_RESOURCE_EXHAUSTED, "the agent takes its commands too slowly");
	mem_free(d);
}

/* Lost if the node has no stream or memory is short: resources sends again until a report confirms. */
void mesh_send_agent(void *mesh, const char *node_id, struct str bytes)
{
	struct mesh *m = mesh;
	if (strlen(node_id) > MESH_NODE_ID_MAX || atomic_load(&m->stopping))
		return;
	struct down *d = mem_alloc(sizeof(*d) + bytes.n);
	if (!d)
		return;
	d->handoff = (struct handoff){ .fn = send_down };
	memcpy(d->node_id, node_id, strlen(node_id) + 1);
	d->n = bytes.n;
	memcpy(d->bytes, bytes.p, bytes.n);
	if (!mesh_hand(m, &d->handoff, false))
		mem_free(d);
}
