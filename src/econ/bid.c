#include "econ/bid.h"

#include <math.h>
#include <stdlib.h>

#include "base/money.h"
#include "econ/cohorts.h"

#define HOUR_NS (3600.0 * (double)NS_PER_S)
#define DURATION_MIN_NS (60 * NS_PER_S)
#define DURATION_MAX_NS (7 * 86400 * NS_PER_S)

static enum device_mode idle_mode(const struct policy_class *c)
{
	return c->group ? c->group->idle_mode : DEVICE_IDLE;
}

static double hours(int64_t ns)
{
	return (double)ns / HOUR_NS;
}

/* Hours beyond the duration in which a minimum time leaves no choice. */
static double beyond_h(int64_t min_ns, int64_t duration_ns)
{
	return min_ns > duration_ns ? hours(min_ns - duration_ns) : 0;
}

static void push(struct bid_step *steps, size_t *n, struct bid_step s, double mwh_h)
{
	s.kw = s.devices * mwh_h * 1e3;
	if (s.devices && s.kw > 0 && isfinite(s.usd_mwh))
		steps[(*n)++] = s;
}

/* What standing draws may go as well: at the price at which the time to come back is paid for, but not below floor. */
static void shed_off(struct bid_curve *b, const struct policy_class *c, uint32_t devices, double floor_usd_mwh,
	int64_t after_ns, int64_t duration_ns)
{
	double mwh = c->mwh_h[POLICY_IDLE] - c->cls->power_w[DEVICE_OFF] / 1e6;
	double back_h = (double)c->cls->switch_ms[DEVICE_OFF] / 3.6e6;
	double best = fmax(0, fmax(c->can[POLICY_MINE] ? c->net_usd_h[POLICY_MINE] : 0,
						  c->can[POLICY_SERVE] ? c->net_usd_h[POLICY_SERVE] : 0));
	if (idle_mode(c) == DEVICE_OFF || mwh <= 0)
		return;
	double price = best * back_h / (mwh * hours(duration_ns));
	push(b->shed, &b->n_shed,
		(struct bid_step){ .cls = c->cls, .from = POLICY_IDLE, .to = POLICY_IDLE, .off = true, .devices = devices,
			.usd_mwh = fmax(price, floor_usd_mwh),
			.response_ns = after_ns + c->cls->switch_ms[DEVICE_OFF] * NS_PER_MS },
		mwh);
}

static void shed_use(struct bid_curve *b, const struct policy_class *c, enum policy_use use, uint32_t devices,
	int64_t duration_ns)
{
	double d_h = hours(duration_ns), mwh = c->mwh_h[use] - c->mwh_h[POLICY_IDLE];
	double more = c->net_usd_h[use] - c->net_usd_h[POLICY_IDLE];
	int64_t response_ns = c->cls->switch_ms[idle_mode(c)] * NS_PER_MS;
	if (mwh <= 0)
		return;
	double cost = (c->gross_usd_h[use] - c->gross_usd_h[POLICY_IDLE]) * d_h + c->switch_cost_usd[use] +
				  fmax(0, more) * beyond_h(c->group ? c->group->min_down_ns : 0, duration_ns);
	double price = cost / (mwh * d_h);
	push(b->shed, &b->n_shed,
		(struct bid_step){ .cls = c->cls, .from = use, .to = POLICY_IDLE, .devices = devices, .usd_mwh = price,
			.response_ns = response_ns },
		mwh);
	shed_off(b, c, devices, price, response_ns, duration_ns);
}

static void add_mining(struct bid_curve *b, const struct policy_class *c, uint32_t devices, int64_t duration_ns)
{
	double d_h = hours(duration_ns), mwh = c->mwh_h[POLICY_MINE] - c->mwh_h[POLICY_IDLE];
	double more = c->net_usd_h[POLICY_MINE] - c->net_usd_h[POLICY_IDLE];
	if (!c->can[POLICY_MINE] || mwh <= 0)
		return;
	double gain = (c->gross_usd_h[POLICY_MINE] - c->gross_usd_h[POLICY_IDLE]) * d_h - c->switch_cost_usd[POLICY_MINE] +
				  fmin(0, more) * beyond_h(c->group ? c->group->min_up_ns : 0, duration_ns);
	push(b->add, &b->n_add,
		(struct bid_step){ .cls = c->cls, .from = POLICY_IDLE, .to = POLICY_MINE, .devices = devices,
			.usd_mwh = gain / (mwh * d_h),
			.response_ns = c->group ? c->group->boot_ns : c->cls->switch_ms[DEVICE_FILL] * NS_PER_MS },
		mwh);
}

static uint32_t less(uint32_t a, uint32_t b)
{
	return a > b ? a - b : 0;
}

static void add_class(struct bid_curve *b, const struct policy_class *c, int64_t duration_ns)
{
	uint32_t mining = less(c->now[POLICY_MINE], c->held[POLICY_MINE]);
	uint32_t held_spot = c->held[POLICY_SERVE] > c->must_serve ? c->held[POLICY_SERVE] : c->must_serve;
	uint32_t spot = less(c->now[POLICY_SERVE], held_spot);
	uint32_t standing = less(c->now[POLICY_IDLE], c->held[POLICY_IDLE]);
	for (int u = 0; u < POLICY_USE_END; u++)
		b->drawn_kw += c->now[u] * c->mwh_h[u] * 1e3;
	b->held_kw += (c->now[POLICY_MINE] - mining) * fmax(0, c->mwh_h[POLICY_MINE] - c->mwh_h[POLICY_IDLE]) * 1e3;
	shed_use(b, c, POLICY_MINE, mining, duration_ns);
	shed_use(b, c, POLICY_SERVE, spot, duration_ns);
	shed_off(b, c, c->now[POLICY_IDLE], 0, 0, duration_ns);
	/* What is promised and not served yet is not taken on for mining. */
	add_mining(b, c, less(standing, less(c->must_serve, c->now[POLICY_SERVE])), duration_ns);
}

static int by_price(const struct bid_step *a, const struct bid_step *b)
{
	if (a->usd_mwh != b->usd_mwh)
		return a->usd_mwh < b->usd_mwh ? -1 : 1;
	if (a->response_ns != b->response_ns)
		return a->response_ns < b->response_ns ? -1 : 1;
	return a->cls != b->cls ? (device_class_index(a->cls) < device_class_index(b->cls) ? -1 : 1)
							: (int)a->from - (int)b->from;
}

static int ascending(const void *a, const void *b)
{
	return by_price(a, b);
}

static int descending(const void *a, const void *b)
{
	return by_price(b, a);
}

static const struct policy_class *class_of(const struct policy_input *in, const struct device_class *cls)
{
	for (size_t i = 0; i < in->n; i++)
		if (in->c[i].cls == cls)
			return &in->c[i];
	return NULL;
}

/* What is drawn now by what stands behind a feeder; -1: by the whole site. */
static double drawn_kw(const struct policy_input *in, int feeder)
{
	double kw = 0;
	for (size_t i = 0; i < in->n; i++)
		for (int u = 0; u < POLICY_USE_END; u++)
			if (feeder < 0 || (in->c[i].group && in->c[i].group->feeder == feeder))
				kw += in->c[i].now[u] * in->c[i].mwh_h[u] * 1e3;
	return kw;
}

/* Whole devices only, within the site's limit and their feeder's. */
static void keep_limits(const struct policy_input *in, struct bid_curve *b)
{
	double room[1 + SITE_FEEDERS_MAX];
	const struct site *s = in->site;
	size_t kept = 0;
	if (!s || s->limit_w <= 0)
		return;
	room[0] = s->limit_w / 1e3 - drawn_kw(in, -1);
	for (size_t f = 0; f < s->n_feeders; f++)
		room[1 + f] = s->feeder[f].limit_w / 1e3 - drawn_kw(in, (int)f);
	for (size_t i = 0; i < b->n_add; i++) {
		struct bid_step step = b->add[i];
		const struct policy_class *c = class_of(in, step.cls);
		double each = step.kw / step.devices, *behind = NULL;
		if (c && c->group && c->group->feeder >= 0)
			behind = &room[1 + c->group->feeder];
		double fit = floor(fmax(0, fmin(room[0], behind ? *behind : room[0])) / each);
		step.devices = fit < step.devices ? (uint32_t)fit : step.devices;
		step.kw = step.devices * each;
		room[0] -= step.kw;
		if (behind)
			*behind -= step.kw;
		if (step.devices)
			b->add[kept++] = step;
	}
	b->n_add = kept;
}

int bid_curve(const struct policy_input *in, int64_t duration_ns, struct bid_curve *ret, struct err *err)
{
	int rc = policy_input_validate(in, err);
	if (rc < 0)
		return rc;
	if (duration_ns < DURATION_MIN_NS || duration_ns > DURATION_MAX_NS)
		return err_set(err, HCP_ERANGE, "duration_s", "must be from 60 to 604800 seconds");
	*ret = (struct bid_curve){ 0 };
	for (size_t i = 0; i < in->n; i++)
		add_class(ret, &in->c[i], duration_ns);
	qsort(ret->shed, ret->n_shed, sizeof(ret->shed[0]), ascending);
	qsort(ret->add, ret->n_add, sizeof(ret->add[0]), descending);
	keep_limits(in, ret);
	return 0;
}

double bid_shed_kw(const struct bid_curve *b, double usd_mwh, int64_t response_ns)
{
	double kw = 0;
	for (size_t i = 0; i < b->n_shed && b->shed[i].usd_mwh <= usd_mwh; i++)
		if (b->shed[i].response_ns <= response_ns)
			kw += b->shed[i].kw;
	return kw;
}

size_t bid_levels(const struct bid_curve *b, int64_t ret[BID_LEVELS_MAX])
{
	size_t n = 0;
	for (int64_t last = -1; n < BID_LEVELS_MAX;) {
		int64_t next = INT64_MAX;
		for (size_t i = 0; i < b->n_shed; i++)
			if (b->shed[i].response_ns > last && b->shed[i].response_ns < next)
				next = b->shed[i].response_ns;
		if (next == INT64_MAX)
			break;
		ret[n++] = last = next;
	}
	return n;
}
