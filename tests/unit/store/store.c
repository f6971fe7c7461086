#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/store.h"

static const char *const schema[] = {
	"CREATE TABLE t(k TEXT PRIMARY KEY, v INTEGER NOT NULL, x REAL, raw BLOB)",
	"CREATE INDEX t_v ON t(v)",
};

static struct db *open_memory(void)
{
	struct db *db;
	struct err err = { 0 };
	assert_int_equal(db_open(&(struct db_conf){ .path = NULL }, &db, &err), 0);
	assert_int_equal(db_migrate(db, schema, 2, &err), 0);
	return db;
}

static void rows_round_trip(void **state)
{
	struct db *db = open_memory();
	struct db_row *row;
	struct err err = { 0 };
	int n = 0, rc;
	assert_int_equal(db_run(db, &err, "INSERT INTO t VALUES($1,$2,$3,$4)", "sidb", STR("a"), (int64_t)INT64_MIN, 0.1,
				STR("\0\1")), 0);
	assert_int_equal(db_run(db, &err, "INSERT INTO t VALUES($1,$2,$3,$4)", "zinn", "b", (int64_t)7), 0);
	for (rc = db_query(db, &row, &err, "SELECT k,v,x,raw FROM t ORDER BY k", ""); rc == 1; rc = db_next(row, &err)) {
		if (n++ == 0) {
			assert_true(str_eqz(db_text(row, 0), "a"));
			assert_true(db_i64(row, 1) == INT64_MIN && db_double(row, 2) == 0.1);
			assert_int_equal(db_blob(row, 3).n, 2);
		} else {
			assert_true(db_is_null(row, 2));
		}
	}
	assert_int_equal(rc, 0);
	assert_int_equal(n, 2);
	assert_int_equal(db_run(db, &err, "INSERT INTO t VALUES($1,$2,$3,$4)", "zinn", "b", (int64_t)8), HCP_EEXIST);
	db_close(db);
}

static int refuse(void *arg)
{
	return *(int *)arg ? HCP_EIO : 0;
}

static void failed_commit_keeps_nothing(void **state)
{
	int bad = 0;
	struct db *db;
	struct db_row *row;
	struct err err = { 0 };
	assert_int_equal(db_open(&(struct db_conf){ .before_commit = refuse, .arg = &bad }, &db, &err), 0);
	assert_int_equal(db_migrate(db, schema, 2, &err), 0);
	bad = 1;
	assert_int_equal(db_begin(db, &err), 0);
	assert_int_equal(db_run(db, &err, "INSERT INTO t(k,v) VALUES($1,$2)", "zi", "x", (int64_t)1), 0);
	assert_int_equal(db_commit(db, &err), HCP_EIO);
	bad = 0;
	assert_int_equal(db_query(db, &row, &err, "SELECT 1 FROM t", ""), 0);
	db_close(db);
}

static void newer_schema_is_refused(void **state)
{
	struct db *db = open_memory();
	struct err err = { 0 };
	assert_int_equal(db_migrate(db, schema, 1, &err), HCP_EUNSUPPORTED);
	db_close(db);
}

/* A file-size limit stands for a full disk: the write fails, what was committed stays readable. */
static void full_disk_is_named_and_harmless(void **state)
{
	char path[] = "/tmp/hcp-store-XXXXXX";
	struct err err = { 0 };
	struct db *db;
	struct db_row *row;
	int fd = mkstemp(path), rc = 0;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(db_open(&(struct db_conf){ .path = path, .durable = true }, &db, &err), 0);
	assert_int_equal(db_migrate(db, schema, 2, &err), 0);
	assert_int_equal(db_run(db, &err, "INSERT INTO t(k,v) VALUES('kept',1)", ""), 0);
	signal(SIGXFSZ, SIG_IGN);
	struct rlimit old, small = { 200000, 200000 };
	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	static char big[300000];
	rc = db_run(db, &err, "INSERT INTO t(k,v,raw) VALUES('big',1,$1)", "b", (struct str){ big, sizeof(big) });
	setrlimit(RLIMIT_FSIZE, &old);
	assert_true(rc == HCP_ENOSPC || rc == HCP_EIO);
	assert_int_equal(db_check(db, &err), 0);
	assert_int_equal(db_query(db, &row, &err, "SELECT count(*) FROM t", ""), 1);
	assert_int_equal(db_i64(row, 0), 1);
	db_done(row);
	db_close(db);
	unlink(path);
}

static void is_set(struct db *db, int64_t cache_kib, int64_t wal_pages)
{
	struct db_row *row;
	struct err err = { 0 };
	assert_int_equal(db_query(db, &row, &err, "PRAGMA cache_size", ""), 1);
	assert_int_equal(db_i64(row, 0), -cache_kib);
	db_done(row);
	assert_int_equal(db_query(db, &row, &err, "PRAGMA wal_autocheckpoint", ""), 1);
	assert_int_equal(db_i64(row, 0), wal_pages);
	db_done(row);
}

static void load_is_told_and_over(void **state)
{
	struct db *db;
	struct err err = { 0 };
	assert_int_equal(db_open(&(struct db_conf){ .cache_kib = 256 }, &db, &err), 0);
	is_set(db, 256, 1000);
	db_busy(db, true);
	is_set(db, 8192, 8000);
	db_busy(db, false);
	is_set(db, 256, 1000);
	db_close(db);
}

static void unopenable_path_is_an_error(void **state)
{
	struct db *db;
	struct err err = { 0 };
	assert_int_equal(db_open(&(struct db_conf){ .path = "/nonexistent/x.db" }, &db, &err), HCP_EIO);
	assert_string_equal(err.field, "/nonexistent/x.db");
}

static int stop_copy(void *arg)
{
	++*(int *)arg;
	return HCP_ECANCELED;
}

static int64_t one(struct db *db, const char *sql)
{
	struct db_row *row;
	struct err err = { 0 };
	assert_int_equal(db_query(db, &row, &err, sql, ""), 1);
	int64_t v = db_i64(row, 0);
	db_done(row);
	return v;
}

/* A copy of the moment of the snapshot: every kind of table, rowids and all, while the store is written to. */
static void a_snapshot_is_copied_as_it_was(void **state)
{
	char path[] = "/tmp/hcp-store-XXXXXX", copy[64], clean[160];
	struct db *db, *snap, *back;
	struct err err = { 0 };
	int asked = 0;
	close(mkstemp(path));
	snprintf(copy, sizeof(copy), "%s.copy", path);
	assert_int_equal(db_open(&(struct db_conf){ .path = path }, &db, &err), 0);
	assert_int_equal(db_migrate(db, schema, 2, &err), 0);
	assert_int_equal(db_script(db,
						 "CREATE TABLE w(k TEXT PRIMARY KEY, v INTEGER) WITHOUT ROWID;"
						 "CREATE TABLE n(no INTEGER PRIMARY KEY, \"odd \"\"name\" TEXT, raw BLOB);"
						 "INSERT INTO w VALUES('a',1),('b',2);"
						 "INSERT INTO n VALUES(5,'x',x'00ff'),(9,NULL,zeroblob(100000));"
						 "INSERT INTO t VALUES('gone',0,0,NULL),('kept',1,0.5,x'');"
						 "DELETE FROM t WHERE k='gone'",
						 &err),
		0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(db_run(db, &err, "INSERT INTO t VALUES($1,$2,NULL,NULL)", "si",
							 (struct str){ (const char *)&i, sizeof(i) }, (int64_t)i),
			0);
	assert_int_equal(db_snapshot(db, &snap, &err), 0);
	assert_int_equal(db_script(db, "DELETE FROM t; DROP TABLE w; INSERT INTO n(no) VALUES(10)", &err), 0);
	const struct db_copy conf = { .table = "n", .where = "no=9" };
	assert_int_equal(db_copy(snap, copy, &conf, &err), 0);
	const struct db_copy stopped = { .go_on = stop_copy, .arg = &asked };
	snprintf(clean, sizeof(clean), "%s.2", copy);
	assert_int_equal(db_copy(snap, clean, &stopped, &err), HCP_ECANCELED);
	assert_int_equal(asked, 1);
	db_close(snap);
	assert_int_equal(db_open(&(struct db_conf){ .path = copy }, &back, &err), 0);
	assert_int_equal(db_check(back, &err), 0);
	assert_int_equal(one(back, "SELECT count(*) FROM t"), 1001);
	assert_int_equal(one(back, "SELECT rowid FROM t WHERE k='kept'"), 2);
	assert_int_equal(one(back, "SELECT sum(v) FROM w"), 3);
	assert_int_equal(one(back, "SELECT count(*) FROM n"), 1);
	assert_int_equal(one(back, "SELECT length(raw) FROM n"), 100000);
	assert_int_equal(one(back, "SELECT count(*) FROM sqlite_schema WHERE name='t_v'"), 1);
	assert_int_equal(db_migrate(back, schema, 2, &err), 0); /* it knows its version */
	db_close(back);
	db_close(db);
	snprintf(clean, sizeof(clean), "rm -f %s*", path);
	assert_int_equal(system(clean), 0); /* tidy: allow banned-call: a test clears its own files */
	db = open_memory();
	assert_int_equal(db_snapshot(db, &snap, &err), HCP_EUNSUPPORTED);
	db_close(db);
}

/* Where a copy cannot be written: named, nothing else happens. */
static void a_copy_to_nowhere_fails(void **state)
{
	struct db *db = open_memory();
	struct err err = { 0 };
	const struct db_copy all = { 0 };
	assert_int_equal(db_copy(db, "/proc/none/copy", &all, &err), HCP_EIO);
	assert_non_null(strstr(err.text, "copy"));
	db_close(db);
}

/* In memory, shared by name, and there as long as anybody has it open: what survives a simulated crash. */
static void a_named_database_in_memory_outlives_its_user(void **state)
{
	const struct db_conf conf = { .path = "/tmp/hcp-store-named", .vfs = "memdb" };
	struct err err = { 0 };
	struct db *keep, *user;
	struct db_row *row;
	assert_int_equal(db_open(&conf, &keep, &err), 0);
	assert_int_equal(db_open(&conf, &user, &err), 0);
	assert_int_equal(db_migrate(user, schema, 2, &err), 0);
	int64_t before = db_total_changes(user);
	assert_int_equal(db_run(user, &err, "INSERT INTO t(k,v) VALUES('kept',1)", ""), 0);
	assert_int_equal(db_total_changes(user), before + 1);
	assert_int_equal(db_begin(user, &err), 0);
	assert_int_equal(db_run(user, &err, "INSERT INTO t(k,v) VALUES('torn',1)", ""), 0);
	db_close(user);
	assert_int_equal(db_open(&conf, &user, &err), 0);
	assert_int_equal(db_query(user, &row, &err, "SELECT k FROM t", ""), 1);
	assert_true(str_eqz(db_text(row, 0), "kept"));
	assert_int_equal(db_next(row, &err), 0);
	struct db *snap;
	assert_int_equal(db_snapshot(user, &snap, &err), 0);
	assert_int_equal(db_run(user, &err, "DELETE FROM t", ""), 0);
	assert_int_equal(one(snap, "SELECT count(*) FROM t"), 1);
	db_close(snap);
	db_close(user);
	db_close(keep);
	assert_int_equal(access(conf.path, F_OK), -1);
	assert_int_equal(db_open(&conf, &user, &err), 0);
	assert_int_equal(db_query(user, &row, &err, "SELECT 1 FROM sqlite_schema", ""), 0);
	db_close(user);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_round_trip),
		cmocka_unit_test(failed_commit_keeps_nothing),
		cmocka_unit_test(newer_schema_is_refused),
		cmocka_unit_test(full_disk_is_named_and_harmless),
		cmocka_unit_test(load_is_told_and_over),
		cmocka_unit_test(unopenable_path_is_an_error),
		cmocka_unit_test(a_snapshot_is_copied_as_it_was),
		cmocka_unit_test(a_copy_to_nowhere_fails),
		cmocka_unit_test(a_named_database_in_memory_outlives_its_user),
	};
	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
