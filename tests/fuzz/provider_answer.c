/* Answers of a provider of nodes are refused with a reason, or say one of the known words and a price in range. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "courier/provider.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	for (int c = SCALE_CALL_QUOTE; c <= SCALE_CALL_STOP; c++) {
		struct provider_answer a, before;
		struct err err = { 0 };
		memset(&a, 0x5a, sizeof(a));
		before = a;
		int rc = provider_http_read((enum scale_call)c, (struct str){ (const char *)p, n }, &a, &err);
		if (rc < 0 ? (err.code != rc || memcmp(&a, &before, sizeof(a)) != 0)
				   : (a.code || a.price_micros_h < 0 || a.price_micros_h > INT64_C(100000000000) ||
						 !scale_word_name(a.says) || (c != SCALE_CALL_QUOTE && a.says == SCALE_SAYS_UNKNOWN)))
			abort();
	}
	return 0;
}
