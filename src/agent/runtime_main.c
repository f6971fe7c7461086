#include "agent/runtime_main.h"

#include <getopt.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "http/http_server.h"
#include "infer/builtin.h"
#include "infer/digest.h"
#include "loop/loop.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/priority.h"

enum { NOBODY = 65534 };

struct service {
	struct runtime *runtime; /* owned */
	struct loop *loop;
	struct http_server *http;
	int64_t created_s;
	char digest[MODEL_DIGEST_MAX];
};

struct options {
	const char *model, *listen, *name;
	int64_t parent;
};

static void reply_error(struct http_req *req, const struct err *err)
{
	struct buf b;
	buf_init(&b, 0);
	openai_write_error(&b, err);
	http_reply(req, openai_status(err->code), NULL, 0, buf_str(&b));
	buf_release(&b);
}

static void reply_state(struct http_req *req, const struct service *s)
{
	struct runtime_health h;
	runtime_health(s->runtime, &h);
	const struct encoder_info *info = builtin_info(s->runtime);
	struct buf b;
	buf_init(&b, 0);
	buf_printf(&b, "{\"state\":\"%s\",\"serving\":%s,\"requests\":%llu,\"failures\":%llu,\"resident_bytes\":%llu",
		runtime_state_name(h.state), h.serving ? "true" : "false", (unsigned long long)h.requests,
		(unsigned long long)h.failures, (unsigned long long)h.resident_bytes);
	buf_addz(&b, ",\"model\":");
	buf_add_json(&b, str_of(info ? info->name : ""));
	buf_addz(&b, ",\"digest\":");
	buf_add_json(&b, str_of(s->digest));
	buf_addz(&b, ",\"kernel\":");
	buf_add_json(&b, str_of(info ? info->kernel : ""));
	buf_addc(&b, '}');
	struct http_header digest = { STR(RUNTIME_DIGEST_HEADER), str_of(s->digest) };
	http_reply(req, h.serving ? 200 : 503, &digest, 1, buf_str(&b));
	buf_release(&b);
}

static void embed(struct http_req *req, struct service *s)
{
	struct err err = { 0 };
	struct openai_embeddings e;
	struct buf body;
	uint64_t tokens = 0;
	buf_init(&body, 0);
	int64_t begun_ns = clock_mono_ns();
	int rc = openai_parse_embeddings(&e, req->body, RUNTIME_BODY_MAX, req->arena, &err);
	if (rc == 0)
		rc = runtime_embed(s->runtime, &e, &body, &tokens, &err);
	if (rc < 0) {
		/* The contract's ESTATE is "not serving now", which a client may try again. */
		if (err.code == HCP_ESTATE)
			err.code = HCP_EUNAVAIL;
		reply_error(req, &err);
	} else {
		char ns[24], n[24];
		struct http_header h[] = {
			{ STR(RUNTIME_COMPUTE_HEADER), { ns, (size_t)snprintf(ns, sizeof(ns), "%lld",
				(long long)(clock_mono_ns() - begun_ns)) } },
			{ STR(RUNTIME_TOKENS_HEADER), { n, (size_t)snprintf(n, sizeof(n), "%llu", (unsigned long long)tokens) } },
		};
		http_reply(req, 200, h, 2, buf_str(&body));
	}
	buf_release(&body);
}

static void change(struct http_req *req, struct service *s, bool to_sleep)
{
	struct err err = { 0 };
	bool asleep = s->runtime->state == RUNTIME_ASLEEP;
	int rc = 0;
	if (to_sleep != asleep)
		rc = to_sleep ? runtime_sleep(s->runtime, RUNTIME_SLEEP_LIGHT, NULL, NULL, &err) :
				runtime_wake(s->runtime, NULL, NULL, &err);
	if (rc < 0)
		reply_error(req, &err);
	else
		http_reply(req, 200, NULL, 0, STR("{}"));
}

static void models(struct http_req *req, struct service *s)
{
	const struct encoder_info *info = builtin_info(s->runtime);
	struct buf b;
	buf_init(&b, 0);
	openai_write_models(&b, str_of(info ? info->name : ""), s->created_s);
	http_reply(req, 200, NULL, 0, buf_str(&b));
	buf_release(&b);
}

static void on_request(struct http_req *req, void *arg)
{
	struct service *s = arg;
	bool post = req->method == HTTP_M_POST, get = req->method == HTTP_M_GET;
	if (str_eqz(req->path, "/v1/embeddings") && post)
		embed(req, s);
	else if (str_eqz(req->path, "/health") && get)
		reply_state(req, s);
	else if (str_eqz(req->path, "/v1/models") && get)
		models(req, s);
	else if (str_eqz(req->path, "/sleep") && post)
		change(req, s, true);
	else if (str_eqz(req->path, "/wake") && post)
		change(req, s, false);
	else
		reply_error(req, &(struct err){ .code = HCP_ENOTFOUND, .text = "no such method and path" });
}

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = { { "model", 1, NULL, 'm' }, { "listen", 1, NULL, 'l' },
		{ "name", 1, NULL, 'n' }, { "parent", 1, NULL, 'p' }, { 0 } };
	int c;
	optind = 1;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'm')
			o->model = optarg;
		else if (c == 'l')
			o->listen = optarg;
		else if (c == 'n')
			o->name = optarg;
		else if (c != 'p' || num_parse_i64(str_of(optarg), &o->parent) < 0)
			return -1;
	}
	return o->model && o->listen && optind == argc ? 0 : -1;
}

static int listen_on(struct service *s, const char *where, struct err *err)
{
	struct http_server_conf conf = { .max_body_bytes = RUNTIME_BODY_MAX, .idle_timeout_ms = 3600 * 1000 };
	char host[128];
	if (strncmp(where, "unix:", 5) == 0) {
		conf.host = where;
		(void)unlink(where + 5);
		umask(0177); /* the socket is for its owner */
	} else {
		const char *colon = strrchr(where, ':');
		uint64_t port;
		if (!colon || num_parse_u64(str_of(colon + 1), &port) < 0 || port > 65535 ||
		    str_copy(host, sizeof(host), (struct str){ where, (size_t)(colon - where) }) < 0)
			return err_set(err, HCP_EINVAL, "listen", "must be unix:PATH or HOST:PORT");
		conf.host = host;
		conf.port = (uint16_t)port;
	}
	return http_server_new(s->loop, &conf, on_request, s, &s->http, err);
}

/* Nothing of the parent's rights is left, and it does not outlive the parent. */
static int confine(int64_t parent, struct err *err)
{
	if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
		return err_set(err, HCP_EPERM, "", "rights cannot be dropped");
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	/* After the change of user, which clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return err_set(err, HCP_EIO, "", "the parent cannot be watched");
	if (parent > 0 && getppid() != parent)
		return err_set(err, HCP_ECANCELED, "parent", "is gone already");
	return 0;
}

struct ended {
	int rc;
	struct err err;
};

/* The built-in runtime's verbs have ended when they return. */
static void on_verb(void *arg, int rc, const struct err *err)
{
	struct ended *e = arg;
	e->rc = rc;
	e->err = *err;
}

static int run_verb(
	struct runtime *r, int (*verb)(struct runtime *, runtime_done_fn *, void *, struct err *), struct err *err)
{
	struct ended e = { 0 };
	int rc = verb(r, on_verb, &e, err);
	if (rc == 0 && e.rc < 0) {
		*err = e.err;
		rc = e.rc;
	}
	return rc;
}

/* For the parent, who sees an exit status only: beside the socket, taken away by the keeper. */
static void last_words(const char *listen, const struct err *err)
{
	char path[160], text[400];
	fprintf(stderr, "hcp-agent runtime: %s%s%s\n", err->field, err->field[0] ? ": " : "", err->text);
	if (strncmp(listen, "unix:", 5) != 0 || snprintf(path, sizeof(path), "%s.why", listen + 5) >= (int)sizeof(path))
		return;
	snprintf(text, sizeof(text), "%s%s%s", err->field, err->field[0] ? ": " : "", err->text);
	(void)!file_write_atomic(path, str_of(text), 0600, NULL);
}

int runtime_main(int argc, char **argv)
{
	struct options o = { 0 };
	struct service s = { .created_s = clock_wall_ns() / 1000000000 };
	struct err err = { 0 };
	if (parse(argc, argv, &o) < 0) {
		fprintf(stderr, "usage: hcp-agent runtime --model DIR --listen unix:PATH|HOST:PORT [--name NAME] "
			"[--parent PID]\n");
		return 2;
	}
	(void)prctl(PR_SET_NAME, "hcp-runtime");
	struct builtin_opts opts = { .dir = o.model, .model = o.name };
	int rc = model_digest(o.model, s.digest, &err);
	if (rc == 0)
		rc = builtin_new(&opts, &s.runtime, &err);
	if (rc == 0)
		rc = run_verb(s.runtime, runtime_start, &err);
	if (rc == 0)
		rc = loop_new(NULL, &s.loop, &err);
	if (rc == 0)
		rc = listen_on(&s, o.listen, &err);
	priority_raise();
	if (rc == 0)
		rc = confine(o.parent, &err);
	if (rc == 0)
		rc = run_verb(s.runtime, runtime_warm, &err);
	if (rc == 0)
		loop_run(s.loop); /* until a signal ends the process */
	else
		last_words(o.listen, &err);
	http_server_free(s.http);
	loop_free(s.loop);
	runtime_free(s.runtime);
	return rc < 0 ? 1 : 0;
}
