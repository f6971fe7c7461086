/* Virtual time, and the services under it. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/panic.h"
#include "base/timefmt.h"
#include "net.h"
#include "os/file.h"

int64_t sim_clock_ns(const struct sim *s)
{
	return s->now_ns + s->clock_off_ns;
}

static void print(const struct sim *s, FILE *to, const char *what, const char *fmt, va_list ap)
{
	char at[TIMEFMT_MAX];
	fprintf(to, "%s seed %llu at %s (+%.3f h): ", what, (unsigned long long)s->opts.seed,
		timefmt_format(at, s->now_ns), (double)(s->now_ns - s->start_ns) / 3600e9);
	vfprintf(to, fmt, ap);
	fputc('\n', to);
}

void sim_fail(const struct sim *s, const char *fmt, ...)
{
	va_list ap;
	fflush(stdout);
	va_start(ap, fmt);
	print(s, stderr, "BROKEN", fmt, ap);
	va_end(ap);
	fprintf(stderr, "again: sim_run --seed %llu --hours %g --verbose (--keep leaves its databases)\nstate: %s\n",
		(unsigned long long)s->opts.seed, s->opts.hours, s->dir);
	exit(1);
}

void sim_say(const struct sim *s, const char *fmt, ...)
{
	va_list ap;
	if (!s->opts.verbose)
		return;
	va_start(ap, fmt);
	print(s, stdout, "", fmt, ap);
	va_end(ap);
}

/* ---- the queue of virtual events ---- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->n < b->n;
}

static void swap(struct sim_event *a, struct sim_event *b)
{
	struct sim_event t = *a;
	*a = *b;
	*b = t;
}

void sim_at(struct sim *s, int64_t at_ns, sim_fn *fn, void *arg, uint64_t data)
{
	if (s->n_queue == s->cap_queue) {
		s->cap_queue = s->cap_queue ? s->cap_queue * 2 : 256;
		s->queue = mem_realloc(s->queue, s->cap_queue * sizeof(*s->queue));
		must(s->queue);
	}
	size_t i = s->n_queue++;
	s->queue[i] = (struct sim_event){ at_ns < s->now_ns ? s->now_ns : at_ns, s->event_no++, fn, arg, data };
	for (; i > 0 && before(&s->queue[i], &s->queue[(i - 1) / 2]); i = (i - 1) / 2)
		swap(&s->queue[i], &s->queue[(i - 1) / 2]);
}

static struct sim_event pop(struct sim *s)
{
	struct sim_event first = s->queue[0];
	s->queue[0] = s->queue[--s->n_queue];
	for (size_t i = 0;;) {
		size_t least = i, l = 2 * i + 1, r = l + 1;
		if (l < s->n_queue && before(&s->queue[l], &s->queue[least]))
			least = l;
		if (r < s->n_queue && before(&s->queue[r], &s->queue[least]))
			least = r;
		if (least == i)
			return first;
		swap(&s->queue[i], &s->queue[least]);
		i = least;
	}
}

/* ---- services ---- */

bool sim_has(const struct sim *s, int id)
{
	return s->slot[id].def != NULL;
}

void sim_add(struct sim *s, const struct svc_def *def, const void *conf)
{
	struct slot *t = &s->slot[def->id];
	t->sim = s;
	t->slowed = *def;
	t->slowed.timer_ms *= s->opts.pace ? s->opts.pace : 1;
	t->def = &t->slowed;
	t->conf = conf;
	t->seed = rng_u64(&s->rng) >> 1;
	snprintf(t->path, sizeof(t->path), "%s/%s.db", s->dir, svc_table[def->id].name);
	snprintf(t->bases, sizeof(t->bases), "%s/bases-%s", s->dir, svc_table[def->id].name);
	struct db_conf disk = { .path = t->path, .vfs = "memdb" };
	struct err err = { 0 };
	if (!s->opts.keep && db_open(&disk, &t->disk, &err) < 0)
		sim_fail(s, "no database in memory: %s %s", err.field, err.text);
}

static void reopen(struct sim *s, void *arg, uint64_t data);

static void open_slot(struct slot *t)
{
	struct sim *s = t->sim;
	struct err err = { 0 };
	struct svc_conf conf = {
		.db_path = t->path,
		.vfs = t->disk ? "memdb" : NULL,
		.bus = s->bus,
		.seed = t->seed,
		.conf = t->conf,
		.before_commit = faults_before_commit,
		.after_commit = faults_after_commit,
		.commit_arg = t,
		.now_ns = sim_clock_ns(s),
		.hold_outbox = s->opening_all,
		.send_agent = s->net ? net_down : NULL,
		.send_arg = s,
		.base_dir = t->bases,
		.base_bytes = s->opts.base_bytes ? s->opts.base_bytes : SIM_BASE_BYTES,
		.bases_kept = SIM_BASES_KEPT,
	};
	t->not_before_ns = 0;
	t->nudged = false;
	int rc = svc_open(t->def, &conf, &t->svc, &err);
	if (rc < 0 && !s->faults)
		sim_fail(s, "%s cannot be opened: %s %s (%s)", svc_table[t->def->id].name, err.field, err.text, err.origin);
	if (rc < 0)
		sim_at(s, s->now_ns + NS_PER_S, reopen, t, 0);
	watch_bus(s);
}

static void reopen(struct sim *s, void *arg, uint64_t data)
{
	struct slot *t = arg;
	if (!t->svc)
		open_slot(t);
}

void sim_open_all(struct sim *s)
{
	int order[SVC_COUNT];
	for (int i = 0; i < SVC_COUNT; i++) {
		int j = (int)rng_below(&s->rng, (uint64_t)i + 1);
		order[i] = order[j];
		order[j] = i;
	}
	s->opening_all = true;
	for (int i = 0; i < SVC_COUNT; i++)
		if (s->slot[order[i]].def && !s->slot[order[i]].svc)
			open_slot(&s->slot[order[i]]);
	s->opening_all = false;
	struct svc *all[SVC_COUNT];
	struct err err = { 0 };
	for (int i = 0; i < SVC_COUNT; i++)
		all[i] = s->slot[i].svc;
	if (svc_republish(all, SVC_COUNT, &err) < 0)
		sim_fail(s, "lost events cannot be published again: %s %s", err.field, err.text);
	watch_bus(s);
}

static void close_slot(struct slot *t)
{
	svc_abandon(t->svc);
	t->svc = NULL;
}

void sim_crash(struct sim *s, int id, int64_t down_ns)
{
	struct slot *t = &s->slot[id];
	if (!t->svc)
		return;
	sim_say(s, "%s crashes for %.1f s", svc_table[id].name, (double)down_ns / 1e9);
	t->crashes++;
	close_slot(t);
	if (id == SVC_RESOURCES && s->net && rng_below(&s->rng, 2))
		net_drop_all(s);
	sim_at(s, s->now_ns + down_ns, reopen, t, 0);
}

void sim_power_cut(struct sim *s, bool lose_tail)
{
	sim_say(s, "power cut");
	for (int i = 0; i < SVC_COUNT; i++) {
		if (!s->slot[i].svc)
			continue;
		s->slot[i].crashes++;
		close_slot(&s->slot[i]);
	}
	bus_close(s->bus);
	if (s->net)
		net_drop_all(s);
	if (lose_tail)
		sim_bus_cut(s);
	sim_bus_open(s);
	watch_rewind(s);
	sim_open_all(s);
}

void sim_nudge(struct sim *s)
{
	for (int i = 0; i < SVC_COUNT; i++)
		s->slot[i].nudged = s->slot[i].svc != NULL;
}

void sim_post(struct sim *s, struct msg *m)
{
	const struct msg_info *info = msg_info(m->type);
	struct slot *t = &s->slot[info->target];
	m->at_ns = sim_clock_ns(s);
	if (t->svc) {
		svc_post(t->svc, m);
		return;
	}
	struct err err = { 0 };
	err_set(&err, HCP_EUNAVAIL, "", "no running service takes this message");
	msg_answer_problem(m, HCP_EUNAVAIL, &err);
	msg_free(m);
}

static void sync_bus(struct sim *s, void *arg, uint64_t data)
{
	uint64_t upto;
	s->sync_due = false;
	if (bus_sync(s->bus, &upto, NULL) < 0)
		return;
	s->bus_synced = upto + 1;
	for (int i = 0; i < SVC_COUNT; i++)
		if (s->slot[i].svc)
			svc_bus_synced(s->slot[i].svc, upto);
}

/* Half a second after the first record that is not on the disk yet. */
static void want_sync(struct sim *s)
{
	uint64_t end = bus_end(s->bus);
	if (s->sync_due || end == s->bus_end_wanted)
		return;
	s->sync_due = true;
	s->bus_end_wanted = end;
	sim_at(s, s->now_ns + SIM_SYNC_MS * NS_PER_MS, sync_bus, NULL, 0);
}

/* ---- the loop ---- */

static int64_t due_at(const struct slot *t)
{
	if (!t->svc)
		return INT64_MAX;
	int64_t at = svc_next_wake(t->svc);
	if (at != INT64_MAX)
		at -= t->sim->clock_off_ns;
	if (t->nudged || svc_has_input(t->svc))
		at = t->sim->now_ns;
	return at < t->not_before_ns ? t->not_before_ns : at;
}

/* As a host does between two steps, but in one go. */
static void take_base(struct slot *t)
{
	struct svc_base *b;
	struct err err = { 0 };
	int64_t now_ns = sim_clock_ns(t->sim);
	if (!svc_base_due(t->svc, now_ns))
		return;
	int rc = svc_base_begin(t->svc, now_ns, &b, &err);
	if (rc == 0) {
		rc = svc_base_write(b, NULL, &err);
		svc_base_end(t->svc, b, rc, now_ns);
		t->bases_taken++;
	}
	if (rc < 0)
		sim_fail(t->sim, "no base copy of %s: %s %s", svc_table[t->def->id].name, err.field, err.text);
}

static void step_slot(struct slot *t)
{
	struct sim *s = t->sim;
	t->nudged = false;
	int rc = svc_step(t->svc, sim_clock_ns(s));
	s->steps++;
	if (rc >= 0)
		take_base(t);
	if (rc == HCP_ECLOSED) {
		sim_crash(s, t->def->id, (int64_t)rng_below(&s->rng, 20) * NS_PER_S);
	} else if (rc < 0) {
		t->aborts++;
		t->not_before_ns = s->now_ns + SVC_RETRY_MS * NS_PER_MS;
		if (!s->faults)
			sim_fail(s, "%s aborts a batch though nothing fails: %s", svc_table[t->def->id].name, err_name(rc));
	}
	/* It waits for its clock after an abort; a host looks again soon. */
	if (rc == 0 && svc_has_input(t->svc))
		t->not_before_ns = s->now_ns + 50 * NS_PER_MS;
	watch_bus(s);
	want_sync(s);
	faults_after_step(s);
}

/* Steps who is due; returns whether any was. */
static bool step_due(struct sim *s)
{
	bool any = false;
	int first = (int)rng_below(&s->rng, SVC_COUNT);
	for (int i = 0; i < SVC_COUNT; i++) {
		struct slot *t = &s->slot[(first + i) % SVC_COUNT];
		if (t->svc && due_at(t) <= s->now_ns) {
			step_slot(t);
			any = true;
		}
	}
	return any;
}

static int64_t next_time(const struct sim *s)
{
	int64_t next = s->n_queue ? s->queue[0].at_ns : INT64_MAX;
	for (int i = 0; i < SVC_COUNT; i++) {
		int64_t at = due_at(&s->slot[i]);
		if (at < next)
			next = at;
	}
	return next;
}

static void no_rest(const struct sim *s)
{
	for (int i = 0; i < SVC_COUNT; i++)
		if (s->slot[i].svc && due_at(&s->slot[i]) <= s->now_ns)
			sim_fail(s, "%s never comes to rest at this instant: input %d, wakes in %.3f s, clock off by %.3f s",
				 svc_table[i].name, svc_has_input(s->slot[i].svc),
				 (double)(svc_next_wake(s->slot[i].svc) - sim_clock_ns(s)) / 1e9, (double)s->clock_off_ns / 1e9);
	sim_fail(s, "events never end at this instant");
}

void sim_run_until(struct sim *s, int64_t until_ns)
{
	int spins = 0;
	for (;;) {
		int64_t next = next_time(s);
		if (next > until_ns)
			break;
		spins = next > s->now_ns ? 0 : spins + 1;
		if (next > s->now_ns)
			s->now_ns = next;
		if (spins > SIM_SPIN_MAX)
			no_rest(s);
		while (s->n_queue && s->queue[0].at_ns <= s->now_ns) {
			struct sim_event e = pop(s);
			if (++spins > SIM_SPIN_MAX)
				no_rest(s);
			e.fn(s, e.arg, e.data);
		}
		step_due(s);
	}
	s->now_ns = until_ns;
}

static void make_dir(struct sim *s)
{
	const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(s->dir, sizeof(s->dir), "%s/hcp-sim-XXXXXX", base);
	if (!mkdtemp(s->dir))
		sim_fail(s, "no temporary folder");
}

void sim_init(struct sim *s, const struct sim_opts *opts)
{
	*s = (struct sim){ .opts = *opts, .start_ns = opts->start_ns ? opts->start_ns : INT64_C(1767225600) * NS_PER_S };
	s->now_ns = s->start_ns;
	rng_init(&s->rng, opts->seed);
	for (int i = 0; i < SVC_COUNT; i++)
		s->slot[i].sim = s;
	make_dir(s);
	sim_bus_open(s);
	s->watch = watch_new(s);
}

static int remove_one(void *arg, const char *name)
{
	char path[SIM_DIR_MAX + 300];
	if (file_join(path, sizeof(path), arg, name) == 0)
		(void)file_remove(path, NULL);
	return 0;
}

void sim_release(struct sim *s)
{
	char dir[SIM_DIR_MAX + 16];
	for (int i = 0; i < SVC_COUNT; i++) {
		close_slot(&s->slot[i]);
		db_close(s->slot[i].disk);
	}
	bus_close(s->bus);
	load_free(s->load_state);
	post_free(s->poster);
	people_free(s->people);
	net_free(s->net);
	mem_free(s->market);
	watch_free(s->watch);
	mem_free(s->queue);
	if (s->opts.keep)
		return;
	snprintf(dir, sizeof(dir), "%s/bus", s->dir);
	(void)file_list(dir, "", remove_one, dir, NULL);
	(void)rmdir(dir);
	for (int i = 0; i < SVC_COUNT; i++) {
		if (!s->slot[i].def || !file_exists(s->slot[i].bases))
			continue;
		(void)file_list(s->slot[i].bases, "", remove_one, s->slot[i].bases, NULL);
		(void)rmdir(s->slot[i].bases);
	}
	(void)file_list(s->dir, "", remove_one, s->dir, NULL);
	(void)rmdir(s->dir);
}
