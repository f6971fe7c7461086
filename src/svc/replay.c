/* Re-runs recorded batches through the same handlers and compares what they publish, bit for bit. */
#include <stdio.h>

#include "base/mem.h"
#include "base/timefmt.h"
#include "os/file.h"
#include "svc/bases.h"
#include "svc/svc_priv.h"

struct replay {
	const struct svc_replay *what;
	struct svc *svc;
	Hcp__ReplayReport *report;
	struct arena *a;         /* of the report */
	struct arena scratch;    /* of one batch */
	int64_t first, from, to; /* oldest batch of the journal; window */
	struct base base[BASES_MAX];
	size_t n_bases;
};

struct recorded {
	int64_t no, at_ns;
	bool reloaded;
	struct str inputs, events; /* in the scratch arena */
};

static const char *name_of(const struct replay *r)
{
	return svc_table[r->what->def->id].name;
}

/* ---- what differs ---- */

static void differs(struct replay *r, int64_t no, char *detail)
{
	if (!r->report->identical)
		return;
	r->report->identical = false;
	r->report->first_difference = no;
	r->report->detail = detail ? detail : (char *)"out of memory";
}

/* The next length-delimited message of a Batch or BatchEvents; p=NULL at its end, or where it is no such thing. */
static struct str next_packed(struct str *rest)
{
	size_t at = 1, n = 0;
	struct str none = { NULL, 0 };
	if (rest->n < 2 || rest->p[0] != 0x0a)
		return none;
	for (unsigned shift = 0; at < rest->n && shift < 32; shift += 7) {
		unsigned char c = (unsigned char)rest->p[at++];
		n |= (size_t)(c & 0x7f) << shift;
		if (c < 0x80)
			break;
	}
	if (n > rest->n - at)
		return none;
	struct str item = { rest->p + at, n };
	*rest = (struct str){ rest->p + at + n, rest->n - at - n };
	return item;
}

static const char *describe_event(struct replay *r, struct str packed)
{
	const Hcp__Envelope *e = packed.p ? (void *)pb_unpack_arena(&hcp__envelope__descriptor, packed, &r->scratch) : NULL;
	const struct msg_info *info = e ? msg_info(e->type) : NULL;
	const char *text =
		info ? arena_printf(&r->scratch, "%s, number %llu", info->name, (unsigned long long)e->seq) : NULL;
	return text ? text : "which cannot be read";
}

static char *describe_difference(struct replay *r, size_t n, struct str was, struct str now)
{
	size_t at = 0;
	if (!was.p && !now.p)
		return arena_strdup(r->a, "the recorded events cannot be read");
	if (!now.p)
		return arena_printf(r->a, "event %zu (%s) was recorded and is not published now", n, describe_event(r, was));
	if (!was.p)
		return arena_printf(r->a, "event %zu (%s) is published now and was not recorded", n, describe_event(r, now));
	while (at < was.n && at < now.n && was.p[at] == now.p[at])
		at++;
	return arena_printf(r->a, "event %zu (%s) differs from byte %zu on: %zu bytes now, recorded %zu", n,
		describe_event(r, now), at, now.n, was.n);
}

static void compare(struct replay *r, const struct recorded *rec, struct str got)
{
	struct str was = rec->events, now = got, a, b;
	size_t n = 0;
	if (str_eq(was, now))
		return;
	do {
		n++;
		a = next_packed(&was);
		b = next_packed(&now);
	} while (a.p && b.p && str_eq(a, b));
	differs(r, rec->no, describe_difference(r, n, a, b));
}

/* ---- running ---- */

static int scalar(struct db *db, const char *sql, int64_t arg, int64_t *ret, struct err *err)
{
	struct db_row *row;
	int rc = db_query(db, &row, err, sql, "i", arg);
	if (rc != 1)
		return rc < 0 ? rc : err_set(err, HCP_EINTERNAL, "journal", "a question to it has no answer");
	*ret = db_i64(row, 0);
	db_done(row);
	return 0;
}

static int read_events(struct replay *r, struct str *ret, struct err *err)
{
	struct buf b;
	buf_init(&b, 0);
	int rc = journal_pack_events(&r->svc->ctx, &b);
	char *copy = rc == 0 ? arena_dup(&r->scratch, b.data, b.n) : NULL;
	*ret = (struct str){ copy, b.n };
	buf_release(&b);
	return copy ? 0 : err_set(err, HCP_ENOMEM, "", "out of memory");
}

static int feed(struct replay *r, const struct recorded *rec, struct err *err)
{
	struct msg *in[SVC_MAX_BATCH];
	size_t n = 0;
	int rc = 0;
	const Hcp__Batch *b = (void *)pb_unpack_arena(&hcp__batch__descriptor, rec->inputs, &r->scratch);
	if (!b || b->n_inputs > SVC_MAX_BATCH)
		return err_set(err, HCP_ECORRUPT, "journal", "the recorded inputs cannot be read");
	for (; rc == 0 && n < b->n_inputs; n += rc == 0)
		rc = msg_from_envelope(b->inputs[n], &in[n], err);
	if (rc == 0) {
		r->svc->batch_no = rec->no - 1;
		rc = svc_run_batch(r->svc, in, n, rec->at_ns, err);
		r->report->messages += (int64_t)n;
		r->report->events += (int64_t)r->svc->ctx.n_events;
	}
	for (size_t i = 0; i < r->svc->ctx.n_replies; i++) {
		msg_free(r->svc->ctx.replies[i].reply);
		if (r->svc->ctx.replies[i].held)
			msg_free(r->svc->ctx.replies[i].to);
	}
	r->svc->ctx.n_replies = 0;
	for (size_t i = 0; i < n; i++)
		msg_free(in[i]);
	return rc;
}

/* The first batch after `after`, copied, so that no query stays open on a journal in use. 1: there is one. */
static int next_recorded(struct replay *r, int64_t after, struct recorded *ret, struct err *err)
{
	struct db_row *row;
	arena_clear(&r->scratch);
	int rc = db_query(r->what->journal, &row, err,
		"SELECT no,at_ns,inputs,events,reloaded FROM hcp_batch WHERE no>$1 ORDER BY no LIMIT 1", "i", after);
	if (rc != 1)
		return rc;
	struct str in = db_blob(row, 2), events = db_blob(row, 3);
	*ret = (struct recorded){ db_i64(row, 0), db_i64(row, 1), db_i64(row, 4) != 0,
		{ arena_dup(&r->scratch, in.p, in.n), in.n }, { arena_dup(&r->scratch, events.p, events.n), events.n } };
	db_done(row);
	return ret->inputs.p && ret->events.p ? 1 : err_set(err, HCP_ENOMEM, "", "out of memory");
}

static int run_one(struct replay *r, const struct recorded *rec, struct err *err)
{
	struct str got = STR("");
	struct err why = { 0 };
	/* State that came from the tables may differ in memory (orders, caches): come by it the same way. */
	int rc = rec->reloaded && r->report->batches ? svc_reload(r->svc, err) : 0;
	if (rc < 0)
		return rc;
	rc = feed(r, rec, &why);
	if (rc == HCP_ENOMEM || rc == HCP_EIO || rc == HCP_ENOSPC)
		return err_set(err, rc, why.field, "%s", why.text);
	/* It was committed then, so failing now is a difference. */
	if (rc < 0) {
		differs(r, rec->no, arena_printf(r->a, "it cannot be run again: %s %s", why.field, why.text));
		return 0;
	}
	rc = read_events(r, &got, err);
	if (rc == 0)
		compare(r, rec, got);
	r->report->batches++;
	return rc;
}

/* What follows a difference proves nothing, so it ends there. */
static int run(struct replay *r, struct err *err)
{
	int64_t start = r->report->base_batch, at = start;
	while (at < r->to && r->report->identical) {
		struct recorded rec = { 0 };
		int rc = next_recorded(r, at, &rec, err);
		if (rc < 0)
			return rc;
		if (rc == 0 || rec.no != at + 1) {
			int64_t first = 0;
			rc = scalar(r->what->journal, "SELECT ifnull(min(no),0) FROM hcp_batch WHERE no>=$1", 0, &first, err);
			if (rc == 0 && first > at + 1)
				rc = err_set(err, HCP_ERANGE, "journal",
					"the running service dropped batch %lld meanwhile; begin later", (long long)at + 1);
			if (rc < 0)
				return rc;
			differs(r, at + 1, arena_strdup(r->a, "it is missing from the journal"));
			break;
		}
		rc = run_one(r, &rec, err);
		if (rc < 0)
			return rc;
		at = rec.no;
		if (r->what->progress)
			r->what->progress(r->what->arg, at - start, r->to - start);
	}
	return 0;
}

/* ---- where to begin ---- */

static int recorded_seed(struct db *db, uint64_t *ret, struct err *err)
{
	struct db_row *row;
	int rc = db_query(db, &row, err, "SELECT v FROM hcp_meta WHERE k='instance'", "");
	if (rc != 1)
		return rc < 0 ? rc : err_set(err, HCP_ENOTFOUND, "journal", "this database holds no journal");
	*ret = (uint64_t)db_i64(row, 0);
	db_done(row);
	return 0;
}

static int nothing_there(const struct replay *r, struct err *err)
{
	int64_t first_ns = 0, last_ns = 0;
	char a[TIMEFMT_MAX], b[TIMEFMT_MAX];
	int rc = scalar(r->what->journal, "SELECT ifnull(min(at_ns),0) FROM hcp_batch WHERE no>=$1", 0, &first_ns, err);
	if (rc == 0)
		rc = scalar(r->what->journal, "SELECT ifnull(max(at_ns),0) FROM hcp_batch WHERE no>=$1", 0, &last_ns, err);
	if (rc < 0)
		return rc;
	if (!last_ns)
		return err_set(err, HCP_ENOTFOUND, "window", "%s has recorded nothing yet", name_of(r));
	return err_set(err, HCP_ENOTFOUND, "window", "nothing of %s was recorded in it; its journal goes from %s to %s",
		name_of(r), timefmt_format(a, first_ns), timefmt_format(b, last_ns));
}

/* Batches of the window. Its beginning is 0 where it is open or lies before the journal. */
static int find_window(struct replay *r, struct err *err)
{
	const struct svc_replay *w = r->what;
	struct db_row *row;
	int64_t first_ns = 0;
	int rc = db_query(w->journal, &row, err,
		"SELECT ifnull(min(no),0),ifnull(max(no),0) FROM hcp_batch"
		" WHERE no>=$1 AND no<=$2 AND at_ns>=$3 AND at_ns<=$4",
		"iiii", w->from, w->to ? w->to : INT64_MAX, w->from_ns ? w->from_ns : INT64_MIN,
		w->to_ns ? w->to_ns : INT64_MAX);
	if (rc != 1)
		return rc;
	r->from = db_i64(row, 0);
	r->to = db_i64(row, 1);
	db_done(row);
	rc = scalar(w->journal, "SELECT ifnull(min(no),0) FROM hcp_batch WHERE no>=$1", 0, &r->first, err);
	if (rc == 0)
		rc = scalar(w->journal, "SELECT ifnull(min(at_ns),0) FROM hcp_batch WHERE no=$1", r->first, &first_ns, err);
	if (rc < 0)
		return rc;
	bool gone = r->first > 1 && ((w->from && w->from <= r->first) || (w->from_ns && w->from_ns < first_ns));
	if (gone)
		r->from = r->first;
	return r->to || gone ? 0 : nothing_there(r, err);
}

/* Before what can be run again: says what can, and how to have more another time. */
static int too_old(const struct replay *r, struct err *err)
{
	char at[TIMEFMT_MAX];
	int64_t ns = 0, oldest = 0;
	for (size_t i = r->n_bases; i-- > 0;)
		if (r->base[i].batch && r->base[i].batch >= r->first)
			oldest = r->base[i].batch;
	if (!oldest)
		return err_set(err, HCP_ERANGE, "journal",
			"it begins at batch %lld, older ones have gone, and no base copy is whole: there is no state to start "
			"from; keep more with hcpd --bases",
			(long long)r->first);
	int rc = scalar(r->what->journal, "SELECT ifnull(min(at_ns),0) FROM hcp_batch WHERE no=$1", oldest + 1, &ns, err);
	if (rc < 0)
		return rc;
	return err_set(err, HCP_ERANGE, "window",
		"it begins before the oldest usable base copy: of %s, batch %lld of %s is the first that can be run again; "
		"begin there or later. hcpd --bases keeps more of the past",
		name_of(r), (long long)oldest + 1, timefmt_format(at, ns));
}

static int open_fresh(struct replay *r, struct err *err)
{
	struct svc_conf sc = { .conf = r->what->conf };
	int rc = recorded_seed(r->what->journal, &sc.seed, err);
	return rc < 0 ? rc : svc_open(r->what->def, &sc, &r->svc, err);
}

/* Batch `no` as a database has it, for comparing; *ret empty if it has none. In the scratch arena. */
static int row_bytes(struct replay *r, struct db *db, int64_t no, struct str *ret, struct err *err)
{
	struct db_row *row;
	*ret = STR("");
	int rc = db_query(db, &row, err, "SELECT at_ns,last_seq,clock,inputs,events FROM hcp_batch WHERE no=$1", "i", no);
	if (rc != 1)
		return rc;
	struct str in = db_blob(row, 3), events = db_blob(row, 4);
	int64_t head[4] = { db_i64(row, 0), db_i64(row, 1), db_i64(row, 2), (int64_t)in.n };
	char *p = arena_alloc(&r->scratch, sizeof(head) + in.n + events.n);
	if (p) {
		memcpy(p, head, sizeof(head));
		memcpy(p + sizeof(head), in.p, in.n);
		memcpy(p + sizeof(head) + in.n, events.p, events.n);
	}
	*ret = (struct str){ p, sizeof(head) + in.n + events.n };
	db_done(row);
	return p ? 0 : err_set(err, HCP_ENOMEM, "", "out of memory");
}

/* A base of this journal, and a moment at which the service, too, came by its state from the tables. */
static int check_base(struct replay *r, const struct base *b, struct err *err)
{
	struct str ours, theirs;
	uint64_t seed = 0;
	int64_t reloaded = 1;
	arena_clear(&r->scratch);
	int rc = recorded_seed(r->what->journal, &seed, err);
	if (rc == 0)
		rc = row_bytes(r, r->svc->db, b->batch, &ours, err);
	if (rc == 0)
		rc = row_bytes(r, r->what->journal, b->batch, &theirs, err);
	if (rc == 0)
		rc = scalar(r->what->journal, "SELECT ifnull(min(reloaded),1) FROM hcp_batch WHERE no=$1", b->batch + 1,
			&reloaded, err);
	if (rc < 0)
		return rc;
	if (r->svc->instance != seed || r->svc->batch_no != b->batch || !str_eq(ours, theirs))
		return err_set(
			err, HCP_ECORRUPT, "base", "batch %lld in it is not the one of the journal", (long long)b->batch);
	return reloaded ? 0 : err_set(err, HCP_ECORRUPT, "base", "the service went on from other state");
}

static void remove_scratch(const struct svc_replay *w)
{
	static const char *const suffix[] = { "", "-wal", "-shm" };
	for (size_t i = 0; i < sizeof(suffix) / sizeof(suffix[0]); i++) {
		char path[BASES_PATH_MAX];
		if (w->scratch && snprintf(path, sizeof(path), "%s%s", w->scratch, suffix[i]) < (int)sizeof(path))
			(void)file_remove(path, NULL);
	}
}

static int open_base(struct replay *r, const struct base *b, struct err *err)
{
	struct svc_conf sc = { .conf = r->what->conf, .db_path = r->what->scratch };
	remove_scratch(r->what);
	int rc = bases_restore(r->what->base_dir, b, r->what->scratch, err);
	if (rc == 0)
		rc = svc_open(r->what->def, &sc, &r->svc, err);
	if (rc == 0)
		rc = check_base(r, b, err);
	if (rc < 0) {
		svc_close(r->svc);
		r->svc = NULL;
	}
	return rc;
}

static int pass_over(struct replay *r, const struct base *b, const struct err *why)
{
	const char *text = arena_printf(r->a, "base of batch %lld: %s", (long long)b->batch, why->text);
	const char **all = arena_alloc(r->a, (r->report->n_unusable_bases + 1) * sizeof(*all));
	if (!text || !all)
		return HCP_ENOMEM;
	if (r->report->n_unusable_bases)
		memcpy(all, r->report->unusable_bases, r->report->n_unusable_bases * sizeof(*all));
	all[r->report->n_unusable_bases++] = text;
	r->report->unusable_bases = all;
	return 0;
}

/* The newest base before the window that is whole; for a window without a beginning the oldest, so that it is long. */
static int open_start(struct replay *r, struct err *err)
{
	bool open_from = !r->what->from && !r->what->from_ns;
	if (r->first == 1 && open_from)
		return open_fresh(r, err);
	for (size_t k = 0; k < r->n_bases; k++) {
		const struct base *b = &r->base[open_from ? k : r->n_bases - 1 - k];
		struct err why = { 0 };
		if (b->batch < r->first || (open_from ? b->batch >= r->to : b->batch >= r->from))
			continue;
		int rc = open_base(r, b, &why);
		if (rc == 0) {
			r->report->base_batch = b->batch;
			return 0;
		}
		if (rc != HCP_ECORRUPT)
			return err_set(err, rc, why.field, "%s", why.text);
		rc = pass_over(r, b, &why);
		r->base[b - r->base].batch = 0; /* no advice either */
		if (rc < 0)
			return err_set(err, rc, "", "out of memory");
	}
	return r->first == 1 ? open_fresh(r, err) : too_old(r, err);
}

int svc_replay(const struct svc_replay *what, Hcp__ReplayReport *report, struct arena *a, struct err *err)
{
	struct replay r = { .what = what, .report = report, .a = a };
	report->service = (char *)svc_table[what->def->id].name;
	if (what->def->no_journal)
		return err_set(err, HCP_EUNSUPPORTED, "service", "%s keeps no journal of its inputs", report->service);
	arena_init(&r.scratch, 64 << 10, 0);
	int rc = find_window(&r, err);
	if (rc == 0 && what->base_dir && what->scratch)
		rc = bases_list(what->base_dir, r.base, &r.n_bases, err);
	if (rc == 0)
		rc = open_start(&r, err);
	if (rc == 0) {
		report->identical = true;
		report->from_batch = what->from || what->from_ns ? r.from : report->base_batch + 1;
		report->to_batch = r.to;
		r.svc->replaying = true;
		rc = db_begin(r.svc->db, err);
		if (rc == 0)
			rc = run(&r, err);
		db_rollback(r.svc->db);
		svc_close(r.svc);
	}
	if (what->base_dir)
		remove_scratch(what);
	arena_release(&r.scratch);
	return rc;
}
