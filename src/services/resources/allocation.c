/* A workload's hold on devices: all of them or none. */
#include <stdio.h>
#include <stdlib.h>

#include "services/resources/resources_priv.h"

enum device_mode alloc_mode(const struct alloc *a)
{
	return a->type == HCP__WORKLOAD_TYPE__BITCOIN_MINING ? DEVICE_FILL : DEVICE_SERVE;
}

bool device_is_shared(const struct device *d)
{
	return d->alloc && d->alloc->part.milli;
}

bool alloc_is_told(const struct alloc *a)
{
	return a->state != ALLOCATION_RESERVED;
}

void alloc_share(const struct alloc *a, Hcp__DeviceShare *out)
{
	const char *name = mig_name(a->devices[0]->group->cls, (enum mig_geometry)a->part.mig);
	hcp__device_share__init(out);
	out->milli = a->part.milli;
	out->mig_profile = name ? name : "";
	out->mig_start = a->part.start;
	out->allocation_id = a->id;
	out->workload_id = a->workload_id;
	out->customer_id = a->customer_id;
	out->model = a->model;
}

static void count(struct device *d, int32_t more)
{
	if (d->alloc)
		*(d->held == DEVICE_FILL ? &d->group->mining : &d->group->serving) += more;
}

/* Whole devices, or one that it joins after those that have parts of it already. */
static void join(struct device *d, struct alloc *a)
{
	struct alloc **at = &d->alloc;
	count(d, -1);
	while (*at)
		at = &(*at)->beside;
	*at = a;
	d->held = alloc_mode(d->alloc);
	count(d, 1);
	d->parts_no += a->part.milli != 0;
}

static void leave(struct device *d, struct alloc *a)
{
	struct alloc **at = &d->alloc;
	count(d, -1);
	while (*at != a)
		at = &(*at)->beside;
	*at = a->beside;
	a->beside = NULL;
	if (d->alloc)
		d->held = alloc_mode(d->alloc);
	count(d, 1);
	d->parts_no += a->part.milli != 0;
}

/* HCP_ECONFLICT: others have what it wants of the device. */
static int check_room(const struct device *d, const struct slice *more, struct err *err)
{
	struct slice have[SLICES_MAX];
	size_t n = 0;
	for (const struct alloc *a = d->alloc; a && n < SLICES_MAX; a = a->beside)
		have[n++] = a->part;
	return slice_fits(have, n, more, err);
}

void alloc_free(struct alloc *a)
{
	if (!a)
		return;
	mem_free(a->program);
	mem_free(a->devices);
	mem_free(a);
}

static struct alloc *alloc_new(size_t n)
{
	struct alloc *a = mem_calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	list_init(&a->link);
	list_init(&a->waits);
	a->devices = mem_calloc(n ? n : 1, sizeof(struct device *));
	if (!a->devices) {
		alloc_free(a);
		return NULL;
	}
	return a;
}

/* ---- telling and storing ---- */

/* A device of it that hangs there. */
static const char *below(const struct alloc *a, const struct power *p)
{
	for (size_t i = 0; i < a->n; i++)
		for (const struct power *q = device_power(a->devices[i]); q; q = q->up)
			if (q == p)
				return a->devices[i]->id;
	return "";
}

static int fill(struct svc_ctx *ctx, const struct alloc *a, Hcp__AllocationState s, const char *reason,
		Hcp__AllocationChanged *ev)
{
	hcp__allocation_changed__init(ev);
	ev->allocation_id = a->id;
	ev->workload_id = a->workload_id;
	ev->customer_id = a->customer_id;
	ev->state = s;
	ev->at_ns = svc_now_ns(ctx);
	ev->price_micros_h = a->price_micros_h;
	ev->reason = reason;
	ev->type = a->type;
	ev->switch_id = a->switch_id;
	ev->preempted_by = a->preempted_by;
	ev->device_class = a->n ? a->devices[0]->group->cls->name : "";
	ev->node_id = a->n ? a->devices[0]->node->id : "";
	ev->device_ids = arena_alloc(svc_arena(ctx), (a->n + 1) * sizeof(*ev->device_ids));
	ev->share = a->part.milli && a->n ? arena_alloc(svc_arena(ctx), sizeof(*ev->share)) : NULL;
	if (!ev->device_ids || (a->part.milli && a->n && !ev->share))
		return HCP_ENOMEM;
	if (ev->share)
		alloc_share(a, ev->share);
	for (size_t i = 0; i < a->n; i++) {
		ev->device_ids[i] = a->devices[i]->id;
		if (a->devices[i]->node != a->devices[0]->node)
			ev->node_id = "";
	}
	ev->n_device_ids = a->n;
	/* Elsewhere in the facility there may be power: the next placement looks there. */
	if (s == HCP__ALLOCATION_STATE__REFUSED && a->short_of && a->short_of->up)
		ev->unfit_device_id = below(a, a->short_of);
	/* Another node may be able to read what this one could not. */
	if (s == HCP__ALLOCATION_STATE__REFUSED && a->program && a->n && a->begun) {
		ev->unfit_device_id = a->devices[0]->id;
		ev->tried = true;
	}
	return 0;
}

/* Stored and told: the same bytes. */
static int store_and_say(struct svc_ctx *ctx, struct alloc *a, const Hcp__AllocationChanged *ev, bool ended,
	struct err *err)
{
	struct str body, program = STR("");
	Hcp__ProgramOrder order = HCP__PROGRAM_ORDER__INIT;
	if (a->program) {
		order.name = a->program->name;
		order.deadline_ns = a->program->deadline_ns;
	}
	if (pb_pack_arena(&ev->base, svc_arena(ctx), &body) < 0 ||
		(a->program && pb_pack_arena(&order.base, svc_arena(ctx), &program) < 0))
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int64_t ended_ns = ended ? svc_now_ns(ctx) : 0;
	int rc;
	if (!a->stored)
		rc = db_run(svc_db(ctx), err,
			"INSERT INTO allocation(id,state,ended_ns,expires_ns,model,body,program) VALUES($1,$2,$3,$4,$5,$6,$7)",
			"ziiizbb", a->id, (int64_t)a->state, ended_ns, a->expires_ns, a->model, body, program);
	else if (ended)
		rc = db_run(svc_db(ctx), err, "UPDATE allocation SET state=$2, ended_ns=$3, body=$4 WHERE id=$1", "ziib", a->id,
			(int64_t)a->state, ended_ns, body);
	else /* the index of ended_ns is left alone */
		rc = db_run(svc_db(ctx), err, "UPDATE allocation SET state=$2, body=$3 WHERE id=$1", "zib", a->id,
			(int64_t)a->state, body);
	a->stored = true;
	return rc < 0 ? rc : svc_publish_packed(ctx, a->id, MSG_ALLOCATION_CHANGED, body);
}

static int announce(struct resources *r, struct svc_ctx *ctx, struct alloc *a, Hcp__AllocationState s,
		    const char *reason, struct err *err)
{
	Hcp__AllocationChanged ev;
	bool ended = s == HCP__ALLOCATION_STATE__RELEASED || s == HCP__ALLOCATION_STATE__REFUSED;
	if (fill(ctx, a, s, reason, &ev) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	return store_and_say(ctx, a, &ev, ended, err);
}

/* Its part, and what it leaves alone: whole devices have one owner, parts fit beside one another. */
static int load_part(struct alloc *a, const Hcp__AllocationChanged *ev)
{
	const Hcp__DeviceShare *x = ev->share;
	for (size_t i = 0; i < a->n; i++)
		if (a->devices[i]->alloc && !(x && device_is_shared(a->devices[i])))
			return HCP_ECORRUPT;
	if (!x)
		return 0;
	if (a->n != 1 ||
		slice_make(a->devices[0]->group->cls, x->milli, str_of(x->mig_profile), x->mig_start, &a->part, NULL) < 0)
		return HCP_ECORRUPT;
	return check_room(a->devices[0], &a->part, NULL) < 0 ? HCP_ECORRUPT : 0;
}

/* "": it runs none. */
static int set_program(struct alloc *a, const char *name, int64_t deadline_ns)
{
	if (!name[0])
		return 0;
	a->program = mem_calloc(1, sizeof(*a->program));
	if (!a->program)
		return HCP_ENOMEM;
	a->program->deadline_ns = deadline_ns;
	return str_copy(a->program->name, sizeof(a->program->name), str_of(name));
}

int alloc_load(struct resources *r, struct str id, struct str model, int64_t expires_ns, struct str packed,
	enum allocation_state state, struct str program)
{
	struct arena arena;
	arena_init(&arena, 4096, 0);
	const Hcp__AllocationChanged *ev =
		(void *)pb_unpack_arena(&hcp__allocation_changed__descriptor, packed, &arena);
	const Hcp__ProgramOrder *order = (void *)pb_unpack_arena(&hcp__program_order__descriptor, program, &arena);
	struct alloc *a = ev && order ? alloc_new(ev->n_device_ids) : NULL;
	int rc = !ev || !order ? HCP_ECORRUPT : !a ? HCP_ENOMEM : set_program(a, order->name, order->deadline_ns);
	if (rc == 0 && (str_copy(a->id, sizeof(a->id), id) < 0 || str_copy(a->model, sizeof(a->model), model) < 0 ||
					   str_copy(a->workload_id, sizeof(a->workload_id), str_of(ev->workload_id)) < 0 ||
					   str_copy(a->customer_id, sizeof(a->customer_id), str_of(ev->customer_id)) < 0 ||
					   str_copy(a->switch_id, sizeof(a->switch_id), str_of(ev->switch_id)) < 0))
		rc = HCP_ECORRUPT;
	if (rc == 0) {
		a->state = state;
		a->begun = alloc_is_told(a);
		a->stored = true;
		a->type = ev->type;
		a->price_micros_h = ev->price_micros_h;
		a->at_ns = ev->at_ns;
		a->expires_ns = expires_ns;
	}
	for (size_t i = 0; rc == 0 && i < ev->n_device_ids; i++) {
		struct device *d = map_get(&r->devices, str_of(ev->device_ids[i]));
		if (!d)
			rc = HCP_ECORRUPT;
		else
			a->devices[a->n++] = d;
	}
	if (rc == 0)
		rc = load_part(a, ev);
	if (rc == 0)
		rc = map_put(&r->alloc_by_id, str_of(a->id), a, NULL);
	if (rc == 0) {
		list_add_tail(&r->allocs, &a->link);
		if (state == ALLOCATION_RESERVED)
			list_add_tail(&r->waiting, &a->waits);
		for (size_t i = 0; i < a->n; i++)
			join(a->devices[i], a);
	} else {
		alloc_free(a);
	}
	arena_release(&arena);
	return rc;
}

/* ---- the life of one ---- */

static int move(struct alloc *a, enum allocation_event e, struct err *err)
{
	enum allocation_state next;
	if (allocation_next(a->state, e, &next, NULL) < 0)
		return err_set(err, HCP_EINTERNAL, a->id, "event %s in state %s", allocation_event_name(e),
			       allocation_state_name(a->state));
	a->state = next;
	return 0;
}

int alloc_end(struct resources *r, struct svc_ctx *ctx, struct alloc *a, enum allocation_event e, const char *reason,
	      struct err *err)
{
	bool held = a->state == ALLOCATION_RUNNING, told = alloc_is_told(a);
	int rc = move(a, e, err);
	if (rc == 0)
		rc = commands_cancel_alloc(r, ctx, a, reason, err);
	if (rc == 0)
		rc = announce(r, ctx, a, held || e == ALLOCATION_EV_RELEASE ? HCP__ALLOCATION_STATE__RELEASED :
			      HCP__ALLOCATION_STATE__REFUSED, reason, err);
	if (rc == 0 && told)
		rc = ghost_add(r, ctx, a, err);
	for (size_t i = 0; i < a->n && rc == 0; i++) {
		struct device *d = a->devices[i];
		leave(d, a);
		device_mark(r, d);
		if (d->alloc) { /* others stay: the device goes on, and is told that this part is nobody's */
			*(d->command ? &d->again : &d->resync) |= told;
			node_want_work(r, d->node);
			continue;
		}
		d->resync = true;
		d->retry_at_ns = 0;
		if (d->state == DEVICE_ST_ACTIVE)
			rc = device_event(r, d, DEVICE_EV_DRAIN, WHY_NONE, svc_now_ns(ctx), err);
		else if (d->state == DEVICE_ST_ALLOCATING)
			rc = device_event(r, d, DEVICE_EV_ABORT, WHY_NONE, svc_now_ns(ctx), err);
		plan_want(r, d->group->facility);
		node_want_work(r, d->node);
	}
	(void)map_del(&r->alloc_by_id, str_of(a->id));
	list_del(&a->link);
	list_del(&a->waits);
	alloc_free(a);
	return rc;
}

int device_end_allocs(struct resources *r, struct svc_ctx *ctx, struct device *d, const char *reason, struct err *err)
{
	int rc = 0;
	while (rc == 0 && d->alloc)
		rc = alloc_end(r, ctx, d->alloc, ALLOCATION_EV_LOSE, reason, err);
	return rc;
}

int allocs_end_all(struct resources *r, struct svc_ctx *ctx, struct node *n, const char *reason, struct err *err)
{
	int rc = 0;
	if (!n) {
		while (rc == 0 && !list_empty(&r->allocs))
			rc = alloc_end(r, ctx, list_entry(r->allocs.next, struct alloc, link), ALLOCATION_EV_LOSE,
				       reason, err);
		return rc;
	}
	for (size_t i = 0; i < n->n_devices && rc == 0; i++)
		rc = device_end_allocs(r, ctx, n->devices[i], reason, err);
	return rc;
}

static int by_node(const void *x, const void *y)
{
	const struct item *a = x, *b = y;
	if (a->device->node != b->device->node)
		return a->device->node->number < b->device->node->number ? -1 : 1;
	return a->device->index < b->device->index ? -1 : 1;
}

/* Every level above has the watts that its devices need more than they may draw now. */
static bool has_power(struct resources *r, struct alloc *a)
{
	a->short_of = NULL;
	for (size_t i = 0; i < a->n; i++)
		power_promise_none(device_power(a->devices[i]));
	for (size_t i = 0; i < a->n && !a->short_of; i++) {
		struct device *d = a->devices[i];
		a->short_of = power_promise(r, device_power(d), device_mode_w(d, alloc_mode(a)) - d->reserve_w);
	}
	return !a->short_of;
}

/* A device has one switch at a time: a part waits until that of another part is over. And a workload runs once. */
static bool waits_for_turn(const struct resources *r, const struct alloc *a)
{
	return (a->part.milli && a->devices[0]->command) || (a->program && ghost_haunts(r, a));
}

/* Commands to all its nodes, once there is power for all; until then it is among those that wait. */
static int start(struct resources *r, struct svc_ctx *ctx, struct alloc *a, struct err *err)
{
	bool later = waits_for_turn(r, a);
	if (later)
		a->expires_ns = svc_now_ns(ctx) + ALLOCATION_RESERVE_NS; /* that switch has a deadline of its own */
	if (later || !has_power(r, a)) {
		if (list_empty(&a->waits))
			list_add_tail(&r->waiting, &a->waits);
		return 0;
	}
	list_del(&a->waits);
	struct item *items = arena_alloc(svc_arena(ctx), (a->n + 1) * sizeof(*items));
	if (!items)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	for (size_t i = 0; i < a->n; i++)
		items[i] = (struct item){ .device = a->devices[i], .to = alloc_mode(a) };
	qsort(items, a->n, sizeof(*items), by_node);
	int rc = move(a, ALLOCATION_EV_COMMIT, err);
	a->begun = true;
	for (size_t i = 0, end; i < a->n && rc == 0; i = end) {
		for (end = i + 1; end < a->n && items[end].device->node == items[i].device->node; end++)
			;
		/* A circuit that may close again takes this as its trial. */
		(void)breaker_allow(&items[i].device->node->breaker, svc_now_ns(ctx));
		rc = command_issue(r, ctx, items[i].device->node, a, items + i, end - i, err);
	}
	return rc < 0 ? rc : announce(r, ctx, a, HCP__ALLOCATION_STATE__SWITCHING, "", err);
}

int alloc_switched(struct resources *r, struct svc_ctx *ctx, struct alloc *a, const char *switch_id, struct err *err)
{
	if (a->commands)
		return 0;
	memcpy(a->switch_id, switch_id, strlen(switch_id) + 1);
	int rc = move(a, ALLOCATION_EV_START, err);
	for (size_t i = 0; i < a->n && rc == 0; i++)
		if (a->devices[i]->state == DEVICE_ST_ALLOCATING)
			rc = device_event(r, a->devices[i], DEVICE_EV_START, WHY_NONE, svc_now_ns(ctx), err);
	return rc < 0 ? rc : announce(r, ctx, a, HCP__ALLOCATION_STATE__HELD, "", err);
}

/* ---- the router's orders ---- */

/* Why the order can never be carried out with this device; NULL: it can. */
static const char *mistaken(const struct alloc *a, const struct device *d)
{
	if (d->alloc == a)
		return "is named twice";
	if (a->part.milli && d->group->cls->kind != DEVICE_GPU)
		return "cannot be shared";
	if (d->group->cls->kind == DEVICE_ASIC && alloc_mode(a) != DEVICE_FILL)
		return "can only mine";
	if (a->program && (a->n || a->part.milli || alloc_mode(a) != DEVICE_SERVE))
		return "is not all that its program may have: one whole device";
	if (a->n && a->devices[0]->group->cls != d->group->cls)
		return "is of another class than the others";
	return NULL;
}

/* Why this device cannot be had now, which the router could not know; NULL if it can. The text may stand in *err. */
static const char *unfit(struct svc_ctx *ctx, const struct alloc *a, const struct device *d, struct err *err)
{
	const struct breaker *b = &d->node->breaker;
	if (!d->node->connected)
		return "its node is not connected";
	if (a->program && !node_has_program(d->node, a->program->name)) {
		(void)err_set(err, HCP_ENOTFOUND, "program", "its node allows no program %.64s", a->program->name);
		return err->text;
	}
	bool shared = a->part.milli && device_is_shared(d);
	if (d->alloc && !shared)
		return "is taken";
	if (shared && check_room(d, &a->part, err) < 0)
		return err->text;
	bool ready =
		d->state == DEVICE_ST_IDLE || (shared && (d->state == DEVICE_ST_ACTIVE || d->state == DEVICE_ST_ALLOCATING));
	if (!ready || (shared && d->ticket))
		return d->ticket ? "is sick" : device_state_name(d->state);
	if (d->ctl.drifted)
		return "drifted: not in the mode it was told";
	if (b->state == BREAKER_HALF_OPEN || (b->state == BREAKER_OPEN && svc_now_ns(ctx) < b->open_until_ns))
		return "its node failed too often, its circuit is open";
	return NULL;
}

static int refuse(struct resources *r, struct svc_ctx *ctx, struct alloc *a, const Hcp__Place *p, const char *reason,
	const char *unfit_id, struct err *err)
{
	Hcp__AllocationChanged ev;
	for (size_t i = 0; i < a->n; i++)
		leave(a->devices[i], a);
	a->n = 0;
	a->state = ALLOCATION_EXPIRED;
	int rc = fill(ctx, a, HCP__ALLOCATION_STATE__REFUSED, reason, &ev);
	ev.device_ids = p->device_ids;
	ev.n_device_ids = p->n_device_ids;
	ev.unfit_device_id = unfit_id;
	return rc < 0 ? rc : store_and_say(ctx, a, &ev, true, err);
}

static int check_place(const Hcp__Place *p, struct err *err)
{
	if (!p->allocation_id[0] || strlen(p->allocation_id) >= ID_TEXT_MAX)
		return err_set(err, HCP_EINVAL, "allocation_id", "missing, or longer than an id");
	if (!p->workload || !p->workload->id[0] || strlen(p->workload->id) >= ID_TEXT_MAX)
		return err_set(err, HCP_EINVAL, "workload", "missing, or its id is longer than an id");
	if (strlen(p->workload->customer_id) >= NAME_MAX_LEN)
		return err_set(err, HCP_EINVAL, "workload.customer_id", "longer than %d characters", NAME_MAX_LEN - 1);
	if (strlen(p->workload->program) >= PROGRAM_NAME_MAX)
		return err_set(err, HCP_EINVAL, "workload.program", "longer than %d characters", PROGRAM_NAME_MAX - 1);
	if (strlen(p->workload->model) >= NAME_MAX_LEN)
		return err_set(err, HCP_EINVAL, "workload.model", "longer than %d characters", NAME_MAX_LEN - 1);
	if (p->n_device_ids == 0 || p->n_device_ids > ALLOCATION_DEVICES_MAX)
		return err_set(err, HCP_ERANGE, "device_ids", "must be 1 to %d, are %zu", ALLOCATION_DEVICES_MAX,
			       p->n_device_ids);
	if (p->share && p->n_device_ids != 1)
		return err_set(err, HCP_EINVAL, "share", "is of one device, not of %zu", p->n_device_ids);
	return 0;
}

/* 1: this allocation was placed, refused or ended before. */
static int seen_before(struct resources *r, struct svc_ctx *ctx, const char *id, struct err *err)
{
	struct db_row *row;
	if (map_get(&r->alloc_by_id, str_of(id)))
		return 1;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT 1 FROM allocation WHERE id=$1", "z", id);
	if (rc == 1)
		db_done(row);
	return rc;
}

static int reserve(struct resources *r, struct svc_ctx *ctx, struct alloc *a, struct err *err)
{
	int64_t now = svc_now_ns(ctx);
	int rc = money_from_usd(a->devices[0]->group->cls->list_usd_h, &a->price_micros_h);
	if (rc == 0)
		rc = map_put(&r->alloc_by_id, str_of(a->id), a, NULL);
	if (rc < 0) {
		alloc_free(a);
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	list_add_tail(&r->allocs, &a->link);
	for (size_t i = 0; i < a->n && rc == 0; i++) {
		struct device *d = a->devices[i];
		device_mark(r, d);
		if (d->state != DEVICE_ST_IDLE)
			continue; /* it joins others */
		rc = device_event(r, d, DEVICE_EV_ASSIGN, WHY_NONE, now, err);
		if (rc == 0 && d->command)
			rc = command_drop_device(r, ctx, d, err);
		device_set_desired(r, d, alloc_mode(a), 0);
		plan_want(r, d->group->facility);
	}
	if (rc == 0)
		rc = start(r, ctx, a, err);
	/* One that starts at once says that; one that waits says so. */
	return rc < 0 || a->state != ALLOCATION_RESERVED
			   ? rc
			   : announce(r, ctx, a, HCP__ALLOCATION_STATE__RESERVED, "", err);
}

/* *ret_unfit: the device that another placement would not name, knowing what we know. */
static int find_devices(struct resources *r, struct svc_ctx *ctx, const Hcp__Place *p, struct alloc *a,
	char reason[REASON_MAX], const char **ret_unfit)
{
	if (r->emergency) {
		snprintf(reason, REASON_MAX, "the platform is in emergency stop");
		return HCP_ESTATE;
	}
	for (size_t i = 0; i < p->n_device_ids; i++) {
		struct err err = { 0 };
		struct device *d = map_get(&r->devices, str_of(p->device_ids[i]));
		const Hcp__DeviceShare *x = d ? p->share : NULL;
		bool bad = x && slice_make(d->group->cls, x->milli, str_of(x->mig_profile), x->mig_start, &a->part, &err) < 0;
		const char *why = bad ? err.text : d ? mistaken(a, d) : NULL;
		if (!why) {
			why = d ? unfit(ctx, a, d, &err) : "is not known";
			*ret_unfit = why ? p->device_ids[i] : "";
		}
		if (why) {
			snprintf(reason, REASON_MAX, "device %.64s: %.80s", p->device_ids[i], why);
			return HCP_ESTATE;
		}
		join(d, a);
		a->devices[a->n++] = d;
	}
	const struct power *p_small = power_too_small(a->devices, a->n, alloc_mode(a));
	if (p_small) {
		snprintf(reason, REASON_MAX, "no power: so many devices at once are more than %s may draw or rise by",
			p_small->path);
		*ret_unfit = below(a, p_small);
		return HCP_ESTATE;
	}
	return 0;
}

int on_place(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__Place *p = (const Hcp__Place *)m->body;
	char reason[REASON_MAX];
	const char *unfit_id = "";
	int rc = check_place(p, err);
	if (rc == 0)
		rc = seen_before(r, ctx, p->allocation_id, err);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	struct alloc *a = alloc_new(p->n_device_ids);
	if (!a)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	must(str_copy(a->id, sizeof(a->id), str_of(p->allocation_id)) == 0 && /* check_place has measured them */
		str_copy(a->workload_id, sizeof(a->workload_id), str_of(p->workload->id)) == 0 &&
		str_copy(a->customer_id, sizeof(a->customer_id), str_of(p->workload->customer_id)) == 0 &&
		str_copy(a->model, sizeof(a->model), str_of(p->workload->model)) == 0);
	a->type = p->workload->type;
	a->at_ns = svc_now_ns(ctx);
	a->expires_ns = a->at_ns + ALLOCATION_RESERVE_NS;
	rc = set_program(a, p->workload->program, p->workload->deadline_ns);
	if (rc < 0) {
		alloc_free(a);
		return err_set(err, rc, "workload.program", "out of memory");
	}
	if (find_devices(r, ctx, p, a, reason, &unfit_id) < 0) {
		rc = refuse(r, ctx, a, p, reason, unfit_id, err);
		alloc_free(a);
		return rc;
	}
	rc = program_take_place(ctx, p->workload, err);
	if (rc < 0) {
		for (size_t i = 0; i < a->n; i++)
			leave(a->devices[i], a);
		alloc_free(a);
		return rc;
	}
	return reserve(r, ctx, a, err);
}

int on_release(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__Release *rel = (const Hcp__Release *)m->body;
	/* Unknown or over: what the router wants is so already. */
	struct alloc *a = map_get(&r->alloc_by_id, str_of(rel->allocation_id));
	if (!a)
		return 0;
	snprintf(a->preempted_by, sizeof(a->preempted_by), "%.35s", rel->preempted_by);
	int rc = alloc_end(r, ctx, a, ALLOCATION_EV_RELEASE, rel->reason[0] ? rel->reason : "released", err);
	return rc;
}

static int expire(struct resources *r, struct svc_ctx *ctx, struct alloc *a, struct err *err)
{
	char reason[REASON_MAX];
	if (!a->short_of || !a->short_of->up)
		return alloc_end(r, ctx, a, ALLOCATION_EV_EXPIRE, "no power within the facility's budget", err);
	snprintf(reason, sizeof(reason), "no power within the budget of %s", a->short_of->path);
	return alloc_end(r, ctx, a, ALLOCATION_EV_EXPIRE, reason, err);
}

int allocs_start(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	int rc = 0;
	list_each_safe(l, tmp, &r->waiting) {
		struct alloc *a = list_entry(l, struct alloc, waits);
		if (rc == 0)
			rc = start(r, ctx, a, err);
		if (rc == 0 && a->state == ALLOCATION_RESERVED && svc_now_ns(ctx) >= a->expires_ns)
			rc = expire(r, ctx, a, err);
	}
	return rc;
}

int alloc_customer(struct resources *r, struct svc_ctx *ctx, const struct node *n, const char *allocation_id,
		   const char **ret, struct err *err)
{
	struct db_row *row;
	*ret = "";
	if (!allocation_id[0])
		return 0;
	const struct alloc *a = map_get(&r->alloc_by_id, str_of(allocation_id));
	for (size_t i = 0; a && i < a->n; i++) {
		if (a->devices[i]->node == n) {
			*ret = a->customer_id;
			return 0;
		}
	}
	if (a)
		return 0;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT body FROM allocation WHERE id=$1", "z", allocation_id);
	if (rc <= 0)
		return rc;
	const Hcp__AllocationChanged *ev =
		(void *)pb_unpack_arena(&hcp__allocation_changed__descriptor, db_blob(row, 0), svc_arena(ctx));
	db_done(row);
	if (!ev)
		return err_set(err, HCP_ECORRUPT, "allocation", "allocation %.40s cannot be read", allocation_id);
	size_t len = strlen(n->id);
	/* One that was refused never was anybody's. */
	for (size_t i = 0; ev->state == HCP__ALLOCATION_STATE__RELEASED && i < ev->n_device_ids; i++)
		if (!strncmp(ev->device_ids[i], n->id, len) && ev->device_ids[i][len] == '/')
			*ret = ev->customer_id;
	return 0;
}
