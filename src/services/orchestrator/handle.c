#include "services/orchestrator/orchestrator.h"

#include "base/mem.h"
#include "base/money.h"
#include "services/common/news.h"
#include "services/orchestrator/callback.h"
#include "services/orchestrator/models.h"
#include "services/orchestrator/orchestrator_priv.h"

static const char *const schema[] = {
	"CREATE TABLE workload(id TEXT PRIMARY KEY, customer_id TEXT NOT NULL, state INTEGER NOT NULL, type INTEGER NOT "
	"NULL,"
	"  ends_ns INTEGER NOT NULL, tries INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX workload_customer ON workload(customer_id, id);"
	"CREATE INDEX workload_active ON workload(state, id) WHERE state < 5;"
	"CREATE INDEX workload_ends ON workload(ends_ns) WHERE ends_ns > 0;"
	"CREATE TABLE transition(workload_id TEXT NOT NULL, n INTEGER NOT NULL, at_ns INTEGER NOT NULL,"
	"  from_state INTEGER NOT NULL, to_state INTEGER NOT NULL, reason TEXT NOT NULL,"
	"  PRIMARY KEY(workload_id, n)) WITHOUT ROWID;"
	"CREATE TABLE idempotency(customer_id TEXT NOT NULL, k TEXT NOT NULL, digest INTEGER NOT NULL,"
	"  workload_id TEXT NOT NULL, PRIMARY KEY(customer_id, k)) WITHOUT ROWID;"
	"CREATE TABLE quota(customer_id TEXT PRIMARY KEY, active INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE economy(k TEXT PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;",
	/* state: 0 waiting, 1 sending until due_ns, 2 delivered, 3 given up; head: the oldest open one of its workload */
	"CREATE TABLE callback(workload_id TEXT NOT NULL, n INTEGER NOT NULL, customer_id TEXT NOT NULL, id TEXT NOT NULL,"
	"  event TEXT NOT NULL, at_ns INTEGER NOT NULL, state INTEGER NOT NULL, head INTEGER NOT NULL, due_ns INTEGER NOT"
	"  NULL, tries INTEGER NOT NULL, done_ns INTEGER NOT NULL, status INTEGER NOT NULL, error TEXT NOT NULL, url TEXT"
	"  NOT NULL, body BLOB NOT NULL, PRIMARY KEY(workload_id, n)) WITHOUT ROWID;"
	"CREATE INDEX callback_open ON callback(workload_id, n) WHERE state < 2;"
	"CREATE INDEX callback_due ON callback(due_ns, workload_id) WHERE head = 1;"
	"CREATE INDEX callback_sending ON callback(customer_id, due_ns) WHERE state = 1;"
	"CREATE TABLE callback_secret(customer_id TEXT PRIMARY KEY, generation INTEGER NOT NULL, rotated_ns INTEGER NOT"
	"  NULL) WITHOUT ROWID;",
	/* held: ",base,v2,"; ord: order of its last report; told: of the last command */
	"CREATE TABLE model(name TEXT PRIMARY KEY, version TEXT NOT NULL, stable TEXT NOT NULL, previous TEXT NOT NULL,"
	"  error TEXT NOT NULL, by TEXT NOT NULL, state INTEGER NOT NULL, changed_ns INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE model_version(model TEXT NOT NULL, version TEXT NOT NULL, digest TEXT NOT NULL, origin TEXT NOT NULL,"
	"  created_ns INTEGER NOT NULL, created_by TEXT NOT NULL, PRIMARY KEY(model, version)) WITHOUT ROWID;"
	"CREATE TABLE model_node(model TEXT NOT NULL, node_id TEXT NOT NULL, version TEXT NOT NULL, digest TEXT NOT NULL,"
	"  state TEXT NOT NULL, error TEXT NOT NULL, held TEXT NOT NULL, seen_ns INTEGER NOT NULL, ord INTEGER NOT NULL,"
	"  sent_ns INTEGER NOT NULL, deadline_ns INTEGER NOT NULL, retry_ns INTEGER NOT NULL, told INTEGER NOT NULL,"
	"  told_version TEXT NOT NULL, PRIMARY KEY(model, node_id))"
	"  WITHOUT ROWID;"
	"CREATE TABLE model_change(model TEXT NOT NULL, n INTEGER NOT NULL, at_ns INTEGER NOT NULL, from_version TEXT NOT "
	"NULL,"
	"  to_version TEXT NOT NULL, what TEXT NOT NULL, by TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY(model, n))"
	"  WITHOUT ROWID;",
	"CREATE TABLE allowance(customer_id TEXT PRIMARY KEY, body BLOB NOT NULL, month INTEGER NOT NULL, used_ns INTEGER"
	"  NOT NULL) WITHOUT ROWID;",
	/* Rows by number, which a move overwrites where they are; open: not final, the only indexed column that changes */
	"CREATE TABLE workload_n(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, customer_id TEXT NOT NULL,"
	"  state INTEGER NOT NULL, type INTEGER NOT NULL, ends_ns INTEGER NOT NULL, tries INTEGER NOT NULL,"
	"  open INTEGER NOT NULL, body BLOB NOT NULL);"
	"INSERT INTO workload_n(id,customer_id,state,type,ends_ns,tries,open,body)"
	"  SELECT id,customer_id,state,type,ends_ns,tries,state < 5,body FROM workload ORDER BY id;"
	"DROP TABLE workload;"
	"ALTER TABLE workload_n RENAME TO workload;"
	"CREATE INDEX workload_customer ON workload(customer_id, id);"
	"CREATE INDEX workload_open ON workload(id) WHERE open = 1;"
	"CREATE INDEX workload_ends ON workload(ends_ns) WHERE ends_ns > 0;",
	NULL,
};

static void orchestrator_close(void *state)
{
	struct orchestrator *o = state;
	if (!o)
		return;
	orch_held_release(o);
	orch_callback_release(o);
	orch_quota_release(o);
	recent_free(o->recent);
	buf_release(&o->directive);
	mem_free(o->held);
	mem_free(o->classify);
	mem_free(o);
}

static int load_next_end(struct orchestrator *o, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc = db_query(db, &row, err, "SELECT min(ends_ns) FROM workload WHERE ends_ns > 0", "");
	if (rc < 0)
		return rc;
	o->next_end_ns = rc == 1 && !db_is_null(row, 0) ? db_i64(row, 0) : INT64_MAX;
	if (rc == 1)
		db_done(row);
	return 0;
}

static int orchestrator_open(struct svc *svc, struct db *db, const void *conf, void **ret_state, struct err *err)
{
	struct orchestrator *o = mem_calloc(1, sizeof(*o));
	if (!o)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	o->svc = svc;
	if (conf)
		o->conf = *(const struct orchestrator_conf *)conf;
	if (!o->conf.max_active)
		o->conf.max_active = ORCHESTRATOR_MAX_ACTIVE;
	buf_init(&o->directive, 1 << 20);
	map_init(&o->accounts);
	list_init(&o->unsaved_accounts);
	o->held = mem_calloc(ORCHESTRATOR_MAX_HELD, sizeof(*o->held));
	int rc = o->held ? orch_economy_load(o, db, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	if (rc == 0)
		rc = classified_model_new(&o->classify, err);
	if (rc == 0)
		rc = recent_new(&o->recent, err);
	if (rc == 0)
		rc = orch_workload_open(o, db, err);
	if (rc == 0)
		rc = load_next_end(o, db, err);
	if (rc == 0)
		rc = models_open(o, db, err);
	if (rc < 0) {
		orchestrator_close(o);
		return rc;
	}
	*ret_state = o;
	return 0;
}

static int orchestrator_timer(void *state, struct svc_ctx *ctx, struct err *err)
{
	struct orchestrator *o = state;
	if (!o->started_at_ns)
		o->started_at_ns = svc_now_ns(ctx);
	int rc = orch_held_expire(o, ctx, err);
	if (rc == 0)
		rc = orch_lifecycle_timer(o, ctx, err);
	if (rc == 0)
		rc = models_timer(o, ctx, err);
	return rc < 0 ? rc : orch_callback_timer(o, ctx, err);
}

static int orchestrator_settle(void *state, struct svc_ctx *ctx, struct err *err)
{
	int rc = orch_quota_settle(state, ctx, err);
	return rc < 0 ? rc : orch_workload_settle(state, ctx, err);
}

static int64_t orchestrator_due(const void *state, int64_t now_ns)
{
	const struct orchestrator *o = state;
	if (!o->started_at_ns)
		return now_ns;
	int64_t held_ns = orch_held_until(o), callback_ns = orch_callback_due(o);
	int64_t at_ns = held_ns < o->next_end_ns ? held_ns : o->next_end_ns;
	at_ns = o->models_next_ns < at_ns ? o->models_next_ns : at_ns;
	return callback_ns < at_ns ? callback_ns : at_ns;
}

static const struct svc_handler handlers[] = {
	{ MSG_WORKLOAD_SUBMIT, orch_on_submit, false },
	{ MSG_WORKLOAD_SUBMIT_BATCH, orch_on_submit_batch, false },
	{ MSG_WORKLOAD_GET, orch_on_get, true },
	{ MSG_WORKLOAD_LIST, orch_on_list, true },
	{ MSG_WORKLOAD_HISTORY_GET, orch_on_history, true },
	{ MSG_WORKLOAD_CANCEL, orch_on_cancel, false },
	{ MSG_WORKLOAD_PAUSE, orch_on_pause, false },
	{ MSG_WORKLOAD_RESUME, orch_on_resume, false },
	{ MSG_WORKLOAD_MIGRATE, orch_on_migrate, false },
	{ MSG_PROGRAM_CHANGED, orch_on_program, false },
	{ MSG_CALLBACK_TAKE, orch_on_callback_take, false },
	{ MSG_CALLBACK_RESULT, orch_on_callback_result, false },
	{ MSG_CALLBACKS_GET, orch_on_callbacks_get, true },
	{ MSG_CALLBACK_SECRET_GET, orch_on_callback_secret, true },
	{ MSG_CALLBACK_SECRET_ROTATE, orch_on_callback_rotate, false },
	{ MSG_MODEL_REPORT, orch_on_model_report, false },
	{ MSG_MODELS_LIST, orch_on_models_list, true },
	{ MSG_MODEL_GET, orch_on_model_get, true },
	{ MSG_MODEL_VERSION_REGISTER, orch_on_model_register, false },
	{ MSG_MODEL_ACTIVATE, orch_on_model_activate, false },
	{ MSG_MODEL_ROLLBACK, orch_on_model_rollback, false },
	{ MSG_CUSTOMER_QUOTA_GET, orch_on_quota_get, true },
	{ MSG_CUSTOMER_QUOTA_SET, orch_on_quota_set, false },
	{ MSG_STATUS_GET, orch_on_status, true },
	{ MSG_EMERGENCY_STOP, orch_on_emergency_stop, false },
	{ MSG_EMERGENCY_CLEAR, orch_on_emergency_clear, false },
	{ MSG_DECISION_MADE, orch_on_decision, false },
	{ MSG_JOB_STATE, orch_on_job_state, false },
	{ MSG_ALLOCATION_CHANGED, orch_on_allocation, false },
	{ 0 },
};

/* Of allocations what changes who has devices. */
static bool orchestrator_wants(unsigned type, struct str body)
{
	return type != MSG_ALLOCATION_CHANGED || news_of_allocation(body);
}

const struct svc_def orchestrator_def = {
	.id = SVC_ORCHESTRATOR,
	.schema = schema,
	.handlers = handlers,
	.open = orchestrator_open,
	.close = orchestrator_close,
	.timer = orchestrator_timer,
	.timer_due = orchestrator_due,
	.timer_ms = 1000,
	.settle = orchestrator_settle,
	.wants = orchestrator_wants,
};
