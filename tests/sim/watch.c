/* Reads every event as it reaches the bus: the digest of the run, and the promises that events alone can break. */
#include "watch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "net.h"
#include "sched/preempt.h"
#include "svc/bases.h"
#include "wire/pb.h"

struct watch *watch_new(struct sim *s)
{
	struct watch *w = mem_calloc(1, sizeof(*w));
	must(w);
	w->sim = s;
	w->ledger.complete = true;
	w->ledger.height = -1;
	w->next = 1;
	map_init(&w->workloads);
	map_init(&w->allocations);
	map_init(&w->owners);
	map_init(&w->nodes);
	return w;
}

void watch_free(struct watch *w)
{
	size_t pos = 0;
	void *v;
	if (!w)
		return;
	while (map_next(&w->workloads, &pos, NULL, &v))
		mem_free(v);
	for (pos = 0; map_next(&w->allocations, &pos, NULL, &v);) {
		mem_free(((struct seen_allocation *)v)->device);
		mem_free(v);
	}
	for (pos = 0; map_next(&w->nodes, &pos, NULL, &v);)
		mem_free(v);
	map_release(&w->nodes);
	map_release(&w->workloads);
	map_release(&w->allocations);
	map_release(&w->owners);
	for (int i = 0; i < SVC_COUNT; i++)
		mem_free(w->sent[i].hash);
	mem_free(w);
}

void watch_rewind(struct sim *s)
{
	uint64_t end = bus_end(s->bus);
	if (s->watch->next > end)
		s->watch->next = end;
}

int watch_workload(const struct sim *s, const char *id)
{
	const struct seen_workload *w = map_get(&s->watch->workloads, str_of(id));
	return w ? w->state : 0;
}

int64_t watch_saved(const struct sim *s, const char *id)
{
	const struct seen_workload *w = map_get(&s->watch->workloads, str_of(id));
	return w ? w->saved : 0;
}

void watch_summary(const struct sim *s)
{
	sim_say(s, "%llu workloads were preempted, %llu of them reclaimed by others of their class",
		(unsigned long long)s->watch->preemptions, (unsigned long long)s->watch->reclaims);
	if (s->net)
		sim_say(s, "%llu programs were started, %llu of them from a checkpoint", (unsigned long long)s->net->programs,
			(unsigned long long)s->net->restores);
	sim_say(s, "%llu times miners went into another power mode", (unsigned long long)s->watch->retunes);
	sim_say(s, "%llu parts of devices were held, %llu of one at once at most", (unsigned long long)s->watch->parts,
		(unsigned long long)s->watch->most_parts);
}

size_t watch_active(const struct sim *s)
{
	return s->watch->active;
}

uint64_t watch_events(const struct sim *s)
{
	return s->watch->events;
}

/* ---- workloads: the table of legal moves, written down here a second time ---- */

static bool may_move(int from, int to)
{
	enum { Q = HCP__WORKLOAD_STATE__QUEUED, S, R, P, DONE, FAIL, CANCEL };
	switch (from) {
	case 0:
		return to == Q;
	case Q:
		return to == Q || to == S || to == P || to == FAIL || to == CANCEL;
	case S:
		return to == R || to == Q || to == P || to == FAIL || to == CANCEL;
	case R:
		return to == P || to == DONE || to == FAIL || to == CANCEL || to == Q;
	case P:
		return to == Q || to == FAIL || to == CANCEL;
	default:
		return false;
	}
}

/* Real-time work never yields, others to a better class or within their own, no more often than the budget, never back.
 */
static void preempted(struct watch *w, struct seen_workload *seen, const Hcp__Workload *wl)
{
	const struct seen_workload *by = map_get(&w->workloads, str_of(wl->preempted_by));
	if (wl->preemptions == seen->preemptions)
		return;
	if (wl->preemptions != seen->preemptions + 1 || wl->state != HCP__WORKLOAD_STATE__QUEUED)
		sim_fail(w->sim, "workload %s: %d preemptions after %d, in state %d", wl->id, wl->preemptions,
			seen->preemptions, (int)wl->state);
	if (!by)
		sim_fail(w->sim, "workload %s yielded to %s, which nobody knows", wl->id, wl->preempted_by);
	if (wl->type == HCP__WORKLOAD_TYPE__AI_INFERENCE_REALTIME || by->type > seen->type)
		sim_fail(w->sim, "workload %s of P%d yielded to %s of P%d", wl->id, seen->type, by->id, by->type);
	if (wl->preemptions > PREEMPT_BUDGET && wl->type != HCP__WORKLOAD_TYPE__BITCOIN_MINING)
		sim_fail(w->sim, "workload %s yielded %d times", wl->id, wl->preemptions);
	if (!strcmp(by->preempted_by, wl->id))
		sim_fail(w->sim, "workloads %s and %s preempt each other", wl->id, by->id);
	seen->preemptions = wl->preemptions;
	snprintf(seen->preempted_by, sizeof(seen->preempted_by), "%s", wl->preempted_by);
	w->preemptions++;
	w->reclaims += by->type == seen->type;
}

static void program_changed(struct watch *w, const Hcp__ProgramChanged *ev)
{
	struct seen_workload *seen = map_get(&w->workloads, str_of(ev->workload_id));
	if (!seen)
		sim_fail(w->sim, "a program of workload %s, which nobody knows", ev->workload_id);
	if (!ev->checkpoint)
		return;
	if (ev->checkpoint->step <= seen->saved)
		sim_fail(w->sim, "workload %s: checkpoint of step %lld after that of %lld", ev->workload_id,
			(long long)ev->checkpoint->step, (long long)seen->saved);
	seen->saved = ev->checkpoint->step;
}

static void workload_changed(struct watch *w, const Hcp__WorkloadChanged *ev)
{
	const Hcp__Workload *wl = ev->workload;
	struct seen_workload *seen = map_get(&w->workloads, str_of(wl->id));
	int from = seen ? seen->state : 0;
	if ((int)ev->from != from)
		sim_fail(w->sim, "workload %s is said to come from state %d, but was in %d", wl->id, (int)ev->from, from);
	int64_t said = wl->checkpoint ? wl->checkpoint->step : 0;
	bool news = seen && from == (int)wl->state && from < HCP__WORKLOAD_STATE__COMPLETED && said > seen->said_saved;
	if (!may_move(from, (int)wl->state) && !news)
		sim_fail(w->sim, "workload %s moved from state %d to %d (%s)", wl->id, from, (int)wl->state, wl->reason);
	if (!seen) {
		seen = mem_calloc(1, sizeof(*seen));
		must(seen && map_put(&w->workloads, str_of(wl->id), seen, NULL) == 0);
		snprintf(seen->id, sizeof(seen->id), "%s", wl->id);
		snprintf(seen->device_class, sizeof(seen->device_class), "%s", wl->device_class);
		seen->count = wl->device_count;
		seen->type = (int)wl->type;
	}
	preempted(w, seen, wl);
	if (said < seen->said_saved)
		sim_fail(w->sim, "workload %s: its checkpoint went from step %lld to %lld", wl->id, (long long)seen->said_saved,
			(long long)said);
	seen->said_saved = said;
	if (wl->version <= seen->version)
		sim_fail(
			w->sim, "workload %s: version %lld after %lld", wl->id, (long long)wl->version, (long long)seen->version);
	if (wl->state == HCP__WORKLOAD_STATE__QUEUED && !wl->reason[0])
		sim_fail(w->sim, "workload %s waits without a reason", wl->id);
	if (wl->state == HCP__WORKLOAD_STATE__RUNNING && wl->n_device_ids != (size_t)wl->device_count)
		sim_fail(w->sim, "workload %s runs on %zu devices, asked for %d", wl->id, wl->n_device_ids, wl->device_count);
	if (wl->state == HCP__WORKLOAD_STATE__PAUSED && (wl->n_device_ids || wl->allocation_id[0]))
		sim_fail(w->sim, "workload %s is paused and names %zu devices", wl->id, wl->n_device_ids);
	w->active -= from && from < HCP__WORKLOAD_STATE__COMPLETED;
	w->active += (int)wl->state < HCP__WORKLOAD_STATE__COMPLETED;
	seen->state = (int)wl->state;
	seen->version = wl->version;
}

/* ---- allocations: one owner a device ---- */

static struct seen_allocation *allocation(struct watch *w, const char *id)
{
	struct seen_allocation *a = map_get(&w->allocations, str_of(id));
	if (a)
		return a;
	a = mem_calloc(1, sizeof(*a));
	must(a && map_put(&w->allocations, str_of(id), a, NULL) == 0);
	snprintf(a->id, sizeof(a->id), "%s", id);
	a->price_micros_h = -1;
	return a;
}

static void set_devices(struct seen_allocation *a, size_t n, const char *const *ids)
{
	mem_free(a->device);
	a->device = mem_calloc(n + 1, sizeof(*a->device));
	must(a->device);
	a->n_devices = n;
	for (size_t i = 0; i < n; i++)
		snprintf(a->device[i], sizeof(a->device[i]), "%s", ids[i]);
}

/* It is what was asked for; more only where its memory is the larger share. */
static void place_part(struct watch *w, struct seen_allocation *a, const Hcp__Place *p)
{
	const Hcp__Workload *wl = p->workload;
	const Hcp__DeviceShare *x = p->share;
	long asked = lround(wl->gpu_fraction * SLICE_WHOLE);
	if (strcmp(x ? x->mig_profile : "", wl->mig_profile) != 0)
		sim_fail(w->sim, "%s wants instance '%s', gets '%s'", wl->id, wl->mig_profile, x ? x->mig_profile : "");
	if (!x && asked && !wl->memory_gib)
		sim_fail(w->sim, "%s wants %ld thousandths and is given the device", wl->id, asked);
	if (!x)
		return;
	if (!wl->mig_profile[0] && (x->milli < asked || (x->milli > asked && !wl->memory_gib) || !asked))
		sim_fail(w->sim, "%s wants %ld thousandths, gets %d", wl->id, asked, x->milli);
	a->part = (struct slice){ .milli = (uint16_t)x->milli, .start = (uint8_t)x->mig_start };
	enum mig_geometry g;
	if (x->mig_profile[0] &&
		mig_parse(device_class_find(str_of(wl->device_class)), str_of(x->mig_profile), &g, NULL) == 0)
		a->part.mig = (uint8_t)g;
}

static void place(struct watch *w, const Hcp__Place *p)
{
	struct seen_allocation *a = map_get(&w->allocations, str_of(p->allocation_id));
	if (a)
		sim_fail(w->sim, "allocation %s is placed twice", p->allocation_id);
	a = allocation(w, p->allocation_id);
	set_devices(a, p->n_device_ids, (const char *const *)p->device_ids);
	snprintf(a->workload, sizeof(a->workload), "%s", p->workload->id);
	place_part(w, a, p);
	if (p->n_device_ids != (size_t)p->workload->device_count)
		sim_fail(w->sim, "%s is placed on %zu devices, asked for %d", p->workload->id, p->n_device_ids,
			 p->workload->device_count);
}

static bool may_follow(int from, int to)
{
	if (from == HCP__ALLOCATION_STATE__RELEASED || from == HCP__ALLOCATION_STATE__REFUSED)
		return false;
	if (to == HCP__ALLOCATION_STATE__REFUSED)
		return from <= HCP__ALLOCATION_STATE__SWITCHING || from == HCP__ALLOCATION_STATE__RELEASING;
	return to > from || (from == to && to == HCP__ALLOCATION_STATE__RELEASING);
}

/* Beside the others of its device: together they are at most the whole, and no instance lies on another. */
static void take_part(struct watch *w, struct seen_allocation *a, struct seen_allocation *first)
{
	struct slice have[SLICES_MAX];
	struct err err = { 0 };
	size_t n = 0;
	for (struct seen_allocation *x = first; x; x = x->beside) {
		if (x == a)
			return;
		must(n < SLICES_MAX);
		have[n++] = x->part;
	}
	if (slice_fits(have, n, &a->part, &err) < 0)
		sim_fail(w->sim, "%s has no room on device %s beside %zu others: it %s", a->id, a->device[0], n, err.text);
	a->beside = first;
	must(map_put(&w->owners, str_of(a->device[0]), a, NULL) == 0);
	w->parts++;
	w->most_parts = n + 1 > w->most_parts ? n + 1 : w->most_parts;
}

static void take(struct watch *w, struct seen_allocation *a)
{
	for (size_t i = 0; i < a->n_devices; i++) {
		struct seen_allocation *old = map_get(&w->owners, str_of(a->device[i]));
		if (old && old != a && !(a->part.milli && old->part.milli))
			sim_fail(w->sim, "device %s belongs to %s and to %s", a->device[i], old->id, a->id);
		if (a->part.milli)
			take_part(w, a, old);
		else
			must(map_put(&w->owners, str_of(a->device[i]), a, NULL) == 0);
	}
}

static void give_back(struct watch *w, struct seen_allocation *a)
{
	for (size_t i = 0; i < a->n_devices; i++) {
		struct seen_allocation *first = map_get(&w->owners, str_of(a->device[i]));
		if (first == a && !a->beside)
			map_del(&w->owners, str_of(a->device[i]));
		else if (first == a)
			must(map_put(&w->owners, str_of(a->device[i]), a->beside, NULL) == 0);
		while (first && first->beside != a)
			first = first->beside;
		if (first)
			first->beside = a->beside;
		a->beside = NULL;
	}
}

static void allocation_changed(struct watch *w, const Hcp__AllocationChanged *ev)
{
	struct seen_allocation *a = allocation(w, ev->allocation_id);
	int to = (int)ev->state;
	if (!may_follow(a->state, to))
		sim_fail(w->sim, "allocation %s goes from state %d to %d (%s)", a->id, a->state, to, ev->reason);
	a->state = to;
	if (to == HCP__ALLOCATION_STATE__HELD)
		a->price_micros_h = ev->price_micros_h;
	if (!a->device && ev->n_device_ids)
		set_devices(a, ev->n_device_ids, (const char *const *)ev->device_ids);
	if (!a->workload[0])
		snprintf(a->workload, sizeof(a->workload), "%s", ev->workload_id);
	if (to == HCP__ALLOCATION_STATE__RELEASED || to == HCP__ALLOCATION_STATE__REFUSED)
		give_back(w, a);
	else
		take(w, a);
}

int64_t watch_node_j(const struct sim *s, const char *node_id)
{
	const struct seen_node *n = map_get(&s->watch->nodes, str_of(node_id));
	return n ? n->energy_j : 0;
}

static void metered(struct watch *w, const Hcp__Metered *ev)
{
	struct seen_node *n = map_get(&w->nodes, str_of(ev->node_id));
	if (!n) {
		n = mem_calloc(1, sizeof(*n));
		must(n && map_put(&w->nodes, str_of(ev->node_id), n, NULL) == 0);
	}
	for (size_t i = 0; i < ev->n_deltas; i++) {
		const Hcp__MeterDelta *d = ev->deltas[i];
		if (d->energy_j < 0 || d->device_ns < 0 || !(d->hashes >= 0) || d->requests < 0)
			sim_fail(w->sim, "node %s: a meter ran backwards (%lld J, %lld ns)", ev->node_id, (long long)d->energy_j,
				 (long long)d->device_ns);
		n->energy_j += d->energy_j;
		ledger_metered(w, ev, d);
		w->metered_energy_j += d->energy_j;
		w->metered_device_ns += d->device_ns;
		if (d->allocation_id[0] && strcmp(d->activity, "off") != 0)
			allocation(w, d->allocation_id)->sold_ns += d->device_ns;
		w->metered_hashes += d->hashes;
	}
}

static void see_decision(struct watch *w, const Hcp__Decision *d)
{
	for (size_t i = 0; d && d->changed && d->pays && i < d->n_targets; i++)
		w->retunes += d->targets[i]->mine > 0 && strcmp(d->targets[i]->power_mode, d->targets[i]->was_power_mode) != 0;
}

/* ---- the bus ---- */

static void look(struct watch *w, const struct msg *m)
{
	w->by_type[m->type]++;
	switch (m->type) {
	case MSG_WORKLOAD_CHANGED:
		workload_changed(w, (const Hcp__WorkloadChanged *)m->body);
		break;
	case MSG_PROGRAM_CHANGED:
		program_changed(w, (const Hcp__ProgramChanged *)m->body);
		break;
	case MSG_PLACE:
		place(w, (const Hcp__Place *)m->body);
		break;
	case MSG_ALLOCATION_CHANGED:
		allocation_changed(w, (const Hcp__AllocationChanged *)m->body);
		break;
	case MSG_DECISION_MADE:
		see_decision(w, ((const Hcp__DecisionMade *)m->body)->decision);
		break;
	case MSG_MARKET_MOVED:
		ledger_market(w, (const Hcp__MarketMoved *)m->body);
		break;
	case MSG_METERED:
		metered(w, (const Hcp__Metered *)m->body);
		break;
	default:
		break;
	}
}

/* 1: an event never seen; 0: a repeat, which must be the same to the bit. */
static int number(struct watch *w, const struct bus_rec *rec)
{
	struct numbers *n = &w->sent[rec->sender];
	uint64_t h = hash_bytes(rec->payload.p, rec->payload.n, rec->topic + 1);
	if (rec->seq <= n->n) {
		if (n->hash[rec->seq - 1] != h)
			sim_fail(w->sim, "event %llu of %s was published twice with different content",
				 (unsigned long long)rec->seq, svc_table[rec->sender].name);
		return 0;
	}
	if (rec->seq != n->n + 1)
		sim_fail(w->sim, "%s published event %llu after %zu: events are lost", svc_table[rec->sender].name,
			 (unsigned long long)rec->seq, n->n);
	if (n->n == n->cap) {
		n->cap = n->cap ? n->cap * 2 : 1024;
		n->hash = mem_realloc(n->hash, n->cap * sizeof(*n->hash));
		must(n->hash);
	}
	n->hash[n->n++] = h;
	return 1;
}

/* What the event says, in protobuf's own words: enough to follow one object through the platform. */
static void trace(const struct watch *w, const struct bus_rec *rec, const struct msg *m)
{
	const char *id = w->sim->opts.trace;
	if (!id || !memmem(rec->payload.p, rec->payload.n, id, strlen(id)))
		return;
	printf("%.3f s #%llu %s %s", (double)(w->sim->now_ns - w->sim->start_ns) / 1e9, (unsigned long long)rec->offset,
	       svc_table[rec->sender].name, msg_info(m->type)->name);
	if (m->type == MSG_WORKLOAD_CHANGED) {
		const Hcp__Workload *x = ((const Hcp__WorkloadChanged *)m->body)->workload;
		printf(" state %d allocation %s: %s", (int)x->state, x->allocation_id, x->reason);
	} else if (m->type == MSG_ALLOCATION_CHANGED) {
		const Hcp__AllocationChanged *x = (const Hcp__AllocationChanged *)m->body;
		printf(" %s state %d: %s", x->allocation_id, (int)x->state, x->reason);
	} else if (m->type == MSG_JOB_STATE) {
		const Hcp__JobState *x = (const Hcp__JobState *)m->body;
		printf(" %s %s: %s", x->state, x->allocation_id, x->reason);
	} else if (m->type == MSG_RELEASE) {
		const Hcp__Release *x = (const Hcp__Release *)m->body;
		printf(" %s: %s", x->allocation_id, x->reason);
	} else if (m->type == MSG_JOB_CANCEL) {
		printf(": %s", ((const Hcp__JobCancel *)m->body)->reason);
	}
	printf("\n");
}

void watch_bus(struct sim *s)
{
	struct watch *w = s->watch;
	struct bus_rec *rec[256];
	struct err err = { 0 };
	int n;
	while ((n = bus_read(s->bus, w->next, UINT64_MAX, 256, rec, &w->next, &err)) > 0)
		for (int i = 0; i < n; i++) {
			struct msg *m;
			s->digest = hash_bytes(rec[i]->payload.p, rec[i]->payload.n, s->digest ^ rec[i]->offset);
			if (number(w, rec[i])) {
				if (msg_unpack(rec[i]->payload, &m, &err) < 0)
					sim_fail(s, "an event cannot be read: %s", err.text);
				w->events++;
				trace(w, rec[i], m);
				look(w, m);
				msg_free(m);
			}
			bus_rec_unref(rec[i]);
		}
	if (n < 0)
		sim_fail(s, "the bus cannot be read: %s", err.text);
}

void watch_full(struct sim *s)
{
	watch_tables(s);
	load_check(s);
	people_check(s);
}

/* Returns the last batch of it. */
static int64_t replay_window(struct sim *s, struct slot *t, int64_t from)
{
	struct err err = { 0 };
	struct arena a;
	Hcp__ReplayReport report = HCP__REPLAY_REPORT__INIT;
	char scratch[SIM_DIR_MAX + 16];
	snprintf(scratch, sizeof(scratch), "%s/scratch.db", s->dir);
	const struct svc_replay what = { .def = t->def,
		.conf = t->conf,
		.journal = svc_database(t->svc),
		.base_dir = t->bases,
		.scratch = scratch,
		.from = from };
	const char *name = svc_table[t->def->id].name;
	arena_init(&a, 1024, 0);
	if (svc_replay(&what, &report, &a, &err) < 0)
		sim_fail(s, "%s cannot be replayed: after %lld batches: %s %s", name, (long long)report.batches, err.field,
			err.text);
	if (!report.identical)
		sim_fail(s, "replay of %s from base %lld differs at batch %lld: %s", name, (long long)report.base_batch,
			(long long)report.first_difference, report.detail);
	if (report.n_unusable_bases)
		sim_fail(s, "%s has a base that cannot be used: %s", name, report.unusable_bases[0]);
	sim_say(s, "replay of %s from batch %lld: base %lld, %lld batches, %lld events, identical", name,
		(long long)report.from_batch, (long long)report.base_batch, (long long)report.batches,
		(long long)report.events);
	arena_release(&a);
	return report.to_batch;
}

/* A service that was never asked to change anything has nothing to run again. */
static bool has_journal(const struct sim *s, const struct slot *t)
{
	struct db_row *row;
	struct err err = { 0 };
	if (!t->svc || t->def->no_journal)
		return false;
	int rc = db_query(svc_database(t->svc), &row, &err, "SELECT 1 FROM hcp_batch LIMIT 1", "");
	if (rc < 0)
		sim_fail(s, "a journal cannot be read: %s", err.text);
	if (rc == 1)
		db_done(row);
	return rc == 1;
}

/* The whole journal, and a window somewhere in it that begins at one of the bases. */
void watch_replays(struct sim *s)
{
	for (int i = 0; i < SVC_COUNT; i++) {
		struct slot *t = &s->slot[i];
		struct base all[BASES_MAX];
		struct err err = { 0 };
		size_t n = 0;
		if (!has_journal(s, t))
			continue;
		int64_t last = replay_window(s, t, 0);
		if (bases_list(t->bases, all, &n, &err) < 0)
			sim_fail(s, "bases of %s: %s %s", svc_table[i].name, err.field, err.text);
		while (n && all[n - 1].batch == last)
			n--; /* nothing happened since */
		if (n)
			(void)replay_window(s, t, all[rng_below(&s->rng, n)].batch + 1);
	}
}
