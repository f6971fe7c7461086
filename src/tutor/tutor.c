#include "tutor/tutor.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/money.h"
#include "econ/outlook.h"
#include "os/clock.h"
#include "os/file.h"
#include "svc/host.h"
#include "tutor/lesson.h"

/*
 *   LessonGet ──▶ optimizer ──▶ Lesson ──▶ train, or read a file ──▶ ModelPut ──▶ optimizer
 *       ▲                                                                            │
 *       └──────────────── at once after a lesson, else after poll_ms ────────────────┘
 */
enum { KEY_MAX = 96, PATH_MAX_N = 4096 };

/* A lesson that could not be had. */
struct skip {
	char key[KEY_MAX];
	int64_t until_ns; /* monotonic; INT64_MAX: for good */
};

struct tutor {
	struct tutor_conf conf;
	pthread_t thread;
	bool running;
	atomic_bool stopped;
	pthread_mutex_t lock; /* answer, waiting */
	pthread_cond_t changed;
	struct msg *answer; /* owned */
	bool waiting;
	struct skip skip[TUTOR_SKIP_MAX];
	size_t n_skip;
};

static bool is_stopped(void *arg)
{
	return atomic_load(&((struct tutor *)arg)->stopped);
}

/* ---- questions ---- */

/* On the optimizer's thread. */
static void on_reply(void *arg, struct msg *reply)
{
	struct tutor *t = arg;
	pthread_mutex_lock(&t->lock);
	t->answer = reply;
	t->waiting = false;
	pthread_cond_signal(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

/* Takes m; the answer, owned. NULL: stopped, or there was no memory for one. Every service answers, at its end too. */
static struct msg *ask(struct tutor *t, struct msg *m)
{
	m->reply_fn = on_reply;
	m->reply_arg = t;
	t->waiting = true;
	host_send(t->conf.host, m);
	pthread_mutex_lock(&t->lock);
	while (t->waiting && !atomic_load(&t->stopped))
		pthread_cond_wait(&t->changed, &t->lock);
	struct msg *answer = t->waiting ? NULL : t->answer;
	if (!t->waiting)
		t->answer = NULL;
	pthread_mutex_unlock(&t->lock);
	return answer;
}

static void nap(struct tutor *t, int ms)
{
	int64_t at_ns = clock_wall_ns() + ms * NS_PER_MS;
	const struct timespec until = { .tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S };
	pthread_mutex_lock(&t->lock);
	while (!atomic_load(&t->stopped) && pthread_cond_timedwait(&t->changed, &t->lock, &until) == 0)
		;
	pthread_mutex_unlock(&t->lock);
}

/* ---- what cannot be had ---- */

static void key_of(const Hcp__Lesson *l, char ret[KEY_MAX])
{
	snprintf(ret, KEY_MAX, "%s%s/%s", l->train ? "" : "file/", l->kind, l->name);
}

static void skip(struct tutor *t, const Hcp__Lesson *l, int64_t until_ns)
{
	size_t i = t->n_skip < TUTOR_SKIP_MAX ? t->n_skip++ : 0;
	key_of(l, t->skip[i].key);
	t->skip[i].until_ns = until_ns;
}

static struct msg *question(struct tutor *t)
{
	struct msg *m = msg_new(MSG_LESSON_GET);
	Hcp__LessonGet *g = m ? (Hcp__LessonGet *)m->body : NULL;
	int64_t now_ns = clock_mono_ns();
	size_t kept = 0;
	for (size_t i = 0; i < t->n_skip; i++)
		if (t->skip[i].until_ns > now_ns)
			t->skip[kept++] = t->skip[i];
	t->n_skip = kept;
	for (size_t i = 0; g && i < t->n_skip; i++)
		if (pb_push(&m->arena, &g->n_skip, &g->skip, arena_strdup(&m->arena, t->skip[i].key)) < 0) {
			msg_free(m);
			return NULL;
		}
	return m;
}

/* ---- lessons ---- */

/* HCP_ENOTFOUND: there is no such file. */
static int read_model(struct tutor *t, const Hcp__Lesson *l, struct msg *put, struct err *err)
{
	char path[PATH_MAX_N], name[KEY_MAX];
	struct buf body;
	snprintf(name, sizeof(name), "%s-%s.bin", strcmp(l->kind, "ppo") == 0 ? "ppo" : "stochastic", l->name);
	if (!t->conf.models_dir || file_join(path, sizeof(path), t->conf.models_dir, name) < 0 || !file_exists(path))
		return HCP_ENOTFOUND;
	int rc = file_read(path, OUTLOOK_BYTES_MAX, &body, err);
	if (rc == 0)
		rc = lesson_give(l, buf_str(&body), name, put, err);
	buf_release(&body);
	return rc;
}

static void learn(struct tutor *t, const Hcp__Lesson *l)
{
	const struct forecast_stop stop = { is_stopped, t };
	struct msg *put = msg_new(MSG_MODEL_PUT);
	struct err err = { 0 };
	int64_t began_ns = clock_mono_ns();
	int rc = !put       ? err_set(&err, HCP_ENOMEM, "", "no memory for a model")
			 : l->train ? lesson_train(l, &stop, put, &err)
						: read_model(t, l, put, &err);
	double s = (double)(clock_mono_ns() - began_ns) / (double)NS_PER_S;
	if (rc == 0) {
		struct msg *answer = ask(t, put);
		rc = answer ? msg_error(answer, &err) : HCP_ECANCELED;
		msg_free(answer);
	} else {
		msg_free(put);
	}
	/* A file that is not there or is no good stays so; what could not be trained may be later. */
	if (rc < 0)
		skip(t, l, l->train ? clock_mono_ns() + TUTOR_RETRY_S * NS_PER_S : INT64_MAX);
	if (rc == 0)
		log_info("tutor", "%s %s of %s in %.1f s", l->train ? "trained" : "read", l->kind, l->name, s);
	else if (rc != HCP_ENOTFOUND && rc != HCP_ECANCELED && rc != HCP_EAGAIN)
		log_warn("tutor", "no model %s of %s: %s %s", l->kind, l->name, err.field, err.text);
}

static void *run(void *arg)
{
	struct tutor *t = arg;
	while (!atomic_load(&t->stopped)) {
		struct msg *m = question(t), *answer = m ? ask(t, m) : NULL;
		const Hcp__Lesson *l = answer && answer->type == MSG_LESSON ? (const Hcp__Lesson *)answer->body : NULL;
		bool wanted = l && l->kind[0];
		if (wanted && !atomic_load(&t->stopped))
			learn(t, l);
		msg_free(answer);
		if (!wanted)
			nap(t, t->conf.poll_ms);
	}
	return NULL;
}

/* ---- life ---- */

int tutor_new(const struct tutor_conf *conf, struct tutor **ret, struct err *err)
{
	struct tutor *t = mem_calloc(1, sizeof(*t));
	if (!t)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	t->conf = *conf;
	t->conf.poll_ms = conf->poll_ms ? conf->poll_ms : TUTOR_POLL_MS;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	if (pthread_create(&t->thread, NULL, run, t) != 0) {
		tutor_free(t);
		return err_set(err, HCP_EIO, "tutor", "cannot start a thread");
	}
	t->running = true;
	pthread_setname_np(t->thread, "tutor");
	*ret = t;
	return 0;
}

void tutor_stop(struct tutor *t)
{
	if (!t || !t->running)
		return;
	pthread_mutex_lock(&t->lock);
	atomic_store(&t->stopped, true);
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	t->running = false;
}

void tutor_free(struct tutor *t)
{
	if (!t)
		return;
	tutor_stop(t);
	msg_free(t->answer);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	mem_free(t);
}
