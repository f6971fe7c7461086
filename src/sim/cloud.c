#include "sim/cloud.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "http/http_server.h"
#include "loop/child.h"
#include "loop/loop.h"
#include "model/device_class.h"
#include "wire/jsonv.h"

enum node_state { STARTING, RUNNING, STOPPING, STOPPED, FAILED };
static const char *const state_names[] = { "starting", "running", "running", "stopped", "failed" };

enum { PATH_MAX_LEN = 4096, DEVICES_MAX = 512, BODY_MAX = 16 << 10 };

struct cloud_node {
	struct cloud *cloud;
	char token[CLOUD_TEXT_MAX], node[CLOUD_TEXT_MAX], cls[CLOUD_TEXT_MAX], facility[CLOUD_TEXT_MAX],
		region[CLOUD_TEXT_MAX];
	int64_t devices;
	enum node_state state;
	int starts;
	struct child *child; /* owned; NULL: none */
	struct loop_timer boot;
};

struct cloud {
	struct loop *loop;
	struct cloud_conf conf;
	struct http_server *server;
	char self[PATH_MAX_LEN];                  /* this program */
	struct cloud_node *node[CLOUD_NODES_MAX]; /* owned; what stood is remembered */
	size_t n;
	struct http_req *hung[CLOUD_NODES_MAX]; /* never answered until the end */
	size_t n_hung;
	uint32_t failed;
};

/* ---- nodes ---- */

static struct cloud_node *find(const struct cloud *c, struct str token)
{
	for (size_t i = 0; i < c->n; i++)
		if (str_eqz(token, c->node[i]->token))
			return c->node[i];
	return NULL;
}

static void on_exit_of(void *arg, int64_t exit_code, int term_signal)
{
	struct cloud_node *n = arg;
	n->child = NULL;
	n->state = n->state == STOPPING ? STOPPED : FAILED;
	log_info("cloud", "%s ended: %s", n->node, state_names[n->state]);
}

static void run_node(struct cloud_node *n)
{
	struct cloud *c = n->cloud;
	struct err err = { 0 };
	char spec[2 * CLOUD_TEXT_MAX];
	snprintf(spec, sizeof(spec), "%s:%lld", n->cls, (long long)n->devices);
	const struct { const char *name, *value; } given[] = {
		{ "--token-file", c->conf.token_file }, { "--tls-ca", c->conf.ca_file }, { "--tls-cert", c->conf.cert_file },
		{ "--tls-key", c->conf.key_file },
	};
	const char *argv[24] = { c->self, "fleet", "--mesh", c->conf.mesh, "--spec", spec, "--node", n->node, "--facility",
		n->facility, "--region", n->region };
	size_t n_argv = 12;
	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++)
		if (given[i].value) {
			argv[n_argv++] = given[i].name;
			argv[n_argv++] = given[i].value;
		}
	const struct child_conf conf = { .argv = argv, .log_fd = -1, .stdin_fd = -1, .on_exit = on_exit_of, .arg = n };
	n->state = RUNNING;
	n->starts++;
	if (!c->conf.lie && child_new(c->loop, &conf, &n->child, &err) < 0) {
		n->state = FAILED;
		log_error("cloud", "%s: %s", n->node, err.text);
	}
}

static void on_boot(struct loop *loop, void *arg)
{
	run_node(arg);
}

static void stop_node(struct cloud_node *n)
{
	loop_timer_stop(&n->boot);
	if (n->child)
		child_stop(n->child, CLOUD_STOP_MS);
	n->state = n->child ? STOPPING : STOPPED;
}

static int get_text(const json_t *doc, const char *name, enum jsonv_need need, char to[CLOUD_TEXT_MAX], struct err *err)
{
	struct str v = { 0 };
	int rc = jsonv_get_string(doc, name, need, &v, err);
	if (rc == 0 && str_copy(to, CLOUD_TEXT_MAX, v) < 0)
		rc = err_set(err, HCP_ERANGE, name, "longer than %d bytes", CLOUD_TEXT_MAX - 1);
	return rc;
}

static int read_node(struct str body, struct cloud_node *n, struct err *err)
{
	json_t *doc;
	int rc = jsonv_parse(body, &doc, err);
	if (rc < 0)
		return rc;
	rc = get_text(doc, "node", JSONV_REQUIRED, n->node, err);
	rc = rc ? rc : get_text(doc, "device_class", JSONV_REQUIRED, n->cls, err);
	rc = rc ? rc : get_text(doc, "facility", JSONV_REQUIRED, n->facility, err);
	rc = rc ? rc : get_text(doc, "region", JSONV_OPTIONAL, n->region, err);
	rc = rc ? rc : jsonv_get_int(doc, "devices", JSONV_REQUIRED, 1, DEVICES_MAX, &n->devices, err);
	json_decref(doc);
	if (rc == 0 && !device_class_find(str_of(n->cls)))
		rc = err_set(err, HCP_ENOTFOUND, "device_class", "there is no class %.40s", n->cls);
	return rc;
}

static int start_node(struct cloud *c, struct str token, struct str body, struct cloud_node **ret, struct err *err)
{
	struct cloud_node *n = find(c, token);
	*ret = n;
	if (n)
		return 0; /* a repeat */
	if (c->n == CLOUD_NODES_MAX)
		return err_set(err, HCP_ELIMIT, "", "at most %d nodes", CLOUD_NODES_MAX);
	n = mem_calloc(1, sizeof(*n));
	if (!n)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	n->cloud = c;
	int rc = str_copy(n->token, sizeof(n->token), token);
	rc = rc < 0 ? err_set(err, rc, "token", "too long") : read_node(body, n, err);
	if (rc < 0) {
		mem_free(n);
		return rc;
	}
	loop_timer_init(&n->boot, c->loop, on_boot, n);
	c->node[c->n++] = n;
	if (c->conf.boot_ms)
		loop_timer_start(&n->boot, c->conf.boot_ms);
	else
		run_node(n);
	*ret = n;
	return 0;
}

/* ---- HTTP ---- */

static void answer(struct http_req *req, int status, const struct cloud_node *n, double usd_h)
{
	struct buf b;
	buf_init(&b, 4096);
	buf_addc(&b, '{');
	if (n)
		buf_printf(&b, "\"state\":\"%s\",", state_names[n->state]);
	buf_printf(&b, "\"usd_h\":%.6f}", usd_h);
	http_reply(req, status, NULL, 0, buf_str(&b));
	buf_release(&b);
}

static void list_nodes(const struct cloud *c, struct http_req *req)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	buf_addz(&b, "{\"nodes\":[");
	for (size_t i = 0; i < c->n; i++) {
		buf_printf(&b, "%s{\"token\":", i ? "," : "");
		buf_add_json(&b, str_of(c->node[i]->token));
		buf_addz(&b, ",\"node\":");
		buf_add_json(&b, str_of(c->node[i]->node));
		buf_printf(&b, ",\"state\":\"%s\",\"starts\":%d}", state_names[c->node[i]->state], c->node[i]->starts);
	}
	buf_addz(&b, "]}");
	http_reply(req, buf_failed(&b) ? 500 : 200, NULL, 0, buf_failed(&b) ? STR("{}") : buf_str(&b));
	buf_release(&b);
}

static void quote(const struct cloud *c, struct http_req *req)
{
	struct err err = { 0 };
	int64_t devices = 0;
	json_t *doc;
	int rc = jsonv_parse(req->body, &doc, &err);
	if (rc == 0) {
		rc = jsonv_get_int(doc, "devices", JSONV_REQUIRED, 1, DEVICES_MAX, &devices, &err);
		json_decref(doc);
	}
	if (rc < 0)
		http_reply_problem(req, 400, "invalid", str_of(err.text));
	else
		answer(req, 200, NULL, c->conf.usd_device_h * (double)devices);
}

static void start(struct cloud *c, struct http_req *req, struct str token)
{
	struct cloud_node *n;
	struct err err = { 0 };
	int rc = start_node(c, token, req->body, &n, &err);
	if (rc < 0) {
		http_reply_problem(req, 400, "invalid", str_of(err.text));
	} else if (c->conf.hang && c->n_hung < CLOUD_NODES_MAX) {
		c->hung[c->n_hung++] = req;
	} else {
		answer(req, 201, n, c->conf.usd_device_h * (double)n->devices);
	}
}

static void on_node(struct cloud *c, struct http_req *req, struct str token)
{
	struct cloud_node *n = find(c, token);
	if (req->method == HTTP_M_PUT) {
		start(c, req, token);
		return;
	}
	if (!n) {
		http_reply_problem(req, 404, "not_found", STR("there is no such node"));
		return;
	}
	if (req->method == HTTP_M_DELETE && n->state != STOPPED && n->state != FAILED)
		stop_node(n);
	else if (req->method == HTTP_M_DELETE)
		n->state = STOPPED;
	answer(req, 200, n, c->conf.usd_device_h * (double)n->devices);
}

static void on_request(struct http_req *req, void *arg)
{
	static const struct str nodes = { "/v1/nodes/", 10 };
	struct cloud *c = arg;
	if (req->method == HTTP_M_GET && str_eqz(req->path, "/v1/nodes"))
		list_nodes(c, req);
	else if (c->failed < c->conf.fail && ++c->failed)
		http_reply_problem(req, 500, "internal", STR("told to fail"));
	else if (req->method == HTTP_M_POST && str_eqz(req->path, "/v1/quote"))
		quote(c, req);
	else if (str_starts(req->path, nodes) &&
			 (req->method == HTTP_M_PUT || req->method == HTTP_M_GET || req->method == HTTP_M_DELETE))
		on_node(c, req, (struct str){ req->path.p + nodes.n, req->path.n - nodes.n });
	else
		http_reply_problem(req, 404, "not_found", STR("POST /v1/quote, PUT GET DELETE /v1/nodes/TOKEN, GET /v1/nodes"));
}

/* ---- life ---- */

int cloud_new(struct loop *loop, const struct cloud_conf *conf, struct cloud **ret, struct err *err)
{
	const struct http_server_conf hc = { .port = conf->port, .max_connections = 256, .max_body_bytes = BODY_MAX };
	struct cloud *c = mem_calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	c->loop = loop;
	c->conf = *conf;
	ssize_t n = readlink("/proc/self/exe", c->self, sizeof(c->self) - 1);
	int rc = n <= 0 ? err_set(err, HCP_EIO, "", "cannot tell where this program lies") : 0;
	if (rc == 0)
		rc = http_server_new(loop, &hc, on_request, c, &c->server, err);
	if (rc < 0) {
		mem_free(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void cloud_free(struct cloud *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_hung; i++)
		http_reply_abort(c->hung[i]);
	http_server_free(c->server);
	for (size_t i = 0; i < c->n; i++) {
		loop_timer_stop(&c->node[i]->boot);
		child_free(c->node[i]->child);
		mem_free(c->node[i]);
	}
	mem_free(c);
}

uint16_t cloud_port(const struct cloud *c)
{
	return http_server_port(c->server);
}
