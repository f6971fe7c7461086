#include "model/device.h"

#include <math.h>

#include "base/money.h"

#define NO DEVICE_STATE_END

/* clang-format off */
static const uint8_t transition[DEVICE_STATE_END][DEVICE_EVENT_END] = {
	/*                       assign                start             abort           drain               release         maintain               repair          fail */
	[DEVICE_ST_IDLE] =        { DEVICE_ST_ALLOCATING, NO,               NO,             NO,                 NO,             DEVICE_ST_MAINTENANCE, NO,             DEVICE_ST_FAILED },
	[DEVICE_ST_ALLOCATING] =  { NO,                   DEVICE_ST_ACTIVE, DEVICE_ST_IDLE, NO,                 NO,             NO,                    NO,             DEVICE_ST_FAILED },
	[DEVICE_ST_ACTIVE] =      { NO,                   NO,               NO,             DEVICE_ST_DRAINING, DEVICE_ST_IDLE, NO,                    NO,             DEVICE_ST_FAILED },
	[DEVICE_ST_DRAINING] =    { NO,                   NO,               NO,             NO,                 DEVICE_ST_IDLE, DEVICE_ST_MAINTENANCE, NO,             DEVICE_ST_FAILED },
	[DEVICE_ST_MAINTENANCE] = { NO,                   NO,               NO,             NO,                 NO,             NO,                    DEVICE_ST_IDLE, DEVICE_ST_FAILED },
	[DEVICE_ST_FAILED] =      { NO,                   NO,               NO,             NO,                 NO,             DEVICE_ST_MAINTENANCE, DEVICE_ST_IDLE, NO },
};
/* clang-format on */

static const char *const state_name[DEVICE_STATE_END] = {
	"idle", "allocating", "active", "draining", "maintenance", "failed",
};
static const char *const event_name[DEVICE_EVENT_END] = {
	"assign", "start", "abort", "drain", "release", "maintain", "repair", "fail",
};
static const char *const drift_name[DEVICE_DRIFT_END] = {
	"none", "no_sample", "stale", "power_unmeasured", "power_high", "power_low", "hash_low", "still_hashing",
	"not_serving", "invalid",
};

const char *device_state_name(enum device_state s)
{
	return (unsigned)s < DEVICE_STATE_END ? state_name[s] : NULL;
}

const char *device_event_name(enum device_event e)
{
	return (unsigned)e < DEVICE_EVENT_END ? event_name[e] : NULL;
}

const char *device_drift_name(enum device_drift d)
{
	return (unsigned)d < DEVICE_DRIFT_END ? drift_name[d] : NULL;
}

const char *device_verdict_name(enum device_verdict v)
{
	static const char *const name[] = { "pending", "confirmed", "drifted" };
	return (unsigned)v <= DEVICE_DRIFTED ? name[v] : NULL;
}

int device_state_parse(struct str s, enum device_state *ret)
{
	for (unsigned i = 0; i < DEVICE_STATE_END; i++) {
		if (str_eqz(s, state_name[i])) {
			*ret = (enum device_state)i;
			return 0;
		}
	}
	return HCP_EINVAL;
}

int device_next(enum device_state state, enum device_event event, enum device_state *ret, struct err *err)
{
	if ((unsigned)state >= DEVICE_STATE_END || (unsigned)event >= DEVICE_EVENT_END)
		return err_set(err, HCP_EINVAL, "state", "state %d or event %d does not exist", (int)state, (int)event);
	if (transition[state][event] == NO)
		return err_set(err, HCP_ESTATE, "state", "a device that is %s cannot %s", state_name[state],
			event_name[event]);
	*ret = (enum device_state)transition[state][event];
	return 0;
}

void device_tolerance_default(struct device_tolerance *t)
{
	*t = (struct device_tolerance){
		.power_ratio = 0.15,
		.power_slack_w = 10,
		.hash_ratio = 0.85,
		.residual_hash_ratio = 0.01,
		.settle_ns = 30 * NS_PER_S,
		.stale_ns = 15 * NS_PER_S,
	};
}

static struct device_finding open_finding(enum device_drift why, double expected, double measured)
{
	return (
		struct device_finding){ .verdict = DEVICE_PENDING, .reason = why, .expected = expected, .measured = measured };
}

static const struct device_finding proved = { .verdict = DEVICE_CONFIRMED, .reason = DEVICE_DRIFT_NONE };

/* Watts: never above the mode's; while an ASIC mines also not below, or boards are missing. */
static struct device_finding check_power(const struct device_class *cls, const struct device_control *ctl,
	const struct device_actual *a, const struct device_tolerance *tol)
{
	double want_w = ctl->power_target_w > 0 ? ctl->power_target_w : cls->power_w[ctl->commanded];
	double band_w = want_w * tol->power_ratio + tol->power_slack_w;
	bool mines = ctl->commanded == DEVICE_FILL && cls->fill_ths > 0;

	if (!a->power_measured && (cls->kind == DEVICE_ASIC || !mines))
		return open_finding(DEVICE_DRIFT_POWER_UNMEASURED, want_w, a->power_w);
	if (a->power_measured && a->power_w > want_w + band_w)
		return open_finding(DEVICE_DRIFT_POWER_HIGH, want_w, a->power_w);
	if (mines && cls->kind == DEVICE_ASIC && a->power_w < want_w - band_w)
		return open_finding(DEVICE_DRIFT_POWER_LOW, want_w, a->power_w);
	return proved;
}

static struct device_finding check_work(const struct device_class *cls, const struct device_control *ctl,
	const struct device_actual *a, const struct device_tolerance *tol)
{
	if (ctl->commanded == DEVICE_FILL && cls->fill_ths > 0) {
		/* A lower power target lowers the hash rate at most in proportion. */
		double nominal_w = cls->power_w[DEVICE_FILL];
		double share = ctl->power_target_w > 0 && ctl->power_target_w < nominal_w ?
			ctl->power_target_w / nominal_w : 1;
		double least = cls->fill_ths * share * tol->hash_ratio;
		if (a->hash_ths < least)
			return open_finding(DEVICE_DRIFT_HASH_LOW, least, a->hash_ths);
		return proved;
	}
	double most = cls->fill_ths * tol->residual_hash_ratio;
	if (a->hash_ths > most)
		return open_finding(DEVICE_DRIFT_STILL_HASHING, most, a->hash_ths);
	if (ctl->commanded == DEVICE_SERVE && a->served == 0 && !a->health_ok)
		return open_finding(DEVICE_DRIFT_NOT_SERVING, 1, 0);
	return proved;
}

static struct device_finding check_sample(const struct device_control *ctl, const struct device_actual *a,
	const struct device_tolerance *tol, int64_t now_ns)
{
	if (!isfinite(a->power_w) || a->power_w < 0 || !isfinite(a->hash_ths) || a->hash_ths < 0)
		return open_finding(DEVICE_DRIFT_INVALID, 0, 0);
	if (a->measured_at_ns <= ctl->commanded_at_ns)
		return open_finding(DEVICE_DRIFT_NO_SAMPLE, (double)ctl->commanded_at_ns, (double)a->measured_at_ns);
	if (now_ns - a->measured_at_ns > tol->stale_ns)
		return open_finding(DEVICE_DRIFT_STALE, (double)tol->stale_ns, (double)(now_ns - a->measured_at_ns));
	return proved;
}

struct device_finding device_confirm(const struct device_class *cls, const struct device_control *ctl,
	const struct device_actual *now_actual, const struct device_tolerance *tol, int64_t now_ns)
{
	struct device_finding f = check_sample(ctl, now_actual, tol, now_ns);
	if (f.verdict == DEVICE_CONFIRMED)
		f = check_work(cls, ctl, now_actual, tol);
	if (f.verdict == DEVICE_CONFIRMED)
		f = check_power(cls, ctl, now_actual, tol);
	if (f.verdict == DEVICE_CONFIRMED)
		return f;
	/* A mode that was proved before and no longer is has drifted at once, except that one late sample is no proof. */
	bool was_proved = ctl->confirmed_at_ns > ctl->commanded_at_ns && ctl->confirmed == ctl->commanded;
	int64_t allowed_ns = cls->switch_ms[ctl->commanded] * NS_PER_MS + tol->settle_ns;
	if (now_ns - ctl->commanded_at_ns > allowed_ns || (was_proved && f.reason != DEVICE_DRIFT_NO_SAMPLE))
		f.verdict = DEVICE_DRIFTED;
	return f;
}

void device_apply_finding(struct device_control *ctl, const struct device_finding *f, int64_t now_ns)
{
	if (f->verdict == DEVICE_CONFIRMED) {
		ctl->confirmed = ctl->commanded;
		ctl->confirmed_at_ns = now_ns;
		ctl->drifted = false;
	} else if (f->verdict == DEVICE_DRIFTED) {
		ctl->drifted = true;
	}
}

void device_command(struct device_control *ctl, enum device_mode mode, double power_target_w, int64_t now_ns)
{
	ctl->commanded = mode;
	ctl->power_target_w = power_target_w;
	ctl->commanded_at_ns = now_ns;
	ctl->acked = false;
	ctl->drifted = false;
}
