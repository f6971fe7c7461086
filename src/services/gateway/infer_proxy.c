/* OpenAI's /v1/embeddings and /v1/models: each request goes to a node that serves the model. */
#include "services/gateway/infer_proxy.h"

#include "base/mem.h"
#include "base/money.h"
#include "os/clock.h"
#include "wire/jsonv.h"

enum { PROXY_DEADLINE_MS = 30000, PROXY_TRIES = 2, PROXY_BACKOFF_MS = 5, PROXY_JITTER_MS = 20, NODES_RETRY_MS = 2000 };

struct infer_proxy {
	struct gw_loop *gl;
	struct http_client *client;  /* owned */
	struct endpoints nodes;
	struct loop_timer nodes_timer;
	struct list calls;
	bool stopped, known;         /* known: NodesList was answered */
};

/* One proxied request; lives in the request's arena. */
struct proxied {
	struct list node;
	struct call *c;
	struct infer_proxy *p;
	struct str model;
	struct endpoint *to;         /* referenced while a try runs */
	struct endpoint *tried;      /* referenced: the node of the first try */
	struct loop_timer backoff;
	int tries;
	int64_t until_ms;
};

/* ---- the view ---- */

static void on_nodes(void *arg, struct msg *reply)
{
	struct infer_proxy *p = arg;
	if (!reply || reply->type != MSG_NODES) {
		if (!p->stopped)
			loop_timer_start(&p->nodes_timer, NODES_RETRY_MS);
		return;
	}
	const Hcp__Nodes *nodes = (const Hcp__Nodes *)reply->body;
	for (size_t i = 0; i < nodes->n_nodes; i++)
		endpoints_node(&p->nodes, nodes->nodes[i]);
	p->known = true;
}

static void ask_nodes(struct loop *loop, void *arg)
{
	struct infer_proxy *p = arg;
	struct msg *m = msg_new(MSG_NODES_LIST);
	if (p->stopped)
		msg_free(m);
	else if (!m || gw_ask(p->gl, m, GATEWAY_DEADLINE_MS, on_nodes, p) < 0)
		loop_timer_start(&p->nodes_timer, NODES_RETRY_MS);
}

void infer_proxy_event(struct infer_proxy *p, const Hcp__EndpointChanged *ev)
{
	endpoints_changed(&p->nodes, ev);
}

/* ---- one request ---- */

static void start_try(struct proxied *r);

static void end_try(struct proxied *r, bool ok)
{
	r->to->in_flight--;
	if (ok)
		breaker_success(&r->to->breaker);
	else
		breaker_failure(&r->to->breaker, clock_mono_ns());
	endpoint_unref(r->tried);
	r->tried = r->to;
	r->to = NULL;
}

static void finish(struct proxied *r)
{
	list_del(&r->node);
	loop_timer_stop(&r->backoff);
	endpoint_unref(r->tried);
	r->tried = NULL;
}

static void give_up(struct proxied *r, int code, const char *field, const char *text)
{
	finish(r);
	gw_problem(r->c, code, field, text);
}

static void relay(struct proxied *r, const struct http_response *resp)
{
	struct http_header h[2];
	struct str type = http_response_header(resp, "content-type");
	h[0] = (struct http_header){ STR("content-type"), type.p ? type : STR("application/json") };
	char *node = arena_strdup(r->c->req->arena, r->tried->node_id);
	h[1] = (struct http_header){ STR("x-hcp-node"), str_of(node ? node : "") };
	finish(r);
	gw_answer(r->c, resp->status, h, 2, resp->body);
}

static void on_backoff(struct loop *loop, void *arg)
{
	start_try(arg);
}

static void on_done(void *arg, int code, const struct http_response *resp, const struct err *err)
{
	struct proxied *r = arg;
	bool failed = code < 0 || resp->status == 503 || resp->status == 502;
	end_try(r, !failed);
	if (!failed) {
		relay(r, resp);
		return;
	}
	if (code == HCP_ETIMEOUT) {
		give_up(r, HCP_ETIMEOUT, "", "the node did not answer in time");
		return;
	}
	if (r->tries < PROXY_TRIES) {
		uint64_t wait_ms = PROXY_BACKOFF_MS + rng_below(&r->p->gl->rng, PROXY_JITTER_MS);
		loop_timer_start(&r->backoff, wait_ms);
		return;
	}
	give_up(r, HCP_EUNAVAIL, "", "no node could answer; try again");
}

static int send_try(struct proxied *r, struct err *err)
{
	struct call *c = r->c;
	char url[ENDPOINT_URL_MAX + 32];
	size_t n = strlen(r->to->url);
	while (n && r->to->url[n - 1] == '/')
		n--;
	snprintf(url, sizeof(url), "%.*s/v1/embeddings", (int)n, r->to->url);
	const struct http_header h[] = {
		{ STR("content-type"), STR("application/json") },
		{ STR("traceparent"), { c->trace_text, TRACE_TEXT_LEN } },
		{ STR("x-hcp-customer"), str_of(c->who->customer_id) },
	};
	int64_t left_ms = r->until_ms - loop_turn_ms(c->gl->loop);
	const struct http_call_conf conf = {
		.method = "POST", .url = url, .headers = h, .n_headers = c->who->customer_id[0] ? 3 : 2,
		.body = c->req->body, .deadline_ms = left_ms > 1 ? (uint32_t)left_ms : 1, .on_done = on_done, .arg = r,
	};
	return http_call_start(r->p->client, &conf, NULL, err);
}

static void start_try(struct proxied *r)
{
	bool known;
	struct err err = { 0 };
	struct endpoints *nodes = &r->p->nodes;
	struct endpoint *n = r->p->stopped ? NULL : endpoints_pick(nodes, r->model, r->tried, clock_mono_ns(), &known);
	if (!n && r->p->stopped) {
		give_up(r, HCP_EUNAVAIL, "", "the gateway is stopping");
		return;
	}
	if (!n && !known && r->p->known) {
		give_up(r, HCP_ENOTFOUND, "model", "no node serves this model; see GET /v1/models");
		return;
	}
	if (!n) {
		give_up(r, HCP_EUNAVAIL, "model", "no node that serves this model can be reached now; try again");
		return;
	}
	r->to = n;
	r->tries++;
	n->in_flight++;
	endpoint_ref(n);
	if (send_try(r, &err) < 0) {
		end_try(r, false);
		give_up(r, HCP_EUNAVAIL, "", err.text);
	}
}

/* The model's name, copied into the request's arena. */
static int read_model(struct call *c, struct str *ret, struct err *err)
{
	json_t *doc = NULL;
	struct str model;
	int rc = jsonv_parse(c->req->body, &doc, err);
	if (rc < 0)
		return rc;
	rc = json_is_object(doc) ? jsonv_get_string(doc, "model", JSONV_REQUIRED, &model, err)
				 : err_set(err, HCP_EINVAL, "", "the body must be an object");
	if (rc == 0) {
		ret->p = arena_strndup(c->req->arena, model.p, model.n);
		ret->n = model.n;
		rc = ret->p ? 0 : err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	json_decref(doc);
	return rc;
}

void infer_embeddings(struct call *c)
{
	struct err err = { 0 };
	struct proxied *r = arena_calloc(c->req->arena, sizeof(*r));
	int rc = r ? read_model(c, &r->model, &err) : err_set(&err, HCP_ENOMEM, "", "out of memory");
	if (rc == 0 && gw_keep_who(c) < 0)
		rc = err_set(&err, HCP_ENOMEM, "", "out of memory");
	if (rc < 0) {
		gw_problem(c, rc, err.field, err.text);
		return;
	}
	r->c = c;
	r->p = c->gl->infer;
	r->until_ms = loop_turn_ms(c->gl->loop) + PROXY_DEADLINE_MS;
	loop_timer_init(&r->backoff, c->gl->loop, on_backoff, r);
	list_add_tail(&r->p->calls, &r->node);
	start_try(r);
}

/* ---- the list of models ---- */

static void add_model(struct map *seen, struct buf *b, const char *model)
{
	if (map_get(seen, str_of(model)) || map_put(seen, str_of(model), seen, NULL) < 0)
		return;
	buf_addz(b, seen->n > 1 ? ",{\"id\":" : "{\"id\":");
	buf_add_json(b, str_of(model));
	buf_addz(b, ",\"object\":\"model\",\"created\":0,\"owned_by\":\"hcp\"}");
}

void infer_models(struct call *c)
{
	struct map seen;
	struct buf b;
	struct str key;
	void *v;
	size_t pos = 0;
	map_init(&seen);
	buf_init(&b, 4 << 20);
	buf_addz(&b, "{\"object\":\"list\",\"data\":[");
	while (map_next(&c->gl->infer->nodes.by_node, &pos, &key, &v)) {
		const struct endpoint *n = v;
		for (size_t i = 0; i < n->n_models; i++)
			add_model(&seen, &b, n->models[i]);
	}
	buf_addz(&b, "]}");
	gw_answer(c, 200, NULL, 0, buf_str(&b));
	buf_release(&b);
	map_release(&seen);
}

/* ---- life ---- */

int infer_proxy_new(struct gw_loop *gl, struct infer_proxy **ret, struct err *err)
{
	struct infer_proxy *p = mem_calloc(1, sizeof(*p));
	if (!p)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	p->gl = gl;
	list_init(&p->calls);
	endpoints_init(&p->nodes);
	loop_timer_init(&p->nodes_timer, gl->loop, ask_nodes, p);
	int rc = http_client_new(gl->loop, &(struct http_client_conf){ 0 }, &p->client, err);
	if (rc < 0) {
		mem_free(p);
		return rc;
	}
	loop_timer_start(&p->nodes_timer, 0);
	*ret = p;
	return 0;
}

void infer_proxy_stop(struct infer_proxy *p)
{
	p->stopped = true;
	loop_timer_stop(&p->nodes_timer);
}

/* On the loop's thread or after it; running calls are answered so that their requests can go. */
void infer_proxy_free(struct infer_proxy *p)
{
	if (!p)
		return;
	loop_timer_stop(&p->nodes_timer);
	http_client_free(p->client);
	list_each_safe(it, tmp, &p->calls) {
		struct proxied *r = list_entry(it, struct proxied, node);
		if (r->to)
			end_try(r, true);
		give_up(r, HCP_ECLOSED, "", "the gateway is stopping");
	}
	endpoints_release(&p->nodes);
	mem_free(p);
}
