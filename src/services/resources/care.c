/* Sick devices: what health says of readings, the way out of the pool, the ticket, and the way back. */
#include <math.h>
#include <stdio.h>

#include "base/log.h"
#include "services/resources/resources_priv.h"

#define MINUTE_NS (60 * NS_PER_S)
#define SAMPLE_S 10                /* health hears a device so often, however often it reports */
#define CHARTS_EVERY_NS (15 * MINUTE_NS) /* charts of a node are stored; a crash costs that much of them */
#define LEARN_STEPS 4              /* of an autoencoder's training in one run of the timer: 20 ms */

/* ---- charts ---- */

static struct care *care_of(struct node *n, const struct device *d)
{
	if (n->n_devices > n->n_cares) {
		struct care *more = mem_realloc(n->cares, n->n_devices * sizeof(*more));
		if (!more)
			return NULL;
		for (size_t i = n->n_cares; i < n->n_devices; i++) {
			more[i] = (struct care){ 0 };
			health_device_init(&more[i].health);
		}
		n->cares = more;
		n->n_cares = n->n_devices;
	}
	return &n->cares[d->place];
}

static struct health_sample sample_of(const struct device *d, const Hcp__DeviceReading *x, double inlet_k,
				      int64_t at_ns)
{
	struct health_sample s = {
		.at_ns = at_ns,
		.mode = d->gate,
		.work = (d->alloc ? (uint32_t)hash_bytes(d->alloc->id, strlen(d->alloc->id), 0) : 0) ^
				(uint32_t)d->ctl.power_target_w,
		.power_w = (float)x->power_w,
		.target_w = (float)d->ctl.power_target_w,
		.hash_ths = (float)x->hash_ths,
		.temperature_c = x->temperature_c ? (float)x->temperature_c : NAN,
		.inlet_c = inlet_k > 0 ? (float)(inlet_k - 273.15) : NAN,
		.utilisation = (float)x->utilisation,
		.fan = x->fan_percent > 0 ? (float)x->fan_percent / 100 : NAN,
		.memory_gib = x->memory_used_mib > 0 ? (float)x->memory_used_mib / 1024 : NAN,
		.errors = x->errors,
	};
	/* A CPU node's watts are an estimate. */
	if (d->group->cls->kind == DEVICE_CPU)
		s.power_w = NAN;
	return s;
}

/* One row a node. */
static int save_charts(struct resources *r, struct svc_ctx *ctx, struct node *n, struct err *err)
{
	struct health_device *charts = arena_alloc(svc_arena(ctx), (n->n_cares + 1) * sizeof(*charts));
	if (!charts)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	for (size_t i = 0; i < n->n_cares; i++)
		charts[i] = n->cares[i].health;
	n->charts_at_ns = svc_now_ns(ctx);
	return db_run(svc_db(ctx), err,
		      "INSERT INTO chart(number,v) VALUES($1,$2) ON CONFLICT(number) DO UPDATE SET v=excluded.v", "ib",
		      (int64_t)n->number, (struct str){ (const char *)charts, n->n_cares * sizeof(*charts) });
}

static int save_norms(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; i < device_class_count() && rc == 0; i++) {
		struct str v = health_norms(r->health, device_class_at(i));
		if (v.n)
			rc = db_run(svc_db(ctx), err,
				    "INSERT INTO norm(class,v) VALUES($1,$2)"
				    " ON CONFLICT(class) DO UPDATE SET v=excluded.v", "zb", device_class_at(i)->name, v);
	}
	return rc;
}

/* Charts of another version, or of a node that has more devices now, are forgotten: they are learned again. */
int care_load_charts(struct resources *r, int64_t number, struct str v)
{
	struct health_device one;
	if (number < 0 || (size_t)number >= r->n_nodes)
		return HCP_ECORRUPT;
	struct node *n = r->node[number];
	if (v.n % sizeof(one) || v.n / sizeof(one) > n->n_devices)
		return 0;
	for (size_t i = 0; i < v.n / sizeof(one); i++) {
		struct care *c = care_of(n, n->devices[i]);
		if (!c)
			return HCP_ENOMEM;
		memcpy(&one, v.p + i * sizeof(one), sizeof(one));
		if (health_device_check(&one) == 0)
			c->health = one;
	}
	return 0;
}

int care_load_norms(struct resources *r, struct str class_name, struct str v)
{
	const struct device_class *cls = device_class_find(class_name);
	int rc = cls ? health_set_norms(r->health, cls, v) : 0;
	return rc == HCP_ECORRUPT ? 0 : rc;
}

/* ---- tickets ---- */

static int32_t proof_min(const struct ticket *t)
{
	int32_t min = RESOURCES_PROOF_MIN;
	for (int32_t i = 1; i < t->times && min < RESOURCES_PROOF_MAX_MIN; i++)
		min *= 2;
	return min < RESOURCES_PROOF_MAX_MIN ? min : RESOURCES_PROOF_MAX_MIN;
}

void ticket_fill(const struct ticket *t, Hcp__Ticket *out)
{
	hcp__ticket__init(out);
	out->id = t->id;
	out->device_id = t->device->id;
	out->device_class = t->device->group->cls->name;
	out->facility = t->device->group->facility->name;
	out->state = (Hcp__TicketState)(t->state + 1);
	out->signal = t->signal;
	out->reason = t->reason;
	out->note = t->note;
	out->times = t->times;
	out->opened_at_ns = t->opened_at_ns;
	out->since_ns = t->since_ns;
	out->closed_at_ns = t->closed_at_ns;
	out->done_at_ns = t->done_at_ns;
	out->proved_min = t->proved_min;
	out->proof_min = proof_min(t);
}

/* Its row and the event; a change without both has not happened. */
static int ticket_tell(struct svc_ctx *ctx, const struct ticket *t, struct err *err)
{
	Hcp__Ticket row;
	Hcp__TicketChanged ev = HCP__TICKET_CHANGED__INIT;
	ticket_fill(t, &row);
	struct str packed;
	if (pb_pack_arena(&row.base, svc_arena(ctx), &packed) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	ev.ticket = &row;
	int rc = db_run(svc_db(ctx), err,
			"INSERT INTO ticket(id,device_id,state,opened_ns,body) VALUES($1,$2,$3,$4,$5)"
			" ON CONFLICT(id) DO UPDATE SET state=excluded.state, body=excluded.body", "zziib", t->id,
			t->device->id, (int64_t)t->state, t->opened_at_ns, packed);
	return rc < 0 ? rc : svc_publish(ctx, t->device->id, &ev.base);
}

void ticket_free(struct ticket *t)
{
	list_del(&t->link);
	if (t->device->ticket == t)
		t->device->ticket = NULL;
	mem_free(t);
}

static int count_before(struct svc_ctx *ctx, const struct device *d, int32_t *ret, struct err *err)
{
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT count(*) FROM ticket WHERE device_id=$1 AND opened_ns>$2", "zi",
			  d->id, svc_now_ns(ctx) - RESOURCES_FLAP_DAYS * 24 * 60 * MINUTE_NS);
	*ret = 0;
	for (; rc == 1; rc = db_next(row, err))
		*ret = (int32_t)db_i64(row, 0);
	return rc;
}

static int ticket_open(struct resources *r, struct svc_ctx *ctx, struct device *d, const char *signal,
		       const char *reason, int64_t since_ns, struct err *err)
{
	int32_t before;
	int rc = count_before(ctx, d, &before, err);
	struct ticket *t = rc == 0 ? mem_calloc(1, sizeof(*t)) : NULL;
	if (!t)
		return rc < 0 ? rc : err_set(err, HCP_ENOMEM, "", "out of memory");
	t->device = d;
	t->times = before + 1;
	t->opened_at_ns = svc_now_ns(ctx);
	t->since_ns = since_ns;
	snprintf(t->signal, sizeof(t->signal), "%s", signal);
	snprintf(t->reason, sizeof(t->reason), "%s", reason);
	svc_new_id(ctx, t->id, ID_TICKET);
	list_add_tail(&r->tickets, &t->link);
	d->ticket = t;
	log_warn("resources", "device %s leaves the pool: %s", d->id, reason);
	return ticket_tell(ctx, t, err);
}

/* Sick again while it should prove that it is not: the ticket is open as before, and counts once more. */
static int ticket_reopen(struct svc_ctx *ctx, struct ticket *t, const struct health_finding *f, struct err *err)
{
	t->state = TICKET_OPEN;
	t->times++;
	t->proved_min = 0;
	t->closed_at_ns = 0;
	snprintf(t->signal, sizeof(t->signal), "%s", health_signal_name(f->signal));
	health_text(f, t->reason, sizeof(t->reason));
	return ticket_tell(ctx, t, err);
}

static int ticket_done(struct resources *r, struct svc_ctx *ctx, struct ticket *t, struct err *err)
{
	struct device *d = t->device;
	t->state = TICKET_DONE;
	t->done_at_ns = svc_now_ns(ctx);
	int rc = device_event(r, d, DEVICE_EV_REPAIR, WHY_NONE, svc_now_ns(ctx), err);
	if (rc == 0)
		rc = ticket_tell(ctx, t, err);
	ticket_free(t);
	plan_want(r, d->group->facility);
	return rc;
}

int care_load_ticket(struct resources *r, struct str id, int64_t state, struct str body)
{
	struct arena a;
	arena_init(&a, 1024, 0);
	const Hcp__Ticket *row = (void *)pb_unpack_arena(&hcp__ticket__descriptor, body, &a);
	struct device *d = row ? map_get(&r->devices, str_of(row->device_id)) : NULL;
	struct ticket *t = d && !d->ticket && state < TICKET_DONE ? mem_calloc(1, sizeof(*t)) : NULL;
	int rc = t ? str_copy(t->id, sizeof(t->id), id) : HCP_ECORRUPT;
	if (rc == 0) {
		t->device = d;
		t->state = (enum ticket_state)state;
		t->times = row->times;
		t->proved_min = row->proved_min;
		t->opened_at_ns = row->opened_at_ns;
		t->since_ns = row->since_ns;
		t->closed_at_ns = row->closed_at_ns;
		snprintf(t->signal, sizeof(t->signal), "%s", row->signal);
		snprintf(t->reason, sizeof(t->reason), "%s", row->reason);
		snprintf(t->note, sizeof(t->note), "%s", row->note);
		list_add_tail(&r->tickets, &t->link);
		d->ticket = t;
	} else {
		mem_free(t);
	}
	arena_release(&a);
	return rc;
}

/* ---- the way out and back ---- */

/* Out of the pool as soon as its state allows; who works on it has RESOURCES_DRAIN_MS to end by himself. */
static int leave_pool(struct resources *r, struct svc_ctx *ctx, struct device *d, struct err *err)
{
	int64_t now = svc_now_ns(ctx);
	int rc = 0;
	if (now >= d->ticket->opened_at_ns + RESOURCES_DRAIN_MS * NS_PER_MS)
		rc = device_end_allocs(r, ctx, d, "device degraded", err);
	if (rc == 0 && d->state == DEVICE_ST_DRAINING)
		device_set_desired(r, d, DEVICE_IDLE, 0);
	if (rc < 0 || d->alloc || d->state != DEVICE_ST_IDLE)
		return rc;
	if (d->command)
		rc = command_drop_device(r, ctx, d, err);
	if (rc == 0)
		rc = device_event(r, d, DEVICE_EV_MAINTAIN, WHY_DEGRADED, now, err);
	d->resync = true;
	plan_want(r, d->group->facility);
	node_want_work(r, d->node);
	return rc;
}

/* It proves itself at work that is nobody's; an emergency stop and an order to curtail stop that, too. */
static void set_work(struct resources *r, struct device *d)
{
	bool may = d->ticket->state == TICKET_PROVING && !r->emergency && !d->group->facility->curtailment;
	device_set_desired(r, d, may ? DEVICE_FILL : DEVICE_IDLE, 0);
}

void care_rest(struct resources *r, const struct facility *f)
{
	list_each_safe(at, tmp, &r->tickets) {
		struct device *d = list_entry(at, struct ticket, link)->device;
		if (d->group->facility == f && d->state == DEVICE_ST_MAINTENANCE)
			set_work(r, d);
	}
}

static int follow(struct resources *r, struct svc_ctx *ctx, struct device *d, bool minute, bool sick,
		  const struct health_finding *f, struct err *err)
{
	struct ticket *t = d->ticket;
	int rc = leave_pool(r, ctx, d, err);
	if (rc < 0 || d->state != DEVICE_ST_MAINTENANCE)
		return rc;
	if (t->state == TICKET_PROVING && sick)
		rc = ticket_reopen(ctx, t, f, err);
	set_work(r, d);
	bool works = d->ctl.commanded == DEVICE_FILL && d->ctl.confirmed == DEVICE_FILL && !d->ctl.drifted &&
		     d->ctl.confirmed_at_ns > t->closed_at_ns;
	if (rc < 0 || t->state != TICKET_PROVING || !minute || !works)
		return rc;
	return ++t->proved_min >= proof_min(t) ? ticket_done(r, ctx, t, err) : 0;
}

int care_reading(struct resources *r, struct svc_ctx *ctx, struct device *d, const Hcp__DeviceReading *x,
		 double inlet_k, int64_t at_ns, struct err *err)
{
	struct health_finding f = { 0 };
	struct care *c = care_of(d->node, d);
	bool sick = false, minute = false;
	if (!c || health_know(r->health, d->group->cls) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (at_ns / NS_PER_S / SAMPLE_S != c->health.seen_s / SAMPLE_S && !x->error[0]) {
		struct health_sample s = sample_of(d, x, inlet_k, at_ns);
		minute = health_take(r->health, d->group->cls, &c->health, &c->window, &s, &sick, &f);
	}
	if (sick && !d->ticket && d->state != DEVICE_ST_FAILED) {
		char reason[REASON_MAX];
		int rc = ticket_open(r, ctx, d, health_signal_name(f.signal), health_text(&f, reason, sizeof(reason)),
				     f.since_ns, err);
		if (rc < 0)
			return rc;
	}
	return d->ticket ? follow(r, ctx, d, minute, sick, &f, err) : 0;
}

int care_node(struct resources *r, struct svc_ctx *ctx, struct node *n, struct err *err)
{
	return n->n_cares && svc_now_ns(ctx) >= n->charts_at_ns + CHARTS_EVERY_NS ? save_charts(r, ctx, n, err) : 0;
}

int care_timer(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	int64_t now = svc_now_ns(ctx);
	int rc = health_learn(r->health, now, LEARN_STEPS);
	if (rc < 0)
		return err_set(err, rc, "", "out of memory");
	r->learning = rc > 0;
	if (now < r->norms_at_ns + CHARTS_EVERY_NS)
		return 0;
	r->norms_at_ns = now;
	rc = save_norms(r, ctx, err);
	return rc < 0 ? rc : db_run(svc_db(ctx), err, "DELETE FROM ticket WHERE state=$1 AND opened_ns<$2", "ii",
				    (int64_t)TICKET_DONE, now - RESOURCES_KEEP_TICKETS_DAYS * 24 * 60 * MINUTE_NS);
}

/* ---- flapping ---- */

/* Errors that come and go within an hour: from the third on the device waits longer before it is back. */
void care_failed(struct device *d, int64_t now_ns)
{
	if (now_ns - d->flap_ns > 60 * MINUTE_NS)
		d->flaps = 0;
	d->flaps = (uint8_t)(d->flaps + (d->flaps < UINT8_MAX));
	d->flap_ns = now_ns;
}

bool care_may_return(const struct device *d, int64_t now_ns)
{
	int64_t wait_ns = d->flaps < RESOURCES_FLAPS_FREE ? 0 : MINUTE_NS;
	for (int i = RESOURCES_FLAPS_FREE; i < d->flaps && wait_ns < 60 * MINUTE_NS; i++)
		wait_ns *= 2;
	return now_ns - d->changed_at_ns >= wait_ns;
}

/* ---- what people ask and do ---- */

int on_tickets(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__TicketsList *l = (const Hcp__TicketsList *)m->body;
	struct db_row *row;
	if (l->limit < 0 || l->limit > RESOURCES_LIST_TICKETS)
		return err_set(err, HCP_ERANGE, "limit", "must be 1 to %d, was %d", RESOURCES_LIST_TICKETS, l->limit);
	Hcp__Tickets *reply = svc_reply(ctx, MSG_TICKETS);
	if (!reply)
		return HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	int rc = db_query(svc_db(ctx), &row, err,
			  "SELECT body FROM ticket WHERE (state<$1 OR $2=1) AND ($3='' OR device_id=$3)"
			  " ORDER BY opened_ns DESC, id DESC LIMIT $4", "iizi", (int64_t)TICKET_DONE, (int64_t)l->all,
			  l->device_id, (int64_t)(l->limit ? l->limit : 100));
	for (; rc == 1; rc = db_next(row, err)) {
		void *t = pb_unpack_arena(&hcp__ticket__descriptor, db_blob(row, 0), a);
		if (!t || pb_push(a, &reply->n_tickets, &reply->tickets, t) < 0) {
			db_done(row);
			return HCP_ENOMEM;
		}
	}
	return rc;
}

int on_ticket_close(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__TicketClose *q = (const Hcp__TicketClose *)m->body;
	struct ticket *t = NULL;
	list_each_safe(at, tmp, &r->tickets) {
		if (strcmp(list_entry(at, struct ticket, link)->id, q->id) == 0)
			t = list_entry(at, struct ticket, link);
	}
	if (!t)
		return err_set(err, HCP_ENOTFOUND, "id", "there is no open ticket %.40s", q->id);
	if (strlen(q->note) >= sizeof(t->note))
		return err_set(err, HCP_ERANGE, "note", "longer than %zu bytes", sizeof(t->note) - 1);
	if (t->state == TICKET_OPEN) {
		struct care *c = care_of(t->device->node, t->device);
		if (!c)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
		t->state = TICKET_PROVING;
		t->closed_at_ns = svc_now_ns(ctx);
		snprintf(t->note, sizeof(t->note), "%s", q->note);
		health_device_mend(&c->health);
		int rc = ticket_tell(ctx, t, err);
		/* What was repaired must not become sick again with a restart. */
		if (rc == 0)
			rc = save_charts(r, ctx, t->device->node, err);
		if (rc == 0)
			rc = follow(r, ctx, t->device, false, false, NULL, err);
		if (rc < 0)
			return rc;
	}
	Hcp__Ticket built;
	ticket_fill(t, &built);
	int rc = reply_copy(ctx, MSG_TICKET, &built.base);
	return rc;
}
