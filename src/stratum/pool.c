#include "stratum/pool.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/panic.h"
#include "stratum/target.h"

enum {
	GARBLED_MAX = 5,    /* unreadable lines in a row */
	OUT_MAX = 1 << 18,  /* bytes a slow reader may owe us */
	EXTRANONCE1_BYTES = 4,
};

int stratum_pool_init(struct stratum_pool *p, const struct stratum_pool_conf *conf)
{
	must(conf->sha256d && conf->extranonce2_size >= 1 && conf->extranonce2_size <= 8 && conf->difficulty > 0);
	*p = (struct stratum_pool){ .conf = *conf };
	p->jobs = mem_calloc(STRATUM_JOBS_MAX, sizeof(*p->jobs));
	return p->jobs ? 0 : HCP_ENOMEM;
}

void stratum_pool_release(struct stratum_pool *p)
{
	mem_free(p->jobs);
	p->jobs = NULL;
}

void stratum_pool_set_job(struct stratum_pool *p, const struct stratum_job *job)
{
	p->serial++;
	if (job->clean)
		p->clean_serial = p->serial;
	struct stratum_pool_job *slot = &p->jobs[p->serial % STRATUM_JOBS_MAX];
	slot->serial = p->serial;
	slot->job = *job;
	snprintf(slot->job.id, sizeof(slot->job.id), "%llx", (unsigned long long)p->serial);
}

int stratum_session_init(struct stratum_session *s, struct stratum_pool *p, struct err *err)
{
	if (p->next_extranonce1 == UINT32_MAX)
		return err_set(err, HCP_ELIMIT, "", "all values of extranonce1 are used");
	uint32_t n = ++p->next_extranonce1;
	*s = (struct stratum_session){ .pool = p, .difficulty = p->conf.difficulty };
	s->extranonce.extranonce1.n = EXTRANONCE1_BYTES;
	for (int i = 0; i < EXTRANONCE1_BYTES; i++)
		s->extranonce.extranonce1.p[i] = (uint8_t)(n >> (24 - 8 * i));
	s->extranonce.extranonce2_size = p->conf.extranonce2_size;
	snprintf(s->extranonce.session, sizeof(s->extranonce.session), "%08x", n);
	map_init(&s->seen);
	buf_init(&s->in, STRATUM_LINE_MAX + 2);
	buf_init(&s->out, OUT_MAX);
	return 0;
}

void stratum_session_release(struct stratum_session *s)
{
	map_release(&s->seen);
	buf_release(&s->in);
	buf_release(&s->out);
}

void stratum_session_send_job(struct stratum_session *s)
{
	struct stratum_pool *p = s->pool;
	if (!s->subscribed || !p->serial)
		return;
	const struct stratum_pool_job *j = &p->jobs[p->serial % STRATUM_JOBS_MAX];
	s->job_sent[p->serial % STRATUM_JOBS_MAX] = p->serial;
	s->job_difficulty[p->serial % STRATUM_JOBS_MAX] = s->difficulty;
	stratum_write_notify(&s->out, &j->job);
}

void stratum_session_set_difficulty(struct stratum_session *s, double difficulty)
{
	must(difficulty > 0);
	s->difficulty = difficulty;
	if (s->subscribed)
		stratum_write_set_difficulty(&s->out, difficulty);
}

/* The slot of a job that this session got and that is still good. */
static const struct stratum_pool_job *find_job(const struct stratum_session *s, const char *id)
{
	const struct stratum_pool *p = s->pool;
	for (int i = 0; i < STRATUM_JOBS_MAX; i++) {
		const struct stratum_pool_job *j = &p->jobs[i];
		if (j->serial && j->serial == s->job_sent[i] && j->serial >= p->clean_serial && !strcmp(j->job.id, id))
			return j;
	}
	return NULL;
}

/* All that makes two shares of a session the same. */
struct share_key {
	uint64_t serial;
	uint32_t ntime, nonce, version;
	uint8_t extranonce2[8];
	uint32_t zero;
};

static int remember(struct stratum_session *s, const struct share_key *key)
{
	void *old;
	if (s->seen_clean != s->pool->clean_serial) {
		map_release(&s->seen);
		map_init(&s->seen);
		s->seen_clean = s->pool->clean_serial;
	}
	struct str k = { (const char *)key, sizeof(*key) };
	if (map_get(&s->seen, k))
		return STRATUM_E_DUPLICATE;
	if (s->seen.n >= STRATUM_SESSION_SHARES_MAX || map_put(&s->seen, k, s, &old) < 0)
		return STRATUM_E_OTHER;
	return 0;
}

/* What can be said without hashing: 0 or an error code, with *ret_why where the code says too little. */
static int check_fields(const struct stratum_session *s, const struct stratum_submit *sub,
	const struct stratum_pool_job *j, uint32_t now_s, const char **ret_why)
{
	if (sub->extranonce2.n != s->extranonce.extranonce2_size)
		*ret_why = "wrong size of extranonce2";
	else if (sub->has_version_bits && (sub->version_bits & ~s->version_mask))
		*ret_why = "version bits outside the mask";
	else if (sub->ntime < j->job.ntime || sub->ntime - j->job.ntime > STRATUM_NTIME_AHEAD_S)
		*ret_why = "ntime out of range";
	else if (sub->ntime > now_s && sub->ntime - now_s > STRATUM_NTIME_AHEAD_S)
		*ret_why = "ntime out of range";
	else
		return 0;
	return STRATUM_E_OTHER;
}

static int check_share(struct stratum_session *s, const struct stratum_submit *sub, uint32_t now_s,
	struct stratum_accepted *ret, const char **ret_why)
{
	uint8_t target[32];
	if (!s->subscribed)
		return STRATUM_E_NOT_SUBSCRIBED;
	if (!s->authorized || strcmp(sub->worker, s->worker))
		return STRATUM_E_UNAUTHORIZED;
	const struct stratum_pool_job *j = find_job(s, sub->job_id);
	if (!j)
		return STRATUM_E_JOB_NOT_FOUND;
	int code = check_fields(s, sub, j, now_s, ret_why);
	if (code)
		return code;
	uint32_t version = sub->has_version_bits ?
		stratum_version(j->job.version, s->version_mask, sub->version_bits) : j->job.version;
	ret->difficulty = s->job_difficulty[j->serial % STRATUM_JOBS_MAX];
	stratum_job_header(&j->job, &s->extranonce.extranonce1, &sub->extranonce2, version, sub->ntime, sub->nonce,
		s->pool->conf.sha256d, ret->header);
	s->pool->conf.sha256d(ret->header, 80, ret->hash);
	target_of_difficulty(ret->difficulty, target);
	if (!target_met(ret->hash, target))
		return STRATUM_E_LOW_DIFFICULTY;
	/* Only shares that cost work are remembered, so the memory cannot be filled for free. */
	struct share_key key = { .serial = j->serial, .ntime = sub->ntime, .nonce = sub->nonce, .version = version };
	memcpy(key.extranonce2, sub->extranonce2.p, sub->extranonce2.n);
	code = remember(s, &key);
	if (code == STRATUM_E_OTHER)
		*ret_why = "too many shares since the last block";
	target_of_nbits(j->job.nbits, target);
	ret->is_block = target_met(ret->hash, target);
	ret->worker = s->worker;
	ret->job_id = j->job.id;
	return code;
}

static void on_submit(struct stratum_session *s, const struct stratum_msg *m, uint32_t now_s)
{
	struct stratum_accepted share;
	const char *why = NULL;
	int code = check_share(s, &m->submit, now_s, &share, &why);
	switch (code) {
	case 0:
		s->stats.accepted++;
		s->stats.difficulty_accepted += share.difficulty;
		stratum_write_bool(&s->out, m->id, true);
		if (s->pool->conf.accepted)
			s->pool->conf.accepted(s->pool->conf.arg, s, &share);
		return;
	case STRATUM_E_JOB_NOT_FOUND: s->stats.stale++; break;
	case STRATUM_E_DUPLICATE: s->stats.duplicate++; break;
	case STRATUM_E_LOW_DIFFICULTY: s->stats.low++; break;
	default: s->stats.refused++; break;
	}
	stratum_write_error(&s->out, m->id, code, why);
}

static void on_subscribe(struct stratum_session *s, const struct stratum_msg *m)
{
	s->subscribed = true;
	stratum_write_subscribe_result(&s->out, m->id, &s->extranonce);
	stratum_write_set_difficulty(&s->out, s->difficulty);
	stratum_session_send_job(s);
}

static void on_configure(struct stratum_session *s, const struct stratum_msg *m)
{
	struct stratum_configure given = { .mask = m->configure.mask & s->pool->conf.version_mask };
	given.version_rolling = m->configure.version_rolling && given.mask &&
		(uint32_t)__builtin_popcount(given.mask) >= m->configure.min_bit_count;
	given.subscribe_extranonce = m->configure.subscribe_extranonce;
	s->extranonce_subscribed |= given.subscribe_extranonce;
	s->version_mask = given.version_rolling ? given.mask : 0;
	stratum_write_configure_result(&s->out, m->id, &m->configure, &given);
}

static void on_authorize(struct stratum_session *s, const struct stratum_msg *m)
{
	const struct stratum_pool_conf *conf = &s->pool->conf;
	bool yes = !conf->authorize ||
		conf->authorize(conf->arg, s, m->authorize.worker, m->authorize.password) == 0;
	if (yes)
		memcpy(s->worker, m->authorize.worker, sizeof(s->worker));
	s->authorized |= yes;
	if (yes)
		stratum_write_bool(&s->out, m->id, true);
	else
		stratum_write_error(&s->out, m->id, STRATUM_E_UNAUTHORIZED, NULL);
}

static void on_request(struct stratum_session *s, const struct stratum_msg *m, uint32_t now_s)
{
	switch (m->method) {
	case STRATUM_CONFIGURE: on_configure(s, m); break;
	case STRATUM_SUBSCRIBE: on_subscribe(s, m); break;
	case STRATUM_AUTHORIZE: on_authorize(s, m); break;
	case STRATUM_SUBMIT: on_submit(s, m, now_s); break;
	case STRATUM_EXTRANONCE_SUBSCRIBE:
		s->extranonce_subscribed = true;
		stratum_write_bool(&s->out, m->id, true);
		break;
	case STRATUM_SUGGEST_DIFFICULTY:
		stratum_write_bool(&s->out, m->id, true);
		if (s->pool->conf.difficulty_min > 0 && m->difficulty >= s->pool->conf.difficulty_min)
			stratum_session_set_difficulty(s, m->difficulty);
		break;
	case STRATUM_PING: stratum_write_string(&s->out, m->id, "pong"); break;
	default: stratum_write_error(&s->out, m->id, STRATUM_E_OTHER, "unknown method"); break;
	}
}

static int on_line(struct stratum_session *s, struct str line, uint32_t now_s, struct err *err)
{
	struct stratum_msg m;
	struct err why;
	if (str_trim(line).n == 0)
		return 0;
	if (stratum_parse(line, &m, &why) < 0) {
		s->stats.garbled++;
		if (++s->garbled >= GARBLED_MAX)
			return err_set(err, HCP_EPROTO, why.field, "%d unreadable lines in a row: %s", GARBLED_MAX, why.text);
		stratum_write_error(&s->out, STR("null"), STRATUM_E_OTHER, why.text);
		return 0;
	}
	s->garbled = 0;
	/* Responses answer only what we ask, and we ask nothing that needs one. */
	if (m.kind != STRATUM_RESPONSE)
		on_request(s, &m, now_s);
	return buf_failed(&s->out) ? err_set(err, HCP_ELIMIT, "", "the miner does not read") : 0;
}

int stratum_session_input(struct stratum_session *s, struct str bytes, uint32_t now_s, struct err *err)
{
	while (bytes.n) {
		const char *lf = memchr(bytes.p, '\n', bytes.n);
		size_t n = lf ? (size_t)(lf - bytes.p) : bytes.n;
		buf_add(&s->in, bytes.p, n);
		if (buf_failed(&s->in) || s->in.n > STRATUM_LINE_MAX + 1)
			return err_set(err, HCP_ELIMIT, "", "a line of more than %d bytes", STRATUM_LINE_MAX);
		if (!lf)
			return 0;
		bytes.p += n + 1;
		bytes.n -= n + 1;
		int rc = on_line(s, buf_str(&s->in), now_s, err);
		buf_clear(&s->in);
		if (rc < 0)
			return rc;
	}
	return 0;
}
