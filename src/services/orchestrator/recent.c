/* The workloads that moved last, packed as their rows have them. Nothing depends on who is among them but speed. */
#include <stdio.h>

#include "base/mem.h"
#include "services/orchestrator/orchestrator_priv.h"

struct kept {
	struct list node; /* recent.order */
	char id[ID_TEXT_MAX];
	int64_t n, ends_ns, tries;
	size_t len;
	char *packed; /* owned */
};

struct recent {
	struct map by_id;  /* -> struct kept, owned; keys are theirs */
	struct list order; /* the one that moved last is the last */
};

int recent_new(struct recent **ret, struct err *err)
{
	struct recent *x = mem_calloc(1, sizeof(*x));
	if (!x)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	map_init(&x->by_id);
	list_init(&x->order);
	*ret = x;
	return 0;
}

static void drop(struct recent *x, struct kept *k)
{
	map_del(&x->by_id, str_of(k->id));
	list_del(&k->node);
	mem_free(k->packed);
	mem_free(k);
}

void recent_free(struct recent *x)
{
	if (!x)
		return;
	while (!list_empty(&x->order))
		drop(x, list_entry(x->order.next, struct kept, node));
	map_release(&x->by_id);
	mem_free(x);
}

bool recent_get(struct recent *x, const char *id, struct row *ret)
{
	const struct kept *k = map_get(&x->by_id, str_of(id));
	if (!k)
		return false;
	*ret = (struct row){ .n = k->n,
		.ends_ns = k->ends_ns,
		.tries = k->tries,
		.ends_stored_ns = k->ends_ns,
		.open_stored = true,
		.packed = { k->packed, k->len } };
	return true;
}

static struct kept *add(struct recent *x, const char *id)
{
	struct kept *k = mem_calloc(1, sizeof(*k));
	if (!k)
		return NULL;
	snprintf(k->id, sizeof(k->id), "%s", id);
	list_init(&k->node);
	if (map_put_ref(&x->by_id, str_of(k->id), k, NULL) < 0) {
		mem_free(k);
		return NULL;
	}
	return k;
}

void recent_put(struct recent *x, const struct row *r)
{
	struct kept *k = map_get(&x->by_id, str_of(r->w->id));
	if (!k && x->by_id.n >= ORCHESTRATOR_RECENT)
		drop(x, list_entry(x->order.next, struct kept, node));
	if (!k)
		k = add(x, r->w->id);
	if (!k)
		return;
	char *packed = k->len == r->packed.n ? k->packed : mem_realloc(k->packed, r->packed.n);
	if (!packed) {
		drop(x, k);
		return;
	}
	memcpy(packed, r->packed.p, r->packed.n);
	k->packed = packed;
	k->len = r->packed.n;
	k->n = r->n;
	k->ends_ns = r->ends_ns;
	k->tries = r->tries;
	list_del(&k->node);
	list_add_tail(&x->order, &k->node);
}

void recent_drop(struct recent *x, const char *id)
{
	struct kept *k = map_get(&x->by_id, str_of(id));
	if (k)
		drop(x, k);
}
