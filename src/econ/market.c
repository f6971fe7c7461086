#include "econ/market.h"

#include <math.h>
#include <string.h>

#include "base/money.h"
#include "base/panic.h"
#include "econ/btc.h"

#define MIN_NS (60 * NS_PER_S)
#define HOUR_NS (60 * MIN_NS)
#define DAY_NS (24 * HOUR_NS)

/* clang-format off */
static const struct market_rule rule[MARKET_QUANTITY_END] = {
	/*                       min                       max                       jump  default  stale        expire */
	[MARKET_POWER_RT] =   { MARKET_POWER_MIN_USD_MWH, MARKET_POWER_MAX_USD_MWH, 0,    60,      20 * MIN_NS, 2 * HOUR_NS },
	[MARKET_POWER_DA] =   { MARKET_POWER_MIN_USD_MWH, MARKET_POWER_MAX_USD_MWH, 0,    60,      DAY_NS,      3 * DAY_NS },
	[MARKET_BTC_USD] =    { 1,                        1e8,                      1.25, 30000,   MIN_NS,      DAY_NS },
	[MARKET_DIFFICULTY] = { 1,                        1e20,                     4.01, 1.0e14,  DAY_NS,      30 * DAY_NS },
	[MARKET_FEES_BTC] =   { 0,                        1000,                     0,    0.02,    2 * HOUR_NS, 7 * DAY_NS },
	[MARKET_HEIGHT] =     { 0,                        1e8,                      1.05, 0,       2 * HOUR_NS, 30 * DAY_NS },
	[MARKET_GPU_RATE] =   { 0,                        1000,                     4,    0,       10 * MIN_NS, 7 * DAY_NS },
};
/* clang-format on */

static const char *const quantity_name[MARKET_QUANTITY_END] = {
	"power_rt", "power_da", "btc_usd", "difficulty", "fees_btc", "height", "gpu_rate",
};
static const char *const quantity_unit[MARKET_QUANTITY_END] = {
	"USD/MWh", "USD/MWh", "USD/BTC", "1", "BTC/block", "block", "USD/h",
};
static const char *const origin_name[MARKET_ORIGIN_END] = { "fresh", "last_known", "day_ahead", "default" };

const struct market_rule *market_rule_default(enum market_quantity q)
{
	return (unsigned)q < MARKET_QUANTITY_END ? &rule[q] : NULL;
}

const char *market_quantity_name(enum market_quantity q)
{
	return (unsigned)q < MARKET_QUANTITY_END ? quantity_name[q] : NULL;
}

const char *market_quantity_unit(enum market_quantity q)
{
	return (unsigned)q < MARKET_QUANTITY_END ? quantity_unit[q] : NULL;
}

const char *market_origin_name(enum market_origin o)
{
	return (unsigned)o < MARKET_ORIGIN_END ? origin_name[o] : NULL;
}

const char *market_health_name(enum market_health h)
{
	static const char *const name[] = { "ok", "degraded", "blind" };
	return (unsigned)h <= MARKET_BLIND ? name[h] : NULL;
}

void market_init(struct market *m)
{
	memset(m, 0, sizeof(*m));
	memcpy(m->rule, rule, sizeof(rule));
}

static struct market_da_hour *da_slot(struct market *m, int64_t t_ns)
{
	return &m->da[(uint64_t)(t_ns / HOUR_NS) % MARKET_DA_HOURS];
}

/* Everything that can be said of the tick without the present state. */
static int check_tick(const struct market *m, const struct market_tick *t, int64_t now_ns, struct err *err)
{
	if ((unsigned)t->quantity >= MARKET_QUANTITY_END)
		return err_set(err, HCP_EINVAL, "quantity", "no such quantity: %d", (int)t->quantity);
	if (t->quantity == MARKET_GPU_RATE ? t->device_class >= device_class_count() : t->device_class != 0)
		return err_set(err, HCP_EINVAL, "device_class", "no such device class: %u", (unsigned)t->device_class);
	if (!memchr(t->source, 0, sizeof(t->source)))
		return err_set(err, HCP_EINVAL, "source", "must be shorter than %d bytes", MARKET_SOURCE_MAX);
	if (!isfinite(t->value))
		return err_set(err, HCP_EINVAL, "value", "must be a finite number");
	const struct market_rule *r = &m->rule[t->quantity];
	if (t->value < r->min || t->value > r->max)
		return err_set(err, HCP_ERANGE, "value", "%s must be from %g to %g %s, is %g", quantity_name[t->quantity],
			r->min, r->max, quantity_unit[t->quantity], t->value);
	if (t->observed_at_ns <= 0 || t->observed_at_ns > now_ns + MARKET_FUTURE_NS)
		return err_set(err, HCP_ERANGE, "observed_at", "lies in the future or before 1970");
	if (t->valid_from_ns <= 0)
		return err_set(err, HCP_ERANGE, "valid_from", "lies before 1970");
	if (t->quantity == MARKET_POWER_DA) {
		if (t->valid_from_ns % HOUR_NS != 0)
			return err_set(err, HCP_EINVAL, "valid_from", "a day-ahead price is for a whole hour");
		if (t->valid_from_ns > now_ns + 2 * DAY_NS || t->valid_from_ns < now_ns - DAY_NS)
			return err_set(err, HCP_ERANGE, "valid_from", "not within a day back and two days ahead");
	} else if (t->valid_from_ns > now_ns + MARKET_FUTURE_NS) {
		return err_set(err, HCP_ERANGE, "valid_from", "only day-ahead prices are for the future");
	}
	return 0;
}

static bool jumps(double from, double to, double max_jump)
{
	if (max_jump <= 0 || from <= 0)
		return false;
	return to > from * max_jump || to < from / max_jump;
}

bool market_gate(double last, double value, double max_jump, double *suspect, int *suspects)
{
	if (!jumps(last, value, max_jump))
		return true;
	*suspects = *suspects > 0 && !jumps(*suspect, value, max_jump) ? *suspects + 1 : 1;
	*suspect = value;
	return *suspects >= MARKET_OUTLIER_CONFIRM;
}

int market_apply(struct market *m, const struct market_tick *t, int64_t now_ns, struct err *err)
{
	int r = check_tick(m, t, now_ns, err);
	if (r < 0)
		return r;
	const struct market_rule *rl = &m->rule[t->quantity];
	struct market_value *v = t->quantity == MARKET_GPU_RATE ? &m->gpu[t->device_class] : &m->v[t->quantity];
	bool day_ahead = t->quantity == MARKET_POWER_DA;
	if (v->known && !day_ahead &&
		(t->valid_from_ns < v->valid_from_ns || t->observed_at_ns < v->observed_at_ns))
		return err_set(err, HCP_ECONFLICT, "observed_at", "older than the value already known");
	/* After an outage longer than the expiry the old level says nothing about the new one. */
	bool comparable = v->known && now_ns - v->observed_at_ns <= rl->expire_ns;
	if (comparable && !market_gate(v->value, t->value, rl->max_jump, &v->suspect, &v->suspects)) {
		v->rejected++;
		return err_set(err, HCP_EAGAIN, "value", "%g after %g is too far; held back until %d agree", t->value, v->value,
			MARKET_OUTLIER_CONFIRM);
	}
	if (day_ahead)
		*da_slot(m, t->valid_from_ns) = (struct market_da_hour){ t->valid_from_ns, t->value, true };
	v->value = t->value;
	v->observed_at_ns = t->observed_at_ns;
	v->valid_from_ns = t->valid_from_ns;
	v->known = true;
	v->suspects = 0;
	v->accepted++;
	memcpy(v->source, t->source, sizeof(v->source));
	m->version++;
	return 0;
}

static struct market_reading read_value(const struct market_value *v, const struct market_rule *r, int64_t now_ns)
{
	int64_t age_ns = now_ns - v->observed_at_ns;
	if (!v->known || age_ns > r->expire_ns)
		return (struct market_reading){ .value = r->default_value, .origin = MARKET_DEFAULT, .age_ns = -1 };
	return (struct market_reading){ .value = v->value,
		.origin = age_ns > r->stale_ns ? MARKET_LAST_KNOWN : MARKET_FRESH,
		.age_ns = age_ns < 0 ? 0 : age_ns };
}

static bool read_day_ahead(const struct market *m, int64_t now_ns, struct market_reading *ret)
{
	const struct market_da_hour *h = &m->da[(uint64_t)(now_ns / HOUR_NS) % MARKET_DA_HOURS];
	if (!h->known || h->valid_from_ns != now_ns / HOUR_NS * HOUR_NS)
		return false;
	int64_t age_ns = now_ns - m->v[MARKET_POWER_DA].observed_at_ns;
	*ret = (struct market_reading){ .value = h->value, .origin = MARKET_DAY_AHEAD, .age_ns = age_ns < 0 ? 0 : age_ns };
	return true;
}

struct market_reading market_read(const struct market *m, enum market_quantity q, size_t device_class, int64_t now_ns)
{
	must((unsigned)q < MARKET_QUANTITY_END && device_class < DEVICE_CLASS_MAX);
	struct market_reading out;
	if (q == MARKET_POWER_DA) {
		if (read_day_ahead(m, now_ns, &out))
			return out;
		return (struct market_reading){ .value = m->rule[q].default_value, .origin = MARKET_DEFAULT, .age_ns = -1 };
	}
	out = read_value(q == MARKET_GPU_RATE ? &m->gpu[device_class] : &m->v[q], &m->rule[q], now_ns);
	if (q == MARKET_POWER_RT && out.origin == MARKET_DEFAULT)
		(void)read_day_ahead(m, now_ns, &out);
	return out;
}

struct profit_market market_profit_inputs(const struct market *m, double pool_fee, double pue, int64_t now_ns)
{
	struct market_reading height = market_read(m, MARKET_HEIGHT, 0, now_ns);
	int64_t sats = height.origin == MARKET_DEFAULT ? btc_subsidy_sats_at(now_ns) :
		btc_subsidy_sats((int64_t)height.value);
	return (struct profit_market){
		.btc_usd = market_read(m, MARKET_BTC_USD, 0, now_ns).value,
		.difficulty = market_read(m, MARKET_DIFFICULTY, 0, now_ns).value,
		.subsidy_btc = (double)sats / (double)BTC_SATS,
		.fees_btc = market_read(m, MARKET_FEES_BTC, 0, now_ns).value,
		.pool_fee = pool_fee,
		.electricity_usd_mwh = market_read(m, MARKET_POWER_RT, 0, now_ns).value,
		.pue = pue,
	};
}

enum market_health market_health(const struct market *m, int64_t now_ns)
{
	static const enum market_quantity needed[] = { MARKET_POWER_RT, MARKET_BTC_USD, MARKET_DIFFICULTY,
		MARKET_FEES_BTC };
	enum market_health h = MARKET_OK;
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		enum market_origin o = market_read(m, needed[i], 0, now_ns).origin;
		if (o == MARKET_DEFAULT && (needed[i] == MARKET_POWER_RT || needed[i] == MARKET_BTC_USD))
			return MARKET_BLIND;
		if (o != MARKET_FRESH)
			h = MARKET_DEGRADED;
	}
	for (size_t i = 0; i < device_class_count(); i++) {
		if (m->gpu[i].known && market_read(m, MARKET_GPU_RATE, i, now_ns).origin != MARKET_FRESH)
			h = MARKET_DEGRADED;
	}
	return h;
}
