/* What a customer may have: kept here, told to the router (weights, devices at a time), checked at submission. */
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/money.h"
#include "model/slice.h"
#include "services/orchestrator/orchestrator_priv.h"

#define HOUR_NS (3600 * NS_PER_S)

struct allowance {
	Hcp__CustomerQuotaSet *set; /* in the batch's arena; NULL: never set */
	int64_t month;              /* of used_ns, counted from year 0 */
	int64_t used_ns;            /* device time of runs that ended in it */
};

/*
 * What is known of a customer that submitted lately: its row of quota, written when the batch settles, and what of its
 * row of allowance submissions are held against, read again after that was written.
 */
struct account {
	struct list unsaved; /* orchestrator.unsaved_accounts */
	int64_t active;
	bool allowance_known;
	int64_t max_active; /* 0: none was set */
	double max_device_hours;
	int64_t month, used_ns;
	char customer[];
};

/* Calendar month of a UTC time, counted from year 0 (H. Hinnant's civil_from_days). */
static int64_t month_of(int64_t ns)
{
	int64_t days = ns / (24 * HOUR_NS) + 719468, era = days / 146097;
	int64_t doe = days - era * 146097, yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
	return (yoe + era * 400) * 12 + mp + 2; /* March is 2; January and February belong to the next year's start */
}

static int load(struct svc_ctx *ctx, const char *customer, struct allowance *ret, struct err *err)
{
	struct db_row *row;
	*ret = (struct allowance){ .month = month_of(svc_now_ns(ctx)) };
	int rc = db_query(
		svc_db(ctx), &row, err, "SELECT body,month,used_ns FROM allowance WHERE customer_id=$1", "z", customer);
	if (rc <= 0)
		return rc;
	if (db_blob(row, 0).n)
		ret->set = (void *)pb_unpack_arena(&hcp__customer_quota_set__descriptor, db_blob(row, 0), svc_arena(ctx));
	bool bad = db_blob(row, 0).n && !ret->set;
	if (db_i64(row, 1) == ret->month)
		ret->used_ns = db_i64(row, 2);
	db_done(row);
	return bad ? err_set(err, HCP_ECORRUPT, "customer_id", "its quota cannot be read") : 0;
}

/* ---- accounts ---- */

static int read_active(struct svc_ctx *ctx, const char *customer, int64_t *ret, struct err *err)
{
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT active FROM quota WHERE customer_id=$1", "z", customer);
	*ret = rc == 1 ? db_i64(row, 0) : 0;
	if (rc == 1)
		db_done(row);
	return rc < 0 ? rc : 0;
}

static int account_of(
	struct orchestrator *o, struct svc_ctx *ctx, const char *customer, struct account **ret, struct err *err)
{
	struct account *x = map_get(&o->accounts, str_of(customer));
	size_t len = strlen(customer);
	if (x) {
		*ret = x;
		return 0;
	}
	x = mem_calloc(1, sizeof(*x) + len + 1);
	if (!x)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	list_init(&x->unsaved);
	memcpy(x->customer, customer, len);
	int rc = read_active(ctx, customer, &x->active, err);
	if (rc == 0)
		rc = map_put_ref(&o->accounts, (struct str){ x->customer, len }, x, NULL);
	if (rc < 0) {
		mem_free(x);
		return rc;
	}
	*ret = x;
	return 0;
}

static int know_allowance(struct svc_ctx *ctx, struct account *x, struct err *err)
{
	struct allowance a;
	int rc = x->allowance_known ? 0 : load(ctx, x->customer, &a, err);
	if (rc < 0 || x->allowance_known)
		return rc;
	x->max_active = a.set ? a.set->max_active : 0;
	x->max_device_hours = a.set ? a.set->max_device_hours : 0;
	x->month = a.month;
	x->used_ns = a.used_ns;
	x->allowance_known = true;
	return 0;
}

/* Its row of allowance was written. */
static void forget_allowance(struct orchestrator *o, const char *customer)
{
	struct account *x = map_get(&o->accounts, str_of(customer));
	if (x)
		x->allowance_known = false;
}

int orch_quota_count(struct orchestrator *o, struct svc_ctx *ctx, const char *customer, int64_t by, struct err *err)
{
	struct account *x;
	int rc = account_of(o, ctx, customer, &x, err);
	if (rc < 0)
		return rc;
	x->active += by;
	if (list_empty(&x->unsaved))
		list_add_tail(&o->unsaved_accounts, &x->unsaved);
	return 0;
}

void orch_quota_release(struct orchestrator *o)
{
	size_t pos = 0;
	void *x;
	while (map_next(&o->accounts, &pos, NULL, &x))
		mem_free(x);
	map_release(&o->accounts);
	map_init(&o->accounts);
}

int orch_quota_settle(struct orchestrator *o, struct svc_ctx *ctx, struct err *err)
{
	int rc = 0;
	while (rc == 0 && !list_empty(&o->unsaved_accounts)) {
		struct account *x = list_entry(list_pop(&o->unsaved_accounts), struct account, unsaved);
		rc = db_run(svc_db(ctx), err,
			"INSERT INTO quota(customer_id,active) VALUES($1,$2)"
			" ON CONFLICT(customer_id) DO UPDATE SET active=excluded.active",
			"zi", x->customer, x->active);
	}
	if (rc == 0 && o->accounts.n > ORCHESTRATOR_ACCOUNTS)
		orch_quota_release(o);
	return rc;
}

/* Thousandths of devices that it held. */
static int64_t held_milli(const Hcp__Workload *w)
{
	return w->share_milli ? w->share_milli : SLICE_WHOLE * (int64_t)w->device_count;
}

int orch_quota_used(struct orchestrator *o, struct svc_ctx *ctx, const Hcp__Workload *w, struct err *err)
{
	struct allowance a;
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err,
		"SELECT at_ns FROM transition WHERE workload_id=$1 AND to_state=$2 ORDER BY n DESC LIMIT 1", "zi", w->id,
		(int64_t)HCP__WORKLOAD_STATE__RUNNING);
	if (rc < 0)
		return rc;
	int64_t ran_ns = rc == 1 ? svc_now_ns(ctx) - db_i64(row, 0) : 0;
	if (rc == 1)
		db_done(row);
	rc = ran_ns > 0 ? load(ctx, w->customer_id, &a, err) : 0;
	if (rc < 0 || ran_ns <= 0)
		return rc;
	__int128 used = (__int128)ran_ns * held_milli(w) / SLICE_WHOLE + a.used_ns;
	int64_t used_ns = used > INT64_MAX ? INT64_MAX : (int64_t)used;
	forget_allowance(o, w->customer_id);
	return db_run(svc_db(ctx), err,
		"INSERT INTO allowance(customer_id,body,month,used_ns) VALUES($1,x'',$2,$3)"
		" ON CONFLICT(customer_id) DO UPDATE SET month=excluded.month, used_ns=excluded.used_ns",
		"zii", w->customer_id, a.month, used_ns);
}

int orch_quota_check(struct orchestrator *o, struct svc_ctx *ctx, const char *customer, int64_t more,
	double device_hours, struct err *err)
{
	struct account *x;
	int64_t limit = o->conf.max_active;
	int rc = account_of(o, ctx, customer, &x, err);
	if (rc == 0)
		rc = know_allowance(ctx, x, err);
	if (rc < 0)
		return rc;
	if (x->max_active > 0 && x->max_active < limit)
		limit = x->max_active;
	if (x->active + more > limit)
		return err_set(err, HCP_ELIMIT, "customer_id", "%lld workloads are active, the limit is %lld",
			(long long)x->active, (long long)limit);
	double used = x->month == month_of(svc_now_ns(ctx)) ? (double)x->used_ns / (double)HOUR_NS : 0;
	if (x->max_device_hours > 0 && used + device_hours > x->max_device_hours)
		return err_set(err, HCP_ELIMIT, "duration_s",
			"needs %.1f device-hours; %.1f of this month's %.1f are used: shorten it, or wait for the next month",
			device_hours, used, x->max_device_hours);
	return 0;
}

static int check_set(const Hcp__CustomerQuotaSet *q, struct err *err)
{
	char at[32];
	if (!q->customer_id[0] || strlen(q->customer_id) >= QUOTA_CUSTOMER_MAX)
		return err_set(err, HCP_EINVAL, "customer_id", "missing, or longer than %d characters", QUOTA_CUSTOMER_MAX - 1);
	if (!isfinite(q->weight) || q->weight < 0 || (q->weight > 0 && q->weight < 1e-6) || q->weight > 1e6)
		return err_set(err, HCP_ERANGE, "weight", "must be 0 (for 1), or from 0.000001 to 1000000");
	if (q->max_devices < 0)
		return err_set(err, HCP_ERANGE, "max_devices", "must not be negative");
	if (q->max_active < 0)
		return err_set(err, HCP_ERANGE, "max_active", "must not be negative");
	if (!isfinite(q->max_device_hours) || q->max_device_hours < 0)
		return err_set(err, HCP_ERANGE, "max_device_hours", "must be finite and not negative");
	if (q->n_projects > QUOTA_PROJECTS_MAX)
		return err_set(err, HCP_ERANGE, "projects", "at most %d, are %zu", QUOTA_PROJECTS_MAX, q->n_projects);
	for (size_t i = 0; i < q->n_projects; i++) {
		const Hcp__ProjectWeight *p = q->projects[i];
		snprintf(at, sizeof(at), "projects[%zu]", i);
		int rc = 0;
		if (!p->project[0] || strlen(p->project) > WORKLOAD_PROJECT_MAX)
			rc = err_set(err, HCP_EINVAL, "project", "missing, or longer than %d characters", WORKLOAD_PROJECT_MAX);
		else if (!(p->weight >= 1e-6 && p->weight <= 1e6))
			rc = err_set(err, HCP_ERANGE, "weight", "must be from 0.000001 to 1000000");
		if (rc < 0) {
			err_prefix(err, at);
			return rc;
		}
	}
	return 0;
}

static int answer(struct orchestrator *o, struct svc_ctx *ctx, const char *customer, struct err *err)
{
	struct allowance a;
	const struct account *x = map_get(&o->accounts, str_of(customer));
	int64_t active = x ? x->active : 0;
	Hcp__CustomerQuota *reply = svc_reply(ctx, MSG_CUSTOMER_QUOTA);
	if (!reply)
		return HCP_ENOMEM;
	int rc = x ? 0 : read_active(ctx, customer, &active, err);
	if (rc == 0)
		rc = load(ctx, customer, &a, err);
	if (rc < 0)
		return rc;
	struct arena *to = svc_reply_arena(ctx);
	Hcp__CustomerQuotaSet *set = arena_alloc(to, sizeof(*set));
	if (!set)
		return HCP_ENOMEM;
	hcp__customer_quota_set__init(set);
	set->customer_id = arena_strdup(to, customer);
	if (!set->customer_id)
		return HCP_ENOMEM;
	if (a.set) {
		struct str packed;
		if (pb_pack_arena(&a.set->base, to, &packed) < 0)
			return HCP_ENOMEM;
		set = (void *)pb_unpack_arena(&hcp__customer_quota_set__descriptor, packed, to);
		if (!set)
			return HCP_ENOMEM;
	}
	reply->quota = set;
	reply->active = (int32_t)active;
	reply->device_hours = (double)a.used_ns / (double)HOUR_NS;
	return 0;
}

int orch_on_quota_get(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const char *customer = ((const Hcp__CustomerQuotaGet *)m->body)->customer_id;
	/* Others do not exist for a customer. */
	if (m->principal && m->principal->role == HCP__ROLE__CUSTOMER && strcmp(m->principal->customer_id, customer))
		return err_set(err, HCP_ENOTFOUND, "customer_id", "there is no customer %.40s", customer);
	return answer(state, ctx, customer, err);
}

int orch_on_quota_set(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__CustomerQuotaSet *q = (const Hcp__CustomerQuotaSet *)m->body;
	Hcp__CustomerQuotaChanged ev = HCP__CUSTOMER_QUOTA_CHANGED__INIT;
	int rc = check_set(q, err);
	struct str body;
	if (rc < 0 || (rc = pb_pack_arena(&q->base, svc_arena(ctx), &body)) < 0)
		return rc;
	rc = db_run(svc_db(ctx), err,
		"INSERT INTO allowance(customer_id,body,month,used_ns) VALUES($1,$2,0,0)"
		" ON CONFLICT(customer_id) DO UPDATE SET body=excluded.body",
		"zb", q->customer_id, body);
	forget_allowance(state, q->customer_id);
	ev.quota = (Hcp__CustomerQuotaSet *)q;
	if (rc == 0)
		rc = svc_publish(ctx, q->customer_id, &ev.base);
	return rc < 0 ? rc : answer(state, ctx, q->customer_id, err);
}
