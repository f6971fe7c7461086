#include "base/panic.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void panic_at(const char *file, int line, const char *func, const char *what)
{
	fprintf(stderr, "panic: %s:%d in %s: %s\n", file, line, func, what);
	abort();
}
