/* The economic loop: a decision becomes a directive when it pays; an emergency stop overrides all. */
#include <stdio.h>

#include "base/log.h"
#include "base/money.h"
#include "services/orchestrator/orchestrator_priv.h"

int orch_economy_put(struct svc_ctx *ctx, const char *k, struct str v, struct err *err)
{
	return db_run(svc_db(ctx), err, "INSERT INTO economy(k,v) VALUES($1,$2) ON CONFLICT(k) DO UPDATE SET v=excluded.v",
		      "zb", k, v);
}

static int put_counts(struct orchestrator *o, struct svc_ctx *ctx, struct err *err)
{
	int64_t counts[2] = { o->applied, o->skipped };
	int rc = orch_economy_put(ctx, "counts", (struct str){ (const char *)counts, sizeof(counts) }, err);
	if (rc == 0)
		rc = orch_economy_put(ctx, "guard", str_of(o->guard), err);
	return rc < 0 ? rc : orch_economy_put(ctx, "decision", str_of(o->decision_id), err);
}

static int load_one(struct orchestrator *o, struct str k, struct str v)
{
	if (str_eqz(k, "directive")) {
		buf_clear(&o->directive);
		buf_adds(&o->directive, v);
		return buf_failed(&o->directive) ? HCP_ENOMEM : 0;
	}
	if (str_eqz(k, "decision"))
		return str_copy(o->decision_id, sizeof(o->decision_id), v);
	if (str_eqz(k, "guard"))
		return str_copy(o->guard, sizeof(o->guard), v);
	if (str_eqz(k, "stop")) {
		o->stopped = v.n > 0;
		return str_copy(o->stop_reason, sizeof(o->stop_reason), v);
	}
	if (str_eqz(k, "callback_private"))
		o->callback_private = v.n > 0;
	if (str_eqz(k, "counts") && v.n == 16) {
		int64_t counts[2];
		memcpy(counts, v.p, sizeof(counts));
		o->applied = counts[0];
		o->skipped = counts[1];
	}
	return 0;
}

int orch_economy_load(struct orchestrator *o, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(db, &row, err, "SELECT k,v FROM economy", ""); rc == 1; rc = db_next(row, err)) {
		int bad = load_one(o, db_text(row, 0), db_blob(row, 1));
		if (bad < 0) {
			db_done(row);
			return err_set(err, HCP_ECORRUPT, "economy", "the stored state cannot be read");
		}
	}
	return rc;
}

static int send_directive(struct orchestrator *o, struct svc_ctx *ctx, Hcp__Directive *d, bool keep, struct err *err)
{
	char id[ID_TEXT_MAX];
	d->id = svc_new_id(ctx, id, ID_PLAN);
	d->decided_at_ns = d->decided_at_ns ? d->decided_at_ns : svc_now_ns(ctx);
	int rc = svc_publish(ctx, d->decision_id, &d->base);
	if (rc < 0 || !keep)
		return rc;
	buf_clear(&o->directive);
	rc = pb_pack(&d->base, &o->directive);
	return rc < 0 ? rc : orch_economy_put(ctx, "directive", buf_str(&o->directive), err);
}

int orch_on_decision(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__Decision *d = ((const Hcp__DecisionMade *)m->body)->decision;
	if (!d || !d->id[0])
		return err_set(err, HCP_EINVAL, "decision", "missing");
	if (str_copy(o->decision_id, sizeof(o->decision_id), str_of(d->id)) < 0)
		return err_set(err, HCP_EINVAL, "decision.id", "too long");
	o->guard[0] = '\0';
	if (d->guard && d->guard->up)
		snprintf(o->guard, sizeof(o->guard), "drawdown guard up: %.1f %% below the peak, limit %.1f %%; safest plan",
			100 * d->guard->drawdown, 100 * d->guard->limit);
	/*
	 * Whether it pays is said by who decided, over the time that its policy looks ahead. The first decision sets the
	 * fleet up; a contract is served at any price (its rows say so).
	 */
	bool apply = !o->stopped && d->changed &&
				 (o->directive.n == 0 || d->pays || !strcmp(d->trigger, "demand") || !strcmp(d->trigger, "capacity") ||
					 !strcmp(d->trigger, "operator"));
	if (!apply) {
		o->skipped++;
		return put_counts(o, ctx, err);
	}
	o->applied++;
	Hcp__Directive dir = HCP__DIRECTIVE__INIT;
	dir.decision_id = d->id;
	dir.n_targets = d->n_targets;
	dir.targets = d->targets;
	dir.decided_at_ns = d->decided_at_ns;
	dir.signal_at_ns = d->signal_at_ns;
	int rc = send_directive(o, ctx, &dir, true, err);
	return rc < 0 ? rc : put_counts(o, ctx, err);
}

int orch_on_emergency_stop(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__EmergencyStop *s = (const Hcp__EmergencyStop *)m->body;
	if (!s->reason[0])
		return err_set(err, HCP_EINVAL, "reason", "missing: say why, it goes into the audit trail");
	if (strlen(s->reason) >= sizeof(o->stop_reason))
		return err_set(err, HCP_ERANGE, "reason", "longer than %zu characters", sizeof(o->stop_reason) - 1);
	Hcp__Directive dir = HCP__DIRECTIVE__INIT;
	dir.emergency_stop = true;
	int rc = send_directive(o, ctx, &dir, false, err);
	if (rc == 0)
		rc = orch_economy_put(ctx, "stop", str_of(s->reason), err);
	if (rc < 0)
		return rc;
	o->stopped = true;
	(void)!str_copy(o->stop_reason, sizeof(o->stop_reason), str_of(s->reason));
	rc = orch_lifecycle_stop_all(o, ctx, "the platform is in emergency stop", err);
	return rc < 0 ? rc : orch_status_fill(o, ctx, err);
}

int orch_on_emergency_clear(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	if (!o->stopped)
		return err_set(err, HCP_ESTATE, "", "there is no emergency stop to clear");
	int rc = orch_economy_put(ctx, "stop", STR(""), err);
	Hcp__Directive *dir = NULL, none = HCP__DIRECTIVE__INIT;
	if (rc == 0 && o->directive.n) {
		dir = (void *)pb_unpack_arena(&hcp__directive__descriptor, buf_str(&o->directive), svc_arena(ctx));
		if (!dir)
			return HCP_ENOMEM;
	}
	if (rc == 0)
		rc = send_directive(o, ctx, dir ? dir : &none, false, err);
	if (rc < 0)
		return rc;
	o->stopped = false;
	o->stop_reason[0] = '\0';
	rc = orch_lifecycle_resume_all(o, ctx, err);
	return rc < 0 ? rc : orch_status_fill(o, ctx, err);
}
