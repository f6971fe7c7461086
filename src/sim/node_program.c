/*
 * Batch programs of a simulated node, by the contract of docs/checkpoints.md: a step a second, a checkpoint every
 * NODE_PROGRAM_SAVE steps, and one when it is told to stop. What a checkpoint holds is its step, so its digest follows
 * from the workload and the step, and a node reads what another has written.
 */
#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/money.h"
#include "sim/node_priv.h"

static void digest_of(const char *workload_id, int64_t step, char dst[PROGRAM_DIGEST_MAX])
{
	uint64_t h[4];
	for (uint64_t i = 0; i < 4; i++)
		h[i] = hash_bytes(workload_id, strlen(workload_id), (uint64_t)step * 4 + i);
	snprintf(dst, PROGRAM_DIGEST_MAX, "sha256:%016llx%016llx%016llx%016llx", (unsigned long long)h[0],
		(unsigned long long)h[1], (unsigned long long)h[2], (unsigned long long)h[3]);
}

static int64_t steps_of(const char *workload_id)
{
	return 30 + (int64_t)(hash_bytes(workload_id, strlen(workload_id), 77) % 600);
}

bool node_program_alive(const struct node_device *d)
{
	return d->program && d->program->state == HCP__PROGRAM_STATE__PROGRAM_RUNNING;
}

/* ---- orders ---- */

int node_program_read(const Hcp__SwitchItem *row, struct node_program **ret)
{
	const Hcp__ProgramOrder *o = row->program;
	char digest[PROGRAM_DIGEST_MAX];
	if (!o)
		return 0;
	if (!id_is_name(o->name) || !id_is_name(row->workload_id) || strlen(row->allocation_id) >= ID_TEXT_MAX ||
		strlen(row->workload_id) >= ID_TEXT_MAX)
		return HCP_EINVAL;
	if (o->restore) {
		digest_of(row->workload_id, o->restore->step, digest);
		if (strcmp(digest, o->restore->digest) != 0)
			return HCP_ECORRUPT;
	}
	struct node_program *p = mem_calloc(1, sizeof(*p));
	if (!p)
		return HCP_ENOMEM;
	snprintf(p->allocation_id, sizeof(p->allocation_id), "%s", row->allocation_id);
	snprintf(p->workload_id, sizeof(p->workload_id), "%s", row->workload_id);
	p->state = HCP__PROGRAM_STATE__PROGRAM_RUNNING;
	p->of = steps_of(p->workload_id);
	p->restored = p->step = o->restore ? o->restore->step : 0;
	*ret = p;
	return 0;
}

/* It saves itself within a few seconds; half of them are done at once. */
static void stop(struct node *n, struct node_program *p)
{
	if (p->state == HCP__PROGRAM_STATE__PROGRAM_RUNNING && !p->stop_ns)
		p->stop_ns = n->now_ns + (int64_t)(rng_below(&n->rng, 2) * rng_below(&n->rng, 8000)) * NS_PER_MS;
}

void node_program_order(struct node *n, struct node_device *d, const struct node_item *it)
{
	if (node_program_alive(d) && (!it->program || strcmp(it->program->allocation_id, d->program->allocation_id) != 0))
		stop(n, d->program);
}

static void save(struct node_program *p)
{
	p->saved = p->step;
	p->say = true;
}

static void advance(struct node *n, struct node_program *p)
{
	while (p->state == HCP__PROGRAM_STATE__PROGRAM_RUNNING) {
		bool stops = p->stop_ns && p->stop_ns <= p->next_ns;
		int64_t at_ns = stops ? p->stop_ns : p->next_ns;
		if (at_ns > n->now_ns)
			return;
		p->say |= stops;
		if (stops) {
			if (p->step > p->restored)
				save(p);
			p->state = HCP__PROGRAM_STATE__PROGRAM_STOPPED;
			return;
		}
		p->step += p->step < p->of;
		p->next_ns += NODE_PROGRAM_STEP_MS * NS_PER_MS;
		if (p->step % NODE_PROGRAM_SAVE == 0 || p->step == p->of)
			save(p);
		if (p->step == p->of)
			p->state = HCP__PROGRAM_STATE__PROGRAM_DONE;
	}
}

void node_programs_pass(struct node *n)
{
	for (size_t i = 0; i < n->n_devices; i++)
		if (n->devices[i].program)
			advance(n, n->devices[i].program);
}

/* true: the device runs what the item says, or nothing where it says so. */
bool node_program_proved(struct node *n, struct node_device *d, struct node_item *it)
{
	if (node_program_alive(d) && d->program->stop_ns)
		return false; /* it saves itself still */
	if (!it->program)
		return !node_program_alive(d);
	if (d->program && !strcmp(d->program->allocation_id, it->program->allocation_id) && node_program_alive(d))
		return true;
	/* What it saved here last the platform may not have heard of when it gave the order. */
	if (d->program && !strcmp(d->program->workload_id, it->program->workload_id) &&
		d->program->saved > it->program->step)
		it->program->restored = it->program->step = d->program->saved;
	mem_free(d->program);
	d->program = it->program;
	it->program = NULL;
	d->program->next_ns = n->now_ns + NODE_PROGRAM_STEP_MS * NS_PER_MS;
	d->program->started = ++n->programs_started;
	it->runs = true;
	return true;
}

void node_program_kill(struct node_device *d)
{
	if (!node_program_alive(d))
		return;
	d->program->state = HCP__PROGRAM_STATE__PROGRAM_STOPPED;
	d->program->say = true;
}

/* ---- what is told ---- */

static void emit_one(struct node *n, size_t i, node_emit_fn *emit, void *arg)
{
	const struct node_program *p = n->devices[i].program;
	char device[16], name[32], digest[PROGRAM_DIGEST_MAX];
	Hcp__ProgramReport r = HCP__PROGRAM_REPORT__INIT;
	Hcp__Checkpoint c = HCP__CHECKPOINT__INIT;
	Hcp__AgentUp up = HCP__AGENT_UP__INIT;
	r.node_id = n->id;
	r.device_id = node_device_id(n, i, device);
	r.allocation_id = p->allocation_id;
	r.workload_id = p->workload_id;
	r.state = p->state;
	r.step = p->step;
	r.of = p->of;
	if (p->saved) {
		snprintf(name, sizeof(name), "step-%lld", (long long)p->saved);
		digest_of(p->workload_id, p->saved, digest);
		c.name = name;
		c.digest = digest;
		c.step = p->saved;
		c.of = p->of;
		c.bytes = 8;
		r.checkpoint = &c;
	}
	up.kind_case = HCP__AGENT_UP__KIND_PROGRAM_REPORT;
	up.program_report = &r;
	emit(arg, &up);
}

void node_programs_emit(struct node *n, bool all, node_emit_fn *emit, void *arg)
{
	for (size_t i = 0; i < n->n_devices; i++) {
		struct node_program *p = n->devices[i].program;
		if (!p || (!p->say && !all))
			continue;
		p->say = false;
		emit_one(n, i, emit, arg);
	}
}

int64_t node_programs_due_ns(const struct node *n)
{
	int64_t due_ns = INT64_MAX;
	for (size_t i = 0; i < n->n_devices; i++) {
		const struct node_program *p = n->devices[i].program;
		if (!p)
			continue;
		if (p->say && n->connected && n->welcomed)
			return n->now_ns;
		if (p->state == HCP__PROGRAM_STATE__PROGRAM_RUNNING && p->stop_ns && p->stop_ns < due_ns)
			due_ns = p->stop_ns;
	}
	return due_ns;
}
