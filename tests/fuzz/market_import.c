/* The first byte chooses the kind of file. What is taken can be written, in order of time, without a row twice. */
#include <stdint.h>
#include <stdlib.h>

#include "wire/market_import.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct market_import m;
	struct market_import_file f = { 0 };
	struct err err = { 0 };
	size_t kinds = 0;
	struct buf out;
	if (n == 0)
		return 0;
	while (market_import_kind_at(kinds))
		kinds++;
	if (market_import_init(&m, market_import_kind_at(p[0] % kinds), NULL, &err) < 0)
		abort();
	int rc = market_import_add(&m, "cdr.20240101.x.csv", (struct str){ (const char *)p + 1, n - 1 }, &err);
	if (rc < 0 && err.code != rc)
		abort();
	market_import_seal(&m);
	buf_init(&out, 0);
	while (market_import_next(&m, &f)) {
		buf_clear(&out);
		if (market_import_write(&m, &f, &out) < 0 || f.rows == 0 || f.first_ns > f.last_ns)
			abort();
	}
	for (size_t i = 1; i < m.n; i++)
		if (m.cell[i].start_ns < m.cell[i - 1].start_ns)
			abort();
	buf_release(&out);
	market_import_release(&m);
	return 0;
}
