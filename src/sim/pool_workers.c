#include "sim/pool_workers.h"

#include "base/mem.h"

#define DIFFICULTY_1_HASHES 4294967296.0 /* 2^32: mean tries for a share of difficulty 1 */

static const char others[] = "(others)";

void pool_workers_init(struct pool_workers *w)
{
	*w = (struct pool_workers){ 0 };
	map_init(&w->by_name);
}

void pool_workers_release(struct pool_workers *w)
{
	for (size_t i = 0; i < w->n; i++)
		mem_free(w->rows[i]);
	map_release(&w->by_name);
	w->n = 0;
}

struct pool_worker *pool_workers_get(struct pool_workers *w, const char *name)
{
	struct pool_worker *row = map_get(&w->by_name, str_of(name));
	if (!row && w->n >= POOL_WORKERS_MAX - 1) {
		name = others;
		row = map_get(&w->by_name, str_of(name));
	}
	if (row)
		return row;
	row = mem_calloc(1, sizeof(*row));
	if (!row)
		return NULL;
	row->first_s = INT64_MAX;
	if (str_copy(row->name, sizeof(row->name), str_of(name)) < 0 ||
	    map_put(&w->by_name, str_of(name), row, NULL) < 0) {
		mem_free(row);
		return NULL;
	}
	w->rows[w->n++] = row;
	return row;
}

/* Moves the window up to now; buckets in between saw nothing. */
static void advance(struct pool_worker *w, int64_t now_s)
{
	int64_t no = now_s / POOL_BUCKET_S;
	if (no - w->bucket_no >= POOL_WINDOW_BUCKETS) {
		memset(w->bucket, 0, sizeof(w->bucket));
		w->bucket_no = no;
	}
	while (w->bucket_no < no)
		w->bucket[++w->bucket_no % POOL_WINDOW_BUCKETS] = 0;
}

void pool_worker_share(struct pool_worker *w, double difficulty, bool is_block, int64_t now_s)
{
	advance(w, now_s);
	w->bucket[w->bucket_no % POOL_WINDOW_BUCKETS] += difficulty;
	w->blocks += is_block;
	if (w->first_s > now_s)
		w->first_s = now_s;
}

double pool_worker_rate(struct pool_worker *w, int64_t now_s)
{
	double sum = 0, span_s = (POOL_WINDOW_BUCKETS - 1) * POOL_BUCKET_S + (double)(now_s % POOL_BUCKET_S);
	advance(w, now_s);
	for (int i = 0; i < POOL_WINDOW_BUCKETS; i++)
		sum += w->bucket[i];
	if (w->first_s <= now_s && (double)(now_s - w->first_s) < span_s)
		span_s = (double)(now_s - w->first_s);
	return sum * DIFFICULTY_1_HASHES / (span_s < POOL_BUCKET_S ? POOL_BUCKET_S : span_s);
}

void pool_stats_add(struct stratum_session_stats *into, const struct stratum_session_stats *s)
{
	into->accepted += s->accepted;
	into->stale += s->stale;
	into->duplicate += s->duplicate;
	into->low += s->low;
	into->refused += s->refused;
	into->garbled += s->garbled;
	into->difficulty_accepted += s->difficulty_accepted;
}

void pool_workers_begin(struct pool_workers *w)
{
	for (size_t i = 0; i < w->n; i++) {
		w->rows[i]->live = w->rows[i]->stats;
		w->rows[i]->connections = 0;
	}
}

void pool_workers_live(struct pool_workers *w, const struct stratum_session *s)
{
	struct pool_worker *row = pool_workers_get(w, s->worker);
	if (!row)
		return;
	pool_stats_add(&row->live, &s->stats);
	row->connections++;
}

static void add_stats(struct buf *out, const struct stratum_session_stats *s, double rate_hs)
{
	buf_printf(out, "\"accepted\":%llu,\"rejected\":{\"stale\":%llu,\"duplicate\":%llu,\"low_difficulty\":%llu,"
		"\"refused\":%llu,\"garbled\":%llu},\"difficulty_accepted\":",
		(unsigned long long)s->accepted, (unsigned long long)s->stale, (unsigned long long)s->duplicate,
		(unsigned long long)s->low, (unsigned long long)s->refused, (unsigned long long)s->garbled);
	buf_add_double(out, s->difficulty_accepted);
	buf_addz(out, ",\"hash_rate_hs\":");
	buf_add_double(out, rate_hs);
}

void pool_workers_json(struct pool_workers *w, const char *head, int64_t now_s, struct buf *out)
{
	struct stratum_session_stats sum = { 0 };
	double rate_hs = 0;
	for (size_t i = 0; i < w->n; i++) {
		pool_stats_add(&sum, &w->rows[i]->live);
		rate_hs += pool_worker_rate(w->rows[i], now_s);
	}
	buf_printf(out, "{%s", head);
	add_stats(out, &sum, rate_hs);
	buf_addz(out, ",\"workers\":[");
	for (size_t i = 0; i < w->n; i++) {
		struct pool_worker *row = w->rows[i];
		buf_addz(out, i ? ",{\"worker\":" : "{\"worker\":");
		buf_add_json(out, str_of(row->name));
		buf_printf(out, ",\"connections\":%u,\"blocks\":%llu,", row->connections, (unsigned long long)row->blocks);
		add_stats(out, &row->live, pool_worker_rate(row, now_s));
		buf_addc(out, '}');
	}
	buf_addz(out, "]}\n");
}
