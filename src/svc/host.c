#include "svc/host.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/money.h"
#include "os/clock.h"
#include "os/entropy.h"
#include "os/file.h"
#include "os/heap.h"
#include "os/priority.h"
#include "svc/bases.h"

enum { HOST_PATH_MAX = 4096, HOST_SYNC_MS = 1000, HOST_IDLE_MS = 1000, HOST_TRIM_S = 10 };

/* A base copy on its way: the service's thread begins and ends it, the writer's thread writes it. One at a time. */
enum base_phase { BASE_NONE, BASE_QUEUED, BASE_WRITTEN };

struct runner {
	struct host *host;
	struct svc *svc; /* owned */
	pthread_t thread;
	bool running;
};

struct host {
	struct host_conf conf;
	char *state_dir;
	struct bus *bus;
	struct runner run[SVC_COUNT];
	pthread_t syncer, writer;
	bool syncing, writing;
	atomic_bool stop;
	pthread_mutex_t lock;
	pthread_cond_t wake; /* of the syncer and the writer */
	atomic_int base_of;  /* the service whose base is on its way; SVC_NONE: none */
	atomic_int base_phase;
	struct svc_base *base; /* owned; whose turn base_phase says */
	int base_rc;
	int64_t base_paused_ns, base_written_ns; /* how long the service stood still for it, and how long writing took */
};

int host_new(const struct host_conf *conf, struct host **ret, struct err *err)
{
	char path[HOST_PATH_MAX];
	struct host *h = mem_calloc(1, sizeof(*h));
	if (!h)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	h->conf = *conf;
	atomic_store(&h->base_of, SVC_NONE);
	h->state_dir = mem_strdup(conf->state_dir);
	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&h->wake, &attr);
	pthread_condattr_destroy(&attr);
	int rc = h->state_dir ? file_mkdirs(h->state_dir, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	if (rc == 0)
		rc = file_join(path, sizeof(path), h->state_dir, "bus");
	if (rc == 0)
		rc = bus_open(&(struct bus_conf){ .dir = path }, &h->bus, err);
	if (rc < 0) {
		host_free(h);
		return rc;
	}
	*ret = h;
	return 0;
}

int host_add(struct host *h, const struct svc_def *def, struct err *err)
{
	char name[64], bases[64], path[HOST_PATH_MAX], base_dir[HOST_PATH_MAX];
	snprintf(name, sizeof(name), "%s.db", svc_table[def->id].name);
	snprintf(bases, sizeof(bases), "bases/%s", svc_table[def->id].name);
	if (file_join(path, sizeof(path), h->state_dir, name) < 0 ||
		file_join(base_dir, sizeof(base_dir), h->state_dir, bases) < 0)
		return err_set(err, HCP_ERANGE, h->state_dir, "path too long");
	struct svc_conf conf = {
		.db_path = path,
		.durable = h->conf.durable,
		.bus = h->bus,
		.seed = entropy_u64() >> 1,
		.conf = h->conf.svc_conf[def->id],
		.send_agent = h->conf.send_agent,
		.send_arg = h->conf.send_arg,
		.now_ns = clock_wall_ns(),
		.hold_outbox = true,
		.base_dir = base_dir,
		.base_bytes = h->conf.base_bytes,
		.bases_kept = h->conf.bases_kept,
	};
	struct runner *r = &h->run[def->id];
	r->host = h;
	return svc_open(def, &conf, &r->svc, err);
}

static void poke(void *arg)
{
	mailbox_poke(arg);
}

static void begin_base(struct host *h, struct svc *svc, int64_t now_ns)
{
	struct err err = { 0 };
	int id = svc_def_of(svc)->id, nobody = SVC_NONE;
	if (!atomic_compare_exchange_strong(&h->base_of, &nobody, id))
		return; /* another service's is on its way; ours is due still when that is done */
	int64_t began_ns = clock_mono_ns();
	int rc = svc_base_begin(svc, now_ns, &h->base, &err);
	h->base_paused_ns = clock_mono_ns() - began_ns;
	if (rc < 0) {
		log_error(svc_table[id].name, "no base copy: %s %s", err.field, err.text);
		atomic_store(&h->base_of, SVC_NONE);
		return;
	}
	pthread_mutex_lock(&h->lock);
	atomic_store(&h->base_phase, BASE_QUEUED);
	pthread_cond_broadcast(&h->wake);
	pthread_mutex_unlock(&h->lock);
}

/* Between two steps, in the service's thread. */
static void look_after_base(struct host *h, struct svc *svc, int64_t now_ns)
{
	if (atomic_load(&h->base_of) == svc_def_of(svc)->id) {
		if (atomic_load(&h->base_phase) != BASE_WRITTEN)
			return;
		struct svc_base *b = h->base;
		h->base = NULL;
		atomic_store(&h->base_phase, BASE_NONE);
		if (h->base_rc == 0)
			log_info(svc_table[svc_def_of(svc)->id].name,
				"base copy taken: the service stood still for %.1f ms, writing took %.1f ms",
				(double)h->base_paused_ns / 1e6, (double)h->base_written_ns / 1e6);
		svc_base_end(svc, b, h->base_rc, now_ns);
		atomic_store(&h->base_of, SVC_NONE);
	}
	if (h->writing && svc_base_due(svc, now_ns))
		begin_base(h, svc, now_ns);
}

static int go_on_writing(void *arg, enum base_stage stage)
{
	struct host *h = arg;
	return stage != BASE_KEPT && atomic_load(&h->stop) ? HCP_ECANCELED : 0;
}

static void *run_writer(void *arg)
{
	struct host *h = arg;
	struct bases_hook hook = { go_on_writing, h };
	priority_lower();
	pthread_mutex_lock(&h->lock);
	while (!atomic_load(&h->stop)) {
		if (atomic_load(&h->base_phase) != BASE_QUEUED) {
			pthread_cond_wait(&h->wake, &h->lock);
			continue;
		}
		pthread_mutex_unlock(&h->lock);
		struct err err = { 0 };
		int id = atomic_load(&h->base_of);
		int64_t began_ns = clock_mono_ns();
		h->base_rc = svc_base_write(h->base, &hook, &err);
		h->base_written_ns = clock_mono_ns() - began_ns;
		if (h->base_rc < 0 && h->base_rc != HCP_ECANCELED)
			log_error(svc_table[id].name, "no base copy: %s %s", err.field, err.text);
		pthread_mutex_lock(&h->lock);
		atomic_store(&h->base_phase, BASE_WRITTEN);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

static void *run_service(void *arg)
{
	struct runner *r = arg;
	if (svc_def_of(r->svc)->patient)
		priority_lower();
	while (!atomic_load_explicit(&r->host->stop, memory_order_acquire)) {
		int64_t now = clock_wall_ns();
		int n = svc_step(r->svc, now);
		look_after_base(r->host, r->svc, now);
		if (n > 0)
			continue;
		int64_t idle = svc_next_wake(r->svc) - now;
		if (idle > HOST_IDLE_MS * NS_PER_MS || idle < 0)
			idle = HOST_IDLE_MS * NS_PER_MS;
		mailbox_wait(svc_mailbox(r->svc), clock_mono_ns() + idle);
	}
	return NULL;
}

static void *run_syncer(void *arg)
{
	struct host *h = arg;
	uint64_t synced = 0, last = 0;
	unsigned rounds = 0;
	pthread_mutex_lock(&h->lock);
	while (!atomic_load(&h->stop)) {
		int64_t until = clock_mono_ns() + HOST_SYNC_MS * NS_PER_MS;
		struct timespec ts = { until / NS_PER_S, until % NS_PER_S };
		pthread_cond_timedwait(&h->wake, &h->lock, &ts);
		pthread_mutex_unlock(&h->lock);
		struct err err = { 0 };
		if (bus_sync(h->bus, &synced, &err) < 0)
			log_error("bus", "cannot sync the event log: %s", err.text);
		else if (synced != last)
			for (int i = 0; i < SVC_COUNT; i++)
				if (h->run[i].svc)
					svc_bus_synced(h->run[i].svc, synced);
		last = synced;
		if (++rounds % (HOST_TRIM_S * 1000 / HOST_SYNC_MS) == 0)
			heap_trim();
		pthread_mutex_lock(&h->lock);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

static int start_one(struct host *h, struct runner *r, struct err *err)
{
	uint64_t mask = 0;
	int id = svc_def_of(r->svc)->id;
	for (int i = 0; i < TOPIC_COUNT; i++)
		if (topic_table[i].to_mask >> id & 1)
			mask |= UINT64_C(1) << i;
	if (mask && bus_watch(h->bus, mask, poke, svc_mailbox(r->svc)) < 0)
		return err_set(err, HCP_ELIMIT, svc_table[id].name, "too many readers of the event log");
	if (pthread_create(&r->thread, NULL, run_service, r) != 0)
		return err_set(err, HCP_EIO, svc_table[id].name, "cannot start a thread");
	char name[16];
	snprintf(name, sizeof(name), "%s", svc_table[id].name);
	pthread_setname_np(r->thread, name);
	r->running = true;
	return 0;
}

int host_start(struct host *h, struct err *err)
{
	struct svc *all[SVC_COUNT];
	for (int i = 0; i < SVC_COUNT; i++)
		all[i] = h->run[i].svc;
	int rc = svc_republish(all, SVC_COUNT, err);
	if (rc == 0 && pthread_create(&h->writer, NULL, run_writer, h) == 0) {
		pthread_setname_np(h->writer, "bases");
		h->writing = true;
	}
	for (int i = 0; i < SVC_COUNT && rc == 0; i++)
		if (h->run[i].svc)
			rc = start_one(h, &h->run[i], err);
	if (rc == 0 && pthread_create(&h->syncer, NULL, run_syncer, h) == 0)
		h->syncing = true;
	return rc;
}

void host_free(struct host *h)
{
	if (!h)
		return;
	atomic_store(&h->stop, true);
	for (int i = 0; i < SVC_COUNT; i++) {
		struct runner *r = &h->run[i];
		if (!r->running)
			continue;
		mailbox_close(svc_mailbox(r->svc));
		pthread_join(r->thread, NULL);
		bus_unwatch(h->bus, svc_mailbox(r->svc));
	}
	pthread_mutex_lock(&h->lock);
	pthread_cond_broadcast(&h->wake);
	pthread_mutex_unlock(&h->lock);
	if (h->syncing)
		pthread_join(h->syncer, NULL);
	if (h->writing)
		pthread_join(h->writer, NULL);
	svc_base_free(h->base);
	for (int i = 0; i < SVC_COUNT; i++)
		svc_close(h->run[i].svc);
	bus_close(h->bus);
	pthread_cond_destroy(&h->wake);
	pthread_mutex_destroy(&h->lock);
	mem_free(h->state_dir);
	mem_free(h);
}

struct bus *host_bus(struct host *h)
{
	return h->bus;
}

struct svc *host_service(struct host *h, int id)
{
	return id >= 0 && id < SVC_COUNT ? h->run[id].svc : NULL;
}

void host_send(struct host *h, struct msg *m)
{
	const struct msg_info *info = msg_info(m->type);
	struct svc *svc = info ? host_service(h, info->target) : NULL;
	if (!m->at_ns)
		m->at_ns = clock_wall_ns();
	if (svc) {
		svc_post(svc, m);
		return;
	}
	if (info && info->target != SVC_NONE && h->conf.remote) {
		h->conf.remote(h->conf.remote_arg, info->target, m);
		return;
	}
	struct err err = { 0 };
	err_set(&err, HCP_EUNAVAIL, "", "no running service takes this message");
	msg_answer_problem(m, HCP_EUNAVAIL, &err);
	msg_free(m);
}
