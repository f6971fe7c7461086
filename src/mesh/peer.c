/* The other processes: requests to their services, and their events into our own log. */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/money.h"
#include "base/num.h"
#include "mesh/mesh_priv.h"
#include "os/clock.h"
#include "os/file.h"

enum { REOPEN_MS = 500, CURSOR_MAX = 4096 };

static const char NOT_CONNECTED[] = "the service's process is not connected; try again";

/* ---- cursor: "offset seq seq …", one number by sender ---- */

static int read_cursor(struct peer *p, struct err *err)
{
	struct buf b;
	if (!file_exists(p->cursor_path))
		return 0;
	int rc = file_read(p->cursor_path, CURSOR_MAX, &b, err);
	struct str rest = str_trim(buf_str(&b));
	uint64_t v[SVC_COUNT + 1] = { 0 };
	for (int i = 0; i <= SVC_COUNT && rest.p && rc == 0; i++)
		rc = num_parse_u64(str_split(&rest, ' '), &v[i]);
	buf_release(&b);
	if (rc < 0) /* without it everything is mirrored again, and dropped by its readers */
		return 0;
	p->offset = v[0];
	memcpy(p->seq, v + 1, sizeof(p->seq));
	return 0;
}

static void write_cursor(struct peer *p)
{
	struct buf b;
	struct err err = { 0 };
	buf_init(&b, CURSOR_MAX);
	buf_printf(&b, "%llu", (unsigned long long)p->offset);
	for (int i = 0; i < SVC_COUNT; i++)
		buf_printf(&b, " %llu", (unsigned long long)p->seq[i]);
	if (file_write_atomic(p->cursor_path, buf_str(&b), 0600, &err) < 0)
		log_error("mesh", "cannot keep the place in a peer's events: %s", err.text);
	else
		p->dirty = false;
	buf_release(&b);
}

/* What a cursor counts must be on the disk before the cursor is. */
void mesh_peers_save(struct mesh *m)
{
	struct err err = { 0 };
	bool dirty = false;
	for (int i = 0; i < m->n_peers; i++)
		dirty |= m->peers[i].dirty;
	if (!dirty)
		return;
	if (bus_sync(host_bus(m->host), NULL, &err) < 0) {
		log_error("mesh", "cannot sync the event log: %s", err.text);
		return;
	}
	for (int i = 0; i < m->n_peers; i++)
		if (m->peers[i].dirty)
			write_cursor(&m->peers[i]);
}

/* ---- events ---- */

static void mirror(struct peer *p, const Hcp__Envelope *e, struct str bytes)
{
	const struct msg_info *info = msg_info(e->type);
	int sender = svc_by_name(e->sender, strlen(e->sender));
	struct err err = { 0 };
	if (!info || info->kind != MSG_KIND_EVENT || !(p->mask >> info->topic & 1) ||
	    topic_table[info->topic].from != sender) {
		log_warn("mesh", "%s:%u sends an event that is not its own", p->host, p->port);
		return;
	}
	if (e->seq > p->seq[sender]) {
		const struct bus_entry entry = { e->seq, (uint16_t)info->topic, (uint16_t)sender, bytes };
		if (bus_append(host_bus(p->mesh->host), &entry, 1, &err) < 0) {
			log_error("mesh", "cannot keep a peer's event: %s", err.text);
			grpc_rpc_cancel(p->events); /* read again from the cursor */
			p->events = NULL;
			loop_timer_start(&p->reopen, REOPEN_MS);
			return;
		}
		p->seq[sender] = e->seq;
	}
	p->offset = e->bus_offset;
	p->dirty = true;
}

static void on_event(struct grpc_rpc *rpc, void *arg, struct str bytes)
{
	struct peer *p = arg;
	struct arena a;
	arena_init(&a, 4096, MESH_MESSAGE_MAX * 2);
	const Hcp__Envelope *e = (void *)pb_unpack_arena(&hcp__envelope__descriptor, bytes, &a);
	if (e)
		mirror(p, e, bytes);
	arena_release(&a);
}

static void on_events_closed(struct grpc_rpc *rpc, void *arg, enum grpc_status status, struct str text)
{
	struct peer *p = arg;
	p->events = NULL;
	if (!atomic_load(&p->mesh->stopping))
		loop_timer_start(&p->reopen, REOPEN_MS);
}

static size_t metadata(struct mesh *m, struct http_header h[1])
{
	h[0] = (struct http_header){ STR("x-hcp-token"), str_of(m->token) };
	return 1;
}

static void open_events(struct loop *loop, void *arg)
{
	static const struct grpc_rpc_ops ops = { .on_message = on_event, .on_close = on_events_closed };
	struct peer *p = arg;
	struct http_header h[1];
	Hcp__MeshSubscribe s = HCP__MESH_SUBSCRIBE__INIT;
	uint8_t bytes[64];
	if (p->events || !p->mask || !grpc_client_up(p->client))
		return;
	s.from_offset = p->offset > MESH_REWIND ? p->offset - MESH_REWIND : 1;
	s.topic_mask = p->mask;
	size_t n = hcp__mesh_subscribe__pack(&s, bytes);
	int rc = grpc_stream_open(p->client, "/hcp.v1.Mesh/Events", h, metadata(p->mesh, h), 0, &ops, p, &p->events, NULL);
	if (rc < 0) {
		p->events = NULL;
		loop_timer_start(&p->reopen, REOPEN_MS);
		return;
	}
	rc = grpc_rpc_send(p->events, (struct str){ (const char *)bytes, n });
	if (rc < 0 && rc != HCP_EAGAIN) {
		grpc_rpc_cancel(p->events);
		p->events = NULL;
		loop_timer_start(&p->reopen, REOPEN_MS);
	}
}

/* ---- requests ---- */

static void remote_free(struct remote *r, int code, const char *text)
{
	struct err err = { 0 };
	if (code < 0) {
		err_set(&err, code, "", "%s", text);
		msg_answer_problem(r->msg, code, &err);
	}
	msg_free(r->msg);
	mem_free(r);
}

static void on_answer(void *arg, enum grpc_status status, struct str text, struct str bytes)
{
	struct remote *r = arg;
	struct msg *reply = NULL;
	list_del(&r->node);
	if (status == GRPC_OK && msg_unpack(bytes, &reply, NULL) == 0) {
		msg_answer(r->msg, reply);
		remote_free(r, 0, NULL);
	} else if (status == GRPC_DEADLINE_EXCEEDED) {
		remote_free(r, HCP_ETIMEOUT, "the service did not answer in time");
	} else {
		log_warn("mesh", "%s: status %d %.*s", svc_table[r->target].name, (int)status,
			 (int)(text.n < 200 ? text.n : 200), text.n ? text.p : "");
		remote_free(r, HCP_EUNAVAIL, "the service cannot be reached; try again");
	}
}

/* Envelope field 15, target. */
static int pack_request(const struct remote *r, struct buf *b)
{
	const char *target = svc_table[r->target].name;
	int rc = msg_pack(r->msg, b);
	if (rc < 0)
		return rc;
	buf_addc(b, 15 << 3 | 2);
	buf_addc(b, (char)strlen(target));
	buf_addz(b, target);
	return buf_failed(b) ? HCP_ENOMEM : 0;
}

static void send_to(struct peer *p, struct remote *r)
{
	struct mesh *m = p->mesh;
	struct http_header md[1];
	struct buf b;
	int64_t left_ms = r->msg->deadline_ns ? (r->msg->deadline_ns - clock_wall_ns()) / NS_PER_MS : MESH_CALL_MS;
	if (left_ms <= 0) {
		remote_free(r, HCP_ETIMEOUT, "the deadline passed before the request was sent");
		return;
	}
	buf_init(&b, MESH_MESSAGE_MAX);
	list_add_tail(&p->requests, &r->node);
	int rc = pack_request(r, &b);
	if (rc == 0)
		rc = grpc_call(p->client, "/hcp.v1.Mesh/Call", md, metadata(m, md), buf_str(&b), (uint32_t)left_ms, on_answer,
			       r, NULL, NULL);
	buf_release(&b);
	if (rc < 0) {
		list_del(&r->node);
		remote_free(r, rc == HCP_ELIMIT ? HCP_ELIMIT : HCP_EUNAVAIL, "the request cannot be sent now; try again");
	}
}

static void send_remote(struct mesh *m, struct handoff *h)
{
	struct remote *r = (struct remote *)(void *)h;
	struct peer *p = NULL;
	for (int i = 0; i < m->n_peers; i++)
		if (m->peers[i].services >> r->target & 1)
			p = &m->peers[i];
	if (!p || !p->client)
		remote_free(r, HCP_EUNAVAIL, "no process has this service");
	else if (grpc_client_up(p->client))
		send_to(p, r);
	else if (!p->tried)
		list_add_tail(&p->early, &r->node);
	else
		remote_free(r, HCP_EUNAVAIL, NOT_CONNECTED);
}

static void on_state(void *arg, bool up, const struct err *err)
{
	struct peer *p = arg;
	struct list *it;
	bool changed = atomic_exchange(&p->up, up) != up;
	if (up && changed)
		log_info("mesh", "peer %s:%u is connected", p->host, p->port);
	else if (!up && (changed || strcmp(p->why, err->text) != 0)) /* once for each reason */
		log_warn("mesh", "peer %s:%u is away: %s", p->host, p->port, err->text);
	snprintf(p->why, sizeof(p->why), "%s", up ? "" : err->text);
	p->tried = true;
	while ((it = list_pop(&p->early))) {
		struct remote *r = list_entry(it, struct remote, node);
		if (up)
			send_to(p, r);
		else
			remote_free(r, HCP_EUNAVAIL, NOT_CONNECTED);
	}
	if (up)
		loop_timer_start(&p->reopen, 0);
}

void mesh_remote(void *mesh, int target, struct msg *q)
{
	struct mesh *m = mesh;
	struct err err = { 0 };
	struct remote *r = atomic_load(&m->stopping) ? NULL : mem_calloc(1, sizeof(*r));
	if (r) {
		*r = (struct remote){ .handoff = { .fn = send_remote }, .target = target, .msg = q };
		list_init(&r->node);
		if (mesh_hand(m, &r->handoff, false))
			return;
		mem_free(r);
	}
	int code = atomic_load(&m->stopping) ? HCP_ECLOSED : HCP_EUNAVAIL;
	err_set(&err, code, "", code == HCP_ECLOSED ? "the process is stopping"
						    : "too many requests wait for other processes");
	msg_answer_problem(q, code, &err);
	msg_free(q);
}

/* ---- life ---- */

static double jitter(void *arg)
{
	return rng_double(&((struct mesh *)arg)->rng);
}

int mesh_peer_init(struct mesh *m, struct peer *p, const struct mesh_peer_conf *conf, const char *state_dir,
		   struct err *err)
{
	char name[320];
	p->mesh = m;
	p->services = conf->services;
	p->port = conf->port;
	list_init(&p->requests);
	list_init(&p->early);
	loop_timer_init(&p->reopen, m->loop, open_events, p);
	for (int t = 0; t < TOPIC_COUNT; t++)
		if (conf->services >> topic_table[t].from & 1)
			p->mask |= UINT64_C(1) << t;
	if (str_copy(p->host, sizeof(p->host), str_of(conf->host)) < 0)
		return err_set(err, HCP_ERANGE, "peer", "the host name is too long");
	snprintf(name, sizeof(name), "mesh-%s-%u.cursor", p->host, p->port);
	for (char *c = name; *c; c++)
		if (*c == '/' || *c == ':')
			*c = '_';
	if (file_join(p->cursor_path, sizeof(p->cursor_path), state_dir, name) < 0)
		return err_set(err, HCP_ERANGE, "state", "the path is too long");
	return read_cursor(p, err);
}

int mesh_peer_start(struct peer *p, struct err *err)
{
	const struct grpc_client_conf conf = {
		.host = p->host, .port = p->port, .tls = p->mesh->peer_tls, .backoff_min_ms = 100, .backoff_max_ms = 3000,
		.keepalive_ms = 5000, .keepalive_timeout_ms = 5000, .max_message_bytes = MESH_MESSAGE_MAX,
		.max_calls = MESH_CALLS_MAX, .jitter = jitter, .jitter_arg = p->mesh, .on_state = on_state, .arg = p,
	};
	return grpc_client_new(p->mesh->loop, &conf, &p->client, err);
}

void mesh_peer_stop(struct peer *p)
{
	struct list *it;
	if (!p->client)
		return;
	loop_timer_stop(&p->reopen);
	grpc_client_free(p->client); /* calls back no more */
	p->client = NULL;
	p->events = NULL;
	atomic_store(&p->up, false);
	while ((it = list_pop(&p->requests)))
		remote_free(list_entry(it, struct remote, node), HCP_ECLOSED, "the process is stopping");
	while ((it = list_pop(&p->early)))
		remote_free(list_entry(it, struct remote, node), HCP_ECLOSED, "the process is stopping");
}
