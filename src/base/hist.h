#ifndef HCP_BASE_HIST_H
#define HCP_BASE_HIST_H

#include <stdint.h>

/*
 * Log-linear histogram of non-negative integers (nanoseconds mostly): 16 buckets per power of two, so a
 * quantile is within 6.25 %. Fixed size; adding is a few instructions. Single writer.
 */
enum { HIST_SUB = 16, HIST_BUCKETS = 61 * HIST_SUB };

struct hist {
	uint64_t n, sum, max;
	uint64_t count[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t v);
/* Upper edge of the bucket that holds the q-quantile, 0 <= q <= 1, never above max; 0 when empty. */
uint64_t hist_quantile(const struct hist *h, double q);
double hist_mean(const struct hist *h);
void hist_merge(struct hist *into, const struct hist *from);

#endif
