#include "agent/switcher.h"

#include <stdio.h>
#include <string.h>

#include "agent/control.h"
#include "agent/endpoint.h"
#include "agent/slot.h"
#include "base/log.h"
#include "base/mem.h"
#include "device/cpu_device.h"
#include "http/http_client.h"
#include "os/clock.h"

#define MS 1000000LL

/* What a failed switch goes back to. */
struct former {
	enum gate_state mode;
	char allocation_id[METER_ALLOCATION_MAX], workload_id[METER_ALLOCATION_MAX];
	int32_t power_cap_w;
};

struct switcher {
	struct switcher_conf conf;
	struct switcher_order queue[SWITCHER_QUEUE]; /* queue[0] is under way if running */
	size_t n_queue;
	bool running;
	bool stepping, again;        /* a callback came from inside a step */
	enum switcher_phase phase;
	int64_t phase_begun_ns, deadline_ns, hash_deadline_ns;
	int64_t queued_ns[SWITCHER_QUEUE];
	double hashes_before;
	struct former former;
	struct switcher_result now;
	struct switcher_result results[SWITCHER_RESULTS];
	uint64_t n_results;
	struct loop_timer timer;     /* polls and deadline */
	struct http_client *http;    /* owned; asks our own endpoint */
	struct http_call *call;      /* NULL: none */
	bool served;
	char body[192];
};

static void step(struct switcher *s);

static int64_t now(const struct switcher *s)
{
	return loop_now_ns(s->conf.loop);
}

static void enter(struct switcher *s, enum switcher_phase p)
{
	int64_t at = now(s);
	int64_t took_ns = at - s->phase_begun_ns;
	s->now.phase_ns[s->phase] = took_ns > 0 ? took_ns : 1;
	s->phase = p;
	s->phase_begun_ns = at;
}

static void publish(struct switcher *s, const struct switcher_result *r)
{
	s->results[s->n_results++ % SWITCHER_RESULTS] = *r;
	s->conf.on_result(s->conf.arg, r);
}

/* The order at the head is over. */
static void finish(struct switcher *s)
{
	loop_timer_stop(&s->timer);
	if (s->call) {
		http_call_cancel(s->call);
		s->call = NULL;
	}
	s->running = false;
	s->n_queue--;
	memmove(&s->queue[0], &s->queue[1], s->n_queue * sizeof(s->queue[0]));
	memmove(&s->queued_ns[0], &s->queued_ns[1], s->n_queue * sizeof(s->queued_ns[0]));
	struct switcher_result r = s->now;
	log_info("switch", "%s to %s: %s%s", r.id, gate_state_name(r.to), r.ok ? "done" : r.error,
		r.rolled_back ? " (rolled back)" : "");
	publish(s, &r);
	s->again = true;
}

static void settle_runtime(struct switcher *s, enum gate_state mode)
{
	if (!s->conf.slot)
		return;
	if (mode == GATE_OFF)
		keeper_sleep(slot_keeper(s->conf.slot));
	else
		keeper_wake(slot_keeper(s->conf.slot));
}

static void fail(struct switcher *s, const char *why)
{
	s->now.ok = false;
	s->now.evidence = "";
	s->now.served_at_ns = 0;
	snprintf(s->now.error, sizeof(s->now.error), "%s: %s", switcher_phase_name(s->phase), why);
	if (s->phase > PHASE_VALIDATE) {
		const struct former *f = &s->former;
		enum gate_state mode = f->mode;
		if (s->phase >= PHASE_SWITCH && s->conf.program)
			program_stop(s->conf.program, 0);
		if (s->phase >= PHASE_SAVE) {
			control_exclusive(s->conf.control, false);
			if (mode == GATE_SERVE && !s->conf.slot) /* a program's, which has been stopped */
				mode = GATE_OFF;
		}
		control_command(s->conf.control, mode, f->allocation_id, f->workload_id, f->power_cap_w);
		control_resume(s->conf.control);
		settle_runtime(s, mode);
		s->now.rolled_back = true;
	}
	enter(s, PHASE_COMMIT);
	finish(s);
}

/* A program of another allocation, or one that is not wanted any more. */
static bool must_leave(const struct switcher *s)
{
	const struct switcher_order *o = &s->queue[0];
	struct program_status is;
	if (!program_alive(s->conf.program))
		return false;
	program_status(s->conf.program, &is);
	return !o->program.name[0] || strcmp(is.allocation_id, o->allocation_id) != 0;
}

static const char *refusal(const struct switcher *s, const struct switcher_order *o)
{
	if (now(s) >= s->deadline_ns)
		return "the deadline has passed";
	if (o->to != GATE_SERVE && o->to != GATE_FILL && o->to != GATE_OFF)
		return "the mode must be serve, fill or off";
	if (!control_has_lease(s->conf.control))
		return "the node holds no lease";
	if (o->program.name[0] && (!s->conf.program || !program_knows(s->conf.program, o->program.name)))
		return "this node allows no such program";
	if (o->program.name[0])
		return o->to == GATE_SERVE && o->allocation_id[0] ? NULL : "a program runs in mode serve, for an allocation";
	if (o->to == GATE_SERVE && !s->conf.slot)
		return "this node has no model";
	if (o->to == GATE_SERVE && o->model[0] && strcmp(o->model, s->conf.model) != 0)
		return "this node has another model";
	if (o->to == GATE_FILL && !s->conf.can_fill)
		return "no pool is configured";
	return NULL;
}

static void begin(struct switcher *s)
{
	const struct switcher_order *o = &s->queue[0];
	struct control *c = s->conf.control;
	s->running = true;
	s->served = false;
	s->phase = PHASE_VALIDATE;
	s->phase_begun_ns = now(s);
	int64_t left_ms = o->left_ms < 0 ? 0 : o->left_ms > 86400000 ? 86400000 : o->left_ms;
	s->deadline_ns = s->queued_ns[0] + left_ms * MS;
	s->now = (struct switcher_result){ .to = o->to, .evidence = "" };
	memcpy(s->now.id, o->id, sizeof(s->now.id));
	const char *why = refusal(s, o);
	if (why) {
		fail(s, why);
		return;
	}
	s->former = (struct former){ .mode = c->commanded, .power_cap_w = c->power_cap_w };
	memcpy(s->former.allocation_id, c->allocation_id, sizeof(s->former.allocation_id));
	memcpy(s->former.workload_id, c->workload_id, sizeof(s->former.workload_id));
	enter(s, PHASE_PAUSE);
	if (c->commanded != o->to)
		control_pause(c, o->to);
}

/*
 * Nobody is left of the former work. A filler that is still inside after SWITCHER_QUIET_MS has no processor (busier
 * threads have them all): once it gets one it ends within a lane group, so there is nothing to wait for. OFF waits for
 * it all the same, in verify.
 */
static bool is_quiet(const struct switcher *s)
{
	const struct control *c = s->conf.control;
	if (!c->pausing)
		return true;
	bool waited = now(s) - s->phase_begun_ns >= SWITCHER_QUIET_MS * MS;
	return atomic_load(&c->gate->closed) && (waited || !atomic_load(&c->gate->active)) &&
		(c->pausing_to == GATE_SERVE || c->inflight == 0);
}

static double hashes(const struct switcher *s)
{
	struct cpu_device_stats st;
	cpu_device_stats(s->conf.device, &st);
	return st.hashes;
}

static void activate(struct switcher *s)
{
	const struct switcher_order *o = &s->queue[0];
	enter(s, PHASE_SWITCH);
	s->hashes_before = hashes(s);
	if (o->to == GATE_FILL)
		control_allow_fill(s->conf.control);
	bool runs = o->program.name[0];
	if (runs && !program_alive(s->conf.program)) {
		struct err err = { 0 };
		if (program_start(s->conf.program, &o->program, &err) < 0) {
			fail(s, err.text);
			return;
		}
	}
	control_exclusive(s->conf.control, runs);
	control_command(s->conf.control, o->to, o->allocation_id, o->workload_id, o->power_cap_w);
	enter(s, PHASE_ACTIVATE);
	control_resume(s->conf.control);
	settle_runtime(s, runs ? GATE_OFF : o->to);
}

/* Its first line of progress; HCP_EAGAIN: not yet. It has failed otherwise, which ends the switch. */
static int program_ready(struct switcher *s)
{
	struct program_status is;
	program_status(s->conf.program, &is);
	if (is.state == PROGRAM_RUNNING || is.state == PROGRAM_DONE)
		return 0;
	if (program_alive(s->conf.program))
		return HCP_EAGAIN;
	fail(s, is.error[0] ? is.error : "the program was told to stop");
	return HCP_ECANCELED;
}

static bool is_active(struct switcher *s)
{
	if (s->queue[0].program.name[0])
		return program_ready(s) == 0;
	if (s->queue[0].to == GATE_SERVE)
		return keeper_state(slot_keeper(s->conf.slot)) == KEEPER_READY;
	return true;
}

static void on_proof(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct switcher *s = arg;
	s->call = NULL;
	if (code == 0 && r->status == 200) {
		s->served = true;
		s->now.served_at_ns = clock_wall_ns();
		step(s);
	} else {
		loop_timer_start(&s->timer, SWITCHER_RETRY_MS);
	}
}

static void ask_for_proof(struct switcher *s)
{
	struct http_header h[] = { { STR("content-type"), STR("application/json") },
		{ STR(ENDPOINT_PROOF_HEADER), str_of(s->conf.proof) } };
	struct http_call_conf cc = { .method = "POST", .url = s->conf.url, .headers = h, .n_headers = 2,
		.body = str_of(s->body), .deadline_ms = SWITCHER_DEFAULT_MS, .on_done = on_proof, .arg = s };
	if (s->call || s->served)
		return;
	if (http_call_start(s->http, &cc, &s->call, NULL) < 0)
		loop_timer_start(&s->timer, SWITCHER_RETRY_MS);
}

/* True when proved; otherwise what proves it is under way, or fail() was called. */
static bool verify(struct switcher *s)
{
	const struct control *c = s->conf.control;
	if (s->queue[0].program.name[0]) {
		s->now.evidence = "program";
		return true; /* its first line came: is_active */
	}
	switch (s->queue[0].to) {
	case GATE_SERVE:
		s->now.evidence = "served_request";
		if (!s->call && !s->served && !s->timer.armed)
			ask_for_proof(s);
		return s->served;
	case GATE_FILL:
		s->now.evidence = "hash_rate";
		if (hashes(s) > s->hashes_before)
			return true;
		/* While requests hold the gate, as they may, only the command's own deadline counts. */
		if (!c->local && now(s) >= s->hash_deadline_ns) {
			fail(s, cpu_device_has_job(s->conf.device) ? "nothing was hashed" : "pool down");
			return false;
		}
		return false;
	default:
		s->now.evidence = "watts";
		return !atomic_load(&c->gate->active) && c->inflight == 0;
	}
}

/* When to look again if nobody pokes: at the deadline, or soon where something is polled. */
static void arm(struct switcher *s)
{
	int64_t left_ms = (s->deadline_ns - now(s) + MS - 1) / MS;
	bool polls = s->phase == PHASE_VERIFY && s->queue[0].to != GATE_SERVE;
	if (s->timer.armed && s->phase == PHASE_VERIFY)
		return; /* the next request for proof */
	loop_timer_start(&s->timer, left_ms <= 0 ? 0 : polls || s->phase == PHASE_PAUSE ? SWITCHER_POLL_MS :
		(uint64_t)left_ms);
}

static void advance(struct switcher *s)
{
	if (!s->running) {
		if (!s->n_queue)
			return;
		begin(s);
		if (!s->running)
			return;
	}
	if (!control_has_lease(s->conf.control)) {
		fail(s, "the lease has ended");
		return;
	}
	if (now(s) >= s->deadline_ns) {
		fail(s, "the deadline has passed");
		return;
	}
	if (s->phase == PHASE_PAUSE && is_quiet(s)) {
		/* Mining keeps its place in the threads, requests are answered: only a program has anything to save. */
		enter(s, PHASE_SAVE);
		if (must_leave(s))
			program_stop(s->conf.program, PROGRAM_GRACE_MS);
	}
	if (s->phase == PHASE_SAVE && !must_leave(s))
		activate(s);
	if (s->running && s->phase == PHASE_ACTIVATE && is_active(s)) {
		s->hash_deadline_ns = now(s) + SWITCHER_HASH_MS * MS;
		loop_timer_stop(&s->timer);
		enter(s, PHASE_VERIFY);
	}
	if (s->running && s->phase == PHASE_VERIFY && verify(s)) {
		enter(s, PHASE_COMMIT);
		s->now.ok = true;
		s->now.phase_ns[PHASE_COMMIT] = 1;
		finish(s);
		return;
	}
	if (s->running)
		arm(s);
}

static void step(struct switcher *s)
{
	if (s->stepping) {
		s->again = true;
		return;
	}
	s->stepping = true;
	do {
		s->again = false;
		advance(s);
	} while (s->again);
	s->stepping = false;
}

void switcher_poke(struct switcher *s)
{
	if (s->running)
		step(s);
}

static void on_timer(struct loop *loop, void *arg)
{
	step(arg);
}

void switcher_order(struct switcher *s, const struct switcher_order *o)
{
	for (size_t i = 0; i < s->n_queue; i++) {
		if (strcmp(s->queue[i].id, o->id) == 0)
			return;
	}
	for (uint64_t i = 0; i < SWITCHER_RESULTS && i < s->n_results; i++) {
		if (strcmp(s->results[i].id, o->id) == 0) {
			s->conf.on_result(s->conf.arg, &s->results[i]);
			return;
		}
	}
	if (s->n_queue == SWITCHER_QUEUE) {
		/* Not remembered: the command may come again when there is room. */
		struct switcher_result r = { .to = o->to, .evidence = "", .error = "validate: too many commands wait" };
		memcpy(r.id, o->id, sizeof(r.id));
		s->conf.on_result(s->conf.arg, &r);
		return;
	}
	s->queued_ns[s->n_queue] = now(s);
	s->queue[s->n_queue++] = *o;
	step(s);
}

int switcher_new(const struct switcher_conf *conf, struct switcher **ret, struct err *err)
{
	struct switcher *s = mem_calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, HCP_ENOMEM, "", "no memory for the switcher");
	s->conf = *conf;
	struct http_client_conf hc = { .max_conns_per_origin = 1 };
	int rc = http_client_new(conf->loop, &hc, &s->http, err);
	if (rc < 0) {
		mem_free(s);
		return rc;
	}
	struct buf b;
	buf_init(&b, sizeof(s->body) - 1);
	buf_addz(&b, "{\"input\":\"ready\",\"model\":");
	buf_add_json(&b, str_of(conf->model));
	buf_addc(&b, '}');
	rc = buf_failed(&b) ? err_set(err, HCP_ERANGE, "model", "the model's name is too long") :
			      str_copy(s->body, sizeof(s->body), buf_str(&b));
	buf_release(&b);
	loop_timer_init(&s->timer, conf->loop, on_timer, s);
	if (rc < 0) {
		switcher_free(s);
		return rc;
	}
	*ret = s;
	return 0;
}

void switcher_free(struct switcher *s)
{
	if (!s)
		return;
	loop_timer_stop(&s->timer);
	http_client_free(s->http);
	mem_free(s);
}

bool switcher_is_busy(const struct switcher *s)
{
	return s->running;
}

const char *switcher_phase_name(enum switcher_phase p)
{
	static const char *const names[] = { "validate", "pause", "save", "switch", "activate", "verify", "commit" };
	return names[p];
}
