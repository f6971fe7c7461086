#include "loop/loop.h"

#include <signal.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "loop/loop_priv.h"

/* ---- timers: an intrusive pairing heap (Fredman et al. 1986), so that starting one can never fail ---- */

static struct loop_timer *meld(struct loop_timer *a, struct loop_timer *b)
{
	if (!a)
		return b;
	if (!b)
		return a;
	if (b->due_ms < a->due_ms) {
		struct loop_timer *t = a;
		a = b;
		b = t;
	}
	b->next = a->child;
	if (a->child)
		a->child->prev = b;
	b->prev = a;
	a->child = b;
	return a;
}

/* Two passes, without recursion: pairs from left to right, then all into one from right to left. */
static struct loop_timer *meld_list(struct loop_timer *first)
{
	struct loop_timer *pairs = NULL, *root = NULL;
	while (first) {
		struct loop_timer *a = first, *b = a->next;
		first = b ? b->next : NULL;
		a->next = a->prev = NULL;
		if (b)
			b->next = b->prev = NULL;
		a = meld(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct loop_timer *a = pairs;
		pairs = a->next;
		a->next = NULL;
		root = meld(root, a);
	}
	return root;
}

void loop_timer_init(struct loop_timer *t, struct loop *loop, loop_fn *fn, void *arg)
{
	*t = (struct loop_timer){ .loop = loop, .fn = fn, .arg = arg };
}

void loop_timer_stop(struct loop_timer *t)
{
	if (!t->armed)
		return;
	struct loop *loop = t->loop;
	if (loop->heap == t) {
		loop->heap = NULL;
	} else {
		if (t->prev->child == t)
			t->prev->child = t->next;
		else
			t->prev->next = t->next;
		if (t->next)
			t->next->prev = t->prev;
	}
	struct loop_timer *rest = meld_list(t->child);
	loop->heap = meld(loop->heap, rest);
	t->child = t->next = t->prev = NULL;
	t->armed = false;
}

void loop_timer_start(struct loop_timer *t, uint64_t after_ms)
{
	loop_timer_stop(t);
	must(after_ms < INT64_MAX / 2);
	/* At least 1: a timer that restarts itself with 0 must not hold the loop for ever. */
	t->due_ms = loop_turn_ms(t->loop) + (after_ms > 0 ? (int64_t)after_ms : 1);
	t->armed = true;
	t->loop->heap = meld(t->loop->heap, t);
}

static void run_timers(struct loop *loop)
{
	int64_t now = loop_turn_ms(loop);
	while (loop->heap && loop->heap->due_ms <= now) {
		struct loop_timer *t = loop->heap;
		loop_timer_stop(t);
		t->fn(loop, t->arg);
	}
}

static void on_uv_timer(uv_timer_t *h)
{
	struct loop *loop = h->data;
	loop->timer_due_ms = INT64_MAX;
	run_timers(loop);
}

/* Sets the one uv timer to the earliest of ours; called before the loop sleeps. */
static void arm(struct loop *loop)
{
	int64_t due = loop->heap ? loop->heap->due_ms : INT64_MAX;
	if (due == loop->timer_due_ms)
		return;
	loop->timer_due_ms = due;
	if (due == INT64_MAX) {
		uv_timer_stop(&loop->timer);
		return;
	}
	int64_t wait = due - loop_turn_ms(loop);
	uv_timer_start(&loop->timer, on_uv_timer, wait > 0 ? (uint64_t)wait : 0, 0);
}

/* ---- deferred functions ---- */

void loop_defer_init(struct loop_defer *d, loop_fn *fn, void *arg)
{
	list_init(&d->node);
	d->fn = fn;
	d->arg = arg;
}

void loop_defer(struct loop *loop, struct loop_defer *d)
{
	if (list_empty(&d->node))
		list_add_tail(&loop->defers, &d->node);
}

void loop_defer_cancel(struct loop_defer *d)
{
	list_del(&d->node);
}

static void run_defers(struct loop *loop)
{
	while (!list_empty(&loop->defers)) {
		struct loop_defer *d = list_entry(list_pop(&loop->defers), struct loop_defer, node);
		d->fn(loop, d->arg);
	}
}

static void on_prepare(uv_prepare_t *h)
{
	run_defers(h->data);
	arm(h->data);
}

static void on_check(uv_check_t *h)
{
	run_defers(h->data);
	arm(h->data);
}

/* ---- posts ---- */

/* Twice the room, up to max_posts: most loops never have more than a few posts waiting. Under the lock. */
static int grow_posts(struct loop *loop)
{
	size_t cap = loop->post_cap * 2 < loop->max_posts ? loop->post_cap * 2 : loop->max_posts;
	if (loop->post_cap == loop->max_posts)
		return HCP_ELIMIT;
	struct loop_post *more = mem_alloc(cap * sizeof(*more));
	if (!more)
		return HCP_ENOMEM;
	for (size_t i = 0; i < loop->post_n; i++)
		more[i] = loop->posts[(loop->post_head + i) % loop->post_cap];
	mem_free(loop->posts);
	loop->posts = more;
	loop->post_head = 0;
	loop->post_cap = cap;
	return 0;
}

int loop_post(struct loop *loop, loop_fn *fn, void *arg)
{
	pthread_mutex_lock(&loop->lock);
	int rc = loop->post_n == loop->post_cap ? grow_posts(loop) : 0;
	if (rc < 0) {
		pthread_mutex_unlock(&loop->lock);
		return rc;
	}
	loop->posts[(loop->post_head + loop->post_n) % loop->post_cap] = (struct loop_post){ fn, arg };
	bool first = loop->post_n++ == 0;
	pthread_mutex_unlock(&loop->lock);
	/* One wake for a batch: whoever fills the empty ring. */
	if (first)
		uv_async_send(&loop->wake);
	return 0;
}

static void run_posts(struct loop *loop)
{
	enum { BATCH = 64 };
	struct loop_post batch[BATCH];
	/* Functions posted meanwhile by the batch itself run in a later turn, so that a self-posting one starves nobody. */
	pthread_mutex_lock(&loop->lock);
	size_t todo = loop->post_n;
	pthread_mutex_unlock(&loop->lock);
	while (todo > 0) {
		size_t n = todo < BATCH ? todo : BATCH;
		pthread_mutex_lock(&loop->lock);
		for (size_t i = 0; i < n; i++)
			batch[i] = loop->posts[(loop->post_head + i) % loop->post_cap];
		loop->post_head = (loop->post_head + n) % loop->post_cap;
		loop->post_n -= n;
		bool more = loop->post_n > 0;
		pthread_mutex_unlock(&loop->lock);
		todo -= n;
		if (more && todo == 0)
			uv_async_send(&loop->wake);
		for (size_t i = 0; i < n; i++)
			batch[i].fn(loop, batch[i].arg);
	}
}

static void on_wake(uv_async_t *h)
{
	struct loop *loop = h->data;
	if (atomic_load(&loop->stop))
		uv_stop(&loop->uv);
	run_posts(loop);
}

/* ---- life ---- */

int loop_uv_err(struct err *err, const char *field, int rc)
{
	int code = rc == UV_ENOMEM ? HCP_ENOMEM : rc == UV_EADDRINUSE ? HCP_EEXIST : rc == UV_ENOENT ? HCP_ENOTFOUND
		: rc == UV_EACCES || rc == UV_EPERM ? HCP_EPERM : rc == UV_ECONNREFUSED ? HCP_EUNAVAIL
		: rc == UV_ECANCELED ? HCP_ECANCELED : rc == UV_ETIMEDOUT ? HCP_ETIMEOUT : HCP_EIO;
	return err_set(err, code, field, "%s", uv_strerror(rc));
}

static int init_handles(struct loop *loop, struct err *err)
{
	int rc = uv_loop_init(&loop->uv);
	if (rc < 0)
		return loop_uv_err(err, "loop", rc);
	rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
	if (rc < 0) {
		uv_loop_close(&loop->uv);
		return loop_uv_err(err, "loop", rc);
	}
	uv_timer_init(&loop->uv, &loop->timer);
	uv_prepare_init(&loop->uv, &loop->prepare);
	uv_check_init(&loop->uv, &loop->check);
	loop->uv.data = loop->wake.data = loop->timer.data = loop->prepare.data = loop->check.data = loop;
	uv_prepare_start(&loop->prepare, on_prepare);
	uv_check_start(&loop->check, on_check);
	loop->ready = true;
	return 0;
}

int loop_new(const struct loop_conf *conf, struct loop **ret_loop, struct err *err)
{
	struct loop *loop = mem_alloc(sizeof(*loop));
	if (!loop)
		return err_set(err, HCP_ENOMEM, "loop", "no memory for an event loop");
	memset(loop, 0, offsetof(struct loop, read_buf));
	loop->max_posts = conf && conf->max_posts ? conf->max_posts : LOOP_MAX_POSTS;
	loop->post_cap = loop->max_posts < LOOP_FIRST_POSTS ? loop->max_posts : LOOP_FIRST_POSTS;
	loop->timer_due_ms = INT64_MAX;
	list_init(&loop->defers);
	list_init(&loop->streams);
	list_init(&loop->listeners);
	list_init(&loop->children);
	pthread_mutex_init(&loop->lock, NULL);
	loop->posts = mem_alloc(loop->post_cap * sizeof(*loop->posts));
	/* A peer that goes away while we write is an error code, not a signal. */
	signal(SIGPIPE, SIG_IGN);
	int rc = loop->posts ? init_handles(loop, err) : err_set(err, HCP_ENOMEM, "max_posts", "no memory for the queue");
	if (rc < 0) {
		loop_free(loop);
		return rc;
	}
	*ret_loop = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	if (loop->ready) {
		run_posts(loop);
		stream_abort_all(loop);
		child_free_all(loop);
		/* Closing callbacks may open nothing new that matters; a few turns let every close phase run. */
		for (int i = 0; i < 8; i++) {
			uv_run(&loop->uv, UV_RUN_NOWAIT);
			stream_abort_all(loop);
		}
		run_posts(loop);
		uv_close((uv_handle_t *)&loop->wake, NULL);
		uv_close((uv_handle_t *)&loop->timer, NULL);
		uv_close((uv_handle_t *)&loop->prepare, NULL);
		uv_close((uv_handle_t *)&loop->check, NULL);
		while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0)
			;
		must(uv_loop_close(&loop->uv) == 0);
	}
	pthread_mutex_destroy(&loop->lock);
	mem_free(loop->posts);
	mem_free(loop);
}

void loop_run(struct loop *loop)
{
	while (!atomic_load(&loop->stop))
		uv_run(&loop->uv, UV_RUN_DEFAULT);
	atomic_store(&loop->stop, false);
}

static void on_turn_over(struct loop *loop, void *arg)
{
}

void loop_turn(struct loop *loop, uint32_t wait_ms)
{
	uv_update_time(&loop->uv);
	if (wait_ms == 0) {
		uv_run(&loop->uv, UV_RUN_NOWAIT);
		return;
	}
	struct loop_timer t;
	loop_timer_init(&t, loop, on_turn_over, NULL);
	loop_timer_start(&t, wait_ms);
	arm(loop);
	uv_run(&loop->uv, UV_RUN_ONCE);
	loop_timer_stop(&t);
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stop, true);
	uv_async_send(&loop->wake);
}

int64_t loop_now_ns(const struct loop *loop)
{
	return (int64_t)uv_hrtime();
}

int64_t loop_turn_ms(const struct loop *loop)
{
	return (int64_t)uv_now(&loop->uv);
}

void *loop_uv(struct loop *loop)
{
	return &loop->uv;
}
