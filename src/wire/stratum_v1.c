#include "wire/stratum_v1.h"

#include <assert.h>
#include <stdio.h>

#include "base/hex.h"
#include "base/num.h"
#include "wire/jscan.h"

/* Walks an array of parameters that may be shorter than the full form. */
struct params {
	struct jscan scan;
	unsigned index; /* of the next one, for messages */
	int more;       /* 1: another one stands there */
	const char *what;
};

static int bad(const struct params *p, struct err *err, int code, const char *text)
{
	char field[32];
	snprintf(field, sizeof(field), "%s[%u]", p->what, p->index);
	return err_set(err, code, field, "%s", text);
}

static int params_open(struct params *p, const char *what, struct str raw, struct err *err)
{
	*p = (struct params){ .what = what };
	jscan_init(&p->scan, raw);
	enum jscan_kind kind = jscan_kind(&p->scan);
	if (kind == JSCAN_NULL)
		return 0;
	if (kind != JSCAN_ARRAY)
		return err_set(err, HCP_EPROTO, what, "must be an array, not %s", jscan_kind_name(kind));
	p->more = jscan_enter(&p->scan, JSCAN_ARRAY, err);
	return p->more < 0 ? p->more : 0;
}

static int params_step(struct params *p, struct err *err)
{
	p->index++;
	p->more = jscan_more(&p->scan, JSCAN_ARRAY, err);
	return p->more < 0 ? p->more : 0;
}

/* Kind of the next parameter; JSCAN_END when there is none. */
static enum jscan_kind params_kind(struct params *p)
{
	return p->more ? jscan_kind(&p->scan) : JSCAN_END;
}

/* The raw text between the quotes. */
static int next_raw(struct params *p, struct jscan_text *ret, struct err *err)
{
	if (params_kind(p) != JSCAN_STRING)
		return bad(p, err, HCP_EINVAL, p->more ? "must be a string" : "is missing");
	return jscan_string(&p->scan, ret, err);
}

static int copy_text(struct jscan_text t, char *dst, size_t cap)
{
	if (t.raw.n >= cap)
		return HCP_ELIMIT;
	size_t n = t.raw.n;
	if (t.escaped)
		n = jscan_unescape(dst, t.raw);
	else if (n)
		memcpy(dst, t.raw.p, n);
	dst[n] = '\0';
	return 0;
}

/* A string of fewer than cap bytes. Optional ones may be absent or null and become "". */
static int next_text(struct params *p, bool required, char *dst, size_t cap, struct err *err)
{
	struct jscan_text t;
	enum jscan_kind kind = params_kind(p);
	if (!required && (kind == JSCAN_END || kind == JSCAN_NULL)) {
		dst[0] = '\0';
		if (kind == JSCAN_END)
			return 0;
		int rc = jscan_null(&p->scan, err);
		return rc < 0 ? rc : params_step(p, err);
	}
	int rc = next_raw(p, &t, err);
	if (rc < 0)
		return rc;
	if (copy_text(t, dst, cap) < 0)
		return bad(p, err, HCP_ELIMIT, "is too long");
	if (required && !dst[0])
		return bad(p, err, HCP_EINVAL, "must not be empty");
	return params_step(p, err);
}

/* Hex of exactly n bytes. */
static int next_hex(struct params *p, uint8_t *dst, size_t n, struct err *err)
{
	struct jscan_text t;
	int rc = next_raw(p, &t, err);
	if (rc < 0)
		return rc;
	if (hex_decode(dst, n, t.raw) < 0) {
		char text[64];
		snprintf(text, sizeof(text), "must be %zu hex digits", 2 * n);
		return bad(p, err, HCP_EINVAL, text);
	}
	return params_step(p, err);
}

/* Hex of up to max bytes. */
static int next_bytes(struct params *p, uint8_t *dst, size_t max, size_t *ret_n, struct err *err)
{
	struct jscan_text t;
	int rc = next_raw(p, &t, err);
	if (rc < 0)
		return rc;
	if (t.raw.n > 2 * max)
		return bad(p, err, HCP_ELIMIT, "is too long");
	if (hex_decode(dst, t.raw.n / 2, t.raw) < 0)
		return bad(p, err, HCP_EINVAL, "must be an even number of hex digits");
	*ret_n = t.raw.n / 2;
	return params_step(p, err);
}

static int next_extranonce(struct params *p, struct stratum_bytes *ret, struct err *err)
{
	size_t n = 0;
	int rc = next_bytes(p, ret->p, sizeof(ret->p), &n, err);
	ret->n = (uint8_t)n;
	return rc;
}

/* 1 to 8 hex digits. */
static int hex_u32(struct str s, uint32_t *ret)
{
	char full[8];
	uint8_t b[4];
	if (s.n < 1 || s.n > 8)
		return HCP_EPARSE;
	memset(full, '0', sizeof(full));
	memcpy(full + 8 - s.n, s.p, s.n);
	if (hex_decode(b, 4, (struct str){ full, 8 }) < 0)
		return HCP_EPARSE;
	*ret = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	return 0;
}

static int next_u32_hex(struct params *p, uint32_t *ret, struct err *err)
{
	struct jscan_text t;
	int rc = next_raw(p, &t, err);
	if (rc < 0)
		return rc;
	/* Versions, times and nonces have eight digits; masks are met with fewer. */
	if (hex_u32(t.raw, ret) < 0)
		return bad(p, err, HCP_EINVAL, "must be 1 to 8 hex digits");
	return params_step(p, err);
}

static int next_number(struct params *p, struct str *ret, struct err *err)
{
	if (params_kind(p) != JSCAN_NUMBER)
		return bad(p, err, HCP_EINVAL, p->more ? "must be a number" : "is missing");
	return jscan_number(&p->scan, ret, err);
}

static int next_difficulty(struct params *p, double *ret, struct err *err)
{
	struct str text;
	double d;
	int rc = next_number(p, &text, err);
	if (rc < 0)
		return rc;
	if (num_parse_double(text, &d) < 0 || !(d > 0) || d > 1e30)
		return bad(p, err, HCP_EINVAL, "must be a number above 0");
	*ret = d;
	return params_step(p, err);
}

static int next_size(struct params *p, uint32_t *ret, struct err *err)
{
	struct str text;
	uint64_t n;
	int rc = next_number(p, &text, err);
	if (rc < 0)
		return rc;
	if (num_parse_u64(text, &n) < 0 || n < 1 || n > STRATUM_EXTRANONCE_MAX)
		return bad(p, err, HCP_EINVAL, "must be a size from 1 to 32");
	*ret = (uint32_t)n;
	return params_step(p, err);
}

/* A number or digits in a string; absent or null leave *ret. */
static int next_loose_u32(struct params *p, uint64_t max, uint64_t *ret, struct err *err)
{
	struct jscan_text t = { { NULL, 0 }, false };
	enum jscan_kind kind = params_kind(p);
	int rc;
	if (kind == JSCAN_END)
		return 0;
	if (kind == JSCAN_NULL)
		rc = jscan_null(&p->scan, err);
	else if (kind == JSCAN_STRING)
		rc = jscan_string(&p->scan, &t, err);
	else
		rc = next_number(p, &t.raw, err);
	if (rc < 0)
		return rc;
	if (kind != JSCAN_NULL && (num_parse_u64(t.raw, ret) < 0 || *ret > max))
		return bad(p, err, HCP_EINVAL, "must be a small whole number");
	return params_step(p, err);
}

/* Members of a BIP 310 object, request or result: "version-rolling.mask" and its like; others are passed over. */
static int configure_member(struct jscan *s, struct str key, bool result, struct stratum_configure *c, struct err *err)
{
	enum jscan_kind kind = jscan_kind(s);
	struct jscan_text t;
	struct str number;
	uint64_t bits;
	int rc;
	if (str_eq(key, STR("version-rolling.mask")) && kind == JSCAN_STRING) {
		rc = jscan_string(s, &t, err);
		return rc < 0 ? rc : hex_u32(t.raw, &c->mask) < 0 ?
			err_set(err, HCP_EINVAL, "version-rolling.mask", "must be 1 to 8 hex digits") : 0;
	}
	if (str_eq(key, STR("version-rolling.min-bit-count")) && kind == JSCAN_NUMBER) {
		rc = jscan_number(s, &number, err);
		if (rc < 0)
			return rc;
		if (num_parse_u64(number, &bits) < 0 || bits > 32)
			return err_set(err, HCP_EINVAL, "version-rolling.min-bit-count", "must be from 0 to 32");
		c->min_bit_count = (uint32_t)bits;
		return 0;
	}
	if (str_eq(key, STR("minimum-difficulty.value")) && kind == JSCAN_NUMBER) {
		rc = jscan_number(s, &number, err);
		if (rc < 0)
			return rc;
		if (num_parse_double(number, &c->difficulty_min) < 0 || c->difficulty_min < 0)
			return err_set(err, HCP_EINVAL, "minimum-difficulty.value", "must be a number, 0 or more");
		return 0;
	}
	bool *flag = str_eq(key, STR("version-rolling")) ? &c->version_rolling :
		str_eq(key, STR("minimum-difficulty")) ? &c->minimum_difficulty :
		str_eq(key, STR("subscribe-extranonce")) ? &c->subscribe_extranonce : NULL;
	/* A refused extension is false, or a string that says why. */
	if (flag && result && kind == JSCAN_BOOL)
		return jscan_bool(s, flag, err);
	return jscan_skip(s, NULL, err);
}

static int configure_object(struct jscan *s, bool result, struct stratum_configure *c, struct err *err)
{
	int rc = jscan_enter(s, JSCAN_OBJECT, err);
	while (rc > 0) {
		struct str key;
		rc = jscan_key(s, &key, err);
		if (rc == 0)
			rc = configure_member(s, key, result, c, err);
		if (rc == 0)
			rc = jscan_more(s, JSCAN_OBJECT, err);
	}
	return rc;
}

static int parse_configure(struct params *p, struct stratum_msg *m, struct err *err)
{
	struct stratum_configure c = { .mask = 0xffffffffU };
	if (params_kind(p) != JSCAN_ARRAY)
		return bad(p, err, HCP_EINVAL, "must be an array of extensions");
	int rc = jscan_enter(&p->scan, JSCAN_ARRAY, err);
	while (rc > 0) {
		struct jscan_text t;
		rc = jscan_string(&p->scan, &t, err);
		if (rc < 0)
			return rc;
		c.version_rolling |= str_eq(t.raw, STR("version-rolling"));
		c.minimum_difficulty |= str_eq(t.raw, STR("minimum-difficulty"));
		c.subscribe_extranonce |= str_eq(t.raw, STR("subscribe-extranonce"));
		rc = jscan_more(&p->scan, JSCAN_ARRAY, err);
	}
	if (rc == 0)
		rc = params_step(p, err);
	if (rc == 0 && params_kind(p) == JSCAN_OBJECT) {
		rc = configure_object(&p->scan, false, &c, err);
		if (rc == 0)
			rc = params_step(p, err);
	}
	m->configure = c;
	return rc;
}

static int parse_subscribe(struct params *p, struct stratum_msg *m, struct err *err)
{
	int rc = next_text(p, false, m->subscribe.agent, sizeof(m->subscribe.agent), err);
	return rc < 0 ? rc : next_text(p, false, m->subscribe.session, sizeof(m->subscribe.session), err);
}

static int parse_authorize(struct params *p, struct stratum_msg *m, struct err *err)
{
	int rc = next_text(p, true, m->authorize.worker, sizeof(m->authorize.worker), err);
	return rc < 0 ? rc : next_text(p, false, m->authorize.password, sizeof(m->authorize.password), err);
}

static int parse_submit(struct params *p, struct stratum_msg *m, struct err *err)
{
	struct stratum_submit *s = &m->submit;
	int rc = next_text(p, true, s->worker, sizeof(s->worker), err);
	if (rc == 0)
		rc = next_text(p, true, s->job_id, sizeof(s->job_id), err);
	if (rc == 0)
		rc = next_extranonce(p, &s->extranonce2, err);
	if (rc == 0)
		rc = next_u32_hex(p, &s->ntime, err);
	if (rc == 0)
		rc = next_u32_hex(p, &s->nonce, err);
	s->has_version_bits = rc == 0 && params_kind(p) == JSCAN_STRING;
	s->version_bits = 0;
	return s->has_version_bits ? next_u32_hex(p, &s->version_bits, err) : rc;
}

static int parse_difficulty(struct params *p, struct stratum_msg *m, struct err *err)
{
	return next_difficulty(p, &m->difficulty, err);
}

static int parse_mask(struct params *p, struct stratum_msg *m, struct err *err)
{
	return next_u32_hex(p, &m->mask, err);
}

static int parse_extranonce(struct params *p, struct stratum_msg *m, struct err *err)
{
	m->extranonce.session[0] = '\0';
	int rc = next_extranonce(p, &m->extranonce.extranonce1, err);
	return rc < 0 ? rc : next_size(p, &m->extranonce.extranonce2_size, err);
}

static int parse_reconnect(struct params *p, struct stratum_msg *m, struct err *err)
{
	uint64_t port = 0, wait_s = 0;
	int rc = next_text(p, false, m->reconnect.host, sizeof(m->reconnect.host), err);
	if (rc == 0)
		rc = next_loose_u32(p, UINT16_MAX, &port, err);
	if (rc == 0)
		rc = next_loose_u32(p, UINT32_MAX, &wait_s, err);
	m->reconnect.port = (uint16_t)port;
	m->reconnect.wait_s = (uint32_t)wait_s;
	return rc;
}

static int parse_message(struct params *p, struct stratum_msg *m, struct err *err)
{
	return next_text(p, false, m->message, sizeof(m->message), err);
}

static int parse_branches(struct params *p, struct stratum_job *job, struct err *err)
{
	job->n_branches = 0;
	if (params_kind(p) != JSCAN_ARRAY)
		return bad(p, err, HCP_EINVAL, p->more ? "must be an array" : "is missing");
	int rc = jscan_enter(&p->scan, JSCAN_ARRAY, err);
	while (rc > 0) {
		struct jscan_text t;
		if (job->n_branches == STRATUM_BRANCHES_MAX)
			return bad(p, err, HCP_ELIMIT, "has more than 32 branches");
		rc = jscan_string(&p->scan, &t, err);
		if (rc < 0)
			return rc;
		if (hex_decode(job->branches[job->n_branches++], 32, t.raw) < 0)
			return bad(p, err, HCP_EINVAL, "must hold strings of 64 hex digits");
		rc = jscan_more(&p->scan, JSCAN_ARRAY, err);
	}
	return rc < 0 ? rc : params_step(p, err);
}

static int parse_notify(struct params *p, struct stratum_msg *m, struct err *err)
{
	struct stratum_job *job = &m->job;
	size_t n1 = 0, n2 = 0;
	int rc = next_text(p, true, job->id, sizeof(job->id), err);
	if (rc == 0)
		rc = next_hex(p, job->prevhash, 32, err);
	if (rc == 0)
		rc = next_bytes(p, job->coinb1, STRATUM_COINB_MAX, &n1, err);
	if (rc == 0)
		rc = next_bytes(p, job->coinb2, STRATUM_COINB_MAX, &n2, err);
	job->coinb1_n = (uint16_t)n1;
	job->coinb2_n = (uint16_t)n2;
	if (rc == 0)
		rc = parse_branches(p, job, err);
	if (rc == 0)
		rc = next_u32_hex(p, &job->version, err);
	if (rc == 0)
		rc = next_u32_hex(p, &job->nbits, err);
	if (rc == 0)
		rc = next_u32_hex(p, &job->ntime, err);
	if (rc < 0)
		return rc;
	if (params_kind(p) != JSCAN_BOOL)
		return bad(p, err, HCP_EINVAL, p->more ? "must be true or false" : "is missing");
	rc = jscan_bool(&p->scan, &job->clean, err);
	return rc < 0 ? rc : params_step(p, err);
}

static const struct method {
	const char *name;
	int (*parse)(struct params *p, struct stratum_msg *m, struct err *err); /* NULL: takes no parameters */
} methods[] = {
	[STRATUM_UNKNOWN] = { "", NULL },
	[STRATUM_CONFIGURE] = { "mining.configure", parse_configure },
	[STRATUM_SUBSCRIBE] = { "mining.subscribe", parse_subscribe },
	[STRATUM_EXTRANONCE_SUBSCRIBE] = { "mining.extranonce.subscribe", NULL },
	[STRATUM_AUTHORIZE] = { "mining.authorize", parse_authorize },
	[STRATUM_SUBMIT] = { "mining.submit", parse_submit },
	[STRATUM_SUGGEST_DIFFICULTY] = { "mining.suggest_difficulty", parse_difficulty },
	[STRATUM_PING] = { "mining.ping", NULL },
	[STRATUM_NOTIFY] = { "mining.notify", parse_notify },
	[STRATUM_SET_DIFFICULTY] = { "mining.set_difficulty", parse_difficulty },
	[STRATUM_SET_VERSION_MASK] = { "mining.set_version_mask", parse_mask },
	[STRATUM_SET_EXTRANONCE] = { "mining.set_extranonce", parse_extranonce },
	[STRATUM_RECONNECT] = { "client.reconnect", parse_reconnect },
	[STRATUM_GET_VERSION] = { "client.get_version", NULL },
	[STRATUM_SHOW_MESSAGE] = { "client.show_message", parse_message },
};
enum { N_METHODS = sizeof(methods) / sizeof(methods[0]) };

const char *stratum_method_name(enum stratum_method method)
{
	return methods[method].name;
}

const char *stratum_error_text(int code)
{
	static const char *const texts[] = { "Other/Unknown", "Job not found (=stale)", "Duplicate share",
		"Low difficulty share", "Unauthorized worker", "Not subscribed" };
	return code >= 20 && code <= 25 ? texts[code - 20] : texts[0];
}

/* The members of a line, raw. */
struct envelope {
	struct str id, method, params, result, error;
};

static int read_envelope(struct str line, struct envelope *e, struct err *err)
{
	static const char *const names[] = { "id", "method", "params", "result", "error" };
	struct str *const slots[] = { &e->id, &e->method, &e->params, &e->result, &e->error };
	struct jscan s;
	*e = (struct envelope){ 0 };
	jscan_init(&s, line);
	if (jscan_kind(&s) != JSCAN_OBJECT)
		return jscan_fail(&s, err, "an object expected");
	int rc = jscan_enter(&s, JSCAN_OBJECT, err);
	while (rc > 0) {
		struct str key, raw;
		rc = jscan_key(&s, &key, err);
		if (rc == 0)
			rc = jscan_skip(&s, &raw, err);
		if (rc < 0)
			return rc;
		for (size_t i = 0; i < 5; i++) {
			if (!str_eqz(key, names[i]))
				continue;
			if (slots[i]->p)
				return err_set(err, HCP_EPROTO, names[i], "is given twice");
			*slots[i] = raw;
		}
		rc = jscan_more(&s, JSCAN_OBJECT, err);
	}
	return rc < 0 ? rc : jscan_end(&s, err);
}

static bool is_absent(struct str raw)
{
	return !raw.p || str_eq(raw, STR("null"));
}

/* [code, "text", traceback], shorter arrays, "text", {"code":..,"message":..}: pools send them all. */
static int parse_error(struct str raw, struct stratum_msg *m, struct err *err)
{
	struct jscan s;
	struct str number;
	struct jscan_text t = { { "", 0 }, false };
	int64_t code = STRATUM_E_OTHER;
	jscan_init(&s, raw);
	enum jscan_kind kind = jscan_kind(&s);
	m->response.text[0] = '\0';
	int rc = kind == JSCAN_ARRAY || kind == JSCAN_OBJECT ? jscan_enter(&s, kind, err) : 1;
	while (rc > 0) {
		struct str key;
		if (kind == JSCAN_OBJECT && (rc = jscan_key(&s, &key, err)) < 0)
			return rc;
		enum jscan_kind item = jscan_kind(&s);
		if (item == JSCAN_NUMBER)
			rc = jscan_number(&s, &number, err) < 0 || num_parse_i64(number, &code) < 0 ? HCP_EPROTO : 0;
		else if (item == JSCAN_STRING && !t.raw.n)
			rc = jscan_string(&s, &t, err);
		else
			rc = jscan_skip(&s, NULL, err);
		if (rc < 0 || (kind != JSCAN_ARRAY && kind != JSCAN_OBJECT))
			break;
		rc = jscan_more(&s, kind, err);
	}
	if (rc < 0 || code < INT32_MIN || code > INT32_MAX)
		return err_set(err, HCP_EPROTO, "error", "must be null or [code, text]");
	m->response.code = (int)code;
	if (copy_text(t, m->response.text, sizeof(m->response.text)) < 0 || !m->response.text[0])
		snprintf(m->response.text, sizeof(m->response.text), "%s", stratum_error_text((int)code));
	return 0;
}

static int parse_response(const struct envelope *e, struct stratum_msg *m, struct err *err)
{
	if (!e->result.p && !e->error.p)
		return err_set(err, HCP_EPROTO, "", "neither a method nor a result nor an error");
	m->kind = STRATUM_RESPONSE;
	m->method = STRATUM_UNKNOWN;
	m->name = (struct str){ "", 0 };
	m->response.result = is_absent(e->result) ? STR("null") : e->result;
	m->response.failed = !is_absent(e->error);
	m->response.code = 0;
	m->response.text[0] = '\0';
	return m->response.failed ? parse_error(e->error, m, err) : 0;
}

static int parse_call(const struct envelope *e, struct stratum_msg *m, struct err *err)
{
	struct params p;
	if (e->method.p[0] != '"')
		return err_set(err, HCP_EPROTO, "method", "must be a string");
	m->kind = is_absent(e->id) ? STRATUM_NOTIFICATION : STRATUM_REQUEST;
	m->name = (struct str){ e->method.p + 1, e->method.n - 2 };
	m->method = STRATUM_UNKNOWN;
	for (int i = 1; i < N_METHODS; i++)
		if (str_eqz(m->name, methods[i].name))
			m->method = (enum stratum_method)i;
	if (!methods[m->method].parse)
		return 0;
	int rc = params_open(&p, "params", e->params.p ? e->params : STR("null"), err);
	/* Parameters behind those known are passed over: read_envelope has checked their grammar. */
	return rc < 0 ? rc : methods[m->method].parse(&p, m, err);
}

#define SMALL_MAX 640
static_assert(sizeof(((struct stratum_msg *)0)->authorize) <= SMALL_MAX, "authorize");
static_assert(sizeof(((struct stratum_msg *)0)->submit) <= SMALL_MAX, "submit");
static_assert(sizeof(((struct stratum_msg *)0)->extranonce) <= SMALL_MAX, "extranonce");
static_assert(sizeof(((struct stratum_msg *)0)->reconnect) <= SMALL_MAX, "reconnect");
static_assert(sizeof(((struct stratum_msg *)0)->response) <= SMALL_MAX, "response");
static_assert(sizeof(struct stratum_job) > SMALL_MAX, "job");

int stratum_parse(struct str line, struct stratum_msg *ret, struct err *err)
{
	struct envelope e;
	struct stratum_msg m;
	if (line.n > STRATUM_LINE_MAX)
		return err_set(err, HCP_ELIMIT, "", "a line of %zu bytes; at most %d are allowed", line.n, STRATUM_LINE_MAX);
	int rc = read_envelope(line, &e, err);
	if (rc < 0)
		return rc;
	m.id = is_absent(e.id) ? STR("null") : e.id;
	if (m.id.n > STRATUM_ID_MAX || m.id.p[0] == '[' || m.id.p[0] == '{')
		return err_set(err, HCP_EPROTO, "id", "must be a number or string of at most %d bytes", STRATUM_ID_MAX);
	rc = e.method.p && !is_absent(e.method) ? parse_call(&e, &m, err) : parse_response(&e, &m, err);
	if (rc < 0)
		return rc;
	/* Only a job is large; shares must not pay for it. */
	bool job = m.kind != STRATUM_RESPONSE && m.method == STRATUM_NOTIFY;
	memcpy(ret, &m, job ? sizeof(m) : offsetof(struct stratum_msg, job) + SMALL_MAX);
	return 0;
}

int stratum_read_bool(struct str raw, bool *ret, struct err *err)
{
	if (!str_eq(raw, STR("true")) && !str_eq(raw, STR("false")))
		return err_set(err, HCP_EPROTO, "result", "must be true or false");
	*ret = raw.n == 4;
	return 0;
}

/* The subscription id beside "mining.notify" in [["mining.notify","id"],...] or ["mining.notify","id"]. */
static int read_session(struct jscan *s, char *session, size_t cap, struct err *err)
{
	bool notify = false;
	if (jscan_kind(s) != JSCAN_ARRAY)
		return jscan_skip(s, NULL, err);
	int rc = jscan_enter(s, JSCAN_ARRAY, err);
	while (rc > 0) {
		struct jscan_text t;
		enum jscan_kind kind = jscan_kind(s);
		if (kind == JSCAN_STRING) {
			rc = jscan_string(s, &t, err);
			if (rc == 0 && notify && copy_text(t, session, cap) < 0)
				session[0] = '\0';
			notify = rc == 0 && str_eq(t.raw, STR("mining.notify"));
		} else {
			/* Depth is bounded by the scanner. */
			rc = kind == JSCAN_ARRAY ? read_session(s, session, cap, err) : jscan_skip(s, NULL, err);
		}
		if (rc == 0)
			rc = jscan_more(s, JSCAN_ARRAY, err);
	}
	return rc;
}

int stratum_read_subscribe(struct str raw, struct stratum_extranonce *ret, struct err *err)
{
	struct stratum_extranonce e = { .session = "" };
	struct params p;
	int rc = params_open(&p, "result", raw, err);
	if (rc == 0 && !p.more)
		rc = bad(&p, err, HCP_EINVAL, "is missing");
	if (rc == 0)
		rc = read_session(&p.scan, e.session, sizeof(e.session), err);
	if (rc == 0)
		rc = params_step(&p, err);
	if (rc == 0)
		rc = next_extranonce(&p, &e.extranonce1, err);
	if (rc == 0)
		rc = next_size(&p, &e.extranonce2_size, err);
	if (rc < 0)
		return rc;
	*ret = e;
	return 0;
}

int stratum_read_configure(struct str raw, struct stratum_configure *ret, struct err *err)
{
	struct stratum_configure c = { 0 };
	struct jscan s;
	jscan_init(&s, raw);
	int rc = configure_object(&s, true, &c, err);
	if (rc < 0)
		return rc;
	if (!c.version_rolling)
		c.mask = 0;
	*ret = c;
	return 0;
}
