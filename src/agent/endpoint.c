#include "agent/endpoint.h"

#include <string.h>

#include "agent/control.h"
#include "agent/runtime_main.h"
#include "agent/slot.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/num.h"
#include "http/http_client.h"
#include "http/http_server.h"
#include "infer/openai.h"
#include "os/clock.h"

struct endpoint {
	struct endpoint_conf conf;
	struct http_server *http;
	struct list flights; /* struct flight.node */
	struct hist added_ns;
	int64_t created_s;
};

/* One forwarded request; lives in the request's arena. */
struct flight {
	struct list node;
	struct endpoint *endpoint;
	struct http_req *req;
	struct keeper_call *call;
	int64_t begun_ns;
	bool metered;
};

/* A problem that says when to come again. */
static void refuse(struct http_req *req, int status, const char *code, const char *detail)
{
	struct buf b;
	buf_init(&b, 0);
	buf_printf(&b, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"code\":\"%s\",\"detail\":",
		http_status_text(status), status, code);
	buf_add_json(&b, str_of(detail));
	buf_addc(&b, '}');
	struct http_header h[] = { { STR("content-type"), STR("application/problem+json") },
		{ STR("retry-after"), STR("1") } };
	http_reply(req, status, h, 2, buf_str(&b));
	buf_release(&b);
}

static void land(struct flight *f, bool ok, int64_t tokens)
{
	list_del(&f->node);
	control_request_end(f->endpoint->conf.control, ok, tokens, f->metered);
}

static void on_gone(struct http_req *req)
{
	struct flight *f = req->user;
	keeper_cancel(f->call);
	land(f, false, 0);
	http_reply_abort(req);
}

static int64_t header_i64(const struct http_response *r, const char *name)
{
	int64_t v;
	return num_parse_i64(http_response_header(r, name), &v) == 0 && v >= 0 ? v : 0;
}

static void on_answer(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct flight *f = arg;
	struct endpoint *e = f->endpoint;
	struct http_req *req = f->req;
	int64_t begun_ns = f->begun_ns;
	bool metered = f->metered;
	req->on_gone = NULL;
	list_del(&f->node);
	if (code < 0) {
		control_request_end(e->conf.control, false, 0, false);
		refuse(req, 503, "unavailable", err->text);
		return;
	}
	int64_t compute_ns = header_i64(r, RUNTIME_COMPUTE_HEADER), tokens = header_i64(r, RUNTIME_TOKENS_HEADER);
	int status = r->status;
	struct http_header h = { STR(RUNTIME_COMPUTE_HEADER), http_response_header(r, RUNTIME_COMPUTE_HEADER) };
	http_reply(req, status, &h, h.value.p ? 1 : 0, r->body);
	if (status == 200) {
		int64_t added_ns = loop_now_ns(e->conf.loop) - begun_ns - compute_ns;
		hist_add(&e->added_ns, added_ns > 0 ? (uint64_t)added_ns : 0);
	}
	/* The flight lay in the request's arena, which may be gone now. */
	control_request_end(e->conf.control, status == 200, tokens, metered);
}

static void embed(struct endpoint *e, struct http_req *req)
{
	struct err err = { 0 };
	int64_t begun_ns = loop_now_ns(e->conf.loop);
	struct keeper *keeper = e->conf.slot ? slot_keeper(e->conf.slot) : NULL;
	if (!keeper || keeper_state(keeper) != KEEPER_READY) {
		refuse(req, 503, "unavailable",
			keeper ? "the inference runtime is not ready" : "this node has no model");
		return;
	}
	struct flight *f = arena_calloc(req->arena, sizeof(*f));
	if (!f) {
		refuse(req, 503, "unavailable", "no memory for the request");
		return;
	}
	if (control_request_begin(e->conf.control, &err) < 0) {
		refuse(req, err.code == HCP_ELIMIT ? 429 : 503, err_name(err.code), err.text);
		return;
	}
	*f = (struct flight){ .endpoint = e, .req = req, .begun_ns = begun_ns,
		.metered = !str_eqz(http_req_header(req, ENDPOINT_PROOF_HEADER), e->conf.proof) };
	if (keeper_embed(keeper, req->body, on_answer, f, &f->call, &err) < 0) {
		control_request_end(e->conf.control, false, 0, false);
		refuse(req, 503, err_name(err.code), err.text);
		return;
	}
	list_add_tail(&e->flights, &f->node);
	req->user = f;
	req->on_gone = on_gone;
}

static void models(struct endpoint *e, struct http_req *req)
{
	struct buf b;
	buf_init(&b, 0);
	if (e->conf.slot)
		openai_write_models(&b, str_of(e->conf.model), e->created_s);
	else
		buf_addz(&b, "{\"object\":\"list\",\"data\":[]}");
	http_reply(req, 200, NULL, 0, buf_str(&b));
	buf_release(&b);
}

static void health(struct endpoint *e, struct http_req *req)
{
	struct buf b;
	buf_init(&b, 0);
	e->conf.health(e->conf.arg, &b);
	http_reply(req, 200, NULL, 0, buf_str(&b));
	buf_release(&b);
}

static void on_request(struct http_req *req, void *arg)
{
	static const struct {
		const char *path;
		enum http_verb method;
		void (*fn)(struct endpoint *e, struct http_req *req);
	} routes[] = {
		{ "/v1/embeddings", HTTP_M_POST, embed },
		{ "/v1/models", HTTP_M_GET, models },
		{ "/health", HTTP_M_GET, health },
	};
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (!str_eqz(req->path, routes[i].path))
			continue;
		if (req->method == routes[i].method)
			routes[i].fn(arg, req);
		else
			http_reply_problem(req, 405, "method_not_allowed", STR("this path has another method"));
		return;
	}
	http_reply_problem(req, 404, "not_found", STR("no such path"));
}

int endpoint_new(const struct endpoint_conf *conf, struct endpoint **ret, struct err *err)
{
	struct endpoint *e = mem_calloc(1, sizeof(*e));
	if (!e)
		return err_set(err, HCP_ENOMEM, "", "no memory for the endpoint");
	e->conf = *conf;
	e->created_s = clock_wall_ns() / 1000000000;
	list_init(&e->flights);
	struct http_server_conf hc = { .host = conf->host, .port = conf->port, .max_body_bytes = RUNTIME_BODY_MAX };
	int rc = http_server_new(conf->loop, &hc, on_request, e, &e->http, err);
	if (rc < 0) {
		mem_free(e);
		return rc;
	}
	*ret = e;
	return 0;
}

void endpoint_free(struct endpoint *e)
{
	if (!e)
		return;
	list_each_safe(it, tmp, &e->flights) {
		struct flight *f = list_entry(it, struct flight, node);
		struct http_req *req = f->req;
		keeper_cancel(f->call);
		req->on_gone = NULL;
		land(f, false, 0);
		http_reply_abort(req);
	}
	http_server_free(e->http);
	mem_free(e);
}

uint16_t endpoint_port(const struct endpoint *e)
{
	return http_server_port(e->http);
}

const struct hist *endpoint_added_ns(const struct endpoint *e)
{
	return &e->added_ns;
}
