#include "base/hist.h"

static unsigned bucket_of(uint64_t v)
{
	if (v < HIST_SUB)
		return (unsigned)v;
	unsigned top = 63 - (unsigned)__builtin_clzll(v);
	return (top - 3) * HIST_SUB + (unsigned)(v >> (top - 4) & (HIST_SUB - 1));
}

static uint64_t upper_edge(unsigned b)
{
	if (b < HIST_SUB)
		return b;
	unsigned top = b / HIST_SUB + 3, sub = b % HIST_SUB;
	return (((uint64_t)HIST_SUB + sub + 1) << (top - 4)) - 1;
}

void hist_add(struct hist *h, uint64_t v)
{
	h->n++;
	h->sum += v;
	if (v > h->max)
		h->max = v;
	h->count[bucket_of(v)]++;
}

uint64_t hist_quantile(const struct hist *h, double q)
{
	if (h->n == 0)
		return 0;
	uint64_t rank = (uint64_t)(q * (double)(h->n - 1)), seen = 0;
	for (unsigned b = 0; b < HIST_BUCKETS; b++) {
		seen += h->count[b];
		if (seen > rank) {
			uint64_t edge = upper_edge(b);
			return edge < h->max ? edge : h->max;
		}
	}
	return h->max;
}

double hist_mean(const struct hist *h)
{
	return h->n ? (double)h->sum / (double)h->n : 0;
}

void hist_merge(struct hist *into, const struct hist *from)
{
	into->n += from->n;
	into->sum += from->sum;
	if (from->max > into->max)
		into->max = from->max;
	for (unsigned b = 0; b < HIST_BUCKETS; b++)
		into->count[b] += from->count[b];
}
