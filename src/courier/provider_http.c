#include <stdio.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/money.h"
#include "courier/provider.h"
#include "http/http_client.h"
#include "http/url.h"
#include "wire/jsonv.h"

enum { URL_MAX_LEN = 512, BEARER_MAX = 512, PATH_MAX_LEN = 640 };
#define USD_H_MAX 100000.0

struct http_provider {
	struct provider base;
	struct http_client *client; /* owned */
	char url[URL_MAX_LEN], auth[BEARER_MAX];
	uint32_t deadline_ms;
	struct list calls;
	size_t n_calls;
};

struct call {
	struct list node;
	struct http_provider *p;
	enum scale_call what;
	provider_done_fn *done;
	void *arg;
};

int provider_http_read(enum scale_call c, struct str body, struct provider_answer *ret, struct err *err)
{
	struct provider_answer a = { 0 };
	struct str state = { 0 };
	double usd_h = 0;
	json_t *doc;
	int rc = jsonv_parse(body, &doc, err);
	if (rc < 0)
		return rc;
	bool priced = c == SCALE_CALL_QUOTE || c == SCALE_CALL_START;
	rc = jsonv_get_double(doc, "usd_h", priced ? JSONV_REQUIRED : JSONV_OPTIONAL, 0, USD_H_MAX, &usd_h, err);
	if (rc == 0 && c != SCALE_CALL_QUOTE)
		rc = jsonv_get_string(doc, "state", JSONV_REQUIRED, &state, err);
	if (rc == 0 && c != SCALE_CALL_QUOTE && (scale_word_parse(state, &a.says) < 0 || a.says == SCALE_SAYS_UNKNOWN))
		rc = err_set(err, HCP_EINVAL, "state", "must be starting, running, stopped or failed");
	if (rc == 0)
		rc = money_from_usd(usd_h, &a.price_micros_h);
	json_decref(doc);
	if (rc == 0)
		*ret = a;
	return rc;
}

static void read_answer(enum scale_call what, const struct http_response *r, struct provider_answer *a)
{
	struct err err = { 0 };
	bool of_node = what == SCALE_CALL_STATE || what == SCALE_CALL_STOP;
	if (r->status == 404 && of_node) {
		a->says = SCALE_SAYS_UNKNOWN;
	} else if (r->status != 200 && r->status != 201) {
		a->code = HCP_EIO;
		snprintf(a->error, sizeof(a->error), "answered %d", r->status);
	} else if ((a->code = provider_http_read(what, r->body, a, &err)) < 0) {
		snprintf(a->error, sizeof(a->error), "%.30s%s%.80s", err.field, err.field[0] ? ": " : "", err.text);
	}
}

static void on_done(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct call *c = arg;
	struct provider_answer a = { .code = code };
	if (r)
		read_answer(c->what, r, &a);
	else
		snprintf(a.error, sizeof(a.error), "%.*s", PROVIDER_ERROR_MAX - 1, err ? err->text : "no answer");
	list_del(&c->node);
	c->p->n_calls--;
	c->done(c->arg, &a);
	mem_free(c);
}

static void write_body(struct buf *b, const struct provider_node *n, bool start)
{
	const struct {
		const char *name, *value;
	} text[] = { { "type", n->type }, { "device_class", n->device_class }, { "region", n->region },
		{ "node", start ? n->node : NULL }, { "facility", start ? n->facility : NULL } };
	buf_printf(b, "{\"devices\":%d", n->devices);
	for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++)
		if (text[i].value) {
			buf_printf(b, ",\"%s\":", text[i].name);
			buf_add_json(b, str_of(text[i].value));
		}
	buf_addc(b, '}');
}

static int send(struct http_provider *p, enum scale_call what, const char *method, const struct provider_node *n,
	provider_done_fn *done, void *arg, struct err *err)
{
	const struct http_header headers[] = { { STR("content-type"), STR("application/json") },
		{ STR("authorization"), str_of(p->auth) } };
	char url[PATH_MAX_LEN];
	struct buf body;
	bool quote = what == SCALE_CALL_QUOTE;
	if (p->n_calls == PROVIDER_CALLS_MAX)
		return err_set(err, HCP_ELIMIT, "", "%d calls are under way", PROVIDER_CALLS_MAX);
	struct call *c = mem_calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	*c = (struct call){ .p = p, .what = what, .done = done, .arg = arg };
	snprintf(url, sizeof(url), "%s/v1/%s%s", p->url, quote ? "quote" : "nodes/", quote ? "" : n->token);
	buf_init(&body, PROVIDER_ANSWER_MAX);
	if (quote || what == SCALE_CALL_START)
		write_body(&body, n, !quote);
	const struct http_call_conf conf = { .method = method,
		.url = url,
		.headers = headers,
		.n_headers = p->auth[0] ? 2 : 1,
		.body = buf_str(&body),
		.deadline_ms = p->deadline_ms,
		.max_body_bytes = PROVIDER_ANSWER_MAX,
		.on_done = on_done,
		.arg = c };
	int rc = buf_failed(&body) ? err_set(err, HCP_ENOMEM, "", "out of memory")
							   : http_call_start(p->client, &conf, NULL, err);
	buf_release(&body);
	if (rc < 0) {
		mem_free(c);
		return rc;
	}
	list_add_tail(&p->calls, &c->node);
	p->n_calls++;
	return 0;
}

#define CALL(name, what, method)                                                                                       \
	static int name(                                                                                                   \
		struct provider *p, const struct provider_node *n, provider_done_fn *done, void *arg, struct err *err)         \
	{                                                                                                                  \
		return send((struct http_provider *)p, what, method, n, done, arg, err);                                       \
	}
CALL(quote, SCALE_CALL_QUOTE, "POST")
CALL(start, SCALE_CALL_START, "PUT")
CALL(state, SCALE_CALL_STATE, "GET")
CALL(stop, SCALE_CALL_STOP, "DELETE")

static void http_provider_free(struct provider *base)
{
	struct http_provider *p = (struct http_provider *)base;
	struct list *it;
	http_client_free(p->client);
	while ((it = list_pop(&p->calls)))
		mem_free(list_entry(it, struct call, node));
	mem_free_secret(p, sizeof(*p));
}

static const struct provider_vt http_vt = { "http", quote, start, state, stop, http_provider_free };

int provider_http_new(struct loop *loop, const char *url, const char *bearer, uint32_t deadline_ms,
	struct provider **ret, struct err *err)
{
	const struct http_client_conf hc = { .max_conns_per_origin = PROVIDER_CALLS_MAX,
		.connect_timeout_ms = deadline_ms,
		.max_waiting = PROVIDER_CALLS_MAX,
		.idle_timeout_ms = 5000 };
	struct url u;
	size_t n = strlen(url);
	int rc = url_parse(str_of(url), &u, err);
	if (rc < 0)
		return rc;
	struct http_provider *p = mem_calloc(1, sizeof(*p));
	if (!p)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	p->base.vt = &http_vt;
	p->deadline_ms = deadline_ms;
	list_init(&p->calls);
	n -= n && url[n - 1] == '/';
	if (str_copy(p->url, sizeof(p->url), (struct str){ url, n }) < 0)
		rc = err_set(err, HCP_ERANGE, "provider", "longer than %d bytes", URL_MAX_LEN - 1);
	if (rc == 0 && bearer[0] && snprintf(p->auth, sizeof(p->auth), "Bearer %s", bearer) >= (int)sizeof(p->auth))
		rc = err_set(err, HCP_ERANGE, "token_file", "the token is too long");
	if (rc == 0)
		rc = http_client_new(loop, &hc, &p->client, err);
	if (rc < 0) {
		http_provider_free(&p->base);
		return rc;
	}
	*ret = &p->base;
	return 0;
}
