#include "wire/stratum_v1.h"

#include <inttypes.h>
#include <math.h>

#include "base/hex.h"
#include "base/panic.h"

static void add_hex(struct buf *b, const uint8_t *p, size_t n)
{
	char text[129];
	buf_addc(b, '"');
	for (size_t at = 0; at < n; at += 64)
		buf_addz(b, hex_encode(text, p + at, n - at < 64 ? n - at : 64));
	buf_addc(b, '"');
}

static void add_text(struct buf *b, const char *text)
{
	buf_add_json(b, str_of(text));
}

/* Firmware is known to stumble over "64.0" and "6.4e1". */
static void add_difficulty(struct buf *b, double d)
{
	if (d == floor(d) && d < 9007199254740992.0)
		buf_printf(b, "%.0f", d);
	else
		buf_add_double(b, d);
}

static void open_request(struct buf *b, uint64_t id, enum stratum_method method)
{
	buf_printf(b, "{\"id\":%" PRIu64 ",\"method\":\"%s\",\"params\":[", id, stratum_method_name(method));
}

static void open_notification(struct buf *b, enum stratum_method method)
{
	buf_printf(b, "{\"id\":null,\"method\":\"%s\",\"params\":[", stratum_method_name(method));
}

static void close_call(struct buf *b)
{
	buf_addz(b, "]}\n");
}

static void open_result(struct buf *b, struct str id)
{
	buf_addz(b, "{\"id\":");
	buf_adds(b, id);
	buf_addz(b, ",\"result\":");
}

static void close_result(struct buf *b)
{
	buf_addz(b, ",\"error\":null}\n");
}

void stratum_write_configure(struct buf *b, uint64_t id, const struct stratum_configure *c)
{
	const char *comma = "";
	open_request(b, id, STRATUM_CONFIGURE);
	buf_addc(b, '[');
	if (c->version_rolling) {
		buf_addz(b, "\"version-rolling\"");
		comma = ",";
	}
	if (c->minimum_difficulty) {
		buf_printf(b, "%s\"minimum-difficulty\"", comma);
		comma = ",";
	}
	if (c->subscribe_extranonce)
		buf_printf(b, "%s\"subscribe-extranonce\"", comma);
	buf_addz(b, "],{");
	comma = "";
	if (c->version_rolling) {
		buf_printf(b, "\"version-rolling.mask\":\"%08" PRIx32 "\",\"version-rolling.min-bit-count\":%" PRIu32,
			c->mask, c->min_bit_count);
		comma = ",";
	}
	if (c->minimum_difficulty) {
		buf_printf(b, "%s\"minimum-difficulty.value\":", comma);
		add_difficulty(b, c->difficulty_min);
	}
	buf_addc(b, '}');
	close_call(b);
}

void stratum_write_subscribe(struct buf *b, uint64_t id, const char *agent, const char *session)
{
	open_request(b, id, STRATUM_SUBSCRIBE);
	add_text(b, agent);
	if (session && session[0]) {
		buf_addc(b, ',');
		add_text(b, session);
	}
	close_call(b);
}

void stratum_write_extranonce_subscribe(struct buf *b, uint64_t id)
{
	open_request(b, id, STRATUM_EXTRANONCE_SUBSCRIBE);
	close_call(b);
}

void stratum_write_authorize(struct buf *b, uint64_t id, const char *worker, const char *password)
{
	open_request(b, id, STRATUM_AUTHORIZE);
	add_text(b, worker);
	buf_addc(b, ',');
	add_text(b, password);
	close_call(b);
}

void stratum_write_submit(struct buf *b, uint64_t id, const struct stratum_submit *s)
{
	open_request(b, id, STRATUM_SUBMIT);
	add_text(b, s->worker);
	buf_addc(b, ',');
	add_text(b, s->job_id);
	buf_addc(b, ',');
	add_hex(b, s->extranonce2.p, s->extranonce2.n);
	buf_printf(b, ",\"%08" PRIx32 "\",\"%08" PRIx32 "\"", s->ntime, s->nonce);
	if (s->has_version_bits)
		buf_printf(b, ",\"%08" PRIx32 "\"", s->version_bits);
	close_call(b);
}

void stratum_write_suggest_difficulty(struct buf *b, uint64_t id, double difficulty)
{
	open_request(b, id, STRATUM_SUGGEST_DIFFICULTY);
	add_difficulty(b, difficulty);
	close_call(b);
}

void stratum_write_ping(struct buf *b, uint64_t id)
{
	open_request(b, id, STRATUM_PING);
	close_call(b);
}

void stratum_write_get_version(struct buf *b, uint64_t id)
{
	open_request(b, id, STRATUM_GET_VERSION);
	close_call(b);
}

void stratum_write_notify(struct buf *b, const struct stratum_job *job)
{
	open_notification(b, STRATUM_NOTIFY);
	add_text(b, job->id);
	buf_addc(b, ',');
	add_hex(b, job->prevhash, 32);
	buf_addc(b, ',');
	add_hex(b, job->coinb1, job->coinb1_n);
	buf_addc(b, ',');
	add_hex(b, job->coinb2, job->coinb2_n);
	buf_addz(b, ",[");
	for (int i = 0; i < job->n_branches; i++) {
		if (i)
			buf_addc(b, ',');
		add_hex(b, job->branches[i], 32);
	}
	buf_printf(b, "],\"%08" PRIx32 "\",\"%08" PRIx32 "\",\"%08" PRIx32 "\",%s", job->version, job->nbits, job->ntime,
		job->clean ? "true" : "false");
	close_call(b);
}

void stratum_write_set_difficulty(struct buf *b, double difficulty)
{
	open_notification(b, STRATUM_SET_DIFFICULTY);
	add_difficulty(b, difficulty);
	close_call(b);
}

void stratum_write_set_version_mask(struct buf *b, uint32_t mask)
{
	open_notification(b, STRATUM_SET_VERSION_MASK);
	buf_printf(b, "\"%08" PRIx32 "\"", mask);
	close_call(b);
}

void stratum_write_set_extranonce(struct buf *b, const struct stratum_extranonce *e)
{
	open_notification(b, STRATUM_SET_EXTRANONCE);
	add_hex(b, e->extranonce1.p, e->extranonce1.n);
	buf_printf(b, ",%" PRIu32, e->extranonce2_size);
	close_call(b);
}

void stratum_write_reconnect(struct buf *b, const char *host, uint16_t port, uint32_t wait_s)
{
	open_notification(b, STRATUM_RECONNECT);
	if (host && host[0]) {
		add_text(b, host);
		buf_printf(b, ",%u,%" PRIu32, port, wait_s);
	}
	close_call(b);
}

void stratum_write_show_message(struct buf *b, const char *text)
{
	open_notification(b, STRATUM_SHOW_MESSAGE);
	add_text(b, text);
	close_call(b);
}

void stratum_write_bool(struct buf *b, struct str id, bool value)
{
	open_result(b, id);
	buf_addz(b, value ? "true" : "false");
	close_result(b);
}

void stratum_write_string(struct buf *b, struct str id, const char *value)
{
	open_result(b, id);
	add_text(b, value);
	close_result(b);
}

void stratum_write_error(struct buf *b, struct str id, int code, const char *text)
{
	open_result(b, id);
	buf_printf(b, "null,\"error\":[%d,", code);
	add_text(b, text ? text : stratum_error_text(code));
	buf_addz(b, ",null]}\n");
}

void stratum_write_subscribe_result(struct buf *b, struct str id, const struct stratum_extranonce *e)
{
	open_result(b, id);
	buf_addz(b, "[[[\"mining.set_difficulty\",");
	add_text(b, e->session);
	buf_addz(b, "],[\"mining.notify\",");
	add_text(b, e->session);
	buf_addz(b, "]],");
	add_hex(b, e->extranonce1.p, e->extranonce1.n);
	buf_printf(b, ",%" PRIu32 "]", e->extranonce2_size);
	close_result(b);
}

void stratum_write_configure_result(struct buf *b, struct str id, const struct stratum_configure *asked,
	const struct stratum_configure *given)
{
	const char *comma = "";
	open_result(b, id);
	buf_addc(b, '{');
	if (asked->version_rolling) {
		buf_printf(b, "\"version-rolling\":%s", given->version_rolling ? "true" : "false");
		if (given->version_rolling)
			buf_printf(b, ",\"version-rolling.mask\":\"%08" PRIx32 "\"", given->mask);
		comma = ",";
	}
	if (asked->minimum_difficulty) {
		buf_printf(b, "%s\"minimum-difficulty\":%s", comma, given->minimum_difficulty ? "true" : "false");
		comma = ",";
	}
	if (asked->subscribe_extranonce)
		buf_printf(b, "%s\"subscribe-extranonce\":%s", comma, given->subscribe_extranonce ? "true" : "false");
	buf_addc(b, '}');
	close_result(b);
}

void stratum_job_root(const struct stratum_job *job, const struct stratum_bytes *extranonce1,
	const struct stratum_bytes *extranonce2, stratum_sha256d *sha256d, uint8_t ret_root[32])
{
	uint8_t coinbase[2 * STRATUM_COINB_MAX + 2 * STRATUM_EXTRANONCE_MAX], pair[64], root[32];
	size_t n = 0;
	must(job->coinb1_n <= STRATUM_COINB_MAX && job->coinb2_n <= STRATUM_COINB_MAX);
	must(extranonce1->n <= STRATUM_EXTRANONCE_MAX && extranonce2->n <= STRATUM_EXTRANONCE_MAX);
	memcpy(coinbase, job->coinb1, job->coinb1_n);
	n += job->coinb1_n;
	memcpy(coinbase + n, extranonce1->p, extranonce1->n);
	n += extranonce1->n;
	memcpy(coinbase + n, extranonce2->p, extranonce2->n);
	n += extranonce2->n;
	memcpy(coinbase + n, job->coinb2, job->coinb2_n);
	n += job->coinb2_n;
	sha256d(coinbase, n, root);
	for (int i = 0; i < job->n_branches; i++) {
		memcpy(pair, root, 32);
		memcpy(pair + 32, job->branches[i], 32);
		sha256d(pair, 64, root);
	}
	memcpy(ret_root, root, 32);
}

static void put_le32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

void stratum_job_header(const struct stratum_job *job, const struct stratum_bytes *extranonce1,
	const struct stratum_bytes *extranonce2, uint32_t version, uint32_t ntime, uint32_t nonce,
	stratum_sha256d *sha256d, uint8_t ret_header[80])
{
	/*
	 *	0 version  4 previous hash  36 merkle root  68 ntime  72 nbits  76 nonce     integers little-endian
	 */
	put_le32(ret_header, version);
	for (int i = 0; i < 32; i++)
		ret_header[4 + i] = job->prevhash[i ^ 3];
	stratum_job_root(job, extranonce1, extranonce2, sha256d, ret_header + 36);
	put_le32(ret_header + 68, ntime);
	put_le32(ret_header + 72, job->nbits);
	put_le32(ret_header + 76, nonce);
}
