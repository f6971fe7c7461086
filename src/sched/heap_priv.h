#ifndef HCP_SCHED_HEAP_PRIV_H
#define HCP_SCHED_HEAP_PRIV_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Binary min-heap of borrowed pointers whose members know their place, so that any of them can be moved or removed. */
#define HEAP_OUT ((size_t)-1)

struct heap {
	void **v; /* owned; members borrowed */
	size_t n, cap;
	bool (*less)(const void *a, const void *b); /* a strict total order, or runs differ */
	void (*place)(void *member, size_t at);     /* HEAP_OUT when it leaves */
};

void heap_init(struct heap *h, bool (*less)(const void *, const void *), void (*place)(void *, size_t));
void heap_release(struct heap *h);
/* Room for n members. HCP_ENOMEM. */
int heap_reserve(struct heap *h, size_t n) MUST_CHECK;
/* HCP_ENOMEM; never fails while n is below one that the heap had before or was reserved for. */
int heap_push(struct heap *h, void *member) MUST_CHECK;
/* NULL when empty. */
void *heap_top(const struct heap *h);
void *heap_remove(struct heap *h, size_t at);
/* The member at `at` changed its key. */
void heap_fix(struct heap *h, size_t at);

#endif
