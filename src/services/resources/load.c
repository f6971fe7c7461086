/* Tables to memory at start, and a node's row back. One row holds all devices of a node, so a directive costs a row a
 * node. */
#include <stdio.h>

#include "base/log.h"
#include "services/resources/resources_priv.h"

/*
 * What a restart must know of a device, in the order of the node's announcement. Host byte order: a database
 * does not move between machines of another one.
 */
struct device_rec {
	int64_t commanded_at_ns, confirmed_at_ns, changed_at_ns, retry_at_ns, requests_base, requests;
	int32_t transit_w, power_w;
	uint8_t state, why, desired, commanded, confirmed, gate, flags, fails;
	int32_t desired_w, power_target_w;
};

static_assert(sizeof(struct device_rec) == 72, "stored");
enum { REC_OLD = 64 }; /* of rows written before miners were told their watts: the rest is 0 */

enum { REC_DRIFTED = 1, REC_ACKED = 2, REC_RESYNC = 4, REC_LOCAL = 8, REC_AGAIN = 16 };

static struct device_rec rec_of(const struct device *d)
{
	const struct device_control *c = &d->ctl;
	return (struct device_rec){
		.commanded_at_ns = c->commanded_at_ns,
		.confirmed_at_ns = c->confirmed_at_ns,
		.changed_at_ns = d->changed_at_ns,
		.retry_at_ns = d->retry_at_ns,
		.requests_base = d->requests_base,
		.requests = d->requests,
		.transit_w = d->transit_w,
		.power_w = d->power_w,
		.desired_w = d->desired_w,
		.power_target_w = (int32_t)c->power_target_w,
		.state = (uint8_t)d->state,
		.why = (uint8_t)d->why,
		.desired = (uint8_t)c->desired,
		.commanded = (uint8_t)c->commanded,
		.confirmed = (uint8_t)c->confirmed,
		.gate = (uint8_t)d->gate,
		.fails = d->fails,
		.flags = (uint8_t)((c->drifted ? REC_DRIFTED : 0) | (c->acked ? REC_ACKED : 0) | (d->resync ? REC_RESYNC : 0) |
						   (d->local ? REC_LOCAL : 0) | (d->again ? REC_AGAIN : 0)),
	};
}

static int apply_rec(struct device *d, const struct device_rec *rec)
{
	if (rec->state >= DEVICE_STATE_END || rec->desired >= DEVICE_MODE_END || rec->commanded >= DEVICE_MODE_END ||
	    rec->confirmed >= DEVICE_MODE_END || rec->gate >= DEVICE_MODE_END || rec->why >= WHY_END)
		return HCP_ECORRUPT;
	d->ctl = (struct device_control){
		.desired = rec->desired,
		.commanded = rec->commanded,
		.confirmed = rec->confirmed,
		.power_target_w = rec->power_target_w,
		.drifted = rec->flags & REC_DRIFTED,
		.acked = rec->flags & REC_ACKED,
		.commanded_at_ns = rec->commanded_at_ns,
		.confirmed_at_ns = rec->confirmed_at_ns,
	};
	d->state = rec->state;
	d->why = rec->why;
	d->gate = rec->gate;
	d->resync = rec->flags & REC_RESYNC;
	d->local = rec->flags & REC_LOCAL;
	d->again = rec->flags & REC_AGAIN;
	d->fails = rec->fails;
	d->changed_at_ns = rec->changed_at_ns;
	d->retry_at_ns = rec->retry_at_ns;
	d->requests_base = rec->requests_base;
	d->requests = rec->requests;
	d->desired_w = rec->desired_w;
	d->transit_w = rec->transit_w;
	d->power_w = rec->power_w;
	device_reserve(d);
	return 0;
}

/* The node as an agent would announce it, with every device it ever had. */
static int pack_node(struct svc_ctx *ctx, const struct node *n, struct str *ret)
{
	struct arena *a = svc_arena(ctx);
	Hcp__NodeHello h = HCP__NODE_HELLO__INIT;
	Hcp__AgentDevice *rows = arena_alloc(a, (n->n_devices + 1) * sizeof(*rows));
	h.devices = arena_alloc(a, (n->n_devices + 1) * sizeof(*h.devices));
	if (!rows || !h.devices)
		return HCP_ENOMEM;
	h.node_id = n->id;
	h.name = n->name;
	h.facility = n->facility;
	h.region = n->region;
	h.endpoint = n->endpoint;
	h.models = n->models;
	h.n_models = n->n_models;
	h.programs = n->programs;
	h.n_programs = n->n_programs;
	h.agent_version = n->version;
	h.boot_id = n->boot_id;
	h.stream = n->stream;
	h.feed = n->feed;
	h.n_devices = n->n_devices;
	for (size_t i = 0; i < n->n_devices; i++) {
		const struct device *d = n->devices[i];
		hcp__agent_device__init(&rows[i]);
		rows[i].id = d->agent_id;
		rows[i].kind = (Hcp__DeviceKind)d->group->cls->kind;
		rows[i].device_class = d->group->cls->name;
		rows[i].memory_gib = d->memory_gib;
		rows[i].name = d->name;
		h.devices[i] = &rows[i];
	}
	struct str packed;
	if (pb_pack_arena(&h.base, a, &packed) < 0)
		return HCP_ENOMEM;
	*ret = packed;
	return 0;
}

int node_save(struct resources *r, struct svc_ctx *ctx, struct node *n, struct err *err)
{
	struct device_rec *rec = arena_alloc(svc_arena(ctx), (n->n_devices + 1) * sizeof(*rec));
	if (!rec)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	for (size_t i = 0; i < n->n_devices; i++)
		rec[i] = rec_of(n->devices[i]);
	struct str state = { (const char *)rec, n->n_devices * sizeof(*rec) };
	return db_run(svc_db(ctx), err, "UPDATE node SET connected=$2, state=$3 WHERE number=$1", "iib",
		      (int64_t)n->number, (int64_t)n->connected, state);
}

int node_save_hello(struct resources *r, struct svc_ctx *ctx, struct node *n, struct err *err)
{
	struct str hello;
	if (pack_node(ctx, n, &hello) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	return db_run(svc_db(ctx), err,
		      "INSERT INTO node(number,connected,hello,old_boot_id,state) VALUES($1,$2,$3,$4,x'')"
		      " ON CONFLICT(number) DO UPDATE SET connected=excluded.connected, hello=excluded.hello,"
		      " old_boot_id=excluded.old_boot_id", "iibz", (int64_t)n->number, (int64_t)n->connected, hello,
		      n->old_boot_id);
}

static const char *const *name_at(const Hcp__NodeHello *h, size_t i)
{
	return (const char *const *)(i < h->n_models ? &h->models[i] : &h->programs[i - h->n_models]);
}

int node_set_info(struct node *n, const Hcp__NodeHello *h)
{
	size_t text = 0;
	size_t names = h->n_models + h->n_programs;
	for (size_t i = 0; i < names; i++)
		text += strlen(*name_at(h, i)) + 1;
	const char **models = mem_alloc(names * sizeof(*models) + text + 1);
	if (!models)
		return HCP_ENOMEM;
	char *at = (char *)(models + names);
	for (size_t i = 0; i < names; i++) {
		size_t len = strlen(*name_at(h, i)) + 1;
		memcpy(at, *name_at(h, i), len);
		models[i] = at;
		at += len;
	}
	mem_free(n->models);
	n->models = models;
	n->n_models = h->n_models;
	n->programs = models + h->n_models;
	n->n_programs = h->n_programs;
	n->stream = h->stream;
	snprintf(n->name, sizeof(n->name), "%s", h->name);
	snprintf(n->facility, sizeof(n->facility), "%s", h->facility);
	snprintf(n->region, sizeof(n->region), "%s", h->region);
	snprintf(n->version, sizeof(n->version), "%s", h->agent_version);
	snprintf(n->endpoint, sizeof(n->endpoint), "%s", h->endpoint);
	snprintf(n->boot_id, sizeof(n->boot_id), "%s", h->boot_id);
	snprintf(n->feed, sizeof(n->feed), "%s", h->feed);
	return 0;
}

static int load_node(struct resources *r, const Hcp__NodeHello *h, bool connected, struct str old_boot,
		     struct str state)
{
	struct node *n = node_new(h->node_id);
	if (!n || node_set_info(n, h) < 0 || node_add(r, n) < 0) {
		node_free(n);
		return HCP_ENOMEM;
	}
	struct facility *f;
	if (facility_get(r, n->facility, n->region, &f) < 0)
		return HCP_ENOMEM;
	/* A site file that has changed since: it hangs as if it had said nothing until its next announcement. */
	if (power_of_node(r, f, n->id, n->feed, &n->power, NULL) < 0)
		log_warn("resources", "node %s: the site file knows no '%s' any more", n->id, n->feed);
	n->connected = connected;
	r->nodes_connected += connected;
	list_add_tail(connected ? &r->nodes_seen : &r->nodes_lost, &n->silent);
	size_t each = state.n == h->n_devices * REC_OLD ? REC_OLD : sizeof(struct device_rec);
	if (str_copy(n->old_boot_id, sizeof(n->old_boot_id), old_boot) < 0 || state.n != h->n_devices * each)
		return HCP_ECORRUPT;
	for (size_t i = 0; i < h->n_devices; i++) {
		struct device_rec rec = { 0 };
		struct device *d;
		if (!device_class_find(str_of(h->devices[i]->device_class)))
			return HCP_ECORRUPT;
		int rc = resources_device_add(r, n, h->devices[i], &d);
		if (rc < 0)
			return rc;
		memcpy(&rec, state.p + i * each, each);
		rc = apply_rec(d, &rec);
		if (rc < 0)
			return rc;
	}
	node_want_work(r, n);
	return 0;
}

static int load_nodes(struct resources *r, struct db *db, struct err *err)
{
	struct db_row *row;
	struct arena a;
	int rc, bad = 0;
	arena_init(&a, 64 << 10, 0);
	for (rc = db_query(db, &row, err, "SELECT hello,connected,old_boot_id,state FROM node ORDER BY number", "");
	     rc == 1; rc = db_next(row, err)) {
		arena_clear(&a);
		const Hcp__NodeHello *h = (void *)pb_unpack_arena(&hcp__node_hello__descriptor, db_blob(row, 0), &a);
		bad = h ? load_node(r, h, db_i64(row, 1), db_text(row, 2), db_blob(row, 3)) : HCP_ECORRUPT;
		if (bad < 0) {
			db_done(row);
			break;
		}
	}
	arena_release(&a);
	return bad < 0 ? err_set(err, bad, "node", "a stored node cannot be read") : rc;
}

static int load_report(struct resources *r, struct db_row *row)
{
	int64_t number = db_i64(row, 0);
	if (number < 0 || (size_t)number >= r->n_nodes)
		return HCP_ECORRUPT;
	struct node *n = r->node[number];
	n->seq = (uint64_t)db_i64(row, 1);
	n->seen_at_ns = db_i64(row, 2);
	n->lease_until_ns = db_i64(row, 3);
	/* How much of its lease it has left nobody saw: all of it, then. */
	n->lease_lived_ns = n->lease_until_ns > n->seen_at_ns ? n->lease_until_ns - n->seen_at_ns : 0;
	n->lease_number = (uint64_t)db_i64(row, 4);
	n->energy_j = db_i64(row, 5);
	n->metered_at_ns = db_i64(row, 6);
	/* In order of hearing, as the list is kept. */
	list_del(&n->silent);
	list_add_tail(n->connected ? &r->nodes_seen : &r->nodes_lost, &n->silent);
	return meters_load(n, db_blob(row, 7));
}

static int load_directive(struct resources *r, struct str v)
{
	buf_clear(&r->directive);
	buf_adds(&r->directive, v);
	return buf_failed(&r->directive) ? HCP_ENOMEM : plan_load_directive(r);
}

static int load_switch_no(struct resources *r, int64_t last)
{
	r->next_switch_no = last + 1;
	return 0;
}

/* One loop for every table: a row that cannot be read is named. */
#define EACH(db, what, sql, ...) \
	for (rc = db_query(db, &row, err, sql, ""); rc == 1; rc = db_next(row, err)) { \
		int bad = (__VA_ARGS__); \
		if (bad < 0) { \
			db_done(row); \
			return err_set(err, bad, what, "a stored row cannot be read"); \
		} \
	} \
	if (rc < 0) \
		return rc

int load_all(struct resources *r, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc;
	EACH(db, "state", "SELECT v FROM state WHERE k='directive'", load_directive(r, db_blob(row, 0)));
	EACH(db, "switch", "SELECT coalesce(max(no),0) FROM switch", load_switch_no(r, db_i64(row, 0)));
	rc = load_nodes(r, db, err);
	if (rc < 0)
		return rc;
	EACH(db, "report", "SELECT number,seq,seen_ns,lease_ns,lease_number,energy_j,metered_ns,meters FROM report"
	     " ORDER BY seen_ns,number", load_report(r, row));
	EACH(db, "allocation",
		"SELECT id,model,expires_ns,body,state,program FROM allocation WHERE ended_ns=0 ORDER BY rowid",
		alloc_load(r, db_text(row, 0), db_text(row, 1), db_i64(row, 2), db_blob(row, 3),
			(enum allocation_state)db_i64(row, 4), db_blob(row, 5)));
	EACH(db, "ghost", "SELECT allocation_id,workload_id,device_id FROM ghost ORDER BY allocation_id",
		ghost_load(r, db_text(row, 0), db_text(row, 1), db_text(row, 2)));
	EACH(db, "command",
	     "SELECT id,number,allocation_id,decision_id,decided_ns,issued_ns,deadline_ns,signal_ns,reported_ns,"
	     "items,froms,report FROM command ORDER BY rowid",
	     command_load(r, row));
	EACH(db, "norm", "SELECT class,v FROM norm ORDER BY class", care_load_norms(r, db_text(row, 0), db_blob(row, 1)));
	EACH(db, "chart", "SELECT number,v FROM chart ORDER BY number", care_load_charts(r, db_i64(row, 0),
		db_blob(row, 1)));
	EACH(db, "ticket", "SELECT id,state,body FROM ticket WHERE state<2 ORDER BY opened_ns,id",
	     care_load_ticket(r, db_text(row, 0), db_i64(row, 1), db_blob(row, 2)));
	for (size_t i = 0; i < r->n_facilities; i++)
		plan_want(r, r->facility[i]);
	inventory_all_said(r);
	return 0;
}
