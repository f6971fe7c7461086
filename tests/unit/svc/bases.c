/* Base copies: taken while the service goes on, replayed from, pruned up to, damaged, and cut short at every step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/clock.h"
#include "os/file.h"
#include "svc/bases.h"
#include "svc/host.h"

#include "toy.h"

enum { PER_BATCH = 3, BATCHES = 4000, SECOND = 1000000000, CRASHED = 9, WAIT_S = 60 };

struct rig {
	char dir[64], db[128], bases[128], scratch[128];
	struct bus *bus;
	struct svc *svc;
	int64_t now_ns;
	int64_t base_bytes;
	int keep;
};

static void ignore_reply(void *arg, struct msg *reply)
{
	msg_free(reply);
}

static struct msg *job(int priority)
{
	struct msg *m = msg_new(MSG_WORKLOAD_SUBMIT);
	((Hcp__WorkloadSubmit *)m->body)->priority = priority;
	m->reply_fn = ignore_reply;
	return m;
}

static void rig_open(struct rig *r)
{
	struct err err = { 0 };
	struct svc_conf conf = { .db_path = r->db,
		.bus = r->bus,
		.seed = 7,
		.base_dir = r->bases,
		.base_bytes = r->base_bytes,
		.bases_kept = r->keep,
		.now_ns = r->now_ns };
	if (svc_open(&submit_def, &conf, &r->svc, &err) < 0)
		fail_msg("open: %s %s", err.field, err.text);
}

static struct rig rig_make(int64_t base_bytes, int keep)
{
	struct rig r = { .dir = "/tmp/hcp-bases-XXXXXX", .now_ns = SECOND, .base_bytes = base_bytes, .keep = keep };
	struct err err = { 0 };
	assert_non_null(mkdtemp(r.dir));
	snprintf(r.db, sizeof(r.db), "%s/svc.db", r.dir);
	snprintf(r.bases, sizeof(r.bases), "%s/bases/svc", r.dir);
	snprintf(r.scratch, sizeof(r.scratch), "%s/scratch.db", r.dir);
	assert_int_equal(bus_open(&(struct bus_conf){ 0 }, &r.bus, &err), 0);
	rig_open(&r);
	return r;
}

static void rig_release(struct rig *r)
{
	char clean[160];
	svc_close(r->svc);
	bus_close(r->bus);
	snprintf(clean, sizeof(clean), "rm -rf %s", r->dir);
	assert_int_equal(system(clean), 0); /* tidy: allow banned-call: a test clears its own folder */
}

/* Batches of a second each; the bus has them on its disk at once. */
static void work(struct rig *r, int batches)
{
	for (int i = 0; i < batches; i++) {
		for (int k = 0; k < PER_BATCH; k++)
			svc_post(r->svc, job(k + 1));
		r->now_ns += SECOND;
		assert_int_equal(svc_step(r->svc, r->now_ns), PER_BATCH);
		svc_bus_synced(r->svc, bus_end(r->bus));
	}
}

static int take_base(struct rig *r, const struct bases_hook *hook)
{
	struct svc_base *b;
	struct err err = { 0 };
	assert_int_equal(svc_base_begin(r->svc, r->now_ns, &b, &err), 0);
	int rc = svc_base_write(b, hook, &err);
	svc_base_end(r->svc, b, rc, r->now_ns);
	return rc;
}

static int64_t scalar(struct rig *r, const char *sql)
{
	struct db_row *row;
	struct err err = { 0 };
	assert_int_equal(db_query(svc_database(r->svc), &row, &err, sql, ""), 1);
	int64_t v = db_i64(row, 0);
	db_done(row);
	return v;
}

struct result {
	int rc;
	Hcp__ReplayReport report;
	struct err err;
	char detail[256], unusable[256];
	int64_t told;
};

static void on_progress(void *arg, int64_t done, int64_t all)
{
	struct result *r = arg;
	assert_int_equal(done, ++r->told);
	assert_true(done <= all);
}

static struct result replay(struct rig *r, int64_t from, int64_t to)
{
	struct arena a;
	struct result got = { .report = HCP__REPLAY_REPORT__INIT };
	struct svc_replay what = { .def = &submit_def,
		.journal = svc_database(r->svc),
		.base_dir = r->bases,
		.scratch = r->scratch,
		.from = from,
		.to = to,
		.progress = on_progress,
		.arg = &got };
	arena_init(&a, 1024, 0);
	got.rc = svc_replay(&what, &got.report, &a, &got.err);
	snprintf(got.detail, sizeof(got.detail), "%s", got.report.detail);
	if (got.report.n_unusable_bases)
		snprintf(got.unusable, sizeof(got.unusable), "%s", got.report.unusable_bases[0]);
	arena_release(&a);
	assert_false(file_exists(r->scratch));
	return got;
}

static int count_one(void *arg, const char *name)
{
	++*(int *)arg;
	return 0;
}

static int files_of(const struct rig *r)
{
	int n = 0;
	struct err err = { 0 };
	assert_int_equal(file_list(r->bases, "", count_one, &n, &err), 0);
	return n;
}

static void path_of(char *dst, size_t n, const struct rig *r, int64_t batch, const char *suffix)
{
	snprintf(dst, n, "%s/%020lld%s", r->bases, (long long)batch, suffix);
}

static void flip(const char *path, long at)
{
	FILE *f = fopen(path, "r+b");
	assert_non_null(f);
	fseek(f, at, SEEK_SET);
	int c = fgetc(f);
	fseek(f, at, SEEK_SET);
	fputc(c ^ 1, f);
	fclose(f);
}

static void a_window_is_run_from_the_nearest_base(void **state)
{
	struct rig r = rig_make(0, 4);
	struct result got;
	work(&r, 20);
	assert_int_equal(take_base(&r, NULL), 0);
	work(&r, 20);
	assert_int_equal(take_base(&r, NULL), 0);
	work(&r, 20);
	got = replay(&r, 45, 50);
	assert_int_equal(got.rc, 0);
	assert_true(got.report.identical);
	assert_int_equal(got.report.base_batch, 40);
	assert_int_equal(got.report.batches, 10);
	assert_int_equal(got.told, 10);
	assert_int_equal(got.report.messages, 10 * PER_BATCH);
	assert_int_equal(got.report.from_batch, 45);
	assert_int_equal(got.report.to_batch, 50);
	got = replay(&r, 40, 41); /* the base holds batch 40, so it is one too new */
	assert_true(got.report.identical);
	assert_int_equal(got.report.base_batch, 20);
	got = replay(&r, 3, 5);
	assert_true(got.report.identical);
	assert_int_equal(got.report.base_batch, 0);
	got = replay(&r, 0, 0);
	assert_true(got.report.identical);
	assert_int_equal(got.report.batches, 60);
	rig_release(&r);
}

static void a_window_of_times(void **state)
{
	struct rig r = rig_make(0, 4);
	struct arena a;
	struct err err = { 0 };
	work(&r, 30);
	assert_int_equal(take_base(&r, NULL), 0);
	work(&r, 10);
	Hcp__ReplayReport report = HCP__REPLAY_REPORT__INIT;
	struct svc_replay what = { .def = &submit_def,
		.journal = svc_database(r.svc),
		.base_dir = r.bases,
		.scratch = r.scratch,
		.from_ns = INT64_C(36) * SECOND,
		.to_ns = INT64_C(38) * SECOND };
	arena_init(&a, 1024, 0);
	assert_int_equal(svc_replay(&what, &report, &a, &err), 0);
	assert_true(report.identical);
	assert_int_equal(report.from_batch, 35); /* batch n is at n + 1 seconds */
	assert_int_equal(report.to_batch, 37);
	assert_int_equal(report.base_batch, 30);
	what.from_ns = INT64_C(100) * SECOND;
	what.to_ns = 0;
	assert_int_equal(svc_replay(&what, &report, &a, &err), HCP_ENOTFOUND);
	assert_non_null(strstr(err.text, "1970-01-01T00:00:02Z to 1970-01-01T00:00:41Z"));
	arena_release(&a);
	rig_release(&r);
}

/* Taken when due, the newest kept, journal gone up to the oldest of them and not further; a restart knows it all. */
static void journal_is_bounded_by_the_bases(void **state)
{
	struct rig r = rig_make(1024, 3);
	struct base all[BASES_MAX];
	size_t n;
	int taken = 0;
	struct err err = { 0 };
	for (int i = 0; i < BATCHES; i++) {
		work(&r, 1);
		if (i % 1000 == 500) {
			svc_close(r.svc);
			rig_open(&r);
		}
		/* Small tables: a base has at most as many bytes as the journal that follows it. */
		assert_int_equal(db_run(svc_database(r.svc), &err, "DELETE FROM job", ""), 0);
		if (svc_base_due(r.svc, r.now_ns)) {
			assert_int_equal(take_base(&r, NULL), 0);
			taken++;
		}
	}
	assert_in_range(taken, 5, 100);
	assert_int_equal(bases_list(r.bases, all, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_int_equal(scalar(&r, "SELECT min(no) FROM hcp_batch"), all[0].batch);
	assert_in_range(
		scalar(&r, "SELECT sum(length(inputs)+length(events)) FROM hcp_batch"), all[2].bytes, 8 * all[2].bytes);
	struct result got = replay(&r, 0, 0);
	assert_int_equal(got.rc, 0);
	assert_true(got.report.identical);
	assert_int_equal(got.report.base_batch, all[0].batch);
	assert_int_equal(got.report.batches, BATCHES - all[0].batch);
	got = replay(&r, 10, 12);
	assert_int_equal(got.rc, HCP_ERANGE);
	assert_non_null(strstr(got.err.text, "begin there or later"));
	assert_non_null(strstr(got.err.text, "--bases"));
	rig_release(&r);
}

/* A base is due by age as well, and not while nothing was done. */
static void age_makes_a_base_due(void **state)
{
	struct rig r = rig_make(0, 4);
	const int64_t day = INT64_C(24) * 3600 * SECOND;
	assert_false(svc_base_due(r.svc, r.now_ns + 3 * day));
	work(&r, 1);
	assert_int_equal(svc_step(r.svc, r.now_ns), 0); /* passes over its own events */
	assert_false(svc_base_due(r.svc, r.now_ns));
	assert_true(svc_base_due(r.svc, r.now_ns + day));
	svc_post(r.svc, job(1));
	assert_false(svc_base_due(r.svc, r.now_ns + day)); /* somebody waits */
	assert_true(svc_base_due(r.svc, r.now_ns + 2 * day));
	rig_release(&r);
}

static int64_t journal_bytes(struct rig *r)
{
	return scalar(r, "SELECT sum(length(inputs)+length(events)) FROM hcp_batch");
}

/* Under load a queue is empty between two batches too; the pause waits for a lull, or for twice the journal. */
static void a_base_waits_for_a_lull(void **state)
{
	struct rig r = rig_make(4096, 4);
	const int64_t lull = SVC_BASE_LULL_MS * INT64_C(1000000);
	int waited = 0;
	work(&r, 1);
	while (!svc_base_due(r.svc, r.now_ns)) {
		svc_post(r.svc, job(1));
		r.now_ns += lull - 1;
		assert_int_equal(svc_step(r.svc, r.now_ns), 1);
		assert_int_equal(svc_step(r.svc, r.now_ns), 0);
		bool enough = journal_bytes(&r) > 4096 + 512;
		waited += enough;
		assert_true(!enough || svc_base_due(r.svc, r.now_ns + lull));
	}
	assert_true(waited > 3);
	assert_in_range(journal_bytes(&r), 2 * 4096 - 512, 2 * 4096 + 512);
	rig_release(&r);
}

/* A large state of which little changed is not copied every day. */
static void little_done_makes_none_due(void **state)
{
	struct rig r = rig_make(0, 4);
	const int64_t day = INT64_C(24) * 3600 * SECOND;
	work(&r, 300);
	assert_int_equal(take_base(&r, NULL), 0);
	work(&r, 1);
	assert_int_equal(svc_step(r.svc, r.now_ns), 0);
	assert_false(svc_base_due(r.svc, r.now_ns + 3 * day));
	work(&r, 300);
	assert_true(svc_base_due(r.svc, r.now_ns + 2 * day));
	rig_release(&r);
}

static void damage_is_named_and_the_older_base_used(void **state)
{
	struct rig r = rig_make(0, 5);
	char path[192];
	struct result got;
	for (int i = 0; i < 4; i++) {
		work(&r, 10);
		assert_int_equal(take_base(&r, NULL), 0);
	}
	work(&r, 10);
	path_of(path, sizeof(path), &r, 40, ".db");
	flip(path, 5000);
	got = replay(&r, 45, 0);
	assert_true(got.rc == 0 && got.report.identical);
	assert_int_equal(got.report.base_batch, 30);
	assert_int_equal(got.report.n_unusable_bases, 1);
	assert_non_null(strstr(got.unusable, "base of batch 40"));
	assert_non_null(strstr(got.unusable, "checksum"));
	path_of(path, sizeof(path), &r, 30, ".db");
	assert_int_equal(truncate(path, 4096), 0);
	path_of(path, sizeof(path), &r, 20, ".base");
	flip(path, 20);
	got = replay(&r, 45, 0);
	assert_true(got.rc == 0 && got.report.identical);
	assert_int_equal(got.report.base_batch, 10);
	assert_int_equal(got.report.n_unusable_bases, 3);
	path_of(path, sizeof(path), &r, 10, ".db");
	assert_int_equal(unlink(path), 0);
	got = replay(&r, 45, 0); /* the journal still goes back to the first batch */
	assert_true(got.rc == 0 && got.report.identical);
	assert_int_equal(got.report.base_batch, 0);
	rig_release(&r);
}

/* Whole, but of a time that the journal knows nothing of. */
static void a_base_of_another_history_is_not_used(void **state)
{
	struct rig r = rig_make(0, 4);
	struct err err = { 0 };
	work(&r, 10);
	assert_int_equal(take_base(&r, NULL), 0);
	work(&r, 10);
	assert_int_equal(db_run(svc_database(r.svc), &err, "UPDATE hcp_batch SET inputs=x'' WHERE no=10", ""), 0);
	struct result got = replay(&r, 15, 0);
	assert_int_equal(got.report.base_batch, 0);
	assert_non_null(strstr(got.unusable, "not the one of the journal"));
	assert_int_equal(got.report.first_difference, 10);
	rig_release(&r);
	/* Batches after the last commit, as a crash without durable commits leaves them, are cleared away at the start. */
	r = rig_make(0, 4);
	work(&r, 10);
	assert_int_equal(take_base(&r, NULL), 0);
	assert_int_equal(
		db_run(svc_database(r.svc), &err,
			"UPDATE hcp_mark SET v=CAST(CAST(x'0900000000000000' AS TEXT)||CAST(substr(v,9) AS TEXT) AS BLOB)", ""),
		0);
	svc_close(r.svc);
	rig_open(&r);
	struct base all[BASES_MAX];
	size_t n;
	assert_int_equal(bases_list(r.bases, all, &n, &err), 0);
	assert_int_equal(n, 0);
	rig_release(&r);
}

static void tampering_is_found_and_named(void **state)
{
	struct rig r = rig_make(0, 4);
	struct err err = { 0 };
	work(&r, 20);
	assert_int_equal(take_base(&r, NULL), 0);
	work(&r, 20);
	assert_int_equal(db_run(svc_database(r.svc), &err, "UPDATE hcp_batch SET at_ns=at_ns+1 WHERE no=33", ""), 0);
	struct result got = replay(&r, 30, 40);
	assert_int_equal(got.rc, 0);
	assert_false(got.report.identical);
	assert_int_equal(got.report.first_difference, 33);
	assert_non_null(strstr(got.detail, "event 1 (WorkloadChanged, number 97) differs from byte"));
	got = replay(&r, 25, 32); /* the window before it is untouched */
	assert_true(got.report.identical);
	assert_int_equal(
		db_run(svc_database(r.svc), &err, "UPDATE hcp_batch SET at_ns=at_ns-1,events=x'' WHERE no=33", ""), 0);
	got = replay(&r, 30, 40);
	assert_int_equal(got.report.first_difference, 33);
	assert_non_null(strstr(got.detail, "is published now and was not recorded"));
	assert_int_equal(db_run(svc_database(r.svc), &err, "UPDATE hcp_batch SET inputs=x'00' WHERE no=32", ""), 0);
	got = replay(&r, 30, 40);
	assert_int_equal(got.report.first_difference, 32);
	assert_non_null(strstr(got.detail, "inputs cannot be read"));
	assert_int_equal(db_run(svc_database(r.svc), &err, "DELETE FROM hcp_batch WHERE no=31", ""), 0);
	got = replay(&r, 30, 40);
	assert_int_equal(got.report.first_difference, 31);
	assert_non_null(strstr(got.detail, "missing"));
	rig_release(&r);
}

struct stop {
	enum base_stage at;
	bool crash;
};

static int stop_there(void *arg, enum base_stage stage)
{
	const struct stop *s = arg;
	if (stage != s->at)
		return 0;
	if (s->crash)
		_exit(CRASHED);
	return HCP_EIO;
}

/* Killed at each step: what was there stays usable, the next start clears away the rest, the next base succeeds. */
static void a_crash_at_any_step_leaves_what_was(void **state)
{
	for (enum base_stage at = BASE_COPYING; at <= BASE_KEPT; at++) {
		struct rig r = rig_make(0, 4);
		struct base all[BASES_MAX];
		size_t n;
		int status;
		struct err err = { 0 };
		struct stop stop = { at, true };
		struct bases_hook hook = { stop_there, &stop };
		work(&r, 100);
		assert_int_equal(take_base(&r, NULL), 0);
		work(&r, 100);
		svc_abandon(r.svc);
		pid_t pid = fork();
		if (pid == 0) {
			rig_open(&r);
			work(&r, 1);
			take_base(&r, &hook);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == CRASHED);
		rig_open(&r);
		assert_int_equal(bases_list(r.bases, all, &n, &err), 0);
		assert_int_equal(n, at == BASE_KEPT ? 2 : 1);
		struct result got = replay(&r, 150, 0);
		assert_true(got.rc == 0 && got.report.identical);
		assert_int_equal(got.report.n_unusable_bases, 0);
		assert_int_equal(files_of(&r), 2 * n);
		work(&r, 5);
		assert_int_equal(take_base(&r, NULL), 0);
		work(&r, 5);
		got = replay(&r, 208, 0);
		assert_true(got.rc == 0 && got.report.identical);
		assert_int_equal(got.report.base_batch, 206);
		rig_release(&r);
	}
}

/* An error (a full disk, say) leaves nothing, and it is tried again later. */
static void a_failed_base_is_tried_again(void **state)
{
	for (enum base_stage at = BASE_COPYING; at <= BASE_RENAMED; at++) {
		struct rig r = rig_make(4096, 4);
		struct stop stop = { at, false };
		struct bases_hook hook = { stop_there, &stop };
		work(&r, 100);
		assert_true(svc_base_due(r.svc, r.now_ns));
		assert_int_equal(take_base(&r, &hook), HCP_EIO);
		assert_int_equal(files_of(&r), 0);
		assert_false(svc_base_due(r.svc, r.now_ns));
		r.now_ns += (int64_t)SVC_BASE_RETRY_S * SECOND;
		assert_true(svc_base_due(r.svc, r.now_ns));
		assert_int_equal(take_base(&r, NULL), 0);
		rig_release(&r);
	}
}

/* Where no base can ever be taken the journal still has an end. */
static void journal_without_bases_is_bounded(void **state)
{
	struct rig r = rig_make(4096, 2);
	work(&r, 400);
	assert_in_range(scalar(&r, "SELECT sum(length(inputs)+length(events)) FROM hcp_batch"), 4096, 6 * 4096 + 4096);
	struct result got = replay(&r, 0, 0);
	assert_int_equal(got.rc, HCP_ERANGE);
	assert_non_null(strstr(got.err.text, "no base copy is whole"));
	rig_release(&r);
}

struct commits {
	struct rig *r;
	int n;
};

static int commit_meanwhile(void *arg, enum base_stage stage)
{
	struct commits *c = arg;
	work(c->r, 1);
	c->n++;
	return 0;
}

/* The copy is of one moment, and no commit waits for it: these happen inside of it. */
static void commits_go_on_while_a_base_is_taken(void **state)
{
	struct rig r = rig_make(0, 4);
	struct commits c = { &r, 0 };
	struct bases_hook hook = { commit_meanwhile, &c };
	work(&r, 1000);
	assert_int_equal(take_base(&r, &hook), 0);
	assert_true(c.n > 10);
	assert_int_equal(scalar(&r, "SELECT max(no) FROM hcp_batch"), 1000 + c.n);
	work(&r, 10);
	struct result got = replay(&r, 1005, 0);
	assert_true(got.rc == 0 && got.report.identical);
	assert_int_equal(got.report.base_batch, 1000);
	assert_int_equal(got.report.batches, c.n + 10);
	rig_release(&r);
}

/* The host takes them beside the running services, one at a time, and stops in the middle of one. */
static void the_host_takes_bases(void **state)
{
	char dir[] = "/tmp/hcp-bases-XXXXXX", bases[96], clean[64];
	struct err err = { 0 };
	struct host *h;
	struct base all[BASES_MAX];
	size_t n = 0;
	assert_non_null(mkdtemp(dir));
	struct host_conf conf = { .state_dir = dir, .base_bytes = 8192, .bases_kept = 2 };
	assert_int_equal(host_new(&conf, &h, &err), 0);
	assert_int_equal(host_add(h, &submit_def, &err), 0);
	assert_int_equal(host_add(h, &count_def, &err), 0);
	assert_int_equal(host_start(h, &err), 0);
	int64_t until = clock_mono_ns() + WAIT_S * INT64_C(1000000000);
	for (int i = 0; clock_mono_ns() < until && n < 2; i++) {
		host_send(h, job(i % 10 + 1));
		clock_sleep_ns(1000000);
		snprintf(bases, sizeof(bases), "%s/bases/orchestrator", dir);
		assert_int_equal(bases_list(bases, all, &n, &err), 0);
		if (n == 2) {
			snprintf(bases, sizeof(bases), "%s/bases/billing", dir);
			assert_int_equal(bases_list(bases, all, &n, &err), 0);
		}
	}
	assert_int_equal(n, 2);
	host_free(h);
	snprintf(clean, sizeof(clean), "rm -rf %s", dir);
	assert_int_equal(system(clean), 0); /* tidy: allow banned-call: a test clears its own folder */
}

static void descriptions_are_read_strictly(void **state)
{
	struct base b = { "router", 12, 34, 56, 78, "" }, back;
	struct buf text;
	memset(b.sha256, 'a', 64);
	buf_init(&text, 0);
	bases_format(&b, &text);
	assert_int_equal(bases_parse(buf_str(&text), &back), 0);
	assert_string_equal(back.service, b.service);
	assert_string_equal(back.sha256, b.sha256);
	assert_true(back.batch == 12 && back.at_ns == 34 && back.journal == 56 && back.bytes == 78);
	for (size_t i = 0; i < text.n; i++) {
		text.data[i] ^= 1;
		assert_int_equal(bases_parse(buf_str(&text), &back), HCP_EPARSE);
		text.data[i] ^= 1;
		assert_int_equal(bases_parse((struct str){ text.data, i }, &back), HCP_EPARSE);
	}
	buf_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_window_is_run_from_the_nearest_base),
		cmocka_unit_test(a_window_of_times),
		cmocka_unit_test(journal_is_bounded_by_the_bases),
		cmocka_unit_test(age_makes_a_base_due),
		cmocka_unit_test(little_done_makes_none_due),
		cmocka_unit_test(a_base_waits_for_a_lull),
		cmocka_unit_test(damage_is_named_and_the_older_base_used),
		cmocka_unit_test(a_base_of_another_history_is_not_used),
		cmocka_unit_test(tampering_is_found_and_named),
		cmocka_unit_test(a_crash_at_any_step_leaves_what_was),
		cmocka_unit_test(a_failed_base_is_tried_again),
		cmocka_unit_test(journal_without_bases_is_bounded),
		cmocka_unit_test(commits_go_on_while_a_base_is_taken),
		cmocka_unit_test(the_host_takes_bases),
		cmocka_unit_test(descriptions_are_read_strictly),
	};
	return cmocka_run_group_tests_name("bases", tests, NULL, NULL);
}
