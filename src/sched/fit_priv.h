#ifndef HCP_SCHED_FIT_PRIV_H
#define HCP_SCHED_FIT_PRIV_H

#include <stdint.h>

/*
 * Sets of numbered items, each with what its node has free of CPU and memory, that answer "the item with the least CPU
 * that still has c of CPU and m of memory" in O(log n): treaps (Seidel, Aragon 1996) ordered by (cpu, item), each
 * item knowing the most memory below it. An item is in one set at most; a set is the number of its root. Priorities
 * are a hash of the item, so the shape depends on what is in the set alone.
 *
 *	            (cpu 8, mem 64 | most 200)
 *	            /                        \
 *	(cpu 4, mem 200 | 200)      (cpu 16, mem 32 | 100)
 *	                                      \
 *	                              (cpu 32, mem 100 | 100)      first(c = 10, m = 50): cpu 32
 */
#define FIT_NONE UINT32_MAX

struct fit {
	uint32_t left, right;
	uint32_t cpu, memory; /* the key while in a set */
	uint32_t most;        /* memory, of itself and below */
};

void fit_add(struct fit *v, uint32_t *root, uint32_t item, uint32_t cpu, uint32_t memory);
void fit_remove(struct fit *v, uint32_t *root, uint32_t item);
/* The first from (cpu, item) on with as much memory; FIT_NONE: there is none. */
uint32_t fit_first(const struct fit *v, uint32_t root, uint32_t cpu, uint32_t item, uint32_t memory);

#endif
