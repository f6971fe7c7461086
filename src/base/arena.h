#ifndef HCP_BASE_ARENA_H
#define HCP_BASE_ARENA_H

#include <stddef.h>

#include "base/err.h"

/*
 *   arena ──▶ chunk ──▶ chunk ──▶ NULL       newest first; an allocation bumps `used` of the newest
 *
 * Memory that lives as long as one request, message or solve. Nothing in it is freed singly.
 * Not thread-safe: one owner at a time.
 */
struct arena_chunk;

struct arena {
	struct arena_chunk *head; /* owned */
	size_t chunk_size;        /* of the next chunk */
	size_t total;             /* bytes held in chunks */
	size_t limit;             /* arena_alloc fails beyond; 0: none */
};

void arena_init(struct arena *a, size_t chunk_size, size_t limit);
void arena_release(struct arena *a);
/* Keeps the newest chunk for reuse, drops the others. */
void arena_clear(struct arena *a);

/* 16-byte aligned, not zeroed; NULL when memory or the limit is exhausted. */
void *arena_alloc(struct arena *a, size_t n) __attribute__((warn_unused_result));
void *arena_calloc(struct arena *a, size_t n) __attribute__((warn_unused_result));
void *arena_dup(struct arena *a, const void *p, size_t n) __attribute__((warn_unused_result));
char *arena_strdup(struct arena *a, const char *s) __attribute__((warn_unused_result));
char *arena_strndup(struct arena *a, const char *s, size_t n) __attribute__((warn_unused_result));
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3) __attribute__((warn_unused_result));

#endif
