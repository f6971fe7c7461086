#include "sim/pool_server.h"

#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/timefmt.h"
#include "hash/sha256.h"
#include "http/http_server.h"
#include "loop/loop.h"
#include "loop/stream.h"
#include "os/clock.h"
#include "os/file.h"
#include "sim/pool_jobs.h"
#include "sim/pool_workers.h"
#include "stratum/pool.h"

static const char component[] = "pool";

enum { EXTRANONCE2_BYTES = 4, SESSION_QUEUE_BYTES = 1 << 18, SHARE_LOG_MAX = 1 << 30 };

struct pool_server {
	struct loop *loop;            /* borrowed */
	struct pool_server_conf conf;
	struct listener *listener;    /* owned */
	struct http_server *http;     /* owned; NULL: none */
	struct stratum_pool pool;
	struct pool_jobs jobs;
	struct pool_workers workers;
	struct list sessions;         /* struct session.node */
	size_t n_sessions;            /* whose stream is not closed yet */
	struct loop_timer job_timer, block_timer;
	struct loop_defer renew;      /* a block was found: new job at the end of the turn */
	uint64_t blocks;
	int log_fd;                   /* -1: none */
	uint64_t log_bytes;
	bool freed;
};

struct session {
	struct list node;
	struct pool_server *server;
	struct stream *stream;
	struct stratum_session s;
	struct loop_timer idle;
};

static uint32_t now_s(void)
{
	return (uint32_t)(clock_wall_ns() / 1000000000);
}

/* ---- sessions ---- */

static void flush(struct session *x)
{
	if (x->s.out.n == 0 || stream_is_closing(x->stream))
		return;
	if (stream_write(x->stream, x->s.out.data, x->s.out.n) < 0)
		stream_abort(x->stream, HCP_ELIMIT, "the miner does not read");
	buf_clear(&x->s.out);
}

static void on_idle(struct loop *loop, void *arg)
{
	struct session *x = arg;
	stream_abort(x->stream, HCP_ETIMEOUT, x->s.authorized ? "nothing was heard of the miner" : "no mining.authorize");
}

static void on_data(struct stream *stream, void *arg, const uint8_t *p, size_t n)
{
	struct session *x = arg;
	struct err err = { 0 };
	int rc = stratum_session_input(&x->s, (struct str){ (const char *)p, n }, now_s(), &err);
	flush(x);
	if (rc < 0) {
		log_warn(component, "%s closed: %s", stream_peer(stream), err.text);
		stream_close(stream);
	} else if (x->s.authorized) {
		loop_timer_start(&x->idle, POOL_SERVER_IDLE_MS);
	}
}

static void end_if_done(struct pool_server *s)
{
	if (!s->freed || s->n_sessions)
		return;
	pool_workers_release(&s->workers);
	stratum_pool_release(&s->pool);
	mem_free(s);
}

static void on_close(struct stream *stream, void *arg, int code, const char *why)
{
	struct session *x = arg;
	struct pool_server *s = x->server;
	if (x->s.authorized && !s->freed) {
		struct pool_worker *row = pool_workers_get(&s->workers, x->s.worker);
		if (row)
			pool_stats_add(&row->stats, &x->s.stats);
		log_info(component, "%s left: %llu shares%s%s", x->s.worker, (unsigned long long)x->s.stats.accepted,
			code < 0 ? ", " : "", code < 0 ? why : "");
	}
	loop_timer_stop(&x->idle);
	list_del(&x->node);
	stratum_session_release(&x->s);
	mem_free(x);
	s->n_sessions--;
	end_if_done(s);
}

static const struct stream_ops session_ops = { .on_data = on_data, .on_close = on_close };

static void on_stray_close(struct stream *stream, void *arg, int code, const char *why)
{
}

static void on_stray_data(struct stream *stream, void *arg, const uint8_t *p, size_t n)
{
}

static const struct stream_ops stray_ops = { .on_data = on_stray_data, .on_close = on_stray_close };

static void on_stream(struct listener *l, void *arg, struct stream *stream)
{
	struct pool_server *s = arg;
	struct err err = { 0 };
	struct session *x = mem_calloc(1, sizeof(*x));
	if (!x || stratum_session_init(&x->s, &s->pool, &err) < 0) {
		mem_free(x);
		stream_set_ops(stream, &stray_ops, NULL);
		stream_abort(stream, HCP_ELIMIT, "no room for another miner");
		return;
	}
	x->server = s;
	x->stream = stream;
	list_add_tail(&s->sessions, &x->node);
	s->n_sessions++;
	loop_timer_init(&x->idle, s->loop, on_idle, x);
	loop_timer_start(&x->idle, POOL_SERVER_GREET_MS);
	stream_set_ops(stream, &session_ops, x);
}

/* ---- jobs and shares ---- */

static void new_job(struct pool_server *s, bool clean)
{
	struct stratum_job job;
	pool_jobs_make(&s->jobs, now_s(), clean, &job);
	stratum_pool_set_job(&s->pool, &job);
	list_each(it, &s->sessions) {
		struct session *x = list_entry(it, struct session, node);
		stratum_session_send_job(&x->s);
		flush(x);
	}
	loop_timer_start(&s->job_timer, s->conf.job_s * 1000UL);
}

static void on_job_timer(struct loop *loop, void *arg)
{
	new_job(arg, false);
}

static void on_renew(struct loop *loop, void *arg)
{
	new_job(arg, true);
}

static void arm_block(struct pool_server *s)
{
	if (s->conf.block_s)
		loop_timer_start(&s->block_timer, 1000 + (uint64_t)(rng_exp(&s->jobs.rng) * s->conf.block_s * 1000));
}

static void on_block_timer(struct loop *loop, void *arg)
{
	struct pool_server *s = arg;
	pool_jobs_foreign_block(&s->jobs);
	log_info(component, "block %llu: somebody else's", (unsigned long long)s->jobs.height - 1);
	new_job(s, true);
	arm_block(s);
}

static void log_share(struct pool_server *s, const struct stratum_accepted *share)
{
	char at[TIMEFMT_MAX], hex[65];
	uint8_t reversed[32];
	struct buf line;
	struct err err = { 0 };
	if (s->log_fd < 0)
		return;
	for (int i = 0; i < 32; i++)
		reversed[i] = share->hash[31 - i];
	buf_init(&line, 0);
	buf_printf(&line, "{\"at\":\"%s\",\"worker\":", timefmt_format(at, clock_wall_ns()));
	buf_add_json(&line, str_of(share->worker));
	buf_printf(&line, ",\"job\":\"%s\",\"difficulty\":", share->job_id);
	buf_add_double(&line, share->difficulty);
	buf_printf(
		&line, ",\"hash\":\"%s\",\"block\":%s}\n", hex_encode(hex, reversed, 32), share->is_block ? "true" : "false");
	s->log_bytes += line.n;
	int rc = s->log_bytes > SHARE_LOG_MAX ? err_set(&err, HCP_ELIMIT, "share-log", "the share log is full") :
		buf_failed(&line) ? HCP_ENOMEM : file_append(s->log_fd, buf_str(&line), "share-log", &err);
	buf_release(&line);
	if (rc < 0) {
		log_error(component, "shares are no longer logged: %s", err.text);
		file_close(s->log_fd);
		s->log_fd = -1;
	}
}

static void on_accepted(void *arg, struct stratum_session *session, const struct stratum_accepted *share)
{
	struct pool_server *s = arg;
	struct pool_worker *row = pool_workers_get(&s->workers, share->worker);
	if (row)
		pool_worker_share(row, share->difficulty, share->is_block, clock_mono_ns() / 1000000000);
	log_share(s, share);
	if (!share->is_block)
		return;
	log_info(component, "block %llu found by %s", (unsigned long long)s->jobs.height, share->worker);
	s->blocks++;
	pool_jobs_own_block(&s->jobs, share->hash);
	loop_defer(s->loop, &s->renew);
}

/* ---- statistics ---- */

static void count_live(struct pool_server *s)
{
	pool_workers_begin(&s->workers);
	list_each(it, &s->sessions) {
		struct session *x = list_entry(it, struct session, node);
		if (x->s.authorized)
			pool_workers_live(&s->workers, &x->s);
	}
}

static void on_http(struct http_req *req, void *arg)
{
	struct pool_server *s = arg;
	char head[256];
	struct buf out;
	if (req->method != HTTP_M_GET || !str_eqz(req->path, "/stats")) {
		http_reply_problem(req, 404, "not_found", STR("GET /stats is all there is"));
		return;
	}
	buf_init(&out, 0);
	count_live(s);
	snprintf(head, sizeof(head),
		"\"height\":%llu,\"blocks_found\":%llu,\"jobs\":%llu,\"connections\":%zu,\"difficulty\":%.17g,",
		(unsigned long long)s->jobs.height, (unsigned long long)s->blocks, (unsigned long long)s->jobs.made,
		s->n_sessions, s->conf.difficulty);
	pool_workers_json(&s->workers, head, clock_mono_ns() / 1000000000, &out);
	if (buf_failed(&out))
		http_reply_problem(req, 503, "out_of_memory", STR("no memory for the answer"));
	else
		http_reply(req, 200, NULL, 0, buf_str(&out));
	buf_release(&out);
}

void pool_server_totals(struct pool_server *s, uint64_t *ret_accepted, uint64_t *ret_rejected)
{
	struct stratum_session_stats sum = { 0 };
	count_live(s);
	for (size_t i = 0; i < s->workers.n; i++)
		pool_stats_add(&sum, &s->workers.rows[i]->live);
	*ret_accepted = sum.accepted;
	*ret_rejected = sum.stale + sum.duplicate + sum.low + sum.refused + sum.garbled;
}

/* ---- life ---- */

static int open_sockets(struct pool_server *s, struct err *err)
{
	struct listener_conf lc = { .host = s->conf.host, .port = s->conf.port, .max_streams = POOL_SERVER_SESSIONS_MAX,
		.max_queue = SESSION_QUEUE_BYTES, .on_stream = on_stream, .arg = s };
	int rc = listener_new(s->loop, &lc, &s->listener, err);
	if (rc == 0 && s->conf.http) {
		struct http_server_conf hc = { .host = s->conf.host, .port = s->conf.http_port, .max_connections = 64 };
		rc = http_server_new(s->loop, &hc, on_http, s, &s->http, err);
	}
	return rc;
}

int pool_server_new(struct loop *loop, const struct pool_server_conf *conf, struct pool_server **ret, struct err *err)
{
	if (!(conf->difficulty > 0) || conf->job_s == 0 || conf->height == 0)
		return err_set(err, HCP_EINVAL, "difficulty", "difficulty, job interval and height must be above 0");
	struct pool_server *s = mem_calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, HCP_ENOMEM, "", "no memory for the pool");
	s->loop = loop;
	s->conf = *conf;
	s->log_fd = -1;
	list_init(&s->sessions);
	pool_workers_init(&s->workers);
	pool_jobs_init(&s->jobs, conf->seed, conf->height, conf->nbits, EXTRANONCE2_BYTES);
	loop_timer_init(&s->job_timer, loop, on_job_timer, s);
	loop_timer_init(&s->block_timer, loop, on_block_timer, s);
	loop_defer_init(&s->renew, on_renew, s);
	struct stratum_pool_conf pc = { .sha256d = sha256d_of, .extranonce2_size = EXTRANONCE2_BYTES,
		.version_mask = STRATUM_VERSION_MASK, .difficulty = conf->difficulty,
		.difficulty_min = conf->difficulty < 0.001 ? conf->difficulty : 0.001, .agent = "hcp-sim",
		.accepted = on_accepted, .arg = s };
	int rc = stratum_pool_init(&s->pool, &pc);
	if (rc == 0 && conf->share_log)
		rc = file_open_append(conf->share_log, &s->log_fd, &s->log_bytes, err);
	if (rc == 0)
		rc = open_sockets(s, err);
	if (rc < 0) {
		pool_server_free(s);
		return rc;
	}
	new_job(s, true);
	arm_block(s);
	*ret = s;
	return 0;
}

void pool_server_free(struct pool_server *s)
{
	if (!s)
		return;
	s->freed = true;
	loop_timer_stop(&s->job_timer);
	loop_timer_stop(&s->block_timer);
	loop_defer_cancel(&s->renew);
	listener_free(s->listener);
	http_server_free(s->http);
	if (s->log_fd >= 0)
		file_close(s->log_fd);
	s->log_fd = -1;
	list_each_safe(it, next, &s->sessions)
		stream_abort(list_entry(it, struct session, node)->stream, HCP_ECANCELED, "the pool ends");
	end_if_done(s);
}

uint16_t pool_server_port(const struct pool_server *s)
{
	return listener_port(s->listener);
}

uint16_t pool_server_http_port(const struct pool_server *s)
{
	return s->http ? http_server_port(s->http) : 0;
}
