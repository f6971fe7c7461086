#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "os/clock.h"
#include "os/file.h"
#include "svc/host.h"

#include "toy.h"

enum { THREADS = 4, EACH = 500, WAIT_S = 30 };

static atomic_int ok_answers, problems;

static void on_reply(void *arg, struct msg *reply)
{
	atomic_fetch_add(reply->type == MSG_WORKLOAD ? &ok_answers : &problems, 1);
	msg_free(reply);
}

static void *customer(void *arg)
{
	for (int i = 0; i < EACH; i++) {
		struct msg *m = msg_new(MSG_WORKLOAD_SUBMIT);
		((Hcp__WorkloadSubmit *)m->body)->priority = i % 10 + 1;
		m->reply_fn = on_reply;
		host_send(arg, m);
	}
	return NULL;
}

static int64_t count(const char *dir, const char *name, const char *sql)
{
	char path[160];
	struct db *db;
	struct db_row *row;
	struct err err = { 0 };
	assert_int_equal(file_join(path, sizeof(path), dir, name), 0);
	assert_int_equal(db_open(&(struct db_conf){ .path = path }, &db, &err), 0);
	assert_int_equal(db_query(db, &row, &err, sql, ""), 1);
	int64_t n = db_i64(row, 0);
	db_done(row);
	db_close(db);
	return n;
}

static bool wait_for(const char *dir, int64_t want)
{
	int64_t until = clock_mono_ns() + WAIT_S * INT64_C(1000000000);
	while (clock_mono_ns() < until) {
		if (count(dir, "billing.db", "SELECT count(*) FROM seen") == want)
			return true;
		clock_sleep_ns(20000000);
	}
	return false;
}

/* Many threads ask, two services on threads of their own answer and count; a second life goes on from the first. */
static void services_run_on_threads_and_restart(void **state)
{
	char dir[] = "/tmp/hcp-host-XXXXXX", clean[64];
	struct err err = { 0 };
	assert_non_null(mkdtemp(dir));
	for (int life = 1; life <= 2; life++) {
		struct host *h;
		pthread_t threads[THREADS];
		struct host_conf conf = { .state_dir = dir };
		atomic_store(&ok_answers, 0);
		atomic_store(&problems, 0);
		assert_int_equal(host_new(&conf, &h, &err), 0);
		assert_int_equal(host_add(h, &submit_def, &err), 0);
		assert_int_equal(host_add(h, &count_def, &err), 0);
		assert_int_equal(host_start(h, &err), 0);
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, customer, h), 0);
		for (int i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		assert_true(wait_for(dir, (int64_t)life * THREADS * EACH));
		assert_int_equal(atomic_load(&ok_answers), THREADS * EACH);
		assert_int_equal(atomic_load(&problems), 0);
		struct svc_stats st;
		svc_stats(host_service(h, SVC_ORCHESTRATOR), &st);
		/* The group commit: far fewer transactions than messages. */
		assert_true(st.batches < st.messages);
		/* Nobody takes this one here. */
		struct msg *m = msg_new(MSG_PRICES_GET);
		m->reply_fn = on_reply;
		host_send(h, m);
		assert_int_equal(atomic_load(&problems), 1);
		host_free(h);
		assert_int_equal(count(dir, "billing.db", "SELECT max(times) FROM seen"), 1);
	}
	snprintf(clean, sizeof(clean), "rm -r %s", dir);
	assert_int_equal(system(clean), 0); /* tidy: allow banned-call: a test clears its own folder */
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(services_run_on_threads_and_restart) };
	return cmocka_run_group_tests_name("host", tests, NULL, NULL);
}
