#include "services/resources/resources.h"

#include "services/resources/resources_priv.h"

static const char *const schema[] = {
	"CREATE TABLE node(number INTEGER PRIMARY KEY, connected INTEGER NOT NULL, hello BLOB NOT NULL,"
	"  old_boot_id TEXT NOT NULL, state BLOB NOT NULL);"
	"CREATE TABLE report(number INTEGER PRIMARY KEY, seq INTEGER NOT NULL, seen_ns INTEGER NOT NULL,"
	"  lease_ns INTEGER NOT NULL, lease_number INTEGER NOT NULL, energy_j INTEGER NOT NULL,"
	"  metered_ns INTEGER NOT NULL, meters BLOB NOT NULL);"
	"CREATE TABLE command(id TEXT PRIMARY KEY, number INTEGER NOT NULL, allocation_id TEXT NOT NULL,"
	"  decision_id TEXT NOT NULL, decided_ns INTEGER NOT NULL, issued_ns INTEGER NOT NULL,"
	"  deadline_ns INTEGER NOT NULL, signal_ns INTEGER NOT NULL, reported_ns INTEGER NOT NULL, items BLOB NOT NULL, "
	"froms BLOB NOT NULL,"
	"  report BLOB NOT NULL);"
	"CREATE TABLE allocation(id TEXT PRIMARY KEY, state INTEGER NOT NULL, ended_ns INTEGER NOT NULL,"
	"  expires_ns INTEGER NOT NULL, model TEXT NOT NULL, body BLOB NOT NULL);"
	"CREATE INDEX allocation_live ON allocation(ended_ns);"
	"CREATE TABLE switch(no INTEGER PRIMARY KEY, body BLOB NOT NULL);"
	"CREATE TABLE state(k TEXT PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;",
	/* state: 0 in force, 1 being restored, 2 over */
	"CREATE TABLE curtailment(id TEXT PRIMARY KEY, facility TEXT NOT NULL, state INTEGER NOT NULL, by TEXT NOT NULL,"
	"  reason TEXT NOT NULL, asked_w INTEGER NOT NULL, limit_w INTEGER NOT NULL, measured_w INTEGER NOT NULL,"
	"  ordered_ns INTEGER NOT NULL, until_ns INTEGER NOT NULL, confirmed_ns INTEGER NOT NULL, within_ms INTEGER NOT "
	"NULL,"
	"  step_ns INTEGER NOT NULL, devices INTEGER NOT NULL, commands INTEGER NOT NULL, is_short INTEGER NOT NULL,"
	"  shed_w INTEGER NOT NULL, over_ns INTEGER NOT NULL, raised_w INTEGER NOT NULL) WITHOUT ROWID;",
	"CREATE TABLE ticket(id TEXT PRIMARY KEY, device_id TEXT NOT NULL, state INTEGER NOT NULL,"
	"  opened_ns INTEGER NOT NULL, body BLOB NOT NULL);"
	"CREATE INDEX ticket_device ON ticket(device_id, opened_ns);"
	"CREATE TABLE chart(number INTEGER PRIMARY KEY, v BLOB NOT NULL);"
	"CREATE TABLE norm(class TEXT PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;",
	/* state: 0 tripped, 1 being restored */
	"CREATE TABLE trip(facility TEXT NOT NULL, path TEXT NOT NULL, state INTEGER NOT NULL, at_ns INTEGER NOT NULL,"
	"  by TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY(facility, path)) WITHOUT ROWID;",
	/* program: packed ProgramOrder without a checkpoint; empty: none */
	"ALTER TABLE allocation ADD COLUMN program BLOB NOT NULL DEFAULT x'';"
	"CREATE TABLE checkpoint(workload_id TEXT PRIMARY KEY, at_ns INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE ghost(allocation_id TEXT PRIMARY KEY, workload_id TEXT NOT NULL, device_id TEXT NOT NULL)"
	"  WITHOUT ROWID;",
	"ALTER TABLE curtailment ADD COLUMN service TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE curtailment ADD COLUMN looked_ns INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE curtailment ADD COLUMN dropped_wms INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE curtailment ADD COLUMN due_wms INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE curtailment ADD COLUMN missed_wms INTEGER NOT NULL DEFAULT 0;",
	/* body: AncillaryHeld of the hour that is being counted */
	"CREATE TABLE hold(facility TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;",
	NULL,
};

#define KEEP_ENDED_NS (24 * 3600 * NS_PER_S) /* a repeated Place within it is known as such */
#define KEEP_CHECKPOINT_NS (30 * 24 * 3600 * NS_PER_S) /* the orchestrator knows the workload's for ever */
#define PRUNE_EVERY_NS (60 * NS_PER_S)

static void resources_close(void *state)
{
	struct resources *r = state;
	if (!r)
		return;
	list_each_safe(c, tmp_c, &r->commands)
		command_free(list_entry(c, struct command, link));
	list_each_safe(a, tmp_a, &r->allocs)
		alloc_free(list_entry(a, struct alloc, link));
	list_each_safe(g, tmp_g, &r->ghosts) ghost_free(list_entry(g, struct ghost, link));
	list_each_safe(t, tmp_t, &r->tickets) ticket_free(list_entry(t, struct ticket, link));
	health_free(r->health);
	for (size_t i = 0; i < r->n_nodes; i++)
		node_free(r->node[i]);
	for (size_t i = 0; i < r->n_devices; i++)
		mem_free(resources_device_at(r, i)->id);
	for (size_t i = 0; i < r->n_blocks; i++)
		mem_free(r->block[i]);
	for (size_t i = 0; i < r->n_groups; i++) {
		mem_free(r->group[i]->devices);
		mem_free(r->group[i]);
	}
	for (size_t i = 0; i < r->n_facilities; i++) {
		mem_free(r->facility[i]->curtailment);
		mem_free(r->facility[i]->hold);
		mem_free(r->facility[i]);
	}
	for (size_t i = 0; i < r->n_levels; i++) {
		mem_free(r->level[i]->trip);
		mem_free(r->level[i]);
	}
	struct map *maps[] = { &r->nodes, &r->devices, &r->groups, &r->facilities, &r->levels, &r->alloc_by_id,
		&r->command_by_id };
	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
		map_release(maps[i]);
	buf_release(&r->directive);
	mem_free(r->node);
	mem_free(r->block);
	mem_free(r->group);
	mem_free(r->facility);
	mem_free(r->level);
	mem_free(r->changed);
	mem_free(r);
}

static int resources_open(struct svc *svc, struct db *db, const void *conf, void **ret_state, struct err *err)
{
	struct resources *r = mem_calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	r->svc = svc;
	if (conf)
		r->conf = *(const struct resources_conf *)conf;
	struct map *maps[] = { &r->nodes, &r->devices, &r->groups, &r->facilities, &r->levels, &r->alloc_by_id,
		&r->command_by_id };
	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
		map_init(maps[i]);
	struct list *lists[] = { &r->commands_unsaved, &r->nodes_seen, &r->nodes_lost, &r->nodes_work, &r->nodes_unsaved,
		&r->nodes_tell, &r->commands, &r->allocs, &r->waiting, &r->tickets, &r->ghosts };
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_init(lists[i]);
	buf_init(&r->directive, 1 << 20);
	device_tolerance_default(&r->tolerance);
	struct health_conf health;
	health_conf_default(&health);
	r->health = health_new(&health);
	int rc = r->health ? load_all(r, db, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	if (rc == 0)
		rc = curtail_load(r, db, err);
	if (rc == 0)
		rc = hold_load(r, db, err);
	if (rc == 0)
		rc = trips_load(r, db, err);
	if (rc < 0) {
		resources_close(r);
		return rc;
	}
	*ret_state = r;
	return 0;
}

static int prune(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	int64_t now = svc_now_ns(ctx);
	if (now < r->pruned_at_ns + PRUNE_EVERY_NS)
		return 0;
	r->pruned_at_ns = now;
	int rc =
		db_run(svc_db(ctx), err, "DELETE FROM allocation WHERE ended_ns>0 AND ended_ns<$1", "i", now - KEEP_ENDED_NS);
	return rc < 0 ? rc
				  : db_run(svc_db(ctx), err, "DELETE FROM checkpoint WHERE at_ns<$1", "i", now - KEEP_CHECKPOINT_NS);
}

static int resources_timer(void *state, struct svc_ctx *ctx, struct err *err)
{
	struct resources *r = state;
	int rc = agents_timer(r, ctx, err);
	if (rc == 0)
		rc = trips_timer(r, ctx, err);
	if (rc == 0)
		rc = commands_timer(r, ctx, err);
	r->poke |= !list_empty(&r->nodes_work) || !list_empty(&r->waiting); /* another try */
	if (rc == 0)
		rc = prune(r, ctx, err);
	return rc < 0 ? rc : care_timer(r, ctx, err);
}

/* However many messages came: one plan, then what can be commanded, then what has changed, told and stored once. */
static int resources_settle(void *state, struct svc_ctx *ctx, struct err *err)
{
	struct resources *r = state;
	int rc = curtail_tend(r, ctx, err);
	if (rc == 0)
		rc = hold_tend(r, ctx, err);
	if (rc == 0)
		rc = plan_dirty(r, ctx, err);
	if (rc == 0 && r->poke)
		rc = allocs_start(r, ctx, err);
	if (rc == 0 && r->poke)
		rc = reconcile(r, ctx, err);
	r->directed = false;
	if (rc == 0)
		rc = inventory_flush(r, ctx, err);
	return rc < 0 ? rc : capacity_publish(r, ctx, err);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* What waits for power or for another try is looked at every second; a fleet at rest is left alone. */
static int64_t resources_due(const void *state, int64_t now_ns)
{
	const struct resources *r = state;
	if (!r->started_at_ns || r->poke || r->n_changed || r->learning || !list_empty(&r->nodes_unsaved) ||
		!list_empty(&r->nodes_work) || !list_empty(&r->waiting))
		return now_ns;
	int64_t at_ns = earlier(earlier(r->pruned_at_ns + PRUNE_EVERY_NS, agents_due(r)), curtail_due(r));
	at_ns = earlier(earlier(at_ns, r->commands_due_ns), r->hold_due_ns);
	for (size_t i = 0; i < r->n_facilities; i++)
		if (r->facility[i]->dirty)
			at_ns = earlier(at_ns, r->facility[i]->rest_until_ns);
	return r->capacity_dirty ? earlier(at_ns, capacity_due_ns(r)) : at_ns;
}

int64_t resources_reserved_w(const void *state, const char *facility)
{
	const struct resources *r = state;
	const struct facility *f = map_get(&r->facilities, str_of(facility));
	return f ? f->power.reserved_w : -1;
}

int64_t resources_level_w(const void *state, const char *facility, const char *path)
{
	const struct resources *r = state;
	for (size_t i = 0; i < r->n_levels; i++)
		if (!strcmp(r->level[i]->facility->name, facility) && !strcmp(r->level[i]->path, path))
			return r->level[i]->reserved_w;
	return path[0] ? -1 : resources_reserved_w(state, facility);
}

static const struct svc_handler handlers[] = {
	{ MSG_NODE_HELLO, on_hello, false },
	{ MSG_NODE_REPORT, on_report, false },
	{ MSG_SWITCH_REPORT, on_switch_report, false },
	{ MSG_LOCAL_SWITCH, on_local_switch, false },
	{ MSG_PROGRAM_REPORT, on_program_report, false },
	{ MSG_NODE_GONE, on_gone, false },
	{ MSG_DIRECTIVE, on_directive, false },
	{ MSG_MODEL_COMMAND, on_model_command, false },
	{ MSG_PLACE, on_place, false },
	{ MSG_RELEASE, on_release, false },
	{ MSG_CURTAIL, on_curtail, false },
	{ MSG_ANCILLARY_CALL, on_ancillary_call, false },
	{ MSG_CURTAIL_RESTORE, on_curtail_restore, false },
	{ MSG_CURTAILMENTS_LIST, on_curtailments, true },
	{ MSG_POWER_GET, on_power, true },
	{ MSG_POWER_TRIP, on_power_trip, false },
	{ MSG_POWER_RESTORE, on_power_restore, false },
	{ MSG_RESOURCES_LIST, on_resources_list, true },
	{ MSG_RESOURCE_GET, on_resource_get, true },
	{ MSG_AVAILABILITY_GET, on_availability, true },
	{ MSG_FLEET_GET, on_fleet, true },
	{ MSG_NODES_LIST, on_nodes, true },
	{ MSG_SWITCHES_LIST, on_switches, true },
	{ MSG_TICKETS_LIST, on_tickets, true },
	{ MSG_TICKET_CLOSE, on_ticket_close, false },
	{ 0 },
};

const struct svc_def resources_def = {
	.id = SVC_RESOURCES,
	.schema = schema,
	.handlers = handlers,
	.open = resources_open,
	.close = resources_close,
	.timer = resources_timer,
	.timer_due = resources_due,
	.timer_ms = 1000,
	.settle = resources_settle,
};
