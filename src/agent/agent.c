#include "agent/agent.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent_priv.h"
#include "agent/endpoint.h"
#include "agent/link.h"
#include "agent/miner.h"
#include "agent/slot.h"
#include "agent/wake.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/mem.h"
#include "device/cpu_device.h"
#include "hash/engine.h"
#include "model/device_class.h"
#include "os/clock.h"
#include "os/entropy.h"
#include "os/file.h"
#include "os/priority.h"
#include "pki/identity.h"

/* ---- what the parts tell ---- */

static void on_device(void *arg)
{
	struct agent *a = arg;
	wake_up(a->wake);
}

static void on_wake(void *arg)
{
	struct agent *a = arg;
	if (!a->has_control)
		return;
	control_on_idle(&a->control);
	if (a->miner)
		miner_collect(a->miner);
}

static void on_local(void *arg, enum gate_state to, int64_t duration_ns, const char *cause)
{
	report_local(arg, to, duration_ns, cause);
}

static void poke(void *arg)
{
	struct agent *a = arg;
	if (a->switcher)
		switcher_poke(a->switcher);
}

static void on_runtime(void *arg, enum keeper_state s)
{
	log_info("runtime", "is %s", keeper_state_name(s));
	poke(arg);
	report_model(arg);
}

static void on_version(void *arg, uint64_t order, const char *version, const char *error)
{
	struct agent *a = arg;
	snprintf(a->model_error, sizeof(a->model_error), "%s", error);
	report_model(a);
}

static double runtime_cpu_s(void *arg)
{
	struct agent *a = arg;
	return (a->slot ? keeper_cpu_s(slot_keeper(a->slot)) : 0) + program_cpu_s(a->program);
}

static void on_shares(void *arg, int64_t accepted, int64_t rejected)
{
	struct agent *a = arg;
	meter_shares(&a->control.meter, accepted, rejected);
}

/* The end at once, mere progress not more often than the platform wants to hear of it. */
static void on_program(void *arg)
{
	struct agent *a = arg;
	if (program_alive(a->program)) {
		if (!a->program_report.armed)
			loop_timer_start(&a->program_report, PROGRAM_REPORT_MS);
		if (!a->fence.armed)
			loop_timer_start(&a->fence, AGENT_FENCE_LOOK_MS);
	} else {
		loop_timer_stop(&a->fence);
		a->program_tells = AGENT_PROGRAM_TELLS;
		report_program(a);
		report_node(a);
	}
	poke(a);
}

static void on_program_report(struct loop *loop, void *arg)
{
	report_program(arg);
}

/* With every report: what was lost on the way is told again. */
static void tell_program(struct agent *a)
{
	struct program_status is;
	if (!a->program)
		return;
	program_status(a->program, &is);
	if (is.state == PROGRAM_NONE)
		return;
	report_program(a);
	bool ours = !strcmp(is.allocation_id, a->control.allocation_id);
	if (!program_alive(a->program) && !ours && --a->program_tells <= 0)
		program_forget(a->program);
}

/*
 * What the platform may give to another node once our lease has ended has ended here before: told to save itself in
 * time, killed if it does not.
 */
static void on_fence(struct loop *loop, void *arg)
{
	struct agent *a = arg;
	int64_t left_ms = lease_left_ms(&a->control.lease, loop_now_ns(loop));
	if (!program_alive(a->program))
		return;
	loop_timer_start(&a->fence, AGENT_FENCE_LOOK_MS);
	if (left_ms > a->fence_ms)
		return;
	log_warn("program", "the lease ends in %lld ms: what runs under it is stopped", (long long)left_ms);
	program_stop(a->program, left_ms > AGENT_FENCE_KILL_MS ? (uint32_t)(left_ms - AGENT_FENCE_KILL_MS) : 0);
}

static void on_result(void *arg, const struct switcher_result *r)
{
	report_switch(arg, r);
}

static void write_health(void *arg, struct buf *b)
{
	agent_health(arg, b);
}

/* ---- what the platform says ---- */

/* The platform may be starting, or full: the hello is repeated, ever more slowly, until it is welcomed. */
static void on_hello_due(struct loop *loop, void *arg)
{
	struct agent *a = arg;
	if (!link_is_up(a->link))
		return; /* on_up begins anew */
	report_hello(a);
	loop_timer_start(&a->hello, a->hello_ms);
	a->hello_ms = a->hello_ms * 2 < AGENT_HELLO_MAX_MS ? a->hello_ms * 2 : AGENT_HELLO_MAX_MS;
}

static void say_hello(struct agent *a)
{
	a->hello_ms = AGENT_HELLO_MS;
	on_hello_due(a->loop, a);
}

static void on_up(void *arg)
{
	struct agent *a = arg;
	lease_new_peer(&a->control.lease);
	a->order = a->model_order = 0;
	say_hello(a);
	log_info("link", "connected to the control plane as %s", a->node_id);
}

static void on_down(void *arg, const char *why)
{
	/* The lease runs on: a node that is cut off works until it ends. */
}

/* What is less than a message may take is no difference of clocks. */
static void set_clock(struct agent *a, int64_t platform_ns)
{
	int64_t offset_ns = platform_ns - clock_wall_ns();
	bool differs = offset_ns < -AGENT_CLOCK_SLACK_NS || offset_ns > AGENT_CLOCK_SLACK_NS;
	a->clock_offset_ns = differs ? offset_ns : 0;
}

static void random_hex(char dst[33])
{
	uint8_t raw[16];
	entropy_fill(raw, sizeof(raw));
	hex_encode(dst, raw, sizeof(raw));
}

/* Counters begin at zero again under another name, so that no joule can be taken for one that was told before. */
static void new_boot(struct agent *a)
{
	char id[33];
	random_hex(id);
	memcpy(a->boot_id, id, sizeof(id));
	a->seq = 0;
	a->welcomed = false;
	control_book(&a->control);
	meter_restart(&a->control.meter);
	log_warn("link", "the platform asks for a new boot: our counters went back; it is %s", a->boot_id);
	say_hello(a);
}

static void on_model_report(struct loop *loop, void *arg)
{
	struct agent *a = arg;
	report_model(a);
	loop_timer_start(&a->model_report, AGENT_MODEL_MS);
}

static void on_welcome(struct agent *a, const Hcp__Welcome *w)
{
	if (w->over_boot_id[0]) {
		if (!strcmp(w->over_boot_id, a->boot_id))
			new_boot(a);
		return;
	}
	loop_timer_stop(&a->hello);
	a->welcomed = true;
	if (w->now_ns > 0)
		set_clock(a, w->now_ns);
	if (w->report_ms >= AGENT_REPORT_MIN_MS && w->report_ms <= AGENT_REPORT_MAX_MS)
		a->report_ms = (uint32_t)w->report_ms;
	report_node(a);
	loop_timer_start(&a->report, a->report_ms);
	on_model_report(a->loop, a);
}

static void on_lease(struct agent *a, const Hcp__Lease *l)
{
	struct lease_grant g = { .ttl_ms = l->ttl_ms, .may_serve = l->may_serve, .may_fill = l->may_fill,
		.power_budget_w = l->power_budget_w, .number = l->number };
	struct err err;
	if (control_lease(&a->control, &g, &err) < 0)
		log_warn("link", "a lease was refused: %s %s", err.field, err.text);
	else
		a->fence_ms = g.ttl_ms / 3 < AGENT_FENCE_MS ? g.ttl_ms / 3 : AGENT_FENCE_MS;
}

/* Ids come as we gave them or as the platform knows them: "<node_id>/<id>". */
static bool is_ours(const struct agent *a, const char *id)
{
	size_t n = strlen(a->node_id);
	if (strncmp(id, a->node_id, n) == 0 && id[n] == '/')
		id += n + 1;
	return strcmp(id, AGENT_DEVICE_ID) == 0;
}

static void refuse_switch(struct agent *a, const Hcp__SwitchCommand *m, const char *why)
{
	struct switcher_result r = { .evidence = "" };
	snprintf(r.id, sizeof(r.id), "%s", m->switch_id);
	snprintf(r.error, sizeof(r.error), "validate: %s", why);
	report_switch(a, &r);
}

/* Into the order, whose ids stand already. */
static int read_program(const struct agent *a, const Hcp__ProgramOrder *m, struct switcher_order *o)
{
	struct program_order *p = &o->program;
	if (!m)
		return 0;
	memcpy(p->allocation_id, o->allocation_id, sizeof(p->allocation_id));
	memcpy(p->workload_id, o->workload_id, sizeof(p->workload_id));
	if (str_copy(p->name, sizeof(p->name), str_of(m->name)) < 0 || !p->name[0])
		return HCP_EINVAL;
	if (m->deadline_ns > 0)
		p->deadline_s = (m->deadline_ns - a->clock_offset_ns) / 1000000000;
	if (!m->restore)
		return 0;
	p->restore.step = m->restore->step;
	return str_copy(p->restore.name, sizeof(p->restore.name), str_of(m->restore->name)) < 0 ||
				   str_copy(p->restore.digest, sizeof(p->restore.digest), str_of(m->restore->digest)) < 0
			   ? HCP_EINVAL
			   : 0;
}

static void on_command(struct agent *a, const Hcp__SwitchCommand *m)
{
	struct switcher_order o = { .left_ms = SWITCHER_DEFAULT_MS };
	if (str_copy(o.id, sizeof(o.id), str_of(m->switch_id)) < 0 || !o.id[0]) {
		log_warn("switch", "a command has no usable switch_id");
		return;
	}
	if (m->n_items != 1 || !is_ours(a, m->items[0]->device_id)) {
		refuse_switch(a, m, "this node has one device, " AGENT_DEVICE_ID);
		return;
	}
	if (m->items[0]->n_shares) {
		refuse_switch(a, m, "this node's processor cannot be shared; only GPUs can");
		return;
	}
	if (m->number && m->number < a->order) {
		log_warn("switch", "command %s was overtaken by a newer one", o.id);
		return;
	}
	a->order = m->number > a->order ? m->number : a->order;
	const Hcp__SwitchItem *i = m->items[0];
	o.to = (enum gate_state)i->to;
	o.power_cap_w = i->power_target_w;
	if (str_copy(o.allocation_id, sizeof(o.allocation_id), str_of(i->allocation_id)) < 0 ||
	    str_copy(o.workload_id, sizeof(o.workload_id), str_of(i->workload_id)) < 0 ||
	    str_copy(o.model, sizeof(o.model), str_of(i->model)) < 0) {
		refuse_switch(a, m, "an id or the model's name is too long");
		return;
	}
	if (read_program(a, i->program, &o) < 0) {
		refuse_switch(a, m, "the program's name, or its checkpoint's, is too long");
		return;
	}
	if (m->deadline_ns > 0)
		o.left_ms = (m->deadline_ns - clock_wall_ns() - a->clock_offset_ns) / 1000000;
	switcher_order(a->switcher, &o);
}

/* Repeated until a report names its order; what a newer one has overtaken is passed over. */
static void on_model(struct agent *a, const Hcp__ModelCommand *m)
{
	int64_t left_ms = AGENT_CHANGE_MS;
	if (!a->slot || strcmp(m->model, a->model) != 0 || m->order < a->model_order) {
		log_warn("runtime", "an order for version %.64s of %.64s is not for this node now", m->version, m->model);
		return;
	}
	if (m->order > a->model_order) {
		if (m->deadline_ns > 0)
			left_ms = (m->deadline_ns - clock_wall_ns() - a->clock_offset_ns) / 1000000;
		left_ms = left_ms < 1 ? 1 : left_ms > AGENT_CHANGE_MS ? AGENT_CHANGE_MS : left_ms;
		a->model_order = m->order;
		a->model_error[0] = '\0';
		slot_change(a->slot, m->order, m->version, m->digest, (uint32_t)left_ms);
	}
	report_model(a);
}

static void on_message(void *arg, const Hcp__AgentDown *m)
{
	struct agent *a = arg;
	switch (m->kind_case) {
	case HCP__AGENT_DOWN__KIND_WELCOME: on_welcome(a, m->welcome); break;
	case HCP__AGENT_DOWN__KIND_LEASE: on_lease(a, m->lease); break;
	case HCP__AGENT_DOWN__KIND_SWITCH_COMMAND: on_command(a, m->switch_command); break;
	case HCP__AGENT_DOWN__KIND_MODEL_COMMAND: on_model(a, m->model_command); break;
	default: log_warn("link", "a message of unknown kind"); break;
	}
}

static void on_report(struct loop *loop, void *arg)
{
	struct agent *a = arg;
	tell_program(a);
	report_node(a);
	loop_timer_start(&a->report, a->report_ms);
}

static void on_samples(struct loop *loop, void *arg)
{
	struct agent *a = arg;
	report_samples(a);
	loop_timer_start(&a->samples, AGENT_SAMPLES_MS);
}

static double jitter(void *arg)
{
	struct agent *a = arg;
	return rng_double(&a->rng);
}

/* ---- making the parts ---- */

/* The stored id, "" where there is none. */
static int stored_node_id(struct agent *a, const char *path, struct err *err)
{
	struct buf b;
	int rc = file_read(path, 256, &b, err);
	if (rc == HCP_ENOTFOUND)
		return 0;
	if (rc < 0)
		return rc;
	struct str id = str_trim(buf_str(&b));
	rc = id.n == 0 || str_copy(a->node_id, sizeof(a->node_id), id) < 0 ?
		err_set(err, HCP_EPARSE, path, "holds no node id") : 0;
	buf_release(&b);
	return rc;
}

static int find_node_id(struct agent *a, const struct identity *cert, struct err *err)
{
	char path[256], text[ID_TEXT_MAX];
	if (a->conf.node_id)
		return str_copy(a->node_id, sizeof(a->node_id), str_of(a->conf.node_id)) < 0 || !a->node_id[0] ?
			err_set(err, HCP_EINVAL, "node-id", "must be 1 to %d bytes", METER_ALLOCATION_MAX - 1) : 0;
	if (file_join(path, sizeof(path), a->conf.state_dir, "node-id") < 0)
		return err_set(err, HCP_ERANGE, "state", "the path is too long");
	int rc = stored_node_id(a, path, err);
	if (rc < 0 || a->node_id[0])
		return rc;
	bool by_cert = cert && cert->n_nodes == 1 && !strchr(cert->node[0], '*');
	struct id id = id_new(clock_wall_ns(), &a->rng);
	if (str_copy(a->node_id, sizeof(a->node_id), str_of(by_cert ? cert->node[0] : id_format(text, ID_NODE, &id))) < 0)
		return err_set(err, HCP_EINVAL, "tls-cert", "its node id has more than %d bytes", METER_ALLOCATION_MAX - 1);
	if (cert && !identity_is_node(cert, a->node_id))
		return 0; /* refused by the caller, so it is not kept */
	return file_write_atomic(path, str_of(a->node_id), 0600, err);
}

/* Told here and at once what the control plane would refuse. */
static int load_node_id(struct agent *a, struct err *err)
{
	struct identity cert;
	char whose[160];
	int rc = a->conf.cert_file ? identity_read(a->conf.cert_file, &cert, err) : 0;
	if (rc == 0)
		rc = find_node_id(a, a->conf.cert_file ? &cert : NULL, err);
	if (rc < 0 || !a->conf.cert_file || identity_is_node(&cert, a->node_id))
		return rc;
	identity_text(&cert, whose, sizeof(whose));
	return err_set(err, HCP_EINVAL, "tls-cert", "is for %s, and this is node %s", whose, a->node_id);
}

static int make_names(struct agent *a, struct err *err)
{
	char seed[33];
	rng_init(&a->rng, entropy_u64());
	random_hex(seed);
	memcpy(a->boot_id, seed, sizeof(seed));
	random_hex(seed);
	memcpy(a->proof, seed, sizeof(seed));
	if (gethostname(a->name, sizeof(a->name) - 1) != 0)
		snprintf(a->name, sizeof(a->name), "node");
	int rc = file_mkdirs(a->conf.state_dir, err);
	if (rc == 0)
		rc = load_node_id(a, err);
	if (rc < 0 || !a->conf.model_dir)
		return rc;
	/* As the encoder names it: the last part of the folder's path. */
	struct str dir = str_of(a->conf.model_dir);
	while (dir.n > 1 && dir.p[dir.n - 1] == '/')
		dir.n--;
	size_t at = dir.n;
	while (at > 0 && dir.p[at - 1] != '/')
		at--;
	return str_copy(a->model, sizeof(a->model), (struct str){ dir.p + at, dir.n - at }) < 0 ?
		err_set(err, HCP_ERANGE, "model", "the folder's name is too long") : 0;
}

static int make_device(struct agent *a, struct err *err)
{
	const struct hash_engine *engine = a->conf.engine ? hash_engine_by_name(a->conf.engine) : hash_engine_best();
	if (!engine)
		return err_set(err, HCP_EINVAL, "engine", "there is no engine \"%s\" for this processor", a->conf.engine);
	struct cpu_device_conf dc = { .threads = a->conf.threads, .engine = engine, .now_ns = clock_mono_ns,
		.on_idle = on_device, .on_share = on_device, .arg = a };
	int rc = cpu_device_new(&dc, &a->device, err);
	if (rc < 0)
		return rc;
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned cores = online > 0 ? (unsigned)online : 1;
	const struct device_class *row = cpu_power_class(cores);
	a->class_name = row->name;
	snprintf(a->device_name, sizeof(a->device_name), "%u cores, %s", cores, engine->name);
	struct control_conf cc = { .loop = a->loop, .device = a->device, .row = row, .cores = cores,
		.linger_ms = a->conf.linger_ms ? a->conf.linger_ms : CONTROL_LINGER_MS, .on_local = on_local, .on_quiet = poke,
		.on_drained = poke, .runtime_cpu_s = runtime_cpu_s, .arg = a };
	control_init(&a->control, &cc);
	a->has_control = true;
	return 0;
}

static int make_service(struct agent *a, struct err *err)
{
	int rc = 0;
	/* A node without its model still mines, and says that it cannot serve. */
	if (a->conf.model_dir && !file_exists(a->conf.model_dir)) {
		if (!a->conf.n_pools)
			return err_set(err, HCP_ENOTFOUND, "model", "%s does not exist", a->conf.model_dir);
		log_warn("runtime", "no model: %s does not exist", a->conf.model_dir);
		a->model[0] = '\0';
	} else if (a->conf.model_dir) {
		struct slot_conf sc = { .loop = a->loop,
			.program = a->conf.program,
			.model = a->model,
			.model_dir = a->conf.model_dir,
			.state_dir = a->conf.state_dir,
			.on_state = on_runtime,
			.on_change = on_version,
			.arg = a };
		rc = slot_new(&sc, &a->slot, err);
	}
	if (rc == 0 && a->conf.programs && a->conf.programs->n) {
		struct program_conf pc = { .loop = a->loop,
			.self = a->conf.program,
			.table = a->conf.programs,
			.checkpoints = a->conf.checkpoints,
			.state_dir = a->conf.state_dir,
			.grace_ms = a->conf.grace_ms,
			.on_change = on_program,
			.arg = a };
		rc = program_new(&pc, &a->program, err);
	}
	struct endpoint_conf ec = { .loop = a->loop, .host = a->conf.listen_host, .port = a->conf.listen_port,
		.control = &a->control, .slot = a->slot, .model = a->model, .proof = a->proof, .health = write_health,
		.arg = a };
	if (rc == 0)
		rc = endpoint_new(&ec, &a->endpoint, err);
	if (rc < 0)
		return rc;
	const char *host = strcmp(a->conf.listen_host, "0.0.0.0") == 0 ? "127.0.0.1" : a->conf.listen_host;
	snprintf(a->url, sizeof(a->url), "http://%s:%u/v1/embeddings", host, endpoint_port(a->endpoint));
	if (a->conf.advertise)
		snprintf(a->endpoint_url, sizeof(a->endpoint_url), "%s", a->conf.advertise);
	else
		snprintf(a->endpoint_url, sizeof(a->endpoint_url), "http://%s:%u", host, endpoint_port(a->endpoint));
	struct switcher_conf sc = { .loop = a->loop,
		.control = &a->control,
		.device = a->device,
		.slot = a->slot,
		.program = a->program,
		.model = a->model,
		.can_fill = a->conf.n_pools > 0,
		.url = a->url,
		.proof = a->proof,
		.on_result = on_result,
		.arg = a };
	return switcher_new(&sc, &a->switcher, err);
}

static int make_connections(struct agent *a, struct err *err)
{
	int rc = 0;
	if (a->conf.n_pools) {
		struct miner_conf mc = { .loop = a->loop, .device = a->device, .n_pools = a->conf.n_pools,
			.seed = rng_u64(&a->rng), .on_shares = on_shares, .arg = a };
		memcpy(mc.pools, a->conf.pools, sizeof(mc.pools));
		rc = miner_new(&mc, &a->miner, err);
	}
	if (rc < 0)
		return rc;
	if (!a->conf.mesh_host) {
		control_lease_forever(&a->control);
		control_command(&a->control, a->conf.n_pools ? GATE_FILL : a->slot ? GATE_SERVE : GATE_OFF, "", "", 0);
		return 0;
	}
	struct link_conf lc = { .loop = a->loop, .host = a->conf.mesh_host, .port = a->conf.mesh_port,
		.token = a->conf.token, .ca_file = a->conf.ca_file, .cert_file = a->conf.cert_file,
		.key_file = a->conf.key_file, .on_up = on_up, .on_down = on_down, .on_message = on_message, .arg = a,
		.jitter = jitter };
	return link_new(&lc, &a->link, err);
}

int agent_new(struct loop *loop, const struct agent_conf *conf, struct agent **ret, struct err *err)
{
	struct agent *a = mem_calloc(1, sizeof(*a));
	if (!a)
		return err_set(err, HCP_ENOMEM, "", "no memory for the agent");
	a->conf = *conf;
	a->loop = loop;
	a->report_ms = AGENT_REPORT_MS;
	loop_timer_init(&a->report, loop, on_report, a);
	loop_timer_init(&a->samples, loop, on_samples, a);
	loop_timer_init(&a->hello, loop, on_hello_due, a);
	loop_timer_init(&a->model_report, loop, on_model_report, a);
	loop_timer_init(&a->program_report, loop, on_program_report, a);
	loop_timer_init(&a->fence, loop, on_fence, a);
	int rc = make_names(a, err);
	if (rc == 0)
		rc = wake_new(loop, on_wake, a, &a->wake, err);
	if (rc == 0)
		rc = make_device(a, err);
	if (rc == 0)
		rc = make_service(a, err);
	if (rc == 0)
		rc = make_connections(a, err);
	if (rc < 0) {
		agent_free(a);
		return rc;
	}
	priority_raise(); /* after the fill threads have begun, which shall not inherit it */
	loop_timer_start(&a->report, a->report_ms);
	loop_timer_start(&a->samples, AGENT_SAMPLES_MS);
	*ret = a;
	return 0;
}

/* The last meters, so that nothing which was done goes unbilled. */
static void say_goodbye(struct agent *a)
{
	uint32_t grace_ms = a->conf.grace_ms ? a->conf.grace_ms : PROGRAM_GRACE_MS;
	control_command(&a->control, GATE_OFF, "", "", 0);
	/* A program saves itself; its end is told by on_program. */
	int64_t saved_ns = loop_now_ns(a->loop) + (grace_ms + PROGRAM_KILL_MS) * 1000000LL;
	if (program_alive(a->program))
		program_stop(a->program, grace_ms);
	while (program_alive(a->program) && loop_now_ns(a->loop) < saved_ns)
		loop_turn(a->loop, 10);
	if (!link_is_up(a->link))
		return;
	report_node(a);
	int64_t until_ns = loop_now_ns(a->loop) + AGENT_STOP_MS * 1000000LL;
	while (loop_now_ns(a->loop) < until_ns)
		loop_turn(a->loop, 10);
}

void agent_free(struct agent *a)
{
	if (!a)
		return;
	if (a->has_control && a->switcher)
		say_goodbye(a);
	loop_timer_stop(&a->report);
	loop_timer_stop(&a->samples);
	loop_timer_stop(&a->hello);
	loop_timer_stop(&a->model_report);
	loop_timer_stop(&a->program_report);
	loop_timer_stop(&a->fence);
	link_free(a->link);
	miner_free(a->miner);
	switcher_free(a->switcher);
	a->switcher = NULL; /* requests that are cut poke it no more */
	endpoint_free(a->endpoint);
	if (a->has_control)
		control_release(&a->control);
	slot_free(a->slot);
	program_free(a->program);
	cpu_device_free(a->device);
	wake_free(a->wake);
	mem_free(a);
}

uint16_t agent_port(const struct agent *a)
{
	return endpoint_port(a->endpoint);
}

const char *agent_node_id(const struct agent *a)
{
	return a->node_id;
}
