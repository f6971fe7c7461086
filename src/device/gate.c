#include "device/gate.h"

#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/panic.h"

void gate_init(struct gate *g, gate_clock_fn *now_ns, gate_idle_fn *on_idle, void *arg)
{
	memset(g, 0, sizeof(*g));
	atomic_store(&g->closed, 1);
	atomic_store(&g->state, GATE_SAFE);
	g->now_ns = now_ns;
	g->on_idle = on_idle;
	g->arg = arg;
}

enum gate_state gate_get(const struct gate *g)
{
	return (enum gate_state)atomic_load(&g->state);
}

bool gate_collect(struct gate *g, int64_t *ret_yield_ns)
{
	if (!atomic_load(&g->closed) || atomic_load(&g->active))
		return false;
	int64_t yield_ns = -1;
	if (g->closed_ns) {
		/* idle_ns stays 0 for as long as the last filler is between its decrement and its store. */
		int64_t idle_ns = atomic_exchange(&g->idle_ns, 0);
		if (!idle_ns)
			return false;
		yield_ns = idle_ns > g->closed_ns ? idle_ns - g->closed_ns : 0;
		hist_add(&g->yield_ns, (uint64_t)yield_ns);
		g->closed_ns = 0;
	}
	if (ret_yield_ns)
		*ret_yield_ns = yield_ns;
	return true;
}

void gate_set(struct gate *g, enum gate_state to)
{
	enum gate_state from = gate_get(g);
	if (from == to)
		return;
	must(to >= GATE_SERVE && to <= GATE_SAFE);
	g->switches++;
	atomic_store(&g->state, to);
	if (to == GATE_FILL) {
		gate_collect(g, NULL);
		g->closed_ns = 0;
		atomic_store(&g->closed, 0);
		gate_kick(g);
	} else if (from == GATE_FILL) {
		int64_t now_ns = g->now_ns();
		atomic_store(&g->idle_ns, 0);
		g->closed_ns = now_ns;
		atomic_store(&g->closed, 1);
		/* Whoever is inside tells when it leaves; whoever comes now is turned away. */
		if (!atomic_load(&g->active))
			atomic_store(&g->idle_ns, now_ns);
	}
}

bool gate_enter(struct gate *g)
{
	/* Sequentially consistent with gate_set: either it sees us inside or we see it closed. */
	atomic_fetch_add(&g->active, 1);
	if (!atomic_load(&g->closed))
		return true;
	gate_leave(g);
	return false;
}

void gate_leave(struct gate *g)
{
	if (atomic_fetch_sub(&g->active, 1) != 1 || !atomic_load(&g->closed))
		return;
	atomic_store(&g->idle_ns, g->now_ns());
	if (g->on_idle)
		g->on_idle(g->arg);
}

uint32_t gate_ticket(const struct gate *g)
{
	return atomic_load(&g->kick);
}

void gate_wait(struct gate *g, uint32_t ticket)
{
	(void)syscall(SYS_futex, &g->kick, FUTEX_WAIT_PRIVATE, ticket, NULL, NULL, 0);
}

void gate_kick(struct gate *g)
{
	atomic_fetch_add(&g->kick, 1);
	(void)syscall(SYS_futex, &g->kick, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

const char *gate_state_name(enum gate_state s)
{
	static const char *const names[] = { "", "serve", "fill", "off", "safe" };
	return (unsigned)s < sizeof(names) / sizeof(names[0]) ? names[s] : "";
}
