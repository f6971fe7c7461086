#include "os/heap.h"

#include <malloc.h>

enum { HEAP_ARENAS = 4, HEAP_MAP_BYTES = 4 << 20, HEAP_TOP_BYTES = 1 << 20 };

void heap_setup(void)
{
	(void)mallopt(M_ARENA_MAX, HEAP_ARENAS);
	/* Fixed: after the first large block that is freed (19 MiB of a password hash) the C library would keep blocks of
	 * that size, and twice as much at the top of each pool. */
	(void)mallopt(M_MMAP_THRESHOLD, HEAP_MAP_BYTES);
	(void)mallopt(M_TRIM_THRESHOLD, HEAP_TOP_BYTES);
}

void heap_trim(void)
{
	(void)malloc_trim(0);
}
