/* `hcpd --replay DIR --service NAME`: the recorded inputs to the same handlers again, on copies. */
#include "cmd/daemon/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "cmd/daemon/services.h"
#include "os/file.h"
#include "wire/pbjson.h"

static int newest_batch(struct db *journal, int64_t *ret, struct err *err)
{
	struct db_row *row = NULL;
	int rc = db_query(journal, &row, err, "SELECT ifnull(max(no),0) FROM hcp_batch", "");
	if (rc < 0)
		return rc;
	*ret = rc == 1 ? db_i64(row, 0) : 0;
	if (rc == 1)
		db_done(row);
	return 0;
}

static int run(struct db *journal, const struct svc_def *def, const void *conf, Hcp__ReplayReport *report,
	       struct arena *a, struct err *err)
{
	int64_t to = 0;
	int rc = newest_batch(journal, &to, err);
	return rc < 0 ? rc : svc_replay(def, conf, journal, 0, to, report, a, err);
}

/* The journal is read from a copy: the original may be in use, and stays as it is. */
static int open_copy(const char *dir, const char *name, char *copy, size_t copy_n, struct db **ret, struct err *err)
{
	char file[64], path[SERVICES_PATH_MAX];
	struct db *original = NULL;
	snprintf(file, sizeof(file), "%s.db", name);
	if (file_join(path, sizeof(path), dir, file) < 0)
		return err_set(err, HCP_ERANGE, "--replay", "the path is too long");
	if (!file_exists(path))
		return err_set(err, HCP_ENOTFOUND, "--replay", "there is no %.200s", path);
	const char *tmp = getenv("TMPDIR");
	snprintf(copy, copy_n, "%s/hcp-replay-%d.db", tmp && tmp[0] ? tmp : "/tmp", (int)getpid());
	int rc = db_open(&(struct db_conf){ .path = path }, &original, err);
	if (rc == 0)
		rc = db_backup(original, copy, err);
	db_close(original);
	return rc < 0 ? rc : db_open(&(struct db_conf){ .path = copy }, ret, err);
}

static int print_report(const Hcp__ReplayReport *report, struct err *err)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	int rc = pbjson_write(&report->base, &b);
	if (rc == 0)
		printf("%.*s\n", (int)b.n, b.data);
	buf_release(&b);
	return rc < 0 ? err_set(err, rc, "", "cannot write the report") : 0;
}

int replay_run(const struct options *o)
{
	const struct svc_def *def = services_def(o->replay_service);
	const char *name = svc_table[o->replay_service].name;
	char copy[SERVICES_PATH_MAX] = "";
	struct services_conf *conf = NULL;
	struct db *journal = NULL;
	struct arena a;
	struct err err = { 0 };
	Hcp__ReplayReport report = HCP__REPLAY_REPORT__INIT;
	arena_init(&a, 64 << 10, 0);
	int rc = def ? services_conf_new(o->replay_dir, &conf, &err)
		     : err_set(&err, HCP_ENOTFOUND, "--service", "%s keeps no journal", name);
	if (rc == 0)
		rc = open_copy(o->replay_dir, name, copy, sizeof(copy), &journal, &err);
	if (rc == 0)
		rc = run(journal, def, services_conf_of(conf, o->replay_service), &report, &a, &err);
	report.service = name;
	if (rc == 0)
		rc = print_report(&report, &err);
	db_close(journal);
	if (copy[0])
		file_remove(copy, NULL);
	services_conf_free(conf);
	arena_release(&a);
	if (rc < 0) {
		fprintf(stderr, "hcpd: %s: %s\n", err.field, err.text);
		return 2;
	}
	return report.identical ? 0 : 1;
}
