#include "device/cpu_device.h"

#include <string.h>

#include "base/mem.h"
#include "hash/engine.h"
#include "test.h"

static void on_event(void *arg)
{
	atomic_fetch_add((_Atomic int *)arg, 1);
}

static struct fill_job make_job(uint64_t serial, double difficulty)
{
	struct fill_job j = { .serial = serial, .difficulty = difficulty, .extranonce2_size = 1,
		.extranonce1 = { 4, { 1, 2, 3, 4 } }, .version_mask = 0x1fffe000 };
	j.job.version = 0x20000000;
	j.job.nbits = 0x1d00ffff;
	j.job.ntime = 1700000000;
	j.job.coinb1_n = j.job.coinb2_n = 40;
	j.job.n_branches = 1;
	memset(j.job.branches[0], (int)serial, 32);
	memcpy(j.job.id, serial % 2 ? "odd" : "evn", 4);
	return j;
}

static struct cpu_device *device(unsigned threads, const char *engine, _Atomic int *idles)
{
	struct cpu_device *d = NULL;
	struct cpu_device_conf conf = { .threads = threads, .now_ns = clock_mono_ns, .on_idle = idles ? on_event : NULL,
		.arg = idles, .engine = engine ? hash_engine_by_name(engine) : NULL };
	assert_int_equal(cpu_device_new(&conf, &d, NULL), 0);
	return d;
}

static double hashes(struct cpu_device *d)
{
	struct cpu_device_stats s;
	cpu_device_stats(d, &s);
	return s.hashes;
}

static uint64_t quanta(struct cpu_device *d)
{
	struct cpu_device_stats s;
	cpu_device_stats(d, &s);
	return s.quanta;
}

/* Each share is rebuilt from its job and hashed with the plain SHA-256. */
static void check_share(const struct fill_share *s, const struct fill_job *j)
{
	uint8_t header[80], hash[32], target[32];
	assert_string_equal(s->job_id, j->job.id);
	assert_int_equal(s->extranonce2.n, j->extranonce2_size);
	assert_int_equal((s->version ^ j->job.version) & ~j->version_mask, 0);
	assert_true(s->ntime >= j->job.ntime);
	stratum_job_header(&j->job, &j->extranonce1, &s->extranonce2, s->version, s->ntime, s->nonce, sha256d_of, header);
	sha256d_of(header, sizeof(header), hash);
	assert_int_equal(hash_target_from_difficulty(s->difficulty, target), 0);
	assert_true(hash_meets(hash, target));
}

static void shares_are_valid_and_never_repeated(void **state)
{
	struct cpu_device *d = device(2, NULL, NULL);
	struct fill_job jobs[3];
	for (int i = 0; i < 3; i++)
		jobs[i] = make_job((uint64_t)i + 1, 1e-6);
	enum { WANT = 100 };
	static struct fill_share seen[3 * WANT];
	int n = 0;
	gate_set(cpu_device_gate(d), GATE_FILL);
	for (int i = 0; i < 3; i++) {
		cpu_device_set_job(d, &jobs[i]);
		for (int of_job = 0; of_job < WANT;) {
			struct fill_share s;
			wait_for(cpu_device_take_share(d, &s));
			assert_in_range(s.serial, 1, (uint64_t)i + 1);
			check_share(&s, &jobs[s.serial - 1]);
			if (s.serial != (uint64_t)i + 1)
				continue;
			for (int k = 0; k < n; k++)
				assert_false(seen[k].serial == s.serial && seen[k].nonce == s.nonce && seen[k].version == s.version &&
					seen[k].ntime == s.ntime && seen[k].extranonce2.p[0] == s.extranonce2.p[0]);
			seen[n++] = s;
			of_job++;
		}
	}
	cpu_device_free(d);
}

/*
 * However long a quantum is (the share is never found, so the scan would run on), a closed gate ends it in the middle,
 * and no other quantum begins behind it.
 */
static void closing_costs_no_quantum(void **state)
{
	_Atomic int idles = 0;
	struct cpu_device *d = device(2, "portable", &idles);
	struct fill_job j = make_job(1, 1e12);
	cpu_device_set_job(d, &j);
	for (int i = 0; i < 20; i++) {
		gate_set(cpu_device_gate(d), GATE_FILL);
		uint64_t before = quanta(d);
		wait_for(quanta(d) > before + 2);
		uint64_t closing = quanta(d);
		gate_set(cpu_device_gate(d), GATE_SERVE);
		wait_for(gate_collect(cpu_device_gate(d), NULL));
		/* Quanta that ran at closing may be counted after the thread has left: one a thread at most; and one a thread
		 * may have ended between our two looks. */
		clock_sleep_ns(5000000);
		assert_true(quanta(d) <= closing + 4);
		double stands = hashes(d);
		clock_sleep_ns(1000000);
		assert_true(hashes(d) == stands);
	}
	assert_int_equal(cpu_device_gate(d)->yield_ns.n, 20);
	assert_true(atomic_load(&idles) > 0);
	cpu_device_free(d);
}

static void pauses_without_a_job_and_under_a_limit(void **state)
{
	struct cpu_device *d = device(2, NULL, NULL);
	struct fill_job j = make_job(1, 1e12);
	gate_set(cpu_device_gate(d), GATE_FILL);
	assert_false(cpu_device_has_job(d));
	cpu_device_set_job(d, &j);
	wait_for(hashes(d) > 0);
	cpu_device_tick(d);
	wait_for(quanta(d) > 5);
	clock_sleep_ns(2000000);
	cpu_device_tick(d);
	struct cpu_device_stats s;
	cpu_device_stats(d, &s);
	assert_true(s.hash_ps > 0 && s.last_hash_ps >= s.hash_ps);
	cpu_device_set_job(d, NULL);
	wait_for(atomic_load(&cpu_device_gate(d)->active) == 0);
	clock_sleep_ns(2000000);
	double stands = hashes(d);
	clock_sleep_ns(2000000);
	assert_true(hashes(d) == stands);
	cpu_device_limit(d, 0);
	j.serial++;
	cpu_device_set_job(d, &j);
	clock_sleep_ns(2000000);
	assert_true(hashes(d) == stands);
	cpu_device_limit(d, 1);
	wait_for(hashes(d) > stands);
	/* A difficulty that no target has stops it, too. */
	j.difficulty = -1;
	cpu_device_set_job(d, &j);
	assert_false(cpu_device_has_job(d));
	cpu_device_free(d);
}

/* Thousands of jobs published while threads read: shares stay true to the job they name, and slots suffice. */
static void jobs_may_change_at_any_time(void **state)
{
	int64_t before = mem_live();
	struct cpu_device *d = device(3, NULL, NULL);
	gate_set(cpu_device_gate(d), GATE_FILL);
	uint64_t checked = 0;
	for (uint64_t serial = 1; serial < 3000 || checked < 50; serial++) {
		assert_true(serial < 200000);
		struct fill_job j = make_job(serial, 1e-8);
		cpu_device_set_job(d, serial % 64 ? &j : NULL);
		if (serial % 50 == 0)
			clock_sleep_ns(500000);
		struct fill_share s;
		while (cpu_device_take_share(d, &s)) {
			struct fill_job of = make_job(s.serial, 1e-8);
			check_share(&s, &of);
			checked++;
		}
	}
	cpu_device_free(d);
	assert_int_equal(mem_live(), before);
}

/* A job that was withdrawn while the gate was shut is not hashed when it opens, not even by who had taken it before. */
static void a_withdrawn_job_is_not_hashed(void **state)
{
	struct cpu_device *d = device(4, NULL, NULL);
	struct fill_job job = make_job(1, 1e9);
	for (int turn = 0; turn < 200; turn++) {
		uint64_t q = quanta(d);
		cpu_device_set_job(d, &job);
		gate_set(cpu_device_gate(d), GATE_FILL);
		wait_for(quanta(d) > q);
		gate_set(cpu_device_gate(d), GATE_SERVE);
		wait_for(!atomic_load(&cpu_device_gate(d)->active));
		double stands = hashes(d);
		cpu_device_set_job(d, NULL);
		gate_set(cpu_device_gate(d), GATE_FILL);
		clock_sleep_ns(200000);
		gate_set(cpu_device_gate(d), GATE_SERVE);
		wait_for(!atomic_load(&cpu_device_gate(d)->active));
		assert_true(hashes(d) == stands);
	}
	cpu_device_free(d);
}

static void refuses_too_many_threads(void **state)
{
	struct cpu_device *d = NULL;
	struct err err;
	struct cpu_device_conf conf = { .threads = CPU_DEVICE_THREADS_MAX + 1, .now_ns = clock_mono_ns };
	assert_int_equal(cpu_device_new(&conf, &d, &err), HCP_ERANGE);
	assert_string_equal(err.field, "threads");
	cpu_device_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares_are_valid_and_never_repeated), cmocka_unit_test(closing_costs_no_quantum),
		cmocka_unit_test(pauses_without_a_job_and_under_a_limit), cmocka_unit_test(jobs_may_change_at_any_time),
		cmocka_unit_test(a_withdrawn_job_is_not_hashed), cmocka_unit_test(refuses_too_many_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
