/* No archive makes us read more than was allowed. */
#include <stdint.h>
#include <stdlib.h>

#include "wire/unzip.h"

enum { FILE_MAX = 4096, TOTAL_MAX = 16384 };

static int see(void *arg, const char *name, struct str bytes, struct err *err)
{
	size_t *total = arg;
	*total += bytes.n;
	if (bytes.n > FILE_MAX || *total > TOTAL_MAX || !name[0])
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	size_t total = 0;
	struct err err = { 0 };
	int rc = unzip_each((struct str){ (const char *)p, n }, FILE_MAX, TOTAL_MAX, see, &total, &err);
	if (rc < 0 && err.code != rc)
		abort();
	return 0;
}
