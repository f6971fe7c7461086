#include "sim/demand_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/log.h"
#include "base/mem.h"
#include "http/http_client.h"
#include "loop/loop.h"
#include "os/entropy.h"

static const char component[] = "demand";

enum { URL_MAX = 512, COUNT_STATES = 2 };

static const char *const counted[COUNT_STATES] = { "running", "queued" };

struct demand_run {
	struct loop *loop;           /* borrowed */
	struct demand_run_conf conf;
	struct http_client *client;  /* owned */
	struct loop_timer arrival, poll;
	char token[DEMAND_SECRET_MAX]; /* of the login; "" before */
	uint64_t key;                /* makes idempotency keys of this run its own */
	unsigned in_flight;
	int count_left;              /* answers of a count still to come */
	int64_t count;
	bool paused, logging_in;
	struct demand_run_stats stats;
};

static int call(struct demand_run *r, const char *method, const char *path, const char *key, struct str body,
	void (*done)(void *, int, const struct http_response *, const struct err *))
{
	char url[URL_MAX], bearer[DEMAND_SECRET_MAX + 8];
	struct http_header h[3] = { { STR("content-type"), STR("application/json") } };
	size_t n = 1;
	struct err err = { 0 };
	if (r->conf.api_key) {
		h[n++] = (struct http_header){ STR("x-api-key"), str_of(r->conf.api_key) };
	} else if (r->token[0]) {
		snprintf(bearer, sizeof(bearer), "Bearer %s", r->token);
		h[n++] = (struct http_header){ STR("authorization"), str_of(bearer) };
	}
	if (key)
		h[n++] = (struct http_header){ STR("idempotency-key"), str_of(key) };
	snprintf(url, sizeof(url), "%s%s", r->conf.url, path);
	struct http_call_conf conf = { .method = method, .url = url, .headers = h, .n_headers = n, .body = body,
		.deadline_ms = DEMAND_CALL_MS, .on_done = done, .arg = r };
	int rc = http_call_start(r->client, &conf, NULL, &err);
	if (rc < 0)
		log_warn(component, "not sent: %s", err.text);
	else
		r->in_flight++;
	return rc;
}

static void pause_a_while(struct demand_run *r)
{
	r->paused = true;
	loop_timer_start(&r->poll, DEMAND_PAUSE_MS);
}

/* ---- login ---- */

static void on_login(void *arg, int code, const struct http_response *resp, const struct err *err)
{
	struct demand_run *r = arg;
	r->in_flight--;
	r->logging_in = false;
	json_t *doc = code == 0 && resp->status == 200 ? json_loadb(resp->body.p, resp->body.n, 0, NULL) : NULL;
	const char *token = json_string_value(json_object_get(doc, "access_token"));
	if (token && strlen(token) < sizeof(r->token)) {
		memcpy(r->token, token, strlen(token) + 1);
		r->paused = false;
		loop_timer_start(&r->poll, 1);
	} else {
		log_warn(component, "no login: %s", code < 0 ? err->text : "refused");
		r->stats.failed++;
		pause_a_while(r);
	}
	json_decref(doc);
}

static void log_in(struct demand_run *r)
{
	struct buf body;
	if (r->logging_in || r->conf.api_key)
		return;
	r->token[0] = 0;
	r->paused = true;
	buf_init(&body, 0);
	buf_addz(&body, "{\"email\":");
	buf_add_json(&body, str_of(r->conf.email));
	buf_addz(&body, ",\"password\":");
	buf_add_json(&body, str_of(r->conf.password));
	buf_addc(&body, '}');
	if (!buf_failed(&body) && call(r, "POST", "/api/v1/auth/login", NULL, buf_str(&body), on_login) == 0)
		r->logging_in = true;
	else
		pause_a_while(r);
	size_t n = body.n;
	mem_free_secret(buf_take(&body, NULL), n);
}

/* What every answer may mean; true: it was a good one. */
static bool good(struct demand_run *r, int code, const struct http_response *resp, const struct err *err)
{
	r->in_flight--;
	if (code < 0) {
		r->stats.failed++;
		if (!r->paused)
			log_warn(component, "the platform is away: %s", err->text);
		pause_a_while(r);
		return false;
	}
	if (resp->status == 401 && !r->conf.api_key)
		log_in(r);
	else if (resp->status == 429 || resp->status >= 500)
		pause_a_while(r);
	return resp->status >= 200 && resp->status < 300;
}

/* ---- jobs ---- */

static void on_submitted(void *arg, int code, const struct http_response *resp, const struct err *err)
{
	struct demand_run *r = arg;
	if (good(r, code, resp, err)) {
		r->stats.submitted++;
	} else if (code == 0) {
		if (r->stats.refused++ % 100 == 0)
			log_warn(component, "refused with %d: %.*s", resp->status, (int)(resp->body.n < 200 ? resp->body.n : 200),
				resp->body.p);
	}
}

static void submit(struct demand_run *r)
{
	struct demand_job job;
	struct buf body;
	char key[64];
	demand_next(r->conf.demand, &job);
	if (r->in_flight >= DEMAND_IN_FLIGHT_MAX || r->paused) {
		r->stats.skipped++;
		return;
	}
	snprintf(key, sizeof(key), "sim-%016" PRIx64 "-%" PRIu64, r->key, r->conf.demand->made);
	buf_init(&body, 0);
	buf_printf(&body, "{\"type\":\"%s\",\"name\":\"simulated job %" PRIu64 "\",\"priority\":%d,\"device_count\":%d,"
		"\"duration_s\":%" PRId64, job.type, r->conf.demand->made, job.priority, job.gpus, job.duration_s);
	if (r->conf.model[0]) {
		buf_addz(&body, ",\"model\":");
		buf_add_json(&body, str_of(r->conf.model));
	}
	buf_addc(&body, '}');
	if (buf_failed(&body) || call(r, "POST", "/api/v1/workloads", key, buf_str(&body), on_submitted) < 0)
		r->stats.failed++;
	buf_release(&body);
}

static void on_arrival(struct loop *loop, void *arg)
{
	struct demand_run *r = arg;
	/* Twice the target waiting and running: the platform does not keep up, more would only queue. */
	if ((double)r->stats.active < 2 * r->conf.demand->target)
		submit(r);
	else
		r->stats.skipped++;
	loop_timer_start(&r->arrival, 1 + (uint64_t)(demand_wait_ns(r->conf.demand) / 1000000));
}

/* ---- counting ---- */

static void on_counted(void *arg, int code, const struct http_response *resp, const struct err *err)
{
	struct demand_run *r = arg;
	if (!good(r, code, resp, err)) {
		r->count = INT64_MIN;
	} else {
		json_t *doc = json_loadb(resp->body.p, resp->body.n, 0, NULL);
		if (r->count >= 0)
			r->count += (int64_t)json_array_size(json_object_get(doc, "workloads"));
		json_decref(doc);
	}
	if (--r->count_left || r->count < 0)
		return;
	r->stats.active = r->count;
	double missing = r->conf.demand->target - (double)r->count;
	for (int i = 0; i < DEMAND_BURST && missing >= 1; i++, missing--)
		submit(r);
}

static void on_poll(struct loop *loop, void *arg)
{
	struct demand_run *r = arg;
	char path[128];
	if (!r->conf.api_key && !r->token[0]) {
		log_in(r);
		return;
	}
	r->paused = false;
	loop_timer_start(&r->poll, DEMAND_POLL_MS);
	if (r->count_left)
		return;
	r->count = 0;
	for (int i = 0; i < COUNT_STATES; i++) {
		snprintf(path, sizeof(path), "/api/v1/workloads?limit=1000&state=%s", counted[i]);
		if (call(r, "GET", path, NULL, STR(""), on_counted) == 0)
			r->count_left++;
	}
}

/* ---- life ---- */

int demand_run_new(struct loop *loop, const struct demand_run_conf *conf, struct demand_run **ret, struct err *err)
{
	if (!conf->api_key && !(conf->email && conf->password))
		return err_set(err, HCP_EINVAL, "api-key-file", "give --api-key-file, or --email and --password-file");
	if (strlen(conf->url) > URL_MAX - 128)
		return err_set(err, HCP_EINVAL, "url", "the address is too long");
	struct demand_run *r = mem_calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	r->loop = loop;
	r->conf = *conf;
	r->key = entropy_u64();
	r->stats.active = -1;
	struct http_client_conf hc = { .max_conns_per_origin = 8, .max_waiting = DEMAND_IN_FLIGHT_MAX + COUNT_STATES };
	int rc = http_client_new(loop, &hc, &r->client, err);
	if (rc < 0) {
		mem_free(r);
		return rc;
	}
	loop_timer_init(&r->arrival, loop, on_arrival, r);
	loop_timer_init(&r->poll, loop, on_poll, r);
	loop_timer_start(&r->poll, 1);
	loop_timer_start(&r->arrival, 1000);
	*ret = r;
	return 0;
}

void demand_run_free(struct demand_run *r)
{
	if (!r)
		return;
	loop_timer_stop(&r->arrival);
	loop_timer_stop(&r->poll);
	http_client_free(r->client);
	mem_free_secret(r, sizeof(*r));
}

const struct demand_run_stats *demand_run_stats(const struct demand_run *r)
{
	return &r->stats;
}
