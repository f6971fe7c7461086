#include "wire/xmlscan.h"

#include <string.h>

void xmlscan_init(struct xmlscan *x, struct str text)
{
	*x = (struct xmlscan){ .start = text.p, .p = text.p, .end = text.p + text.n };
}

static int fail(const struct xmlscan *x, int code, struct err *err, const char *what)
{
	size_t line = 1;
	for (const char *p = x->start; p < x->p && p < x->end; p++)
		line += *p == '\n';
	return err_set(err, code, "xml", "line %zu: %s", line, what);
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
		   c == '.' || c == ':' || (unsigned char)c >= 128;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct str take_name(struct xmlscan *x)
{
	struct str n = { x->p, 0 };
	while (x->p < x->end && is_name(*x->p))
		x->p++;
	n.n = (size_t)(x->p - n.p);
	return n;
}

static bool starts(const struct xmlscan *x, const char *lit)
{
	size_t n = strlen(lit);
	return (size_t)(x->end - x->p) >= n && memcmp(x->p, lit, n) == 0;
}

/* Passes over everything up to and with lit; *ret_from: where what was passed over began. */
static bool skip_to(struct xmlscan *x, const char *lit, struct str *ret_between)
{
	size_t n = strlen(lit);
	const char *at = x->end > x->p ? memmem(x->p, (size_t)(x->end - x->p), lit, n) : NULL;
	if (!at)
		return false;
	*ret_between = (struct str){ x->p, (size_t)(at - x->p) };
	x->p = at + n;
	return true;
}

static struct str local(struct str name)
{
	const char *colon = name.n ? memrchr(name.p, ':', name.n) : NULL;
	if (!colon)
		return name;
	return (struct str){ colon + 1, name.n - (size_t)(colon + 1 - name.p) };
}

/* After the element's name: attributes, then '>' or '/>'. */
static int pass_attributes(struct xmlscan *x, struct err *err)
{
	char quote = 0;
	for (; x->p < x->end; x->p++) {
		char c = *x->p;
		if (quote) {
			quote = c == quote ? 0 : quote;
		} else if (c == '"' || c == '\'') {
			quote = c;
		} else if (c == '<') {
			return fail(x, HCP_EPARSE, err, "'<' within a tag");
		} else if (c == '>') {
			x->empty = x->p[-1] == '/';
			x->p++;
			return 0;
		}
	}
	return fail(x, HCP_EPARSE, err, "a tag does not end");
}

static int open_tag(struct xmlscan *x, struct err *err)
{
	struct str name = take_name(x);
	if (name.n == 0)
		return fail(x, HCP_EPARSE, err, "a tag without a name");
	if (x->depth == 0 && x->rooted)
		return fail(x, HCP_EPARSE, err, "a second root element");
	if (x->depth == XMLSCAN_DEPTH_MAX)
		return fail(x, HCP_ELIMIT, err, "nested too deeply");
	int rc = pass_attributes(x, err);
	if (rc < 0)
		return rc;
	x->rooted = true;
	x->open[x->depth++] = name;
	x->kind = XMLSCAN_OPEN;
	x->name = local(name);
	return 1;
}

static int close_tag(struct xmlscan *x, struct err *err)
{
	struct str name = take_name(x);
	while (x->p < x->end && is_blank(*x->p))
		x->p++;
	if (x->p == x->end || *x->p != '>')
		return fail(x, HCP_EPARSE, err, "an end tag does not end");
	x->p++;
	if (x->depth == 0 || !str_eq(x->open[x->depth - 1], name))
		return fail(x, HCP_EPARSE, err, "an end tag that closes nothing open");
	x->depth--;
	x->kind = XMLSCAN_CLOSE;
	x->name = local(name);
	return 1;
}

/* At '<'. 1: a piece; 0: passed over. */
static int markup(struct xmlscan *x, struct err *err)
{
	struct str between;
	if (starts(x, "<!--")) {
		x->p += 4;
		return skip_to(x, "-->", &between) ? 0 : fail(x, HCP_EPARSE, err, "a comment does not end");
	}
	if (starts(x, "<![CDATA[")) {
		x->p += 9;
		if (!skip_to(x, "]]>", &between))
			return fail(x, HCP_EPARSE, err, "a CDATA section does not end");
		if (x->depth == 0)
			return fail(x, HCP_EPARSE, err, "text outside the root element");
		x->kind = XMLSCAN_TEXT;
		x->text = between;
		x->cdata = true;
		return 1;
	}
	if (starts(x, "<?")) {
		x->p += 2;
		return skip_to(x, "?>", &between) ? 0 : fail(x, HCP_EPARSE, err, "a processing instruction does not end");
	}
	if (starts(x, "<!"))
		return fail(x, HCP_EPARSE, err, "document types are not taken");
	if (starts(x, "</")) {
		x->p += 2;
		return close_tag(x, err);
	}
	x->p++;
	return open_tag(x, err);
}

static int text_run(struct xmlscan *x, struct err *err)
{
	const char *from = x->p, *at = memchr(x->p, '<', (size_t)(x->end - x->p));
	x->p = at ? at : x->end;
	x->text = (struct str){ from, (size_t)(x->p - from) };
	x->kind = XMLSCAN_TEXT;
	x->cdata = false;
	if (x->depth)
		return 1;
	/* A byte-order mark may stand before the root, blanks before and after it. */
	if (!x->rooted && x->text.n >= 3 && memcmp(x->text.p, "\xef\xbb\xbf", 3) == 0)
		x->text = (struct str){ x->text.p + 3, x->text.n - 3 };
	for (size_t i = 0; i < x->text.n; i++)
		if (!is_blank(x->text.p[i]))
			return fail(x, HCP_EPARSE, err, "text outside the root element");
	return 0;
}

int xmlscan_next(struct xmlscan *x, struct err *err)
{
	if (x->empty) {
		x->empty = false;
		x->kind = XMLSCAN_CLOSE;
		x->name = local(x->open[--x->depth]);
		return 1;
	}
	while (x->p < x->end) {
		int rc = *x->p == '<' ? markup(x, err) : text_run(x, err);
		if (rc != 0)
			return rc;
	}
	if (x->depth)
		return fail(x, HCP_EPARSE, err, "the text ends within an element");
	return x->rooted ? 0 : fail(x, HCP_EPARSE, err, "no element");
}

static size_t put_utf8(char *dst, unsigned long v)
{
	if (v < 0x80) {
		dst[0] = (char)v;
		return 1;
	}
	size_t n = v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;
	for (size_t i = n - 1; i > 0; i--, v >>= 6)
		dst[i] = (char)(0x80 | (v & 0x3f));
	dst[0] = (char)((0xff00 >> n & 0xff) | v);
	return n;
}

/* ref: what stands between & and ;. Writes at most 4 bytes; 0: unknown. */
static size_t reference(struct str ref, char dst[4])
{
	static const struct {
		const char *name;
		char c;
	} named[] = { { "amp", '&' }, { "lt", '<' }, { "gt", '>' }, { "quot", '"' }, { "apos", '\'' } };
	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
		if (str_eqz(ref, named[i].name)) {
			dst[0] = named[i].c;
			return 1;
		}
	}
	bool hex = ref.n > 1 && ref.p[1] == 'x';
	size_t i = hex ? 2 : 1;
	unsigned long v = 0;
	if (ref.n <= i || ref.n > i + 7 || ref.p[0] != '#')
		return 0;
	for (; i < ref.n; i++) {
		char c = ref.p[i];
		int digit = c >= '0' && c <= '9'                        ? c - '0'
					: hex && (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
																: -1;
		if (digit < 0)
			return 0;
		v = v * (hex ? 16 : 10) + (unsigned long)digit;
	}
	if (v == 0 || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
		return 0;
	return put_utf8(dst, v);
}

int xmlscan_decode(const struct xmlscan *x, char *dst, size_t cap)
{
	size_t n = 0;
	const char *p = x->text.p, *end = p + x->text.n;
	while (p < end) {
		char piece[4] = { *p };
		size_t piece_n = 1;
		if (*p == '&' && !x->cdata) {
			const char *semi = memchr(p, ';', (size_t)(end - p));
			piece_n = semi ? reference((struct str){ p + 1, (size_t)(semi - p) - 1 }, piece) : 0;
			if (piece_n == 0)
				return HCP_EPARSE;
			p = semi;
		}
		p++;
		if (n + piece_n >= cap)
			return HCP_ERANGE;
		memcpy(dst + n, piece, piece_n);
		n += piece_n;
	}
	if (n >= cap)
		return HCP_ERANGE;
	dst[n] = 0;
	return 0;
}
