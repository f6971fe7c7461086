#include "loop/child.h"

#include <signal.h>
#include <uv.h>

#include "base/mem.h"
#include "loop/loop_priv.h"

struct child {
	struct list all; /* loop->children */
	struct loop *loop;
	uv_process_t proc;
	struct loop_timer grace;
	void (*on_exit)(void *arg, int64_t exit_code, int term_signal);
	void *arg;
	int64_t exit_code;
	int term_signal;
	bool exited;
};

static void on_closed(uv_handle_t *h)
{
	struct child *c = h->data;
	loop_timer_stop(&c->grace);
	list_del(&c->all);
	if (c->on_exit)
		c->on_exit(c->arg, c->exit_code, c->term_signal);
	mem_free(c);
}

static void on_exit_cb(uv_process_t *p, int64_t exit_status, int term_signal)
{
	struct child *c = p->data;
	c->exited = true;
	c->exit_code = term_signal ? -1 : exit_status;
	c->term_signal = term_signal;
	if (!uv_is_closing((uv_handle_t *)p))
		uv_close((uv_handle_t *)p, on_closed);
}

static void on_grace(struct loop *loop, void *arg)
{
	struct child *c = arg;
	if (!c->exited)
		uv_process_kill(&c->proc, SIGKILL);
}

int child_new(struct loop *loop, const struct child_conf *conf, struct child **ret_child, struct err *err)
{
	if (!conf->argv || !conf->argv[0])
		return err_set(err, HCP_EINVAL, "argv", "must name a program");
	struct child *c = mem_calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, HCP_ENOMEM, "child", "no memory");
	c->loop = loop;
	c->on_exit = conf->on_exit;
	c->arg = conf->arg;
	loop_timer_init(&c->grace, loop, on_grace, c);
	uv_stdio_container_t io[3] = { { .flags = UV_IGNORE }, { .flags = UV_IGNORE }, { .flags = UV_IGNORE } };
	if (conf->stdin_fd >= 0)
		io[0] = (uv_stdio_container_t){ .flags = UV_INHERIT_FD, .data.fd = conf->stdin_fd };
	if (conf->log_fd >= 0)
		io[1] = io[2] = (uv_stdio_container_t){ .flags = UV_INHERIT_FD, .data.fd = conf->log_fd };
	/* uv_process_options_t is not const-correct; libuv does not write to these. */
	uv_process_options_t o = { .exit_cb = on_exit_cb, .file = conf->argv[0], .args = (char **)(uintptr_t)conf->argv,
		.env = (char **)(uintptr_t)conf->env, .cwd = conf->cwd, .stdio_count = 3, .stdio = io };
	c->proc.data = c;
	list_add_tail(&loop->children, &c->all);
	int rc = uv_spawn(&loop->uv, &c->proc, &o);
	c->proc.data = c;
	if (rc < 0) {
		/* libuv wants even a failed handle to be closed. */
		c->on_exit = NULL;
		c->exited = true;
		uv_close((uv_handle_t *)&c->proc, on_closed);
		return loop_uv_err(err, conf->argv[0], rc);
	}
	*ret_child = c;
	return 0;
}

int child_pid(const struct child *c)
{
	return c->proc.pid;
}

void child_stop(struct child *c, uint32_t grace_ms)
{
	if (c->exited)
		return;
	uv_process_kill(&c->proc, SIGTERM);
	if (!c->grace.armed)
		loop_timer_start(&c->grace, grace_ms);
}

void child_free(struct child *c)
{
	if (!c)
		return;
	/* The zombie must still be reaped, so the handle lives until the exit is seen. */
	c->on_exit = NULL;
	if (!c->exited)
		uv_process_kill(&c->proc, SIGKILL);
}

void child_free_all(struct loop *loop)
{
	list_each_safe(it, tmp, &loop->children)
		child_free(list_entry(it, struct child, all));
}
