/* Re-runs recorded batches through the same handlers and compares what they publish, bit for bit. */
#include "svc/svc.h"

#include "base/mem.h"
#include "svc/svc_priv.h"

struct replay {
	struct svc *svc;
	Hcp__ReplayReport *report;
	struct arena *a;
};

static int compare(struct replay *r, int64_t no, struct str recorded, struct err *err)
{
	struct db_row *row;
	int rc = db_query(r->svc->db, &row, err, "SELECT events FROM hcp_batch WHERE no=$1", "i", no);
	if (rc < 0)
		return rc;
	struct str got = rc == 1 ? db_blob(row, 0) : STR("");
	bool same = str_eq(got, recorded);
	if (rc == 1)
		db_done(row);
	if (!same && r->report->identical) {
		r->report->identical = false;
		r->report->first_difference = no;
		r->report->detail = arena_printf(r->a, "batch %lld published %zu bytes of events, recorded were %zu",
						 (long long)no, got.n, recorded.n);
	}
	return 0;
}

static int feed(struct replay *r, int64_t no, int64_t at_ns, struct str inputs, struct err *err)
{
	struct msg *in[SVC_MAX_BATCH];
	struct arena a;
	size_t n = 0;
	int rc = 0;
	arena_init(&a, 64 << 10, 0);
	Hcp__Batch *b = (void *)pb_unpack_arena(&hcp__batch__descriptor, inputs, &a);
	if (!b || b->n_inputs > SVC_MAX_BATCH)
		rc = err_set(err, HCP_ECORRUPT, "journal", "the inputs of batch %lld cannot be read", (long long)no);
	for (; rc == 0 && n < b->n_inputs; n++)
		rc = msg_from_envelope(b->inputs[n], &in[n], err);
	if (rc == 0) {
		r->svc->batch_no = no - 1;
		rc = svc_run_batch(r->svc, in, n, at_ns, err);
		r->report->messages += (int64_t)n;
		r->report->events += (int64_t)r->svc->ctx.n_events;
	}
	for (size_t i = 0; i < r->svc->ctx.n_replies; i++)
		msg_free(r->svc->ctx.replies[i].reply);
	r->svc->ctx.n_replies = 0;
	for (size_t i = 0; i < n; i++)
		msg_free(in[i]);
	arena_release(&a);
	return rc;
}

static int run(struct replay *r, struct db *journal_db, int64_t from, int64_t to, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(journal_db, &row, err, "SELECT no,at_ns,inputs,events,reloaded FROM hcp_batch"
			   " WHERE no>$1 AND no<=$2 ORDER BY no",
			   "ii", from, to); rc == 1; rc = db_next(row, err)) {
		int64_t no = db_i64(row, 0);
		/* State that came from the tables may differ in memory (orders, caches): come by it the same way. */
		int bad = db_i64(row, 4) && r->report->batches ? svc_reload(r->svc, err) : 0;
		if (bad == 0)
			bad = feed(r, no, db_i64(row, 1), db_blob(row, 2), err);
		if (bad == 0)
			bad = compare(r, no, db_blob(row, 3), err);
		if (bad < 0) {
			db_done(row);
			return bad;
		}
		r->report->batches++;
	}
	return rc;
}

/* Without the first batches the state before the window is unknown. */
static int check_whole(struct db *journal_db, struct err *err)
{
	struct db_row *row;
	int rc = db_query(journal_db, &row, err, "SELECT min(no) FROM hcp_batch", "");
	int64_t first = rc == 1 ? db_i64(row, 0) : 0;
	if (rc == 1)
		db_done(row);
	if (rc < 0)
		return rc;
	return first > 1 ? err_set(err, HCP_ENOTFOUND, "journal",
				   "it begins at batch %lld: older ones have gone, so there is no state to start from",
				   (long long)first)
			 : 0;
}

static int recorded_seed(struct db *journal_db, uint64_t *ret, struct err *err)
{
	struct db_row *row;
	int rc = db_query(journal_db, &row, err, "SELECT v FROM hcp_meta WHERE k='instance'", "");
	if (rc != 1)
		return rc < 0 ? rc : err_set(err, HCP_ENOTFOUND, "journal", "this database holds no journal");
	*ret = (uint64_t)db_i64(row, 0);
	db_done(row);
	return 0;
}

int svc_replay(const struct svc_def *def, const void *conf, struct db *journal_db, int64_t from, int64_t to,
	       Hcp__ReplayReport *report, struct arena *a, struct err *err)
{
	struct svc_conf sc = { .conf = conf };
	struct replay r = { .report = report, .a = a };
	if (def->no_journal)
		return err_set(err, HCP_EUNSUPPORTED, "service", "%s keeps no journal of its inputs", svc_table[def->id].name);
	int rc = check_whole(journal_db, err);
	if (rc == 0)
		rc = recorded_seed(journal_db, &sc.seed, err);
	if (rc == 0)
		rc = svc_open(def, &sc, &r.svc, err);
	if (rc < 0)
		return rc;
	report->service = (char *)svc_table[def->id].name;
	report->identical = true;
	r.svc->replaying = true;
	rc = run(&r, journal_db, from, to, err);
	svc_close(r.svc);
	return rc;
}
