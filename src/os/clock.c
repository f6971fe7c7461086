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
