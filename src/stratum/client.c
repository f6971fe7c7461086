#include "stratum/client.h"

#include <stdio.h>

#include "base/num.h"
#include "base/panic.h"

/* The one place where the state changes. Allowed: what the drawing in the header shows. */
static void set_state(struct stratum_client *c, enum stratum_client_state next, int64_t deadline_ns)
{
	static const uint8_t allowed[] = {
		[STRATUM_CLIENT_WAIT] = 1 << STRATUM_CLIENT_CONNECT | 1 << STRATUM_CLIENT_WAIT,
		[STRATUM_CLIENT_CONNECT] = 1 << STRATUM_CLIENT_CONFIGURE | 1 << STRATUM_CLIENT_SUBSCRIBE |
			1 << STRATUM_CLIENT_WAIT,
		[STRATUM_CLIENT_CONFIGURE] = 1 << STRATUM_CLIENT_SUBSCRIBE | 1 << STRATUM_CLIENT_WAIT,
		[STRATUM_CLIENT_SUBSCRIBE] = 1 << STRATUM_CLIENT_AUTHORIZE | 1 << STRATUM_CLIENT_WAIT,
		[STRATUM_CLIENT_AUTHORIZE] = 1 << STRATUM_CLIENT_RUN | 1 << STRATUM_CLIENT_WAIT,
		[STRATUM_CLIENT_RUN] = 1 << STRATUM_CLIENT_WAIT,
	};
	must(allowed[c->state] >> next & 1);
	c->state = next;
	c->deadline_ns = deadline_ns;
}

void stratum_client_init(struct stratum_client *c, const struct stratum_client_conf *conf, struct rng *rng)
{
	must(conf->n_pools >= 1 && conf->n_pools <= STRATUM_POOLS_MAX);
	memset(c, 0, sizeof(*c));
	c->conf = *conf;
	c->rng = rng;
	c->next_id = 1;
	c->deadline_ns = INT64_MAX;
	buf_init(&c->in, STRATUM_LINE_MAX + 2);
	buf_init(&c->out, STRATUM_OUT_MAX);
}

void stratum_client_release(struct stratum_client *c)
{
	buf_release(&c->in);
	buf_release(&c->out);
}

unsigned stratum_client_actions(struct stratum_client *c)
{
	unsigned actions = c->actions;
	c->actions = 0;
	return actions;
}

/* The connection is over: counts what was lost and waits before the pool `next`. */
static void drop(struct stratum_client *c, size_t next, int64_t wait_ns, int64_t now_ns)
{
	for (int i = 0; i < STRATUM_PENDING_MAX; i++) {
		if (c->pending[i].id && c->pending[i].method == STRATUM_SUBMIT)
			c->stats.lost++;
		c->pending[i].id = 0;
	}
	if (c->work.serial >= c->clean_serial && c->work.serial)
		c->actions |= STRATUM_DO_STOP_WORK;
	c->actions &= ~(unsigned)(STRATUM_DO_WORK | STRATUM_DO_CONNECT);
	c->clean_serial = c->work.serial + 1;
	c->garbled = 0;
	buf_clear(&c->in);
	buf_clear(&c->out);
	c->pool = next;
	set_state(c, STRATUM_CLIENT_WAIT, now_ns + wait_ns);
}

/* Exponential once every pool of the list has failed, half of it random so that fleets do not come back at once. */
static int64_t backoff_ns(struct stratum_client *c)
{
	unsigned rounds = c->failures / (unsigned)c->conf.n_pools;
	double ns = (double)c->conf.backoff_min_ns;
	for (unsigned i = 0; i < rounds && ns < (double)c->conf.backoff_max_ns; i++)
		ns *= 2;
	if (ns > (double)c->conf.backoff_max_ns)
		ns = (double)c->conf.backoff_max_ns;
	return (int64_t)(ns * (0.5 + 0.5 * rng_double(c->rng)));
}

static void fail(struct stratum_client *c, int64_t now_ns, const char *why)
{
	snprintf(c->last_failure, sizeof(c->last_failure), "%s", why);
	c->stats.failures++;
	int64_t wait_ns = backoff_ns(c);
	c->failures++;
	c->actions |= STRATUM_DO_CLOSE;
	drop(c, (c->pool + 1) % c->conf.n_pools, wait_ns, now_ns);
}

void stratum_client_closed(struct stratum_client *c, int64_t now_ns)
{
	if (c->state == STRATUM_CLIENT_WAIT)
		return;
	fail(c, now_ns, c->state == STRATUM_CLIENT_CONNECT ? "the pool cannot be reached" : "the pool closed");
	c->actions &= ~(unsigned)STRATUM_DO_CLOSE;
}

static struct stratum_pending *expect(struct stratum_client *c, enum stratum_method method, int64_t now_ns)
{
	for (int i = 0; i < STRATUM_PENDING_MAX; i++) {
		struct stratum_pending *p = &c->pending[i];
		if (p->id)
			continue;
		*p = (struct stratum_pending){ .id = c->next_id++, .method = method,
			.deadline_ns = now_ns + c->conf.response_timeout_ns };
		return p;
	}
	return NULL;
}

/* Requests of the handshake; there is always room, as one waits at a time. */
static uint64_t ask(struct stratum_client *c, enum stratum_method method, int64_t now_ns)
{
	struct stratum_pending *p = expect(c, method, now_ns);
	must(p);
	return p->id;
}

static void subscribe(struct stratum_client *c, int64_t now_ns)
{
	set_state(c, STRATUM_CLIENT_SUBSCRIBE, now_ns + c->conf.response_timeout_ns);
	stratum_write_subscribe(&c->out, ask(c, STRATUM_SUBSCRIBE, now_ns), c->conf.agent, NULL);
}

void stratum_client_start(struct stratum_client *c, int64_t now_ns)
{
	set_state(c, STRATUM_CLIENT_WAIT, now_ns);
	stratum_client_tick(c, now_ns);
}

void stratum_client_connected(struct stratum_client *c, int64_t now_ns)
{
	if (c->state != STRATUM_CLIENT_CONNECT)
		return;
	c->stats.connects++;
	c->heard_ns = now_ns;
	c->next_difficulty = 1;
	c->work.version_mask = 0;
	if (!c->conf.version_mask) {
		subscribe(c, now_ns);
		return;
	}
	struct stratum_configure want = { .version_rolling = true, .mask = c->conf.version_mask, .min_bit_count = 2 };
	set_state(c, STRATUM_CLIENT_CONFIGURE, now_ns + c->conf.response_timeout_ns);
	stratum_write_configure(&c->out, ask(c, STRATUM_CONFIGURE, now_ns), &want);
}

static void set_mask(struct stratum_client *c, uint32_t mask)
{
	c->work.version_mask = mask & c->conf.version_mask;
	if (c->work.serial >= c->clean_serial && c->work.serial)
		c->actions |= STRATUM_DO_WORK;
}

static void on_subscribed(struct stratum_client *c, const struct stratum_msg *m, int64_t now_ns)
{
	const struct stratum_pool_address *pool = &c->conf.pools[c->pool];
	if (m->response.failed || stratum_read_subscribe(m->response.result, &c->extranonce, NULL) < 0) {
		fail(c, now_ns, "the pool refused the subscription");
		return;
	}
	set_state(c, STRATUM_CLIENT_AUTHORIZE, now_ns + c->conf.response_timeout_ns);
	if (c->conf.extranonce_subscribe)
		stratum_write_extranonce_subscribe(&c->out, c->next_id++); /* the answer does not matter */
	stratum_write_authorize(&c->out, ask(c, STRATUM_AUTHORIZE, now_ns), pool->worker, pool->password);
}

static void on_authorized(struct stratum_client *c, const struct stratum_msg *m, int64_t now_ns)
{
	bool yes = false;
	if (m->response.failed || stratum_read_bool(m->response.result, &yes, NULL) < 0 || !yes) {
		fail(c, now_ns, "the pool refused the worker");
		return;
	}
	set_state(c, STRATUM_CLIENT_RUN, INT64_MAX);
	if (c->conf.suggest_difficulty > 0)
		stratum_write_suggest_difficulty(&c->out, c->next_id++, c->conf.suggest_difficulty);
}

static void on_share_answer(struct stratum_client *c, const struct stratum_msg *m, double difficulty)
{
	bool yes = false;
	if (!m->response.failed && stratum_read_bool(m->response.result, &yes, NULL) == 0 && yes) {
		c->stats.accepted++;
		c->stats.difficulty_accepted += difficulty;
		return;
	}
	c->stats.last_error = m->response.failed ? m->response.code : STRATUM_E_OTHER;
	if (c->stats.last_error == STRATUM_E_JOB_NOT_FOUND)
		c->stats.stale++;
	else
		c->stats.rejected++;
}

static void on_response(struct stratum_client *c, const struct stratum_msg *m, int64_t now_ns)
{
	uint64_t id;
	struct stratum_configure given;
	struct stratum_pending *p = NULL;
	if (num_parse_u64(m->id, &id) < 0)
		return;
	for (int i = 0; id && i < STRATUM_PENDING_MAX; i++)
		if (c->pending[i].id == id)
			p = &c->pending[i];
	if (!p)
		return;
	p->id = 0;
	switch (p->method) {
	case STRATUM_CONFIGURE:
		/* A pool without BIP 310 answers with an error: no version rolling then. */
		if (!m->response.failed && stratum_read_configure(m->response.result, &given, NULL) == 0)
			set_mask(c, given.version_rolling ? given.mask : 0);
		subscribe(c, now_ns);
		break;
	case STRATUM_SUBSCRIBE: on_subscribed(c, m, now_ns); break;
	case STRATUM_AUTHORIZE: on_authorized(c, m, now_ns); break;
	default: on_share_answer(c, m, p->difficulty); break;
	}
}

static void on_job(struct stratum_client *c, const struct stratum_job *job)
{
	/* Before the subscription is answered there is no extranonce to hash with. */
	if (c->state != STRATUM_CLIENT_AUTHORIZE && c->state != STRATUM_CLIENT_RUN)
		return;
	c->work.serial++;
	c->work.job = *job;
	c->work.extranonce1 = c->extranonce.extranonce1;
	c->work.extranonce2_size = c->extranonce.extranonce2_size;
	c->work.difficulty = c->next_difficulty;
	if (job->clean)
		c->clean_serial = c->work.serial;
	c->stats.jobs++;
	if (c->state == STRATUM_CLIENT_RUN)
		c->failures = 0;
	c->actions |= STRATUM_DO_WORK;
	c->actions &= ~(unsigned)STRATUM_DO_STOP_WORK;
}

static void on_call(struct stratum_client *c, const struct stratum_msg *m, int64_t now_ns)
{
	int64_t wait_s;
	switch (m->method) {
	case STRATUM_NOTIFY: on_job(c, &m->job); break;
	case STRATUM_SET_DIFFICULTY: c->next_difficulty = m->difficulty; break;
	case STRATUM_SET_VERSION_MASK: set_mask(c, m->mask); break;
	case STRATUM_SET_EXTRANONCE:
		c->extranonce.extranonce1 = m->extranonce.extranonce1;
		c->extranonce.extranonce2_size = m->extranonce.extranonce2_size;
		break;
	case STRATUM_RECONNECT:
		/* Never to another host than configured: that is how hash rate is stolen. */
		wait_s = m->reconnect.wait_s < STRATUM_RECONNECT_MAX_S ? m->reconnect.wait_s : STRATUM_RECONNECT_MAX_S;
		snprintf(c->last_failure, sizeof(c->last_failure), "the pool asked to reconnect");
		c->actions |= STRATUM_DO_CLOSE;
		drop(c, c->pool, wait_s * 1000000000, now_ns);
		break;
	case STRATUM_GET_VERSION: stratum_write_string(&c->out, m->id, c->conf.agent); break;
	case STRATUM_PING: stratum_write_string(&c->out, m->id, "pong"); break;
	case STRATUM_SHOW_MESSAGE:
		memcpy(c->message, m->message, sizeof(c->message));
		c->actions |= STRATUM_DO_SHOW;
		break;
	default:
		if (m->kind == STRATUM_REQUEST)
			stratum_write_error(&c->out, m->id, STRATUM_E_OTHER, "unknown method");
		break;
	}
}

static void on_line(struct stratum_client *c, struct str line, int64_t now_ns)
{
	struct stratum_msg m;
	if (str_trim(line).n == 0)
		return;
	if (stratum_parse(line, &m, NULL) < 0) {
		c->stats.garbled++;
		if (++c->garbled >= STRATUM_GARBLED_MAX)
			fail(c, now_ns, "the pool sends garbage");
		return;
	}
	c->garbled = 0;
	c->heard_ns = now_ns;
	if (m.kind == STRATUM_RESPONSE)
		on_response(c, &m, now_ns);
	else
		on_call(c, &m, now_ns);
	if (c->state != STRATUM_CLIENT_WAIT && buf_failed(&c->out))
		fail(c, now_ns, "the pool does not read");
}

void stratum_client_input(struct stratum_client *c, struct str bytes, int64_t now_ns)
{
	while (bytes.n && c->state > STRATUM_CLIENT_CONNECT) {
		const char *lf = memchr(bytes.p, '\n', bytes.n);
		size_t n = lf ? (size_t)(lf - bytes.p) : bytes.n;
		buf_add(&c->in, bytes.p, n);
		if (buf_failed(&c->in) || c->in.n > STRATUM_LINE_MAX + 1) {
			fail(c, now_ns, "the pool sends a line that does not end");
			return;
		}
		if (!lf)
			return;
		bytes.p += n + 1;
		bytes.n -= n + 1;
		on_line(c, buf_str(&c->in), now_ns);
		buf_clear(&c->in);
	}
}

int64_t stratum_client_wake_ns(const struct stratum_client *c)
{
	int64_t at = c->deadline_ns;
	if (c->state <= STRATUM_CLIENT_CONNECT)
		return at;
	if (c->heard_ns + c->conf.idle_timeout_ns < at)
		at = c->heard_ns + c->conf.idle_timeout_ns;
	for (int i = 0; i < STRATUM_PENDING_MAX; i++)
		if (c->pending[i].id && c->pending[i].deadline_ns < at)
			at = c->pending[i].deadline_ns;
	return at;
}

void stratum_client_tick(struct stratum_client *c, int64_t now_ns)
{
	if (now_ns < stratum_client_wake_ns(c))
		return;
	if (c->state == STRATUM_CLIENT_WAIT) {
		set_state(c, STRATUM_CLIENT_CONNECT, now_ns + c->conf.response_timeout_ns);
		c->actions |= STRATUM_DO_CONNECT;
		return;
	}
	fail(c, now_ns, c->state == STRATUM_CLIENT_CONNECT ? "connecting takes too long" : "the pool does not answer");
}

int stratum_client_submit(struct stratum_client *c, const struct stratum_share *s, int64_t now_ns, struct err *err)
{
	struct stratum_submit out = { .ntime = s->ntime, .nonce = s->nonce, .extranonce2 = s->extranonce2 };
	if (c->state != STRATUM_CLIENT_RUN)
		return err_set(err, HCP_ESTATE, "", "no pool to submit to");
	if (s->serial < c->clean_serial) {
		c->stats.stale++;
		return err_set(err, HCP_ESTATE, "job_id", "job %s is void", s->job_id);
	}
	struct stratum_pending *p = expect(c, STRATUM_SUBMIT, now_ns);
	if (!p)
		return err_set(err, HCP_ELIMIT, "", "%d shares wait for an answer", STRATUM_PENDING_MAX);
	p->difficulty = s->difficulty;
	out.has_version_bits = c->work.version_mask != 0;
	out.version_bits = s->version & c->work.version_mask;
	snprintf(out.worker, sizeof(out.worker), "%s", c->conf.pools[c->pool].worker);
	snprintf(out.job_id, sizeof(out.job_id), "%s", s->job_id);
	stratum_write_submit(&c->out, p->id, &out);
	if (buf_failed(&c->out)) {
		fail(c, now_ns, "the pool does not read");
		return err_set(err, HCP_ELIMIT, "", "the pool does not read");
	}
	c->stats.submitted++;
	return 0;
}
