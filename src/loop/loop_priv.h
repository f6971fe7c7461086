#ifndef HCP_LOOP_LOOP_PRIV_H
#define HCP_LOOP_LOOP_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/list.h"
#include "loop/loop.h"

enum {
	LOOP_MAX_POSTS = 65536,
	LOOP_FIRST_POSTS = 256,     /* the ring begins so small and doubles when it is full */
	LOOP_READ_BYTES = 64 << 10, /* one buffer for all streams: data is handed on before the next read */
};

struct loop_post {
	loop_fn *fn;
	void *arg;
};

struct loop {
	uv_loop_t uv;
	uv_async_t wake;
	uv_timer_t timer;
	uv_prepare_t prepare;
	uv_check_t check;
	int64_t timer_due_ms;     /* what the uv timer is set to; INT64_MAX: stopped */
	struct loop_timer *heap;  /* earliest on top */
	struct list defers;
	struct list streams;      /* struct stream.all */
	struct list listeners;
	struct list children;
	pthread_mutex_t lock;     /* posts, post_head, post_n */
	struct loop_post *posts;  /* owned ring of post_cap, which grows up to max_posts */
	size_t post_head, post_n, post_cap, max_posts;
	atomic_bool stop;
	bool ready;               /* handles are initialised */
	char read_buf[LOOP_READ_BYTES];
	char tls_buf[LOOP_READ_BYTES];
};

/* For loop_free: see stream.c and child.c. */
void stream_abort_all(struct loop *loop);
void child_free_all(struct loop *loop);
/* Fills err with HCP_EIO (or the nearer code) and libuv's text. */
int loop_uv_err(struct err *err, const char *field, int rc);

#endif
