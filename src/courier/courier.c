#include "courier/courier.h"

#include <pthread.h>
#include <stdio.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/panic.h"
#include "http/http_client.h"
#include "loop/loop.h"
#include "svc/host.h"

/*
 *   take ──▶ orchestrator ──(answers from its thread)──▶ answer ──▶ one post each ──▶ result ──▶ orchestrator
 *     ▲                                                                 │
 *     └──────────────────────── a hand is free ─────────────────────────┘
 */
struct courier {
	struct host *host;
	struct loop *loop;          /* owned */
	struct http_client *client; /* owned */
	struct courier_conf conf;
	char agent[64]; /* user-agent */
	pthread_t thread;
	bool running, stopped;
	bool asked;    /* a take is on its way or waits there */
	bool reported; /* one was answered: the next is not the first */
	size_t n_calls;
	struct list calls; /* struct post */
	struct loop_timer retry;
	pthread_mutex_t lock; /* answer */
	struct msg *answer;   /* owned; at most one take is out. NULL: there was no memory for an answer */
};

struct post {
	struct list node;
	struct courier *courier;
	struct http_call *call; /* NULL: over */
	char workload_id[ID_TEXT_MAX];
	int64_t n;
	int32_t attempt;
	int status;
	size_t n_body;
};

static void ask(struct courier *c);

/* ---- one post ---- */

static void tell(struct post *p, int code, const char *why)
{
	struct msg *m = msg_new(MSG_CALLBACK_RESULT);
	Hcp__CallbackResult *r = m ? (Hcp__CallbackResult *)m->body : NULL;
	if (!r)
		return; /* its lease runs out, and it is sent once more */
	r->workload_id = arena_strdup(&m->arena, p->workload_id);
	r->n = p->n;
	r->attempt = p->attempt;
	r->status = p->status;
	r->error = arena_strdup(&m->arena, p->status ? "" : why);
	r->refused = !p->status && code == HCP_EPERM;
	if (r->workload_id && r->error)
		host_send(p->courier->host, m);
	else
		msg_free(m);
}

static void over(struct post *p, int code, const char *why)
{
	struct courier *c = p->courier;
	tell(p, code, why);
	list_del(&p->node);
	c->n_calls--;
	mem_free(p);
	ask(c);
}

static void on_head(void *arg, const struct http_response *r)
{
	struct post *p = arg;
	p->status = r->status;
}

/* What the answer says does not matter, its status does. */
static void on_body(void *arg, struct str piece)
{
	struct post *p = arg;
	p->n_body += piece.n;
	if (p->n_body <= COURIER_BODY_MAX)
		return;
	http_call_cancel(p->call);
	over(p, 0, "");
}

static void on_done(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct post *p = arg;
	if (r)
		p->status = r->status;
	over(p, code, err ? err->text : "");
}

static int start(struct courier *c, struct post *p, const Hcp__CallbackOrder *o, struct err *err)
{
	char attempt[16];
	snprintf(attempt, sizeof(attempt), "%d", o->attempt);
	const struct http_header headers[] = {
		{ STR("content-type"), STR("application/json") },
		{ STR("user-agent"), str_of(c->agent) },
		{ STR("hcp-delivery"), str_of(o->id) },
		{ STR("hcp-attempt"), str_of(attempt) },
		{ STR("hcp-signature"), str_of(o->signature) },
	};
	const struct http_call_conf conf = {
		.method = "POST",
		.url = o->url,
		.headers = headers,
		.n_headers = sizeof(headers) / sizeof(headers[0]),
		.body = { (const char *)o->body.data, o->body.len },
		.deadline_ms = c->conf.timeout_ms,
		.on_head = on_head,
		.on_body = on_body,
		.on_done = on_done,
		.arg = p,
	};
	return http_call_start(c->client, &conf, &p->call, err);
}

/* A lease that ran out early (a clock that jumped) must not bring a later callback in before one that is on its way. */
static bool in_hand(const struct courier *c, const char *workload_id)
{
	list_each(it, &c->calls) {
		if (!strcmp(list_entry(it, struct post, node)->workload_id, workload_id))
			return true;
	}
	return false;
}

static void post(struct courier *c, const Hcp__CallbackOrder *o)
{
	struct err err = { 0 };
	if (in_hand(c, o->workload_id))
		return;
	struct post *p = mem_calloc(1, sizeof(*p));
	if (!p || str_copy(p->workload_id, sizeof(p->workload_id), str_of(o->workload_id)) < 0) {
		mem_free(p);
		return; /* the lease runs out */
	}
	p->courier = c;
	p->n = o->n;
	p->attempt = o->attempt;
	int rc = start(c, p, o, &err);
	if (rc < 0) {
		tell(p, rc, err.text);
		mem_free(p);
		return;
	}
	list_add_tail(&c->calls, &p->node);
	c->n_calls++;
}

/* ---- asking for work ---- */

static void on_answer(struct loop *loop, void *arg)
{
	struct courier *c = arg;
	pthread_mutex_lock(&c->lock);
	struct msg *m = c->answer;
	c->answer = NULL;
	pthread_mutex_unlock(&c->lock);
	c->asked = false;
	if (c->stopped || !m || m->type != MSG_CALLBACK_ORDERS) {
		msg_free(m);
		if (!c->stopped)
			loop_timer_start(&c->retry, COURIER_RETRY_MS);
		return;
	}
	c->reported = true;
	const Hcp__CallbackOrders *orders = (const Hcp__CallbackOrders *)m->body;
	for (size_t i = 0; i < orders->n_orders; i++)
		post(c, orders->orders[i]);
	msg_free(m);
	ask(c);
}

/* On the orchestrator's thread. */
static void on_reply(void *arg, struct msg *reply)
{
	struct courier *c = arg;
	pthread_mutex_lock(&c->lock);
	c->answer = reply;
	pthread_mutex_unlock(&c->lock);
	must(loop_post(c->loop, on_answer, c) == 0); /* never more than two wait there */
}

/* NULL: out of memory. */
static struct msg *question(struct courier *c)
{
	struct msg *m = msg_new(MSG_CALLBACK_TAKE);
	if (!m)
		return NULL;
	Hcp__CallbackTake *t = (Hcp__CallbackTake *)m->body;
	t->max = (int32_t)(COURIER_CALLS_MAX - c->n_calls);
	t->wait_ms = COURIER_WAIT_MS;
	t->fresh = !c->reported;
	t->allow_private = c->conf.allow_private;
	m->reply_fn = on_reply;
	m->reply_arg = c;
	return m;
}

static void ask(struct courier *c)
{
	if (c->asked || c->stopped || c->n_calls >= COURIER_CALLS_MAX)
		return;
	struct msg *m = question(c);
	if (!m) {
		loop_timer_start(&c->retry, COURIER_RETRY_MS);
		return;
	}
	c->asked = true;
	host_send(c->host, m);
}

static void on_retry(struct loop *loop, void *arg)
{
	ask(arg);
}

/* ---- life ---- */

static void *run(void *arg)
{
	struct courier *c = arg;
	loop_run(c->loop);
	return NULL;
}

int courier_new(const struct courier_conf *conf, struct courier **ret, struct err *err)
{
	struct courier *c = mem_calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	c->conf = *conf;
	c->host = conf->host;
	c->conf.timeout_ms = conf->timeout_ms ? conf->timeout_ms : COURIER_TIMEOUT_MS;
	snprintf(c->agent, sizeof(c->agent), "hcp/%s", conf->version ? conf->version : "dev");
	c->conf.version = NULL;
	list_init(&c->calls);
	pthread_mutex_init(&c->lock, NULL);
	const struct http_client_conf hc = { .public_only = !conf->allow_private,
		.max_conns_per_origin = COURIER_CALLS_MAX,
		.connect_timeout_ms = c->conf.timeout_ms,
		.idle_timeout_ms = 5000 };
	int rc = loop_new(NULL, &c->loop, err);
	if (rc == 0) {
		loop_timer_init(&c->retry, c->loop, on_retry, c);
		rc = http_client_new(c->loop, &hc, &c->client, err);
	}
	/* The first thing the orchestrator hears in this process: by it submissions know which addresses will do. */
	struct msg *first = rc == 0 ? question(c) : NULL;
	if (rc == 0 && !first)
		rc = err_set(err, HCP_ENOMEM, "", "out of memory");
	c->asked = true;
	if (rc == 0 && pthread_create(&c->thread, NULL, run, c) != 0)
		rc = err_set(err, HCP_EIO, "courier", "cannot start a thread");
	if (rc < 0) {
		msg_free(first);
		courier_free(c);
		return rc;
	}
	c->running = true;
	pthread_setname_np(c->thread, "courier");
	host_send(c->host, first);
	*ret = c;
	return 0;
}

static void finish(struct loop *loop, void *arg)
{
	struct courier *c = arg;
	c->stopped = true;
	loop_stop(loop);
}

void courier_stop(struct courier *c)
{
	if (!c || !c->running)
		return;
	must(loop_post(c->loop, finish, c) == 0);
	pthread_join(c->thread, NULL);
	c->running = false;
}

void courier_free(struct courier *c)
{
	struct list *it;
	if (!c)
		return;
	courier_stop(c);
	if (c->loop)
		loop_timer_stop(&c->retry);
	http_client_free(c->client);
	while ((it = list_pop(&c->calls)))
		mem_free(list_entry(it, struct post, node));
	if (c->loop)
		loop_free(c->loop);
	msg_free(c->answer);
	pthread_mutex_destroy(&c->lock);
	mem_free(c);
}
