#include "wire/jscan.h"

#include "base/panic.h"
#include "base/utf8.h"

void jscan_init(struct jscan *s, struct str text)
{
	const char *p = text.p ? text.p : "";
	*s = (struct jscan){ .start = p, .p = p, .end = p + text.n };
}

int jscan_fail(const struct jscan *s, struct err *err, const char *what)
{
	size_t line = 1, column = 1;
	for (const char *p = s->start; p < s->p; p++) {
		column++;
		if (*p == '\n')
			line++, column = 1;
	}
	return err_set(err, HCP_EPARSE, "", "JSON: line %zu, column %zu: %s", line, column, what);
}

static void skip_blanks(struct jscan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
		s->p++;
}

enum jscan_kind jscan_kind(struct jscan *s)
{
	skip_blanks(s);
	if (s->p == s->end)
		return JSCAN_END;
	switch (*s->p) {
	case 'n': return JSCAN_NULL;
	case 't':
	case 'f': return JSCAN_BOOL;
	case '"': return JSCAN_STRING;
	case '[': return JSCAN_ARRAY;
	case '{': return JSCAN_OBJECT;
	default: return *s->p == '-' || (*s->p >= '0' && *s->p <= '9') ? JSCAN_NUMBER : JSCAN_BAD;
	}
}

const char *jscan_kind_name(enum jscan_kind kind)
{
	static const char *const names[] = { "nothing", "null", "true or false", "a number", "a string", "an array",
		"an object", "something that is no JSON value" };
	return names[kind];
}

static int expect(struct jscan *s, enum jscan_kind kind, struct err *err)
{
	static const char *const wanted[] = { "nothing more is allowed here", "null expected", "true or false expected",
		"a number expected", "a string expected", "an array expected", "an object expected", "" };
	enum jscan_kind found = jscan_kind(s);
	if (found == kind)
		return 0;
	return jscan_fail(s, err, found == JSCAN_END ? "the text ends too early" : wanted[kind]);
}

static char closer(enum jscan_kind kind)
{
	must(kind == JSCAN_ARRAY || kind == JSCAN_OBJECT);
	return kind == JSCAN_ARRAY ? ']' : '}';
}

int jscan_enter(struct jscan *s, enum jscan_kind kind, struct err *err)
{
	int rc = expect(s, kind, err);
	if (rc < 0)
		return rc;
	if (s->depth == JSCAN_DEPTH_MAX)
		return err_set(err, HCP_ELIMIT, "", "JSON: nested deeper than %d levels", JSCAN_DEPTH_MAX);
	s->p++;
	skip_blanks(s);
	if (s->p < s->end && *s->p == closer(kind)) {
		s->p++;
		return 0;
	}
	s->depth++;
	return 1;
}

int jscan_more(struct jscan *s, enum jscan_kind kind, struct err *err)
{
	skip_blanks(s);
	if (s->p == s->end)
		return jscan_fail(s, err, "the text ends too early");
	if (*s->p == closer(kind)) {
		s->p++;
		s->depth--;
		return 0;
	}
	if (*s->p != ',')
		return jscan_fail(s, err, kind == JSCAN_ARRAY ? "expected ',' or ']'" : "expected ',' or '}'");
	s->p++;
	return 1;
}

/* The four hex digits at p, or -1. */
static int hex4(const char *p, const char *end)
{
	int v = 0;
	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = p[i];
		int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

/* s->p stands behind a backslash. */
static int scan_escape(struct jscan *s, struct err *err)
{
	if (s->p == s->end)
		return jscan_fail(s, err, "the string does not end");
	if (*s->p != 'u') {
		if (!*s->p || !strchr("\"\\/bfnrt", *s->p))
			return jscan_fail(s, err, "unknown escape in a string");
		s->p++;
		return 0;
	}
	int v = hex4(s->p + 1, s->end);
	if (v < 0)
		return jscan_fail(s, err, "\\u needs four hex digits");
	if (v == 0)
		return jscan_fail(s, err, "U+0000 is not allowed in a string");
	if (v >= 0xdc00 && v <= 0xdfff)
		return jscan_fail(s, err, "a low surrogate stands alone");
	if (v >= 0xd800 && v <= 0xdbff) {
		const char *q = s->p + 5;
		int low = s->end - q >= 6 && q[0] == '\\' && q[1] == 'u' ? hex4(q + 2, s->end) : -1;
		if (low < 0xdc00 || low > 0xdfff)
			return jscan_fail(s, err, "a high surrogate stands alone");
		s->p += 6;
	}
	s->p += 5;
	return 0;
}

int jscan_string(struct jscan *s, struct jscan_text *ret, struct err *err)
{
	int rc = expect(s, JSCAN_STRING, err);
	if (rc < 0)
		return rc;
	const char *from = ++s->p;
	bool escaped = false;
	while (s->p < s->end && *s->p != '"') {
		unsigned char c = (unsigned char)*s->p;
		if (c == '\\') {
			escaped = true;
			s->p++;
			rc = scan_escape(s, err);
			if (rc < 0)
				return rc;
		} else if (c < 0x20) {
			return jscan_fail(s, err, "control characters in a string must be escaped");
		} else if (c < 0x80) {
			s->p++;
		} else {
			size_t len = utf8_len(s->p, (size_t)(s->end - s->p));
			if (len == 0)
				return jscan_fail(s, err, "the string is not valid UTF-8");
			s->p += len;
		}
	}
	if (s->p == s->end)
		return jscan_fail(s, err, "the string does not end");
	*ret = (struct jscan_text){ { from, (size_t)(s->p - from) }, escaped };
	s->p++;
	return 0;
}

int jscan_key(struct jscan *s, struct str *ret, struct err *err)
{
	struct jscan_text text;
	int rc = jscan_string(s, &text, err);
	if (rc < 0)
		return rc;
	skip_blanks(s);
	if (s->p == s->end || *s->p != ':')
		return jscan_fail(s, err, "expected ':' after a name");
	s->p++;
	*ret = text.raw;
	return 0;
}

static bool skip_digits(struct jscan *s)
{
	const char *from = s->p;
	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return s->p > from;
}

int jscan_number(struct jscan *s, struct str *ret, struct err *err)
{
	int rc = expect(s, JSCAN_NUMBER, err);
	if (rc < 0)
		return rc;
	const char *from = s->p;
	if (*s->p == '-')
		s->p++;
	const char *digits = s->p;
	bool ok = skip_digits(s) && !(*digits == '0' && s->p - digits > 1);
	if (ok && s->p < s->end && *s->p == '.') {
		s->p++;
		ok = skip_digits(s);
	}
	if (ok && s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		ok = skip_digits(s);
	}
	if (!ok)
		return jscan_fail(s, err, "malformed number");
	*ret = (struct str){ from, (size_t)(s->p - from) };
	return 0;
}

static bool take_word(struct jscan *s, struct str word)
{
	if (!str_starts((struct str){ s->p, (size_t)(s->end - s->p) }, word))
		return false;
	s->p += word.n;
	return true;
}

int jscan_bool(struct jscan *s, bool *ret, struct err *err)
{
	int rc = expect(s, JSCAN_BOOL, err);
	if (rc < 0)
		return rc;
	bool value = *s->p == 't';
	if (!take_word(s, value ? STR("true") : STR("false")))
		return jscan_fail(s, err, "true or false expected");
	*ret = value;
	return 0;
}

int jscan_null(struct jscan *s, struct err *err)
{
	int rc = expect(s, JSCAN_NULL, err);
	if (rc < 0)
		return rc;
	return take_word(s, STR("null")) ? 0 : jscan_fail(s, err, "null expected");
}

/* Recursion is bounded: jscan_enter refuses at JSCAN_DEPTH_MAX. */
static int skip_nested(struct jscan *s, enum jscan_kind kind, struct err *err)
{
	int rc = jscan_enter(s, kind, err);
	while (rc > 0) {
		struct str key;
		if (kind == JSCAN_OBJECT && (rc = jscan_key(s, &key, err)) < 0)
			return rc;
		rc = jscan_skip(s, NULL, err);
		if (rc < 0)
			return rc;
		rc = jscan_more(s, kind, err);
	}
	return rc;
}

int jscan_skip(struct jscan *s, struct str *ret_raw, struct err *err)
{
	enum jscan_kind kind = jscan_kind(s);
	const char *from = s->p;
	struct jscan_text text;
	struct str number;
	bool flag;
	int rc;
	switch (kind) {
	case JSCAN_NULL: rc = jscan_null(s, err); break;
	case JSCAN_BOOL: rc = jscan_bool(s, &flag, err); break;
	case JSCAN_NUMBER: rc = jscan_number(s, &number, err); break;
	case JSCAN_STRING: rc = jscan_string(s, &text, err); break;
	case JSCAN_ARRAY:
	case JSCAN_OBJECT: rc = skip_nested(s, kind, err); break;
	case JSCAN_END: rc = jscan_fail(s, err, "the text ends too early"); break;
	default: rc = jscan_fail(s, err, "a value expected"); break;
	}
	if (rc < 0)
		return rc;
	if (ret_raw)
		*ret_raw = (struct str){ from, (size_t)(s->p - from) };
	return 0;
}

int jscan_end(struct jscan *s, struct err *err)
{
	return expect(s, JSCAN_END, err);
}

static size_t put_utf8(char *dst, uint32_t cp)
{
	if (cp < 0x80) {
		dst[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		dst[0] = (char)(0xc0 | cp >> 6);
		dst[1] = (char)(0x80 | (cp & 63));
		return 2;
	}
	if (cp < 0x10000) {
		dst[0] = (char)(0xe0 | cp >> 12);
		dst[1] = (char)(0x80 | (cp >> 6 & 63));
		dst[2] = (char)(0x80 | (cp & 63));
		return 3;
	}
	dst[0] = (char)(0xf0 | cp >> 18);
	dst[1] = (char)(0x80 | (cp >> 12 & 63));
	dst[2] = (char)(0x80 | (cp >> 6 & 63));
	dst[3] = (char)(0x80 | (cp & 63));
	return 4;
}

size_t jscan_unescape(char *dst, struct str raw)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	size_t n = 0;
	const char *p = raw.p, *end = raw.p + raw.n;
	while (p < end) {
		if (*p != '\\') {
			dst[n++] = *p++;
			continue;
		}
		p++;
		if (*p != 'u') {
			const char *at = strchr(from, *p);
			dst[n++] = at ? to[at - from] : *p;
			p++;
			continue;
		}
		uint32_t cp = (uint32_t)hex4(p + 1, end);
		p += 5;
		if (cp >= 0xd800 && cp <= 0xdbff) {
			cp = 0x10000 + ((cp - 0xd800) << 10) + ((uint32_t)hex4(p + 2, end) - 0xdc00);
			p += 6;
		}
		n += put_utf8(dst + n, cp);
	}
	return n;
}
