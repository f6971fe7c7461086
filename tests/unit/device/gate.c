#include "device/gate.h"

#include <pthread.h>

#include "test.h"

static _Atomic int idles;
static _Atomic int64_t fake_ns = 1000;

static void on_idle(void *arg)
{
	atomic_fetch_add((_Atomic int *)arg, 1);
}

static int64_t fake_clock(void)
{
	return atomic_load(&fake_ns);
}

static void setup(struct gate *g)
{
	atomic_store(&idles, 0);
	atomic_store(&fake_ns, 1000);
	gate_init(g, fake_clock, on_idle, &idles);
}

static void closed_turns_away(void **state)
{
	struct gate g;
	setup(&g);
	assert_int_equal(gate_get(&g), GATE_SAFE);
	assert_false(gate_enter(&g));
	gate_set(&g, GATE_FILL);
	assert_true(gate_enter(&g));
	assert_int_equal(atomic_load(&g.active), 1);
	gate_set(&g, GATE_SERVE);
	assert_int_equal(atomic_load(&g.closed), 1);
	assert_false(gate_collect(&g, NULL)); /* one is still inside */
	assert_false(gate_enter(&g));
	int before = atomic_load(&idles);
	atomic_store(&fake_ns, 4000);
	gate_leave(&g);
	assert_int_equal(atomic_load(&idles), before + 1);
	int64_t yield_ns = 0;
	assert_true(gate_collect(&g, &yield_ns));
	assert_int_equal(yield_ns, 3000);
	assert_true(gate_collect(&g, &yield_ns));
	assert_int_equal(yield_ns, -1); /* booked once */
	assert_int_equal(g.yield_ns.n, 1);
	/* From one closed state to another nobody has to yield. */
	gate_set(&g, GATE_OFF);
	gate_set(&g, GATE_OFF);
	assert_int_equal(g.yield_ns.n, 1);
	assert_int_equal(g.switches, 3);
}

static void closing_an_empty_gate_takes_no_time(void **state)
{
	struct gate g;
	setup(&g);
	gate_set(&g, GATE_FILL);
	gate_set(&g, GATE_SERVE);
	int64_t yield_ns = -1;
	assert_true(gate_collect(&g, &yield_ns));
	assert_int_equal(yield_ns, 0);
}

static void names(void **state)
{
	assert_string_equal(gate_state_name(GATE_SERVE), "serve");
	assert_string_equal(gate_state_name(GATE_SAFE), "safe");
	assert_string_equal(gate_state_name((enum gate_state)9), "");
}

/* Fillers that count; while the owner holds the gate closed and collected, the count stands still. */
struct crowd {
	struct gate gate;
	_Atomic uint64_t work;
	_Atomic int stop;
};

static void *filler(void *arg)
{
	struct crowd *c = arg;
	while (!atomic_load(&c->stop)) {
		uint32_t ticket = gate_ticket(&c->gate);
		if (atomic_load(&c->stop))
			break;
		if (!gate_enter(&c->gate)) {
			gate_wait(&c->gate, ticket);
			continue;
		}
		while (!atomic_load(&c->gate.closed))
			atomic_fetch_add(&c->work, 1);
		gate_leave(&c->gate);
	}
	return NULL;
}

static void nobody_works_behind_a_closed_gate(void **state)
{
	static struct crowd c;
	gate_init(&c.gate, clock_mono_ns, NULL, NULL);
	pthread_t threads[3];
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, filler, &c), 0);
	for (int i = 0; i < 200; i++) {
		uint64_t before = atomic_load(&c.work);
		gate_set(&c.gate, GATE_FILL);
		wait_for(atomic_load(&c.work) > before);
		gate_set(&c.gate, i % 2 ? GATE_SERVE : GATE_OFF);
		wait_for(gate_collect(&c.gate, NULL));
		uint64_t stands = atomic_load(&c.work);
		clock_sleep_ns(20000);
		assert_int_equal(atomic_load(&c.work), stands);
	}
	assert_int_equal(c.gate.yield_ns.n, 200);
	atomic_store(&c.stop, 1);
	gate_kick(&c.gate);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(closed_turns_away), cmocka_unit_test(closing_an_empty_gate_takes_no_time),
		cmocka_unit_test(names), cmocka_unit_test(nobody_works_behind_a_closed_gate),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
