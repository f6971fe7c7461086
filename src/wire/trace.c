#include "wire/trace.h"

#include "base/hex.h"

static bool is_lower_hex(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!(s.p[i] >= '0' && s.p[i] <= '9') && !(s.p[i] >= 'a' && s.p[i] <= 'f'))
			return false;
	return true;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	uint8_t any = 0;
	for (size_t i = 0; i < n; i++)
		any |= p[i];
	return any == 0;
}

static int decode(struct str *rest, uint8_t *dst, size_t n)
{
	struct str part = str_split(rest, '-');
	return part.n == 2 * n && is_lower_hex(part) ? hex_decode(dst, n, part) : HCP_EPARSE;
}

int trace_parse(struct str text, struct trace *ret)
{
	struct str rest = str_trim(text);
	struct trace t;
	uint8_t version;
	if (decode(&rest, &version, 1) || decode(&rest, t.trace_id, 16) || decode(&rest, t.span_id, 8) ||
	    decode(&rest, &t.flags, 1))
		return HCP_EPARSE;
	if (version == 0xff || (version == 0 && rest.p))
		return HCP_EPARSE;
	if (is_zero(t.trace_id, 16) || is_zero(t.span_id, 8))
		return HCP_EPARSE;
	/* Of a later version only the flag known here has a meaning. */
	if (version != 0)
		t.flags &= TRACE_SAMPLED;
	*ret = t;
	return 0;
}

char *trace_format(const struct trace *t, char dst[TRACE_TEXT_LEN + 1])
{
	memcpy(dst, "00-", 3);
	hex_encode(dst + 3, t->trace_id, 16);
	dst[35] = '-';
	hex_encode(dst + 36, t->span_id, 8);
	dst[52] = '-';
	hex_encode(dst + 53, &t->flags, 1);
	return dst;
}
