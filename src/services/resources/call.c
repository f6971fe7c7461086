/*
 * Calls of the grid: load that a site offers (`ancillary` of its file) is ordered to go, and how well that is kept is
 * measured, for billing to settle.
 *
 *   AncillaryCall ─▶ an order to curtail by the offer's MW, within the product's response time
 *   every CALL_LOOK_MS: dropped = what was drawn when it came, less what the readings say, at most what was called
 *                       due, missed: from the response time on
 *   until, or CurtailRestore ─▶ AncillaryCallOver; power comes back as after any order
 */
#include <math.h>

#include "model/ancillary.h"
#include "services/resources/resources_priv.h"

static const struct site_offer *offer_of(const struct site *s, const char *service)
{
	for (size_t i = 0; s && i < s->n_offers; i++)
		if (!strcmp(s->offer[i].service, service))
			return &s->offer[i];
	return NULL;
}

int on_ancillary_call(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__AncillaryCall *q = (const Hcp__AncillaryCall *)m->body;
	const struct ancillary_service *a = ancillary_of(q->service);
	struct facility *f = NULL;
	int rc = curtail_facility(r, q->facility, &f, err);
	if (rc < 0)
		return rc;
	const struct site *s = site_of_facility(r->conf.site, r->conf.n_sites, f->name);
	const struct site_offer *o = offer_of(s, q->service);
	if (!o)
		return err_set(err, HCP_ENOTFOUND, "service", "the site of %.60s offers no %.31s to the grid", f->name,
			q->service[0] ? q->service : "such service");
	if (!isfinite(q->mw) || q->mw < 0 || q->mw > o->mw)
		return err_set(err, HCP_ERANGE, "mw", "must be 0 (all) to %g, which is offered", o->mw);
	if (q->duration_s < 0 || q->duration_s > a->longest_s)
		return err_set(
			err, HCP_ERANGE, "duration_s", "must be 0 to %d, as long as the product may ask for", a->longest_s);
	if (strlen(q->reason) >= REASON_MAX)
		return err_set(err, HCP_ELIMIT, "reason", "must be at most %d bytes", REASON_MAX - 1);
	const struct curtail_order order = { .asked_w = (int64_t)((q->mw > 0 ? q->mw : o->mw) * 1e6 / s->pue + 0.5),
		.within_ms = a->response_s * INT64_C(1000),
		.duration_s = q->duration_s ? q->duration_s : a->longest_s,
		.reason = q->reason,
		.service = q->service };
	if (order.asked_w < 1)
		return err_set(err, HCP_ERANGE, "mw", "is less than a watt");
	return curtail_order(r, ctx, f, &order, m, err);
}

int64_t call_dropped_w(const struct resources *r, const struct facility *f)
{
	const struct curtailment *c = f->curtailment;
	if (!c || !c->service[0] || c->step_ns)
		return 0;
	int64_t dropped_w = c->measured_w - curtail_measured_w(r, f);
	return dropped_w < 0 ? 0 : dropped_w > c->asked_w ? c->asked_w : dropped_w;
}

void call_look(const struct resources *r, const struct facility *f, int64_t now_ns)
{
	struct curtailment *c = f->curtailment;
	int64_t until_ns = now_ns < c->until_ns ? now_ns : c->until_ns;
	int64_t dropped_w = call_dropped_w(r, f);
	int64_t due_ns = c->ordered_ns + c->within_ms * NS_PER_MS;
	if (until_ns <= c->looked_ns)
		return;
	due_ns = due_ns < c->looked_ns ? c->looked_ns : due_ns > until_ns ? until_ns : due_ns;
	int64_t ms = (until_ns - c->looked_ns) / NS_PER_MS, due_ms = (until_ns - due_ns) / NS_PER_MS;
	c->dropped_wms += dropped_w * ms;
	c->due_wms += c->asked_w * due_ms;
	c->missed_wms += (c->asked_w - dropped_w) * due_ms;
	c->looked_ns += ms * NS_PER_MS;
}

double call_mwh(const struct resources *r, const char *facility)
{
	const struct site *s = site_of_facility(r->conf.site, r->conf.n_sites, facility);
	return (s ? s->pue : 1) / 3.6e12;
}

int call_over(const struct resources *r, struct svc_ctx *ctx, const struct facility *f, struct err *err)
{
	struct curtailment *c = f->curtailment;
	const double mwh = call_mwh(r, f->name);
	Hcp__AncillaryCallOver ev = HCP__ANCILLARY_CALL_OVER__INIT;
	Hcp__AncillaryRecord row = HCP__ANCILLARY_RECORD__INIT;
	call_look(r, f, svc_now_ns(ctx));
	row.id = c->id;
	row.facility = (char *)f->name;
	row.service = c->service;
	row.mw = (double)c->asked_w * mwh * 3.6e6;
	row.called_at_ns = c->ordered_ns;
	row.over_at_ns = c->looked_ns;
	row.confirmed_at_ns = c->confirmed_ns;
	row.response_ms = (int32_t)c->within_ms;
	row.dropped_mwh = (double)c->dropped_wms * mwh;
	row.due_mwh = (double)c->due_wms * mwh;
	row.missed_mwh = (double)c->missed_wms * mwh;
	row.reason = c->reason;
	row.by = c->by;
	ev.call = &row;
	int rc = svc_publish(ctx, f->name, &ev.base);
	return rc < 0 ? err_set(err, rc, "", "the end of call %s cannot be told", c->id) : 0;
}
