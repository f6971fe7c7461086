/*
 * A whole node against a control plane and a pool of the test, with the real runtime as its child: this program again,
 * started with "runtime".
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent_priv.h"
#include "agent/endpoint.h"
#include "agent/slot.h"
#include "agent/link.h"
#include "agent/miner.h"
#include "agent/runtime_main.h"
#include "base/arena.h"
#include "base/mem.h"
#include "device/cpu_device.h"
#include "http/grpc.h"
#include "http/http_client.h"
#include "os/clock.h"
#include "os/file.h"
#include "wire/pb.h"
#include "test.h"

enum { REPORTS = 64 };

/* What the control plane heard of one switch. */
struct heard {
	char id[40], error[160], evidence[24], phases[80];
	bool ok, rolled_back;
	int64_t served_at_ns;
	int failed;
};

struct world {
	struct loop *loop;
	struct pool_server *pool;
	uint16_t pool_port;
	struct http_server *mesh;
	struct grpc_server *grpc;
	struct grpc_method method;
	struct grpc_call *stream; /* NULL: no agent */
	struct http_client *http;
	struct agent *agent;
	char dir[64], pool_host[16];
	uint64_t lease_number;
	/* heard */
	int hellos, reports, samples;
	int models;
	uint64_t model_order;
	char model_state[200], digest[80];
	bool silent; /* hellos are not welcomed */
	char node_id[64], boot_id[64], endpoint[128], model[64], device[32], class_name[16], bearer[64];
	uint64_t last_seq;
	Hcp__Mode mode;
	char trouble[64];
	double hash_ths;
	int64_t meter_ns, requests, tokens, alloc_ns, alloc_requests, shares;
	struct heard switches[REPORTS];
	int n_switches;
	char locals[REPORTS][24];
	int n_locals;
	/* answer of the last request */
	int status, answers;
	char body[4096], retry_after[8];
	Hcp__Lease lease;
};

static void hear_report(struct world *w, const Hcp__NodeReport *r)
{
	assert_true(r->seq > w->last_seq);
	assert_string_equal(r->boot_id, w->boot_id);
	assert_int_equal(r->n_readings, 1);
	w->last_seq = r->seq;
	w->reports++;
	w->mode = r->readings[0]->mode;
	w->hash_ths = r->readings[0]->hash_ths;
	snprintf(w->trouble, sizeof(w->trouble), "%s", r->readings[0]->error);
	int64_t ns = 0;
	w->requests = w->tokens = w->alloc_ns = w->alloc_requests = w->shares = 0;
	for (size_t i = 0; i < r->n_meters; i++) {
		const Hcp__Meter *m = r->meters[i];
		assert_string_equal(m->device_class, w->class_name);
		ns += m->device_ns;
		w->requests += m->requests;
		w->tokens += m->tokens;
		w->shares += m->shares_accepted;
		if (strcmp(m->allocation_id, "al-7") == 0) {
			w->alloc_ns += m->device_ns;
			w->alloc_requests += m->requests;
		}
	}
	assert_true(ns >= w->meter_ns); /* cumulative */
	w->meter_ns = ns;
}

static void hear_switch(struct world *w, const Hcp__SwitchReport *r)
{
	struct heard *h = &w->switches[w->n_switches++ % REPORTS];
	*h = (struct heard){ .ok = r->ok, .rolled_back = r->rolled_back, .served_at_ns = r->served_at_ns,
		.failed = (int)r->n_failed_device_ids };
	snprintf(h->id, sizeof(h->id), "%s", r->switch_id);
	snprintf(h->error, sizeof(h->error), "%s", r->error);
	snprintf(h->evidence, sizeof(h->evidence), "%s", r->evidence);
	for (size_t i = 0; i < r->n_phases; i++) {
		assert_true(r->phases[i]->duration_ns > 0);
		size_t n = strlen(h->phases);
		snprintf(h->phases + n, sizeof(h->phases) - n, "%s%s", n ? " " : "", r->phases[i]->phase);
	}
}

static void hear_hello(struct world *w, const Hcp__NodeHello *h)
{
	w->hellos++;
	assert_int_equal(h->n_devices, 1);
	snprintf(w->node_id, sizeof(w->node_id), "%s", h->node_id);
	if (strcmp(w->boot_id, h->boot_id) != 0) {
		w->last_seq = 0;
		w->meter_ns = 0;
	}
	snprintf(w->boot_id, sizeof(w->boot_id), "%s", h->boot_id);
	snprintf(w->endpoint, sizeof(w->endpoint), "%s", h->endpoint);
	snprintf(w->model, sizeof(w->model), "%s", h->n_models ? h->models[0] : "");
	snprintf(w->device, sizeof(w->device), "%s", h->devices[0]->id);
	snprintf(w->class_name, sizeof(w->class_name), "%s", h->devices[0]->device_class);
	assert_int_equal(h->devices[0]->kind, HCP__DEVICE_KIND__CPU);
	assert_true(h->devices[0]->memory_gib > 0);
}

static void hear_model(struct world *w, const Hcp__ModelReport *r)
{
	w->models++;
	w->model_order = r->order;
	assert_string_equal(r->node_id, w->node_id);
	assert_int_equal(r->n_held, 1);
	snprintf(w->model_state, sizeof(w->model_state), "%s %s %s %.40s", r->model, r->version, r->state, r->error);
	snprintf(w->digest, sizeof(w->digest), "%s", r->digest);
}

static void send_down(struct world *w, const Hcp__AgentDown *m)
{
	struct buf b;
	buf_init(&b, 0);
	assert_non_null(w->stream);
	assert_int_equal(pb_pack(&m->base, &b), 0);
	assert_int_equal(grpc_stream_send(w->stream, buf_str(&b)), 0);
	buf_release(&b);
}

static void welcome(struct world *w)
{
	Hcp__Welcome m = HCP__WELCOME__INIT;
	m.node_id = w->node_id;
	m.now_ns = clock_wall_ns();
	m.report_ms = 100;
	Hcp__AgentDown d = HCP__AGENT_DOWN__INIT;
	d.kind_case = HCP__AGENT_DOWN__KIND_WELCOME;
	d.welcome = &m;
	send_down(w, &d);
}

static void on_open(struct grpc_call *call, void *arg)
{
	struct world *w = arg;
	struct str v = grpc_call_metadata(call, "authorization");
	w->stream = call;
	snprintf(w->bearer, sizeof(w->bearer), "%.*s", (int)v.n, v.p ? v.p : "");
}

static void on_message(struct grpc_call *call, void *arg, struct str msg)
{
	struct world *w = arg;
	struct arena a;
	ProtobufCMessage *p;
	arena_init(&a, 4096, 0);
	assert_int_equal(pb_unpack(&hcp__agent_up__descriptor, msg, &a, &p, NULL), 0);
	const Hcp__AgentUp *m = (const Hcp__AgentUp *)p;
	switch (m->kind_case) {
	case HCP__AGENT_UP__KIND_HELLO:
		hear_hello(w, m->hello);
		if (!w->silent)
			welcome(w);
		break;
	case HCP__AGENT_UP__KIND_REPORT: hear_report(w, m->report); break;
	case HCP__AGENT_UP__KIND_SWITCH_REPORT: hear_switch(w, m->switch_report); break;
	case HCP__AGENT_UP__KIND_LOCAL_SWITCH:
		snprintf(w->locals[w->n_locals++ % REPORTS], sizeof(w->locals[0]), "%d %s", (int)m->local_switch->to,
			m->local_switch->cause);
		break;
	case HCP__AGENT_UP__KIND_SAMPLES: w->samples++; break;
	case HCP__AGENT_UP__KIND_MODEL_REPORT: hear_model(w, m->model_report); break;
	default: fail_msg("a message of unknown kind");
	}
	arena_release(&a);
}

static void on_end(struct grpc_call *call, void *arg)
{
	struct world *w = arg;
	if (w->stream == call)
		w->stream = NULL;
	grpc_stream_finish(call, GRPC_OK, NULL);
}

static const struct grpc_stream_ops stream_ops = { .on_open = on_open, .on_message = on_message,
	.on_half_close = on_end, .on_close = on_end };

static void no_handler(struct http_req *req, void *arg)
{
	http_reply_problem(req, 404, "not_found", STR("grpc only"));
}

static void world_init(struct world *w, bool with_mesh, bool with_pool)
{
	static const char bearer[] = "t0ken";
	memset(w, 0, sizeof(*w));
	snprintf(w->dir, sizeof(w->dir), "/tmp/hcp-node-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(loop_new(NULL, &w->loop, NULL), 0);
	assert_int_equal(http_client_new(w->loop, NULL, &w->http, NULL), 0);
	struct http_server_conf mesh = { 0 };
	assert_int_equal(http_server_new(w->loop, &mesh, no_handler, NULL, &w->mesh, NULL), 0);
	w->method = (struct grpc_method){ .path = LINK_METHOD, .stream = &stream_ops, .arg = w };
	assert_int_equal(grpc_server_new(w->mesh, NULL, &w->method, 1, &w->grpc, NULL), 0);
	if (with_pool) {
		w->pool = make_pool(w->loop, 0);
		w->pool_port = pool_server_port(w->pool);
	}
	struct agent_conf c = { .mesh_host = with_mesh ? "127.0.0.1" : NULL, .mesh_port = http_server_port(w->mesh),
		.token = bearer, .model_dir = HCP_TINY_MODEL, .state_dir = w->dir, .listen_host = "127.0.0.1", .facility = "f1",
		.region = "r1", .threads = 2, .program = "/proc/self/exe", .version = "test", .n_pools = with_pool ? 1 : 0,
		.pools = { { "127.0.0.1", w->pool_port, "w", "x" } } };
	struct err err = { 0 };
	if (agent_new(w->loop, &c, &w->agent, &err) < 0)
		fail_msg("agent: %s %s", err.field, err.text);
	turn_until(w->loop, keeper_state(slot_keeper(w->agent->slot)) == KEEPER_READY);
	if (with_mesh)
		turn_until(w->loop, w->hellos == 1 && w->stream);
	if (with_pool)
		turn_until(w->loop, cpu_device_has_job(w->agent->device));
}

static void world_release(struct world *w)
{
	agent_free(w->agent);
	pool_server_free(w->pool);
	http_client_free(w->http);
	http_server_free(w->mesh);
	for (int i = 0; i < 50; i++)
		loop_turn(w->loop, 2);
	grpc_server_free(w->grpc);
	loop_free(w->loop);
	char path[128];
	snprintf(path, sizeof(path), "%s/node-id", w->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/runtime-0.sock", w->dir);
	unlink(path);
	assert_int_equal(rmdir(w->dir), 0);
}

static void lease(struct world *w, int64_t ttl_ms, bool may_serve, bool may_fill)
{
	Hcp__Lease m = HCP__LEASE__INIT;
	m.node_id = w->node_id;
	m.ttl_ms = ttl_ms;
	m.may_serve = may_serve;
	m.may_fill = may_fill;
	m.number = ++w->lease_number;
	Hcp__AgentDown d = HCP__AGENT_DOWN__INIT;
	d.kind_case = HCP__AGENT_DOWN__KIND_LEASE;
	d.lease = &m;
	send_down(w, &d);
	turn_until(w->loop, w->agent->control.lease.number == w->lease_number);
}

struct command {
	const char *id, *device, *allocation, *model;
	Hcp__Mode to;
	int64_t deadline_ms; /* from now; 0: none */
	int items;           /* 0: one */
	int share_milli;     /* 0: the whole device */
	uint64_t number;
};

static void send_command(struct world *w, const struct command *c)
{
	Hcp__SwitchItem item = HCP__SWITCH_ITEM__INIT, *items[] = { &item, &item };
	item.device_id = c->device ? c->device : "cpu0";
	item.to = c->to;
	item.allocation_id = c->allocation ? c->allocation : "";
	item.model = c->model ? c->model : "";
	Hcp__DeviceShare share = HCP__DEVICE_SHARE__INIT, *shares[] = { &share };
	share.milli = c->share_milli;
	share.allocation_id = "al-part";
	item.shares = shares;
	item.n_shares = c->share_milli != 0;
	Hcp__SwitchCommand m = HCP__SWITCH_COMMAND__INIT;
	m.switch_id = c->id;
	m.number = c->number;
	m.node_id = w->node_id;
	m.items = items;
	m.n_items = c->items ? (size_t)c->items : 1;
	m.deadline_ns = c->deadline_ms ? clock_wall_ns() + c->deadline_ms * 1000000 : 0;
	Hcp__AgentDown d = HCP__AGENT_DOWN__INIT;
	d.kind_case = HCP__AGENT_DOWN__KIND_SWITCH_COMMAND;
	d.switch_command = &m;
	send_down(w, &d);
}

/* Sends it and waits for the report. */
static const struct heard *command(struct world *w, const struct command *c)
{
	int before = w->n_switches;
	send_command(w, c);
	turn_until(w->loop, w->n_switches > before);
	const struct heard *h = &w->switches[(w->n_switches - 1) % REPORTS];
	assert_string_equal(h->id, c->id);
	return h;
}

#define COMMAND(w, ...) command((w), &(struct command){ __VA_ARGS__ })

static enum gate_state gate(const struct world *w)
{
	return gate_get(w->agent->control.gate);
}

static void on_answer(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct world *w = arg;
	w->answers++;
	w->status = code == 0 ? r->status : code;
	w->body[0] = w->retry_after[0] = '\0';
	if (code < 0)
		return;
	struct str retry = http_response_header(r, "retry-after");
	snprintf(w->body, sizeof(w->body), "%.*s", (int)r->body.n, r->body.p);
	snprintf(w->retry_after, sizeof(w->retry_after), "%.*s", (int)retry.n, retry.p ? retry.p : "");
}

static void start(struct world *w, const char *method, const char *path, const char *body)
{
	char url[160];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", agent_port(w->agent), path);
	struct http_call_conf c = { .method = method, .url = url, .body = str_of(body), .on_done = on_answer, .arg = w };
	assert_int_equal(http_call_start(w->http, &c, NULL, NULL), 0);
}

static int ask(struct world *w, const char *method, const char *path, const char *body)
{
	int before = w->answers;
	start(w, method, path, body);
	turn_until(w->loop, w->answers > before);
	return w->status;
}

#define LONG_ID "0123456789012345678901234567890123456789012345678901234567890123456789"
#define EMBED "{\"model\":\"hcp-generated-tiny\",\"input\":\"a b\"}"

static int embed(struct world *w)
{
	return ask(w, "POST", "/v1/embeddings", EMBED);
}

static double hashes(const struct world *w)
{
	struct cpu_device_stats s;
	cpu_device_stats(w->agent->device, &s);
	return s.hashes;
}

/* ---- the tests ---- */

static void hello_and_lease(void **state)
{
	struct world w;
	world_init(&w, true, true);
	assert_string_equal(w.device, "cpu0");
	assert_string_equal(w.model, "hcp-generated-tiny");
	assert_string_equal(w.bearer, "Bearer t0ken");
	assert_true(strncmp(w.class_name, "CPU", 3) == 0);
	assert_string_equal(w.node_id, agent_node_id(w.agent));
	/* Without a lease nobody works and nobody is served. */
	assert_int_equal(gate(&w), GATE_SAFE);
	assert_int_equal(embed(&w), 503);
	assert_string_equal(w.retry_after, "1");
	assert_non_null(strstr(w.body, "no lease"));
	const struct heard *h = COMMAND(&w, .id = "s1", .to = HCP__MODE__SERVE);
	assert_false(h->ok || h->rolled_back);
	assert_non_null(strstr(h->error, "lease"));
	lease(&w, 60000, true, true);
	assert_int_equal(gate(&w), GATE_OFF);
	h = COMMAND(&w, .id = "s2", .to = HCP__MODE__FILL);
	assert_true(h->ok);
	assert_string_equal(h->evidence, "hash_rate");
	assert_string_equal(h->phases, "validate pause save switch activate verify commit");
	turn_until(w.loop, w.mode == HCP__MODE__FILL && w.hash_ths > 0 && w.shares > 0);
	assert_string_equal(w.trouble, "");
	assert_int_equal(pool_rejected(w.pool), 0);
	/* Its end stops everything, its renewal starts it again. */
	lease(&w, 50, true, true);
	turn_until(w.loop, gate(&w) == GATE_SAFE);
	assert_int_equal(embed(&w), 503);
	double stands = hashes(&w);
	turn_for(w.loop, 20);
	turn_until(w.loop, hashes(&w) == stands || (stands = hashes(&w), false));
	turn_until(w.loop, w.n_locals > 0 && strcmp(w.locals[w.n_locals - 1], "4 lease_end") == 0);
	turn_until(w.loop, w.mode == HCP__MODE__SAFE);
	lease(&w, 60000, true, true);
	assert_int_equal(gate(&w), GATE_FILL);
	turn_until(w.loop, hashes(&w) > stands);
	world_release(&w);
}

static void switches_are_proved(void **state)
{
	struct world w;
	world_init(&w, true, true);
	lease(&w, 60000, true, true);
	const struct heard *h = COMMAND(&w, .id = "a", .to = HCP__MODE__FILL, .deadline_ms = 20000);
	assert_true(h->ok);
	int64_t before_ns = clock_wall_ns();
	h = COMMAND(&w, .id = "b", .to = HCP__MODE__SERVE, .allocation = "al-7", .model = "hcp-generated-tiny");
	assert_true(h->ok);
	assert_string_equal(h->evidence, "served_request");
	assert_true(h->served_at_ns >= before_ns && h->served_at_ns <= clock_wall_ns());
	assert_int_equal(gate(&w), GATE_SERVE);
	/* The same command again: the same report, no second switch. */
	int64_t served_ns = h->served_at_ns;
	uint64_t switches = w.agent->control.gate->switches;
	h = COMMAND(&w, .id = "b", .to = HCP__MODE__OFF);
	assert_true(h->ok && h->served_at_ns == served_ns);
	assert_int_equal(w.agent->control.gate->switches, switches);
	for (int i = 0; i < 3; i++)
		assert_int_equal(embed(&w), 200);
	/* To off: requests that run are answered first. */
	start(&w, "POST", "/v1/embeddings", EMBED);
	turn_until(w.loop, w.agent->control.inflight == 1);
	h = COMMAND(&w, .id = "c", .device = NULL, .to = HCP__MODE__OFF);
	assert_true(h->ok);
	assert_string_equal(h->evidence, "watts");
	turn_until(w.loop, w.answers == 4);
	assert_int_equal(w.status, 200);
	turn_until(w.loop, keeper_state(slot_keeper(w.agent->slot)) == KEEPER_ASLEEP);
	assert_int_equal(embed(&w), 503);
	/* The proof is not billed, the customer's four requests are. */
	turn_until(w.loop, w.requests == 4 && w.alloc_requests == 4);
	assert_true(w.alloc_ns > 0 && w.tokens >= 4);
	/* From off the runtime has to wake up. The device may be named as the platform does. */
	char id[128];
	snprintf(id, sizeof(id), "%s/cpu0", w.node_id);
	h = COMMAND(&w, .id = "d", .device = id, .to = HCP__MODE__SERVE);
	assert_true(h->ok);
	assert_int_equal(embed(&w), 200);
	world_release(&w);
}

static void bad_commands_change_nothing(void **state)
{
	struct world w;
	world_init(&w, true, false);
	lease(&w, 60000, true, true);
	assert_true(COMMAND(&w, .id = "ok", .to = HCP__MODE__SERVE)->ok);
	uint64_t switches = w.agent->control.gate->switches;
	static const struct {
		struct command c;
		const char *why;
	} bad[] = {
		{ { .id = "b1", .to = HCP__MODE__FILL }, "no pool" },
		{ { .id = "b2", .to = HCP__MODE__SERVE, .model = "other" }, "another model" },
		{ { .id = "b3", .to = HCP__MODE__SERVE, .device = "gpu0" }, "one device" },
		{ { .id = "b4", .to = HCP__MODE__OFF, .items = 2 }, "one device" },
		{ { .id = "b5", .to = HCP__MODE__SAFE }, "mode" },
		{ { .id = "b6", .to = HCP__MODE__OFF, .deadline_ms = -1000 }, "deadline" },
		{ { .id = "b7", .to = HCP__MODE__OFF, .allocation = LONG_ID }, "too long" },
		{ { .id = "b8", .to = HCP__MODE__SERVE, .share_milli = 500 }, "cannot be shared" },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const struct heard *h = command(&w, &bad[i].c);
		assert_false(h->ok || h->rolled_back);
		assert_int_equal(h->failed, 1);
		if (!strstr(h->error, bad[i].why))
			fail_msg("%s: %s", h->id, h->error);
	}
	assert_int_equal(w.agent->control.gate->switches, switches);
	assert_int_equal(embed(&w), 200);
	world_release(&w);
}

/* The order that came last on the way is not the last that was given. */
static void an_overtaken_command_is_passed_over(void **state)
{
	struct world w;
	world_init(&w, true, true);
	lease(&w, 60000, true, true);
	assert_true(COMMAND(&w, .id = "n", .to = HCP__MODE__OFF, .number = 7)->ok);
	send_command(&w, &(struct command){ .id = "o", .to = HCP__MODE__FILL, .number = 6 });
	assert_true(COMMAND(&w, .id = "s", .to = HCP__MODE__SERVE, .number = 8)->ok);
	assert_int_equal(w.n_switches, 2);
	world_release(&w);
}

/* What cannot be proved is undone, and the node goes on as before. */
static void failed_switches_roll_back(void **state)
{
	struct world w;
	world_init(&w, true, true);
	lease(&w, 60000, true, true);
	assert_true(COMMAND(&w, .id = "a", .to = HCP__MODE__SERVE, .allocation = "al-7")->ok);
	pool_server_free(w.pool);
	w.pool = NULL;
	turn_until(w.loop, !cpu_device_has_job(w.agent->device));
	const struct heard *h = COMMAND(&w, .id = "b", .to = HCP__MODE__FILL);
	assert_false(h->ok);
	assert_true(h->rolled_back);
	assert_string_equal(h->error, "verify: pool down");
	assert_int_equal(gate(&w), GATE_SERVE);
	assert_string_equal(w.agent->control.allocation_id, "al-7");
	assert_int_equal(embed(&w), 200);
	/* By the deadline, where that comes first. */
	h = COMMAND(&w, .id = "c", .to = HCP__MODE__FILL, .deadline_ms = 200);
	assert_true(!h->ok && h->rolled_back);
	assert_string_equal(h->error, "verify: the deadline has passed");
	/* A runtime that is away: back to off. */
	assert_true(COMMAND(&w, .id = "d", .to = HCP__MODE__OFF)->ok);
	struct keeper_stats k;
	keeper_stats(slot_keeper(w.agent->slot), &k);
	assert_int_equal(kill(k.pid, SIGSTOP), 0);
	h = COMMAND(&w, .id = "e", .to = HCP__MODE__SERVE, .deadline_ms = 300);
	assert_true(!h->ok && h->rolled_back);
	assert_int_equal(gate(&w), GATE_OFF);
	assert_int_equal(kill(k.pid, SIGCONT), 0);
	/* The same command is answered with the same failure; a new one may succeed. */
	assert_false(COMMAND(&w, .id = "e", .to = HCP__MODE__SERVE)->ok);
	assert_true(COMMAND(&w, .id = "f", .to = HCP__MODE__SERVE)->ok);
	/* The pool comes back by itself. */
	w.pool = make_pool(w.loop, w.pool_port);
	turn_until(w.loop, cpu_device_has_job(w.agent->device));
	assert_true(COMMAND(&w, .id = "g", .to = HCP__MODE__FILL)->ok);
	world_release(&w);
}

static void a_request_interrupts_filling(void **state)
{
	struct world w;
	world_init(&w, true, true);
	lease(&w, 60000, true, true);
	assert_true(COMMAND(&w, .id = "a", .to = HCP__MODE__FILL)->ok);
	for (int i = 0; i < 5; i++) {
		int locals = w.n_locals;
		assert_int_equal(embed(&w), 200);
		assert_int_equal(gate(&w), GATE_SERVE); /* lingers */
		turn_until(w.loop, gate(&w) == GATE_FILL);
		double stands = hashes(&w);
		turn_until(w.loop, hashes(&w) > stands);
		turn_until(w.loop, w.n_locals >= locals + 2);
		assert_string_equal(w.locals[locals], "1 request");
		assert_string_equal(w.locals[locals + 1], "2 idle");
	}
	assert_int_equal(w.agent->control.local_switches, 5);
	assert_int_equal(endpoint_added_ns(w.agent->endpoint)->n, 6 - 1);
	/* Several at once are one switch. */
	for (int i = 0; i < 8; i++)
		start(&w, "POST", "/v1/embeddings", EMBED);
	turn_until(w.loop, w.answers == 13);
	assert_int_equal(w.agent->control.local_switches, 6);
	turn_until(w.loop, gate(&w) == GATE_FILL);
	/* A lease without that right. */
	lease(&w, 60000, false, true);
	assert_int_equal(embed(&w), 503);
	assert_int_equal(gate(&w), GATE_FILL);
	lease(&w, 60000, false, false);
	assert_int_equal(gate(&w), GATE_OFF);
	/* An order is newer than the lease, and the next lease newer than the order. */
	assert_true(COMMAND(&w, .id = "b", .to = HCP__MODE__FILL)->ok);
	assert_int_equal(gate(&w), GATE_FILL);
	lease(&w, 60000, false, false);
	assert_int_equal(gate(&w), GATE_OFF);
	assert_int_equal(pool_rejected(w.pool), 0);
	world_release(&w);
}

static void the_runtime_is_restarted(void **state)
{
	struct world w;
	world_init(&w, false, true);
	assert_int_equal(embed(&w), 200);
	struct keeper_stats k;
	keeper_stats(slot_keeper(w.agent->slot), &k);
	int pid = k.pid;
	assert_int_equal(kill(pid, SIGKILL), 0);
	turn_until(w.loop, (keeper_stats(slot_keeper(w.agent->slot), &k), k.exits == 1));
	assert_string_equal(k.last_exit, "signal 9");
	assert_int_equal(embed(&w), 503);
	turn_until(w.loop, gate(&w) == GATE_FILL); /* mining goes on */
	turn_until(w.loop, keeper_state(slot_keeper(w.agent->slot)) == KEEPER_READY);
	assert_int_equal(embed(&w), 200);
	keeper_stats(slot_keeper(w.agent->slot), &k);
	assert_int_not_equal(k.pid, pid);
	/* Killed while it answers: the client hears of it. */
	assert_int_equal(kill(k.pid, SIGSTOP), 0);
	start(&w, "POST", "/v1/embeddings", EMBED);
	turn_until(w.loop, w.agent->control.inflight == 1);
	int answers = w.answers;
	assert_int_equal(kill(k.pid, SIGKILL), 0);
	turn_until(w.loop, w.answers > answers);
	assert_int_equal(w.status, 503);
	assert_string_equal(w.retry_after, "1");
	assert_int_equal(w.agent->control.inflight, 0);
	turn_until(w.loop, gate(&w) == GATE_FILL);
	world_release(&w);
}

static void speaks_openai(void **state)
{
	struct world w;
	world_init(&w, false, false);
	assert_int_equal(gate(&w), GATE_SERVE); /* stand-alone without a pool */
	assert_int_equal(embed(&w), 200);
	assert_non_null(strstr(w.body, "\"embedding\""));
	assert_non_null(strstr(w.body, "\"prompt_tokens\""));
	assert_int_equal(ask(&w, "POST", "/v1/embeddings", "{"), 400);
	assert_non_null(strstr(w.body, "\"error\""));
	assert_int_equal(ask(&w, "POST", "/v1/embeddings", "{\"model\":\"other\",\"input\":\"x\"}"), 404);
	assert_non_null(strstr(w.body, "\"param\":\"model\""));
	assert_int_equal(ask(&w, "POST", "/v1/embeddings", "{\"model\":\"hcp-generated-tiny\",\"input\":[]}"), 400);
	assert_int_equal(ask(&w, "POST", "/v1/embeddings", ""), 400);
	assert_int_equal(ask(&w, "GET", "/v1/embeddings", ""), 405);
	assert_int_equal(ask(&w, "GET", "/nothing", ""), 404);
	assert_int_equal(ask(&w, "GET", "/v1/models", ""), 200);
	assert_non_null(strstr(w.body, "hcp-generated-tiny"));
	assert_int_equal(ask(&w, "GET", "/health", ""), 200);
	assert_non_null(strstr(w.body, "\"status\":\"ok\""));
	assert_non_null(strstr(w.body, "\"pool\":null"));
	assert_int_equal(w.agent->control.requests, 5);
	assert_int_equal(w.agent->control.failures, 4);
	world_release(&w);
}

/* The stream breaks: the node works on under its lease and says hello again, as the same boot. */
static void survives_a_lost_stream(void **state)
{
	struct world w;
	world_init(&w, true, true);
	lease(&w, 60000, true, true);
	assert_true(COMMAND(&w, .id = "a", .to = HCP__MODE__FILL)->ok);
	struct grpc_call *old = w.stream;
	int before = w.hellos;
	w.stream = NULL;
	char boot[64];
	memcpy(boot, w.boot_id, sizeof(boot));
	grpc_stream_finish(old, GRPC_UNAVAILABLE, "restart");
	turn_until(w.loop, w.hellos > before && w.stream);
	assert_int_equal(gate(&w), GATE_FILL);
	assert_string_equal(w.boot_id, boot);
	w.lease_number = 0; /* the new control plane counts anew */
	lease(&w, 60000, true, true);
	assert_true(COMMAND(&w, .id = "b", .to = HCP__MODE__OFF)->ok);
	world_release(&w);
}

/* A hello that nobody took is said again; counters that the platform cannot use any more begin anew. */
static void says_hello_until_it_is_welcomed(void **state)
{
	struct world w;
	char boot[64];
	world_init(&w, true, false);
	struct grpc_call *old = w.stream;
	int hellos = w.hellos;
	w.silent = true;
	w.stream = NULL;
	grpc_stream_finish(old, GRPC_UNAVAILABLE, "restart");
	turn_until(w.loop, w.hellos >= hellos + 2 && w.stream);
	w.silent = false;
	hellos = w.hellos;
	turn_until(w.loop, w.hellos > hellos);
	turn_until(w.loop, w.reports >= 2 && w.meter_ns > 0);
	memcpy(boot, w.boot_id, sizeof(boot));
	Hcp__Welcome m = HCP__WELCOME__INIT;
	m.node_id = w.node_id;
	m.over_boot_id = boot;
	Hcp__AgentDown d = HCP__AGENT_DOWN__INIT;
	d.kind_case = HCP__AGENT_DOWN__KIND_WELCOME;
	d.welcome = &m;
	int before = w.hellos, reports = w.reports;
	send_down(&w, &d);
	turn_until(w.loop, w.hellos > before && w.reports >= reports + 2);
	assert_string_not_equal(w.boot_id, boot);
	world_release(&w);
}

static void model_command(struct world *w, uint64_t order, const char *version, const char *digest)
{
	Hcp__ModelCommand m = HCP__MODEL_COMMAND__INIT;
	m.node_id = w->node_id;
	m.model = w->model;
	m.version = version;
	m.digest = digest;
	m.order = order;
	Hcp__AgentDown d = HCP__AGENT_DOWN__INIT;
	d.kind_case = HCP__AGENT_DOWN__KIND_MODEL_COMMAND;
	d.model_command = &m;
	send_down(w, &d);
}

/* What slot.c does is shown in its own test; here that orders reach it and their ends come back. */
static void orders_about_its_model_are_answered(void **state)
{
	struct world w;
	world_init(&w, true, false);
	turn_until(w.loop, w.digest[0]);
	assert_string_equal(w.model_state, "hcp-generated-tiny base serving ");
	model_command(&w, 4, "v2", "");
	turn_until(w.loop, w.model_order == 4);
	assert_string_equal(w.model_state, "hcp-generated-tiny base failed this node does not hold version v2");
	int before = w.models;
	model_command(&w, 4, "v2", "");
	turn_until(w.loop, w.models > before);
	model_command(&w, 3, "base", ""); /* overtaken */
	model_command(&w, 5, "base", w.digest);
	turn_until(w.loop, w.model_order == 5);
	assert_string_equal(w.model_state, "hcp-generated-tiny base serving ");
	world_release(&w);
}

static void keeps_its_id(void **state)
{
	struct loop *loop;
	char dir[] = "/tmp/hcp-node-XXXXXX", path[64], first[64];
	assert_non_null(mkdtemp(dir));
	assert_int_equal(loop_new(NULL, &loop, NULL), 0);
	struct agent_conf c = { .state_dir = dir, .listen_host = "127.0.0.1", .facility = "f", .region = "r", .threads = 1,
		.program = "/proc/self/exe", .version = "t", .n_pools = 1, .pools = { { "127.0.0.1", 1, "w", "x" } } };
	for (int i = 0; i < 2; i++) {
		struct agent *a = NULL;
		assert_int_equal(agent_new(loop, &c, &a, NULL), 0);
		if (i == 0)
			snprintf(first, sizeof(first), "%s", agent_node_id(a));
		assert_string_equal(agent_node_id(a), first);
		assert_string_equal(agent_trouble(a), "pool down");
		agent_free(a);
	}
	struct agent *a = NULL;
	struct err err;
	c.engine = "abacus";
	assert_int_equal(agent_new(loop, &c, &a, &err), HCP_EINVAL);
	assert_string_equal(err.field, "engine");
	loop_free(loop);
	snprintf(path, sizeof(path), "%s/node-id", dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "runtime") == 0)
		return runtime_main(argc - 1, argv + 1);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hello_and_lease),
		cmocka_unit_test(switches_are_proved),
		cmocka_unit_test(bad_commands_change_nothing),
		cmocka_unit_test(failed_switches_roll_back),
		cmocka_unit_test(a_request_interrupts_filling),
		cmocka_unit_test(the_runtime_is_restarted),
		cmocka_unit_test(speaks_openai),
		cmocka_unit_test(survives_a_lost_stream),
		cmocka_unit_test(orders_about_its_model_are_answered), cmocka_unit_test(keeps_its_id),
		cmocka_unit_test(an_overtaken_command_is_passed_over),
		cmocka_unit_test(says_hello_until_it_is_welcomed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
