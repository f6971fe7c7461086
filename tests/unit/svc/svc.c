#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "svc/svc.h"

#include "toy.h"

struct answers {
	int ok, problems;
	int64_t total; /* of the last answer to ask_total() */
	char code[32], field[32];
};

static void on_reply(void *arg, struct msg *reply)
{
	struct answers *a = arg;
	if (reply->type == MSG_PROBLEM) {
		a->problems++;
		snprintf(a->code, sizeof(a->code), "%s", ((Hcp__Problem *)reply->body)->code);
		snprintf(a->field, sizeof(a->field), "%s", ((Hcp__Problem *)reply->body)->field);
	} else {
		a->ok++;
		if (reply->type == MSG_WORKLOADS)
			a->total = ((Hcp__Workloads *)reply->body)->index;
	}
	msg_free(reply);
}

static void ask_total(struct svc *svc, struct answers *a)
{
	struct msg *m = msg_new(MSG_WORKLOAD_LIST);
	m->reply_fn = on_reply;
	m->reply_arg = a;
	svc_post(svc, m);
}

static void submit(struct svc *svc, int priority, struct answers *a)
{
	struct msg *m = msg_new(MSG_WORKLOAD_SUBMIT);
	((Hcp__WorkloadSubmit *)m->body)->priority = priority;
	m->reply_fn = on_reply;
	m->reply_arg = a;
	svc_post(svc, m);
}

static int64_t scalar(struct svc *svc, const char *sql)
{
	struct db_row *row;
	struct err err = { 0 };
	assert_int_equal(db_query(svc_database(svc), &row, &err, sql, ""), 1);
	int64_t v = db_i64(row, 0);
	db_done(row);
	return v;
}

static void batch_commits_then_answers_and_publishes(void **state)
{
	struct bus *bus;
	struct svc *a, *b;
	struct err err = { 0 };
	struct answers got = { 0 };
	assert_int_equal(bus_open(&(struct bus_conf){ 0 }, &bus, &err), 0);
	struct svc_conf conf = { .bus = bus, .seed = 1 };
	assert_int_equal(svc_open(&submit_def, &conf, &a, &err), 0);
	assert_int_equal(svc_open(&count_def, &conf, &b, &err), 0);
	submit(a, 5, &got);
	submit(a, 11, &got);
	submit(a, 6, &got);
	assert_int_equal(svc_step(a, 1000), 3);
	assert_int_equal(got.ok, 2);
	assert_int_equal(got.problems, 1);
	assert_string_equal(got.field, "priority");
	assert_string_equal(got.code, "invalid");
	assert_int_equal(scalar(a, "SELECT count(*) FROM job"), 2);
	assert_int_equal(svc_step(b, 1001), 2);
	assert_int_equal(svc_step(b, 1002), 0);
	assert_int_equal(scalar(b, "SELECT count(*) FROM seen WHERE times=1"), 2);
	svc_close(a);
	svc_close(b);
	bus_close(bus);
}

static int fail_once(void *arg)
{
	int *left = arg;
	return *left > 0 && --*left == 0 ? HCP_EIO : 0;
}

/* A question sees what is committed, whatever it arrived with, and its answer does not hang on that. */
static void questions_do_not_wait_for_changes(void **state)
{
	struct svc *a;
	struct err err = { 0 };
	struct answers changed = { 0 }, asked = { .total = -1 };
	int left = 0;
	struct svc_conf conf = { .seed = 1, .before_commit = fail_once, .commit_arg = &left };
	assert_int_equal(svc_open(&submit_def, &conf, &a, &err), 0);
	submit(a, 5, &changed);
	assert_int_equal(svc_step(a, 1), 1);
	submit(a, 6, &changed);
	ask_total(a, &asked);
	left = 1;
	assert_true(svc_step(a, 2) < 0);
	assert_int_equal(changed.problems, 1);
	assert_int_equal(asked.ok, 1);
	assert_int_equal(asked.total, 1);
	submit(a, 7, &changed);
	ask_total(a, &asked);
	assert_int_equal(svc_step(a, 3 + SVC_RETRY_MS * INT64_C(1000000)), 2);
	assert_int_equal(changed.ok, 2);
	assert_int_equal(asked.total, 1);
	ask_total(a, &asked);
	assert_int_equal(svc_step(a, 4 + SVC_RETRY_MS * INT64_C(1000000)), 1);
	assert_int_equal(asked.total, 2);
	svc_close(a);
}

static void remove_db(const char *path)
{
	char wal[64];
	unlink(path);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	unlink(wal);
	snprintf(wal, sizeof(wal), "%s-shm", path);
	unlink(wal);
}

static int flaky(void *arg)
{
	struct rng *r = arg;
	return rng_below(r, 3) == 0 ? HCP_EIO : 0;
}

/*
 * Services are thrown away at random and opened again, and the bus forgets everything each time: what was
 * acknowledged is there, once, and every event arrives exactly once.
 */
static void crashes_lose_and_repeat_nothing(void **state)
{
	char pa[] = "/tmp/hcp-svc-a-XXXXXX", pb[] = "/tmp/hcp-svc-b-XXXXXX";
	close(mkstemp(pa));
	close(mkstemp(pb));
	struct rng r;
	struct err err = { 0 };
	struct answers got = { 0 };
	int64_t now = 1;
	rng_init(&r, 42);
	for (int life = 0; life < 30; life++) {
		struct bus *bus;
		struct svc *a, *b;
		assert_int_equal(bus_open(&(struct bus_conf){ 0 }, &bus, &err), 0);
		struct svc_conf ca = { .db_path = pa, .bus = bus, .seed = 1, .now_ns = now }, cb = ca;
		cb.db_path = pb;
		assert_int_equal(svc_open(&submit_def, &ca, &a, &err), 0);
		assert_int_equal(svc_open(&count_def, &cb, &b, &err), 0);
		int rounds = (int)rng_below(&r, 6);
		for (int i = 0; i < rounds; i++) {
			submit(a, 1 + (int)rng_below(&r, 10), &got);
			assert_true(svc_step(a, now++) >= 0);
			if (rng_below(&r, 2))
				assert_true(svc_step(b, now++) >= 0);
		}
		svc_close(a);
		svc_close(b);
		bus_close(bus);
	}
	struct bus *bus;
	struct svc *a, *b;
	assert_int_equal(bus_open(&(struct bus_conf){ 0 }, &bus, &err), 0);
	struct svc_conf ca = { .db_path = pa, .bus = bus, .seed = 1, .now_ns = now }, cb = ca;
	cb.db_path = pb;
	assert_int_equal(svc_open(&submit_def, &ca, &a, &err), 0);
	assert_int_equal(svc_open(&count_def, &cb, &b, &err), 0);
	while (svc_step(b, now++) > 0)
		;
	assert_true(got.ok > 30);
	assert_int_equal(scalar(a, "SELECT count(*) FROM job"), got.ok);
	assert_int_equal(scalar(b, "SELECT count(*) FROM seen"), got.ok);
	assert_int_equal(scalar(b, "SELECT coalesce(max(times),0) FROM seen"), 1);
	svc_close(a);
	svc_close(b);
	bus_close(bus);
	remove_db(pa);
	remove_db(pb);
}

/* The log cannot be written (its disk is full): what was committed waits, and goes out in order once it can. */
static void events_wait_for_a_full_log(void **state)
{
	char dir[] = "/tmp/hcp-svc-log-XXXXXX", clean[64];
	static char big[300000];
	struct bus *bus;
	struct svc *a, *b;
	struct err err = { 0 };
	struct answers got = { 0 };
	struct rlimit old, small;
	int64_t now = 1;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(bus_open(&(struct bus_conf){ .dir = dir }, &bus, &err), 0);
	struct bus_entry filler = { 1, TOPIC_MARKET_PRICE, SVC_OPTIMIZER, { big, sizeof(big) } };
	assert_int_equal(bus_append(bus, &filler, 1, &err), 0);
	struct svc_conf conf = { .bus = bus, .seed = 1 };
	assert_int_equal(svc_open(&submit_def, &conf, &a, &err), 0);
	assert_int_equal(svc_open(&count_def, &conf, &b, &err), 0);
	submit(a, 1, &got);
	assert_int_equal(svc_step(a, now++), 1);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = (struct rlimit){ sizeof(big) + 100, old.rlim_max };
	setrlimit(RLIMIT_FSIZE, &small);
	submit(a, 2, &got);
	assert_int_equal(svc_step(a, now++), 1);
	assert_int_equal(got.ok, 2);
	assert_true(svc_step(a, now++) < 0);
	struct svc_stats st;
	svc_stats(a, &st);
	assert_int_equal(st.state, 1);
	/* Meanwhile nobody is left waiting. */
	submit(a, 2, &got);
	assert_int_equal(svc_step(a, now++), 1);
	assert_int_equal(got.problems, 1);
	assert_string_equal(got.code, "unavailable");
	ask_total(a, &got);
	assert_int_equal(svc_step(a, now++), 1);
	assert_int_equal(got.ok, 3);
	setrlimit(RLIMIT_FSIZE, &old);
	now += (SVC_RETRY_MS + 1) * INT64_C(1000000);
	submit(a, 3, &got);
	assert_int_equal(svc_step(a, now++), 1);
	while (svc_step(b, now++) > 0)
		;
	assert_int_equal(scalar(b, "SELECT count(*) FROM seen WHERE times=1"), 3);
	svc_close(a);
	svc_close(b);
	bus_close(bus);
	snprintf(clean, sizeof(clean), "rm -r %s", dir);
	assert_int_equal(system(clean), 0); /* tidy: allow banned-call: a test clears its own folder */
}

static void failed_commit_answers_unavailable_and_recovers(void **state)
{
	struct bus *bus;
	struct svc *a;
	struct err err = { 0 };
	struct answers got = { 0 };
	struct rng faults;
	rng_init(&faults, 7);
	assert_int_equal(bus_open(&(struct bus_conf){ 0 }, &bus, &err), 0);
	struct svc_conf conf = { .bus = bus, .seed = 1 };
	assert_int_equal(svc_open(&submit_def, &conf, &a, &err), 0);
	svc_close(a);
	conf.before_commit = flaky;
	conf.commit_arg = &faults;
	while (svc_open(&submit_def, &conf, &a, &err) < 0)
		;
	int64_t now = 1;
	for (int i = 0; i < 200; i++) {
		submit(a, 3, &got);
		svc_step(a, now);
		now += (SVC_RETRY_MS + 1) * INT64_C(1000000);
	}
	while (svc_step(a, now) != 0)
		now += (SVC_RETRY_MS + 1) * INT64_C(1000000);
	assert_int_equal(got.ok + got.problems, 200);
	assert_true(got.problems > 20 && got.ok > 20);
	assert_string_equal(got.code, "unavailable");
	assert_int_equal(scalar(a, "SELECT count(*) FROM job"), got.ok);
	assert_int_equal(bus_end(bus) - 1, got.ok);
	svc_close(a);
	bus_close(bus);
}

static int timed(void *state, struct svc_ctx *ctx, struct err *err)
{
	char id[ID_TEXT_MAX];
	return db_run(svc_db(ctx), err, "INSERT INTO job(id,n) VALUES($1,0)", "z", svc_new_id(ctx, id, ID_EVENT));
}

/* An old failure or a timer must not hold a service up until the clock has been there again. */
static void a_clock_set_back_stops_nothing(void **state)
{
	static const struct svc_def def = { .id = SVC_ORCHESTRATOR,
		.schema = submit_schema,
		.handlers = submit_handlers,
		.open = plain_open,
		.close = mem_free,
		.timer = timed,
		.timer_ms = 1000 };
	const int64_t s = INT64_C(1000000000);
	struct svc *a;
	struct err err = { 0 };
	struct answers got = { 0 };
	int left = 0;
	struct svc_conf conf = { .seed = 1, .before_commit = fail_once, .commit_arg = &left, .now_ns = 600 * s };
	assert_int_equal(svc_open(&def, &conf, &a, &err), 0);
	left = 1;
	assert_true(svc_step(a, 600 * s) < 0);
	assert_int_equal(svc_step(a, 602 * s), 1);
	submit(a, 3, &got);
	assert_int_equal(svc_step(a, 100 * s), 1);
	assert_int_equal(got.ok, 1);
	assert_true(svc_next_wake(a) <= 101 * s);
	assert_int_equal(svc_step(a, 101 * s), 1);
	svc_close(a);
}

static int count_settled(void *state, struct svc_ctx *ctx, struct err *err)
{
	char id[ID_TEXT_MAX];
	return db_run(svc_db(ctx), err, "INSERT INTO job(id,n) VALUES($1,1000)", "z", svc_new_id(ctx, id, ID_EVENT));
}

static int64_t settled(struct svc *a)
{
	struct db_row *row;
	struct err err = { 0 };
	assert_int_equal(db_query(svc_database(a), &row, &err, "SELECT count(*) FROM job WHERE n=1000", ""), 1);
	int64_t n = db_i64(row, 0);
	db_done(row);
	return n;
}

/* However many messages a batch has; in the same transaction; not where nothing was asked. */
static void a_batch_settles_once(void **state)
{
	static const struct svc_def def = { .id = SVC_ORCHESTRATOR,
		.schema = submit_schema,
		.handlers = submit_handlers,
		.open = plain_open,
		.close = mem_free,
		.settle = count_settled };
	const int64_t s = INT64_C(1000000000);
	struct svc *a;
	struct err err = { 0 };
	struct answers got = { 0 };
	int left = 0;
	struct svc_conf conf = { .seed = 1, .before_commit = fail_once, .commit_arg = &left, .now_ns = s };
	assert_int_equal(svc_open(&def, &conf, &a, &err), 0);
	for (int i = 1; i <= 5; i++)
		submit(a, i, &got);
	assert_int_equal(svc_step(a, s), 5);
	assert_int_equal(got.ok, 5);
	assert_int_equal(settled(a), 1);
	assert_int_equal(svc_step(a, 2 * s), 0);
	assert_int_equal(settled(a), 1);
	left = 1;
	submit(a, 6, &got);
	assert_true(svc_step(a, 3 * s) < 0);
	assert_int_equal(settled(a), 1);
	submit(a, 6, &got);
	assert_int_equal(svc_step(a, 5 * s), 1);
	assert_int_equal(settled(a), 2);
	svc_close(a);
}

static void append_noise(struct bus *bus, int n)
{
	for (int i = 0; i < n; i++) {
		struct bus_entry e = { (uint64_t)i + 1, TOPIC_ROUTER_DEMAND, SVC_ROUTER, STR("noise") };
		assert_int_equal(bus_append(bus, &e, 1, NULL), 0);
	}
}

/* Other records stand by now at the offsets that a reader had behind it when the log lost its tail. */
static void a_reader_of_a_shortened_log_misses_nothing(void **state)
{
	char pa[] = "/tmp/hcp-svc-a-XXXXXX", pb[] = "/tmp/hcp-svc-b-XXXXXX";
	close(mkstemp(pa));
	close(mkstemp(pb));
	struct bus *bus;
	struct svc *a, *b;
	struct err err = { 0 };
	struct answers got = { 0 };
	assert_int_equal(bus_open(&(struct bus_conf){ 0 }, &bus, &err), 0);
	struct svc_conf ca = { .db_path = pa, .bus = bus, .seed = 1, .now_ns = 1 }, cb = ca;
	cb.db_path = pb;
	assert_int_equal(svc_open(&submit_def, &ca, &a, &err), 0);
	assert_int_equal(svc_open(&count_def, &cb, &b, &err), 0);
	append_noise(bus, 5);
	submit(a, 3, &got);
	assert_int_equal(svc_step(a, 2), 1);
	assert_int_equal(svc_step(b, 3), 1);
	submit(a, 4, &got);
	assert_int_equal(svc_step(a, 4), 1);
	svc_close(a);
	svc_close(b);
	bus_close(bus);
	assert_int_equal(bus_open(&(struct bus_conf){ 0 }, &bus, &err), 0);
	ca.bus = cb.bus = bus;
	assert_int_equal(svc_open(&submit_def, &ca, &a, &err), 0);
	append_noise(bus, 10);
	assert_int_equal(svc_open(&count_def, &cb, &b, &err), 0);
	while (svc_step(b, 5) > 0)
		;
	assert_int_equal(scalar(b, "SELECT count(*) FROM seen WHERE times=1"), 2);
	svc_close(a);
	svc_close(b);
	bus_close(bus);
	remove_db(pa);
	remove_db(pb);
}

static int ask(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	Hcp__JobEnqueue ev = HCP__JOB_ENQUEUE__INIT;
	return svc_publish(ctx, "", &ev.base);
}

static int reply_to(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	Hcp__JobState ev = HCP__JOB_STATE__INIT;
	return svc_publish(ctx, "", &ev.base);
}

/* A reader that was slow has nothing of the lost tail yet: it must get the question before the answer. */
static void lost_events_come_again_in_their_order(void **state)
{
	static const char *const nothing[] = { NULL };
	static const struct svc_handler asks[] = { { MSG_WORKLOAD_SUBMIT, ask, false }, { 0 } };
	static const struct svc_handler answers[] = { { MSG_JOB_ENQUEUE, reply_to, false }, { 0 } };
	static const struct svc_def asker = {
		.id = SVC_ORCHESTRATOR, .schema = nothing, .handlers = asks, .open = plain_open, .close = mem_free
	};
	static const struct svc_def answerer = {
		.id = SVC_ROUTER, .schema = nothing, .handlers = answers, .open = plain_open, .close = mem_free
	};
	char pa[] = "/tmp/hcp-svc-a-XXXXXX", pb[] = "/tmp/hcp-svc-b-XXXXXX";
	close(mkstemp(pa));
	close(mkstemp(pb));
	struct bus *bus;
	struct svc *two[2];
	struct err err = { 0 };
	assert_int_equal(bus_open(&(struct bus_conf){ 0 }, &bus, &err), 0);
	struct svc_conf ca = { .db_path = pa, .bus = bus, .seed = 1, .now_ns = 1, .hold_outbox = true }, cb = ca;
	cb.db_path = pb;
	assert_int_equal(svc_open(&asker, &ca, &two[1], &err), 0);
	assert_int_equal(svc_open(&answerer, &cb, &two[0], &err), 0);
	for (int i = 0; i < 3; i++) {
		svc_post(two[1], msg_new(MSG_WORKLOAD_SUBMIT));
		assert_true(svc_step(two[1], 2 + i) > 0);
		assert_int_equal(svc_step(two[0], 2 + i), 1);
	}
	svc_close(two[0]);
	svc_close(two[1]);
	bus_close(bus);
	assert_int_equal(bus_open(&(struct bus_conf){ 0 }, &bus, &err), 0);
	ca.bus = cb.bus = bus;
	assert_int_equal(svc_open(&answerer, &cb, &two[0], &err), 0);
	assert_int_equal(svc_open(&asker, &ca, &two[1], &err), 0);
	assert_int_equal(bus_end(bus), 1);
	assert_int_equal(svc_republish(two, 2, &err), 0);
	struct bus_rec *rec[8];
	uint64_t next;
	assert_int_equal(bus_read(bus, 1, UINT64_MAX, 8, rec, &next, &err), 6);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(rec[i]->sender, i % 2 ? SVC_ROUTER : SVC_ORCHESTRATOR);
		bus_rec_unref(rec[i]);
	}
	svc_close(two[0]);
	svc_close(two[1]);
	bus_close(bus);
	remove_db(pa);
	remove_db(pb);
}

static void replay_is_bit_for_bit(void **state)
{
	struct bus *bus;
	struct svc *a;
	struct err err = { 0 };
	struct answers got = { 0 };
	struct arena arena;
	arena_init(&arena, 1024, 0);
	assert_int_equal(bus_open(&(struct bus_conf){ 0 }, &bus, &err), 0);
	struct svc_conf conf = { .bus = bus, .seed = 99 };
	assert_int_equal(svc_open(&submit_def, &conf, &a, &err), 0);
	for (int i = 0; i < 50; i++) {
		submit(a, i % 12, &got);
		if (i % 3 == 0)
			svc_step(a, 1000 + i);
	}
	svc_step(a, 5000);
	Hcp__ReplayReport report = HCP__REPLAY_REPORT__INIT;
	assert_int_equal(svc_replay(&(struct svc_replay){ .def = &submit_def, .conf = NULL, .journal = svc_database(a) },
						 &report, &arena, &err),
		0);
	assert_true(report.identical);
	assert_int_equal(report.messages, 50);
	assert_int_equal(report.events, got.ok);
	/* A journal that was tampered with is found out. */
	assert_int_equal(db_run(svc_database(a), &err, "UPDATE hcp_batch SET at_ns=at_ns+1000000 WHERE no=3", ""), 0);
	report = (Hcp__ReplayReport)HCP__REPLAY_REPORT__INIT;
	assert_int_equal(svc_replay(&(struct svc_replay){ .def = &submit_def, .conf = NULL, .journal = svc_database(a) },
						 &report, &arena, &err),
		0);
	assert_false(report.identical);
	assert_int_equal(report.first_difference, 3);
	arena_release(&arena);
	svc_close(a);
	bus_close(bus);
}

static bool last_letter_is_even(struct str id)
{
	return id.n && id.p[id.n - 1] % 2 == 0;
}

static bool wants_even(unsigned type, struct str body)
{
	struct str w, id;
	assert_int_equal(type, MSG_WORKLOAD_CHANGED);
	assert_int_equal(pb_find_bytes(body, 1, &w), 0);
	assert_int_equal(pb_find_bytes(w, 1, &id), 0);
	return last_letter_is_even(id);
}

/* What changes nothing whatever the state is no input: not of a batch, not of the journal, not after a restart. */
static void unwanted_events_are_passed_over(void **state)
{
	static const struct svc_def def = { .id = SVC_BILLING,
		.schema = count_schema,
		.handlers = count_handlers,
		.open = plain_open,
		.close = mem_free,
		.wants = wants_even };
	const char *path = "/tmp/hcp-svc-wants.db";
	struct bus *bus;
	struct svc *a, *b;
	struct err err = { 0 };
	struct answers got = { 0 };
	struct svc_stats stats;
	struct db_row *row;
	int64_t even = 0;
	remove_db(path);
	assert_int_equal(bus_open(&(struct bus_conf){ 0 }, &bus, &err), 0);
	struct svc_conf conf = { .bus = bus, .seed = 1 }, own = { .bus = bus, .seed = 2, .db_path = path };
	assert_int_equal(svc_open(&submit_def, &conf, &a, &err), 0);
	assert_int_equal(svc_open(&def, &own, &b, &err), 0);
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 10; i++)
			submit(a, 5, &got);
		assert_int_equal(svc_step(a, 1000 + round), 10);
		if (round % 3 == 0)
			assert_true(svc_step(b, 1000 + round) >= 0);
	}
	while (svc_step(b, 2000) > 0)
		;
	assert_int_equal(db_query(svc_database(a), &row, &err, "SELECT id FROM job", ""), 1);
	do
		even += last_letter_is_even(db_text(row, 0));
	while (db_next(row, &err) == 1);
	assert_true(even > 50 && even < 350);
	assert_int_equal(scalar(b, "SELECT count(*) FROM seen WHERE times=1"), even);
	assert_int_equal(scalar(b, "SELECT count(*) FROM seen"), even);
	svc_stats(b, &stats);
	assert_int_equal(stats.messages, even);
	assert_false(svc_has_input(b));
	svc_close(b);
	assert_int_equal(svc_open(&def, &own, &b, &err), 0);
	assert_int_equal(svc_step(b, 3000), 0);
	svc_close(a);
	svc_close(b);
	bus_close(bus);
	remove_db(path);
}

static void full_mailbox_refuses(void **state)
{
	struct svc *a;
	struct err err = { 0 };
	struct answers got = { 0 };
	struct svc_conf conf = { .seed = 1 };
	assert_int_equal(svc_open(&submit_def, &conf, &a, &err), 0);
	for (int i = 0; i < SVC_MAILBOX + 3; i++)
		submit(a, 1, &got);
	assert_int_equal(got.problems, 3);
	assert_string_equal(got.code, "limit_reached");
	svc_close(a);
	assert_int_equal(got.problems, SVC_MAILBOX + 3);
	assert_string_equal(got.code, "closed");
}

static void envelopes_round_trip(void **state)
{
	struct err err = { 0 };
	struct buf b;
	Hcp__Principal p = HCP__PRINCIPAL__INIT;
	struct msg *m = msg_new(MSG_WORKLOAD_SUBMIT), *back;
	p.email = "a@b";
	m->principal = &p;
	m->idempotency_key = "k1";
	m->sender = SVC_ROUTER;
	m->seq = 7;
	((Hcp__WorkloadSubmit *)m->body)->name = "job";
	buf_init(&b, 0);
	assert_int_equal(msg_pack(m, &b), 0);
	assert_int_equal(msg_unpack(buf_str(&b), &back, &err), 0);
	assert_string_equal(back->principal->email, "a@b");
	assert_string_equal(back->idempotency_key, "k1");
	assert_int_equal(back->sender, SVC_ROUTER);
	assert_string_equal(((Hcp__WorkloadSubmit *)back->body)->name, "job");
	msg_free(back);
	/* A field that nobody knows, and one that comes twice: the last one counts. */
	buf_add(&b, "\xf8\x3f\x01\x28\x09", 5);
	assert_int_equal(msg_unpack(buf_str(&b), &back, &err), 0);
	assert_int_equal(back->seq, 9);
	assert_string_equal(back->principal->email, "a@b");
	assert_string_equal(back->idempotency_key, "k1");
	msg_free(back);
	b.data[0] = (char)0xff;
	assert_int_equal(msg_unpack(buf_str(&b), &back, &err), HCP_EPARSE);
	msg_free(m);
	buf_release(&b);
}

static int64_t due_at_20(const void *state, int64_t now_ns)
{
	const int64_t s = INT64_C(1000000000);
	return now_ns < 20 * s ? 20 * s : now_ns < 30 * s ? now_ns : INT64_MAX;
}

/* What a timer that waits costs: nothing at all; and it is on time all the same. */
static void a_timer_with_nothing_to_do_makes_no_batch(void **state)
{
	static const struct svc_def def = { .id = SVC_ORCHESTRATOR,
		.schema = submit_schema,
		.handlers = submit_handlers,
		.open = plain_open,
		.close = mem_free,
		.timer = timed,
		.timer_due = due_at_20,
		.timer_ms = 1000 };
	const int64_t s = INT64_C(1000000000);
	struct svc *a;
	struct err err = { 0 };
	struct answers got = { 0 };
	struct svc_conf conf = { .seed = 1, .now_ns = 10 * s };
	Hcp__ReplayReport report = HCP__REPLAY_REPORT__INIT;
	struct arena arena;
	assert_int_equal(svc_open(&def, &conf, &a, &err), 0);
	for (int i = 10; i < 20; i++) {
		assert_int_equal(svc_step(a, i * s), 0);
		assert_true(svc_next_wake(a) == (i + 1) * s);
	}
	assert_int_equal(scalar(a, "SELECT count(*) FROM hcp_batch"), 0);
	submit(a, 3, &got);
	assert_int_equal(svc_step(a, 19 * s + s / 2), 1); /* the request alone */
	assert_true(svc_next_wake(a) <= 20 * s);
	assert_int_equal(svc_step(a, 20 * s), 1);
	assert_int_equal(scalar(a, "SELECT count(*) FROM job"), 2);
	assert_int_equal(svc_step(a, 30 * s), 0);
	assert_int_equal(scalar(a, "SELECT count(*) FROM hcp_batch"), 2);
	arena_init(&arena, 1024, 0);
	const struct svc_replay what = { .def = &def, .journal = svc_database(a) };
	assert_int_equal(svc_replay(&what, &report, &arena, &err), 0);
	assert_true(report.identical && report.batches == 2);
	arena_release(&arena);
	svc_close(a);
}

static int numbered(void *state, struct svc_ctx *ctx, struct err *err)
{
	char id[ID_TEXT_MAX];
	for (int i = 0; i < 2; i++) {
		int rc = db_run(svc_db(ctx), err, "INSERT INTO job(id,n) VALUES($1,$2)", "zi", svc_new_id(ctx, id, ID_EVENT),
			(int64_t)svc_number(ctx));
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Across batches, failed commits and restarts: what is told to others by number must never go back. */
static void numbers_grow(void **state)
{
	static const struct svc_def def = { .id = SVC_ORCHESTRATOR,
		.schema = submit_schema,
		.handlers = submit_handlers,
		.open = plain_open,
		.close = mem_free,
		.timer = numbered,
		.timer_ms = 1000 };
	const int64_t s = INT64_C(1000000000);
	char path[] = "/tmp/hcp-svc-numbers-XXXXXX";
	int left = 0;
	struct svc *a;
	struct err err = { 0 };
	close(mkstemp(path));
	struct svc_conf conf = { .db_path = path, .seed = 1, .before_commit = fail_once, .commit_arg = &left, .now_ns = s };
	for (int64_t start = 1; start <= 21; start += 10) {
		assert_int_equal(svc_open(&def, &conf, &a, &err), 0);
		left = start == 11 ? 2 : 0;
		for (int64_t i = start; i < start + 8; i += 2)
			assert_true(svc_step(a, i * s) != 0);
		assert_int_equal(scalar(a, "SELECT count(*) FROM job x JOIN job y ON x.rowid<y.rowid AND x.n>=y.n"), 0);
		if (start == 21)
			assert_true(scalar(a, "SELECT count(*) FROM job") >= 20);
		svc_abandon(a);
	}
	unlink(path);
}

static int every_third(void *state, struct svc_ctx *ctx, struct err *err)
{
	int *n = state;
	return ++*n % 3 ? 0 : db_run(svc_db(ctx), err, "INSERT INTO job(id,n) VALUES($1,0)", "i", (int64_t)*n);
}

/* Bulk data that changes memory alone is not committed; what it changes in the tables is. */
static void a_service_without_a_journal_commits_rows_alone(void **state)
{
	static const struct svc_def def = { .id = SVC_ORCHESTRATOR,
		.schema = submit_schema,
		.handlers = submit_handlers,
		.open = plain_open,
		.close = mem_free,
		.timer = every_third,
		.timer_ms = 1000,
		.no_journal = true };
	const int64_t s = INT64_C(1000000000);
	int left = 2; /* the second commit fails */
	struct svc *a;
	struct err err = { 0 };
	struct svc_conf conf = { .seed = 1, .before_commit = fail_once, .commit_arg = &left, .now_ns = 1 * s };
	left = 0;
	assert_int_equal(svc_open(&def, &conf, &a, &err), 0);
	left = 2;
	for (int i = 1; i <= 5; i++)
		assert_int_equal(svc_step(a, i * s), 1);
	assert_int_equal(left, 1); /* one commit, of the third */
	assert_int_equal(scalar(a, "SELECT count(*) FROM job"), 1);
	assert_int_equal(svc_step(a, 6 * s), HCP_EIO);
	svc_close(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batch_commits_then_answers_and_publishes),
		cmocka_unit_test(questions_do_not_wait_for_changes),
		cmocka_unit_test(crashes_lose_and_repeat_nothing),
		cmocka_unit_test(failed_commit_answers_unavailable_and_recovers),
		cmocka_unit_test(events_wait_for_a_full_log),
		cmocka_unit_test(a_clock_set_back_stops_nothing),
		cmocka_unit_test(a_batch_settles_once),
		cmocka_unit_test(a_reader_of_a_shortened_log_misses_nothing),
		cmocka_unit_test(lost_events_come_again_in_their_order),
		cmocka_unit_test(replay_is_bit_for_bit),
		cmocka_unit_test(a_timer_with_nothing_to_do_makes_no_batch),
		cmocka_unit_test(numbers_grow),
		cmocka_unit_test(a_service_without_a_journal_commits_rows_alone),
		cmocka_unit_test(unwanted_events_are_passed_over),
		cmocka_unit_test(full_mailbox_refuses),
		cmocka_unit_test(envelopes_round_trip),
	};
	return cmocka_run_group_tests_name("svc", tests, NULL, NULL);
}
