/* Which policy decides, and its settings. */
#include "base/map.h"
#include "services/common/version.h"
#include "services/optimizer/optimizer_priv.h"

/* Made of the settings; positive and small enough for a JSON number everywhere. */
static int64_t policy_version(const struct policy *p)
{
	const double v[] = { p->conf.strike_usd_mwh, p->conf.hysteresis };
	uint64_t hash = hash_bytes(v, sizeof(v), hash_bytes(p->vt->name, strlen(p->vt->name), 0));
	return (int64_t)(hash >> 12) + 1;
}

static int reply_policy(const struct optimizer *o, struct svc_ctx *ctx)
{
	Hcp__Policy *p = svc_reply(ctx, MSG_POLICY);
	if (!p)
		return HCP_ENOMEM;
	p->policy = o->policy.vt->name;
	p->strike_usd_mwh = o->policy.conf.strike_usd_mwh;
	p->hysteresis = o->policy.conf.hysteresis;
	p->version = policy_version(&o->policy);
	struct arena *a = svc_reply_arena(ctx);
	for (size_t i = 0; policy_at(i); i++) {
		if (pb_push(a, &p->n_choices, &p->choices, arena_strdup(a, policy_at(i)->name)) < 0)
			return HCP_ENOMEM;
	}
	return optimizer_models_list(ctx, a, &p->n_models, &p->models, NULL);
}

int optimizer_policy_begin(
	struct policy *ret, const struct policy_vt *vt, const struct policy_conf *conf, struct err *err)
{
	struct policy_conf taught;
	struct policy fresh = { 0 };
	if (conf)
		taught = *conf;
	else
		policy_conf_default(&taught);
	taught.taught = true;
	int rc = policy_init(&fresh, vt, &taught, err);
	if (rc < 0)
		return rc;
	policy_release(ret);
	*ret = fresh;
	return 0;
}

int optimizer_on_policy_get(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	return reply_policy(state, ctx);
}

int optimizer_policy_store(struct optimizer *o, struct svc_ctx *ctx, struct err *err)
{
	struct buf b;
	buf_init(&b, POLICY_STATE_MAX);
	int rc = policy_save(&o->policy, &b, err);
	if (rc == 0)
		rc = optimizer_tables_put(ctx, "policy", str_of(o->policy.vt->name), err);
	if (rc == 0)
		rc = optimizer_tables_put(ctx, "policy_state", buf_str(&b), err);
	buf_release(&b);
	return rc;
}

int optimizer_policy_restore(struct optimizer *o, struct str bytes, struct err *err)
{
	return policy_load(&o->policy, bytes, err);
}

int optimizer_on_policy_set(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct optimizer *o = state;
	const Hcp__PolicySet *s = (const Hcp__PolicySet *)m->body;
	int rc = version_check(s->n_if_version, s->if_version, policy_version(&o->policy), err);
	if (rc < 0)
		return rc;
	const struct policy_vt *vt = s->policy[0] ? policy_find(str_of(s->policy)) : o->policy.vt;
	if (!vt)
		return err_set(err, HCP_EINVAL, "policy", "there is no policy %.32s; GET /policy names them", s->policy);
	struct policy_conf conf = o->policy.conf;
	if (s->has_strike_usd_mwh_case == HCP__POLICY_SET__HAS_STRIKE_USD_MWH_STRIKE_USD_MWH)
		conf.strike_usd_mwh = s->strike_usd_mwh;
	if (s->has_hysteresis_case == HCP__POLICY_SET__HAS_HYSTERESIS_HYSTERESIS)
		conf.hysteresis = s->hysteresis;
	struct policy fresh = { 0 };
	rc = optimizer_policy_begin(&fresh, vt, &conf, err);
	if (rc < 0)
		return rc;
	fresh.decisions = o->policy.decisions;
	policy_release(&o->policy);
	o->policy = fresh;
	rc = optimizer_policy_store(o, ctx, err);
	if (rc == 0)
		rc = optimizer_decide(o, ctx, "operator", 0, err);
	return rc < 0 ? rc : reply_policy(o, ctx);
}
