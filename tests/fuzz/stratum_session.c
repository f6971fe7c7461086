/* Any bytes to a pool's session and to a client: first byte odd for the client. Time passes with every piece. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "stratum/client.h"
#include "stratum/pool.h"

/* Stands for SHA-256d: the fuzzer need not hash, only the lengths matter. */
static void fold(const void *p, size_t n, uint8_t ret[32])
{
	const uint8_t *b = p;
	uint8_t sum[32] = { 0 };
	for (size_t i = 0; i < n; i++)
		sum[i % 32] = (uint8_t)(sum[i % 32] * 5 + b[i]);
	sum[31] &= 1;
	memcpy(ret, sum, 32);
}

static void to_pool(struct str bytes)
{
	static struct stratum_job job = { .version = 0x20000000, .nbits = 0x207fffff, .ntime = 1, .coinb1_n = 9 };
	struct stratum_pool_conf conf = { .sha256d = fold, .extranonce2_size = 4, .version_mask = STRATUM_VERSION_MASK,
		.difficulty = 1.0 / (1 << 30), .difficulty_min = 1.0 / (1 << 30), .agent = "pool" };
	struct stratum_pool pool;
	struct stratum_session s;
	if (stratum_pool_init(&pool, &conf))
		abort();
	stratum_pool_set_job(&pool, &job);
	if (stratum_session_init(&s, &pool, NULL))
		abort();
	if (stratum_session_input(&s, bytes, 1, NULL) == 0) {
		stratum_pool_set_job(&pool, &job);
		stratum_session_send_job(&s);
	}
	stratum_session_release(&s);
	stratum_pool_release(&pool);
}

static void to_client(struct str bytes)
{
	struct stratum_client_conf conf = { .n_pools = 1, .agent = "hcp", .version_mask = STRATUM_VERSION_MASK,
		.extranonce_subscribe = true, .response_timeout_ns = 50, .idle_timeout_ns = 90, .backoff_min_ns = 1,
		.backoff_max_ns = 8 };
	conf.pools[0] = (struct stratum_pool_address){ .host = "h", .port = 1, .worker = "w", .password = "x" };
	static struct stratum_client c;
	struct rng rng;
	int64_t now_ns = 1;
	rng_init(&rng, bytes.n);
	stratum_client_init(&c, &conf, &rng);
	stratum_client_start(&c, now_ns);
	while (bytes.n) {
		size_t n = bytes.n < 97 ? bytes.n : 97;
		if (stratum_client_actions(&c) & STRATUM_DO_CONNECT)
			stratum_client_connected(&c, now_ns);
		stratum_client_input(&c, (struct str){ bytes.p, n }, now_ns);
		struct stratum_share share = { .serial = c.work.serial, .extranonce2 = { 4, { 0 } } };
		if (c.work.serial)
			(void)!stratum_client_submit(&c, &share, now_ns, NULL);
		buf_clear(&c.out);
		stratum_client_tick(&c, ++now_ns);
		bytes.p += n;
		bytes.n -= n;
	}
	stratum_client_closed(&c, now_ns);
	stratum_client_release(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (!n)
		return 0;
	if (p[0] & 1)
		to_client((struct str){ (const char *)p + 1, n - 1 });
	else
		to_pool((struct str){ (const char *)p + 1, n - 1 });
	return 0;
}
