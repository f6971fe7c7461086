#ifndef HCP_TEST_DEVICE_H
#define HCP_TEST_DEVICE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "os/clock.h"

enum { WAIT_MS = 20000 }; /* bounds every wait; a loaded machine may need some of it for idle-class threads */

/* Waits until cond is true; fails the test when it does not become so. */
#define wait_for(cond) do { \
	int64_t until_ns = clock_mono_ns() + (int64_t)WAIT_MS * 1000000; \
	while (!(cond)) { \
		if (clock_mono_ns() > until_ns) \
			fail_msg("not within %d ms: %s", WAIT_MS, #cond); \
		clock_sleep_ns(200000); \
	} \
} while (0)

#endif
