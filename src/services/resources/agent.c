/* What agents say: they may repeat, reorder and lie. Readings decide, never words. */
#include <math.h>
#include <stdio.h>

#include "base/log.h"
#include "services/resources/resources_priv.h"

#define FALL_NS (5 * NS_PER_S) /* from the end of a lease until every device is in SAFE */
#define LIVED_STEP_NS (5 * NS_PER_S)
#define OVERTAKEN_NS (60 * NS_PER_S)

/* ---- leases ---- */

static void lease_rights(const struct resources *r, const struct node *n, Hcp__Lease *lease)
{
	for (size_t i = 0; i < n->n_devices && !r->emergency; i++) {
		const struct device *d = n->devices[i];
		const struct group *g = d->group;
		if (d->state == DEVICE_ST_FAILED || d->state == DEVICE_ST_MAINTENANCE)
			continue;
		lease->may_serve |= g->cls->kind != DEVICE_ASIC && (n->endpoint[0] || (g->has_target && g->serve > 0));
		lease->may_fill |= d->ctl.desired == DEVICE_FILL || (g->has_target && g->plan_mine > 0);
	}
}

/* The more nodes, the more rarely each: all together stay at so many reports a second. */
static int32_t report_ms(const struct resources *r)
{
	int32_t least = r->conf.report_ms > 0 ? r->conf.report_ms : RESOURCES_REPORT_MS;
	size_t per_s = r->conf.reports_per_s > 0 ? (size_t)r->conf.reports_per_s : RESOURCES_REPORTS_PER_S;
	size_t needed = r->nodes_connected * 1000 / per_s;
	needed = needed < RESOURCES_REPORT_MAX_MS ? needed : RESOURCES_REPORT_MAX_MS;
	return (int32_t)needed > least ? (int32_t)needed : least;
}

/* Life of a lease; also the silence after which a node is lost. */
static int64_t lease_ms(const struct resources *r)
{
	return (int64_t)report_ms(r) * RESOURCES_LEASE_MS / RESOURCES_REPORT_MS;
}

/*
 * Leases and silence are counted in time that we were there to see: a clock that jumps forward, or a process that stood
 * still, neither ends a lease that the node still holds nor makes a fleet silent. At most LIVED_STEP_NS between two
 * calls count, and the timer comes as often while someone holds a lease (agents_due).
 */
static void live(struct resources *r, int64_t now_ns)
{
	int64_t gap_ns = r->lived_at_ns ? now_ns - r->lived_at_ns : 0;
	r->lived_ns += gap_ns < 0 ? 0 : gap_ns < LIVED_STEP_NS ? gap_ns : LIVED_STEP_NS;
	r->lived_at_ns = now_ns;
}

static int send_lease(struct resources *r, struct svc_ctx *ctx, struct node *n)
{
	Hcp__AgentDown down = HCP__AGENT_DOWN__INIT;
	Hcp__Lease lease = HCP__LEASE__INIT;
	n->lease_until_ns = svc_now_ns(ctx) + lease_ms(r) * NS_PER_MS;
	n->lease_lived_ns = r->lived_ns + lease_ms(r) * NS_PER_MS;
	lease.node_id = n->id;
	lease.until_ns = n->lease_until_ns;
	lease.ttl_ms = lease_ms(r);
	lease.number = ++n->lease_number;
	lease_rights(r, n, &lease);
	down.kind_case = HCP__AGENT_DOWN__KIND_LEASE;
	down.lease = &lease;
	return svc_send_agent(ctx, n->id, &down);
}

/* over: the boot that is not taken any more; "" if its NodeHello was taken. */
static int send_welcome(const struct resources *r, struct svc_ctx *ctx, struct node *n, const char *node_id,
			const char *over)
{
	Hcp__AgentDown down = HCP__AGENT_DOWN__INIT;
	Hcp__Welcome w = HCP__WELCOME__INIT;
	w.node_id = node_id;
	w.now_ns = svc_now_ns(ctx);
	w.report_ms = report_ms(r);
	if (n)
		n->told_report_ms = w.report_ms;
	w.over_boot_id = over;
	down.kind_case = HCP__AGENT_DOWN__KIND_WELCOME;
	down.welcome = &w;
	return svc_send_agent(ctx, node_id, &down);
}

/* ---- coming and going ---- */

static void heard(struct resources *r, struct node *n, int64_t now_ns)
{
	live(r, now_ns);
	n->seen_at_ns = now_ns;
	n->seen_lived_ns = r->lived_ns;
	list_del(&n->silent);
	list_add_tail(&r->nodes_seen, &n->silent);
}

/* A miner that may be on its way from mining to another mode: its transit covers what it was told to draw. */
static bool may_mine_still(const struct device *d)
{
	return d->group->cls->kind == DEVICE_ASIC && d->ctl.confirmed_at_ns <= d->ctl.commanded_at_ns &&
		   d->transit_w > device_mode_w(d, DEVICE_IDLE);
}

/* In the mode that it was told it draws what it was told, too. */
static void draws_at_least(struct device *d, enum device_mode m)
{
	int32_t w = device_order_w(d, m, m == d->ctl.commanded ? (int32_t)d->ctl.power_target_w : 0);
	if (m == DEVICE_FILL && m != d->ctl.commanded && may_mine_still(d))
		return;
	if (w > d->transit_w) {
		d->transit_w = w;
		device_reserve(d);
	}
}

/* Back from being lost: whatever its agent runs by now, it is told anew. */
static int restore(struct resources *r, struct node *n, int64_t now_ns, struct err *err)
{
	int rc = 0;
	n->connected = true;
	r->nodes_connected++;
	for (size_t i = 0; i < n->n_devices && rc == 0; i++) {
		struct device *d = n->devices[i];
		if (d->state != DEVICE_ST_FAILED || d->why != WHY_NODE_LOST)
			continue;
		rc = device_return(r, d, now_ns, err);
	}
	if (list_empty(&n->unsaved))
		list_add_tail(&r->nodes_unsaved, &n->unsaved);
	node_want_work(r, n);
	return rc;
}

static int lose(struct resources *r, struct svc_ctx *ctx, struct node *n, const char *reason, struct err *err)
{
	if (!n->connected)
		return 0;
	n->connected = false;
	r->nodes_connected--;
	list_del(&n->silent);
	list_add_tail(&r->nodes_lost, &n->silent);
	if (list_empty(&n->unsaved))
		list_add_tail(&r->nodes_unsaved, &n->unsaved);
	int rc = allocs_end_all(r, ctx, n, reason, err);
	if (rc == 0)
		rc = commands_cancel_node(r, ctx, n, reason, err);
	for (size_t i = 0; i < n->n_devices && rc == 0; i++) {
		struct device *d = n->devices[i];
		if (d->state != DEVICE_ST_FAILED)
			rc = device_event(r, d, DEVICE_EV_FAIL, WHY_NODE_LOST, svc_now_ns(ctx), err);
		plan_want(r, d->group->facility);
	}
	return rc;
}

int on_gone(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__NodeGone *g = (const Hcp__NodeGone *)m->body;
	struct node *n = node_find(r, g->node_id);
	if (!n)
		return err_set(err, HCP_ENOTFOUND, "node_id", "there is no node %.64s", g->node_id);
	/* The end of a stream that another has replaced: late news. */
	if (g->stream && n->stream && g->stream != n->stream)
		return 0;
	int rc = lose(r, ctx, n, "node lost", err);
	return rc;
}

/* A lost node's watts stay reserved until its lease has ended and its devices have fallen to SAFE. */
static int free_power(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	int rc = 0;
	list_each_safe(l, tmp, &r->nodes_lost) {
		struct node *n = list_entry(l, struct node, silent);
		if (r->lived_ns < n->lease_lived_ns + FALL_NS)
			continue;
		list_del(l);
		for (size_t i = 0; i < n->n_devices; i++) {
			struct device *d = n->devices[i];
			d->transit_w = device_mode_w(d, DEVICE_SAFE);
			d->power_w = 0;
			d->hash_ths = 0;
			device_reserve(d);
			device_mark(r, d);
			plan_want(r, d->group->facility);
			if (rc == 0)
				rc = ghosts_lay(r, ctx, d, err);
		}
	}
	return rc;
}

/* Time to live until a node that says nothing more counts as lost. */
static int64_t silent_in_ns(const struct resources *r, const struct node *n)
{
	return n->seen_lived_ns + lease_ms(r) * NS_PER_MS - r->lived_ns;
}

int64_t agents_due(const struct resources *r)
{
	int64_t in_ns = INT64_MAX;
	if (!list_empty(&r->nodes_seen))
		in_ns = silent_in_ns(r, list_entry(r->nodes_seen.next, struct node, silent));
	list_each(l, &r->nodes_lost)
	{
		int64_t fallen_ns = list_entry(l, struct node, silent)->lease_lived_ns + FALL_NS - r->lived_ns;
		in_ns = fallen_ns < in_ns ? fallen_ns : in_ns;
	}
	if (in_ns == INT64_MAX)
		return INT64_MAX;
	return r->lived_at_ns + (in_ns < LIVED_STEP_NS ? in_ns : LIVED_STEP_NS);
}

int agents_timer(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	int64_t now = svc_now_ns(ctx);
	int rc = 0;
	if (!r->started_at_ns)
		r->started_at_ns = now;
	live(r, now);
	while (rc == 0 && !list_empty(&r->nodes_seen)) {
		struct node *n = list_entry(r->nodes_seen.next, struct node, silent);
		if (silent_in_ns(r, n) > 0)
			break;
		log_warn("resources", "node %s is lost: no report for %lld ms", n->id, (long long)lease_ms(r));
		rc = lose(r, ctx, n, "node lost", err);
	}
	return rc < 0 ? rc : free_power(r, ctx, err);
}

/* ---- boots whose counters cannot be trusted ---- */

/*
 * Within one boot counters only grow and reports are numbered upwards. An agent that came back from a saved state
 * breaks both, and what it counts from there was partly billed before. So its boot is closed: no report of it is taken
 * any more (nothing is billed twice), and it is asked, at every report, to begin a new one.
 */
#define SEQ_CLOSED ((uint64_t)INT64_MAX)

static bool is_closed(const struct node *n)
{
	return n->seq == SEQ_CLOSED;
}

static int close_boot(struct resources *r, struct svc_ctx *ctx, struct node *n, const char *why, struct err *err)
{
	log_warn("resources", "node %s: %s; boot %s is over", n->id, why, n->boot_id);
	n->seq = SEQ_CLOSED;
	int rc = send_welcome(r, ctx, NULL, n->id, n->boot_id);
	return rc < 0 ? rc : report_save(r, ctx, n, err);
}

/*
 * Is this boot closed, or the one before, or one that has told somebody before us what it counted (it made reports, but
 * is not the boot we know)? n: what we know of the node, NULL if nothing.
 */
static bool is_over(const struct node *n, const Hcp__NodeHello *h)
{
	bool known = n && !strcmp(h->boot_id, n->boot_id);
	return (n && !strcmp(h->boot_id, n->old_boot_id)) || (known ? is_closed(n) : h->reports > 0);
}

static int refuse_boot(const struct resources *r, struct svc_ctx *ctx, const Hcp__NodeHello *h)
{
	log_warn("resources", "node %s: boot %s is over; it must begin a new one", h->node_id, h->boot_id);
	return send_welcome(r, ctx, NULL, h->node_id, h->boot_id);
}

/*
 * Numbered as one that was taken long ago, but measured since we heard the last: not a late message but an agent that
 * counts anew. Late ones were measured before what has overtaken them.
 */
static bool counts_anew(const struct resources *r, const struct node *n, int64_t measured_at_ns)
{
	return measured_at_ns > n->seen_at_ns + lease_ms(r) * NS_PER_MS;
}

/* ---- hello ---- */

static int check_text(const char *s, size_t cap, bool needed, const char *field, struct err *err)
{
	if (needed && !s[0])
		return err_set(err, HCP_EINVAL, field, "missing");
	if (strlen(s) >= cap)
		return err_set(err, HCP_EINVAL, field, "longer than %zu characters", cap - 1);
	return 0;
}

static int check_device(struct resources *r, const Hcp__NodeHello *h, size_t i, struct err *err)
{
	const Hcp__AgentDevice *a = h->devices[i];
	const struct device_class *c = device_class_find(str_of(a->device_class));
	const struct device *d = device_find(r, h->node_id, a->id);
	enum device_mode m;
	int rc = check_text(a->id, RESOURCES_ID_MAX, true, "id", err);
	if (rc == 0)
		rc = check_text(a->name, RESOURCES_ID_MAX, false, "name", err);
	if (rc < 0)
		return rc;
	if (!c)
		return err_set(err, HCP_ENOTFOUND, "device_class", "there is no device class %.32s", a->device_class);
	if ((int)a->kind != (int)c->kind)
		return err_set(err, HCP_EINVAL, "kind", "%s is of another kind", c->name);
	if (d && d->group->cls != c)
		return err_set(err, HCP_ECONFLICT, "device_class", "this device is known as %s", d->group->cls->name);
	if (mode_of_wire(a->mode, &m) < 0)
		return err_set(err, HCP_EINVAL, "mode", "%d is no mode", (int)a->mode);
	if (a->memory_gib < 0)
		return err_set(err, HCP_ERANGE, "memory_gib", "must not be negative");
	return 0;
}

/* Ids of one announcement, each once. */
static int check_unique(const Hcp__NodeHello *h, struct err *err)
{
	struct map seen;
	int rc = 0;
	map_init(&seen);
	for (size_t i = 0; i < h->n_devices && rc == 0; i++) {
		if (map_get(&seen, str_of(h->devices[i]->id)))
			rc = err_set(err, HCP_EINVAL, "devices", "%.64s is announced twice", h->devices[i]->id);
		else if (map_put(&seen, str_of(h->devices[i]->id), h->devices[i], NULL) < 0)
			rc = err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	map_release(&seen);
	return rc;
}

static int check_feed(const struct resources *r, const Hcp__NodeHello *h, struct err *err)
{
	char path[POWER_PATH_MAX];
	int rc = power_place(r, h->facility, h->node_id, h->feed, path, err);
	for (size_t i = 0; i < h->n_devices && rc == 0 && !path[0]; i++) {
		const struct device_class *c = device_class_find(str_of(h->devices[i]->device_class));
		if (c && power_must_say(r, h->facility, c))
			rc = err_set(err, HCP_EINVAL, "feed", "%s hangs at several feeders of %.40s: the node must say at which",
				c->name, h->facility);
	}
	return rc;
}

static int check_hello(struct resources *r, const Hcp__NodeHello *h, const struct node *n, struct err *err)
{
	char at[32];
	int rc = check_text(h->node_id, RESOURCES_ID_MAX, true, "node_id", err);
	if (rc == 0 && strchr(h->node_id, '/'))
		rc = err_set(err, HCP_EINVAL, "node_id", "must not hold a slash");
	if (rc == 0)
		rc = check_text(h->facility, NAME_MAX_LEN, true, "facility", err);
	if (rc == 0)
		rc = check_text(h->boot_id, NAME_MAX_LEN, true, "boot_id", err);
	if (rc == 0)
		rc = check_text(h->region, NAME_MAX_LEN, false, "region", err);
	if (rc == 0)
		rc = check_text(h->name, RESOURCES_ID_MAX, false, "name", err);
	if (rc == 0)
		rc = check_text(h->endpoint, 256, false, "endpoint", err);
	if (rc == 0)
		rc = check_text(h->agent_version, NAME_MAX_LEN, false, "agent_version", err);
	if (rc < 0)
		return rc;
	if (n && strcmp(n->facility, h->facility))
		return err_set(err, HCP_ECONFLICT, "facility", "node %.64s is known in %.60s", n->id, n->facility);
	rc = check_feed(r, h, err);
	if (rc < 0)
		return rc;
	if (h->n_programs > PROGRAM_NODE_MAX)
		return err_set(err, HCP_ELIMIT, "programs", "a node has at most %d programs", PROGRAM_NODE_MAX);
	for (size_t i = 0; i < h->n_programs; i++)
		if (strlen(h->programs[i]) >= PROGRAM_NAME_MAX || !id_is_name(h->programs[i]))
			return err_set(err, HCP_EINVAL, "programs", "%.64s is no name of a program", h->programs[i]);
	if (h->n_models > 64)
		return err_set(err, HCP_ELIMIT, "models", "a node has at most 64 models");
	if (h->n_devices > RESOURCES_NODE_DEVICES || (!n && r->n_nodes >= RESOURCES_MAX_NODES) ||
	    r->n_devices + h->n_devices > RESOURCES_MAX_DEVICES)
		return err_set(err, HCP_ELIMIT, "devices", "more than %d devices of a node, or the inventory is full",
			       RESOURCES_NODE_DEVICES);
	for (size_t i = 0; i < h->n_devices && rc == 0; i++) {
		rc = check_device(r, h, i, err);
		if (rc < 0) {
			snprintf(at, sizeof(at), "devices[%zu]", i);
			err_prefix(err, at);
		}
	}
	return rc < 0 ? rc : check_unique(h, err);
}

/*
 * What a node says may be overtaken, or repeated late: what is from before the newest reading is over. An agent's clock
 * that was set back by more than OVERTAKEN_NS begins anew.
 */
static bool is_overtaken(struct device *d, int64_t told_at_ns)
{
	if (!told_at_ns)
		return false;
	if (told_at_ns < d->told_at_ns && d->told_at_ns - told_at_ns < OVERTAKEN_NS)
		return true;
	d->told_at_ns = told_at_ns;
	return false;
}

static int hello_new_device(struct resources *r, struct node *n, const Hcp__AgentDevice *a, enum device_mode gate,
			    int64_t now_ns)
{
	struct device *d;
	int rc = resources_device_add(r, n, a, &d);
	if (rc < 0)
		return rc;
	d->gate = gate;
	d->ctl.desired = d->ctl.confirmed = gate;
	device_command(&d->ctl, gate, 0, now_ns);
	d->changed_at_ns = now_ns;
	/* At work already for somebody: it is told what we want, or nobody would know what it runs. */
	d->resync = gate == DEVICE_SERVE || gate == DEVICE_FILL;
	d->transit_w = device_mode_w(d, gate);
	device_reserve(d);
	device_mark(r, d);
	plan_want(r, d->group->facility);
	return 0;
}

static int hello_device(struct resources *r, struct node *n, const Hcp__NodeHello *h, size_t i, bool new_boot,
			int64_t now_ns, struct err *err)
{
	const Hcp__AgentDevice *a = h->devices[i];
	struct device *d = device_find(r, n->id, a->id);
	enum device_mode gate = DEVICE_SAFE;
	(void)!mode_of_wire(a->mode, &gate);
	if (!d)
		return hello_new_device(r, n, a, gate, now_ns) < 0 ? err_set(err, HCP_ENOMEM, "", "out of memory") : 0;
	if (new_boot)
		d->told_at_ns = 0;
	if (!is_overtaken(d, h->at_ns)) {
		d->gate = gate;
		d->read_at_ns = now_ns;
		draws_at_least(d, gate);
	}
	d->memory_gib = a->memory_gib;
	if (new_boot) {
		d->requests = d->requests_base = 0;
		if (gate != d->ctl.commanded && !d->command && d->state != DEVICE_ST_FAILED) {
			d->ctl.drifted = true;
			d->why = WHY_MODE_DIFFERS;
			device_reserve(d);
			device_mark(r, d);
		}
	}
	return d->state == DEVICE_ST_FAILED && d->why == WHY_NOT_ANNOUNCED ? device_return(r, d, now_ns, err) : 0;
}

/* Devices that the node had and does not announce any more leave the pool. */
static int hello_missing(struct resources *r, struct svc_ctx *ctx, struct node *n, const Hcp__NodeHello *h,
			 struct err *err)
{
	int rc = 0;
	bool *there = arena_calloc(svc_arena(ctx), n->n_devices + 1);
	if (!there)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (n->n_devices == h->n_devices)
		return 0;
	for (size_t i = 0; i < h->n_devices; i++) {
		const struct device *d = device_find(r, n->id, h->devices[i]->id);
		for (size_t k = 0; k < n->n_devices; k++)
			there[k] |= n->devices[k] == d;
	}
	for (size_t i = 0; i < n->n_devices && rc == 0; i++) {
		struct device *d = n->devices[i];
		if (there[i] || (d->state == DEVICE_ST_FAILED && d->why == WHY_NOT_ANNOUNCED))
			continue;
		rc = device_end_allocs(r, ctx, d, "device gone", err);
		if (rc == 0 && d->command)
			rc = command_drop_device(r, ctx, d, err);
		if (rc == 0 && d->state != DEVICE_ST_FAILED)
			rc = device_event(r, d, DEVICE_EV_FAIL, WHY_NOT_ANNOUNCED, svc_now_ns(ctx), err);
		d->why = WHY_NOT_ANNOUNCED;
		plan_want(r, d->group->facility);
	}
	return rc;
}

static int hello_take(struct resources *r, struct svc_ctx *ctx, struct node *n, const Hcp__NodeHello *h,
		      struct err *err)
{
	int64_t now = svc_now_ns(ctx);
	bool new_boot = strcmp(n->boot_id, h->boot_id) != 0;
	int rc = 0;
	if (new_boot) {
		snprintf(n->old_boot_id, sizeof(n->old_boot_id), "%s", n->boot_id);
		n->n_meters = 0;
		n->seq = 0;
	}
	bool tells = new_boot || !node_has_programs_of(n, h);
	size_t before = n->n_devices;
	commands_send_again(r, ctx, n);
	/* A changed endpoint or model is news, even when up and mode stay. */
	if (strcmp(n->endpoint, h->endpoint) || n->n_models != h->n_models)
		n->said_mode = -1;
	for (size_t i = 0; n->said_mode != -1 && i < h->n_models; i++)
		if (strcmp(n->models[i], h->models[i]))
			n->said_mode = -1;
	struct facility *f;
	struct power *p = NULL;
	if (node_set_info(n, h) < 0 || facility_get(r, n->facility, n->region, &f) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	rc = power_of_node(r, f, n->id, n->feed, &p, err);
	if (rc < 0)
		return rc;
	if (n->n_devices && p != n->power)
		plan_want(r, f);
	power_move(n, p);
	if (!n->connected)
		rc = restore(r, n, now, err);
	for (size_t i = 0; i < h->n_devices && rc == 0; i++)
		rc = hello_device(r, n, h, i, new_boot, now, err);
	if (rc == 0)
		rc = hello_missing(r, ctx, n, h, err);
	for (size_t i = 0; i < n->n_devices && rc == 0; i++)
		rc = device_feed(r, ctx, n->devices[i], err);
	if (new_boot && n->n_devices && !device_power(n->devices[0])->up && f->has_levels)
		log_warn("resources", "node %s hangs at no feeder of %s: only the facility's budget holds for it", n->id,
			n->facility);
	if ((tells || n->n_devices != before) && list_empty(&n->tells))
		list_add_tail(&r->nodes_tell, &n->tells);
	heard(r, n, now);
	node_want_work(r, n);
	r->capacity_dirty = true;
	return rc;
}

int on_hello(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__NodeHello *h = (const Hcp__NodeHello *)m->body;
	struct node *n = node_find(r, h->node_id);
	int rc = check_hello(r, h, n, err);
	if (rc < 0)
		return rc;
	if (is_over(n, h))
		return refuse_boot(r, ctx, h);
	if (!n) {
		n = node_new(h->node_id);
		if (!n || node_add(r, n) < 0) {
			node_free(n);
			return err_set(err, HCP_ENOMEM, "", "out of memory");
		}
	}
	rc = hello_take(r, ctx, n, h, err);
	if (rc == 0)
		rc = send_welcome(r, ctx, n, n->id, "");
	if (rc == 0)
		rc = send_lease(r, ctx, n);
	if (rc == 0)
		rc = node_save_hello(r, ctx, n, err);
	if (rc == 0)
		rc = report_save(r, ctx, n, err);
	if (rc == 0 && list_empty(&n->unsaved))
		list_add_tail(&r->nodes_unsaved, &n->unsaved);
	return rc;
}

/* ---- readings ---- */

/* The node switched by itself, as its lease allows: FILL to SERVE for a request, and back. */
static bool take_local(struct resources *r, struct device *d, enum device_mode to, int64_t at_ns)
{
	bool out = to == DEVICE_SERVE && d->ctl.commanded == DEVICE_FILL && d->ctl.desired == DEVICE_FILL &&
		   d->group->cls->kind != DEVICE_ASIC;
	bool back = to == DEVICE_FILL && d->local && d->ctl.desired == DEVICE_FILL;
	if ((!out && !back) || d->command || d->alloc || r->emergency || at_ns <= d->ctl.commanded_at_ns)
		return false;
	device_command(&d->ctl, to, 0, at_ns);
	d->requests_base = d->requests;
	d->local = out;
	d->changed_at_ns = at_ns;
	draws_at_least(d, to);
	device_mark(r, d);
	return true;
}

static struct device_finding find(const struct resources *r, const struct device *d, int64_t measured_at_ns,
				  int64_t now_ns)
{
	const struct device_class *c = d->group->cls;
	struct device_actual a = {
		.measured_at_ns = measured_at_ns, .power_w = d->power_w, .hash_ths = d->hash_ths,
		.temperature_c = d->temperature_c, .served = d->requests > d->requests_base ?
			(uint64_t)(d->requests - d->requests_base) : 0,
		.power_measured = true, .health_ok = d->gate == DEVICE_SERVE,
	};
	/* A CPU node's watts are an estimate: they prove nothing and disprove nothing, its work decides. */
	if (c->kind == DEVICE_CPU)
		a.power_w = c->power_w[d->ctl.commanded];
	return device_confirm(c, &d->ctl, &a, &r->tolerance, now_ns);
}

/* The agent itself says that the gate stands elsewhere. */
static struct device_finding mismatch(const struct resources *r, const struct device *d, int64_t now_ns)
{
	bool was_proved = d->ctl.confirmed_at_ns > d->ctl.commanded_at_ns && d->ctl.confirmed == d->ctl.commanded;
	int64_t allowed_ns = d->group->cls->switch_ms[d->ctl.commanded] * NS_PER_MS + r->tolerance.settle_ns;
	bool late = now_ns - d->ctl.commanded_at_ns > allowed_ns;
	return (struct device_finding){ .verdict = was_proved || late ? DEVICE_DRIFTED : DEVICE_PENDING };
}

/*
 * Its feeder has no power, its node answers all the same: that it is off frees its watts; that it is not has it told
 * again.
 */
static void take_fallen(struct resources *r, struct device *d, const struct device_finding *f, int64_t now_ns)
{
	if (f->verdict == DEVICE_DRIFTED && !d->command) {
		d->resync = true;
		node_want_work(r, d->node);
	}
	if (f->verdict != DEVICE_CONFIRMED)
		return;
	device_apply_finding(&d->ctl, f, now_ns);
	if (!d->command || d->command->reported_at_ns)
		device_settled(r, d);
	command_proved(d);
}

static void take_finding(struct resources *r, struct device *d, const struct device_finding *f, enum why why,
			 int64_t now_ns)
{
	struct device_control before = d->ctl;
	/* Out of the pool: why is what brings it back, and then it is told anew whatever it did meanwhile. */
	if (d->state == DEVICE_ST_FAILED) {
		if (d->why == WHY_TRIPPED)
			take_fallen(r, d, f, now_ns);
		return;
	}
	device_apply_finding(&d->ctl, f, now_ns);
	if (f->verdict == DEVICE_CONFIRMED) {
		/*
		 * With an order unanswered, earlier ones may still be on the way: what they would draw stays reserved
		 * until the agent has answered the last one, for orders arrive in order.
		 */
		if (!d->command || d->command->reported_at_ns)
			device_settled(r, d);
		command_proved(d);
		if (before.confirmed != d->ctl.confirmed || before.drifted ||
		    before.confirmed_at_ns <= before.commanded_at_ns) {
			d->why = WHY_NONE;
			d->changed_at_ns = now_ns;
			device_mark(r, d);
		}
	}
	if (d->ctl.drifted && d->power_w > d->reserve_w)
		device_reserve(d);
	if (!d->ctl.drifted || before.drifted)
		return;
	d->why = why;
	d->changed_at_ns = now_ns;
	d->retry_at_ns = now_ns + NS_PER_S;
	device_reserve(d);
	device_mark(r, d);
	node_want_work(r, d->node);
}

static int take_error(struct resources *r, struct svc_ctx *ctx, struct device *d, const char *error, struct err *err)
{
	int rc;
	if (d->state == DEVICE_ST_FAILED)
		return 0;
	log_warn("resources", "device %s: %.120s", d->id, error);
	rc = device_end_allocs(r, ctx, d, "device failed", err);
	if (rc == 0 && d->command)
		rc = command_drop_device(r, ctx, d, err);
	plan_want(r, d->group->facility);
	care_failed(d, svc_now_ns(ctx));
	return rc < 0 ? rc : device_event(r, d, DEVICE_EV_FAIL, WHY_DEVICE_ERROR, svc_now_ns(ctx), err);
}

static bool has_part(const Hcp__DeviceReading *x, const struct alloc *a)
{
	Hcp__DeviceShare want;
	alloc_share(a, &want);
	for (size_t i = 0; i < x->n_shares; i++) {
		const Hcp__DeviceShare *s = x->shares[i];
		if (!strcmp(s->allocation_id, a->id))
			return s->milli == want.milli && s->mig_start == want.mig_start &&
				   !strcmp(s->mig_profile, want.mig_profile);
	}
	return false;
}

/* Does the device itself show other parts than it was told? Not asked while it is yet to be told. */
static bool parts_differ(const struct device *d, const Hcp__DeviceReading *x)
{
	size_t n = 0;
	if (d->resync || d->again)
		return false;
	for (const struct alloc *a = device_is_shared(d) ? d->alloc : NULL; a; a = a->beside) {
		if (alloc_is_told(a) && !has_part(x, a))
			return true;
		n += alloc_is_told(a);
	}
	return n != x->n_shares;
}

/* told_at_ns: by the agent's clock, 0: unknown. */
static int take_reading(struct resources *r, struct svc_ctx *ctx, struct device *d, const Hcp__DeviceReading *x,
			int64_t told_at_ns, int64_t measured_at_ns, struct err *err)
{
	int64_t now = svc_now_ns(ctx);
	if (is_overtaken(d, told_at_ns))
		return 0;
	(void)!mode_of_wire(x->mode, &d->gate);
	d->power_w = x->power_w;
	d->hash_ths = x->hash_ths;
	d->temperature_c = x->temperature_c;
	d->utilisation = x->utilisation;
	d->read_at_ns = now;
	draws_at_least(d, d->gate);
	if (x->error[0])
		return take_error(r, ctx, d, x->error, err);
	int rc = 0;
	if (d->state == DEVICE_ST_FAILED && d->why == WHY_DEVICE_ERROR && care_may_return(d, now))
		rc = device_return(r, d, now, err);
	bool local = d->gate != d->ctl.commanded && take_local(r, d, d->gate, measured_at_ns - 1);
	d->requests = x->requests;
	if (!local && d->requests < d->requests_base)
		d->requests_base = 0; /* its agent started again */
	bool moved = d->gate != d->ctl.commanded, program = program_differs(d, x);
	bool other = !moved && (program || parts_differ(d, x));
	struct device_finding f = moved || other ? mismatch(r, d, now) : find(r, d, measured_at_ns, now);
	enum why why = moved     ? WHY_MODE_DIFFERS
				   : program ? WHY_PROGRAM_DIFFERS
				   : other   ? WHY_PARTS_DIFFER
							 : (enum why)(WHY_DRIFT + (int)f.reason);
	take_finding(r, d, &f, why, now);
	/* Nothing that it was told before can be on its way to it still. */
	bool answered = !d->command || d->command->reported_at_ns;
	if (rc == 0 && f.verdict == DEVICE_CONFIRMED && answered && !d->resync && !d->again && !program)
		rc = ghosts_lay(r, ctx, d, err);
	return rc;
}

/* Readings come in the order of the announcement, so the hint nearly always hits. */
static struct device *reading_device(const struct resources *r, const struct node *n, const char *id, size_t hint)
{
	if (hint < n->n_devices && !strcmp(n->devices[hint]->agent_id, id))
		return n->devices[hint];
	return device_find(r, n->id, id);
}

static int check_readings(const struct resources *r, const struct node *n, size_t n_readings,
			  Hcp__DeviceReading *const *x, struct err *err)
{
	char at[32];
	for (size_t i = 0; i < n_readings; i++) {
		enum device_mode m;
		int rc = 0;
		if (!reading_device(r, n, x[i]->device_id, i))
			rc = err_set(err, HCP_ENOTFOUND, "device_id", "node %.48s never announced %.48s", n->id,
				     x[i]->device_id);
		else if (mode_of_wire(x[i]->mode, &m) < 0)
			rc = err_set(err, HCP_EINVAL, "mode", "%d is no mode", (int)x[i]->mode);
		else if (x[i]->power_w < 0)
			rc = err_set(err, HCP_ERANGE, "power_w", "must not be negative");
		else if (!isfinite(x[i]->hash_ths) || x[i]->hash_ths < 0)
			rc = err_set(err, HCP_ERANGE, "hash_ths", "must be finite and not negative");
		else if (!isfinite(x[i]->utilisation))
			rc = err_set(err, HCP_ERANGE, "utilisation", "must be finite");
		else if (x[i]->requests < 0)
			rc = err_set(err, HCP_ERANGE, "requests", "must not be negative");
		if (rc < 0) {
			snprintf(at, sizeof(at), "readings[%zu]", i);
			err_prefix(err, at);
			return rc;
		}
	}
	return 0;
}

/* A device that its node no longer measures has proved nothing lately. */
static void check_stale(struct resources *r, struct node *n, int64_t now_ns)
{
	for (size_t i = 0; i < n->n_devices; i++) {
		struct device *d = n->devices[i];
		if (d->state == DEVICE_ST_FAILED || d->ctl.drifted || !d->read_at_ns ||
		    now_ns - d->read_at_ns <= r->tolerance.stale_ns)
			continue;
		struct device_finding f = { .verdict = DEVICE_DRIFTED };
		take_finding(r, d, &f, WHY_STALE, now_ns);
	}
}

static int take_readings(struct resources *r, struct svc_ctx *ctx, struct node *n, const Hcp__NodeReport *rep,
			 int64_t measured_at_ns, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; i < rep->n_readings && rc == 0; i++) {
		const Hcp__DeviceReading *x = rep->readings[i];
		struct device *d = reading_device(r, n, x->device_id, i);
		rc = take_reading(r, ctx, d, x, rep->at_ns, measured_at_ns, err);
		if (rc == 0)
			rc = care_reading(r, ctx, d, x, rep->inlet_k, measured_at_ns, err);
	}
	if (rc == 0)
		rc = care_node(r, ctx, n, err);
	return rc < 0 ? rc : commands_of_node(r, ctx, n, err);
}

int on_report(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__NodeReport *rep = (const Hcp__NodeReport *)m->body;
	struct node *n = node_find(r, rep->node_id);
	int64_t now = svc_now_ns(ctx), measured_at = rep->at_ns < now ? rep->at_ns : now;
	if (!n)
		return err_set(err, HCP_ENOTFOUND, "node_id", "there is no node %.64s", rep->node_id);
	if (strcmp(rep->boot_id, n->boot_id))
		return err_set(err, HCP_ESTATE, "boot_id", "%.40s is not the boot that said hello", rep->boot_id);
	if (is_closed(n))
		return send_welcome(r, ctx, NULL, n->id, n->boot_id);
	if (rep->seq <= n->seq && counts_anew(r, n, measured_at))
		return close_boot(r, ctx, n, "its reports are numbered anew", err);
	if (rep->seq <= n->seq)
		return 0; /* repeated, or overtaken by a later one: the counters in that one hold it all */
	if (!isfinite(rep->inlet_k))
		return err_set(err, HCP_ERANGE, "inlet_k", "must be finite");
	if (rep->n_readings > RESOURCES_NODE_DEVICES || rep->n_meters > RESOURCES_NODE_METERS)
		return err_set(err, HCP_ELIMIT, "readings", "more than a node can have");
	int rc = check_readings(r, n, rep->n_readings, rep->readings, err);
	bool back = false;
	if (rc == 0)
		rc = meters_check(ctx, n, rep, &back, err);
	if (rc < 0)
		return rc;
	if (back)
		return close_boot(r, ctx, n, "a counter went back", err);
	n->seq = rep->seq;
	if (!n->connected)
		rc = restore(r, n, now, err);
	heard(r, n, now);
	if (rc == 0)
		rc = meters_take(r, ctx, n, rep, err);
	if (rc == 0)
		rc = take_readings(r, ctx, n, rep, measured_at, err);
	if (rc == 0 && rep->n_readings < n->n_devices)
		check_stale(r, n, now);
	/* The fleet has grown, or shrunk, since it was told how often to report. */
	int32_t told = n->told_report_ms, now_ms = report_ms(r);
	if (rc == 0 && told && (told > now_ms + now_ms / 2 || now_ms > told + told / 2))
		rc = send_welcome(r, ctx, n, n->id, "");
	if (rc == 0)
		rc = send_lease(r, ctx, n);
	if (rc == 0)
		rc = report_save(r, ctx, n, err);
	return rc;
}

int on_switch_report(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__SwitchReport *rep = (const Hcp__SwitchReport *)m->body;
	struct node *n = node_find(r, rep->node_id);
	if (!n)
		return err_set(err, HCP_ENOTFOUND, "node_id", "there is no node %.64s", rep->node_id);
	struct command *c = map_get(&r->command_by_id, str_of(rep->switch_id));
	if (c && c->node != n)
		return err_set(err, HCP_EPERM, "switch_id", "this switch is another node's");
	int rc = check_readings(r, n, rep->n_readings, rep->readings, err);
	if (rc < 0)
		return rc;
	if (!c)
		return 0; /* repeated, late, or no longer wanted */
	/* Evidence is about the devices of the command; a later order makes it void. */
	for (size_t i = 0; i < rep->n_readings && rc == 0; i++) {
		struct device *d = reading_device(r, n, rep->readings[i]->device_id, i);
		if (d->command == c)
			rc = take_reading(r, ctx, d, rep->readings[i], rep->at_ns, svc_now_ns(ctx), err);
	}
	c = rc == 0 ? map_get(&r->command_by_id, str_of(rep->switch_id)) : NULL;
	if (c)
		rc = command_take_report(r, ctx, c, rep, err);
	return rc;
}

int on_local_switch(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__LocalSwitch *s = (const Hcp__LocalSwitch *)m->body;
	struct device *d = device_find(r, s->node_id, s->device_id);
	enum device_mode to;
	if (!node_find(r, s->node_id))
		return err_set(err, HCP_ENOTFOUND, "node_id", "there is no node %.64s", s->node_id);
	if (!d)
		return err_set(err, HCP_ENOTFOUND, "device_id", "node %.48s has no device %.48s", s->node_id,
			       s->device_id);
	if (mode_of_wire(s->to, &to) < 0)
		return err_set(err, HCP_EINVAL, "to", "%d is no mode", (int)s->to);
	int64_t at = s->at_ns < svc_now_ns(ctx) ? s->at_ns : svc_now_ns(ctx);
	if (at <= d->ctl.commanded_at_ns || to == d->ctl.commanded)
		return 0; /* an order that came later overrides it */
	d->gate = to;
	if (!take_local(r, d, to, at) && !d->command) {
		/* SAFE at the end of a lease, or something it may not do: bring it back. */
		draws_at_least(d, to);
		struct device_finding f = { .verdict = DEVICE_DRIFTED };
		take_finding(r, d, &f, WHY_MODE_DIFFERS, svc_now_ns(ctx));
	}
	return 0;
}

/* Nodes' streams end here; what is lost the orchestrator says again until the node answers. */
int on_model_command(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	Hcp__ModelCommand *c = (Hcp__ModelCommand *)m->body;
	Hcp__AgentDown down = HCP__AGENT_DOWN__INIT;
	down.kind_case = HCP__AGENT_DOWN__KIND_MODEL_COMMAND;
	down.model_command = c;
	return svc_send_agent(ctx, c->node_id, &down);
}
