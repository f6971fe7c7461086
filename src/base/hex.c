#include "base/hex.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

char *hex_encode(char *dst, const void *src, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = src;
	for (size_t i = 0; i < n; i++) {
		dst[2 * i] = digits[p[i] >> 4];
		dst[2 * i + 1] = digits[p[i] & 15];
	}
	dst[2 * n] = '\0';
	return dst;
}

int hex_decode(void *dst, size_t n, struct str s)
{
	uint8_t *out = dst;
	if (s.n != 2 * n)
		return HCP_EPARSE;
	for (size_t i = 0; i < n; i++) {
		int hi = nibble(s.p[2 * i]), lo = nibble(s.p[2 * i + 1]);
		if (hi < 0 || lo < 0)
			return HCP_EPARSE;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}

void b64url_encode(struct buf *b, const void *src, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const uint8_t *p = src;
	for (size_t i = 0; i < n; i += 3) {
		size_t left = n - i < 3 ? n - i : 3;
		uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
		for (size_t k = 0; k <= left; k++)
			buf_addc(b, digits[v >> (18 - 6 * k) & 63]);
	}
}

static int b64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

int b64url_decode(struct buf *b, struct str s)
{
	if (s.n % 4 == 1)
		return HCP_EPARSE;
	uint32_t v = 0;
	int bits = 0;
	for (size_t i = 0; i < s.n; i++) {
		int d = b64_value(s.p[i]);
		if (d < 0)
			return HCP_EPARSE;
		v = v << 6 | (uint32_t)d;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			buf_addc(b, (char)(v >> bits & 255));
		}
	}
	if (v & ((1U << bits) - 1))
		return HCP_EPARSE;
	return buf_failed(b) ? HCP_ENOMEM : 0;
}

static uint32_t crc32c_soft(uint32_t crc, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		crc ^= p[i];
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (0x82f63b78U & -(crc & 1));
	}
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const uint8_t *p, size_t n)
{
	uint64_t c = crc;
	for (; n >= 8; n -= 8, p += 8) {
		uint64_t w;
		__builtin_memcpy(&w, p, 8);
		c = _mm_crc32_u64(c, w);
	}
	for (; n; n--, p++)
		c = _mm_crc32_u8((uint32_t)c, *p);
	return (uint32_t)c;
}
#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc32c_sse42(~crc, p, n);
#endif
	return ~crc32c_soft(~crc, p, n);
}
