#ifndef HCP_STORE_STORE_H
#define HCP_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * One database of one service. A small vtable with backends; SQL is written once with $1 parameters.
 * One thread at a time. Statements are prepared once per SQL text and cached for the life of the store.
 *
 *   db_run(db, err, "INSERT INTO t(a,b) VALUES($1,$2)", "si", str, 7)
 *   for (rc = db_query(db, &row, err, "SELECT a,b FROM t WHERE b>$1", "i", x); rc == 1; rc = db_next(row, err)) …
 *
 * Argument letters: i int64_t, d double, s struct str as text, z const char * as text (NULL is SQL NULL),
 * b struct str as blob, n (no argument) SQL NULL. Values must be passed with exactly these types.
 */
struct db;
struct db_row; /* the current row of a running query; borrowed from the store */

struct db_conf {
	const char *path; /* file, or NULL for one in memory */
	/* SQLite's name of the file system; NULL: the system's. "memdb" keeps "/name" in memory while any store has it
	 * open. */
	const char *vfs;
	bool durable;     /* commits reach the disk (WAL, FULL); false: may lose the last commits on power loss */
	int cache_kib;    /* page cache, used as far as it is needed; 0: 512 */
	/* Test hook, called before each COMMIT; a negative code makes the commit fail with nothing kept. */
	int (*before_commit)(void *arg);
	void *arg;
};

int db_open(const struct db_conf *conf, struct db **ret, struct err *err) MUST_CHECK;
void db_close(struct db *db);
/*
 * Under load: 8 MiB of pages in memory, and the WAL goes back into the file after 8,000 pages. Else, as after db_open:
 * cache_kib, 1,000 pages, and memory beyond that is given back.
 */
void db_busy(struct db *db, bool busy);

/* Several statements without arguments (schemas). */
int db_script(struct db *db, const char *sql, struct err *err) MUST_CHECK;
/* One statement that returns no rows. sql must be a string literal or live as long as the store. */
int db_run(struct db *db, struct err *err, const char *sql, const char *types, ...) MUST_CHECK;
/* 1: *ret is the first row; 0: no row; < 0: error. A query that is not read to its end is closed by db_done. */
int db_query(struct db *db, struct db_row **ret, struct err *err, const char *sql, const char *types, ...) MUST_CHECK;
int db_next(struct db_row *row, struct err *err) MUST_CHECK;
void db_done(struct db_row *row);
/* Rows changed by the last db_run. */
int64_t db_changes(const struct db *db);
/* Rows inserted, changed and deleted since the store was opened: the same before and after, nothing was written. */
int64_t db_total_changes(const struct db *db);

int64_t db_i64(const struct db_row *row, int col);
double db_double(const struct db_row *row, int col);
/* Valid until the next db_next or db_done. */
struct str db_text(const struct db_row *row, int col);
struct str db_blob(const struct db_row *row, int col);
bool db_is_null(const struct db_row *row, int col);

/* Transactions do not nest. commit: on failure everything since begin is rolled back already. */
int db_begin(struct db *db, struct err *err) MUST_CHECK;
int db_commit(struct db *db, struct err *err) MUST_CHECK;
void db_rollback(struct db *db);

/*
 * Applies the schema steps after the version the database is at, each in its own transaction; steps are never
 * edited once released. HCP_EUNSUPPORTED if the database is newer than the program.
 */
int db_migrate(struct db *db, const char *const *steps, int n, struct err *err) MUST_CHECK;
/* A consistent copy into a new file while the store is in use. */
int db_backup(struct db *db, const char *path, struct err *err) MUST_CHECK;
/*
 * A second connection that goes on seeing the store as it is now, whatever is committed later; for reading only. It may
 * be handed to another thread and holds no lock that a writer waits for, but the write-ahead log grows until db_close.
 * Of a named store in memory it is a copy, made at once. HCP_EUNSUPPORTED for a store in memory without a name.
 */
int db_snapshot(struct db *db, struct db **ret, struct err *err) MUST_CHECK;
struct db_copy {
	const char *table, *where; /* of this table only the rows that hold; NULL: all of every table */
	int (*go_on)(void *arg);   /* asked every few hundred rows; a negative code ends the copy. NULL: never asked */
	void *arg;
};
/* Tables, rows with their rowids, indices and schema version into a new file, compact. Nothing is synced. */
int db_copy(struct db *from, const char *path, const struct db_copy *conf, struct err *err) MUST_CHECK;
/* PRAGMA quick_check: HCP_ECORRUPT with the first finding. */
int db_check(struct db *db, struct err *err) MUST_CHECK;

#endif
