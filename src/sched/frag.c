#include "sched/frag.h"

#include <string.h>

#include "base/panic.h"

#define DECAY (512.0 / 511.0)
#define STEP_MAX 1e100

void frag_init(struct frag_demand *d)
{
	memset(d, 0, sizeof(*d));
	d->step = 1;
}

static int compare(const struct frag_shape *a, const struct frag_shape *b)
{
	if (a->milli != b->milli)
		return a->milli < b->milli ? -1 : 1;
	if (a->gpus != b->gpus)
		return a->gpus < b->gpus ? -1 : 1;
	if (a->cpu_milli != b->cpu_milli)
		return a->cpu_milli < b->cpu_milli ? -1 : 1;
	return a->memory_mib == b->memory_mib ? 0 : a->memory_mib < b->memory_mib ? -1 : 1;
}

static void read_shares(struct frag_demand *d)
{
	double sum = 0;
	for (unsigned i = 0; i < d->n; i++)
		sum += d->weight[i];
	for (unsigned i = 0; i < d->n; i++)
		d->share[i] = (float)(d->weight[i] / sum);
	d->fresh = 0;
	d->epoch++;
}

static void remove_at(struct frag_demand *d, unsigned at)
{
	d->n--;
	memmove(&d->shape[at], &d->shape[at + 1], (d->n - at) * sizeof(d->shape[0]));
	memmove(&d->weight[at], &d->weight[at + 1], (d->n - at) * sizeof(d->weight[0]));
}

/* Room for a shape at its place; the lightest makes way, which the next observations of it undo if it is common. */
static unsigned insert(struct frag_demand *d, const struct frag_shape *s)
{
	if (d->n == FRAG_SHAPES_MAX) {
		unsigned least = 0;
		for (unsigned i = 1; i < d->n; i++)
			if (d->weight[i] < d->weight[least])
				least = i;
		remove_at(d, least);
	}
	unsigned at = 0;
	while (at < d->n && compare(&d->shape[at], s) < 0)
		at++;
	memmove(&d->shape[at + 1], &d->shape[at], (d->n - at) * sizeof(d->shape[0]));
	memmove(&d->weight[at + 1], &d->weight[at], (d->n - at) * sizeof(d->weight[0]));
	d->shape[at] = *s;
	d->weight[at] = 0;
	d->n++;
	return at;
}

void frag_observe(struct frag_demand *d, const struct frag_shape *s)
{
	if (s->gpus == 0 || s->milli == 0)
		return;
	must(s->milli <= 1000);
	unsigned at = 0;
	bool known = false;
	while (at < d->n && compare(&d->shape[at], s) < 0)
		at++;
	if (at < d->n && compare(&d->shape[at], s) == 0)
		known = true;
	else
		at = insert(d, s);
	d->weight[at] += d->step * s->gpus * s->milli / 1000;
	d->step *= DECAY;
	if (d->step > STEP_MAX) {
		for (unsigned i = 0; i < d->n; i++)
			d->weight[i] /= d->step;
		d->step = 1;
	}
	/* Shares are read seldom, so that figures kept with nodes stay good; a new shape moves their places at once. */
	if (!known || ++d->fresh >= FRAG_REFRESH)
		read_shares(d);
}

void frag_set(struct frag_demand *d, const struct frag_shape *shape, const double *weight, size_t n)
{
	uint32_t epoch = d->epoch;
	frag_init(d);
	d->epoch = epoch;
	for (size_t i = 0; i < n; i++) {
		if (shape[i].gpus == 0 || shape[i].milli == 0)
			continue;
		unsigned least = 0;
		for (unsigned k = 1; k < d->n; k++)
			if (d->weight[k] < d->weight[least])
				least = k;
		if (d->n == FRAG_SHAPES_MAX && d->weight[least] >= weight[i])
			continue;
		d->weight[insert(d, &shape[i])] = weight[i];
	}
	read_shares(d);
}

double frag_of(const struct frag_demand *d, const struct frag_node *n)
{
	uint16_t r[FRAG_GPUS_MAX];
	uint32_t total = 0, below = 0;
	unsigned k = 0;
	double f = 0;
	for (unsigned i = 0; i < n->n; i++) { /* insertion sort: a node has eight */
		unsigned at = i;
		for (; at > 0 && r[at - 1] > n->milli[i]; at--)
			r[at] = r[at - 1];
		r[at] = n->milli[i];
		total += n->milli[i];
	}
	if (total == 0)
		return 0;
	for (unsigned m = 0; m < d->n; m++) { /* shapes by milli: one walk over the GPUs */
		const struct frag_shape *s = &d->shape[m];
		while (k < n->n && r[k] < s->milli)
			below += r[k++];
		bool fits = n->n - k >= s->gpus && s->cpu_milli <= n->cpu_free_milli && s->memory_mib <= n->memory_free_mib;
		f += (double)d->share[m] * (fits ? below : total);
	}
	return f;
}

bool frag_fits(const struct frag_shape *s, const struct frag_node *n)
{
	unsigned able = 0;
	if (s->cpu_milli > n->cpu_free_milli || s->memory_mib > n->memory_free_mib)
		return false;
	for (unsigned i = 0; i < n->n; i++)
		able += n->milli[i] >= s->milli;
	return able >= s->gpus;
}

void frag_take(struct frag_node *n, const struct frag_shape *s, unsigned gpu)
{
	if (n->cpu_free_milli != UINT32_MAX)
		n->cpu_free_milli -= s->cpu_milli;
	if (n->memory_free_mib != UINT32_MAX)
		n->memory_free_mib -= s->memory_mib;
	if (s->gpus == 1 && s->milli < 1000) {
		n->milli[gpu] = (uint16_t)(n->milli[gpu] - s->milli);
		return;
	}
	unsigned want = s->gpus;
	for (unsigned i = 0; i < n->n && want; i++) {
		if (n->milli[i] < s->milli)
			continue;
		n->milli[i] = (uint16_t)(n->milli[i] - s->milli);
		want--;
	}
}
