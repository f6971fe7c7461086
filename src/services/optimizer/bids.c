/* The bid curve of a facility, from the state that decisions are made from. */
#include "base/money.h"
#include "econ/bid.h"
#include "services/optimizer/optimizer_priv.h"

enum { DURATION_DEFAULT_S = 3600 };

static const struct draft_group *group_of(const struct draft *p, const char *facility, struct err *err)
{
	if (!facility[0] && p->n_groups == 1)
		return &p->group[0];
	for (size_t i = 0; i < p->n_groups; i++)
		if (strcmp(p->group[i].facility, facility) == 0)
			return &p->group[i];
	if (!facility[0] && p->n_groups)
		err_set(err, HCP_EINVAL, "facility", "name one: there are %zu", p->n_groups);
	else if (!facility[0])
		err_set(err, HCP_ENOTFOUND, "facility", "no fleet is known yet");
	else
		err_set(err, HCP_ENOTFOUND, "facility", "there are no devices at %.40s", facility);
	return NULL;
}

static const char *mode_after(const struct draft_group *g, const struct bid_step *s)
{
	const struct site_group *group = site_group_of(g->terms.site, s->cls);
	if (s->off)
		return device_mode_name(DEVICE_OFF);
	if (s->to == POLICY_MINE)
		return device_mode_name(DEVICE_FILL);
	return device_mode_name(group ? group->idle_mode : DEVICE_IDLE);
}

static int add_steps(struct arena *a, const struct draft_group *g, const struct bid_step *s, size_t n, size_t *ret_n,
	Hcp__BidStep ***ret)
{
	double total_kw = 0;
	for (size_t i = 0; i < n; i++) {
		Hcp__BidStep *to = arena_alloc(a, sizeof(*to));
		if (!to)
			return HCP_ENOMEM;
		hcp__bid_step__init(to);
		total_kw += s[i].kw;
		to->device_class = s[i].cls->name;
		to->from = policy_use_name(s[i].from);
		to->to = mode_after(g, &s[i]);
		to->devices = (int32_t)s[i].devices;
		to->kw = s[i].kw;
		to->total_kw = total_kw;
		to->usd_mwh = s[i].usd_mwh;
		to->response_ms = (double)s[i].response_ns / (double)NS_PER_MS;
		if (pb_push(a, ret_n, ret, to) < 0)
			return HCP_ENOMEM;
	}
	return 0;
}

/* One point a price at which the sum grows. */
static int add_level(struct arena *a, const struct bid_curve *b, int64_t response_ns, Hcp__Bids *reply)
{
	Hcp__BidLevel *level = arena_alloc(a, sizeof(*level));
	double kw = 0;
	if (!level)
		return HCP_ENOMEM;
	hcp__bid_level__init(level);
	level->response_ms = (double)response_ns / (double)NS_PER_MS;
	for (size_t i = 0; i < b->n_shed; i++) {
		if (b->shed[i].response_ns > response_ns)
			continue;
		kw += b->shed[i].kw;
		if (level->n_points && level->points[level->n_points - 1]->usd_mwh == b->shed[i].usd_mwh) {
			level->points[level->n_points - 1]->kw = kw;
			continue;
		}
		Hcp__BidPoint *point = arena_alloc(a, sizeof(*point));
		if (!point)
			return HCP_ENOMEM;
		hcp__bid_point__init(point);
		point->usd_mwh = b->shed[i].usd_mwh;
		point->kw = kw;
		if (pb_push(a, &level->n_points, &level->points, point) < 0)
			return HCP_ENOMEM;
	}
	return pb_push(a, &reply->n_levels, &reply->levels, level);
}

static int fill_reply(struct arena *a, const struct draft_group *g, const struct bid_curve *b, Hcp__Bids *reply)
{
	int64_t level[BID_LEVELS_MAX];
	size_t n = bid_levels(b, level);
	reply->facility = arena_strdup(a, g->facility);
	reply->electricity_usd_mwh = g->power.value;
	reply->drawn_kw = b->drawn_kw;
	reply->held_kw = b->held_kw;
	reply->limit_kw = g->terms.site ? g->terms.site->limit_w / 1e3 : 0;
	int rc = reply->facility ? add_steps(a, g, b->shed, b->n_shed, &reply->n_shed, &reply->shed) : HCP_ENOMEM;
	if (rc == 0)
		rc = add_steps(a, g, b->add, b->n_add, &reply->n_add, &reply->add);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = add_level(a, b, level[i], reply);
	return rc;
}

int optimizer_on_bids(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct optimizer *o = state;
	const Hcp__BidsGet *q = (const Hcp__BidsGet *)m->body;
	int64_t duration_s = q->duration_s ? q->duration_s : DURATION_DEFAULT_S;
	struct draft p = { .trigger = "", .market_ns = optimizer_market_now_ns(o, svc_now_ns(ctx)) };
	struct policy_input *in = arena_alloc(svc_arena(ctx), sizeof(*in));
	struct bid_curve *b = arena_alloc(svc_arena(ctx), sizeof(*b));
	if (!in || !b)
		return HCP_ENOMEM;
	int rc = optimizer_draft_rows(o, ctx, &p, true, err);
	if (rc < 0)
		return rc;
	const struct draft_group *g = group_of(&p, q->facility, err);
	if (!g)
		return err ? err->code : HCP_ENOTFOUND;
	optimizer_draft_input(o, &p, g, 0, in);
	rc = bid_curve(in, duration_s * NS_PER_S, b, err);
	if (rc < 0)
		return rc;
	Hcp__Bids *reply = svc_reply(ctx, MSG_BIDS);
	if (!reply)
		return HCP_ENOMEM;
	reply->duration_s = (int32_t)duration_s;
	reply->market_time_ns = p.market_ns;
	return fill_reply(svc_reply_arena(ctx), g, b, reply);
}
