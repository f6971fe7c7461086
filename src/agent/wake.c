#include "agent/wake.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include "base/mem.h"
#include "loop/loop.h"

/*
 * An eventfd and not libuv's own uv_async: there the loop spins until the sender has left uv_async_send. A sender of
 * idle priority is preempted right inside, by the very loop that it wakes, and on a busy machine the loop then waits
 * for it for hundreds of milliseconds (measured).
 */
struct wake {
	uv_poll_t poll; /* first: its address is ours */
	int fd;
	void (*fn)(void *arg);
	void *arg;
};

static void on_readable(uv_poll_t *p, int status, int events)
{
	struct wake *w = (struct wake *)(void *)p;
	uint64_t n;
	(void)!read(w->fd, &n, sizeof(n));
	if (w->fn)
		w->fn(w->arg);
}

static void on_closed(uv_handle_t *h)
{
	struct wake *w = (struct wake *)(void *)h;
	close(w->fd);
	mem_free(w);
}

int wake_new(struct loop *loop, void (*fn)(void *arg), void *arg, struct wake **ret, struct err *err)
{
	struct wake *w = mem_calloc(1, sizeof(*w));
	if (!w)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	w->fn = fn;
	w->arg = arg;
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->fd < 0 || uv_poll_init(loop_uv(loop), &w->poll, w->fd) < 0) {
		if (w->fd >= 0)
			close(w->fd);
		mem_free(w);
		return err_set(err, HCP_EIO, "", "the system gives no event descriptor");
	}
	if (uv_poll_start(&w->poll, UV_READABLE, on_readable) < 0) {
		wake_free(w);
		return err_set(err, HCP_EIO, "", "the event descriptor cannot be watched");
	}
	*ret = w;
	return 0;
}

void wake_up(struct wake *w)
{
	uint64_t one = 1;
	(void)!write(w->fd, &one, sizeof(one));
}

void wake_free(struct wake *w)
{
	if (!w)
		return;
	w->fn = NULL;
	(void)uv_poll_stop(&w->poll);
	uv_close((uv_handle_t *)&w->poll, on_closed);
}
