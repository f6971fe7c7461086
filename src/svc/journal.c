/*
 * The journal of a service: one row a batch with its inputs and its events. It is the transactional outbox (events
 * that the bus may have lost are published again at open) and what `hcp replay` feeds back.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "base/panic.h"
#include "svc/svc_priv.h"

const char *const journal_schema =
	"CREATE TABLE hcp_batch(no INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, inputs BLOB NOT NULL,"
	"                       events BLOB NOT NULL, last_seq INTEGER NOT NULL, reloaded INTEGER NOT NULL,"
	"                       clock INTEGER NOT NULL);"
	"CREATE TABLE hcp_mark(one INTEGER PRIMARY KEY CHECK(one=1), v BLOB NOT NULL);"
	"CREATE TABLE hcp_meta(k TEXT PRIMARY KEY, v INTEGER NOT NULL) WITHOUT ROWID;";

static int meta_set(struct svc *svc, const char *k, int64_t v, struct err *err)
{
	return db_run(svc->db, err, "INSERT INTO hcp_meta(k,v) VALUES($1,$2) ON CONFLICT(k) DO UPDATE SET v=excluded.v",
		      "zi", k, v);
}

/*
 * How far the service is, in one row of hcp_mark that each batch overwrites; little-endian, 8 bytes each:
 *
 *   | batch | seq of the last event | bus_next | last seq consumed of sender 0 | of sender 1 | …
 *
 * Senders that a shorter row does not name were never heard.
 */
enum { MARK_BATCH, MARK_SEQ, MARK_BUS_NEXT, MARK_INBOX, MARK_COUNT = MARK_INBOX + SVC_COUNT };

static void put_mark(unsigned char *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (unsigned char)(v >> 8 * i);
}

static uint64_t get_mark(const char *p)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v |= (uint64_t)(unsigned char)p[i] << 8 * i;
	return v;
}

static int write_marks(struct svc *svc, int64_t no, struct err *err)
{
	unsigned char row[MARK_COUNT * 8];
	uint64_t bus_next = svc->bus_read_next > svc->bus_next ? svc->bus_read_next : svc->bus_next;
	put_mark(row + 8 * MARK_BATCH, (uint64_t)no);
	put_mark(row + 8 * MARK_SEQ, svc->seq);
	put_mark(row + 8 * MARK_BUS_NEXT, bus_next);
	for (size_t i = 0; i < SVC_COUNT; i++)
		put_mark(row + 8 * (MARK_INBOX + i), svc->inbox[i]);
	return db_run(svc->db, err, "INSERT INTO hcp_mark(one,v) VALUES(1,$1) ON CONFLICT(one) DO UPDATE SET v=excluded.v",
		"b", (struct str){ (const char *)row, sizeof(row) });
}

static int load_marks(struct svc *svc, struct err *err)
{
	struct db_row *row;
	svc->seq = 0;
	svc->batch_no = 0;
	svc->bus_next = 1;
	memset(svc->inbox, 0, sizeof(svc->inbox));
	int rc = db_query(svc->db, &row, err, "SELECT v FROM hcp_mark", "");
	if (rc != 1)
		return rc;
	struct str v = db_blob(row, 0);
	bool good = v.n >= 8 * MARK_INBOX && v.n % 8 == 0;
	if (good) {
		svc->batch_no = (int64_t)get_mark(v.p + 8 * MARK_BATCH);
		svc->seq = get_mark(v.p + 8 * MARK_SEQ);
		svc->bus_next = get_mark(v.p + 8 * MARK_BUS_NEXT);
	}
	for (size_t i = 0; good && i < SVC_COUNT && v.n >= 8 * (MARK_INBOX + i + 1); i++)
		svc->inbox[i] = get_mark(v.p + 8 * (MARK_INBOX + i));
	db_done(row);
	return good ? 0 : err_set(err, HCP_ECORRUPT, "hcp_mark", "the row has %zu bytes", v.n);
}

static int load_meta(struct svc *svc, struct err *err)
{
	struct db_row *row;
	int rc;
	bool known = false;
	for (rc = db_query(svc->db, &row, err, "SELECT k,v FROM hcp_meta", ""); rc == 1; rc = db_next(row, err)) {
		struct str k = db_text(row, 0);
		int64_t v = db_i64(row, 1);
		if (str_eqz(k, "instance")) {
			svc->instance = (uint64_t)v;
			known = true;
		} else if (str_eqz(k, "journal_bytes") && !svc->counted) {
			svc->journal_bytes = v;
		} else if (str_eqz(k, "journal_total") && !svc->counted) {
			svc->journal_total = v;
		} else if (str_eqz(k, "published")) {
			svc->published_batch = v;
			if (svc->appended_batch < v)
				svc->appended_batch = v;
		}
	}
	if (rc < 0 || known)
		return rc;
	svc->instance = svc->conf.seed;
	return meta_set(svc, "instance", (int64_t)svc->instance, err);
}

static int load_ends(struct svc *svc, struct err *err)
{
	struct db_row *row;
	svc->oldest_batch = 0;
	int rc = db_query(svc->db, &row, err,
		"SELECT clock,(SELECT min(no) FROM hcp_batch) FROM hcp_batch"
		" ORDER BY no DESC LIMIT 1",
		"");
	if (rc < 0)
		return rc;
	/* A service that keeps no journal may have no row: what it has seen since its start is all it can know. */
	if (rc == 1) {
		svc->clock = (uint64_t)db_i64(row, 0);
		svc->oldest_batch = db_i64(row, 1);
		db_done(row);
	}
	return 0;
}

int journal_load(struct svc *svc, struct err *err)
{
	int rc = load_meta(svc, err);
	if (rc == 0)
		rc = load_marks(svc, err);
	if (rc == 0)
		rc = load_ends(svc, err);
	if (rc < 0)
		return rc;
	svc->counted = true;
	svc->bus_read_next = svc->bus_next;
	return 0;
}

/* The head of a message in a Batch or BatchEvents: field 1, so many bytes. */
static void add_head(struct buf *b, uint64_t n)
{
	buf_addc(b, 0x0a);
	for (; n >= 0x80; n >>= 7)
		buf_addc(b, (char)(n | 0x80));
	buf_addc(b, (char)n);
}

int journal_pack_inputs(struct svc *svc, struct svc_ctx *ctx, struct err *err)
{
	struct buf *b = &svc->packed_inputs, one;
	int rc = 0;
	if (svc->def->no_journal)
		return 0;
	buf_clear_keep(b, SVC_PACKED_KEPT);
	buf_init(&one, 0);
	for (size_t i = 0; i < ctx->n_in && rc == 0; i++) {
		buf_clear(&one);
		/* Of an event as it came, and where: fields of an envelope may follow in any order. */
		struct str event = ctx->in[i]->rec ? ctx->in[i]->rec->payload : STR("");
		rc = event.n ? msg_pack_place(ctx->in[i], &one) : msg_pack(ctx->in[i], &one);
		add_head(b, event.n + one.n);
		buf_adds(b, event);
		buf_adds(b, buf_str(&one));
	}
	rc = rc < 0 || buf_failed(b) ? err_set(err, HCP_ENOMEM, "", "out of memory") : 0;
	buf_release(&one);
	return rc;
}

int journal_pack_events(const struct svc_ctx *ctx, struct buf *b)
{
	for (size_t i = 0; i < ctx->n_events; i++) {
		add_head(b, ctx->events[i].bytes.n);
		buf_adds(b, ctx->events[i].bytes);
	}
	return buf_failed(b) ? HCP_ENOMEM : 0;
}

/* The last batch that may go: what the bus has on the disk is history, and history goes back to the oldest base. */
static int64_t prune_upto(const struct svc *svc)
{
	/* Where bases fail it still has an end. */
	bool too_much = svc->journal_bytes > svc_base_every(svc) * 2 * (int64_t)(svc->bases_kept + 1);
	int64_t upto = too_much ? svc->batch_no : svc->keep_from - 1;
	return upto < svc->published_batch ? upto : svc->published_batch;
}

static int prune_rows(struct svc *svc, int64_t upto, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(svc->db, &row, err,
			 "DELETE FROM hcp_batch WHERE no>=$1 AND no<$2 AND no<=$3"
			 " RETURNING length(inputs)+length(events)",
			 "iii", svc->oldest_batch, svc->oldest_batch + SVC_PRUNE_ROWS, upto);
		 rc == 1; rc = db_next(row, err)) {
		svc->journal_bytes -= db_i64(row, 0);
		svc->oldest_batch++;
	}
	return rc;
}

static int prune(struct svc *svc, int64_t no, struct err *err)
{
	uint64_t synced = atomic_load_explicit(&svc->bus_synced, memory_order_acquire);
	int rc = 0;
	if (svc->sent_offset && synced >= svc->sent_offset && svc->sent_batch > svc->published_batch) {
		svc->published_batch = svc->sent_batch;
		svc->sent_offset = 0;
		rc = meta_set(svc, "published", svc->published_batch, err);
	}
	if (rc == 0 && svc->def->no_journal)
		return no % SVC_PRUNE_EVERY
				   ? 0
				   : db_run(svc->db, err, "DELETE FROM hcp_batch WHERE no <= $1", "i", svc->published_batch);
	int64_t upto = prune_upto(svc);
	if (rc == 0 && svc->oldest_batch && svc->oldest_batch <= upto)
		rc = prune_rows(svc, upto, err);
	if (rc < 0 || no % SVC_COUNT_EVERY)
		return rc;
	rc = meta_set(svc, "journal_bytes", svc->journal_bytes, err);
	return rc < 0 ? rc : meta_set(svc, "journal_total", svc->journal_total, err);
}

int journal_write(struct svc *svc, struct svc_ctx *ctx, struct err *err)
{
	int64_t no = svc->batch_no + 1;
	struct buf *inputs = &svc->packed_inputs, *events = &svc->packed_events;
	int rc = 0;
	buf_clear_keep(events, SVC_PACKED_KEPT);
	if (!svc->def->no_journal || ctx->n_events) {
		rc = journal_pack_events(ctx, events);
		if (rc == 0)
			rc = db_run(svc->db, err, "INSERT INTO hcp_batch(no,at_ns,inputs,events,last_seq,reloaded,clock)"
				    " VALUES($1,$2,$3,$4,$5,$6,$7)", "iibbiii", no, ctx->now_ns, buf_str(inputs),
				    buf_str(events), (int64_t)svc->seq, (int64_t)svc->reloaded, (int64_t)ctx->clock);
	}
	svc->journal_bytes += (int64_t)(inputs->n + events->n);
	svc->journal_total += (int64_t)(inputs->n + events->n);
	if (rc == 0 && !svc->oldest_batch)
		svc->oldest_batch = no;
	if (rc == 0)
		rc = write_marks(svc, no, err);
	if (rc == 0)
		rc = prune(svc, no, err);
	return rc < 0 ? err_set(err, rc, "journal", "%s", err && err->text[0] ? err->text : err_name(rc)) : 0;
}

/* One mark at a time: the next is taken when the bus has synced this one. */
static void mark_appended(struct svc *svc)
{
	svc->appended_batch = svc->batch_no;
	if (!svc->sent_offset) {
		svc->sent_offset = bus_end(svc->conf.bus) - 1;
		svc->sent_batch = svc->batch_no;
	}
}

int journal_publish(struct svc *svc, const struct svc_ctx *ctx, struct err *err)
{
	if (!svc->conf.bus)
		return 0;
	struct bus_entry *e = mem_alloc(ctx->n_events * sizeof(*e));
	if (!e)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	for (size_t i = 0; i < ctx->n_events; i++)
		e[i] = (struct bus_entry){ ctx->events[i].seq, ctx->events[i].topic, (uint16_t)svc->def->id,
			ctx->events[i].bytes };
	int rc = bus_append(svc->conf.bus, e, ctx->n_events, err);
	mem_free(e);
	if (rc == 0)
		mark_appended(svc);
	return rc;
}

static int republish_row(struct svc *svc, struct str events, struct err *err)
{
	struct arena a;
	int rc = 0;
	arena_init(&a, 4096, 0);
	Hcp__BatchEvents *b = (void *)pb_unpack_arena(&hcp__batch_events__descriptor, events, &a);
	if (!b)
		rc = err_set(err, HCP_ECORRUPT, "journal", "the events of a batch cannot be read");
	for (size_t i = 0; b && i < b->n_events && rc == 0; i++) {
		const struct msg_info *info = msg_info(b->events[i]->type);
		struct buf bytes;
		buf_init(&bytes, 0);
		rc = pb_pack(&b->events[i]->base, &bytes);
		struct bus_entry e = { b->events[i]->seq, info ? (uint16_t)info->topic : 0, (uint16_t)svc->def->id,
				       buf_str(&bytes) };
		if (rc == 0 && info)
			rc = bus_append(svc->conf.bus, &e, 1, err);
		buf_release(&bytes);
	}
	arena_release(&a);
	return rc;
}

int journal_republish(struct svc *svc, struct err *err)
{
	struct db_row *row;
	int rc;
	if (!svc->conf.bus || svc->appended_batch == svc->batch_no)
		return 0;
	for (rc = db_query(svc->db, &row, err,
			 "SELECT events FROM hcp_batch WHERE no > $1 AND length(events) > 0 ORDER BY no", "i",
			 svc->appended_batch);
		 rc == 1; rc = db_next(row, err)) {
		int bad = republish_row(svc, db_blob(row, 0), err);
		if (bad < 0) {
			db_done(row);
			return bad;
		}
	}
	if (rc == 0)
		mark_appended(svc);
	return rc;
}

int journal_republish_all(struct svc *const *svc, size_t n, struct err *err)
{
	struct db_row *row[SVC_COUNT] = { 0 };
	int rc = 0;
	must(n <= SVC_COUNT);
	for (size_t i = 0; i < n && rc >= 0; i++) {
		if (!svc[i] || !svc[i]->conf.bus || svc[i]->appended_batch == svc[i]->batch_no)
			continue;
		rc = db_query(svc[i]->db, &row[i], err,
			      "SELECT events,clock FROM hcp_batch WHERE no > $1 AND length(events) > 0 ORDER BY no", "i",
			      svc[i]->appended_batch);
		if (rc != 1)
			row[i] = NULL;
	}
	while (rc >= 0) {
		size_t first = n;
		for (size_t i = 0; i < n; i++)
			if (row[i] && (first == n || db_i64(row[i], 1) < db_i64(row[first], 1)))
				first = i;
		if (first == n)
			break;
		rc = republish_row(svc[first], db_blob(row[first], 0), err);
		int more = rc == 0 ? db_next(row[first], err) : 1;
		if (more != 1)
			row[first] = NULL;
		rc = more < 0 ? more : rc;
	}
	for (size_t i = 0; i < n; i++) {
		if (row[i])
			db_done(row[i]);
		if (rc >= 0 && svc[i] && svc[i]->conf.bus)
			mark_appended(svc[i]);
	}
	return rc < 0 ? rc : 0;
}

void journal_settle(struct svc *svc)
{
	if (!svc->conf.bus || !bus_is_durable(svc->conf.bus) || svc->published_batch == svc->batch_no ||
		svc->appended_batch != svc->batch_no)
		return;
	if (bus_sync(svc->conf.bus, NULL, NULL) == 0 && meta_set(svc, "published", svc->batch_no, NULL) == 0)
		svc->published_batch = svc->batch_no;
}
