#include "stratum/target.h"

#include <math.h>
#include <string.h>

/* v * 2^shift; all ones when it does not fit. */
static void put_shifted(uint64_t v, int shift, uint8_t ret[32])
{
	memset(ret, 0, 32);
	if (shift < 0) {
		v = shift > -64 ? v >> -shift : 0;
		shift = 0;
	}
	for (int bit = 0; bit < 64; bit++) {
		if (!(v >> bit & 1))
			continue;
		if (shift + bit > 255) {
			memset(ret, 0xff, 32);
			return;
		}
		ret[(shift + bit) / 8] |= (uint8_t)(1 << (shift + bit) % 8);
	}
}

void target_of_difficulty(double difficulty, uint8_t ret[32])
{
	int exponent;
	double m = frexp(65535.0 / difficulty, &exponent);
	put_shifted((uint64_t)ldexp(m, 53), 208 + exponent - 53, ret);
}

void target_of_nbits(uint32_t nbits, uint8_t ret[32])
{
	int bytes = (int)(nbits >> 24);
	uint32_t m = nbits & 0x7fffff;
	memset(ret, 0, 32);
	if ((nbits & 0x800000) || bytes > 34 || (bytes > 33 && m > 0xff) || (bytes > 32 && m > 0xffff))
		return;
	put_shifted(m, 8 * (bytes - 3), ret);
}

bool target_met(const uint8_t hash[32], const uint8_t target[32])
{
	for (int i = 31; i >= 0; i--)
		if (hash[i] != target[i])
			return hash[i] < target[i];
	return true;
}
