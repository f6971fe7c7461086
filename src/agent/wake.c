#include "agent/wake.h"

#include <uv.h>

#include "base/mem.h"
#include "loop/loop.h"

struct wake {
	uv_async_t async; /* first: its address is ours */
	void (*fn)(void *arg);
	void *arg;
};

static void on_async(uv_async_t *a)
{
	struct wake *w = (struct wake *)(void *)a;
	if (w->fn)
		w->fn(w->arg);
}

static void on_closed(uv_handle_t *h)
{
	mem_free(h);
}

int wake_new(struct loop *loop, void (*fn)(void *arg), void *arg, struct wake **ret, struct err *err)
{
	struct wake *w = mem_calloc(1, sizeof(*w));
	if (!w)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	w->fn = fn;
	w->arg = arg;
	int rc = uv_async_init(loop_uv(loop), &w->async, on_async);
	if (rc < 0) {
		mem_free(w);
		return err_set(err, HCP_EIO, "", "%s", uv_strerror(rc));
	}
	*ret = w;
	return 0;
}

void wake_up(struct wake *w)
{
	(void)uv_async_send(&w->async);
}

void wake_free(struct wake *w)
{
	if (!w)
		return;
	w->fn = NULL;
	uv_close((uv_handle_t *)&w->async, on_closed);
}
