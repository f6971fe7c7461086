/* Batch and training programs: what they save, and that no workload has two of them at once. */
#include <stdio.h>

#include "base/log.h"
#include "services/resources/resources_priv.h"

bool node_has_program(const struct node *n, const char *name)
{
	for (size_t i = 0; i < n->n_programs; i++)
		if (!strcmp(n->programs[i], name))
			return true;
	return false;
}

bool node_has_programs_of(const struct node *n, const Hcp__NodeHello *h)
{
	bool same = n->n_programs == h->n_programs;
	for (size_t i = 0; i < h->n_programs && same; i++)
		same = !strcmp(n->programs[i], h->programs[i]);
	return same;
}

int node_tell_programs(struct arena *a, struct node *n, Hcp__DevicesChanged *ev)
{
	if (list_empty(&n->tells))
		return 0;
	Hcp__NodePrograms *row = arena_alloc(a, sizeof(*row));
	if (!row)
		return HCP_ENOMEM;
	hcp__node_programs__init(row);
	row->node_id = n->id;
	row->n_programs = n->n_programs;
	row->programs = n->programs;
	list_del(&n->tells);
	return pb_push(a, &ev->n_programs, &ev->programs, row);
}

int programs_flush(struct resources *r, struct svc_ctx *ctx)
{
	int rc = 0;
	while (rc == 0 && !list_empty(&r->nodes_tell)) {
		Hcp__DevicesChanged ev = HCP__DEVICES_CHANGED__INIT;
		while (rc == 0 && ev.n_programs < RESOURCES_EVENT_DEVICES && !list_empty(&r->nodes_tell))
			rc = node_tell_programs(svc_arena(ctx), list_entry(r->nodes_tell.next, struct node, tells), &ev);
		if (rc == 0)
			rc = svc_publish(ctx, "", &ev.base);
	}
	return rc;
}

/* ---- checkpoints ---- */

/* 1: *ret, in the batch's arena; 0: there is none. */
static int newest(struct svc_ctx *ctx, const char *workload_id, Hcp__Checkpoint **ret, struct err *err)
{
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT body FROM checkpoint WHERE workload_id=$1", "z", workload_id);
	if (rc <= 0)
		return rc;
	*ret = (void *)pb_unpack_arena(&hcp__checkpoint__descriptor, db_blob(row, 0), svc_arena(ctx));
	db_done(row);
	return *ret ? 1 : err_set(err, HCP_ECORRUPT, "checkpoint", "the one of %.40s cannot be read", workload_id);
}

/* 1: it is the newest now; 0: it was known, or is older. */
static int take(struct svc_ctx *ctx, const char *workload_id, const Hcp__Checkpoint *c, struct err *err)
{
	Hcp__Checkpoint *had;
	struct str body;
	int rc = newest(ctx, workload_id, &had, err);
	if (rc < 0 || (rc == 1 && had->step >= c->step))
		return rc < 0 ? rc : 0;
	if (pb_pack_arena(&c->base, svc_arena(ctx), &body) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	rc = db_run(svc_db(ctx), err,
		"INSERT INTO checkpoint(workload_id,at_ns,body) VALUES($1,$2,$3)"
		" ON CONFLICT(workload_id) DO UPDATE SET at_ns=excluded.at_ns, body=excluded.body",
		"zib", workload_id, c->at_ns, body);
	return rc < 0 ? rc : 1;
}

int program_take_place(struct svc_ctx *ctx, const Hcp__Workload *w, struct err *err)
{
	int rc = w->program[0] && w->checkpoint ? take(ctx, w->id, w->checkpoint, err) : 0;
	return rc < 0 ? rc : 0;
}

int program_order(struct svc_ctx *ctx, const struct device *d, Hcp__ProgramOrder **ret)
{
	struct err err = { 0 };
	*ret = NULL;
	if (!d->alloc || !d->alloc->program || d->alloc->program->done)
		return 0;
	Hcp__ProgramOrder *o = arena_alloc(svc_arena(ctx), sizeof(*o));
	if (!o)
		return HCP_ENOMEM;
	hcp__program_order__init(o);
	o->name = d->alloc->program->name;
	o->deadline_ns = d->alloc->program->deadline_ns;
	int rc = newest(ctx, d->alloc->workload_id, &o->restore, &err);
	if (rc < 0)
		return rc;
	*ret = o;
	return 0;
}

/* ---- ghosts ---- */

void ghost_free(struct ghost *g)
{
	list_del(&g->link);
	mem_free(g);
}

static struct ghost *ghost_new(
	struct resources *r, struct device *d, const char *allocation_id, const char *workload_id)
{
	struct ghost *g = mem_calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->device = d;
	snprintf(g->allocation_id, sizeof(g->allocation_id), "%s", allocation_id);
	snprintf(g->workload_id, sizeof(g->workload_id), "%s", workload_id);
	list_add_tail(&r->ghosts, &g->link);
	return g;
}

int ghost_add(struct resources *r, struct svc_ctx *ctx, const struct alloc *a, struct err *err)
{
	struct device *d = a->n ? a->devices[0] : NULL;
	if (!a->program || !d)
		return 0;
	if (!ghost_new(r, d, a->id, a->workload_id))
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	return db_run(svc_db(ctx), err, "INSERT INTO ghost(allocation_id,workload_id,device_id) VALUES($1,$2,$3)", "zzz",
		a->id, a->workload_id, d->id);
}

int ghost_load(struct resources *r, struct str allocation_id, struct str workload_id, struct str device_id)
{
	char a[ID_TEXT_MAX], w[ID_TEXT_MAX];
	struct device *d = map_get(&r->devices, device_id);
	if (!d || str_copy(a, sizeof(a), allocation_id) < 0 || str_copy(w, sizeof(w), workload_id) < 0)
		return HCP_ECORRUPT;
	return ghost_new(r, d, a, w) ? 0 : HCP_ENOMEM;
}

bool ghost_haunts(const struct resources *r, const struct alloc *a)
{
	list_each(l, &r->ghosts)
	{
		const struct ghost *g = list_entry(l, struct ghost, link);
		if (g->device != a->devices[0] && !strcmp(g->workload_id, a->workload_id))
			return true;
	}
	return false;
}

bool device_has_ghost(const struct resources *r, const struct device *d)
{
	list_each(l, &r->ghosts) if (list_entry(l, struct ghost, link)->device == d) return true;
	return false;
}

int ghosts_lay(struct resources *r, struct svc_ctx *ctx, const struct device *d, struct err *err)
{
	int rc = 0;
	list_each_safe(l, tmp, &r->ghosts)
	{
		struct ghost *g = list_entry(l, struct ghost, link);
		if (g->device != d || rc < 0)
			continue;
		rc = db_run(svc_db(ctx), err, "DELETE FROM ghost WHERE allocation_id=$1", "z", g->allocation_id);
		ghost_free(g);
		r->poke = true; /* its workload may be waiting for that */
	}
	return rc;
}

static const struct ghost *ghost_find(const struct resources *r, const char *allocation_id)
{
	list_each(l, &r->ghosts) if (!strcmp(list_entry(l, struct ghost, link)->allocation_id,
									 allocation_id)) return list_entry(l, struct ghost, link);
	return NULL;
}

bool program_differs(const struct device *d, const Hcp__DeviceReading *x)
{
	const struct alloc *a = d->alloc;
	if (d->resync || d->again)
		return false;
	if (a && a->program && alloc_is_told(a)) {
		bool runs = !strcmp(x->program, a->id);
		return a->program->done ? x->program[0] && !runs : !runs;
	}
	return x->program[0] != 0;
}

/* ---- what agents tell ---- */

static int check_checkpoint(const Hcp__Checkpoint *c, struct err *err)
{
	static const char head[] = "sha256:";
	if (!c)
		return 0;
	if (strlen(c->name) >= PROGRAM_NAME_MAX || !id_is_name(c->name))
		return err_set(err, HCP_EINVAL, "checkpoint.name", "is no file's name");
	if (strncmp(c->digest, head, sizeof(head) - 1) != 0 || strlen(c->digest) != sizeof(head) - 1 + 64)
		return err_set(err, HCP_EINVAL, "checkpoint.digest", "must be sha256: and 64 digits");
	if (c->step < 0 || c->step > PROGRAM_STEP_MAX)
		return err_set(err, HCP_ERANGE, "checkpoint.step", "must be 0 to 2^53");
	if (c->of < 0 || c->of > PROGRAM_STEP_MAX || c->bytes < 0)
		return err_set(err, HCP_ERANGE, "checkpoint.of", "must be 0 to 2^53");
	return 0;
}

static int check_report(const struct resources *r, const Hcp__ProgramReport *p, struct err *err)
{
	if (!node_find(r, p->node_id))
		return err_set(err, HCP_ENOTFOUND, "node_id", "there is no node %.64s", p->node_id);
	if (!device_find(r, p->node_id, p->device_id))
		return err_set(err, HCP_ENOTFOUND, "device_id", "node %.48s has no device %.48s", p->node_id, p->device_id);
	if (p->state < HCP__PROGRAM_STATE__PROGRAM_RUNNING || p->state > HCP__PROGRAM_STATE__PROGRAM_FAILED)
		return err_set(err, HCP_EINVAL, "state", "%d is no state of a program", (int)p->state);
	if (strlen(p->error) >= PROGRAM_ERROR_MAX)
		return err_set(err, HCP_EINVAL, "error", "longer than %d characters", PROGRAM_ERROR_MAX - 1);
	return check_checkpoint(p->checkpoint, err);
}

static int publish(struct svc_ctx *ctx, const Hcp__ProgramReport *p, Hcp__Checkpoint *saved)
{
	Hcp__ProgramChanged ev = HCP__PROGRAM_CHANGED__INIT;
	ev.workload_id = p->workload_id;
	ev.allocation_id = p->allocation_id;
	ev.node_id = p->node_id;
	ev.state = p->state;
	ev.checkpoint = saved;
	ev.error = p->error;
	ev.at_ns = svc_now_ns(ctx);
	return svc_publish(ctx, p->workload_id, &ev.base);
}

/* Only who has the workload, or had it last and is not known to have let go of it, is heard. */
int on_program_report(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__ProgramReport *p = (const Hcp__ProgramReport *)m->body;
	Hcp__Checkpoint saved;
	int rc = check_report(r, p, err), news = 0;
	if (rc < 0)
		return rc;
	const struct device *d = device_find(r, p->node_id, p->device_id);
	struct alloc *a = map_get(&r->alloc_by_id, str_of(p->allocation_id));
	const struct ghost *g = a ? NULL : ghost_find(r, p->allocation_id);
	if (a && (!a->program || a->devices[0] != d || strcmp(a->workload_id, p->workload_id) != 0))
		return 0;
	if (!a && (!g || g->device != d || strcmp(g->workload_id, p->workload_id) != 0))
		return 0;
	if (p->checkpoint) {
		saved = *p->checkpoint;
		saved.at_ns = svc_now_ns(ctx);
		news = take(ctx, p->workload_id, &saved, err);
		if (news < 0)
			return news;
	}
	bool done = a && p->state == HCP__PROGRAM_STATE__PROGRAM_DONE && !a->program->done;
	if (done)
		a->program->done = true;
	if (news || done)
		rc = publish(ctx, p, news ? &saved : NULL);
	if (rc == 0 && a && p->state == HCP__PROGRAM_STATE__PROGRAM_FAILED && !a->program->done && alloc_is_told(a))
		rc = alloc_end(
			r, ctx, a, ALLOCATION_EV_LOSE, arena_printf(svc_arena(ctx), "its program failed: %s", p->error), err);
	return rc;
}
