/*
 * Load that a site holds ready for the grid (`ancillary` of its file): how much of what it offers it could really drop,
 * by readings, hour by hour of UTC, for billing to pay.
 *
 *   every LOOK_MS: droppable = what proven miners that are nobody's draw, less what they draw curtailed
 *                              + what is dropped already, in a call of the grid
 *                  held      = of that, now and at the look before, what each offer takes (model/offer.h) in between
 *   end of the hour, or other offers than before ─▶ AncillaryHeld
 *
 * As in a backtest, devices of groups that serve are no load to drop. Time in which nobody looked (the platform stood)
 * counts as offered and not held.
 */
#include <stdio.h>

#include "model/offer.h"
#include "services/resources/resources_priv.h"

enum { LOOK_MS = 10000, SEEN_MS = 60000, TOLD_HOURS_MAX = 48 };
#define HOUR_NS (3600 * NS_PER_S)

struct held {
	char service[SITE_NAME_MAX];
	bool fixed;
	double price_usd_mw_h, offered_mw_h, held_mw_h;
};

/* What is counted of an hour, or of its part since the facility or its offers came. */
struct hold {
	int64_t from_ns, looked_ns; /* within one hour */
	double seen_mw;             /* droppable at the last look; in memory only, as readings are */
	size_t n;
	struct held held[SITE_OFFERS_MAX]; /* as the site's offers */
};

/* ---- what could be dropped ---- */

static bool could_stop(const struct device *d, int64_t now_ns)
{
	return d->state == DEVICE_ST_IDLE && !d->alloc && d->ctl.confirmed == DEVICE_FILL && !d->ctl.drifted &&
		   d->gate == DEVICE_FILL && d->hash_ths > 0 && now_ns - d->read_at_ns <= RESOURCES_LEASE_MS * NS_PER_MS;
}

/* At the meter. O(devices of the facility). A CPU node's watts are an estimate: nothing is sold on them. */
static double droppable_mw(const struct resources *r, const struct facility *f, const struct site *s, int64_t now_ns)
{
	double w = (double)call_dropped_w(r, f);
	for (size_t i = 0; i < r->n_groups; i++) {
		const struct group *g = r->group[i];
		const struct site_group *of = site_group_of(s, g->cls);
		double rest_w = g->cls->power_w[of ? of->idle_mode : DEVICE_IDLE];
		if (g->facility != f || g->cls->kind == DEVICE_CPU || (of && of->serves))
			continue;
		for (size_t k = 0; k < g->n; k++)
			if (could_stop(g->devices[k], now_ns) && g->devices[k]->power_w > rest_w)
				w += g->devices[k]->power_w - rest_w;
	}
	return w * s->pue / 1e6;
}

/* ---- rows and events ---- */

static int pack(struct svc_ctx *ctx, const struct facility *f, Hcp__AncillaryHeld *ev)
{
	const struct hold *h = f->hold;
	struct arena *a = svc_arena(ctx);
	hcp__ancillary_held__init(ev);
	ev->facility = (char *)f->name;
	ev->from_ns = h->from_ns;
	ev->to_ns = h->looked_ns;
	for (size_t i = 0; i < h->n; i++) {
		Hcp__AncillaryHold *out = arena_alloc(a, sizeof(*out));
		if (!out)
			return HCP_ENOMEM;
		hcp__ancillary_hold__init(out);
		out->service = (char *)h->held[i].service;
		out->offered_mw_h = h->held[i].offered_mw_h;
		out->held_mw_h = h->held[i].held_mw_h;
		out->fixed = h->held[i].fixed;
		out->price_usd_mw_h = h->held[i].price_usd_mw_h;
		if (pb_push(a, &ev->n_holds, &ev->holds, out) < 0)
			return HCP_ENOMEM;
	}
	return 0;
}

static int store(struct svc_ctx *ctx, const struct facility *f, struct err *err)
{
	Hcp__AncillaryHeld ev;
	struct str packed;
	if (pack(ctx, f, &ev) < 0 || pb_pack_arena(&ev.base, svc_arena(ctx), &packed) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	return db_run(svc_db(ctx), err,
		"INSERT INTO hold(facility,body) VALUES($1,$2)"
		" ON CONFLICT(facility) DO UPDATE SET body=excluded.body",
		"zb", f->name, packed);
}

/* Of hours in which something was offered. */
static int tell(struct svc_ctx *ctx, const struct facility *f, struct err *err)
{
	Hcp__AncillaryHeld ev;
	double offered_mw_h = 0;
	for (size_t i = 0; i < f->hold->n; i++)
		offered_mw_h += f->hold->held[i].offered_mw_h;
	if (offered_mw_h <= 0)
		return 0;
	int rc = pack(ctx, f, &ev);
	if (rc == 0)
		rc = svc_publish(ctx, f->name, &ev.base);
	return rc < 0 ? err_set(err, rc, "", "what %.60s held for the grid cannot be told", f->name) : 0;
}

static int take_row(struct resources *r, struct str name, struct str body)
{
	struct arena a;
	char text[NAME_MAX_LEN];
	struct facility *f = NULL;
	arena_init(&a, 1024, 0);
	const Hcp__AncillaryHeld *ev = (void *)pb_unpack_arena(&hcp__ancillary_held__descriptor, body, &a);
	int rc = ev && ev->n_holds <= SITE_OFFERS_MAX ? str_copy(text, sizeof(text), name) : HCP_ECORRUPT;
	if (rc == 0)
		rc = facility_get(r, text, "", &f);
	struct hold *h = rc == 0 ? mem_calloc(1, sizeof(*h)) : NULL;
	if (rc == 0 && !h)
		rc = HCP_ENOMEM;
	for (size_t i = 0; rc == 0 && i < ev->n_holds; i++) {
		const Hcp__AncillaryHold *in = ev->holds[i];
		h->held[i].fixed = in->fixed;
		h->held[i].price_usd_mw_h = in->price_usd_mw_h;
		h->held[i].offered_mw_h = in->offered_mw_h;
		h->held[i].held_mw_h = in->held_mw_h;
		rc = str_copy(h->held[i].service, sizeof(h->held[i].service), str_of(in->service));
	}
	if (rc == 0) {
		h->from_ns = ev->from_ns;
		h->looked_ns = ev->to_ns;
		h->n = ev->n_holds;
		mem_free(f->hold);
		f->hold = h;
	} else {
		mem_free(h);
	}
	arena_release(&a);
	return rc;
}

int hold_load(struct resources *r, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(db, &row, err, "SELECT facility,body FROM hold ORDER BY facility", ""); rc == 1;
		 rc = db_next(row, err)) {
		int bad = take_row(r, db_text(row, 0), db_blob(row, 1));
		if (bad < 0) {
			db_done(row);
			return err_set(err, bad == HCP_ENOMEM ? bad : HCP_ECORRUPT, "hold", "a row cannot be read");
		}
	}
	return rc;
}

/* ---- time ---- */

static bool is_of(const struct hold *h, const struct site *s)
{
	bool same = h->n == s->n_offers;
	for (size_t i = 0; same && i < h->n; i++)
		same = !strcmp(h->held[i].service, s->offer[i].service) && h->held[i].fixed == s->offer[i].fixed &&
			   h->held[i].price_usd_mw_h == s->offer[i].price_usd_mw_h;
	return same;
}

static void begin(struct hold *h, const struct site *s, int64_t at_ns)
{
	*h = (struct hold){ .from_ns = at_ns, .looked_ns = at_ns, .n = s->n_offers };
	for (size_t i = 0; i < s->n_offers; i++) {
		h->held[i].fixed = s->offer[i].fixed;
		h->held[i].price_usd_mw_h = s->offer[i].price_usd_mw_h;
		snprintf(h->held[i].service, sizeof(h->held[i].service), "%s", s->offer[i].service);
	}
}

static void count(struct hold *h, const struct site *s, int64_t until_ns, double mw)
{
	double hours = (double)(until_ns - h->looked_ns) / (double)HOUR_NS, held_mw[SITE_OFFERS_MAX];
	offer_hold(s, h->looked_ns, mw, held_mw);
	for (size_t i = 0; i < h->n; i++) {
		h->held[i].offered_mw_h += offer_is_open(&s->offer[i], h->looked_ns) ? s->offer[i].mw * hours : 0;
		h->held[i].held_mw_h += held_mw[i] * hours;
	}
	h->looked_ns = until_ns;
}

static int drop_hold(struct svc_ctx *ctx, struct facility *f, struct err *err)
{
	int rc = tell(ctx, f, err);
	mem_free(f->hold);
	f->hold = NULL;
	return rc < 0 ? rc : db_run(svc_db(ctx), err, "DELETE FROM hold WHERE facility=$1", "z", f->name);
}

int hold_look(struct resources *r, struct svc_ctx *ctx, struct facility *f, struct err *err)
{
	const struct site *s = site_of_facility(r->conf.site, r->conf.n_sites, f->name);
	int64_t now_ns = svc_now_ns(ctx);
	int rc = 0;
	if (!s || !s->n_offers)
		return f->hold ? drop_hold(ctx, f, err) : 0;
	/* Other offers than before; or hours that nobody was there are so many that they are not told one by one. */
	if (f->hold && (!is_of(f->hold, s) || now_ns - f->hold->looked_ns > TOLD_HOURS_MAX * HOUR_NS))
		rc = drop_hold(ctx, f, err);
	if (rc < 0)
		return rc;
	if (!f->hold) {
		f->hold = mem_calloc(1, sizeof(*f->hold));
		if (!f->hold)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
		begin(f->hold, s, now_ns);
	}
	struct hold *h = f->hold;
	double now_mw = droppable_mw(r, f, s, now_ns);
	double mw = now_ns - h->looked_ns > SEEN_MS * NS_PER_MS ? 0 : now_mw < h->seen_mw ? now_mw : h->seen_mw;
	while (rc == 0 && h->looked_ns < now_ns) {
		int64_t end_ns = (h->looked_ns / HOUR_NS + 1) * HOUR_NS;
		count(h, s, now_ns < end_ns ? now_ns : end_ns, mw);
		if (h->looked_ns == end_ns) {
			rc = tell(ctx, f, err);
			begin(h, s, end_ns);
		}
	}
	h->seen_mw = now_mw;
	return rc < 0 ? rc : store(ctx, f, err);
}

static int64_t due_ns(const struct hold *h)
{
	int64_t end_ns = (h->looked_ns / HOUR_NS + 1) * HOUR_NS, next_ns = h->looked_ns + LOOK_MS * NS_PER_MS;
	return next_ns < end_ns ? next_ns : end_ns;
}

int hold_tend(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	int64_t now_ns = svc_now_ns(ctx), due = INT64_MAX;
	int rc = 0;
	if (now_ns < r->hold_due_ns)
		return 0;
	for (size_t i = 0; i < r->n_facilities && rc == 0; i++) {
		struct facility *f = r->facility[i];
		if (!f->hold || due_ns(f->hold) <= now_ns)
			rc = hold_look(r, ctx, f, err);
		if (rc == 0 && f->hold)
			due = due_ns(f->hold) < due ? due_ns(f->hold) : due;
	}
	r->hold_due_ns = rc == 0 ? due : 0;
	return rc;
}
