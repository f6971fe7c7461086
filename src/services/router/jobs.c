/* The router's jobs: in memory, and their rows. */
#include <stdio.h>

#include "base/mem.h"
#include "base/money.h"
#include "model/device_class.h"
#include "services/router/router_priv.h"

struct job *router_job_find(const struct router *r, const char *id)
{
	return map_get(&r->jobs, str_of(id));
}

/* Of one device; where the class is open, of the one on which its memory is the largest share. */
static uint32_t most_milli(const struct device_class *c, const struct slice *part, double memory_gib)
{
	uint32_t most = c ? slice_held_milli(c, part, memory_gib) : part->milli;
	for (size_t i = 0; !c && i < device_class_count(); i++) {
		const struct device_class *any = device_class_at(i);
		uint32_t milli = slice_class_ok(any) ? slice_held_milli(any, part, memory_gib) : 0;
		if (milli > most && milli <= SLICE_WHOLE)
			most = milli;
	}
	return most;
}

static void fill_queue_job(const struct router *r, struct job *j, int64_t now_ns)
{
	const Hcp__Workload *w = j->w;
	struct placement_request req;
	int64_t since_ns = w->queued_at_ns > 0 && w->queued_at_ns < now_ns ? w->queued_at_ns : now_ns;
	j->q = (struct queue_job){
		.id = j->uuid,
		.customer = hash_bytes(w->customer_id, strlen(w->customer_id), 1),
		.project = w->project[0] ? hash_bytes(w->project, strlen(w->project), 1) : 0,
		.cls = workload_class_of((enum workload_type)w->type),
		.priority = w->priority ? w->priority : 5,
		.enqueued_ns = since_ns, /* who gave its devices up has its old place again */
		.deadline_ns = w->deadline_ns,
		.duration_ns = w->remaining_ns ? w->remaining_ns : w->duration_s * NS_PER_S,
		.tag = (uint64_t)(uintptr_t)j,
	};
	req = router_request_of(r, j);
	const struct device_class *c = req.device_class >= 0 ? device_class_at((size_t)req.device_class) : NULL;
	struct slice part = router_slice_of(w);
	j->q.need[router_resource_of(c ? c->kind : req.kind)] =
		part.milli ? most_milli(c, &part, req.memory_gib) : SLICE_WHOLE * (double)req.count;
	j->q.need[QUEUE_MEMORY] = w->memory_gib;
}

void router_job_requeue(struct router *r, struct job *j)
{
	fill_queue_job(r, j, j->q.enqueued_ns);
}

/* The job has the workload, or the one it had. */
static int take_workload(struct job *j, struct str packed, struct err *err)
{
	struct arena a;
	ProtobufCMessage *m;
	arena_init(&a, ROUTER_JOB_ARENA, 0);
	int rc = pb_unpack(&hcp__workload__descriptor, packed, &a, &m, err);
	if (rc < 0) {
		arena_release(&a);
		return rc;
	}
	arena_release(&j->arena);
	j->arena = a;
	j->w = (const Hcp__Workload *)(void *)m;
	return 0;
}

int router_job_renew(struct job *j, struct str packed, struct err *err)
{
	int rc = take_workload(j, packed, err);
	if (rc < 0)
		return rc;
	j->packed = packed;
	j->body_unsaved = true;
	return 0;
}

int router_job_pack(struct svc_ctx *ctx, struct job *j, struct str *ret)
{
	int rc = j->packed.n ? 0 : pb_pack_arena(&j->w->base, svc_arena(ctx), &j->packed);
	if (rc == 0)
		*ret = j->packed;
	return rc;
}

static int check(const struct router *r, const Hcp__Workload *w, struct id *ret_id, struct err *err)
{
	if (id_parse(str_of(w->id), ID_WORKLOAD, ret_id) < 0)
		return err_set(err, HCP_EINVAL, "workload.id", "%.40s is not a workload id", w->id);
	if (w->type < 1 || (int)w->type >= (int)WORKLOAD_TYPE_END)
		return err_set(err, HCP_EINVAL, "workload.type", "unknown type %d", (int)w->type);
	if (r->jobs.n >= ROUTER_JOBS_MAX)
		return err_set(err, HCP_ELIMIT, "", "%d jobs are known already", ROUTER_JOBS_MAX);
	return 0;
}

int router_job_new(struct router *r, struct str packed, int64_t now_ns, struct job **ret, struct err *err)
{
	struct job *j = mem_calloc(1, sizeof(*j));
	if (!j)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	list_init(&j->kept);
	list_init(&j->untold);
	list_init(&j->unsaved);
	int rc = take_workload(j, packed, err);
	if (rc == 0)
		rc = check(r, j->w, &j->uuid, err);
	if (rc == 0) {
		size_t n = strnlen(j->w->customer_id, sizeof(j->customer_id) - 1);
		memcpy(j->customer_id, j->w->customer_id, n);
		rc = str_copy(j->id, sizeof(j->id), str_of(j->w->id));
	}
	if (rc == 0)
		rc = map_put(&r->jobs, str_of(j->id), j, NULL);
	if (rc < 0) {
		arena_release(&j->arena);
		mem_free(j);
		return rc;
	}
	fill_queue_job(r, j, now_ns);
	list_add_tail(&r->order, &j->node);
	list_add_tail(&r->untold, &j->untold);
	*ret = j;
	return 0;
}

void router_job_free(struct router *r, struct job *j)
{
	router_yield_forget(r, j);
	router_moves_forget(r, j);
	r->n_yielding -= j->yields;
	map_del(&r->jobs, str_of(j->id));
	if (j->allocation_id[0])
		map_del(&r->by_allocation, str_of(j->allocation_id));
	list_del(&j->node);
	list_del(&j->untold);
	list_del(&j->unsaved);
	arena_release(&j->arena);
	mem_free(j);
}

void router_job_save(struct router *r, struct job *j)
{
	if (list_empty(&j->unsaved))
		list_add_tail(&r->unsaved, &j->unsaved);
}

static int update_row(struct svc_ctx *ctx, const struct job *j, struct err *err)
{
	return db_run(svc_db(ctx), err,
		"UPDATE job SET state=$2, again=$3, committed=$4, enqueued_ns=$5, since_ns=$6,"
		" place=CASE WHEN $2=0 THEN x'' ELSE place END WHERE n=$1",
		"iiiiii", j->row, (int64_t)j->state, (int64_t)j->again, (int64_t)j->committed, j->q.enqueued_ns, j->since_ns);
}

static int write_row(struct router *r, struct svc_ctx *ctx, struct job *j, struct err *err)
{
	struct str body;
	if (router_job_pack(ctx, j, &body) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (!j->row)
		j->row = r->next_row++;
	return db_run(svc_db(ctx), err,
		"INSERT INTO job(n,id,state,again,committed,enqueued_ns,body,place,since_ns) VALUES($1,$2,$3,$4,$5,$6,$7,$8,$9)"
		" ON CONFLICT(n) DO UPDATE SET state=excluded.state, again=excluded.again, committed=excluded.committed,"
		" enqueued_ns=excluded.enqueued_ns, body=excluded.body, since_ns=excluded.since_ns,"
		" place=CASE WHEN length(excluded.place)>0 OR excluded.state=0 THEN excluded.place ELSE place END",
		"iziiiibbi", j->row, j->id, (int64_t)j->state, (int64_t)j->again, (int64_t)j->committed, j->q.enqueued_ns,
		body, j->place.n ? j->place : STR(""), j->since_ns);
}

int router_jobs_settle(struct router *r, struct svc_ctx *ctx, struct err *err)
{
	int rc = 0;
	while (rc == 0 && !list_empty(&r->unsaved)) {
		struct job *j = list_entry(list_pop(&r->unsaved), struct job, unsaved);
		rc = j->row && !j->body_unsaved && !j->place.n ? update_row(ctx, j, err) : write_row(r, ctx, j, err);
		j->body_unsaved = false;
		j->place = j->packed = STR("");
	}
	return rc;
}

int router_job_drop(struct router *r, struct svc_ctx *ctx, struct job *j, struct err *err)
{
	int rc = j->row ? db_run(svc_db(ctx), err, "DELETE FROM job WHERE n=$1", "i", j->row) : 0;
	if (rc == 0)
		router_job_free(r, j);
	return rc;
}

/* Its very place on the one device. */
static int claim_part(
	struct router *r, struct job *j, const struct rdev *rd, const Hcp__DeviceShare *x, struct err *err)
{
	struct slice s;
	int rc = slice_make(device_class_at(rd->cls), x->milli, str_of(x->mig_profile), x->mig_start, &s, err);
	if (rc < 0)
		return err_set(err, HCP_ECORRUPT, "job", "the part of %s cannot be read", j->id);
	const struct placement_part part = {
		.owner = j->uuid, .milli = s.milli, .mig = (enum mig_geometry)s.mig, .mig_start = s.start
	};
	j->q.need[QUEUE_GPU] = s.milli;
	rc = placement_claim_part(r->place, rd->dev, &part, &j->hold, err);
	return rc == HCP_EAGAIN ? HCP_ENOTFOUND : rc;
}

/*
 * Takes again the very devices that a job held before the restart; those that are not offered now, too: they go out of
 * service with whoever has them.
 */
static int reclaim(struct router *r, struct job *j, const Hcp__Place *p, struct err *err)
{
	placement_dev *devs = mem_alloc((p->n_device_ids + 1) * sizeof(*devs));
	uint32_t n = 0;
	if (!devs)
		return HCP_ENOMEM;
	for (size_t i = 0; i < p->n_device_ids; i++) {
		struct rdev *rd = router_inventory_find(r, p->device_ids[i]);
		if (!rd)
			continue;
		devs[n++] = rd->dev;
		(void)!placement_set_in_service(r->place, rd->dev, true, NULL);
	}
	int rc = !n         ? 0
			 : p->share ? claim_part(r, j, r->by_dev[devs[0]], p->share, err)
						: placement_claim(r->place, &j->uuid, devs, n, &j->hold, err);
	for (uint32_t i = 0; i < n; i++)
		(void)!placement_set_in_service(r->place, devs[i], r->by_dev[devs[i]]->usable, NULL);
	mem_free(devs);
	if (rc < 0 && rc != HCP_ENOTFOUND) /* devices that failed meanwhile are resources' news to tell */
		return rc;
	rc = queue_charge(r->queue, &j->q, err);
	if (rc < 0)
		return rc;
	j->committed = true;
	rc = str_copy(j->allocation_id, sizeof(j->allocation_id), str_of(p->allocation_id));
	return rc < 0 ? rc : map_put(&r->by_allocation, str_of(j->allocation_id), j, NULL);
}

static int load_row(struct router *r, struct db_row *row, struct arena *a, struct err *err)
{
	struct job *j;
	int rc = router_job_new(r, db_blob(row, 3), db_i64(row, 2), &j, err);
	if (rc < 0)
		return rc == HCP_EPARSE ? err_set(err, HCP_ECORRUPT, "job", "a row cannot be read") : rc;
	j->state = (enum job_state)db_i64(row, 0);
	j->again = db_i64(row, 1) != 0;
	j->committed = db_i64(row, 5) != 0;
	j->row = db_i64(row, 7);
	r->next_row = j->row + 1;
	if (j->state == JOB_WAITING)
		return queue_enqueue(r->queue, &j->q, err);
	j->moved = true; /* perhaps */
	Hcp__Place *p = (void *)pb_unpack_arena(&hcp__place__descriptor, db_blob(row, 4), a);
	rc = p ? reclaim(r, j, p, err) : err_set(err, HCP_ECORRUPT, "job", "the placement of %s cannot be read", j->id);
	int64_t since_ns = db_i64(row, 6);
	if (rc == 0 && since_ns && j->state == JOB_PLACED)
		return router_yield_runs(r, j, since_ns, err);
	placement_dev first;
	bool held = rc == 0 && j->hold && placement_devices(r->place, j->hold, &first, 1);
	return held ? router_yield_shared(r, first, err) : rc;
}

int router_jobs_load(struct router *r, struct db *db, struct err *err)
{
	struct db_row *row;
	struct arena a;
	int rc;
	arena_init(&a, 4096, 0);
	r->next_row = 1;
	for (rc = db_query(
			 db, &row, err, "SELECT state,again,enqueued_ns,body,place,committed,since_ns,n FROM job ORDER BY n", "");
		 rc == 1; rc = db_next(row, err)) {
		arena_clear(&a);
		int bad = load_row(r, row, &a, err);
		if (bad < 0) {
			db_done(row);
			rc = bad;
			break;
		}
	}
	arena_release(&a);
	return rc;
}
