#include "agent/miner.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "device/cpu_device.h"
#include "loop/loop.h"
#include "loop/stream.h"

#define MS 1000000LL

struct miner {
	struct miner_conf conf;
	struct stratum_client client;
	struct rng rng;
	struct stream *stream; /* NULL: none */
	struct loop_timer timer;
	uint64_t accepted, rejected; /* as told to on_shares */
	bool up;
	struct fill_job job;
};

static void run(struct miner *m);

static int64_t now(const struct miner *m)
{
	return loop_now_ns(m->conf.loop);
}

static void on_open(struct stream *s, void *arg)
{
	struct miner *m = arg;
	if (m->stream != s)
		return;
	stratum_client_connected(&m->client, now(m));
	run(m);
}

static void on_data(struct stream *s, void *arg, const uint8_t *p, size_t n)
{
	struct miner *m = arg;
	if (m->stream != s)
		return;
	stratum_client_input(&m->client, (struct str){ (const char *)p, n }, now(m));
	run(m);
}

static void on_close(struct stream *s, void *arg, int code, const char *why)
{
	struct miner *m = arg;
	if (!m || m->stream != s)
		return; /* we closed it ourselves */
	m->stream = NULL;
	stratum_client_closed(&m->client, now(m));
	run(m);
}

static const struct stream_ops stream_ops = { .on_open = on_open, .on_data = on_data, .on_close = on_close };

static void hang_up(struct miner *m)
{
	if (!m->stream)
		return;
	struct stream *s = m->stream;
	m->stream = NULL;
	stream_set_ops(s, &stream_ops, NULL);
	stream_abort(s, HCP_ECANCELED, "the pool is left");
}

static void dial(struct miner *m)
{
	const struct stratum_pool_address *p = &m->conf.pools[m->client.pool];
	struct stream_conf sc = { .ops = &stream_ops, .arg = m, .connect_timeout_ms = 10000 };
	struct err err;
	if (stream_connect(m->conf.loop, p->host, p->port, &sc, &m->stream, &err) == 0)
		return;
	m->stream = NULL;
	stratum_client_closed(&m->client, now(m));
}

static void give_work(struct miner *m)
{
	const struct stratum_work *w = &m->client.work;
	m->job.serial = w->serial;
	m->job.job = w->job;
	m->job.extranonce1 = w->extranonce1;
	m->job.extranonce2_size = w->extranonce2_size;
	m->job.version_mask = w->version_mask;
	m->job.difficulty = w->difficulty;
	cpu_device_set_job(m->conf.device, &m->job);
	if (!m->up)
		log_info("pool", "work from %s:%u, difficulty %g", m->conf.pools[m->client.pool].host,
			m->conf.pools[m->client.pool].port, w->difficulty);
	m->up = true;
}

static void stop_work(struct miner *m)
{
	cpu_device_set_job(m->conf.device, NULL);
	if (m->up)
		log_warn("pool", "no work: %s", m->client.last_failure);
	m->up = false;
}

static void count(struct miner *m)
{
	const struct stratum_client_stats *s = &m->client.stats;
	uint64_t bad = s->rejected + s->stale;
	if (s->accepted == m->accepted && bad == m->rejected)
		return;
	if (m->conf.on_shares)
		m->conf.on_shares(m->conf.arg, (int64_t)(s->accepted - m->accepted), (int64_t)(bad - m->rejected));
	m->accepted = s->accepted;
	m->rejected = bad;
}

/* Does what the client wants, sends what it wrote, sets the timer. */
static void run(struct miner *m)
{
	unsigned actions;
	while ((actions = stratum_client_actions(&m->client)) != 0) {
		if (actions & STRATUM_DO_CLOSE)
			hang_up(m);
		if (actions & STRATUM_DO_STOP_WORK)
			stop_work(m);
		if (actions & STRATUM_DO_CONNECT)
			dial(m);
		if (actions & STRATUM_DO_WORK)
			give_work(m);
		if (actions & STRATUM_DO_SHOW)
			log_info("pool", "says: %s", m->client.message);
	}
	struct buf *out = &m->client.out;
	if (m->stream && out->n) {
		/* A refused write means a pool that does not read: the client's own deadlines end that. */
		if (stream_write(m->stream, out->data, out->n) == 0)
			buf_consume(out, out->n);
	}
	count(m);
	int64_t wake_ns = stratum_client_wake_ns(&m->client);
	if (wake_ns == INT64_MAX) {
		loop_timer_stop(&m->timer);
		return;
	}
	int64_t wait_ns = wake_ns - now(m);
	loop_timer_start(&m->timer, wait_ns <= 0 ? 0 : (uint64_t)((wait_ns + MS - 1) / MS));
}

static void on_timer(struct loop *loop, void *arg)
{
	struct miner *m = arg;
	if (now(m) >= stratum_client_wake_ns(&m->client))
		stratum_client_tick(&m->client, now(m));
	run(m);
}

int miner_new(const struct miner_conf *conf, struct miner **ret, struct err *err)
{
	struct miner *m = mem_calloc(1, sizeof(*m));
	if (!m)
		return err_set(err, HCP_ENOMEM, "", "no memory for the pool client");
	m->conf = *conf;
	rng_init(&m->rng, conf->seed);
	struct stratum_client_conf cc = { .n_pools = conf->n_pools, .agent = "hcp-agent/0.1",
		.version_mask = STRATUM_VERSION_MASK, .extranonce_subscribe = true, .response_timeout_ns = 10000 * MS,
		.idle_timeout_ns = 300000 * MS,
		.backoff_min_ns = (conf->backoff_min_ms ? conf->backoff_min_ms : 500) * MS,
		.backoff_max_ns = (conf->backoff_max_ms ? conf->backoff_max_ms : 30000) * MS };
	memcpy(cc.pools, conf->pools, sizeof(cc.pools));
	stratum_client_init(&m->client, &cc, &m->rng);
	loop_timer_init(&m->timer, conf->loop, on_timer, m);
	stratum_client_start(&m->client, now(m));
	run(m);
	*ret = m;
	return 0;
}

void miner_free(struct miner *m)
{
	if (!m)
		return;
	loop_timer_stop(&m->timer);
	hang_up(m);
	cpu_device_set_job(m->conf.device, NULL);
	stratum_client_release(&m->client);
	mem_free(m);
}

void miner_collect(struct miner *m)
{
	struct fill_share f;
	bool any = false;
	while (cpu_device_take_share(m->conf.device, &f)) {
		struct stratum_share s = { .serial = f.serial, .difficulty = f.difficulty, .extranonce2 = f.extranonce2,
			.ntime = f.ntime, .nonce = f.nonce, .version = f.version };
		memcpy(s.job_id, f.job_id, sizeof(s.job_id));
		/* A refusal is counted by the client: the job became void meanwhile, or too many shares are unanswered. */
		if (stratum_client_submit(&m->client, &s, now(m), NULL) < 0)
			log_debug("pool", "a share of job %s came too late", f.job_id);
		any = true;
	}
	if (any)
		run(m);
}

void miner_stats(const struct miner *m, struct miner_stats *ret)
{
	static const char *const names[] = { "wait", "connect", "configure", "subscribe", "authorize", "run" };
	const struct stratum_pool_address *p = &m->conf.pools[m->client.pool];
	*ret = (struct miner_stats){ .up = m->up, .state = names[m->client.state], .host = p->host, .port = p->port,
		.difficulty = m->client.work.difficulty, .stratum = m->client.stats, .last_failure = m->client.last_failure };
}
