#include "courier/asker.h"

#include "base/panic.h"
#include "svc/host.h"

static void on_answer(struct loop *loop, void *arg)
{
	struct asker *a = arg;
	pthread_mutex_lock(&a->lock);
	struct msg *m = a->answer;
	a->answer = NULL;
	pthread_mutex_unlock(&a->lock);
	a->asked = false;
	if (a->stopped || !m || m->type != a->conf.answer) {
		msg_free(m);
		if (!a->stopped)
			loop_timer_start(&a->retry, ASKER_RETRY_MS);
		return;
	}
	a->reported = true;
	a->conf.work(a->conf.arg, m);
	msg_free(m);
	asker_ask(a);
}

/* On the service's thread. */
static void on_reply(void *arg, struct msg *reply)
{
	struct asker *a = arg;
	pthread_mutex_lock(&a->lock);
	a->answer = reply;
	pthread_mutex_unlock(&a->lock);
	must(loop_post(a->loop, on_answer, a) == 0); /* never more than two wait there */
}

static struct msg *question(struct asker *a)
{
	struct msg *m = a->conf.question(a->conf.arg, !a->reported);
	if (!m)
		return NULL;
	m->reply_fn = on_reply;
	m->reply_arg = a;
	return m;
}

void asker_ask(struct asker *a)
{
	if (a->asked || a->stopped || !a->conf.has_room(a->conf.arg))
		return;
	struct msg *m = question(a);
	if (!m) {
		loop_timer_start(&a->retry, ASKER_RETRY_MS);
		return;
	}
	a->asked = true;
	host_send(a->conf.host, m);
}

void asker_send(struct asker *a, struct msg *m)
{
	host_send(a->conf.host, m);
}

static void on_retry(struct loop *loop, void *arg)
{
	asker_ask(arg);
}

/* ---- life ---- */

static void *run(void *arg)
{
	struct asker *a = arg;
	loop_run(a->loop);
	return NULL;
}

int asker_init(struct asker *a, const struct asker_conf *conf, struct err *err)
{
	*a = (struct asker){ .conf = *conf };
	pthread_mutex_init(&a->lock, NULL);
	int rc = loop_new(NULL, &a->loop, err);
	if (rc == 0)
		loop_timer_init(&a->retry, a->loop, on_retry, a);
	return rc;
}

int asker_start(struct asker *a, struct err *err)
{
	struct msg *first = question(a);
	if (!first)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	a->asked = true;
	if (pthread_create(&a->thread, NULL, run, a) != 0) {
		msg_free(first);
		return err_set(err, HCP_EIO, a->conf.name, "cannot start a thread");
	}
	a->running = true;
	pthread_setname_np(a->thread, a->conf.name);
	host_send(a->conf.host, first);
	return 0;
}

static void finish(struct loop *loop, void *arg)
{
	struct asker *a = arg;
	a->stopped = true;
	loop_stop(loop);
}

void asker_stop(struct asker *a)
{
	if (!a->running)
		return;
	must(loop_post(a->loop, finish, a) == 0);
	pthread_join(a->thread, NULL);
	a->running = false;
}

void asker_release(struct asker *a)
{
	if (a->loop) {
		loop_timer_stop(&a->retry);
		loop_free(a->loop);
	}
	msg_free(a->answer);
	pthread_mutex_destroy(&a->lock);
}
