#ifndef HCP_CMD_DAEMON_SETTINGS_H
#define HCP_CMD_DAEMON_SETTINGS_H

#include <stdio.h>

#include "cmd/daemon/options.h"
#include "model/site.h"
#include "services/optimizer/optimizer.h"
#include "services/router/router.h"

/*
 * What the services are set to: the sites of --site and the values of --settings. What ran last is kept in STATE/conf,
 * so that a replay decides by the same.
 */
enum {
	SETTINGS_SITES_MAX = OPTIONS_SITES_MAX,
	SETTINGS_CREDITS_MAX = 32,
	SETTINGS_URL_MAX = 512,
	SETTINGS_CALL_LEASE = 3, /* deadlines of a call to the provider after which it is made again */
	SETTINGS_TEXT_MAX = 1 << 16
};

struct settings {
	struct site site[SETTINGS_SITES_MAX + 1]; /* [0] is SITE_OTHER */
	size_t n_sites;
	char credit_class[SETTINGS_CREDITS_MAX][DEVICE_CLASS_NAME_MAX];
	struct optimizer_credit credit[SETTINGS_CREDITS_MAX]; /* names point into credit_class: not to be copied */
	size_t n_credits;
	int64_t horizon_ns;
	double utilisation;
	double capital_usd, drawdown_limit, risk_aversion;
	int64_t token_micros_million, request_micros_million;
	struct router_conf router;
	uint32_t provider_deadline_ms;
	char provider_url[SETTINGS_URL_MAX], provider_token_file[SETTINGS_URL_MAX]; /* of rented nodes; "": none */
	/* The texts as they were read; kept by settings_keep. */
	struct buf text, site_text[SETTINGS_SITES_MAX];
};

/* The defaults; no sites but SITE_OTHER. */
void settings_init(struct settings *s);
void settings_release(struct settings *s);
/* A settings file over what *s holds, in which it is left unchanged by an error: "<file>:<line>: …" and the field. */
int settings_parse(struct settings *s, const char *name, struct str text, struct err *err) MUST_CHECK;
int settings_load(struct settings *s, const char *path, struct err *err) MUST_CHECK;
/* One site more. HCP_EEXIST: its facility has one. */
int settings_add_site(struct settings *s, const char *path, struct err *err) MUST_CHECK;
/* What the options name: --settings and every --site; a replay without any takes what is kept beside its journals. */
int settings_of_options(const struct options *o, struct settings *s, struct err *err) MUST_CHECK;
/* A settings file with every setting, its unit, and the value in *s. */
void settings_print(const struct settings *s, FILE *to);

/* Into STATE/conf, and from there. What was not kept is left at its default. */
int settings_keep(const struct settings *s, const char *state_dir, struct err *err) MUST_CHECK;
int settings_load_kept(struct settings *s, const char *state_dir, struct err *err) MUST_CHECK;

#endif
