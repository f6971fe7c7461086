#include "os/heap.h"

#include <malloc.h>

enum { HEAP_ARENAS = 4, HEAP_MAP_BYTES = 4 << 20, HEAP_TOP_BYTES = 32 << 20 };

void heap_setup(void)
{
	(void)mallopt(M_ARENA_MAX, HEAP_ARENAS);
	/*
	 * Fixed: after the first large block that is freed (19 MiB of a password hash) the C library would put all blocks
	 * up to that size into its pools, where holes remain. What is free at the top of a pool waits for heap_trim:
	 * giving it back at each free would cost the services' batches more than it saves.
	 */
	(void)mallopt(M_MMAP_THRESHOLD, HEAP_MAP_BYTES);
	(void)mallopt(M_TRIM_THRESHOLD, HEAP_TOP_BYTES);
}

void heap_trim(void)
{
	(void)malloc_trim(0);
}
