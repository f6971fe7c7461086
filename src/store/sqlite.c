#include "store/store.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/panic.h"

enum {
	DB_BUSY_MS = 5000,
	DB_CACHE_KIB = 512,
	DB_WAL_PAGES = 1000,
	DB_BUSY_CACHE_KIB = 8192,
	DB_BUSY_WAL_PAGES = 8000,
	DB_MAX_ARGS = 40,
	DB_COPY_ASK = 256,
};

struct db_row {
	struct db *db; /* borrowed */
	sqlite3_stmt *stmt;
	int8_t at[DB_MAX_ARGS]; /* position of $1, $2 …; 0: the statement has none such */
	bool running;
};

struct db {
	sqlite3 *handle;
	struct map stmts; /* address of the SQL text → struct db_row, owned */
	int (*before_commit)(void *arg);
	void *arg;
	int cache_kib;
	bool in_tx;
	bool shared; /* a name in another file system than the system's: a second connection would wait for this one */
};

static int code_of(int sqlite_rc)
{
	switch (sqlite_rc & 0xff) {
	case SQLITE_NOMEM:
		return HCP_ENOMEM;
	case SQLITE_FULL:
	case SQLITE_READONLY:
		return HCP_ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return HCP_ECORRUPT;
	case SQLITE_CONSTRAINT:
		return HCP_EEXIST;
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
	case SQLITE_IOERR:
	case SQLITE_BUSY:
		return HCP_EIO;
	default:
		return HCP_EINTERNAL;
	}
}

static int fail(struct db *db, struct err *err, const char *doing)
{
	return err_set(err, code_of(sqlite3_extended_errcode(db->handle)), "database", "cannot %s: %s", doing,
		       sqlite3_errmsg(db->handle));
}

static int configure(struct db *db, const struct db_conf *conf, struct err *err)
{
	char sql[256];
	snprintf(sql, sizeof(sql),
		 "PRAGMA busy_timeout=%d; PRAGMA journal_mode=WAL; PRAGMA synchronous=%s; PRAGMA cache_size=-%d;"
		 "PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint=%d;",
		 DB_BUSY_MS, conf->path ? (conf->durable ? "FULL" : "NORMAL") : "OFF",
		 db->cache_kib, DB_WAL_PAGES);
	return db_script(db, sql, err);
}

void db_busy(struct db *db, bool busy)
{
	char sql[120];
	struct err ignored = { 0 };
	snprintf(sql, sizeof(sql), "PRAGMA cache_size=-%d; PRAGMA wal_autocheckpoint=%d;%s",
		busy ? DB_BUSY_CACHE_KIB : db->cache_kib, busy ? DB_BUSY_WAL_PAGES : DB_WAL_PAGES,
		busy ? "" : " PRAGMA shrink_memory;");
	(void)!db_script(db, sql, &ignored); /* without it everything is only slower */
}

int db_open(const struct db_conf *conf, struct db **ret, struct err *err)
{
	struct db *db = mem_calloc(1, sizeof(*db));
	if (!db)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	map_init(&db->stmts);
	db->before_commit = conf->before_commit;
	db->arg = conf->arg;
	db->cache_kib = conf->cache_kib ? conf->cache_kib : DB_CACHE_KIB;
	db->shared = conf->path && conf->vfs;
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
	int rc = sqlite3_open_v2(conf->path ? conf->path : ":memory:", &db->handle, flags, conf->path ? conf->vfs : NULL);
	if (rc != SQLITE_OK)
		rc = err_set(err, code_of(rc), conf->path, "cannot open database: %s", sqlite3_errstr(rc));
	else
		rc = configure(db, conf, err);
	if (rc < 0) {
		db_close(db);
		return rc;
	}
	*ret = db;
	return 0;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	size_t pos = 0;
	void *value;
	while (map_next(&db->stmts, &pos, NULL, &value)) {
		struct db_row *row = value;
		sqlite3_finalize(row->stmt);
		mem_free(row);
	}
	map_release(&db->stmts);
	sqlite3_close(db->handle);
	mem_free(db);
}

int db_script(struct db *db, const char *sql, struct err *err)
{
	return sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(db, err, "run script");
}

/* $1 is a named parameter in SQLite; its position is that of its first use. */
static void find_args(struct db_row *row)
{
	int n = sqlite3_bind_parameter_count(row->stmt);
	must(n <= DB_MAX_ARGS);
	for (int at = 1; at <= n; at++) {
		const char *name = sqlite3_bind_parameter_name(row->stmt, at);
		uint64_t number = 0;
		must(name && num_parse_u64(str_of(name + 1), &number) == 0 && number >= 1 && number <= DB_MAX_ARGS);
		row->at[number - 1] = (int8_t)at;
	}
}

static int prepare(struct db *db, const char *sql, struct db_row **ret, struct err *err)
{
	struct str key = { (const char *)&sql, sizeof(sql) };
	struct db_row *row = map_get(&db->stmts, key);
	if (row) {
		*ret = row;
		return 0;
	}
	row = mem_calloc(1, sizeof(*row));
	if (!row)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	row->db = db;
	int rc = 0;
	if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &row->stmt, NULL) != SQLITE_OK)
		rc = fail(db, err, "prepare statement");
	else if (map_put(&db->stmts, key, row, NULL) < 0)
		rc = err_set(err, HCP_ENOMEM, "", "out of memory");
	if (rc < 0) {
		sqlite3_finalize(row->stmt);
		mem_free(row);
		return rc;
	}
	find_args(row);
	*ret = row;
	return 0;
}

/* life: of the caller's bytes; SQLITE_STATIC where the statement ends before the call returns. */
static int bind_one(sqlite3_stmt *stmt, int at, char type, va_list *ap, sqlite3_destructor_type life)
{
	struct str s;
	const char *z;
	switch (type) {
	case 'i':
		return sqlite3_bind_int64(stmt, at, va_arg(*ap, int64_t));
	case 'd':
		return sqlite3_bind_double(stmt, at, va_arg(*ap, double));
	case 'z':
		z = va_arg(*ap, const char *);
		return sqlite3_bind_text(stmt, at, z, -1, life);
	case 's':
		s = va_arg(*ap, struct str);
		return sqlite3_bind_text(stmt, at, s.p ? s.p : "", (int)s.n, life);
	case 'b':
		s = va_arg(*ap, struct str);
		return sqlite3_bind_blob(stmt, at, s.p ? s.p : "", (int)s.n, life);
	case 'n':
		return sqlite3_bind_null(stmt, at);
	}
	must_not_reach("unknown argument letter");
}

static int start(struct db *db, struct db_row **ret, struct err *err, const char *sql, const char *types, va_list *ap,
	sqlite3_destructor_type life)
{
	struct db_row *row = NULL;
	int rc = prepare(db, sql, &row, err);
	if (rc < 0)
		return rc;
	must(!row->running);
	for (int i = 0; types[i]; i++) {
		must(i < DB_MAX_ARGS && row->at[i] > 0);
		if (bind_one(row->stmt, row->at[i], types[i], ap, life) != SQLITE_OK)
			return fail(db, err, "bind");
	}
	*ret = row;
	return 0;
}

static int step(struct db_row *row, struct err *err)
{
	int rc = sqlite3_step(row->stmt);
	if (rc == SQLITE_ROW) {
		row->running = true;
		return 1;
	}
	int code = rc == SQLITE_DONE ? 0 : fail(row->db, err, "run statement");
	db_done(row);
	return code;
}

int db_run(struct db *db, struct err *err, const char *sql, const char *types, ...)
{
	struct db_row *row = NULL;
	va_list ap;
	va_start(ap, types);
	int rc = start(db, &row, err, sql, types, &ap, SQLITE_STATIC);
	va_end(ap);
	if (rc < 0)
		return rc;
	rc = step(row, err);
	if (rc == 1)
		db_done(row);
	return rc < 0 ? rc : 0;
}

int db_query(struct db *db, struct db_row **ret, struct err *err, const char *sql, const char *types, ...)
{
	va_list ap;
	va_start(ap, types);
	int rc = start(db, ret, err, sql, types, &ap, SQLITE_TRANSIENT);
	va_end(ap);
	return rc < 0 ? rc : step(*ret, err);
}

int db_next(struct db_row *row, struct err *err)
{
	return step(row, err);
}

void db_done(struct db_row *row)
{
	row->running = false;
	sqlite3_reset(row->stmt);
}

int64_t db_changes(const struct db *db)
{
	return sqlite3_changes64(db->handle);
}

int64_t db_total_changes(const struct db *db)
{
	return sqlite3_total_changes64(db->handle);
}

int64_t db_i64(const struct db_row *row, int col)
{
	return sqlite3_column_int64(row->stmt, col);
}

double db_double(const struct db_row *row, int col)
{
	return sqlite3_column_double(row->stmt, col);
}

struct str db_text(const struct db_row *row, int col)
{
	const unsigned char *p = sqlite3_column_text(row->stmt, col);
	return (struct str){ p ? (const char *)p : "", (size_t)sqlite3_column_bytes(row->stmt, col) };
}

struct str db_blob(const struct db_row *row, int col)
{
	const void *p = sqlite3_column_blob(row->stmt, col);
	return (struct str){ p ? p : "", (size_t)sqlite3_column_bytes(row->stmt, col) };
}

bool db_is_null(const struct db_row *row, int col)
{
	return sqlite3_column_type(row->stmt, col) == SQLITE_NULL;
}

int db_begin(struct db *db, struct err *err)
{
	must(!db->in_tx);
	int rc = db_run(db, err, "BEGIN IMMEDIATE", "");
	db->in_tx = rc == 0;
	return rc;
}

int db_commit(struct db *db, struct err *err)
{
	must(db->in_tx);
	int rc = db->before_commit ? db->before_commit(db->arg) : 0;
	if (rc < 0)
		err_set(err, rc, "database", "commit was made to fail");
	else
		rc = db_run(db, err, "COMMIT", "");
	if (rc < 0)
		db_rollback(db);
	db->in_tx = false;
	return rc;
}

void db_rollback(struct db *db)
{
	size_t pos = 0;
	void *value;
	while (map_next(&db->stmts, &pos, NULL, &value))
		db_done(value);
	if (!sqlite3_get_autocommit(db->handle))
		(void)sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
	db->in_tx = false;
}

static int apply_step(struct db *db, const char *sql, int version, struct err *err)
{
	char set[64];
	snprintf(set, sizeof(set), "PRAGMA user_version=%d", version);
	int rc = db_begin(db, err);
	if (rc < 0)
		return rc;
	rc = db_script(db, sql, err);
	if (rc == 0)
		rc = db_script(db, set, err);
	if (rc < 0) {
		db_rollback(db);
		return rc;
	}
	return db_commit(db, err);
}

int db_migrate(struct db *db, const char *const *steps, int n, struct err *err)
{
	struct db_row *row;
	int rc = db_query(db, &row, err, "PRAGMA user_version", "");
	if (rc < 0)
		return rc;
	int64_t at = rc == 1 ? db_i64(row, 0) : 0;
	if (rc == 1)
		db_done(row);
	if (at > n)
		return err_set(err, HCP_EUNSUPPORTED, "database", "schema %d is newer than this program (%d)", (int)at, n);
	for (int i = (int)at; i < n; i++) {
		rc = apply_step(db, steps[i], i + 1, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int db_backup(struct db *db, const char *path, struct err *err)
{
	return db_run(db, err, "VACUUM INTO $1", "z", path);
}

int db_check(struct db *db, struct err *err)
{
	struct db_row *row;
	int rc = db_query(db, &row, err, "PRAGMA quick_check(1)", "");
	if (rc != 1)
		return rc;
	struct str text = db_text(row, 0);
	if (!str_eqz(text, "ok"))
		rc = err_set(err, HCP_ECORRUPT, "database", "%.*s", (int)text.n, text.p);
	else
		rc = 0;
	db_done(row);
	return rc;
}

/* ---- a copy beside the running store ---- */

/* Without a log of its own a database cannot show the past, so its snapshot is a copy at once. */
static int copy_to_memory(struct db *db, struct db **ret, struct err *err)
{
	struct db *copy = NULL;
	int rc = db_open(&(struct db_conf){ 0 }, &copy, err);
	if (rc < 0)
		return rc;
	sqlite3_backup *b = sqlite3_backup_init(copy->handle, "main", db->handle, "main");
	rc = b && sqlite3_backup_step(b, -1) == SQLITE_DONE ? 0 : fail(copy, err, "copy to memory");
	(void)sqlite3_backup_finish(b);
	if (rc < 0)
		db_close(copy);
	else
		*ret = copy;
	return rc;
}

int db_snapshot(struct db *db, struct db **ret, struct err *err)
{
	if (db->shared)
		return copy_to_memory(db, ret, err);
	const char *path = sqlite3_db_filename(db->handle, "main");
	struct db *snap = NULL;
	struct db_row *row;
	if (!path || !path[0])
		return err_set(err, HCP_EUNSUPPORTED, "database", "it is in memory only");
	int rc = db_open(&(struct db_conf){ .path = path }, &snap, err);
	if (rc == 0)
		rc = db_run(snap, err, "BEGIN", "");
	/* What a transaction sees is settled by its first read. */
	if (rc == 0)
		rc = db_query(snap, &row, err, "SELECT count(*) FROM sqlite_schema", "");
	if (rc < 0) {
		db_close(snap);
		return rc;
	}
	if (rc == 1)
		db_done(row);
	*ret = snap;
	return 0;
}

struct copy {
	struct db *from;
	sqlite3 *to;
	const struct db_copy *conf;
	struct err *err;
	unsigned rows;
};

static int copy_fail(struct copy *c, const char *doing)
{
	return err_set(c->err, code_of(sqlite3_extended_errcode(c->to)), "database", "cannot %s the copy: %s", doing,
		sqlite3_errmsg(c->to));
}

static int copy_exec(struct copy *c, const char *sql)
{
	return sqlite3_exec(c->to, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : copy_fail(c, "write");
}

/* Rows are inserted under their rowids: some tables are read in that order. */
static int select_rows(struct copy *c, const char *table, sqlite3_stmt **ret)
{
	const char *where = c->conf->table && strcmp(table, c->conf->table) == 0 ? c->conf->where : "1";
	static const char *const forms[] = { "SELECT rowid AS rowid,* FROM \"%w\" WHERE %s",
		"SELECT * FROM \"%w\" WHERE %s" }; /* of a table WITHOUT ROWID */
	int rc = SQLITE_ERROR;
	for (int i = 0; i < 2 && rc == SQLITE_ERROR; i++) {
		char *sql = sqlite3_mprintf(forms[i], table, where);
		rc = sql ? sqlite3_prepare_v2(c->from->handle, sql, -1, ret, NULL) : SQLITE_NOMEM;
		sqlite3_free(sql);
	}
	return rc == SQLITE_OK ? 0 : fail(c->from, c->err, "read a table for the copy");
}

static int prepare_insert(struct copy *c, const char *table, sqlite3_stmt *rows, sqlite3_stmt **ret)
{
	sqlite3_str *s = sqlite3_str_new(c->to);
	int n = sqlite3_column_count(rows);
	sqlite3_str_appendf(s, "INSERT INTO \"%w\"(", table);
	for (int i = 0; i < n; i++)
		sqlite3_str_appendf(s, "%s\"%w\"", i ? "," : "", sqlite3_column_name(rows, i));
	sqlite3_str_appendall(s, ") VALUES(");
	for (int i = 0; i < n; i++)
		sqlite3_str_appendall(s, i ? ",?" : "?");
	sqlite3_str_appendall(s, ")");
	char *sql = sqlite3_str_finish(s);
	int rc = sql ? sqlite3_prepare_v2(c->to, sql, -1, ret, NULL) : SQLITE_NOMEM;
	sqlite3_free(sql);
	return rc == SQLITE_OK ? 0 : copy_fail(c, "write");
}

static int copy_rows(struct copy *c, const char *table)
{
	sqlite3_stmt *from = NULL, *to = NULL;
	int got = SQLITE_ROW, rc = select_rows(c, table, &from);
	if (rc == 0)
		rc = prepare_insert(c, table, from, &to);
	while (rc == 0 && (got = sqlite3_step(from)) == SQLITE_ROW) {
		for (int i = 0; i < sqlite3_column_count(from) && rc == 0; i++)
			if (sqlite3_bind_value(to, i + 1, sqlite3_column_value(from, i)) != SQLITE_OK)
				rc = copy_fail(c, "write");
		if (rc == 0 && sqlite3_step(to) != SQLITE_DONE)
			rc = copy_fail(c, "write");
		sqlite3_reset(to);
		if (rc == 0 && c->conf->go_on && ++c->rows % DB_COPY_ASK == 0)
			rc = c->conf->go_on(c->conf->arg);
	}
	if (rc == 0 && got != SQLITE_DONE)
		rc = fail(c->from, c->err, "read a table for the copy");
	sqlite3_finalize(from);
	sqlite3_finalize(to);
	return rc;
}

/* Tables with their rows first, then what is built from them. */
static int copy_schema(struct copy *c, const char *sql, bool tables)
{
	sqlite3_stmt *stmt = NULL;
	int got = SQLITE_ROW, rc = 0;
	if (sqlite3_prepare_v2(c->from->handle, sql, -1, &stmt, NULL) != SQLITE_OK)
		return fail(c->from, c->err, "read the schema for the copy");
	while (rc == 0 && (got = sqlite3_step(stmt)) == SQLITE_ROW) {
		rc = copy_exec(c, (const char *)sqlite3_column_text(stmt, 1));
		if (rc == 0 && tables)
			rc = copy_rows(c, (const char *)sqlite3_column_text(stmt, 0));
	}
	if (rc == 0 && got != SQLITE_DONE)
		rc = fail(c->from, c->err, "read the schema for the copy");
	sqlite3_finalize(stmt);
	return rc;
}

static int copy_version(struct copy *c)
{
	char sql[64];
	struct db_row *row;
	int rc = db_query(c->from, &row, c->err, "PRAGMA user_version", "");
	if (rc != 1)
		return rc;
	snprintf(sql, sizeof(sql), "PRAGMA user_version=%d", (int)db_i64(row, 0));
	db_done(row);
	return copy_exec(c, sql);
}

int db_copy(struct db *from, const char *path, const struct db_copy *conf, struct err *err)
{
	struct copy c = { .from = from, .conf = conf, .err = err };
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
	int rc = sqlite3_open_v2(path, &c.to, flags, NULL) == SQLITE_OK ? 0 : copy_fail(&c, "open");
	if (rc == 0)
		rc = copy_exec(&c, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN");
	if (rc == 0)
		rc = copy_schema(&c,
			"SELECT name,sql FROM sqlite_schema WHERE type='table' AND sql IS NOT NULL"
			" AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid",
			true);
	if (rc == 0)
		rc = copy_schema(&c,
			"SELECT name,sql FROM sqlite_schema WHERE type<>'table' AND sql IS NOT NULL"
			" ORDER BY rowid",
			false);
	if (rc == 0)
		rc = copy_version(&c);
	if (rc == 0)
		rc = copy_exec(&c, "COMMIT");
	sqlite3_close(c.to);
	return rc;
}
