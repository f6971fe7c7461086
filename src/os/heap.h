#ifndef HCP_OS_HEAP_H
#define HCP_OS_HEAP_H

/*
 * The C library keeps what was freed for the thread that freed it; a burst (16,000 devices announcing themselves)
 * would stay resident for ever. heap_setup, first thing in main, limits the number of pools and what goes into
 * them (blocks below 4 MiB); heap_trim gives unused pages back and is for a background thread every few seconds.
 */
void heap_setup(void);
void heap_trim(void);

#endif
