/* Weights and limits of customers, as the orchestrator tells them; its rows outlive a restart. */
#include <math.h>

#include "base/map.h"
#include "services/router/router_priv.h"

static uint64_t key_of(const char *name)
{
	return hash_bytes(name, strlen(name), 1);
}

static int apply(struct router *r, const Hcp__CustomerQuotaSet *was, const Hcp__CustomerQuotaSet *now, struct err *err)
{
	uint64_t customer = key_of(now->customer_id);
	double limit[QUEUE_RESOURCE_END];
	for (int i = 0; i < QUEUE_RESOURCE_END; i++)
		limit[i] = INFINITY;
	if (now->max_devices > 0)
		limit[QUEUE_GPU] = limit[QUEUE_CPU] = limit[QUEUE_POWER] = SLICE_WHOLE * (double)now->max_devices;
	int rc = queue_set_weight(r->queue, customer, now->weight > 0 ? now->weight : 1, err);
	if (rc == 0)
		rc = queue_set_limit(r->queue, customer, limit, err);
	for (size_t i = 0; was && i < was->n_projects && rc == 0; i++)
		rc = queue_set_project_weight(r->queue, customer, key_of(was->projects[i]->project), 1, err);
	for (size_t i = 0; i < now->n_projects && rc == 0; i++)
		rc = queue_set_project_weight(
			r->queue, customer, key_of(now->projects[i]->project), now->projects[i]->weight, err);
	return rc;
}

int router_on_quota(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct router *r = state;
	const Hcp__CustomerQuotaSet *q = ((const Hcp__CustomerQuotaChanged *)m->body)->quota, *was = NULL;
	struct db_row *row;
	if (!q)
		return err_set(err, HCP_EINVAL, "quota", "missing");
	int rc = db_query(svc_db(ctx), &row, err, "SELECT body FROM quota WHERE customer_id=$1", "z", q->customer_id);
	if (rc == 1) {
		was = (void *)pb_unpack_arena(&hcp__customer_quota_set__descriptor, db_blob(row, 0), svc_arena(ctx));
		db_done(row);
	}
	struct str body;
	if (rc < 0 || (rc = pb_pack_arena(&q->base, svc_arena(ctx), &body)) < 0)
		return rc;
	rc = db_run(svc_db(ctx), err,
		"INSERT INTO quota(customer_id,body) VALUES($1,$2) ON CONFLICT(customer_id) DO UPDATE SET body=excluded.body",
		"zb", q->customer_id, body);
	if (rc == 0)
		rc = apply(r, was, q, err);
	router_look_again(r);
	r->look = true;
	return rc;
}

int router_quota_load(struct router *r, struct db *db, struct err *err)
{
	struct db_row *row;
	struct arena a;
	int rc;
	arena_init(&a, 4096, 0);
	for (rc = db_query(db, &row, err, "SELECT body FROM quota ORDER BY customer_id", ""); rc == 1;
		 rc = db_next(row, err)) {
		arena_clear(&a);
		const Hcp__CustomerQuotaSet *q =
			(void *)pb_unpack_arena(&hcp__customer_quota_set__descriptor, db_blob(row, 0), &a);
		int bad = q ? apply(r, NULL, q, err) : err_set(err, HCP_ECORRUPT, "quota", "a row cannot be read");
		if (bad < 0) {
			db_done(row);
			rc = bad;
			break;
		}
	}
	arena_release(&a);
	return rc;
}
