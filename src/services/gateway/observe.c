/* /health and /metrics: what this process can say about itself without asking anybody. */
#include "base/mem.h"
#include "base/money.h"
#include "base/timefmt.h"
#include "os/clock.h"
#include "services/gateway/gateway_priv.h"

const int observe_statuses[GW_STATUSES] = { 200, 201, 204, 304, 400, 401, 403, 404, 405, 409, 412, 413, 415, 429, 500,
	501, 502, 503, 504, 101, 0 };
static const char *const buckets[GW_BUCKETS] = { "5e-05", "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005",
	"0.01", "0.025", "0.05", "0.1", "0.25", "1", "+Inf" };
static const char *const extra[GW_EXTRA_ROUTES] = { "/v1/embeddings", "/v1/models", "/api/v1/ws", "static", "/health",
						    "/metrics", "other" };

int observe_init(struct gw_stats *s)
{
	s->rows = mem_calloc(route_count + GW_EXTRA_ROUTES, sizeof(*s->rows));
	return s->rows ? 0 : HCP_ENOMEM;
}

/* ---- health ---- */

static const char *state_of(struct gateway *gw, int id, struct svc_stats *st)
{
	static const char *const names[] = { "ok", "degraded", "down" };
	struct svc *svc = host_service(gw->host, id);
	if (!svc)
		return gw->conf.remote_state ? gw->conf.remote_state(gw->conf.remote_arg, id) : NULL;
	svc_stats(svc, st);
	return names[st->state >= 0 && st->state <= 2 ? st->state : 2];
}

static int64_t cert_end_s(struct gateway *gw)
{
	return gw->conf.cert_end_s ? gw->conf.cert_end_s(gw->conf.remote_arg) : 0;
}

/* The mesh's certificate in words of health; how bad it is: 0, 1 (ends soon), 2 (has ended). */
static int add_mesh(struct gateway *gw, struct buf *b)
{
	int64_t end_s = cert_end_s(gw);
	int64_t left_s = end_s - clock_wall_ns() / NS_PER_S;
	char at[TIMEFMT_MAX];
	if (!end_s) {
		buf_addz(b, ",\"mesh\":{\"tls\":false}");
		return 0;
	}
	int bad = left_s <= 0 ? 2 : left_s < (int64_t)gw->conf.cert_warn_days * 86400 ? 1 : 0;
	static const char *const states[] = { "ok", "expiring", "expired" };
	buf_printf(b, ",\"mesh\":{\"tls\":true,\"certificate\":\"%s\",\"certificate_ends_at\":\"%s\"}", states[bad],
		timefmt_format(at, end_s * NS_PER_S));
	return bad;
}

void observe_health(struct call *c)
{
	struct gateway *gw = c->gl->gw;
	struct buf b;
	int worst = 0, n = 0;
	buf_init(&b, 64 << 10);
	buf_addz(&b, "\"services\":[");
	for (int i = 0; i < SVC_COUNT; i++) {
		struct svc_stats st = { 0 };
		const char *state = i == SVC_GATEWAY || i == SVC_REALTIME ? "ok" : state_of(gw, i, &st);
		if (!state)
			continue;
		worst = strcmp(state, "down") == 0 ? 2 : strcmp(state, "ok") != 0 && worst == 0 ? 1 : worst;
		buf_printf(&b, "%s{\"name\":\"%s\",\"state\":\"%s\",\"detail\":", n++ ? "," : "", svc_table[i].name, state);
		buf_add_json(&b, str_of(st.detail));
		buf_addc(&b, '}');
	}
	buf_addc(&b, ']');
	int cert = add_mesh(gw, &b);
	worst = cert && worst == 0 ? 1 : worst; /* what is connected stays so: even an ended one takes nothing down */
	buf_addz(&b, ",\"version\":");
	buf_add_json(&b, str_of(gw->conf.version));
	struct buf out;
	buf_init(&out, 64 << 10);
	buf_printf(&out, "{\"status\":\"%s\",", worst == 0 ? "ok" : worst == 1 ? "degraded" : "down");
	buf_adds(&out, buf_str(&b));
	buf_addc(&out, '}');
	gw_answer(c, worst == 2 ? 503 : 200, NULL, 0, buf_str(&out));
	buf_release(&out);
	buf_release(&b);
}

static int add_service(struct call *c, struct arena *a, int id, Hcp__Status *status)
{
	struct gateway *gw = c->gl->gw;
	struct svc_stats st = { 0 };
	const char *state = id == SVC_GATEWAY || id == SVC_REALTIME ? "ok" : state_of(gw, id, &st);
	if (!state)
		return 0;
	struct svc *svc = host_service(gw->host, id);
	Hcp__ServiceHealth *h = arena_alloc(a, sizeof(*h));
	if (!h)
		return HCP_ENOMEM;
	hcp__service_health__init(h);
	h->name = svc_table[id].name;
	h->state = state;
	h->detail = arena_strdup(a, st.detail);
	h->seen_at_ns = svc && st.last_step_ns ? st.last_step_ns : clock_wall_ns();
	h->batches = (int64_t)st.batches;
	h->messages = (int64_t)st.messages;
	h->mailbox = svc ? (int64_t)mailbox_size(svc_mailbox(svc)) : 0;
	return h->detail ? pb_push(a, &status->n_services, &status->services, h) : HCP_ENOMEM;
}

int observe_status(struct call *c, struct arena *a, Hcp__Status *status)
{
	int rc = 0;
	status->n_services = 0;
	status->services = NULL;
	for (int i = 0; i < SVC_COUNT && rc == 0; i++)
		rc = add_service(c, a, i, status);
	return rc;
}

/* ---- metrics ---- */

static uint64_t get(_Atomic uint64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

static void row_metrics(struct gateway *gw, struct buf *b, size_t row, const char *method, const char *path)
{
	uint64_t by_status[GW_STATUSES] = { 0 }, latency[GW_BUCKETS] = { 0 }, ns = 0, n = 0, sum = 0;
	for (int l = 0; l < gw->n_loops; l++) {
		struct gw_row_stats *s = &gw->loops[l].stats.rows[row];
		for (int i = 0; i < GW_STATUSES; i++)
			by_status[i] += get(&s->by_status[i]);
		for (int i = 0; i < GW_BUCKETS; i++)
			latency[i] += get(&s->latency[i]);
		ns += get(&s->latency_ns);
		n += get(&s->n);
	}
	if (!n)
		return;
	for (int i = 0; i < GW_STATUSES; i++)
		if (by_status[i])
			buf_printf(b, "hcp_http_requests_total{method=\"%s\",route=\"%s\",status=\"%d\"} %llu\n", method, path,
				observe_statuses[i], (unsigned long long)by_status[i]);
	for (int i = 0; i < GW_BUCKETS; i++) {
		sum += latency[i];
		buf_printf(b, "hcp_http_request_seconds_bucket{method=\"%s\",route=\"%s\",le=\"%s\"} %llu\n", method, path,
			   buckets[i], (unsigned long long)sum);
	}
	buf_printf(b, "hcp_http_request_seconds_sum{method=\"%s\",route=\"%s\"} %.9f\n", method, path, (double)ns / 1e9);
	buf_printf(b, "hcp_http_request_seconds_count{method=\"%s\",route=\"%s\"} %llu\n", method, path,
		   (unsigned long long)n);
}

static void service_metrics(struct gateway *gw, struct buf *b)
{
	for (int i = 0; i < SVC_COUNT; i++) {
		struct svc *svc = host_service(gw->host, i);
		struct svc_stats st;
		if (!svc)
			continue;
		svc_stats(svc, &st);
		const struct { const char *name; uint64_t v; } rows[] = {
			{ "hcp_service_batches_total", st.batches }, { "hcp_service_messages_total", st.messages },
			{ "hcp_service_events_total", st.events }, { "hcp_service_refused_total", st.refused },
			{ "hcp_service_aborts_total", st.aborts },
			{ "hcp_service_mailbox", mailbox_size(svc_mailbox(svc)) }, { "hcp_service_state", (uint64_t)st.state },
		};
		for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++)
			buf_printf(b, "%s{service=\"%s\"} %llu\n", rows[k].name, svc_table[i].name,
				   (unsigned long long)rows[k].v);
	}
}

static void loop_metrics(struct gateway *gw, struct buf *b)
{
	static const char *const names[] = { "hcp_gateway_cache_hits_total", "hcp_gateway_cache_misses_total",
					     "hcp_gateway_limited_total", "hcp_gateway_auth_failures_total",
					     "hcp_realtime_events_total", "hcp_realtime_clients",
					     "hcp_realtime_slow_clients_total" };
	uint64_t v[7] = { 0 };
	for (int l = 0; l < gw->n_loops; l++) {
		struct gw_stats *s = &gw->loops[l].stats;
		_Atomic uint64_t *from[7] = { &s->cache_hits, &s->cache_misses, &s->limited, &s->auth_failures, &s->events,
					      &s->ws_open, &s->ws_slow };
		for (int i = 0; i < 7; i++)
			v[i] += get(from[i]);
	}
	for (int i = 0; i < 7; i++)
		buf_printf(b, "%s %llu\n", names[i], (unsigned long long)v[i]);
}

void observe_metrics(struct call *c)
{
	struct http_header h[3] = { { STR("content-type"), STR("text/plain; version=0.0.4") } };
	struct gateway *gw = c->gl->gw;
	struct buf b;
	buf_init(&b, 4 << 20);
	buf_addz(&b, "# TYPE hcp_http_requests_total counter\n# TYPE hcp_http_request_seconds histogram\n");
	for (size_t i = 0; i < route_count; i++)
		row_metrics(gw, &b, i, route_table[i].method, route_table[i].path);
	for (size_t i = 0; i < GW_EXTRA_ROUTES; i++)
		row_metrics(gw, &b, route_count + i, "", extra[i]);
	service_metrics(gw, &b);
	loop_metrics(gw, &b);
	buf_printf(&b, "hcp_uptime_seconds %.3f\nhcp_bus_end %llu\n", (double)(clock_wall_ns() - gw->started_ns) / 1e9,
		   (unsigned long long)bus_end(host_bus(gw->host)));
	if (cert_end_s(gw))
		buf_printf(&b, "# TYPE hcp_mesh_certificate_end_seconds gauge\nhcp_mesh_certificate_end_seconds %lld\n",
			(long long)cert_end_s(gw));
	struct str body = buf_str(&b);
	size_t n = 1 + body_pack(c, &body, h + 1);
	gw_answer(c, 200, h, n, body);
	buf_release(&b);
}
