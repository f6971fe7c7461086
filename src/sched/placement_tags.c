/* What nodes have beside their devices, and the devices of those that have it. */
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "sched/placement_priv.h"

enum { LOOK_NODES = 16 }; /* of those with free devices; the best device on them is taken */

static struct tag_list *list_of(const struct pool *pl, uint16_t tag)
{
	return tag < pl->n_tag ? &pl->tag[tag] : NULL;
}

/* Of a node; it has one of each. Until it is told it has the one of tag 0. */
static struct tag_link *link_of(struct node *n, uint16_t tag)
{
	if (!n->tags)
		return tag ? NULL : &n->untold;
	for (uint32_t i = 0; i < n->tags->n; i++)
		if (n->tags->link[i].tag == tag)
			return &n->tags->link[i];
	return NULL;
}

static struct tag_link *links_of(struct node *n, uint32_t *ret_n)
{
	*ret_n = n->tags ? n->tags->n : 1;
	return n->tags ? n->tags->link : &n->untold;
}

void tags_node_in(struct placement *p, uint32_t node)
{
	struct node *n = &p->node[node];
	uint32_t links;
	struct tag_link *link = links_of(n, &links);
	for (uint32_t i = 0; i < links; i++) {
		struct tag_list *l = list_of(p->pool[n->pool], link[i].tag);
		link[i].prev = NONE;
		link[i].next = l->first;
		if (l->first != NONE)
			link_of(&p->node[l->first], link[i].tag)->prev = node;
		l->first = node;
	}
}

void tags_node_out(struct placement *p, uint32_t node)
{
	struct node *n = &p->node[node];
	uint32_t links;
	const struct tag_link *link = links_of(n, &links);
	for (uint32_t i = 0; i < links; i++) {
		if (link[i].prev != NONE)
			link_of(&p->node[link[i].prev], link[i].tag)->next = link[i].next;
		else
			list_of(p->pool[n->pool], link[i].tag)->first = link[i].next;
		if (link[i].next != NONE)
			link_of(&p->node[link[i].next], link[i].tag)->prev = link[i].prev;
	}
}

void tags_count(struct placement *p, uint32_t node, int32_t devices)
{
	struct node *n = &p->node[node];
	uint32_t links;
	const struct tag_link *link = links_of(n, &links);
	for (uint32_t i = 0; i < links; i++)
		list_of(p->pool[n->pool], link[i].tag)->devices += (uint32_t)devices;
}

int tags_open(struct pool *pl, uint16_t tag)
{
	uint32_t n = pl->n_tag ? pl->n_tag : 1;
	while (n <= tag)
		n *= 2;
	if (n <= pl->n_tag)
		return 0;
	struct tag_list *more = mem_realloc(pl->tag, n * sizeof(*more));
	if (!more)
		return HCP_ENOMEM;
	for (uint32_t i = pl->n_tag; i < n; i++)
		more[i] = (struct tag_list){ .first = NONE };
	pl->tag = more;
	pl->n_tag = n;
	return 0;
}

int placement_set_tags(struct placement *p, uint32_t node, const uint16_t *tag, uint32_t n, struct err *err)
{
	uint64_t key = node;
	uintptr_t at = (uintptr_t)map_get(&p->nodes, map_key_u64(&key));
	if (!at)
		return err_set(err, HCP_ENOTFOUND, "node", "no node %u", node);
	if (n > PLACEMENT_NODE_TAGS_MAX)
		return err_set(err, HCP_ELIMIT, "tags", "at most %d of a node", PLACEMENT_NODE_TAGS_MAX);
	struct node *nd = &p->node[at - 1];
	struct node_tags *tags = mem_alloc(sizeof(*tags) + n * sizeof(tags->link[0]));
	if (!tags)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	tags->n = 0;
	for (uint32_t i = 0; i < n; i++) {
		bool twice = false;
		for (uint32_t k = 0; k < tags->n; k++)
			twice = twice || tags->link[k].tag == tag[i];
		int rc = !tag[i] || tag[i] >= PLACEMENT_TAGS_MAX ? HCP_ERANGE : tags_open(p->pool[nd->pool], tag[i]);
		if (rc < 0) {
			mem_free(tags);
			return err_set(err, rc, "tags", rc == HCP_ERANGE ? "no such tag" : "no memory");
		}
		if (!twice)
			tags->link[tags->n++] = (struct tag_link){ .prev = NONE, .next = NONE, .tag = tag[i] };
	}
	tags_count(p, (uint32_t)at - 1, -(int32_t)nd->count);
	if (nd->free)
		tags_node_out(p, (uint32_t)at - 1);
	mem_free(nd->tags);
	nd->tags = tags;
	tags_count(p, (uint32_t)at - 1, (int32_t)nd->count);
	if (nd->free)
		tags_node_in(p, (uint32_t)at - 1);
	return 0;
}

bool placement_may_have(const struct placement *p, placement_dev d, uint16_t tag)
{
	return d < p->n_dev && (!tag || !p->node[p->dev[d].node].tags || link_of(&p->node[p->dev[d].node], tag));
}

/* The best free device of the first nodes of a list. */
static bool look(const struct placement *p, const struct pool *pl, uint16_t tag, const struct placement_request *r,
	uint32_t *ret, double *ret_score)
{
	const struct tag_list *l = list_of(pl, tag);
	bool found = false;
	uint32_t node = l ? l->first : NONE;
	for (int k = 0; k < LOOK_NODES && node != NONE; k++, node = link_of(&p->node[node], tag)->next) {
		for (uint32_t i = p->node[node].first; i != NONE; i = p->dev[i].node_next) {
			const struct device *d = &p->dev[i];
			bool idle = d->state == PLACEMENT_IDLE;
			if (!idle && (d->state != PLACEMENT_FILL || r->cls == WORKLOAD_P4))
				continue;
			double score = d->bucket * (W_DEVICE / (PLACEMENT_BUCKETS - 1)) + (idle ? W_IDLE : 0);
			if (found && score <= *ret_score)
				continue;
			found = true;
			*ret = i;
			*ret_score = score;
		}
	}
	return found;
}

bool tags_find(const struct placement *p, const struct pool *pl, const struct placement_request *r, uint32_t *ret,
	double *ret_score)
{
	return look(p, pl, r->tag, r, ret, ret_score) || look(p, pl, 0, r, ret, ret_score);
}

uint32_t tags_devices(const struct pool *pl, uint16_t tag)
{
	const struct tag_list *l = list_of(pl, tag), *untold = list_of(pl, 0);
	return (l ? l->devices : 0) + (untold ? untold->devices : 0);
}

void tags_release(struct placement *p)
{
	for (uint32_t i = 0; i < p->n_node; i++)
		mem_free(p->node[i].tags);
	for (uint32_t i = 0; i < p->n_pool; i++)
		mem_free(p->pool[i]->tag);
}

void tags_check(const struct placement *p)
{
	uint32_t listed = 0, linked = 0;
	for (uint32_t i = 0; i < p->n_node; i++)
		linked += p->node[i].free ? (p->node[i].tags ? p->node[i].tags->n : 1) : 0;
	for (uint32_t k = 0; k < p->n_pool; k++) {
		for (uint16_t tag = 0; tag < p->pool[k]->n_tag; tag++) {
			const struct tag_list *l = &p->pool[k]->tag[tag];
			uint32_t devices = 0, before = NONE;
			for (uint32_t i = l->first; i != NONE; before = i, i = link_of(&p->node[i], tag)->next, listed++)
				must(p->node[i].pool == k && p->node[i].free && link_of(&p->node[i], tag)->prev == before);
			for (uint32_t i = 0; i < p->n_node; i++)
				devices += p->node[i].pool == k && link_of(&p->node[i], tag) ? p->node[i].count : 0;
			must(devices == l->devices);
		}
	}
	must(listed == linked);
}
