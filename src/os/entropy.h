#ifndef HCP_OS_ENTROPY_H
#define HCP_OS_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

/* Bytes from the system's generator, good for secrets. Panics if the system has none. */
void entropy_fill(void *p, size_t n);
uint64_t entropy_u64(void);

#endif
