#ifndef HCP_BASE_MEM_H
#define HCP_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/*
 * All allocation of the project goes through here, so that tests can make any one of them fail.
 * Thread-safe. Returned memory is released with mem_free (which accepts NULL).
 */
void *mem_alloc(size_t size) __attribute__((malloc, warn_unused_result));
void *mem_calloc(size_t n, size_t size) __attribute__((malloc, warn_unused_result));
void *mem_realloc(void *p, size_t size) __attribute__((warn_unused_result));
char *mem_strdup(const char *s) __attribute__((malloc, warn_unused_result));
void *mem_dup(const void *p, size_t n) __attribute__((malloc, warn_unused_result));
void mem_free(void *p);

/* Zeroes before freeing; for secrets. */
void mem_free_secret(void *p, size_t n);

/*
 * Test hook: the nth allocation of this thread from now fails (1 = the next), and, if `sticky`, every
 * later one too. n = 0 switches it off. mem_fail_hits tells how often it struck.
 */
void mem_fail_after(uint64_t n, int sticky);
uint64_t mem_fail_hits(void);

/* Allocations minus frees of this process; a test compares before and after. */
int64_t mem_live(void);

/*
 * Test hook: after mem_watch(1) the bytes of this thread's allocations less those it freed, whoever made them, and the
 * most there were, as the C library rounds them; mem_watch(0) ends it.
 */
struct mem_watched {
	int64_t bytes, peak;
};
void mem_watch(int on);
struct mem_watched mem_watched(void);

/* Points libraries with hooks (jansson, protobuf-c users) at the same functions; call once in main. */
void *mem_hook_alloc(void *arg, size_t size);
void mem_hook_free(void *arg, void *p);

#endif
