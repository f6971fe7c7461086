#include "svc/mailbox.h"

#include <pthread.h>
#include <time.h>

#include "base/mem.h"
#include "base/money.h"

struct mailbox {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct msg *head, **tail;
	size_t n, cap;
	bool poked, closed, sleeping;
};

int mailbox_new(size_t cap, struct mailbox **ret)
{
	struct mailbox *mb = mem_calloc(1, sizeof(*mb));
	if (!mb)
		return HCP_ENOMEM;
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&mb->wake, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&mb->lock, NULL);
	mb->tail = &mb->head;
	mb->cap = cap;
	*ret = mb;
	return 0;
}

void mailbox_free(struct mailbox *mb)
{
	if (!mb)
		return;
	struct err err = { 0 };
	err_set(&err, HCP_ECLOSED, "", "the service is stopping; repeat the request");
	for (struct msg *m = mb->head, *next; m; m = next) {
		next = m->next;
		msg_answer_problem(m, HCP_ECLOSED, &err);
		msg_free(m);
	}
	pthread_cond_destroy(&mb->wake);
	pthread_mutex_destroy(&mb->lock);
	mem_free(mb);
}

static void rouse(struct mailbox *mb)
{
	if (mb->sleeping)
		pthread_cond_signal(&mb->wake);
}

int mailbox_push(struct mailbox *mb, struct msg *m)
{
	pthread_mutex_lock(&mb->lock);
	int rc = mb->closed ? HCP_ECLOSED : mb->n >= mb->cap ? HCP_ELIMIT : 0;
	if (rc == 0) {
		m->next = NULL;
		*mb->tail = m;
		mb->tail = &m->next;
		mb->n++;
		rouse(mb);
	}
	pthread_mutex_unlock(&mb->lock);
	return rc;
}

void mailbox_poke(struct mailbox *mb)
{
	pthread_mutex_lock(&mb->lock);
	mb->poked = true;
	rouse(mb);
	pthread_mutex_unlock(&mb->lock);
}

void mailbox_close(struct mailbox *mb)
{
	pthread_mutex_lock(&mb->lock);
	mb->closed = true;
	rouse(mb);
	pthread_mutex_unlock(&mb->lock);
}

struct msg *mailbox_take(struct mailbox *mb, size_t max)
{
	pthread_mutex_lock(&mb->lock);
	struct msg *first = mb->head, **end = &mb->head;
	while (*end && max--) {
		end = &(*end)->next;
		mb->n--;
	}
	mb->head = *end;
	*end = NULL;
	if (!mb->head)
		mb->tail = &mb->head;
	pthread_mutex_unlock(&mb->lock);
	return first;
}

void mailbox_wait(struct mailbox *mb, int64_t until_mono_ns)
{
	struct timespec ts = { until_mono_ns / NS_PER_S, until_mono_ns % NS_PER_S };
	pthread_mutex_lock(&mb->lock);
	mb->sleeping = true;
	while (!mb->n && !mb->poked && !mb->closed)
		if (pthread_cond_timedwait(&mb->wake, &mb->lock, &ts) != 0)
			break;
	mb->sleeping = false;
	mb->poked = false;
	pthread_mutex_unlock(&mb->lock);
}

size_t mailbox_size(struct mailbox *mb)
{
	pthread_mutex_lock(&mb->lock);
	size_t n = mb->n;
	pthread_mutex_unlock(&mb->lock);
	return n;
}
