#include "base/id.h"

#include <string.h>

#include "base/money.h"

static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

struct id id_new(int64_t now_ns, struct rng *rng)
{
	struct id id;
	uint64_t ms = (uint64_t)(now_ns / NS_PER_MS), a = rng_u64(rng), b = rng_u64(rng);
	for (int i = 0; i < 6; i++)
		id.b[i] = (uint8_t)(ms >> (40 - 8 * i));
	id.b[6] = (uint8_t)(0x70 | (a & 0x0f));
	id.b[7] = (uint8_t)(a >> 8);
	for (int i = 8; i < 16; i++)
		id.b[i] = (uint8_t)(b >> (8 * (i - 8)));
	id.b[8] = (uint8_t)(0x80 | (id.b[8] & 0x3f));
	return id;
}

bool id_is_nil(const struct id *id)
{
	static const struct id nil;
	return memcmp(id, &nil, sizeof(nil)) == 0;
}

char *id_format(char dst[ID_TEXT_MAX], const char *type, const struct id *id)
{
	size_t n = strnlen(type, ID_TEXT_MAX - 29);
	memcpy(dst, type, n);
	dst[n++] = '-';
	/* 128 bits as 26 digits of 5 bits, most significant first: the first digit holds 3 bits. */
	unsigned __int128 v = 0;
	for (int i = 0; i < 16; i++)
		v = v << 8 | id->b[i];
	for (int i = 25; i >= 0; i--) {
		dst[n + i] = digits[(unsigned)v & 31];
		v >>= 5;
	}
	dst[n + 26] = '\0';
	return dst;
}

int id_parse(struct str s, const char *type, struct id *ret)
{
	const char *dash = s.n ? memchr(s.p, '-', s.n) : NULL;
	if (!dash || s.n - (size_t)(dash - s.p) != 27 || dash - s.p > 4 || dash == s.p)
		return HCP_EPARSE;
	if (type && !str_eqz((struct str){ s.p, (size_t)(dash - s.p) }, type))
		return HCP_EPARSE;
	unsigned __int128 v = 0;
	for (int i = 0; i < 26; i++) {
		const char *d = dash[1 + i] ? strchr(digits, dash[1 + i]) : NULL;
		if (!d || (i == 0 && d - digits > 7))
			return HCP_EPARSE;
		v = v << 5 | (unsigned)(d - digits);
	}
	for (int i = 15; i >= 0; i--) {
		ret->b[i] = (uint8_t)v;
		v >>= 8;
	}
	return 0;
}

bool id_is_name(const char *text)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t n = strlen(text);
	return n > 0 && n <= 64 && text[0] != '.' && strspn(text, allowed) == n;
}
