/* Where devices are, and since when. */
#include "base/money.h"
#include "services/optimizer/optimizer_priv.h"

/*
 * The regime to judge from. While a decision that was carried out is still on its way to the devices, that is its
 * targets (or prices that move meanwhile would undo half a switch); otherwise what the devices confirm.
 */
static void regime(const struct optimizer *o, const struct capacity *cap, int64_t now_ns, uint32_t now[POLICY_USE_END])
{
	bool under_way = o->announced_paid && now_ns - o->announced_ns < OPTIMIZER_AGAIN_S * NS_PER_S;
	if (under_way && cap->decided && cap->decided_count == cap->healthy) {
		memcpy(now, cap->target, sizeof(cap->target));
		return;
	}
	now[POLICY_SERVE] = cap->serving;
	now[POLICY_MINE] = cap->filling;
	now[POLICY_IDLE] = cap->healthy - cap->serving - cap->filling;
}

static int move(struct svc_ctx *ctx, struct capacity *cap, const struct site_group *g, int64_t market_ns,
	const uint32_t to[POLICY_USE_END], struct err *err)
{
	struct cohorts before = cap->since;
	cohorts_move(&cap->since, g, market_ns, to);
	size_t n = cap->since.n * sizeof(cap->since.c[0]);
	if (before.n == cap->since.n && memcmp(before.c, cap->since.c, n) == 0)
		return 0;
	return db_run(svc_db(ctx), err, "INSERT INTO cohorts(facility,class,body) VALUES($1,$2,$3)"
		" ON CONFLICT(facility,class) DO UPDATE SET body=excluded.body", "zzb", cap->facility, cap->cls->name,
		(struct str){ (const char *)cap->since.c, n });
}

int optimizer_present(struct optimizer *o, struct svc_ctx *ctx, struct capacity *cap, int64_t market_ns, bool look,
	struct policy_class *c, struct err *err)
{
	struct cohorts seen = cap->since;
	regime(o, cap, svc_now_ns(ctx), c->now);
	cohorts_move(&seen, c->group, market_ns, c->now);
	cohorts_held(&seen, c->group, market_ns, c->held, c->age_ns);
	return look ? 0 : move(ctx, cap, c->group, market_ns, c->now, err);
}

int optimizer_present_move(
	struct svc_ctx *ctx, struct capacity *cap, const struct site_group *g, int64_t market_ns, struct err *err)
{
	return move(ctx, cap, g, market_ns, cap->target, err);
}

int optimizer_present_clear(struct optimizer *o, struct svc_ctx *ctx, struct err *err)
{
	for (size_t i = 0; i < o->n_cap; i++)
		o->cap[i].since.n = 0;
	int rc = optimizer_guard_reset(o, ctx, err);
	return rc < 0 ? rc : db_run(svc_db(ctx), err, "DELETE FROM cohorts", "");
}

int optimizer_present_load(struct optimizer *o, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(db, &row, err, "SELECT facility,class,body FROM cohorts", ""); rc == 1; rc = db_next(row, err)) {
		char facility[OPTIMIZER_NAME_MAX];
		const struct device_class *cls = device_class_find(db_text(row, 1));
		struct str body = db_blob(row, 2);
		struct capacity *cap = NULL;
		if (cls && str_copy(facility, sizeof(facility), db_text(row, 0)) == 0)
			cap = optimizer_fleet_row(o, facility, cls);
		if (!cap || body.n % sizeof(struct cohort) || body.n > sizeof(cap->since.c)) {
			db_done(row);
			return err_set(err, HCP_ECORRUPT, "cohorts", "a stored row cannot be read");
		}
		cap->since.n = body.n / sizeof(struct cohort);
		memcpy(cap->since.c, body.p, body.n);
		for (size_t i = 0; i < cap->since.n; i++)
			if ((unsigned)cap->since.c[i].use >= POLICY_USE_END)
				return db_done(row), err_set(err, HCP_ECORRUPT, "cohorts", "a stored row cannot be read");
	}
	return rc;
}
