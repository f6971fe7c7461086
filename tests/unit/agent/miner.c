#include "agent/miner.h"

#include <string.h>

#include "agent/wake.h"
#include "base/mem.h"
#include "device/cpu_device.h"
#include "os/clock.h"
#include "test.h"

struct rig {
	struct loop *loop;
	struct wake *wake;
	struct cpu_device *device;
	struct miner *miner;
	int64_t accepted, rejected;
};

static void on_device(void *arg)
{
	struct rig *r = arg;
	wake_up(r->wake);
}

static void on_wake(void *arg)
{
	struct rig *r = arg;
	if (r->miner)
		miner_collect(r->miner);
}

static void on_shares(void *arg, int64_t accepted, int64_t rejected)
{
	struct rig *r = arg;
	r->accepted += accepted;
	r->rejected += rejected;
}

static void rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	assert_int_equal(loop_new(NULL, &r->loop, NULL), 0);
	assert_int_equal(wake_new(r->loop, on_wake, r, &r->wake, NULL), 0);
	struct cpu_device_conf dc = { .threads = 2, .now_ns = clock_mono_ns, .on_share = on_device, .on_idle = on_device,
		.arg = r };
	assert_int_equal(cpu_device_new(&dc, &r->device, NULL), 0);
	gate_set(cpu_device_gate(r->device), GATE_FILL);
}

static void rig_mine(struct rig *r, uint16_t first, uint16_t second)
{
	struct miner_conf mc = { .loop = r->loop, .device = r->device, .seed = 1, .backoff_min_ms = 20,
		.backoff_max_ms = 100, .on_shares = on_shares, .arg = r, .n_pools = second ? 2 : 1,
		.pools = { { "127.0.0.1", first, "w", "x" }, { "127.0.0.1", second, "w", "x" } } };
	assert_int_equal(miner_new(&mc, &r->miner, NULL), 0);
}

static void rig_release(struct rig *r)
{
	miner_free(r->miner);
	r->miner = NULL;
	cpu_device_free(r->device);
	wake_free(r->wake);
	loop_free(r->loop);
}

/* The pool rebuilds and hashes each share: rolled versions, extranonces, several jobs. None is refused. */
static void every_share_is_good(void **state)
{
	int64_t before = mem_live();
	struct rig r;
	rig_init(&r);
	struct pool_server *pool = make_pool(r.loop, 0);
	rig_mine(&r, pool_server_port(pool), 0);
	turn_until(r.loop, r.accepted >= 30);
	turn_for(r.loop, 2200); /* a new job in between */
	struct miner_stats s;
	miner_stats(r.miner, &s);
	int64_t had = r.accepted;
	turn_until(r.loop, r.accepted >= had + 10);
	miner_stats(r.miner, &s);
	assert_true(s.up && s.stratum.jobs >= 2);
	assert_int_equal(s.stratum.rejected, 0);
	assert_int_equal(pool_rejected(pool), 0);
	assert_true(pool_accepted(pool) >= (uint64_t)r.accepted);
	assert_string_equal(s.state, "run");
	pool_server_free(pool);
	rig_release(&r);
	assert_int_equal(mem_live(), before);
}

/* A dead pool takes the work away; when it is back, mining goes on without help. */
static void a_dead_pool_stops_work_until_it_is_back(void **state)
{
	struct rig r;
	rig_init(&r);
	struct pool_server *pool = make_pool(r.loop, 0);
	uint16_t port = pool_server_port(pool);
	rig_mine(&r, port, 0);
	turn_until(r.loop, r.accepted >= 3);
	pool_server_free(pool);
	struct miner_stats s;
	turn_until(r.loop, !cpu_device_has_job(r.device));
	miner_stats(r.miner, &s);
	assert_false(s.up);
	assert_true(s.last_failure[0] != 0);
	turn_for(r.loop, 100);
	struct cpu_device_stats before, after;
	cpu_device_stats(r.device, &before);
	turn_for(r.loop, 100);
	cpu_device_stats(r.device, &after);
	assert_true(before.hashes == after.hashes);
	pool = make_pool(r.loop, port);
	int64_t had = r.accepted;
	turn_until(r.loop, r.accepted >= had + 3);
	miner_stats(r.miner, &s);
	assert_true(s.up && s.stratum.connects == 2);
	assert_int_equal(pool_rejected(pool), 0);
	pool_server_free(pool);
	rig_release(&r);
}

static void fails_over_to_the_second_pool(void **state)
{
	struct rig r;
	rig_init(&r);
	struct pool_server *first = make_pool(r.loop, 0), *second = make_pool(r.loop, 0);
	uint16_t port = pool_server_port(second);
	rig_mine(&r, pool_server_port(first), port);
	turn_until(r.loop, pool_accepted(first) >= 2);
	assert_int_equal(pool_accepted(second), 0);
	pool_server_free(first);
	turn_until(r.loop, pool_accepted(second) >= 2);
	struct miner_stats s;
	miner_stats(r.miner, &s);
	assert_int_equal(s.port, port);
	assert_int_equal(pool_rejected(second), 0);
	pool_server_free(second);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_share_is_good), cmocka_unit_test(a_dead_pool_stops_work_until_it_is_back),
		cmocka_unit_test(fails_over_to_the_second_pool),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
