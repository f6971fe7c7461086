#include "os/clock.h"

#include <errno.h>
#include <time.h>

#include "base/money.h"

static int64_t read_clock(clockid_t which)
{
	struct timespec ts;
	clock_gettime(which, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

int64_t clock_mono_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

void clock_sleep_ns(int64_t ns)
{
	struct timespec ts = { ns / NS_PER_S, ns % NS_PER_S };
	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

int64_t clock_cpu_ns(int pid)
{
	clockid_t id = CLOCK_PROCESS_CPUTIME_ID;
	struct timespec t;
	if ((pid && clock_getcpuclockid(pid, &id) != 0) || clock_gettime(id, &t) != 0)
		return 0;
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}
