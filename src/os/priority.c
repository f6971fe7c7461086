#include "os/priority.h"

#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	NICE = -10,
	NICE_LOW = 5,
	SLICE_NS = 100000,
	ANY_LATENCY_US = 2000000000, /* the kernel's PM_QOS_CPU_LATENCY_DEFAULT_VALUE: no demand */
};

/* As in sched_setattr(2), first version; the C library has neither the struct nor the call. */
struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime_ns, deadline_ns, period_ns;
};
_Static_assert(sizeof(struct attr) == 48, "the kernel's layout");

void priority_raise(void)
{
	struct attr a = { .size = sizeof(a), .policy = SCHED_OTHER, .nice = NICE, .runtime_ns = SLICE_NS };
	if (syscall(SYS_sched_setattr, 0, &a, 0) != 0)
		(void)setpriority(PRIO_PROCESS, 0, NICE);
}

void priority_lower(void)
{
	(void)setpriority(PRIO_PROCESS, 0, NICE_LOW); /* of the calling thread, on Linux */
}

int priority_awake_open(void)
{
	return open("/dev/cpu_dma_latency", O_WRONLY | O_CLOEXEC);
}

void priority_awake(int fd, bool hold)
{
	int32_t latency_us = hold ? 0 : ANY_LATENCY_US;
	/* A hint: what the kernel refuses is only slower. */
	if (fd >= 0 && write(fd, &latency_us, sizeof(latency_us)) < 0)
		return;
}
