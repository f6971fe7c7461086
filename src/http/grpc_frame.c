#include "http/grpc_frame.h"

#include <stdio.h>

void grpc_reader_init(struct grpc_reader *r, size_t max_message)
{
	buf_init(&r->b, 0);
	r->max_message = max_message;
}

void grpc_reader_release(struct grpc_reader *r)
{
	buf_release(&r->b);
}

static int check_prefix(const struct grpc_reader *r, const uint8_t *p, size_t *ret_len)
{
	if (p[0] > 1)
		return HCP_EPARSE;
	if (p[0] == 1)
		return HCP_EUNSUPPORTED;
	size_t len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	if (len > r->max_message)
		return HCP_ELIMIT;
	*ret_len = len;
	return 0;
}

/* Fills r->b up to want bytes; true when there. */
static bool fill(struct grpc_reader *r, const uint8_t **p, size_t *n, size_t want)
{
	if (r->b.n < want) {
		size_t take = want - r->b.n < *n ? want - r->b.n : *n;
		buf_add(&r->b, *p, take);
		*p += take;
		*n -= take;
	}
	return !buf_failed(&r->b) && r->b.n >= want;
}

int grpc_reader_feed(struct grpc_reader *r, const void *bytes, size_t n, bool (*on_message)(void *arg, struct str msg),
	void *arg)
{
	const uint8_t *p = bytes;
	size_t len;
	for (;;) {
		/* Whole messages are handed on where they lie. */
		while (r->b.n == 0 && n >= GRPC_PREFIX_BYTES) {
			int rc = check_prefix(r, p, &len);
			if (rc < 0)
				return rc;
			if (n - GRPC_PREFIX_BYTES < len)
				break;
			const char *msg = (const char *)p + GRPC_PREFIX_BYTES;
			p += GRPC_PREFIX_BYTES + len;
			n -= GRPC_PREFIX_BYTES + len;
			if (!on_message(arg, (struct str){ msg, len }))
				return HCP_ECANCELED;
		}
		if (n == 0)
			return 0;
		bool there = fill(r, &p, &n, GRPC_PREFIX_BYTES);
		if (there) {
			int rc = check_prefix(r, (const uint8_t *)r->b.data, &len);
			if (rc < 0)
				return rc;
			there = fill(r, &p, &n, GRPC_PREFIX_BYTES + len);
		}
		if (buf_failed(&r->b))
			return HCP_ENOMEM;
		if (!there)
			return 0;
		/* The callback may release the reader: the bytes are taken out of it for the time. */
		struct buf own = r->b;
		buf_init(&r->b, 0);
		bool go_on = on_message(arg, (struct str){ own.data + GRPC_PREFIX_BYTES, len });
		buf_release(&own);
		if (!go_on)
			return HCP_ECANCELED;
	}
}

bool grpc_reader_at_end(const struct grpc_reader *r)
{
	return r->b.n == 0;
}

void grpc_prefix(uint8_t dst[GRPC_PREFIX_BYTES], uint32_t n)
{
	dst[0] = 0;
	dst[1] = (uint8_t)(n >> 24);
	dst[2] = (uint8_t)(n >> 16);
	dst[3] = (uint8_t)(n >> 8);
	dst[4] = (uint8_t)n;
}

int grpc_timeout_parse(struct str s, int64_t *ret_ns)
{
	if (s.n < 2 || s.n > 9)
		return HCP_EPARSE;
	int64_t v = 0;
	for (size_t i = 0; i + 1 < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return HCP_EPARSE;
		v = v * 10 + (s.p[i] - '0');
	}
	int64_t unit;
	switch (s.p[s.n - 1]) {
	case 'H': unit = 3600000000000; break;
	case 'M': unit = 60000000000; break;
	case 'S': unit = 1000000000; break;
	case 'm': unit = 1000000; break;
	case 'u': unit = 1000; break;
	case 'n': unit = 1; break;
	default: return HCP_EPARSE;
	}
	/* A hundred years are for ever, and do not overflow. */
	const int64_t most = INT64_MAX / 4;
	*ret_ns = v > most / unit ? most : v * unit;
	return 0;
}

void grpc_timeout_format(char *dst, uint32_t ms)
{
	if (ms < 100000000)
		snprintf(dst, 16, "%um", ms);
	else
		snprintf(dst, 16, "%uS", ms / 1000);
}

void grpc_message_encode(struct buf *b, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c >= ' ' && c <= '~' && c != '%')
			buf_addc(b, (char)c);
		else
			buf_printf(b, "%%%02X", c);
	}
}

static int digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
		   : c >= 'A' && c <= 'F' ? c - 'A' + 10
		   : c >= 'a' && c <= 'f' ? c - 'a' + 10
								  : -1;
}

void grpc_message_decode(struct buf *b, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '%' && i + 2 < s.n && digit(s.p[i + 1]) >= 0 && digit(s.p[i + 2]) >= 0) {
			buf_addc(b, (char)(digit(s.p[i + 1]) * 16 + digit(s.p[i + 2])));
			i += 2;
		} else {
			buf_addc(b, s.p[i]);
		}
	}
}
