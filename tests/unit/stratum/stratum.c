#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/sha.h>

#include "base/hex.h"
#include "base/mem.h"
#include "stratum/client.h"
#include "stratum/pool.h"
#include "stratum/target.h"

#define SECOND 1000000000LL
#define EASY (1.0 / (1 << 28)) /* 16 hashes a share */
#define START_S 1700000000U

static struct err err;

static void sha256d(const void *p, size_t n, uint8_t ret[32])
{
	uint8_t first[32];
	SHA256(p, n, first);
	SHA256(first, 32, ret);
}

/* One client and two pools joined by lines in memory. Faults are drawn from the seed. */
struct world {
	struct rng rng;
	struct stratum_client client;
	struct stratum_pool pool[2];
	struct stratum_session session;
	bool connected, reachable[2];
	double lose, garble;       /* chance per exchange */
	int64_t now_ns;
	uint32_t nonce;
	unsigned connects[2], works, stops;
	uint64_t accepted[2];
};

static void on_accepted(void *arg, struct stratum_session *s, const struct stratum_accepted *share)
{
	struct world *w = arg;
	uint8_t hash[32];
	sha256d(share->header, 80, hash);
	assert_memory_equal(hash, share->hash, 32);
	w->accepted[s->pool - w->pool]++;
}

static int only_rig(void *arg, struct stratum_session *s, const char *worker, const char *password)
{
	return strcmp(worker, "acc.rig") ? -1 : 0;
}

static struct stratum_job *make_job(uint32_t n, bool clean)
{
	static struct stratum_job job;
	memset(&job, 0, sizeof(job));
	job.version = 0x20000000;
	job.nbits = 0x207fffff;
	job.ntime = START_S + n;
	job.clean = clean;
	job.coinb1_n = 60;
	job.coinb2_n = 70;
	memset(job.coinb1, (int)n, 60);
	memset(job.coinb2, 7, 70);
	job.n_branches = 2;
	memset(job.branches, 9, 64);
	memset(job.prevhash, (int)(n + 1), 32);
	return &job;
}

static void world_init(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	rng_init(&w->rng, seed);
	struct stratum_pool_conf pool = { .sha256d = sha256d, .extranonce2_size = 4, .version_mask = STRATUM_VERSION_MASK,
		.difficulty = EASY, .difficulty_min = EASY / 16, .agent = "pool", .authorize = only_rig,
		.accepted = on_accepted, .arg = w };
	for (int i = 0; i < 2; i++) {
		assert_int_equal(stratum_pool_init(&w->pool[i], &pool), 0);
		stratum_pool_set_job(&w->pool[i], make_job(0, true));
		w->reachable[i] = true;
	}
	struct stratum_client_conf conf = { .n_pools = 2, .agent = "hcp", .version_mask = STRATUM_VERSION_MASK,
		.extranonce_subscribe = true, .response_timeout_ns = 10 * SECOND, .idle_timeout_ns = 60 * SECOND,
		.backoff_min_ns = SECOND, .backoff_max_ns = 60 * SECOND };
	for (int i = 0; i < 2; i++)
		conf.pools[i] = (struct stratum_pool_address){ .host = "pool", .port = 3333, .worker = "acc.rig",
			.password = "x" };
	w->now_ns = 1;
	stratum_client_init(&w->client, &conf, &w->rng);
}

static void hang_up(struct world *w)
{
	if (w->connected)
		stratum_session_release(&w->session);
	w->connected = false;
}

static void world_release(struct world *w)
{
	hang_up(w);
	stratum_client_release(&w->client);
	stratum_pool_release(&w->pool[0]);
	stratum_pool_release(&w->pool[1]);
}

static void act(struct world *w)
{
	unsigned actions = stratum_client_actions(&w->client);
	if (actions & STRATUM_DO_CLOSE)
		hang_up(w);
	if (actions & STRATUM_DO_WORK)
		w->works++;
	if (actions & STRATUM_DO_STOP_WORK)
		w->stops++;
	if (!(actions & STRATUM_DO_CONNECT))
		return;
	size_t i = w->client.pool;
	assert_false(w->connected);
	w->connects[i]++;
	if (!w->reachable[i]) {
		stratum_client_closed(&w->client, w->now_ns);
		return;
	}
	assert_int_equal(stratum_session_init(&w->session, &w->pool[i], &err), 0);
	w->connected = true;
	stratum_client_connected(&w->client, w->now_ns);
}

/* Moves the bytes of one side, in pieces, through the faults. */
static struct str carry(struct world *w, struct buf *from, char *to, size_t cap)
{
	size_t n = from->n < cap ? from->n : cap;
	if (n > 1)
		n = 1 + (size_t)(rng_double(&w->rng) * (double)n);
	memcpy(to, from->data, n);
	buf_consume(from, n);
	if (rng_double(&w->rng) < w->lose)
		return (struct str){ to, 0 };
	if (rng_double(&w->rng) < w->garble)
		to[(size_t)(rng_double(&w->rng) * (double)n)] ^= (char)(1 + (int)(rng_double(&w->rng) * 254));
	return (struct str){ to, n };
}

static void exchange(struct world *w)
{
	char bytes[40000];
	act(w);
	for (int i = 0; i < 200 && w->connected && (w->client.out.n || w->session.out.n); i++) {
		if (w->client.out.n &&
		    stratum_session_input(&w->session, carry(w, &w->client.out, bytes, sizeof(bytes)),
			START_S + (uint32_t)(w->now_ns / SECOND), &err) < 0) {
			hang_up(w);
			stratum_client_closed(&w->client, w->now_ns);
		}
		act(w);
		if (w->connected && w->session.out.n)
			stratum_client_input(&w->client, carry(w, &w->session.out, bytes, sizeof(bytes)), w->now_ns);
		act(w);
	}
}

static bool is_good(const struct world *w, const struct stratum_share *s)
{
	const struct stratum_work *k = &w->client.work;
	uint8_t header[80], hash[32], target[32];
	stratum_job_header(&k->job, &k->extranonce1, &s->extranonce2, s->version, s->ntime, s->nonce, sha256d, header);
	sha256d(header, 80, hash);
	target_of_difficulty(s->difficulty, target);
	return target_met(hash, target);
}

/* Hashes until a share of the present work is found. */
static struct stratum_share mine(struct world *w, uint32_t version_bits)
{
	const struct stratum_work *k = &w->client.work;
	struct stratum_share s = { .serial = k->serial, .difficulty = k->difficulty, .ntime = k->job.ntime };
	snprintf(s.job_id, sizeof(s.job_id), "%s", k->job.id);
	s.extranonce2.n = (uint8_t)k->extranonce2_size;
	s.version = stratum_version(k->job.version, k->version_mask, version_bits);
	do
		s.nonce = ++w->nonce;
	while (!is_good(w, &s));
	return s;
}

static void advance(struct world *w, int64_t ns)
{
	w->now_ns += ns;
	stratum_client_tick(&w->client, w->now_ns);
	exchange(w);
}

static void run_up(struct world *w)
{
	stratum_client_start(&w->client, w->now_ns);
	exchange(w);
	assert_int_equal(w->client.state, STRATUM_CLIENT_RUN);
	assert_int_equal(w->client.work.serial, 1);
	assert_true(w->client.work.version_mask == STRATUM_VERSION_MASK);
	assert_true(w->client.work.difficulty == EASY);
}

static void submit(struct world *w, const struct stratum_share *s)
{
	assert_int_equal(stratum_client_submit(&w->client, s, w->now_ns, &err), 0);
	exchange(w);
}

static void shares_are_checked(void **state)
{
	struct world w;
	world_init(&w, 1);
	run_up(&w);
	struct stratum_client_stats *st = &w.client.stats;
	struct stratum_share good = mine(&w, 0), bad = good;
	submit(&w, &good);
	assert_int_equal(st->accepted, 1);
	submit(&w, &good);
	assert_int_equal(st->last_error, STRATUM_E_DUPLICATE);
	while (is_good(&w, &bad))
		bad.nonce++;
	submit(&w, &bad);
	assert_int_equal(st->last_error, STRATUM_E_LOW_DIFFICULTY);
	bad = good;
	bad.ntime += STRATUM_NTIME_AHEAD_S + 1;
	submit(&w, &bad);
	assert_int_equal(st->last_error, STRATUM_E_OTHER);
	bad = good;
	bad.extranonce2.n = 3;
	submit(&w, &bad);
	assert_int_equal(st->rejected, 4);
	for (uint32_t i = 1; i < 20; i++) {
		struct stratum_share s = mine(&w, i << 13);
		assert_int_equal(s.version, 0x20000000 | i << 13);
		submit(&w, &s);
		assert_int_equal(st->accepted, i + 1);
	}
	assert_int_equal(w.accepted[0], 20);
	assert_int_equal(w.session.stats.duplicate, 1);
	assert_int_equal(w.session.stats.low, 1);
	assert_int_equal(w.session.stats.refused, 2);
	world_release(&w);
}

static void refuses_by_the_book(void **state)
{
	static const struct {
		const char *line, *answer;
	} talk[] = {
		{ "{\"id\":1,\"method\":\"mining.submit\",\"params\":[\"acc.rig\",\"1\",\"00000000\",\"0\",\"0\"]}\n",
			"{\"id\":1,\"result\":null,\"error\":[25,\"Not subscribed\",null]}\n" },
		{ "{\"id\":2,\"method\":\"mining.configure\",\"params\":[[\"version-rolling\"],"
			"{\"version-rolling.mask\":\"0000ffff\",\"version-rolling.min-bit-count\":4}]}\n",
			"{\"id\":2,\"result\":{\"version-rolling\":false},\"error\":null}\n" },
		{ "{\"id\":3,\"method\":\"mining.subscribe\",\"params\":[]}\n", NULL },
		{ "{\"id\":4,\"method\":\"mining.submit\",\"params\":[\"acc.rig\",\"1\",\"00000000\",\"0\",\"0\"]}\n",
			"{\"id\":4,\"result\":null,\"error\":[24,\"Unauthorized worker\",null]}\n" },
		{ "{\"id\":5,\"method\":\"mining.authorize\",\"params\":[\"thief\",\"x\"]}\n",
			"{\"id\":5,\"result\":null,\"error\":[24,\"Unauthorized worker\",null]}\n" },
		{ "{\"id\":6,\"method\":\"mining.authorize\",\"params\":[\"acc.rig\",\"x\"]}\n",
			"{\"id\":6,\"result\":true,\"error\":null}\n" },
		{ "{\"id\":7,\"method\":\"mining.submit\",\"params\":[\"acc.rig\",\"nope\",\"00000000\",\"0\",\"0\"]}\n",
			"{\"id\":7,\"result\":null,\"error\":[21,\"Job not found (=stale)\",null]}\n" },
		{ "{\"id\":8,\"method\":\"mining.submit\",\"params\":[\"acc.rig\",\"1\",\"00000000\",\"6553f100\",\"0\","
			"\"00002000\"]}\n", "{\"id\":8,\"result\":null,\"error\":[20,\"version bits outside the mask\",null]}\n" },
		{ "{\"id\":9,\"method\":\"mining.nonsense\"}\n",
			"{\"id\":9,\"result\":null,\"error\":[20,\"unknown method\",null]}\n" },
	};
	struct world w;
	world_init(&w, 2);
	assert_int_equal(stratum_session_init(&w.session, &w.pool[0], &err), 0);
	w.connected = true;
	for (size_t i = 0; i < sizeof(talk) / sizeof(talk[0]); i++) {
		assert_int_equal(stratum_session_input(&w.session, str_of(talk[i].line), START_S, &err), 0);
		if (talk[i].answer)
			assert_string_equal(w.session.out.data, talk[i].answer);
		buf_clear(&w.session.out);
	}
	int rc = 0;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(rc, 0);
		rc = stratum_session_input(&w.session, STR("rubbish\n"), START_S, &err);
	}
	assert_int_equal(rc, HCP_EPROTO);
	world_release(&w);
}

static void difficulty_and_jobs(void **state)
{
	struct world w;
	world_init(&w, 3);
	run_up(&w);
	struct stratum_share old = mine(&w, 0);
	stratum_session_set_difficulty(&w.session, EASY * 2);
	exchange(&w);
	assert_true(w.client.work.difficulty == EASY);
	/* Not clean: shares of the first job still count, at the first job's difficulty. */
	stratum_pool_set_job(&w.pool[0], make_job(1, false));
	stratum_session_send_job(&w.session);
	exchange(&w);
	assert_true(w.client.work.difficulty == EASY * 2);
	assert_int_equal(stratum_client_submit(&w.client, &old, w.now_ns, &err), 0);
	exchange(&w);
	assert_int_equal(w.client.stats.accepted, 1);
	assert_true(w.client.stats.difficulty_accepted == EASY);
	/* Clean, but the share is on its way before the client knows. */
	old = mine(&w, 0);
	stratum_pool_set_job(&w.pool[0], make_job(2, true));
	assert_int_equal(stratum_client_submit(&w.client, &old, w.now_ns, &err), 0);
	exchange(&w);
	assert_int_equal(w.client.stats.stale, 1);
	stratum_session_send_job(&w.session);
	exchange(&w);
	assert_int_equal(stratum_client_submit(&w.client, &old, w.now_ns, &err), HCP_ESTATE);
	assert_int_equal(w.client.stats.stale, 2);
	/* Extranonce: from the next job on. */
	struct stratum_extranonce e = { .extranonce1 = { 2, { 1, 2 } }, .extranonce2_size = 6 };
	stratum_write_set_extranonce(&w.session.out, &e);
	stratum_write_set_version_mask(&w.session.out, 0x00006000);
	exchange(&w);
	assert_int_equal(w.client.work.extranonce1.n, 4);
	assert_true(w.client.work.version_mask == 0x6000);
	stratum_session_send_job(&w.session);
	exchange(&w);
	assert_int_equal(w.client.work.extranonce1.n, 2);
	assert_int_equal(w.client.work.extranonce2_size, 6);
	/* Small talk. */
	stratum_write_ping(&w.session.out, 1);
	stratum_write_show_message(&w.session.out, "hello");
	stratum_write_reconnect(&w.session.out, "thief.example", 1, 5);
	exchange(&w);
	assert_string_equal(w.client.message, "hello");
	assert_int_equal(w.client.state, STRATUM_CLIENT_WAIT);
	assert_int_equal(w.client.pool, 0);
	advance(&w, 4 * SECOND);
	assert_int_equal(w.client.state, STRATUM_CLIENT_WAIT);
	advance(&w, 2 * SECOND);
	assert_int_equal(w.client.state, STRATUM_CLIENT_RUN);
	world_release(&w);
}

static void fails_over_with_backoff(void **state)
{
	struct world w;
	world_init(&w, 4);
	w.reachable[0] = false;
	stratum_client_start(&w.client, w.now_ns);
	exchange(&w);
	assert_int_equal(w.client.state, STRATUM_CLIENT_WAIT);
	advance(&w, SECOND);
	assert_int_equal(w.client.state, STRATUM_CLIENT_RUN);
	assert_int_equal(w.client.pool, 1);
	/* A share without an answer: the deadline ends the connection, the share is lost. */
	struct stratum_share s = mine(&w, 0);
	assert_int_equal(stratum_client_submit(&w.client, &s, w.now_ns, &err), 0);
	buf_clear(&w.client.out);
	w.reachable[1] = false;
	advance(&w, 9 * SECOND);
	assert_int_equal(w.client.state, STRATUM_CLIENT_RUN);
	advance(&w, SECOND);
	assert_int_equal(w.client.stats.lost, 1);
	assert_int_equal(w.stops, 1);
	assert_string_equal(w.client.last_failure, "the pool does not answer");
	/* All pools dead: waits grow to the limit and stay within it. */
	int64_t longest = 0;
	for (int i = 0; i < 40; i++) {
		int64_t wait = stratum_client_wake_ns(&w.client) - w.now_ns;
		assert_true(wait >= SECOND / 2 && wait <= 60 * SECOND);
		longest = wait > longest ? wait : longest;
		advance(&w, wait);
		assert_int_equal(w.client.state, STRATUM_CLIENT_WAIT);
	}
	assert_true(longest > 30 * SECOND);
	assert_true(w.connects[0] > 15 && w.connects[1] > 15);
	w.reachable[0] = w.reachable[1] = true;
	advance(&w, 60 * SECOND);
	assert_int_equal(w.client.state, STRATUM_CLIENT_RUN);
	/* Silence is death too. */
	advance(&w, 61 * SECOND);
	assert_int_not_equal(w.client.stats.failures, 0);
	world_release(&w);
}

/* Thousands of exchanges with lost and garbled bytes: it comes back each time, and no pool accepts a false share. */
static void survives_faults(void **state)
{
	int64_t before = mem_live();
	for (uint64_t seed = 10; seed < 30; seed++) {
		struct world w;
		world_init(&w, seed);
		stratum_client_start(&w.client, w.now_ns);
		w.lose = 0.02;
		w.garble = 0.05;
		for (uint32_t i = 0; i < 300; i++) {
			advance(&w, SECOND);
			if (i % 10 == 0 && w.connected) {
				struct stratum_pool *p = w.session.pool;
				stratum_pool_set_job(p, make_job(i, i % 20 == 0));
				stratum_session_send_job(&w.session);
				exchange(&w);
			}
			if (w.client.state != STRATUM_CLIENT_RUN || w.client.work.serial < w.client.clean_serial ||
			    !w.client.work.serial || w.client.work.difficulty > EASY)
				continue;
			struct stratum_share s = mine(&w, i << 13);
			(void)!stratum_client_submit(&w.client, &s, w.now_ns, &err);
			exchange(&w);
		}
		assert_true(w.client.stats.accepted > 0);
		assert_true(w.client.stats.accepted <= w.accepted[0] + w.accepted[1]);
		assert_true(w.client.stats.failures > 0);
		w.lose = w.garble = 0;
		for (int i = 0; i < 200 && w.client.state != STRATUM_CLIENT_RUN; i++)
			advance(&w, SECOND);
		assert_int_equal(w.client.state, STRATUM_CLIENT_RUN);
		world_release(&w);
	}
	assert_int_equal(mem_live(), before);
}

/* A session with the nth allocation failing: it says so and closes, and nothing leaks. */
static void session_survives_lack_of_memory(void **state)
{
	static const char talk[] = "{\"id\":3,\"method\":\"mining.subscribe\",\"params\":[]}\n"
		"{\"id\":6,\"method\":\"mining.authorize\",\"params\":[\"acc.rig\",\"x\"]}\n";
	int64_t before = mem_live();
	struct stratum_pool_conf conf = { .sha256d = sha256d, .extranonce2_size = 4, .difficulty = EASY, .agent = "p" };
	uint64_t n = 1, hits = 1;
	for (; hits; n++) {
		struct stratum_pool pool;
		struct stratum_session s;
		mem_fail_after(n, 0);
		int rc = stratum_pool_init(&pool, &conf);
		if (rc == 0) {
			stratum_pool_set_job(&pool, make_job(0, true));
			rc = stratum_session_init(&s, &pool, &err);
			assert_int_equal(rc, 0);
			rc = stratum_session_input(&s, STR(talk), START_S, &err);
			stratum_session_release(&s);
		}
		stratum_pool_release(&pool);
		hits = mem_fail_hits();
		mem_fail_after(0, 0);
		assert_true(hits ? rc == HCP_ENOMEM || rc == HCP_ELIMIT : rc == 0);
	}
	assert_true(n > 3);
	assert_int_equal(mem_live(), before);
}

static void targets(void **state)
{
	uint8_t t[32], u[32];
	target_of_difficulty(1, t);
	target_of_nbits(0x1d00ffff, u);
	assert_memory_equal(t, u, 32);
	assert_int_equal(t[26], 0xff);
	assert_int_equal(t[27], 0xff);
	assert_int_equal(t[28], 0);
	target_of_difficulty(2, u);
	assert_int_equal(u[27], 0x7f);
	assert_true(target_met(u, t));
	assert_false(target_met(t, u));
	assert_true(target_met(t, t));
	target_of_difficulty(1e-20, t);
	assert_int_equal(t[31], 0xff);
	target_of_difficulty(1e70, t);
	memset(u, 0, 32);
	assert_memory_equal(t, u, 32);
	target_of_nbits(0x01800000, t);
	assert_memory_equal(t, u, 32);
	target_of_nbits(0xff123456, t);
	assert_memory_equal(t, u, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(targets), cmocka_unit_test(shares_are_checked), cmocka_unit_test(refuses_by_the_book),
		cmocka_unit_test(difficulty_and_jobs), cmocka_unit_test(fails_over_with_backoff),
		cmocka_unit_test(survives_faults), cmocka_unit_test(session_survives_lack_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
