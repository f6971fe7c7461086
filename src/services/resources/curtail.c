/*
 * Orders to draw less (FLEET-6): a limit below what the facility's devices may be drawing now, kept like its budget.
 *
 *   Curtail ─▶ limit ─▶ plan: least efficient mining first, then warm serving ─▶ one SwitchCommand a node, same batch
 *   readings ─▶ reserved watts come down to the limit ─▶ confirmed
 *   until, or CurtailRestore ─▶ the limit rises a step every CURTAIL_STEP_S, so that not all starts at once ─▶ over
 *
 * Customers' work is not cut: where that leaves more than was asked for, the order says "short", and keeps what it got.
 */
#include <math.h>
#include <stdio.h>

#include "services/resources/resources_priv.h"

enum { CALL_LOOK_MS = 1000 }; /* how often a call of the grid is looked at */
enum { STATE_HELD = 0, STATE_RESTORING = 1, STATE_OVER = 2 };
enum {
	CURTAIL_STEPS = 10,
	CURTAIL_STEP_S = 5,
	CURTAIL_WITHIN_MS = 1000,
	CURTAIL_DURATION_S = 900,
	CURTAIL_WITHIN_MAX_MS = 600000,
	CURTAIL_DURATION_MAX_S = 7 * 24 * 3600,
	CURTAIL_SHOWN = 100,
};

int64_t curtail_cap_w(const struct facility *f)
{
	return f->curtailment ? f->curtailment->limit_w + f->curtailment->raised_w : INT64_MAX;
}

int64_t curtail_measured_w(const struct resources *r, const struct facility *f)
{
	int64_t sum = 0;
	for (size_t i = 0; i < r->n_groups; i++)
		for (size_t k = 0; r->group[i]->facility == f && k < r->group[i]->n; k++)
			sum += r->group[i]->devices[k]->power_w;
	return sum;
}

/* ---- rows ---- */

static int store(struct svc_ctx *ctx, const struct facility *f, int state, int64_t shed_w, struct err *err)
{
	const struct curtailment *c = f->curtailment;
	return db_run(svc_db(ctx), err,
		"INSERT INTO "
		"curtailment(id,facility,state,by,reason,asked_w,limit_w,measured_w,ordered_ns,until_ns,confirmed_ns,"
		"within_ms,step_ns,devices,commands,is_short,shed_w,over_ns,raised_w,service,looked_ns,dropped_wms,due_wms,"
		"missed_wms) VALUES($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,"
		"$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24) ON CONFLICT(id) DO UPDATE SET state=excluded.state, "
		"limit_w=excluded.limit_w,"
		" until_ns=excluded.until_ns, confirmed_ns=excluded.confirmed_ns, step_ns=excluded.step_ns,"
		" is_short=excluded.is_short, shed_w=excluded.shed_w, over_ns=excluded.over_ns, raised_w=excluded.raised_w,"
		" looked_ns=excluded.looked_ns, dropped_wms=excluded.dropped_wms, due_wms=excluded.due_wms,"
		" missed_wms=excluded.missed_wms",
		"zzizziiiiiiiiiiiiiiziiii", c->id, f->name, (int64_t)state, c->by, c->reason, c->asked_w, c->limit_w,
		c->measured_w, c->ordered_ns, c->until_ns, c->confirmed_ns, c->within_ms, c->step_ns, (int64_t)c->devices,
		(int64_t)c->commands, (int64_t)c->is_short, shed_w, state == STATE_OVER ? svc_now_ns(ctx) : INT64_C(0),
		c->raised_w, c->service, c->looked_ns, c->dropped_wms, c->due_wms, c->missed_wms);
}

#define COLUMNS \
	"id,facility,state,by,reason,asked_w,limit_w,measured_w,ordered_ns,until_ns,confirmed_ns,within_ms,step_ns," \
	"devices,commands,is_short,shed_w,over_ns,raised_w,service,looked_ns,dropped_wms,due_wms,missed_wms"

static int take_row(const struct db_row *row, struct curtailment *c)
{
	*c = (struct curtailment){ .asked_w = db_i64(row, 5), .limit_w = db_i64(row, 6), .measured_w = db_i64(row, 7),
		.ordered_ns = db_i64(row, 8), .until_ns = db_i64(row, 9), .confirmed_ns = db_i64(row, 10),
		.within_ms = db_i64(row, 11), .step_ns = db_i64(row, 12), .devices = (int32_t)db_i64(row, 13),
		.commands = (int32_t)db_i64(row, 14), .is_short = db_i64(row, 15) != 0,
		.raised_w = db_i64(row, 18), .looked_ns = db_i64(row, 20), .dropped_wms = db_i64(row, 21),
		.due_wms = db_i64(row, 22), .missed_wms = db_i64(row, 23) };
	return str_copy(c->id, sizeof(c->id), db_text(row, 0)) < 0 || str_copy(c->by, sizeof(c->by), db_text(row, 3)) < 0 ||
		str_copy(c->reason, sizeof(c->reason), db_text(row, 4)) < 0 ||
		str_copy(c->service, sizeof(c->service), db_text(row, 19)) < 0 ? HCP_ECORRUPT : 0;
}

int curtail_load(struct resources *r, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(db, &row, err, "SELECT " COLUMNS " FROM curtailment WHERE state<2", ""); rc == 1;
		 rc = db_next(row, err)) {
		char name[NAME_MAX_LEN];
		struct facility *f;
		struct curtailment *c = mem_calloc(1, sizeof(*c));
		int bad = !c || str_copy(name, sizeof(name), db_text(row, 1)) < 0 || take_row(row, c) < 0 ||
			facility_get(r, name, "", &f) < 0;
		if (bad) {
			mem_free(c);
			db_done(row);
			return err_set(err, HCP_ECORRUPT, "curtailment", "a row cannot be read");
		}
		mem_free(f->curtailment);
		f->curtailment = c;
		plan_want_now(r, f);
	}
	return rc;
}

/* ---- what people see ---- */

static const char *state_of(const struct curtailment *c, int state, int64_t now_ns)
{
	if (state == STATE_OVER)
		return "over";
	if (state == STATE_RESTORING)
		return "restoring";
	if (c->confirmed_ns)
		return c->confirmed_ns - c->ordered_ns > c->within_ms * NS_PER_MS ? "late" : "held";
	if (c->is_short)
		return "short";
	return now_ns - c->ordered_ns > c->within_ms * NS_PER_MS ? "late" : "shedding";
}

static int fill(const struct resources *r, struct arena *a, const struct curtailment *c, const char *facility,
	int state, int64_t now_ns, Hcp__Curtailment *out)
{
	const double mwh = call_mwh(r, facility);
	out->id = arena_strdup(a, c->id);
	out->facility = arena_strdup(a, facility);
	out->state = (char *)state_of(c, state, now_ns);
	out->asked_kw = (double)c->asked_w / 1000;
	out->limit_w = c->limit_w + c->raised_w;
	out->measured_before_w = c->measured_w;
	out->devices = c->devices;
	out->commands = c->commands;
	out->within_ms = (int32_t)c->within_ms;
	out->ordered_at_ns = c->ordered_ns;
	out->confirmed_at_ns = c->confirmed_ns;
	out->until_ns = c->until_ns;
	out->reason = arena_strdup(a, c->reason);
	out->by = arena_strdup(a, c->by);
	out->service = arena_strdup(a, c->service);
	out->dropped_mwh = (double)c->dropped_wms * mwh;
	out->due_mwh = (double)c->due_wms * mwh;
	out->missed_mwh = (double)c->missed_wms * mwh;
	return out->id && out->facility && out->reason && out->by && out->service ? 0 : HCP_ENOMEM;
}

static int answer(struct resources *r, struct svc_ctx *ctx, const struct facility *f, struct err *err)
{
	Hcp__Curtailment *out = svc_reply(ctx, MSG_CURTAILMENT);
	if (!out)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	out->measured_w = curtail_measured_w(r, f);
	out->reserved_w = f->power.reserved_w;
	return fill(r, svc_reply_arena(ctx), f->curtailment, f->name,
		f->curtailment->step_ns ? STATE_RESTORING : STATE_HELD, svc_now_ns(ctx), out);
}

int on_curtailments(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__CurtailmentsList *l = (const Hcp__CurtailmentsList *)m->body;
	struct db_row *row;
	int rc;
	Hcp__Curtailments *reply = svc_reply(ctx, MSG_CURTAILMENTS);
	if (!reply)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	struct arena *a = svc_reply_arena(ctx);
	for (rc = db_query(svc_db(ctx), &row, err, "SELECT " COLUMNS " FROM curtailment WHERE $1='' OR facility=$1"
			 " ORDER BY ordered_ns DESC LIMIT $2", "zi", l->facility, (int64_t)CURTAIL_SHOWN);
		 rc == 1; rc = db_next(row, err)) {
		Hcp__Curtailment *out = arena_alloc(a, sizeof(*out));
		const char *name = arena_strndup(a, db_text(row, 1).p, db_text(row, 1).n);
		struct curtailment c;
		int bad = !out || !name ? HCP_ENOMEM : take_row(row, &c);
		if (bad == 0) {
			const struct facility *f = map_get(&r->facilities, str_of(name));
			hcp__curtailment__init(out);
			bad = fill(r, a, &c, name, (int)db_i64(row, 2), svc_now_ns(ctx), out);
			out->measured_w = db_i64(row, 2) == STATE_OVER || !f ? db_i64(row, 16) : curtail_measured_w(r, f);
			out->reserved_w = f ? f->power.reserved_w : 0;
			out->over_at_ns = db_i64(row, 17);
		}
		if (bad == 0)
			bad = pb_push(a, &reply->n_curtailments, &reply->curtailments, out);
		if (bad < 0) {
			db_done(row);
			return err_set(err, bad, "", "out of memory");
		}
	}
	return rc;
}

/* ---- orders ---- */

int curtail_facility(const struct resources *r, const char *name, struct facility **ret, struct err *err)
{
	struct facility *f = map_get(&r->facilities, str_of(name));
	if (!f && !name[0] && r->n_facilities == 1)
		f = r->facility[0];
	if (!f)
		return err_set(err, HCP_ENOTFOUND, "facility", name[0] ? "there is no facility %.60s" :
			"say which facility%.0s", name);
	if (f->curtailment && !f->curtailment->step_ns)
		return err_set(err, HCP_EEXIST, "facility", "%.60s is curtailed already by %s until it is restored or over; "
			"restore that first, or ask it for all at once", f->name, f->curtailment->id);
	*ret = f;
	return 0;
}

static int check(const struct resources *r, const Hcp__Curtail *q, struct facility **ret, struct err *err)
{
	struct facility *f = NULL;
	if (!isfinite(q->kw) || q->kw <= 0 || q->kw > 1e7)
		return err_set(err, HCP_ERANGE, "kw", "must be above 0 and at most 10,000,000");
	if (q->within_ms < 0 || q->within_ms > CURTAIL_WITHIN_MAX_MS)
		return err_set(err, HCP_ERANGE, "within_ms", "must be 0 to %d", CURTAIL_WITHIN_MAX_MS);
	if (q->duration_s < 0 || q->duration_s > CURTAIL_DURATION_MAX_S)
		return err_set(err, HCP_ERANGE, "duration_s", "must be 0 to %d", CURTAIL_DURATION_MAX_S);
	if (strlen(q->reason) >= REASON_MAX)
		return err_set(err, HCP_ELIMIT, "reason", "must be at most %d bytes", REASON_MAX - 1);
	int rc = curtail_facility(r, q->facility, &f, err);
	if (rc < 0)
		return rc;
	if ((double)f->power.reserved_w <= q->kw * 1000)
		return err_set(err, HCP_ERANGE, "kw", "%.60s may draw %.0f kW now, which is not more", f->name,
			(double)f->power.reserved_w / 1000);
	*ret = f;
	return 0;
}

static void count_told(const struct resources *r, struct facility *f, int64_t now_ns)
{
	list_each(l, &r->commands) {
		const struct command *c = list_entry(l, struct command, link);
		if (c->issued_at_ns != now_ns || !c->n || !c->items[0].device || c->items[0].device->group->facility != f)
			continue;
		f->curtailment->commands++;
		f->curtailment->devices += (int32_t)c->n;
	}
}

static void confirm(struct facility *f, int64_t now_ns)
{
	struct curtailment *c = f->curtailment;
	if (!c->confirmed_ns && !c->step_ns && f->power.reserved_w <= c->limit_w)
		c->confirmed_ns = now_ns;
}

/* The former order, if it is being restored, ends here: its limit is what this one starts from. */
int curtail_order(struct resources *r, struct svc_ctx *ctx, struct facility *f, const struct curtail_order *q,
	const struct msg *m, struct err *err)
{
	struct curtailment *c = mem_calloc(1, sizeof(*c));
	int rc = 0;
	if (!c)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (f->curtailment)
		rc = store(ctx, f, STATE_OVER, curtail_measured_w(r, f), err);
	svc_new_id(ctx, c->id, ID_EVENT);
	snprintf(c->by, sizeof(c->by), "%.60s", m->principal ? m->principal->email : "");
	snprintf(c->service, sizeof(c->service), "%s", q->service);
	snprintf(c->reason, sizeof(c->reason), "%s", q->reason);
	c->asked_w = q->asked_w;
	c->measured_w = curtail_measured_w(r, f);
	/* The grid judges by the meter, and calls all that is offered, whatever runs. */
	int64_t from_w = q->service[0] && c->measured_w < f->power.reserved_w ? c->measured_w : f->power.reserved_w;
	c->limit_w = from_w > c->asked_w ? from_w - c->asked_w : 0;
	c->ordered_ns = c->looked_ns = svc_now_ns(ctx);
	c->until_ns = c->ordered_ns + q->duration_s * NS_PER_S;
	c->within_ms = q->within_ms;
	mem_free(f->curtailment);
	f->curtailment = c;
	plan_want_now(r, f);
	if (rc == 0)
		rc = plan_dirty(r, ctx, err);
	if (rc == 0)
		rc = reconcile(r, ctx, err);
	c->is_short = f->power.planned_w > c->limit_w;
	count_told(r, f, c->ordered_ns);
	confirm(f, c->ordered_ns);
	if (rc == 0)
		rc = store(ctx, f, STATE_HELD, 0, err);
	return rc < 0 ? rc : answer(r, ctx, f, err);
}

int on_curtail(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__Curtail *q = (const Hcp__Curtail *)m->body;
	struct facility *f = NULL;
	int rc = check(r, q, &f, err);
	const struct curtail_order o = { .asked_w = (int64_t)(q->kw * 1000 + 0.5),
		.within_ms = q->within_ms ? q->within_ms : CURTAIL_WITHIN_MS,
		.duration_s = q->duration_s ? q->duration_s : CURTAIL_DURATION_S,
		.reason = q->reason,
		.service = "" };
	return rc < 0 ? rc : curtail_order(r, ctx, f, &o, m, err);
}

static int begin_restore(struct resources *r, struct svc_ctx *ctx, struct facility *f, struct err *err)
{
	bool called = f->curtailment->service[0] != 0;
	int rc = called ? hold_look(r, ctx, f, err) : 0; /* what it made go was held up to now */
	if (rc == 0 && called)
		rc = call_over(r, ctx, f, err);
	if (rc < 0)
		return rc;
	f->curtailment->step_ns = svc_now_ns(ctx);
	f->curtailment->until_ns = svc_now_ns(ctx);
	return store(ctx, f, STATE_RESTORING, 0, err);
}

int on_curtail_restore(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__CurtailRestore *q = (const Hcp__CurtailRestore *)m->body;
	for (size_t i = 0; i < r->n_facilities; i++) {
		struct facility *f = r->facility[i];
		if (!f->curtailment || strcmp(f->curtailment->id, q->id) != 0)
			continue;
		int rc = f->curtailment->step_ns ? 0 : begin_restore(r, ctx, f, err);
		r->poke = true;
		return rc < 0 ? rc : answer(r, ctx, f, err);
	}
	return err_set(err, HCP_ENOTFOUND, "id", "no order %.40s is in force", q->id);
}

/* ---- time ---- */

static int step_up(struct resources *r, struct svc_ctx *ctx, struct facility *f, struct err *err)
{
	struct curtailment *c = f->curtailment;
	int64_t now = svc_now_ns(ctx);
	c->raised_w += (c->asked_w + CURTAIL_STEPS - 1) / CURTAIL_STEPS;
	c->step_ns = now + CURTAIL_STEP_S * NS_PER_S;
	plan_want_now(r, f);
	bool over = c->raised_w >= c->asked_w;
	int rc = store(ctx, f, over ? STATE_OVER : STATE_RESTORING, curtail_measured_w(r, f), err);
	if (rc == 0 && over) {
		mem_free(c);
		f->curtailment = NULL;
	}
	return rc;
}

static int tend(struct resources *r, struct svc_ctx *ctx, struct facility *f, struct err *err)
{
	struct curtailment *c = f->curtailment;
	int64_t now = svc_now_ns(ctx);
	bool was = c->confirmed_ns != 0, was_short = c->is_short;
	if (c->step_ns)
		return c->step_ns <= now ? step_up(r, ctx, f, err) : 0;
	if (c->until_ns <= now)
		return begin_restore(r, ctx, f, err);
	bool look = c->service[0] && now >= c->looked_ns + CALL_LOOK_MS * NS_PER_MS;
	if (look)
		call_look(r, f, now);
	confirm(f, now);
	c->is_short = f->power.planned_w > c->limit_w;
	return was == (c->confirmed_ns != 0) && was_short == c->is_short && !look ? 0 : store(ctx, f, STATE_HELD, 0, err);
}

int curtail_tend(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; i < r->n_facilities && rc == 0; i++)
		if (r->facility[i]->curtailment)
			rc = tend(r, ctx, r->facility[i], err);
	return rc;
}

int64_t curtail_due(const struct resources *r)
{
	int64_t at_ns = INT64_MAX;
	for (size_t i = 0; i < r->n_facilities; i++) {
		const struct curtailment *c = r->facility[i]->curtailment;
		int64_t due_ns = !c ? INT64_MAX : c->step_ns ? c->step_ns : !c->confirmed_ns ? 0 : c->until_ns;
		if (c && !c->step_ns && c->service[0])
			due_ns =
				due_ns < c->looked_ns + CALL_LOOK_MS * NS_PER_MS ? due_ns : c->looked_ns + CALL_LOOK_MS * NS_PER_MS;
		at_ns = due_ns < at_ns ? due_ns : at_ns;
	}
	return at_ns;
}
