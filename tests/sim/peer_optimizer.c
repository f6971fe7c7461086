/* A stand-in for the optimizer where the real one does not take part: each market message is a decision of a kind. */
#include "sim.h"

#include "base/mem.h"

static const char *const schema[] = { NULL };

static int peer_open(struct svc *svc, struct db *db, const void *conf, void **ret_state, struct err *err)
{
	*ret_state = mem_calloc(1, 8);
	return *ret_state ? 0 : HCP_ENOMEM;
}

static int on_ticks(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	static const char *const trigger[] = { "price", "demand", "capacity", "timer", "operator" };
	struct rng *r = svc_rng(ctx);
	Hcp__ClassTarget t = HCP__CLASS_TARGET__INIT, *ts = &t;
	Hcp__Decision d = HCP__DECISION__INIT;
	Hcp__DecisionMade ev = HCP__DECISION_MADE__INIT;
	char id[ID_TEXT_MAX];
	t.device_class = "S21";
	t.facility = "texas-north";
	t.total = 4;
	t.mine = (int32_t)rng_below(r, 5);
	t.idle = 4 - t.mine;
	d.id = svc_new_id(ctx, id, ID_DECISION);
	d.decided_at_ns = svc_now_ns(ctx);
	d.trigger = trigger[rng_below(r, 5)];
	d.changed = rng_below(r, 2);
	d.gain_usd_h = rng_double(r) * 10;
	d.switching_cost_usd = rng_double(r) * 4;
	d.horizon_s = 900;
	d.gain_usd = d.gain_usd_h * d.horizon_s / 3600;
	d.pays = d.gain_usd > d.switching_cost_usd;
	d.n_targets = 1;
	d.targets = &ts;
	ev.decision = &d;
	return svc_publish(ctx, id, &ev.base);
}

static const struct svc_handler handlers[] = { { MSG_TICKS, on_ticks, false }, { 0 } };

const struct svc_def peer_optimizer_def = {
	.id = SVC_OPTIMIZER, .schema = schema, .handlers = handlers, .open = peer_open, .close = mem_free,
};
