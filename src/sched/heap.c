#include "sched/heap_priv.h"

#include "base/mem.h"
#include "base/panic.h"

enum { HEAP_FIRST_CAP = 8 };

void heap_init(struct heap *h, bool (*less)(const void *, const void *), void (*place)(void *, size_t))
{
	*h = (struct heap){ .less = less, .place = place };
}

void heap_release(struct heap *h)
{
	mem_free(h->v);
	h->v = NULL;
	h->n = h->cap = 0;
}

static void put(struct heap *h, size_t at, void *member)
{
	h->v[at] = member;
	h->place(member, at);
}

static void up(struct heap *h, size_t at, void *m)
{
	while (at > 0 && h->less(m, h->v[(at - 1) / 2])) {
		put(h, at, h->v[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	put(h, at, m);
}

static void down(struct heap *h, size_t at, void *m)
{
	for (;;) {
		size_t kid = at * 2 + 1;
		if (kid >= h->n)
			break;
		if (kid + 1 < h->n && h->less(h->v[kid + 1], h->v[kid]))
			kid++;
		if (!h->less(h->v[kid], m))
			break;
		put(h, at, h->v[kid]);
		at = kid;
	}
	put(h, at, m);
}

int heap_reserve(struct heap *h, size_t n)
{
	size_t cap = h->cap ? h->cap : HEAP_FIRST_CAP;
	while (cap < n)
		cap *= 2;
	if (cap == h->cap)
		return 0;
	void **v = mem_realloc(h->v, cap * sizeof(*v));
	if (!v)
		return HCP_ENOMEM;
	h->v = v;
	h->cap = cap;
	return 0;
}

int heap_push(struct heap *h, void *member)
{
	if (h->n == h->cap && heap_reserve(h, h->n + 1) < 0)
		return HCP_ENOMEM;
	h->n++;
	up(h, h->n - 1, member);
	return 0;
}

void *heap_top(const struct heap *h)
{
	return h->n ? h->v[0] : NULL;
}

void heap_fix(struct heap *h, size_t at)
{
	must(at < h->n);
	void *m = h->v[at];
	if (at > 0 && h->less(m, h->v[(at - 1) / 2]))
		up(h, at, m);
	else
		down(h, at, m);
}

void *heap_remove(struct heap *h, size_t at)
{
	must(at < h->n);
	void *m = h->v[at];
	void *last = h->v[--h->n];
	h->place(m, HEAP_OUT);
	if (m != last) {
		put(h, at, last);
		heap_fix(h, at);
	}
	return m;
}
