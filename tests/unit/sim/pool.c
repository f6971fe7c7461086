#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/hex.h"
#include "base/mem.h"
#include "hash/engine.h"
#include "http/http_client.h"
#include "loop/loop.h"
#include "loop/stream.h"
#include "sim/pool_jobs.h"
#include "sim/pool_server.h"
#include "sim/pool_workers.h"

/* A miner over a real socket: keeps what the pool says, hashes with the engines of src/hash. */
struct miner {
	struct stream *stream;
	struct buf in;
	bool closed;
	struct stratum_extranonce extranonce;
	struct stratum_job job;
	double difficulty;
	uint32_t mask;
	int jobs, answers, accepted, code; /* code: of the last answer, 0 accepted */
	char why[STRATUM_TEXT_MAX + 1];
};

static struct loop *loop;
static struct pool_server *server;

static void on_response(struct miner *m, const struct stratum_msg *msg)
{
	struct stratum_configure c;
	m->answers++;
	m->code = msg->response.failed ? msg->response.code : 0;
	memcpy(m->why, msg->response.text, sizeof(m->why));
	if (str_eqz(msg->id, "1")) {
		assert_int_equal(stratum_read_configure(msg->response.result, &c, NULL), 0);
		m->mask = c.mask;
	} else if (str_eqz(msg->id, "2")) {
		assert_int_equal(stratum_read_subscribe(msg->response.result, &m->extranonce, NULL), 0);
	} else if (!m->code) {
		m->accepted++;
	}
}

static void on_data(struct stream *s, void *arg, const uint8_t *p, size_t n)
{
	static struct stratum_msg msg;
	struct miner *m = arg;
	const char *lf;
	buf_add(&m->in, p, n);
	while (m->in.n && (lf = memchr(m->in.data, '\n', m->in.n))) {
		struct str line = { m->in.data, (size_t)(lf - m->in.data) };
		assert_int_equal(stratum_parse(line, &msg, NULL), 0);
		if (msg.kind == STRATUM_RESPONSE) {
			on_response(m, &msg);
		} else if (msg.method == STRATUM_NOTIFY) {
			m->job = msg.job;
			m->jobs++;
		} else if (msg.method == STRATUM_SET_DIFFICULTY) {
			m->difficulty = msg.difficulty;
		}
		buf_consume(&m->in, line.n + 1);
	}
}

static void on_close(struct stream *s, void *arg, int code, const char *why)
{
	((struct miner *)arg)->closed = true;
}

static const struct stream_ops miner_ops = { .on_data = on_data, .on_close = on_close };

#define wait_until(cond) \
	do { \
		for (int turn_ = 0; turn_ < 500 && !(cond); turn_++) \
			loop_turn(loop, 10); \
		assert_true(cond); \
	} while (0)

static void send_line(struct miner *m, struct buf *b)
{
	assert_false(buf_failed(b));
	assert_int_equal(stream_write(m->stream, b->data, b->n), 0);
	buf_release(b);
}

static void join(struct miner *m, const char *worker)
{
	struct buf b;
	struct stream_conf conf = { .ops = &miner_ops, .arg = m };
	struct stratum_configure c = { .version_rolling = true, .mask = 0xffffffff, .min_bit_count = 2 };
	*m = (struct miner){ 0 };
	buf_init(&m->in, 0);
	assert_int_equal(stream_connect(loop, "127.0.0.1", pool_server_port(server), &conf, &m->stream, NULL), 0);
	buf_init(&b, 0);
	stratum_write_configure(&b, 1, &c);
	stratum_write_subscribe(&b, 2, "test", NULL);
	stratum_write_authorize(&b, 3, worker, "x");
	send_line(m, &b);
	wait_until(m->answers == 3 && m->jobs == 1);
	assert_int_equal(m->mask, STRATUM_VERSION_MASK);
	assert_int_equal(m->code, 0);
	m->accepted = 0;
}

static void leave(struct miner *m)
{
	if (!m->closed)
		stream_close(m->stream);
	wait_until(m->closed);
	buf_release(&m->in);
}

/* Mines the present job until a share of its difficulty is found. */
static struct stratum_submit mine(struct miner *m, const char *worker, uint8_t salt)
{
	struct stratum_submit s = { .has_version_bits = true, .version_bits = 0x1fffe000 & 0x00ab2000 };
	struct hash_work work;
	struct hash_hit hits[HASH_VERSIONS_MAX];
	uint8_t header[80], target[32];
	uint64_t scanned, from = 0;
	snprintf(s.worker, sizeof(s.worker), "%s", worker);
	snprintf(s.job_id, sizeof(s.job_id), "%s", m->job.id);
	s.extranonce2.n = (uint8_t)m->extranonce.extranonce2_size;
	s.extranonce2.p[0] = salt;
	s.ntime = m->job.ntime;
	assert_int_equal(hash_target_from_difficulty(m->difficulty, target), 0);
	stratum_job_header(&m->job, &m->extranonce.extranonce1, &s.extranonce2,
		stratum_version(m->job.version, m->mask, s.version_bits), s.ntime, 0, sha256d_of, header);
	hash_work_init(&work, header, target);
	while (!hash_engine_best()->scan(&work, (uint32_t)from, 1 << 20, NULL, hits, HASH_VERSIONS_MAX, &scanned)) {
		from += scanned;
		assert_true(from < UINT32_MAX);
	}
	s.nonce = hits[0].nonce;
	return s;
}

/* The answer's code; 0: accepted. */
static int submit(struct miner *m, const struct stratum_submit *s)
{
	struct buf b;
	int answers = m->answers;
	buf_init(&b, 0);
	stratum_write_submit(&b, 100, s);
	send_line(m, &b);
	wait_until(m->answers == answers + 1);
	return m->code;
}

static void start(struct pool_server_conf conf)
{
	struct err err = { 0 };
	assert_int_equal(loop_new(NULL, &loop, NULL), 0);
	conf.job_s = conf.job_s ? conf.job_s : 30;
	conf.nbits = conf.nbits ? conf.nbits : 0x1703a30c;
	conf.height = 870000;
	conf.difficulty = 1e-5;
	if (pool_server_new(loop, &conf, &server, &err) < 0)
		fail_msg("%s: %s", err.field, err.text);
}

static void stop(void)
{
	pool_server_free(server);
	loop_free(loop);
}

static void mined_shares_are_accepted_and_false_ones_are_named(void **state)
{
	struct miner m;
	start((struct pool_server_conf){ .seed = 5 });
	join(&m, "acc.rig1");
	assert_true(m.difficulty == 1e-5);
	struct stratum_submit s = mine(&m, "acc.rig1", 1);
	assert_int_equal(submit(&m, &s), 0);
	assert_int_equal(submit(&m, &s), STRATUM_E_DUPLICATE);
	struct stratum_submit other = mine(&m, "acc.rig1", 2);
	assert_int_equal(submit(&m, &other), 0);

	struct stratum_submit bad = s;
	bad.nonce++;
	assert_int_equal(submit(&m, &bad), STRATUM_E_LOW_DIFFICULTY);
	bad = s;
	bad.extranonce2.p[1] ^= 1;
	assert_int_equal(submit(&m, &bad), STRATUM_E_LOW_DIFFICULTY);
	bad = s;
	bad.version_bits = 0x80000000;
	assert_int_equal(submit(&m, &bad), STRATUM_E_OTHER);
	assert_string_equal(m.why, "version bits outside the mask");
	bad = s;
	bad.ntime -= 1;
	assert_int_equal(submit(&m, &bad), STRATUM_E_OTHER);
	bad = s;
	bad.extranonce2.n--;
	assert_int_equal(submit(&m, &bad), STRATUM_E_OTHER);
	bad = s;
	snprintf(bad.worker, sizeof(bad.worker), "acc.other");
	assert_int_equal(submit(&m, &bad), STRATUM_E_UNAUTHORIZED);
	bad = s;
	snprintf(bad.job_id, sizeof(bad.job_id), "feed");
	assert_int_equal(submit(&m, &bad), STRATUM_E_JOB_NOT_FOUND);

	uint64_t accepted, rejected;
	pool_server_totals(server, &accepted, &rejected);
	assert_int_equal(accepted, 2);
	assert_int_equal(rejected, 8);
	leave(&m);
	/* What a miner did outlives its connection. */
	pool_server_totals(server, &accepted, &rejected);
	assert_int_equal(accepted, 2);
	stop();
}

static void found_block_voids_older_jobs(void **state)
{
	struct miner m;
	/* On this chain every second hash is a block. */
	start((struct pool_server_conf){ .seed = 5, .nbits = 0x207fffff });
	join(&m, "rig");
	struct stratum_submit first = mine(&m, "rig", 1), second = mine(&m, "rig", 2);
	uint8_t header[80], hash[32], swapped[32];
	stratum_job_header(&m.job, &m.extranonce.extranonce1, &first.extranonce2,
		stratum_version(m.job.version, m.mask, first.version_bits), first.ntime, first.nonce, sha256d_of, header);
	sha256d_of(header, 80, hash);
	assert_int_equal(submit(&m, &first), 0);
	wait_until(m.jobs == 2);
	assert_true(m.job.clean);
	/* The next job stands on the block that was found. */
	for (int i = 0; i < 32; i++)
		swapped[i] = hash[(i & ~3) | (3 - (i & 3))];
	assert_memory_equal(m.job.prevhash, swapped, 32);
	assert_int_equal(submit(&m, &second), STRATUM_E_JOB_NOT_FOUND);
	struct stratum_submit third = mine(&m, "rig", 3);
	assert_int_equal(submit(&m, &third), 0);
	leave(&m);
	stop();
}

static void miners_may_suggest_a_difficulty(void **state)
{
	struct miner m;
	struct buf b;
	start((struct pool_server_conf){ .seed = 1 });
	join(&m, "rig");
	buf_init(&b, 0);
	stratum_write_suggest_difficulty(&b, 9, 16);
	send_line(&m, &b);
	wait_until(m.difficulty == 16);
	leave(&m);
	stop();
}

static void unreadable_lines_end_the_connection(void **state)
{
	static const char noise[] = "}{\n[,\nx\n\x01\n{\"id\":\n";
	struct miner m;
	start((struct pool_server_conf){ .seed = 1 });
	join(&m, "rig");
	assert_int_equal(stream_write(m.stream, noise, sizeof(noise) - 1), 0);
	wait_until(m.closed);
	leave(&m);
	stop();
}

static void on_stats(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct buf *b = arg;
	assert_int_equal(code, 0);
	assert_int_equal(r->status, 200);
	buf_adds(b, r->body);
}

static void statistics_by_worker_and_reason(void **state)
{
	struct miner a, b;
	struct http_client *client;
	struct buf text;
	char url[64];
	start((struct pool_server_conf){ .seed = 3, .http = true });
	join(&a, "one");
	join(&b, "two\"");
	assert_memory_not_equal(a.extranonce.extranonce1.p, b.extranonce.extranonce1.p, 4);
	struct stratum_submit s = mine(&a, "one", 1);
	assert_int_equal(submit(&a, &s), 0);
	assert_int_equal(submit(&a, &s), STRATUM_E_DUPLICATE);
	/* The share of one miner is none for another: its extranonce differs. */
	snprintf(s.worker, sizeof(s.worker), "two\"");
	assert_int_equal(submit(&b, &s), STRATUM_E_LOW_DIFFICULTY);

	buf_init(&text, 0);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/stats", pool_server_http_port(server));
	assert_int_equal(http_client_new(loop, &(struct http_client_conf){ 0 }, &client, NULL), 0);
	struct http_call_conf call = { .method = "GET", .url = url, .on_done = on_stats, .arg = &text };
	assert_int_equal(http_call_start(client, &call, NULL, NULL), 0);
	wait_until(text.n > 0);
	assert_non_null(
		strstr(text.data, "\"accepted\":1,\"rejected\":{\"stale\":0,\"duplicate\":1,\"low_difficulty\":1,"));
	assert_non_null(strstr(text.data, "{\"worker\":\"one\",\"connections\":1,\"blocks\":0,\"accepted\":1,"));
	assert_non_null(strstr(text.data, "{\"worker\":\"two\\\"\","));
	buf_release(&text);
	http_client_free(client);
	leave(&a);
	leave(&b);
	stop();
}

static void hash_rate_is_estimated_over_the_window(void **state)
{
	struct pool_workers w;
	pool_workers_init(&w);
	struct pool_worker *row = pool_workers_get(&w, "rig");
	/* A share of difficulty 2 every 10 s is 2 * 2^32 / 10 hashes a second. */
	for (int t = 1000; t <= 2000; t += 10)
		pool_worker_share(row, 2, false, t);
	double rate = pool_worker_rate(row, 2005);
	assert_true(rate > 0.95 * 2 * 4294967296.0 / 10 && rate < 1.1 * 2 * 4294967296.0 / 10);
	assert_true(pool_worker_rate(row, 2400) == 0);
	/* More names than rows: the rest is counted together. */
	for (int i = 0; i < POOL_WORKERS_MAX + 50; i++) {
		char name[32];
		snprintf(name, sizeof(name), "w%d", i);
		assert_non_null(pool_workers_get(&w, name));
	}
	assert_int_equal(w.n, POOL_WORKERS_MAX);
	assert_string_equal(pool_workers_get(&w, "late")->name, "(others)");
	pool_workers_release(&w);
}

static void jobs_have_the_layout_of_blocks(void **state)
{
	struct pool_jobs a, b;
	struct stratum_job x, y;
	pool_jobs_init(&a, 9, 840000, 0x1703a30c, 4);
	pool_jobs_init(&b, 9, 840000, 0x1703a30c, 4);
	pool_jobs_make(&a, 1700000000, true, &x);
	pool_jobs_make(&b, 1700000000, true, &y);
	assert_memory_equal(&x, &y, sizeof(x));
	/* version 2, one input, null outpoint; the script starts with the height 840000 = 0x0cd140 */
	static const uint8_t script[] = { 3, 0x40, 0xd1, 0x0c };
	assert_memory_equal(x.coinb1, "\x02\x00\x00\x00\x01", 5);
	assert_memory_equal(x.coinb1 + 42, script, sizeof(script));
	/* The script's length covers both halves up to the sequence. */
	assert_int_equal(x.coinb1[41], x.coinb1_n - 42 + 8);
	assert_int_equal(x.coinb1[x.coinb1_n - 1], 8);
	uint64_t value = 0;
	for (int i = 7; i >= 0; i--)
		value = value << 8 | x.coinb2[5 + i];
	assert_true(value > pool_jobs_subsidy(840000) && value < pool_jobs_subsidy(840000) + 100000000);
	assert_int_equal(pool_jobs_subsidy(839999), 625000000);
	assert_int_equal(pool_jobs_subsidy(840000), 312500000);
	assert_int_equal(pool_jobs_subsidy(210000 * 64), 0);
	pool_jobs_foreign_block(&a);
	pool_jobs_make(&a, 1700000030, false, &y);
	assert_memory_not_equal(x.prevhash, y.prevhash, 32);
	/* The hash of a block ends in zeros, also in the order of the line. */
	for (int i = 24; i < 32; i++)
		assert_int_equal(y.prevhash[i], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mined_shares_are_accepted_and_false_ones_are_named),
		cmocka_unit_test(found_block_voids_older_jobs),
		cmocka_unit_test(miners_may_suggest_a_difficulty),
		cmocka_unit_test(unreadable_lines_end_the_connection),
		cmocka_unit_test(statistics_by_worker_and_reason),
		cmocka_unit_test(hash_rate_is_estimated_over_the_window),
		cmocka_unit_test(jobs_have_the_layout_of_blocks),
	};
	int64_t live = mem_live();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed ? failed : mem_live() != live;
}
