/* Parts of a GPU that several share: instances or thousandths, made and taken away as a device driver does it. */
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "sim/node_priv.h"

/* ---- the device's own calls: what NVML's instances, or a scheduler's limits, are on a real one ---- */

/* HCP_ECONFLICT, HCP_ENOMEM: nothing has changed. */
static int create(struct node_device *d, const struct node_part *part, struct err *err)
{
	struct slice have[SLICES_MAX];
	for (size_t i = 0; i < d->n_parts; i++)
		have[i] = d->parts[i].slice;
	int rc = slice_fits(have, d->n_parts, &part->slice, err);
	struct node_part *more = rc == 0 ? mem_realloc(d->parts, (d->n_parts + 1U) * sizeof(*more)) : NULL;
	if (!more)
		return rc < 0 ? rc : err_set(err, HCP_ENOMEM, "", "no memory for a part");
	d->parts = more;
	d->parts[d->n_parts++] = *part;
	return 0;
}

static void destroy(struct node_device *d, size_t i)
{
	memmove(d->parts + i, d->parts + i + 1, (d->n_parts - i - 1) * sizeof(*d->parts));
	if (--d->n_parts == 0) {
		mem_free(d->parts);
		d->parts = NULL;
	}
}

/* ---- what the node wants of it ---- */

static bool is_same(const struct node_part *a, const struct node_part *b)
{
	return a->alloc == b->alloc && a->slice.milli == b->slice.milli && a->slice.mig == b->slice.mig &&
		   a->slice.start == b->slice.start;
}

static bool is_among(const struct node_part *p, const struct node_part *all, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_same(p, &all[i]))
			return true;
	return false;
}

bool node_parts_has(const struct node_device *d, const struct node_part *part)
{
	return is_among(part, d->parts, d->n_parts);
}

int node_parts_read(const struct node *n, const Hcp__SwitchItem *row, struct node_part *ret, struct err *err)
{
	struct slice have[SLICES_MAX];
	if (row->n_shares > SLICES_MAX)
		return err_set(err, HCP_ELIMIT, "shares", "more parts than a device can have");
	if (row->n_shares && (row->to != HCP__MODE__SERVE || row->allocation_id[0]))
		return err_set(err, HCP_EINVAL, "shares", "parts are of a device that serves, and is nobody's as a whole");
	for (size_t i = 0; i < row->n_shares; i++) {
		const Hcp__DeviceShare *x = row->shares[i];
		int rc = slice_make(n->cls, x->milli, str_of(x->mig_profile), x->mig_start, &ret[i].slice, err);
		if (rc == 0)
			rc = slice_fits(have, i, &ret[i].slice, err);
		if (rc < 0)
			return rc;
		have[i] = ret[i].slice;
	}
	return 0;
}

/* Those that go first, so that those that come find their places. */
int node_parts_set(
	struct node *n, struct node_device *d, const struct node_part *parts, size_t n_parts, struct err *err)
{
	for (size_t i = d->n_parts; i-- > 0;) {
		if (is_among(&d->parts[i], parts, n_parts))
			continue;
		node_alloc_left(n, d->parts[i].alloc);
		destroy(d, i);
	}
	for (size_t i = 0; i < n_parts; i++) {
		if (is_among(&parts[i], d->parts, d->n_parts))
			continue;
		struct node_part fresh = { .slice = parts[i].slice, .alloc = parts[i].alloc };
		int rc = create(d, &fresh, err);
		if (rc < 0)
			return rc;
		n->allocs[fresh.alloc].devices++;
	}
	return 0;
}

void node_parts_keep(struct node *n, struct node_device *d, const struct node_part *parts, size_t n_parts)
{
	for (size_t i = d->n_parts; i-- > 0;) {
		if (is_among(&d->parts[i], parts, n_parts))
			continue;
		node_alloc_left(n, d->parts[i].alloc);
		destroy(d, i);
	}
}

/* Rows as the platform told them, so that it can see that the device has what it was told. */
int node_parts_show(struct node *n, const struct node_device *d, Hcp__DeviceReading *r)
{
	if (!d->n_parts)
		return 0;
	Hcp__DeviceShare *rows = arena_alloc(&n->arena, d->n_parts * sizeof(*rows));
	r->shares = arena_alloc(&n->arena, d->n_parts * sizeof(*r->shares));
	if (!rows || !r->shares)
		return HCP_ENOMEM;
	for (size_t i = 0; i < d->n_parts; i++) {
		const struct slice *s = &d->parts[i].slice;
		hcp__device_share__init(&rows[i]);
		rows[i].milli = s->milli;
		rows[i].mig_profile = s->mig ? mig_name(n->cls, (enum mig_geometry)s->mig) : "";
		rows[i].mig_start = s->start;
		rows[i].allocation_id = n->allocs[d->parts[i].alloc].id;
		r->shares[i] = &rows[i];
	}
	r->n_shares = d->n_parts;
	return 0;
}

void node_parts_divide(const struct node_device *d, int64_t energy, int64_t *ret)
{
	struct slice s[SLICES_MAX];
	for (size_t i = 0; i < d->n_parts; i++)
		s[i] = d->parts[i].slice;
	slice_divide(energy, s, d->n_parts, ret);
}

uint32_t node_parts_free_milli(const struct node_device *d)
{
	struct slice s[SLICES_MAX];
	for (size_t i = 0; i < d->n_parts; i++)
		s[i] = d->parts[i].slice;
	return slice_free_milli(s, d->n_parts);
}
