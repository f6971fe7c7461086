#include "os/entropy.h"

#include <errno.h>
#include <sys/random.h>

#include "base/panic.h"

void entropy_fill(void *p, size_t n)
{
	unsigned char *at = p;
	while (n) {
		ssize_t got = getrandom(at, n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		must(got > 0);
		at += got;
		n -= (size_t)got;
	}
}

uint64_t entropy_u64(void)
{
	uint64_t v;
	entropy_fill(&v, sizeof(v));
	return v;
}
