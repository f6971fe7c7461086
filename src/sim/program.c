#include "sim/program.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "loop/loop.h"
#include "os/clock.h"

static void sink(void *arg, const char *line, size_t n)
{
	while (n) {
		ssize_t k = write(STDERR_FILENO, line, n);
		if (k <= 0)
			return; /* nobody reads the log; that stops nothing */
		line += k;
		n -= (size_t)k;
	}
}

static void on_signal(uv_signal_t *h, int signum)
{
	struct program *p = h->data;
	p->signum = signum;
	loop_stop(p->loop);
}

int program_init(struct program *p, const char *level, struct err *err)
{
	static const char *const levels[] = { "debug", "info", "warn", "error" };
	unsigned least = 0;
	*p = (struct program){ 0 };
	while (least < 4 && strcmp(levels[least], level))
		least++;
	if (least == 4)
		return err_set(err, HCP_EINVAL, "log-level", "must be debug, info, warn or error");
	log_setup((enum log_level)least, sink, NULL, clock_wall_ns);
	signal(SIGPIPE, SIG_IGN);
	int rc = loop_new(NULL, &p->loop, err);
	if (rc < 0)
		return rc;
	uv_loop_t *uv = loop_uv(p->loop);
	if (uv_signal_init(uv, &p->term) || uv_signal_init(uv, &p->intr)) {
		loop_free(p->loop);
		p->loop = NULL;
		return err_set(err, HCP_EIO, "", "signals cannot be watched");
	}
	p->signals = true;
	p->term.data = p->intr.data = p;
	uv_signal_start(&p->term, on_signal, SIGTERM);
	uv_signal_start(&p->intr, on_signal, SIGINT);
	return 0;
}

void program_release(struct program *p)
{
	if (p->signals) {
		uv_close((uv_handle_t *)&p->term, NULL);
		uv_close((uv_handle_t *)&p->intr, NULL);
		p->signals = false;
	}
	loop_free(p->loop);
	p->loop = NULL;
}

void program_run(struct program *p)
{
	loop_run(p->loop);
}

void program_clock_init(struct program_clock *c)
{
	c->wall_ns = clock_wall_ns();
	c->mono_ns = clock_mono_ns();
}

int64_t program_clock_now(const struct program_clock *c)
{
	return c->wall_ns + (clock_mono_ns() - c->mono_ns);
}
