#include "os/priority.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* A demand is one number of 32 bits, microseconds, as the kernel's pm_qos interface reads it. */
static void demands_are_microseconds(void **state)
{
	int32_t v[3] = { -1, -1, -1 };
	int fd = memfd_create("latency", MFD_CLOEXEC);
	assert_true(fd >= 0);
	priority_awake(fd, true);
	priority_awake(fd, false);
	assert_int_equal(pread(fd, v, sizeof(v), 0), 8);
	assert_int_equal(v[0], 0);
	assert_int_equal(v[1], 2000000000);
	close(fd);
	priority_awake(-1, true); /* a system without it */
}

/* Others of this machine may demand the same, so only the demand itself is certain. */
static void the_kernel_takes_a_demand(void **state)
{
	int32_t v = -1;
	int fd = priority_awake_open(), look = open("/dev/cpu_dma_latency", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || look < 0) {
		print_message("no /dev/cpu_dma_latency that this user may write: skipped\n");
		skip();
	}
	priority_awake(fd, true);
	assert_int_equal(read(look, &v, sizeof(v)), 4);
	assert_int_equal(v, 0);
	close(fd);
	close(look);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(demands_are_microseconds),
		cmocka_unit_test(the_kernel_takes_a_demand),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
