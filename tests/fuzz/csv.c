/* Every row has as many fields as the header, all fields lie in readable memory, and reading ends. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "wire/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct csv c;
	struct err err = { 0 };
	unsigned sum = 0;
	size_t rows = 0;
	int rc = csv_init(&c, (struct str){ (const char *)p, n }, ',', &err);
	if (rc == 0)
		while ((rc = csv_next(&c, &err)) > 0) {
			double v;
			for (size_t i = 0; i < c.n_columns; i++) {
				for (size_t k = 0; k < c.fields[i].n; k++)
					sum += (unsigned char)c.fields[i].p[k];
				(void)!csv_double(&c, i, &v, &err);
			}
			if (++rows > n || c.line > n + 1)
				abort();
		}
	if (rc < 0 && (err.code != rc || (rc == HCP_EPARSE && csv_next(&c, &err) != 0)))
		abort();
	csv_release(&c);
	return sum == 1U << 31;
}
