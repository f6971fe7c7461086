#include "cmd/cli/human.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

#include "base/money.h"
#include "base/num.h"
#include "base/timefmt.h"

/* First match wins, so longer ends stand before shorter ones. */
static const struct suffix {
	const char *end;
	enum human_format format;
} suffixes[] = {
	{ "duration_ns", HUMAN_NS }, { "device_ns", HUMAN_NS },   { "total_ns", HUMAN_NS },  { "_ns", HUMAN_TIME },
	{ "_usd_mwh", HUMAN_USD_MWH }, { "_usd_h", HUMAN_USD_H }, { "_cost_usd", HUMAN_USD }, { "_usd", HUMAN_USD },
	{ "micros_h", HUMAN_MICROS }, { "_micros", HUMAN_MICROS }, { "_ms", HUMAN_MS },      { "duration_s", HUMAN_S },
	{ "step_s", HUMAN_S },       { "interval_s", HUMAN_S },   { "expires_in", HUMAN_S }, { "_w", HUMAN_WATTS },
	{ "_j", HUMAN_JOULES },      { "_ths", HUMAN_THS },       { "hashes", HUMAN_HASHES }, { "_gib", HUMAN_GIB },
	{ "temperature_c", HUMAN_CELSIUS }, { "utilisation", HUMAN_RATIO }, { "health", HUMAN_RATIO },
	{ "confidence", HUMAN_RATIO }, { "value", HUMAN_REAL },   { "quantity", HUMAN_REAL }, { "_btc", HUMAN_REAL },
	{ "_ph_day", HUMAN_USD },    { "score", HUMAN_REAL },     { "difficulty", HUMAN_REAL },
	{ "hysteresis", HUMAN_REAL },
};

static const struct named {
	const char *name;
	enum human_format format;
} named[] = {
	{ "age", HUMAN_AGE }, { "time", HUMAN_TIME }, { "n", HUMAN_COUNT }, { "real", HUMAN_REAL },
	{ "usd", HUMAN_USD },
	{ "ns", HUMAN_NS },   { "ms", HUMAN_MS },     { "ratio", HUMAN_RATIO }, { "micros", HUMAN_MICROS },
	{ "usdh", HUMAN_USD_H },
	{ "part", HUMAN_PART },
};

enum human_format human_of(const char *field)
{
	size_t n = strlen(field);
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		size_t len = strlen(suffixes[i].end);
		if (n >= len && !strcmp(field + n - len, suffixes[i].end))
			return suffixes[i].format;
	}
	return HUMAN_TEXT;
}

enum human_format human_named(struct str name)
{
	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
		if (str_eqz(name, named[i].name))
			return named[i].format;
	}
	return HUMAN_TEXT;
}

bool human_is_number(enum human_format f)
{
	return f != HUMAN_TEXT && f != HUMAN_TIME;
}

void human_add_ns(struct buf *out, int64_t ns)
{
	uint64_t v = ns < 0 ? (uint64_t)0 - (uint64_t)ns : (uint64_t)ns;
	if (ns < 0)
		buf_addc(out, '-');
	uint64_t s = v / 1000000000;
	if (v < 1000)
		buf_printf(out, "%u ns", (unsigned)v);
	else if (v < 1000000)
		buf_printf(out, "%.3g us", (double)v / 1e3);
	else if (v < 1000000000)
		buf_printf(out, "%.3g ms", (double)v / 1e6);
	else if (s < 60)
		buf_printf(out, v % 1000000000 ? "%.1f s" : "%.0f s", (double)v / 1e9);
	else if (s < 3600)
		buf_printf(out, "%um %us", (unsigned)(s / 60), (unsigned)(s % 60));
	else if (s < 86400)
		buf_printf(out, "%uh %um", (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
	else
		buf_printf(out, "%lud %uh", (unsigned long)(s / 86400), (unsigned)(s / 3600 % 24));
}

/* Groups the digits of a decimal text before its point. */
static void add_grouped(struct buf *out, const char *text)
{
	if (*text == '-')
		buf_addc(out, *text++);
	size_t whole = strcspn(text, ".");
	for (size_t i = 0; i < whole; i++) {
		if (i && (whole - i) % 3 == 0)
			buf_addc(out, ',');
		buf_addc(out, text[i]);
	}
	buf_addz(out, text + whole);
}

void human_add_usd(struct buf *out, double usd)
{
	char text[64];
	double size = fabs(usd);
	if (size >= 1e15) {
		buf_printf(out, "$%.3e", usd);
		return;
	}
	snprintf(text, sizeof(text), size != 0 && size < 1 ? "%.4f" : "%.2f", size);
	if (usd < 0 && strspn(text, "0.") != strlen(text))
		buf_addc(out, '-');
	buf_addc(out, '$');
	add_grouped(out, text);
}

/* 1234 W -> 1.23 kW; `units` from small to large in steps of 1000. */
static void add_scaled(struct buf *out, double v, const char *const *units, size_t n)
{
	size_t i = 0;
	while (i + 1 < n && fabs(v) >= 999.5) {
		v /= 1000;
		i++;
	}
	buf_printf(out, fabs(v) >= 1e6 ? "%.3g %s" : v == floor(v) ? "%.0f %s" : fabs(v) < 10 ? "%.2f %s" : "%.1f %s",
		   v, units[i]);
}

#define SCALED(out, v, ...) \
	do { \
		static const char *const units_[] = { __VA_ARGS__ }; \
		add_scaled(out, v, units_, sizeof(units_) / sizeof(units_[0])); \
	} while (0)

static void add_time(struct buf *out, int64_t ns)
{
	char text[TIMEFMT_MAX];
	if (ns >= INT64_MIN + NS_PER_S)
		ns -= ((ns % NS_PER_S) + NS_PER_S) % NS_PER_S;
	timefmt_format(text, ns);
	char *t = strchr(text, 'T');
	if (t)
		*t = ' ';
	buf_addz(out, text);
}

static void add_number(struct buf *out, double v, int64_t whole, enum human_format f, int64_t now_ns)
{
	char text[32];
	switch (f) {
	case HUMAN_COUNT:
		snprintf(text, sizeof(text), "%" PRId64, whole);
		add_grouped(out, text);
		break;
	case HUMAN_TIME:
		if (whole)
			add_time(out, whole);
		break;
	case HUMAN_AGE:
		if (whole && !__builtin_sub_overflow(now_ns, whole, &whole))
			human_add_ns(out, whole / NS_PER_S * NS_PER_S);
		break;
	case HUMAN_NS:
		human_add_ns(out, whole);
		break;
	case HUMAN_MS:
		human_add_ns(out, fabs(v) < 9e12 ? (int64_t)(v * 1e6) : 0);
		break;
	case HUMAN_S:
		human_add_ns(out, fabs(v) < 9e9 ? (int64_t)(v * 1e9) : 0);
		break;
	case HUMAN_MICROS:
		human_add_usd(out, v / 1e6);
		break;
	case HUMAN_USD:
		human_add_usd(out, v);
		break;
	case HUMAN_USD_H:
		human_add_usd(out, v);
		buf_addz(out, "/h");
		break;
	case HUMAN_USD_MWH:
		human_add_usd(out, v);
		buf_addz(out, "/MWh");
		break;
	case HUMAN_WATTS:
		SCALED(out, v, "W", "kW", "MW", "GW");
		break;
	case HUMAN_JOULES:
		SCALED(out, v / 3600, "Wh", "kWh", "MWh", "GWh");
		break;
	case HUMAN_THS:
		SCALED(out, v, "TH/s", "PH/s", "EH/s");
		break;
	case HUMAN_HASHES:
		SCALED(out, v, "H", "kH", "MH", "GH", "TH", "PH", "EH");
		break;
	case HUMAN_RATIO:
		buf_printf(out, "%.0f %%", v * 100);
		break;
	case HUMAN_GIB:
		buf_printf(out, "%" PRId64 " GiB", whole);
		break;
	case HUMAN_CELSIUS:
		buf_printf(out, "%" PRId64 " °C", whole);
		break;
	default:
		buf_printf(out, fabs(v) < 1e15 && v == floor(v) ? "%.0f" : "%.6g", v);
	}
}

void human_add(struct buf *out, const json_t *v, enum human_format f, int64_t now_ns)
{
	int64_t whole = 0;
	if (json_is_integer(v)) {
		whole = json_integer_value(v);
		add_number(out, (double)whole, whole, f, now_ns);
	} else if (json_is_real(v)) {
		double d = json_real_value(v);
		add_number(out, d, fabs(d) < 9.2e18 ? (int64_t)d : 0, f, now_ns);
	} else if (json_is_boolean(v)) {
		buf_addz(out, json_is_true(v) ? "yes" : "no");
	} else if (json_is_string(v)) {
		struct str s = { json_string_value(v), json_string_length(v) };
		if (f != HUMAN_TEXT && num_parse_i64(s, &whole) == 0)
			add_number(out, (double)whole, whole, f, now_ns);
		else
			buf_adds(out, s);
	} else if (json_is_array(v) && f == HUMAN_COUNT) {
		add_number(out, 0, (int64_t)json_array_size(v), f, now_ns);
	} else if (json_is_array(v)) {
		size_t i;
		json_t *item;
		json_array_foreach(v, i, item) {
			if (i)
				buf_addc(out, ',');
			human_add(out, item, f, now_ns);
		}
	} else if (json_is_object(v)) {
		buf_printf(out, "{%zu}", json_object_size(v));
	}
}

int human_parse_duration(struct str s, int64_t *ret_s)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	int64_t scale = 1, v = 0;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (s.n > 1 && s.p[s.n - 1] == units[i].unit) {
			scale = units[i].seconds;
			s.n--;
			break;
		}
	}
	int rc = num_parse_i64(s, &v);
	if (rc < 0)
		return rc;
	if (v < 0)
		return HCP_ERANGE;
	return num_mul_i64(v, scale, ret_s);
}

void human_add_sparkline(struct buf *out, const double *v, size_t n, size_t width)
{
	static const char *const blocks[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	if (n == 0 || width == 0)
		return;
	size_t cells = n < width ? n : width;
	double least = DBL_MAX, most = -DBL_MAX;
	for (size_t i = 0; i < n; i++) {
		least = fmin(least, v[i]);
		most = fmax(most, v[i]);
	}
	for (size_t c = 0; c < cells; c++) {
		size_t from = c * n / cells, to = (c + 1) * n / cells;
		double sum = 0;
		for (size_t i = from; i < to; i++)
			sum += v[i] / (double)(to - from);
		double level = most > least ? (sum - least) / (most - least) * 7.999 : 3;
		buf_addz(out, blocks[level <= 0 ? 0 : level >= 7 ? 7 : (int)level]);
	}
}
