/*
 * Switches: one SwitchCommand a node and wish, sent again until the agent reports or its time is over.
 *
 *   issued ──▶ reported ok ──▶ all proved by readings ──▶ done
 *      │           └────────── not proved in time ──────┐
 *      ├─▶ reported not ok (rolled back) ───────────────┼──▶ failed: drifted, tried again later
 *      └─▶ deadline passed ─────────────────────────────┘
 */
#include <stdio.h>

#include "services/resources/resources_priv.h"

static int64_t deadline_for(const struct resources *r, const struct item *items, size_t n)
{
	int64_t typical_ms = 0, sum = RESOURCES_SLACK_MS * NS_PER_MS;
	bool saves = false, starts = false;
	for (size_t i = 0; i < n; i++) {
		int64_t ms = items[i].device->group->cls->switch_ms[items[i].to];
		typical_ms = ms > typical_ms ? ms : typical_ms;
		saves |= device_has_ghost(r, items[i].device);
		starts |= items[i].device->alloc && items[i].device->alloc->program;
	}
	sum += saves ? PROGRAM_GRACE_MS * NS_PER_MS : 0;
	sum += starts ? PROGRAM_START_MS * NS_PER_MS : 0;
	for (int p = SWITCH_VALIDATE; p < SWITCH_COMMIT; p++)
		sum += switch_deadline_ns((enum switch_phase)p, typical_ms);
	return sum;
}

static const char *model_of(const struct node *n, const struct device *d)
{
	if (d->alloc && d->alloc->model[0])
		return d->alloc->model;
	return n->n_models ? n->models[0] : "";
}

/* Who has it, or all that shall have parts of it. */
static int fill_owners(struct arena *arena, const struct device *d, Hcp__SwitchItem *row)
{
	if (!device_is_shared(d)) {
		row->allocation_id = d->alloc ? d->alloc->id : "";
		row->workload_id = d->alloc ? d->alloc->workload_id : "";
		return 0;
	}
	for (const struct alloc *a = d->alloc; a; a = a->beside) {
		Hcp__DeviceShare *s = alloc_is_told(a) ? arena_alloc(arena, sizeof(*s)) : NULL;
		if (!alloc_is_told(a))
			continue;
		if (!s)
			return HCP_ENOMEM;
		alloc_share(a, s);
		if (pb_push(arena, &row->n_shares, &row->shares, s) < 0)
			return HCP_ENOMEM;
	}
	return 0;
}

static int build(struct svc_ctx *ctx, const struct command *c, Hcp__SwitchCommand *out, struct str *ret_froms)
{
	struct arena *a = svc_arena(ctx);
	Hcp__SwitchItem *rows = arena_alloc(a, (c->n + 1) * sizeof(*rows));
	char *froms = arena_alloc(a, c->n + 1);
	hcp__switch_command__init(out);
	out->items = arena_alloc(a, (c->n + 1) * sizeof(*out->items));
	if (!rows || !out->items || !froms)
		return HCP_ENOMEM;
	out->switch_id = c->id;
	out->node_id = c->node->id;
	out->deadline_ns = c->deadline_ns;
	out->signal_at_ns = c->signal_at_ns;
	for (size_t i = 0; i < c->n; i++) {
		const struct device *d = c->items[i].device;
		if (!d)
			continue;
		Hcp__SwitchItem *row = &rows[out->n_items];
		hcp__switch_item__init(row);
		row->device_id = d->agent_id;
		row->to = wire_mode(c->items[i].to);
		row->power_target_w = c->items[i].target_w;
		if (fill_owners(a, d, row) < 0)
			return HCP_ENOMEM;
		if (c->items[i].to == DEVICE_SERVE)
			row->model = model_of(c->node, d);
		if (c->items[i].to == DEVICE_SERVE && program_order(ctx, d, &row->program) < 0)
			return HCP_ENOMEM;
		if (row->program)
			row->model = "";
		froms[out->n_items] = (char)c->items[i].from;
		out->items[out->n_items++] = row;
	}
	*ret_froms = (struct str){ froms, out->n_items };
	return 0;
}

static int send_to_agent(struct svc_ctx *ctx, struct command *c, Hcp__SwitchCommand *body)
{
	Hcp__AgentDown down = HCP__AGENT_DOWN__INIT;
	down.kind_case = HCP__AGENT_DOWN__KIND_SWITCH_COMMAND;
	down.switch_command = body;
	body->number = svc_number(ctx); /* also when it is repeated: it is what we want now */
	c->sent_at_ns = svc_now_ns(ctx);
	c->sends += c->sends < RESOURCES_RESEND_DOUBLINGS;
	return svc_send_agent(ctx, c->node->id, &down);
}

static int store(struct resources *r, struct svc_ctx *ctx, struct command *c, Hcp__SwitchCommand *body, struct err *err)
{
	struct str items, froms;
	if (build(ctx, c, body, &froms) < 0 || pb_pack_arena(&body->base, svc_arena(ctx), &items) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	return db_run(
		svc_db(ctx), err,
		"INSERT INTO command(id,number,allocation_id,decision_id,decided_ns,issued_ns,deadline_ns,signal_ns,"
		"reported_ns,items,froms,report) VALUES($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)"
		" ON CONFLICT(id) DO UPDATE SET reported_ns=excluded.reported_ns, items=excluded.items,"
		" froms=excluded.froms, report=excluded.report",
		"zizziiiiibbb", c->id, (int64_t)c->node->number, c->alloc ? c->alloc->id : "", c->decision_id,
		c->decided_at_ns, c->issued_at_ns, c->deadline_ns, c->signal_at_ns, c->reported_at_ns, items, froms,
		buf_str(&c->report));
}

void command_free(struct command *c)
{
	if (!c)
		return;
	list_del(&c->unsaved);
	buf_release(&c->report);
	mem_free(c->items);
	mem_free(c);
}

static struct command *command_new(const struct item *items, size_t n)
{
	struct command *c = mem_calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	list_init(&c->link);
	list_init(&c->of_node);
	list_init(&c->unsaved);
	buf_init(&c->report, 1 << 20);
	c->items = mem_dup(items, n * sizeof(*items));
	c->n = c->unproved = n;
	if (!c->items) {
		command_free(c);
		return NULL;
	}
	return c;
}

static int link_in(struct resources *r, struct command *c)
{
	if (map_put(&r->command_by_id, str_of(c->id), c, NULL) < 0)
		return HCP_ENOMEM;
	list_add_tail(&r->commands, &c->link);
	list_add_tail(&c->node->commands, &c->of_node);
	for (size_t i = 0; i < c->n; i++) {
		c->items[i].device->command = c;
		c->items[i].device->item = i;
		c->needs_report |= c->items[i].device->resync || c->items[i].from == c->items[i].to;
	}
	c->needs_report |= c->alloc != NULL;
	if (c->alloc)
		c->alloc->commands++;
	return 0;
}

static void order_device(struct resources *r, struct device *d, enum device_mode to, int32_t target_w, int64_t now_ns)
{
	int32_t w = device_order_w(d, to, target_w);
	w = d->reserve_w > w ? d->reserve_w : w;
	d->transit_w = d->transit_w > w ? d->transit_w : w;
	/* Told the same again: that it has drifted is over when readings say so, not when we repeat ourselves. */
	bool still = d->ctl.drifted && d->ctl.commanded == to && (int32_t)d->ctl.power_target_w == target_w;
	device_command(&d->ctl, to, target_w, now_ns);
	d->ctl.drifted = still;
	int32_t before_w = d->reserve_w;
	device_reserve(d);
	power_rises(r, device_power(d), d->reserve_w - before_w);
	d->requests_base = d->requests;
	d->local = false;
	device_mark(r, d);
}

static void due(struct resources *r, struct svc_ctx *ctx, int64_t at_ns)
{
	if (at_ns < r->commands_due_ns)
		r->commands_due_ns = at_ns;
	svc_wake_at(ctx, at_ns);
}

void commands_send_again(struct resources *r, struct svc_ctx *ctx, struct node *n)
{
	list_each(l, &n->commands)
		list_entry(l, struct command, of_node)->sent_at_ns = 0;
	if (!list_empty(&n->commands))
		due(r, ctx, svc_now_ns(ctx));
}

int command_issue(struct resources *r, struct svc_ctx *ctx, struct node *n, struct alloc *a, const struct item *items,
		  size_t n_items, struct err *err)
{
	Hcp__SwitchCommand body;
	int64_t now = svc_now_ns(ctx);
	struct command *c = command_new(items, n_items);
	if (!c)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	svc_new_id(ctx, c->id, ID_SWITCH);
	c->node = n;
	c->alloc = a;
	c->issued_at_ns = now;
	c->deadline_ns = now + deadline_for(r, items, n_items);
	c->decided_at_ns = a ? a->at_ns : r->directed ? r->decided_at_ns : 0;
	if (!a) {
		memcpy(c->decision_id, r->decision_id, sizeof(c->decision_id));
		c->signal_at_ns = r->directed ? r->signal_at_ns : 0;
	}
	for (size_t i = 0; i < c->n; i++) {
		struct device *d = c->items[i].device;
		c->items[i].from = d->ctl.commanded;
		c->items[i].from_w = (int32_t)d->ctl.power_target_w;
		order_device(r, d, c->items[i].to, c->items[i].target_w, now);
	}
	if (link_in(r, c) < 0) {
		command_free(c);
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	int rc = store(r, ctx, c, &body, err);
	if (rc == 0)
		rc = send_to_agent(ctx, c, &body);
	if (rc == 0 && a)
		memcpy(a->switch_id, c->id, sizeof(a->switch_id));
	due(r, ctx, now + RESOURCES_RESEND_MS * NS_PER_MS);
	return rc;
}

static int load_items(struct resources *r, struct node *n, const Hcp__SwitchCommand *body, struct str froms,
		      struct item *items)
{
	for (size_t i = 0; i < body->n_items; i++) {
		struct device *d = device_find(r, n->id, body->items[i]->device_id);
		if (!d || mode_of_wire(body->items[i]->to, &items[i].to) < 0 || (uint8_t)froms.p[i] >= DEVICE_MODE_END)
			return HCP_ECORRUPT;
		items[i].device = d;
		items[i].from = (enum device_mode)froms.p[i];
		items[i].target_w = body->items[i]->power_target_w;
		items[i].proved =
			d->ctl.confirmed_at_ns > d->ctl.commanded_at_ns && d->ctl.confirmed == d->ctl.commanded;
	}
	return 0;
}

int command_load(struct resources *r, struct db_row *row)
{
	struct arena a;
	struct command *c = NULL;
	int64_t number = db_i64(row, 1);
	struct str froms = db_blob(row, 10);
	arena_init(&a, 4096, 0);
	const Hcp__SwitchCommand *body = (void *)pb_unpack_arena(&hcp__switch_command__descriptor, db_blob(row, 9), &a);
	struct item *items = body ? arena_calloc(&a, (body->n_items + 1) * sizeof(*items)) : NULL;
	int rc = !body || !items || number < 0 || (size_t)number >= r->n_nodes || froms.n != body->n_items
			 ? HCP_ECORRUPT
			 : 0;
	if (rc == 0)
		rc = load_items(r, r->node[number], body, froms, items);
	if (rc == 0 && !(c = command_new(items, body->n_items)))
		rc = HCP_ENOMEM;
	if (rc == 0) {
		char alloc_id[ID_TEXT_MAX] = "";
		c->node = r->node[number];
		c->unproved = 0;
		for (size_t i = 0; i < c->n; i++)
			c->unproved += !c->items[i].proved;
		c->decided_at_ns = db_i64(row, 4);
		c->issued_at_ns = db_i64(row, 5);
		c->deadline_ns = db_i64(row, 6);
		c->signal_at_ns = db_i64(row, 7);
		c->reported_at_ns = db_i64(row, 8);
		buf_adds(&c->report, db_blob(row, 11));
		if (str_copy(c->id, sizeof(c->id), db_text(row, 0)) < 0 ||
		    str_copy(alloc_id, sizeof(alloc_id), db_text(row, 2)) < 0 ||
		    str_copy(c->decision_id, sizeof(c->decision_id), db_text(row, 3)) < 0)
			rc = HCP_ECORRUPT;
		c->alloc = alloc_id[0] ? map_get(&r->alloc_by_id, str_of(alloc_id)) : NULL;
	}
	if (rc == 0)
		rc = link_in(r, c);
	if (rc < 0)
		command_free(c);
	arena_release(&a);
	return rc;
}

/* ---- the end of a switch ---- */

static const char *evidence_of(const struct command *c)
{
	for (size_t i = 0; i < c->n; i++) {
		if (!c->items[i].device)
			continue;
		return c->items[i].to == DEVICE_SERVE  ? "served_request"
		       : c->items[i].to == DEVICE_FILL ? "hash_rate"
						       : "watts";
	}
	return "";
}

static int add_phase(struct arena *a, Hcp__SwitchDone *done, const char *name, int64_t ns)
{
	Hcp__PhaseTime *p = arena_alloc(a, sizeof(*p));
	if (!p)
		return HCP_ENOMEM;
	hcp__phase_time__init(p);
	p->phase = name;
	p->duration_ns = ns > 0 ? ns : 0;
	return pb_push(a, &done->n_phases, &done->phases, p);
}

/* Ours around the agent's: validate is decision to order, commit is report to proof. */
static int fill_phases(struct svc_ctx *ctx, const struct command *c, const Hcp__SwitchReport *rep,
		       Hcp__SwitchDone *done)
{
	struct arena *a = svc_arena(ctx);
	int rc = add_phase(a, done, "validate", c->decided_at_ns ? c->issued_at_ns - c->decided_at_ns : 0);
	for (size_t i = 0; rep && rc == 0 && i < rep->n_phases; i++)
		if (strcmp(rep->phases[i]->phase, "validate") && strcmp(rep->phases[i]->phase, "commit"))
			rc = add_phase(a, done, rep->phases[i]->phase, rep->phases[i]->duration_ns);
	return rc < 0 ? rc : add_phase(a, done, "commit", c->reported_at_ns ? svc_now_ns(ctx) - c->reported_at_ns : 0);
}

static int say_done(struct resources *r, struct svc_ctx *ctx, const struct command *c, bool ok, const char *error,
		    struct err *err)
{
	Hcp__SwitchDone done = HCP__SWITCH_DONE__INIT;
	const Hcp__SwitchReport *rep = c->report.n ? (void *)pb_unpack_arena(&hcp__switch_report__descriptor,
									     buf_str(&c->report), svc_arena(ctx))
						   : NULL;
	done.switch_id = c->id;
	done.decision_id = c->decision_id;
	done.node_id = c->node->id;
	done.ok = ok;
	done.error = error;
	done.rolled_back = rep && rep->rolled_back;
	done.done_at_ns = svc_now_ns(ctx);
	done.total_ns = done.done_at_ns - c->issued_at_ns;
	done.signal_at_ns = c->signal_at_ns;
	done.served_at_ns = rep ? rep->served_at_ns : 0;
	done.evidence = ok ? (rep && rep->evidence[0] ? rep->evidence : evidence_of(c)) : "";
	done.allocation_id = c->alloc ? c->alloc->id : "";
	for (size_t i = 0; i < c->n; i++) {
		if (!c->items[i].device)
			continue;
		if (done.devices++ == 0)
			done.to = wire_mode(c->items[i].to);
	}
	if (fill_phases(ctx, c, rep, &done) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	struct str body;
	if (pb_pack_arena(&done.base, svc_arena(ctx), &body) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int rc = db_run(svc_db(ctx), err, "INSERT INTO switch(no,body) VALUES($1,$2)", "ib", r->next_switch_no, body);
	if (rc == 0 && r->next_switch_no % RESOURCES_PRUNE_SWITCHES == 0)
		rc = db_run(svc_db(ctx), err, "DELETE FROM switch WHERE no<=$1", "i",
			    r->next_switch_no - RESOURCES_KEEP_SWITCHES);
	r->next_switch_no++;
	return rc < 0 ? rc : svc_publish_packed(ctx, c->id, MSG_SWITCH_DONE, body);
}

static void take_out(struct resources *r, struct command *c)
{
	(void)map_del(&r->command_by_id, str_of(c->id));
	list_del(&c->link);
	list_del(&c->of_node);
	for (size_t i = 0; i < c->n; i++)
		if (c->items[i].device)
			c->items[i].device->command = NULL;
	if (c->alloc)
		c->alloc->commands--;
}

static int64_t backoff_ns(const struct device *d)
{
	int64_t ms = 1000;
	for (int i = 0; i < d->fails && ms < RESOURCES_RETRY_MAX_MS; i++)
		ms *= 2;
	return ms * NS_PER_MS;
}

static int item_done(struct resources *r, struct svc_ctx *ctx, struct device *d, struct err *err)
{
	d->resync = d->again;
	d->again = false;
	if (device_is_shared(d)) /* it may have to be told more, or another part waits for its turn */
		node_want_work(r, d->node);
	d->fails = 0;
	d->retry_at_ns = 0;
	device_settled(r, d);
	device_mark(r, d);
	if (d->state != DEVICE_ST_DRAINING)
		return 0;
	if (d->ticket)
		return device_event(r, d, DEVICE_EV_MAINTAIN, WHY_DEGRADED, svc_now_ns(ctx), err);
	return device_event(r, d, DEVICE_EV_RELEASE, WHY_NONE, svc_now_ns(ctx), err);
}

static void item_failed(struct resources *r, struct svc_ctx *ctx, struct item *it, bool rolled_back, enum why why)
{
	struct device *d = it->device;
	/* transit_w stays: until readings prove it, the device may draw as much as in either mode. */
	if (rolled_back)
		device_command(&d->ctl, it->from, it->from_w, svc_now_ns(ctx));
	d->ctl.drifted |= !it->proved || rolled_back;
	d->resync = true;
	d->again = false;
	if (d->fails < UINT8_MAX)
		d->fails++;
	d->retry_at_ns = svc_now_ns(ctx) + backoff_ns(d);
	if (d->state != DEVICE_ST_FAILED) /* why is what brings it back */
		d->why = why;
	d->changed_at_ns = svc_now_ns(ctx);
	device_reserve(d);
	device_mark(r, d);
	node_want_work(r, d->node);
}

static int finish(struct resources *r, struct svc_ctx *ctx, struct command *c, bool ok, enum why why, const char *error,
		  struct err *err)
{
	struct alloc *a = c->alloc;
	const Hcp__SwitchReport *rep = c->report.n ? (void *)pb_unpack_arena(&hcp__switch_report__descriptor,
									     buf_str(&c->report), svc_arena(ctx))
						   : NULL;
	const char *reason = arena_strdup(svc_arena(ctx), error);
	if (!reason)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int rc = say_done(r, ctx, c, ok, reason, err);
	take_out(r, c);
	if (ok)
		breaker_success(&c->node->breaker);
	else
		breaker_failure(&c->node->breaker, svc_now_ns(ctx));
	for (size_t i = 0; i < c->n && rc == 0; i++) {
		if (!c->items[i].device)
			continue;
		if (ok || (c->items[i].proved && !c->needs_report))
			rc = item_done(r, ctx, c->items[i].device, err);
		else
			item_failed(r, ctx, &c->items[i], rep && rep->rolled_back, why);
	}
	if (rc == 0)
		rc = db_run(svc_db(ctx), err, "DELETE FROM command WHERE id=$1", "z", c->id);
	if (rc == 0 && a && ok)
		rc = alloc_switched(r, ctx, a, c->id, err);
	else if (rc == 0 && a)
		rc = alloc_end(r, ctx, a, ALLOCATION_EV_LOSE, reason, err);
	command_free(c);
	return rc;
}

/* Not a failure of the node: somebody wants something else now. */
static int cancel(struct resources *r, struct svc_ctx *ctx, struct command *c, const char *why, struct err *err)
{
	int rc = say_done(r, ctx, c, false, why, err);
	take_out(r, c);
	for (size_t i = 0; i < c->n; i++) {
		if (!c->items[i].device)
			continue;
		c->items[i].device->resync = true;
		c->items[i].device->again = false;
		device_mark(r, c->items[i].device);
		node_want_work(r, c->node);
	}
	/* A trial that ends without an answer must not leave the circuit half open for ever. */
	if (c->node->breaker.state == BREAKER_HALF_OPEN)
		breaker_failure(&c->node->breaker, svc_now_ns(ctx));
	if (rc == 0)
		rc = db_run(svc_db(ctx), err, "DELETE FROM command WHERE id=$1", "z", c->id);
	command_free(c);
	return rc;
}

int command_drop_device(struct resources *r, struct svc_ctx *ctx, struct device *d, struct err *err)
{
	struct command *c = d->command;
	size_t left = 0;
	for (size_t i = 0; i < c->n; i++)
		left += c->items[i].device != NULL;
	if (left == 1)
		return cancel(r, ctx, c, "superseded by a later wish", err);
	struct item *it = &c->items[d->item];
	if (!it->proved)
		c->unproved--;
	it->device = NULL;
	d->command = NULL;
	d->resync = true;
	d->again = false;
	if (list_empty(&c->unsaved))
		list_add_tail(&r->commands_unsaved, &c->unsaved);
	return 0;
}

int commands_flush(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	struct list *l;
	int rc = 0;
	while (rc == 0 && (l = list_pop(&r->commands_unsaved))) {
		Hcp__SwitchCommand body;
		rc = store(r, ctx, list_entry(l, struct command, unsaved), &body, err);
	}
	return rc;
}

int commands_cancel_alloc(struct resources *r, struct svc_ctx *ctx, struct alloc *a, const char *why, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; i < a->n && rc == 0; i++)
		if (a->devices[i]->command && a->devices[i]->command->alloc == a)
			rc = cancel(r, ctx, a->devices[i]->command, why, err);
	return rc;
}

int commands_cancel_node(struct resources *r, struct svc_ctx *ctx, struct node *n, const char *why, struct err *err)
{
	int rc = 0;
	list_each_safe(l, tmp, &n->commands)
		if (rc == 0)
			rc = cancel(r, ctx, list_entry(l, struct command, of_node), why, err);
	return rc;
}

/* ---- progress ---- */

void command_proved(struct device *d)
{
	struct command *c = d->command;
	if (!c || c->items[d->item].proved)
		return;
	c->items[d->item].proved = true;
	c->unproved--;
}

/* A machine that boots for a minute need not hear it thirty times. */
static int64_t resend_at(const struct command *c)
{
	return c->sent_at_ns + ((RESOURCES_RESEND_MS * NS_PER_MS) << (c->sends ? c->sends - 1 : 0));
}

/* When time alone has something to say about it. */
static int64_t due_at(const struct command *c)
{
	int64_t at_ns = c->reported_at_ns ? c->reported_at_ns + RESOURCES_VERIFY_MS * NS_PER_MS : resend_at(c);
	int64_t gathered_ns = c->proved_at_ns + RESOURCES_GATHER_MS * NS_PER_MS;
	if (c->proved_at_ns && !c->needs_report && !c->reported_at_ns && gathered_ns < at_ns)
		at_ns = gathered_ns;
	return at_ns < c->deadline_ns ? at_ns : c->deadline_ns;
}

static int check(struct resources *r, struct svc_ctx *ctx, struct command *c, bool *ret_ended, struct err *err)
{
	int64_t now = svc_now_ns(ctx);
	*ret_ended = true;
	if (c->unproved == 0 && !c->proved_at_ns)
		c->proved_at_ns = now;
	/* A lost report costs its phase times only, where the readings can prove it all. */
	bool enough = c->reported_at_ns ||
		      (!c->needs_report && now >= c->proved_at_ns + RESOURCES_GATHER_MS * NS_PER_MS);
	if (c->unproved == 0 && enough)
		return finish(r, ctx, c, true, WHY_NONE, "", err);
	if (c->reported_at_ns && now >= c->reported_at_ns + RESOURCES_VERIFY_MS * NS_PER_MS)
		return finish(r, ctx, c, false, WHY_DEADLINE, "reported as done, but readings do not prove it", err);
	if (now >= c->deadline_ns)
		return finish(r, ctx, c, false, WHY_DEADLINE, "not proved before the deadline", err);
	*ret_ended = false;
	return 0;
}

static int look(struct resources *r, struct svc_ctx *ctx, struct command *c, bool *ret_ended, struct err *err)
{
	int rc = check(r, ctx, c, ret_ended, err);
	if (rc == 0 && !*ret_ended)
		due(r, ctx, due_at(c));
	return rc;
}

/* The end of one that an allocation waits for may end others of that allocation: the walk must start again. */
static int walk(struct resources *r, struct svc_ctx *ctx, struct node *n,
		int (*fn)(struct resources *, struct svc_ctx *, struct command *, bool *, struct err *),
		struct err *err)
{
	bool again = true;
	int rc = 0;
	while (again && rc == 0) {
		again = false;
		list_each_safe(l, tmp, n ? &n->commands : &r->commands) {
			struct command *c =
				n ? list_entry(l, struct command, of_node) : list_entry(l, struct command, link);
			bool ended, gang = c->alloc != NULL;
			rc = fn(r, ctx, c, &ended, err);
			again = rc == 0 && ended && gang;
			if (rc < 0 || again)
				break;
		}
	}
	return rc;
}

int commands_of_node(struct resources *r, struct svc_ctx *ctx, struct node *n, struct err *err)
{
	return walk(r, ctx, n, look, err);
}

int command_take_report(struct resources *r, struct svc_ctx *ctx, struct command *c, const Hcp__SwitchReport *rep,
			struct err *err)
{
	Hcp__SwitchReport kept = *rep;
	Hcp__SwitchCommand body;
	bool ended;
	if (c->reported_at_ns)
		return commands_of_node(r, ctx, c->node, err);
	kept.n_readings = 0;
	kept.readings = NULL;
	if (pb_pack(&kept.base, &c->report) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	c->reported_at_ns = svc_now_ns(ctx);
	for (size_t i = 0; i < c->n; i++)
		if (c->items[i].device)
			c->items[i].device->ctl.acked = true;
	if (!rep->ok)
		return finish(r, ctx, c, false, WHY_AGENT_REFUSED,
			      rep->error[0] ? rep->error : "the agent could not switch", err);
	int rc = look(r, ctx, c, &ended, err);
	if (rc < 0 || ended)
		return rc;
	return store(r, ctx, c, &body, err);
}

static int resend(struct svc_ctx *ctx, struct command *c)
{
	Hcp__SwitchCommand body;
	struct str froms;
	if (build(ctx, c, &body, &froms) < 0)
		return HCP_ENOMEM;
	return send_to_agent(ctx, c, &body);
}

static int tick(struct resources *r, struct svc_ctx *ctx, struct command *c, bool *ret_ended, struct err *err)
{
	int rc = check(r, ctx, c, ret_ended, err);
	if (rc < 0 || *ret_ended)
		return rc;
	if (!c->reported_at_ns && svc_now_ns(ctx) >= resend_at(c))
		rc = resend(ctx, c);
	due(r, ctx, due_at(c));
	return rc;
}

int commands_timer(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	if (svc_now_ns(ctx) < r->commands_due_ns)
		return 0;
	r->commands_due_ns = INT64_MAX;
	return walk(r, ctx, NULL, tick, err);
}
