/* Bytes as any message of ours: accepted or refused as by protobuf-c, and packed to the same bytes. */
#include <stddef.h>
#include <stdint.h>

#include "pb_same.h"
#include "spec_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const struct msg_info *info = n ? msg_info(p[0]) : NULL;
	if (info)
		pb_must_be_same(info->desc, (struct str){ (const char *)p + 1, n - 1 });
	return 0;
}
