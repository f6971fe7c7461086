/*
 * What a GPU-hour is rented for at the large clouds: price of an instance divided by its GPUs.
 *
 * AWS: EC2 query API, DescribeSpotPriceHistory. With StartTime = now the answer is the price in force in each zone, as
 * XML, page by nextToken; signed with Signature Version 4. The key needs ec2:DescribeSpotPriceHistory, nothing else.
 *
 * Azure: Retail Prices API (learn.microsoft.com/rest/api/cost-management/retail-prices), no login, JSON, page by
 * NextPageLink. Spot meters have "Spot" in skuName; Windows ones stand beside with " Windows" at the product's end.
 */
#include <stdio.h>

#include "base/num.h"
#include "base/timefmt.h"
#include "feed/field.h"
#include "feed/kind.h"
#include "feed/sigv4.h"
#include "http/url.h"
#include "wire/jsonv.h"
#include "wire/xmlscan.h"

#define MINUTE_MS 60000

/* Manufacturers' instance sheets; `gpus` in the settings is for all others. */
static const struct {
	const char *instance;
	int gpus;
} known_gpus[] = {
	{ "p4d.24xlarge", 8 },
	{ "p4de.24xlarge", 8 },
	{ "p5.4xlarge", 1 },
	{ "p5.48xlarge", 8 },
	{ "p5e.48xlarge", 8 },
	{ "p5en.48xlarge", 8 },
	{ "p6-b200.48xlarge", 8 },
	{ "g5.xlarge", 1 },
	{ "g5.48xlarge", 8 },
	{ "g6.xlarge", 1 },
	{ "g6e.xlarge", 1 },
	{ "g6e.48xlarge", 8 },
	{ "Standard_ND96asr_v4", 8 },
	{ "Standard_ND96amsr_A100_v4", 8 },
	{ "Standard_ND96isr_H100_v5", 8 },
	{ "Standard_ND96isr_H200_v5", 8 },
	{ "Standard_NC24ads_A100_v4", 1 },
	{ "Standard_NC48ads_A100_v4", 2 },
	{ "Standard_NC96ads_A100_v4", 4 },
	{ "Standard_NC40ads_H100_v5", 1 },
	{ "Standard_NC80adis_H100_v5", 2 },
};

static bool is_plain(const char *s)
{
	for (; *s; s++)
		if (!((*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || strchr("._-", *s)))
			return false;
	return true;
}

static int cloud_check(struct feed_source_conf *c, struct err *err)
{
	if (!is_plain(c->instance))
		return err_set(err, HCP_EINVAL, "instance", "'%s' is no name of an instance type", c->instance);
	if (!is_plain(c->region))
		return err_set(err, HCP_EINVAL, "region", "'%s' is no name of a region", c->region);
	for (size_t i = 0; !c->gpus && i < sizeof(known_gpus) / sizeof(known_gpus[0]); i++)
		if (strcmp(known_gpus[i].instance, c->instance) == 0)
			c->gpus = known_gpus[i].gpus;
	if (!c->gpus)
		return err_set(err, HCP_EINVAL, "gpus", "is required: how many GPUs %s has is not known here", c->instance);
	c->pick = c->pick ? c->pick : FEED_PICK_MEDIAN;
	return 0;
}

/* ---- AWS ---- */

static int aws_check(struct feed_source_conf *c, struct err *err)
{
	if (!c->product[0])
		memcpy(c->product, "Linux/UNIX", sizeof("Linux/UNIX"));
	return cloud_check(c, err);
}

static int aws_body(const struct feed_turn *t, struct buf *b, struct err *err)
{
	char now[TIMEFMT_MAX];
	buf_addz(b, "Action=DescribeSpotPriceHistory&Version=2016-11-15&InstanceType.1=");
	url_encode(b, str_of(t->conf->instance));
	buf_addz(b, "&ProductDescription.1=");
	url_encode(b, str_of(t->conf->product));
	buf_addz(b, "&StartTime=");
	url_encode(b, str_of(timefmt_format(now, t->now_ns / 1000000000 * 1000000000)));
	if (t->conf->zone[0]) {
		buf_addz(b, "&AvailabilityZone=");
		url_encode(b, str_of(t->conf->zone));
	}
	if (t->next[0]) {
		buf_addz(b, "&NextToken=");
		url_encode(b, str_of(t->next));
	}
	return buf_failed(b) ? err_set(err, HCP_ENOMEM, "", "no memory for the request") : 0;
}

static int aws_request(const struct feed_turn *t, struct feed_request *r, struct err *err)
{
	static const char type[] = "application/x-www-form-urlencoded; charset=utf-8";
	char host[300], date[SIGV4_DATE_MAX], auth[SIGV4_AUTH_MAX];
	struct url u;
	struct sigv4 s = { .method = "POST",
		.query = "",
		.content_type = type,
		.region = t->conf->region,
		.service = "ec2",
		.access_key_id = feed_creds_get(t->creds, "aws_access_key_id"),
		.secret_access_key = feed_creds_get(t->creds, "aws_secret_access_key"),
		.session_token = feed_creds_get(t->creds, "aws_session_token"),
		.now_ns = t->now_ns };
	if (!s.access_key_id || !s.secret_access_key)
		return err_set(err, HCP_EAUTH, "credentials", "the file must have aws_access_key_id and aws_secret_access_key");
	r->method = "POST";
	int rc = str_copy(r->url, sizeof(r->url), str_of(t->conf->url));
	if (rc == 0)
		rc = url_parse(str_of(r->url), &u, err);
	if (rc == 0)
		rc = aws_body(t, &r->body, err);
	if (rc < 0)
		return rc;
	if (u.port == (u.tls ? 443 : 80))
		snprintf(host, sizeof(host), "%.*s", (int)u.host.n, u.host.p);
	else
		snprintf(host, sizeof(host), "%.*s:%u", (int)u.host.n, u.host.p, u.port);
	s.host = host;
	s.body = buf_str(&r->body);
	rc = sigv4_sign(&s, date, auth, err);
	if (rc == 0)
		rc = feed_request_header(r, "content-type", err, "%s", type);
	if (rc == 0)
		rc = feed_request_header(r, "x-amz-date", err, "%s", date);
	if (rc == 0 && s.session_token)
		rc = feed_request_header(r, "x-amz-security-token", err, "%s", s.session_token);
	return rc < 0 ? rc : feed_request_header(r, "authorization", err, "%s", auth);
}

struct spot_item {
	char instance[FEED_TEXT_MAX], product[FEED_TEXT_MAX], zone[FEED_TEXT_MAX], price[FEED_TEXT_MAX];
};

static int aws_item(const struct feed_turn *t, const struct spot_item *item, struct feed_answer *ret, struct err *err)
{
	double usd;
	if (strcmp(item->instance, t->conf->instance) != 0 || strcmp(item->product, t->conf->product) != 0)
		return 0;
	if (t->conf->zone[0] && strcmp(item->zone, t->conf->zone) != 0)
		return 0;
	if (num_parse_double(str_of(item->price), &usd) < 0)
		return err_set(err, HCP_EINVAL, "spotPrice", "is not a number");
	return feed_answer_add(
		ret, (struct feed_reading){ .value = usd / t->conf->gpus, .observed_at_ns = t->now_ns }, err);
}

/* Text of an element that is of interest goes where *ret points. */
static char *aws_place(struct spot_item *item, struct feed_answer *ret, const struct xmlscan *x, size_t *ret_cap)
{
	static const struct {
		const char *name;
		size_t at;
	} fields[] = {
		{ "instanceType", offsetof(struct spot_item, instance) },
		{ "productDescription", offsetof(struct spot_item, product) },
		{ "availabilityZone", offsetof(struct spot_item, zone) },
		{ "spotPrice", offsetof(struct spot_item, price) },
	};
	*ret_cap = FEED_TEXT_MAX;
	if (x->depth == 4)
		for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
			if (str_eqz(x->name, fields[i].name))
				return (char *)item + fields[i].at;
	*ret_cap = sizeof(ret->next);
	return x->depth == 2 && str_eqz(x->name, "nextToken") ? ret->next : NULL;
}

/* DescribeSpotPriceHistoryResponse > spotPriceHistorySet > item > instanceType, … */
static int aws_answer(const struct feed_turn *t, struct str body, struct feed_answer *ret, struct err *err)
{
	struct xmlscan x;
	struct spot_item item = { 0 };
	char *place = NULL;
	size_t cap = 0;
	bool right_root = false;
	int rc;
	ret->next[0] = 0;
	xmlscan_init(&x, body);
	while ((rc = xmlscan_next(&x, err)) > 0) {
		if (x.kind == XMLSCAN_OPEN) {
			if (x.depth == 1)
				right_root = str_eqz(x.name, "DescribeSpotPriceHistoryResponse");
			if (x.depth == 3 && str_eqz(x.name, "item"))
				item = (struct spot_item){ 0 };
			place = aws_place(&item, ret, &x, &cap);
		} else if (x.kind == XMLSCAN_TEXT) {
			if (place && xmlscan_decode(&x, place, cap) < 0)
				return err_set(err, HCP_EINVAL, "answer", "a text of an item is too long or malformed");
		} else {
			place = NULL;
			if (x.depth == 2 && str_eqz(x.name, "item") && (rc = aws_item(t, &item, ret, err)) < 0)
				return rc;
		}
	}
	if (rc == 0 && !right_root)
		rc = err_set(err, HCP_EINVAL, "answer", "is not a DescribeSpotPriceHistoryResponse");
	ret->more = rc == 0 && ret->next[0] != 0;
	return rc;
}

const struct feed_kind feed_aws_spot = {
	.name = "aws-spot",
	.symbols = "gpu_rate",
	.url = "https://ec2.{region}.amazonaws.com",
	.takes = "!region !instance !credentials zone gpus product pick",
	.traits = FEED_INSTANT | FEED_PICKS | FEED_CREDS,
	.every_ms = 5 * MINUTE_MS,
	.stale_ms = 20 * MINUTE_MS,
	.check = aws_check,
	.request = aws_request,
	.answer = aws_answer,
	.about = "EC2 spot price of a GPU-hour, median of the zones",
};

/* ---- Azure ---- */

static int same_origin(const struct feed_turn *t, struct err *err)
{
	struct url a, b;
	int rc = url_parse(str_of(t->conf->url), &a, err);
	if (rc == 0)
		rc = url_parse(str_of(t->next), &b, err);
	if (rc == 0 && (a.tls != b.tls || a.port != b.port || !str_eq(a.host, b.host)))
		rc = err_set(err, HCP_EINVAL, "NextPageLink", "leads to another server");
	return rc;
}

static int azure_request(const struct feed_turn *t, struct feed_request *r, struct err *err)
{
	r->method = "GET";
	if (t->next[0]) {
		int rc = same_origin(t, err);
		return rc < 0 ? rc : str_copy(r->url, sizeof(r->url), str_of(t->next));
	}
	int n = snprintf(r->url, sizeof(r->url),
		"%s%c$filter=serviceName%%20eq%%20%%27Virtual%%20Machines%%27%%20and%%20priceType%%20eq%%20%%27Consumption%%27"
		"%%20and%%20armRegionName%%20eq%%20%%27%s%%27%%20and%%20armSkuName%%20eq%%20%%27%s%%27",
		t->conf->url, strchr(t->conf->url, '?') ? '&' : '?', t->conf->region, t->conf->instance);
	return n < 0 || (size_t)n >= sizeof(r->url) ? err_set(err, HCP_ERANGE, "url", "is too long") : 0;
}

static bool ends(const char *s, const char *tail)
{
	size_t n = strlen(s), k = strlen(tail);
	return n >= k && strcmp(s + n - k, tail) == 0;
}

static int azure_item(const struct feed_turn *t, const json_t *item, struct feed_answer *ret, struct err *err)
{
	const char *sku, *instance, *product, *unit, *currency, *type;
	double usd;
	int rc = feed_text(item, "armSkuName", &instance, err);
	if (rc == 0)
		rc = feed_text(item, "skuName", &sku, err);
	if (rc == 0)
		rc = feed_text(item, "productName", &product, err);
	if (rc == 0)
		rc = feed_text(item, "unitOfMeasure", &unit, err);
	if (rc == 0)
		rc = feed_text(item, "currencyCode", &currency, err);
	if (rc == 0)
		rc = feed_text(item, "type", &type, err);
	if (rc < 0)
		return rc;
	if (strcmp(instance, t->conf->instance) != 0 || strcmp(type, "Consumption") != 0 || ends(product, " Windows") ||
		strstr(sku, "Low Priority") || (strstr(sku, "Spot") != NULL) != t->conf->spot)
		return 0;
	if (strcmp(unit, "1 Hour") != 0 || strcmp(currency, "USD") != 0)
		return err_set(err, HCP_EINVAL, "unitOfMeasure", "is %.20s in %.8s, not 1 Hour in USD", unit, currency);
	rc = feed_number(json_object_get(item, "retailPrice"), "retailPrice", &usd, err);
	if (rc < 0)
		return rc;
	return feed_answer_add(
		ret, (struct feed_reading){ .value = usd / t->conf->gpus, .observed_at_ns = t->now_ns }, err);
}

static int azure_next(const json_t *doc, struct feed_answer *ret, struct err *err)
{
	struct str link = { NULL, 0 };
	size_t n = 0;
	int rc = jsonv_get_string(doc, "NextPageLink", JSONV_OPTIONAL, &link, err);
	for (size_t i = 0; rc == 0 && i < link.n; i++) {
		bool blank = link.p[i] == ' ';
		if (n + (blank ? 3 : 1) >= sizeof(ret->next))
			return err_set(err, HCP_ERANGE, "NextPageLink", "is too long");
		memcpy(ret->next + n, blank ? "%20" : &link.p[i], blank ? 3 : 1);
		n += blank ? 3 : 1;
	}
	ret->next[n] = 0;
	ret->more = n > 0;
	return rc;
}

static int azure_answer(const struct feed_turn *t, struct str body, struct feed_answer *ret, struct err *err)
{
	json_t *doc = NULL, *item;
	const json_t *items;
	size_t i;
	int rc = feed_json(body, &doc, err);
	if (rc == 0)
		rc = jsonv_get_array(doc, "Items", JSONV_REQUIRED, 10000, &items, err);
	if (rc == 0)
		json_array_foreach(items, i, item)
		{
			rc = azure_item(t, item, ret, err);
			if (rc < 0)
				break;
		}
	if (rc == 0)
		rc = azure_next(doc, ret, err);
	json_decref(doc);
	return rc;
}

const struct feed_kind feed_azure_retail = {
	.name = "azure-retail",
	.symbols = "gpu_rate",
	.url = "https://prices.azure.com/api/retail/prices",
	.takes = "!region !instance gpus spot pick",
	.traits = FEED_INSTANT | FEED_PICKS,
	.every_ms = 5 * MINUTE_MS,
	.stale_ms = 20 * MINUTE_MS,
	.check = cloud_check,
	.request = azure_request,
	.answer = azure_answer,
	.about = "Azure price of a GPU-hour, pay as you go or spot",
};
