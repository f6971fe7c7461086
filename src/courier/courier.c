#include "courier/courier.h"

#include <stdio.h>

#include "base/id.h"
#include "base/list.h"
#include "base/mem.h"
#include "courier/asker.h"
#include "http/http_client.h"

struct courier {
	struct asker asker;
	struct http_client *client; /* owned */
	struct courier_conf conf;
	char agent[64]; /* user-agent */
	size_t n_calls;
	struct list calls; /* struct post */
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
		asker_send(&p->courier->asker, m);
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
	asker_ask(&c->asker);
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

static void work(void *arg, const struct msg *answer)
{
	const Hcp__CallbackOrders *orders = (const Hcp__CallbackOrders *)answer->body;
	for (size_t i = 0; i < orders->n_orders; i++)
		post(arg, orders->orders[i]);
}

static bool has_room(void *arg)
{
	return ((const struct courier *)arg)->n_calls < COURIER_CALLS_MAX;
}

/* The first is the first thing the orchestrator hears in this process: by it submissions know which addresses will do.
 */
static struct msg *question(void *arg, bool fresh)
{
	const struct courier *c = arg;
	struct msg *m = msg_new(MSG_CALLBACK_TAKE);
	if (!m)
		return NULL;
	Hcp__CallbackTake *t = (Hcp__CallbackTake *)m->body;
	t->max = (int32_t)(COURIER_CALLS_MAX - c->n_calls);
	t->wait_ms = ASKER_WAIT_MS;
	t->fresh = fresh;
	t->allow_private = c->conf.allow_private;
	return m;
}

/* ---- life ---- */

int courier_new(const struct courier_conf *conf, struct courier **ret, struct err *err)
{
	struct courier *c = mem_calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	const struct asker_conf ac = { conf->host, "courier", MSG_CALLBACK_ORDERS, question, has_room, work, c };
	c->conf = *conf;
	c->conf.timeout_ms = conf->timeout_ms ? conf->timeout_ms : COURIER_TIMEOUT_MS;
	snprintf(c->agent, sizeof(c->agent), "hcp/%s", conf->version ? conf->version : "dev");
	c->conf.version = NULL;
	list_init(&c->calls);
	const struct http_client_conf hc = { .public_only = !conf->allow_private,
		.max_conns_per_origin = COURIER_CALLS_MAX,
		.connect_timeout_ms = c->conf.timeout_ms,
		.idle_timeout_ms = 5000 };
	int rc = asker_init(&c->asker, &ac, err);
	if (rc == 0)
		rc = http_client_new(c->asker.loop, &hc, &c->client, err);
	if (rc == 0)
		rc = asker_start(&c->asker, err);
	if (rc < 0) {
		courier_free(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void courier_stop(struct courier *c)
{
	if (c)
		asker_stop(&c->asker);
}

void courier_free(struct courier *c)
{
	struct list *it;
	if (!c)
		return;
	courier_stop(c);
	http_client_free(c->client);
	while ((it = list_pop(&c->calls)))
		mem_free(list_entry(it, struct post, node));
	asker_release(&c->asker);
	mem_free(c);
}
