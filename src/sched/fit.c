#include "sched/fit_priv.h"

#include <stdbool.h>

#include "base/panic.h"

/* murmur3's finalizer: neighbours get unlike priorities. */
static uint32_t priority(uint32_t item)
{
	uint32_t x = item + 0x9e3779b9U;
	x = (x ^ x >> 16) * 0x85ebca6bU;
	x = (x ^ x >> 13) * 0xc2b2ae35U;
	return x ^ x >> 16;
}

static bool above(uint32_t a, uint32_t b)
{
	uint32_t x = priority(a), y = priority(b);
	return x != y ? x > y : a < b;
}

static bool before(const struct fit *v, uint32_t a, uint32_t cpu, uint32_t item)
{
	return v[a].cpu != cpu ? v[a].cpu < cpu : a < item;
}

static void update(struct fit *v, uint32_t i)
{
	uint32_t most = v[i].memory, l = v[i].left, r = v[i].right;
	if (l != FIT_NONE && v[l].most > most)
		most = v[l].most;
	if (r != FIT_NONE && v[r].most > most)
		most = v[r].most;
	v[i].most = most;
}

/* Recursion is as deep as the tree: expected 2 ln n, about 28 for a million. */
static void split(struct fit *v, uint32_t t, uint32_t cpu, uint32_t item, uint32_t *ret_low, uint32_t *ret_high)
{
	if (t == FIT_NONE) {
		*ret_low = *ret_high = FIT_NONE;
		return;
	}
	if (before(v, t, cpu, item)) {
		split(v, v[t].right, cpu, item, &v[t].right, ret_high);
		*ret_low = t;
	} else {
		split(v, v[t].left, cpu, item, ret_low, &v[t].left);
		*ret_high = t;
	}
	update(v, t);
}

static uint32_t merge(struct fit *v, uint32_t low, uint32_t high)
{
	if (low == FIT_NONE || high == FIT_NONE)
		return low == FIT_NONE ? high : low;
	if (above(low, high)) {
		v[low].right = merge(v, v[low].right, high);
		update(v, low);
		return low;
	}
	v[high].left = merge(v, low, v[high].left);
	update(v, high);
	return high;
}

/* On the way down the most memory is known to grow or not: neighbours off the path are not read. */
static void insert(struct fit *v, uint32_t *t, uint32_t item)
{
	while (*t != FIT_NONE && !above(item, *t)) {
		struct fit *f = &v[*t];
		if (f->most < v[item].memory)
			f->most = v[item].memory;
		t = before(v, *t, v[item].cpu, item) ? &f->right : &f->left;
	}
	split(v, *t, v[item].cpu, item, &v[item].left, &v[item].right);
	update(v, item);
	*t = item;
}

static void drop(struct fit *v, uint32_t *t, uint32_t item)
{
	must(*t != FIT_NONE);
	if (*t == item) {
		*t = merge(v, v[item].left, v[item].right);
		return;
	}
	drop(v, before(v, *t, v[item].cpu, item) ? &v[*t].right : &v[*t].left, item);
	if (v[*t].most == v[item].memory)
		update(v, *t);
}

void fit_add(struct fit *v, uint32_t *root, uint32_t item, uint32_t cpu, uint32_t memory)
{
	v[item] = (struct fit){ FIT_NONE, FIT_NONE, cpu, memory, memory };
	insert(v, root, item);
}

void fit_remove(struct fit *v, uint32_t *root, uint32_t item)
{
	drop(v, root, item);
}

/* The first item of t with enough memory. */
static uint32_t leftmost(const struct fit *v, uint32_t t, uint32_t memory)
{
	if (t == FIT_NONE || v[t].most < memory)
		return FIT_NONE;
	for (;;) {
		uint32_t l = v[t].left;
		if (l != FIT_NONE && v[l].most >= memory)
			t = l;
		else if (v[t].memory >= memory)
			return t;
		else
			t = v[t].right;
	}
}

uint32_t fit_first(const struct fit *v, uint32_t t, uint32_t cpu, uint32_t item, uint32_t memory)
{
	if (t == FIT_NONE || v[t].most < memory)
		return FIT_NONE;
	if (before(v, t, cpu, item))
		return fit_first(v, v[t].right, cpu, item, memory);
	/* One path down the border of (cpu, item); what lies right of it is answered without a second one. */
	uint32_t found = fit_first(v, v[t].left, cpu, item, memory);
	if (found != FIT_NONE)
		return found;
	return v[t].memory >= memory ? t : leftmost(v, v[t].right, memory);
}
