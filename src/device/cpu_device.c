#include "device/cpu_device.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/panic.h"
#include "hash/engine.h"

enum {
	HITS = 16,
	QUANTUM_MIN = 256,
	RATE_WINDOW_S = 10,
};
_Static_assert((int)HITS >= (int)HASH_VERSIONS_MAX, "all versions of one nonce must fit");

struct slot {
	struct fill_job job;
	uint64_t generation; /* of the publication: the same work may come again with another mask */
};

struct fill_thread {
	struct cpu_device *device; /* borrowed */
	pthread_t id;
	unsigned index;
	bool started;
	_Atomic(const struct slot *) hazard; /* the slot this thread reads */
	_Atomic uint64_t hashes, quanta, shares, dropped;
	_Atomic uint32_t head, tail; /* shares[head % N] is next to take; tail is the writer's */
	struct fill_share ring[CPU_DEVICE_SHARES];
};

/* Where one thread stands; its own. */
struct cursor {
	const struct fill_job *job; /* protected by the hazard pointer; NULL: none */
	uint64_t serial, generation;
	uint64_t extranonce2;
	uint32_t ntime;
	uint64_t nonce;   /* next; 2^32: the header is used up */
	uint64_t quantum; /* nonces, so that a scan takes about CPU_DEVICE_QUANTUM_US */
	struct stratum_bytes en2;
	struct hash_work work;
};

struct cpu_device {
	struct gate gate;
	struct cpu_device_conf conf;
	const struct hash_engine *engine;
	unsigned n_threads;
	_Atomic bool stop;
	_Atomic uint32_t limit;
	_Atomic(const struct slot *) current; /* NULL: none */
	uint64_t generation;         /* owner */
	struct slot *slots;           /* owned; n_threads + 2 */
	struct fill_thread *threads; /* owned */
	unsigned next_taken;         /* owner: whose ring is looked at first */
	int64_t tick_ns;
	double tick_hashes, hash_ps, last_hash_ps;
	bool turned; /* since the last tick */
};

static const struct slot *slot_acquire(struct fill_thread *t)
{
	const struct slot *j;
	do {
		j = atomic_load(&t->device->current);
		atomic_store(&t->hazard, j);
	} while (j != atomic_load(&t->device->current));
	return j;
}

static void put_extranonce2(struct stratum_bytes *b, uint32_t size, uint64_t v)
{
	memset(b, 0, sizeof(*b));
	b->n = (uint8_t)size;
	for (uint32_t i = 0; i < size && i < 8; i++, v >>= 8)
		b->p[i] = (uint8_t)v;
}

/* Up to HASH_VERSIONS_MAX versions that differ in the lowest bits of the mask. */
static size_t versions_of(const struct fill_job *j, uint32_t ret[HASH_VERSIONS_MAX])
{
	uint32_t low = j->version_mask & -j->version_mask;
	uint32_t rest = j->version_mask & ~low;
	uint32_t next = rest & -rest;
	size_t n = low ? next ? 4 : 2 : 1;
	for (size_t i = 0; i < n; i++)
		ret[i] = stratum_version(j->job.version, j->version_mask, (i & 1 ? low : 0) | (i & 2 ? next : 0));
	return n;
}

/* The header of the cursor's extranonce2 and ntime. */
static void prepare(struct cursor *c)
{
	const struct fill_job *j = c->job;
	uint8_t header[HASH_HEADER_SIZE], target[SHA256_SIZE];
	uint32_t versions[HASH_VERSIONS_MAX];
	put_extranonce2(&c->en2, j->extranonce2_size, c->extranonce2);
	stratum_job_header(&j->job, &j->extranonce1, &c->en2, j->job.version, c->ntime, 0, sha256d_of, header);
	must(hash_target_from_difficulty(j->difficulty, target) == 0); /* checked by set_job */
	must(hash_work_init_rolled(&c->work, header, target, versions, versions_of(j, versions), NULL) == 0);
	c->nonce = 0;
}

/* The next extranonce2 of this thread; when they are used up the next second. */
static void advance(struct cursor *c, const struct fill_thread *t)
{
	uint32_t bits = c->job->extranonce2_size * 8;
	c->extranonce2 += t->device->n_threads;
	if (bits < 64 && c->extranonce2 >> bits) {
		c->extranonce2 = t->index;
		c->ntime++;
	}
	prepare(c);
}

static bool take_job(struct cursor *c, struct fill_thread *t)
{
	const struct slot *s = slot_acquire(t);
	c->job = s ? &s->job : NULL;
	if (!s)
		return false;
	if (s->generation == c->generation)
		return true;
	c->generation = s->generation;
	if (c->job->serial == c->serial && c->nonce) {
		advance(c, t); /* what was tried of this work is not tried again */
		return true;
	}
	c->serial = c->job->serial;
	c->ntime = c->job->job.ntime;
	c->extranonce2 = t->index;
	prepare(c);
	return true;
}

static void give_share(struct fill_thread *t, const struct cursor *c, const struct hash_hit *h)
{
	uint32_t tail = atomic_load_explicit(&t->tail, memory_order_relaxed);
	if (tail - atomic_load_explicit(&t->head, memory_order_acquire) >= CPU_DEVICE_SHARES) {
		atomic_fetch_add_explicit(&t->dropped, 1, memory_order_relaxed);
		return;
	}
	struct fill_share *s = &t->ring[tail % CPU_DEVICE_SHARES];
	s->serial = c->serial;
	s->difficulty = c->job->difficulty;
	memcpy(s->job_id, c->job->job.id, sizeof(s->job_id));
	s->extranonce2 = c->en2;
	s->ntime = c->ntime;
	s->nonce = h->nonce;
	s->version = h->version;
	atomic_store_explicit(&t->tail, tail + 1, memory_order_release);
	atomic_fetch_add_explicit(&t->shares, 1, memory_order_relaxed);
}

static void adapt(struct cursor *c, uint64_t scanned, int64_t took_ns)
{
	int64_t want_ns = CPU_DEVICE_QUANTUM_US * 1000;
	if (scanned == c->quantum && took_ns < want_ns / 2)
		c->quantum *= 2;
	else if (took_ns > want_ns * 2 && c->quantum > QUANTUM_MIN)
		c->quantum /= 2;
}

/* One quantum inside the gate. */
static void quantum(struct fill_thread *t, struct cursor *c)
{
	struct cpu_device *d = t->device;
	struct hash_hit hits[HITS];
	uint64_t scanned = 0, left = (UINT64_C(1) << 32) - c->nonce;
	int64_t begun_ns = d->conf.now_ns();
	uint32_t n = d->engine->scan(&c->work, (uint32_t)c->nonce, left < c->quantum ? left : c->quantum, &d->gate.closed,
		hits, HITS, &scanned);
	/* Before it is told that nobody is in: who then reads the count shall not find these among later ones. */
	atomic_fetch_add_explicit(&t->hashes, scanned * c->work.nversions, memory_order_relaxed);
	gate_leave(&d->gate);
	adapt(c, scanned, d->conf.now_ns() - begun_ns);
	c->nonce += scanned;
	atomic_fetch_add_explicit(&t->quanta, 1, memory_order_relaxed);
	for (uint32_t i = 0; i < n; i++)
		give_share(t, c, &hits[i]);
	if (n && d->conf.on_share)
		d->conf.on_share(d->conf.arg);
	if (c->nonce >> 32)
		advance(c, t);
}

static void lower_priority(void)
{
	struct sched_param p = { 0 };
	(void)pthread_setschedparam(pthread_self(), SCHED_IDLE, &p);
	(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19); /* for where SCHED_IDLE is refused */
}

static void *fill_main(void *arg)
{
	struct fill_thread *t = arg;
	struct cpu_device *d = t->device;
	struct cursor c = { .quantum = QUANTUM_MIN };
	lower_priority();
	while (!atomic_load(&d->stop)) {
		uint32_t ticket = gate_ticket(&d->gate);
		if (atomic_load(&d->stop))
			break;
		if (t->index >= atomic_load(&d->limit) || !take_job(&c, t) || !gate_enter(&d->gate)) {
			gate_wait(&d->gate, ticket);
			continue;
		}
		/* Since it was taken, the gate may have been shut for long, the job withdrawn, and the gate opened again. */
		if (atomic_load(&d->current) != atomic_load_explicit(&t->hazard, memory_order_relaxed)) {
			gate_leave(&d->gate);
			continue;
		}
		quantum(t, &c);
	}
	atomic_store(&t->hazard, NULL);
	return NULL;
}

static unsigned cpus(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
	return n < 1 ? 1 : n > CPU_DEVICE_THREADS_MAX ? CPU_DEVICE_THREADS_MAX : (unsigned)n;
}

int cpu_device_new(const struct cpu_device_conf *conf, struct cpu_device **ret, struct err *err)
{
	if (conf->threads > CPU_DEVICE_THREADS_MAX)
		return err_set(err, HCP_ERANGE, "threads", "must be at most %d", CPU_DEVICE_THREADS_MAX);
	struct cpu_device *d = mem_calloc(1, sizeof(*d));
	if (!d)
		return err_set(err, HCP_ENOMEM, "", "no memory for the device");
	d->conf = *conf;
	d->engine = conf->engine ? conf->engine : hash_engine_best();
	d->n_threads = conf->threads ? conf->threads : cpus();
	gate_init(&d->gate, conf->now_ns, conf->on_idle, conf->arg);
	atomic_store(&d->limit, d->n_threads);
	d->slots = mem_calloc(d->n_threads + 2, sizeof(*d->slots));
	/* mem_calloc aligns to 16 bytes; a shared cache line costs little at one write a quantum. */
	d->threads = mem_calloc(d->n_threads, sizeof(*d->threads));
	int rc = 0;
	if (!d->slots || !d->threads)
		rc = err_set(err, HCP_ENOMEM, "", "no memory for %u fill threads", d->n_threads);
	for (unsigned i = 0; rc == 0 && i < d->n_threads; i++) {
		struct fill_thread *t = &d->threads[i];
		t->device = d;
		t->index = i;
		if (pthread_create(&t->id, NULL, fill_main, t) != 0)
			rc = err_set(err, HCP_EIO, "threads", "the system refuses to start thread %u", i);
		else
			t->started = true;
	}
	if (rc < 0) {
		cpu_device_free(d);
		return rc;
	}
	*ret = d;
	return 0;
}

void cpu_device_free(struct cpu_device *d)
{
	if (!d)
		return;
	atomic_store(&d->stop, true);
	gate_set(&d->gate, GATE_SAFE);
	gate_kick(&d->gate);
	for (unsigned i = 0; d->threads && i < d->n_threads; i++) {
		if (d->threads[i].started)
			pthread_join(d->threads[i].id, NULL);
	}
	mem_free(d->threads);
	mem_free(d->slots);
	mem_free(d);
}

struct gate *cpu_device_gate(struct cpu_device *d)
{
	return &d->gate;
}

static bool slot_free(const struct cpu_device *d, const struct slot *slot)
{
	if (slot == atomic_load(&d->current))
		return false;
	for (unsigned i = 0; i < d->n_threads; i++) {
		if (atomic_load(&d->threads[i].hazard) == slot)
			return false;
	}
	return true;
}

void cpu_device_set_job(struct cpu_device *d, const struct fill_job *job)
{
	uint8_t target[SHA256_SIZE];
	if (!job || hash_target_from_difficulty(job->difficulty, target) < 0 || job->extranonce2_size < 1 ||
	    job->extranonce2_size > STRATUM_EXTRANONCE_MAX) {
		atomic_store(&d->current, NULL);
		return;
	}
	for (unsigned i = 0; i < d->n_threads + 2; i++) {
		/* A thread may still take a hazard on a slot that was current a moment ago, but then it looks again before it
		 * reads: only slots that are neither current nor protected are written. */
		if (!slot_free(d, &d->slots[i]))
			continue;
		d->slots[i].job = *job;
		d->slots[i].generation = ++d->generation;
		atomic_store(&d->current, &d->slots[i]);
		gate_kick(&d->gate);
		return;
	}
	must_not_reach("more slots in use than threads");
}

bool cpu_device_has_job(const struct cpu_device *d)
{
	return atomic_load(&d->current) != NULL;
}

void cpu_device_limit(struct cpu_device *d, unsigned threads)
{
	if (atomic_exchange(&d->limit, threads) < threads)
		gate_kick(&d->gate);
}

unsigned cpu_device_threads(const struct cpu_device *d)
{
	return d->n_threads;
}

const char *cpu_device_engine(const struct cpu_device *d)
{
	return d->engine->name;
}

bool cpu_device_take_share(struct cpu_device *d, struct fill_share *ret)
{
	for (unsigned k = 0; k < d->n_threads; k++) {
		struct fill_thread *t = &d->threads[d->next_taken];
		d->next_taken = (d->next_taken + 1) % d->n_threads;
		uint32_t head = atomic_load_explicit(&t->head, memory_order_relaxed);
		if (head == atomic_load_explicit(&t->tail, memory_order_acquire))
			continue;
		*ret = t->ring[head % CPU_DEVICE_SHARES];
		atomic_store_explicit(&t->head, head + 1, memory_order_release);
		return true;
	}
	return false;
}

void cpu_device_stats(const struct cpu_device *d, struct cpu_device_stats *ret)
{
	struct cpu_device_stats s = { .hash_ps = d->hash_ps, .last_hash_ps = d->last_hash_ps };
	for (unsigned i = 0; i < d->n_threads; i++) {
		const struct fill_thread *t = &d->threads[i];
		s.hashes += (double)atomic_load_explicit(&t->hashes, memory_order_relaxed);
		s.quanta += atomic_load_explicit(&t->quanta, memory_order_relaxed);
		s.shares += atomic_load_explicit(&t->shares, memory_order_relaxed);
		s.dropped += atomic_load_explicit(&t->dropped, memory_order_relaxed);
	}
	int64_t now_ns = d->turned ? d->conf.now_ns() : 0;
	if (now_ns > d->tick_ns)
		s.hash_ps = (s.hashes - d->tick_hashes) / ((double)(now_ns - d->tick_ns) / 1e9);
	*ret = s;
}

void cpu_device_turn(struct cpu_device *d)
{
	struct cpu_device_stats s;
	cpu_device_stats(d, &s);
	d->tick_ns = d->conf.now_ns();
	d->tick_hashes = s.hashes;
	d->hash_ps = 0;
	d->turned = true;
}

void cpu_device_tick(struct cpu_device *d)
{
	struct cpu_device_stats s;
	cpu_device_stats(d, &s);
	int64_t now_ns = d->conf.now_ns();
	if (d->tick_ns && now_ns > d->tick_ns) {
		double dt_s = (double)(now_ns - d->tick_ns) / 1e9;
		d->last_hash_ps = (s.hashes - d->tick_hashes) / dt_s;
		/* A pause ends the average at once: what is shown then is that nothing is hashed. */
		if (d->last_hash_ps > 0 && d->hash_ps > 0)
			d->hash_ps += (d->last_hash_ps - d->hash_ps) * (1 - exp(-dt_s / RATE_WINDOW_S));
		else
			d->hash_ps = d->last_hash_ps;
	}
	d->tick_ns = now_ns;
	d->tick_hashes = s.hashes;
	d->turned = false;
}
