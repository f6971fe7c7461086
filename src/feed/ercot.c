/*
 * ERCOT public API (developer.ercot.com/applications/pubapi, api.ercot.com/api/public-reports):
 *   np6-905-cd/spp_node_zone_hub       real-time settlement point prices: deliveryDate, deliveryHour (1..24, ending),
 *                                      deliveryInterval (1..4), settlementPoint, settlementPointType,
 *                                      settlementPointPrice, DSTFlag
 *   np4-190-cd/dam_stlmnt_pnt_prices   day-ahead ones: deliveryDate, hourEnding "01:00", settlementPoint,
 *                                      settlementPointPrice, DSTFlag
 *   np4-188-cd/dam_clear_price_for_cap day-ahead clearing prices of capacity: deliveryDate, hourEnding "01:00",
 *                                      ancillaryType (RRS, ECRS, NSPIN, REGUP, REGDN), MCPC, DSTFlag
 * An answer is {"_meta":{"totalPages",…},"fields":[{"name"},…],"data":[[…],…]}; columns are found by name. DSTFlag is
 * a boolean or Y/N. Authorization: the id_token of a B2C resource-owner flow, good for an hour, cannot be refreshed,
 * beside the header Ocp-Apim-Subscription-Key. Terms of use: a report is not asked for more than three times as often
 * as it is made (15 minutes -> 5), 30 requests a minute in all.
 */
#include <stdio.h>

#include "base/money.h"
#include "feed/field.h"
#include "feed/kind.h"
#include "wire/ercot_time.h"
#include "wire/jsonv.h"

enum { PAGE_ROWS = 1000, MINUTE_MS = 60000 };
#define HOUR_NS (3600 * NS_PER_S)

static bool is_plain(const char *s)
{
	for (; *s; s++)
		if (!((*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '_'))
			return false;
	return true;
}

static int ercot_check(struct feed_source_conf *c, struct err *err)
{
	if (!c->point[0])
		memcpy(c->point, c->location, sizeof(c->point));
	return is_plain(c->point)
			   ? 0
			   : err_set(err, HCP_EINVAL, "point", "'%s' is no name of a settlement point, like HB_WEST", c->point);
}

/* by: the column that the source's point, or product, stands in. */
static int ercot_request(const struct feed_turn *t, struct feed_request *r, const char *report, const char *by,
	int64_t from_ns, int64_t to_ns, struct err *err)
{
	char from[ERCOT_DATE_MAX], to[ERCOT_DATE_MAX];
	const char *key = feed_creds_get(t->creds, "subscription_key");
	size_t n = strlen(t->conf->url);
	while (n && t->conf->url[n - 1] == '/')
		n--;
	r->method = "GET";
	int wrote = snprintf(r->url, sizeof(r->url), "%.*s/%s?%s=%s&deliveryDateFrom=%s&deliveryDateTo=%s&size=%d&page=%d",
		(int)n, t->conf->url, report, by, t->conf->point, ercot_date_of(from, from_ns), ercot_date_of(to, to_ns),
		PAGE_ROWS, t->page);
	if (wrote < 0 || (size_t)wrote >= sizeof(r->url))
		return err_set(err, HCP_ERANGE, "url", "is too long");
	if (!key || !t->token)
		return err_set(err, HCP_EAUTH, "credentials", key ? "no token" : "there is no subscription_key in the file");
	int rc = feed_request_header(r, "ocp-apim-subscription-key", err, "%s", key);
	return rc < 0 ? rc : feed_request_header(r, "authorization", err, "Bearer %s", t->token);
}

/* ---- the answer ---- */

enum column { COL_DATE, COL_HOUR, COL_INTERVAL, COL_POINT, COL_TYPE, COL_PRICE, COL_DST, COL_END };

struct table {
	size_t at[COL_END]; /* SIZE_MAX: absent */
	const json_t *rows;
};

static enum column column_of(const char *name)
{
	static const struct {
		const char *name;
		enum column col;
	} names[] = {
		{ "deliveryDate", COL_DATE },
		{ "deliveryHour", COL_HOUR },
		{ "hourEnding", COL_HOUR },
		{ "deliveryInterval", COL_INTERVAL },
		{ "settlementPoint", COL_POINT },
		{ "settlementPointType", COL_TYPE },
		{ "settlementPointPrice", COL_PRICE },
		{ "ancillaryType", COL_POINT },
		{ "MCPC", COL_PRICE },
		{ "DSTFlag", COL_DST },
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i].name, name) == 0)
			return names[i].col;
	return COL_END;
}

static int read_table(const json_t *doc, bool real_time, struct table *ret, struct err *err)
{
	const json_t *fields, *field;
	size_t i;
	int rc = jsonv_get_array(doc, "fields", JSONV_REQUIRED, 64, &fields, err);
	if (rc == 0)
		rc = jsonv_get_array(doc, "data", JSONV_REQUIRED, 100000, &ret->rows, err);
	if (rc < 0)
		return rc;
	for (i = 0; i < COL_END; i++)
		ret->at[i] = SIZE_MAX;
	json_array_foreach(fields, i, field)
	{
		const char *name = json_string_value(json_object_get(field, "name"));
		enum column c = name ? column_of(name) : COL_END;
		if (c != COL_END)
			ret->at[c] = i;
	}
	static const char *const missing[] = { "deliveryDate", "deliveryHour", "deliveryInterval",
		"settlementPoint or ancillaryType", "", "settlementPointPrice or MCPC", "DSTFlag" };
	for (i = 0; i < COL_END; i++)
		if (ret->at[i] == SIZE_MAX && i != COL_TYPE && (i != COL_INTERVAL || real_time))
			return err_set(err, HCP_EINVAL, "fields", "%s is not among them", missing[i]);
	return 0;
}

/* A cell as text: the API has numbers, strings and booleans for the same thing at different times. */
static struct str cell(const struct table *t, const json_t *row, enum column c, char dst[32])
{
	const json_t *v = json_array_get(row, t->at[c]);
	if (json_is_string(v))
		return (struct str){ json_string_value(v), json_string_length(v) };
	if (json_is_boolean(v))
		return str_of(json_is_true(v) ? "Y" : "N");
	int n = json_is_number(v) ? snprintf(dst, 32, "%.0f", json_number_value(v)) : 0;
	return (struct str){ dst, n > 0 && n < 32 ? (size_t)n : 0 };
}

static int read_row(const struct feed_turn *t, const struct table *tab, const json_t *row, bool real_time,
	struct feed_answer *ret, struct err *err)
{
	char text[32];
	struct ercot_stamp stamp = { .interval = 1, .per_hour = real_time ? 4 : 1 };
	struct feed_reading r = { .interval_s = real_time ? 900 : 3600 };
	if (!json_is_array(row))
		return err_set(err, HCP_EINVAL, "data", "holds a row that is no list");
	if (!str_eqz(cell(tab, row, COL_POINT, text), t->conf->point))
		return 0;
	/* A load zone stands there twice; its energy-weighted price (LZEW) is not what load is settled at. */
	struct str type = tab->at[COL_TYPE] == SIZE_MAX ? STR("") : cell(tab, row, COL_TYPE, text);
	if (type.n > 2 && memcmp(type.p + type.n - 2, "EW", 2) == 0)
		return 0;
	int rc = ercot_parse_date(cell(tab, row, COL_DATE, text), &stamp, err);
	if (rc == 0)
		rc = ercot_parse_hour(cell(tab, row, COL_HOUR, text), &stamp, err);
	if (rc == 0)
		rc = ercot_parse_flag(cell(tab, row, COL_DST, text), &stamp, err);
	double interval = 1;
	if (rc == 0 && real_time)
		rc = feed_number(json_array_get(row, tab->at[COL_INTERVAL]), "deliveryInterval", &interval, err);
	if (rc == 0 && !(interval >= 1 && interval <= 4))
		rc = err_set(err, HCP_ERANGE, "deliveryInterval", "must be 1 to 4, was %g", interval);
	if (rc < 0)
		return rc;
	stamp.interval = (int)interval;
	rc = ercot_interval_start(&stamp, &r.start_ns, err);
	if (rc == 0)
		rc = feed_number(json_array_get(row, tab->at[COL_PRICE]), "price", &r.value, err);
	if (rc < 0)
		return rc;
	int64_t end_ns = r.start_ns + r.interval_s * NS_PER_S;
	r.observed_at_ns = real_time ? end_ns : t->now_ns;
	/* A price of an interval that is not over is a mistake of the source; so is a price of days ago. */
	if (real_time && end_ns > t->now_ns + 60 * NS_PER_S)
		return err_set(err, HCP_ERANGE, "deliveryInterval", "a real-time price of an interval that is not over");
	return feed_answer_add(ret, r, err);
}

static int ercot_answer(
	const struct feed_turn *t, struct str body, bool real_time, struct feed_answer *ret, struct err *err)
{
	json_t *doc = NULL;
	struct table tab;
	int64_t pages = 1;
	size_t i;
	json_t *row;
	int rc = feed_json(body, &doc, err);
	if (rc == 0)
		rc = jsonv_get_int(doc, "_meta.totalPages", JSONV_OPTIONAL, 0, 1000000, &pages, err);
	if (rc == 0)
		rc = read_table(doc, real_time, &tab, err);
	if (rc == 0)
		json_array_foreach(tab.rows, i, row)
		{
			rc = read_row(t, &tab, row, real_time, ret, err);
			if (rc < 0)
				break;
		}
	ret->more = rc == 0 && t->page < pages;
	json_decref(doc);
	return rc;
}

static int rt_request(const struct feed_turn *t, struct feed_request *r, struct err *err)
{
	/* The last interval of a day is published on the next. */
	return ercot_request(t, r, "np6-905-cd/spp_node_zone_hub", "settlementPoint", t->now_ns - HOUR_NS, t->now_ns, err);
}

static int rt_answer(const struct feed_turn *t, struct str body, struct feed_answer *ret, struct err *err)
{
	return ercot_answer(t, body, true, ret, err);
}

static int dam_request(const struct feed_turn *t, struct feed_request *r, struct err *err)
{
	return ercot_request(
		t, r, "np4-190-cd/dam_stlmnt_pnt_prices", "settlementPoint", t->now_ns, t->now_ns + 24 * HOUR_NS, err);
}

static int as_request(const struct feed_turn *t, struct feed_request *r, struct err *err)
{
	return ercot_request(
		t, r, "np4-188-cd/dam_clear_price_for_cap", "ancillaryType", t->now_ns, t->now_ns + 24 * HOUR_NS, err);
}

static int dam_answer(const struct feed_turn *t, struct str body, struct feed_answer *ret, struct err *err)
{
	return ercot_answer(t, body, false, ret, err);
}

const struct feed_kind feed_ercot_rt = {
	.name = "ercot-rt",
	.symbols = "electricity_rt",
	.url = "https://api.ercot.com/api/public-reports",
	.takes = "point token_url !credentials",
	.traits = FEED_B2C | FEED_CREDS,
	.every_ms = 5 * MINUTE_MS,
	.stale_ms = 35 * MINUTE_MS,
	.check = ercot_check,
	.request = rt_request,
	.answer = rt_answer,
	.about = "real-time settlement point price, 15 minutes",
};
const struct feed_kind feed_ercot_dam = {
	.name = "ercot-dam",
	.symbols = "electricity_da",
	.url = "https://api.ercot.com/api/public-reports",
	.takes = "point token_url !credentials",
	.traits = FEED_B2C | FEED_CREDS,
	.every_ms = 20 * MINUTE_MS,
	.stale_ms = 180 * MINUTE_MS,
	.check = ercot_check,
	.request = dam_request,
	.answer = dam_answer,
	.about = "day-ahead settlement point prices of today and tomorrow, by the hour",
};
const struct feed_kind feed_ercot_as = {
	.name = "ercot-as",
	.symbols = "ancillary",
	.url = "https://api.ercot.com/api/public-reports",
	.takes = "token_url !credentials",
	.traits = FEED_B2C | FEED_CREDS,
	.every_ms = 20 * MINUTE_MS,
	.stale_ms = 180 * MINUTE_MS,
	.check = ercot_check,
	.request = as_request,
	.answer = dam_answer,
	.about = "day-ahead clearing prices of capacity of today and tomorrow, by the hour; location: the product",
};
