#ifndef HCP_FEED_CONF_H
#define HCP_FEED_CONF_H

#include "feed/source.h"

/*
 * The settings of the market's sources: a YAML file,
 *
 *	ca_file: /etc/ssl/own-ca.pem      # optional: whom to trust instead of the system's store
 *	sources:
 *	- name: coinbase                  # unique; stands in logs, ticks and GET /api/v1/prices
 *	  kind: coinbase-ws               # one of `kind.c`
 *	  priority: 1                     # 1 speaks first; the next one when it has no fresh value
 *	  every: 1s
 *	  …
 *
 * deploy/market.example.yaml has all of them. Errors name file, line and field. Nothing is half taken.
 */
enum { FEED_CONF_BYTES_MAX = 256 << 10 };

struct feed_conf {
	char ca_file[FEED_URL_MAX];      /* "" the system's store */
	struct feed_source_conf *source; /* owned */
	size_t n;
};

/* Reads and checks the file, and that credential files can be read. err->text begins with "FILE line N:". */
int feed_conf_load(const char *path, struct feed_conf *ret, struct err *err) MUST_CHECK;
/* The same of a text; credential files are not looked at. name stands in errors. */
int feed_conf_parse(const char *name, struct str text, struct feed_conf *ret, struct err *err) MUST_CHECK;
void feed_conf_release(struct feed_conf *c);

#endif
