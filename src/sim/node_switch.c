#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "sim/node_priv.h"

#define MS_NS INT64_C(1000000)

static const char late[] = "the deadline passed", taken[] = "a later command took a device over";

static void switch_free(struct node_switch *s)
{
	if (!s)
		return;
	for (size_t i = 0; s->items && i < s->n; i++) {
		mem_free(s->items[i].parts);
		mem_free(s->items[i].program);
	}
	mem_free(s->items);
	mem_free(s);
}

static int device_mode_of(Hcp__Mode m, enum device_mode *ret)
{
	switch (m) {
	case HCP__MODE__SERVE: *ret = DEVICE_SERVE; return 0;
	case HCP__MODE__FILL: *ret = DEVICE_FILL; return 0;
	case HCP__MODE__OFF: *ret = DEVICE_IDLE; return 0; /* on the wire OFF means: ready, least watts */
	case HCP__MODE__SAFE: *ret = DEVICE_SAFE; return 0;
	default: return HCP_EINVAL;
	}
}

/* ---- the end ---- */

static void remember(struct node *n, struct node_switch *s)
{
	if (n->n_done == NODE_DONE_MAX) {
		switch_free(n->done[0]);
		memmove(n->done, n->done + 1, (NODE_DONE_MAX - 1) * sizeof(n->done[0]));
		n->n_done--;
	}
	n->done[n->n_done++] = s;
}

/* The device goes back to its former mode. Whoever it worked for then has been told that this ends: nobody's now. */
static void roll_back(struct node *n, struct node_switch *s, struct node_item *it)
{
	struct node_device *d = &n->devices[it->device];
	s->rolled_back = true;
	it->failed = true;
	if (it->runs)
		node_program_kill(d);
	/* The mode it had is one it can have. */
	(void)!fleet_device_order(&d->d, &n->rules, &n->rng, (enum device_mode)it->from, it->target_before_w, n->now_ns);
	node_alloc_move(n, d, 0);
	/* Who had a part before, and is still wanted, keeps it. */
	struct node_part kept[SLICES_MAX];
	size_t n_kept = 0;
	for (size_t i = 0; i < it->n_parts && it->from == DEVICE_SERVE; i++)
		if (it->kept >> i & 1)
			kept[n_kept++] = it->parts[i];
	node_parts_keep(n, d, kept, n_kept);
}

static void finish(struct node *n, struct node_switch *s, const char *error, bool undo)
{
	bool failed = error[0] != 0;
	s->ended_ns = n->now_ns;
	s->error = error;
	s->ok = !failed;
	s->say = true;
	for (size_t i = 0; i < s->n; i++) {
		struct node_item *it = &s->items[i];
		struct node_device *d = &n->devices[it->device];
		if (d->under != s)
			continue;
		d->under = NULL;
		if (failed && !it->proved)
			it->failed = true;
		if (failed && undo && (!it->proved || it->alloc || it->n_parts))
			roll_back(n, s, it);
	}
	if (failed)
		n->switches_failed++;
	else
		n->switches_ok++;
	size_t at = 0;
	while (at < n->n_active && n->active[at] != s)
		at++;
	must(at < n->n_active);
	memmove(n->active + at, n->active + at + 1, (n->n_active - at - 1) * sizeof(n->active[0]));
	n->n_active--;
	remember(n, s);
}

void node_switch_drop_all(struct node *n, const char *error)
{
	while (n->n_active)
		finish(n, n->active[0], error, false);
	/* What was done is undone now: the same command, sent again, is a new one. Only unsent reports stay. */
	size_t kept = 0;
	for (size_t i = 0; i < n->n_done; i++) {
		if (n->done[i]->say)
			n->done[kept++] = n->done[i];
		else
			switch_free(n->done[i]);
	}
	n->n_done = kept;
}

void node_switch_release(struct node *n)
{
	for (size_t i = 0; i < n->n_active; i++)
		switch_free(n->active[i]);
	for (size_t i = 0; i < n->n_done; i++)
		switch_free(n->done[i]);
	n->n_active = n->n_done = 0;
}

/* ---- the beginning ---- */

static int check_item(const struct node *n, const Hcp__SwitchItem *row, struct node_item *it, const char **ret_why)
{
	enum device_mode to;
	size_t device;
	if (node_find_device(n, row->device_id, &device) < 0) {
		it->unknown = true;
		*ret_why = "no such device";
		return HCP_ENOTFOUND;
	}
	it->device = (uint16_t)device;
	if (device_mode_of(row->to, &to) < 0 || (to == DEVICE_SERVE && n->cls->kind == DEVICE_ASIC)) {
		*ret_why = "the device does not have this mode";
		return HCP_EUNSUPPORTED;
	}
	if (node_parts_read(n, row, it->parts, NULL) < 0) {
		*ret_why = "the device cannot have such parts";
		return HCP_EUNSUPPORTED;
	}
	if (row->program && (to != DEVICE_SERVE || strcmp(row->program->name, n->program) != 0)) {
		*ret_why = "this node allows no such program";
		return HCP_EUNSUPPORTED;
	}
	int rc = node_program_read(row, &it->program);
	if (rc < 0) {
		*ret_why = rc == HCP_ECORRUPT ? "the checkpoint is corrupt: its digest is another" : "the program cannot run";
		return rc;
	}
	it->to = (uint8_t)to;
	it->target_w = row->power_target_w > 0 ? row->power_target_w : 0;
	return 0;
}

static double planned_w(const struct node *n, enum device_mode mode, int32_t target_w)
{
	double w = n->cls->power_w[mode];
	bool tuned = n->cls->kind == DEVICE_ASIC && mode == DEVICE_FILL;
	return target_w > 0 && (tuned || target_w < w) ? target_w : w;
}

static bool within_budget(const struct node *n, const struct node_switch *s)
{
	double sum_w = 0;
	if (n->power_budget_w <= 0)
		return true;
	for (size_t i = 0; i < n->n_devices; i++)
		sum_w += planned_w(n, (enum device_mode)n->devices[i].d.gate, n->devices[i].d.target_w);
	for (size_t i = 0; i < s->n; i++) {
		const struct fleet_device *d = &n->devices[s->items[i].device].d;
		sum_w += planned_w(n, (enum device_mode)s->items[i].to, s->items[i].target_w) -
				 planned_w(n, (enum device_mode)d->gate, d->target_w);
	}
	return sum_w <= (double)n->power_budget_w;
}

/* Why the command cannot be begun at all; NULL: it can. Marks the items that are to blame. */
static const char *check(const struct node *n, const Hcp__SwitchCommand *c, struct node_switch *s)
{
	const char *why = NULL;
	for (size_t i = 0; i < c->n_items; i++) {
		s->items[i].failed = check_item(n, c->items[i], &s->items[i], &why) < 0;
		for (size_t k = 0; !s->items[i].failed && k < i; k++) {
			if (s->items[k].device == s->items[i].device && !s->items[k].failed) {
				s->items[i].failed = true;
				why = "a device stands in the command twice";
			}
		}
	}
	if (strcmp(c->node_id, n->id))
		return "the command is for another node";
	if (!n->leased)
		return "the node has no lease";
	if (c->deadline_ns && c->deadline_ns <= n->now_ns)
		return late;
	if (!why && !within_budget(n, s))
		why = "above the node's power budget";
	return why;
}

/* Nothing of a refused command is done; where no device is to blame, none of them got its mode. */
static void refuse(struct node *n, struct node_switch *s, const char *why)
{
	bool blamed = false;
	for (size_t i = 0; i < s->n; i++)
		blamed |= s->items[i].failed;
	for (size_t i = 0; i < s->n && !blamed; i++)
		s->items[i].failed = true;
	s->begun_ns = s->reached_ns = n->now_ns;
	finish(n, s, why, false);
}

/* A part that there is no memory for is missing from the readings, so that the platform sees the switch fail. */
static void set_parts(struct node *n, struct node_device *d, struct node_item *it)
{
	for (size_t i = 0; i < it->n_parts; i++)
		it->kept |= (uint64_t)node_parts_has(d, &it->parts[i]) << i;
	(void)!node_parts_set(n, d, it->parts, it->n_parts, NULL);
}

static void begin(struct node *n, struct node_switch *s)
{
	s->begun_ns = n->now_ns;
	s->evidence = "watts";
	for (size_t i = 0; i < s->n; i++) {
		struct node_item *it = &s->items[i];
		struct node_device *d = &n->devices[it->device];
		if (d->under)
			finish(n, d->under, taken, false);
		it->from = d->d.gate;
		it->target_before_w = d->d.target_w;
		d->under = s;
		d->requests_base = d->d.requests;
		/* Checked before: the class has this mode. */
		int rc = fleet_device_order(&d->d, &n->rules, &n->rng, (enum device_mode)it->to, it->target_w, n->now_ns);
		must(rc == 0);
		node_program_order(n, d, it);
		node_alloc_move(n, d, it->alloc);
		set_parts(n, d, it);
		if (it->to == DEVICE_SERVE)
			s->evidence = "served_request";
		else if (it->to == DEVICE_FILL && s->evidence[0] == 'w')
			s->evidence = "hash_rate";
	}
	s->look_ns = n->now_ns;
}

static bool again(struct node *n, const char *id)
{
	for (size_t i = 0; i < n->n_active; i++) {
		if (!strcmp(n->active[i]->id, id))
			return true;
	}
	for (size_t i = 0; i < n->n_done; i++) {
		if (!strcmp(n->done[i]->id, id)) {
			n->done[i]->say = true;
			return true;
		}
	}
	return false;
}

/* Room for its parts, those that it has beside them, and slots for their owners. */
static int prepare_parts(struct node *n, const Hcp__SwitchItem *row, struct node_item *it)
{
	size_t count = row->n_shares < SLICES_MAX ? row->n_shares : SLICES_MAX;
	it->parts = count ? mem_calloc(count, sizeof(*it->parts)) : NULL;
	if (count && !it->parts)
		return HCP_ENOMEM;
	it->n_parts = (uint16_t)count;
	for (size_t i = 0; i < count; i++) {
		int rc = node_alloc_slot(n, row->shares[i]->allocation_id, &it->parts[i].alloc);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int prepare(struct node *n, const Hcp__SwitchCommand *c, struct node_switch **ret)
{
	struct node_switch *s = mem_calloc(1, sizeof(*s));
	int rc = 0;
	if (!s)
		return HCP_ENOMEM;
	memcpy(s->id, c->switch_id, strlen(c->switch_id) + 1);
	s->items = mem_calloc(c->n_items ? c->n_items : 1, sizeof(*s->items));
	s->n = c->n_items;
	s->deadline_ns = c->deadline_ns ? c->deadline_ns : INT64_MAX;
	s->error = s->evidence = "";
	for (size_t i = 0; s->items && rc == 0 && i < s->n; i++) {
		rc = node_alloc_slot(n, c->items[i]->allocation_id, &s->items[i].alloc);
		if (rc == 0)
			rc = prepare_parts(n, c->items[i], &s->items[i]);
	}
	if (!s->items)
		rc = HCP_ENOMEM;
	if (rc < 0)
		switch_free(s);
	else
		*ret = s;
	return rc;
}

/* The items that no newer command was for; the rows stand in the node's arena. */
static int drop_overtaken(struct node *n, const Hcp__SwitchCommand *c, Hcp__SwitchCommand *ret)
{
	*ret = *c;
	ret->n_items = 0;
	arena_clear(node_arena(n));
	ret->items = arena_alloc(node_arena(n), (c->n_items + 1) * sizeof(*ret->items));
	if (!ret->items)
		return HCP_ENOMEM;
	for (size_t i = 0; i < c->n_items; i++) {
		size_t device;
		bool known = node_find_device(n, c->items[i]->device_id, &device) == 0;
		if (known && c->number && c->number < n->devices[device].order)
			continue;
		if (known && c->number)
			n->devices[device].order = c->number;
		ret->items[ret->n_items++] = c->items[i];
	}
	return 0;
}

int node_switch_command(struct node *n, const Hcp__SwitchCommand *whole, struct err *err)
{
	Hcp__SwitchCommand rest;
	const Hcp__SwitchCommand *c = &rest;
	struct node_switch *s;
	if (whole->n_items > n->n_devices)
		return err_set(err, HCP_EPROTO, "items", "a command for more devices than there are");
	if (drop_overtaken(n, whole, &rest) < 0)
		return err_set(err, HCP_ENOMEM, "", "no memory for a command");
	if (!rest.n_items && whole->n_items)
		return 0;
	size_t len = strlen(c->switch_id);
	if (len == 0 || len >= sizeof(s->id))
		return err_set(err, HCP_EPROTO, "switch_id", "a command without a fitting id");
	if (again(n, c->switch_id))
		return 0;
	int rc = n->n_active == NODE_ACTIVE_MAX ? HCP_ELIMIT : prepare(n, c, &s);
	if (rc < 0)
		return err_set(err, rc, "switch_id", "no room for another command; it will be sent again");
	const char *why = check(n, c, s);
	n->active[n->n_active++] = s;
	if (!why) {
		begin(n, s);
		return 0;
	}
	refuse(n, s, why);
	return 0;
}

/* ---- while it lasts ---- */

static bool proved(struct node *n, struct node_switch *s, struct node_item *it)
{
	struct node_device *d = &n->devices[it->device];
	struct device_tolerance tolerance;
	struct device_control ctl = { .commanded = (enum device_mode)it->to,
		.commanded_at_ns = d->d.order_ns,
		.power_target_w = it->target_w > 0 ? planned_w(n, (enum device_mode)it->to, it->target_w) : 0 };
	/* A device that lies says that it is done, and the agent has no better meter than the device's own. */
	if (!node_program_proved(n, d, it))
		return false;
	if (d->d.lying)
		return true;
	if (n->now_ns < d->d.ready_ns && n->cls->kind != DEVICE_ASIC)
		return false;
	if (it->to == DEVICE_SERVE && fleet_device_probe(&d->d, n->now_ns) && s->served_at_ns == 0)
		s->served_at_ns = n->now_ns;
	struct device_actual actual = fleet_device_read(&d->d, d->requests_base, n->now_ns);
	device_tolerance_default(&tolerance);
	return device_confirm(n->cls, &ctl, &actual, &tolerance, n->now_ns).verdict == DEVICE_CONFIRMED;
}

/* true: it has ended. */
static bool look(struct node *n, struct node_switch *s)
{
	size_t waiting = 0;
	int64_t ready_ns = 0;
	for (size_t i = 0; i < s->n; i++) {
		struct node_item *it = &s->items[i];
		const struct node_device *d = &n->devices[it->device];
		if (d->under == s && !it->proved)
			it->proved = proved(n, s, it);
		waiting += !it->proved;
		ready_ns = d->d.ready_ns > ready_ns ? d->d.ready_ns : ready_ns;
	}
	if (s->reached_ns == 0 && n->now_ns >= ready_ns)
		s->reached_ns = n->now_ns;
	if (waiting && n->now_ns < s->deadline_ns) {
		/* Miners take a minute, and some are done before others. */
		int64_t step_ns = (ready_ns > n->now_ns ? NODE_STEP_MS : NODE_VERIFY_MS) * MS_NS;
		s->look_ns = ready_ns > n->now_ns && ready_ns - n->now_ns < step_ns ? ready_ns : n->now_ns + step_ns;
		return false;
	}
	finish(n, s, waiting ? late : "", true);
	return true;
}

void node_switch_step(struct node *n)
{
	for (size_t i = 0; i < n->n_active;) {
		struct node_switch *s = n->active[i];
		if ((n->now_ns >= s->look_ns || n->now_ns >= s->deadline_ns) && look(n, s))
			continue;
		i++;
	}
}

int64_t node_switch_due_ns(const struct node *n)
{
	int64_t due_ns = INT64_MAX;
	for (size_t i = 0; i < n->n_active; i++) {
		const struct node_switch *s = n->active[i];
		int64_t at_ns = s->look_ns < s->deadline_ns ? s->look_ns : s->deadline_ns;
		due_ns = at_ns < due_ns ? at_ns : due_ns;
	}
	for (size_t i = 0; i < n->n_done && n->connected; i++)
		due_ns = n->done[i]->say ? n->now_ns : due_ns;
	return due_ns;
}

/* ---- the report ---- */

static void add_phase(struct node *n, Hcp__SwitchReport *r, const char *name, int64_t from_ns, int64_t to_ns)
{
	Hcp__PhaseTime *p = arena_alloc(node_arena(n), sizeof(*p));
	if (!p)
		return;
	hcp__phase_time__init(p);
	p->phase = name;
	p->duration_ns = to_ns > from_ns ? to_ns - from_ns : 0;
	r->phases[r->n_phases++] = p;
}

static void emit_report(struct node *n, struct node_switch *s, node_emit_fn *emit, void *arg)
{
	Hcp__SwitchReport r = HCP__SWITCH_REPORT__INIT;
	Hcp__AgentUp up = HCP__AGENT_UP__INIT;
	int64_t reached_ns = s->reached_ns ? s->reached_ns : s->ended_ns;
	arena_clear(node_arena(n));
	r.switch_id = s->id;
	r.node_id = n->id;
	r.ok = s->ok;
	r.error = s->error;
	r.rolled_back = s->rolled_back;
	r.evidence = s->ok ? s->evidence : "";
	r.served_at_ns = s->served_at_ns;
	r.at_ns = n->now_ns;
	r.phases = arena_alloc(node_arena(n), 2 * sizeof(*r.phases));
	r.readings = arena_alloc(node_arena(n), (s->n + 1) * sizeof(*r.readings));
	r.failed_device_ids = arena_alloc(node_arena(n), (s->n + 1) * sizeof(*r.failed_device_ids));
	if (!r.phases || !r.readings || !r.failed_device_ids)
		return; /* the command will be sent again */
	add_phase(n, &r, "switch", s->begun_ns, reached_ns);
	add_phase(n, &r, "verify", reached_ns, s->ended_ns);
	for (size_t i = 0; i < s->n; i++) {
		if (s->items[i].unknown)
			continue;
		Hcp__DeviceReading *reading = node_reading(n, s->items[i].device);
		if (!reading)
			return;
		r.readings[r.n_readings++] = reading;
		if (s->items[i].failed)
			r.failed_device_ids[r.n_failed_device_ids++] = (char *)(uintptr_t)reading->device_id;
	}
	s->say = false;
	up.kind_case = HCP__AGENT_UP__KIND_SWITCH_REPORT;
	up.switch_report = &r;
	emit(arg, &up);
}

void node_switch_emit(struct node *n, node_emit_fn *emit, void *arg)
{
	for (size_t i = 0; i < n->n_done; i++) {
		if (n->done[i]->say)
			emit_report(n, n->done[i], emit, arg);
	}
}
