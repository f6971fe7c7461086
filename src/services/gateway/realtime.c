/*
 * Live topics over WebSocket.
 *
 *   bus ──watch──▶ loop: read once, JSON once, one frame shared by all who may see it
 *
 * A client that resumes reads the bus by itself, as fast as it takes frames, until it has caught up with the loop's
 * own position; from then on it gets the shared frames.
 */
#include "base/mem.h"
#include "base/num.h"
#include "http/url.h"
#include "http/ws.h"
#include "os/clock.h"
#include "services/gateway/infer_proxy.h"
#include "wire/jsonv.h"
#include "wire/pbjson.h"

enum {
	READ_BATCH = 256,
	WS_MESSAGE_MAX = 64 << 10, /* of a client's frame */
	WS_QUEUE_MAX = 4 << 20,    /* unsent bytes; beyond: a slow consumer */
	CATCH_UP_QUEUE = 512 << 10,/* catching up waits while more is unsent */
	HEARTBEAT_MS = 15000,
	TOPICS_TEXT_MAX = 2048,
};

struct realtime {
	struct gw_loop *gl;
	struct bus *bus;        /* borrowed */
	struct list clients;
	size_t n_clients;
	uint64_t next;          /* offset of the next event for those who keep up */
	uint64_t mask;          /* topics we read at all */
	atomic_bool posted;
	bool stopped;
	struct loop_timer beat;
};

struct client {
	struct list node;
	struct realtime *rt;
	struct ws *ws;
	uint64_t topics;        /* bit per topic_id */
	uint64_t next;          /* own position while catching up; 0: keeps up */
	uint8_t role;
	char customer_id[64];
};

/* ---- what somebody may see ---- */

static uint64_t allowed(uint8_t role)
{
	uint64_t mask = 0;
	if (role == HCP__ROLE__CUSTOMER)
		return UINT64_C(1) << TOPIC_WORKLOAD_EVENTS | UINT64_C(1) << TOPIC_MARKET_PRICE;
	for (int t = 0; t < TOPIC_COUNT; t++)
		if (topic_table[t].to_mask >> SVC_REALTIME & 1)
			mask |= UINT64_C(1) << t;
	return mask;
}

static bool may_see(const struct client *c, const struct msg *m, int topic)
{
	if (!(c->topics >> topic & 1))
		return false;
	if (c->role != HCP__ROLE__CUSTOMER || topic != TOPIC_WORKLOAD_EVENTS)
		return true;
	const Hcp__WorkloadChanged *w = m->type == MSG_WORKLOAD_CHANGED ? (const Hcp__WorkloadChanged *)m->body : NULL;
	return w && w->workload && strcmp(w->workload->customer_id, c->customer_id) == 0;
}

/* ---- events to frames ---- */

static struct ws_frame *frame_of(struct realtime *rt, const struct bus_rec *rec, const struct msg *m)
{
	struct buf *b = &rt->gl->out;
	buf_clear(b);
	buf_printf(b, "{\"id\":%llu,\"topic\":\"%s\",\"type\":\"%s\",\"at_ns\":%lld,\"data\":",
		   (unsigned long long)rec->offset, topic_table[rec->topic].name, msg_info(m->type)->name,
		   (long long)m->at_ns);
	if (pbjson_write(m->body, b) < 0)
		return NULL;
	buf_addc(b, '}');
	return buf_failed(b) ? NULL : ws_frame_new(WS_TEXT, buf_str(b));
}

static void send_frame(struct client *c, struct ws_frame *f)
{
	if (ws_send_frame(c->ws, f) == HCP_ELIMIT)
		atomic_fetch_add_explicit(&c->rt->gl->stats.ws_slow, 1, memory_order_relaxed);
}

static void fan_out(struct realtime *rt, const struct bus_rec *rec, const struct msg *m)
{
	struct ws_frame *f = NULL;
	list_each_safe(it, tmp, &rt->clients) {
		struct client *c = list_entry(it, struct client, node);
		if (c->next || !may_see(c, m, rec->topic))
			continue;
		if (!f)
			f = frame_of(rt, rec, m);
		if (!f)
			return;
		send_frame(c, f);
	}
	if (f)
		ws_frame_unref(f);
}

static uint64_t wanted(const struct realtime *rt)
{
	uint64_t mask = UINT64_C(1) << TOPIC_RESOURCES_ENDPOINTS;
	list_each(it, &rt->clients)
		mask |= list_entry(it, struct client, node)->topics;
	return mask & rt->mask;
}

static void one_event(struct realtime *rt, const struct bus_rec *rec)
{
	struct msg *m;
	if (rec->topic >= TOPIC_COUNT || msg_unpack(rec->payload, &m, NULL) < 0)
		return;
	atomic_fetch_add_explicit(&rt->gl->stats.events, 1, memory_order_relaxed);
	if (m->type == MSG_ENDPOINT_CHANGED && rt->gl->infer)
		infer_proxy_event(rt->gl->infer, (const Hcp__EndpointChanged *)m->body);
	if (m->body)
		fan_out(rt, rec, m);
	msg_free(m);
}

static void read_bus(struct loop *loop, void *arg)
{
	struct realtime *rt = arg;
	struct bus_rec *rec[READ_BATCH];
	atomic_store(&rt->posted, false);
	if (rt->stopped)
		return;
	uint64_t end = bus_end(rt->bus);
	while (rt->next < end) {
		int n = bus_read(rt->bus, rt->next, wanted(rt), READ_BATCH, rec, &rt->next, NULL);
		if (n < 0)
			return;
		for (int i = 0; i < n; i++) {
			one_event(rt, rec[i]);
			bus_rec_unref(rec[i]);
		}
	}
}

/* From the appending thread. */
static void on_append(void *arg)
{
	struct realtime *rt = arg;
	if (!atomic_exchange(&rt->posted, true) && loop_post(rt->gl->loop, read_bus, rt) < 0)
		atomic_store(&rt->posted, false);
}

/* ---- catching up ---- */

static void send_text(struct client *c, struct str text)
{
	if (ws_send(c->ws, WS_TEXT, text) == HCP_ELIMIT)
		atomic_fetch_add_explicit(&c->rt->gl->stats.ws_slow, 1, memory_order_relaxed);
}

static void catch_up(struct client *c)
{
	struct realtime *rt = c->rt;
	struct bus_rec *rec[READ_BATCH];
	while (c->next && ws_queued(c->ws) < CATCH_UP_QUEUE) {
		if (c->next >= rt->next) {
			c->next = 0;
			return;
		}
		int n = bus_read(rt->bus, c->next, c->topics, READ_BATCH, rec, &c->next, NULL);
		for (int i = 0; i < n; i++) {
			struct msg *m = NULL;
			/* What lies beyond the loop's position comes as a shared frame. */
			if (rec[i]->offset < rt->next && rec[i]->topic < TOPIC_COUNT &&
			    msg_unpack(rec[i]->payload, &m, NULL) == 0 && m->body && may_see(c, m, rec[i]->topic)) {
				struct ws_frame *f = frame_of(rt, rec[i], m);
				if (f)
					send_frame(c, f);
				ws_frame_unref(f);
			}
			msg_free(m);
			bus_rec_unref(rec[i]);
		}
		if (n < 0)
			c->next = 0;
	}
}

/* since: the last id the client has. */
static void resume(struct client *c, uint64_t since)
{
	struct realtime *rt = c->rt;
	uint64_t end = rt->next, begin = bus_begin(rt->bus), from = since + 1;
	uint64_t oldest = end > GATEWAY_RESUME_MAX ? end - GATEWAY_RESUME_MAX : 1;
	char text[200];
	oldest = oldest < begin ? begin : oldest;
	if (from > end || from < oldest) {
		uint64_t to = from > end ? end : oldest;
		snprintf(text, sizeof(text),
			 "{\"id\":%llu,\"topic\":\"gap\",\"type\":\"Gap\",\"at_ns\":%lld,\"data\":{\"from\":%llu,\"to\":%llu}}",
			 (unsigned long long)(to - 1), (long long)clock_wall_ns(), (unsigned long long)from,
			 (unsigned long long)to);
		send_text(c, str_of(text));
		from = to;
	}
	c->next = from < end ? from : 0;
	catch_up(c);
}

/* ---- clients ---- */

static void complain(struct client *c, const char *detail, struct str what)
{
	struct buf b;
	buf_init(&b, 4096);
	buf_printf(&b, "{\"topic\":\"error\",\"type\":\"Problem\",\"data\":{\"code\":\"invalid\",\"detail\":");
	buf_add_json(&b, str_of(detail));
	buf_addz(&b, ",\"field\":");
	buf_add_json(&b, (struct str){ what.p, what.n < 200 ? what.n : 200 });
	buf_addz(&b, "}}");
	if (!buf_failed(&b))
		send_text(c, buf_str(&b));
	buf_release(&b);
}

static int topic_bit(uint8_t role, struct str name, uint64_t *ret)
{
	int t = topic_by_name(name.p, name.n);
	if (t == TOPIC_NONE || !(allowed(HCP__ROLE__ADMIN) >> t & 1))
		return HCP_ENOTFOUND;
	*ret = UINT64_C(1) << t;
	return allowed(role) & *ret ? 0 : HCP_EPERM;
}

static void change_topics(struct client *c, const json_t *list, bool add)
{
	size_t i;
	json_t *v;
	json_array_foreach((json_t *)list, i, v) {
		struct str name = { json_string_value(v), json_string_length(v) };
		uint64_t bit;
		int rc = name.p ? topic_bit(c->role, name, &bit) : HCP_ENOTFOUND;
		if (rc < 0)
			complain(c, rc == HCP_EPERM ? "your role may not see this topic" : "there is no such topic",
				 name.p ? name : STR(""));
		else if (add)
			c->topics |= bit;
		else
			c->topics &= ~bit;
	}
}

static void on_message(struct ws *ws, void *arg, enum ws_opcode opcode, struct str text)
{
	static const char *const names[] = { "subscribe", "unsubscribe", NULL };
	struct client *c = arg;
	json_t *doc = NULL;
	const json_t *add = NULL, *drop = NULL;
	struct err err = { 0 };
	int rc = opcode == WS_TEXT ? jsonv_parse(text, &doc, &err) : HCP_EPARSE;
	if (rc == 0)
		rc = jsonv_check_names(doc, names, &err);
	if (rc == 0)
		rc = jsonv_get_array(doc, "subscribe", JSONV_OPTIONAL, TOPIC_COUNT, &add, &err);
	if (rc == 0)
		rc = jsonv_get_array(doc, "unsubscribe", JSONV_OPTIONAL, TOPIC_COUNT, &drop, &err);
	if (rc < 0) {
		complain(c, "send {\"subscribe\":[…]} or {\"unsubscribe\":[…]}", str_of(err.field));
	} else {
		if (add)
			change_topics(c, add, true);
		if (drop)
			change_topics(c, drop, false);
	}
	json_decref(doc);
}

static void on_drain(struct ws *ws, void *arg)
{
	catch_up(arg);
}

static void on_close(struct ws *ws, void *arg, int code, struct str reason)
{
	struct client *c = arg;
	list_del(&c->node);
	c->rt->n_clients--;
	atomic_fetch_sub_explicit(&c->rt->gl->stats.ws_open, 1, memory_order_relaxed);
	mem_free(c);
}

/* ---- upgrade ---- */

static int read_topics(struct call *c, uint64_t *ret, char *bad, size_t bad_n)
{
	struct buf b;
	uint64_t mask = 0, bit;
	int rc = 0;
	buf_init(&b, TOPICS_TEXT_MAX);
	if (query_get(c->req->query, "topics", &b) == 0) {
		struct str rest = buf_str(&b);
		while (rest.p && rc == 0) {
			struct str name = str_trim(str_split(&rest, ','));
			if (!name.n)
				continue;
			rc = topic_bit((uint8_t)c->who->role, name, &bit);
			if (rc == 0)
				mask |= bit;
			else
				snprintf(bad, bad_n, "%.*s", (int)(name.n < 60 ? name.n : 60), name.p);
		}
	}
	buf_release(&b);
	if (rc == 0)
		*ret = mask;
	return rc;
}

/* *ret UINT64_MAX: not asked for. */
static int read_since(struct call *c, uint64_t *ret)
{
	struct buf b;
	buf_init(&b, 64);
	*ret = UINT64_MAX;
	int rc = query_get(c->req->query, "since", &b);
	rc = rc == 0 ? num_parse_u64(buf_str(&b), ret) : rc == HCP_ENOTFOUND ? 0 : rc;
	buf_release(&b);
	return rc == 0 && *ret == UINT64_MAX - 1 ? HCP_ERANGE : rc;
}

static void accept_client(struct call *c, uint64_t topics, uint64_t since)
{
	static const struct ws_callbacks callbacks = {
		.on_message = on_message, .on_drain = on_drain, .on_close = on_close
	};
	static const struct ws_conf conf = { .max_message_bytes = WS_MESSAGE_MAX, .max_queue_bytes = WS_QUEUE_MAX,
					     .ping_ms = HEARTBEAT_MS };
	struct gw_loop *gl = c->gl;
	struct realtime *rt = gl->realtime;
	struct client *client = mem_calloc(1, sizeof(*client));
	struct err err = { 0 };
	if (!client) {
		gw_problem(c, HCP_ENOMEM, "", "out of memory");
		return;
	}
	client->rt = rt;
	client->topics = topics;
	client->role = (uint8_t)c->who->role;
	snprintf(client->customer_id, sizeof(client->customer_id), "%s", c->who->customer_id);
	struct call saved = *c; /* the request is gone once it is upgraded */
	int rc = ws_accept(c->req, &conf, &callbacks, client, &client->ws, &err);
	if (rc < 0) {
		mem_free(client);
		gw_problem_status(c, rc == HCP_EPROTO ? 426 : 503, rc, err.field, err.text);
		return;
	}
	gw_count(&saved, 101);
	atomic_fetch_sub_explicit(&gl->open_calls, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&gl->stats.ws_open, 1, memory_order_relaxed);
	read_bus(gl->loop, rt); /* so that nothing before this moment is taken for new */
	list_add_tail(&rt->clients, &client->node);
	rt->n_clients++;
	if (since != UINT64_MAX)
		resume(client, since);
}

static void upgrade(struct call *c)
{
	struct realtime *rt = c->gl->realtime;
	char bad[64] = "";
	uint64_t topics = 0, since;
	int rc = read_topics(c, &topics, bad, sizeof(bad));
	if (rc < 0) {
		char text[128];
		snprintf(text, sizeof(text), rc == HCP_EPERM ? "your role may not see %s" : "there is no topic %s", bad);
		gw_problem(c, rc == HCP_EPERM ? rc : HCP_EINVAL, "topics", text);
	} else if (read_since(c, &since) < 0) {
		gw_problem(c, HCP_EINVAL, "since", "must be the id of an event");
	} else if (rt->stopped || rt->n_clients >= GATEWAY_WS_MAX) {
		gw_problem(c, HCP_EUNAVAIL, "", "no room for another live connection; try again later");
	} else {
		accept_client(c, topics, since);
	}
}

/* Browsers cannot set headers on a WebSocket: the token may come in the query. */
void realtime_handle(struct call *c)
{
	struct buf b;
	buf_init(&b, JWT_MAX_BYTES);
	if (query_get(c->req->query, "token", &b) == 0 && b.n) {
		c->token.p = arena_strndup(c->req->arena, b.data, b.n);
		c->token.n = c->token.p ? b.n : 0;
	}
	buf_release(&b);
	c->then = upgrade;
	gw_admit(c);
}

/* Browsers cannot see pings: a message tells pages that the connection lives. */
static void on_beat(struct loop *loop, void *arg)
{
	struct realtime *rt = arg;
	char text[96];
	snprintf(text, sizeof(text), "{\"topic\":\"heartbeat\",\"type\":\"Heartbeat\",\"at_ns\":%lld}",
		 (long long)clock_wall_ns());
	struct ws_frame *f = list_empty(&rt->clients) ? NULL : ws_frame_new(WS_TEXT, str_of(text));
	if (f) {
		list_each_safe(it, tmp, &rt->clients)
			send_frame(list_entry(it, struct client, node), f);
		ws_frame_unref(f);
	}
	loop_timer_start(&rt->beat, HEARTBEAT_MS);
}

/* ---- life ---- */

int realtime_new(struct gw_loop *gl, struct realtime **ret, struct err *err)
{
	struct realtime *rt = mem_calloc(1, sizeof(*rt));
	if (!rt)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	rt->gl = gl;
	rt->bus = host_bus(gl->gw->host);
	list_init(&rt->clients);
	rt->next = bus_end(rt->bus);
	rt->mask = allowed(HCP__ROLE__ADMIN);
	if (bus_watch(rt->bus, rt->mask, on_append, rt) < 0) {
		mem_free(rt);
		return err_set(err, HCP_ELIMIT, "threads", "too many readers of the event log");
	}
	loop_timer_init(&rt->beat, gl->loop, on_beat, rt);
	loop_timer_start(&rt->beat, HEARTBEAT_MS);
	*ret = rt;
	return 0;
}

void realtime_stop(struct realtime *rt)
{
	if (rt->stopped)
		return;
	rt->stopped = true;
	loop_timer_stop(&rt->beat);
	bus_unwatch(rt->bus, rt);
	list_each_safe(it, tmp, &rt->clients)
		ws_close(list_entry(it, struct client, node)->ws, WS_GOING_AWAY, "the gateway is stopping");
}

void realtime_free(struct realtime *rt)
{
	if (rt && !rt->stopped)
		bus_unwatch(rt->bus, rt);
	mem_free(rt);
}
