/* `hcpd --replay DIR`: the recorded inputs to the same handlers again, on copies. */
#include "cmd/daemon/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/money.h"
#include "cmd/daemon/services.h"
#include "os/clock.h"
#include "os/file.h"
#include "wire/pbjson.h"

enum { REPLAY_SAY_MS = 1000 };

struct run {
	const struct options *o;
	struct services_conf *conf;
	char dir[SERVICES_PATH_MAX]; /* for what bases are restored to; removed at the end */
	const char *service;
	int64_t said_ns;
	int replayed, differ, failed;
};

static void say_progress(void *arg, int64_t done, int64_t all)
{
	struct run *r = arg;
	int64_t now = clock_mono_ns();
	if (now - r->said_ns < REPLAY_SAY_MS * NS_PER_MS)
		return;
	r->said_ns = now;
	fprintf(stderr, "hcpd: %s: %lld of %lld batches\n", r->service, (long long)done, (long long)all);
}

static int print_report(const Hcp__ReplayReport *report, struct err *err)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	int rc = pbjson_write(&report->base, &b);
	if (rc == 0)
		printf("%.*s\n", (int)b.n, b.data);
	fflush(stdout);
	buf_release(&b);
	return rc < 0 ? err_set(err, rc, "", "cannot write the report") : 0;
}

/* The journal is read where it lies, in short queries: it may be in use. Everything else happens in r->dir. */
static int replay_one(struct run *r, const struct svc_def *def, const char *path, struct err *err)
{
	char bases[SERVICES_PATH_MAX], scratch[SERVICES_PATH_MAX], sub[64];
	Hcp__ReplayReport report = HCP__REPLAY_REPORT__INIT;
	struct db *journal = NULL;
	struct arena a;
	snprintf(sub, sizeof(sub), "bases/%s", r->service);
	if (file_join(bases, sizeof(bases), r->o->replay_dir, sub) < 0 ||
		file_join(scratch, sizeof(scratch), r->dir, "base.db") < 0)
		return err_set(err, HCP_ERANGE, "--replay", "the path is too long");
	int rc = db_open(&(struct db_conf){ .path = path }, &journal, err);
	if (rc < 0)
		return rc;
	const struct svc_replay what = {
		.def = def,
		.conf = services_conf_of(r->conf, def->id),
		.journal = journal,
		.base_dir = bases,
		.scratch = scratch,
		.from_ns = r->o->replay_from_ns,
		.to_ns = r->o->replay_to_ns,
		.progress = say_progress,
		.arg = r,
	};
	r->said_ns = clock_mono_ns();
	arena_init(&a, 64 << 10, 0);
	rc = svc_replay(&what, &report, &a, err);
	if (rc == 0)
		rc = print_report(&report, err);
	r->replayed += rc == 0;
	r->differ += rc == 0 && !report.identical;
	arena_release(&a);
	db_close(journal);
	return rc;
}

/* One that is not here, or did nothing in the window, is a failure only if it was asked for by name. */
static void replay_service(struct run *r, int id, bool named)
{
	char file[64], path[SERVICES_PATH_MAX];
	struct err err = { 0 };
	const struct svc_def *def = services_def(id);
	int rc = 0;
	r->service = svc_table[id].name;
	snprintf(file, sizeof(file), "%s.db", r->service);
	if (!def || (!named && def->no_journal))
		rc = err_set(&err, HCP_ENOTFOUND, "--service", "%s keeps no journal", r->service);
	else if (file_join(path, sizeof(path), r->o->replay_dir, file) < 0)
		rc = err_set(&err, HCP_ERANGE, "--replay", "the path is too long");
	else if (!file_exists(path))
		rc = err_set(&err, HCP_ENOTFOUND, "--replay", "there is no %.200s", path);
	else
		rc = replay_one(r, def, path, &err);
	if (rc < 0 && (named || rc != HCP_ENOTFOUND)) {
		r->failed++;
		fprintf(stderr, "hcpd: %s: %s: %s\n", r->service, err.field, err.text);
	}
}

int replay_run(const struct options *o, const struct settings *settings)
{
	struct run r = { .o = o };
	struct err err = { 0 };
	const char *tmp = getenv("TMPDIR");
	if (!file_exists(o->replay_dir)) {
		fprintf(stderr, "hcpd: --replay: there is no %s: name the state folder\n", o->replay_dir);
		return 2;
	}
	snprintf(r.dir, sizeof(r.dir), "%s/hcp-replay-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
	if (services_conf_new(o->replay_dir, 0, settings, &r.conf, &err) < 0 ||
		(!mkdtemp(r.dir) && file_error(&err, r.dir, "make directory") < 0)) {
		fprintf(stderr, "hcpd: %s: %s\n", err.field, err.text);
		services_conf_free(r.conf);
		return 2;
	}
	for (int i = 0; i < SVC_COUNT; i++)
		if (o->replay_service == SVC_NONE || o->replay_service == i)
			replay_service(&r, i, o->replay_service == i);
	if (!r.replayed && !r.failed)
		fprintf(stderr, "hcpd: --replay: %s holds nothing to replay in that window\n", o->replay_dir);
	(void)rmdir(r.dir);
	services_conf_free(r.conf);
	return r.failed || !r.replayed ? 2 : r.differ ? 1 : 0;
}
