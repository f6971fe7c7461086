#include "os/heap.h"

#include <malloc.h>

enum { HEAP_ARENAS = 4 };

void heap_setup(void)
{
	(void)mallopt(M_ARENA_MAX, HEAP_ARENAS);
}

void heap_trim(void)
{
	(void)malloc_trim(0);
}
