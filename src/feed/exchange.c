/*
 * BTC against USD.
 *
 * Coinbase Exchange (docs.cdp.coinbase.com/exchange): GET /products/{product}/ticker gives price and time of the last
 * trade; wss://ws-feed.exchange.coinbase.com wants a subscribe within 5 s, `ticker` tells every match, `heartbeat`
 * every second, so silence means a dead connection. Unknown message types are to be ignored.
 *
 * Binance spot (developers.binance.com): GET /api/v3/ticker/price; wss://…/ws/{symbol}@trade, numbers as strings,
 * times in ms or, on wish, us; pings every 20 s; the connection ends after 24 hours, announced by serverShutdown.
 */
#include <stdio.h>

#include "feed/field.h"
#include "feed/kind.h"

#define SECOND_MS 1000

static int add_price(const struct feed_turn *t, double price, int64_t at_ns, struct feed_answer *ret, struct err *err)
{
	return feed_answer_add(
		ret, (struct feed_reading){ .value = price, .observed_at_ns = at_ns ? at_ns : t->now_ns }, err);
}

static int make_url(struct feed_request *r, struct err *err, const char *base, const char *path, const char *name)
{
	size_t n = strlen(base);
	while (n && base[n - 1] == '/')
		n--;
	int wrote = snprintf(r->url, sizeof(r->url), "%.*s%s%s", (int)n, base, path, name);
	return wrote < 0 || (size_t)wrote >= sizeof(r->url) ? err_set(err, HCP_ERANGE, "url", "is too long") : 0;
}

/* Letters and digits, and '-' between: it goes into addresses and messages as it is. */
static int check_product(struct feed_source_conf *c, const char *other, struct err *err)
{
	if (!c->product[0] && str_copy(c->product, sizeof(c->product), str_of(other)) < 0)
		return err_set(err, HCP_ERANGE, "product", "is too long");
	for (const char *p = c->product; *p; p++)
		if (!((*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '-'))
			return err_set(err, HCP_EINVAL, "product", "must be capitals, digits and '-', like %s", other);
	return 0;
}

/* ---- Coinbase ---- */

static int coinbase_check(struct feed_source_conf *c, struct err *err)
{
	return check_product(c, "BTC-USD", err);
}

static int coinbase_request(const struct feed_turn *t, struct feed_request *r, struct err *err)
{
	char path[2 * FEED_TEXT_MAX];
	snprintf(path, sizeof(path), "/products/%s", t->conf->product);
	r->method = "GET";
	return make_url(r, err, t->conf->url, path, "/ticker");
}

static int coinbase_ticker(const struct feed_turn *t, const json_t *doc, struct feed_answer *ret, struct err *err)
{
	double price;
	int64_t at_ns;
	int rc = feed_number(json_object_get(doc, "price"), "price", &price, err);
	if (rc == 0)
		rc = feed_time(json_object_get(doc, "time"), "time", &at_ns, err);
	return rc < 0 ? rc : add_price(t, price, at_ns, ret, err);
}

static int coinbase_answer(const struct feed_turn *t, struct str body, struct feed_answer *ret, struct err *err)
{
	json_t *doc = NULL;
	int rc = feed_json(body, &doc, err);
	if (rc == 0)
		rc = coinbase_ticker(t, doc, ret, err);
	json_decref(doc);
	return rc;
}

static int coinbase_live_url(const struct feed_turn *t, struct feed_request *r, struct err *err)
{
	return make_url(r, err, t->conf->url, "", "");
}

static int coinbase_subscribe(const struct feed_turn *t, struct buf *out, struct err *err)
{
	buf_printf(out, "{\"type\":\"subscribe\",\"product_ids\":[\"%s\"],\"channels\":[\"ticker\",\"heartbeat\"]}",
		t->conf->product);
	return buf_failed(out) ? err_set(err, HCP_ENOMEM, "", "no memory for the subscription") : 0;
}

static int coinbase_message(const struct feed_turn *t, struct str text, struct feed_answer *ret, struct err *err)
{
	json_t *doc = NULL;
	const char *type, *product;
	int rc = feed_json(text, &doc, err);
	if (rc == 0)
		rc = feed_text(doc, "type", &type, err);
	if (rc < 0)
		goto out;
	if (strcmp(type, "error") == 0) {
		const char *what = json_string_value(json_object_get(doc, "message"));
		const char *reason = json_string_value(json_object_get(doc, "reason"));
		rc = err_set(
			err, HCP_EPROTO, "subscribe", "the server says: %.80s %.80s", what ? what : "", reason ? reason : "");
	} else if (strcmp(type, "ticker") == 0) {
		rc = feed_text(doc, "product_id", &product, err);
		if (rc == 0 && strcmp(product, t->conf->product) == 0)
			rc = coinbase_ticker(t, doc, ret, err);
	}
out:
	json_decref(doc);
	return rc;
}

const struct feed_kind feed_coinbase_rest = {
	.name = "coinbase-rest",
	.symbols = "btc_usd",
	.url = "https://api.exchange.coinbase.com",
	.takes = "product",
	.traits = 0,
	.every_ms = 5 * SECOND_MS,
	.stale_ms = 30 * SECOND_MS,
	.check = coinbase_check,
	.request = coinbase_request,
	.answer = coinbase_answer,
	.about = "last trade of a product, polled",
};

const struct feed_kind feed_coinbase_ws = {
	.name = "coinbase-ws",
	.symbols = "btc_usd",
	.url = "wss://ws-feed.exchange.coinbase.com",
	.takes = "product stall",
	.traits = FEED_LIVE,
	.every_ms = SECOND_MS,
	.stale_ms = 15 * SECOND_MS,
	.check = coinbase_check,
	.request = coinbase_live_url,
	.subscribe = coinbase_subscribe,
	.message = coinbase_message,
	.about = "trades of a product as they happen",
};

/* ---- Binance ---- */

static int binance_check(struct feed_source_conf *c, struct err *err)
{
	return check_product(c, "BTCUSDT", err);
}

static int binance_request(const struct feed_turn *t, struct feed_request *r, struct err *err)
{
	r->method = "GET";
	return make_url(r, err, t->conf->url, "/api/v3/ticker/price?symbol=", t->conf->product);
}

static int binance_symbol(const struct feed_turn *t, const json_t *doc, const char *name, struct err *err)
{
	const char *symbol;
	int rc = feed_text(doc, name, &symbol, err);
	if (rc == 0 && strcmp(symbol, t->conf->product) != 0)
		rc = err_set(err, HCP_EINVAL, name, "is %.40s, asked was %s", symbol, t->conf->product);
	return rc;
}

static int binance_answer(const struct feed_turn *t, struct str body, struct feed_answer *ret, struct err *err)
{
	json_t *doc = NULL;
	double price;
	int rc = feed_json(body, &doc, err);
	if (rc == 0)
		rc = binance_symbol(t, doc, "symbol", err);
	if (rc == 0)
		rc = feed_number(json_object_get(doc, "price"), "price", &price, err);
	if (rc == 0)
		rc = add_price(t, price, 0, ret, err);
	json_decref(doc);
	return rc;
}

static int binance_live_url(const struct feed_turn *t, struct feed_request *r, struct err *err)
{
	char stream[2 * FEED_TEXT_MAX];
	size_t n = 0;
	for (const char *p = t->conf->product; *p && n < FEED_TEXT_MAX; p++)
		stream[n++] = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
	snprintf(stream + n, sizeof(stream) - n, "@trade");
	return make_url(r, err, t->conf->url, "/", stream);
}

static int no_subscription(const struct feed_turn *t, struct buf *out, struct err *err)
{
	return 0; /* the address names the stream */
}

static int binance_trade(const struct feed_turn *t, const json_t *doc, struct feed_answer *ret, struct err *err)
{
	double price;
	int64_t at_ns;
	int rc = binance_symbol(t, doc, "s", err);
	if (rc == 0)
		rc = feed_number(json_object_get(doc, "p"), "p", &price, err);
	if (rc == 0)
		rc = feed_time(json_object_get(doc, "T"), "T", &at_ns, err);
	return rc < 0 ? rc : add_price(t, price, at_ns, ret, err);
}

static int binance_message(const struct feed_turn *t, struct str text, struct feed_answer *ret, struct err *err)
{
	json_t *doc = NULL;
	int rc = feed_json(text, &doc, err);
	if (rc < 0)
		return rc;
	/* Combined streams wrap the event. */
	const json_t *event = json_object_get(doc, "data") ? json_object_get(doc, "data") : doc;
	const char *type = json_string_value(json_object_get(event, "e"));
	if (json_object_get(event, "code") && json_object_get(event, "msg"))
		rc = err_set(err, HCP_EPROTO, "stream", "the server says: %.100s",
			json_is_string(json_object_get(event, "msg")) ? json_string_value(json_object_get(event, "msg")) : "error");
	else if (type && strcmp(type, "serverShutdown") == 0)
		rc = err_set(err, HCP_ECLOSED, "stream", "the server is about to go");
	else if (type && strcmp(type, "trade") == 0)
		rc = binance_trade(t, event, ret, err);
	json_decref(doc);
	return rc;
}

const struct feed_kind feed_binance_rest = {
	.name = "binance-rest",
	.symbols = "btc_usd",
	.url = "https://api.binance.com",
	.takes = "product",
	.traits = FEED_INSTANT,
	.every_ms = 5 * SECOND_MS,
	.stale_ms = 30 * SECOND_MS,
	.check = binance_check,
	.request = binance_request,
	.answer = binance_answer,
	.about = "last price of a symbol, polled",
};

const struct feed_kind feed_binance_ws = {
	.name = "binance-ws",
	.symbols = "btc_usd",
	.url = "wss://stream.binance.com:9443/ws",
	.takes = "product stall",
	.traits = FEED_LIVE,
	.every_ms = SECOND_MS,
	.stale_ms = 15 * SECOND_MS,
	.check = binance_check,
	.request = binance_live_url,
	.subscribe = no_subscription,
	.message = binance_message,
	.about = "trades of a symbol as they happen",
};
