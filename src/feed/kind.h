#ifndef HCP_FEED_KIND_H
#define HCP_FEED_KIND_H

#include "feed/source.h"

/*
 * One row a kind of source. Everything here is pure: requests are made from a turn, answers read into readings; the
 * machinery does the rest (schedule, pages, tokens, limits, back-off, fallback).
 */
enum feed_trait {
	FEED_LIVE = 1,    /* a WebSocket: subscribe, then message; else polled: request, answer, page after page */
	FEED_INSTANT = 2, /* values hold now: "304 not modified" confirms the last ones */
	FEED_PICKS = 4,   /* the values of a round become one by conf->pick */
	FEED_B2C = 8,     /* needs an id_token of the resource owner flow (ERCOT) */
	FEED_CREDS = 16,  /* cannot work without credentials */
};

struct feed_kind {
	const char *name;
	const char *symbols; /* that it can feed, blank-separated; the first is the default; "*" any, must be named */
	const char *url;     /* default; {region} is put in; NULL: must be given */
	const char *takes;   /* settings beyond the common ones, blank-separated; a '!' marks those that are needed */
	unsigned traits;
	int64_t every_ms, stale_ms;
	/* Settings of its own that the table cannot check; fills in what is missing. May be NULL. */
	int (*check)(struct feed_source_conf *c, struct err *err);
	int (*request)(const struct feed_turn *t, struct feed_request *ret, struct err *err);
	/* Appends to ret->reading; sets more and next. HCP_EPARSE, HCP_EINVAL, … : nothing of the answer is used. */
	int (*answer)(const struct feed_turn *t, struct str body, struct feed_answer *ret, struct err *err);
	/* Text of the message that asks for the values; empty: none is needed. */
	int (*subscribe)(const struct feed_turn *t, struct buf *out, struct err *err);
	/* One message; those that carry no value leave *ret as it is. HCP_ECLOSED: the server says it is about to go. */
	int (*message)(const struct feed_turn *t, struct str text, struct feed_answer *ret, struct err *err);
	const char *about;
};

const struct feed_kind *feed_kind_find(const char *name);
const struct feed_kind *feed_kind_at(size_t i); /* NULL after the last */

/* exchange.c */
extern const struct feed_kind feed_coinbase_rest, feed_coinbase_ws, feed_binance_rest, feed_binance_ws;
/* chain.c */
extern const struct feed_kind feed_mempool_difficulty, feed_mempool_fees, feed_mempool_height;
/* ercot.c */
extern const struct feed_kind feed_ercot_rt, feed_ercot_dam, feed_ercot_as;
/* cloud.c */
extern const struct feed_kind feed_aws_spot, feed_azure_retail;
/* json.c */
extern const struct feed_kind feed_json_any;

#endif
