/* Which events are passed over, told from their packed bytes. */
#include "services/common/news.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void of_allocations_who_has_devices(void **state)
{
	struct arena a;
	struct str packed;
	const char *devices[] = { "n/0", "n/1" };
	arena_init(&a, 1024, 0);
	for (int s = 0; s <= HCP__ALLOCATION_STATE__REFUSED; s++) {
		Hcp__AllocationChanged ev = HCP__ALLOCATION_CHANGED__INIT;
		ev.allocation_id = "al-1";
		ev.workload_id = "wl-1";
		ev.state = (Hcp__AllocationState)s;
		ev.n_device_ids = 2;
		ev.device_ids = devices;
		ev.at_ns = 7;
		ev.reason = "why";
		assert_int_equal(pb_pack_arena(&ev.base, &a, &packed), 0);
		assert_int_equal(news_of_allocation(packed), s == HCP__ALLOCATION_STATE__HELD ||
														 s == HCP__ALLOCATION_STATE__RELEASED ||
														 s == HCP__ALLOCATION_STATE__REFUSED);
	}
	/* Cut off in its reason, it is for the decoder to refuse. */
	assert_true(news_of_allocation((struct str){ packed.p, packed.n - 1 }));
	arena_release(&a);
}

static void of_workloads_those_that_run(void **state)
{
	struct arena a;
	struct str packed, twice;
	arena_init(&a, 1024, 0);
	for (int s = 0; s <= HCP__WORKLOAD_STATE__CANCELLED; s++) {
		Hcp__WorkloadChanged ev = HCP__WORKLOAD_CHANGED__INIT;
		Hcp__Workload w = HCP__WORKLOAD__INIT;
		w.id = "wl-1";
		w.customer_id = "cus-a";
		w.state = (Hcp__WorkloadState)s;
		w.name = "nightly";
		ev.workload = &w;
		ev.from = HCP__WORKLOAD_STATE__SCHEDULED;
		assert_int_equal(pb_pack_arena(&ev.base, &a, &packed), 0);
		assert_int_equal(news_of_running(packed), s == HCP__WORKLOAD_STATE__RUNNING);
	}
	assert_true(news_of_running((struct str){ packed.p, packed.n - 1 }));
	/* A workload in pieces is one once they are merged. */
	twice.p = arena_alloc(&a, 2 * packed.n);
	twice.n = 2 * packed.n;
	assert_non_null(twice.p);
	memcpy((char *)twice.p, packed.p, packed.n);
	memcpy((char *)twice.p + packed.n, packed.p, packed.n);
	assert_true(news_of_running(twice));
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_allocations_who_has_devices),
		cmocka_unit_test(of_workloads_those_that_run),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
