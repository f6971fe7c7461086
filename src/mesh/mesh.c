#include "mesh/mesh.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "loop/tls.h"
#include "mesh/mesh_priv.h"
#include "os/clock.h"
#include "os/entropy.h"

enum { SAVE_MS = 1000 };

/* ---- from services' threads to ours ---- */

static void take_queue(struct loop *loop, void *arg)
{
	struct mesh *m = arg;
	pthread_mutex_lock(&m->lock);
	struct handoff *h = m->queue;
	m->queue = NULL;
	m->queue_end = &m->queue;
	m->queued = 0;
	m->posted = false;
	pthread_mutex_unlock(&m->lock);
	while (h) {
		struct handoff *next = h->next;
		h->fn(m, h);
		h = next;
	}
}

bool mesh_hand(struct mesh *m, struct handoff *h, bool force)
{
	h->next = NULL;
	pthread_mutex_lock(&m->lock);
	bool room = force || m->queued < MESH_QUEUE_MAX;
	bool post = room && !m->posted;
	if (room) {
		*m->queue_end = h;
		m->queue_end = &h->next;
		m->queued++;
		m->posted = true;
	}
	pthread_mutex_unlock(&m->lock);
	if (post)
		must(loop_post(m->loop, take_queue, m) == 0); /* at most one of these waits at a time */
	return room;
}

/* ---- credentials ---- */

static bool same_secret(struct str a, struct str b)
{
	unsigned char diff = 0;
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		diff |= (unsigned char)(a.p[i] ^ b.p[i]);
	return diff == 0;
}

static bool knows_secret(struct mesh *m, const struct grpc_call *call)
{
	struct str token = grpc_call_metadata(call, "x-hcp-token");
	if (!token.p) {
		token = grpc_call_metadata(call, "authorization");
		if (token.n < 7 || !str_ieqz((struct str){ token.p, 7 }, "bearer "))
			return false;
		token = (struct str){ token.p + 7, token.n - 7 };
	}
	return m->token[0] && same_secret(token, str_of(m->token));
}

const char *mesh_unwelcome(struct mesh *m, const struct grpc_call *call, unsigned roles, enum grpc_status *ret_status)
{
	const struct identity *id = mesh_identity(call);
	*ret_status = GRPC_UNAUTHENTICATED;
	if (!knows_secret(m, call))
		return "the machine token is missing or wrong";
	*ret_status = GRPC_PERMISSION_DENIED;
	return m->tls && !(id && id->roles & roles) ? "the certificate is not for this: see `hcp certs`" : NULL;
}

/* ---- Call ---- */

static void answer_call(struct mesh *m, struct handoff *h)
{
	struct mesh_call *c = (struct mesh_call *)(void *)h;
	struct buf out;
	buf_init(&out, MESH_MESSAGE_MAX);
	m->n_calls--;
	if (!c->reply || msg_pack(c->reply, &out) < 0)
		grpc_reply(c->call, GRPC_RESOURCE_EXHAUSTED, "the answer is too large", STR(""));
	else
		grpc_reply(c->call, GRPC_OK, NULL, buf_str(&out));
	buf_release(&out);
	msg_free(c->reply);
	mem_free(c);
}

static void on_answer(void *arg, struct msg *reply)
{
	struct mesh_call *c = arg;
	c->reply = reply;
	mesh_hand(c->mesh, &c->handoff, true);
}

/* A request or link for a service that runs here; never an event, those come through Events. */
static int read_call(struct mesh *m, struct str bytes, struct msg **ret, struct err *err)
{
	struct msg *q;
	int rc = msg_unpack(bytes, &q, err);
	if (rc < 0)
		return rc;
	const struct msg_info *info = msg_info(q->type);
	if (!info || (info->kind != MSG_KIND_REQUEST && info->kind != MSG_KIND_LINK))
		rc = err_set(err, HCP_EINVAL, "type", "only requests and links may be called");
	else if (!host_service(m->host, info->target))
		rc = err_set(err, HCP_EUNAVAIL, "target", "%s does not run here", svc_table[info->target].name);
	if (rc < 0) {
		msg_free(q);
		return rc;
	}
	q->sender = SVC_NONE;
	q->seq = q->bus_offset = 0;
	if (!q->deadline_ns)
		q->deadline_ns = clock_wall_ns() + MESH_CALL_MS * NS_PER_MS;
	*ret = q;
	return 0;
}

static void on_call(struct grpc_call *call, struct str bytes, void *arg)
{
	struct mesh *m = arg;
	struct msg *q;
	struct err err = { 0 };
	enum grpc_status status;
	const char *unwelcome = mesh_unwelcome(m, call, 1U << IDENTITY_SERVICE | 1U << IDENTITY_FEED, &status);
	if (unwelcome) {
		grpc_reply(call, status, unwelcome, STR(""));
		return;
	}
	if (atomic_load(&m->stopping) || m->n_calls >= MESH_CALLS_MAX) {
		grpc_reply(call, GRPC_UNAVAILABLE, "no more calls are taken now", STR(""));
		return;
	}
	int rc = read_call(m, bytes, &q, &err);
	bool of_feed = rc == 0 && (q->type == MSG_TICKS || q->type == MSG_PRICES_GET);
	if (rc == 0 && !of_feed && m->tls && !identity_is(mesh_identity(call), IDENTITY_SERVICE)) {
		rc = err_set(&err, HCP_EPERM, "type", "a feed's certificate is for ticks and known prices");
		msg_free(q);
	}
	if (rc < 0) {
		grpc_reply(call, grpc_status_of_err(rc), err.text, STR(""));
		return;
	}
	struct mesh_call *c = mem_calloc(1, sizeof(*c));
	if (!c) {
		msg_free(q);
		grpc_reply(call, GRPC_RESOURCE_EXHAUSTED, "out of memory", STR(""));
		return;
	}
	*c = (struct mesh_call){ .handoff = { .fn = answer_call }, .mesh = m, .call = call };
	m->n_calls++;
	if (msg_info(q->type)->kind == MSG_KIND_LINK) { /* nobody answers a link: taken is all we can say */
		host_send(m->host, q);
		c->reply = msg_new(MSG_EMPTY);
		answer_call(m, &c->handoff);
		return;
	}
	q->reply_fn = on_answer;
	q->reply_arg = c;
	host_send(m->host, q);
}

/* ---- life ---- */

static void refuse(struct http_req *req, void *arg)
{
	http_reply_problem(req, 404, "not_found", STR("this port speaks gRPC"));
}

static void pump(struct loop *loop, void *arg)
{
	struct mesh *m = arg;
	atomic_store(&m->poked, false);
	if (!atomic_load(&m->stopping))
		mesh_feeds_pump(m);
}

static void on_append(void *arg)
{
	struct mesh *m = arg;
	if (!atomic_exchange(&m->poked, true) && loop_post(m->loop, pump, m) < 0)
		atomic_store(&m->poked, false);
}

static void on_save(struct loop *loop, void *arg)
{
	struct mesh *m = arg;
	mesh_peers_save(m);
	loop_timer_start(&m->save, SAVE_MS);
}

static int open_server(struct mesh *m, const struct mesh_conf *conf, struct err *err)
{
	static const struct grpc_server_conf grpc_conf = { .max_message_bytes = MESH_MESSAGE_MAX };
	const struct http_server_conf http_conf = {
		.host = conf->bind, .port = conf->port, .tls = m->tls, .on_failed = mesh_tls_failed,
		.max_body_bytes = MESH_MESSAGE_MAX + 1024, .header_timeout_ms = MESH_HANDSHAKE_MS,
		.idle_timeout_ms = 120000, .max_connections = MESH_AGENTS_MAX,
	};
	const struct grpc_method table[] = {
		{ "/hcp.v1.Mesh/Call", on_call, NULL, m },
		{ "/hcp.v1.Mesh/Events", NULL, &mesh_feed_ops, m },
		{ "/hcp.v1.Agent/Connect", NULL, &mesh_agent_ops, m },
	};
	struct grpc_method *methods = mem_dup(table, sizeof(table)); /* outlives the server */
	if (!methods)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	m->methods = methods;
	int rc = http_server_new(m->loop, &http_conf, refuse, m, &m->http, err);
	return rc < 0 ? rc : grpc_server_new(m->http, &grpc_conf, methods, 3, &m->grpc, err);
}

static int open_all(struct mesh *m, const struct mesh_conf *conf, struct err *err)
{
	int rc = str_copy(m->token, sizeof(m->token), str_of(conf->token ? conf->token : ""));
	if (rc < 0 || conf->n_peers > MESH_PEERS_MAX)
		return err_set(err, HCP_ELIMIT, "peer", "too many peers or too long a token");
	rc = loop_new(NULL, &m->loop, err);
	if (rc == 0)
		rc = mesh_tls_open(m, conf, err);
	if (rc == 0)
		rc = open_server(m, conf, err);
	for (int i = 0; i < conf->n_peers && rc == 0; i++) {
		rc = mesh_peer_init(m, &m->peers[i], &conf->peers[i], conf->state_dir, err);
		m->n_peers++;
	}
	return rc;
}

int mesh_new(const struct mesh_conf *conf, struct mesh **ret, struct err *err)
{
	struct mesh *m = mem_calloc(1, sizeof(*m));
	if (!m)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	pthread_mutex_init(&m->lock, NULL);
	m->queue_end = &m->queue;
	list_init(&m->agents);
	list_init(&m->feeds);
	map_init(&m->by_node);
	rng_init(&m->rng, entropy_u64());
	m->agent_number = (uint64_t)clock_wall_ns(); /* resources remembers streams of the process before this one */
	int rc = open_all(m, conf, err);
	if (rc < 0) {
		mesh_free(m);
		return rc;
	}
	loop_timer_init(&m->save, m->loop, on_save, m);
	loop_timer_init(&m->certs, m->loop, mesh_tls_watch, m);
	*ret = m;
	return 0;
}

static void *mesh_main(void *arg)
{
	loop_run(((struct mesh *)arg)->loop);
	return NULL;
}

int mesh_start(struct mesh *m, struct host *host, struct err *err)
{
	m->host = host;
	int rc = 0;
	for (int i = 0; i < m->n_peers && rc == 0; i++)
		rc = mesh_peer_start(&m->peers[i], err);
	if (rc == 0 && bus_watch(host_bus(host), (UINT64_C(1) << TOPIC_COUNT) - 1, on_append, m) < 0)
		rc = err_set(err, HCP_ELIMIT, "mesh", "too many readers of the event log");
	if (rc < 0)
		return rc;
	m->watching = true;
	loop_timer_start(&m->certs, 0);
	loop_timer_start(&m->save, SAVE_MS);
	if (pthread_create(&m->thread, NULL, mesh_main, m) != 0)
		return err_set(err, HCP_EIO, "mesh", "cannot start a thread");
	pthread_setname_np(m->thread, "mesh");
	m->running = true;
	return 0;
}

uint16_t mesh_port(const struct mesh *m)
{
	return http_server_port(m->http);
}

struct stopper {
	struct handoff handoff;
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool is_done;
};

static void stop_now(struct mesh *m, struct handoff *h)
{
	struct stopper *s = (struct stopper *)(void *)h;
	loop_timer_stop(&m->save);
	loop_timer_stop(&m->certs);
	http_server_drain(m->http);
	mesh_agents_stop(m);
	mesh_feeds_stop(m);
	mesh_peers_save(m);
	for (int i = 0; i < m->n_peers; i++)
		mesh_peer_stop(&m->peers[i]);
	pthread_mutex_lock(&s->lock);
	s->is_done = true;
	pthread_cond_signal(&s->done);
	pthread_mutex_unlock(&s->lock);
}

void mesh_stop(struct mesh *m)
{
	struct stopper s = { .handoff = { .fn = stop_now } };
	if (atomic_exchange(&m->stopping, true))
		return;
	if (m->watching)
		bus_unwatch(host_bus(m->host), m);
	m->watching = false;
	if (!m->running)
		return;
	pthread_mutex_init(&s.lock, NULL);
	pthread_cond_init(&s.done, NULL);
	mesh_hand(m, &s.handoff, true);
	pthread_mutex_lock(&s.lock);
	while (!s.is_done)
		pthread_cond_wait(&s.done, &s.lock);
	pthread_mutex_unlock(&s.lock);
	pthread_cond_destroy(&s.done);
	pthread_mutex_destroy(&s.lock);
}

static void finish(struct loop *loop, void *arg)
{
	loop_stop(loop);
}

void mesh_free(struct mesh *m)
{
	if (!m)
		return;
	if (m->running) {
		must(loop_post(m->loop, finish, m) == 0);
		pthread_join(m->thread, NULL);
	}
	for (int i = 0; i < m->n_peers; i++)
		mesh_peer_stop(&m->peers[i]);
	http_server_free(m->http);
	if (m->loop)
		loop_free(m->loop);
	if (m->grpc)
		grpc_server_free(m->grpc);
	tls_unref(m->tls);
	tls_unref(m->peer_tls);
	map_release(&m->by_node);
	mem_free(m->methods);
	pthread_mutex_destroy(&m->lock);
	mem_free_secret(m, sizeof(*m));
}

const char *mesh_service_state(void *mesh, int service)
{
	struct mesh *m = mesh;
	for (int i = 0; i < m->n_peers; i++)
		if (m->peers[i].services >> service & 1)
			return atomic_load(&m->peers[i].up) ? "ok" : "down";
	return NULL;
}
