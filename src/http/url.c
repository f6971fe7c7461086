#include "http/url.h"

#include <ctype.h>

static int bad(struct err *err, const char *what)
{
	return err_set(err, HCP_EPARSE, "url", "%s", what);
}

static const struct { struct str name; uint16_t port; bool tls; } schemes[] = {
	{ STR("http"), 80, false }, { STR("https"), 443, true }, { STR("ws"), 80, false }, { STR("wss"), 443, true },
};

static int parse_port(struct str s, uint16_t *ret_port, struct err *err)
{
	unsigned v = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9' || (v = v * 10 + (unsigned)(s.p[i] - '0')) > 65535)
			return bad(err, "the port must be a number from 1 to 65535");
	}
	if (v == 0)
		return bad(err, "the port must be a number from 1 to 65535");
	*ret_port = (uint16_t)v;
	return 0;
}

static int parse_authority(struct str a, struct url *u, struct err *err)
{
	struct str port = { NULL, 0 };
	if (memchr(a.p, '@', a.n))
		return bad(err, "user names in addresses are not allowed");
	const char *colon;
	if (a.n > 0 && a.p[0] == '[') {
		const char *end = memchr(a.p, ']', a.n);
		if (!end)
			return bad(err, "an IPv6 address ends with ']'");
		u->host = (struct str){ a.p + 1, (size_t)(end - a.p) - 1 };
		for (size_t i = 0; i < u->host.n; i++)
			if (!isxdigit((unsigned char)u->host.p[i]) && !memchr(":.", u->host.p[i], 2))
				return bad(err, "brackets hold an IPv6 address");
		colon = end + 1 < a.p + a.n ? end + 1 : NULL;
		if (colon && *colon != ':')
			return bad(err, "only a port may follow the address");
	} else {
		colon = memchr(a.p, ':', a.n);
		u->host = (struct str){ a.p, colon ? (size_t)(colon - a.p) : a.n };
	}
	if (u->host.n == 0 || u->host.n > 253)
		return bad(err, "the host is missing or too long");
	if (!colon)
		return 0;
	port = (struct str){ colon + 1, (size_t)(a.p + a.n - colon) - 1 };
	return parse_port(port, &u->port, err);
}

int url_parse(struct str text, struct url *ret_url, struct err *err)
{
	struct url u = { .target = STR("") };
	for (size_t i = 0; i < text.n; i++)
		if ((unsigned char)text.p[i] <= ' ' || text.p[i] == 127)
			return bad(err, "blanks and control characters must be percent-encoded");
	const char *sep = memmem(text.p, text.n, "://", 3);
	if (!sep)
		return bad(err, "must begin with a scheme, like https://");
	u.scheme = (struct str){ text.p, (size_t)(sep - text.p) };
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (str_eq(u.scheme, schemes[i].name)) {
			u.port = schemes[i].port;
			u.tls = schemes[i].tls;
		}
	if (!u.port)
		return bad(err, "the scheme must be http, https, ws or wss");
	struct str rest = { sep + 3, (size_t)(text.p + text.n - sep) - 3 };
	const char *hash = memchr(rest.p, '#', rest.n);
	if (hash)
		rest.n = (size_t)(hash - rest.p);
	size_t n = 0;
	while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
		n++;
	int rc = parse_authority((struct str){ rest.p, n }, &u, err);
	if (rc < 0)
		return rc;
	u.target = (struct str){ rest.p + n, rest.n - n };
	*ret_url = u;
	return 0;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
		   : c >= 'a' && c <= 'f' ? c - 'a' + 10
		   : c >= 'A' && c <= 'F' ? c - 'A' + 10
								  : -1;
}

int url_decode(struct buf *b, struct str s, bool plus)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (c == '+' && plus)
			c = ' ';
		if (c == '%') {
			int hi = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
			int lo = hi >= 0 ? hex_digit(s.p[i + 2]) : -1;
			if (lo < 0)
				return HCP_EPARSE;
			c = (char)(hi * 16 + lo);
			i += 2;
		}
		if (c == 0)
			return HCP_EPARSE;
		buf_addc(b, c);
	}
	return buf_failed(b) ? HCP_ENOMEM : 0;
}

void url_encode(struct buf *b, struct str s)
{
	static const char digits[] = "0123456789ABCDEF";
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
					 c == '.' || c == '_' || c == '~';
		if (plain) {
			buf_addc(b, (char)c);
		} else {
			char e[3] = { '%', digits[c >> 4], digits[c & 15] };
			buf_add(b, e, 3);
		}
	}
}

bool query_next(struct str *rest, struct str *ret_name, struct str *ret_value)
{
	while (rest->p) {
		struct str pair = str_split(rest, '&');
		if (pair.n == 0)
			continue;
		struct str value = pair;
		*ret_name = str_split(&value, '=');
		*ret_value = value.p ? value : (struct str){ "", 0 };
		return true;
	}
	return false;
}

int query_get(struct str query, const char *name, struct buf *b)
{
	struct str k, v;
	struct buf t;
	buf_init(&t, 0);
	int rc = HCP_ENOTFOUND;
	while (query_next(&query, &k, &v)) {
		buf_clear(&t);
		int bad_name = url_decode(&t, k, true);
		if (bad_name < 0 || !str_eqz(buf_str(&t), name))
			continue;
		rc = url_decode(b, v, true);
		break;
	}
	buf_release(&t);
	return rc;
}
