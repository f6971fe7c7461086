/* What is accepted is exactly what would be written. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/str.h"
#include "svc/bases.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct base b;
	struct buf same;
	struct str text = { (const char *)p, n };
	if (bases_parse(text, &b) < 0)
		return 0;
	buf_init(&same, 0);
	bases_format(&b, &same);
	if (b.batch < 1 || b.bytes < 1 || !str_eq(buf_str(&same), text))
		abort();
	buf_release(&same);
	return 0;
}
