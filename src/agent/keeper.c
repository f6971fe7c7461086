#include "agent/keeper.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/runtime_main.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/http_client.h"
#include "loop/child.h"
#include "loop/loop.h"
#include "os/clock.h"
#include "os/file.h"

struct keeper {
	struct keeper_conf conf;
	enum keeper_state state;
	struct child *child;         /* NULL: none runs */
	struct http_client *http;    /* owned */
	struct http_call *probe;     /* or verb, under way; NULL: none */
	bool want_sleep;
	struct loop_timer timer;     /* next spawn, next probe */
	uint32_t backoff_ms;
	int64_t spawned_ms;
	struct keeper_stats stats;
};

struct keeper_call {
	struct keeper *keeper;
	struct http_call *http;
	keeper_done_fn *done;
	void *arg;
};

static void set_state(struct keeper *k, enum keeper_state s)
{
	static const uint8_t allowed[] = {
		[KEEPER_DOWN] = 1 << KEEPER_STARTING,
		[KEEPER_STARTING] = 1 << KEEPER_READY | 1 << KEEPER_DOWN,
		[KEEPER_READY] = 1 << KEEPER_ASLEEP | 1 << KEEPER_DOWN,
		[KEEPER_ASLEEP] = 1 << KEEPER_READY | 1 << KEEPER_DOWN,
	};
	if (k->state == s || !(allowed[k->state] >> s & 1))
		return;
	k->state = s;
	if (k->conf.on_state && s != KEEPER_STARTING)
		k->conf.on_state(k->conf.arg, s);
}

static void respawn_later(struct keeper *k)
{
	loop_timer_start(&k->timer, k->backoff_ms);
	k->backoff_ms = k->backoff_ms * 2 > KEEPER_BACKOFF_MAX_MS ? KEEPER_BACKOFF_MAX_MS : k->backoff_ms * 2;
}

/* What the process left beside its socket when it could not go on. */
static void add_last_words(struct keeper *k)
{
	char path[160];
	struct buf b;
	snprintf(path, sizeof(path), "%s.why", k->conf.socket);
	if (file_read(path, 400, &b, NULL) < 0)
		return;
	size_t n = strlen(k->stats.last_exit);
	snprintf(k->stats.last_exit + n, sizeof(k->stats.last_exit) - n, ": %.*s", (int)b.n, b.data);
	buf_release(&b);
	(void)file_remove(path, NULL);
}

static void on_exit(void *arg, int64_t code, int sig)
{
	struct keeper *k = arg;
	k->child = NULL;
	k->stats.pid = 0;
	k->stats.exits++;
	if (sig)
		snprintf(k->stats.last_exit, sizeof(k->stats.last_exit), "signal %d", sig);
	else
		snprintf(k->stats.last_exit, sizeof(k->stats.last_exit), "exit %lld", (long long)code);
	add_last_words(k);
	log_warn("runtime", "the inference runtime ended: %s", k->stats.last_exit);
	if (k->probe) {
		http_call_cancel(k->probe);
		k->probe = NULL;
	}
	if (loop_turn_ms(k->conf.loop) - k->spawned_ms >= KEEPER_GOOD_MS)
		k->backoff_ms = KEEPER_BACKOFF_MIN_MS;
	respawn_later(k);
	set_state(k, KEEPER_DOWN);
}

static void spawn(struct keeper *k)
{
	char listen[128], parent[16];
	snprintf(listen, sizeof(listen), "unix:%s", k->conf.socket);
	snprintf(parent, sizeof(parent), "%d", (int)getpid());
	const char *argv[] = { k->conf.program, "runtime", "--model", k->conf.model_dir, "--listen", listen, "--parent",
		parent, k->conf.name ? "--name" : NULL, k->conf.name, NULL };
	struct child_conf cc = { .argv = argv, .log_fd = STDERR_FILENO, .stdin_fd = -1, .on_exit = on_exit, .arg = k };
	struct err err;
	k->spawned_ms = loop_turn_ms(k->conf.loop);
	(void)unlink(k->conf.socket);
	if (child_new(k->conf.loop, &cc, &k->child, &err) < 0) {
		log_error("runtime", "cannot start the inference runtime: %s: %s", err.field, err.text);
		k->child = NULL;
		snprintf(k->stats.last_exit, sizeof(k->stats.last_exit), "not started");
		respawn_later(k);
		return;
	}
	k->stats.pid = child_pid(k->child);
	k->stats.starts++;
	set_state(k, KEEPER_STARTING);
	loop_timer_start(&k->timer, KEEPER_PROBE_MS);
}

static void on_probe(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct keeper *k = arg;
	k->probe = NULL;
	if (code == 0 && r->status == 200) {
		struct str digest = http_response_header(r, RUNTIME_DIGEST_HEADER);
		if (!digest.p || str_copy(k->stats.digest, sizeof(k->stats.digest), digest) < 0)
			k->stats.digest[0] = '\0';
		set_state(k, KEEPER_READY);
		if (k->want_sleep)
			keeper_sleep(k);
		return;
	}
	if (loop_turn_ms(k->conf.loop) - k->spawned_ms > KEEPER_START_MS && k->child)
		child_stop(k->child, KEEPER_GRACE_MS); /* on_exit goes on */
	else
		loop_timer_start(&k->timer, KEEPER_PROBE_MS);
}

static void call(struct keeper *k, const char *method, const char *url, void (*done)(void *, int,
	const struct http_response *, const struct err *))
{
	struct http_call_conf cc = { .method = method, .url = url, .deadline_ms = 10000, .on_done = done, .arg = k };
	if (k->probe || http_call_start(k->http, &cc, &k->probe, NULL) < 0)
		loop_timer_start(&k->timer, KEEPER_PROBE_MS);
}

static void on_timer(struct loop *loop, void *arg)
{
	struct keeper *k = arg;
	if (!k->child)
		spawn(k);
	else if (k->state == KEEPER_STARTING)
		call(k, "GET", "http://runtime/health", on_probe);
	else if (k->want_sleep)
		keeper_sleep(k);
	else
		keeper_wake(k);
}

static void on_verb(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct keeper *k = arg;
	k->probe = NULL;
	bool slept = k->state == KEEPER_READY;
	if (code == 0 && r->status == 200)
		set_state(k, slept ? KEEPER_ASLEEP : KEEPER_READY);
	/* The wish may have changed meanwhile; a failed verb is tried again. */
	if (k->want_sleep != (k->state == KEEPER_ASLEEP))
		loop_timer_start(&k->timer, KEEPER_PROBE_MS);
}

void keeper_sleep(struct keeper *k)
{
	k->want_sleep = true;
	if (k->state == KEEPER_READY && !k->probe)
		call(k, "POST", "http://runtime/sleep", on_verb);
}

void keeper_wake(struct keeper *k)
{
	k->want_sleep = false;
	if (k->state == KEEPER_ASLEEP && !k->probe)
		call(k, "POST", "http://runtime/wake", on_verb);
}

int keeper_new(const struct keeper_conf *conf, struct keeper **ret, struct err *err)
{
	if (strlen(conf->socket) > 100)
		return err_set(err, HCP_ERANGE, "state", "the path of the runtime's socket must be at most 100 bytes");
	struct keeper *k = mem_calloc(1, sizeof(*k));
	if (!k)
		return err_set(err, HCP_ENOMEM, "", "no memory for the runtime's keeper");
	k->conf = *conf;
	k->conf.call_ms = conf->call_ms ? conf->call_ms : KEEPER_CALL_MS;
	k->backoff_ms = KEEPER_BACKOFF_MIN_MS;
	struct http_client_conf hc = { .unix_path = conf->socket, .max_conns_per_origin = 16,
		.idle_timeout_ms = 3000 * 1000 };
	int rc = http_client_new(conf->loop, &hc, &k->http, err);
	if (rc < 0) {
		mem_free(k);
		return rc;
	}
	loop_timer_init(&k->timer, conf->loop, on_timer, k);
	spawn(k);
	*ret = k;
	return 0;
}

void keeper_free(struct keeper *k)
{
	if (!k)
		return;
	loop_timer_stop(&k->timer);
	child_free(k->child);
	http_client_free(k->http);
	(void)unlink(k->conf.socket);
	mem_free(k);
}

enum keeper_state keeper_state(const struct keeper *k)
{
	return k->state;
}

void keeper_stats(const struct keeper *k, struct keeper_stats *ret)
{
	*ret = k->stats;
	ret->state = k->state;
	ret->want_sleep = k->want_sleep;
}

static void on_embed(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct keeper_call *c = arg;
	struct keeper *k = c->keeper;
	k->stats.calls--;
	if (code == HCP_ETIMEOUT && k->child)
		child_stop(k->child, KEEPER_GRACE_MS);
	c->done(c->arg, code, r, err);
	mem_free(c);
}

int keeper_embed(struct keeper *k, struct str body, keeper_done_fn *done, void *arg, struct keeper_call **ret,
	struct err *err)
{
	if (k->state != KEEPER_READY)
		return err_set(err, HCP_EUNAVAIL, "", "the inference runtime is %s", keeper_state_name(k->state));
	struct keeper_call *c = mem_calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, HCP_ENOMEM, "", "no memory for the request");
	c->keeper = k;
	c->done = done;
	c->arg = arg;
	struct http_header type = { STR("content-type"), STR("application/json") };
	struct http_call_conf cc = { .method = "POST", .url = "http://runtime/v1/embeddings", .headers = &type,
		.n_headers = 1, .body = body, .deadline_ms = k->conf.call_ms, .max_body_bytes = 64 << 20, .on_done = on_embed,
		.arg = c };
	int rc = http_call_start(k->http, &cc, &c->http, err);
	if (rc < 0) {
		mem_free(c);
		return rc;
	}
	k->stats.calls++;
	*ret = c;
	return 0;
}

void keeper_cancel(struct keeper_call *call)
{
	call->keeper->stats.calls--;
	http_call_cancel(call->http);
	mem_free(call);
}

double keeper_cpu_s(const struct keeper *k)
{
	return k->stats.pid ? (double)clock_cpu_ns(k->stats.pid) / 1e9 : 0;
}

const char *keeper_state_name(enum keeper_state s)
{
	static const char *const names[] = { "down", "starting", "ready", "asleep" };
	return names[s];
}
