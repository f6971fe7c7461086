/*
 * A stand-in for resources where the real one does not take part: it refuses, loses and takes back more often than a
 * fleet does, so that orchestrator and router meet every answer. Its devices are rows, not machines.
 */
#include "sim.h"

#include <stdio.h>

#include "base/mem.h"
#include "model/device_class.h"

enum { PEER_NODES = 6, PEER_SWITCH_MS = 40000, PEER_REFUSE_IN = 12 };

static const struct peer_node {
	const char *class_name;
	int devices;
	const char *facility;
} peer_node[PEER_NODES] = {
	{ "H100", 4, "texas-north" }, { "H100", 4, "texas-north" }, { "A100", 4, "ohio" },
	{ "A100", 2, "texas-north" }, { "S21", 4, "texas-north" },  { "CPU64", 2, "ohio" },
};

static const char *const schema[] = {
	"CREATE TABLE device(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, node INTEGER NOT NULL, failed INTEGER NOT "
	"NULL,"
	"  alloc TEXT NOT NULL, parts INTEGER NOT NULL, fill INTEGER NOT NULL);"
	"CREATE TABLE alloc(id TEXT PRIMARY KEY, state INTEGER NOT NULL, until_ns INTEGER NOT NULL, part_of TEXT NOT NULL,"
	"  body BLOB NOT NULL);",
	NULL,
};

static int peer_open(struct svc *svc, struct db *db, const void *conf, void **ret_state, struct err *err)
{
	*ret_state = mem_calloc(1, 8);
	return *ret_state ? 0 : HCP_ENOMEM;
}

/* ---- events ---- */

static int tell_devices(struct svc_ctx *ctx, int64_t node, struct err *err)
{
	struct db_row *row;
	struct arena *a = svc_arena(ctx);
	Hcp__DevicesChanged ev = HCP__DEVICES_CHANGED__INIT;
	int rc;
	for (rc = db_query(svc_db(ctx), &row, err,
			 "SELECT id,node,failed,alloc<>'' OR parts>0,fill FROM device WHERE node=$1 OR $1<0 ORDER BY n", "i", node);
		 rc == 1; rc = db_next(row, err)) {
		const struct peer_node *pn = &peer_node[db_i64(row, 1)];
		Hcp__Device *d = arena_alloc(a, sizeof(*d));
		if (!d)
			return HCP_ENOMEM;
		hcp__device__init(d);
		d->id = arena_strndup(a, db_text(row, 0).p, db_text(row, 0).n);
		d->node_id = arena_printf(a, "n%d", (int)db_i64(row, 1));
		d->facility = pn->facility;
		d->region = "us";
		d->device_class = pn->class_name;
		d->kind = (Hcp__DeviceKind)device_class_find(str_of(pn->class_name))->kind;
		d->state = db_i64(row, 2)   ? HCP__DEVICE_STATE__DEVICE_FAILED
				   : db_i64(row, 3) ? HCP__DEVICE_STATE__ACTIVE
									: HCP__DEVICE_STATE__IDLE;
		d->desired = db_i64(row, 4) ? HCP__MODE__FILL : HCP__MODE__OFF;
		d->health = 1;
		if (!d->id || pb_push(a, &ev.n_devices, &ev.devices, d) < 0)
			return HCP_ENOMEM;
	}
	return rc < 0 || !ev.n_devices ? rc : svc_publish(ctx, "", &ev.base);
}

static int tell(
	struct svc_ctx *ctx, const Hcp__Place *p, Hcp__AllocationState state, const char *reason, const char *preempted_by)
{
	Hcp__AllocationChanged ev = HCP__ALLOCATION_CHANGED__INIT;
	ev.allocation_id = p->allocation_id;
	ev.workload_id = p->workload->id;
	ev.customer_id = p->workload->customer_id;
	ev.type = p->workload->type;
	ev.state = state;
	ev.n_device_ids = p->n_device_ids;
	ev.device_ids = p->device_ids;
	ev.at_ns = svc_now_ns(ctx);
	ev.reason = reason;
	ev.preempted_by = preempted_by;
	ev.share = p->share;
	return svc_publish(ctx, p->allocation_id, &ev.base);
}

/* ---- allocations ---- */

static int set_state(
	struct svc_ctx *ctx, const Hcp__Place *p, Hcp__AllocationState state, int64_t until, struct err *err)
{
	size_t n = hcp__place__get_packed_size(p);
	uint8_t *body = arena_alloc(svc_arena(ctx), n);
	if (!body)
		return HCP_ENOMEM;
	hcp__place__pack(p, body);
	return db_run(svc_db(ctx), err,
		"INSERT INTO alloc(id,state,until_ns,part_of,body) VALUES($1,$2,$3,$4,$5)"
		" ON CONFLICT(id) DO UPDATE SET state=excluded.state, until_ns=excluded.until_ns",
		"ziizb", p->allocation_id, (int64_t)state, until, p->share ? p->device_ids[0] : "",
		(struct str){ (char *)body, n });
}

static int finish_for(struct svc_ctx *ctx, const Hcp__Place *p, Hcp__AllocationState state, const char *reason,
	const char *preempted_by, struct err *err)
{
	int rc = db_run(svc_db(ctx), err, "UPDATE device SET alloc='' WHERE alloc=$1", "z", p->allocation_id);
	if (rc == 0 && p->share)
		rc = db_run(svc_db(ctx), err, "UPDATE device SET parts=parts-1 WHERE id=$1", "z", p->device_ids[0]);
	if (rc == 0)
		rc = set_state(ctx, p, state, 0, err);
	return rc < 0 ? rc : tell(ctx, p, state, reason, preempted_by);
}

static int finish(
	struct svc_ctx *ctx, const Hcp__Place *p, Hcp__AllocationState state, const char *reason, struct err *err)
{
	return finish_for(ctx, p, state, reason, "", err);
}

/* 1 and *ret, *ret_state; 0: unknown. */
static int load(struct svc_ctx *ctx, const char *id, Hcp__Place **ret, int64_t *ret_state, struct err *err)
{
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT state,body FROM alloc WHERE id=$1", "z", id);
	if (rc != 1)
		return rc;
	*ret_state = db_i64(row, 0);
	*ret = (void *)pb_unpack_arena(&hcp__place__descriptor, db_blob(row, 1), svc_arena(ctx));
	db_done(row);
	return *ret ? 1 : HCP_ENOMEM;
}

static int is_free(struct svc_ctx *ctx, const char *id, bool part, struct err *err)
{
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err,
		"SELECT 1 FROM device WHERE id=$1 AND failed=0 AND alloc='' AND (parts=0 OR $2=1)", "zi", id, (int64_t)part);
	if (rc == 1)
		db_done(row);
	return rc;
}

static int on_place(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	Hcp__Place *p = (Hcp__Place *)m->body, *known;
	int64_t was;
	int rc = load(ctx, p->allocation_id, &known, &was, err);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	for (size_t i = 0; i < p->n_device_ids; i++) {
		rc = is_free(ctx, p->device_ids[i], p->share != NULL, err);
		if (rc < 0)
			return rc;
		if (rc == 0) {
			rc = set_state(ctx, p, HCP__ALLOCATION_STATE__REFUSED, 0, err);
			return rc < 0 ? rc : tell(ctx, p, HCP__ALLOCATION_STATE__REFUSED, "a device is not free", "");
		}
	}
	for (size_t i = 0; i < p->n_device_ids; i++) {
		rc = db_run(svc_db(ctx), err, "UPDATE device SET alloc=$2, parts=parts+$3 WHERE id=$1", "zzi", p->device_ids[i],
			p->share ? "" : p->allocation_id, (int64_t)(p->share != NULL));
		if (rc < 0)
			return rc;
	}
	int64_t until = svc_now_ns(ctx) + (int64_t)rng_below(svc_rng(ctx), PEER_SWITCH_MS) * NS_PER_MS;
	rc = set_state(ctx, p, HCP__ALLOCATION_STATE__SWITCHING, until, err);
	svc_wake_at(ctx, until);
	return rc < 0 ? rc : tell(ctx, p, HCP__ALLOCATION_STATE__SWITCHING, "", "");
}

static int on_release(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__Release *r = (const Hcp__Release *)m->body;
	Hcp__Place *p;
	int64_t was;
	int rc = load(ctx, r->allocation_id, &p, &was, err);
	if (rc != 1)
		return rc;
	if (was == HCP__ALLOCATION_STATE__RELEASED || was == HCP__ALLOCATION_STATE__REFUSED)
		return 0;
	return finish_for(ctx, p, HCP__ALLOCATION_STATE__RELEASED, r->reason, r->preempted_by, err);
}

/* Ends allocations that a query names. */
static int end_all(struct svc_ctx *ctx, struct db_row *row, int rc, const char *reason, struct err *err)
{
	char ids[256][ID_TEXT_MAX];
	size_t n = 0;
	for (; rc == 1; rc = db_next(row, err)) {
		if (n < 256 && str_copy(ids[n], sizeof(ids[n]), db_text(row, 0)) == 0)
			n++;
	}
	for (size_t i = 0; i < n && rc == 0; i++) {
		Hcp__Place *p;
		int64_t was;
		rc = load(ctx, ids[i], &p, &was, err);
		if (rc == 1)
			rc = finish(ctx, p, was == HCP__ALLOCATION_STATE__HELD ? HCP__ALLOCATION_STATE__RELEASED
									       : HCP__ALLOCATION_STATE__REFUSED, reason, err);
	}
	return rc;
}

static int on_directive(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__Directive *d = (const Hcp__Directive *)m->body;
	struct db_row *row;
	int rc = 0;
	if (d->emergency_stop) {
		rc = db_query(svc_db(ctx), &row, err, "SELECT id FROM alloc WHERE state IN (2,3) ORDER BY id", "");
		return end_all(ctx, row, rc, "emergency stop", err);
	}
	rc = db_run(svc_db(ctx), err, "UPDATE device SET fill=n%3=$1", "i", (int64_t)rng_below(svc_rng(ctx), 3));
	return rc < 0 ? rc : tell_devices(ctx, -1, err);
}

/* ---- nodes come and go ---- */

static int on_gone(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	int64_t node = ((const Hcp__NodeGone *)m->body)->node_id[1] - '0';
	struct db_row *row;
	int rc = db_run(svc_db(ctx), err, "UPDATE device SET failed=1 WHERE node=$1", "i", node);
	if (rc == 0)
		rc = tell_devices(ctx, node, err);
	if (rc == 0)
		rc = db_query(svc_db(ctx), &row, err,
			"SELECT alloc FROM device WHERE node=$1 AND alloc<>'' UNION SELECT a.id FROM alloc a JOIN device d"
			" ON d.id=a.part_of WHERE d.node=$1 AND a.state IN (2,3) ORDER BY 1",
			"i", node);
	return end_all(ctx, row, rc, "its node is lost", err);
}

static int on_hello(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	int64_t node = ((const Hcp__NodeHello *)m->body)->node_id[1] - '0';
	int rc = db_run(svc_db(ctx), err, "UPDATE device SET failed=0 WHERE node=$1", "i", node);
	return rc < 0 ? rc : tell_devices(ctx, node, err);
}

static int populate(struct svc_ctx *ctx, struct err *err)
{
	int64_t n = 0;
	for (int64_t i = 0; i < PEER_NODES; i++)
		for (int d = 0; d < peer_node[i].devices; d++) {
			char id[32];
			snprintf(id, sizeof(id), "n%d/d%d", (int)i, d);
			int rc = db_run(svc_db(ctx), err,
				"INSERT INTO device(n,id,node,failed,alloc,parts,fill) VALUES($1,$2,$3,0,'',0,0)", "izi", ++n, id, i);
			if (rc < 0)
				return rc;
		}
	return tell_devices(ctx, -1, err);
}

static int switch_due(struct svc_ctx *ctx, const char *id, struct err *err)
{
	Hcp__Place *p;
	int64_t was;
	int rc = load(ctx, id, &p, &was, err);
	if (rc != 1)
		return rc;
	if (rng_below(svc_rng(ctx), PEER_REFUSE_IN) == 0)
		return finish(ctx, p, HCP__ALLOCATION_STATE__REFUSED, "the switch was rolled back", err);
	rc = set_state(ctx, p, HCP__ALLOCATION_STATE__HELD, 0, err);
	return rc < 0 ? rc : tell(ctx, p, HCP__ALLOCATION_STATE__HELD, "", "");
}

static int peer_timer(void *state, struct svc_ctx *ctx, struct err *err)
{
	char ids[64][ID_TEXT_MAX];
	size_t n = 0;
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT 1 FROM device LIMIT 1", "");
	if (rc == 1)
		db_done(row);
	if (rc <= 0)
		return rc < 0 ? rc : populate(ctx, err);
	for (rc = db_query(svc_db(ctx), &row, err,
			 "SELECT id FROM alloc WHERE state=2 AND until_ns<=$1 ORDER BY until_ns,id LIMIT 64", "i", svc_now_ns(ctx));
		 rc == 1; rc = db_next(row, err))
		if (str_copy(ids[n], sizeof(ids[n]), db_text(row, 0)) == 0)
			n++;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = switch_due(ctx, ids[i], err);
	return rc;
}

static const struct svc_handler handlers[] = {
	{ MSG_PLACE, on_place, false },         { MSG_RELEASE, on_release, false }, { MSG_DIRECTIVE, on_directive, false },
	{ MSG_NODE_GONE, on_gone, false },      { MSG_NODE_HELLO, on_hello, false }, { 0 },
};

const struct svc_def peer_resources_def = {
	.id = SVC_RESOURCES, .schema = schema, .handlers = handlers, .open = peer_open, .close = mem_free,
	.timer = peer_timer, .timer_ms = 2000,
};

/* ---- its nodes' fate ---- */

static void node_back(struct sim *s, void *arg, uint64_t node)
{
	char id[8];
	if (!s->slot[SVC_RESOURCES].svc) {
		sim_at(s, s->now_ns + NS_PER_S, node_back, NULL, node);
		return;
	}
	snprintf(id, sizeof(id), "n%d", (int)node);
	struct msg *m = msg_new(MSG_NODE_HELLO);
	((Hcp__NodeHello *)m->body)->node_id = arena_strdup(&m->arena, id);
	sim_post(s, m);
}

static void node_lost(struct sim *s, void *arg, uint64_t data)
{
	char id[8];
	uint64_t node = rng_below(&s->rng, PEER_NODES);
	sim_at(s, s->now_ns + (int64_t)(3600e9 * rng_exp(&s->rng)), node_lost, NULL, 0);
	if (!s->faults)
		return;
	snprintf(id, sizeof(id), "n%d", (int)node);
	sim_say(s, "node %s is lost", id);
	struct msg *m = msg_new(MSG_NODE_GONE);
	((Hcp__NodeGone *)m->body)->node_id = arena_strdup(&m->arena, id);
	sim_post(s, m);
	sim_at(s, s->now_ns + (int64_t)(300e9 * rng_exp(&s->rng)), node_back, NULL, node);
}

void peer_start(struct sim *s)
{
	if (s->stand_ins)
		sim_at(s, s->now_ns + NS_PER_S, node_lost, NULL, 0);
}

void peer_settle(struct sim *s)
{
	if (s->stand_ins)
		for (uint64_t i = 0; i < PEER_NODES; i++)
			node_back(s, NULL, i);
}
